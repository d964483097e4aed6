/*
 * preload_once.c - preloaded behind a sanitizer's runtime: takes LD_PRELOAD out of the environment again, so that the
 * programs which this one starts are their own. Shells and other programs are slow with the runtime, crash, or stand
 * still (pgrep under AddressSanitizer).
 */
#include <stdlib.h>

__attribute__((constructor)) static void forget(void)
{
	unsetenv("LD_PRELOAD");
}
