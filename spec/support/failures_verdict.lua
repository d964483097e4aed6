-- failures_verdict.lua - what must hold after a failure, for failures.lua and failures_contract.lua.

local core = require "vigia.core"
local fail = require "fail"
local lfs = require "lfs"
local vigia = require "vigia"

local M = {}

-- What may be the answer to a failure, beside the words of the system's error.
local CODES <const> = {
	io_error = true, disk_full = true, out_of_memory = true, commit_unknown = true, store_full = true, not_permitted = true,
	handler_error = true, -- told by a handler that could not append
}

-- Does an error of the product tell of this failure? If not, what is wrong with it.
function M.names_cause(err, number)
	local text = tostring(err) .. " " .. tostring(err.cause)
	if not CODES[err.code] then return nil, ("the code %s: %s"):format(err.code, text) end
	local words = {fail[number]:lower(), "memory", "disk is full", "commit failed"}
	if number == fail.ENOLCK then words[#words + 1] = "a lock of it was refused" end -- LMDB keeps the system's error to itself
	for _, word in ipairs(words) do
		if text:lower():find(word, 1, true) then return true end
	end
	return nil, "it does not name the cause: " .. text
end

local function count(directory)
	local total = 0
	for name in lfs.dir(directory) do
		if name:find "^%d+$" then total = total + 1 end
	end
	return total
end

-- How many descriptors and threads this process has, after what nobody needs any more is gone.
function M.left_open()
	collectgarbage()
	collectgarbage()
	local until_time = core.monotonic() + 5
	local threads = count "/proc/self/task"
	while threads > 1 and core.monotonic() < until_time do -- one that was joined is listed for a moment
		vigia.sleep(0.001)
		threads = count "/proc/self/task"
	end
	return count "/proc/self/fd", threads
end

-- What is found damaged in a file, or nil.
function M.damaged(path)
	local next_finding, err = core.verify(path)
	if not next_finding then return "verify: " .. tostring(err) end
	local found
	for what, number, _, _, text in next_finding do
		if what ~= "progress" and what ~= "done" and text and text ~= "" then found = ("verify: %s %s %s"):format(what, number, text) end
	end
	return found
end

return M
