-- repl_spec.lua - `vigia repl` and vigia.repl(): through a pseudo-terminal as a person would use it, and with its input from a file.

local cli = require "spec.support.cli"
local helper = require "spec.helper"
local vigia = require "vigia"
local complete = require "vigia.repl_completion"
local show = require "vigia.show"
local show_events = require "vigia.show_events"

local mentions, quoted = helper.mentions, helper.quoted

local program = helper.program() and quoted(helper.program())

local slurp = cli.read

local function spew(path, text)
	local file = assert(io.open(path, "w"))
	file:write(text)
	file:close()
end

-- A store of some events and a checkpoint.
local function make()
	local store = helper.open()
	for n = 1, 30 do assert(store:store_event(n % 2 == 0 and "UPDATE" or "CREATE", n % 3 == 0 and "Node" or "Job", {n = n})) end
	assert(store:store_checkpoint("audit", 12))
	return store
end

describe("a value at the prompt", function()
	it("is readable, sorted, and cut where it gets deep, long or endless", function()
		local endless = {}
		endless.me = endless
		assert.equal('{1, 2, a = "x", b = {c = true}}', show.show{1, 2, b = {c = true}, a = "x"})
		assert.equal("text as it is", show.show("text as it is"))
		assert.equal([["a\nb"]], show.show("a\nb"))
		assert.equal([=[["\xff\x00", "mão"]]=], show.show{"\xff\0", "mão"})
		assert.equal("{me = <itself>}", show.show(endless))
		assert.equal("[[[[[[[...]]]]]]]", show.show{{{{{{{{}, 1}}}}}}})
		assert.equal('{[false] = 1, [2.5] = 2, ["two words"] = 3}', show.show{[2.5] = 2, ["two words"] = 3, [false] = 1})
		mentions(show.show(helper.range(1, 100)), "60", "40 more")
		mentions(show.show{x = ("y"):rep(5000)}, "(5000 bytes)")
		assert.equal("{\n  a = 1,\n  b = 2\n}", show.show({a = 1, b = 2}, 5))
		local failing = setmetatable({}, {__tostring = error})
		mentions(show.show(failing), "__tostring fails")
		mentions(show.show{[failing] = 1, [setmetatable({}, getmetatable(failing))] = 2}, "= 1", "= 2")
		local function tree(depth)
			return depth == 0 and 1 or {tree(depth - 1), tree(depth - 1), tree(depth - 1), tree(depth - 1), tree(depth - 1), tree(depth - 1)}
		end
		assert(#show.show(tree(6)) < 20000) -- and not 6^6 numbers
		assert.equal("null", show.show(vigia.null))
	end)

	it("shows whether a table is stored as an array or as a map, an empty one, too", function()
		local store = helper.memory()
		for given, shown in pairs{[{1, {2}}] = "[1, [2]]", [{a = {1}}] = "{a = [1]}", [{}] = "{}", [vigia.array{}] = "[]",
			[{list = vigia.array{}, map = {}}] = "{list = [], map = {}}", [vigia.array{"x"}] = '["x"]', [{[3] = "x"}] = '{[3] = "x"}'} do
			local n = assert(store:store_event("CREATE", "Job", given))
			assert.equal(shown, show.show(given))
			assert.equal(shown, show.show(store:get_event(n).object))
		end
		assert.equal("[\n  1,\n  2\n]", show.show({1, 2}, 3))
	end)

	it("shows events in columns, with times in ISO 8601", function()
		local function event(n, operation, object_type, object)
			return {seq_num = n, timestamp = 1772359200120345678, operation = operation, object_type = object_type, object = object}
		end
		local long = ("x"):rep(200)
		assert.equal("7  2026-03-01T10:00:00.120345678Z  CREATE  Job  {n = 1}", show_events.one(event(7, "CREATE", "Job", {n = 1}), 100))
		assert.equal(('7  2026-03-01T10:00:00.120345678Z  CREATE  Job\n{\n  a = "%s",\n  b = []\n}'):format(long),
			show_events.one(event(7, "CREATE", "Job", {a = long, b = vigia.array{}}), 100))
		local cut = ('%s  2026-03-01T10:00:00.120Z  ação    Job      "%s'):format("10", long):sub(1, 160) -- ç and ã are two bytes
		assert.equal(" 9  2026-03-01T10:00:00.120Z  CREATE  Job\\x1b  nil\n" .. cut:sub(1, 156) .. "...",
			show_events.list{event(9, "CREATE", "Job\27"), event(10, "ação", "Job", long)})
		assert.is_true(show_events.is_event(event(1, "A", "B")))
		assert.is_false(show_events.is_event{seq_num = 1, operation = "A", object_type = "B"})
		local more = event(1, "A", "B")
		more.watcher = "w"
		assert.is_false(show_events.is_event(more)) -- nothing is hidden
		assert.is_false(show_events.is_list{})
		assert.is_false(show_events.is_list{event(1, "A", "B"), 2})
		assert.is_false(show_events.is_list{event(1, "A", "B"), n = event(2, "A", "B")})
	end)
end)

describe("completion", function()
	after_each(helper.clean)

	local function words(line, env, store)
		local start = #line - #line:match("[%w_.:]*$")
		return complete(env, store, line, start, #line)
	end

	it("offers names, fields, methods, watcher ids and object types, and runs nobody's code", function()
		local store = make()
		local env = setmetatable({events = print, event = print, job = {name = 1, nested = {deep = 2}}, store = store}, {__index = _G})
		setmetatable(env.job, {__index = function() error("looked at") end})
		assert.same({"event", "events"}, words("x = eve", env))
		assert.same({"job.name", "job.nested"}, words("print(job.n", env))
		assert.same({"job.nested.deep"}, words("job.nested.d", env))
		assert.same({"store:get_latest_event_num"}, words("store:get_l", env))
		assert.same({"string.format"}, words("string.form", env))
		assert.same({"while"}, words("whi", env))
		assert.same({"audit"}, words('store:get_checkpoint("aud', env, store))
		assert.same({"Job"}, words("events{type='J", env, store))
		assert.same({}, words("job.nothing.x", env))
		assert.same({}, words("nosuch.", env))
	end)

	it("knows where a string begins, and offers what is missing of an id with separators in it", function()
		local store = make()
		for _, id in ipairs{"mail-er.1", "mail er", 'quo"te', "bell\7", "é-x"} do assert(store:store_checkpoint(id, 1)) end
		assert.same({"mail er", "mail-er.1"}, words("store:get_checkpoint('mai", _G, store))
		assert.same({"er.1"}, words("store:get_checkpoint('mail-e", _G, store))
		assert.same({"er"}, words([[x = "it's", f("mail e]], _G, store))
		assert.same({"mail er", "mail-er.1"}, words([[x = 'a\'b' f('mai]], _G, store))
		assert.same({"x"}, words("f('é-", _G, store))
		assert.same({}, words("f('quo", _G, store))
		assert.same({}, words("f('bell", _G, store))
		assert.same({"string.format"}, words("f('mail') string.form", _G, store))
	end)
end)

describe("the REPL with its input from a pipe", function()
	after_each(helper.clean)

	local function run(lines, ...)
		spew(helper.path("input"), table.concat(lines, "\n") .. "\n")
		local status
		local output = helper.shell(("%s repl --store %s %s < %s 2> %s; echo status $?"):format(program, quoted(helper.path("store")),
			table.concat({...}, " "), quoted(helper.path("input")), quoted(helper.path("errors"))))
		output, status = output:match("^(.*)status (%d+)\n$")
		return output, slurp(helper.path("errors")), math.tointeger(tonumber(status))
	end

	if not program then return it("is left out", function() helper.pending("there is no program beside the module") end) end

	it("has a standard output with a position where that is a file, and none where it is a pipe", function()
		make():close()
		local lines <const> = {"io.stdout:seek('cur')", "print('four')", "io.stdout:seek('end')"}
		mentions(run(lines), "Illegal seek")
		assert.equal("0\nfour\n7\n", (run(lines, "> " .. quoted(helper.path("output"))) and slurp(helper.path("output"))))
	end)

	it("prints each expression's value on a line, statements run, and globals stay", function()
		make():close()
		local output, errors, status = run{
			"1 + 1", "x = 5", "x, 'text', nil", "for i = 1, 2 do", "  print(i)", "end", "-- a comment", "", "{b = 1, a = {2}}",
			"tail(2)[1].seq_num", "#events{}", "#events{limit = 0}", "#events{type = 'Node', limit = 0}",
			"events{from = 5, limit = 1, operation = {'UPDATE'}}[1].seq_num", "#events{where = function(e) return e.object.n > 28 end}",
			"event(3).object.n", "checkpoints()", "watchers()", "stats().events", "store", "event(99)",
		}
		assert.equal("", errors)
		assert.equal(0, status)
		assert.same(([[
2
5	text	nil
1
2
{a = [2], b = 1}
29
20
30
10
6
2
3
{audit = 12}
{audit = {checkpoint = 12, lag = 18, state = "stopped"}}
30
vigia.Store: %s
nil	there is no event 99: the last one is 30
]]):format(helper.path("store")), output)
	end)

	it("prints =expressions, and keeps the last value in _", function()
		make():close()
		local output, errors, status = run{"=6 * 7", "_ + 1", "= _,", "'x'", "nil, 'no'", "_", "x = 5", "_", "tail(2)[2].object", "_.n", "=x y",
			"_"}
		assert.equal("42\n43\n43\tx\nnil\tno\n43\n43\n{n = 30}\n30\n30\n", output)
		mentions(errors, "near 'y'")
		assert.equal(1, status)
	end)

	it("leaves at exit and quit, which a program's own names may hide, and knows help as a word", function()
		make():close()
		for _, word in ipairs{"exit", "quit", " exit ", "quit()", "print('bye') exit() print('bye')"} do
			local output, errors, status = run{"1", word, "2"}
			assert.equal(word:find("bye") and "1\nbye\nbye\n" or "1\n", output)
			assert.equal("", errors)
			assert.equal(0, status)
		end
		assert.equal("5\n6\n", (run{"exit = 5", "exit", "_ + 1"}))
		assert.equal(1, select(3, run{"nosuch.field", "exit"}))
		assert.equal(run{"help()"}, (run{"help"}))
		mentions(run{"help"}, "events{", "exit, quit")
		for line in run{"help"}:gmatch("[^\n]+") do assert(#line <= 80, line) end
		local output = helper.shell("printf '%s\\n' exit 'quit()' 'print(1)' | " .. helper.lua_command([[
			local env = setmetatable({exit = "my own"}, {__index = function(_, name)
				return _G[name] or error("not declared: " .. name)
			end})
			say(vigia.repl{env = env})]]))
		assert.equal("my own\ntrue\n", output)
	end)

	it("says in its help what changes a store, refuses that without --write, and allows it with it", function()
		local store = make()
		assert(store:put("b", "k", 1))
		store:close()
		local calls = {
			store_event = "'A', 'B', 1", store_events = "{{'A', 'B', 1}}", schedule = "os.time() + 1000, 'A', 'B', 1", unschedule = "99",
			put = "'b', 'k', 2", delete = "'b', 'k'", drop_bucket = "'c'", transaction = "function(tx) tx:put('b', 'k', 3) end",
			store_checkpoint = "'w', 1", delete_checkpoint = "'nobody'", retry_dead_letter = "'w', 1", drop_dead_letter = "'w', 1", trim = "1",
			seek = "'w', vigia.latest()", pause = "'w'", resume = "'w'", retry = "'w'", forget = "'w'", gc = "", configure = "{gc_cadence = 60}",
		}
		local lines, names = {"help"}, {}
		for name, arguments in pairs(calls) do
			names[#names + 1] = name
			lines[#lines + 1] = ("print(%q, select(2, store:%s(%s)))"):format("#" .. name, name, arguments)
		end
		local refused, _, status = run(lines)
		assert.equal(0, status)
		mentions(refused, "read-only", "--write")
		local allowed = run(lines, "--write")
		mentions(allowed, "may write")
		local listed = refused:match("read%-only.-:\n(.-)\n#")
		for _, name in ipairs(names) do
			assert(listed:find("%f[%w_]" .. name .. "%f[^%w_]"), name)
			local said = "#" .. name .. "%f[^%w_][^\n]*"
			mentions(refused:match(said), "read-only")
			assert.is_nil(allowed:match(said):find("read-only", 1, true))
		end
		for line in listed:gmatch("[^\n]+") do
			for name in line:match("^  (.-)  "):gmatch("[%w_]+") do assert(calls[name], name) end
		end
	end)

	it("refuses a question that it does not understand", function()
		make():close()
		local output, errors = run{"events{form = 3}", "events{from = 0}", "events{limit = -1}", "events(5)", "tail(0)", "tail('x')", "1"}
		assert.equal("1\n", output)
		mentions(errors, "unknown field 'form'", "from: ", "limit: ", "must be called with a table", "tail: ")
	end)

	it("goes on after an error, whose trace goes to stderr, and ends with status 1", function()
		make():close()
		local output, errors, status = run{"error('boom')", "nosuch.field", "x +* y", "store:store_event('CREATE', 'Job', 1)", "'still here'"}
		assert.equal("still here", output:match("([^\n]*)\n$"))
		assert.equal(1, status)
		mentions(errors, "repl:1: boom", "stack traceback", "in this chunk", "nosuch", "near '+'")
		assert.is_nil(errors:find("repl.lua", 1, true))
		mentions(output, "read-only")
	end)

	it("says that the input ended inside an expression", function()
		make():close()
		local _, errors, status = run{"for i = 1, 2 do"}
		mentions(errors, "ended inside")
		assert.equal(1, status)
	end)

	it("writes only when it was told that it may", function()
		make():close()
		local output, errors = run({"store:store_event('CREATE', 'Job', 1)"}, "--write")
		assert.equal("31\n", output)
		assert.equal("", errors)
	end)

	it("does not run after those who store meanwhile", function()
		make():close()
		local output, errors = run({"#events{limit = 0, where = function() return store:store_event('CREATE', 'Job', 1) end}"}, "--write")
		assert.equal("30\n", output)
		assert.equal("", errors)
	end)

	it("does not make a store", function()
		local _, errors, status = run{"1"}
		mentions(errors, "store")
		assert.equal(1, status)
		assert.equal("", slurp(helper.path("store")))
	end)

	it("refuses options that it does not know [R1]", function()
		for _, case in ipairs{{5, "table expected"}, {{store = 5}, "store: vigia.Store expected, got number"}, {{env = 1}, "env: table"},
			{{stroe = 1}, "no option 'stroe'"}, {{registry = helper.open()}, "registry: vigia.Registry expected"}} do
			mentions(helper.raises(vigia.repl, case[1]), "bad argument #1 to 'repl'", case[2])
		end
	end)

	it("is there for an application, with its names and registry", function()
		local output = helper.shell("printf '%s\\n' 'mine' 'watchers().w.state' | " .. helper.lua_command([[
			local store = assert(vigia.open(":memory:"))
			local registry = vigia.registry(store)
			assert(store:store_checkpoint("w", 0))
			assert(registry:watch("w", print))
			say(vigia.repl{store = store, registry = registry, env = setmetatable({mine = "my own"}, {__index = _G})})]]))
		assert.equal("my own\nrunning\ntrue\n", output)
	end)
end)

describe("the REPL at a terminal", function()
	local terminal
	local screens = 0 -- each has a file of its own

	-- When the program has left, so does `script`. A test that failed kills what runs in its terminal: no key ends it whatever it does.
	local function close()
		if terminal then
			if not terminal.left then
				helper.shell(("kill -KILL -- -$(cat %s)"):format(quoted(terminal.leader)))
			end
			helper.eventually(function() return slurp(terminal.screen):find("Script done", 1, true) end, "`script` goes on")
			terminal.pipe:close()
		end
		terminal = nil
	end

	after_each(function()
		close()
		helper.clean()
	end)

	-- `script` from util-linux gives it a terminal; what is on the screen is in a file. The shell between
	-- them gets the Ctrl-C as well, and not every shell outlives one.
	local function open(inner)
		screens = screens + 1
		local screen = helper.path("screen" .. screens)
		inner = inner or ("%s repl --store %s"):format(program, quoted(helper.path("store")))
		local leader = helper.path("leader" .. screens)
		local command = ("echo $$ > %s; trap : INT; %s; echo left $?"):format(quoted(leader), inner)
		local pipe = io.popen(("SHELL=/bin/sh XDG_STATE_HOME=%s TERM=xterm LC_ALL=C.UTF-8 script -qfc %s %s > /dev/null 2>&1"):format(
			quoted(helper.path("state")), quoted(command), quoted(screen)), "w")
		terminal = {screen = screen, leader = leader, seen = 0, pipe = assert(pipe)}
		terminal.pipe:setvbuf("no")
		helper.eventually(function() return slurp(leader):find("\n") end, "`script` does not start")
	end

	local function type_in(text)
		terminal.pipe:write(text)
	end

	-- Does the screen show the text behind what was expected before, within so many seconds?
	local function shows(text, seconds)
		local deadline = helper.now() + seconds
		repeat
			local _, last = slurp(terminal.screen):find(text, terminal.seen + 1, true)
			if last then
				terminal.seen = last
				return true
			end
			vigia.sleep(0.005)
		until helper.now() > deadline
		return false
	end

	local function expect(text)
		assert(shows(text, 60), ("%q did not come:\n%s"):format(text, slurp(terminal.screen):sub(terminal.seen + 1)))
	end

	local function left()
		expect("left 0")
		terminal.left = true
	end

	local function leave()
		type_in("\4")
		left()
	end

	if not program or not helper.shell("command -v script"):find("script", 1, true) then
		return it("is left out", function() helper.pending("there is no program beside the module, or no `script`") end)
	end

	it("prompts, prints values over several lines, goes on in the next line, and leaves at exit", function()
		make():close()
		open()
		expect("read-only (--write allows changes)")
		expect("help lists")
		expect("> ")
		type_in("1 +\n")
		expect(">> ")
		type_in("41\n")
		expect("\n42\r\n")
		type_in("tail(2)\n")
		expect("\n29  ")
		expect("Z  CREATE  Job   {n = 29}\r\n30  ")
		type_in("_[2]\n")
		expect("\n30  ")
		expect("Z  UPDATE  Node  {n = 30}\r\n")
		type_in("store:get_events{event_iterator = vigia.at_sequence_number(30), timeout = 0}.events\n")
		expect("\n30  ")
		expect("Z  UPDATE  Node  {n = 30}\r\n")
		type_in("events{from = 31}\n")
		expect("no events")
		type_in("help\n")
		expect("\nevents{from=, type=")
		type_in("stats()\n")
		expect("{\r\n  backend = ")
		type_in("#'ü'\n")
		expect("\n2\r\n")
		expect("> ")
		type_in("exit\n")
		left()
	end)

	it("shows what the guide shows", function()
		make():close()
		open()
		expect("help lists")
		local lines, inside = 0, false
		for line in io.lines("scripts/README.md") do
			inside = line == "## At a prompt" or inside and not line:find("^## ")
			line = inside and line:match("^    (.*)")
			if line then
				lines = lines + 1
				local typed = line:match("^> (.*)")
				if typed then
					expect("> ")
					type_in(typed .. "\n")
				else
					local before, after = line:match("^(%d+  )[%d-]+T[%d:.]+(Z  .*)") -- but for the time
					if before then expect(before) end
					expect((after or line) .. "\r")
				end
			end
		end
		assert.equal(11, lines)
		expect("> ")
		leave()
	end)

	it("edits lines in an application, although stock Lua brings readline along, and gives it Ctrl-C back", function()
		open(helper.lua_command([[
			local function loop()
				say("looping")
				while true do end
			end
			vigia.repl{env = setmetatable({minimum = 2}, {__index = _G})}
			print(pcall(loop))]]))
		expect("> ")
		-- With a malloc of a sanitizer's, lines are read plainly.
		type_in(helper.preload and "minimum\n" or "min\t\n")
		expect("\n2\r\n")
		expect("> ")
		type_in("print('be' .. 'gun') while true do end\n")
		expect("begun")
		type_in("\3")
		expect("interrupted")
		expect("> ")
		type_in("\4")
		expect("looping")
		type_in("\3")
		expect("false\t")
		expect("interrupted!")
		left()
	end)

	it("leaves the application's watchers alone when Ctrl-C drops a line or stops an expression", function()
		helper.write_file("slow.lua", [[
			local vigia = require "vigia"
			return function(event, ctx)
				if event.seq_num == 1 then assert(vigia.sleep(1)) else assert(ctx.store:get_events{
					event_iterator = vigia.after_sequence_number(2), timeout = 1}) end
			end]])
		open("cd " .. quoted(helper.path()) .. " && " .. helper.lua_command([[
			local store = assert(vigia.open("store"))
			local registry = vigia.registry(store)
			local slow = assert(registry:watch("slow", "slow.lua", {retry_strategy = "skip", max_retries = 1}))
			for _ = 1, 2 do assert(store:store_event("CREATE", "A", 1)) end
			vigia.repl{store = store, registry = registry, env = setmetatable({slow = slow}, {__index = _G})}
			say("step", registry:step(0) ~= nil)]]))
		expect("> ")
		type_in("dropped")
		expect("dropped")
		type_in("\3")
		expect("^C")
		for _, waiting in ipairs{"while true do end", "vigia.sleep(100)", "registry:run()"} do
			type_in("print('be' .. 'gun') " .. waiting .. "\n")
			expect("begun")
			type_in("\3")
			expect("interrupted")
			expect("> ")
		end
		type_in("while slow:stats().processed + slow:stats().skipped < 2 do vigia.sleep(0.01) end\n")
		type_in("slow:stats().processed .. ' processed ' .. slow:stats().state\n")
		expect("2 processed running")
		type_in("\3")
		expect("^C")
		expect("> ")
		type_in("\4")
		expect("step\ttrue")
		left()
	end)

	it("completes with Tab: names, methods, watcher ids and object types", function()
		make():close()
		open()
		expect("> ")
		type_in("check\t()\n")
		expect("\n{audit = 12}")
		type_in("store:get_lat\t()\n")
		expect("\n30\r\n")
		type_in("store:get_checkpoint('au\t')\n")
		expect("\n12\r\n")
		type_in("#events{type = 'No\t', limit = 0}\n")
		expect("\n10\r\n")
		type_in("'日本語', store:get_lat\t()\n")
		expect("日本語\t30\r\n")
		expect("> ")
		type_in("exi\t\n")
		left()
	end)

	it("stops what runs with Ctrl-C, also in a loop that swallows errors, and what waits in C, and drops a line", function()
		make():close()
		open()
		expect("> ")
		for _, endless in ipairs{
			"while true do end", "while true do pcall(error) end", "vigia.sleep(1000)",
			"store:get_events{event_iterator = vigia.after_sequence_number(30), timeout = 1000}",
			"xpcall(function() while true do end end, function(m) return m end) while true do end",
			"coroutine.wrap(function() while true do end end)()",
			"while true do pcall(coroutine.wrap(function() while true do pcall(error) end end)) end",
			"co = coroutine.create(function() while true do coroutine.yield() end end) while true do coroutine.resume(co) end",
			"r = vigia.registry(vigia.open(':memory:')) r:spawn(function() while true do end end) r:run()",
		} do
			type_in("print('begin' .. 's') " .. endless .. "\n")
			expect("begins")
			type_in("\3")
			expect("interrupted")
			expect("> ")
			type_in("'still' .. ' here'\n")
			expect("\nstill here")
		end
		type_in("this is dropped")
		expect("dropped")
		type_in("\3")
		expect("^C")
		type_in("for i = 1, 3 do\n")
		expect(">> ")
		type_in("\3")
		expect("^C")
		type_in("'after' .. 'wards'\n")
		expect("\nafterwards")
		expect("> ")
		leave()
	end)

	it("takes a Ctrl-D that was typed while an expression ran, and nothing for Ctrl-Space", function()
		make():close()
		open()
		expect("> ")
		type_in("fter'\0\1'a\n") -- Ctrl-A goes to the beginning of the line; quoted, it would be a part of it
		expect("\nafter\r\n")
		expect("> ")
		local gate = helper.path("gate")
		type_in(("print('be' .. 'gun') while not io.open(%q) do vigia.sleep(0.01) end\n"):format(gate))
		expect("begun")
		type_in("\4and then\n")
		expect("and then") -- the terminal's echo: the Ctrl-D has come, too
		spew(gate, "")
		left()
	end)

	it("says at the start that it may write", function()
		make():close()
		open(("%s repl --write --store %s"):format(program, quoted(helper.path("store"))))
		expect(", read and write: changes are stored at once.\r\n")
		expect("> ")
		type_in("quit\n")
		left()
	end)

	it("keeps its history between runs, for its owner only", function()
		make():close()
		open()
		expect("> ")
		type_in("'fir' .. 'st'\n")
		expect("\nfirst")
		expect("> ")
		leave()
		close()
		open()
		expect("> ")
		type_in("\27[A\n")
		expect("\nfirst")
		expect("> ")
		leave()
		assert.equal("600\n", (helper.shell("stat -c %a " .. quoted(helper.path("state/vigia/history")))))
	end)

	it("keeps the lines of two that run at once, and of the last thousand", function()
		make():close()
		assert(helper.shell("mkdir -p " .. quoted(helper.path("state/vigia"))))
		local old = {}
		for n = 1, 2500 do old[n] = "old" .. n end
		spew(helper.path("state/vigia/history"), table.concat(old, "\n") .. "\n")
		open()
		expect("> ")
		local first = terminal
		open()
		expect("> ")
		type_in("'second' .. ' one'\n")
		expect("\nsecond one")
		expect("> ")
		leave()
		terminal.pipe:close()
		terminal = first
		type_in("'first' .. ' one'\n")
		expect("\nfirst one")
		expect("> ")
		leave()
		local lines = {}
		for line in io.lines(helper.path("state/vigia/history")) do lines[#lines + 1] = line end
		assert.equal(1002, #lines)
		assert.same({"old1501", "old2500", "'second' .. ' one'", "'first' .. ' one'"}, {lines[1], lines[1000], lines[1001], lines[1002]})
	end)

	it("holds no snapshot while it waits for input, and sees what others store meanwhile", function()
		local store = make()
		open()
		expect("> ")
		type_in("#events{limit = 0}\n")
		expect("\n30\r\n")
		expect("> ")
		local readers, count = helper.shell("mdb_stat -n -r " .. quoted(helper.path("store"))), 0
		for line in readers:gmatch("[^\n]+") do
			if line:find("^%s*%d+%s+%x+%s") then
				assert(line:find("%-%s*$"), "a snapshot is open: " .. line)
				count = count + 1
			end
		end
		assert(count > 0, readers)
		assert(store:store_event("CREATE", "Job", {n = 31}))
		type_in("stats().events\n")
		expect("\n31\r\n")
		-- What is removed behind an idle prompt is used again: the file does not grow.
		expect("> ")
		local function turn()
			local _, last = assert(store:store_events((function()
				local events = {}
				for n = 1, 200 do events[n] = {"UPDATE", "Job", {n = n, text = ("x"):rep(500)}} end
				return events
			end)()))
			assert(store:trim(last))
		end
		for _ = 1, 3 do turn() end
		local before = store:stats().file_bytes
		for _ = 1, 50 do turn() end
		assert(store:stats().file_bytes <= before * 1.5, "the file grew from " .. before .. " to " .. store:stats().file_bytes)
		type_in("stats().events\n")
		expect("\n0\r\n")
		expect("> ")
		leave()
	end)
end)
