-- repl.lua - `vigia repl`: a prompt over a live store.

local util = require("vigia.cli.util")

local M = {}

M.summary = "Read a store at a prompt."
M.description = [[
Reads Lua from the terminal, runs it and prints its values. help lists the commands, exit leaves.
The prompt is read-only unless --write is given. Other programs may write meanwhile. The history
is kept in vigia/history below $XDG_STATE_HOME or ~/.local/state.
Input from a file or pipe prints each expression's value on a line. Errors go to standard error.
The exit status is 1 if there was an error.]]

function M.define(command)
	util.define_store(command)
	command:flag("--write"):description("Allow changes, such as store:store_event. `help` at the prompt lists them.")
end

function M.run(args)
	local store <close> = util.open_store(args, {readonly = not args.write, create = false, collect = false})
	return require("vigia.repl").run({store = store}, args.write and "write" or "readonly") and util.OK or util.FAILURE
end

return M
