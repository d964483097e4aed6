-- Ends by: memory. One string that is too long; the error is caught, and that is of no use.
return function(event)
	if event.object.bad then
		local ok = pcall(string.rep, "x", 1 << 30)
		return not ok
	end
end
