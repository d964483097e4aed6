/*
 * log_format.c - log records as lines: plain, for the journal, logfmt or JSON.
 *
 *     bare     vigia: WARN text
 *     plain    vigia: 2026-03-01 10:00:00.120 WARN text
 *     journal  <4>vigia: WARN text
 *     logfmt   time=2026-03-01T09:00:00.120Z level=warn msg="text"
 *     json     {"time":"2026-03-01T09:00:00.120Z","level":"warn","msg":"text"}
 *
 * A text of several lines has them indented, or as \n in the last two.
 */
#include "log_format.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../core/utf8.h"
#include "lua_state.h"

enum format { BARE, PLAIN, JOURNAL, LOGFMT, JSON };
static const char *const format_names[] = {"bare", "plain", "journal", "logfmt", "json", NULL};
static _Atomic int format;

const char *const vigia__log_levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const shown[] = {"DEBUG", "INFO", "WARN", "ERROR"};
static const char *const marks[] = {"<7>", "<6>", "<4>", "<3>"}; /* of syslog */

static int put(struct vigia__buf *out, const char *text)
{
	return vigia__buf_add_text(out, text);
}

static int put_time(struct vigia__buf *out, bool local)
{
	struct timespec now;
	struct tm tm;
	char date[40], text[64];
	clock_gettime(CLOCK_REALTIME, &now);
	if (local) localtime_r(&now.tv_sec, &tm);
	else gmtime_r(&now.tv_sec, &tm);
	strftime(date, sizeof date, local ? "%Y-%m-%d %H:%M:%S" : "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text, sizeof text, "%s.%03ld%s", date, now.tv_nsec / 1000000, local ? "" : "Z");
	return put(out, text);
}

/* How long the next character of a text is. False: a byte that is no UTF-8, or one that moves a cursor. */
static bool next_char(const char *text, size_t left, size_t *len)
{
	unsigned char c = (unsigned char)*text;
	*len = c < 0xc2 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
	if (*len > left || !vigia__utf8_valid(text, *len)) *len = 1;
	if (*len == 1) return c >= 0x20 && c < 0x7f;
	return !(c == 0xc2 && (unsigned char)text[1] < 0xa0);
}

/* Without what would end a line, or move the cursor. `line`: what stands for a line end. */
static int put_text(struct vigia__buf *out, const char *text, size_t len, const char *line)
{
	int failed = 0;
	for (size_t n; len > 0 && !failed; text += n, len -= n) {
		char hex[8];
		bool good = next_char(text, len, &n);
		if (*text == '\n') failed = put(out, line);
		else if (good || *text == '\t') failed = vigia__buf_add(out, text, n);
		else {
			n = 1;
			snprintf(hex, sizeof hex, "\\x%02x", (unsigned char)*text);
			failed = put(out, hex);
		}
	}
	return failed;
}

/* Between quotes, as JSON has strings; logfmt's readers take the same. */
static int put_quoted(struct vigia__buf *out, const char *text, size_t len)
{
	int failed = put(out, "\"");
	for (size_t n; len > 0 && !failed; text += n, len -= n) {
		char escaped[8];
		if (next_char(text, len, &n) && *text != '"' && *text != '\\') {
			failed = vigia__buf_add(out, text, n);
			continue;
		}
		n = 1;
		if (*text == '"' || *text == '\\') snprintf(escaped, sizeof escaped, "\\%c", *text);
		else if (*text == '\n') snprintf(escaped, sizeof escaped, "\\n");
		else if (*text == '\t') snprintf(escaped, sizeof escaped, "\\t");
		else if ((unsigned char)*text < 0x80) snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned char)*text);
		else snprintf(escaped, sizeof escaped, "\xef\xbf\xbd"); /* U+FFFD */
		failed = put(out, escaped);
	}
	return failed ? failed : put(out, "\"");
}

static int put_plain(struct vigia__buf *out, int how, enum vigia_log_level level, const char *text, size_t len)
{
	char line[16];
	snprintf(line, sizeof line, "\n%s    ", how == JOURNAL ? marks[level] : "");
	if (how == JOURNAL && put(out, marks[level]) != 0) return -1;
	if (put(out, "vigia: ") != 0) return -1;
	if (how == PLAIN && (put_time(out, true) != 0 || put(out, " ") != 0)) return -1;
	if (put(out, shown[level]) != 0 || put(out, " ") != 0 || put_text(out, text, len, line) != 0) return -1;
	return put(out, "\n");
}

static int put_fields(struct vigia__buf *out, bool json, enum vigia_log_level level, const char *text, size_t len)
{
	if (put(out, json ? "{\"time\":\"" : "time=") != 0 || put_time(out, false) != 0) return -1;
	if (put(out, json ? "\",\"level\":\"" : " level=") != 0 || put(out, vigia__log_levels[level]) != 0) return -1;
	if (put(out, json ? "\",\"msg\":" : " msg=") != 0 || put_quoted(out, text, len) != 0) return -1;
	return put(out, json ? "}\n" : "\n");
}

int vigia__log_format(struct vigia__buf *out, enum vigia_log_level level, const char *text, size_t len)
{
	int how = atomic_load(&format);
	return how < LOGFMT ? put_plain(out, how, level, text, len) : put_fields(out, how == JSON, level, text, len);
}

/* JOURNAL_STREAM has device and inode of the stream that the service began with: it may lead elsewhere by now. */
static bool is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	struct stat st;
	uint64_t dev, ino;
	return stream && sscanf(stream, "%" SCNu64 ":%" SCNu64, &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
	       st.st_dev == dev && st.st_ino == ino;
}

int vigia__lua_log_format(lua_State *L)
{
	vigia__lua_check_program(L, "log_format");
	int how = lua_isnoneornil(L, 1) ? (is_journal() ? JOURNAL : PLAIN) : luaL_checkoption(L, 1, NULL, format_names);
	atomic_store(&format, how);
	lua_pushstring(L, format_names[how]);
	return 1;
}
