-- forget.lua - `vigia forget`: removes what is stored of a watcher.

local steer = require("vigia.cli.steer")

return steer.command("forget", "Remove what is stored of a watcher.", [[
Removes the checkpoint or hold of a watcher that is not needed any more, its pause and its dead letters.
It then holds back garbage collection no longer. Started again under this id, it begins as a new one. A
watcher that runs is refused: stop it first.]], "watcher '%s' is forgotten")
