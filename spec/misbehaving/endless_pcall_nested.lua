-- Ends by: cpu. As many pcalls inside one another as there may be, each of which goes on after the one inside failed.
local function deeper(n)
	while n < 150 do pcall(deeper, n + 1) end
	while true do end
end

return function(event)
	if event.object.bad then
		while true do pcall(deeper, 1) end
	end
end
