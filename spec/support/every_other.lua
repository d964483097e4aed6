-- every_other.lua - for busted (--helper): every other test of a spec file is there, the even or the odd ones by VIGIA_SEED.

local busted = require "busted"

local number = math.tointeger(tonumber(os.getenv "VIGIA_SEED")) or 0

busted.subscribe({"register", "it"}, function()
	number = number + 1
	return nil, number % 2 == 0
end, {priority = 1})
