-- verify_spec.lua - damage in the file: found where it is decoded, listed by `vigia verify`, and never the end of the process.

local cli = require "spec.support.cli"
local helper = require "spec.helper"
local vigia = require "vigia"

local fails, mentions = helper.fails, helper.mentions

local EVENTS <const> = 300

local function marker(n)
	return ("marker %06d end"):format(n)
end

-- A closed store of EVENTS events with a checkpoint and a key; its path.
local function make()
	local path = helper.path("store")
	local store = helper.open(path)
	for n = 1, EVENTS - 1 do assert(store:store_event("CREATE", "Job", {marker = marker(n)})) end
	assert(store:store_event("CREATE", "Job", {marker = marker(EVENTS)}, {key = "k"}))
	assert(store:store_checkpoint("w", 7))
	store:close()
	return path
end

local function bytes_of(path)
	local file = assert(io.open(path, "rb"))
	local bytes = file:read("a")
	file:close()
	return bytes
end

local function write_at(path, at, bytes)
	local file = assert(io.open(path, "r+b"))
	file:seek("set", at)
	file:write(bytes)
	file:close()
end

-- What crashes on a page that is garbage is no finding of a sanitizer's.
local MAY_CRASH = os.getenv("ASAN_OPTIONS") and os.getenv("ASAN_OPTIONS") .. ":handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_abort=0"

-- Run `vigia verify`. Its child may crash.
local function verify(...)
	return cli.run({"verify", "--store", ...}, {env = {ASAN_OPTIONS = MAY_CRASH}})
end

-- Change one byte of event n wherever it is: pages that LMDB left hold copies.
local function flip(path, n)
	local bytes, at = bytes_of(path), 1
	while true do
		local first, last = bytes:find(marker(n), at, true)
		if not first then break end
		write_at(path, first + 9, "X")
		at = last
	end
end

describe("a damaged event", function()
	after_each(helper.clean)

	it("is found when it is decoded, by its number, and those before and after it can be read [E8a]", function()
		local path = make()
		flip(path, 5)
		local store = helper.open(path)
		local err = fails("event_damaged", store:get_event(5))
		assert.equal(5, err.seq_num)
		for _, n in ipairs{1, 4, 6, EVENTS} do assert.equal(marker(n), assert(store:get_event(n)).object.marker) end
		assert.equal(4, #assert(store:get_events{timeout = 0}).events)
		fails("event_damaged", store:get_events{event_iterator = vigia.at_sequence_number(5), timeout = 0})
		assert.equal(EVENTS - 5, #assert(store:get_events{event_iterator = vigia.after_sequence_number(5), timeout = 0}).events)
	end)

	it("is found wherever the bit is, in every byte of the event [E8b]", function()
		local path = make()
		local bytes = bytes_of(path)
		local first = bytes:find(marker(9), 1, true)
		local head = bytes:sub(1, first):match(".*()\x96\xce") - 1 -- the event's first byte
		for at = head, first + #marker(9) - 2 do
			write_at(path, at, string.char(bytes:byte(at + 1) ~ 0x10))
			local store = helper.open(path)
			local event, err = store:get_event(9)
			assert(event == nil and err.seq_num == 9, ("byte %d: %s"):format(at - head, tostring(err)))
			store:close()
			write_at(path, at, bytes:sub(at + 1, at + 1))
		end
		assert(helper.open(path):get_event(9))
	end)

	it("is listed by `vigia verify`, which ends with 1 [E8c]", function()
		local path = make()
		assert.equal(EVENTS .. " events, 1 checkpoint, 1 key: no damage\n", cli.ok{"verify", "--store", path}.out)
		flip(path, 5)
		flip(path, 200)
		local result = cli.run{"verify", "--store", path}
		assert.equal(1, result.status)
		assert.same({
			"event 5: its bytes do not match their checksum", "event 200: its bytes do not match their checksum",
			EVENTS .. " events, 1 checkpoint, 1 key: damaged in 2 places",
		}, cli.lines(result.out))
		local json = cli.run{"verify", "--store", path, "--json"}
		assert.equal(1, json.status)
		mentions(json.out, '{"event":5,"damage":"', '{"event":200,"damage":"',
			'"events":300,"checkpoints":1,"keys":1,"values":0,"timers":0,"damaged":2}')
	end)

	it("verify says what is wrong with a checkpoint beyond the last event [E8d]", function()
		local path = make()
		local store = helper.open(path)
		assert(store:store_checkpoint("far", 100000))
		store:close()
		local result = cli.run{"verify", "--store", path}
		assert.equal(1, result.status)
		mentions(result.out, "checkpoint 'far'", "beyond the last event")
	end)

	it("verify looks at a store that is in use, while it is trimmed [E8e]", function()
		local path = make()
		local writer = helper.child([[
			local store = assert(vigia.open(arg[1]))
			for n = 1, 1000000 do
				local last = assert(store:store_event("CREATE", "Job", n))
				if n % 10 == 0 then store:trim(last - 250) end
				if n == 10 then say("runs") end
			end]], path)
		writer:expect("runs")
		for _ = 1, 5 do mentions(cli.ok{"verify", "--store", path}.out, "no damage") end
	end)

	it("verify ends, with 1 or without a finding, whatever page of the file is garbage [E8f]", function()
		local path = make()
		local whole = bytes_of(path)
		local found = 0
		for page = 2, #whole // 4096 - 1, 3 do
			write_at(path, 0, whole)
			write_at(path, page * 4096 + 8, ("\xa7\x03\x91\x5e"):rep(1022))
			local result = verify(path)
			assert(result.status == 0 or result.status == 1, ("page %d: %d"):format(page, result.status))
			if result.status == 1 then found = found + 1 end
		end
		assert(found > 0)
	end)

	-- Overwrite the head of each page that holds event n: LMDB stumbles over such a page, however it gets there.
	local function break_page(path, n)
		local bytes, at = bytes_of(path), 1
		while true do
			local first, last = bytes:find(marker(n), at, true)
			if not first then break end
			write_at(path, (first - 1) // 4096 * 4096 + 8, ("\xa7\x03\x91\x5e"):rep(20))
			at = last
		end
	end

	it("verify goes on behind pages that end its child, and lists every place by its numbers [E8n]", function()
		local path, count = helper.path("store"), 3000
		local store = helper.open(path)
		local events = {}
		for n = 1, count do events[n] = {"CREATE", "Job", {marker = marker(n), text = ("x"):rep(40)}} end
		assert(store:store_events(events))
		assert(store:store_checkpoint("far", count + 1))
		store:close()
		flip(path, 7)
		for _, n in ipairs{500, 1700, 2000} do break_page(path, n) end
		flip(path, 2900)
		local result = verify(path)
		assert.equal(1, result.status)
		local lines, ranges, lost = cli.lines(result.out), {}, 0
		for _, line in ipairs(lines) do
			local first, last = line:match("^events (%d+) to (%d+): cannot be read")
			if first then
				ranges[#ranges + 1] = {math.tointeger(tonumber(first)), math.tointeger(tonumber(last))}
				lost = lost + last - first + 1
			end
		end
		assert.equal(3, #ranges, result.out)
		for i, n in ipairs{500, 1700, 2000} do assert(ranges[i][1] <= n and n <= ranges[i][2] and lost < 500, result.out) end
		assert.equal("event 7: its bytes do not match their checksum", lines[1])
		mentions(result.out, "event 2900: its bytes", "checkpoint 'far'",
			("%d events, 1 checkpoint, 0 keys: damaged in 6 places"):format(count - lost))
		-- what is listed is what cannot be read, to the event
		for _, range in ipairs(ranges) do
			for n, readable in pairs{[range[1] - 1] = true, [range[1]] = false, [range[2]] = false, [range[2] + 1] = true} do
				local said = helper.run_lua(MAY_CRASH and "ASAN_OPTIONS=" .. helper.quoted(MAY_CRASH) or "", [[
					local store = assert(vigia.open(arg[1], {readonly = true}))
					say(store:get_event(math.tointeger(arg[2])).object.marker and "good")]], path, n)
				assert.equal(readable, said == "good\n", ("event %d: %s"):format(n, said))
			end
		end
		mentions(verify(path, "--json").out,
			('{"event":%d,"last_event":%d,"damage":"cannot be read'):format(ranges[1][1], ranges[1][2]))
	end)

	it("verify goes on when the first or the last page of the events is garbage [E8o]", function()
		for _, n in ipairs{1, EVENTS} do
			local path = make()
			break_page(path, n)
			flip(path, 150)
			local result = verify(path)
			assert.equal(1, result.status)
			mentions(result.out, "cannot be read, pages of the file are damaged", "event 150: its bytes do not match")
			helper.clean()
		end
	end)

	it("verify says so when the file cannot even be opened [E8q]", function()
		local path = make()
		local bytes = bytes_of(path)
		for page = 2, #bytes // 4096 - 1 do
			-- The leaf of the databases' names says it is a branch with one key, at which LMDB ends the process.
			if bytes:find("vigia.marks", page * 4096 + 1, true) and bytes:find("vigia.marks", page * 4096 + 1, true) <= page * 4096 + 4096 then
				write_at(path, page * 4096 + 10, string.pack("<I2I2", 1, 18))
			end
		end
		local result = verify(path)
		assert.equal(1, result.status)
		assert.equal("", result.err)
		mentions(result.out, "cannot be opened, pages of the file are damaged: reading ended with: ",
			"0 events, 0 checkpoints, 0 keys: damaged in 1 place\n")
	end)

	it("verify goes on behind a page from which reading never comes back [E8r]", function()
		local preload = helper.program() and helper.program():match("^(.*)/vigia$") .. "/spec/c/spin.so"
		if not preload or not io.open(preload) then return helper.pending("there is no spin.so beside the program") end
		if os.getenv "ASAN_OPTIONS" then return helper.pending("nothing else may be preloaded") end
		local result = cli.run({"verify", "--store", make()}, {env = {LD_PRELOAD = preload, VIGIA_SPIN_AT = "150"}})
		assert.equal(1, result.status)
		assert.same({
			"events 149 to 150: cannot be read, pages of the file are damaged: reading did not end",
			EVENTS - 2 .. " events, 1 checkpoint, 1 key: damaged in 1 place",
		}, cli.lines(result.out))
	end)

	it("verify shows on a terminal how far it is, and elsewhere nothing [E8p]", function()
		local path = helper.path("store")
		local store = helper.open(path, {durability = "none"})
		helper.fill(store, 2500)
		store:close()
		assert.equal("", cli.ok{"verify", "--store", path}.err)
		if not helper.shell("command -v script"):find("script", 1, true) then return helper.pending("`script` is not installed") end
		local screen = helper.shell(("SHELL=/bin/sh TERM=xterm script -qec %s /dev/null </dev/null"):format(
			helper.quoted(helper.quoted(helper.program()) .. " verify --store " .. helper.quoted(path))))
		mentions(screen, "\r[..........]   0 %  checked 0 of 2500 events\27[K", "\r\27[K2500 events, 0 checkpoints, 0 keys: no damage")
	end)

	it("verify of what is no store, or not there, says so and makes nothing [E8g]", function()
		local path = helper.path("none")
		mentions(cli.fails(1, {"verify", "--store", path}), "there is no such store")
		assert.is_nil(io.open(path))
		cli.write("other", ("no store "):rep(1000))
		mentions(cli.fails(1, {"verify", "--store", helper.path("other")}), "not a Vigia store")
		local store = make()
		local bytes = bytes_of(store)
		local file = assert(io.open(store, "wb"))
		file:write(bytes:sub(1, #bytes // 2))
		file:close()
		mentions(cli.fails(1, {"verify", "--store", store}), "truncated")
	end)
end)
