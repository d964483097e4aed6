-- predicate_spec.lua - filters that are Lua functions: `where`, or `filter = function`, in watchers and in get_events.

local helper = require "spec.helper"
local vigia = require "vigia"

local fill, mentions, raises, read = helper.fill, helper.mentions, helper.raises, helper.read

describe("a predicate", function()
	after_each(helper.clean)

	local function even(event) return event.object.n % 2 == 0 end

	describe("of a watcher", function()
		it("lets the handler see what it wants and moves position and checkpoint over the rest [F3a]", function()
			local store = helper.memory()
			fill(store, 7)
			local registry = helper.registry(store)
			local handler, seen = helper.recorder()
			local watcher = assert(registry:watch("even", handler, {where = even}))
			helper.drain(registry, watcher)
			assert.same({2, 4, 6}, seen)
			local stats = watcher:stats()
			assert.equal(3, stats.processed)
			assert.equal(6, stats.last_processed_seq_num)
			assert.equal(0, stats.failed + stats.skipped)
			assert.equal(vigia.after_sequence_number(7), stats.next_event_iterator)
			assert(registry:stop())
			assert.equal(7, assert(store:get_checkpoint("even")))
		end)

		it("may be given as the filter itself [F3b]", function()
			local store = helper.memory()
			fill(store, 4)
			local registry = helper.registry(store)
			local handler, seen = helper.recorder()
			helper.drain(registry, assert(registry:watch("even", handler, {filter = even})))
			assert.same({2, 4}, seen)
		end)

		it("is asked only about what the lists let through [F3c]", function()
			local store = helper.memory()
			fill(store, 2, "Job")
			fill(store, 2, "Node")
			local registry, asked = helper.registry(store), {}
			local handler, seen = helper.recorder()
			helper.drain(registry, assert(registry:watch("w", handler, {
				filter = {object_types = {"Node"}},
				where = function(event)
					asked[#asked + 1] = event.seq_num
					return event.object.n == 2
				end,
			})))
			assert.same({3, 4}, asked)
			assert.same({4}, seen)
		end)

		it("that raises is a handler that failed: retried, told to on_error, skipped [F3d]", function()
			local store = helper.memory()
			fill(store, 3)
			local registry, told = helper.registry(store), {}
			local handler, seen = helper.recorder()
			local watcher = assert(registry:watch("w", handler, {
				where = function(event) return event.object.n ~= 2 or error("no opinion") end,
				retry_strategy = "skip", max_retries = 2, initial_backoff = 0.001,
				on_error = function(err, event) told[#told + 1] = {err.code, event.seq_num, tostring(err):find("no opinion", 1, true) ~= nil} end,
			}))
			helper.drain(registry, watcher)
			assert.same({1, 3}, seen)
			assert.same({{"handler_error", 2, true}, {"handler_error", 2, true}}, told)
			local stats = watcher:stats()
			assert.equal(2, stats.failed)
			assert.equal(1, stats.skipped)
		end)

		it("may wait like a handler, and is kept for a handler that comes later [F3e]", function()
			local store = helper.memory()
			fill(store, 2)
			local registry = helper.registry(store)
			local watcher = assert(registry:watch("w", nil, {auto_start = false, where = function(event)
				assert(vigia.sleep(0.001))
				return even(event)
			end}))
			local handler, seen = helper.recorder()
			assert(watcher:set_handler(handler))
			assert(watcher:start())
			helper.drain(registry, watcher)
			assert.same({2}, seen)
		end)

		it("is one: two of them, and what is no function, are named with every other bad option [F3f]", function()
			local registry = helper.registry(helper.memory())
			mentions(raises(registry.watch, registry, "w", even, {filter = even, where = even, batch_size = 0}), "filter and where", "batch_size")
			mentions(raises(registry.watch, registry, "w", even, {where = 3, filter = "x"}), "where is a number", "filter is a string")
		end)
	end)

	describe("of get_events", function()
		it("keeps what it wants, up to the limit, and the position is behind the last one looked at [F3g]", function()
			local store = helper.memory()
			fill(store, 9)
			local numbers, next = read(store, {where = even})
			assert.same({2, 4, 6, 8}, numbers)
			assert.equal(vigia.after_sequence_number(9), next)
			numbers, next = read(store, {filter = even, limit = 2})
			assert.same({2, 4}, numbers)
			assert.equal(vigia.after_sequence_number(4), next)
			numbers, next = read(store, {where = even, limit = 2, event_iterator = next})
			assert.same({6, 8}, numbers)
			assert.equal(vigia.after_sequence_number(8), next)
			assert.same({8}, (read(store, {filter = {object_types = {"Job"}}, where = function(event) return event.seq_num == 8 end})))
		end)

		it("looks on over more events than one look gives [F3h]", function()
			local store = helper.memory()
			fill(store, 1000)
			local calls, next = 0, vigia.trim_horizon()
			local numbers
			repeat -- a busy machine may take away the time that a call has
				numbers, next = read(store, {where = function(event) return event.object.n == 1000 end, limit = 1, event_iterator = next})
				calls = calls + 1
			until #numbers > 0 or calls == 9 -- each looks at 100 at once
			assert.same({1000}, numbers)
		end)

		it("raises what the predicate raises [F3i]", function()
			local store = helper.memory()
			fill(store, 1)
			local ok, err = pcall(store.get_events, store, {where = function() error({mine = true}) end, timeout = 0})
			assert.is_false(ok)
			assert.is_true(err.mine)
		end)

		it("waits on when everything was dropped, alone and in a handler [F3j]", function()
			local store = helper.open()
			local child = helper.child([[
				local store = assert(vigia.open(arg[1]))
				local request = {event_iterator = vigia.after_sequence_number(0), timeout = 60,
					where = function(event) return event.object.n == 3 end}
				say("ready")
				say(assert(store:get_events(request)).events[1].seq_num)
				local registry = vigia.registry(store)
				registry:watch("w", function(_, ctx)
					say(assert(ctx.store:get_events(request)).events[1].seq_num)
					ctx.watcher:stop()
				end, {filter = {object_types = {"Go"}}})
				assert(registry:run())]], helper.path("store"))
			child:expect("ready")
			for n = 1, 3 do
				child:asleep()
				assert(store:store_event("CREATE", "Job", {n = n}))
			end
			child:expect("3")
			assert(store:store_event("CREATE", "Go", {n = 0}))
			child:expect("3")
			child:wait()
		end)

		it("returns when the time is over although it dropped everything, and when the predicate closes the store [F3k]", function()
			local store = helper.memory()
			fill(store, 3)
			local answer = assert(store:get_events{timeout = 0.01, where = function() return false end})
			assert.same({}, answer.events)
			assert.equal(vigia.after_sequence_number(3), answer.next_event_iterator)
			answer = assert(store:get_events{timeout = 10, where = function() store:close() end})
			assert.same({}, answer.events)
		end)
	end)

	it("and places in large objects are looked at for about 10 ms at a time, like other events [S8g F4h]", function()
		for _, store in ipairs{helper.memory(), helper.open(nil, {durability = "none"})} do
			local list = {}
			for n = 1, 60000 do list[n] = n % 100 end
			for n = 1, 400 do assert(store:store_event("CREATE", "Job", {list, n})) end
			local answer = assert(store:get_events{filter = {where = {["object[2]"] = 400}}, timeout = 0})
			assert.same({0, false}, {#answer.events, answer.at_end})
			assert.same({400}, (read(store, {filter = {where = {["object[2]"] = 400}}, scan = "end"})))
		end
	end)

	it("and places of a filter see, in a store that wraps another one, the objects that it shows [F4g]", function()
		local hidden = {encode = function(object) return {inner = object} end, decode = function(object) return object.inner end}
		local store = helper.wrapped(nil, hidden)
		fill(store, 4)
		local function seen(filter, where) return (read(store, {filter = filter, where = where})) end
		assert.same({2, 3}, seen{where = {["object.n"] = {2, 3}}})
		assert.same({}, seen{where = {["object.inner.n"] = 2}})
		assert.same({3}, seen({where = {["object.n"] = {2, 3}}}, function(event) return event.object.n > 2 end))
		assert.same({2}, seen{object_types = {"Job"}, where = {["object.n"] = {2, 3}}, predicate = function(event) return event.object.n < 3 end})
		mentions(raises(seen, {where = {n = 1}}), "filter.where", "character 1")
		mentions(raises(seen, {predicate = even}, even), "more than one function")
		local registry = helper.registry(store)
		local handler, numbers = helper.recorder()
		helper.drain(registry, assert(registry:watch("w", handler, {filter = {where = {["object.n"] = {2, 3}}, predicate = even}})))
		assert.same({2}, numbers)
	end)
end)
