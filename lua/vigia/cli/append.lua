-- append.lua - `vigia append`: NDJSON from stdin into the store, in order.

local progress_line = require("vigia.cli.progress_line")
local util = require("vigia.cli.util")

local M = {}

M.summary = "Store events from standard input."
M.description = [[
Reads NDJSON from standard input, one event a line, and stores the events in order:
    {"operation":"CREATE","object_type":"File","object":{"path":"README.md"}}
The store assigns number and time: "seq_num" and "timestamp", which `vigia events` writes, are
ignored. So are blank lines. Values that JSON lacks are written {"$float":"nan"} ("inf", "-inf"),
{"$bytes":"BASE64"}, {"$map":[[KEY,VALUE],...]}.
The first event creates the store if it does not exist. Lines that wait on standard input are stored
together, with one sync. At the end it prints how many events it stored, and the last number.
A bad line ends it with exit status 1 and a message that names the line; all lines before it are
stored. Empty standard input is reported, but is no failure.]]

local STDIN <const> = 0

function M.define(command)
	util.define_store(command)
end

local function show_progress(count, last_seq)
	progress_line.show("%s appended, last seq_num %d", util.count(count, "event"), last_seq)
end

local function stored_so_far(count, last_seq)
	if count == 0 then
		return "nothing was stored"
	end
	local events = count == 1 and "event before it is" or ("%d events before it are"):format(count)
	return ("the %s stored, last seq_num %d"):format(events, last_seq)
end

-- The store, and false if there is none yet. It is made only for an event: nothing on standard input leaves nothing behind.
local function open(args)
	local core = require("vigia.core")
	local store, err = require("vigia").open(util.store_path(args), {create = false, collect = false})
	if not store and err.code == "store_not_found" then
		local waits, input_err = core.has_input(STDIN)
		if input_err and input_err.code ~= "interrupted" then
			util.fail("%s", tostring(input_err))
		end
		return waits and util.open_store(args, {})
	end
	return store or util.fail("%s", tostring(err))
end

function M.run(args)
	local core = require("vigia.core")
	if core.isatty(STDIN) then
		util.say("type events, one JSON object a line; end with Ctrl-D. `vigia append --help` shows their form")
	end
	local store <close> = open(args)
	local count, last_seq, err = 0, 0, nil
	if store then
		local on_terminal = progress_line.is_shown()
		count, last_seq, err = core.ndjson_append(store, STDIN, on_terminal and show_progress or nil)
		if on_terminal then
			progress_line.clear()
		end
	end
	if err then
		util.fail("%s; %s", tostring(err), stored_so_far(count, last_seq))
	elseif count > 0 then
		util.write(("%s appended, last seq_num %d\n"):format(util.count(count, "event"), last_seq))
	end
	if core.interrupted() then
		util.fail("interrupted before the end of standard input")
	elseif count == 0 then
		util.say("nothing to append: standard input was empty")
	end
end

return M
