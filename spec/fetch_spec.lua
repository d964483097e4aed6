-- fetch_spec.lua - watchers of a file that cannot be read for a while: an LMDB that fails when it is told to.

local helper = require "spec.helper"

-- Stands before LMDB: reading transactions fail while there is the file $FAIL.
local FAULTY <const> = [[
	#define _GNU_SOURCE
	#include <dlfcn.h>
	#include <errno.h>
	#include <stdlib.h>
	#include <unistd.h>
	static void *below(const char *name)
	{
		return dlsym(dlopen("liblmdb.so.0", RTLD_LAZY | RTLD_NOLOAD), name);
	}
	static int fails(void)
	{
		return access(getenv("FAIL"), F_OK) == 0;
	}
	int mdb_txn_renew(void *txn)
	{
		return fails() ? EIO : ((int (*)(void *))below("mdb_txn_renew"))(txn);
	}
	int mdb_txn_begin(void *env, void *parent, unsigned flags, void **txn)
	{
		int reads = flags & 0x20000;
		return reads && fails() ? EIO : ((int (*)(void *, void *, unsigned, void **))below("mdb_txn_begin"))(env, parent, flags, txn);
	}
]]

local WATCHER <const> = [[
	local store = assert(vigia.open(arg[1]))
	local fail, script = arg[2], arg[3]
	local records = {}
	local registry = vigia.registry(store, {log = function(level, message) records[#records + 1] = level .. " " .. message end})
	local function drive(done)
		local deadline = os.time() + 60
		while not done() do
			assert(os.time() < deadline, "it did not come")
			registry:step(0.05)
		end
	end
	local options = {initial_backoff = 0.01, max_backoff = 0.02}
	local watchers = {assert(registry:watch("function", function() end, options)), assert(registry:watch("script", script, options))}
	local function all(test)
		return function()
			for _, watcher in ipairs(watchers) do
				if not test(watcher:stats()) then return false end
			end
			return true
		end
	end
	assert(store:store_event("CREATE", "Job", 1))
	drive(all(function(stats) return stats.processed == 1 end))
	assert(io.open(fail, "w")):close()
	assert(store:store_event("CREATE", "Job", 2))
	drive(all(function(stats) return stats.fetch_errors >= 5 end))
	for _, watcher in ipairs(watchers) do
		local stats = watcher:stats()
		say(stats.id, stats.state, stats.processed, stats.failed, stats.last_error.code, stats.last_error.watcher_id)
	end
	os.remove(fail)
	drive(all(function(stats) return stats.processed == 2 end))
	registry:step(0)
	local text = table.concat(records, "\n")
	local function logged(id) return text:find(("warn watcher '%s': cannot fetch events: "):format(id), 1, true) end
	say(logged("function") and logged("script") and "logged" or text)
	assert(registry:stop())
	say(store:get_checkpoint("function"), store:get_checkpoint("script"))]]

describe("a file that cannot be read for a while", function()
	after_each(helper.clean)

	it("is read again after the backoff, without end, and its watchers say so: a function and a script [W7b]", function()
		if helper.sanitized then return helper.pending("something else is loaded before LMDB") end
		if not os.execute("cc --version >/dev/null 2>&1") then return helper.pending("there is no C compiler") end
		local source, library = helper.write_file("faulty.c", FAULTY), helper.path("faulty.so")
		local output, ok = helper.shell(("cc -shared -fPIC -o %s %s -ldl"):format(helper.quoted(library), helper.quoted(source)))
		assert(ok, output)
		local script = helper.write_file("quiet.lua", "return function() end")
		output, ok = helper.run_lua(("FAIL=%s LD_PRELOAD=%s"):format(helper.quoted(helper.path("fail")), helper.quoted(library)), WATCHER,
			helper.path("store"), helper.path("fail"), script)
		assert(ok, output)
		assert.equal("function\trunning\t1\t0\tio_error\tfunction\nscript\trunning\t1\t0\tio_error\tscript\nlogged\n2\t2\n", output)
	end)
end)
