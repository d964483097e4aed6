-- report.lua - the end of scripts/test: what was skipped, what the machines covered, what of the contract no test proved, what failed.
--
-- Arguments: the folder of the results, and "interrupted" if they are not all. It has a folder for each build, and in that one for each
-- test what spec/support/run left there. VIGIA_FILTER: only tests with that text in their names ran. The last line is
-- `N passed, N failed`; the exit status is 1 if any failed.

local BUILDS <const> = {"dev", "count", "asan", "tsan", "tsan-clang", "fuzz"}
local CONTRACT <const> = "spec/CONTRACT.md"
local LINES_MAX <const> = 14 -- of what failed, for each test

local results, interrupted = arg[1], arg[2] == "interrupted"
local filter = os.getenv("VIGIA_FILTER")

local function quoted(word)
	return "'" .. word:gsub("'", "'\\''") .. "'"
end

local function lines_of(path)
	local lines = {}
	local file <close> = io.open(path)
	if file then
		for line in file:lines() do lines[#lines + 1] = line end
	end
	return lines
end

local function output_of(command)
	local pipe <close> = assert(io.popen(command))
	return pipe:read("a")
end

-- The names of a build's tests that ran, or that were to be built.
local function tests_of(build)
	local folder = results .. "/" .. build
	local names = {}
	for path in output_of(("cd %s 2>/dev/null && find . \\( -name log -o -name counts \\) -printf '%%h\\n' | LC_ALL=C sort -u"):format(
		quoted(folder))):gmatch("%./([^\n]+)") do names[#names + 1] = path end
	return names
end

-- ---- the machines: `# MACHINE: N NOUN ..., N NOUN ...` (spec/README.md), and libFuzzer's own ----

local rows, order, columns = {}, {}, {}

local function cover(build, row, count)
	if not rows[row] then
		rows[row] = {}
		order[#order + 1] = row
	end
	if columns[#columns] ~= build then columns[#columns + 1] = build end
	rows[row][build] = (rows[row][build] or 0) + count
end

local function read_covered(build, log)
	for _, line in ipairs(log) do
		local machine, figures = line:match("^# (%l[%l ]*): (%d+ %l.*)$")
		for count, noun in (figures and ", " .. figures or ""):gmatch(", (%d+) (%l%S*)") do
			cover(build, machine .. ": " .. noun, math.tointeger(tonumber(count)))
		end
		local units = line:match("^stat::number_of_executed_units: (%d+)")
		if units then cover(build, "hostile bytes: executions", math.tointeger(tonumber(units))) end
	end
end

local function print_covered()
	if #order == 0 then return end
	print("\nwhat the machines covered in this run:")
	local head = ("  %-32s"):format("")
	for _, build in ipairs(columns) do head = head .. (" %12s"):format(build) end
	print(head)
	for _, row in ipairs(order) do
		local line = ("  %-32s"):format(row)
		for _, build in ipairs(columns) do line = line .. (" %12s"):format(rows[row][build] or "-") end
		print(line)
	end
end

-- ---- the contract: the lines that no passed test names; those that carry a mark are not owed yet ----

local function print_contract(proved)
	local unproved, later = {}, {}
	local lines = lines_of(CONTRACT)
	if #lines == 0 then
		print("\nFAILED: " .. CONTRACT .. " is missing")
		return 1
	end
	for _, line in ipairs(lines) do
		local id = line:match("^%- (%u%d+) ")
		if id and not proved[id] then unproved[#unproved + 1] = id end
		local step, planned = line:match("^%- (%[%u%]) (%u%d+) ")
		if step then later[#later + 1] = planned .. " " .. step end
	end
	local function list(ids) return #ids > 0 and table.concat(ids, " ") or "none" end
	print("\nlines of the contract not yet kept: " .. list(later))
	print("lines of the contract that no passed test names: " .. list(unproved))
	return #unproved
end

-- ---- all of it ----

local passed, failed = 0, 0
local proved, skipped, summary = {}, {}, {}
for _, build in ipairs(BUILDS) do
	for _, name in ipairs(tests_of(build)) do
		local folder = results .. "/" .. build .. "/" .. name
		local file = io.open(folder .. "/counts")
		if not file and not interrupted then -- it did not come to its end within its time, or was killed
			os.execute(("NAME=%s STATUS=137 FILTER=%s FOLDER=%s awk -f spec/support/tally.awk %s"):format(quoted(name), quoted(filter or ""),
				quoted(folder), quoted(folder .. "/log")))
			file = io.open(folder .. "/counts")
		end
		local good, bad = 0, 0
		if file then
			good, bad = file:read("n", "n")
			file:close()
		end
		passed, failed = passed + good, failed + bad
		if filter and good + bad > 0 then print(("%s %s: %d passed, %d failed"):format(build, name, good, bad)) end
		read_covered(build, lines_of(folder .. "/log"))
		for _, title in ipairs(lines_of(folder .. "/passed")) do
			for id in title:gmatch("%f[%w]%u%d+%l?%f[%W]") do proved[id:match("^%u%d+")] = true end
		end
		for _, line in ipairs(lines_of(folder .. "/skipped")) do skipped[line] = true end
		if bad > 0 then
			summary[#summary + 1] = ("FAILED %s %s: %d passed, %d failed"):format(build, name, good, bad)
			local lines = lines_of(folder .. "/failures")
			local first = #lines > 0 and lines[1]:find("; the last it said:", 1, true) and math.max(1, #lines - LINES_MAX + 2) or 1
			if first > 1 then summary[#summary + 1] = lines[1] end
			table.move(lines, first, math.min(#lines, first + LINES_MAX - 1), #summary + 1, summary)
		end
	end
end

local sorted = {}
for line in pairs(skipped) do sorted[#sorted + 1] = line end
table.sort(sorted)
if #sorted > 0 and not interrupted then print("\nskipped:\n  " .. table.concat(sorted, "\n  ")) end
print_covered()
for _, line in ipairs(lines_of(results .. "/coverage")) do print(line) end
if not filter and not interrupted then failed = failed + print_contract(proved) end
if passed + failed == 0 and not interrupted then
	if filter then print(("no test has %q in its name"):format(filter)) end
	failed = 1
end
if #summary > 0 then
	print(("\nwhat failed, in short (on %s, %s processors, user %s, files in %s):"):format(output_of("uname -srm"):sub(1, -2),
		output_of("nproc"):sub(1, -2), output_of("id -u"):sub(1, -2), results))
	print(table.concat(summary, "\n", 1, math.min(#summary, 200)))
end
if interrupted then print("interrupted; until then:") end
print(("%d passed, %d failed"):format(passed, failed))
os.exit(failed == 0)
