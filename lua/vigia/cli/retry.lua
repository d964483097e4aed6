-- retry.lua - `vigia retry`: lets a watcher try the event again that blocks it, now.

local steer = require("vigia.cli.steer")

return steer.command("retry", "Retry the failed event of a watcher now.", [[
A watcher whose handler failed waits before it retries the event, longer each time. This command
ends the current wait. Use it when the cause is gone. The exit status is 1 if the watcher is not
waiting for a retry, is paused, or does not run. `vigia dead retry` retries dead letters.
]] .. steer.HOW, "watcher '%s' retries event %d")
