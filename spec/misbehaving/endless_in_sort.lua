-- Ends by: cpu. In a sort callback nothing can yield.
return function(event)
	if event.object.bad then
		while true do
			pcall(table.sort, {3, 2, 1}, function()
				while true do pcall(function() while true do end end) end
			end)
		end
	end
end
