-- tree_state.lua - which files there are now: keeps the list in the store and, when it stops, prints "BLOB  PATH" lines sorted by path.
--
-- Try it:  vigia run --store FILE tree_state.lua --until-idle
--          vigia state --store FILE tree 'src/*'
--
-- tree.lua keeps the list in memory, so each run handles all events again. This one is transactional: the list and the checkpoint are one
-- commit. It continues after the last event that it handled, and a crash loses or repeats nothing.
--
--   bucket tree    path -> blob
--   bucket long_paths end of a path that is too long for a key -> {path = blob}, each path that ends so

local LONGEST <const> = 255 -- bytes of a key

local function set_long(tx, path, blob)
	local key = path:sub(-LONGEST)
	local paths, err = tx:get("long_paths", key)
	if err then
		return nil, err
	end
	paths = paths or {}
	paths[path] = blob
	if next(paths) == nil then
		return tx:delete("long_paths", key)
	end
	return tx:put("long_paths", key, paths)
end

local function handle(event, ctx)
	local file = event.object
	local path = type(file) == "table" and file.path
	if type(path) ~= "string" or path == "" then
		return nil, "a File event without a path"
	end
	local blob = event.operation ~= "DELETE" and tostring(file.blob) or nil
	if #path > LONGEST then
		return set_long(ctx.tx, path, blob)
	end
	if not blob then
		return ctx.tx:delete("tree", path)
	end
	return ctx.tx:put("tree", path, blob)
end

local function stop(ctx)
	local files, long
	local read, err = ctx.store:transaction(function(tx) -- both as of one moment
		files, long = assert(tx:range("tree")), assert(tx:range("long_paths"))
	end)
	if not read then
		return nil, err
	end
	for _, row in ipairs(long) do
		for path, blob in pairs(row.value) do
			files[#files + 1] = {key = path, value = blob}
		end
	end
	table.sort(files, function(a, b) return tostring(a.key) < tostring(b.key) end)
	for _, file in ipairs(files) do
		local ok, message = io.write(file.value, "  ", file.key, "\n")
		if not ok then
			return nil, message
		end
	end
	return io.flush()
end

return {
	filter = {object_types = {"File"}},
	transactional = true,
	retry_strategy = "dead_letter", -- an event without a path is put aside: store:dead_letters() lists it
	max_retries = 1,
	handle = handle,
	stop = stop,
}
