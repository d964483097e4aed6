-- serializable_load.lua - transactions over few keys, in each of the ways in which a store that checks too little goes wrong, and the
-- records that support/serializable.lua judges them by.

local history = require "spec.support.history"
local vigia = require "vigia"

local M = {}

local KEYS <const> = {"x", "y", "z"} -- of the bucket "b"
local SET <const> = {"k1", "k2", "k3", "k4", "k5"} -- of the bucket "set", in which keys come and go

-- One run of a transaction's function: what it reads, writes and has to record.
local Run = {}
Run.__index = Run

-- Let others go on, now and then.
local function pause()
	if math.random(3) == 1 then vigia.sleep(math.random() / 2000) end
end

function Run:get(key)
	local tag = self.tx:get("b", key)
	self.reads[#self.reads + 1] = "b/" .. key .. ":" .. (tag or "-")
	pause()
	return tag
end

function Run:range()
	local there = {}
	for _, row in ipairs(self.tx:range("set", math.random(2) == 1 and {prefix = "k"} or {from = "k1", to = "k5", reverse = true})) do
		there[row.key] = row.value
	end
	for _, key in ipairs(SET) do self.ranged[#self.ranged + 1] = "set/" .. key .. ":" .. (there[key] or "-") end
	pause()
	return there
end

function Run:tag()
	self.tags = self.tags + 1
	return self.id .. "." .. self.tags
end

function Run:put(bucket, key)
	local tag = self:tag()
	assert(self.tx:put(bucket, key, tag))
	self.writes[#self.writes + 1] = bucket .. "/" .. key .. ":" .. tag
	assert(self.tx:get(bucket, key) == tag, "its own write")
end

function Run:delete(bucket, key)
	assert(self.tx:delete(bucket, key))
	self.writes[#self.writes + 1] = bucket .. "/" .. key .. ":-"
	assert(self.tx:get(bucket, key) == nil, "its own deletion")
end

local function two_keys()
	local first = math.random(#KEYS)
	return KEYS[first], KEYS[first % #KEYS + 1]
end

local SHAPES <const> = {
	-- Loses an update where commits do not compare.
	function(run)
		local key = KEYS[math.random(#KEYS)]
		run:get(key)
		run:put("b", key)
	end,
	-- Skews: reads two, writes one of them.
	function(run)
		local a, b = two_keys()
		run:get(a)
		run:get(b)
		run:put("b", math.random(2) == 1 and a or b)
	end,
	-- Two that belong together, written blindly, one of them twice.
	function(run)
		local a, b = two_keys()
		run:put("b", a)
		pause()
		run:put("b", b)
		run:put("b", a)
	end,
	-- Looks at all, twice over, and changes nothing.
	function(run)
		for _, key in ipairs(KEYS) do run:get(key) end
		run:range()
		for _, key in ipairs(KEYS) do run:get(key) end
	end,
	-- Counts a set, and adds to it or takes one out.
	function(run)
		local there = run:range()
		local key = SET[math.random(#SET)]
		if there[key] then run:delete("set", key) else run:put("set", key) end
	end,
	-- Counts a set, and writes down elsewhere what it has found.
	function(run)
		run:range()
		run:put("b", KEYS[math.random(#KEYS)])
	end,
	-- Adds to a set what it has read elsewhere.
	function(run)
		run:get(KEYS[math.random(#KEYS)])
		run:put("set", SET[math.random(#SET)])
	end,
	-- Takes back what it has done.
	function(run)
		run:get(KEYS[math.random(#KEYS)])
		for _, key in ipairs(KEYS) do run:put("b", key) end
		run.refused = true
	end,
}

---Run transactions for ever, or until `done()`.
---@param record fun(kind: string, fields: table)
function M.run(store, record, who, done)
	local count = 0
	while not (done and done()) do
		count = count + 1
		local shape, runs, run = SHAPES[math.random(#SHAPES)], 0, nil
		local function abandoned()
			if run and not run.tried and #run.reads + #run.ranged > 0 then
				record("seen", {id = run.id, t0 = run.t0, reads = table.concat(run.reads, ","), ranged = table.concat(run.ranged, ",")})
			end
		end
		local numbers, err = store:transaction(function(tx)
			abandoned()
			runs = runs + 1
			run = setmetatable({tx = tx, id = ("%s.%d.%d"):format(who, count, runs), t0 = history.now(), tags = 0, reads = {}, ranged = {},
				writes = {}}, Run)
			shape(run)
			if #run.writes > 0 then assert(tx:store_event("CREATE", "Transaction", run.id)) end
			record("try", {id = run.id, t0 = run.t0, reads = table.concat(run.reads, ","), ranged = table.concat(run.ranged, ","),
				writes = table.concat(run.writes, ",")})
			run.tried = true
			if run.refused then return nil, "refused" end
		end)
		if numbers then
			record("done", {id = run.id, n = numbers[1] or 0})
		else
			abandoned()
			if err ~= "refused" and err.code == "stopping" then return end
			assert(err == "refused" or err.code == "transaction_conflict", tostring(err))
			if run.tried then record("failed", {id = run.id, code = err == "refused" and "refused" or err.code}) end
		end
		if math.random(8) == 1 then vigia.sleep(math.random() / 500) end
	end
end

return M
