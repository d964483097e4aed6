-- replaced_spec.lua - a store whose file was deleted or replaced under a running process (contract S18).

local core = require "vigia.core"
local helper = require "spec.helper"
local vigia = require "vigia"

local fill = helper.fill

-- Append until it is refused; returns the error, and the last number that was given. One that began more than a second after `since`, when
-- the file went, is refused, however slow the machine is.
local function refused(store, since)
	local last
	repeat
		local begin = core.monotonic()
		local n, err = store:store_event("CREATE", "Job", 1)
		if not n then return err, last end
		last = n
		assert(begin - since <= 1, "nobody noticed within a second")
		vigia.sleep(0.01)
	until false
end

local function pid()
	local file <close> = assert(io.open("/proc/self/stat"))
	return file:read("n")
end

describe("a file that is not there any more", function()
	local store

	before_each(function()
		store = helper.open(nil, {durability = "none"})
		fill(store, 3)
	end)
	after_each(function()
		store = nil
		helper.clean()
	end)

	it("that was deleted refuses appends, checkpoints, trims and reads [S18a]", function()
		assert(os.remove(helper.path("store")))
		local err = refused(store, core.monotonic())
		assert.equal("store_replaced", err.code)
		helper.mentions(err, helper.path("store"), "open")
		helper.fails("store_replaced", store:store_checkpoint("w", 1))
		helper.fails("store_replaced", store:trim(1))
		helper.fails("store_replaced", store:gc())
		helper.fails("store_replaced", store:get_events{timeout = 0})
		helper.fails("store_replaced", store:get_event(1))
		helper.fails("store_replaced", store:get_checkpoint("w"))
		helper.fails("store_replaced", store:get_latest_event_num())
	end)

	it("that was deleted stops a watcher before the log hears of it [S18e]", function()
		local watcher, state
		do
			local registry <close> = vigia.registry(store, {log = function(_, message)
				if message:find("stops", 1, true) then state = watcher:stats().state end
			end})
			local handle, seen = helper.recorder()
			watcher = assert(registry:watch("w", handle))
			helper.drive(registry, function() return #seen == 3 end)
			assert(os.remove(helper.path("store")))
			helper.drive(registry, function() return state end)
			assert.not_equal("running", state)
			assert.equal("store_replaced", watcher:stats().last_error.code)
		end
	end)

	it("that was replaced refuses appends, and the new one gets none of them [S18b]", function()
		helper.open(helper.path("new")):close()
		os.rename(helper.path("store"), helper.path("old"))
		for _, name in ipairs{"lock", "side"} do os.remove(helper.path("store-" .. name)) end
		os.rename(helper.path("new"), helper.path("store"))
		local since = core.monotonic()
		assert.equal("store_replaced", refused(store, since).code)
		assert.equal("store_replaced", refused(store, since).code)
		local new = helper.open()
		assert.equal(0, new:get_latest_event_num())
		assert.equal(1, new:store_event("CREATE", "Job", 1))
		helper.fails("store_replaced", store:store_event("CREATE", "Job", 1))
	end)

	it("is not taken for the new one: that opens when everybody has closed the old one [S18d]", function()
		helper.open(helper.path("new")):close()
		-- LMDB's lock file stays: two data files under one would use one another's transaction numbers
		os.rename(helper.path("new"), helper.path("store"))
		assert.equal("store_replaced", refused(store, core.monotonic()).code)
		local try = [[
			local store, err = vigia.open(arg[1])
			say(store and store:get_latest_event_num() or err.code)
		]]
		for _ = 1, 2 do
			helper.mentions(helper.fails("store_replaced", vigia.open(helper.path("store"))), "close", "(pid " .. pid() .. ")")
			assert.equal("store_replaced\n", (helper.run_lua("", try, helper.path("store"))))
		end
		os.remove(helper.path("store"))
		helper.fails("store_replaced", vigia.open(helper.path("store")))
		assert.is_nil(require("lfs").attributes(helper.path("store")))
		store:close()
		assert.equal("0\n", (helper.run_lua("", try, helper.path("store"))))
	end)

	it("that is put back takes appends again [S18c]", function()
		os.rename(helper.path("store"), helper.path("away"))
		assert.equal("store_replaced", refused(store, core.monotonic()).code)
		os.rename(helper.path("away"), helper.path("store"))
		local since, begin = core.monotonic(), nil
		repeat
			assert(begin == nil or begin - since <= 1, "it stays refused for more than a second")
			vigia.sleep(0.01)
			begin = core.monotonic()
		until store:store_event("CREATE", "Job", 1)
	end)

	-- Beside the new name LMDB would make another lock file: two writers, and events acknowledged to both under one number.
	for _, way in ipairs{{"was renamed"}, {"was renamed and left a link behind", link = true}, {"moved to another folder", folder = "f/"}} do
		it("that " .. way[1] .. " is opened by its new name once everybody has closed it, and no event is lost [S17l S18k E2]", function()
			local new = helper.path((way.folder or "") .. "renamed")
			if way.folder then assert(require("lfs").mkdir(helper.path("f"))) end
			assert(os.rename(helper.path("store"), new))
			if way.link then helper.shell(("ln -s '%s' '%s'"):format(new, helper.path("store"))) end
			local since = core.monotonic()
			local try = [[
				local store, err = vigia.open(arg[1], {readonly = arg[2] == "readonly"})
				say(store and store:get_latest_event_num() or tostring(err))
			]]
			for _, mode in ipairs{"readonly", "write"} do
				helper.mentions(helper.run_lua("", try, new, mode), "(pid " .. pid() .. ")", "another name", "must close")
			end
			local err, last = refused(store, since)
			assert.equal("store_replaced", err.code)
			store:close()
			assert.equal((last or 3) .. "\n", (helper.run_lua("", try, new, "write")))
		end)
	end

	it("is opened by another path of the same folder, as a container has it [S17m]", function()
		assert(require("lfs").mkdir(helper.path("f")))
		local folder = helper.path("f")
		local opened <close> = helper.open(folder .. "/s")
		fill(opened, 2)
		assert(os.rename(folder, helper.path("g")))
		helper.shell(("ln -s '%s' '%s'"):format(helper.path("g"), folder))
		local write = [[say(assert(vigia.open(arg[1])):store_event("CREATE", "Job", 1))]]
		assert.equal("3\n", (helper.run_lua("", write, helper.path("g/s"))))
		assert.equal(4, opened:store_event("CREATE", "Job", 1))
	end)

	for _, name in ipairs{"lock", "side"} do
		it("whose " .. name .. " file was deleted is written by newcomers only, each number once [S18d E2j]", function()
			assert(os.remove(helper.path("store-" .. name)))
			assert.same({"4"}, helper.child([[say(assert(vigia.open(arg[1])):store_event("CREATE", "Job", 1))]],
				helper.path("store")):wait())
			local err = helper.fails("store_replaced", store:store_event("CREATE", "Job", 2))
			helper.mentions(err, helper.path("store-" .. name))
			helper.fails("store_replaced", store:store_checkpoint("w", 1))
			do
				local registry <close> = vigia.registry(store)
				helper.fails("store_replaced", registry:watch("w", function() end))
			end
			store:close()
			assert.equal(5, helper.open():store_event("CREATE", "Job", 2))
		end)
	end

	it("whose lock file is a link or no file is refused, and what the link leads to is left alone [S17k]", function()
		store:close()
		local lock, other = helper.path("store-lock"), helper.path("other")
		os.remove(lock)
		helper.shell(("ln -s '%s' '%s'"):format(other, lock))
		helper.mentions(helper.fails("io_error", vigia.open(helper.path("store"))), lock)
		assert.is_nil(io.open(other))
		os.remove(lock)
		helper.shell(("mkfifo '%s'"):format(lock))
		helper.mentions(helper.fails("io_error", vigia.open(helper.path("store"))), lock)
		os.remove(lock)
		assert.equal(3, helper.open():get_latest_event_num())
	end)
end)

-- Each way to make a store something else under its users; the file of the store is given.
local ways = {
	{"deleted", function(path) assert(os.remove(path)) end},
	{"replaced by another store", function(path)
		helper.open(path .. "-new"):close()
		os.rename(path .. "-new", path)
	end},
	{"emptied", function(path) assert(io.open(path, "w")):close() end},
	{"overwritten by cp from a backup", function(path) helper.shell(("cp '%s' '%s'"):format(helper.path("backup"), path)) end},
}

for _, name in ipairs{"lock", "side"} do
	ways[#ways + 1] = {"robbed of its " .. name .. " file", function(path) assert(os.remove(path .. "-" .. name)) end}
	ways[#ways + 1] = {"given another " .. name .. " file", function(path)
		assert(os.rename(path .. "-" .. name, path .. "-away")) -- its old one has a name yet
		assert(io.open(path .. "-" .. name, "w")):close()
	end}
end

-- Without a moment in which the file is shorter, where its users would meet a SIGBUS.
local function overwrite(path, bytes)
	local file <close> = assert(io.open(path, "r+b"))
	assert(file:write(bytes))
end

local function bytes_of(path)
	local file <close> = assert(io.open(path, "rb"))
	return file:read("a")
end

for name, bytes in pairs{
	["an earlier copy of itself"] = function() return bytes_of(helper.path("earlier")) end,
	["another store with more commits"] = function()
		local other = helper.open(helper.path("other"), {durability = "none"})
		for n = 1, 100 do assert(other:store_event("CREATE", "Job", n)) end
		other:close()
		return bytes_of(helper.path("other"))
	end,
	["what is no store"] = function() return ("no store "):rep(10000) end,
} do
	ways[#ways + 1] = {"overwritten in place by " .. name, function(path) overwrite(path, bytes()) end}
end

local SIGBUS <const> = 7

describe("a store under its users", function()
	local store, program = nil, helper.program()

	before_each(function()
		store = helper.open(nil, {durability = "none"})
		fill(store, 3)
		assert(store:backup(helper.path("backup")))
		store:close()
		overwrite(helper.write_file("earlier", ""), bytes_of(helper.path("store")))
		store = helper.open(nil, {durability = "none"})
		for _ = 1, 20 do fill(store, 3) end
		store:close()
	end)
	after_each(helper.clean)

	-- A process in a long poll; the function it returns expects that it was refused.
	local function poll(path)
		local child = helper.child([[
			local store = assert(vigia.open(arg[1], {collect = false, durability = "none"}))
			local latest = vigia.after_sequence_number(store:get_latest_event_num())
			say("ready")
			local answer, err = store:get_events{event_iterator = latest, timeout = 30}
			say(answer and "nothing" or err.code)
		]], path)
		child:expect("ready")
		child:asleep()
		return function() child:expect("store_replaced") end, child
	end

	-- A process with watchers; that they have stopped.
	local function run(path)
		local child = helper.child([[
			local store = assert(vigia.open(arg[1], {collect = false, durability = "none", checkpoint_interval = 0.01}))
			local stops = 0
			local registry = assert(vigia.registry(store, {log = function(_, message)
				if message:find("^watcher '%a+': stops") then stops = stops + 1 end
			end}))
			local watchers = {
				idle = assert(registry:watch("idle", function() end)),
				failing = assert(registry:watch("failing", function() error("it fails") end, {initial_backoff = 1000, max_backoff = 1000})),
				script = assert(registry:watch("script", arg[2])),
			}
			while watchers.idle:stats().lag > 0 or watchers.failing:stats().failed == 0 or watchers.script:stats().lag > 0 do
				registry:step(0.1)
			end
			while registry:step(0.3) do end -- nothing more to tell, or to save
			say("ready")
			local deadline = os.time() + 30
			-- No look at the stats, which read: where pages were lost that may be a SIGBUS.
			while stops < 3 and os.time() < deadline do registry:step(1) end
			if stops == 3 then assert(registry:run()) end
			for _, id in ipairs{"idle", "failing", "script"} do
				local stats = watchers[id]:stats()
				say(id, stats.state, stats.last_error.code)
			end
		]], path, helper.write_file("script.lua", "return function() end"))
		child:expect("ready")
		child:asleep()
		return function()
			for _, id in ipairs{"idle", "failing", "script"} do child:expect(id .. "\tstopped\tstore_replaced") end
		end, child
	end

	-- Each way with a store and a process of its own: one that notices wakes those beside it, which then touch what may be gone before they
	-- look. What is noticed in a second is told some time later on a busy machine; not to notice takes 30. A process that reads what was
	-- cut off before it looks may end by SIGBUS, as S18 says: that is no failure of these, and nothing else may end one.
	local function all_notice(start)
		local bytes, expected = bytes_of(helper.path("store")), {}
		for n, way in ipairs(ways) do
			local path = helper.write_file("store" .. n, bytes)
			local notices, child = start(path)
			expected[n] = {way[1], way[2], path, notices, child}
		end
		for _, one in ipairs(expected) do one[2](one[3]) end
		local since = core.monotonic()
		for _, one in ipairs(expected) do
			local ok, err = pcall(one[4])
			local how, signal
			if not ok then how, signal = select(2, one[5]:wait()) end
			ok = ok or (one[1] == "emptied" and how == "signal" and signal == SIGBUS)
			assert(ok, one[1] .. ": " .. tostring(err))
		end
		assert(core.monotonic() - since < 20, "nobody noticed")
	end

	it("that is deleted, replaced, emptied or overwritten in place is noticed by long polls within a second [S18e]", function()
		all_notice(poll)
	end)

	it("that is deleted, replaced, emptied or overwritten in place is noticed by watchers and scripts within a second [S18e]", function()
		all_notice(run)
	end)

	it("that is replaced ends vigia run and events --follow with status 1 [S18f]", function()
		if not program then return helper.pending("the program vigia was not built beside the module") end
		local script = helper.write_file("script.lua", "return function() end")
		local path = helper.path("store")
		local function start(words)
			return helper.child([[
				local pipe = assert(io.popen(arg[1] .. " 2>&1; echo status $?"))
				for line in pipe:lines() do say(line) end
			]], words)
		end
		local follow = start(("timeout 30 '%s' events --store '%s' --follow --from after:62"):format(program, path))
		local running = start(("timeout 30 '%s' run --verbose --store '%s' '%s'"):format(program, path, script))
		helper.mentions(follow:line(), '"seq_num":63')
		helper.mentions(running:line(), "watcher 'script'")
		os.remove(path)
		local said = follow:wait()
		assert.equal("status 1", said[#said])
		helper.mentions(said[#said - 1], "deleted or replaced")
		said = table.concat(running:wait(), "\n")
		helper.mentions(said, "status 1", "watcher 'script' stopped", "deleted or replaced")
	end)

	it("that was overwritten in place takes no commit more, also from a writer that does not look at the time [S18g]", function()
		store = helper.open(nil, {durability = "none"})
		local handle, seen = helper.recorder()
		local earlier = bytes_of(helper.path("earlier"))
		do
			local registry <close> = vigia.registry(store, {log = function() end})
			local watcher = assert(registry:watch("w", handle))
			helper.drain(registry, watcher)
			assert.equal(63, #seen)
			overwrite(helper.path("store"), earlier)
			helper.fails("store_replaced", store:store_event("CREATE", "Job", 1)) -- within the second, too
			registry:stop()
		end
		helper.fails("store_replaced", store:store_checkpoint("w", 1))
		store:close()
		assert.equal(earlier, bytes_of(helper.path("store")):sub(1, #earlier))
		store = helper.open()
		assert.equal(3, store:get_latest_event_num())
		helper.fails("checkpoint_not_found", store:get_checkpoint("w"))
	end)

	it("that was overwritten in place is not opened by newcomers while it is used; they are told who does [S18h]", function()
		store = helper.open(nil, {durability = "none"})
		local try = [[
			local store, err = vigia.open(arg[1])
			say(store and store:get_latest_event_num() or err.code .. ": " .. tostring(err))
		]]
		local path = helper.path("store")
		local backup = bytes_of(helper.path("backup"))
		for _, bytes in ipairs{bytes_of(helper.path("earlier")), backup, ""} do
			if bytes == "" then assert(io.open(path, "w")):close() else overwrite(path, bytes) end
			local now = bytes_of(path)
			local said = helper.run_lua("", try, path)
			helper.mentions(said, "store_replaced", "(pid " .. pid() .. ")")
			assert.equal(now, bytes_of(path))
		end
		store:close()
		overwrite(path, backup)
		assert.equal("3\n", (helper.run_lua("", try, path)))
	end)
end)
