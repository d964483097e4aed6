-- store_contract_reads.lua - the part of the suite for backends that is about reading: requests, iterators, limits, waiting, filters.

local assert = require "luassert"
local busted = require "busted"
local helper = require "spec.helper"
local vigia = require "vigia"

local after_each, before_each, describe, it = busted.after_each, busted.before_each, busted.describe, busted.it
local fill, mentions, raises, range, read = helper.fill, helper.mentions, helper.raises, helper.range, helper.read
local at, after = vigia.at_sequence_number, vigia.after_sequence_number

-- Run `body` for each event in a watcher: how one Lua state does two things at a time.
local function watch(registry, id, body)
	return assert(registry:watch(id, body, {ephemeral = true}))
end

-- As the function that store_contract.lua returns.
return function(name, open)
	describe("reading from the store " .. name, function()
		local store

		before_each(function() store = open() end)
		after_each(helper.clean)

		---- reading: the request and the answer ----

		it("returns a table of events, the next iterator and at_end, and nothing else [S2a]", function()
			fill(store, 2)
			local answer = assert(store:get_events{event_iterator = vigia.trim_horizon(), limit = 10, timeout = 0, watcher_id = "w",
				filter = {object_types = {"Job"}, operations = {"CREATE"}}})
			assert.equal(2, #answer.events)
			assert.equal(after(2), answer.next_event_iterator)
			for field in pairs(answer) do assert(field == "events" or field == "next_event_iterator" or field == "at_end", field) end
		end)

		it("reads from the trim horizon without a request [S2b]", function()
			fill(store, 2)
			assert.equal(2, #assert(store:get_events()).events)
			assert.equal(2, #assert(store:get_events{}).events)
		end)

		it("refuses what a request does not have, and says what is wrong [S2c]", function()
			helper.mentions(raises(store.get_events, store, {limits = 1}), "limits")
			helper.mentions(raises(store.get_events, store, {limit = "many"}), "limit")
			helper.mentions(raises(store.get_events, store, {limit = -1}), "limit")
			helper.mentions(raises(store.get_events, store, {timeout = "soon"}), "timeout")
			helper.mentions(raises(store.get_events, store, {timeout = -1}), "timeout")
			helper.mentions(raises(store.get_events, store, {timeout = 0 / 0}), "timeout")
			helper.mentions(raises(store.get_events, store, {event_iterator = 5}), "event_iterator")
			helper.mentions(raises(store.get_events, store, {filter = "Job"}), "filter")
			raises(store.get_events, store, 5)
		end)

		---- reading: where it starts ----

		it("starts at the oldest event there is from the trim horizon [S3a]", function()
			fill(store, 5)
			assert.same(range(1, 5), (read(store, {event_iterator = vigia.trim_horizon()})))
			assert(store:trim(3))
			assert.same({4, 5}, (read(store, {event_iterator = vigia.trim_horizon()})))
		end)

		it("starts at N and after N [S3b]", function()
			fill(store, 5)
			assert.same({3, 4, 5}, (read(store, {event_iterator = at(3)})))
			assert.same({4, 5}, (read(store, {event_iterator = after(3)})))
			assert.same({5}, (read(store, {event_iterator = at(5)})))
			assert.same({}, (read(store, {event_iterator = after(5)})))
			assert.same(range(1, 5), (read(store, {event_iterator = after(0)})))
			assert.same(range(1, 5), (read(store, {event_iterator = at(0)})))
		end)

		it("goes on at the oldest where the number asked for was removed [S3c]", function()
			fill(store, 5)
			assert(store:trim(3))
			assert.same({4, 5}, (read(store, {event_iterator = at(2)})))
			assert.same({4, 5}, (read(store, {event_iterator = after(0)})))
		end)

		it("resolves latest to after the last number, and never delivers what was there [S3d]", function()
			fill(store, 3)
			local numbers, next_iterator = read(store, {event_iterator = vigia.latest()})
			assert.same({}, numbers)
			assert.equal(after(3), next_iterator)
			fill(store, 2)
			assert.same({4, 5}, (read(store, {event_iterator = next_iterator})))
			assert.same({}, (read(store, {event_iterator = vigia.latest()})))
		end)

		---- reading: where it ends ----

		it("goes on behind the last event of a page [S4a]", function()
			fill(store, 5)
			local pages, iterator = {}, vigia.trim_horizon()
			for _ = 1, 4 do
				pages[#pages + 1], iterator = read(store, {event_iterator = iterator, limit = 2})
			end
			assert.same({{1, 2}, {3, 4}, {5}, {}}, pages)
			assert.equal(after(5), iterator)
		end)

		it("passes what the filter dropped, in front, between and behind [S4b]", function()
			for _, object_type in ipairs{"Node", "Job", "Node", "Job", "Node", "Node"} do
				assert(store:store_event("CREATE", object_type, nil))
			end
			local numbers, next_iterator = read(store, {filter = {object_types = {"Job"}}})
			assert.same({2, 4}, numbers)
			assert.equal(after(6), next_iterator)
			numbers, next_iterator = read(store, {filter = {object_types = {"Pod"}}})
			assert.same({}, numbers)
			assert.equal(after(6), next_iterator)
		end)

		it("looks no further than the last event of a full page [S4c]", function()
			for _, object_type in ipairs{"Job", "Node", "Job"} do assert(store:store_event("CREATE", object_type, nil)) end
			local numbers, next_iterator = read(store, {filter = {object_types = {"Job"}}, limit = 1})
			assert.same({1}, numbers)
			assert(next_iterator == after(1) or next_iterator == after(2), tostring(next_iterator))
			assert.same({3}, (read(store, {event_iterator = next_iterator, filter = {object_types = {"Job"}}})))
		end)

		it("resolves the trim horizon and latest in an empty store, and leaves the others as they are [S4d]", function()
			for _, case in ipairs{
				{vigia.trim_horizon(), after(0)}, {vigia.latest(), after(0)},
				{at(0), at(0)}, {at(1), at(1)}, {at(100), at(100)}, {after(0), after(0)}, {after(100), after(100)},
			} do
				local numbers, next_iterator = read(store, {event_iterator = case[1]})
				assert.same({}, numbers)
				assert.equal(case[2], next_iterator, tostring(case[1]))
			end
		end)

		it("leaves at N and after N beyond the end as they are [S4e]", function()
			fill(store, 5)
			for _, iterator in ipairs{at(6), at(100), after(5), after(100), at(math.maxinteger), after(math.maxinteger)} do
				local numbers, next_iterator = read(store, {event_iterator = iterator})
				assert.same({}, numbers)
				assert.equal(iterator, next_iterator)
			end
		end)

		it("resolves the trim horizon behind the last number when everything was removed [S4f]", function()
			fill(store, 5)
			assert(store:trim(5))
			local numbers, next_iterator = read(store, {event_iterator = vigia.trim_horizon()})
			assert.same({}, numbers)
			assert.equal(after(5), next_iterator)
			assert.equal(after(5), select(2, read(store, {event_iterator = vigia.latest()})))
		end)

		---- reading: how much ----

		it("returns at most `limit` events, and any number for 0 [S5a]", function()
			fill(store, 250)
			assert.same({1}, (read(store, {limit = 1})))
			assert.same(range(1, 249), (read(store, {limit = 249})))
			assert.same(range(1, 250), (read(store, {limit = 250})))
			assert.same(range(1, 250), (read(store, {limit = 251})))
			assert.same(range(1, 250), (read(store, {limit = 0})))
			assert.same(range(1, 250), (read(store)))
		end)

		it("counts what it returns, not what the filter drops [S5b]", function()
			for n = 1, 20 do assert(store:store_event("CREATE", n % 2 == 0 and "Job" or "Node", nil)) end
			assert.same({2, 4, 6}, (read(store, {limit = 3, filter = {object_types = {"Job"}}})))
		end)

		it("bounds a result by max_batch_bytes, also with limit 0 [S5c]", function()
			store:close()
			store = open{max_batch_bytes = 8192}
			for n = 1, 10 do assert(store:store_event("CREATE", "Job", n .. ("x"):rep(3000))) end
			local all, iterator = {}, vigia.trim_horizon()
			for _ = 1, 10 do
				local numbers
				numbers, iterator = read(store, {event_iterator = iterator, limit = 0})
				assert(#numbers >= 1 and #numbers <= 2, #numbers .. " events of 3000 bytes in 8192")
				for _, number in ipairs(numbers) do all[#all + 1] = number end
				if #all == 10 then break end
			end
			assert.same(range(1, 10), all)
		end)

		it("returns one event even if it alone is larger than max_batch_bytes [S5d]", function()
			store:close()
			store = open{max_batch_bytes = 1024}
			for _ = 1, 2 do assert(store:store_event("CREATE", "Job", ("x"):rep(100000))) end
			local numbers, next_iterator = read(store)
			assert.same({1}, numbers)
			assert.same({2}, (read(store, {event_iterator = next_iterator})))
		end)

		---- waiting ----

		it("does not wait when there is something to return [S6a]", function()
			fill(store, 1)
			local begin = helper.now()
			assert.same({1}, (read(store, {timeout = 60})))
			assert(helper.now() - begin < 30)
		end)

		it("resolves latest and the trim horizon first, then waits, and returns the position when the timeout passes [S6b]", function()
			fill(store, 2)
			for _, begin in ipairs{vigia.latest(), vigia.trim_horizon()} do
				if begin.kind == "trim_horizon" then assert.equal(2, store:trim(2)) end
				local begun = helper.now()
				local answer = assert(store:get_events{event_iterator = begin, timeout = 0.05})
				assert(helper.now() - begun >= 0.04)
				assert.same({{}, after(2), true}, {answer.events, answer.next_event_iterator, answer.at_end})
				answer = assert(store:get_events{event_iterator = begin, timeout = 0})
				assert.same({{}, after(2), true}, {answer.events, answer.next_event_iterator, answer.at_end})
			end
		end)

		it("finds from latest what is stored while it waits, in a coroutine too [S6p]", function()
			fill(store, 2)
			local registry = helper.registry(store)
			local numbers = {}
			for index, begin in ipairs{vigia.latest(), after(2)} do
				assert(registry:spawn(function()
					local answer = assert(store:get_events{event_iterator = begin, timeout = 60})
					numbers[index] = answer.events[1].seq_num
				end))
			end
			-- Asked behind the others: a server may have to say first where the end is.
			local asked = false
			assert(registry:spawn(function() asked = assert(store:get_latest_event_num()) end))
			helper.drive(registry, function() return asked end)
			assert.same({}, numbers)
			fill(store, 1)
			assert(registry:run())
			assert.same({3, 3}, numbers)
		end)

		it("tells whether the end of the log was reached [S8c]", function()
			local function ends(request)
				request.timeout = 0
				return assert(store:get_events(request)).at_end
			end
			assert.is_true(ends{})
			fill(store, 3)
			assert.is_true(ends{})
			assert.is_true(ends{limit = 3})
			assert.is_false(ends{limit = 2})
			assert.is_true(ends{limit = 1, event_iterator = after(2)})
			assert.is_true(ends{event_iterator = vigia.latest()})
			assert.is_true(ends{filter = {object_types = {"None"}}})
			local function even(event) return event.seq_num == 2 end
			assert.is_true(ends{where = even})
			assert.is_false(ends{where = even, limit = 1})
			assert.is_true(ends{where = function(event) return event.seq_num == 3 end, limit = 1})
			local read_in_task
			local registry = helper.registry(store)
			assert(registry:spawn(function() read_in_task = assert(store:get_events{limit = 2, timeout = 60}).at_end end))
			assert(registry:run())
			assert.is_false(read_in_task)
		end)

		it("returns no event and the position when the timeout passes [S6c]", function()
			fill(store, 3, "Node")
			local numbers, next_iterator = read(store, {event_iterator = after(3), timeout = 0.01})
			assert.same({}, numbers)
			assert.equal(after(3), next_iterator)
			numbers, next_iterator = read(store, {event_iterator = at(1), filter = {object_types = {"Job"}}, timeout = 0.01})
			assert.same({}, numbers)
			assert.equal(after(3), next_iterator)
		end)

		it("waits as long as long_polling_timeout says when the request does not [S6d]", function()
			store:close()
			store = open{long_polling_timeout = 0.01}
			local answer = assert(store:get_events{event_iterator = after(0)})
			assert.same({}, answer.events)
			assert.equal(after(0), answer.next_event_iterator)
		end)

		it("is woken by the append of an event it wants, and not by another [S6e]", function()
			fill(store, 1, "Start")
			local registry = helper.registry(store)
			local answer
			watch(registry, "waits", function()
				answer = assert(store:get_events{event_iterator = after(1), filter = {object_types = {"Job"}}, timeout = 60})
			end)
			watch(registry, "appends", function(event)
				if event.seq_num > 1 then return end
				assert(store:store_event("CREATE", "Node", nil))
				assert(vigia.sleep(0.001))
				assert.is_nil(answer)
				assert(store:store_event("CREATE", "Job", "wanted"))
			end)
			helper.drive(registry, function() return answer end)
			assert.equal(1, #answer.events)
			assert.equal("wanted", answer.events[1].object)
			assert.equal(after(3), answer.next_event_iterator)
		end)

		it("wakes a call that waits at a number beyond the next [S6f]", function()
			fill(store, 1)
			local registry = helper.registry(store)
			local answer
			watch(registry, "waits", function()
				answer = answer or assert(store:get_events{event_iterator = at(3), timeout = 60})
			end)
			watch(registry, "appends", function(event)
				if event.seq_num < 3 then assert(store:store_event("CREATE", "Job", nil)) end
			end)
			helper.drive(registry, function() return answer end)
			assert.equal(3, answer.events[1].seq_num)
		end)

		it("wakes all that wait by one append, each with the same event [S7]", function()
			fill(store, 1, "Start")
			local registry = helper.registry(store)
			local answers, count = {}, 0
			for n = 1, 5 do
				watch(registry, "waits " .. n, function(event)
					if event.seq_num > 1 then return end
					answers[n] = assert(store:get_events{event_iterator = after(1), timeout = 60})
					count = count + 1
				end)
			end
			watch(registry, "appends", function(event)
				if event.seq_num == 1 then assert(store:store_event("CREATE", "Job", {n = 7})) end
			end)
			helper.drive(registry, function() return count == 5 end)
			for n = 1, 5 do assert.same({assert(store:get_event(2))}, answers[n].events) end
		end)

		it("is woken, and does not look now and then: a hundred waits in a row take no time [S6g]", function()
			local registry = helper.registry(store)
			local count = 0
			for from, to in pairs{Ping = "Pong", Pong = "Ping"} do
				assert(registry:watch(from, function()
					count = count + 1
					if count < 100 then assert(store:store_event("CREATE", to, nil)) end
				end, {ephemeral = true, filter = {object_types = {from}}}))
			end
			repeat until registry:step() == false
			local begin = helper.now()
			assert(store:store_event("CREATE", "Ping", nil))
			helper.drive(registry, function() return count == 100 end)
			assert(helper.now() - begin < 30, "who looks once a second needs a hundred seconds")
		end)

		it("moves forward over events that the filter drops, in calls that do not wait [S8a]", function()
			fill(store, 20000, "Node")
			local filter, iterator, calls = {object_types = {"Job"}}, vigia.trim_horizon(), 0
			repeat
				local numbers, next_iterator = read(store, {event_iterator = iterator, filter = filter})
				assert.same({}, numbers)
				assert(iterator.kind == "trim_horizon" or next_iterator.seq_num > iterator.seq_num, "each call moves on")
				iterator, calls = next_iterator, calls + 1
			until iterator == after(20000)
			assert(calls <= 1000, calls .. " calls for 20000 events")
		end)

		it("returns after a while without having seen all, and goes on in one call if it may wait [S8b]", function()
			-- events of types that are slow to tell from those that are wanted, so many that looking at all takes more than 10 ms
			local stem = ("x"):rep(60)
			local wanted, events = {}, {}
			for n = 1, 50000 do wanted[n] = stem .. 10000 + 2 * n end
			for n = 1, 10000 do events[n] = {"CREATE", stem .. 10001 + 10 * n, nil} end
			store:close()
			store = open{durability = "none"}
			local filter, count = {object_types = wanted}, 0
			local numbers, next_iterator
			repeat
				for _ = 1, 10 do count = select(2, assert(store:store_events(events))) end
				numbers, next_iterator = read(store, {filter = filter})
				assert.same({}, numbers)
			until next_iterator.seq_num < count or count >= 3000000
			assert(next_iterator.seq_num > 0 and next_iterator.seq_num < count, tostring(next_iterator))
			assert(store:store_event("CREATE", wanted[1], nil))
			assert.same({count + 1}, (read(store, {filter = filter, event_iterator = next_iterator, timeout = 60})))
		end)

		it("goes on to the end where scan says so, past what it drops [S8d]", function()
			mentions(raises(store.get_events, store, {scan = "all"}), 'scan is "all", allowed: "slice" or "end"')
			local stem = ("x"):rep(60)
			local wanted, events = {}, {}
			for n = 1, 20000 do wanted[n] = stem .. 10000 + 2 * n end
			for n = 1, 10000 do events[n] = {"CREATE", stem .. 10001 + 10 * n, n} end
			store:close()
			store = open{durability = "none"}
			local filter, count = {object_types = wanted}
			local answer
			repeat -- until one slice does not do
				for _ = 1, 10 do assert(store:store_events(events)) end
				count = assert(store:store_event("CREATE", wanted[1], "wanted"))
				answer = assert(store:get_events{filter = filter, timeout = 0})
			until (not answer.at_end and count > 100001) or count >= 2000000
			assert.is_false(answer.at_end)
			local some = count // 100001
			local function to_the_end(request)
				request.scan, request.timeout = "end", 0
				request.filter = request.filter or filter
				answer = assert(store:get_events(request))
				local numbers = {}
				for index, event in ipairs(answer.events) do numbers[index] = event.seq_num end
				return numbers, answer
			end
			local function all(numbers)
				assert.equal(some, #numbers)
				assert.equal(count, numbers[#numbers])
				assert.same({true, after(count)}, {answer.at_end, answer.next_event_iterator})
			end
			all(to_the_end{})
			all(to_the_end{limit = some})
			assert.equal(some, #to_the_end{where = function(event) return event.object == "wanted" end})
			assert.same({100001}, (to_the_end{limit = 1}))
			assert.same({false, after(100001)}, {answer.at_end, answer.next_event_iterator})
			assert.same({}, (to_the_end{filter = {object_types = {"None"}}}))
			assert.same({true, after(count)}, {answer.at_end, answer.next_event_iterator})
			local registry, turns, in_task, is_over = helper.registry(store), 0, nil, nil
			assert(registry:spawn(function()
				local _ <close> = setmetatable({}, {__close = function() is_over = true end}) -- also where it fails
				in_task = to_the_end{}
			end))
			assert(registry:spawn(function()
				while not is_over do
					turns = turns + 1
					vigia.sleep(0)
				end
			end))
			assert(registry:run())
			all(in_task)
			assert(turns > 0, "the others had no turn")
		end)

		it("bounds a result that goes on to the end by max_batch_bytes [S5e]", function()
			store:close()
			store = open{max_batch_bytes = 10000}
			for _ = 1, 10 do assert(store:store_event("CREATE", "Job", ("x"):rep(3000))) end
			for _, request in ipairs{{}, {where = function() return true end}} do
				request.scan, request.timeout = "end", 0
				local answer = assert(store:get_events(request))
				assert.same({3, false, after(3)}, {#answer.events, answer.at_end, answer.next_event_iterator})
			end
			local registry, in_task = helper.registry(store), nil
			assert(registry:spawn(function() in_task = assert(store:get_events{scan = "end", timeout = 0}) end))
			assert(registry:run())
			assert.same({3, false, after(3)}, {#in_task.events, in_task.at_end, in_task.next_event_iterator})
		end)

		---- filters ----

		describe("with a filter", function()
			local function matching(filter)
				return (read(store, {filter = filter}))
			end

			before_each(function()
				for _, event in ipairs{{"CREATE", "Job"}, {"UPDATE", "Job"}, {"DELETE", "Job"}, {"CREATE", "Node"}, {"renamed", "Node"}} do
					assert(store:store_event(event[1], event[2], nil))
				end
			end)

			it("matches all with no lists or empty ones [F1a]", function()
				for _, filter in ipairs{{}, {object_types = {}}, {operations = {}}, {object_types = {}, operations = {}}} do
					assert.same(range(1, 5), matching(filter))
				end
				assert.same(range(1, 5), matching(nil))
			end)

			it("matches any of the types [F1b]", function()
				assert.same({1, 2, 3}, matching{object_types = {"Job"}})
				assert.same({4, 5}, matching{object_types = {"Node"}, operations = {}})
				assert.same(range(1, 5), matching{object_types = {"Node", "Job", "Job"}})
				assert.same({}, matching{object_types = {"Pod"}})
			end)

			it("matches any of the operations, standard ones and others [F1c]", function()
				assert.same({1, 4}, matching{operations = {"CREATE"}})
				assert.same({2, 3, 5}, matching{operations = {"UPDATE", "DELETE", "renamed"}})
				assert.same({5}, matching{operations = {"renamed"}})
				assert.same({}, matching{operations = {"create"}})
			end)

			it("wants both lists to match [F1d]", function()
				assert.same({1}, matching{object_types = {"Job"}, operations = {"CREATE", "renamed"}})
				assert.same({}, matching{object_types = {"Job"}, operations = {"renamed"}})
				assert.same({5}, matching{object_types = {"Pod", "Node"}, operations = {"renamed"}})
			end)

			it("compares whole names, byte by byte [F1e]", function()
				assert.same({}, matching{object_types = {"Jo"}})
				assert.same({}, matching{object_types = {"Jobs"}})
				assert.same({}, matching{object_types = {"job"}})
				assert.same({}, matching{object_types = {"CREATE"}, operations = {"Job"}})
			end)

			it("takes many names, and long ones [F1f]", function()
				local long = ("x"):rep(255)
				assert(store:store_event(long, long, nil))
				local names = {long}
				for n = 1, 100 do names[#names + 1] = "name " .. n end
				assert.same({6}, matching{object_types = names, operations = names})
			end)

			it("finds few events among many, and moves on over all others, a watcher's checkpoint too [F2c S4e]", function()
				store = open()
				local wanted, list = {}, {}
				for n = 1, 13000 do
					local rare = n == 4096 or n == 4097 or n % 3001 == 0
					if rare then wanted[#wanted + 1] = n end
					list[#list + 1] = {operation = n % 6002 == 0 and "renamed" or "CREATE", object_type = rare and "Rare" or "Job" .. n % 7, object = n}
					if #list == 1000 then
						assert(store:store_events(list))
						list = {}
					end
				end
				local function find(filter, from)
					local answer = assert(store:get_events{filter = filter, event_iterator = from, timeout = 0, scan = "end"})
					local numbers = {}
					for i, event in ipairs(answer.events) do numbers[i] = event.seq_num end
					return numbers, answer.next_event_iterator
				end
				local numbers, next_iterator = find{object_types = {"Rare"}}
				assert.same({wanted, after(13000)}, {numbers, next_iterator})
				assert.same({4097, 6002, 9003, 12004}, (find({object_types = {"Rare", "None"}}, after(4096))))
				assert.same({6002, 12004}, (find{object_types = {"Rare"}, operations = {"renamed"}}))
				assert.same({9003}, (find{object_types = {"Rare"}, where = {object = {9003, 9004}}}))
				assert.same({{}, after(13000)}, {find{object_types = {"None"}}})
				local first, from = read(store, {filter = {object_types = {"Rare"}}, limit = 2, scan = "end"})
				assert.same({{3001, 4096}, after(4096)}, {first, from})
				local registry = helper.registry(store)
				local handler, seen = helper.recorder()
				local watcher = assert(registry:watch("w", handler, {filter = {object_types = {"Rare"}}, batch_size = 2}))
				helper.drain(registry, watcher)
				assert.same(wanted, seen)
				assert(registry:stop())
				assert.equal(13000, assert(store:get_checkpoint("w")))
				assert(store:trim(4096))
				assert.same({4097, 6002, 9003, 12004}, (find{object_types = {"Rare"}}))
			end)

			it("refuses a filter that cannot be one, and names what is wrong [F1g]", function()
				helper.mentions(raises(matching, {object_types = "Job"}), "object_types")
				helper.mentions(raises(matching, {object_types = {"Job", 5}}), "object_types")
				helper.mentions(raises(matching, {operations = {""}}), "operations")
				helper.mentions(raises(matching, {operations = {("x"):rep(256)}}), "operations")
				helper.mentions(raises(matching, {operation = {"CREATE"}}), "operation")
			end)

			it("wants one of the values at each place of the object [F4a]", function()
				store = open()
				local objects = {
					{state = "failed", tries = 1, jobs = {{size = 5}}, ["x.y"] = true}, -- 1
					{state = "lost", tries = 1.0, jobs = {{size = 5}, {size = 7}}},     -- 2
					{state = "done", tries = 2, [3] = "three"},                         -- 3
					{tries = vigia.null, state = "\xff"},                               -- 4
					"failed",                                                           -- 5
				}
				for _, object in ipairs(objects) do assert(store:store_event("CREATE", "Job", object)) end
				local function where(places) return matching{where = places} end
				assert.same({1, 2}, where{["object.state"] = {"failed", "lost"}})
				assert.same({3}, where{["object.state"] = "done"})
				assert.same({4}, where{["object.state"] = "\xff"})
				assert.same({1, 2}, where{["object.tries"] = 1})
				assert.same({1, 2}, where{["object.tries"] = 1.0})
				assert.same({3}, where{["object.tries"] = {2}})
				assert.same({4, 5}, where{["object.tries"] = vigia.null})
				assert.same({3, 4, 5}, where{["object.tries"] = {2, vigia.null}})
				assert.same({2}, where{["object.jobs[2].size"] = 7})
				assert.same({1, 3, 4, 5}, where{["object.jobs[2].size"] = vigia.null})
				assert.same({1}, where{["object.\"x.y\""] = true})
				assert.same({3}, where{["object[3]"] = "three"})
				assert.same({5}, where{object = "failed"})
				assert.same({}, where{["object.jobs"] = 1})
				assert.same(range(1, 5), where{})
			end)

			it("wants places beside the lists and a predicate [F4b]", function()
				for n = 1, 4 do assert(store:store_event("CREATE", n % 2 == 0 and "Job" or "Node", {n = n, half = n > 2})) end
				local places = {["object.half"] = true}
				assert.same({8, 9}, matching{where = places})
				assert.same({9}, matching{object_types = {"Job"}, where = places})
				assert.same({8}, matching{where = places, predicate = function(event) return event.object.n == 3 end})
				assert.same({8}, (read(store, {filter = {where = places}, where = function(event) return event.object.n == 3 end})))
				assert.same({6, 7, 8, 9}, matching{predicate = function(event) return event.object ~= nil end})
				local numbers, next_iterator = read(store, {filter = {where = {["object.n"] = 2}}})
				assert.same({{7}, after(9)}, {numbers, next_iterator})
			end)

			it("refuses places and values that cannot be, and names option and place [F4c]", function()
				local many = {}
				for n = 1, 17 do many["object.a" .. n] = 1 end
				for message, where in pairs{
					["filter.where is a string"] = "object.state",
					["filter.where has the key [1]"] = {"object.state"},
					['filter.where: the place "state" is wrong at character 1'] = {state = 1},
					['filter.where: the place "object.a[" is wrong at character 10'] = {["object.a["] = 1},
					['filter.where["object.a"] is a function'] = {["object.a"] = print},
					['filter.where["object.a"] is empty'] = {["object.a"] = {}},
					['filter.where["object.a"] has a key'] = {["object.a"] = {x = 1}},
					['filter.where["object.a"][2] is a table'] = {["object.a"] = {1, {}}},
					['filter.where["object.a"] is NaN'] = {["object.a"] = 0 / 0},
					["filter.where has 17 places, allowed: at most 16"] = many,
				} do
					mentions(raises(matching, {where = where}), message)
				end
				mentions(raises(matching, {where = print}), "filter.where is a function", "predicate")
				mentions(raises(matching, {predicate = 5}), "filter.predicate is a number")
				mentions(raises(read, store, {filter = {predicate = print}, where = print}), "more than one function")
				mentions(raises(read, store, {where = {["object.a"] = 1}}), "where is a table", "filter.where")
			end)

			it("explains what it would look at, and what is not tested on the bytes [F5a]", function()
				local all = assert(store:explain())
				assert.same({1, 5, 5, 5, 0, false, 0}, {all.from, all.to, all.events, all.events_looked_at, all.places, all.by_index,
					all.blocks_indexed})
				assert.same({}, all.not_pushed_down)
				local jobs = assert(store:explain({object_types = {"Job"}, where = {["object.a"] = 1, ["object.b"] = 2}}, at(3)))
				assert.same({3, 5, 3}, {jobs.from, jobs.to, jobs.events})
				-- One that shows other objects than those that are stored tests them itself.
				if jobs.places ~= 2 then mentions(table.concat(jobs.not_pushed_down), "filter.where") end
				local both = {predicate = function() error("not called") end, operations = {"CREATE"}}
				for _, filter in ipairs{both, both.predicate} do
					mentions(table.concat(assert(store:explain(filter)).not_pushed_down, "; "), "function")
				end
				for _, iterator in ipairs{after(5), at(9), vigia.latest()} do
					local none = assert(store:explain({}, iterator))
					assert.same({0, 0, 0, 0}, {none.events, none.events_looked_at, none.from, none.to})
				end
				mentions(raises(store.explain, store, {object_type = {}}), "object_type", "explain")
				mentions(raises(store.explain, store, {where = {a = 1}}), "filter.where", "character 1")
				mentions(raises(store.explain, store, "Job"), "filter is a string")
				mentions(raises(store.explain, store, {}, 5), "iterator expected, got number")
				store:close()
				helper.fails("store_closed", store:explain())
			end)

			it("gives watchers what fits, and moves them over the rest [F4d]", function()
				store = open()
				for n = 1, 6 do assert(store:store_event("CREATE", "Job", {state = n % 3 == 0 and "lost" or "done", n = n})) end
				local registry = helper.registry(store)
				local handler, seen = helper.recorder()
				local filter = {where = {["object.state"] = {"lost"}}}
				local watcher = assert(registry:watch("w", handler, {filter = filter}))
				filter.where["object.state"][1] = "done" -- a copy was taken
				helper.drain(registry, watcher)
				assert.same({3, 6}, seen)
				local picky, few = helper.recorder()
				local other = assert(registry:watch("x", picky, {filter = {where = {["object.state"] = "done"},
					predicate = function(event) return event.object.n > 2 end}}))
				helper.drain(registry, other)
				assert.same({4, 5}, few)
				assert.equal(after(6), other:stats().next_event_iterator)
				assert(registry:stop())
				assert.equal(6, assert(store:get_checkpoint("w")))
			end)
		end)
	end)
end
