-- disk_spec.lua - a disk that is full: a clear error, nothing half written, and work goes on when there is room again.
--
-- The disk is a small tmpfs in a mount namespace of its own, which is gone with the process. Where the system allows no such thing the
-- specs say aloud that they are skipped; spec/c/test_faults.c has the same with a limit on the size of files.

local helper = require "spec.helper"

-- Runs a Lua source on a disk of `size` in its folder `disk`; what it has at hand: fill() and free() for the disk, fails(code, ...).
local function on_disk(size, source)
	local disk = helper.path("disk")
	assert(require "lfs".mkdir(disk))
	local prefix = ("unshare -rm -- sh -c 'mount -t tmpfs -o size=%s none \"$0\" && exec \"$@\"' %s"):format(size, helper.quoted(disk))
	if not select(2, helper.shell(prefix .. " true")) then return nil end
	return helper.run_lua(prefix, [[
		local disk = arg[1]
		local function fill() os.execute("cat /dev/zero >'" .. disk .. "/filler' 2>/dev/null") end
		local function free() assert(os.remove(disk .. "/filler")) end
		local function fails(code, value, err)
			assert(value == nil, "it did not fail")
			assert(err.code == code and tostring(err):find "the disk is full", tostring(err.code) .. ": " .. tostring(err))
		end
		local function verify(path)
			if not arg[2] then return end
			local pipe = io.popen(arg[2] .. " verify --store '" .. (path or disk .. "/store") .. "'")
			local said = pipe:read("a")
			assert(pipe:close() and said:find("no damage"), said)
		end
		-- Fill what room there is inside the file, too: the last number. Not even a checkpoint finds a page then.
		local function exhaust(store)
			for _, body in ipairs{("x"):rep(3000), "x"} do
				repeat local number, err = store:store_event("CREATE", "Filler", body) until not number and fails("disk_full", nil, err) == nil
			end
			return assert(store:get_latest_event_num())
		end
	]] .. source .. " print('fine')", disk, helper.program() and helper.quoted(helper.program()))
end

local function check(output)
	if not output then return helper.pending("no mount namespace of its own is allowed here") end
	assert.equal("fine\n", output)
end

describe("a full disk", function()
	after_each(helper.clean)

	it("D4i is an error that says so to append, checkpoint and trim; nothing is half done; and it works on afterwards", function()
		check(on_disk("2m", [[
			local store = assert(vigia.open(disk .. "/store"))
			local body = ("x"):rep(3000)
			for _ = 1, 20 do assert(store:store_event("CREATE", "Small", body)) end
			assert(store:store_checkpoint("w", 3))
			fill()
			local last = exhaust(store)
			local large = {}
			for n = 1, 50 do large[n] = {"CREATE", "Large", body} end
			fails("disk_full", store:store_events(large))
			assert(store:get_latest_event_num() == last)
			assert(#store:get_events{timeout = 0}.events == last)
			fails("disk_full", store:store_checkpoint("w", 5))
			fails("disk_full", store:store_checkpoint("new", 5))
			assert(store:get_checkpoint("w") == 3 and not store:get_checkpoint("new"))
			fails("disk_full", store:trim(10))
			fails("disk_full", store:configure{max_event_size = 5000})
			assert(store:get_oldest_event_num() == 1 and store:stats().max_event_size ~= 5000)
			-- A watcher goes on reading, and its progress is saved when there is room again.
			local registry, seen = vigia.registry(store), 0
			assert(registry:watch("w", function() seen = seen + 1 end))
			while seen < last - 3 do assert(registry:step(1) ~= nil) end
			assert(store:get_checkpoint("w") == 3)
			free()
			assert(registry:stop())
			assert(store:get_checkpoint("w") == last)
			assert(store:trim(10))
			assert(store:store_checkpoint("w", 7))
			assert(store:store_events(large) == last + 1)
			store:close()
			verify()
			store = assert(vigia.open(disk .. "/store"))
			assert(store:get_latest_event_num() == last + 50 and store:get_checkpoint("w") == 7 and store:get_oldest_event_num() == 11)
			store:close()]]))
	end)

	it("D4k is an error that says so to the collector, which goes on where it was when there is room", function()
		check(on_disk("2m", [[
			local store = assert(vigia.open(disk .. "/store", {max_events = 5, collect = false}))
			local body = ("x"):rep(3000)
			for _ = 1, 100 do assert(store:store_event("CREATE", "Small", body)) end
			assert(store:store_checkpoint("w", 100))
			fill()
			local last = exhaust(store)
			fails("disk_full", store:gc())
			assert(store:get_oldest_event_num() == 1 and store:get_latest_event_num() == last)
			assert(#store:get_events{timeout = 0, limit = 0}.events == last)
			free()
			assert(store:store_checkpoint("w", last))
			assert(store:gc())
			assert(store:get_oldest_event_num() == last - 4 and store:get_latest_event_num() == last)
			assert(#store:get_events{timeout = 0}.events == 5)
			store:close()
			verify()]]))
	end)

	it("D4j refuses to open a new store, and serves many readers of an old one, instead of dying of a hole in a mapped file", function()
		check(on_disk("1m", [[
			local store = assert(vigia.open(disk .. "/store"))
			assert(store:store_event("CREATE", "Job", 1))
			store:close()
			fill()
			fails("disk_full", vigia.open(disk .. "/other"))
			for _, name in ipairs{"side", "lock"} do
				os.remove(disk .. "/store-" .. name)
				fill()
				fails("disk_full", vigia.open(disk .. "/store"))
				free()
				assert(vigia.open(disk .. "/store")):close()
				fill()
			end
			local again = assert(vigia.open(disk .. "/store"))
			local registry = vigia.registry(again)
			local seen = 0
			for n = 1, 300 do assert(registry:watch("w" .. n, function() seen = seen + 1 end, {checkpoint = "manual"})) end
			while seen < 300 do assert(registry:step(1) ~= nil) end
			registry:stop()
			again:close()]]))
	end)

	it("E8m leaves no part of a backup behind, and the store as it was", function()
		check(on_disk("4m", [[
			local store = assert(vigia.open(disk .. "/store"))
			local body = ("x"):rep(3000)
			for _ = 1, 200 do assert(store:store_event("CREATE", "Small", body)) end
			fill()
			for _, compact in ipairs{false, true} do
				fails("disk_full", store:backup(disk .. "/copy", {compact = compact}))
			end
			local names = {}
			for name in require "lfs".dir(disk) do names[#names + 1] = name end
			assert(#names == 6, table.concat(names, " ")) -- . .. store, its two companions, and the filler
			free()
			assert(store:backup(disk .. "/copy"))
			assert(assert(vigia.open(disk .. "/copy")):get_latest_event_num() == 200)
			store:close()
			verify()
			verify(disk .. "/copy")]]))
	end)
end)
