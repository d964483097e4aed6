-- http.lua - a server of `vigia serve` in specs, and clients for it on luv: whole requests, connections to send any bytes through, streams.
--
-- Waits end by themselves only when the test is lost: no test depends on how long anything takes.

local assert = require "luassert"
local cli = require "spec.support.cli"
local helper = require "spec.helper"
local uv = require "luv"

local M = {TOKEN = "spec-token-0123456789"}

local DEADLINE <const> = 60

-- A server that closes a connection while a client writes must not end the test.
local broken = uv.new_signal()
broken:start("sigpipe", function() end)
broken:unref()

---- the server ----

-- Start one: options.words (more of the command line), options.token (false: none), options.env (more of the environment).
function M.serve(store, options)
	options = options or {}
	local words = {"serve", "--store", store, "--listen", "127.0.0.1:0", table.unpack(options.words or {})}
	local env = options.env or {}
	if options.token ~= false then env.VIGIA_TOKEN = options.token or M.TOKEN end
	local process = cli.start(words, {env = env})
	local line = process:line()
	assert(line, "the server did not start: " .. (line == nil and cli.read(process.err_path) or ""))
	local port = math.tointeger(tonumber(line:match(":(%d+)/$")))
	return {process = process, port = port, line = line, token = env.VIGIA_TOKEN}
end

-- End it as Ctrl-C does, and expect that it ended well.
function M.stop(server)
	server.process:signal("TERM")
	local result = server.process:wait()
	assert.equal(0, result.status, result.err)
	assert.equal("", (result.err:gsub("vigia: [^\n]* WARN [^\n]*\n", ""))) -- of requests that were refused
end

-- The end of a test: what is left of a server ends well, too. nil is fine.
function M.finish(server)
	if server and not server.process.ended then
		server.process:signal("TERM")
		local result = server.process:wait()
		assert.equal(0, result.status, result.err)
	end
end

---- connections ----

local Connection = {}
Connection.__index = Connection

-- Run the loop until done() says so.
function M.wait(done, message)
	local timer, late = uv.new_timer(), false
	uv.update_time() -- the loop's clock stands while it does not run
	timer:start(DEADLINE * 1000, 0, function() late = true end)
	while not done() and not late do uv.run("once") end
	timer:close()
	assert(done(), message or "it did not come")
end

-- A connection; `text` is all that came through it, `closed` that the server has closed it.
function M.connect(server)
	local connection = setmetatable({socket = uv.new_tcp(), text = "", closed = false}, Connection)
	local connected
	connection.socket:connect("127.0.0.1", server.port, function(problem)
		connected = problem or true
		if problem then
			connection.closed = true
			return
		end
		connection:resume()
	end)
	M.wait(function() return connected end)
	return connection
end

-- Read on after socket:read_stop().
function Connection:resume()
	if self.socket:is_closing() then return end
	self.socket:read_start(function(failure, bytes)
		if failure or not bytes then self.closed = true else self:take(bytes) end
	end)
end

function Connection:take(bytes)
	self.text = self.text .. bytes
end

function Connection:send(bytes)
	if not self.socket:is_closing() then self.socket:write(bytes) end
	return self
end

-- Wait for a text, as a pattern.
function Connection:expect(pattern)
	M.wait(function() return self.text:find(pattern) or self.closed end)
	assert(self.text:find(pattern), ("expected %q, got %q"):format(pattern, self.text))
	return self
end

function Connection:expect_closed()
	M.wait(function() return self.closed end, "it was not closed")
	return self
end

function Connection:close()
	if not self.socket:is_closing() then self.socket:close() end
	uv.run("nowait")
end

---- requests ----

local function unchunked(body)
	local parts, at = {}, 1
	while true do
		local size, behind = body:match("^(%x+)\r\n()", at)
		if not size or tonumber(size, 16) == 0 then return table.concat(parts) end
		parts[#parts + 1] = body:sub(behind, behind + tonumber(size, 16) - 1)
		at = behind + tonumber(size, 16) + 2
	end
end

function M.parse(text)
	local status, head, body = text:match("^HTTP/1%.1 (%d+) [^\r]*(\r\n.-)\r\n\r\n(.*)$")
	assert(status, "no reply: " .. text)
	local headers = {}
	for name, value in head:gmatch("\r\n([^:]+): ([^\r]*)") do headers[name:lower()] = value end
	if headers["transfer-encoding"] == "chunked" then body = unchunked(body) end
	return {status = math.tointeger(tonumber(status)), headers = headers, body = body}
end

-- The text of a request. A header that is false is left out.
function M.text(server, method, target, headers, body)
	local all = {Host = "127.0.0.1:" .. server.port, Authorization = server.token and "Bearer " .. server.token,
		["Content-Type"] = body and "application/json", ["Content-Length"] = body and #body, Connection = "close"}
	for name, value in pairs(headers or {}) do all[name] = value end
	local lines = {method .. " " .. target .. " HTTP/1.1"}
	for name, value in pairs(all) do
		if value then lines[#lines + 1] = name .. ": " .. value end
	end
	return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or "")
end

-- A whole request; returns its reply.
function M.request(server, method, target, headers, body)
	local connection = M.connect(server):send(M.text(server, method, target, headers, body)):expect_closed()
	connection:close()
	return M.parse(connection.text)
end

function M.get(server, target, headers)
	return M.request(server, "GET", target, headers)
end

-- What it replied, which must have this status.
function M.ok(reply, status)
	assert.equal(status or 200, reply.status, reply.body)
	return reply.body
end

---- streams ----

local Stream = setmetatable({}, {__index = Connection})
Stream.__index = Stream

-- Take the whole events of what came: their numbers in `seen`, all that they say in `data`.
function Stream:take(bytes)
	self.text = self.text .. bytes
	if not self.body then
		local status, behind = self.text:match("^HTTP/1%.1 (%d+).-\r\n\r\n()")
		if not status then return end
		assert.equal("200", status, self.text)
		self.body, self.text = "", self.text:sub(behind)
	end
	while true do
		local size, at = self.text:match("^(%x+)\r\n()")
		local len = size and tonumber(size, 16)
		if not len or #self.text < at + len + 1 then break end
		self.body = self.body .. self.text:sub(at, at + len - 1)
		self.text = self.text:sub(at + len + 2)
	end
	while true do
		local block, behind = self.body:match("^(.-)\n\n()")
		if not block then return end
		self.body = self.body:sub(behind)
		local id, data, event = block:match("id: (%d+)"), block:match("data: ([^\n]*)"), block:match("event: (%w+)")
		self.last = id and math.tointeger(tonumber(id)) or self.last
		if event then self.notes[#self.notes + 1] = {event = event, data = data} end
		if data and not event then
			self.seen[#self.seen + 1] = self.last
			self.data[#self.data + 1] = data
		end
	end
end

-- Follow the server: its events are added to `seen`, from a stream that was cut before.
function M.stream(server, target, before)
	local stream = setmetatable(M.connect(server), Stream)
	stream.seen, stream.data, stream.notes = before and before.seen or {}, before and before.data or {}, before and before.notes or {}
	stream.last = before and before.last
	stream:send(M.text(server, "GET", target, {["Last-Event-ID"] = stream.last}))
	return stream
end

-- A NDJSON text of `count` events.
function M.events(count, object_type)
	local lines = {}
	for n = 1, count do
		lines[n] = ('{"operation":"CREATE","object_type":"%s","object":{"n":%d}}\n'):format(object_type or "File", n)
	end
	return table.concat(lines)
end

function M.post(server, text, headers)
	local all = {["Content-Type"] = "application/x-ndjson"}
	for name, value in pairs(headers or {}) do all[name] = value end
	return M.request(server, "POST", "/events", all, text)
end

-- How many threads and bytes of memory a server has.
function M.usage(server)
	local status = helper.read_file("/proc/" .. server.process.pid .. "/status")
	return tonumber(status:match("Threads:%s*(%d+)")), tonumber(status:match("VmRSS:%s*(%d+)")) * 1024
end

return M
