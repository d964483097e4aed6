-- failures_spec.lua - every failure in turn: each scenario of support/failures.lua with the first call of a kind failing, then the second,
-- and so on until none fails. `scripts/test --filter "in turn"` runs it alone.

local helper = require "spec.helper"
local lfs = require "lfs"

local KINDS <const> = {
	{"allocation", "alloc:ENOMEM"},
	{"open", "open:EMFILE", "open:ENOSPC"},
	{"mmap", "mmap:ENOMEM"},
	{"ftruncate and fallocate", "truncate:ENOSPC", "truncate:EIO"},
	{"write", "write:EIO", "write:ENOSPC"},
	{"write cut short", "short:EIO"},
	{"sync", "sync:EIO"},
	{"start of a thread", "thread:EAGAIN"},
	{"lock of a file", "lock:ENOLCK", "lock:EINTR"},
	{"wait of a futex", "futex:EINTR"},
	{"call of LMDB", "lmdb:EIO"},
	{"look at a file", "look:EIO"},
	{"read of a file", "read:EIO"},
	{"allocation of a Lua state", "lua"},
}

-- Where syncs cost nothing, if there is such a place: what fails is decided before the disk.
local function quick_folder()
	local memory = "/dev/shm/" .. helper.path():gsub("/", "_")
	return lfs.mkdir(memory) and memory or helper.path()
end

local sampled = 0 -- failures under the contract suite

describe("every failure in turn", function()
	after_each(helper.clean)

	local module = assert(package.searchpath("vigia.core", package.cpath))
	local build = module:gsub("/lua/vigia/core%.so$", "")
	local preload = build .. "/spec/c/fail.so"
	if preload:sub(1, 1) ~= "/" then preload = lfs.currentdir() .. "/" .. preload end

	-- Run one of the programs in spec/support, with calls of a kind failing; returns what it wrote.
	local function run(program, kind, first)
		local folder = quick_folder()
		local words = {helper.quoted(folder), first}
		table.move(kind, 2, #kind, #words + 1, words)
		local command = ("TMPDIR=%s LD_PRELOAD=%s LUA_PATH=%s LUA_CPATH=%s lua5.4 spec/support/%s.lua %s"):format(words[1],
			helper.quoted((helper.preload or "") .. ":" .. preload), helper.quoted(package.path),
			helper.quoted(package.cpath .. ";" .. build .. "/spec/c/?.so"), program, table.concat(words, " "))
		local pipe, lines = assert(io.popen(command .. " 2>&1", "r")), {}
		for line in pipe:lines() do
			lines[#lines + 1] = line
			if line:find "^# " then -- how far it is: for who watches the long form
				print(line)
				io.stdout:flush()
			end
		end
		local text, good, how, status = table.concat(lines, "\n") .. "\n", pipe:close()
		local last = helper.read_file(folder .. "/last")
		helper.remove(folder)
		-- What a sanitizer finds, spec/support/run tells; its leak checker may also fail itself, which ends in the same status.
		assert(good or helper.sanitized and status == 99, ("%s%sit ended: %s %s"):format(text, last, how, status))
		return text
	end

	-- All kinds; under a sanitizer a sixth of them, by a seed; of the contract suite a quarter of the kinds and some of the
	-- calls. In the long form all.
	local seed = os.getenv "VIGIA_SOAK" and "all" or os.getenv "VIGIA_SEED" or tostring(os.time() % 100000)
	local function is_chosen(i, share)
		return seed == "all" or (i + (tonumber(seed) or 0)) % share == 0
	end

	local function end_if_it_cannot(kind)
		if helper.tsan then helper.pending("the runtime of ThreadSanitizer stands between") end
		if helper.sanitized and kind[1] == "allocation" then helper.pending("a sanitizer has an allocator of its own") end
	end

	local function each_call_of(kind)
		end_if_it_cannot(kind)
		local text = run("failures", kind)
		local failures, scenarios = 0, 0
		for line in text:gmatch "[^\n]+" do
			local count = line:match "^ok .*: (%d+)$"
			assert(count, text)
			failures, scenarios = failures + count, scenarios + 1
		end
		assert(scenarios > 0 and failures > 0, text)
		helper.covered("failures in turn", "%d failures of each %s in %d scenarios", failures, kind[1], scenarios)
	end

	for i, kind in ipairs(KINDS) do
		if not helper.sanitized or is_chosen(i, 6) then it("of each " .. kind[1] .. " [D4k R2k R3k]", function() each_call_of(kind) end) end
	end

	local in_turn = {}
	for i, kind in ipairs(KINDS) do
		if kind[2] ~= "lua" and is_chosen(i, 4) then in_turn[#in_turn + 1] = kind end
	end
	for _, kind in ipairs(in_turn) do
		it("of each " .. kind[1] .. ", under the suite that all stores pass [D4k R2k R3k]", function()
			end_if_it_cannot(kind)
			local text = run("failures_contract", kind, seed)
			local failures, specs = text:match "ok: (%d+) failures in (%d+) specs\n$"
			assert(failures, ("VIGIA_SEED=%s: %s"):format(seed, text))
			sampled = sampled + tonumber(failures)
			helper.covered("failures in turn", "%d failures under the contract suite, %d specs of it", failures, specs)
		end)
	end

	-- A sample may meet no call of a rare kind in its time; all of them together do.
	it("fails calls of the suite, in this run's sample, too", function()
		if helper.tsan or helper.sanitized then helper.pending("not all kinds can be failed here") end
		assert(sampled > 0, "no call was failed")
	end)
end)
