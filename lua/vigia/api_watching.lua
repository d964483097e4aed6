---@meta
-- api_watching.lua - the API of registries, watchers and handler scripts. A part of api.lua.

---Watchers by id, over one store.
---@class vigia.Registry
local Registry = {}

---@alias vigia.Predicate fun(event: vigia.Event): boolean

---@alias vigia.LaneKey fun(event: vigia.Event): string|number|boolean|nil

---@alias vigia.Handler fun(event: vigia.Event, ctx: vigia.Context): any
---A handler fails if it raises an error, or returns nil or false and a message, or a function or a thread. Anything else is a success.

---A handler's second argument.
---@class vigia.Context
---@field attempt integer 1 for the first try
---@field watcher vigia.Watcher
---@field store vigia.Store
---@field stopping boolean
---@field dead_letter? vigia.DeadLetter the event is a dead letter that is handled again
---@field tx? vigia.Transaction of a transactional watcher: committed with its progress; what a failed event wrote is taken back

---Options of registry:watch.
---@class vigia.WatchOptions
---@field initial_event_iterator? vigia.Iterator Where to start without a checkpoint (default: trim horizon).
---@field filter? vigia.Filter|vigia.Predicate Which events to handle: a table of object_types, operations and where
---(places in the object, each with the values wanted there), or a function.
---@field where? vigia.Predicate A function (event) -> boolean, called for events that pass the filter.
---@field batch_size? integer Number of events fetched at a time, and most that a transactional watcher commits at once.
---Default: 100.
---@field buffer_size? integer Limit on the events fetched ahead of the handler. Default: 1000.
---@field initial_backoff? number|string Seconds. Delay after the first failure. It doubles with each further failure.
---0: retry at once. Default: 0.2 s.
---@field max_backoff? number|string Seconds. Longest delay between two attempts. Default: 180 s.
---@field jitter? boolean Wait a random time between 0 and the backoff. Default: false.
---@field retry_strategy? "block"|"skip"|"dead_letter" block: retry without end. skip: give the event up after
---max_retries attempts. dead_letter: then put it aside with its error. Default: "block".
---@field max_retries? integer Number of attempts after which "skip" and "dead_letter" give an event up. Default: 3.
---@field on_gap? "continue"|"stop" What to do when events were removed before the watcher saw them. continue: go on
---with the oldest event and count the missed ones. stop: stop with sequence_expired. Default: "continue".
---@field on_damage? "stop"|"skip" What to do with an event that is damaged or cannot be decoded. stop: stop before it.
---skip: give it up. Default: "stop".
---@field checkpoint? "batch"|"event"|"manual" When to save progress. batch: with the next commit, soon. event: durably
---after each event. manual: only when the handler asks. Default: "batch".
---@field ephemeral? boolean Never read or write a checkpoint. Default: false.
---@field transactional? boolean Give the handler a transaction, ctx.tx. Its writes, its appends and the watcher's
---progress are one commit. Default: false.
---@field lanes? integer Number of lanes. Events with equal keys are handled in order, others independently. Default: 1.
---@field lane_key? string|vigia.LaneKey The key of an event: a place in its object, or a function (event) -> key.
---@field lane_window? integer How many events a lane may be ahead of the checkpoint. Default: 10000.
---@field auto_start? boolean Start at once. false: the watcher is idle until it is started. Default: true.
---@field on_error? fun(err: vigia.Error, event: vigia.Event?, ctx: vigia.Context) A function (err, event, ctx), called
---for every failure.

---Options of a watcher whose handler is a script. They win over those in the script's table. Functions (on_error, where) belong in that
---table.
---@class vigia.ScriptOptions: vigia.WatchOptions
---@field set? table A table of plain values. The script gets a copy of it as `set`.
---@field reload? boolean Load the script's new code whenever its file changes. Default: false.
---@field cpu_limit? number|string Seconds. Processor time for one event, and for init, stop and loading. 0 or
---math.huge: no limit. Default: 0 s.
---@field memory_limit? integer|string Bytes. Memory that the script's Lua state may use. 0: no limit. Default: 0.
---@field libraries? string[] Names of the Lua libraries that the script may use, in addition to base and vigia
---(default: all).
---@field isolation? "thread"|"process" thread: run in this process. process: run in a process of its own. A crash or an
---endless loop in C then fails the event only. Default: "thread".
---@field worker_program? string Path of the program vigia, for isolation "process" (default: the running one, the one
---of the same build, PATH).

---The argument of a script, which is called once.
---@class vigia.Given
---@field store vigia.Store
---@field log fun(level: "debug"|"info"|"warn"|"error", message: string) writes to the log of the registry that watches
---@field set table

---A script returns its handler, or this table, which may also have any option of a watcher except auto_start.
---@class vigia.Script
---@field id? string if registry:watch is given none (default: the file's name without .lua)
---@field handle vigia.Handler
---@field init? fun(ctx: {store: vigia.Store, watcher: vigia.Watcher, log: function}): any before the first event, after each start
---@field stop? fun(ctx: {store: vigia.Store, watcher: vigia.Watcher, log: function}): any when the watcher has stopped
---@field serializer? string|vigia.Serializer that of the store, if it is an application's; isolated: the name of a module that returns it

---Start a watcher. The handler may be nil with auto_start = false. A string is a script: a path (it has a slash, or ends in .lua) or the
---name of a module. It runs in a Lua state and on a thread of its own, whether or not the registry is driven.
---@param id string? nil: the script's own
---@param handler? vigia.Handler|string
---@param options? vigia.WatchOptions|vigia.ScriptOptions
---@return vigia.Watcher? watcher
---@return vigia.Error? err "watcher_already_exists", "watcher_owned", "script_error"
function Registry:watch(id, handler, options) end

---The watcher of this id, in this registry.
---@param id string
---@return vigia.Watcher? watcher
---@return vigia.Error? err "watcher_not_found"
function Registry:get_watcher(id) end

---Remove an idle or stopped watcher from the registry. Its id is free, its memory is freed with its last handle, and its checkpoint stays.
---An ephemeral watcher removes itself after a requested stop; its handle still has stats, and can start it again.
---@param id string
---@return true? ok
---@return vigia.Error? err "watcher_not_found", "invalid_state": it is running or stopping
function Registry:remove(id) end

---Run a function as a coroutine of this registry, beside the watchers. In it vigia.sleep, a waiting get_events and store_event let the
---others run; appends of several coroutines share a commit. An error in it is logged.
---@param f fun()
---@return true? ok
---@return vigia.Error? err
function Registry:spawn(f) end

---Drive the watchers and spawned functions until none is running.
---@return true? ok
---@return vigia.Error? err "interrupted"
function Registry:run() end

---Do one round, for an application with a loop of its own: do what is due; if nothing is, wait up to `timeout` seconds.
---@param timeout? number seconds, 0 = do not wait (default 0)
---@return boolean? worked whether anything was done
---@return vigia.Error? err "interrupted"
function Registry:step(timeout) end

---A file descriptor that is readable while there is work for step().
---@return integer? fd
---@return vigia.Error? err
function Registry:pollfd() end

---Options of watcher:stop and registry:stop.
---@class vigia.StopOptions
---@field timeout? number|string Seconds. How long to wait for handlers in progress. Default: 30 s.

---Stop all watchers at the same time.
---@param options? vigia.StopOptions
---@return true? ok
---@return vigia.Error? err names those that did not stop
function Registry:stop(options) end

---Save progress and close the registry, as a `<close>` variable and the collector do. A waiting function handler is abandoned, and its
---event comes again; a script's handler in progress finishes first. Afterwards all methods of the registry and its watchers raise. May be
---called twice; raises in one of its own handlers. Call stop first to let handlers finish.
---@return true
function Registry:close() end

---One watcher of a registry.
---@class vigia.Watcher
local Watcher = {}

---The id it was given.
---@return string
function Watcher:id() end

---What watcher:stats returns.
---@class vigia.WatcherStats
---@field id string
---@field state "idle"|"running"|"stopping"|"stopped"
---@field next_event_iterator vigia.Iterator
---@field checkpoint_iterator vigia.Iterator? after(checkpoint), nil without one
---@field last_processed_seq_num integer 0 = none
---@field last_processed_event_time integer the timestamp of that event, 0 = none
---@field last_listen_time integer when a fetch last succeeded, 0 = never
---@field lag integer events behind the last one in the store, before the filter; math.maxinteger while the store cannot be read
---@field processed integer
---@field failed integer
---@field retried integer
---@field skipped integer
---@field dead_lettered integer events that were put aside
---@field missed integer
---@field fetch_errors integer
---@field paused boolean it begins no event until store:resume
---@field last_error vigia.Error?
---@field blocked_on integer? the number of the event it retries
---@field reloads integer? of a script: how often new code took over
---@field last_reload_error vigia.Error? why new code did not take over, the last time it was tried
---@field stop_error vigia.Error? why its checkpoint could not be saved when it stopped, or what its stop function failed with

---Its state, and counts since it was created.
---@return vigia.WatcherStats
function Watcher:stats() end

---Save progress durably. A number below the checkpoint changes nothing.
---@param n integer
---@return true? ok
---@return vigia.Error? err "watcher_ephemeral", "position_out_of_range"
function Watcher:checkpoint(n) end

---Stop, save n as the checkpoint, continue with n+1.
---@param n integer
---@return true? ok
---@return vigia.Error? err "position_out_of_range"
function Watcher:seek_to_offset(n) end

---Give an idle watcher its handler, once.
---@param handler vigia.Handler
---@return true? ok
---@return vigia.Error? err "handler_exists"
function Watcher:set_handler(handler) end

---Start an idle or stopped watcher, after its checkpoint.
---@return true? ok
---@return vigia.Error? err "no_handler", "invalid_state", "script_error"
function Watcher:start() end

---Load a script's new code, between two events: call the old code's stop and the new code's init. If the new code does not load, or its
---init fails, the old code continues. Waits for the handler in progress. Called from the script's own handler, it takes effect when that
---returns.
---@return true? ok
---@return vigia.Error? err "script_error"; "not_supported" for a handler that is a function
function Watcher:reload() end

---Let the handler in progress finish, save progress, stop. From its own handler: takes effect when that returns. In a coroutine of
---the registry the others run meanwhile.
---@param options? vigia.StopOptions
---@return boolean stopped whether it finished in time
function Watcher:stop(options) end
