-- failure_spec.lua - what is said of a handler that fails: to a log function, and on standard error where there is none.

local cli = require "spec.support.cli"
local helper = require "spec.helper"

local HANDLERS <const> = [[
	local function deep() error("the server is away") end
	function raises(event) deep() end
	function answers(event)
		return nil, "no such address"
	end]]

-- The functions of that source, as if they stood in handlers.lua.
local function handlers()
	local env = setmetatable({}, {__index = _G})
	assert(load(HANDLERS, "@handlers.lua", "t", env))()
	return env
end

describe("a logged failure", function()
	after_each(cli.clean)

	for _, backend in ipairs(helper.backends) do
		it("names watcher, event, attempt, the time of the next, and the place in the script: " .. backend.name .. " [R5a]", function()
			local store, records = backend.open(), {}
			local registry = helper.registry(store, {log = function(level, message) records[#records + 1] = level .. " " .. message end})
			assert(store:store_event("CREATE", "Job", 1))
			local own = handlers()
			local watcher = assert(registry:watch("mailer", own.raises, {initial_backoff = 0.5, max_backoff = 2}))
			helper.drive(registry, function() return #records == 1 end)
			assert.matches("^warn watcher 'mailer': event failed: handlers%.lua:1: the server is away "
				.. "%(event 1, attempt 1, the next one in 0%.[45]%d* s, at %d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ%) stack traceback:", records[1])
			assert.matches("stack traceback:.*handlers%.lua:1: .*handlers%.lua:2: ", records[1])
			helper.drive(registry, function() return #records == 2 end)
			assert.matches("event 1, attempt 2, the next one in [01][.%d]* s", records[2])
			watcher:stop()

			assert(registry:watch("patient", own.raises, {initial_backoff = 3600, max_backoff = 3600}))
			helper.drive(registry, function() return #records == 3 end)
			assert.matches("attempt 1, the next one in 3[56]%d%d s, at ", table.remove(records))
			registry:get_watcher("patient"):stop()

			assert(registry:watch("answers", own.answers, {initial_backoff = 0.001, max_retries = 2, retry_strategy = "skip"}))
			helper.drive(registry, function() return #records == 5 end)
			assert.matches("event failed: no such address %(event 1, attempt 1, the next one in 0%.0.-%) in the function at handlers%.lua:3$",
				records[3])
			assert.matches("%(event 1, attempt 2, the last one%)", records[4])
			assert.matches("^error watcher 'answers': gave up event 1 after 2 attempts$", records[5])
		end)
	end

	it("is as complete for a script [R5b]", function()
		local store, records = helper.open(), {}
		local registry = helper.registry(store, {log = function(level, message) records[#records + 1] = level .. " " .. message end})
		assert(store:store_event("CREATE", "Job", 1))
		assert(registry:watch("script", helper.write_file("mail.lua", "return function()\n\terror('no luck')\nend")))
		helper.drive(registry, function() return #records > 0 end)
		assert.matches("^warn watcher 'script': event failed: .*mail%.lua:2: no luck "
			.. "%(event 1, attempt 1, the next one in 0%.[12]%d* s, at .-Z%) ",
			records[1])
		assert.matches("stack traceback:.*mail%.lua:2: in function", records[1])
	end)

	local ISOLATED <const> = {
		{name = "raised in a function", source = "local function deep() error('no luck') end\nreturn function()\n\tdeep()\nend",
			place = "stack traceback: [C]: in function 'error' %s:1: in upvalue 'deep' %s:3: in function <%s:2>"},
		{name = "an error object", source = "return function()\n\terror({})\nend",
			place = "stack traceback: [C]: in function 'error' %s:2: in function <%s:1>"},
		{name = "returned", source = "\nreturn function()\n\treturn nil, 'no luck'\nend", place = "in the function at %s:2"},
		{name = "of its filter", source = "return {handle = print,\n\twhere = function() error('no luck') end}",
			place = "stack traceback: [C]: in function 'error' %s:2: in function <%s:2>"},
		{name = "of its program", source = "return function() os.exit(3) end", place = "in %s"},
	}
	for _, case in ipairs(ISOLATED) do
		it("names the place in an isolated script: " .. case.name .. " [R5k]", function()
			local program = helper.program()
			if not program then return helper.pending("there is no program beside the module") end
			local store, records = helper.open(), {}
			local registry = helper.registry(store, {log = function(level, message) records[#records + 1] = level .. " " .. message end})
			assert(store:store_event("CREATE", "Job", 1))
			local path = helper.write_file("mail.lua", case.source)
			assert(registry:watch("script", path, {isolation = "process", worker_program = program}))
			helper.drive(registry, function() return #records > 0 end)
			local place = records[1]:match(" at [%d-]+T[%d:]+Z%) (.*)$")
			assert.equal((case.place:gsub("%%s", (path:gsub("%%", "%%%%")))), place, records[1])
		end)
	end
end)

describe("a failure without a log function", function()
	after_each(cli.clean)

	local BEGIN <const> = [[
		require "luv".fs_close(2)
		io.open(arg[2], "w") -- has the number 2 now
	]]

	local FAILING <const> = [[
		local store = assert(vigia.open(arg[1]))
		local options = {}
		if arg[3] == "false" then options.log = false elseif arg[3] == "function" then options.log = function() end end
		local registry = vigia.registry(store, options)
		local count = 0
		assert(registry:watch("mailer", function(event, ctx)
			count = count + 1
			if count == 5 then ctx.watcher:stop() end
			error "the server is away"
		end, {initial_backoff = 0.001}))
		assert(store:store_event("CREATE", "Job", 1))
		assert(registry:run())
	]]

	-- What a child says on its standard error until it ended.
	local function child(source, ...)
		local out = helper.path("stderr")
		helper.shell("(" .. helper.lua_command(source, ...) .. " 2>" .. helper.quoted(out) .. ")")
		return helper.read_file(out)
	end

	it("goes to standard error, one line a minute [R5c]", function()
		local text = child(FAILING, helper.path("store"))
		assert.matches("^vigia: WARN watcher 'mailer': event failed: .*the server is away %(event 1, attempt 1, the next one in .-%) "
			.. "stack traceback: .*source%d*%.lua:%d+: in function[^\n]*\n$", text)
	end)

	it("is told for each watcher [R5d]", function()
		local text = child([[
			local store = assert(vigia.open(arg[1]))
			local registry = vigia.registry(store)
			for _, id in ipairs{"a", "b"} do
				registry:watch(id, function(event, ctx) error(id) end, {retry_strategy = "skip", max_retries = 1})
			end
			for n = 1, 4 do assert(store:store_event("CREATE", "Job", n)) end
			repeat until not registry:step(0)
		]], helper.path("store"))
		local _, lines = text:gsub("\n", "")
		assert.equal(2, lines, text)
		assert.matches("'a': event failed", text)
		assert.matches("'b': event failed", text)
	end)

	it("is silent with log = false, and where there is a function [R5e]", function()
		assert.equal("", child(FAILING, helper.path("store"), "-", "false"))
		assert.equal("", child(FAILING, helper.path("store2"), "-", "function"))
	end)

	it("does not go into a file that has the number 2 by now [R5f]", function()
		assert.equal("", child(BEGIN .. FAILING, helper.path("store"), helper.path("mine")))
		assert.equal("", helper.read_file(helper.path("mine")))
		-- nor does it end a program whose standard error nobody reads
		local output = helper.shell(("{ %s; echo status $? >&3; } 3>&1 2>&1 >/dev/null | true"):format(
			helper.lua_command("vigia.sleep(0.1) " .. FAILING, helper.path("store3"))))
		assert.equal("", (output:gsub("status 0\n", "")))
	end)

	it("is told of a task, and of a store in Lua [R5g]", function()
		local text = child([[
			local store = assert(vigia.open(arg[1]))
			for _, s in ipairs{store, require "vigia.wrapper".new(store)} do
				local registry = vigia.registry(s)
				registry:spawn(function() error "in a task" end)
				registry:spawn(function() return nil, "answered by a task" end)
				registry:watch("w", function(event, ctx) ctx.watcher:stop() error "in a watcher" end)
				store:store_event("CREATE", "Job", 1)
				registry:run()
			end
			local registry = vigia.registry(require "vigia.wrapper".new(store))
			registry:watch("x", function(event, ctx) error "in a watcher" end, {retry_strategy = "skip", max_retries = 1})
			for _ = 1, 20 do registry:step(0.01) end
		]], helper.path("store"))
		local _, tasks = text:gsub("vigia: ERROR a task failed: [^\n]*in a task stack traceback: [^\n]*\n", "")
		assert.equal(2, tasks, text)
		assert.matches("vigia: WARN watcher 'x': event failed: [^\n]*in a watcher %(event 1, attempt 1, the last one%)", text)
		assert.matches("'w': event failed: [^\n]*in a watcher %(event 1, attempt 1, the next one after a start%)", text)
	end)

	it("is not told when a wait ends because the watcher stops or the store is closed [R5j]", function()
		local text = child([[
			local store = assert(vigia.open(arg[1]))
			for _, s in ipairs{store, require "vigia.wrapper".new(store)} do
				local registry = vigia.registry(s)
				registry:spawn(function() assert(vigia.sleep(60)) end)
				registry:watch("w", function(event, ctx) assert(vigia.sleep(60)) end)
				registry:watch("v", function(event, ctx) return vigia.sleep(60) end)
				store:store_event("CREATE", "Job", 1)
				registry:step(0) registry:step(0)
				assert(registry:stop())
			end
			local registry = vigia.registry(store)
			registry:watch("x", function(event, ctx) assert(store:close()) end)
			registry:run()
		]], helper.path("store"))
		assert.equal("", text)
	end)

	it("is told of a script that nobody drives [R5h]", function()
		local text = child([[
			local store = assert(vigia.open(arg[1]))
			local registry = vigia.registry(store)
			local watcher = assert(registry:watch("script", arg[2], {initial_backoff = 0.001}))
			assert(store:store_event("CREATE", "Job", 1))
			repeat vigia.sleep(0.001) until watcher:stats().failed > 3
			registry:stop()
		]], helper.path("store"), helper.write_file("mail.lua", "return function()\n\terror('no luck')\nend"))
		assert.matches("^vigia: WARN watcher 'script': event failed: .*mail%.lua:2: no luck %(event 1, attempt 1, .-%) "
			.. "stack traceback:[^\n]*\n$", text)
	end)

	it("is one line of `vigia run`, too [R5i]", function()
		assert(helper.open():store_event("CREATE", "Job", 1))
		cli.write("mail.lua", "return {initial_backoff = 0.001, max_backoff = 0.001, handle = function(event, ctx)\n\tif ctx.attempt < 9 then "
			.. "error('no luck') end\nend}")
		local result = cli.ok{"run", "--store", helper.path("store"), helper.path("mail.lua"), "--until-idle"}
		assert.matches("^vigia: [%d-]+ [%d:.]+ WARN watcher 'mail': event failed: .*mail%.lua:2: no luck %(event 1, attempt 1, .-%) "
			.. "stack traceback:[^\n]*\n$", result.err)
	end)
end)
