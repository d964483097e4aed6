-- Ends by: cpu. Moving nothing as far as there are numbers is a loop in C.
return function(event)
	if event.object.bad then
		while true do pcall(table.move, {}, 1, math.maxinteger - 1, 1) end
	end
end
