-- Ends by: memory. A string that doubles, whose errors are caught.
return function(event)
	if event.object.bad then
		local s = "x"
		while true do
			pcall(function() s = s .. s end)
		end
	end
end
