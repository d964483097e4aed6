-- Ends by: cpu. In a metamethod.
return function(event)
	if event.object.bad then
		local t = setmetatable({}, {__index = function() while true do end end})
		while true do
			pcall(function() return t.x end)
		end
	end
end
