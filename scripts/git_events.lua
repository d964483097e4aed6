-- git_events.lua - turns what git says into events: from `git log` (or `git ls-tree`) on standard input to standard output.
--
--   git log --first-parent -m --raw --no-renames --reverse --no-abbrev -z --format='%H %ct %s' |
--       lua5.4 git_events.lua [--skip N]
--       NDJSON for `vigia append`: a Commit event for each commit, then a File event for each file it created, updated or deleted.
--       With --skip the first N events are left out: those that are stored already.
--   git ls-tree -r -z --full-tree HEAD | lua5.4 git_events.lua --tree
--       "BLOB  PATH" lines, as handlers/tree.lua prints them.

local CHUNK <const> = 65536
local OPERATIONS = {A = "CREATE", M = "UPDATE", T = "UPDATE", D = "DELETE"}

local function fail(message, ...)
	io.stderr:write("git_events.lua: ", message:format(...), "\n")
	os.exit(1)
end

local function write(...)
	local ok, message = io.write(...)
	if not ok then
		fail("cannot write to standard output: %s", message)
	end
end

-- The records of standard input, which end with NUL bytes.
local function records()
	local rest, from = "", 1
	return function()
		while true do
			local stop = rest:find("\0", from, true)
			if stop then
				local record = rest:sub(from, stop - 1)
				from = stop + 1
				return record
			end
			local chunk = io.read(CHUNK)
			if not chunk then
				if from <= #rest then
					fail("the input ends in the middle of a record: %q", rest:sub(from, from + 80))
				end
				return nil
			end
			rest, from = rest:sub(from) .. chunk, 1
		end
	end
end

local BASE64 <const> = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local function base64(bytes)
	local coded = bytes:gsub("..?.?", function(three)
		local a, b, c = three:byte(1, 3)
		local bits = a << 16 | (b or 0) << 8 | (c or 0)
		local letters = ""
		for shift = 18, 0, -6 do
			local at = (bits >> shift & 63) + 1
			letters = letters .. BASE64:sub(at, at)
		end
		return letters:sub(1, #three + 1) .. ("="):rep(3 - #three)
	end)
	return coded
end

local ESCAPES = {['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t"}

-- A JSON string; what is not UTF-8 (git allows any bytes in a path) takes the form that `vigia append` reads bytes from.
local function json(text)
	if not utf8.len(text) then
		return '{"$bytes":"' .. base64(text) .. '"}'
	end
	return '"' .. text:gsub('[%c"\\]', function(c)
		return ESCAPES[c] or ("\\u%04x"):format(c:byte())
	end) .. '"'
end

local function write_events(skip)
	local function event(operation, object_type, object)
		if skip > 0 then
			skip = skip - 1
			return
		end
		write('{"operation":"', operation, '","object_type":"', object_type, '","object":', object, "}\n")
	end

	local next_record = records()
	local commit
	for record in next_record do
		-- ":MODE MODE BLOB BLOB LETTER", old and new; git puts a newline before a commit's first one
		local old_mode, mode, old_blob, blob, letter = record:match("^\n?:(%d+) (%d+) (%x+) (%x+) (%a)%d*$")
		local sha, time, subject = record:match("^(%x+) (%-?%d+) (.*)$")
		if letter then
			local path = next_record()
			local operation = OPERATIONS[letter]
			if not commit or not path or not operation then
				fail("no sense in this record of git log: %q", record)
			end
			if operation == "DELETE" then
				mode, blob = old_mode, old_blob
			end
			event(operation, "File", ('{"path":%s,"blob":"%s","mode":"%s","commit":"%s"}'):format(json(path), blob, mode, commit))
		elseif sha then
			commit = sha
			event("CREATE", "Commit", ('{"sha":"%s","time":%s,"subject":%s}'):format(sha, time, json(subject)))
		else
			fail("no sense in this record of git log: %q", record:sub(1, 200))
		end
	end
end

local function write_tree()
	for record in records() do
		local blob, path = record:match("^%d+ %a+ (%x+)\t(.+)$")
		if not blob then
			fail("no sense in this record of git ls-tree: %q", record:sub(1, 200))
		end
		write(blob, "  ", path, "\n")
	end
end

local function main()
	if #arg == 1 and arg[1] == "--tree" then
		write_tree()
	elseif #arg == 0 then
		write_events(0)
	elseif #arg == 2 and arg[1] == "--skip" and arg[2]:match("^%d+$") then
		write_events(math.tointeger(tonumber(arg[2])))
	else
		io.stderr:write("Usage: git_events.lua [--skip N | --tree] (see the first lines of the file)\n")
		os.exit(2)
	end
	if not io.flush() then
		fail("cannot write to standard output")
	end
end

local ok, message = xpcall(main, debug.traceback)
if not ok then
	if not message:find("interrupted!", 1, true) then -- Ctrl-C, as lua5.4 tells it
		io.stderr:write("git_events: ", message, "\n")
	end
	os.exit(1)
end
