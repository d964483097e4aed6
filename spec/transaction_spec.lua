-- transaction_spec.lua - buckets, and transactions that read, change and append at once, over all stores of C.

local helper = require "spec.helper"
local testing = require "vigia.testing"
local vigia = require "vigia"

local fails, raises = helper.fails, helper.raises

local function rows(list)
	local out = {}
	for i, row in ipairs(list) do out[i] = {row.key, row.value} end
	return out
end

for _, kind in ipairs{"memory", "file"} do
	describe("transactions in a store of kind " .. kind, function()
		local store, other -- two handles: of one file, or twice the same

		before_each(function()
			if kind == "memory" then
				store = helper.memory()
				other = store
			else
				local path = helper.path("state.db")
				store = helper.open(path)
				other = helper.open(path)
			end
		end)
		after_each(function()
			store, other = nil, nil
			helper.clean()
		end)

		it("change values and append at once, and return the numbers and the results [X1]", function()
			local numbers, a, b = store:transaction(function(tx)
				assert.is_nil(tx:get("accounts", "ana"))
				assert(tx:put("accounts", "ana", {balance = 10, tags = {"x", "y"}}))
				assert.same({balance = 10, tags = {"x", "y"}}, tx:get("accounts", "ana"))
				assert(tx:store_event("OPENED", "Account", {id = "ana"}))
				assert(tx:store_events{{"CREATE", "A", 1}, {operation = "CREATE", object_type = "B", object = 2}})
				return "result", 2
			end)
			assert.same({{1, 2, 3}, "result", 2}, {numbers, a, b})
			assert.same({balance = 10, tags = {"x", "y"}}, other:get("accounts", "ana"))
			assert.same({id = "ana"}, other:get_event(1).object)
			assert.equal(3, other:get_latest_event_num())
			assert.same({{}}, {store:transaction(function() end)})
		end)

		it("undo everything when the function raises or refuses [X1]", function()
			store:put("b", "k", 1)
			local function change(tx)
				tx:put("b", "k", 2)
				tx:delete("b", "other")
				tx:store_event("CREATE", "A", 1)
			end
			local value = {"any value"}
			local ok, raised = pcall(store.transaction, store, function(tx)
				change(tx)
				error(value, 0)
			end)
			assert.is_false(ok)
			assert.equal(value, raised)
			assert.same({nil, "no"}, {store:transaction(function(tx) change(tx) return nil, "no" end)})
			assert.same({false, "no"}, {store:transaction(function(tx) change(tx) return false, "no" end)})
			assert.equal(1, other:get("b", "k"))
			assert.equal(0, other:get_latest_event_num())
			assert.same({{}, false}, {store:transaction(function() return false end)}) -- alone it is a result
		end)

		it("fail as a whole when one of their calls failed [X1]", function()
			fails("serialization_error", store:transaction(function(tx)
				tx:put("b", "good", 1)
				tx:put("b", "bad", {f = print}) -- nobody looks
			end))
			assert.is_nil(store:get("b", "good"))
			local _, err = store:put("b", "bad", {f = print})
			assert.matches("value.f: function", tostring(err))
			fails("invalid_argument", store:transaction(function(tx)
				tx:store_event("", "A", 1)
				tx:put("b", "good", 1)
			end))
			assert.is_nil(store:get("b", "good"))
		end)

		it("keep keys of strings and integers in order [X3]", function()
			for _, key in ipairs{"b", 10, "a", -3, 2.0, "\0zero", "ab", math.mininteger, math.maxinteger} do
				assert(store:put("keys", key, tostring(key)))
			end
			assert.same({{math.mininteger, tostring(math.mininteger)}, {-3, "-3"}, {2, "2.0"}, {10, "10"},
				{math.maxinteger, tostring(math.maxinteger)}, {"\0zero", "\0zero"}, {"a", "a"}, {"ab", "ab"}, {"b", "b"}},
				rows(store:range("keys")))
			assert.same({{"ab", "ab"}, {"a", "a"}}, rows(store:range("keys", {prefix = "a", reverse = true})))
			assert.same({{2, "2.0"}, {10, "10"}}, rows(store:range("keys", {from = 2, to = 10})))
			assert.same({{"b", "b"}}, rows(store:range("keys", {reverse = true, limit = 1})))
			assert.same({{"a", "a"}, {"ab", "ab"}}, rows(store:range("keys", {from = "a", to = "ab"})))
			assert.same({}, store:range("nothing"))
			assert.equal("2.0", store:get("keys", 2))
			assert.is_true(store:delete("keys", 2))
			assert.is_true(store:delete("keys", 2))
			assert.is_nil(store:get("keys", 2))
		end)

		it("read long ranges in pages, with what they changed [X1]", function()
			assert(store:transaction(function(tx)
				for i = 1, 2000 do tx:put("long", i, i) end
			end))
			store:transaction(function(tx)
				for i = 1, 2000, 2 do tx:delete("long", i) end
				for i = 2001, 2010 do tx:put("long", i, i) end
				tx:put("long", 4, "four")
				local got = tx:range("long")
				assert.equal(1010, #got)
				assert.same({key = 4, value = "four"}, got[2])
				assert.equal(2010, got[1010].key)
				local last = tx:range("long", {reverse = true, limit = 700})
				assert.equal(700, #last)
				assert.same({key = 2010, value = 2010}, last[1])
				for i = 2, 700 do assert(last[i].key < last[i - 1].key) end
			end)
			assert.equal(1010, #store:range("long"))
			assert.equal(1010, store:stats().values)
		end)

		it("store vigia.null, and refuse nil [X3]", function()
			assert(store:put("b", "null", vigia.null))
			assert.equal(vigia.null, store:get("b", "null"))
			assert.same({{"null", vigia.null}}, rows(store:range("b")))
			raises("nil cannot be stored", store.put, store, "b", "k", nil)
			raises("nil cannot be stored", store.put, store, "b", "k")
		end)

		it("name wrong arguments [X1]", function()
			raises("byte 2 of its name", store.put, store, "a b", "k", 1)
			raises("1 to 64 bytes", store.get, store, ("x"):rep(65), "k")
			raises("a string or an integer expected, got table", store.get, store, "b", {})
			raises("got number", store.get, store, "b", 1.5)
			raises("1 to 255 bytes, has 256", store.put, store, "b", ("k"):rep(256), 1)
			raises("unknown option 'form'.*from", store.range, store, "b", {form = 1})
			raises("from is a boolean", store.range, store, "b", {from = true})
			raises("prefix is a number", store.range, store, "b", {prefix = 1})
			raises("prefix excludes", store.range, store, "b", {prefix = "a", from = "b"})
			raises("function expected", store.transaction, store)
			local kept
			store:transaction(function(tx)
				kept = tx
				raises("if_last", tx.store_event, tx, "CREATE", "A", 1, {if_last = 3})
				raises("string expected", tx.store_event, tx, nil, "A", 1)
			end)
			for _, method in ipairs{"get", "put", "delete", "range", "store_event", "store_events"} do
				raises("the transaction has ended", kept[method], kept, "b", "k", 1)
			end
		end)

		it("do not nest [X1]", function()
			store:transaction(function(tx)
				raises("do not nest", store.transaction, store, function() end)
				raises("do not nest", store.put, store, "b", "k", 1)
				raises("do not nest", store.get, store, "b", "k")
				raises("do not nest", store.drop_bucket, store, "b")
				tx:put("b", "k", 1)
			end)
			pcall(store.transaction, store, function() error("out") end)
			assert.equal(1, store:get("b", "k")) -- and afterwards all is as it was
		end)

		it("run again when another one changed what they read [X2]", function()
			store:put("b", "n", 0)
			local runs = 0
			local numbers = assert(store:transaction(function(tx)
				runs = runs + 1
				local n = tx:get("b", "n")
				if runs < 3 then
					coroutine.wrap(function() other:put("b", "n", n + 10) end)()
				end
				tx:put("b", "n", n + 1)
				tx:store_event("CREATE", "N", n + 1)
			end))
			assert.equal(3, runs)
			assert.equal(21, store:get("b", "n"))
			assert.same({1}, numbers)
		end)

		it("never see two states [X2]", function()
			store:put("b", "x", 0)
			store:put("b", "y", 0)
			local seen, runs = {}, 0
			store:transaction(function(tx)
				runs = runs + 1
				local x = tx:get("b", "x")
				if runs == 1 then
					coroutine.wrap(function()
						other:transaction(function(inner)
							inner:put("b", "x", 1)
							inner:put("b", "y", 1)
						end)
					end)()
				end
				pcall(function() seen[#seen + 1] = {x, tx:get("b", "y")} end) -- a pcall does not keep it going
			end)
			assert.equal(2, runs)
			assert.same({{1, 1}}, seen)
		end)

		it("give up after transaction_retries [X2]", function()
			local limited = kind == "memory" and helper.memory{transaction_retries = 2}
				or helper.open(helper.path("state.db"), {transaction_retries = 2})
			local outside = kind == "memory" and limited or other
			limited:put("b", "n", 0)
			local runs = 0
			fails("transaction_conflict", limited:transaction(function(tx)
				runs = runs + 1
				local n = tx:get("b", "n")
				coroutine.wrap(function() outside:put("b", "n", n + 1) end)()
				tx:put("b", "other", 1)
			end))
			assert.equal(3, runs)
			assert.is_nil(limited:get("b", "other"))
		end)

		it("are bounded in size [X1]", function()
			local limited = kind == "memory" and helper.memory{max_transaction_bytes = 10000}
				or helper.open(helper.path("state.db"), {max_transaction_bytes = 10000})
			fails("transaction_too_large", limited:transaction(function(tx)
				for i = 1, 100 do tx:put("b", i, ("x"):rep(1000)) end
			end))
			assert.same({}, limited:range("b"))
			fails("event_too_large", store:put("b", "k", ("x"):rep(2 * 1024 * 1024)))
		end)

		it("list and drop buckets [X3]", function()
			for i = 1, 3 do
				store:put("one", i, i)
				store:put("two.b", i, i)
			end
			store:put("three-c", "k", 1)
			assert.same({{name = "one", values = 3}, {name = "three-c", values = 1}, {name = "two.b", values = 3}}, other:buckets())
			assert.equal(3, store:stats().buckets)
			assert.is_true(store:drop_bucket("one"))
			assert.is_false(store:drop_bucket("one"))
			assert.is_nil(other:get("one", 1))
			assert.same({}, other:range("one"))
			store:put("one", 9, "new")
			assert.same({{9, "new"}}, rows(other:range("one")))
			assert.equal(5, store:stats().values)
		end)

		it("commit together in coroutines, and let others run meanwhile [X1]", function()
			local registry = helper.registry(store)
			local done, order = 0, {}
			for n = 1, 50 do
				registry:spawn(function()
					for _ = 1, 4 do
						local numbers = assert(store:transaction(function(tx)
							local total = tx:get("sum", n) or 0
							if n == 1 then assert(vigia.sleep(0.001)) end -- a function may wait
							tx:put("sum", n, total + 1)
							tx:store_event("CREATE", "Sum", total + 1)
						end))
						assert.equal(1, #numbers)
						done = done + 1
					end
					order[#order + 1] = n
				end)
			end
			local before = store:stats().commits
			assert(registry:run())
			assert.equal(200, done)
			assert.equal(200, store:get_latest_event_num())
			for n = 1, 50 do assert.equal(4, store:get("sum", n)) end
			if kind == "file" then
				local commits = store:stats().commits - before
				assert(commits < 100, commits .. " commits for 200 transactions of 50 coroutines")
			end
			assert.equal(50, #order)
		end)

		it("lose no update among coroutines that want the same key [X2]", function()
			local registry = helper.registry(store)
			for _ = 1, 8 do
				registry:spawn(function()
					for _ = 1, 5 do
						repeat
							local ok, err = store:transaction(function(tx) tx:put("b", "n", (tx:get("b", "n") or 0) + 1) end)
							assert(ok or err.code == "transaction_conflict", err)
						until ok
					end
				end)
			end
			assert(registry:run())
			assert.equal(40, store:get("b", "n"))
		end)

		it("survive finalizers that use them [X1]", function()
			store:put("b", "large", {{"a"}, {"b"}, {"c"}})
			store:transaction(function(tx)
				for _ = 1, 200 do
					setmetatable({}, {__gc = function() pcall(tx.get, tx, "b", "large") end})
					assert.same({{"a"}, {"b"}, {"c"}}, tx:get("b", "large"))
				end
				collectgarbage()
			end)
		end)

		it("store nothing under a key that is known, but what else they change [X1]", function()
			store:store_event("CREATE", "A", 1, {key = "once"})
			local numbers = store:transaction(function(tx)
				tx:store_event("CREATE", "A", 2, {key = "once"})
				tx:store_event("CREATE", "A", 3, {key = "twice"})
				tx:put("b", "k", 1)
			end)
			assert.same({1, 2}, numbers)
			assert.equal(2, store:get_latest_event_num())
			assert.equal(1, store:get("b", "k"))
		end)
	end)
end

describe("buckets in a file", function()
	after_each(helper.clean)

	it("are there after a crash, as the events that came with them [X3]", function()
		local path = helper.path("crash.db")
		helper.run_lua("timeout 60", [[
			local vigia = require "vigia"
			local store = vigia.open(arg[1])
			for n = 1, 20 do
				store:transaction(function(tx)
					tx:put("count", "n", n)
					tx:store_event("CREATE", "N", n)
				end)
			end
			io.popen("kill -9 " .. require("luv").os_getpid()):close()
			os.execute("sleep 5")
		]], path)
		local store = helper.open(path)
		local n = store:get("count", "n")
		assert.equal(20, n)
		assert.equal(n, store:get_latest_event_num())
		assert.equal(n, store:get_event(n).object)
	end)

	it("go into a backup, and verify counts them [X3]", function()
		local store = helper.open(helper.path("a.db"))
		for i = 1, 5 do store:put("b", i, i) end
		assert(store:backup(helper.path("copy.db")))
		local copy = helper.open(helper.path("copy.db"))
		assert.equal(3, copy:get("b", 3))
		copy:close()
		local out = helper.shell(("%s verify --store %s"):format(helper.quoted(helper.program()), helper.quoted(helper.path("copy.db"))))
		assert.matches("5 values: no damage", out)
	end)

	it("commit the queue of durability interval first, and return numbers [X7]", function()
		local store = helper.open(helper.path("queue.db"), {durability = "interval", commit_interval = 60})
		assert.is_true(store:store_event("CREATE", "A", 1))
		local numbers = store:transaction(function(tx)
			tx:put("b", "k", 1)
			tx:store_event("CREATE", "A", 2)
		end)
		assert.same({2}, numbers)
		assert.equal(1, store:get_event(1).object)
	end)

	it("are read and not changed through a handle that only reads [X3]", function()
		local path = helper.path("ro.db")
		local store = helper.open(path)
		store:put("b", "k", 1)
		local reader = helper.open(path, {readonly = true})
		assert.equal(1, reader:get("b", "k"))
		fails("store_readonly", reader:put("b", "k", 2))
		fails("store_readonly", reader:drop_bucket("b"))
		store:put("b", "k", 3)
		assert.equal(3, reader:get("b", "k"))
	end)

	it("lose no update among processes [X2]", function()
		local path = helper.path("processes.db")
		helper.open(path, {durability = "none"}):close()
		local children = {}
		for i = 1, 3 do
			children[i] = helper.child([[
				local vigia = require "vigia"
				local store = vigia.open(arg[1])
				for _ = 1, 50 do
					repeat
						local ok, err = store:transaction(function(tx) tx:put("b", "n", (tx:get("b", "n") or 0) + 1) end)
						assert(ok or err.code == "transaction_conflict", err)
					until ok
				end
				say("done")
			]], path)
		end
		for i = 1, 3 do children[i]:expect("done") end
		assert.equal(150, helper.open(path):get("b", "n"))
	end)

	it("belong to doubles for tests as well [X1]", function()
		local store = testing.store()
		assert(store:transaction(function(tx) tx:put("b", "k", 1) end))
		assert.equal(1, store:get("b", "k"))
	end)
end)
