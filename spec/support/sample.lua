-- sample.lua - for busted (--helper): one in three tests of a spec file is there. VIGIA_SEED says which.

local busted = require "busted"

local SHARE <const> = 3
local number = math.tointeger(tonumber(os.getenv "VIGIA_SEED")) or 0

busted.subscribe({"register", "it"}, function()
	number = number + 1
	return nil, number % SHARE == 0
end, {priority = 1})
