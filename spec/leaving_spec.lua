-- leaving_spec.lua - what is left of watchers that have nothing to do: memory, ids, time; remove() and close().

local helper = require "spec.helper"
local vigia = require "vigia"

local drain, drive, fails, fill, mentions, raises = helper.drain, helper.drive, helper.fails, helper.fill, helper.mentions, helper.raises

local sanitized = helper.sanitized -- a sanitizer keeps freed memory for a while

local RESIDENT <const> = [[
	local function resident()
		collectgarbage()
		collectgarbage()
		for line in io.lines("/proc/self/status") do
			local kilobytes = line:match("VmRSS:%s*(%d+)")
			if kilobytes then return kilobytes // 1 end
		end
	end
]]

describe("a watcher that listens", function()
	after_each(helper.clean)

	it("keeps no memory of the batch before", function()
		local child = helper.child(RESIDENT .. [[
			local store = vigia.open(":memory:")
			for _ = 1, 60 do store:store_event("CREATE", "T", ("x"):rep(10000)) end
			local registry = vigia.registry(store)
			local seen = 0
			local function watch(n)
				registry:watch("w" .. n, function() seen = seen + 1 end, {ephemeral = true})
				while registry:step(0) do end
			end
			watch(1)
			local before = resident()
			for n = 2, 100 do watch(n) end
			say(seen, (resident() - before) // 99)]])
		local seen, each = child:line():match("(%d+)%s+(%-?%d+)")
		assert.equal("6000", seen)
		assert(sanitized or tonumber(each) < 40, each .. " kB for each")
	end)

	it("keeps none as a script either", function()
		local path = helper.write_file("quiet.lua", [[return {ephemeral = true, handle = function(event)
			if event.seq_num == 60 then collectgarbage() end
		end}]])
		-- The system's malloc keeps what threads free for other threads of the same arena, of which there are some for each processor.
		local text = helper.run_lua("export MALLOC_ARENA_MAX=4;", RESIDENT .. [[
			local store = vigia.open(":memory:")
			for _ = 1, 60 do store:store_event("CREATE", "T", ("x"):rep(15000)) end
			local registry = vigia.registry(store)
			local function watch(first, last, iterator)
				local watchers = {}
				for n = first, last do watchers[n] = registry:watch("w" .. n, arg[1], {initial_event_iterator = iterator}) end
				for n = first, last do
					while watchers[n]:stats().lag > 0 do vigia.sleep(0.001) end
				end
			end
			watch(1, 20, vigia.latest()) -- so that the system's malloc has made its arenas
			local before = resident()
			watch(21, 100, vigia.trim_horizon())
			vigia.sleep(0.1)
			say((resident() - before) // 80)]], path)
		local each = tonumber((text:match("%-?%d+")))
		assert(sanitized or each < 700, each .. " kB for each")
	end)
end)

for _, kind in ipairs{"memory", "Lua"} do
	describe("an ephemeral watcher that was stopped: " .. kind, function()
		after_each(helper.clean)

		local function registry_over(count, options)
			local store = helper.memory()
			fill(store, count)
			if kind == "Lua" then store = require "vigia.wrapper".new(store, {}) end
			return helper.registry(store, options), store
		end

		it("is its registry's no more, tells its stats, and can start again [W14m]", function()
			local registry = registry_over(3)
			local handle, seen = helper.recorder()
			local watcher = assert(registry:watch("a", handle, {ephemeral = true}))
			drain(registry, watcher)
			assert.is_true(watcher:stop())
			fails("watcher_not_found", registry:get_watcher("a"))
			local stats = watcher:stats()
			assert.same({"a", "stopped", 3}, {stats.id, stats.state, stats.processed})
			assert.is_true(watcher:stop())
			assert.is_true(watcher:start())
			assert.equal(watcher, registry:get_watcher("a"))
			fails("invalid_state", watcher:start())
			fails("watcher_already_exists", registry:watch("a", handle))
			drain(registry, watcher)
			assert.is_true(registry:stop())
			fails("watcher_not_found", registry:get_watcher("a"))
			local other = assert(registry:watch("a", handle, {auto_start = false}))
			mentions(fails("invalid_state", watcher:start()), "replaced")
			assert.is_true(registry:remove("a"))
			assert.is_true(watcher:start())
			mentions(fails("invalid_state", other:start()), "removed")
			assert.same({1, 2, 3, 1, 2, 3}, seen)
		end)

		it("leaves when its own handler stops it, and when another one does [W14n]", function()
			local registry, store = registry_over(1)
			local own = assert(registry:watch("own", function(_, ctx) ctx.watcher:stop() end, {ephemeral = true}))
			drive(registry, function() return own:stats().state == "stopped" end)
			registry:step(0)
			fails("watcher_not_found", registry:get_watcher("own"))
			local free
			local other = assert(registry:watch("other", function() end, {ephemeral = true}))
			drain(registry, other)
			local asks = assert(registry:watch("asks", function(event)
				if event.seq_num > 1 then return end
				assert(other:stop())
				free = select(2, registry:get_watcher("other")).code
				assert(registry:watch("other", function() end, {ephemeral = true}))
			end))
			drain(registry, asks)
			assert.equal("watcher_not_found", free)
			assert.equal("running", registry:get_watcher("other"):stats().state)
			assert(store:store_event("CREATE", "T", 1))
			drain(registry, asks, registry:get_watcher("other"))
		end)

		it("stays when an error stopped it [W14o]", function()
			local registry, store = registry_over(3)
			local watcher = assert(registry:watch("a", function() end, {ephemeral = true, on_gap = "stop",
				initial_event_iterator = vigia.at_sequence_number(1), auto_start = false}))
			assert.equal(2, (store.inner or store):trim(2))
			assert.is_true(watcher:start())
			drive(registry, function() return watcher:stats().state == "stopped" end)
			assert.is_true(watcher:stop())
			assert.equal(watcher, registry:get_watcher("a"))
			assert.equal("sequence_expired", watcher:stats().last_error.code)
			assert.is_true(registry:remove("a"))
			fails("watcher_not_found", registry:get_watcher("a"))
		end)

		it("begins anew: at its trim horizon, at latest as it was, or where its last seek put it [W12f]", function()
			local registry, store = registry_over(3)
			local function restarted(options, act)
				local handle, seen = helper.recorder()
				options.ephemeral = true
				local watcher = assert(registry:watch("a", handle, options))
				if act then act(watcher) end
				drain(registry, watcher)
				assert.is_true(watcher:stop())
				local first = #seen
				assert.is_true(watcher:start())
				drain(registry, watcher)
				assert.equal(0, watcher:stats().missed)
				assert.is_true(watcher:stop())
				return table.move(seen, first + 1, #seen, 1, {})
			end
			assert.same({1, 2, 3}, restarted{})
			assert.same({3}, restarted{initial_event_iterator = vigia.after_sequence_number(2)})
			assert.same({4}, restarted({initial_event_iterator = vigia.latest()}, function() fill(store, 1) end))
			assert.same({3, 4}, restarted({}, function(watcher) assert(watcher:seek_to_offset(2)) end))
			assert.same({3, 4}, restarted({auto_start = false}, function(watcher)
				(store.inner or store):trim(2)
				assert(watcher:start())
			end))
			assert.same({3, 4}, restarted({}, function(watcher) assert(watcher:seek_to_offset(1)) end))
		end)
	end)

	describe("a watcher without a backoff, and one that is idle: " .. kind, function()
		after_each(helper.clean)

		local function registry_over(count)
			local store = helper.memory()
			fill(store, count)
			local front = kind == "Lua" and require "vigia.wrapper".new(store, {}) or store
			return helper.registry(front), store
		end

		it("is tried again at once, while the others have their turns and a stop ends it [W5k]", function()
			local registry = registry_over(2)
			local attempts, seen, failing = 0, {}, nil
			failing = assert(registry:watch("fails", function()
				attempts = attempts + 1
				if attempts < 1000 then error("not yet", 0) end
				failing:stop()
				error("never", 0)
			end, {initial_backoff = 0, max_backoff = 0}))
			local good = assert(registry:watch("good", function(event) seen[#seen + 1] = event.seq_num end))
			drive(registry, function() return failing:stats().state == "stopped" end)
			assert.equal(1000, attempts)
			assert.equal(999, failing:stats().retried)
			drain(registry, good)
			assert.same({1, 2}, seen)
			assert(registry:watch("fails", function() error("never", 0) end, {initial_backoff = 0}))
			registry:step(0)
			assert.is_true(registry:stop{timeout = 10})
		end)

		it("shows where it will begin: its checkpoint, not the start of the log [W15n]", function()
			local registry, store = registry_over(10)
			assert(store:store_checkpoint("a", 6))
			local stats = assert(registry:watch("a", nil, {auto_start = false})):stats()
			local after = vigia.after_sequence_number
			assert.same({"idle", after(6), after(6), 4}, {stats.state, stats.checkpoint_iterator, stats.next_event_iterator, stats.lag})
			stats = assert(registry:watch("b", nil, {auto_start = false})):stats()
			assert.same({"idle", after(0), 10}, {stats.state, stats.next_event_iterator, stats.lag})
			assert.is_nil(stats.checkpoint_iterator)
			if kind == "Lua" then return end
			assert(store:store_checkpoint("script", 7))
			local path = helper.write_file("quiet.lua", "return function() end")
			stats = assert(registry:watch("script", path, {auto_start = false})):stats()
			assert.same({"idle", after(7), after(7), 3}, {stats.state, stats.checkpoint_iterator, stats.next_event_iterator, stats.lag})
		end)
	end)

	describe("registry:remove and registry:close: " .. kind, function()
		after_each(helper.clean)

		local function make(count)
			local store = helper.memory()
			fill(store, count)
			if kind == "Lua" then store = require "vigia.wrapper".new(store, {}) end
			return store, assert(vigia.registry(store))
		end

		it("take out what is idle or stopped, and refuse what runs [W1p]", function()
			local store, registry = make(2)
			local runs = assert(registry:watch("runs", function() end))
			drain(registry, runs)
			mentions(fails("invalid_state", registry:remove("runs")), "'runs' cannot be removed: it is running")
			fails("watcher_not_found", registry:remove("nobody"))
			mentions(raises(registry.remove, registry), "id")
			assert(registry:watch("idle", nil, {auto_start = false}))
			assert.is_true(registry:remove("idle"))
			fails("watcher_not_found", registry:get_watcher("idle"))
			assert.is_true(runs:stop())
			assert.equal(runs, registry:get_watcher("runs")) -- it has a checkpoint: only remove() takes it out
			assert.is_true(registry:remove("runs"))
			fails("watcher_not_found", registry:get_watcher("runs"))
			assert.same({"stopped", 2}, {runs:stats().state, runs:stats().processed})
			mentions(fails("invalid_state", runs:start()), "removed from its registry")
			fails("invalid_state", runs:checkpoint(1))
			fails("invalid_state", runs:seek_to_offset(1))
			assert.is_true(runs:stop())
			assert.equal(2, store:get_checkpoint("runs"))
			local refused
			local asks = assert(registry:watch("asks", function(_, ctx) refused = select(2, registry:remove(ctx.watcher:id())) end))
			drain(registry, asks)
			assert.equal("invalid_state", refused.code)
			registry:close()
		end)

		it("ends a registry: twice, in <close>, not from a handler; afterwards every call raises [W16f]", function()
			local store, registry = make(2)
			local watcher, from_inside, kept
			do
				local inner <close> = assert(vigia.registry(store))
				kept = inner
				drain(inner, assert(inner:watch("b", function() end)))
			end
			assert.equal(2, store:get_checkpoint("b"))
			mentions(raises(kept.step, kept), "closed")
			watcher = assert(registry:watch("a", function()
				from_inside = select(2, pcall(registry.close, registry))
			end))
			drain(registry, watcher)
			mentions(from_inside, "a registry cannot be closed from one of its handlers")
			assert.is_true(registry:spawn(function() vigia.sleep(1000) end))
			registry:step(0)
			assert.is_true(registry:close())
			assert.is_true(registry:close())
			assert.equal(2, store:get_checkpoint("a"))
			mentions(registry, "closed")
			for _, call in ipairs{
				{"watch", "c", print}, {"get_watcher", "a"}, {"remove", "a"}, {"spawn", print}, {"run"}, {"step"}, {"pollfd"}, {"stop"},
			} do
				mentions(raises(registry[call[1]], registry, table.unpack(call, 2)), "the registry is closed")
			end
			for _, call in ipairs{
				{"id"}, {"stats"}, {"checkpoint", 1}, {"seek_to_offset", 1}, {"set_handler", print}, {"start"}, {"stop"}, {"reload"},
			} do
				mentions(raises(watcher[call[1]], watcher, table.unpack(call, 2)), "the watcher's registry is closed")
			end
			local after = assert(vigia.registry(store)) -- the ids are free
			assert(after:watch("a", function() end))
			assert(after:watch("b", function() end))
			after:close()
		end)
	end)
end

describe("twenty thousand ids", function()
	after_each(helper.clean)

	for _, what in ipairs{"ephemeral", "removed"} do
		it("watched and stopped cost neither memory nor time: " .. what .. " [W14p]", function()
			local child = helper.child(RESIDENT .. [[
				local removed, count = arg[1] == "removed", tonumber(arg[2])
				local registry = vigia.registry(vigia.open(":memory:"))
				local options = {ephemeral = not removed}
				local store_ids = 0
				local function some(first, last)
					for n = first, last do
						local id = removed and "w" or "w" .. n
						local watcher = registry:watch(id, function() end, options)
						registry:step(0)
						watcher:stop()
						if removed then assert(registry:remove(id)) end
						watcher = nil
						if n % 100 == 0 then collectgarbage() end
					end
					return resident()
				end
				local before = some(1, count)
				local after = some(count + 1, 5 * count)
				local begun = os.clock()
				for _ = 1, 1000 do registry:step(0) end
				say((after - before) * 1024 // (4 * count), (os.clock() - begun) * 1000 // 1)]], what, sanitized and 200 or 4000)
			local bytes, microseconds = child:line():match("(%-?%d+)%s+(%d+)")
			assert(sanitized or tonumber(bytes) < 200, bytes .. " bytes for each")
			assert(sanitized or tonumber(microseconds) < 20, microseconds .. " us for an idle step")
		end)
	end
end)
