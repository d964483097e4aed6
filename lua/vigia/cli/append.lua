-- append.lua - `vigia append`: NDJSON from stdin into the store, in order.

local progress_line = require("vigia.cli.progress_line")
local util = require("vigia.cli.util")

local M = {}

M.summary = "Store events from standard input."
M.description = [[
Reads NDJSON from standard input, one event a line, and stores the events in order:
    {"operation":"CREATE","object_type":"File","object":{"path":"README.md"}}
The store assigns number and time. "seq_num" and "timestamp", which `vigia events` writes, are
ignored. Blank lines are skipped. Write values that JSON lacks as {"$float":"nan"} ("inf", "-inf"),
{"$bytes":"BASE64"}, {"$map":[[KEY,VALUE],...]}.
The first event creates the store if it does not exist. Lines that wait on standard input are stored
together, with one sync. At the end the command prints the number of stored events and the last
seq_num.
A bad line ends the command with exit status 1. The message names the line. All lines before it are
stored. --skip-bad continues after a bad line, and reports it. --skip-bad=FILE appends it to FILE as
JSON, {"line":3,"error":"...","text":"..."}. The exit status is then 1 at the end.
--key stores each line once, however often it is sent. The value at PATH, a string or an integer, is
the event's key (as of store_event). The summary counts a line with a stored key as known.
--lines reads text. Each line becomes the object of an event of type --type.
Empty standard input is reported. It is not a failure.]]

local STDIN <const> = 0

function M.define(command)
	util.define_store(command)
	command:option("--skip-bad"):argname("FILE"):args("?"):overwrite(false)
		:description("Set bad lines aside and continue with the next line.")
	command:flag("--lines"):description("Read lines of text instead of JSON. Needs --type.")
	command:option("--type"):argname("TYPE"):overwrite(false):description("Object type of the events, with --lines.")
	command:option("--operation"):argname("OP"):overwrite(false):description("Operation of the events, with --lines (default: CREATE).")
	command:option("--key"):argname("PATH"):overwrite(false)
		:description("Store each line once: the value at this place, such as object.id, is its key.")
	command:option("--big-integers"):argname("FORM"):overwrite(false):choices({"float", "string"})
		:description("Store integers beyond 64 bits as float (the nearest) or string (the digits).")
end

-- What the options say of lines, for core.ndjson_append.
local function form_of(args)
	if args.lines and (args.type or "") == "" then
		util.usage("--lines needs --type TYPE")
	elseif not args.lines and (args.type or args.operation) then
		util.usage("%s needs --lines: a line of JSON has its own", args.type and "--type" or "--operation")
	elseif args.lines and args.big_integers then
		util.usage("--big-integers does not go with --lines: a line of text has no numbers")
	end
	if args.key then
		local ok, problem = require("vigia.core").where_parse(args.key .. "=0")
		if not ok then
			util.usage("--key: %s", tostring(problem))
		end
	end
	return {type = args.type, operation = args.lines and (args.operation or "CREATE") or nil, key = args.key,
		big_integers = args.big_integers}
end

-- What takes bad lines: it has their number in `count`, `problem` if they cannot be written, and `on_bad` for core.ndjson_append.
local function bad_lines(path)
	local bad = {count = 0, path = path}
	local file, why
	if path then
		file, why = io.open(path, "a")
		if not file then
			util.fail("cannot write bad lines: %s", why)
		end
	end
	function bad.on_bad(line, reason, text)
		bad.count = bad.count + 1
		if not file then
			util.say(("line %d: %s"):format(line, reason))
			return false
		end
		local written, problem = file:write(util.json_object({{"line", line}, {"error", reason}, {"text", text}}), "\n")
		if written then
			written, problem = file:flush()
		end
		bad.problem = not written and ("cannot write bad lines: line %d: %s"):format(line, problem) or nil
		return bad.problem ~= nil
	end
	function bad.close()
		local closed, problem = true, nil
		if file then
			closed, problem = file:close()
		end
		bad.problem = bad.problem or not closed and "cannot write bad lines: " .. tostring(problem) or nil
	end
	return bad
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

-- What came of it, on stdout; on stderr what went wrong. Returns the exit status.
local function report(count, last_seq, known, bad)
	local more = known > 0 and (", %d known"):format(known) or ""
	if count > 0 then
		util.write(("%s appended%s, last seq_num %d\n"):format(util.count(count, "event"), more, last_seq))
	elseif known > 0 then
		util.write(("0 events appended%s\n"):format(more))
	end
	if bad.count > 0 then
		util.say(("%s skipped%s"):format(util.count(bad.count, "bad line"), bad.path and ", see " .. bad.path or ""))
		return util.FAILURE
	end
	return util.OK
end

function M.run(args)
	local core = require("vigia.core")
	local form = form_of(args)
	if core.isatty(STDIN) then
		util.say(args.lines and "type lines of text; end with Ctrl-D"
			or "type events, one JSON object a line; end with Ctrl-D. `vigia append --help` shows their form")
	end
	local store <close> = open(args)
	local bad = bad_lines(args.skip_bad and args.skip_bad[1])
	form.on_bad = args.skip_bad and bad.on_bad or nil
	local count, last_seq, err, known = 0, 0, nil, 0
	if store then
		local line = progress_line.new("appended", "events")
		local function show(done, _, bytes, of) line:show(done, nil, of > 0 and math.min(bytes / of, 1) or nil) end
		count, last_seq, err, known = core.ndjson_append(store, STDIN, line.shows and show or nil, form)
		line:clear()
	end
	bad.close()
	local problem = err and tostring(err) or bad.problem
	if problem then
		util.fail("%s; %s", problem, stored_so_far(count, last_seq))
	end
	local status = report(count, last_seq, known, bad)
	if core.interrupted() then
		util.fail("interrupted before the end of standard input")
	elseif count + known + bad.count == 0 then
		util.say("nothing to append: standard input was empty")
	end
	return status
end

return M
