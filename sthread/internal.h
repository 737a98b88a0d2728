/* SPDX-License-Identifier: MIT */
/*
 * internal.h - what the files that run compartments share.  World: host.
 *
 *	sthread_call ──────────────┐
 *	sthread_create ── worker ──┴─ lane ── run loop ── vCPU, space, system calls
 *
 * A lane is all that one run needs and that is worth keeping warm: a vCPU, an address space cloned
 * from the checkpoint, a descriptor table.  A worker is a thread of the library with a lane.
 *
 * Locking: process.lock guards the lists of lanes and workers and the state of the process; a
 * lane's lock guards who may signal its thread.  Order: process.making, process.lock, lane.lock.
 */
#ifndef STHREAD_INTERNAL_H
#define STHREAD_INTERNAL_H

#include <dune.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

#include "checkpoint/image.h"
#include "sthread/cancel.h"
#include "sthread/inside/inside.h"
#include "sthread/policy/policy.h"
#include "sthread/process.h"
#include "sthread/report/record.h"
#include "sthread/syscall/syscall.h"
#include "sthread/tag/tag.h"

/*
 * What a run needs is there already in the next: pages that it made private stay mapped, of the
 * stack, of mmap's area and of a gate's message at most so many next to their ends, without a hole, so that a later run
 * can learn no more than a number.
 */
#define KEEP_STACK	     16
#define KEEP_AREA	     64
#define KEEP_MESSAGE	     2
#define KEEP_PAGES	     (KEEP_STACK + KEEP_AREA + KEEP_MESSAGE + 32)
/*
 * A space that holds more than that after a run is not worth keeping.  Page tables for tags alone are
 * apart: the next run with these tags needs them all, and to make and clear them costs far more than
 * the run.  They stay, as many as 8 GiB of small tags have, until a policy comes without those tags.
 */
#define KEEP_SPACE	     (KEEP_PAGES + 96)
#define KEEP_TAG_TABLES	     4096

enum stop_reason { STOP_NONE, STOP_KILLED, STOP_WALL, STOP_CPU };

/* What a run did with a gate that its policy grants. */
struct tally {
	unsigned calls;
	bool succeeded;
};

struct lane {
	struct dune_vcpu *vcpu;
	struct dune_space *space;
	struct sys_ctx ctx;
	void *seed[CKPT_SEEDS]; /* host addresses */
	const struct policy *holds; /* from lane_begin() to lane_end(): its tags are not destroyed; referenced */
	bool used;		/* has run before */
	bool dirty;		/* a run began, and was not cleaned up */
	bool lost;		/* its vCPU failed */
	struct tag_view tags;
	unsigned random_left;
	unsigned char random[256]; /* the kernel never gives less of so few */

	pthread_mutex_t lock;
	bool running;	/* the thread may be signalled; lock */
	bool signalled; /* lock */
	pid_t thread;	/* whose `timer` signals it; 0: none */
	timer_t timer;
	atomic_bool stop;  /* end the run */
	atomic_int reason; /* enum stop_reason */

	clockid_t cpu_clock;		/* of `thread` */
	struct lane_span {		/* nanoseconds of a clock; end UINT64_MAX: never */
		uint64_t begin, end;
	} wall, cpu;			/* of a run with a limit of time: on the watch's list */
	uint64_t cpu_seen;
	struct lane *watch_next, **watch_link;

	/* Callgates: gate/gate.h */
	uint64_t id;		  /* of the run; of a gate's, each call is one */
	struct gate_call *serves; /* the call that it runs for; NULL: it is no gate */
	const struct gate_call *above; /* the call that it was made in, unless it is a gate's lane; or NULL */
	struct lane *callee;	  /* the gate that it waits for: stopped with it; lock */
	bool made_inside;	  /* it runs a gate that a compartment made; before it is a callee */
	struct lane *signals;	  /* the lane whose timer signals its thread; NULL: its own */
	struct tally *tally;	  /* by index in its policy, once `tallied` */
	unsigned tally_cap;
	bool tallied;
	uint64_t gate_calls; /* of the run, entered */

	/* run/reclaim.c: when and where it last had too little memory */
	uint64_t short_calls;
	struct dune_frame short_at;

	/* Compartments that it makes: nest/nest.h */
	_Atomic(struct nest *) nest; /* NULL: it made none */
	_Atomic uint64_t barred;     /* the open file that was last taken back, or 0: no gate of its own gets it */
	unsigned depth;		     /* of creators above it */
	struct lane *creator;	     /* outlives it; NULL: the master, or it is a gate's */
	uint64_t cpu_limit, calls_limit; /* of this entry: of its policy, or less for a gate */
	struct lane *root;	     /* the one that has none above it; outlives all beneath */
	atomic_uint descendants;     /* of a root: sthreads beneath it that are not joined, and gates */

	struct lane *next, **link; /* all lanes */
	struct lane *idle_next;
};

struct worker {
	pthread_t thread;
	struct lane *lane;
	_Atomic uint32_t wake; /* futex: a job is there, or the end */
	_Atomic uint32_t up;   /* futex: 1 ready for jobs, 2 it could not be made so */
	struct sthread *job;   /* NULL with wake: end */
	struct worker *idle_next;
};

/*
 * A handle.  Two parties let go of it: its owner (join, detach) and the worker; and every call that
 * goes on looking at it when a join in another thread may have returned.
 */
struct sthread {
	const struct policy *policy;
	void *(*fn)(void *);
	void *arg;
	_Atomic uint32_t done; /* futex: the result is there */
	atomic_uint refs;
	pthread_mutex_t lock; /* guards lane, killed, owned */
	struct lane *lane;    /* while it runs */
	bool killed;
	uint64_t revoking; /* the open file that is being taken back; lock */
	bool owned;	/* neither joined nor detached */
	unsigned forks; /* process.forks when it was made: in a child it is the parent's */
	struct lane *root; /* made inside: its creator's; NULL: the master made it */
	struct lane *creator;
	unsigned depth;
	const struct gate_call *above; /* the call that it was made in, or NULL */
	/* Once done: what of a limit is used up for good, beneath it, too; CPU time with what its beginning and end took. */
	uint64_t spent[POLICY_LIMITS];
	struct sthread_result result;
};

/* process/fork.c */
int forks_watch(void); /* once per process, when it is loaded, or in sthread_init().  -ENOMEM */

/* run/lane.c */
void lane_discard(struct lane *l); /* it cannot be used again */
int lane_get(struct lane **out);   /* idle or new.  -EAGAIN, -ENOMEM */
struct lane *lane_get_idle(void);  /* NULL: there is none */
void lane_put(struct lane *l);	   /* clean; kept if the pool has room */
bool lanes_shrink(void);	   /* one that nobody uses goes; false: there is none */
int lane_of_thread(
	struct lane **out); /* the calling thread's own, kept between calls; -EBUSY: it runs */
/*
 * The calling thread will run it: a timer that can always signal the thread, also when the queue of
 * signals is full.
 */
int lane_arm(struct lane *l); /* -EAGAIN */
void lane_disarm(struct lane *l);
void lane_rests(void);		/* it does no more */
void lane_drop_of_thread(void); /* discards it */
void lanes_free_all(void);	/* nothing runs; process.lock held */
int lanes_init_once(void);

/* run/loop.c */
/*
 * Runs to the end.  st: on a thread of the library, for this handle; NULL: on the program's own.
 * result may be NULL.  A negative errno: it has not begun, and *result is untouched.  lane_clean()
 * must follow in any case.
 */
int lane_run(struct lane *l, const struct policy *policy, void *(*fn)(void *), void *arg,
	      struct sthread *st, struct sthread_result *result);
/*
 * The same in steps, for a lane that is entered more than once before it is put back.  begin:
 * -ENOMEM and others: it may not be entered.  enter: until fn ends; fills *result, or a negative
 * errno: it has not begun.  end: after begin in any case, before lane_clean().
 */
int lane_begin(struct lane *l, const struct policy *policy, bool own_thread);
int lane_enter(struct lane *l, void *(*fn)(void *), void *arg, struct sthread *st,
	       struct sthread_result *result);
void lane_end(struct lane *l);
/* What the policy names may be destroyed, from now on: part of the end, also of one that never came. */
void lane_let_go(struct lane *l);
/* Puts the lane back to the beginning.  False: it is of no more use. */
bool lane_clean(struct lane *l);

/* run/reclaim.c: of a run that is out of the guest */
/*
 * Memory could not be had: true: there is more now, try again.  *tried, false at first, is for the next time, so that
 * what the trial itself takes is not given back for ever.
 */
bool lane_room(struct lane *l, bool *tried);
/* What it does not need goes: dune_space_shed(), unless the run is to end. */
int lane_shed(struct lane *l);
/* lane_room() for what ring 3 touched. */
bool lane_room_to_touch(struct lane *l, const struct dune_frame *f);
/* uaccess_prepare_out() of a call that has done nothing yet. */
int lane_prepare_out(struct lane *l, uint64_t at, size_t len);

/* run/stop.c, by other threads */
/*
 * From here to lane_unlink_callee(), what stops the caller stops the callee.  False: the caller is
 * being stopped already, and nothing is linked.
 */
bool lane_link_callee(struct lane *caller, struct lane *callee);
void lane_unlink_callee(struct lane *caller);
/*
 * Makes the lane's run, if there is one, end.  True: it has not taken notice yet; then again, with
 * naps between.
 */
bool lane_stop(struct lane *l, enum stop_reason reason);
/*
 * Makes the lane's run give up what it holds of the open file that ctx.revoke says.  It is not to
 * hold that up by a gate of its own making: a call of one ends.  True: it has not yet; then again.
 */
bool lane_revoke(struct lane *l);
/* Before the next try of either. */
void lane_nap(struct timespec *nap);
#define FIRST_NAP { .tv_nsec = 20000 }

/* run/deadline.c: limits of time, in nanoseconds from now; POLICY_NO_LIMIT: none */
int watch_start(void); /* its thread, which a worker behind the wall cannot make.  -EAGAIN */
int watch_add(struct lane *l, uint64_t wall, uint64_t cpu); /* -EAGAIN: no thread */
void watch_remove(struct lane *l);
/* The run that is on the list has another limit of CPU time, from its beginning. */
void watch_cpu_limit(struct lane *l, uint64_t cpu);
/* CPU time of the calling thread. */
uint64_t watch_thread_cpu(void);
/* How much the run that is on the list has used. */
uint64_t watch_wall(const struct lane *l);
uint64_t watch_cpu(const struct lane *l);
void watch_forked(void);
void watch_fini(void);

/* run/handle.c */
void handle_get(struct sthread *st);
void handle_put(struct sthread *st);

/* run/worker.c */
/*
 * What sthread_create() does, with a policy whose reference is taken over in any case.  creator: the
 * run that asks for it, served by this thread; NULL: the master.
 */
int worker_start(struct sthread **out, const struct policy *value, void *(*fn)(void *), void *arg,
		 struct lane *creator);
/*
 * The threads that runs of the policy (NULL: none) may need, and a worker cannot make.  creator: as
 * above.  -EAGAIN.
 */
int helpers_start(const struct policy *value, const struct lane *creator);
void workers_end_idle(void); /* process.lock held */
struct lane *worker_lay_off(void); /* one at rest ends, without its lane; NULL: none rests */
void workers_bury(void);     /* all have ended; process.lock held */

/* Its vCPU failed, or what it maps cannot be told: it is of no more use. */
static inline bool lane_is_lost(const struct lane *l)
{
	return l->lost || l->tags.lost;
}

/* The lane of a run's system calls. */
static inline struct lane *lane_of(struct sys_ctx *ctx)
{
	return (struct lane *)((char *)ctx - offsetof(struct lane, ctx));
}

#endif
