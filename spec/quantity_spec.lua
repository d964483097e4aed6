-- quantity_spec.lua - sizes and durations are read alike wherever a user writes one.

local cli = require "spec.support.cli"
local helper = require "spec.helper"
local vigia = require "vigia"
local core = require "vigia.core"
local wrapper = require "vigia.wrapper"

local mentions, raises = helper.mentions, helper.raises

describe("sizes and durations", function()
	after_each(cli.clean)

	it("are taken as text by every option that takes a number of them [O8d]", function()
		local store = helper.open()
		local registry = helper.registry(store)
		local tried = 0
		local function handler() end
		for kind, call in pairs{
			store = function(options) return vigia.open(":memory:", options) end,
			watch = function(options) return registry:watch("w", handler, options) end,
			script = function(options) return registry:watch("w", "x.lua", options) end,
			stop = function(options) return registry:stop(options) end,
		} do
			for _, option in ipairs(core.options(kind)) do
				local right = option.type == "bytes" and {"1M", "1024 KiB"} or option.type == "seconds" and {"2s", "2000ms"} or {}
				for _, text in ipairs(right) do
					local message = raises(call, {[option.name] = text, nonsense = 1})
					mentions(message, "unknown option 'nonsense'")
					assert.is_nil(message:find(option.name, 1, true), message)
					tried = tried + 1
				end
			end
		end
		assert.is_true(tried > 30)
		store = helper.open(helper.path "other", {max_event_size = "64K", gc_cadence = "1.5h", long_polling_timeout = "250ms"})
		local stats = assert(store:stats())
		assert.same({65536, 5400}, {stats.max_event_size, stats.gc_cadence})
		assert(store:configure{max_event_size = "2 MiB", gc_age_threshold = "7d", commit_interval = 0.5})
		stats = assert(store:stats())
		assert.same({2 << 20, 604800, 0.5}, {stats.max_event_size, stats.gc_age_threshold, stats.commit_interval})
		assert.same({}, assert(store:get_events{timeout = "1ms"}).events)
		local before = os.time() * 1000000000
		assert(store:schedule({after = "1h"}, "A", "B", 1))
		local at = assert(store:scheduled{})[1].at
		assert.is_true(at >= before + 3600 * 1000000000 and at < before + 4600 * 1000000000)
		registry = helper.registry(store)
		assert(registry:watch("w", function() end, {initial_backoff = "250ms", max_backoff = "1m", auto_start = false}))
		assert(registry:stop{timeout = "30s"})
		local over = helper.registry(wrapper.new(store, {checkpoint_interval = "250ms"}))
		assert(over:watch("o", function() end))
		assert(over:stop{timeout = "1m"})
		mentions(raises(wrapper.new, store, {checkpoint_interval = "soon"}), "checkpoint_interval", "1h")
	end)

	it("are refused, with what may stand there, if they are none or overflow [O8e]", function()
		for text, wanted in pairs{["64MB"] = "as in 64M or 64MiB", ["17179869184G"] = "allowed: 64 to", ["1.5"] = "as in 64M",
			["65536"] = "as in 64M", [""] = "as in 64M"} do
			mentions(raises(vigia.open, helper.path "store", {max_event_size = text}), "max_event_size is \"" .. text .. '"', wanted)
		end
		for text, wanted in pairs{soon = "as in 250ms or 1h", ["106752d"] = "allowed: 0 to", ["-1s"] = "as in 250ms",
			["1"] = "as in 250ms", ["1M"] = "as in 250ms"} do
			mentions(raises(vigia.open, helper.path "store", {checkpoint_interval = text}), "checkpoint_interval is", wanted)
			local store = helper.open ":memory:"
			mentions(raises(store.schedule, store, {after = text == "106752d" and "9223372037s" or text}, "A", "B", 1), "after", "1h")
		end
		mentions(raises(vigia.open, helper.path "store", {cache_size = "1K"}), "cache_size", "a whole number")
	end)

	it("are read by the program as by the library [O8f]", function()
		local path = helper.path "store"
		helper.fill(helper.open(), 1)
		cli.write("say.lua", "return print")
		cli.ok{"configure", "--store", path, "max_event_size=2M", "gc_age_threshold=12h", "gc_cadence=250ms", "max_bytes=1.5GiB"}
		mentions(cli.ok{"configure", "--store", path}.out, "max_event_size=2097152\n", "gc_age_threshold=43200\n", "gc_cadence=0.25\n",
			"max_bytes=1610612736\n")
		cli.ok{"run", "--store", path, helper.path "say.lua", "--until-idle", "--max-wait", "1m", "--cpu", "500ms", "--memory", "64MiB",
			"--stop-timeout", "2s"}
		cli.ok{"schedule", "--store", path, "--after", "2d", "A", "B"}
		for _, case in ipairs{
			{{"run", "--store", path, "x.lua", "--memory", "64MB"}, "--memory must be a number of bytes", "64MiB", "not '64MB'"},
			{{"run", "--store", path, "x.lua", "--memory", "17179869184G"}, "--memory: '17179869184G' is too large"},
			{{"run", "--store", path, "x.lua", "--memory", "1.0001K"}, "--memory: '1.0001K' is not a whole number of bytes"},
			{{"run", "--store", path, "x.lua", "--cpu", "1 hour"}, "--cpu must be a number of seconds", "250ms or 1h", "not '1 hour'"},
			{{"run", "--store", path, "x.lua", "--stop-timeout", "106752d"}, "--stop-timeout: '106752d' is too large"},
			{{"schedule", "--store", path, "--after", "1e3", "A", "B"}, "--after must be a number of seconds"},
			{{"configure", "--store", path, "max_event_size=2MB"}, "max_event_size is \"2MB\"", "as in 64M or 64MiB"},
			{{"configure", "--store", path, "gc_cadence=1e99"}, "gc_cadence", "as in 250ms or 1h"},
		} do
			mentions(cli.fails(2, case[1]), table.unpack(case, 2))
		end
	end)

	it("can be read again as `vigia options` and `vigia configure` print them [O8g]", function()
		local of = require "vigia.cli.options"
		local read = 0
		for _, name in ipairs{"handle", "file", "watch", "script", "stop"} do
			for _, option in ipairs(of.set(name)) do
				if option.unit then
					local kind = option.unit == "bytes" and "size" or "duration"
					local n = assert(core.quantity(kind, of.default_text(option)))
					assert.equal(option.default, kind == "size" and n or n / 1e9, option.name)
					read = read + 1
				end
			end
		end
		assert.is_true(read > 15)
		helper.open(nil, {max_bytes = 3 << 30, gc_cadence = 0.001, checkpoint_ttl = 86400.5}):close()
		local words = {"configure", "--store", helper.path "store"}
		local printed = cli.ok(words).out
		for word in printed:gmatch "(%S+=[%d.]+)\n" do words[#words + 1] = word end
		assert.is_true(#words > 10)
		cli.ok(words)
		assert.equal(printed, cli.ok{"configure", "--store", helper.path "store"}.out)
	end)
end)
