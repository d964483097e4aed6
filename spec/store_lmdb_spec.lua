-- store_lmdb_spec.lua - the LMDB store without a journal keeps the contract that all backends keep. What is about files is in
-- store_file_spec.

local helper = require "spec.helper"

local count = 0

require "spec.store_contract"("in a file without a journal", function(options, again)
	if not again then count = count + 1 end
	local ours = {journal = false}
	for name, value in pairs(options or {}) do ours[name] = value end
	return helper.open(helper.path("store" .. count), ours)
end)

describe("an LMDB store", function()
	after_each(helper.clean)

	it("says that it lasts, is shared and finds damage", function()
		local stats = assert(helper.open():stats())
		assert.equal("lmdb", stats.backend)
		assert.same({persist = true, share = true, damage = true, file = true}, stats.capabilities)
	end)
end)
