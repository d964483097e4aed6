-- pause.lua - `vigia pause`: lets a watcher begin no event until it is resumed.

local steer = require("vigia.cli.steer")

return steer.command("pause", "Pause a watcher until it is resumed.", [[
Lets a watcher begin no event until `vigia resume`. The pause also holds after a restart of the
watcher. A running watcher keeps its id. Its position is kept. Events that it has not handled are
not removed.
]] .. steer.HOW, "watcher '%s' is paused")
