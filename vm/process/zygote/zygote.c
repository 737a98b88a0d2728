/* SPDX-License-Identifier: MIT */
/*
 * zygote.c - the process that stubs are cloned from.  World: zygote (freestanding; nothing of the host's memory is
 * there any more).
 *
 * A child of the host that keeps nothing but windows on text and constants, the template that all compartments begin
 * with, and this code.  It obeys one socket, and ends when that or the host is gone; its stubs end with it.
 */
#include <asm/unistd.h>
#include <linux/poll.h>
#include <linux/sched.h>

#include "vm/process/abi.h"
#include "vm/process/zygote/call.h"

#define EAGAIN_	  11
#define ECHILD_	  10
#define EINVAL_	  22
#define SIGCHLD_  17
#define SIGKILL_  9
#define SOL_SOCKET_ 1
#define SCM_RIGHTS_ 1
#define NOT_YET	  (-100000) /* no errno */
#define DIES_WITH_PARENT 1 /* PR_SET_PDEATHSIG */
#define POPULATE_READ	 22 /* MADV_POPULATE_READ: Linux 5.14 */

extern char stub_start[];
void zygote_main(const struct zygote_boot *boot);

/* The image is linked at 0, so that addresses are offsets. */
__asm__(".section .header, \"a\", @progbits\n"
	".quad 0x3130627574737473\n"
	".quad stub_handler, stub_fault_ip, stub_report, stub_report_ip, stub_edit_ip, stub_resume, stub_resume_end\n"
	".quad stub_left, stub_left_end\n"
	".quad stub_end, stub_start, stub_text_end, zygote_main\n"
	".text\n");

static int stubs[ZYGOTE_STUBS]; /* pidfds, 0: none */
static struct zygote_batch request;
static long self; /* its pid: a stub that has another parent already is an orphan */

struct answer_message {
	struct zygote_answer answer;
	struct {
		uint64_t len;
		int32_t level, type;
		int32_t fd[2];
	} control;
};

static void answer(int socket, int64_t result, const int fds[2])
{
	struct answer_message m = { .answer.result = result };
	struct iovec_ {
		void *base;
		uint64_t len;
	} iov = { &m.answer, sizeof(m.answer) };
	struct msghdr_ {
		void *name;
		uint32_t namelen, pad;
		struct iovec_ *iov;
		uint64_t iovlen;
		void *control;
		uint64_t controllen;
		int32_t flags, pad2;
	} h = { .iov = &iov, .iovlen = 1 };

	if (fds) {
		m.control.len = 16 + 8;
		m.control.level = SOL_SOCKET_;
		m.control.type = SCM_RIGHTS_;
		m.control.fd[0] = fds[0];
		m.control.fd[1] = fds[1];
		h.control = &m.control;
		h.controllen = sizeof(m.control);
	}
	zcall(__NR_sendmsg, socket, (long)&h, 0x4000 /* MSG_NOSIGNAL */, 0, 0, 0);
}

/* In the child: what only it has, then its filter.  Never returns. */
static void become_stub(const struct zygote_boot *b, int *listener)
{
	uint64_t end = b->base + STUB_SIGNALS + STUB_SIGNALS_SIZE;
	void (*start)(int *, uint64_t) = (void (*)(int *, uint64_t))stub_start;
	uint64_t none = 0;

	if (zcall(__NR_prctl, DIES_WITH_PARENT, SIGKILL_, 0, 0, 0, 0) || zcall(__NR_getppid, 0, 0, 0, 0, 0, 0) != self ||
	    zcall(__NR_mmap, (long)(b->base + STUB_REQUEST), STUB_REQUEST_SIZE, 1, 0x11, STUB_FD_IMAGE,
		  (long)request.r.request_at) < 0 ||
	    zcall(__NR_madvise, (long)(b->base + STUB_REQUEST), STUB_REQUEST_USED, POPULATE_READ, 0, 0, 0) ||
	    zcall(__NR_mmap, (long)(b->base + STUB_SIGNALS), STUB_SIGNALS_SIZE, 3, 0x11, STUB_FD_PRIVATE,
		  (long)request.r.signals_at) < 0 ||
	    zcall(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, (long)&none, 0, 8, 0, 0))
		zcall(__NR_exit_group, 1, 0, 0, 0, 0, 0);
	start(listener, end);
}

static void spawn(const struct zygote_boot *b, int *listener)
{
	uint32_t n = request.r.n;
	int pidfd = -1, fds[2];
	long pid;

	if (n >= ZYGOTE_STUBS || stubs[n]) {
		answer(b->socket, -EINVAL_, NULL);
		return;
	}
	__atomic_store_n(listener, NOT_YET, __ATOMIC_SEQ_CST);
	pid = zcall(__NR_clone, CLONE_FILES | CLONE_PIDFD | SIGCHLD_, 0, (long)&pidfd, 0, 0, 0);
	if (!pid)
		become_stub(b, listener);
	if (pid < 0) {
		answer(b->socket, pid, NULL);
		return;
	}
	while (__atomic_load_n(listener, __ATOMIC_SEQ_CST) == NOT_YET) {
		struct pollfd p = { .fd = pidfd, .events = POLLIN };

		if (zcall(__NR_poll, (long)&p, 1, 0, 0, 0, 0) > 0)
			break; /* it is dead */
		zcall(__NR_sched_yield, 0, 0, 0, 0, 0, 0);
	}
	fds[0] = __atomic_load_n(listener, __ATOMIC_SEQ_CST);
	fds[1] = pidfd;
	if (fds[0] < 0) {
		zcall(__NR_pidfd_send_signal, pidfd, SIGKILL_, 0, 0, 0, 0);
		zcall(__NR_close, pidfd, 0, 0, 0, 0, 0);
		answer(b->socket, fds[0] == NOT_YET ? -ECHILD_ : fds[0], NULL);
		return;
	}
	stubs[n] = pidfd;
	answer(b->socket, pid, fds);
	zcall(__NR_close, fds[0], 0, 0, 0, 0, 0);
}

static long map_all(void)
{
	long err = 0;

	for (uint32_t i = 0; i < request.r.n && i < ZYGOTE_MAPS && !err; i++) {
		const struct zygote_map *m = &request.map[i];
		long got = m->prot < 0 ? zcall(__NR_munmap, (long)m->at, (long)m->len, 0, 0, 0, 0) :
			   !m->flags   ? zcall(__NR_mprotect, (long)m->at, (long)m->len, m->prot, 0, 0, 0) :
					 zcall(__NR_mmap, (long)m->at, (long)m->len, m->prot, m->flags, m->file,
					       (long)m->offset);

		/*
		 * The kernel does not split its own pages, of which some have nothing behind them on this machine and are in no
		 * table: they stay, and a touch of one is a fault as well.
		 */
		if (m->prot < 0 && got == -EINVAL_)
			got = 0;
		err = got < 0 ? got : 0;
	}
	return err;
}

static void obey(const struct zygote_boot *b, int *listener)
{
	uint32_t n = request.r.n;
	long err = 0;

	switch ((enum zygote_verb)request.r.verb) {
	case ZYGOTE_SPAWN:
		spawn(b, listener);
		return;
	case ZYGOTE_SIGNAL:
		if (n < ZYGOTE_STUBS && stubs[n])
			err = zcall(__NR_pidfd_send_signal, stubs[n], request.r.signal, 0, 0, 0, 0);
		break;
	case ZYGOTE_FORGET:
		if (n < ZYGOTE_STUBS && stubs[n]) {
			zcall(__NR_pidfd_send_signal, stubs[n], SIGKILL_, 0, 0, 0, 0);
			zcall(__NR_close, stubs[n], 0, 0, 0, 0, 0);
			stubs[n] = 0;
		}
		break;
	case ZYGOTE_MAP:
		err = map_all();
		break;
	}
	answer(b->socket, err, NULL);
}

void zygote_main(const struct zygote_boot *b)
{
	/* Shared with the next stub until it is one: where it says the number of its listener. */
	int *listener = (int *)zcall(__NR_mmap, (long)(b->base + STUB_ZYGOTE + STUB_ZYGOTE_TEXT + STUB_ZYGOTE_DATA - 4096),
				     4096, 3, 0x31, -1, 0);

	if (zygote_strip(b) || (long)listener < 0)
		zcall(__NR_exit_group, 1, 0, 0, 0, 0, 0);
	self = zcall(__NR_getpid, 0, 0, 0, 0, 0, 0);
	answer(b->socket, 0, NULL);
	for (;;) {
		struct pollfd p[2] = { { .fd = b->socket, .events = POLLIN }, { .fd = b->master, .events = POLLIN } };
		long n;

		zcall(__NR_poll, (long)p, 2, -1, 0, 0, 0);
		if (p[1].revents)
			break;
		n = zcall(__NR_recvfrom, b->socket, (long)&request, sizeof(request), 0, 0, 0);
		if (n == -EAGAIN_ || n == -4)
			continue;
		if (n < (long)sizeof(request.r))
			break;
		obey(b, listener);
	}
	zcall(__NR_exit_group, 0, 0, 0, 0, 0, 0);
}
