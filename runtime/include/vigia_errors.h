/*
 * vigia_errors.h - the codes that the functions of vigia.h return. Included by it.
 */
#ifndef VIGIA_ERRORS_H
#define VIGIA_ERRORS_H

/* code, number, stable name (what Lua's err.code holds), what it means and the state afterwards */
#define VIGIA_ERROR_MAP(X)                                                                                            \
	X(EINVAL, -1, "invalid_argument", "A value is not allowed. Nothing was done.")                                    \
	X(EOPTION, -2, "invalid_option", "One or more options are wrong. Nothing was done.")                              \
	X(ECONFLICT, -3, "option_conflict", "The file was made with another value of this option.")                       \
	X(ENOMEM, -4, "out_of_memory", "Out of memory. Nothing was done.")                                                \
	X(ECLOSED, -5, "store_closed", "The store was closed.")                                                           \
	X(EFORKED, -6, "store_forked", "The store was opened before a fork. Open it again in the child.")                 \
	X(ENOTFOUND, -7, "store_not_found", "The file or its folder does not exist.")                                     \
	X(EPERM, -8, "permission_denied", "No permission to use the file or folder.")                                     \
	X(ENOTSTORE, -9, "not_a_store", "The file is not a Vigia store. It was not changed.")                             \
	X(EFORMAT, -10, "format_unsupported", "The file has another format, byte order or word size.")                    \
	X(ETRUNCATED, -11, "store_truncated", "The file is shorter than its own size field.")                             \
	X(EREPLACED, -12, "store_replaced", "The file was deleted, replaced or overwritten while it was open.")           \
	X(ELINKED, -13, "store_linked", "The file has a second name: a hard link, or a mount of itself.")                 \
	X(ENETFS, -14, "network_filesystem", "The file is on a network file system.")                                     \
	X(EREADONLY, -15, "store_readonly", "The store was opened read-only.")                                            \
	X(EFULL, -16, "store_full", "The map is full. Nothing was stored.")                                               \
	X(EDISKFULL, -17, "disk_full", "The disk is full. Nothing was stored.")                                           \
	X(EIO, -18, "io_error", "Reading or writing failed. Nothing was stored.")                                         \
	X(EUNKNOWN, -19, "commit_unknown", "Publishing the commit failed. Look for the event before you store it again.") \
	X(ETOOBIG, -20, "event_too_large", "The event is larger than max_event_size. Nothing was stored.")                \
	X(ESERIAL, -21, "serialization_error", "The object cannot be stored. Nothing was stored.")                        \
	X(EDESERIAL, -22, "deserialization_error", "The stored bytes cannot be decoded into an object.")                  \
	X(EDAMAGED, -23, "event_damaged", "The stored bytes do not match their checksum.")                                \
	X(ENOEVENT, -24, "event_not_found", "No event has this number.")                                                  \
	X(ENOCHECKPOINT, -25, "checkpoint_not_found", "The watcher id has no checkpoint.")                                \
	X(ESEQUENCE, -26, "sequence_conflict", "The last number is not the expected one. Nothing was stored.")            \
	X(EEXPIRED, -27, "sequence_expired", "The events at this position were removed.")                                 \
	X(EPOSITION, -28, "position_out_of_range", "The number is beyond the last event. Nothing was moved.")             \
	X(EEXISTS, -29, "watcher_already_exists", "A watcher with this id is running.")                                   \
	X(ENOWATCHER, -30, "watcher_not_found", "The registry has no watcher with this id.")                              \
	X(EOWNED, -31, "watcher_owned", "Another process or registry runs this watcher id.")                              \
	X(EHANDLEREXISTS, -32, "handler_exists", "The watcher already has a handler.")                                    \
	X(ENOHANDLER, -33, "no_handler", "The watcher has no handler.")                                                   \
	X(ESTATE, -34, "invalid_state", "The watcher's state does not allow this call.")                                  \
	X(EEPHEMERAL, -35, "watcher_ephemeral", "An ephemeral watcher has no checkpoint.")                                \
	X(ESTOPPING, -36, "stopping", "The watcher is stopping.")                                                         \
	X(EHANDLER, -37, "handler_error", "The handler failed.")                                                          \
	X(EUNSUPPORTED, -38, "not_supported", "This backend or system does not support it.")                              \
	X(EINTERRUPTED, -39, "interrupted", "The call was interrupted.")                                                  \
	X(EWATCHER, -40, "watcher_error", "The watcher could not continue.")                                              \
	X(ESCRIPT, -41, "script_error", "The script did not load, or its init or stop failed.")                           \
	X(ETWICE, -42, "library_twice", "Another copy of the library in this process has a store file open.")             \
	X(ETYPE, -43, "already_registered", "The object type already has a class.")                                       \
	X(EFILEEXISTS, -44, "file_exists", "A file with this name exists. It was not changed.")                           \
	X(ETIMEOUT, -45, "timeout", "The wait timed out.")                                                                \
	X(ETRANSACTION, -46, "transaction_conflict",                                                                      \
	  "Another transaction changed what this one has read. Nothing was stored.")                                      \
	X(ETXSIZE, -47, "transaction_too_large",                                                                          \
	  "The transaction is larger than max_transaction_bytes. Nothing was stored.")                                    \
	X(EUNREACHABLE, -48, "store_unreachable", "The store's server did not answer in time. Nothing was stored.")       \
	X(ENOTEMPTY, -49, "store_not_empty", "The store is not empty. An import needs an empty store.")                   \
	X(EUNFINISHED, -50, "import_unfinished", "An import into the store is not finished. Nothing was done.")           \
	X(EEXPORT, -51, "export_damaged", "The input is not a complete export. The records before the damage are imported.")

enum vigia_code {
	VIGIA_OK = 0,
	VIGIA_NONE = 1,    /* nothing there, nothing wrong */
	VIGIA_PENDING = 2, /* a handler that goes on later (vigia_handler.resume) */
#define X(name, number, text, help) VIGIA_##name = number,
	VIGIA_ERROR_MAP(X)
#undef X
};

#endif
