/*
 * mhd.c - loads libmicrohttpd.
 */
#include "mhd.h"

#include <dlfcn.h>
#include <stddef.h>

#include "../core/error.h"

struct vigia__mhd vigia__mhd;

int vigia__mhd_load(struct vigia_error *err)
{
	static const struct {
		size_t at;
		const char *name;
	} calls[] = {
#define VIGIA_MHD_CALL(call) {offsetof(struct vigia__mhd, call), "MHD_" #call},
		VIGIA_MHD_CALLS(VIGIA_MHD_CALL)
#undef VIGIA_MHD_CALL
	};
	if (vigia__mhd.start_daemon) return VIGIA_OK;
	void *handle = dlopen("libmicrohttpd.so.12", RTLD_NOW | RTLD_LOCAL);
	if (handle == NULL)
		return vigia__error_caused(err, VIGIA_EUNSUPPORTED, dlerror(),
		                           "libmicrohttpd is not installed (Debian: apt-get install libmicrohttpd12)");
	struct vigia__mhd found = {0};
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
		void *call = dlsym(handle, calls[i].name);
		if (call == NULL) {
			/* GCOVR_EXCL_START: an older library of that name. */
			dlclose(handle);
			return vigia__error(err, VIGIA_EUNSUPPORTED, "libmicrohttpd is too old: it has no %s", calls[i].name);
			/* GCOVR_EXCL_STOP */
		}
		*(void **)(void *)((char *)&found + calls[i].at) = call;
	}
	vigia__mhd = found;
	return VIGIA_OK;
}
