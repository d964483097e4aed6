-- events_cli_spec.lua - looking into the log from the command line: which events `vigia events` chooses, its lines for people,
-- `vigia tail`, `vigia types`.

local cli = require "spec.support.cli"
local helper = require "spec.helper"
local core = require "vigia.core"
local util = require "vigia.cli.util"

local mentions = helper.mentions

local SECOND <const> = 1000000000

local store -- the path of the test's store

local function line(operation, object_type, object)
	return ('{"operation":"%s","object_type":"%s","object":%s}'):format(operation, object_type, object)
end

local function numbers(...) return cli.numbers(store, ...) end

-- Events of type Job, each 500th of type Rare; their objects are {"n": their number}.
local function fill(count)
	local lines = {}
	for n = 1, count do lines[n] = line("CREATE", n % 500 == 0 and "Rare" or "Job", ('{"n":%d,"even":%s}'):format(n, n % 2 == 0)) end
	cli.append(store, lines)
end

-- A time as a user writes it, in UTC, exact.
local function iso(ns, offset, zone)
	return os.date("!%Y-%m-%dT%H:%M:%S", ns // SECOND + (offset or 0)) .. (".%09d"):format(ns % SECOND) .. (zone or "Z")
end

-- What a command writes to a terminal of some columns. env: words for `env`.
local function on_terminal(columns, env, words)
	local inner = ("stty cols %d && env -u NO_COLOR TERM=xterm %s %s %s"):format(columns, env, helper.quoted(cli.program), words)
	return (helper.shell("SHELL=/bin/sh script -qec " .. helper.quoted(inner) .. " /dev/null </dev/null"):gsub("\r\n", "\n"))
end

local function has_script()
	return os.execute("command -v script >/dev/null")
end

describe("vigia events", function()
	before_each(function() store = helper.path("a.db") end)
	after_each(cli.clean)

	it("prints the last events, of those that were chosen [O3a]", function()
		fill(9000)
		assert.same({8999, 9000}, numbers("--last", "2"))
		assert.same({}, numbers("--last", "0"))
		assert.equal(9000, #numbers("--last", "9000"))
		assert.equal(9000, #numbers("--last", "9223372036854775807"))
		assert.same({9000}, numbers("--last", "1", "--type", "Rare"))
		assert.same({8000, 8500, 9000}, numbers("--last", "3", "--type", "Rare"))
		-- farther back than the first windows, and farther than there are any
		assert.same({1500, 2000}, {table.unpack(numbers("--last", "16", "--type", "Rare"), 1, 2)})
		assert.same({500, 1000}, {table.unpack(numbers("--last", "18", "--type", "Rare"), 1, 2)})
		assert.equal(18, #numbers("--last", "19", "--type", "Rare"))
		assert.same({7}, numbers("--last", "5", "--where", "object.n=7"))
		assert.same({8996, 8998}, {table.unpack(numbers("--last", "3", "--where", "object.even=true"), 1, 2)})
		assert.same({}, numbers("--last", "5", "--type", "None"))
	end)

	it("counts the last ones from the oldest event there is [O3a]", function()
		fill(3000)
		local handle = helper.open(store)
		assert(handle:trim(2400))
		handle:close()
		assert.equal(600, #numbers("--last", "1000"))
		assert.same({2401, 2402}, {table.unpack(numbers("--last", "1000"), 1, 2)})
		assert.same({2500, 3000}, numbers("--last", "1000", "--type", "Rare"))
		handle = helper.open(store)
		assert(handle:trim(3000))
		handle:close()
		assert.same({}, numbers("--last", "2"))
		assert.same({}, numbers("--last", "2", "--type", "Rare"))
		assert.same({}, numbers("--since", "1h"))
		assert.same({}, numbers("--from", "at:5"))
		cli.append(store, {line("CREATE", "Job", "1")})
		assert.same({3001}, numbers("--last", "2"))
	end)

	it("prints what was stored since and until a time, however it is written [O3b]", function()
		local times = {}
		for n = 1, 5 do
			cli.append(store, {line("CREATE", "Job", n)})
			times[n] = cli.events(store, "--from", "at:" .. n)[1].timestamp
		end
		assert.same({3, 4, 5}, numbers("--since", times[3]))
		assert.same({4, 5}, numbers("--since", times[3] + 1))
		assert.same({1, 2, 3}, numbers("--until", times[3]))
		assert.same({1, 2}, numbers("--until", times[3] - 1))
		assert.same({2, 3, 4}, numbers("--since", times[2], "--until", times[4]))
		assert.same({3, 4}, numbers("--since", times[2], "--until", times[4], "--last", "2"))
		assert.same({2}, numbers("--since", times[2], "--limit", "1"))
		assert.same({}, numbers("--until", times[1] - 1))
		assert.same({}, numbers("--until", times[1] - 1, "--last", "3"))
		assert.same({}, numbers("--since", times[5] + 1))
		assert.same({1, 2, 3, 4, 5}, numbers("--until", "9223372036854775807"))
		for _, text in ipairs{iso(times[3]), iso(times[3], 7200, "+02:00"), iso(times[3], -19800, "-0530"), (iso(times[3]):gsub("T", " "))} do
			assert.same({3, 4, 5}, numbers("--since", text), text)
			assert.same({1, 2, 3}, numbers("--until", text), text)
		end
		-- local time, in another zone than that of this process; a day is its first moment
		local function hours(zone, ...)
			local result = cli.ok({"events", "--store", store, ...}, {env = {TZ = zone}})
			return #cli.lines(result.out)
		end
		local here = iso(times[3], 3 * 3600, "")
		assert.equal(3, hours("HERE-3", "--since", here))
		assert.equal(0, hours("HERE+3", "--since", here))
		local day = os.date("!%Y-%m-%d", times[1] // SECOND)
		assert.equal(5, hours("UTC", "--since", day))
		assert.equal(0, hours("UTC", "--until", day))
		for text, count in pairs{["1h"] = 5, ["90m"] = 5, ["7d"] = 5, ["3650000 s"] = 5, ["0s"] = 0, ["0ms"] = 0} do
			assert.equal(count, #numbers("--since", text), text)
			assert.equal(5 - count, #numbers("--until", text), text)
		end
	end)

	it("takes an age back from now [O3b]", function()
		for text, seconds in pairs{["2h"] = 7200, ["1.5h"] = 5400, ["250ms"] = 0.25, ["7d"] = 604800, ["292 d"] = 292 * 86400} do
			local before = core.wall()
			local at = assert(util.time("--since", true)(text))
			assert.is_true(at >= before - math.tointeger(seconds * SECOND) and at <= core.wall() - math.tointeger(seconds * SECOND), text)
		end
		assert.equal(0, util.time("--since", true)("100000d")) -- before 1970
		assert.is_nil((util.time("--at")("2h"))) -- where an age makes no sense
	end)

	it("begins where a time is for --follow and --explain, too [O3b]", function()
		for n = 1, 3 do cli.append(store, {line("CREATE", "Job", n)}) end -- each at a time of its own
		local at = cli.events(store)[3].timestamp
		mentions(cli.ok{"events", "--store", store, "--explain", "--since", at}.out, "events: 1, 3 to 3")
		for words, first in pairs{[{"--since", at}] = 3, [{"--last", "2"}] = 2, [{"--last", "1", "--type", "Job"}] = 3} do
			local process = cli.start{"events", "--store", store, "--follow", table.unpack(words)}
			for n = first, 3 do assert.equal(n, cli.parse(process:line()).seq_num) end
			process:signal("TERM")
			assert.equal(0, process:wait().status)
		end
		local process = cli.start{"events", "--store", store, "--follow", "--last", "1"}
		assert.equal(3, cli.parse(process:line()).seq_num)
		cli.append(store, {line("CREATE", "Job", 4)})
		assert.equal(4, cli.parse(process:line()).seq_num)
		process:signal("TERM")
		assert.equal(0, process:wait().status)
	end)

	it("joins places by and [O3c]", function()
		fill(6)
		assert.same({4}, numbers("--where", "object.even=true", "--where", "object.n=4"))
		assert.same({}, numbers("--where", "object.even=true", "--where", "object.n=3"))
		assert.same({2, 4}, numbers("--where", "object.even=true", "--where", "object.n=4", "--where", "object.n=2"))
	end)

	it("says which option is wrong, and why, with status 2 [O3d]", function()
		fill(1)
		for _, case in ipairs{
			{{"--since", "soon"}, "--since must be a time", "an age, such as 2h", "'soon'"},
			{{"--since", ""}, "--since must be a time"},
			{{"--since", "2026-02-30"}, "--since", "'2026-02-30'"},
			{{"--since", "2026-02-03T10:00+24:00"}, "--since"},
			{{"--since", "1h30m"}, "--since", "1h30m"},
			{{"--since=-1h"}, "--since", "-1h"},
			{{"--until", "106752d"}, "--until: '106752d' is too large"},
			{{"--until", "9223372036854775808"}, "--until must be a time"},
			{{"--until", "\27[2J"}, "--until", "\\x1b[2J"},
			{{"--last", "few"}, "--last must be a whole number", "'few'"},
			{{"--last=-1"}, "--last must be"},
			{{"--format", "xml"}, "--format", "ndjson", "pretty"},
			{{"--color", "sometimes", "--format", "pretty"}, "--color", "always"},
			{{"--color", "always"}, "--color is for --format pretty"},
			{{"--from", "at:1", "--since", "1h"}, "--from and --since exclude each other"},
			{{"--from", "at:1", "--last", "1"}, "--from and --last"},
			{{"--last", "1", "--limit", "1"}, "--limit and --last"},
			{{"--follow", "--until", "1h"}, "--follow and --until"},
			{{"--follow", "--since", "2261-01-01"}, "--since is in the future"},
			{{"--since", "1h", "--until", "2h"}, "--since is later than --until"},
			{{"--explain", "--last", "1"}, "--explain and --last"},
			{{"--explain", "--format", "pretty"}, "--explain and --format"},
		} do
			mentions(cli.fails(2, {"events", "--store", store, table.unpack(case[1])}), table.unpack(case, 2))
		end
		mentions(cli.fails(2, {"tail", "--store", store, "--until", "1h"}), "unknown option '--until'")
	end)

	it("prints lines for people, whole and without colors where it is no terminal [O3e]", function()
		local long = ("x"):rep(5000)
		cli.append(store, {line("CREATE", "Job", '{"a":1,"b":[true,null,1.0]}'), line("MOVE", "Two words", '"' .. long .. '"')})
		local at = {}
		for i, event in ipairs(cli.events(store)) do
			at[i] = os.date("!%Y-%m-%dT%H:%M:%S", event.timestamp // SECOND) .. (".%03dZ"):format(event.timestamp // 1000000 % 1000)
		end
		local out = cli.ok{"events", "--store", store, "--format", "pretty"}.out
		assert.equal(("1  %s  CREATE  Job  {\"a\":1,\"b\":[true,null,1.0]}\n2  %s  MOVE  Two words  \"%s\"\n"):format(at[1], at[2], long), out)
		-- its times are ones that --since takes
		assert.same({1, 2}, numbers("--since", at[1]))
		assert.equal(cli.ok{"events", "--store", store}.out, cli.ok{"events", "--store", store, "--format", "ndjson"}.out)
		local damaged = helper.open(helper.path "own.db", {serializer = {name = "own", marshal = tostring, unmarshal = tonumber}})
		assert(damaged:store_event("CREATE", "Job", 5))
		damaged:close()
		mentions(cli.ok{"events", "--store", helper.path "own.db", "--format", "pretty"}.out, "CREATE  Job  ", '"5"')
	end)

	it("lets nothing in an event act on the terminal [O3f]", function()
		local unsafe <const> = {"\u{1b}[2J", "\r", "\n", "\u{7f}", "\u{85}", "\u{9b}31m",
			"\u{202e}", "\u{2066}", "\u{200b}", "\u{feff}", "\u{e0041}", "\u{ad}"}
		local handle = helper.open(store)
		for _, text in ipairs(unsafe) do
			assert(handle:store_event("O" .. text, "T" .. text, {text, [text .. "2"] = "\xff" .. text}))
			assert(handle:store_event("A", "B", text))
		end
		handle:close()
		for _, words in ipairs{{"--format", "pretty"}, {"--format", "pretty", "--color", "never"}} do
			local out = cli.ok{"events", "--store", store, table.unpack(words)}.out
			assert.equal(2 * #unsafe, #cli.lines(out))
			for _, text in ipairs(unsafe) do
				local first = utf8.char(utf8.codepoint(text))
				assert(not out:gsub("\n", ""):find(first, 1, true), ("%q"):format(first))
			end
			mentions(out, "O\\u001b[2J  T\\u001b[2J", '"\\u001b[2J"', "\\u007f", "\\u0085", "\\u202e", "\\udb40\\udc41")
			-- an object is still JSON
			for _, text in ipairs(cli.lines(out)) do
				local object = text:match("^%d+  %S+  A  B  (.*)$")
				if object then assert.is_string((core.from_json(object))) end
			end
		end
	end)

	it("shortens lines to the terminal's width, and colors them there alone [O3g]", function()
		if not has_script() then return pending("no program `script`: skipped") end
		cli.append(store, {line("CREATE", "Job", '"' .. ("x"):rep(500) .. '"'), line("UPDATE", "Job", '"' .. ("日"):rep(500) .. '"'),
			line("DELETE", "Job", '"' .. ("\\u001b"):rep(500) .. '"'), line("MOVE", "Job", "1")})
		local words = "events --store " .. helper.quoted(store) .. " --format pretty"
		for _, columns in ipairs{40, 60, 61, 62, 63, 64, 100, 200} do
			local colored = cli.lines(on_terminal(columns, "", words))
			local plain = cli.lines(on_terminal(columns, "NO_COLOR=1", words))
			assert.equal(4, #plain)
			for i, text in ipairs(plain) do
				assert.is_nil(text:find "\27")
				assert.equal(text, (colored[i]:gsub("\27%[%d*m", "")))
				assert(colored[i]:find "\27%[32mCREATE\27%[0m" or i > 1)
				local columns_used = 0
				for _, c in utf8.codes(text) do columns_used = columns_used + (c == 0x65e5 and 2 or 1) end
				local least = #"1  2026-12-24T18:00:00.000Z  CREATE  Job  "
				assert(columns_used <= math.max(columns, least), text)
				if i < 4 and columns > least then
					assert.equal("…", text:sub(-3))
					assert(columns_used > columns - 7, text)
				end
			end
			assert.equal(columns >= 42 and "  MOVE  Job  1" or "  MOVE  Job  ", plain[4]:match "  MOVE.*$") -- fits, or has no room at all
		end
		local whole = cli.lines(cli.ok{"events", "--store", store, "--format", "pretty", "--color", "always"}.out)
		assert(#whole[1] > 500)
		mentions(whole[1], "\27[32mCREATE\27[0m")
		assert.is_nil(on_terminal(80, "", words .. " --color never"):find "\27")
		assert.is_nil(on_terminal(80, "TERM=dumb", words):find "\27")
		mentions(on_terminal(80, "NO_COLOR=1", words .. " --color always"), "\27[32m")
		mentions(on_terminal(80, "NO_COLOR=", words), "\27[32m")
		assert.is_nil(cli.ok{"events", "--store", store, "--format", "pretty"}.out:find "\27")
	end)
end)

describe("vigia tail", function()
	before_each(function() store = helper.path("a.db") end)
	after_each(cli.clean)

	it("prints the last events for people, and new ones as they come [O3h]", function()
		fill(30)
		local process = cli.start{"tail", "--store", store}
		for n = 11, 30 do assert.matches(("^%d  %%S+  CREATE  Job  {\"n\":%d,"):format(n, n), process:line()) end
		cli.append(store, {line("UPDATE", "Job", "31")})
		assert.matches("^31  %S+  UPDATE  Job  31$", process:line())
		process:signal("TERM")
		assert.same({status = 0, out = "", err = ""}, process:wait())
		process = cli.start{"tail", "--store", store, "--last", "1", "--type", "Job", "--operation", "CREATE", "--where", "object.even=true",
			"--format", "ndjson"}
		assert.equal(30, cli.parse(process:line()).seq_num)
		process:signal("TERM")
		assert.equal(0, process:wait().status)
	end)
end)

describe("vigia types", function()
	before_each(function() store = helper.path("a.db") end)
	after_each(cli.clean)

	it("counts the events of each type and operation [O3i]", function()
		fill(9000)
		cli.append(store, {line("UPDATE", "Job", "1"), line("DELETE", "Job", "1"), line("MOVE", "A\\u001b[2J", "1"), line("UPDATE", "Ünï", "2")})
		assert.equal("TYPE      OPERATION  EVENTS\n"
			.. "A\\x1b[2J  MOVE            1\n"
			.. "Job       CREATE       8982\n"
			.. "Job       DELETE          1\n"
			.. "Job       UPDATE          1\n"
			.. "Rare      CREATE         18\n"
			.. "Ünï       UPDATE          1\n", cli.ok{"types", "--store", store}.out)
		local json = cli.lines(cli.ok{"types", "--store", store, "--json"}.out)
		assert.equal(6, #json)
		assert.equal('{"object_type":"Job","operation":"CREATE","events":8982}', json[2])
		local handle = helper.open(store)
		assert(handle:trim(9001))
		handle:close()
		assert.equal(3, #cli.lines(cli.ok{"types", "--store", store, "--json"}.out))
	end)

	it("keeps names apart that are many, or parts of one another [O3i]", function()
		local lines, wanted = {}, {}
		for n = 1, 2000 do lines[n] = line("O" .. n % 7, "T" .. n % 401, "1") end
		lines[#lines + 1] = line("AB", "C", "1")
		lines[#lines + 1] = line("A", "B", "1")
		lines[#lines + 1] = line("A", "BC", "1")
		cli.append(store, lines)
		for n = 1, 2000 do
			local key = ("%d %d"):format(n % 401, n % 7)
			wanted[key] = (wanted[key] or 0) + 1
		end
		local rows, others = 0, 0
		for _, text in ipairs(cli.lines(cli.ok{"types", "--store", store, "--json"}.out)) do
			local t, o, count = text:match('"T(%d+)","operation":"O(%d+)","events":(%d+)')
			if t then
				rows = rows + 1
				assert.equal(wanted[t .. " " .. o], math.tointeger(tonumber(count)))
			else
				assert.matches('"events":1}$', text)
				others = others + 1
			end
		end
		local many = 0
		for _ in pairs(wanted) do many = many + 1 end
		assert.same({many, 3}, {rows, others})
	end)

	it("says so when there are none, or some are damaged [O3i]", function()
		helper.open(store):close()
		local result = cli.ok{"types", "--store", store}
		assert.equal("", result.out)
		mentions(result.err, "no events")
		assert.equal("", cli.ok{"types", "--store", store, "--json"}.out)
		cli.append(store, {line("CREATE", "Job", '"marker one"'), line("CREATE", "Job", '"marker two"')})
		helper.open(store):close()
		local bytes = helper.read_file(store)
		local changed, count = bytes:gsub("marker two", "marker tow")
		assert(count > 0)
		cli.write("a.db", changed)
		result = cli.run{"types", "--store", store}
		assert.equal(1, result.status)
		mentions(result.out, "Job   CREATE          1\n")
		mentions(result.err, "vigia: 1 event is damaged", "vigia verify")
	end)

	it("shows on a terminal how far it has come, and removes that [O3i]", function()
		if not has_script() then return pending("no program `script`: skipped") end
		fill(10)
		local screen = on_terminal(80, "", "types --store " .. helper.quoted(store))
		mentions(screen, "\r\27[KTYPE  OPERATION  EVENTS\n")
		assert.equal("", cli.ok{"types", "--store", store}.err)
	end)
end)
