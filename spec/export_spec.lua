-- export_spec.lua - export and import: all of a store as a stream of records, and back.

local assert = require "luassert"
local helper = require "spec.helper"
local postgres = require "spec.support.postgres"
local vigia = require "vigia"

local server, no_server = postgres.start()

local function bytes_of(path)
	local file <close> = assert(io.open(path, "rb"))
	return file:read("a")
end

local function write(path, bytes)
	local file <close> = assert(io.open(path, "wb"))
	assert(file:write(bytes))
end

-- A watcher with lanes that stops with events handled behind one that fails: what its lanes have finished is in the store.
local function leave_lanes(store)
	local registry <close> = vigia.registry(store, {log = false})
	local watcher = assert(registry:watch("laned", function(event)
		if event.object == 10 then error("not this one", 0) end
	end, {lanes = 3, lane_key = "object", filter = {object_types = {"K"}}, initial_backoff = 3600, max_backoff = 3600}))
	helper.drive(registry, function() return watcher:stats().failed == 1 and watcher:stats().processed > 9 end)
	assert(registry:stop())
end

-- A store with something of each kind in it: 630 events, keys, letters, lanes, buckets, timers, checkpoints, a hold, a pause, settings.
local function fill(store)
	for i = 1, 300 do
		assert(store:store_events{{"CREATE", "Job", {id = i, big = math.maxinteger, raw = "\xff\0"}}, {"UPDATE", "Job" .. i % 7, i}})
		if i % 10 == 0 then assert(store:store_event("KEYED", "K", i, {key = "key-" .. i})) end
		assert(store:put("b" .. i % 3, i, {i}))
	end
	assert(store:put("b1", "name", "\xfe"))
	assert(store:put("empty", 1, 1))
	assert(store:delete("empty", 1))
	assert(store:store_checkpoint("w", 200))
	assert(store:schedule({after = 86400}, "LATER", "T", 1, {key = "later"}))
	assert(store:schedule({after = 86400}, "LATER", "T", 2))
	assert(store:configure{max_events = 100000})
	leave_lanes(store)
	assert(store:pause "w")
	local registry <close> = vigia.registry(store, {log = false})
	assert(registry:watch("fails", function() error("no", 0) end,
		{retry_strategy = "dead_letter", max_retries = 1, initial_backoff = 0.001, initial_event_iterator = vigia.at_sequence_number(625)}))
	helper.drive(registry, function() return #store:dead_letters() == 6 end)
	assert(registry:watch("holds", print, {auto_start = false}))
	return store
end

-- How many records of a kind there are in it.
local function count(bytes, kind)
	local name, found = string.char(0xa0 + #kind) .. kind, 0
	for _ in bytes:gmatch(".\xce...." .. name:gsub("%p", "%%%0")) do found = found + 1 end
	return found
end

describe("an export", function()
	after_each(helper.clean)

	local function open_at(place)
		return helper.open(place == "postgresql" and server:new_location() or place == ":memory:" and place or helper.path(place))
	end

	if not server then
		it("of a log on PostgreSQL", function() helper.pending(no_server) end)
	end
	for _, from in ipairs{"store", ":memory:"} do
		for _, to in ipairs(server and from == "store" and {"copy", ":memory:", "postgresql"} or {"copy", ":memory:"}) do
			it(("of %s, imported into %s and exported again, is equal byte for byte [O5]"):format(from, to), function()
				local store = fill(open_at(from))
				assert(store:trim(99))
				local done = assert(store:export(helper.path("a")))
				assert.same({100, 630, 630, 0, false}, {done.first, done.last, done.at, done.resumed_bytes, done.changed})
				local whole = bytes_of(helper.path("a"))
				assert.equal(#whole, done.bytes)
				for kind, least in pairs{settings = 1, checkpoint = 3, hold = 1, pause = 1, lanes = 1, timer = 2, letter = 6, bucket = 1, value = 301,
					event = 531, key = 26, ["end"] = 1} do
					assert.equal(least, count(whole, kind), kind)
				end
				local copy = open_at(to)
				assert(copy:import(helper.path("a")))
				assert(copy:export(helper.path("b")))
				assert.equal(bytes_of(helper.path("a")), bytes_of(helper.path("b")))
				assert.same(store:get_event(555), copy:get_event(555))
				local number, existed = copy:store_event("KEYED", "K", 0, {key = "key-300"})
				assert.same({630, true}, {number, existed})
				assert.equal(631, copy:store_event("NEXT", "T", 1))
				assert.equal(6, #copy:dead_letters())
				for _, w in ipairs(copy:watchers()) do assert.equal(w.watcher == "w", w.paused == true, w.watcher) end
			end)
		end
	end

	it("that was cut anywhere goes on where it was, in a file of its own only [O5]", function()
		local store = fill(helper.open())
		assert(store:export(helper.path("a")))
		local whole = bytes_of(helper.path("a"))
		for cut = 0, #whole - 1, 997 do
			write(helper.path("b"), whole:sub(1, cut))
			assert(store:export(helper.path("b")))
			assert.equal(whole, bytes_of(helper.path("b")))
		end
		for _, other in ipairs{whole, "other"} do
			write(helper.path("b"), other)
			local _, err = store:export(helper.path("b"))
			assert.equal("file_exists", err.code)
			assert.equal(other, bytes_of(helper.path("b")))
		end
	end)

	it("that is damaged, cut or foreign is refused with the place, and the import goes on with a whole one [O5]", function()
		assert(fill(helper.open()):export(helper.path("a")))
		local whole = bytes_of(helper.path("a"))
		for at = 1, #whole - 1, 1777 do
			for _, bad in ipairs{whole:sub(1, at), whole:sub(1, at - 1) .. string.char(whole:byte(at) ~ 16) .. whole:sub(at + 1)} do
				write(helper.path("bad"), bad)
				local copy = helper.memory()
				local _, err = copy:import(helper.path("bad"))
				assert.equal("export_damaged", err.code)
				assert.truthy(tostring(err):find("record %d+ at byte %d+"))
				if copy:stats().importing then
					local refused = select(2, copy:store_event("A", "B", 1))
					assert.equal("import_unfinished", refused.code)
				end
				assert(copy:import(helper.path("a")))
				assert.is_false(copy:stats().importing)
				copy:close()
			end
		end
	end)

	it("goes into an empty store only, and is interrupted by its progress function [O5]", function()
		local store = fill(helper.open())
		assert(store:export(helper.path("a")))
		assert.equal("store_not_empty", select(2, store:import(helper.path("a"))).code)
		for _, thing in ipairs{
			function(other) return other:store_event("A", "B", 1) end,
			function(other) return other:store_event("A", "B", 1) and other:trim(1) end,
			function(other) return other:store_checkpoint("w", 0) end,
			function(other) return other:put("b", 1, 1) end,
			function(other) return other:schedule({after = 86400}, "A", "B", 1) end,
		} do
			for _, other in ipairs{helper.memory(), helper.open(helper.path("other"))} do
				assert(thing(other))
				helper.fails("store_not_empty", other:import(helper.path("a")))
				helper.fails("store_not_empty", other:import(helper.path("a"), {anew = true}))
				assert(other:store_event("A", "B", 1))
				other:close()
			end
			for _, suffix in ipairs{"", "-lock", "-side"} do os.remove(helper.path("other" .. suffix)) end
		end
		local _, err = store:export(helper.path("b"), {progress = function() return false end})
		assert.equal("interrupted", err.code)
		assert(store:export(helper.path("b")))
		assert.equal(bytes_of(helper.path("a")), bytes_of(helper.path("b")))
	end)

	it("of a store without events keeps the next number, and of one without anything is imported too [O5]", function()
		for _, open in ipairs{helper.memory, helper.open} do
			local store = open()
			assert.same({1, 0}, {assert(store:export(helper.path("none"))).first, 0})
			helper.fill(store, 7)
			assert(store:trim(7))
			local time = store:stats()
			assert.same({8, 7}, {store:export(helper.path("gone")).first, store:stats().latest or 7}, time)
			for name, number in pairs{none = 1, gone = 8} do
				for _, to in ipairs{":memory:", helper.path(name .. "-copy")} do
					local copy = helper.open(to)
					assert(copy:import(helper.path(name)))
					assert(copy:export(helper.path(name .. "-again")))
					assert.equal(bytes_of(helper.path(name)), bytes_of(helper.path(name .. "-again")))
					assert.equal(number, copy:store_event("A", "B", 1))
					copy:close()
					for _, suffix in ipairs{"-copy", "-copy-lock", "-copy-side", "-again"} do os.remove(helper.path(name .. suffix)) end
				end
			end
			store:close()
			for _, name in ipairs{"none", "gone"} do os.remove(helper.path(name)) end
		end
	end)

	it("stops with sequence_expired if its events are removed before it has written them [O5]", function()
		for _, open in ipairs{helper.memory, helper.open} do
			local store = open()
			local events = {}
			for i = 1, 5000 do events[i] = {"CREATE", "Job", ("x"):rep(1000)} end
			assert(store:store_events(events))
			local trimmed
			local done, err = store:export(helper.path("a"), {progress = function(at)
				if at.at >= 1000 and not trimmed then trimmed = assert(store:trim(4000)) end
			end})
			helper.fails("sequence_expired", done, err)
			helper.mentions(tostring(err), "the events from 1001 on were removed")
			-- The file is of an export that can no more be finished.
			helper.fails("sequence_expired", store:export(helper.path("a")))
			os.remove(helper.path("a"))
			assert.equal(4001, assert(store:export(helper.path("a"))).first)
			os.remove(helper.path("a"))
			store:close()
		end
	end)

	it("has the events up to the last one at its start, however many come meanwhile, and says when buckets changed [O5]", function()
		for _, open in ipairs{helper.memory, helper.open} do
			local store = open()
			helper.fill(store, 3000)
			assert(store:put("b", 1, 1))
			local done = assert(store:export(helper.path("a"), {progress = function() helper.fill(store, 500) end}))
			assert.same({1, 3000, 3000, false}, {done.first, done.last, done.at, done.changed})
			local copy = helper.memory()
			assert(copy:import(helper.path("a")))
			assert.equal(3000, copy:get_latest_event_num())
			os.remove(helper.path("a"))
			done = assert(store:export(helper.path("a"), {progress = function(at)
				if at.at < 1 then assert(store:put("b", 2, 2)) end
			end}))
			assert.is_true(done.changed)
			os.remove(helper.path("a"))
			store:close()
		end
	end)

	it("has each timer either as a timer or as its event, though they become due meanwhile [O5]", function()
		for _, open in ipairs{helper.memory, helper.open} do
			local store = open()
			helper.fill(store, 1)
			for i = 1, 400 do assert(store:schedule({after = i / 1000}, "DUE", "T", i)) end
			for n = 1, 20 do
				local path = helper.path("a" .. n)
				local done = assert(store:export(path))
				local bytes = bytes_of(path)
				assert.equal(401, count(bytes, "timer") + count(bytes, "event"), ("export %d, up to %d"):format(n, done.last))
				os.remove(path)
			end
			store:close()
		end
	end)
end)

describe("an unfinished import", function()
	after_each(helper.clean)

	-- The exports of two stores; a store into which the import of the first was interrupted behind its first commit of events.
	local function begin(open)
		for i, name in ipairs{"a", "z"} do
			local store = helper.memory()
			helper.fill(store, 9000 + i)
			assert(store:put("b", 1, i))
			assert(store:store_checkpoint("w", 3))
			assert(store:export(helper.path(name)))
		end
		local copy = open()
		local done, err = copy:import(helper.path("a"), {progress = function(at) return at.at < 4000 end})
		helper.fails("interrupted", done, err)
		return copy
	end

	local kinds = {memory = helper.memory, file = helper.open}
	kinds["file without a journal"] = function() return helper.open(nil, {journal = false}) end
	kinds.postgresql = server and function() return helper.open(server:new_location()) end
	for kind, open in pairs(kinds) do
		it(("refuses every change and each watcher: a store of kind %s [O5]"):format(kind), function()
			local copy = begin(open)
			local function refused(...) helper.mentions(tostring(helper.fails("import_unfinished", ...)), "import") end
			assert.is_true(copy:stats().importing)
			refused(copy:store_event("A", "B", 1))
			refused(copy:store_events{{"A", "B", 1}})
			refused(copy:store_event("A", "B", 1, {key = "k"}))
			refused(copy:put("b", 2, 2))
			refused(copy:delete("b", 1))
			refused(copy:transaction(function(tx) tx:put("b", 3, 3) end))
			refused(copy:schedule({after = 1}, "A", "B", 1))
			refused(copy:store_checkpoint("w", 1))
			refused(copy:delete_checkpoint("w"))
			refused(copy:trim(10))
			refused(copy:configure{max_events = 7})
			refused(copy:export(helper.path("out")))
			refused(copy:import(helper.path("z"))) -- another export
			local registry = helper.registry(copy)
			refused(registry:watch("w", print))
			refused(registry:watch("e", print, {ephemeral = true}))
			assert.is_true(copy:stats().importing)
			local n = copy:get_latest_event_num()
			assert(n >= 4000 and n < 9001)

			local done = assert(copy:import(helper.path("a")))
			assert(done.resumed_bytes > 0 and done.at == 9001)
			assert.is_false(copy:stats().importing)
			assert(copy:export(helper.path("again")))
			assert.equal(bytes_of(helper.path("a")), bytes_of(helper.path("again")))
			local seen = {}
			local watcher = assert(registry:watch("w", function(event) seen[#seen + 1] = event.seq_num end))
			helper.drain(registry, watcher)
			assert.same({8998, 4}, {#seen, seen[1]})
			assert.equal(9002, copy:store_event("A", "B", 1))
		end)

		it(("is given up with anew, for another export, too: a store of kind %s [O5]"):format(kind), function()
			local copy = begin(open)
			assert(copy:import(helper.path("z"), {anew = true}))
			assert(copy:export(helper.path("again")))
			assert.equal(bytes_of(helper.path("z")), bytes_of(helper.path("again")))
			helper.fails("store_not_empty", copy:import(helper.path("z"), {anew = true}))
			assert.equal(9003, copy:store_event("A", "B", 1))
		end)
	end

	if server then
		it("goes on where an answer of the server was lost, of any of its statements and commits [O5]", function()
			local store = helper.memory()
			helper.fill(store, 5000)
			for n = 1, 80 do assert(store:put("b", n, n)) end
			assert(store:store_event("KEYED", "K", 1, {key = "k"}))
			assert(store:store_checkpoint("w", 3))
			assert(store:schedule({after = 86400}, "LATER", "T", 1))
			assert(store:export(helper.path("a")))
			local proxy = server:proxy()
			for _, text in ipairs{"IMPORT_LOCK", "IMPORT_BEGIN", "IMPORT_STEP", "IMPORT_EVENTS", "IMPORT_KEYS", "IMPORT_WATCHERS", "MAP_STORE",
				"COMMIT\0"} do
				local copy = helper.open((proxy.location("lost_" .. text:lower():gsub("%Z+%z$", "commit"))))
				text = text:find("\0") and text or postgres.statement(text)
				proxy.swallow(text)
				local again = 0
				assert(copy:import(helper.path("a"), {progress = function()
					if proxy.swallowed() then -- and the next one, which ends it
						again = again + 1
						proxy.swallow(text)
					end
				end}))
				assert(again > 0, text)
				os.remove(helper.path("proxy/swallow"))
				assert(copy:export(helper.path("b")))
				assert.equal(bytes_of(helper.path("a")), bytes_of(helper.path("b")))
				os.remove(helper.path("b"))
				assert.equal(5002, copy:store_event("A", "B", 1))
				copy:close()
			end
		end)
	end

	it("refuses the changes of other processes, too, which go on when it is finished [O5]", function()
		helper.open():close()
		local child = helper.child([[
			local store = assert(vigia.open(arg[1], {collect = false}))
			say("open")
			for _, importing in ipairs{true, false} do
				while store:stats().importing ~= importing do vigia.sleep(0.002) end
				local number, err = store:store_event("A", "B", 1)
				say(number or err.code)
			end]], helper.path("store"))
		child:expect("open")
		local store = begin(helper.open)
		child:expect("import_unfinished")
		assert(store:import(helper.path("a")))
		child:expect("9002")
		child:wait()
	end)

	it("goes on after its process was killed at any commit, and an export after any slice [O5]", function()
		begin(helper.memory)
		local KILLED <const> = [[
			local store = assert(vigia.open(arg[1], {collect = false}))
			local pid = io.open("/proc/self/stat"):read("n")
			local calls = 0
			local done, err = store[arg[2] ](store, arg[3], {progress = function()
				calls = calls + 1
				if calls == tonumber(arg[4]) then os.execute("kill -9 " .. pid) end
			end})
			say(done and "done" or err.code)]]
		local function killed(what, path, n)
			return helper.run_lua("", KILLED, helper.path("store"), what, path, n)
		end
		local times = 0
		for n = 1, 100 do
			local said = killed("import", helper.path("a"), n)
			if said == "done\n" then break end
			times = n
			if n == 2 then
				local store = helper.open()
				helper.fails("import_unfinished", store:store_event("A", "B", 1))
				store:close()
			end
		end
		assert(times >= 2)
		for n = 1, 100 do
			local said = killed("export", helper.path("out"), n)
			if said == "done\n" then break end
			times = times + 1
		end
		assert(times >= 8)
		assert.equal(bytes_of(helper.path("a")), bytes_of(helper.path("out")))
		helper.covered("transfers", "%d kills of exports and imports", times)
	end)
end)

describe("store:export and store:import", function()
	after_each(helper.clean)

	it("take an open file, also one that the progress function closes, and pass on what that raises [O5]", function()
		local store = helper.memory()
		helper.fill(store, 2000)
		assert(store:export(helper.path("a")))
		local file = assert(io.open(helper.path("b"), "w+"))
		assert(store:export(file, {progress = function() if io.type(file) == "file" then file:close() end end}))
		assert.equal(bytes_of(helper.path("a")), bytes_of(helper.path("b")))
		helper.mentions(helper.raises(store.export, store, file), "the file is closed")
		local copy = helper.memory()
		local thrown = setmetatable({}, {})
		local ok, err = pcall(copy.import, copy, helper.path("a"), {progress = function() error(thrown) end})
		assert.is_false(ok)
		assert.equal(thrown, err)
		copy = helper.memory()
		file = assert(io.open(helper.path("b")))
		assert(copy:import(file, {progress = function() collectgarbage() end}))
		assert.equal(2000, copy:get_latest_event_num())
		ok, err = pcall(store.export, store, helper.path("c"), {progress = function() store:close() end})
		assert.is_true(ok, err)
	end)

	it("fail at once with a file that is open for the other direction only, also with the end of a pipe [O5]", function()
		local store, fifo = helper.memory(), helper.path("fifo")
		helper.fill(store, 10)
		assert(os.execute("mkfifo " .. helper.quoted(fifo)))
		local both <close> = assert(io.open(fifo, "r+")) -- so that each end has another
		local reader <close> = assert(io.open(fifo, "r"))
		local writer <close> = assert(io.open(fifo, "w"))
		helper.mentions(helper.fails("io_error", store:export(reader)), "cannot write the export", "Bad file descriptor")
		helper.mentions(helper.fails("io_error", helper.memory():import(writer)), "cannot read the export", "Bad file descriptor")
		assert(store:export(helper.path("a")))
		local file <close> = assert(io.open(helper.path("a"), "a"))
		helper.mentions(helper.fails("io_error", helper.memory():import(file)), "cannot read the export", "Bad file descriptor")
		assert.equal("file", io.type(both))
	end)

	it("leave what is no export, and the files of the store, as they are [O5]", function()
		local store = helper.open()
		helper.fill(store, 10)
		for _, suffix in ipairs{"", "-lock", "-side"} do
			local path = helper.path("store" .. suffix)
			helper.mentions(tostring(helper.fails("file_exists", store:export(path))), "belongs to the store")
			helper.fails("file_exists", store:import(path))
			local file = assert(io.open(path, "r+"))
			helper.fails("file_exists", store:export(file))
		end
		helper.fails("file_exists", store:export(helper.path())) -- a folder
		helper.fails("io_error", store:export(helper.path("no/such/folder")))
		helper.fails("io_error", store:import(helper.path("no-file")))
		assert.equal(11, store:store_event("A", "B", 1))
	end)

	it("say which settings of the files differ, and refuse a handle that may not write [O5]", function()
		local store = helper.memory{serializer = "json"}
		assert(store:export(helper.path("a")))
		local copy = helper.memory()
		local err = helper.fails("option_conflict", copy:import(helper.path("a")))
		helper.mentions(tostring(err), "serializer", "json", "msgpack")
		helper.open():close()
		local reader = helper.open(nil, {readonly = true})
		helper.fails("store_readonly", reader:import(helper.path("a")))
		assert(reader:export(helper.path("b")))
	end)

	it("are passed on by a store written in Lua over another one [O5]", function()
		local store, copy = helper.wrapped(), helper.wrapped()
		helper.fill(store, 3)
		assert.equal(3, assert(store:export(helper.path("a"))).last)
		assert.equal(3, assert(copy:import(helper.path("a"))).at)
		assert.equal(4, copy:store_event("A", "B", 1))
	end)
end)

if server then
	describe("the server", function()
		it("ends", function() server:stop() end)
	end)
end
