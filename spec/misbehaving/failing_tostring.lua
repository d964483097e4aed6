-- Ends by: error. The error is an object whose __tostring fails.
return function(event)
	if event.object.bad then
		error(setmetatable({}, {__tostring = function() error("no text") end}))
	end
end
