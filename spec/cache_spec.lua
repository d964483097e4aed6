-- cache_spec.lua - decoded events that the watchers of one Lua state share (cache_size).

local helper = require "spec.helper"
local vigia = require "vigia"

describe("the cache of decoded events", function()
	after_each(helper.clean)

	-- A serializer that counts how often each event was decoded.
	local function counting()
		local decoded = {}
		return {
			name = "counting",
			marshal = function(object) return tostring(object.n) end,
			unmarshal = function(bytes, head)
				decoded[head.seq_num] = (decoded[head.seq_num] or 0) + 1
				return {n = math.tointeger(bytes)}
			end,
		}, decoded
	end

	-- Watchers that write down the events themselves.
	local function watch(registry, count, options)
		local seen, watchers = {}, {}
		for i = 1, count do
			local events = {}
			seen[i] = events
			watchers[i] = assert(registry:watch("w" .. i, function(event) events[#events + 1] = event end, options))
		end
		helper.drain(registry, table.unpack(watchers))
		return seen, watchers
	end

	it("decodes each event once for all watchers, which get the same table [S16a]", function()
		local serializer, decoded = counting()
		local store = helper.memory{serializer = serializer, cache_size = 1000}
		helper.fill(store, 500)
		local seen = watch(helper.registry(store), 10)
		for n = 1, 500 do
			assert.equal(1, decoded[n])
			for i = 2, 10 do assert(rawequal(seen[1][n], seen[i][n])) end
			assert.equal(n, seen[10][n].object.n)
		end
	end)

	it("decodes each event once also when there are many more than it holds [S16h]", function()
		local serializer, decoded = counting()
		local store = helper.open(nil, {serializer = serializer, cache_size = 1024, durability = "none"})
		local registry = helper.registry(store)
		local seen, watchers = watch(registry, 10, {ephemeral = true})
		-- In portions: a watcher whose turns are cut short, because the system runs others meanwhile, falls behind by more than the cache holds.
		for _ = 1, 40 do
			helper.fill(store, 500)
			helper.drain(registry, table.unpack(watchers))
		end
		for n = 1, 20000 do
			assert(decoded[n] == 1, n)
			assert(seen[1][n].seq_num == n and rawequal(seen[1][n], seen[10][n]))
		end
	end)

	it("is off unless it is asked for: each watcher has tables of its own [S16b]", function()
		local serializer, decoded = counting()
		local store = helper.memory{serializer = serializer}
		helper.fill(store, 3)
		local seen = watch(helper.registry(store), 2)
		assert.same({2, 2, 2}, decoded)
		assert(not rawequal(seen[1][1], seen[2][1]))
	end)

	it("lets the least recently used go first [S16c]", function()
		local serializer, decoded = counting()
		local store = helper.memory{serializer = serializer, cache_size = 3}
		helper.fill(store, 3)
		local registry = helper.registry(store)
		local _, watchers = watch(registry, 1, {ephemeral = true})
		local watcher = watchers[1]
		-- Events 1, 2 and 3 are kept, 1 is the oldest. Looking at 1 makes 2 the oldest.
		local function handle(first, last)
			assert(watcher:seek_to_offset(first - 1))
			helper.drive(registry, function() return watcher:stats().last_processed_seq_num == last and watcher:stats().lag == 0 end)
		end
		helper.fill(store, 1) -- 4: 1 goes
		helper.drain(registry, watcher)
		assert.same({1, 1, 1, 1}, decoded)
		handle(2, 4)
		assert.same({1, 1, 1, 1}, decoded)
		handle(1, 4) -- 1 is decoded anew, and 2 goes; 2 is, and 3 goes; 3, 4
		assert.same({2, 2, 2, 2}, decoded)
		handle(3, 4)
		assert.same({2, 2, 2, 2}, decoded)
	end)

	it("decodes an event afresh after a handler failed on it [S16d]", function()
		local store = helper.memory{cache_size = 10}
		helper.fill(store, 1)
		local registry, objects = helper.registry(store), {}
		local watcher = assert(registry:watch("w", function(event)
			objects[#objects + 1] = event.object.n
			event.object.n = "spoilt"
			if #objects < 3 then error("again") end
		end, {initial_backoff = 0.001}))
		helper.drain(registry, watcher)
		assert.same({1, 1, 1}, objects)
	end)

	it("takes an event once that is decoded while it is being decoded, as the last that was used [S16i]", function()
		local serializer, decoded = counting()
		local unmarshal, inner, other = serializer.unmarshal, nil, nil
		serializer.unmarshal = function(bytes, head)
			if not inner then
				inner = {}
				other:watch("inner", function(event) inner[#inner + 1] = event end)
				repeat assert(other:step(0.01) ~= nil) until #inner == 2
			end
			return unmarshal(bytes, head)
		end
		local store = helper.memory{serializer = serializer, cache_size = 3}
		other = helper.registry(store)
		assert(store:store_event("CREATE", "Job", {n = 1}))
		assert(store:store_event("CREATE", "Other", {n = 2}))
		local registry = helper.registry(store)
		local seen, watchers = watch(registry, 1, {ephemeral = true, filter = {object_types = {"Job"}}})
		assert.same({2, 1}, decoded)
		assert(not rawequal(inner[1], seen[1][1]))
		-- Appends up to this event, handles them, and then all of its own once more.
		local function append_and_look_again(last)
			for n = store:get_latest_event_num() + 1, last do assert(store:store_event("CREATE", "Job", {n = n})) end
			helper.drain(registry, watchers[1])
			assert(watchers[1]:seek_to_offset(0))
			helper.drain(registry, watchers[1])
		end
		append_and_look_again(4) -- 2 goes
		assert.same({2, 1, 1, 1}, decoded)
		assert(rawequal(seen[1][1], seen[1][4]))
		append_and_look_again(17) -- which is where 1 was, in the list of those with its hash
		assert.same({3, 1, 2, 2}, table.move(decoded, 1, 4, 1, {}))
	end)

	it("keeps stores apart, and lets the events go with the store [S16e]", function()
		local one, other = helper.memory{cache_size = 10}, helper.memory{cache_size = 10}
		assert(one:store_event("CREATE", "Job", {n = "one"}))
		assert(other:store_event("CREATE", "Job", {n = "other"}))
		assert.equal("one", watch(helper.registry(one), 2)[2][1].object.n)
		assert.equal("other", watch(helper.registry(other), 2)[2][1].object.n)
	end)

	it("holds against a model, whatever fails and in whatever order events are looked at [S16f]", function()
		math.randomseed(16)
		for _, size in ipairs{1, 2, 5, 17} do
			local serializer, decoded = counting()
			local store = helper.memory{serializer = serializer, cache_size = size}
			helper.fill(store, 40)
			local registry = helper.registry(store)
			local order, expected, calls = {}, {}, 0 -- order: most recently used first
			local watcher = assert(registry:watch("w", function(event, ctx)
				local n, found = event.seq_num, nil
				calls = calls + 1
				assert.equal(n, event.object.n)
				for i, kept in ipairs(order) do if kept == n then found = i end end
				if found then
					table.remove(order, found)
				else
					expected[n] = (expected[n] or 0) + 1
					if #order == size then table.remove(order) end
				end
				if math.random(20) == 1 then error("this one fails") end
				table.insert(order, 1, n)
				-- near the event in hand, mostly, so that some are there and in no order
				if math.random(2) == 1 then
					local to = math.random(4) == 1 and math.random(0, 39) or n - math.random(1, 6)
					assert(ctx.watcher:seek_to_offset(math.max(0, math.min(39, to))))
				elseif n == 40 then
					assert(ctx.watcher:seek_to_offset(0))
				end
			end, {ephemeral = true, initial_backoff = 0.001, max_backoff = 0.001}))
			helper.drive(registry, function() return calls >= 2000 end)
			assert.same(expected, decoded)
			assert(watcher:stats().state == "running")
		end
	end)

	it("is an option of vigia.open like any other [S16g]", function()
		helper.mentions(helper.raises(vigia.open, ":memory:", {cache_size = -1}), "cache_size")
	end)
end)
