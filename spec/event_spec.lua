-- event_spec.lua - what an event carries: names, objects of every kind, sizes; what is refused; and the bytes it is stored as.

local helper = require "spec.helper"
local vigia = require "vigia"

local fails, mentions, raises = helper.fails, helper.mentions, helper.raises
local array, null = vigia.array, vigia.null

for _, backend in ipairs(helper.backends) do
	local open = backend.open

	describe("an event in a store of kind " .. backend.name, function()
		local store

		before_each(function() store = open() end)
		after_each(helper.clean)

		-- The object as it comes back from the store.
		local function carried(object)
			local seq_num = assert(store:store_event("CREATE", "Job", object))
			return assert(store:get_event(seq_num)).object
		end

		-- The object comes back as it went in, also when it is stored once more.
		local function comes_back(object)
			local back = carried(object)
			assert.is_nil(helper.difference(object, back))
			assert.is_nil(helper.difference(object, carried(back)))
			return back
		end

		-- A table that is `depth` tables deep.
		local function nested(depth, wrap)
			local object = wrap and wrap(7) or {7}
			for _ = 2, depth do object = wrap and wrap(object) or {object} end
			return object
		end

		---- names ----

		it("has constants for the three standard operations [E4a]", function()
			assert.same({"CREATE", "UPDATE", "DELETE"}, {vigia.CREATE, vigia.UPDATE, vigia.DELETE})
			for _, operation in ipairs{vigia.CREATE, vigia.UPDATE, vigia.DELETE} do
				local seq_num = assert(store:store_event(operation, "Job", nil))
				assert.equal(operation, assert(store:get_event(seq_num)).operation)
			end
		end)

		it("takes any operation and type of 1 to 255 bytes of UTF-8 [E4b]", function()
			local names = {
				"x", ("x"):rep(255), "create", "größer", "日本語", "\u{10FFFF}", ("é"):rep(127) .. "x", "a b", "a\0b", "1",
				"\u{7FF}\u{800}\u{FFFF}\u{10000}",
			}
			for _, name in ipairs(names) do
				local event = assert(store:get_event(assert(store:store_event(name, "Job", nil))))
				assert.same({name, "Job"}, {event.operation, event.object_type})
				event = assert(store:get_event(assert(store:store_event("CREATE", name, nil))))
				assert.same({"CREATE", name}, {event.operation, event.object_type})
			end
		end)

		it("refuses names that are empty, too long or no UTF-8, says which field it is, and stores nothing [E4c]", function()
			local names = {
				"", ("x"):rep(256), ("é"):rep(128), ("x"):rep(100000),
				"\xff", "\x80", "x\xe2\x82", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80",
			}
			for _, name in ipairs(names) do
				mentions(fails("invalid_argument", store:store_event(name, "Job", nil)), "operation")
				mentions(fails("invalid_argument", store:store_event("CREATE", name, nil)), "object_type")
			end
			assert.equal(0, assert(store:get_latest_event_num()))
		end)

		it("refuses names that are no strings, says which field it is, and stores nothing [E4d]", function()
			for _, name in ipairs{5, true, {}, print, null} do
				mentions(raises(store.store_event, store, name, "Job", nil), "operation")
				mentions(raises(store.store_event, store, "CREATE", name, nil), "object_type")
				mentions(raises(store.store_events, store, {{operation = name, object_type = "Job"}}), "operation")
				mentions(raises(store.store_events, store, {{operation = "CREATE", object_type = name}}), "object_type")
			end
			mentions(raises(store.store_event, store), "operation")
			mentions(raises(store.store_event, store, "CREATE"), "object_type")
			assert.equal(0, assert(store:get_latest_event_num()))
		end)

		it("names a place that is deep by its beginning and its end [E6]", function()
			local object, key = {}, ("x"):rep(30)
			local deepest = object
			for level = 10, 49 do
				deepest[key .. level] = {}
				deepest = deepest[key .. level]
			end
			deepest.f = print
			local message = fails("serialization_error", store:store_event("CREATE", "Job", object)).message
			mentions(message, ("object.%s10.%s11."):format(key, key), (".%s48.%s49.f: function"):format(key, key), "....")
			assert(#message < 1000)
		end)

		---- objects that are carried ----

		it("carries nil and booleans; a nil object must be written down, but in a batch it may be left out [E5a]", function()
			assert.is_nil(carried(nil))
			assert.is_nil(carried(null))
			assert.is_true(carried(true))
			assert.is_false(carried(false))
			mentions(raises(store.store_event, store, "CREATE", "Job"), "object")
			assert(store:store_events{{"CREATE", "Job"}, {operation = "CREATE", object_type = "Job"}})
			assert.is_nil(assert(store:get_event(5)).object)
		end)

		it("carries every integer exactly [E5b]", function()
			for _, n in ipairs{0, 32, 128, 256, 32768, 65536, 1 << 31, 1 << 32, 1 << 53} do
				for around = -2, 2 do
					comes_back(n + around)
					comes_back(-n + around)
				end
			end
			for _, n in ipairs{math.maxinteger, math.maxinteger - 1, math.mininteger, math.mininteger + 1, -32, -33, -128, -129} do
				comes_back(n)
			end
		end)

		it("carries every float exactly, and as a float [E5c]", function()
			for _, x in ipairs{
				0.0, -0.0, 1.0, -1.0, 0.1, 1 / 3, 1.5, 2.0 ^ 53, 2.0 ^ 63, -2.0 ^ 63, 1e308, -1e308, 5e-324, 2.2250738585072014e-308,
				3.4028234663852886e38, 16777217.0, math.huge, -math.huge, 0 / 0, -(0 / 0), math.pi,
			} do
				comes_back(x)
			end
		end)

		it("tells 1 from 1.0 and 0.0 from -0.0, inside tables too [E5d]", function()
			comes_back{one = 1, float = 1.0, zero = 0.0, minus = -0.0, list = {1, 1.0, -0.0, 0 / 0}}
			assert.equal("integer", math.type(carried(1)))
			assert.equal("float", math.type(carried(1.0)))
			assert.equal(-math.huge, 1 / carried(-0.0))
		end)

		it("carries strings of any bytes and lengths [E5e]", function()
			local bytes = {}
			for byte = 0, 255 do bytes[byte + 1] = string.char(byte) end
			comes_back(table.concat(bytes))
			for _, length in ipairs{0, 1, 31, 32, 255, 256, 65535, 65536, 200000} do
				comes_back(("x"):rep(length))
				comes_back(("\xff"):rep(length))
			end
			comes_back{["\xff\0\xfe"] = "\xff", ["größe"] = "日本語", [""] = ""}
		end)

		it("carries arrays of any length [E5f]", function()
			for _, length in ipairs{1, 2, 15, 16, 1000, 65535, 65536} do
				local object = {}
				for n = 1, length do object[n] = n end
				local back = comes_back(object)
				assert.equal(length, #back)
				assert.is_true(vigia.is_array(back))
			end
		end)

		it("carries maps of any size [E5g]", function()
			for _, size in ipairs{1, 2, 15, 16, 1000, 65535, 65536} do
				local object = {}
				for n = 1, size do object["k" .. n] = n end
				assert.is_false(vigia.is_array(comes_back(object)))
			end
		end)

		it("makes a table with exactly the keys 1 to n an array, any other a map [E5h]", function()
			assert.is_true(vigia.is_array(comes_back{"a", "b"}))
			assert.is_true(vigia.is_array(comes_back{[2] = "b", [1] = "a"}))
			assert.is_true(vigia.is_array(comes_back{false}))
			for _, object in ipairs{
				{}, {[0] = "zero"}, {[0] = "zero", "one"}, {"one", x = true}, {[2] = "two"}, {1, nil, 3}, {[-1] = 1, [1] = 1},
				{[1.5] = 1, [1] = 1}, {[math.maxinteger] = 1}, {[1] = 1, [math.maxinteger] = 2},
			} do
				assert.is_false(vigia.is_array(comes_back(object)))
			end
		end)

		it("keeps an empty array an array and an empty table a map, over any number of ways [E5i]", function()
			local back = comes_back{list = array{}, map = {}, lists = {array{}, {}, array{array{}}}}
			back = comes_back(back)
			assert.is_true(vigia.is_array(back.list))
			assert.is_false(vigia.is_array(back.map))
			assert.is_true(vigia.is_array(back.lists[1]))
			assert.is_false(vigia.is_array(back.lists[2]))
			assert.is_true(vigia.is_array(back.lists[3][1]))
			assert.is_true(vigia.is_array(carried(array{})))
			assert.is_false(vigia.is_array(carried{}))
		end)

		it("marks the same table with vigia.array, and loses nothing of one with other keys [E5j]", function()
			local list = {1, 2}
			assert.equal(list, array(list))
			assert.is_true(vigia.is_array(array{}))
			for _, other in ipairs{{}, 5, "x", print, null} do assert.is_false(vigia.is_array(other)) end
			assert.is_false(vigia.is_array(nil))
			for _, object in ipairs{array{a = 1}, array{1, nil, 3}, array{1, 2, x = 3}} do
				local seq_num, err = store:store_event("CREATE", "Job", object)
				if not seq_num then
					assert.equal("serialization_error", err.code)
				else
					assert.is_nil(helper.difference(object, assert(store:get_event(seq_num)).object))
				end
			end
		end)

		it("lets vigia.null stand for nil inside arrays and maps, both ways [E5k]", function()
			local back = comes_back{list = {1, null, 3, null}, map = {gone = null}, only = {null}}
			assert.equal(null, back.list[2])
			assert.equal(4, #back.list)
			assert.equal(null, back.map.gone)
			assert.equal("null", tostring(null))
			assert.is_true(vigia.is_array(back.only))
		end)

		it("carries keys that are strings, integers, booleans and finite floats [E5l]", function()
			local back = comes_back{
				text = 1, [""] = 2, [-1] = 3, [0] = 4, [math.maxinteger] = 5, [math.mininteger] = 6, [true] = 7, [false] = 8, [1.5] = 9,
				[-0.25] = 10, [1e300] = 11, ["1"] = 12, [1] = 13,
			}
			assert.equal(12, back["1"])
			assert.equal(13, back[1])
		end)

		it("carries objects that are 100 deep, arrays and maps [E5m]", function()
			comes_back(nested(100))
			comes_back(nested(100, function(inner) return {x = inner, y = 1} end))
			comes_back(nested(50, function(inner) return {list = {inner}} end))
		end)

		it("carries one table that stands in several places [E5n]", function()
			local shared = {1, 2}
			local back = comes_back{a = shared, b = shared, list = {shared, shared}}
			assert.are_not.equal(back.a, back.b)
		end)

		it("carries what random objects hold [E5o]", function()
			local seed = os.time()
			math.randomseed(seed)
			local function any(depth)
				local kind = math.random(depth > 0 and 9 or 7)
				if kind == 1 then return math.random(0)
				elseif kind == 2 then return math.random(-200, 200)
				elseif kind == 3 then return math.random() * 10 ^ math.random(-30, 30)
				elseif kind == 4 then return math.random(2) == 1
				elseif kind == 5 then return null
				elseif kind == 6 then return ("é"):rep(math.random(0, 20))
				elseif kind == 7 then return string.pack("i8", math.random(0)):rep(math.random(0, 5))
				end
				local object = kind == 8 and array{} or {}
				for n = 1, math.random(0, 6) do object[kind == 8 and n or string.char(96 + n):rep(n)] = any(depth - 1) end
				return object
			end
			for _ = 1, 200 do
				local object = {any(5)}
				local difference = helper.difference(object, carried(object))
				assert.is_nil(difference, ("seed %d: %s"):format(seed, difference))
			end
		end)

		it("reads the raw table, without the help of metatables [E5p]", function()
			local object = setmetatable({a = 1}, {__index = {b = 2}, __pairs = error, __len = error})
			assert.same({a = 1}, carried(object))
		end)

		---- objects that are not ----

		it("refuses what cannot be carried, says what and where, and stores nothing [E6a]", function()
			local cases = {
				{print, "object", "function"},
				{coroutine.create(print), "object", "thread"},
				{io.stdout, "object", "userdata"},
				{{callback = print}, "object.callback", "function"},
				{{jobs = {1, 2, {callback = print}}}, "object.jobs[3].callback", "function"},
				{{[5] = print, x = 1}, "object[5]", "function"},
				{{1, 2, {3, coroutine.create(print)}}, "object[3][2]", "thread"},
				{{["a key"] = io.stdout}, "a key", "userdata"},
				{{a = {b = {c = {d = array{print}}}}}, "object.a.b.c.d[1]", "function"},
			}
			for _, case in ipairs(cases) do
				mentions(fails("serialization_error", store:store_event("CREATE", "Job", case[1])), case[2], case[3])
			end
			assert.equal(0, assert(store:get_latest_event_num()))
		end)

		it("refuses a cycle, and says where it closes [E6b]", function()
			local object = {jobs = {{}}}
			object.jobs[1].parent = object
			mentions(fails("serialization_error", store:store_event("CREATE", "Job", object)), "object.jobs[1].parent:", "cycle")
			local list = array{}
			list[1] = list
			mentions(fails("serialization_error", store:store_event("CREATE", "Job", list)), "object[1]:", "cycle")
			assert.equal(0, assert(store:get_latest_event_num()))
		end)

		it("refuses what is too deep, whether it could be stored or not [E6c]", function()
			for _, depth in ipairs{130, 140, 500, 5000} do
				mentions(fails("serialization_error", store:store_event("CREATE", "Job", nested(depth))), "object[1][1]", "deep")
			end
			assert.equal(0, assert(store:get_latest_event_num()))
		end)

		it("never stores what it cannot read again, at any depth [E6d]", function()
			for depth = 97, 132 do
				local object = nested(depth)
				local seq_num = store:store_event("CREATE", "Job", object)
				assert(seq_num or depth > 100, "100 deep must be carried")
				if seq_num then assert.is_nil(helper.difference(object, assert(store:get_event(seq_num)).object)) end
			end
		end)

		it("refuses keys of any other kind, and says where [E6e]", function()
			for _, key in ipairs{{}, print, null, io.stdout, coroutine.create(print), math.huge, -math.huge} do
				mentions(fails("serialization_error", store:store_event("CREATE", "Job", {inner = {[key] = 1}})), "object.inner", "key")
			end
			assert.equal(0, assert(store:get_latest_event_num()))
		end)

		it("names the path in one short sentence, however long the keys are [E6f]", function()
			local object = {[("k"):rep(100000)] = {[("\0\xff\n"):rep(1000)] = print}}
			local err = fails("serialization_error", store:store_event("CREATE", "Job", object))
			assert(#tostring(err) < 1000)
			assert.is_nil(tostring(err):find("[\0\n]"))
		end)

		it("goes on after a refusal as if nothing had been [E6g]", function()
			for _ = 1, 100 do
				fails("serialization_error", store:store_event("CREATE", "Job", {("x"):rep(10000), {print}}))
				comes_back{"fine"}
			end
		end)

		---- sizes ----

		-- The numbers in an error message.
		local function numbers(err)
			local found = {}
			for digits in tostring(err):gmatch("%d+") do found[#found + 1] = math.tointeger(tonumber(digits)) end
			table.sort(found)
			return found
		end

		it("refuses an event larger than 1 MiB, with both sizes named [E7a]", function()
			local sizes = numbers(fails("event_too_large", store:store_event("CREATE", "Job", ("x"):rep(1048576))))
			assert.equal(1048576, sizes[#sizes - 1])
			assert(sizes[#sizes] > 1048576 and sizes[#sizes] < 1048576 + 200)
			assert.equal(0, assert(store:get_latest_event_num()))
			comes_back(("x"):rep(1048576 - 200))
		end)

		it("holds to max_event_size to the byte [E7b]", function()
			store = open{max_event_size = 1000}
			local sizes = numbers(fails("event_too_large", store:store_event("CREATE", "Job", ("x"):rep(990))))
			assert.equal(1000, sizes[#sizes - 1])
			local most = 990 - (sizes[#sizes] - 1000)
			fails("event_too_large", store:store_event("CREATE", "Job", ("x"):rep(most + 1)))
			assert.equal(1, assert(store:store_event("CREATE", "Job", ("x"):rep(most))))
			assert.equal(1000, assert(store:stats()).max_event_size)
		end)
	end)
end

---- the bytes: a reader of msgpack of our own, so that the specs do not trust the code they prove ----

-- The value at `at`, and the position behind it. Maps become tables, str and bin strings.
local function unpack_value(bytes, at)
	local code = bytes:byte(at)
	local function container(count, from, is_map)
		local result = {}
		for n = 1, count do
			local key = n
			if is_map then key, from = unpack_value(bytes, from) end
			result[key], from = unpack_value(bytes, from)
		end
		return result, from
	end
	local function number(format) return string.unpack(format, bytes, at + 1) end
	if code <= 0x7f then return code, at + 1 end
	if code >= 0xe0 then return code - 256, at + 1 end
	if code <= 0x8f then return container(code & 15, at + 1, true) end
	if code <= 0x9f then return container(code & 15, at + 1) end
	if code <= 0xbf then return bytes:sub(at + 1, at + (code & 31)), at + 1 + (code & 31) end
	local scalars = {[0xcb] = ">d", [0xca] = ">f", [0xcc] = ">I1", [0xcd] = ">I2", [0xce] = ">I4", [0xcf] = ">I8",
		[0xd0] = ">i1", [0xd1] = ">i2", [0xd2] = ">i4", [0xd3] = ">i8",
		[0xc4] = ">s1", [0xc5] = ">s2", [0xc6] = ">s4", [0xd9] = ">s1", [0xda] = ">s2", [0xdb] = ">s4"}
	if scalars[code] then return number(scalars[code]) end
	if code == 0xc0 then return vigia.null, at + 1 end
	if code == 0xc2 or code == 0xc3 then return code == 0xc3, at + 1 end
	local counts = {[0xdc] = {">I2", false}, [0xdd] = {">I4", false}, [0xde] = {">I2", true}, [0xdf] = {">I4", true}}
	local kind = assert(counts[code], ("no msgpack: %02x"):format(code))
	local count, from = number(kind[1])
	return container(count, from, kind[2])
end

describe("the bytes of an event", function()
	after_each(helper.clean)

	-- The stored bytes from the head of the event whose object holds `marker`, found in the file itself.
	local function stored(path, marker)
		local file = assert(io.open(path, "rb"))
		local bytes = file:read("a")
		file:close()
		local place = assert(bytes:find(marker, 1, true), "the marker is in the file")
		local at = place
		while not bytes:find("^\x96\xce....\xcf", at) do -- the time can have the first two of these, too
			at = at - 1
			assert(place - at < 400, "an array of six with a checksum begins before it")
		end
		return bytes, at
	end

	it("are one msgpack array of checksum, time, operation, type, serializer and object [Z1a]", function()
		local object = {marker = "an unmistakable marker", list = {1, -1, 300, -300, 1.5, true, vigia.null, "x"}, ["\xff"] = "\xfe\xff"}
		local store = helper.open()
		assert(store:store_event("CREATE", "Job", object))
		local event = assert(store:get_event(1))
		store:close()
		local value = unpack_value(stored(helper.path("store"), "an unmistakable marker"))
		assert.equal(6, #value)
		assert.equal("integer", math.type(value[1]))
		assert.equal(event.timestamp, value[2])
		assert.equal(1, value[3])
		assert.equal("Job", value[4])
		assert.equal(0, value[5])
		assert.is_nil(helper.difference(object, value[6]))
	end)

	it("hold the standard operations as integers, others as text [Z1b]", function()
		local store = helper.open()
		for index, operation in ipairs{"CREATE", "UPDATE", "DELETE", "renamed"} do
			assert(store:store_event(operation, "Job", "marker number " .. index))
		end
		store:close()
		for index, operation in ipairs{1, 2, 3, "renamed"} do
			assert.equal(operation, unpack_value(stored(helper.path("store"), "marker number " .. index))[3])
		end
	end)

	-- The checksum of an event's bytes from its time on, as core/event.h says: XXH3 with the number as its seed, for 17 to 32 bytes.
	local function checksum(bytes, seq_num)
		local function mix(at, secret_low, secret_high)
			local low, high = string.unpack("<i8i8", bytes, at)
			local a, b = low ~ (secret_low + seq_num), high ~ (secret_high - seq_num)
			local a0, a1, b0, b1 = a & 0xffffffff, a >> 32, b & 0xffffffff, b >> 32
			local middle = (a0 * b0 >> 32) + (a1 * b0 & 0xffffffff) + a0 * b1 -- cannot go beyond 64 bits
			return a * b ~ (a1 * b1 + (a1 * b0 >> 32) + (middle >> 32))
		end
		assert(#bytes >= 17 and #bytes <= 32)
		local h = #bytes * 0x9E3779B185EBCA87 + mix(1, 0xbe4ba423396cfeb8, 0x1cad21f72c81017c) +
			mix(#bytes - 15, 0xdb979083e96dd4de, 0x1f67b3b7a4a44072)
		h = (h ~ h >> 37) * 0x165667919E3779F9
		return (h ~ h >> 32) & 0xffffffff
	end

	-- Stores 1.5, whose nine bytes become `object`, between two sound events; the checksum is made to fit.
	local function with_foreign_object(object)
		assert.equal(9, #object)
		local path = helper.path("store")
		local store = helper.open(path)
		for _, value in ipairs{"before", 1.5, "after"} do assert(store:store_event("CREATE", "Job", value)) end
		store:close()
		local bytes, at = stored(path, "\xa3Job\0" .. string.pack(">Bd", 0xcb, 1.5))
		local head, tail = bytes:match("^\x96\xce....(.-\xa3Job\0)(\xcb........)", at)
		local function event(value) return "\x96\xce" .. string.pack(">I4", checksum(head .. value, 2)) .. head .. value end
		local whole, changed = event(tail), event(object)
		assert(whole == bytes:sub(at, at + #whole - 1), "the checksum is the one that is described")
		local file = assert(io.open(path, "r+b"))
		repeat -- pages that LMDB left hold copies
			file:seek("set", at - 1)
			file:write(changed)
			at = bytes:find(whole, at + 1, true)
		until not at
		file:close()
		return helper.open(path)
	end

	for what, case in pairs{
		["an integer beyond int64"] = {"\xcf\x80\0\0\0\0\0\0\0", "9223372036854775808"},
		["the largest integer there is"] = {"\xcf" .. ("\xff"):rep(8), "18446744073709551615"},
		["an extension"] = {"\xc7\x06\x2aabcdef", "extension of type 42"},
		["a timestamp, which is an extension"] = {"\x92\xd6\xffabcd\xc0\xc0", "extension of type -1"},
		["a key that is nil"] = {"\x81\xc0\xa6abcdef", "key"},
		["bytes behind it"] = {"\x01\x01\x01\x01\x01\x01\x01\x01\x01", "bytes after"},
		["a string that is cut off"] = {"\xd9\x20abcdefg", "cut off"},
	} do
		it("that hold " .. what .. " are a deserialization error with the event's number, and its neighbours can be read [E6h]", function()
			local store = with_foreign_object(case[1])
			for _, err in ipairs{
				fails("deserialization_error", store:get_event(2)),
				fails("deserialization_error", store:get_events{event_iterator = vigia.at_sequence_number(2), timeout = 0}),
			} do
				assert.equal(2, err.seq_num)
				mentions(err, "event 2", case[2])
			end
			assert.equal("before", assert(store:get_event(1)).object)
			assert.equal("after", assert(store:get_event(3)).object)
			assert.same({1}, (helper.read(store)))
			assert.same({3}, (helper.read(store, {event_iterator = vigia.after_sequence_number(2)})))
		end)
	end

	it("can be read by a tool that is not ours [Z1c]", function()
		if not helper.shell("command -v mdb_dump"):find("mdb_dump") then return pending("mdb_dump (lmdb-utils) is not installed") end
		local store = helper.open()
		for n = 1, 3 do assert(store:store_event("CREATE", "Job", {n = n})) end
		store:close()
		local dump = helper.shell("mdb_dump -n -s events " .. helper.quoted(helper.path("store")))
		local found = {}
		for hex in dump:gmatch("\n (96ce%x+)") do
			local bytes = hex:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end)
			local value, behind = unpack_value(bytes, 1)
			assert.equal(#bytes + 1, behind)
			found[#found + 1] = value[6]
		end
		assert.same({{n = 1}, {n = 2}, {n = 3}}, found)
	end)

	it("can be read by an msgpack implementation that is not ours [Z1d]", function()
		-- Debian has it for older Luas; it is plain Lua and runs in this one.
		local load_theirs = loadfile("/usr/share/lua/5.4/MessagePack.lua") or loadfile("/usr/share/lua/5.3/MessagePack.lua")
		if not load_theirs then return pending("lua-messagepack is not installed") end
		local theirs = load_theirs("MessagePack")
		local store = helper.open()
		local object = {name = "\u{e9}", list = {1, -300, 1.5, true}, bytes = "\xff\0", nested = {deep = {er = 1 << 40}}}
		assert(store:store_event("renamed", "Job", object))
		store:close()
		local dump = helper.shell("mdb_dump -n -s events " .. helper.quoted(helper.path("store")))
		local bytes = dump:match("\n (96ce%x+)"):gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end)
		local value = theirs.unpack(bytes)
		assert.equal("renamed", value[3])
		assert.equal("Job", value[4])
		assert.is_nil(helper.difference(object, value[6]))
	end)
end)
