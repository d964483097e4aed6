-- Ends by: cpu. Variables that are closed without end, while the function is left by an error and while it is left by the cap.
local function forever()
	while true do end
end

return function(event)
	if event.object.bad then
		local a <close> = setmetatable({}, {__close = forever})
		local b <close> = setmetatable({}, {__close = forever})
		error("leave")
	end
end
