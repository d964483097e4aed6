-- cli_timers_spec.lua - `vigia schedule` and `vigia scheduled`; scheduled() at the prompt; the handler reminders.lua.

local cli = require "spec.support.cli"
local helper = require "spec.helper"
local testing = require "vigia.testing"
local vigia = require "vigia"

local mentions = helper.mentions

local REMINDERS <const> = "scripts/handlers/reminders.lua"
local SECOND <const> = 1000000000

describe("the handler reminders.lua", function()
	local clock, store, registry, printed

	before_each(function()
		clock, printed = testing.clock(), {}
		store = testing.store{clock = clock}
		registry = helper.registry(store, {clock = clock})
		local environment = setmetatable({io = {write = function(text)
			printed[#printed + 1] = text
			return true
		end}}, {__index = _G})
		local script = assert(loadfile(REMINDERS, "t", environment))()
		assert(registry:watch("reminders", script.handle, {filter = script.filter, retry_strategy = "skip", max_retries = 1}))
	end)
	after_each(helper.clean)

	local function settle()
		while registry:step(0) do end
	end

	it("makes a reminder at its time, once, counted from the event [K1]", function()
		assert(store:store_event("REMIND", "Note", {after = 60, text = "tea"}))
		assert(store:store_event("REMIND", "Note", {after = 30.5, text = "egg"}))
		local begin = store:get_event(1).timestamp
		clock:advance(10) -- it is late
		settle()
		assert.equal(begin + 60 * SECOND, store:scheduled{key = "reminder-1"}[1].at)
		assert.is_true(registry:get_watcher("reminders"):seek_to_offset(0)) -- and handles them again
		settle()
		clock:advance(20.5)
		settle()
		assert.same({"Note: egg\n"}, printed)
		clock:advance(29.4)
		settle()
		assert.equal(1, #printed)
		clock:advance(0.1)
		settle()
		assert.same({"Note: egg\n", "Note: tea\n"}, printed)
		assert.same({seq_num = 1, text = "tea"}, store:get_event(4).object)
		assert.same({}, store:scheduled())
	end)

	it("forgets one, and passes over what is none [K1]", function()
		assert(store:store_event("REMIND", "Note", {after = 60, text = "tea"}))
		assert(store:store_event("FORGET", "Note", {seq_num = 1}))
		assert(store:store_event("FORGET", "Note", {seq_num = 1}))
		assert(store:store_event("FORGET", "Note", nil))
		assert(store:store_event("REMIND", "Note", {after = "soon"}))
		assert(store:store_event("REMIND", "Note", {after = 1, text = "egg"}))
		settle()
		clock:advance(100)
		settle()
		assert.same({"Note: egg\n"}, printed)
		assert.equal(2, registry:get_watcher("reminders"):stats().skipped)
	end)
end)

if not helper.program() then
	describe("vigia schedule", function() it("is left out [K1]", function() helper.pending("there is no program beside the module") end) end)
	return
end

describe("the program and timers", function()
	local path

	before_each(function() path = helper.path("a.db") end)
	after_each(helper.clean)

	local function schedule(...)
		return cli.ok{"schedule", "--store", path, ...}.out
	end

	local function scheduled(...)
		return cli.ok{"scheduled", "--store", path, ...}.out
	end

	local function timers()
		local store <close> = assert(vigia.open(path, {readonly = true}))
		return assert(store:scheduled())
	end

	it("schedules an event, and shows what waits in order [K1]", function()
		assert.equal("scheduled, timer 1\n", schedule("--after", "3600", "REMIND", "Job", '{"list":[]}', "--key", "k"))
		assert.equal("scheduled already, timer 1\n", schedule("--after", "3600", "REMIND", "Job", "2", "--key", "k"))
		assert.equal("scheduled, timer 2\n", schedule("--at", "4000000000000000000", "CREATE", "User"))
		local lines = cli.lines(scheduled())
		assert.matches('^{"id":1,"at":%d+,"operation":"REMIND","object_type":"Job","object":{"list":%[%]},"key":"k"}$', lines[1])
		assert.equal('{"id":2,"at":4000000000000000000,"operation":"CREATE","object_type":"User","object":null}', lines[2])
		local at = timers()[1].at
		assert(math.abs(at - 3600 * SECOND - os.time() * SECOND) < 60 * SECOND)
		assert.equal(lines[2] .. "\n", scheduled("--from", "3999999999999999999"))
		assert.equal(lines[1] .. "\n", scheduled("--to", "3999999999999999999"))
		assert.equal(lines[2] .. "\n", scheduled("--type", "User"))
		assert.equal(lines[1] .. "\n", scheduled("--operation", "REMIND"))
		assert.equal(lines[1] .. "\n", scheduled("--key", "k"))
		assert.equal(lines[1] .. "\n", scheduled("--limit", "1"))
		mentions(cli.ok{"stats", "--store", path}.out, "2 events")
		mentions(cli.ok{"stats", "--store", path, "--json"}.out, '"timers":2')
		mentions(cli.ok{"verify", "--store", path, "--json"}.out, '"timers":2,"damaged":0')
		assert.same({"2", "1"}, cli.lines(cli.ok({"repl", "--store", path}, {stdin = "#scheduled()\n#scheduled{limit = 1}\n"}).out))
	end)

	it("reads times as people and programs write them [K1]", function()
		local env = {TZ = "WET0WEST,M3.5.0/1,M10.5.0"}
		for text, expected in pairs{
			["2026-12-24T18:00:00Z"] = 1798135200 * SECOND, ["2026-12-24 18:00Z"] = 1798135200 * SECOND,
			["2026-12-24T18:00:00.25+01:00"] = 1798131600 * SECOND + SECOND // 4, ["2026-12-24T18:00-0530"] = 1798155000 * SECOND,
			["2027-07-01T12:00"] = 1814439600 * SECOND, ["2028-02-29"] = 1835395200 * SECOND, ["2100-03-01Z"] = 4107542400 * SECOND,
			["7"] = 7,
		} do
			local file = helper.path("t" .. expected)
			cli.ok({"schedule", "--store", file, "--at", text, "A", "B"}, {env = env})
			if expected > 7 then
				local store <close> = assert(vigia.open(file, {readonly = true}))
				assert.equal(expected, store:scheduled()[1].at, text)
			end
		end
		for _, text in ipairs{"tomorrow", "2027-02-29", "2100-02-29", "2026-13-01", "2026-12-24T25:00", "2026-12-24T18", "2026-12-24T18:00X",
			"2026-12-24T18:00:00.", "-5", "1.5", "2500-01-01", "99999999999999999999"} do
			mentions(cli.fails(2, {"schedule", "--store", path, "--at=" .. text, "A", "B"}), "--at must be a time")
		end
	end)

	it("reads what it printed, keys and times too [K1]", function()
		local store = assert(vigia.open(path))
		for n = 1, 1100 do -- more than a page, and more than one with the same time
			assert(store:schedule(n <= 600 and 4000000000000000000 or 4000000000000000000 + n, "REMIND", "Job", {n = n},
				{key = n % 2 == 0 and "k\xff" .. n or nil}))
		end
		store:close()
		local text = scheduled()
		assert.equal(1100, #cli.lines(text))
		local copy = helper.path("copy.db")
		assert.equal("1100 events scheduled\n", cli.ok({"schedule", "--store", copy}, {stdin = text}).out)
		assert.equal(text, cli.ok{"scheduled", "--store", copy}.out)
		assert.equal("550 events scheduled, 550 keys known\n", cli.ok({"schedule", "--store", copy}, {stdin = text}).out)
		assert.equal(7, #cli.lines(scheduled("--limit", "7")))
	end)

	it("drops timers, and says which are not there [K1]", function()
		for _ = 1, 3 do schedule("--after", "3600", "REMIND", "Job") end
		assert.equal("dropped timer 2\ndropped timer 1\n", scheduled("--drop", "2", "--drop", "1"))
		mentions(cli.fails(1, {"scheduled", "--store", path, "--drop", "2"}), "there is no timer 2")
		assert.equal(1, #timers())
	end)

	it("refuses wrong words and lines, and schedules the lines before [K1]", function()
		for _, case in ipairs{
			{{"A", "B"}, "--at TIME or --after SECONDS"}, {{"--at", "1", "--after", "1", "A", "B"}, "exclude each other"},
			{{"--after", "1", "A"}, "OBJECT_TYPE is missing"}, {{"--after", "1", "A", "B", "{"}, "OBJECT:"},
			{{"--after", "1", "--key", "k"}, "--key is for one event"}, {{"--after", "x", "A", "B"}, "--after must be a number"},
			{{"--after", "1", "--key", "", "A", "B"}, "1 to 255 bytes"},
		} do
			mentions(cli.fails(2, {"schedule", "--store", path, table.unpack(case[1])}), case[2])
		end
		mentions(cli.fails(1, {"schedule", "--store", path, "--after", "1", "", "B"}), "operation")
		mentions(cli.fails(2, {"scheduled", "--store", path, "--drop", "1", "--limit", "1"}), "exclude each other")
		local good <const> = '{"operation":"A","object_type":"B","object":null}\n'
		for i, case in ipairs{
			{"{", "the text ends"}, {"[1]", "unknown field '1'"}, {"1", "an object with"}, {"null", "an object with"},
			{'{"operation":"A"}', "object_type"},
			{'{"operation":"A","object_type":"B"}', "object is missing"}, {'{"operation":"A","object_type":"B","object":1,"att":1}', "'att'"},
			{'{"operation":"A","object_type":"B","object":1,"at":1.5}', "at:"}, {'{"operation":"A","object_type":"B","object":1,"key":""}', "key:"},
			{'{"operation":"","object_type":"B","object":1}', "operation"},
		} do
			local err = cli.fails(1, {"schedule", "--store", path, "--after", "3600"}, {stdin = good .. "\n" .. case[1] .. "\n" .. good})
			mentions(err, "line 3: ", case[2], "the lines before it are scheduled")
			assert.equal(i, #timers())
		end
		mentions(cli.fails(1, {"schedule", "--store", path}, {stdin = good}), "line 1: it has no time")
		assert.equal("0 events scheduled\n", cli.ok({"schedule", "--store", path}, {stdin = "\n"}).out)
	end)

	it("stores what is due while a watcher runs, which then handles it [K1]", function()
		local event <const> = '{"operation":"REMIND","object_type":"Note","object":{"after":0.2,"text":"tea"}}\n'
		cli.ok({"append", "--store", path}, {stdin = event})
		local running = cli.start{"run", "--store", path, REMINDERS}
		assert.equal("Note: tea", running:line())
		running:signal("TERM")
		assert.equal(0, running:wait().status)
	end)
end)
