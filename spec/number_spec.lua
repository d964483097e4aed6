-- number_spec.lua - numbers as people write them: 3.0 where an integer is, math.huge as no timeout, sizes that are too large, deep objects.

local cli = require "spec.support.cli"
local helper = require "spec.helper"
local testing = require "vigia.testing"
local vigia = require "vigia"
local wrapper = require "vigia.wrapper"

local array <const> = vigia.array

-- The message of what f raises.
local function raises(f, ...)
	local ok, message = pcall(f, ...)
	assert.is_false(ok, "it raises nothing")
	return tostring(message)
end

describe("numbers over a store", function()
	after_each(cli.clean)

	for _, backend in ipairs(helper.backends) do
		it("may be floats where integers are, if they are whole: " .. backend.name, function()
			local store = backend.open()
			helper.fill(store, 5)
			assert.same({2, 3}, helper.read(store, {event_iterator = vigia.at_sequence_number(2.0), limit = 2.0}))
			assert.same({5}, helper.read(store, {event_iterator = vigia.after_sequence_number(4.0)}))
			assert.equal(3, assert(store:get_event(3.0)).seq_num)
			assert(store:store_checkpoint("a", 4.0))
			assert.equal("integer", math.type(store:get_checkpoint("a")))
			assert.equal(6, assert(store:store_event("CREATE", "Job", 1, {if_last = 5.0})))
			local registry = helper.registry(store)
			local watcher = assert(registry:watch("w", function() end,
				{batch_size = 3.0, buffer_size = 7.0, max_retries = 2.0, initial_event_iterator = vigia.at_sequence_number(2.0)}))
			helper.settle(registry, watcher)
			assert.equal(5, watcher:stats().processed)
			assert(watcher:checkpoint(6.0))
			assert(watcher:seek_to_offset(5.0))
			helper.settle(registry, watcher)
			assert.equal(6, watcher:stats().processed)

			for name, f in pairs{
				n = function() store:get_event(3.5) end,
				limit = function() store:get_events{limit = 2.5} end,
				if_last = function() store:store_event("CREATE", "Job", 1, {if_last = 1.5}) end,
				batch_size = function() registry:watch("x", print, {batch_size = 1.5}) end,
			} do assert.matches(name .. ".*%d%.5", raises(f)) end
			assert.matches("n: integer expected, got the float 3%.5", raises(store.store_checkpoint, store, "a", 3.5))
			assert.matches("integer expected, got the float 3%.5", raises(watcher.checkpoint, watcher, 3.5))
			assert.matches("integer expected, got the float 3%.5", raises(watcher.seek_to_offset, watcher, 3.5))
			assert.matches("integer expected", raises(watcher.checkpoint, watcher, "3"))
			assert.matches("integer expected", raises(watcher.checkpoint, watcher, 2.0 ^ 63))
			assert.matches("integer expected", raises(watcher.checkpoint, watcher, 0 / 0))
		end)

		it("say that all of an empty list is stored: " .. backend.name, function()
			local store = backend.open()
			assert.same({n = 1, true}, table.pack(store:store_events{}))
			assert.equal(0, store:get_latest_event_num())
		end)
	end

	it("may be floats in the other places, too", function()
		local store = helper.open()
		helper.fill(store, 3)
		assert.equal(1, store:trim(1.0))
		assert.equal(2, store:find_time(0.0))
		assert.matches('"seq_num":3', vigia.to_json{seq_num = 3.0, timestamp = 0.0, operation = "A", object_type = "B", object = 1})
		assert.matches("seq_num: integer", raises(vigia.to_json, {seq_num = 3.5, timestamp = 0, operation = "A", object_type = "B"}))
		local handler = testing.handler():fail_next(1.0):fail_on(2.0)
		assert.is_false((pcall(handler.handle, {seq_num = 7})))
		assert.is_false((pcall(handler.handle, {seq_num = 2})))
		assert(pcall(handler.handle, {seq_num = 7}))
	end)

	it("may be anything that a store written in Lua counts with", function()
		local inner = helper.memory()
		helper.fill(inner, 3)
		local store = setmetatable({get_events = function(_, request)
			local answer = inner:get_events(request)
			for _, event in ipairs(answer.events) do event.seq_num = event.seq_num + 0.0 end
			return answer
		end, get_latest_event_num = function() return 3.0 end, get_oldest_event_num = function() return 1.0 end, inner = inner},
			{__index = function(_, name) return function(_, ...) return inner[name](inner, ...) end end})
		local seen = {}
		local registry = helper.registry(store)
		local watcher = assert(registry:watch("w", function(event) seen[#seen + 1] = math.type(event.seq_num) end))
		helper.settle(registry, watcher)
		assert.same({"integer", "integer", "integer"}, seen)
	end)

	it("math.huge is no timeout, wherever one is given", function()
		local store = helper.open(nil, {long_polling_timeout = math.huge})
		local registry = helper.registry(store)
		local woken = {}
		registry:spawn(function()
			for _, request in ipairs{{timeout = math.huge}, {}} do
				request.event_iterator = vigia.at_sequence_number(1)
				woken[#woken + 1] = #assert(store:get_events(request)).events
			end
		end)
		registry:spawn(function() vigia.sleep(0.01) store:store_event("CREATE", "Job", 1) end)
		assert(registry:run())
		assert.same({1, 1}, woken)
		assert.equal(1, #assert(store:get_events{timeout = math.huge}).events)
		local watcher = assert(registry:watch("w", function() end))
		assert.is_true(registry:step(math.huge))
		assert.is_true(watcher:stop{timeout = math.huge})
		assert.is_true(registry:stop{timeout = math.huge})
		local script = assert(registry:watch("s", helper.write_file("s.lua", "return function() end"), {cpu_limit = math.huge}))
		helper.drive(registry, function() return script:stats().processed == 1 end)
		assert.is_true(registry:stop{timeout = math.huge})
		local over = helper.registry(wrapper.new(store))
		assert(over:watch("o", function() end))
		assert.is_true(over:stop{timeout = math.huge})
		for _, bad in ipairs{-1, 0 / 0, "1"} do
			assert.matches("timeout", raises(store.get_events, store, {timeout = bad}))
		end
	end)

	it("a list of names has no holes", function()
		local store = helper.open()
		local registry = helper.registry(store)
		for _, list in ipairs{{"A", nil, "C"}, {nil, "B"}, {"A", nil, nil, "D"}} do
			assert.matches("filter%.object_types", raises(store.get_events, store, {timeout = 0, filter = {object_types = list}}))
			assert.matches("filter%.operations", raises(registry.watch, registry, "a", print, {filter = {operations = list}}))
		end
		assert.matches("libraries has a hole", raises(registry.watch, registry, "a", "x.lua", {libraries = {"math", nil, "string"}}))
		assert.matches("object_types has a hole", raises(wrapper.new(store).get_events, wrapper.new(store),
			{timeout = 0, filter = {object_types = {"A", nil, "C"}}}))
	end)
end)

describe("numbers on the command line", function()
	after_each(cli.clean)

	it("that overflow are refused", function()
		local store = helper.open()
		helper.fill(store, 1)
		cli.write("say.lua", "return print")
		for _, size in ipairs{"17179869184G", "9223372036854775807K", "99999999999999999999", "8589934592G"} do
			assert.matches("memory", cli.fails(2,
				{"run", "--store", helper.path("store"), helper.path("say.lua"), "--memory", size, "--until-idle"}))
		end
		for _, size in ipairs{"17179869184GiB", "99999999999999999999"} do
			assert.matches("max_event_size", cli.fails(2, {"configure", "--store", helper.path("store"), "max_event_size=" .. size}))
		end
		assert.equal(1 << 20, store:stats().max_event_size)
	end)

	it("may be as large as an integer where they bound nothing", function()
		local store = helper.open()
		helper.fill(store, 3)
		local result = cli.ok{"events", "--store", helper.path("store"), "--limit", "9223372036854775807"}
		assert.equal(3, #cli.lines(result.out))
		assert.equal(3, #assert(store:get_events{limit = math.maxinteger, timeout = 0}).events)
		assert.matches("limit is %-1, allowed: a whole number from 0 on", raises(store.get_events, store, {limit = -1}))
		assert.matches("limit is", raises(store.get_events, store, {limit = 2.0 ^ 63}))
		local code = assert(store:get_events{limit = math.maxinteger, timeout = 0, where = function() return true end})
		assert.equal(3, #code.events)
		local _, err = store:store_event("CREATE", "Job", 1, {if_last = math.maxinteger})
		assert.equal("sequence_conflict", err.code)
	end)
end)

describe("objects that are 100 deep", function()
	after_each(cli.clean)

	local function nested(depth)
		local object = "bottom"
		for level = 1, depth do object = level % 2 == 0 and {inner = object} or array{object} end
		return object
	end

	it("go through JSON, a wrapper, the program and the prompt [E5q]", function()
		local object = nested(100)
		local path = helper.path("store")
		local store = helper.open(path)
		assert(store:store_event("CREATE", "Deep", object))
		local line = cli.ok{"events", "--store", path}.out
		cli.ok({"append", "--store", helper.path("copy")}, {stdin = line})
		local copy = helper.open(helper.path("copy"))
		assert.is_nil(helper.difference(object, copy:get_event(1).object))
		assert.equal(line:match('"object":.*'), cli.ok{"events", "--store", helper.path("copy")}.out:match('"object":.*'))

		local json = helper.open(helper.path("json"), {serializer = "json"})
		assert(json:store_event("CREATE", "Deep", object))
		assert.is_nil(helper.difference(object, json:get_event(1).object))

		local over = wrapper.new(helper.memory(), {encode = function(o) return {sealed = o} end, decode = function(o) return o.sealed end})
		assert(over:store_event("CREATE", "Deep", object))
		assert.is_nil(helper.difference(object, over:get_event(1).object))

		local said = cli.ok({"repl", "--store", path}, {stdin = "event(1).object\nevent(1)\n"}).out
		assert.matches("inner = ", said)
	end)
end)
