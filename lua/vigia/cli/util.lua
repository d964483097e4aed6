-- util.lua - what the commands of the program share: how they end, what they write, and how they read words from the command line.
--
-- A command returns its exit status, or nothing where all went well. It ends early by raising one of the values made here, which main.lua
-- catches.

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

---A message for the person at the terminal. Much of it comes from outside: no control character of that moves the cursor.
function M.say(message)
	message = message:gsub("[^\n\t]+", M.printable)
	io.stderr:write("vigia: " .. message .. "\n") -- in one call: scripts on other threads print to the same terminal
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

for name, f in pairs(require("vigia.text")) do
	M[name] = f
end

---The option of every command that opens a store.
function M.define_store(command)
	command:option("--store"):argname("FILE"):overwrite(false)
		:description("The file of the store (default: the environment variable VIGIA_STORE).")
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

---What to say of a store that is not there: why, if the error knows more than that.
function M.no_such_store(path, message)
	local why = tostring(message):match("^there is no store '.*': (.+)$")
	local cannot = why and (why:find("does not exist", 1, true) or why:find("leads nowhere", 1, true))
	return ("%s: there is no such store%s%s"):format(M.printable(path), why and ": " .. why or "",
		cannot and "" or " (`vigia append` makes one)")
end

---Split a text into lines of at most `width` bytes. A longer word gets a line of its own.
---@param begins_line? fun(line: string, word: string): any whether the word behind this line begins another one anyway
---@return string[]
function M.wrap(text, width, begins_line)
	local lines, line = {}, nil
	for word in text:gmatch("%S+") do
		if line and #line + 1 + #word <= width and not (begins_line and begins_line(line, word)) then
			line = line .. " " .. word
		else
			lines[#lines + 1], line = line, word
		end
	end
	lines[#lines + 1] = line
	return lines
end

---Open the store. Commands that do not append never make one, and but for run and gc none collects garbage.
function M.open_store(args, options)
	local path = M.store_path(args)
	options.collect = options.collect or false
	local store, err = require("vigia").open(path, options)
	if not store then
		if err.code == "store_not_found" and options.create == false then
			M.fail("%s", M.no_such_store(path, err))
		end
		M.fail("%s", tostring(err))
	end
	return store
end

---The value of a call that returns nil and an error on failure.
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
			return nil, ("%s must be a whole number from %d on, not '%s'"):format(option, min, M.printable(text))
		end
		return n
	end
end

---A converter for argparse: a number of seconds.
function M.seconds(option)
	return function(text)
		local n = text:match("^%d*%.?%d*$") and tonumber(text)
		if not n then
			return nil, ("%s must be a number of seconds, not '%s'"):format(option, M.printable(text))
		end
		return n
	end
end

local UNITS = {[""] = 1, K = 1 << 10, M = 1 << 20, G = 1 << 30}

---A converter for argparse: a number of bytes, perhaps with K, M or G.
function M.bytes(option)
	return function(text)
		local digits, unit = text:match("^(%d+)([KMG]?)$")
		local n = digits and math.tointeger(tonumber(digits))
		if not n or n > math.maxinteger // UNITS[unit] then
			return nil, ("%s must be a number of bytes, which may end in K, M or G, not '%s'"):format(option, M.printable(text))
		end
		return n * UNITS[unit]
	end
end

---A converter for argparse: names with commas between them, as a list. "" is an empty one.
function M.names()
	return function(text)
		local names = {}
		for name in text:gmatch("[^,%s]+") do
			names[#names + 1] = name
		end
		return names
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
