-- Ends by: cpu. The error is an object whose __tostring does not come back.
return function(event)
	if event.object.bad then
		error(setmetatable({}, {__tostring = function() while true do end end}))
	end
end
