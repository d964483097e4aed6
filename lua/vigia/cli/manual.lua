-- manual.lua - `vigia manual`: the manual page vigia(1). Its prose is manual.mdoc; the tables of options and errors come from the code.

local util = require("vigia.cli.util")

local M = {}

M.summary = "Print the manual page."
M.description = [[
Prints the manual page vigia(1). After installation `man vigia` shows it. In a clone:
    vigia manual | man -l -]]

function M.define()
end

local WIDTH <const> = 78

-- Text without what the formatter would take for a command, each sentence on a line of its own, in lines of at most WIDTH characters.
local function escaped(text)
	local lines = util.wrap(text:gsub("\\", "\\e"):gsub("%-", "\\-"), WIDTH, function(line, word)
		return line:find("[%w`)][.?!]$") and word:find("^[%u`]")
	end)
	return ("\n" .. table.concat(lines, "\n")):gsub("\n([.'])", "\n\\&%1"):sub(2)
end

-- A list of {name, text}.
local function list(rows)
	local out = {".Bl -tag -width Ds"}
	for _, row in ipairs(rows) do
		out[#out + 1] = ".It Li " .. row[1]
		out[#out + 1] = escaped(row[2])
	end
	out[#out + 1] = ".El"
	return table.concat(out, "\n")
end

local function options(name)
	local of = require("vigia.cli.options")
	local rows = {}
	for _, option in ipairs(of.set(name)) do
		local default = of.default_text(option)
		rows[#rows + 1] = {option.name, option.help .. (default ~= "-" and " Default: " .. default .. "." or "")
			.. (option.scope == "fixed" and " Fixed when the file is created." or "")}
	end
	return list(rows)
end

local function errors()
	local rows = {}
	for _, err in ipairs(require("vigia.core").errors()) do
		rows[#rows + 1] = {err.code, err.help}
	end
	return list(rows)
end

function M.run()
	local path = assert(package.searchpath("vigia.cli.manual", package.path)):gsub("%.lua$", ".mdoc")
	local file <close>, why = io.open(path)
	if not file then
		util.fail("the text of the manual page is missing: %s", why)
	end
	local time = math.tointeger(tonumber(os.getenv("SOURCE_DATE_EPOCH"))) or os.time()
	local date = os.date("!%B %d, %Y", time):gsub(" 0", " ")
	util.write((file:read("a"):gsub("@DATE@", date):gsub("@OPTIONS (%l+)@", options):gsub("@ERRORS@", errors)))
end

return M
