-- caps_spec.lua - scripts under caps: each one of spec/misbehaving is stopped, counted and given up, and nobody else notices.

local helper = require "spec.helper"
local lfs = require "lfs"
local vigia = require "vigia"

local drive, fails, fill, mentions, raises, range = helper.drive, helper.fails, helper.fill, helper.mentions, helper.raises, helper.range

local FOLDER <const> = "spec/misbehaving"
local MIB <const> = 1024 * 1024

-- A script in the test's folder; returns its path.
local function script(source, name)
	return helper.write_file((name or "script") .. ".lua", source)
end

local read, settle = helper.read_file, helper.settle

local function caps(options)
	local all = {memory_limit = 64 * MIB, cpu_limit = 0.05, retry_strategy = "skip", max_retries = 2, initial_backoff = 0.001}
	for name, value in pairs(options or {}) do all[name] = value end
	return all
end

describe("a capped script", function()
	local store, registry

	before_each(function()
		store = helper.memory()
		registry = helper.registry(store)
	end)
	after_each(helper.clean)

	-- A bad event, and a good one behind it.
	local function two_events()
		assert(store:store_event("CREATE", "Job", {bad = true}))
		assert(store:store_event("CREATE", "Job", {bad = false}))
	end

	local names = {}
	for name in lfs.dir(FOLDER) do
		if name:find("%.lua$") then names[#names + 1] = name end
	end
	table.sort(names)
	assert(#names > 40)

	for _, name in ipairs(names) do
		local path = FOLDER .. "/" .. name
		local ends_by = assert(read(path):match("^%-%- Ends by: (%a+)%."), path)

		it("is stopped within its cap and 100 ms, counted, given up or retried, and others do not notice: " .. name .. " [H4a R3]", function()
			local cpu_limit = ends_by == "cpu" and 0.05 or 10
			local handle, seen = helper.recorder()
			local good = assert(registry:watch("good", handle))
			local thread, watcher = helper.new_thread(function() return assert(registry:watch("bad", path, caps{cpu_limit = cpu_limit})) end)
			local stubborn = assert(registry:watch("stubborn", path,
				caps{cpu_limit = cpu_limit, retry_strategy = "block", max_backoff = 0.01}))
			local before, memory = helper.thread_seconds(thread), helper.peak_growth()
			two_events()
			settle(registry, watcher, good)
			local seconds = before and helper.thread_seconds(thread) - before or 0
			local stats = watcher:stats()
			assert.same({1, 2}, seen)
			assert.equal(0, good:stats().failed)
			assert.equal(1, stats.processed, tostring(stats.last_error))
			assert.equal(1, stats.skipped)
			assert.equal(1, stats.retried)
			assert.equal(2, stats.failed)
			assert.equal("handler_error", stats.last_error.code)
			local message = tostring(stats.last_error)
			if ends_by == "cpu" then mentions(message, "processor time", "cpu_limit") end
			if ends_by == "memory" then mentions(message, "memory_limit") end
			if ends_by == "error" then assert.is_nil(message:find("_limit", 1, true), message) end
			-- Two attempts and the good event; two states are made anew, which is about what the thread did before.
			local most = 2 * (cpu_limit + 0.1) + (helper.sanitized and 2 or 3 * before)
			assert(seconds < most, ("%g s of processor time, and not less than %g"):format(seconds, most))
			drive(registry, function() return stubborn:stats().failed >= 3 end)
			stats = stubborn:stats()
			assert.same({1, 0, 0}, {stats.blocked_on, stats.processed, stats.skipped})
			assert(stats.retried >= 2)
			local grown = memory()
			-- Two scripts; malloc, too, keeps something for itself.
			if grown and not helper.sanitized then assert(grown < 2 * 2 * 64 * MIB, grown .. " bytes") end
			assert.is_true(watcher:stop())
			assert.is_true(stubborn:stop())
			assert.equal(2, store:get_checkpoint("bad"))
			fails("checkpoint_not_found", store:get_checkpoint("stubborn"))
		end)
	end

	it("is not stopped by what stays within its caps, however many events there are [H4b]", function()
		local path = script [[
			local total = 0
			return function(event)
				for i = 1, 2000 do total = total + i end
				local text = ("x"):rep(1000) .. event.seq_num
				return #text
			end]]
		-- All events together take several times the processor time that one may, and make more garbage than the memory.
		local cpu_limit <const> = 0.5
		local thread, watcher = helper.new_thread(function()
			return assert(registry:watch("a", path, {memory_limit = MIB, cpu_limit = cpu_limit}))
		end)
		local count = 0
		repeat
			fill(store, 10000)
			count = count + 10000
			settle(registry, watcher)
			local stats = watcher:stats()
			assert.equal(0, stats.failed, tostring(stats.last_error))
			assert.equal(count, stats.processed)
		until (helper.thread_seconds(thread) or count / 1e5) > 2 * cpu_limit
	end)

	it("counts processor time, not the time that passes [H4c]", function()
		fill(store, 1)
		local path = script [[
			local vigia = require "vigia"
			local function compute(seconds)
				local began = os.clock()
				repeat until os.clock() - began > seconds
			end
			return function()
				compute(0.06)
				vigia.sleep(1)
				compute(0.06)
			end]]
		local watcher = assert(registry:watch("a", path, {cpu_limit = 0.5}))
		settle(registry, watcher)
		assert.equal(1, watcher:stats().processed)
	end)

	it("makes the state anew after a cap: init runs again, what the script kept is gone, stop runs once [H4d]", function()
		two_events()
		assert(store:store_event("CREATE", "Job", {bad = false}))
		local log = helper.path("log")
		local path = script [[
			local given = ...
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
					while event.object.bad do end
				end,
				stop = function() note("stop") end,
			}]]
		local watcher = assert(registry:watch("a", path, caps{set = {log = log}, max_retries = 3}))
		settle(registry, watcher)
		assert(watcher:stop())
		assert.equal("init\nevent 1 count 1\ninit\nevent 1 count 1\ninit\nevent 1 count 1\ninit\nevent 2 count 1\nevent 3 count 2\nstop\n",
			read(log))
	end)

	it("makes it anew of what was loaded, not of what the file holds meanwhile [H4e]", function()
		local path = script [[
			return function(event) while event.object.bad do end end]]
		local watcher = assert(registry:watch("a", path, caps()))
		script("this is no Lua")
		two_events()
		settle(registry, watcher)
		local stats = watcher:stats()
		assert.equal(1, stats.processed, tostring(stats.last_error))
		assert.equal(1, stats.skipped)
	end)

	it("retries without end when that is its strategy, and stops when it is told to [H4f]", function()
		two_events()
		local watcher = assert(registry:watch("a", FOLDER .. "/endless_loop.lua", caps{retry_strategy = "block"}))
		drive(registry, function() return watcher:stats().failed >= 3 end)
		local stats = watcher:stats()
		assert.equal(1, stats.blocked_on)
		assert.equal(0, stats.processed)
		assert.is_true(watcher:stop())
		assert.equal("stopped", watcher:stats().state)
	end)

	it("caps the loading of a script, its init and its stop [H4g]", function()
		local load_err = fails("handler_error", registry:watch("a", script("while true do end"), caps()))
		mentions(load_err, "script.lua", "loading the script", "cpu_limit")
		load_err = fails("handler_error", registry:watch("a", script("x = {} while true do x[#x + 1] = {} end"), caps{memory_limit = MIB}))
		mentions(load_err, "loading the script", "memory_limit")
		local init_err = fails("handler_error", registry:watch("a",
			script("return {handle = print, init = function() while true do pcall(error) end end}"), caps()))
		mentions(init_err, "init", "cpu_limit")
		local watcher = assert(registry:watch("a", script("return {handle = function() end, stop = function() while true do end end}"), caps()))
		assert.is_true(watcher:stop())
		mentions(watcher:stats().stop_error, "stop", "cpu_limit")
		assert(watcher:start())
		fill(store, 1)
		settle(registry, watcher)
		assert.equal(1, watcher:stats().processed)
	end)

	it("may be in the middle of a long budget when the watcher is stopped, and is left when its event is done [H4h]", function()
		fill(store, 3)
		local watcher = assert(registry:watch("a", script [[
			return function() local n = 0 for i = 1, 1e5 do n = n + i end end]], {cpu_limit = 100}))
		settle(registry, watcher)
		assert.is_true(watcher:stop())
		assert.equal(3, watcher:stats().processed)
	end)

	it("sees only the libraries it may [H4i]", function()
		fill(store, 1)
		local path = script([[
			local given = ...
			assert(string and table and not io and not os and not debug and not package and not coroutine)
			assert(_G.io == nil and require("string") == string and require("vigia").sleep)
			assert(not pcall(require, "io") and not pcall(require, "lfs") and not pcall(require, "package"))
			assert(load("return io == nil and string ~= nil")())
			assert(require("_G") == _G and _G._G == _G)
			return function(event) return ("x"):rep(3) end]])
		local watcher = assert(registry:watch("a", path, {libraries = {"string", "table"}}))
		settle(registry, watcher)
		assert.equal(1, watcher:stats().processed)
		assert(watcher:stop())

		watcher = assert(registry:watch("b", script("assert(not string and not table and print) return function() end"), {libraries = {}}))
		settle(registry, watcher)
		assert.equal(1, watcher:stats().processed)
	end)

	it("reads no file and loads no module through the modules that load scripts [H4y]", function()
		fill(store, 1)
		local secret = helper.write_file("secret.lua", "return function() end")
		local path = script(([[
			local loader, core = require "vigia.script", require "vigia.core"
			local open = {}
			local function try(what, f, ...)
				local ok, result = pcall(f, ...)
				if ok and result then open[#open + 1] = what end
			end
			try("load", loader.load, %q, {options = {}}, {})
			try("load of a text", loader.load, "x", {options = {}, inside = true}, {}, "return function() end")
			try("serializer", loader.load, "x", {options = {}}, {}, "return {handle = print, serializer = 'lfs'}")
			try("find", loader.find, %q)
			try("find a module", loader.find, "lfs")
			for level = 1, 20 do
				local info = debug.getinfo(level, "fS")
				if not info then break end
				if info.source:find("script.lua", 1, true) and info.what == "Lua" then
					try("level " .. level, info.func, %q, {options = {}}, {})
				end
			end
			try("repl", require("vigia").repl)
			return function() return nil, "open: " .. table.concat(open, ", ") .. "." end]]):format(secret, secret, secret))
		local watcher = assert(registry:watch("a", path, {libraries = {"string", "table", "debug"}, max_retries = 1, retry_strategy = "skip"}))
		settle(registry, watcher)
		mentions(watcher:stats().last_error, "open: .")
	end)

	it("finds its modules, as source only [H4j]", function()
		fill(store, 1)
		local module = helper.path("inner.lua")
		local file = assert(io.open(module, "w"))
		file:write("return {answer = 42}")
		file:close()
		local compiled = assert(io.open(helper.path("compiled.lua"), "wb"))
		compiled:write(string.dump(function() return 1 end))
		compiled:close()
		local path = script(([[
			package.path = %q .. "/?.lua;" .. package.path
			assert(require("inner").answer == 42)
			assert(dofile(%q).answer == 42)
			local ok, message = pcall(require, "compiled")
			assert(not ok and message:find("attempt to load a binary chunk", 1, true), message)
			assert(not pcall(dofile, %q))
			assert(not loadfile(%q) and not loadfile(%q, "b") and loadfile(%q))
			assert(not pcall(require, "no.such.module"))
			return function() end]]):format(helper.path(), module, helper.path("compiled.lua"), helper.path("compiled.lua"),
				helper.path("compiled.lua"), module))
		for id, options in pairs{capped = {cpu_limit = 1}, uncapped = {}} do
			local watcher = assert(registry:watch(id, path, options))
			settle(registry, watcher)
			assert.equal(1, watcher:stats().processed)
		end
		fails("script_error", registry:watch("c", helper.path("compiled.lua"), {cpu_limit = 1}))
		mentions(select(2, registry:watch("c", helper.path("compiled.lua"))), "bytecode")
	end)

	it("has Lua's functions as they are, but for what they must not do [H4k]", function()
		fill(store, 1)
		local path = script [[
			-- coroutines
			local co = coroutine.create(function(a, b)
				local c = coroutine.yield(a + b)
				local x <close> = setmetatable({}, {__close = function() closed = true end})
				coroutine.yield(c)
				error("never")
			end)
			assert(select(2, coroutine.resume(co, 1, 2)) == 3)
			assert(select(2, coroutine.resume(co, "c")) == "c")
			assert(coroutine.close(co) and closed and coroutine.status(co) == "dead")
			local ok, message = coroutine.resume(co)
			assert(not ok and message == "cannot resume dead coroutine")
			assert(not pcall(coroutine.close, coroutine.running()))
			co = coroutine.create(function()
				local x <close> = setmetatable({}, {__close = function() error("closing", 0) end})
				coroutine.yield()
			end)
			coroutine.resume(co)
			ok, message = coroutine.close(co)
			assert(ok == false and message == "closing")
			local list = {}
			for n in coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end) do list[#list + 1] = n end
			assert(table.concat(list) == "123")
			ok, message = pcall(coroutine.wrap(function() error("inside") end))
			assert(not ok and message:find("inside", 1, true))
			ok, message = pcall(coroutine.wrap(function() error({1}) end))
			assert(not ok and message[1] == 1)
			assert(not pcall(coroutine.wrap, 1) and not pcall(coroutine.resume, 1))
			-- a pcall and an xpcall around a yield
			co = coroutine.wrap(function()
				return pcall(function() coroutine.yield(1) error("x", 0) end)
			end)
			assert(co() == 1)
			ok, message = co()
			assert(ok == false and message == "x")
			co = coroutine.wrap(function(...)
				return xpcall(function(...) coroutine.yield(...) return "end", ... end, print, ...)
			end)
			assert(select("#", co(1, nil)) == 2)
			local r = table.pack(co())
			assert(r.n == 4 and r[1] and r[2] == "end" and r[3] == 1)
			-- xpcall
			assert(select(2, xpcall(error, function(m) return m .. "!" end, "a")) == "a!")
			assert(select("#", xpcall(function(...) return ... end, print, 1, 2, nil)) == 4)
			assert(not pcall(xpcall) and not pcall(xpcall, print))
			-- metatables
			local mt = {__metatable = "locked", __index = {a = 1}}
			assert(setmetatable({}, mt).a == 1 and getmetatable(setmetatable({}, mt)) == "locked")
			assert(not pcall(setmetatable, setmetatable({}, mt), {}))
			assert(getmetatable({}) == nil and getmetatable("").__index == string and getmetatable(io.stdout) == nil)
			assert(not pcall(setmetatable, {}, {__gc = true}) and not pcall(setmetatable, 1, {}))
			-- strings
			assert(("ab"):rep(3, ",") == "ab,ab,ab" and ("x"):rep(0) == "" and (""):rep(1 << 60) == "" and ("x"):rep(-1) == "")
			assert(not pcall(string.rep) and not pcall(string.rep, ""))
			-- tables
			local t = {1, 2, 3}
			table.insert(t, 4) table.insert(t, 1, 0)
			assert(table.concat(t, ",") == "0,1,2,3,4")
			assert(table.remove(t) == 4 and table.remove(t, 1) == 0 and table.remove(t, 4) == nil and table.concat(t, ",") == "1,2,3")
			assert(table.remove({}) == nil and table.remove({}, 0) == nil and not pcall(table.remove, {1}, 5))
			assert(not pcall(table.insert, t, 9, 1) and not pcall(table.insert, t, 0, 1))
			assert(not pcall(table.insert, t) and not pcall(table.insert, 1, 2))
			assert(table.concat(table.move({1, 2, 3}, 1, 3, 2), ",") == "1,1,2,3")
			assert(table.concat(table.move({1, 2, 3}, 2, 3, 1), ",") == "2,3,3")
			assert(table.concat(table.move({1, 2, 3}, 1, 3, 3, {8, 9}), ",") == "8,9,1,2,3")
			assert(#table.move({}, 1, 0, 1) == 0 and not pcall(table.move, {}, math.mininteger, math.maxinteger, 1))
			-- load
			assert(load("return ...", "name", "t")(5) == 5 and load("return x", "name", "bt", {x = 6})() == 6)
			assert(load("return x", "name", nil, {x = 7})() == 7 and load("return x", "name", "t", nil) and not load("x x"))
			assert(load(coroutine.wrap(function() coroutine.yield("return ") coroutine.yield("8") end))() == 8)
			-- debug
			assert(debug.traceback("m"):find("^m\nstack") and debug.getinfo(1, "l").currentline > 0)
			for name in pairs(debug) do assert(name == "traceback" or name == "getinfo", name) end
			return function(event, ctx)
				assert(ctx.store:get_latest_event_num() == 1)
				assert(not pcall(os.exit) and not pcall(os.setlocale) and os.time())
				local ok, message = pcall(require("vigia").registry, ctx.store)
				assert(not ok and message:find("limited", 1, true))
			end]]
		local watcher = assert(registry:watch("a", path, caps{cpu_limit = 10}))
		settle(registry, watcher)
		local stats = watcher:stats()
		assert.equal(1, stats.processed, tostring(stats.last_error))
	end)

	it("names each cap that is wrong [H4l W18]", function()
		local message = raises(registry.watch, registry, "a", "x.lua",
			{memory_limit = 1000, cpu_limit = 0.0001, libraries = {"strng", "io"}})
		mentions(message, "memory_limit is 1000", "cpu_limit is 0.0001", "libraries[1]", "strng", "did you mean string?")
		mentions(raises(registry.watch, registry, "a", "x.lua", {memory_limit = -1, cpu_limit = "1", libraries = "io"}),
			"memory_limit", "cpu_limit", "libraries is a string")
		mentions(raises(registry.watch, registry, "a", "x.lua", {libraries = {1, x = 2}}), "libraries")
	end)

	it("refuses caps for a handler that is a function [H4m]", function()
		for _, name in ipairs{"memory_limit", "cpu_limit", "libraries"} do
			mentions(raises(registry.watch, registry, "a", print, {[name] = 1}), name, "needs a handler that is a script")
		end
	end)

	it("cannot give itself other caps [H4n]", function()
		local err = fails("script_error", registry:watch("a", script("return {handle = print, cpu_limit = 100}"), caps()))
		mentions(err, "`cpu_limit` cannot be set in a script")
	end)

	it("is told when a coroutine's arguments or results are more than a stack holds, as in Lua [H4q]", function()
		helper.fill(store, 1)
		local watcher = assert(registry:watch("a", script [[
			return {filter = {object_types = {"Job"}}, handle = function(event, ctx)
				local function many(n) return table.unpack({}, 1, n) end
				local co = coroutine.create(function(...) coroutine.yield() end)
				assert(coroutine.resume(co, many(300000)))
				local good, text = coroutine.resume(co, many(900000))
				assert(not good and text == "too many arguments to resume", text)
				local function beside(...)
					return coroutine.resume(coroutine.create(function() return many(900000) end))
				end
				good, text = beside(many(300000))
				assert(not good and text == "too many results to resume", text)
			end}]], {memory_limit = 256 * MIB}))
		settle(registry, watcher)
		assert.equal(0, watcher:stats().failed, tostring(watcher:stats().last_error))
	end)

	it("is refused where the system has no timer for it [H4b]", function()
		if not helper.shell("prlimit --version"):find("util-linux", 1, true) then return helper.pending("prlimit is missing") end
		local output = helper.run_lua("prlimit --sigpending=0", [[
			local store <close> = vigia.open ":memory:"
			local registry = vigia.registry(store)
			print(select(2, registry:watch("a", arg[1], {cpu_limit = 1})))]], script("return function() end"))
		mentions(output, "cpu_limit: no timer is available")
	end)

	it("tells on_error of what the handler raised while it stays within its caps [H4o]", function()
		fill(store, 1)
		local log = helper.path("log")
		local path = script [[
			local given = ...
			return {
				handle = function() error("broken", 0) end,
				on_error = function(err)
					local file <close> = assert(io.open(given.set.log, "a"))
					file:write(tostring(err), "\n")
				end,
			}]]
		local watcher = assert(registry:watch("a", path, caps{set = {log = log}}))
		settle(registry, watcher)
		assert.equal("broken\nbroken\n", read(log))
	end)

	it("caps on_error, too [H4p]", function()
		fill(store, 1)
		local path = script("return {handle = function() error('broken') end, on_error = function() while true do pcall(error) end end}")
		local watcher = assert(registry:watch("a", path, caps()))
		settle(registry, watcher)
		local stats = watcher:stats()
		assert.equal(2, stats.failed)
		mentions(stats.last_error, "cpu_limit")
	end)

	it("gives each of several scripts its own caps, while all run [H4q]", function()
		fill(store, 300)
		local good = script("return function() local n = 0 for i = 1, 1000 do n = n + i end end", "good")
		local bad = script("return function() while true do end end", "bad")
		local greedy = script("local t = {} return function() for i = 1, 1e7 do t[#t + 1] = {} end end", "greedy")
		local watchers = {}
		for i = 1, 3 do
			watchers[#watchers + 1] = assert(registry:watch("good" .. i, good, {cpu_limit = 1, memory_limit = 4 * MIB}))
		end
		local hopeless = {assert(registry:watch("bad", bad, caps{retry_strategy = "block"})),
			assert(registry:watch("greedy", greedy, caps{retry_strategy = "block", cpu_limit = 5, memory_limit = MIB}))}
		settle(registry, table.unpack(watchers))
		drive(registry, function() return hopeless[1]:stats().failed > 1 and hopeless[2]:stats().failed > 1 end)
		for _, watcher in ipairs(watchers) do
			assert.equal(300, watcher:stats().processed)
			assert.equal(0, watcher:stats().failed)
		end
		mentions(hopeless[1]:stats().last_error, "cpu_limit")
		mentions(hopeless[2]:stats().last_error, "memory_limit")
		assert.is_true(assert(registry:stop()))
		assert.same({1, 2, 3}, range(1, 3))
	end)

	it("counts the time of an event over all the pieces that waiting cuts it into [H4r]", function()
		fill(store, 1)
		local path = script [[
			local vigia = require "vigia"
			return function()
				while true do
					for i = 1, 1000 do end
					vigia.sleep(0.0001)
				end
			end]]
		local watcher = assert(registry:watch("a", path, caps()))
		settle(registry, watcher)
		mentions(watcher:stats().last_error, "cpu_limit")
	end)

	it("takes over new code under the same caps [H4s]", function()
		local path = script("return function() end")
		local watcher = assert(registry:watch("a", path, caps()))
		script("return function(event) while event.object.bad do end end")
		assert(watcher:reload())
		two_events()
		settle(registry, watcher)
		local stats = watcher:stats()
		assert.equal(1, stats.skipped)
		assert.equal(1, stats.processed)
		script("while true do end")
		local _, err = watcher:reload()
		mentions(err, "cpu_limit")
		assert(store:store_event("CREATE", "Job", {bad = false}))
		settle(registry, watcher)
		assert.equal(2, watcher:stats().processed)
		assert.equal("function", type(vigia.sleep))
	end)

	it("is capped by the options of vigia run [H4t]", function()
		local program = helper.program()
		if not program then return helper.pending("there is no program beside the module") end
		local path = helper.path("store")
		local file = helper.open(path)
		assert(file:store_event("CREATE", "Job", {bad = true}))
		local function run(options, handler)
			local output, ok = helper.shell(("%s run --store %s --until-idle --max-wait 0 %s %s"):format(helper.quoted(program),
				helper.quoted(path), options, helper.quoted(handler)))
			return output, ok
		end
		local output, ok = run("--cpu 0.05", FOLDER .. "/endless_loop.lua")
		assert.is_nil(ok)
		mentions(output, "event 1 still fails", "0.05 seconds of processor time")
		output, ok = run("--memory 1M", FOLDER .. "/memory_table.lua")
		assert.is_nil(ok)
		mentions(output, "event 1 still fails", "1048576 bytes of memory")
		output, ok = run("--libraries string,table", script("assert(string and table and not io) return function() end", "libs"))
		assert.is_true(ok, output)
		output, ok = run("--libraries ''", script("assert(not string and not io) return function() end", "nolibs"))
		assert.is_true(ok, output)
		output = run("--libraries strng", script("return function() end"))
		mentions(output, "there is no library 'strng' (did you mean string?)")
		mentions(run("--memory 1X", path), "--memory must be a number of bytes")
		mentions(run("--memory 1K", path), "memory_limit is 1024")
		mentions(run("--cpu soon", path), "--cpu must be a number of seconds")
	end)
end)
