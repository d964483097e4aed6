-- store_memory_spec.lua - the memory store: the contract that all backends keep, and what is its own.

local helper = require "spec.helper"

local optional = require "spec.store_contract"("in memory", function(options, again)
	assert(not again, "a memory store cannot be opened again")
	return helper.memory(options)
end)

describe("a memory store", function()
	after_each(helper.clean)

	it("says that it neither outlives its handle, nor is shared, nor can be damaged", function()
		local stats = assert(helper.memory():stats())
		assert.equal("memory", stats.backend)
		assert.same({persist = false, share = false, damage = false, file = false}, stats.capabilities)
	end)

	it("leaves out nothing of what all backends promise but three specs, about what lasts", function()
		assert.same({"E2d", "S9b", "S10h"}, optional)
		for _, part in ipairs{"store_contract", "store_contract_reads", "store_contract_once", "store_contract_interval"} do
			local source = helper.read_file(assert(package.searchpath("spec." .. part, package.path)))
			assert.equal(part == "store_contract" and 1 or 0, select(2, source:gsub("pending%(", "")), part .. " leaves out a spec by itself")
		end
	end)

	it("is another store for each handle", function()
		local one, two = helper.memory(), helper.memory()
		helper.fill(one, 3)
		assert.equal(3, assert(one:get_latest_event_num()))
		assert.equal(0, assert(two:get_latest_event_num()))
		helper.fails("checkpoint_not_found", two:get_checkpoint("a"))
	end)

	it("frees a store that was left to the garbage collector, or closed [S11g]", function()
		local function resident()
			return tonumber(helper.read_file("/proc/self/status"):match("VmRSS:%s+(%d+)"))
		end
		local large, before = ("x"):rep(8 << 20), nil
		for n = 1, 80 do
			local store = assert(require "vigia".open(":memory:", {max_event_size = 16 << 20}))
			assert(store:store_event("CREATE", "Job", large))
			if n % 2 == 0 then store:close() end
			store = nil -- luacheck: ignore
			collectgarbage()
			if n == 40 then before = resident() end -- a sanitizer keeps 256 MiB back before it gives any memory away
		end
		assert(resident() < before + 150000, ("grew from %d to %d KiB over 40 stores of 8 MiB"):format(before, resident()))
	end)

	it("makes no file", function()
		local here = {}
		local lfs = require "lfs"
		for name in lfs.dir(".") do here[name] = true end
		helper.fill(helper.memory(), 1)
		for name in lfs.dir(".") do assert(here[name], name) end
	end)
end)
