-- Ends by: cpu. Inserting into a table that says it is long is a loop in C.
return function(event)
	if event.object.bad then
		while true do pcall(table.insert, setmetatable({}, {__len = function() return 1 << 62 end}), 1, true) end
	end
end
