---@meta vigia
-- api.lua - the Lua API of Vigia, described once, in lua-language-server's format. Not loaded at run time; a spec compares it with
-- what the module has.
--
-- Wrong use (a missing argument, a wrong type, a wrong option) raises. A failure at run time returns nil and a vigia.Error.
-- Durations are numbers of seconds, timestamps integers of nanoseconds since the Unix epoch. Tables of options also take durations and
-- sizes as text, such as "250ms", "1h" or "64M".

---The module.
---@class vigia
local vigia = {}

vigia.CREATE = "CREATE"
vigia.UPDATE = "UPDATE"
vigia.DELETE = "DELETE"
vigia._VERSION = "vigia 0.1.0"

---Stands for nil inside arrays and maps. `tostring(vigia.null)` is "null".
---@type lightuserdata
vigia.null = nil

---Returned with nil after a failure at run time.
---`tostring(err)` is a sentence; compare `err.code`.
---@class vigia.Error
---@field code string a stable name: "store_closed", "checkpoint_not_found", "handler_error", ... (lua/README.md, "Errors")
---@field message string what was wrong and where
---@field cause any the error of the layer below: a string, or the value a handler raised
---@field seq_num integer? the event concerned
---@field watcher_id string? the watcher concerned
---@field traceback string? where a Lua handler raised it

---A stored event.
---@class vigia.Event
---@field seq_num integer from 1, consecutive, never reused
---@field operation string "CREATE", "UPDATE", "DELETE" or your own
---@field object_type string
---@field object any
---@field timestamp integer nanoseconds since the Unix epoch; never goes backwards

---A place to read from: an immutable value, compared by value; `tostring` gives "after_sequence_number(5)".
---@class vigia.Iterator
---@field kind "trim_horizon"|"latest"|"at_sequence_number"|"after_sequence_number"
---@field seq_num integer 0 for the first two kinds

---A value that a filter wants at a place of the object: a string, a number, a boolean or vigia.null.
---@alias vigia.Wanted string|number|boolean|lightuserdata

---Which events to read or handle; all that is given must match.
---@class vigia.Filter
---@field object_types? string[] absent or empty: all
---@field operations? string[] absent or empty: all
---@field where? table<string, vigia.Wanted|vigia.Wanted[]> the values wanted at places of the object, at most 16 places:
---{["object.state"] = {"failed", "lost"}, ["object.jobs[1].size"] = 5}. 1 equals 1.0; a place that is missing equals only
---vigia.null
---@field predicate? vigia.Predicate as option `where`

---How objects are written. "msgpack" and "json" are the library's own and need no functions.
---@class vigia.Serializer
---@field name string 1..64 bytes; it is kept in the file
---@field marshal? fun(object: any, operation: string, object_type: string): string
---@field unmarshal? fun(bytes: string, head: vigia.Event): any the head is the event without its object
---@field strict? boolean refuse to store object types without a class (vigia.register_type)

---Options of vigia.open.
---@class vigia.StoreOptions
---@field serializer? "msgpack"|"json"|vigia.Serializer How objects are written: msgpack, json, or your own functions
---(in Lua a table {name =, marshal =, unmarshal =}). Default: msgpack. Fixed when the file is created.
---@field readonly? boolean Never create or write. Default: false.
---@field create? boolean Create the file if it does not exist. Default: true.
---@field allow_network_fs? boolean Open files on NFS and other network file systems, where locks do not hold between
---machines. Default: false.
---@field long_polling_timeout? number|string Seconds. How long a read waits for an event when the call sets no timeout.
---math.huge: until there is one. Default: 10 s.
---@field max_batch_bytes? integer|string Bytes. Limit on the bytes of one result. At least one event is returned.
---Default: 8 MiB.
---@field checkpoint_interval? number|string Seconds. How long progress waits for another commit before it gets one of
---its own. Default: 1 s.
---@field collect? boolean Remove old events in the background, unless another process does. Default: true.
---@field cache_size? integer Number of decoded events that the watchers of one Lua state share. They get the same
---tables. Default: 0.
---@field map_size? integer|string Bytes. Address space reserved for the file. 0: 1 TiB, or what the system grants.
---Default: 0.
---@field max_event_size? integer|string Bytes. Largest event that is accepted. Default: 1 MiB. Belongs to the file.
---@field max_transaction_bytes? integer|string Bytes. Limit on what a transaction reads, changes and appends. Default:
---64 MiB.
---@field transaction_retries? integer How often a transaction is retried after a conflict. Default: 16.
---@field commit_queue_bytes? integer|string Bytes. Limit on the appends that wait in memory, with durability interval.
---An append beyond it commits first. Default: 16 MiB.
---@field durability? "commit"|"none"|"interval" What a returned append survives. commit: a power loss. none: a crash of
---the process. interval: nothing until the next commit. Default: "commit". Belongs to the file.
---@field commit_interval? number|string Seconds. Longest time that an append waits for its commit, with durability
---interval. Default: 0.1 s. Belongs to the file.
---@field events_bucket? string Name of the database of events inside the file. Default: events. Fixed when the file is
---created.
---@field checkpoint_bucket? string Name of the database of checkpoints inside the file. Default: checkpoints. Fixed
---when the file is created.
---@field gc_cadence? number|string Seconds. How often old events are removed. Default: 600 s. Belongs to the file.
---@field gc_age_threshold? number|string Seconds. Age from which events that every watcher has finished are removed. 0:
---never. Default: 86400 s. Belongs to the file.
---@field gc_max_records_per_run? integer Limit on the events that one run removes. The next run follows soon. Default:
---1000000. Belongs to the file.
---@field gc_max_duration? number|string Seconds. Limit on the time of one run. The next run follows soon. Default: 10
---s. Belongs to the file.
---@field checkpoint_ttl? number|string Seconds. A checkpoint unused for this long no longer blocks removal. 0: it
---always does. Default: 0 s. Belongs to the file.
---@field max_events? integer Number of events to keep. 0: no limit. Default: 0. Belongs to the file.
---@field max_bytes? integer|string Bytes. Bytes of events to keep. 0: no limit. Default: 0. Belongs to the file.
---@field retention_passes_checkpoints? boolean Let max_events and max_bytes remove events that a lagging watcher has
---not handled. Default: false. Belongs to the file.
---@field journal? boolean Write appends to the journal inside the file first, with one sync. false: each goes through
---LMDB, with two. Default: true. Belongs to the file.

---Open the store in a file, or create it. ":memory:" is a store without a file.
---@param path string
---@param options? vigia.StoreOptions
---@return vigia.Store? store
---@return vigia.Error? err
function vigia.open(path, options) end

---From the oldest event there is.
---@return vigia.Iterator
function vigia.trim_horizon() end

---After the last event: only later ones.
---@return vigia.Iterator
function vigia.latest() end

---At number n.
---@param n integer
---@return vigia.Iterator
function vigia.at_sequence_number(n) end

---After number n.
---@param n integer
---@return vigia.Iterator
function vigia.after_sequence_number(n) end

---Mark a table as an array, so that an empty one is stored as one. Decoded arrays are marked. Returns the same table.
---@generic T: table
---@param t T
---@return T
function vigia.array(t) end

---Was the table made by vigia.array or decoded from an array?
---@param t any
---@return boolean
function vigia.is_array(t) end

---Give the objects of this type that are maps the class as their metatable when they are decoded in this Lua state.
---@param name string an object type
---@param class table
---@return true? ok
---@return vigia.Error? err "already_registered"
function vigia.register_type(name, class) end

---@class vigia.ReplOptions
---@field store? vigia.Store for events(), tail(), watchers() and the other commands; help lists them
---@field registry? vigia.Registry whose watchers' stats watchers() shows
---@field env? table what names mean at the prompt (default: _G)

---Run a prompt in the terminal: it evaluates Lua until exit or Ctrl-D. Returns whether nothing failed. Only one can run in a process.
---It handles SIGINT, SIGTERM and SIGHUP meanwhile.
---@param options? vigia.ReplOptions
---@return boolean good
function vigia.repl(options) end

---Does the object type have a class?
---@param name string an object type
---@return boolean
function vigia.is_type_registered(name) end

---Wait. In a handler the registry's other watchers continue meanwhile; elsewhere the call blocks.
---In a stopping watcher it ends with an error of code "stopping" once all other coroutines had a turn.
---@param seconds number
---@return true? ok
---@return vigia.Error? err
function vigia.sleep(seconds) end

---A signal: code of this Lua state, such as a callback of another loop, wakes the handlers and spawned functions that wait for it.
---@return vigia.Signal
function vigia.signal() end

---A registry over a store: watchers by id, driven by this Lua state. A store may also be written in Lua
---(lua/README.md, "Stores in Lua"); its registry and watchers have the same methods, and take functions as handlers.
---@param store vigia.Store
---@param options? vigia.RegistryOptions
---@return vigia.Registry
function vigia.registry(store, options) end

---One NDJSON line for an event, without a line end (what `vigia events` prints).
---@param event vigia.Event
---@return string? line
---@return vigia.Error? err
function vigia.to_json(event) end

---@class vigia.Signal
local Signal = {}

---End every wait of this signal with the value, and make the pollfd of its registry readable. Without a wait the value is kept for the next
---one; a later value replaces it.
---@param value any
---@return boolean woken whether there was a wait
function Signal:set(value) end

---Wait until the signal is set, and take the value. In a handler's own coroutine, and in a function of registry:spawn, the others go on
---meanwhile; elsewhere this blocks.
---@param timeout? number seconds (default: no limit)
---@return any value
---@return vigia.Error? err "timeout"; "stopping" when the watcher or registry stops
function Signal:wait(timeout) end

---A transaction: what the function of store:transaction is called with, and `ctx.tx` of a transactional watcher. Its calls see what it has
---put and deleted. A call that fails ends it: nothing is stored, and store:transaction returns that error, or the event has failed.
---@class vigia.Transaction
local Transaction = {}

---A key of a bucket: a string of 1 to 255 bytes, or an integer. Integers sort before strings.
---@alias vigia.Key string|integer

---Part of a bucket. `from` and `to` are included.
---@class vigia.Range
---@field from? vigia.Key
---@field to? vigia.Key
---@field prefix? string the strings that begin with it, instead of from and to
---@field reverse? boolean the last key first
---@field limit? integer most rows, 0 = no limit

---The value of a key of a bucket.
---@param bucket string 1 to 64 of A-Z a-z 0-9 _ . -
---@param key vigia.Key
---@return any value nil: there is none
---@return vigia.Error? err
function Transaction:get(bucket, key) end

---Set the value of a key.
---@param bucket string
---@param key vigia.Key
---@param value any what an event's object can be. vigia.null for nil
---@return true? ok
---@return vigia.Error? err
function Transaction:put(bucket, key, value) end

---Delete a key, if it is there.
---@param bucket string
---@param key vigia.Key
---@return true? ok
---@return vigia.Error? err
function Transaction:delete(bucket, key) end

---The keys of a bucket, or of a part of it, in order.
---@param bucket string
---@param range? vigia.Range default: all of it
---@return {key: vigia.Key, value: any}[]? rows in the order of the keys
---@return vigia.Error? err
function Transaction:range(bucket, range) end

---Append an event with the commit. Options as of store:store_event, but if_last.
---@param operation string
---@param object_type string
---@param object any
---@param options? vigia.AppendOptions
---@return true? ok
---@return vigia.Error? err
function Transaction:store_event(operation, object_type, object, options) end

---The same for a list of events.
---@param events vigia.NewEvent[]
---@param options? vigia.AppendOptions
---@return true? ok
---@return vigia.Error? err
function Transaction:store_events(events, options) end

---Options of vigia.registry.
---@class vigia.RegistryOptions
---@field log? fun(level: "debug"|"info"|"warn"|"error", message: string)|false A function (level, message) that
---receives log records. Without it failures go to standard error, at most one line per watcher and minute. false:
---nowhere.
---@field clock? vigia.Clock A clock moved by hand, for tests.

---A handle on a store. Closes itself when collected or leaving a `<close>` variable.
---@class vigia.Store
local Store = {}

---Read and change buckets and append events, all at once or not at all. The function is called with a vigia.Transaction, and again
---when another transaction changed what it read, transaction_retries times. If it raises, nothing is stored and the error is raised;
---if it returns nil or false and a message, nothing is stored and they are returned.
---@param fn fun(tx: vigia.Transaction): any
---@return integer[]? numbers of its events, in order
---@return any ... what the function returned, or the error: "transaction_conflict", "transaction_too_large" or as of an append
function Store:transaction(fn) end

---The value of a key of a bucket. A transaction of one step, as the others here.
---@param bucket string
---@param key vigia.Key
---@return any value nil: there is none
---@return vigia.Error? err
function Store:get(bucket, key) end

---Set the value of a key.
---@param bucket string
---@param key vigia.Key
---@param value any what an event's object can be. vigia.null for nil
---@return true? ok
---@return vigia.Error? err
function Store:put(bucket, key, value) end

---Delete a key, if it is there.
---@param bucket string
---@param key vigia.Key
---@return true? ok
---@return vigia.Error? err
function Store:delete(bucket, key) end

---The keys of a bucket, or of a part of it, in order.
---@param bucket string
---@param range? vigia.Range default: all of it
---@return {key: vigia.Key, value: any}[]? rows in the order of the keys
---@return vigia.Error? err
function Store:range(bucket, range) end

---The buckets in the order of their names, and how many values each has.
---@return {name: string, values: integer}[]? buckets
---@return vigia.Error? err
function Store:buckets() end

---Hide a bucket at once, and remove its values.
---@param bucket string
---@return boolean? existed
---@return vigia.Error? err
function Store:drop_bucket(bucket) end

---Append an event at a time, by the system's clock of the day: then, or as soon after as any process has the store open for writing; once.
---The event's timestamp is never before the time. With a key that a timer or a stored event has, nothing is changed.
---@param at integer|{after: number|string} nanoseconds since 1970, or in so many seconds. A time that has passed: at once
---@param operation string
---@param object_type string
---@param object any
---@param options? {key?: string} of the event, as of store:store_event
---@return integer? id of the timer; 0: the event of this key is stored already
---@return true|vigia.Error? existed true: the key was known
---@return integer? seq_num of the event of this key that is stored
function Store:schedule(at, operation, object_type, object, options) end

---Remove a timer. Ids are never reused.
---@param id integer
---@return boolean? existed false: there is none, or its event was stored
---@return vigia.Error? err
function Store:unschedule(id) end

---Which timers store:scheduled returns: those that all fields allow.
---@class vigia.TimerQuery
---@field from? integer due from then on, in nanoseconds since 1970
---@field to? integer due until then
---@field operation? string
---@field object_type? string
---@field key? string
---@field limit? integer so many at most, 0: any number (default 0)

---An event that waits for its time.
---@class vigia.Timer
---@field id integer
---@field at integer when it is due, in nanoseconds since 1970
---@field operation string
---@field object_type string
---@field object any
---@field key? string

---The timers, in the order of their times.
---@param query? vigia.TimerQuery default: all
---@return vigia.Timer[]? timers
---@return vigia.Error? err
function Store:scheduled(query) end

---Which dead letters to list.
---@class vigia.DeadLetters
---@field watcher? string of this watcher only
---@field from? integer the number of the first event
---@field limit? integer 0 or nothing: all

---An event that a watcher with retry_strategy "dead_letter" failed on max_retries times.
---@class vigia.DeadLetter
---@field watcher string
---@field seq_num integer of the event
---@field attempts integer
---@field timestamp integer of the last failure, ns
---@field error string of the last failure
---@field traceback? string where it failed
---@field retry boolean a retry was requested
---@field event? vigia.Event not in ctx.dead_letter: it is the handler's event

---The dead letters of the store, in the order of the watchers' ids.
---@param options? vigia.DeadLetters
---@return vigia.DeadLetter[]? letters
---@return vigia.Error? err
function Store:dead_letters(options) end

---Have a watcher handle a dead letter again, or all of its letters. The request is stored: the watcher, in whatever process, handles it
---before new events, at once or when it is started, with ctx.dead_letter set. On success the letter goes.
---@param watcher_id string
---@param seq_num? integer nil: all
---@return integer? count of the letters to retry
---@return vigia.Error? err
function Store:retry_dead_letter(watcher_id, seq_num) end

---Remove a dead letter of a watcher, or all of its letters.
---@param watcher_id string
---@param seq_num? integer nil: all
---@return integer? count of the letters that were removed
---@return vigia.Error? err
function Store:drop_dead_letter(watcher_id, seq_num) end

---Conditions of a store_event or store_events. If the key is known, the call stores nothing, whatever its events and if_last
---are, and returns the numbers of the call that stored the key. A key is known while the last event stored with it is kept.
---@class vigia.AppendOptions
---@field if_last? integer store only if the last number assigned is this one; else "sequence_conflict"
---@field key? string 1 to 255 bytes: the call, a list of events too, is stored once, however often it is sent

---Store one event; returns its number once it is durable. At durability "interval" it returns true: the event waits in memory, and gets its
---number with the next commit, unless there are conditions.
---@param operation string
---@param object_type string
---@param object any
---@param options? vigia.AppendOptions
---@return integer|true? seq_num
---@return true|vigia.Error? existed true: an event was stored under this key before, and the number is that one's
function Store:store_event(operation, object_type, object, options) end

---An event to be stored.
---@class vigia.NewEvent
---@field operation string
---@field object_type string
---@field object any

---Store many events, all or none, under consecutive numbers.
---@param events vigia.NewEvent[] may also be {operation, object_type, object} triples
---@param options? vigia.AppendOptions
---@return integer|true? first_seq_num true for an empty list: there is nothing to store, and no number
---@return integer|vigia.Error? last_seq_num
---@return true? existed true: events were stored under this key before, and the numbers are theirs
function Store:store_events(events, options) end

---A request of store:get_events.
---@class vigia.GetEvents
---@field event_iterator? vigia.Iterator default: trim horizon
---@field limit? integer most events to return, 0 = no bound (default 0)
---@field filter? vigia.Filter|vigia.Predicate
---@field where? vigia.Predicate called for events that pass the filter; its errors are raised
---@field timeout? number|string seconds to wait for an event if there is none; 0 = do not wait (default: long_polling_timeout)
---@field scan? "slice"|"end" return after about 10 ms of events that do not match, or continue to the end of the log (default "slice")
---@field watcher_id? string for your logs; not used otherwise

---What store:get_events returns.
---@class vigia.Events
---@field events vigia.Event[]
---@field next_event_iterator vigia.Iterator
---@field at_end boolean whether the end of the log was reached

---Read events in order; wait for one if there is none. In a coroutine of a registry over another store it looks 20 times a second.
---@param request? vigia.GetEvents
---@return vigia.Events? result
---@return vigia.Error? err
function Store:get_events(request) end

---The event of this number.
---@param n integer
---@return vigia.Event? event
---@return vigia.Error? err "event_not_found", "sequence_expired" if it was trimmed
function Store:get_event(n) end

---The last number ever assigned, 0 if none was.
---@return integer? n
---@return vigia.Error? err
function Store:get_latest_event_num() end

---The number of the oldest event there is, 0 if there is none.
---@return integer? n
---@return vigia.Error? err
function Store:get_oldest_event_num() end

---The number of the first event stored at or after a time, nil without an error if there is none.
---@param timestamp integer nanoseconds since the epoch
---@return integer? n
---@return vigia.Error? err
function Store:find_time(timestamp) end

---What store:explain returns. A block is 4096 events; the index has a record for each full one, of its types and operations.
---@class vigia.Explained
---@field from integer the first event that a read would pass, 0 = there is none
---@field to integer the last one
---@field events integer how many these are
---@field events_looked_at integer of them: those whose bytes are looked at; the index rules out the others
---@field blocks integer those that the events are in
---@field blocks_indexed integer of them: those whose record in the index is used
---@field blocks_looked_at integer of them: those in which events are looked at
---@field places integer that filter.where names: tested in C, on the bytes of what is looked at
---@field by_index boolean the index is used: the filter has types or operations, and the store has an index
---@field not_pushed_down string[] what of the filter is not tested in C on the bytes, a sentence each

---What would a read with this filter look at, from `from` (default: trim horizon) to the end of the log?
---@param filter? vigia.Filter|vigia.Predicate
---@param from? vigia.Iterator
---@return vigia.Explained? explained
---@return vigia.Error? err
function Store:explain(filter, from) end

---Remove all events up to and including n, also those that a watcher has not handled: unlike gc(), it passes checkpoints.
---@param n integer
---@return integer? removed how many
---@return vigia.Error? err
function Store:trim(n) end

---Save a checkpoint, durably. A watcher saves its own; this is for consumers that read by themselves. For a watcher of this process it is
---watcher:checkpoint.
---@param watcher_id string
---@param n integer
---@return true? ok
---@return vigia.Error? err "watcher_owned": another process runs it, see store:seek
function Store:store_checkpoint(watcher_id, n) end

---The last number that the watcher has finished with.
---@param watcher_id string
---@return integer? n
---@return vigia.Error? err "checkpoint_not_found"
function Store:get_checkpoint(watcher_id) end

---Forget a checkpoint, durably.
---@param watcher_id string
---@return true? ok
---@return vigia.Error? err "checkpoint_not_found"; "watcher_owned": another process runs it
function Store:delete_checkpoint(watcher_id) end

---All checkpoints: watcher id -> number.
---@return table<string, integer>? checkpoints
---@return vigia.Error? err
function Store:checkpoints() end

---Wait until the checkpoint of a watcher is n or more. The watcher, in this process or another, saves it as soon as it gets there, also
---where it would save later. An id that has no checkpoint, or does not run, is waited for. In a handler or task other watchers go on
---meanwhile; elsewhere those of this Lua state stand still.
---@param watcher_id string
---@param n integer
---@param timeout? number seconds; none, or `math.huge`: without limit
---@return integer? checkpoint
---@return vigia.Error? err "timeout", "stopping", "invalid_state" in the handler of that watcher
function Store:wait_for(watcher_id, n, timeout) end

---All holds: watcher id -> number. A hold keeps the events behind that number for a watcher that has no checkpoint yet.
---@return table<string, integer>? holds
---@return vigia.Error? err
function Store:holds() end

---What is known of a watcher that runs in any process, or has a checkpoint or hold.
---@class vigia.WatcherStatus
---@field watcher string its id
---@field state "running"|"stopping"|"stopped"|"died" died: its process ended before it stopped
---@field pid? integer of the process that runs it, or died
---@field host? string the machine of that process, where several machines share the store
---@field ephemeral boolean it has no checkpoint, and may run several times under one id
---@field paused? true it begins no event, now or when it is started, until store:resume
---@field request? "seek"|"pause"|"resume"|"retry" it is asked to, and has not done it yet
---@field checkpoint? integer
---@field hold? integer it has no checkpoint yet: the events behind this number are kept for it
---@field position integer it has finished all events up to this number
---@field lag integer events stored behind that, before its filter
---@field lag_seconds number how old the first of them is
---@field rate? number events that it handles in a second
---@field blocked_on? integer the event that it tries again, or for which it stopped
---@field attempts? integer how often its handler failed on that event
---@field next_attempt? integer ns
---@field last_error? string at most 511 bytes; one that died or stopped keeps it
---@field last_error_time? integer ns
---@field started? integer ns
---@field processed? integer as in its stats, like the following
---@field failed? integer
---@field retried? integer
---@field skipped? integer
---@field dead_lettered? integer
---@field missed? integer
---@field fetch_errors? integer

---The watchers that run in any process, or have a checkpoint or hold, in the order of their ids. Running ones tell of themselves in memory
---beside the file: this makes no commit and wakes none of them. It works on a read-only store, too.
---@return vigia.WatcherStatus[]? watchers
---@return integer|vigia.Error? unshown number of running watchers whose state is unknown, because that memory is full
function Store:watchers() end

---Let a watcher of any process continue at another place, back or ahead: its checkpoint is moved. A place among removed events is the
---oldest one that is left. Where no process runs it, this and the following are done at once. Where one does, it is asked to, and does so
---between two events, when the handler in progress has ended. If it does not in time, the request is withdrawn. A watcher of this thread
---does it at once; with its handler in progress only a coroutine of its registry can wait for that.
---@param watcher_id string
---@param iterator vigia.Iterator
---@param timeout? number seconds (default 10); `math.huge`: without limit
---@return integer? checkpoint the event behind it comes next
---@return vigia.Error? err "timeout", which names the process; "watcher_not_found", "position_out_of_range"; "invalid_state" in its own
---handler, or where this thread would wait for itself; "watcher_ephemeral"
function Store:seek(watcher_id, iterator, timeout) end

---Let a watcher of any process begin no event until it is resumed, after restarts too. It keeps its id and its place, and holds back
---collection as before.
---@param watcher_id string
---@param timeout? number as of seek, like what it returns for an error
---@return true? ok
---@return vigia.Error? err
function Store:pause(watcher_id, timeout) end

---End a pause.
---@param watcher_id string
---@param timeout? number
---@return true? ok
---@return vigia.Error? err
function Store:resume(watcher_id, timeout) end

---Let a watcher of any process try again now the event that it waits to try again.
---@param watcher_id string
---@param timeout? number
---@return integer? seq_num the event
---@return vigia.Error? err "invalid_state": it waits for none, is paused, or does not run
function Store:retry(watcher_id, timeout) end

---Remove all that is stored of a watcher, as if it had never run: its checkpoint or hold, its pause, its dead letters.
---@param watcher_id string
---@return true? ok
---@return vigia.Error? err "watcher_owned": it runs; "watcher_not_found"
function Store:forget(watcher_id) end

---What store:gc returns.
---@class vigia.Collected
---@field removed integer how many events
---@field oldest integer the number of the oldest event that is left, 0 = none
---@field reason "done"|"off"|"no_checkpoint"|"held"|"bound" why it went no further; "bound": the run was long enough, call it again
---@field held_by string? the watcher id whose checkpoint or hold keeps the rest
---@field left integer? "bound": how many more may go by their age and number

---Do one run of the background collector now, with its bounds: remove events older than gc_age_threshold that every watcher has finished,
---and those beyond max_events and max_bytes.
---@return vigia.Collected? collected
---@return vigia.Error? err
function Store:gc() end

---What store:stats returns.
---@class vigia.StoreStats
---@field path string
---@field importing boolean an import is not finished
---@field backend "lmdb"|"memory"|"postgresql"
---@field capabilities {persist: boolean, share: boolean, damage: boolean, file: boolean}
---@field format integer
---@field file_id string
---@field created integer nanoseconds since the epoch
---@field events integer
---@field oldest_event_num integer
---@field latest_event_num integer
---@field last_appended_event_num integer the highest number appended through this handle, 0 = none
---@field queued_events integer appended by this process and waiting for their commit (durability "interval")
---@field file_bytes integer
---@field used_bytes integer
---@field map_bytes integer
---@field readers integer
---@field commits integer counts up with each commit of any process
---@field buckets integer
---@field values integer in all buckets
---@field timers integer
---@field dead_letters integer
---@field journal_appends integer commits of appends that went through the journal, by any process since the side file was made
---@field journal_drains integer how often LMDB took over what was in the journal
---@field transactions {committed: integer, conflicts: integer, given_up: integer} by any process since the side file was made: those that
---committed something; runs that conflicted with another transaction; those that returned transaction_conflict
---@field max_event_size integer
---@field durability "commit"|"none"|"interval"
---@field commit_interval number seconds
---@field serializer string
---@field events_bucket string
---@field checkpoint_bucket string
---@field gc_cadence number
---@field gc_age_threshold number
---@field gc_max_records_per_run integer
---@field gc_max_duration number
---@field checkpoint_ttl number
---@field max_events integer
---@field max_bytes integer
---@field retention_passes_checkpoints boolean
---@field journal boolean

---The store's content, and the settings of its file.
---@return vigia.StoreStats? stats
---@return vigia.Error? err
function Store:stats() end

---The settings of a file, which store:configure changes.
---@class vigia.Settings
---@field max_event_size? integer|string bytes
---@field durability? "commit"|"none"|"interval"
---@field commit_interval? number|string seconds
---@field gc_cadence? number|string
---@field gc_age_threshold? number|string
---@field gc_max_records_per_run? integer
---@field gc_max_duration? number|string
---@field checkpoint_ttl? number|string
---@field max_events? integer
---@field max_bytes? integer|string
---@field retention_passes_checkpoints? boolean
---@field journal? boolean In a file that was made without a journal it is true from when no other process has it open.

---Change settings of the file; other processes use them from their next commit on. Raises for a wrong or unknown one, and for
---bucket names, which cannot be changed.
---@param settings vigia.Settings
---@return true? ok
---@return vigia.Error? err
function Store:configure(settings) end

---Commit the events that wait in memory (durability "interval"), or bring committed ones to the disk (durability "none").
---@return integer? seq_num the last number ever given
---@return vigia.Error? err the events keep waiting in memory
function Store:sync() end

---@class vigia.BackupOptions
---@field compact? boolean leave out free pages (default false); meanwhile a map that must grow cannot: "store_full"
---@field progress? fun(at: vigia.Transfer): any called now and then; false ends it with "interrupted"

---Copy the store, as of one moment, to a new file. Others may use it meanwhile. The copy is a store with an id of its own.
---@param path string "file_exists": nothing is overwritten. An unfinished copy is removed
---@param options? vigia.BackupOptions
---@return true? ok
---@return vigia.Error? err
function Store:backup(path, options) end

---How far an export or import has come.
---@class vigia.Transfer
---@field first integer of its events; without any, `last` is first - 1
---@field last integer
---@field at integer the last event that was written or stored; first - 1: none yet
---@field records integer of the stream, so far
---@field bytes integer
---@field resumed_bytes integer of these bytes, those that were there before this call
---@field bytes_all integer backup: how many there will be, about
---@field changed boolean export: the buckets changed while they were read

---@class vigia.ExportOptions
---@field progress? fun(at: vigia.Transfer): any called now and then; false ends it with "interrupted"

---@class vigia.ImportOptions: vigia.ExportOptions
---@field anew? boolean remove what an unfinished import has stored, and begin again (default false)

---Write all that the store holds to a file, which store:import reads. A file in which an export of this store was interrupted is
---continued. Others may use the store meanwhile.
---@param target string|file* a path, or an open file. "file_exists": it has other content and was not changed
---@param options? vigia.ExportOptions
---@return vigia.Transfer? done
---@return vigia.Error? err "sequence_expired": events were removed before they were written
function Store:export(target, options) end

---Read an export into this store, which must be empty, or have an unfinished import of the same export. Until it is finished, appends
---and watchers are refused ("import_unfinished").
---@param source string|file* a path, or an open file of which nothing was read yet
---@param options? vigia.ImportOptions
---@return vigia.Transfer? done
---@return vigia.Error? err "export_damaged" names the record and the byte; what came before is imported
function Store:import(source, options) end

---Close this handle: waiting calls return, later ones return "store_closed". May be called twice. Events that wait in memory are committed,
---if necessary beyond a full map. A collected handle warns (`warn`) about those that could not be.
---@return true? ok
---@return vigia.Error? err waiting events could not be committed and are lost; it tells how many. `sync` first keeps them
function Store:close() end

return vigia
