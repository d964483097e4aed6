-- store_memory_spec.lua - the memory store: the contract that all backends keep, and what is its own.

local helper = require "spec.helper"

require "spec.store_contract"("in memory", function(options, again)
	assert(not again, "a memory store cannot be opened again")
	return helper.memory(options)
end)

describe("a memory store", function()
	after_each(helper.clean)

	it("says that it neither outlives its handle, nor is shared, nor can be damaged", function()
		local stats = assert(helper.memory():stats())
		assert.equal("memory", stats.backend)
		assert.same({persist = false, share = false, damage = false}, stats.can)
	end)

	it("is another store for each handle", function()
		local one, two = helper.memory(), helper.memory()
		helper.fill(one, 3)
		assert.equal(3, assert(one:get_latest_event_num()))
		assert.equal(0, assert(two:get_latest_event_num()))
		helper.fails("checkpoint_not_found", two:get_checkpoint("a"))
	end)

	it("S11g frees a store that was left to the garbage collector, or closed", function()
		local function resident()
			return tonumber(helper.read_file("/proc/self/status"):match("VmRSS:%s+(%d+)"))
		end
		local megabyte, before = ("x"):rep(1000000), nil
		for n = 1, 100 do
			local store = assert(require "vigia".open(":memory:"))
			assert(store:store_event("CREATE", "Job", megabyte))
			if n % 2 == 0 then store:close() end
			store = nil -- luacheck: ignore
			collectgarbage()
			if n == 20 then before = resident() end
		end
		assert(resident() < before + 40000, ("grew from %d to %d KiB over 80 stores of a megabyte"):format(before, resident()))
	end)

	it("makes no file", function()
		local here = {}
		local lfs = require "lfs"
		for name in lfs.dir(".") do here[name] = true end
		helper.fill(helper.memory(), 1)
		for name in lfs.dir(".") do assert(here[name], name) end
	end)
end)
