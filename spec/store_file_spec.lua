-- store_file_spec.lua - what is about the file of a store: names, rights, several handles, reading only, settings, damage.

local helper = require "spec.helper"
local lfs = require "lfs"
local vigia = require "vigia"

local fails, fill, mentions, raises = helper.fails, helper.fill, helper.mentions, helper.raises
local range, read = helper.range, helper.read

-- The names in the test's folder, sorted.
local function files()
	local names = {}
	for name in lfs.dir(helper.path()) do
		if name ~= "." and name ~= ".." then names[#names + 1] = name end
	end
	table.sort(names)
	return names
end

local function slurp(path)
	local file = assert(io.open(path, "rb"))
	local bytes = file:read("a")
	file:close()
	return bytes
end

local function spew(path, bytes)
	local file = assert(io.open(path, "wb"))
	assert(file:write(bytes))
	file:close()
end

-- Change bytes of a file: `change` gets the position of each place where `text` stands, and returns what to write there.
local function patch(path, text, offset, bytes)
	local whole = slurp(path)
	local file = assert(io.open(path, "r+b"))
	local at = whole:find(text, 1, true)
	assert(at, "the bytes to patch are in the file")
	while at do
		file:seek("set", at - 1 + offset)
		file:write(bytes)
		at = whole:find(text, at + 1, true)
	end
	file:close()
end

local function link(old, new, symbolic)
	assert(lfs.link(old, new, symbolic))
end

describe("a store file", function()
	after_each(helper.clean)

	---- events and numbers over a reopen ----

	it("keeps events, numbers and times over a close and an open [E2e]", function()
		local store = helper.open()
		fill(store, 100)
		local before = assert(store:get_events{timeout = 0}).events
		store:close()
		store = helper.open()
		assert.same(before, assert(store:get_events{timeout = 0}).events)
		assert.equal(101, assert(store:store_event("UPDATE", "Job", nil)))
		assert(assert(store:get_event(101)).timestamp >= before[100].timestamp)
	end)

	it("keeps timestamps from going backwards over a reopen of a store whose events were all removed [E3b]", function()
		local store = helper.open()
		fill(store, 3)
		local last = assert(store:get_event(3)).timestamp
		assert(store:trim(3))
		store:close()
		store = helper.open()
		fill(store, 1)
		assert(assert(store:get_event(4)).timestamp >= last)
	end)

	---- names ----

	it("opened twice is one store: each handle sees what the other does [S15a]", function()
		local one, two = helper.open(), helper.open()
		fill(one, 2)
		assert.equal(2, assert(two:get_latest_event_num()))
		assert.equal(3, assert(two:store_event("UPDATE", "Job", "two")))
		assert.equal("two", assert(one:get_event(3)).object)
		assert(one:store_checkpoint("a", 2))
		assert.equal(2, assert(two:get_checkpoint("a")))
		assert(two:trim(1))
		assert.equal(2, assert(one:get_oldest_event_num()))
	end)

	it("closing one handle leaves the other [S15b]", function()
		local one, two, three = helper.open(), helper.open(), helper.open()
		fill(one, 1)
		one:close()
		fails("store_closed", one:get_latest_event_num())
		assert.equal(2, assert(two:store_event("UPDATE", "Job", nil)))
		two:close()
		collectgarbage()
		assert.same({1, 2}, (read(three)))
	end)

	it("wakes a wait of one handle by an append through the other [S15c]", function()
		local one, two = helper.open(), helper.open()
		fill(one, 1)
		local registry = helper.registry(one)
		local answer
		assert(registry:watch("waits", function(event)
			answer = answer or assert(one:get_events{event_iterator = vigia.after_sequence_number(event.seq_num), timeout = 60})
		end, {ephemeral = true}))
		assert(registry:watch("appends", function(event)
			if event.seq_num == 1 then assert(two:store_event("CREATE", "Job", "through two")) end
		end, {ephemeral = true}))
		helper.drive(registry, function() return answer end)
		assert.equal("through two", answer.events[1].object)
	end)

	it("lets each handle have options of its own [S15d]", function()
		local one, two = helper.open(nil, {long_polling_timeout = 60}), helper.open(nil, {long_polling_timeout = 0})
		local reader = helper.open(nil, {readonly = true})
		assert.same({}, assert(two:get_events{event_iterator = vigia.after_sequence_number(0)}).events)
		fill(one, 1)
		fails("store_readonly", reader:store_event("CREATE", "Job", nil))
		assert.same({1}, (read(reader)))
	end)

	it("reached through a symbolic link is the same store [S17a]", function()
		local one = helper.open(helper.path("store"))
		fill(one, 1)
		link(helper.path("store"), helper.path("alias"), true)
		assert(lfs.mkdir(helper.path("folder")))
		link("../alias", helper.path("folder/alias"), true)
		local two, three = helper.open(helper.path("alias")), helper.open(helper.path("folder/../folder/alias"))
		assert.equal(2, assert(two:store_event("UPDATE", "Job", nil)))
		assert.equal(3, assert(three:store_event("UPDATE", "Job", nil)))
		assert.same(range(1, 3), (read(one)))
		assert.equal(assert(one:stats()).file_id, assert(three:stats()).file_id)
		for _, store in ipairs{one, two, three} do store:close() end
		collectgarbage()
		assert.same(range(1, 3), (read(helper.open(helper.path("alias")))))
		for _, name in ipairs(files()) do assert(not name:find("^alias."), "no lock or side file beside the link: " .. name) end
	end)

	it("is made where a symbolic link to nothing points, through any number of links [S17b]", function()
		assert(lfs.mkdir(helper.path("folder")))
		link("../target", helper.path("folder/second"), true)
		link("folder/second", helper.path("alias"), true)
		for _, options in ipairs{{create = false}, {readonly = true}} do
			mentions(fails("store_not_found", vigia.open(helper.path("alias"), options)), "alias", "symbolic link to nothing")
		end
		assert.same({"alias", "folder"}, files())
		fill(helper.open(helper.path("alias")), 2)
		assert.same({"alias", "folder", "target", "target-lock", "target-side"}, files())
		assert.equal("link", lfs.symlinkattributes(helper.path("alias"), "mode"))
		assert.same({1, 2}, (read(helper.open(helper.path("target")))))
	end)

	it("is not made where a link points into a folder that is not there, or in a circle [S17f]", function()
		link(helper.path("none/target"), helper.path("alias"), true)
		mentions(fails("store_not_found", vigia.open(helper.path("alias"))), "alias", "symbolic link", "does not exist")
		link("there", helper.path("here"), true)
		link("here", helper.path("there"), true)
		mentions(fails("store_not_found", vigia.open(helper.path("here"))), "here", "symbolic link")
		assert.same({"alias", "here", "there"}, files())
	end)

	it("is refused under a second hard link, while open and after [S17c]", function()
		local store = helper.open()
		fill(store, 1)
		link(helper.path("store"), helper.path("other"))
		mentions(fails("store_linked", vigia.open(helper.path("other"))), "other", "link")
		store:close()
		fails("store_linked", vigia.open(helper.path("other")))
		fails("store_linked", vigia.open(helper.path("store")))
		os.remove(helper.path("other"))
		assert.same({1}, (read(helper.open())))
	end)

	it("is refused where it was mounted by itself, as in a container, and not where its folder was [S17g]", function()
		fill(helper.open(), 1)
		spew(helper.path("other"), "")
		assert(lfs.mkdir(helper.path("folder")))
		local prefix = ("unshare -rm -- sh -c 'mount --bind \"$0/store\" \"$0/other\" && mount --bind \"$0\" \"$0/folder\" && exec \"$@\"' %s")
			:format(helper.quoted(helper.path()))
		if not select(2, helper.shell(prefix .. " true")) then return helper.pending("no mount namespace of its own is allowed here") end
		local output = helper.run_lua(prefix, [[
			for _, options in ipairs{{}, {readonly = true}, {create = false}} do
				local store, err = vigia.open(arg[1] .. "/other", options)
				say(store, err.code, tostring(err):find("mount its folder", 1, true) ~= nil)
			end
			for _, name in ipairs{"/store", "/folder/store"} do say(assert(vigia.open(arg[1] .. name)):store_event("CREATE", "Job", 1)) end]],
			helper.path())
		assert.equal(("nil\tstore_linked\ttrue\n"):rep(3) .. "2\n3\n", output)
		for _, name in ipairs(files()) do assert(not name:find("^other."), "beside the mounted file: " .. name) end
	end)

	it("the files beside it can be read and written by their owner alone, whatever the umask [S17d and]", function()
		for _, umask in ipairs{"022", "000", "077"} do
			local name = "store" .. umask
			assert.equal("", helper.run_lua("umask " .. umask .. ";", "assert(assert(vigia.open(arg[1])):store_event('CREATE', 'Job', 1))",
				helper.path(name)))
			local found = 0
			for _, file in ipairs(files()) do
				if file:find(name, 1, true) then
					found = found + 1
					assert.equal("rw-------", lfs.attributes(helper.path(file), "permissions"), file)
				end
			end
			assert(found >= 2, "the store and what is beside it")
		end
	end)

	it("does not leak descriptors into programs that are started [S17e]", function()
		local store = helper.open()
		fill(store, 1)
		read(store)
		local listing = helper.shell("ls -l /proc/self/fd")
		assert(listing:find(" %-> "), listing)
		assert.is_nil(listing:find(helper.path(), 1, true), listing)
	end)

	it("closes its files when its handle is closed, or left to the collector [S11g]", function()
		local store = helper.open()
		fill(store, 1)
		assert(helper.open_files() > 0)
		store:close()
		collectgarbage()
		assert.equal(0, helper.open_files())
		store = assert(vigia.open(helper.path("store")))
		read(store)
		store = nil -- luacheck: ignore
		collectgarbage()
		collectgarbage()
		assert.equal(0, helper.open_files())
	end)

	it("stays for a registry that uses it, and goes with it [S11h]", function()
		local registry = vigia.registry(assert(vigia.open(helper.path("store"))))
		collectgarbage()
		local seen = 0
		assert(registry:watch("a", function(event, ctx)
			seen = event.seq_num
			if seen < 3 then assert(ctx.store:store_event("CREATE", "Job", nil)) end
		end))
		local other = helper.open()
		fill(other, 1)
		helper.drive(registry, function() return seen == 3 end)
		assert(registry:stop())
		registry = nil -- luacheck: ignore
		other:close()
		collectgarbage()
		collectgarbage()
		assert.equal(0, helper.open_files())
	end)

	it("can be opened and closed many times [S11i]", function()
		for n = 1, 50 do
			local store = assert(vigia.open(helper.path("store")))
			assert.equal(n, assert(store:store_event("CREATE", "Job", nil)))
			store:close()
		end
	end)

	it("is left whole by a program that ends without closing it [S11j]", function()
		local child = helper.child([[
			local store = assert(vigia.open(arg[1]))
			for _ = 1, 3 do assert(store:store_event("CREATE", "Job", 1)) end
			local registry = vigia.registry(store)
			assert(registry:watch("a", print))
			say("done")
			os.exit(0)]], helper.path("store"))
		child:expect("done")
		assert.same({}, child:wait())
		assert.same(range(1, 3), (read(helper.open())))
	end)

	---- reading only ----

	it("opened with readonly is never made, nor is anything beside it [S19a]", function()
		mentions(fails("store_not_found", vigia.open(helper.path("store"), {readonly = true})), helper.path("store"))
		fails("store_not_found", vigia.open(helper.path("none/store"), {readonly = true}))
		assert.same({}, files())
	end)

	it("opened with create = false is never made, but can be written when it is there [S19b]", function()
		mentions(fails("store_not_found", vigia.open(helper.path("store"), {create = false})), helper.path("store"))
		assert.same({}, files())
		helper.open():close()
		assert.equal(1, assert(helper.open(nil, {create = false}):store_event("CREATE", "Job", nil)))
	end)

	it("opened with readonly refuses whatever writes, and reads [S19c]", function()
		local store = helper.open()
		fill(store, 3)
		assert(store:store_checkpoint("a", 2))
		store:close()
		store = helper.open(nil, {readonly = true})
		fails("store_readonly", store:store_event("CREATE", "Job", nil))
		fails("store_readonly", store:store_events{{"CREATE", "Job", nil}})
		fails("store_readonly", store:trim(1))
		fails("store_readonly", store:store_checkpoint("a", 3))
		fails("store_readonly", store:delete_checkpoint("a"))
		assert.same(range(1, 3), (read(store)))
		assert.equal(2, assert(store:get_checkpoint("a")))
		assert.same({a = 2}, assert(store:checkpoints()))
		assert.equal(3, assert(store:stats()).latest_event_num)
	end)

	it("opened with readonly leaves the file as it is, byte for byte [S19d]", function()
		local store = helper.open()
		fill(store, 3)
		store:close()
		local before, time = slurp(helper.path("store")), lfs.attributes(helper.path("store"), "modification")
		store = helper.open(nil, {readonly = true})
		read(store)
		store:store_event("CREATE", "Job", nil)
		local registry = helper.registry(store)
		local handler, seen = helper.recorder()
		local watcher = assert(registry:watch("a", handler, {ephemeral = true}))
		helper.drain(registry, watcher)
		assert.same(range(1, 3), seen)
		assert(registry:stop())
		store:close()
		assert(before == slurp(helper.path("store")))
		assert.equal(time, lfs.attributes(helper.path("store"), "modification"))
	end)

	it("opened with readonly sees what others append meanwhile [S19e]", function()
		local writer = helper.open()
		local reader = helper.open(nil, {readonly = true})
		fill(writer, 2)
		assert.same({1, 2}, (read(reader)))
	end)

	it("opened with readonly removes no old events in the background [S19g]", function()
		local store = helper.open(nil, {gc_age_threshold = 1e-9, gc_cadence = 0.005})
		fill(store, 10)
		assert(store:store_checkpoint("a", 10))
		store:close()
		local reader = helper.open(nil, {readonly = true, collect = true})
		for _ = 1, 30 do
			assert(vigia.sleep(0.01)) -- two cadences
			assert.equal(1, assert(reader:get_oldest_event_num()))
		end
		reader:close()
		store = helper.open(nil, {collect = true}) -- who may write does
		local deadline = os.time() + 30
		while assert(store:get_oldest_event_num()) > 0 do
			assert(os.time() < deadline, "nobody collects")
			assert(vigia.sleep(0.005))
		end
	end)

	---- what belongs to the file ----

	it("has a format number, and a random id that stays [Z5a]", function()
		local store, other = helper.open(), helper.open(helper.path("other"))
		local stats = assert(store:stats())
		assert.equal(2, stats.format)
		assert.equal(1, helper.open(helper.path("without"), {journal = false}):stats().format)
		assert(stats.file_id:find("^%x+$"), stats.file_id)
		assert.equal(32, #stats.file_id)
		assert.are_not.equal(stats.file_id, assert(other:stats()).file_id)
		store:close()
		assert.equal(stats.file_id, assert(helper.open():stats()).file_id)
		assert.equal(stats.created, assert(helper.open():stats()).created)
	end)

	describe("of another kind", function()
		local HEADER = "VIGIADB\n" -- then format, byte order, id, time, word size

		-- Open a store with these bytes at an offset of its header; returns the error.
		local function altered(offset, bytes)
			helper.open():close()
			patch(helper.path("store"), HEADER, offset, bytes)
			local before = slurp(helper.path("store"))
			local err
			for _, options in ipairs{{}, {readonly = true}, {create = false}} do
				local store
				store, err = vigia.open(helper.path("store"), options)
				assert.is_nil(store)
			end
			assert(before == slurp(helper.path("store")), "it was left as it was")
			return err
		end

		it("is refused by name if its format is newer [Z5b]", function()
			local err = altered(8, string.pack("=I4", 3))
			mentions(fails("format_unsupported", nil, err), "format 3", "formats 1 to 2", helper.path("store"))
		end)

		it("is refused by name if it is of another byte order [Z5c]", function()
			mentions(fails("format_unsupported", nil, altered(12, string.pack("=I4", 0x04030201))), "byte order")
		end)

		it("is refused by name if it is of another word size [Z5d]", function()
			mentions(fails("format_unsupported", nil, altered(40, string.pack("=I4", 4))), "word size")
		end)

		it("is refused by name if LMDB itself made it with another byte order or word size [Z5e]", function()
			helper.open():close()
			local bytes = slurp(helper.path("store"))
			local magic = string.pack("=I4", 0xBEEFC0DE)
			spew(helper.path("swapped"), bytes:sub(1, 16) .. magic:reverse() .. bytes:sub(21))
			mentions(fails("format_unsupported", vigia.open(helper.path("swapped"))), "byte order")
			spew(helper.path("small"), bytes:sub(1, 12) .. magic .. ("\0"):rep(4) .. bytes:sub(21))
			mentions(fails("format_unsupported", vigia.open(helper.path("small"))), "word size")
		end)
	end)

	it("keeps the settings it was made with, and names both values when another is asked for", function()
		local store = helper.open(nil, {max_event_size = 5000, durability = "none", events_bucket = "my events",
			checkpoint_bucket = "my checkpoints"})
		fill(store, 2)
		store:close()
		store = helper.open()
		local stats = assert(store:stats())
		assert.same({5000, "none", "my events", "my checkpoints"},
			{stats.max_event_size, stats.durability, stats.events_bucket, stats.checkpoint_bucket})
		assert.same({1, 2}, (read(store)))
		fails("event_too_large", store:store_event("CREATE", "Job", ("x"):rep(6000)))
		for _ = 1, 2 do
			mentions(fails("option_conflict", vigia.open(helper.path("store"), {max_event_size = 6000, durability = "commit"})),
				"max_event_size", "5000", "6000", "durability", "none", "commit")
			mentions(fails("option_conflict", vigia.open(helper.path("store"), {events_bucket = "events"})), "my events", "'events'")
			mentions(fails("option_conflict", vigia.open(helper.path("store"), {checkpoint_bucket = "c"})), "my checkpoints", "'c'")
			helper.open(nil, {max_event_size = 5000, durability = "none", events_bucket = "my events"}):close()
			store:close()
		end
	end)

	it("is durable by default: its appends survive the death of the process by SIGKILL [D1a]", function()
		local child = helper.child([[
			local store = assert(vigia.open(arg[1]))
			assert(store:stats().durability == "commit")
			for n = 1, 20 do assert(store:store_event("CREATE", "Job", n)) end
			say(assert(store:get_latest_event_num()))
			os.execute("kill -9 $PPID")]], helper.path("store"))
		child:expect("20")
		child:wait()
		assert.same(range(1, 20), (read(helper.open())))
	end)

	it("is synced before an append returns [D1b S1c]", function()
		if not helper.shell("command -v strace"):find("strace") then return pending("strace is not installed") end
		-- each line of the trace is a sync, or a write of what the program says
		helper.run_lua("strace -f -qq -e trace=write,fdatasync,fsync,msync -o " .. helper.quoted(helper.path("trace")), [[
			local store = assert(vigia.open(arg[1]))
			say("start")
			for n = 1, 5 do assert(store:store_event("CREATE", "Job", n)) say("stored") end]], helper.path("store"))
		local trace = lfs.attributes(helper.path("trace")) and slurp(helper.path("trace")) or ""
		if not trace:find("start") then return pending("strace may not trace here") end
		local syncs, stored = 0, 0
		for line in trace:match('"start.*'):gmatch("[^\n]+") do
			if line:find("sync%(.*= 0") then syncs = syncs + 1 end
			if line:find('"stored') then
				assert(syncs > 0, "stored without a sync since the one before:\n" .. trace)
				syncs, stored = 0, stored + 1
			end
		end
		assert.equal(5, stored)
	end)

	it("has a checkpoint, and the end of one, synced before the call returns [S10j]", function()
		if not helper.shell("command -v strace"):find("strace") then return pending("strace is not installed") end
		helper.run_lua("strace -f -qq -e trace=write,fdatasync,fsync,msync -o " .. helper.quoted(helper.path("trace")), [[
			local store = assert(vigia.open(arg[1]))
			say("start")
			for n = 1, 3 do assert(store:store_checkpoint("a", n)) say("done") end
			assert(store:delete_checkpoint("a")) say("done")]], helper.path("store"))
		local trace = lfs.attributes(helper.path("trace")) and slurp(helper.path("trace")) or ""
		if not trace:find("start") then return pending("strace may not trace here") end
		local syncs, done = 0, 0
		for line in trace:match('"start.*'):gmatch("[^\n]+") do
			if line:find("sync%(.*= 0") then syncs = syncs + 1 end
			if line:find('"done') then
				assert(syncs > 0, "done without a sync since the one before:\n" .. trace)
				syncs, done = 0, done + 1
			end
		end
		assert.equal(4, done)
	end)

	---- damage ----

	describe("that was damaged", function()
		-- A store of five events, the third of type Node; each object holds a marker of its own.
		local function make()
			local store = helper.open()
			for n = 1, 5 do assert(store:store_event("CREATE", n == 3 and "Node" or "Job", {marker = "marker number " .. n})) end
			store:close()
		end

		it("is found out by the checksum when an event is decoded, with its number, and the others can be read", function()
			make()
			patch(helper.path("store"), "marker number 3", 3, "X")
			local store = helper.open()
			local err = fails("event_damaged", store:get_event(3))
			assert.equal(3, err.seq_num)
			mentions(err, "3")
			for _, n in ipairs{1, 2, 4, 5} do assert.equal("marker number " .. n, assert(store:get_event(n)).object.marker) end
			assert.equal(3, fails("event_damaged", store:get_events{event_iterator = vigia.at_sequence_number(3), timeout = 0}).seq_num)
			assert.same({4, 5}, (read(store, {event_iterator = vigia.after_sequence_number(3)})))
			assert.equal(6, assert(store:store_event("CREATE", "Job", nil)))
		end)

		it("does not concern who filters the damaged event out: nothing of it is decoded [F2a]", function()
			make()
			patch(helper.path("store"), "marker number 3", 3, "X")
			local store = helper.open()
			assert.same({1, 2, 4, 5}, (read(store, {filter = {object_types = {"Job"}}})))
			fails("event_damaged", store:get_events{filter = {object_types = {"Node"}}, timeout = 0})
		end)

		it("counts an event whose head cannot be read as matching [F2b]", function()
			make()
			local bytes = slurp(helper.path("store"))
			local marker = bytes:find("marker number 3", 1, true)
			local at = marker
			while bytes:sub(at, at + 1) ~= "\x96\xce" do at = at - 1 end
			patch(helper.path("store"), bytes:sub(at, marker + 14), 0, "\xc1")
			local store = helper.open()
			local err = fails("event_damaged", store:get_events{event_iterator = vigia.at_sequence_number(3), timeout = 0,
				filter = {object_types = {"Job"}}})
			assert.equal(3, err.seq_num)
			assert.same({4, 5}, (read(store, {event_iterator = vigia.at_sequence_number(4), filter = {object_types = {"Job"}}})))
		end)

		it("is found out by the checksum wherever a byte of an event changed", function()
			make()
			local whole = slurp(helper.path("store"))
			local marker = whole:find("marker number 3", 1, true)
			local at = marker
			while whole:sub(at, at + 1) ~= "\x96\xce" do at = at - 1 end
			local event = whole:sub(at, marker + 14)
			for offset = 0, #event - 1 do
				local damaged = helper.path("damaged" .. offset)
				spew(damaged, whole)
				patch(damaged, event, offset, string.char(event:byte(offset + 1) ~ 0x55))
				local store = helper.open(damaged)
				fails("event_damaged", store:get_event(3))
				assert.equal("marker number 4", assert(store:get_event(4)).object.marker)
				store:close()
			end
		end)

		it("is refused when it is shorter than it says", function()
			local store = helper.open()
			fill(store, 2000)
			store:close()
			local whole = slurp(helper.path("store"))
			for _, part in ipairs{0.5, 0.9} do
				spew(helper.path("short"), whole:sub(1, math.floor(#whole * part)))
				-- in a process of its own: what is not refused may be its end
				for _, readonly in ipairs{"false", "true"} do
					assert.equal("store_truncated\n", (helper.run_lua("", [[
						local store, err = vigia.open(arg[1], {readonly = arg[2] == "true"})
						if not store then say(err.code) return end
						store:get_events{timeout = 0, limit = 0}]], helper.path("short"), readonly)))
				end
				mentions(fails("store_truncated", vigia.open(helper.path("short"))), "short")
			end
		end)
	end)

	---- what is no store ----

	describe("that is none", function()
		-- Opening must fail with this code, whatever the options, and change nothing.
		local function refused(code, path)
			local mode = lfs.attributes(path, "mode")
			local before = mode == "file" and slurp(path)
			for _, options in ipairs{{}, {readonly = true}, {create = false}} do
				local err = fails(code, vigia.open(path, options))
				assert(tostring(err):find(path:match("[^/]+/*$"), 1, true), tostring(err))
			end
			if before then assert(before == slurp(path), "it was left as it was") end
		end

		it("is refused and left as it is: text, zeros, a few bytes, another LMDB file", function()
			local contents = {text = ("This is a text.\n"):rep(1000), zeros = ("\0"):rep(20000), short = "x", page = ("VIGIA"):rep(819)}
			for name, bytes in pairs(contents) do
				spew(helper.path(name), bytes)
				refused("not_a_store", helper.path(name))
			end
			assert.equal(4, #files(), "nothing was made beside them")
		end)

		it("is refused when LMDB can read it but we did not make it", function()
			if not helper.shell("command -v mdb_load"):find("mdb_load") then return pending("mdb_load (lmdb-utils) is not installed") end
			spew(helper.path("dump"), "VERSION=3\nformat=bytevalue\ntype=btree\nHEADER=END\n 6b6579\n 76616c7565\nDATA=END\n")
			local output, ok = helper.shell("mdb_load -n -f " .. helper.quoted(helper.path("dump")) .. " " .. helper.quoted(helper.path("foreign")))
			assert(ok, output)
			local before = slurp(helper.path("foreign"))
			mentions(fails("not_a_store", vigia.open(helper.path("foreign"))), "foreign")
			assert(before == slurp(helper.path("foreign")))
		end)

		it("is refused when it is a folder, a fifo or a device", function()
			assert(lfs.mkdir(helper.path("folder")))
			assert(os.execute("mkfifo " .. helper.quoted(helper.path("fifo"))))
			refused("not_a_store", helper.path("folder"))
			refused("not_a_store", helper.path("fifo"))
			refused("not_a_store", "/dev/null")
		end)

		it("is refused when its folder is not there, is no folder, or the name is none", function()
			fails("store_not_found", vigia.open(helper.path("none/store")))
			spew(helper.path("file"), "text")
			assert.is_nil((vigia.open(helper.path("file/store"))))
			assert.is_nil((vigia.open("")))
			assert.is_nil((vigia.open(helper.path(("x"):rep(300)))))
			assert.is_nil((vigia.open(("/x"):rep(5000))))
			link("loop", helper.path("loop"), true)
			assert.is_nil((vigia.open(helper.path("loop"))))
			raises(vigia.open, "a\0b")
			raises(vigia.open)
			raises(vigia.open, 5)
		end)

		it("is refused without permission to read it", function()
			-- Root may read everything, so root asks as somebody else; anybody else takes the right from themselves.
			local prefix = ""
			if helper.shell("id -u") == "0\n" then
				prefix = "setpriv --reuid 65534 --regid 65534 --clear-groups"
				if not select(2, helper.shell(prefix .. " true")) then return pending("root may read everything, and cannot become another") end
			end
			helper.open():close()
			assert(os.execute("chmod 755 " .. helper.quoted(helper.path())))
			if prefix == "" then assert(os.execute("chmod 000 " .. helper.quoted(helper.path("store")))) end
			local output = helper.run_lua(("chmod 644 %s/*.lua; %s"):format(helper.quoted(helper.path()), prefix),
				"local store, err = vigia.open(arg[1]) print(store, err and err.code)", helper.path("store"))
			if output:find("module 'vigia", 1, true) then return pending("another user cannot read the module") end
			-- Behind it a build that counts says that it cannot write its counters as another user.
			assert.equal("nil\tpermission_denied", output:match("^[^\n]*"))
		end)

		it("becomes one if it is empty, as a maker that died left it, but not for who only reads [S19f]", function()
			spew(helper.path("empty"), "")
			for _, options in ipairs{{readonly = true}, {create = false}} do
				mentions(fails("store_not_found", vigia.open(helper.path("empty"), options)), "the file is empty")
			end
			local store = helper.open(helper.path("empty"))
			assert.equal(1, assert(store:store_event("CREATE", "Job", nil)))
		end)
	end)

	---- options ----

	it("names every option that is wrong in one error, and makes nothing [R1a]", function()
		local message = raises(vigia.open, helper.path("store"), {
			readonly = "yes", long_polling_timeout = -1, max_batch_bytes = 0, checkpoint_interval = "1", max_event_size = 1.5,
			durability = "maybe", events_bucket = "", no_such_option = 1, [1] = true,
		})
		mentions(message, "readonly", "long_polling_timeout", "max_batch_bytes", "checkpoint_interval", "max_event_size", "durability",
			"events_bucket", "no_such_option")
		assert.same({}, files())
	end)

	it("points out the option that may have been meant [R1b]", function()
		mentions(raises(vigia.open, helper.path("store"), {read_only = true}), "read_only", "readonly")
	end)

	it("wants names of databases that differ [R1c]", function()
		local ok, store, err = pcall(vigia.open, helper.path("store"), {events_bucket = "same", checkpoint_bucket = "same"})
		mentions(ok and err or store, "events_bucket", "checkpoint_bucket")
		assert(not ok or store == nil)
	end)
end)
