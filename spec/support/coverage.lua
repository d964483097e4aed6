-- coverage.lua - what spec/support/coverage says of a run, from gcovr's JSON: the shares of lines and branches of runtime/ that were
-- reached, the share of lines that are marked as never reached, and each other line that was not reached.
--
-- Arguments: the JSON, made without regard to marks (gcovr --no-markers), and the root folder. Marks are gcovr's: GCOVR_EXCL_START to
-- GCOVR_EXCL_STOP, and GCOVR_EXCL_LINE, each with its reason behind a colon in the same comment. Exit status 1: too little was reached, too
-- many lines are marked, or a mark has no reason.

local LINES_MIN <const>, BRANCHES_MIN <const>, MARKED_MAX <const> = 95, 85, 1 -- percent
local FILES_MAX <const> = 100 -- that are listed

local report, root = arg[1], arg[2]

local good = true

local function fail(text, ...)
	print(("FAILED: " .. text):format(...))
	good = false
end

local function content_of(path)
	local file <close> = assert(io.open(path))
	return file:read "a"
end

-- The lines of a source file that are marked: number -> true. What is wrong with a mark is added to `faults`.
local function marks_of(path, faults)
	local marked, number, inside = {}, 0, false
	for line in content_of(root .. "/" .. path):gmatch "([^\n]*)\n" do
		number = number + 1
		local kind, rest = line:match "GCOVR_EXCL_(%u+)(.*)"
		local function check(right, text) if not right then faults[#faults + 1] = ("%s:%d: %s"):format(path, number, text) end end
		check(not kind or kind == "STOP" or rest:find "^: %S", "a mark without its reason")
		if kind == "STOP" then
			check(inside, "an end without a beginning")
			inside = false
		end
		if kind == "START" then
			check(not inside, "a mark inside another")
			inside = true
		end
		marked[number] = inside or kind == "LINE" or nil
	end
	if inside then faults[#faults + 1] = path .. ": the last mark has no end" end
	return marked
end

-- Numbers in order, as "3,7-9". Lines without code between two of them do not part them.
local function ranges(numbers, is_reached)
	local words, i = {}, 1
	while i <= #numbers do
		local last = i
		while numbers[last + 1] do
			for between = numbers[last] + 1, numbers[last + 1] - 1 do
				if is_reached[between] then goto apart end
			end
			last = last + 1
		end
		::apart::
		words[#words + 1] = last > i and numbers[i] .. "-" .. numbers[last] or tostring(numbers[i])
		i = last + 1
	end
	return table.concat(words, ",")
end

local lines, lines_reached, branches, branches_reached, marked, marked_reached = 0, 0, 0, 0, 0, 0
local unreached, unreached_count, faults = {}, 0, {}

local function add_file(path, text)
	local is_marked, is_reached, missed = marks_of(path, faults), {}, {}
	for line in text:gmatch "%b{}" do
		local number, count = tonumber(line:match '"line_number": (%d+)'), tonumber(line:match '"count": (%d+)[^{}]*}$')
		if number and count and not line:find('"gcovr/noncode": true', 1, true) then
			if is_marked[number] then
				marked = marked + 1
				marked_reached = marked_reached + (count > 0 and 1 or 0)
			else
				lines = lines + 1
				if count > 0 then
					lines_reached, is_reached[number] = lines_reached + 1, true
				else
					missed[#missed + 1] = number
				end
				for branch in line:match('"branches": (%b[])'):gmatch '"count": (%d+)' do
					branches = branches + 1
					branches_reached = branches_reached + (branch ~= "0" and 1 or 0)
				end
			end
		end
	end
	if #missed == 0 then return end
	table.sort(missed)
	unreached_count = unreached_count + #missed
	unreached[#unreached + 1] = path .. ":" .. ranges(missed, is_reached)
end

for file in content_of(report):match('"files": (%b[])'):gmatch "%b{}" do
	add_file(file:match '"file": "([^"]+)"', file:match '"lines": (%b[])')
end
assert(lines > 0 and branches > 0, "gcovr found no lines")

local function share(part, whole) return ("%.1f %% (%d of %d)"):format(100 * part / whole, part, whole) end

print(("coverage of runtime/: lines %s, branches %s; marked as never reached %s"):format(share(lines_reached, lines),
	share(branches_reached, branches), share(marked, lines + marked)))
table.sort(unreached)
if unreached_count > 0 then
	print(("lines that were not reached and have no mark: %d"):format(unreached_count))
	for i = 1, math.min(#unreached, FILES_MAX) do print("  " .. unreached[i]) end
	if #unreached > FILES_MAX then print(("  and %d files more"):format(#unreached - FILES_MAX)) end
end
if marked_reached > 0 then print(("lines that are marked and were reached: %d"):format(marked_reached)) end
if 100 * lines_reached < LINES_MIN * lines or 100 * branches_reached < BRANCHES_MIN * branches then
	fail("at least %d %% of lines and %d %% of branches", LINES_MIN, BRANCHES_MIN)
end
if 100 * marked > MARKED_MAX * (lines + marked) then fail("at most %d %% of lines may be marked", MARKED_MAX) end
for _, fault in ipairs(faults) do fail("%s", fault) end
os.exit(good)
