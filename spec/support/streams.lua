-- streams.lua - histories of git repositories (../shared/data) as the events of a log, with payments among them; what processes do with
-- them while servers and they themselves are killed; and what scripts/handlers/tree_state.lua and balances.lua must make of them.

local cli = require "spec.support.cli"
local helper = require "spec.helper"
local lfs = require "lfs"
local vigia = require "vigia"

local M = {}

local DATA <const> = "../shared/data/"

M.TREE, M.BALANCES = "scripts/handlers/tree_state.lua", "scripts/handlers/balances.lua"

function M.there(name)
	return lfs.attributes(DATA .. name .. ".tree") ~= nil
end

-- The first `most` events of a history (nil: all), behind each File event a payment.
function M.events(name, most)
	local json = require "dkjson"
	local events, count = {}, 0
	local pipe <close> = assert(io.popen("gzip -dc " .. DATA .. name .. ".ndjson.gz"))
	for line in pipe:lines() do
		if count == most then break end
		count = count + 1
		local event = assert(json.decode(line, 1, vigia.null, nil)) -- nil: no metatables of dkjson's own
		events[#events + 1] = {event.operation, event.object_type, event.object}
		if event.object_type == "File" then
			local account = event.object.path:match("^[^/]+")
			events[#events + 1] = {"PAID", "Payment", {account = account:sub(1, 255), amount = count * 7919 % 201 - 100}}
		end
	end
	return events
end

-- What must come of them: the lines of the tree, the balances, and the OVERDRAWN events of each account, "account balance" in order.
function M.outcome(events)
	local blobs, balances, overdrawn, paths = {}, {}, {}, {}
	for _, event in ipairs(events) do
		local operation, object_type, object = table.unpack(event)
		if object_type == "File" then
			blobs[object.path] = operation ~= "DELETE" and object.blob or nil
		elseif object_type == "Payment" then
			local before = balances[object.account] or 0
			balances[object.account] = before + object.amount
			if before >= 0 and before + object.amount < 0 then
				overdrawn[#overdrawn + 1] = object.account .. " " .. before + object.amount
			end
		end
	end
	for path in pairs(blobs) do paths[#paths + 1] = path end
	table.sort(paths)
	for i, path in ipairs(paths) do paths[i] = blobs[path] .. "  " .. path .. "\n" end
	return {tree = table.concat(paths), balances = balances, overdrawn = overdrawn}
end

-- That of git, of a whole history.
function M.git_tree(name)
	return helper.read_file(DATA .. name .. ".tree")
end

---- the processes ----

-- Appends them once, in lists of up to so many, each with a key; after a kill it goes on behind the last list that it was told of. Servers
-- that are away are no failure of it.
local APPENDER <const> = [[
	local streams = require "spec.support.streams"
	local location, name, most, told, longest, pause = ...
	longest = math.tointeger(tonumber(longest))
	local EXPECTED <const> = {store_unreachable = true, store_readonly = true, commit_unknown = true}
	local events = streams.events(name, math.tointeger(tonumber(most)))
	local function ask(fn, ...)
		while true do
			local value, err = fn(...)
			if value then return value end
			assert(EXPECTED[err.code], err)
			vigia.sleep(0.05)
		end
	end
	local function position()
		local file <close> = io.open(told)
		return file and math.tointeger(tonumber((file:read("a"):match(".*\n(%d+)\n") or "0"))) or 0
	end
	local store <const> = ask(vigia.open, location, {collect = false})
	local done, out <const> = position(), assert(io.open(told, "a"))
	while done < #events do
		-- The same list for the same place, whoever stores it.
		local last = math.min(done + done * 31 % longest + 1, #events)
		ask(store.store_events, store, table.move(events, done + 1, last, 1, {}), {key = "list-" .. done})
		done = last
		out:write("\n", done, "\n"):flush()
		vigia.sleep(tonumber(pause))
	end
	say "end"
]]

local Run = {}
Run.__index = Run

local function start_appender(run)
	run.appender = helper.child(APPENDER, run.location, run.name, run.most or "nil", run.told, run.longest, run.pause)
end

local function start_script(run, script)
	run.scripts[script] = cli.start{"run", "--store", run.location, script}
end

-- Processes that append a history to a log, so many seconds after each list, and handle it there.
function M.start(location, name, most, longest, pause)
	local run = setmetatable({location = location, name = name, most = most, longest = longest, scripts = {}, kills = 0}, Run)
	run.pause = pause or 0
	run.told = helper.path("told-" .. name)
	start_appender(run)
	for _, script in ipairs{M.TREE, M.BALANCES} do start_script(run, script) end
	return run
end

-- Kill one of them by chance, and start it again. One that found no server when it began has ended by itself.
function Run:kill_one()
	local n = math.random(3)
	self.kills = self.kills + 1
	if n == 3 then
		if self:appended() then return end
		self.appender:kill()
		return start_appender(self)
	end
	local script = n == 1 and M.TREE or M.BALANCES
	self.scripts[script]:kill()
	start_script(self, script)
end

function Run:go_on()
	for script, process in pairs(self.scripts) do
		if process:gone() then
			local ended = process:wait()
			assert(ended.err:find("'postgresql://", 1, true) or ended.err:find("is run by another process", 1, true), ended.err)
			start_script(self, script)
		end
	end
end

-- Has all been appended?
function Run:appended()
	self.count = self.count or #M.events(self.name, self.most)
	return helper.read_file(self.told):match("\n" .. self.count .. "\n$") ~= nil
end

-- How far the handlers have come, and how far they have to; infinitely where the server does not say.
function Run.progress(_, store)
	local latest = store:get_latest_event_num() or math.huge
	local tree, balances = store:get_checkpoint("tree_state") or 0, store:get_checkpoint("balances") or 0
	return math.min(tree, balances), latest
end

function Run:finish()
	self.appender:expect "end"
	self.appender:wait()
	for _, process in pairs(self.scripts) do process:kill() end
end

-- What the handlers have made of it, in the form of M.outcome().
function M.found(store, location)
	local found = {balances = {}, overdrawn = {}}
	found.tree = cli.ok{"run", "--store", location, M.TREE, "--until-idle"}.out
	cli.ok{"run", "--store", location, M.BALANCES, "--until-idle"}
	local key
	repeat
		local rows = assert(store:range("balances", {from = key, limit = 1000}))
		for i = key and 2 or 1, #rows do found.balances[rows[i].key] = rows[i].value end
		local more = #rows == 1000
		key = more and rows[#rows].key
	until not more
	local from = vigia.trim_horizon()
	repeat
		local answer = assert(store:get_events{event_iterator = from, filter = {operations = {"OVERDRAWN"}}, limit = 1000, timeout = 0,
			scan = "end"})
		for _, event in ipairs(answer.events) do
			found.overdrawn[#found.overdrawn + 1] = event.object.account .. " " .. event.object.balance
		end
		from = answer.next_event_iterator
	until #answer.events == 0
	return found
end

return M
