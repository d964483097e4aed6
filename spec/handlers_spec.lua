-- handlers_spec.lua - scripts/handlers/balances.lua and outbox.lua: each payment counts once, each event is sent or put aside.

local assert = require "luassert"
local cli = require "spec.support.cli"
local helper = require "spec.helper"
local testing = require "vigia.testing"
local vigia = require "vigia"

local fails, mentions = helper.fails, helper.mentions
local found, luv = pcall(require, "luv")

local SEED <const> = math.tointeger(tonumber(os.getenv("VIGIA_SEED"))) or os.time()
local NOTE <const> = "VIGIA_SEED=" .. SEED

local BALANCES <const>, OUTBOX <const> = "scripts/handlers/balances.lua", "scripts/handlers/outbox.lua"

-- Payments of a seed, and what they must come to: the balances, and how often an account fell below zero.
local function payments(count)
	math.randomseed(SEED)
	local list, balances, overdrawn = {}, {}, {}
	for n = 1, count do
		local account = math.random(2) == 1 and math.random(5) or "account " .. math.random(5)
		local amount = math.random(-100, 100)
		list[n] = {"PAID", "Payment", {account = account, amount = amount}}
		local before = balances[account] or 0
		balances[account] = before + amount
		if before >= 0 and before + amount < 0 then overdrawn[#overdrawn + 1] = {account = account, balance = before + amount} end
	end
	return list, balances, overdrawn
end

local function balances_of(store)
	local found_balances = {}
	for _, row in ipairs(assert(store:range("balances"))) do found_balances[row.key] = row.value end
	return found_balances
end

local function objects(events)
	local list = {}
	for i, event in ipairs(events) do list[i] = event.object end
	return list
end

describe("balances.lua", function()
	after_each(cli.clean)

	it("adds up payments, and tells when a balance falls below zero [X4]", function()
		local script <close> = assert(testing.script(BALANCES))
		local list, balances, overdrawn = payments(2000)
		assert(script.store:store_events(list))
		script:append("CREATE", "Order", {account = 1, amount = 1000})
		assert(script:drain())
		assert.same(balances, balances_of(script.store), NOTE)
		local told = objects(script:events{operations = {"OVERDRAWN"}})
		for i, object in ipairs(told) do
			assert.equal(object.account, list[object.payment][3].account)
			overdrawn[i].payment = object.payment
		end
		assert.same(overdrawn, told, NOTE)
		assert(#told > 10)
	end)

	it("puts aside what is no payment, and changes nothing for it [X4 L1]", function()
		local script <close> = assert(testing.script(BALANCES))
		for _, object in ipairs{
			{account = "a", amount = 7}, {amount = 1}, {account = "", amount = 1}, {account = ("x"):rep(256), amount = 1},
			{account = 1.5, amount = 1}, {account = "a", amount = 0.5}, {account = "a", amount = "1"}, {account = "a"}, "a",
			{account = "a", amount = math.maxinteger}, {account = "b", amount = -5}, {account = "b", amount = math.mininteger},
			{account = "a", amount = 0},
		} do
			script:append("PAID", "Payment", object)
		end
		assert(script:drain())
		assert.same({a = 7, b = -5}, balances_of(script.store))
		local numbers = {}
		for i, letter in ipairs(script.store:dead_letters()) do numbers[i] = letter.seq_num end
		assert.same({2, 3, 4, 5, 6, 7, 8, 9, 10, 12}, numbers)
		mentions(script.store:dead_letters()[1].error, "without an account")
		mentions(script.store:dead_letters()[9].error, "does not fit")
		assert.equal(1, #script:events{operations = {"OVERDRAWN"}})
	end)

	it("counts each payment once, whenever it is killed [X4]", function()
		if not helper.program() then helper.pending("there is no program beside the module") end
		local path = helper.path("bank.db")
		local store <close> = helper.open(path)
		local list, balances, overdrawn = payments(3000)
		for first = 1, #list, 300 do
			local running = cli.start{"run", "--store", path, BALANCES}
			local before = store:get_checkpoint("balances") or 0
			assert(store:store_events(table.move(list, first, first + 299, 1, {})))
			helper.eventually(function() return (store:get_checkpoint("balances") or 0) > before end, "progress")
			running:kill()
		end
		cli.ok{"run", "--store", path, BALANCES, "--until-idle"}
		assert.same(balances, balances_of(store), NOTE)
		local events = store:get_events{event_iterator = vigia.at_sequence_number(1), filter = {operations = {"OVERDRAWN"}}, timeout = 0,
			limit = 0}.events
		assert.equal(#overdrawn, #events, NOTE)
	end)
end)

describe("outbox.lua", function()
	local server, port

	before_each(function()
		if not found then helper.pending("lua-luv is not installed") end
		server = helper.child(require "spec.support.http_server")
		port = server:line()
	end)
	after_each(cli.clean)

	local function outbox(path, set)
		local all = {url = ("http://127.0.0.1:%s%s"):format(port, path), type = "Mail", timeout = 5}
		for name, value in pairs(set or {}) do all[name] = value end
		return assert(testing.script(OUTBOX, {set = all}))
	end

	-- Until it has handled all. Its waits go by the test's clock, and the server by the time of day: both go on.
	local function settle(script)
		local ends = helper.now() + 60
		repeat
			assert(script:advance(0.02))
			luv.sleep(1)
			local retries = 0
			for _, letter in ipairs(script.store:dead_letters()) do retries = retries + (letter.retry and 1 or 0) end
			if script:stats().lag == 0 and retries == 0 then return end
		until helper.now() > ends
		error("it does not get on: " .. tostring(script:stats().last_error))
	end

	-- What the server said of the next request: path, key, body.
	local function requested()
		local path, key, body = server:line():match("^POST\t(%S+)\t(%S+)\t(.*)$")
		return path, key, body
	end

	-- The error of the letter that an event becomes at once.
	local function refused(path, set)
		local all = {attempts = 1}
		for name, value in pairs(set or {}) do all[name] = value end
		local script <close> = outbox(path, all)
		script:append("SEND", "Mail", "hello")
		settle(script)
		assert.same({}, script:events{operations = {"SENT"}})
		return script.store:dead_letters()[1].error
	end

	it("sends events of its type, each with a key and as JSON, and stores that they were sent [X4]", function()
		local script <close> = outbox "/ok"
		script:append("SEND", "Mail", {to = "ana"})
		script:append("CREATE", "User", {})
		script:append("SEND", "Mail", "two\nlines")
		settle(script)
		local path, key, body = requested()
		assert.equal("/ok", path)
		assert.matches("%-1$", key)
		mentions(body, '{"seq_num":1,"timestamp":', '"operation":"SEND","object_type":"Mail","object":{"to":"ana"}}')
		path, key, body = requested()
		assert.equal("/ok", path)
		assert.matches("%-3$", key)
		mentions(body, [["object":"two\nlines"]])
		assert.same({{seq_num = 1, status = 201}, {seq_num = 3, status = 201}}, objects(script:events{operations = {"SENT"}}))
	end)

	it("tries again with the same key until the service takes it", function()
		local script <close> = outbox "/flaky/2"
		script:append("SEND", "Mail", 1)
		script:append("SEND", "Mail", 2)
		settle(script)
		local keys = {}
		for n = 1, 6 do keys[n] = select(2, requested()) end
		assert.equal(keys[1], keys[2])
		assert.equal(keys[1], keys[3])
		assert.not_equal(keys[3], keys[4])
		assert.equal(keys[4], keys[6])
		assert.same({{seq_num = 1, status = 200}, {seq_num = 2, status = 200}}, objects(script:events{operations = {"SENT"}}))
		assert.same({4, 2}, {script:stats().failed, script:stats().processed})
	end)

	it("puts an event aside that was tried often enough, and sends it later [L1 L2]", function()
		local script <close> = outbox("/flaky/3", {attempts = 3})
		script:append("SEND", "Mail", 1)
		settle(script)
		local letter = script.store:dead_letters()[1]
		assert.same({"outbox", 1, 3}, {letter.watcher, letter.seq_num, letter.attempts})
		mentions(letter.error, "the service answered with status 503")
		assert(script.store:retry_dead_letter("outbox"))
		settle(script)
		assert.same({}, script.store:dead_letters())
		assert.same({{seq_num = 1, status = 200}}, objects(script:events{operations = {"SENT"}}))
	end)

	it("says what went wrong", function()
		mentions(refused "/status/404", "status 404")
		mentions(refused "/status/302", "status 302")
		mentions(refused "/closes", "the connection was closed before the answer")
		mentions(refused "/garbage", "the answer is not HTTP")
		mentions(refused "/endless", "the answer's header is too long")
		mentions(refused("", {url = "http://127.0.0.1:1/"}), "cannot connect: ", "ECONNREFUSED")
		mentions(refused("", {url = "http://no-such-host.invalid/"}), "cannot connect: ")
	end)

	it("waits for an answer as long as it was told, and for interim answers", function()
		local script <close> = outbox "/interim"
		script:append("SEND", "Mail", 1)
		settle(script)
		assert.same({{seq_num = 1, status = 204}}, objects(script:events{operations = {"SENT"}}))
		mentions(refused("/silent", {timeout = 0.05}), "no answer within 0.05 s")
	end)

	it("counts the time limit from the request, however long nothing was to send", function()
		local script <close> = outbox("/ok", {attempts = 1, timeout = 2})
		luv.update_time()
		local now = luv.now()
		luv.sleep(2500)
		assert.equal(now, luv.now()) -- the loop's clock stood
		script:append("SEND", "Mail", 1)
		settle(script)
		assert.same({}, script.store:dead_letters())
	end)

	it("says which settings it wants", function()
		for text, set in pairs{
			["--set url=http://HOST[:PORT]/PATH"] = {type = "Mail"}, ["say --set url="] = {type = "Mail", url = "https://a/"},
			["say --set url=http"] = {type = "Mail", url = "http://a/ b"}, ["--set type=TYPE"] = {url = "http://a/"},
			["say --set type="] = {url = "http://a/", type = "Delivery"}, ["--set timeout=SECONDS"] = {url = "http://a/", type = "A", timeout = "x"},
			["--set attempts=N"] = {url = "http://a/", type = "A", attempts = "1.5"},
		} do
			mentions(fails("script_error", testing.script(OUTBOX, {set = set})), text)
		end
	end)

	for _, how in ipairs{"thread", "process"} do
		it("sends on a " .. how .. " of its own, ends in the middle of a wait, and sends then what it had not [X4]", function()
			if not helper.program() then helper.pending("there is no program beside the module") end
			local path = helper.path("mail.db")
			local store <close> = helper.open(path)
			local function words(where, ...)
				return {"run", "--store", path, OUTBOX, "--set", ("url=http://localhost:%s%s"):format(port, where), "--set", "type=Mail",
					table.unpack(how == "process" and {"--isolate", ...} or {...})}
			end
			assert(store:store_event("SEND", "Mail", 1))
			local running = cli.start(words "/silent")
			local where, key = requested()
			assert.equal("/silent", where)
			local begun = luv.hrtime()
			running:signal("TERM")
			assert.equal(0, running:wait().status)
			assert(luv.hrtime() - begun < 8e9) -- the request may take 10 s
			running = cli.start(words "/silent")
			assert.equal(key, select(2, requested()))
			running:kill()
			cli.ok(words("/flaky/3", "--until-idle"))
			assert.same({{seq_num = 1, status = 200}}, objects(store:get_events{event_iterator = vigia.at_sequence_number(1),
				filter = {operations = {"SENT"}}, timeout = 0}.events))
			for _ = 1, 2 do assert.equal(key, select(2, requested())) end
		end)
	end
end)
