-- store_pg_processes_spec.lua - what several processes with one store on PostgreSQL see and do of each other, as with a file. They share no
-- memory: what they tell each other goes over the server.

local contract = require "spec.processes_contract"
local helper = require "spec.helper"
local postgres = require "spec.support.postgres"
local vigia = require "vigia"

local server, why = postgres.start()
if not server then
	describe("processes and the store on PostgreSQL", function()
		it("are tested where there is a server", function() helper.pending(why) end)
	end)
	return
end

local function new_location() return server:new_location() end

contract.watchers(" on PostgreSQL", new_location)
contract.steer(" on PostgreSQL", new_location)
contract.wait_for(" on PostgreSQL", new_location)

describe("transactions of several processes on PostgreSQL", function()
	after_each(helper.clean)

	it("that write the same key all get through, one that takes long too [X2]", function()
		local location = new_location()
		local store = helper.open(location, {durability = "none"})
		local racers = {}
		for i = 1, 2 do
			racers[i] = helper.child([[
				local store = assert(vigia.open(..., {collect = false}))
				local done = 0
				say("ready")
				repeat
					if store:transaction(function(tx) assert(tx:put("b", "n", (tx:get("b", "n") or 0) + 1)) end) then done = done + 1 end
				until store:get("b", "stop")
				print(done)]], location)
			racers[i]:expect("ready")
		end
		local total, most = 3, 0
		for _ = 1, total do
			local tries = 0
			assert(store:transaction(function(tx)
				tries = tries + 1
				local n = tx:get("b", "n") or 0
				vigia.sleep(0.05) -- dozens of theirs
				assert(tx:put("b", "n", n + 1))
			end))
			most = math.max(most, tries)
		end
		assert(store:put("b", "stop", true))
		for _, racer in ipairs(racers) do total = total + racer:line() end
		assert.equal(total, store:get("b", "n"))
		assert(most > 1 and most <= 12, most)
	end)
end)

describe("the server", function()
	it("ends", function() server:stop() end)
end)
