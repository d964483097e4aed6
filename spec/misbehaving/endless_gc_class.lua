-- Ends by: error. A class of decoded objects cannot bring a finalizer along either.
local vigia = require "vigia"
local Class = {}
Class.__index = Class
vigia.register_type("Job", Class)
Class.__gc = function() while true do end end

return function(event)
	if event.object.bad then
		event = nil
		collectgarbage()
		collectgarbage()
		error("no finalizer ran")
	end
end
