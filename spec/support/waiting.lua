-- waiting.lua - all that a coroutine can ask of a store and a transaction, for specs of stores that wait for a server.
--
-- `calls`: a list of {name, fn, code}, where fn(world) makes one call, which fails with the code, if there is one. `exempt`: the methods
-- that are not in it, and why. `world(store, registry)`: what they are made with.

local vigia = require "vigia"

local M = {}

function M.world(store, registry)
	local world = {store = store, registry = registry}
	for n = 1, 20 do assert(store:store_event("CREATE", "Job", {n = n})) end
	for n = 1, 5 do assert(store:put("bucket", n, {value = n})) end
	assert(store:put("dropped", 1, 1))
	assert(store:schedule({after = 3600}, "CREATE", "Later", {}))
	world.timer = assert(store:schedule({after = 3600}, "CREATE", "Later", {}))
	for _, id in ipairs{"resting", "forgotten", "deleted"} do assert(store:store_checkpoint(id, 3)) end
	world.runs = assert(registry:watch("runs", function() end))
	world.manual = assert(registry:watch("manual", function() end, {checkpoint = "manual"}))
	world.idle = assert(registry:watch("idle", function() end, {auto_start = false}))
	world.seeks = assert(registry:watch("seeks", function()
		if world.seek_to then
			world.sought, world.sought_error = world.seeks:seek_to_offset(world.seek_to)
			world.seek_to = nil
		end
	end))
	world.stops = assert(registry:watch("stops", function() end))
	world.unhandled = assert(registry:watch("unhandled", nil, {auto_start = false}))
	local letters = assert(registry:watch("letters", function(event) if event.seq_num <= 3 then error "no" end end,
		{retry_strategy = "dead_letter", max_retries = 1, initial_backoff = 0.01}))
	repeat registry:step(0.05) until letters:stats().lag == 0 and world.runs:stats().lag == 0
	repeat registry:step(0.05) until #assert(store:dead_letters{}) == 3
	return world
end

M.calls = {
	{"Store:store_event", function(w) return w.store:store_event("CREATE", "Job", {}) end},
	{"Store:store_events", function(w) return w.store:store_events{{"CREATE", "Job", 1}, {"CREATE", "Job", 2}} end},
	{"Store:get_events", function(w) return w.store:get_events{timeout = 0} end},
	{"Store:get_events", function(w) return w.store:get_events{event_iterator = vigia.latest(), timeout = 0.05} end},
	{"Store:get_events", function(w) return w.store:get_events{timeout = 0, scan = "end", filter = {object_types = {"None"}}} end},
	{"Store:get_event", function(w) return w.store:get_event(2) end},
	{"Store:get_latest_event_num", function(w) return w.store:get_latest_event_num() end},
	{"Store:get_oldest_event_num", function(w) return w.store:get_oldest_event_num() end},
	{"Store:find_time", function(w) return w.store:find_time(1) end},
	{"Store:explain", function(w) return w.store:explain({object_types = {"Job"}}) end},
	{"Store:trim", function(w) return w.store:trim(1) end},
	{"Store:sync", function(w) return w.store:sync() end},
	{"Store:store_checkpoint", function(w) return w.store:store_checkpoint("resting", 4) end},
	{"Store:get_checkpoint", function(w) return w.store:get_checkpoint("resting") end},
	{"Store:delete_checkpoint", function(w) return w.store:delete_checkpoint("deleted") end},
	{"Store:checkpoints", function(w) return w.store:checkpoints() end},
	{"Store:holds", function(w) return w.store:holds() end},
	{"Store:watchers", function(w) return w.store:watchers() end},
	{"Store:wait_for", function(w) return w.store:wait_for("resting", 2, 1) end},
	{"Store:wait_for", function(w)
		local n = assert(w.store:store_event("CREATE", "Job", {}))
		return w.store:wait_for("runs", n, 10)
	end},
	{"Store:seek", function(w) return w.store:seek("resting", vigia.trim_horizon(), 5) end},
	{"Store:seek", function(w) return w.store:seek("runs", vigia.trim_horizon(), 5) end},
	{"Store:pause", function(w) return w.store:pause("runs", 5) end},
	{"Store:resume", function(w) return w.store:resume("runs", 5) end},
	{"Store:retry", function(w) return w.store:retry("runs", 5) end, "invalid_state"},
	{"Store:forget", function(w) return w.store:forget("forgotten") end},
	{"Store:gc", function(w) return w.store:gc() end},
	{"Store:get", function(w) return w.store:get("bucket", 1) end},
	{"Store:put", function(w) return w.store:put("bucket", "key", 1) end},
	{"Store:delete", function(w) return w.store:delete("bucket", "key") end},
	{"Store:range", function(w) return w.store:range("bucket", {from = 1, to = 3}) end},
	{"Store:range", function(w) return w.store:range("bucket", {prefix = "k"}) end},
	{"Store:buckets", function(w) return w.store:buckets() end},
	{"Store:drop_bucket", function(w) return w.store:drop_bucket("dropped") end},
	{"Store:transaction", function(w)
		return w.store:transaction(function(tx)
			tx:put("bucket", 1, {value = (tx:get("bucket", 1) or {value = 0}).value + 1})
			tx:store_event("CREATE", "Job", {})
			tx:delete("bucket", "none")
			return #tx:range("bucket")
		end)
	end},
	{"Transaction:get", function(w) return w.store:transaction(function(tx) return tx:get("bucket", 1) end) end},
	{"Transaction:range", function(w) return w.store:transaction(function(tx) return tx:range("bucket", {limit = 2}) end) end},
	{"Transaction:put", function(w) return w.store:transaction(function(tx) return tx:put("bucket", 9, 1) end) end},
	{"Transaction:delete", function(w) return w.store:transaction(function(tx) return tx:delete("bucket", 9) end) end},
	{"Transaction:store_event", function(w) return w.store:transaction(function(tx) return tx:store_event("CREATE", "Job", 1) end) end},
	{"Transaction:store_events", function(w) return w.store:transaction(function(tx) return tx:store_events{{"CREATE", "Job", 1}} end) end},
	{"Store:schedule", function(w) return w.store:schedule({after = 3600}, "CREATE", "Later", {}) end},
	{"Store:unschedule", function(w) return w.store:unschedule(w.timer) end},
	{"Store:scheduled", function(w) return w.store:scheduled{object_type = "Later", operation = "CREATE"} end},
	{"Store:dead_letters", function(w) return w.store:dead_letters{watcher = "letters"} end},
	{"Store:retry_dead_letter", function(w) return w.store:retry_dead_letter("letters", 2) end},
	{"Store:drop_dead_letter", function(w) return w.store:drop_dead_letter("letters", 3) end},
	{"Store:stats", function(w) return w.store:stats() end},
	{"Store:configure", function(w) return w.store:configure{max_events = 1000} end},
	{"Watcher:stats", function(w) return w.runs:stats() end},
	{"Watcher:stats", function(w) return w.idle:stats() end},
	{"Watcher:checkpoint", function(w) return w.manual:checkpoint(3) end},
	{"Watcher:start", function(w)
		local ok, err = w.idle:start()
		return w.idle:stats().state == "running" and ok, err
	end},
	{"Registry:watch", function(w) return w.registry:watch("new", function() end) end},
	{"Registry:watch", function(w) return w.registry:watch("ephemeral", function() end, {ephemeral = true}) end},
	{"Registry:watch", function(w) return w.registry:watch("rests", function() end, {auto_start = false}) end},
	{"Registry:watch", function(w) return w.registry:watch("transactional", function() end, {transactional = true}) end},
	{"Registry:get_watcher", function(w) return w.registry:get_watcher("runs") end},
	{"Registry:spawn", function(w) return w.registry:spawn(function() end) end},
	{"Registry:pollfd", function(w) return w.registry:pollfd() end},
	{"Watcher:seek_to_offset", function(w) -- in its own handler
		w.seek_to = 5
		assert(w.store:store_event("CREATE", "Job", {}))
		while w.seek_to do vigia.sleep(0.01) end
		return w.sought, w.sought_error
	end},
	{"Watcher:id", function(w) return w.runs:id() end},
	{"Watcher:stop", function(w) return w.stops:stop() end},
	{"Watcher:set_handler", function(w) return w.unhandled:set_handler(function() end) end},
	{"Watcher:reload", function(w) return w.runs:reload() end, "not_supported"},
}

-- What is not in `calls`: it asks no server, or it may wait, as the guides say.
M.exempt = {
	["Store:backup"] = "of files only",
	["Store:export"] = "waits: it writes to a descriptor",
	["Store:import"] = "waits: it reads from a descriptor",
	["Registry:remove"] = "waits: it is the end of a watcher",
	["Registry:close"] = "waits: it is the end",
	["Registry:stop"] = "ends the coroutine that waits for it, too",
	["Registry:run"] = "not in a coroutine of it",
	["Registry:step"] = "not in a coroutine of it",
	["Store:close"] = "waits: it is the end",
}

-- The methods of these that are neither in `calls` nor exempt.
function M.missing(objects)
	local known, list = {}, {}
	for _, call in ipairs(M.calls) do known[call[1]] = true end
	for class, object in pairs(objects) do
		for name in pairs(debug.getmetatable(object).__index) do
			local full = class .. ":" .. name
			if not known[full] and not M.exempt[full] then list[#list + 1] = full end
		end
	end
	table.sort(list)
	return list
end

return M
