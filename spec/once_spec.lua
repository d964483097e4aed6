-- once_spec.lua - a key stores its event once also for a sender that is killed between the sending and the answer.

local helper = require "spec.helper"

-- Sends events `first` to `last`, each under its key, and says each number.
local SENDER = [[
	local store = assert(vigia.open(arg[1]))
	for n = math.tointeger(tonumber(arg[2])), math.tointeger(tonumber(arg[3])) do
		local number, existed = assert(store:store_event("CREATE", "Job", n, {key = "job-" .. n}))
		if arg[4] == tostring(n) then os.execute("kill -9 $PPID") end
		say(number, existed)
	end]]

describe("a key", function()
	after_each(helper.clean)

	it("stores its event once for a sender that was killed before it heard of it [S21i]", function()
		local path = helper.path("store")
		local sender = helper.child(SENDER, path, 1, 3, 3)
		sender:expect("1\tnil")
		sender:expect("2\tnil")
		assert.same({}, sender:wait())
		sender = helper.child(SENDER, path, 2, 4, 0)
		for _, line in ipairs{"2\ttrue", "3\ttrue", "4\tnil"} do sender:expect(line) end
		sender:wait()
		assert.same({1, 2, 3, 4}, (helper.read(helper.open(path))))
	end)

	it("with if_last stores its event once for a sender that was killed before it heard of it [S21k]", function()
		local path = helper.path("store")
		local sender = helper.child([[
			local store = assert(vigia.open(arg[1]))
			assert(store:store_event("CREATE", "Job", 1, {if_last = 0}) == 1)
			os.execute("kill -9 $PPID")]], path)
		assert.same({}, sender:wait())
		local store = helper.open(path)
		local err = helper.fails("sequence_conflict", store:store_event("CREATE", "Job", 1, {if_last = 0}))
		helper.mentions(err, "is 1", "not 0")
		assert.equal(1, store:get_event(1).object) -- it was this one
		assert.equal(2, store:store_event("CREATE", "Job", 2, {if_last = 1}))
		assert.same({1, 2}, (helper.read(store)))
	end)

	it("loses nothing and doubles nothing when its sender is killed at any moment and sends again [S21j]", function()
		local path = helper.path("store")
		local heard = 0
		for _ = 1, 8 do
			local sender = helper.child(SENDER, path, heard + 1, 1000000, 0)
			for _ = 1, 20 do heard = math.tointeger(tonumber(sender:line():match("^%d+"))) end
			os.execute("kill -9 " .. sender.pid)
			for _, line in ipairs(sender:wait()) do heard = math.tointeger(tonumber(line:match("^(%d+)\t") or heard)) end
		end
		local store = helper.open(path)
		local events = assert(store:get_events{timeout = 0}).events
		assert(#events >= heard)
		for n, event in ipairs(events) do assert.same({n, n}, {event.seq_num, event.object}) end
	end)
end)
