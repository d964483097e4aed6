-- cli_state_spec.lua - `vigia state`: buckets and their values as lines of JSON.

local cli = require "spec.support.cli"
local helper = require "spec.helper"
local vigia = require "vigia"

local mentions = helper.mentions

if not helper.program() then
	describe("vigia state", function() it("is left out [X3]", function() helper.pending("there is no program beside the module") end) end)
	return
end

describe("vigia state", function()
	local path

	before_each(function() path = helper.path("a.db") end)
	after_each(helper.clean)

	local function make(fill)
		local store <close> = assert(vigia.open(path))
		fill(store)
	end

	local function state(...)
		return cli.ok{"state", "--store", path, ...}.out
	end

	it("lists the buckets, and how many values each has [X3]", function()
		make(function(store)
			assert(store:put("orders", "a", 1))
			assert(store:put("orders", "b", 2))
			assert(store:put("counts", 7, 1))
		end)
		assert.equal('{"bucket":"counts","values":1}\n{"bucket":"orders","values":2}\n', state())
		mentions(cli.ok{"stats", "--store", path}.out, "3 values in 2 buckets", "3 committed, 0 conflicts, 0 given up")
		mentions(cli.ok{"stats", "--store", path, "--json"}.out, '"buckets":2', '"values":3')
	end)

	it("prints the rows of a bucket in order, integers first, each value in the form of events [X3]", function()
		make(function(store)
			for key, value in pairs{[10] = 1.0, [-2] = vigia.null, b = "text\n", a = {n = vigia.array {}}, ["\xff"] = "\xfe"} do
				assert(store:put("all", key, value))
			end
		end)
		assert.equal('{"key":-2,"value":null}\n{"key":10,"value":1.0}\n{"key":"a","value":{"n":[]}}\n{"key":"b","value":"text\\n"}\n'
			.. '{"key":{"$bytes":"/w=="},"value":{"$bytes":"/g=="}}\n', state("all"))
	end)

	it("prints one key, digits as an integer and as a string [X3]", function()
		make(function(store)
			for _, key in ipairs{"a", "ab", "12", 12, -3, "*", "07"} do assert(store:put("b", key, key)) end
		end)
		assert.equal('{"key":"a","value":"a"}\n', state("b", "a"))
		assert.equal('{"key":12,"value":12}\n{"key":"12","value":"12"}\n', state("b", "12"))
		assert.equal('{"key":-3,"value":-3}\n', state("b", "--", "-3"))
		assert.equal('{"key":"07","value":"07"}\n', state("b", "07"))
		mentions(cli.fails(1, {"state", "--store", path, "b", "no\27"}), "bucket 'b' has no key 'no\\x1b'")
		mentions(cli.fails(1, {"state", "--store", path, "b", "99"}), "bucket 'b' has no key '99'")
	end)

	it("prints the keys with a beginning, whatever else is there [X3]", function()
		make(function(store)
			for _, key in ipairs{1, "a", "ab", "abc", "ac", "b", "*x"} do assert(store:put("b", key, 0)) end
		end)
		assert.equal('{"key":"ab","value":0}\n{"key":"abc","value":0}\n', state("b", "ab*"))
		assert.equal('{"key":"*x","value":0}\n', state("b", "**"))
		assert.equal("", state("b", "zz*"))
		assert.equal(6, #cli.lines(state("b", "*"))) -- all that are strings
	end)

	it("prints large buckets to the end [X3]", function()
		make(function(store)
			assert(store:transaction(function(tx)
				for n = 1, 250 do
					assert(tx:put("b", n, n))
					assert(tx:put("b", ("k%03d"):format(n), n))
				end
			end))
		end)
		local lines = cli.lines(state("b"))
		assert.equal(500, #lines)
		for n = 1, 250 do
			assert.equal(('{"key":%d,"value":%d}'):format(n, n), lines[n])
			assert.equal(('{"key":"k%03d","value":%d}'):format(n, n), lines[250 + n])
		end
		assert.equal(250, #cli.lines(state("b", "k*")))
		assert.equal(100, #cli.lines(state("b", "k1*")))
	end)

	it("says that a bucket is not there, and which one may be meant [X3]", function()
		make(function(store) assert(store:put("orders", "a", 1)) end)
		mentions(cli.fails(1, {"state", "--store", path, "ordres"}), "there is no bucket 'ordres'", "did you mean 'orders'?")
		mentions(cli.fails(1, {"state", "--store", path, "a b"}), "there is no bucket 'a b'")
		make(function(store) assert(store:drop_bucket("orders")) end)
		assert.equal("", state())
		mentions(cli.fails(1, {"state", "--store", path, "orders"}), "there is no bucket 'orders'")
	end)
end)

describe("state() at the prompt", function()
	after_each(helper.clean)

	it("shows buckets, rows and values [X3]", function()
		local path = helper.path("a.db")
		do
			local store <close> = assert(vigia.open(path))
			for n = 1, 30 do assert(store:put("counts", n, n * 2)) end
			for _, key in ipairs{"a", "ab", "b"} do assert(store:put("names", key, key)) end
		end
		local result = cli.ok({"repl", "--store", path}, {stdin = [[
state()
#state("counts")
state("counts", 7)
state("counts", "nothing")
state("names", "a*")
state("names", {reverse = true, limit = 1})
#state("counts", {limit = 0})
#state("nowhere")
]]})
		assert.same({"{counts = 30, names = 3}", "20", "14", "nil", '[{key = "a", value = "a"}, {key = "ab", value = "ab"}]',
			'[{key = "b", value = "b"}]', "30", "0"}, cli.lines(result.out))
	end)
end)
