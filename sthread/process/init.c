/* SPDX-License-Identifier: MIT */
/* init.c - sthread_init() to sthread_fini().  World: host. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "sthread/cancel.h"
#include "sthread/inside/inside.h"
#include "sthread/process.h"
#include "sthread/process/fork.h"
#include "sthread/report/unwind.h"
#include "sthread/run/call.h"
#include "sthread/run/helper.h"
#include "sthread/run/lane.h"
#include "sthread/run/worker.h"
#include "sthread/seccomp/filter.h"
#include "sthread/tag/tag.h"

#define SPARE_DESCRIPTORS 12
#define PRIVATE_AREA	  (64UL << 30)
#define MEMORY_BEYOND	  (4UL << 30) /* guest memory beside the image, if the configuration says nothing */
#define DEFAULT_POOL	  64
#define PF_EXITING	  0x4u /* of the kernel, in /proc/PID/stat */

/* A joined thread is listed until the kernel has reaped it; it will not run again. */
static bool is_exiting(int tasks, const char *tid)
{
	char path[64], stat[512], *p;
	unsigned flags;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%.20s/stat", tid);
	fd = openat(tasks, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT;
	n = read(fd, stat, sizeof(stat) - 1);
	close(fd);
	if (n <= 0)
		return n < 0 && errno == ESRCH;
	stat[n] = '\0';
	/* After the name, which may hold anything: state, five numbers, flags. */
	p = strrchr(stat, ')');
	return p && sscanf(p, ") %*c %*d %*d %*d %*d %*d %u", &flags) == 1 && (flags & PF_EXITING);
}

int process_one_thread(void)
{
	DIR *d = opendir("/proc/self/task");
	int threads = 0;

	if (!d)
		return -ENOTSUP;
	for (struct dirent *e; (e = readdir(d));)
		threads += e->d_name[0] != '.' && !is_exiting(dirfd(d), e->d_name);
	closedir(d);
	return threads == 1 ? 0 : -EBUSY;
}

/*
 * Asked first, so that what init opens on its way does not fail for want of them, in the midst of
 * something.
 */
static int descriptors(void)
{
	int fd[SPARE_DESCRIPTORS], n = 0, err = 0;

	while (n < SPARE_DESCRIPTORS && (fd[n] = open("/", O_PATH | O_CLOEXEC)) >= 0)
		n++;
	if (n < SPARE_DESCRIPTORS)
		err = -errno;
	while (n)
		close(fd[--n]);
	return err;
}

static void on_signal(int sig)
{
	(void)sig; /* it ends KVM_RUN, or a blocked call: that is all */
}

static int take_signal(int sig)
{
	struct sigaction sa, *old = &process.signal_before;

	if (sig < SIGRTMIN || sig > SIGRTMAX)
		return -EINVAL;
	if (sigaction(sig, NULL, old))
		return -errno;
	if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN)
		return -EINVAL;
	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = on_signal;
	sigfillset(&sa.sa_mask);
	return sigaction(sig, &sa, NULL) ? -errno : 0;
}

/*
 * One range for all that only compartments use, so that nothing the program maps later can be in
 * its place:
 *
 *	tags | arena | where mmap() inside works | guard | a gate's message | guard | stack | gap | the machine's own
 *
 * The kernel puts it below the libraries, so that the stack shares page tables with their data.  The gap is more than an
 * instruction with a short operand adds to a stack pointer (ret: 64 KiB): a stub whose stack pointer strays into its signal
 * stack is lost, instead of a fault.
 */
static int reserve(size_t memory)
{
	size_t len, tag_area = TAG_AREA;
	char *p;

	/* Where addresses are limited, fewer for tags. */
	for (;; tag_area /= 2) {
		if (__builtin_add_overflow(tag_area + PRIVATE_AREA + 2 * STACK_GUARD +
						   MESSAGE_SIZE + STACK_SIZE + OWN_GAP + DUNE_OWN_SIZE + (4UL << 20),
					   memory, &len))
			return -ENOMEM;
		p = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p != MAP_FAILED)
			break;
		if (tag_area <= TAG_AREA_LEAST)
			return -ENOMEM;
	}
	madvise(p, len, MADV_DONTDUMP);
	process.reserved = p;
	process.reserved_len = len;
	process.stack_top = (uint64_t)p + len - DUNE_OWN_SIZE - OWN_GAP;
	process.stack_low = process.stack_top - STACK_SIZE;
	process.message_low = process.stack_low - STACK_GUARD - MESSAGE_SIZE;
	process.area_end = process.message_low - STACK_GUARD;
	process.tag_area = tag_area;
	process.area_start = ALIGN_HUGE((uint64_t)p) + tag_area + memory;
	return tags_init(ALIGN_HUGE((uint64_t)p), tag_area);
}

static int take_checkpoint(const struct sthread_config *cfg)
{
	static const bool inside = true;
	struct ckpt_range *tagged;
	size_t ntagged;
	int err = tagged_init(&tagged, &ntagged);

	if (err)
		return err;
	const struct ckpt_patch patch = { (uint64_t)&sthread_inside_flag, &inside, sizeof(inside) };
	const struct ckpt_config c = {
		.reserved = { (uint64_t)process.reserved, process.reserved_len },
		.patches = &patch,
		.n_patches = 1,
		.environment = cfg->environment,
		.at_random = process.stack_top - 16,
		.exclude = tagged,
		.n_exclude = ntagged,
	};
	/* Memory that changed while it was looked at is looked at again. */
	for (int tries = 0; (err = ckpt_take(process.vm, &c, &process.ckpt)) == -EAGAIN && tries < 8;
	     tries++)
		;
	free(tagged);
	if (!err)
		err = tagged_adopt();
	return err;
}

static int size_memory(const struct sthread_config *cfg, uint64_t *out)
{
	const struct ckpt_config c = { .environment = cfg->environment };
	uint64_t image;
	int err = ckpt_estimate(&c, &image);

	if (err)
		return err;
	*out = ALIGN_HUGE(cfg->memory ? cfg->memory : image + MEMORY_BEYOND);
	return *out < image + (16UL << 20) ? -ENOMEM : 0;
}

static void undo_init(void)
{
	tags_fini();
	ckpt_destroy(process.ckpt);
	process.ckpt = NULL;
	dune_vm_destroy(process.vm);
	process.vm = NULL;
	if (process.reserved)
		munmap(process.reserved, process.reserved_len);
	process.reserved = NULL;
	sys_fini();
	if (process.signal)
		sigaction(process.signal, &process.signal_before, NULL);
	process.signal = 0;
}

static int do_init(const struct sthread_config *cfg)
{
	struct dune_vm_config v = {
		.machine = cfg->machine == STHREAD_MACHINE_KVM	   ? DUNE_MACHINE_KVM :
			   cfg->machine == STHREAD_MACHINE_PROCESS ? DUNE_MACHINE_PROCESS :
								     DUNE_MACHINE_AUTO,
		.placement = cfg->placement == STHREAD_PLACE_HOST  ? DUNE_PLACE_HOST :
			     cfg->placement == STHREAD_PLACE_RING0 ? DUNE_PLACE_RING0 :
								     DUNE_PLACE_AUTO,
		.kick_signal = cfg->signal ? cfg->signal : SIGRTMAX - 1,
	};
	struct dune_vm_info info;
	uint64_t memory;
	int err;

	if ((err = descriptors()) || (err = process_one_thread()) || (err = lanes_init_once()) ||
	    (err = forks_watch()) || (err = take_signal(v.kick_signal)))
		return err;
	process.signal = v.kick_signal;
	process.pool = cfg->pool ? cfg->pool : DEFAULT_POOL;
	process.main_tid = (pid_t)syscall(SYS_gettid);
	process.brk = (uint64_t)sbrk(0);
	if ((err = size_memory(cfg, &memory)) || (err = reserve(memory)))
		goto fail;
	v.base = (void *)(ALIGN_HUGE((uint64_t)process.reserved) + process.tag_area);
	v.size = memory;
	v.own = (void *)(process.stack_top + OWN_GAP);
	if ((err = dune_vm_create(&process.vm, &v)) ||
	    (err = dune_vm_share(process.vm, (void *)ALIGN_HUGE((uint64_t)process.reserved), process.tag_area)) ||
	    (err = sys_init()) || (err = take_checkpoint(cfg)) || (err = dune_vm_prepare(process.vm)))
		goto fail;
	dune_vm_get_info(process.vm, &info);
	process.kick_signals = info.kick_signals;
	process.generation++;
	process.cloned = false;
	process.nprefault = 0;
	process.filter = filter_possible();
	process.unfiltered = 0;
	process.created = process.calls = process.recycled = process.cold = process.syscalls = 0;
	process.faulted = process.killed = process.denied = process.limited = 0;
	process.gate_calls = process.gate_faults = process.gate_denied = 0;
	return 0;
fail:
	undo_init();
	return err;
}

int sthread_init(const struct sthread_config *cfg)
{
	static const struct sthread_config defaults = { .size = sizeof(defaults) };
	int err, cancel;

	if (is_inside())
		return -EPERM;
	cfg = cfg ? cfg : &defaults;
	if (cfg->size != sizeof(*cfg) || cfg->placement > STHREAD_PLACE_RING0 ||
	    cfg->machine > STHREAD_MACHINE_PROCESS)
		return -EINVAL;
	cancel = cancel_disable();
	pthread_mutex_lock(&process.lock);
	err = process.ready || process.ending ? -EALREADY : do_init(cfg);
	process.ready = !err || process.ready;
	pthread_mutex_unlock(&process.lock);
	cancel_restore(cancel);
	return err;
}

void sthread_fini(void)
{
	struct timespec soon;
	int cancel;

	if (is_inside() || gate_current()) /* that would wait for itself */
		return;
	cancel = cancel_disable();
	pthread_mutex_lock(&process.lock);
	if (!process.ready || process.ending)
		goto out;
	process.ending = true;
	workers_end_idle();
	while (atomic_load(&process.live) || process.nworkers) {
		/* Ending workers free spaces that will not be used again. */
		if (!atomic_load(&process.live))
			dune_vm_stop(process.vm);
		for (struct lane *l = process.lanes; l; l = l->next)
			lane_stop(l, STOP_KILLED);
		/*
		 * A run needs the lock to leave; a signal may have come just before a blocking
		 * call.
		 */
		clock_gettime(CLOCK_REALTIME, &soon);
		soon.tv_nsec += 1000000;
		if (soon.tv_nsec >= 1000000000)
			soon.tv_sec++, soon.tv_nsec -= 1000000000;
		pthread_cond_timedwait(&process.quiet, &process.lock, &soon);
	}
	dune_vm_stop(process.vm);
	/* Threads on their way out take the lock. */
	pthread_mutex_unlock(&process.lock);
	helper_pool_end();
	pthread_mutex_lock(&process.lock);
	workers_reap();
	watch_fini();
	lanes_free_all();
	undo_init();
	unwind_fini();
	process.ready = process.ending = false;
	process.generation++;
out:
	pthread_mutex_unlock(&process.lock);
	cancel_restore(cancel);
}

int sthread_checkpoint_range(void *addr, size_t len)
{
	int err, cancel;

	if (is_inside())
		return -EPERM;
	cancel = cancel_disable();
	pthread_mutex_lock(&process.lock);
	if (!process.ready || process.ending)
		err = -EINVAL;
	else if (process.cloned)
		err = -EBUSY;
	else
		err = ckpt_retake(process.ckpt, addr, len);
	pthread_mutex_unlock(&process.lock);
	cancel_restore(cancel);
	return err;
}
