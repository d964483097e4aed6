-- reminders.lua - reminders: an event REMIND with a delay becomes an event REMINDER later, which is printed.
--
-- Try it:  echo '{"operation":"REMIND","object_type":"Note","object":{"after":2,"text":"tea"}}' | vigia append --store FILE
--          vigia run --store FILE reminders.lua
--
--   REMIND   {after = seconds, text = ...}   remind, so many seconds after this event was stored
--   FORGET   {seq_num = ...}                 do not: takes back the reminder of that REMIND
--   REMINDER {seq_num = ..., text = ...}     made by this script, at its time
--
-- The time counts from the event's own timestamp, and the key from its number: a handler that runs again after a crash schedules nothing
-- twice, however late it is.

local SECOND <const> = 1000000000

local function key_of(seq_num)
	return "reminder-" .. seq_num
end

local does = {}

function does.REMIND(event, ctx)
	local object = event.object
	local after = type(object) == "table" and object.after
	if type(after) ~= "number" or not (after >= 0 and after < 9e9) then
		return nil, "a REMIND event without a delay: {after = seconds} expected"
	end
	local at = event.timestamp + math.floor(after * SECOND)
	return ctx.store:schedule(at, "REMINDER", event.object_type, {seq_num = event.seq_num, text = object.text}, {key = key_of(event.seq_num)})
end

function does.FORGET(event, ctx)
	local seq_num = type(event.object) == "table" and event.object.seq_num
	if math.type(seq_num) ~= "integer" then
		return nil, "a FORGET event without the number of a REMIND event"
	end
	local timers, err = ctx.store:scheduled{key = key_of(seq_num)}
	if not timers then
		return nil, err
	end
	for _, timer in ipairs(timers) do
		local existed, problem = ctx.store:unschedule(timer.id)
		if existed == nil then
			return nil, problem
		end
	end
	return true -- it may have come already
end

function does.REMINDER(event)
	return io.write(("%s: %s\n"):format(event.object_type, tostring(event.object.text)))
end

return {
	filter = {operations = {"REMIND", "FORGET", "REMINDER"}},
	retry_strategy = "skip", -- what is no reminder does not hold up the others
	handle = function(event, ctx) return does[event.operation](event, ctx) end,
}
