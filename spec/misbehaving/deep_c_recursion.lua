-- Ends by: error. So has C's: gsub, sort and metamethods inside one another.
local function deeper(s)
	return (s:gsub(".", deeper))
end

return function(event)
	if event.object.bad then return deeper("x") end
end
