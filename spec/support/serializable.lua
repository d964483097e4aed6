-- serializable.lua - proves from the records of transactions, from several processes, that they could have run one after another.
--
-- A record is a line as support/history.lua writes it, one for each run of a transaction's function:
--
--     try     id t0 reads ranged writes   the function has returned, and the commit is about to be made
--     seen    id t0 reads ranged          the function was abandoned, after it had read this
--     done    id n                        the transaction returned; n is the number of its event, 0: it stored none
--     failed  id code                     it returned an error, or was taken back
--
-- `reads` and `ranged` are "bucket/key:tag" pairs with commas between, "-" is no value; `ranged` came from a range, which tells of
-- each key in it that can be there. `writes` are the same, in order; "-" deletes. Tags are values, and each is written once, so that a
-- read names its writer. A transaction that writes also stores an event whose object is its id: the log has the order of the commits,
-- and so that of the versions of each key.
--
-- The dependency graph has an edge from A to B where A must have run first:
--     wr   B read what A wrote               ww   B wrote the version after A's
--     rw   A read the version before B's     rt   A had returned before B began
-- A cycle is an anomaly, which is named by its edges: "lost update", "write skew", "read skew", "circular reading", "stale read".

local M = {}

---- records ----

local function pairs_of(text)
	local list = {}
	for key, tag in (text or ""):gmatch("([^,:]+):([^,]+)") do list[#list + 1] = {key = key, tag = tag ~= "-" and tag or false} end
	return list
end

-- The runs that the records tell of: {id =, t0 =, t =, kind =, reads =, writes =, n =, code =}.
function M.runs(logs)
	local runs, by_id = {}, {}
	for _, log in ipairs(logs) do
		for _, r in ipairs(log) do
			local run = by_id[r.id]
			if r.kind == "try" or r.kind == "seen" then
				run = {id = r.id, t0 = r.t0, reads = pairs_of(r.reads), writes = pairs_of(r.writes), seen = r.kind == "seen"}
				if run.seen then run.t = r.t end
				for _, read in ipairs(pairs_of(r.ranged)) do
					read.ranged = true
					table.insert(run.reads, read)
				end
				runs[#runs + 1], by_id[r.id] = run, run
			elseif r.kind == "done" then
				run.done, run.n, run.t = true, r.n, r.t
			elseif r.kind == "failed" then
				run.code, run.t = r.code, r.t
			end
		end
	end
	return runs
end

-- A run, for a complaint.
local function described(run)
	local words = {}
	for _, list in ipairs{"reads", "writes"} do
		words[#words + 1] = list
		for _, one in ipairs(run[list]) do words[#words + 1] = ("%s:%s%s"):format(one.key, one.tag or "-", one.ranged and " (range)" or "") end
	end
	return ("%s, event %s, %s to %s: %s"):format(run.id, run.at or "none", run.t0, run.t, table.concat(words, " "))
end

---- cycles ----

-- The strongly connected parts of a graph (`edges[i]` is a list of {to =}) that have more than one node. Tarjan's, without recursion.
local function parts_of(count, edges)
	local index, low, on_stack, stack, parts, clock = {}, {}, {}, {}, {}, 0
	for root = 1, count do
		local work = not index[root] and {{node = root, at = 0}} or {}
		while #work > 0 do
			local frame = work[#work]
			local node = frame.node
			if frame.at == 0 then
				clock = clock + 1
				index[node], low[node] = clock, clock
				stack[#stack + 1], on_stack[node] = node, true
			end
			frame.at = frame.at + 1
			local edge = edges[node][frame.at]
			if edge then
				if not index[edge.to] then work[#work + 1] = {node = edge.to, at = 0}
				elseif on_stack[edge.to] then low[node] = math.min(low[node], index[edge.to]) end
			else
				work[#work] = nil
				local above = work[#work]
				if above then low[above.node] = math.min(low[above.node], low[node]) end
				if low[node] == index[node] then
					local part = {}
					repeat
						part[#part + 1] = table.remove(stack)
						on_stack[part[#part]] = nil
					until part[#part] == node
					if #part > 1 then parts[#parts + 1] = part end
				end
			end
		end
	end
	return parts
end

-- The shortest cycle through a node, as a list of edges, or nil.
local function cycle_through(start, edges, inside)
	local from, queue, head = {}, {start}, 1
	while queue[head] do
		local node = queue[head]
		head = head + 1
		for _, edge in ipairs(edges[node]) do
			if edge.to == start then
				local cycle = {edge}
				while node ~= start do
					table.insert(cycle, 1, from[node].edge)
					node = from[node].node
				end
				return cycle
			elseif inside[edge.to] and not from[edge.to] then
				from[edge.to] = {node = node, edge = edge}
				queue[#queue + 1] = edge.to
			end
		end
	end
end

-- The shortest of all in a part.
local function shortest_in(part, edges)
	local inside, best = {}, nil
	for _, node in ipairs(part) do inside[node] = true end
	for i = 1, math.min(#part, 60) do
		local cycle = cycle_through(part[i], edges, inside)
		if cycle and (not best or #cycle < #best) then best = cycle end
	end
	return best
end

local function name_of(cycle)
	local count, ranged, keys = {wr = 0, ww = 0, rw = 0, rt = 0}, false, {}
	for _, edge in ipairs(cycle) do
		count[edge.kind] = count[edge.kind] + 1
		ranged = ranged or edge.kind == "rw" and edge.ranged
		if edge.key then keys[edge.key] = true end
	end
	local one_key = next(keys) ~= nil and next(keys, (next(keys))) == nil
	local name = count.rt > 0 and "stale read"
		or count.rw == 0 and "circular reading"
		or count.rw > 1 and "write skew"
		or one_key and count.ww > 0 and "lost update"
		or "read skew"
	return ranged and name .. " by a range" or name
end

---- the check ----

-- What is wrong: a list of sentences, empty if nothing is; and counts. `log[n]` is the object of event n.
function M.check(runs, log)
	local wrong, counts = {}, {committed = 0, lost = 0, failed = 0, abandoned = 0, reads = 0, edges = 0}
	local function complain(rule, format, ...)
		if #wrong < 100 then wrong[#wrong + 1] = rule .. ": " .. format:format(...) end
	end

	-- Which ones have committed?
	local number_of, by_id = {}, {}
	for n, id in pairs(log) do
		if number_of[id] then complain("one event a transaction", "%s stored %d and %d", id, number_of[id], n) end
		number_of[id] = n
	end
	for _, run in ipairs(runs) do
		by_id[run.id] = run
		run.at = number_of[run.id]
		run.committed = run.at ~= nil
		if #run.writes > 0 and run.done and not run.at then complain("nothing lost", "%s has returned, and its event is not there", run.id) end
		if run.at and (run.code or run.seen) then complain("what failed is not there", "%s: event %d", run.id, run.at) end
		if run.at and run.done and run.n ~= run.at then complain("one number", "%s was told %s, the log says %d", run.id, run.n, run.at) end
		local kind = (run.committed or run.done) and "committed" or run.code and "failed" or run.seen and "abandoned" or "lost"
		counts[kind] = counts[kind] + 1
	end
	for id, n in pairs(number_of) do
		if not by_id[id] then complain("nothing from nowhere", "event %d is %s, which nobody tried", n, id) end
	end

	-- Who wrote which value, and the versions of each key in the order of their commits. The first one is that nothing was there.
	local written, versions = {}, {}
	local function versions_of(key)
		versions[key] = versions[key] or {{tag = false, n = 0}}
		return versions[key]
	end
	for _, run in ipairs(runs) do
		local last = {}
		for i, write in ipairs(run.writes) do last[write.key] = i end
		for i, write in ipairs(run.writes) do
			if write.tag then written[write.tag] = {run = run, last = last[write.key] == i, key = write.key} end
			if run.committed and last[write.key] == i then
				table.insert(versions_of(write.key), {tag = write.tag, n = run.at, run = run})
			end
		end
	end
	for _, list in pairs(versions) do
		table.sort(list, function(a, b) return a.n < b.n end)
		for i, version in ipairs(list) do
			version.index = i
			if version.tag then written[version.tag].version = version end
		end
	end

	-- The graph. Its nodes are the runs, and behind them the moments at which one had returned.
	local edges, count = {}, #runs
	for i, run in ipairs(runs) do
		edges[i], run.node = {}, i
	end
	local function edge(kind, from, to, key, ranged)
		if from == to then return end
		counts.edges = counts.edges + 1
		table.insert(edges[from], {kind = kind, from = from, to = to, key = key, ranged = ranged})
	end
	for key, list in pairs(versions) do
		for i = 3, #list do edge("ww", list[i - 1].run.node, list[i].run.node, key) end
	end

	-- The version of a key after the commit n.
	local function version_at(key, n)
		local list = versions_of(key)
		local low, high = 1, #list
		while low < high do
			local middle = (low + high + 1) // 2
			if list[middle].n <= n then low = middle else high = middle - 1 end
		end
		return list[low]
	end
	local function depend(run, read, version)
		if version.run then edge("wr", version.run.node, run.node, read.key, read.ranged) end
		local after = versions_of(read.key)[version.index + 1]
		-- Its own is a step further, and what is behind that is said by ww.
		if after and after.run ~= run then edge("rw", run.node, after.run.node, read.key, read.ranged) end
	end

	-- The runs in the order in which they had returned, and the last commit that those up to each have made or seen.
	local ended, last_commit = {}, {[0] = 0}
	for _, run in ipairs(runs) do
		if run.t and (run.done or run.seen) then ended[#ended + 1] = run end
	end
	table.sort(ended, function(a, b) return a.t < b.t end)
	local function ended_before(time)
		local low, high = 0, #ended
		while low < high do
			local middle = (low + high + 1) // 2
			if ended[middle].t < time then low = middle else high = middle - 1 end
		end
		return low
	end

	-- Those first that had returned: by then all that had before they began were looked at.
	local in_order = table.move(ended, 1, #ended, 1, {})
	for _, run in ipairs(runs) do
		if not (run.t and (run.done or run.seen)) then in_order[#in_order + 1] = run end
	end
	for i, run in ipairs(in_order) do
		local earliest, absent = last_commit[ended_before(run.t0)], {}
		for _, read in ipairs(run.reads) do
			counts.reads = counts.reads + 1
			local write = read.tag and written[read.tag]
			versions_of(read.key)[1].index = 1
			if not read.tag then
				absent[#absent + 1] = read
			elseif not write then
				complain("nothing from nowhere", "%s read %s in %s, which nobody wrote", run.id, read.tag, read.key)
			elseif write.key ~= read.key then
				complain("nothing from nowhere", "%s read %s in %s, which was written to %s", run.id, read.tag, read.key, write.key)
			elseif not write.run.committed then
				complain("aborted read", "%s read %s, which %s wrote and did not commit", run.id, read.tag, write.run.id)
			elseif not write.last then
				complain("intermediate read", "%s read %s, which %s wrote over before it committed", run.id, read.tag, write.run.id)
			else
				earliest = math.max(earliest, write.version.n)
				depend(run, read, write.version)
			end
		end
		-- That nothing was there may have been so more than once: at the commit, or as early as time and the other reads allow.
		local at_commit = run.committed and run.at - 1 or nil
		local moved
		repeat
			moved = false
			for _, read in ipairs(absent) do
				local version = at_commit and version_at(read.key, at_commit)
				if not version or version.tag then
					version = version_at(read.key, earliest)
					local list = versions_of(read.key)
					while version and version.tag do version = list[version.index + 1] end
					if version and version.n > earliest then earliest, moved = version.n, true end
				end
				read.version = version
			end
		until not moved
		for _, read in ipairs(absent) do
			local version = read.version or version_at(read.key, earliest) -- nothing fits: then what was there before
			while version.tag do version = versions_of(read.key)[version.index - 1] end
			depend(run, read, version)
		end
		if ended[i] then last_commit[i] = math.max(last_commit[i - 1], earliest, run.at or 0) end
	end

	local function tell(parts)
		for _, part in ipairs(parts) do
			local cycle = shortest_in(part, edges)
			local words = {}
			for i, e in ipairs(cycle) do
				if e.from <= #runs then words[#words + 1] = ("%s -%s%s->"):format(runs[e.from].id, e.kind, e.key and " " .. e.key or "")
				elseif i == 1 then words[#words + 1] = "-rt->" end
			end
			for _, e in ipairs(#cycle <= 6 and cycle or {}) do
				if e.from <= #runs then words[#words + 1] = "\n    " .. described(runs[e.from]) end
			end
			complain(name_of(cycle), "%s", table.concat(words, " "))
		end
	end
	local parts = parts_of(count, edges)
	tell(parts)
	if #parts > 0 then return wrong, counts end

	-- Real time: a run has an edge to the moment at which it had returned, that to the next one, and each to the runs that began after it.
	for i, run in ipairs(ended) do
		count = count + 1
		edges[count] = {}
		edge("rt", run.node, count)
		if i > 1 then edge("rt", count - 1, count) end
	end
	for _, run in ipairs(runs) do
		local before = ended_before(run.t0)
		if before > 0 then edge("rt", #runs + before, run.node) end
	end
	tell(parts_of(count, edges))
	return wrong, counts
end

return M
