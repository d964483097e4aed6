-- hostile_spec.lua - Lua code that is no friend: the pieces of support/hostile.lua, in processes of their own. A process that dies in a
-- piece, or has not ended after TIME_MAX seconds, takes only that one along: another goes on behind it. `HOSTILE_ONLY=words` runs the
-- pieces whose name has them, and a failure names the HOSTILE_SEED that takes its order again.

local helper = require "spec.helper"
local lfs = require "lfs"

local TIME_MAX <const> = 240 -- for the pieces of a process; all of them take 3 to 8, and 25 beside other tests

describe("hostile Lua code", function()
	after_each(helper.clean)

	it("never crashes the process, and leaves a module that works [R3y W21r H4u]", function()
		if helper.tsan then return helper.pending("all of it is on one thread") end
		local folder, failures, passed, from = helper.path("hostile"), {}, 0, 1
		assert(lfs.mkdir(folder))
		local only = os.getenv "HOSTILE_ONLY"
		-- AddressSanitizer then writes the stack of a process that waits without end.
		local command = 'ASAN_OPTIONS="$ASAN_OPTIONS:handle_abort=1" LUA_PATH=%s LUA_CPATH=%s timeout -s ABRT -k 10 %d %s '
		repeat
			local text, good = helper.shell((command .. "spec/support/hostile.lua %s %d %s </dev/null"):format(
				helper.quoted(package.path), helper.quoted(package.cpath), TIME_MAX, helper.lua, helper.quoted(folder), from,
				only and helper.quoted(only) or ""))
			local begun, name, ended
			local seed = text:match "seed (%d+)"
			for line in text:gmatch "[^\n]+" do
				local number, what = line:match "^begin (%d+) (.*)$"
				if number then begun, name = tonumber(number), what end
				if line:find "^ok %d+$" then passed = passed + 1 end
				if line:find "^not ok %d+" then failures[#failures + 1] = ("%s (HOSTILE_SEED=%s): %s"):format(name, seed, line) end
				ended = line == "done"
			end
			if not (ended and good) then
				failures[#failures + 1] = ("it died in %s, with HOSTILE_SEED=%s, in %s: %s"):format(name or "the beginning", seed,
					helper.read_file(folder .. "/call"):match "^(.-)\n" or "nothing that it noted", text:sub(-3000))
			end
			from = (begun or math.huge) + 1
		until ended or not begun
		assert(#failures == 0, table.concat(failures, "\n"))
		assert(passed > 0, "no piece ran")
		helper.covered("hostile pieces", "%d pieces", passed)
	end)
end)
