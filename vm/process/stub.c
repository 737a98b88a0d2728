/* SPDX-License-Identifier: MIT */
/* stub.c - one stub: made, asked for its notifications, answered, signalled, ended.  World: host. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vm/process/process.h"

#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif

#define DEATH_MS 10000
/* Of a signal stack, pages that are zeroed in place: those of one frame, and where its end is left. */
#define SIGNALS_KEPT 4
#define START_MS 10000

/* ---- pages that stubs have, kept for the next ---- */

static int take_pages(struct dune_vm *vm, struct dune_gpa_list *l, enum page_kind kind, size_t n, dune_gpa_t *out)
{
	if (!l->n)
		return arena_alloc(vm, kind, n, out);
	*out = l->at[--l->n];
	return 0;
}

static void keep_pages(struct dune_gpa_list *l, dune_gpa_t pages)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 16;
		dune_gpa_t *at = realloc(l->at, cap * sizeof(*at));

		if (!at)
			return; /* lost until the VM goes */
		l->at = at;
		l->cap = cap;
	}
	l->at[l->n++] = pages;
}

static int take_number(struct proc_vm *p, unsigned *out)
{
	for (unsigned i = 0; i < ZYGOTE_STUBS; i++) {
		if (p->numbers[i / 32] >> i % 32 & 1)
			continue;
		p->numbers[i / 32] |= 1U << i % 32;
		*out = i;
		return 0;
	}
	return -EAGAIN;
}

/* ---- notifications ---- */

bool stub_signal(struct proc_vcpu *c, int sig)
{
	struct zygote_request r = { .verb = ZYGOTE_SIGNAL, .n = c->number, .signal = sig };

	if (own_is_there(&c->pidfd)) {
		if (!syscall(SYS_pidfd_send_signal, c->pidfd.fd, sig, NULL, 0))
			return true;
		if (errno != EPERM)
			return false;
	}
	/* The program may have another user by now than it had, or have closed the descriptor: the zygote has not. */
	return !zygote_ask(proc_of(c->c.vm), &r, NULL);
}

void stub_kick(struct proc_vcpu *c)
{
	int64_t since = 0, now = now_ms();

	if (atomic_compare_exchange_strong(&c->kicked_ms, &since, now)) {
		if (!stub_signal(c, STUB_KICK))
			atomic_store(&c->kicked_ms, 0);
	} else if (now - since > KICK_MS) {
		stub_signal(c, SIGKILL);
	}
}

/* Waits for a notification or a death.  1: it is there. */
static int wait_for(struct proc_vcpu *c, int timeout_ms)
{
	struct pollfd p[2] = { { .fd = c->listener.fd, .events = POLLIN }, { .fd = c->pidfd.fd, .events = POLLIN } };
	const struct timespec t = { timeout_ms / 1000, timeout_ms % 1000 * 1000000L };
	int n = ppoll(p, 2, timeout_ms < 0 ? NULL : &t, NULL);

	if (n < 0)
		return -errno;
	if (p[0].revents & POLLIN)
		return 1;
	return n ? -ESRCH : -ETIMEDOUT;
}

bool stub_receive(struct proc_vcpu *c, int timeout_ms, bool *interrupted)
{
	struct seccomp_notif n;

	*interrupted = false;
	for (;;) {
		if (timeout_ms >= 0 || proc_of(c->c.vm)->must_poll) {
			int ready = wait_for(c, timeout_ms);

			if (ready < 0) {
				*interrupted = ready == -EINTR;
				return ready == -EINTR;
			}
		}
		memset(&n, 0, sizeof(n));
		if (!ioctl(c->listener.fd, SECCOMP_IOCTL_NOTIF_RECV, &n))
			break;
		if (errno == EINTR) {
			*interrupted = true;
			return true;
		}
		if (errno != ENOENT || wait_for(c, 0) == -ESRCH)
			return false;
		/* What had come was taken back by a signal: there will be another. */
	}
	atomic_fetch_add_explicit(&c->c.switches, 1, memory_order_relaxed);
	c->id = n.id;
	c->held = n.data;
	return true;
}

static bool respond(struct proc_vcpu *c, int64_t value, uint32_t flags)
{
	struct seccomp_notif_resp r = { .id = c->id, .val = value, .flags = flags };
	int64_t kicked = atomic_load(&c->kicked_ms);

	/* It can report a kick from now on. */
	if (kicked)
		atomic_compare_exchange_strong(&c->kicked_ms, &kicked, now_ms());
	while (ioctl(c->listener.fd, SECCOMP_IOCTL_NOTIF_SEND, &r)) {
		if (errno != EINTR)
			return false;
	}
	return true;
}

bool stub_is_dead(struct proc_vcpu *c)
{
	return wait_for(c, 0) == -ESRCH;
}

bool stub_answer(struct proc_vcpu *c, int64_t value)
{
	return respond(c, value, 0);
}

bool stub_allow(struct proc_vcpu *c)
{
	return respond(c, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
}

/* ---- life ---- */

static void forget_pages(struct proc_vcpu *c)
{
	struct proc_vm *p = proc_of(c->c.vm);

	if (c->request_page.v)
		keep_pages(&p->stub_pages, c->request_page);
	c->request_page = dune_gpa(0);
}

/* What another vCPU's left there is none of its business. */
static int take_memory(struct proc_vcpu *c)
{
	struct dune_vm *vm = c->c.vm;
	struct proc_vm *p = proc_of(vm);
	const bool first = !c->request_page.v;
	int err = 0;

	if (first)
		err = take_pages(vm, &p->stub_pages, PAGE_IMAGE, STUB_REQUEST_SIZE / DUNE_PAGE_SIZE, &c->request_page);
	if (err)
		return err;
	c->request = arena_host(&vm->arena, c->request_page);
	c->signals = p->signals + c->number * STUB_SIGNALS_SIZE;
	/* What lies beyond is never written: no memory is behind it. */
	memset(c->request, 0, offsetof(struct request, vectors) + (first ? p->vectors_size : 0));
	stub_clear_signals(c);
	return 0;
}

static uint64_t signals_at(const struct proc_vcpu *c)
{
	return proc_of(c->c.vm)->signals_at + c->number * STUB_SIGNALS_SIZE;
}

/*
 * The next part of the signal stack that holds anything, from *at on, which is an offset in the file.  0: there is none;
 * -1: nobody can tell.  The page behind all stacks always holds something, and nothing comes behind it: where it is not
 * found, this is a file of the program's by now.  That has nothing so far out, so its position stays: only where the file
 * must be small, the descriptor is looked at first.
 */
static int signals_data(struct proc_vcpu *c, uint64_t *at, uint64_t *end)
{
	int fd = proc_of(c->c.vm)->private_file.fd;
	uint64_t limit = signals_at(c) + STUB_SIGNALS_SIZE;
	uint64_t last = proc_of(c->c.vm)->signals_at + (uint64_t)ZYGOTE_STUBS * STUB_SIGNALS_SIZE;
	off_t from, to;

	if (!proc_of(c->c.vm)->signals_far && !own_is_there(&proc_of(c->c.vm)->private_file))
		return -1;
	from = lseek(fd, (off_t)*at, SEEK_DATA);
	if (from < (off_t)*at || (uint64_t)from > last)
		return -1;
	if ((uint64_t)from >= limit)
		return 0;
	to = lseek(fd, from, SEEK_HOLE);
	if (to < 0)
		return -1;
	*at = (uint64_t)from;
	*end = (uint64_t)to > limit ? limit : (uint64_t)to;
	return 1;
}

void stub_clear_signals(struct proc_vcpu *c)
{
	struct {
		uint64_t at, end;
	} part[SIGNALS_KEPT];
	uint64_t at = signals_at(c), limit = at + STUB_SIGNALS_SIZE, end, pages = 0;
	bool again = c->signalled;
	unsigned n = 0;
	int more = 0;

	c->signalled = false;
	/* Mostly no signal has come, and nothing is there. */
	while (at < limit && pages <= SIGNALS_KEPT && (again || !n) && (more = signals_data(c, &at, &end)) > 0) {
		pages += (end - at) / DUNE_PAGE_SIZE;
		if (n < SIGNALS_KEPT) {
			part[n].at = at;
			part[n++].end = end;
		}
		at = end;
	}
	/*
	 * Where signals come again and again, to zero a few pages costs less than to take them away, and have others at the
	 * next.
	 */
	if (more < 0 || pages > SIGNALS_KEPT || !again) {
		if ((more < 0 || n) && madvise(c->signals, STUB_SIGNALS_SIZE, MADV_REMOVE))
			memset(c->signals, 0, STUB_SIGNALS_SIZE);
		return;
	}
	for (unsigned i = 0; i < n; i++)
		memset(c->signals + (part[i].at - signals_at(c)), 0, part[i].end - part[i].at);
}

static int64_t spawn(struct proc_vcpu *c, int fds[2])
{
	struct proc_vm *p = proc_of(c->c.vm);
	const struct zygote_request r = {
		.verb = ZYGOTE_SPAWN,
		.n = c->number,
		.request_at = c->request_page.v,
		.signals_at = signals_at(c),
	};
	int64_t pid = zygote_ask(p, &r, fds);
	int err;

	if (pid != -EIO)
		return pid;
	/* It was killed: another takes its place. */
	err = zygote_ensure(c->c.vm);
	return err ? err : zygote_ask(p, &r, fds);
}

/* The stub is at its first REPORT. */
static int meet(struct proc_vcpu *c)
{
	uint64_t sync = SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP;
	bool interrupted;

	ioctl(c->listener.fd, SECCOMP_IOCTL_NOTIF_SET_FLAGS, sync); /* kernels before 6.6 do not know it */
	do {
		if (!stub_receive(c, START_MS, &interrupted))
			return -EIO;
	} while (interrupted);
	if (c->held.nr != REPORT_NR || c->held.instruction_pointer != stub_base(c->c.vm) + stub_header()->report_ip ||
	    (int64_t)c->held.args[0] != REPORT_START)
		return (int64_t)c->held.args[0] > 0 ? -EAGAIN : -ENOTSUP; /* a signal came first */
	return 0;
}

/* What the zygote says in the library's words. */
static int error_of(int64_t err)
{
	switch (err) {
	case -EMFILE:
	case -ENFILE:
	case -ECHILD: /* it was killed before it was one */
		return -EAGAIN;
	case -EBUSY: /* a listener is around us already */
	case -EINVAL: /* the kernel knows none */
	case -ENOSYS:
	case -EPERM:
	case -EACCES: /* an outer filter denies it */
		return -ENOTSUP;
	default:
		return (int)err;
	}
}

int stub_spawn(struct proc_vcpu *c)
{
	struct dune_vm *vm = c->c.vm;
	int fds[2] = { -1, -1 }, err;
	int64_t pid;

	err = zygote_ensure(vm);
	if (!err)
		err = take_memory(c);
	if (err)
		return err;
	pid = spawn(c, fds);
	if (pid < 0)
		zygote_ask(proc_of(vm), &(struct zygote_request){ .verb = ZYGOTE_FORGET, .n = c->number }, NULL);
	if (pid < 0)
		return error_of(pid);
	own_take(&c->listener, fds[0]);
	own_take(&c->pidfd, fds[1]);
	c->pid = (pid_t)pid;
	c->clock = (clockid_t)(~(unsigned)c->pid << 3 | 2); /* CPUCLOCK_SCHED of a process: clock_getcpuclockid(3) */
	if (c->listener.fd < 0 || c->pidfd.fd < 0) {
		zygote_ask(proc_of(vm), &(struct zygote_request){ .verb = ZYGOTE_FORGET, .n = c->number }, NULL);
		own_close(&c->listener);
		own_close(&c->pidfd);
		return -EAGAIN;
	}
	err = meet(c);
	c->state = STUB_AT_REPORT;
	if (err) {
		stub_kill(c);
		return err;
	}
	c->inherits = proc_of(vm)->template ? proc_of(vm)->template->serial : 0;
	c->killable = c->held.args[1] >> 32;
	c->settled = c->initial_vectors = c->kept = false;
	c->fs = c->gs = 0;
	c->told.fs = c->held.args[2];
	c->told.gs = c->held.args[3];
	c->nedits = c->allowed = c->traps = 0;
	c->rests = false;
	atomic_store(&c->kicked_ms, 0);
	c->stale.n = c->wanted.n = c->ordered_ranges.n = c->torn.n = 0;
	return 0;
}

static uint64_t cpu_now(const struct proc_vcpu *c)
{
	struct timespec t;

	if (c->state == STUB_NONE || clock_gettime(c->clock, &t))
		return 0;
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

uint64_t proc_cpu_time(struct dune_vcpu *vcpu)
{
	const struct proc_vcpu *c = proc_vcpu_of(vcpu);

	return c->cpu_before + cpu_now(c);
}

void stub_kill(struct proc_vcpu *c)
{
	struct zygote_request r = { .verb = ZYGOTE_FORGET, .n = c->number };
	struct pollfd p = { .fd = c->pidfd.fd, .events = POLLIN };
	const struct timespec limit = { DEATH_MS / 1000, 0 };
	bool seen = false;
	int dead = 0;

	if (c->state == STUB_NONE)
		return;
	c->cpu_before += cpu_now(c);
	if (own_is_there(&c->pidfd)) {
		syscall(SYS_pidfd_send_signal, c->pidfd.fd, SIGKILL, NULL, 0);
		seen = true;
	}
	zygote_ask(proc_of(c->c.vm), &r, NULL); /* which kills, too */
	while (seen && (dead = ppoll(&p, 1, &limit, NULL)) < 0 && errno == EINTR)
		;
	if (dead <= 0) /* it may still reach its pages: nothing is to be reused any more */
		atomic_store(&c->c.vm->broken, true);
	own_close(&c->listener);
	own_close(&c->pidfd);
	c->state = STUB_NONE;
}

int stub_hint(struct proc_vcpu *c)
{
	dune_gpa_t page;
	int err = c->hint_len ? 0 : dune_page_alloc(c->c.vm, &page);

	if (!err && !c->hint_len) {
		c->hint = page.v;
		c->hint_len = 1;
	}
	return err;
}

int proc_vcpu_init(struct dune_vcpu *vcpu)
{
	struct proc_vcpu *c = proc_vcpu_of(vcpu);
	struct proc_vm *p = proc_of(vcpu->vm);
	int err;

	c->listener.fd = c->pidfd.fd = -1;
	err = take_number(p, &c->number);
	if (err)
		return err;
	err = stub_spawn(c);
	if (!err)
		err = stub_hint(c);
	if (err) {
		stub_kill(c);
		forget_pages(c);
		p->numbers[c->number / 32] &= ~(1U << c->number % 32);
	}
	return err;
}

void stub_unbind(struct proc_vcpu *c)
{
	struct dune_space *s;

	if (!c->space)
		return;
	s = &c->space->s;
	pthread_mutex_lock(&s->lock);
	for (struct proc_vcpu **link = &c->space->stubs; *link; link = &(*link)->next) {
		if (*link == c) {
			*link = c->next;
			break;
		}
	}
	pthread_mutex_unlock(&s->lock);
	c->space = NULL;
}

void proc_vcpu_fini(struct dune_vcpu *vcpu)
{
	struct proc_vcpu *c = proc_vcpu_of(vcpu);
	struct proc_vm *p = proc_of(vcpu->vm);

	if (!vcpu->vm->arena.pages) { /* in a child of fork() */
		own_close(&c->listener);
		own_close(&c->pidfd);
		return;
	}
	if (c->space) { /* a sync() may be about it */
		struct dune_space *s = &c->space->s;

		pthread_mutex_lock(&s->lock);
		stub_seize(c, s);
		pthread_mutex_unlock(&s->lock);
	}
	stub_kill(c);
	stub_unbind(c);
	if (c->hint_len)
		for (uint64_t i = 0; i < c->hint_len; i++)
			dune_page_put(vcpu->vm, dune_gpa(c->hint + i * DUNE_PAGE_SIZE));
	forget_pages(c);
	p->numbers[c->number / 32] &= ~(1U << c->number % 32);
}
