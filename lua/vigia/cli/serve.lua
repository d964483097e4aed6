-- serve.lua - `vigia serve`: the store over HTTP.

local core = require("vigia.core")
local util = require("vigia.cli.util")

local M = {}

M.summary = "Serve a store over HTTP: events, metrics, a page."
M.description = [[
Serves the store until Ctrl-C:
    GET /              a page with watchers, dead letters and events
    GET /metrics       numbers for Prometheus
    GET /events        events as NDJSON: from, types, operations, limit, wait (seconds)
    GET /events/stream the same as server-sent events, as they come
    POST /events       one event as JSON, or NDJSON, stored all or none; Idempotency-Key
    GET /watchers, /dead, /state; POST /dead/retry, /dead/drop
If a token is set (--token-file, or the environment variable VIGIA_TOKEN), every request must carry
it: `Authorization: Bearer TOKEN`, or as the password in a browser. Without a token the store is
opened read-only, and the server refuses all changes. An address other than loopback needs a token
and TLS, or --insecure.
Log records go to standard error, as with `vigia run`. Under systemd (Type=notify) the server
reports when it listens. With WatchdogSec= it sends watchdog notifications while its loop runs.]]

function M.define(command)
	util.define_store(command)
	command:option("--listen"):argname("ADDRESS"):default("127.0.0.1:8080"):overwrite(false)
		:description("Where to listen; port 0 takes any free one (default: 127.0.0.1:8080)."):show_default(false)
	command:option("--token-file"):argname("FILE"):overwrite(false)
		:description("The token is the first line of this file.")
	command:option("--host"):argname("NAME"):count("*"):target("hosts")
		:description("A host name that clients may use, besides its addresses and localhost. May be given several times.")
	command:option("--tls-cert"):argname("FILE"):overwrite(false):description("PEM file of the certificate, with the chain it needs.")
	command:option("--tls-key"):argname("FILE"):overwrite(false):description("PEM file of the private key.")
	command:flag("--insecure"):description("Allow an address other than loopback without a token or TLS.")
	command:option("--client-timeout"):argname("SECONDS"):convert(util.seconds("--client-timeout")):default("30"):overwrite(false)
		:description("How long a client may be idle, take for a request, or not read (default: 30)."):show_default(false)
	command:option("--max-connections"):argname("N"):convert(util.whole_number("--max-connections", 1)):default("512"):overwrite(false)
		:description("Limit on open connections (default: 512)."):show_default(false)
	command:flag("--verbose"):description("Log every request, not only those that failed or were refused.")
	util.define_log_format(command)
end

local function read_file(option, path)
	local file, problem = io.open(path, "rb")
	local text = file and file:read("a")
	if file then
		file:close()
	end
	return text or util.fail("%s: %s", option, util.printable(problem or path .. ": cannot be read"))
end

-- The token, or nil where there is none.
local function token_of(args)
	local token = os.getenv("VIGIA_TOKEN")
	if args.token_file then
		token = read_file("--token-file", args.token_file):match("^[^\r\n]*")
	elseif token == "" then
		token = nil
	end
	return token
end

function M.run(args)
	if (args.tls_cert == nil) ~= (args.tls_key == nil) then
		util.usage("--tls-cert and --tls-key need each other")
	end
	local token = token_of(args)
	local options = {
		listen = args.listen,
		token = token,
		hosts = args.hosts,
		insecure = args.insecure,
		tls_cert = args.tls_cert and read_file("--tls-cert", args.tls_cert),
		tls_key = args.tls_key and read_file("--tls-key", args.tls_key),
		client_timeout = args.client_timeout,
		max_connections = args.max_connections,
		verbose = args.verbose,
	}
	local path = util.store_path(args)
	-- A small batch: a client that reads slowly costs no more than one. It is open for long, so it also removes old events.
	local store <close> = util.open_store(args, {readonly = token == nil, create = false, collect = token ~= nil,
		max_batch_bytes = 65536})
	core.log_format(args.log_format)
	core.notify("STATUS=starting")
	local ok, err = require("vigia.server")(store, options, function(url)
		local doing = ("serving %s on %s"):format(util.shown(path), url)
		util.write(doing, "\n")
		io.stdout:flush()
		core.notify("READY=1\nSTATUS=" .. doing)
	end)
	if not ok then
		core.notify("STOPPING=1\nSTATUS=stopping")
		util.tell(tostring(err), args.log_format)
		return util.FAILURE
	end
	return util.OK
end

return M
