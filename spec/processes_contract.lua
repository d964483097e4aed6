-- processes_contract.lua - what several processes with one store see and do of each other's watchers, for every store that processes
-- share: store:watchers(), steering, store:wait_for.
--
-- `kind` ends the titles. new_location() returns the location of a store that is not there yet.

local assert = require "luassert"
local busted = require "busted"
local helper = require "spec.helper"
local vigia = require "vigia"

local after_each, before_each, describe, it = busted.after_each, busted.before_each, busted.describe, busted.it
local fails, fill, mentions = helper.fails, helper.fill, helper.mentions
local at = vigia.at_sequence_number

local M = {}

---- what is seen ----

-- What store:watchers() says, by id.
local function by_id(store)
	local watchers, unshown = assert(store:watchers())
	assert.equal(0, unshown)
	local all = {}
	for _, watcher in ipairs(watchers) do
		assert.is_nil(all[watcher.watcher])
		all[watcher.watcher] = watcher
	end
	return all
end

-- What store:watchers() says of this one.
local function shown(store, id)
	for _, watcher in ipairs(assert(store:watchers())) do
		if watcher.watcher == id then return watcher end
	end
end

-- Kill the one who runs a watcher. Not every store sees at once that it is gone.
local function kill_owner(child, store, id)
	child:kill()
	helper.eventually(function() return (shown(store, id) or {}).state ~= "running" end)
end

function M.watchers(kind, new_location)
	describe("store:watchers() and other processes" .. kind, function()
		after_each(helper.clean)

		it("tells of another process, and keeps what it failed with after it was killed [O1e]", function()
			local path = new_location()
			local store = helper.open(path)
			helper.fill(store, 4)
			local child = helper.child([[
				local vigia = require "vigia"
				local registry = vigia.registry(assert(vigia.open(arg[1])), {log = false})
				local function handle(event) if event.seq_num == 3 then error("no such host", 0) end end
				local watcher = assert(registry:watch("w", handle, {initial_backoff = 3600, max_backoff = 3600}))
				assert(registry:watch("e", function() end, {ephemeral = true}))
				while watcher:stats().failed == 0 do registry:step(1) end
				print("failed")
				io.stdout:flush()
				registry:run()]], path)
			child:expect("failed")
			local registry = helper.registry(store)
			assert(registry:watch("e", function() end, {ephemeral = true}))
			local watchers
			helper.eventually(function()
				watchers = assert(store:watchers())
				return #watchers == 3 and watchers[3].blocked_on -- an ephemeral one runs twice
			end)
			assert.equal("e", watchers[1].watcher)
			assert.equal("e", watchers[2].watcher)
			assert(watchers[1].pid ~= watchers[2].pid)
			assert.same({"w", "running", child.pid, 3}, {watchers[3].watcher, watchers[3].state, watchers[3].pid, watchers[3].blocked_on})
			kill_owner(child, store, "w")
			local all = by_id(store)
			assert.same({"died", child.pid, "no such host", 3}, {all.w.state, all.w.pid, all.w.last_error, all.w.blocked_on})
			assert.is_nil(all.w.rate)
			assert.equal("running", all.e.state)
		end)
	end)
end

---- steering ----

-- Runs the watcher "w", which counts its events in a bucket and fails at event 3 while the bucket says so.
M.STEERED = [[
	local store = assert(vigia.open(arg[1]))
	local registry = vigia.registry(store, {log = false})
	assert(registry:watch("w", function(event)
		if event.seq_num == 3 and store:get("b", "away") then error("away", 0) end
		assert(store:transaction(function(tx) tx:put("b", event.seq_num, (tx:get("b", event.seq_num) or 0) + 1) end))
	end, {initial_backoff = 3600, max_backoff = 3600}))
	say("ready")
	assert(registry:run())]]

-- Does it and says what became of it.
local ASKER <const> = [=[
	local store = assert(vigia.open(arg[1]))
	say("ready")
	print(store[arg[2]](store, "w", table.unpack(arg[2] == "seek" and {vigia.at_sequence_number(math.tointeger(arg[3])), 1000} or {1000})))]=]

function M.steer(kind, new_location)
	describe("a watcher of another process" .. kind, function()
		local store, path

		before_each(function()
			path = new_location()
			store = helper.open(path)
			fill(store, 5)
		end)
		after_each(function()
			store = nil
			helper.clean()
		end)

		local function start()
			local child = helper.child(M.STEERED, path)
			child:expect("ready")
			return child
		end

		local function handled(n, times)
			helper.eventually(function() return store:get("b", n) == times end, ("event %d should be handled %d times"):format(n, times))
		end

		local function signal(child, name)
			assert(os.execute(("kill -%s %d"):format(name, child.pid)))
		end

		it("does what it is asked, keeps a pause over its death, and is named where it runs [O2p]", function()
			local owner = start()
			handled(5, 1)
			assert.is_true(store:pause("w"))
			fill(store, 1)
			assert.equal(1, store:seek("w", at(2)))
			for _, call in ipairs{"store_checkpoint", "delete_checkpoint", "forget"} do
				mentions(fails("watcher_owned", store[call](store, "w", 2)), "'w'", ("pid %d"):format(owner.pid))
			end
			kill_owner(owner, store, "w")
			owner = start()
			assert(helper.eventually(function() return shown(store, "w").state == "running" end) == nil)
			fill(store, 1)
			assert.is_true(store:pause("w")) -- has looked
			assert.equal(1, store:get("b", 5))
			assert.is_nil(store:get("b", 7))
			assert.is_true(store:resume("w"))
			handled(7, 1)
			assert.same({1, 2}, {store:get("b", 1), store:get("b", 2)})
			assert(store:put("b", "away", true))
			assert.equal(0, store:seek("w", at(1)))
			helper.eventually(function() return shown(store, "w").blocked_on == 3 end)
			assert(store:put("b", "away", false))
			assert.equal(3, store:retry("w"))
			handled(7, 2)
			kill_owner(owner, store, "w")
			assert.is_true(store:forget("w"))
		end)

		it("that does not answer is named, and does not carry out what was withdrawn [O2q]", function()
			local owner = start()
			handled(5, 1)
			signal(owner, "STOP")
			local err = fails("timeout", store:seek("w", at(1), 0.1))
			mentions(err, "'w'", ("process %d"):format(owner.pid), "seek", "0.1 s", "withdrawn")
			mentions(fails("timeout", store:pause("w", 0)), "pause")
			assert.is_nil(shown(store, "w").request)
			signal(owner, "CONT")
			assert.is_true(store:pause("w"))
			assert.is_true(store:resume("w"))
			fill(store, 1)
			handled(6, 1)
			assert.equal(1, store:get("b", 1))
		end)

		it("that is killed before it answers leaves it to the one who asked [O2r]", function()
			local owner = start()
			handled(5, 1)
			signal(owner, "STOP")
			local asker = helper.child(ASKER, path, "seek", 2)
			asker:expect("ready")
			helper.eventually(function() return (shown(store, "w") or {}).request == "seek" end)
			kill_owner(owner, store, "w")
			assert.equal("1", asker:line())
			assert.equal(1, store:get_checkpoint("w"))
			assert.is_nil(shown(store, "w").request)
		end)

		it("carries out what was asked for by one that was killed, until its time is over [O2s]", function()
			local owner = start()
			handled(5, 1)
			signal(owner, "STOP")
			local asker = helper.child(ASKER, path, "seek", 2)
			asker:expect("ready")
			helper.eventually(function() return (shown(store, "w") or {}).request == "seek" end)
			asker:kill()
			signal(owner, "CONT")
			handled(2, 2)
			handled(5, 2)
			assert.equal(1, store:get("b", 1))
		end)

		it("takes the requests of several one after the other [O2t]", function()
			start()
			handled(5, 1)
			local askers = {}
			for i = 1, 4 do
				askers[i] = helper.child(ASKER, path, i % 2 == 0 and "pause" or "seek", 2)
				askers[i]:expect("ready")
			end
			for i, asker in ipairs(askers) do assert.equal(i % 2 == 0 and "true" or "1", asker:line()) end
			assert.is_true(store:resume("w"))
			helper.eventually(function() return store:get("b", 5) >= 2 end)
		end)

		it("can start while others set its checkpoint, which never fails for the other [O2u]", function()
			local askers = {}
			for i = 1, 4 do
				askers[i] = helper.child([[
					local store = assert(vigia.open(arg[1]))
					say("ready")
					for n = 1, 300 do
						local ok, err = store:store_checkpoint("w", n % 5)
						if not ok and err.code ~= "watcher_owned" then say(tostring(err)) end
					end]], path)
				askers[i]:expect("ready")
			end
			for _ = 1, 30 do
				local registry = helper.registry(store)
				assert(registry:watch("w", function() end))
				assert(registry:stop())
			end
			for _, asker in ipairs(askers) do assert.same({}, asker:wait()) end
		end)

		it("is not steered through a store that is open to read only [O2v]", function()
			assert(store:store_checkpoint("w", 1))
			local reader = helper.open(path, {readonly = true})
			for _, call in ipairs{"pause", "resume", "retry", "forget"} do fails("store_readonly", reader[call](reader, "w")) end
			fails("store_readonly", reader:seek("w", at(1)))
			assert(store:pause("w"))
			assert.is_true(shown(reader, "w").paused)
		end)
	end)
end

---- waiting for a checkpoint ----

-- All stores here save progress once an hour, so that what is saved sooner was waited for.
local LATE <const> = {checkpoint_interval = 3600}

-- Runs the watcher arg[2] until it is killed or told to stop by the event arg[3].
local OWNER <const> = [[
	local store = assert(vigia.open(arg[1], {checkpoint_interval = 3600}))
	local registry = vigia.registry(store)
	local last = math.tointeger(tonumber(arg[3] or "0"))
	assert(registry:watch(arg[2], function(event, ctx)
		if event.seq_num == last then ctx.watcher:stop() end
	end, {checkpoint = arg[4] or "batch", initial_event_iterator = vigia.trim_horizon()}))
	say("ready")
	assert(registry:run())]]

function M.wait_for(kind, new_location)
	describe("store:wait_for and other processes" .. kind, function()
		local store, path

		before_each(function()
			path = new_location()
			store = helper.open(path, LATE)
		end)
		after_each(function()
			store = nil
			helper.clean()
		end)

		local function owner(id, ...)
			local child = helper.child(OWNER, path, id, ...)
			child:expect("ready")
			return child
		end

		it("makes the owner in another process save at once [X6]", function()
			local child = owner("far")
			local quickest = math.huge -- what looks once a second finds the wait too
			for n = 1, 20 do
				assert.equal(n, assert(store:store_event("CREATE", "Job", n)))
				if n % 2 == 0 then child:asleep() end
				local before = helper.now()
				assert.equal(n, assert(store:wait_for("far", n, 60)))
				if n % 2 == 0 then quickest = math.min(quickest, helper.now() - before) end
			end
			assert(quickest < 0.5, quickest)
			child:kill()
		end)

		it("makes one save whose events wait for their commit, and these are there then [X6]", function()
			local other = new_location()
			local queuing = helper.open(other, {durability = "interval", commit_interval = 3600, checkpoint_interval = 3600})
			local child = helper.child(OWNER, other, "w")
			child:expect("ready")
			assert.is_true(queuing:store_event("CREATE", "Job", 1))
			assert.equal(1, assert(queuing:sync()))
			assert.equal(1, assert(queuing:wait_for("w", 1, 60)))
			child:kill()
		end)

		it("saves each event's own checkpoint there too, and manual ones are theirs [X6]", function()
			local child = owner("each", 0, "event")
			fill(store, 3)
			assert.equal(3, assert(store:wait_for("each", 3, 60)))
			kill_owner(child, store, "each")
			child = owner("never", 0, "manual")
			fails("timeout", store:wait_for("never", 1, 0.05))
			child:kill()
		end)

		it("waits on when the owner is killed, and another one takes over [X6]", function()
			local first = owner("w")
			fill(store, 2)
			assert(store:wait_for("w", 2, 60))
			kill_owner(first, store, "w")
			fill(store, 1)
			local waiter = helper.child([[
				local store = assert(vigia.open(arg[1]))
				say("ready")
				say(store:wait_for("w", 3, 60))]], path)
			waiter:expect("ready")
			waiter:asleep()
			fails("timeout", store:wait_for("w", 3, 0.05))
			local second = owner("w")
			assert.same({"3"}, waiter:wait())
			second:kill()
		end)

		it("costs nothing more than a save when a waiter is killed [X6]", function()
			local waiter = helper.child([[
				local store = assert(vigia.open(arg[1]))
				say("ready")
				store:wait_for("w", 2, 3600)]], path)
			waiter:expect("ready")
			waiter:asleep()
			waiter:kill()
			local child = owner("w")
			fill(store, 5)
			assert(store:wait_for("w", 5, 60) >= 5)
			child:kill()
			assert.equal("ok", store:stats() and "ok")
		end)

		it("works from a handle that only reads [X6]", function()
			local child = owner("w")
			fill(store, 1)
			local readonly <close> = assert(vigia.open(path, {readonly = true}))
			assert(readonly:wait_for("w", 1, 60) >= 1)
			child:kill()
		end)

		it("sees the checkpoint of an owner that stops [X6]", function()
			local child = owner("w", 3)
			fill(store, 3)
			assert.equal(3, assert(store:wait_for("w", 3, 60)))
			child:wait()
		end)
	end)
end

return M
