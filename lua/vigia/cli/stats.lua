-- stats.lua - `vigia stats`: what is in the store and how it was made.

local options = require("vigia.cli.options")
local util = require("vigia.cli.util")

local M = {}

M.summary = "Show the contents and settings of a store."

function M.define(command)
	util.define_store(command)
	command:flag("--json"):description("Print one JSON object instead of lines.")
end

local FIELDS = {
	"path", "format", "file_id", "created", "events", "oldest_event_num", "latest_event_num", "file_bytes", "used_bytes", "map_bytes",
	"readers", "buckets", "values", "timers", "dead_letters", "transactions",
}

-- The settings of the file follow, in the order of their table.
local function fields()
	local list = table.move(FIELDS, 1, #FIELDS, 1, {})
	for _, option in ipairs(options.set("file")) do
		list[#list + 1] = option.name
	end
	return list
end

local NANOSECONDS = 1000000000

local function bytes(n)
	local text = ("%d bytes"):format(n)
	local size, units = n, {"KiB", "MiB", "GiB", "TiB", "PiB"}
	local unit = 0
	while size >= 1024 and unit < #units do
		size, unit = size / 1024, unit + 1
	end
	return unit == 0 and text or ("%s (%.1f %s)"):format(text, size, units[unit])
end

-- What goes, in words.
local function retention(stats)
	local parts = {}
	if stats.gc_age_threshold > 0 then
		parts[1] = ("removed after %.15g s, every %.15g s"):format(stats.gc_age_threshold, stats.gc_cadence)
	end
	if stats.max_events > 0 then
		parts[#parts + 1] = ("at most %d events"):format(stats.max_events)
	end
	if stats.max_bytes > 0 then
		parts[#parts + 1] = ("at most %s"):format(bytes(stats.max_bytes))
	end
	if stats.retention_passes_checkpoints and stats.max_events + stats.max_bytes > 0 then
		parts[#parts + 1] = "also events that a lagging watcher has not handled"
	end
	if stats.checkpoint_ttl > 0 then
		parts[#parts + 1] = ("checkpoints count for %.15g s"):format(stats.checkpoint_ttl)
	end
	return #parts > 0 and table.concat(parts, "; ") or "kept forever"
end

local function lines(stats)
	local numbers = "none yet"
	if stats.latest_event_num > 0 then
		numbers = stats.events > 0 and ("%d to %d"):format(stats.oldest_event_num, stats.latest_event_num)
			or ("the last was %d"):format(stats.latest_event_num)
	end
	return {
		{"store", util.printable(stats.path)},
		{"format", ("%d, file id %s"):format(stats.format, stats.file_id)},
		{"created", os.date("!%Y-%m-%d %H:%M:%S UTC", stats.created // NANOSECONDS)},
		{"events", ("%d"):format(stats.events)},
		{"numbers", numbers},
		{"state", util.count(stats.values, "value") .. " in " .. util.count(stats.buckets, "bucket")},
		{"scheduled", util.count(stats.timers, "event")},
		{"dead letters", util.count(stats.dead_letters, "event")},
		{"transactions", ("%d committed, %d conflicts, %d given up"):format(stats.transactions.committed, stats.transactions.conflicts,
			stats.transactions.given_up)},
		{"file", bytes(stats.file_bytes)},
		{"used", bytes(stats.used_bytes)},
		{"map", bytes(stats.map_bytes)},
		{"readers", ("%d"):format(stats.readers)},
		{"durability", stats.durability},
		{"largest event", bytes(stats.max_event_size)},
		{"serializer", util.printable(stats.serializer)},
		{"databases", util.printable(stats.events_bucket .. ", " .. stats.checkpoint_bucket)},
		{"old events", retention(stats)},
	}
end

function M.run(args)
	local store <close> = util.open_store(args, {readonly = true, create = false})
	local stats = util.check(store:stats())
	if args.json then
		local pairs_in_order = {}
		for i, name in ipairs(fields()) do
			pairs_in_order[i] = {name, stats[name]}
		end
		util.write(util.json_object(pairs_in_order), "\n")
		return
	end
	for _, line in ipairs(lines(stats)) do
		util.write(("%-14s %s\n"):format(line[1], line[2]))
	end
end

return M
