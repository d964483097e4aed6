-- signal_spec.lua - signals: which threads take them, what a started program inherits, and how they end what waits.

local cli = require "spec.support.cli"
local helper = require "spec.helper"
local vigia = require "vigia"

local quoted = helper.quoted

-- The numbers of the signals that may be sent to a process from outside to be handled: SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGTERM, ...
local FROM_OUTSIDE <const> = {HUP = 1, INT = 2, QUIT = 3, USR1 = 10, USR2 = 12, ALRM = 14, TERM = 15, CHLD = 17, WINCH = 28, RTMIN = 34}

local function mask_of(status)
	return assert(math.tointeger(tonumber(status:match("SigBlk:%s*(%x+)"), 16)))
end

local function takes(mask, number)
	return mask & (1 << number - 1) == 0
end

-- What of these a thread may be interrupted by, as a sorted list.
local function taken(mask)
	local names = {}
	for name, number in pairs(FROM_OUTSIDE) do
		if takes(mask, number) then names[#names + 1] = name end
	end
	table.sort(names)
	return names
end

describe("signals", function()
	after_each(cli.clean)

	it("come to no thread of ours", function()
		if helper.sanitized then return helper.pending("a sanitizer may have a thread of its own") end
		local before = helper.thread_ids()
		local store = helper.open(nil, {collect = true, durability = "interval"})
		local registry = helper.registry(store)
		assert(registry:pollfd())
		helper.write_file("say.lua", "return function() end")
		assert(registry:watch("script", helper.path("say.lua")))
		assert(store:store_event("CREATE", "Job", 1))
		local other = helper.open(helper.path("other"))
		local second = helper.registry(other)
		assert(second:spawn(function() assert(other:store_event("CREATE", "Job", 1)) end)) -- its commit is a helper thread's
		assert(second:run())
		local count = 0
		for id in pairs(helper.thread_ids()) do
			if not before[id] then
				count = count + 1
				assert.same({}, taken(mask_of(helper.read_file("/proc/self/task/" .. id .. "/status"))))
			end
		end
		assert.is_true(count >= 5, count .. " threads: collector, poller, script, queue, commit")
	end)

	it("come to the main thread of the program only", function()
		if helper.sanitized then return helper.pending("a sanitizer may have a thread of its own") end
		cli.write("say.lua", "return function() io.write('handled\\n') io.flush() end")
		assert(helper.open():store_event("CREATE", "Job", 1))
		local process = cli.start({"run", "--store", helper.path("store"), helper.path("say.lua")})
		assert.equal("handled", process:line())
		local ids, _ = helper.shell("ls /proc/" .. process.pid .. "/task")
		local count = 0
		for id in ids:gmatch("%d+") do
			count = count + 1
			local names = taken(mask_of(helper.read_file(("/proc/%d/task/%d/status"):format(process.pid, id))))
			if tonumber(id) ~= process.pid then assert.same({}, names) else assert.is_true(#names > 0) end
		end
		assert.is_true(count >= 3)
	end)

	local REPORT <const> = [[
		local given = ...
		return function()
			local function mask(file)
				local text = file:read("a")
				file:close()
				return text:match("SigBlk:%s*(%x+)")
			end
			os.execute("cat /proc/self/status >" .. given.set.path)
			given.store:store_event("REPORT", "Mask", {
				self = mask(io.open("/proc/thread-self/status")),
				execute = mask(io.open(given.set.path)),
				popen = mask(io.popen("cat /proc/self/status")),
			})
		end]]

	for _, isolation in ipairs{false, "process"} do
		it("are for programs that a script starts as for those of the application: " .. (isolation or "a thread"), function()
			if isolation and not helper.program() then return helper.pending("there is no program `vigia`") end
			local path = helper.write_file("report.lua", REPORT)
			local source = [[
				local store <close> = assert(vigia.open(arg[1]))
				local registry <close> = vigia.registry(store)
				assert(registry:watch("report", arg[2], {isolation = arg[4] ~= "" and arg[4] or nil, set = {path = arg[3]},
					filter = {object_types = {"Job"}}}))
				assert(store:store_event("CREATE", "Job", 1))
				local answer = assert(store:get_events{filter = {object_types = {"Mask"}}, event_iterator = vigia.trim_horizon(), timeout = 30})
				local masks = answer.events[1] or store:get_events{filter = {object_types = {"Mask"}}, timeout = 30,
					event_iterator = vigia.at_sequence_number(1)}.events[1]
				local object = masks.object
				local function own(file) return file:read("a"):match("SigBlk:%s*(%x+)") end
				print(own(io.open("/proc/self/status")), object.self)
				print(own(io.popen("cat /proc/self/status")), object.execute, object.popen)]]
			local output = helper.run_lua("exec env --block-signal=USR2 --block-signal=WINCH", source, helper.path("store"), path,
				helper.path("mask"), isolation or "")
			local own, self, its, execute, popen = output:match("^(%x+)\t(%x+)\n(%x+)\t(%x+)\t(%x+)\n$")
			assert.is_truthy(own, output)
			assert.is_false(takes(tonumber(own, 16), FROM_OUTSIDE.USR2))
			assert.equal(its, execute) -- some shells take every signal, whatever they inherit
			assert.equal(its, popen)
			if isolation then assert.equal(own, self) else assert.same({}, taken(tonumber(self, 16))) end
		end)
	end

	it("are for a program that a C module of a script forks as for those of the application", function()
		if not os.execute("cc --version >/dev/null 2>&1") then return helper.pending("there is no C compiler") end
		local source = helper.write_file("forks.c", [[
			#include <lauxlib.h>
			#include <sys/wait.h>
			#include <unistd.h>
			static int run(lua_State *L)
			{
				int status = 0;
				pid_t pid = fork();
				if (pid == 0) {
					execl("/bin/cp", "cp", "/proc/self/status", luaL_checkstring(L, 1), (char *)NULL);
					_exit(127);
				}
				waitpid(pid, &status, 0);
				return 0;
			}
			int luaopen_forks(lua_State *L) { lua_pushcfunction(L, run); return 1; }]])
		assert(os.execute(("cc -shared -fPIC -I/usr/include/lua5.4 -o %s %s"):format(quoted(helper.path("forks.so")), quoted(source))))
		helper.write_file("forking.lua", [[
			local given = ...
			package.cpath = given.set.cpath
			local run = require "forks"
			return function() run(given.set.path) end]])
		local store = helper.open()
		local registry = helper.registry(store)
		local watcher = assert(registry:watch("forking", helper.path("forking.lua"),
			{set = {path = helper.path("mask"), cpath = helper.path("?.so")}}))
		assert(store:store_event("CREATE", "Job", 1))
		helper.eventually(function() return watcher:stats().processed == 1 end)
		assert.equal(mask_of(helper.read_file("/proc/self/status")), mask_of(helper.read_file(helper.path("mask"))))
	end)

	it("and os.execute and io.popen of a script do what the standard ones do", function()
		helper.write_file("programs.lua", [[
			local given = ...
			local answers = {}
			local function note(...) answers[#answers + 1] = table.pack(...) end
			local function noted(f, ...) note(pcall(f, ...)) end
			noted(os.execute)
			noted(os.execute, "exit 3")
			noted(os.execute, "kill -9 $$")
			noted(os.execute, "true")
			noted(os.execute, {})
			local pipe = io.popen("cat; echo; exit 5", "r")
			note(io.type(pipe), pipe:read("a"))
			note(pipe:close())
			note(io.type(pipe))
			pipe = io.popen("cat >" .. given.set.path, "w")
			note(pipe:write("written") == pipe)
			note(pipe:close())
			note(io.open(given.set.path):read("a"))
			noted(io.popen, "true", "rw")
			noted(io.popen)
			for line in io.popen("printf 'a\nb\n'"):lines() do note(line) end
			do local scoped <close> = io.popen("true") end
			io.popen("true") -- left to the collector
			collectgarbage()
			return answers]])
		local standard = assert(loadfile(helper.path("programs.lua")))({set = {path = helper.path("plain")}})
		helper.write_file("ours.lua", ([[
			local given = ...
			return function()
				local answers = assert(loadfile(%q))(given)
				given.store:store_event("ANSWERS", "Answers", answers)
			end]]):format(helper.path("programs.lua")))
		local store = helper.open()
		local registry = helper.registry(store)
		assert(registry:watch("ours", helper.path("ours.lua"), {set = {path = helper.path("plain")}, filter = {object_types = {"Job"}}}))
		assert(store:store_event("CREATE", "Job", 1))
		local answer = assert(store:get_events{filter = {object_types = {"Answers"}}, timeout = 30,
			event_iterator = vigia.at_sequence_number(2)})
		local ours = answer.events[1].object
		for index, answers in ipairs(standard) do
			for place = 1, answers.n do
				local expected, got = answers[place], ours[index][place]
				if got == vigia.null then got = nil end
				if type(expected) == "string" then -- what a message calls the function depends on how it was found
					expected, got = expected:gsub("'%S-'", ""):gsub("^.-:%d+: ", ""), tostring(got):gsub("'%S-'", ""):gsub("^.-:%d+: ", "")
				end
				assert.equal(expected, got, ("answer %d, value %d"):format(index, place))
			end
		end
	end)
end)

describe("Ctrl-C in a stock Lua", function()
	after_each(helper.clean)

	local CASES <const> = {
		["vigia.sleep"] = "say 'waits' vigia.sleep(40)",
		["vigia.sleep in a coroutine of the application's"] = "say 'waits' coroutine.wrap(function() vigia.sleep(40) end)()",
		["get_events"] = "say 'waits' store:get_events{event_iterator = vigia.latest()} store:get_events{timeout = 40,"
			.. " event_iterator = vigia.at_sequence_number(1)}",
		["get_events of several types"] = "say 'waits' store:get_events{timeout = 40, filter = {object_types = {'A', 'B', 'C'}},"
			.. " event_iterator = vigia.at_sequence_number(1)}",
		["get_events with a predicate"] = "say 'waits' store:get_events{timeout = 40, where = function() return false end,"
			.. " event_iterator = vigia.at_sequence_number(1)}",
		["registry:run"] = "registry:watch('idle', function() end) say 'waits' registry:run()",
		["registry:run of several types"] = "registry:watch('idle', function() end, {filter = {object_types = {'A', 'B'}}}) say 'waits'"
			.. " registry:run()",
		["registry:run, where a handler sleeps"] = "store:store_event('A', 'A', 1) registry:watch('sleeper', function()"
			.. " say 'waits' vigia.sleep(40) end) registry:run()",
		["registry:run, where handlers are always at work"] = "for n = 1, 3 do store:store_event('A', 'A', n) end"
			.. " registry:watch('busy', function(event, ctx) if event.seq_num == 1 then say 'waits' end"
			.. " ctx.store:store_event('A', 'A', 1) end) registry:run()",
		["registry:step"] = "registry:watch('idle', function() end) say 'waits' while true do registry:step(40) end",
		["registry:run of a store in Lua"] = "registry = vigia.registry(require 'vigia.wrapper'.new(store))"
			.. " registry:watch('idle', function() end) say 'waits' registry:run()",
		["registry:stop"] = "store:store_event('A', 'A', 1) registry:watch('stubborn', [[busy.lua]]) "
			.. "repeat until store:get_latest_event_num() > 1 say 'waits' registry:stop{timeout = 40}",
		["watcher:stop"] = "store:store_event('A', 'A', 1) local w = registry:watch('stubborn', [[busy.lua]]) "
			.. "repeat until store:get_latest_event_num() > 1 say 'waits' w:stop{timeout = 40}",
	}
	for name, source in pairs(CASES) do
		it("ends " .. name .. " with Lua's own error", function()
			helper.write_file("busy.lua", [[
				return function(event, ctx)
					if event.object ~= 1 then return end
					ctx.store:store_event("A", "A", 2)
					repeat until io.open(debug.getinfo(1, "S").source:sub(2) .. ".end")
				end]])
			local child = helper.child([[
				local store = assert(vigia.open(arg[1]))
				local registry = vigia.registry(store)
				local good, err = pcall(function() ]] .. source:gsub("busy%.lua", helper.path("busy.lua")) .. [[ end)
				say(good, err)
				io.open(arg[2], "w"):close()
				registry:stop()
				-- nothing is left behind: it waits as before
				say(vigia.sleep(0.001), #store:get_events{timeout = 0.001, event_iterator = vigia.after_sequence_number(1000000)}.events)
			]], helper.path("store"), helper.path("busy.lua.end"))
			child:expect "waits"
			child:asleep()
			os.execute("kill -INT " .. child.pid)
			local said = child:line()
			assert.is_truthy(said:find("^false\t.*interrupted!$"), said)
			child:expect "true\t0"
			assert.same({}, child:wait())
		end)
	end

	it("and a hook that does not raise lets the wait go on", function()
		if not os.execute("cc --version >/dev/null 2>&1") then return helper.pending("there is no C compiler") end
		-- As luaposix does it: the signal's handler sets a hook for one instruction, which calls a function of Lua.
		local source = helper.write_file("onusr.c", [[
			#include <lauxlib.h>
			#include <signal.h>
			static lua_State *state;
			static void hook(lua_State *L, lua_Debug *ar)
			{
				lua_sethook(L, NULL, 0, 0);
				lua_getglobal(L, "on_usr");
				lua_call(L, 0, 0);
			}
			static void on_signal(int signo) { lua_sethook(state, hook, MASK, 1); }
			int luaopen_onusr(lua_State *L)
			{
				struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
				state = L;
				sigaction(SIGUSR1, &action, NULL);
				return 0;
			}]])
		for _, mask in ipairs{"LUA_MASKCALL|LUA_MASKRET|LUA_MASKCOUNT", "LUA_MASKCOUNT", "LUA_MASKLINE"} do
			assert(os.execute(("cc -shared -fPIC '-DMASK=(%s)' -I/usr/include/lua5.4 -o %s %s"):format(mask, quoted(helper.path("onusr.so")),
				quoted(source))))
			local child = helper.child([[
				package.cpath = arg[2] .. ";" .. package.cpath
				local store = assert(vigia.open(arg[1]))
				local registry = vigia.registry(store)
				local count = 0
				function on_usr() count = count + 1 say("heard", count) if count == 2 then error("enough", 0) end end
				require "onusr"
				registry:watch("last", function(event, ctx) ctx.watcher:stop() end, {filter = {object_types = {"Last"}}})
				say "sleep"
				say(pcall(vigia.sleep, 40))
				say "get"
				local answer = store:get_events{timeout = 40, event_iterator = vigia.after_sequence_number(math.tointeger(tonumber(arg[3])))}
				say(answer.events[1].object_type)
				say "run"
				say(registry:run())
			]], helper.path("store"), helper.path("?.so"), helper.open():get_latest_event_num())
			local function tell(count)
				child:asleep()
				os.execute("kill -USR1 " .. child.pid)
				child:expect("heard\t" .. count)
			end
			child:expect "sleep"
			tell(1)
			tell(2)
			child:expect "false\tenough"
			child:expect "get"
			tell(3)
			assert(helper.open():store_event("CREATE", "First", 1))
			child:expect "First"
			child:expect "run"
			tell(4)
			assert(helper.open():store_event("CREATE", "Last", 1))
			child:expect "true"
			child:wait()
		end
	end)
end)

describe("SIGHUP and ignored signals", function()
	after_each(cli.clean)

	-- `vigia run` of a script that says that it began, behind a prefix in the shell; returns its pid and how to wait for its end.
	local function start(prefix)
		cli.write("say.lua", [[return {
			handle = function() io.write("began\n") io.flush() end,
			stop = function() io.write("stop\n") io.flush() end,
		}]])
		assert(helper.open():store_event("CREATE", "Job", 1))
		local pipe = io.popen(("%s sh -c 'echo $$; exec \"$@\"' sh %s run --store %s %s 2>&1; echo $?"):format(prefix, quoted(cli.program),
			quoted(helper.path("store")), quoted(helper.path("say.lua"))))
		local pid = assert(pipe:read("l"))
		assert.equal("began", pipe:read("l"))
		return pid, function()
			local rest = pipe:read("a")
			pipe:close()
			return rest
		end
	end

	it("are no reason for an idle `vigia run` to wake up", function()
		if helper.tsan then return helper.pending("it does, there: the sanitizer keeps a signal back until the thread makes a call") end
		local pid, finish = start("env --default-signal=INT")
		local function switches()
			return tonumber(helper.read_file(("/proc/%d/task/%d/status"):format(pid, pid)):match("\nvoluntary_ctxt_switches:%s*(%d+)"))
		end
		helper.eventually(function() return helper.open():get_checkpoint("say") == 1 end) -- it was at work until then
		local made = math.huge
		for _ = 1, 4 do -- on a busy machine there is one now and then: the quietest of a few counts
			local before = switches()
			vigia.sleep(1)
			made = math.min(made, switches() - before)
			if made <= 1 then break end
		end
		assert.is_true(made <= 1, made .. " switches in a second")
		os.execute("kill -TERM " .. pid)
		assert.equal("stop\n0\n", finish())
	end)

	it("SIGHUP ends `vigia run` as SIGTERM does, however often it comes", function()
		local pid, finish = start("env --default-signal=HUP")
		os.execute("kill -HUP " .. pid .. "; kill -HUP " .. pid .. " 2>/dev/null; kill -HUP " .. pid .. " 2>/dev/null")
		assert.equal("stop\n0\n", finish())
	end)

	for _, signal in ipairs{"INT", "HUP"} do
		it("SIG" .. signal .. " that was ignored at the start stays ignored", function()
			local pid, finish = start("env --ignore-signal=" .. signal)
			os.execute("kill -" .. signal .. " " .. pid)
			assert(helper.open():store_event("CREATE", "Job", 2)) -- handled: the signal did nothing
			helper.eventually(function() return helper.open():get_checkpoint("say") == 2 end)
			os.execute("kill -TERM " .. pid)
			assert.equal("began\nstop\n0\n", finish())
		end)
	end

	-- As a terminal and a service manager do: the program of an isolated script gets them, too.
	for _, signal in ipairs{"INT", "TERM", "HUP"} do
		it(("SIG%s to the whole group lets an isolated handler finish, and ends programs that it started"):format(signal), function()
			cli.write("busy.lua", [[return function(event)
				print("began")
				io.stdout:flush()
				print(os.execute("sleep 60"))
				local later = os.time() + 2
				while os.time() < later do end
				print("finished " .. event.seq_num)
			end]])
			assert(helper.open():store_event("CREATE", "Job", 1))
			local pipe = io.popen(
				("env --default-signal=INT,HUP setsid sh -c 'echo $$; exec \"$@\"' sh %s run --isolate --store %s %s 2>&1; echo $?")
				:format(quoted(cli.program), quoted(helper.path("store")), quoted(helper.path("busy.lua"))))
			local group = assert(pipe:read("l"))
			finally(function() os.execute("kill -KILL -" .. group .. " 2>/dev/null") end) -- or a failure would wait for it
			assert.equal("began", pipe:read("l"))
			helper.eventually(function() return os.execute("pgrep -g " .. group .. " sleep >/dev/null") end)
			os.execute(("kill -%s -%s"):format(signal, group))
			local rest = pipe:read("a")
			pipe:close()
			assert.equal(("nil\tsignal\t%d\nfinished 1\n0\n"):format(FROM_OUTSIDE[signal]), rest)
			assert.equal(1, helper.open():get_checkpoint("busy"))
		end)
	end
end)
