-- completion.lua - `vigia completion`: what a shell needs to complete the program's command line, made from the commands themselves.

local util = require("vigia.cli.util")

local M = {}

M.summary = "Print completions of commands and options for a shell."
M.description = [[
Prints the completions for a shell. They are part of an installation. In a clone:
    source <(vigia completion bash)
    vigia completion zsh > ~/.zfunc/_vigia        (a folder of your fpath)
    vigia completion fish > ~/.config/fish/completions/vigia.fish]]

function M.define(command)
	command:argument("shell"):args(1):choices{"bash", "zsh", "fish"}:description("bash, zsh or fish.")
end

function M.run(args, parser)
	util.write((parser["get_" .. args.shell .. "_complete"](parser)))
end

return M
