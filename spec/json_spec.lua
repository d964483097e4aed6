-- json_spec.lua - events as NDJSON: what vigia.to_json writes, and that `vigia append` reads back exactly what was written.

local helper = require "spec.helper"
local vigia = require "vigia"

local fails, raises = helper.fails, helper.raises
local array, null = vigia.array, vigia.null

local function event(object)
	return {seq_num = 7, timestamp = 1700000000123456789, operation = "CREATE", object_type = "Job", object = object}
end

-- The JSON of the object alone.
local function json(object)
	local line = assert(vigia.to_json(event(object)))
	local head = '{"seq_num":7,"timestamp":1700000000123456789,"operation":"CREATE","object_type":"Job","object":'
	assert.equal(head, line:sub(1, #head))
	return line:sub(#head + 1, -2)
end

describe("vigia.to_json", function()
	after_each(helper.clean)

	it("writes an event as one line with all its fields [Z4a]", function()
		assert.equal('{"seq_num":7,"timestamp":1700000000123456789,"operation":"CREATE","object_type":"Job","object":{"a":1}}',
			vigia.to_json(event{a = 1}))
		local store = helper.memory()
		helper.fill(store, 1)
		local stored = assert(store:get_event(1))
		local expected = '{"seq_num":1,"timestamp":%d,"operation":"CREATE","object_type":"Job","object":{"n":1}}'
		assert.equal(expected:format(stored.timestamp), vigia.to_json(stored))
	end)

	it("keeps integers and floats apart, and every digit [Z4b]", function()
		assert.equal("1", json(1))
		assert.equal("1.0", json(1.0))
		assert.equal("-0.0", json(-0.0))
		assert.equal("9223372036854775807", json(math.maxinteger))
		assert.equal("-9223372036854775808", json(math.mininteger))
		for _, x in ipairs{0.1, 1 / 3, 5e-324, 1e308, 1e15, 1e16, 1e17, 2.0 ^ 53, 123456789.125, -1.5e-7, 2.0 ^ 63, 1e100} do
			local text = json(x)
			assert.equal(x, tonumber(text))
			assert(text:find("[.eE]"), text .. " must not look like an integer")
			assert(#text <= 24, text .. " is not the shortest form")
		end
	end)

	it("keeps null, booleans, empty arrays and empty maps [Z4c]", function()
		assert.equal("null", json(nil))
		assert.equal("[null,true,false]", json{null, true, false})
		assert.equal("[]", json(array{}))
		assert.equal("{}", json{})
		assert.equal("[[],{},[{}]]", json{array{}, {}, array{{}}})
	end)

	it("writes text as UTF-8, and escapes what must be [Z4d]", function()
		assert.equal('"größe 日本語 \u{1F600}"', json("größe 日本語 \u{1F600}"))
		assert.equal([["\"\\"]], json('"\\'))
		for byte = 0, 31 do
			local text = json(string.char(byte))
			assert.is_nil(text:find("%c"), text)
			assert(text:find('^"\\[bfnrtu]'), text)
		end
		assert.equal('""', json(""))
		assert.equal('{"":1}', json{[""] = 1})
		assert.equal('"\127"', (json("\127"):gsub("\\u007[fF]", "\127")))
	end)

	it("writes what JSON has no form for in a form of its own [Z4e]", function()
		assert.equal('{"$float":"nan"}', json(0 / 0))
		assert.equal('{"$float":"inf"}', json(math.huge))
		assert.equal('{"$float":"-inf"}', json(-math.huge))
		assert.equal('{"$bytes":"//4="}', json("\xff\xfe"))
		assert.equal('{"$bytes":"AP8="}', json("\0\xff"))
		assert.equal('{"$map":[[1.5,"x"]]}', json{[1.5] = "x"})
		assert.equal('{"$map":[[true,"x"]]}', json{[true] = "x"})
		assert.equal('{"$map":[[{"$bytes":"/w=="},1]]}', json{["\xff"] = 1})
		assert.equal('{"$map":[["$float","nan"]]}', json{["$float"] = "nan"})
	end)

	it("refuses what no event can be, and says where [Z4f]", function()
		for _, object in ipairs{{print, "object"}, {{a = {print}}, "object.a[1]"}} do
			helper.mentions(fails("serialization_error", vigia.to_json(event(object[1]))), object[2])
		end
		for _, wrong in ipairs{{}, {operation = "CREATE"}, {operation = 5, object_type = "Job"}} do
			local ok, line, err = pcall(vigia.to_json, wrong)
			assert(not ok or line == nil and err)
		end
		raises(vigia.to_json)
		raises(vigia.to_json, "text")
	end)
end)

describe("NDJSON through the program", function()
	local program

	before_each(function() program = helper.program() end)
	after_each(helper.clean)

	-- What `vigia append` makes of these lines: the store, and what the program said.
	local function append(text)
		local input = assert(io.open(helper.path("input"), "wb"))
		input:write(text)
		input:close()
		local path = helper.path("store")
		local output, ok = helper.shell(("%s append --store %s < %s"):format(helper.quoted(program), path, helper.path("input")))
		return output, ok, path
	end

	local function line(object_json)
		return '{"operation":"CREATE","object_type":"Job","object":' .. object_json .. "}\n"
	end

	it("reads back exactly what was written [Z4g]", function()
		if not program then return pending("the program vigia is not built") end
		local objects = {
			1, 1.0, -0.0, 0.1, 5e-324, 1e308, math.maxinteger, math.mininteger, 0 / 0, math.huge, -math.huge, true, false, "",
			"größe", "\xff\0\xfe", ("\xff"):rep(1000), "\u{2028}\u{FFFF}\0\31\127\"\\/", array{}, {}, {1, 1.0, null, "x", array{}, {}},
			{a = {b = {c = {1, {2}}}}}, {["$float"] = "nan"}, {["$bytes"] = "AA=="}, {["$map"] = array{}}, {["$map"] = {{1, 2}}},
			{["$float"] = 1, x = 2}, {["$other"] = 1}, {[1.5] = 1, [true] = 2, [-3] = 4}, {["\xff"] = "\xff"}, {[2] = "two"},
			{nested = {["$float"] = 5}},
		}
		local lines = {}
		for index, object in ipairs(objects) do lines[index] = assert(vigia.to_json(event(object))) .. "\n" end
		local output, ok, path = append(table.concat(lines))
		assert(ok, output)
		local store = helper.open(path)
		for index, object in ipairs(objects) do
			local back = assert(store:get_event(index))
			assert.is_nil(helper.difference(object, back.object))
		end
		local dump = helper.shell(("%s events --store %s"):format(helper.quoted(program), path))
		local index = 0
		for text in dump:gmatch("[^\n]+") do
			index = index + 1
			assert.equal(lines[index]:match('"object":(.*)\n'), text:match('"object":(.*)'), "the order of the keys is kept, too")
			helper.mentions(text, ('{"seq_num":%d,"timestamp":%d,'):format(index, assert(store:get_event(index)).timestamp))
		end
		assert.equal(#objects, index)
	end)

	it("refuses integers outside int64, duplicate keys and invalid UTF-8 with the line, and stores what was before [Z4h]", function()
		if not program then return pending("the program vigia is not built") end
		local long = ("1"):rep(400)
		for _, bad in ipairs{
			"9223372036854775808", "-9223372036854775809", long, '{"a":1,"a":2}', '{"x":{"a":1,"\\u0061":2}}', '"\xff"',
			'"\xed\xa0\x80"', '"\\ud800"', "1e999", "01", "nan", "[1,]", '"a\nb"', ("["):rep(140) .. ("]"):rep(140), '"x" 5', "",
		} do
			os.remove(helper.path("store"))
			local output, ok, path = append(line("1") .. line("2") .. line(bad) .. line("4"))
			assert(not ok, bad)
			helper.mentions(output, "line 3")
			local store = helper.open(path)
			assert.equal(2, assert(store:get_latest_event_num()), bad)
			store:close()
		end
	end)

	it("reads the edges of int64 [Z4i]", function()
		if not program then return pending("the program vigia is not built") end
		local lines = line("9223372036854775807") .. line("-9223372036854775808") .. line("-0") .. line("1E2") .. line("1e0")
		local output, ok, path = append(lines)
		assert(ok, output)
		local store = helper.open(path)
		local got = {}
		for n = 1, 5 do got[n] = assert(store:get_event(n)).object end
		assert.is_nil(helper.difference(math.maxinteger, got[1]))
		assert.is_nil(helper.difference(math.mininteger, got[2]))
		assert.is_nil(helper.difference(0, got[3]))
		assert.is_nil(helper.difference(100.0, got[4]))
		assert.is_nil(helper.difference(1.0, got[5]))
	end)
end)
