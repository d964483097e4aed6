-- doctor.lua - `vigia doctor`: what is wrong with a store and around it, and what to do about each.
--
-- core.surroundings and the store tell facts; doctor_findings.lua judges them.

local find = require("vigia.cli.doctor_findings")
local util = require("vigia.cli.util")

local M = {}

M.summary = "Look for what is wrong with a store, and say what to do."
M.description = [[
Checks the store and its surroundings: the mode of its files, the file system, the processes that
have it open, watchers that no process runs or that make no progress, checkpoints beyond the end,
what blocks the removal of old events, room in the map and on the disk, limits of the system, dead
letters, and a pending upgrade. Each finding says what to do. The command changes nothing. It does
not look for damaged events: use `vigia verify`. It looks at the watchers twice, --seconds apart.
The exit status is 0 if nothing is wrong, else 1.]]

local SECONDS <const> = 2

function M.define(command)
	util.define_store(command, {create = false})
	command:flag("--json"):description("Print a JSON object for the store and one for each finding, one a line.")
	command:option("--seconds"):argname("SECONDS"):convert(util.seconds("--seconds")):overwrite(false)
		:description(("Time between the two looks at the watchers (default: %d)."):format(SECONDS))
end

-- The numbers of all watchers: {id =, at =, kind =, lag =}, by id; and the last number.
local function watchers_of(store)
	local checkpoints, holds = util.check(store:checkpoints()), util.check(store:holds())
	local latest = util.check(store:get_latest_event_num())
	local list = {}
	for _, source in ipairs({{"hold", holds}, {"checkpoint", checkpoints}}) do
		for id, at in pairs(source[2]) do
			list[id] = {id = id, at = at, kind = source[1], lag = latest - at}
		end
	end
	return list, latest
end

local function oldest_event(store, stats)
	local event = stats.events > 0 and store:get_event(stats.oldest_event_num)
	return event or nil -- one that is damaged is for `vigia verify`
end

-- What can be known of the store itself, by two looks.
local function look(store, path, seconds)
	local core = require("vigia.core")
	local before, latest_before = watchers_of(store)
	local settled = true
	for _, watcher in pairs(before) do
		settled = settled and watcher.lag <= 0
	end
	if not settled and seconds > 0 then
		require("vigia").sleep(seconds)
	end
	local after, latest = watchers_of(store)
	for _, watcher in ipairs(store:watchers() or {}) do
		if watcher.paused and after[watcher.watcher] then after[watcher.watcher].paused = true end
	end
	local stats = util.check(store:stats())
	local facts = {stats = stats, oldest = oldest_event(store, stats), latest = latest, appended = latest - latest_before,
		seconds = seconds, letters = {}, watchers = {}}
	for id, watcher in pairs(after) do
		watcher.before = before[id] and before[id].at
		watcher.owner = core.owner(path, id)
		facts.watchers[#facts.watchers + 1] = watcher
	end
	table.sort(facts.watchers, function(a, b) return a.id < b.id end)
	if stats.dead_letters > 0 then
		for _, letter in ipairs(util.check(store:dead_letters())) do
			facts.letters[letter.watcher] = (facts.letters[letter.watcher] or 0) + 1
		end
	end
	return facts
end

-- All facts; where the store cannot be opened, `error` says why.
local function facts_of(path, seconds)
	local core = require("vigia.core")
	local around = core.surroundings(path)
	local store <close>, err = require("vigia").open(path, {readonly = true, create = false, collect = false})
	local facts = store and look(store, path, seconds) or {error = err, watchers = {}, letters = {}}
	facts.path, facts.around, facts.now = path, around, os.time()
	return facts
end

-- The other processes that have it open.
local function others(around)
	local list = {}
	for _, user in ipairs(around.users) do
		if not (user.here and user.pid == around.pid) then
			list[#list + 1] = user
		end
	end
	return list
end

local function process_text(user)
	local file <close> = user.pid and user.here and io.open(("/proc/%d/comm"):format(user.pid), "rb")
	local name = file and file:read("l")
	return ("%s%s%s"):format(user.pid or "an unknown one", name and " (" .. util.printable(name) .. ")" or "",
		user.here and "" or " of another PID namespace")
end

local function write_json(path, users, findings)
	local vigia = require("vigia")
	local pids = vigia.array({})
	for _, user in ipairs(users) do
		pids[#pids + 1] = user.pid
	end
	util.write(util.json_object({{"store", path}, {"ok", #findings == 0}, {"pids", pids}, {"findings", #findings}}), "\n")
	for _, finding in ipairs(findings) do
		local pairs_in_order = {{"finding", finding.id}, {"what", finding.what}, {"advice", finding.advice}}
		if finding.watcher then
			table.insert(pairs_in_order, 2, {"watcher", finding.watcher})
		end
		util.write(util.json_object(pairs_in_order), "\n")
	end
end

local function write_text(path, users, findings)
	local names = {}
	for i, user in ipairs(users) do
		names[i] = process_text(user)
	end
	util.write(("%s: %s; open in %s\n"):format(util.shown(path),
		#findings == 0 and "nothing is wrong" or util.count(#findings, "finding"),
		#names == 0 and "no other process" or (#names == 1 and "process " or "processes ") .. table.concat(names, ", ")))
	for _, finding in ipairs(findings) do
		util.write(("\n%s: %s\n"):format(finding.id, util.printable(finding.what)))
		for _, line in ipairs(util.wrap(finding.advice, 96)) do
			util.write("    ", line, "\n")
		end
	end
end

function M.run(args)
	local path = util.store_path(args)
	local facts = facts_of(path, args.seconds or SECONDS)
	if facts.error and facts.error.code == "store_not_found" then
		util.fail("%s", util.no_such_store(path, facts.error))
	end
	local findings, users = find(facts), others(facts.around)
	local write = args.json and write_json or write_text
	write(path, users, findings)
	return #findings == 0 and util.OK or util.FAILURE
end

return M
