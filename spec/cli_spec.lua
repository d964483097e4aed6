-- cli_spec.lua - the program `vigia`: its commands but `run`, and what it says to wrong use.

local cli = require "spec.support.cli"
local helper = require "spec.helper"
local lfs = require "lfs"

local mentions = helper.mentions

local COMMANDS = {"create", "append", "schedule", "events", "scheduled", "run", "tail", "types", "checkpoints", "state", "dead", "stats",
	"doctor"}
local EVENT = '{"operation":"CREATE","object_type":"Job","object":%s}'

local store -- the path of the test's store

local function fill(count)
	local lines = {}
	for n = 1, count do lines[n] = EVENT:format(n) end
	cli.append(store, lines)
end

local function numbers(...) return cli.numbers(store, ...) end

describe("the program vigia", function()
	before_each(function() store = helper.path("a.db") end)
	after_each(cli.clean)

	describe("--help and --version", function()
		it("tell each command and option, on stdout, with status 0", function()
			local help = cli.ok{"--help"}
			assert.equal("", help.err)
			mentions(help.out, "VIGIA_STORE", table.unpack(COMMANDS))
			for _, command in ipairs(COMMANDS) do
				for _, flag in ipairs{"--help", "-h"} do
					local result = cli.ok{command, flag}
					assert.equal("", result.err)
					mentions(result.out, "vigia " .. command, "--store")
				end
			end
			mentions(cli.ok{"events", "--help"}.out, "trim_horizon", "latest", "at:N", "after:N", "--type", "--operation", "--limit", "--follow")
			mentions(cli.ok{"run", "--help"}.out, "--until-idle", "--max-wait", "--verbose")
		end)

		it("are also what `vigia help` tells", function()
			for _, words in ipairs{{"help"}, {"help", "help"}} do assert.equal(cli.ok{"--help"}.out, cli.ok(words).out) end
			assert.equal(cli.ok{"run", "--help"}.out, cli.ok{"help", "run"}.out)
			mentions(cli.fails(2, {"help", "chekpoints"}), "did you mean 'checkpoints'?")
		end)

		it("answer the version", function()
			assert.equal(require "vigia"._VERSION .. "\n", cli.ok{"--version"}.out)
			assert.equal(require "vigia"._VERSION .. "\n", cli.ok{"stats", "--version"}.out)
		end)
	end)

	describe("with a wrong command line", function()
		for name, case in pairs{
			["no command"] = {{}, "a command is required", "append, schedule, events, scheduled, run, repl", "vigia --help"},
			["an unknown command"] = {{"chekpoint"}, "unknown command 'chekpoint'", "did you mean 'checkpoints'?"},
			["a command nothing is like"] = {{"frobnicate"}, "unknown command 'frobnicate'"},
			["an unknown option"] = {{"events", "--limt", "3"}, "unknown option '--limt'", "did you mean '--limit'?", "vigia events --help"},
			["an option before the command"] = {{"--stroe", "x", "stats"}, "unknown option '--stroe'", "did you mean '--store'?"},
			["a file for append"] = {{"append", "--store", "x", "events.ndjson"}, "append reads standard input", "< EVENTS"},
			["an option cut short"] = {{"run", "--until", "x.lua"}, "unknown option '--until'", "did you mean '--until-idle'?"},
			["an option with one dash"] = {{"stats", "-store", "x"}, "unknown option '-s'", "did you mean '--store'?"},
			["an option without its value"] = {{"events", "--from"}, "'--from' requires an argument"},
			["a value for a flag"] = {{"events", "--follow=3"}, "'--follow' does not take"},
			["an option twice"] = {{"stats", "--store", "a", "--store", "b"}, "'--store' can be given only once"},
			["an option on both sides"] = {{"--store", "a", "stats", "--store", "b"}, "'--store' can be given only once"},
			["a word too many"] = {{"stats", "more"}, "too many arguments"},
			["no store"] = {{"stats"}, "--store FILE", "VIGIA_STORE"},
			["an empty name"] = {{"stats", "--store", ""}, "--store FILE"},
			["no handler"] = {{"run", "--store", "x"}, "missing argument 'HANDLER.lua'"},
			["a wrong start"] = {{"events", "--from", "begin"}, '"begin"', "trim_horizon, latest, at:N or after:N"},
			["a start without a number"] = {{"events", "--from", "at:x"}, '"at:x"'},
			["a limit that is no number"] = {{"events", "--limit", "1e3"}, "--limit", "whole number", "1e3"},
			["a negative limit"] = {{"events", "--limit=-1"}, "--limit", "-1"},
			["an empty type"] = {{"events", "--type", ""}, "--type", "1 to 255 bytes"},
			["a type that is not UTF-8"] = {{"events", "--type", "\xff"}, "--type", "UTF-8"},
			["a long operation"] = {{"events", "--operation", ("x"):rep(256)}, "--operation", "255"},
			["a wait that is no number"] = {{"run", "--until-idle", "--max-wait", "soon", "x.lua"}, "--max-wait", "seconds", "soon"},
			["a wait for nothing"] = {{"run", "--max-wait", "3", "--store", "x", "x.lua"}, "--max-wait needs --until-idle"},
		} do
			it(("says what is wrong, with status 2: %s [R1]"):format(name), function()
				mentions(cli.fails(2, case[1]), table.unpack(case, 2))
			end)
		end

		it("writes no control character of it to the terminal [R3]", function()
			assert.is_nil(cli.fails(2, {"ev\27[2Jents"}):find("\27", 1, true))
			for _, words in ipairs{{"run", "--set", "\27[2J", "x.lua", "--store", store}, {"append", "--store", store}} do
				local result = cli.run(words, {stdin = EVENT:format("1") .. "\n\27[2J\n"})
				assert(result.status > 0)
				mentions(result.err, "\\x1b")
				assert.is_nil(result.err:find("\27", 1, true))
			end
		end)
	end)

	it("takes the store from --store, before or behind the command, else from VIGIA_STORE", function()
		fill(2)
		local other = helper.path("b.db")
		local env = {VIGIA_STORE = store}
		mentions(cli.ok({"stats"}, {env = env}).out, store)
		mentions(cli.ok{"--store", store, "stats"}.out, store)
		cli.ok({"append", "--store", other}, {env = env, stdin = EVENT:format(1)})
		assert.equal(1, #cli.lines(cli.ok({"events", "--store=" .. other}, {env = env}).out))
		assert.equal(2, #cli.lines(cli.ok({"events"}, {env = env}).out))
		cli.fails(2, {"stats"}, {env = {VIGIA_STORE = ""}})
	end)

	describe("with a store that cannot be used", function()
		for _, words in ipairs{
			{"events"}, {"events", "--follow"}, {"tail"}, {"types"},
			{"checkpoints"}, {"scheduled"}, {"scheduled", "--drop", "1"}, {"state"}, {"dead"}, {"stats"},
			{"dead", "show", "w", "1"}, {"dead", "retry", "w", "1"}, {"dead", "drop", "w", "--all"},
			{"run", "x.lua"}, {"run", "x.lua", "--until-idle"}, {"gc"},
			{"configure"}, {"configure", "max_events=5"}, {"verify"}, {"doctor"}, {"backup", "copy.db"}, {"repl"}, {"repl", "--write"},
		} do
			it("never makes one: " .. table.concat(words, " ") .. " [S19h]", function()
				cli.write("x.lua", "return print")
				local line = {words[1], "--store", store}
				for i = 2, #words do line[#line + 1] = words[i]:find("%.%a+$") and helper.path(words[i]) or words[i] end
				mentions(cli.fails(1, line), store, "there is no such store", "vigia append")
				assert.is_nil(lfs.attributes(store))
				assert.is_nil(lfs.attributes(helper.path("copy.db")))
			end)
		end

		it("says so when a folder is missing, or the file is no store, and leaves the file [R2]", function()
			mentions(cli.fails(1, {"append", "--store", helper.path("no/a.db")}, {stdin = EVENT:format(1)}), "no/a.db", "folder")
			cli.write("a.db", "my only copy")
			for _, words in ipairs{{"append"}, {"events"}, {"stats"}} do
				local line = {words[1], "--store", store}
				mentions(cli.fails(1, line, {stdin = EVENT:format(1)}), store, "not a Vigia store")
			end
			mentions(cli.fails(1, {"append", "--store", store}), "not a Vigia store") -- also with nothing to store
			assert.equal("my only copy", cli.read(store))
			mentions(cli.fails(1, {"stats", "--store", helper.path()}), helper.path())
		end)
	end)

	describe("append", function()
		it("says how many it stored, and the last number", function()
			local result = cli.append(store, {EVENT:format(1), EVENT:format(2)})
			assert.equal("2 events appended, last seq_num 2\n", result.out)
			assert.equal("", result.err)
			assert.equal("1 event appended, last seq_num 3\n", cli.append(store, {EVENT:format(3)}).out)
			assert.same({1, 2, 3}, numbers())
		end)

		it("reads back equal what events writes [Z4l]", function()
			local lines = {}
			for _, object in ipairs{
				"null", "true", "1", "1.0", "-0.0", "9223372036854775807", "-9223372036854775808", "0.1", "1e+300", "[]", "{}", "[[],{}]",
				'""', [["\u0000\"\\"]], '"ünï"', '{"z":1,"a":[null,{"b":null}]}', '{"$float":"nan"}', '{"$bytes":"/w=="}',
			} do
				lines[#lines + 1] = EVENT:format(object)
			end
			cli.append(store, lines)
			local first = cli.ok{"events", "--store", store}.out
			local other = helper.path("b.db")
			cli.ok({"append", "--store", other}, {stdin = first})
			local events = cli.events(other)
			assert.equal(#lines, #events)
			for i, event in ipairs(cli.events(store)) do
				assert.equal(event.rest, events[i].rest)
				assert.equal(lines[i], event.rest)
			end
		end)

		for name, case in pairs{
			["no JSON"] = {"{oops}", "column 2", "oops"},
			["no object"] = {"[1]", "object"},
			["a field missing"] = {'{"operation":"CREATE","object":1}', "object_type"},
			["the object missing"] = {'{"operation":"CREATE","object_type":"Job"}', "object"},
			["a field nobody knows"] = {'{"operation":"CREATE","object_type":"Job","object":1,"objekt":2}', "objekt"},
			["an operation that is no string"] = {'{"operation":1,"object_type":"Job","object":1}', "operation"},
			["an empty operation"] = {'{"operation":"","object_type":"Job","object":1}', "operation"},
			["a key twice"] = {EVENT:format('{"a":1,"a":2}'), "a"},
			["an integer too large"] = {EVENT:format("9223372036854775808"), "9223372036854775808"},
			["bytes that are not UTF-8"] = {EVENT:format('"\xff"'), "UTF-8"},
			["something behind it"] = {EVENT:format("1") .. " 2", "after the value"},
			["NaN"] = {EVENT:format("NaN"), "NaN", '{"$float":"nan"}'},
			["an infinity"] = {EVENT:format("-Infinity"), "-Infinity", '{"$float":"-inf"}'},
			["the keys 1 and 1.0"] = {EVENT:format('{"$map":[[1,2],[1.0,3]]}'), "the same"},
			["an event too large"] = {EVENT:format('"' .. ("x"):rep(1 << 20) .. '"'), "1048576"},
			["a line too long"] = {(" "):rep(1 << 24) .. "{}", "longer than 16777216 bytes"},
		} do
			it(("stops at a bad line with its number, all before it stored: %s [Z4m]"):format(name), function()
				local stdin = EVENT:format(1) .. "\n" .. EVENT:format(2) .. "\n" .. case[1] .. "\n" .. EVENT:format(3) .. "\n"
				local err = cli.fails(1, {"append", "--store", store}, {stdin = stdin})
				mentions(err, "line 3: ", case[2], case[3] or "", "the 2 events before it are stored, last seq_num 2")
				assert.same({1, 2}, numbers())
			end)
		end

		it("passes over blank lines, and counts them [Z4r]", function()
			local stdin = "\n \t\r\n" .. EVENT:format(1) .. "\n\n\r\n" .. EVENT:format(2) .. "\n\n"
			mentions(cli.ok({"append", "--store", store}, {stdin = stdin}).out, "2 events appended, last seq_num 2")
			mentions(cli.ok({"append", "--store", store}, {stdin = "\n\n  \n"}).err, "nothing to append")
			mentions(cli.fails(1, {"append", "--store", store}, {stdin = stdin .. "\noops\n"}), "line 9: ")
			assert.same({1, 2, 3, 4}, numbers())
		end)

		it("says that a last line without an end is wrong, where it is whole [Z4s]", function()
			for _, line in ipairs{"{oops}", EVENT:format("nope"), EVENT:format("NaN"), '{"a" 1}', EVENT:format(1) .. "}", "{,,", "oops"} do
				local err = cli.fails(1, {"append", "--store", store}, {stdin = EVENT:format(1) .. "\n" .. line})
				mentions(err, "line 2: column ")
				assert.is_nil(err:find("cut off", 1, true), err)
			end
			local whole = EVENT:format('{"a":[true,"é"]}')
			for length = 1, #whole - 1 do
				if length % 7 == 0 or length > #whole - 12 then
					mentions(cli.fails(1, {"append", "--store", store}, {stdin = whole:sub(1, length)}), "line 1: ", "cut off")
				end
			end
		end)

		it("says in its help, and in that of events, that number and time are new [Z4t]", function()
			mentions(cli.ok{"append", "--help"}.out, "assigns number and time", "$float")
			mentions(cli.ok{"events", "--help"}.out, "assigns a new number and time")
		end)

		it("says that a line is cut off at the end [Z4n]", function()
			local err = cli.fails(1, {"append", "--store", store}, {stdin = EVENT:format(1) .. "\n" .. EVENT:format('"half')})
			mentions(err, "line 2: ", "cut off", "the event before it is stored, last seq_num 1")
			mentions(cli.fails(1, {"append", "--store", helper.path("b.db")}, {stdin = "x"}), "line 1: ", "nothing was stored")
		end)

		it("refuses a line of 100 MB without reading it to its end [Z4o]", function()
			local fifo = helper.path("fifo")
			assert(os.execute("mkfifo " .. helper.quoted(fifo)))
			assert(os.execute(("{ echo '%s'; head -c 100000000 /dev/zero | tr '\\0' x; } >%s 2>%s &"):format(EVENT:format(1),
				helper.quoted(fifo), helper.quoted(helper.path("feeder")))))
			local err = cli.fails(1, {"append", "--store", store}, {stdin_path = fifo})
			mentions(err, "line 2: ", "longer than", "the event before it is stored")
		end)

		-- Its store is deleted under it, so that it can store no more of what it reads, one line at a time or many.
		for pause, named in pairs{["sleep 0.3"] = "^vigia: line (%d+): ", [":"] = "^vigia: from line (%d+) on: "} do
			it("names the line that could not be stored, and how many were: " .. named .. " [S18e]", function()
				local fifo, go = helper.path("fifo"), helper.path("go")
				assert(os.execute("mkfifo " .. helper.quoted(fifo)))
				assert(os.execute(("{ echo '%s'; until [ -e %s ]; do sleep 0.05; done; while echo '%s'; do %s; done; } >%s 2>%s &"):format(
					EVENT:format(1), helper.quoted(go), EVENT:format(2), pause, helper.quoted(fifo), helper.quoted(helper.path("feeder")))))
				local process = cli.start({"append", "--store", store}, {stdin_path = fifo})
				repeat until cli.run({"events", "--store", store}).out ~= ""
				assert(os.remove(store))
				cli.write("go", "")
				local result = process:wait()
				assert.equal(1, result.status)
				-- On a busy machine even a quick producer may be read one line at a time.
				local line = math.tointeger(tonumber(result.err:match(named) or result.err:match "^vigia: line (%d+): "))
				assert(line and line >= 2, result.err)
				mentions(result.err, "deleted", "last seq_num " .. line - 1,
					line == 2 and "the event before it is stored" or ("the %d events before it are stored"):format(line - 1))
			end)
		end

		it("stores what came without waiting for more, so that a slow producer's events are seen at once", function()
			local fifo = helper.path("fifo")
			assert(os.execute("mkfifo " .. helper.quoted(fifo)))
			local process = cli.start({"append", "--store", store}, {stdin_path = fifo})
			local pipe = assert(io.open(fifo, "w"))
			pipe:setvbuf("line")
			assert(pipe:write(EVENT:format(1), "\n"))
			-- The first event makes the store; until then a follower finds none.
			local line
			repeat
				line = cli.run({"events", "--store", store, "--from", "at:1"}).out
			until line ~= ""
			assert.equal(1, cli.parse(line:sub(1, -2)).seq_num)
			local follower = cli.start{"events", "--store", store, "--from", "at:1", "--limit", "2", "--follow"}
			assert.equal(1, cli.parse(follower:line()).seq_num)
			assert(pipe:write(EVENT:format(2), "\n"))
			assert.equal(2, cli.parse(follower:line()).seq_num)
			assert.equal(0, follower:wait().status)
			pipe:close()
			assert.equal("2 events appended, last seq_num 2\n", process:wait().out)
		end)

		it("makes no store when standard input is empty, and says so [S19i]", function()
			local empty = cli.write("empty", "")
			for _, stdin in ipairs{"/dev/null", empty} do
				local result = cli.ok({"append", "--store", store}, {stdin_path = stdin})
				assert.equal("", result.out)
				mentions(result.err, "nothing to append: standard input was empty")
				assert.is_nil(lfs.attributes(store))
			end
			local _, _, status = os.execute((": | %s append --store %s 2>%s"):format(helper.quoted(cli.program), helper.quoted(store),
				helper.quoted(helper.path("err"))))
			assert.equal(0, status)
			assert.is_nil(lfs.attributes(store))
		end)

		it("makes the store in a file that is empty, as one who was killed while making it leaves it [S19j]", function()
			cli.write("a.db", "")
			mentions(cli.fails(1, {"events", "--store", store}), store, "there is no such store", "vigia append")
			assert.equal("1 event appended, last seq_num 1\n", cli.append(store, {EVENT:format(1)}).out)
			assert.same({1}, numbers())
		end)

		it("says so when standard input cannot be read", function()
			mentions(cli.fails(1, {"append", "--store", store}, {stdin_path = "/"}), "cannot read the input")
			assert.is_nil(lfs.attributes(store))
		end)

		it("ends on SIGTERM with what came before stored, and says that it is not all", function()
			local fifo = helper.path("fifo")
			assert(os.execute("mkfifo " .. helper.quoted(fifo)))
			fill(1)
			local process = cli.start({"append", "--store", store}, {stdin_path = fifo})
			local pipe = assert(io.open(fifo, "w"))
			pipe:setvbuf("line")
			assert(pipe:write(EVENT:format(2), "\n"))
			local follower = cli.start{"events", "--store", store, "--from", "at:2", "--limit", "1", "--follow"}
			assert.equal(2, cli.parse(follower:line()).seq_num)
			process:signal("TERM")
			local result = process:wait()
			pipe:close()
			assert.equal(1, result.status)
			assert.equal("1 event appended, last seq_num 2\n", result.out)
			mentions(result.err, "vigia: interrupted")
		end)

		it("shows its progress on a terminal, and only there", function()
			if not os.execute("command -v script >/dev/null") then return pending("no program `script`: skipped") end
			local stdin = cli.write("lines", (EVENT:format(1) .. "\n"):rep(9000))
			local inner = ("%s append --store %s <%s"):format(helper.quoted(cli.program), helper.quoted(store), helper.quoted(stdin))
			local output = helper.shell("script -qec " .. helper.quoted(inner) .. " /dev/null </dev/null")
			mentions(output, "\r[####......]  45 %  appended 4096 events\27[K", "\r\27[K9000 events appended, last seq_num 9000")
			assert.equal("", cli.ok({"append", "--store", store}, {stdin_path = stdin}).err)
		end)
	end)

	describe("events", function()
		it("ends on SIGINT though nobody reads, and says that it is not all", function()
			fill(5000) -- more than a pipe takes
			local process = cli.start{"events", "--store", store}
			assert.equal(1, cli.parse(process:line()).seq_num)
			process:signal("INT")
			local result = process:wait()
			assert.equal(1, result.status)
			mentions(result.err, "interrupted before the last event was written")
			assert(#cli.lines(result.out) < 4999)
		end)

		it("begins where --from says [S3i]", function()
			fill(5)
			for from, expected in pairs{
				trim_horizon = {1, 2, 3, 4, 5}, latest = {}, ["at:3"] = {3, 4, 5}, ["after:3"] = {4, 5}, ["at:0"] = {1, 2, 3, 4, 5},
				["after:5"] = {}, ["at:99"] = {},
			} do
				assert.same(expected, numbers("--from", from), from)
			end
			assert.same({1, 2, 3, 4, 5}, numbers())
		end)

		it("writes at most --limit events of the types and operations named [S5h F1k]", function()
			local lines = {}
			for i, words in ipairs{{"CREATE", "A"}, {"DELETE", "A"}, {"CREATE", "B"}, {"MOVE", "C"}, {"CREATE", "A"}} do
				lines[i] = ('{"operation":"%s","object_type":"%s","object":null}'):format(table.unpack(words))
			end
			cli.append(store, lines)
			assert.same({1, 2, 5}, numbers("--type", "A"))
			assert.same({1, 2, 4, 5}, numbers("--type", "A", "--type", "C"))
			assert.same({4}, numbers("--operation", "MOVE"))
			assert.same({1, 5}, numbers("--type", "A", "--operation", "CREATE", "--operation", "MOVE"))
			assert.same({1, 2}, numbers("--type", "A", "--limit", "2"))
			assert.same({1, 2, 3, 4, 5}, numbers("--limit", "0"))
			assert.same({}, numbers("--type", "Z"))
			local event = cli.events(store, "--from", "at:4", "--limit", "1")[1]
			assert.equal(lines[4], event.rest)
			assert(event.timestamp > 1700000000000000000)
		end)

		it("prints events with given values at places of the object [F4f]", function()
			local objects = {'{"state":"lost","n":1}', '{"state":"done","n":2.0}', '{"state":"5","n":null}', '{"state":5,"a=b":{"x y":true}}'}
			for i, object in ipairs(objects) do
				objects[i] = ('{"operation":"CREATE","object_type":"Job","object":%s}'):format(object)
			end
			cli.append(store, objects)
			assert.same({1}, numbers("--where", "object.state=lost"))
			assert.same({1, 2}, numbers("--where", "object.state=lost", "--where", "object.state=done"))
			assert.same({}, numbers("--where", "object.state=lost", "--where", "object.n=2"))
			assert.same({2}, numbers("--where=object.n=2", "--type", "Job"))
			assert.same({3, 4}, numbers("--where", "object.n=null"))
			assert.same({4}, numbers("--where", "object.state=5"))
			assert.same({3}, numbers("--where", 'object.state="5"'))
			assert.same({4}, numbers("--where", 'object."a=b"["x y"]=true'))
			assert.same({}, numbers("--where", "object.state=LOST"))
			for _, case in ipairs{
				{"object.state", "--where", "object.state=failed"},
				{"state=lost", "--where", "character 1", "`object`"},
				{"object.[=5", "character 8"},
				{"object.state=[1]", "a JSON array or map"},
			} do
				mentions(cli.fails(2, {"events", "--store", store, "--where", case[1]}), table.unpack(case, 2))
			end
			mentions(cli.ok{"events", "--help"}.out, "--where", "object.state=failed")
		end)

		it("explains what a filter looks at [F5b]", function()
			local lines = {}
			for n = 1, 9000 do
				lines[n] = ('{"operation":"CREATE","object_type":"%s","object":%d}'):format(n % 3000 == 7 and "Rare" or "Job", n)
			end
			cli.append(store, lines)
			local function explain(...) return cli.ok{"events", "--store", store, "--explain", ...}.out end
			mentions(explain("--type", "Rare"), "events: 9000, 1 to 9000", "looked at: 811", "events: 3, 2 of them indexed, 3 looked into")
			mentions(explain("--type", "None", "--from", "at:4000"), "events: 5001, 4000 to 9000", "looked at: 808", "1 looked into")
			mentions(explain("--where", "object=7"), "looked at: 9000", "the index is not used: it knows types", "places: 1, tested on the bytes")
			assert.same({7, 3007, 6007}, numbers("--type", "Rare"))
			assert.same({3007}, numbers("--type", "Rare", "--from", "at:8", "--limit", "1"))
		end)

		it("goes on with --follow as events are stored, until a signal, with status 0 [S6k]", function()
			for i, signal in ipairs{"INT", "TERM"} do
				fill(2)
				local process = cli.start{"events", "--store", store, "--from", "after:" .. 4 * i - 3, "--follow", "--type", "Job"}
				assert.equal(EVENT:format(2), cli.parse(process:line()).rest)
				cli.append(store, {(EVENT:gsub("Job", "Other")):format(3), EVENT:format(4)})
				assert.equal(EVENT:format(4), cli.parse(process:line()).rest)
				process:signal(signal)
				assert.same({status = 0, out = "", err = ""}, process:wait())
			end
		end)

		-- What `vigia events WORDS | head -1` prints; every part of it must end with status 0.
		local function first_line(words)
			local pipeline = ("set -o pipefail; timeout 60 %s events --store %s %s 2>%s | head -1"):format(helper.quoted(cli.program),
				helper.quoted(store), words, helper.quoted(helper.path("err")))
			local line, ok = helper.shell("bash -c " .. helper.quoted(pipeline))
			assert(ok, "a status other than 0")
			assert.equal("", cli.read(helper.path("err")))
			return line:sub(1, -2)
		end

		it("ends quietly, with status 0, when its reader has seen enough", function()
			fill(20000)
			assert.equal(1, cli.parse(first_line("")).seq_num)
		end)

		it("notices with --follow that its reader has gone", function()
			fill(1)
			assert.equal(1, cli.parse(first_line("--follow")).seq_num)
		end)
	end)

	it("fails when its output cannot be written", function()
		local event <const> = '{"operation":"CREATE","object_type":"A","object":1}\n'
		-- What is short fails at the end, what is long in the middle.
		local PRINT <const> = {"--help", "--version", "help append", "append", "events", "events --format pretty", "tail", "types",
			"types --json", "stats", "stats --json", "checkpoints", "state", "dead",
			"schedule --after 9 A B", "scheduled", "configure",
			"gc", "verify", "backup", "options", "options --json", "completion bash", "completion zsh", "manual", "repl"}
		local INPUT <const> = {append = event, repl = "print(1) for _ = 1, 3000 do print('some text') end\n"}
		fill(3)
		local handle = helper.open(store)
		assert(handle:store_checkpoint("w", 1))
		assert(handle:put("b", 1, 1))
		local registry = helper.registry(handle)
		helper.drain(registry, registry:watch("letters", function() error "bad" end, {retry_strategy = "dead_letter", max_retries = 1}))
		registry:close()
		handle:close()
		local copies = 0
		for _, text in ipairs(PRINT) do
			local function run(redirect)
				local words = {}
				for word in text:gmatch("%S+") do words[#words + 1] = word end
				copies = copies + 1
				if text == "backup" then words[2] = helper.path("copy" .. copies) end
				return cli.run(words, {redirect = redirect, stdin = INPUT[text] or "", env = {VIGIA_STORE = store}})
			end
			for redirect, why in pairs{[">/dev/full"] = "No space left on device", [">&-"] = "Bad file descriptor"} do
				local result = run(redirect)
				assert.same({text, 1, 1}, {text, result.status, select(2, result.err:gsub("\n", "\n"))}, result.err)
				mentions(result.err, "vigia: cannot write the output", why)
			end
			assert.equal(1, run(">/dev/full 2>&1").status, text) -- nowhere to say it
		end
	end)

	describe("checkpoints", function()
		local function checkpoints(list)
			fill(5)
			local handle = helper.open(store)
			for id, n in pairs(list) do assert(handle:store_checkpoint(id, n)) end
			handle:close()
		end

		it("shows each watcher, where it is and how far behind [S10h]", function()
			checkpoints{mail = 5, ["a longer name"] = 2, zero = 0}
			assert.equal("WATCHER        CHECKPOINT  LAG\n"
				.. "a longer name           2    3\n"
				.. "mail                    5    0\n"
				.. "zero                    0    5\n", cli.ok{"checkpoints", "--store", store}.out)
			assert.equal('{"watcher":"a longer name","checkpoint":2,"lag":3}\n'
				.. '{"watcher":"mail","checkpoint":5,"lag":0}\n'
				.. '{"watcher":"zero","checkpoint":0,"lag":5}\n', cli.ok{"checkpoints", "--store", store, "--json"}.out)
		end)

		it("keeps the table in one piece whatever the ids are", function()
			checkpoints{["a\nb\27[1m"] = 1, ["ünï"] = 3}
			assert.equal("WATCHER        CHECKPOINT  LAG\n"
				.. "a\\x0ab\\x1b[1m           1    4\n"
				.. "ünï                     3    2\n", cli.ok{"checkpoints", "--store", store}.out)
			mentions(cli.ok{"checkpoints", "--store", store, "--json"}.out, [["watcher":"a\nb\u001b[1m"]])
		end)

		it("says so when there is none", function()
			fill(1)
			local result = cli.ok{"checkpoints", "--store", store}
			assert.equal("", result.out)
			mentions(result.err, "no watcher has a checkpoint")
			assert.equal("", cli.ok{"checkpoints", "--store", store, "--json"}.out)
		end)
	end)

	describe("stats", function()
		it("shows what is in the store and how it was made [S12i]", function()
			local handle = helper.open(store, {max_event_size = 4096, events_bucket = "main"})
			local file_id = handle:stats().file_id
			handle:close()
			fill(3)
			mentions(cli.ok{"stats", "--store", store}.out, store, file_id, "3", "1 to 3", "commit", "4096", "main, checkpoints")
			local line = cli.ok{"stats", "--store", store, "--json"}.out
			assert.equal(1, select(2, line:gsub("\n", "")))
			mentions(line, ('"path":"%s"'):format(store), '"format":2,', ('"file_id":"%s"'):format(file_id), '"events":3,',
				'"oldest_event_num":1,', '"latest_event_num":3,', '"max_event_size":4096,', '"durability":"commit"', '"events_bucket":"main"')
		end)

		it("says so when the store is empty, or everything was removed", function()
			helper.open(store):close()
			mentions(cli.ok{"stats", "--store", store}.out, "none yet")
			fill(3)
			local handle = helper.open(store)
			assert(handle:trim(3))
			handle:close()
			mentions(cli.ok{"stats", "--store", store}.out, "the last was 3")
		end)
	end)
end)
