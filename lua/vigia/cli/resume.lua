-- resume.lua - `vigia resume`: ends the pause of a watcher.

local steer = require("vigia.cli.steer")

return steer.command("resume", "Let a paused watcher continue.", [[
Ends a pause: the watcher continues where it was, or where it was moved meanwhile.
]] .. steer.HOW, "watcher '%s' is resumed")
