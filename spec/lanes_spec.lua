-- lanes_spec.lua - watchers with lanes: events with equal keys in order, others independently, one checkpoint for all.

local helper = require "spec.helper"
local vigia = require "vigia"

local drain, drive, mentions, raises = helper.drain, helper.drive, helper.mentions, helper.raises

local function with(more)
	local all = {lanes = 4, lane_key = "object.key", initial_backoff = 0.001}
	for name, value in pairs(more or {}) do all[name] = value end
	return all
end

-- Events {key = 1..keys, n =}, key after key.
local function fill(store, count, keys, object_type)
	local events = {}
	for n = 1, count do events[n] = {"CREATE", object_type or "Job", {key = (n - 1) % keys + 1, n = n}} end
	assert(store:store_events(events))
end

-- Each key's numbers in order, and all of them once.
local function in_order(seen, count)
	local last, times = {}, {}
	for _, event in ipairs(seen) do
		assert((last[event.key] or 0) < event.n, "out of order")
		last[event.key] = event.n
		assert.is_nil(times[event.n], "twice")
		times[event.n] = true
	end
	assert.equal(count, #seen)
end

for _, kind in ipairs{"memory", "file"} do
	describe("a watcher with lanes over a store of kind " .. kind, function()
		local store, registry, logged

		before_each(function()
			store = kind == "memory" and helper.memory() or helper.open(helper.path "t.vigia")
			registry, logged = helper.logging_registry(store)
		end)
		after_each(function()
			store, registry = nil, nil
			helper.clean()
		end)

		it("handles events with equal keys in order, each once, and saves one checkpoint [K3]", function()
			fill(store, 200, 7)
			local seen = {}
			local watcher = assert(registry:watch("w", function(event) seen[#seen + 1] = event.object end, with()))
			drain(registry, watcher)
			in_order(seen, 200)
			assert.same({200, 0, 0}, {watcher:stats().processed, watcher:stats().failed, watcher:stats().lag})
			assert(registry:stop())
			assert.equal(200, store:get_checkpoint("w"))
		end)

		it("lets the lanes wait at the same time [K3]", function()
			fill(store, 40, 8)
			local running, most, seen = 0, 0, {}
			local watcher = registry:watch("w", function(event)
				running = running + 1
				most = math.max(most, running)
				vigia.sleep(0.002)
				running = running - 1
				seen[#seen + 1] = event.object
			end, with{lanes = 8})
			drain(registry, watcher)
			in_order(seen, 40)
			assert(most >= 3, most)
		end)

		for _, how in ipairs{"a path", "a function"} do
			it("holds back only the lane of a failing event, by " .. how .. " [K3]", function()
				fill(store, 60, 6)
				local seen, bad = {}, true
				local watcher = registry:watch("w", function(event)
					if bad and event.object.n == 3 then error "not yet" end
					seen[#seen + 1] = event.object
				end, with{lanes = 3, lane_key = how == "a path" and "object.key" or function(event) return event.object.key end})
				drive(registry, function() return watcher:stats().processed >= 20 and watcher:stats().failed >= 3 end)
				for _, object in ipairs(seen) do assert(object.key ~= 3) end
				assert(#seen < 60)
				assert.equal(3, watcher:stats().blocked_on)
				bad = false
				drain(registry, watcher)
				in_order(seen, 60)
			end)
		end

		it("saves the ranges above its checkpoint, so that nothing is lost or handled again with other lanes [K3]", function()
			fill(store, 60, 6)
			local seen, bad, restarts = {}, true, 0
			for _, lanes in ipairs{8, 3, 1, 8} do
				local watcher = registry:watch("w", function(event)
					if bad and event.object.n == 3 then error "not yet" end
					seen[#seen + 1] = event.object
				end, with{lanes = lanes, lane_key = restarts % 2 == 0 and "object.key" or function(event) return event.object.key end})
				restarts = restarts + 1
				if restarts == 4 then bad = false end
				drive(registry, function() return watcher:stats().failed >= 2 or watcher:stats().lag == 0 end)
				assert(registry:stop())
				assert.equal(restarts < 4 and 2 or 60, store:get_checkpoint("w"))
			end
			in_order(seen, 60)
		end)

		it("goes on without lanes, and begins anew from a checkpoint that is set by hand [K3]", function()
			fill(store, 20, 4)
			local seen, bad = {}, true
			local function watch(options)
				return assert(registry:watch("w", function(event)
					if bad and event.object.n == 3 then error "not yet" end
					seen[#seen + 1] = event.object
				end, options))
			end
			local function run(options)
				local watcher = watch(options)
				drive(registry, function() return watcher:stats().failed >= 2 or watcher:stats().lag == 0 end)
				assert.is_true(watcher:stop())
			end
			run(with())
			assert.equal(15, #seen)
			run{initial_backoff = 0.001}
			assert.equal(15, #seen)
			bad = false
			run{}
			in_order(seen, 20)
			run(with())
			assert.equal(20, #seen)
			for _, how in ipairs{"set", "deleted", "manual"} do
				assert(store:delete_checkpoint("w"))
				seen, bad = {}, true
				run(with())
				assert.equal(15, #seen)
				assert.equal(2, store:get_checkpoint("w"))
				if how == "set" then assert(store:store_checkpoint("w", 2))
				elseif how == "deleted" then assert(store:delete_checkpoint("w"))
				else
					local watcher = watch{checkpoint = "manual", initial_backoff = 0.001}
					drive(registry, function() return watcher:stats().failed >= 2 end)
					assert.is_true(watcher:stop())
				end
				bad = false
				run(with())
				assert.equal(({set = 15 + 18, deleted = 15 + 20, manual = 15 + 18})[how], #seen)
			end
		end)

		it("does not run ahead of the window [K3]", function()
			fill(store, 100, 10)
			local seen = {}
			local bad = true
			local watcher = registry:watch("w", function(event)
				if bad and event.object.n == 1 then error "not yet" end
				seen[#seen + 1] = event.object
			end, with{lanes = 5, lane_window = 20})
			drive(registry, function() return watcher:stats().failed >= 5 end)
			for _, object in ipairs(seen) do assert(object.n <= 20) end
			bad = false
			drain(registry, watcher)
			in_order(seen, 100)
		end)

		it("passes what the filter drops, and takes 1 for 1.0 and a missing key for nil [K3]", function()
			for n, key in ipairs{1, 1.0, vigia.null, "x", 1, "x"} do
				store:store_event("CREATE", "Job", {key = key, n = n})
				store:store_event("CREATE", "Other", {})
			end
			store:store_event("CREATE", "Job", {n = 7})
			local running, wrong, order = {}, nil, {}
			local watcher = registry:watch("w", function(event)
				local key = event.object.key
				if key == nil or key == vigia.null then key = "nil" end
				if math.type(key) == "float" then key = math.tointeger(key) end
				if running[key] then wrong = key end
				running[key] = true
				vigia.sleep(0.002)
				running[key] = nil
				order[#order + 1] = event.object.n
			end, with{filter = {object_types = {"Job"}}})
			drain(registry, watcher)
			assert.is_nil(wrong)
			assert.equal(7, #order)
			assert(registry:stop())
			assert.equal(13, store:get_checkpoint("w"))
		end)

		it("takes an error of the key function for the event's failure, before and behind which all wait [K3]", function()
			fill(store, 30, 5)
			local seen, tries = {}, 0
			local watcher = registry:watch("w", function(event) seen[#seen + 1] = event.object end, with{lane_key = function(event)
				if event.object.n == 10 then
					tries = tries + 1
					if tries < 3 then error "no key" end
				end
				return event.object.key
			end})
			drive(registry, function() return watcher:stats().failed >= 2 end)
			drain(registry, watcher)
			in_order(seen, 30)
			for i, object in ipairs(seen) do assert((i < 10) == (object.n < 10)) end
			mentions(table.concat(logged, "\n"), "no key", "event 10")
		end)

		it("refuses a key that is none [K3]", function()
			fill(store, 3, 1)
			local watcher = registry:watch("w", function() end, with{lane_key = function() return {} end, retry_strategy = "skip", max_retries = 1})
			drain(registry, watcher)
			assert.equal(3, watcher:stats().skipped)
			mentions(table.concat(logged, "\n"), "lane_key returned a table")
		end)

		it("seeks and stops with all lanes [K3]", function()
			fill(store, 40, 8)
			local seen = {}
			local watcher
			watcher = registry:watch("w", function(event)
				vigia.sleep(0.001)
				seen[#seen + 1] = event.object.n
			end, with())
			drain(registry, watcher)
			assert(watcher:seek_to_offset(30))
			drain(registry, watcher)
			assert.equal(50, #seen)
			assert(watcher:seek_to_offset(10))
			assert(watcher:stop())
			assert(watcher:start())
			drain(registry, watcher)
			assert.equal(80, #seen)
			assert.is_true(watcher:stop())
			assert.equal("stopped", watcher:stats().state)
			assert.equal(40, store:get_checkpoint("w"))
			assert(store:wait_for("w", 40, 1))
		end)

		it("stops from its own handler, and goes on with what is left [K3]", function()
			fill(store, 20, 4)
			local watcher
			local seen = {}
			watcher = registry:watch("w", function(event, ctx)
				seen[#seen + 1] = event.object
				if event.object.n == 6 then ctx.watcher:stop() end
			end, with())
			drive(registry, function() return watcher:stats().state == "stopped" end)
			assert(watcher:start())
			drain(registry, watcher)
			in_order(seen, 20)
		end)

		it("has the effects of each event once with transactions [K3 X4]", function()
			fill(store, 60, 6)
			local bad, failures = true, 0
			for _, lanes in ipairs{3, 8, 1, 4} do
				local watcher = registry:watch("w", function(event, ctx)
					ctx.tx:put("effects", event.object.n, (ctx.tx:get("effects", event.object.n) or 0) + 1)
					ctx.tx:put("sum", event.object.key, (ctx.tx:get("sum", event.object.key) or 0) + 1)
					if bad and event.object.n % 20 == 7 then
						failures = failures + 1
						if failures >= 33 then bad = false end
						error "not yet"
					end
				end, with{lanes = lanes, transactional = true, batch_size = 7})
				drive(registry, function() return watcher:stats().failed >= 8 or watcher:stats().lag == 0 end)
				if lanes == 4 then drain(registry, watcher) end
				assert(registry:stop())
			end
			for n = 1, 60 do assert.equal(1, store:get("effects", n), n) end
			for key = 1, 6 do assert.equal(10, store:get("sum", key)) end
			assert.equal(60, store:get_checkpoint("w"))
		end)

		for _, key in ipairs{"object.key", function(event) return event.object.key end} do
			it("puts events aside, and handles a letter in its key's lane, by a " .. type(key) .. " [K3 L1 L2]", function()
				fill(store, 20, 4)
				local bad, seen, running, at_once = true, {}, {}, nil
				local watcher = registry:watch("w", function(event)
					if bad and event.object.n % 6 == 0 then error "bad" end
					at_once = at_once or running[event.object.key]
					running[event.object.key] = event.object.n
					vigia.sleep(0.002)
					running[event.object.key] = nil
					seen[#seen + 1] = event.object.n
				end, with{retry_strategy = "dead_letter", max_retries = 1, lane_key = key})
				drain(registry, watcher)
				local letters = store:dead_letters()
				assert.same({6, 12, 18}, {letters[1].seq_num, letters[2].seq_num, letters[3].seq_num})
				bad = false
				fill(store, 40, 4)
				assert.equal(3, store:retry_dead_letter("w"))
				drive(registry, function() return #store:dead_letters() == 0 and watcher:stats().lag == 0 end)
				assert.is_nil(at_once)
				assert.equal(60, #seen)
				assert(registry:stop())
				assert.equal(60, store:get_checkpoint("w"))
			end)
		end

		it("saves after each event with checkpoint = \"event\" [K3]", function()
			fill(store, 12, 3)
			local watcher = registry:watch("w", function() end, with{checkpoint = "event"})
			drain(registry, watcher)
			drive(registry, function() return store:get_checkpoint("w") == 12 end)
		end)

		it("is replaced and removed as one [K3]", function()
			fill(store, 8, 4)
			for _ = 1, 3 do
				local watcher = registry:watch("w", function() end, with())
				drain(registry, watcher)
				assert.is_true(watcher:stop())
			end
			assert(registry:remove("w"))
			collectgarbage()
			collectgarbage()
		end)
	end)
end

describe("lanes", function()
	after_each(helper.clean)

	it("need a key, and exclude what they cannot save [K3]", function()
		local registry = helper.registry(helper.memory())
		raises("lane_key: missing", registry.watch, registry, "w", function() end, {lanes = 2})
		for _, options in ipairs{{ephemeral = true}, {checkpoint = "manual"}} do
			local _, err = registry:watch("w", function() end, with(options))
			assert.equal("invalid_option", err.code)
			mentions(tostring(err), "lanes: excludes")
		end
		local _, err = registry:watch("w", function() end, with{lane_key = "object..x"})
		assert.equal("invalid_argument", err.code)
		mentions(tostring(err), "lane_key")
		local watcher = assert(registry:watch("w", function() end, with()))
		_, err = watcher:checkpoint(0)
		assert.equal("not_supported", err.code)
		assert(registry:watch("alone", function() end, {lanes = 1, lane_key = "object.key"}))
	end)
end)

describe("a script with lanes", function()
	local store, registry, logged

	before_each(function()
		store = helper.open()
		registry, logged = helper.logging_registry(store)
	end)
	after_each(function()
		store, registry = nil, nil
		helper.clean()
	end)

	local function settled(count)
		helper.eventually(function()
			registry:step(0.01)
			return (store:get_checkpoint("laned") or 0) >= count
		end, "the lanes get on: " .. table.concat(logged, "\n"))
	end

	local program = helper.program()
	for _, how in ipairs{"thread", "process"} do
		for _, key in ipairs{'"object.key"', "function(event) return event.object.key end"} do
			it("has a " .. how .. " for each lane, by " .. key .. " [K3]", function()
				if how == "process" and not program then helper.pending("there is no program beside the module") end
				fill(store, 40, 8)
				local path = helper.write_file("laned.lua", ([[
					local vigia = require "vigia"
					local failed = false
					return {
						lanes = 4, lane_key = %s, transactional = true, initial_backoff = 0.001, batch_size = 3,
						handle = function(event, ctx)
							local list = ctx.tx:get("by", event.object.key) or {}
							list[#list + 1] = event.object.n
							ctx.tx:put("by", event.object.key, list)
							if event.object.n %% 16 == 5 and not failed then
								failed = true
								error("once")
							end
						end,
					}]]):format(key))
				local watcher = assert(registry:watch("laned", path, {isolation = how, worker_program = how == "process" and program or nil}))
				settled(40)
				for k = 1, 8 do assert.same({k, k + 8, k + 16, k + 24, k + 32}, store:get("by", k)) end
				-- A lane's thread tells its numbers after the commit that moves the checkpoint.
				helper.eventually(function() return watcher:stats().processed == 40 end, "each event is counted once")
				assert(watcher:seek_to_offset(32))
				settled(40)
				helper.eventually(function() return #store:get("by", 8) == 6 and watcher:stats().lag == 0 end, "handled again")
				assert(registry:stop())
				assert.equal("stopped", watcher:stats().state)
			end)
		end
	end

	it("cannot change its lanes in a reload, and takes a new key function [K3]", function()
		fill(store, 8, 4)
		local path = helper.write_file("laned.lua", 'return {lanes = 2, lane_key = "object.key", handle = function() end}')
		local watcher = assert(registry:watch("laned", path))
		settled(8)
		helper.write_file("laned.lua", 'return {lanes = 3, lane_key = "object.key", handle = function() end}')
		local _, err = watcher:reload()
		assert.equal("script_error", err.code)
		mentions(tostring(err), "`lanes` cannot change")
		helper.write_file("laned.lua", 'return {lanes = 2, lane_key = "object.n", handle = function() end}')
		_, err = watcher:reload()
		mentions(tostring(err), "`lane_key` cannot change")
	end)

	it("is refused without a key [K3]", function()
		local path = helper.write_file("laned.lua", "return {lanes = 2, lane_key = 'object.key', ephemeral = true, handle = function() end}")
		local _, err = registry:watch("laned", path)
		assert(err)
		mentions(tostring(err), "lanes: excludes ephemeral")
		for key, text in pairs{[""] = "lane_key: missing", ["lane_key = 7,"] = "lane_key is a number, allowed: a string, a function",
			['lane_key = "key",'] = "lane_key: the place \"key\" is wrong"} do
			helper.write_file("laned.lua", ("return {lanes = 2, %s handle = function() end}"):format(key))
			_, err = registry:watch("laned", path)
			assert.equal("script_error", err.code)
			mentions(tostring(err), "watch options: " .. text)
		end
	end)
end)
