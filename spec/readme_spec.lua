-- readme_spec.lua - runs every example of the README and the guides, as a reader would type it, each document in an empty folder.

local helper = require "helper"
local lfs = require "lfs"
local postgres = require "spec.support.postgres"

local quoted = helper.quoted
local root = lfs.currentdir()

-- Fenced blocks in order: {language, file, text, line}. An ```output block is what the one before must print.
local function blocks(path)
	local found, block, number = {}, nil, 0
	for line in io.lines(path) do
		number = number + 1
		local language, rest = line:match("^```(%l+)%s*(%S*)$") -- file=NAME; libraries=NAME,...: by pkg-config
		if block and line == "```" then
			found[#found + 1], block = block, nil
		elseif not block and language then
			block = {language = language, file = rest:match("^file=(.+)$"), libraries = rest:match("^libraries=(.+)$"), text = "", line = number}
		elseif block then
			block.text = block.text .. line .. "\n"
		end
	end
	assert(not block, path .. " ends inside a block")
	return found
end

-- A document, and how many examples it has at least. server: it needs one of PostgreSQL.
local DOCUMENTS <const> = {{"README.md", 5}, {"lua/README.md", 14}, {"scripts/README.md", 7}, {"scripts/embed/README.md", 2},
	{"scripts/postgresql.md", 8, server = true}}

for _, document in ipairs(DOCUMENTS) do describe(document[1], function()
	local program = helper.program()
	local build = program and program:match("^(.*)/")
	if build and build:sub(1, 1) ~= "/" then build = root .. "/" .. build end
	local folder, server, no_server

	setup(function()
		folder = helper.folder()
		if document.server then server, no_server = postgres.start() end
	end)
	teardown(function()
		if server then server:stop() end
		os.execute("rm -rf " .. quoted(folder))
	end)

	local function write(name, text)
		local file <close> = assert(io.open(folder .. "/" .. name, "w"))
		assert(file:write(text))
	end

	local function run(command)
		local at_home = server and ("export PGHOST=%s PGUSER=vigia;"):format(quoted(server.folder)) or ""
		return helper.shell(("cd %s && %s export PATH=%s:$PATH && %s"):format(quoted(folder), at_home, quoted(build), command))
	end

	local runners = {}
	function runners.lua(block)
		write("example.lua", block.text)
		return run(("LUA_PATH=%s LUA_CPATH=%s %s example.lua"):format(quoted((package.path:gsub("%./", root .. "/"))),
			quoted((package.cpath:gsub("%./", root .. "/"))), helper.lua))
	end
	function runners.sh(block)
		write("example.sh", block.text)
		return run([[bash -eu -c 'trap "kill \$(jobs -p) 2>/dev/null || true" EXIT; . ./example.sh']]) -- one that fails leaves no server behind
	end
	function runners.c(block)
		write("example.c", block.text)
		if block.libraries then
			return run(("cc -std=c11 -Wall -Wextra -Werror example.c $(pkg-config --cflags --libs %s) -o example && ./example")
				:format((block.libraries:gsub(",", " "))))
		end
		local library = quoted(build .. "/libvigia.a")
		return run(("cc -std=c11 -Wall -Wextra -Werror %s -I%s example.c %s -llmdb -lmsgpackc -ljansson -lm -lpthread -o example && ./example")
			:format(helper.flags(), quoted(root .. "/runtime/include"), library))
	end

	-- A spec file: what busted says of it, without the marks and the time.
	function runners.busted(block)
		write(block.file, block.text)
		local text, good = run(("%s $(command -v busted) --ignore-lua --lpath=%s --cpath=%s --pattern= %s"):format(
			helper.lua, quoted((package.path:gsub("%./", root .. "/"))), quoted((package.cpath:gsub("%./", root .. "/"))), block.file))
		return text:gsub("^%++\n", ""):gsub(" : [%d.]+ seconds\n$", "\n"), good
	end

	local all = blocks(root .. "/" .. document[1])
	assert(#all >= document[2], document[1] .. " has lost its examples")
	for index, block in ipairs(all) do
		if block.file and block.language ~= "busted" then
			it("line " .. block.line .. ": the file " .. block.file .. " is written", function() write(block.file, block.text) end)
		elseif block.language ~= "output" then
			it("line " .. block.line .. ": the " .. block.language .. " example does what it says", function()
				if no_server then return helper.pending(no_server) end
				local runner = assert(runners[block.language], "no way to run " .. block.language)
				local text, good = runner(block)
				assert.is_true(good, text)
				local expected = all[index + 1]
				if expected and expected.language == "output" then assert.equal(expected.text, text) end
			end)
		end
	end
end) end

describe("the documents", function()
	it("have the tables of options and errors that the code works by", function()
		local text, good = helper.shell(("LUA_PATH=%s LUA_CPATH=%s %s scripts/tables --check 2>&1"):format(
			quoted((package.path:gsub("%./", root .. "/"))), quoted((package.cpath:gsub("%./", root .. "/"))), helper.lua))
		assert.is_true(good, text)
	end)

	it("start with a README of at most 150 lines", function()
		local count = 0
		for _ in io.lines(root .. "/README.md") do count = count + 1 end
		assert.is_true(count <= 150, count .. " lines")
	end)
end)
