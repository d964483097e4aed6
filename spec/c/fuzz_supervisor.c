/*
 * fuzz_supervisor.c - any bytes from an isolated script's program to its supervisor (bind/process.c,
 * lua/vigia/isolated_host.lua, wire.lua): each request ends, by success only if the program said so with the right
 * number; no value that it sends is called, or reaches the application's log function, or keeps the supervisor at work
 * for longer than its bytes are many.
 *
 * Input: a byte, its bit 0: loading succeeds before the rest is sent; then records: a byte for what is sent, and its
 * content.
 */
#include <sys/eventfd.h>

#include "lib/fuzz_wire.h"

#include "bind/process.c"

static const char functions[] =
	"local vigia, core, isolation = require 'vigia', require 'vigia.core', require 'vigia.isolated_host'\n"
	"vigia.sleep = function(s) assert(type(s) == 'number', 'bad argument #1 to sleep') return true end\n"
	"core.spawn = fuzz_spawn\n"
	"local levels = {debug = true, info = true, warn = true, error = true}\n"
	"local wrong\n"
	"local function log(level, message)\n"
	"	if not levels[level] or type(message) ~= 'string' then "
	"wrong = 'the log function got ' .. tostring(level) end\n"
	"end\n"
	"for name, f in next, core do\n"
	"	if type(f) == 'function' and not name:find 'sequence_number' and name ~= 'is_array' then\n"
	"		core[name] = function(...)\n"
	"			local at = debug.getinfo(2, 'S').source\n"
	"			local iterator = name == 'trim_horizon' or name == 'latest'\n"
	"			if at:find('wire.lua', 1, true) and not iterator then wrong = 'it called core.' .. name end\n"
	"			return f(...)\n"
	"		end\n"
	"	end\n"
	"end\n"
	"local real, left, registry, watcher\n"
	"local store = setmetatable({}, {__index = function(_, name)\n"
	"	return function(self, ...)\n"
	"		if name == 'get_events' and type(...) == 'table' then rawset(..., 'timeout', 0) end\n"
	"		return real[name](real, ...)\n"
	"	end\n"
	"end})\n"
	"local event = {seq_num = 3, timestamp = 4, operation = 'CREATE', object_type = 'Job', object = {n = 1}}\n"
	/* Answers how many requests succeeded, and what was wrong. */
	"return function()\n"
	"	if not real or left == 0 then\n"
	"		if real then registry:close() real:close() end\n"
	"		real, left = assert(vigia.open(':memory:', {long_polling_timeout = 0, max_event_size = 65536})), 300\n"
	"		registry = vigia.registry(real, {log = false})\n"
	"		watcher = assert(registry:watch('w', function() end, {auto_start = false}))\n"
	"	end\n"
	"	left, wrong = left - 1, nil\n"
	"	local good = 0\n"
	"	local function try(f, ...)\n"
	"		local ok, result = pcall(f, ...)\n"
	"		if ok then good = good + 1 elseif type(result) ~= 'string' then\n"
	"			local meta = getmetatable(result)\n"
	"			if type(meta) ~= 'table' or not meta.__tostring then wrong = 'a failure without a text'\n"
	"			elseif type(meta.__vigia_place) ~= 'string' then wrong = 'a failure without a place' end\n"
	"		end\n"
	"		return ok and result\n"
	"	end\n"
	"	local script = try(isolation.load, 'script.lua', 'return print', {}, {store = store, log = log}, {cpu = 0, "
	"memory = 0})\n"
	"	if script then\n"
	"		local function text(v, most) return type(v) == 'string' and #v <= most "
	"and not v:find('\\0', 1, true) end\n"
	"		if not text(script.id, 255) or script.id == '' or not text(script.path, 1e9) or type(script.options) ~= "
	"'table'\n"
	"			or not (script.serializer == nil "
	"or text(script.serializer, 1e9)) then wrong = 'a script that is none' "
	"end\n"
	"		local ctx = {store = store, watcher = watcher, stopping = false, attempt = 1}\n"
	"		local ok, problem = script.init(ctx)\n"
	"		if ok then good = good + 1 end\n"
	"		local where = script.options.where\n"
	"		if type(where) == 'function' then try(where, event) end\n"
	"		try(script.handle, event, ctx)\n"
	"		try(script.handle, event, ctx)\n"
	"		if script.stop(ctx) then good = good + 1 end\n"
	"	end\n"
	"	return good, wrong\n"
	"end\n";

static struct fuzz_wire wire;
static struct vigia__output output;
static int other = -1;

static int swallow(const void *bytes, size_t len, bool *kept)
{
	*kept = false;
	return len % 7 == 3 ? ENOSPC : 0;
}

/* core.spawn: the program has written all it has to say, and ended. A second one cannot be had. */
static int fuzz_spawn(lua_State *L)
{
	if (other >= 0) {
		lua_pushnil(L);
		lua_pushliteral(L, "there is no second program");
		return 2;
	}
	struct process *p = vigia__lua_new(L, sizeof *p, &process_class);
	p->output = &output;
	p->fd = fuzz_socket(&wire, &other);
	p->pidfd = eventfd(1, EFD_CLOEXEC); /* readable, as that of a process that ended */
	p->pid = 1;                         /* never used: what is sent goes to the descriptor */
	return 1;
}

static lua_State *state(void)
{
	static bool loaded;
	lua_State *L = fuzz_lua();
	if (loaded) return L;
	loaded = true;
	fuzz_assert(vigia__output_init(&output));
	output.sink = swallow;
	lua_register(L, "fuzz_spawn", fuzz_spawn);
	fuzz_lua_do(L, functions, 0, 1);
	lua_setglobal(L, "fuzz_talk");
	return L;
}

static void loads_well(void)
{
	/* {t = "loaded", wants = true, script = {n = 1, {path = "p", id = "i", options = {batch_size = 5}}}} */
	static const char object[] =
		"\x83\xa1t\xa6loaded\xa5wants\xc3\xa6script\x82\xa1n\x01\x01\x83\xa4path\xa1p\xa2id\xa1i"
		"\xa7options\x81\xaa"
		"batch_size\x05";
	struct vigia__buf content = {0};
	uint8_t head[4] = {1, sizeof object - 1};
	uint8_t bytes[sizeof head + sizeof object];
	memcpy(bytes, head, 3);
	memcpy(bytes + 3, object, sizeof object - 1);
	struct fuzz_input in = {bytes, bytes + 3 + sizeof object - 1};
	fuzz_values(&in, &content);
	fuzz_frame(&wire, VIGIA_FRAME_END, 1, 0, &content);
	wire.ends++;
	vigia__buf_deinit(&content);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, data + size};
	lua_State *L = state();
	vigia__buf_clear(&wire.bytes, 1 << 16);
	wire = (struct fuzz_wire){.bytes = wire.bytes};
	if (fuzz_byte(&in) & 1) loads_well();
	while (fuzz_left(&in) > 0 && !wire.wrong && wire.bytes.len < FUZZ_WIRE_MAX) {
		struct vigia__buf content = {0};
		struct vigia_slice text;
		switch (fuzz_byte(&in) % 8) {
		case 0:
		case 1:
		case 2:
			fuzz_values(&in, &content);
			fuzz_frame(&wire, VIGIA_FRAME_END, ++wire.ends, 0, &content);
			break;
		case 3:
		case 4:
		case 5:
			fuzz_values(&in, &content);
			fuzz_frame(&wire, VIGIA_FRAME_CALL, wire.ends + 1, ++wire.calls, &content);
			break;
		case 6:
			text = fuzz_slice(&in);
			fuzz_assert(vigia__buf_add(&content, text.data, text.len) == 0);
			fuzz_frame(&wire, VIGIA_FRAME_OUTPUT, wire.ends + 1, 0, &content);
			break;
		default:
			fuzz_wrong(&wire, &in);
		}
		vigia__buf_deinit(&content);
	}
	if (wire.bytes.len > 2 * FUZZ_WIRE_MAX) return 0;
	lua_getglobal(L, "fuzz_talk");
	if (lua_pcall(L, 0, 2, 0) != LUA_OK) {
		fprintf(stderr, "%s\n", lua_tostring(L, -1));
		fuzz_assert(strstr(lua_tostring(L, -1), "memory"));
	} else {
		if (!lua_isnil(L, -1)) fprintf(stderr, "%s\n", lua_tostring(L, -1));
		fuzz_assert(lua_isnil(L, -1));
		fuzz_assert((uint64_t)lua_tointeger(L, -2) <= wire.ends);
	}
	vigia__output_begin(&output);
	if (other >= 0) close(other);
	other = -1;
	return 0;
}

FUZZ_MAIN(3000)
