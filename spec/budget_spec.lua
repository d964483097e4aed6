-- budget_spec.lua - appends, replay and wake-ups stay within their budgets of instructions (spec/budgets.lua), as callgrind counts them.
-- Instructions and not time: the same code takes the same number of them on a busy machine, too.

local budgets = require "spec.budgets"
local helper = require "spec.helper"

local quoted = helper.quoted

-- memcpy and its like come in forms for each processor: the plain ones everywhere, as on the oldest x86-64.
local TUNABLES <const> = "glibc.cpu.hwcaps="
	.. "-AVX_Fast_Unaligned_Load,-AVX2,-AVX,-AVX512F,-AVX512VL,-AVX512BW,-ERMS,-FSRM,-SSSE3,-SSE4_1,-SSE4_2"
local HEAVIER <const> = 1.10

local program, folder

local function shell(command, ...)
	local said, ok = helper.shell(command:format(...))
	assert(ok, said)
	return said
end

-- Instructions of the whole process.
local function count(work, times)
	local said = shell("GLIBC_TUNABLES=%s valgrind --tool=callgrind --callgrind-out-file=/dev/null %s %s %s %d 2>&1", TUNABLES,
		quoted(program), quoted(folder), work, times)
	return assert(tonumber(said:match("Collected : (%d+)")), said)
end

local function instructions_of(budget)
	return (count(budget.work, budget.many) - count(budget.work, budget.few)) / (budget.many - budget.few) / budget.events
end

describe("the budget of instructions of", function()
	setup(function()
		program = assert(os.getenv("VIGIA_PROGRAM")):match("^(.*)/") .. "/spec/c/budget"
	end)
	before_each(function() folder = helper.path() end)
	after_each(helper.clean)

	for _, budget in ipairs(budgets) do
		it(budget.name, function()
			local compiler = shell("%s %s compiler", quoted(program), quoted(folder))
			if compiler ~= "gcc 12 x86-64\n" then return helper.pending("the figures are for gcc 12 on x86-64") end
			shell("%s %s fill 0", quoted(program), quoted(folder))
			local instructions = instructions_of(budget)
			print(("# %s: %.0f instructions, %.2f of the budget"):format(budget.name, instructions, instructions / budget.instructions))
			if instructions > budget.instructions * HEAVIER then
				error(("%s takes %.0f instructions, %.2f times its budget of %d. Which function: valgrind --tool=callgrind %s FOLDER %s %d, then "
					.. "callgrind_annotate. If the change is worth that: spec/budgets.lua"):format(budget.name, instructions,
					instructions / budget.instructions, budget.instructions, program, budget.work, budget.many))
			end
		end)
	end
end)
