/* SPDX-License-Identifier: MIT */
/* loop.c - one run of a compartment, from its first instruction to its record.  World: host. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sthread/gate/gate.h"
#include "sthread/internal.h"
#include "sthread/nest/nest.h"
#include "sthread/tag/tag.h"

/* Numbers that no process of this machine has (pid_max is at most 2^22). */
#define FIRST_PID   4194305u
#define PIDS	    (2147483647u - FIRST_PID)

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

static int begin(struct lane *l, const struct policy *policy, bool own_thread)
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
	l->ctx.own_thread = own_thread;
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

/* A call that could not have its memory did nothing yet; the library's own see to that themselves. */
static enum sys_outcome call(struct lane *l, struct dune_frame *f)
{
	bool own = f->rax >= HOSTCALL_RETURN && f->rax < HOSTCALLS_END, tried = false;
	enum sys_outcome outcome;

	do {
		outcome = sys_dispatch(&l->ctx, f);
	} while (outcome == SYS_END && l->ctx.mem.nomem && !own && lane_room(l, &tried));
	return outcome;
}

/* True: the run has ended, as r says. */
static bool step(struct lane *l, struct dune_frame *f, struct sthread_result *r)
{
	switch (dune_vcpu_run(l->vcpu, l->space, f)) {
	case DUNE_EXIT_SYSCALL:
		if (call(l, f) == SYS_RESUME || (l->ctx.mem.nomem && atomic_load(&l->stop)))
			break; /* what it is to end of is why no memory was looked for */
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
		if (lane_room_to_touch(l, f))
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

/* Image pages that a run wrote are likely to be written by the next, in any lane. */
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

	pthread_mutex_lock(&l->lock);
	l->signalled = false;
	l->running = true;
	pthread_mutex_unlock(&l->lock);
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

	pthread_mutex_lock(&l->lock);
	l->running = false;
	signalled = l->signalled;
	atomic_store(&l->stop, false);
	atomic_store(&l->reason, STOP_NONE);
	pthread_mutex_unlock(&l->lock);
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
	if (!atomic_load(&l->stop))
		return false;
	switch ((enum stop_reason)atomic_load(&l->reason)) {
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

/* How much of what it was not to exceed it had used. */
static void amount(struct lane *l, struct sthread_result *r)
{
	uint64_t used = nest_lent(l, r->limit);

	if (r->limit == STHREAD_LIMIT_MEMORY)
		used += dune_space_pages(l->space) * DUNE_PAGE_SIZE;
	else if (r->limit == STHREAD_LIMIT_WALL_NS)
		used += watch_wall(l);
	else if (r->limit == STHREAD_LIMIT_CPU_NS)
		used += watch_cpu(l);
	else if (r->limit == STHREAD_LIMIT_GATE_CALLS)
		used += l->gate_calls;
	r->value = (void *)used;
}

int lane_begin(struct lane *l, const struct policy *policy, bool own_thread)
{
	int err = policy_hold(policy);

	if (err)
		return err;
	l->holds = policy_get(policy);
	l->dirty = true;
	return begin(l, policy, own_thread);
}

int lane_enter(struct lane *l, void *(*fn)(void *), void *arg, struct sthread *st,
	       struct sthread_result *result)
{
	uint64_t wall = l->ctx.policy->limit[STHREAD_LIMIT_WALL_NS];
	struct sthread_gate *g = l->serves ? l->serves->gate : NULL;
	uint64_t own = l->ctx.policy->limit[STHREAD_LIMIT_CPU_NS];
	uint64_t cpu = g && g->cpu < own ? g->cpu : own;
	bool watched = wall != POLICY_NO_LIMIT || cpu != POLICY_NO_LIMIT;
	const struct gate_call *here = gate_current(); /* a native gate runs it, and waits */
	struct sthread_result r = { .end = STHREAD_LOST };
	uint64_t spent[POLICY_LIMITS] = { 0 };
	struct dune_frame f = {
		.rip = (uint64_t)dune_reset_entry,
		.rsp = process.stack_top - STACK_TOP_RESERVED,
		.rdi = (uint64_t)arg,
		.rdx = (uint64_t)fn,
		.rcx = ckpt_fs_base(process.ckpt),
	};
	int err;

	if (watched && (err = watch_add(l, wall, cpu)))
		return err;
	atomic_fetch_add(l->used ? &process.recycled : &process.cold, 1);
	l->id = atomic_fetch_add(&process.next_id, 1) + 1;
	l->tallied = false;
	l->gate_calls = 0;
	l->short_calls = UINT64_MAX;
	atomic_store(&l->barred, 0);
	l->root = st && st->root ? st->root : g && g->root ? g->root : l;
	l->depth = st ? st->depth : g ? g->depth : 0;
	l->creator = st ? st->creator : NULL;
	l->above = st ? st->above : here;
	l->cpu_limit = cpu;
	l->calls_limit = l->ctx.policy->limit[STHREAD_LIMIT_GATE_CALLS];
	if (g && g->calls < l->calls_limit)
		l->calls_limit = g->calls;
	started(l, st);
	while (!stopped(l, &r) && !step(l, &f, &r))
		;
	if (r.end == STHREAD_OVER_LIMIT)
		amount(l, &r);
	nest_end(l, spent);
	if (watched)
		watch_remove(l);
	spent[STHREAD_LIMIT_GATE_CALLS] += l->gate_calls;
	if (g)
		gate_spend(g, spent);
	if (st)
		memcpy(st->spent, spent, sizeof(spent));
	finished(l, st);
	if (r.end != STHREAD_RETURNED && r.end != STHREAD_EXITED && r.end != STHREAD_LOST)
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

void lane_let_go(struct lane *l)
{
	if (!l->holds)
		return;
	policy_release(l->holds);
	policy_put(l->holds);
	l->holds = NULL;
}

void lane_end(struct lane *l)
{
	nest_fini(l);
	sys_done(&l->ctx);
	lane_let_go(l);
	l->ctx.policy = NULL;
}

int lane_run(struct lane *l, const struct policy *policy, void *(*fn)(void *), void *arg,
	     struct sthread *st, struct sthread_result *result)
{
	struct sthread_result r;
	int err = lane_begin(l, policy, st);

	if (!err)
		err = lane_enter(l, fn, arg, st, &r);
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
	size_t n = dune_space_private(l->space, &list);
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
	}
	if (beyond)
		err = dune_region_remove(l->space, dune_gva(far_low), far_high - far_low);
	if (!used || err)
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
	l->dirty = false;
	return true;
}
