-- Ends by: cpu. Coroutines inside one another, by wrap.
local function nest(n)
	if n == 0 then
		while true do end
	end
	while true do
		pcall(coroutine.wrap(nest), n - 1)
	end
end

return function(event)
	if event.object.bad then nest(20) end
end
