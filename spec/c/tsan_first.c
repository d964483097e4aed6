/*
 * tsan_first.c - preloaded together with clang's runtime of ThreadSanitizer: starts it before any other library is
 * initialised. Alone it starts when the first of our own is, and one that it needs itself (libstdc++) makes calls that
 * go through it by then: a crash.
 */
extern void __tsan_init(void) __attribute__((weak)); /* the symbolizer inherits what is preloaded, but has no runtime */

__attribute__((constructor)) static void start(void)
{
	if (__tsan_init) __tsan_init();
}
