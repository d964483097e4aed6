-- contention_spec.lua - transactions that get in each other's way, from several processes: each gets through, one that takes long wins
-- after some tries, giving up is rare and counted, and one that is open for long does no harm to a writer.

local helper = require "spec.helper"
local vigia = require "vigia"

-- Counts up b/n until the key b/stop is there, and tells how often it did and how often it was told transaction_conflict.
local RACER <const> = [[
	local store = assert(vigia.open(arg[1], {collect = false}))
	local done, given_up = 0, 0
	say("ready")
	repeat
		local ok, err = store:transaction(function(tx) assert(tx:put("b", "n", (tx:get("b", "n") or 0) + 1)) end)
		if ok then done = done + 1
		else
			assert(err.code == "transaction_conflict", tostring(err))
			given_up = given_up + 1
		end
	until store:get("b", "stop")
	print(done, given_up)]]

-- Writes arg[2] values of 1 KiB to keys of the bucket "busy", at most 5,000 a second, and tells how many until the key busy/stop is there.
local WRITER <const> = [[
	local store = assert(vigia.open(arg[1], {collect = false}))
	local value, begin, n = ("v"):rep(1024), require("vigia.core").monotonic(), 0
	say("ready")
	repeat
		n = n + 1
		assert(store:put("busy", n % 64, value .. n))
		local ahead = n / 5000 - (require("vigia.core").monotonic() - begin)
		if ahead > 0.001 then vigia.sleep(ahead) end
	until n % 50 == 0 and store:get("busy", "stop")
	print(n)]]

describe("transactions of several processes", function()
	local path

	before_each(function() path = helper.path("store") end)
	after_each(helper.clean)

	it("that write the same key all get through, one that takes long too, and giving up is rare and counted [X2]", function()
		local store = helper.open(path, {durability = "none", collect = false})
		local racers = {}
		for i = 1, 2 do
			racers[i] = helper.child(RACER, path)
			racers[i]:expect("ready")
		end
		local slow, most = 5, 0
		for _ = 1, slow do
			local tries = 0
			assert(store:transaction(function(tx)
				tries = tries + 1
				local n = tx:get("b", "n") or 0
				vigia.sleep(0.02) -- hundreds of theirs
				assert(tx:put("b", "n", n + 1))
			end))
			most = math.max(most, tries)
		end
		assert(most > 1 and most <= 12, most)
		assert(store:put("b", "stop", true))
		local total, given_up = slow, 0
		for _, racer in ipairs(racers) do
			local done, conflicts = racer:line():match("^(%d+)\t(%d+)$")
			assert(tonumber(done) > 0, "one never got through")
			total, given_up = total + done, given_up + conflicts
		end
		assert.equal(total, store:get("b", "n"))
		local counts = store:stats().transactions
		assert.equal(total + 1, counts.committed) -- with `stop`
		assert.equal(given_up, counts.given_up)
		assert(counts.conflicts >= (most - 1) + 17 * given_up, counts.conflicts)
		assert(given_up <= total / 100, ("%d of %d"):format(given_up, total))
	end)

	it("may stay open for long beside a writer: the file does not grow [X2]", function()
		local seconds <const> = os.getenv("VIGIA_SOAK") and 5 or 1
		local store = helper.open(path, {durability = "none", collect = false})
		for key = 1, 50 do assert(store:put("quiet", key, key)) end
		local writer = helper.child(WRITER, path)
		writer:expect("ready")
		vigia.sleep(0.3) -- it has overwritten each of its keys several times
		local before, tries, looks = store:stats(), 0, 0
		assert(before.values > 110)
		local numbers = assert(store:transaction(function(tx)
			tries = tries + 1
			local deadline = helper.now() + seconds
			repeat
				looks = looks + 1
				assert(tx:get("quiet", looks % 50 + 1))
				assert(#tx:range("quiet", {limit = 10}) == 10)
				vigia.sleep(0.05)
			until helper.now() > deadline
			assert(tx:put("quiet", 1, "changed"))
			assert(tx:store_event("CREATE", "Long", looks))
		end))
		local after = store:stats()
		assert.equal(1, #numbers)
		assert.equal(1, tries) -- others changed nothing that it had read
		assert(store:put("busy", "stop", true))
		local written = math.tointeger(tonumber((writer:line())))
		-- Each commit writes four pages or more, which are used again: so what a reader that stays open keeps back is many times this.
		local grown = after.file_bytes - before.file_bytes
		assert(written > 500 * seconds, ("%d values in %g s"):format(written, seconds))
		assert(grown <= 1 << 20, ("%d bytes by %d commits"):format(grown, written))
		assert.equal("changed", store:get("quiet", 1))
	end)
end)
