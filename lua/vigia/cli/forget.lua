-- forget.lua - `vigia forget`: removes what is stored of a watcher.

local steer = require("vigia.cli.steer")

return steer.command("forget", "Remove what is stored of a watcher.", [[
Removes the checkpoint or hold of a watcher, its pause and its dead letters. The watcher then no
longer blocks the removal of events. If it is started again, it begins as a new one. The command
refuses a watcher that runs. Stop it first.]], "watcher '%s' is forgotten")
