/* SPDX-License-Identifier: MIT */
/* lane.c - lanes: made from the checkpoint, kept warm, given back.  World: host. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sthread/inside/hostcall.h"
#include "sthread/process.h"
#include "sthread/run/lane.h"
#include "sthread/run/worker.h"
#include "sthread/tag/tag.h"

static pthread_key_t lane_key;
static pthread_once_t lane_key_once = PTHREAD_ONCE_INIT;
static int lane_key_error;

/* A thread's own lane, kept for its next sthread_call(). */
struct kept {
	struct lane *lane;
	unsigned generation;
	bool busy; /* a signal handler may have come while the lane runs */
};
static __thread struct kept kept;

static void thread_ended(void *unused)
{
	struct lane *l = NULL;

	(void)unused;
	pthread_mutex_lock(&process.lock);
	/*
	 * If the end has begun, the lane goes with all the others; once entered, that waits for us.
	 */
	if (kept.lane && kept.generation == process.generation && process_enter_locked())
		l = kept.lane;
	kept.lane = NULL;
	pthread_mutex_unlock(&process.lock);
	if (!l)
		return;
	lane_put(l);
	process_leave();
}

static void make_key(void)
{
	lane_key_error = -pthread_key_create(&lane_key, thread_ended);
}

int lanes_init_once(void)
{
	pthread_once(&lane_key_once, make_key);
	return lane_key_error;
}

/* Maps the stack, private pages for the seeds of each run, and the prefault pages. */
static int lane_map_initial_pages(struct lane *l)
{
	const struct ckpt_seed *seeds = ckpt_seeds(process.ckpt);
	struct dune_leaf leaf;
	uint64_t prefault[PREFAULT_PAGES];
	unsigned n;
	int err;

	/* The pages of the seeds are the first private ones, which a reset keeps. */
	err = dune_region_add(l->space, dune_gva(process.stack_low), STACK_SIZE,
			      DUNE_READ | DUNE_WRITE);
	for (int i = 0; i < CKPT_SEEDS && !err; i++) {
		dune_gva_t page = dune_gva(seeds[i].at & ~(DUNE_PAGE_SIZE - 1));

		if ((err = dune_vm_make_private(l->space, page)) ||
		    (err = dune_vm_lookup(l->space, page, &leaf)))
			break;
		l->seed[i] = (char *)dune_page_host(process.vm, leaf.page) +
			     seeds[i].at % DUNE_PAGE_SIZE;
	}
	/* Each of these would cost a trap in the first run. */
	pthread_mutex_lock(&process.lock);
	n = process.nprefault;
	memcpy(prefault, process.prefault, sizeof(prefault));
	pthread_mutex_unlock(&process.lock);
	for (unsigned i = 0; i < n && !err; i++)
		err = dune_vm_make_private(l->space, dune_gva(prefault[i]));
	return err;
}

int lane_arm(struct lane *l)
{
	struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = process.signal };
	pid_t thread = (pid_t)syscall(SYS_gettid);

	if (l->stop.thread == thread)
		return 0;
	lane_disarm(l);
	ev._sigev_un._tid = thread;
	if (timer_create(CLOCK_MONOTONIC, &ev, &l->stop.timer))
		return -EAGAIN;
	l->stop.thread = thread;
	pthread_getcpuclockid(pthread_self(), &l->deadline.cpu_clock);
	return 0;
}

void lane_disarm(struct lane *l)
{
	if (l->stop.thread)
		timer_delete(l->stop.timer);
	l->stop.thread = 0;
}

static void lane_free(struct lane *l)
{
	lane_disarm(l);
	if (atomic_load(&l->nest.made))
		l->nest.ops->fini(l);
	sys_ctx_fini(&l->ctx);
	lane_unpin_policy(l);
	free(l->gates.count);
	/*
	 * First, since freeing the space takes time: another thread can reuse the vCPU meanwhile.
	 */
	dune_vcpu_destroy(l->vcpu);
	dune_vm_free(l->space);
	tag_map_fini(&l->tags);
	pthread_mutex_destroy(&l->stop.lock);
	free(l);
}

static uint64_t ring3_cpu(struct sys_ctx *ctx)
{
	return watch_ring3_cpu(lane_of(ctx));
}

static int lane_new(struct lane **out)
{
	struct lane *l = calloc(1, sizeof(*l));
	int err;

	if (!l)
		return -ENOMEM;
	pthread_mutex_init(&l->stop.lock, NULL);
	/* The first clone fixes the template, which what runs the lane may inherit. */
	err = dune_vm_clone(ckpt_space(process.ckpt), &l->space);
	if (err)
		goto fail;
	pthread_rwlock_rdlock(&process.making);
	err = dune_vcpu_create(process.vm, &l->vcpu);
	pthread_rwlock_unlock(&process.making);
	if (err) {
		/* No descriptor left is no virtual processor left. */
		err = err == -EMFILE || err == -ENFILE ? -EAGAIN : err;
		goto fail;
	}
	if ((err = lane_map_initial_pages(l)))
		goto fail;
	l->tags.space = l->space;
	l->ctx.mem.vm = process.vm;
	l->ctx.mem.space = l->space;
	l->ctx.area_start = process.area_start;
	l->ctx.area_end = process.area_end;
	l->ctx.brk = process.brk;
	l->ctx.stack_size = STACK_SIZE;
	l->ctx.image_tid = process.main_tid;
	l->ctx.ring3_cpu = ring3_cpu;
	l->ctx.stop = &l->stop.requested;
	l->ctx.host_call = hostcall_serve;
	*out = l;
	return 0;
fail:
	lane_free(l);
	return err;
}

struct lane *lane_get_idle(void)
{
	struct lane *l;

	pthread_mutex_lock(&process.lock);
	l = process.idle_lanes;
	if (l) {
		process.idle_lanes = l->idle_next;
		process.nidle_lanes--;
	}
	process.cloned = true;
	pthread_mutex_unlock(&process.lock);
	return l;
}

int lane_get(struct lane **out)
{
	struct lane *l = lane_get_idle();
	int err = 0;

	if (!l) {
		while ((err = lane_new(&l)) == -ENOMEM && lanes_shrink())
			;
		if (err)
			return err;
		pthread_mutex_lock(&process.lock);
		l->next = process.lanes;
		l->link = &process.lanes;
		if (l->next)
			l->next->link = &l->next;
		process.lanes = l;
		pthread_mutex_unlock(&process.lock);
	}
	*out = l;
	return 0;
}

bool lanes_shrink(void)
{
	struct lane *l = lane_get_idle();

	if (!l)
		l = worker_lay_off();
	if (l)
		lane_discard(l);
	return l;
}

static void unlink_lane(struct lane *l)
{
	*l->link = l->next;
	if (l->next)
		l->next->link = l->link;
}

void lane_put(struct lane *l)
{
	bool keep;

	lane_disarm(l);
	pthread_mutex_lock(&process.lock);
	/* At the end all go together, and cheaper. */
	keep = process.nidle_lanes < process.pool || process.ending;
	if (keep) {
		l->idle_next = process.idle_lanes;
		process.idle_lanes = l;
		process.nidle_lanes++;
	} else {
		unlink_lane(l);
	}
	pthread_mutex_unlock(&process.lock);
	if (!keep)
		lane_free(l);
}

void lane_discard(struct lane *l)
{
	pthread_mutex_lock(&process.lock);
	unlink_lane(l);
	pthread_mutex_unlock(&process.lock);
	lane_free(l);
}

void lanes_free_all(void)
{
	struct lane *l;

	while ((l = process.lanes)) {
		unlink_lane(l);
		lane_free(l);
	}
	process.idle_lanes = NULL;
	process.nidle_lanes = 0;
}

int lane_of_thread(struct lane **out)
{
	int err;

	if (kept.busy)
		return -EBUSY;
	if (kept.lane && kept.generation == process.generation) {
		*out = kept.lane;
		kept.busy = true;
		return 0;
	}
	err = lane_get(out);
	if (err)
		return err;
	err = lane_arm(*out);
	if (err) {
		lane_put(*out);
		return err;
	}
	kept.lane = *out;
	kept.generation = process.generation;
	/* Only so that thread_ended() is called. */
	if (pthread_setspecific(lane_key, &kept)) {
		kept.lane = NULL;
		lane_put(*out);
		return -ENOMEM;
	}
	kept.busy = true;
	return 0;
}

void lane_rests(void)
{
	kept.busy = false;
}

void lane_drop_of_thread(void)
{
	struct lane *l = kept.lane;

	kept.lane = NULL;
	if (l)
		lane_discard(l);
}
