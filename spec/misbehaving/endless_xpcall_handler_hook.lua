-- Ends by: cpu. The message handler of what the cap itself raised, where nothing can yield.
return function(event)
	if event.object.bad then
		local function forever() while true do end end
		while true do
			pcall(table.sort, {2, 1}, function()
				xpcall(forever, forever)
				xpcall(forever, forever)
				return true
			end)
		end
	end
end
