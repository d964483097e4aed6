-- browser.lua - a real Chromium in specs, by chromedriver: pages, scripts in them, keys, what they asked for. For the long form.

local assert = require "luassert"
local cli = require "spec.support.cli"
local core = require "vigia.core"
local helper = require "spec.helper"

local M = {}

local EMPTY <const> = require "vigia".array{}

-- Any value as JSON.
local function to_json(value)
	return core.to_json{seq_num = 0, timestamp = 0, operation = "x", object_type = "x", object = value}:match('"object":(.*)}$')
end

local Browser = {}
Browser.__index = Browser

function M.is_there()
	return os.execute("command -v chromedriver >/dev/null && command -v chromium >/dev/null") == true
end

function Browser:call(method, path, body)
	local file = cli.write("command.json", to_json(body or {}))
	local out = helper.shell(("curl -s -m 240 --noproxy '*' -X %s -H 'Content-Type: application/json' --data-binary @%s "
		.. "http://127.0.0.1:%s/session%s"):format(method, helper.quoted(file), self.port, path))
	local reply = assert(core.from_json(out), out)
	local value = reply.value
	assert(type(value) ~= "table" or value.error == nil, out)
	return value
end

-- Start one, its window of this size.
function M.start(width, height)
	local driver = helper.child([[
		local pipe = io.popen("echo $$; exec chromedriver --port=0 2>/dev/null", "r")
		print(pipe:read("l"))
		io.stdout:flush()
		for line in pipe:lines() do
			local port = line:match("successfully on port (%d+)")
			if port then print(port) io.stdout:flush() end
		end]])
	local browser = setmetatable({pid = driver:line(), port = driver:line()}, Browser)
	local arguments = {"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		("--window-size=%d,%d"):format(width, height), "--user-data-dir=" .. helper.path("profile")}
	local wanted = {["goog:chromeOptions"] = {args = arguments}, ["goog:loggingPrefs"] = {browser = "ALL", performance = "ALL"}}
	local started, session = pcall(browser.call, browser, "POST", "", {capabilities = {alwaysMatch = wanted}})
	if not started then browser:stop() end
	assert(started, session)
	browser.session = "/" .. session.sessionId
	return browser
end

function Browser:stop()
	if self.session then pcall(self.call, self, "DELETE", self.session) end
	os.execute("kill " .. self.pid .. " 2>/dev/null")
end

function Browser:open(url)
	self:call("POST", self.session .. "/url", {url = url})
end

-- What a JavaScript expression gives.
function Browser:value(expression)
	return self:call("POST", self.session .. "/execute/sync", {args = EMPTY, script = "return " .. expression})
end

function Browser:run(script)
	self:call("POST", self.session .. "/execute/sync", {args = EMPTY, script = script})
end

-- Wait until an expression gives this.
function Browser:expect(value, expression)
	local got
	local ok = pcall(helper.eventually, function()
		got = self:value(expression)
		return got == value
	end)
	assert(ok, ("%s is %s, not %s"):format(expression, tostring(got), tostring(value)))
end

-- Press keys, one after the other: characters, or names of W3C's WebDriver.
local NAMED <const> = {Tab = "\u{E004}", Enter = "\u{E007}", Escape = "\u{E00C}", End = "\u{E010}", Home = "\u{E011}", Space = " "}

function Browser:press(...)
	local actions = {}
	for _, key in ipairs{...} do
		for _, type in ipairs{"keyDown", "keyUp"} do actions[#actions + 1] = {type = type, value = NAMED[key] or key} end
	end
	self:call("POST", self.session .. "/actions", {actions = {{type = "key", id = "keyboard", actions = actions}}})
end

-- A command of the DevTools protocol.
function Browser:devtools(command, parameters)
	return self:call("POST", self.session .. "/goog/cdp/execute", {cmd = command, params = parameters})
end

function Browser:colors(scheme)
	self:devtools("Emulation.setEmulatedMedia", {features = {{name = "prefers-color-scheme", value = scheme}}})
end

-- A picture of what is seen, as a PNG file.
function Browser:picture(path)
	local base64 = cli.write("picture.txt", self:call("GET", self.session .. "/screenshot"))
	assert(os.execute(("base64 -d <%s >%s"):format(helper.quoted(base64), helper.quoted(path))))
end

-- The addresses that the page asked for, and what the console complained of.
function Browser:record()
	local asked, complaints = {}, {}
	for _, entry in ipairs(self:call("POST", self.session .. "/se/log", {type = "performance"})) do
		local message = core.from_json(entry.message).message
		-- The empty page that it begins with is Chromium's own.
		local is_page = message.method == "Network.requestWillBeSent" and not message.params.documentURL:find("^chrome:")
		if is_page then asked[#asked + 1] = message.params.request.url end
	end
	for _, entry in ipairs(self:call("POST", self.session .. "/se/log", {type = "browser"})) do complaints[#complaints + 1] = entry.message end
	return asked, complaints
end

return M
