-- store_journal_spec.lua - the LMDB store as it is by default, with a journal, keeps the contract. How that is written is in
-- spec/c/test_journal.c.

local helper = require "spec.helper"

local count = 0

require "spec.store_contract"("in a file", function(options, again)
	if not again then count = count + 1 end
	return helper.open(helper.path("store" .. count), options)
end)
