-- text.lua - text for messages: escapes for a terminal, times, suggestions for misspelled names, tracebacks.

local core <const> = require "vigia.core"

local M = {}

local function escape(bytes)
	return (bytes:gsub(".", function(c) return ("\\x%02x"):format(c:byte()) end))
end

-- For valid UTF-8. The C1 controls are U+0080 to U+009F.
local function without_controls(text)
	return (text:gsub("[%z\1-\31\127]", escape):gsub("\xC2[\x80-\x9F]", escape))
end

---Escape text for a terminal: control characters, which could move the cursor, are written as \xNN, and so are the C1 controls and
---bytes outside UTF-8 that a terminal may take for them.
function M.printable(text)
	local parts, from = {}, 1
	while true do
		local length, bad = utf8.len(text, from)
		if length then
			parts[#parts + 1] = without_controls(text:sub(from))
			return table.concat(parts)
		end
		local stray = text:sub(bad, bad)
		parts[#parts + 1] = without_controls(text:sub(from, bad - 1))
		parts[#parts + 1] = stray:find("[\x80-\x9F]") and escape(stray) or stray
		from = bad + 1
	end
end

---A time in nanoseconds since the epoch as ISO 8601, to so many digits behind the second (9).
function M.time(ns, digits)
	digits = digits or 9
	return os.date("!%Y-%m-%dT%H:%M:%S.", ns // 1000000000) .. ("%09d"):format(ns % 1000000000):sub(1, digits) .. "Z"
end

---The known name nearest to a wrong one; nil if none is near. The dashes of options do not count.
function M.nearest(wrong, names)
	local bare, whole = {}, {}
	for i, name in ipairs(names) do
		bare[i] = name:gsub("^%-+", "")
		whole[bare[i]] = name
	end
	return whole[core.nearest(wrong:gsub("^%-+", ""), bare)]
end

---" (did you mean 'x'?)", or nothing.
function M.did_you_mean(wrong, names)
	local name = M.nearest(wrong, names)
	return name and (" (did you mean '%s'?)"):format(name) or ""
end

---A message handler for xpcall around a script: adds a traceback without the program's own frames.
function M.traceback(message)
	if type(message) ~= "string" then
		return tostring(message)
	end
	return (debug.traceback(message, 2):gsub("\n\t%[C%]: in function 'xpcall'.*", ""))
end

return M
