/*
 * module.c - loads the backend of a server. See module.h.
 */
#include "module.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "../core/error.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static const struct vigia__module *loaded; /* under the mutex */

/* Beside this library first: that of a build folder, or of a moved prefix. */
static void *load_file(const char *file)
{
	Dl_info info;
	char path[4096];
	const char *slash = dladdr(&mutex, &info) && info.dli_fname ? strrchr(info.dli_fname, '/') : NULL;
	int len = slash ? snprintf(path, sizeof path, "%.*s/%s", (int)(slash - info.dli_fname), info.dli_fname, file) : 0;
	void *handle = len > 0 && len < (int)sizeof path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
	return handle ? handle : dlopen(file, RTLD_NOW | RTLD_LOCAL);
}

static int load(const struct vigia__module **out, struct vigia_error *err)
{
	int rc = VIGIA_OK;
	pthread_mutex_lock(&mutex);
	void *handle = loaded ? NULL : load_file("libvigia-pg.so.0");
	const struct vigia__module *module = handle ? dlsym(handle, "vigia_module") : NULL;
	if (module && module->backend_init == vigia__backend_init) loaded = module;
	else if (module)
		rc =
			vigia__error(err, VIGIA_EUNSUPPORTED,
		                 "libvigia-pg needs libvigia.so, but this program contains Vigia itself: link the program with "
		                 "libvigia.so");
	else if (loaded == NULL)
		rc = vigia__error_caused(err, VIGIA_EUNSUPPORTED, dlerror(),
		                         "a store on PostgreSQL needs libvigia-pg (Debian: apt-get install vigia-postgresql)");
	*out = loaded;
	pthread_mutex_unlock(&mutex);
	return rc;
}

int vigia__module_open(const char *location, const struct vigia_store_options *options, struct vigia__backend **out,
                       struct vigia_error *err)
{
	const struct vigia__module *module;
	int rc = load(&module, err);
	return rc == VIGIA_OK ? module->open(location, options, out, err) : rc;
}

int vigia__module_script(const char *location, const struct vigia_store_options *options, struct vigia__buf *out,
                         struct vigia_error *err)
{
	const struct vigia__module *module;
	int rc = load(&module, err);
	return rc == VIGIA_OK ? module->script(location, options, out, err) : rc;
}
