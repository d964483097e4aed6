-- Ends by: error. Bytecode is not loaded, however it is asked for.
return function(event)
	if event.object.bad then
		local code = string.dump(function() return 1 end)
		assert(not load(code))
		assert(not load(code, "code", "b"))
		assert(not load(code, "code", "bt"))
		assert(not load(function() local piece = code code = nil return piece end))
		error("bytecode was refused")
	end
end
