-- state.lua - `vigia state`: the buckets, and the values in them, as lines of JSON.

local util = require("vigia.cli.util")

local M = {}

M.summary = "Show buckets and their values."
M.description = [[
Without BUCKET it prints one JSON object a line for each bucket, with the number of its values. With
BUCKET it prints one for each key in order, with its value. KEY is one key, or PREFIX* for all
string keys that begin with PREFIX. Digits match an integer key and a string key. Put -- before a
KEY that begins with -.]]

-- How many rows are read at a time. Each page is as it is then: others may change the bucket meanwhile.
local PAGE <const> = 100

function M.define(command)
	util.define_store(command)
	command:argument("bucket"):args("?"):argname("BUCKET"):description("The name of a bucket.")
	command:argument("key"):args("?"):argname("KEY"):description("A key, or PREFIX*.")
end

local function write_row(key, value)
	util.write(util.json_object({{"key", key}, {"value", value}}), "\n")
end

local function write_rows(store, bucket, prefix)
	local from = prefix ~= "" and prefix or nil
	local last
	repeat
		local rows = util.check(store:range(bucket, {from = from, limit = PAGE}))
		for _, row in ipairs(rows) do
			if prefix and not (type(row.key) == "string" and row.key:sub(1, #prefix) == prefix) then
				if type(row.key) == "string" then
					return
				end
			elseif row.key ~= last then
				write_row(row.key, row.value)
			end
		end
		last = #rows > 0 and rows[#rows].key
		from = last
	until #rows < PAGE
end

local function write_key(store, bucket, word)
	local number = word:match("^%-?%d+$") and math.tointeger(tonumber(word))
	local found = false
	for _, key in ipairs({number or word, number and word or nil}) do
		local value = util.check(store:get(bucket, key))
		if value ~= nil then
			write_row(key, value)
			found = true
		end
	end
	if not found then
		util.fail("bucket '%s' has no key '%s'", bucket, util.printable(word))
	end
end

function M.run(args)
	local store <close> = util.open_store(args, {readonly = true, create = false})
	local buckets, names = util.check(store:buckets()), {}
	for i, bucket in ipairs(buckets) do
		names[i], names[bucket.name] = bucket.name, true
		if not args.bucket then
			util.write(util.json_object({{"bucket", bucket.name}, {"values", bucket.values}}), "\n")
		end
	end
	if not args.bucket then
		return
	end
	if not names[args.bucket] then
		util.fail("there is no bucket '%s'%s", util.printable(args.bucket), util.did_you_mean(args.bucket, names))
	end
	if not args.key or args.key:sub(-1) == "*" then
		write_rows(store, args.bucket, args.key and args.key:sub(1, -2))
	else
		write_key(store, args.bucket, args.key)
	end
end

return M
