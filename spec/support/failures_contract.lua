-- failures_contract.lua - a program, run with spec/c/failures/fail.c preloaded: each spec of the suite that all stores pass
-- (spec/store_contract.lua) again and again, with the first call of a kind failing, then the second, and so on until none failed.
-- Arguments: a folder; a seed, "ways" or "all"; then "kind:error" once or more. Prints "ok: COUNT failures in COUNT specs" or "not ok ...".
--
-- With "all" each call of a spec fails once, and the first of those that came about in one way (the same functions of ours) also together
-- with all calls behind it. With "ways" each way fails in the first spec that has it. With a seed it is a sample, of so much processor
-- time as $FAILURES_SECONDS says.
--
-- "all" and "ways" say how far they are; $FAILURES_FROM is the spec that a next run begins with, so that a long one can be made in pieces.
-- With $FAILURES_EVERY "all" takes each N-th call of a spec only, another one in each spec, besides the ways.
--
-- A spec that fails then must have been given an error that names the cause: the suite is a caller that expects no failure, and stops at
-- the first. After each run: no block of memory, descriptor and thread is left; a handle that is open still takes events; the file
-- verifies, holds what was acknowledged, and takes events. The last run of each spec is without a fault, and must pass.

local core = require "vigia.core"
local fail = require "fail"
local lfs = require "lfs"
local verdict = require "spec.support.failures_verdict"
local vigia = require "vigia"

local folder, seed = arg[1], arg[2]
-- A spec that takes more seconds than SLOW (under a sanitizer, say) fails once in each way, with "all". These are slow on any machine: no
-- sample has them.
local SLOW <const> = tonumber(os.getenv "FAILURES_SLOW") or 1
local SLOW_ONES <const> = {S8a = true, S8b = true, S8d = true, S14e = true}
local FROM <const> = tonumber(os.getenv "FAILURES_FROM") or 1
local EVERY <const> = tonumber(os.getenv "FAILURES_EVERY") or 1
local LAST_WORD <const> = folder .. "/last" -- what runs just now, for whoever finds that this program crashed

---- the suite, as a list ----

-- What the suite calls of busted: here it only writes down.
local specs, groups = {}, {}
package.preload["busted"] = function()
	local function in_group(field)
		return function(body) table.insert(groups[#groups][field], body) end
	end
	return {
		describe = function(name, body)
			groups[#groups + 1] = {name = name, before = {}, after = {}}
			body()
			groups[#groups] = nil
		end,
		it = function(name, body)
			local spec = {name = name .. " (" .. groups[1].name:match "in %a+ ?%a*$" .. ")", body = body, before = {}, after = {}, ids = {}}
			for id in (name:match "%[([^%]]+)%]$" or ""):gmatch "%w+" do spec.ids[id] = true end
			for _, group in ipairs(groups) do
				spec.before[#spec.before + 1], spec.after[#spec.after + 1] = group.before, group.after
			end
			specs[#specs + 1] = spec
		end,
		before_each = in_group "before",
		after_each = in_group "after",
	}
end
local helper = require "spec.helper"
helper.pending = function() end

---- what the product returns is written down ----

local noted -- of the run: errors, stores, what was acknowledged

local function note(...)
	local value, err = ...
	if noted and value == nil and type(err) == "table" and err.code then noted.errors[#noted.errors + 1] = err end
	return ...
end

-- A value as it was when it was stored: specs change it afterwards.
local function copy(value)
	if type(value) ~= "table" then return value end
	local result = vigia.is_array(value) and vigia.array{} or {}
	for key, inner in pairs(value) do result[key] = copy(inner) end
	return result
end

local ACKED_MAX <const> = 300 -- of a list, the first ones
local after_append = {
	store_event = function(this, given, number, existed)
		if math.type(number) == "integer" and not existed then this.acked[number] = {given[3]} end
	end,
	store_events = function(this, given, first, last, existed)
		if math.type(first) ~= "integer" or existed then return end
		for i = 1, math.min(last - first + 1, ACKED_MAX) do
			local event = given[1][i]
			this.acked[first + i - 1] = {event.operation and event.object or event[3]}
		end
	end,
}

-- Instead of the methods of a class: the same, and what they answer is written down.
local watched = {}
local function watch_methods(object)
	local methods = debug.getmetatable(object).__index
	if type(methods) ~= "table" or watched[methods] then return end
	watched[methods] = true
	for name, method in pairs(methods) do
		local appended = after_append[name]
		if appended then
			methods[name] = function(self, ...)
				local this = noted and noted.stores[self]
				local given = this and copy(table.pack(...))
				local answer = table.pack(note(method(self, ...)))
				if this then appended(this, given, table.unpack(answer, 1, answer.n)) end
				return table.unpack(answer, 1, answer.n)
			end
		elseif name == "trim" then
			methods[name] = function(self, number, ...)
				local this = noted and noted.stores[self]
				if this and math.type(number) == "integer" then this.trimmed = math.max(this.trimmed, number) end
				return note(method(self, number, ...))
			end
		elseif name == "watch" then
			-- A handler that met a failure is called again at once.
			methods[name] = function(self, id, body, options)
				local given = {initial_backoff = 0.001, max_backoff = 0.001}
				for option, value in pairs(options or {}) do given[option] = value end
				return note(method(self, id, body, given))
			end
		elseif type(method) == "function" then
			methods[name] = function(...) return note(method(...)) end
		end
	end
end

local real_open, real_registry, real_remove = vigia.open, vigia.registry, helper.remove
vigia.open = function(path, options)
	local store, err = real_open(path, options)
	if store then
		watch_methods(store)
		if noted then
			noted.stores[store] = {path = path, acked = {}, trimmed = 0}
			noted.order[#noted.order + 1] = store
		end
	end
	return note(store, err)
end
vigia.registry = function(store, options)
	local given = {}
	for name, value in pairs(options or {}) do given[name] = value end
	given.log = function(_, message)
		if noted then noted.errors[#noted.errors + 1] = setmetatable({code = "handler_error"}, {__tostring = function() return message end}) end
	end
	if noted then noted.drives = true end
	local registry, err = real_registry(store, given)
	if registry then watch_methods(registry) end
	return note(registry, err)
end

---- after a run ----

-- What was acknowledged by the handles of one path, but for what was removed.
local function acknowledged(path)
	local all, trimmed = {}, 0
	for _, store in ipairs(noted.order) do
		local this = noted.stores[store]
		if this.path == path then
			for number, object in pairs(this.acked) do all[number] = object end
			trimmed = math.max(trimmed, this.trimmed)
		end
	end
	for number in pairs(all) do
		if number <= trimmed then all[number] = nil end
	end
	return all
end

-- Complaints about a handle that is still open, now that the fault is gone.
local function goes_on(store)
	local stats, err = store:stats()
	if not stats then return err.code ~= "store_closed" and "a handle has no stats afterwards: " .. tostring(err) or nil end
	local number
	number, err = store:store_event("CREATE", "After", nil)
	if not number then return "a handle takes no events afterwards: " .. tostring(err) end
	if number == true then
		number, err = store:sync()
		if not number then return "a handle commits nothing afterwards: " .. tostring(err) end
	end
end

local function look(path, deep)
	local store <close>, err = real_open(path, {collect = false})
	if not store then return "it does not open again: " .. tostring(err) end
	local acked, from, last = acknowledged(path), vigia.trim_horizon(), nil
	repeat
		local answer = assert(store:get_events{event_iterator = from, timeout = 0, limit = 1000})
		for _, event in ipairs(answer.events) do
			if last and event.seq_num ~= last + 1 then return "a hole before " .. event.seq_num end
			last = event.seq_num
			local expected = acked[last]
			if expected then
				local difference = helper.difference(event.object, expected[1])
				if difference then return ("%d was acknowledged as another event: %s"):format(last, difference) end
				acked[last] = nil
			end
		end
		from = answer.next_event_iterator
	until #answer.events == 0
	local missing = next(acked)
	if missing then return missing .. " was acknowledged and is not there" end
	local number = store:store_event("CREATE", "After", nil)
	if not number then return "it takes no events afterwards" end
	if number == true then assert(store:sync()) end
	local found = deep and verdict.damaged(path)
	if found and not found:find "checkpoint .*beyond the last event" then return found end -- the suite stores such checkpoints
end

---- one run ----

local runs = 0

-- One spec with its n-th call failing, or all from there on; with nil for n no call fails. How many did, or nil and a complaint.
-- `counted`: the caller counts the memory that is lost.
local AGAIN <const> = {5, 20, 60}
local run_spec
function run_spec(spec, kind, number, n, forever, counted)
	runs = runs + 1
	local fds, threads = verdict.left_open()
	noted = {errors = {}, stores = {}, order = {}}
	local complaint
	-- helper.clean closes everything and removes the folder: in between it is looked at.
	helper.remove = function(path)
		if not complaint then
			local seen = {}
			for _, store in ipairs(noted.order) do
				local file = noted.stores[store].path
				if file ~= ":memory:" and not seen[file] and lfs.attributes(file, "mode") then
					seen[file] = true
					complaint = complaint or look(file, runs % 8 == 0)
				end
			end
		end
		real_remove(path)
	end
	if not counted then fail.track() end
	if n then fail.arm(kind, n, number, forever) end
	local ok, result = xpcall(function()
		for _, group in ipairs(spec.before) do
			for _, body in ipairs(group) do body() end
		end
		spec.body()
	end, function(raised)
		return type(raised) == "table" and {raised = raised, trace = ""} or {raised = raised, trace = debug.traceback("", 2)}
	end)
	local hits = n and fail.disarm() or 0
	local errors = noted.errors
	noted.errors = {}
	spec.drives = spec.drives or noted.drives
	for _, store in ipairs(noted.order) do complaint = complaint or goes_on(store) end
	local cleaned, why = pcall(helper.clean)
	if not cleaned then complaint = complaint or "at its end: " .. tostring(why) end
	noted = nil
	local fds_after, threads_after = verdict.left_open()
	local kept = counted and 0 or fail.kept()

	local where = n and ("at call %d%s: "):format(n, forever and " and all behind it" or "") or "without a fault: "
	if not ok then
		local raised = result.raised
		local text = type(raised) == "table" and (raised.message and type(raised.message) == "table" and tostring(raised.message.message or
			raised.message) or tostring(raised)) or tostring(raised)
		if hits == 0 then return nil, where .. "it fails: " .. text .. result.trace end
		if type(raised) == "table" and raised.code then errors[#errors + 1] = raised end
		local wants_memory = text:find("not enough memory", 1, true) or text:find("no memory", 1, true) -- raised, for a bad argument, say
		local named, last_why = number == fail.ENOMEM and wants_memory, "no error was told"
		for _, err in ipairs(errors) do
			local good, complaint_here = verdict.names_cause(err, number)
			named = named or good
			last_why = complaint_here or last_why
		end
		if not named then return nil, where .. last_why .. "; the spec failed: " .. text .. result.trace end
		if number == fail.EINTR and not forever then return nil, where .. "an interruption became an error: " .. text end
	end
	if complaint then return nil, where .. complaint end
	if fds_after ~= fds then return nil, where .. ("%d descriptors are left open"):format(fds_after - fds) end
	if threads_after ~= threads then return nil, where .. ("%d threads are left"):format(threads_after - threads) end
	-- A Lua state keeps buffers for next time, some for each coroutine that appended at the same time: what is lost is lost anew each time.
	if kept ~= 0 and n and not counted then
		local most, whose, lost = kept, nil, true
		for round = 1, #AGAIN do
			fail.track()
			for _ = 1, AGAIN[round] do
				local failed, wrong = run_spec(spec, kind, number, n, forever, true)
				if not failed then return nil, wrong end
			end
			kept, whose = fail.kept()
			lost = lost and kept >= most + AGAIN[round] - 1
			if not lost then break end
		end
		if lost then return nil, where .. ("%d blocks of memory are lost in %d runs, from%s"):format(kept, AGAIN[#AGAIN], whose) end
	end
	return hits
end

-- The calls of a kind in the spec: a list of ways, each the numbers of the calls that came about so; and how many calls there are.
local function calls(spec, kind)
	fail.record(kind)
	local ok, complaint = run_spec(spec)
	fail.disarm()
	if not ok then return nil, complaint end
	local ways, by_hash, recorded = {}, {}, fail.recorded()
	for n, hash in ipairs(recorded) do
		if not by_hash[hash] then
			by_hash[hash] = {hash = hash}
			ways[#ways + 1] = by_hash[hash]
		end
		table.insert(by_hash[hash], n)
	end
	return ways, #recorded
end

---- all of it ----

local opened = 0
require "spec.store_contract"("in memory", function(options) return helper.memory(options) end)
require "spec.store_contract"("in a file", function(options, again)
	if not again then opened = opened + 1 end
	return helper.open(helper.path("store" .. opened), options)
end)

local say = io.open(LAST_WORD, "w")
say:setvbuf "no"
local function tell(spec, kind, name, n)
	say:seek "set"
	say:write(("%s, %s %s at call %s\n"):format(spec.name, kind, name, n))
end

local only = os.getenv "FAILURES_ONLY"
if only then
	local chosen = {}
	for _, spec in ipairs(specs) do
		if spec.name:find(only, 1, true) then chosen[#chosen + 1] = spec end
	end
	specs = chosen
end

-- May the fault last in this spec? A call that is interrupted for ever is made for ever, a watcher tries until it succeeds, and so does the
-- queue of durability "interval".
local function may_last(spec, number)
	for id in pairs(spec.ids) do
		if id:find "^D2" then return false end
	end
	return number ~= fail.EINTR and not spec.drives
end

-- The failures of one spec, with "all": pairs of a number of a call, and whether all behind it fail, too.
local function every(spec, kind, number)
	local began = core.monotonic()
	local ways, count = calls(spec, kind)
	if not ways then return nil, count end
	local slow = core.monotonic() - began > SLOW
	local list = {}
	for _, way in ipairs(ways) do
		if may_last(spec, number) then list[#list + 1] = {way[1], true} end
		if slow or EVERY > 1 then list[#list + 1] = {way[1], false} end
	end
	for n = EVERY > 1 and math.random(EVERY) or 1, slow and 0 or count, EVERY do list[#list + 1] = {n, false} end
	return list
end

-- With "ways": what came about in a way that no spec before had.
local had = {}
local function new_ways(spec, kind, number)
	local ways, count = calls(spec, kind)
	if not ways then return nil, count end
	local list = {}
	for _, way in ipairs(ways) do
		if not had[way.hash] then
			had[way.hash] = true
			list[#list + 1] = {way[1], false}
			if may_last(spec, number) then list[#list + 1] = {way[1], true} end
		end
	end
	return list
end

-- A few of them by chance: first a way, so that those that seldom come are not left to the others.
local function any(spec, kind, number)
	local ways, count = calls(spec, kind)
	if not ways then return nil, count end
	if #ways == 0 then return {} end
	local list = {}
	for i = 1, math.min(#ways, 4) do
		local way = ways[math.random(#ways)]
		list[i] = {way[math.random(#way)], may_last(spec, number) and math.random(4) == 1}
	end
	return list
end

local total, tried, complaint = 0, {}, nil
local function try(spec, kind, name, choose)
	local number = assert(fail[name], name)
	tell(spec, kind, name, "?")
	local list
	list, complaint = choose(spec, kind, number)
	for _, call in ipairs(list or {}) do
		tell(spec, kind, name, call[1])
		local hits
		hits, complaint = run_spec(spec, kind, number, call[1], call[2])
		if not hits then break end
		if hits > 0 then total, tried[spec] = total + 1, true end
	end
	if list and #list > 0 and not complaint then
		local _
		_, complaint = run_spec(spec)
	end
	if complaint then complaint = ("%s, %s %s %s"):format(spec.name, kind, name, complaint) end
end

local IN_MEMORY <const> = {alloc = true, thread = true, futex = true}
local seconds = tonumber(os.getenv "FAILURES_SECONDS") or 0.25
if tonumber(seed) then math.randomseed(tonumber(seed)) end
for i = 3, #arg do
	local kind, name = arg[i]:match "^(%w+):(%w+)$"
	-- A store in memory asks the system for little.
	local chosen = {}
	for _, spec in ipairs(specs) do
		if IN_MEMORY[kind] or not spec.name:find("in memory", 1, true) then chosen[#chosen + 1] = spec end
	end
	if seed == "all" or seed == "ways" then
		for at, spec in ipairs(chosen) do
			if at >= FROM then try(spec, kind, name, seed == "all" and every or new_ways) end
			if complaint then break end
			print(("# %s %s: %d of %d specs, %d failures"):format(kind, name, at, #chosen, total))
			io.stdout:flush()
		end
	else
		local until_clock = os.clock() + seconds / (#arg - 2)
		repeat
			local spec = chosen[math.random(#chosen)]
			local slow = false
			for id in pairs(spec.ids) do slow = slow or SLOW_ONES[id] end
			if not slow then try(spec, kind, name, any) end
		until complaint or os.clock() >= until_clock and (total > 0 or os.clock() >= until_clock + 4) -- not every spec starts a thread, say
	end
	if complaint then break end
end
local count = 0
for _ in pairs(tried) do count = count + 1 end
print(complaint and "not ok " .. complaint or ("ok: %d failures in %d specs"):format(total, count))
os.remove(LAST_WORD)
