-- failures.lua - a program, run with spec/c/failures/fail.c preloaded: each scenario again and again, with the first call of a kind
-- failing, then the second, and so on until none failed; and the same with all calls from there on failing. Arguments: a folder, then
-- "kind:error" or "lua". Prints "ok NAME KIND ERROR: COUNT" or "not ok ...".
--
-- After each failure: the error has a code and names the cause; no descriptor and no thread is left; what was acknowledged is there; the
-- store verifies, and takes events now that the fault is gone.

local core = require "vigia.core"
local fail = require "fail"
local lfs = require "lfs"
local verdict = require "spec.support.failures_verdict"
local vigia = require "vigia"

local folder = arg[1]
local LIST <const> = 5

-- Raised by a step that could not be done; what the scenario returns.
local Failure = {}
Failure.__index = Failure
Failure.__tostring = function(self) return tostring(self.err) end

local function need(value, ...)
	if value == nil or value == false then error(setmetatable({err = (...)}, Failure), 2) end
	return value, ...
end

---- scenarios: functions of a path and a table `acked`, number -> object; before(path) prepares what no fault concerns. acked.check(store)
---- looks at the file afterwards, and returns a complaint or nil. ----

local function fill(path)
	local store <close> = assert(vigia.open(path, {collect = false}))
	local list = {}
	for i = 1, LIST do list[i] = {"CREATE", "Old", i} end
	assert(store:store_events(list))
	assert(store:store_checkpoint("old", 2))
end

local function with_store(options, body)
	return function(path, acked)
		local given = {collect = false}
		for name, value in pairs(options) do given[name] = value end
		local store <close> = need(vigia.open(path, given))
		body(store, acked, path)
	end
end

local function append(store, acked, object, options)
	local n = need(store:store_event("CREATE", "New", object, options))
	if n ~= true then acked[n] = object end
end

local function fill_beside_script(path)
	fill(path)
	local file <close> = assert(io.open(path .. ".lua", "w"))
	file:write("return function() end")
end

-- Drive a watcher until `done()`.
local function drive(registry, done)
	local until_time = core.monotonic() + 10
	while not done() do
		need(registry:step(0.05) ~= nil, "a step failed")
		assert(core.monotonic() < until_time, "the watcher does not come to its end")
	end
end

-- Each old event up to the watcher's checkpoint has had its effects once, or has a letter, if it may; a later one has neither.
local function check_effects(may_have_letter, may_be_dropped)
	return function(store)
		local checkpoint, letters, outputs = store:get_checkpoint("w") or 0, {}, {}
		for _, letter in ipairs(assert(store:dead_letters())) do letters[letter.seq_num] = 1 end
		for _, event in ipairs(assert(store:get_events{timeout = 0, filter = {object_types = {"Output"}}}).events) do
			outputs[event.object] = (outputs[event.object] or 0) + 1
		end
		for n = 1, LIST do
			local effects, letter = store:get("effects", n) or 0, letters[n] or 0
			if effects ~= (outputs[n] or 0) then return ("event %d has %d effects and %d events"):format(n, effects, outputs[n] or 0) end
			if letter > 0 and not may_have_letter[n] then return ("event %d has a letter"):format(n) end
			local wanted = n <= checkpoint and 1 or 0
			if effects + letter ~= wanted and not (effects + letter == 0 and may_be_dropped[n]) then
				return ("event %d has %d effects and %d letters at the checkpoint %d"):format(n, effects, letter, checkpoint)
			end
		end
	end
end

local function effect(event, ctx)
	assert(ctx.tx:put("effects", event.seq_num, (ctx.tx:get("effects", event.seq_num) or 0) + 1))
	assert(ctx.tx:store_event("CREATE", "Output", event.seq_num))
end

local EFFECTS <const> = {transactional = true, filter = {object_types = {"Old"}}, initial_backoff = 0.001, max_backoff = 0.001,
	retry_strategy = "dead_letter", max_retries = 2}

local SCENARIOS <const> = {
	{"a new store", with_store({}, function(store, acked) append(store, acked, "a") end), before = function() end},
	{"appends", with_store({}, function(store, acked)
		append(store, acked, "a")
		append(store, acked, ("x"):rep(20000))
	end)},
	{"a list", with_store({}, function(store, acked)
		local events = {}
		for i = 1, 50 do events[i] = {"UPDATE", "New", "list" .. i} end
		local first = need(store:store_events(events))
		for i = 1, 50 do acked[first + i - 1] = "list" .. i end
	end)},
	{"conditions", with_store({}, function(store, acked)
		append(store, acked, "keyed", {key = "k"})
		append(store, acked, "keyed", {key = "k"})
		append(store, acked, "last", {if_last = need(store:get_latest_event_num())})
	end)},
	{"reads", with_store({}, function(store)
		need(store:get_events{timeout = 0, filter = {object_types = {"Old"}}})
		need(store:get_event(1))
		need(store:get_oldest_event_num())
		need(store:find_time(0))
		need(store:stats())
	end)},
	{"a wait", with_store({}, function(store)
		need(store:get_events{timeout = 0.02, event_iterator = vigia.latest()})
	end)},
	{"checkpoints", with_store({}, function(store)
		need(store:store_checkpoint("a", 3))
		need(store:get_checkpoint("a"))
		need(store:checkpoints())
		need(store:delete_checkpoint("a"))
	end)},
	{"a trim", with_store({}, function(store, acked)
		acked.oldest = 3
		need(store:trim(2))
		need(store:gc())
	end)},
	{"timers", retries = true, with_store({}, function(store)
		local id = need(store:schedule({after = 3600}, "CREATE", "Later", "a", {key = "k"}))
		need(store:schedule({after = 3600}, "CREATE", "Later", ("x"):rep(20000)))
		assert(#need(store:scheduled()) == 2, "a timer that was acknowledged is not there")
		assert(need(store:schedule({after = 3600}, "CREATE", "Later", "b", {key = "k"})) == id)
		need(store:unschedule(id))
	end)},
	{"settings", with_store({}, function(store) need(store:configure{gc_cadence = 77}) end)},
	{"a backup", with_store({}, function(store, _, path) need(store:backup(path .. ".copy")) end)},
	{"an export", with_store({}, function(store, _, path) need(store:export(path .. ".export")) end)},
	{"an import", function(path)
		local target <close> = need(vigia.open(path .. ".copy", {collect = false}))
		need(target:import(path .. ".export"))
		assert(need(target:get_latest_event_num()) == LIST)
	end, before = function(path)
		fill(path)
		local store <close> = assert(vigia.open(path, {collect = false}))
		assert(store:export(path .. ".export"))
	end},
	{"interval", function(path, acked)
		local store <close> = need(vigia.open(path, {durability = "interval", commit_interval = 5, collect = false}))
		local first = need(store:get_latest_event_num()) + 1
		for i = 1, 3 do need(store:store_event("CREATE", "New", "q" .. i)) end
		need(store:sync())
		for i = 1, 3 do acked[first + i - 1] = "q" .. i end
	end, before = function(path)
		local store <close> = assert(vigia.open(path, {durability = "interval", commit_interval = 5, collect = false}))
		assert(store:store_event("CREATE", "Old", 1))
		assert(store:sync())
	end},
	{"a watcher", retries = true, with_store({}, function(store, acked)
		local registry = need(vigia.registry(store, {log = function() end}))
		local seen, failed = 0, nil
		local watcher = need(registry:watch("w", function(event, ctx)
			seen = math.max(seen, event.seq_num)
			if event.seq_num == LIST then
				local n, err = ctx.store:store_event("CREATE", "New", "from a handler")
				if n then acked[n] = "from a handler" else failed = err end
			end
			if event.seq_num >= LIST then ctx.watcher:stop() end
		end, {initial_backoff = 0.001, max_backoff = 0.001}))
		local until_time = core.monotonic() + 10
		while watcher:stats().state ~= "stopped" do
			need(registry:step(0.05) ~= nil, "a step failed")
			assert(core.monotonic() < until_time, "the watcher does not come to its end")
		end
		need(registry:stop{timeout = 5})
		assert(seen >= LIST, "the watcher missed events")
		need(not failed, failed)
	end)},
	{"a transactional watcher", retries = true, with_store({checkpoint_interval = 0.01}, function(store, acked)
		acked.check = check_effects({}, {})
		local registry = need(vigia.registry(store, {log = function() end}))
		local runs, seen = 0, 0
		local watcher = need(registry:watch("w", function(event, ctx)
			effect(event, ctx)
			assert(ctx.tx:put("effects", "last", (ctx.tx:get("effects", "last") or 0) + 1))
			if event.seq_num == 2 then runs = runs + 1 end
			if event.seq_num == 2 and runs == 1 then assert(ctx.store:put("effects", "last", 100)) end -- a conflict
			seen = math.max(seen, event.seq_num)
		end, EFFECTS))
		drive(registry, function() return seen >= LIST and watcher:stats().lag == 0 end)
		need(registry:stop{timeout = 5})
	end)},
	{"dead letters", retries = true, with_store({}, function(store, acked)
		local may_be_dropped = {}
		acked.check = check_effects({[2] = true, [4] = true}, may_be_dropped)
		local registry = need(vigia.registry(store, {log = function() end}))
		local seen, again = 0, false
		local watcher = need(registry:watch("w", function(event, ctx)
			again = again or ctx.dead_letter ~= nil -- once: if it fails, the letter stays
			effect(event, ctx)
			seen = math.max(seen, event.seq_num)
			if not ctx.dead_letter and event.seq_num % 2 == 0 then error("never") end
		end, EFFECTS))
		drive(registry, function() return seen >= LIST and watcher:stats().lag == 0 end)
		assert(watcher:stats().dead_lettered == 2, "two events were not put aside")
		assert(#need(store:dead_letters()) == 2, "a letter is lost")
		assert(need(store:retry_dead_letter("w", 2)) == 1)
		drive(registry, function() return again and watcher:stats().blocked_on == nil end)
		may_be_dropped[4] = true
		need(store:drop_dead_letter("w", 4))
		need(registry:stop{timeout = 5})
	end)},
	{"coroutines", with_store({}, function(store, acked)
		local registry = need(vigia.registry(store, {log = function() end}))
		local failed
		for i = 1, 3 do
			registry:spawn(function()
				local n, err = store:store_event("CREATE", "New", "co" .. i)
				if n then acked[n] = "co" .. i else failed = err end
			end)
		end
		need(registry:run())
		need(registry:stop{timeout = 5})
		need(not failed, failed)
	end)},
	{"a script", retries = true, with_store({}, function(store, _, path)
		local registry = need(vigia.registry(store, {log = function() end}))
		local watcher = need(registry:watch("s", path .. ".lua", {initial_backoff = 0.001, max_backoff = 0.001}))
		local until_time = core.monotonic() + 10
		while watcher:stats().last_processed_seq_num < LIST do
			need(registry:step(0.05) ~= nil, "a step failed")
			assert(core.monotonic() < until_time, "the script does not come to its end")
		end
		need(registry:stop{timeout = 5})
	end), before = fill_beside_script},
	-- A single failure Lua survives: it collects, and asks again.
	{"the load of a capped script", lasting = true, with_store({}, function(store, _, path)
		local registry = need(vigia.registry(store, {log = function() end}))
		need(registry:watch("s", path .. ".lua", {memory_limit = 1 << 26, ephemeral = true}))
		need(registry:stop{timeout = 5})
	end), before = fill_beside_script},
	{"a descriptor to poll", with_store({}, function(store, acked)
		local registry = need(vigia.registry(store, {log = function() end}))
		need(registry:pollfd())
		append(store, acked, "polled")
		need(registry:step(0) ~= nil, "a step failed")
		need(registry:stop{timeout = 5})
	end)},
	{"reading only", function(path)
		local store <close> = need(vigia.open(path, {readonly = true}))
		need(store:get_events{timeout = 0})
	end},
	{"memory", function(_, acked)
		local store <close> = need(vigia.open(":memory:"))
		need(store:store_event("CREATE", "New", "m", {key = "k"}))
		need(store:store_checkpoint("a", 1))
		need(store:trim(1))
		acked.memory = true
	end},
}

---- one run ----

local function remove(path)
	for _, suffix in ipairs{"", "-lock", "-side", ".lua", ".copy", ".copy-lock", ".copy-side", ".export"} do os.remove(path .. suffix) end
end

-- What the file holds now: complaints, or nil.
local function look(path, acked, existed)
	if not existed and not lfs.attributes(path, "mode") then return end
	local store <close>, err = vigia.open(path, {collect = false})
	if not store then return "it does not open again: " .. tostring(err) end
	local found, last = {}, nil
	local from = vigia.trim_horizon()
	repeat
		local answer = assert(store:get_events{event_iterator = from, timeout = 0})
		for _, event in ipairs(answer.events) do
			if last and event.seq_num ~= last + 1 then return "a hole before " .. event.seq_num end
			last = event.seq_num
			found[last] = event.object
		end
		from = answer.next_event_iterator
	until #answer.events == 0
	for n, object in pairs(acked) do
		if math.type(n) == "integer" and found[n] ~= object then
			return ("%d was acknowledged and is %s"):format(n, tostring(found[n]))
		end
	end
	local wrong = acked.check and acked.check(store)
	if wrong then return wrong end
	if not store:store_event("CREATE", "New", "afterwards") then return "it takes no events afterwards" end
end

local function explain(result, number)
	if getmetatable(result) ~= Failure then
		-- Lua raises when memory for a value of its own cannot be had; so does the binding when it is C's.
		if number == fail.ENOMEM and tostring(result):find("not enough memory", 1, true) then return true end
		return nil, "it raised: " .. tostring(result)
	end
	if type(result.err) == "string" then return nil, result.err end
	return verdict.names_cause(result.err, number)
end

-- After these the pages are looked at, too, now and then.
local WRITES <const> = {write = true, short = true, sync = true, truncate = true}

local runs = 0
-- One scenario with its n-th call failing; the number of calls that failed, or nil and a complaint.
local function run_one(scenario, kind, number, n, forever)
	local body, before = scenario[2], scenario.before or fill
	local path = folder .. "/store"
	remove(path)
	before(path)
	local fds, threads = verdict.left_open()
	local acked = {}
	runs = runs + 1
	fail.arm(kind, n, number, forever)
	local ok, result = pcall(body, path, acked)
	local hits = fail.disarm()
	local where = ("at call %d%s: "):format(n, forever and " and all behind it" or "")
	if not ok then
		if hits == 0 then return nil, where .. "it fails without a fault: " .. tostring(result) end
		local good, why = explain(result, number)
		if not good then return nil, where .. why end
		-- "Interrupted" is no reason to fail.
		if number == fail.EINTR and not forever then return nil, where .. "an interruption became an error: " .. tostring(result) end
	end
	local fds_after, threads_after = verdict.left_open()
	if fds_after ~= fds then return nil, where .. ("%d descriptors are left open"):format(fds_after - fds) end
	if threads_after ~= threads then return nil, where .. ("%d threads are left"):format(threads_after - threads) end
	if not acked.memory then
		local wrong = look(path, acked, scenario.before == nil)
		if not wrong and hits > 0 and WRITES[kind] and runs % 8 == 0 and lfs.attributes(path, "mode") then wrong = verdict.damaged(path) end
		if wrong then return nil, where .. wrong end
	end
	return hits
end

---- the allocations of a Lua state ----

-- Each allocation of a state is failed in turn, and each run goes as far as that: several short ones take less than a long one.
local LUA_SOURCES <const> = {}

LUA_SOURCES[1] = {"all of a store and a registry", [[
local path = ...
local vigia = require "vigia"
local need = assert
arm()
for _, where in ipairs{path, ":memory:"} do
	local store <close> = need(vigia.open(where, {collect = false, cache_size = 8}))
	need(store:store_event("CREATE", "Job", {a = {1, 2, {b = vigia.null}}, c = vigia.array{}, d = 1.5, e = "text"}))
	need(store:store_events{{"UPDATE", "Job", {1, 2, 3}}, {operation = "DELETE", object_type = "Job", object = "x"}})
	local answer = need(store:get_events{timeout = 0, filter = {object_types = {"Job"}}, where = function() return true end})
	need(vigia.to_json(answer.events[1]))
	need(tostring(answer.next_event_iterator))
	need(store:store_checkpoint("a", 1))
	need(store:checkpoints())
	need(store:holds())
	need(store:stats())
	local _, err = store:get_checkpoint("nobody")
	need(tostring(err) and err.code and (err.message or true))
	local registry = need(vigia.registry(store, {log = function() end}))
	local seen = 0
	local watcher = need(registry:watch("w", function(event, ctx)
		seen = seen + 1
		if seen == 2 then error {"now and then"} end
		vigia.sleep(0)
		if event.seq_num == 3 then ctx.watcher:stop() end
	end, {initial_backoff = 0.001, where = function(event) return event.object ~= nil end}))
	registry:spawn(function() store:store_event("CREATE", "Job", "from a task") end)
	for _ = 1, 200 do
		need(registry:step(0.01) ~= nil)
		if watcher:stats().state == "stopped" then break end
	end
	need(watcher:stats())
	need(registry:stop{timeout = 5})
end
disarm()
return "done"
]]}

LUA_SOURCES[2] = {"what concerns the file", [[
local path = ...
local vigia = require "vigia"
local need = assert
arm()
local store <close> = need(vigia.open(path, {collect = false}))
need(store:configure{gc_cadence = 77, max_events = 1000})
need(store:trim(1))
need(store:gc())
need(store:backup(path .. ".copy", {compact = true}))
need(store:find_time(0))
need(store:get_oldest_event_num())
need(store:sync())
need(store:delete_checkpoint("old"))
disarm()
return "done"
]]}

LUA_SOURCES[3] = {"types and serializers", [[
local vigia = require "vigia"
local need = assert
arm()
need(vigia.register_type("Job", {__index = {}, __name = "Job"}))
need(vigia.is_type_registered("Job"))
local serializer = {name = "words", strict = true, marshal = function(object) return object.word end,
	unmarshal = function(text) return {word = text} end}
local store <close> = need(vigia.open(":memory:", {serializer = serializer}))
need(store:store_event("CREATE", "Job", {word = "one"}))
need(store:store_events{{"UPDATE", "Job", {word = "two"}}, {operation = "DELETE", object_type = "Job", object = {word = "three"}}})
assert(need(store:get_event(1)).object.word == "one")
assert(#need(store:get_events{timeout = 0}).events == 3)
local registry = need(vigia.registry(store, {log = function() end}))
local watcher = need(registry:watch("w", function(event, ctx)
	if event.seq_num == 3 then ctx.watcher:stop() end
end, {initial_backoff = 0.001}))
for _ = 1, 200 do
	need(registry:step(0.01) ~= nil)
	if watcher:stats().state == "stopped" then break end
end
disarm()
return "done"
]]}

LUA_SOURCES[4] = {"a store in Lua", [[
local vigia = require "vigia"
local wrapper = require "vigia.wrapper"
local need = assert
arm()
local inner <close> = need(vigia.open(":memory:"))
local store = need(wrapper.new(inner, {encode = function(object) return {object} end, decode = function(object) return object[1] end,
	keep = function(event) return event.object ~= "hidden" end}))
need(store:store_event("CREATE", "Job", "one"))
need(store:store_events{{"CREATE", "Job", "hidden"}, {"CREATE", "Job", "two"}})
need(store:get_event(1))
assert(#need(store:get_events{timeout = 0}).events == 2)
local registry = need(vigia.registry(store, {log = function() end}))
local watcher = need(registry:watch("w", function(event, ctx)
	if event.seq_num == 3 then ctx.watcher:stop() end
end, {initial_backoff = 0.001, filter = {object_types = {"Job"}}}))
for _ = 1, 200 do
	need(registry:step(0.01) ~= nil)
	if watcher:stats().state == "stopped" then break end
end
need(watcher:stats())
need(registry:stop{timeout = 5})
disarm()
return "done"
]]}

LUA_SOURCES[5] = {"a script", before = function(path)
	local file <close> = assert(io.open(path .. ".lua", "w"))
	file:write("return function() end")
end, [[
local path = ...
local vigia = require "vigia"
local need = assert
local store <close> = need(vigia.open(":memory:"))
need(store:store_event("CREATE", "Job", 1))
arm()
local registry = need(vigia.registry(store, {log = function() end}))
local watcher = need(registry:watch("s", path .. ".lua", {set = {names = {"a", "b"}}, filter = {object_types = {"Job"}}, reload = true,
	memory_limit = 8 << 20, libraries = {"string"}, initial_event_iterator = vigia.at_sequence_number(1)}))
for _ = 1, 1000 do
	need(registry:step(0.01) ~= nil)
	if watcher:stats().processed > 0 then break end
end
need(registry:get_watcher("s"))
need(registry:stop{timeout = 5})
disarm()
return "done"
]]}

-- The n-th allocation fails; whether there was one, or nil and a complaint.
local function run_state(source, n)
	local path = folder .. "/store"
	remove(path)
	fill(path)
	if source.before then source.before(path) end
	local fds, threads = verdict.left_open()
	runs = runs + 1
	local reached, result, raised = fail.state(source[2], n, package.path, package.cpath, path)
	local where = ("at allocation %d: "):format(n)
	if not result then
		if not reached then return nil, where .. "it fails without a fault: " .. raised end
		if not raised:find "memory" then return nil, where .. "it does not name the cause: " .. raised end
	end
	local fds_after, threads_after = verdict.left_open()
	if fds_after ~= fds then return nil, where .. ("%d descriptors are left open"):format(fds_after - fds) end
	if threads_after ~= threads then return nil, where .. ("%d threads are left"):format(threads_after - threads) end
	if n % 8 == 0 then
		local wrong = look(path, {}, true)
		if wrong then return nil, where .. wrong end
	end
	return reached
end

---- all of it ----

local only = os.getenv "FAILURES_ONLY"
for i = 2, #arg do
	if arg[i] == "lua" then
		for _, source in ipairs(LUA_SOURCES) do
			local n, reached, complaint = 0
			if only and only ~= source[1] then goto continue end
			repeat
				n = n + 1
				reached, complaint = run_state(source, n)
			until not reached
			print(complaint and ("not ok %s, %s"):format(source[1], complaint) or ("ok %s: %d"):format(source[1], n - 1))
			io.stdout:flush()
			::continue::
		end
		return
	end
	local kind, name = arg[i]:match "^(%w+):(%w+)$"
	local number = assert(fail[name], arg[i])
	for _, scenario in ipairs(SCENARIOS) do
		local total, complaint = 0, nil
		for _, forever in ipairs(scenario.lasting and {true} or {false, true}) do
			local n = 1
			-- A call that is interrupted for ever is made for ever, and a watcher tries until it succeeds.
			local ends = not forever or number ~= fail.EINTR and not scenario.retries
			while ends and not complaint and not (only and only ~= scenario[1]) do
				local hits
				hits, complaint = run_one(scenario, kind, number, n, forever)
				if hits == 0 then break end
				total, n = total + 1, n + 1
			end
		end
		if complaint then print(("not ok %s, %s %s %s"):format(scenario[1], kind, name, complaint))
		else print(("ok %s, %s %s: %d"):format(scenario[1], kind, name, total)) end
		io.stdout:flush()
	end
end
