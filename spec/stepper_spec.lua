-- stepper_spec.lua - core/stepper for Lua: its actions as tables, and an input that does not fit is an error and changes nothing.

local core = require "vigia.core"
local helper = require "spec.helper"
local vigia = require "vigia"

local mentions, raises = helper.mentions, helper.raises
local after = vigia.after_sequence_number

describe("a stepper", function()
	local function started(options)
		local stepper = core.stepper(options)
		assert.same({kind = "read", from = after(0)}, stepper:step{kind = "start", next = after(0), seq_num = 0, now = 5})
		return stepper
	end

	it("answers what to do next", function()
		local stepper, settings = core.stepper{max_retries = 2, retry_strategy = "skip", batch_size = 7}
		assert.equal(7, settings.batch_size)
		assert.equal("idle", stepper:state())
		stepper = started{max_retries = 2, retry_strategy = "skip"}
		assert.same({kind = "handle", index = 1, seq_num = 2, attempt = 1}, stepper:step{kind = "batch", next = after(9), seqs = {2, 5}})
		assert.same({kind = "wait", until_ns = 200000005}, stepper:step{kind = "failed", now = 5})
		assert.same({kind = "handle", index = 1, seq_num = 2, attempt = 2}, stepper:step{kind = "tick", now = 200000005})
		assert.same({kind = "handle", index = 2, seq_num = 5, attempt = 1}, stepper:step{kind = "failed"})
		assert.same({4, 0}, {stepper:progress()})
		assert.same({kind = "read", from = after(9)}, stepper:step{kind = "handled"})
		assert.same({kind = "listen", from = after(9)}, stepper:step{kind = "batch", next = after(9), seqs = {}})
		assert.same({kind = "save", seq_num = 9, backwards = false}, stepper:step{kind = "stop"})
		assert.same({kind = "stopped"}, stepper:step{kind = "saved"})
		assert.equal("stopped", stepper:state())
		local stats = stepper:stats()
		assert.same({1, 1, 2, 1}, {stats.processed, stats.skipped, stats.failed, stats.retried})
	end)

	it("raises for an input that does not fit, and is as before [R3a]", function()
		local stepper = core.stepper()
		for _, kind in ipairs{"batch", "fetch_failed", "handled", "failed", "deferred", "saved", "save_failed"} do
			mentions(raises(stepper.step, stepper, {kind = kind, next = after(1), seqs = {1}}), "under way")
		end
		raises(stepper.step, stepper, {kind = "start", next = vigia.latest()})
		raises(stepper.step, stepper, {kind = "start", next = after(3), seq_num = 4})
		raises(stepper.step, stepper, {kind = "begin"})
		raises(stepper.step, stepper, {})
		raises(stepper.step, stepper)
		stepper = started()
		raises(stepper.step, stepper, {kind = "start", next = after(0)})
		for _, batch in ipairs{
			{next = vigia.trim_horizon(), seqs = {}}, {next = after(1), seqs = {2}}, {next = after(3), seqs = {2, 2}}, {next = after(3), seqs = {0}},
			{next = after(3), seqs = {-1}}, {next = after(3), seqs = {1.5}}, {next = after(3), seqs = 5}, {next = 3, seqs = {}}, {seqs = {}},
			{next = after(3), seqs = {}, gone = 4}, {next = after(3), seqs = {}, gone = -1},
		} do
			batch.kind = "batch"
			raises(stepper.step, stepper, batch)
		end
		assert.equal("handle", stepper:step{kind = "batch", next = after(3), seqs = {3}}.kind)
		mentions(raises(core.stepper, {batch_sise = 1}), "batch_sise")
	end)

	it("does no harm with random inputs [R3a]", function()
		local kinds = {"start", "batch", "fetch_failed", "handled", "failed", "deferred", "saved", "save_failed", "wake", "tick", "stop",
			"seek", "reread"}
		math.randomseed(os.time())
		for _ = 1, 200 do
			local stepper = core.stepper{checkpoint = ({"batch", "event", "manual"})[math.random(3)], ephemeral = math.random(4) == 1}
			for now = 1, 100 do
				local seqs, n = {}, math.random(0, 5)
				for index = 1, math.random(0, 3) do
					n = n + math.random(0, 3)
					seqs[index] = n
				end
				pcall(stepper.step, stepper, {kind = kinds[math.random(#kinds)], now = now * 10 ^ 9 // 1 | 0, next = after(n + math.random(0, 1)),
					seqs = seqs, seq_num = math.random(0, 5), gone = math.random(0, 1), dropped = math.random(2) == 1,
					permanent = math.random(9) == 1, random = math.random(0)})
				stepper:stats()
			end
		end
	end)
end)
