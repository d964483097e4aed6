-- effects_spec.lua - a transactional watcher, killed by SIGKILL again and again in handlers, commits and drains of the journal: each
-- effect is there exactly once, or the event has a dead letter.
--
-- A process stores the events of a stream and watches them at the same time. Each life of it ends at a moment that is drawn from a seed:
-- in the handler of a certain event, or up to some milliseconds after a certain event was stored. `scripts/test --long` kills 200 times
-- in all of a stream; a normal run kills a few times in its beginning. VIGIA_SEED repeats a run's choices.

local cli = require "spec.support.cli"
local helper = require "spec.helper"
local vigia = require "vigia"

local SEED <const> = math.tointeger(tonumber(os.getenv("VIGIA_SEED"))) or os.time()
local LONG <const> = os.getenv("VIGIA_SOAK") ~= nil
local EVENTS <const> = LONG and math.maxinteger or helper.sanitized and 800 or 3000
local KILLS <const> = LONG and 200 or helper.sanitized and 3 or 12

-- Another transaction adds this to the counter now and then, so that the watcher's have conflicts.
local CONFLICT <const> = 1000000

-- Arguments: the store, the store it gets events from, the last number to store, the number in whose handler it dies (0: none), where
-- in it, one failure in so many attempts (0: none), a seed, CONFLICT.
local LIFE <const> = [[
local path, source_path, last, kill_at, where, one_in, seed, conflict = ...
last, kill_at, one_in, conflict = tonumber(last), tonumber(kill_at), tonumber(one_in), tonumber(conflict)
math.randomseed(tonumber(seed))
local store = assert(vigia.open(path))
local source = assert(vigia.open(source_path, {readonly = true, collect = false}))
local registry = vigia.registry(store, {log = function() end})

local function die(n, place)
	if n == kill_at and place == where then os.execute("kill -9 $PPID") end
end

assert(registry:watch("tree", function(event, ctx)
	local tx, n, file = ctx.tx, event.seq_num, event.object
	die(n, "first")
	assert(tx:put("done", n, (tx:get("done", n) or 0) + 1))
	assert(tx:put("counts", "effects", (tx:get("counts", "effects") or 0) + 1))
	die(n, "between")
	if event.object_type == "File" then
		if event.operation == "DELETE" then assert(tx:delete("tree", file.path))
		else assert(tx:put("tree", file.path, file.blob)) end
	end
	die(n, "last")
	if one_in > 0 and math.random(one_in) == 1 then error("now and then") end
end, {transactional = true, initial_backoff = 0, retry_strategy = one_in > 0 and "dead_letter" or "block", max_retries = 2}))

registry:spawn(function()
	local from = vigia.after_sequence_number(assert(store:get_latest_event_num()))
	while from.seq_num < last do
		local answer = assert(source:get_events{event_iterator = from, limit = math.min(math.random(60), last - from.seq_num), timeout = 0})
		local events = {}
		for i, event in ipairs(answer.events) do events[i] = {event.operation, event.object_type, event.object} end
		assert(store:store_events(events))
		from = vigia.after_sequence_number(from.seq_num + #events)
		if math.random(5) == 1 then
			assert(store:transaction(function(tx) tx:put("counts", "effects", (tx:get("counts", "effects") or 0) + conflict) end))
		end
		vigia.sleep(0)
	end
end)
say "ready"
assert(registry:run())
]]

local PLACES <const> = {"first", "between", "last"}

-- Run the watcher over `count` events, `kills` times killed, and to the end; returns the store's path. `one_in`: attempts that fail.
local function run(source, count, options, one_in)
	local path = helper.path "t.vigia"
	helper.open(path, options):close()
	local function start(last, kill_at, where)
		local child = helper.child(LIFE, path, source, last, kill_at, where, one_in, math.random(1 << 30), CONFLICT)
		return child
	end
	local last = 0
	for kill = 1, KILLS do
		local share = (count - last) // (KILLS - kill + 1)
		local moment = last + 1 + math.random(0, share)
		local upto = math.min(moment + math.random(0, share), count)
		moment = math.min(moment, count)
		if kill % 2 == 0 then
			-- With nobody else there: the next life recovers alone.
			start(upto, moment, PLACES[math.random(#PLACES)]):wait()
			last = math.max(last, moment)
		else
			local child = start(upto, 0, "")
			child:expect "ready"
			local store = helper.open(path, {readonly = true})
			local answer = assert(store:get_events{event_iterator = vigia.at_sequence_number(moment), limit = 1, timeout = 60})
			assert.equal(1, #answer.events)
			vigia.sleep(math.random() / 200)
			child:kill()
			last = assert(store:get_latest_event_num())
			store:close()
		end
	end
	local child = start(count, 0, "")
	local store = helper.open(path)
	helper.eventually(function() return store:get_checkpoint("tree") == count end, "the watcher does not come to the end")
	child:kill()
	return path, store
end

-- The tree as lines, from the bucket; and from the events.
local function tree_in(store)
	local lines = {}
	for i, row in ipairs(assert(store:range("tree"))) do lines[i] = row.value .. "  " .. row.key .. "\n" end
	return table.concat(lines)
end

local function tree_of_events(store)
	local blobs, paths, from = {}, {}, vigia.trim_horizon()
	repeat
		local answer = assert(store:get_events{event_iterator = from, filter = {object_types = {"File"}}, timeout = 0})
		for _, event in ipairs(answer.events) do
			blobs[event.object.path] = event.operation ~= "DELETE" and event.object.blob or nil
		end
		from = answer.next_event_iterator
	until #answer.events == 0
	for name in pairs(blobs) do paths[#paths + 1] = name end
	table.sort(paths)
	for i, name in ipairs(paths) do paths[i] = blobs[name] .. "  " .. name .. "\n" end
	return table.concat(paths)
end

-- Each event has had its effect once, or has a letter.
local function check_effects(store, count, note)
	local done, letters, effects = {}, {}, 0
	for _, row in ipairs(assert(store:range("done"))) do done[row.key] = row.value end
	for _, letter in ipairs(assert(store:dead_letters{watcher = "tree"})) do
		assert.is_nil(letters[letter.seq_num], note)
		letters[letter.seq_num] = true
	end
	for n = 1, count do
		if letters[n] then assert.is_nil(done[n], ("%s: event %d has an effect and a letter"):format(note, n))
		else assert.equal(1, done[n], ("%s: event %d"):format(note, n)) end
		effects = effects + (done[n] or 0)
	end
	assert.equal(effects, store:get("counts", "effects") % CONFLICT, note)
	return count - effects
end

local streams = {
	{name = "a made-up stream", lines = function() return cli.stream(LONG and 10000 or EVENTS, "made up", 7) end},
	{name = "the history of lua", lines = function() return cli.history("lua") end},
	{name = "the history of bacalhau", lines = function() return cli.history("bacalhau") end},
}

for _, durability in ipairs{"commit", "none"} do
	for _, journal in ipairs{true, false} do
		local options = {durability = durability, journal = journal}
		-- Under a sanitizer, half of them: the programs that store and verify take a second each to end there.
		if helper.sanitized and journal ~= (durability == "commit") then goto continue end
		local how = ('at durability "%s", %s a journal'):format(durability, journal and "with" or "without")

		describe("a transactional watcher that is killed " .. how, function()
			after_each(cli.clean)

			-- The store of a stream's events, how many they are, and git's tree at their end if they are all.
			local function source_of(stream)
				local lines, tree = stream.lines()
				if not lines then return nil end
				local count = math.min(#lines, EVENTS)
				if count < #lines then tree = nil end
				local path = helper.path "source"
				cli.append(path, table.move(lines, 1, count, 1, {}))
				return path, count, tree
			end

			for _, stream in ipairs(streams) do
				it(("has each effect of %s exactly once [X4]"):format(stream.name), function()
					local note = "VIGIA_SEED=" .. SEED
					math.randomseed(SEED)
					local source, count, tree = source_of(stream)
					if not source then return pending(cli.NO_DATA) end
					math.randomseed(SEED)
					local path, store = run(source, count, options, 0)
					assert.equal(0, check_effects(store, count, note))
					local kept = tree_in(store)
					assert(kept == tree_of_events(store), note .. ": the tree is not that of the events")
					if tree then assert(kept == tree, note .. ": the tree is not git's") end
					store:close()
					cli.ok{"verify", "--store", path}
					helper.covered("crashes", "%d kills of transactional watchers", KILLS)
				end)
			end

			it("has each effect once or a letter, and then handles the letters [X4 L1 L2]", function()
				local note = "VIGIA_SEED=" .. SEED
				local source, count = source_of(LONG and cli.history("lua") and streams[2] or streams[1])
				math.randomseed(SEED)
				local path, store = run(source, count, options, 8)
				local letters = check_effects(store, count, note)
				assert(letters > 0, note)
				assert.equal(letters, assert(store:retry_dead_letter("tree")))
				-- Killed while it handles them: at a random moment, later ones later.
				local deadline, pause = helper.now() + 300, 0
				repeat
					local child = helper.child(LIFE, path, source, count, 0, "", 0, math.random(1 << 30), CONFLICT)
					child:expect "ready"
					vigia.sleep(math.random() * pause)
					child:kill()
					pause = pause * 1.2 + 0.002 -- a busy machine handles none in a short life
					letters = check_effects(store, count, note)
					assert(helper.now() < deadline, note .. ": letters are left")
				until letters == 0
				store:close()
				cli.ok{"verify", "--store", path}
				helper.covered("crashes", "%d kills of transactional watchers", KILLS)
			end)
		end)
		::continue::
	end
end
