-- audit.lua - a line for each event, appended to a file: seq_num, operation, type and a few words, with tabs between them.
--
-- Try it:  VIGIA_AUDIT=audit.log vigia run --store FILE audit.lua
-- The file is the one VIGIA_AUDIT names, or audit.log in the current folder.
--
-- The line is flushed before the handler returns, and only then may the checkpoint pass the event. So a restart never misses one;
-- after a kill the events since the last checkpoint are written once more (the seq_num shows which).

local path = os.getenv("VIGIA_AUDIT") or "audit.log"
local file
local NO_SUCH_FILE <const> = 2

-- One line stays one line, whatever a name holds.
local function one_line(text)
	return (text:gsub("[%c\\]", function(c)
		return c == "\\" and "\\\\" or ("\\x%02x"):format(c:byte())
	end))
end

local function shortened(text, length)
	if #text <= length then
		return text
	end
	local cut = utf8.len(text) and utf8.offset(text, 0, length + 1) - 1 or length -- not in the middle of a character
	return text:sub(1, cut) .. "..."
end

-- What the event is about, in a few words: the fields that name things, else whatever is short.
local function description(object)
	if type(object) ~= "table" then
		return tostring(object)
	end
	local words = {}
	for _, key in ipairs{"path", "name", "id", "sha", "subject", "title"} do
		local value = object[key]
		if type(value) == "string" or math.type(value) == "integer" then
			words[#words + 1] = key == "sha" and tostring(value):sub(1, 12) or tostring(value)
		end
	end
	if #words == 0 then
		for key, value in pairs(object) do
			if type(value) ~= "table" then
				words[#words + 1] = ("%s=%s"):format(key, tostring(value))
			end
		end
		table.sort(words) -- pairs() has no order
	end
	return table.concat(words, " ")
end

-- A write that was cut off (a full disk, a power failure) left a line without its end: cut the file back to its last whole line.
-- Lua cannot shorten a file, so the good part is copied beside it and takes its place.
local function mend()
	local torn, message, errno = io.open(path, "rb")
	if not torn then
		return errno == NO_SUCH_FILE, message
	end
	local size = torn:seek("end")
	local good, at = 0, size or 0 -- the bytes up to and including the last newline; a pipe has no size, and nothing to mend
	while at > 0 and good == 0 do
		local start = math.max(0, at - 4096)
		torn:seek("set", start)
		local block
		block, message = torn:read(at - start)
		if not block then
			torn:close()
			return nil, message
		end
		local newline = block:match("^.*()\n")
		good, at = newline and start + newline or 0, start
	end
	if not size or good == size then
		torn:close()
		return true
	end

	local whole
	whole, message = io.open(path .. ".mended", "wb")
	local ok = whole ~= nil
	torn:seek("set", 0)
	while ok and good > 0 do
		local block = torn:read(math.min(good, 65536))
		ok, message = whole:write(block)
		good = good - #block
	end
	torn:close()
	if ok then
		ok, message = whole:close()
	end
	if not ok then
		return nil, message
	end
	return os.rename(path .. ".mended", path)
end

local function open()
	local ok, message = mend()
	if not ok then
		return nil, message
	end
	file, message = io.open(path, "a")
	if not file then
		return nil, message
	end
	file:setvbuf("full")
	return true
end

local function handle(event)
	if not file then
		local ok, message = open()
		if not ok then
			return nil, message
		end
	end
	local line = ("%d\t%s\t%s\t%s\n"):format(event.seq_num, one_line(event.operation), one_line(event.object_type),
		one_line(shortened(description(event.object), 120)))
	local ok, message = file:write(line)
	if ok then
		ok, message = file:flush()
	end
	if not ok then
		file:close()
		file = nil -- half a line may be there: the next attempt mends it
		return nil, message
	end
	return true
end

local function stop()
	return not file or file:close()
end

return {
	init = open,
	handle = handle,
	stop = stop,
}
