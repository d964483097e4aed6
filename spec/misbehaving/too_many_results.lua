-- Ends by: error. More results than any stack holds.
return function(event)
	if event.object.bad then return table.unpack({}, 1, 1 << 24) end
end
