-- outcome_spec.lua - what a handler may return, wherever it runs, and what that means.

local helper = require "spec.helper"
local testing = require "vigia.testing"

local fill, mentions = helper.fill, helper.mentions

-- The end of a handler; what it fails with, or nothing if it succeeds.
local ENDS <const> = {
	{"return"}, {"return nil"}, {"return false"}, {"return true"}, {"return 1, 'two'"}, {"return {}, 'two'"}, {"return true, print"},
	{"return nil, nil"}, {"return nil, nil, 'third'"}, {"return nil, 'no luck'", "no luck"}, {"return false, 7", "7"},
	{"return ctx.store:store_event('CREATE', 'Result', 1)"},
	{"return ctx.store:store_event('', 'Result', 1)", "operation"},
	{"return function() end", "the handler returned a function, which is not run"},
	{"return print, 'a message'", "the handler returned a function, which is not run"},
	{"return coroutine.create(function() end)", "the handler returned a thread, which is not run"},
}

describe("what a handler returns", function()
	after_each(helper.clean)

	-- watch(registry, id, the handler's source) -> watcher
	local function expect(store, watch)
		local registry = helper.registry(store)
		fill(store, 1)
		local watchers = {}
		for n, case in ipairs(ENDS) do watchers[n] = watch(registry, "w" .. n, "return function(event, ctx) " .. case[1] .. " end") end
		for n, case in ipairs(ENDS) do
			local stats
			helper.drive(registry, function()
				stats = watchers[n]:stats()
				return stats.processed + stats.failed > 0
			end)
			assert.same({case[1], case[2] and 0 or 1, case[2] and 1 or 0}, {case[1], stats.processed, stats.failed})
			if case[2] then
				assert.equal(case[2] == "operation" and stats.last_error.code or "handler_error", stats.last_error.code)
				mentions(stats.last_error, case[2])
			end
		end
		assert(registry:stop())
	end

	local jobs <const> = {object_types = {"Job"}}

	for _, backend in ipairs(helper.backends) do
		it("decides what becomes of the event: a function over a store of kind " .. backend.name .. " [R6a W5q]", function()
			expect(backend.open{durability = "none"}, function(registry, id, source)
				return assert(registry:watch(id, assert(load(source))(), {initial_backoff = 3600, max_backoff = 3600, filter = jobs}))
			end)
		end)
	end

	for _, isolated in ipairs{false, true} do
		it("decides what becomes of the event: a script in a " .. (isolated and "program" or "thread") .. " [R6b W5r]", function()
			local program = helper.program()
			if isolated and not program then return helper.pending("there is no program beside the module") end
			expect(helper.open(nil, {durability = "none"}), function(registry, id, source)
				return assert(registry:watch(id, helper.write_file(id .. ".lua", source), {initial_backoff = 3600, max_backoff = 3600,
					filter = jobs, isolation = isolated and "process" or nil, worker_program = isolated and program or nil}))
			end)
		end)
	end

	it("decides what a double of a registry returns [R6c]", function()
		for n, case in ipairs(ENDS) do
			local registry = testing.registry(helper.memory())
			assert(registry:watch("w" .. n, assert(load("return function(event, ctx) " .. case[1] .. " end"))()))
			local good, err = registry:deliver("w" .. n, testing.event())
			assert.equal(not case[2] or nil, good, case[1])
			if case[2] then mentions(err, case[2]) end
		end
	end)
end)
