-- descriptors_spec.lua - a host whose standard descriptors are closed: nothing of ours gets their numbers (contract S22).

local helper = require "spec.helper"
local lfs = require "lfs"

-- In a child without standard descriptors: what 0, 1 and 2 are, but for those the child opened itself.
local LOOK <const> = [[
	local lfs = require "lfs"
	local found = {}
	local function look(when)
		for fd = 0, 2 do
			-- While another thread opens something, "/" stands in for those that are closed (store/fd.h): it may not stay.
			local target, tries = nil, 0
			repeat
				target, tries = lfs.symlinkattributes("/proc/self/fd/" .. fd, "target"), tries + 1
				if target == "/" then vigia.sleep(0.005) end
			until target ~= "/" or tries > 1000
			if target then found[#found + 1] = when .. ": " .. fd .. " is " .. target end
		end
	end
	local function report()
		local file <close> = assert(io.open(arg[2], "w"))
		file:write(#found == 0 and "nothing" or table.concat(found, "\n"))
	end
]]

describe("standard descriptors that are closed", function()
	local program = helper.program()
	local report

	before_each(function() report = helper.path("report") end)
	after_each(helper.clean)

	local function run_closed(which, source, ...)
		helper.shell(("{ %s %s; }"):format(helper.lua_command(source, helper.path("store"), report, ...), which))
	end

	it("do not become the store's files: what the host prints is lost, and nothing else [S22a]", function()
		for _, which in ipairs{"<&- >&- 2>&-", ">&-", "<&- >&-", ">&- 2>&-", "<&- 2>&-"} do
			run_closed(which, [[
				local store = assert(vigia.open(arg[1]))
				for n = 1, 50 do
					print(("a line of the application's, %d; "):format(n):rep(200))
					io.stdout:flush()
					io.stderr:write(("and what went wrong, %d; "):format(n):rep(200))
					assert(store:store_event("CREATE", "Job", n))
				end
				store:close()
			]])
			local store = helper.open()
			assert.equal(50, store:get_latest_event_num(), which)
			assert.equal(50, #helper.read(store, {limit = 100}), which)
			for _, name in ipairs{"store", "store-lock", "store-side"} do
				assert.is_nil(helper.read_file(helper.path(name)):find("application", 1, true), which .. " " .. name)
				assert.is_nil(helper.read_file(helper.path(name)):find("went wrong", 1, true), which .. " " .. name)
			end
			store:close()
			for _, name in ipairs{"store", "store-lock", "store-side"} do os.remove(helper.path(name)) end
		end
	end)

	it("stay closed, whatever is used: registry, poll descriptor, scripts, isolated scripts, backup, a second owner [S22b]", function()
		local script = helper.write_file("script.lua", "return function() end")
		run_closed("<&- >&- 2>&-", LOOK .. [[
			look("at first")
			local store = assert(vigia.open(arg[1]))
			look("open")
			local registry = assert(vigia.registry(store))
			local poll = registry:pollfd()
			look("pollfd")
			assert(registry:watch("function", function() end))
			assert(registry:watch("script", arg[3]))
			if arg[4] ~= "" then assert(registry:watch("isolated", arg[3], {isolation = "process", worker_program = arg[4]})) end
			assert(store:store_event("CREATE", "Job", 1))
			while registry:step(0.05) do look("step") end
			look("watchers")
			local other = assert(vigia.open(arg[1], {readonly = true}))
			assert(store:backup(arg[1] .. "-copy"))
			look("backup")
			assert(registry:stop())
			other:close()
			store:close()
			look("closed")
			report()
		]], script, program or "")
		assert.equal("nothing", helper.read_file(report))
	end)

	it("of a script's own program are not its socket, nor a file of the store's [S22c]", function()
		if not program then return helper.pending("the program vigia was not built beside the module") end
		local script = helper.write_file("script.lua", [[
			local report = ...
			local function note(text)
				local file <close> = assert(io.open(report.set.report, "w"))
				file:write(text)
			end
			return function()
				print("printed")
				local lfs, found = require "lfs", {}
				for fd = 0, 2 do found[#found + 1] = lfs.symlinkattributes("/proc/self/fd/" .. fd, "target") or "closed" end
				note(table.concat(found, " "))
			end]])
		run_closed("<&- >&- 2>&-", [[
			local store = assert(vigia.open(arg[1]))
			local registry = assert(vigia.registry(store))
			assert(registry:watch("a", arg[3], {isolation = "process", worker_program = arg[4], set = {report = arg[2]}}))
			assert(store:store_event("CREATE", "Job", 1))
			while registry:step(0.2) do end
			registry:stop()
		]], script, program)
		assert.equal("/dev/null /dev/null /dev/null", helper.read_file(report))
		assert.equal(1, helper.open():get_latest_event_num())
	end)

	it("are left to the host: what it puts there while stores are opened stays [S22d]", function()
		run_closed("<&- >&-", LOOK .. [[
			local mine = assert(io.open(arg[2] .. "-mine", "w")) -- 0
			for n = 1, 20 do vigia.open(arg[1]):close() end
			mine:write("whole")
			mine:close()
			look("closed")
			report()
		]])
		assert.equal("nothing", (helper.read_file(report):gsub("closed: 2 [^\n]*", "nothing")))
		assert.equal("whole", helper.read_file(report .. "-mine"))
		assert.equal("file", lfs.attributes(helper.path("store"), "mode"))
	end)
end)
