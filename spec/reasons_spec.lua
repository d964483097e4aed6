-- reasons_spec.lua - why something cannot be opened: which file, which right, which limit; and text that no terminal may obey.

local cli = require "spec.support.cli"
local helper = require "spec.helper"
local vigia = require "vigia"

local mentions, quoted = helper.mentions, helper.quoted

-- Root may do everything, so root asks as somebody else.
local as_other = helper.shell("id -u") == "0\n" and "setpriv --reuid 65534 --regid 65534 --clear-groups " or ""

describe("a store that cannot be opened", function()
	after_each(cli.clean)

	-- What a user without rights is told who opens the store.
	local function told(mode)
		helper.shell(("chmod 644 %s/*.lua"):format(quoted(helper.path())))
		return helper.run_lua(as_other, ([[
			local store, err = vigia.open(arg[1], {readonly = %s})
			say(store and 'open' or err.code .. ': ' .. tostring(err))
		]]):format(mode == "readonly"), helper.path("store"))
	end

	local function can_ask()
		local _, able = helper.shell(as_other .. "true")
		if not able then return false end
		helper.write_file("x.lua", "")
		assert(os.execute("chmod 755 " .. quoted(helper.path())))
		return not told("readonly"):find("module 'vigia", 1, true)
	end

	-- Give the three files to everybody but one, or the folder to nobody.
	local function forbid(name)
		helper.shell(("cd %s && chmod 666 store*"):format(quoted(helper.path())))
		if name then helper.shell(("chmod 000 %s"):format(quoted(helper.path(name)))) end
	end

	it("is told with the file that the rights are missing for [R2]", function()
		helper.open():close()
		if not can_ask() then return helper.pending("this user cannot become another one") end
		for _, mode in ipairs{"readonly", "write"} do
			forbid(nil)
			mentions(told(mode), "open")
			forbid("store")
			mentions(told(mode), "permission_denied", "read the store '" .. helper.path("store") .. "'")
			forbid("store-lock")
			mentions(told(mode), "permission_denied", "lock file '" .. helper.path("store-lock") .. "'")
		end
		forbid("store-side")
		mentions(told("write"), "permission_denied", "side file '" .. helper.path("store-side") .. "'")
		if as_other == "" then return end -- the owner of a folder can change it
		forbid(nil)
		os.remove(helper.path("store-lock"))
		mentions(told("write"), "permission_denied", "make the lock file '" .. helper.path("store-lock") .. "'", "folder")
		os.remove(helper.path("store"))
		mentions(told("write"), "permission_denied", "make the store '" .. helper.path("store") .. "'", "folder")
	end)

	it("is out_of_memory where the system gives no memory, whatever for [R2]", function()
		if helper.sanitized then return helper.pending("a sanitizer needs more address space than this gives") end
		local try = [[
			local ok, loaded = pcall(require, "vigia")
			local store, err
			if ok then store, err = loaded.open(arg[1], {map_size = 1 << 20}) end
			print(not ok and "no module" or store and "open" or err.code .. ": " .. tostring(err))
		]]
		local file = helper.write_file("try.lua", try)
		local command = ("for v in $(seq 8000 500 16000); do (ulimit -v $v; LUA_PATH=%s LUA_CPATH=%s lua5.4 %s %s); done"):format(
			quoted(package.path), quoted(package.cpath), quoted(file), quoted(helper.path("store")))
		local refused = 0
		for _, line in ipairs(cli.lines((helper.shell(command)))) do
			if line ~= "open" and not line:find("no module", 1, true) and not line:find("not enough memory", 1, true)
				and not line:find("shared libraries", 1, true) and line:find("^[%l_]+: ") then
				refused = refused + 1
				mentions(line, "out_of_memory: ")
			end
		end
		assert(refused > 0, "nothing was refused")
	end)

	it("is told by verify and all others with the reason [R2]", function()
		local path = helper.path("none/store")
		for _, command in ipairs{"verify", "stats", "events"} do
			mentions(cli.fails(1, {command, "--store", path}), "no such store: its folder does not exist")
			mentions(cli.fails(1, {command, "--store", helper.path("none")}), "there is no such store (`vigia create` and `vigia")
		end
		helper.write_file("empty", "")
		mentions(cli.fails(1, {"verify", "--store", helper.path("empty")}), "the file is empty")
		helper.open():close()
		os.remove(helper.path("store-lock"))
		helper.shell(("mkdir %s"):format(quoted(helper.path("store-lock"))))
		local verify, stats = cli.fails(1, {"verify", "--store", helper.path("store")}), cli.fails(1, {"stats", "--store", helper.path("store")})
		mentions(verify, "(", ")")
		assert.equal(stats, verify)
	end)
end)

describe("text that comes from outside", function()
	local text = require "vigia.text"
	after_each(cli.clean)

	-- Control characters and how they are shown. CSI is U+009B, and the byte 0x9b on terminals that know no UTF-8.
	local shown <const> = {
		{"a\u{9b}2Jb", "a\\xc2\\x9b2Jb"},
		{"\u{80}\u{9f}", "\\xc2\\x80\\xc2\\x9f"},
		{"\x9b31m", "\\x9b31m"},
		{"\xe2\x80", "\xe2\\x80"},
		{"\u{a0}é\u{200b}É", "\u{a0}é\u{200b}É"},
		{"\0\27[m\127\n", "\\x00\\x1b[m\\x7f\\x0a"},
	}

	it("is shown without control characters, those of C1 among them [R2]", function()
		for _, pair in ipairs(shown) do assert.equal(pair[2], text.printable(pair[1])) end
	end)

	it("in ids, keys and values neither [R2]", function()
		local id <const> = "a\u{9b}2Jb\u{85}é"
		local store = helper.memory()
		mentions(helper.fails("checkpoint_not_found", store:get_checkpoint(id)), "'a\\xc2\\x9b2Jb\\xc2\\x85é'")
		mentions(helper.fails("checkpoint_not_found", store:get_checkpoint("\x9b31m")), "'\\x9b31m'")
		local _, err = store:store_event("CREATE", "Job", {["k\u{9b}y"] = print})
		mentions(err, "k\\xc2\\x9by")
		assert.is_nil(tostring(err):find("\u{9b}", 1, true))
		local show = require "vigia.show"
		assert.equal('"a\\xc2\\x9b"', show.quote("a\u{9b}"))
		assert.equal('"a\\xc2\\x9b"', show.show("a\u{9b}"))
		assert.equal("É", show.show("É"))
	end)

	it("is escaped in JSON, and read back equal [Z4]", function()
		local path = helper.path("store")
		local store = helper.open(path)
		local object = {["k\u{9b}"] = "a\u{80}b\u{9f}\u{a0}cÂÉ\u{85}"}
		assert(store:store_event("CREATE", "Job", object))
		local line = assert(vigia.to_json(store:get_event(1)))
		assert.is_nil(line:find("\xC2[\x80-\x9F]"))
		mentions(line, '"k\\u009b"', '"a\\u0080b\\u009f\u{a0}cÂÉ\\u0085"')
		store:close()
		cli.ok({"append", "--store", helper.path("copy")}, {stdin = cli.ok{"events", "--store", path}.out})
		assert.same(object, helper.open(helper.path("copy")):get_event(1).object)
	end)

	it("is written to standard error as spaces [R5]", function()
		local output = helper.run_lua("", [[
			local store = assert(vigia.open(":memory:"))
			local registry = assert(vigia.registry(store))
			assert(registry:watch("w", function() error("x\u{9b}2Jy\x9b3Jz \u{e9}", 0) end, {retry_strategy = "skip", max_retries = 1}))
			assert(store:store_event("CREATE", "Job", 1))
			while registry:step(0.1) do end
		]])
		mentions(output, "x 2Jy 3Jz \u{e9}")
	end)
end)

describe("vigia run", function()
	after_each(cli.clean)

	it("runs a script that requires a module beside it, whatever the working directory, isolated too [H3]", function()
		for _, more in ipairs{{}, {"--isolate"}, {"--libraries", "package"}} do
			local folder = helper.path("scripts" .. #more .. (more[2] or ""))
			helper.shell("mkdir -p " .. quoted(folder .. "/parts"))
			local name = folder:match("[^/]*$")
			helper.write_file(name .. "/beside.lua", "return 'beside'")
			helper.write_file(name .. "/parts/init.lua", "return 'parts'")
			local script = helper.write_file(name .. "/script.lua", [[
				local beside, parts = require "beside", require "parts"
				return function(event) print(beside .. " " .. parts .. " " .. event.seq_num) end]])
			local path = helper.path("store" .. name)
			cli.ok({"append", "--store", path}, {stdin = '{"operation":"CREATE","object_type":"Job","object":1}\n'})
			local words = {"run", "--until-idle", "--store", path, script}
			for _, word in ipairs(more) do table.insert(words, 2, word) end
			if more[2] then words = {"run", more[1], more[2], "--until-idle", "--store", path, script} end
			assert.equal("beside parts 1\n", cli.ok(words).out)
		end
	end)

	it("ends with status 0 when its watchers are idle and --stop-timeout is 0 [R4]", function()
		local path = helper.path("store")
		cli.ok({"append", "--store", path}, {stdin = '{"operation":"CREATE","object_type":"Job","object":1}\n'})
		local words = {"run", "--store", path, "--stop-timeout", 0}
		for n = 1, 3 do
			words[#words + 1] = helper.write_file("s" .. n .. ".lua", "return function(event) print(event.seq_num) io.stdout:flush() end")
		end
		local process = cli.start(words)
		for _ = 1, 3 do assert.equal("1", process:line()) end
		process:signal("TERM")
		local result = process:wait()
		assert.equal("", result.err)
		assert.equal(0, result.status)
	end)

	it("names the PID namespace of who runs a watcher elsewhere [R2]", function()
		local _, able = helper.shell("unshare --pid --fork --mount-proc true")
		if not able then return helper.pending("this user cannot make a PID namespace") end
		local path = helper.path("store")
		local store = helper.open(path)
		local stop = helper.path("stop")
		local child = helper.child([[
			local inside <close> = io.popen(("unshare --pid --fork --mount-proc %s '%s' '%s' '%s'"):format(arg[4], arg[2], arg[1], arg[3]), "r")
			for line in inside:lines() do say(line) end
		]], path, helper.write_file("inside.lua", ("package.path, package.cpath = %q, %q\n"):format(package.path, package.cpath) .. [[
			local vigia = require "vigia"
			local registry = assert(vigia.registry(assert(vigia.open(arg[1]))))
			assert(registry:watch("w", print))
			print("running")
			io.stdout:flush()
			for _ = 1, 600 do
				if io.open(arg[2]) then break end
				registry:step(0.05)
			end
		]]), stop, helper.lua)
		child:expect("running")
		local registry = helper.registry(store)
		mentions(helper.fails("watcher_owned", registry:watch("w", print)), "another PID namespace")
		helper.write_file("stop", "")
		child:wait()
	end)
end)
