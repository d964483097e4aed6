-- pause.lua - `vigia pause`: lets a watcher begin no event until it is resumed.

local steer = require("vigia.cli.steer")

return steer.command("pause", "Let a watcher wait until it is resumed.", [[
Lets a watcher begin no event until `vigia resume`, in a process that is started later, too. Its id stays
taken while it runs, its place is kept, and events that it has not handled are not collected.
]] .. steer.HOW, "watcher '%s' is paused")
