-- outbox.lua - sends each event of one type to a web service: a POST request with the event as JSON. Needs luv (Debian: lua-luv).
--
-- Try it:  vigia run --store FILE outbox.lua --set url=http://127.0.0.1:8080/hook --set type=Mail
--          vigia dead list outbox --store FILE
--
--   --set url=URL           where to: http://HOST[:PORT][/PATH]. For https use a proxy
--   --set type=TYPE         the object type of the events to send
--   --set timeout=SECONDS   how long one request may take, 10 if not given
--   --set attempts=N        how often to try before the event becomes a dead letter, 5 if not given
--   SENT                    {seq_num =, status =}: made by this script for each event that was taken (a status from 200 to 299)
--
-- An application stores its own data and the event in one transaction; this script sends it afterwards. It is transactional: SENT and the
-- checkpoint are one commit. The request is not part of it: after a crash in between it is sent once more, with the same Idempotency-Key,
-- by which the service knows it. When the service is mended, retry the dead letters of the watcher outbox: they are sent then.
--
-- The handler waits for a vigia.signal, which the callbacks of luv set. A script is alone on its thread, so between its waits it runs the
-- loop itself. In an application whose loop runs anyway, the line with uv.run goes.

local found, uv = pcall(require, "luv")
if not found then
	error("outbox.lua needs luv (Debian: apt-get install lua-luv; elsewhere: luarocks install luv)", 0)
end
local vigia = require "vigia"

local set = (...).set

local SHORTEST <const>, LONGEST <const> = 0.001, 0.02 -- seconds between two looks at the loop
local HEAD_LIMIT <const> = 65536 -- bytes of an answer's header

local function setting(name, default, check, what)
	local value = set[name] or default
	if not check(value) then
		error(("outbox.lua: say --set %s=%s"):format(name, what), 0)
	end
	return value
end

local function positive(value)
	return tonumber(value) and tonumber(value) > 0
end

local function is_url(value)
	return type(value) == "string" and value:find("^http://[^/]") and not value:find("[%c%s]")
end

-- Not the type of SENT: that would send without end.
local function is_type(value)
	return type(value) == "string" and value ~= "" and value ~= "Delivery"
end

local function is_count(value)
	return positive(value) and math.tointeger(tonumber(value))
end

local url = setting("url", nil, is_url, "http://HOST[:PORT]/PATH")
local object_type = setting("type", nil, is_type, "TYPE")
local timeout = tonumber(setting("timeout", 10, positive, "SECONDS"))
local attempts = is_count(setting("attempts", 5, is_count, "N"))

local authority, path = url:match("^http://([^/]+)(.*)$")
local host, port = authority:match("^%[(.-)%]:?(%d*)$")
if not host then
	host, port = authority:match("^([^:]+):?(%d*)$")
end
if not host then
	error("outbox.lua: the url has no host", 0)
end
port = port ~= "" and port or "80"
path = path ~= "" and path or "/"

-- The status of an answer, once its header is whole. Interim answers (1xx) are passed over.
local function status_of(head)
	while true do
		local stop = select(2, head:find("\r?\n\r?\n"))
		if not stop then
			return nil
		end
		local status = head:match("^HTTP/1%.%d (%d%d%d)")
		if not status then
			return nil, "the answer is not HTTP"
		elseif status:sub(1, 1) ~= "1" then
			return math.tointeger(tonumber(status))
		end
		head = head:sub(stop + 1)
	end
end

-- Start a request. `done` is set once, to {status =} or {problem =}. Returns a function that ends it.
local function start(request, done)
	local ended, socket = false, nil
	local timer = assert(uv.new_timer())
	local function close(handle)
		if handle and not handle:is_closing() then
			handle:close()
		end
	end
	local function finish(result)
		if not ended then
			ended = true
			close(timer)
			close(socket)
			done:set(result)
		end
	end
	local function talk()
		local head = ""
		socket:write(request, function(problem)
			if problem then finish{problem = "cannot send: " .. problem} end
		end)
		socket:read_start(function(problem, bytes)
			head = head .. (bytes or "")
			local status, wrong = status_of(head)
			wrong = wrong or problem or (not bytes and "the connection was closed before the answer")
				or (#head > HEAD_LIMIT and "the answer's header is too long")
			if status or wrong then finish(status and {status = status} or {problem = wrong}) end
		end)
	end
	local function connect(addresses, n, why)
		if ended then
			return
		elseif not addresses[n] then
			return finish{problem = "cannot connect: " .. why}
		end
		close(socket)
		socket = assert(uv.new_tcp())
		local _, refused = socket:connect(addresses[n].addr, tonumber(port), function(problem)
			if ended then return end
			if problem then connect(addresses, n + 1, problem) else talk() end
		end)
		if refused then connect(addresses, n + 1, refused) end
	end
	uv.update_time() -- between two events the loop does not run and its clock stands: the limit would begin in the past
	timer:start(math.ceil(timeout * 1000), 0, function() finish{problem = ("no answer within %g s"):format(timeout)} end)
	local _, refused = uv.getaddrinfo(host, nil, {socktype = "stream"}, function(problem, addresses)
		connect(addresses or {}, 1, problem or "there is no address")
	end)
	if refused then finish{problem = refused} end
	return finish
end

local function request_of(event, store)
	local body = assert(vigia.to_json(event))
	return table.concat({
		("POST %s HTTP/1.1"):format(path), "Host: " .. authority, "Content-Type: application/json", "Content-Length: " .. #body,
		("Idempotency-Key: %s-%d"):format(assert(store:stats()).file_id, event.seq_num), "Connection: close", "", body,
	}, "\r\n")
end

local function handle(event, ctx)
	local done = vigia.signal()
	local finish = start(request_of(event, ctx.store), done)
	local pause, result, err = SHORTEST
	repeat
		uv.run("nowait")
		result, err = done:wait(pause)
		pause = math.min(2 * pause, LONGEST)
	until result or err.code ~= "timeout"
	finish{problem = "given up"} -- the watcher stops
	uv.run("nowait") -- what was closed goes
	if not result then
		return nil, err
	elseif result.problem then
		return nil, result.problem
	elseif result.status < 200 or result.status > 299 then
		return nil, ("the service answered with status %d"):format(result.status)
	end
	return ctx.tx:store_event("SENT", "Delivery", {seq_num = event.seq_num, status = result.status})
end

return {
	filter = {object_types = {object_type}},
	transactional = true,
	retry_strategy = "dead_letter",
	max_retries = attempts,
	handle = handle,
}
