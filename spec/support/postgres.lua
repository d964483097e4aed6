-- postgres.lua - a PostgreSQL server for the specs of a file, which ends with the process, whatever becomes of that; and logs on it.

local lfs = require "lfs"
local helper = require "spec.helper"

local M = {}

local function quoted(word)
	return "'" .. word:gsub("'", "'\\''") .. "'"
end

local function start(words, settings)
	local folder
	for n = 1, 1000 do
		folder = ("/tmp/vigia-postgres-%d"):format(n)
		if not lfs.symlinkattributes(folder) and lfs.mkdir(folder .. ".taken") then break end
	end
	words[#words + 1] = quoted(folder)
	for _, setting in ipairs(settings or {}) do words[#words + 1] = quoted(setting) end
	local pipe = assert(io.popen("exec spec/support/postgres " .. table.concat(words, " "), "w"))
	local server = {folder = folder, pipe = pipe, logs = 0}
	local deadline = helper.now() + 60
	while not lfs.attributes(folder .. "/ready") and helper.now() < deadline do
		if not lfs.attributes(folder) and helper.now() > deadline - 55 then break end -- it has ended
		require("vigia").sleep(0.02)
	end
	if lfs.attributes(folder .. "/ready") then return setmetatable(server, {__index = M}) end
	pipe:close()
	lfs.rmdir(folder .. ".taken")
	return nil, "no PostgreSQL server could be started (Debian: apt-get install postgresql)"
end

-- A server, or nil and why there is none. Its folder is not in that of a test: another user must get there.
function M.start(settings)
	return start({}, settings)
end

-- The same, which also listens on a port of loopback.
function M.start_on_port(settings)
	local socket = require "luv".new_tcp()
	assert(socket:bind("127.0.0.1", 0))
	local port = socket:getsockname().port
	socket:close()
	require "luv".run "nowait"
	local server, why = start({"--port", tostring(port)}, settings)
	if server then server.port = port end
	return server, why
end

-- The same, whose disk is full() until that is over.
function M.start_with_disk(settings)
	local server, why = start({"--preload", quoted(helper.program():match("^(.*)/") .. "/spec/c/full.so")}, settings)
	if server then
		function server.full(is)
			if is then io.open(server.folder .. "/full", "w"):close() else os.remove(server.folder .. "/full") end
		end
	end
	return server, why
end

-- A standby of this one, with this name in `synchronous_standby_names`.
function M:standby(name, settings)
	return assert(start({"--standby-of", quoted(self.folder), quoted(name)}, settings))
end

-- A signal to all its processes, as it meets a machine.
function M:signal(name)
	local pid = helper.read_file(self.folder .. "/pid"):match("%d+")
	local children = helper.read_file(("/proc/%s/task/%s/children"):format(pid, pid))
	helper.shell(("kill -%s %s %s"):format(name, pid, children))
end

-- The location of a log on several, of which one takes writes.
function M.location_on(servers, name, parameters)
	local folders = {}
	for i, server in ipairs(servers) do folders[i] = server.folder end
	return ("postgresql://vigia@/vigia?host=%s&log=%s%s"):format(table.concat(folders, ","), name, parameters or "")
end

function M:stop()
	self.pipe:close() -- waits until it is gone
end

-- The location of a log on it.
function M:location(name, parameters)
	return ("postgresql://vigia@/vigia?host=%s&log=%s%s"):format(self.folder, name, parameters or "")
end

-- That of one that nobody has used.
function M:new_location(parameters)
	self.logs = self.logs + 1
	return self:location("log" .. self.logs, parameters)
end

-- Debian's own `psql` is a program in Perl that looks for it, which takes longer than most statements.
M.psql = helper.shell("ls -d /usr/lib/postgresql/*/bin/psql 2>/dev/null | sort -V | tail -n 1"):match("%S+") or "psql"

-- What psql prints for a statement: rows of fields with | between them.
function M:sql(text, database)
	local pipe = assert(io.popen(("exec %s -X -h %s -p %d -U vigia -d %s -qAt -c %s 2>&1")
		:format(M.psql, quoted(self.folder), self.port or 5432, database or "vigia", quoted(text))))
	local out = pipe:read("a")
	local ok = pipe:close()
	assert(ok, out)
	return (out:gsub("\n$", ""))
end

-- A session of psql, as an application has one, whose transactions may stay open: a function that runs statements and, with an answer
-- (a pattern for the end of what was printed so far), waits for that; the file with what was printed; and one that ends it.
function M:session(database)
	local out = helper.path("psql" .. math.random(1 << 40))
	local pipe = assert(io.popen(("exec %s -X -h %s -U vigia -d %s -qAt >%s 2>&1")
		:format(M.psql, quoted(self.folder), database or "vigia", quoted(out)), "w"))
	return function(sql, answer)
		pipe:write(sql, "\n")
		pipe:flush()
		if answer then helper.eventually(function() return helper.read_file(out):find(answer .. "\n$") end, sql) end
	end, out, function() pipe:close() end
end

-- ---- a server that fails ----

local PROXY <const> = [[
	local uv = require "luv"
	local here, there = ...
	local function there_is(name)
		local file = io.open(here .. "/" .. name)
		local text = file and file:read("a")
		if file then file:close() end
		return text
	end
	local connections = 0
	local function record(connection, data)
		if not there_is("record") then return end
		local file = assert(io.open(here .. "/answers." .. connection, "a"))
		file:write(data)
		file:close()
	end
	local listener = uv.new_pipe(false)
	assert(listener:bind(here .. "/.s.PGSQL.5432"))
	assert(listener:listen(64, function()
		local client, server = uv.new_pipe(false), uv.new_pipe(false)
		local swallows, holds = false, false
		connections = connections + 1
		local connection = connections
		local function finish()
			if not client:is_closing() then client:close() end
			if not server:is_closing() then server:close() end
		end
		listener:accept(client)
		server:connect(there .. "/.s.PGSQL.5432", function(failed)
			if failed then return finish() end
			client:read_start(function(_, data)
				local pattern = data and there_is("swallow")
				if not data then return finish() end
				if there_is("stall") == "all" then return end
				if pattern and data:find(pattern, 1, true) then
					os.remove(here .. "/swallow")
					swallows = true
				end
				local held = there_is("hold")
				if held and data:find(held, 1, true) then
					os.remove(here .. "/hold")
					holds = true
				end
				server:write(data)
			end)
			server:read_start(function(_, data)
				if not data or swallows then return finish() end
				record(connection, data)
				if not holds and not there_is("stall") then client:write(data) end
			end)
		end)
	end))
	say("ready")
	uv.run()
]]

-- Something between a store and the server that loses what it is told to lose. It ends with the test. `swallow(text)`: the answer to the
-- next message that has this text in it does not arrive, and the connection breaks. `hold(text)`: nor does any other
-- behind it, and the connection stays. `stall("all")`: nothing arrives any more;
-- `stall("answers")`: no answer does; `stall()`: all does again, on new connections. `record()`: from now on keep what the server says;
-- `answers()`: a list of that, for each connection.
function M:proxy()
	local folder = helper.path("proxy")
	assert(lfs.mkdir(folder))
	local child = helper.child(PROXY, folder, self.folder)
	child:expect("ready")
	local proxy = {}
	function proxy.location(name, parameters)
		return ("postgresql://vigia@/vigia?host=%s&log=%s%s"):format(folder, name, parameters or "")
	end
	function proxy.swallow(text)
		helper.write_file("proxy/swallow", text)
	end
	function proxy.hold(text)
		helper.write_file("proxy/hold", text)
	end
	-- Was it lost already?
	function proxy.swallowed()
		return not lfs.attributes(folder .. "/swallow")
	end
	function proxy.stall(what)
		if what then helper.write_file("proxy/stall", what) else os.remove(folder .. "/stall") end
	end
	function proxy.record()
		helper.write_file("proxy/record", "")
	end
	function proxy.answers()
		local list = {}
		for name in lfs.dir(folder) do
			if name:find("^answers") then list[#list + 1] = helper.read_file(folder .. "/" .. name) end
		end
		return list
	end
	return proxy
end

-- The number of a statement, by which the library names it to the server (statements.h): for `swallow`.
function M.statement(name)
	local count = -1
	for found in helper.read_file("runtime/store/pg/statements.h"):gmatch("\n\tX%(([%u_]+),") do
		count = count + 1
		if found == name then return "v" .. count .. "\0" end
	end
	error("no statement " .. name)
end

return M
