-- transactional_spec.lua - watchers with `transactional = true`: what the handler does in ctx.tx, and the progress, are one commit.

local helper = require "spec.helper"
local vigia = require "vigia"

local drain, drive, fails, fill, mentions, raises = helper.drain, helper.drive, helper.fails, helper.fill, helper.mentions, helper.raises

local QUICK <const> = {transactional = true, initial_backoff = 0.001}

local function with(options)
	local all = {}
	for name, value in pairs(QUICK) do all[name] = value end
	for name, value in pairs(options or {}) do all[name] = value end
	return all
end

local function count(_, ctx)
	assert(ctx.tx:put("counts", "n", (ctx.tx:get("counts", "n") or 0) + 1))
end

for _, kind in ipairs{"memory", "file"} do
	describe("a transactional watcher of a store of kind " .. kind, function()
		local store, registry, logged

		before_each(function()
			store = kind == "memory" and helper.memory() or helper.open(helper.path "t.vigia")
			registry, logged = helper.logging_registry(store)
		end)
		after_each(function()
			store, registry = nil, nil
			helper.clean()
		end)

		-- How many commits there were, as far as the store counts.
		local function commits()
			return store:stats().commits
		end

		it("commits what it writes, the events it stores and its progress at once [X4]", function()
			fill(store, 3, "Payment")
			local seen = {}
			local watcher = registry:watch("w", function(event, ctx)
				count(event, ctx)
				ctx.tx:store_event("SEEN", "Account", {n = event.seq_num})
				seen[#seen + 1] = {store:get("counts", "n") or 0, store:get_latest_event_num(), (store:get_checkpoint("w"))}
			end, with{filter = {object_types = {"Payment"}}})
			drain(registry, watcher)
			for i = 1, 3 do -- nothing was visible from outside while the batch was handled
				assert.same({0, 3}, seen[i])
			end
			assert.equal(3, store:get("counts", "n"))
			assert.same({{n = 1}, {n = 2}, {n = 3}}, helper.objects(store, "Account"))
			assert(store:get_checkpoint("w") >= 3)
		end)

		it("passes the events that it stores itself at once [X4]", function()
			fill(store, 2, "Payment")
			local watcher = registry:watch("w", function(_, ctx)
				ctx.tx:store_event("SEEN", "Account", 1)
				ctx.store:store_event("SEEN", "Account", 2)
			end, with{filter = {object_types = {"Payment"}}})
			drive(registry, function() return store:get_latest_event_num() == 6 end)
			while registry:step(0) do end
			assert.same({0, 6}, {watcher:stats().lag, store:get_latest_event_num()})
		end)

		it("shows each event what the one before wrote, in one commit a batch [X4]", function()
			fill(store, 200)
			local before = commits()
			local watcher = registry:watch("w", count, with{batch_size = 50})
			drain(registry, watcher)
			assert.equal(200, store:get("counts", "n"))
			assert(not before or commits() - before <= 8, "not one commit for each event")
		end)

		it("takes back what a failing event wrote, alone, and commits those before it first [X4]", function()
			fill(store, 5)
			local tries, stored_at_retry = 0, nil
			local watcher = registry:watch("w", function(event, ctx)
				ctx.tx:put("effects", event.seq_num, true)
				ctx.tx:put("last", "one", event.seq_num)
				ctx.tx:store_event("SEEN", "Other", event.seq_num)
				if event.seq_num == 3 then
					ctx.tx:delete("effects", 1)
					tries = tries + 1
					if tries == 2 then stored_at_retry = {store:get("effects", 2), store:get("effects", 3), store:get("last", "one"),
						store:get_checkpoint("w")} end
					if tries < 3 then error("not yet") end
				end
			end, with{filter = {object_types = {"Job"}}})
			drain(registry, watcher)
			assert.same({true, nil, 2, 2}, {table.unpack(stored_at_retry, 1, 4)})
			assert.same({false, true, true, true, true}, {(store:get("effects", 1)) or false, store:get("effects", 2), store:get("effects", 3),
				store:get("effects", 4), store:get("effects", 5)})
			assert.same({1, 2, 3, 4, 5}, helper.objects(store, "Other"))
			local stats = watcher:stats()
			assert.same({5, 2, 2}, {stats.processed, stats.failed, stats.retried})
			mentions(table.concat(logged, "\n"), "not yet", "event 3, attempt 1", "event 3, attempt 2", "the next one in 0.00")
		end)

		it("gives an event up without its effects [X4]", function()
			fill(store, 3)
			local watcher = registry:watch("w", function(event, ctx)
				count(event, ctx)
				if event.seq_num == 2 then error("never") end
			end, with{retry_strategy = "skip", max_retries = 2})
			drain(registry, watcher)
			assert.equal(2, store:get("counts", "n"))
			assert.equal(1, watcher:stats().skipped)
			assert.equal(3, store:get_checkpoint("w"))
		end)

		it("runs the batch again after a conflict, which is no attempt and no failure [X4]", function()
			fill(store, 4)
			local runs, errors, attempts = 0, 0, {}
			local watcher = registry:watch("w", function(event, ctx)
				attempts[#attempts + 1] = ctx.attempt
				local n = ctx.tx:get("counts", "n") or 0
				if event.seq_num == 3 then
					runs = runs + 1
					if runs == 1 then
						store:put("counts", "n", 100) -- somebody else's
						pcall(ctx.tx.get, ctx.tx, "counts", "other") -- finds the conflict, and swallows it
					elseif runs == 2 then
						store:put("counts", "n", 200) -- found by the commit
					end
				end
				assert(ctx.tx:put("counts", "n", n + 1))
			end, with{on_error = function() errors = errors + 1 end})
			drain(registry, watcher)
			assert.equal(204, store:get("counts", "n"))
			local stats = watcher:stats()
			assert.same({4, 0, 0, 0}, {stats.processed, stats.failed, stats.retried, errors})
			assert.same({}, logged)
			for _, attempt in ipairs(attempts) do assert.equal(1, attempt) end
		end)

		it("goes on counting attempts after a conflict [X4]", function()
			fill(store, 2)
			local attempts = {}
			local watcher = registry:watch("w", function(event, ctx)
				ctx.tx:get("counts", "n")
				if event.seq_num == 1 then return count(event, ctx) end
				attempts[#attempts + 1] = ctx.attempt
				if #attempts == 2 then
					store:put("counts", "n", 10)
					ctx.tx:get("counts", "m")
				end
				error("never")
			end, with{retry_strategy = "skip", max_retries = 3})
			drain(registry, watcher)
			assert.same({1, 2, 2, 3}, attempts)
			assert.equal(1, watcher:stats().skipped)
		end)

		it("fails an event one of whose calls on the transaction failed, also if nobody looked [X4]", function()
			fill(store, 2)
			local watcher = registry:watch("w", function(event, ctx)
				count(event, ctx)
				if event.seq_num == 1 then ctx.tx:put("b", "k", {f = print}) end
			end, with{retry_strategy = "skip", max_retries = 1})
			drain(registry, watcher)
			assert.equal(1, store:get("counts", "n"))
			mentions(table.concat(logged, "\n"), "value.f: function")
		end)

		it("commits sooner when a transaction grows, and fails an event that is too large alone [X4]", function()
			store:close()
			store = kind == "memory" and helper.memory{max_transaction_bytes = 64 * 1024} or
				helper.open(helper.path "t.vigia", {max_transaction_bytes = 64 * 1024})
			registry, logged = helper.logging_registry(store)
			fill(store, 60)
			local watcher = registry:watch("w", function(event, ctx)
				local size = event.seq_num == 50 and 100000 or event.seq_num % 7 == 0 and 40000 or 3000
				count(event, ctx)
				ctx.tx:put("b", event.seq_num, ("x"):rep(size)) -- what it returns, nobody looks at
			end, with{retry_strategy = "skip", max_retries = 1})
			drain(registry, watcher)
			assert.equal(59, store:get("counts", "n"))
			assert.equal(59, #store:range("b"))
			assert.same({59, 1, 1}, {watcher:stats().processed, watcher:stats().failed, watcher:stats().skipped})
			mentions(table.concat(logged, "\n"), "event 50", "max_transaction_bytes")
		end)

		it("lets the transaction be used only while its handler runs, and keeps it from being committed twice [X4]", function()
			fill(store, 2)
			local kept
			local watcher = registry:watch("w", function(event, ctx)
				kept = kept or ctx.tx
				assert.equal(kept, ctx.tx)
				count(event, ctx)
			end, QUICK)
			drain(registry, watcher)
			raises("the transaction has ended", kept.get, kept, "counts", "n")
			watcher = registry:watch("other", function(_, ctx)
				kept = ctx.tx
			end)
			drain(registry, watcher)
			assert.is_nil(kept)
		end)

		it("does not take calls on the store along [X4]", function()
			fill(store, 1)
			local tries = 0
			local watcher = registry:watch("w", function(_, ctx)
				tries = tries + 1
				ctx.store:put("direct", tries, true)
				ctx.tx:put("in", tries, true)
				if tries == 1 then error("no") end
				assert(ctx.store:transaction(function(tx) tx:put("direct", "own", true) end))
			end, QUICK)
			drain(registry, watcher)
			assert.equal(3, #store:range("direct"))
			assert.same({2}, {store:range("in")[1].key})
		end)

		it("seeks, stops and is watched again after the commit [X4]", function()
			fill(store, 10)
			local order = {}
			local watcher
			watcher = registry:watch("w", function(event, ctx)
				count(event, ctx)
				order[#order + 1] = event.seq_num
				if event.seq_num == 4 and #order == 4 then assert(ctx.watcher:seek_to_offset(8)) end
			end, QUICK)
			drain(registry, watcher)
			assert.same({1, 2, 3, 4, 9, 10}, order)
			assert.equal(6, store:get("counts", "n"))
			assert(watcher:seek_to_offset(5)) -- back: applied again
			drain(registry, watcher)
			assert.equal(11, store:get("counts", "n"))
			assert(registry:stop())
			assert.equal(10, store:get_checkpoint("w"))
			fill(store, 3)
			watcher = registry:watch("w", function(event, ctx)
				count(event, ctx)
				if event.seq_num == 12 then ctx.watcher:stop() end
			end, QUICK)
			drive(registry, function() return watcher:stats().state == "stopped" end)
			assert.equal(13, store:get("counts", "n"))
			assert.equal(12, store:get_checkpoint("w"))
		end)

		it("saves what the filter dropped without a commit of its own for each [X4]", function()
			store:close()
			store = kind == "memory" and helper.memory{checkpoint_interval = 0.01} or
				helper.open(helper.path "t.vigia", {checkpoint_interval = 0.01})
			registry = helper.registry(store)
			fill(store, 50, "Other")
			local watcher = registry:watch("w", count, with{filter = {object_types = {"None"}}})
			drain(registry, watcher)
			helper.eventually(function()
				registry:step(0.01)
				return store:get_checkpoint("w") == 50
			end, "the checkpoint passes what was dropped")
		end)

		it("saves at once what somebody waits for, also in the middle of a batch, and what the filter dropped [X4 X6]", function()
			fill(store, 20)
			fill(store, 5, "Other")
			local watcher = registry:watch("w", function(event, ctx)
				count(event, ctx)
				vigia.sleep(0.001)
			end, with{filter = {object_types = {"Job"}}})
			local seen = {}
			registry:spawn(function()
				assert(store:wait_for("w", 3, 5))
				seen[1] = store:get("counts", "n")
				assert(store:wait_for("w", 25, 5))
				seen[2] = store:get("counts", "n")
			end)
			drive(registry, function() return #seen == 2 end)
			assert(seen[1] >= 3 and seen[1] < 15, seen[1])
			assert.equal(20, seen[2])
			assert.equal(0, watcher:stats().failed)
		end)

		it("waits in a handler with its transaction open, which holds up nobody [X4]", function()
			fill(store, 2)
			local watcher = registry:watch("w", function(event, ctx)
				count(event, ctx)
				vigia.sleep(0.02)
				count(event, ctx)
			end, QUICK)
			local others = registry:watch("other", function() end)
			drain(registry, watcher, others)
			assert.equal(4, store:get("counts", "n"))
		end)

		it("ends with a registry whose handler waits, and with the Lua state that still has the transaction [X4]", function()
			fill(store, 1)
			local kept
			local tail = setmetatable({}, {__close = function() kept.late = {pcall(kept.tx.put, kept.tx, "b", "k", 1)} end})
			registry:watch("w", function(_, ctx)
				kept = {tx = ctx.tx}
				local _ <close> = tail
				vigia.sleep(100) -- ends with the stop
				vigia.sleep(100)
			end, QUICK)
			drive(registry, function() return kept ~= nil end)
			assert.equal("running", registry:get_watcher("w"):stats().state)
			fails("invalid_state", registry:stop{timeout = 0})
			registry = nil
			helper.clean()
			collectgarbage()
			collectgarbage()
		end)
	end)
end

describe("transactional", function()
	after_each(helper.clean)

	it("reads a whole value outside of its handler, though a finalizer ends the transaction meanwhile [X4]", function()
		local store = helper.memory()
		local registry = helper.registry(store)
		fill(store, 200)
		local saved, over
		assert(registry:watch("w", function(event, ctx)
			local rows = {}
			for i = 1, 300 do rows[i] = {i .. " of " .. event.seq_num} end
			ctx.tx:put("b", "k", rows)
			saved = ctx
			vigia.sleep(0)
		end, {transactional = true, batch_size = 1}))
		local function step_when_collected()
			setmetatable({}, {__gc = function()
				pcall(registry.step, registry, 0)
				if not over then step_when_collected() end
			end})
		end
		step_when_collected()
		local pause, multiplier = collectgarbage("setpause", 1), collectgarbage("setstepmul", 1000)
		local read = 0
		for _ = 1, 400 do
			registry:step(0)
			local ok, rows = pcall(function() return saved and saved.tx and saved.tx:get("b", "k") end)
			if ok and rows then
				read = read + 1
				for i = 1, 300 do assert.equal(i .. rows[1][1]:match(" of .*"), rows[i][1]) end
			end
		end
		over = true
		collectgarbage("setpause", pause)
		collectgarbage("setstepmul", multiplier)
		assert(read > 0)
	end)

	it("excludes other ways to save progress [X4]", function()
		local registry = helper.registry(helper.memory())
		for _, options in ipairs{{ephemeral = true}, {checkpoint = "event"}, {checkpoint = "manual"}} do
			local _, err = registry:watch("w", function() end, with(options))
			assert.equal("invalid_option", err.code)
			mentions(tostring(err), "transactional: excludes ephemeral")
		end
		local watcher = assert(registry:watch("w", function() end, QUICK))
		local _, err = watcher:checkpoint(0)
		assert.equal("not_supported", err.code)
		mentions(tostring(err), "'w' is transactional", "seek")
	end)

	it("is not there for a store in Lua [X4]", function()
		local registry = helper.registry(helper.wrapped())
		fails("not_supported", registry:watch("w", function() end, QUICK))
	end)
end)

describe("a transactional script", function()
	local store, registry, logged

	before_each(function()
		store = helper.open()
		registry, logged = helper.logging_registry(store)
	end)
	after_each(function()
		store, registry = nil, nil
		helper.clean()
	end)

	local SOURCE <const> = [[
		local failed, errors = false, 0
		return {
			transactional = true,
			initial_backoff = 0.001,
			on_error = function() errors = errors + 1 end,
			filter = {object_types = {"Job"}},
			handle = function(event, ctx)
				local n = (ctx.tx:get("counts", "n") or {n = 0}).n + 1
				ctx.tx:put("counts", "n", {n = n, deep = {{{{"x"}}}}})
				ctx.tx:put("counts", "gone", 1)
				ctx.tx:delete("counts", "gone")
				ctx.tx:store_event("SEEN", "Other", {n = n, errors = errors})
				ctx.tx:store_events{{"SEEN", "Other", #ctx.tx:range("counts")}}
				if event.seq_num == 3 and not failed then
					failed = true
					error("once")
				end
				if event.seq_num == 4 and not ctx.store:get("direct", "done") then
					ctx.store:put("direct", "done", true)
					ctx.store:put("counts", "n", {n = 100})
					ctx.tx:get("counts", "m")
				end
			end,
		}]]

	local program = helper.program()
	for _, how in ipairs{"thread", "process"} do
		it("has its transaction on a " .. how .. " of its own [X4]", function()
			if how == "process" and not program then helper.pending("there is no program beside the module") end
			local path = helper.write_file("effects.lua", SOURCE)
			fill(store, 5)
			local watcher = assert(registry:watch("effects", path, {isolation = how, worker_program = how == "process" and program or nil}))
			helper.eventually(function()
				registry:step(0.01)
				return (store:get_checkpoint("effects") or 0) >= 5
			end, "the script gets on: " .. table.concat(logged, "\n"))
			-- The conflict runs the events of its batch again: 3, 4 and 5, or, where a busy machine let the batch end by time, without 3.
			local n = store:get("counts", "n").n
			assert(n == 103 or n == 102, n)
			assert.same({n = n, deep = {{{{"x"}}}}}, store:get("counts", "n"))
			local objects = helper.objects(store, "Other")
			assert.equal(10, #objects)
			assert.same({n = 1, errors = 0}, objects[1])
			assert.same({n = n, errors = 1}, objects[9]) -- on_error was not told of the conflict
			-- It tells its numbers after the commit that moves the checkpoint.
			helper.eventually(function() return watcher:stats().processed == 5 end, "each event is counted once")
			assert.equal(1, watcher:stats().failed)
			assert(registry:stop())
		end)
	end
end)
