-- Ends by: cpu. So is removing from one.
return function(event)
	if event.object.bad then
		while true do pcall(table.remove, setmetatable({}, {__len = function() return 1 << 62 end}), 1) end
	end
end
