-- Ends by: error. An error without a value.
return function(event)
	if event.object.bad then error(nil) end
end
