/* embed.c - an application that stores its events with Vigia and watches them from C: embed FILE NAME... greets each NAME once. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <vigia.h>

#define NAME_MAX ((size_t)31) /* so that msgpack's head of a string is one byte */

static int greet(void *ctx, const struct vigia_event *event, const struct vigia_attempt *attempt, int64_t *resume_mono_ns,
                 struct vigia_error *err)
{
	uint64_t *last = ctx;
	(void)resume_mono_ns, (void)err;
	printf("%" PRIu64 ": hello %.*s\n", event->seq_num, (int)event->object.len - 1, event->object.data + 1);
	return event->seq_num == *last ? vigia_watcher_stop(attempt->watcher, 0, NULL) : VIGIA_OK;
}

static int append(struct vigia_store *store, const char *name, uint64_t *last, struct vigia_error *err)
{
	char object[1 + NAME_MAX];
	size_t len = strlen(name) < NAME_MAX ? strlen(name) : NAME_MAX;
	object[0] = (char)(0xa0 | len);
	memcpy(object + 1, name, len);
	struct vigia_new_event event = {{VIGIA_CREATE, strlen(VIGIA_CREATE)}, {"Guest", 5}, {object, len + 1}};
	return vigia_store_append(store, &event, 1, last, err);
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
