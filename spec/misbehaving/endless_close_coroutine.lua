-- Ends by: cpu. coroutine.close runs what does not come back.
return function(event)
	if event.object.bad then
		while true do
			local co = coroutine.create(function()
				local a <close> = setmetatable({}, {__close = function() while true do end end})
				local b <close> = setmetatable({}, {__close = function() while true do pcall(error) end end})
				coroutine.yield()
			end)
			coroutine.resume(co)
			pcall(coroutine.close, co)
		end
	end
end
