/*
 * explore_replace.h - makes each atomic operation, lock, futex call and look at the clock in the source that is
 * included behind it a step of explore.h. Include it after all headers of that source.
 */
#undef atomic_load
#undef atomic_load_explicit
#undef atomic_store
#undef atomic_store_explicit
#undef atomic_exchange
#undef atomic_fetch_add
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub
#undef atomic_fetch_or
#undef atomic_compare_exchange_weak
#undef atomic_compare_exchange_strong

#define atomic_load(p)                         (explore_point(), __atomic_load_n(p, __ATOMIC_SEQ_CST))
#define atomic_load_explicit(p, order)         atomic_load(p)
#define atomic_store(p, v)                     (explore_point(), __atomic_store_n(p, v, __ATOMIC_SEQ_CST))
#define atomic_store_explicit(p, v, order)     atomic_store(p, v)
#define atomic_exchange(p, v)                  (explore_point(), __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST))
#define atomic_fetch_add(p, v)                 (explore_point(), __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST))
#define atomic_fetch_add_explicit(p, v, order) atomic_fetch_add(p, v)
#define atomic_fetch_sub(p, v)                 (explore_point(), __atomic_fetch_sub(p, v, __ATOMIC_SEQ_CST))
#define atomic_fetch_or(p, v)                  (explore_point(), __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST))
#define atomic_compare_exchange_weak(p, old, v) \
	(explore_point(), __atomic_compare_exchange_n(p, old, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
#define atomic_compare_exchange_strong(p, old, v) atomic_compare_exchange_weak(p, old, v)

#define pthread_mutex_init(mutex, attr)              ((void)(mutex))
#define pthread_mutex_destroy(mutex)                 ((void)(mutex))
#define pthread_mutex_lock(mutex)                    explore_lock(mutex)
#define pthread_mutex_unlock(mutex)                  explore_unlock(mutex)
#define pthread_cond_init(cond, attr)                ((void)(cond))
#define pthread_cond_destroy(cond)                   ((void)(cond))
#define pthread_cond_wait(cond, mutex)               explore_cond_wait(cond, mutex)
#define pthread_cond_signal(cond)                    explore_futex_wake(cond, 1, UINT32_MAX)
#define pthread_join(thread, result)                 explore_join((int)(thread))
#define sched_yield()                                explore_point()
#define vigia__mono_ns()                             explore_mono_ns()
#define vigia__thread_start(thread, stack, run, arg) explore_thread(thread, run, arg)
#define syscall                                      explore_syscall
