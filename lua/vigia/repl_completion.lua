-- repl_completion.lua - completes names, fields, methods, object types and watcher ids at the prompt (repl.lua). Calls no user code.
-- The completion of the program's own command line, in a shell, is cli/completion.lua.

local core = require "vigia.core"
local text = require "vigia.text"

local KNOWN_EVENTS <const> = 1000 -- the last ones, searched for object types

-- The object types of the last events, the watcher ids, and the buckets.
local function known_names(store)
	local names = {}
	if not store then return names end
	local latest = store:get_latest_event_num() or 0
	local result = store:get_events{event_iterator = core.at_sequence_number(math.max(1, latest - KNOWN_EVENTS + 1)), timeout = 0,
		limit = KNOWN_EVENTS}
	for _, event in ipairs(result and result.events or {}) do names[event.object_type] = true end
	for id in pairs(store:checkpoints() or {}) do names[id] = true end
	for id in pairs(store:holds() or {}) do names[id] = true end
	for _, bucket in ipairs(store:buckets() or {}) do names[bucket.name] = true end
	for name in pairs(names) do -- names that a string literal cannot contain unescaped
		if text.printable(name) ~= name or name:find("[\"'\\]") then names[name] = nil end
	end
	return names
end

-- Where the unfinished string at the end of a line begins, or nil.
local function open_string(line)
	local at = 1
	while true do
		local start, _, quote = line:find("([\"'])", at)
		if not start then return nil end
		at = start + 1
		repeat
			local stop, _, char = line:find("([\\" .. quote .. "])", at)
			if not stop then return start + 1 end
			at = stop + (char == quote and 1 or 2)
		until char == quote
	end
end

local KEYWORDS = {
	"and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local", "nil", "not", "or", "repeat",
	"return", "then", "true", "until", "while",
}

-- The names a value has: its own string keys and those of its class.
local function names_of(value, add)
	for _ = 1, 10 do
		if type(value) == "table" then
			for key in next, value do
				if type(key) == "string" then add(key, rawget(value, key)) end
			end
		end
		local metatable = debug.getmetatable(value)
		value = type(metatable) == "table" and rawget(metatable, "__index")
		if type(value) ~= "table" then return end
	end
end

-- A field, following __index tables but calling no functions.
local function field(value, name)
	for _ = 1, 10 do
		local found = type(value) == "table" and rawget(value, name)
		if found ~= nil and found ~= false then return found end
		local metatable = debug.getmetatable(value)
		value = type(metatable) == "table" and rawget(metatable, "__index")
		if type(value) ~= "table" then return nil end
	end
end

---The completions of line:sub(from + 1, to), the text between the last separator and the cursor.
return function(env, store, line, from, to)
	local word, found, seen = line:sub(from + 1, to), {}, {}
	local function offer(candidate)
		if candidate:sub(1, #word) == word and not seen[candidate] then
			seen[candidate] = true
			found[#found + 1] = candidate
		end
	end
	local string_start = open_string(line:sub(1, to))
	if string_start and string_start <= from + 1 then
		local already = line:sub(string_start, from) -- a name may contain separators
		for name in pairs(known_names(store)) do
			if name:sub(1, #already) == already then offer(name:sub(#already + 1)) end
		end
	elseif not string_start then
		local path, separator, start = word:match("^(.*)([.:])([%w_]*)$")
		if path then
			local value = env
			for name in path:gmatch("[%w_]+") do value = field(value, name) end
			local prefix = path .. separator
			if value ~= nil and prefix .. start == word then
				names_of(value, function(name, member)
					if name:find("^[%a_][%w_]*$") and (separator == "." or type(member) == "function") then offer(prefix .. name) end
				end)
			end
		elseif word:find("^[%a_][%w_]*$") or word == "" then
			names_of(env, function(name) offer(name) end)
			for _, keyword in ipairs(KEYWORDS) do offer(keyword) end
		end
	end
	table.sort(found)
	return found
end
