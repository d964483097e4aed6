-- verify.lua - `vigia verify`: look at all of a store, and say what is damaged.

local util = require("vigia.cli.util")

local M = {}

M.summary = "Look at all of a store and list what is damaged."
M.description = [[
Reads every event and checks its bytes, number, time and object, and what is kept beside the events:
checkpoints and keys. The store may be in use. Damaged events are listed by their number; the others
can still be read. Exit status 1 if anything is damaged.]]

function M.define(command)
	util.define_store(command)
	command:flag("--json"):description("One JSON object a line instead of sentences.")
end

local STDERR, BAR = 2, 30

local function show_progress(at, first, last)
	local part = (at - first + 1) / math.max(1, last - first + 1)
	local filled = math.floor(part * BAR)
	io.stderr:write(("\r[%s%s] %3d %%  event %d of %d\27[K"):format(("#"):rep(filled), ("."):rep(BAR - filled),
		math.floor(part * 100), at, last))
end

local function write_found(args, seq_num, text)
	if args.json then
		local fields = {{"damage", text}}
		if seq_num > 0 then table.insert(fields, 1, {"event", seq_num}) end
		util.write(util.json_object(fields), "\n")
	else
		util.write(seq_num > 0 and ("event %d: "):format(seq_num) or "", util.printable(text), "\n")
	end
end

function M.run(args)
	local core = require("vigia.core")
	local path = util.store_path(args)
	local on_terminal = core.isatty(STDERR)
	local function clear()
		if on_terminal then io.stderr:write("\r\27[K") end
	end
	local damaged = 0
	for what, a, b, c, text, code in util.check(core.verify(path)) do
		if what == "progress" then
			if on_terminal then show_progress(a, b, c) end
		elseif what == "damaged" then
			clear()
			damaged = damaged + 1
			write_found(args, a, text)
		elseif what == "done" then
			clear()
			if args.json then
				util.write(util.json_object({{"events", a}, {"checkpoints", b}, {"keys", c}, {"damaged", damaged}}), "\n")
			else
				util.write(("%s, %s, %s: "):format(util.count(a, "event"), util.count(b, "checkpoint"), util.count(c, "key")),
					damaged == 0 and "no damage" or "damaged in " .. util.count(damaged, "place"), "\n")
			end
		elseif what == "crashed" then
			clear()
			damaged = damaged + 1
			write_found(args, 0, ("pages of the file are damaged: reading behind event %d ended with: %s"):format(a, text))
		elseif what == "interrupted" then
			clear()
			util.fail("interrupted before all was looked at")
		else
			clear()
			if code == "store_not_found" then
				util.fail("%s: there is no such store (`vigia append` makes one)", util.printable(path))
			end
			util.fail("%s", text)
		end
	end
	return damaged == 0 and util.OK or util.FAILURE
end

return M
