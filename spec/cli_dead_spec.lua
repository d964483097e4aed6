-- cli_dead_spec.lua - `vigia dead`: dead letters from the command line, and dead() at the prompt.

local cli = require "spec.support.cli"
local helper = require "spec.helper"
local vigia = require "vigia"

local mentions = helper.mentions

if not helper.program() then
	describe("vigia dead", function() it("is left out [L2]", function() helper.pending("there is no program beside the module") end) end)
	return
end

local path

-- Events 1 to 4, of which each watcher puts aside those that its table names.
local function make(bad)
	local store <close> = assert(vigia.open(path))
	local registry <close> = helper.registry(store)
	for n = 1, 4 do assert(store:store_event("CREATE", "Job", {n = n})) end
	local watchers = {}
	for id, numbers in pairs(bad) do
		watchers[#watchers + 1] = registry:watch(id, function(event)
			if numbers[event.seq_num] then error("bad\27 event " .. event.seq_num) end
		end, {retry_strategy = "dead_letter", max_retries = 1})
	end
	helper.drain(registry, table.unpack(watchers))
end

local function dead(...)
	return cli.ok{"dead", "--store", path, ...}.out
end

local function refused(status, ...)
	return cli.fails(status, {"dead", "--store", path, ...})
end

-- "watcher number" of each line, and "retry" behind those that are to be retried.
local function listed(...)
	local list = {}
	for i, line in ipairs(cli.lines(dead(...))) do
		local watcher, seq_num, retry = line:match('^{"watcher":"(.-)","seq_num":(%d+),.*"retry":(%l+)')
		list[i] = watcher .. " " .. seq_num .. (retry == "true" and " retry" or "")
	end
	return list
end

describe("vigia dead", function()
	before_each(function() path = helper.path("a.db") end)
	after_each(helper.clean)

	it("lists the letters, one JSON object a line, without object and traceback [L2]", function()
		make{mail = {[2] = true, [3] = true}, bill = {[4] = true}}
		local lines = cli.lines(dead())
		local line = lines[2]:gsub('"timestamp":%d+', '"timestamp":T'):gsub('"error":".-cli_dead_spec.lua:%d+: ', '"error":"')
		assert.equal('{"watcher":"mail","seq_num":2,"operation":"CREATE","object_type":"Job","attempts":1,"timestamp":T,"retry":false,'
			.. '"error":"bad\\u001b event 2"}', line)
		assert.same({"bill 4", "mail 2", "mail 3"}, listed "list")
		assert.same({"mail 2", "mail 3"}, listed("list", "mail"))
		assert.same({"mail 2"}, listed("list", "mail", "--limit", 1))
		assert.same({"bill 4", "mail 2"}, listed("--limit", 2))
		assert.equal("", dead("list", "nobody"))
		mentions(cli.ok{"stats", "--store", path}.out, "dead letters   3 events")
		mentions(cli.ok{"stats", "--store", path, "--json"}.out, '"dead_letters":3')
	end)

	it("shows a letter with its traceback and its event, for a person or as JSON [L2]", function()
		make{mail = {[2] = true, [3] = true}}
		local text = dead("show", "mail", 3)
		mentions(text, "watcher   mail\n", "attempts  1\n", "retry     no\n", "bad\\x1b event 3\n", "\ntraceback [C]: in function 'error' ",
			"cli_dead_spec.lua", '\nevent     {"seq_num":3,"timestamp":', '"object":{"n":3}}\n')
		assert.matches("\nfailed    20%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d UTC\n", text)
		local json = dead("show", "mail", 2, "--json")
		assert.equal(1, #cli.lines(json))
		local letter = assert(require "vigia.core".from_json(json))
		assert.same({"mail", 2, 1, false, 2, "CREATE", "Job", {n = 2}}, {letter.watcher, letter.seq_num, letter.attempts, letter.retry,
			letter.event.seq_num, letter.event.operation, letter.event.object_type, letter.event.object})
		mentions(letter.traceback, "cli_dead_spec.lua")
		mentions(refused(1, "show", "mail", 1), "watcher 'mail' has no dead letter of event 1")
		mentions(refused(1, "show", "mail", 9), "watcher 'mail' has no dead letter of event 9")
		mentions(refused(1, "show", "mial", 2), "watcher 'mial' has no dead letters", "did you mean 'mail'?")
	end)

	it("has the watcher handle letters again [L2]", function()
		make{mail = {[2] = true, [3] = true, [4] = true}, bill = {[1] = true}}
		assert.equal("1 dead letter of watcher 'mail' to be retried\n", dead("retry", "mail", 3))
		assert.same({"bill 1", "mail 2", "mail 3 retry", "mail 4"}, listed())
		mentions(dead("show", "mail", 3), "retry     requested\n")
		mentions(refused(1, "retry", "mail", 1), "watcher 'mail' has no dead letter of event 1")
		assert.equal("3 dead letters of watcher 'mail' to be retried\n", dead("retry", "mail", "--all"))
		local script = helper.write_file("mail.lua", [[
			return function(event, ctx) print(event.seq_num, ctx.dead_letter and ctx.dead_letter.attempts) end]])
		assert.equal("2\t1\n3\t1\n4\t1\n", cli.ok{"run", "--store", path, script, "--until-idle"}.out)
		assert.same({"bill 1"}, listed())
		dead("retry", "bill", 1) -- its watcher does not run
		assert.equal("", cli.ok{"run", "--store", path, script, "--until-idle"}.out)
		assert.same({"bill 1 retry"}, listed())
	end)

	it("drops letters, all of a watcher only when told so [L2]", function()
		make{mail = {[2] = true, [3] = true, [4] = true}, bill = {[1] = true}}
		assert.equal("1 dead letter of watcher 'mail' dropped\n", dead("drop", "mail", 3))
		mentions(refused(1, "drop", "mail", 3), "watcher 'mail' has no dead letter of event 3")
		mentions(refused(2, "drop", "mail"), "N is missing", "--all for all letters of 'mail'")
		assert.same({"bill 1", "mail 2", "mail 4"}, listed())
		assert.equal("2 dead letters of watcher 'mail' dropped\n", dead("drop", "mail", "--all"))
		mentions(refused(1, "drop", "mail", "--all"), "watcher 'mail' has no dead letters")
		assert.same({"bill 1"}, listed())
	end)

	it("says what is wrong with its words, and changes nothing [L2]", function()
		make{mail = {[2] = true}}
		for _, case in ipairs{
			{"N is missing: the number of the event\n", "show", "mail"},
			{"N is missing: the number of the event, or --all", "retry", "mail"},
			{"WATCHER is missing: drop WATCHER N", "drop"},
			{"WATCHER is missing: retry WATCHER N", "retry", "--all"},
			{"--all and a number exclude each other", "drop", "mail", "2", "--all"},
			{"--all is for retry and drop", "list", "--all"},
			{"--all is for retry and drop", "show", "mail", "2", "--all"},
			{"--json is for show; list prints JSON", "--json"},
			{"--json is for show\n", "drop", "mail", "2", "--json"},
			{"--limit is for list", "drop", "mail", "2", "--limit", "1"},
			{"list takes no number", "list", "mail", "2"},
			{"N must be a whole number, at least 1, not 'x'", "show", "mail", "x"},
			{"N must be a whole number, at least 1, not '0'", "drop", "mail", "0"},
			{"WATCHER must have 1 to 255 bytes", "drop", "", "--all"},
			{"must be one of 'list', 'show', 'retry', 'drop'", "lst"},
		} do
			mentions(refused(2, table.unpack(case, 2)), case[1])
		end
		assert.same({"mail 2"}, listed())
	end)
end)

describe("dead() at the prompt", function()
	before_each(function() path = helper.path("a.db") end)
	after_each(helper.clean)

	it("lists letters, and shows one in full [L2]", function()
		make{mail = {[2] = true, [3] = true}, bill = {[4] = true}}
		local result = cli.ok({"repl", "--store", path}, {stdin = [[
#dead()
dead()[1].object_type, dead()[1].event, dead()[1].traceback
#dead("mail")
#dead{limit = 2}
#dead{watcher = "mail", from = 3}
dead("mail", 3).event.object
type(dead("mail", 3).traceback)
dead("mail", 1)
]]})
		assert.same({"3", 'Job\tnil\tnil', "2", "2", "1", "{n = 3}", 'string', "nil"}, cli.lines(result.out))
	end)
end)
