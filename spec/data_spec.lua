-- data_spec.lua - real histories of git repositories through a store and its watchers: the tree at the end must be git's.

local helper = require "spec.helper"
local lfs = require "lfs"
local vigia = require "vigia"

local DATA = "../shared/data/"

-- The files of `git ls-tree -r` as lines "BLOB  PATH", sorted by path.
local function lines_of(tree)
	local paths = {}
	for path in pairs(tree) do paths[#paths + 1] = path end
	table.sort(paths)
	for index, path in ipairs(paths) do paths[index] = tree[path] .. "  " .. path end
	return table.concat(paths, "\n") .. "\n"
end

-- All events of a history, decoded.
local function history(name)
	local json = require "dkjson"
	local events = {}
	local pipe = assert(io.popen("gzip -dc " .. DATA .. name .. ".ndjson.gz"))
	for line in pipe:lines() do
		events[#events + 1] = assert(json.decode(line, 1, vigia.null, nil)) -- nil: no metatables of dkjson's own
	end
	assert(pipe:close())
	return events
end

for _, case in ipairs{
	{name = "lua", commits = 5793, files = 15168, at_the_end = 111},
	{name = "bacalhau", commits = 2707, files = 61759, at_the_end = 1877},
} do
	describe("the history of " .. case.name, function()
		after_each(helper.clean)

		for _, backend in ipairs{"memory", "lmdb"} do
			it(("gives the tree of git when it is replayed over %s (%d events) [W3f]"):format(backend, case.commits + case.files), function()
				if not lfs.attributes(DATA .. case.name .. ".tree") then return pending("no folder " .. DATA .. ": skipped") end
				local events = history(case.name)
				local store = backend == "memory" and helper.memory() or helper.open(nil, {durability = "none"})
				for first = 1, #events, 1000 do
					assert(store:store_events(table.move(events, first, math.min(first + 999, #events), 1, {})))
				end
				assert.equal(case.commits + case.files, assert(store:get_latest_event_num()))

				local registry = helper.registry(store)
				local tree, files, commits, wrong = {}, 0, 0, 0
				assert(registry:watch("tree", function(event)
					files = files + 1
					local object = event.object
					if (tree[object.path] == nil) ~= (event.operation == vigia.CREATE) then wrong = wrong + 1 end
					tree[object.path] = event.operation ~= vigia.DELETE and object.blob or nil
				end, {filter = {object_types = {"File"}}, ephemeral = true}))
				local subjects = {}
				assert(registry:watch("commits", function(event)
					commits = commits + 1
					subjects[event.seq_num] = event.object.subject
				end, {filter = {object_types = {"Commit"}}}))
				helper.drain(registry, assert(registry:get_watcher("tree")), assert(registry:get_watcher("commits")))
				assert(registry:stop())

				assert.same({case.files, case.commits, 0}, {files, commits, wrong})
				local expected = assert(io.open(DATA .. case.name .. ".tree")):read("a")
				assert(lines_of(tree) == expected, "the tree differs from git's")
				assert.equal(case.at_the_end, select(2, expected:gsub("\n", "")))
				for seq_num, subject in pairs(subjects) do assert.equal(events[seq_num].object.subject, subject) end
				assert.equal(#events, assert(store:get_checkpoint("commits")))
			end)
		end

		it("comes back equal, event by event [E5q]", function()
			if not lfs.attributes(DATA .. case.name .. ".tree") then return pending("no folder " .. DATA .. ": skipped") end
			local events = history(case.name)
			local store = helper.memory()
			assert(store:store_events(events))
			local answer, n = {next_event_iterator = vigia.trim_horizon()}, 0
			repeat
				answer = assert(store:get_events{event_iterator = answer.next_event_iterator, limit = 5000, timeout = 0})
				for _, event in ipairs(answer.events) do
					n = n + 1
					assert.same({events[n].operation, events[n].object_type}, {event.operation, event.object_type})
					local difference = helper.difference(events[n].object, event.object)
					assert(not difference, difference)
				end
			until #answer.events == 0
			assert.equal(#events, n)
		end)
	end)
end
