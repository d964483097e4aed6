-- events.lua - `vigia events`: events from the store, as NDJSON or for people.

local util = require("vigia.cli.util")

local M = {}

M.summary = "Print the events of a store."
M.description = [[
Prints events as NDJSON, one a line, in order. `vigia append` reads this form: it keeps operation,
type and object, and assigns a new number and time. --format pretty prints a line for people:
number, time (UTC), operation, type and object. On a terminal a long object is cut. Control
characters are escaped.
--follow continues with new events, until Ctrl-C. When the reader closes the output
(`vigia events ... | head -1`), the command ends with exit status 0.
A time is 2026-12-24T18:00 (local time; UTC with a final Z, another zone with a final +01:00), only
a day (its first moment), an age (90s, 30m, 2h, 7d), or a number of nanoseconds since 1970.]]

-- The library is loaded only when there is something to parse: `--help` does without.
local function parse_from(text)
	local iterator, err = require("vigia.core").iterator_parse(text)
	return iterator, err and "--from: " .. tostring(err)
end

local function parse_name(option)
	return function(text)
		if #text < 1 or #text > 255 or not utf8.len(text) then
			return nil, ("%s must have 1 to 255 bytes of UTF-8"):format(option)
		end
		return text
	end
end

local function parse_where(text)
	local place, value = require("vigia.core").where_parse(text)
	if place == nil then
		return nil, "--where: " .. tostring(value)
	end
	return {place, value}
end

-- A place that is given several times may have any of the values.
local function places_of(list)
	local where = {}
	for _, pair in ipairs(list) do
		local values = where[pair[1]] or {}
		values[#values + 1] = pair[2]
		where[pair[1]] = values
	end
	return where
end

-- Which events, and how they are written: also for `vigia tail`.
function M.define_choice(command)
	command:option("--type"):argname("TYPE"):count("*"):target("types"):convert(parse_name("--type"))
		:description("Only events of this object type. May be given several times.")
	command:option("--operation"):argname("OP"):count("*"):target("operations"):convert(parse_name("--operation"))
		:description("Only events of this operation. May be given several times.")
	command:option("--where"):argname("PLACE=VALUE"):count("*"):convert(parse_where)
		:description([[Only events whose object has this value at this place, as in --where object.state=failed.
Places are object.name, object."any name", object.list[1]. A value that is JSON (5, true, null, "5") is read as JSON,
any other as text. May be given several times. Then all places must match, each with one of its values.]])
	command:option("--format"):argname("FORMAT"):choices({"ndjson", "pretty"}):overwrite(false)
		:description("Format of the output: ndjson or pretty.")
	command:option("--color"):argname("WHEN"):choices({"auto", "always", "never"}):overwrite(false)
		:description("Colors in pretty lines: auto (the default: on a terminal, unless NO_COLOR is set), always or never.")
end

function M.define(command)
	util.define_store(command)
	command:option("--from"):argname("WHERE"):convert(parse_from):overwrite(false)
		:description("Where to start: trim_horizon (the oldest event; the default), latest, at:N or after:N.")
	command:option("--last"):argname("N"):convert(util.whole_number("--last", 0)):overwrite(false)
		:description("Only the last N events that match the other options.")
	command:option("--since"):argname("TIME"):convert(util.time("--since", true)):overwrite(false)
		:description("Only events stored at this time or later.")
	command:option("--until"):argname("TIME"):convert(util.time("--until", true)):overwrite(false)
		:description("Only events stored at this time or earlier.")
	M.define_choice(command)
	command:option("--limit"):argname("N"):convert(util.whole_number("--limit", 0)):overwrite(false)
		:description("Print at most this many events (default: 0, all).")
	command:flag("--explain"):description("Print how many events would be read and what excludes the others, instead of the events.")
	command:flag("--follow"):description("Continue with new events, until Ctrl-C.")
end

-- What --explain prints.
local function explained(found)
	local lines = {
		("events: %d, %s"):format(found.events, found.events > 0 and ("%d to %d"):format(found.from, found.to) or "none"),
		("looked at: %d"):format(found.events_looked_at),
		("blocks of 4096 events: %d, %d of them indexed, %d looked into"):format(found.blocks, found.blocks_indexed, found.blocks_looked_at),
	}
	if not found.by_index then
		lines[#lines + 1] = "the index is not used: " .. (found.indexable and "the store has none yet" or "it knows types and operations only")
	end
	if found.places > 0 then
		lines[#lines + 1] = ("places: %d, tested on the bytes of what is looked at"):format(found.places)
	end
	for _, line in ipairs(found.not_pushed_down) do
		lines[#lines + 1] = "not pushed down: " .. line
	end
	return table.concat(lines, "\n")
end

-- Options that exclude each other, by their names in `args`.
local EXCLUDE <const> = {
	{"from", "since"}, {"from", "last"}, {"limit", "last"}, {"follow", "until"},
	{"explain", "until"}, {"explain", "last"}, {"explain", "limit"}, {"explain", "format"}, {"explain", "follow"},
}

local function check_words(args)
	for _, pair in ipairs(EXCLUDE) do
		if args[pair[1]] and args[pair[2]] then
			util.usage("--%s and --%s exclude each other", pair[1], pair[2])
		end
	end
	if args.since and args["until"] and args.since > args["until"] then
		util.usage("--since is later than --until")
	elseif args.color and args.format ~= "pretty" then
		util.usage("--color is for --format pretty")
	end
end

-- Whether pretty lines have colors.
local function has_colors(args)
	if args.format ~= "pretty" or args.color == "never" then
		return false
	end
	return args.color == "always"
		or (require("vigia.core").isatty(1) and (os.getenv("NO_COLOR") or "") == "" and os.getenv("TERM") ~= "dumb")
end

-- The numbers of the first and the last event that the times leave; last < first: none are left. With --follow there is no last one yet.
local function range_of(store, args)
	local latest = util.check(store:get_latest_event_num())
	local first, last = util.check(store:get_oldest_event_num()), latest
	if args.since then
		local found = util.check(store:find_time(args.since))
		if not found and args.follow and args.since > require("vigia.core").wall() then
			util.usage("--since is in the future: --follow would print earlier events")
		end
		first = math.max(first, found or latest + 1)
	elseif first == 0 then
		first = latest + 1 -- all were removed
	end
	if args["until"] and args["until"] < math.maxinteger then
		local behind = util.check(store:find_time(args["until"] + 1))
		last = behind and behind - 1 or last
	end
	return first, last
end

-- Where to start so that `count` events of the range follow, and all that come.
local function last_ones(store, filter, first, last, count)
	if count == 0 or last < first then
		return math.max(last + 1, first)
	elseif #(filter.object_types or {}) + #(filter.operations or {}) == 0 and not next(filter.where) then
		return count > last - first and first or last - count + 1 -- numbers have no gaps
	end
	return util.check(require("vigia.core").last(store, {filter = filter, first = first, last = last, count = count}))
end

function M.run(args)
	check_words(args)
	local vigia, core = require("vigia"), require("vigia.core")
	local store <close> = util.open_store(args, {readonly = true, create = false})
	local filter = {object_types = args.types, operations = args.operations, where = places_of(args.where)}
	local from, upto = args.from, nil
	if args.since or args["until"] or args.last then
		local first, last = range_of(store, args)
		if args.last then
			first = last_ones(store, filter, first, last, args.last)
		end
		from, upto = from or vigia.at_sequence_number(first), not args.follow and last or nil
	end
	if args.explain then
		local found, problem = store:explain(filter, from)
		if not found then
			util.fail("%s", tostring(problem))
		end
		found.indexable = #(args.types or {}) + #(args.operations or {}) > 0
		util.write(explained(found), "\n")
		return
	end
	local _, _, err = core.dump(store, {
		from = from or vigia.trim_horizon(),
		upto = upto,
		filter = filter,
		limit = args.limit or 0,
		follow = args.follow or false,
		format = args.format,
		colour = has_colors(args),
		fd = 1,
	})
	-- A closed pipe: the reader has seen enough.
	if err and err.cause ~= "Broken pipe" then
		util.fail("%s", tostring(err))
	end
end

return M
