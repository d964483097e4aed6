-- retry.lua - `vigia retry`: lets a watcher try the event again that blocks it, now.

local steer = require("vigia.cli.steer")

return steer.command("retry", "Let a watcher try its failed event again now.", [[
A watcher whose handler failed waits, longer each time, before it tries the event again. This ends the
wait, once: for when the cause is gone. The exit status is 1 if the watcher does not wait to try an event
again, is paused, or does not run. Events that were put aside are tried again by `vigia dead retry`.
]] .. steer.HOW, "watcher '%s' tries event %d again")
