-- testing_script_spec.lua - testing.script runs handler scripts as registry:watch does, in the test's state and by the test's clock.

local assert = require "luassert"
local helper = require "spec.helper"
local testing = require "vigia.testing"

local fails, mentions, raises = helper.fails, helper.mentions, helper.raises

local script -- of the running test

local function load(text, options)
	script = assert(testing.script(helper.write_file("handler.lua", text), options))
	return script
end

local function messages(level)
	local list = {}
	for _, record in ipairs(script.log) do
		if record.level == level then list[#list + 1] = record.message end
	end
	return list
end

describe("testing.script", function()
	after_each(function()
		if script then script:close() end
		script = nil
		helper.clean()
	end)

	it("calls init, handles what passes the filter, and calls stop", function()
		load([[
			local given = ...
			local function tell(what) given.log("info", what) end
			return {
				id = "double", filter = {object_types = {"Number"}}, where = function(event) return event.object ~= 3 end,
				init = function(ctx) tell("init " .. ctx.watcher:id()) end,
				handle = function(event, ctx) return ctx.store:store_event("MADE", "Product", event.object * given.set.factor) end,
				stop = function(ctx) tell("stop " .. tostring(ctx.store == given.store)) end,
			}]], {set = {factor = 2}})
		assert.same({"double", "idle"}, {script.id, script:stats().state})
		for n = 2, 4 do script:append("CREATE", "Number", n) end
		assert.same({}, script.log)
		assert(script:run())
		local products = {}
		for i, event in ipairs(script:events{object_types = {"Product"}}) do products[i] = event.object end
		assert.same({4, 8}, products)
		assert.equal(5, #script:events())
		assert.same({"running", 2, 0}, {script:stats().state, script:stats().processed, script:stats().lag})
		assert(script:stop())
		assert.same({"init double", "stop true"}, messages "info")
		assert.equal(5, script.store:get_checkpoint "double") -- the last event it has looked at
	end)

	it("tries again by the clock, as often as the script says", function()
		load([[
			return {retry_strategy = "skip", max_retries = 3, handle = function(event) error("no " .. event.object, 0) end}]])
		script:append("CREATE", "Job", "way")
		assert(script:run())
		assert.equal(1, script:stats().failed)
		assert(script:advance(0.19))
		assert.equal(1, script:stats().failed)
		assert(script:advance(0.01))
		assert.equal(2, script:stats().failed)
		assert(script:drain())
		assert.same({3, 1, 0}, {script:stats().failed, script:stats().skipped, script:stats().lag})
		assert.near(0.6, script.clock:now(), 0.06)
		mentions(messages("warn")[1], "watcher 'handler'", "no way")
		mentions(messages("error")[1], "gave up event 1 after 3 attempts")
	end)

	it("puts events aside, and handles them again", function()
		load([[
			local given = ...
			return {retry_strategy = "dead_letter", max_retries = 2, handle = function(event, ctx)
				if ctx.dead_letter then require("vigia").sleep(1) end -- by the clock
				if not ctx.store:get("sold", event.object) then error("no " .. event.object, 0) end
				ctx.store:store_event("SHIPPED", "Parcel", {event.object, ctx.dead_letter and ctx.dead_letter.error})
			end, filter = {object_types = {"Order"}}}]])
		assert(script.store:put("sold", "book", true))
		script:append("CREATE", "Order", "boat")
		script:append("CREATE", "Order", "book")
		assert(script:drain())
		local letter = script.store:dead_letters()[1]
		assert.same({1, 2, "no boat"}, {letter.seq_num, letter.attempts, letter.error})
		assert(script.store:put("sold", "boat", true))
		assert.equal(1, script.store:retry_dead_letter(script.id))
		assert(script:drain())
		assert.same({{"book"}, {"boat", "no boat"}}, {script:events{object_types = {"Parcel"}}[1].object,
			script:events{object_types = {"Parcel"}}[2].object})
		assert.same({}, script.store:dead_letters())
	end)

	it("gives a transactional script its transactions", function()
		load([[
			return {transactional = true, retry_strategy = "dead_letter", max_retries = 1, handle = function(event, ctx)
				ctx.tx:put("sums", "all", (ctx.tx:get("sums", "all") or 0) + event.object)
				if event.object < 0 then error("below nothing", 0) end
			end}]])
		for _, n in ipairs{1, -5, 2} do script:append("CREATE", "Number", n) end
		assert(script:drain())
		assert.equal(3, script.store:get("sums", "all"))
		assert.equal(2, script.store:dead_letters()[1].seq_num)
	end)

	it("schedules by the clock", function()
		script = assert(testing.script("scripts/handlers/reminders.lua"))
		local written = {}
		local original = io.write
		io.write = function(...) written[#written + 1] = table.concat{...} return true end -- luacheck: ignore 122
		local _ <close> = setmetatable({}, {__close = function() io.write = original end}) -- luacheck: ignore 122
		local n = script:append("REMIND", "Note", {after = 3600, text = "tea"})
		script:append("REMIND", "Note", {after = 60, text = "never"})
		script:append("FORGET", "Note", {seq_num = n + 1})
		assert(script:run())
		assert.equal(1, #script.store:scheduled())
		assert(script:advance(3599))
		assert.same({}, written)
		assert(script:advance(1))
		assert.same({"Note: tea\n"}, written)
		assert.same({}, script.store:scheduled())
	end)

	it("has two scripts work on one store", function()
		local first <close> = load([[
			return {filter = {object_types = {"A"}}, handle = function(event, ctx) return ctx.store:store_event("MADE", "B", event.object) end}]])
		local second <close> = load([[
			return {filter = {object_types = {"B"}}, handle = function(event, ctx) return ctx.store:put("seen", event.object, true) end}]],
			{id = "second", store = first.store, clock = first.clock})
		first:append("CREATE", "A", "x")
		assert(first:run())
		assert(second:run())
		assert.is_true(first.store:get("seen", "x"))
		assert(second:close() == nil and first.store:get("seen", "x")) -- the store is not the second's
	end)

	it("gives scripts globals of their own, and the modules beside them", function()
		helper.write_file("beside_of_script.lua", "return {word = 'beside'}")
		local path = package.path
		load[[
			counter = (counter or 0) + 1
			assert(_G.counter == counter)
			return {handle = function(event) log = {counter, require("beside_of_script").word} error(table.concat(log), 0) end}]]
		script:append("CREATE", "A", 1)
		assert(script:run())
		mentions(messages("warn")[1], "1beside")
		assert.is_nil(rawget(_G, "counter"))
		assert.equal(path, package.path)
		package.loaded.beside_of_script = nil
	end)

	it("gives scripts a copy of `set`", function()
		local set = {list = {1, {deep = "\xff"}}, [7] = 1.0}
		load("local given = ... given.store:put('b', 'set', given.set) given.set.list[2].deep = 1 return print", {set = set})
		assert.same({list = {1, {deep = "\xff"}}, [7] = 1.0}, script.store:get("b", "set"))
		assert.equal("\xff", set.list[2].deep)
	end)

	it("says what is wrong with a script", function()
		local cases = {
			["cannot open"] = false, ["bad.lua:1: unexpected symbol near"] = "return return", ["the script returns nothing"] = "local x = 1",
			["the script failed"] = "error('no')", ["`handle` is a string"] = "return {handle = 'x'}",
			["unknown field `filtre` (did you mean 'filter'?)"] = "return {filtre = {}, handle = print}",
			["`memory_limit` cannot be set in a script"] = "return {memory_limit = 1, handle = print}",
			["batch_size"] = "return {batch_size = -1, handle = print}",
			["give testing.script a store that has it"] = "return {serializer = 'json', handle = print}",
		}
		for text, source in pairs(cases) do
			local path = source and helper.write_file("bad.lua", source) or helper.path("none.lua")
			mentions(fails("script_error", testing.script(path)), text)
		end
		mentions(fails("script_error", testing.script("no.such.module")), "there is no script 'no.such.module'")
		local bad = helper.write_file("bad.lua", "return print")
		raises("source: string expected", testing.script, print)
		raises("unknown option 'sett'", testing.script, bad, {sett = {}})
		raises("unknown option 'auto_start'", testing.script, bad, {auto_start = true})
		raises("set.f: function cannot be stored", testing.script, bad, {set = {f = print}})
		raises("set is a number", testing.script, bad, {set = 3})
		raises("options: table expected", testing.script, bad, 1)
		mentions(fails("script_error", testing.script(bad, {batch_size = "x"})), "batch_size")
	end)

	it("returns what init and stop fail with", function()
		load[[return {init = function(ctx) return ctx.store:get("b", "ready"), "not ready" end, handle = print,
			stop = function() error("no stop", 0) end}]]
		script:append("CREATE", "A", 1)
		mentions(fails("script_error", script:start()), "`init` failed: not ready")
		assert.equal("idle", script:stats().state)
		assert(script.store:put("b", "ready", true))
		assert(script:start())
		mentions(fails("script_error", script:stop()), "`stop` failed: no stop")
		assert.is_true(script:stop())
	end)

	it("tells of a watcher that stops itself, and of one that does not get on", function()
		load[[
			local given = ...
			return {handle = function(event, ctx) assert(ctx.watcher:stop()) end, stop = function() given.log("info", "stopped") end}]]
		script:append("CREATE", "A", 1)
		script:append("CREATE", "A", 2)
		assert(script:run())
		assert.equal("stopped", script:stats().state)
		assert.same({"stopped"}, messages "info")
		mentions(fails("invalid_state", script:drain()), "watcher 'handler' is stopped, with a lag of 1")
		assert(script:start())
		assert(script:drain())
		script:close()
		load[[return function() error("never", 0) end]]
		script:append("CREATE", "A", 1)
		local err = fails("timeout", script:drain(3))
		mentions(err, "has a lag of 1 after 3 s of the clock", "never")
		assert.near(3, script.clock:now(), 1e-6)
		raises("seconds: a number", script.drain, script, -1)
	end)

	it("reads all events of a large store", function()
		load "return print"
		local events = {}
		for n = 1, 2500 do events[n] = {"CREATE", "A", n} end
		assert(script.store:store_events(events))
		assert.equal(2500, #script:events())
	end)

	it("uses the store's serializer", function()
		local store = testing.store{serializer = "json"}
		load([[return {serializer = "json", handle = function(event, ctx) return ctx.store:put("seen", event.object.n, true) end}]],
			{store = store})
		script:append("CREATE", "A", {n = 4})
		assert(script:run())
		assert.is_true(store:get("seen", 4))
		assert(store:close())
		assert.equal("store_closed", select(2, store:get("seen", 4)).code)
	end)
end)
