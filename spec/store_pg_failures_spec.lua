-- store_pg_failures_spec.lua - a store on PostgreSQL whose server refuses, fails, is away, or is set up in its own way: what the caller is
-- told, that nothing is half done, and that work goes on. store_pg_spec.lua has the answers that are lost.

local helper = require "spec.helper"
local lfs = require "lfs"
local postgres = require "spec.support.postgres"
local vigia = require "vigia"

local fails, mentions, range, read = helper.fails, helper.mentions, helper.range, helper.read
local LONG <const> = os.getenv("VIGIA_SOAK") ~= nil
local SEED <const> = math.tointeger(tonumber(os.getenv("VIGIA_SEED"))) or os.time()

local server, why = postgres.start()
if not server then
	describe("the failures of a store on PostgreSQL", function()
		it("are tested where there is a server", function() helper.pending(why) end)
	end)
	return
end

-- A location, and its schema.
local function new_log(parameters)
	return server:new_location(parameters), "vigia_log" .. server.logs
end

-- The same for another role, or in another database.
local function for_role(location, role, password)
	return (location:gsub("vigia@", role .. (password and ":" .. password or "") .. "@"))
end

local function in_database(location, database)
	return (location:gsub("/vigia%?", "/" .. database .. "?"))
end

local roles = 0
local function new_role(attributes)
	roles = roles + 1
	server:sql(("CREATE ROLE role%d %s"):format(roles, attributes or "LOGIN"))
	return "role" .. roles
end

local function grant(schema, role)
	server:sql(("GRANT USAGE ON SCHEMA %s TO %s; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA %s TO %s"):format(schema, role, schema, role))
end

-- End all connections of Vigia's.
local function terminate_all()
	server:sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'vigia'")
end

describe("what a server of PostgreSQL refuses", function()
	after_each(helper.clean)

	-- The function, which each append comes to, or each look at the numbers, raises this; it counts how often it was called.
	local function plant(schema, name, returns, code)
		server:sql(("CREATE SEQUENCE IF NOT EXISTS %s.calls; SELECT setval('%s.calls', 1, false)"):format(schema, schema))
		server:sql(([[CREATE OR REPLACE FUNCTION %s.%s() RETURNS %s LANGUAGE plpgsql SECURITY DEFINER AS $$
			BEGIN PERFORM nextval('%s.calls'); RAISE EXCEPTION 'planted' USING ERRCODE = '%s'; END $$]])
			:format(schema, name, returns, schema, code))
		return function()
			return tonumber(server:sql(("SELECT last_value - CASE WHEN is_called THEN 0 ELSE 1 END FROM %s.calls"):format(schema)))
		end
	end

	-- By SQLSTATE: what an append returns, and what a read; `again`: it is tried until the time is over. A normal run has one in three.
	local CODES <const> = {
		{"08006", "commit_unknown", "store_unreachable", "append"}, {"57P01", "commit_unknown", "store_unreachable", "append"},
		{"57P05", "commit_unknown", "store_unreachable", "append"}, {"25P03", "commit_unknown", "store_unreachable", "append"},
		{"28000", "permission_denied"}, {"42501", "permission_denied"},
		{"42P01", "not_a_store"}, {"42883", "not_a_store"}, {"42703", "not_a_store"},
		{"25006", "store_readonly"}, {"53100", "disk_full"}, {"54000", "event_too_large"}, {"22023", "io_error"}, {"XX000", "io_error"},
		{"57014", "io_error", "io_error", "both"}, {"55P03", "store_unreachable", "store_unreachable", "both"},
		{"40001", "io_error", "io_error", "both"}, {"40P01", "io_error", "io_error", "both"},
	}

	it("is the error of its SQLSTATE, and is tried again where that may help (VIGIA_SEED=" .. SEED .. ") [P4]", function()
		local location, schema = new_log("&connect_timeout=1")
		local store = helper.open(location)
		helper.fill(store, 1)
		local tried = {}
		for i, row in ipairs(CODES) do tried[#tried + 1] = (LONG or i % 3 == SEED % 3) and row or nil end
		for _, row in ipairs(tried) do
			local code, appended, looked, again = table.unpack(row)
			local calls = plant(schema, "planted", "trigger", code)
			local trigger = [[DROP TRIGGER IF EXISTS planted ON %s.events;
				CREATE TRIGGER planted BEFORE INSERT ON %s.events EXECUTE FUNCTION %s.planted()]]
			server:sql(trigger:format(schema, schema, schema))
			local err = fails(appended, store:store_event("CREATE", "Job", code))
			if appended ~= "commit_unknown" then mentions(err, "planted", "SQLSTATE " .. code) end
			assert.equal(again ~= nil, calls() > 1, code .. ": " .. calls())
			if appended == "commit_unknown" then helper.eventually(function() return store:get_event(1) end) end
			calls = plant(schema, "bounds", "TABLE (oldest bigint, latest bigint)", code)
			helper.eventually(function() -- while it was just found to be away, no one is asked
				_, err = store:get_latest_event_num()
				if err and tostring(err):find("a moment ago", 1, true) then return false end
				fails(looked or appended, nil, err)
				if looked ~= "store_unreachable" then mentions(err, "planted", "SQLSTATE " .. code) end
				return true
			end)
			-- The thread that listens looks, too, once a second.
			assert(again ~= "both" or calls() > 2, code .. ": " .. calls())
			server:sql(([[CREATE OR REPLACE FUNCTION %s.bounds() RETURNS TABLE (oldest bigint, latest bigint) LANGUAGE sql
				AS 'SELECT 1::bigint, 1::bigint']]):format(schema))
		end
	end)

	it("is permission_denied, naming the server, for a login that it does not let in", function()
		local location, schema = new_log()
		helper.open(location):close()
		mentions(fails("permission_denied", vigia.open(for_role(location, "nobody_at_all"))), "28000", "nobody_at_all")
		mentions(fails("permission_denied", vigia.open(for_role(location, new_role "NOLOGIN"))), "28000")
		local role = new_role "LOGIN PASSWORD 's3cret'"
		grant(schema, role)
		local access = server.folder .. "/data/pg_hba.conf"
		server:sql(("COPY (VALUES ('local all %s scram-sha-256'), ('local all all trust')) TO '%s'"):format(role, access))
		server:sql("SELECT pg_reload_conf()")
		helper.eventually(function() return server:sql("SELECT count(*) FROM pg_hba_file_rules") == "2" end)
		local err
		helper.eventually(function() -- the postmaster may not have read it yet
			local store
			store, err = vigia.open(for_role(location, role))
			if store then store:close() end
			return err
		end)
		mentions(fails("permission_denied", nil, err), role)
		err = fails("permission_denied", vigia.open(for_role(location, role, "wr0ng")))
		mentions(err, "28P01", role .. ":*@")
		assert.is_nil(tostring(err):find("wr0ng", 1, true))
		local store = helper.open(for_role(location, role, "s3cret"))
		assert.equal(1, assert(store:store_event("CREATE", "Job", 1)))
		-- And from a file, as libpq reads it.
		local file = helper.write_file("pgpass", ("*:*:*:%s:s3cret\n"):format(role))
		assert(os.execute("chmod 600 " .. file))
		local said, good = helper.shell(("PGPASSFILE=%s %s stats --store '%s'"):format(file, helper.program(), for_role(location, role)))
		assert(good, said)
		said = helper.shell(("PGPASSFILE=/dev/null %s stats --store '%s'"):format(helper.program(), for_role(location, role)))
		mentions(said, "refused the login", role)
		-- And what is revoked while it is open.
		server:sql(("REVOKE ALL ON ALL FUNCTIONS IN SCHEMA %s FROM %s"):format(schema, role))
		mentions(fails("permission_denied", store:store_event("CREATE", "Job", 2)), "42501")
		grant(schema, role)
		assert.equal(2, assert(store:store_event("CREATE", "Job", 2)))
	end)

	it("is permission_denied for a role without rights, whichever it lacks; the two grants are enough for everything", function()
		local location, schema = new_log()
		local role = new_role()
		local theirs = for_role(location, role)
		mentions(fails("permission_denied", vigia.open(theirs)), "permission denied for database vigia", "42501")
		fails("store_not_found", vigia.open(theirs, {create = false}))
		local store = helper.open(location)
		mentions(fails("permission_denied", vigia.open(theirs)), "permission denied for schema " .. schema, "42501")
		server:sql(("GRANT USAGE ON SCHEMA %s TO %s"):format(schema, role))
		mentions(fails("permission_denied", vigia.open(theirs)), "permission denied for function meta_read", "42501")
		server:sql(("GRANT EXECUTE ON FUNCTION %s.meta_read() TO %s"):format(schema, role))
		mentions(fails("permission_denied", vigia.open(theirs)), "permission denied for function", "42501")
		grant(schema, role)
		local their_store = helper.open(theirs)
		local registry = helper.registry(their_store)
		local seen = 0
		assert(registry:watch("w", function(event, ctx)
			ctx.tx:put("seen", event.seq_num, true)
			seen = seen + 1
			if event.seq_num == 2 then error("no") end
		end, {transactional = true, retry_strategy = "dead_letter", max_retries = 1}))
		assert.equal(1, assert(their_store:store_event("CREATE", "Job", 1, {key = "k"})))
		assert(their_store:schedule({after = 0}, "CREATE", "Due", 2))
		helper.drive(registry, function() return #assert(their_store:dead_letters{}) == 1 end)
		assert(their_store:configure{max_events = 1})
		assert(their_store:pause("w", 0) or true)
		assert(registry:stop())
		assert(their_store:gc())
		assert(their_store:export(helper.path("export")))
		local program = assert(helper.program())
		for _, words in ipairs{"stats", "watchers", "verify", "doctor", "checkpoints", "types", "dead"} do
			local said, good, _, status = helper.shell(("%s %s --store '%s'"):format(program, words, theirs))
			assert(good or (words == "doctor" and status == 1), words .. ": " .. said)
			assert.is_nil(said:find("permission", 1, true), said)
		end
		assert(helper.registry(store):watch("w", function() end)) -- its id is free
		for _, table in ipairs{"events", "meta", "owners"} do
			local _, said = pcall(server.sql, server, ("SET ROLE %s; SELECT * FROM %s.%s"):format(role, schema, table))
			mentions(said, "permission denied for table")
		end
	end)

	it("is store_unreachable where there are too many connections, until one is free", function()
		local location, schema = new_log("&connect_timeout=1")
		local role = new_role "LOGIN CONNECTION LIMIT 1"
		helper.open(location):close()
		grant(schema, role)
		mentions(fails("store_unreachable", vigia.open(for_role(location, role))), "53300")
		server:sql(("ALTER ROLE %s CONNECTION LIMIT 3"):format(role))
		local store
		helper.eventually(function()
			store = vigia.open(for_role(location, role), {collect = false})
			return store
		end)
		assert.equal(1, assert(store:store_event("CREATE", "Job", 1)))
		store:close()
	end)

	it("is store_unreachable where no server listens, and it names the socket", function()
		local location = new_log("&connect_timeout=1")
		mentions(fails("store_unreachable", vigia.open((location:gsub("host=[^&]*", "host=" .. server.folder .. "/data")))), "data/.s.PGSQL.5432")
		mentions(fails("store_unreachable", vigia.open((location:gsub("host=[^&]*", "host=127.0.0.1&port=1")))), "127.0.0.1")
	end)

	it("is store_readonly where it takes no writes", function()
		server:sql("CREATE DATABASE readonly")
		local location = in_database(new_log("&connect_timeout=1"), "readonly")
		local store = helper.open(location)
		helper.fill(store, 1)
		server:sql("ALTER DATABASE readonly SET default_transaction_read_only = on")
		terminate_all()
		helper.eventually(function() -- the first may have been sent to what was there before
			local _, err = store:store_event("CREATE", "Job", 2)
			return err.code ~= "commit_unknown" and fails("store_readonly", nil, err)
		end)
		mentions(fails("store_readonly", store:store_event("CREATE", "Job", 2)), "read-only")
		mentions(fails("store_readonly", vigia.open(location .. "&lease=9")), "read-only")
		server:sql("ALTER DATABASE readonly RESET default_transaction_read_only")
		helper.eventually(function() return store:store_event("CREATE", "Job", 2) end)
		assert.same({1, 2}, (read(store)))
	end)
end)

describe("a store on PostgreSQL beside others", function()
	after_each(helper.clean)

	it("waits for an application's transaction that appends, and gives up in time", function()
		local location, schema = new_log("&connect_timeout=1")
		local store = helper.open(location)
		local registry = helper.registry(store)
		local run, _, finish = server:session()
		run(("BEGIN; SELECT %s.append('Order', 'CREATE', '1');"):format(schema), "1")
		local begun = helper.now()
		mentions(fails("store_unreachable", store:store_event("CREATE", "Job", 2)), "55P03", "lock timeout")
		assert(helper.now() - begun < 10)
		mentions(fails("store_unreachable", registry:watch("w", function() end)), "lock timeout")
		assert.equal(0, store:get_latest_event_num())
		run("COMMIT; SELECT 'done';", "done")
		assert.equal(2, assert(store:store_event("CREATE", "Job", 2)))
		assert(registry:watch("w", function() end))
		finish()
	end)

	it("has nothing in common with another log of the database", function()
		local one, first = new_log()
		local two, second = new_log()
		local a, b = helper.open(one), helper.open(two)
		helper.fill(a, 3)
		helper.fill(b, 1)
		local registries, seen = {helper.registry(a), helper.registry(b)}, {{}, {}}
		for n, registry in ipairs(registries) do
			assert(registry:watch("w", function(event) table.insert(seen[n], event.seq_num) end))
			helper.drive(registry, function() return #seen[n] == (n == 1 and 3 or 1) end)
		end
		-- A transaction that has the lock of one holds up nothing of the other.
		local run, _, finish = server:session()
		run(("BEGIN; SELECT %s.append('Order', 'CREATE', '1');"):format(first), "4")
		assert.equal(2, assert(b:store_event("CREATE", "Job", 2, {key = "k"})))
		run("COMMIT; SELECT 'done';", "done")
		finish()
		assert.same({5}, {a:store_event("CREATE", "Job", 2, {key = "k"})})
		assert(a:put("b", "k", 1))
		assert.is_nil((b:get("b", "k")))
		assert(a:trim(4))
		assert.same({5}, (read(a)))
		assert.same({1, 2}, (read(b)))
		for n, registry in ipairs(registries) do helper.drive(registry, function() return seen[n][#seen[n]] == (n == 1 and 5 or 2) end) end
		assert.same({1, 2}, seen[2])
		for _, registry in ipairs(registries) do assert(registry:stop()) end
		server:sql(("DROP SCHEMA %s CASCADE"):format(first))
		mentions(fails("store_not_found", a:store_event("CREATE", "Job", 6)), first)
		mentions(fails("store_not_found", a:get_latest_event_num()), first)
		assert.equal(3, assert(b:store_event("CREATE", "Job", 3)))
		fails("store_not_found", vigia.open(one .. "&lease=9", {create = false}))
		assert.equal(2, assert(b:get_checkpoint("w")))
		assert.equal("3", server:sql(("SELECT count(*) FROM %s.events"):format(second)))
	end)

	it("is not confused by tables and functions of an application that are called as its own", function()
		local location, schema = new_log()
		server:sql("CREATE DATABASE theirs")
		for _, name in ipairs{"meta", "events", "tail", "checkpoints", "keys", "sessions", "rows", "owners", "clients", "marks", "maps"} do
			server:sql(("CREATE TABLE public.%s (mine text); INSERT INTO public.%s VALUES ('mine')"):format(name, name), "theirs")
		end
		server:sql("CREATE FUNCTION append(text, text, jsonb, text) RETURNS int LANGUAGE sql AS 'SELECT -1'", "theirs")
		server:sql("CREATE FUNCTION public.wall_ns() RETURNS bigint LANGUAGE sql AS 'SELECT -1::bigint'", "theirs")
		local store = helper.open(in_database(location, "theirs"))
		local registry = helper.registry(store)
		local handler, seen = helper.recorder()
		assert(registry:watch("w", handler))
		helper.fill(store, 2)
		assert.equal("3", server:sql(("SELECT %s.append('A', 'CREATE', '1')"):format(schema), "theirs"))
		assert(store:get_event(1).timestamp > 0)
		helper.drive(registry, function() return #seen == 3 end)
		assert(registry:stop())
		assert.equal("mine", server:sql("SELECT mine FROM public.events", "theirs"))
		-- A schema with the log's name, and tables with the names of its own, that is none: it is left alone.
		server:sql("CREATE SCHEMA vigia_taken; CREATE TABLE vigia_taken.meta AS SELECT 1 AS format")
		mentions(fails("not_a_store", vigia.open(server:location("taken"))), "vigia_taken")
		server:sql([[CREATE FUNCTION vigia_taken.meta_read() RETURNS TABLE (format int) LANGUAGE sql AS 'SELECT 1']])
		mentions(fails("not_a_store", vigia.open(server:location("taken"))), "42703")
		server:sql([[DROP FUNCTION vigia_taken.meta_read(); CREATE FUNCTION vigia_taken.meta_read() RETURNS TABLE (format int, id bytea,
			created_at_ns bigint, settings bytea, settings_version bigint, importing bool) LANGUAGE sql
			AS 'SELECT 1, null::bytea, 1::bigint, null::bytea, 1::bigint, false']])
		mentions(fails("not_a_store", vigia.open(server:location("taken"))), "vigia_taken", "holds no log")
		assert.equal("1", server:sql("SELECT count(*) FROM vigia_taken.meta"))
	end)
end)

-- What a store is that works: all kinds of calls, with names that need care.
local NAMES <const> = {"it's", 'say "A"', "$1 \\ %s", "\0", "a\0b", "ü€𝄞", "; DROP TABLE events; --"}

local function use(location, sql)
	local store = helper.open(location)
	local registry = helper.registry(store)
	local handler, seen = helper.recorder()
	for n, name in ipairs(NAMES) do
		assert.equal(n, assert(store:store_event(name, name, {[name] = name}, {key = name})))
		assert.same({n, true}, {store:store_event(name, name, {[name] = name}, {key = name})})
		local event = assert(store:get_event(n))
		assert.same({name, name, {[name] = name}}, {event.operation, event.object_type, event.object})
		assert.same({n}, (read(store, {filter = {object_types = {name}, operations = {name}}})))
		assert(store:put("b", name, name))
		assert.equal(name, store:get("b", name))
		local id = name:gsub("\0", "0")
		assert(registry:watch(id, handler, {filter = {object_types = {name}}}))
	end
	helper.drive(registry, function() return #seen == #NAMES end)
	assert(registry:stop())
	for _, name in ipairs(NAMES) do assert.equal(#NAMES, assert(store:get_checkpoint((name:gsub("\0", "0"))))) end
	if not sql then return store end
	assert.equal(tostring(#NAMES + 1), sql("append('it''s', 'CREATE', '{\"a\\\\b\": \"it''s\"}', 'k')"))
	local event = assert(store:get_event(#NAMES + 1))
	assert.same({"it's", {["a\\b"] = "it's"}}, {event.object_type, event.object})
	mentions(helper.shell(("%s verify --store '%s'"):format(helper.program(), location)), "no damage")
	return store
end

describe("a store on PostgreSQL in a database that is set up in its own way", function()
	after_each(helper.clean)

	local function sql_in(database, schema)
		return function(call) return server:sql(("SELECT %s.%s"):format(schema, call), database) end
	end

	it("keeps names with zero bytes, quotes and letters of any kind", function()
		local location, schema = new_log()
		use(location, sql_in("vigia", schema))
	end)

	for encoding, ue in pairs{LATIN1 = "\xfc", SQL_ASCII = "ü"} do
		it("keeps them with the encoding " .. encoding .. ", too", function()
			local database = "in_" .. encoding:lower()
			server:sql(("CREATE DATABASE %s ENCODING '%s' LOCALE 'C' TEMPLATE template0"):format(database, encoding))
			local location, schema = new_log()
			location = in_database(location, database)
			local store = use(location, sql_in(database, schema))
			-- Texts of SQL are converted by the server.
			local call = "SET client_encoding = '%s'; SELECT %s.append('%sbung', 'CREATE', '{\"%s\": \"%s\"}', '%s')"
			local number = math.tointeger(tonumber(server:sql(call:format(encoding, schema, ue, ue, ue, ue), database)))
			local event = assert(store:get_event(number))
			assert.same({"übung", {["ü"] = "ü"}}, {event.object_type, event.object})
			assert.same({number, true}, {store:store_event("CREATE", "A", 1, {key = "ü"})})
			if encoding == "SQL_ASCII" then
				local _, said = pcall(server.sql, server, ("SELECT %s.append(E'\\xff', 'CREATE', '1')"):format(schema), database)
				mentions(said, "invalid byte sequence")
			end
		end)
	end

	it("is made and used whatever is first in search_path, and whatever else is the default", function()
		server:sql("CREATE DATABASE hostile")
		server:sql([[
			CREATE SCHEMA evil;
			CREATE FUNCTION evil.boom() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil was called'; END $$;
			CREATE FUNCTION evil.boom(anyelement, anyelement) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil was called'; END $$;
			CREATE FUNCTION evil.join(text, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil was called'; END $$;
			CREATE OPERATOR evil.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.join);
			CREATE OPERATOR evil.= (LEFTARG = anyelement, RIGHTARG = anyelement, FUNCTION = evil.boom);
			CREATE FUNCTION evil.pg_notify(text, text) RETURNS void LANGUAGE sql AS 'SELECT evil.boom()';
			CREATE FUNCTION evil.pg_advisory_xact_lock(bigint) RETURNS void LANGUAGE sql AS 'SELECT evil.boom()';
			CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT evil.boom(); SELECT now() $$;
			CREATE FUNCTION evil.count() RETURNS bigint LANGUAGE sql AS $$ SELECT evil.boom(); SELECT 1::bigint $$;
			CREATE FUNCTION evil.set_config(text, text, bool) RETURNS text LANGUAGE sql AS $$ SELECT evil.boom(); SELECT '' $$;
			CREATE TABLE evil.pg_locks (nothing int);
			CREATE TABLE evil.pg_database (nothing int);
			CREATE TABLE evil.pg_class (nothing int);
			CREATE DOMAIN evil.bool AS int;
			CREATE DOMAIN evil.bytea AS int;
			CREATE DOMAIN evil.int8 AS text;
			CREATE DOMAIN evil.text AS int;
			CREATE DOMAIN evil.jsonb AS int;
			ALTER DATABASE hostile SET search_path = evil, pg_catalog;
			ALTER DATABASE hostile SET default_transaction_isolation = 'serializable';
			ALTER DATABASE hostile SET default_transaction_deferrable = on;
			ALTER DATABASE hostile SET standard_conforming_strings = off;
			ALTER DATABASE hostile SET bytea_output = 'escape';
			ALTER DATABASE hostile SET client_min_messages = 'debug5';
			ALTER DATABASE hostile SET statement_timeout = '1s';
			ALTER DATABASE hostile SET quote_all_identifiers = on;
			ALTER DATABASE hostile SET check_function_bodies = on;
			ALTER DATABASE hostile SET default_toast_compression = 'pglz';
			ALTER DATABASE hostile SET plan_cache_mode = 'force_generic_plan';
			ALTER DATABASE hostile SET enable_indexscan = off]], "hostile")
		local location, schema = new_log()
		location = in_database(location, "hostile")
		local function append(call)
			return server:sql(("SET client_min_messages = error; COMMIT; BEGIN ISOLATION LEVEL READ COMMITTED; SELECT %s.%s; COMMIT")
				:format(schema, call:gsub("\\\\", "\\\\\\\\")), "hostile"):match("[^\n]*$")
		end
		use(location, append)
		-- And by the statements for an administrator.
		local other = in_database(new_log(), "hostile")
		local sql = helper.shell(("%s create --store '%s' --sql"):format(helper.program(), other))
		local said, good = helper.shell((postgres.psql .. " -X -h %s -U vigia -d hostile -q -v ON_ERROR_STOP=1 -f %s 2>&1"):format(server.folder,
			helper.write_file("log.sql", sql)))
		assert(good, said)
		schema = "vigia_log" .. server.logs
		use(other, append)
	end)

	it("goes on when the server ends sessions that do nothing for a while", function()
		server:sql("CREATE DATABASE idle")
		local location = in_database(new_log(), "idle")
		helper.open(location):close()
		server:sql("ALTER DATABASE idle SET idle_session_timeout = '50ms'")
		local store = helper.open(location)
		for n = 1, 3 do
			assert.equal(n, assert(store:store_event("CREATE", "Job", n)))
			helper.eventually(function()
				return server:sql("SELECT count(*) FROM pg_stat_activity WHERE datname = 'idle' AND query LIKE '%commit(%'") == "0"
			end)
			assert.equal(n, assert(store:get_latest_event_num()))
		end
		assert.same({1, 2, 3}, (read(store)))
	end)
end)

-- ---- outages ----

-- Appends until the bucket says so, and writes down what it was told.
local APPENDER <const> = [[
	local location, name, file = ...
	local store = assert(vigia.open(location, {collect = false}))
	local out = assert(io.open(file, "w"))
	local n = 0
	say("ready")
	while not store:get("b", "stop") do
		n = n + 1
		local number, err = store:store_event("CREATE", "Job", {from = name, n = n}, n % 3 == 0 and {key = name .. n} or nil)
		assert(number or err.code == "commit_unknown" or err.code == "store_unreachable", tostring(err))
		out:write(("%d %s\n"):format(n, number or err.code))
	end
	out:close()
]]

local function start_appenders(location, count)
	local appenders = {}
	for i = 1, count do
		appenders[i] = {name = "c" .. i, file = helper.path("told" .. i)}
		appenders[i].child = helper.child(APPENDER, location, appenders[i].name, appenders[i].file)
		appenders[i].child:expect("ready")
	end
	return appenders
end

-- What was acknowledged is there under its number, nothing is there twice, and no number is missing. Returns how many were acknowledged.
local function check_appenders(store, appenders)
	helper.eventually(function() return store:put("b", "stop", true) and store:get("b", "stop") end)
	for _, appender in ipairs(appenders) do assert.same({}, appender.child:wait()) end
	local by_origin, last, iterator = {}, 0, vigia.trim_horizon()
	repeat
		local answer = assert(store:get_events{event_iterator = iterator, timeout = 0, limit = 1000})
		for _, event in ipairs(answer.events) do
			assert.equal(last + 1, event.seq_num)
			last = event.seq_num
			if type(event.object) == "table" and event.object.from then
				local origin = event.object.from .. "/" .. event.object.n
				assert.is_nil(by_origin[origin], origin .. " is there twice")
				by_origin[origin] = event.seq_num
			end
		end
		iterator = answer.next_event_iterator
	until #answer.events == 0
	local acknowledged = 0
	for _, appender in ipairs(appenders) do
		for line in io.lines(appender.file) do
			local n, told = line:match("^(%d+) (.+)$")
			local number = math.tointeger(tonumber(told))
			if number then
				acknowledged = acknowledged + 1
				assert.equal(number, by_origin[appender.name .. "/" .. n], appender.name .. "/" .. n)
			elseif told == "store_unreachable" then
				assert.is_nil(by_origin[appender.name .. "/" .. n], appender.name .. "/" .. n .. " was refused and is there")
			end
		end
	end
	return acknowledged
end

-- A plain watcher, one with lanes and one that is transactional; what they have seen.
local function watch_all(registry)
	local seen = {plain = {}, lanes = {}, effects = {}}
	local function watch(id, options)
		assert(registry:watch(id, function(event, ctx)
			if ctx.tx then ctx.tx:put("effects", event.seq_num, (ctx.tx:get("effects", event.seq_num) or 0) + 1) end
			table.insert(seen[id], event.seq_num)
		end, options))
	end
	watch("plain")
	watch("lanes", {lanes = 2, lane_key = "object.from"})
	watch("effects", {transactional = true})
	return seen
end

local function check_watchers(store, registry, seen)
	local last = assert(store:get_latest_event_num())
	helper.drive(registry, function()
		for _, id in ipairs{"plain", "lanes", "effects"} do
			local stats = registry:get_watcher(id):stats()
			assert(stats.state == "running", id .. " is " .. stats.state .. ": " .. tostring(stats.last_error))
			if stats.lag > 0 then return false end
		end
		return true
	end)
	assert(registry:stop())
	table.sort(seen.lanes)
	assert.same(range(1, last), seen.plain)
	assert.same(range(1, last), seen.lanes)
	for n = 1, last do assert.equal(1, store:get("effects", n), n) end -- a handler may have run again, its effect is there once
	for _, id in ipairs{"plain", "lanes", "effects"} do assert.equal(last, assert(store:get_checkpoint(id)), id) end
	return last
end

describe("a store on PostgreSQL that is verified", function()
	after_each(helper.clean)

	it("is not said to be damaged when its server refuses to read on, and knows of no process afterwards", function()
		local location, schema = new_log("&connect_timeout=1")
		helper.fill(helper.open(location), 3)
		local function verify() return helper.shell(("%s verify --store '%s'"):format(helper.program(), location)) end
		mentions(verify(), "3 events", "no damage")
		assert.equal("1", server:sql(("SELECT count(*) FROM %s.sessions"):format(schema)))
		server:sql(([[CREATE OR REPLACE FUNCTION %s.read(p_from bigint, p_count int, p_bytes bigint)
			RETURNS TABLE (seq bigint, at_ns bigint, bytes bytea) LANGUAGE plpgsql SECURITY DEFINER
			AS $$ BEGIN RAISE EXCEPTION 'planted' USING ERRCODE = '58030'; END $$]]):format(schema))
		local said, good, _, status = verify()
		assert.same({false, 1}, {good or false, status})
		mentions(said, "planted", "58030")
		assert.is_nil(said:find("damage", 1, true), said)
	end)
end)

describe("a store on PostgreSQL whose connections are ended at random", function()
	after_each(helper.clean)

	it("acknowledges what is there, once, and its watchers see all in order [P2 P4]", function()
		local location = new_log()
		local store = helper.open(location)
		local registry = helper.registry(store)
		local appenders = start_appenders(location, 2)
		local seen = watch_all(registry)
		local run, out, finish = server:session()
		run(([[DO $$
			DECLARE
				v_end timestamptz := clock_timestamp() + interval '%d s';
			BEGIN
				WHILE clock_timestamp() < v_end LOOP
					PERFORM pg_stat_clear_snapshot();
					PERFORM CASE WHEN random() < 0.7 THEN pg_terminate_backend(pid) ELSE pg_cancel_backend(pid) END FROM (
						SELECT pid FROM pg_stat_activity WHERE application_name = 'vigia' ORDER BY random() LIMIT 1) a;
					PERFORM pg_sleep(random() * 0.04);
				END LOOP;
			END $$; SELECT 'over';]]):format(LONG and 60 or 2))
		local done, failed = 0, 0
		helper.drive(registry, function()
			local ok, err = store:store_checkpoint("still", 0) -- takes the id, and gives it up
			if ok then done = done + 1 else failed = failed + 1 end
			assert(ok or err.code == "store_unreachable", tostring(err)) -- several sessions in turn may end as they begin
			return helper.read_file(out):find("over")
		end)
		finish()
		assert(done > 4 * failed, done .. " done, " .. failed .. " failed")
		local acknowledged = check_appenders(store, appenders)
		assert(acknowledged > 20, acknowledged)
		check_watchers(store, registry, seen)
	end)

	it("makes a new connection in each kind of call that finds its own ended", function()
		local store = helper.open((new_log()))
		local registry = helper.registry(store)
		helper.fill(store, 3)
		assert(store:put("b", "k", 1))
		local watched = 0
		local CALLS <const> = {
			function() return store:get("b", "k") end,
			function() return store:range("b") end,
			function() return store:get_event(1) end,
			function() return store:get_events{timeout = 0} end,
			function() return store:store_event("CREATE", "Job", 1) end,
			function() return store:store_checkpoint("c", 1) end,
			function() return store:get_checkpoint("c") end,
			function() return store:transaction(function(tx) tx:put("b", "n", (tx:get("b", "n") or 0) + 1) end) end,
			function() return store:configure{max_events = 100} end,
			function() return store:stats() end,
			function() return store:watchers() end,
			function() return store:dead_letters{} end,
			function() return store:pause("c") end,
			function() return store:gc() end,
			function() return store:trim(1) end,
			function()
				watched = watched + 1
				return registry:watch("w" .. watched, function() end)
			end,
		}
		for n, call in ipairs(CALLS) do
			assert(call()) -- all its statements are prepared there
			terminate_all()
			local ok, err = call()
			assert(ok, ("call %d: %s"):format(n, tostring(err)))
		end
	end)

	it("goes on after a crash of the server, and shows its watchers again", function()
		local location = new_log()
		local store = helper.open(location)
		local registry = helper.registry(store)
		local other = helper.open(location .. "&lease=9")
		local function shown()
			local watchers = other:watchers()
			return watchers and #watchers == 3 and watchers[1].state == "running" and watchers[1].rate and true
		end
		local seen = watch_all(registry)
		local appenders = start_appenders(location, 1)
		helper.drive(registry, shown)
		-- The postmaster ends all its processes when one of them dies in this way, and recovers.
		assert(os.execute("kill -9 " .. server:sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'vigia' LIMIT 1")))
		local came = #seen.plain
		helper.drive(registry, function() return #seen.plain > came + 20 end)
		helper.drive(registry, shown)
		check_appenders(store, appenders)
		check_watchers(store, registry, seen)
	end)
end)

describe("a store on PostgreSQL without its server", function()
	after_each(helper.clean)

	it(("waits %s, spins not, and goes on where it was [P4]"):format(LONG and "for 5 minutes" or "a while"), function()
		local SECONDS <const> = LONG and 300 or 3
		local location = new_log("&connect_timeout=1")
		local store = helper.open(location)
		local registry = helper.registry(store)
		local seen = watch_all(registry)
		helper.fill(store, 10)
		helper.drive(registry, function() return #seen.plain >= 5 end)
		local socket = server.folder .. "/.s.PGSQL.5432"
		local run, _, finish = server:session()
		run("SELECT 'in';", "in") -- before there is no way in
		assert(os.rename(socket, socket .. ".away"))
		run("SELECT count(pg_terminate_backend(pid)) >= 0 FROM pg_stat_activity WHERE application_name = 'vigia';", "t")
		finish()
		local begun, used, steps = helper.now(), os.clock(), 0
		local err = select(2, store:store_event("CREATE", "Job", "in the outage"))
		assert(err.code == "store_unreachable" or err.code == "commit_unknown", tostring(err))
		while helper.now() < begun + SECONDS do
			registry:step(0.5)
			steps = steps + 1
		end
		assert(os.clock() - used < 0.2 + 0.1 * SECONDS, ("%.3f s of processor time in %d s"):format(os.clock() - used, SECONDS))
		fails("store_unreachable", store:get_latest_event_num())
		assert(os.rename(socket .. ".away", socket))
		helper.eventually(function() return store:store_event("CREATE", "Job", "after it") end)
		check_watchers(store, registry, seen)
	end)
end)

describe("a store on PostgreSQL over TLS", function()
	local remote

	setup(function() remote = assert(postgres.start_on_port()) end)
	teardown(function() remote:stop() end)
	after_each(helper.clean)

	it("is encrypted and checks the server as the parameters of libpq say", function()
		if not select(2, helper.shell("openssl version")) then return helper.pending("there is no openssl (Debian: apt-get install openssl)") end
		-- By the server's user, in its folder.
		local made, said = pcall(remote.sql, remote, [[COPY (SELECT 1) TO PROGRAM
			'openssl req -new -x509 -days 2 -nodes -subj /CN=localhost -keyout server.key -out server.crt 2>&1 && chmod 600 server.key']])
		assert(made, said)
		remote:sql("ALTER SYSTEM SET ssl = on")
		remote:sql("SELECT pg_reload_conf()")
		helper.eventually(function() return remote:sql("SHOW ssl") == "on" end)
		local root = helper.write_file("root.crt", remote:sql("SELECT pg_read_file('server.crt')") .. "\n")
		local function location(host, parameters)
			return ("postgresql://vigia@%s:%d/vigia?connect_timeout=5&%s&log=tls"):format(host, remote.port, parameters)
		end
		local store
		helper.eventually(function() -- the postmaster may not have read it yet
			store = vigia.open(location("localhost", "hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert=" .. root), {collect = false})
			return store
		end)
		assert.equal(1, assert(store:store_event("CREATE", "Job", 1)))
		assert.same({1}, (read(store)))
		assert.equal("t|3", remote:sql([[SELECT bool_and(s.ssl), count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
			WHERE a.application_name = 'vigia']]))
		store:close()
		helper.open(location("127.0.0.1", "sslmode=require")):close()
		local err = fails("store_unreachable", vigia.open(location("127.0.0.1", "sslmode=verify-full&sslrootcert=" .. root)))
		mentions(err, "127.0.0.1", "localhost")
		assert(os.execute(("openssl req -new -x509 -days 2 -nodes -subj /CN=localhost -keyout /dev/null -out '%s' 2>/dev/null")
			:format(helper.path("other.crt"))))
		mentions(fails("store_unreachable", vigia.open(location("127.0.0.1", "sslmode=verify-ca&sslrootcert=" .. helper.path("other.crt")))),
			"certificate verify failed")
		remote:sql("ALTER SYSTEM SET ssl = off")
		remote:sql("SELECT pg_reload_conf()")
		helper.eventually(function()
			local another
			another, err = vigia.open(location("127.0.0.1", "sslmode=require"))
			if another then another:close() end
			return err
		end)
		mentions(fails("store_unreachable", nil, err), "SSL")
	end)
end)

describe("a store on PostgreSQL whose server has a full disk", function()
	local small

	setup(function() small = assert(postgres.start_with_disk()) end)
	teardown(function() small:stop() end)
	after_each(helper.clean)

	it("returns disk_full, has nothing half done, and goes on when there is room again", function()
		local store = helper.open(small:new_location())
		local registry = helper.registry(store)
		local handler, seen = helper.recorder()
		local blob = ("x"):rep(20000)
		helper.fill(store, 3)
		assert(registry:watch("w", handler, {checkpoint = "event"}))
		helper.drive(registry, function() return #seen == 3 end)
		small.full(true)
		local last, err = 3, nil
		for _ = 1, 100 do
			local number
			number, err = store:store_event("CREATE", "Large", blob, {key = "k" .. last + 1})
			if err then break end
			last = last + 1
			assert.equal(last, number)
		end
		mentions(fails("disk_full", nil, err), "53100", "No space left on device")
		mentions(fails("disk_full", store:store_events{{"CREATE", "Large", blob}, {"CREATE", "Large", blob}}), "53100")
		fails("disk_full", store:transaction(function(tx)
			tx:put("b", "k", blob)
			tx:store_event("CREATE", "Large", blob)
		end))
		assert.equal(last, assert(store:get_latest_event_num()))
		assert.same(range(1, last), (read(store)))
		helper.drive(registry, function() return #seen == last end)
		small.full(false)
		assert.same({last + 1}, {store:store_event("CREATE", "Large", blob, {key = "k" .. last + 1})})
		assert.is_nil((store:get("b", "k")))
		helper.drive(registry, function() return #seen == last + 1 end)
		assert(registry:stop())
		assert.equal(last + 1, assert(store:get_checkpoint("w")))
		assert.same(range(1, last + 1), seen)
	end)

	it("is store_unreachable while the server shuts down", function()
		local location = small:new_location("&connect_timeout=1")
		local store = helper.open(location)
		helper.fill(store, 1)
		-- A smart shutdown waits for the sessions that there are, and takes no new ones.
		assert(os.execute("kill -TERM " .. helper.read_file(small.folder .. "/pid")))
		local err
		helper.eventually(function()
			local another
			another, err = vigia.open(location .. "&lease=9")
			if another then another:close() end
			return err
		end)
		mentions(fails("store_unreachable", nil, err), "57P03")
		assert.equal(2, assert(store:store_event("CREATE", "Job", 1)))
	end)
end)

describe("the server", function()
	it("ends", function()
		local folder = server.folder
		server:stop()
		assert.is_nil(lfs.attributes(folder))
	end)
end)
