-- copy.lua - `vigia copy`: the events of one store into another, each once; with --follow new ones too, as they come.

local progress_line = require("vigia.cli.progress_line")
local util = require("vigia.cli.util")

local M = {}

M.summary = "Copy a store into another one, or forward its new events."
M.description = [[
Copies the store FROM into the store TO: files or PostgreSQL, in any direction. Each event is stored
once, however often the command is run, interrupted or killed. TO keeps the id of FROM and the number
reached, in the bucket vigia.copied. Run the same command again to continue, or to copy new events.
If TO does not exist, it is created. If TO is empty, it becomes like FROM: events with their numbers,
times and keys, buckets, checkpoints, holds, pauses, dead letters and settings. Timers stay in FROM,
which stores their events when they are due. To move a store with its timers, use `vigia export` and
`vigia import`. Until the first copy is finished, TO refuses appends and watchers.
Later, or if TO is not empty, only events are copied. They get the next numbers and times of TO, and no
keys. The numbers are those of FROM while nothing else appends to TO. So several stores can be copied
into one. --merge does the same with an empty TO.
--follow then waits for new events and copies them, until Ctrl-C. It continues by itself after FROM or
TO was unreachable, or TO was full.]]

function M.define(command)
	command:argument("from"):args(1):description("The store to copy: a file, or postgresql://HOST/DATABASE?log=NAME.")
	command:argument("to"):args(1):description("The store to copy into.")
	command:flag("--follow"):description("Continue with new events, until Ctrl-C.")
	command:flag("--merge"):description("Only append the events, also to an empty store. Use it to copy several stores into one.")
	command:flag("--skip-removed"):description("Continue after events that FROM removed before they were copied.")
	command:flag("--anew"):description("Remove what an unfinished first copy has stored, and begin again.")
end

-- What --follow waits out: error codes.
local PASSES <const> = {
	store_unreachable = true, commit_unknown = true, transaction_conflict = true, disk_full = true, store_full = true, io_error = true,
	import_unfinished = true, out_of_memory = true,
}
local FIRST_WAIT <const>, LONGEST_WAIT <const> = 0.1, 5

local function open_from(path)
	return require("vigia").open(path, {readonly = true, collect = false})
end

-- Made, if it is not there, as `from` was made.
local function open_to(path, from, merge)
	local vigia = require("vigia")
	local store, err = vigia.open(path, {create = false, collect = false})
	if store or err.code ~= "store_not_found" then
		return store, err
	end
	local options = {}
	if not merge then
		options, err = require("vigia.core").copy_settings(from)
		if not options then
			return nil, err
		end
	end
	options.collect = false
	return vigia.open(path, options)
end

-- The two stores, which stay open over all tries.
local Stores <const> = {__close = function(self)
	for _, store in pairs(self) do
		store:close()
	end
end}

-- One try: what core.copy returns.
local function try(args, stores, options)
	local err
	if not stores.from then
		stores.from, err = open_from(args.from)
	end
	if stores.from and not stores.to then
		stores.to, err = open_to(args.to, stores.from, args.merge)
	end
	if not stores.to then
		return nil, err
	end
	return require("vigia.core").copy(stores.from, stores.to, options)
end

local function fail_to_open(args, err)
	if err.code == "store_not_found" and tostring(err):find(util.shown(args.from), 1, true) then
		util.fail("%s", util.no_such_store(args.from, err))
	end
	util.fail("%s", tostring(err))
end

local function report(args, events, whole, timers, skipped, at)
	local place = at > 0 and (", up to event %d of %s"):format(at, util.shown(args.from)) or ""
	util.write(("copied %s%s\n"):format(util.count(events, "event"), place))
	if whole and timers > 0 then
		util.say(("%s in %s; use `vigia export` and `vigia import` to move them"):format(
			timers == 1 and "1 timer stays" or timers .. " timers stay", util.shown(args.from)))
	end
	if skipped > 0 then
		util.say(util.count(skipped, "event") .. " had been removed before they were copied")
	end
end

function M.run(args)
	if args.store_before then
		util.usage("copy takes two stores: vigia copy FROM TO")
	end
	local core, vigia = require("vigia.core"), require("vigia")
	local stores <close> = setmetatable({}, Stores)
	local line = progress_line.new("copied", "events")
	local events, skipped, timers, whole, at = 0, 0, 0, false, 0
	local wait, told = FIRST_WAIT, nil
	local options = {merge = args.merge or false, anew = args.anew or false, skip_removed = args.skip_removed or false,
		follow = args.follow or false}
	function options.progress(here)
		if told then
			line:clear()
			util.say("continuing")
			told = nil
		end
		wait = FIRST_WAIT
		line:show(here.at - here.first + 1, here.last - here.first + 1)
	end
	local done, err, part
	repeat
		done, err, part = try(args, stores, options)
		part = done or part
		if part then
			events, skipped, timers = events + part.events, skipped + part.skipped, math.max(timers, part.timers)
			whole, at = whole or part.whole, part.at
			options.anew = options.anew and part.events == 0
		end
		local again = not done and args.follow and PASSES[err.code] and not core.interrupted()
		if again then
			line:clear()
			if told ~= err.code then
				util.say(("%s; trying again"):format(tostring(err)))
				told = err.code
			end
			vigia.sleep(wait)
			wait = math.min(2 * wait, LONGEST_WAIT)
		end
	until not again or core.interrupted()
	line:clear()
	local ended = args.follow and core.interrupted()
	if not done and not ended then
		if events > 0 then
			util.fail("%s; copied %s before, up to event %d", tostring(err), util.count(events, "event"), at)
		end
		fail_to_open(args, err)
	end
	report(args, events, whole, timers, skipped, at)
end

return M
