-- damage_spec.lua - watchers and events whose bytes are damaged: such an event does not get better by retrying.

local helper = require "spec.helper"

local damage, mentions = helper.damage, helper.mentions

-- Drive until the watcher has stopped, or tries what does not get better by trying.
local function run(registry, watcher)
	helper.drive(registry, function() return watcher:stats().state == "stopped" or watcher:stats().failed > 1 end)
end

describe("a watcher that meets a damaged event", function()
	after_each(helper.clean)

	-- Five events, the third of type Node and damaged.
	local function damaged_store()
		local store = helper.open()
		for n = 1, 5 do assert(store:store_event("CREATE", n == 3 and "Node" or "Job", {marker = "marker number " .. n})) end
		store:close()
		damage(helper.path("store"), "marker number 3")
		return helper.open()
	end

	it("stops, and says at which event and why [Z2a]", function()
		local store, records, told = damaged_store(), {}, {}
		local registry = helper.registry(store, {log = function(level, text) records[#records + 1] = level .. " " .. text end})
		local handler, seen = helper.recorder()
		local watcher = assert(registry:watch("w", handler, {on_error = function(err, event) told[#told + 1] = {err.code, event} end}))
		run(registry, watcher)
		assert.same({1, 2}, seen)
		local stats = watcher:stats()
		assert.equal("stopped", stats.state)
		assert.equal(3, stats.blocked_on)
		assert.equal("event_damaged", stats.last_error.code)
		assert.equal(3, stats.last_error.seq_num)
		assert.equal(1, stats.failed)
		assert.equal(0, stats.retried + stats.skipped)
		assert.equal(2, assert(store:get_checkpoint("w")))
		assert.same({{"event_damaged"}}, told)
		mentions(table.concat(records, "\n"), "error", "stops at event 3", "on_damage")
	end)

	it("goes on behind it after a seek [Z2b]", function()
		local registry = helper.registry(damaged_store())
		local handler, seen = helper.recorder()
		local watcher = assert(registry:watch("w", handler))
		run(registry, watcher)
		assert(watcher:start())
		helper.drive(registry, function() return watcher:stats().state == "stopped" end)
		assert.equal(3, watcher:stats().blocked_on)
		assert(watcher:seek_to_offset(3))
		assert.is_nil(watcher:stats().blocked_on)
		assert(watcher:start())
		helper.drain(registry, watcher)
		assert.same({1, 2, 4, 5}, seen)
	end)

	it("gives it up at once and counts it with on_damage skip, whatever the retry strategy [Z2c]", function()
		local registry = helper.registry(damaged_store())
		local handler, seen = helper.recorder()
		local watcher = assert(registry:watch("w", handler, {on_damage = "skip"}))
		helper.drain(registry, watcher)
		assert.same({1, 2, 4, 5}, seen)
		local stats = watcher:stats()
		assert.equal("running", stats.state)
		assert.equal(1, stats.skipped)
		assert.equal(1, stats.failed)
		assert.equal(4, stats.processed)
		assert.is_nil(stats.blocked_on)
	end)

	it("does not concern the other watchers, nor one whose filter does not want it [Z2d]", function()
		local registry = helper.registry(damaged_store())
		local all, before = helper.recorder()
		local handler, seen = helper.recorder()
		assert(registry:watch("stops", all))
		local watcher = assert(registry:watch("jobs", handler, {filter = {object_types = {"Job"}}}))
		helper.drain(registry, watcher)
		assert.same({1, 2, 4, 5}, seen)
		assert.equal("stopped", assert(registry:get_watcher("stops")):stats().state)
		assert.same({1, 2}, before)
	end)

	it("ends `vigia run` with status 1 and the event's number [Z2e]", function()
		damaged_store():close()
		local script = helper.path("h.lua")
		local file = assert(io.open(script, "w"))
		file:write("return function() end")
		file:close()
		local program = helper.program()
		if not program then return helper.pending("there is no program beside the module") end
		local output = helper.shell(("{ timeout 60 %s run --store %s %s; echo status $?; }"):format(helper.quoted(program),
			helper.quoted(helper.path("store")), helper.quoted(script)))
		mentions(output, "event 3", "checksum", "status 1\n")
	end)

	it("ends `vigia events` behind the events before it, with its number [E8]", function()
		damaged_store():close()
		local program = helper.program()
		if not program then return helper.pending("there is no program beside the module") end
		local output = helper.shell(("{ timeout 60 %s events --store %s; echo status $?; } 2>&1"):format(helper.quoted(program),
			helper.quoted(helper.path("store"))))
		mentions(output, '"seq_num":2,', "event 3", "checksum", "status 1\n")
		assert.is_nil(output:find('"seq_num":3,', 1, true))
	end)

	it("does not take the handler's own deserialization error for one [Z2f]", function()
		local broken = damaged_store()
		local store = helper.memory()
		helper.fill(store, 1)
		local registry, calls = helper.registry(store), 0
		local watcher = assert(registry:watch("w", function()
			calls = calls + 1
			if calls == 1 then return broken:get_event(3) end
		end, {initial_backoff = 0.001}))
		helper.drain(registry, watcher)
		assert.equal(2, calls)
		assert.equal("running", watcher:stats().state)
	end)

	it("dates what comes after a last event with a flipped bit in its time by the clock [E3c]", function()
		local function flipped_at(store, n)
			local event = assert(store:get_event(n))
			store:close()
			local file = assert(io.open(helper.path("store"), "r+b"))
			local bytes = file:read("a")
			local time = string.pack(">i8", event.timestamp)
			local at = 0
			while true do
				at = bytes:find(time, at + 1, true)
				if not at then break end
				file:seek("set", at - 1)
				file:write(string.char(time:byte() ~ 0x40)) -- some 146 years on
			end
			file:close()
			return helper.open()
		end
		local store = helper.open()
		for n = 1, 3 do assert(store:store_event("CREATE", "Job", n)) end
		local third = assert(store:get_event(3)).timestamp
		store = flipped_at(store, 3)
		assert.equal(4, assert(store:store_event("CREATE", "Job", 4)))
		local fourth = assert(store:get_event(4)).timestamp
		assert.is_true(fourth >= third and fourth < third + 3600 * 10^9)
		-- Nor does a removal write such a time down, or a search believe it: there it has that of the next intact one.
		assert.equal(3, assert(store:find_time(fourth)))
		store = flipped_at(store, 4)
		assert.equal(2, assert(store:find_time(assert(store:get_event(2)).timestamp)))
		assert(store:trim(4))
		assert.equal(5, assert(store:store_event("CREATE", "Job", 5)))
		assert.is_true(assert(store:get_event(5)).timestamp < third + 3600 * 10^9)
	end)
end)
