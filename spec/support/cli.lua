-- cli.lua - the program `vigia` in specs: run it to its end, or start it, talk to it and end it by a signal; streams of events to feed it.
--
-- Works in the folder of the running test (spec.helper); a spec says `after_each(cli.clean)`.

local assert = require "luassert"
local helper = require "spec.helper"

local M = {}

local quoted = helper.quoted
local processes = {} -- started by the running test
local files = 0

---- files of the test ----

function M.write(name, text)
	local path = helper.path(name)
	local file = assert(io.open(path, "wb"))
	assert(file:write(text))
	assert(file:close())
	return path
end

-- The text of a file; "" if there is none.
function M.read(path)
	local file = io.open(path, "rb")
	if not file then return "" end
	local text = file:read("a")
	file:close()
	return text
end

local function new_path(name)
	files = files + 1
	return helper.path(("%s-%d"):format(name, files))
end

function M.lines(text)
	local lines = {}
	for line in text:gmatch("([^\n]*)\n") do lines[#lines + 1] = line end
	return lines
end

---- the program ----

M.program = helper.program()

-- options: stdin (text), stdin_path, env {NAME = value}, redirect (of stdout, as in the shell).
local function command_line(words, options, err_path)
	local line = {"env", "-u", "VIGIA_STORE"}
	for name, value in pairs(options.env or {}) do line[#line + 1] = quoted(name .. "=" .. value) end
	line[#line + 1] = quoted(assert(M.program, "no program `vigia` beside vigia/core.so: set VIGIA_PROGRAM"))
	for _, word in ipairs(words) do line[#line + 1] = quoted(tostring(word)) end
	local stdin = options.stdin_path or "/dev/null"
	if options.stdin then
		stdin = new_path("stdin")
		local file = assert(io.open(stdin, "wb"))
		assert(file:write(options.stdin))
		assert(file:close())
	end
	return table.concat(line, " ") .. " <" .. quoted(stdin) .. " 2>" .. quoted(err_path)
end

-- Run `vigia WORDS...` to its end; returns {status =, out =, err =}. One that should have ended and did not is ended (status 124).
function M.run(words, options)
	options = options or {}
	local out_path, err_path = new_path("out"), new_path("err")
	local line = "timeout -k 5 240 " .. command_line(words, options, err_path) .. " " .. (options.redirect or ">" .. quoted(out_path))
	local _, _, status = os.execute(line)
	return {status = status, out = M.read(out_path), err = M.read(err_path)}
end

-- Run it, and expect a status; what it said is in the message if it is another.
local function expect(status, words, options)
	local result = M.run(words, options)
	assert.equal(status, result.status, ("vigia %s\n%s%s"):format(table.concat(words, " "), result.out, result.err))
	return result
end

function M.ok(words, options)
	return expect(0, words, options)
end

-- Expect a failure (1) or wrong use (2): a sentence that begins "vigia: ", nothing on stdout, and no traceback of ours.
function M.fails(status, words, options)
	local result = expect(status, words, options)
	assert.equal("vigia: ", result.err:sub(1, 7), result.err)
	assert.equal("", result.out)
	assert.is_nil(result.err:find("a bug in vigia", 1, true), result.err)
	return result.err
end

local Process = {}
Process.__index = Process

-- Start `vigia WORDS...`; its stdout comes through line().
function M.start(words, options)
	local err_path = new_path("err")
	local pipe = assert(io.popen("echo $$; exec " .. command_line(words, options or {}, err_path), "r"))
	local process = setmetatable({pipe = pipe, pid = math.tointeger(tonumber(pipe:read("l"))), err_path = err_path}, Process)
	processes[#processes + 1] = process
	return process
end

-- The next line it writes; nil when it has ended.
function Process:line()
	return self.pipe:read("l")
end

function Process:signal(name)
	assert(not self.ended)
	assert(os.execute(("kill -s %s %d"):format(name, self.pid)))
end

-- Has it ended by itself? wait() then says how.
function Process:gone()
	return self.ended or helper.read_file("/proc/" .. self.pid .. "/stat"):find("%) Z") ~= nil
end

-- Wait for its end; returns {status =, out =, err =}. Ended by a signal, the status is "signal 9".
function Process:wait()
	local out = self.pipe:read("a")
	local _, how, status = self.pipe:close()
	self.ended = true
	return {status = how == "signal" and "signal " .. status or status, out = out, err = M.read(self.err_path)}
end

-- SIGKILL, and wait until it is gone.
function Process:kill()
	self:signal("KILL")
	return self:wait()
end

-- After each test: nothing that was started lives on, and what the helper cleans.
function M.clean()
	for _, process in ipairs(processes) do
		if not process.ended then process:kill() end
	end
	processes, files = {}, 0
	helper.clean()
end

---- what the program wrote ----

-- An NDJSON line of `vigia events` as {seq_num =, timestamp =, rest = what `append` reads}.
function M.parse(line)
	local seq_num, timestamp, rest = line:match('^{"seq_num":(%d+),"timestamp":(%d+),(.*)$')
	assert(seq_num, "no line of `vigia events`: " .. line)
	return {seq_num = math.tointeger(tonumber(seq_num)), timestamp = math.tointeger(tonumber(timestamp)), rest = "{" .. rest}
end

-- All events of a store, as `vigia events` writes them.
function M.events(store, ...)
	local events = {}
	for i, line in ipairs(M.lines(M.ok{"events", "--store", store, ...}.out)) do events[i] = M.parse(line) end
	return events
end

-- Their numbers.
function M.numbers(...)
	local list = {}
	for i, event in ipairs(M.events(...)) do list[i] = event.seq_num end
	return list
end

-- Store these lines with `vigia append`.
function M.append(store, lines)
	return M.ok({"append", "--store", store}, {stdin = table.concat(lines, "\n") .. "\n"})
end

---- streams ----

-- `count` lines of a made-up history, like those of scripts/git_events.lua; names begin with `prefix`. The same seed gives the same.
function M.stream(count, prefix, seed)
	math.randomseed(seed)
	local lines, paths, known = {}, {}, {}
	for n = 1, count do
		local commit = ("%040x"):format(n)
		if n % 8 == 1 then
			lines[n] = ('{"operation":"CREATE","object_type":"Commit","object":{"sha":"%s","time":%d,"subject":"%s \\"%d\\""}}'):format(
				commit, 1700000000 + n, prefix, n)
		else
			local operation = "CREATE"
			local path = ("%s/%d/ünï %d"):format(prefix, n % 7, n)
			if #paths > 20 and math.random(3) > 1 then
				local i = math.random(#paths)
				path = paths[i]
				operation = math.random(3) == 1 and "DELETE" or "UPDATE"
				if operation == "DELETE" then
					paths[i] = paths[#paths]
					paths[#paths] = nil
				end
			else
				assert(not known[path])
				known[path] = true
				paths[#paths + 1] = path
			end
			lines[n] = ('{"operation":"%s","object_type":"File","object":{"path":"%s","blob":"%040x","mode":"100644","commit":"%s"}}'):format(
				operation, path, math.random(1 << 40), commit)
		end
	end
	return lines
end

-- What tree.lua must print for these lines of a stream.
function M.tree_of(lines)
	local blobs, paths = {}, {}
	for _, line in ipairs(lines) do
		local operation, path, blob = line:match('"operation":"(%u+)","object_type":"File","object":{"path":"(.-)","blob":"(%x+)"')
		if path then blobs[path] = operation ~= "DELETE" and blob or nil end
	end
	for path in pairs(blobs) do paths[#paths + 1] = path end
	table.sort(paths)
	for i, path in ipairs(paths) do paths[i] = blobs[path] .. "  " .. path .. "\n" end
	return table.concat(paths)
end

local DATA = "../shared/data/"

-- The lines of a real history and the tree at its end, or nil where the folder is missing.
function M.history(name)
	local tree = io.open(DATA .. name .. ".tree", "rb")
	if not tree then return nil end
	local text = tree:read("a")
	tree:close()
	local pipe = assert(io.popen("gzip -dc " .. DATA .. name .. ".ndjson.gz"))
	local lines = M.lines(pipe:read("a"))
	assert(pipe:close())
	return lines, text
end

M.NO_DATA = "no folder " .. DATA .. ": skipped"

return M
