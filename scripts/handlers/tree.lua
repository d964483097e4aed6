-- tree.lua - which files there are now: follows File events and, when it stops, prints "BLOB  PATH" lines sorted by path.
--
-- Try it:  vigia run --store FILE tree.lua --until-idle
-- What it knows lives in memory only, so it keeps no checkpoint: `ephemeral` makes each run see the whole history again.

local blobs = {} -- path -> blob

local function handle(event)
	local file = event.object
	if type(file) ~= "table" or type(file.path) ~= "string" then
		return nil, "a File event without a path" -- nil and a message: the event failed, and is tried again
	end
	if event.operation == "DELETE" then
		blobs[file.path] = nil
	else
		blobs[file.path] = tostring(file.blob)
	end
	return true
end

local function stop()
	local paths = {}
	for path in pairs(blobs) do
		paths[#paths + 1] = path
	end
	table.sort(paths)
	for _, path in ipairs(paths) do
		local ok, message = io.write(blobs[path], "  ", path, "\n")
		if not ok then
			return nil, message
		end
	end
	return io.flush()
end

return {
	filter = {object_types = {"File"}},
	ephemeral = true,
	handle = handle,
	stop = stop,
}
