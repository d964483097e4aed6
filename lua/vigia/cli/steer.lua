-- steer.lua - what `vigia seek`, pause, resume, retry and forget have in common: a request to a watcher of any process.

local util = require("vigia.cli.util")

local M = {}

local TIMEOUT <const> = 10 -- seconds; that of the library

---Words for the end of a description.
M.HOW = [[
If a process runs the watcher, it gets a request. It carries out the request between two events. If
it has not done so within --timeout, the request is withdrawn and the exit status is 1. The message
then names the process. If no process runs the watcher, the command makes the change itself, at
once.]]

function M.define(command, waits)
	util.define_store(command)
	command:argument("watcher"):argname("WATCHER"):description("The id of a watcher; `vigia watchers` lists them.")
	if waits then
		command:option("--timeout"):argname("SECONDS"):convert(util.seconds("--timeout")):overwrite(false)
			:description(("How long to wait for the process that runs the watcher (default: %d)."):format(TIMEOUT))
	end
end

-- The ids that are known, for one that is not.
local function names_of(store)
	local names = {}
	for _, watcher in ipairs(store:watchers() or {}) do
		names[#names + 1] = watcher.watcher
	end
	return names
end

---Call a method of the store with the watcher's id, and fail with what it says. Returns its result and the store, which is open.
function M.call(args, method, ...)
	local id = args.watcher
	if #id < 1 or #id > 255 then
		util.usage("WATCHER must have 1 to 255 bytes")
	end
	local store <close> = util.open_store(args, {create = false})
	local result, err = store[method](store, id, ...)
	if err and err.code == "watcher_not_found" then
		util.fail("%s%s", tostring(err), util.did_you_mean(id, names_of(store)))
	end
	util.check(result, err)
	return result, not err and method == "seek" and store:get_latest_event_num() or nil
end

---A command without further words: its module.
function M.command(method, summary, description, text)
	local module = {summary = summary, description = description}
	function module.define(command)
		M.define(command, method ~= "forget")
	end
	function module.run(args)
		local result = M.call(args, method, args.timeout)
		util.write(text:format(util.printable(args.watcher), result), "\n")
	end
	return module
end

return M
