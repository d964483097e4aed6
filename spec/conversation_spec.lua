-- conversation_spec.lua - what an isolated script and its supervisor say to each other: each answer belongs to its question, whatever
-- raises, is collected or runs in between; and what does not is the end of the program.

local helper = require "spec.helper"
local vigia = require "vigia"

local fails, fill, mentions, range = helper.fails, helper.fill, helper.mentions, helper.range

describe("the conversation with an isolated script", function()
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
	end)

	local function watch(source, options)
		local all = {isolation = "process", worker_program = program, retry_strategy = "skip", max_retries = 1}
		for name, value in pairs(options or {}) do all[name] = value end
		return registry:watch("a", helper.write_file("script.lua", source), all)
	end

	-- The stats when it has handled what there is.
	local function settle(watcher)
		helper.settle(registry, watcher)
		return watcher:stats()
	end

	-- The numbers that the script has stored as "Seen", one for each event it handled.
	local function seen()
		return helper.objects(store, "Seen")
	end

	local SEEN <const> = [[
		local given = ...
		local function seen(event) assert(given.store:store_event("CREATE", "Seen", event.seq_num)) end
		local function raises(word, f, ...)
			local ok, message = pcall(f, ...)
			assert(not ok and tostring(message):find(word, 1, true), message)
		end
	]]

	it("names the place where an argument is a cycle or too deep [H6v E6]", function()
		fill(store, 1)
		local watcher = assert(watch(SEEN .. [[
			local cycle, twice, deep, shared = {}, {}, {}, {"Job"}
			cycle.operations = {cycle}
			twice[1], twice[2] = twice, twice
			for _ = 1, 1000000 do deep = {deep} end
			return {filter = {object_types = {"Job"}}, handle = function(event, ctx)
				local s = given.store
				raises("#1 to 'get_events' (filter.operations[1]: a cycle", s.get_events, s, {filter = cycle})
				raises("#1 to 'get_events' (filter[1]: a cycle", s.get_events, s, {filter = twice})
				raises("nested too deep", s.get_events, s, deep)
				raises("#1 to 'store_checkpoint' (operations[1]: a cycle", s.store_checkpoint, s, cycle, 1)
				raises("#1 to 'seek_to_offset' ([1]: a cycle", ctx.watcher.seek_to_offset, ctx.watcher, twice)
				raises("#1 to 'store_events' (", s.store_events, s, twice)
				assert(#s:get_events{timeout = 0, filter = {object_types = shared, operations = shared}}.events == 0)
				seen(event)
			end}
		]]))
		assert.same({1, 0}, {settle(watcher).processed, watcher:stats().failed}, logged[1])
		assert.same({1}, seen())
	end)

	-- 40 tables that stand for 2^40: what they stand for is never written.
	it("refuses what shares its tables too often soon, and what is too large with the store's words [H6y E7 R3]", function()
		fill(store, 1)
		assert(store:configure{max_event_size = 2000})
		local watcher = assert(watch(SEEN .. [[
			local many, pair = {}, {1, 2}
			for _ = 1, 40 do many = {many, many} end
			local function refused(words, n, err)
				assert(n == nil and err.code == "event_too_large" and tostring(err):find(words), err)
			end
			return {filter = {object_types = {"Job"}}, handle = function(event, ctx)
				local s, begin = given.store, os.clock()
				refused("^the event has more than %d+ bytes, max_event_size is 2000 bytes", s:store_event("CREATE", "Seen", many))
				refused("^events%[2%]: the event has more than", s:store_events{{"CREATE", "Seen", 1}, {"CREATE", "Seen", many}})
				raises("bad argument #2 to 'store_events' (the argument is too large, because", s.store_events, s, {}, many)
				raises("bad argument #1 to 'get_events' (the argument is too large", s.get_events, s, {filter = many})
				raises("bad argument #1 to 'stop' (the argument is too large", ctx.watcher.stop, ctx.watcher, many)
				assert(os.clock() - begin < 10, os.clock() - begin)
				assert(s:store_event("CREATE", "Seen", {pair, pair, {pair}}))
				refused("^the event has 2%d%d%d bytes, max_event_size is 2000 bytes", s:store_event("CREATE", "Seen", ("x"):rep(1990)))
				assert(s:store_event("CREATE", "Ready", 1))
			end}
		]], {retry_strategy = "block"}))
		helper.drive(registry, function() return #helper.objects(store, "Ready") > 0 or watcher:stats().failed > 0 end)
		assert.equal(0, watcher:stats().failed, tostring(watcher:stats().last_error))
		assert.same({{{1, 2}, {1, 2}, {{1, 2}}}}, seen())
	end)

	it("carries an object as large as the store takes by now [H6z E7]", function()
		fill(store, 1)
		assert(store:configure{max_event_size = 2000})
		local watcher = assert(watch(SEEN .. [[
			return {filter = {object_types = {"Job"}}, handle = function(event)
				local n, err = given.store:store_event("CREATE", "Seen", ("x"):rep(9000))
				assert(event.seq_num == 1 and err.code == "event_too_large" and not n or event.seq_num == 2 and n, err)
				local _, none = given.store:get_event(99)
				assert("error: " .. none == "error: " .. tostring(none) and none.code == "event_not_found", none)
			end}
		]]))
		assert.equal(1, settle(watcher).processed, tostring(watcher:stats().last_error))
		assert(store:configure{max_event_size = 20000})
		fill(store, 1)
		assert.equal(2, settle(watcher).processed, tostring(watcher:stats().last_error))
		assert.same({("x"):rep(9000)}, seen())
	end)

	it("raises in the script what its call raises, and goes on with the same program [H6v]", function()
		fill(store, 12)
		local watcher = assert(watch(SEEN .. [[
			local pid = io.open("/proc/self/stat"):read("n")
			return {filter = {object_types = {"Job"}}, handle = function(event, ctx)
				raises("invalid option 'warning'", given.log, "warning", "x")
				raises("script.lua:", function() given.log("warning", "x") end)
				raises("invalid option 'nil'", given.log)
				raises("#1 to 'store_event' (operation", given.store.store_event, given.store, 5, "X", 1)
				raises("script.lua:", function() given.store:store_event(5, "X", 1) end)
				raises("number of seconds", require("vigia").sleep, "soon")
				raises("cannot be called", given.store.close, given.store)
				raises("#1 to 'get_events' (where: a function cannot be sent", given.store.get_events, given.store, {where = print})
				raises("#1 to 'get_events' (filter.operations[1]: a thread cannot be sent", given.store.get_events, given.store,
					{filter = {operations = {coroutine.create(print)}}})
				raises("#4 to 'store_event' (key: a function", given.store.store_event, given.store, "CREATE", "X", 1, {key = print})
				raises("script.lua:", function() given.store:get_event(print) end)
				raises("n: ", ctx.watcher.checkpoint, ctx.watcher, "here")
				local stored, err = given.store:store_event("CREATE", "X", {call = print})
				assert(not stored and err.code == "serialization_error" and tostring(err):find("object.call: function", 1, true), err)
				stored, err = given.store:store_events{{"CREATE", "X", 1}, {operation = "CREATE", object_type = "X", object = {print}}}
				assert(not stored and err.code == "serialization_error" and tostring(err):find("events[2].object[1]: function", 1, true), err)
				given.log("warn", "event " .. event.seq_num .. " attempt " .. ctx.attempt)
				seen(event)
				assert(io.open("/proc/self/stat"):read("n") == pid)
			end}]]))
		local stats = settle(watcher)
		assert.equal(12, stats.processed, tostring(stats.last_error))
		assert.same(range(1, 12), seen())
		registry:step(0)
		local lines = {}
		for n = 1, 12 do lines[n] = ("warn: event %d attempt 1"):format(n) end
		assert.same(lines, logged)
	end)

	it("raises in the script what cannot be sent back to it [H6w]", function()
		store = assert(vigia.open(helper.path("own"), {serializer = {name = "own", marshal = function() return "x" end,
			unmarshal = function() return {} end}}))
		local _ <close> = store
		registry = helper.registry(store)
		fill(store, 3)
		helper.write_file("own.lua", [[
			return {name = "own", marshal = function() return "x" end,
				unmarshal = function(_, head) return head.seq_num == 2 and {f = print} or head.seq_num end}]])
		local path = package.path
		package.path = helper.path("?.lua") .. ";" .. path
		local watcher, err = watch(SEEN .. [[
			return {serializer = "own", handle = function(event, ctx)
				raises("object.f: function", ctx.store.get_event, ctx.store, 2)
				assert(ctx.store:get_event(1).object == 1 and ctx.store:get_event(3).object == 3)
			end}]], {initial_event_iterator = vigia.at_sequence_number(2)})
		package.path = path
		assert(watcher, err)
		local stats = settle(watcher)
		assert.equal(1, stats.processed, tostring(stats.last_error)) -- 3; the second one cannot be sent to the script either
		assert.equal(1, stats.skipped)
		mentions(stats.last_error, "object.f: function")
		registry:stop()
	end)

	it("lets finalizers call the store wherever they run [H6x]", function()
		for n = 1, 20 do
			local words = {}
			for w = 1, 60 do words[w] = ("%d is word %d of event %d"):format(n * w, w, n) end
			assert(store:store_event("CREATE", "Job", {n = n, words = words}))
		end
		local watcher = assert(watch(SEEN .. [[
			collectgarbage("incremental", 100, 1000)
			local finalized = 0
			local function litter()
				setmetatable({}, {__gc = function()
					local event = given.store:get_event(1)
					assert(event.object.n == 1 and event.seq_num == 1)
					finalized = finalized + 1
					if finalized % 8 ~= 0 then litter() end
				end})
			end
			return {filter = {object_types = {"Job"}}, handle = function(event, ctx)
				litter()
				assert(event.object.n == event.seq_num)
				for w = 1, 60 do
					assert(event.object.words[w] == ("%d is word %d of event %d"):format(event.seq_num * w, w, event.seq_num))
				end
				for n = 1, 5 do assert(ctx.store:get_event(n).object.n == n) end
				local events = ctx.store:get_events{event_iterator = require("vigia").trim_horizon(), limit = 20, timeout = 0}.events
				for n = 1, 20 do assert(events[n].object.n == n) end
				if event.seq_num == 20 then assert(finalized > 20, finalized) end
				seen(event)
			end}]]))
		local stats = settle(watcher)
		assert.equal(20, stats.processed, tostring(stats.last_error))
		assert.same(range(1, 20), seen())
	end)

	it("lets hooks call the store wherever they run [H6y]", function()
		fill(store, 20)
		local watcher = assert(watch(SEEN .. [[
			local hooked = 0
			local function hook()
				debug.sethook()
				assert(given.store:get_event(2).object.n == 2)
				hooked = hooked + 1
				debug.sethook(hook, "", 7)
			end
			return {filter = {object_types = {"Job"}}, handle = function(event, ctx)
				debug.sethook(hook, "", 7)
				for n = 1, 5 do assert(ctx.store:get_event(n).object.n == n) end
				debug.sethook()
				assert(hooked > 0)
				seen(event)
			end}]]))
		local stats = settle(watcher)
		assert.equal(20, stats.processed, tostring(stats.last_error))
		assert.same(range(1, 20), seen())
	end)

	it("checks a list of events as the store does, and loses none of it [H6]", function()
		fill(store, 1)
		local watcher = assert(watch(SEEN .. [[
			return {filter = {object_types = {"Job"}}, handle = function(_, ctx)
				local event = {operation = "CREATE", object_type = "Out", object = "x"}
				local function refuses(word, list)
					raises(word, ctx.store.store_events, ctx.store, list)
					assert(ctx.store:get_latest_event_num() == 1)
				end
				refuses("#1 to 'store_events' (events: a list of events expected", event)
				refuses("the list has a hole", {event, nil, event})
				refuses("the list has a hole", {[2] = event})
				refuses("a list of events expected", {event, [0] = event})
				refuses("a list of events expected", {event, more = event})
				refuses("events[2]: table expected, got string", {event, "CREATE"})
				refuses("events[1].operation: string expected", {{}})
				refuses("unknown field 'objekt' (did you mean object?)", {{operation = "CREATE", object_type = "Out", objekt = 1}})
				refuses("the key [4] has no meaning", {{"CREATE", "Out", "x", "y"}})
				refuses("object is given twice", {event, {"CREATE", "Out", "x", object = "y"}})
				raises("value expected", ctx.store.store_event, ctx.store, "CREATE", "Out")
				raises("events: table expected", ctx.store.store_events, ctx.store, "CREATE", "Out")
				local first, last = ctx.store:store_events{event, {"CREATE", "Out", "y"}, {"CREATE", "Out"}, {"CREATE", "Out", object = "z"},
					setmetatable({"CREATE", "Out", {a = {1, 2}}}, {__pairs = error})}
				assert(first == 2 and last == 6 and event.object == "x")
				local events = ctx.store:get_events{event_iterator = require("vigia").at_sequence_number(2), timeout = 0}.events
				assert(#events == 5 and events[1].object == "x" and events[2].object == "y" and events[3].object == nil
					and events[4].object == "z" and events[5].object.a[2] == 2)
			end}]]))
		local stats = settle(watcher)
		assert.equal(1, stats.processed, tostring(stats.last_error))
	end)

	it("carries ids and tables that have the keys of the wire [H6z]", function()
		fill(store, 1)
		for _, id in ipairs{"$error", "$iterator", "$table"} do assert(store:store_checkpoint(id, 1)) end
		local watcher = assert(watch([[
			local vigia = require "vigia"
			return {id = "$iterator", handle = function(event, ctx)
				local checkpoints = assert(ctx.store:checkpoints())
				assert(checkpoints["$error"] == 1 and checkpoints["$iterator"] == 1 and checkpoints["$table"] == 1)
				assert(ctx.store:store_checkpoint("$error", 1) and ctx.store:get_checkpoint("$table") == 1)
				for _, key in ipairs{"$error", "$iterator", "$table"} do
					local object = {[key] = {[key] = 1, code = "x", message = "y"}}
					local n = assert(ctx.store:store_event("CREATE", "Out", object))
					assert(ctx.store:get_event(n).object[key][key] == 1)
					n = assert(ctx.store:store_events{{"CREATE", "Out", object}, {operation = "CREATE", object_type = "Out", object = key}})
					local events = ctx.store:get_events{event_iterator = vigia.at_sequence_number(n), timeout = 0}.events
					assert(events[1].object[key][key] == 1 and events[2].object == key)
				end
				local _, err = ctx.store:get_event(99)
				assert(err.code == "event_not_found" and tostring(err):find("99"))
			end}]], {initial_event_iterator = vigia.trim_horizon(), ephemeral = true, filter = {object_types = {"Job"}}}))
		assert.equal(1, settle(watcher).processed, tostring(watcher:stats().last_error))
	end)

	it("ends a program that writes garbage, too much, half a message, or one of another request [H6]", function()
		local function says(shell)
			local path = helper.write_file("program", "#!/bin/sh\n" .. shell)
			assert(os.execute("chmod +x " .. helper.quoted(path)))
			return fails("script_error", watch("return print", {worker_program = path}))
		end
		-- A frame: its magic, the bytes that follow, the kind (2: a call, 4: the end), the numbers of the request and of the call.
		local function frame(size, kind, request, call)
			return "printf '1MgV" .. ("<I4I8I8I8"):pack(size, kind, request, call or 0):gsub(".", function(byte)
				return ("\\%03o"):format(byte:byte())
			end)
		end
		local stay <const> = "' >&3; exec sleep 100"
		mentions(says("printf 'hello" .. stay), "loading the script failed", "wrote into its socket")
		mentions(says("printf '\\377\\377\\377\\377" .. stay), "wrote into its socket")
		mentions(says(frame(0xffffffff, 4, 1) .. stay), "wrote into its socket")
		mentions(says(frame(0, 4, 1) .. stay), "wrote into its socket") -- no message in it
		mentions(says(frame(4, 4, 1) .. "\\377\\377\\377\\377" .. stay), "wrote into its socket")
		mentions(says(frame(0, 4, 2) .. stay), "it sent an unexpected message")
		mentions(says(frame(0, 2, 0) .. stay), "it sent an unexpected message")
		mentions(says(frame(0, 1, 1) .. stay), "it sent an unexpected message")
		mentions(says(frame(4, 4, 1) .. "ab' >&3; exit 5"), "ended with status 5")
		mentions(says("printf '1M' >&3; exit 6"), "ended with status 6")
	end)

	-- A program that stands between the supervisor and the real one. Of the `nth` frame of a kind that the supervisor sends, one number is
	-- changed: 1 the magic, 2 the size, 3 the kind, 4 what it is of.
	local BETWEEN <const> = [[
		local uv = require "luv"
		local program, kind, nth, place, change = arg[1], tonumber(arg[2]), tonumber(arg[3]), tonumber(arg[4]), tonumber(arg[5])
		local outer, inner, status = uv.new_pipe(false), uv.new_pipe(false), nil
		uv.new_signal():start("sigpipe") -- a program that ended reads no more
		assert(outer:open(3))
		local words = {table.unpack(arg, 6)} -- --isolated, the parent's pid, the caps
		words[2] = tostring(uv.os_getpid())
		assert(uv.spawn(program, {args = words, stdio = {0, 1, 2, inner, 4}}, function(code) status = code end))
		local kept, left, seen = "", 0, 0
		outer:read_start(function(_, bytes)
			if not bytes then return inner:shutdown() end
			kept = kept .. bytes
			while #kept > 0 do
				if left > 0 then
					local part = kept:sub(1, left)
					inner:write(part)
					kept, left = kept:sub(#part + 1), left - #part
				elseif #kept < 32 then
					return
				else
					local frame = {("<I4I4I8I8I8"):unpack(kept)}
					left, kept = frame[2], kept:sub(33)
					if frame[3] == kind then
						seen = seen + 1
						if seen == nth then frame[place] = frame[place] + change end
					end
					inner:write(("<I4I4I8I8I8"):pack(table.unpack(frame, 1, 5)))
				end
			end
		end)
		inner:read_start(function(_, bytes)
			if bytes then outer:write(bytes) end
		end)
		while not status do uv.run("once") end
		uv.run("nowait") -- what it said last
		os.exit(status)
	]]

	it("is ended by its program when a message is not for what that has in hand [H6]", function()
		if helper.tsan then return helper.pending("the runtime of ThreadSanitizer is no good in the program between") end
		fill(store, 2)
		local asked = 0
		local function between(kind, nth, place, change)
			local path = helper.write_file("between", "#!/bin/sh\nexec " .. helper.lua_command(BETWEEN, program, kind, nth, place, change)
				.. ' "$@" 2>' .. helper.quoted(helper.path("reason")) .. "\n")
			assert(os.execute("chmod +x " .. helper.quoted(path)))
			asked = asked + 1
			return registry:watch("between " .. asked, helper.write_file("script.lua", SEEN .. [[
				return {filter = {object_types = {"Job"}}, handle = function(event, ctx)
					print("# event", event.seq_num)
					assert(ctx.store:get_event(1))
					seen(event)
				end}]]), {isolation = "process", worker_program = path, initial_event_iterator = vigia.trim_horizon(),
				retry_strategy = "skip", max_retries = 1})
		end
		local REQUEST <const>, REPLY <const>, TAKEN <const> = 1, 3, 6
		-- With nothing changed it works.
		local stats = settle(assert(between(REPLY, 1, 4, 0)))
		assert.equal(2, stats.processed, tostring(stats.last_error))
		assert.same({1, 2}, seen())
		for _, change in ipairs{
			{REPLY, 1, 4, 1, "the reply to another call"}, {REPLY, 1, 4, -1, "the reply to another call"},
			{REPLY, 1, 3, -2, "the reply to another call"},
			{REPLY, 2, 4, -1, "the reply to another call"}, {REPLY, 1, 1, 1, "is not a message"}, {REPLY, 1, 2, 1 << 28, "is not a message"},
			{REQUEST, 1, 4, 1, "is not a request"}, {REQUEST, 1, 3, 2, "is not a request"}, {REQUEST, 1, 1, -1, "is not a message"},
			{TAKEN, 1, 3, -1, "no reply to its output"}, {TAKEN, 1, 1, 1, "no reply to its output"},
		} do
			local what = ("kind %d, number %d, place %d, %d"):format(table.unpack(change, 1, 4))
			local watcher, err = between(table.unpack(change, 1, 4))
			if watcher then
				stats = settle(watcher)
				assert(stats.last_error, what)
				err = stats.last_error
				watcher:stop()
			end
			mentions(err, "its program was sent an unexpected message")
			mentions(helper.read_file(helper.path("reason")), change[5])
		end
	end)
end)
