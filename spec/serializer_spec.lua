-- serializer_spec.lua - how objects are written: msgpack, JSON, functions of an application; object types that are classes.

local helper = require "spec.helper"
local vigia = require "vigia"

local fails, fill, mentions, raises, read = helper.fails, helper.fill, helper.mentions, helper.raises, helper.read

-- Turns every object into text it understands itself; `calls` tells what it was asked.
local function reverser(options)
	local calls = {}
	local serializer = {
		name = "reverser",
		marshal = function(object, operation, object_type)
			calls[#calls + 1] = {"marshal", operation, object_type}
			return ("%s=%s"):format(math.type(object) or type(object), tostring(object)):reverse()
		end,
		unmarshal = function(bytes, head)
			calls[#calls + 1] = {"unmarshal", head.seq_num, head.operation, head.object_type, head.timestamp ~= nil}
			local kind, text = bytes:reverse():match("^(%a+)=(.*)$")
			if kind == "integer" then return math.tointeger(text) end
			if kind == "nil" then return nil end
			return text
		end,
	}
	for name, value in pairs(options or {}) do serializer[name] = value end
	return serializer, calls
end

local function slurp(path)
	local file = assert(io.open(path, "rb"))
	local bytes = file:read("a")
	file:close()
	return bytes
end

describe("a serializer", function()
	after_each(helper.clean)

	describe("that comes with the library", function()
		it("json writes objects as JSON text, and gives back all that msgpack does [Z2g]", function()
			local store = helper.open(nil, {serializer = "json"})
			local object = {
				name = "mar\195\163o", bytes = "\xff\0", count = 1, ratio = 1.0, none = vigia.null, empty = vigia.array{}, map = {},
				list = vigia.array{1, 2.5, vigia.null, {deep = true}}, [7] = "seven", inf = math.huge,
			}
			assert.equal(1, assert(store:store_event("CREATE", "Job", object)))
			assert.same({2, 3}, {assert(store:store_events{{"UPDATE", "Job", "text"}, {operation = "DELETE", object_type = "Job"}})})
			assert.is_nil(helper.difference(object, assert(store:get_event(1)).object))
			assert.equal("text", assert(store:get_event(2)).object)
			assert.is_nil(assert(store:get_event(3)).object)
			assert.is_true(vigia.is_array(assert(store:get_event(1)).object.empty))
			store:close()
			assert(slurp(helper.path("store")):find('"name","mar\195\163o"', 1, true), "no JSON in the file")
			assert.equal("json", assert(helper.open():stats()).serializer)
		end)

		it("json is what a watcher, a filter and a predicate see, and its events have a size [Z2h]", function()
			local store = helper.memory{serializer = "json", max_event_size = 400}
			fill(store, 4)
			fails("event_too_large", store:store_event("CREATE", "Job", ("x"):rep(390)))
			local registry, seen = helper.registry(store), {}
			helper.drain(registry, assert(registry:watch("w", function(event) seen[#seen + 1] = event.object.n end, {
				filter = {object_types = {"Job"}}, where = function(event) return event.object.n > 2 end,
			})))
			assert.same({3, 4}, seen)
		end)

		it("belongs to the file: another one is refused, and so is a change [Z2i]", function()
			local store = helper.open(nil, {serializer = "json"})
			mentions(fails("option_conflict", vigia.open(helper.path("store"), {serializer = "msgpack"})), "serializer", "json", "msgpack")
			mentions(raises(store.configure, store, {serializer = "msgpack"}), "serializer", "fixed")
			local other = helper.open(helper.path("other"))
			assert.equal("msgpack", assert(other:stats()).serializer)
		end)

		it("json goes through `vigia append` and `vigia events` like msgpack [Z2j]", function()
			local program = helper.program() and helper.quoted(helper.program())
			if not program then return helper.pending("there is no program beside the module") end
			local path = helper.path("store")
			helper.open(path, {serializer = "json"}):close()
			local line = '{"operation":"CREATE","object_type":"Job","object":{"n":1.0,"list":[]}}'
			local output, ok = helper.shell(("printf '%%s\\n' '%s' | %s append --store %s && %s events --store %s"):format(line, program,
				helper.quoted(path), program, helper.quoted(path)))
			assert(ok, output)
			mentions(output, '"operation":"CREATE","object_type":"Job","object":{"n":1.0,"list":[]}}')
			assert(slurp(path):find('{"n":1.0,"list":[]}', 1, true))
		end)
	end)

	describe("of an application", function()
		it("makes an event that is too large: that is refused like any other [E7]", function()
			local store = helper.memory{serializer = reverser(), max_event_size = 400}
			mentions(fails("event_too_large", store:store_event("CREATE", "Job", ("x"):rep(500))), "400 bytes")
			assert.equal(1, assert(store:store_event("CREATE", "Job", ("x"):rep(300))))
		end)

		it("makes a string of each object and an object of each string; the envelope stays ours [Z2k]", function()
			local serializer, calls = reverser()
			local store = helper.open(nil, {serializer = serializer})
			assert.equal(1, assert(store:store_event("CREATE", "Job", 17)))
			assert.same({2, 3}, {assert(store:store_events{{"rename", "Node", "abc"}, {operation = "DELETE", object_type = "Job"}})})
			assert.same({{"marshal", "CREATE", "Job"}, {"marshal", "rename", "Node"}, {"marshal", "DELETE", "Job"}}, calls)
			local event = assert(store:get_event(1))
			assert.equal(17, event.object)
			assert.equal("CREATE", event.operation)
			assert.same({"unmarshal", 1, "CREATE", "Job", true}, calls[4])
			assert.same({2}, (read(store, {filter = {operations = {"rename"}}})))
			assert.is_nil(assert(store:get_event(3)).object)
			store:close()
			assert(slurp(helper.path("store")):find("71=regetni", 1, true))
			store = helper.open(nil, {serializer = reverser()})
			assert.equal("abc", assert(store:get_event(2)).object)
		end)

		it("serves watchers [Z2l]", function()
			local store = helper.memory{serializer = reverser()}
			for n = 1, 3 do assert(store:store_event("CREATE", "Job", n * 10)) end
			local registry, seen = helper.registry(store), {}
			helper.drain(registry, assert(registry:watch("w", function(event, ctx)
				seen[#seen + 1] = event.object
				if event.object == 30 then assert(ctx.store:store_event("CREATE", "Job", 40)) end
			end)))
			assert.same({10, 20, 30, 40}, seen)
		end)

		local MODULE <const> = [[
			return {name = "regetni", marshal = function(object, operation, object_type)
				assert(operation and object_type)
				return ("%q"):format(object):reverse()
			end, unmarshal = function(bytes, head)
				assert(head.seq_num > 0)
				return load("return " .. bytes:reverse())()
			end}]]

		local HANDLE <const> = [[
			handle = function(event, ctx)
				if event.object_type ~= "Job" then return end
				assert(ctx.store:get_event(event.seq_num).object == event.object)
				local first = assert(ctx.store:store_event("CREATE", "Echo", event.object))
				assert(first > 0 and ctx.store:store_events{{"CREATE", "Echo", event.object .. "!"}})
			end]]

		-- What scripts over a store with this serializer stored for "a" and 1; `rest` of the script's table, options.
		local function echoed(rest, options)
			helper.write_file("regetni.lua", MODULE)
			local before <const> = package.path
			package.path = helper.path("?.lua") .. ";" .. before
			finally(function() package.path = before end)
			local store = helper.open(nil, {serializer = load(MODULE)()})
			assert(store:store_event("CREATE", "Job", "a"))
			assert(store:store_event("CREATE", "Job", "1"))
			local registry = helper.registry(store)
			local watcher, err = registry:watch("w", helper.write_file("script.lua", "return {" .. rest .. HANDLE .. "}"), options)
			if not watcher then return nil, err end
			helper.eventually(function() return watcher:stats().lag == 0 or watcher:stats().state == "stopped" end)
			assert(watcher:stop())
			return helper.objects(store, "Echo"), watcher:stats()
		end

		it("serves scripts that name it in their table, or its module [Z2t]", function()
			local all <const> = {"a", "a!", "1", "1!"}
			assert.same(all, (echoed("serializer = dofile(" .. ("%q"):format(helper.path("regetni.lua")) .. "), ")))
			helper.clean()
			assert.same(all, (echoed('serializer = "regetni", ')))
			helper.clean()
			assert.same(all, (echoed('serializer = "regetni", ', {cpu_limit = 1, memory_limit = 4 << 20})))
			local program = helper.program()
			if not program then return end
			helper.clean()
			assert.same(all, (echoed('serializer = "regetni", ', {isolation = "process", worker_program = program})))
		end)

		it("tells a script that does not name it what to do, and one that names it wrongly what is wrong [Z2u]", function()
			local objects, stats = echoed("")
			assert.same({}, objects)
			assert.same({"stopped", 1, "deserialization_error"}, {stats.state, stats.blocked_on, stats.last_error.code})
			mentions(stats.last_error, "'regetni'", "name it as `serializer` in the table that the script returns")
			for rest, parts in pairs{
				["serializer = 5, "] = {"`serializer` is a number", "the name of a module"},
				["serializer = {name = 'regetni'}, "] = {"serializer.marshal is a nil", "serializer.unmarshal is a nil"},
				["serializer = 'no.such.module', "] = {"script.lua: `serializer`: module 'no.such.module' not found"},
				["serializer = 'string', "] = {"serializer"},
				["serializer = 'json', "] = {"the serializer is 'json', but the store has 'regetni'"},
				["serialiser = 'json', "] = {"did you mean 'serializer'"},
			} do
				helper.clean()
				local _, err = echoed(rest)
				assert.equal("script_error", err.code)
				mentions(err, table.unpack(parts))
			end
			local program = helper.program()
			if not program then return end
			helper.clean()
			local _, err = echoed("serializer = {name = 'regetni', marshal = tostring, unmarshal = tostring}, ",
				{isolation = "process", worker_program = program})
			mentions(err, "`serializer` of an isolated script must be the name of a module")
		end)

		it("whose marshal fails, or returns no string, stores nothing [Z2m]", function()
			local store = helper.memory{serializer = reverser{marshal = function(object)
				if object == "raise" then error("cannot marshal", 0) end
				if object == "table" then error(setmetatable({}, {__tostring = function() return "an object" end})) end
				return object
			end}}
			mentions(fails("serialization_error", store:store_event("CREATE", "Job", "raise")), "marshal failed", "cannot marshal")
			mentions(fails("serialization_error", store:store_event("CREATE", "Job", "table")), "an object")
			mentions(fails("serialization_error", store:store_event("CREATE", "Job", 12)), "returned a number")
			mentions(fails("serialization_error", store:store_events{{"CREATE", "Job", "good"}, {"CREATE", "Job", "raise"}}), "events[2]")
			assert.equal(0, assert(store:get_latest_event_num()))
		end)

		it("whose unmarshal fails: an error to a reader, the end for a watcher, and not of another [Z2n]", function()
			local store = helper.memory{serializer = reverser{unmarshal = function(bytes, head)
				if head.seq_num == 2 then error("cannot unmarshal") end
				return bytes
			end}}
			for _, kind in ipairs{"Job", "Node", "Job"} do assert(store:store_event("CREATE", kind, 1)) end
			local err = fails("deserialization_error", store:get_event(2))
			assert.equal(2, err.seq_num)
			mentions(err, "event 2", "cannot unmarshal")
			local registry, told = helper.registry(store), {}
			local all, seen_all = helper.recorder()
			local jobs, seen_jobs = helper.recorder()
			local stopping = assert(registry:watch("all", all, {on_error = function(e, event) told[#told + 1] = {e.code, event} end}))
			helper.drain(registry, assert(registry:watch("jobs", jobs, {filter = {object_types = {"Job"}}})))
			helper.drive(registry, function() return stopping:stats().state == "stopped" or stopping:stats().failed > 1 end)
			assert.equal("stopped", stopping:stats().state)
			assert.same({1}, seen_all)
			assert.same({1, 3}, seen_jobs)
			assert.equal(2, stopping:stats().blocked_on)
			assert.equal("deserialization_error", stopping:stats().last_error.code)
			assert.same({{"deserialization_error"}}, told)
			local skipper, seen_skipper = helper.recorder()
			local skipping = assert(registry:watch("skipper", skipper, {on_damage = "skip"}))
			helper.drain(registry, skipping)
			assert.same({1, 3}, seen_skipper)
			assert.equal(1, skipping:stats().skipped)
		end)

		it("that is not given lets everything be done but objects be written and read [Z2o]", function()
			local store = helper.open(nil, {serializer = reverser()})
			for n = 1, 3 do assert(store:store_event("CREATE", "Job", n)) end
			store:close()
			store = helper.open()
			assert.equal(3, assert(store:stats()).events)
			assert.equal("reverser", assert(store:stats()).serializer)
			mentions(fails("serialization_error", store:store_event("CREATE", "Job", 4)), "reverser", "open the store with that serializer")
			mentions(fails("deserialization_error", store:get_event(1)), "reverser", "vigia.open")
			assert.equal(1, assert(store:trim(1)))
			mentions(fails("option_conflict", vigia.open(helper.path("store"), {serializer = "json"})), "reverser", "json")
			local program = helper.program() and helper.quoted(helper.program())
			if not program then return end
			local output = helper.shell(("%s events --store %s"):format(program, helper.quoted(helper.path("store"))))
			mentions(output, '"serializer":"reverser","object":"2=regetni"')
		end)

		it("is not at hand in a script's state: its watcher stops and says so [Z2s]", function()
			local store = helper.open(nil, {serializer = reverser()})
			assert(store:store_event("CREATE", "Job", 1))
			local path = helper.path("handler.lua")
			local file = assert(io.open(path, "w"))
			file:write("return function() end")
			file:close()
			local registry = helper.registry(store)
			local watcher = assert(registry:watch("script", path))
			helper.drive(registry, function() return watcher:stats().state == "stopped" or watcher:stats().failed > 1 end)
			assert.equal("stopped", watcher:stats().state)
			assert.equal(1, watcher:stats().blocked_on)
			mentions(watcher:stats().last_error, "reverser", "Lua state")
		end)

		it("may use the store, and closing it meanwhile is told [Z2p]", function()
			local store
			local nested = reverser{marshal = function(object)
				if object == 1 then assert(store:store_event("CREATE", "Inner", 2)) end
				if object == 3 then store:close() end
				return tostring(object)
			end}
			store = helper.memory{serializer = nested}
			assert.equal(2, assert(store:store_event("CREATE", "Outer", 1)))
			assert.equal("Inner", assert(store:get_event(1)).object_type)
			fails("store_closed", store:store_event("CREATE", "Outer", 3))
		end)

		it("whose description is wrong is refused, with everything that is wrong [Z2q]", function()
			local function refused(serializer, ...)
				mentions(raises(vigia.open, ":memory:", {serializer = serializer, max_batch_bytes = 0}), "max_batch_bytes", ...)
			end
			refused("yaml", "serializer is 'yaml'", "json")
			refused(7, "serializer is a number")
			refused({name = "x"}, "serializer.marshal is a nil", "serializer.unmarshal is a nil")
			refused({name = "json", marshal = print}, "own")
			refused(reverser{name = ("n"):rep(65)}, "1 to 64 bytes")
			refused(reverser{name = "a\0b"}, "serializer.name")
			refused(reverser{marshall = print}, "marshall", "did you mean marshal")
			refused(reverser{strict = 1}, "serializer.strict is a number")
			refused(reverser{[1] = 1}, "unknown field")
		end)

		it("keeps the fields of events in a list as strict as without [Z2r]", function()
			local store = helper.memory{serializer = reverser()}
			mentions(raises(store.store_events, store, {{"CREATE", "Job", 1, opration = 1}}), "opration")
			mentions(raises(store.store_events, store, {{"CREATE", object_type = 7, object = 1}}), "object_type")
			mentions(raises(store.store_events, store, {1}), "table expected")
			local _, last = assert(store:store_events{{"CREATE", "Job", 1}, {operation = "CREATE", object_type = "Job", object = 2, seq_num = 9}})
			assert.equal(2, last)
			assert.equal(2, assert(store:get_event(2)).object)
		end)
	end)
end)

describe("an object type", function()
	after_each(helper.clean)

	local Point = {}
	Point.__index = Point
	function Point:sum() return self.x + self.y end

	local count = 0
	local function fresh_name() -- a state keeps its types
		count = count + 1
		return "Point" .. count
	end

	it("that is registered makes decoded maps instances of its class, wherever they are read [Z3a]", function()
		local name = fresh_name()
		assert.is_false(vigia.is_type_registered(name))
		assert.is_true(vigia.register_type(name, Point))
		assert.is_true(vigia.is_type_registered(name))
		for _, serializer in ipairs{"msgpack", "json", {name = "own", marshal = function(o) return o.x .. " " .. o.y end,
			unmarshal = function(bytes) local x, y = bytes:match("(%d+) (%d+)") return {x = math.tointeger(x), y = math.tointeger(y)} end}} do
			local store = helper.memory{serializer = serializer}
			assert(store:store_event("CREATE", name, setmetatable({x = 1, y = 2}, Point)))
			assert(store:store_event("CREATE", "Other", {x = 1, y = 2}))
			assert.equal(3, assert(store:get_event(1)).object:sum())
			assert.is_nil(getmetatable(assert(store:get_event(2)).object))
			assert.equal(3, assert(store:get_events{timeout = 0}).events[1].object:sum())
			local registry, sums = helper.registry(store), {}
			helper.drain(registry, assert(registry:watch("w", function(event) sums[#sums + 1] = event.object:sum() end,
				{filter = {object_types = {name}}})))
			assert.same({3}, sums)
		end
	end)

	it("leaves arrays, plain values and nothing as they are [Z3b]", function()
		local name = fresh_name()
		assert(vigia.register_type(name, Point))
		local store = helper.memory()
		for _, object in ipairs{vigia.array{1}, "text", 7} do assert(store:store_event("CREATE", name, object)) end
		assert(store:store_event("CREATE", name, nil))
		assert.is_true(vigia.is_array(assert(store:get_event(1)).object))
		assert.equal("text", assert(store:get_event(2)).object)
		assert.equal(7, assert(store:get_event(3)).object)
		assert.is_nil(assert(store:get_event(4)).object)
	end)

	it("is registered once [Z3c]", function()
		local name = fresh_name()
		assert(vigia.register_type(name, Point))
		mentions(fails("already_registered", vigia.register_type(name, {})), name, "already registered")
		mentions(raises(vigia.register_type, "", Point), "name")
		mentions(raises(vigia.register_type, fresh_name(), 7), "class")
	end)

	it("that is unknown is refused by a strict serializer, one event or many, of any kind [Z3d]", function()
		local name = fresh_name()
		assert(vigia.register_type(name, Point))
		for _, serializer in ipairs{{name = "msgpack", strict = true}, {name = "json", strict = true}, (reverser{strict = true})} do
			local store = helper.memory{serializer = serializer}
			assert.equal(1, assert(store:store_event("CREATE", name, {x = 1, y = 2})))
			mentions(fails("serialization_error", store:store_event("CREATE", "Stranger", {})), "Stranger", "not registered")
			mentions(fails("serialization_error", store:store_events{{"CREATE", name, {}}, {"CREATE", "Stranger", {}}}), "events[2]", "Stranger")
			assert.equal(1, assert(store:get_latest_event_num()))
		end
	end)
end)
