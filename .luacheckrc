-- .luacheckrc - what luacheck holds the Lua files to.
std = "lua54"
max_line_length = 140 -- 130 is the aim
files["spec"] = {std = "+busted"}
-- The API written down for editors: functions without bodies.
files["lua/vigia/api*.lua"] = {unused = false, unused_args = false}
-- Written to do what they must not.
files["spec/misbehaving"] = {ignore = {".*"}}
