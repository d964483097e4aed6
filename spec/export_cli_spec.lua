-- export_cli_spec.lua - `vigia export` and `vigia import`, interrupted and killed; the line that long commands show on a terminal.

local assert = require "luassert"
local cli = require "spec.support.cli"
local helper = require "spec.helper"
local progress_line = require "vigia.cli.progress_line"

local mentions, quoted = helper.mentions, helper.quoted

-- A store of `count` events and one of each small thing, as a file.
local function fill(path, count)
	local store = helper.open(path, {durability = "none"})
	helper.fill(store, count)
	assert(store:put("b", 1, {1}))
	assert(store:store_checkpoint("w", 3))
	assert(store:schedule({after = 86400}, "LATER", "T", 1))
	store:close()
	return path
end

describe("vigia export and vigia import", function()
	after_each(cli.clean)

	it("move a store through a file or a pipe, into a store that is made with its settings [O5]", function()
		local from = fill(helper.path("from"), 5000)
		cli.ok{"configure", "--store", from, "max_events=90000"}
		local file = helper.path("file")
		mentions(cli.ok{"export", "--store", from, file}.out, "exported 5000 events, ", " bytes\n")
		assert.equal("imported 5000 events, last seq_num 5000\n", cli.ok{"import", "--store", helper.path("to"), file}.out)
		mentions(cli.ok{"configure", "--store", helper.path("to")}.out, "90000")
		helper.shell(("%s export --store %s - | %s import --store %s -"):format(quoted(cli.program), quoted(helper.path("to")),
			quoted(cli.program), quoted(helper.path("piped"))))
		local again = cli.ok({"export", "--store", helper.path("piped"), "-"}, {redirect = ">" .. quoted(helper.path("again"))})
		mentions(again.err, "vigia: exported 5000 events")
		assert.equal(cli.read(file), cli.read(helper.path("again")))
	end)

	it("say what is wrong with a file, a store and standard input or output [O5]", function()
		local from, file = fill(helper.path("from"), 10), helper.path("file")
		mentions(cli.fails(1, {"export", "--store", helper.path("none"), file}), "no such store")
		assert.is_nil(io.open(file))
		cli.ok{"export", "--store", from, file}
		mentions(cli.fails(1, {"export", "--store", from, file}), "finished export", "was not changed")
		mentions(cli.fails(1, {"export", "--store", from, helper.path("no/folder")}), "cannot open", "No such file")
		mentions(cli.fails(1, {"export", "--store", from, from}), "belongs to the store")
		mentions(cli.fails(1, {"import", "--store", from, file}), "the store is not empty, it has events")
		mentions(cli.fails(1, {"import", "--store", helper.path("to"), helper.path("none")}), "cannot open", "No such file")
		local text = cli.write("text", "a line\n")
		mentions(cli.fails(1, {"import", "--store", helper.path("to"), text}), "record 1 at byte 0", "not an export")
		mentions(cli.fails(1, {"import", "--store", helper.path("to"), "-"}), "record 1 at byte 0", "empty")
		assert.is_nil(io.open(helper.path("to")), "a store was made")
		local whole = cli.read(file)
		local damaged = cli.write("damaged", whole:sub(1, -40) .. "x" .. whole:sub(-38))
		mentions(cli.fails(1, {"import", "--store", helper.path("to"), damaged}), "record ", " at byte ")
		mentions(cli.fails(1, {"append", "--store", helper.path("to")}, {stdin = '{"operation":"A","object_type":"B","object":1}\n'}),
			"an import into this store is not finished")
		cli.ok{"import", "--store", helper.path("to"), "--anew", file}
		if not os.execute("command -v script >/dev/null") then return helper.pending("no program `script`") end
		local screen = helper.shell(("script -qec %s /dev/null </dev/null"):format(
			quoted(quoted(cli.program) .. " export --store " .. quoted(from) .. " -")))
		mentions(screen, "an export is binary")
	end)

	it("and append, events and run fail at once with the end of a pipe that is not theirs [O5]", function()
		local from, to, fifo = fill(helper.path("from"), 10), helper.path("to"), helper.path("fifo")
		local script = cli.write("script.lua", 'return function() print "a line" end\n')
		assert(os.execute("mkfifo " .. quoted(fifo)))
		fifo = quoted(fifo)
		local to_reader = {redirect = ("3<>%s 4<%s >&4"):format(fifo, fifo)}
		local from_writer = {redirect = ("3<>%s 4>%s <&4 >/dev/null"):format(fifo, fifo)}
		mentions(cli.fails(1, {"export", "--store", from, "-"}, to_reader), "cannot write the export (Bad file descriptor)")
		mentions(cli.fails(1, {"import", "--store", to, "-"}, from_writer), "cannot read the export (Bad file descriptor)")
		mentions(cli.fails(1, {"append", "--store", from}, from_writer), "cannot read the input (Bad file descriptor)")
		mentions(cli.fails(1, {"events", "--store", from}, to_reader), "cannot write the output (Bad file descriptor)")
		mentions(cli.run({"run", "--store", from, script, "--until-idle", "--max-wait", "0"}, to_reader).err, "Bad file descriptor")
	end)

	-- Feeds the first part of the export to an import until `events` of it are stored, and ends it by the signal.
	local function interrupt(signal, file, to, events)
		local fifo, rest = helper.path("fifo"), helper.path("part")
		assert(os.execute("mkfifo " .. quoted(fifo)))
		local whole = cli.read(file)
		cli.write("part", whole:sub(1, #whole * 2 // 3))
		local feeder = assert(io.popen(("cat %s - >%s"):format(quoted(rest), quoted(fifo)), "w"))
		local process = cli.start({"import", "--store", to, "-"}, {stdin_path = fifo})
		helper.eventually(function()
			if not io.open(to) then return false end
			local result = cli.run{"stats", "--store", to, "--json"}
			return (tonumber(result.out:match('"latest_event_num":(%d+)')) or 0) >= events
		end, "nothing was stored")
		process:signal(signal)
		local result = process:wait()
		feeder:close()
		os.remove(fifo)
		return result
	end

	for _, signal in ipairs{"KILL", "INT", "TERM"} do
		it("go on after SIG" .. signal .. " in the middle of an import [O5]", function()
			local from, to, file = fill(helper.path("from"), 15000), helper.path("to"), helper.path("file")
			cli.ok{"export", "--store", from, file}
			local result = interrupt(signal, file, to, 4000)
			if signal == "KILL" then
				assert.equal("signal 9", result.status)
			else
				assert.equal(1, result.status, result.err)
				mentions(result.err, "interrupted")
			end
			mentions(cli.fails(1, {"export", "--store", to, helper.path("half")}), "not finished")
			assert.equal("imported 15000 events, last seq_num 15000\n", cli.ok{"import", "--store", to, file}.out)
			cli.ok{"export", "--store", to, helper.path("again")}
			assert.equal(cli.read(file), cli.read(helper.path("again")))
			mentions(cli.ok{"verify", "--store", to}.out, "no damage")
		end)
	end

	it("end an export on SIGINT though nobody reads it, and when its reader is gone [O5]", function()
		local from, fifo = fill(helper.path("from"), 15000), helper.path("fifo")
		assert(os.execute("mkfifo " .. quoted(fifo)))
		local reader = assert(io.popen(("exec 3<>%s; echo; read line"):format(quoted(fifo)), "w")) -- holds it open, and reads nothing
		local process = cli.start({"export", "--store", from, fifo})
		local stat = "/proc/" .. process.pid .. "/wchan"
		helper.eventually(function() return process:gone() or helper.read_file(stat):find("poll") end, "it does not wait")
		process:signal("INT")
		local result = process:wait()
		assert.equal(1, result.status)
		mentions(result.err, "interrupted")
		reader:close()
		local out = helper.shell(("%s export --store %s - 2>&1 >/dev/full || echo failed"):format(quoted(cli.program), quoted(from)))
		mentions(out, "cannot write the export", "failed")
		out = helper.shell(("bash -c %s"):format(quoted(("%s export --store %s - | head -c 99 >/dev/null; echo ${PIPESTATUS[0]}"):format(
			quoted(cli.program), quoted(from)))))
		assert(out == "1\n" or out == "141\n" or out:find("Broken pipe"), out)
	end)
end)

describe("the line that shows how far a command has come", function()
	after_each(cli.clean)

	-- A line with a clock of its own, and the list of its texts.
	local function line_of(verb, unit)
		local texts, now = {}, {0}
		local line = progress_line.new(verb, unit, function() return now[1] end, function(text) texts[#texts + 1] = text end)
		return line, texts, now
	end

	it("tells of how many, how fast, and how long it takes, five times a second at most [O5]", function()
		local line, texts, now = line_of("exported", "events")
		for eighth = 0, 16 do
			now[1] = eighth / 8
			line:show(eighth * 100, 10000)
		end
		assert.equal(9, #texts)
		assert.equal("\r[..........]   0 %  exported 0 of 10000 events\27[K", texts[1])
		assert.equal("\r[..........]   2 %  exported 200 of 10000 events\27[K", texts[2])
		assert.equal("\r[#.........]  16 %  exported 1600 of 10000 events, 800/s, 11 s left\27[K", texts[9])
		line:clear()
		assert.equal("\r\27[K", texts[10])
	end)

	it("has the rate of the last seconds, and long times in hours and minutes [O5]", function()
		local line, texts, now = line_of("imported", "events")
		for second = 0, 60 do
			now[1] = second
			line:show(second <= 30 and second * 1000 or 30000 + (second - 30) * 10, 100000)
		end
		assert.equal("\r[###.......]  30 %  imported 30300 of 100000 events, 10/s, 1 h 56 min left\27[K", texts[#texts])
		line, texts, now = line_of("copied", "bytes")
		line:show(0, 3 << 30)
		now[1] = 1
		line:show(5 << 20, 3 << 30)
		assert.equal("\r[..........]   0 %  copied 5.0 MiB of 3.0 GiB, 5.0 MiB/s, 10 min 14 s left\27[K", texts[2])
		line, texts, now = line_of("appended", "events")
		line:show(4096)
		now[1] = 2
		line:show(8192)
		assert.equal("\rappended 8192 events, 2048/s\27[K", texts[2])
	end)

	it("is shown by each command that takes long, on a terminal, and only there [O5]", function()
		local store, file = fill(helper.path("from"), 9000), helper.path("file")
		local lines = cli.write("lines", ('{"operation":"A","object_type":"B","object":1}\n'):rep(5000))
		cli.ok{"configure", "--store", store, "max_events=8000", "retention_passes_checkpoints=true", "gc_max_records_per_run=100"}
		local commands = {
			{"append", {"--store", store, "<", lines}, "appended 4096 events"},
			{"gc", {"--store", store}, "% +removed 100 of %d+ events"},
			{"verify", {"--store", store}, "% +checked 0 of %d+ events"},
			{"types", {"--store", store}, "% +counted %d+ of %d+ events"},
			{"backup", {"--store", store, helper.path("copy")}, "% +copied .- of .- MiB"},
			{"backup", {"--compact", "--store", store, helper.path("compact")}, "% +copied .- of .- MiB"},
			{"export", {"--store", store, file}, "% +exported %d+ of 8000 events"},
			{"import", {"--store", helper.path("to"), file}, "% +imported %d+ of 8000 events"},
		}
		if not os.execute("command -v script >/dev/null") then return helper.pending("no program `script`") end
		for _, command in ipairs(commands) do
			local words = quoted(cli.program) .. " " .. command[1]
			for _, word in ipairs(command[2]) do words = words .. " " .. (word == "<" and word or quoted(word)) end
			local screen = helper.shell("script -qec " .. quoted(words) .. " /dev/null </dev/null")
			local at = screen:find("\r[^\n]*" .. command[3] .. "[^\n]*\27%[K")
			assert(at, command[1] .. ": " .. screen)
			assert(screen:find("\r\27%[K", at), command[1] .. " leaves its line: " .. screen)
		end
		assert.equal("", cli.ok{"verify", "--store", store}.err)
		assert.equal("", cli.ok{"export", "--store", store, helper.path("quiet")}.err)
		assert.equal("", cli.ok{"backup", "--store", store, helper.path("quiet-copy")}.err)
	end)
end)
