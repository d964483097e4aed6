-- show.lua - formats values for reading: [1, 2] for an array, {a = 1} for any other table; sorted, and cut at a sensible depth and length.

local is_array <const> = require("vigia.core").is_array
local printable <const> = require("vigia.text").printable

local M = {}

local DEPTH = 6
local ENTRIES = 60 -- of one table
local ALL = 1000 -- entries of all tables in it
local TEXT = 1000 -- bytes of a string inside a table

local ESCAPES = {["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\\"] = "\\\\", ['"'] = '\\"'}

local function escape(c)
	return ESCAPES[c] or (c:gsub(".", function(byte) return ("\\x%02x"):format(byte:byte()) end))
end

local C1 <const> = "\xC2[\x80-\x9F]"

local function quoted(text)
	local cut = #text > TEXT and ("..(%d bytes)"):format(#text) or ""
	local shown = #text > TEXT and text:sub(1, TEXT) or text
	if utf8.len(shown) then
		shown = shown:gsub('[%c\\"]', escape):gsub(C1, escape)
	else
		shown = shown:gsub('[%c\\"\128-\255]', escape)
	end
	return '"' .. shown .. '"' .. cut
end

local function named(value)
	local ok, text = pcall(tostring, value)
	return ok and type(text) == "string" and text or "(a " .. type(value) .. " whose __tostring fails)"
end

local RANK = {boolean = 1, number = 2, string = 3}

local function before(a, b)
	local rank_a, rank_b = RANK[type(a)] or 4, RANK[type(b)] or 4
	if rank_a ~= rank_b then return rank_a < rank_b end
	if rank_a == 2 or rank_a == 3 then return a < b end
	return named(a) < named(b)
end

local function key_text(key)
	if type(key) == "string" and key:find("^[%a_][%w_]*$") then return key end
	return "[" .. (type(key) == "string" and quoted(key) or named(key)) .. "]"
end

local show

-- The entries of a table as sorted texts, and whether some have other keys than those of an array.
local function entries(value, depth, inside)
	local list, keys = {}, {}
	local length = rawlen(value)
	for i = 1, math.min(length, ENTRIES) do list[i] = show(rawget(value, i), depth + 1, inside) end
	if length > ENTRIES then list[#list + 1] = ("... %d more"):format(length - ENTRIES) end
	for key in next, value do
		if not (math.type(key) == "integer" and key >= 1 and key <= length) then keys[#keys + 1] = key end
	end
	table.sort(keys, before)
	for i, key in ipairs(keys) do
		if i > ENTRIES then
			list[#list + 1] = ("... %d more"):format(#keys - ENTRIES)
			break
		end
		list[#list + 1] = key_text(key) .. " = " .. show(rawget(value, key), depth + 1, inside)
	end
	return list, keys[1] ~= nil
end

-- `inside`: the tables being shown, the width of lines (nil: all on one), and how many entries may still be shown.
function show(value, depth, inside)
	if type(value) == "string" then return quoted(value) end
	if type(value) ~= "table" then return named(value) end
	local metatable = getmetatable(value)
	if type(metatable) == "table" and metatable.__tostring then return named(value) end
	if inside[value] then return "<itself>" end
	-- An empty table is stored as a map, unless it is marked as an array.
	local array = is_array(value) or rawlen(value) > 0
	if next(value) == nil then return array and "[]" or "{}" end
	if depth >= DEPTH or inside.left <= 0 then return array and "[...]" or "{...}" end
	inside[value] = true
	local list, has_keys = entries(value, depth, inside)
	inside.left = inside.left - #list
	inside[value] = nil
	local open, close = "[", "]"
	if has_keys or not array then open, close = "{", "}" end
	local line = open .. table.concat(list, ", ") .. close
	if not inside.width or (#line + 2 * depth <= inside.width and not line:find("\n", 1, true)) then return line end
	local indent = ("  "):rep(depth + 1)
	return open .. "\n" .. indent .. table.concat(list, ",\n" .. indent) .. "\n" .. ("  "):rep(depth) .. close
end

---Format a value. With a width, longer tables take several lines. A string is not quoted if it is printable.
function M.show(value, width)
	if type(value) == "string" and printable(value) == value then return value end
	return show(value, 0, {width = width, left = ALL})
end

---The same, but always quote a string.
function M.quote(value, width)
	return show(value, 0, {width = width, left = ALL})
end

return M
