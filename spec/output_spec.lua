-- output_spec.lua - what scripts print: it is written whole and once, and checked before its event counts as handled.

local cli = require "spec.support.cli"
local helper = require "spec.helper"
local uv = require "luv"

local mentions, write = helper.mentions, cli.write

local store -- the path of the test's store

local function fill(count)
	local handle = helper.open(store)
	helper.fill(handle, count)
	handle:close()
end

local function run(script, ...)
	return {"run", "--store", store, write("print.lua", script), ...}
end

local function checkpoint()
	local handle = helper.open(store, {readonly = true})
	local n = handle:get_checkpoint("print")
	handle:close()
	return n
end

local LINE <const> = [[return function(event) print("event", event.seq_num) end]]

-- The ways to run a script that have a Lua state of another kind.
local KINDS <const> = {["on a thread"] = {}, ["capped"] = {"--memory", "64M", "--cpu", "20"}, ["isolated"] = {"--isolate"}}

describe("what a script prints", function()
	before_each(function() store = helper.path("a.db") end)
	after_each(cli.clean)

	for kind, words in pairs(KINDS) do
		it("fails the event when it cannot be written: " .. kind .. " [R4a]", function()
			fill(3)
			for text, how in pairs{[LINE] = ">/dev/full", [ [[return function() io.write("x") end]] ] = ">/dev/full",
				[ [[return function(event) io.stdout:write(event.seq_num) end]] ] = ">/dev/full",
				[ [[return function(event) return io.output():write(1, "\n") end]] ] = ">&-"} do
				local result = cli.run(run(text, "--until-idle", "--max-wait", "0", table.unpack(words)), {redirect = how})
				assert.equal(1, result.status)
				mentions(result.err, "event 1 still fails", "the output cannot be written",
					how == ">&-" and "Bad file descriptor" or "No space left on device")
				assert.is_nil(checkpoint())
			end
		end)

		it("fails init, stop and loading: " .. kind .. " [R4b]", function()
			fill(1)
			local function fails(text, ...)
				local result = cli.run(run(text, "--until-idle", table.unpack(words)), {redirect = ">/dev/full"})
				assert.equal(1, result.status)
				mentions(result.err, "print.lua", "the output cannot be written: No space left on device", ...)
			end
			fails([[print("loading") return function() end]], "loading the script failed")
			fails([[return {init = function() print("init") end, handle = function() end}]], "init")
			assert.is_nil(checkpoint())
			fails([[return {stop = function() print("stop") end, handle = function() end}]], "stop")
			assert.equal(1, checkpoint())
		end)

		it("tells on_error, gives the event up, and does not call its handler again for that: " .. kind .. " [R4c]", function()
			fill(2)
			local log = helper.path("log")
			local result = cli.run(run([[
				local given = ...
				local function note(...)
					local file <close> = assert(io.open(given.set.log, "a"))
					file:write(table.concat({...}, " "), "\n")
				end
				return {
					retry_strategy = "skip", max_retries = 3, initial_backoff = 0.001, max_backoff = 0.001,
					handle = function(event) note("handled", event.seq_num) print(event.seq_num) end,
					on_error = function(err, event, ctx) note(err.code, event.seq_num, ctx.attempt, tostring(err)) end,
				}]], "--until-idle", "--set", "log=" .. log, table.unpack(words)), {redirect = ">/dev/full"})
			assert.equal(1, result.status)
			mentions(result.err, "gave up event 1 after 3 attempts", "gave up event 2")
			local notes = helper.read_file(log)
			mentions(notes, "handled 1\nhandler_error 1 1 the output cannot be written: No space left on device\n")
			assert.is_nil(notes:find("handled 2", 1, true)) -- what is before it cannot be written
			assert.equal(1, select(2, notes:gsub("handled 1", "")))
			assert.equal(2, checkpoint())
		end)

		it("tells the script when there is too much of it, and fails the event whatever it makes of that: " .. kind .. " [R4d]", function()
			fill(1)
			local result = cli.run(run([[
				return function()
					local refused = false
					for _ = 1, 100 do
						local good, message = pcall(print, ("x"):rep(100000))
						refused = refused or not good and message:find("No space left on device", 1, true)
					end
					if not refused then return nil, "it was not told" end
				end]], "--until-idle", "--max-wait", "0", table.unpack(words)), {redirect = ">/dev/full"})
			assert.equal(1, result.status)
			mentions(result.err, "event 1 still fails", "the output cannot be written: No space left on device")
			assert.is_nil(checkpoint())
		end)

		it("waits for an output that takes nothing now, and loses and breaks no line: " .. kind .. " [R4e]", function()
			local count <const> = 2000
			fill(count)
			local go = helper.path("go")
			local pipe = uv.pipe({}, {})
			local status
			local process = assert(uv.spawn(cli.program, {args = run([[
				local given = ...
				return function(event)
					while not io.open(given.set.go) do require("vigia").sleep(0.005) end
					for n = 1, 10 do print(event.seq_num, n, ("x"):rep(20)) end
				end]], "--until-idle", "--max-wait", "60", "--set", "go=" .. go, table.unpack(words)), stdio = {nil, pipe.write, 2}},
				function(code) status = code end))
			local writer = uv.new_pipe(false)
			assert(writer:open(pipe.write)) -- this makes what both processes have open a pipe that does not block
			writer:close()
			uv.run("nowait")
			write("go", "")
			local reader, chunks, ended = uv.new_pipe(false), {}, false
			assert(reader:open(pipe.read))
			reader:read_start(function(err, chunk)
				assert(not err, err)
				if chunk then chunks[#chunks + 1] = chunk else ended = true end
			end)
			helper.eventually(function()
				uv.run("nowait")
				return ended and status
			end)
			reader:close()
			process:close()
			uv.run("nowait")
			assert.equal(0, status)
			local lines = {}
			for e = 1, count do
				for n = 1, 10 do lines[#lines + 1] = ("%d\t%d\t%s\n"):format(e, n, ("x"):rep(20)) end
			end
			assert(table.concat(chunks) == table.concat(lines), "lines are missing, or are not as they were printed")
		end)

		it("stops, with status 1, in the middle of a wait for its output: " .. kind .. " [R4f]", function()
			fill(1)
			local begun = helper.path("begun")
			local pipe = uv.pipe({}, {})
			local status
			local process = assert(uv.spawn(cli.program, {args = run([[
				local given = ...
				return function(event)
					io.open(given.set.begun, "w"):close()
					io.write(("x"):rep(500000), "\n")
				end]], "--set", "begun=" .. begun, table.unpack(words)), stdio = {nil, pipe.write, nil}},
				function(code) status = code end))
			uv.fs_close(pipe.write)
			helper.eventually(function() return io.open(begun) end)
			process:kill("sigterm")
			helper.eventually(function()
				uv.run("nowait")
				return status
			end)
			process:close()
			uv.fs_close(pipe.read)
			uv.run("nowait")
			assert.equal(1, status)
			assert.is_nil(checkpoint())
		end)

		it("comes before what programs print that the script starts, and at once when it says flush: " .. kind .. " [R4g]", function()
			fill(1)
			local result = cli.ok(run([[
				return function()
					print("one")
					os.execute("echo two")
					io.write("three\n")
					local pipe = io.popen("echo four; cat", "w")
					pipe:write("five\n")
					pipe:close()
					assert(io.stdout:setvbuf("no"))
					io.stdout:write("six\n")
					io.stdout:setvbuf("full")
					print("seven")
					assert(io.flush())
					assert(io.stdout:flush())
					assert(io.type(io.stdout) == "file" and io.output() == io.stdout)
					local closed, message = io.stdout:close()
					assert(not closed and message == "cannot close standard file")
					print("eight", 1, 2.5, nil)
					io.stderr:write("err\n")
				end]], "--until-idle", table.unpack(words)), {redirect = nil})
			assert.equal("one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\t1\t2.5\tnil\n", result.out)
		end)
	end

	it("keeps the lines of several scripts whole [R4h]", function()
		fill(300)
		local words = {"run", "--store", store, "--until-idle"}
		for n = 1, 4 do
			words[#words + 1] = write(("s%d.lua"):format(n), ([[
				return function(event)
					for n = 1, 5 do io.write("%d", " ", event.seq_num, " ") io.stdout:write(("x"):rep(n * 500), "\n") end
				end]]):format(n))
		end
		local seen = {0, 0, 0, 0}
		for line in cli.ok(words).out:gmatch("[^\n]*\n") do
			local script, tail = line:match("^([1-4]) %d+ (x+)\n$")
			assert(script and #tail % 500 == 0, line)
			seen[tonumber(script)] = seen[tonumber(script)] + 1
		end
		assert.same({1500, 1500, 1500, 1500}, seen)
	end)

	it("is written whole and once when a disk was full meanwhile [R4i]", function()
		fill(300)
		local disk = helper.path("disk")
		assert(require "lfs".mkdir(disk))
		local quoted = helper.quoted
		local script = write("print.lua", [[
			return {initial_backoff = 0.01, max_backoff = 0.01, handle = function(event)
				for n = 1, 10 do print("event", event.seq_num, "line", n, ("x"):rep(50)) end
			end}]])
		local err = helper.path("err")
		for _, words in pairs(KINDS) do
			for _, path in ipairs{store, store .. "-side", store .. "-lock", err} do os.remove(path) end
			fill(300)
			local output, ok = helper.shell(("unshare -rm -- sh -c %s sh %s"):format(quoted[[
				mount -t tmpfs -o size=64k none "$1" || exit 77
				disk=$1 err=$2
				shift 2
				"$@" >"$disk/out" 2>"$err" &
				until grep -qs 'No space left' "$err"; do kill -0 $! || break; done
				mount -o remount,size=4m "$disk"
				wait $!
				status=$?
				cat "$disk/out"
				exit $status]], table.concat({quoted(disk), quoted(err), quoted(cli.program), "run", "--store", quoted(store), "--until-idle",
				quoted(script), table.unpack(words)}, " ")))
			if output:find("unshare: ", 1, true) or output:find("mount: ", 1, true) then
				return helper.pending("no mount namespace of its own is allowed here")
			end
			assert(ok, helper.read_file(err))
			local lines = {}
			for e = 1, 300 do
				for n = 1, 10 do lines[#lines + 1] = ("event\t%d\tline\t%d\t%s\n"):format(e, n, ("x"):rep(50)) end
			end
			assert(output == table.concat(lines), "it is not whole, or not once")
			mentions(helper.read_file(err), "event failed: the output cannot be written: No space left on device")
		end
	end)

	for kind, words in pairs(KINDS) do
		it("makes the exit status 1 when the last checkpoint cannot be saved, however the program ends: " .. kind .. " [R4j]", function()
			local supervisor = words[1] == "--isolate" and "PPid" or "Pid"
			-- From its first event on no file can be written.
			local source = ([[
				local pid = io.open("/proc/self/status"):read("a"):match("\nSUPERVISOR:%s*(%d+)")
				return function(event, ctx)
					if event.seq_num == 1 then assert(os.execute("prlimit --fsize=0 --pid " .. pid)) end
					if event.seq_num < 3 then return end
					print("three")
					io.stdout:flush()
					BODY
				end]]):gsub("SUPERVISOR", supervisor)
			local function ends(body, shell, ...)
				for _, path in ipairs{store, store .. "-side", store .. "-lock"} do os.remove(path) end
				fill(3)
				local script = write("print.lua", (source:gsub("BODY", body)))
				local line = {helper.quoted(cli.program), "run", "--store", helper.quoted(store), helper.quoted(script), ...}
				for _, word in ipairs(words) do line[#line + 1] = word end
				local output = helper.shell(("bash -c %s"):format(helper.quoted("trap '' XFSZ; " .. shell:format(table.concat(line, " ")))))
				mentions(output, "status 1", "cannot save its checkpoint")
				assert.is_nil(checkpoint())
			end
			ends("", "%s; echo status $?", "--until-idle")
			ends("ctx.watcher:stop()", "%s; echo status $?")
			ends("", "coproc %s 2>&1; pid=$COPROC_PID; exec 5<&${COPROC[0]}; read -u 5 line; kill -TERM $pid; cat <&5; wait $pid; echo status $?")
			ends("while print(('x'):rep(1000)) ~= 0 do end", "%s | head -1; echo status ${PIPESTATUS[0]}")
		end)
	end

	for kind, words in pairs(KINDS) do
		it("does not end the program where standard error, or a file of the script, is at the limit on sizes: " .. kind .. " [R4l]", function()
			fill(3)
			local log, own = helper.path("log"), helper.path("own")
			local script = write("print.lua", ([[
				return {retry_strategy = "skip", max_retries = 2, initial_backoff = 0.001, handle = function(event)
					local file <close> = assert(io.open(%q, "w"))
					file:setvbuf "no"
					local ok, message = file:write(("x"):rep(5000000))
					print(event.seq_num, ok, message)
					error(("long "):rep(100))
				end}]]):format(own))
			local line = {helper.quoted(cli.program), "run", "--store", helper.quoted(store), helper.quoted(script), "--until-idle",
				table.unpack(words)}
			assert(helper.write_file("log", ("x"):rep(4 * 1024 * 1024 - 10)))
			local output = helper.shell(("ulimit -f 8192; %s 2>>%s; echo status $?"):format(table.concat(line, " "), helper.quoted(log)))
			mentions(output, "1\tnil\t", "File too large", "3\tnil\t", "status 0")
			assert.equal(4 * 1024 * 1024, assert(require("lfs").attributes(log, "size")))
		end)
	end

	it("says in stats().stop_error that a store in Lua did not take the last checkpoint [R4k]", function()
		local testing = require "vigia.testing"
		local faulty = testing.mock_store(helper.memory())
		helper.fill(faulty, 2)
		local registry = helper.registry(faulty)
		local watcher = assert(registry:watch("a", function() end))
		helper.drain(registry, watcher)
		faulty:fail_always("store_checkpoint", "no room")
		assert.is_true(watcher:stop())
		mentions(watcher:stats().stop_error, "no room")
		faulty:succeed()
		assert(watcher:start())
		assert.is_nil(watcher:stats().stop_error)
		helper.drain(registry, watcher)
		assert.is_true(watcher:stop())
		assert.is_nil(watcher:stats().stop_error)
	end)
end)
