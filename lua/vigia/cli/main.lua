-- main.lua - the program `vigia`: finds the command, runs it, returns the exit status.
--
-- The host (runtime/main.c) calls the function this file returns with the words of the command line. Each command is a file beside
-- this one: {name =, summary =, define = function(argparse command), run = function(args, parser) -> status or nil, which is success}.

local util = require("vigia.cli.util")

local COMMANDS = {
	"create", "append", "schedule", "events", "scheduled", "run", "repl", "tail", "types", "watchers",
	"seek", "pause", "resume", "retry", "forget", "checkpoints", "state", "dead", "stats",
	"serve", "configure", "gc", "verify", "doctor", "backup", "export", "import", "copy", "options", "completion", "manual",
}

local function load_argparse()
	local ok, argparse = pcall(require, "argparse")
	if not ok then
		util.fail("the Lua module argparse is missing (Debian: apt-get install lua-argparse; elsewhere: luarocks install argparse)")
	end
	return argparse
end

-- Raise: the text that was asked for, and nothing else.
local function show(text)
	util.write(text, "\n")
	util.exit(util.OK)
end

-- argparse's own --help leaves the process by itself; ours is an end like any other.
local function define_help(parser)
	parser:flag("-h --help"):description("Show this help.")
		:action(function() show(parser:get_help()) end)
end

-- The options that the current command knows, as its usage line has them.
local function known_options(parser)
	local names = {"--version", "--store"} -- it may stand before the command, too
	for name in parser:get_usage():gmatch("%-%-[%w%-]+") do
		names[#names + 1] = name
	end
	return names
end

-- What argparse found, in our words. It calls this with the parser of the command that was being read.
local function parse_error(parser, message)
	message = message:gsub("\n.*", "") -- its own guess, which knows only one typing mistake
	message = message:gsub("must be used at most 1 time", "can be given only once")
	local option = message:match("^unknown option '(.*)'$")
	local command = message:match("^unknown command '(.*)'$")
	if option then
		message = message .. util.did_you_mean(option, known_options(parser))
	elseif command then
		message = message .. util.did_you_mean(command, COMMANDS)
	elseif message == "too many arguments" and parser:get_usage():find("^Usage: vigia append") then
		message = "append reads standard input: vigia append --store FILE < EVENTS"
	elseif message == "a command is required" then
		message = "a command is required: " .. table.concat(COMMANDS, ", ")
	end
	local name = parser:get_usage():match("^Usage: (vigia [%l]+)") or "vigia"
	util.usage("%s\nTry `%s --help`.", util.printable(message), name)
end

local function build_parser()
	local argparse = load_argparse()
	local parser = argparse("vigia", "An event log in one file, watched by Lua handlers.")
	parser:add_help(false):command_target("command"):require_command(true):usage_margin(7):help_max_width(100)
	parser.error = parse_error
	parser:option("--store"):hidden(true):overwrite(false):target("store_before") -- it may also stand before the command
	parser:flag("--version"):description("Show the version.")
		:action(function() show(require("vigia")._VERSION) end)
	define_help(parser)

	local commands = {}
	for _, name in ipairs(COMMANDS) do
		local module = require("vigia.cli." .. name)
		commands[name] = module
		local command = parser:command(name):summary(module.summary):description(module.description or module.summary)
		command:add_help(false)
		module.define(command)
		define_help(command)
	end
	parser:epilog("VIGIA_STORE is the default of --store. Exit status: 0 success, 1 a failure, 2 wrong use.\n"
		.. "`vigia COMMAND --help` explains a command.")
	return parser, commands
end

local function run(words)
	-- Does without the parser, and so is fast.
	if #words == 1 and words[1] == "--version" then
		show(require("vigia")._VERSION)
	end
	-- `vigia help options` is `vigia options`, `vigia help COMMAND` is `vigia COMMAND --help`.
	if words[1] == "help" then
		local about = words[2] ~= "help" and words[2] or nil
		words = about == "options" and {"options"} or {about or "--help", about and "--help"}
	end
	local parser, commands = build_parser()
	local args = parser:parse(words)
	return commands[args.command].run(args, parser)
end

-- Unexpected errors keep their traceback.
local function on_error(value)
	if util.is_exit(value) then
		return value
	end
	return {status = util.FAILURE, message = debug.traceback("a bug in vigia: " .. tostring(value), 2)}
end

return function(words)
	local ok, ending = xpcall(run, on_error, words)
	if ok then
		return ending
	end
	if ending.message then
		util.say(ending.message)
	end
	return ending.status
end
