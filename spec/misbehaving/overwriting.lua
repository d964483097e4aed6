-- Ends by: error. What the script overwrites is its own.
return function(event)
	if event.object.bad then
		local fail = error
		getmetatable("").__index = nil
		getmetatable("").__name = {}
		for name in next, string do string[name] = nil end
		for name in next, coroutine do coroutine[name] = nil end
		local vigia = require "vigia"
		for name in next, vigia do vigia[name] = function() while true do end end end
		package.loaded.vigia = nil
		pcall, xpcall, tostring, type, setmetatable, next = nil, nil, nil, nil, nil, nil
		fail("everything is overwritten")
	end
end
