-- Ends by: memory. Coroutines and closures that hold each other.
return function(event)
	if event.object.bad then
		local last
		while true do
			local before = last
			last = coroutine.wrap(function() coroutine.yield(before) end)
			last()
		end
	end
end
