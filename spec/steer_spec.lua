-- steer_spec.lua - watchers steered from outside: store:seek, pause, resume, retry, forget, and `vigia seek` and so on; checkpoints set by
-- hand for watchers that run.

local cli = require "spec.support.cli"
local contract = require "spec.processes_contract"
local helper = require "spec.helper"
local vigia = require "vigia"

local drive, fails, fill, mentions = helper.drive, helper.fails, helper.fill, helper.mentions
local at, after = vigia.at_sequence_number, vigia.after_sequence_number

local LATER <const> = {initial_backoff = 3600, max_backoff = 3600}

-- Rounds until there is nothing to do.
local function rest(registry)
	while registry:step(0) do end
end

-- What store:watchers() says of this one.
local function shown(store, id)
	for _, watcher in ipairs(assert(store:watchers())) do
		if watcher.watcher == id then return watcher end
	end
end

for _, backend in ipairs(helper.backends) do
	if backend.commits_progress then
		describe("a watcher of this thread, steered from outside, over a store of kind " .. backend.name, function()
			local store, registry, seen, handler

			before_each(function()
				store = backend.open()
				registry = helper.registry(store)
				handler, seen = helper.recorder()
				fill(store, 6)
			end)
			after_each(function()
				store, registry = nil, nil
				helper.clean()
			end)

			it("continues where it is sent, back and ahead, and its checkpoint is there at once [O2a]", function()
				local watcher = assert(registry:watch("w", handler))
				rest(registry)
				assert.equal(1, store:seek("w", at(2)))
				assert.equal(1, store:get_checkpoint("w"))
				assert.equal(after(1), watcher:stats().next_event_iterator)
				rest(registry)
				assert.equal(4, store:seek("w", after(4)))
				rest(registry)
				assert.equal(0, store:seek("w", vigia.trim_horizon()))
				assert.equal(6, store:seek("w", vigia.latest()))
				assert.equal(6, store:seek("w", at(7)))
				rest(registry)
				fill(store, 1)
				rest(registry)
				assert.same({1, 2, 3, 4, 5, 6, 2, 3, 4, 5, 6, 5, 6, 7}, seen)
				assert.equal(0, watcher:stats().missed)
				mentions(fails("position_out_of_range", store:seek("w", at(9))), "'w'", "the last event is 7")
				fails("position_out_of_range", store:seek("w", after(8)))
			end)

			it("continues with the oldest event that is left where the place was removed, having missed none [O2b]", function()
				local watcher = assert(registry:watch("w", handler, {on_gap = "stop"}))
				rest(registry)
				assert(store:trim(4))
				assert.equal(4, store:seek("w", at(2)))
				rest(registry)
				assert(registry:stop())
				assert.equal(4, store:seek("w", vigia.trim_horizon()))
				assert(watcher:start())
				rest(registry)
				assert.same({1, 2, 3, 4, 5, 6, 5, 6, 5, 6}, seen)
				assert.same({0, "running"}, {watcher:stats().missed, watcher:stats().state})
				assert(store:trim(6))
				assert.equal(6, store:seek("w", at(1)))
			end)

			it("begins no event while it is paused, and keeps that and its place when it is stopped [O2c]", function()
				local watcher = assert(registry:watch("w", handler))
				assert.is_true(store:pause("w"))
				assert.is_true(store:pause("w"))
				assert.is_true(watcher:stats().paused)
				rest(registry)
				assert.same({}, seen)
				assert.same({"running", true, 0}, {shown(store, "w").state, shown(store, "w").paused, shown(store, "w").position})
				assert.is_true(store:resume("w"))
				assert.is_false(watcher:stats().paused)
				rest(registry)
				assert.is_true(store:pause("w"))
				fill(store, 2)
				rest(registry)
				assert.equal(6, #seen)
				assert.is_true(watcher:stop())
				assert.same({true, "stopped"}, {watcher:stats().paused, watcher:stats().state})
				assert.same({"stopped", true}, {shown(store, "w").state, shown(store, "w").paused})
				assert(watcher:start())
				rest(registry)
				assert.same({true, "running"}, {watcher:stats().paused, watcher:stats().state})
				assert.equal(6, #seen)
				assert.equal(2, store:seek("w", at(3)))
				rest(registry)
				assert.equal(6, #seen)
				assert(watcher:stop())
				assert.is_true(store:resume("w"))
				assert.is_nil(shown(store, "w").paused)
				assert(watcher:start())
				rest(registry)
				assert.same({1, 2, 3, 4, 5, 6, 3, 4, 5, 6, 7, 8}, seen)
			end)

			it("holds back collection while it is paused, stopped too [O2d]", function()
				assert(store:configure{max_events = 1})
				local watcher = assert(registry:watch("w", handler))
				assert(store:seek("w", after(3)))
				assert(store:pause("w"))
				local collected = assert(store:gc())
				assert.same({4, "held", "w"}, {collected.oldest, collected.reason, collected.held_by})
				assert(watcher:stop())
				assert.equal(4, assert(store:gc()).oldest)
				assert(store:resume("w"))
				assert(watcher:start())
				rest(registry)
				assert(watcher:stop())
				assert.equal(6, assert(store:gc()).oldest)
			end)

			it("tries the event that blocks it again at once, and waits as before when that fails [O2e]", function()
				local away = true
				local watcher = assert(registry:watch("w", function(event)
					seen[#seen + 1] = event.seq_num
					if event.seq_num == 2 and away then error("away", 0) end
				end, LATER))
				rest(registry)
				assert.equal(2, store:retry("w"))
				rest(registry)
				assert.same({1, 2, 2}, seen)
				assert.same({2, 2, 2, 1}, {watcher:stats().blocked_on, shown(store, "w").attempts, watcher:stats().failed, watcher:stats().retried})
					assert(store:pause("w"))
				mentions(fails("invalid_state", store:retry("w")), "paused")
				assert(store:resume("w"))
				away = false
				assert.equal(2, store:retry("w"))
				rest(registry)
				assert.same({1, 2, 2, 2, 3, 4, 5, 6}, seen)
				mentions(fails("invalid_state", store:retry("w")), "is not waiting")
				assert(watcher:stop())
				mentions(fails("invalid_state", store:retry("w")), "does not run")
			end)

			it("leaves the event that blocks it behind for a seek, and a pause outlasts the wait [O2f]", function()
				local watcher = assert(registry:watch("w", function(event)
					seen[#seen + 1] = event.seq_num
					if event.seq_num == 2 then error("away", 0) end
				end, {initial_backoff = 0.01, max_backoff = 0.01}))
				drive(registry, function() return watcher:stats().failed >= 2 end)
				assert(store:pause("w"))
				local tried = #seen
				local until_then = helper.now() + 0.05
				while helper.now() < until_then do registry:step(0.01) end
				assert.equal(tried, #seen)
				assert.equal(2, shown(store, "w").blocked_on)
				assert.equal(2, store:seek("w", at(3)))
				assert.is_nil(shown(store, "w").blocked_on)
				assert(store:resume("w"))
				rest(registry)
				assert.same({3, 4, 5, 6}, table.move(seen, tried + 1, #seen, 1, {}))
			end)

			it("is forgotten with all that is stored of it, unless it runs [O2g]", function()
				local letters = {retry_strategy = "dead_letter", max_retries = 1}
				local watcher = assert(registry:watch("w", function() error("away", 0) end, letters))
				rest(registry)
				assert.equal(6, #store:dead_letters{watcher = "w"})
				mentions(fails("watcher_owned", store:forget("w")), "'w'")
				assert(watcher:stop())
				assert(store:pause("w"))
				assert.is_true(store:forget("w"))
				fails("checkpoint_not_found", store:get_checkpoint("w"))
				assert.same({}, store:dead_letters())
				assert.is_nil(shown(store, "w"))
				for _, call in ipairs{"forget", "pause", "resume"} do
					mentions(fails("watcher_not_found", store[call](store, "w")), "there is no watcher 'w'")
				end
				fails("watcher_not_found", store:seek("w", at(1)))
				assert(registry:watch("new", handler, {auto_start = false})) -- has a hold
				assert.is_true(store:pause("new"))
				assert.is_true(store:forget("new"))
				assert.same({}, store:holds())
				assert(registry:watch("w", handler))
				rest(registry)
				assert.equal(6, #seen)
			end)

			it("refuses what is not stored, its own handler, and an id that is none [O2h]", function()
				local found = {}
				assert(registry:watch("e", function() end, {ephemeral = true}))
				mentions(fails("watcher_ephemeral", store:pause("e")), "'e'")
				assert(registry:watch("w", function()
					found[1] = select(2, store:pause("w"))
					found[2] = select(2, store:seek("w", at(1), 0))
				end))
				rest(registry)
				for _, err in ipairs(found) do assert.equal("invalid_state", err.code) end
				assert.equal(2, #found)
				fails("invalid_argument", store:pause(""))
				mentions(helper.raises(store.seek, store, "w", 5), "iterator")
				mentions(helper.raises(store.pause, store, "w", -1), "timeout")
			end)

			it("is steered in a coroutine of its registry while its handler waits, and not by the thread that drives it [O2i]", function()
				local go_on = vigia.signal()
				local watcher = assert(registry:watch("w", function(event)
					seen[#seen + 1] = event.seq_num
					if event.seq_num == 2 then go_on:wait(math.huge) end
				end))
				local said, done
				assert(registry:spawn(function()
					done = assert(store:seek("w", at(6)))
				end))
				rest(registry)
				mentions(fails("invalid_state", store:pause("w")), "is handling an event")
				assert.is_nil(done)
				assert.equal("seek", shown(store, "w").request)
				assert(registry:spawn(function() said = select(2, store:pause("w", 0.01)) end))
				drive(registry, function() return said end)
				assert.equal("timeout", said.code)
				go_on:set(true)
				drive(registry, function() return done end)
				rest(registry)
				assert.equal(5, done)
				assert.same({1, 2, 6}, seen)
				assert.is_nil(shown(store, "w").request)
				assert.is_false(watcher:stats().paused)
			end)

			it("commits what a transactional one has done first, and lets it pause and move [O2j]", function()
				fill(store, 34)
				local function slow(event, ctx)
					seen[#seen + 1] = event.seq_num
					ctx.tx:put("done", event.seq_num, (ctx.tx:get("done", event.seq_num) or 0) + 1)
					local ends = os.clock() + 0.0004 -- a turn ends within a transaction, if the machine is not too slow
					while os.clock() < ends do end
				end
				local watcher = assert(registry:watch("w", slow, {transactional = true}))
				drive(registry, function() return #seen > 0 end)
				assert(store:pause("w"))
				local handled = #seen
				assert.equal(handled, store:get_checkpoint("w"))
				assert.equal(1, store:get("done", handled))
				rest(registry)
				assert.equal(handled, #seen)
				assert.equal(37, store:seek("w", at(38)))
				assert(store:resume("w"))
				rest(registry)
				assert.equal(40, store:get_checkpoint("w"))
				assert.same({38, 39, 40}, table.move(seen, handled + 1, #seen, 1, {}))
				assert(watcher:stop())
				assert.equal(38, store:seek("w", at(39)))
				assert(watcher:start())
				rest(registry)
				assert.equal(2, store:get("done", 40))
			end)

			it("moves and holds all lanes at once [O2k]", function()
				local away = true
				local watcher = assert(registry:watch("w", function(event)
					seen[#seen + 1] = event.seq_num
					if event.seq_num == 5 and away then error("away", 0) end
				end, {lanes = 3, lane_key = "object.n", initial_backoff = 3600, max_backoff = 3600}))
				rest(registry)
				table.sort(seen)
				assert.same({1, 2, 3, 4, 5, 6}, seen)
				assert.equal(5, store:retry("w"))
				rest(registry)
				assert.same({7, 5}, {#seen, watcher:stats().blocked_on})
				assert(store:pause("w"))
				assert.is_true(watcher:stats().paused)
				fill(store, 3)
				rest(registry)
				assert.equal(7, #seen)
				away = false
				assert.equal(0, store:seek("w", vigia.trim_horizon()))
				assert.equal(0, store:get_checkpoint("w"))
				rest(registry)
				assert.equal(7, #seen)
				assert(store:resume("w"))
				rest(registry)
				assert.equal(7 + 9, #seen)
				fails("invalid_state", store:retry("w"))
				assert(watcher:stop())
				assert.equal(9, store:get_checkpoint("w"))
				assert.equal(8, store:seek("w", at(9)))
				assert(watcher:start())
				rest(registry)
				assert.equal(7 + 9 + 1, #seen)
			end)

			it("has its checkpoint saved by store_checkpoint as by itself [O2l]", function()
				local watcher = assert(registry:watch("w", handler))
				assert(registry:watch("tx", function() end, {transactional = true}))
				assert(registry:watch("lanes", function() end, {lanes = 2, lane_key = "object.n"}))
				assert(store:store_checkpoint("w", 5))
				assert.equal(5, store:get_checkpoint("w"))
				assert(store:store_checkpoint("w", 2))
				assert.equal(5, store:get_checkpoint("w"))
				fails("position_out_of_range", store:store_checkpoint("w", 7))
				mentions(fails("not_supported", store:store_checkpoint("tx", 3)), "seek")
				mentions(fails("not_supported", store:store_checkpoint("lanes", 3)), "seek")
				rest(registry)
				assert(registry:stop())
				assert.same({1, 2, 3, 4, 5, 6}, seen)
				for _, id in ipairs{"w", "tx", "lanes"} do
					assert.equal(6, store:get_checkpoint(id))
					assert(store:store_checkpoint(id, 2)) -- it does not run
					assert.equal(2, store:get_checkpoint(id))
				end
				assert(watcher:start())
				rest(registry)
				assert.equal(4, #seen - 6)
			end)

			it("has its checkpoint saved from another thread, and never back [O2m]", function()
				local script = helper.write_file("by_hand.lua", [[
					return function(event, ctx)
						for n = 1, 6 do assert(ctx.store:store_checkpoint("w", n)) end
						for n = 6, 1, -1 do assert(ctx.store:store_checkpoint("w", n)) end
						local _, err = ctx.store:store_checkpoint("w", 100)
						assert(err.code == "position_out_of_range")
					end]])
				if backend.name == "memory" then script = nil end -- a script opens no other store in memory
				local watcher = assert(registry:watch("w", handler, {checkpoint = "manual"}))
				local other = script and assert(registry:watch("other", script)) or nil
				rest(registry)
				if other then drive(registry, function() return other:stats().processed + other:stats().failed >= 6 end) end
				assert.same({0, other and 6 or nil}, {other and other:stats().failed or 0, other and store:get_checkpoint("w") or nil})
				assert(watcher:stop())
			end)
		end)
	end
end

describe("watchers on other threads, steered from outside", function()
	local store, registry

	before_each(function()
		store = helper.open()
		registry = helper.registry(store)
		fill(store, 6)
	end)
	after_each(function()
		store, registry = nil, nil
		helper.clean()
	end)

	-- What the handler of each kind of script has counted, in a bucket.
	local COUNTS <const> = [[
		return function(event, ctx)
			if event.seq_num == 3 and not ctx.store:get("b", "good") then error("away", 0) end
			assert(ctx.store:put("b", event.seq_num, (ctx.store:get("b", event.seq_num) or 0) + 1))
		end]]

	for kind, options in pairs{
		["a script"] = {}, ["an isolated script"] = {isolation = "process"}, ["the lanes of a script"] = {lanes = 3, lane_key = "object.n"},
	} do
		it(("carry it out between two events: %s [O2n]"):format(kind), function()
			local given = {initial_backoff = 3600, max_backoff = 3600}
			for name, value in pairs(options) do given[name] = value end
			local watcher = assert(registry:watch("w", helper.write_file("counts.lua", COUNTS), given))
			drive(registry, function() return watcher:stats().blocked_on == 3 end)
			assert(store:put("b", "good", true))
			assert.equal(3, store:retry("w"))
			drive(registry, function() return watcher:stats().lag == 0 end)
			assert.is_true(store:pause("w"))
			drive(registry, function() return watcher:stats().paused end)
			fill(store, 2)
			assert.equal(0, store:seek("w", at(1)))
			assert.equal(0, store:get_checkpoint("w"))
			assert.same({"running", true}, {shown(store, "w").state, shown(store, "w").paused})
			for n = 1, 6 do assert.equal(1, store:get("b", n)) end
			assert.is_nil(store:get("b", 7))
			assert.is_true(store:resume("w"))
			drive(registry, function() return watcher:stats().lag == 0 and not watcher:stats().paused end)
			assert(watcher:stop())
			for n = 1, 8 do assert.equal(n <= 6 and 2 or 1, store:get("b", n)) end
			assert.equal(8, store:get_checkpoint("w"))
		end)
	end

	it("agree to a pause only when no lane has an event in hand, and go on if it is withdrawn [O2o]", function()
		local script = helper.write_file("slow.lua", [[
			local vigia = require "vigia"
			return function(event, ctx)
				while event.seq_num == 1 and not ctx.store:get("b", "go") do vigia.sleep(0.001) end
				assert(ctx.store:put("b", event.seq_num, true))
			end]])
		local watcher = assert(registry:watch("w", script, {lanes = 2, lane_key = "object.n"}))
		local other -- an event of the other lane
		helper.eventually(function()
			for n = 2, 6 do other = store:get("b", n) and n or other end
			return other
		end)
		mentions(fails("timeout", store:pause("w", 0.2)), "'w'", "withdrawn")
		fill(store, 6)
		helper.eventually(function() return store:get("b", 6 + other) end)
		assert(store:put("b", "go", true))
		assert.is_true(store:pause("w"))
		local last = fill(store, 2)
		assert.is_true(store:resume("w"))
		drive(registry, function() return watcher:stats().lag == 0 end)
		assert(watcher:stop())
		assert.equal(last, store:get_checkpoint("w"))
	end)
end)

contract.steer("", function() return helper.path("store") end)

describe("vigia seek, pause, resume, retry and forget", function()
	after_each(cli.clean)

	it("say what they did, and end with 1 and the reason where they did not [O2w]", function()
		local store = helper.open()
		fill(store, 5)
		assert(store:store_checkpoint("mailer", 4))
		store:close()
		local path = helper.path("store")
		local function says(expected, command, ...)
			assert.equal(expected .. "\n", cli.ok({command, "--store", path, ...}).out)
		end
		local function fails_with(expected, command, ...)
			assert.equal("vigia: " .. expected .. "\n", cli.fails(1, {command, "--store", path, ...}))
		end
		says("watcher 'mailer' continues with event 2", "seek", "mailer", "at:2")
		says("watcher 'mailer' continues with event 1", "seek", "mailer", "oldest")
		says("watcher 'mailer' continues with the next event that is stored", "seek", "mailer", "latest")
		says("watcher 'mailer' continues with event 1", "seek", "mailer", "time:2h")
		says("watcher 'mailer' continues with the next event that is stored", "seek", "mailer", "time:2200-01-01")
		fails_with("watcher 'mailer' cannot seek to 9: the last event is 5", "seek", "mailer", "at:9")
		says("watcher 'mailer' is paused", "pause", "mailer")
		mentions(cli.ok({"watchers", "--store", path}).out, "stopped (paused)")
		mentions(cli.ok({"watchers", "--store", path, "--json"}).out, '"paused":true')
		says("watcher 'mailer' is resumed", "resume", "mailer")
		fails_with("watcher 'mailer' does not run: it tries its next event at once when it is started", "retry", "mailer")
		fails_with("there is no watcher 'mailr': none runs or has a checkpoint (did you mean 'mailer'?)", "pause", "mailr")
		says("watcher 'mailer' is forgotten", "forget", "mailer")
		for _, wrong in ipairs{"at:x", "sometime", "time:", "time:x", "after"} do
			mentions(cli.fails(2, {"seek", "--store", path, "mailer", wrong}), "WHERE")
		end
		cli.fails(2, {"forget", "--store", path, "--timeout", "1", "mailer"})
		cli.fails(2, {"pause", "--store", path, ""})
	end)

	it("wait as long as they are told for a process that does not answer, and `vigia run --until-idle` for no pause [O2x]", function()
		local store = helper.open()
		fill(store, 5)
		local owner = helper.child(contract.STEERED, helper.path("store"))
		owner:expect("ready")
		helper.eventually(function() return store:get("b", 5) == 1 end)
		assert(os.execute("kill -STOP " .. owner.pid))
		local err = cli.fails(1, {"pause", "--store", helper.path("store"), "w", "--timeout", "0.1"})
		mentions(err, ("is run by process %d"):format(owner.pid), "0.1 s")
		owner:kill()
		assert(store:store_checkpoint("idle", 0))
		assert(store:pause("idle"))
		local script = helper.write_file("idle.lua", "return function() error('paused') end")
		assert.equal("", cli.ok({"run", "--store", helper.path("store"), script, "--until-idle"}).err)
		assert.equal(0, store:get_checkpoint("idle"))
	end)
end)
