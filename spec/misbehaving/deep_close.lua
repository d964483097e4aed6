-- Ends by: error. Coroutines that close one another, each resumed near the top: Lua 5.4.4 loses count of its C stack there, and crashes.
return function(event)
	if event.object.bad then
		local list = {}
		for i = 1, 20000 do
			list[i] = coroutine.create(function()
				local x <close> = setmetatable({}, {__close = function()
					if list[i + 1] then coroutine.close(list[i + 1]) end
				end})
				coroutine.yield()
			end)
			coroutine.resume(list[i])
		end
		coroutine.close(list[1])
		error("still here")
	end
end
