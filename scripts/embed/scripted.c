/* scripted.c - an application in C whose handlers are Lua scripts: scripted FILE SCRIPT runs the script on one more
 * event. */
#include <stdio.h>
#include <string.h>
#include <vigia.h>

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: scripted FILE SCRIPT\n");
		return 2;
	}
	struct vigia_error err = {0};
	struct vigia_store *store = NULL;
	struct vigia_registry *registry = NULL;
	struct vigia_watcher *watcher = NULL;
	int rc = vigia_store_open(argv[1], NULL, &store, &err);
	if (rc == VIGIA_OK) {
		struct vigia_new_event event = {{VIGIA_CREATE, 6},
		                                {"Guest", 5},
		                                {"\xa3"
		                                 "Ana",
		                                 4}}; /* the object is msgpack */
		rc = vigia_store_append(store, &event, 1, NULL, &err);
	}
	if (rc == VIGIA_OK) {
		registry = vigia_registry_new(store);
		/* The options are a Lua table, as in the Lua API. */
		const char *options = "{set = {greeting = 'hello'}}";
		rc = registry ? vigia_registry_watch_script(registry, "greeter", argv[2], options, &watcher, &err)
		              : VIGIA_ENOMEM;
	}
	struct vigia_watcher_stats stats = {.lag = 1};
	while (rc == VIGIA_OK && stats.lag > 0) {
		int step = vigia_registry_step(registry, 10000000, &err);
		if (step < 0) rc = step;
		vigia_watcher_stats(watcher, &stats);
		if (stats.last_error.code) rc = stats.last_error.code, err = stats.last_error;
	}
	if (rc == VIGIA_OK) rc = vigia_registry_stop(registry, 1000000000, &err);
	vigia_registry_free(registry);
	vigia_store_free(store);
	if (rc < 0) fprintf(stderr, "scripted: %s: %s\n", vigia_error_name(rc), err.message);
	return rc < 0;
}
