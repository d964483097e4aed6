/*
 * vigia_transfer.h - all that a store holds, as a stream of records; how far that, or a copy, has come. Included by
 * vigia.h.
 */
#ifndef VIGIA_TRANSFER_H
#define VIGIA_TRANSFER_H

#ifdef __cplusplus
extern "C" {
#endif

/* How far an export, an import or a copy has come. Grows at its end. */
struct vigia_transfer {
	uint64_t first, last;    /* its events are first..last; none: last is first - 1 */
	uint64_t at;             /* the last event that was written, or stored; first - 1: none yet */
	uint64_t records, bytes; /* of the stream, as far as it was written, or stored */
	uint64_t resumed_bytes;  /* of it, those that were there before this call */
	bool changed;            /* export: the buckets changed while they were read, and are of no one moment */
	uint64_t bytes_all;      /* copy: how many there will be, about; 0: not known */
};
/* Called often. False ends it with EINTERRUPTED. */
typedef bool (*vigia_transfer_fn)(void *ctx, const struct vigia_transfer *at);

/**
 * Write all that the store holds to a descriptor, as a stream of records that runtime/store/README.md describes: events
 * with numbers and times, keys, checkpoints, holds, dead letters, timers, buckets and settings. Two exports of equal
 * stores are equal. Others may use the store meanwhile: events are those up to the last number at the start, each other
 * thing is as it was when it was read, at the start or after it. Where `fd` is a file, open for reading and writing, in
 * which an export of this store was interrupted, it goes on there; at its place 0, and nothing else may write to it.
 *
 * Returns:   VIGIA_OK and *out (may be NULL). EEXPIRED: events were removed before they were written. EFILEEXISTS: the
 *            file has another content, which is left as it is. EDAMAGED, EINTERRUPTED, EDISKFULL, EIO, ENOMEM, ...
 * Threads:   any. Holds no transaction for longer than a slice
 */
VIGIA_API int vigia_store_export_sized(struct vigia_store *store, int fd, vigia_transfer_fn progress, void *ctx,
                                       struct vigia_transfer *out, size_t size, struct vigia_error *err);
static inline int vigia_store_export(struct vigia_store *store, int fd, vigia_transfer_fn progress, void *ctx,
                                     struct vigia_transfer *out, struct vigia_error *err)
{
	return vigia_store_export_sized(store, fd, progress, ctx, out, sizeof *out, err);
}

/**
 * Read such a stream from a descriptor into an empty store. Before the first record it marks the store, and with the
 * last one it removes the mark. Until then nothing else is stored and no watcher starts (EUNFINISHED), and the same
 * call with the same stream, from its beginning, goes on with what is missing. `anew`: remove what an unfinished import
 * has stored, and begin again.
 *
 * Returns:   VIGIA_OK and *out (may be NULL). ENOTEMPTY, ECONFLICT (serializer, bucket names): nothing was imported.
 *            EEXPORT: names the record and the byte at which the stream is wrong or ends; what went before is imported.
 *            EFORMAT: a later version wrote it. EUNFINISHED: the unfinished import is of another stream. EINTERRUPTED,
 *            EFULL, EDISKFULL, EIO, ENOMEM, ...
 * Threads:   any
 */
VIGIA_API int vigia_store_import_sized(struct vigia_store *store, int fd, bool anew, vigia_transfer_fn progress,
                                       void *ctx, struct vigia_transfer *out, size_t size, struct vigia_error *err);
static inline int vigia_store_import(struct vigia_store *store, int fd, bool anew, vigia_transfer_fn progress,
                                     void *ctx, struct vigia_transfer *out, struct vigia_error *err)
{
	return vigia_store_import_sized(store, fd, anew, progress, ctx, out, sizeof *out, err);
}

/* As vigia_store_backup(), and tells how far it has come (`bytes`, `bytes_all`). EINTERRUPTED: nothing is left behind.
 */
VIGIA_API int vigia_store_copy(struct vigia_store *store, const char *path, bool compact, vigia_transfer_fn progress,
                               void *ctx, struct vigia_error *err);

#ifdef __cplusplus
}
#endif

#endif
