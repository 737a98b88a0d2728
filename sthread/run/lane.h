/* SPDX-License-Identifier: MIT */
/*
 * lane.h - lanes: all that one run needs and that is worth keeping warm.  World: host.
 *
 *	sthread_call ──────────────┐
 *	sthread_create ── worker ──┴─ lane ── run loop ── vCPU, space, system calls
 *
 * A lane has a vCPU, an address space cloned from the checkpoint, and a descriptor table.  A
 * worker is a thread of the library with a lane.  Each part of a lane belongs to the file that
 * declares it.
 *
 * Locking: process.lock guards the lists of lanes; stop.lock who may signal the thread; all else
 * is for the thread that runs the lane.  Order: process.making, process.lock, stop.lock.
 */
#ifndef STHREAD_RUN_LANE_H
#define STHREAD_RUN_LANE_H

#include <dune.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sthread.h>

#include "checkpoint/image.h"
#include "sthread/policy/policy.h"
#include "sthread/run/deadline.h"
#include "sthread/run/reclaim.h"
#include "sthread/run/stop.h"
#include "sthread/syscall/syscall.h"
#include "sthread/tag/tag.h"

struct gate_call;
struct gate_own;
struct nest;
struct sthread;

/* What a run did with a gate that it may call. */
struct gate_count {
	unsigned calls;
	bool succeeded;
};

/* The run's part in calls of gates. */
struct gate_use {
	struct gate_call *serving; /* the call that it runs for; NULL: it is no gate */
	const struct gate_call *enclosing_call; /* that it was made in, unless it is a gate's lane; or NULL */
	struct gate_count *count; /* by index in its policy, once `counted` */
	unsigned cap;
	bool counted;
	struct gate_own *own; /* STHREAD_NEST_LIVE places for gates that it makes; NULL: it made none */
};

/* How nest/ ends what the run made. */
struct nest_ops {
	void (*end)(struct lane *l);  /* all children and gates, before the run is over */
	void (*fini)(struct lane *l); /* the run is over: nothing is left */
};

/* Its place among compartments that make compartments. */
struct nest_link {
	_Atomic(struct nest *) made; /* NULL: nothing */
	const struct nest_ops *ops;  /* once there is something */
	_Atomic uint64_t revoking_file; /* the open file that was last taken back, or 0: no gate of its own gets it */
	unsigned depth;		     /* of creators above it */
	struct lane *creator;	     /* outlives it; NULL: the master, or it is a gate's */
	struct lane *root;	     /* the one that has none above it; outlives all beneath */
	atomic_uint descendants;     /* of a root: sthreads beneath it that are not joined, and gates */
};

struct lane {
	struct dune_vcpu *vcpu;
	struct dune_space *space;
	struct sys_ctx ctx;
	void *seed[CKPT_SEEDS]; /* host addresses */
	const struct policy *pinned; /* from lane_begin() to lane_end(); NULL: none */
	uint64_t id;		/* of the run; of a gate's, each call is one */
	bool used;		/* has run before */
	bool lost;		/* its vCPU failed */
	unsigned random_left;
	unsigned char random[256]; /* the kernel never gives less of so few */

	struct stop_state stop;
	struct deadline deadline;
	struct shortage shortage;
	struct tag_view tags;
	struct gate_use gates;
	struct nest_link nest;
	struct budget budget; /* of this entry: of its policy, or less for a gate */

	struct lane *next, **link; /* all lanes */
	struct lane *idle_next;
};

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

/* ---- lane.c ---- */

int lanes_init_once(void);
int lane_get(struct lane **out);   /* idle or new.  -EAGAIN, -ENOMEM */
struct lane *lane_get_idle(void);  /* NULL: there is none */
void lane_put(struct lane *l);	   /* clean; kept if the pool has room */
void lane_discard(struct lane *l); /* it cannot be used again */
bool lanes_shrink(void);	   /* an idle one goes; false: there is none */
void lanes_free_all(void);	   /* nothing runs; process.lock held */
/* The calling thread's own, kept between calls; -EBUSY: it runs. */
int lane_of_thread(struct lane **out);
void lane_rests(void);		/* it does no more */
void lane_drop_of_thread(void); /* discards it */
/*
 * The calling thread will run it: a timer that can always signal the thread, also when the queue of
 * signals is full.
 */
int lane_arm(struct lane *l); /* -EAGAIN */
void lane_disarm(struct lane *l);

/* ---- loop.c ---- */

/* One entry: what runs, and for whom. */
struct lane_entry {
	void *(*fn)(void *);
	void *arg;
	struct sthread *st; /* on a thread of the library, for this handle; NULL: on the program's own, or a gate */
	struct lane *root;  /* NULL: the lane is one */
	struct lane *creator;
	unsigned depth;
	const struct gate_call *enclosing_call;
	uint64_t cpu, calls; /* limits beside those of its policy; POLICY_NO_LIMIT: none */
};

/*
 * Runs to the end, with a policy that is pinned, which is taken over in any case.  st: on a
 * thread of the library, for this handle; NULL: on the program's own.  result may be NULL.  A
 * negative errno: it has not begun, and *result is untouched.  lane_clean() must follow in any
 * case.
 */
int lane_run(struct lane *l, const struct policy *policy, void *(*fn)(void *), void *arg,
	      struct sthread *st, struct sthread_result *result);
/*
 * The same in steps, for a lane that is entered more than once before it is put back.  begin: the
 * pinned policy is taken over in any case, until end; -ENOMEM and others: it may not be entered.
 * enter: until fn ends; fills *result, and l->budget.spent; or a negative errno: it has not
 * begun.  end: after begin in any case, before lane_clean().
 */
int lane_begin(struct lane *l, const struct policy *policy, bool on_worker);
int lane_enter(struct lane *l, const struct lane_entry *e, struct sthread_result *result);
void lane_end(struct lane *l);
/*
 * Part of the end, also of one that never came: what the policy names may be destroyed from now
 * on.
 */
void lane_unpin_policy(struct lane *l);
/* Puts the lane back to the beginning.  False: it is of no more use. */
bool lane_clean(struct lane *l);

#endif
