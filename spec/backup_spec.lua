-- backup_spec.lua - a copy of a store that is in use: whole, a store of its own, and nothing is overwritten or left behind.

local cli = require "spec.support.cli"
local helper = require "spec.helper"
local lfs = require "lfs"
local vigia = require "vigia"

local fails, fill, mentions, range, read = helper.fails, helper.fill, helper.mentions, helper.range, helper.read

local function files()
	local list = {}
	for name in lfs.dir(helper.path()) do
		if name:sub(1, 1) ~= "." then list[#list + 1] = name end
	end
	table.sort(list)
	return list
end

describe("a backup", function()
	after_each(helper.clean)

	for _, compact in ipairs{false, true} do
		it(("copies a live store, with all that is in it, as a store of its own (compact: %s) [E8h]"):format(compact), function()
			local store = helper.open()
			fill(store, 1000)
			assert(store:store_event("CREATE", "Job", "with a key", {key = "k"}))
			assert(store:store_checkpoint("w", 17))
			assert(store:trim(100))
			local target = helper.path("copy")
			assert.is_true(store:backup(target, {compact = compact}))
			fill(store, 5)
			mentions(cli.ok{"verify", "--store", target}.out, "901 events, 1 checkpoint, 1 key: no damage")
			local copy = helper.open(target)
			assert.same(range(101, 1001), (read(copy)))
			assert.equal(17, copy:get_checkpoint("w"))
			assert.not_equal(store:stats().file_id, copy:stats().file_id)
			assert.same({1001, true}, {copy:store_event("CREATE", "Job", "with a key", {key = "k"})})
			assert.equal(1002, assert(copy:store_event("CREATE", "Job", "of the copy")))
			assert.equal(1006, assert(store:get_latest_event_num()))
		end)
	end

	it("is small when it is compacted, whatever was removed from the store [E8h]", function()
		local store = helper.open(nil, {durability = "none"})
		fill(store, 5000)
		assert(store:trim(4000))
		assert(store:backup(helper.path("whole")))
		assert(store:backup(helper.path("small"), {compact = true}))
		local whole, small = lfs.attributes(helper.path("whole"), "size"), lfs.attributes(helper.path("small"), "size")
		local journal <const> = 1 << 20 -- which is a part of both
		assert(small - journal < (whole - journal) / 2, ("%d bytes, %d when compacted"):format(whole, small))
	end)

	it("needs no more address space than the store that it copies [E8h]", function()
		if os.getenv("ASAN_OPTIONS") or os.getenv("TSAN_OPTIONS") then return helper.pending("sanitizers need more") end
		local store = helper.open()
		fill(store, 10)
		store:close()
		local limited = ("ulimit -v 4000000; exec %s backup --store %s "):format(helper.quoted(cli.program), helper.quoted(helper.path("store")))
		for _, compact in ipairs{"", "--compact "} do
			local target = helper.path("copy" .. #compact)
			mentions(helper.shell(limited .. compact .. helper.quoted(target)), "copied")
			assert.same(range(1, 10), (read(helper.open(target))))
		end
	end)

	it("is one moment of a store that others write to [E8i]", function()
		local path = helper.path("store")
		local store = helper.open(path)
		local writer = helper.child([[
			local store = assert(vigia.open(arg[1]))
			for n = 1, 1000000 do
				assert(store:store_events{{"CREATE", "Job", 2 * n - 1}, {"CREATE", "Job", 2 * n}})
				if n == 10 then say("runs") end
			end]], path)
		writer:expect("runs")
		for i = 1, 3 do
			local target = helper.path("copy" .. i)
			local before = store:get_latest_event_num()
			assert(store:backup(target, {compact = i == 2}))
			local copy = helper.open(target)
			local numbers = read(copy, {limit = 0})
			assert.same(range(1, #numbers), numbers)
			assert(#numbers >= before and #numbers % 2 == 0)
			for n = 1, #numbers, 97 do assert.equal(n, copy:get_event(n).object) end
		end
	end)

	it("overwrites nothing, not even a link to nothing, and leaves nothing behind [E8j]", function()
		local store = helper.open()
		fill(store, 10)
		cli.write("taken", "mine")
		assert(lfs.link("nowhere", helper.path("dangling"), true))
		local before = files()
		mentions(fails("file_exists", store:backup(helper.path("taken"))), "taken", "was not changed")
		fails("file_exists", store:backup(helper.path("dangling")))
		fails("file_exists", store:backup(helper.path("store")))
		fails("store_not_found", store:backup(helper.path("no/copy")))
		assert.equal("mine", cli.read(helper.path("taken")))
		assert.same(before, files())
		fails("not_supported", helper.memory():backup(helper.path("copy")))
	end)

	it("includes what waits for its commit (durability interval) [E8k]", function()
		local store = helper.open(nil, {durability = "interval", commit_interval = 3600})
		assert.is_true(store:store_event("CREATE", "Job", "waits"))
		assert(store:backup(helper.path("copy")))
		assert.equal("waits", helper.open(helper.path("copy")):get_event(1).object)
	end)

	it("is a command of the program [E8l]", function()
		local path, target = helper.path("store"), helper.path("copy")
		fill(helper.open(path), 10)
		mentions(cli.ok{"backup", "--store", path, target}.out, "copied", "bytes")
		mentions(cli.fails(1, {"backup", "--store", path, target}), "the file exists")
		cli.ok{"backup", "--store", path, "--compact", helper.path("small")}
		assert.same(range(1, 10), (read(helper.open(helper.path("small")))))
		assert.same(range(1, 10), (read(assert(vigia.open(target, {readonly = true})))))
		mentions(cli.fails(2, {"backup", "--store", path}), "target")
	end)
end)
