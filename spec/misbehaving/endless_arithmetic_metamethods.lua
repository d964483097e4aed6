-- Ends by: cpu. In metamethods that C calls: concat, lt, len, eq.
local function forever()
	while true do end
end

return function(event)
	if event.object.bad then
		local mt = {__concat = forever, __lt = forever, __len = forever, __eq = forever, __index = forever}
		local a, b = setmetatable({}, mt), setmetatable({}, mt)
		while true do
			pcall(function() return a .. b end)
			pcall(function() return a < b end)
			pcall(function() return a == b end)
			pcall(table.concat, a)
			pcall(table.unpack, a)
		end
	end
end
