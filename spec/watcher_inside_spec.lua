-- watcher_inside_spec.lua - what a handler may do with its own watcher and with others; and wrong options.

local helper = require "spec.helper"
local vigia = require "vigia"

local drain, drive, fails, fill, mentions = helper.drain, helper.drive, helper.fails, helper.fill, helper.mentions
local raises, range, recorder = helper.raises, helper.range, helper.recorder

local QUICK = {initial_backoff = 0.001, max_backoff = 0.001}

for _, backend in ipairs(helper.backends) do
	-- No progress is saved by the clock here: only by what the spec does.
	local function open(options) return backend.open(options or {checkpoint_interval = 3600}) end

	describe("a handler over a store of kind " .. backend.name, function()
		local store

		local function checkpoint(id) return (store:get_checkpoint(id)) end

		before_each(function() store = open() end)
		after_each(helper.clean)

		---- from inside a handler ----

		it("may store events, which it then sees itself [W17a]", function()
			fill(store, 1)
			local registry = helper.registry(store)
			local seen = {}
			local watcher = assert(registry:watch("a", function(event)
				seen[#seen + 1] = event.seq_num
				if event.seq_num < 5 then assert.equal(event.seq_num + 1, assert(store:store_event("CREATE", "Job", nil))) end
			end))
			drain(registry, watcher)
			assert.same(range(1, 5), seen)
		end)

		it("may checkpoint its own watcher [W17b]", function()
			fill(store, 3)
			local registry = helper.registry(store)
			local results = {}
			local watcher = assert(registry:watch("a", function(event, ctx)
				assert(ctx.watcher:checkpoint(event.seq_num))
				results[event.seq_num] = checkpoint("a")
			end, {checkpoint = "manual"}))
			drain(registry, watcher)
			assert.same({1, 2, 3}, results)
		end)

		for _, mode in ipairs{"batch", "event", "manual"} do
			it("may seek its own watcher, which moves when the handler returns: mode " .. mode .. " [W17c]", function()
				fill(store, 4)
				local registry = helper.registry(store)
				local seen = {}
				local watcher = assert(registry:watch("a", function(event, ctx)
					seen[#seen + 1] = event.seq_num
					if #seen == 3 then
						assert.is_true(assert(ctx.watcher:seek_to_offset(1)))
						seen[#seen + 1] = "sought"
					end
				end, {checkpoint = mode}))
				drain(registry, watcher)
				assert.same({1, 2, 3, "sought", 2, 3, 4}, seen)
			end)
		end

		it("does not retry, nor save anything else, after a seek in a handler that then fails [W17d]", function()
			fill(store, 4)
			local registry = helper.registry(store)
			local calls = {}
			local watcher = assert(registry:watch("a", function(event, ctx)
				calls[#calls + 1] = event.seq_num .. "." .. ctx.attempt
				if event.seq_num == 2 then
					assert(ctx.watcher:seek_to_offset(3))
					error("after the seek")
				end
				if event.seq_num == 4 then calls[#calls + 1] = checkpoint("a") end
			end, QUICK))
			drain(registry, watcher)
			assert.same({"1.1", "2.1", "4.1", 3}, calls)
		end)

		it("refuses its own seek beyond the last event, and goes on [W17e]", function()
			fill(store, 2)
			local registry = helper.registry(store)
			local handler_error, seen = nil, {}
			local watcher = assert(registry:watch("a", function(event, ctx)
				seen[#seen + 1] = event.seq_num
				handler_error = fails("position_out_of_range", ctx.watcher:seek_to_offset(10))
			end))
			drain(registry, watcher)
			assert.same({1, 2}, seen)
			assert(handler_error)
		end)

		it("may stop its own watcher, which returns at once and stops when the handler returns [W17f]", function()
			fill(store, 3)
			local registry = helper.registry(store)
			local seen = {}
			local watcher = assert(registry:watch("a", function(event, ctx)
				seen[#seen + 1] = event.seq_num
				if event.seq_num == 2 then seen[#seen + 1] = type(ctx.watcher:stop()) end
			end))
			drive(registry, function() return watcher:stats().state == "stopped" end)
			assert.same({1, 2, "boolean"}, seen)
			assert.equal(2, checkpoint("a"))
		end)

		it("does not retry, nor pass the event, after a stop in a handler that then fails [W17g]", function()
			fill(store, 3)
			local registry = helper.registry(store)
			local calls = {}
			local watcher = assert(registry:watch("a", function(event, ctx)
				calls[#calls + 1] = event.seq_num
				if event.seq_num == 2 then
					ctx.watcher:stop()
					error("after the stop")
				end
			end, QUICK))
			drive(registry, function() return watcher:stats().state == "stopped" end)
			for _ = 1, 5 do registry:step() end
			assert.same({1, 2}, calls)
			assert.equal(1, checkpoint("a"))
		end)

		it("saves what a seek said when a stop comes with it, in either order [W17h]", function()
			for index, order in ipairs{{"seek_to_offset", "stop"}, {"stop", "seek_to_offset"}} do
				store = open()
				fill(store, 5)
				local registry = helper.registry(store)
				local calls = 0
				local watcher = assert(registry:watch("a", function(event, ctx)
					calls = calls + 1
					if event.seq_num ~= 3 then return end
					for _, method in ipairs(order) do ctx.watcher[method](ctx.watcher, method == "seek_to_offset" and 1 or nil) end
				end))
				drive(registry, function() return watcher:stats().state == "stopped" end)
				assert.equal(3, calls)
				if index == 1 then assert.equal(1, checkpoint("a")) end
			end
		end)

		it("may watch others, stop others and move others [W17i]", function()
			fill(store, 3)
			local registry = helper.registry(store)
			local handler, seen = recorder()
			local watcher = assert(registry:watch("a", function(event)
				if event.seq_num == 1 then
					assert(registry:watch("b", handler))
				elseif event.seq_num == 3 then
					local other = assert(registry:get_watcher("b"))
					assert.is_true(other:stop())
					assert.equal("stopped", other:stats().state)
					assert(registry:watch("c", handler))
				end
			end))
			drain(registry, watcher)
			local c = assert(registry:get_watcher("c"))
			drain(registry, c)
			assert(#seen >= 3)
			assert.same({1, 2, 3}, table.move(seen, #seen - 2, #seen, 1, {}))
			fails("watcher_not_found", registry:get_watcher("d"))
		end)

		it("may wait for another watcher whose handler is in progress to stop [W17j]", function()
			fill(store, 1)
			local registry = helper.registry(store)
			local ended, stopped
			local slow = assert(registry:watch("slow", function()
				vigia.sleep(3600)
				ended = true
			end))
			local watcher = assert(registry:watch("a", function() stopped = slow:stop() end))
			drain(registry, watcher)
			assert.is_true(stopped)
			assert.is_true(ended)
		end)

		---- options ----

		it("names every wrong option in one error, and starts nothing [W18a]", function()
			local registry = helper.registry(store)
			local message = raises(registry.watch, registry, "a", function() end, {
				initial_event_iterator = 5, filter = {object_types = "Job"}, batch_size = 0, buffer_size = 1.5, initial_backoff = -1,
				max_backoff = "long", jitter = "yes", retry_strategy = "never", max_retries = 0, checkpoint = "always", ephemeral = 1,
				auto_start = "no", on_error = "print", no_such_option = true, where = "event", on_gap = "hop", on_damage = 1, [2] = 2,
			})
			mentions(message, "initial_event_iterator", "filter", "batch_size", "buffer_size", "initial_backoff", "max_backoff", "jitter",
				"retry_strategy", "max_retries", "checkpoint", "ephemeral", "auto_start", "on_error", "no_such_option",
				"where", "on_gap", "on_damage", "[2]")
			fails("watcher_not_found", registry:get_watcher("a"))
			assert(registry:watch("a", function() end))
		end)

		it("says what is allowed, and which option may have been meant [W18b]", function()
			local registry = helper.registry(store)
			local function message(options) return raises(registry.watch, registry, "a", function() end, options) end
			mentions(message{retry_strategy = "never"}, "block", "skip")
			mentions(message{checkpoint = "never"}, "batch", "event", "manual")
			mentions(message{max_retries = 0}, "max_retries", "0", "1")
			mentions(message{batchsize = 5}, "batchsize", "batch_size")
			mentions(message{[1] = true}, "1")
			for _, value in ipairs{0 / 0, math.huge, -math.huge} do mentions(message{initial_backoff = value}, "initial_backoff") end
		end)
	end)
end
