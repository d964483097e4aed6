/*
 * map_holder.c - a process that has a store open and COUNT memory maps, until its standard input ends: map_holder STORE
 * COUNT. It says "ready".
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vigia.h>

int main(int argc, char **argv)
{
	struct vigia_store *store;
	struct vigia_error err;
	char byte;
	size_t page = (size_t)sysconf(_SC_PAGESIZE), count = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
	if (count == 0 || vigia_store_open(argv[1], NULL, &store, &err) != 0) return 2;
	char *area = mmap(NULL, count * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED) return 2;
	/* each second page otherwise protected: the kernel keeps each as a map of its own */
	for (size_t i = 1; i < count; i += 2)
		if (mprotect(area + i * page, page, PROT_READ) != 0) return 2;
	puts("ready");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0) continue;
	vigia_store_free(store);
	return 0;
}
