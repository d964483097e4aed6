-- disk_spec.lua - a disk that is full: a clear error, nothing half written, and work goes on when there is room again.
--
-- The disk is a small tmpfs, or an ext4 in a file, in a mount namespace of its own, which is gone with the process. Where the system allows
-- no such thing the specs say aloud that they are skipped; spec/c/test_faults.c has the same with a limit on the size of files.

local helper = require "spec.helper"

local TMPFS <const> = "unshare -rm -- sh -c 'mount -t tmpfs -o size=%s none \"$0\" && exec \"$@\"' %s"
local EXT4 <const> = "unshare -m -- sh -c 'truncate -s %s \"$0.image\" && mkfs.ext4 -q \"$0.image\" && " ..
	"mount -o loop \"$0.image\" \"$0\" && exec \"$@\"' %s"

local SIDE <const> = 520 -- KiB of rows in a side file

-- The stores: one without a journal; one whose journal is not used, as its drain has no room; one whose journal is used. `more`: KiB of
-- room; `large`: bytes of an event, 400 of which are too much for what is reserved.
local FORMS <const> = {
	{name = "no journal", more = 0, large = 3000},
	{name = "a journal that is passed by", more = 1200, large = 4000},
	{name = "a journal", more = 10000, large = 14000},
}

-- Runs a Lua source on a disk of `size` KiB in its folder `disk`; what it has at hand: fill() and free() for the disk, fails(code, ...).
local function on_disk(form, size, source, kind)
	local disk = helper.path("disk")
	assert(require "lfs".mkdir(disk))
	local prefix = (kind or TMPFS):format(size + form.more + SIDE .. "k", helper.quoted(disk))
	if not select(2, helper.shell(prefix .. " true")) then return nil end
	return helper.run_lua(prefix, ("local JOURNAL <const>, LARGE <const> = %s, ('x'):rep(%d)"):format(form.more > 0, form.large) .. [[

		local disk = arg[1]
		local open = vigia.open
		function vigia.open(path, options)
			options = options or {}
			if not JOURNAL then options.journal = false end
			return open(path, options)
		end
		local function fill() os.execute("cat /dev/zero >'" .. disk .. "/filler' 2>/dev/null") end
		local function free() assert(os.remove(disk .. "/filler")) end
		local function fails(code, value, err)
			assert(value == nil, "it did not fail")
			assert(err.code == code and tostring(err):find "the disk is full", tostring(err.code) .. ": " .. tostring(err))
		end
		local function queued(done, err) assert(done == true, tostring(err or done)) end
		local function verify(path)
			if not arg[2] then return end
			local pipe = io.popen(arg[2] .. " verify --store '" .. (path or disk .. "/store") .. "'")
			local said = pipe:read("a")
			assert(pipe:close() and said:find("no damage"), said)
		end
		-- Fill what room there is inside the file, too: the last number. Not even a checkpoint finds a page then.
		local function exhaust(store, ...)
			for _, body in ipairs{("x"):rep(3000), ...} do
				repeat local number, err = store:store_event("CREATE", "Filler", body) until not number and fails("disk_full", nil, err) == nil
			end
			return assert(store:get_latest_event_num())
		end
	]] .. source .. " print('fine')", disk, helper.program() and helper.quoted(helper.program()))
end

local function each_form(size, source, kind, expected)
	for _, form in ipairs(FORMS) do
		local output = on_disk(form, size, source, kind)
		if not output then return helper.pending("no mount namespace of its own is allowed here") end
		if expected then expected(output) else assert.equal(form.name .. ": fine\n", form.name .. ": " .. output) end
		helper.clean()
	end
end

describe("a full disk", function()
	after_each(helper.clean)

	it("is an error that says so to appends; nothing is half done; and it works on afterwards [D4i]", function()
		each_form(2048, [[
			-- Nobody else reads: what a reader holds is free when it ends, and the disk is not as full as it was.
			local store = assert(vigia.open(disk .. "/store", {collect = false}))
			local body = ("x"):rep(3000)
			for _ = 1, 20 do assert(store:store_event("CREATE", "Small", body)) end
			assert(store:store_checkpoint("w", 3))
			fill()
			local last = exhaust(store, "x")
			local large = {}
			for n = 1, 50 do large[n] = {"CREATE", "Large", body} end
			fails("disk_full", store:store_events(large))
			assert(store:get_latest_event_num() == last)
			assert(#store:get_events{timeout = 0, limit = 0}.events == last)
			-- A watcher goes on reading.
			local registry, seen = vigia.registry(store), 0
			assert(registry:watch("w", function() seen = seen + 1 end))
			while seen < last - 3 do assert(registry:step(1) ~= nil) end
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
			store:close()]])
	end)

	-- Half of a full store is trimmed, and what became free is used, again and again.
	local FREES <const> = [[
			local store = assert(vigia.open(disk .. "/store"))
			local body = ("x"):rep(3000)
			for n = 1, 20 do
				local events = {}
				for i = 1, 10 do events[i] = {"CREATE", "Small", body} end
				assert(store:store_events(events, {key = "k" .. n}))
			end
			for n = 1, 3 do assert(store:store_checkpoint("w" .. n, 3)) end
			fill()
			local last = exhaust(store)
			-- Whoever opens it now finds the reserve, too.
			store:close()
			store = assert(vigia.open(disk .. "/store"))
			assert(store:get_latest_event_num() == last)
			fails("disk_full", store:store_event("CREATE", "Filler", body))
			assert(store:trim(last // 2) == last // 2)
			assert(store:get_oldest_event_num() == last // 2 + 1)
			assert(store:delete_checkpoint("w1") and not store:get_checkpoint("w1"))
			assert(store:store_checkpoint("w2", 5) and store:store_checkpoint("new", 5))
			assert(store:configure{gc_cadence = 3600})
			for _ = 1, last // 40 do assert(store:store_events{{"CREATE", "Again", body}, {"CREATE", "Again", body}, {"CREATE", "Again", body}}) end
			-- And so on, as often as one likes.
			exhaust(store)
			for _ = 1, 10 do
				local oldest = store:get_oldest_event_num()
				assert(store:trim(oldest + 2) == 3)
				assert(store:store_checkpoint("w2", oldest + 2))
				store:store_event("CREATE", "Again", body)
			end
			assert(#store:get_events{timeout = 0, limit = 0}.events == store:get_latest_event_num() - store:get_oldest_event_num() + 1)
			store:close()
			verify()]]

	it("lets through what frees room, from a reserve; and events go into what became free [D4u]", function()
		each_form(4096, FREES)
	end)

	it("does so on a disk with a journal [D4v]", function()
		each_form(8192, FREES, EXT4)
	end)

	it("stops no collector [D4k]", function()
		each_form(2048, [[
			local store = assert(vigia.open(disk .. "/store", {max_events = 5, collect = false}))
			local body = ("x"):rep(3000)
			for _ = 1, 100 do assert(store:store_event("CREATE", "Small", body)) end
			assert(store:store_checkpoint("w", 100))
			fill()
			local last = exhaust(store, "x")
			assert(#store:get_events{timeout = 0, limit = 0}.events == last)
			assert(store:store_checkpoint("w", last))
			assert(store:gc())
			assert(store:get_oldest_event_num() == last - 4 and store:get_latest_event_num() == last)
			assert(#store:get_events{timeout = 0}.events == 5)
			for _ = 1, 50 do assert(store:store_event("CREATE", "Small", body)) end
			store:close()
			verify()]])
	end)

	it("refuses events that waited for their commit and says how many; what frees room goes first [D2m]", function()
		each_form(4096, [[
			local store = assert(vigia.open(disk .. "/store", {durability = "interval", commit_interval = 3600}))
			local body = ("x"):rep(3000)
			local events = {}
			for n = 1, 200 do events[n] = {"CREATE", "Small", body} end
			assert(store:store_events(events))
			assert(store:sync() == 200)
			fill()
			for _ = 1, 600 do queued(store:store_event("CREATE", "Queued", LARGE)) end
			fails("disk_full", store:sync())
			fails("disk_full", store:store_event("CREATE", "Refused", body))
			fails("disk_full", store:store_checkpoint("w", 200)) -- it must not get ahead of what waits
			assert(assert(store:trim(100)) == 100)
			assert(store:configure{max_event_size = 20000})
			local done, err = store:close()
			assert(done == nil and err.code == "disk_full" and tostring(err):find("600 events", 1, true), tostring(err))
			free()
			store = assert(vigia.open(disk .. "/store"))
			assert(store:get_latest_event_num() == 200 and store:get_oldest_event_num() == 101)
			store:close()
			verify()]])
	end)

	it("stores what was acknowledged when the store is closed on a disk that others filled, from the reserve [D2q]", function()
		each_form(4096, [[
			local body = ("x"):rep(3000)
			local function open() return assert(vigia.open(disk .. "/store", {durability = "interval", commit_interval = 3600})) end
			local store, last = open(), 200
			for _ = 1, 200 do assert(store:store_event("CREATE", "Small", body)) end
			assert(store:sync() == last)
			-- Until a sync, which is not the last chance, fails: 17 wait then.
			local function fill_up()
				fill()
				repeat
					for _ = 1, 17 do queued(store:store_event("CREATE", "Queued", body)) end
					local done, err = store:sync()
					if done then last = done else fails("disk_full", done, err) end
				until not done
			end
			for _ = 1, 3 do
				fill_up()
				assert(store:close())
				store, last = open(), last + 17
				assert(store:get_latest_event_num() == last)
				-- What it used up is there again when there is room.
				free()
				assert(store:store_event("CREATE", "Small", body) and store:sync() == last + 1)
				last = last + 1
			end
			-- Another handle goes on: its next append is stored before it is acknowledged, or refused.
			local other = open()
			fill_up()
			assert(store:close())
			last = last + 17
			assert(other:get_latest_event_num() == last)
			local done, err = other:store_event("CREATE", "At once", body)
			if done then last = last + 1 else fails("disk_full", done, err) end
			assert(other:get_latest_event_num() == last and other:close())
			verify()]])
	end)

	it("stores what waits in the room that a trim freed, and all that is acknowledged after that [D2q]", function()
		each_form(1500, [[
			for _, size in ipairs{100, 3000, 20000} do
				local body = ("x"):rep(size)
				local store = assert(vigia.open(disk .. "/store", {durability = "interval", commit_interval = 3600, collect = false}))
				local number, err
				repeat
					queued(store:store_event("CREATE", "Queued", body))
					number, err = store:sync()
				until not number
				fails("disk_full", number, err)
				local last = store:get_latest_event_num()
				assert(store:trim(last // 2) == last // 2)
				assert(assert(store:sync()) == last + 1)
				for _ = 1, 3 do queued(store:store_event("CREATE", "Later", body)) end
				assert(store:close())
				store = assert(vigia.open(disk .. "/store"))
				assert(store:get_latest_event_num() == last + 4)
				store:close()
				verify()
				for _, name in ipairs{"store", "store-lock", "store-side"} do assert(os.remove(disk .. "/" .. name)) end
			end]])
	end)

	it("keeps what waits when a sync fails, and stores it when there is room [D2r]", function()
		each_form(4096, [[
			local function open()
				return assert(vigia.open(disk .. "/store", {durability = "interval", commit_interval = 3600, collect = false}))
			end
			local store = open()
			local body = ("x"):rep(3000)
			fill()
			for _ = 1, 400 do queued(store:store_event("CREATE", "Queued", LARGE)) end
			for _ = 1, 2 do fails("disk_full", store:sync()) end
			free()
			assert(store:sync() == 400)
			queued(store:store_event("CREATE", "Later", body))
			assert(store:close())
			store = open()
			assert(store:get_latest_event_num() == 401)
			store:close()
			verify()]])
	end)

	it("warns of what a handle that is collected could not store [D2p]", function()
		each_form(4096, [[
			local store = assert(vigia.open(disk .. "/store", {durability = "interval", commit_interval = 3600}))
			local body = ("x"):rep(3000)
			assert(store:store_event("CREATE", "Stored", body) and store:sync())
			fill()
			for n = 1, 400 do
				queued(store:store_event("CREATE", "Queued", LARGE))
				if n == 200 then assert(store:gc()) end -- as the collector may at any time
			end
			warn("@on")
			store = nil
			collectgarbage()
			collectgarbage()]], nil, function(output)
			assert.matches("Lua warning: vigia: 400 events that waited for their commit are not stored: .*the disk is full", output)
			assert.matches("fine\n", output)
		end)
	end)

	it("refuses to open a new store, and serves many readers of an old one, instead of dying of a hole in a mapped file [D4j]", function()
		each_form(1024, [[
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
			again:close()]])
	end)

	it("lets a store be made that could not be when there was too little room, however much of it was written [D4l]", function()
		each_form(1024, [[
			local cut = 0
			for _, pages in ipairs{1, 2, 3, 4, 64, 65, 66, 67, 68, 69, 70, 76, 77} do
				local room = assert(io.open(disk .. "/room", "wb"))
				assert(room:write(("x"):rep(4096 * pages)) and room:close())
				fill()
				assert(os.remove(disk .. "/room"))
				local store, err = vigia.open(disk .. "/store")
				if store then store:close() else fails("disk_full", nil, err) end
				local size = require "lfs".attributes(disk .. "/store", "size")
				if not store and size and size > 0 and size < 8192 then cut = cut + 1 end
				free()
				store = assert(vigia.open(disk .. "/store"))
				assert(store:store_event("CREATE", "Job", pages) == 1)
				store:close()
				verify()
				for _, name in ipairs{"store", "store-lock", "store-side"} do assert(os.remove(disk .. "/" .. name)) end
			end
			assert(cut > 0, "no file was cut short")]])
	end)

	it("leaves no part of a backup behind, and the store as it was [E8m]", function()
		each_form(9000, [[
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
			verify(disk .. "/copy")]])
	end)
end)

-- In stock Lua SIGXFSZ has its default, which ends the process.
describe("a limit on the size of files", function()
	after_each(helper.clean)

	local function limited(blocks, source)
		return (helper.run_lua(("ulimit -f %d; exec"):format(blocks), ("local BLOCKS <const> = %d"):format(blocks) .. [[

			local path = arg[1]
			-- A success, or an error that says why.
			local function try(value, err)
				if value == nil then
					assert(err.code == "disk_full" or err.code == "io_error", tostring(err))
					assert(tostring(err):find "RLIMIT_FSIZE" or tostring(err):find "File too large", tostring(err))
				end
				return value
			end
		]] .. source .. " print('fine')", helper.path("store")))
	end

	-- Each from its first write on, to all that a store can do: without a journal, and with one that is passed by, or has room for its drain.
	local sizes = {}
	for _, range in ipairs{{0, 640, 32}, {2048, 2800, 47}, {11000, 11800, 190}} do
		for blocks = range[1], range[2], range[3] do sizes[#sizes + 1] = blocks end
	end
	for _, blocks in ipairs(sizes) do
		it(("of %d blocks is an error, and no signal ends the process [D4w]"):format(blocks), function()
			assert.equal("fine\n", limited(blocks, [[
				local store = try(vigia.open(path, {durability = "interval", collect = false, journal = BLOCKS > 640}))
				if store then
					local body, stored = ("x"):rep(3000), 0
					while stored < 200 and try(store:store_event("CREATE", "Job", body)) and try(store:sync()) do stored = stored + 1 end
					for n = 1, 200 do
						if not try(store:store_checkpoint(("w"):rep(100) .. n, 1)) then break end
					end
					for n = 1, stored, 5 do try(store:trim(n)) end
					try(store:backup(path .. ".copy"))
					try(store:backup(path .. ".compact", {compact = true}))
					store:close()
				end
			]]))
		end)
	end

	local function beyond_already(journal)
		local store = helper.open(nil, {journal = journal})
		local body = ("x"):rep(3000)
		for _ = 1, 100 do assert(store:store_event("CREATE", "Job", body)) end
		assert(store:trim(10))
		store:close()
		for _, blocks in ipairs{0, 8, 64, 256, journal and 2150 or nil} do
			assert.equal("fine\n", limited(blocks, [[
				local store = try(vigia.open(path, {collect = false}))
				for n = 11, store and 90 or 0 do
					try(store:trim(n))
					try(store:store_checkpoint("w" .. n, n))
					try(store:store_event("CREATE", "Job", n))
				end
				if store then
					try(store:configure{max_events = 1000})
					try(store:gc())
					store:delete_checkpoint("w1")
					assert(store:get_event(100))
					store:close()
				end
			]]))
		end
		store = helper.open()
		assert.equal(body, assert(store:get_event(100)).object)
		local last = store:get_latest_event_num()
		assert.equal(last + 1, store:store_event("CREATE", "Job", body))
		helper.clean()
	end

	it("that the file is beyond already is an error to all that writes, and nothing is lost [D4x]", function()
		beyond_already(false)
		beyond_already(true)
	end)
end)
