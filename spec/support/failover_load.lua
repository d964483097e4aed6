-- failover_load.lua - what the processes of cluster_spec.lua do: they append, read, wait, watch, seek and collect while servers fail, and
-- write down what they were told (support/history.lua). A server that is away is no failure of theirs: they go on.

local M = {}

-- Sources for helper.child(source, location, log, who, seed, stop). They end when the file `stop` is there.
local COMMON <const> = [[
local history = require "spec.support.history"
local location, log, who, seed, stop = ...
math.randomseed(math.tointeger(tonumber(seed)))
local record = history.writer(log, who)
local EXPECTED <const> = {store_unreachable = true, store_readonly = true, commit_unknown = true, watcher_owned = true}
local function stops()
	local file = io.open(stop)
	return file and file:close()
end
-- As often as it takes.
local function ask(fn)
	while not stops() do
		local value, err = fn()
		if value ~= nil then return value end
		assert(EXPECTED[err.code], err)
		vigia.sleep(0.05)
	end
	say "end"
	os.exit(true, true)
end
local store <const> = ask(function() return vigia.open(location, {collect = who:find("^w") ~= nil}) end)
]]

-- Appends alone, in lists, with keys, under conditions, for later, and from coroutines that share commits.
M.APPENDER = COMMON .. [[
local calls = 0
local function schedule(id)
	local at = (os.time() + math.random(0, 1)) * 1000000000 + math.random(1000000000)
	record("later", {id = id, at = at})
	if store:schedule(at, "CREATE", "A", id .. ".1") then record("waits", {id = id}) end
end
local function append()
	calls = calls + 1
	local id = who .. "." .. calls
	if math.random(20) == 1 then return schedule(id) end
	if math.random(20) == 1 then store:put("noise", "n", id) end
	local count = math.random(4) == 1 and math.random(5) or 1
	local options, fields = {}, {id = id, count = count}
	local choice = math.random(10)
	if choice == 1 then
		count, fields.count = 1, 1
		options.key = "key-" .. math.random(1000)
		fields.key = options.key
	elseif choice == 2 then
		options.if_last = store:get_latest_event_num()
		fields.if_last = options.if_last
	end
	local events = {}
	for i = 1, count do events[i] = {"CREATE", math.random(3) == 1 and "A" or "B", id .. "." .. i} end
	record("begin", fields)
	local first, last = store:store_events(events, options)
	if first then record("ok", {id = id, first = first, last = last})
	else
		record("failed", {id = id, code = last.code})
		assert(EXPECTED[last.code] or last.code == "sequence_conflict", last)
		vigia.sleep(0.02)
	end
	vigia.sleep(math.random() / 5)
end
say "ready"
local registry = vigia.registry(store, {log = false}) -- the pipe would be full before it is read
for _ = 1, math.random(4) do registry:spawn(function() while not stops() do append() end end) end
assert(registry:run())
say "end"
]]

-- Reads here and there, asks for the last number, waits for what comes.
M.READER = COMMON .. [[
say "ready"
while not stops() do
	local t0, choice = history.now(), math.random(3)
	if choice == 1 then
		local n = store:get_latest_event_num()
		if n then record("latest", {t0 = t0, n = n}) end
	elseif choice == 2 then
		local last = ask(function() return store:get_latest_event_num() end)
		local from = vigia.at_sequence_number(math.random(1, last + 1))
		local answer = ask(function() return store:get_events{event_iterator = from, limit = 50, timeout = 0} end)
		local items = {}
		for i, event in ipairs(answer.events) do items[i] = event.seq_num .. ":" .. event.object end
		if #items > 0 then record("read", {t0 = t0, items = table.concat(items, ",")}) end
	else
		local after = ask(function() return store:get_latest_event_num() end)
		t0 = history.now()
		local answer = store:get_events{event_iterator = vigia.after_sequence_number(after), limit = 1, timeout = 5}
		if answer then
			record("wait", {t0 = t0, after = after, timeout = 5, first = answer.events[1] and answer.events[1].seq_num or 0})
		end
	end
	vigia.sleep(math.random() / 100)
end
say "end"
]]

-- Three watchers: one saved with commits that pass by, one by hand and moved back now and then, one that is transactional and reads
-- what others change.
M.WATCHER = COMMON .. [[
local registry = vigia.registry(store, {log = false}) -- the pipe would be full before it is read
local function start(name, handler, options)
	record("start", {watcher = name})
	return ask(function() return registry:watch(name, handler, options) end)
end
start("batch", function(event) record("handle", {watcher = "batch", n = event.seq_num, tag = event.object, at = event.timestamp}) end,
	{initial_backoff = 0.05})
start("hand", function(event, ctx)
	record("handle", {watcher = "hand", n = event.seq_num, tag = event.object})
	if math.random(50) == 1 then error("now and then") end
	if math.random(40) == 1 and event.seq_num > 1 then
		if ctx.watcher:checkpoint(event.seq_num - 1) then record("saved", {watcher = "hand", n = event.seq_num - 1}) end
	elseif math.random(400) == 1 then
		local n = math.max(event.seq_num - math.random(30), 0)
		record("seek", {watcher = "hand", n = n})
		ctx.watcher:seek_to_offset(n)
	end
end, {checkpoint = "manual", initial_backoff = 0.05})
start("effects", function(event, ctx)
	record("effect", {watcher = "effects", n = event.seq_num})
	local count, err = ctx.tx:get("effects", event.seq_num)
	local done = not err and ctx.tx:put("effects", event.seq_num, (count or 0) + 1)
	if done then ctx.tx:get("noise", "n") end
	if not done or math.random(20) == 1 then
		record("fails", {watcher = "effects", n = event.seq_num})
		error(done and "now and then" or err, 0)
	end
end, {transactional = true, retry_strategy = "dead_letter", max_retries = 2, initial_backoff = 0.05})
say "ready"
assert(registry:run())
-- No watcher runs any more.
for _, name in ipairs{"batch", "hand", "effects"} do say(name .. " " .. registry:get_watcher(name):stats().last_error.code) end
]]

return M
