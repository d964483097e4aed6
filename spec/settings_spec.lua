-- settings_spec.lua - the settings that belong to a store's file: given when it is made, shown, changed for all processes (contract S12).

local helper = require "spec.helper"
local vigia = require "vigia"

local fails, mentions, raises = helper.fails, helper.mentions, helper.raises

-- The program's output and whether it ended well.
local function program(words)
	return helper.shell(helper.quoted(helper.program()) .. " " .. words .. " --store " .. helper.quoted(helper.path("store")))
end

describe("the settings of a file", function()
	after_each(helper.clean)

	for name, path in pairs{["a file"] = false, ["memory"] = ":memory:"} do
		it("are given when it is made and shown by stats, in " .. name .. " [S12a]", function()
			local store = helper.open(path or nil, {max_event_size = 4096, durability = "none", events_bucket = "log"})
			local stats = assert(store:stats())
			assert.same({4096, "none", "log", "checkpoints"},
				{stats.max_event_size, stats.durability, stats.events_bucket, stats.checkpoint_bucket})
		end)

		it("are changed by configure, at once, in " .. name .. " [S12b]", function()
			local store = helper.open(path or nil)
			assert.is_true(store:configure{max_event_size = 100})
			assert.equal(100, store:stats().max_event_size)
			fails("event_too_large", store:store_event("CREATE", "Job", ("x"):rep(100)))
			assert.is_true(store:configure{max_event_size = 1000, durability = "none"})
			assert(store:store_event("CREATE", "Job", ("x"):rep(100)))
			assert.equal("none", store:stats().durability)
		end)

		it("are all checked before any is changed, in " .. name .. " [S12c]", function()
			local store = helper.open(path or nil)
			mentions(raises(store.configure, store, {max_event_size = 5000, durability = "never", max_event_sise = 1}),
				"durability", "never", "max_event_sise", "did you mean max_event_size")
			mentions(raises(store.configure, store, {max_event_size = 5000, events_bucket = "other"}), "events_bucket", "cannot be changed")
			mentions(raises(store.configure, store, {readonly = true}), "readonly", "vigia.open")
			raises(store.configure, store)
			assert.equal(1048576, store:stats().max_event_size)
		end)
	end

	-- For each setting another value than its default.
	local OTHER <const> = {
		max_event_size = 5000, durability = "none", commit_interval = 2.5, serializer = "json", events_bucket = "log",
		checkpoint_bucket = "marks", gc_cadence = 7, gc_age_threshold = 90, gc_max_records_per_run = 5, gc_max_duration = 3,
		checkpoint_ttl = 4, max_events = 6, max_bytes = 70000, retention_passes_checkpoints = true, journal = false,
	}

	for name, path in pairs{["a file"] = "store", ["memory"] = false} do
		it("each of them belongs to the file: kept, shown, changed, and refused where it differs, in " .. name .. " [S12j]", function()
			local scopes, defaults = {}, {}
			for _, option in ipairs(require("vigia.core").options("store")) do
				if option.scope ~= "handle" then scopes[option.name], defaults[option.name] = option.scope, option.default end
			end
			for option in pairs(scopes) do assert.is_not_nil(OTHER[option], option) end
			for option in pairs(OTHER) do
				assert(scopes[option], option)
				local fixed = option:find("_bucket") ~= nil or option == "serializer" -- what events are written by
				assert.equal(fixed and "fixed" or "file", scopes[option])
				local given = helper.open(path and helper.path(option) or ":memory:", {[option] = OTHER[option]})
				assert.equal(OTHER[option], given:stats()[option])
				local store = helper.open(path and helper.path(option .. " by default") or ":memory:")
				assert.equal(defaults[option], store:stats()[option])
				if path then
					local err = fails("option_conflict", vigia.open(helper.path(option .. " by default"), {[option] = OTHER[option]}))
					mentions(err, option)
					helper.open(helper.path(option .. " by default"), {[option] = defaults[option]}):close()
				end
				if fixed then
					mentions(raises(store.configure, store, {[option] = OTHER[option]}), option, "cannot be changed")
				else
					assert.is_true(store:configure{[option] = OTHER[option]})
					assert.equal(OTHER[option], store:stats()[option])
				end
				if path then
					given:close()
					assert.equal(OTHER[option], helper.open(helper.path(option)):stats()[option])
				end
			end
		end)
	end

	it("stay changed when the file is opened again, and the old value is a conflict [S12d]", function()
		local store = helper.open(nil, {max_event_size = 5000})
		assert(store:configure{max_event_size = 6000})
		mentions(fails("option_conflict", vigia.open(helper.path("store"), {max_event_size = 5000})), "max_event_size", "5000", "6000")
		store:close()
		mentions(fails("option_conflict", vigia.open(helper.path("store"), {max_event_size = 5000})), "max_event_size", "5000", "6000")
		assert.equal(6000, helper.open(nil, {max_event_size = 6000}):stats().max_event_size)
	end)

	it("are followed by other processes with their next commit [S12e]", function()
		local store = helper.open()
		assert(store:store_event("CREATE", "Job", 1))
		assert(os.execute("mkfifo " .. helper.quoted(helper.path("go"))))
		local child = helper.child([[
			local store = assert(vigia.open(arg[1]))
			assert(store:store_event("CREATE", "Job", ("x"):rep(200)))
			say("open")
			for line in io.lines(arg[2]) do
				local n, err = store:store_event("CREATE", "Job", ("x"):rep(200))
				say(n or err.code)
				break
			end
			say(store:stats().max_event_size)
		]], helper.path("store"), helper.path("go"))
		child:expect("open")
		assert(store:configure{max_event_size = 100})
		local go = assert(io.open(helper.path("go"), "w"))
		go:write("go\n")
		go:close()
		child:expect("event_too_large")
		child:expect("100")
		assert.equal(2, store:get_latest_event_num())
	end)

	it("refuses to change a store that is read-only or closed [S12f]", function()
		helper.open():close()
		local store = helper.open(nil, {readonly = true})
		fails("store_readonly", store:configure{max_event_size = 100})
		store:close()
		fails("store_closed", store:configure{max_event_size = 100})
	end)

	it("refuses bucket names that are taken, or equal [S12g]", function()
		mentions(raises(vigia.open, helper.path("store"), {events_bucket = "vigia.marks"}), "vigia")
		mentions(raises(vigia.open, helper.path("store"), {events_bucket = "a", checkpoint_bucket = "a"}), "events_bucket", "checkpoint_bucket")
	end)

	if not helper.program() then return end

	it("are shown and changed by `vigia configure` [S12h]", function()
		helper.open():close()
		mentions(program("configure"), "max_event_size=1048576", "durability=commit", "events_bucket=events")
		local output, ok = program("configure max_event_size=2MiB durability=none")
		assert(ok, output)
		mentions(program("configure"), "max_event_size=2097152", "durability=none")
		for words, said in pairs{
			["max_event_size=no"] = "allowed: 64 to", ["durability=x"] = "durability is", ["events_bucket=x"] = "cannot be changed",
			["durabilty=none"] = "did you mean 'durability'", ["durability"] = "NAME=VALUE",
			["durability=none durability=commit"] = "given twice",
		} do
			output, ok = program("configure " .. words)
			assert.is_falsy(ok)
			mentions(output, said)
		end
	end)

	it("are told of by `vigia options`, with name, default and meaning [S12i]", function()
		local output = helper.shell(helper.quoted(helper.program()) .. " help options")
		for _, kind in ipairs{"store", "watch", "registry"} do
			for _, option in ipairs(require("vigia.core").options(kind)) do
				assert(output:find("\n  " .. option.name .. " +" .. option.type), option.name)
			end
		end
	end)
end)
