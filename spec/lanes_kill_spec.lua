-- lanes_kill_spec.lua - a transactional watcher with lanes, killed by SIGKILL again and again, with another number of lanes and another
-- kind of key in each life: each event has its effect once, and each key's events have theirs in order.
--
-- VIGIA_SEED repeats a run's choices.

local helper = require "spec.helper"
local vigia = require "vigia"

local SEED <const> = math.tointeger(tonumber(os.getenv("VIGIA_SEED"))) or os.time()
local LONG <const> = os.getenv("VIGIA_SOAK") ~= nil
local EVENTS <const>, KEYS <const> = LONG and 6000 or 900, 40
local KILLS <const> = LONG and 60 or 10

-- Arguments: the store, the number of lanes, "path" or "function", "thread" or "function" for the handler, a seed.
local LIFE <const> = [[
local path, lanes, key, how, seed = ...
lanes = tonumber(lanes)
math.randomseed(tonumber(seed))
local store = assert(vigia.open(path))
local registry = vigia.registry(store, {log = function() end})
local options = {transactional = true, initial_backoff = 0, batch_size = 5}
if lanes > 1 then
	options.lanes = lanes
	options.lane_key = key == "path" and "object.key" or function(event) return event.object.key end
end
local handle = HANDLE
if how == "thread" then
	options.lane_key, options.set = nil, {lanes = lanes, key = key}
	assert(registry:watch("laned", SCRIPT, options))
else
	assert(registry:watch("laned", handle, options))
end
say "ready"
assert(registry:run())
]]

local HANDLE <const> = [[function(event, ctx)
	local tx, n, key = ctx.tx, event.seq_num, event.object.key
	if math.random(4) == 1 then require("vigia").sleep(math.random() / 300) end
	assert(tx:put("done", n, (tx:get("done", n) or 0) + 1))
	if (tx:get("last", key) or 0) >= n then assert(tx:put("wrong", n, key)) end
	assert(tx:put("last", key, n))
	if math.random(25) == 1 then error("now and then") end
end]]

local SCRIPT <const> = ([[
local set = (...).set
return {
	lanes = set.lanes > 1 and set.lanes or nil,
	lane_key = set.key == "path" and "object.key" or function(event) return event.object.key end,
	handle = HANDLE,
}
]]):gsub("HANDLE", function() return HANDLE end)

for _, how in ipairs{"function", "thread"} do
	for _, durability in ipairs{"commit", "none"} do
		describe(("a watcher with lanes, as a %s at durability %q, that is killed"):format(how, durability), function()
			after_each(helper.clean)

			it("has each effect once, and those of a key in order, whatever its lanes [K3 X4]", function()
				local note = "VIGIA_SEED=" .. SEED
				math.randomseed(SEED)
				local path, script = helper.path "t.vigia", helper.write_file("laned.lua", SCRIPT)
				local life = LIFE:gsub("HANDLE", function() return HANDLE end):gsub("SCRIPT", function() return ("%q"):format(script) end)
				local store = helper.open(path, {durability = durability})
				local stored = 0
				local function append(count)
					local events = {}
					for i = 1, count do events[i] = {"CREATE", "Job", {key = math.random(KEYS)}} end
					assert(store:store_events(events))
					stored = stored + count
				end
				local lanes, ranges, last = {8, 3, 8, 1, 5}, 0, 0
				for kill = 1, KILLS do
					if kill % 2 == 1 then append(2 * EVENTS // KILLS) end -- else nobody writes between two lives
					local child = helper.child(life, path, lanes[kill % #lanes + 1], math.random(2) == 1 and "path" or "function", how,
						math.random(1 << 30))
					child:expect "ready"
					local upto = last + math.random(0, math.max(stored - last - 1, 0))
					assert(store:wait_for("laned", math.max(upto, 1), 60), note)
					vigia.sleep(math.random() / 200)
					child:kill()
					last = assert(store:get_checkpoint("laned"))
					if #assert(store:range("done")) > last then ranges = ranges + 1 end
				end
				local child = helper.child(life, path, 4, "path", how, 1)
				assert(store:wait_for("laned", stored, 60), note)
				child:kill()
				local done = assert(store:range("done"))
				assert.equal(stored, #done, note)
				for n, row in ipairs(done) do assert.same({n, 1}, {row.key, row.value}, note) end
				assert.same({}, store:range("wrong"), note)
				assert(ranges > 0, note .. ": no kill found events that were finished above the checkpoint")
				helper.covered("crashes", "%d kills of watchers with lanes", KILLS)
			end)
		end)
	end
end
