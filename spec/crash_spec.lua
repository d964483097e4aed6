-- crash_spec.lua - `vigia append` and `vigia run` killed by SIGKILL at random moments and started again: nothing is lost, no number
-- is given twice, no gap.
--
-- The moments are drawn from a seed that is printed in each failure and can be set (VIGIA_SEED). A moment is an event, not a time: the
-- spec kills when it sees that one stored or handled, so a slow machine is killed as often as a fast one.

local cli = require "spec.support.cli"
local helper = require "spec.helper"
local vigia = require "vigia"

local KILLS <const> = 20

local SEED <const> = math.tointeger(tonumber(os.getenv("VIGIA_SEED"))) or os.time()

-- Writes the lines arg[2] to arg[3] of the file arg[1] to stdout, in pieces of random size, so that they are stored in many commits.
-- Then it holds the pipe open until its standard input ends: who reads from it is killed and does not end by itself.
local FEEDER = [[
	local n, first, last = 0, math.tointeger(tonumber(arg[2])), math.tointeger(tonumber(arg[3]))
	math.randomseed(math.tointeger(tonumber(arg[4])))
	io.stdout:setvbuf("full", 1 << 20)
	local left = 0
	for line in io.lines(arg[1]) do
		n = n + 1
		if n > last then break end
		if n >= first then
			io.stdout:write(line, "\n")
			left = left - 1
			if left <= 0 then
				io.stdout:flush()
				left = math.random(100)
			end
		end
	end
	io.stdout:flush()
	io.read("a")]]

-- `count` different numbers from first to last, in order.
local function moments(count, first, last)
	local taken, list = {}, {}
	while #list < count do
		local n = math.random(first, last)
		if not taken[n] then
			taken[n] = true
			list[#list + 1] = n
		end
	end
	table.sort(list)
	return list
end

local function latest(path)
	local handle = helper.open(path, {readonly = true})
	local n = assert(handle:get_latest_event_num())
	handle:close()
	return n
end

local function checkpoint(path, id)
	local handle = helper.open(path, {readonly = true})
	local n = handle:get_checkpoint(id)
	handle:close()
	return n or 0
end

-- Exactly these lines are stored, under the numbers 1, 2, 3, ...
local function check_events(store, lines, note)
	local events = cli.events(store)
	assert.equal(#lines, #events, note)
	for i, event in ipairs(events) do
		assert.equal(i, event.seq_num, note)
		assert.equal(lines[i], event.rest, note)
		assert(i == 1 or event.timestamp >= events[i - 1].timestamp, note)
	end
end

local function append_killed(lines)
	local note = "VIGIA_SEED=" .. SEED
	math.randomseed(SEED)
	local store, fifo = helper.path("a.db"), helper.path("fifo")
	local input = cli.write("input", table.concat(lines, "\n") .. "\n")
	local feeder = cli.write("feeder.lua", FEEDER)
	assert(os.execute("mkfifo " .. helper.quoted(fifo)))
	helper.open(store):close()
	local seen = 0 -- the last number anybody saw: it must stay what it is
	for kill = 1, KILLS do
		local from = latest(store) + 1
		assert(from > seen, note)
		local share = (#lines - from) // (KILLS - kill + 1)
		local moment = from + math.random(0, share // 2)
		local last = moment + math.random(0, share // 2)
		local feed = assert(io.popen(("lua5.4 %s %s %d %d %d >%s"):format(helper.quoted(feeder), helper.quoted(input), from, last,
			math.random(1 << 30), helper.quoted(fifo)), "w"))
		local process = cli.start({"append", "--store", store}, {stdin_path = fifo})
		local handle = helper.open(store, {readonly = true})
		local answer = assert(handle:get_events{event_iterator = vigia.at_sequence_number(moment), limit = 1, timeout = 60})
		assert.equal(moment, answer.events[1] and answer.events[1].seq_num, note)
		handle:close()
		seen = moment
		-- It may be anywhere now: reading, parsing, committing, waiting for more.
		assert.equal("signal 9", process:kill().status, note)
		feed:close()

		local stored = latest(store)
		assert(moment <= stored and stored <= last, note)
		assert.equal(lines[stored], cli.events(store, "--from", "at:" .. stored)[1].rest, note)
	end
	local rest = table.move(lines, latest(store) + 1, #lines, 1, {})
	if #rest > 0 then
		local result = cli.append(store, rest)
		assert.equal(("%d event%s appended, last seq_num %d\n"):format(#rest, #rest == 1 and "" or "s", #lines), result.out, note)
	end
	check_events(store, lines, note)
	helper.covered("crashes", "%d kills of appenders", KILLS)
	return store
end

-- Handles like audit.lua: one line an event into a file of its own, flushed. At event KILL_AT it tells the spec and sleeps, AFTER that
-- line or before it. After it: the events in front of this one were handled, and their checkpoint was not saved yet, which happens
-- every so often only. Before it: there was a commit, which saved how far all watchers had come, while this event was half done.
local VICTIM = [[
	local vigia = require "vigia"
	local file = assert(io.open(os.getenv("VICTIM"), "a"))
	local kill_at, after = math.tointeger(tonumber(os.getenv("KILL_AT"))), os.getenv("AFTER") == "yes"
	local function wait_for_kill()
		io.write("now\n") io.flush()
		vigia.sleep(100000)
	end
	return function(event, ctx)
		if event.seq_num == kill_at and not after then
			assert(ctx.store:store_checkpoint("somebody else", 1))
			wait_for_kill()
		end
		assert(file:write(event.seq_num, "\n") and file:flush())
		if event.seq_num % 97 == 0 then assert(ctx.watcher:checkpoint(event.seq_num - 1)) end
		if event.seq_num == kill_at then wait_for_kill() end
	end]]

-- The numbers at the beginnings of the whole lines of a file: as a list, and the highest.
local function numbers_in(path)
	local list, highest = {}, 0
	for i, line in ipairs(cli.lines(cli.read(path))) do
		list[i] = assert(math.tointeger(tonumber(line:match("^%d+"))), line)
		highest = math.max(highest, list[i])
	end
	return list, highest
end

-- Each number from 1 to last is there, and none was handled before the one in front of it.
local function check_handled(list, last, note)
	local handled = 0
	for _, n in ipairs(list) do
		assert(n <= handled + 1, note)
		handled = math.max(handled, n)
	end
	assert.equal(last, handled, note)
end

local function run_killed(lines, tree)
	local note = "VIGIA_SEED=" .. SEED
	math.randomseed(SEED + 1)
	local store = helper.path("a.db")
	local victim = cli.write("victim.lua", VICTIM)
	cli.append(store, lines)
	local audit, own = helper.path("audit.log"), helper.path("victim.log")
	local words = {"run", "--store", store, "scripts/handlers/audit.lua", "scripts/handlers/tree.lua", victim}
	local env = {VIGIA_AUDIT = audit, VICTIM = own}
	local between, resumed = 0, 0
	for i, moment in ipairs(moments(KILLS, 2, #lines)) do
		local before, after = checkpoint(store, "victim"), i % 2 == 0
		assert(before < moment, note)
		env.KILL_AT, env.AFTER = moment, after and "yes" or "no"
		local process = cli.start(words, {env = env})
		assert.equal("now", process:line(), note .. "\n" .. cli.read(process.err_path))
		assert.equal("signal 9", process:kill().status, note)

		local at = checkpoint(store, "victim")
		assert(before <= at and at < moment, note)
		if after then
			-- moment - 1 was handled, its handler had returned, and its checkpoint was never saved.
			between = between + (at < moment - 1 and 1 or 0)
		else
			assert.equal(moment - 1, at, note)
		end
		if before > 0 then resumed = resumed + 1 end
		check_handled(numbers_in(own), after and moment or moment - 1, note)
		local list, highest = numbers_in(audit)
		check_handled(list, highest, note)
		assert(checkpoint(store, "audit") <= highest, note .. ": a checkpoint before its event was written down")
	end
	assert(between >= 5, note)
	assert(resumed >= 5, note)

	env.KILL_AT = 0
	words[#words + 1] = "--until-idle"
	local result = cli.ok(words, {env = env})
	assert.equal("", result.err)
	assert(result.out == tree, note .. ": the tree differs")
	check_handled(numbers_in(own), #lines, note)
	check_handled(numbers_in(audit), #lines, note)
	for _, id in ipairs{"audit", "victim"} do assert.equal(#lines, checkpoint(store, id), note) end
	helper.covered("crashes", "%d kills of watchers", KILLS)
end

describe("SIGKILL", function()
	after_each(cli.clean)

	it("at twenty moments of `vigia append` loses and repeats nothing of a stream [E2f D1f S13m]", function()
		local lines = cli.stream(10000, "made up", 7)
		local store = append_killed(lines)
		assert.equal(cli.tree_of(lines), cli.ok{"run", "--store", store, "scripts/handlers/tree.lua", "--until-idle"}.out)
	end)

	it("at twenty moments of `vigia run` never makes a watcher miss an event [W11f W10r]", function()
		local lines = cli.stream(5000, "made up", 7)
		run_killed(lines, cli.tree_of(lines))
	end)

	it("mends the torn last line of audit.lua's file [W11g]", function()
		local lines = cli.stream(50, "made up", 7)
		local store, audit = helper.path("a.db"), helper.path("audit.log")
		cli.append(store, lines)
		local words, env = {"run", "--store", store, "scripts/handlers/audit.lua", "--until-idle"}, {VIGIA_AUDIT = audit}
		cli.ok(words, {env = env})
		local text = cli.read(audit)
		-- As if it had been killed in the middle of line 31, with its last checkpoint at 28.
		local whole = #text:match("^" .. ("[^\n]*\n"):rep(30))
		cli.write("audit.log", text:sub(1, whole + 3))
		local handle = helper.open(store)
		assert(handle:delete_checkpoint("audit"))
		assert(handle:store_checkpoint("audit", 28))
		handle:close()
		cli.ok(words, {env = env})
		local list = numbers_in(audit)
		local expected = helper.range(1, 30)
		table.move(helper.range(29, 50), 1, 22, 31, expected)
		assert.same(expected, list)
	end)

	for _, name in ipairs{"lua", "bacalhau"} do
		it(("does no harm to the history of %s either, nor to its watchers [E2g D1g W11h]"):format(name), function()
			local lines, tree = cli.history(name)
			if not lines then return pending(cli.NO_DATA) end
			local store = append_killed(lines)
			for _, suffix in ipairs{"", "-lock", "-side"} do os.remove(store .. suffix) end
			run_killed(lines, tree)
		end)
	end
end)
