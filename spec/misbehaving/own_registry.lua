-- Ends by: error. A registry of its own would run until it is stopped.
local vigia = require "vigia"

return function(event, ctx)
	if event.object.bad then vigia.registry(ctx and ctx.store):run() end
end
