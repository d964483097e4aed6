-- Ends by: error. A finalizer runs where no cap reaches, so there are none; a file's metatable cannot be had for it either.
return function(event)
	if event.object.bad then
		assert(not pcall(function() getmetatable(io.stdout).__gc = function() while true do end end end))
		setmetatable({}, {__gc = function() while true do end end})
		collectgarbage()
	end
end
