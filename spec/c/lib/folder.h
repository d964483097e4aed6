/*
 * folder.h - a folder of its own for each test, and the store in it. To be included by a test, once.
 */
#ifndef VIGIA_SPEC_FOLDER_H
#define VIGIA_SPEC_FOLDER_H

#include "test.h"

static char folder[FOLDER_MAX], path[FOLDER_MAX + 16]; /* and of the store in it */
static bool with_journal = true;                       /* of the stores that quiet_options() makes */

static inline int folder_setup(void **state)
{
	(void)state;
	int rc = folder_make(folder);
	with_journal = true;
	snprintf(path, sizeof path, "%s/store", folder);
	return rc;
}

/* For what is about LMDB's own way to the disk: stores without a journal. */
static inline int folder_setup_bare(void **state)
{
	int rc = folder_setup(state);
	with_journal = false;
	return rc;
}

static inline int folder_teardown(void **state)
{
	(void)state;
	folder_empty(folder);
	return rmdir(folder);
}

/* A test that must hold with a journal and without. Its name says which one failed. */
#define IN_BOTH_FORMS(test)                                                        \
	cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown),          \
	{                                                                              \
#test "_without_a_journal", test, folder_setup_bare, folder_teardown, NULL \
	}

/* All defaults, but no collector: its commits would meet what is meant for others, and TSan allows no thread in a
 * forked child. */
static inline struct vigia_store_options quiet_options(void)
{
	struct vigia_store_options options;
	vigia_store_options_init(&options);
	options.collect = false;
	options.journal = with_journal;
	options.journal_given = !with_journal;
	return options;
}

/* The same at durability "interval", with an interval that no test lives to see. */
static inline struct vigia_store_options queuing_options(void)
{
	struct vigia_store_options options = quiet_options();
	options.durability = VIGIA_DURABILITY_INTERVAL;
	options.commit_interval_ns = INT64_C(3600) * 1000000000;
	options.durability_given = options.commit_interval_given = true;
	return options;
}

static inline struct vigia_store *open_with(const struct vigia_store_options *options)
{
	struct vigia_store *store = NULL;
	struct vigia_error err = {0};
	if (vigia_store_open(path, options, &store, &err) < 0) fail_msg("%s", err.message);
	assert_int_equal(err.code, VIGIA_OK); /* what went well says nothing else */
	return store;
}

static inline struct vigia_store *open_durable(void)
{
	struct vigia_store_options options = quiet_options();
	return open_with(&options);
}

/* Of the format with a journal, or of the one without. */
static inline struct vigia_store *open_of_format(bool journal)
{
	struct vigia_store_options options = quiet_options();
	options.journal = journal;
	options.journal_given = true;
	return open_with(&options);
}

#endif
