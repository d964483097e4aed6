-- Ends by: error. As many results as the stack holds, and more.
return function(event)
	if event.object.bad then
		local list = {}
		for i = 1, 100000 do list[i] = i end
		list[1] = false
		return table.unpack(list)
	end
end
