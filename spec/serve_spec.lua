-- serve_spec.lua - `vigia serve` (contract O6): events, appends, views and metrics over HTTP; who may, and where it listens.

local cli = require "spec.support.cli"
local helper = require "spec.helper"
local http = require "spec.support.http"

local mentions = helper.mentions

describe("vigia serve", function()
	local store, server

	before_each(function() store = helper.path("events.db") end)
	after_each(function()
		http.finish(server)
		server = nil
		cli.clean()
	end)

	local function serve(options)
		server = http.serve(store, options)
		return server
	end

	local function fill(count, object_type)
		cli.append(store, cli.lines(http.events(count, object_type)))
	end

	local function numbers(body)
		local list = {}
		for n in body:gmatch('"seq_num":(%d+)') do list[#list + 1] = math.tointeger(tonumber(n)) end
		return list
	end

	it("[O6] returns events as `vigia events` prints them", function()
		fill(3)
		fill(2, "Commit")
		serve()
		assert.equal(cli.ok{"events", "--store", store}.out, http.ok(http.get(server, "/events")))
		local reply = http.get(server, "/events?from=after:1&limit=2")
		assert.same({2, 3}, numbers(http.ok(reply)))
		assert.equal("after:3", reply.headers["vigia-next"])
		assert.equal("false", reply.headers["vigia-at-end"])
		assert.same({4, 5}, numbers(http.ok(http.get(server, "/events?types=Commit"))))
		assert.same({4, 5}, numbers(http.ok(http.get(server, "/events?types=Comm%69t,None&operations=CREATE"))))
		assert.same({}, numbers(http.ok(http.get(server, "/events?operations=DELETE"))))
		http.stop(server)
	end)

	it("[O6] gives the end of a long log in pieces that go on where the last one ended", function()
		local text, lines = ("x"):rep(300), {} -- more than a piece in one read
		for n = 1, 5000 do lines[n] = ('{"operation":"CREATE","object_type":"File","object":{"n":%d,"text":"%s"}}'):format(n, text) end
		cli.append(store, lines)
		serve()
		local from, all = "trim_horizon", {}
		repeat
			local reply = http.get(server, "/events?limit=777&from=" .. from)
			for _, n in ipairs(numbers(http.ok(reply))) do all[#all + 1] = n end
			from = reply.headers["vigia-next"]
		until reply.headers["vigia-at-end"] == "true"
		assert.same(helper.range(1, 5000), all)
	end)

	it("[O6] waits for an event, also of another process, without a thread of its own", function()
		fill(1)
		serve()
		local waiting = {}
		for i = 1, 20 do
			waiting[i] = http.connect(server):send(http.text(server, "GET", "/events?from=latest&wait=60&types=Commit"))
		end
		local before = http.usage(server)
		fill(3)
		fill(1, "Commit")
		for _, connection in ipairs(waiting) do
			connection:expect_closed():close()
			assert.same({5}, numbers(http.ok(http.parse(connection.text))))
		end
		assert.equal(before, (http.usage(server)))
	end)

	it("[O6] ends a wait with nothing when its time is over", function()
		fill(2)
		serve()
		local reply = http.get(server, "/events?from=latest&wait=50ms")
		assert.equal("", http.ok(reply))
		assert.equal("after:2", reply.headers["vigia-next"])
	end)

	it("[O6] appends one event, or lines as one list, and returns their numbers", function()
		fill(1)
		serve()
		local one = http.request(server, "POST", "/events", nil, '{"operation":"CREATE",\n"object_type":"File",\n"object":[1]}')
		assert.equal('{"first":2,"last":2,"existed":false}\n', http.ok(one, 201))
		assert.equal('{"first":3,"last":12,"existed":false}\n', http.ok(http.post(server, http.events(10)), 201))
		local bad = http.post(server, http.events(3) .. "\n{}\n")
		mentions(http.ok(bad, 400), "line 5")
		assert.equal(12, #cli.events(store))
		mentions(http.ok(http.post(server, ""), 400), "empty")
		mentions(http.ok(http.post(server, "\xff\xfe"), 400), "UTF")
	end)

	it("[O6] stores what has an idempotency key once", function()
		fill(1)
		serve()
		local key = {["Idempotency-Key"] = "order-7"}
		assert.equal('{"first":2,"last":4,"existed":false}\n', http.ok(http.post(server, http.events(3), key), 201))
		assert.equal('{"first":2,"last":4,"existed":true}\n', http.ok(http.post(server, http.events(3), key)))
		mentions(http.ok(http.post(server, http.events(1), {["Idempotency-Key"] = ("x"):rep(256)}), 400), "key")
		assert.equal(4, #cli.events(store))
	end)

	it("[O6] commits appends of many clients together", function()
		fill(1)
		serve()
		local all = {}
		for i = 1, 50 do
			all[i] = http.connect(server):send(http.text(server, "POST", "/events", nil, http.events(1)))
		end
		for _, connection in ipairs(all) do
			connection:expect_closed():close()
			http.ok(http.parse(connection.text), 201)
		end
		assert.equal(51, #cli.events(store))
		local metrics = http.ok(http.get(server, "/metrics"))
		assert.equal("50", metrics:match("\nvigia_commit_events_sum (%d+)"))
		assert.is_true(tonumber(metrics:match("\nvigia_commit_events_count (%d+)")) <= 50)
	end)

	it("[O6] names an event that is damaged, and goes on behind it, in a dead letter too", function()
		cli.append(store, {'{"operation":"CREATE","object_type":"File","object":"marker one"}',
			'{"operation":"CREATE","object_type":"File","object":"marker two"}', '{"operation":"CREATE","object_type":"File","object":3}'})
		cli.ok{"run", "--store", store, "--until-idle", cli.write("all.lua", [[return {id = "all", max_retries = 1,
			retry_strategy = "dead_letter", handle = function(event) if event.seq_num == 2 then error("no", 0) end end}]])}
		helper.damage(store, "marker two")
		serve()
		local lines = cli.lines(http.ok(http.get(server, "/events")))
		assert.equal(3, #lines)
		assert.matches('^{"seq_num":2,"error":{"code":"event_damaged","message":".-"}}$', lines[2])
		local stream = http.stream(server, "/events/stream?from=trim_horizon")
		http.wait(function() return #stream.seen == 2 end)
		stream:close()
		assert.same({1, 3}, stream.seen)
		assert.same({{event = "damaged", data = lines[2]}}, stream.notes)
		assert.matches('^{"damaged":{"code":"event_damaged","message":".-"}}\n$', (http.ok(http.get(server, "/dead"))))
		http.stop(server)
	end)

	it("[O6] refuses a body that has more than is allowed without saying so first", function()
		fill(1)
		serve()
		local chunk = ("%x\r\n%s\r\n"):format(1 << 20, (" "):rep(1 << 20))
		local connection = http.connect(server):send(http.text(server, "POST", "/events",
			{["Content-Type"] = "application/json", ["Transfer-Encoding"] = "chunked"}))
		for _ = 1, 17 do connection:send(chunk) end
		connection:send("0\r\n\r\n")
		connection:expect_closed():close()
		assert.equal("", connection.text)
		assert.equal(1, #cli.events(store))
	end)

	it("[O6] tells where an empty store goes on", function()
		cli.ok{"create", "--store", store}
		serve()
		local reply = http.get(server, "/events")
		assert.equal("", http.ok(reply))
		assert.same({"after:0", "true"}, {reply.headers["vigia-next"], reply.headers["vigia-at-end"]})
		assert.matches("vigia_latest_event_timestamp_seconds 0%.000\n", (http.ok(http.get(server, "/metrics"))))
	end)

	it("[O6] names what is wrong with an address", function()
		fill(1)
		serve()
		for target, says in pairs{["/events?from=here"] = "starting position", ["/events?limit=0"] = "limit", ["/events?limit=x"] = "limit",
			["/events?wait=301"] = "wait", ["/events?wait=-1"] = "wait", ["/events?tyeps=a"] = "unknown parameter",
			["/events?limit=1&limit=2"] = "twice",
			["/events?types=%zz"] = "escape", ["/events?types=%ff"] = "UTF%-8", ["/events?types=%00"] = "NUL", ["/events?types=a,,b"] = "types",
			["/state?x=1"] = "unknown parameter", ["/%"] = "escape", ["*"] = "slash", ["/events?wait=1x"] = "wait",
			["/events?types=" .. ("a,"):rep(64) .. "b"] = "64 names", ["/events?" .. ("a=1&"):rep(33)] = "32 parameters",
			["/state/x?from=[1]"] = "key as JSON", ["/state/x?from=1&prefix=1"] = "exclude", ["/events?types=" .. ("a"):rep(256)] = "255",
			["/dead?watcher=a&from=0"] = "from"} do
			local body = http.ok(http.get(server, target), 400)
			assert(body:find(says), target .. ": " .. body)
		end
		mentions(http.ok(http.get(server, "/nothing"), 404), "no such page")
		assert.equal("GET, POST", http.request(server, "DELETE", "/events").headers.allow)
		http.ok(http.request(server, "POST", "/metrics", nil, "{}"), 405)
	end)

	-- Runs until the test ends. Its watchers do what the objects of events say.
	local function start_watchers()
		local function script(name, more)
			return cli.write(name .. ".lua", ([[return {%s, initial_backoff = 0.001, handle = function(event)
				if event.object.n == %s then error("no <b>luck</b>", 0) end
			end}]]):format(more, (name == "fine" or name == "passing") and "0" or "3"))
		end
		local words = {"run", "--store", store, script("fine", [[id = 'a"b']]), script("stuck", "id = 'stuck'"),
			script("passing", "id = 'passing', ephemeral = true"), script("skips", "id = 'skips', max_retries = 2, retry_strategy = 'skip'"),
			script("letters", "id = 'letters', max_retries = 1, retry_strategy = 'dead_letter'")}
		cli.start(words)
		cli.start{"run", "--store", store, helper.path("passing.lua")}
	end

	it("[O6] shows watchers as `vigia watchers` does, and metrics that Prometheus' own check accepts", function()
		fill(10)
		cli.ok{"run", "--store", store, "--until-idle", cli.write("over.lua", "return {id = 'over', handle = function() end}")}
		cli.ok{"pause", "--store", store, "over"}
		fill(5)
		local opened = assert(require("vigia").open(store))
		assert(opened:store_checkpoint("passing", 7)) -- of an earlier time, when it was not ephemeral
		opened:close()
		start_watchers()
		serve()
		local metrics
		local function has(line)
			return metrics:find("\n" .. line .. "\n", 1, true)
		end
		local expected = {"vigia_events_appended_total 15", "vigia_events 15", "vigia_oldest_event_number 1", "vigia_dead_letters 2",
			'vigia_watcher_checkpoint{watcher="over"} 10', 'vigia_watcher_lag_events{watcher="over"} 5', 'vigia_watcher_running{watcher="over"} 0',
			'vigia_watcher_paused{watcher="over"} 1', 'vigia_watcher_paused{watcher="stuck"} 0',
			'vigia_watcher_running{watcher="a\\"b"} 1', 'vigia_watcher_position{watcher="a\\"b"} 15', 'vigia_watcher_lag_events{watcher="a\\"b"} 0',
			'vigia_watcher_lag_seconds{watcher="a\\"b"} 0.000', 'vigia_watcher_handled_total{watcher="a\\"b"} 15',
			'vigia_watcher_failed_total{watcher="a\\"b"} 0', 'vigia_watcher_lag_events{watcher="stuck"} 13',
			'vigia_watcher_blocked_event_number{watcher="stuck"} 3', 'vigia_watcher_blocked_event_number{watcher="skips"} 0',
			'vigia_watcher_skipped_total{watcher="skips"} 2', 'vigia_watcher_failed_total{watcher="skips"} 4',
			'vigia_watcher_retried_total{watcher="skips"} 2',
			'vigia_watcher_dead_lettered_total{watcher="letters"} 2', 'vigia_watcher_missed_total{watcher="letters"} 0',
			'vigia_watcher_fetch_errors_total{watcher="letters"} 0', 'vigia_watcher_running{watcher="passing"} 1',
			'vigia_watcher_checkpoint{watcher="passing"} 7',
			'vigia_watcher_position{watcher="passing"} 15', 'vigia_watcher_handled_total{watcher="passing"} 30', 'vigia_watchers_unshown 0'}
		helper.eventually(function()
			metrics = http.ok(http.get(server, "/metrics"))
			for _, line in ipairs(expected) do
				if not has(line) then return false end
			end
			return true
		end)
		local function shown(text)
			for _, name in ipairs{"lag_seconds", "rate", "next_attempt", "checkpoint", "attempts", "last_error_time", "failed", "retried"} do
				text = text:gsub(('"%s":[%%d.e-]+'):format(name), "")
			end
			return text
		end
		local watchers = http.ok(http.get(server, "/watchers"))
		assert.equal(shown(cli.ok{"watchers", "--store", store, "--json"}.out), shown(watchers))
		mentions(watchers, '"ephemeral":false,"paused":true,',
			'{"watcher":"stuck","state":"running",', '"blocked_on":3,', '"last_error":"no <b>luck</b>"')
		if not os.getenv("VIGIA_SOAK") then return end
		if not os.execute("command -v promtool >/dev/null") then return helper.pending("there is no promtool") end
		assert.is_true(os.execute("promtool check metrics <" .. helper.quoted(cli.write("metrics", metrics))))
	end)

	it("[O6] shows buckets, keys and values", function()
		local opened = assert(require("vigia").open(store))
		assert(opened:transaction(function(tx)
			for n = 1, 3 do tx:put("numbers", n, {n = n}) end
			tx:put("names", "a/b", "slash")
			tx:put("names", "az", 1)
			tx:put("names", "b", 2)
		end))
		opened:close()
		serve()
		assert.equal('{"bucket":"names","values":3}\n{"bucket":"numbers","values":3}\n', http.ok(http.get(server, "/state")))
		assert.equal('{"key":2,"value":{"n":2}}\n{"key":3,"value":{"n":3}}\n', http.ok(http.get(server, "/state/numbers?from=2")))
		local some = http.get(server, "/state/numbers?limit=2")
		assert.equal('{"key":1,"value":{"n":1}}\n{"key":2,"value":{"n":2}}\n', http.ok(some))
		assert.equal("false", some.headers["vigia-at-end"])
		assert.equal('{"key":"a/b","value":"slash"}\n{"key":"az","value":1}\n', http.ok(http.get(server, "/state/names?prefix=a")))
		assert.equal('{"key":"a/b","value":"slash"}\n', http.ok(http.get(server, "/state/names/a/b")))
		assert.equal('{"key":3,"value":{"n":3}}\n', http.ok(http.get(server, "/state/numbers/3")))
		http.ok(http.get(server, "/state/numbers/4"), 404)
		http.ok(http.get(server, "/state/names?from=x"), 400)
	end)

	it("[O6] shows dead letters, has them retried and drops them", function()
		fill(3)
		local failing = cli.write("failing.lua", [[return {id = "mailer", max_retries = 1, retry_strategy = "dead_letter",
			initial_backoff = 0.001, handle = function(event) error("no <b>luck</b>") end}]])
		cli.ok{"run", "--store", store, failing, "--until-idle"}
		serve()
		local letters = http.ok(http.get(server, "/dead?watcher=mailer&from=2"))
		assert.same({"2", "3"}, {letters:match('^{"watcher":"mailer","seq_num":(%d).-\n{"watcher":"mailer","seq_num":(%d)')})
		mentions(letters, "no <b>luck</b>", '"event":{"seq_num":2,')
		local function post(what, body)
			return http.request(server, "POST", "/dead/" .. what, nil, body)
		end
		assert.equal('{"count":1}\n', http.ok(post("retry", '{"watcher":"mailer","seq_num":2}')))
		mentions(http.ok(http.get(server, "/dead?watcher=mailer&from=2&limit=1")), '"retry":true')
		http.ok(http.get(server, "/dead?from=2"), 400)
		assert.equal('{"count":1}\n', http.ok(post("drop", '{"watcher":"mailer","seq_num":2}')))
		http.ok(post("drop", '{"watcher":"mailer","seq_num":2}'), 404)
		for _, bad in ipairs{'{"watcher":"mailer"}', '{"seq_num":1}', '{"watcher":"mailer","seq_num":1,"all":true}', "[]", "x"} do
			http.ok(post("drop", bad), 400)
		end
		assert.equal('{"count":2}\n', http.ok(post("drop", '{"watcher":"mailer","all":true}')))
		assert.equal("", http.ok(http.get(server, "/dead")))
	end)

	it("[O6] needs the token for everything once it is set, and for changes in any case", function()
		fill(1)
		serve()
		for _, target in ipairs{"/", "/events", "/events/stream", "/metrics", "/watchers", "/dead", "/state", "/nothing"} do
			for _, wrong in ipairs{false, "Bearer", "Bearer " .. http.TOKEN:sub(1, -2), "Bearer " .. http.TOKEN .. "0",
				"Bearer x" .. http.TOKEN:sub(2),
				"Basic " .. http.TOKEN, "Basic !!!!", "Basic OnNwZWMtdG9rZW4tMDEyMzQ1Njc4"} do
				local reply = http.get(server, target, {Authorization = wrong})
				assert.equal(401, reply.status, target)
				assert(reply.headers["www-authenticate"])
			end
		end
		http.ok(http.get(server, "/events", {Authorization = "Basic OnNwZWMtdG9rZW4tMDEyMzQ1Njc4OQ=="})) -- ":spec-token-0123456789"
		http.ok(http.get(server, "/events", {Authorization = "bearer " .. http.TOKEN}))
		http.stop(server)
		serve{token = false}
		http.ok(http.get(server, "/events"))
		mentions(http.ok(http.post(server, http.events(1)), 403), "token")
		http.ok(http.request(server, "POST", "/dead/drop", nil, '{"watcher":"a","all":true}'), 403)
		assert.equal(1, #cli.events(store))
	end)

	it("[O6] serves no page of another site, under whatever name it comes", function()
		fill(1)
		serve{words = {"--host", "vigia.example"}}
		local port = server.port
		for _, host in ipairs{"evil.example", "evil.example:" .. port, "127.0.0.1.evil.example", "localhost.evil", "[::1",
			"[::1]x", "", "127.0.0.1:", "127.0.0.1:x"} do
			http.ok(http.get(server, "/events", {Host = host}), 403)
		end
		for _, host in ipairs{"localhost", "localhost:1", "[::1]:80", "127.0.0.1", "vigia.example", "VIGIA.example:80", "10.1.2.3"} do
			http.ok(http.get(server, "/events", {Host = host}))
		end
		local here = "127.0.0.1:" .. port
		for _, origin in ipairs{"http://evil.example", "https://" .. here, "null", "http://" .. here .. ".evil", "http://127.0.0.1:1"} do
			http.ok(http.get(server, "/events", {Origin = origin}), 403)
			http.ok(http.post(server, http.events(1), {Origin = origin}), 403)
		end
		http.ok(http.post(server, http.events(1), {Origin = "http://" .. here}), 201)
		for _, site in ipairs{"cross-site", "same-site"} do http.ok(http.get(server, "/events", {["Sec-Fetch-Site"] = site}), 403) end
		http.ok(http.get(server, "/events", {["Sec-Fetch-Site"] = "same-origin"}))
		for _, type in ipairs{"text/plain", "application/x-www-form-urlencoded", "application/jsonp", false} do
			http.ok(http.post(server, http.events(1), {["Content-Type"] = type}), 415)
		end
		assert.equal(2, #cli.events(store))
	end)

	it("[O6] listens elsewhere than on loopback only with a token and TLS, or --insecure", function()
		fill(1)
		local token = cli.write("token", http.TOKEN .. "\n")
		local function refused(...)
			return cli.fails(1, {"serve", "--store", store, ...})
		end
		mentions(refused("--listen", "0.0.0.0:0"), "a token and TLS", "--insecure")
		mentions(refused("--listen", "0.0.0.0:0", "--token-file", token), "TLS")
		mentions(refused("--listen", "[::]:0"), "a token and TLS")
		mentions(refused("--listen", "example.org:80"), "not an address")
		mentions(refused("--listen", "127.0.0.1"), "not an address")
		mentions(refused("--listen", "127.0.0.1:65536"), "not an address")
		mentions(refused("--token-file", cli.write("short", "short\n")), "16 to 256")
		mentions(refused("--token-file", helper.path("none")), "none")
		mentions(refused("--token-file", cli.write("blank", "a token with blanks\n")), "without blanks")
		mentions(cli.fails(2, {"serve", "--store", store, "--tls-cert", token}), "need each other")
		mentions(refused("--tls-cert", token, "--tls-key", token), "certificate")
		serve()
		mentions(refused("--listen", "127.0.0.1:" .. server.port), "cannot listen", "in use")
		local open = cli.start{"serve", "--store", store, "--listen", "0.0.0.0:0", "--insecure"}
		mentions(open:line(), "0.0.0.0")
		open:kill()
	end)

	it("[O6] speaks TLS with a certificate, and nothing else then", function()
		fill(1)
		local cert, key = helper.path("cert.pem"), helper.path("key.pem")
		assert(os.execute(("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost "
			.. "-addext subjectAltName=DNS:localhost -keyout %s -out %s 2>/dev/null"):format(helper.quoted(key), helper.quoted(cert))))
		serve{words = {"--tls-cert", cert, "--tls-key", key}}
		mentions(server.line, "https://")
		local function curl(words)
			return helper.shell(("curl -s -m 60 --noproxy '*' --cacert %s %s https://localhost:%d/events"):format(helper.quoted(cert), words,
				server.port))
		end
		local auth = "-H 'Authorization: Bearer " .. http.TOKEN .. "'"
		mentions(curl(auth), '"seq_num":1,')
		mentions(curl(auth .. " -H 'Content-Type: application/json' -d '{\"operation\":\"CREATE\","
			.. "\"object_type\":\"T\",\"object\":1}'"), '"first":2')
		mentions(curl(auth .. " -H 'Origin: http://localhost:" .. server.port .. "'"), "another site")
		mentions(curl(""), "token")
		local plain = http.connect(server):send(http.text(server, "GET", "/events")):expect_closed()
		assert.is_nil(plain.text:find("seq_num", 1, true))
		plain:close()
	end)

	it("[O6] stops at once with clients that wait, and says what they wait for no more", function()
		fill(2)
		serve()
		local stream = http.stream(server, "/events/stream?from=trim_horizon")
		local poll = http.connect(server):send(http.text(server, "GET", "/events?from=latest&wait=300"))
		local idle = http.connect(server)
		http.wait(function() return #stream.seen == 2 end)
		http.ok(http.get(server, "/events")) -- behind the poll, which it has read then
		http.stop(server)
		stream:expect_closed():close()
		poll:expect_closed():close()
		idle:expect_closed():close()
		assert.equal("", http.ok(http.parse(poll.text)))
	end)
end)
