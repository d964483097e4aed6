-- Ends by: cpu. Two coroutines that hand over to and fro for ever.
return function(event)
	if event.object.bad then
		local other = coroutine.wrap(function()
			while true do coroutine.yield() end
		end)
		while true do other() end
	end
end
