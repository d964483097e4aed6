-- pollfd_spec.lua - the descriptor of a registry is readable when there is work for a step, whoever made it; and luv and cqueues see that.

local cqueues = require "cqueues"
local helper = require "spec.helper"
local luv = require "luv"
local testing = require "vigia.testing"
local vigia = require "vigia"

local fill = helper.fill

-- Whether it is readable, now or within `seconds`.
local function readable(fd, seconds)
	local object = {pollfd = fd, events = "r"}
	return cqueues.poll(object, seconds or 0) == object
end

for _, backend in ipairs(helper.backends) do
	describe("the descriptor of a registry over a store of kind " .. backend.name, function()
		local store, registry, fd
		local in_c <const> = backend.name ~= "a store in Lua"

		local function quiet()
			repeat assert(registry:step() ~= nil) until not readable(fd)
		end

		before_each(function()
			store = backend.open{durability = "none"}
			registry = helper.registry(store)
			fd = assert(registry:pollfd())
			quiet()
		end)
		after_each(function()
			store, registry = nil, nil
			helper.clean()
		end)

		-- What is done outside a step, with a watcher that runs, one that is idle, and a coroutine that waits; each makes work for a step.
		local WORK <const> = {
			watch = function() assert(registry:watch("new", function() end)) end,
			start = function(_, idle) assert(idle:start()) end,
			seek = function(watcher) assert(watcher:seek_to_offset(0)) end,
			spawn = function() assert(registry:spawn(function() end)) end,
			["stop of a watcher that waits"] = function(_, _, waiting) waiting:stop{timeout = 0} end,
			["stop of all"] = function() registry:stop{timeout = 0} end,
			append = function() fill(store, 1) end,
		}

		it("is readable when the registry's clock was moved by hand [H1w]", function()
			local clock = testing.clock()
			local other, slept, failed = helper.registry(store, {clock = clock}), 0, 0
			local own = assert(other:pollfd())
			local function calm()
				repeat assert(other:step() ~= nil) until not readable(own)
			end
			other:spawn(function() vigia.sleep(5) slept = slept + 1 end)
			assert(other:watch("w", function()
				failed = failed + 1
				error("once more")
			end, {initial_backoff = 60, on_error = function() end}))
			fill(store, 1)
			helper.drive(other, function() return failed == 1 end)
			calm()
			clock:advance(5)
			assert.is_true(readable(own))
			calm()
			assert.same({1, 1}, {slept, failed})
			clock:advance(60)
			assert.is_true(readable(own))
			calm()
			assert.equal(2, failed)
			other:close()
			clock:advance(1) -- nobody is there to be told
		end)

		for name, work in pairs(WORK) do
			it("is readable at once after a " .. name .. " [H1l]", function()
				local handled, slow = 0, false
				fill(store, 2)
				local watcher = assert(registry:watch("runs", function() handled = handled + 1 end))
				local idle = assert(registry:watch("idle", nil, {auto_start = false}))
				assert(idle:set_handler(function() end))
				local waiting = assert(registry:watch("waits", function()
					repeat local _, err = vigia.sleep(1000) until err
					while not slow do vigia.sleep(0) end
				end))
				registry:spawn(function() vigia.sleep(1000) end)
				helper.drive(registry, function() return handled == 2 end)
				quiet()
				assert.is_false(readable(fd))
				work(watcher, idle, waiting)
				assert.is_true(readable(fd, in_c and 0.5 or 60)) -- less than the second after which it is looked at anyway
				assert(registry:step() ~= nil)
				slow = true
			end)
		end

		it("is readable at once after each append, however often it was [H1l]", function()
			local handled = 0
			assert(registry:watch("a", function() handled = handled + 1 end))
			for n = 1, 5 do
				quiet()
				vigia.sleep(0.02) -- who listens has nothing to listen to between a ring and the next step
				fill(store, 1)
				assert.is_true(readable(fd, in_c and 0.5 or 60))
				vigia.sleep(0.02)
				helper.drive(registry, function() return handled == n end)
			end
		end)

		it("is not readable over and over when there is nothing to do [H1m]", function()
			local handled = 0
			assert(registry:watch("a", function(event)
				handled = handled + 1
				if event.seq_num < 3 then registry:spawn(function() end) end
			end))
			fill(store, 3)
			local steps = 0
			repeat
				steps = steps + 1
				assert(registry:step() ~= nil)
			until handled == 3 and not readable(fd)
			assert(steps < 30)
			if backend.name ~= "lmdb" then return end
			-- After progress was saved, and the collector looked, the look of each second finds nothing.
			local rings = 0
			while readable(fd, 1.5) do
				rings = rings + 1
				assert(rings < 6)
				quiet()
			end
		end)
	end)
end

describe("a registry in another loop", function()
	after_each(helper.clean)

	-- Nothing else drives it: what a callback makes must come by itself, and before a second has passed.
	for name, work in pairs{
		spawn = function(registry, done) registry:spawn(done) end,
		watch = function(registry, done) registry:watch("new", done) end,
		start = function(registry, done)
			local watcher = registry:watch("new", nil, {auto_start = false})
			watcher:set_handler(done)
			watcher:start()
		end,
		seek = function(_, done, watcher, again)
			again.done = done
			watcher:seek_to_offset(0)
		end,
	} do
		it("does what a callback of luv asks for: " .. name .. " [H1n]", function()
			local store = helper.open(nil, {durability = "none"})
			local registry = helper.registry(store)
			fill(store, 1)
			local again = {}
			local watcher = assert(registry:watch("a", function() if again.done then again.done() end end, {ephemeral = true}))
			local poll, timer, limit = luv.new_poll(assert(registry:pollfd())), luv.new_timer(), luv.new_timer()
			local done
			poll:start("r", function() assert(registry:step() ~= nil) end)
			limit:start(30000, 0, function() luv.stop() end)
			timer:start(20, 0, function()
				work(registry, function()
					done = true
					luv.stop()
				end, watcher, again)
			end)
			local began = helper.now()
			luv.run()
			assert.is_true(done)
			assert(helper.now() - began < 20)
			for _, handle in ipairs{poll, timer, limit} do handle:close() end
			luv.run("nowait")
		end)
	end

	it("does what a coroutine of cqueues asks for [H1o]", function()
		local store = helper.open(nil, {durability = "none"})
		local registry = helper.registry(store)
		local loop, done = cqueues.new(), false
		loop:wrap(function()
			local object = {pollfd = assert(registry:pollfd()), events = "r"}
			while not done do
				cqueues.poll(object)
				assert(registry:step() ~= nil)
			end
		end)
		loop:wrap(function()
			cqueues.sleep(0.02)
			registry:spawn(function()
				vigia.sleep(0.01)
				done = store:store_event("CREATE", "Note", nil) == 1
			end)
		end)
		local began = helper.now()
		assert(loop:loop(30))
		assert.is_true(done)
		assert(helper.now() - began < 20)
	end)
end)
