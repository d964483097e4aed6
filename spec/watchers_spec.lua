-- watchers_spec.lua - what is seen of watchers from outside: store:watchers() and `vigia watchers`.

local cli = require "spec.support.cli"
local contract = require "spec.processes_contract"
local core = require "vigia.core"
local helper = require "spec.helper"

local mentions = helper.mentions

-- What store:watchers() says, by id.
local function by_id(store)
	local watchers, unshown = assert(store:watchers())
	assert.equal(0, unshown)
	local all = {}
	for _, watcher in ipairs(watchers) do
		assert.is_nil(all[watcher.watcher])
		all[watcher.watcher] = watcher
	end
	return all
end

-- Fails at event 3 and waits for an hour then.
local function fail_at_3(event)
	if event.seq_num == 3 then error("no such host", 0) end
end
local LATER <const> = {initial_backoff = 3600, max_backoff = 3600}

local function with(options)
	local all = {}
	for name, value in pairs(LATER) do all[name] = value end
	for name, value in pairs(options) do all[name] = value end
	return all
end

describe("store:watchers()", function()
	after_each(helper.clean)

	for _, backend in ipairs(helper.backends) do
		if backend.commits_progress then
			it("tells of running watchers, checkpoints and holds in one list (" .. backend.name .. ") [O1a]", function()
				local store = backend.open()
				helper.fill(store, 5)
				local registry = helper.registry(store)
				assert.same({}, (store:watchers()))
				local first = assert(registry:watch("a", function() end))
				assert(registry:watch("b", fail_at_3, LATER))
				assert(registry:watch("c", function() end, {ephemeral = true}))
				assert(registry:watch("d", function() end, {auto_start = false}))
				assert(store:store_checkpoint("e", 4))
				helper.drive(registry, function() return registry:get_watcher("b"):stats().failed == 1 and first:stats().lag == 0 end)
				helper.drain(registry, registry:get_watcher("c"))
				local all = by_id(store)
				assert.equal("running", all.a.state)
				assert.equal(5, all.a.position)
				assert.equal(0, all.a.lag)
				assert.equal(5, all.a.processed)
				assert.is_nil(all.a.blocked_on or all.a.last_error)
				assert.equal(first:stats().state, all.a.state)
				assert.same({"running", 2, 3, 3, 1, "no such host", 1},
					{all.b.state, all.b.position, all.b.lag, all.b.blocked_on, all.b.attempts, all.b.last_error, all.b.failed})
				assert(all.b.lag_seconds > 0 and all.b.next_attempt > all.b.last_error_time)
				assert(all.b.last_error_time >= all.b.started)
				assert.is_true(all.c.ephemeral)
				assert.is_nil(all.c.checkpoint or all.c.hold)
				assert.equal(5, all.c.position)
				assert.is_false(all.a.ephemeral)
				assert.same({"stopped", 0, 5}, {all.d.state, all.d.hold, all.d.lag})
				assert.same({"stopped", 4, 4, 1}, {all.e.state, all.e.checkpoint, all.e.position, all.e.lag})
				assert.is_nil(all.d.pid or all.e.pid or all.d.rate)
				assert.equal(all.a.pid, all.c.pid)
				assert(registry:stop())
				all = by_id(store)
				assert.is_nil(all.c)
				assert.same({"stopped", 5, 0}, {all.a.state, all.a.checkpoint, all.a.lag})
				assert.is_nil(all.a.pid)
				assert.same({"stopped", 2, "no such host"}, {all.b.state, all.b.checkpoint, all.b.last_error})
			end)
		end
	end

	it("shows each change: retried, past the event, stopping, stopped, started again [O1b]", function()
		local store = helper.memory()
		helper.fill(store, 3)
		local registry = helper.registry(store)
		local away, seen = true, {}
		local watcher
		watcher = assert(registry:watch("w", function(event)
			seen[event.seq_num] = by_id(store).w
			if event.seq_num == 2 and away then error("away", 0) end
			if event.seq_num == 3 then
				watcher:stop()
				seen.stopped = by_id(store).w
			end
		end, {initial_backoff = 0, max_backoff = 0}))
		helper.drive(registry, function() return watcher:stats().failed >= 3 end)
		local w, failed = by_id(store).w, watcher:stats().failed
		assert.same({2, failed, failed, 1}, {w.blocked_on, w.attempts, w.failed, w.position})
		away = false
		helper.drive(registry, function() return watcher:stats().state == "stopped" end)
		assert.same({"running", 0, 0}, {seen[1].state, seen[1].position, seen[1].processed})
		assert.equal("away", seen[2].last_error)
		assert.equal("running", seen[3].state)
		assert.equal("stopping", seen.stopped.state)
		w = by_id(store).w
		assert.is_nil(w.blocked_on)
		assert.same({"stopped", 3, "away"}, {w.state, w.position, w.last_error})
		watcher:start() -- one that starts again has no error
		assert.same({"running"}, {by_id(store).w.state, by_id(store).w.last_error})
	end)

	it("tells of scripts, isolated ones, lanes and transactional watchers alike [O1c]", function()
		local store = helper.open(helper.path("store"))
		helper.fill(store, 5)
		local script = helper.write_file("h.lua", [[
			return function(event) if event.seq_num == 3 then error("no such host", 0) end end]])
		local registry = helper.registry(store)
		local kinds = {
			thread = assert(registry:watch("thread", script, LATER)),
			isolated = assert(registry:watch("isolated", script, with{isolation = "process"})),
			transactional = assert(registry:watch("transactional", fail_at_3, with{transactional = true})),
			lanes = assert(registry:watch("lanes", fail_at_3, with{lanes = 3, lane_key = "object"})),
			script_lanes = assert(registry:watch("script_lanes", script, with{lanes = 2, lane_key = "object"})),
		}
		helper.drive(registry, function()
			for _, watcher in pairs(kinds) do
				if watcher:stats().failed == 0 then return false end
			end
			return true
		end)
		for id in pairs(kinds) do
			-- The position of one with lanes is that of the slowest lane.
			helper.eventually(function() return by_id(store)[id].failed == 1 and by_id(store)[id].position == 2 end, id)
			local w = by_id(store)[id]
			assert.same({"running", 3, 1, "no such host"}, {w.state, w.blocked_on, w.attempts, w.last_error}, id)
		end
		assert(registry:stop())
		for id in pairs(kinds) do assert.equal("stopped", by_id(store)[id].state, id) end
	end)

	it("makes no commit, and works on a read-only store [O1d]", function()
		local path = helper.path("store")
		local store = helper.open(path)
		helper.fill(store, 3)
		local registry = helper.registry(store)
		helper.drain(registry, assert(registry:watch("w", function() end, {checkpoint = "event"})))
		local reader = helper.open(path, {readonly = true})
		local commits = store:stats().commits
		assert.equal("running", by_id(reader).w.state)
		assert.equal(3, by_id(reader).w.position)
		assert.equal(commits, store:stats().commits)
	end)

	it("is a clear error on a closed store, and goes through a wrapper [O1f]", function()
		local store = helper.open(helper.path("store"))
		assert(store:store_checkpoint("w", 0))
		local wrapped = require "vigia.wrapper".new(store, {})
		assert.equal("w", wrapped:watchers()[1].watcher)
		store:close()
		helper.fails("store_closed", store:watchers())
	end)
end)

contract.watchers("", function() return helper.path("store") end)

describe("vigia watchers", function()
	after_each(cli.clean)

	local function start_one(path)
		local store = helper.open(path)
		helper.fill(store, 4)
		local script = cli.write("w.lua", [[return {id = "w\27[2J", initial_backoff = 3600, max_backoff = 3600, handle = function(event)
			if event.seq_num == 3 then error("no such\nhost \27[2J", 0) end
		end}]])
		local process = cli.start{"run", "--store", path, script}
		helper.eventually(function() return (store:watchers()[1] or {}).blocked_on == 3 end)
		assert(store:store_checkpoint("old", 1))
		return store, process
	end

	it("shows a table, each error on one line, and nothing that moves the cursor [O1g]", function()
		local path = helper.path("store")
		helper.open(path):close()
		local nothing = cli.ok{"watchers", "--store", path}
		assert.equal("", nothing.out)
		mentions(nothing.err, "no watcher runs or has a checkpoint")
		local store, process = start_one(path)
		local lines = cli.lines(cli.ok{"watchers", "--store", path}.out)
		assert.equal(3, #lines)
		mentions(lines[1], "WATCHER", "STATE", "PID", "POSITION", "LAG", "BEHIND", "RATE", "BLOCKED", "LAST ERROR")
		assert(lines[2]:find("^old%s+stopped%s+%-%s+1%s+3%s+[%d.]+ s%s+%-%s+%-$"), lines[2])
		assert(lines[3]:find("^w\\x1b%[2J%s+running%s+" .. process.pid .. "%s+2%s+2%s+[%d.]+ s%s+[%d.]+/s%s+3, failed 1 x, next in %d+ min%s+"
			.. "no such host \\x1b%[2J$"), lines[3])
		process:kill()
		mentions(cli.ok{"watchers", "--store", path}.out, "died", tostring(process.pid), "no such host")
		store:close()
	end)

	it("prints objects with --json, and tables again and again without a terminal [O1h]", function()
		local path = helper.path("store")
		local store, process = start_one(path)
		local lines = cli.lines(cli.ok{"watchers", "--store", path, "--json"}.out)
		assert.equal(2, #lines)
		mentions(lines[1], '"watcher":"old","state":"stopped","ephemeral":false,"checkpoint":1,"position":1,"lag":3,"lag_seconds":')
		mentions(lines[2], '"state":"running","pid":' .. process.pid, '"blocked_on":3,"attempts":1,"next_attempt":',
			'"last_error":"no such\\nhost \\u001b[2J"', '"processed":2,"failed":1')
		for _, line in ipairs(lines) do assert(core.from_json(line:gsub("^.*$", '{"operation":"x","object_type":"x","object":%0}'))) end
		local following = cli.start{"watchers", "--store", path, "--follow", "--interval", "0.05"}
		for _ = 1, 3 do
			mentions(following:line(), "WATCHER")
			mentions(following:line(), "old") -- the furthest behind
			mentions(following:line(), "running")
			assert.equal("", following:line())
		end
		following:signal("TERM")
		assert.equal(0, following:wait().status)
		cli.fails(2, {"watchers", "--store", path, "--interval", "1"})
		cli.fails(2, {"watchers", "--store", path, "--follow", "--interval", "0"})
		store:close()
	end)

	-- What a terminal of so many rows and columns gets while these keys are typed.
	local function on_terminal(path, keys, size)
		local command = ("trap : INT; stty %s; %s watchers --store %s --follow --interval 0.05; echo \"status $?\"; %s"):format(size,
			helper.quoted(helper.program()), helper.quoted(path), "stty -a | tr ';' '\\n' | grep -wo -- '-*icanon\\|-*echo'")
		return helper.shell(("( sleep 1; %s; sleep 1 ) | SHELL=/bin/sh TERM=xterm timeout 100 script -qec %s /dev/null"):format(keys,
			helper.quoted(command)))
	end

	it("repaints a terminal, and leaves it as it was on q and Ctrl-C [O1i]", function()
		if not helper.shell("command -v script"):find("script", 1, true) then return helper.pending("`script` is not installed") end
		local path = helper.path("store")
		local store = start_one(path)
		for _, keys in ipairs{"printf q", "printf '\\003'"} do
			local screen = on_terminal(path, keys, "rows 10 cols 130")
			mentions(screen, "\27[?1049h\27[?25l\27[H", "\27[?25h\27[?1049l", "status 0", "q: quit", "▁")
			assert(select(2, screen:gsub("\27%[H", "")) >= 3, "it was painted again")
			local behind = screen:match("\27%[%?1049l(.*)$")
			mentions(behind, "icanon", "echo")
			assert.is_nil(behind:find("-icanon", 1, true) or behind:find("-echo", 1, true), behind)
			for line in screen:match("\27%[H(.-)\27%[J"):gmatch("[^\r\n]+") do
				local shown = line:gsub("\27%[K", "")
				assert(utf8.len(shown) <= 130, shown)
			end
		end
		store:close()
	end)

	it("shows what fits into the terminal, and how much does not [O1j]", function()
		if not helper.shell("command -v script"):find("script", 1, true) then return helper.pending("`script` is not installed") end
		local path = helper.path("store")
		local store = helper.open(path)
		helper.fill(store, 30)
		for i = 1, 20 do assert(store:store_checkpoint(("w%02d"):format(i), i)) end
		local first = on_terminal(path, "printf q", "rows 10 cols 70"):match("\27%[H(.-)\27%[J")
		local lines = {}
		for line in first:gmatch("[^\r\n]+") do lines[#lines + 1] = line end
		assert.equal(10, #lines)
		mentions(lines[2], "w01")
		mentions(lines[#lines], "12 watchers below")
		store:close()
	end)
end)

describe("watchers() at the prompt", function()
	after_each(cli.clean)

	it("has each watcher by its id, of other processes, too [O1k]", function()
		local path = helper.path("store")
		local store = helper.open(path)
		helper.fill(store, 3)
		local registry = helper.registry(store)
		helper.drain(registry, assert(registry:watch("w", function() end)))
		assert(store:store_checkpoint("old", 1))
		local out = cli.ok({"repl", "--store", path}, {stdin = "watchers().w.state, watchers().w.pid, watchers().old.lag\n"}).out
		mentions(out, ('running\t%d\t2'):format(store:watchers()[2].pid))
	end)
end)
