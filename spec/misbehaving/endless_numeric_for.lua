-- Ends by: cpu. A for that counts to the largest number.
return function(event)
	if event.object.bad then
		local n = 0
		for i = 1, math.maxinteger do n = i end
		return n
	end
end
