/* SPDX-License-Identifier: MIT */
/*
 * st.h - what tests of whole compartments share: init, policies, runs with expected ends.  World: host; functions
 * made by ST_FN run inside.
 *
 * CHECK() of test.h works inside too: it ends the compartment as EXITED with 1, and its words are the message of the
 * result, which the functions below print.  A function for ST_PASSES() returns NULL if all went well.
 *
 * All functions end the test as failed if what they say does not come true.
 */
#ifndef TESTS_ST_H
#define TESTS_ST_H

#include <sthread.h>
#include <sys/syscall.h>

#include "tests/test.h"

/* A function that is there once, as it is written. */
#ifdef __clang__
#define ST_ALONE noinline
#else
#define ST_ALONE noinline, noclone
#endif

/* ---- init: placement as the run asks for it ---------------------------------------------------------- */

/* Skips the test where there is no KVM. */
void st_init(void);
/* With further settings: cfg's size and placement are filled in. */
void st_init_with(struct sthread_config cfg);

/* ---- policies ---------------------------------------------------------------------------------------- */

/* Grants nothing. */
struct sthread_policy *st_policy(void);
void st_allow_list(struct sthread_policy *p, const long *nr, size_t n);
/* st_allow(p, SYS_read, SYS_write); */
#define st_allow(p, ...)                                                                     \
	st_allow_list((p), (const long[]){ __VA_ARGS__ },                                    \
		      sizeof((const long[]){ __VA_ARGS__ }) / sizeof(long))
void st_action(struct sthread_policy *p, long nr, enum sthread_action action);
void st_grant(struct sthread_policy *p, int fd, unsigned rights);
void st_grant_dir(struct sthread_policy *p, int dirfd, unsigned rights);
void st_limit(struct sthread_policy *p, enum sthread_limit limit, uint64_t value);
/* Every call of the table that touches the outside is allowed; no descriptor is. */
struct sthread_policy *st_policy_all_calls(void);

/* ---- runs -------------------------------------------------------------------------------------------- */

typedef void *st_fn(void *);

/* On this thread; by create and join.  p NULL: a policy that grants nothing. */
struct sthread_result st_call(const struct sthread_policy *p, st_fn *fn, void *arg);
struct sthread_result st_run(const struct sthread_policy *p, st_fn *fn, void *arg);
/* Both, for who tries both: their lanes are this thread's own, and the pool's. */
typedef struct sthread_result st_run_fn(const struct sthread_policy *p, st_fn *fn, void *arg);
extern st_run_fn *const st_both[2];
struct sthread *st_create(const struct sthread_policy *p, st_fn *fn, void *arg);
struct sthread_result st_join(struct sthread *st);

/* How much longer things take here than on a processor that is not emulated: for limits of time, and by when one that
 * was reached must have ended a run, ns. */
unsigned st_slow(void);
uint64_t st_late(void);

/* How it ended, in words, with message and fault report: for the words of a failure.  A static buffer. */
const char *st_words(const struct sthread_result *r);

/* It ended this way. */
void st_expect_end(const char *file, int line, const struct sthread_result *r, enum sthread_end end);
#define ST_END(r, how) st_expect_end(__FILE__, __LINE__, (r), (how))
/* ... and with this value. */
void st_expect_value(const char *file, int line, const struct sthread_result *r, enum sthread_end end,
		     uint64_t value);
#define ST_RETURNED(r, v) st_expect_value(__FILE__, __LINE__, (r), STHREAD_RETURNED, (uint64_t)(v))
#define ST_EXITED(r, v) st_expect_value(__FILE__, __LINE__, (r), STHREAD_EXITED, (uint64_t)(v))
#define ST_DENIED(r, nr) st_expect_value(__FILE__, __LINE__, (r), STHREAD_DENIED, (uint64_t)(nr))
/* OVER_LIMIT, and which; ABORTED, and what its message holds. */
void st_expect_limit(const char *file, int line, const struct sthread_result *r, enum sthread_limit limit);
#define ST_LIMIT(r, which) st_expect_limit(__FILE__, __LINE__, (r), (which))
void st_expect_abort(const char *file, int line, const struct sthread_result *r, const char *message);
#define ST_ABORTED(r, message) st_expect_abort(__FILE__, __LINE__, (r), (message))

/* Runs fn(arg) on this thread: it returns NULL. */
void st_expect_pass(const char *file, int line, const struct sthread_policy *p, st_fn *fn, const char *name,
		    void *arg);
#define ST_PASSES(p, fn, arg) st_expect_pass(__FILE__, __LINE__, (p), (fn), #fn, (void *)(arg))

/* ---- faults ------------------------------------------------------------------------------------------ */

/*
 * A function in a section of its own, so that it is known exactly where it begins and ends:
 *
 *	ST_FN(reads) { return (void *)(uintptr_t)*(volatile char *)arg; }
 *	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, addr, 1, ST_IN(reads), "not mapped");
 */
struct st_place {
	const char *start, *end, *name;
};
#define ST_FN(fn)                                                                            \
	extern const char __start_st_##fn[], __stop_st_##fn[];                               \
	static void *fn(void *arg) __attribute__((ST_ALONE, used, section("st_" #fn))); \
	static void *fn(void *arg __attribute__((unused)))
#define ST_IN(fn) ((struct st_place){ __start_st_##fn, __stop_st_##fn, #fn })
/* The instruction pointer is elsewhere (C library, nowhere), yet the function is in the backtrace. */
#define ST_BELOW(fn) ((struct st_place){ __start_st_##fn, NULL, #fn })
/* Neither is looked at. */
#define ST_ANYWHERE ((struct st_place){ NULL, NULL, NULL })
#define ST_ANY UINT64_MAX /* any address, any access */

/*
 * FAULTED: this kind, address and access (0: not a matter of memory), in this function, which the report names; and
 * the report holds `text` (NULL: not looked at).
 */
void st_expect_fault(const char *file, int line, const struct sthread_result *r, enum sthread_fault kind,
		     uint64_t address, uint64_t access, struct st_place in, const char *text);
#define ST_FAULTS(r, kind, address, access, in, text)                                        \
	st_expect_fault(__FILE__, __LINE__, (r), (kind), (uint64_t)(address), (access), (in), (text))

/* ---- the others go on -------------------------------------------------------------------------------- */

/*
 * A new run on this thread, and an sthread that has been running since the first call of this, both answer.  Say it
 * after every attack.
 */
void st_others_live(void);

#endif
