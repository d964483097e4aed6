-- notify_spec.lua - `vigia run` and `vigia serve` as services: systemd's protocol, and log records (contract O7).

local cli = require "spec.support.cli"
local helper = require "spec.helper"
local http = require "spec.support.http"

local mentions, quoted = helper.mentions, helper.quoted

local EVENT = '{"operation":"CREATE","object_type":"Job","object":%s}'
local LISTENER = cli.program:gsub("[^/]*$", "") .. "spec/c/notify_listener"

local store, listener, messages_path

-- The messages so far.
local function messages()
	local list = cli.lines(cli.read(messages_path))
	table.remove(list, 1)
	return list
end

local function listen(address)
	messages_path = helper.path("messages")
	listener = assert(io.popen(("%s %s >%s"):format(quoted(LISTENER), quoted(address), quoted(messages_path)), "w"))
	helper.eventually(function() return cli.read(messages_path) == "listening\n" end)
	return address
end

local function count_of(message)
	local count = 0
	for _, line in ipairs(messages()) do count = count + (line == message and 1 or 0) end
	return count
end

-- A script that hangs, or waits, in an event "hang" or "wait" while there is a file of that name.
local function script(name, more)
	return cli.write(name .. ".lua", ([[
		local vigia, folder = require "vigia", %q
		local function there(name) local file = io.open(folder .. name) return file and file:close() end
		return {%s, handle = function(event)
			while event.object == "hang" and there("hang") do end
			while event.object == "wait" and there("wait") do vigia.sleep(0.01) end
		end}]]):format(helper.path(""), more or "id = '" .. name .. "'"))
end

describe("vigia run under a manager of services", function()
	before_each(function()
		store = helper.path("a.db")
		cli.append(store, {EVENT:format('"first"')})
	end)
	after_each(function()
		if listener then listener:close() end
		listener = nil
		cli.clean()
	end)

	it("says when all watchers have started, and that it stops [O7]", function()
		local env = {NOTIFY_SOCKET = listen(helper.path("notify"))}
		local process = cli.start({"run", "--store", store, script "a", script "b"}, {env = env})
		helper.eventually(function() return #messages() == 2 end)
		process:signal("TERM")
		assert.equal(0, process:wait().status)
		assert.same({"STATUS=starting", "READY=1|STATUS=2 watchers running", "STOPPING=1|STATUS=stopping"}, messages())
	end)

	it("is not ready before each watcher has begun, and never if one cannot [O7]", function()
		local env = {NOTIFY_SOCKET = listen(helper.path("notify"))}
		local broken = script("b", "init = function() error('no') end")
		cli.fails(1, {"run", "--store", store, script "a", broken}, {env = env})
		assert.same({"STATUS=starting", "STOPPING=1|STATUS=stopping"}, messages())
		-- One that is slow: at its end nothing was said yet.
		local slow = script("b", ([[init = function()
			local file = io.open(%q, "rb")
			local text = file:read("a")
			file:close()
			if text:find("READY") then error("early") end
		end]]):format(messages_path))
		cli.ok({"run", "--store", store, "--until-idle", script "a", slow}, {env = env})
		assert.equal(1, count_of("READY=1|STATUS=2 watchers running"))
	end)

	it("says that it stands by, and is ready once it has taken over [O7]", function()
		local owner = cli.start{"run", "--store", store, script("a", "init = function() print('up') io.stdout:flush() end")}
		assert.equal("up", owner:line())
		local process = cli.start({"run", "--store", store, "--wait", script "b", helper.path("a.lua")},
			{env = {NOTIFY_SOCKET = listen(helper.path("notify"))}})
		helper.eventually(function() return #messages() == 2 end)
		assert.equal(("STATUS=standing by: watcher 'a' is run by another process (pid %d)"):format(owner.pid), messages()[2])
		owner:kill()
		helper.eventually(function() return #messages() == 3 end)
		assert.equal("READY=1|STATUS=2 watchers running", messages()[3])
		process:signal("TERM")
		assert.equal(0, process:wait().status)
	end)

	it("reaches a socket without a file, and does without a manager that is gone [O7]", function()
		local env = {NOTIFY_SOCKET = listen("@vigia-spec-" .. helper.path("x"))}
		cli.ok({"run", "--store", store, "--until-idle", script "a"}, {env = env})
		assert.equal(3, #messages())
		for _, address in ipairs{helper.path("none"), "vsock:2:1", "@", "relative", "/" .. ("x"):rep(200), ""} do
			cli.ok({"run", "--store", store, "--until-idle", script "b"}, {env = {NOTIFY_SOCKET = address, WATCHDOG_USEC = "1000"}})
		end
	end)

	it("keeps what systemd says from the programs that scripts start [O7]", function()
		local env = {NOTIFY_SOCKET = listen(helper.path("notify")), WATCHDOG_USEC = "1000000"}
		local path = cli.write("env.lua", [[
			local first = os.getenv("NOTIFY_SOCKET")
			return function() print(first, os.getenv("WATCHDOG_USEC")) os.execute("env | grep -c NOTIFY_SOCKET") end]])
		assert.equal("nil\tnil\n0\n", cli.ok({"run", "--store", store, "--until-idle", path}, {env = env}).out)
	end)

	describe("with a watchdog", function()
		local PING <const> = "WATCHDOG=1"

		local function start(...)
			local env = {NOTIFY_SOCKET = listen(helper.path("notify")), WATCHDOG_USEC = "200000"}
			return cli.start({"run", "--store", store, ...}, {env = env})
		end

		local function more_pings()
			local before = count_of(PING)
			helper.eventually(function() return count_of(PING) >= before + 3 end)
		end

		-- None for five times the interval.
		local function no_more_pings()
			helper.eventually(function()
				local before, from = count_of(PING), helper.now()
				helper.eventually(function() return helper.now() - from > 1 end)
				return count_of(PING) == before
			end)
		end

		for _, how in ipairs{"thread", "lanes", "--isolate"} do
			it("sends a sign of life while its loops go on, none while a handler hangs: " .. how .. " [O7]", function()
				local more = how == "lanes" and "id = 'a', lanes = 2, lane_key = 'object'" or nil
				local process = start(script("a", more), script "b", table.unpack{how == "--isolate" and how or nil})
				more_pings() -- idle
				cli.write("wait", "")
				cli.write("hang", "")
				cli.append(store, {EVENT:format('"wait"'), EVENT:format('"hang"')})
				more_pings() -- a handler that waits does not hang
				os.remove(helper.path("wait"))
				no_more_pings()
				os.remove(helper.path("hang"))
				more_pings()
				process:signal("TERM")
				assert.equal(0, process:wait().status)
			end)
		end

		it("is left alone if it watches another process [O7]", function()
			local env = {NOTIFY_SOCKET = listen(helper.path("notify")), WATCHDOG_USEC = "2000", WATCHDOG_PID = "1"}
			cli.append(store, {EVENT:format('"wait"')})
			local text = "return function() require 'vigia'.sleep(0.05) end"
			cli.ok({"run", "--store", store, "--until-idle", cli.write("s.lua", text)}, {env = env})
			assert.equal(0, count_of(PING))
			env.WATCHDOG_PID = nil
			cli.ok({"run", "--store", store, "--until-idle", cli.write("t.lua", text)}, {env = env})
			assert.is_true(count_of(PING) > 0)
		end)
	end)
end)

describe("vigia serve under a manager of services", function()
	local server

	before_each(function()
		store = helper.path("a.db")
		cli.append(store, {EVENT:format('"first"')})
	end)
	after_each(function()
		http.finish(server)
		server = nil
		if listener then listener:close() end
		listener = nil
		cli.clean()
	end)

	it("says when it listens, that its loop goes on, and that it stops [O7]", function()
		server = http.serve(store, {env = {NOTIFY_SOCKET = listen(helper.path("notify")), WATCHDOG_USEC = "100000"}})
		local stream = http.stream(server, "/events/stream") -- a client that waits holds up nothing
		helper.eventually(function() return count_of("WATCHDOG=1") >= 4 end)
		stream:close()
		http.stop(server)
		helper.eventually(function() return count_of("STOPPING=1|STATUS=stopping") == 1 end)
		local list = messages()
		assert.same({"STATUS=starting", "READY=1|STATUS=" .. server.line}, {list[1], list[2]})
		for i = 3, #list do assert(list[i] == "WATCHDOG=1" or list[i] == "STOPPING=1|STATUS=stopping", list[i]) end -- its loop goes on meanwhile
	end)

	it("is never ready where it cannot listen, and sends no sign of life unasked [O7]", function()
		local env = {NOTIFY_SOCKET = listen(helper.path("notify"))}
		mentions(cli.fails(1, {"serve", "--store", store, "--listen", "192.0.2.1:80"}, {env = env}), "needs a token")
		helper.eventually(function() return #messages() == 2 end)
		assert.same({"STATUS=starting", "STOPPING=1|STATUS=stopping"}, messages())
		server = http.serve(store, {env = env})
		http.stop(server)
		helper.eventually(function() return count_of("STOPPING=1|STATUS=stopping") == 2 end)
		assert.equal(0, count_of("WATCHDOG=1"))
	end)
end)

describe("log records of vigia serve", function()
	local server

	before_each(function()
		store = helper.path("a.db")
		cli.append(store, {EVENT:format('"first"')})
	end)
	after_each(function()
		http.finish(server)
		server = nil
		cli.clean()
	end)

	it("tell of requests that were refused, once a minute, and with --verbose of all [O7]", function()
		server = http.serve(store)
		http.get(server, "/events")
		for _ = 1, 3 do http.get(server, "/metrics", {Authorization = "Bearer x"}) end
		server.process:signal("TERM")
		local result = server.process:wait()
		assert.equal(0, result.status)
		assert.matches("^vigia: %d[%d-]+ [%d:.]+ WARN 127%.0%.0%.1:%d+ GET /metrics: 401 the token is missing or wrong[^\n]*\n$", result.err)
		server = http.serve(store, {words = {"--verbose", "--log-format", "json"}})
		http.get(server, "/events?from=latest")
		http.get(server, "/%1b%0a", {Authorization = false})
		http.get(server, "/none")
		server.process:signal("TERM")
		local of = {}
		for i, line in ipairs(cli.lines(server.process:wait().err)) do of[i] = assert(require "vigia.core".from_json(line), line) end
		assert.matches("^127%.0%.0%.1:%d+ GET /events: 200$", of[1].msg)
		assert.same({"info", "warn", "info"}, {of[1].level, of[2].level, of[3].level})
		mentions(of[2].msg, "GET /")
		mentions(of[3].msg, "GET /none: 404 there is no such page")
		for _, record in ipairs(of) do assert.is_nil(record.msg:find("[\0-\31]"), record.msg) end
	end)

	it("are of the format that is asked for also where it cannot start [O7]", function()
		local result = cli.run{"serve", "--store", store, "--listen", "nowhere", "--log-format", "logfmt"}
		assert.equal(1, result.status)
		assert.matches("^time=%S+ level=error msg=\"[^\n]*not an address to listen on[^\n]*\n$", result.err)
	end)
end)

describe("log records of vigia run", function()
	local MESSAGE <const> = 'two\nlines "quoted" \\ \27[2J \xff é'

	before_each(function()
		store = helper.path("a.db")
		cli.append(store, {EVENT:format(1)})
		cli.write("log.lua", ("local log = (...).log return function() log('warn', %q) error('no', 0) end"):format(MESSAGE))
	end)
	after_each(cli.clean)

	local function run(...)
		local result = cli.run{"run", "--store", store, "--until-idle", "--max-wait", "0", "--verbose", helper.path("log.lua"), ...}
		assert.equal(1, result.status)
		return result.err
	end

	local UTC <const> = "%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ"

	it("have a time, a level and a text as JSON, also the last one [O7]", function()
		local text = run("--log-format", "json")
		local records, of = {}, {}
		for i, line in ipairs(cli.lines(text)) do
			records[i] = assert(require "vigia.core".from_json(line), line)
			assert.matches("^" .. UTC .. "$", records[i].time)
			of[records[i].level] = (of[records[i].level] or "") .. records[i].msg
			assert.matches('^{"time":"' .. UTC .. '","level":"%l+","msg":".*"}$', line)
		end
		assert.equal(4, #records, text)
		mentions(of.info, "watcher 'log': ")
		mentions(of.warn, 'two\nlines "quoted" \\ \27[2J \u{fffd} é', "event failed: no")
		mentions(of.error, "event 1 still fails after 0 s: no")
	end)

	it("are logfmt if asked [O7]", function()
		local lines = cli.lines(run("--log-format", "logfmt"))
		assert.equal(4, #lines)
		for _, line in ipairs(lines) do assert.matches("^time=" .. UTC .. ' level=%l+ msg=".*"$', line) end
		mentions(table.concat(lines, "\n"), [[level=warn msg="two\nlines \"quoted\" \\ \u001b[2J ]] .. "\u{fffd} é\"\n",
			"level=error msg=\"watcher 'log'")
	end)

	it("have the local time without a format, and nothing that moves the cursor [O7]", function()
		for _, words in ipairs{{}, {"--log-format", "plain"}} do
			local text = run(table.unpack(words))
			mentions(text, " WARN two\n    lines \"quoted\" \\ \\x1b[2J \\xff é\nvigia: ")
			for line in text:gmatch("[^\n]*WARN[^\n]*") do
				assert.matches("^vigia: %d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d%.%d%d%d WARN ", line)
			end
		end
	end)

	it("have a level and no time in systemd's journal, on each line; not where standard error was led elsewhere [O7]", function()
		local words = ("%s run --store %s --until-idle --max-wait 0 --verbose %s"):format(quoted(cli.program), quoted(store),
			quoted(helper.path("log.lua")))
		for _, case in ipairs{{"%d:%i", true}, {"%d:1", false}} do
			os.execute(("exec 2>%s; JOURNAL_STREAM=$(stat -L -c %s /proc/self/fd/2) %s"):format(quoted(helper.path("err")), case[1], words))
			local text = cli.read(helper.path("err"))
			if case[2] then
				mentions(text, "<4>vigia: WARN two\n<4>    lines", "<6>vigia: INFO watcher")
			else
				assert.is_nil(text:find("<4>", 1, true))
				mentions(text, " WARN two\n    lines")
			end
		end
	end)
end)
