/*
 * mhd.h - libmicrohttpd, loaded when a server starts. All calls of it go through this table.
 *
 * Loaded and not linked: it brings GnuTLS and its libraries, which would make every start of the program slower (`vigia
 * append` starts often), and which a system without a server need not have. Only this room includes its header.
 */
#ifndef VIGIA_SERVE_MHD_H
#define VIGIA_SERVE_MHD_H

#include <microhttpd.h>

#include "vigia.h"

#define VIGIA_MHD_CALLS(X)                            \
	X(start_daemon)                                   \
	X(stop_daemon)                                    \
	X(quiesce_daemon)                                 \
	X(run)                                            \
	X(get_timeout)                                    \
	X(get_daemon_info)                                \
	X(get_connection_info)                            \
	X(get_connection_values)                          \
	X(suspend_connection)                             \
	X(resume_connection)                              \
	X(create_response_from_buffer_with_free_callback) \
	X(create_response_from_callback)                  \
	X(add_response_header)                            \
	X(queue_response)                                 \
	X(destroy_response)                               \
	X(is_feature_supported)

struct vigia__mhd {
#define VIGIA_MHD_MEMBER(name) __typeof__(&MHD_##name) name;
	VIGIA_MHD_CALLS(VIGIA_MHD_MEMBER)
#undef VIGIA_MHD_MEMBER
};

/* Filled in by the first load that succeeds, and then constant. */
extern struct vigia__mhd vigia__mhd;

/* VIGIA_OK, or EUNSUPPORTED saying which package to install. It stays loaded. */
int vigia__mhd_load(struct vigia_error *err);

#endif
