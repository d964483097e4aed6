-- Ends by: cpu. A callback of gsub.
return function(event)
	if event.object.bad then
		while true do
			pcall(string.gsub, ("x"):rep(1000), "x", function() while true do end end)
		end
	end
end
