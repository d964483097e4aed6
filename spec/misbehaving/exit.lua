-- Ends by: error. The process is not the script's.
return function(event)
	if event.object.bad then
		pcall(os.setlocale, "C")
		os.exit(1, true)
	end
end
