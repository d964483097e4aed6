-- cluster_spec.lua - failovers of each kind over a cluster that decides by itself (scripts/cluster), while processes append, watch, read,
-- seek and collect; support/history.lua proves from what they wrote down that there was one log and that nothing of it was lost.
--
-- `scripts/test --long` runs it, VIGIA_FAILOVERS (3) of each kind, a minute or two each. What was done is kept in build/failovers/, a file
-- for each by its seed, so a run that was interrupted goes on; remove the folder to begin again. A failure keeps its records there, too.
-- VIGIA_SEED repeats a run's choices; VIGIA_FAILOVER_KINDS names the kinds to try ("server,node").

local helper = require "spec.helper"
local history = require "spec.support.history"
local load_of = require "spec.support.failover_load"
local lfs = require "lfs"
local vigia = require "vigia"

local RESULTS <const> = "build/failovers"

-- What `scripts/cluster fail` calls it, and what no server does by itself.
local KINDS <const> = {"server", "node", "stop-server", "stop-patroni", "stop-node", "cut", "etcd", "cancel", "terminate"}

-- How long what failed stays so, where commits go on meanwhile or where nobody takes over.
local HOLD <const> = {["stop-patroni"] = 35, cut = 25, etcd = 30}

-- A time by which those who only read may be behind where a primary of the past still runs (runtime/store/pg/README.md).
local BEHIND <const> = 10

---- the cluster ----

local Cluster = {}
Cluster.__index = Cluster

local function start_cluster()
	local folder = "/tmp/vigia-cluster-" .. helper.read_file("/proc/self/stat"):match("%d+")
	local said = helper.path("location")
	local pipe = assert(io.popen(("exec scripts/cluster run --proxy --folder %s fsync=off > '%s'"):format(folder, said), "w"))
	local cluster = setmetatable({folder = folder, pipe = pipe}, Cluster)
	local deadline = helper.now() + 200
	repeat
		vigia.sleep(0.2)
		cluster.base = helper.read_file(said):match("(postgresql://%S+)\n")
	until cluster.base or helper.now() > deadline
	assert(cluster.base, "the cluster did not start")
	cluster.ports = {}
	local list = ("\n" .. helper.read_file(folder .. "/ports")):match("\nport=(%b())")
	for node, port in list:gmatch('%[(%d)%]="(%d+)"') do cluster.ports[tonumber(node)] = port end
	return cluster
end

function Cluster:call(words)
	local out, ok = helper.shell("scripts/cluster " .. words .. " --folder " .. self.folder)
	assert(ok, out)
	return out
end

function Cluster:sql(node, text)
	local out, ok = helper.shell(("PGCONNECT_TIMEOUT=3 timeout 5 psql -X -h 127.0.0.1 -p %s -U postgres -d postgres -qAt -c %s")
		:format(self.ports[node], helper.quoted(text)))
	return ok and out:gsub("\n$", "") or nil
end

function Cluster:leader()
	for node = 1, 3 do
		if self:sql(node, "SELECT pg_is_in_recovery()") == "f" then return node end
	end
end

-- One leader, which both others follow, one of them synchronously.
function Cluster:is_healthy()
	local leaders, healthy = 0, false
	for node = 1, 3 do
		local role = self:sql(node, "SELECT pg_is_in_recovery()")
		if not role then return false end
		if role == "f" then
			leaders = leaders + 1
			healthy = self:sql(node, "SELECT count(*) = 2 AND bool_or(sync_state = 'sync') FROM pg_stat_replication "
				.. "WHERE state = 'streaming'") == "t"
		end
	end
	return leaders == 1 and healthy
end

local function wait(seconds, done, message)
	local deadline = helper.now() + seconds
	while not done() do
		assert(helper.now() < deadline, message)
		vigia.sleep(0.2)
	end
end

-- Commits wait, since no standby answers, and the server ends their wait.
function Cluster:end_waits(fn)
	local leader = assert(self:leader())
	for node = 1, 3 do
		if node ~= leader then self:call("fail stop-server " .. node) end
	end
	local ended = 0
	for _ = 1, 10 do
		local count = self:sql(leader, ("SELECT count(%s(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND usename = 'vigia'")
			:format(fn))
		ended = ended + (math.tointeger(tonumber(count)) or 0)
		vigia.sleep(0.2)
	end
	assert(ended > 0, "no commit waited")
	return ended
end

---- one failover ----

local function is_acknowledged_since(logs, t)
	for _, log in ipairs(logs) do
		for _, r in ipairs(history.read(log)) do
			if r.kind == "ok" and r.t > t then return true end
		end
	end
end

local function final_of(store)
	local latest = store:get_latest_event_num()
	local final = {latest = latest, events = {}, points = {}, waiting = {}, times = {}}
	final.oldest = store:get_oldest_event_num()
	for _, timer in ipairs(assert(store:scheduled())) do final.waiting[timer.object] = true end
	for _, name in ipairs{"batch", "hand"} do final.points[name] = store:get_checkpoint(name) end
	local effects, key = {point = store:get_checkpoint("effects"), done = {}, letters = {}}, 0
	repeat
		local rows = assert(store:range("effects", {from = key, limit = 10000}))
		for _, row in ipairs(rows) do effects.done[row.key], key = row.value, row.key + 1 end
	until #rows == 0
	for _, letter in ipairs(assert(store:dead_letters{watcher = "effects"})) do effects.letters[letter.seq_num] = true end
	final.effects = {effects = effects}
	local from = vigia.trim_horizon()
	repeat
		local answer = assert(store:get_events{event_iterator = from, limit = 1000, timeout = 0})
		for _, event in ipairs(answer.events) do final.events[event.seq_num], final.times[event.object] = event.object, event.timestamp end
		from = answer.next_event_iterator
	until #answer.events == 0
	return final
end

-- In [from, to] a reader may have asked a primary of the past: it may be told an old last number, and wait in vain.
local function without_reads_between(log, from, to)
	local kept = {}
	for _, r in ipairs(log) do
		local reads = r.kind == "latest" or r.kind == "wait"
		if not reads or r.t < from or r.t0 > to then kept[#kept + 1] = r end
	end
	return kept
end

local function run(cluster, kind, seed)
	math.randomseed(seed)
	local deadline = math.random(2) == 1 and 3 or 10
	local location = ("%s%s_%d&connect_timeout=%d"):format(cluster.base, (kind:gsub("-", "_")), seed, deadline)
	wait(180, function() return cluster:is_healthy() end, "the cluster is not healthy")
	local store = helper.open(location, {collect = false, max_events = 3000, gc_cadence = 1})
	local stop, logs, children = helper.path("stop"), {}, {}
	local function start(source, name)
		logs[#logs + 1] = helper.path("log" .. #logs + 1)
		local child = helper.child(source, location, logs[#logs], name .. #logs, math.random(1 << 30), stop)
		children[#children + 1] = {child = child, name = name}
		return child
	end
	local sources = {a = load_of.APPENDER, b = load_of.APPENDER, r = load_of.READER, w = load_of.WATCHER}
	for _, name in ipairs{"a", "b", "r", "w"} do start(sources[name], name):expect "ready" end
	vigia.sleep(2 + math.random() * 2)

	local failed_at, ended = history.now(), 0
	if kind == "cancel" or kind == "terminate" then
		ended = cluster:end_waits("pg_" .. kind .. "_backend")
		cluster:call "heal"
	else
		cluster:call("fail " .. kind .. " leader")
		-- A process that dies meanwhile is no harm.
		if math.random(2) == 1 then
			vigia.sleep(math.random() * 20)
			children[4].child:kill()
			start(sources.w, "w")
		end
		vigia.sleep(math.max(0, failed_at + (HOLD[kind] or 0) - history.now()))
		if kind == "etcd" then cluster:call "heal" end
	end
	local since = math.max(history.now(), failed_at + 2)
	wait(180, function() return is_acknowledged_since({logs[1], logs[2]}, since) end, "nothing is acknowledged any more")
	vigia.sleep(3)
	cluster:call "heal"
	wait(180, function() return cluster:is_healthy() end, "the cluster did not become healthy")
	local healed_at = history.now()
	vigia.sleep(3)

	helper.write_file("stop", "")
	for i = 1, 3 do
		local said = children[i].child:wait()
		assert(said[#said] == "end", "a process ended: " .. table.concat(said, "\n"))
	end
	wait(60, function() return assert(store:stats()).timers == 0 end, "there are timers left")
	local latest = assert(store:get_latest_event_num())
	wait(300, function()
		return store:get_checkpoint("batch") == latest and store:get_checkpoint("effects") == latest
	end, "the watchers did not come to the end")
	for i = 4, #children do children[i].child:kill() end
	local final, histories, counts = final_of(store), {}, {}
	local gap, previous = 0, nil
	for i, log in ipairs(logs) do
		histories[i] = without_reads_between(history.read(log), failed_at, healed_at + BEHIND)
		for _, r in ipairs(histories[i]) do
			if r.kind == "failed" then counts[r.code] = (counts[r.code] or 0) + 1 end
			if i == 1 and r.kind == "ok" then gap, previous = math.max(gap, r.t - (previous or r.t)), r.t end
		end
	end
	local wrong, what = history.check(histories, final)
	store:close()
	local codes = {}
	for code, count in pairs(counts) do codes[#codes + 1] = code .. "=" .. count end
	table.sort(codes)
	local summary = ("%s seed=%d connect_timeout=%d acknowledged=%d events=%d effects=%d ended=%d interruption=%.1f %s")
		:format(kind, seed, deadline, what.appends, latest, what.effects, ended, gap, table.concat(codes, " "))
	return wrong, summary, logs
end

---- all of them ----

describe("a cluster whose servers fail", function()
	if not os.getenv("VIGIA_SOAK") then
		it("is tried in the long form", function() helper.pending("runs with scripts/test --long") end)
		return
	end
	after_each(helper.clean)

	it("loses, doubles and renumbers no acknowledged event, and its watchers go on in order [P2]", function()
		if helper.shell("command -v patroni") == "" then return helper.pending("there is no Patroni: vendor/install cluster") end
		local base_seed = math.tointeger(tonumber(os.getenv("VIGIA_SEED"))) or 1
		local rounds = math.tointeger(tonumber(os.getenv("VIGIA_FAILOVERS"))) or 3
		local kinds = os.getenv("VIGIA_FAILOVER_KINDS") or table.concat(KINDS, ",")
		helper.shell("mkdir -p " .. RESULTS)
		local cluster
		finally(function() if cluster then cluster.pipe:close() end end)
		local failovers, acknowledged = 0, 0
		for round = 1, rounds do
			for number, kind in ipairs(KINDS) do
				local seed = base_seed * 1000 + round * 10 + number
				local file = ("%s/%s-%d"):format(RESULTS, kind, seed)
				local wanted = ("," .. kinds .. ","):find("," .. kind .. ",", 1, true)
				if wanted and not lfs.attributes(file) then
					cluster = cluster or start_cluster()
					local ok, wrong, summary, logs = xpcall(run, function(err) return debug.traceback(tostring(err)) end, cluster, kind, seed)
					if not ok or #wrong > 0 then
						helper.shell(("rm -rf %s.failed && cp -r '%s' %s.failed; cp %s/*.log %s.failed")
							:format(file, helper.path(), file, cluster.folder, file))
						error(("%s, seed %d: %s; the records are in %s.failed"):format(kind, seed, ok and table.concat(wrong, "; ") or wrong, file))
					end
					local out <close> = assert(io.open(file, "w"))
					out:write(summary, "\n")
					print("# " .. summary)
					io.stdout:flush()
					for _, log in ipairs(logs) do os.remove(log) end
					os.remove(helper.path("stop"))
				end
				if wanted then
					failovers = failovers + 1
					acknowledged = acknowledged + math.tointeger(tonumber(helper.read_file(file):match("acknowledged=(%d+)")))
				end
			end
		end
		helper.covered("failovers", "%d failovers, %d appends acknowledged, seed %d", failovers, acknowledged, base_seed)
	end)
end)
