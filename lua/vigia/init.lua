-- init.lua - the module `vigia`: the public names of its C part. They are described in api.lua.

local core = require "vigia.core"

local M = {}

for _, name in ipairs {
	"_VERSION", "CREATE", "UPDATE", "DELETE", "null",
	"open", "registry", "sleep",
	"trim_horizon", "latest", "at_sequence_number", "after_sequence_number",
	"array", "is_array", "to_json", "register_type", "is_type_registered",
} do
	M[name] = core[name]
end

return M
