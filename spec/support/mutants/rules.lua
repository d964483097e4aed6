-- rules.lua - bugs by rule: where a line of C or Lua can be made wrong, and how.
--
-- A site is {rule =, line =, last =, before =, after =, text =}: lines `line` to `last` of the file are replaced by `text`; `before` and
-- `after` are what is told of it. A site whose text does not compile is no mutant: that is found out later.

local M = {}

M.NAMES = {"negate", "drop", "bound", "lock", "swap"}

-- What only gives something back, or only says how: without it no promise is broken that a test without a sanitizer could see.
local NO_DROP <const> = {"free%s*%(", "_deinit%s*%(", "_destroy%s*%(", "^va_end", "^%(void%)", "^assert", "madvise"}
-- The order of these among themselves has no meaning.
local NO_SWAP <const> = {"_init%s*%(", "attr", "_destroy", "_deinit", "free%s*%(", "close%s*%("}
-- What holds others up, wakes them, or brings something to the disk.
local LOCKS <const> = {"mutex_lock", "mutex_unlock", "rdlock", "wrlock", "rwlock_unlock", "cond_signal", "cond_wait", "cond_broadcast",
	"SYS_futex", "NR_FUTEX_WAITV", "fsync", "fdatasync", "env_sync", "map_enter", "map_leave", "fd_lock", "F_OFD_SETLK", "wake_publish",
	"word_bump", "bump%(", "bell_ring", "wake_prepare", "sync_name", "pthread_join"}

-- Bounds that are met at one value in 2^31, or at one nanosecond. Nor is `a < b ? a : b` or
-- `if (a < b) b = a` another number with `<=`.
local NO_BOUND <const> = {"_MAX", "_ns", "until", "now", "KEEP_BYTES"}

local function matches(text, patterns)
	for _, pattern in ipairs(patterns) do
		if text:find(pattern) then return true end
	end
	return false
end

-- The text with comments and what is in quotes blanked out, as long as before.
local function masked(text, is_lua)
	local function blank(s)
		return (s:gsub("[^\n]", " "))
	end
	local out, at = {}, 1
	while at <= #text do
		local from, to
		local two = text:sub(at, at + 1)
		local one = two:sub(1, 1)
		if not is_lua and two == "/*" then
			from, to = at, select(2, text:find("*/", at + 2, true))
		elseif is_lua and two == "--" or not is_lua and two == "//" then
			from, to = at, (text:find("\n", at, true) or #text + 1) - 1
		elseif one == '"' or one == "'" then
			from, to = at, at + 1
			while text:sub(to, to) ~= one do
				to = to + (text:sub(to, to) == "\\" and 2 or 1)
			end
			out[#out + 1] = one .. blank(text:sub(from + 1, to - 1)) .. one
			at = to + 1
			goto continue
		end
		if from then
			out[#out + 1] = blank(text:sub(from, to))
			at = to + 1
		else
			local stop = (text:find(is_lua and "[\"'-]" or "[\"'/]", at + 1) or #text + 1) - 1
			out[#out + 1] = text:sub(at, stop)
			at = stop + 1
		end
		::continue::
	end
	return table.concat(out)
end

local function lines_of(text)
	local lines = {}
	for line in (text:sub(-1) == "\n" and text or text .. "\n"):gmatch("(.-)\n") do
		lines[#lines + 1] = line
	end
	return lines
end

local function trim(s)
	return (s:gsub("^%s+", ""):gsub("%s+$", ""))
end

-- ---- C ----

local NO_STATEMENT <const> = {}
for word in ("return break continue goto if for while do else case default switch static const struct enum union typedef extern int "
	.. "bool char unsigned long short float double void size_t ssize_t"):gmatch("%S+") do
	NO_STATEMENT[word] = true
end

-- Is it one whole statement that is neither a declaration nor a jump?
local function is_statement(s)
	if not s:find(";$") or s:find(";.*;") or s:find("[{}]") then return false end
	if not s:find("[%(=]") and not s:find("%+%+") and not s:find("%-%-") then return false end
	local word = s:match("^[%a_][%w_]*")
	local declares = s:find("^[%a_][%w_]*%s+%*?[%a_]") or s:find("^[%a_][%w_]*%b()%s*[%a_]") or s:find("^_Atomic")
	if word and (NO_STATEMENT[word] or declares) then return false end
	return word ~= nil or s:find("^[%*%+%-]") ~= nil or s:find("^%(")
end

-- What a statement changes for sure: the left side of an assignment, and what it passes the address of.
local function written(s)
	local out = {}
	local left = s:match("^([^=]-)%s*[%+%-%*/|&]?=[^=]")
	if left and not left:find("[%(<>!]") then out[1] = left:gsub("^%*", ""):gsub("^%S+%s+(%S+)$", "%1") end
	for name in s:gmatch("[%(,]%s*&([%w_%.%->%[%]]+)") do out[#out + 1] = name end
	return out
end

local function has_name(s, name)
	local from, to = s:find(name, 1, true)
	while from do
		if not s:sub(from - 1, from - 1):find("[%w_%.>]") and not s:sub(to + 1, to + 1):find("[%w_]") then return true end
		from, to = s:find(name, to + 1, true)
	end
	return false
end

-- Can the order of two statements matter? Not if one is an assignment and neither writes what the other one names; nor if one gives
-- something back that the other one does not name.
local function depend(a, b)
	for n, s in ipairs{a, b} do
		local given_back = matches(s, NO_SWAP) and s:match("%(%s*&?([%w_%.%->]+)%s*[%),]")
		if given_back and not has_name(n == 1 and b or a, given_back) then return false end
	end
	local function assigns(s)
		return s:find("^[^%(]-[%w_%]]%s*[%+%-%*/|&]?=[^=]") or s:find("^atomic_store")
	end
	if not assigns(a) and not assigns(b) then return true end
	for _, name in ipairs(written(a)) do
		if has_name(b, name) then return true end
	end
	for _, name in ipairs(written(b)) do
		if has_name(a, name) then return true end
	end
	return false
end

local function c_sites(lines, masks, add)
	local inside, open, name = false, 0, ""
	for n, mask in ipairs(masks) do
		local plain = mask:gsub("^__attribute__%s*%b()%s*", ""):gsub("__attribute__%s*%b()", "")
		if not inside and plain:find("^[%a_]") then name = plain:match("([%a_][%w_]*)%s*%(") or name end
		-- the rooms differ in where a function's brace stands
		if mask:find("^{") or mask:find("^[%a_].*%) {%s*$") then inside = true
		elseif mask:find("^}") then inside = false end
		add.within = name
		local line, s = lines[n], trim(mask)
		local balanced = select(2, mask:gsub("%(", "")) == select(2, mask:gsub("%)", ""))
		if inside and not mask:find("^#") and mask:find("^\t") and not mask:find("assert") then
			local before = trim(masks[n - 1])
			-- conditions
			for at, word in mask:gmatch("()%f[%w_](%a+)%s*%b()") do
				if word == "if" or word == "while" then
					local from, to = mask:find("%b()", at)
					add.site("negate", n, line:sub(1, from) .. "!" .. line:sub(from, to) .. ")" .. line:sub(to + 1))
				end
			end
			for at, operator in mask:gmatch("()([&|][&|]) ") do
				add.site("negate", n, line:sub(1, at - 1) .. (operator == "&&" and "||" or "&&") .. line:sub(at + 2))
			end
			-- bounds
			for at, operator in mask:gmatch("() ([<>]=?) ") do
				local other = #operator == 1 and operator .. "=" or operator:sub(1, 1)
				-- what is compared: from the operator to the next && or || on each side
				local left = mask:sub(1, at):gsub(".*[&|?,;]", "")
				local right = mask:sub(at + 1 + #operator):gsub("[&|?,;].*", "")
				local one, other_one = trim(left):match("[^ %(]+$") or "", trim(right):match("^[^ %)]+") or ""
				local is_least = mask:find(("? %s : %s"):format(one, other_one), at, true)
					or mask:find(("? %s : %s"):format(other_one, one), at, true)
					or mask:find((") %s = %s;"):format(one, other_one), at, true)
					or mask:find((") %s = %s;"):format(other_one, one), at, true)
				if not is_least and not matches(left .. right, NO_BOUND) then
					add.site("bound", n, line:sub(1, at) .. other .. line:sub(at + 1 + #operator))
				end
			end
			for at, stop in mask:gmatch("() [%+%-] 1()%f[^%w_]") do
				add.site("bound", n, line:sub(1, at - 1) .. line:sub(stop))
			end
			-- statements: alone on a line, or behind an if
			local starts = open == 0 and balanced
			local head, tail = "", s
			local from, to = mask:find("^\t+if %b() ()")
			if not from then from, to = mask:find("^\t+else ") end
			if from then head, tail = line:sub(1, to), mask:sub(to + 1) end
			tail = trim(tail)
			if starts and is_statement(tail) then
				local lock = matches(tail, LOCKS)
				if lock or not matches(tail, NO_DROP) then
					local indent = head ~= "" and head or line:match("^\t+")
					add.site(lock and "lock" or "drop", n, indent .. ";")
				end
				local following = masks[n + 1] and trim(masks[n + 1]) or ""
				local alone = head == "" and not before:find("%)$") and not before:find("^else$")
				if alone and is_statement(following)
					and line:match("^\t+") == lines[n + 1]:match("^\t+") and s:find("%(") and following:find("%(")
					and select(2, following:gsub("%(", "")) == select(2, following:gsub("%)", ""))
					and not (matches(s, NO_SWAP) and matches(following, NO_SWAP)) and not s:find("^va_") and not following:find("^va_")
					and depend(s, following) then
					add.site("swap", n, lines[n + 1] .. "\n" .. line, n + 1)
				end
			end
		end
		open = open + select(2, mask:gsub("%(", "")) - select(2, mask:gsub("%)", ""))
	end
end

-- ---- Lua ----

local function is_lua_statement(s)
	if s:find("^local ") or s:find("^return") or s:find("function") or s:find("[{%(,]$") then return false end
	return s:find("^[%a_][%w_%.:]*%b()$") or s:find("^[%a_][%w_%.%[%]]* = .+$") or s:find("^[%a_][%w_%., %[%]]* = .+$")
end

local function lua_sites(lines, masks, add)
	local depth = 0
	for n, mask in ipairs(masks) do
		add.within = mask:match("^local function ([%w_]+)") or mask:match("^function ([%w_%.:]+)") or add.within
		local line, s = lines[n], trim(mask)
		local _, opened = mask:gsub("[{%(]", "")
		local _, closed = mask:gsub("[}%)]", "")
		if mask:find("^\t") and depth == 0 and opened == closed then
			local from, condition, to = mask:match("if ()(.-)() then")
			if from and condition ~= "" then
				add.site("negate", n, line:sub(1, from - 1) .. "not (" .. line:sub(from, to - 1) .. ")" .. line:sub(to))
			end
			for at, word in mask:gmatch("() (%a+)%f[%s]") do
				if word == "and" or word == "or" then
					add.site("negate", n, line:sub(1, at) .. (word == "and" and "or" or "and") .. line:sub(at + 1 + #word))
				end
			end
			for at, operator in mask:gmatch("() ([<>]=?) ") do
				local other = #operator == 1 and operator .. "=" or operator:sub(1, 1)
				add.site("bound", n, line:sub(1, at) .. other .. line:sub(at + 1 + #operator))
			end
			for at, stop in mask:gmatch("() [%+%-] 1()%f[^%w_]") do
				add.site("bound", n, line:sub(1, at - 1) .. line:sub(stop))
			end
			if is_lua_statement(s) then
				add.site("drop", n, line:match("^\t+") .. ";")
				local following = masks[n + 1] and trim(masks[n + 1]) or ""
				if is_lua_statement(following) and line:match("^\t+") == lines[n + 1]:match("^\t+") and s:find("%(") and following:find("%(") then
					add.site("swap", n, lines[n + 1] .. "\n" .. line, n + 1)
				end
			end
		end
		depth = depth + opened - closed
	end
end

-- FNV-1a
function M.hash(text)
	local h = 2166136261
	for n = 1, #text do
		h = (h ~ text:byte(n)) * 16777619 & 0xffffffff
	end
	return h
end

-- What is told of a change: on one line, whatever the indentation.
function M.one_line(text)
	return (text:gsub("^%s+", ""):gsub("%s*\n%s*", " ⏎ "):gsub("%s+$", ""))
end

-- All sites of a source file, in the order of a seed. Each one's id, "on_stop:drop:1a2b3c4d", is made of its function, the rule and the
-- text: it is the same when the function moves to another line or file.
function M.sites(name, source, seed)
	local is_lua = name:find("%.lua$") ~= nil
	local lines, masks = lines_of(source), lines_of(masked(source, is_lua))
	local sites, seen = {}, {}
	local add = {within = ""}
	function add.site(rule, line, text, last)
		local before = table.concat(lines, "\n", line, last or line)
		local what = ("%s\0%s\0%s\0%s"):format(add.within, rule, M.one_line(before), M.one_line(text))
		seen[what] = (seen[what] or 0) + 1
		local hash = M.hash(what .. "\0" .. seen[what])
		sites[#sites + 1] = {
			id = ("%s:%s:%08x"):format(add.within, rule, hash), order = M.hash(("%d\0%08x"):format(seed, hash)),
			rule = rule, line = line, last = last or line, before = before, after = text, text = text,
		}
	end
	if is_lua then lua_sites(lines, masks, add) else c_sites(lines, masks, add) end
	table.sort(sites, function(a, b)
		return a.order < b.order or a.order == b.order and a.id < b.id
	end)
	return sites
end

-- The file with a site's lines replaced.
function M.apply(source, site)
	local lines = lines_of(source)
	local out = {}
	for n, line in ipairs(lines) do
		if n == site.line then out[#out + 1] = site.text
		elseif n < site.line or n > site.last then out[#out + 1] = line end
	end
	return table.concat(out, "\n") .. "\n"
end

return M
