-- history.lua - writes down what a process was told by a store, and proves from all such records that there was one log.
--
-- A record is one line, written by one write before the process goes on, so that a kill loses at most the line in hand:
--
--     begin   id count [key] [if_last]   an append is about to be made; its events carry the tags id.1 .. id.count
--     ok      id first last              it returned these numbers
--     failed  id code                    it returned an error
--     read    t0 items oldest            a read returned these "number:tag" pairs; `oldest` was looked up before it
--     latest  t0 n                       get_latest_event_num returned n
--     wait    t0 after timeout first     a long poll returned its first number, 0: none
--     later   id at                      a timer is about to be made, for this time; its event carries the tag id.1
--     waits   id                         it was made
--     start   watcher                    a watcher begins in this process
--     handle  watcher n tag [at]         its handler has the event, which has this time
--     saved   watcher n                  a checkpoint by hand returned
--     seek    watcher n                  a seek is about to be made
--     point   watcher n                  somebody read this checkpoint
--     effect  watcher n                  the handler of a transactional watcher has the event, and may give it its effect
--     fails   watcher n                  and is about to fail
--     stopped t0                         the process `who` stood still from t0 to t
--
-- Every record has `kind`, `who` and `t`, the monotonic time in seconds when the call had returned; t0 is when it began.

local core = require "vigia.core"

local M = {}

M.now = core.monotonic

-- How long a waiter may sleep after an append returned, in seconds: one for a process that died before it told, the rest for the machine.
M.SLACK = 3

---- writing and reading ----

-- A function record(kind, fields) that appends one line to the file.
function M.writer(path, who)
	local file = assert(io.open(path, "a"))
	file:setvbuf("full", 1 << 20)
	return function(kind, fields)
		local words = {kind, "who=" .. who, "t=" .. ("%.6f"):format(fields and fields.t or core.monotonic())}
		for name, value in pairs(fields or {}) do
			if name ~= "t" then words[#words + 1] = name .. "=" .. (math.type(value) == "float" and ("%.6f"):format(value) or tostring(value)) end
		end
		assert(file:write(table.concat(words, "\t"), "\n"))
		assert(file:flush())
	end
end

-- The records of a file; a last line that was cut is left out.
function M.read(path, into)
	local records = into or {}
	local file <close> = assert(io.open(path))
	for line in file:lines("L") do
		if line:sub(-1) ~= "\n" then break end
		local record = {kind = line:match("^%w+")}
		for name, value in line:gmatch("(%w+)=([^\t\n]*)") do record[name] = tonumber(value) or value end
		records[#records + 1] = record
	end
	return records
end

---- checking ----

local function items_of(record)
	local list = {}
	for n, tag in record.items:gmatch("(%d+):([^,]+)") do list[#list + 1] = {n = math.tointeger(tonumber(n)), tag = tag} end
	return list
end

-- The smallest index from 1 to count whose value is so far along that `reached` says true, which it then does for all behind it; or nil.
local function first_index(count, reached)
	local low, high = 1, count + 1
	while low < high do
		local middle = (low + high) // 2
		if reached(middle) then high = middle else low = middle + 1 end
	end
	return low <= count and low or nil
end

-- What is wrong with the histories: a list of sentences, empty if nothing is. `logs` are lists of records, one for each process, each in
-- the order of that process; `final` is {oldest =, latest =, events = {[number] = tag}, points = {[watcher] = checkpoint},
-- waiting = {[tag] = true}: the timers that are left, times = {[tag] = the event's time},
-- effects = {[transactional watcher] = {point = its checkpoint, done = {[number] = how often}, letters = {[number] = true}}}}.
function M.check(logs, final)
	local wrong = {}
	local function complain(rule, format, ...)
		if #wrong < 100 then wrong[#wrong + 1] = rule .. ": " .. format:format(...) end
	end

	-- One number, one event; one event, one number.
	local tag_of, number_of = {}, {}
	local function seen(n, tag, where)
		if tag_of[n] and tag_of[n] ~= tag then complain("one event a number", "%d is %s and, in %s, %s", n, tag_of[n], where, tag) end
		if number_of[tag] and number_of[tag] ~= n then
			complain("one number an event", "%s is %d and, in %s, %d", tag, number_of[tag], where, n)
		end
		tag_of[n], number_of[tag] = tag, n
	end

	local appends, keys, stops, wants = {}, {}, {}, {}
	for _, log in ipairs(logs) do
		for _, r in ipairs(log) do
			if r.kind == "begin" then
				appends[r.id] = {id = r.id, count = r.count, key = r.key, if_last = r.if_last, t0 = r.t}
			elseif r.kind == "ok" then
				local append = appends[r.id]
				append.first, append.last, append.t = r.first, r.last, r.t
			elseif r.kind == "failed" then
				appends[r.id].code = r.code
			elseif r.kind == "stopped" then
				stops[r.who] = stops[r.who] or {}
				table.insert(stops[r.who], {r.t0, r.t})
			end
		end
	end
	for n, tag in pairs(final.events) do seen(n, tag, "the file") end

	-- The file has each number from the oldest to the last.
	for n = final.oldest, final.latest do
		if final.latest > 0 and final.oldest > 0 and not final.events[n] then complain("no hole", "the file lacks %d", n) end
	end

	-- Nothing acknowledged is lost; a list is there as a whole or not at all.
	local acknowledged = {}
	for id, append in pairs(appends) do
		if append.first then
			if append.last - append.first + 1 ~= append.count and not append.key then
				complain("lists are whole", "%s of %d events got %d to %d", id, append.count, append.first, append.last)
			end
			if append.last > final.latest then complain("nothing lost", "%s got %d, the last number is %d", id, append.last, final.latest) end
			if append.key then
				local known = keys[append.key]
				if known and known.first ~= append.first and math.min(known.first, append.first) >= final.oldest then
					complain("a key stores once", "%s got %d in %s and %d in %s", append.key, known.first, known.id, append.first, id)
				end
				keys[append.key] = known or append
			else
				for i = 1, append.count do seen(append.first + i - 1, id .. "." .. i, "the answer to " .. id) end
				for n = math.max(append.first, final.oldest), append.last do
					if not final.events[n] then complain("nothing lost", "%s got %d, which the file lacks", id, n) end
				end
			end
			if append.if_last and append.first ~= append.if_last + 1 and not append.key then
				complain("if_last holds", "%s wanted %d as the last number and got %d", id, append.if_last, append.first)
			end
			acknowledged[#acknowledged + 1] = append
		end
		local there, removed = 0, false
		for i = 1, append.count do
			local n = number_of[id .. "." .. i]
			if n then there = there + 1 end
			if n and n < final.oldest then removed = true end
			if i > 1 and n and number_of[id .. "." .. i - 1] and n ~= number_of[id .. "." .. i - 1] + 1 then
				complain("lists are whole", "%s.%d is %d, its predecessor %d", id, i, n, number_of[id .. "." .. i - 1])
			end
		end
		if there > 0 and there < append.count and not removed then
			-- What was removed before anybody read it cannot be seen: only a list whose last event is above the oldest must be whole.
			local first
			for i = append.count, 1, -1 do first = number_of[id .. "." .. i] and number_of[id .. "." .. i] - i + 1 or first end
			for n = first, first + append.count - 1 do
				if n >= final.oldest and not final.events[n] or final.events[n] and final.events[n] ~= id .. "." .. n - first + 1 then
					complain("lists are whole", "of %s, %d events of %d are there", id, there, append.count)
					break
				end
			end
		end
		if append.code and append.code ~= "commit_unknown" and there > 0 then
			complain("what failed is not there", "%s failed with %s and is there", id, append.code)
		end
	end

	-- A timer waits or has come, and not before its time. Some watcher has handled each event that was removed.
	local timers, made, times = {}, 0, final.times or {}
	for _, log in ipairs(logs) do
		for _, r in ipairs(log) do
			if r.kind == "later" then timers[r.id .. ".1"] = {at = r.at}
			elseif r.kind == "waits" then timers[r.id .. ".1"].waits = true
			elseif r.kind == "handle" then
				seen(r.n, r.tag, "the handler of " .. r.watcher)
				if r.at and times[r.tag] and times[r.tag] ~= r.at then
					complain("one time an event", "%s has the time %d and, for %s, %d", r.tag, times[r.tag], r.watcher, r.at)
				end
				if r.at then times[r.tag] = r.at end
			end
		end
	end
	for tag, timer in pairs(timers) do
		local waiting = final.waiting and final.waiting[tag]
		made = made + (timer.waits and 1 or 0)
		if waiting and number_of[tag] then complain("a timer comes once", "%s has come, and waits", tag) end
		if timer.waits and not waiting and not number_of[tag] then complain("no timer is lost", "%s has not come, and does not wait", tag) end
		if times[tag] and times[tag] < timer.at then complain("no timer comes early", "%s came %d ns early", tag, timer.at - times[tag]) end
	end

	-- The times of events go with their numbers.
	local timed = {}
	for tag in pairs(times) do
		if number_of[tag] then timed[#timed + 1] = tag end
	end
	table.sort(timed, function(a, b) return number_of[a] < number_of[b] end)
	for i = 2, #timed do
		local tag, before = timed[i], timed[i - 1]
		if times[tag] < times[before] then
			complain("times never go back", "%d is %d ns earlier than %d", number_of[tag], times[before] - times[tag], number_of[before])
		end
	end

	-- Time: an append that returned before another began has smaller numbers; so for whoever asks for the last number.
	local points = {}
	for _, append in ipairs(acknowledged) do
		points[#points + 1] = {t = append.t, last = append.last}
		-- A key that was known returns an old number.
		if not append.key then
			wants[#wants + 1] = {t = append.t0, n = append.first - 1, what = ("%s got %d"):format(append.id, append.first)}
		end
	end
	for _, log in ipairs(logs) do
		for _, r in ipairs(log) do
			if r.kind == "latest" then
				wants[#wants + 1] = {t = r.t0, n = r.n, what = ("%s was told %d as the last number"):format(r.who, r.n)}
				points[#points + 1] = {t = r.t, last = r.n}
				if r.n > final.latest then complain("nothing lost", "%s was told %d, the last number is %d", r.who, r.n, final.latest) end
			end
		end
	end
	local function by_time(a, b) return a.t < b.t end
	table.sort(points, by_time)
	table.sort(wants, by_time)
	local at, highest = 1, 0
	for _, want in ipairs(wants) do
		while points[at] and points[at].t < want.t do
			highest = math.max(highest, points[at].last)
			at = at + 1
		end
		if want.n < highest then complain("one order in time", "%s, but %d had been answered before", want.what, highest) end
	end

	-- A moment when the process stood still says nothing about its waits.
	local function stood_still(who, from, to)
		for _, stop in ipairs(stops[who] or {}) do
			if stop[1] <= to and stop[2] >= from then return true end
		end
	end

	-- The highest number acknowledged until then, by time: to find a waiter that slept past one.
	table.sort(acknowledged, by_time)
	local highest_at, so_far = {}, 0
	for i, append in ipairs(acknowledged) do
		so_far = math.max(so_far, append.last)
		highest_at[i] = so_far
	end
	local function first_above(n, from_time)
		local i = first_index(#acknowledged, function(k) return highest_at[k] > n end)
		return i and math.max(acknowledged[i].t, from_time)
	end

	local watchers = {}
	for _, log in ipairs(logs) do
		local previous
		for _, r in ipairs(log) do
			if r.kind == "read" then
				local last
				for _, item in ipairs(items_of(r)) do
					seen(item.n, item.tag, "a read of " .. r.who)
					if last and item.n ~= last + 1 then complain("no hole", "%s read %d after %d", r.who, item.n, last) end
					last = item.n
				end
			elseif r.kind == "wait" then
				local told = first_above(r.after, r.t0)
				if r.first == 0 and told and told < r.t0 + r.timeout - M.SLACK / 2 and told < r.t - M.SLACK then
					complain("no waiter sleeps past an event", "%s waited behind %d from %.3f to %.3f and got nothing; one came at %.3f", r.who,
						r.after, r.t0, r.t, told)
				elseif r.first ~= 0 and told and r.t - told > M.SLACK and not stood_still(r.who, told, r.t) then
					complain("no waiter sleeps past an event", "%s got %d %.3f s late", r.who, r.first, r.t - told)
				end
				if r.first ~= 0 and r.first <= r.after then complain("no hole", "%s waited behind %d and got %d", r.who, r.after, r.first) end
			elseif r.kind == "handle" or r.kind == "start" or r.kind == "saved" or r.kind == "seek" then
				local list = watchers[r.watcher] or {}
				watchers[r.watcher] = list
				list[#list + 1] = r
			end
			-- What one process does follows in time.
			if previous and r.t < previous - 1e-6 and r.kind ~= "stopped" then
				complain("records are in order", "%s wrote %.6f after %.6f", r.who, r.t, previous)
			end
			if r.kind ~= "stopped" then previous = r.t end
		end
	end

	-- A watcher, over all processes that ran it: one at a time, so its records have an order in time.
	for name, list in pairs(watchers) do
		table.sort(list, by_time)
		local handled, highest_handled, next_one, saved = {}, 0, nil, 0
		for _, r in ipairs(list) do
			if r.kind == "start" then
				next_one = nil
			elseif r.kind == "seek" then
				next_one, saved = nil, math.min(saved, r.n)
			elseif r.kind == "saved" then
				if r.n > highest_handled then complain("no checkpoint ahead", "%s saved %d and had handled %d", name, r.n, highest_handled) end
				saved = math.max(saved, r.n)
			else
				seen(r.n, r.tag, "the handler of " .. name)
				-- The same one again is a retry.
				if next_one and r.n ~= next_one and r.n ~= next_one - 1 then
					complain("watchers go in order", "%s handled %d where %d comes next", name, r.n, next_one)
				end
				if r.n > highest_handled + 1 then complain("watchers miss nothing", "%s handled %d after %d", name, r.n, highest_handled) end
				if not next_one and r.n <= saved then
					complain("checkpoints stay", "%s began with %d, and %d had been saved", name, r.n, saved)
				end
				handled[r.n], next_one = true, r.n + 1
				highest_handled = math.max(highest_handled, r.n)
			end
			r.highest = highest_handled
		end
		local point = final.points[name] or 0
		if point > highest_handled then complain("no checkpoint ahead", "%s stands at %d and handled %d", name, point, highest_handled) end
		for n = 1, point do
			if not handled[n] then
				complain("watchers miss nothing", "%s stands at %d and never handled %d", name, point, n)
				break
			end
		end
	end
	-- A transactional watcher: each event up to its checkpoint has had its effect once, or has a letter; no other event has either.
	local effects, letters = 0, 0
	for name, final_of in pairs(final.effects or {}) do
		local handled, failed, top = {}, {}, final_of.point
		for _, log in ipairs(logs) do
			for _, r in ipairs(log) do
				if r.kind == "effect" and r.watcher == name then handled[r.n] = true
				elseif r.kind == "fails" and r.watcher == name then failed[r.n] = true end
			end
		end
		for _, numbers in pairs{final_of.done, final_of.letters} do
			for n in pairs(numbers) do top = math.max(top, n) end
		end
		for n = 1, top do
			local done, letter = final_of.done[n] or 0, final_of.letters[n] and 1 or 0
			if n > final_of.point and done + letter > 0 then
				complain("no effect ahead", "%s stands at %d, and %d has an effect or a letter", name, final_of.point, n)
			elseif n <= final_of.point and done + letter ~= 1 then
				complain("effects come once", "%s gave %d its effect %d times, and it has %d letters", name, n, done, letter)
			end
			if done > 0 and not handled[n] then complain("no effect by itself", "%s never handled %d, which has an effect", name, n) end
			if letter > 0 and not failed[n] then complain("no letter without a failure", "%s never failed on %d, which has a letter", name, n) end
			effects, letters = effects + done, letters + letter
		end
	end

	for _, log in ipairs(logs) do
		for _, r in ipairs(log) do
			if r.kind == "point" then
				local list = watchers[r.watcher] or {}
				local i = first_index(#list, function(k) return list[k].t > r.t end) or #list + 1
				local before = i > 1 and list[i - 1].highest or 0
				if r.n > before then complain("no checkpoint ahead", "%s stood at %d and had handled %d", r.watcher, r.n, before) end
			end
		end
	end
	return wrong, {timers = made, effects = effects, letters = letters, appends = #acknowledged, events = final.latest, watchers = watchers}
end

return M
