-- scheduled.lua - `vigia scheduled`: the events that wait for their time; taking some back.

local util = require("vigia.cli.util")

local M = {}

M.summary = "Show or drop events that are scheduled."
M.description = [[
Prints the events that wait for their time as NDJSON, one a line, in the order of their times.
`vigia schedule` reads this form. --drop removes timers instead, by their ids. A TIME has the form
that `vigia schedule` takes. The exit status is 1 if a timer to drop does not exist.]]

-- How many are read at a time. Others may come and go meanwhile.
local PAGE <const> = 500

function M.define(command)
	util.define_store(command)
	command:option("--from"):argname("TIME"):convert(util.time("--from")):overwrite(false)
		:description("Only events due at this time or later.")
	command:option("--to"):argname("TIME"):convert(util.time("--to")):overwrite(false)
		:description("Only events due at this time or earlier.")
	command:option("--type"):argname("TYPE"):overwrite(false):description("Only events of this object type.")
	command:option("--operation"):argname("OP"):overwrite(false):description("Only events of this operation.")
	command:option("--key"):argname("KEY"):overwrite(false):description("Only the event with this key.")
	command:option("--limit"):argname("N"):convert(util.whole_number("--limit", 0)):overwrite(false)
		:description("Print at most this many (default: 0, all).")
	command:option("--drop"):argname("ID"):count("*"):convert(util.whole_number("--drop", 1))
		:description("Remove this timer. May be given several times.")
end

local function write_timer(timer)
	local fields = {{"id", timer.id}, {"at", timer.at}, {"operation", timer.operation}, {"object_type", timer.object_type},
		{"object", timer.object}}
	fields[#fields + 1] = timer.key and {"key", timer.key}
	util.write(util.json_object(fields), "\n")
end

-- The next page begins at the time of the last timer, and leaves out those that were written.
local function write_timers(store, query, most)
	local last, left = {at = -1, id = 0}, most > 0 and most or math.huge
	query.limit = PAGE
	while true do
		local timers = util.check(store:scheduled(query))
		local fresh = 0
		for _, timer in ipairs(timers) do
			if timer.at > last.at or (timer.at == last.at and timer.id > last.id) then
				if left == 0 then
					return
				end
				write_timer(timer)
				last, left, fresh = timer, left - 1, fresh + 1
			end
		end
		if #timers < query.limit then
			return
		end
		query.from = last.at
		query.limit = fresh > 0 and query.limit or 2 * query.limit -- so many are due at the same time
	end
end

local function drop(store, ids)
	local missing = 0
	for _, id in ipairs(ids) do
		if util.check(store:unschedule(id)) then
			util.write(("dropped timer %d\n"):format(id))
		else
			util.say(("there is no timer %d"):format(id))
			missing = missing + 1
		end
	end
	return missing == 0 and util.OK or util.FAILURE
end

function M.run(args)
	if #args.drop > 0 then
		for _, name in ipairs({"from", "to", "type", "operation", "key", "limit"}) do
			if args[name] then
				util.usage("--drop and --%s exclude each other", name)
			end
		end
		local store <close> = util.open_store(args, {create = false})
		return drop(store, args.drop)
	end
	local store <close> = util.open_store(args, {readonly = true, create = false})
	for _, name in ipairs({"type", "operation", "key"}) do
		if args[name] == "" then
			util.usage("--%s must not be empty", name)
		end
	end
	write_timers(store, {from = args.from, to = args.to, object_type = args.type, operation = args.operation, key = args.key},
		args.limit or 0)
end

return M
