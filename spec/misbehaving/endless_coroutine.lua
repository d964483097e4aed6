-- Ends by: cpu. In a coroutine that was made before the time was up, and the one outside resumes it again.
return function(event)
	if event.object.bad then
		local co = coroutine.create(function()
			while true do pcall(function() while true do end end) end
		end)
		while true do
			coroutine.resume(co)
			if coroutine.status(co) == "dead" then
				co = coroutine.create(function() while true do end end)
			end
		end
	end
end
