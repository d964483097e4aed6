-- Ends by: cpu. A loop without an end.
return function(event)
	if event.object.bad then
		while true do end
	end
end
