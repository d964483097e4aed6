-- api.lua - reads lua/vigia/api.lua and its parts, where the Lua API is described, into a table: for scripts/reference and specs.
--
-- read(folder) answers a list of {kind = "text"|"class"|"alias"|"function"|"value", line =, description =, ...} in the files' order:
--   class     name, fields = {{name, optional, type, text}}, variable = what functions are declared on, if there are any
--   alias     name, type
--   function  class, name, method = true for a:b, parameters = {names}, params = {{name, optional, type, text}},
--             returns = {{type, name, text}}
--   value     class, name, type or value

local M = {FILES = {"api.lua", "api_watching.lua", "api_testing.lua"}}

-- A type at the beginning of a text, and the rest: brackets and what follows `fun(...):` belong to it.
function M.split_type(text)
	local at, depth = 1, 0
	while at <= #text do
		local c = text:sub(at, at)
		if c:find("[({%[<]") then
			depth = depth + 1
		elseif c:find("[)}%]>]") then
			depth = depth - 1
		elseif c == '"' then
			at = text:find('"', at + 1, true) or #text
		elseif c == " " and depth == 0 and text:sub(at - 1, at - 1) ~= ":" then
			break
		end
		at = at + 1
	end
	return text:sub(1, at - 1), (text:sub(at):gsub("^%s+", ""))
end

local function named(text)
	local name, optional, rest = text:match("^([%w_.]+)(%??)%s+(.*)$")
	assert(name, "neither a name nor a type: " .. text)
	local kind, words = M.split_type(rest)
	return {name = name, optional = optional == "?" or kind:sub(-1) == "?", type = kind, text = words}
end

local function returned(text)
	local kind, rest = M.split_type(text)
	local name, words = rest:match("^([%w_]+)%s*(.*)$")
	return {type = kind, name = name, text = words or ""}
end

-- Add what one file describes.
local function read_file(path, items)
	local class_of, before = {}, #items
	local description, params, returns, class, kind = {}, {}, {}, nil, nil
	local number = 0

	local function add(item)
		item.line, item.description = number, table.concat(description, " ")
		items[#items + 1] = item
		description = {}
		return item
	end

	for line in io.lines(path) do
		number = number + 1
		local tag, rest = line:match("^%-%-%-@(%a+) ?(.*)$")
		local text = not tag and line:match("^%-%-%-(.*)$")
		local variable = line:match("^local ([%w_]+) = {}")
		local owner, dot, name, parameters = line:match("^function ([%w_]+)([.:])([%w_]+)%((.-)%)")
		local of, constant, value = line:match("^([%w_]+)%.([%w_]+) = (.*)$")
		if tag == "class" then
			class = add{kind = "class", name = rest:match("^[%w_.]+"), fields = {}}
		elseif tag == "field" then
			class.fields[#class.fields + 1] = named(rest)
		elseif tag == "alias" then
			local alias, type_text = rest:match("^([%w_.]+) (.*)$")
			class = add{kind = "alias", name = alias, type = type_text}
		elseif tag == "param" then
			params[#params + 1] = named(rest)
		elseif tag == "return" then
			returns[#returns + 1] = returned(rest)
		elseif tag == "type" then
			kind = rest
		elseif text then
			local field = class and class.kind == "class" and class.fields[#class.fields]
			if field then -- its text goes on
				field.text = field.text .. " " .. text
			elseif class and class.kind == "alias" and items[#items] == class and #params == 0 then
				class.description = (class.description .. " " .. text):gsub("^ ", "")
			else
				description[#description + 1] = text
			end
		elseif variable and class then
			class_of[variable], class.variable = class.name, variable
		elseif owner then
			local names = {}
			for parameter in parameters:gmatch("[%w_]+") do
				names[#names + 1] = parameter
			end
			add{kind = "function", class = assert(class_of[owner], owner), owner = owner, name = name, method = dot == ":",
				parameters = names, params = params, returns = returns}
			params, returns, class = {}, {}, nil
		elseif constant and class_of[of] then
			add{kind = "value", class = class_of[of], name = constant, type = kind, value = value}
			kind, class = nil, nil
		elseif line:find("^%-%- ") and #items == before then
			description[#description + 1] = line:sub(4)
		elseif line == "" then
			if #items == before and #description > 0 then
				add{kind = "text"}
			end
			description, class = {}, nil
		end
	end
end

function M.read(folder)
	local items = {}
	for _, name in ipairs(M.FILES) do
		read_file(folder .. "/" .. name, items)
	end
	return items
end

return M
