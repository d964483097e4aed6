-- lua_watcher.lua - one watcher of a store that is written in Lua: carries out what core/stepper decides, and tells it the outcome.

local core = require "vigia.core"
local printable <const> = require("vigia.text").printable

local M = {}

local POLL <const> = 0.1 -- seconds between two looks into a store that does not wait by itself
local POLL_TIMEOUT <const> = 1 -- how long such a store may wait, so that "batch" progress is not held up by it
local TURN <const> = 32 -- events, then the others have theirs

-- Store -> id -> the watcher that runs it: one at a time, in all registries of this Lua state.
local owners = setmetatable({}, {__mode = "k"})

local Watcher = {}
Watcher.__index = Watcher

local Public = {} -- what people see
local class = {__index = Public, __name = "vigia.Watcher"}

-- A method was called on something wrong: the words of luaL_argerror. Called by the function that the method begins with.
function M.bad_self(problem)
	local called = debug.getinfo(3, "n")
	local format = called.namewhat == "method" and "calling '%s' on bad self (%s)" or "bad argument #1 to '%s' (%s)"
	error(format:format(called.name or "?", problem), 4)
end

local function check(self)
	if getmetatable(self) ~= class then M.bad_self("vigia.Watcher expected, got " .. type(self)) end
	if self.watcher.registry.ended then M.bad_self "the watcher's registry is closed" end
	return self.watcher
end

---- small things ----

-- The seconds that the options of a stop tell; they are checked as in C, all that is wrong in one error.
function M.timeout(options, method)
	if options == nil then return core.options("stop")[1].default end
	if type(options) ~= "table" then
		error(("bad argument #1 to '%s' (stop options: table expected, got %s)"):format(method, type(options)), 3)
	end
	local problems = {}
	for name, value in pairs(options) do
		if name ~= "timeout" then
			problems[#problems + 1] = ("unknown option '%s'; there is only timeout"):format(tostring(name))
		elseif type(value) ~= "number" or value ~= value or value < 0 then
			problems[#problems + 1] = "timeout must be a number of seconds, 0 or more"
		end
	end
	if problems[1] then
		error(("bad argument #1 to '%s' (stop options: %s)"):format(method, table.concat(problems, "; ")), 3)
	end
	return math.min(options.timeout or core.options("stop")[1].default, 9e9)
end

-- The argument as an integer from 0 on.
local function check_number(n, method)
	local whole = type(n) == "number" and math.tointeger(n)
	if not whole then
		local got = type(n) == "number" and "the float " .. n or type(n)
		error(("bad argument #1 to '%s' (n: integer expected, got %s)"):format(method, got), 3)
	elseif whole < 0 then
		error(("bad argument #1 to '%s' (n: must be 0 or more, got %d)"):format(method, whole), 3)
	end
	return whole
end

local function text_of(value)
	local ok, text = pcall(tostring, value)
	return ok and text or ("(an error object: %s whose __tostring fails)"):format(type(value))
end

-- The last number that an iterator does not want.
local function before(iterator)
	local n = iterator.seq_num
	return iterator.kind == "at_sequence_number" and n > 0 and n - 1 or n
end

local function set_of(list)
	if type(list) ~= "table" or #list == 0 then return nil end
	local set = {}
	for _, name in ipairs(list) do set[name] = true end
	return set
end

local function is_error(value)
	return type(value) == "table" and type(value.code) == "string"
end

function Watcher:error(code, format, ...)
	return core.new_error{code = code, message = format:format(...), watcher_id = self.id}
end

-- Call a method of the store: its results, or nil and an error object whatever it raised or answered.
function Watcher:call(method, ...)
	local store = self.registry.store
	local results = table.pack(pcall(store[method], store, ...))
	if results[1] and results[2] then return table.unpack(results, 2, results.n) end
	local err = results[1] and results[3] or results[2]
	if is_error(err) then return nil, err end
	local message = ("%s: %s"):format(method, not err and "the store answered nothing" or text_of(err))
	return nil, core.new_error{code = "watcher_error", message = message, cause = err, watcher_id = self.id}
end

-- The same for a method that answers a number of an event: an error if it is none.
function Watcher:number(method, ...)
	local n, err = self:call(method, ...)
	if n == nil then return nil, err end
	local whole = type(n) == "number" and math.tointeger(n)
	if whole and whole >= 0 then return whole end
	return nil, self:error("watcher_error", "%s: the store answered %s, not the number of an event", method,
		type(n) == "string" and ("the string '%s'"):format(printable(n)) or type(n) == "number" and tostring(n) or "a " .. type(n))
end

-- What the end of a watcher or a store does to what is under way is no failure to be told without a log function.
local function is_end(err)
	local cause = type(err.cause) == "table" and rawget(err.cause, "code")
	for _, code in ipairs{"stopping", "interrupted", "store_closed"} do
		if err.code == code or cause == code then return true end
	end
	return false
end

function Watcher:say(err, format, ...)
	local registry = self.registry
	if is_end(err) then return registry:log("warn", format, ...) end
	registry:failure(self.stepper, "warn", format, ...)
end

function Watcher:note(err, doing)
	self.last_error = err
	self:say(err, "watcher '%s': %s: %s", self.shown, doing, text_of(err))
end

-- When an event that failed is tried again, on the watcher's clock and as a time of day.
function Watcher:next_attempt()
	local action, state = self.action, self.stepper:state()
	if state ~= "running" then return "the next one after a start" end
	if action.kind ~= "wait" then return "the next one at once" end
	local now, by_hand = core.now(self.registry.host)
	local wait = math.max(action.until_ns - now, 0)
	local at = by_hand and "" or os.date("!, at %Y-%m-%dT%H:%M:%SZ", (core.wall_time() + wait) // 1000000000)
	local wait_s = wait / 1e9
	return ((wait_s < 1000 and "the next one in %.3g s" or "the next one in %.0f s") .. "%s"):format(wait_s, at)
end

-- Where a handler failed that raised nothing: where it is.
local function place_of(handler)
	local info = debug.getinfo(handler, "S")
	return info.what == "C" and "in a function of C" or ("in the function at %s:%d"):format(info.short_src, info.linedefined)
end

---- life ----

function M.new(registry, id, handler, options)
	local stepper, settings = core.stepper(options)
	local w = setmetatable({
		registry = registry, id = id, shown = printable(id), handler = handler, stepper = stepper, settings = settings,
		on_error = options and options.on_error, action = {kind = "none"},
		last_listen_time = 0, last_processed_event_time = 0,
	}, Watcher)
	local filter = options and options.filter
	if type(filter) == "table" then
		w.types, w.operations = set_of(filter.object_types), set_of(filter.operations)
		w.lists = {object_types = table.move(filter.object_types or {}, 1, #(filter.object_types or {}), 1, {}),
			operations = table.move(filter.operations or {}, 1, #(filter.operations or {}), 1, {})}
	end
	w.public = setmetatable({watcher = w}, class)
	w.context = setmetatable({}, {__name = "vigia.Context", __index = function(_, name)
		if name == "attempt" then return w.action.attempt end
		if name == "stopping" then return w.stepper:state() == "stopping" end
		if name == "watcher" then return w.public end
		if name == "store" then return registry.store end
	end})
	return w
end

function Watcher:is_active()
	local state = self.stepper:state()
	return state == "running" or state == "stopping"
end

-- Nothing of it is under way.
function Watcher:rests()
	return not self:is_active() and self.action.kind ~= "stopped"
end

-- An ephemeral watcher that was asked to stop and has leaves its registry; not one that an error stopped: it shall be found.
function Watcher:leave()
	if not (self.asked and self.settings.ephemeral and self:rests()) or self.registry.watchers[self.id] ~= self then return end
	self.asked = nil
	local _, stuck = self.stepper:trouble()
	if stuck ~= 0 then return end
	self.registry.watchers[self.id] = nil
	self.detached = true
end

-- An input from here or outside: what it brings replaces what was to be done, unless that is under way.
function Watcher:step(kind, fields)
	fields = fields or {}
	fields.kind, fields.now, fields.random = kind, (core.now(self.registry.host)), math.random(0)
	local action = self.stepper:step(fields)
	return action
end

function Watcher:outcome(kind, fields)
	self.action = self:step(kind, fields)
end

-- Where it starts without a checkpoint: resolved now, also if it is started later.
function Watcher:prepare()
	local latest, err = self:number("get_latest_event_num")
	if not latest then return nil, err end
	local oldest
	oldest, err = self:number("get_oldest_event_num")
	if not oldest then return nil, err end
	local start = self.settings.initial_event_iterator
	if start.kind == "trim_horizon" then
		start = core.after_sequence_number(oldest > 0 and oldest - 1 or latest)
	elseif start.kind == "latest" then
		start = core.after_sequence_number(latest)
	elseif before(start) > latest then
		self.registry:log("warn", "watcher '%s': %s is beyond the last event %d: it starts after that one", self.shown, tostring(start), latest)
		start = core.after_sequence_number(latest)
	end
	self.start = start
	return true
end

function Watcher:own()
	local store = self.registry.store
	owners[store] = owners[store] or {}
	local owner = owners[store][self.id]
	if owner and owner ~= self then
		return nil, self:error("watcher_owned", "watcher '%s' is run by another registry of this program", self.shown)
	end
	owners[store][self.id] = self
	return true
end

function Watcher:disown()
	local owned = owners[self.registry.store]
	if owned and owned[self.id] == self then owned[self.id] = nil end
end

-- The checkpoint; nil without an error if there is none. One beyond the last event is drawn back: events to come must not be skipped.
function Watcher:checkpoint_now()
	local checkpoint, err = self:number("get_checkpoint", self.id)
	if not checkpoint then
		if err.code == "checkpoint_not_found" then return nil end
		return nil, err
	end
	local latest
	latest, err = self:number("get_latest_event_num")
	if not latest then return nil, err end
	if checkpoint <= latest then return checkpoint end
	self.registry:log("warn", "watcher '%s': its checkpoint %d is beyond the last event %d: it starts after that one", self.shown,
		checkpoint, latest)
	local ok
	ok, err = self:call("store_checkpoint", self.id, latest)
	if not ok then return nil, err end
	return latest
end

function Watcher:launch()
	local next_iterator = self.sought or self.start
	self.asked = nil
	if self.settings.ephemeral then
		if not self.sought and self.settings.initial_event_iterator.kind == "trim_horizon" then
			local ok, err = self:prepare() -- anew: the oldest event may be another one
			if not ok then return nil, err end
			next_iterator = self.start
		end
	else
		local ok, err = self:own()
		if not ok then return nil, err end
		local checkpoint
		checkpoint, err = self:checkpoint_now()
		if err then
			self:disown()
			return nil, err
		end
		if checkpoint then next_iterator = core.after_sequence_number(checkpoint) end
	end
	local done = before(next_iterator)
	self.stop_error = nil
	self.stepper:progress(done)
	local action = self:step("start", {next = next_iterator, seq_num = done, sought = self.sought ~= nil})
	if action.kind ~= "none" then self.action = action end
	local ok, err = self:spawn()
	if ok and self.registry.stops > 0 then self:ask_to_stop() end
	return ok, err
end

function Watcher:spawn()
	local task, err = core.task(self.registry.host, function() self:drive() end, function(text) self:broken(text) end)
	if not task then return nil, err end
	self.task = task
	return true
end

-- The coroutine is gone: the handler or the store yielded by itself, other code closed it, or memory ran out. A new one goes on.
function Watcher:broken(text)
	local kind = self.action.kind
	self.busy, self.writing, self.waiting = nil, false, false
	if kind == "handle" then
		self:failed(text)
	elseif kind == "read" then
		self:fetch_failed(self:error("watcher_error", "%s", text))
	elseif kind == "save" then
		self:note(self:error("watcher_error", "%s", text), "cannot save its checkpoint")
		self:outcome("save_failed")
	else
		self:note(self:error("watcher_error", "%s", text), "broke down")
		if kind == "listen" then self:outcome("wake") end -- what woke it is not told again
	end
	if self:is_active() or self.action.kind == "stopped" then self:spawn() end
end

---- the actions ----

function Watcher:fetch_failed(err)
	if err.code == "store_closed" then self.registry.closed = err end
	self:note(err, "cannot fetch events")
	self:outcome("fetch_failed")
end

local function wanted(self, event)
	return (not self.types or self.types[event.object_type]) and (not self.operations or self.operations[event.operation])
end

-- Events that were removed before it saw them (contract W20).
function Watcher:tell_gap(first)
	local gap, stuck = self.stepper:trouble()
	if gap == 0 then return end
	local text = ("%d events were removed before it saw them, %d to %d"):format(gap, first, first + gap - 1)
	if stuck == 0 then
		self.registry:log("warn", "watcher '%s': missed events: %s", self.shown, text)
		return
	end
	local err = self:error("sequence_expired", "%s; seek to a later one, or on_gap = \"continue\", goes on", text)
	err.seq_num = first
	self:note(err, "stops")
end

-- How many numbers from `first` on are there no more. Asked only where the answer does not begin with `first`.
function Watcher:count_gone(first, answer)
	local event = answer.events[1]
	if event and event.seq_num == first then return 0 end
	local oldest = self:number("get_oldest_event_num")
	return oldest and oldest > first and oldest - first or 0
end

-- Bytes that cannot be decoded: an event that fails for good, as for the other drivers.
local function damaged(err)
	return (err.code == "event_damaged" or err.code == "deserialization_error") and math.type(err.seq_num) == "integer"
end

function Watcher:fetch(from, timeout)
	local answer, err = self:call("get_events", {
		event_iterator = from, limit = self.settings.batch_size, filter = self.lists, timeout = timeout, watcher_id = self.id})
	if not answer and damaged(err) and err.seq_num > before(from) then
		return {events = {{seq_num = err.seq_num, damage = err}}, next_event_iterator = core.after_sequence_number(err.seq_num)}
	end
	if answer and (type(answer) ~= "table" or type(answer.events) ~= "table") then
		return nil, self:error("watcher_error", "get_events: the store answered something else than {events, next_event_iterator}")
	end
	return answer, err
end

-- What the store answered to a read that began with `first`; raises if it is not what a store may answer.
function Watcher:take(first, answer)
	local events, seqs, next_iterator = {}, {}, answer.next_event_iterator
	for index, event in ipairs(answer.events) do
		local seq_num = type(event.seq_num) == "number" and math.tointeger(event.seq_num)
		if not seq_num then error(("event %d of the answer has no number"):format(index), 0) end
		event.seq_num = seq_num
		if event.damage or wanted(self, event) then
			events[#events + 1] = event
			seqs[#seqs + 1] = event.seq_num
		end
	end
	local gone = self:count_gone(first, answer)
	if gone > 0 and before(next_iterator) < first + gone - 1 then next_iterator = core.after_sequence_number(first + gone - 1) end
	self.busy = nil
	local action = self:step("batch", {next = next_iterator, seqs = seqs, gone = gone})
	self.events, self.action, self.registry.closed = events, action, nil
end

function Watcher:read()
	local from = self.action.from
	local first = before(from) + 1
	self.busy = "read"
	local answer, err = self.ahead, self.ahead_error
	if (answer or err) and self.ahead_from == from then
		self.ahead, self.ahead_error = nil, nil
	else
		answer, err = self:fetch(from, 0)
	end
	local ok, problem
	if answer then ok, problem = pcall(self.take, self, first, answer) end
	self.busy = nil
	if not answer then return self:fetch_failed(err) end
	if not ok then return self:fetch_failed(self:error("watcher_error", "get_events: %s", text_of(problem))) end
	self.last_listen_time = core.wall_time()
	self:tell_gap(first)
end

-- A value that was raised or answered by the handler, or the error of an event whose bytes are bad.
function Watcher:failed(value, trace, damage)
	local event = self.events[self.action.index]
	local err = damage or core.new_error{
		code = "handler_error", message = text_of(value), cause = value, traceback = trace, watcher_id = self.id, seq_num = event.seq_num}
	if self.on_error then
		local ok, problem = pcall(self.on_error, err, not damage and event or nil, self.context)
		if not ok then
			self.registry:failure(self.stepper, "error", "watcher '%s': on_error failed: %s", self.shown, text_of(problem))
		end
	end
	self.last_error = err
	local _, _, skipped = self.stepper:trouble()
	local attempts = self.action.attempt
	self:outcome("failed", {permanent = damage ~= nil})
	local _, stuck, skipped_now = self.stepper:trouble()
	local over = skipped_now > skipped or stuck ~= 0
	self:say(err, "watcher '%s': event failed: %s (event %d, attempt %d, %s)%s", self.shown, text_of(err), event.seq_num, attempts,
		over and "the last one" or self:next_attempt(), damage and "" or " " .. (trace and trace:gsub("\n\t", " ") or place_of(self.handler)))
	if skipped_now > skipped then
		self.registry:log("error", "watcher '%s': gave event %d up%s", self.shown, event.seq_num,
			damage and ", whose bytes are bad" or (" after %d attempts"):format(attempts))
	elseif stuck ~= 0 then
		self.registry:log("error", "watcher '%s': stops at event %d, whose bytes are bad; on_damage = \"skip\" would pass it", self.shown, stuck)
	end
end

local function trace(value)
	return {value = value, traceback = debug.traceback(nil, 2)}
end

local function look_and_handle(self, event)
	if self.settings.where and not self.settings.where(event) then return "dropped", true end
	return "handled", core.outcome(self.handler(event, self.context))
end

function Watcher:handle()
	local event = self.events[self.action.index]
	if event.damage then return self:failed(nil, nil, event.damage) end
	self.busy = "handle"
	core.unhook()
	local ok, how, good, reason = xpcall(look_and_handle, trace, self, event)
	core.unhook()
	self.busy = nil
	core.cancel(self.task, false)
	if not ok then
		self:failed(how.value, how.traceback)
	elseif not good then
		self:failed(reason)
	else
		if how == "handled" then self.last_processed_event_time = event.timestamp end
		self:outcome("handled", {dropped = how == "dropped"})
	end
	self:offer_progress()
end

-- Store a checkpoint, one at a time for this watcher.
function Watcher:write(n)
	self.writing = true
	local ok, err = self:call("store_checkpoint", self.id, n)
	self.writing = false
	core.wake(self.registry.host)
	return ok, err
end

function Watcher:save()
	local n = self.action.seq_num
	self.busy = "save"
	while self.writing and core.inside(self.registry.host) do core.wait(math.huge) end
	local ok, err = self:write(n)
	self.busy = nil
	if not ok then self:note(err, "cannot save its checkpoint") end
	self:outcome(ok and "saved" or "save_failed")
	if not ok and self.action.kind == "stopped" then self.stop_error = err end -- there is no other try
	return ok, err
end

-- Progress that "batch" saves at most once in checkpoint_interval (W10).
function Watcher:offer_progress()
	if self.saver or self.settings.ephemeral or self.settings.checkpoint ~= "batch" then return end
	local done, saved = self.stepper:progress()
	if done <= saved then return end
	self.saver = core.task(self.registry.host, function()
		local interval = self.registry.store.checkpoint_interval
		core.sleep(type(interval) == "number" and interval or 1)
		self:save_progress()
		self.saver = nil
	end, function(text)
		self.saver, self.writing = nil, false
		self:note(self:error("watcher_error", "%s", text), "cannot save its checkpoint")
	end)
end

function Watcher:save_progress()
	local done, saved = self.stepper:progress()
	if done <= saved or self.writing or self.busy == "save" or self.stepper:state() ~= "running" then return end
	local ok, err = self:write(done)
	if not ok then return self:note(err, "cannot save its checkpoint") end
	if self.busy ~= "save" then self.stepper:progress(done) end
end

-- Until an event may have come. A wrapper's store is woken by the one below; another waits by itself, or is asked again soon.
function Watcher:listen()
	local action, host = self.action, self.registry.host
	self:offer_progress()
	self.waiting = true
	if self.registry.waits then
		core.wait(math.huge)
	else
		local begun = core.now(host)
		self.ahead, self.ahead_error = self:fetch(action.from, POLL_TIMEOUT)
		self.ahead_from = action.from
		local answer = self.ahead
		if answer and answer.next_event_iterator == action.from and self.action == action then
			self.ahead = nil
			if core.now(host) - begun < POLL * 1e9 then core.wait(POLL) end
		end
		core.cancel(self.task, false)
	end
	self.waiting = false
	if self.action == action then self:outcome("wake") end
end

function Watcher:pause()
	local action, host = self.action, self.registry.host
	local left = action.until_ns - core.now(host)
	if left > 0 then core.wait(left / 1e9) end
	if self.action == action then self:outcome("tick") end
end

function Watcher:drive()
	local turn = 0
	while true do
		local kind = self.action.kind
		if self.busy then
			core.wait(math.huge) -- a seek from outside is being saved
		elseif kind == "read" then
			self:read()
		elseif kind == "handle" then
			turn = turn + 1
			if turn % TURN == 0 then
				local action = self.action
				core.wait(0)
				if self.action == action then self:handle() end
			else
				self:handle()
			end
		elseif kind == "save" then
			self:save()
		elseif kind == "listen" then
			self:listen()
		elseif kind == "wait" then
			self:pause()
		elseif kind == "stopped" then
			self.action, self.ahead, self.events = {kind = "none"}, nil, nil
			self:disown()
			self:leave()
			core.wake(self.registry.host)
			return
		elseif not self:is_active() then
			return
		else
			core.wait(math.huge)
		end
	end
end

---- wishes from outside ----

function Watcher:tell(kind, fields)
	local action = self:step(kind, fields)
	if action.kind ~= "none" then
		self.action = action
	elseif not self.busy and self.action.kind == "handle" then
		self:outcome("deferred")
	elseif not self.busy and self.action.kind == "read" then
		self:outcome("batch", {next = self.action.from, seqs = {}})
	end
	if self.task then
		if self.waiting or (kind == "stop" and self.busy ~= "save") then core.cancel(self.task, true) end
		core.wake(self.registry.host)
	end
end

function Watcher:ask_to_stop()
	if self.stepper:state() ~= "stopped" then self.asked = true end
	self:tell("stop")
	if self.action.kind == "stopped" and not self.task then self.action = {kind = "none"} end
	self:leave()
end

-- Refuses numbers beyond the last event.
function Watcher:in_range(n, what)
	local latest, err = self:number("get_latest_event_num")
	if not latest then return nil, err end
	if n <= latest then return true end
	return nil, self:error("position_out_of_range", "watcher '%s' cannot %s %d: the last event is %d", self.shown, what, n, latest)
end

function Watcher:state_error(what)
	local state = self.removed and "removed from its registry" or (self.retired or self.detached) and "replaced by a newer one of its id"
		or self.stepper:state()
	return nil, self:error("invalid_state", "watcher '%s' cannot be %s: it is %s", self.shown, what, state)
end

---- the methods people see ----

function Public:id()
	return check(self).id
end

function Public:stats()
	local w = check(self)
	local stats = w.stepper:stats()
	stats.id, stats.last_error, stats.stop_error = w.id, w.last_error, w.stop_error
	stats.last_listen_time, stats.last_processed_event_time = w.last_listen_time, w.last_processed_event_time
	if stats.next_event_iterator.kind == "trim_horizon" then stats.next_event_iterator = w.start end
	if not w.settings.ephemeral then
		local checkpoint = w:number("get_checkpoint", w.id)
		stats.checkpoint_iterator = checkpoint and core.after_sequence_number(checkpoint)
		if checkpoint and stats.state == "idle" then stats.next_event_iterator = stats.checkpoint_iterator end -- where it will begin
	end
	local latest = w:number("get_latest_event_num") or 0
	stats.lag = math.max(0, latest - before(stats.next_event_iterator))
	return stats
end

function Public:checkpoint(n)
	local w = check(self)
	n = check_number(n, "checkpoint")
	if w.settings.ephemeral then return nil, w:error("watcher_ephemeral", "watcher '%s' is ephemeral: it has no checkpoint", w.shown) end
	if w.retired or w.removed then return w:state_error("checkpointed") end
	local ok, err = w:in_range(n, "save checkpoint")
	if not ok then return nil, err end
	while w.writing and core.inside(w.registry.host) do core.wait(math.huge) end
	local saved
	saved, err = w:number("get_checkpoint", w.id)
	if saved and n <= saved then return true end
	if not saved and err.code ~= "checkpoint_not_found" then return nil, err end
	ok, err = w:write(n)
	if not ok then return nil, err end
	local _, known = w.stepper:progress()
	if n > known then w.stepper:progress(n) end
	return true
end

function Public:seek_to_offset(n)
	local w = check(self)
	n = check_number(n, "seek_to_offset")
	if w.retired or w.removed then return w:state_error("moved") end
	local ok, err = w:in_range(n, "seek to")
	if not ok then return nil, err end
	if w.settings.ephemeral then w.sought = core.after_sequence_number(n) end
	local rests = not w:is_active() and not w.settings.ephemeral
	if rests then
		ok, err = w:own()
		if not ok then return nil, err end
	end
	w:tell("seek", {seq_num = n})
	-- The save is made here, so that the answer tells of it.
	ok = true
	while ok and w.action.kind == "save" and not w.busy do ok, err = w:save() end
	if rests then w:disown() end
	if w.task then core.wake(w.registry.host) end
	if not ok then return nil, err end
	return true
end

function Public:set_handler(handler)
	local w = check(self)
	if type(handler) ~= "function" then
		error("bad argument #1 to 'set_handler' (handler: function expected, got " .. type(handler) .. ")", 2)
	end
	if w.handler then return nil, w:error("handler_exists", "watcher '%s' has a handler", w.shown) end
	w.handler = handler
	return true
end

function Public:start()
	local w = check(self)
	if w.retired or w.removed or w:is_active() then return w:state_error("started") end
	local other = w.registry.watchers[w.id]
	if w.detached and other then return w:state_error("started") end
	if not w.handler then return nil, w:error("no_handler", "watcher '%s' has no handler: set_handler() first", w.shown) end
	local ok, err = w:launch()
	if ok and w.detached then
		w.detached = nil
		w.registry.watchers[w.id] = w
	end
	return ok, err
end

function Public:stop(options)
	local w = check(self)
	local timeout = M.timeout(options, "stop")
	w:ask_to_stop()
	if w.retired or w.removed or w.detached then return true end
	local _, me = core.inside(w.registry.host)
	if me and me == w.task then return true end -- acts when the handler returns
	local asking = me and w.registry:of_task(me) or {}
	if w.awaits == asking then return false end -- its handler waits for the one that asks: it cannot stop before
	asking.awaits = w
	local stopped = w.registry:wait_for(function() return not w:is_active() and w.action.kind ~= "stopped" end, timeout)
	asking.awaits = nil
	return stopped
end

function Public:reload()
	local w = check(self)
	return nil, w:error("not_supported", "watcher '%s' has a function as its handler: only a script can be loaded anew", w.shown)
end

class.__tostring = function(self) return "vigia.Watcher: " .. self.watcher.id end

return M
