-- Ends by: memory. A table that grows.
return function(event)
	if event.object.bad then
		local t = {}
		while true do t[#t + 1] = {} end
	end
end
