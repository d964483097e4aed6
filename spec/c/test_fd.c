/*
 * test_fd.c - descriptors above the standard ones: what VIGIA_FD makes, and what becomes of 0, 1 and 2 meanwhile and
 * afterwards.
 */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>

#include "store/fd.h"

static int kept[3];

/* cmocka speaks through them: nothing is asserted until they are back. */
static void standard_close(void)
{
	for (int fd = 0; fd < 3; fd++) {
		kept[fd] = fcntl(fd, F_DUPFD_CLOEXEC, 10);
		close(fd);
	}
}

static void standard_restore(void)
{
	for (int fd = 0; fd < 3; fd++) {
		dup2(kept[fd], fd);
		close(kept[fd]);
	}
}

static bool closed(int fd)
{
	return fcntl(fd, F_GETFD) < 0 && errno == EBADF;
}

static void S22_what_is_opened_is_above_and_the_three_stay_closed(void **state)
{
	(void)state;
	int fds[2];
	standard_close();
	int one = VIGIA_FD(open("/dev/null", O_WRONLY | O_CLOEXEC)), two = VIGIA_FD(pipe2(fds, O_CLOEXEC));
	errno = 0;
	int none = VIGIA_FD(open("/there/is/none", O_RDONLY | O_CLOEXEC)), number = errno;
	bool all_closed = closed(0) && closed(1) && closed(2);
	standard_restore();
	assert_true(one > 2);
	assert_int_equal(two, 0);
	assert_true(fds[0] > 2 && fds[1] > 2);
	assert_int_equal(none, -1);
	assert_int_equal(number, ENOENT);
	assert_true(all_closed);
	close(one);
	close(fds[0]);
	close(fds[1]);
}

static void S22_meanwhile_they_fail_as_closed_ones_do(void **state)
{
	(void)state;
	char byte;
	standard_close();
	int begun = vigia__fd_begin();
	ssize_t written = write(1, "text", 4);
	int write_number = errno;
	ssize_t got = read(0, &byte, 1);
	int read_number = errno;
	int other = open("/dev/null", O_RDONLY | O_CLOEXEC); /* the host's */
	int result = vigia__fd_end(7);
	bool all_closed = closed(0) && closed(1) && closed(2);
	standard_restore();
	assert_int_equal(begun, 0);
	assert_int_equal(written, -1);
	assert_int_equal(write_number, EBADF);
	assert_int_equal(got, -1);
	assert_int_equal(read_number, EBADF);
	assert_true(other > 2);
	assert_int_equal(result, 7);
	assert_true(all_closed);
	close(other);
}

static void S22_what_the_host_puts_in_their_place_is_left_alone(void **state)
{
	(void)state;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	standard_close();
	vigia__fd_begin();
	dup2(null, 1);
	vigia__fd_end(0);
	bool left = closed(0) && !closed(1) && closed(2);
	close(1);
	standard_restore();
	close(null);
	assert_true(left);
}

static void S22_a_child_forked_meanwhile_has_them_closed(void **state)
{
	(void)state;
	int status = -1;
	standard_close();
	vigia__fd_begin();
	pid_t pid = fork();
	if (pid == 0) {
		int fd = closed(0) && closed(1) && closed(2) ? VIGIA_FD(open("/dev/null", O_RDONLY | O_CLOEXEC)) : -1;
		_exit(fd > 2 && closed(0) ? 0 : 1);
	}
	vigia__fd_end(0);
	if (pid > 0) waitpid(pid, &status, 0);
	standard_restore();
	assert_true(pid > 0);
	assert_int_equal(status, 0);
}

enum { THREADS = 4, TIMES = 200 };

static void *open_often(void *arg)
{
	bool *low = arg;
	for (int i = 0; i < TIMES; i++) {
		int fd = VIGIA_FD(open("/dev/null", O_RDONLY | O_CLOEXEC));
		*low |= fd < 3;
		close(fd);
	}
	return NULL;
}

static void S22_threads_that_open_at_the_same_time(void **state)
{
	(void)state;
	pthread_t threads[THREADS];
	bool low[THREADS] = {false}, any = false;
	standard_close();
	for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, open_often, &low[i]);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		any |= low[i];
	}
	bool all_closed = closed(0) && closed(1) && closed(2);
	standard_restore();
	assert_false(any);
	assert_true(all_closed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(S22_what_is_opened_is_above_and_the_three_stay_closed),
		cmocka_unit_test(S22_meanwhile_they_fail_as_closed_ones_do),
		cmocka_unit_test(S22_what_the_host_puts_in_their_place_is_left_alone),
		cmocka_unit_test(S22_a_child_forked_meanwhile_has_them_closed),
		cmocka_unit_test(S22_threads_that_open_at_the_same_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
