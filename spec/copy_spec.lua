-- copy_spec.lua - `vigia copy`: one store into another, files and PostgreSQL, each event once, whatever is interrupted or killed.

local assert = require "luassert"
local cli = require "spec.support.cli"
local helper = require "spec.helper"
local postgres = require "spec.support.postgres"
local uv = require "luv"
local vigia = require "vigia"

local mentions = helper.mentions
local server, why = postgres.start()

-- The location of a store that is not there yet.
local function place(kind, name)
	return kind == "file" and helper.path(name) or server:new_location()
end

local function open(location, options)
	options = options or {}
	options.collect = false
	if location:find("^/") and not io.open(location) then options.durability = "none" end
	return helper.open(location, options)
end

-- Store events {from = name, n = first..last}, many with one call.
local function append(store, name, first, last)
	local list = {}
	for n = first, last do list[#list + 1] = {"CREATE", "Job", {from = name, n = n}} end
	assert(store:store_events(list))
end

-- Each source's events must be there once, in their order: {name = count}.
local function expect_once(location, counts)
	local store = open(location, {readonly = true})
	local seen, iterator = {}, vigia.trim_horizon()
	for name in pairs(counts) do seen[name] = 0 end
	repeat
		local answer = assert(store:get_events{event_iterator = iterator, timeout = 0, limit = 5000})
		for _, event in ipairs(answer.events) do
			local name = event.object.from
			assert.equal(seen[name] + 1, event.object.n, name)
			seen[name] = seen[name] + 1
		end
		iterator = answer.next_event_iterator
	until #answer.events == 0
	store:close()
	assert.same(counts, seen)
end

local function last_of(location)
	local store = vigia.open(location, {create = false, readonly = true, collect = false})
	if not store then return 0 end
	local last = store:get_latest_event_num()
	store:close()
	return last or 0
end

local function copied_of(from, to)
	local source, target = open(from, {readonly = true}), open(to, {readonly = true})
	local number = target:get("vigia.copied", source:stats().file_id)
	source:close()
	target:close()
	return number
end

describe("vigia copy", function()
	after_each(cli.clean)

	local PAIRS <const> = server and {{"file", "file"}, {"file", "postgresql"}, {"postgresql", "file"}} or {{"file", "file"}}
	for _, pair in ipairs(PAIRS) do
		it(("makes an empty store like its source, from %s to %s, and then brings what is new [P6]"):format(pair[1], pair[2]), function()
			local from, to = place(pair[1], "from"), place(pair[2], "to")
			local store = open(from)
			append(store, "a", 1, 1400)
			for n = 1401, 1410 do assert(store:store_event("KEYED", "K", {from = "a", n = n}, {key = "key-" .. n})) end
			assert(store:trim(100))
			assert(store:store_checkpoint("w", 700))
			assert(store:put("b", "key", {1, "two"}))
			assert(store:schedule({after = 86400}, "LATER", "T", 1))
			assert(store:configure{max_events = 54321})
			store:close()
			local result = cli.ok{"copy", from, to}
			mentions(result.out, "copied 1310 events, up to event 1410 of ")
			mentions(result.err, "1 timer stays in ", "vigia export")
			assert.equal(cli.ok{"events", "--store", from}.out, cli.ok{"events", "--store", to}.out)
			assert.equal(1410, copied_of(from, to))
			mentions(cli.ok{"copy", from, to}.out, "copied 0 events, up to event 1410")
			local source, target = open(from), open(to)
			assert.equal(101, target:get_oldest_event_num())
			assert.same({1405, true}, {target:store_event("KEYED", "K", 0, {key = "key-1405"})})
			assert.equal(700, target:get_checkpoint("w"))
			assert.same({1, "two"}, target:get("b", "key"))
			local stats = target:stats()
			assert.same({0, 54321, false}, {stats.timers, stats.max_events, stats.importing})
			-- Numbers stay the source's while nothing else appends.
			append(source, "a", 1411, 1412)
			mentions(cli.ok{"copy", from, to}.out, "copied 2 events, up to event 1412")
			assert.same({from = "a", n = 1412}, target:get_event(1412).object)
			append(target, "own", 1, 1)
			append(source, "a", 1413, 3413)
			mentions(cli.ok{"copy", from, to}.out, "copied 2001 events, up to event 3413")
			assert.equal(3414, target:get_latest_event_num())
			assert.same({from = "a", n = 3413}, target:get_event(3414).object)
			assert.equal(3413, copied_of(from, to))
		end)
	end

	it("appends several sources to one log, each event once [P6]", function()
		local to = server and place("postgresql") or helper.path("to")
		for i, name in ipairs{"a", "b", "c"} do append(open(helper.path(name)), name, 1, 1500 * i) end
		mentions(cli.ok{"copy", "--merge", helper.path("a"), to}.out, "copied 1500 events")
		local target = open(to)
		append(target, "own", 1, 7)
		cli.ok{"copy", helper.path("b"), to}
		for _ = 1, 2 do
			for _, name in ipairs{"c", "a", "b"} do cli.ok{"copy", helper.path(name), to} end
		end
		expect_once(to, {a = 1500, b = 3000, c = 4500, own = 7})
		append(open(helper.path("b")), "b", 3001, 3001)
		mentions(cli.ok{"copy", helper.path("b"), to}.out, "copied 1 event, up to event 3001")
		expect_once(to, {a = 1500, b = 3001, c = 4500, own = 7})
	end)

	local KILLS <const> = os.getenv("VIGIA_SOAK") and 20 or 2
	-- Kill it or interrupt it each time it has stored something, `most` times, then let it end. `target` is where it copies to.
	local function kill_often(from, to, target, most)
		local kills = 0
		repeat
			local before = target:get_latest_event_num()
			local process = cli.start{"copy", from, to}
			repeat
				local killed = kills < most and target:get_latest_event_num() > before
				if killed then uv.kill(process.pid, kills % 2 == 0 and "sigkill" or "sigint") end
			until killed or process:gone()
			local result = process:wait()
			local ended = result.status == 0
			if result.status == 1 then mentions(result.err, "the copy was interrupted")
			elseif not ended then assert.equal("signal 9", result.status, result.err) end
			kills = kills + (ended and 0 or 1)
		until ended
		return kills
	end

	for _, kind in ipairs(server and {"file", "postgresql"} or {"file"}) do
		it("doubles and loses nothing when it is killed, into " .. kind .. " [P6]", function()
			local from, to, target = helper.path("from"), nil, nil
			local store, kills, count = open(from), 0, 10000
			for n = 1, count, 5000 do append(store, "a", n, n + 4999) end
			assert(store:put("b", 1, 1))
			for try = 1, 20 do -- on a busy machine it may be faster than its end
				to = place(kind, "to" .. try)
				target = open(to)
				kills = kill_often(from, to, target, KILLS)
				expect_once(to, {a = count})
				if kills > 0 then break end
			end
			assert(kills > 0, "it was never killed")
			assert.equal(cli.ok{"events", "--store", from, "--last", "99"}.out, cli.ok{"events", "--store", to, "--last", "99"}.out)
			append(target, "own", 1, 1)
			kills = 0
			for _ = 1, 20 do
				append(store, "a", count + 1, count + 5000)
				count = count + 5000
				kills = kill_often(from, to, target, KILLS)
				expect_once(to, {a = count, own = 1})
				if kills > 0 then break end
			end
			assert(kills > 0, "it was never killed")
		end)
	end

	it("goes on with an unfinished first copy, or begins it anew, and refuses another's [P6]", function()
		local from, to = helper.path("from"), helper.path("to")
		local store = open(from)
		for n = 1, 20000, 5000 do append(store, "a", n, n + 4999) end
		assert(store:put("b", "gone", 1))
		local target = open(to)
		local process = cli.start{"copy", from, to}
		repeat until target:get_latest_event_num() > 0
		uv.kill(process.pid, "sigkill")
		process:wait()
		if not target:stats().importing then return helper.pending("its end came before that of its process") end
		helper.fails("import_unfinished", target:store_event("A", "B", 1))
		append(open(helper.path("other")), "other", 1, 1)
		mentions(cli.fails(1, {"copy", helper.path("other"), to}), "import", "not finished")
		-- What changed meanwhile beside the events is as it is now.
		assert(store:delete("b", "gone"))
		assert(store:put("b", "new", 2))
		assert(store:trim(19000))
		mentions(cli.fails(1, {"copy", from, to}), "were removed before they were copied; begin again with the option anew")
		cli.ok{"copy", "--anew", from, to}
		assert.same({19001, 20000, 2}, {target:get_oldest_event_num(), target:get_latest_event_num(), target:get("b", "new")})
		assert.is_nil((target:get("b", "gone")))
	end)

	it("stops where events were removed before they were copied, unless it is told to go on [P6]", function()
		local from, to = helper.path("from"), helper.path("to")
		local store = open(from)
		append(store, "a", 1, 10)
		cli.ok{"copy", from, to}
		append(store, "a", 11, 20)
		assert(store:trim(15))
		mentions(cli.fails(1, {"copy", from, to}), "the events from 11 to 15 were removed before they were copied")
		local result = cli.ok{"copy", "--skip-removed", from, to}
		mentions(result.out, "copied 5 events, up to event 20")
		mentions(result.err, "5 events had been removed")
		assert.equal(15, last_of(to))
	end)

	it("says what is wrong with its stores [P6]", function()
		local from, to = helper.path("from"), helper.path("to")
		mentions(cli.fails(1, {"copy", from, to}), "there is no such store")
		assert.is_nil(io.open(from))
		append(open(from), "a", 1, 3)
		helper.shell(("cp %s %s"):format(from, helper.path("old"))) -- a store with the same id, as a snapshot of the disk has
		mentions(cli.fails(1, {"copy", from, from}), "both are the same store")
		mentions(cli.fails(1, {"copy", from, ":memory:"}), "in memory")
		mentions(cli.fails(2, {"copy", from}), "to")
		mentions(cli.fails(2, {"--store", from, "copy", from, to}), "FROM TO")
		append(open(from), "a", 4, 5)
		cli.ok{"copy", from, to}
		mentions(cli.fails(1, {"copy", helper.path("old"), to}), "5 events of ", "it has 3", "it was replaced")
		append(open(from), "a", 6, 6)
		append(open(from), ("a"):rep(100), 1, 1)
		assert(open(to):configure{max_event_size = 64})
		mentions(cli.fails(1, {"copy", from, to}), "event 7 has ", "max_event_size")
		assert(open(to):put("vigia.copied", open(from):stats().file_id, "text"))
		mentions(cli.fails(1, {"copy", from, to}), "vigia.copied", "no number")
	end)

	it("copies once where several copy the same at the same time [P6]", function()
		local from, to = helper.path("from"), helper.path("to")
		local store = open(from)
		append(store, "a", 1, 10)
		cli.ok{"copy", from, to}
		local processes = {}
		for i = 1, 3 do processes[i] = cli.start{"copy", "--follow", from, to} end
		for n = 11, 3000, 10 do append(store, "a", n, n + 9) end
		helper.eventually(function() return last_of(to) >= 3000 end)
		local sum = 0
		for _, process in ipairs(processes) do
			process:signal("INT")
			local result = process:wait()
			assert.equal(0, result.status, result.err)
			sum = sum + tonumber(result.out:match("^copied (%d+) event"))
		end
		assert.equal(2990, sum)
		expect_once(to, {a = 3000})
	end)
end)

describe("vigia copy --follow", function()
	after_each(cli.clean)

	it("forwards events as they come, and ends on SIGINT and SIGTERM [P6]", function()
		local from, to = helper.path("from"), helper.path("to")
		local store = open(from)
		append(store, "a", 1, 5)
		for round, signal in ipairs{"INT", "TERM"} do
			local process = cli.start{"copy", "--follow", from, to}
			append(store, "a", 2 * round + 4, 2 * round + 5)
			helper.eventually(function() return last_of(to) == 2 * round + 5 end)
			process:signal(signal)
			local result = process:wait()
			assert.same({0, ""}, {result.status, result.err})
			mentions(result.out, ("copied %d events, up to event %d"):format(round == 1 and 7 or 2, 2 * round + 5))
		end
		expect_once(to, {a = 9})
	end)

	if not server then
		it("outlives its server", function() helper.pending(why) end)
		return
	end

	it("begins while its target is away, outlives outages of it, and forwards each event once [P6]", function()
		local from, to = helper.path("from"), server:new_location()
		local name = "log" .. server.logs
		local proxy = server:proxy()
		local store = open(from)
		append(store, "a", 1, 100)
		proxy.stall("all")
		local process = cli.start{"copy", "--follow", from, proxy.location(name, "&connect_timeout=1")}
		helper.eventually(function() return cli.read(process.err_path):find("trying again") end)
		proxy.stall()
		helper.eventually(function() return last_of(to) == 100 end)
		local ROUNDS <const> = os.getenv("VIGIA_SOAK") and 9 or 2
		for round = 1, ROUNDS do
			proxy.stall(round == 2 and "answers" or "all")
			append(store, "a", 100 * round + 1, 100 * round + 100)
			local said = #cli.read(process.err_path)
			helper.eventually(function() return cli.read(process.err_path):find("trying again", said + 1, true) end)
			if round % 2 == 1 then server:sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'vigia'") end
			proxy.stall()
			helper.eventually(function() return last_of(to) == 100 * round + 100 end)
		end
		process:signal("INT")
		local result = process:wait()
		assert.equal(0, result.status, result.err)
		local count = 100 * ROUNDS + 100
		mentions(result.out, ("copied %d events, up to event %d"):format(count, count))
		expect_once(to, {a = count})
		assert.equal(count, copied_of(from, to))
	end)

	it("outlives outages of its source, and a kill of either side's connections [P6]", function()
		local to = helper.path("to")
		server:new_location()
		local name = "log" .. server.logs
		local proxy = server:proxy()
		local store = open(server:location(name))
		append(store, "a", 1, 3)
		local process = cli.start{"copy", "--follow", proxy.location(name, "&connect_timeout=1"), to}
		helper.eventually(function() return last_of(to) == 3 end)
		proxy.stall("all")
		append(store, "a", 4, 6)
		helper.eventually(function() return cli.read(process.err_path):find("trying again") end)
		proxy.stall()
		helper.eventually(function() return last_of(to) == 6 end)
		server:sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'vigia'")
		append(store, "a", 7, 9)
		helper.eventually(function() return last_of(to) == 9 end)
		process:signal("INT")
		assert.equal(0, process:wait().status)
		expect_once(to, {a = 9})
	end)
end)

if server then
	describe("the server", function()
		it("ends", function() server:stop() end)
	end)
end
