/*
 * export_stream.h - the stream of an export (core/export_record.h) on a descriptor: read or written record by record.
 *
 * What is read may be of any length and content: no more memory is taken than twice what was there to read. Waiting
 * for a pipe or a terminal ends when `cancel_fd` becomes readable.
 */
#ifndef VIGIA_STORE_EXPORT_STREAM_H
#define VIGIA_STORE_EXPORT_STREAM_H

#include "../core/buf.h"
#include "../core/export_record.h"

struct vigia__export_stream {
	int fd, cancel_fd; /* cancel_fd -1: none */
	bool regular;      /* a file: it makes no one wait long */
	uint64_t sum;      /* of the last record */
	uint64_t records;  /* read or written */
	uint64_t bytes;    /* behind the last record */
	struct vigia__buf buf;
	size_t taken; /* reading: bytes of buf that were taken */
	bool ended;   /* reading: the input */
};

/* EIO: it is no open descriptor. */
int vigia__export_stream_init(struct vigia__export_stream *stream, int fd, int cancel_fd, struct vigia_error *err);
void vigia__export_stream_deinit(struct vigia__export_stream *stream);

/* ---- writing ---- */

/* Add a record. Written when there are enough, or by flush. ENOMEM, and as flush. */
int vigia__export_put(struct vigia__export_stream *stream, enum vigia__export_kind kind,
                      const struct vigia__export_field fields[], struct vigia_error *err);
/* EINTERRUPTED, EDISKFULL, EIO. */
int vigia__export_flush(struct vigia__export_stream *stream, struct vigia_error *err);

/* ---- reading ---- */

struct vigia__export_record {
	enum vigia__export_kind kind;
	struct vigia__export_field fields[VIGIA_EXPORT_FIELDS];
	struct vigia_slice bytes; /* the whole record. All slices are valid until the next call */
	uint64_t number, at;      /* the record's, from 1; where it begins */
};

/* The next record. VIGIA_NONE: the input ended behind the last one. EEXPORT, EFORMAT, EINTERRUPTED, EIO, ENOMEM name
 * the record and the place. */
int vigia__export_next(struct vigia__export_stream *stream, struct vigia__export_record *out, struct vigia_error *err);
/* EEXPORT: something is wrong with this record. */
int vigia__export_wrong(const struct vigia__export_record *record, struct vigia_error *err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Could an export begin with these bytes, which may be few? */
bool vigia__export_begins(const uint8_t *bytes, size_t len);

#endif
