-- Ends by: cpu. Tries to take the hook away.
return function(event)
	if event.object.bad then
		while true do
			pcall(function() debug.sethook() end)
			pcall(function() debug.getregistry() end)
			pcall(function() require("debug").sethook(coroutine.running(), nil) end)
		end
	end
end
