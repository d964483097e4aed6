-- text.lua - words for people: names that are safe on a terminal, the name that was meant, where an error happened.

local core <const> = require "vigia.core"

local M = {}

local function escape(bytes)
	return (bytes:gsub(".", function(c) return ("\\x%02x"):format(c:byte()) end))
end

-- Of valid UTF-8. C1 are U+0080 to U+009F.
local function without_controls(text)
	return (text:gsub("[%z\1-\31\127]", escape):gsub("\xC2[\x80-\x9F]", escape))
end

---Text for the terminal: control characters, which could move the cursor, are written as \xNN; those of C1, too, and bytes outside of
---UTF-8 that a terminal may take for them.
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

---A message handler for xpcall around a script: where it happened, without the frames of the program below.
function M.traceback(message)
	if type(message) ~= "string" then
		return tostring(message)
	end
	return (debug.traceback(message, 2):gsub("\n\t%[C%]: in function 'xpcall'.*", ""))
end

return M
