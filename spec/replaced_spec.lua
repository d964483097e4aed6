-- replaced_spec.lua - a store whose file was deleted or replaced under a running process (contract S18).

local core = require "vigia.core"
local helper = require "spec.helper"
local vigia = require "vigia"

local fill = helper.fill

-- Append until it is refused; answers the error. One that began more than a second after `since`, when the file went, is refused, however
-- slow the machine is.
local function refused(store, since)
	repeat
		local begin = core.monotonic()
		local n, err = store:store_event("CREATE", "Job", 1)
		if not n then return err end
		assert(begin - since <= 1, "nobody noticed within a second")
		vigia.sleep(0.01)
	until false
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

	it("S18a that was deleted refuses appends, checkpoints and trims; what is open can be read", function()
		assert(os.remove(helper.path("store")))
		local err = refused(store, core.monotonic())
		assert.equal("store_replaced", err.code)
		helper.mentions(err, helper.path("store"), "open")
		helper.fails("store_replaced", store:store_checkpoint("w", 1))
		helper.fails("store_replaced", store:trim(1))
		helper.fails("store_replaced", store:gc())
		assert.same({1, 2, 3}, {table.unpack((helper.read(store)), 1, 3)})
	end)

	it("S18b that was replaced refuses appends, and the new one gets none of them", function()
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

	it("S18d is not taken for the new one: that opens when everybody has closed the old one", function()
		helper.open(helper.path("new")):close()
		-- LMDB's lock file stays: two data files under one would use one another's transaction numbers
		os.rename(helper.path("new"), helper.path("store"))
		assert.equal("store_replaced", refused(store, core.monotonic()).code)
		local try = [[
			local store, err = vigia.open(arg[1])
			say(store and store:get_latest_event_num() or err.code)
		]]
		for _ = 1, 2 do
			helper.mentions(helper.fails("store_replaced", vigia.open(helper.path("store"))), "close")
			assert.equal("store_replaced\n", (helper.run_lua("", try, helper.path("store"))))
		end
		os.remove(helper.path("store"))
		helper.fails("store_replaced", vigia.open(helper.path("store")))
		assert.is_nil(require("lfs").attributes(helper.path("store")))
		store:close()
		assert.equal("0\n", (helper.run_lua("", try, helper.path("store"))))
	end)

	it("S18c that is put back takes appends again", function()
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

	for _, name in ipairs{"lock", "side"} do
		it("S18d E2j whose " .. name .. " file was deleted is written by newcomers only, each number once", function()
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

	it("S17k whose lock file is a link or no file is refused, and what the link leads to is left alone", function()
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
