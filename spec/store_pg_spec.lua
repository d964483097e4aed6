-- store_pg_spec.lua - the store on PostgreSQL: the contract that all backends keep, and what is its own. A server is started for it; where
-- there is none, it says so.

local helper = require "spec.helper"
local postgres = require "spec.support.postgres"
local vigia = require "vigia"

local fails, mentions, range, read = helper.fails, helper.mentions, helper.range, helper.read

describe("a store on PostgreSQL without its library", function()
	after_each(helper.clean)

	it("is not supported, and names the package", function()
		local program = assert(helper.program())
		local build = program:match("^(.*)/")
		helper.shell(("cp '%s' '%s'/libvigia.so.0 '%s'"):format(program, build, helper.path()))
		local said, _, _, status = helper.shell(("'%s' events --store 'postgresql://u:s3cret@/d?log=a'"):format(helper.path("vigia")))
		assert.equal(1, status)
		mentions(said, "libvigia-pg", "apt-get install vigia-postgresql")
		assert.is_nil(said:find("s3cret", 1, true))
	end)
end)

local server, why = postgres.start()
if not server then
	describe("the store on PostgreSQL", function()
		it("is tested where there is a server", function() helper.pending(why) end)
	end)
	return
end

-- A normal run has one in eight specs of the contract, because each makes a log and three connections. VIGIA_SEED says which.
local SEED <const> = math.tointeger(tonumber(os.getenv("VIGIA_SEED"))) or os.time()
local SHARE <const> = os.getenv("VIGIA_SOAK") and 1 or 8
local number = SEED
require "busted".subscribe({"register", "it"}, function(_, body)
	if not debug.getinfo(body, "S").source:find("store_contract", 1, true) then return nil, true end
	number = number + 1
	return nil, number % SHARE == 0
end, {priority = 1})

local current
require "spec.store_contract"("on PostgreSQL (VIGIA_SEED=" .. SEED .. ")", function(options, again)
	if not again then current = server:new_location() end
	return helper.open(current, options)
end)
local statement = postgres.statement

local function objects(store)
	local list = {}
	for i, event in ipairs(assert(store:get_events{timeout = 0}).events) do
		assert.equal(i, event.seq_num)
		list[i] = event.object
	end
	return list
end

describe("a store on PostgreSQL", function()
	after_each(helper.clean)

	it("says that it lasts, is shared and finds damage", function()
		local stats = assert(helper.open(server:new_location()):stats())
		assert.equal("postgresql", stats.backend)
		assert.same({persist = true, share = true, damage = true, file = false}, stats.capabilities)
	end)

	it("is not made unless that is wanted, and is told apart from what is none", function()
		local location = server:new_location()
		mentions(fails("store_not_found", vigia.open(location, {create = false})), "vigia_log" .. server.logs)
		mentions(fails("store_not_found", vigia.open(location, {readonly = true})), "there is no store")
		mentions(fails("store_not_found", vigia.open((location:gsub("/vigia%?", "/nobody?")))), "no such database", "3D000")
		server:sql("CREATE SCHEMA vigia_else")
		mentions(fails("not_a_store", vigia.open(server:location("else"))), "vigia_else", "42883")
		helper.open(location):close()
		helper.open(location, {create = false}):close()
		server:sql(("UPDATE vigia_log%d.meta SET format = 2"):format(server.logs))
		mentions(fails("format_unsupported", vigia.open(location)), "format 2", "up to 1")
	end)

	it("has a location that is refused if it says nothing, and names what is wrong", function()
		local function refused(location, ...) mentions(fails("invalid_argument", vigia.open(location)), ...) end
		refused("postgresql://vigia@/vigia", "it names no log", "log=NAME")
		refused("postgresql://vigia@/vigia?log=", "1 to 48")
		refused("postgres://vigia@/vigia?log=A", "a-z, 0-9 and _")
		refused("postgresql://vigia@/vigia?log=" .. ("x"):rep(49), "1 to 48")
		refused("postgresql://vigia@/vigia?log=a&nonsense=1", "nonsense")
		refused("postgresql://vigia@/vigia?log=a&connect_timeout=0", "connect_timeout must be 1 to 3600")
		refused("postgresql://vigia@/vigia?log=a&connect_timeout=never", "connect_timeout")
		refused("postgresql://vigia@/vigia?lease=0&log=a", "lease must be 1 to 3600")
		refused("postgresql://vigia@/vigia?log=a&lease=" .. ("1"):rep(99), "lease must be 1 to 3600")
	end)

	it("is made by the statements that `vigia create --sql` prints, which ask no server", function()
		local cli = require "spec.support.cli"
		local location = server:new_location()
		local sql = cli.ok{"create", "--store", location, "--sql", "max_events=321"}.out
		mentions(sql, "CREATE SCHEMA \"vigia_log" .. server.logs .. "\"", "COMMIT;\n")
		fails("store_not_found", vigia.open(location, {create = false}))
		helper.shell((postgres.psql .. " -X -h %s -U vigia -d vigia -q -v ON_ERROR_STOP=1 -f %s")
			:format(server.folder, helper.write_file("log.sql", sql)))
		local store = helper.open(location, {create = false})
		assert.equal(321, store:stats().max_events)
		assert.equal(1, assert(store:store_event("CREATE", "Job", 1)))
		mentions(cli.fails(1, {"create", "--store", location}), "the store exists already")
		mentions(cli.fails(1, {"create", "--store", "file.db", "--sql"}), "SQL creates no file")
		mentions(cli.fails(2, {"create", "--store", location, "--sql", "max_events=-1"}), "max_events")
		mentions(cli.fails(1, {"events", "--store", (location:gsub("vigia@", "vigia:s3cret@"):gsub("log=log", "log=nolog"))}), "vigia:*@")
	end)

	it("shows its password nowhere", function()
		local function hides(location, text, ...)
			assert.is_nil(tostring(text):find("s3cret", 1, true), tostring(text))
			mentions(text, ...)
			return location
		end
		local with = server:new_location():gsub("vigia@", "vigia:s3cret@")
		local store = helper.open(with)
		hides(with, store, "vigia:*@")
		hides(with, store:stats().path, "vigia:*@")
		store:close()
		hides(with, select(2, store:get_event(1)), "is closed")
		for _, location in ipairs{
			"postgresql://vigia:s3cret@/vigia",
			"postgresql://vigia:s3cret@/vigia?log=a&bad=1",
			"postgresql://vigia:s3cret%zz@/vigia?log=a",
			"postgresql://vigia:s3cret@x@/vigia?log=a&connect_timeout=1",
			"postgresql://vigia:a@s3cret@/vigia?log=A",
			"postgresql://vigia:s3cret?@/vigia?log=A",
			"postgresql:///vigia?log=A&password=s3cret",
			"postgresql:///vigia?p%61ssword=s3cret&log=A",
			"postgresql:///vigia?sslpassword=s3cret&log=A",
			"postgresql://vigia:s3cret@/vigia?log=a&host=" .. server.folder .. "/nowhere&connect_timeout=1",
		} do
			hides(location, select(2, vigia.open(location)), "postgresql://")
		end
	end)

	it("is one store for all handles, with options of its own", function()
		local location = server:new_location()
		local one, two = helper.open(location, {max_events = 7}), helper.open(location)
		assert.equal(1, assert(one:store_event("CREATE", "Job", 1)))
		assert.equal(2, assert(two:store_event("CREATE", "Job", 2)))
		assert.same({1, 2}, (read(one)))
		assert.equal(7, two:stats().max_events)
		mentions(fails("option_conflict", vigia.open(location, {max_events = 8})), "max_events")
		assert(two:configure{max_events = 9})
		assert.equal(9, one:stats().max_events)
		mentions(fails("not_supported", one:backup(helper.path("copy"))), "pg_dump")
	end)

	it("finds a damaged event, gives those before and after, and names it to verify [E8]", function()
		local location = server:new_location()
		local store = helper.open(location)
		helper.fill(store, 3)
		server:sql(("UPDATE vigia_log%d.events SET bytes = set_byte(bytes, length(bytes) - 1, 99) WHERE seq = 2"):format(server.logs))
		assert.equal(2, fails("event_damaged", store:get_event(2)).seq_num)
		assert.same({n = 1}, store:get_event(1).object)
		assert.same({n = 3}, store:get_event(3).object)
		local said = helper.shell(assert(helper.program()) .. " verify --store '" .. location .. "'")
		mentions(said, "2", "checksum")
	end)

	it("keeps buckets, dead letters and timers, in order and over a reopen", function()
		local location = server:new_location()
		local store = helper.open(location)
		for n = 1, 250 do assert(store:put("b", n, {n = n})) end
		assert(store:put("b", "text", "value"))
		assert.same({249, 250, "text"}, (function()
			local keys = {}
			for _, entry in ipairs(assert(store:range("b", {from = 249}))) do keys[#keys + 1] = entry.key end
			return keys
		end)())
		local registry = helper.registry(store)
		helper.fill(store, 1)
		assert(registry:watch("w", function() error("no") end, {retry_strategy = "dead_letter", max_retries = 1}))
		helper.drive(registry, function() return #assert(store:dead_letters{}) == 1 end)
		assert(registry:stop())
		assert(store:schedule({after = 3600}, "CREATE", "Job", 1))
		assert(store:schedule({after = 0}, "CREATE", "Due", 2))
		helper.eventually(function() return store:get_latest_event_num() == 2 end)
		store:close()
		store = helper.open(location)
		assert.same({n = 3}, store:get("b", 3))
		local stats = store:stats()
		assert.same({251, 1, 1}, {stats.values, stats.dead_letters, stats.timers})
		assert.same(1, assert(store:get_checkpoint("w")))
		assert.equal("Due", store:get_event(2).object_type)
	end)

	it("commits transactions of coroutines together, each of which fails alone [X1]", function()
		local store = helper.open(server:new_location())
		local registry = helper.registry(store)
		local before, failed = store:stats().commits, 0
		for n = 1, 50 do
			registry:spawn(function()
				for _ = 1, 2 do
					assert(store:transaction(function(tx)
						tx:put("b", n, (tx:get("b", n) or 0) + 1)
						tx:store_event("CREATE", "Job", n)
					end))
				end
				local value, err = store:store_event("CREATE", "Job", n, {if_last = 100000})
				assert.is_nil(value)
				failed = failed + (err.code == "sequence_conflict" and 1 or 0)
			end)
		end
		assert(registry:run())
		assert.equal(50, failed)
		for n = 1, 50 do assert.equal(2, store:get("b", n)) end
		assert.equal(100, store:get_latest_event_num())
		local commits = store:stats().commits - before
		assert(commits < 75, commits .. " commits of 100 transactions")
	end)

	it("asks for the records of a transaction together, and writes none by itself", function()
		server:new_location()
		local proxy = server:proxy()
		local store = helper.open(proxy.location("log" .. server.logs))
		local KEYS <const> = 100
		local function change()
			assert(store:transaction(function(tx)
				for n = 1, KEYS do tx:put("b", n, (tx:get("b", n) or 0) + 1) end
			end))
		end
		change()
		proxy.record()
		local registry = helper.registry(store)
		for n = 1, 20 do
			registry:spawn(function()
				assert(store:transaction(function(tx)
					for k = 1, KEYS do tx:put("b" .. n, k, n) end
				end))
			end)
		end
		assert(registry:run())
		local trips = select(2, table.concat(proxy.answers()):gsub("Z\0\0\0\5", "")) -- ReadyForQuery
		assert(trips < 20 * KEYS / 4, trips .. " round trips for " .. 20 * KEYS .. " values")
		for n = 1, 20 do
			for k = 1, KEYS do assert.equal(n, store:get("b" .. n, k)) end
		end
		assert.equal(1, store:get("b", KEYS))
	end)

	it("makes room by itself for new events after many removals", function()
		local store = helper.open(server:new_location(), {durability = "none"})
		local events = {}
		for n = 1, 1000 do events[n] = {"CREATE", "Job", n} end
		for _ = 1, 21 do assert(store:store_events(events)) end
		local function vacuums()
			return tonumber(server:sql("SELECT vacuum_count FROM pg_stat_user_tables WHERE relname = 'events' AND schemaname = 'vigia_log"
				.. server.logs .. "'"))
		end
		assert(store:trim(15000))
		assert.equal(0, vacuums())
		assert(store:trim(20500))
		helper.eventually(function() return vacuums() == 1 end)
		assert.equal(20501, store:get_oldest_event_num())
	end)

	it("removes what the limits say", function()
		local location = server:new_location()
		local store = helper.open(location, {max_events = 10, retention_passes_checkpoints = true})
		helper.fill(store, 50)
		assert.equal(40, assert(store:gc()).removed)
		assert.same(range(41, 50), (read(store)))
		local used = store:stats().used_bytes
		assert(store:configure{max_events = 0, max_bytes = used // 2})
		assert(store:gc())
		local stats = store:stats()
		assert(stats.used_bytes <= used // 2 and stats.events >= 4, stats.used_bytes .. " of " .. used)
		-- An age of next to nothing: what a mark covers is old, but for what a watcher has yet to see.
		assert(store:configure{max_bytes = 0, gc_age_threshold = 0.001})
		assert(store:store_checkpoint("w", 48))
		helper.eventually(function()
			assert(store:gc())
			return store:get_oldest_event_num() == 49
		end)
	end)
end)

describe("watchers of a store on PostgreSQL", function()
	after_each(helper.clean)

	it("share what they read: an event crosses the network once a process", function()
		local direct = helper.open(server:new_location())
		local proxy = server:proxy()
		local store = helper.open(proxy.location("log" .. server.logs))
		local registry = helper.registry(store)
		local WATCHERS <const>, EVENTS <const> = 100, 60
		local seen, total = {}, 0
		local function store_events(first, last)
			for n = first, last do assert(direct:store_event("CREATE", "Job", ("<event %d>"):format(n))) end
		end
		store_events(1, EVENTS // 2)
		proxy.record()
		for n = 1, WATCHERS do
			seen[n] = {}
			assert(registry:watch("w" .. n, function(event)
				total = total + 1
				table.insert(seen[n], event.seq_num)
			end, {batch_size = 1 + n % 9, filter = n % 2 == 0 and {object_types = {"Job"}} or nil}))
		end
		for n = EVENTS // 2 + 1, EVENTS do
			store_events(n, n)
			registry:step(0)
		end
		helper.drive(registry, function() return total == WATCHERS * EVENTS end)
		for n = 1, WATCHERS do assert.same(range(1, EVENTS), seen[n]) end
		local answers = table.concat(proxy.answers(), "\n")
		for n = 1, EVENTS do
			local _, count = answers:gsub(("<event %d>"):format(n), "")
			assert.equal(1, count, "event " .. n)
		end
	end)

	it("pass what was removed while they waited, and read on far behind the others", function()
		local location = server:new_location()
		local store = helper.open(location)
		local registry = helper.registry(store)
		local handler, seen = helper.recorder()
		local blob = ("x"):rep(300000)
		for n = 1, 40 do assert(store:store_event("CREATE", "Job", {n = n, blob = blob})) end -- more than is kept in memory
		for n = 1, 3 do
			local from = vigia.after_sequence_number(10 * n)
			assert(registry:watch("w" .. n, handler, {batch_size = 1, ephemeral = true, initial_event_iterator = from}))
		end
		helper.drive(registry, function() return #seen == 30 + 20 + 10 end)
		assert(store:trim(39))
		local late = assert(registry:watch("late", handler, {ephemeral = true, initial_event_iterator = vigia.after_sequence_number(5)}))
		helper.drive(registry, function() return #seen == 61 end)
		assert.equal(40, seen[61])
		assert.equal(34, late:stats().missed)
		assert(store:trim(40))
		local last = assert(registry:watch("last", handler, {ephemeral = true, initial_event_iterator = vigia.after_sequence_number(5)}))
		helper.drive(registry, function() return last:stats().missed == 35 end)
		helper.fill(store, 1)
		helper.drive(registry, function() return #seen == 61 + 5 end)
	end)
end)

describe("several processes with a store on PostgreSQL", function()
	after_each(helper.clean)

	it("see each other's events at once, and all in one order [S7 S13]", function()
		local location = server:new_location()
		local store = helper.open(location)
		local child = helper.child([[
			local store = assert(vigia.open(..., {collect = false}))
			say("ready")
			local seen, iterator = 0, vigia.trim_horizon()
			while seen < 40 do
				local answer = assert(store:get_events{event_iterator = iterator, timeout = 60, filter = {object_types = {"Job"}}})
				for _, event in ipairs(answer.events) do
					seen = seen + 1
					if event.object == "ping" then assert(store:store_event("CREATE", "Answer", event.seq_num)) end
				end
				iterator = answer.next_event_iterator
			end
			say("seen")
		]], location)
		child:expect("ready")
		for _ = 1, 20 do
			local ping = assert(store:store_event("CREATE", "Job", "ping"))
			local answer = assert(store:get_events{event_iterator = vigia.after_sequence_number(ping), timeout = 60})
			assert.equal(ping, answer.events[1].object)
			assert(store:store_event("CREATE", "Job", "more"))
		end
		child:expect("seen")
		assert.same(range(1, 60), (read(store)))
	end)

	it("run a watcher id once, and get it when its owner was killed [W19]", function()
		local location = server:new_location()
		local store = helper.open(location)
		helper.fill(store, 3)
		local child = helper.child([[
			local store = assert(vigia.open(..., {collect = false}))
			local registry = assert(vigia.registry(store, {log = false}))
			assert(registry:watch("w", function(event) say("handled", event.seq_num) end, {checkpoint = "event"}))
			registry:run()
		]], location)
		for n = 1, 3 do child:expect("handled\t" .. n) end
		local registry = helper.registry(store)
		local handler, seen = helper.recorder()
		local err = fails("watcher_owned", registry:watch("w", handler))
		assert.equal("w", err.watcher_id)
		mentions(err, tostring(child.pid))
		child:kill()
		local watcher
		helper.eventually(function()
			watcher, err = registry:watch("w", handler)
			assert(watcher or err.code == "watcher_owned", tostring(err))
			return watcher
		end)
		helper.fill(store, 1)
		helper.drive(registry, function() return seen[#seen] == 4 end)
		mentions(fails("watcher_already_exists", registry:watch("w", handler)), "w")
	end)

	it("hear of settings, timers and letters that another changed", function()
		local location = server:new_location()
		local store = helper.open(location)
		local registry = helper.registry(store)
		local fine, handled = false, 0
		helper.fill(store, 1)
		assert(registry:watch("w", function()
			if not fine then error("not yet") end
			handled = handled + 1
		end, {retry_strategy = "dead_letter", max_retries = 1}))
		helper.drive(registry, function() return #assert(store:dead_letters{}) == 1 end)
		fine = true
		helper.run_lua("", [[
			local store = assert(vigia.open(..., {collect = false}))
			assert(store:configure{max_events = 77})
			assert(store:retry_dead_letter("w", 1))
			store:close()
		]], location)
		helper.drive(registry, function() return handled == 1 end)
		helper.eventually(function() return store:stats().max_events == 77 end)
	end)
end)

describe("a store on PostgreSQL whose server fails", function()
	after_each(helper.clean)

	it("stores once what was sent again because its answer was lost [P2]", function()
		local location = server:new_location()
		local name = "log" .. server.logs
		local proxy = server:proxy()
		local store = helper.open(proxy.location(name))
		assert.equal(1, assert(store:store_event("CREATE", "Job", 1)))
		proxy.swallow(statement "COMMIT")
		assert.equal(2, assert(store:store_event("CREATE", "Job", 2)))
		assert.is_true(proxy.swallowed())
		proxy.swallow(statement "COMMIT")
		assert.same({3, 4}, {assert(store:store_events{{"CREATE", "Job", 3}, {"CREATE", "Job", 4}})})
		assert.is_true(proxy.swallowed())
		local loses = true
		assert(store:transaction(function(tx)
			local count = (tx:get("b", "count") or 0) + 1
			if loses then proxy.swallow("COMMIT\0") end -- behind the reads, which end with one, too
			loses = false
			tx:put("b", "count", count)
			tx:store_event("CREATE", "Job", 5)
		end))
		assert.is_true(proxy.swallowed())
		assert.equal(1, store:get("b", "count"))
		assert.same(range(1, 5), objects(store))
		assert.same(range(1, 5), objects(helper.open(location)))
	end)

	it("does a transaction again that was lost before its commit", function()
		server:new_location()
		local proxy = server:proxy()
		local store = helper.open(proxy.location("log" .. server.logs))
		assert(store:put("b", "count", 1))
		proxy.swallow(statement "LOOK")
		assert(store:transaction(function(tx)
			tx:put("b", "count", tx:get("b", "count") + 1)
			tx:store_event("CREATE", "Job", "once")
		end))
		assert.is_true(proxy.swallowed())
		assert.equal(2, store:get("b", "count"))
		assert.same({"once"}, objects(store))
	end)

	it("says that it is not known whether a commit was stored, and finds out before the next", function()
		server:new_location()
		local proxy = server:proxy()
		local store = helper.open(proxy.location("log" .. server.logs, "&connect_timeout=1"), {durability = "interval", commit_interval = 3600})
		assert(store:store_event("CREATE", "Job", 1, {if_last = 0}))
		assert.is_true(store:store_event("CREATE", "Job", 2))
		proxy.stall("all")
		mentions(fails("commit_unknown", store:sync()), "not known", "in time")
		mentions(fails("store_unreachable", store:sync()), "in time")
		proxy.stall()
		helper.eventually(function() return store:sync() end)
		assert.same({1, 2}, objects(store))
		-- And where it was stored all the same.
		assert.is_true(store:store_event("CREATE", "Job", 3))
		proxy.stall("answers")
		fails("commit_unknown", store:sync())
		proxy.stall()
		helper.eventually(function() return store:sync() end)
		assert.is_true(store:store_event("CREATE", "Job", 4))
		assert.equal(4, assert(store:sync()))
		assert.same({1, 2, 3, 4}, objects(store))
	end)

	it("returns store_unreachable while the server is away, and works when it is back [P4]", function()
		server:new_location()
		local proxy = server:proxy()
		local store = helper.open(proxy.location("log" .. server.logs, "&connect_timeout=1"))
		local registry = helper.registry(store)
		local handler, seen = helper.recorder()
		assert(store:store_event("CREATE", "Job", 1))
		local watcher = assert(registry:watch("w", handler, {initial_backoff = 0.05}))
		helper.drive(registry, function() return #seen == 1 end)
		proxy.stall("all")
		server:sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'vigia'")
		fails("store_unreachable", store:get_latest_event_num())
		local err = select(2, store:store_event("CREATE", "Job", 2))
		assert(err.code == "store_unreachable" or err.code == "commit_unknown", tostring(err))
		assert.equal("running", watcher:stats().state)
		proxy.stall()
		helper.eventually(function() return (store:store_event("CREATE", "Job", 3)) end)
		helper.drive(registry, function() return seen[#seen] == store:get_latest_event_num() end)
		for i, n in ipairs(seen) do assert.equal(i, n) end
	end)

	it("waits for no server in a registry, and loses nothing, however long that hangs [P4]", function()
		local TIMEOUT <const> = 2
		local direct = helper.open(server:new_location())
		local proxy = server:proxy()
		local store = helper.open(proxy.location("log" .. server.logs, "&connect_timeout=" .. TIMEOUT), {checkpoint_interval = 0.01})
		local registry = helper.registry(store)
		local polled, seen, stalled, failed = {}, {}, false, 0
		registry:spawn(function()
			local iterator = vigia.trim_horizon()
			while true do
				local answer, err = store:get_events{event_iterator = iterator, timeout = 60}
				if err and err.code == "stopping" then return end
				for _, event in ipairs(answer and answer.events or {}) do polled[#polled + 1] = event.seq_num end
				iterator = answer and answer.next_event_iterator or iterator
			end
		end)
		local function watch(id, options, handle)
			seen[id] = {}
			return assert(registry:watch(id, function(event, ctx)
				if not stalled and event.seq_num > 1 then
					stalled = true
					proxy.stall("all") -- all have the events in memory, and nothing is saved
				end
				if handle then handle(event, ctx) end
				table.insert(seen[id], event.seq_num)
			end, options))
		end
		watch("each", {checkpoint = "event"})
		watch("some", {batch_size = 7})
		watch("lanes", {lanes = 2, lane_key = "object.n"})
		watch("effects", {transactional = true}, function(event, ctx)
			ctx.tx:put("effects", event.seq_num, true)
		end)
		watch("letters", {retry_strategy = "dead_letter", max_retries = 1}, function(event)
			if event.seq_num ~= 3 then return end
			failed = failed + 1
			error("no")
		end)
		local function all_saw(last)
			return function()
				for _, list in pairs(seen) do
					if #list == 0 or list[#list] < last then return false end
				end
				return polled[#polled] == last and #seen.lanes == last
			end
		end
		helper.fill(direct, 1)
		helper.drive(registry, all_saw(1))
		helper.fill(direct, 19)
		helper.drive(registry, function() return stalled end)
		local begun_at, steps, more = helper.now(), {}, false
		while helper.now() < begun_at + 1.5 * TIMEOUT or not more do
			if not more and helper.now() > begun_at + TIMEOUT / 2 then
				more = true
				helper.fill(direct, 20)
			end
			local begun = helper.now()
			registry:step(0)
			steps[#steps + 1] = helper.now() - begun
			vigia.sleep(0.002)
		end
		table.sort(steps)
		local longest, median = steps[#steps], steps[(#steps + 1) // 2]
		assert(longest < TIMEOUT / 4, ("a step took %.3f s"):format(longest))
		assert(median < 0.01, ("the median of %d steps is %.3f s"):format(#steps, median))
		proxy.stall()
		helper.drive(registry, all_saw(40))
		assert(registry:stop())
		table.sort(seen.lanes)
		for _, list in ipairs{polled, seen.each, seen.some, seen.lanes} do assert.same(range(1, 40), list) end
		local letters = assert(direct:dead_letters{})
		assert.same({1, 3}, {#letters, letters[1].seq_num})
		for n = 1, 40 do assert.is_true(direct:get("effects", n)) end
		for _, id in ipairs{"each", "some", "lanes", "effects", "letters"} do assert.equal(40, assert(direct:get_checkpoint(id)), id) end
		assert(helper.registry(direct):watch("each", function() end)) -- its id is free
	end)

	it("counts no outage against a handler whose transaction cannot read [P4 L1]", function()
		server:new_location()
		local proxy = server:proxy()
		local store = helper.open(proxy.location("log" .. server.logs, "&connect_timeout=1"))
		local registry = helper.registry(store)
		helper.fill(store, 3)
		local tries = 0
		local watcher = assert(registry:watch("w", function(_, ctx)
			tries = tries + 1
			if tries == 2 then proxy.stall("all") end
			local count, err = ctx.tx:get("b", "n")
			if err then return nil, err end
			return ctx.tx:put("b", "n", (count or 0) + 1)
		end, {transactional = true, retry_strategy = "dead_letter", max_retries = 1, initial_backoff = 0.01}))
		helper.drive(registry, function() return watcher:stats().last_error end)
		local later = helper.now() + 1 -- for more of the same
		helper.drive(registry, function() return helper.now() > later end)
		proxy.stall()
		helper.drive(registry, function() return store:get_checkpoint("w") == 3 end)
		assert.same({}, store:dead_letters())
		assert.equal(3, store:get("b", "n"))
	end)

	it("commits no transaction of which a read failed, whatever its function makes of that [X1 P4]", function()
		server:new_location()
		local proxy = server:proxy()
		local store = helper.open(proxy.location("log" .. server.logs, "&connect_timeout=1"))
		assert(store:put("b", "n", 7))
		local failure
		local function count(tx)
			proxy.stall("all")
			local n, err = tx:get("b", "n")
			proxy.stall()
			helper.eventually(function() return store:get_latest_event_num() end)
			failure = err
			assert(tx:put("b", "n", (n or 0) + 1))
		end
		fails("store_unreachable", store:transaction(count))
		assert.equal("store_unreachable", failure.code)
		assert.equal(7, store:get("b", "n"))
		local registry, outcome = helper.registry(store), nil
		assert(registry:spawn(function() outcome = table.pack(store:transaction(count)) end))
		helper.drive(registry, function() return outcome end)
		fails("store_unreachable", outcome[1], outcome[2])
		assert.equal(7, store:get("b", "n"))
		assert(store:transaction(function(tx) assert(tx:put("b", "n", tx:get("b", "n") + 1)) end))
		assert.equal(8, store:get("b", "n"))
	end)

	it("goes on when its connections are ended by the server", function()
		local store = helper.open(server:new_location())
		local registry = helper.registry(store)
		local handler, seen = helper.recorder()
		assert(registry:watch("w", handler))
		for n = 1, 5 do
			server:sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'vigia'")
			assert.equal(n, assert(store:store_event("CREATE", "Job", n)))
			helper.drive(registry, function() return seen[n] == n end)
		end
		assert(registry:stop())
		assert.equal(5, assert(store:get_checkpoint("w")))
	end)

	it("is not held up by a process that is stopped inside a transaction [P3 P4]", function()
		local store = helper.open(server:new_location(), {durability = "none"})
		local proxy = server:proxy()
		local child = helper.child([[
			local store = assert(vigia.open((...), {collect = false}))
			say("ready")
			while true do store:transaction(function(tx) tx:put("b", "n", 1) end) end]],
			proxy.location("log" .. server.logs, "&connect_timeout=2"))
		child:expect("ready")
		proxy.hold(statement "LOOK") -- which takes the log's lock
		helper.eventually(function()
			return server:sql("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'") == "1"
		end)
		helper.shell("kill -STOP " .. child.pid)
		assert(store:store_event("CREATE", "Job", 1))
		helper.shell("kill -CONT " .. child.pid)
		child:kill()
	end)

	it("saves no progress of a watcher that another process has taken, and stops it [P3]", function()
		local location = server:new_location()
		local schema = "vigia_log" .. server.logs
		local store = helper.open(location, {checkpoint_interval = 3600})
		local registry = helper.registry(store)
		local handler, seen = helper.recorder()
		helper.fill(store, 1)
		local watcher = assert(registry:watch("w", handler))
		helper.drive(registry, function() return #seen == 1 end)
		-- As another process does that finds the lock free.
		server:sql(("INSERT INTO %s.sessions VALUES ('other', 'other', 4711, 0, 0)"):format(schema))
		server:sql(("UPDATE %s.owners SET epoch = epoch + 1, client = 'other'"):format(schema))
		assert(store:store_event("CREATE", "Job", 2))
		fails("checkpoint_not_found", store:get_checkpoint("w"))
		helper.drive(registry, function() return watcher:stats().state == "stopped" end)
		local err = watcher:stats().last_error
		assert.equal("watcher_owned", err.code)
		mentions(err, "4711", "on other")
		assert(registry:stop())
		fails("checkpoint_not_found", store:get_checkpoint("w"))
	end)

	it("commits no effect of a watcher that another process has taken, and stops it [P3]", function()
		server:new_location()
		local schema = "vigia_log" .. server.logs
		local store = helper.open(server:location("log" .. server.logs))
		local registry = helper.registry(store)
		helper.fill(store, 3)
		local watcher = assert(registry:watch("w", function(event, ctx)
			if event.seq_num == 2 then server:sql(("UPDATE %s.owners SET epoch = epoch + 1"):format(schema)) end
			ctx.tx:put("effects", event.seq_num, true)
		end, {transactional = true, batch_size = 1}))
		helper.drive(registry, function() return watcher:stats().state == "stopped" end)
		assert.equal("watcher_owned", watcher:stats().last_error.code)
		assert.equal(1, store:get_checkpoint("w"))
		assert.is_true(store:get("effects", 1))
		assert.is_nil((store:get("effects", 2)))
		assert.is_nil((store:get("effects", 3)))
	end)

	-- What a watcher stores beside its progress: its options, what its handler does once another process has the id, what must be so then.
	for what, way in pairs{
		["checkpoint by hand"] = {{checkpoint = "manual"}, function(event, ctx)
			fails("watcher_owned", ctx.watcher:checkpoint(event.seq_num))
		end},
		["checkpoint by the store"] = {{checkpoint = "manual"}, function(event, _, store)
			fails("watcher_owned", store:store_checkpoint("w", event.seq_num))
		end},
		["checkpoint by hand behind the other's"] = {{checkpoint = "manual"}, function(event, ctx)
			fails("watcher_owned", ctx.watcher:checkpoint(event.seq_num - 1))
		end},
		["seek"] = {{checkpoint = "manual"}, function(_, ctx) ctx.watcher:seek_to_offset(0) end},
		["dead letter"] = {{checkpoint = "manual", retry_strategy = "dead_letter", max_retries = 1}, function() error("no", 0) end},
		["handled dead letter"] = {{transactional = true, retry_strategy = "dead_letter", max_retries = 1}, function(event, ctx)
			assert(ctx.tx:put("effects", event.seq_num, true))
		end, letter = true},
	} do
		it(("saves no %s of a watcher that another process has taken, and stops it [P3]"):format(what), function()
			server:new_location()
			local schema = "vigia_log" .. server.logs
			local store = helper.open(server:location("log" .. server.logs))
			local registry = helper.registry(store)
			helper.fill(store, 2)
			if not way.letter then assert(store:store_checkpoint("w", 1)) end
			local taken, handled = false, nil
			local options, handler = table.unpack(way)
			options.initial_backoff = 0.01
			local watcher = assert(registry:watch("w", function(event, ctx)
				if event.seq_num < 2 then return end
				if way.letter and #store:dead_letters() == 0 then error("aside") end
				if not taken then
					taken = true
					server:sql(("UPDATE %s.owners SET epoch = epoch + 1, client = 'other'"):format(schema))
				end
				handled = {pcall(handler, event, ctx, store)}
				if not handled[1] then error(handled[2], 0) end
			end, options))
			if way.letter then
				helper.drive(registry, function() return #store:dead_letters() == 1 end)
				assert(store:retry_dead_letter("w", 2))
			end
			helper.drive(registry, function() return handled end)
			local before = store:get_checkpoint("w")
			helper.drive(registry, function() return watcher:stats().state == "stopped" end)
			assert.equal("watcher_owned", watcher:stats().last_error.code)
			assert(handled[1] or handled[2] == "no", handled[2])
			assert.equal(way.letter and 2 or 1, before)
			assert.equal(before, store:get_checkpoint("w"))
			assert.equal(way.letter and 1 or 0, #store:dead_letters())
			assert.is_nil((store:get("effects", 2)))
		end)
	end

	it("loses its watchers when it is stopped for longer than its lease, and does nothing more in them [P3]", function()
		local location = server:new_location()
		local store = helper.open(location)
		helper.fill(store, 3)
		local fifo = helper.path("fifo")
		helper.shell("mkfifo " .. fifo)
		local child = helper.child([[
			local location, fifo = ...
			local store = assert(vigia.open(location .. "&lease=1", {collect = false, checkpoint_interval = 3600}))
			local registry = assert(vigia.registry(store, {log = false}))
			local plain = assert(registry:watch("plain", function() end))
			local both = assert(registry:watch("both", function(event, ctx)
				ctx.tx:put("effects", event.seq_num, "theirs")
				if event.seq_num < 2 then return end
				say("in hand")
				io.open(fifo):read("a")
			end, {transactional = true, batch_size = 1}))
			while plain:stats().state ~= "stopped" or both:stats().state ~= "stopped" do registry:step(0.1) end
			say(plain:stats().last_error.code)
			say(both:stats().last_error.code)
		]], location, fifo)
		child:expect("in hand")
		assert(os.execute("kill -STOP " .. child.pid))
		local registry = helper.registry(store)
		mentions(fails("watcher_owned", registry:watch("both", function() end)), tostring(child.pid))
		helper.eventually(function()
			return registry:watch("both", function(event, ctx) ctx.tx:put("effects", event.seq_num, "ours") end, {transactional = true})
		end)
		assert(registry:watch("plain", function() end))
		helper.drive(registry, function()
			for id, watcher in pairs{both = registry:get_watcher("both"), plain = registry:get_watcher("plain")} do
				if watcher:stats().lag > 0 then return false, id end
			end
			return true
		end)
		assert(os.execute("kill -CONT " .. child.pid))
		assert(io.open(fifo, "w")):close()
		child:expect("watcher_owned")
		child:expect("watcher_owned")
		child:wait()
		assert.same({"theirs", "ours", "ours"}, {store:get("effects", 1), store:get("effects", 2), store:get("effects", 3)})
		assert.same({3, "running"}, {store:get_checkpoint("both"), registry:get_watcher("both"):stats().state})
		helper.fill(store, 1)
		helper.drive(registry, function() return registry:get_watcher("plain"):stats().lag == 0 end)
		assert(registry:stop())
		assert.same({4, 4}, {store:get_checkpoint("plain"), store:get_checkpoint("both")})
	end)

	it("loses an id to who took it while its connection was broken", function()
		local location = server:new_location()
		local schema = "vigia_log" .. server.logs
		local proxy = server:proxy()
		local store = helper.open(proxy.location("log" .. server.logs, "&connect_timeout=1"))
		local registry = helper.registry(store)
		local watcher = assert(registry:watch("w", function() end))
		proxy.stall("all")
		server:sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'vigia'")
		local other = helper.registry(helper.open(location))
		local theirs
		helper.eventually(function()
			theirs = other:watch("w", function() end)
			return theirs
		end)
		assert.equal("2", server:sql(("SELECT epoch FROM %s.owners"):format(schema)))
		proxy.stall()
		helper.drive(registry, function() return watcher:stats().state == "stopped" end)
		assert.equal("watcher_owned", watcher:stats().last_error.code)
		assert.equal("running", theirs:stats().state)
	end)
end)

describe("the server", function()
	it("ends", function()
		local folder = server.folder
		server:stop()
		assert.is_nil(require "lfs".attributes(folder))
	end)
end)
