-- build.lua - a build folder of which one object is changed: what mutants.lua compiles, links and runs.
--
-- A shop is a folder laid out as build/dev is: libvigia.so, lua/vigia/core.so, vigia, spec/c/NAME. Its C tests are linked with the
-- shared library, not the static one, so that after a change one object is compiled and one library linked, whatever is run then. (With
-- `static` each is linked for itself, which is quicker when only one is run.)
-- The commands are build/dev's own (compile_commands.json, ninja), with other names in them.

local M = {}

local function quoted(word)
	return "'" .. word:gsub("'", "'\\''") .. "'"
end
M.quoted = quoted

function M.read(path)
	local file = io.open(path, "rb")
	if not file then return nil end
	local text = file:read("a")
	file:close()
	return text
end

-- Whole or not at all, as whoever reads it meanwhile sees it.
function M.write(path, text)
	local file = assert(io.open(path .. ".new", "wb"))
	assert(file:write(text))
	assert(file:close())
	assert(os.rename(path .. ".new", path))
end

local function run(command)
	return (os.execute(command))
end

local function output_of(command)
	local pipe = assert(io.popen(command))
	local text = pipe:read("a")
	local good = pipe:close()
	return text, good
end
M.output_of = output_of

---- the build that the commands are taken from ----

local base = {} -- root =, dir =, compile = {source -> command}, link = {target -> command}

function M.init(root, name)
	base.root, base.dir, base.compile, base.link = root, root .. "/build/" .. name, {}, {}
	local text = M.read(base.dir .. "/compile_commands.json")
	assert(text, ("build/%s is not there: build it first (cmake --preset %s && cmake --build --preset %s)"):format(name, name, name))
	for entry in text:gmatch("%b{}") do
		local command = entry:match('"command": "(.-)",\n'):gsub("\\(.)", "%1")
		local file = entry:match('"file": "(.-)"'):sub(#root + 2)
		if not base.compile[file] or command:find("vigia_objects") then
			base.compile[file] = command:gsub("^%S*ccache ", "")
		end
	end
end

local function link_command(target)
	local command = base.link[target]
	if not command then
		for line in output_of(("ninja -C %s -t commands %s"):format(quoted(base.dir), target)):gmatch("[^\n]+") do
			if line:find(" -o ", 1, true) and not line:find(" -c ", 1, true) then command = line end
		end
		command = assert(command, "how is " .. target .. " linked?"):gsub("^: && ", ""):gsub(" && :$", "")
		base.link[target] = command
	end
	return command
end

-- Replace plain text, which must be there.
local function put(text, what, by)
	local from, to = text:find(what, 1, true)
	assert(from, what .. " is not in " .. text)
	return text:sub(1, from - 1) .. by .. text:sub(to + 1)
end

---- a shop ----

-- C tests that bring a source file of the product themselves: what is changed there is compiled into them, and they are linked with the
-- static library, in which their own functions take the place of the others.
local INCLUDES <const> = {}
-- And these: the one compares addresses of tables, of which a program and a shared library have one each, the other wraps calls of LMDB.
local STATIC <const> = {test_options = true, fuzz_files = true}

local Shop = {}
Shop.__index = Shop

local CASES <const> = [[
/* Only the tests that VIGIA_CASE names. And a lock that is used wrongly ends the program: a mutex unlocked by a thread that does not hold
 * it, locked twice by one, or destroyed while it is held; a lock of readers and writers taken by the thread that holds it for writing.
 * Otherwise only ThreadSanitizer would see some of the locks that were dropped. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
extern void cmocka_set_test_filter(const char *) __attribute__((weak));
__attribute__((constructor)) static void choose(void)
{
	if (getenv("VIGIA_CASE") && cmocka_set_test_filter) cmocka_set_test_filter(getenv("VIGIA_CASE"));
}
int pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *given)
{
	static int (*real)(pthread_mutex_t *, const pthread_mutexattr_t *);
	pthread_mutexattr_t attr;
	if (!real) real = (int (*)(pthread_mutex_t *, const pthread_mutexattr_t *))dlsym(RTLD_NEXT, "pthread_mutex_init");
	if (given) return real(mutex, given);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
	return real(mutex, &attr);
}
#define CHECKED(function, type, wrong) \
	int function(type *lock) \
	{ \
		static int (*real)(type *); \
		if (!real) real = (int (*)(type *))dlsym(RTLD_NEXT, #function); \
		int rc = real(lock); \
		if (rc == wrong) abort(); \
		return rc; \
	}
CHECKED(pthread_mutex_lock, pthread_mutex_t, EDEADLK)
CHECKED(pthread_mutex_unlock, pthread_mutex_t, EPERM)
CHECKED(pthread_mutex_destroy, pthread_mutex_t, EBUSY)
CHECKED(pthread_rwlock_rdlock, pthread_rwlock_t, EDEADLK)
]]

-- The folder is made, or taken as it is.
function M.shop(dir)
	local shop = setmetatable({dir = dir, linked = {}}, Shop)
	local word = quoted(dir)
	assert(run(("mkdir -p %s/lua/vigia %s/spec/c %s/tree"):format(word, word, word)))
	assert(run(("cd %s && cp -uP libvigia.so libvigia.so.0 libvigia-lua.so* vigia %s && cp -u lua/vigia/core.so %s/lua/vigia/ "
		.. "&& cp -u spec/c/*.so spec/c/tests.txt %s/spec/c/"):format(quoted(base.dir), word, word, word)))
	if M.read(dir .. "/cases.c") ~= CASES then
		M.write(dir .. "/cases.c", CASES)
		assert(run(("cc -O1 -fPIC -c -o %s/cases.o %s/cases.c && cc -shared -o %s/cases.so %s/cases.o -ldl"):format(word, word, word, word)))
	end
	if not INCLUDES.done then
		INCLUDES.done = true
		local included = output_of(("cd %s && grep -H '^#include \".*\\.c\"' spec/c/*.c"):format(quoted(base.root)))
		for line in included:gmatch("[^\n]+") do
			local test, file = line:match('^spec/c/(.-)%.c:#include "(.-)"')
			file = file:gsub("^[%./]+", "")
			if not file:find("^runtime/") then file = "runtime/" .. file end
			INCLUDES[test] = INCLUDES[test] or {}
			INCLUDES[test][file] = true
		end
	end
	return shop
end

function M.tests()
	local names = {}
	for name in assert(M.read(base.dir .. "/spec/c/tests.txt")):gmatch("%S+") do names[#names + 1] = name end
	return names
end

-- Does this C test bring the file itself?
function M.includes(test, file)
	return INCLUDES[test] ~= nil and INCLUDES[test][file] == true
end

-- What UndefinedBehaviorSanitizer finds ends the program here, too.
local FLAGS <const> = " -w -O1 -g0 -fsanitize=undefined -fsanitize-undefined-trap-on-error"

-- One object of a source file in this shop; true, or false if it does not compile. `as`: the file it is compiled as.
function Shop:compile(file, path, object, flags)
	local command = assert(base.compile[file], "how is " .. file .. " compiled?")
	local folder = file:match("^(.*)/")
	command = command:gsub(" %-o %S+ %-c %S+$", "")
	command = ("cd %s && CCACHE_DISABLE=1 %s%s -iquote %s -I %s -o %s -c %s >%s 2>&1"):format(quoted(base.dir),
		command:gsub("^(%S+)", "%1 -I " .. quoted(self.dir .. "/tree/runtime"):gsub("%%", "%%%%"), 1), flags or self.flags or FLAGS,
		quoted(base.root .. "/" .. folder), quoted(base.root .. "/runtime"), quoted(object), quoted(path), quoted(self.dir .. "/compile.log"))
	return run(command)
end

function Shop:link(command, flags)
	return run(("cd %s && %s%s >%s 2>&1"):format(quoted(base.dir), command, flags or "", quoted(self.dir .. "/link.log")))
end

-- The library, with one object replaced by another, or as it is.
function Shop:library(file, object)
	local command = link_command("libvigia.so"):gsub(" %-g ", " ")
	if file then
		command = put(command, ("CMakeFiles/vigia_objects.dir/%s.o "):format(file), quoted(object) .. " ")
	end
	command = put(command, "-o libvigia.so.0.1.0", "-o " .. quoted(self.dir .. "/libvigia.so.0.1.0"))
	assert(self:link(command, " -Wl,-S -Wl,-O0"), "libvigia.so cannot be linked: see " .. self.dir .. "/link.log")
end

-- The library as it must be for what is run next.
function Shop:fresh()
	if self.stale then self:library(self.stale, self.object) end
	self.stale = nil
end

-- Is it of the library? Else it is of the program, the module or both.
local function is_of_library(file)
	return file:find("^runtime/[cds]%a+/") ~= nil and not file:find("^runtime/serve/")
end

-- The program, with its own objects or one of them replaced.
function Shop:program(file, object)
	local command = link_command("vigia"):gsub(" %-g ", " ")
	command = put(command, "-o vigia ", "-o " .. quoted(self.dir .. "/vigia") .. " ")
	command = put(command, " libvigia.so.0.1.0 ", " " .. quoted(self.dir .. "/libvigia.so.0.1.0") .. " ")
	if file then
		local library = file:find("^runtime/bind/") and "vigia_bind" or file:find("^runtime/serve/") and "vigia_serve" or "vigia"
		command = put(command, ("CMakeFiles/%s.dir/%s.o "):format(library, file), quoted(object) .. " ")
	end
	if self.main then command = put(command, "CMakeFiles/vigia.dir/runtime/main.c.o", quoted(self.main)) end
	assert(self:link(command, " -Wl,-S"), "vigia cannot be linked: see " .. self.dir .. "/link.log")
end

-- The Lua module with an object of the binding replaced.
function Shop:module(file, object)
	local command = link_command("lua/vigia/core.so"):gsub(" %-g ", " ")
	command = put(command, "-o lua/vigia/core.so ", "-o " .. quoted(self.dir .. "/lua/vigia/core.so") .. " ")
	command = put(command, " libvigia.so.0.1.0 ", " " .. quoted(self.dir .. "/libvigia.so.0.1.0") .. " ")
	if file then command = put(command, ("CMakeFiles/vigia_bind.dir/%s.o "):format(file), quoted(object) .. " ") end
	assert(self:link(command, " -Wl,-S"), "core.so cannot be linked: see " .. self.dir .. "/link.log")
end

-- A C test; linked once, unless it brings a source file itself. False: with the change it does not compile.
function Shop:test(name)
	local brings = INCLUDES[name] ~= nil or STATIC[name] or self.static
	if not brings then self:fresh() end
	if self.linked[name] and not brings then return true end
	local changed = self.file and M.includes(name, self.file)
	local command = link_command("spec/c/" .. name)
	if changed then
		local source, object = ("%s/tree/spec/c/%s.c"):format(self.dir, name), self.dir .. "/test.o"
		assert(run(("mkdir -p %s/tree/spec/c && cp %s %s"):format(quoted(self.dir), quoted(("%s/spec/c/%s.c"):format(base.root, name)),
			quoted(source))))
		if not self:compile(("spec/c/%s.c"):format(name), source, object,
			FLAGS .. " -iquote " .. quoted(base.root .. "/" .. self.file:match("^(.*)/"))) then
			return false
		end
		command = put(command, ("CMakeFiles/%s.dir/spec/c/%s.c.o"):format(name, name), quoted(object))
	end
	command = put(command, "-o spec/c/" .. name, ("-o %s %s"):format(quoted(self.dir .. "/spec/c/" .. name), quoted(self.dir .. "/cases.o")))
	if brings then
		-- The first of an object and a library that has a function wins.
		local object = self.object and not changed and quoted(self.object) .. " " or ""
		command = command:gsub(" libvigia%.a ", function()
			local first = object
			object = ""
			return " " .. first .. (self.archive and self.archive .. " --coverage " or "libvigia.a ")
		end)
	else
		command = command:gsub(" libvigia%.a ", function() return " " .. quoted(self.dir .. "/libvigia.so.0.1.0") .. " " end)
	end
	command = command:gsub(" %-g ", " ", 1)
	if not self:link(command, " -Wl,-S -Wl,-rpath,'$ORIGIN/../..' -ldl") then
		error("cannot link " .. name .. ": see " .. self.dir .. "/link.log")
	end
	self.linked[name] = true
	return true
end

-- All these objects in place of the plain ones, in the library, the module and the program, for counting.
function Shop:count(objects, leave)
	local function link(target, out)
		local command = link_command(target):gsub(" %-g ", " ", 1)
		for file, object in pairs(objects) do
			command = command:gsub(" CMakeFiles/vigia%a*%.dir/(%S+)%.o", {[file] = " " .. object})
			command = command:gsub(" CMakeFiles/vigia_%a*%.dir/(%S+)%.o", {[file] = " " .. object})
		end
		command = command:gsub(" %-o (%S+)", function(name) return (" -o %s/%s"):format(self.dir, out or name) end, 1)
		command = command:gsub(" libvigia%.so%.0%.1%.0 ", (" %s/libvigia.so.0.1.0 "):format(self.dir))
		assert(self:link(command .. " " .. leave, " --coverage"), target .. " cannot be linked: see " .. self.dir .. "/link.log")
	end
	local members = {quoted(leave)}
	for file, object in pairs(objects) do
		if is_of_library(file) then members[#members + 1] = quoted(object) end
	end
	self.archive = quoted(self.dir .. "/libcounted.a")
	assert(run(("rm -f %s && ar qc %s %s"):format(self.archive, self.archive, table.concat(members, " "))))
	link("libvigia.so")
	link("lua/vigia/core.so")
	link("vigia")
end

-- The shop as if nothing was changed.
function Shop:reset()
	if self.file and self.file:find("%.lua$") then
		run(("rm -rf %s/tree/lua"):format(quoted(self.dir)))
		self.lua = nil
	end
	run(("find %s/tree -name '*.[ch]' -delete"):format(quoted(self.dir)))
	if self.file and not is_of_library(self.file) then
		self.main = nil
		assert(run(("cd %s && rm -f %s/vigia %s/lua/vigia/core.so && cp vigia %s && cp lua/vigia/core.so %s/lua/vigia/"):format(
			quoted(base.dir), quoted(self.dir), quoted(self.dir), quoted(self.dir), quoted(self.dir))))
	end
	self.file, self.object, self.stale = nil, nil, nil
end

-- Build with the text in place of a source file. False: it does not compile.
function Shop:change(file, text)
	self:reset()
	self.file = file
	local path = self.dir .. "/tree/" .. file
	assert(run(("mkdir -p %s"):format(quoted(path:match("^(.*)/")))))
	if file:find("%.lua$") then
		self.lua = self.dir .. "/tree/lua"
		assert(run(("cp -r %s/lua %s/tree/"):format(quoted(base.root), quoted(self.dir))))
		M.write(path, text)
		if not run("luac5.4 -p " .. quoted(path) .. " 2>/dev/null") then return false end
		self.main = self.dir .. "/main.o"
		assert(self:compile("runtime/main.c", base.root .. "/runtime/main.c", self.main, FLAGS
			.. (' -UVIGIA_LUA_DIR -DVIGIA_LUA_DIR=\'"%s"\''):format(self.lua)))
		self:library()
		self:program()
		return true
	end
	M.write(path, text)
	local object = self.dir .. "/mutant.o"
	if not self:compile(file, path, object) then return false end
	if is_of_library(file) then
		self.object, self.stale = object, file -- linked when it is needed
	else
		self:library()
		self:program(file, object)
		if file:find("^runtime/bind/") then self:module(file, object) end
	end
	return true
end

---- running ----

-- Run a C test (`test_x`, and arguments) or a spec (`spec/x_spec.lua`), at most so many seconds, and none of its processes for more than
-- so many of the processor. Returns true and whether any test ran, or false and what failed first. `case`: only these tests of it (a
-- pattern of cmocka's or busted's).
function Shop:run(name, case, seconds, environment, cpu_seconds)
	local is_spec = name:find("%.lua$") ~= nil
	local arguments
	name, arguments = name:match("^(%S+)(.*)$")
	if not is_spec and not self:test(name) then return false, "does not compile" end
	local tmp = output_of("mktemp -d \"${TMPDIR:-/tmp}/vigia-mutant.XXXXXX\""):gsub("\n", "")
	run("chmod 711 " .. tmp) -- specs run programs as another user
	local log = self.dir .. "/log"
	local words = {"cd", quoted(base.root), "&& ulimit -c 0 && ulimit -d 6000000 && export VIGIA_PLANTED=1 &&",
		cpu_seconds and ("ulimit -t %d &&"):format(cpu_seconds) or "",
		"env -u VIGIA_SOAK LC_ALL=C.UTF-8 SHELL=/bin/sh TERM=dumb LUA=lua5.4 VIGIA_SPEC_DEADLINE=20",
		"CMOCKA_MESSAGE_OUTPUT=TAP MALLOC_PERTURB_=165 TMPDIR=" .. tmp, environment or ""}
	local function add(...)
		for _, word in ipairs{...} do words[#words + 1] = word end
	end
	local function spec()
		self:fresh()
		local lua = self.lua or base.root .. "/lua"
		add(quoted("VIGIA_PROGRAM=" .. self.dir .. "/vigia"), "timeout -k 2", tostring(seconds), "lua5.4 $(command -v busted)",
			"--ignore-lua --output=TAP --verbose",
			quoted(("--lpath=%s/?.lua;%s/?/init.lua;%s/spec/?.lua;%s/?.lua"):format(lua, lua, base.root, base.root)),
			quoted(("--cpath=%s/lua/?.so"):format(self.dir)))
		if case then add(quoted("--filter=" .. case)) end
		add(quoted(name))
	end
	if is_spec then
		spec()
	else
		if case then add(quoted("VIGIA_CASE=" .. case)) end
		add("timeout -k 2", tostring(seconds), quoted(self.dir .. "/spec/c/" .. name) .. arguments)
	end
	add("</dev/null >" .. quoted(log), "2>&1; echo $?")
	local status = tonumber(output_of("{ " .. table.concat(words, " ") .. "; } 2>/dev/null"):match("(%d+)%s*$"))
	local text = M.read(log) or ""
	local first = text:match("\nnot ok %d+ %- ([^\n]*)") or text:match("^not ok %d+ %- ([^\n]*)")
	local ran = text:find("\nok %d") or text:find("^ok %d")
	if status ~= 0 then -- what it left behind
		run(("for p in $(grep -lsF TMPDIR=%s /proc/[0-9]*/environ); do p=${p%%/environ}; kill -9 ${p##*/}; done 2>/dev/null"):format(
			tmp))
	end
	run("rm -rf " .. tmp)
	if status == 0 and not first then return true, ran ~= nil end
	if first then return false, (first:gsub("%s+$", "")) end
	return false, (status == 124 or status == 137) and "it hangs" or ("it ends with status %d"):format(status)
end

return M
