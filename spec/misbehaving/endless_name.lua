-- Ends by: cpu. The error is an object with metamethods for everything.
local function forever()
	while true do pcall(error) end
end

return function(event)
	if event.object.bad then
		local mt = {__tostring = forever, __index = forever, __eq = forever, __len = forever, __call = forever, __pairs = forever}
		mt.__name = setmetatable({}, mt)
		return nil, setmetatable({}, mt)
	end
end
