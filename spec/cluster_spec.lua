-- cluster_spec.lua - failovers of each kind over a cluster that decides by itself (scripts/cluster), while processes append, watch, read,
-- seek and collect; support/history.lua proves from what they wrote down that there was one log and that nothing of it was lost.
--
-- The clocks of the nodes are set apart, where libfaketime is.
-- The second part has handlers of scripts/handlers make what they must of whole
-- histories, while servers and they themselves are killed.
--
-- `scripts/test --long` runs it, VIGIA_FAILOVERS (3) of each kind, a minute or two each. What was done is kept in build/failovers/, a file
-- for each by its seed, so a run that was interrupted goes on; remove the folder to begin again. A failure keeps its records there, too.
-- VIGIA_SEED repeats a run's choices; VIGIA_FAILOVER_KINDS names the kinds to try ("server,node"), VIGIA_FAILOVER_STREAMS the histories.

local helper = require "spec.helper"
local history = require "spec.support.history"
local load_of = require "spec.support.failover_load"
local cli = require "spec.support.cli"
local lfs = require "lfs"
local streams = require "spec.support.streams"
local vigia = require "vigia"

local RESULTS <const> = "build/failovers"

-- What `scripts/cluster fail` calls it, and what no server does by itself; with "-failsafe" in a cluster that outlives the loss of etcd.
local KINDS <const> = {"server", "node", "stop-server", "stop-patroni", "stop-node", "cut", "etcd", "cancel", "terminate", "etcd-failsafe"}

-- How long what failed stays so, where commits go on meanwhile or where nobody takes over.
local HOLD <const> = {["stop-patroni"] = 35, cut = 25, etcd = 30, ["etcd-failsafe"] = 35}

-- By how many seconds the clocks of the nodes are wrong.
local CLOCKS <const> = "0,-3600,1800"

-- A time by which those who only read may be behind where a primary of the past still runs (runtime/store/pg/README.md).
local BEHIND <const> = 10

---- the cluster ----

local Cluster = {}
Cluster.__index = Cluster

local function start_cluster(failsafe)
	local folder = "/tmp/vigia-cluster-" .. helper.read_file("/proc/self/stat"):match("%d+")
	local said = helper.path("location")
	local clocks = helper.shell("ls /usr/lib/*/faketime/libfaketimeMT.so.1") ~= "" and "--clocks " .. CLOCKS or ""
	local pipe = assert(io.popen(("exec scripts/cluster run %s %s --folder %s fsync=off > '%s'")
		:format(failsafe and "" or "--proxy", clocks, folder, said), "w"))
	local cluster = setmetatable({folder = folder, pipe = pipe, failsafe = failsafe}, Cluster)
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

-- How many seconds the clock of a node is ahead of this machine's.
function Cluster:clock(node)
	local seconds = self:sql(node, "SELECT extract(epoch FROM clock_timestamp())::bigint")
	return seconds and (tonumber(seconds) - os.time() + 15) // 30 * 30 | 0 or 0
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

-- What a process did that stood still from some time on, until another one had taken its watchers: it may have handled an event once more,
-- but saved nothing.
local function without_ghost(log, since)
	local kept, last = {}, nil
	for _, r in ipairs(log) do
		if r.kind == "saved" and r.t > since then return log end -- for the checker to find
		if r.t <= since then kept[#kept + 1] = r end
		last = r
	end
	assert(last)
	return kept
end

local function run(cluster, kind, seed)
	math.randomseed(seed)
	local deadline = math.random(2) == 1 and 3 or 10
	local location = ("%s%s_%d&connect_timeout=%d"):format(cluster.base, (kind:gsub("-", "_")), seed, deadline)
	wait(180, function() return cluster:is_healthy() end, "the cluster is not healthy")
	local store = helper.open(location, {collect = false, max_events = 300, gc_cadence = 1})
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
	local clock = cluster:clock(assert(cluster:leader()))
	local paused, paused_at
	if kind == "cancel" or kind == "terminate" then
		ended = cluster:end_waits("pg_" .. kind .. "_backend")
		cluster:call "heal"
	else
		cluster:call("fail " .. kind:gsub("%-failsafe", "") .. " leader")
		-- A process that dies meanwhile is no harm, nor one that stands still until another one has taken its watchers.
		local harm = math.random(3)
		if harm > 1 then vigia.sleep(math.random() * 10) end
		if harm == 2 then
			children[4].child:kill()
			start(sources.w, "w")
		elseif harm == 3 then
			paused, paused_at = children[4].child, history.now()
			helper.shell("kill -STOP " .. paused.pid)
			start(sources.w, "w")
		end
		vigia.sleep(math.max(0, failed_at + (HOLD[kind] or 0) - history.now()))
		if kind == "etcd" then cluster:call "heal" end
		if paused then
			children[5].child:expect "ready"
			helper.shell("kill -CONT " .. paused.pid)
			for _, name in ipairs{"batch", "hand", "effects"} do paused:expect(name .. " watcher_owned") end
		end
	end
	local since = math.max(history.now(), failed_at + 2)
	wait(180, function() return is_acknowledged_since({logs[1], logs[2]}, since) end, "nothing is acknowledged any more")
	vigia.sleep(3)
	cluster:call "heal"
	wait(180, function() return cluster:is_healthy() end, "the cluster did not become healthy")
	local healed_at = history.now()
	clock = cluster:clock(assert(cluster:leader())) - clock
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
		if i == 4 and paused then histories[i] = without_ghost(histories[i], paused_at) end
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
	local summary = ("%s seed=%d connect_timeout=%d acknowledged=%d events=%d removed=%d effects=%d ended=%d paused=%d clock=%d "
		.. "interruption=%.1f %s"):format(kind, seed, deadline, what.appends, latest, final.oldest - 1, what.effects, ended,
		paused and 1 or 0, clock, gap, table.concat(codes, " "))
	return wrong, summary, logs
end

---- all of them ----

describe("a cluster whose servers fail", function()
	if not os.getenv("VIGIA_SOAK") then
		it("is tried in the long form", function() helper.pending("runs with scripts/test --long") end)
		return
	end
	after_each(cli.clean)

	it("loses, doubles and renumbers no acknowledged event, and its watchers go on in order [P2]", function()
		if helper.shell("command -v patroni") == "" then return helper.pending("there is no Patroni: vendor/install cluster") end
		local base_seed = math.tointeger(tonumber(os.getenv("VIGIA_SEED"))) or 1
		local rounds = math.tointeger(tonumber(os.getenv("VIGIA_FAILOVERS"))) or 3
		local kinds = os.getenv("VIGIA_FAILOVER_KINDS") or table.concat(KINDS, ",")
		helper.shell("mkdir -p " .. RESULTS)
		local cluster
		finally(function() if cluster then cluster.pipe:close() end end)
		local failovers, acknowledged, behind = 0, 0, 0
		for round = 1, rounds do
			for number, kind in ipairs(KINDS) do
				local seed = base_seed * 1000 + round * 10 + number
				local file = ("%s/%s-%d"):format(RESULTS, kind, seed)
				local wanted = ("," .. kinds .. ","):find("," .. kind .. ",", 1, true)
				if wanted and not lfs.attributes(file) then
					local failsafe = kind:find("failsafe", 1, true) ~= nil
					if cluster and cluster.failsafe ~= failsafe then
						cluster.pipe:close()
						cluster = nil
					end
					cluster = cluster or start_cluster(failsafe)
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
					local summary = helper.read_file(file)
					acknowledged = acknowledged + math.tointeger(tonumber(summary:match("acknowledged=(%d+)")))
					if tonumber(summary:match("clock=(-?%d+)")) < 0 then behind = behind + 1 end
				end
			end
		end
		helper.covered("failovers", "%d failovers, %d to a clock that was behind, %d appends acknowledged, seed %d", failovers, behind,
			acknowledged, base_seed)
	end)

	it("is stopped with all its processes by Ctrl-C and by SIGTERM of `scripts/cluster run`", function()
		if helper.shell("command -v patroni") == "" then return helper.pending("there is no Patroni: vendor/install cluster") end
		for _, signal in ipairs{"INT", "TERM"} do
			local folder = helper.path("cluster")
			helper.shell("mkfifo '" .. helper.path("stdin") .. "'")
			local pipe <close> = assert(io.popen(("echo $$; exec scripts/cluster run --folder %s fsync=off < '%s'")
				:format(folder, helper.path("stdin"))))
			local stdin <close> = assert(io.open(helper.path("stdin"), "w"))
			local pid = pipe:read("l")
			assert(pipe:read("l"):find("^postgresql://"))
			helper.shell(("kill -%s %s"):format(signal, pid))
			assert.is_nil(pipe:read("l")) -- it has ended, though its input has not
			assert.is_nil(lfs.attributes(folder))
			assert.equal("", helper.shell(("ls -l /proc/[0-9]*/cwd 2>/dev/null | grep '%s/'"):format(folder)))
			os.remove(helper.path("stdin"))
			assert(stdin)
		end
	end)

	-- What fails here, one after the other.
	local STREAM_KINDS <const> = {"server", "node", "stop-node", "server"}

	-- Lists of appends so long that a history takes some minutes.
	local LONGEST <const> = {lua = 20, bacalhau = 60}

	for _, name in ipairs{"lua", "bacalhau"} do
		it(("has handlers make of the history of %s what git and sums say, with kills on both sides [P2 W3f X4]"):format(name), function()
			local wanted = os.getenv("VIGIA_FAILOVER_STREAMS") or "lua,bacalhau"
			if not ("," .. wanted .. ","):find("," .. name .. ",", 1, true) then return helper.pending("not wanted") end
			if helper.shell("command -v patroni") == "" then return helper.pending("there is no Patroni: vendor/install cluster") end
			if not streams.there(name) then return helper.pending("there is no folder ../shared/data") end
			local seed = math.tointeger(tonumber(os.getenv("VIGIA_SEED"))) or os.time()
			math.randomseed(seed)
			local cluster = start_cluster()
			finally(function() cluster.pipe:close() end)
			local location = cluster.base .. "stream_" .. name
			local store = helper.open(location)
			local begun = helper.now()
			local running = streams.start(location, name, nil, LONGEST[name], 0.1)
			local failures, failed_at = 0, helper.now()
			while not running:appended() or running:progress(store) < select(2, running:progress(store)) do
				vigia.sleep(1 + math.random() * 2)
				running:go_on()
				if math.random(3) == 1 then running:kill_one() end
				if failures < #STREAM_KINDS and helper.now() > failed_at + 5 then
					failures = failures + 1
					cluster:call("fail " .. STREAM_KINDS[failures] .. " leader")
					for _ = 1, 12 do
						vigia.sleep(3)
						running:go_on()
						if math.random(3) == 1 then running:kill_one() end
					end
					cluster:call "heal"
					wait(180, function() return cluster:is_healthy() end, "the cluster did not become healthy")
					failed_at = helper.now()
				end
				assert(helper.now() < begun + 1800, "the handlers did not come to the end")
			end
			assert(failures > 1 and running.kills > 1, "it was over too early")
			running:finish()
			local outcome = streams.outcome(streams.events(name))
			assert.equal(streams.git_tree(name), outcome.tree)
			local found = streams.found(store, location)
			assert(found.tree == outcome.tree, "the tree differs from git's")
			assert.same(outcome.balances, found.balances)
			assert.same(outcome.overdrawn, found.overdrawn)
			assert(cli.ok{"run", "--store", location, "scripts/handlers/tree.lua", "--until-idle"}.out == outcome.tree, "the log's tree differs")
			assert(cli.ok{"verify", "--store", location})
			helper.covered("streams", "%d events of %s, %d failures of servers, %d kills, %.0f s, seed %d", (store:get_latest_event_num()),
				name, failures, running.kills, helper.now() - begun, seed)
			store:close()
		end)
	end
end)
