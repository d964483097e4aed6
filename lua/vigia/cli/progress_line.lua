-- progress_line.lua - the line on a terminal that shows how far a long command has come. Each new text replaces the one before.

local M = {}

local STDERR <const> = 2
local CLEAR_TO_END <const> = "\27[K"

-- Is standard error a terminal, which can show the line?
function M.is_shown()
	return require("vigia.core").isatty(STDERR)
end

function M.show(text, ...)
	io.stderr:write("\r", text:format(...), CLEAR_TO_END)
end

-- Remove the line, before other output.
function M.clear()
	io.stderr:write("\r", CLEAR_TO_END)
end

return M
