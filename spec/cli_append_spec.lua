-- cli_append_spec.lua - what `vigia append` can make of lines, `vigia create`, and --create (contract O4).

local cli = require "spec.support.cli"
local helper = require "spec.helper"
local lfs = require "lfs"

local mentions = helper.mentions

local EVENT = '{"operation":"CREATE","object_type":"Job","object":%s}'

local store -- the path of the test's store

local function append(stdin, ...)
	return cli.run({"append", "--store", store, ...}, {stdin = stdin})
end

-- The objects of all events, as JSON.
local function objects()
	local list = {}
	for i, event in ipairs(cli.events(store)) do list[i] = event.rest:match('"object":(.*)}$') end
	return list
end

describe("vigia append", function()
	before_each(function() store = helper.path("a.db") end)
	after_each(cli.clean)

	describe("--skip-bad", function()
		local LINES = table.concat({EVENT:format(1), "oops", "", "  \t", EVENT:format(2), '{"operation":"CREATE"}', "\xff",
			EVENT:format(3)}, "\n")

		it("reports bad lines with number and reason, stores the others, and ends with status 1 and a count [O4]", function()
			local result = append(LINES .. "\n", "--skip-bad")
			assert.equal(1, result.status)
			assert.equal("3 events appended, last seq_num 3\n", result.out)
			mentions(result.err, "vigia: line 2: column 1: invalid token near 'oops'", 'line 6: the field "object_type" is missing',
				"line 7: column 1: the byte 0xff", "vigia: 3 bad lines skipped\n")
			assert.same({"1", "2", "3"}, objects())
		end)

		it("writes them to a file as JSON, behind what it has, byte for byte [O4]", function()
			local file = helper.path("bad.ndjson")
			for time = 1, 2 do
				local result = append(LINES, time == 1 and "--skip-bad=" .. file or "--skip-bad", time == 2 and file or nil)
				assert.equal(1, result.status)
				assert.equal("vigia: 3 bad lines skipped, see " .. file .. "\n", result.err)
			end
			local lines = cli.lines(cli.read(file))
			assert.equal(6, #lines)
			local from_json = require "vigia.core".from_json
			for i, wanted in ipairs{{2, "oops"}, {6, '{"operation":"CREATE"}'}, {7, "\xff"}} do
				for _, line in ipairs{lines[i], lines[i + 3]} do
					local bad = assert(from_json(line))
					assert.same(wanted, {bad.line, bad.text})
					assert.is_true(#bad.error > 10)
				end
			end
		end)

		it("is status 0 if no line is bad [O4]", function()
			local result = append(EVENT:format(1), "--skip-bad", helper.path("bad"))
			assert.same({0, ""}, {result.status, result.err})
			assert.equal("", cli.read(helper.path("bad")))
		end)

		it("passes over a line that is too long, wherever it ends, and one that is cut off at the end [O4]", function()
			local long = ("x"):rep(17 << 20)
			local result = append(EVENT:format(1) .. "\n" .. long .. "\n" .. EVENT:format(2) .. "\n" .. long .. '\n{"operation', "--skip-bad")
			assert.equal(1, result.status)
			mentions(result.err, "line 2: longer than 16777216 bytes", "line 4: longer than", "line 5: ", "cut off at the end",
				"3 bad lines skipped")
			assert.same({"1", "2"}, objects())
			mentions(append(long, "--skip-bad").err, "line 1: longer than", "1 bad line skipped")
		end)

		it("does not take a failure of the store, or of its own file, for a bad line: what came before is stored [O4]", function()
			local result = append("oops\n" .. EVENT:format(1), "--skip-bad", helper.path("no/bad"))
			assert.equal(1, result.status)
			mentions(result.err, "cannot write bad lines", "no/bad")
			if lfs.attributes("/dev/full") then
				result = append(EVENT:format(1) .. "\noops\n" .. EVENT:format(2), "--skip-bad", "/dev/full")
				assert.equal(1, result.status)
				mentions(result.err, "cannot write bad lines", "No space left", "the event before it is stored, last seq_num 1")
				assert.same({"1"}, objects())
			end
		end)
	end)

	describe("--lines", function()
		it("stores each line of text as the object of an event, any bytes, without its end [O4]", function()
			local result = append('one\n\n{"a":1}\n two \r\n\xff\nlast', "--lines", "--type", "Line")
			assert.equal("5 events appended, last seq_num 5\n", result.out)
			assert.same({'"one"', [=["{\"a\":1}"]=], '" two "', '{"$bytes":"/w=="}', '"last"'}, objects())
			local first = cli.events(store)[1]
			mentions(first.rest, '"operation":"CREATE"', '"object_type":"Line"')
		end)

		it("takes --operation, and a line as its own key [O4]", function()
			assert.equal("2 events appended, 1 known, last seq_num 2\n",
				append("a\nb\na\n", "--lines", "--type", "Line", "--operation", "SEEN", "--key", "object").out)
			mentions(cli.events(store)[2].rest, '"operation":"SEEN"')
		end)

		it("refuses what does not go together, with status 2 [O4]", function()
			for _, case in ipairs{
				{"--lines", "--lines needs --type"}, {"--type", "X", "--type needs --lines"}, {"--operation", "X", "--operation needs --lines"},
				{"--lines", "--type", "X", "--big-integers", "float", "--big-integers does not go with --lines"}, {"--key", "objekt.id", "--key: "},
				{"--big-integers", "int", "float"},
			} do
				local words = {"append", "--store", store, table.unpack(case, 1, #case - 1)}
				mentions(cli.fails(2, words, {stdin = "x"}), case[#case])
			end
			assert.is_nil(lfs.attributes(store))
		end)
	end)

	describe("--key", function()
		it("stores each line once, however often it is sent: strings and integers of the object [O4]", function()
			local lines = {}
			for n = 1, 5000 do lines[n] = EVENT:format(('{"id":%s}'):format(n % 2 == 0 and '"n' .. n .. '"' or n)) end
			local stdin = table.concat(lines, "\n")
			assert.equal("5000 events appended, last seq_num 5000\n", append(stdin, "--key", "object.id").out)
			assert.equal("0 events appended, 5000 known\n", append(stdin, "--key", "object.id").out)
			local result = append(stdin .. "\n" .. EVENT:format('{"id":"new"}'), "--key", "object.id")
			assert.equal("1 event appended, 5000 known, last seq_num 5001\n", result.out)
			assert.equal("", result.err)
		end)

		it("is the key of store_event: a line and a program store one event [O4]", function()
			assert.equal(0, append(EVENT:format('{"id":7}'), "--key", "object.id").status)
			local vigia = require "vigia"
			local opened = assert(vigia.open(store))
			assert.equal(1, (assert(opened:store_event("CREATE", "Job", {}, {key = "7"}))))
			assert.equal(2, (assert(opened:store_event("CREATE", "Job", {}, {key = "8"}))))
			opened:close()
			assert.equal("0 events appended, 1 known\n", append(EVENT:format('{"id":"8"}'), "--key", "object.id").out)
		end)

		it("takes a line without a key for a bad one [O4]", function()
			local bad = {'{}', '{"id":null}', '{"id":1.5}', '{"id":[1]}', '{"id":""}', '{"id":"' .. ("x"):rep(256) .. '"}'}
			for i, object in ipairs(bad) do bad[i] = EVENT:format(object) end
			mentions(cli.fails(1, {"append", "--store", store, "--key", "object.id"}, {stdin = bad[1]}), "line 1: the object has no value")
			local result = append(table.concat(bad, "\n") .. "\n" .. EVENT:format('{"id":"' .. ("x"):rep(255) .. '"}'), "--key", "object.id",
				"--skip-bad")
			assert.equal("1 event appended, last seq_num 1\n", result.out)
			mentions(result.err, "line 1: the object has no value", "line 2: the key must be a string or an integer", "line 3: ", "line 4: ",
				"line 5: key: must not be empty", "line 6: key: must have at most 255 bytes", "6 bad lines skipped")
		end)

		it("is also for stores with another serializer [O4]", function()
			cli.ok{"create", "--store", store, "serializer=json"}
			assert.equal("1 event appended, 1 known, last seq_num 1\n",
				append(EVENT:format('{"id":1}') .. "\n" .. EVENT:format('{"id":1,"x":2}'), "--key", "object.id").out)
			assert.same({'{"id":1}'}, objects())
		end)
	end)

	describe("--big-integers", function()
		local BIG = '[9223372036854775807,9223372036854775808,-9223372036854775809,"99999999999999999999",123456789012345678901234567890,1e30]'

		it("stores integers beyond 64 bits as floats or as strings; without it they are refused [O4]", function()
			mentions(cli.fails(1, {"append", "--store", store}, {stdin = EVENT:format(BIG)}), "does not fit into a signed 64-bit integer")
			assert.equal(0, append(EVENT:format(BIG), "--big-integers", "float").status)
			assert.equal(0, append(EVENT:format(BIG), "--big-integers", "string").status)
			assert.same({
				'[9223372036854775807,9.223372036854776e+18,-9.223372036854776e+18,"99999999999999999999",1.2345678901234568e+29,1e+30]',
				'[9223372036854775807,"9223372036854775808","-9223372036854775809","99999999999999999999","123456789012345678901234567890",1e+30]',
			}, objects())
		end)

		it("leaves other faults, and the column they are at, as they are [O4]", function()
			for _, form in ipairs{"float", "string"} do
				for _, wrong in ipairs{"00000000000000000000001", "99999999999999999999-4", "-", "99999999999999999999 x",
					"[99999999999999999999,y]"} do
					local line = EVENT:format(wrong)
					local message = cli.fails(1, {"append", "--store", store, "--big-integers", form}, {stdin = line})
					assert.is_nil(message:find "64-bit", message)
					mentions(message, "line 1: column ")
				end
				mentions(cli.fails(1, {"append", "--store", store, "--big-integers", form}, {stdin = EVENT:format("[99999999999999999999,1,y]")}),
					"line 1: column 76: invalid token near 'y'")
			end
			mentions(cli.fails(1, {"append", "--store", store, "--big-integers", "float"}, {stdin = EVENT:format(("9"):rep(400))}),
				"too large for a float")
		end)
	end)
end)

describe("a store that is not there", function()
	before_each(function() store = helper.path("a.db") end)
	after_each(cli.clean)

	it("is made by `vigia create`, with settings of the file [O4]", function()
		mentions(cli.ok({"create", "--store", store, "max_events=5", "serializer=json", "max_event_size=64KiB"}).out, store, "created")
		local stats = cli.ok({"configure", "--store", store}).out
		mentions(stats, "max_events=5\n", "serializer=json\n", "max_event_size=65536\n")
		mentions(cli.ok{"stats", "--store", store}.out, "events         0\n")
	end)

	it("is left as it is by `vigia create` if it is there [O4]", function()
		cli.append(store, {EVENT:format(1)})
		mentions(cli.fails(1, {"create", "--store", store, "max_events=5"}), store, "the store exists already")
		mentions(cli.ok({"configure", "--store", store}).out, "max_events=0\n")
		cli.write("text", "my only copy")
		mentions(cli.fails(1, {"create", "--store", helper.path("text")}), "not a Vigia store")
		assert.equal("my only copy", cli.read(helper.path("text")))
	end)

	it("is not made with wrong settings, which is status 2 [O4]", function()
		for setting, message in pairs{
			["max_eventz=5"] = "did you mean 'max_events'?", ["max_events=x"] = "vigia: max_events is \"x\"",
			["serializer=xml"] = "vigia: serializer", max_events = "expected NAME=VALUE",
		} do
			mentions(cli.fails(2, {"create", "--store", store, setting}), message)
		end
		assert.is_nil(lfs.attributes(store))
		mentions(cli.fails(1, {"create", "--store", helper.path("no/a.db")}), "no/a.db", "folder")
	end)

	it("is named by every command, with what makes one [O4]", function()
		for _, command in ipairs{"events", "stats", "checkpoints", "gc", "verify"} do
			mentions(cli.fails(1, {command, "--store", store}), store, "there is no such store", "vigia create", "vigia append")
		end
	end)

	it("is made by any command with --create, which leaves one that is there as it is [O4]", function()
		for _, words in ipairs{
			{"events"}, {"checkpoints"}, {"stats"}, {"configure", "max_events=7"}, {"run", "--until-idle", cli.write("x.lua", "return print")},
			{"gc"}, {"schedule", "--after", "100", "A", "B"}, {"repl"},
		} do
			store = helper.path(words[1] .. ".db")
			local line = {words[1], "--store", store, "--create", table.unpack(words, 2)}
			cli.ok(line)
			assert.equal("file", lfs.attributes(store, "mode"))
			cli.append(store, {EVENT:format(1)})
			cli.ok(line)
			assert.equal(1, #cli.events(store))
		end
	end)
end)
