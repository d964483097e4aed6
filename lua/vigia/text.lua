-- text.lua - words for people: names that are safe on a terminal, the name that was meant, where an error happened.

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

return M
