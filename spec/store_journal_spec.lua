-- store_journal_spec.lua - the LMDB store keeps the contract with a journal too. How it is written is in spec/c/test_journal.c.

local helper = require "spec.helper"

local count = 0

require "spec.store_contract"("in a file with a journal", function(options, again)
	if not again then count = count + 1 end
	local ours = {journal = true}
	for name, value in pairs(options or {}) do ours[name] = value end
	return helper.open(helper.path("store" .. count), ours)
end)
