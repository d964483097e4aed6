-- outlived_spec.lua - what a program still has in hand when the registry, the store or the Lua state it belongs to is closed.

local helper = require "spec.helper"
local vigia = require "vigia"

-- In a process of its own too, so it is text: returns a table of what there is to hold, and the registry.
local MAKE <const> = [[
	local vigia, store = ...
	local core = require "vigia.core"
	local registry = assert(vigia.registry(store, {log = function() end}))
	local held = {registry = registry, store = store, clock = core.clock()}
	held.watcher = assert(registry:watch("a", function(event, ctx)
		held.ctx, held.event = ctx, event
		held.iterator = ctx.watcher:stats().next_event_iterator
		if event.seq_num == 2 then
			held.waiting = coroutine.running()
			vigia.sleep(1000)
		end
	end))
	held.retired = assert(registry:watch("b", function(_, ctx)
		held.retired_ctx = ctx
		ctx.watcher:stop()
	end))
	held.failing = assert(registry:watch("c", function() error("no luck", 0) end, {on_error = function(err, _, ctx)
		held.error, held.failing_ctx = err, ctx
	end}))
	assert(registry:spawn(function()
		held.task_waits = coroutine.running()
		vigia.sleep(1000)
	end))
	assert(registry:spawn(function()
		held.polling = coroutine.running()
		store:get_events{event_iterator = vigia.after_sequence_number(100), timeout = 1000}
	end))
	assert(store:store_events{{"CREATE", "Job", 1}, {"CREATE", "Job", 2}})
	while not (held.waiting and held.retired_ctx and held.error and held.task_waits) do assert(registry:step(1) ~= nil) end
	assert(held.retired:stop())
	held.retired = nil
	assert(registry:watch("b", function() end))
	return held, registry]]

-- Everything that can be done with them; returns what the contexts said.
local USE <const> = [[
	local held = ...
	local said = {}
	local function try(f, ...) return select(2, pcall(f, ...)) end
	for _, name in ipairs{"ctx", "retired_ctx", "failing_ctx"} do
		local ctx = held[name]
		said[#said + 1] = ctx.stopping
		local _ = ctx.attempt, ctx.store, ctx.watcher, tostring(ctx)
		for _, method in ipairs{"id", "stats", "start", "stop", "reload"} do try(function() ctx.watcher[method](ctx.watcher) end) end
		try(function() ctx.watcher:checkpoint(1) end)
		try(function() ctx.watcher:seek_to_offset(1) end)
		try(function() ctx.watcher:set_handler(print) end)
		try(function() ctx.store:store_event("CREATE", "Job", 1) end)
	end
	for _, name in ipairs{"waiting", "task_waits", "polling"} do
		said[#said + 1] = select(3, coroutine.resume(held[name], 1, 2, 3)) or "closed"
		coroutine.close(held[name])
	end
	for _, method in ipairs{"step", "pollfd", "stop", "run", "spawn", "watch", "get_watcher"} do
		try(held.registry[method], held.registry, ({step = 0, stop = {timeout = 0}, spawn = print})[method] or "a", print)
	end
	for _, method in ipairs{"stats", "sync", "gc", "checkpoints", "get_latest_event_num", "get_events", "get_event"} do
		try(held.store[method], held.store, method == "get_event" and 1 or method == "get_events" and {timeout = 0} or nil)
	end
	held.clock:advance(1)
	for _, value in pairs(held) do local _ = try(tostring, value) end
	local _ = held.error.code, held.error.watcher_id, held.iterator.kind, held.iterator.seq_num, held.event.object
	collectgarbage()
	return said]]

local make, use = assert(load(MAKE)), assert(load(USE))
local WAITS <const> = "cannot resume non-suspended coroutine"

for _, kind in ipairs{"memory", "file"} do
	describe("what is left in hand over a store of kind " .. kind, function()
		after_each(helper.clean)

		local function open()
			return kind == "file" and helper.open(nil, {durability = "none"}) or helper.memory()
		end

		it("tells of a registry that is closed, and of its watchers, that they are at their end [R3u W21q]", function()
			local store = open()
			local held, registry = make(vigia, store)
			do local _ <close> = registry end
			assert.same({true, true, true, WAITS, WAITS, WAITS}, use(held))
			store:close()
			assert.same({true, true, true, "closed", "closed", "closed"}, use(held))
		end)

		it("is safe when the store is closed first [R3v]", function()
			local store = open()
			local held, registry = make(vigia, store)
			store:close()
			use(held)
			do local _ <close> = registry end
			use(held)
		end)

		it("is safe when all of it is garbage at once and a finalizer uses it [R3w]", function()
			for _ = 1, 2 do
				local said
				do
					local held = make(vigia, open())
					setmetatable({}, {__gc = function() said = use(held) end})
				end
				for _ = 1, 3 do collectgarbage() end
				assert.same(6, #said)
			end
		end)

		it("is safe in finalizers when the Lua state is closed, before ours and after them [R3x]", function()
			local output, ok, how, status = helper.run_lua("", ([[
				local function last(name) return setmetatable({}, {__gc = function(self) self.use(self.held) say(name) end}) end
				local early = last "early" -- of those that are marked first the finalizers come last
				local store = assert(vigia.open(%q))
				local make, use = load(%q), load(%q)
				local held = make(vigia, store)
				local late = last "late"
				early.use, late.use, early.held, late.held = use, use, held, held
				keep = {early, late}]]):format(kind == "file" and helper.path("store") or ":memory:", MAKE, USE))
			assert(ok, ("%s(%s %s)"):format(output, how, status))
			assert.equal("late\nearly\n", output)
		end)
	end)
end
