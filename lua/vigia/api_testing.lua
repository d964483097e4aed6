---@meta vigia.testing
-- api_testing.lua - the API of the module vigia.testing, doubles for testing handlers and code that uses a registry. A part of api.lua.

---@class vigia.testing
local testing = {}

---A store in memory; raises if the options are wrong. It has no collector unless `collect = true` is given. With `clock`, a vigia.Clock,
---its events and timers go by the clock's time of day, and what is due is stored before `advance` or `set_time` returns.
---@param options? vigia.StoreOptions
---@return vigia.Store
function testing.store(options) end

---A clock that is moved by hand: give it to vigia.registry as `clock`. Backoff, vigia.sleep, long polls in function handlers and
---checkpoint_interval use it; the timeout of a stop, and scripts, do not.
---@return vigia.Clock
function testing.clock() end

---A handler that records its calls and can be set to fail. Pass its `handle` to registry:watch.
---@param action? vigia.Handler what it does when it does not fail
---@return vigia.testing.Handler
function testing.handler(action) end

---A wrapper of a store that records calls and can be set to fail; vigia.registry accepts it.
---@param inner? vigia.Store default: a store in memory
---@return vigia.testing.MockStore
function testing.mock_store(inner) end

---Load a handler script as registry:watch does, for a test: in the test's own Lua state, with globals of its own, over a store in memory
---and by a clock that the test moves. It begins with the first run: init is called, then the events are handled. Caps, isolation, reload
---and output are not tried by it; modules that the script requires are shared with the test.
---@param source string a path, or the name of a module
---@param options? vigia.testing.ScriptOptions
---@return vigia.testing.Script? script
---@return vigia.Error? err "script_error": what is wrong with the script
function testing.script(source, options) end

---An event for calling a handler: these fields, and defaults for the others.
---@param fields? table
---@return vigia.Event
function testing.event(fields) end

---A context for calling a handler: these fields, a watcher double, a store in memory. Needs luassert.
---@param fields? table
---@return vigia.Context
function testing.context(fields) end

---A watcher whose methods are luassert's spies and succeed. Needs luassert.
---@param id? string default "watcher"
---@param stats? table fields of what its stats returns
---@return vigia.Watcher
function testing.watcher(id, stats) end

---A registry whose methods are luassert's spies; it keeps the handlers, and deliver runs them. Needs luassert.
---@param store? vigia.Store the `store` of the handlers' contexts
---@return vigia.testing.Registry
function testing.registry(store) end

---@class vigia.Clock
local Clock = {}

---Seconds since it was made.
---@return number
function Clock:now() end

---Move it forward. What is due then happens at the next step; timers of a store that goes by it, at once.
---@param seconds number
---@return number now
function Clock:advance(seconds) end

---Its time of day, in nanoseconds since 1970: the system's when it was made, and what it was advanced by since.
---@return integer at_ns
function Clock:time() end

---Set its time of day, as a user sets a clock: forward or back. Nothing but timers and the times of events goes by that.
---@param at_ns integer
---@return integer at_ns
function Clock:set_time(at_ns) end

---@class vigia.testing.Call
---@field event vigia.Event
---@field attempt integer?
---@field stopping boolean?
---@field failed boolean whether it was told to fail

---@class vigia.testing.Handler
---@field handle vigia.Handler what a registry watches with
---@field calls vigia.testing.Call[] in order
local Handler = {}

---Fail the next calls.
---@param count? integer default 1
---@param err? any what it raises
---@return vigia.testing.Handler
function Handler:fail_next(count, err) end

---Fail each call with certain events.
---@param which integer|fun(event: vigia.Event, ctx: vigia.Context): boolean a number of an event, or a function that tells
---@param err? any what it raises
---@return vigia.testing.Handler
function Handler:fail_on(which, err) end

---Fail from now on.
---@param err? any what it raises
---@return vigia.testing.Handler
function Handler:fail_always(err) end

---Clear all failures set.
---@return vigia.testing.Handler
function Handler:succeed() end

---The numbers of the events it got.
---@param only_handled? boolean without the calls that were told to fail
---@return integer[]
function Handler:seq_nums(only_handled) end

---Options of testing.script: these and those of a watcher, which win over the script's.
---@class vigia.testing.ScriptOptions : vigia.WatchOptions
---@field set? table a table of plain values, copied for the script
---@field id? string default: the script's own, or its file's name
---@field store? vigia.Store default: testing.store with the clock. Scripts that share one should share its clock
---@field clock? vigia.Clock default: a new one

---@class vigia.testing.LogRecord
---@field level "debug"|"info"|"warn"|"error"
---@field message string

---@class vigia.testing.Script
---@field id string of its watcher
---@field path string
---@field store vigia.Store
---@field clock vigia.Clock
---@field registry vigia.Registry
---@field watcher vigia.Watcher
---@field log vigia.testing.LogRecord[] what the script and the registry have logged
local Script = {}

---Store an event. Raises if that fails.
---@param operation string
---@param object_type string
---@param object any
---@param options? vigia.AppendOptions
---@return integer seq_num
function Script:append(operation, object_type, object, options) end

---Handle what is due at this time of the clock. The first run starts the watcher.
---@return true? ok
---@return vigia.Error? err what init or stop failed with
function Script:run() end

---Move the clock forward, which stores the events scheduled for then, and run.
---@param seconds number
---@return true? ok
---@return vigia.Error? err
function Script:advance(seconds) end

---Run, and move the clock forward by steps of 0.05 s, until all events are handled and no dead letter is left to be retried.
---What is outside, such as a server that a handler asks, goes by its own time: call advance in a loop then.
---@param seconds? number how far at most. Default: 60
---@return true? ok
---@return vigia.Error? err "timeout": an event still fails. Another one if the watcher has stopped before the last event
function Script:drain(seconds) end

---The events in the store.
---@param filter? vigia.Filter
---@return vigia.Event[]
function Script:events(filter) end

---The statistics of its watcher.
---@return vigia.WatcherStats
function Script:stats() end

---Call init and start the watcher, the first time or after a stop.
---@return true? ok
---@return vigia.Error? err
function Script:start() end

---Stop the watcher and call stop.
---@return true? ok
---@return vigia.Error? err what stop failed with
function Script:stop() end

---Close the registry, and the store if it was made here. Does not call stop. A variable may have the attribute `<close>`.
function Script:close() end

---@class vigia.testing.StoreCall
---@field method string
---@field arguments table as of table.pack
---@field failed boolean whether it was told to fail

---@class vigia.testing.MockStore : vigia.Store
---@field inner vigia.Store
---@field calls vigia.testing.StoreCall[] in order, those of a registry too
local MockStore = {}

---Make the next calls of a method return nil and an error.
---@param method string
---@param err? vigia.Error|table|string an error, its fields, or its message (code "io_error")
---@param count? integer default 1
---@return vigia.testing.MockStore
function MockStore:fail_next(method, err, count) end

---Make all calls of a method fail from now on.
---@param method string
---@param err? vigia.Error|table|string
---@return vigia.testing.MockStore
function MockStore:fail_always(method, err) end

---Clear the failures set, for one method or all.
---@param method? string
---@return vigia.testing.MockStore
function MockStore:succeed(method) end

---The calls of one method.
---@param method string
---@return vigia.testing.StoreCall[]
function MockStore:calls_of(method) end

---@class vigia.testing.Registry : vigia.Registry
local MockRegistry = {}

---Call the handler of a watcher that was watched here, as a registry does.
---@param id string
---@param event vigia.Event
---@param fields? table of the context
---@return true? ok
---@return any err what it raised, or returned as its failure
function MockRegistry:deliver(id, event, fields) end

return testing
