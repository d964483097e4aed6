-- bench_serve.lua - measures what `vigia serve` with ten clients of its stream costs another process that appends 1,000 events a second: in
-- turn, without and with it. Run by scripts/bench with a folder and the program.
local vigia = require "vigia"
local core = require "vigia.core"

local folder, program = arg[1], arg[2]
local CLIENTS <const>, RATE <const>, SECONDS <const>, ROUNDS <const> = 10, 1000, 3, 5

local path = folder .. "/serve.db"
local store = assert(vigia.open(path))
assert(store:store_event("CREATE", "Job", 0))

-- Start a command; what it prints first, and a function that ends it.
local function start(command)
	local pipe = assert(io.popen("echo $$; exec " .. command))
	local pid = pipe:read("l")
	return pipe, function()
		os.execute("kill " .. pid)
		pipe:close()
	end
end

local function start_server()
	local pipe, stop = start(("'%s' serve --store '%s' --listen 127.0.0.1:0"):format(program, path))
	local url = assert(pipe:read("l"), "the server did not start"):match("http://%S*$")
	local ends = {stop}
	for _ = 1, CLIENTS do
		local client, stop_client = start(("curl -sN --noproxy '*' '%sevents/stream' | tee /dev/null | (head -n 1; cat >/dev/null)"):format(url))
		assert(client:read("l")) -- it follows
		table.insert(ends, 1, stop_client)
	end
	return function()
		for _, stop_one in ipairs(ends) do stop_one() end
	end
end

local function median(list)
	table.sort(list)
	return list[(#list + 1) // 2]
end

-- Append for some seconds. Returns how many a second were stored, and how long one took, in microseconds.
local function append()
	local began, count, times = core.monotonic(), 0, {}
	while true do
		local now = core.monotonic() - began
		if now >= SECONDS then return count / now, median(times) * 1e6 end
		if count >= now * RATE then
			vigia.sleep((count + 1) / RATE - now)
		else
			assert(store:store_event("UPDATE", "Job", {id = count, name = "job", state = "running"}))
			count = count + 1
			times[count] = core.monotonic() - began - now
		end
	end
end

local without, with, ratios = {rate = {}, took = {}}, {rate = {}, took = {}}, {}
for round = 1, ROUNDS do
	without.rate[round], without.took[round] = append()
	local stop = start_server()
	with.rate[round], with.took[round] = append()
	stop()
	ratios[round] = with.rate[round] / without.rate[round]
end
store:close()

local function row(name, a, b, ratio, more)
	print(("%-34s %8.0f without a server, %8.0f with it and %d clients: %.2f%s"):format(name, a, b, CLIENTS, ratio, more))
end
local a, b = median(without.took), median(with.took)
row("appends a second, of 1,000", median(without.rate), median(with.rate), median(ratios), "   the bar is 0.9")
row("one append, in microseconds", a, b, b / a, "")
