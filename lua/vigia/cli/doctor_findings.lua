-- doctor_findings.lua - what is wrong, from the facts that doctor.lua has gathered: a list of {id =, what =, advice =, watcher =}.

local util = require("vigia.cli.util")

local MIB <const> = 1 << 20
local NANOSECONDS <const> = 1000000000
local ROOM <const> = 64 * MIB -- what a store should have before it

local function size(bytes)
	return bytes >= MIB and ("%d MiB"):format(bytes // MIB) or ("%d bytes"):format(bytes)
end

-- ---- the files ----

local function rights(facts, report)
	local around, owner = facts.around, nil
	for _, suffix in ipairs({"", "-lock", "-side"}) do
		local file = around.files[suffix]
		if file then
			owner = owner or file.uid
			if file.uid ~= owner then
				report("owner", ("%s belongs to user %d, the store to user %d"):format(file.path, file.uid, owner),
					("Stop the programs and give all three files to one user: chown %d '%s'."):format(owner, file.path))
			elseif file.mode & 384 ~= 384 then -- 0600
				report("rights", ("%s has mode %04o: its owner cannot read and write it"):format(file.path, file.mode),
					("Run: chmod 600 '%s'"):format(file.path))
			elseif file.mode & 63 ~= 0 then
				report("rights", ("%s has mode %04o: other users have access"):format(file.path, file.mode),
					("A user with access to the file can read every event. Unless that is intended, run: chmod 600 '%s'"):format(file.path))
			end
		end
	end
	if owner and owner ~= around.uid and around.uid ~= 0 then
		report("owner", ("the store belongs to user %d, but this command runs as user %d"):format(owner, around.uid),
			"All programs that use a store must run as one user. Run them, and this command, as the owner of the store.")
	end
end

local function place(facts, report)
	local around = facts.around
	if around.network then
		report("network", ("the store is on a network file system (%s)"):format(around.network),
			"Locks do not hold between machines there. Stop all programs but those of one machine, and move the file to a local disk.")
	elseif around.fleeting then
		report("fleeting", ("the store is on %s"):format(around.fs), around.fs == "overlay"
			and "The file is lost with the container. Unless that is intended, keep the store's folder in a volume."
			or "The file is in memory and is lost when the machine stops. Unless that is intended, move it to a disk.")
	end
	if around.mounted then
		report("mounted", "the store is mounted as a single file",
			"Under another name the file has other lock files, so two programs can destroy it. Mount its folder instead.")
	end
	if around.disk and around.disk.readonly then
		report("read_only", "the file system is mounted read-only",
			"Nothing can be stored. Mount the file system for writing. The kernel's log may say why it is read-only.")
	end
end

-- ---- room and limits ----

local function room(facts, report)
	local disk, limits, stats = facts.around.disk, facts.around.limits, facts.stats
	local bytes = facts.around.files[""] and facts.around.files[""].bytes or 0
	if disk and disk.bytes > 0 and (disk.free < ROOM or disk.free < disk.bytes // 50) then
		report("disk_room", ("the disk has %s left of %s"):format(size(disk.free), size(disk.bytes)),
			"Free space before appends fail with disk_full. `vigia gc` and max_bytes (`vigia configure`) free pages of the file for new events."
				.. " The file itself does not shrink.")
	elseif disk and disk.files > 0 and disk.free_files < 100 then
		report("disk_room", ("the file system has room for %d more files"):format(disk.free_files),
			"The store needs two files beside it, and a backup one more. Remove files.")
	end
	if limits.file_size and limits.file_size < bytes + ROOM then
		report("file_size_limit", ("a file may have at most %s (ulimit -f), and the store has %s"):format(size(limits.file_size), size(bytes)),
			"Appends fail when the store reaches the limit. Raise it (LimitFSIZE= in a systemd unit), or limit the store with max_bytes.")
	end
	if limits.address_space and limits.address_space < (1 << 40) then
		report("address_space_limit", ("a process may use at most %s of address space (ulimit -v)"):format(size(limits.address_space)),
			"The whole file is mapped into memory, so it cannot grow beyond the limit. Raise the limit (LimitAS= in a systemd unit).")
	end
	if stats and stats.used_bytes + math.min(ROOM, stats.map_bytes // 8) > stats.map_bytes then
		report("map_room", ("%s of the map's %s are used"):format(size(stats.used_bytes), size(stats.map_bytes)),
			"Appends fail with store_full when the map is full. Remove events (`vigia gc`, max_bytes), or open the store with a larger map_size.")
	end
	local max_maps = facts.around.max_maps
	for _, user in ipairs(max_maps and facts.around.users or {}) do
		if user.maps and user.maps > max_maps * 4 // 5 then
			report("max_map_count", ("process %d has %d memory maps, and at most %d are allowed"):format(user.pid, user.maps, max_maps),
				"At the limit it cannot start a thread or open a store. Raise vm.max_map_count: sysctl -w vm.max_map_count=262144")
		end
	end
end

-- ---- the watchers ----

local function shown(watcher)
	return ("watcher '%s'"):format(watcher.id)
end

local function watchers(facts, report)
	for _, watcher in ipairs(facts.watchers) do
		local owner = watcher.owner
		local runs = owner and owner.held
		if watcher.lag < 0 then
			report("checkpoint_beyond_end",
				("%s has checkpoint %d, and the last event is %d"):format(shown(watcher), watcher.at, facts.latest),
				("The watcher will skip the events up to its checkpoint. This happens when a backup has replaced a newer store."
					.. " Move it back: `vigia seek '%s' latest`, or at:N with the first event that it has not handled."):format(watcher.id),
				watcher.id)
		elseif watcher.lag > 0 and watcher.paused then
			report("paused", ("%s is paused, and %s"):format(shown(watcher),
				watcher.lag == 1 and "1 event waits" or watcher.lag .. " events wait"),
				("To let it continue, run `vigia resume '%s'`."):format(watcher.id), watcher.id)
		elseif watcher.lag > 0 and not runs and owner and owner.pid then
			local gone = owner.here and not owner.alive
			report(gone and "dead_owner" or "not_run", ("no process runs %s: process %d, the last one that did, %s; %s"):format(shown(watcher),
				owner.pid, gone and "has ended" or "has stopped it", watcher.lag == 1 and "1 event waits" or watcher.lag .. " events wait"),
				"Start the watcher again. `vigia run --wait` stands by and takes over. If the watcher is no longer needed: `vigia forget '"
					.. watcher.id .. "'`.", watcher.id)
		elseif watcher.lag > 0 and runs and facts.appended > 0 and watcher.before == watcher.at then
			report("lag_grows", ("%s made no progress for %g s: its lag is %s, %d of them new"):format(shown(watcher), facts.seconds,
				util.count(watcher.lag, "event"), facts.appended),
				("Its handler fails, hangs, or is too slow. The log of %s says which event fails, and why. See also `vigia dead`."):format(
					owner.pid and owner.here and "process " .. owner.pid or "the process that runs it"), watcher.id)
		end
	end
end

-- What an age or a limit would remove, if no watcher needed it.
local function overdue(stats, oldest, now)
	local age = oldest and now - oldest.timestamp // NANOSECONDS or 0
	if stats.gc_age_threshold > 0 and age > stats.gc_age_threshold + 2 * stats.gc_cadence then
		return ("events are kept for %.15g s, and the oldest is %d s old"):format(stats.gc_age_threshold, age)
	elseif stats.max_events > 0 and stats.events > stats.max_events and not stats.retention_passes_checkpoints then
		return ("at most %d events are kept, and there are %d"):format(stats.max_events, stats.events)
	end
	return nil
end

local function collection(facts, report)
	local stats = facts.stats
	local why = stats and stats.events > 0 and overdue(stats, facts.oldest, facts.now)
	if not why then
		return
	end
	local lowest
	for _, watcher in ipairs(facts.watchers) do
		lowest = (not lowest or watcher.at < lowest.at) and watcher or lowest
	end
	if not lowest then
		report("gc_held", why .. ": no watcher has a checkpoint",
			"No event is removed before a watcher has handled it. Start the watchers, or remove events by hand: `vigia repl --write`, then"
				.. " store:trim(N).")
	elseif lowest.at < stats.oldest_event_num + stats.events - 1 and lowest.at < facts.latest then
		report("gc_held", ("%s: %s blocks removal from event %d on"):format(why, shown(lowest), lowest.at + 1),
			("Let the watcher catch up. If it is no longer needed: `vigia forget '%s'`. With checkpoint_ttl, a watcher that does not run"
				.. " stops blocking removal."):format(lowest.id), lowest.id)
	else
		report("gc_held", why .. ": no process removes them",
			"Keep a program running that has the store open for writing (`vigia run`), or run `vigia gc` regularly.")
	end
end

-- ---- the rest ----

local ADVICE <const> = {
	permission_denied = "Run this command as the owner of the files.",
	not_a_store = "If the file was a store, restore a backup.",
	format_unsupported = "Install a version that supports this format.",
	store_replaced = "Stop the programs that still use the earlier content.",
}

local function opening(facts, report)
	if facts.error then
		report("open", tostring(facts.error), ADVICE[facts.error.code] or ("`man vigia` explains the error code %s."):format(facts.error.code))
	end
end

local function letters(facts, report)
	local ids = {}
	for id in pairs(facts.letters) do
		ids[#ids + 1] = id
	end
	table.sort(ids)
	for _, id in ipairs(ids) do
		report("dead_letters", ("watcher '%s' has %s"):format(id, util.count(facts.letters[id], "dead letter")),
			("`vigia dead list '%s'` shows the errors. Then retry or drop the events: `vigia dead retry`, `vigia dead drop`."):format(id),
			id)
	end
end

local function upgrade(facts, report)
	if facts.stats and facts.stats.format == 1 and facts.stats.journal then
		report("unfinished_upgrade", "the file has no journal yet: an older version created it",
			"Stop all programs once, then open the store for writing. The file then gets a journal, and an append needs one sync.")
	end
end

---@return {id: string, what: string, advice: string, watcher: string?}[]
return function(facts)
	local found = {}
	local function report(id, what, advice, watcher)
		found[#found + 1] = {id = id, what = what, advice = advice, watcher = watcher}
	end
	for _, judge in ipairs({opening, rights, place, room, watchers, collection, letters, upgrade}) do
		judge(facts, report)
	end
	return found
end
