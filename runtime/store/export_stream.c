/*
 * export_stream.c - the stream of an export on a descriptor.
 */
#include "export_stream.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/error.h"
#include "fd.h"
#include "file_limit.h"

enum {
	WRITE_BYTES = 1 << 18,
	READ_BYTES = 1 << 18,
	SURE_BYTES = 4096 /* what a pipe that is ready takes for sure */
};

int vigia__export_stream_init(struct vigia__export_stream *s, int fd, int cancel_fd, struct vigia_error *err)
{
	struct stat st;
	*s = (struct vigia__export_stream){.fd = fd, .cancel_fd = cancel_fd};
	if (fstat(fd, &st) < 0) return vigia__error_caused(err, VIGIA_EIO, strerror(errno), "cannot use descriptor %d", fd);
	s->regular = S_ISREG(st.st_mode);
	return VIGIA_OK;
}

void vigia__export_stream_deinit(struct vigia__export_stream *s)
{
	vigia__buf_deinit(&s->buf);
}

/* Wait until it can be read or written. */
static int wait_for(const struct vigia__export_stream *s, short events, struct vigia_error *err)
{
	struct pollfd fds[2] = {{.fd = s->fd, .events = events}, {.fd = s->cancel_fd, .events = POLLIN}};
	if (s->regular || !vigia__fd_permits(s->fd, events == POLLOUT)) return VIGIA_OK;
	while (poll(fds, 2, -1) < 0)
		if (errno != EINTR) return vigia__error_caused(err, VIGIA_EIO, strerror(errno), "cannot wait for a descriptor");
	return fds[1].revents ? vigia__error(err, VIGIA_EINTERRUPTED, "interrupted") : VIGIA_OK;
}

/* ---- writing ---- */

int vigia__export_flush(struct vigia__export_stream *s, struct vigia_error *err)
{
	size_t at = 0;
	int rc = VIGIA_OK;
	while (at < s->buf.len && (rc = wait_for(s, POLLOUT, err)) == VIGIA_OK) {
		size_t len = s->buf.len - at;
		if (!s->regular && len > SURE_BYTES) len = SURE_BYTES;
		ssize_t done = vigia__file_write(s->fd, s->buf.data + at, len);
		if (done > 0) at += (size_t)done;
		else if (done < 0 && errno != EINTR && errno != EAGAIN) {
			int code = errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? VIGIA_EDISKFULL : VIGIA_EIO;
			return vigia__error_caused(err, code, strerror(errno), "cannot write the export");
		}
	}
	if (rc == VIGIA_OK) vigia__buf_clear(&s->buf, 4 * WRITE_BYTES);
	return rc;
}

int vigia__export_put(struct vigia__export_stream *s, enum vigia__export_kind kind,
                      const struct vigia__export_field fields[], struct vigia_error *err)
{
	size_t before = s->buf.len;
	if (vigia__export_encode(&s->buf, &s->sum, kind, fields) < 0) return vigia__no_memory(err);
	s->records++;
	s->bytes += s->buf.len - before;
	return s->buf.len >= WRITE_BYTES ? vigia__export_flush(s, err) : VIGIA_OK;
}

/* ---- reading ---- */

bool vigia__export_begins(const uint8_t *bytes, size_t len)
{
	static const char name[] = "\xac"
							   "vigia-export";
	size_t more = len > VIGIA_EXPORT_HEAD ? len - VIGIA_EXPORT_HEAD : 0;
	if ((len > 0 && bytes[0] != 0x98) || (len > 1 && bytes[1] != 0xCE)) return false;
	return memcmp(bytes + (len - more), name, more < sizeof name - 1 ? more : sizeof name - 1) == 0;
}

int vigia__export_wrong(const struct vigia__export_record *record, struct vigia_error *err, const char *format, ...)
{
	char text[300];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	return vigia__error(err, VIGIA_EEXPORT, "record %llu at byte %llu: %s", (unsigned long long)record->number,
	                    (unsigned long long)record->at, text);
}

/* Read until so many bytes are there that were not taken. *there: fewer, where the input ends. */
static int read_up_to(struct vigia__export_stream *s, size_t wanted, size_t *there, struct vigia_error *err)
{
	while ((*there = s->buf.len - s->taken) < wanted && !s->ended) {
		if (s->taken > 0) {
			memmove(s->buf.data, s->buf.data + s->taken, *there);
			s->buf.len = *there;
			s->taken = 0;
		}
		size_t more = *there > READ_BYTES ? *there : READ_BYTES; /* no more than twice what came, whatever is claimed */
		if (vigia__buf_reserve(&s->buf, more) < 0) return vigia__no_memory(err);
		int rc = wait_for(s, POLLIN, err);
		if (rc < 0) return rc;
		ssize_t got = read(s->fd, s->buf.data + s->buf.len, more);
		if (got < 0 && errno != EINTR && errno != EAGAIN)
			return vigia__error_caused(err, VIGIA_EIO, strerror(errno), "cannot read the export");
		if (got > 0) s->buf.len += (size_t)got;
		s->ended = got == 0;
	}
	return VIGIA_OK;
}

int vigia__export_next(struct vigia__export_stream *s, struct vigia__export_record *out, struct vigia_error *err)
{
	size_t there;
	uint32_t len;
	const char *why;
	*out = (struct vigia__export_record){.number = s->records + 1, .at = s->bytes};
	int rc = read_up_to(s, VIGIA_EXPORT_HEAD, &there, err);
	if (rc < 0) return rc;
	if (there == 0 && s->records > 0) return VIGIA_NONE;
	if (s->records == 0 && (there == 0 || !vigia__export_begins(s->buf.data + s->taken, there)))
		return vigia__export_wrong(out, err,
		                           there == 0 ? "the input is empty" : "the input is not an export of a store");
	if (there < VIGIA_EXPORT_HEAD) return vigia__export_wrong(out, err, "the input ends inside it");
	if (!vigia__export_length(s->buf.data + s->taken, &len)) return vigia__export_wrong(out, err, "it is not a record");
	rc = read_up_to(s, len, &there, err);
	if (rc < 0) return rc;
	if (there < len)
		return vigia__export_wrong(out, err, "the input ends inside it, after %zu of %u bytes", there, len);
	const uint8_t *bytes = s->buf.data + s->taken;
	if (s->records == 0 && !vigia__export_begins(bytes, len))
		return vigia__export_wrong(out, err, "the input is not an export of a store");
	rc = vigia__export_decode(bytes, len, &s->sum, &out->kind, out->fields, &why);
	if (rc < 0) {
		vigia__export_wrong(out, err, "%s", why);
		if (rc == VIGIA_EFORMAT && err) err->code = rc;
		return rc == VIGIA_EFORMAT ? rc : VIGIA_EEXPORT;
	}
	out->bytes = (struct vigia_slice){(const char *)bytes, len};
	s->taken += len;
	s->records++;
	s->bytes += len;
	return VIGIA_OK;
}
