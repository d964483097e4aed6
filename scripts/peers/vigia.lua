-- vigia.lua - one measurement of Vigia from Lua: coroutines that append, single appends, replay of whole objects. Run by
-- scripts/peers/run.lua.
--
-- Usage: lua5.4 vigia.lua FOLDER WORK [ARGUMENT...]; each line of output is "name figure". The FOLDER of logs on PostgreSQL is a location
-- up to the log's name.
local vigia = require "vigia"
local core = require "vigia.core"

local folder, work = arg[1], arg[2]

local function figure(name, value)
	print(("%s %.9g"):format(name, value))
end

local function timed(f)
	local start = core.monotonic()
	f()
	return core.monotonic() - start
end

-- All values differ: a decoder that remembers values must not look better than it is.
local function job(i)
	return {id = i, name = "job-" .. i, state = "running-" .. i % 7, node = "node-" .. i, cpu = i * 0.5, memory = i * 4096,
		started = 1700000000 + i, ok = i % 2 == 0}
end

local function path_of(name)
	return folder:find("^postgresql:") and folder .. name:match("^[^.]*") or folder .. "/" .. name
end

local function fresh(name, options)
	local path = path_of(name)
	for _, ending in ipairs{"", "-lock", "-side"} do os.remove(path .. ending) end
	return assert(vigia.open(path, options))
end

local works = {}

-- coroutines COUNT EACH: durable events a second, appended by the coroutines of one Lua state.
function works.coroutines(count, each)
	local store = fresh("coroutines.db")
	local registry = vigia.registry(store)
	local object = job(1)
	for _ = 1, count do
		registry:spawn(function()
			for _ = 1, each do assert(store:store_event("UPDATE", "Job", object)) end
		end)
	end
	figure("rate", count * each / timed(function() assert(registry:run()) end))
	store:close()
end

-- append EVENTS: not synced, one a call.
function works.append(count)
	local store = fresh("lua.db", {durability = "none"})
	local objects = {}
	for i = 1, 1000 do objects[i] = job(i) end
	figure("rate", count / timed(function()
		for i = 1, count do assert(store:store_event("UPDATE", "Job", objects[i % 1000 + 1])) end
	end))
	store:close()
end

function works.fill(name, total)
	local store = fresh(name, {durability = "none"})
	local events = {}
	for from = 1, total, 1000 do
		for k = 1, 1000 do events[k] = {"UPDATE", "Job", job(from + k)} end
		assert(store:store_events(events))
	end
	store:close()
end

-- replay NAME EVENTS: to a handler that looks at the whole object.
function works.replay(name, total)
	local store = assert(vigia.open(folder .. "/" .. name))
	local registry = vigia.registry(store)
	local watcher = assert(registry:watch("bench", function(event, ctx)
		local object = event.object
		if object.name and event.seq_num == total then ctx.watcher:stop() end
	end, {ephemeral = true}))
	figure("rate", total / timed(function() assert(registry:run()) end))
	assert(watcher:stats().processed == total)
	store:close()
end

-- catch_up NAME EVENTS: to a handler that looks at the head of each event, of a watcher that saves how far it is.
function works.catch_up(name, total)
	local store = assert(vigia.open(path_of(name)))
	local registry = vigia.registry(store)
	local watcher = assert(registry:watch("bench", function(event, ctx)
		if event.operation and event.seq_num == total then ctx.watcher:stop() end
	end))
	figure("rate", total / timed(function() assert(registry:run()) end))
	assert(watcher:stats().processed == total)
	registry:stop()
	assert(store:delete_checkpoint("bench"))
	store:close()
end

-- crossed NAME EVENTS WATCHERS: how often an event was read from its table by this process while all of these watchers handled all events.
function works.crossed(name, total, count)
	local host = assert(folder:match("host=([^&]*)"))
	local function ask(text)
		local pipe <close> = assert(io.popen(("psql -X -h '%s' -U vigia -d vigia -qAt -c \"%s\""):format(host, text)))
		return assert(pipe:read("n"))
	end
	-- The counts are complete when the connections have ended.
	local function reads()
		while ask("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'") > 1 do vigia.sleep(0.02) end
		return ask("SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE schemaname = 'vigia_" .. name
			.. "' AND relname = 'events'")
	end
	local function handle_all()
		local left = count
		local store = assert(vigia.open(path_of(name)))
		local registry = vigia.registry(store)
		for n = 1, count do
			assert(registry:watch("bench" .. n, function(event, ctx)
				if event.seq_num < total then return end
				left = left - 1
				ctx.watcher:stop()
			end, {ephemeral = true}))
		end
		figure("rate", total * count / timed(function() assert(registry:run()) end))
		assert(left == 0)
		store:close()
	end
	local before = reads()
	handle_all()
	collectgarbage() -- the registry has the store, too
	figure("crossed", (reads() - before) / total)
end

-- effects EVENTS DURABILITY HOW: stored events a second through a watcher, with a get and a put of one of 1000 keys for each
-- ("transactional"), or with neither ("none"); and how many events share a commit. A durable commit has one sync.
function works.effects(total, durability, how)
	local store = fresh("effects.db", {durability = "none"})
	local events = {}
	for from = 1, total, 1000 do
		for k = 1, 1000 do events[k] = {"UPDATE", "Job", from + k} end
		assert(store:store_events(events))
	end
	assert(store:configure{durability = durability})
	local registry = vigia.registry(store)
	local before = store:stats().commits
	local handlers = {}
	function handlers.transactional(event, ctx)
		local tx, key = ctx.tx, event.seq_num % 1000
		tx:put("bench", key, (tx:get("bench", key) or 0) + 1)
		if event.seq_num == total then ctx.watcher:stop() end
	end
	function handlers.none(event, ctx)
		if event.seq_num == total then ctx.watcher:stop() end
	end
	local watcher = assert(registry:watch("bench", handlers[how], {transactional = how == "transactional"}))
	figure("rate", total / timed(function() assert(registry:run()) end))
	assert(watcher:stats().processed == total)
	figure("a_commit", total / math.max(1, store:stats().commits - before))
	store:close()
end

-- tables COUNT: what Lua itself takes for such an object, without its strings.
function works.tables(count)
	local names = {}
	for i = 1, 1000 do names[i] = "job-" .. i end
	local kept
	figure("rate", count / timed(function()
		for i = 1, count do
			local name = names[i % 1000 + 1]
			kept = {seq_num = i, operation = "UPDATE", object_type = "Job", object = {id = i, name = name, state = name, node = name,
				cpu = i * 0.5, memory = i * 4096, started = 1700000000 + i, ok = i % 2 == 0}}
		end
	end))
	assert(kept)
end

local run = assert(works[work], "there is no such work")
run(table.unpack((function()
	local arguments = {}
	for i = 3, #arg do arguments[#arguments + 1] = math.tointeger(arg[i]) or arg[i] end
	return arguments
end)()))
