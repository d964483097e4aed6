-- map.lua - which test runs which lines, and for how long: one run of every test with the sources counted by gcov.
--
-- A test that brings a source file itself counts as running all of it. What a process that is killed ran is not counted.

local build = require "spec.support.mutants.build"
local quoted, output_of = build.quoted, build.output_of

local M = {}

-- Seconds of processor that ended children of this process took.
function M.spent()
	local fields = {}
	for field in build.read("/proc/self/stat"):match("%) (.*)"):gmatch("%S+") do fields[#fields + 1] = field end
	return (tonumber(fields[14]) + tonumber(fields[15])) / 100
end

local function now()
	local file <close> = assert(io.open("/proc/uptime"))
	return file:read("n")
end
M.now = now

-- An end without atexit would lose the counts.
local LEAVE <const> = [[
#include <sys/syscall.h>
#include <unistd.h>
void __gcov_dump(void);
__attribute__((noreturn)) void vigia_counted_exit(int status)
{
	__gcov_dump();
	for (;;) syscall(SYS_exit_group, status);
}
]]

-- A shop whose sources are counted, in obj/.
local function counting_shop(root, dir, files)
	local shop = build.shop(dir)
	local word = quoted(dir)
	assert(os.execute(("mkdir -p %s/obj"):format(word)))
	build.write(dir .. "/leave.c", LEAVE)
	assert(os.execute(("cc -O1 -fPIC -fvisibility=hidden -c -o %s/leave.o %s/leave.c"):format(word, word)))
	local objects = {}
	for _, file in ipairs(files) do
		if file:find("%.c$") then
			local object = ("%s/obj/%s.o"):format(dir, file:gsub("^runtime/", ""):gsub("/", "_"):gsub("%.c$", ""))
			assert(shop:compile(file, root .. "/" .. file, object, " -w -O0 --coverage -fprofile-update=atomic -D_exit=vigia_counted_exit"), file)
			objects[file] = object
		end
	end
	shop:count(objects, dir .. "/leave.o")
	return shop
end

local function lines_of_gcov(text, into)
	local file, seen
	for line in text:gmatch("[^\n]+") do
		local count, number, rest = line:match("^%s*(%S+):%s*(%d+):(.*)")
		if number == "0" then
			local source = rest:match("^Source:.*/(runtime/.*)")
			if source then
				file, seen = source, {}
				into[file] = into[file] or seen
				seen = into[file]
			elseif rest:find("^Source:") then file = nil end
		elseif file and number and count:find("^%d") then
			seen[tonumber(number)] = true
		end
	end
end

-- Run all tests; keep what each took and ran in `path`.
function M.make(root, dir, path, files, tests, tell)
	local shop, plain = counting_shop(root, dir, files), nil
	local rows = {}
	local known = M.read(path) or {}
	for _, test in ipairs(tests) do
		local old = known[test]
		if not old then
			local counts = output_of("mktemp -d /tmp/vigia-counts.XXXXXX"):gsub("\n", "")
			local spent, began = M.spent(), now()
			local passed, what = shop:run(test, nil, 900, "GCOV_PREFIX=" .. counts)
			local took, lasted = M.spent() - spent, now() - began
			if not passed then -- counting makes it slower: once more without
				plain = plain or build.shop(dir .. "/plain")
				plain:library()
				passed, what = plain:run(test, nil, 900)
			end
			old = {passed = passed, cpu = took, wall = lasted, lines = {}}
			local text = output_of(("cd %s/obj && rm -f *.gcda && mv %s%s/obj/*.gcda . 2>/dev/null && gcov -t *.gcda 2>/dev/null"):format(
				quoted(dir), counts, dir))
			lines_of_gcov(text, old.lines)
			os.execute("rm -rf " .. counts)
			tell(("%s: %.1f s, %.1f of the processor%s"):format(test, old.wall, old.cpu, passed and "" or ", FAILS: " .. tostring(what)))
		end
		rows[#rows + 1] = ("test\t%s\t%s\t%.2f\t%.2f"):format(test, old.passed and "passes" or "fails", old.cpu, old.wall)
		for file, seen in pairs(old.lines) do
			local numbers = {}
			for number in pairs(seen) do numbers[#numbers + 1] = number end
			table.sort(numbers)
			rows[#rows + 1] = ("runs\t%s\t%s\t%s"):format(test, file, table.concat(numbers, ","))
		end
		known[test] = old
		build.write(path, table.concat(rows, "\n") .. "\n")
	end
end

-- test -> {passed =, cpu =, wall =, lines = {file -> {line -> true}}}, or nil.
function M.read(path)
	local text = build.read(path)
	if not text then return nil end
	local map = {}
	for line in text:gmatch("[^\n]+") do
		local kind, test, a, b, c = line:match("^(%a+)\t([^\t]+)\t([^\t]+)\t([^\t]*)\t?(.*)$")
		if kind == "test" then
			map[test] = {passed = a == "passes", cpu = tonumber(b), wall = tonumber(c), lines = {}}
		else
			local seen = {}
			for number in b:gmatch("%d+") do seen[tonumber(number)] = true end
			map[test].lines[a] = seen
		end
	end
	return map
end

return M
