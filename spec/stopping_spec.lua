-- stopping_spec.lua - fifty watchers in every state there is, stopped at once; and what becomes of a program that does not come to its end.

local cli = require "spec.support.cli"
local helper = require "spec.helper"
local lfs = require "lfs"
local vigia = require "vigia"

local drive, fails, fill, mentions = helper.drive, helper.fails, helper.fill, helper.mentions

local COUNT <const> = 50
local LIMIT <const> = 60 -- seconds: what is stopped has so long; it takes a fraction of it
local CAP <const> = helper.sanitized and 0.5 or 0.05 -- seconds of processor time; loading a script has the same, and takes its time there

-- The isolated programs whose supervisor is this process, or the one of this pid.
local function programs(supervisor)
	supervisor = tostring(supervisor or lfs.symlinkattributes("/proc/self", "target"))
	local pids = {}
	for pid in lfs.dir("/proc") do
		local parent = pid:find("^%d+$") and helper.read_file("/proc/" .. pid .. "/cmdline"):match("^vigia%z%-%-isolated%z(%d+)%z")
		if parent == supervisor then pids[#pids + 1] = pid end
	end
	return pids
end

local threads = helper.threads

-- What a handler is at when it is to stop: the rest of a script, behind `local given = ...; local vigia, store = ...`. Each leaves a mark
-- when it is there. `handled`: its event counts as handled in the end.
local STATES <const> = {
	{name = "backoff", "return {initial_backoff = 3600, max_backoff = 3600, handle = function(_, ctx) began(ctx) error('no luck', 0) end}"},
	{name = "poll", handled = true, [[return function(event, ctx)
		began(ctx)
		local never = {event_iterator = vigia.after_sequence_number(event.seq_num), filter = {object_types = {"No"}}, timeout = 3600}
		local answer, err = ctx.store:get_events(never)
		assert(not answer and err.code == "stopping")
	end]]},
	{name = "sleep", handled = true, [[return function(_, ctx)
		began(ctx)
		local ok, err = vigia.sleep(3600)
		assert(not ok and err.code == "stopping")
	end]]},
	{name = "work", handled = true, "return function(_, ctx) began(ctx) while not ctx.stopping do end end"},
	{name = "killed", killed = true,
		"return {initial_backoff = 0.001, max_backoff = 0.001, handle = function(_, ctx) began(ctx) while true do end end}"},
	{name = "idle", handled = true, "return function(_, ctx) began(ctx) end"},
}

-- ThreadSanitizer keeps a signal back until the thread makes a call, which an endless loop does not: there is no cap on threads then.
local no_caps_on_threads = helper.tsan

-- Scripts of all these states, by turns in threads and in programs (or, `isolated` given, all alike); a name for each, and the state it
-- will be in.
local function scripts(count, folder, isolated)
	local list = {}
	for n = 1, count do
		local state = STATES[(n - 1) % #STATES + 1]
		local own = isolated
		if own == nil then own = (n - 1) // #STATES % 2 == 1 end
		if state.killed and not own and no_caps_on_threads then state = STATES[1] end
		local name = ("%s%02d"):format(state.name, n)
		list[n] = {name = name, state = state, isolated = own, path = helper.write_file(name .. ".lua", ([[
			local vigia = require "vigia"
			local function began(ctx)
				local mark <close> = assert(io.open(%q .. ctx.watcher:id(), "w"))
			end
			]]):format(folder) .. state[1])}
	end
	return list
end

local function all_began(list, folder)
	for _, script in ipairs(list) do
		if not lfs.attributes(folder .. script.name) then return false end
	end
	return true
end

describe("fifty watchers", function()
	after_each(cli.clean)

	local program = helper.program()

	local function folder()
		local path = helper.path("marks")
		assert(lfs.mkdir(path))
		return path .. "/"
	end

	local function saved_as_it_should(list, checkpoint_of)
		for _, script in ipairs(list) do
			-- The event that was in hand: handled and saved, or to be handled again.
			assert.same({script.name, script.state.handled and 1 or nil}, {script.name, checkpoint_of(script.name)})
		end
	end

	it("stop within the timeout, in threads, programs and coroutines, and leave neither thread nor process [W16m]", function()
		if not program then return helper.pending("there is no program beside the module") end
		local store = helper.open(nil, {durability = "none"})
		fill(store, 1)
		local before = threads()
		local marks = folder()
		local list = scripts(COUNT - 2, marks)
		do
			local registry <close> = vigia.registry(store)
			local watchers = {}
			for n, script in ipairs(list) do
				watchers[n] = assert(registry:watch(script.name, script.path, {filter = {object_types = {"Job"}}, worker_program = program,
					isolation = script.isolated and "process" or nil, cpu_limit = script.state.killed and CAP or nil}))
			end
			assert(registry:watch("function asleep", function() vigia.sleep(3600) end, {ephemeral = true}))
			assert(registry:watch("function in backoff", function() error("no luck") end,
				{ephemeral = true, initial_backoff = 3600, max_backoff = 3600}))
			drive(registry, function() return all_began(list, marks) end)
			for n, script in ipairs(list) do
				drive(registry, function() return not script.state.killed or watchers[n]:stats().failed > 1 end)
			end
			assert(#programs() > 0 and threads() >= before + #list)
			local began = helper.now()
			local ok, err = registry:stop{timeout = LIMIT}
			assert.is_true(ok, tostring(err))
			assert(helper.now() - began < LIMIT)
			for n in ipairs(list) do assert.equal("stopped", watchers[n]:stats().state) end
			assert.same({}, programs())
			saved_as_it_should(list, function(id) return (store:get_checkpoint(id)) end)
		end
		helper.eventually(function() return threads() <= before + (no_caps_on_threads and 1 or 0) end) -- the sanitizer has one of its own
	end)

	for _, isolated in ipairs{false, true} do
		it(("end with `vigia run` at a SIGTERM, checkpoints saved: %s [W16n]"):format(isolated and "programs" or "threads"), function()
			if not program then return helper.pending("there is no program beside the module") end
			local path, marks = helper.path("store"), folder()
			local store = helper.open(path, {durability = "none"})
			fill(store, 1)
			local list = scripts(COUNT, marks, isolated)
			local words = {"run", "--store", path, "--stop-timeout", LIMIT, "--cpu", CAP}
			if isolated then words[#words + 1] = "--isolate" end
			for _, script in ipairs(list) do
				-- The cap is for all of them: the ones at work do not compute, then.
				if script.state.name == "work" then
					helper.write_file(script.name .. ".lua", (helper.read_file(script.path):gsub("do end end", "do vigia.sleep(0.01) end end")))
				end
				words[#words + 1] = script.path
			end
			local process = cli.start(words)
			local deadline = helper.now() + LIMIT
			repeat
				if process:gone() then error("it ended: " .. process:wait().err) end
				assert(helper.now() < deadline, "they did not all begin")
				vigia.sleep(0.01)
			until all_began(list, marks)
			if isolated then assert(#programs(process.pid) > COUNT // 2) end
			local began = helper.now()
			process:signal("TERM")
			local result = process:wait()
			assert.equal(0, result.status, result.err)
			assert(helper.now() - began < LIMIT)
			assert.same({}, programs(process.pid))
			saved_as_it_should(list, function(id) return (store:get_checkpoint(id)) end)
		end)
	end
end)

describe("an isolated program that does not come to its end", function()
	local program = helper.program()
	if not program then
		it("is left out [H6]", function() helper.pending("there is no program beside the module") end)
		return
	end

	local store, registry, logged, flag, mark

	before_each(function()
		store = helper.open(nil, {durability = "none"})
		registry, logged = helper.logging_registry(store)
		flag, mark = helper.path("flag"), helper.path("mark")
		fill(store, 1)
	end)
	after_each(function()
		store, registry = nil, nil
		cli.clean()
		assert.same({}, programs())
	end)

	-- In C for hours, for as long as the flag is there.
	local STUCK <const> = [[
		local given = ...
		local function stuck()
			if not io.open(given.set.flag) then return end
			io.open(given.set.mark, "w"):close()
			return (("a"):rep(5000)):find(".-.-.-.-.-b")
		end
	]]

	local function watch(id, rest)
		local options = {isolation = "process", worker_program = program, set = {flag = flag, mark = mark}}
		return assert(registry:watch(id, helper.write_file(id .. ".lua", STUCK .. rest), options))
	end

	local function begun() return lfs.attributes(mark) ~= nil end

	it("is killed when the time of a stop has passed; its event has failed, and is handled after a start [H6q W14o]", function()
		helper.write_file("flag", "")
		local watcher = watch("stuck", "return function() stuck() end")
		drive(registry, begun)
		assert.is_false(watcher:stop{timeout = 0}) -- that asks only
		assert.equal("stopping", watcher:stats().state)
		assert.equal(1, #programs())
		assert.is_false(watcher:stop{timeout = 0.05})
		local stats = watcher:stats()
		assert.same({"stopped", 0, 1}, {stats.state, stats.processed, stats.failed})
		mentions(stats.last_error, "it was killed: its watcher had to stop, and it did not end in time")
		mentions(table.concat(logged, "\n"), "warn: watcher 'stuck': did not stop in time: its program is killed")
		assert.same({}, programs())
		assert.is_true(watcher:stop{timeout = 0.05})
		fails("checkpoint_not_found", store:get_checkpoint("stuck"))
		assert(os.remove(flag))
		assert.is_true(watcher:reload()) -- a rest in between does not harm it
		assert(watcher:start())
		helper.settle(registry, watcher)
		assert.equal(1, watcher:stats().processed)
		assert.is_true(watcher:stop())
		assert.equal(1, store:get_checkpoint("stuck"))
	end)

	it("is named by registry:stop, which kills it alone; a stop function that hangs holds up no other [H6r W16o]", function()
		helper.write_file("flag", "")
		local stuck = watch("stuck", "return function() stuck() end")
		local stops = watch("stops", "return {handle = function() end, stop = stuck}")
		local good = watch("good", "return {handle = function() end, stop = function(ctx) ctx.store:store_checkpoint('good stopped', 1) end}")
		drive(registry, function() return begun() and stops:stats().processed == 1 and good:stats().processed == 1 end)
		local ok, err = registry:stop{timeout = 3}
		assert.is_nil(ok)
		mentions(err, "2 watchers did not stop in time", "'stuck'", "'stops'")
		for _, watcher in ipairs{stuck, stops, good} do assert.equal("stopped", watcher:stats().state) end
		mentions(stops:stats().stop_error, "stop failed", "it was killed")
		assert.is_nil(good:stats().stop_error)
		assert.equal(1, store:get_checkpoint("good stopped"))
		assert.same({}, programs())
		assert.is_true(registry:stop())
	end)

	it("is killed after some seconds when its registry goes [H6s]", function()
		helper.write_file("flag", "")
		watch("stuck", "return function() stuck() end")
		drive(registry, begun)
		local before = helper.now()
		do local _ <close> = registry end
		assert(helper.now() - before < 30)
		assert.same({}, programs())
	end)

	it("is killed by `vigia run` when --stop-timeout has passed, or some seconds after the signal in an init [H6t]", function()
		local path = helper.path("store")
		for rest, part in pairs{
			["return function() os.execute('touch ' .. MARK) return (('a'):rep(5000)):find('.-.-.-.-.-b') end"] = "did not stop in time",
			["return {handle = print, init = function() os.execute('touch ' .. MARK) return (('a'):rep(5000)):find('.-.-.-.-.-b') end}"] =
				"init failed: it was killed",
		} do
			os.remove(mark)
			local process = cli.start{"run", "--store", path, "--isolate", "--stop-timeout", 0.1,
				helper.write_file("stuck.lua", ("local MARK = %q "):format(mark) .. rest)}
			local deadline = helper.now() + LIMIT
			repeat assert(helper.now() < deadline) until begun()
			local began = helper.now()
			process:signal("TERM")
			helper.eventually(function() return process:gone() end, "it does not end")
			local result = process:wait()
			assert.equal(1, result.status)
			mentions(result.err, part)
			assert(helper.now() - began < 30)
			assert.same({}, programs(process.pid))
		end
	end)
end)
