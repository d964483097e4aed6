-- package_spec.lua - what `cmake --install` gives: a library that shows what vigia.h says and nothing else, found by pkg-config and
-- CMake; a Lua module that shares it; a manual page and completions. With VIGIA_PACKAGES=1 also the .deb and the rock.

local helper = require "spec.helper"
local lfs = require "lfs"

local quoted = helper.quoted
local root = lfs.currentdir()

local function read(path)
	local file <close> = assert(io.open(path, "rb"))
	return file:read("a")
end

describe("an installed Vigia", function()
	local program = assert(helper.program(), "the program is not beside the module")
	local build = program:match("^(.*)/")
	if build:sub(1, 1) ~= "/" then build = root .. "/" .. build end
	local prefix, lib

	local flags = helper.flags()

	-- Run a shell command in the test's folder; it must end well. Answers what it wrote.
	local function sh(command, ...)
		local text, good = helper.shell(("cd %s && { %s; }"):format(quoted(helper.path()), command:format(...)))
		assert(good, command .. "\n" .. text:sub(-3000))
		return text
	end

	local function in_root(command, ...)
		local text, good = helper.shell("cd " .. quoted(root) .. " && " .. command:format(...))
		assert(good, command .. "\n" .. text:sub(-3000))
		return text
	end

	-- The shell words that let lua5.4 find the installed module, and nothing else of ours.
	local function lua_command()
		local options = helper.preload and "ASAN_OPTIONS=detect_leaks=0 " or ""
		local share = prefix .. "/share/lua/5.4/"
		return ("%sLUA_PATH=%s LUA_CPATH=%s %s"):format(options, quoted(share .. "?.lua;" .. share .. "?/init.lua"),
			quoted(lib .. "/lua/5.4/?.so"), helper.lua)
	end

	setup(function()
		prefix = helper.folder()
		in_root("cmake --install %s --prefix %s", quoted(build), quoted(prefix))
		lib = prefix .. "/" .. read(build .. "/CMakeCache.txt"):match("\nCMAKE_INSTALL_LIBDIR:%w+=([^\n]+)")
	end)
	teardown(function() os.execute("rm -rf " .. quoted(prefix)) end)
	after_each(helper.clean)

	local function exported(file)
		local names = {}
		for name in in_root("nm -D --defined-only %s", quoted(file)):gmatch("%x+ [A-Z] (%S+)\n") do names[#names + 1] = name end
		return names
	end

	it("has a library that exports the names of vigia.h, and its private ones under this version", function()
		local declared, public = {}, {}
		local headers = read("runtime/include/vigia.h") .. read("runtime/include/vigia_steer.h") .. read("runtime/include/vigia_transfer.h")
		for name in headers:gmatch("VIGIA_API [^;(]*[ *](vigia_[%w_]+)%(") do declared[#declared + 1] = name end
		for _, name in ipairs(exported(lib .. "/libvigia.so")) do
			local bare, version = name:match("^([^@]+)@*(.*)$")
			if bare:find("^vigia__") then
				assert(version:find("^VIGIA_PRIVATE_%d+%.%d+%.%d+$"), name)
			elseif not (bare:find("^VIGIA_") or helper.preload and bare:find("^__")) then
				assert(version:find("^VIGIA_%d+$"), name)
				public[#public + 1] = bare
			end
		end
		table.sort(declared)
		table.sort(public)
		assert.same(declared, public)
		assert(#public > 30)
	end)

	it("has a static library whose names all begin with ours", function()
		local count = 0
		for name in in_root("nm -g --defined-only %s", quoted(lib .. "/libvigia.a")):gmatch("%x+ [A-Z] (%S+)\n") do
			-- A sanitizer adds names of its own.
			if not (helper.preload and name:find("^__")) then assert(name:find("^vigia_"), name) end
			count = count + 1
		end
		assert(count > 30)
	end)

	it("has a module that exports its entry and nothing else", function()
		assert.same({"luaopen_vigia_core"}, exported(lib .. "/lua/5.4/vigia/core.so"))
	end)

	it("has a soname, and finds its library by a path that moves along", function()
		helper.mentions(in_root("readelf -d %s", quoted(lib .. "/libvigia.so")), "soname: [libvigia.so.0]")
		for _, file in ipairs{prefix .. "/bin/vigia", lib .. "/lua/5.4/vigia/core.so"} do
			local text = in_root("readelf -d %s", quoted(file))
			helper.mentions(text, "[libvigia.so.0]")
			assert(text:find("path: %[$ORIGIN/[%./%a]*%]"), text)
		end
	end)

	it("can be loaded by require with LUA_PATH and LUA_CPATH alone", function()
		sh("cp -r %s moved", quoted(prefix))
		local before, before_lib = prefix, lib
		prefix, lib = helper.path("moved"), helper.path("moved") .. lib:sub(#prefix + 1)
		local text = sh("cd / && env -i %s -e %s", lua_command(),
			quoted([[print(require("vigia").open(":memory:"):store_event("CREATE", "A", 1))]]))
		prefix, lib = before, before_lib
		assert.equal("1\n", text)
	end)

	it("has a program that runs from anywhere", function()
		local line = [[{"operation":"CREATE","object_type":"A","object":1}]]
		local text = sh("echo %s | %s/bin/vigia append --store a.db", quoted(line), quoted(prefix))
		assert.equal("1 event appended, last seq_num 1\n", text)
	end)

	-- ---- embedding in C ----

	local CC = "cc -std=c11 -Wall -Wextra -Werror " .. flags .. " "
	local example = "1: hello Ana\n2: hello Rui\n"

	it("builds the embedding example with pkg-config", function()
		sh(CC .. "%s/scripts/embed/embed.c $(PKG_CONFIG_PATH=%s/pkgconfig pkg-config --cflags --libs vigia) -o embed",
			quoted(root), quoted(lib))
		assert.equal(example, sh("LD_LIBRARY_PATH=%s ./embed e.db Ana Rui", quoted(lib)))
		assert.equal("3: hello Eva\n", sh("LD_LIBRARY_PATH=%s ./embed e.db Eva", quoted(lib)))
	end)

	it("is found by pkg-config without the development packages of what it stands on", function()
		for _, name in ipairs{"vigia", "vigia-lua"} do
			helper.mentions(sh("PKG_CONFIG_LIBDIR=%s/pkgconfig pkg-config --cflags --libs %s", quoted(lib), name), "-l" .. name)
		end
	end)

	it("builds the embedding example with the static library", function()
		sh(CC .. "%s/scripts/embed/embed.c $(PKG_CONFIG_PATH=%s/pkgconfig pkg-config --cflags --libs --static vigia "
			.. "| sed 's/-lvigia/-l:libvigia.a/') -o embed", quoted(root), quoted(lib))
		assert.equal(example, sh("./embed e.db Ana Rui"))
	end)

	it("builds the embedding example with CMake's find_package", function()
		sh("cmake -G Ninja -S %s/share/vigia/embed -B b -DCMAKE_PREFIX_PATH=%s -DCMAKE_C_FLAGS=%s && cmake --build b", quoted(prefix),
			quoted(prefix), quoted(flags))
		assert.equal(example, sh("b/embed e.db Ana Rui"))
		helper.mentions(sh("! b/scripted"), "usage")
	end)

	local function write(name, text)
		local file <close> = assert(io.open(helper.path(name), "w"))
		assert(file:write(text))
	end

	it("runs Lua scripts as handlers of an application in C [H3]", function()
		sh(CC .. "%s/scripts/embed/scripted.c $(PKG_CONFIG_PATH=%s/pkgconfig pkg-config --cflags --libs vigia-lua) -o scripted",
			quoted(root), quoted(lib))
		write("greet.lua", "local given = ...\nreturn function(event) print(event.seq_num, given.set.greeting, event.object) end\n")
		local run = ("env -u LUA_PATH -u LUA_CPATH LD_LIBRARY_PATH=%s ./scripted "):format(quoted(lib))
		assert.equal("1\thello\tAna\n", sh("%s s.db greet.lua", run))
		assert.equal("2\thello\tAna\n", sh("%s s.db ./greet.lua", run))
		helper.mentions(sh("! %s s.db none/x.lua", run), "scripted: script_error: ", "none/x.lua")
		write("bad.lua", "return {batch_size = 0, handle = function() end}")
		helper.mentions(sh("! %s s.db bad.lua", run), "scripted: script_error: ", "batch_size")
		write("fails.lua", "return function() error('no') end")
		helper.mentions(sh("! %s s.db fails.lua", run), "scripted: handler_error: ", "no")
		assert.equal("vigia_registry_watch_script@@VIGIA_LUA_0\n",
			in_root("nm -D --defined-only %s/libvigia-lua.so | grep -o 'vigia_.*'", quoted(lib)))
	end)

	-- ---- a host that uses the library itself and runs Lua that requires it ----

	local SCRIPT = [[
		local vigia = require "vigia"
		local store, err = vigia.open(arg[1])
		if not store then
			print(err.code)
			print(err)
			print(vigia.open(":memory:"):store_event("CREATE", "A", 1))
			return
		end
		print("event", store:store_event("CREATE", "A", 1))
		local opened = 0
		for fd in io.popen("ls -l /proc/$PPID/fd"):lines() do
			if fd:find(arg[1], 1, true) and not fd:find("%-lock$") and not fd:find("%-side$") then opened = opened + 1 end
		end
		print("opened", opened)
		print(store:close())
	]]

	local function host(link)
		write("script.lua", SCRIPT)
		sh(CC .. "-I%s/include %s/spec/c/host.c %s $(pkg-config --cflags --libs lua5.4) -o host", quoted(prefix), quoted(root), link)
		local environment = lua_command():sub(1, -#helper.lua - 1)
		return sh("LD_LIBRARY_PATH=%s %s ./host $PWD/h.db script.lua", quoted(lib), environment)
	end

	it("shares one core with a host that links the library [S15]", function()
		local text = host(("-L%s -lvigia"):format(quoted(lib)))
		local single = tonumber(text:match("opened\t(%d+)"))
		assert(single == 1 or single == 2, text) -- LMDB has one more for its synchronous writes
		helper.mentions(text, "event\t2", "true")
		assert.equal("3\n", sh("%s/bin/vigia events --store h.db | wc -l", quoted(prefix)))
	end)

	it("refuses to open a file in a second copy of the library, and names both [S15]", function()
		local text = host(("%s/libvigia.a -llmdb -lmsgpackc -ljansson -lm -lpthread"):format(quoted(lib)))
		helper.mentions(text, "library_twice\n", "/host (0.1.0)", "libvigia.so.0", "\n1\n")
		assert.equal("2\n", sh("%s/bin/vigia events --store h.db | wc -l", quoted(prefix)))
	end)

	-- ---- the service ----

	for _, name in ipairs{"run", "serve"} do
		it(("has a unit for systemd that gives little away, where systemd can tell: %s [O7]"):format(name), function()
			local unit = read(("%s/lib/systemd/system/vigia-%s@.service"):format(prefix, name))
			helper.mentions(unit, ("\nExecStart=vigia %s "):format(name), "\nType=notify\n", "\nWatchdogSec=")
			assert(lfs.attributes(prefix .. "/lib/sysusers.d/vigia.conf"))
			if not os.execute("command -v systemd-analyze >/dev/null") then return helper.pending("there is no systemd-analyze") end
			local path = helper.path(("vigia-%s@x.service"):format(name))
			local file = assert(io.open(path, "w"))
			assert(file:write(unit)):close()
			local said = sh("systemd-analyze security --offline=true %s 2>&1 || true", quoted(path))
			local exposure = said:match("Overall exposure level for %S+: ([%d.]+)")
			if not exposure then return helper.pending("systemd-analyze cannot tell offline") end
			assert.is_true(tonumber(exposure) < 2, said)
			local problems = sh("systemd-analyze verify %s 2>&1 | grep -iE 'unknown|invalid|failed to parse' || true", quoted(path))
			assert.equal("", problems)
		end)
	end

	-- ---- manual page and completions ----

	local function program_says(words)
		return sh("%s %s", quoted(build .. "/vigia"), words)
	end

	it("has a manual page without a fault, and each command and option is in it", function()
		local page = helper.path("vigia.1")
		sh("%s manual > vigia.1", quoted(build .. "/vigia"))
		assert.equal("", in_root("mandoc -Tlint -Wstyle %s 2>&1 | grep -vE 'outdated mandoc.db|referenced manual not found' || true",
			quoted(page)))
		for line in program_says("--help"):match("Commands:\n(.-)\n\n"):gmatch("[^\n]+") do
			local command = assert(line:match("^ +(%l+) +%u"), line)
			local section = read(page):match("\n%.Ss " .. command .. "\n(.-)\n%.S[sh]")
			assert(section, command)
			for option in program_says(command .. " --help"):gmatch("\n +%-%-([%l-]+)") do
				local said = section:find("\n.It Fl -" .. option, 1, true)
					or (option == "store" or option == "create") and section:find("Fl -store Ar FILE", 1, true)
				assert(said, command .. " --" .. option)
			end
		end
		helper.mentions(read(page):match("\n%.Sh DESCRIPTION\n(.-)\n%.Sh"), "\n.Fl -store Ar FILE", "\n.Fl -create\n")
		local core = require "vigia.core"
		for _, kind in ipairs{"store", "watch"} do
			for _, option in ipairs(core.options(kind)) do helper.mentions(read(page), "\n.It Li " .. option.name .. "\n") end
		end
		for _, err in ipairs(core.errors()) do helper.mentions(read(page), "\n.It Li " .. err.code .. "\n") end
		if not helper.preload then assert(lfs.attributes(prefix .. "/share/man/man1/vigia.1"), "it is not installed") end
	end)

	for shell, file in pairs{bash = "bash-completion/completions/vigia", zsh = "zsh/vendor-completions/_vigia",
		fish = "fish/vendor_completions.d/vigia.fish"} do
		it("has a completion that " .. shell .. " can read", function()
			helper.mentions(program_says("completion " .. shell), "append", "until-idle")
			if os.execute("command -v " .. shell .. " >/dev/null") then
				sh("%s completion %s > c && %s -n c", quoted(build .. "/vigia"), shell, shell)
			end
			if not helper.preload then assert(lfs.attributes(prefix .. "/share/" .. file), "it is not installed") end
		end)
	end

	it("completes commands and options in bash", function()
		local text = sh([[%s completion bash > c && bash -c '. ./c
			try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _vigia; echo "${COMPREPLY[*]}"; }
			try vigia che; try vigia run --until']], quoted(build .. "/vigia"))
		assert.equal("checkpoints\n--until-idle\n", text)
	end)

	-- ---- packages ----

	local packages = os.getenv("VIGIA_PACKAGES") and not helper.preload
	local try = packages and it or function(name) pending(name .. " (scripts/test --packages tries it)") end

	try("becomes a .deb that holds all of it and names what it needs, and one for PostgreSQL", function()
		local folder = quoted(build .. "/deb")
		in_root("rm -rf %s", folder)
		for _, installed in ipairs{"/usr/local", "/usr"} do -- as after quickstart: what depends on the prefix follows it
			in_root("cmake -S . -B %s -G Ninja -DCMAKE_BUILD_TYPE=Release -DVIGIA_TESTS=OFF -DCMAKE_INSTALL_PREFIX=%s", folder, installed)
		end
		in_root("cmake --build %s", folder)
		in_root("cd %s && rm -f *.deb && cpack -G DEB", folder)
		local deb = in_root("ls %s/vigia_*.deb", folder):gsub("\n", "")
		helper.mentions(in_root("dpkg-deb -f %s Depends", quoted(deb)), "liblmdb0", "liblua5.4-0", "libjansson4", "lua-argparse", "libc6")
		sh("dpkg-deb -x %s deb", quoted(deb))
		local multiarch = in_root("gcc -print-multiarch"):gsub("\n", "")
		for _, file in ipairs{"bin/vigia", "include/vigia.h", "include/vigia_errors.h", "include/vigia_steer.h", "include/vigia_transfer.h",
			"share/lua/5.4/vigia/init.lua", "share/man/man1/vigia.1", "LIB/libvigia.so.0",
			"LIB/lua/5.4/vigia/core.so", "LIB/pkgconfig/vigia.pc", "share/doc/vigia/copyright"} do
			file = file:gsub("^LIB", "lib/" .. multiarch)
			assert(lfs.attributes(helper.path("deb/usr/" .. file)), file .. " is not in it")
		end
		-- What links libpq is in a package of its own.
		local pg = in_root("ls %s/vigia-postgresql_*.deb", folder):gsub("\n", "")
		helper.mentions(in_root("dpkg-deb -f %s Depends", quoted(pg)), "libpq5", "vigia (= ")
		assert.is_nil(in_root("dpkg-deb -f %s Depends", quoted(deb)):find("libpq", 1, true))
		assert.is_nil(in_root("dpkg-deb -c %s", quoted(deb)):find("libvigia-pg", 1, true))
		helper.mentions(in_root("dpkg-deb -c %s", quoted(pg)), "libvigia-pg.so.0")
		local text = sh([[LD_LIBRARY_PATH=deb/usr/lib/%s LUA_PATH="deb/usr/share/lua/5.4/?.lua;deb/usr/share/lua/5.4/?/init.lua" \
			LUA_CPATH="deb/usr/lib/%s/lua/5.4/?.so" lua5.4 -e 'print(require("vigia").open("d.db"):store_event("CREATE", "A", 1))']],
			multiarch, multiarch)
		assert.equal("1\n", text)
	end)

	try("becomes a rock by luarocks make", function()
		in_root("cp -r CMakeLists.txt lua runtime scripts vendor README.md LICENSE vigia-scm-1.rockspec %s", quoted(helper.path()))
		sh("luarocks --lua-version=5.4 --tree=%s make", quoted(helper.path("tree")))
		local text = sh([[eval "$(luarocks --lua-version=5.4 --tree=%s path)" && cd / && lua5.4 -e 'local vigia = require "vigia"
			print(vigia.open(":memory:"):store_event("CREATE", "A", 1))']], quoted(helper.path("tree")))
		assert.equal("1\n", text)
	end)
end)
