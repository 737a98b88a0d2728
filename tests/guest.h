/* SPDX-License-Identifier: MIT */
/*
 * guest.h - a virtual machine and small ring-3 routines for the tests of dune.h.  World: host.
 *
 * A space from guest_space() has three pages besides what the test maps: the routines (GUEST_CODE), a stack
 * (below GUEST_STACK_TOP) and a page of its own that the host reads too (GUEST_SHARED, guest_shared()).
 */
#ifndef TESTS_GUEST_H
#define TESTS_GUEST_H

#include <pthread.h>
#include <stdatomic.h>

#include "include/dune.h"
#include "tests/test.h"

#define GUEST_CODE	0x10000000UL
#define GUEST_STACK_TOP 0x11001000UL
#define GUEST_SHARED	0x12000000UL

#define GUEST_HUGE	(2UL << 20)
#define GUEST_DONE	1000UL /* the system call that ends a routine; its result is in rdi */

#define VECTOR_PF	14
#define PF_ABSENT_READ	4
#define PF_ABSENT_WRITE 6
#define PF_DENIED_WRITE 7
#define PF_DENIED_FETCH 0x15

#define RX		(DUNE_READ | DUNE_EXEC)
#define RW		(DUNE_READ | DUNE_WRITE)
#define RO		DUNE_READ

extern struct dune_vm *guest_vm;
extern struct dune_vm_info guest_info;
extern int guest_kick_signal;

/* The VM with an arena of `arena` bytes, its placement as the environment asks; skips without /dev/kvm. */
void guest_start(size_t arena);
/* Destroys it; what is left in it goes with it. */
void guest_stop(void);
/* A reserved, aligned range, as dune_vm_config.base wants it. */
void *guest_reserve(size_t size);

struct dune_space *guest_space(void);
struct dune_vcpu *guest_vcpu(void);
/* Adds the three pages to a space. */
void guest_furnish(struct dune_space *s);
volatile uint64_t *guest_shared(struct dune_space *s);

/* A page, its words all `value`. */
dune_gpa_t guest_page(uint64_t value);
void guest_fill(dune_gpa_t page, size_t pages, uint64_t value);
/* Maps a new page of this value, owned by the mapping. */
dune_gpa_t guest_map(struct dune_space *s, uint64_t at, uint64_t value, unsigned prot);
/* Copies code to a new page, mapped to be executed. */
void guest_map_code(struct dune_space *s, uint64_t at, const void *start, const void *end);

/* Routines in the code page, by offset; arguments in rdi, rsi, rdx. */
extern const char guest_routines[], guest_routines_end[];
extern const char guest_r_nop[];    /* done(rdi) */
extern const char guest_r_read[];   /* done(*rdi) */
extern const char guest_r_write[];  /* *rdi = rsi, done(rsi) */
extern const char guest_r_call[];   /* jump to rdi */
extern const char guest_r_spin[];   /* for ever: ++*rdx */
extern const char guest_r_watch[];  /* while (*rdi == rsi) ++*rdx; done(what it was) */
extern const char guest_r_hammer[]; /* for ever: *rdi = rsi, ++*rdx */
extern const char
	guest_r_watch_call[]; /* while (*rdi == rsi) ++*rdx, system call 1001; done(what it was) */
extern const char
	guest_r_touch[]; /* each page of [rdi, rsi): its address into it, ++*rdx; done(rsi) */
extern const char guest_r_sum[]; /* done(sum of the first word of each page of [rdi, rsi)) */

static inline uint64_t guest_at(const char *routine)
{
	return GUEST_CODE + (uint64_t)(routine - guest_routines);
}

struct dune_frame guest_frame(const char *routine, uint64_t rdi, uint64_t rsi, uint64_t rdx);
/* Runs the routine until it is done, and gives the result; anything else fails the test. */
uint64_t guest_call(struct dune_vcpu *c, struct dune_space *s, const char *routine, uint64_t rdi,
		    uint64_t rsi);

#define guest_read(c, s, at)	     guest_call(c, s, guest_r_read, at, 0)
#define guest_write(c, s, at, value) (void)guest_call(c, s, guest_r_write, at, value)

/* The access must end in exactly this page fault. */
void guest_expect_fault(struct dune_vcpu *c, struct dune_space *s, const char *routine, uint64_t at,
			uint64_t error, const char *file, int line);
#define guest_read_fault(c, s, at, error) \
	guest_expect_fault(c, s, guest_r_read, at, error, __FILE__, __LINE__)
#define guest_write_fault(c, s, at, error) \
	guest_expect_fault(c, s, guest_r_write, at, error, __FILE__, __LINE__)

const char *guest_exit_name(enum dune_exit e);
/* For messages; static buffer of the thread. */
const char *guest_exit_text(enum dune_exit e, const struct dune_frame *f);

/* ---- a routine on a thread of its own --------------------------------------------------------------- */

struct guest_thread {
	pthread_t thread;
	struct dune_vcpu *vcpu;
	struct dune_space *space;
	struct dune_frame frame;
	enum dune_exit exit; /* of the last run */
	atomic_bool stop;    /* at the next exit */
	atomic_bool ended;
	uint64_t calls; /* system calls 1001 answered */
};

/* Runs until anything but system call 1001 or, unless `stop` is set, a kick. */
void guest_thread_start(struct guest_thread *t, struct dune_vcpu *c, struct dune_space *s,
			const char *routine, uint64_t rdi, uint64_t rsi, uint64_t rdx);
void guest_thread_start_at(struct guest_thread *t, struct dune_vcpu *c, struct dune_space *s,
			   struct dune_frame f);
/* Waits for its end, at most some seconds: a thread that never ends fails the test. */
void guest_thread_join(struct guest_thread *t);
/* Kicks it out. */
void guest_thread_stop(struct guest_thread *t);
/* Until *counter has moved by `by`: the guest runs. Fails after some seconds; false if t ended instead. */
bool guest_wait_progress(const struct guest_thread *t, volatile uint64_t *counter, uint64_t by);

uint64_t guest_now_ms(void);
/*
 * Rounds that wait for another thread take as long as the machine is busy: true until `ms` after `*start` (0 at first),
 * when the rest of the rounds is left out.
 */
bool guest_in_time(uint64_t *start, uint64_t ms);

/* The VM's pages in use. */
uint64_t guest_pages_used(void);

#endif
