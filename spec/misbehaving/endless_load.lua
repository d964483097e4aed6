-- Ends by: cpu. Code made at run time, and a reader that goes on for ever.
return function(event)
	if event.object.bad then
		pcall(load, function() return " " end)
		load("while true do end")()
	end
end
