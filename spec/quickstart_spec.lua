-- quickstart_spec.lua - the history of a git repository as events: scripts/quickstart, scripts/git_events.lua and scripts/handlers.

local cli = require "spec.support.cli"
local helper = require "spec.helper"
local lfs = require "lfs"

local quoted = helper.quoted

-- Everything git can put into a history: names of any bytes, merges, links, submodules, a folder that becomes a file and back.
local HISTORY = [[
set -e
cd "$1"
git init -q -b main .
commit() { git add -A; git -c user.name=n -c user.email=e@x commit -q --allow-empty --allow-empty-message "$@"; }
mkdir -p 'dir with space' 'ünï/x'
echo 1 >'dir with space/q"uote\back'; echo 2 >"$(printf 'ünï/x/new\nline')"; echo 3 >"$(printf 'latin-\351')"
echo 4 >"$(printf 'tab\there')"; echo 5 >' lead'; echo 6 >':colon'; echo 7 >a; echo 8 >'[1]'
commit -m 'first "quoted" \ subject'
commit -m ''
rm a; ln -s nowhere a; commit -m 'type change'
chmod +x ':colon'; commit -m 'mode only'
git checkout -q -b side; echo s >side.txt; commit -m 'on side'
git checkout -q main; echo m >m.txt; git rm -q "$(printf 'tab\there')"; commit -m 'main moves'
git -c user.name=n -c user.email=e@x merge -q --no-ff side -m 'Merge side'
git update-index --add --cacheinfo "160000,$(git rev-parse HEAD),sub/module"
git -c user.name=n -c user.email=e@x commit -q -m submodule
git rm -qr ünï; echo file >ünï; git add ünï; git -c user.name=n -c user.email=e@x commit -q -m "$(printf 'a file\001 for a folder')"
rm ünï; mkdir ünï; echo z >ünï/z; git add -A ünï; git -c user.name=n -c user.email=e@x commit -q -m 'and back'
]]
local FILES = 10

local program, repository

local function shell(command, ...)
	local output, ok = helper.shell(command:format(...))
	assert(ok, output)
	return output
end

-- A script with bash, its first argument the repository.
local function in_repository(script)
	return shell("HOME=%s bash -c %s bash %s", quoted(helper.path()), quoted(script), quoted(repository))
end

local function quickstart(arguments)
	return helper.shell(("VIGIA_PROGRAM=%s scripts/quickstart %s"):format(quoted(program), arguments))
end

local function on_history(store)
	return quickstart(("--store %s %s"):format(quoted(helper.path(store)), quoted(repository)))
end

local function matches(output, files)
	assert.truthy(output:find(("\ntree of %d files matches git\n"):format(files), 1, true), output)
end

-- The events of the history, as NDJSON lines.
local function events()
	local output = shell("git -C %s log --first-parent -m --raw --no-renames --reverse --no-abbrev -z --format='%%H %%ct %%s' |"
		.. " lua5.4 scripts/git_events.lua", quoted(repository))
	local lines = {}
	for line in output:gmatch("[^\n]+") do lines[#lines + 1] = line end
	return lines
end

local function append(store, lines)
	local path = helper.path("lines")
	local file = assert(io.open(path, "w"))
	file:write(table.concat(lines, "\n"), "\n")
	file:close()
	shell("%s append --store %s <%s", quoted(program), quoted(helper.path(store)), quoted(path))
end

describe("quickstart", function()
	before_each(function()
		program = assert(helper.program(), "the program vigia is not beside the module")
		repository = helper.path("odd repository")
		shell("mkdir %s", quoted(repository))
		in_repository(HISTORY)
	end)
	after_each(helper.clean)

	it("tells a history with everything in it, and the tree matches git", function()
		local output, ok = on_history("a.db")
		assert(ok, output)
		matches(output, FILES)
		assert.truthy(output:find("What to type next", 1, true), output)
	end)

	it("goes on where it was: nothing new, then new commits", function()
		on_history("a.db")
		local output, ok = on_history("a.db")
		assert(ok, output)
		assert.truthy(output:find("nothing new", 1, true), output)
		matches(output, FILES)
		in_repository([[cd "$1"; echo 9 >nine; rm a; git add nine a; git -c user.name=n -c user.email=e@x commit -qm more]])
		output, ok = on_history("a.db")
		assert(ok, output)
		assert.truthy(output:find("3 events appended", 1, true), output)
		matches(output, FILES)
	end)

	it("keeps the list of files in the store, and handles new events only [X4]", function()
		assert(on_history("a.db"))
		local store = helper.open(helper.path("a.db"))
		local all = assert(store:get_latest_event_num())
		assert.equal(all, store:get_checkpoint("tree_state"))
		assert.equal(FILES, #store:range("tree"))
		assert(store:put("tree", "planted", "blob")) -- would be gone if the list were made again
		store:close()
		local output, ok = on_history("a.db")
		assert.falsy(ok)
		assert.truthy(output:find("\n> blob  planted\n", 1, true), output)
	end)

	it("keeps the whole history, also that which its watchers have finished", function()
		on_history("a.db")
		local settings = shell("%s configure --store %s", quoted(program), quoted(helper.path("a.db")))
		assert.truthy(settings:find("\ngc_age_threshold=0\n", 1, true), settings)
	end)

	it("goes on in the middle of a commit, without a gap or a repetition [E2]", function()
		local all = events()
		append("whole.db", all)
		local function last_number(name)
			local stats = shell("%s stats --store %s --json", quoted(program), quoted(helper.path(name)))
			return stats:match('"latest_event_num":(%d+)')
		end
		for _, cut in ipairs{1, 5, 9, 10, 11, 12, #all - 1, #all} do
			local store = ("cut%d.db"):format(cut)
			append(store, table.move(all, 1, cut, 1, {}))
			local output, ok = on_history(store)
			assert(ok, output)
			matches(output, FILES)
			assert.equal(last_number("whole.db"), last_number(store), "after a cut at " .. cut)
		end
	end)

	it("ends when it is interrupted, and does not compare half a tree", function()
		local real = program
		program = helper.write_file("stops at run", ([[
			#!/bin/sh
			[ "$1" = run ] || exec %s "$@"
			kill -INT $PPID # like a Ctrl-C, which `vigia run` takes for an end like any other: its scripts tell what they know
			echo none >"$VIGIA_CHURN"
		]]):format(quoted(real)):gsub("^%s+", ""):gsub("\n%s+", "\n"))
		shell("chmod +x %s", quoted(program))
		local command = "{ env --default-signal=INT VIGIA_PROGRAM=%s scripts/quickstart --store %s %s; echo status $?; }"
		local output = helper.shell(command:format(quoted(program), quoted(helper.path("a.db")), quoted(repository)))
		assert.truthy(output:find("interrupted; run this again[^\n]*\nstatus 130\n$"), output)
		assert.falsy(output:find("does not match", 1, true), output)
		program = real
		matches(on_history("a.db"), FILES)
	end)

	it("notices a history that was rewritten, and leaves the store as it is", function()
		on_history("a.db")
		local before = shell("%s events --store %s", quoted(program), quoted(helper.path("a.db")))
		in_repository([[cd "$1"; git -c user.name=n -c user.email=e@x commit -q --amend -m rewritten]])
		local output, ok = on_history("a.db")
		assert.falsy(ok)
		assert.truthy(output:find("not on the main line", 1, true), output)
		assert.truthy(output:find("rewritten", 1, true), output)
		assert.equal(before, shell("%s events --store %s", quoted(program), quoted(helper.path("a.db"))))
	end)

	it("says what is wrong with a repository or an option", function()
		local output, ok = quickstart(quoted(helper.path()))
		assert.falsy(ok)
		assert.truthy(output:find("not a git repository", 1, true), output)
		shell("git init -q %s", quoted(helper.path("empty")))
		output, ok = quickstart(quoted(helper.path("empty")))
		assert.falsy(ok)
		assert.truthy(output:find("has no commit yet", 1, true), output)
		output = helper.shell("{ scripts/quickstart --nonesuch; echo status $?; }")
		assert.truthy(output:find("there is no option --nonesuch", 1, true), output)
		assert.truthy(output:find("status 2", 1, true), output)
	end)

	it("says what git says where it does not trust the owner of its own repository", function()
		if helper.shell("id -u") ~= "0\n" then return helper.pending("only root can give a folder to somebody else") end
		local other = helper.path("clone")
		shell("git init -q %s && mkdir %s/scripts && cp scripts/quickstart %s/scripts && chown -R 65534 %s", quoted(other), quoted(other),
			quoted(other), quoted(other))
		local output, ok = helper.shell(("unset SUDO_UID; VIGIA_PROGRAM=%s GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null %s"):format(
			quoted(program), quoted(other .. "/scripts/quickstart")))
		assert.falsy(ok)
		assert.truthy(output:find("dubious ownership", 1, true), output)
		assert.truthy(output:find("another repository can be named", 1, true), output)
	end)

	it("does not take half a record from git for an event", function()
		local output, ok = helper.shell("printf '0a 12 subject\\0\\n:000000 100644 00 0b A\\0pa' | lua5.4 scripts/git_events.lua")
		assert.falsy(ok)
		assert.truthy(output:find("in the middle of a record", 1, true), output)
		assert.falsy(output:find('"File"', 1, true), output)
	end)
end)

describe("a handler script", function()
	local store

	local function run(variables, ...)
		local words = {variables, quoted(program), "run --until-idle --store", quoted(store)}
		for _, name in ipairs{...} do words[#words + 1] = "scripts/handlers/" .. name end
		return shell("%s", table.concat(words, " "))
	end

	local function audit_lines()
		local lines = {}
		for line in io.lines(helper.path("audit.log")) do lines[#lines + 1] = line end
		return lines
	end

	before_each(function()
		program = assert(helper.program(), "the program vigia is not beside the module")
		store = helper.path("store")
		append("store", {
			[[{"operation":"CREATE","object_type":"Commit","object":{"sha":"0123456789abcdef","time":1,"subject":"tab\there"}}]],
			[[{"operation":"CREATE","object_type":"File","object":{"path":"src/new\nline","blob":"b1"}}]],
			[[{"operation":"CREATE","object_type":"File","object":{"path":"src/b","blob":"b2"}}]],
			[[{"operation":"UPDATE","object_type":"File","object":{"path":"src/b","blob":"b3"}}]],
			[[{"operation":"CREATE","object_type":"File","object":{"path":"B","blob":"b4"}}]],
			[[{"operation":"CREATE","object_type":"File","object":{"path":"a","blob":"b5"}}]],
			[[{"operation":"DELETE","object_type":"File","object":{"path":"a","blob":"b5"}}]],
		})
	end)
	after_each(helper.clean)

	it("tree.lua keeps no checkpoint and prints what there is, sorted by path [W12]", function()
		for _ = 1, 2 do
			assert.equal("b4  B\nb3  src/b\nb1  src/new\nline\n", run("", "tree.lua"))
		end
	end)

	it("tree_state.lua keeps the tree in the store, goes on behind its checkpoint and puts aside what is no file [X4 L1]", function()
		local deep = ("d/"):rep(130)
		local function file(operation, path)
			return ([[{"operation":"%s","object_type":"File","object":{"path":"%s","blob":"b6"}}]]):format(operation, path)
		end
		assert.equal("b4  B\nb3  src/b\nb1  src/new\nline\n", run("", "tree_state.lua"))
		append("store", {
			file("CREATE", deep), file("CREATE", "x/" .. deep), file("CREATE", "y/" .. deep), file("DELETE", "x/" .. deep), file("DELETE", "B"),
			[[{"operation":"CREATE","object_type":"File","object":{"path":""}}]],
			[[{"operation":"CREATE","object_type":"File","object":7}]],
		})
		local words = ("%s run --until-idle --store %s scripts/handlers/tree_state.lua"):format(quoted(program), quoted(store))
		local output, ok = helper.shell(words)
		assert.truthy(ok)
		local expected = ("b6  %s\nb3  src/b\nb1  src/new\nline\nb6  y/%s\n"):format(deep, deep)
		assert.truthy(output:find("a File event without a path", 1, true), output)
		assert.truthy(output:find(expected, 1, true), output)
		assert.equal(expected, run("", "tree_state.lua"))
		append("store", {file("DELETE", deep), file("DELETE", "y/" .. deep)})
		assert.equal("b3  src/b\nb1  src/new\nline\n", run("", "tree_state.lua"))
		local handle = helper.open(store)
		local letters = assert(handle:dead_letters{watcher = "tree_state"})
		assert.same({13, 14}, {letters[1].seq_num, letters[2].seq_num})
		assert.equal(2, #handle:range("tree"))
		assert.same({}, handle:range("long_paths"))
		handle:close()
	end)

	it("does what its first lines say to try", function()
		for name in lfs.dir("scripts/handlers") do
			if name:find("%.lua$") then
				local head = cli.read("scripts/handlers/" .. name):match("^.-\n\n")
				local tried = 0
				for command in head:match("Try it:.*"):gmatch("[^\n]*vigia %l[^\n]*") do
					command = command:gsub("^Try it:", ""):gsub("^%-%-", ""):gsub("vigia ", quoted(program) .. " "):gsub("FILE", quoted(store))
						:gsub("audit%.log", quoted(helper.path("audit.log"))):gsub("(%l[%w_]*%.lua)", "scripts/handlers/%1")
						:gsub(" run ", " run --until-idle "):gsub("\"after\":2", "\"after\":0")
					shell("%s", command)
					tried = tried + 1
				end
				assert(tried > 0, name)
			end
		end
	end)

	it("churn.lua counts changes by folder", function()
		local output = run("", "churn.lua")
		assert.truthy(output:find("       3        2        1        0  src\n", 1, true), output)
		assert.truthy(output:find("       3        2        0        1  .\n", 1, true), output)
		assert.truthy(output:find("       6        4        1        1  all\n", 1, true), output)
	end)

	it("audit.lua writes one line an event, goes on behind its checkpoint and mends a torn line [W11]", function()
		local variables = "VIGIA_AUDIT=" .. quoted(helper.path("audit.log"))
		run(variables, "audit.lua")
		local lines = audit_lines()
		assert.equal(7, #lines)
		assert.equal("1\tCREATE\tCommit\t0123456789ab tab\\x09here", lines[1])
		assert.equal("2\tCREATE\tFile\tsrc/new\\x0aline", lines[2])
		local file = assert(io.open(helper.path("audit.log"), "a"))
		file:write("8\tCREATE\tFi")
		file:close()
		append("store", {[[{"operation":"CREATE","object_type":"Note","object":"words"}]]})
		run(variables, "audit.lua")
		lines = audit_lines()
		assert.equal(8, #lines)
		assert.equal("8\tCREATE\tNote\twords", lines[8])
		run(variables, "audit.lua")
		assert.equal(8, #audit_lines())
	end)

	it("audit.lua mends a file that is one torn line, long or short", function()
		local variables = "VIGIA_AUDIT=" .. quoted(helper.path("audit.log"))
		for _, torn in ipairs{"1\tCRE", ("x"):rep(10000), ("y\n"):rep(5000) .. ("z"):rep(4097)} do
			local file = assert(io.open(helper.path("audit.log"), "w"))
			file:write(torn)
			file:close()
			run(variables, "audit.lua")
			local text = shell("cat %s", quoted(helper.path("audit.log")))
			assert.equal(torn:match("^.*\n") or "", text:match("^y[y\n]*\n") or "")
			assert.falsy(text:find("[xz][xz]"))
			os.remove(store)
			os.remove(store .. "-lock")
			os.remove(store .. "-side")
			append("store", {[[{"operation":"CREATE","object_type":"Note","object":"words"}]]})
		end
	end)
end)
