-- util.lua - what the commands of the program share: how they end, what they write, and how they read words from the command line.
--
-- A command returns its exit status, or ends early by raising one of the values made here; main.lua catches it.

local M = {}

M.OK, M.FAILURE, M.USAGE = 0, 1, 2

local Exit = {}
Exit.__index = Exit

---What `pcall` caught: is it an end of the program that was meant?
function M.is_exit(value)
	return getmetatable(value) == Exit
end

---Raise: end with a status; the message, if there is one, goes to stderr.
function M.exit(status, message)
	error(setmetatable({status = status, message = message}, Exit), 0)
end

---Raise: something went wrong at run time.
function M.fail(message, ...)
	M.exit(M.FAILURE, select("#", ...) > 0 and message:format(...) or message)
end

---Raise: the command line was wrong.
function M.usage(message, ...)
	M.exit(M.USAGE, select("#", ...) > 0 and message:format(...) or message)
end

---A message for the person at the terminal.
function M.say(message)
	io.stderr:write("vigia: ", message, "\n")
end

---Write data to stdout. Once that fails there is no point in going on; the host (main.c) says why.
function M.write(...)
	if not io.stdout:write(...) then
		M.exit(M.OK)
	end
end

---One event, two events.
function M.count(n, noun)
	return ("%d %s%s"):format(n, noun, n == 1 and "" or "s")
end

---A name for the terminal: control characters, which could move the cursor, are written as \xNN.
function M.printable(text)
	return (text:gsub("[%z\1-\31\127]", function(c) return ("\\x%02x"):format(c:byte()) end))
end

-- Edit distance with swapped neighbours counted once.
local function distance(a, b)
	local before, last = nil, {}
	for j = 0, #b do
		last[j] = j
	end
	for i = 1, #a do
		local row = {[0] = i}
		for j = 1, #b do
			local same = a:byte(i) == b:byte(j)
			row[j] = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (same and 0 or 1))
			if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
				row[j] = math.min(row[j], before[j - 2] + 1)
			end
		end
		before, last = last, row
	end
	return last[#b]
end

---The known name nearest to a wrong one; nil if none is near. Names that it begins count as near.
function M.nearest(wrong, names)
	if #wrong > 64 then
		return nil
	end
	local bare = wrong:gsub("^%-+", "")
	local best, best_distance
	for _, name in ipairs(names) do
		local bare_name = name:gsub("^%-+", "")
		local d = distance(bare, bare_name)
		if bare ~= "" and bare_name:sub(1, #bare) == bare then
			d = math.min(d, 1)
		end
		if d <= math.max(1, #bare_name // 3) and (not best or d < best_distance) then
			best, best_distance = name, d
		end
	end
	return best
end

---" (did you mean 'x'?)", or nothing.
function M.did_you_mean(wrong, names)
	local name = M.nearest(wrong, names)
	return name and (" (did you mean '%s'?)"):format(name) or ""
end

---A message handler for xpcall around a script: where it happened, without the frames of the program below.
function M.traceback(message)
	if type(message) ~= "string" then
		return tostring(message)
	end
	return (debug.traceback(message, 2):gsub("\n\t%[C%]: in function 'xpcall'.*", ""))
end

---The option of every command that opens a store.
function M.define_store(command)
	command:option("--store"):argname("FILE"):overwrite(false)
		:description("The file of the store. The environment variable VIGIA_STORE stands for it.")
end

---The path of the store that the command line or the environment names.
function M.store_path(args)
	if args.store and args.store_before then
		M.usage("option '--store' can be given only once")
	end
	local path = args.store or args.store_before or os.getenv("VIGIA_STORE")
	if not path or path == "" then
		M.usage("no store: say --store FILE, or set VIGIA_STORE")
	end
	return path
end

---Open the store. Commands that do not append never make one, and but for run and gc none collects garbage.
function M.open_store(args, options)
	local path = M.store_path(args)
	options.collect = options.collect or false
	local store, err = require("vigia").open(path, options)
	if not store then
		if err.code == "store_not_found" and options.create == false then
			M.fail("%s: there is no such store (`vigia append` makes one)", M.printable(path))
		end
		M.fail("%s", tostring(err))
	end
	return store
end

---The value of a call that answers nil and an error when something went wrong.
function M.check(value, err)
	if err then
		M.fail("%s", tostring(err))
	end
	return value
end

---A converter for argparse: a whole number from `min` on.
function M.whole_number(option, min)
	return function(text)
		local n = text:match("^%d+$") and math.tointeger(tonumber(text))
		if not n or n < min then
			return nil, ("%s wants a whole number from %d on, not '%s'"):format(option, min, M.printable(text))
		end
		return n
	end
end

---A converter for argparse: a number of seconds.
function M.seconds(option)
	return function(text)
		local n = text:match("^%d*%.?%d*$") and tonumber(text)
		if not n then
			return nil, ("%s wants a number of seconds, not '%s'"):format(option, M.printable(text))
		end
		return n
	end
end

-- A value as JSON, in the same form as in an event.
local function to_json(value)
	local line = M.check(require("vigia").to_json({seq_num = 0, timestamp = 0, operation = "-", object_type = "-", object = value}))
	return line:match('"object":(.*)}$')
end

---A JSON object of {name, value} pairs, in their order.
function M.json_object(pairs_in_order)
	local parts = {}
	for i, pair in ipairs(pairs_in_order) do
		parts[i] = to_json(pair[1]) .. ":" .. to_json(pair[2])
	end
	return "{" .. table.concat(parts, ",") .. "}"
end

return M
