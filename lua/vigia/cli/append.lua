-- append.lua - `vigia append`: NDJSON from stdin into the store, in order.

local util = require("vigia.cli.util")

local M = {}

M.summary = "Store the events that come in on standard input."
M.description = [[
Reads NDJSON from standard input, one event a line, and stores it in order:
    {"operation":"CREATE","object_type":"File","object":{"path":"README.md"}}
The store is made if there is none. What waits on standard input is stored together, with one
sync. Prints how many events were stored and the number of the last one.
A bad line ends it with exit status 1, the number of the line and what is wrong; every line
before it is stored. With nothing on standard input it says so, and that is no failure.]]

local STDIN, STDERR = 0, 2

function M.define(command)
	util.define_store(command)
end

-- A line that is written over itself.
local function progress_line()
	return function(count, last_seq)
		io.stderr:write(("\r%d events appended, last seq_num %d\27[K"):format(count, last_seq))
	end
end

local function stored_so_far(count, last_seq)
	if count == 0 then
		return "nothing was stored"
	end
	return ("%s before it %s stored, last seq_num %d"):format(util.count(count, "event"), count == 1 and "is" or "are", last_seq)
end

function M.run(args)
	local core = require("vigia.core")
	local store <close> = util.open_store(args, {})
	if core.isatty(STDIN) then
		util.say("type events, one JSON object a line; end with Ctrl-D. `vigia append --help` shows their form")
	end
	local on_terminal = core.isatty(STDERR)
	local count, last_seq, err = core.ndjson_append(store, STDIN, on_terminal and progress_line() or nil)
	if on_terminal then
		io.stderr:write("\r\27[K")
	end
	if err then
		util.fail("%s; %s", tostring(err), stored_so_far(count, last_seq))
	end
	if count == 0 then
		util.say("nothing to append: standard input was empty")
		return util.OK
	end
	util.write(("%s appended, last seq_num %d\n"):format(util.count(count, "event"), last_seq))
	return util.OK
end

return M
