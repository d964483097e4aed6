-- helper.lua - what the specs share: a folder for each test, stores that close themselves, other processes, a look at what stayed open.
--
-- A spec says `after_each(helper.clean)` in each describe. Nothing here waits for time to pass; what must come in the end is
-- waited for up to DEADLINE seconds, so that a broken build fails and does not hang.

local assert = require "luassert"
local lfs = require "lfs"
local vigia = require "vigia"
local wrapper = require "vigia.wrapper"

local M = {}

-- The runtime of a sanitizer that must be there before the module; this process has it. `M.lua` are the shell words that start another Lua
-- with it: what is preloaded is not inherited (spec/c/preload_once.c).
local PRELOAD <const> = os.getenv("VIGIA_PRELOAD")
M.preload = PRELOAD
M.lua = PRELOAD and "env LD_PRELOAD='" .. PRELOAD:gsub("'", "'\\''") .. "' lua5.4" or os.getenv("LUA") or "lua5.4"

local DEADLINE = tonumber(os.getenv("VIGIA_SPEC_DEADLINE")) or 60

-- Seconds that only go on, whatever becomes of the clock.
function M.now()
	local file <close> = assert(io.open("/proc/uptime"))
	return file:read("n")
end

-- Wait, busily, until it is so; "it did not come" or what else is given to say if it does not.
function M.eventually(done, message)
	local deadline = M.now() + DEADLINE
	while not done() do
		assert(M.now() <= deadline, message or "it did not come")
		vigia.sleep(0.005)
	end
end

local function count_threads()
	local count = 0
	for name in lfs.dir("/proc/self/task") do
		if name:find("^%d+$") then count = count + 1 end
	end
	return count
end

-- How many threads this process has. One that was joined is still listed for a moment.
function M.threads()
	local count, before
	repeat
		before = count
		count = count_threads()
		vigia.sleep(0.005)
	until count == before
	return count
end

-- There are so many of them, as soon as those that were joined are gone.
function M.expect_threads(count)
	M.eventually(function() return count_threads() == count end, ("there should be %d threads"):format(count))
end

-- Tell what a machine covered, for the table of scripts/test: `N NOUN ...` for each figure, the same nouns in each run.
function M.covered(machine, format, ...)
	print(("# %s: " .. format):format(machine, ...))
	io.stdout:flush()
end

---- a folder for each test, and what is open in it ----

local folder -- of the running test, made when first asked for
local handles = {} -- stores and registries the running test made
local children = {}

local function quoted(word)
	return "'" .. word:gsub("'", "'\\''") .. "'"
end

-- A new folder that is nobody else's, under its real name, where TMPDIR says.
local parent
local folders = 0
function M.folder()
	if not parent then
		local pipe = assert(io.popen("cd -- " .. quoted(os.getenv("TMPDIR") or "/tmp") .. " && pwd -P"))
		parent = assert(pipe:read("l"), "there is no folder TMPDIR")
		pipe:close()
	end
	local path, ok, err
	repeat
		folders = folders + 1
		path = ("%s/vigia-spec-%d"):format(parent, folders)
		ok, err = lfs.mkdir(path)
	until ok or not lfs.symlinkattributes(path)
	assert(ok, err)
	return path
end

-- The path of a file in the folder of the running test.
function M.path(name)
	folder = folder or M.folder()
	return name and folder .. "/" .. name or folder
end

function M.remove(path)
	if lfs.symlinkattributes(path, "mode") == "directory" then
		for name in lfs.dir(path) do
			if name ~= "." and name ~= ".." then M.remove(path .. "/" .. name) end
		end
	end
	os.remove(path)
end

-- Open a store that is closed after the test. Without a path it is the file "store" in the test's folder. It collects no garbage unless
-- that is asked for: a commit in the background would take watchers' progress along when no spec expects it.
function M.open(path, options)
	local given = {collect = false}
	for name, value in pairs(options or {}) do given[name] = value end
	local store = assert(vigia.open(path or M.path("store"), given))
	handles[#handles + 1] = store
	return store
end

function M.memory(options)
	return M.open(":memory:", options)
end

-- A store written in Lua, over one in memory; `functions` as in vigia.wrapper.
function M.wrapped(options, functions)
	functions = functions or {}
	functions.checkpoint_interval = options and options.checkpoint_interval
	return wrapper.new(M.memory(options), functions)
end

-- The object with the letters of all its strings moved by 13: what was moved twice is as it was.
function M.rot13(object)
	if type(object) == "string" then
		return (object:gsub("%a", function(letter)
			local first = letter:lower() == letter and 97 or 65
			return string.char((letter:byte() - first + 13) % 26 + first)
		end))
	elseif type(object) ~= "table" then
		return object
	end
	local copy = vigia.is_array(object) and vigia.array{} or {}
	for key, value in pairs(object) do copy[key] = M.rot13(value) end
	return copy
end

-- The kinds of store that a watcher or an event must not tell apart: a name, and a function that opens a new one. `commits_progress`:
-- any commit of the store takes the progress of its watchers along.
local opened = 0
M.backends = {
	{name = "memory", commits_progress = true, open = M.memory},
	{name = "lmdb", commits_progress = true, open = function(options)
		opened = opened + 1
		return M.open(M.path("store" .. opened), options)
	end},
	{name = "lmdb without a journal", commits_progress = true, open = function(options)
		local given = {journal = false}
		for name, value in pairs(options or {}) do given[name] = value end
		opened = opened + 1
		return M.open(M.path("store" .. opened), given)
	end},
	{name = "a store in Lua", open = M.wrapped},
}

-- A registry that is stopped after the test. Its failures are told to nobody unless that is asked for.
function M.registry(store, options)
	local given = {log = false}
	for name, value in pairs(options or {}) do given[name] = value end
	local registry = assert(vigia.registry(store, given))
	table.insert(handles, 1, {close = function() pcall(registry.stop, registry, {timeout = 0}) end}) -- may be gone already
	return registry
end

-- The same, and a list that gets its log records, each "level: message".
function M.logging_registry(store)
	local logged = {}
	return M.registry(store, {log = function(level, message) logged[#logged + 1] = level .. ": " .. message end}), logged
end

-- How many descriptors and mappings of this process lead into the test's folder.
function M.open_files()
	local count = 0
	for fd in lfs.dir("/proc/self/fd") do
		local target = lfs.symlinkattributes("/proc/self/fd/" .. fd, "target")
		if target and target:find(folder, 1, true) == 1 then count = count + 1 end
	end
	for line in io.lines("/proc/self/maps") do
		if line:find(folder, 1, true) then count = count + 1 end
	end
	return count
end

-- After each test: close what it opened, see that nothing stayed open, remove its folder.
function M.clean()
	for _, child in ipairs(children) do child:kill() end
	for _, handle in ipairs(handles) do handle:close() end
	children, handles = {}, {}
	collectgarbage()
	collectgarbage()
	if not folder then return end
	local left = M.open_files()
	M.remove(folder)
	folder = nil
	assert.equal(0, left, "descriptors and mappings of the test's files that stayed open")
end

---- events ----

-- The objects of the events of a type, in order. To the end: one look may end before it, where the machine is slow.
function M.objects(store, object_type)
	local found = {}
	for i, event in ipairs(assert(store:get_events{filter = {object_types = {object_type}}, timeout = 0, scan = "end"}).events) do
		found[i] = event.object
	end
	return found
end

-- Store `count` events {n = 1}, {n = 2}, ... and return the last number.
function M.fill(store, count, object_type, operation)
	local events = {}
	for n = 1, count do events[n] = {operation = operation or "CREATE", object_type = object_type or "Job", object = {n = n}} end
	local _, last = assert(store:store_events(events))
	return last
end

-- What a read without waiting returns: a list of numbers, and the iterator to go on with.
function M.read(store, request)
	request = request or {}
	request.timeout = request.timeout or 0
	local answer = assert(store:get_events(request))
	local numbers = {}
	for index, event in ipairs(answer.events) do numbers[index] = event.seq_num end
	return numbers, answer.next_event_iterator
end

-- The numbers from first to last, as a list.
function M.range(first, last)
	local numbers = {}
	for n = first, last do numbers[#numbers + 1] = n end
	return numbers
end

-- Where two values differ, as a path, or nil. Integers and floats, 0.0 and -0.0, arrays and maps are told apart; NaN is like NaN.
function M.difference(a, b, where)
	where = where or "value"
	if type(a) ~= type(b) or math.type(a) ~= math.type(b) then
		return ("%s: %s (%s) and %s (%s)"):format(where, a, math.type(a) or type(a), b, math.type(b) or type(b))
	elseif math.type(a) == "float" then
		local alike = a == b and 1 / a == 1 / b or a ~= a and b ~= b
		return not alike and ("%s: %a and %a"):format(where, a, b) or nil
	elseif type(a) ~= "table" then
		return a ~= b and ("%s: %q and %q"):format(where, a, b) or nil
	end
	for key, value in next, a do
		local found = M.difference(value, rawget(b, key), ("%s[%s]"):format(where, key))
		if found then return found end
	end
	for key in next, b do
		if rawget(a, key) == nil then return ("%s[%s] is only in the second"):format(where, key) end
	end
end

---- errors ----

-- A call that must raise; returns the message. The arguments are the function and what to call it with.
function M.raises(fn, ...)
	local ok, err = pcall(fn, ...)
	assert(not ok, "should have raised, and did not")
	return tostring(err)
end

-- A call that must return nil and an error of this code; returns the error.
function M.fails(code, value, err)
	assert.is_nil(value)
	assert.is_not_nil(err, "nil and no error")
	assert.equal(code, err.code, tostring(err))
	return err
end

-- Every word stands in the text.
function M.mentions(text, ...)
	text = tostring(text)
	for _, word in ipairs{...} do
		assert(text:find(word, 1, true), ("%q should be in %q"):format(word, text))
	end
end

---- watchers ----

-- Drive the registry until done() says so.
function M.drive(registry, done)
	local deadline = M.now() + DEADLINE
	while not done() do
		local worked, err = registry:step(1)
		assert(worked ~= nil, err)
		assert(M.now() <= deadline, "the registry did not get there in " .. DEADLINE .. " seconds")
	end
end

-- Drive the registry until the watchers have nothing before them.
function M.drain(registry, ...)
	local watchers = {...}
	M.drive(registry, function()
		for _, watcher in ipairs(watchers) do
			-- Twice: when the log cannot be read just then, the lag is 0, too.
			if watcher:stats().lag > 0 or watcher:stats().lag > 0 then return false end
		end
		return true
	end)
end

-- A handler that only writes down the numbers it saw, and the list it writes them to.
function M.recorder()
	local seen = {}
	return function(event) seen[#seen + 1] = event.seq_num end, seen
end

---- other processes ----

local Child = {}
Child.__index = Child

-- The shell command that runs a Lua source with our module at hand; `...` are its arguments. In the source, `vigia` is loaded,
-- and `say(...)` writes one line at once.
local function lua_command(source, ...)
	local file = M.path("source" .. #children + 1 .. ".lua")
	local out = assert(io.open(file, "w"))
	out:write("local vigia = require 'vigia' local function say(...) print(...) io.stdout:flush() end ", source, "\n")
	out:close()
	local words = {
		"env", "LUA_PATH=" .. quoted(package.path), "LUA_CPATH=" .. quoted(package.cpath), M.lua, quoted(file),
	}
	for _, argument in ipairs{...} do words[#words + 1] = quoted(tostring(argument)) end
	return table.concat(words, " ")
end

M.lua_command = lua_command

-- Start a process that runs this Lua source.
function M.child(source, ...)
	local pipe = assert(io.popen("echo $$; exec " .. lua_command(source, ...) .. " 2>&1", "r"))
	local child = setmetatable({pipe = pipe, pid = math.tointeger(tonumber(pipe:read("l")))}, Child)
	children[#children + 1] = child
	return child
end

-- Run this Lua source to its end, behind a `prefix` in the shell ("umask 000;"); returns what it wrote.
function M.run_lua(prefix, source, ...)
	return M.shell(prefix .. " " .. lua_command(source, ...))
end

-- Its next line; waits for it.
function Child:line()
	return assert(self.pipe:read("l"), "the child ended without a word")
end

-- Wait for one certain line.
function Child:expect(line)
	assert.equal(line, self:line())
end

-- Until it sleeps in the kernel, so as to be sure that a long poll does wait. What it proves must hold also if it does not.
function Child:asleep()
	local deadline = M.now() + DEADLINE
	repeat
		local file = assert(io.open("/proc/" .. self.pid .. "/stat"))
		local state = file:read("a"):match("%) (%a)")
		file:close()
	until state == "S" or M.now() > deadline
end

-- Wait for its end; returns the lines it still said.
function Child:wait()
	local lines = {}
	for line in self.pipe:lines() do lines[#lines + 1] = line end
	local _, how, status = self.pipe:close()
	self.ended = true
	return lines, how, status
end

-- SIGKILL, and wait until it is gone.
function Child:kill()
	if self.ended then return end
	os.execute("kill -9 " .. self.pid .. " 2>/dev/null")
	self:wait()
end

-- Write a file in the test's folder; returns its path.
function M.write_file(name, text)
	local path = M.path(name)
	local file <close> = assert(io.open(path, "w"))
	assert(file:write(text))
	return path
end

-- All of a file, "" if there is none.
function M.read_file(path)
	local file <close> = io.open(path)
	return file and file:read("a") or ""
end

-- Drive until each watcher has nothing before it and waits for nothing.
function M.settle(registry, ...)
	local watchers = {...}
	M.drive(registry, function()
		for _, watcher in ipairs(watchers) do
			local stats = watcher:stats()
			if stats.lag > 0 or stats.blocked_on then return false end
		end
		return true
	end)
end

-- Seconds of processor time: of the thread of this process with this id, nil where the system does not say; of the children that ended.
function M.thread_seconds(id)
	local ns = M.read_file("/proc/self/task/" .. id .. "/schedstat"):match("^%d+")
	return ns and tonumber(ns) / 1e9
end

function M.children_seconds()
	local user, system = M.read_file("/proc/self/stat"):match("%) " .. ("%S+ "):rep(13) .. "(%d+) (%d+)")
	return (user + system) / 100
end

-- The ids of this process's threads, as the keys of a table.
function M.thread_ids()
	local ids = {}
	for name in lfs.dir("/proc/self/task") do
		if name:find("^%d+$") then ids[name] = true end
	end
	return ids
end

-- The id of the thread that fn starts; then what fn returns.
function M.new_thread(fn)
	local before = M.thread_ids()
	local result = fn()
	for id in pairs(M.thread_ids()) do
		if not before[id] then return id, result end
	end
end

-- Begin to watch how much memory the process has at most; the function it returns tells by how much that grew, nil where the system does
-- not say.
function M.peak_growth()
	local file = io.open("/proc/self/clear_refs", "w")
	local reset = file and file:write("5") and file:close()
	local function peak() return tonumber(M.read_file("/proc/self/status"):match("VmHWM:%s*(%d+)")) * 1024 end
	local before = peak()
	return function() return reset and peak() - before or nil end
end

-- A sanitizer makes all slower and larger. The one for threads has a thread of its own, which wakes up again and again.
M.tsan = os.getenv("TSAN_OPTIONS") ~= nil
M.sanitized = M.tsan or os.getenv("ASAN_OPTIONS") ~= nil

-- Run a shell command; returns what it wrote, whether it ended well, and how it ended (as pipe:close).
function M.shell(command)
	local pipe = assert(io.popen(command .. " 2>&1", "r"))
	local output = pipe:read("a")
	return output, pipe:close()
end

-- The program `vigia` of the build whose module this is, or nil.
function M.program()
	local named = os.getenv("VIGIA_PROGRAM")
	if named then return named end
	local module = package.searchpath("vigia.core", package.cpath)
	local found = module and module:gsub("/lua/vigia/core%.so$", "/vigia")
	return found and lfs.attributes(found, "mode") == "file" and found or nil
end

-- Flags for the compiler of a program that is linked with a library of this build: those of its sanitizer, its counters.
function M.flags()
	local program = assert(M.program(), "no program `vigia` beside vigia/core.so: set VIGIA_PROGRAM")
	local cache = M.read_file(program:match("^(.*)/") .. "/CMakeCache.txt")
	local sanitizer = cache:match("\nVIGIA_SANITIZE:%w+=(%a+)")
	return (sanitizer and "-fno-omit-frame-pointer -fsanitize=" .. sanitizer:gsub("^address$", "address,undefined") or "")
		.. (cache:find("\nVIGIA_COUNT:BOOL=ON\n") and " -Wl,--whole-archive -lgcov -Wl,--no-whole-archive" or "")
end

-- Change the last byte of `marker` wherever it is in the file: pages that LMDB left hold copies.
function M.damage(path, marker)
	local file = assert(io.open(path, "r+b"))
	local bytes, at, last = file:read("a"), 1
	while true do
		at, last = bytes:find(marker, at, true)
		if not at then break end
		file:seek("set", last - 1)
		file:write("X")
		at = last
	end
	file:close()
end

-- End a spec and say aloud that it is left out, and why. (The pending of busted's API, unlike that in a spec file, would do nothing.)
M.pending = require "busted.core"().pending
M.quoted = quoted

return M
