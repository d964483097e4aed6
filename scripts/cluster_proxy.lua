-- cluster_proxy.lua - the network of scripts/cluster: passes connections on, until one of its nodes is cut off.
--
-- Usage: lua5.4 scripts/cluster_proxy.lua FOLDER NODE:PORT:TARGET...
-- What comes to PORT of loopback goes to TARGET there. While FOLDER/cut.NODE is there, nothing passes, and new connections hang: nothing
-- is lost, as where a network loses packets that are sent again.

local uv = require "luv"

local LOOK_MS <const> = 50

local folder = arg[1]
local nodes = {}

local function node_of(name)
	nodes[name] = nodes[name] or {cut = false, pairs = {}}
	return nodes[name]
end

local function flow(from, to, finish)
	from:read_start(function(_, data)
		if not data then return finish() end
		to:write(data)
		-- What a slow reader leaves must not fill this process.
		if to:get_write_queue_size() > 1 << 20 then
			from:read_stop()
			to:write("", function() if not from:is_closing() then flow(from, to, finish) end end)
		end
	end)
end

local function begin(pair)
	pair.server = uv.new_tcp()
	pair.server:connect("127.0.0.1", pair.target, function(failed)
		if failed then return pair.finish() end
		pair.server:nodelay(true)
		pair.connected = true
		if not pair.node.cut then pair.go() end
	end)
end

local function accept(listener, node, target)
	local pair = {node = node, target = target, client = uv.new_tcp()}
	listener:accept(pair.client)
	pair.client:nodelay(true)
	node.pairs[pair] = true
	function pair.finish()
		node.pairs[pair] = nil
		for _, side in ipairs{pair.client, pair.server} do
			if not side:is_closing() then side:close() end
		end
	end
	function pair.go()
		flow(pair.client, pair.server, pair.finish)
		flow(pair.server, pair.client, pair.finish)
	end
	if not node.cut then begin(pair) end
end

local function set_cut(node, cut)
	node.cut = cut
	local list = {}
	for pair in pairs(node.pairs) do list[#list + 1] = pair end
	for _, pair in ipairs(list) do
		if cut then
			pair.client:read_stop()
			if pair.server then pair.server:read_stop() end
		elseif pair.connected then
			pair.go()
		elseif not pair.server then
			begin(pair)
		end
	end
end

for i = 2, #arg do
	local name, port, target = arg[i]:match("^(%w+):(%d+):(%d+)$")
	local node, listener = node_of(name), uv.new_tcp()
	assert(listener:bind("127.0.0.1", math.tointeger(tonumber(port))))
	assert(listener:listen(128, function() accept(listener, node, math.tointeger(tonumber(target))) end))
end

uv.new_timer():start(LOOK_MS, LOOK_MS, function()
	for name, node in pairs(nodes) do
		local cut = uv.fs_stat(folder .. "/cut." .. name) ~= nil
		if cut ~= node.cut then set_cut(node, cut) end
	end
end)
uv.run()
