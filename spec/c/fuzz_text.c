/*
 * fuzz_text.c - what the program's words mean: places to start from (core/iterator.c), and numbers, seconds and sizes
 * (lua/vigia/cli). What is taken means exactly what stands there; no number wraps round or is rounded.
 */
#include "core/iterator.h"
#include "lib/fuzz_lua.h"

/* Decimal digits as a number: false if they are none, or too large for an int64. */
static bool digits(const char *s, size_t len, int64_t *out)
{
	__int128 n = 0;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9') return false;
		n = n * 10 + (s[i] - '0');
		if (n > INT64_MAX) return false;
	}
	*out = (int64_t)n;
	return len > 0;
}

static void try_iterator(const char *text)
{
	struct vigia_iterator it = {VIGIA_AT, 77}, again;
	struct vigia_error err;
	char back[64], word[64];
	int64_t n = 0;
	int rc = vigia__iterator_parse(text, &it, &err);
	const char *colon = strchr(text, ':');
	bool numbered =
		(strncmp(text, "at:", 3) == 0 || strncmp(text, "after:", 6) == 0) && digits(colon + 1, strlen(colon + 1), &n);
	bool right = numbered || strcmp(text, "latest") == 0 || strcmp(text, "trim_horizon") == 0;
	fuzz_assert((rc == VIGIA_OK) == right);
	if (rc != VIGIA_OK) {
		fuzz_assert(rc == VIGIA_EINVAL && memchr(err.message, '\0', sizeof err.message) && it.kind == VIGIA_AT &&
		            it.seq_num == 77);
		return;
	}
	fuzz_assert(it.seq_num == (uint64_t)n);
	vigia__iterator_format(it, back, sizeof back);
	if (numbered)
		snprintf(word, sizeof word, "%s:%llu", it.kind == VIGIA_AT ? "at" : "after", (unsigned long long)it.seq_num);
	fuzz_assert(vigia__iterator_parse(numbered ? word : back, &again, NULL) == VIGIA_OK &&
	            vigia__iterator_equal(it, again));
}

/* The converter number `which` of those below, for a text: the number in *out, or false and a text that says why
 * not. */
static bool convert(lua_State *L, int which, struct vigia_slice text, lua_Number *number, int64_t *integer)
{
	lua_settop(L, 1);
	lua_rawgeti(L, 1, which);
	lua_pushlstring(L, text.data, text.len);
	fuzz_assert(lua_pcall(L, 1, 2, 0) == LUA_OK);
	*integer = lua_isinteger(L, 2) ? lua_tointeger(L, 2) : -1;
	*number = lua_tonumber(L, 2);
	fuzz_assert(lua_type(L, 2) == LUA_TNUMBER || (lua_isnil(L, 2) && lua_type(L, 3) == LUA_TSTRING));
	return lua_type(L, 2) == LUA_TNUMBER;
}

enum { WHOLE = 1, SECONDS, BYTES, SIZE };

static void try_numbers(struct vigia_slice text)
{
	lua_State *L = fuzz_lua();
	static const char converters[] =
		"local util = require 'vigia.cli.util'\n"
		"local configure = require 'vigia.cli.configure'\n"
		"local options = {} for _, o in ipairs(require('vigia.core').options('store')) do options[o.name] = o end\n"
		"fuzz_converters = {util.whole_number('--n', 0), util.seconds('--n'), util.bytes('--n'), function(text)\n"
		"	local value = configure.value_of(options.max_bytes, text)\n"
		"	return require('vigia.core').quantity('size', value)\n"
		"end}\n";
	static bool loaded;
	if (!loaded) fuzz_lua_do(L, converters, 0, 0);
	loaded = true;
	lua_getglobal(L, "fuzz_converters");
	lua_Number number;
	int64_t integer, wanted, factor = 1;
	bool right = digits(text.data, text.len, &wanted);
	fuzz_assert(convert(L, WHOLE, text, &number, &integer) == right && (!right || integer == wanted));
	if (convert(L, SECONDS, text, &number, &integer))
		fuzz_assert(number >= 0 && (!right || number == (lua_Number)wanted));
	/* the two read alike; without a point and a space the number is the digits' times the unit's */
	int64_t size = -1, bytes = -1;
	bool taken = convert(L, BYTES, text, &number, &bytes);
	fuzz_assert(convert(L, SIZE, text, &number, &size) == taken && size == bytes);
	if (memchr(text.data, '.', text.len) || memchr(text.data, ' ', text.len)) {
		fuzz_assert(!taken || bytes >= 0);
		return;
	}
	size_t len = text.len, unit = 0;
	if (len > 2 && memcmp(text.data + len - 2, "iB", 2) == 0 && strchr("KMGT", text.data[len - 3])) unit = 3;
	else if (len > 0 && text.data[len - 1] && strchr("BKMGT", text.data[len - 1])) unit = 1;
	if (unit) factor = INT64_C(1) << (strchr("BKMGT", text.data[len - unit]) - "BKMGT") * 10;
	bool number_first = digits(text.data, len - unit, &wanted);
	if (taken) fuzz_assert(number_first && (__int128)wanted * factor == bytes);
	else if (number_first) fuzz_assert((__int128)wanted * factor > INT64_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 500) return 0;
	char text[501];
	memcpy(text, data, size);
	text[size] = '\0';
	try_iterator(text);
	try_numbers((struct vigia_slice){(const char *)data, size});
	return 0;
}

FUZZ_MAIN(50000)
