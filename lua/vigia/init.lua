-- init.lua - the module `vigia`: the public names of its C part, described in api.lua.

local core = require "vigia.core"

---@type vigia
local M = {}

for _, name in ipairs {
	"_VERSION", "CREATE", "UPDATE", "DELETE", "null",
	"open", "sleep", "signal",
	"trim_horizon", "latest", "at_sequence_number", "after_sequence_number",
	"array", "is_array", "to_json", "register_type", "is_type_registered",
} do
	M[name] = core[name]
end

-- Errors name the caller's position, not this file's.
function M.registry(store, options)
	local ok, registry, err = pcall(core.registry, store, options)
	if not ok then error(tostring(registry):gsub("vigia%.core%.", "", 1), 2) end
	return registry, err
end

-- A prompt inside an application. Its code is loaded on the first call.
function M.repl(options)
	local good = require("vigia.repl").run(options) -- no tail call: it counts levels
	return good
end

return M
