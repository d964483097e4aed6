-- dead_letters_spec.lua - retry_strategy = "dead_letter": events that fail too often are put aside with their error, listed, retried and
-- dropped.

local vigia = require "vigia"
local helper = require "spec.helper"

local drain, drive, fails, fill, mentions, raises = helper.drain, helper.drive, helper.fails, helper.fill, helper.mentions, helper.raises

local function options(more)
	local all = {retry_strategy = "dead_letter", max_retries = 2, initial_backoff = 0.001}
	for name, value in pairs(more or {}) do all[name] = value end
	return all
end

-- Fails on the events of these numbers as long as they are in the table.
local function failing(bad, seen)
	return function(event, ctx)
		seen[#seen + 1] = event.seq_num
		if ctx.tx then ctx.tx:put("effects", event.seq_num, (ctx.tx:get("effects", event.seq_num) or 0) + 1) end
		if bad[event.seq_num] then error("bad event " .. event.seq_num) end
	end
end

local function numbers(letters)
	local list = {}
	for i, letter in ipairs(letters) do list[i] = letter.seq_num end
	return list
end

for _, kind in ipairs{"memory", "file"} do
	describe("dead letters in a store of kind " .. kind, function()
		local store, registry, logged

		before_each(function()
			store = kind == "memory" and helper.memory() or helper.open(helper.path "t.vigia")
			registry, logged = helper.logging_registry(store)
		end)
		after_each(function()
			store, registry = nil, nil
			helper.clean()
		end)

		local function retried(watcher, count)
			drive(registry, function() return watcher:stats().processed + watcher:stats().failed >= count end)
		end

		it("keep the event, the error, its place, the attempts and the time, and the watcher goes on [L1]", function()
			fill(store, 4)
			local seen, before = {}, os.time() * 1000000000
			local watcher = registry:watch("w", failing({[2] = true}, seen), options())
			drain(registry, watcher)
			assert.same({1, 2, 2, 3, 4}, seen)
			local letters = assert(store:dead_letters())
			assert.equal(1, #letters)
			local letter = letters[1]
			assert.same({"w", 2, 2, false}, {letter.watcher, letter.seq_num, letter.attempts, letter.retry})
			mentions(letter.error, "bad event 2")
			mentions(letter.traceback, "dead_letters_spec.lua")
			assert(letter.timestamp >= before and letter.timestamp <= (os.time() + 1) * 1000000000)
			assert.same({n = 2}, letter.event.object)
			assert.same({2, "CREATE", "Job"}, {letter.event.seq_num, letter.event.operation, letter.event.object_type})
			local stats = watcher:stats()
			assert.same({3, 2, 1, 0, 1}, {stats.processed, stats.failed, stats.retried, stats.skipped, stats.dead_lettered})
			assert.equal(1, store:stats().dead_letters)
			mentions(table.concat(logged, "\n"), "puts event 2 aside as a dead letter", "attempt 2, the last one")
		end)

		it("are stored in the commit that passes the event, in each mode but manual [L1]", function()
			fill(store, 3)
			for _, mode in ipairs{"batch", "event", "manual"} do
				local watcher = registry:watch(mode, failing({[2] = true}, {}), options{checkpoint = mode})
				drive(registry, function() return watcher:stats().dead_lettered == 1 end)
				if mode == "manual" then fails("checkpoint_not_found", store:get_checkpoint(mode))
				else assert(store:get_checkpoint(mode) >= 2, mode) end
				assert.same({2}, numbers(store:dead_letters{watcher = mode}))
				drain(registry, watcher)
			end
			assert.equal(3, store:stats().dead_letters)
		end)

		it("outlive the event, and a new failure after a seek back takes the place of the old one [L1]", function()
			fill(store, 3)
			local text = "first"
			local watcher = registry:watch("w", function(event) if event.seq_num == 2 then error(text, 0) end end, options())
			drain(registry, watcher)
			text = "second"
			assert(watcher:seek_to_offset(0))
			drain(registry, watcher)
			local letters = store:dead_letters()
			assert.same({2}, numbers(letters))
			assert.equal("second", letters[1].error)
			assert(store:trim(3))
			assert.same({n = 2}, store:dead_letters()[1].event.object)
		end)

		it("are listed by watcher, from a number, up to a limit, in order [L2]", function()
			fill(store, 5)
			local watchers = {}
			for _, id in ipairs{"b", "a", "ab"} do
				watchers[#watchers + 1] = registry:watch(id, failing({[1] = true, [3] = true, [5] = true}, {}), options{max_retries = 1})
			end
			drain(registry, table.unpack(watchers))
			local order = {}
			for i, letter in ipairs(store:dead_letters()) do order[i] = letter.watcher .. letter.seq_num end
			assert.same({"a1", "a3", "a5", "ab1", "ab3", "ab5", "b1", "b3", "b5"}, order)
			assert.same({1, 3, 5}, numbers(store:dead_letters{watcher = "a"}))
			assert.same({3, 5}, numbers(store:dead_letters{watcher = "ab", from = 2}))
			assert.same({3}, numbers(store:dead_letters{watcher = "b", from = 3, limit = 1}))
			assert.same({}, store:dead_letters{watcher = "none"})
			raises("watcher is a number", store.dead_letters, store, {watcher = 1})
			raises("from: must be the number of an event", store.dead_letters, store, {from = "x"})
			raises("unknown", store.dead_letters, store, {who = "a"})
		end)

		it("are handled again before new events, without the filter, and go [L2]", function()
			fill(store, 3)
			local bad, seen, told = {[1] = true, [3] = true}, {}, {}
			local wants = true
			local watcher
			watcher = registry:watch("w", function(event, ctx)
				if ctx.dead_letter then told[#told + 1] = {ctx.dead_letter.seq_num, ctx.dead_letter.attempts, ctx.attempt, ctx.dead_letter.event} end
				return failing(bad, seen)(event, ctx)
			end, options{where = function() return wants end, filter = {object_types = {"Job"}}})
			drain(registry, watcher)
			seen, bad = {}, {}
			wants = false -- no event passes it now
			assert.equal(2, store:retry_dead_letter("w"))
			assert.is_true(store:dead_letters()[1].retry)
			fill(store, 2)
			drive(registry, function() return #store:dead_letters() == 0 end)
			drain(registry, watcher)
			assert.same({1, 3}, seen)
			assert.same({{1, 2, 3}, {3, 2, 3}}, told)
			assert.same({}, store:dead_letters())
			assert.equal(0, store:stats().dead_letters)
			assert.equal(3, watcher:stats().last_processed_seq_num)
		end)

		it("stay with one more attempt when they fail again [L2]", function()
			fill(store, 2)
			local watcher = registry:watch("w", failing({[1] = true}, {}), options())
			drain(registry, watcher)
			assert.equal(1, store:retry_dead_letter("w", 1))
			retried(watcher, 4)
			drive(registry, function() return store:dead_letters()[1].attempts == 3 end)
			assert.is_false(store:dead_letters()[1].retry)
			assert.equal(1, watcher:stats().dead_lettered)
			mentions(table.concat(logged, "\n"), "event 1 stays a dead letter")
			assert.equal(0, store:retry_dead_letter("w", 2))
			assert.equal(0, store:retry_dead_letter("nobody"))
		end)

		it("are dropped, one or all [L2]", function()
			fill(store, 4)
			local watcher = registry:watch("w", failing({[1] = true, [2] = true, [4] = true}, {}), options{max_retries = 1})
			drain(registry, watcher)
			assert.equal(1, store:drop_dead_letter("w", 2))
			assert.equal(0, store:drop_dead_letter("w", 2))
			assert.same({1, 4}, numbers(store:dead_letters()))
			assert.equal(2, store:drop_dead_letter("w"))
			assert.same({}, store:dead_letters())
			raises("no event has the number 0", store.drop_dead_letter, store, "w", 0)
			raises("watcher_id", store.drop_dead_letter, store, "")
		end)

		it("wait for a watcher that is not running, whatever its strategy is then [L2]", function()
			fill(store, 2)
			local watcher = registry:watch("w", failing({[1] = true}, {}), options{max_retries = 1})
			drain(registry, watcher)
			assert(registry:stop())
			assert.equal(1, store:retry_dead_letter("w"))
			local seen = {}
			watcher = registry:watch("w", failing({}, seen))
			drive(registry, function() return #seen > 0 end)
			drive(registry, function() return #store:dead_letters() == 0 end)
			assert.same({1}, seen)
			assert.equal(2, watcher:stats().next_event_num or 2)
		end)

		it("have the effects of a transactional watcher, or none [L1 L2 X4]", function()
			fill(store, 5)
			local bad, seen = {[2] = true, [3] = true}, {}
			local watcher = registry:watch("w", failing(bad, seen), options{transactional = true})
			drain(registry, watcher)
			assert.same({1, 2, 2, 3, 3, 4, 5}, seen)
			local function effects()
				local list = {}
				for i, row in ipairs(store:range("effects")) do list[i] = {row.key, row.value} end
				return list
			end
			assert.same({{1, 1}, {4, 1}, {5, 1}}, effects())
			assert.same({2, 3}, numbers(store:dead_letters()))
			bad[2] = nil
			assert.equal(2, store:retry_dead_letter("w"))
			drive(registry, function() return watcher:stats().failed == 5 end)
			drive(registry, function() return #store:dead_letters() == 1 end)
			assert.same({{1, 1}, {2, 1}, {4, 1}, {5, 1}}, effects())
			assert.same({3}, numbers(store:dead_letters()))
		end)

		it("are retried again after a conflict [L2 X4]", function()
			fill(store, 1)
			local bad, runs = {true}, 0
			local watcher = registry:watch("w", function(event, ctx)
				if bad[event.seq_num] then error "bad" end
				runs = runs + 1
				local n = ctx.tx:get("counts", "n") or 0
				if runs == 1 then store:put("counts", "n", 10) end
				ctx.tx:put("counts", "n", n + 1)
			end, options{transactional = true, max_retries = 1})
			drain(registry, watcher)
			drive(registry, function() return #store:dead_letters() == 1 end)
			bad = {}
			store:retry_dead_letter("w")
			drive(registry, function() return #store:dead_letters() == 0 end)
			assert.same({2, 11}, {runs, store:get("counts", "n")})
			assert.equal(1, watcher:stats().processed)
		end)

		it("let a stop and a seek come first [L1 L2]", function()
			fill(store, 3)
			local watcher
			local bad = {[1] = true}
			watcher = registry:watch("w", function(event, ctx)
				if ctx.dead_letter then assert(ctx.watcher:seek_to_offset(2)) return end
				if bad[event.seq_num] then error "bad" end
				if event.seq_num == 2 then ctx.watcher:stop() end
			end, options{max_retries = 1})
			drive(registry, function() return watcher:stats().state == "stopped" end)
			assert.same({1}, numbers(store:dead_letters()))
			assert.equal(2, store:get_checkpoint("w"))
			store:retry_dead_letter("w", 1)
			assert(watcher:start())
			drive(registry, function() return #store:dead_letters() == 0 end)
			drain(registry, watcher)
			assert.equal(3, watcher:stats().last_processed_seq_num)
		end)

		it("are gone from a context that outlives its registry, and so is its transaction [L2 X4 W21l]", function()
			fill(store, 2)
			local saved, co, closed = {}, {}
			local function keep(id, event, ctx)
				local _ <close> = setmetatable({}, {__close = function() closed = {ctx.tx or false, ctx.dead_letter or false} end})
				saved[id], co[id] = ctx, coroutine.running()
				if id == "letters" and event.seq_num == 1 and not ctx.dead_letter then error "bad" end
				if id == "tx" or ctx.dead_letter then vigia.sleep(3600) end
			end
			drain(registry, registry:watch("letters", function(...) keep("letters", ...) end, options{max_retries = 1}))
			drive(registry, function() return store:retry_dead_letter("letters") == 1 end)
			drive(registry, function() return saved.letters.dead_letter end)
			assert(registry:watch("tx", function(...) keep("tx", ...) end, {transactional = true}))
			drive(registry, function() return saved.tx end)
			registry:close()
			for id, ctx in pairs(saved) do
				assert.same({false, false}, {ctx.tx or false, ctx.dead_letter or false})
				closed = nil
				assert(coroutine.close(co[id]))
				assert.same({false, false}, closed)
			end
		end)

		it("hold at most 16 KiB of the error and its place, and no half characters [L1]", function()
			fill(store, 1)
			local watcher = registry:watch("w", function() error(("\u{e9}"):rep(20000), 0) end, options{max_retries = 1})
			drain(registry, watcher)
			drive(registry, function() return #store:dead_letters() == 1 end)
			local letter = store:dead_letters()[1]
			assert(#letter.error + #(letter.traceback or "") <= 16384)
			assert(utf8.len(letter.error) and utf8.len(letter.traceback or ""))
		end)
	end)
end

describe("retry_strategy = \"dead_letter\"", function()
	after_each(helper.clean)

	it("is refused where there is no place for letters [L1]", function()
		local registry = helper.registry(helper.memory())
		local _, err = registry:watch("w", function() end, options{ephemeral = true})
		assert.equal("invalid_option", err.code)
		mentions(tostring(err), "excludes ephemeral")
		fails("not_supported", helper.registry(helper.wrapped()):watch("w", function() end, options()))
		for _, name in ipairs{"dead_letters", "retry_dead_letter", "drop_dead_letter"} do
			local wrapped = helper.wrapped()
			fails("not_supported", wrapped[name](wrapped, "w"))
		end
	end)

	it("leaves an event that cannot be read to on_damage [L1]", function()
		local path = helper.path "t.vigia"
		local store = helper.open(path)
		fill(store, 3)
		store:close()
		local bytes = helper.read_file(path)
		local at = assert(bytes:find("\x81\xa1n\2", 1, true)) -- the object of the second event, {n = 2}
		helper.write_file("t.vigia", bytes:sub(1, at + 2) .. "\9" .. bytes:sub(at + 4))
		store = helper.open(path)
		local registry = helper.registry(store)
		local watcher = registry:watch("w", function() end, options{on_damage = "skip"})
		drain(registry, watcher)
		assert.same({}, store:dead_letters())
		assert.same({2, 1, 0}, {watcher:stats().processed, watcher:stats().skipped, watcher:stats().dead_lettered})
	end)

	it("goes on with events and other letters beside a letter that is damaged, which can be dropped [L2 Z2]", function()
		local path = helper.path "t.vigia"
		local store = helper.open(path)
		fill(store, 3)
		local registry = helper.registry(store)
		local watcher = registry:watch("w", function(event) error("why " .. event.seq_num .. " failed", 0) end, options{max_retries = 1})
		drain(registry, watcher)
		assert(registry:stop())
		assert.equal(3, store:retry_dead_letter("w"))
		registry:close()
		store:close()
		local bytes, changed = helper.read_file(path):gsub("why 2 failed", "Why 2 failed")
		assert(changed > 0)
		helper.write_file("t.vigia", bytes)
		store = helper.open(path)
		fill(store, 1)
		local logged, seen
		registry, logged = helper.logging_registry(store)
		seen = {}
		watcher = registry:watch("w", function(event) seen[#seen + 1] = event.seq_num end, options())
		drain(registry, watcher)
		assert.same({1, 3, 4}, seen)
		mentions(table.concat(logged, "\n"), "skips a dead letter", "the dead letter 2 of watcher 'w' is damaged")
		fails("event_damaged", store:dead_letters())
		fails("event_damaged", store:retry_dead_letter("w", 2))
		assert.equal(0, store:retry_dead_letter("w"))
		assert.equal(1, store:drop_dead_letter("w"))
		assert.same({}, store:dead_letters())
		assert.equal(0, store:stats().dead_letters)
	end)

	it("has requests of another process handled at once [L2]", function()
		local path = helper.path "t.vigia"
		local store = helper.open(path)
		local registry = helper.registry(store)
		fill(store, 1)
		local bad = {true}
		local watcher = registry:watch("w", failing(bad, {}), options{max_retries = 1})
		drain(registry, watcher)
		drive(registry, function() return #store:dead_letters() == 1 end)
		bad[1] = nil
		local child = helper.child([[
			local store = vigia.open(...)
			say(store:retry_dead_letter("w"))
			io.read()]], path)
		local begun = helper.now()
		drive(registry, function() return #store:dead_letters() == 0 end)
		child:expect("1")
		child:kill()
		assert(helper.now() - begun < 60)
	end)

	local program = helper.program()
	for _, how in ipairs{"thread", "process"} do
		it("works for a script on a " .. how .. " of its own [L1 L2]", function()
			if how == "process" and not program then helper.pending("there is no program beside the module") end
			local store = helper.open()
			local registry = helper.logging_registry(store)
			local path = helper.write_file("letters.lua", [[
				return {
					retry_strategy = "dead_letter", max_retries = 1,
					handle = function(event, ctx)
						if ctx.dead_letter then
							local listed = ctx.store:dead_letters{watcher = "letters"}[1]
							assert(listed.event.object.deep[1][1] == "x" and listed.seq_num == ctx.dead_letter.seq_num)
							ctx.store:put("told", event.seq_num, ctx.dead_letter.error)
						elseif event.seq_num == 2 then
							error("no good", 0)
						end
					end,
				}]])
			for n = 1, 3 do store:store_event("CREATE", "Job", {n = n, deep = {{"x"}}}) end
			assert(registry:watch("letters", path, {isolation = how, worker_program = how == "process" and program or nil}))
			helper.eventually(function()
				registry:step(0.01)
				return #store:dead_letters() == 1
			end, "the letter")
			assert.equal(1, store:retry_dead_letter("letters", 2))
			helper.eventually(function()
				registry:step(0.01)
				return #store:dead_letters() == 0
			end, "the retry")
			mentions(store:get("told", 2), "no good")
			assert(registry:stop())
		end)
	end
end)
