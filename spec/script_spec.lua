-- script_spec.lua - handlers that are scripts: each in a Lua state and on a thread of its own.

local helper = require "spec.helper"
local lfs = require "lfs"
local vigia = require "vigia"

local drive, fails, fill, mentions, raises, range = helper.drive, helper.fails, helper.fill, helper.mentions, helper.raises, helper.range

-- Write a script into the test's folder; returns its path.
local function write(name, text)
	local path = helper.path(name)
	local file <close> = assert(io.open(path .. ".new", "w"))
	assert(file:write(text))
	assert(file:close())
	assert(os.rename(path .. ".new", path)) -- nobody sees half of it
	return path
end

local function read(path)
	local file = io.open(path)
	if not file then return nil end
	local text = file:read("a")
	file:close()
	return text
end

local objects, threads = helper.objects, helper.threads

-- Says what it sees by storing it.
local SAY = [[
	return {filter = {object_types = {"Job"}},
		handle = function(event, ctx) assert(ctx.store:store_event("CREATE", "Said", event.seq_num)) end}]]

describe("a handler that is a script", function()
	after_each(helper.clean)

	for _, kind in ipairs{"lmdb", "memory"} do
		local function open()
			return kind == "memory" and helper.memory() or helper.open(nil, {durability = "none"})
		end

		it("may sleep while it is loaded, on a store of kind " .. kind .. " [H3]", function()
			local store = open()
			local registry = helper.registry(store)
			local path = helper.path("script.lua")
			helper.write_file("script.lua", [[
				local vigia = require "vigia"
				assert(vigia.sleep(0.001) == true)
				return function(event, ctx) assert(ctx.store:store_event("CREATE", "Said", event.seq_num)) end]])
			helper.fill(store, 1)
			assert(registry:watch("w", path, {filter = {object_types = {"Job"}}}))
			helper.drive(registry, function() return store:get_event(2) end)
		end)

		it(("runs in a Lua state and on a thread of its own, undriven: %s [H3a]"):format(kind), function()
			local store = open()
			fill(store, 3)
			local path = write("own.lua", [[
				assert(leak == nil)
				leak = true
				local function thread()
					local file <close> = io.open("/proc/thread-self/stat")
					return file:read("n")
				end
				return {filter = {object_types = {"Job"}}, handle = function(event, ctx)
					ctx.store:store_event("CREATE", "Thread", thread())
				end}]])
			leak = nil -- luacheck: ignore
			local registry = helper.registry(store)
			for _, id in ipairs{"a", "b"} do assert(registry:watch(id, path)) end
			local seen = {}
			local from = vigia.trim_horizon()
			while #seen < 6 do
				local answer = assert(store:get_events{event_iterator = from, filter = {object_types = {"Thread"}}, timeout = 60})
				for _, event in ipairs(answer.events) do seen[#seen + 1] = event.object end
				from = answer.next_event_iterator
			end
			local main = assert(io.open("/proc/thread-self/stat")):read("n")
			local ids = {}
			for _, id in ipairs(seen) do ids[id] = (ids[id] or 0) + 1 end
			assert.is_nil(ids[main])
			local counts = {}
			for _, count in pairs(ids) do counts[#counts + 1] = count end
			assert.same({3, 3}, counts)
			assert.is_nil(rawget(_G, "leak"))
			assert(registry:stop())
		end)

		it(("hands over the events in order, each once, and saves its progress: %s [H3b W3n]"):format(kind), function()
			local store = open()
			fill(store, 1000)
			local registry = helper.registry(store)
			local watcher = assert(registry:watch("say", write("say.lua", SAY)))
			drive(registry, function() return watcher:stats().processed == 1000 end)
			assert.equal("running", watcher:stats().state)
			assert.equal(true, watcher:stop())
			assert.same(range(1, 1000), objects(store, "Said"))
			assert(assert(store:get_checkpoint("say")) >= 1000)
			local stats = watcher:stats()
			assert.same({"stopped", 1000, 0, 1000}, {stats.state, stats.processed, stats.failed, stats.last_processed_seq_num})
		end)
	end

	it("is found as a module, and takes its id, filter and options from its table [H3c]", function()
		local store = helper.memory()
		fill(store, 2)
		fill(store, 2, "Other")
		write("mod_script.lua", [[
			return {id = "called", filter = {object_types = {"Job"}}, batch_size = 1, ephemeral = true,
				handle = function(event, ctx) ctx.store:store_event("CREATE", "Said", {event.seq_num, ctx.watcher:id()}) end}]])
		local before <const> = package.path
		package.path = helper.path("?.lua") .. ";" .. before
		finally(function() package.path = before end)
		local registry = helper.registry(store)
		local watcher = assert(registry:watch(nil, "mod_script", {initial_event_iterator = vigia.at_sequence_number(2)}))
		assert.equal("called", watcher:id())
		assert.equal(watcher, registry:get_watcher("called"))
		drive(registry, function() return watcher:stats().processed == 1 and watcher:stats().lag == 0 end)
		assert.same({{2, "called"}}, objects(store, "Said"))
		fails("watcher_ephemeral", watcher:checkpoint(1))
		-- The options given outside win.
		local other = assert(registry:watch("mine", "mod_script", {ephemeral = false, filter = {object_types = {"Other"}}}))
		drive(registry, function() return other:stats().processed == 2 end)
		assert(other:checkpoint(3))
		assert.same({3, "mine"}, objects(store, "Said")[2])
		assert(registry:stop())
		mentions(fails("script_error", registry:watch("x", "no.such.module")), "no.such.module", "no file")
	end)

	it("filters by places of the object, and by a predicate beside them [F4e]", function()
		local store = helper.memory()
		for n = 1, 6 do assert(store:store_event("CREATE", "Job", {n = n, state = n % 2 == 0 and "lost" or vigia.null})) end
		write("places.lua", [[
			local function large(event) return event.object.n > 2 end
			return {ephemeral = true, filter = {object_types = {"Job"}, where = {["object.state"] = "lost"}, predicate = large},
				handle = function(event, ctx) ctx.store:store_event("CREATE", "Said", {event.seq_num, ctx.watcher:id()}) end}]])
		local registry = helper.registry(store)
		local own = assert(registry:watch("own", helper.path("places.lua")))
		drive(registry, function() return own:stats().lag == 0 end)
		assert.same({{4, "own"}, {6, "own"}}, objects(store, "Said"))
		local given = assert(registry:watch("given", helper.path("places.lua"),
			{filter = {object_types = {"Job"}, where = {["object.state"] = {vigia.null}, ["object.n"] = {1, 3}}}}))
		drive(registry, function() return given:stats().lag == 0 end)
		assert.same({{1, "given"}, {3, "given"}}, {table.unpack(objects(store, "Said"), 3)})
		local function refused(filter) return raises(registry.watch, registry, "x", helper.path("places.lua"), {filter = filter}) end
		mentions(refused{predicate = print}, "filter.predicate", "function")
		mentions(refused{where = {state = 1}}, "filter.where", "object.state")
	end)

	it("is given copies of plain values [H3d]", function()
		local store = helper.memory()
		fill(store, 1)
		local registry = helper.registry(store)
		local path = write("set.lua", [[
			local given = ...
			local set = given.set
			return function(event, ctx)
				if event.seq_num > 1 then return end
				ctx.store:store_event("CREATE", "Set", set)
			end]])
		local set = {text = "a\0b\xff", list = {1, 2.5, true}, deep = {deeper = {}}, none = vigia.null, big = math.maxinteger}
		local watcher = assert(registry:watch("a", path, {set = set}))
		drive(registry, function() return watcher:stats().processed >= 1 end)
		assert.is_nil(helper.difference(set, objects(store, "Set")[1]))
		mentions(raises(registry.watch, registry, "b", path, {set = {f = {print}}}), "set.f[1]", "function")
		local loop = {}
		loop.loop = loop
		mentions(raises(registry.watch, registry, "b", path, {set = loop}), "set.loop")
		mentions(raises(registry.watch, registry, "b", path, {set = 5, batch_size = 0, reload = "yes"}), "set is a number", "batch_size",
			"reload")
		mentions(raises(registry.watch, registry, "b", path, {on_error = print, where = print}), "on_error", "where", "put it into the table")
		mentions(raises(registry.watch, registry, "b", function() end, {set = {}}), "set needs a handler that is a script")
		assert(registry:stop())
	end)

	it("is told before its first event and after its last, once each [H3e]", function()
		local store = helper.memory()
		fill(store, 2)
		local registry = helper.registry(store)
		local path = write("life.lua", [[
			local given = ...
			local say = function(what) assert(given.store:store_event("CREATE", "Said", what)) end
			say "load"
			return {filter = {object_types = {"Job"}},
				init = function(ctx) say("init " .. ctx.watcher:id()) end,
				handle = function(event) say("event " .. event.seq_num) end,
				stop = function(ctx) say("stop " .. ctx.watcher:stats().state) end}]])
		local watcher = assert(registry:watch("a", path, {auto_start = false}))
		assert.equal("idle", watcher:stats().state)
		fails("handler_exists", watcher:set_handler(print))
		assert(watcher:start())
		fails("invalid_state", watcher:start())
		drive(registry, function() return watcher:stats().processed == 2 end)
		assert.equal(true, watcher:stop())
		assert.equal(true, watcher:stop())
		fill(store, 1)
		assert(watcher:start())
		drive(registry, function() return watcher:stats().processed == 3 end)
		assert(registry:stop())
		assert.same({"load", "init a", "event 1", "event 2", "stop stopped", "init a", "event 8", "stop stopped"}, objects(store, "Said"))
	end)

	it("fails to start with what its init raised or answered, and leaves no thread [H3f]", function()
		local store = helper.memory()
		fill(store, 1)
		local registry = helper.registry(store)
		local before = threads()
		for text, part in pairs{
			['return {init = function() error "no luck" end, handle = print}'] = "no luck",
			['return {init = function() return nil, "no luck" end, handle = print}'] = "no luck",
			["return {handle = print, batch_size = 0}"] = "batch_size is 0",
			["return {handle = print, bach_size = 1}"] = "did you mean 'batch_size'",
			["return {handle = print, auto_start = true}"] = "auto_start",
			["return {handle = print, filter = {types = {}}}"] = "filter",
			["return 5"] = "returns a number",
			["syntax error"] = "syntax error",
			["error({})"] = "the script failed",
			["error(nil)"] = "the script failed",
		} do
			local err = fails("script_error", registry:watch("a", write("bad.lua", text)))
			mentions(err, part, "bad.lua")
			fails("watcher_not_found", registry:get_watcher("a"))
		end
		mentions(fails("script_error", registry:watch("a", write("code.lua", string.dump(function() end)))), "bytecode")
		fails("script_error", registry:watch("a", helper.path("missing.lua")))
		local path = write("bad.lua", 'return {init = function() error "no luck" end, handle = print}')
		local idle = assert(registry:watch("a", path, {auto_start = false}))
		mentions(fails("script_error", idle:start()), "no luck")
		assert.equal("stopped", idle:stats().state)
		assert(registry:watch("a", write("good.lua", "return function() end")))
		helper.expect_threads(before + 1)
		assert(registry:stop())
	end)

	it("goes on while another one is blocked in C, and one works in Lua [W4i H3g]", function()
		local store = helper.open(nil, {durability = "none"})
		fill(store, 1)
		local registry = helper.registry(store)
		local flag = helper.path("flag")
		-- Blocked in C until the file is there, which the other one makes; that spins in Lua until the first one has begun.
		local blocked = assert(registry:watch("blocked", write("blocked.lua", [[
			local given = ...
			return {filter = {object_types = {"Job"}}, handle = function(event, ctx)
				assert(ctx.store:store_event("CREATE", "Begun", 1))
				assert(os.execute("while [ ! -e '" .. given.set.flag .. "' ]; do sleep 0.01; done"))
			end}]]), {set = {flag = flag}}))
		local spins = assert(registry:watch("spins", write("spins.lua", [[
			local given = ...
			return {filter = {object_types = {"Job"}}, handle = function(event, ctx)
				repeat local latest = ctx.store:get_latest_event_num() until latest >= 2
				assert(io.open(given.set.flag, "w")):close()
			end}]]), {set = {flag = flag}}))
		drive(registry, function() return blocked:stats().processed == 1 and spins:stats().processed == 1 end)
		assert(registry:stop())
	end)

	it("has its id to itself, and gives it back [W1i W19m]", function()
		local store = helper.open()
		local registry, other = helper.registry(store), helper.registry(store)
		local path = write("say.lua", SAY)
		local first = assert(registry:watch("a", path))
		mentions(fails("watcher_already_exists", registry:watch("a", path)), "'a'")
		mentions(fails("watcher_already_exists", registry:watch("a", print)), "'a'")
		fails("watcher_owned", other:watch("a", path))
		fails("watcher_owned", other:watch("a", print))
		assert.equal(true, first:stop())
		local second = assert(registry:watch("a", print))
		assert.equal(second, registry:get_watcher("a"))
		fails("invalid_state", first:start())
		fails("invalid_state", first:reload())
		assert.equal("stopped", first:stats().state)
		assert.equal(true, second:stop())
		assert(other:watch("a", path))
		assert(other:stop())
	end)

	it("can be moved, checkpointed and started again from outside [W9k W13j]", function()
		local store = helper.open(nil, {durability = "none"})
		fill(store, 5)
		local registry = helper.registry(store)
		local watcher = assert(registry:watch("say", write("say.lua", SAY), {checkpoint = "manual"}))
		drive(registry, function() return watcher:stats().processed == 5 end)
		fails("position_out_of_range", watcher:checkpoint(100))
		assert(watcher:checkpoint(3))
		assert.equal(3, store:get_checkpoint("say"))
		assert(watcher:checkpoint(2))
		assert.equal(3, store:get_checkpoint("say"))
		assert(watcher:seek_to_offset(1))
		assert.equal(1, store:get_checkpoint("say"))
		drive(registry, function() return watcher:stats().processed == 9 end)
		assert.equal(true, watcher:stop())
		assert(watcher:seek_to_offset(4))
		fails("position_out_of_range", watcher:seek_to_offset(1000))
		assert(watcher:start())
		drive(registry, function() return watcher:stats().processed == 10 end)
		assert(registry:stop())
		assert.same({1, 2, 3, 4, 5, 2, 3, 4, 5, 5}, objects(store, "Said"))
	end)

	it("retries and gives up, and W21g tells on_error in the script and the log of who asked [W5m W6k]", function()
		local store = helper.memory()
		fill(store, 3)
		local records = {}
		local registry = helper.registry(store, {log = function(level, message) records[#records + 1] = level .. " " .. message end})
		local watcher = assert(registry:watch("a", write("bad.lua", [[
			local given = ...
			given.log("warn", "loaded")
			return {filter = {object_types = {"Job"}}, retry_strategy = "skip", max_retries = 2, initial_backoff = 0.001,
				on_error = function(err, event, ctx) ctx.store:store_event("CREATE", "Error", {err.message, event.seq_num, ctx.attempt}) end,
				handle = function(event) if event.seq_num == 2 then error("no luck", 0) end end}]])))
		drive(registry, function() return watcher:stats().processed == 2 and #records >= 4 end)
		local stats = watcher:stats()
		assert.same({2, 2, 1, 1}, {stats.processed, stats.failed, stats.retried, stats.skipped})
		assert.same({"handler_error", 2, "a"}, {stats.last_error.code, stats.last_error.seq_num, stats.last_error.watcher_id})
		mentions(stats.last_error, "no luck")
		assert.same({{"no luck", 2, 1}, {"no luck", 2, 2}}, objects(store, "Error"))
		assert.equal("warn loaded", records[1])
		mentions(records[2], "warn watcher 'a'", "no luck")
		mentions(table.concat(records, "\n"), "gave up event 2")
		assert(registry:stop())
	end)

	it("keeps a bounded number of log records for who does not take them [W21h]", function()
		local store = helper.memory()
		fill(store, 1)
		local records = {}
		local registry = helper.registry(store, {log = function(_, message) records[#records + 1] = message end})
		local watcher = assert(registry:watch("a", write("loud.lua", [[
			local given = ...
			return function(event, ctx) for n = 1, 5000 do given.log("info", "record " .. n) end end]])))
		helper.eventually(function() return watcher:stats().processed == 1 end)
		assert(registry:step(0))
		assert.equal(1001, #records)
		assert.equal("record 1", records[1])
		assert.equal("record 1000", records[1000])
		mentions(records[1001], "4000 log records", "dropped")
		assert(registry:stop())
	end)

	it("takes our own Lua modules from what the process compiled once, capped or not, whatever becomes of their files [H3g H3i]", function()
		assert(require("lfs").mkdir(helper.path("vigia")))
		local text = helper.run_lua("", [[
			local folder, root = arg[1], arg[2]
			local function put(name, text)
				local file <close> = assert(io.open(folder .. "/" .. name, "w"))
				assert(file:write(text))
			end
			for _, name in ipairs{"script.lua", "text.lua"} do
				local file <close> = assert(io.open(root .. "/" .. name))
				put("vigia/" .. name, file:read("a"))
			end
			package.path = folder .. "/?.lua;" .. package.path
			put("good.lua", "return function() end")
			put("bad.lua", "return {handel = print}")
			put("raises.lua", "local function inner() error('no luck') end\nreturn {handle = print, init = function() inner() end}")
			local registry = assert(vigia.registry(assert(vigia.open(":memory:"))))
			local function try()
				for _, options in ipairs{{}, {memory_limit = 1 << 20}, {cpu_limit = 5, libraries = {"string"}}} do
					local good, err = registry:watch("good", folder .. "/good.lua", options)
					say(good and good:stop() or err)
					say(select(2, registry:watch("bad", folder .. "/bad.lua", options)))
					say(select(2, registry:watch("raises", folder .. "/raises.lua", options)))
				end
			end
			try()
			put("vigia/script.lua", "error('compiled anew')")
			put("vigia/text.lua", "error('compiled anew')")
			try()
			package.path = folder .. "/?.lua"
			say(select(2, registry:watch("other", folder .. "/good.lua")))
		]], helper.path(), assert(package.searchpath("vigia.script", package.path)):match("^(.*)/"))
		local lines = {}
		for line in text:gmatch("[^\n]+") do lines[#lines + 1] = line end
		local last, half = table.remove(lines), #lines // 2
		assert.same(table.move(lines, 1, half, 1, {}), table.move(lines, half + 1, 2 * half, 1, {}))
		mentions(text, "true\n", "unknown field `handel` (did you mean 'handle'?)", "raises.lua:1: no luck", "in upvalue 'inner'")
		mentions(last, "compiled anew")
	end)

	it("stops fifty at once - in backoff, polling, sleeping, at work - and leaves no thread [W14n W16h]", function()
		local store = helper.open(nil, {durability = "none"})
		fill(store, 1)
		local before = threads()
		do
			local registry <close> = vigia.registry(store)
			local scripts = {
				'error("no luck")',
				"local answer, err = ctx.store:get_events(NEVER) assert(err.code == 'stopping')",
				'local ok, err = require "vigia".sleep(3600) assert(not ok and err.code == "stopping")',
				helper.tsan and 'while not ctx.stopping do require "vigia".sleep(0.01) end' or 'while not ctx.stopping do end', -- slow there
				'assert(select(2, coroutine.wrap(function() return require "vigia".sleep(3600) end)()).code == "stopping")',
				"table.sort({1, 2}, function() assert(select(2, ctx.store:get_events(NEVER)).code == 'stopping') return false end)",
				"",
			}
			local paths, watchers = {}, {}
			for n, body in ipairs(scripts) do
				paths[n] = write("s" .. n .. ".lua", [[
					local after = require "vigia".after_sequence_number(1)
					local NEVER = {event_iterator = after, filter = {object_types = {"No"}}, timeout = 3600}
					return {initial_backoff = 3600, max_backoff = 3600, filter = {object_types = {"Job"}},
						init = function(ctx) ctx.store:store_event("CREATE", "Init", ctx.watcher:id()) end,
						handle = function(event, ctx) ctx.store:store_event("CREATE", "Began", ctx.watcher:id()) ]] .. body .. [[ end,
						stop = function(ctx) ctx.store:store_event("CREATE", "Stopped", ctx.watcher:id()) end}]])
			end
			for n = 1, 50 do watchers[n] = assert(registry:watch("w" .. n, paths[n % #paths + 1])) end
			drive(registry, function() return #objects(store, "Began") == 50 end)
			assert(threads() >= before + 50)
			assert.equal(true, assert(registry:stop{timeout = 60}))
			assert.equal(50, #objects(store, "Stopped"))
			for n = 1, 50 do
				local stats, body = watchers[n]:stats(), scripts[n % #scripts + 1]
				assert.equal("stopped", stats.state)
				if body:find("^error") then
					assert.same({0, 1}, {stats.processed, stats.failed})
					fails("checkpoint_not_found", store:get_checkpoint("w" .. n))
				else
					assert.same({1, 0, body}, {stats.processed, stats.failed, body}, tostring(stats.last_error))
					assert((store:get_checkpoint("w" .. n) or 0) >= 1, body .. tostring(stats.last_error))
				end
			end
			assert.equal(true, registry:run()) -- nothing is running any more
		end
		helper.expect_threads(before)
	end)

	it("starts many in a row on threads started ahead: each has its own code, path, caps and errors [H3j]", function()
		local store = helper.open(nil, {durability = "none"})
		local before, path = threads(), package.path
		assert(lfs.mkdir(helper.path("later")))
		write("later/late.lua", "return 'found'")
		local file = write("many.lua", [[local given = ...
			if given.set.wrong then error("wrong as asked") end
			local late = select(2, pcall(require, "late"))
			return {filter = {object_types = {"Job"}}, init = function(ctx)
				ctx.store:store_event("CREATE", "Began", {id = ctx.watcher:id(), late = late == "found", io = io ~= nil}) end,
				handle = function() end}]])
		do
			local registry <close> = vigia.registry(store)
			local most = 0
			for n = 1, 30 do
				local options = {set = {wrong = n == 17 or nil}}
				if n == 20 then options.libraries = {"string"} end
				if n == 23 then package.path = helper.path("later/?.lua;") .. path end
				if n == 26 then package.path = path end
				local id = n == 14 and "w13" or "w" .. n
				local watcher, err = registry:watch(id, file, options)
				if n == 14 then assert.equal("watcher_already_exists", err.code)
				elseif n == 17 then assert.match("wrong as asked", err.message)
				else assert(watcher, err) end
				most = math.max(most, threads() - before - n)
			end
			-- Each script has one, and there is the next one's.
			assert(most == 1 or helper.tsan, "a thread more than scripts is expected: " .. most)
			local began = objects(store, "Began")
			assert.equal(28, #began)
			for _, object in ipairs(began) do
				local n = tonumber(object.id:match("%d+"))
				assert.same({n, n >= 23 and n < 26, n ~= 20}, {n, object.late, object.io})
			end
			assert.equal(true, assert(registry:stop{timeout = 60}))
		end
		package.path = path
		helper.expect_threads(before)
	end)

	it("says which did not stop in time; ends the thread when its registry is closed [W16i]", function()
		local store = helper.memory()
		fill(store, 1)
		local before = threads()
		local flag = helper.path("flag")
		do
			local registry <close> = vigia.registry(store)
			local watcher = assert(registry:watch("stuck", write("stuck.lua", [[
				local given = ...
				return function(event, ctx)
					assert(given.store:store_event("CREATE", "Began", 1))
					repeat local file = io.open(given.set.flag) until file
				end]]), {set = {flag = flag}}))
			drive(registry, function() return #objects(store, "Began") == 1 end)
			assert.equal(false, watcher:stop{timeout = 0})
			assert.equal("stopping", watcher:stats().state)
			local ok, err = registry:stop{timeout = 0.01}
			assert.is_nil(ok)
			mentions(err, "'stuck'")
			fails("invalid_state", watcher:start())
			assert(io.open(flag, "w")):close()
		end
		helper.expect_threads(before)
	end)

	it("ends when the store is closed [S11g]", function()
		local store = helper.open()
		fill(store, 1)
		local registry = helper.registry(store)
		local watcher = assert(registry:watch("a", write("say.lua", SAY)))
		drive(registry, function() return watcher:stats().processed == 1 end)
		store:close()
		helper.eventually(function() return watcher:stats().state == "stopped" end)
		assert.equal("store_closed", watcher:stats().last_error.code)
		assert.equal(true, watcher:stop())
		fails("store_closed", watcher:start())
		-- What a script closes is its own.
		local other = helper.memory()
		fill(other, 1)
		registry = helper.registry(other)
		watcher = assert(registry:watch("a", write("closes.lua", [[
			return function(event, ctx)
				ctx.store:close()
				local ok, err = ctx.store:get_latest_event_num()
				assert(err.code == "store_closed")
			end]])))
		drive(registry, function() return watcher:stats().processed == 1 end)
		assert.equal(1, other:get_latest_event_num())
		assert(registry:stop())
	end)

	it("acts on a stop and a seek of its own when the handler returns [W17l]", function()
		local store = helper.memory()
		fill(store, 5)
		local registry = helper.registry(store)
		local watcher = assert(registry:watch("a", write("own.lua", [[
			local seen = 0
			return {filter = {object_types = {"Job"}}, handle = function(event, ctx)
				seen = seen + 1
				assert(ctx.store:store_event("CREATE", "Said", event.seq_num))
				if seen == 3 then assert(ctx.watcher:seek_to_offset(1)) end
				if seen == 5 then ctx.watcher:stop() end
			end}]])))
		assert.equal(true, assert(registry:run()))
		assert.equal("stopped", watcher:stats().state)
		assert.same({1, 2, 3, 2, 3}, objects(store, "Said"))
		assert.equal(3, store:get_checkpoint("a"))
	end)

	it("stands beside function handlers in one registry", function()
		local store = helper.memory()
		fill(store, 100)
		local registry = helper.registry(store)
		local seen = 0
		local here = assert(registry:watch("here", function() seen = seen + 1 end, {filter = {object_types = {"Said"}}}))
		local there = assert(registry:watch("there", write("say.lua", SAY)))
		drive(registry, function() return seen == 100 end)
		assert(registry:stop())
		assert.same({100, 100}, {here:stats().processed, there:stats().processed})
	end)
end)

describe("a script that changes", function()
	after_each(helper.clean)

	-- Says its version with each event.
	local function version(n, more)
		return ([[
			local given = ...
			local function say(what) assert(given.store:store_event("CREATE", "Said", what)) end
			return {filter = {object_types = {"Job"}}, init = function() say "init %d" end, stop = function() say "stop %d" end,
				handle = function(event) say("%d " .. event.object.n) end, %s}]]):format(n, n, n, more or "")
	end

	it("is taken over between two events: old stop, new init [H5a]", function()
		local store = helper.memory()
		fill(store, 1)
		local registry = helper.registry(store)
		local watcher = assert(registry:watch("a", write("v.lua", version(1))))
		drive(registry, function() return watcher:stats().processed == 1 end)
		write("v.lua", version(2))
		assert.equal(true, watcher:reload())
		assert.equal(1, watcher:stats().reloads)
		fill(store, 1)
		drive(registry, function() return watcher:stats().processed == 2 end)
		assert.equal(true, watcher:stop())
		write("v.lua", version(3))
		assert.equal(true, watcher:reload()) -- at rest: no stop, no init
		assert(watcher:start())
		assert(registry:stop())
		assert.same({"init 1", "1 1", "stop 1", "init 2", "2 1", "stop 2", "init 3", "stop 3"}, objects(store, "Said"))
	end)

	it("leaves the old code running where the new one does not load or begin, and says so [H5b]", function()
		local store = helper.memory()
		fill(store, 1)
		local records = {}
		local registry = helper.registry(store, {log = function(level, message) records[#records + 1] = level .. " " .. message end})
		local watcher = assert(registry:watch("a", write("v.lua", version(1))))
		drive(registry, function() return watcher:stats().processed == 1 end)
		for text, part in pairs{
			["syntax error"] = "v.lua:1:",
			["return 5"] = "returns a number",
			["error 'no luck'"] = "no luck",
			[version(2, "batch_size = 0")] = "batch_size",
			[version(2, "ephemeral = true")] = "`ephemeral` cannot change in a reload",
			[version(2, "checkpoint = 'event'")] = "`checkpoint` cannot change in a reload",
		} do
			write("v.lua", text)
			mentions(fails("script_error", watcher:reload()), part)
			mentions(watcher:stats().last_reload_error, part)
			registry:step(0)
			mentions(records[#records], "error watcher 'a'", part)
		end
		assert.same({"init 1", "1 1"}, objects(store, "Said"))
		write("v.lua", version(2, "init = function() error 'no luck' end"))
		mentions(fails("script_error", watcher:reload()), "`init` failed", "no luck")
		fill(store, 1)
		drive(registry, function() return watcher:stats().processed == 2 end)
		assert.same({0, "running"}, {watcher:stats().reloads, watcher:stats().state})
		write("v.lua", version(3))
		assert.equal(true, watcher:reload())
		assert.is_nil(watcher:stats().last_reload_error)
		assert(registry:stop())
		assert.same({"init 1", "1 1", "stop 1", "init 1", "1 1", "stop 1", "init 3", "stop 3"}, objects(store, "Said"))
	end)

	it("takes a mended handler to the event that failed, at once, and a new filter to the next [H5c]", function()
		local store = helper.memory()
		fill(store, 2)
		local registry = helper.registry(store)
		local path = write("v.lua", [[return {initial_backoff = 3600, max_backoff = 3600, filter = {object_types = {"Job"}},
			handle = function() error "broken" end}]])
		local watcher = assert(registry:watch("a", path))
		drive(registry, function() return watcher:stats().blocked_on == 1 end)
		fill(store, 1, "Other")
		write("v.lua", version(2, [[filter = {object_types = {"Job", "Other"}}]]))
		assert.equal(true, watcher:reload())
		drive(registry, function() return watcher:stats().processed == 3 end)
		assert.is_nil(watcher:stats().blocked_on)
		assert(registry:stop())
		assert.same({"init 2", "2 1", "2 2", "2 1", "stop 2"}, objects(store, "Said"))
	end)

	it("waits for a handler that waits, and may be asked for by the handler [H5d]", function()
		local store = helper.memory()
		fill(store, 2)
		local registry = helper.registry(store)
		local path = write("v.lua", [[
			local vigia = require "vigia"
			return {filter = {object_types = {"Job"}}, handle = function(event, ctx)
				assert(ctx.store:store_event("CREATE", "Said", "1 begins"))
				assert(ctx.watcher:reload())
				ctx.store:get_events{event_iterator = vigia.after_sequence_number(1), filter = {object_types = {"Go"}}}
				assert(ctx.store:store_event("CREATE", "Said", "1 ends"))
			end}]])
		local watcher = assert(registry:watch("a", path))
		drive(registry, function() return #objects(store, "Said") == 1 end)
		write("v.lua", version(2))
		fill(store, 1, "Go")
		drive(registry, function() return watcher:stats().processed == 2 end)
		assert(registry:stop())
		assert.same({"1 begins", "1 ends", "init 2", "2 2", "stop 2"}, objects(store, "Said"))
	end)

	it("reload is not for functions [H5e]", function()
		local registry = helper.registry(helper.memory())
		mentions(fails("not_supported", assert(registry:watch("a", print)):reload()), "'a'", "function")
		mentions(raises(registry.watch, registry, "b", print, {reload = true}), "reload")
	end)

	it("is noticed with reload = true: ten changes at over 10,000 events a second, two of them broken, none lost or doubled [H5f]", function()
		local monotonic <const> = require("vigia.core").monotonic
		local store = helper.open(nil, {durability = "none"})
		local registry = helper.registry(store)
		local out = helper.path("out")
		local function code(n)
			return ([[
				local given = ...
				local file
				return {init = function() file = assert(io.open(given.set.out, "a")) return true end,
					handle = function(event) file:write(event.seq_num, " %d\n") end,
					stop = function() return file:close() end}]]):format(n)
		end
		local watcher = assert(registry:watch("a", write("v.lua", code(0)), {reload = true, set = {out = out}}))
		-- As many in a second as without changes, where the machine is too slow or too busy for ten thousand.
		local calm = monotonic()
		for n = 1, 200 do
			fill(store, 100)
			drive(registry, function() return watcher:stats().processed == 100 * n end)
		end
		calm = 20000 / (monotonic() - calm)
		local before, began = store:get_latest_event_num(), monotonic()
		local broken = {[4] = "syntax error", [7] = "return {handle = 1}"}
		for n = 1, 10 do
			local reloads = watcher:stats().reloads
			write("v.lua", broken[n] or code(n))
			local deadline = os.time() + 60
			repeat
				assert(os.time() < deadline, "the change was not noticed")
				local stats = watcher:stats()
				if stats.lag < 10000 then fill(store, 100) else registry:step(0.001) end
			until stats.reloads > reloads or broken[n] and stats.last_reload_error
			if broken[n] then assert.equal(reloads, watcher:stats().reloads) end
			fill(store, 100)
		end
		local total = store:get_latest_event_num()
		drive(registry, function() return watcher:stats().processed == total end)
		local rate = (total - before) / (monotonic() - began)
		assert(rate > math.min(10000, calm / 2), ("%.0f events/s, and %.0f without changes"):format(rate, calm))
		assert.equal(8, watcher:stats().reloads)
		assert(registry:stop())
		local expected, last, versions = 1, 0, {}
		for seq_num, n in assert(read(out)):gmatch("(%d+) (%d+)\n") do
			seq_num, n = math.tointeger(seq_num), math.tointeger(n)
			if seq_num ~= expected or n < last then -- there are a lot of them
				error(("event %d of version %d after event %d of version %d"):format(seq_num, n, expected - 1, last))
			end
			expected, last, versions[n] = expected + 1, n, true
		end
		assert.equal(total + 1, expected)
		for n = 1, 10 do assert.equal(not broken[n] or nil, versions[n], "version " .. n) end
	end)

	it("is noticed by a watcher at rest, too [H5g]", function()
		local store = helper.memory()
		local registry = helper.registry(store)
		local watcher = assert(registry:watch("a", write("v.lua", version(1)), {reload = true}))
		write("v.lua", version(2))
		drive(registry, function() return watcher:stats().reloads == 1 end)
		assert(registry:stop())
		assert.same({"init 1", "stop 1", "init 2", "stop 2"}, objects(store, "Said"))
	end)
end)
