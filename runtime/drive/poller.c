/*
 * poller.c - a file descriptor that becomes readable when a registry has work, for applications with a loop of their
 * own.
 *
 * Futexes cannot be polled: one helper thread waits on the wake words and the registry's bells and writes to an
 * eventfd. A timerfd stands for what is due at a time. An epoll descriptor holds both and is what the application
 * polls.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "../core/alloc.h"
#include "../core/error.h"
#include "../store/fd.h"
#include "../store/helper.h"
#include "../store/thread.h"
#include "../store/timers.h"
#include "drive_private.h"
#include "poller.h"

struct vigia__poller {
	struct vigia__backend *backend;
	int epoll_fd, event_fd, timer_fd;
	struct vigia__helper helper;
	/* under its mutex */
	bool armed;
	uint64_t generation; /* counts arms: a wait for an earlier one is worth nothing */
	struct vigia__listen listen;
	uint64_t commits;
	struct vigia__bell bell; /* rung when it must listen to other words, or end */
};

/* Under the mutex. */
static bool is_over(const struct vigia__poller *p, uint64_t generation)
{
	return p->helper.quit || !p->armed || p->generation != generation;
}

/* Wait for an event on the words that were armed as `generation`. */
static void watch(struct vigia__poller *p, struct vigia__listen *armed, uint64_t commits, uint64_t generation)
{
	for (;;) {
		struct vigia__listen listen = *armed;
		vigia__listen_bell(&listen, &p->bell);
		pthread_mutex_lock(&p->helper.mutex);
		bool over = is_over(p, generation); /* before its bell was looked at */
		pthread_mutex_unlock(&p->helper.mutex);
		if (over) return;
		bool news = vigia__wake_wait(p->backend->wake, &listen, vigia__mono_ns() + VIGIA_HEAL_NS);
		vigia__timers_notice(p->backend);
		news = vigia__wake_rung(armed) || news || vigia__store_unannounced(p->backend, commits);
		pthread_mutex_lock(&p->helper.mutex);
		over = is_over(p, generation);
		if (!over && news) {
			p->armed = false;
			over = true;
			vigia__poller_ring(p);
		}
		pthread_mutex_unlock(&p->helper.mutex);
		if (over) return;
	}
}

static void *poll_words(void *arg)
{
	struct vigia__poller *p = arg;
	pthread_mutex_lock(&p->helper.mutex);
	while (!p->helper.quit) {
		if (!p->armed) {
			pthread_cond_wait(&p->helper.changed, &p->helper.mutex);
			continue;
		}
		struct vigia__listen listen = p->listen;
		uint64_t commits = p->commits, generation = p->generation;
		pthread_mutex_unlock(&p->helper.mutex);
		watch(p, &listen, commits, generation);
		pthread_mutex_lock(&p->helper.mutex);
	}
	pthread_mutex_unlock(&p->helper.mutex);
	return NULL;
}

static void poller_destroy(struct vigia__poller *p)
{
	if (p->epoll_fd >= 0) close(p->epoll_fd);
	if (p->event_fd >= 0) close(p->event_fd);
	if (p->timer_fd >= 0) close(p->timer_fd);
	vigia__helper_deinit(&p->helper);
	vigia__free(p);
}

int vigia__poller_new(struct vigia__backend *backend, struct vigia__poller **out, struct vigia_error *err)
{
	struct vigia__poller *p = vigia__calloc(sizeof *p);
	if (p == NULL) return vigia__error(err, VIGIA_ENOMEM, "no memory for a poll descriptor");
	p->backend = backend;
	p->epoll_fd = VIGIA_FD(epoll_create1(EPOLL_CLOEXEC));
	p->event_fd = VIGIA_FD(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	p->timer_fd = VIGIA_FD(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
	struct epoll_event event = {.events = EPOLLIN};
	vigia__helper_init(&p->helper);
	bool made = p->epoll_fd >= 0 && p->event_fd >= 0 && p->timer_fd >= 0 &&
	            epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, p->event_fd, &event) == 0 &&
	            epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, p->timer_fd, &event) == 0;
	int rc = made ? vigia__helper_start(&p->helper, poll_words, p, "make a poll descriptor", err)
	              : vigia__thread_error(err, errno, "make a poll descriptor");
	if (rc == VIGIA_OK) *out = p;
	else poller_destroy(p);
	return rc;
}

void vigia__poller_free(struct vigia__poller *p)
{
	if (p == NULL) return;
	pthread_mutex_lock(&p->helper.mutex);
	p->helper.quit = true;
	pthread_mutex_unlock(&p->helper.mutex);
	vigia__bell_ring(&p->bell, p->backend->wake); /* it may wait for a word */
	vigia__helper_stop(&p->helper);
	poller_destroy(p);
}

int vigia__poller_fd(struct vigia__poller *p)
{
	return p->epoll_fd;
}

void vigia__poller_ring(struct vigia__poller *p)
{
	uint64_t one = 1;
	(void)!write(p->event_fd, &one, sizeof one);
}

void vigia__registry_ring(struct vigia_registry *registry)
{
	if (registry->poller && !registry->stepping) vigia__poller_ring(registry->poller);
}

void vigia__poller_clear(struct vigia__poller *p)
{
	uint64_t count;
	(void)!read(p->event_fd, &count, sizeof count);
	(void)!read(p->timer_fd, &count, sizeof count);
}

static bool listens_alike(const struct vigia__listen *a, const struct vigia__listen *b)
{
	return a->count == b->count && memcmp(a->index, b->index, a->count * sizeof a->index[0]) == 0 &&
	       memcmp(a->seen, b->seen, a->count * sizeof a->seen[0]) == 0 &&
	       memcmp(a->bells_seen, b->bells_seen, sizeof a->bells_seen) == 0;
}

void vigia__poller_arm(struct vigia__poller *p, const struct vigia__listen *listen, uint64_t commits,
                       int64_t due_mono_ns)
{
	struct itimerspec timer = {0}; /* zero: disarmed */
	if (due_mono_ns != INT64_MAX) {
		int64_t at = due_mono_ns > 0 ? due_mono_ns : 1;
		timer.it_value = (struct timespec){at / 1000000000, at % 1000000000};
	}
	timerfd_settime(p->timer_fd, TFD_TIMER_ABSTIME, &timer, NULL);
	pthread_mutex_lock(&p->helper.mutex);
	bool kick = false;
	if (!p->armed || !listens_alike(&p->listen, listen)) {
		kick = p->armed && (p->listen.count != listen->count || p->listen.bells_count != listen->bells_count ||
		                    memcmp(p->listen.index, listen->index, listen->count * sizeof listen->index[0]) != 0);
		p->armed = true;
		p->generation++;
		p->listen = *listen;
		p->commits = commits;
		pthread_cond_signal(&p->helper.changed);
	}
	pthread_mutex_unlock(&p->helper.mutex);
	/* It waits for other words than it should. Where only the remembered versions differ, it is awake by itself. */
	if (kick) vigia__bell_ring(&p->bell, p->backend->wake);
}
