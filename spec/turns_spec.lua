-- turns_spec.lua - a stop gives turns to all coroutines: those that ignore it, those that wait for others, those of other watchers.

local helper = require "spec.helper"
local vigia = require "vigia"

local drive, fill = helper.drive, helper.fill

-- Waits that end with "stopping", as a loop that ignores that does them.
local WAITS <const> = {
	sleep = function() return vigia.sleep(0.05) end,
	poll = function(store) return store:get_events{event_iterator = vigia.after_sequence_number(1000), timeout = 0.05} end,
}

for _, backend in ipairs(helper.backends) do
	describe("a stop over a store of kind " .. backend.name, function()
		local store, registry

		before_each(function()
			store = backend.open{durability = "none"}
			registry = helper.registry(store)
		end)
		after_each(function()
			store, registry = nil, nil
			helper.clean()
		end)

		it("ends at its timeout beside a task that appends without end [W14 H2]", function()
			local others = 0
			registry:spawn(function()
				while true do assert(store:store_event("CREATE", "Job", 1)) end
			end)
			registry:spawn(function()
				while vigia.sleep(0.001) do others = others + 1 end
			end)
			local start = helper.now()
			assert(registry:step(0) ~= nil)
			helper.eventually(function()
				assert(registry:step(0) ~= nil)
				return others >= 3
			end)
			registry:stop{timeout = 0.2}
			assert.is_true(helper.now() - start < 8)
		end)

		for name, wait in pairs(WAITS) do
			it("ends at its timeout beside a task that ignores it: " .. name .. " [W14q]", function()
				local rounds, answers, released = 0, {}, false
				registry:spawn(function()
					while not released do
						rounds = rounds + 1
						local ok, err = wait(store)
						if not ok then answers[#answers + 1] = err.code end
					end
				end)
				drive(registry, function() return rounds > 0 end)
				local began = helper.now()
				local ok, err = registry:stop{timeout = 0.2}
				assert(helper.now() - began < 30)
				assert.same({nil, "invalid_state"}, {ok, err.code})
				assert(#answers > 1 and answers[1] == "stopping" and answers[#answers] == "stopping")
				assert(#answers < 5000, "it keeps a processor busy")
				released = true
				assert(registry:stop())
			end)

			it("ends at its timeout beside a handler that ignores it: " .. name .. " [W14r]", function()
				fill(store, 1)
				local rounds, released, others = 0, false, 0
				local watcher = assert(registry:watch("a", function()
					while not released do
						rounds = rounds + 1
						wait(store)
					end
				end))
				registry:spawn(function()
					while not released do
						others = others + 1
						vigia.sleep(0.001)
					end
				end)
				drive(registry, function() return rounds > 0 end)
				local before = others
				assert.is_false(watcher:stop{timeout = 0.1})
				assert(others > before, "the task had no turn")
				assert.is_nil((registry:stop{timeout = 0.1}))
				released = true
				assert(registry:stop())
				assert.equal("stopped", watcher:stats().state)
			end)
		end

		it("lets every other coroutine have its turn before a wait ends [W14s]", function()
			local order = {}
			for _, name in ipairs{"a", "b", "c"} do
				registry:spawn(function()
					for _ = 1, 2 do
						local ok, err = vigia.sleep(1000)
						order[#order + 1] = name .. (ok and " slept" or " " .. err.code)
					end
				end)
			end
			registry:step()
			assert(registry:stop())
			assert.equal(6, #order)
			-- By turns: each name once in each three.
			for n = 1, 6, 3 do
				local three = {order[n], order[n + 1], order[n + 2]}
				table.sort(three)
				assert.same({"a stopping", "b stopping", "c stopping"}, three)
			end
		end)

		it("of another watcher lets the coroutine that asks wait, and the others go on [W14t]", function()
			fill(store, 1)
			local asleep, go, stopped, beats = false, false, nil, 0
			local other = assert(registry:watch("other", function()
				asleep = true
				vigia.sleep(1000)
				while not go do vigia.sleep(0.001) end
			end))
			drive(registry, function() return asleep end)
			registry:spawn(function()
				stopped = {other:stop{timeout = 60}, other:stats().state}
			end)
			registry:spawn(function()
				for _ = 1, 5 do
					beats = beats + 1
					vigia.sleep(0.001)
				end
				go = true
			end)
			drive(registry, function() return stopped end)
			assert.same({true, "stopped"}, stopped)
			assert.equal(5, beats)
		end)

		it("of all by two handlers is told to one that it cannot be [W14u]", function()
			fill(store, 1)
			local answers, begun = {}, 0
			for n = 1, 2 do
				assert(registry:watch("w" .. n, function()
					begun = begun + 1
					while begun < 2 do vigia.sleep(0.001) end
					vigia.sleep(0.001)
					local stopped = registry:stop{timeout = 60} or false
					answers[#answers + 1] = stopped
				end))
			end
			local began = helper.now()
			drive(registry, function() return #answers == 2 end)
			assert(helper.now() - began < 30)
			table.sort(answers, function(a, b) return not a and b end)
			assert.same({false, true}, answers)
			assert(registry:stop())
		end)

		it("of one another by two handlers is told to one that it cannot be [W14u]", function()
			fill(store, 1)
			local answers, watchers, begun = {}, {}, 0
			for n = 1, 2 do
				watchers[n] = assert(registry:watch("w" .. n, function()
					begun = begun + 1
					while begun < 2 do vigia.sleep(0.001) end
					vigia.sleep(0.001)
					local stopped = watchers[3 - n]:stop{timeout = 60}
					answers[#answers + 1] = stopped
				end))
			end
			local began = helper.now()
			drive(registry, function() return #answers == 2 end)
			assert(helper.now() - began < 30)
			table.sort(answers, function(a, b) return not a and b end)
			assert.same({false, true}, answers)
			assert(registry:stop())
		end)

		-- Of another registry: nobody else drives that one meanwhile.
		for what, stop in pairs{
			["all of its own registry"] = function(one) return one:stop{timeout = 60} end,
			["all of another registry"] = function(one) return one:stop{timeout = 60} end,
			["a watcher of another registry"] = function(_, watcher) return watcher:stop{timeout = 60} end,
		} do
			it("lets the coroutine that asks wait, and the others go on: " .. what .. " [W14y]", function()
				fill(store, 1)
				local asleep, beats, result
				local watcher = assert(registry:watch("other", function()
					asleep = true
					while not beats or beats < 5 do vigia.sleep(0.001) end
				end))
				drive(registry, function() return asleep end)
				local other = what:find("own") and registry or helper.registry(backend.open{durability = "none"})
				other:spawn(function() result = {stop(registry, watcher)} end)
				other:spawn(function()
					for n = 1, 5 do
						beats = n
						vigia.sleep(0.001)
					end
				end)
				local began = helper.now()
				drive(other, function() return result end)
				assert.same({true}, result)
				assert.equal("stopped", watcher:stats().state)
				assert(helper.now() - began < 30)
			end)
		end
	end)
end

describe("a stop of a script", function()
	after_each(helper.clean)

	local function script(store, registry, flag)
		fill(store, 1)
		local mark = helper.path("mark")
		local watcher = assert(registry:watch("script", helper.write_file("script.lua", ([[
			return function()
				io.open(%q, "w"):close()
				repeat local file = io.open(%q) until file
			end]]):format(mark, flag)), {filter = {object_types = {"Job"}}}))
		helper.eventually(function() return io.open(mark) end)
		return watcher
	end

	it("in a coroutine holds up no other coroutine, and is woken when the script has stopped [W14v]", function()
		local store = helper.open(nil, {durability = "none"})
		local registry = helper.registry(store)
		local flag = helper.path("flag")
		local watcher = script(store, registry, flag)
		local results, handled, beats = {}, {}, 0
		assert(registry:watch("beside", function(event) handled[#handled + 1] = event.seq_num end))
		registry:spawn(function()
			results[1] = watcher:stop{timeout = 0.05}
			results[2] = watcher:stop{timeout = 60}
		end)
		registry:spawn(function()
			while beats < 10 do
				beats = beats + 1
				assert(vigia.sleep(0.001))
			end
			assert(store:store_event("CREATE", "Note", nil))
		end)
		-- It cannot stop before this is done.
		drive(registry, function() return beats == 10 and #handled == 2 and results[1] ~= nil end)
		assert.is_false(results[1])
		assert.is_nil(results[2])
		helper.write_file("flag", "")
		local began = helper.now()
		drive(registry, function() return results[2] ~= nil end)
		assert(helper.now() - began < 30)
		assert.is_true(results[2])
		assert.equal("stopped", watcher:stats().state)
		assert.is_true(watcher:stop{timeout = 60})
	end)

	it("from a coroutine of another registry ends when the script's registry is closed meanwhile [W14z]", function()
		local store = helper.memory()
		fill(store, 1)
		local registry, other, begun, result = helper.registry(store), helper.registry(store), nil, nil
		local watcher = assert(registry:watch("w", function()
			begun = true
			while true do vigia.sleep(0.001) end -- and does not heed a stop
		end))
		drive(registry, function() return begun end)
		other:spawn(function() result = {watcher:stop{timeout = 60}} end)
		other:step(0)
		assert.is_nil(result)
		registry:close{timeout = 0}
		drive(other, function() return result end)
		assert.same({true}, result)
	end)

	for what, stop in pairs{
		stop = function(registry) return registry:stop{timeout = 60} end,
		close = function(registry) return registry:close() end,
		["a <close> variable"] = function(registry)
			do local _ <close> = registry end
			return true
		end,
		["a <close> variable, by an error"] = function(registry)
			local ok = pcall(function()
				local _ <close> = registry
				error "no"
			end)
			return not ok
		end,
	} do
		it("from a coroutine of another registry holds up no other coroutine: " .. what .. " [W14z]", function()
			local store = helper.open(nil, {durability = "none"})
			local registry, other = helper.registry(store), helper.registry(store)
			script(store, registry, helper.path("flag"))
			local beats, result = 0, nil
			other:spawn(function() result = {stop(registry)} end)
			other:spawn(function()
				while beats < 5 do
					beats = beats + 1
					vigia.sleep(0.001)
				end
				helper.write_file("flag", "") -- it cannot stop before
			end)
			drive(other, function() return result end)
			assert.same({true}, result)
		end)
	end

	it("may be closed by others while it waits, and the registry goes on [W14w]", function()
		local store = helper.open(nil, {durability = "none"})
		local records = {}
		local registry = helper.registry(store, {log = function(_, message) records[#records + 1] = message end})
		local watcher = script(store, registry, helper.path("flag"))
		local co
		registry:spawn(function()
			co = coroutine.running()
			watcher:stop{timeout = 60}
		end)
		drive(registry, function() return co end)
		assert.same({true, false, "cannot resume non-suspended coroutine"}, {coroutine.resume(co)})
		assert(coroutine.close(co))
		helper.write_file("flag", "")
		drive(registry, function() return #records > 0 end)
		assert(registry:stop())
	end)

	it("in a loop that ignores it is over for who stops the thread [W14x]", function()
		local store = helper.open(nil, {durability = "none"})
		fill(store, 1)
		local mark = helper.path("mark")
		local began
		do
			local registry <close> = assert(vigia.registry(store))
			local watcher = assert(registry:watch("loop", helper.write_file("loop.lua", ([[
				local vigia = require "vigia"
				return function()
					io.open(%q, "w"):close()
					while true do vigia.sleep(0.05) end
				end]]):format(mark))))
			helper.eventually(function() return io.open(mark) end)
			assert.is_false(watcher:stop{timeout = 0.05})
			began = helper.now()
		end
		assert(helper.now() - began < 30)
	end)
end)
