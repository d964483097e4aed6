-- cli_run_spec.lua - `vigia run`: handler scripts over a store, their mistakes, and how it ends.

local cli = require "spec.support.cli"
local helper = require "spec.helper"

local mentions, write = helper.mentions, cli.write

local EVENT = '{"operation":"CREATE","object_type":"%s","object":%d}'

local store -- the path of the test's store

local function fill(count, object_type)
	local lines = {}
	for n = 1, count do lines[n] = EVENT:format(object_type or "Job", n) end
	cli.append(store, lines)
end

-- The command line that runs these scripts of the test's folder.
local function run(...)
	local words = {"run", "--store", store}
	for _, word in ipairs{...} do words[#words + 1] = word:find("%.lua$") and not word:find("/") and helper.path(word) or word end
	return words
end

local function checkpoint(id)
	local handle = helper.open(store, {readonly = true})
	local n = handle:get_checkpoint(id)
	handle:close()
	return n
end

-- A handler that says the number of each event at once.
local SAY = [[
	return function(event) io.write(event.seq_num, "\n") io.flush() end]]

describe("vigia run", function()
	before_each(function() store = helper.path("a.db") end)
	after_each(cli.clean)

	describe("with a handler script", function()
		it("runs the function it returns over all events, and goes on behind them the next time [W3j W10q]", function()
			fill(3)
			write("say.lua", SAY)
			assert.same({status = 0, out = "1\n2\n3\n", err = ""}, cli.run(run("say.lua", "--until-idle")))
			assert.equal(3, checkpoint("say"))
			fill(2)
			assert.equal("4\n5\n", cli.ok(run("say.lua", "--until-idle")).out)
			assert.equal("", cli.ok(run("say.lua", "--until-idle")).out)
			assert.equal(5, checkpoint("say"))
		end)

		it("tells the handler, init and stop about the store and the watcher, in order [W21k]", function()
			fill(2)
			write("full.lua", [[
				local given = ...
				assert(next(given.set) == nil)
				local function tell(name, ctx)
					assert(ctx.store == given.store and ctx.store:get_latest_event_num() == 2)
					print(name, ctx.watcher:id(), ctx.watcher:stats().state)
				end
				return {
					id = "my id",
					init = function(ctx) tell("init", ctx) ctx.log("warn", "in\nit") end,
					handle = function(event, ctx) tell("handle " .. event.object, ctx) end,
					stop = function(ctx) tell("stop", ctx) given.log("error", "stop") end,
				}]])
			local result = cli.ok(run("full.lua", "--until-idle"))
			assert.equal("init\tmy id\trunning\nhandle 1\tmy id\trunning\nhandle 2\tmy id\trunning\nstop\tmy id\tstopped\n", result.out)
			local time = "%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d%.%d%d%d"
			assert.matches("^vigia: " .. time .. " WARN in\n    it\nvigia: " .. time .. " ERROR stop\n$", result.err)
			assert.equal(2, checkpoint("my id"))
		end)

		it("takes the options of a watcher from its table [F1l]", function()
			fill(2, "Job")
			fill(2, "Other")
			write("options.lua", [[
				local vigia = require "vigia"
				return {filter = {object_types = {"Other"}}, ephemeral = true, initial_event_iterator = vigia.after_sequence_number(3),
					handle = function(event) print(event.seq_num) end}]])
			for _ = 1, 2 do assert.equal("4\n", cli.ok(run("options.lua", "--until-idle")).out) end
			assert.is_nil(checkpoint("options"))
		end)

		it("runs several, each with globals of its own [W4h]", function()
			fill(2)
			write("a.lua", 'name = "a" return function(event) print(name, event.seq_num) end')
			write("b.lua", 'assert(name == nil and _G.name == nil) _G.name = "b" return function(event) print(name, event.seq_num) end')
			local lines = cli.lines(cli.ok(run("a.lua", "b.lua", "--until-idle")).out)
			table.sort(lines)
			assert.same({"a\t1", "a\t2", "b\t1", "b\t2"}, lines)
		end)

		it("gives scripts what --set says [H3h]", function()
			fill(1)
			write("set.lua", 'local set = (...).set return function() print(set.a, set.b, set.c) end')
			assert.equal("1\tx = y\t\n", cli.ok(run("set.lua", "--until-idle", "--set", "a=1", "--set", "b=x = y", "--set", "c=")).out)
			write("again.lua", 'local set = (...).set return function() print(set.a, set.b, set.c) end')
			write("o.ther.lua", 'local set = (...).set return function() print("o.ther", set.a, set.b, set.c) end')
			local lines = cli.lines(cli.ok(run("set.lua", "o.ther.lua", "--until-idle", "--set", "a=all", "--set", "o.ther.a=x.y=z", "--set",
				"set.b=2")).out)
			assert.same({"o.ther\tx.y=z\tnil\tnil"}, lines) -- set.lua has handled the event above
			assert.equal("all\t2\tnil\n", cli.ok(run("again.lua", "--until-idle", "--set", "again.b=2", "--set", "a=all")).out)
			mentions(cli.fails(2, run("set.lua", "--set", "sat.a=1")), "--set sat.a=1", "no script 'sat'")
			mentions(cli.fails(2, run("set.lua", "--set", "set.a=1", "--set", "set.a=2")), "a is set already")
			mentions(cli.fails(2, run("set.lua", "--set", "a")), "--set a", "NAME=VALUE")
			mentions(cli.fails(2, run("set.lua", "--set", "a=1", "--set", "a=2")), "a is set already")
		end)

		it("shows informational lines only with --verbose", function()
			fill(1)
			write("log.lua", 'local given = ... given.log("info", "loaded") given.log("debug", "details") return print')
			assert.equal("", cli.ok(run("log.lua", "--until-idle")).err)
			mentions(cli.ok(run("log.lua", "--until-idle", "--verbose")).err, " INFO loaded\n", " DEBUG details\n",
				" INFO watcher 'log'")
		end)
	end)

	describe("with a script that is wrong", function()
		for name, case in pairs{
			["a syntax error"] = {"return {\n\n = 1}", "bad.lua:3:", "'='"},
			["nothing returned"] = {"", "returns nothing", "function(event, ctx)"},
			["something else returned"] = {"return 7", "returns a number"},
			["a table without a handler"] = {"return {init = print}", "no handler", "handle ="},
			["a field with a typing mistake"] = {"return {hadle = print}", "unknown field `hadle`", "did you mean 'handle'?"},
			["an option with a typing mistake"] = {"return {handle = print, bach_size = 3}", "`bach_size`", "did you mean 'batch_size'?"},
			["an option with a wrong value"] = {"return {handle = print, batch_size = -1, checkpoint = 'often'}", "batch_size", "checkpoint",
				"batch", "event", "manual"},
			["a filter that is none"] = {"return {handle = print, filter = {types = {}}}", "filter", "types"},
			["a handler that is no function"] = {"return {handle = 'print'}", "`handle` is a string, not a function"},
			["an id that is no string"] = {"return {handle = print, id = 5}", "`id` is a number, not a string"},
			["an empty id"] = {"return {handle = print, id = ''}", "`id` must have 1 to 255 bytes"},
			["a field that means nothing here"] = {"return {handle = print, auto_start = false}", "`auto_start` cannot be set"},
			["an error while it loads"] = {"local x = nil\nreturn x.y", "the script failed", "bad.lua:2:", "'x'"},
			["an error object"] = {"error({})", "the script failed"},
			["an error in init"] = {"return {handle = print, init = function() error('no luck') end}", "`init` failed", "bad.lua:1: no luck"},
			["an error answered by init"] = {"return {handle = print, init = function() return nil, 'no luck' end}", "`init` failed: no luck"},
		} do
			it(("says what is wrong and handles nothing: %s [R3a W18i]"):format(name), function()
				fill(1)
				write("good.lua", SAY)
				write("bad.lua", case[1])
				local err = cli.fails(1, run("good.lua", "bad.lua", "--until-idle"))
				mentions(err, helper.path("bad.lua"), table.unpack(case, 2))
				assert.is_nil(err:find("/cli/", 1, true), err) -- our own frames are no help
				assert.is_nil(err:find((helper.path("bad.lua") .. ": "):rep(2), 1, true), err)
				assert.is_nil(checkpoint("good"))
			end)
		end

		it("names a file that is missing, a folder, or no Lua source [R3b]", function()
			fill(1)
			mentions(cli.fails(1, run("missing.lua")), "missing.lua", "No such file")
			mentions(cli.fails(1, {"run", "--store", store, helper.path()}), helper.path(), "directory")
			write("code.lua", string.dump(function() end))
			mentions(cli.fails(1, run("code.lua")), "code.lua", "bytecode")
		end)

		it("refuses two scripts with one id, naming both [W1g]", function()
			fill(1)
			write("a.lua", SAY)
			write("b.lua", 'return {id = "a", handle = print}')
			mentions(cli.fails(1, run("a.lua", "b.lua")), helper.path("a.lua"), helper.path("b.lua"), "the same id, 'a'")
			mentions(cli.fails(1, run("a.lua", "a.lua")), "given twice")
		end)

		it("runs the stop function of those whose init ran, and of no other", function()
			fill(1)
			write("a.lua", 'return {handle = print, init = function() print "init" end, stop = function() print "stop" end}')
			write("b.lua", 'return {handle = print, init = function() error "no" end, stop = function() print "b" end}')
			local result = cli.run(run("a.lua", "b.lua"))
			assert.equal(1, result.status)
			assert.equal("init\nstop\n", result.out)
		end)
	end)

	it("leaves no trace of the good ones when a script is wrong [R3c]", function()
		fill(1)
		write("good.lua", SAY)
		for _, bad in ipairs{"return {", "return {init = print}", 'return {id = "good", handle = print}', "error('no')"} do
			write("bad.lua", bad)
			cli.fails(1, run("good.lua", "bad.lua", "--until-idle"))
			assert.same({}, cli.lines(cli.ok{"checkpoints", "--store", store, "--json"}.out))
		end
	end)

	-- Its handlers print without looking whether that arrives, so nothing else would keep them from passing all events.
	for kind, words in pairs{["on a thread"] = {}, ["isolated"] = {"--isolate"}} do
		it("ends, with status 0, when whoever read its output has seen enough: " .. kind .. " [R3d]", function()
			fill(5000)
			-- Far more than a pipe holds.
			write("say.lua", [[return function(event) io.write(event.seq_num, (" "):rep(200), "\n") io.flush() end]])
			local line = {helper.quoted(cli.program)}
			for _, word in ipairs(run("say.lua", table.unpack(words))) do line[#line + 1] = helper.quoted(word) end
			local pipeline = ("set -o pipefail; timeout 60 %s 2>%s | head -1"):format(table.concat(line, " "), helper.quoted(helper.path("err")))
			local output, ok = helper.shell("bash -c " .. helper.quoted(pipeline))
			assert(ok, cli.read(helper.path("err")))
			assert.equal("1\n", (output:gsub(" ", "")))
			assert((checkpoint("say") or 0) < 5000)
		end)
	end

	it("says whose an id is that another process runs, before the script's init can do harm [W19k]", function()
		fill(1)
		write("say.lua", [[return {init = function() print "init" end, handle = function() io.write("handled\n") io.flush() end}]])
		local process = cli.start(run("say.lua"))
		assert.equal("init", process:line())
		assert.equal("handled", process:line())
		mentions(cli.fails(1, run("say.lua", "--until-idle")), "say.lua", "'say'", "pid " .. process.pid)
		process:kill()
		cli.ok(run("say.lua", "--until-idle"))
	end)

	describe("until a signal", function()
		for _, signal in ipairs{"INT", "TERM"} do
			it(("lets the handler in progress finish, saves, runs stop, and ends with 0: SIG%s [W14k W16f]"):format(signal), function()
				fill(3)
				-- The handler of event 2 is busy, in Lua and in C, when the signal comes, and until it hears of it.
				write("busy.lua", [[
					return {
						handle = function(event, ctx)
							if event.seq_num == 2 then
								io.write("busy\n") io.flush()
								repeat assert(io.open("/dev/null")):close() until ctx.stopping
							end
							io.write("handled ", event.seq_num, "\n") io.flush()
						end,
						stop = function() print "stop" end,
					}]])
				local process = cli.start(run("busy.lua"))
				assert.equal("handled 1", process:line())
				assert.equal("busy", process:line())
				process:signal(signal)
				assert.same({status = 0, out = "handled 2\nstop\n", err = ""}, process:wait())
				assert.equal(2, checkpoint("busy"))
			end)
		end

		it("ends a handler's sleep at once [W14l]", function()
			fill(1)
			write("sleeper.lua", [[
				local vigia = require "vigia"
				return function()
					io.write("asleep\n") io.flush()
					local ok, err = vigia.sleep(100000)
					print(ok, err and err.code)
					return nil, "not done"
				end]])
			local process = cli.start(run("sleeper.lua"))
			assert.equal("asleep", process:line())
			process:signal("TERM")
			local result = process:wait()
			assert.equal(0, result.status)
			assert.equal("nil\tstopping\n", result.out)
			assert.is_nil(checkpoint("sleeper"))
		end)

		it("stops twenty at once: in backoff, polling, asleep, at work [W16k]", function()
			fill(1)
			local bodies = {'error("no luck")', 'vigia.sleep(100000)', "while not ctx.stopping do end",
				'ctx.store:get_events{event_iterator = vigia.after_sequence_number(1), timeout = 100000}'}
			local words = {}
			for n = 1, 20 do
				words[n] = "w" .. n .. ".lua"
				write(words[n], [[
					local vigia = require "vigia"
					return {initial_backoff = 3600, max_backoff = 3600, stop = function() print "stop" end,
						handle = function(event, ctx) print "began" ]] .. bodies[n % #bodies + 1] .. [[ end}]])
			end
			local process = cli.start(run(table.unpack(words)))
			for _ = 1, 20 do assert.equal("began", process:line()) end
			process:signal("TERM")
			local result = process:wait()
			assert.equal(0, result.status)
			assert.equal(("stop\n"):rep(20), result.out)
			for n = 1, 20 do assert.equal(n % #bodies ~= 0 and 1 or nil, checkpoint("w" .. n), "w" .. n) end
		end)

		it("takes over new code with --reload [H5h]", function()
			fill(1)
			write("v.lua", "return {handle = function(event) print('old', event.seq_num) end, stop = function() print 'old stop' end}")
			local process = cli.start(run("v.lua", "--reload"))
			assert.equal("old\t1", process:line())
			write("v.lua", "return {handle = function(event) print('new', event.seq_num) end, init = function() print 'new init' end}")
			assert.equal("old stop", process:line())
			assert.equal("new init", process:line())
			fill(1)
			assert.equal("new\t2", process:line())
			process:signal("INT")
			assert.equal(0, process:wait().status)
		end)

		it("ends an init that waits", function()
			fill(1)
			write("waits.lua", [[
				return {
					init = function()
						io.write("waiting\n") io.flush()
						print(select(2, require "vigia".sleep(100000)).code)
					end,
					handle = print,
				}]])
			local process = cli.start(run("waits.lua"))
			assert.equal("waiting", process:line())
			process:signal("TERM")
			assert.same({status = 0, out = "stopping\n", err = ""}, process:wait())
		end)

		it("handles events that other processes store meanwhile [S6l]", function()
			fill(1)
			write("say.lua", SAY)
			local process = cli.start(run("say.lua"))
			assert.equal("1", process:line())
			fill(2)
			assert.equal("2", process:line())
			assert.equal("3", process:line())
			process:signal("INT")
			assert.equal(0, process:wait().status)
			assert.equal(3, checkpoint("say"))
		end)

		it("ends by itself, with 0, when its watchers stopped themselves [W17i]", function()
			fill(3)
			write("once.lua", [[
				return {
					handle = function(event, ctx) print(event.seq_num) ctx.watcher:stop() end,
					stop = function() print "stop" end,
				}]])
			for _, words in ipairs{run("once.lua"), run("once.lua", "--until-idle")} do
				local n = (checkpoint("once") or 0) + 1
				assert.equal(n .. "\nstop\n", cli.ok(words).out)
				assert.equal(n, checkpoint("once"))
			end
		end)

		it("tells of a stop function that fails, runs the others, and ends with 1", function()
			fill(1)
			write("a.lua", 'return {handle = print, stop = function() return nil, "disk gone" end}')
			write("b.lua", 'return {handle = print, stop = function() error("no luck") end}')
			write("c.lua", 'return {handle = function() end, stop = function() io.write "stopped" end}')
			local result = cli.run(run("a.lua", "b.lua", "c.lua", "--until-idle"))
			assert.equal(1, result.status)
			mentions(result.out, "stopped")
			mentions(result.err, "`stop` failed: disk gone\nvigia: ", "b.lua:1: no luck")
			assert.equal(1, checkpoint("a"))
		end)
	end)

	describe("--until-idle", function()
		it("ends at once over an empty store, and where nothing is left", function()
			helper.open(store):close()
			write("say.lua", SAY)
			assert.equal("", cli.ok(run("say.lua", "--until-idle")).out)
			fill(1)
			write("latest.lua", [[return {initial_event_iterator = require "vigia".latest(), handle = print}]])
			assert.equal("", cli.ok(run("latest.lua", "--until-idle")).out)
			write("other.lua", [[return {filter = {object_types = {"Other"}}, handle = print}]])
			assert.equal("", cli.ok(run("other.lua", "--until-idle")).out)
			assert.equal(1, checkpoint("other"))
		end)

		it("also handles what handlers store, in every watcher [W17j]", function()
			fill(3)
			write("grow.lua", [[
				return function(event, ctx)
					if event.object < 100 then
						assert(ctx.store:store_event("CREATE", "Job", event.object * 10))
					end
				end]])
			write("say.lua", "return function(event) print(event.object) end")
			local lines = cli.lines(cli.ok(run("say.lua", "grow.lua", "--until-idle")).out)
			table.sort(lines)
			assert.same({"1", "10", "100", "2", "20", "200", "3", "30", "300"}, lines)
			assert.equal(9, checkpoint("grow"))
		end)

		it("waits for what a handler stored also where it fails at first [W17k]", function()
			fill(1)
			write("grow.lua", [[
				return function(event, ctx) if event.seq_num == 1 then assert(ctx.store:store_event("CREATE", "Job", 2)) end end]])
			write("flaky.lua", [[
				return {initial_backoff = 0.05, handle = function(event, ctx)
					if event.seq_num == 2 and ctx.attempt < 3 then return nil, "not yet" end
					print(event.seq_num, ctx.attempt)
				end}]])
			assert.equal("1\t1\n2\t3\n", cli.ok(run("grow.lua", "flaky.lua", "--until-idle")).out)
		end)

		it("waits for an event that fails at first [W5k]", function()
			fill(3)
			write("flaky.lua", [[
				return {initial_backoff = 0.001, handle = function(event, ctx)
					if event.seq_num == 2 and ctx.attempt < 4 then return nil, "not yet" end
					print(event.seq_num, ctx.attempt)
				end}]])
			local result = cli.ok(run("flaky.lua", "--until-idle"))
			assert.equal("1\t1\n2\t4\n3\t1\n", result.out)
			-- one a minute
			assert.matches("^vigia: [%d%-]+ [%d:.]+ WARN watcher 'flaky': event failed: not yet %(event 2, attempt 1, [^\n]*\n$", result.err)
		end)

		it("names the watcher, the event and the error when one goes on failing, with 1, and saves what was done", function()
			fill(3)
			write("fails.lua", [[
				return {initial_backoff = 0.001, max_backoff = 0.001,
					handle = function(event) if event.seq_num == 2 then error("no luck") end end, stop = function() print "stop" end}]])
			write("good.lua", "return function() end")
			for _, wait in ipairs{"0", "0.05"} do
				local result = cli.run(run("good.lua", "fails.lua", "--until-idle", "--max-wait", wait))
				assert.equal(1, result.status)
				assert.equal("stop\n", result.out)
				mentions(result.err, "vigia: watcher 'fails': event 2 still fails after " .. wait .. " s: ", "no luck")
			end
			assert.equal(1, checkpoint("fails"))
		end)

		it("goes on behind an event that is given up [W6i]", function()
			fill(3)
			write("skip.lua", [[
				return {retry_strategy = "skip", max_retries = 2, initial_backoff = 0.001,
					handle = function(event) if event.seq_num == 2 then error("no luck") end print(event.seq_num) end}]])
			local result = cli.ok(run("skip.lua", "--until-idle"))
			assert.equal("1\n3\n", result.out)
			mentions(result.err, "event 2", "gave")
			assert.equal(3, checkpoint("skip"))
		end)

		it("gives a handler that is slow, and does not fail, its time", function()
			fill(1)
			write("slow.lua", [[
				local vigia = require "vigia"
				return function() vigia.sleep(0.1) print "done" end]])
			assert.equal("done\n", cli.ok(run("slow.lua", "--until-idle", "--max-wait", "0")).out)
		end)
	end)

	describe("over the history of a repository", function()
		for _, name in ipairs{"lua", "bacalhau"} do
			it("gives exactly git's tree: " .. name .. " [W3k]", function()
				local lines, tree = cli.history(name)
				if not lines then return pending(cli.NO_DATA) end
				assert.equal(("%d events appended, last seq_num %d\n"):format(#lines, #lines), cli.append(store, lines).out)
				local result = cli.ok{"run", "--store", store, "scripts/handlers/tree.lua", "--until-idle"}
				assert.equal("", result.err)
				assert(result.out == tree, "the tree differs from git's")
			end)
		end
	end)

	describe("beside two processes that append", function()
		-- tree.lua, which stops itself at the end of the story and then prints what it knows.
		local TREE = [[
			local tree = assert(loadfile("scripts/handlers/tree.lua"))(...)
			local handle, last = tree.handle, 0
			tree.init = function() io.write("ready\n") io.flush() end
			tree.handle = function(event, ctx)
				assert(event.seq_num > last and event.object_type == "File")
				last = event.seq_num
				if event.object.path ~= "THE END" then return handle(event, ctx) end
				ctx.watcher:stop()
				return true
			end
			return tree]]

		-- Feeds two pipes by turns, a few lines each: a pipe holds little, so neither appender can be done before the other begins.
		local FEEDER = [[
			local inputs, outputs = {io.open(arg[1]), io.open(arg[2])}, {io.open(arg[3], "w"), io.open(arg[4], "w")}
			repeat
				local worked = false
				for i = 1, 2 do
					for _ = 1, 50 do
						local line = inputs[i]:read("L")
						if not line then break end
						assert(outputs[i]:write(line))
						worked = true
					end
					assert(outputs[i]:flush())
				end
			until not worked]]

		local function check(first, second)
			write("tree.lua", TREE)
			cli.append(store, {EVENT:format("Start", 0)})
			local watcher = cli.start(run("tree.lua"))
			assert.equal("ready", watcher:line())
			local appenders, words = {}, {write("feeder.lua", FEEDER)}
			for i, lines in ipairs{first, second} do
				words[1 + i] = write("input" .. i, table.concat(lines, "\n") .. "\n")
				words[3 + i] = helper.path("fifo" .. i)
				assert(os.execute("mkfifo " .. helper.quoted(words[3 + i])))
			end
			assert(os.execute(("%s '%s' '%s' '%s' '%s' '%s' &"):format(helper.lua, table.unpack(words))))
			for i = 1, 2 do appenders[i] = cli.start({"append", "--store", store}, {stdin_path = words[3 + i]}) end
			for i, lines in ipairs{first, second} do
				local result = appenders[i]:wait()
				assert.equal(0, result.status, result.err)
				mentions(result.out, ("%d events appended"):format(#lines))
			end
			cli.append(store, {'{"operation":"CREATE","object_type":"File","object":{"path":"THE END","blob":"0"}}'})
			local result = watcher:wait()
			assert.equal(0, result.status, result.err)

			local events = cli.events(store, "--from", "after:1", "--limit", tostring(#first + #second))
			assert.equal(#first + #second, #events)
			local merged, at, switches, from = {}, {1, 1}, 0, nil
			for i, event in ipairs(events) do
				assert.equal(i + 1, event.seq_num)
				assert(i == 1 or event.timestamp >= events[i - 1].timestamp)
				merged[i] = event.rest
				-- Each stream's events are there in its order; equal lines may stand for either.
				local which = event.rest == first[at[1]] and 1 or 2
				assert.equal(({first, second})[which][at[which]], event.rest)
				at[which] = at[which] + 1
				switches = switches + (from and which ~= from and 1 or 0)
				from = which
			end
			assert.same({#first + 1, #second + 1}, at)
			assert(result.out == cli.tree_of(merged), "the tree is not that of the events")
			assert(switches >= 2, "one had ended before the other began")
		end

		it("sees all events in one order, each stream in its own [S13k W3l]", function()
			check(cli.stream(12000, "one", 1), cli.stream(9000, "two", 2))
		end)

		it("does so with the histories of two repositories [S13l W3m]", function()
			local first, second = cli.history("bacalhau"), cli.history("lua")
			if not first then return pending(cli.NO_DATA) end
			check(first, second)
		end)
	end)
end)
