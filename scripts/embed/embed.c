/* embed.c - an application that stores its events with Vigia and watches them from C: embed FILE NAME... greets each
 * NAME once. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <vigia.h>

static int greet(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt,
                 int64_t *resume_mono_ns, struct vigia_error *err)
{
	uint64_t *last = ctx;
	struct vigia_slice object = event->object;
	struct vigia_msgpack_value name;
	(void)resume_mono_ns;
	int rc = vigia_msgpack_next(&object, &name, err);
	if (rc < 0) return rc;
	printf("%" PRIu64 ": hello %.*s\n", event->seq_num, (int)name.string.len, name.string.data);
	return event->seq_num == *last ? vigia_watcher_stop(attempt->watcher, 0, NULL) : VIGIA_OK;
}

static int append(struct vigia_store *store, const char *name, uint64_t *last, struct vigia_error *err)
{
	struct vigia_buffer *object = vigia_buffer_new();
	struct vigia_new_event event = {{VIGIA_CREATE, strlen(VIGIA_CREATE)}, {"Guest", 5}, {NULL, 0}};
	vigia_msgpack_text(object, name);
	int rc = vigia_msgpack_end(object, &event.object, err);
	if (rc == VIGIA_OK) rc = vigia_store_append(store, &event, 1, last, err);
	vigia_buffer_free(object);
	return rc;
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		fprintf(stderr, "usage: embed FILE NAME...\n");
		return 2;
	}
	struct vigia_error err = {0};
	struct vigia_store *store = NULL;
	struct vigia_registry *registry = NULL;
	uint64_t last = 0;
	int rc = vigia_store_open(argv[1], NULL, &store, &err);
	for (int i = 2; rc == VIGIA_OK && i < argc; i++) rc = append(store, argv[i], &last, &err);
	if (rc == VIGIA_OK) {
		registry = vigia_registry_new(store);
		struct vigia_handler handler = {.size = sizeof handler, .handle = greet, .ctx = &last};
		rc = registry ? vigia_registry_watch(registry, "greeter", &handler, NULL, NULL, &err) : VIGIA_ENOMEM;
	}
	if (rc == VIGIA_OK) rc = vigia_registry_run(registry, &err);
	vigia_registry_free(registry);
	vigia_store_free(store);
	if (rc < 0) fprintf(stderr, "embed: %s: %s\n", vigia_error_name(rc), err.message);
	return rc < 0;
}
