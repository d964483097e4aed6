-- timers_spec.lua - events that are appended later: store:schedule, unschedule, scheduled.

local helper = require "spec.helper"
local testing = require "vigia.testing"
local vigia = require "vigia"

local eventually, fails, mentions, objects, raises = helper.eventually, helper.fails, helper.mentions, helper.objects, helper.raises

local SECOND <const> = 1000000000

local function seconds(n)
	return math.floor(n * SECOND)
end

describe("timers", function()
	after_each(helper.clean)

	describe("of a store that goes by a clock moved by hand", function()
		local clock, store

		before_each(function()
			clock = testing.clock()
			store = testing.store{clock = clock}
		end)

		it("become events at their time, in order, none before it [K1]", function()
			local begin = clock:time()
			assert.equal(1, store:schedule({after = 3}, "REMIND", "Job", {n = 1}))
			assert.equal(2, store:schedule(begin + seconds(1), "REMIND", "Job", {n = 2}))
			assert.equal(3, store:schedule({after = 3}, "REMIND", "Job", {n = 3}))
			clock:advance(0.999)
			assert.equal(0, store:get_latest_event_num())
			clock:advance(0.001)
			assert.same({{n = 2}}, objects(store))
			assert.equal(begin + seconds(1), store:get_event(1).timestamp)
			clock:advance(10)
			assert.same({{n = 2}, {n = 1}, {n = 3}}, objects(store))
			assert.same({seq_num = 3, operation = "REMIND", object_type = "Job", object = {n = 3}, timestamp = begin + seconds(11)},
				store:get_event(3))
			assert.same({}, store:scheduled())
			assert.equal(4, store:schedule({after = 1}, "REMIND", "Job", nil)) -- no id is given twice
		end)

		it("that are due already become events at once [K1]", function()
			store:schedule(0, "REMIND", "Job", "old")
			store:schedule({after = 0}, "REMIND", "Job", "now")
			assert.same({"old", "now"}, objects(store))
			assert(store:get_event(1).timestamp >= clock:time())
		end)

		it("follow a clock that is set [K1]", function()
			store:schedule({after = 3600}, "REMIND", "Job", 1)
			clock:set_time(clock:time() - seconds(1800))
			clock:advance(3600)
			assert.same({}, objects(store))
			clock:set_time(clock:time() + seconds(1800))
			assert.same({1}, objects(store))
			-- The time of events never goes back.
			clock:set_time(clock:time() - seconds(86400))
			store:schedule({after = 0}, "REMIND", "Job", 2)
			assert(store:get_event(2).timestamp >= store:get_event(1).timestamp)
		end)

		it("have the key of their event [K1 S21]", function()
			local id = store:schedule({after = 5}, "REMIND", "Job", "a", {key = "k"})
			assert.same({id, true}, {store:schedule({after = 1}, "REMIND", "Other", "b", {key = "k"})})
			clock:advance(2)
			assert.same({}, objects(store))
			clock:advance(4)
			assert.same({"a"}, objects(store))
			assert.same({0, true, 1}, {store:schedule({after = 1}, "REMIND", "Job", "c", {key = "k"})})
			assert.same({1, true}, {store:store_event("REMIND", "Job", "d", {key = "k"})})
			-- An event that was stored under the key meanwhile is the only one.
			store:schedule({after = 5}, "REMIND", "Job", "e", {key = "l"})
			assert.equal(2, store:store_event("REMIND", "Job", "f", {key = "l"}))
			clock:advance(9)
			assert.same({"a", "f"}, objects(store))
			assert.same({}, store:scheduled())
			-- A key is known while its event is kept.
			assert(store:trim(2))
			assert.equal(3, store:schedule({after = 5}, "REMIND", "Job", "g", {key = "k"}))
		end)

		it("can be listed in order, by time, names and key [K1]", function()
			local begin = clock:time()
			local function ids(query)
				local list = {}
				for i, timer in ipairs(assert(store:scheduled(query))) do list[i] = timer.id end
				return list
			end
			store:schedule({after = 3}, "REMIND", "Job", {n = 1}, {key = "a"})
			store:schedule({after = 1}, "CREATE", "Job", nil)
			store:schedule({after = 2}, "REMIND", "User", vigia.null)
			assert.same({id = 1, at = begin + seconds(3), operation = "REMIND", object_type = "Job", object = {n = 1}, key = "a"},
				store:scheduled()[3])
			assert.same({2, 3, 1}, ids())
			assert.same({2, 3, 1}, ids{})
			assert.same({3, 1}, ids{from = begin + seconds(2)})
			assert.same({2, 3}, ids{to = begin + seconds(2)})
			assert.same({2}, ids{to = begin + seconds(1)})
			assert.same({3, 1}, ids{operation = "REMIND"})
			assert.same({2, 1}, ids{object_type = "Job"})
			assert.same({1}, ids{object_type = "Job", operation = "REMIND"})
			assert.same({1}, ids{key = "a"})
			assert.same({}, ids{key = "b"})
			assert.same({2, 3}, ids{limit = 2})
			assert.equal(3, store:stats().timers)
			mentions(raises(store.scheduled, store, {form = 1, key = 1, limit = -1}), "unknown option 'form'", "from?", "key is a number",
				"limit is -1")
		end)

		it("can be taken back, once [K1]", function()
			local id = store:schedule({after = 1}, "REMIND", "Job", 1, {key = "k"})
			store:schedule({after = 1}, "REMIND", "Job", 2)
			assert.is_true(store:unschedule(id))
			assert.is_false(store:unschedule(id))
			clock:advance(2)
			assert.same({2}, objects(store))
			assert.is_false(store:unschedule(2)) -- its event is stored
			assert.equal(3, store:schedule({after = 1}, "REMIND", "Job", 3, {key = "k"}))
		end)

		it("refuse what an append refuses, and times that are none [K1]", function()
			fails("serialization_error", store:schedule({after = 1}, "REMIND", "Job", {f = print}))
			fails("invalid_argument", store:schedule({after = 1}, "", "Job", 1))
			for _, case in ipairs{
				{1.5, "#1", "a float"}, {"1", "#1", "string"}, {-1, "1970"}, {{}, "{after = seconds} expected"},
				{{after = -1}, "0 or more"}, {{after = "1"}, "0 or more"}, {{after = 0 / 0}, "0 or more"}, {{before = 1}, "unknown option 'before'"},
			} do
				mentions(raises(function() store:schedule(case[1], "REMIND", "Job", 1) end), table.unpack(case, 2))
			end
			mentions(raises(function() store:schedule({after = 1}, "REMIND", "Job", 1, {if_last = 1}) end), "unknown option 'if_last'")
			mentions(raises(function() store:schedule({after = 1}, "REMIND", "Job", 1, {key = ""}) end), "key")
			mentions(raises(function() store:schedule({after = 1}, "REMIND", "Job") end), "object: value expected")
			mentions(raises(function() store:unschedule("1") end), "id")
			assert.same({}, store:scheduled())
			-- One that never comes is allowed.
			assert.equal(1, store:schedule({after = math.huge}, "REMIND", "Job", 1))
			assert.equal(math.maxinteger, store:scheduled()[1].at)
		end)

		it("wake watchers, whose handlers may make further ones [K1]", function()
			local registry, handled = helper.registry(store, {clock = clock}), {}
			assert(registry:watch("again", function(event, ctx)
				handled[#handled + 1] = event.object
				if event.object < 3 then assert(ctx.store:schedule({after = 60}, "REMIND", "Job", event.object + 1)) end
			end))
			store:schedule({after = 60}, "REMIND", "Job", 1)
			helper.settle(registry)
			for n = 1, 3 do
				assert.equal(n - 1, #handled)
				clock:advance(60)
				helper.drive(registry, function() return #handled == n end)
			end
			assert.same({}, store:scheduled())
		end)

		it("end with their store [K1 S11]", function()
			store:schedule({after = 1}, "REMIND", "Job", 1)
			store:close()
			fails("store_closed", store:schedule({after = 1}, "REMIND", "Job", 1))
			fails("store_closed", store:unschedule(1))
			fails("store_closed", store:scheduled())
			clock:advance(2)
		end)
	end)

	it("need a store in memory for a clock moved by hand, and one clock [K1]", function()
		local core = require "vigia.core"
		fails("not_supported", core.use_clock(helper.open(), testing.clock()))
		fails("invalid_state", core.use_clock(testing.store{clock = testing.clock()}, testing.clock()))
		mentions(raises(testing.store, {clock = 1}), "vigia.Clock")
	end)

	for name, open in pairs{["in memory"] = helper.memory, ["in a file"] = function() return helper.open(helper.path "store") end} do
		it("come by the system's clock, each to a long poll that waits for it: " .. name .. " [K1]", function()
			local store = open()
			local begin = assert(store:get_events{timeout = 0}).next_event_iterator
			store:schedule({after = 3600}, "REMIND", "Job", "late")
			store:schedule({after = 0.03}, "REMIND", "Job", "soon")
			local at = store:scheduled{limit = 1}[1].at
			local event = assert(store:get_events{event_iterator = begin, timeout = 20}).events[1]
			assert.equal("soon", event.object)
			assert(event.timestamp >= at)
			eventually(function() return #store:scheduled() == 1 end)
		end)
	end

	it("are made in coroutines that share a commit, while others run [K1 H2]", function()
		local store = helper.open(helper.path "store")
		local registry, ids, turns = helper.registry(store), {}, 0
		for n = 1, 20 do
			assert(registry:spawn(function()
				ids[n] = assert(store:schedule({after = 3600}, "REMIND", "Job", n, {key = "k" .. n}))
				assert.same({ids[n], true}, {store:schedule({after = 3600}, "REMIND", "Job", n, {key = "k" .. n})})
			end))
		end
		assert(registry:spawn(function()
			while #ids < 20 do
				turns = turns + 1
				vigia.sleep(0)
			end
		end))
		local before = store:stats().commits
		assert(registry:run())
		assert(store:stats().commits - before < 30) -- and not 40
		assert(turns > 0)
		local seen = {}
		for _, timer in ipairs(store:scheduled()) do seen[timer.object] = timer.id end
		assert.same(ids, seen)
		-- One that is dropped meanwhile is made all the same.
		local co = registry:spawn(function() store:schedule({after = 3600}, "REMIND", "Job", 21) end)
		assert(co)
		registry:step(0)
		registry:close()
		eventually(function() return store:stats().timers == 21 end)
		fails("store_readonly", helper.open(helper.path "store", {readonly = true}):schedule({after = 1}, "REMIND", "Job", 1))
	end)

	it("keep their form in a store of another serializer, and their class [K1 Z2]", function()
		local store = helper.open(helper.path "json", {serializer = "json"})
		store:schedule({after = 0}, "REMIND", "Job", {n = 1, list = vigia.array {}})
		eventually(function() return store:get_latest_event_num() == 1 end)
		assert.same({n = 1, list = vigia.array {}}, store:get_event(1).object)
		local own = helper.open(helper.path "own", {serializer = {name = "rot13", marshal = helper.rot13, unmarshal = helper.rot13}})
		own:schedule({after = 3600}, "REMIND", "Job", "hello")
		assert.equal("hello", own:scheduled()[1].object)
		own:schedule({after = 0}, "REMIND", "Job", "now")
		eventually(function() return own:get_latest_event_num() == 1 end)
		assert.equal("now", own:get_event(1).object)
	end)

	it("outlive their process, a backup, and collection [K1]", function()
		local path, copy = helper.path "store", helper.path "copy"
		helper.run_lua("", [[
			local store = assert(vigia.open(arg[1]))
			assert(store:schedule({after = 3600}, "REMIND", "Job", "kept", {key = "k"}))
			assert(store:store_event("CREATE", "Job", 1))
			assert(store:trim(1))
			os.execute("kill -9 $PPID")]], path)
		local store = helper.open(path)
		assert.equal("kept", store:scheduled()[1].object)
		assert(store:backup(copy))
		assert.equal("k", helper.open(copy, {readonly = true}):scheduled()[1].key)
		fails("store_readonly", helper.open(copy, {readonly = true}):schedule({after = 1}, "REMIND", "Job", 1))
		local program = helper.program()
		if program then
			local out = helper.shell(("%s verify --store %s"):format(helper.quoted(program), helper.quoted(copy)))
			assert.matches("1 timer: no damage", out)
		end
	end)

	it("come once each, whichever of several processes dies [K1]", function()
		local path, children, told = helper.path "store", {}, {}
		local store = helper.open(path, {durability = "none"})
		local SOURCE <const> = [[
			local store = assert(vigia.open(arg[1]))
			for n = 1, 200 do
				local name = arg[2] .. "-" .. n
				assert(store:schedule({after = math.random() * 0.1}, "REMIND", "Job", name))
				say(name)
			end
			say("done")
			vigia.sleep(60)]]
		for i = 1, 3 do children[i] = helper.child(SOURCE, path, i) end
		for i, child in ipairs(children) do
			local lines = 0
			for line in function() return child:line() end do
				if line == "done" then break end
				told[#told + 1], lines = line, lines + 1
				if i < 3 and lines == 50 * i then break end
			end
			child:kill()
		end
		eventually(function() return store:stats().timers == 0 end)
		local count = {}
		for _, name in ipairs(objects(store)) do count[name] = (count[name] or 0) + 1 end
		for name, times in pairs(count) do assert(times == 1, name .. " came " .. times .. " times") end
		for _, name in ipairs(told) do assert(count[name], name .. " did not come") end
	end)

	it("are not for stores that change objects on their way [K1]", function()
		local store = helper.wrapped()
		fails("not_supported", store:schedule({after = 1}, "REMIND", "Job", 1))
		fails("not_supported", store:unschedule(1))
		fails("not_supported", store:scheduled())
	end)

	it("can be made by isolated scripts [K1 H6]", function()
		local program = helper.program()
		if not program then return helper.pending("there is no program beside the module") end
		local path = helper.write_file("later.lua", [[
			return function(event, ctx)
				if event.operation == "REMIND" then return end
				local id = assert(ctx.store:schedule({after = 3600}, "REMIND", "Job", event.object, {key = "k"}))
				local again, existed = ctx.store:schedule({after = 3600}, "REMIND", "Job", event.object, {key = "k"})
				local timer = ctx.store:scheduled{key = "k"}[1]
				assert(id == again and existed and timer.id == id and timer.object.n == event.object.n)
				assert(ctx.store:unschedule(id))
				assert(ctx.store:schedule({after = 0}, "REMIND", "Job", event.object))
			end]])
		local store = helper.open()
		local registry = helper.registry(store)
		assert(registry:watch("later", path, {isolation = "process", worker_program = program, initial_backoff = 0.001}))
		assert(store:store_event("CREATE", "Job", {n = 7}))
		helper.drive(registry, function() return store:get_latest_event_num() == 2 end)
		assert.same({n = 7}, store:get_event(2).object)
		registry:close()
	end)
end)
