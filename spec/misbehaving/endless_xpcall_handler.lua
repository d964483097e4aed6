-- Ends by: cpu. The message handler does not come back.
return function(event)
	if event.object.bad then
		xpcall(error, function() while true do end end)
	end
end
