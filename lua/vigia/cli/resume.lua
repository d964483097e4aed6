-- resume.lua - `vigia resume`: ends the pause of a watcher.

local steer = require("vigia.cli.steer")

return steer.command("resume", "Let a paused watcher continue.", [[
Ends a pause. The watcher continues where it stopped, or where `vigia seek` moved it.
]] .. steer.HOW, "watcher '%s' is resumed")
