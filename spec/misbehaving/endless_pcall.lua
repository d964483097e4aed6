-- Ends by: cpu. Catches what would stop it, again and again.
local function forever()
	while true do end
end

return function(event)
	if event.object.bad then
		while true do pcall(forever) end
	end
end
