-- scripts/arrows, a part of lint: what leans on what in runtime/, and what it finds when something is planted there.

local helper = require "helper"

local function quoted(word)
	return "'" .. word:gsub("'", "'\\''") .. "'"
end

-- What scripts/arrows --check says of a copy of runtime/ with `text` at the end of one of its files, and whether it is content.
local function check_with(path, text)
	local copy = helper.path()
	helper.shell(("rm -rf %s/runtime; cp -r runtime %s/"):format(quoted(copy), quoted(copy)))
	local file <close> = assert(io.open(copy .. "/runtime/" .. path, "a"))
	assert(file:write(text))
	file:close()
	return helper.shell(("lua5.4 scripts/arrows --check %s"):format(quoted(copy)))
end

local function refused(path, text, ...)
	local said, content = check_with(path, text)
	assert.is_nil(content)
	helper.mentions(said, ...)
end

describe("the arrows between the files of runtime/", function()
	after_each(helper.clean)

	it("are all right as they are, and are printed with what makes them", function()
		local nothing, right = check_with("core/buf.c", "\n")
		assert.same({"", true}, {nothing, right})
		local said, content = helper.shell("lua5.4 scripts/arrows")
		assert.is_true(content)
		helper.mentions(said, "\ndrive/poller -> store/fd: includes\n", "\ncore/batch -> core/buf: vigia__buf_")
	end)

	it("make no circle, whether by a header or by a call", function()
		refused("core/buf.h", '\n#include "filter.h"\n', "circle of core/buf", "core/buf leans on core/filter (includes)")
		refused("core/buf.c", "\nvoid vigia__batch_clear(void);\nvoid x(void)\n{\n\tvigia__batch_clear();\n}\n",
			"core/buf leans on core/batch (vigia__batch_clear)")
	end)

	it("go to no higher room, and an isolated script's program has no store", function()
		refused("store/fd.h", '\n#include "../drive/log.h"\n#include "../drive/drive.h"\n', "store/fd may not lean on drive/drive (includes)")
		refused("isolated.c", '\n#include "store/fd.h"\n', "isolated may not lean on store/fd (includes)")
	end)

	it("go down in the list of their room's README, which names all its files", function()
		refused("store/fd.c", "\nvoid x(void)\n{\n\tvigia__thread_program_mask(NULL);\n}\n",
			"store/fd leans on store/thread (vigia__thread_program_mask), which is not below it in runtime/store/README.md")
		refused("store/nowhere.c", "\n", "runtime/store/README.md, 'The files', does not list store/nowhere")
	end)

	it("lead to no header that is private to another room", function()
		refused("drive/log.c", '\n#include "../store/lmdb_private.h"\n',
			"drive/log.c includes store/lmdb_private.h, which is private to store/")
		refused("isolated.c", '\n#include "bind/decode.h"\n', "isolated.c includes bind/decode.h, which is no door of bind/")
	end)

	it("begin at files that are in the map of main.c", function()
		refused("core/nowhere.c", "\n", "the map at the start of runtime/main.c does not name core/nowhere")
	end)
end)
