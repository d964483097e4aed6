-- Ends by: cpu. C calls pcall calls an endless loop.
return function(event)
	if event.object.bad then
		local function forever() while true do end end
		local list = {}
		for i = 1, 1000 do list[i] = forever end
		while true do pcall(table.sort, list, pcall) end
	end
end
