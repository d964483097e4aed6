-- Ends by: cpu. Waits for nothing, without end: its time is counted over all its pieces.
local vigia = require "vigia"

return function(event)
	while event.object.bad do vigia.sleep(0) end
end
