-- repl.lua - `vigia repl`: a prompt over a live store.

local util = require("vigia.cli.util")

local M = {}

M.summary = "Look into a store at a prompt."
M.description = [[
Reads Lua from the terminal, runs it and prints its values; it greets with how to list its commands.
Others may go on writing to it: the prompt reads, collects nothing, and keeps no snapshot
open while it waits. What was typed is kept in vigia/history below $XDG_STATE_HOME or ~/.local/state.
Input from a file or pipe works as a script: each expression's value comes on a line of its own,
errors go to stderr, and the exit status is 1 if there was one.]]

function M.define(command)
	util.define_store(command)
	command:flag("--write"):description("Allow changes: store:store_event and its like.")
end

function M.run(args)
	local store <close> = util.open_store(args, {readonly = not args.write, create = false, collect = false})
	return require("vigia.repl").run{store = store} and util.OK or util.FAILURE
end

return M
