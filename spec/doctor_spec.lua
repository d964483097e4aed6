-- doctor_spec.lua - `vigia doctor`: each situation that it is to find, made (contract O7).

local cli = require "spec.support.cli"
local helper = require "spec.helper"
local vigia = require "vigia"

local mentions, quoted = helper.mentions, helper.quoted

local EVENT = '{"operation":"CREATE","object_type":"Job","object":%s}'

local store, place -- the path of the test's store; a finding that each store on this disk has, or nil

local function fill(count)
	local lines = {}
	for n = 1, count do lines[n] = EVENT:format(n) end
	cli.append(store, lines)
end

-- What a shell prints, without a line end.
local function shell(command)
	local pipe = assert(io.popen("{ " .. command .. "; } 2>&1"))
	local text = pipe:read("a")
	pipe:close()
	return (text:gsub("\n$", ""))
end

-- The findings of JSON lines: {[id] = the finding}, and the head.
local function parse(text)
	local found, head = {}, nil
	for line in text:gmatch("[^\n]+") do
		local object = assert(require "vigia.core".from_json(line), text)
		if object.store then head = object else found[object.finding] = object end
	end
	assert(head, text)
	assert.equal(head.ok, next(found) == nil)
	return found, head
end

-- Run doctor on the store, by way of a shell command around it.
local function doctor(before, after)
	local command = ("%s%s doctor --store %s --json --seconds 0%s"):format(before or "", quoted(cli.program), quoted(store), after or "")
	return parse(shell(command))
end

-- That it finds this and, but for what is so of the disk, nothing else; returns it.
local function finds(id, found)
	for other, finding in pairs(found) do assert(other == id or other == place, other .. ": " .. finding.what) end
	return assert(found[id], id)
end

local function configure(...)
	cli.ok{"configure", "--store", store, ...}
end

local function checkpoint(id, n)
	local opened = assert(vigia.open(store, {collect = false}))
	assert(opened:store_checkpoint(id, n))
	opened:close()
end

-- A command in a mount namespace of its own, where that is allowed.
local function mounted(commands)
	local text = shell(("unshare -rm -- sh -c %s"):format(quoted(commands .. " && echo done")))
	return text:match("^(.-)\n?done$")
end

describe("vigia doctor", function()
	before_each(function()
		store = helper.path("a.db")
		local kind = shell("stat -f -c %T " .. quoted(helper.path()))
		place = (kind == "tmpfs" or kind == "overlayfs") and "fleeting" or nil
	end)
	after_each(cli.clean)

	it("finds nothing wrong with a store that is well: status 0, and nothing is changed [O7]", function()
		fill(3)
		checkpoint("done", 3)
		local before = cli.read(store)
		local result = cli.run{"doctor", "--store", store}
		local found, head = doctor()
		if place then found[place] = nil end
		assert.is_nil(next(found))
		assert.equal(0, #head.pids)
		assert.equal(before, cli.read(store))
		if not place then
			assert.equal(0, result.status)
			assert.equal(store .. ": nothing is wrong; open in no other process\n", result.out)
		end
	end)

	it("says what is wrong and what to do, with status 1 [O7]", function()
		fill(3)
		checkpoint("far", 100)
		local result = cli.run{"doctor", "--store", store}
		assert.equal(1, result.status)
		mentions(result.out, store .. ": ", "finding",
			"\n\ncheckpoint_beyond_end: watcher 'far' has checkpoint 100, and the last event is 3\n    The watcher will skip")
		assert.equal("", result.err)
	end)

	it("says so if there is no store [O7]", function()
		mentions(cli.fails(1, {"doctor", "--store", store}), store, "there is no such store")
	end)

	it("finds a file that is no store [O7]", function()
		os.execute("chmod 600 " .. quoted(cli.write("a.db", "my only copy")))
		mentions(finds("open", doctor()).what, "not a Vigia store")
	end)

	it("names the other processes that have it open [O7]", function()
		fill(1)
		local process = cli.start{"run", "--store", store,
			cli.write("w.lua", "return {init = function() print('up') io.stdout:flush() end, handle = print}")}
		assert.equal("up", process:line())
		local found, head = doctor()
		assert.same({process.pid}, {table.unpack(head.pids)})
		if place then found[place] = nil end
		assert.is_nil(next(found))
		mentions(cli.run({"doctor", "--store", store, "--seconds", "0"}).out, ("open in process %d (vigia)"):format(process.pid))
	end)

	describe("of the files", function()
		it("finds those that others may read, and that their user may not write [O7]", function()
			fill(1)
			os.execute("chmod 644 " .. quoted(store))
			mentions(finds("rights", doctor()).what, store, "0644", "other users")
			os.execute("chmod 600 " .. quoted(store) .. "; chmod 400 " .. quoted(store .. "-side"))
			local found = doctor()
			mentions(assert(found.rights).what, store .. "-side", "0400", "cannot read and write")
		end)

		it("finds those of another user [O7]", function()
			if shell("id -u") ~= "0" then return helper.pending("chown needs root") end
			fill(1)
			os.execute("chown 1 " .. quoted(store .. "-lock"))
			mentions(finds("owner", doctor()).what, store .. "-lock belongs to user 1, the store to user 0")
		end)
	end)

	describe("of the place", function()
		it("finds memory [O7]", function()
			if shell("stat -f -c %T /dev/shm") ~= "tmpfs" then return helper.pending("/dev/shm is no tmpfs") end
			local folder = shell("mktemp -d /dev/shm/vigia-spec-XXXXXX")
			store = folder .. "/a.db"
			fill(1)
			local found = doctor()
			os.execute("rm -r " .. quoted(folder))
			mentions(assert(found.fleeting).what, "tmpfs")
			mentions(found.fleeting.advice, "lost when the machine stops")
		end)

		it("finds an overlay, a file mounted by itself, and a file system that is read-only [O7]", function()
			fill(1)
			local base = helper.path("mount")
			local function run(commands)
				local text = mounted(("mkdir -p %s && cd %s && %s && { %s doctor --seconds 0 --json --store \"$STORE\" || true; }"):format(
					quoted(base), quoted(base), commands, quoted(cli.program)))
				return text and parse(text:match("{.*$"))
			end
			local found = run("mount -t tmpfs none . && cd ../mount && mkdir a b c d"
				.. " && mount -t overlay -o lowerdir=a,upperdir=b,workdir=c none d && cp " .. quoted(store) .. " d/ && STORE=d/a.db")
			if not found then return helper.pending("no mount namespace of its own is allowed here") end
			mentions(assert(found.fleeting).what, "overlay")
			mentions(found.fleeting.advice, "container")
			found = run(("touch own.db && mount --bind %s own.db && STORE=own.db"):format(quoted(store)))
			mentions(assert(found.mounted).advice, "Mount its folder")
			found = run(("mkdir ro && mv %s* ro/ && mount --bind ro ro && mount -o remount,bind,ro ro && STORE=ro/a.db"):format(
				quoted(store)))
			mentions(assert(found.read_only).what, "read-only")
		end)

		it("finds a disk that is almost full [O7]", function()
			local text = mounted(("mkdir -p %s && mount -t tmpfs -o size=8m none %s && cd %s && %s create --store a.db >/dev/null"
				.. " && { %s doctor --seconds 0 --json --store a.db || true; }"):format(quoted(helper.path("m")), quoted(helper.path("m")),
				quoted(helper.path("m")), quoted(cli.program), quoted(cli.program)))
			if not text then return helper.pending("no mount namespace of its own is allowed here") end
			mentions(assert(parse(text).disk_room).what, "MiB left of 8 MiB")
		end)

		it("finds a network file system, by facts like those of one [O7]", function()
			-- None can be mounted here; spec/c/test_place.c has how each is known.
			local find = require "vigia.cli.doctor_findings"
			local found = find{around = {files = {}, uid = 0, network = "nfs", limits = {}, users = {}}, watchers = {}, letters = {}}
			assert.equal(1, #found)
			assert.equal("network", found[1].id)
			mentions(found[1].what, "nfs")
		end)
	end)

	describe("of limits", function()
		local sanitized <const> = os.getenv("ASAN_OPTIONS") or os.getenv("TSAN_OPTIONS")

		it("finds one on the size of files [O7]", function()
			fill(1)
			mentions(finds("file_size_limit", doctor("ulimit -f 40000; ")).what, "ulimit -f")
		end)

		it("finds one on address space [O7]", function()
			if sanitized then return helper.pending("sanitizers need more") end
			fill(1)
			mentions(finds("address_space_limit", doctor("ulimit -v 8000000; ")).what, "ulimit -v")
		end)

		it("finds a process that has almost as many memory maps as it may [O7]", function()
			local max = tonumber(shell("cat /proc/sys/vm/max_map_count"))
			if max > 1 << 20 then return helper.pending("vm.max_map_count is too high to come near") end
			fill(1)
			local ready = helper.path("ready")
			local holder = io.popen(("exec %s %s %d >%s"):format(quoted(cli.program:gsub("[^/]*$", "") .. "spec/c/map_holder"), quoted(store),
				max * 9 // 10, quoted(ready)), "w")
			helper.eventually(function() return cli.read(ready) == "ready\n" end)
			local found, head = doctor()
			holder:close()
			mentions(finds("max_map_count", found).what, ("process %d has "):format(head.pids[1]), ("at most %d"):format(max))
		end)

		it("finds a map that is almost full [O7]", function()
			if sanitized then return helper.pending("sanitizers need more") end
			local line = ("x"):rep(1000000)
			local lines = {}
			for n = 1, 60 do lines[n] = line end
			cli.ok({"append", "--store", store, "--lines", "--type", "Line"}, {stdin = table.concat(lines, "\n")})
			local found = doctor("ulimit -v 400000; ")
			assert(found.address_space_limit)
			mentions(assert(found.map_room).what, "of the map's 64 MiB are used")
		end)
	end)

	describe("of watchers", function()
		-- A script that fails from event 2 on.
		local function wait_lua()
			return cli.write("w.lua", [[
				return {checkpoint = "event", initial_backoff = 0.01, init = function() print("up") io.stdout:flush() end, handle = function(event)
					if event.seq_num > 1 then error("no luck") end
				end}]])
		end

		it("finds a checkpoint beyond the end, as after an older backup came back [O7]", function()
			fill(2)
			cli.ok{"backup", "--store", store, helper.path("old.db")}
			fill(3)
			checkpoint("far", 5)
			cli.ok{"backup", "--store", store, helper.path("new.db")}
			store = helper.path("old.db")
			checkpoint("far", 5)
			local finding = finds("checkpoint_beyond_end", doctor())
			assert.equal("far", finding.watcher)
			mentions(finding.what, "checkpoint 5", "the last event is 2")
			store = helper.path("new.db")
			assert.is_nil(doctor().checkpoint_beyond_end)
		end)

		it("finds one whose process died, and whose events wait; and one that its process does not run any more [O7]", function()
			fill(1)
			local process = cli.start{"run", "--store", store, wait_lua()}
			assert.equal("up", process:line())
			helper.eventually(function() return cli.ok{"checkpoints", "--store", store}.out:find "w +1 +0" end)
			process:kill()
			assert.is_nil(doctor().dead_owner) -- no event waits
			fill(2)
			local finding = finds("dead_owner", doctor())
			assert.equal("w", finding.watcher)
			mentions(finding.what, ("process %d, the last one that did, has ended; 2 events wait"):format(process.pid))

			local opened = assert(vigia.open(store))
			local registry = vigia.registry(opened, {log = false})
			assert(registry:watch("w", function() end))
			assert(registry:stop())
			assert.is_nil(doctor().dead_owner)
			assert.equal("w", assert(doctor().not_run).watcher)
			opened:close()
		end)

		it("finds one that is paused while events wait [O7 O2]", function()
			fill(1)
			cli.ok{"run", "--store", store, "--until-idle", cli.write("w.lua", "return {id = 'w', handle = function() end}")}
			cli.ok{"pause", "--store", store, "w"}
			assert.is_nil(doctor().paused)
			fill(2)
			local finding = finds("paused", doctor())
			assert.equal("w", finding.watcher)
			mentions(finding.what, "is paused, and 2 events wait")
			cli.ok{"resume", "--store", store, "w"}
			assert.is_nil(doctor().paused)
		end)

		it("finds one that does not get on while events come [O7]", function()
			fill(2)
			local process = cli.start{"run", "--store", store, wait_lua()}
			assert.equal("up", process:line())
			helper.eventually(function() return cli.ok{"checkpoints", "--store", store}.out:find "w +1 +1" end)
			assert.is_nil(doctor().lag_grows) -- as far as two looks at once can tell
			local looks = cli.start{"doctor", "--store", store, "--json", "--seconds", "1"}
			while not looks:gone() do fill(1) end
			local finding = finds("lag_grows", (parse(looks:wait().out)))
			assert.equal("w", finding.watcher)
			mentions(finding.what, "made no progress for 1 s")
			mentions(finding.advice, "process " .. process.pid)
		end)

		it("finds dead letters [O7]", function()
			fill(2)
			cli.ok{"run", "--store", store, "--until-idle",
				cli.write("d.lua", "return {retry_strategy = 'dead_letter', max_retries = 1, handle = function() error('no') end}")}
			local finding = finds("dead_letters", doctor())
			mentions(finding.what, "watcher 'd' has 2 dead letters")
			mentions(finding.advice, "vigia dead list 'd'")
		end)
	end)

	describe("of removal", function()
		it("finds who holds back events beyond max_events [O7]", function()
			fill(5)
			checkpoint("slow", 1)
			checkpoint("quick", 5)
			configure "max_events=2"
			local finding = finds("gc_held", doctor())
			assert.equal("slow", finding.watcher)
			mentions(finding.what, "at most 2 events are kept, and there are 5: watcher 'slow' blocks removal from event 2 on")
			checkpoint("slow", 5)
			mentions(finds("gc_held", doctor()).what, "no process removes them")
			cli.ok{"gc", "--store", store}
			assert.is_nil(doctor().gc_held)
		end)

		it("finds that nobody has handled events that are old, and who has not [O7]", function()
			fill(3)
			configure("gc_age_threshold=0.001", "gc_cadence=0.001")
			local finding
			helper.eventually(function()
				finding = doctor().gc_held
				return finding
			end)
			mentions(finding.what, "events are kept for 0.001 s", "no watcher has a checkpoint")
			checkpoint("slow", 1)
			mentions(assert(doctor().gc_held).what, "watcher 'slow' blocks removal from event 2 on")
		end)
	end)

	it("finds an upgrade that waits until no process has the file open [O7]", function()
		cli.ok{"create", "--store", store, "journal=false"}
		configure "journal=true"
		local finding = finds("unfinished_upgrade", doctor())
		mentions(finding.advice, "Stop all programs once")
		fill(1)
		fill(1)
		assert.is_nil(doctor().unfinished_upgrade)
	end)
end)
