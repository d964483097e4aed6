-- dead.lua - `vigia dead`: the dead letters of a store: to list, show, retry and drop.

local util = require("vigia.cli.util")

local M = {}

M.summary = "Show, retry or drop dead letters."
M.description = [[
A watcher with retry_strategy = "dead_letter" puts an event aside after max_retries attempts.
    list [WATCHER]     the letters as NDJSON, one a line, without traceback and object
    show WATCHER N     the letter of event N, with its traceback and the event
    retry WATCHER N    handle the event again, before new events; a stopped watcher does it when started
    drop WATCHER N     remove the letter
retry and drop take --all in place of N, for all letters of WATCHER. The exit status is 1 if the
letter does not exist.]]

local does = {}

function M.define(command)
	util.define_store(command)
	command:argument("action"):args("?"):argname("ACTION"):choices({"list", "show", "retry", "drop"})
		:description("list (the default), show, retry or drop.")
	command:argument("watcher"):args("?"):argname("WATCHER"):description("The id of a watcher.")
	command:argument("seq_num"):args("?"):argname("N"):convert(util.whole_number("N", 1)):description("The number of an event.")
	command:flag("--all"):description("Retry or drop all letters of WATCHER.")
	command:flag("--json"):description("Show the letter as one JSON object.")
	command:option("--limit"):argname("N"):convert(util.whole_number("--limit", 0)):overwrite(false)
		:description("List at most this many (default: 0, all).")
end

-- Raise: the watcher has no letters, or not this one. Another id may be meant.
local function fail_missing(store, watcher, seq_num)
	local letters, names, known = util.check(store:dead_letters()), {}, {}
	for _, letter in ipairs(letters) do
		if not known[letter.watcher] then
			known[letter.watcher], names[#names + 1] = true, letter.watcher
		end
	end
	if known[watcher] and seq_num then
		util.fail("watcher '%s' has no dead letter of event %d", util.printable(watcher), seq_num)
	end
	util.fail("watcher '%s' has no dead letters%s", util.printable(watcher), util.did_you_mean(watcher, names))
end

-- What a letter has beside the event itself.
local function fields_of(letter)
	return {{"watcher", letter.watcher}, {"seq_num", letter.seq_num}, {"operation", letter.event.operation},
		{"object_type", letter.event.object_type}, {"attempts", letter.attempts}, {"timestamp", letter.timestamp}, {"retry", letter.retry},
		{"error", letter.error}}
end

function does.list(args)
	local store <close> = util.open_store(args, {readonly = true, create = false})
	for _, letter in ipairs(util.check(store:dead_letters({watcher = args.watcher, limit = args.limit}))) do
		util.write(util.json_object(fields_of(letter)), "\n")
	end
end

local function indented(text)
	return (text:gsub("[^\n]+", util.printable):gsub("\n", "\n    "))
end

function does.show(args)
	local store <close> = util.open_store(args, {readonly = true, create = false})
	local letter = util.check(store:dead_letters({watcher = args.watcher, from = args.seq_num, limit = 1}))[1]
	if not letter or letter.seq_num ~= args.seq_num then
		fail_missing(store, args.watcher, args.seq_num)
	end
	local event = util.check(require("vigia").to_json(letter.event))
	if args.json then
		local fields = fields_of(letter)
		fields[#fields + 1] = letter.traceback and {"traceback", letter.traceback}
		util.write((util.json_object(fields):gsub("}$", "")), ',"event":', event, "}\n")
		return
	end
	local lines = {
		{"watcher", util.printable(letter.watcher)},
		{"attempts", ("%d"):format(letter.attempts)},
		{"failed", os.date("!%Y-%m-%d %H:%M:%S UTC", letter.timestamp // 1000000000)},
		{"retry", letter.retry and "requested" or "no"},
		{"error", indented(letter.error)},
		{"event", event},
	}
	if letter.traceback then
		table.insert(lines, 6, {"traceback", indented((letter.traceback:gsub("^stack traceback: ", "")))})
	end
	for _, line in ipairs(lines) do
		util.write(("%-9s %s\n"):format(line[1], line[2]))
	end
end

-- Retry or drop: the method of the store, and what to say of the letters.
local function change(args, method, text)
	local store <close> = util.open_store(args, {create = false})
	local count = util.check(store[method](store, args.watcher, args.seq_num))
	if count == 0 then
		fail_missing(store, args.watcher, args.seq_num)
	end
	util.write(text:format(util.count(count, "dead letter"), util.printable(args.watcher)), "\n")
end

function does.retry(args)
	change(args, "retry_dead_letter", "%s of watcher '%s' to be retried")
end

function does.drop(args)
	change(args, "drop_dead_letter", "%s of watcher '%s' dropped")
end

local function check_words(args, action)
	local changes = action == "retry" or action == "drop"
	if args.all and not changes then
		util.usage("--all is for retry and drop")
	elseif args.json and action ~= "show" then
		util.usage("--json is for show%s", action == "list" and "; list prints JSON" or "")
	elseif args.limit and action ~= "list" then
		util.usage("--limit is for list")
	elseif action == "list" then
		if args.seq_num then
			util.usage("list takes no number: use `show` for one letter")
		end
	elseif not args.watcher then
		util.usage("WATCHER is missing: %s WATCHER N", action)
	elseif args.all and args.seq_num then
		util.usage("--all and a number exclude each other")
	elseif not args.seq_num and not args.all then
		util.usage("N is missing: the number of the event%s", changes and (", or --all for all letters of '%s'"):format(
			util.printable(args.watcher)) or "")
	end
	if args.watcher and (#args.watcher < 1 or #args.watcher > 255) then
		util.usage("WATCHER must have 1 to 255 bytes")
	end
end

function M.run(args)
	local action = args.action or "list"
	check_words(args, action)
	return does[action](args)
end

return M
