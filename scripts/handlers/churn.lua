-- churn.lua - which folders change most: counts File events per top folder and, when it stops, prints a table.
--
-- Try it:  vigia run --store FILE churn.lua --until-idle
-- VIGIA_CHURN=FILE writes the table to a file instead of standard output.
--
-- The counts live in memory, so a checkpoint would be wrong: the next run would go on behind it with counts that begin at zero.
-- `ephemeral` keeps none, and each run counts the whole history. (To count on from run to run, keep the counts in a file and save
-- them before each ctx.watcher:checkpoint(), with `checkpoint = "manual"`.)

local COLUMNS = {CREATE = "created", UPDATE = "updated", DELETE = "deleted"}

local folders = {} -- name -> {created =, updated =, deleted =, total =}

local function handle(event)
	local path = type(event.object) == "table" and event.object.path
	if type(path) ~= "string" then
		return nil, "a File event without a path"
	end
	local name = path:match("^([^/]+)/") or "."
	local folder = folders[name]
	if not folder then
		folder = {name = name, created = 0, updated = 0, deleted = 0, total = 0}
		folders[name] = folder
	end
	local column = COLUMNS[event.operation]
	if column then
		folder[column] = folder[column] + 1
	end
	folder.total = folder.total + 1
	return true
end

local function by_total(a, b)
	if a.total ~= b.total then
		return a.total > b.total
	end
	return a.name < b.name
end

-- A name from outside must not break the table.
local function printable(name)
	return (name:gsub("%c", "?"))
end

local function table_text()
	local rows = {}
	local sum = {name = "all", created = 0, updated = 0, deleted = 0, total = 0}
	for _, folder in pairs(folders) do
		rows[#rows + 1] = folder
		for _, column in ipairs{"created", "updated", "deleted", "total"} do
			sum[column] = sum[column] + folder[column]
		end
	end
	table.sort(rows, by_total)
	rows[#rows + 1] = sum
	local lines = {("%8s %8s %8s %8s  %s\n"):format("changes", "created", "updated", "deleted", "folder")}
	for _, row in ipairs(rows) do
		lines[#lines + 1] = ("%8d %8d %8d %8d  %s\n"):format(row.total, row.created, row.updated, row.deleted, printable(row.name))
	end
	return table.concat(lines)
end

local function stop()
	local path = os.getenv("VIGIA_CHURN")
	local out, message = io.stdout, nil
	if path then
		out, message = io.open(path, "w")
	end
	if not out then
		return nil, message
	end
	local ok
	ok, message = out:write(table_text())
	if ok then
		ok, message = out:flush()
	end
	if path then
		out:close()
	end
	return ok, message
end

return {
	filter = {object_types = {"File"}},
	ephemeral = true,
	handle = handle,
	stop = stop,
}
