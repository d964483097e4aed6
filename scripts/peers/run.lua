-- run.lua - runs the measurements of scripts/bench in rounds, each in turn, and prints each row as a ratio of medians beside its target.
--
-- Usage: lua5.4 run.lua OPTION=VALUE...; scripts/bench gives them: folder, build, root, rounds, scale, peers, long, json, plot, groups,
-- postgresql (the folder of the servers), command.
local here = arg[0]:match("^(.*)/[^/]*$")
package.path = here .. "/?.lua;" .. package.path
local rows_of = require "rows"
local pictures = require "pictures"

local options = {}
for _, word in ipairs(arg) do
	local name, value = word:match("^(%l+)=(.*)$")
	options[name] = value
end
options.rounds = tonumber(options.rounds)
options.scale = tonumber(options.scale)

local function quoted(word)
	return "'" .. tostring(word):gsub("'", "'\\''") .. "'"
end

local function lines_of(command)
	local pipe <close> = assert(io.popen(command))
	local lines = {}
	for line in pipe:lines() do lines[#lines + 1] = line end
	local ok, how, code = pipe:close()
	if not ok then
		io.stderr:write(("scripts/bench: this failed (%s %d): %s\n"):format(how, code, command))
		os.exit(1)
	end
	return lines
end

-- Works on PostgreSQL name their `server`; `fresh` is a log that is removed before, and what it leaves to write is written.
local function on_server(work, words)
	local host = options.postgresql .. "/" .. work.server
	words[2] = quoted(("postgresql://vigia@/vigia?host=%s&log="):format(host))
	if work.fresh then
		words[1] = ("psql -X -q -h %s -U vigia -d vigia -c 'DROP SCHEMA IF EXISTS vigia_%s CASCADE' -c CHECKPOINT 2>/dev/null && %s")
			:format(quoted(host), work.fresh, words[1])
	end
end

-- PostgreSQL by itself: pgbench stores rows as large as an event, CLIENTS at a time, each its own commit.
local function bare(work)
	local host = quoted(options.postgresql .. "/" .. work.server)
	local clients, each = table.unpack(work)
	return ([[cd %s && printf '%%s\n' "INSERT INTO bare (bytes) VALUES (convert_to(repeat('x', 140), 'UTF8'));" >bare.sql &&
		psql -X -q -h %s -U vigia -d vigia -c 'DROP TABLE IF EXISTS bare' \
			-c 'CREATE TABLE bare (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, bytes bytea)' -c CHECKPOINT 2>/dev/null &&
		pgbench -n -h %s -U vigia -M prepared -f bare.sql -c %d -t %d vigia 2>/dev/null | sed -n 's/^tps = \([0-9.]*\).*/rate \1/p']])
		:format(quoted(options.folder), host, host, clients, each)
end

local function command_of(work)
	local words = {}
	if work.engine == "pgbench" then return bare(work) end
	if work.engine == "lua" then
		words[1] = ("LUA_PATH=%s LUA_CPATH=%s lua5.4 %s"):format(quoted(options.root .. "/lua/?.lua;" .. options.root .. "/lua/?/init.lua;;"),
			quoted(options.build .. "/lua/?.so;;"), quoted(here .. "/vigia.lua"))
	else
		words[1] = quoted(options.build .. "/peers/" .. work.engine)
	end
	words[2] = quoted(options.folder)
	if work.server then on_server(work, words) end
	for i, word in ipairs(work) do words[2 + i] = quoted(word) end
	return table.concat(words, " ")
end

-- ---- measuring ----

local figures = {} -- command -> name -> list of figures, one a round

local function measure(work)
	local command = command_of(work)
	local by_name = figures[command] or {}
	figures[command] = by_name
	for _, line in ipairs(lines_of(command)) do
		local name, figure = line:match("^(%S+) (%S+)$")
		by_name[name] = by_name[name] or {}
		table.insert(by_name[name], tonumber(figure))
	end
end

local function median(list)
	local sorted = table.move(list, 1, #list, 1, {})
	table.sort(sorted)
	local middle = #sorted // 2
	return #sorted % 2 == 1 and sorted[middle + 1] or (sorted[middle] + sorted[middle + 1]) / 2
end

local function list_of(from)
	local by_name = figures[command_of(from.work)]
	return assert(by_name and by_name[from.figure], "there is no such figure")
end

local function progress(text)
	if not options.quiet then io.stderr:write("\r\27[K", text) end
end

-- Each distinct command of `wanted` once a round, in the order in which they are first named.
local function run_rounds(wanted, rounds, what)
	local order, known = {}, {}
	for _, from in ipairs(wanted) do
		local command = command_of(from.work)
		if not known[command] then
			known[command] = true
			order[#order + 1] = from.work
		end
	end
	for round = 1, rounds do
		for i, work in ipairs(order) do
			if round > 1 and work.once then goto continue end
			progress(("%s: round %d of %d, %d of %d: %s"):format(what, round, rounds, i, #order, table.concat(work, " ")))
			measure(work)
			::continue::
		end
	end
	progress("")
end

local function prepare(works)
	for _, work in ipairs(works) do
		progress("first: " .. table.concat(work, " "))
		measure(work)
	end
end

local groups
if options.groups and options.groups ~= "" then
	groups = {}
	for name in options.groups:gmatch("%S+") do groups[name] = true end
end

options.quiet = lines_of("test -t 2 && echo yes || echo no")[1] ~= "yes"
local plan = rows_of{scale = options.scale, peers = options.peers == "1", long = options.long == "1", groups = groups,
	postgresql = options.postgresql ~= ""}
prepare(plan.prepare)
local wanted = {}
for _, row in ipairs(plan.rows) do
	wanted[#wanted + 1] = row.value
	for _, against in ipairs(row.against) do
		if against.value then wanted[#wanted + 1] = against.value end
	end
end
run_rounds(wanted, options.rounds, "rows")

-- ---- what came of it ----

for _, row in ipairs(plan.rows) do
	row.figures = list_of(row.value)
	row.median = median(row.figures)
	for _, against in ipairs(row.against) do
		against.median = against.value and median(list_of(against.value))
		against.ratio = against.median and row.median / against.median
		local is = against.ratio or row.median
		if against.at_least then against.met = is >= against.at_least end
		if against.at_most then against.met = is <= against.at_most end
	end
end

local function first_line(command)
	return lines_of(command .. " 2>/dev/null | head -n 1")[1]
end

local machine = {
	processor = (first_line("grep -m1 'model name' /proc/cpuinfo") or "unknown processor"):gsub("^.*:%s*", ""),
	processors = math.tointeger(first_line("nproc")),
	kernel = first_line("uname -sr"),
	filesystem = first_line("stat -f -c %T " .. quoted(options.folder)),
	date = os.date("!%Y-%m-%d"),
}
local versions = {
	{"Vigia", first_line("git -C " .. quoted(options.root) .. " describe --always --dirty") or "without git"},
	{"LMDB", first_line(command_of{engine = "lmdb", "version"})},
	{"Lua", first_line("lua5.4 -v"):match("%d[%d.]*")},
}
if options.peers == "1" then
	versions[#versions + 1] = {"SQLite", first_line(command_of{engine = "sqlite", "version"})}
	versions[#versions + 1] = {"Redis", first_line("redis-server --version"):match("v=([%d.]+)")}
end
if options.postgresql ~= "" then versions[#versions + 1] = {"PostgreSQL", first_line("psql --version"):match("%d[%d.]*")} end
local version_words = {}
for i, version in ipairs(versions) do version_words[i] = version[1] .. " " .. version[2] end
local about = {
	("%s, %d processors, %s, %s, %s"):format(machine.processor, machine.processors, machine.kernel, machine.filesystem, machine.date),
	table.concat(version_words, ", "),
	options.command,
}

local function number(value)
	local text = value >= 1e6 and ("%.2fM"):format(value / 1e6) or value >= 1e4 and ("%.0fk"):format(value / 1e3)
		or value >= 100 and ("%.0f"):format(value) or ("%.3g"):format(value)
	return text
end

local function print_table()
	for _, line in ipairs(about) do print("# " .. line) end
	print(("# medians of %d interleaved rounds%s"):format(options.rounds,
		options.scale < 1 and ", with fewer events than the targets ask" or ""))
	local missed, group = 0, nil
	for _, row in ipairs(plan.rows) do
		if row.group ~= group then
			group = row.group
			print(("\n%-42s %10s %-4s %8s   %-28s %s"):format(group, "figure", "", "ratio", "to", "target"))
		end
		local title, figure, unit = row.title, number(row.median), row.unit
		for i = 1, math.max(1, #row.against) do
			local against = row.against[i] or {}
			local goal = against.at_least and ">= " .. number(against.at_least) or against.at_most and "<= " .. number(against.at_most) or ""
			local verdict = against.met == nil and "" or against.met and "met" or "MISSED"
			if against.met == false then missed = missed + 1 end
			print((("%-42s %10s %-4s %8s   %-28s %-9s %s"):format(title, figure, unit, against.ratio and ("%.2f x"):format(against.ratio) or "",
				against.median and ("%s (%s)"):format(against.to, number(against.median)) or "", goal, verdict):gsub("%s+$", "")))
			title, figure, unit = "", "", ""
		end
	end
	print(missed == 0 and "\nall targets are met" or ("\n%d targets are missed"):format(missed))
end

-- A value as JSON. A table with [1], or an empty one, is a list; an object's names are in order.
local function json(value)
	if type(value) == "table" then
		local parts = {}
		if value[1] ~= nil or next(value) == nil then
			for i, item in ipairs(value) do parts[i] = json(item) end
			return "[" .. table.concat(parts, ",") .. "]"
		end
		local names = {}
		for name in pairs(value) do names[#names + 1] = name end
		table.sort(names)
		for i, name in ipairs(names) do parts[i] = json(name) .. ":" .. json(value[name]) end
		return "{" .. table.concat(parts, ",") .. "}"
	elseif type(value) == "number" then
		return ("%.9g"):format(value)
	elseif type(value) == "string" then
		return '"' .. value:gsub('[%c"\\]', function(c) return ("\\u%04x"):format(c:byte()) end) .. '"'
	end
	return tostring(value)
end

local function print_json()
	local rows, by_name = {}, {}
	for i, row in ipairs(plan.rows) do
		local against = {}
		for k, other in ipairs(row.against) do
			against[k] = {to = other.to, median = other.median, ratio = other.ratio, at_least = other.at_least, at_most = other.at_most,
				met = other.met}
		end
		rows[i] = {group = row.group, title = row.title, unit = row.unit, median = row.median, rounds = row.figures, against = against}
	end
	for _, version in ipairs(versions) do by_name[version[1]] = version[2] end
	print(json{machine = machine, versions = by_name, command = options.command, rounds = options.rounds, scale = options.scale, rows = rows})
end

if options.json == "1" then print_json() else print_table() end
if options.plot and options.plot ~= "" then
	local series = pictures.series(options.scale)
	prepare(series.prepare)
	run_rounds(series.wanted, math.min(options.rounds, 3), "pictures")
	pictures.draw(series, options.plot, about, function(from) return median(list_of(from)) end)
end
