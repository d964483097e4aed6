-- bench_spec.lua - scripts/bench: that each row of its table appears, with what it is compared with, and that nothing is left behind. How
-- fast anything is plays no part.

local helper = require "spec.helper"
local vigia = require "vigia"

local quoted = helper.quoted

local program, build, folder

-- What it prints with these arguments on the programs of this build, and whether it ended well.
local function bench(arguments, before)
	return helper.shell(("%s scripts/bench --built %s --folder %s %s"):format(before or "", quoted(build), quoted(folder), arguments))
end

local function refused(arguments, ...)
	local said, ok = helper.shell("{ scripts/bench " .. arguments .. "; echo status $?; } 2>&1")
	assert.is_true(ok)
	helper.mentions(said, "scripts/bench: ", "status 2\n", ...)
end

-- JSON as Jansson reads it: the object of an event that `vigia append` stored.
local function parsed(text)
	local path = helper.path("json.db")
	local input = helper.write_file("json", '{"operation":"CREATE","object_type":"Bench","object":' .. text:gsub("%s*$", "") .. "}\n")
	local said, ok = helper.shell(("%s append --store %s < %s"):format(program, quoted(path), quoted(input)))
	assert(ok, said)
	local store <close> = assert(vigia.open(path))
	return helper.objects(store, "Bench")[1]
end

local function exists(path)
	local file <close> = io.open(path)
	return file ~= nil
end

-- What --peers needs is a group of packages of its own.
local function peers_are_there()
	return exists(build .. "/peers/sqlite") and exists(build .. "/peers/redis") and select(2, helper.shell("command -v redis-server"))
end

local function left_behind()
	return (helper.shell("ls -A " .. quoted(folder)))
end

describe("scripts/bench", function()
	before_each(function()
		program = helper.program()
		build = assert(os.getenv("VIGIA_PROGRAM")):match("^(.*)/")
		folder = helper.path("work")
		helper.shell("mkdir " .. quoted(folder))
	end)
	after_each(helper.clean)

	it("prints each row with what it is compared with and its target", function()
		local said, ok = bench("--rounds 1 --scale 0.001 2>&1")
		assert(ok, said)
		helper.mentions(said, "# scripts/bench --built ", "LMDB 0.", "medians of 1 interleaved rounds",
			"durable, 1 caller ", "durable, 16 callers ", "durable, 64 callers ", "32 processes, p99", "64 coroutines", "batches of 1000",
			"not synced, 1 caller, C", "not synced, 1 caller, Lua", "ten watchers",
			"beside one that is open for long", "without it (",
			"through a watcher, Lua, not synced", "without them (", "through a watcher, Lua, durable ", "events a commit",
			"to a C handler ", "journal's tail", "whole object", "keeps 1 %", "keeps 0.01 %",
			"in one process, not synced, p50", "from the call, not synced", "across processes, p99",
			"across processes, from the call", "all processors busy",
			"the last of 100 in one registry", "the last of 100 in 100 threads",
			"100 of other types", "10,000 of other types", "a writer that 100 follow",
			"removal of old events", "opening after a crash", "an empty file", "bytes on disk an event",
			"one fdatasync of 4 KiB (", ">= 2 ", "x   LMDB (")
		assert.is_nil(said:find("Redis", 1, true))
		assert.equal("", left_behind())
	end)

	it("prints the table as JSON, with every figure of every round", function()
		local peers = peers_are_there() and "--peers" or ""
		local text, ok = bench("--only append --only store --rounds 2 --scale 0.001 --json " .. peers)
		assert(ok, text)
		local result = parsed(text)
		assert.equal(2, result.rounds)
		assert.truthy(result.machine.processors >= 1 and result.versions.LMDB and result.command:find("--only append", 1, true))
		local titles, engines = {}, {}
		for _, row in ipairs(result.rows) do
			assert.equal(2, #row.rounds)
			assert.truthy(row.median >= math.min(table.unpack(row.rounds)) and row.median <= math.max(table.unpack(row.rounds)))
			titles[row.title] = true
			for _, against in ipairs(row.against) do
				if against.to then
					engines[against.to] = true
					assert.truthy(math.abs(against.ratio - row.median / against.median) < 1e-3 * against.ratio, row.title)
				end
				if against.at_least then assert.equal((against.ratio or row.median) >= against.at_least, against.met) end
			end
		end
		assert.truthy(titles["durable, 1 caller"] and titles["an empty file"] and not titles["to a C handler"])
		assert.equal(peers ~= "" or nil, engines.SQLite)
		assert.equal(peers ~= "" or nil, engines.Redis)
		assert.equal("", left_behind())
	end)

	it("measures logs on PostgreSQL, on one server and with a quorum", function()
		if not os.getenv("VIGIA_SOAK") then helper.pending("four servers are started with VIGIA_SOAK=1") end
		if not peers_are_there() then helper.pending("vendor/install bench has not been run") end
		local said, ok = bench("--peers --only postgresql --rounds 1 --scale 0.01 2>&1")
		assert(ok, said)
		helper.mentions(said, "PostgreSQL 1", "durable, 64 callers ", "one server (", "the same with a quorum (", "batches of 1000",
			"catch-up of a watcher, Lua", "from the answer, p50", "reads of an event for 100 watchers")
		assert.equal("", left_behind())
		assert.equal("", (helper.shell("find /var/tmp -maxdepth 1 -name 'vigia-bench.*'")))
	end)

	for name, signal in pairs{["Ctrl-C"] = "INT", ["SIGTERM"] = "TERM"} do
		it("leaves neither a server nor files behind after " .. name, function()
			local peers = peers_are_there() and "--peers" or ""
			-- It runs in a session of its own; all of what it started has its folder as an argument or as its own.
			local said = helper.shell(([[
				env --default-signal=INT scripts/bench --only append --built %s --folder %s %s >%s/out 2>&1 & bench=$!
				busy() { pgrep -f -- %s/bench >/dev/null; }
				for i in $(seq 400); do [ -z "$(pgrep -f -- %s/'bench.*append')" ] || break; sleep 0.05; done
				busy || { cat %s/out; echo it does not run; }
				kill -%s $bench; wait $bench; echo status $?
				for i in $(seq 100); do busy || break; sleep 0.05; done
				busy && pgrep -fa -- %s/bench; rm -f %s/out]]):format(quoted(build), quoted(folder), peers, quoted(folder), quoted(folder),
				quoted(folder), quoted(folder), signal, quoted(folder), quoted(folder)))
			assert.equal(("status %d\n"):format(signal == "INT" and 130 or 143), said)
			assert.equal("", left_behind())
		end)
	end

	it("refuses what it does not know, by name", function()
		refused("--nope", "no option '--nope'")
		refused("nope", "nothing called 'nope'")
		refused("--rounds", "--rounds needs a value")
		refused("--rounds 0", "--rounds needs a number", "'0'")
		refused("--scale x", "--scale needs a number", "'x'")
		refused("--only nope", "no part 'nope'", "append, beside")
		refused("--only postgresql", "--only postgresql needs --peers")
		refused("--plot /nowhere", "--plot needs a folder", "'/nowhere'")
		refused("--folder /nowhere", "--folder needs a folder")
		refused("--built /nowhere", "--built needs a build folder")
		refused("gc --json", "do not go with gc")
	end)
end)
