-- annotations_spec.lua - lua/vigia/api.lua and its parts describe the Lua API: they and the module have the same, no more, no less.

local helper = require "spec.helper"
local testing = require "vigia.testing"
local vigia = require "vigia"

local api = dofile "scripts/api.lua"
local folder = assert(package.searchpath("vigia.api", package.path)):match("^(.*)/")

-- What the files describe: functions[class][name] = list of parameters, fields[class][name] = its type, constants[name] = value.
local function described()
	local functions, fields, constants = {}, {}, {}
	local class, last, of_variable = nil, nil, {}
	local lines = {}
	for _, name in ipairs(api.FILES) do
		for line in io.lines(folder .. "/" .. name) do lines[#lines + 1] = line end
	end
	for _, line in ipairs(lines) do
		local named = line:match("^%-%-%-@class ([%w_.]+)")
		if named then
			class = named
			fields[class] = fields[class] or {}
		end
		local field, kind = line:match("^%-%-%-@field ([%w_]+%??) (.*)$")
		if field then
			fields[class][field], last = kind, field
		elseif last and line:find("^%-%-%-[^@]") then -- its text goes on
			fields[class][last] = fields[class][last] .. " " .. line:sub(4)
		else
			last = nil
		end
		local variable = line:match("^local ([%w_]+) = {}")
		if variable then
			of_variable[variable] = class
			functions[class] = functions[class] or {}
		end
		local owner, name, parameters = line:match("^function ([%w_]+)[.:]([%w_]+)%((.-)%)")
		if owner then
			local list = {}
			for parameter in parameters:gmatch("[%w_]+") do list[#list + 1] = parameter end
			functions[of_variable[owner]][name] = list
		end
		local constant, value = line:match('^vigia%.([%w_]+) = "(.-)"')
		if constant then constants[constant] = value end
	end
	return functions, fields, constants
end

local functions, fields, constants = described()

-- ---- the format ----

local TAGS = {class = true, field = true, alias = true, param = true, ["return"] = true, type = true, generic = true, meta = true}
local BUILTIN = {}
for name in ("any nil boolean string number integer function table thread userdata lightuserdata true false unknown void"):gmatch("%a+") do
	BUILTIN[name] = true
end

-- Reads a type of lua-language-server at the beginning of a text: the names in it are told to `use`. Answers where it ends.
local function read_type(text, at, use)
	local kind

	-- Read it if it is next.
	local function word(pattern)
		local first, last, found = text:find("^%s*(" .. pattern .. ")", at)
		if first then at = last + 1 end
		return found
	end

	local function expect(pattern)
		return word(pattern) or error(("%q: %s expected at %q"):format(text, pattern, text:sub(at)), 0)
	end

	local function list(closing, item)
		if word(closing) then return end
		repeat item() until not word(",")
		expect(closing)
	end

	local function named()
		expect("[%a_][%w_]*")
		word("%?")
		expect(":")
		kind()
	end

	local function simple()
		if word("%(") then
			kind()
			expect("%)")
		elseif word("{") then
			list("}", function()
				if not word("%[") then return named() end
				kind()
				expect("%]")
				expect(":")
				kind()
			end)
		elseif word("fun%(") then
			list("%)", function()
				if not word("%.%.%.") then expect("[%a_][%w_]*") end
				word("%?")
				if word(":") then kind() end
			end)
			if word(":") then
				repeat kind() until not word(", ?%f[%S]")
			end
		elseif not word('"[^"]*"') and not word("%-?%d+") and not word("file%*") then
			use(expect("[%a_][%w_.]*"))
			if word("<") then list(">", kind) end
		end
		while text:find("^%[%]", at) or text:find("^%?", at) do at = text:find("^%?", at) and at + 1 or at + 2 end
	end

	function kind()
		repeat simple() until not word("|")
	end

	kind()
	return at
end

local function names(map)
	local list = {}
	for name in pairs(map) do list[#list + 1] = name end
	table.sort(list)
	return list
end

-- The fields of a class with their marks for "may be absent" taken off.
local function field_names(class, only_required)
	local list = {}
	for field, kind in pairs(fields[class]) do
		local optional = field:find("?", 1, true) or kind:find("^[%w_.]+%?") or kind:find("^any")
		if not (only_required and optional) then list[#list + 1] = (field:gsub("%?", "")) end
	end
	table.sort(list)
	return list
end

-- The methods of an object, without metamethods.
local function methods(object)
	return names(debug.getmetatable(object).__index)
end

-- The same of an object that is a Lua table.
local function own_methods(object)
	local list = {}
	for name, value in pairs(debug.getmetatable(object).__index) do
		if type(value) == "function" and not name:find("^__") then list[#list + 1] = name end
	end
	table.sort(list)
	return list
end

-- Every field of the value is described, and every described one that may not be absent is there.
local function has_fields(class, value)
	local known = {}
	for _, name in ipairs(field_names(class)) do known[name] = true end
	for name in pairs(value) do assert(known[name], ("%s.%s is not described"):format(class, name)) end
	for _, name in ipairs(field_names(class, true)) do
		assert(value[name] ~= nil, ("%s.%s is described and not there"):format(class, name))
	end
end

describe("the description of the Lua API", function()
	after_each(helper.clean)

	it("is in the format of lua-language-server, and names no type that is not described", function()
		local known, used, count = {}, {}, 0
		local files = helper.shell("find lua -name '*.lua'")
		for path in files:gmatch("[^\n]+") do
			local number, generic = 0, nil
			for line in io.lines(path) do
				number = number + 1
				local here = ("%s:%d: %s"):format(path, number, line)
				local tag, rest = line:match("^%s*%-%-%-@(%a+)%s*(.*)$")
				if not line:find("^%s*%-%-%-") then generic = nil end
				if tag then
					assert(TAGS[tag], here)
					local at = 1
					if tag == "class" then
						local name, parent = rest:match("^([%w_.]+)%s*:?%s*(.*)$")
						known[assert(name, here)] = true
						at = #rest - #parent + 1
						if parent == "" then at = nil end
					elseif tag == "field" or tag == "param" then
						at = select(2, rest:find("^[%w_]+%??%s+")) or select(2, rest:find("^%.%.%.%s+"))
						at = assert(at, here) + 1
					elseif tag == "alias" or tag == "generic" then
						local name, text = rest:match("^([%w_.]+):?%s+(.*)$")
						if tag == "alias" then known[assert(name, here)] = true else generic = assert(name, here) end
						at = #rest - #text + 1
					elseif tag == "meta" then
						at = nil
					end
					if at then
						count = count + 1
						local ok, last = pcall(read_type, rest, at, function(name)
							if name ~= generic then used[name] = here end
						end)
						assert(ok, here .. ": " .. tostring(last))
						assert(rest:find("^%s", last) or last > #rest, here .. ": after the type: " .. rest:sub(last))
					end
				end
			end
		end
		for name, here in pairs(used) do assert(known[name] or BUILTIN[name], here .. ": there is no type " .. name) end
		assert(count > 300, count)
	end)

	it("says what each function does", function()
		local silent, count = {}, 0
		for _, item in ipairs(api.read(folder)) do
			if item.kind == "function" then
				count = count + 1
				if item.description == "" then silent[#silent + 1] = ("line %d: %s"):format(item.line, item.name) end
			end
		end
		assert.same({}, silent)
		assert(count > 40, count)
	end)

	it("tells each parameter of each function, in their order", function()
		for _, item in ipairs(api.read(folder)) do
			if item.kind == "function" then
				local told = {}
				for i, param in ipairs(item.params) do told[i] = param.name end
				assert.same(item.parameters, told, item.name)
			end
		end
	end)

	it("becomes a reference that has all of it", function()
		local text, good = helper.shell("lua5.4 scripts/reference")
		assert(good, text)
		for class, list in pairs(functions) do
			for name in pairs(list) do
				local head = "\n### " .. class
				assert(text:find(head .. "." .. name .. "(", 1, true) or text:find(head .. ":" .. name .. "(", 1, true), class .. "." .. name)
			end
		end
		for class, list in pairs(fields) do
			assert(text:find("\n## " .. class .. "\n", 1, true), class)
			for field in pairs(list) do assert(text:find("\n| `" .. field:gsub("%?", ""), 1, true), field) end
		end
	end)

	it("has the functions and constants of the module", function()
		local module = {}
		for name, value in pairs(vigia) do
			if type(value) == "function" then module[name] = true end
		end
		assert.same(names(functions.vigia), names(module))
		for name, value in pairs(constants) do assert.equal(value, vigia[name], name) end
		for name, value in pairs(vigia) do
			assert(type(value) == "function" or constants[name] or name == "null", ("vigia.%s is not described"):format(name))
		end
	end)

	it("has the methods of stores, registries and watchers", function()
		local store = helper.memory()
		local registry = helper.registry(store)
		local watcher = assert(registry:watch("a", function() end))
		assert.same(names(functions["vigia.Store"]), methods(store))
		assert.same(names(functions["vigia.Registry"]), methods(registry))
		assert.same(names(functions["vigia.Watcher"]), methods(watcher))
	end)

	it("has the functions and methods of the doubles", function()
		assert.same(names(functions["vigia.testing"]), names(testing))
		assert.same(names(functions["vigia.Clock"]), methods(testing.clock()))
		assert.same(names(functions["vigia.testing.Handler"]), own_methods(testing.handler()))
		local handler = testing.handler()
		handler.handle(testing.event())
		has_fields("vigia.testing.Call", handler.calls[1])
		for _, name in ipairs(field_names("vigia.testing.Handler")) do assert(handler[name] ~= nil, name) end
		local script <close> = assert(testing.script(helper.write_file("x.lua", "(...).log('info', 'x') return print")))
		assert.same(names(functions["vigia.testing.Script"]), own_methods(script))
		has_fields("vigia.testing.LogRecord", script.log[1])
		local seen = {}
		for name, value in pairs(script) do seen[name] = name ~= "inside" and value or nil end
		has_fields("vigia.testing.Script", seen)
	end)

	it("has stores in Lua with the methods of a store, and registries and watchers of such with all of theirs", function()
		local wrapped, mock = helper.wrapped(), testing.mock_store()
		assert.same(names(functions["vigia.Store"]), own_methods(wrapped))
		local expected = names(functions["vigia.Store"])
		for name in pairs(functions["vigia.testing.MockStore"]) do expected[#expected + 1] = name end
		table.sort(expected)
		assert.same(expected, own_methods(mock))
		mock:stats()
		has_fields("vigia.testing.StoreCall", mock.calls[1])
		local registry = helper.registry(wrapped)
		helper.fill(wrapped, 1)
		local watcher = assert(registry:watch("a", function() error("x") end, {retry_strategy = "skip", max_retries = 1}))
		helper.drain(registry, watcher)
		assert.same(names(functions["vigia.Registry"]), own_methods(registry))
		assert.same(names(functions["vigia.Watcher"]), own_methods(watcher))
		has_fields("vigia.WatcherStats", watcher:stats())
	end)

	it("has doubles with the methods of registries and watchers, and values with the fields of events and contexts", function()
		local registry, watcher = testing.registry(), testing.watcher()
		local methods_of_double = names(registry)
		for index, name in ipairs(methods_of_double) do
			if functions["vigia.testing.Registry"][name] then table.remove(methods_of_double, index) end
		end
		assert.same(names(functions["vigia.Registry"]), methods_of_double)
		assert.same(names(functions["vigia.Watcher"]), names(watcher))
		has_fields("vigia.WatcherStats", watcher:stats())
		has_fields("vigia.Event", testing.event{object = 1})
		has_fields("vigia.Context", testing.context())
	end)

	it("has the fields of events, returns, iterators and errors", function()
		local store = helper.memory()
		helper.fill(store, 1)
		local answer = assert(store:get_events{timeout = 0})
		has_fields("vigia.Events", answer)
		has_fields("vigia.Event", answer.events[1])
		for _, name in ipairs(field_names("vigia.Iterator")) do assert(answer.next_event_iterator[name] ~= nil, name) end
		has_fields("vigia.Error", select(2, vigia.open("/no/such/folder/store")))
		has_fields("vigia.Error", select(2, store:get_checkpoint("a")))
	end)

	it("has the fields of the statistics, for a file and in memory", function()
		for _, store in ipairs{helper.memory(), helper.open()} do
			helper.fill(store, 1)
			local stats = assert(store:stats())
			has_fields("vigia.StoreStats", stats)
			for name, kind in pairs(fields["vigia.StoreStats"]) do
				if kind:find("^integer") then assert.equal("integer", math.type(stats[name]), name) end
				if kind:find("^string") then assert.equal("string", type(stats[name]), name) end
			end
			local registry = helper.registry(store)
			local watcher = assert(registry:watch("a", function() error("x") end, {retry_strategy = "skip", initial_backoff = 0.001}))
			helper.drain(registry, watcher)
			has_fields("vigia.WatcherStats", watcher:stats())
			has_fields("vigia.Error", watcher:stats().last_error)
		end
	end)

	it("has the fields of a handler's context", function()
		local store = helper.memory()
		helper.fill(store, 1)
		local registry = helper.registry(store)
		local missing, context = {}, nil
		local watcher = assert(registry:watch("a", function(_, ctx)
			context = ctx
			for _, name in ipairs(field_names("vigia.Context", true)) do
				if ctx[name] == nil then missing[#missing + 1] = name end
			end
			assert(ctx.tx and not ctx.dead_letter)
		end, {transactional = true}))
		helper.drain(registry, watcher)
		assert.same({}, missing)
		assert(context)
	end)

	-- A value that an option of this type takes.
	local function sample(kind)
		if kind:find("^boolean") then return false end
		if kind:find("^integer") then return 4096 end
		if kind:find("^number") then return 1 end
		if kind:find("^fun") or kind:find("^vigia.Predicate") then return function() end end
		if kind:find("^vigia.Iterator") then return vigia.latest() end
		if kind:find("^vigia.Filter") then return {} end
		if kind:find("^vigia.Clock") then return testing.clock() end
		if kind:find("^table<string, vigia.Wanted") then return {["object.a"] = "x"} end
		if kind:find("^string%[%]") then return {"x"} end
		if kind:find("^string") then return "name" end
		return assert(kind:match('^"(.-)"'), kind)
	end

	-- The options of a class, each with a sample.
	local function samples(class)
		local options = {}
		for field, kind in pairs(fields[class]) do options[(field:gsub("%?", ""))] = sample(kind) end
		return options
	end

	it("has options that are all taken", function()
		local options = samples("vigia.StoreOptions")
		options.create, options.readonly, options.map_size = true, false, 1 << 24
		options.checkpoint_bucket = "another name"
		local store = helper.open(nil, options)
		assert(store:get_events(samples("vigia.GetEvents")))
		local registry = helper.registry(store, samples("vigia.RegistryOptions"))
		assert(registry:stop(samples("vigia.StopOptions")))
		local watching = samples("vigia.WatchOptions")
		watching.lanes, watching.lane_key = 64, "object.name"
		local watcher = assert(registry:watch("a", function() end, watching))
		assert(watcher:stop(samples("vigia.StopOptions")))
		local filter = samples("vigia.Filter")
		for _, name in ipairs(names(filter)) do assert(store:get_events{timeout = 0, filter = {[name] = filter[name]}}) end
	end)

	it("has all options that are taken", function()
		local core = require "vigia.core"
		for class, kind in pairs{["vigia.StoreOptions"] = "store", ["vigia.WatchOptions"] = "watch", ["vigia.RegistryOptions"] = "registry"} do
			local taken = {}
			for _, option in ipairs(core.options(kind)) do taken[option.name] = true end
			assert.same(names(taken), field_names(class))
		end
		-- A script's watcher takes both kinds.
		local taken, both = {}, {}
		for _, option in ipairs(core.options("script")) do taken[option.name] = true end
		for _, class in ipairs{"vigia.ScriptOptions", "vigia.WatchOptions"} do
			for _, name in ipairs(field_names(class)) do both[name] = true end
		end
		assert.same(names(taken), names(both))
	end)

	it("says of each option what the code says", function()
		local core = require "vigia.core"
		local compared = 0
		for class, kind in pairs{["vigia.StoreOptions"] = "store", ["vigia.WatchOptions"] = "watch", ["vigia.RegistryOptions"] = "registry",
			["vigia.StopOptions"] = "stop"} do
			for _, option in ipairs(core.options(kind)) do
				local said = fields[class][option.name .. "?"]
				assert(said and said:find(option.help, 1, true), option.name .. ": " .. tostring(said))
				if type(option.default) == "boolean" then
					assert(said:find("Default: " .. tostring(option.default), 1, true), option.name .. ": " .. said)
				end
				compared = compared + 1
			end
		end
		assert(compared > 40, compared .. " options compared")
	end)
end)
