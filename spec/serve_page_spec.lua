-- serve_page_spec.lua - the page of `vigia serve` (contract O6): its policy and that it is whole; in the long form, in a real browser.

local chromium = require "spec.support.browser"
local cli = require "spec.support.cli"
local helper = require "spec.helper"
local http = require "spec.support.http"

describe("the page of vigia serve", function()
	local store, server, browser

	before_each(function()
		store = helper.path("events.db")
		cli.append(store, {'{"operation":"CREATE","object_type":"<i>File</i>","object":{"html":"<b>bold</b>","big":9007199254740993}}',
			'{"operation":"UPDATE","object_type":"Commit","object":[1,2]}'})
		local failing = cli.write("failing.lua", [[return {id = "<b>mailer</b>", max_retries = 1, retry_strategy = "dead_letter",
			initial_backoff = 0.001, handle = function() error("no <b>luck</b>") end}]])
		cli.ok{"run", "--store", store, failing, "--until-idle"}
		server = http.serve(store)
	end)
	after_each(function()
		if browser then browser:stop() end
		browser = nil
		http.finish(server)
		cli.clean()
	end)

	it("[O6] is one file without foreign resources, under a policy that allows nothing else", function()
		local reply = http.get(server, "/")
		local page = http.ok(reply)
		local policy = reply.headers["content-security-policy"]
		local nonce = policy:match("script%-src 'nonce%-(%x+)'")
		assert.equal(32, #nonce)
		assert(policy:find("default-src 'none'", 1, true))
		assert.is_nil(policy:find("unsafe", 1, true))
		assert(page:find('<script nonce="' .. nonce .. '">', 1, true))
		assert(page:find("</html>\n$"))
		assert.is_nil(page:find("@NONCE@", 1, true))
		for _, foreign in ipairs{"src%s*=", "@import", "//[%w-]+%.%w+/[^%s]*%.js", "innerHTML", "insertAdjacentHTML",
			"document%.write", "eval%("} do
			assert.is_nil(page:find(foreign), foreign)
		end
		for address in page:gmatch("https?://[^\"'%s]+") do assert.equal("http://www.w3.org/2000/svg", address) end -- a name, never fetched
		assert.not_equal(nonce, http.get(server, "/").headers["content-security-policy"]:match("'nonce%-(%x+)'"))
		assert(page:find('"yes" === "yes"', 1, true))
		http.stop(server)
		server = http.serve(store, {token = false})
		assert(http.ok(http.get(server, "/")):find('"no" === "yes"', 1, true))
	end)

	---- in a real browser ----

	local EVENTS <const> = "document.querySelectorAll('#events details.event').length"

	-- The page, in a window of this size. nil: this run has no browser.
	local function open(width, height)
		if not os.getenv("VIGIA_SOAK") then return helper.pending("the page in a browser: in the long form") end
		if not chromium.is_there() then return helper.pending("there is no chromium with its driver") end
		browser = chromium.start(width, height)
		browser:open(("http://x:%s@127.0.0.1:%d/"):format(http.TOKEN, server.port))
		browser:expect("up to date", "document.getElementById('state').textContent")
		return browser
	end

	-- It asked nobody else for anything, and nothing that it did was refused.
	local function expect_clean(own_failures)
		local asked, complaints = browser:record()
		assert(#asked > 3, "the browser recorded nothing")
		for _, url in ipairs(asked) do
			assert(url:find("^data:,$") or url:find(("^http://[^/]*127%%.0%%.0%%.1:%d/"):format(server.port)), url)
		end
		assert.equal(own_failures or 0, #complaints, table.concat(complaints, "\n"))
	end

	it("[O6] shows the store in a browser as narrow as a telephone, and changes dead letters", function()
		open(400, 900)
		browser:expect(2, EVENTS)
		browser:expect(2, "document.querySelectorAll('#dead > details').length")
		browser:expect(0, "document.querySelectorAll('b, i, img').length") -- text, never markup
		browser:expect(1, "document.querySelectorAll('#watchers svg').length")
		browser:expect(true, "document.documentElement.scrollWidth <= innerWidth")
		browser:run("document.querySelector('#events details').open = true")
		browser:expect(true, "document.querySelector('#events .tree').textContent.includes('big: 9007199254740993')")
		browser:run("document.querySelector('#dead button:not(:disabled)').click()") -- retry
		browser:expect(true, "document.querySelector('#dead button').disabled")
		assert.matches('"retry":true', (http.ok(http.get(server, "/dead"))))
		browser:run("document.querySelector('#dead button + button').click()") -- drop
		browser:expect(1, "document.querySelectorAll('#dead > details').length")
		browser:expect(true, "document.documentElement.scrollWidth <= innerWidth")
		expect_clean()
	end)

	it("[O6] shows what blocks a running watcher", function()
		cli.start{"run", "--store", store, cli.write("stuck.lua", "return {id = 'stuck', handle = function() error('no <b>luck</b>', 0) end}")}
		open(1200, 900)
		browser:expect(true, "document.querySelector('#watchers .bad')?.textContent.includes('running, pid ')")
		browser:expect(true, "/^event 1 failed .*: no <b>luck<.b>$/.test(document.querySelector('#watchers .more')?.textContent)")
		expect_clean()
	end)

	it("[O6] is worked by keys alone: filters, events, the live tail", function()
		open(1000, 800)
		browser:press("/", "C", "o", "m", "m", "i", "t", "Enter")
		browser:expect(1, EVENTS)
		browser:press("Escape")
		local function tab_to(selector)
			for _ = 1, 30 do
				browser:press("Tab")
				if browser:value(("document.activeElement.matches(%q)"):format(selector)) then return end
			end
			error("Tab does not come to " .. selector)
		end
		tab_to("#events summary")
		browser:press("Enter")
		browser:expect(true, "document.querySelector('#events details').open")
		browser:press("t")
		browser:expect(true, "document.getElementById('tail').checked")
		-- An event may be stored before the stream is there: store until one arrives. The filter is still on.
		helper.eventually(function()
			http.ok(http.post(server, http.events(1, "File") .. http.events(1, "Commit")), 201)
			return browser:value(EVENTS) > 0
		end, "no event came to the live tail")
		browser:expect(false, "document.getElementById('events').textContent.includes('File')")
		browser:press("n")
		browser:expect(false, "document.getElementById('tail').checked")
		expect_clean()
	end)

	it("[O6] shows an event as soon as it is stored, and whatever text is in it as text", function()
		open(1000, 800)
		browser:run("document.getElementById('tail').click()")
		browser:run("window.late = []; new MutationObserver(list => list.forEach(one => one.addedNodes.forEach(node => { const number = "
			.. "node.querySelector?.('summary span')?.textContent; if (number) late.push([Number(number), Date.now()]) })))"
			.. ".observe(document.getElementById('events'), {childList: true})")
		helper.eventually(function()
			http.ok(http.post(server, http.events(1)), 201)
			return browser:value("late.length") > 0
		end)
		browser:run("late.length = 0")
		local evil = "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'>"
		for _ = 1, 20 do
			http.ok(http.post(server, ('{"operation":"%s","object_type":"%s","object":{"%s":"%s"}}\n'):format(evil, evil, evil, evil)), 201)
		end
		browser:expect(20, "late.length")
		local stored = {}
		for _, line in ipairs(cli.lines(http.ok(http.get(server, "/events")))) do
			stored[tonumber(line:match('"seq_num":(%d+)'))] = tonumber(line:match('"timestamp":(%d+)')) / 1e6
		end
		local times = {}
		for i, one in ipairs(browser:value("late")) do times[i] = one[2] - stored[one[1]] end
		table.sort(times)
		print(("# an event is in the page after %.0f ms (median of 20), %.0f ms at most"):format(times[10], times[20]))
		assert(times[10] < 200, ("%.0f ms"):format(times[10]))
		browser:run("document.querySelectorAll('#events details').forEach(node => { node.open = true })")
		browser:expect(true, "document.querySelector('#events .tree').textContent.includes('<script>')")
		browser:expect("1 0 undefined", "[document.scripts.length, document.images.length, typeof pwned].join(' ')")
		expect_clean()
	end)

	it("[O6] scrolls through 100,000 events, and keeps the few that are near", function()
		cli.append(store, cli.lines(http.events(99998)))
		open(1000, 800)
		browser:run("window.scrolling = setInterval(() => scrollTo(0, document.body.scrollHeight), 20)")
		local most, sections, over = 0, 0, false
		while not over do -- as long as it goes on
			helper.eventually(function()
				most = math.max(most, browser:value(EVENTS))
				local before = sections
				sections = browser:value("document.querySelectorAll('#events > section').length")
				over = browser:value("document.getElementById('events-end').textContent") == "100,000 events, no more now"
				return over or sections > before
			end)
		end
		browser:run("clearInterval(scrolling)")
		browser:expect(true, "document.querySelector('#events > section:last-child').textContent.includes('100000')")
		assert(most < 5000, most .. " events at a time")
		for at, number in pairs{[0] = 1, [0.5] = 50001} do
			browser:run(("document.querySelectorAll('#events > section')[%d].scrollIntoView()"):format(500 * at))
			browser:expect(tostring(number),
				"document.elementFromPoint(innerWidth / 2, 30)?.closest('section')?.querySelector('summary span')?.textContent")
		end
		browser:run("document.getElementById('newest').click()")
		browser:expect(100, EVENTS)
		expect_clean()
	end)

	it("[O6] can be read in the dark and in the light", function()
		open(1000, 800)
		-- WCAG's contrast of two colours.
		browser:run("window.contrast = (a, b) => { const light = color => { const [r, g, blue] = color.match(/[0-9.]+/g).slice(0, 3)"
			.. ".map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);"
			.. "return 0.2126 * r + 0.7152 * g + 0.0722 * blue; };"
			.. "const [high, low] = [light(a), light(b)].sort((x, y) => y - x); return (high + 0.05) / (low + 0.05); }")
		local backgrounds = {}
		for _, scheme in ipairs{"light", "dark"} do
			browser:colors(scheme)
			browser:expect(true, ("matchMedia('(prefers-color-scheme: %s)').matches"):format(scheme))
			backgrounds[scheme] = browser:value("getComputedStyle(document.body).backgroundColor")
			for _, selector in ipairs{"body", ".dim", "dt", "button", "th", "dd", ".mono", "input", "svg path"} do
				local contrast = browser:value(([[(node => { let back = node; while (getComputedStyle(back).backgroundColor === 'rgba(0, 0, 0, 0)')
					back = back.parentElement; const style = getComputedStyle(node);
					return contrast(style.stroke === 'none' ? style.color : style.stroke, getComputedStyle(back).backgroundColor); })
					(document.querySelector('%s'))]]):format(selector))
				assert(contrast >= 4.5, ("%s in %s: %.2f"):format(selector, scheme, contrast))
			end
		end
		assert.not_equal(backgrounds.light, backgrounds.dark)
	end)
end)
