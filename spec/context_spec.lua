-- context_spec.lua - what a handler is told beside its event, and what on_error and the log are told of its failures.

local helper = require "spec.helper"
local vigia = require "vigia"

local drain, drive, fill, mentions = helper.drain, helper.drive, helper.fill, helper.mentions

for _, backend in ipairs(helper.backends) do
	describe("the context over a store of kind " .. backend.name, function()
		local store, registry, records
		local in_c <const> = backend.name ~= "a store in Lua"

		before_each(function()
			store, records = backend.open{durability = "none"}, {}
			registry = helper.registry(store, {log = function(level, message) records[#records + 1] = level .. " " .. message end})
		end)
		after_each(function()
			store, registry = nil, nil
			helper.clean()
		end)

		it("has the attempt, the watcher, the store, and whether it is stopping [W21l]", function()
			fill(store, 2)
			local seen = {}
			local watcher
			watcher = assert(registry:watch("a", function(event, ctx)
				seen[#seen + 1] = {event.seq_num, ctx.attempt, ctx.stopping}
				assert(ctx.watcher == watcher and ctx.store == store and ctx.nothing == nil and ctx[1] == nil)
				if ctx.attempt < 3 then error("not yet") end
				if event.seq_num == 2 then
					assert(ctx.attempt == 3)
					local slept, err = vigia.sleep(3600)
					seen[#seen + 1] = {slept, err.code, ctx.attempt, ctx.stopping}
				end
			end, {initial_backoff = 0.001, max_backoff = 0.001}))
			drive(registry, function() return #seen == 6 end)
			assert.is_true(watcher:stop())
			assert.same({{1, 1, false}, {1, 2, false}, {1, 3, false}, {2, 1, false}, {2, 2, false}, {2, 3, false}, {nil, "stopping", 3, true}}, seen)
		end)

		it("on_error is told of every failure: the error with what was raised, the event as it is stored, the context [W21m]", function()
			fill(store, 2)
			local cause <const> = {why = "no luck"}
			local told, watcher = {}, nil
			watcher = assert(registry:watch("a", function(event)
				if in_c then event.object.n = "spoilt" end -- a store in Lua hands over tables of its own
				if event.seq_num == 1 then error(cause) end
				return nil, "answered"
			end, {initial_backoff = 0.001, max_backoff = 0.001, retry_strategy = "skip", max_retries = 3, on_error = function(err, event, ctx)
				told[#told + 1] = {err.code, err.watcher_id, err.seq_num, event.seq_num, event.object.n, ctx.attempt}
				assert(ctx.watcher == watcher and ctx.store == store)
				assert(event.seq_num == 2 or err.cause == cause)
				assert(event.seq_num == 1 or err.message == "answered")
			end}))
			drain(registry, watcher)
			local expected = {}
			for n = 1, 2 do
				for attempt = 1, 3 do expected[#expected + 1] = {"handler_error", "a", n, n, n, attempt} end
			end
			assert.same(expected, told)
			mentions(table.concat(records, "\n"), "warn watcher 'a': event failed: ", "answered",
				"error watcher 'a': gave up event 1 after 3 attempts", "gave up event 2")
			for _, record in ipairs(records) do assert.is_nil(record:find("on_error failed", 1, true), record) end
		end)

		it("on_error may fail: that is logged, and the event goes its way [W21n]", function()
			fill(store, 1)
			local watcher = assert(registry:watch("a", function() error("first") end, {retry_strategy = "skip", max_retries = 1,
				on_error = function() error("second") end}))
			drain(registry, watcher)
			local stats = watcher:stats()
			assert.same({1, 1}, {stats.failed, stats.skipped})
			mentions(stats.last_error, "first")
			mentions(table.concat(records, "\n"), "error watcher 'a': on_error failed: ", "second")
		end)

		it("no message and no record has the control characters of an id, which could move a cursor or begin a line [W21o R2]", function()
			local id <const> = "a\27[2J\nb\127"
			local shown <const> = "'a\\x1b[2J\\x0ab\\x7f'"
			fill(store, 1)
			local options <const> = {retry_strategy = "skip", max_retries = 1, initial_event_iterator = vigia.at_sequence_number(9)}
			local none, errors = nil, {}
			local function failed(...) errors[#errors + 1] = select(2, ...) end
			failed(registry:get_watcher(id))
			failed(registry:watch(id))
			local idle = assert(registry:watch(id, none, {auto_start = false}))
			failed(idle:start())
			assert(idle:set_handler(function() error("no luck", 0) end))
			failed(idle:set_handler(print))
			assert(idle:stop())
			local sleeping = assert(registry:watch(id, function() vigia.sleep(3600) end, options))
			failed(registry:watch(id, print))
			failed(sleeping:start())
			failed(sleeping:seek_to_offset(99))
			failed(sleeping:checkpoint(99))
			failed(sleeping:reload())
			failed(helper.registry(store):watch(id, print))
			failed(store:get_checkpoint(id .. "none"))
			assert(sleeping:stop())
			local failing = assert(registry:watch(id, function() error("no luck", 0) end, {ephemeral = true, retry_strategy = "skip",
				max_retries = 1, on_error = function() error("no luck either", 0) end}))
			drain(registry, failing)
			failed(failing:checkpoint(1))
			assert.equal(12, #errors)
			for n, err in ipairs(errors) do
				assert.is_nil(tostring(err):find("%c"), n .. ": " .. tostring(err))
				mentions(err, shown:sub(1, -2))
				assert.equal(n == 11 and id .. "none" or id, err.watcher_id)
			end
			assert(#records >= 4, #records)
			for _, record in ipairs(records) do
				assert.is_nil(record:find("%c"), record)
				mentions(record, shown)
			end
			local long = assert(registry:watch(("\1"):rep(255), function() end, {auto_start = false, ephemeral = true}))
			mentions(select(2, long:checkpoint(1)), "\\x01\\x01", "is ephemeral")
			assert(#tostring(select(2, long:checkpoint(1))) < 1200)
		end)
	end)
end
