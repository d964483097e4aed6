-- watchers.lua - `vigia watchers`: every watcher of a store, in whatever process: whether it runs, how far behind it is, what blocks it.

local core = require("vigia.core")
local util = require("vigia.cli.util")

local M = {}

M.summary = "Show what every watcher does, in all processes."
M.description = [[
Shows each watcher that runs in any process, or has a checkpoint or hold: its state, the pid of its
process, in a store on PostgreSQL the machine of that (HOST), the last event it has finished
(POSITION), the number of events stored after that (LAG), the age of the first of them (BEHIND), the
events handled in a second (RATE), the event that it retries (BLOCKED), and its last error. "died":
its process ended before it stopped. "paused": it waits for `vigia resume`. "asked": a request of
`vigia seek`, pause, resume or retry is not carried out yet.
The watchers publish this in memory beside the store. Reading it does not disturb them.
--follow refreshes the table every second, until q or Ctrl-C. The watcher with the largest lag is
first.
On a terminal, bars show how LAG and RATE changed. Elsewhere the table is printed each time.]]

local INTERVAL <const> = 1
local HISTORY <const> = 20 -- samples in a sparkline
local LEAST <const> = 5 -- where no more would fit, there is none
local ERROR_WIDTH <const> = 60 -- of the table on no terminal

function M.define(command)
	util.define_store(command)
	command:flag("--json"):description("Print one JSON object a line instead of a table.")
	command:flag("--follow"):description("Refresh the table until q or Ctrl-C, largest lag first.")
	command:option("--interval"):argname("SECONDS"):convert(util.seconds("--interval")):overwrite(false)
		:description(("Time between two refreshes, with --follow (default: %d)."):format(INTERVAL))
end

---- cells ----

local UNITS <const> = {{86400, "d"}, {3600, "h"}, {60, "min"}}

local function duration(seconds)
	for _, unit in ipairs(UNITS) do
		if seconds >= 2 * unit[1] then
			return ("%.0f %s"):format(seconds / unit[1], unit[2])
		end
	end
	return (seconds >= 10 and "%.0f s" or seconds >= 0.001 and "%.3f s" or "0 s"):format(seconds)
end

local function rate_text(rate)
	return rate == nil and "-" or (rate >= 10 and "%.0f/s" or "%.1f/s"):format(rate)
end

local function state_text(watcher)
	local words = {watcher.ephemeral and "ephemeral" or nil}
	words[#words + 1] = watcher.paused and "paused" or nil
	words[#words + 1] = watcher.request and "asked: " .. watcher.request or nil
	return #words > 0 and ("%s (%s)"):format(watcher.state, table.concat(words, ", ")) or watcher.state
end

local function blocked_text(watcher, now)
	if not watcher.blocked_on then
		return "-"
	end
	local text = ("%d, failed %d x"):format(watcher.blocked_on, watcher.attempts)
	if watcher.state == "running" and watcher.next_attempt then
		return text .. ", next in " .. duration(math.max(0, (watcher.next_attempt - now) / 1e9))
	end
	return text
end

local function error_text(watcher)
	return watcher.last_error and util.printable((watcher.last_error:gsub("%s+", " "))) or ""
end

-- The first `width` characters. Each is taken for one column.
local function cut(text, width)
	if (utf8.len(text) or #text) <= width then
		return text
	end
	local at = utf8.offset(text, math.max(width, 1))
	return at and text:sub(1, at - 1) .. "…" or text:sub(1, width)
end

local BARS <const> = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"}

-- The last `count` samples as bars, the highest of all at full height.
local function sparkline(samples, count)
	local most, bars = 0, {}
	for _, value in ipairs(samples) do most = math.max(most, value) end
	for i = math.max(1, #samples - count + 1), #samples do
		local value = samples[i]
		bars[#bars + 1] = BARS[most > 0 and 1 + math.floor(value / most * (#BARS - 1) + 0.5) or 1]
	end
	return table.concat(bars)
end

---- tables ----

local RIGHT <const> = {PID = true, POSITION = true, LAG = true, BEHIND = true, RATE = true}

-- Rows of cells as lines, with columns of equal width, but for the last one.
local function align(rows)
	local widths, lines = {}, {}
	for _, row in ipairs(rows) do
		for i, cell in ipairs(row) do widths[i] = math.max(widths[i] or 0, utf8.len(cell) or #cell) end
	end
	for r, row in ipairs(rows) do
		local cells = {}
		for i, cell in ipairs(row) do
			local pad = i < #row and (" "):rep(widths[i] - (utf8.len(cell) or #cell)) or ""
			cells[i] = RIGHT[rows[1][i]] and pad .. cell or cell .. pad
		end
		lines[r] = table.concat(cells, "  "):gsub("%s+$", "")
	end
	return lines
end

-- Does any process run on a machine that is named?
local function has_hosts(watchers)
	for _, w in ipairs(watchers) do
		if w.host then return true end
	end
	return false
end

-- The lines of the table. histories: of each watcher, or nil; the last `shown` samples of them.
local function table_of(watchers, now, histories, shown)
	local rows = {{"WATCHER", "STATE", "PID", "POSITION", "LAG", "BEHIND", "RATE", "BLOCKED", "LAST ERROR"}}
	for _, w in ipairs(watchers) do
		rows[#rows + 1] = {
			util.printable(w.watcher), state_text(w), w.pid and tostring(w.pid) or "-", tostring(w.position), tostring(w.lag),
			w.lag > 0 and duration(w.lag_seconds) or "-", rate_text(w.rate), blocked_text(w, now), error_text(w),
		}
	end
	if histories and shown > 0 then
		for i, row in ipairs(rows) do
			local history = histories[watchers[i - 1]]
			table.insert(row, 8, history and sparkline(history.rate, shown) or "")
			table.insert(row, 6, history and sparkline(history.lag, shown) or "")
		end
	end
	if has_hosts(watchers) then
		for i, row in ipairs(rows) do
			table.insert(row, 4, i == 1 and "HOST" or util.printable(watchers[i - 1].host or "-"))
		end
	end
	return align(rows)
end

local JSON <const> = {"watcher", "state", "pid", "host", "ephemeral", "paused", "request", "checkpoint", "hold", "position", "lag",
	"lag_seconds",
	"rate", "blocked_on", "attempts", "next_attempt", "last_error", "last_error_time", "started", "processed", "failed", "retried", "skipped",
	"dead_lettered", "missed", "fetch_errors"}

local function write_json(watchers)
	for _, w in ipairs(watchers) do
		local fields = {}
		for _, name in ipairs(JSON) do
			if w[name] ~= nil then fields[#fields + 1] = {name, w[name]} end
		end
		util.write(util.json_object(fields), "\n")
	end
end

local function unshown_text(unshown)
	return ("%s more in an unknown state: the memory beside the store has no room for them"):format(
		util.count(unshown, "watcher"))
end

local function look(store)
	local watchers, unshown = store:watchers()
	if not watchers then
		util.fail("%s", tostring(unshown))
	end
	return watchers, unshown
end

local function write_table(watchers, unshown)
	if #watchers == 0 then
		util.say("no watcher runs or has a checkpoint")
		return
	end
	for _, w in ipairs(watchers) do
		w.last_error = w.last_error and cut(error_text(w), ERROR_WIDTH)
	end
	util.write(table.concat(table_of(watchers, core.wall()), "\n"), "\n")
	if unshown > 0 then
		util.say(unshown_text(unshown))
	end
end

---- following ----

local function by_lag(a, b)
	if a.lag ~= b.lag then return a.lag > b.lag end
	if a.watcher ~= b.watcher then return a.watcher < b.watcher end
	if a.pid ~= b.pid then return (a.pid or 0) < (b.pid or 0) end
	return (a.host or "") < (b.host or "")
end

local function add_sample(samples, value)
	samples[#samples + 1] = value
	if #samples > HISTORY then table.remove(samples, 1) end
end

-- Adds a sample for each watcher to what is kept by id and pid; returns the histories by watcher, and what is kept of those that are there.
local function take_samples(watchers, kept)
	local histories, still = {}, {}
	for _, w in ipairs(watchers) do
		local key = w.watcher .. "\0" .. (w.ephemeral and w.pid .. "\0" .. (w.host or "") or "")
		local history = still[key] or kept[key] or {lag = {}, rate = {}}
		add_sample(history.lag, w.lag)
		add_sample(history.rate, w.rate or 0)
		histories[w], still[key] = history, history
	end
	return histories, still
end

local HOME <const>, CLEAR_LINE <const>, CLEAR_BELOW <const> = "\27[H", "\27[K", "\27[J"
local ENTER <const>, LEAVE <const> = "\27[?1049h\27[?25l", "\27[?25h\27[?1049l" -- the other screen, without a cursor

-- How many samples have room beside the table, with most of each error.
local function room_for_samples(lines, columns)
	local widest = 0
	for _, line in ipairs(lines) do widest = math.max(widest, utf8.len(line) or #line) end
	local samples = (columns - widest) // 2 - 2 -- two columns of them, each with two spaces
	return samples >= LEAST and math.min(samples, HISTORY) or 0
end

local function paint(watchers, unshown, histories)
	local columns, rows = core.terminal_size()
	columns, rows = columns or 80, rows or 24
	local now = core.wall()
	local lines = table_of(watchers, now)
	local samples = room_for_samples(lines, columns)
	if samples > 0 then lines = table_of(watchers, now, histories, samples) end
	if #watchers == 0 then lines = {"no watcher runs or has a checkpoint"} end
	local foot = os.date("%H:%M:%S") .. "  q: quit"
	if unshown > 0 then foot = foot .. "  " .. unshown_text(unshown) end
	if #lines > rows - 1 then
		foot = ("%s  %s below"):format(foot, util.count(#lines - rows + 1, "watcher"))
		lines = table.move(lines, 1, rows - 1, 1, {})
	end
	lines[#lines + 1] = foot
	for i, line in ipairs(lines) do
		lines[i] = cut(line, columns) .. CLEAR_LINE
	end
	util.write(HOME, table.concat(lines, "\n"), CLEAR_BELOW)
	io.stdout:flush()
end

local function follow_on_terminal(store, interval)
	local kept, histories, watchers, unshown = {}, nil, nil, nil
	local due = core.monotonic()
	while true do
		if core.monotonic() >= due then
			watchers, unshown = look(store)
			table.sort(watchers, by_lag)
			histories, kept = take_samples(watchers, kept)
			due = core.monotonic() + interval
		end
		paint(watchers, unshown, histories)
		local what = core.terminal_wait(math.max(0, due - core.monotonic()))
		if what == "interrupted" or what == "q" or what == "Q" then
			return
		end
	end
end

-- However it ends, the terminal is as it was.
local function on_terminal(store, interval)
	core.terminal_open()
	util.write(ENTER)
	local ok, problem = xpcall(follow_on_terminal, function(value)
		return util.is_exit(value) and value or debug.traceback(tostring(value), 2)
	end, store, interval)
	io.stdout:write(LEAVE)
	io.stdout:flush()
	core.terminal_close()
	if not ok then
		error(problem, 0)
	end
end

local function follow_without(store, interval, json)
	repeat
		local watchers, unshown = look(store)
		table.sort(watchers, by_lag)
		if json then
			write_json(watchers)
		else
			write_table(watchers, unshown)
			util.write("\n")
		end
		io.stdout:flush()
	until core.terminal_wait(interval) == "interrupted" or core.output_gone()
end

function M.run(args)
	if args.interval and not args.follow then
		util.usage("--interval needs --follow")
	elseif args.interval and (args.interval < 0.05 or args.interval > 86400) then
		util.usage("--interval must be a number of seconds from 0.05 to 86400")
	end
	local store <close> = util.open_store(args, {readonly = true, create = false})
	local interval = args.interval or INTERVAL
	if not args.follow then
		local watchers, unshown = look(store)
		if args.json then
			write_json(watchers)
		else
			write_table(watchers, unshown)
		end
	elseif core.isatty(1) and not args.json then
		on_terminal(store, interval)
	else
		follow_without(store, interval, args.json)
	end
end

return M
