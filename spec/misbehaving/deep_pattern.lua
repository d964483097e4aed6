-- Ends by: error. A pattern that nests too deeply.
return function(event)
	if event.object.bad then return ("x"):rep(300000):find((".-"):rep(300000) .. "y") end
end
