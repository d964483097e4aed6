-- manual.lua - `vigia manual`: the manual page vigia(1), made from the commands' own help, so that the two cannot disagree.

local util = require("vigia.cli.util")

local M = {}

M.summary = "Print the manual page."
M.description = [[
Prints the manual page vigia(1). An installed vigia is shown by `man vigia`; otherwise:
    vigia manual | man -l -]]

function M.define()
end

local BEFORE = [[
.Dd %s
.Dt VIGIA 1
.Os
.Sh NAME
.Nm vigia
.Nd event log in one file, watched by Lua handlers
.Sh SYNOPSIS
.Nm
.Ar command
.Op Ar argument ...
.Sh DESCRIPTION
What happens in a program is stored once, in order, in one file: as events,
each under the next sequence number.
Any number of watchers see all of them in that order, each at its own pace, and
go on behind their checkpoint after a crash.
.Nm
appends events, shows them, and runs handler scripts, which are Lua files that
return a function.
The same file can be used at the same time by any number of processes, by this
program, by the Lua module
.Li vigia
and by the C library.
Each command answers
.Fl -help .
.Sh COMMANDS
]]

local AFTER = [[
.Sh ENVIRONMENT
.Bl -tag -width Ds
.It Ev VIGIA_STORE
The file of the store, for commands without
.Fl -store .
.It Ev LUA_PATH , LUA_CPATH
Where handler scripts find modules.
.El
.Sh FILES
A store
.Ar FILE
has two files beside it,
.Ar FILE Ns -lock
and
.Ar FILE Ns -side ,
through which processes meet.
They hold no events.
.Sh EXIT STATUS
0 for success, 1 for a failure, 2 for wrong use.
.Sh EXAMPLES
.Bd -literal
echo '{"operation":"CREATE","object_type":"User","object":{"name":"Ana"}}' |
    vigia append --store users.db
echo 'return function(event) print(event.object.name) end' > greet.lua
vigia run --store users.db greet.lua --until-idle
vigia events --store users.db
.Ed
.Sh SEE ALSO
.Xr lua5.4 1
]]

-- Words of a text line, without what the formatter would take for a command.
local function escaped(text)
	return (text:gsub("\\", "\\e"):gsub("^([.'])", "\\&%1"):gsub("%-", "\\-"))
end

-- Text as it stands in a help: indented lines as they are, the others filled, each sentence on a line of its own.
local function add_text(out, text)
	local literal, words = false, {}
	local function flush()
		local text_line
		for _, word in ipairs(words) do
			local ended = text_line and text_line:find("[%a%d`)][.?!]$") and word:find("^[%u`]")
			if text_line and (ended or #text_line + 1 + #word > 70) then
				out[#out + 1] = escaped(text_line)
				text_line = word
			else
				text_line = text_line and text_line .. " " .. word or word
			end
		end
		out[#out + 1] = text_line and escaped(text_line)
		words = {}
	end
	for line in (text .. "\n"):gmatch("(.-)\n") do
		local indented = line:match("^%s+%S") ~= nil
		if indented ~= literal then
			flush()
			out[#out + 1] = indented and ".Bd -literal -offset Ds" or ".Ed\n.Pp"
			literal = indented
		end
		if indented then
			out[#out + 1] = escaped((line:gsub("^    ", "")))
		else
			for word in line:gmatch("%S+") do
				words[#words + 1] = word
			end
		end
	end
	flush()
	if literal then
		out[#out + 1] = ".Ed"
	end
end

-- The arguments and options of a command or of the program, as a list.
local function add_elements(out, parser)
	local elements = {}
	for _, list in ipairs{parser._arguments, parser._options} do
		for _, element in ipairs(list) do
			if not element._hidden and not (element._aliases and element._aliases[1] == "-h") then
				elements[#elements + 1] = element
			end
		end
	end
	if #elements == 0 then
		return
	end
	out[#out + 1] = ".Bl -tag -width Ds"
	for _, element in ipairs(elements) do
		local names = {}
		for _, alias in ipairs(element._aliases or {}) do
			names[#names + 1] = "Fl " .. escaped(alias:sub(2))
		end
		local argument = element._argname or (#names == 0 and element._name) or nil
		if type(argument) == "table" then
			argument = table.concat(argument, " ")
		end
		local head = table.concat(names, " , ")
		if argument then
			head = head .. (head == "" and "Ar " or " Ar ") .. escaped(argument)
		end
		out[#out + 1] = ".It " .. head
		add_text(out, element._description or "")
	end
	out[#out + 1] = ".El"
end

function M.run(_, parser)
	local time = math.tointeger(tonumber(os.getenv("SOURCE_DATE_EPOCH"))) or os.time()
	local date = os.date("!%B %d, %Y", time):gsub(" 0", " ")
	local out = {(BEFORE:format(date):gsub("\n$", ""))}
	for _, command in ipairs(parser._commands) do
		out[#out + 1] = ".Ss " .. escaped(command._name)
		out[#out + 1] = ".Bd -literal"
		for line in (command:get_usage():gsub("^Usage: ", "") .. "\n"):gmatch("(.-)\n") do
			out[#out + 1] = escaped((line:gsub("^       ", "    ")))
		end
		out[#out + 1] = ".Ed"
		out[#out + 1] = ".Pp"
		add_text(out, command._description)
		add_elements(out, command)
	end
	out[#out + 1] = ".Ss without a command"
	add_elements(out, parser)
	util.write(table.concat(out, "\n"), "\n", AFTER)
	return util.OK
end

return M
