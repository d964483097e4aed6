/*
 * notify_listener.c - a manager of services as far as specs need one: writes each message that comes to the socket PATH
 * (@NAME: one without a file) as a line, with | for line ends, until its standard input ends.
 */
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = argc == 2 ? strlen(argv[1]) : 0;
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	if (len == 0 || len >= sizeof address.sun_path || fd < 0) return 2;
	memcpy(address.sun_path, argv[1], len);
	if (argv[1][0] == '@') address.sun_path[0] = '\0';
	if (bind(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) != 0) return 2;
	puts("listening");
	for (;;) {
		fflush(stdout);
		struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
		if (poll(fds, 2, -1) < 0) return 2;
		if (!(fds[0].revents & POLLIN)) return 0;
		char text[4096];
		ssize_t n = recv(fd, text, sizeof text, 0);
		if (n < 0) return 2;
		for (ssize_t i = 0; i < n; i++) putchar(text[i] == '\n' ? '|' : text[i]);
		putchar('\n');
	}
}
