-- contract_spec.lua - spec/CONTRACT.md can be read by scripts/test: each line has one id of its own, and its mark names a planned step.

describe("the contract", function()
	it("gives each line an id that no other line has", function()
		local seen, count = {}, 0
		for line in io.lines("spec/CONTRACT.md") do
			if line:find "^%- " then
				local id = line:match "^%- ([A-Z]%d+) " or line:match "^%- %[[A-G]%] ([A-Z]%d+) "
				assert.truthy(id, "no id, or a wrong mark: " .. line)
				assert.is_nil(seen[id], "twice: " .. tostring(id))
				seen[id], count = true, count + 1
			end
		end
		assert.is_true(count > 100)
	end)
end)
