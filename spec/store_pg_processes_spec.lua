-- store_pg_processes_spec.lua - what several processes with one store on PostgreSQL see and do of each other, as with a file. They share no
-- memory: what they tell each other goes over the server.

local contract = require "spec.processes_contract"
local helper = require "spec.helper"
local postgres = require "spec.support.postgres"
local vigia = require "vigia"

local fails, mentions = helper.fails, helper.mentions

local server, why = postgres.start()
if not server then
	describe("processes and the store on PostgreSQL", function()
		it("are tested where there is a server", function() helper.pending(why) end)
	end)
	return
end

local function new_location() return server:new_location() end

contract.watchers(" on PostgreSQL", new_location)
contract.steer(" on PostgreSQL", new_location)
contract.wait_for(" on PostgreSQL", new_location)

describe("transactions of several processes on PostgreSQL", function()
	after_each(helper.clean)

	it("that write the same key all get through, one that takes long too [X2]", function()
		local location = new_location()
		local store = helper.open(location, {durability = "none"})
		local racers = {}
		for i = 1, 2 do
			racers[i] = helper.child([[
				local store = assert(vigia.open(..., {collect = false}))
				local done = 0
				say("ready")
				repeat
					if store:transaction(function(tx) assert(tx:put("b", "n", (tx:get("b", "n") or 0) + 1)) end) then done = done + 1 end
				until store:get("b", "stop")
				print(done)]], location)
			racers[i]:expect("ready")
		end
		local total, most = 3, 0
		for _ = 1, total do
			local tries = 0
			assert(store:transaction(function(tx)
				tries = tries + 1
				local n = tx:get("b", "n") or 0
				vigia.sleep(0.05) -- dozens of theirs
				assert(tx:put("b", "n", n + 1))
			end))
			most = math.max(most, tries)
		end
		assert(store:put("b", "stop", true))
		for _, racer in ipairs(racers) do total = total + racer:line() end
		assert.equal(total, store:get("b", "n"))
		assert(most > 1 and most <= 12, most)
	end)
end)

describe("processes with one store on PostgreSQL", function()
	after_each(helper.clean)

	-- A session that listens to a log: a function that returns what it has printed of what it was told; and one that ends it.
	local function listen(schema)
		local run, out, finish = server:session()
		run(("LISTEN %s; SELECT 'listens';"):format(schema), "listens")
		return function()
			run "SELECT 1;" -- psql prints behind a result what came meanwhile
			local told = {}
			for payload in helper.read_file(out):gmatch('with payload "([^"]*)"') do told[#told + 1] = payload end
			return told
		end, finish
	end

	it("are told nothing by a process that is alone, and miss nothing when they come", function()
		local location = server:new_location()
		local schema = "vigia_log" .. server.logs
		local store = helper.open(location)
		local heard, finish = listen(schema)
		helper.fill(store, 3)
		server:sql(("NOTIFY %s, 'alone'"):format(schema))
		local child = helper.child([[
			local store = assert(vigia.open((...)))
			local registry = vigia.registry(store, {log = false})
			assert(registry:watch("w", function(event) say(event.seq_num) end))
			registry:run()]], location)
		for n = 1, 3 do child:expect(tostring(n)) end
		helper.fill(store, 1)
		child:expect("4")
		local told
		helper.eventually(function()
			told = table.concat(heard(), " ")
			return told:find(" w[%d *]*#4")
		end, "nothing told of event 4")
		assert(told:find("^alone p "), told)
		finish()
	end)

	it("are told of many commits together where there are many, and of the last one", function()
		local location = server:new_location()
		local schema = "vigia_log" .. server.logs
		helper.open(location, {durability = "none"}):close()
		collectgarbage()
		server:sql(("INSERT INTO %s.sessions SELECT int4send(n) || '\\x00'::bytea, '', 0, 9e18::bigint, 0 FROM generate_series(1, 100) n")
			:format(schema))
		local heard, finish = listen(schema)
		local store = helper.open(location, {durability = "none"})
		local EVENTS <const> = 300
		local began = helper.now()
		for n = 1, EVENTS do assert(store:store_event("CREATE", "Job", n)) end
		local most = (helper.now() - began) / 0.005 + 3
		local told
		helper.eventually(function()
			told = heard()
			return #told > 0 and told[#told]:find(("^w[%%d *]*#%d$"):format(EVENTS))
		end, "nothing told of the last event")
		local words = 0
		for _, payload in ipairs(told) do words = words + (payload:find("^w") and 1 or 0) end
		assert(words <= most, words .. " notifications, " .. most .. " are the most")
		finish()
	end)
end)

describe("watchers of several machines on PostgreSQL", function()
	after_each(helper.clean)

	-- The name of this machine, and what else calls itself so meanwhile.
	local here = helper.shell("uname -n"):gsub("\n", "")

	local function start(location)
		local child = helper.child(contract.STEERED, location)
		child:expect("ready")
		return child, function(host)
			server:sql(("UPDATE vigia_log%d.sessions SET host = '%s' WHERE pid = %d"):format(server.logs, host, child.pid))
		end
	end

	it("are shown with the machine that runs them, which a message names where it is another one [O1e O2q P1]", function()
		local location = new_location()
		local store = helper.open(location)
		local registry = helper.registry(store)
		helper.fill(store, 3)
		assert(registry:watch("own", function() end))
		helper.drain(registry, registry:get_watcher("own"))
		local child, call_it = start(location)
		helper.eventually(function() return store:get("b", 3) == 1 end)
		local function shown(host)
			local all = {}
			helper.eventually(function()
				for _, watcher in ipairs(assert(store:watchers())) do all[watcher.watcher] = watcher end
				return all.w and all.w.rate
			end)
			assert.same({here, host, child.pid}, {all.own.host, all.w.host, all.w.pid})
		end
		shown(here)
		assert.is_nil((tostring(fails("watcher_owned", registry:watch("w", function() end))):find(here, 1, true)))
		call_it("far-away")
		shown("far-away")
		mentions(fails("watcher_owned", registry:watch("w", function() end)), ("pid %d on far-away"):format(child.pid))
		assert(os.execute("kill -STOP " .. child.pid))
		mentions(fails("timeout", store:pause("w", 0.1)), ("process %d on far-away"):format(child.pid))
		assert(os.execute("kill -CONT " .. child.pid))
		local cli = require "spec.support.cli"
		local lines = cli.ok{"watchers", "--store", location}.out
		mentions(lines, "PID  HOST ")
		assert(lines:find(("\nown +running +%%d+ +%s +3 "):format((here:gsub("%p", "%%%0")))), lines)
		assert(lines:find(("\nw +running +%d +far%%-away +3 "):format(child.pid)), lines)
		mentions(cli.ok{"watchers", "--store", location, "--json"}.out, ('"pid":%d,"host":"far-away"'):format(child.pid))
	end)

	it("are steered by the program, wherever they run [O2w P1]", function()
		local cli = require "spec.support.cli"
		local location = new_location()
		local store = helper.open(location)
		helper.fill(store, 5)
		local child = start(location)
		helper.eventually(function() return store:get("b", 5) == 1 end)
		local function says(words, ...)
			words[#words + 1] = "--store"
			words[#words + 1] = location
			mentions(cli.ok(words).out, ...)
		end
		says({"pause", "w"}, "watcher 'w' is paused")
		says({"seek", "w", "at:2"}, "continues with event 2")
		says({"watchers"}, "running (paused)")
		says({"resume", "w"}, "is resumed")
		helper.eventually(function() return store:get("b", 5) == 2 end)
		assert.equal(1, store:get("b", 1))
		mentions(cli.fails(1, {"forget", "w", "--store", location}), "run by another process", tostring(child.pid))
		child:kill()
		helper.eventually(function() return cli.run{"forget", "w", "--store", location}.status == 0 end)
		mentions(cli.fails(1, {"seek", "w", "oldest", "--store", location}), "there is no watcher 'w'")
	end)

	it("can be paused while an export runs, which has the pause or not [O2c O5]", function()
		local location = new_location()
		local store = helper.open(location)
		helper.fill(store, 3000)
		assert(store:store_checkpoint("w", 2))
		local paused_at
		local done = assert(store:export(helper.path("export"), {progress = function(progress)
			if paused_at then return end
			paused_at = progress.at
			assert(store:pause("w"))
		end}))
		assert.same({3000, false}, {done.last, done.changed})
		assert(paused_at and paused_at < 3000, paused_at)
		local copy = helper.memory()
		assert(copy:import(helper.path("export")))
		assert.same(assert(store:get_event(3000)), assert(copy:get_event(3000)))
		assert.equal(2, copy:get_checkpoint("w"))
		assert.same({"w", 2}, {copy:watchers()[1].watcher, copy:watchers()[1].position})
		assert(copy:pause("w")) -- also where it is paused already
		assert.is_true(store:watchers()[1].paused)
		assert(store:export(helper.path("again")))
		local again = helper.memory()
		assert(again:import(helper.path("again")))
		assert.is_true(again:watchers()[1].paused)
	end)
end)

describe("the server", function()
	it("ends", function() server:stop() end)
end)
