/* SPDX-License-Identifier: MIT */
/* loop.c - one run of a compartment, from its first instruction to its record.  World: host. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arch/cpu.h"
#include "sthread/inside/hostcall.h"
#include "sthread/process.h"
#include "sthread/report/record.h"
#include "sthread/run/budget.h"
#include "sthread/run/call.h"
#include "sthread/run/handle.h"
#include "sthread/run/lane.h"
#include "sthread/tag/tag.h"

/* Numbers that no process of this machine has (pid_max is at most 2^22). */
#define FIRST_PID   4194305u
#define PIDS	    (2147483647u - FIRST_PID)

/*
 * Private pages of a run stay mapped for the next.  Of the stack, of mmap's area and of a gate's
 * message at most so many stay, next to a fixed end and without a hole: so a later run can learn
 * how many there were, and not which.
 */
#define KEEP_STACK	16
#define KEEP_AREA	64
#define KEEP_MESSAGE	2
#define KEEP_PAGES	(KEEP_STACK + KEEP_AREA + KEEP_MESSAGE + 32)
/*
 * A space that holds more than that after a run is not worth keeping.  Page tables for tags alone
 * are apart: the next run with these tags needs them all, and to make and clear them costs far
 * more than the run.  They stay, as many as 8 GiB of small tags have, until a policy comes
 * without those tags.
 */
#define KEEP_SPACE	(KEEP_PAGES + 96)
#define KEEP_TAG_TABLES 4096

/* Fresh bytes from the kernel, fetched some at a time. */
static int take_random(struct lane *l, void *to, size_t len)
{
	if (l->random_left < len) {
		ssize_t n;

		do {
			n = getrandom(l->random, sizeof(l->random), 0);
		} while (n < 0 && errno == EINTR);
		if (n != (ssize_t)sizeof(l->random))
			return -EIO;
		l->random_left = sizeof(l->random);
	}
	l->random_left -= (unsigned)len;
	memcpy(to, l->random + l->random_left, len);
	explicit_bzero(l->random + l->random_left, len);
	return 0;
}

static int plant_seeds(struct lane *l)
{
	const struct ckpt_seed *seeds = ckpt_seeds(process.ckpt);

	for (int i = 0; i < CKPT_SEEDS; i++) {
		int err = take_random(l, l->seed[i], seeds[i].len);

		if (err)
			return err;
		memset(l->seed[i], 0, seeds[i].zero);
	}
	return 0;
}

static int begin(struct lane *l, const struct policy *policy, bool on_worker)
{
	struct sys_answer answers[SYS_ANSWERS];
	uint64_t memory = policy->limit[STHREAD_LIMIT_MEMORY];
	unsigned n;
	int err;

	while ((err = tag_map(&l->tags, policy)) == -ENOMEM && !lane_is_lost(l) && lanes_shrink())
		;
	if (err)
		return err;
	if (memory != POLICY_NO_LIMIT)
		dune_space_limit(l->space, memory / DUNE_PAGE_SIZE ? memory / DUNE_PAGE_SIZE : 1);
	/* It begins within its limit, so that nothing that it has can have been too much. */
	if (!dune_space_room(l->space) && (err = dune_space_shed(l->space, CKPT_SEEDS, NULL, NULL)))
		return err;
	l->ctx.policy = policy;
	l->ctx.on_worker = on_worker;
	l->ctx.pid = (int)(FIRST_PID + atomic_fetch_add(&process.next_pid, 1) % PIDS);
	l->ctx.tid = l->ctx.pid;
	if ((err = sys_begin(&l->ctx)))
		return err;
	n = sys_answers(&l->ctx, answers);
	for (unsigned i = 0; i < n && !err; i++)
		err = dune_space_answer(l->space, answers[i].nr, answers[i].value);
	if (err || (err = plant_seeds(l)))
		return err;
	return dune_region_add(l->space, dune_gva(process.stack_low), STACK_SIZE,
			       DUNE_READ | DUNE_WRITE);
}

/*
 * A call that ran out of memory did nothing yet, and is made again; host calls see to that
 * themselves.
 */
static enum sys_outcome call(struct lane *l, struct dune_frame *f)
{
	const struct cpu_call c = cpu_call(f);
	bool own = host_call_number(c.nr, c.arg[5]) != 0, tried = false;
	enum sys_outcome outcome;

	do {
		outcome = sys_dispatch(&l->ctx, f);
	} while (outcome == SYS_END && l->ctx.mem.nomem && !own && lane_reclaim(l, &tried));
	return outcome;
}

/* True: the run has ended, as r says. */
static bool step(struct lane *l, struct dune_frame *f, struct sthread_result *r)
{
	switch (dune_vcpu_run(l->vcpu, l->space, f)) {
	case DUNE_EXIT_SYSCALL:
		if (call(l, f) == SYS_RESUME || (l->ctx.mem.nomem && atomic_load(&l->stop.requested)))
			break; /* a stop is pending: report that, not out-of-memory */
		r->end = l->ctx.end;
		r->value = (void *)l->ctx.value;
		r->limit = l->ctx.limit;
		return true;
	case DUNE_EXIT_FAULT:
		result_fault(f, r);
		return true;
	case DUNE_EXIT_KICKED:
		sys_attend(&l->ctx);
		break;
	case DUNE_EXIT_NOMEM:
		if (lane_reclaim_to_touch(l, f))
			break;
		r->end = STHREAD_OVER_LIMIT;
		r->limit = STHREAD_LIMIT_MEMORY;
		r->address = f->cr2;
		return true;
	case DUNE_EXIT_BUSY: /* a lane's space is its own */
	case DUNE_EXIT_LOST:
		r->end = STHREAD_LOST;
		return true;
	}
	return false;
}

static void count(const struct sthread_result *r)
{
	switch (r->end) {
	case STHREAD_ABORTED:
	case STHREAD_FAULTED:
		atomic_fetch_add(&process.faulted, 1);
		break;
	case STHREAD_DENIED:
		atomic_fetch_add(&process.denied, 1);
		break;
	case STHREAD_OVER_LIMIT:
		atomic_fetch_add(&process.limited, 1);
		break;
	case STHREAD_KILLED:
		atomic_fetch_add(&process.killed, 1);
		break;
	default:
		break;
	}
}

/*
 * Remembers image pages that a run wrote: the next run, in any lane, is likely to write them,
 * too.
 */
static void note_prefault(struct lane *l)
{
	const struct dune_private *list;
	size_t n = dune_space_private(l->space, &list);

	pthread_mutex_lock(&process.lock);
	for (size_t i = 0; i < n && process.nprefault < PREFAULT_PAGES; i++) {
		uint64_t at = list[i].at.v;
		bool known = at >= process.area_start && at < process.stack_top;

		for (unsigned k = 0; k < process.nprefault; k++)
			known |= process.prefault[k] == at;
		for (int k = 0; k < CKPT_SEEDS; k++)
			known |= (ckpt_seeds(process.ckpt)[k].at & ~(DUNE_PAGE_SIZE - 1)) == at;
		if (!known)
			process.prefault[process.nprefault++] = at;
	}
	pthread_mutex_unlock(&process.lock);
}

/* From here to finished() the run can be stopped. */
static void started(struct lane *l, struct sthread *st)
{
	bool killed = false;

	pthread_mutex_lock(&l->stop.lock);
	l->stop.signalled = false;
	l->stop.running = true;
	pthread_mutex_unlock(&l->stop.lock);
	if (!st)
		return;
	pthread_mutex_lock(&st->lock);
	st->lane = l;
	killed = st->killed;
	pthread_mutex_unlock(&st->lock);
	if (killed)
		lane_stop(l, STOP_KILLED);
}

static void finished(struct lane *l, struct sthread *st)
{
	bool signalled;

	pthread_mutex_lock(&l->stop.lock);
	l->stop.running = false;
	signalled = l->stop.signalled;
	atomic_store(&l->stop.requested, false);
	atomic_store(&l->stop.reason, STOP_NONE);
	pthread_mutex_unlock(&l->stop.lock);
	/* A signal on its way arrives at the end of this call, not in one of the program's. */
	if (signalled)
		syscall(SYS_gettid);
	dune_vcpu_unkick(l->vcpu);
	if (!st)
		return;
	pthread_mutex_lock(&st->lock);
	st->lane = NULL;
	pthread_mutex_unlock(&st->lock);
}

static bool stopped(struct lane *l, struct sthread_result *r)
{
	if (!atomic_load(&l->stop.requested))
		return false;
	switch ((enum stop_reason)atomic_load(&l->stop.reason)) {
	case STOP_WALL:
		r->end = STHREAD_OVER_LIMIT;
		r->limit = STHREAD_LIMIT_WALL_NS;
		break;
	case STOP_CPU:
		r->end = STHREAD_OVER_LIMIT;
		r->limit = STHREAD_LIMIT_CPU_NS;
		break;
	default:
		r->end = STHREAD_KILLED;
	}
	return true;
}

/* How much of the limit it had used. */
static void amount(struct lane *l, struct sthread_result *r)
{
	uint64_t used = budget_lent(l, r->limit);

	if (r->limit == STHREAD_LIMIT_MEMORY)
		used += dune_space_pages(l->space) * DUNE_PAGE_SIZE;
	else if (r->limit == STHREAD_LIMIT_WALL_NS)
		used += watch_wall(l);
	else if (r->limit == STHREAD_LIMIT_CPU_NS)
		used += watch_cpu(l);
	else if (r->limit == STHREAD_LIMIT_GATE_CALLS)
		used += l->budget.spent[STHREAD_LIMIT_GATE_CALLS];
	r->value = (void *)used;
}

int lane_begin(struct lane *l, const struct policy *policy, bool on_worker)
{
	l->pinned = policy;
	return begin(l, policy, on_worker);
}

/* What its policy says, or less. */
static void set_limits(struct budget *b, const uint64_t *of_policy, const struct lane_entry *e)
{
	memcpy(b->limit, of_policy, sizeof(b->limit));
	if (e->cpu < b->limit[STHREAD_LIMIT_CPU_NS])
		b->limit[STHREAD_LIMIT_CPU_NS] = e->cpu;
	if (e->calls < b->limit[STHREAD_LIMIT_GATE_CALLS])
		b->limit[STHREAD_LIMIT_GATE_CALLS] = e->calls;
	memset(b->spent, 0, sizeof(b->spent));
}

int lane_enter(struct lane *l, const struct lane_entry *e, struct sthread_result *result)
{
	uint64_t wall = l->ctx.policy->limit[STHREAD_LIMIT_WALL_NS];
	uint64_t own = l->ctx.policy->limit[STHREAD_LIMIT_CPU_NS];
	uint64_t cpu = e->cpu < own ? e->cpu : own;
	bool watched = wall != POLICY_NO_LIMIT || cpu != POLICY_NO_LIMIT;
	struct sthread_result r = { .end = STHREAD_LOST };
	struct dune_frame f = {
		.rip = (uint64_t)dune_reset_entry,
		.rsp = process.stack_top - STACK_TOP_RESERVED,
		.rdi = (uint64_t)e->arg,
		.rdx = (uint64_t)e->fn,
		.rcx = ckpt_fs_base(process.ckpt),
	};
	int err;

	if (watched && (err = watch_add(l, wall, cpu)))
		return err;
	atomic_fetch_add(l->used ? &process.recycled : &process.cold, 1);
	l->id = atomic_fetch_add(&process.next_id, 1) + 1;
	l->gates.counted = false;
	l->shortage.calls = UINT64_MAX;
	atomic_store(&l->nest.revoking_file, 0);
	l->nest.root = e->root ? e->root : l;
	l->nest.depth = e->depth;
	l->nest.creator = e->creator;
	l->gates.enclosing_call = e->enclosing_call;
	set_limits(&l->budget, l->ctx.policy->limit, e);
	started(l, e->st);
	while (!stopped(l, &r) && !step(l, &f, &r))
		;
	if (r.end == STHREAD_OVER_LIMIT)
		amount(l, &r);
	if (atomic_load(&l->nest.made))
		l->nest.ops->end(l);
	if (watched)
		watch_remove(l);
	finished(l, e->st);
	if (r.end != STHREAD_RETURNED && r.end != STHREAD_EXITED && r.end != STHREAD_LOST &&
	    !dune_vcpu_registers(l->vcpu, l->space, &f))
		result_backtrace(&l->ctx.mem, &f, &r);
	memcpy(r.message, l->ctx.message, sizeof(r.message));
	atomic_fetch_add(&process.syscalls, l->ctx.calls);
	count(&r);
	if (!l->used && r.end == STHREAD_RETURNED)
		note_prefault(l);
	l->used = true;
	l->lost |= r.end == STHREAD_LOST;
	*result = r;
	return 0;
}

void lane_unpin_policy(struct lane *l)
{
	if (l->pinned)
		policy_unpin(l->pinned);
	l->pinned = NULL;
}

void lane_end(struct lane *l)
{
	if (atomic_load(&l->nest.made))
		l->nest.ops->fini(l);
	sys_done(&l->ctx);
	lane_unpin_policy(l);
	l->ctx.policy = NULL;
}

int lane_run(struct lane *l, const struct policy *policy, void *(*fn)(void *), void *arg,
	     struct sthread *st, struct sthread_result *result)
{
	struct lane_entry e = { .fn = fn, .arg = arg, .st = st, .cpu = POLICY_NO_LIMIT, .calls = POLICY_NO_LIMIT };
	struct sthread_result r;
	int err = lane_begin(l, policy, st);

	if (st) {
		e.root = st->root;
		e.creator = st->creator;
		e.depth = st->depth;
		e.enclosing_call = st->enclosing_call;
	} else {
		e.enclosing_call = gate_current(); /* a native gate runs it, and waits */
	}
	if (!err)
		err = lane_enter(l, &e, &r);
	if (!err && st)
		memcpy(st->spent, l->budget.spent, sizeof(st->spent));
	if (!err && result)
		*result = r;
	lane_end(l);
	return err;
}

/*
 * The part of [low, high) that stays: `keep` pages at one end, from there on without a hole.  The
 * rest is unmapped.
 */
static int trim(struct lane *l, uint64_t low, uint64_t high, unsigned keep, bool at_top)
{
	uint64_t edge = at_top ? high - keep * DUNE_PAGE_SIZE : low + keep * DUNE_PAGE_SIZE,
		 used = 0;
	uint64_t far_low = at_top ? low : edge, far_high = at_top ? edge : high;
	const struct dune_private *list;
	size_t n = dune_space_private(l->space, &list), there = 0;
	bool beyond = false;
	int err = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t at = list[i].at.v;

		if (at < low || at >= high)
			continue;
		if (at >= far_low && at < far_high) {
			beyond = true;
			continue;
		}
		at = at_top ? high - at : at + DUNE_PAGE_SIZE - low;
		used = at > used ? at : used;
		there += DUNE_PAGE_SIZE;
	}
	if (beyond)
		err = dune_region_remove(l->space, dune_gva(far_low), far_high - far_low);
	if (used == there || err) /* no hole */
		return err;
	low = at_top ? high - used : low;
	err = dune_region_add(l->space, dune_gva(low), used, DUNE_READ | DUNE_WRITE);
	for (uint64_t off = 0; off < used && !err; off += DUNE_PAGE_SIZE)
		err = dune_vm_make_private(l->space, dune_gva(low + off));
	return err;
}

bool lane_clean(struct lane *l)
{
	if (lane_is_lost(l))
		return false;
	dune_space_limit(l->space, 0);
	if (trim(l, process.area_start, process.area_end, KEEP_AREA, false) ||
	    trim(l, process.message_low, process.message_low + MESSAGE_SIZE, KEEP_MESSAGE, false) ||
	    trim(l, process.stack_low, process.stack_top, KEEP_STACK, true) ||
	    dune_space_reset(l->space, KEEP_PAGES) || l->tags.tables > KEEP_TAG_TABLES ||
	    dune_space_pages(l->space) - l->tags.tables > KEEP_SPACE)
		return false;
	return true;
}
