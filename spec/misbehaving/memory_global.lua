-- Ends by: memory. What stays from event to event counts, too, until the state is made anew.
kept = {}

return function(event)
	if event.object.bad then
		for i = 1, 1 << 30 do kept[i] = ("something"):rep(10000) .. i end
	end
end
