-- Ends by: cpu. Repeating nothing as often as there are numbers is a loop in C.
return function(event)
	if event.object.bad then
		while true do
			local s = string.rep("", math.maxinteger)
			assert(s == "")
		end
	end
end
