-- progress_line.lua - the line on a terminal that shows how far a long command has come, how fast it is, and how long it still takes.
-- Each new text replaces the one before. All commands that take long show the same one.

local M = {}

local STDERR <const> = 2
local CLEAR_TO_END <const> = "\27[K"
local EVERY <const> = 0.2 -- seconds between two texts
local WINDOW <const> = 5 -- the rate is that of the last 5 to 10 seconds
local SOON <const> = 0.5 -- seconds after which there is a rate
local BAR <const> = 10

local Line = {}
Line.__index = Line

-- How long, in the two units that tell most.
local function duration(seconds)
	seconds = math.ceil(seconds)
	if seconds < 60 then return ("%d s"):format(seconds) end
	if seconds < 3600 then return ("%d min %d s"):format(seconds // 60, seconds % 60) end
	return ("%d h %d min"):format(seconds // 3600, seconds % 3600 // 60)
end

local function size(bytes)
	local units, n = {"bytes", "KiB", "MiB", "GiB", "TiB"}, 1
	while bytes >= 1024 and n < #units do
		bytes, n = bytes / 1024, n + 1
	end
	return (n == 1 and "%d %s" or "%.1f %s"):format(bytes, units[n])
end

function Line:amount(number)
	return self.unit == "bytes" and size(number) or ("%d"):format(number)
end

-- Where the rate is measured from: a place 5 to 10 seconds ago, or the first call.
function Line:begin_of_rate(here)
	if here.at - (self.next or self.from).at >= WINDOW then
		self.from, self.next = self.next or self.from, here
	end
	return self.from
end

function Line:text(here, total, from)
	local text = ("%s %s"):format(self.verb, self:amount(here.done))
	if total then text = ("%s of %s"):format(text, self:amount(total)) end
	if self.unit ~= "bytes" then text = ("%s %s"):format(text, self.unit) end
	local elapsed = here.at - from.at
	if elapsed >= SOON and here.done > from.done then
		text = ("%s, %s/s"):format(text, self:amount((here.done - from.done) // elapsed))
		if here.part and here.part > from.part and here.part < 1 then
			text = ("%s, %s left"):format(text, duration((1 - here.part) * elapsed / (here.part - from.part)))
		end
	end
	if not here.part then return text end
	local filled = math.floor(here.part * BAR)
	return ("[%s%s] %3d %%  %s"):format(("#"):rep(filled), ("."):rep(BAR - filled), math.floor(here.part * 100), text)
end

---Show how many are done, and of how many. Called often: most calls change nothing.
---@param done integer
---@param total? integer
---@param part? number how much of the work that is, from 0 to 1, where `total` does not tell
function Line:show(done, total, part)
	local now = self.clock()
	if total and total > 0 then part = part or math.min(done / total, 1) end
	local here = {at = now, done = done, part = part}
	if not self.from then
		self.from = {at = now, done = done, part = part or 0}
	elseif now - self.shown < EVERY then
		return
	end
	self.shown = now
	self.out("\r" .. self:text(here, total, self:begin_of_rate(here)) .. CLEAR_TO_END)
end

---Remove the line, before other output.
function Line:clear()
	self.out("\r" .. CLEAR_TO_END)
end

---A line such as "exported 7 of 9 events". Where standard error is no terminal it shows nothing. `clock` and `out` are for specs.
---@param verb string
---@param unit string of what is counted; "bytes" become KiB, MiB, ...
---@param clock? fun(): number
---@param out? fun(text: string)
---@return table line with show(done, total, part) and clear(), and whether it `shows`
function M.new(verb, unit, clock, out)
	local core = require("vigia.core")
	local line = setmetatable({verb = verb, unit = unit, clock = clock or core.monotonic, shows = true}, Line)
	line.out = out or function(text) io.stderr:write(text) end
	if not out and not core.isatty(STDERR) then
		local function nothing() end
		line.shows, line.show, line.clear = false, nothing, nothing
	end
	return line
end

return M
