#!/usr/bin/env lua5.4
-- mutants.lua - can the tests fail? Plants one bug at a time in a copy of a source file and expects a test to find it.
--
--     spec/c/mutants.sh              all: by hand, by rule, and of the watcher's step function; writes spec/mutants.txt
--     spec/c/mutants.sh --hand       those by hand: a promise each, and the test that must find it (scripts/test runs these)
--     spec/c/mutants.sh --list       what there is
--         --only TEXT                only those with TEXT in their line of the list
--         --again                    once more what was not found before, by the tests that it has not met; not those by hand
--         --first                    only the C tests and the contract suite
--         --by TESTS                 only these (test_x spec/y_spec.lua ...), measured or not
--         --fresh                    all of them anew, whatever spec/mutants.txt says
--     spec/c/mutants.sh --report     writes spec/mutants.txt from what was found until now
--         --jobs N                   so many at the same time (2)
--         --seed N, --count N        other bugs by rule, and how many
--         --build NAME               on build/NAME (dev); with --hand
--         --share N                  one in N, VIGIA_SEED says which; with --hand
--
-- Those by rule were chosen by a seed once, and are in spec/mutants.txt, which a run reads first: what it says was killed is not tried
-- again without --fresh. A line that moved to another function or file is found there by its text; for one that is gone the seed chooses
-- another one. What stands behind "survived: " is the reason, written by hand, and stays.
--
-- build/dev must be built. What was tried is kept in build/mutants/, so that an interrupted run goes on where it was; which test runs which
-- line is measured once, by gcov, and kept there too (delete the file `map` when tests have changed). A bug by rule meets first the C tests
-- and the contract suite, in the order of their time, those that run the changed line; then all other specs that do; with --full also the
-- tests that do not. The first failure, crash or hang that happens twice finds it.
--
-- The last line is `# planted bugs: N mutants, N killed`. Exit status 1: one by hand was not found, one by rule was not and
-- spec/mutants.txt does not say why, or fewer than 95 % of those that change anything were found.

local root
do
	local pipe <close> = assert(io.popen(("cd -- '%s' && pwd -P"):format((arg[0]:gsub("[^/]*$", ""):gsub("'", "'\\''")) .. "..")))
	root = assert(pipe:read("l"))
end
package.path = root .. "/?.lua;" .. package.path

local build = require "spec.support.mutants.build"
local map = require "spec.support.mutants.map"
local rules = require "spec.support.mutants.rules"
local output_of, quoted = build.output_of, build.quoted

local options = {jobs = 2, seed = 1, count = 160}
do
	local n = 1
	while arg[n] do
		local name = arg[n]:match("^%-%-(%a+)$")
		if name == "hand" or name == "list" or name == "again" or name == "full" or name == "map"
			or name == "first" or name == "report" or name == "fresh" then
			options[name] = true
		elseif name == "only" or name == "worker" or name == "by" or name == "build" then
			options[name], n = assert(arg[n + 1], "a word is missing"), n + 1
		elseif name == "jobs" or name == "seed" or name == "count" or name == "share" then
			options[name], n = assert(math.tointeger(tonumber(arg[n + 1])), "a number is missing"), n + 1
		else
			io.stderr:write(("mutants: there is no option %s; they are told at the top of spec/mutants.lua\n"):format(arg[n]))
			os.exit(2)
		end
		n = n + 1
	end
end

build.init(root, options.build or "dev")
local place = root .. "/build/mutants"
local results_dir = place .. "/results"

local function tell(format, ...)
	print(format:format(...))
	io.stdout:flush()
end

---- what there is ----

local function source_files()
	local files = {}
	for file in output_of(("cd %s && ls runtime/core/*.c runtime/drive/*.c runtime/store/*.c"):format(quoted(root))):gmatch("%S+") do
		files[#files + 1] = file
	end
	for _, file in ipairs{"runtime/isolated.c", "runtime/bind/process.c", "lua/vigia/isolated_program.lua", "lua/vigia/isolated_host.lua",
		"lua/vigia/wire.lua"} do
		files[#files + 1] = file
	end
	return files
end

local function result_path(id)
	return results_dir .. "/" .. id:gsub("[^%w%.:_-]", "_")
end

-- What spec/mutants.txt says: rows in its order, each {id =, rule =, before =, after =, status =, by =, what =, reason =}.
local carried = {}
do
	local text = not options.fresh and build.read(root .. "/spec/mutants.txt") or ""
	for line in text:gmatch("[^\n]+") do
		local id, rule, change, verdict = line:match("^(%S+) | %S+:%d+ | (%a+) | (.+) | (%l[^|]*)$")
		local before, after = (change or ""):match("^(.*) → (.*)$")
		if before then
			local row = {id = id, rule = rule, before = before, after = after}
			row.by, row.what = verdict:match("^killed by ([^:]+): (.*)$")
			if row.by then row.status = "killed" end
			if verdict:find("^survived: ") then
				row.status, row.reason = "survived", verdict:match("^survived: (.*)$")
				row.what = row.reason:match("^not explained yet; (.*) until now$")
				if row.what then row.reason = nil end
			end
			carried[#carried + 1] = row
		end
	end
end
local verdicts = {} -- id -> row of what was carried
do
	local text = not options.fresh and build.read(root .. "/spec/mutants.txt") or ""
	for id, name, by, what in text:gmatch("(%l+:%d+) | %S+ | ([^\n]-) | killed by ([^:\n]+): ([^\n]*)") do
		verdicts[id] = {name = name, status = "killed", by = by, what = what}
	end
end

-- {status = "killed" | "survived" | "no", by =, what =}, or nil.
local function result_of(id)
	local text = build.read(result_path(id))
	if not text then return verdicts[id] and verdicts[id].status and verdicts[id] end
	local status, by, what = text:match("^(%a+)\t([^\t]*)\t([^\n]*)")
	return {status = status, by = by, what = what}
end

-- Those that have a number and a name are others when they have another name.
local function forget_unless(id, name)
	if verdicts[id] and verdicts[id].name ~= name then verdicts[id] = nil end
end

local function reason_of(id)
	return verdicts[id] and verdicts[id].reason
end

-- `met`: what it survived, a line a test.
local function keep(id, status, by, what, met)
	build.write(result_path(id), ("%s\t%s\t%s\n%s"):format(status, by or "", what or "", met and table.concat(met, "\n") .. "\n" or ""))
end

local function tests_met(id)
	local met = {}
	local text = build.read(result_path(id)) or ""
	for line in text:gsub("^[^\n]*\n", ""):gmatch("[^\n]+") do met[line] = true end
	return met
end

local one_line = rules.one_line

-- The sites that spec/mutants.txt tells of, by their id, or where a function has another name by their text, if it is there once.
-- Returns a list, and those that are gone.
local function find_again(all)
	local by_id, by_text, found, gone = {}, {}, {}, {}
	local function key(rule, before, after)
		return rule .. "\0" .. before:gsub("%s+", " ") .. "\0" .. after:gsub("%s+", " ")
	end
	for _, one in ipairs(all) do
		for _, site in ipairs(one.sites) do
			while by_id[site.id] do site.id = site.id .. "+" end -- two functions of a name with a line alike
			by_id[site.id] = site
			local text = key(site.rule, one_line(site.before), one_line(site.after))
			by_text[text] = by_text[text] or {}
			table.insert(by_text[text], site)
		end
	end
	local missing = {}
	local function take(site, row)
		local result = result_of(site.id)
		site.taken, verdicts[site.id] = true, row
		if not result or result.status ~= "no" then found[#found + 1] = site end
	end
	for _, row in ipairs(carried) do
		if by_id[row.id] then take(by_id[row.id], row) else missing[#missing + 1] = row end
	end
	for _, row in ipairs(missing) do
		local sites = by_text[key(row.rule, row.before, row.after)] or {}
		if #sites == 1 and not sites[1].taken then take(sites[1], row) else gone[#gone + 1] = row end
	end
	return found, gone
end

-- Of all files, each at least two, more of the longer ones; of all rules.
local SHARES <const> = {negate = 30, drop = 26, bound = 18, lock = 12, swap = 14}

-- Those of spec/mutants.txt that are still there, and as many as are missing. Returns those that are gone, too.
local function select_by_rule()
	local files, all, picked = source_files(), {}, {}
	local quota, left, weights = {}, options.count, 0
	for n, file in ipairs(files) do
		all[n] = {file = file, source = assert(build.read(root .. "/" .. file)), taken = 0}
		all[n].sites = rules.sites(file, all[n].source, options.seed)
		for _, site in ipairs(all[n].sites) do site.file, site.source, site.of = file, all[n].source, all[n] end
		quota[n] = 2
		left = left - 2
		weights = weights + #all[n].sites
	end
	for n, one in ipairs(all) do
		local more = math.floor(left * #one.sites / weights + 0.5)
		left, weights = left - more, weights - #one.sites
		quota[n] = quota[n] + more
	end
	local counts = {negate = 0, drop = 0, bound = 0, lock = 0, swap = 0}
	local found, gone = find_again(all)
	for _, site in ipairs(found) do
		counts[site.rule] = counts[site.rule] + 1
		site.of.taken = site.of.taken + 1
		picked[#picked + 1] = site
	end
	for n, one in ipairs(all) do
		local by_rule = {}
		for _, site in ipairs(one.sites) do
			local before = not site.taken and result_of(site.id)
			if not site.taken and not (before and before.status == "no") then
				by_rule[site.rule] = by_rule[site.rule] or {}
				table.insert(by_rule[site.rule], site)
			end
		end
		while one.taken < quota[n] and #picked < options.count do
			-- the rule that is furthest behind its share, of those that have a site left
			local best
			for _, rule in ipairs(rules.NAMES) do
				local sites = by_rule[rule]
				if sites and #sites > 0 and (not best or counts[rule] / SHARES[rule] < counts[best] / SHARES[best]) then best = rule end
			end
			if not best then break end
			counts[best] = counts[best] + 1
			one.taken = one.taken + 1
			picked[#picked + 1] = table.remove(by_rule[best], 1)
		end
	end
	return picked, gone
end

local function describe(mutant)
	return ("%s | %s:%d | %s | %s → %s"):format(mutant.id, mutant.file, mutant.line, mutant.rule, one_line(mutant.before),
		one_line(mutant.after))
end

-- By hand: {name =, file =, {before, after}, ..., by =, case =}: each text is in the file once.
local function select_by_hand()
	local list = {}
	for n, bug in ipairs(require "spec.support.mutants.hand") do
		local source = assert(build.read(root .. "/" .. bug.file), bug.file)
		local line, wrong
		for _, change in ipairs(bug) do
			local from, to = source:find(change[1], 1, true)
			if from and not source:find(change[1], to + 1, true) then
				line = line or select(2, source:sub(1, from):gsub("\n", "")) + 1
				source = source:sub(1, from - 1) .. change[2] .. source:sub(to + 1)
			else
				wrong = ("support/mutants/hand.lua: this must be in %s once: %s"):format(bug.file, change[1])
			end
		end
		list[n] = {id = ("hand:%02d"):format(n), name = bug.name, file = bug.file, line = line or 0, rule = "hand", wrong = wrong,
			before = bug[1][1], after = bug[1][2], text = source, by = bug.by, case = bug.case}
		forget_unless(list[n].id, bug.name)
	end
	return list
end

-- Of the watcher's step function: sed expressions, and the tests that must find them.
local function select_of_stepper()
	local list = {}
	local file = "runtime/core/stepper.c"
	for line in assert(build.read(root .. "/spec/support/mutants/stepper.txt")):gmatch("[^\n]+") do
		local name, sed = line:match("^([^#|][^|]*)|(.*)$")
		if name then
			list[#list + 1] = {id = ("stepper:%02d"):format(#list + 1), name = name, file = file, line = 0, rule = "sed", before = sed, after = name,
				sed = sed}
			forget_unless(list[#list].id, name)
		end
	end
	return list
end

local function only(list)
	local out = {}
	for _, mutant in ipairs(list) do
		if not options.only or (describe(mutant) .. (mutant.name or "")):find(options.only, 1, true) then out[#out + 1] = mutant end
	end
	return out
end

---- trying ----

-- C tests and the contract suite come first; the machines that take minutes last.
local function stage_of(test)
	for _, name in ipairs{"power", "failures_spec", "history_spec", "crash_spec"} do
		if test:find(name, 1, true) then return 3 end
	end
	return (not test:find("%.lua$") or test == "spec/store_memory_spec.lua" or test == "spec/store_lmdb_spec.lua") and 1 or 2
end

local BASE_SECONDS <const> = 25 -- for a test that takes no time at all: the machine may be busy

-- The file with a bug of the watcher's step function. nil: the expression changes nothing.
local function text_of_stepper(mutant)
	local path = root .. "/" .. mutant.file
	local text = output_of(("sed -e %s %s"):format(quoted(mutant.sed), quoted(path)))
	return text ~= build.read(path) and text or nil
end

-- Of the watcher's: one of the five must fail.
local function try_stepper(shop, mutant)
	local text = assert(text_of_stepper(mutant), mutant.name .. ": the expression changes nothing: " .. mutant.sed)
	if not shop:change(mutant.file, text) then return "no", "", "does not compile" end
	for _, test in ipairs{"test_stepper", "test_stepper_phases", "test_stepper_letters", "sim_stepper", "sim_transactional"} do
		local passed, what = shop:run(test, nil, BASE_SECONDS)
		if not passed then return "killed", test, what end
	end
	return "survived"
end

-- The tests for a bug by rule, those that run its lines first.
local function order_of(known, mutant)
	local order = {}
	for test in (options.by or ""):gmatch("%S+") do order[#order + 1] = {test = test, stage = 1, cpu = 20, wall = 20} end
	if options.by then return order end
	for test, facts in pairs(known) do
		local runs = facts.lines[mutant.file]
		local hits = build.includes(test, mutant.file) or (mutant.file:find("%.lua$") and facts.lines["runtime/isolated.c"] ~= nil)
		for line = mutant.line, mutant.last do
			hits = hits or runs and runs[line]
		end
		local stage = hits and stage_of(test) or 4
		if facts.passed and (stage < 4 or options.full) and (stage == 1 or not options.first) then
			order[#order + 1] = {test = test, stage = stage, cpu = facts.cpu, wall = facts.wall}
		end
	end
	table.sort(order, function(a, b)
		if a.stage ~= b.stage then return a.stage < b.stage end
		if a.cpu ~= b.cpu then return a.cpu < b.cpu end
		return a.test < b.test
	end)
	return order
end

local function try_by_rule(shop, mutant, known)
	if not shop:change(mutant.file, rules.apply(mutant.source, mutant)) then return "no", "", "does not compile" end
	local before = tests_met(mutant.id)
	local met = {}
	for test in pairs(before) do met[#met + 1] = test end
	for _, one in ipairs(order_of(known, mutant)) do
		if not before[one.test] then
			local preload = one.test:find("%.lua$") and ("LD_PRELOAD=%s/cases.so"):format(shop.dir) or nil
			local function run()
				local passed, what = shop:run(one.test, nil, math.ceil(BASE_SECONDS + 4 * one.wall), preload, math.ceil(10 + 10 * one.cpu))
				return passed or what == "does not compile", what
			end
			local passed = run()
			-- On a busy machine a test may fail for want of time: what fails once in three runs found nothing.
			for _ = 1, passed and 0 or 2 do
				local again, why = run()
				if not again then return "killed", one.test, why end
			end
			met[#met + 1] = one.test
		end
	end
	return "survived", "", ("%d tests ran its line"):format(#met), met
end

---- by hand ----

-- One in N. One whose text is not in its file any more is always among them.
local function share(bugs)
	local seed = math.tointeger(tonumber(os.getenv "VIGIA_SEED")) or os.time()
	local out = {}
	for n, bug in ipairs(bugs) do
		if bug.wrong or (n + seed) % options.share == 0 then out[#out + 1] = bug end
	end
	tell("# VIGIA_SEED=%d chose %d of %d", seed, #out, #bugs)
	return out
end

local function hand()
	local bugs = only(select_by_hand())
	if options.share then bugs = share(bugs) end
	local dir = output_of("mktemp -d \"${TMPDIR:-/tmp}/vigia-mutants.XXXXXX\""):gsub("\n", "")
	local killed = 0
	local good, problem = xpcall(function()
		local shop = build.shop(dir)
		shop:library()
		shop.flags, shop.static = " -w -O0 -g0", true
		-- Without a bug they pass, which scripts/test sees, too. With --hand one of each kind shows that the copy of the build is sound.
		local sound = {}
		for _, bug in ipairs(bugs) do
			local key = options.hand and tostring(bug.by:find("%.lua$") ~= nil) or bug.by
			if sound[key] == nil then
				local passed, ran = shop:run(bug.by, bug.case, 120)
				sound[key] = passed and ran ~= false
				if not sound[key] then tell("# without a bug %s %s: %s", bug.by, bug.case or "", passed and "runs nothing" or ran) end
			end
			bug.sound = sound[key]
		end
		for n, bug in ipairs(bugs) do
			local spent = map.spent()
			local compiles = not bug.wrong and shop:change(bug.file, bug.text)
			local passed, what = true, bug.wrong or "it does not compile"
			local limit = bug.by:find("^test_") and 20 or 60 -- a C test alone takes seconds
			if compiles and bug.sound then passed, what = shop:run(bug.by, bug.case, limit) end
			if not passed then killed = killed + 1 end
			keep(bug.id, passed and "survived" or "killed", bug.by, tostring(what))
			-- Without the line of the contract: it is the test that proves it.
			tell("%s %d - a bug is found: %s", passed and "not ok" or "ok", n, (bug.name:gsub("^%u%d+ ", "")))
			tell("# %s (%.1f s)", not passed and ("found by %s: %s"):format(bug.by, what) or compiles and "not found by " .. bug.by or what,
				map.spent() - spent)
		end
	end, debug.traceback)
	os.execute("rm -rf " .. quoted(dir))
	if not good then error(problem, 0) end
	-- The bugs of the watcher's step function are tried seldom, and their expressions must follow its lines.
	local stale = 0
	for _, mutant in ipairs(select_of_stepper()) do
		if not text_of_stepper(mutant) then
			stale = stale + 1
			tell("# it changes nothing in %s: %s", mutant.file, mutant.sed)
		end
	end
	tell("%s %d - each expression of stepper.txt makes a bug", stale > 0 and "not ok" or "ok", #bugs + 1)
	tell("1..%d", #bugs + 1)
	tell("# %.1f s of the processor", map.spent())
	if options.hand then tell("# planted bugs: %d mutants, %d killed", #bugs, killed) end
	return killed == #bugs and stale == 0
end

---- all ----

local MAP <const> = place .. "/map"

local function all_tests()
	local tests = {}
	for _, name in ipairs(build.tests()) do
		tests[#tests + 1] = name == "power" and "power --states 600" or name -- a tenth of what a normal run does
	end
	for name in output_of(("cd %s && ls spec/*_spec.lua"):format(quoted(root))):gmatch("%S+") do
		-- About other things than the runtime, or (soak) ten minutes of it.
		if not name:find("package_spec") and not name:find("soak_spec") and not name:find("annotations_spec") then tests[#tests + 1] = name end
	end
	table.sort(tests, function(a, b)
		local stage_a, stage_b = stage_of(a), stage_of(b)
		return stage_a < stage_b or stage_a == stage_b and a < b
	end)
	return tests
end

-- What is still to be tried.
local function pending(list)
	local out = {}
	for _, mutant in ipairs(list) do
		local before = result_of(mutant.id)
		if not before or options.again and before.status == "survived" and not reason_of(mutant.id) then out[#out + 1] = mutant end
	end
	return out
end

local function worker(name)
	local shop = build.shop(place .. "/" .. name)
	local known = map.read(MAP) or {}
	local list = select_of_stepper()
	local by_rule = select_by_rule()
	table.move(by_rule, 1, #by_rule, #list + 1, list)
	for _, mutant in ipairs(pending(only(list))) do
		if os.execute(("mkdir %s 2>/dev/null"):format(quoted(place .. "/claims/" .. result_path(mutant.id):match("[^/]+$")))) then
			local spent = map.spent()
			local try = mutant.sed and try_stepper or try_by_rule
			local status, by, what, met = try(shop, mutant, known)
			keep(mutant.id, status, by, what, met)
			tell("%-8s %s%s (%.1f s)", status, mutant.sed and mutant.name or describe(mutant),
				by ~= "" and by and (" | %s: %s"):format(by, what or "") or "", map.spent() - spent)
		end
	end
end

local function report(list)
	local rows, counts = {}, {killed = 0, survived = 0, same = 0, unexplained = 0, missing = 0}
	for _, mutant in ipairs(list) do
		local result, reason = result_of(mutant.id), reason_of(mutant.id)
		local said
		if not result then
			counts.missing = counts.missing + 1
			said = "not tried"
		elseif result.status == "killed" then
			counts.killed = counts.killed + 1
			said = ("killed by %s: %s"):format(result.by, result.what)
		else
			counts.survived = counts.survived + 1
			said = "survived: " .. (reason or ("not explained yet; %s until now"):format(result.what))
			if not reason then counts.unexplained = counts.unexplained + 1
			elseif reason:find("^the same") then counts.same = counts.same + 1 end
		end
		local what = mutant.name and ("%s | %s | %s"):format(mutant.id, mutant.file, mutant.name) or describe(mutant)
		rows[#rows + 1] = ("%s | %s"):format(what, (said:gsub("|", "/")))
	end
	return rows, counts
end

local function all()
	local known = map.read(MAP) or {}
	local complete = true
	for _, test in ipairs(all_tests()) do complete = complete and (known[test] ~= nil or options.first and stage_of(test) > 1) end
	complete = complete or options.by ~= nil
	if not options.report and not complete or options.map then
		tell("# measuring which test runs which lines")
		map.make(root, place .. "/count", MAP, source_files(), all_tests(), function(line) tell("#   %s", line) end)
		if options.map then return true end
	end
	local list
	for _ = 1, options.report and 0 or 20 do
		list = select_of_stepper()
		local by_rule = select_by_rule()
		table.move(by_rule, 1, #by_rule, #list + 1, list)
		list = only(list)
		if #pending(list) == 0 then break end
		os.execute(("rm -rf %s/claims && mkdir -p %s/claims"):format(quoted(place), quoted(place)))
		local words = {}
		local passed_on = (options.again and " --again" or "") .. (options.full and " --full" or "") .. (options.first and " --first" or "")
			.. (options.only and " --only " .. quoted(options.only) or "") .. (options.by and " --by " .. quoted(options.by) or "")
		for n = 1, options.jobs do
			words[n] = ("lua5.4 %s --worker w%d --seed %d --count %d%s &"):format(quoted(arg[0]), n, options.seed, options.count, passed_on)
		end
		os.execute(table.concat(words, " ") .. " wait")
		options.again = nil
	end
	local hand_rows, by_hand = report(select_by_hand())
	local watcher_rows, of_watcher = report(select_of_stepper())
	local chosen, gone = select_by_rule()
	table.sort(chosen, function(a, b)
		return a.file < b.file or a.file == b.file and (a.line < b.line or a.line == b.line and a.id < b.id)
	end)
	local rule_rows, by_rule = report(chosen)
	for _, row in ipairs(gone) do tell("# no longer there: %s | %s | %s → %s", row.id, row.rule, row.before, row.after) end
	local total, killed = #hand_rows + #watcher_rows + #rule_rows, by_hand.killed + of_watcher.killed + by_rule.killed
	if not options.only then
		local out = {
			"# Planted bugs, and what found them: written by spec/c/mutants.sh, told in spec/README.md.",
			("# By rule (seed %d): %d, %d killed, %d survived, of which %d change nothing and %d are not explained; %d not tried."):format(
				options.seed, #rule_rows, by_rule.killed, by_rule.survived, by_rule.same, by_rule.unexplained, by_rule.missing),
			("# By hand: %d, %d killed. Of the watcher's step function: %d, %d killed."):format(#hand_rows, by_hand.killed, #watcher_rows,
				of_watcher.killed),
			"",
		}
		for _, rows in ipairs{hand_rows, watcher_rows, rule_rows} do table.move(rows, 1, #rows, #out + 1, out) end
		build.write(root .. "/spec/mutants.txt", table.concat(out, "\n") .. "\n")
	end
	for _, rows in ipairs{hand_rows, watcher_rows, rule_rows} do
		for _, row in ipairs(rows) do
			if not row:find("| killed by ", 1, true) then tell("%s", row) end
		end
	end
	tell("# planted bugs: %d mutants, %d killed", total, killed)
	return by_hand.missing + by_hand.survived + of_watcher.missing + of_watcher.unexplained + by_rule.missing + by_rule.unexplained == 0
		and by_rule.killed * 100 >= 95 * (#rule_rows - by_rule.same)
end

os.execute("mkdir -p " .. quoted(results_dir))
local good
if options.list then
	for _, list in ipairs{select_by_hand(), select_of_stepper(), (select_by_rule())} do
		for _, mutant in ipairs(only(list)) do tell("%s", describe(mutant)) end
	end
	good = true
elseif options.worker then
	worker(options.worker)
	good = true
elseif options.hand then
	good = hand()
else
	good = (options.map or options.report or options.by or options.again) and true or hand()
	good = all() and good
end
os.exit(good)
