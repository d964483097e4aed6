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

describe("every failure in turn", function()
	after_each(helper.clean)

	local module = assert(package.searchpath("vigia.core", package.cpath))
	local build = module:gsub("/lua/vigia/core%.so$", "")
	local preload = build .. "/spec/c/fail.so"
	if preload:sub(1, 1) ~= "/" then preload = lfs.currentdir() .. "/" .. preload end

	for _, kind in ipairs(KINDS) do
		it("D4k R2k R3k of each " .. kind[1], function()
			if helper.tsan then return helper.pending("the runtime of ThreadSanitizer stands between") end
			if helper.sanitized and kind[1] == "allocation" then return helper.pending("a sanitizer has an allocator of its own") end
			local folder = quick_folder()
			local words = {}
			for i, word in ipairs(kind) do words[i] = helper.quoted(word) end
			words[1] = helper.quoted(folder)
			local text, good = helper.shell(("LD_PRELOAD=%s LUA_PATH=%s LUA_CPATH=%s lua5.4 spec/support/failures.lua %s"):format(
				helper.quoted((os.getenv("LD_PRELOAD") or "") .. ":" .. preload), helper.quoted(package.path),
				helper.quoted(package.cpath .. ";" .. build .. "/spec/c/?.so"), table.concat(words, " ")))
			helper.remove(folder)
			assert(good, text)
			local failures, scenarios = 0, 0
			for line in text:gmatch "[^\n]+" do
				local count = line:match "^ok .*: (%d+)$"
				assert(count, text)
				failures, scenarios = failures + count, scenarios + 1
			end
			assert(scenarios > 0 and failures > 0, text)
			helper.covered("failures in turn", "%d failures of each %s in %d scenarios", failures, kind[1], scenarios)
		end)
	end
end)
