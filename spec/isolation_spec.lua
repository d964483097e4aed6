-- isolation_spec.lua - scripts in a process of their own: what they can do there, and what becomes of the ones that crash or hang.

local helper = require "spec.helper"
local lfs = require "lfs"
local vigia = require "vigia"

local drive, fails, fill, mentions = helper.drive, helper.fails, helper.fill, helper.mentions

local FOLDER <const> = "spec/misbehaving"
-- Loading has the cap of an event, and takes its time under ThreadSanitizer.
local CAP <const> = helper.tsan and 0.5 or 0.05
local MIB <const> = 1024 * 1024

local write, read = helper.write_file, helper.read_file

local function script(source, name)
	return write((name or "script") .. ".lua", source)
end

local function exists(pid)
	return lfs.attributes("/proc/" .. pid, "mode") == "directory"
end

-- The isolated programs that this process runs.
local function programs()
	local pids = {}
	for pid in lfs.dir("/proc") do
		if pid:find("^%d+$") and read("/proc/" .. pid .. "/cmdline"):find("^vigia%z%-%-isolated%z") then
			local parent = read("/proc/" .. pid .. "/status"):match("PPid:%s*(%d+)")
			if parent == lfs.symlinkattributes("/proc/self", "target") then pids[#pids + 1] = pid end
		end
	end
	return pids
end

describe("an isolated script", function()
	local program = helper.program()
	if not program then
		it("is left out [H6]", function() helper.pending("there is no program beside the module") end)
		return
	end

	local store, registry, logged

	before_each(function()
		store = helper.open()
		registry, logged = helper.logging_registry(store)
	end)
	after_each(function()
		store, registry = nil, nil
		helper.clean()
		assert.same({}, programs())
	end)

	local function isolated(options)
		local all = {isolation = "process", worker_program = program, retry_strategy = "skip", max_retries = 2, initial_backoff = 0.001}
		for name, value in pairs(options or {}) do all[name] = value end
		return all
	end

	local function settle(...) helper.settle(registry, ...) end

	local function two_events()
		assert(store:store_event("CREATE", "Job", {bad = true}))
		assert(store:store_event("CREATE", "Job", {bad = false}))
	end

	-- A bad event fails twice and is given up, the good one behind it is handled, by this watcher and by another one.
	local function survives(source, options, ...)
		two_events()
		local before = helper.children_seconds()
		local handle, seen = helper.recorder()
		local good = assert(registry:watch("good", handle))
		local watcher = assert(registry:watch("bad", source, isolated(options)))
		settle(watcher, good)
		local stats = watcher:stats()
		assert.same({1, 2}, seen)
		assert.equal(1, stats.processed, tostring(stats.last_error))
		assert.equal(1, stats.skipped)
		assert.equal(2, stats.failed)
		assert.equal("handler_error", stats.last_error.code)
		mentions(stats.last_error, ...)
		-- Two programs were ended in these attempts, each within its cap and 100 ms, with what starting it takes.
		local most = 2 * ((options.cpu_limit or 10) + 0.1 + (helper.sanitized and 2 or 0.1))
		local seconds = helper.children_seconds() - before
		assert(seconds < most, ("%g s of processor time, and not less than %g"):format(seconds, most))
		assert.is_true(watcher:stop())
		assert.equal(2, store:get_checkpoint("bad"))
	end

	---- what goes wrong ----

	for name in lfs.dir(FOLDER) do
		if name:find("%.lua$") then
			local path = FOLDER .. "/" .. name
			local ends_by = assert(read(path):match("^%-%- Ends by: (%a+)%."), path)
			it("is stopped within its caps like one on a thread: " .. name .. " [H6a]", function()
				survives(path, {memory_limit = 64 * MIB, cpu_limit = ends_by == "cpu" and CAP or 10},
					ends_by == "cpu" and "cpu_limit" or ends_by == "memory" and "memory_limit" or "")
			end)
		end
	end

	it("is killed when a C function computes beyond its cap [H6b]", function()
		local before = helper.now()
		survives(script [[
			return function(event)
				if event.object.bad then return (("a"):rep(250)):find(".-.-.-.-.-b") end
			end]], {cpu_limit = CAP}, ("the handler took more than %g seconds of processor time"):format(CAP), "cpu_limit")
		assert(helper.now() - before < 30)
	end)

	-- Sanitizers need more memory than there is, and report a crash in any process.
	local sanitized = os.getenv("ASAN_OPTIONS") or os.getenv("TSAN_OPTIONS")

	it("survives a crash in a C module [H6c]", function()
		if sanitized then return helper.pending("a sanitizer would report the crash") end
		if not os.execute("cc --version >/dev/null 2>&1") then return helper.pending("there is no C compiler") end
		local source = write("crash.c", [[
			#include <stddef.h>
			static int crash(void *L) { (void)L; return *(volatile int *)NULL; }
			extern void lua_pushcclosure(void *L, int (*fn)(void *), int n);
			int luaopen_crash(void *L) { lua_pushcclosure(L, crash, 0); return 1; }
		]])
		local output, ok = helper.shell(("cc -shared -fPIC -o %s %s"):format(helper.quoted(helper.path("crash.so")), helper.quoted(source)))
		assert(ok, output)
		survives(script(([[
			package.cpath = %q
			local crash = require "crash"
			return function(event)
				if event.object.bad then crash() end
			end]]):format(helper.path("?.so"))), {}, "the handler failed", "was ended by signal")
	end)

	it("takes os.exit for a failure [H6d]", function()
		survives(script [[
			return function(event)
				if event.object.bad then os.exit(3, true) end
			end]], {}, "its program ended with status 3")
	end)

	it("cannot use more memory than its cap, in C either [H6e]", function()
		if sanitized then return helper.pending("sanitizers cannot run with little memory") end
		fill(store, 1)
		local path = script [[
			local limits = io.open("/proc/self/limits"):read("a")
			local soft, hard = limits:match("Max data size%s+(%d+)%s+(%d+)")
			assert(tonumber(soft) < 200 * 1024 * 1024 and soft == hard)
			return function() end]]
		local watcher = assert(registry:watch("a", path, isolated{memory_limit = 8 * MIB}))
		settle(watcher)
		assert.equal(1, watcher:stats().processed)
	end)

	it("is told when its loading, its init, its stop or its filter is stopped or crashes [H6f]", function()
		mentions(fails("script_error", registry:watch("a", script("while true do end"), isolated{cpu_limit = CAP})), "loading the script",
			"cpu_limit")
		mentions(fails("script_error", registry:watch("a", script("os.exit(1)"), isolated())), "loading the script", "status 1")
		mentions(fails("script_error", registry:watch("a", script("x x"), isolated())), "script.lua:1:", "syntax error")
		mentions(fails("script_error", registry:watch("a", script("return {handle = print, init = function() os.exit(1) end}"), isolated())),
			"init", "status 1")
		local watcher = assert(registry:watch("a", script("return {handle = print, stop = function() os.exit(1) end}"), isolated()))
		assert.is_true(watcher:stop())
		mentions(watcher:stats().stop_error, "stop failed", "status 1")
		assert(watcher:start())
		assert.is_true(watcher:stop())
		two_events()
		watcher = assert(registry:watch("b", script [[
			return {handle = function() end, where = function(event) if event.object.bad then os.exit(1) end return true end}]], isolated()))
		settle(watcher)
		mentions(watcher:stats().last_error, "its filter failed", "status 1")
		assert.equal(1, watcher:stats().processed)
		assert.equal(1, watcher:stats().skipped)
	end)

	it("says what to do when there is no program [H6g]", function()
		local err = fails("script_error", registry:watch("a", script("return print"), isolated{worker_program = "/no/such/vigia"}))
		mentions(err, "/no/such/vigia", "worker_program")
	end)

	it("leaves no orphan when its supervisor is killed, and its id is taken until it is gone [H6h]", function()
		fill(store, 1)
		local path = script [[
			local pid = io.open("/proc/self/stat"):read("n")
			return function()
				print(pid)
				io.stdout:flush()
				while true do end
			end]]
		local child = helper.child([[
			local store = assert(vigia.open(arg[1]))
			local registry = assert(vigia.registry(store))
			assert(registry:watch("lonely", arg[2], {isolation = "process", worker_program = arg[3]}))
			registry:run()]], helper.path("store"), path, program)
		local pid = child:line()
		assert.is_true(exists(pid))
		mentions(lfs.symlinkattributes("/proc/" .. pid .. "/fd/4", "target"), helper.path())
		fails("watcher_owned", registry:watch("lonely", print))
		os.execute("kill -9 " .. child.pid)
		-- One that lived on would keep the output of its supervisor open, and with it whoever reads to its end.
		local gone, message = pcall(helper.eventually, function() return not read("/proc/" .. pid .. "/stat"):find("%) [^ZX]") end,
			"the orphan lives on")
		if not gone then os.execute("kill -9 " .. pid) end
		assert(gone, message)
		child:wait()
		assert(registry:watch("lonely", function() end))
	end)

	it("is one process from event to event, and another one after a failure of that one [H6i]", function()
		for n = 1, 4 do assert(store:store_event("CREATE", "Job", {bad = n == 3})) end
		local log = helper.path("log")
		local watcher = assert(registry:watch("a", script [[
			local given = ...
			local pid = io.open("/proc/self/stat"):read("n")
			local count = 0
			local function note(text)
				local file <close> = assert(io.open(given.set.log, "a"))
				file:write(text, "\n")
			end
			return {
				init = function() note("init") end,
				handle = function(event)
					count = count + 1
					note("event " .. event.seq_num .. " count " .. count)
					if event.object.bad then os.exit(1) end
				end,
				stop = function() note("stop") end,
			}]], isolated{set = {log = log}}))
		settle(watcher)
		assert.is_true(watcher:stop())
		assert.equal("init\nevent 1 count 1\nevent 2 count 2\nevent 3 count 3\ninit\nevent 3 count 1\ninit\nevent 4 count 1\nstop\n", read(log))
	end)

	---- what it can do ----

	it("has the store, its watcher and the log at hand [H6j]", function()
		fill(store, 2)
		local watcher = assert(registry:watch("a", script [[
			local given = ...
			local vigia = require "vigia"
			local store, log = given.store, given.log
			log("warn", "loading at " .. store:get_latest_event_num())
			return {
				filter = {object_types = {"Job"}},
				initial_event_iterator = vigia.at_sequence_number(2),
				batch_size = 7,
				init = function(ctx)
					assert(ctx.store == store and ctx.log == log and ctx.watcher:id() == "a")
				end,
				handle = function(event, ctx)
					assert(event.seq_num == 2 and event.operation == "CREATE" and event.object_type == "Job" and event.timestamp > 0)
					assert(event.object.n == 2 and ctx.attempt == 1 and ctx.stopping == false and ctx.store == store)
					assert(store:store_event("CREATE", "Out", {a = {1, 2}}) == 3)
					local mine = {{operation = "UPDATE", object_type = "Out", object = "x"}, {"DELETE", "Out"}}
					local first, last = store:store_events(mine)
					assert(first == 4 and last == 5 and mine[1].object == "x")
					local answer = assert(store:get_events{event_iterator = vigia.after_sequence_number(2), timeout = 0,
						filter = {operations = {"CREATE", "DELETE"}}})
					assert(#answer.events == 2 and answer.events[1].object.a[2] == 2 and answer.events[2].object == nil)
					assert(answer.next_event_iterator == vigia.after_sequence_number(5))
					assert(store:get_event(4).object == "x")
					local none, err = store:get_event(99)
					assert(none == nil and err.code == "event_not_found" and tostring(err):find("99"))
					local ok, message = pcall(store.store_event, store, 5, "Out")
					assert(not ok and message:find("operation", 1, true), message)
					ok, message = pcall(store.store_event, store, "CREATE", "Out", print)
					assert(not ok or message == nil)
					assert(not pcall(store.close, store) and not pcall(store.configure, store, {}))
					assert(store:store_checkpoint("other", 1) and store:get_checkpoint("other") == 1 and store:checkpoints().other == 1)
					local stats = ctx.watcher:stats()
					assert(stats.id == "a" and stats.next_event_iterator.kind == "at_sequence_number" or stats.next_event_iterator.seq_num)
					assert(vigia.sleep(0.001))
					assert(ctx.watcher:checkpoint(2))
					log("warn", "handled")
					assert(ctx.watcher:stop())
				end,
			}]], isolated()))
		drive(registry, function() return watcher:stats().state == "stopped" end)
		local stats = watcher:stats()
		assert.equal(1, stats.processed, tostring(stats.last_error))
		assert.equal(5, store:get_latest_event_num())
		registry:step(0)
		assert.same({"warn: loading at 2", "warn: handled"}, logged)
	end)

	it("does not open the store: of its files it has the one that holds the locks, and maps none [H6u]", function()
		fill(store, 1)
		local log = helper.path("log")
		local watcher = assert(registry:watch("a", script [[
			local given = ...
			local lfs = require "lfs"
			return function(event, ctx)
				assert(ctx.store:get_event(1).object.n == 1)
				local out <close> = assert(io.open(given.set.log, "w"))
				for fd in lfs.dir("/proc/self/fd") do
					local target = lfs.symlinkattributes("/proc/self/fd/" .. fd, "target") or ""
					if target:find("store", 1, true) then out:write("fd ", fd, " ", target:match("[^/]*$"), "\n") end
				end
				for line in io.lines("/proc/self/maps") do
					if line:find("/store", 1, true) then out:write("mapped ", line, "\n") end
				end
			end]], isolated{set = {log = log}}))
		settle(watcher)
		assert.equal(1, watcher:stats().processed, tostring(watcher:stats().last_error))
		assert.equal("fd 4 store-side\n", read(log))
	end)

	it("carries every value there and back [H6k]", function()
		local deep = "bottom"
		for _ = 1, 100 do deep = {deep} end
		local values = {deep, {deep = true, list = vigia.array{}, null = {vigia.null, 1}}, 1 << 63, 0.5, -0.0, math.huge, "\0\xff", "text",
			true, false, {[1] = "one", [5] = "five", [true] = 1, [0.5] = 2}}
		for _, value in ipairs(values) do assert(store:store_event("CREATE", "Value", value)) end
		assert(store:store_event("CREATE", "Value", nil))
		local watcher = assert(registry:watch("a", script [[
			return {filter = {object_types = {"Value"}}, handle = function(event, ctx)
				assert(ctx.store:store_event("CREATE", "Echo", event.object))
				local back = ctx.store:get_event(event.seq_num)
				assert(ctx.store:store_events{{"CREATE", "Echo2", back.object}})
			end}]], isolated()))
		settle(watcher)
		assert.equal(#values + 1, watcher:stats().processed, tostring(watcher:stats().last_error))
		for _, kind in ipairs{"Echo", "Echo2"} do
			local answer = assert(store:get_events{filter = {object_types = {kind}}, timeout = 0, scan = "end"})
			assert.equal(#values + 1, #answer.events)
			for i, event in ipairs(answer.events) do assert.is_nil(helper.difference(values[i], event.object)) end
		end
	end)

	it("seeks, and is stopped in the middle of a sleep [H6l]", function()
		fill(store, 3)
		local log = helper.path("log")
		local watcher = assert(registry:watch("a", script [[
			local given = ...
			local vigia = require "vigia"
			return function(event, ctx)
				local file <close> = assert(io.open(given.set.log, "a"))
				file:write(event.seq_num, " ")
				file:flush()
				if event.seq_num == 2 and ctx.watcher:stats().processed == 1 then assert(ctx.watcher:seek_to_offset(0)) end
				if event.seq_num == 3 then
					local slept, err = vigia.sleep(1000)
					assert(slept == nil and err.code == "stopping" and ctx.stopping)
				end
			end]], isolated{set = {log = log}}))
		drive(registry, function() return read(log) == "1 2 1 2 3 " end)
		assert.is_true(watcher:stop())
		assert.equal(5, watcher:stats().processed)
		assert.equal(3, store:get_checkpoint("a"))
	end)

	it("is killed when the stop of its registry in a coroutine has waited its time [H6l]", function()
		fill(store, 1)
		local log = helper.path("log")
		local watcher = assert(registry:watch("a", script [[
			local given = ...
			return function()
				local file <close> = assert(io.open(given.set.log, "w"))
				file:write("begins")
				file:close()
				while true do end
			end]], isolated{set = {log = log}}))
		local begin, ended
		registry:spawn(function()
			while read(log) ~= "begins" do vigia.sleep(0.01) end
			begin = helper.now()
			ended = {registry:stop{timeout = 0.02}}
		end)
		drive(registry, function() return ended end)
		assert(helper.now() - begin < 10)
		assert.same({}, programs())
		assert.equal("stopped", watcher:stats().state)
	end)

	it("filters by its own function, and tells on_error of its failures [H6m]", function()
		fill(store, 4)
		local log = helper.path("log")
		local watcher = assert(registry:watch("a", script [[
			local given = ...
			local function note(...)
				local file <close> = assert(io.open(given.set.log, "a"))
				file:write(table.concat({...}, " "), "\n")
			end
			return {
				where = function(event) return event.object.n % 2 == 0 end,
				handle = function(event) note("event", event.seq_num) if event.seq_num == 4 then return nil, "not four" end end,
				on_error = function(err, event, ctx) note(tostring(err), err.code, event.seq_num, ctx.attempt) end,
			}]], isolated{set = {log = log}}))
		settle(watcher)
		assert.equal("event 2\nevent 4\nnot four handler_error 4 1\nevent 4\nnot four handler_error 4 2\n", read(log))
	end)

	it("filters by places of the object, and by a predicate beside them [F4e]", function()
		fill(store, 6)
		local log = helper.path("log")
		local watcher = assert(registry:watch("a", script [[
			local given = ...
			return {
				filter = {where = {["object.n"] = {2, 4, 5.0}}, predicate = function(event) return event.object.n ~= 4 end},
				handle = function(event, ctx)
					local file <close> = assert(io.open(given.set.log, "a"))
					local explained = assert(ctx.store:explain({where = {["object.n"] = 2}}))
					file:write("event ", event.seq_num, " of ", explained.events, ", places: ", explained.places, "\n")
				end,
			}]], isolated{set = {log = log}}))
		settle(watcher)
		assert.equal("event 2 of 6, places: 1\nevent 5 of 6, places: 1\n", read(log))
		assert.equal(2, watcher:stats().processed)
	end)

	it("tells on_error of an error object that cannot be printed [H6m]", function()
		fill(store, 1)
		local log = helper.path("log")
		local watcher = assert(registry:watch("a", script [[
			local given = ...
			return {
				handle = function() error(setmetatable({}, {__tostring = error})) end,
				on_error = function(err)
					local file <close> = assert(io.open(given.set.log, "w"))
					file:write(err.message)
				end,
			}]], isolated{set = {log = log}}))
		settle(watcher)
		assert.equal("(an error object: table whose __tostring fails)", read(log))
		mentions(watcher:stats().last_error, "(an error object: table whose __tostring fails)")
	end)

	it("logs a failure of its on_error, and nothing when that succeeds [H6m]", function()
		fill(store, 1)
		settle((assert(registry:watch("a", script [[
			return {
				handle = function() error("broken", 0) end,
				on_error = function(err, event, ctx) if ctx.attempt == 2 then error("too", 0) end end,
			}]], isolated()))))
		local function told()
			local list = {}
			for _, line in ipairs(logged) do
				if line:find("on_error", 1, true) then list[#list + 1] = line end
			end
			return list
		end
		helper.drive(registry, function() return #told() > 0 end) -- a record may come after the progress
		assert.same({"error: watcher 'a': on_error failed: too"}, told())
	end)

	it("may have an id of one byte, or of 255 [H6j]", function()
		for _, id in ipairs{"a", ("b"):rep(255)} do
			local watcher = assert(registry:watch(nil, script(("return {id = %q, handle = function() end}"):format(id)), isolated()))
			assert.equal(id, watcher:id())
			assert.is_true(watcher:stop())
		end
	end)

	it("takes over new code in a new process [H6n]", function()
		fill(store, 1)
		local path = script("return function(event, ctx) ctx.store:store_checkpoint('version', 1) end")
		local watcher = assert(registry:watch("a", path, isolated{ephemeral = true}))
		settle(watcher)
		assert.equal(1, store:get_checkpoint("version"))
		script("return {handle = function(event, ctx) ctx.store:store_checkpoint('version', 2) end, init = function() end}")
		assert(watcher:reload())
		fill(store, 1)
		settle(watcher)
		assert.equal(2, store:get_checkpoint("version"))
		script("os.exit(1)")
		local ok, err = watcher:reload()
		assert.is_nil(ok)
		mentions(err, "status 1")
		fill(store, 1)
		settle(watcher)
		assert.equal(3, watcher:stats().processed)
		assert.equal(1, #programs())
	end)

	it("sees only the libraries it may [H6o]", function()
		fill(store, 1)
		local path = script("assert(string and not io and not os) return function() end")
		local watcher = assert(registry:watch("a", path, isolated{libraries = {"string"}}))
		settle(watcher)
		assert.equal(1, watcher:stats().processed)
	end)

	it("runs by vigia run --isolate [H6p]", function()
		assert(store:store_event("CREATE", "Job", {bad = true}))
		local function run(options, handler)
			return helper.shell(("%s run --store %s --until-idle --max-wait 0 --isolate %s %s"):format(helper.quoted(program),
				helper.quoted(helper.path("store")), options, helper.quoted(handler)))
		end
		local output, ok = run("", script("return function(event) print('event ' .. event.seq_num) end", "good"))
		assert.is_true(ok, output)
		assert.equal("event 1\n", output)
		output, ok = run("--cpu 0.05", script("return function() return (('a'):rep(250)):find('.-.-.-.-.-b') end", "slow"))
		assert.is_nil(ok)
		mentions(output, "event 1 still fails", "cpu_limit")
	end)
end)
