-- failover_spec.lua - a log on several PostgreSQL servers, one of which takes over when the primary fails. The servers are started for it;
-- where there are none, it says so. cluster_spec.lua is the long form, over a cluster that decides by itself.

local helper = require "spec.helper"
local lfs = require "lfs"
local cli = require "spec.support.cli"
local history = require "spec.support.history"
local postgres = require "spec.support.postgres"
local streams = require "spec.support.streams"
local vigia = require "vigia"

local fails, mentions = helper.fails, helper.mentions

local one, why = postgres.start()
if not one then
	describe("a log on several PostgreSQL servers", function()
		it("is tested where there are such", function() helper.pending(why) end)
	end)
	return
end

-- Of a server: it waits for this standby, "": for none.
-- A statement that waits for its end could be cancelled by what is still to be recovered.
local function promote(standby)
	standby:sql("SELECT pg_promote(false)")
	helper.eventually(function()
		local ok, recovers = pcall(standby.sql, standby, "SELECT pg_is_in_recovery()")
		return ok and recovers == "f"
	end)
end

local function wait_for_standby(server, name)
	server:sql("ALTER SYSTEM SET synchronous_standby_names = '" .. name .. "'")
	server:sql("SELECT pg_reload_conf()")
	helper.eventually(function() return server:sql("SHOW synchronous_standby_names") == name end)
end

-- The backend that waits for standbys, other than `old`.
local function waiting_backend(server, old)
	local pid
	helper.eventually(function()
		pid = server:sql("SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
		return pid ~= "0" and pid ~= old
	end, "nothing waits for standbys")
	return pid
end

describe("a commit whose wait for the standbys is given up by the server", function()
	after_each(helper.clean)

	for _, way in ipairs{"pg_cancel_backend", "pg_terminate_backend"} do
		for kind, call in pairs{
			append = "store:store_event('CREATE', 'Job', 'it')",
			transaction = [[store:transaction(function(tx)
				tx:put('b', 'n', (tx:get('b', 'n') or 0) + 1)
				tx:store_event('CREATE', 'Job', 'it')
			end)]],
		} do
			it(("by %s is not acknowledged before they have it: %s [P2]"):format(way, kind), function()
				local location = one:new_location("&connect_timeout=60")
				local store = helper.open(location)
				local child = helper.child(([[
					local location, go = ...
					local store = assert(vigia.open(location, {collect = false}))
					say "ready"
					while not io.open(go) do vigia.sleep(0.005) end
					assert(%s)
					say "stored"
					io.open(go .. ".stored", "w"):close()
					while true do vigia.sleep(1) end
				]]):format(call), location, helper.path("go"))
				child:expect "ready" -- before anything else waits for standbys
				wait_for_standby(one, "nobody")
				helper.write_file("go", "")
				local pid = waiting_backend(one)
				-- It is visible now, and nowhere else. So it must be waited for once more.
				one:sql(("SELECT %s(%s)"):format(way, pid))
				helper.eventually(function() return store:get_latest_event_num() == 1 end)
				waiting_backend(one, pid)
				assert.is_nil(lfs.attributes(helper.path("go.stored")))
				wait_for_standby(one, "")
				child:expect "stored"
				assert.equal(1, store:get_latest_event_num())
				if kind == "transaction" then assert.equal(1, store:get("b", "n")) end
			end)
		end
	end
end)

-- A primary whose clock is so many seconds ahead (-: behind), as the functions of a log see it.
local function set_clock(server, seconds)
	server:sql(([[CREATE OR REPLACE FUNCTION vigia_log%d.wall_ns() RETURNS bigint LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
		AS 'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000 + %d000000000']]):format(server.logs, seconds))
end

describe("a primary with another clock than the one before", function()
	after_each(helper.clean)

	it("lets no time go back [E3 P2]", function()
		local store = helper.open(one:new_location())
		helper.fill(store, 2)
		for _, seconds in ipairs{-3600, 7200, -86400, 0} do
			set_clock(one, seconds)
			helper.fill(store, 2)
			assert(store:store_event("CREATE", "Job", {}, {key = "at " .. seconds}))
			assert(store:transaction(function(tx) tx:store_event("CREATE", "Job", {}) end))
			assert(store:schedule((os.time() - 7200) * 1000000000, "CREATE", "Job", {}))
			one:sql(("SELECT vigia_log%d.append('Job', 'CREATE', '{}')"):format(one.logs))
		end
		helper.eventually(function() return store:get_latest_event_num() == 26 end)
		local events, last = assert(store:get_events{timeout = 0}).events, 0
		for _, event in ipairs(events) do
			assert(event.timestamp >= last, event.seq_num)
			last = event.timestamp
		end
		assert.equal(26, #events)
		assert(last > (os.time() + 3600) * 1000000000) -- it has followed the one that was ahead
	end)

	it("lets watchers start, be steered and be owned as before [P3 O2p]", function()
		local location = one:new_location()
		local store, other = helper.open(location), helper.open(location)
		helper.fill(store, 3)
		local handler, seen = helper.recorder()
		set_clock(one, 3600)
		local registry = helper.registry(store)
		helper.drain(registry, assert(registry:watch("w", handler)))
		-- As where one waited for the end of such a moment when the primary failed.
		one:sql(("UPDATE vigia_log%d.owners SET awaited_ns = vigia_log%d.wall_ns() + 1000000000"):format(one.logs, one.logs))
		set_clock(one, -3600)
		assert(registry:stop())
		assert.is_true(other:pause("w"))
		assert.is_true(other:resume("w"))
		local second = helper.registry(other)
		helper.fill(store, 1)
		helper.drain(second, assert(second:watch("w", handler)))
		assert.same({1, 2, 3, 4}, seen)
		set_clock(one, 3600)
		helper.fill(store, 1)
		helper.drain(second, assert(second:get_watcher("w")))
		assert.same({1, 2, 3, 4, 5}, seen)
		assert.equal("running", second:get_watcher("w"):stats().state)
	end)

	it("is the clock by which machines that collect one after the other measure ages, and forgets no process that is there [S14]", function()
		local location = one:new_location()
		local store = helper.open(location, {gc_age_threshold = 3600})
		helper.fill(store, 3)
		set_clock(one, -7200)
		assert(store:gc())
		local function mark(what) return one:sql(("SELECT %s FROM vigia_log%d.marks ORDER BY at_ns DESC LIMIT 1"):format(what, one.logs)) end
		local early = (os.time() - 7200) * 1000000000 - tonumber(mark "wall_ns")
		assert(math.abs(early) < 600e9, early)
		-- A collector on another machine measures by that clock, and the next one finds its mark.
		one:sql(("UPDATE vigia_log%d.marks SET boot_id = 1, boot_ns = 1"):format(one.logs))
		helper.fill(store, 1)
		local before = tonumber(mark "at_ns")
		set_clock(one, -7200 + 1000)
		assert(store:gc())
		assert.equal("4", mark "seq")
		assert(math.abs(tonumber(mark "at_ns") - before - 1000e9) < 300e9)
		assert.equal(4, assert(store:stats()).events)
		-- In a week's time, by its clock.
		one:sql(("UPDATE vigia_log%d.marks SET boot_id = 1, boot_ns = 1"):format(one.logs))
		set_clock(one, 8 * 86400)
		helper.fill(store, 1)
		one:sql(("UPDATE vigia_log%d.clients SET at_ns = 0"):format(one.logs))
		one:sql(("UPDATE vigia_log%d.sessions SET until_ns = 0"):format(one.logs))
		assert(store:gc())
		assert.equal("1|1", one:sql(("SELECT (SELECT count(*) FROM vigia_log%d.clients), (SELECT count(*) FROM vigia_log%d.sessions)")
			:format(one.logs, one.logs)))
	end)
end)

-- The handlers of scripts/handlers, over the beginning of a history; the long form is in cluster_spec.lua.
describe("handlers over a server that crashes, beside processes that do", function()
	after_each(cli.clean)

	it("make of a history the tree and the sums that it has [P2 W3f X4]", function()
		if not helper.program() then helper.pending("there is no program beside the module") end
		if not streams.there "lua" then helper.pending("there is no folder ../shared/data") end
		local seed = math.tointeger(tonumber(os.getenv("VIGIA_SEED"))) or os.time()
		math.randomseed(seed)
		local most <const> = 1000
		local location = one:new_location()
		local store = helper.open(location)
		local running = streams.start(location, "lua", most, 40)
		local crashes = 0
		helper.eventually(function()
			running:go_on()
			vigia.sleep(0.2 + math.random() / 5)
			if running.kills < 15 then running:kill_one() end
			-- A backend that dies of a signal has the server end all others, and recover.
			if math.random(3) == 1 and crashes < 3 then
				local ok, pid = pcall(one.sql, one, "SELECT max(pid) FROM pg_stat_activity WHERE usename = 'vigia' AND pid <> pg_backend_pid()")
				if ok and pid ~= "" then
					helper.shell("kill -9 " .. pid)
					crashes = crashes + 1
				end
			end
			local done, latest = running:progress(store)
			return running:appended() and done == latest
		end, "the handlers did not come to the end, seed " .. seed)
		running:finish()
		local note = ("seed %d, %d kills, %d crashes"):format(seed, running.kills, crashes)
		local outcome, found = streams.outcome(streams.events("lua", most)), streams.found(store, location)
		assert.equal(outcome.tree, found.tree, note)
		assert.same(outcome.balances, found.balances, note)
		assert.same(outcome.overdrawn, found.overdrawn, note)
		assert(#found.tree > 1000 and #found.overdrawn > 1 and crashes > 0, note)
	end)
end)

describe("a watcher that starts while another transaction has the log's lock", function()
	after_each(helper.clean)

	it("waits for its end, as where a commit waits for standbys, and keeps what the process has [P3]", function()
		local location = one:new_location("&connect_timeout=1")
		local store = helper.open(location)
		local registry = helper.registry(store)
		helper.fill(store, 1)
		local handler, seen = helper.recorder()
		assert(registry:watch("first", handler))
		local function hold(seconds)
			local pipe = assert(io.popen(("exec %s -X -h %s -U vigia -d vigia -qAt -c 'SELECT vigia_log%d.lock_writer(); SELECT pg_sleep(%g)'")
				:format(postgres.psql, one.folder, one.logs, seconds)))
			helper.eventually(function()
				return one:sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1"
			end)
			return pipe
		end
		local pipe = hold(0.8)
		assert(registry:watch("second", handler))
		pipe:close()
		pipe = hold(4)
		mentions(fails("store_unreachable", registry:watch("third", handler)), "lock")
		pipe:close()
		assert(registry:watch("third", handler))
		helper.drive(registry, function() return #seen == 3 end)
		assert.equal("1", one:sql(("SELECT max(epoch) FROM vigia_log%d.owners WHERE id IN ('first', 'second')"):format(one.logs)))
		for _, name in ipairs{"first", "second", "third"} do assert.equal("running", registry:get_watcher(name):stats().state) end
	end)
end)

-- Appends until it is told to end, and writes down what it was told.
local APPENDER <const> = [[
	local history = require "spec.support.history"
	local location, log, stop = ...
	local store = assert(vigia.open(location, {collect = false}))
	local record, calls = history.writer(log, "a"), 0
	while not io.open(stop) do
		calls = calls + 1
		local id, count = "a." .. calls, calls % 3 + 1
		local events = {}
		for i = 1, count do events[i] = {"CREATE", "Job", id .. "." .. i} end
		record("begin", {id = id, count = count})
		local first, last = store:store_events(events)
		if first then record("ok", {id = id, first = first, last = last})
		else record("failed", {id = id, code = last.code}) end
	end
	say "end"
]]

local WATCHER <const> = [[
	local history = require "spec.support.history"
	local location, log = ...
	local store = assert(vigia.open(location, {collect = false}))
	local registry, record = vigia.registry(store), history.writer(log, "w")
	record("start", {watcher = "plain"})
	assert(registry:watch("plain", function(event) record("handle", {watcher = "plain", n = event.seq_num, tag = event.object}) end,
		{initial_backoff = 0.01}))
	assert(registry:watch("effects", function(event, ctx)
		record("effect", {watcher = "effects", n = event.seq_num})
		ctx.tx:put("effects", event.seq_num, (ctx.tx:get("effects", event.seq_num) or 0) + 1)
	end, {transactional = true, initial_backoff = 0.01}))
	say "ready"
	assert(registry:run())
]]

describe("a log on several PostgreSQL servers", function()
	after_each(helper.clean)

	it("goes on with the standby that took over, and loses, doubles and renumbers nothing [P2]", function()
		local two, three = one:standby("two"), one:standby("three")
		finally(function()
			two:stop()
			three:stop()
		end)
		wait_for_standby(one, "two")
		helper.eventually(function()
			return one:sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == "1"
		end)
		local location = postgres.location_on({one, two, three}, "cluster", "&connect_timeout=60")
		helper.open(location):close()
		local stop = helper.path("stop")
		local appender = helper.child(APPENDER, location, helper.path("a"), stop)
		local watcher = helper.child(WATCHER, location, helper.path("w"))
		watcher:expect "ready"
		local function appends(calls)
			local before = #history.read(helper.path("a"))
			local deadline = helper.now() + 150 -- a busy machine is slow to find the next server
			repeat
				vigia.sleep(0.05)
				assert(helper.now() < deadline, "nothing is appended any more")
			until #history.read(helper.path("a")) > before + 2 * calls
		end
		helper.eventually(function() return lfs.attributes(helper.path("a")) end)

		-- The primary dies.
		appends(50)
		one:signal("KILL")
		promote(two)
		appends(50)

		-- The next one lives, but its standby has left it: nothing that it is sent is ever confirmed.
		three:sql(("ALTER SYSTEM SET primary_conninfo = 'host=%s user=vigia application_name=three'"):format(two.folder))
		three:sql("SELECT pg_reload_conf()")
		wait_for_standby(two, "three")
		helper.eventually(function()
			return two:sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == "1"
		end)
		appends(50)
		promote(three)
		assert.equal("f", two:sql("SELECT pg_is_in_recovery()"))
		appends(100)

		-- And it hangs.
		two:signal("STOP")
		local store = helper.open(location)
		helper.write_file("stop", "")
		appender:expect "end"
		local latest = store:get_latest_event_num()
		helper.eventually(function()
			return store:get_checkpoint("plain") == latest and store:get_checkpoint("effects") == latest
		end, "the watchers did not come to the end")
		watcher:kill()

		local final = {oldest = 1, latest = latest, events = {}, points = {plain = latest}}
		local effects = {point = latest, done = {}, letters = {}}
		for _, row in ipairs(assert(store:range("effects", {limit = latest + 1}))) do effects.done[row.key] = row.value end
		final.effects = {effects = effects}
		local from = vigia.trim_horizon()
		repeat
			local answer = assert(store:get_events{event_iterator = from, timeout = 0})
			for _, event in ipairs(answer.events) do final.events[event.seq_num] = event.object end
			from = answer.next_event_iterator
		until #answer.events == 0
		local logs = {history.read(helper.path("a")), history.read(helper.path("w"))}
		assert.same({}, (history.check(logs, final)))
		for _, record in ipairs(logs[1]) do assert(record.kind ~= "failed", record.code) end
	end)
end)

describe("the first server", function()
	it("ends", function() one:stop() end)
end)
