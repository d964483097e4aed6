-- store_pg_append_spec.lua - the SQL function append of a log on PostgreSQL: an event as part of an application's own transaction.

local helper = require "spec.helper"
local postgres = require "spec.support.postgres"
local vigia = require "vigia"

local fails, mentions = helper.fails, helper.mentions

local server, why = postgres.start()
if not server then
	describe("the SQL function append", function()
		it("is tested where there is a server", function() helper.pending(why) end)
	end)
	return
end
teardown(function() server:stop() end)

describe("the SQL function append of a log on PostgreSQL", function()
	after_each(helper.clean)

	-- A log, and what calls append in it: the number, or what the server says.
	local function new_log(options)
		local location = server:new_location()
		local schema = "vigia_log" .. server.logs
		local store = helper.open(location, options)
		return store, function(type, operation, json, key)
			return server:sql(("SELECT %s.append(%s, %s, %s%s)"):format(schema, type, operation, json, key and ", " .. key or ""))
		end, schema, location
	end

	it("stores events that are read, filtered and verified as others are [P5]", function()
		local store, append, _, location = new_log()
		assert.equal(1, assert(store:store_event("CREATE", "Job", 1)))
		local texts = {'{"a": 1, "b": [1.5, true, null, "ü"], "c": {"$bytes": "AAE="}, "d": {"$float": "nan"}}', "null", "-9223372036854775808",
			"9223372036854775807", '"' .. ("x"):rep(300) .. '"', '["' .. ("y"):rep(70000) .. '"]', '"it\'s"', ("["):rep(127) .. ("]"):rep(127)}
		for n, text in ipairs(texts) do
			assert.equal(tostring(n + 1), append("'Übung'", n == 1 and "'UPDATE'" or "'SHIP'", "'" .. text:gsub("'", "''") .. "'"))
			local event = assert(store:get_event(n + 1))
			assert.same({"Übung", n == 1 and "UPDATE" or "SHIP"}, {event.object_type, event.operation})
			local written = {seq_num = 1, timestamp = 1, operation = "A", object_type = "B"}
			written.object = assert(require "vigia.core".from_json('{"operation":"A","object_type":"B","object":' .. text .. "}")).object
			event.seq_num, event.timestamp, event.operation, event.object_type = 1, 1, "A", "B"
			assert.equal(assert(vigia.to_json(written)), assert(vigia.to_json(event)))
		end
		local last = store:get_event(#texts + 1)
		assert(last.timestamp >= store:get_event(1).timestamp)
		local found = assert(store:get_events{timeout = 0, filter = {object_types = {"Übung"}, where = {["object.a"] = 1}}}).events
		assert.same({1, 2}, {#found, found[1].seq_num})
		assert(store:export(helper.path("export")))
		local copy = helper.memory()
		assert(copy:import(helper.path("export")))
		assert.same(assert(store:get_event(3)), assert(copy:get_event(3)))
		mentions(helper.shell(assert(helper.program()) .. " verify --store '" .. location .. "'"), "no damage")
	end)

	it("refuses what no event can be, and damage of what it made is found [P5]", function()
		local store, append, schema = new_log{max_event_size = 1000}
		local function refused(reason, ...) mentions(select(2, pcall(append, ...)), reason) end
		refused("object_type must have 1 to 255 bytes", "''", "'CREATE'", "'1'")
		refused("object_type must have 1 to 255 bytes", "NULL", "'CREATE'", "'1'")
		refused("operation must have 1 to 255 bytes, has 256", "'A'", "repeat('x', 256)", "'1'")
		refused("key must have 1 to 255 bytes", "'A'", "'CREATE'", "'1'", "''")
		refused("beyond 64 bits", "'A'", "'CREATE'", "'[{\"a\": 9223372036854775808}]'")
		refused("beyond 64 bits", "'A'", "'CREATE'", "'1e300'")
		refused("more than 128 levels", "'A'", "'CREATE'", "(repeat('[', 129) || repeat(']', 129))::jsonb")
		refused("max_event_size is 1000 bytes", "'A'", "'CREATE'", "to_jsonb(repeat('x', 1000))")
		assert(store:configure{max_event_size = 2000})
		assert.equal("1", append("'A'", "'CREATE'", "(repeat('[', 128) || repeat(']', 128))::jsonb"))
		assert.equal("table", type(store:get_event(1).object[1]))
		assert.equal("2", append("'A'", "'CREATE'", "to_jsonb(repeat('x', 1000))"))
		assert.equal("3", append("'A'", "'CREATE'", "'\"key\"'", "'k'"))
		assert.equal("3", append("'A'", "'CREATE'", "'\"again\"'", "'k'"))
		assert.same({3, true}, {store:store_event("CREATE", "A", "again", {key = "k"})})
		server:sql(("UPDATE %s.events SET bytes = set_byte(bytes, length(bytes) - 1, 99) WHERE seq = 3"):format(schema))
		assert.equal(3, fails("event_damaged", store:get_event(3)).seq_num)
		assert.equal(1000, #store:get_event(2).object)
	end)

	it("is part of the application's transaction: seen when that commits, gone without a gap when it is rolled back [P5]", function()
		local store, _, schema = new_log()
		local registry = helper.registry(store)
		local handler, seen = helper.recorder()
		assert(registry:watch("w", handler))
		local run, out, finish = server:session()
		run("CREATE TABLE orders (n int); BEGIN; INSERT INTO orders VALUES (1);")
		run(("SELECT %s.append('Order', 'CREATE', '{\"n\": 1}');"):format(schema), "1")
		assert.equal(0, store:get_latest_event_num())
		run("ROLLBACK; SELECT 'rolled back';", "rolled back")
		run(("BEGIN; INSERT INTO orders VALUES (2); SELECT %s.append('Order', 'CREATE', '{\"n\": 2}');"):format(schema), "1")
		assert.equal(0, #seen)
		run("COMMIT; SELECT 'committed';", "committed")
		helper.drive(registry, function() return #seen == 1 end)
		assert.same({n = 2}, store:get_event(1).object)
		assert.equal(2, assert(store:store_event("CREATE", "Job", 1)))
		-- In a savepoint; beside other appends, which wait until its end.
		run(("BEGIN; SAVEPOINT s; SELECT %s.append('Order', 'CREATE', '3'); ROLLBACK TO s;"):format(schema), "3")
		assert.equal(3, assert(store:store_event("CREATE", "Job", 2)))
		run(("SELECT %s.append('Order', 'DELETE', '4'); COMMIT;"):format(schema), "4")
		helper.drive(registry, function() return #seen == 4 end)
		assert.same({1, 2, 3, 4}, seen)
		assert.same({4, "DELETE"}, {store:get_event(4).object, store:get_event(4).operation})
		-- Only in READ COMMITTED, where each statement sees what others have stored.
		for _, level in ipairs{"REPEATABLE READ", "SERIALIZABLE"} do
			run(("\\set VERBOSITY verbose\nBEGIN ISOLATION LEVEL %s; SELECT %s.append('Order', 'CREATE', '5'); ROLLBACK; SELECT 'over';")
				:format(level, schema), "over")
			mentions(helper.read_file(out), "40001", "READ COMMITTED")
		end
		finish()
		assert.equal(4, store:get_latest_event_num())
	end)

	it("needs no right but that to call it, and is beside an import refused [P5]", function()
		local store, _, schema = new_log()
		local name = "app" .. server.logs
		server:sql(("CREATE ROLE %s LOGIN; GRANT USAGE ON SCHEMA %s TO %s; GRANT EXECUTE ON FUNCTION %s.append(text, text, jsonb, text) TO %s")
			:format(name, schema, name, schema, name))
		local function as_app(sql) return server:sql(("SET ROLE %s; %s"):format(name, sql)) end
		assert.equal("1", as_app(("SELECT %s.append('A', 'CREATE', '1')"):format(schema)))
		mentions(select(2, pcall(as_app, ("SELECT count(*) FROM %s.events"):format(schema))), "permission denied")
		mentions(select(2, pcall(as_app, ("SELECT %s.trim(1, 1)"):format(schema))), "permission denied")
		server:sql(("INSERT INTO %s.import VALUES (true, 1, 1, 1, 1)"):format(schema))
		mentions(select(2, pcall(as_app, ("SELECT %s.append('A', 'CREATE', '1')"):format(schema))), "import", "not finished")
		assert.equal(1, store:get_latest_event_num())
	end)
end)
