-- Ends by: memory. A replacement of each letter by many, and a format of many.
return function(event)
	if event.object.bad then
		local s = ("x"):rep(1 << 20)
		while true do
			pcall(function() s = s:gsub(".+", ("%0"):rep(200)) .. ("%s"):rep(100):format(s) end)
		end
	end
end
