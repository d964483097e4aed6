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

---Print rows of cells, the first column on the left, and those of `left` too. The others are numbers.
function M.write_table(rows, left)
	local widths = {}
	for _, row in ipairs(rows) do
		for i, cell in ipairs(row) do
			widths[i] = math.max(widths[i] or 0, utf8.len(cell) or #cell)
		end
	end
	for _, row in ipairs(rows) do
		local cells = {}
		for i, cell in ipairs(row) do
			local pad = (" "):rep(widths[i] - (utf8.len(cell) or #cell))
			cells[i] = (i == 1 or (left and left[i])) and cell .. pad or pad .. cell
		end
		M.write(table.concat(cells, "  "), "\n")
	end
end

---One event, two events.
function M.count(n, noun)
	return ("%d %s%s"):format(n, noun, n == 1 and "" or "s")
end

for name, f in pairs(require("vigia.text")) do
	M[name] = f
end

---The options of every command that opens a store; with {create = false} not the one that makes it.
function M.define_store(command, with)
	command:option("--store"):argname("FILE"):overwrite(false)
		:description("The file of the store (default: the environment variable VIGIA_STORE).")
	if not with or with.create ~= false then
		command:flag("--create"):description("Create the store if it does not exist.")
	end
end

function M.define_log_format(command)
	command:option("--log-format"):argname("FORMAT"):choices({"plain", "logfmt", "json"}):overwrite(false)
		:description("Format of log records (default: plain, or that of the systemd journal).")
end

---What a service ended with: a sentence for people, or a log record where a program reads them.
function M.tell(problem, log_format)
	if log_format and log_format ~= "plain" then
		require("vigia.core").log("error", problem)
	else
		M.say(problem)
	end
end

---The path of the store that the command line or the environment names.
function M.store_path(args)
	if args.store and args.store_before then
		M.usage("option '--store' can be given only once")
	end
	local path = args.store or args.store_before or os.getenv("VIGIA_STORE")
	if not path or path == "" then
		M.usage("no store is given: use --store FILE, or set VIGIA_STORE")
	end
	return path
end

---The location of a store for a message: printable, and without a password.
function M.shown(path)
	return M.printable(require("vigia.core").show_location(path))
end

---What to say of a store that is not there: why, if the error knows more than that.
function M.no_such_store(path, message)
	local why = tostring(message):match("^there is no store '.*': (.+)$")
	local cannot = why and (why:find("does not exist", 1, true) or why:find("leads nowhere", 1, true))
	return ("%s: there is no such store%s%s"):format(M.shown(path), why and ": " .. why or "",
		cannot and "" or " (`vigia create` and `vigia append` create one)")
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

-- With --create: make the store if it is not there. One that is, of whatever settings, is left as it is.
local function create_store(path)
	local vigia = require("vigia")
	local there, err = vigia.open(path, {create = false, collect = false, readonly = true})
	if not there and err.code == "store_not_found" then
		there, err = vigia.open(path, {collect = false})
	end
	if not there then
		M.fail("%s", tostring(err))
	end
	there:close()
end

---Open the store. Commands that do not append never make one without --create, and but for run and gc none collects garbage.
function M.open_store(args, options)
	local path = M.store_path(args)
	options.collect = options.collect or false
	if args.create then
		create_store(path)
	end
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
			return nil, ("%s must be a whole number, at least %d, not '%s'"):format(option, min, M.printable(text))
		end
		return n
	end
end

-- What a text says of a size (in bytes) or a duration (in nanoseconds); nil and what is wrong with it.
local function read_quantity(kind, option, text)
	local n, problem = require("vigia.core").quantity(kind, text)
	if n then
		return n
	elseif problem:find("^must ") then
		return nil, ("%s %s, not '%s'"):format(option, problem, M.printable(text))
	end
	return nil, ("%s: '%s' %s"):format(option, M.printable(text), problem)
end

local SECOND <const> = 1000000000

---A converter for argparse: a duration, in seconds.
function M.seconds(option)
	return function(text)
		local ns, problem = read_quantity("duration", option, text)
		if not ns then
			return nil, problem
		end
		return ns % SECOND == 0 and ns // SECOND or ns / SECOND
	end
end

---A converter for argparse: a number of bytes.
function M.bytes(option)
	return function(text)
		return read_quantity("size", option, text)
	end
end

-- Days since 1970 of a day in the Gregorian calendar, or nil where there is no such day.
local function days_of(year, month, day)
	if month < 1 or month > 12 or day < 1 or year < 1970 then
		return nil
	end
	-- Years begin in March, so that the leap day is the last one.
	local function count(y, m, d)
		if m <= 2 then
			y, m = y - 1, m + 12
		end
		return 365 * y + y // 4 - y // 100 + y // 400 + (153 * (m - 3) + 2) // 5 + d - 719469
	end
	local behind = month < 12 and count(year, month + 1, 1) or count(year + 1, 1, 1)
	local days = count(year, month, day)
	return days < behind and days or nil
end

local LATEST_YEAR <const> = 2261 -- the last whole one that nanoseconds can tell

-- 2026-12-24, 2026-12-24T18:00, 2026-12-24 18:00:30.5, with Z or +01:00 behind it -> nanoseconds since 1970; nil: it is none.
local function read_time(text)
	local year, month, day, rest = text:match("^(%d%d%d%d)-(%d%d)-(%d%d)(.*)$")
	if not year then
		return nil
	end
	local hour, minute, more = rest:match("^[T ](%d%d):(%d%d)(.*)$")
	hour, minute, more = hour or "0", minute or "0", more or rest
	local second, fraction, zone = more:match("^:(%d%d)(%.?%d*)(.*)$")
	second, fraction, zone = tonumber(second or "0"), fraction or "", zone or more
	hour, minute = tonumber(hour), tonumber(minute)
	local days = days_of(tonumber(year), tonumber(month), tonumber(day))
	if not days or tonumber(year) > LATEST_YEAR or hour > 23 or minute > 59 or second > 59 or fraction == "." then
		return nil
	end
	local seconds = days * 86400 + hour * 3600 + minute * 60 + second
	local sign, hours, minutes = zone:match("^([+-])(%d%d):?(%d%d)$")
	if sign and (tonumber(hours) > 23 or tonumber(minutes) > 59) then
		return nil
	elseif sign then
		seconds = seconds - tonumber(sign .. "1") * (tonumber(hours) * 3600 + tonumber(minutes) * 60)
	elseif zone == "" then
		seconds = os.time({year = tonumber(year), month = tonumber(month), day = tonumber(day), hour = hour, min = minute, sec = second})
	elseif zone ~= "Z" then
		return nil
	end
	local nanoseconds = tonumber((fraction:sub(2) .. "000000000"):sub(1, 9))
	return seconds >= 0 and seconds * SECOND + nanoseconds or nil
end

---A converter for argparse: a time, in nanoseconds since 1970. With `ages` also an age, 2h for two hours ago.
function M.time(option, ages)
	return function(text)
		local at = text:match("^%d+$") and math.tointeger(tonumber(text)) or read_time(text)
		if at then
			return at
		end
		local problem
		if ages and text:find("^[%d.]+ ?%l+$") then
			local core = require("vigia.core")
			local age
			age, problem = core.quantity("duration", text)
			if age then
				return math.max(core.wall() - age, 0)
			end
		end
		if problem and not problem:find("^must ") then
			return nil, ("%s: '%s' %s"):format(option, M.printable(text), problem)
		end
		return nil, ("%s must be a time, such as 2026-12-24T18:00%s, or nanoseconds since 1970, not '%s'"):format(option,
			ages and ", an age, such as 2h" or "", M.printable(text))
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
