-- Ends by: error. Only vigia's own functions may wait.
return function(event)
	while event.object.bad do coroutine.yield() end
end
