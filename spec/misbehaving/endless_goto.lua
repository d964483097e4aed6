-- Ends by: cpu. The same with goto, calling nothing.
return function(event)
	if event.object.bad then
		::again::
		goto again
	end
end
