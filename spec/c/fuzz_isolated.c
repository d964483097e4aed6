/*
 * fuzz_isolated.c - any bytes to an isolated script's program from its supervisor (runtime/isolated.c,
 * lua/vigia/isolated_program.lua, wire.lua): the program comes to an end of its own, and says only whole frames with
 * the numbers that are their turn.
 *
 * The program's state lives in this process; where it would end, it is left. Input: a byte, its bit 0: the script is
 * loaded before the rest is sent; then records: a byte for what is sent, and its content. Whatever source is sent, the
 * script below is loaded.
 */
#include <setjmp.h>

#include "lib/fuzz_wire.h"

static _Noreturn void fuzz_exit(int status);
static int program_socket = -1;
#define VIGIA_ISOLATED_SOCKET program_socket
#define _exit                 fuzz_exit
#define fprintf(...)          ((void)0) /* why it gives up */
#include "isolated.c"
#undef fprintf
#undef _exit

static jmp_buf out;
static struct fuzz_wire wire;
static int other = -1;
static lua_State *program;

static const char setup[] =
	"local script = require 'vigia.script'\n"
	"local load, source = script.load, [[\n"
	"	local given = ...\n"
	"	local kept = {}\n"
	"	return {id = 'fuzz', handle = function(event, ctx)\n"
	"		local store = ctx.store\n"
	"		print(ctx.stopping, event.seq_num)\n"
	"		local answer, err = store:get_events{limit = 5}\n"
	"		if answer then for _, e in ipairs(answer.events) do kept[#kept + 1] = e.object end end\n"
	"		local iterator = answer and answer.next_event_iterator\n"
	"		store:store_event('CREATE', 'Job', {iterator = iterator and tostring(iterator), n = #kept}, {key = 'k'})\n"
	"		local ok, problem = store:store_events{{'a', 'b', {1}}, {operation = 'a', object_type = 'b', object = "
	"event}}\n"
	"		given.log('info', tostring(problem))\n"
	"		ctx.watcher:checkpoint(1)\n"
	"		local stats = ctx.watcher:stats()\n"
	"		if err then return nil, err end\n"
	"		return ok, problem\n"
	"	end, init = function(ctx) ctx.log('warn', ctx.watcher:id()) require('vigia').sleep(0) end,\n"
	"	stop = function(ctx) return ctx.store:sync() end,\n"
	"	where = function(event) return event.operation == 'CREATE' end}\n"
	"]]\n"
	"script.load = function(path, order, given) return load(path, order, given, source) end\n";

static _Noreturn void fuzz_exit(int status)
{
	(void)status;
	longjmp(out, 1);
}

static void loads_well(void)
{
	static const char version[] = "vigia " VIGIA_VERSION;
	struct vigia__buf content = {0}, object = {0}, bytes = {0};
	static const char *const fields[] = {"t",      "load", "version",      version, "path",          "a.lua",
	                                     "source", "",     "package_path", "",      "package_cpath", ""};
	size_t where;
	fuzz_assert(vigia__put_map_begin(&object, &where) == 0);
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
		fuzz_assert(vigia__put_string(&object, fields[i], strlen(fields[i])) == 0);
	fuzz_assert(vigia__put_map_end(&object, where, sizeof fields / sizeof *fields / 2) == 0);
	uint8_t head[3] = {1, (uint8_t)object.len, (uint8_t)(object.len >> 8)};
	fuzz_assert(vigia__buf_add(&bytes, head, sizeof head) == 0 && vigia__buf_add(&bytes, object.data, object.len) == 0);
	struct fuzz_input in = {bytes.data, bytes.data + bytes.len};
	fuzz_values(&in, &content);
	fuzz_frame(&wire, VIGIA_FRAME_REQUEST, ++wire.ends, 0, &content);
	vigia__buf_deinit(&content);
	vigia__buf_deinit(&object);
	vigia__buf_deinit(&bytes);
}

/* What the program said: frames that are whole, of its kinds, with numbers that go up. */
static void check_said(void)
{
	static uint8_t bytes[1 << 20];
	struct vigia__frame frame;
	uint64_t said_calls = 0, said_ends = 0;
	size_t len = 0;
	for (ssize_t n; len < sizeof bytes && (n = recv(other, bytes + len, sizeof bytes - len, MSG_DONTWAIT)) > 0;)
		len += (size_t)n;
	if (len == sizeof bytes) return;
	for (const uint8_t *at = bytes, *end = bytes + len; at < end; at += frame.size) {
		fuzz_assert((size_t)(end - at) >= sizeof frame);
		memcpy(&frame, at, sizeof frame);
		at += sizeof frame;
		fuzz_assert(frame.magic == VIGIA_FRAME_MAGIC && frame.size <= (size_t)(end - at));
		fuzz_assert(frame.of == said_ends + 1 || (frame.kind == VIGIA_FRAME_OUTPUT && frame.of <= said_ends + 1));
		if (frame.kind == VIGIA_FRAME_CALL) fuzz_assert(frame.call == ++said_calls);
		else if (frame.kind == VIGIA_FRAME_END) said_ends++;
		else fuzz_assert(frame.kind == VIGIA_FRAME_OUTPUT);
	}
	fuzz_assert(said_ends <= wire.ends); /* no more than was asked for */
}

/* The program, from where its state is made. */
static void live(void)
{
	if (setjmp(out) != 0) return;
	static char dir[] = FUZZ_LUA_DIR;
	int status = vigia__lua_pcall(program, run_program, dir, 0, 0);
	fuzz_assert(status != LUA_OK &&
	            lua_isstring(program, -1)); /* it serves until it is ended, or fails with a reason */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, data + size};
	vigia__buf_clear(&wire.bytes, 1 << 16);
	wire = (struct fuzz_wire){.bytes = wire.bytes};
	if (fuzz_byte(&in) & 1) loads_well();
	while (fuzz_left(&in) > 0 && !wire.wrong && wire.bytes.len < FUZZ_WIRE_MAX) {
		struct vigia__buf content = {0};
		unsigned what = fuzz_byte(&in);
		switch (what % 8) {
		case 0:
		case 1:
		case 2:
			fuzz_values(&in, &content);
			fuzz_frame(&wire, VIGIA_FRAME_REQUEST, ++wire.ends, 0, &content);
			break;
		case 3:
		case 4:
		case 5:
			fuzz_values(&in, &content);
			fuzz_frame(&wire, VIGIA_FRAME_REPLY, ++wire.calls, 0, &content);
			break;
		case 6:
			fuzz_frame(&wire, VIGIA_FRAME_TAKEN, what & 64 ? fuzz_byte(&in) : 0, what >> 7, &content);
			break;
		default:
			fuzz_wrong(&wire, &in);
		}
		vigia__buf_deinit(&content);
	}
	if (wire.bytes.len > 2 * FUZZ_WIRE_MAX) return 0;
	request = calls = 0;
	program_socket = fuzz_socket(&wire, &other);
	fuzz_assert(vigia__output_init(&output));
	output.sink = say;
	program = fuzz_lua_new();
	fuzz_lua_do(program, setup, 0, 0);
	live();
	/* The socket is closed first: what finalizers would say is heard by nobody. */
	check_said();
	close(other);
	lua_pushnil(program);
	lua_setglobal(program, "print");
	output.sink = NULL;
	vigia__buf_clear(&output.buf, 0);
	lua_close(program);
	vigia__buf_clear(&output.buf, 0);
	vigia__output_deinit(&output);
	memset(&output, 0, sizeof output);
	close(program_socket);
	return 0;
}

FUZZ_MAIN(500)
