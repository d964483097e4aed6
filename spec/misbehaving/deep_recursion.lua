-- Ends by: error. Lua's own stack has an end.
local function deeper(n)
	return 1 + deeper(n + 1)
end

return function(event)
	if event.object.bad then return deeper(1) end
end
