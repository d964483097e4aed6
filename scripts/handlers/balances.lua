-- balances.lua - the balance of each account: adds up Payment events, and stores an event OVERDRAWN when a balance falls below zero.
--
-- Try it:  echo '{"operation":"PAID","object_type":"Payment","object":{"account":"ana","amount":-5}}' | vigia append --store FILE
--          vigia run --store FILE balances.lua --until-idle
--          vigia state --store FILE balances
--          vigia events --store FILE --operation OVERDRAWN
--
--   Payment           {account = string or integer, amount = integer (cents)}
--   bucket balances   account -> its balance
--   OVERDRAWN         {account =, balance =, payment = the number of the Payment event}
--
-- It is transactional: balance, OVERDRAWN event and checkpoint are one commit. So each payment counts once, whatever crashes. What is no
-- payment is put aside as a dead letter at the first attempt: a second one cannot help.

local LONGEST <const> = 255 -- bytes of a key

local function handle(event, ctx)
	local payment = type(event.object) == "table" and event.object or {}
	local account, amount = payment.account, payment.amount
	if math.type(account) ~= "integer" and (type(account) ~= "string" or #account < 1 or #account > LONGEST) then
		return nil, "a Payment event without an account: an integer, or a string of 1 to 255 bytes"
	elseif math.type(amount) ~= "integer" then
		return nil, "a Payment event without an amount: an integer, in cents"
	end
	local before, err = ctx.tx:get("balances", account)
	if err then
		return nil, err
	end
	before = before or 0
	local balance = before + amount
	if (amount > 0) ~= (balance > before) and amount ~= 0 then
		return nil, "the balance does not fit into an integer" -- it came round
	end
	local ok
	ok, err = ctx.tx:put("balances", account, balance)
	if ok and before >= 0 and balance < 0 then
		ok, err = ctx.tx:store_event("OVERDRAWN", "Account", {account = account, balance = balance, payment = event.seq_num})
	end
	return ok, err
end

return {
	filter = {object_types = {"Payment"}},
	transactional = true,
	retry_strategy = "dead_letter",
	max_retries = 1,
	handle = handle,
}
