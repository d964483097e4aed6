-- http_server.lua - a small HTTP server on luv, for specs of handlers that send requests: the source of a child process (helper.child).
--
-- It says its port, then a line for each whole request: METHOD PATH KEY BODY, KEY being its Idempotency-Key. The path says how it answers:
--   /ok           201                     /flaky/N   503 to the first N requests of each key, then 200
--   /status/CODE  with that status        /silent    never
--   /closes       closes the connection   /garbage   with what is no HTTP
--   /interim      100 first, then 204, a byte at a time
--   /endless      with a header that does not end

return [[
local uv = require "luv"
local seen = {}

local function answer(socket, path, key)
	local function send(text)
		socket:write(text, function() if not socket:is_closing() then socket:close() end end)
	end
	local function status(code)
		send(("HTTP/1.1 %s Text\r\nContent-Length: 2\r\n\r\nok"):format(code))
	end
	seen[key] = (seen[key] or 0) + 1
	local count = tonumber(path:match("^/flaky/(%d+)"))
	if count then status(seen[key] > count and 200 or 503)
	elseif path == "/ok" then status(201)
	elseif path:find("^/status/") then status(path:match("%d+"))
	elseif path == "/closes" then socket:close()
	elseif path == "/garbage" then send("SSH-2.0\r\n\r\n")
	elseif path == "/endless" then send("HTTP/1.1 200 OK\r\n" .. ("X-Long: " .. ("x"):rep(100) .. "\r\n"):rep(1000))
	elseif path == "/interim" then
		local text, at, timer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 0, uv.new_timer()
		timer:start(0, 1, function()
			at = at + 1
			if at <= #text and not socket:is_closing() then socket:write(text:sub(at, at)) else timer:stop() end
		end)
	end
end

local server = uv.new_tcp()
assert(server:bind("127.0.0.1", 0))
assert(server:listen(16, function()
	local socket, text = uv.new_tcp(), ""
	server:accept(socket)
	socket:read_start(function(problem, bytes)
		if problem or not bytes then
			if not socket:is_closing() then socket:close() end
			return
		end
		text = text .. bytes
		local head, body = text:match("^(.-\r\n\r\n)(.*)$")
		local length = head and tonumber(head:match("Content%-Length: (%d+)"))
		if length and #body >= length then
			local method, path = head:match("^(%S+) (%S+) HTTP/1.1\r\n")
			local key = head:match("\r\nIdempotency%-Key: (%S+)\r\n")
			text = ""
			say(method, path, key, body)
			answer(socket, path, key)
		end
	end)
end))
say(server:getsockname().port)
uv.run()
]]
