-- serve_clients_spec.lua - clients of `vigia serve` (contract O6): streams without a gap, and clients that are slow, wrong, many or gone.

local cli = require "spec.support.cli"
local helper = require "spec.helper"
local http = require "spec.support.http"
local uv = require "luv"

local LONG <const> = os.getenv("VIGIA_SOAK") ~= nil

describe("clients of vigia serve", function()
	local store, server, open

	before_each(function()
		store, open = helper.path("events.db"), {}
		cli.append(store, cli.lines(http.events(1)))
	end)
	after_each(function()
		for _, connection in ipairs(open) do connection:close() end
		http.finish(server)
		server = nil
		cli.clean()
	end)

	local function serve(...)
		server = http.serve(store, {words = {...}})
	end

	local function keep(connection)
		open[#open + 1] = connection
		return connection
	end

	-- The server serves others.
	local function expect_alive()
		http.ok(http.get(server, "/watchers"))
	end

	it("[O6] follow the store without a gap and in order, also those that come and go", function()
		local clients, rounds = LONG and 200 or 40, LONG and 3000 or 300
		serve("--max-connections", clients + 10)
		local streams = {}
		for i = 1, clients do streams[i] = http.stream(server, "/events/stream?from=trim_horizon") end
		local writer = assert(require("vigia").open(store))
		math.randomseed(7)
		for n = 1, rounds do
			assert(writer:store_event("CREATE", n % 2 == 0 and "File" or "Commit", {n = n}))
			-- Half of them are cut at any time, and go on behind what they have seen.
			local i = math.random(clients // 2)
			if streams[i].last then
				streams[i]:close()
				streams[i] = http.stream(server, "/events/stream?from=trim_horizon", streams[i])
			end
			uv.run("nowait")
		end
		writer:close()
		for i, stream in ipairs(streams) do
			http.wait(function() return #stream.seen > rounds or stream.closed end, "stream " .. i .. " is behind")
			assert.same(helper.range(1, rounds + 1), stream.seen)
			assert.same({}, stream.notes)
			stream:close()
		end
		assert.equal(helper.difference(cli.ok{"events", "--store", store}.out, table.concat(streams[1].data, "\n") .. "\n"), nil)
		http.stop(server)
	end)

	it("[O6] follow 200 appends a second, 200 of them, half of which are cut, stopped and started; long form 2,000", function()
		local CLIENTS <const>, RATE <const>, EVENTS <const> = 200, LONG and 2000 or 200, LONG and 6000 or 300
		serve("--max-connections", CLIENTS + 10)
		local streams, paused = {}, {}
		local function start(i) return http.stream(server, "/events/stream?from=trim_horizon", streams[i]) end
		for i = 1, CLIENTS do streams[i] = keep(start(i)) end
		http.wait(function()
			for _, stream in ipairs(streams) do if #stream.seen == 0 then return false end end
			return true
		end)
		local threads, before = http.usage(server)
		local writer = assert(require("vigia").open(store))
		-- Those from CLIENTS // 2 on read all the time. Of the others one is cut at each tick, and one stops to read until its turn comes again.
		local function disturb()
			local i, k = math.random(CLIENTS // 2), math.random(CLIENTS // 2)
			streams[i]:close()
			streams[i], paused[i] = keep(start(i)), nil
			if paused[k] then streams[k]:resume() else streams[k].socket:read_stop() end
			paused[k] = not paused[k] or nil
		end
		local timer, from, stored, most = uv.new_timer(), uv.hrtime(), 0, 0
		timer:start(10, 10, function() end) -- ends uv.run; what it calls cannot run the loop
		while stored < EVENTS do
			uv.run("once")
			local due = math.min(EVENTS, (uv.hrtime() - from) * RATE // 1000000000)
			local list = {}
			for n = stored + 1, due do list[#list + 1] = {"CREATE", "File", {n = n}} end
			if due > stored then
				assert(writer:store_events(list))
				stored = due
				disturb()
				most = math.max(most, (select(2, http.usage(server))))
			end
		end
		timer:close()
		writer:close()
		for i in pairs(paused) do streams[i]:resume() end
		for i, stream in ipairs(streams) do
			http.wait(function() return #stream.seen > EVENTS or stream.closed end, "stream " .. i .. " is behind")
			assert.same(helper.range(1, EVENTS + 1), stream.seen)
			assert.same({}, stream.notes)
		end
		assert.equal(threads, (http.usage(server)))
		assert(helper.sanitized or most - before < CLIENTS * 512 << 10, ("%d bytes more"):format(most - before))
	end)

	it("[O6] begin where they were cut, also before their first event", function()
		serve()
		local stream = http.stream(server, "/events/stream")
		http.wait(function() return stream.last end)
		assert.equal(1, stream.last)
		stream:close()
		http.ok(http.post(server, http.events(3)), 201)
		stream = http.stream(server, "/events/stream?types=File", stream)
		http.wait(function() return #stream.seen == 3 end)
		assert.same({2, 3, 4}, stream.seen)
		stream:close()
		for _, id in ipairs{"5", "x", "-1", "1 2", ("9"):rep(30)} do
			local reply = http.get(server, "/events/stream", {["Last-Event-ID"] = id})
			assert.equal(id == "5" and 409 or 400, reply.status, id)
		end
	end)

	it("[O6] are told of events that were removed before they came back", function()
		serve()
		local stream = http.stream(server, "/events/stream?from=trim_horizon")
		http.wait(function() return #stream.seen == 1 end)
		stream:close()
		http.ok(http.post(server, http.events(9)), 201)
		local writer = assert(require("vigia").open(store))
		assert(writer:trim(7))
		writer:close()
		stream = http.stream(server, "/events/stream", stream)
		http.wait(function() return #stream.seen == 4 end)
		assert.same({1, 8, 9, 10}, stream.seen)
		assert.same({{event = "gap", data = '{"from":2,"to":7}'}}, stream.notes)
		stream:close()
	end)

	it("[O6] that do not read cost a bounded buffer, and are dropped", function()
		serve("--client-timeout", "1")
		local text = ('{"operation":"CREATE","object_type":"File","object":"%s"}\n'):format(("x"):rep(4000)):rep(1000)
		for _ = 1, 10 do http.ok(http.post(server, text), 201) end
		local _, before = http.usage(server)
		for _ = 1, 20 do
			local connection = keep(http.connect(server))
			connection.socket:read_stop()
			connection:send(http.text(server, "GET", "/events/stream?from=trim_horizon"))
		end
		http.ok(http.get(server, "/events?limit=1"))
		helper.eventually(function()
			return http.ok(http.get(server, "/metrics")):find("\nvigia_serve_connections 1\n", 1, true)
		end, "they are not dropped")
		local _, after = http.usage(server)
		assert(helper.sanitized or after - before < 64 << 20, ("%d bytes more"):format(after - before))
	end)

	it("[O6] that take too long for a head or a body are cut off, however they trickle", function()
		serve("--client-timeout", "1")
		local function trickle(text)
			local connection, timer = keep(http.connect(server)), uv.new_timer()
			connection:send(text)
			timer:start(200, 200, function() if connection.closed then timer:stop() else connection:send("x") end end)
		end
		trickle("GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
		trickle(http.text(server, "POST", "/events", {["Content-Length"] = 1000}, ""))
		trickle("")
		keep(http.connect(server)) -- says nothing
		keep(http.connect(server)):send(http.text(server, "GET", "/watchers", {Connection = "keep-alive"}))
		for _, connection in ipairs(open) do connection:expect_closed() end
		expect_alive()
	end)

	it("[O6] that speak no HTTP, or half of it, harm no one", function()
		serve("--client-timeout", "1")
		local auth = "Authorization: Bearer " .. http.TOKEN .. "\r\n"
		local host = "Host: 127.0.0.1\r\n" .. auth
		for _, text in ipairs{
			"\0\0\0\0\r\n\r\n", "SSH-2.0\r\n\r\n", "GET\r\n\r\n", "GET /events HTTP/9.9\r\n" .. host .. "\r\n", "GET /events\r\n\r\n",
			"GET /events HTTP/1.1\r\n\r\n", -- no host
			"GET /events HTTP/1.1\r\nHost: a\r\n" .. host .. "\r\n", -- two
			"GET /events HTTP/1.1\r\n" .. host .. auth .. "\r\n", -- two tokens
			"POST /events HTTP/1.1\r\n" .. host .. "Content-Type: application/json\r\nContent-Length: x\r\n\r\n{}",
			"POST /events HTTP/1.1\r\n" .. host .. "Content-Type: application/json\r\nContent-Length: -1\r\n\r\n{}",
			"POST /events HTTP/1.1\r\n" .. host .. "Content-Type: application/json\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
			"POST /events HTTP/1.1\r\n" .. host .. "Content-Type: application/json\r\nContent-Length: 16777217\r\n\r\n{}",
			"POST /events HTTP/1.1\r\n" .. host .. "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
			"POST /events HTTP/1.1\r\n" .. host .. "Content-Type: application/json\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
			"POST /events HTTP/1.1\r\n" .. host -- two lengths, one of which another server may believe
				.. "Content-Type: application/json\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}\r\n0\r\n\r\n",
			"POST /events HTTP/1.1\r\n" .. host .. "Content-Type: application/json\r\nContent-Length: 4\r\nConnection: close\r\n\r\n\"\xff\xfe\"",
			"POST /events HTTP/1.1\r\n" .. host
				.. "Content-Type: application/json\r\nIdempotency-Key: \xff\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
			"GET /events/stream HTTP/1.1\r\n" .. host .. "Last-Event-ID: \xc3\x28\r\nConnection: close\r\n\r\n",
			"GET /events HTTP/1.1\r\n" .. host .. "Origin: \xff\r\nConnection: close\r\n\r\n",
			"GET /events HTTP/1.1\r\nHost: \xff\r\n" .. auth .. "Connection: close\r\n\r\n",
			"GET /events?from=\xff\xff HTTP/1.1\r\n" .. host .. "\r\n",
			"GET /" .. ("a"):rep(100000) .. " HTTP/1.1\r\n" .. host .. "\r\n",
			"GET /events HTTP/1.1\r\n" .. host .. ("X-Many: 1\r\n"):rep(20000) .. "\r\n",
			"GET /events HTTP/1.1\r\n" .. host .. "X-Long: " .. ("a"):rep(100000) .. "\r\n\r\n",
			"GET /events?types=" .. ("%"):rep(1000) .. " HTTP/1.1\r\n" .. host .. "\r\n",
			"GET /%00%ff%fe HTTP/1.1\r\n" .. host .. "\r\n",
		} do
			local connection = keep(http.connect(server)):send(text):expect_closed()
			local status = connection.text:match("^HTTP/1%.%d (%d+)")
			assert(status == nil or tonumber(status) >= 400, ("%q: %s"):format(text:sub(1, 80), connection.text:sub(1, 300)))
			assert.is_nil(connection.text:find("seq_num", 1, true))
			connection:close()
		end
		assert.equal(1, #cli.events(store))
		expect_alive()
	end)

	it("[O6] that end in the middle of anything leave nothing behind", function()
		serve("--client-timeout", "3600")
		local whole = http.text(server, "POST", "/events", nil, (http.events(1):gsub("\n", "")))
		for length = 1, #whole - 1, LONG and 1 or 7 do
			http.connect(server):send(whole:sub(1, length)):close()
		end
		for _ = 1, 20 do
			http.connect(server):send(http.text(server, "GET", "/events?from=latest&wait=300")):close()
			http.stream(server, "/events/stream"):close()
		end
		helper.eventually(function()
			return http.ok(http.get(server, "/metrics")):find("\nvigia_serve_connections 1\n", 1, true)
		end, "connections are left")
		assert.equal(1, #cli.events(store))
		http.stop(server)
	end)

	it("[O6] may send requests one behind the other, and are answered in order", function()
		serve()
		local keep_alive = {Connection = "keep-alive"}
		local post = http.text(server, "POST", "/events", keep_alive, (http.events(1):gsub("\n", "")))
		local connection = keep(http.connect(server)):send(post:rep(5) .. http.text(server, "GET", "/events")):expect_closed()
		local numbers = {}
		for n in connection.text:gmatch('"first":(%d+)') do numbers[#numbers + 1] = n end
		assert.same({"2", "3", "4", "5", "6"}, numbers)
		assert(connection.text:find('{"seq_num":6,', 1, true))
	end)

	-- Connections that send a part of a head, as many as asked for; none is waited for.
	local function crowd(count)
		for i = 1, count do
			local socket = uv.new_tcp()
			open[#open + 1] = {close = function() if not socket:is_closing() then socket:close() end end}
			socket:connect("127.0.0.1", server.port, function(problem)
				if problem or socket:is_closing() then return end
				socket:read_start(function(failure, bytes)
					if (failure or not bytes) and not socket:is_closing() then socket:close() end
				end)
				socket:write("GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
			end)
			if i % 100 == 0 then uv.run("nowait") end
		end
	end

	local function descriptors()
		return tonumber((helper.shell("ls /proc/" .. server.process.pid .. "/fd | wc -l")))
	end

	local function expect_descriptors(count)
		helper.eventually(function()
			uv.run("nowait")
			return descriptors() >= count
		end)
	end

	it("[O6] that are ten thousand cost what is allowed, and leave room for others when they go", function()
		serve("--max-connections", "100", "--client-timeout", "1")
		local threads, before = http.usage(server)
		local limit = tonumber(helper.read_file("/proc/self/limits"):match("Max open files%s+(%d+)"))
		crowd(math.min(LONG and 10000 or 1000, limit - 200))
		expect_descriptors(100)
		for _ = 1, 50 do
			uv.run("nowait")
			local _, now = http.usage(server)
			assert(descriptors() < 150, "more connections than are allowed")
			assert(helper.sanitized or now - before < 32 << 20, ("%d bytes more"):format(now - before))
		end
		for _, connection in ipairs(open) do connection:close() end
		expect_alive()
		assert.equal(threads, (http.usage(server)))
		http.stop(server)
	end)

	it("[O6] are served again after descriptors have run out", function()
		serve("--client-timeout", "3600")
		if not os.execute("command -v prlimit >/dev/null") then return helper.pending("there is no prlimit") end
		local before = descriptors()
		assert(os.execute(("prlimit --pid %d --nofile=%d"):format(server.process.pid, before + 20)))
		crowd(100)
		expect_descriptors(before + 15)
		for _, connection in ipairs(open) do connection:close() end
		expect_alive()
	end)

	it("[O6] are refused while memory has run out, and served afterwards", function()
		if helper.sanitized then return helper.pending("a sanitizer needs address space of its own") end
		if not os.execute("command -v prlimit >/dev/null") then return helper.pending("there is no prlimit") end
		local big = ('{"operation":"CREATE","object_type":"File","object":"%s"}\n'):format(("x"):rep(4000))
		cli.append(store, cli.lines(big:rep(1000)))
		serve("--client-timeout", "3600")
		local status = helper.read_file("/proc/" .. server.process.pid .. "/status")
		local room = tonumber(status:match("VmSize:%s*(%d+)")) * 1024
		local function limit(bytes)
			assert(os.execute(("prlimit --pid %d --as=%s:"):format(server.process.pid, bytes)))
		end
		-- The status, or "closed".
		local function try(method, target, body)
			local connection = keep(http.connect(server)):send(http.text(server, method, target, nil, body))
			return connection:expect_closed().text:match("^HTTP/1%.1 (%d+)") or "closed"
		end
		local said = {}
		for more = 0, 2 << 20, 512 << 10 do
			limit(room + more)
			for _, request in ipairs{{"GET", "/events?limit=10000"}, {"POST", "/events", (" "):rep(3 << 20) .. "{}"}, {"GET", "/"},
				{"GET", "/metrics"}, {"GET", "/watchers"}, {"GET", "/dead"}, {"GET", "/state"}, {"GET", "/events?limit=10000&types=File&wait=1"}} do
				said[try(table.unpack(request))] = true
			end
		end
		assert(said.closed or said["503"], "memory did not run out")
		said.closed, said["503"], said["200"], said["400"] = nil, nil, nil, nil -- 400: the body, where it fits
		assert.same({}, said)
		limit("unlimited")
		expect_alive()
		assert.equal(cli.ok{"events", "--store", store, "--limit", "200"}.out, http.ok(http.get(server, "/events?limit=200")))
	end)

	it("[O6] beyond the number that is allowed wait until others have gone", function()
		serve("--max-connections", "4")
		local first = {}
		for i = 1, 4 do
			first[i] = keep(http.stream(server, "/events/stream?from=trim_horizon"))
			http.wait(function() return #first[i].seen == 1 end)
		end
		local more = keep(http.connect(server)):send(http.text(server, "GET", "/events"))
		local timer, over = uv.new_timer(), false
		uv.update_time()
		timer:start(100, 0, function() over = true end)
		http.wait(function() return over end)
		timer:close()
		assert.equal("", more.text)
		first[1]:close()
		if not more.closed then more:expect("seq_num") else expect_alive() end
	end)
end)
