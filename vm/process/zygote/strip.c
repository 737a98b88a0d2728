/* SPDX-License-Identifier: MIT */
/* strip.c - what a process inherits from the program that a stub is not to have.  World: zygote. */
#include <asm/unistd.h>
#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <stdbool.h>

#include "vm/process/zygote/call.h"

#define SIGNALS		 64
#define SIGKILL_	 9
#define SIGSTOP_	 19
#define SA_SIGINFO_	 0x4UL
#define SA_ONSTACK_	 0x08000000UL
#define SA_RESTORER_	 0x04000000UL
#define SA_NODEFER_	 0x40000000UL
#define SA_RESTART_	 0x10000000UL
#define RSEQ_SIGNATURE	 0x53053053
#define RSEQ_UNREGISTER	 1
#define USER_END	 0x7ffffffff000UL
#define ENOSYS_		 38
#define EBUSY_		 16

extern char stub_handler[];

struct kernel_sigaction {
	void *handler;
	uint64_t flags;
	void *restorer;
	uint64_t mask;
};

/*
 * What a stub may raise, the host's, and SIGCONT: a call that a stop interrupted is reported, not begun again.  All others
 * do nothing.  In this process, which has no stack for handlers, those are blocked: whoever sends them, as a service manager
 * does with SIGCONT, ends nobody.  A stub unblocks them.
 */
static bool is_caught(int sig)
{
	return sig == 4 || sig == 5 || sig == 7 || sig == 8 || sig == 11 || sig == 18 || sig == 31 || sig == STUB_KICK;
}

static long set_signals(const struct zygote_boot *b)
{
	struct {
		uint64_t at;
		uint32_t flags, pad;
		uint64_t size;
	} stack = { b->base + STUB_SIGNALS, 0, 0, STUB_SIGNALS_SIZE };
	uint64_t caught = 0;
	long err = zcall(__NR_sigaltstack, (long)&stack, 0, 0, 0, 0, 0);

	for (int sig = 1; sig <= SIGNALS && !err; sig++) {
		struct kernel_sigaction sa = { .handler = (void *)1 /* SIG_IGN */ };

		if (sig == SIGKILL_ || sig == SIGSTOP_)
			continue;
		if (is_caught(sig)) {
			caught |= 1UL << (sig - 1);
			sa.handler = stub_handler;
			/* A call that the host has not heard of yet is made again. */
			sa.flags = SA_SIGINFO_ | SA_ONSTACK_ | SA_NODEFER_ | SA_RESTORER_ | SA_RESTART_;
			sa.restorer = stub_handler; /* nobody returns there */
		}
		err = zcall(__NR_rt_sigaction, sig, (long)&sa, 0, 8, 0, 0);
	}
	return err ? err : zcall(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, (long)&caught, 0, 8, 0, 0);
}

/*
 * A registered restartable sequence would let ring 3, which writes the C library's memory, have the kernel move the
 * instruction pointer out of the stub's text.  That there is none any more is seen by registering one.
 */
static long drop_rseq(const struct zygote_boot *b)
{
	static uint32_t area[64] __attribute__((aligned(256)));
	long err;

	for (long size = 32; b->rseq && size <= 1024; size += 32)
		if (!zcall(__NR_rseq, (long)b->rseq, size, RSEQ_UNREGISTER, RSEQ_SIGNATURE, 0, 0))
			break;
	err = zcall(__NR_rseq, (long)area, 32, 0, RSEQ_SIGNATURE, 0, 0);
	if (err == -ENOSYS_)
		return 0;
	return err ? -EBUSY_ : zcall(__NR_rseq, (long)area, 32, RSEQ_UNREGISTER, RSEQ_SIGNATURE, 0, 0);
}

/* No way back to rights, no file of its memory, first to go when memory is short. */
static long drop_rights(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { { 0 } };
	static const struct {
		int what;
		uint64_t limit;
	} limits[] = { { RLIMIT_CORE, 0 } };
	long fd, err = zcall(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0);

	for (unsigned i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
		uint64_t pair[2] = { limits[i].limit, limits[i].limit };

		zcall(__NR_setrlimit, limits[i].what, (long)pair, 0, 0, 0, 0);
	}
	fd = zcall(__NR_open, (long)"/proc/self/oom_score_adj", 1 /* O_WRONLY */, 0, 0, 0, 0);
	if (fd >= 0) {
		zcall(__NR_write, fd, (long)"1000", 4, 0, 0, 0);
		zcall(__NR_close, fd, 0, 0, 0, 0, 0);
	}
	zcall(__NR_prctl, PR_SET_NAME, (long)"sthread-stub", 0, 0, 0, 0);
	if (!err)
		err = zcall(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0, 0);
	if (!err)
		err = zcall(__NR_capset, (long)&head, (long)none, 0, 0, 0, 0);
	return err;
}

/* What would change how instructions behave, or who is told of a death. */
static void reset_oddities(void)
{
	zcall(__NR_setsid, 0, 0, 0, 0, 0, 0);
	zcall(__NR_personality, 0, 0, 0, 0, 0, 0);
	zcall(__NR_prctl, PR_SET_TSC, PR_TSC_ENABLE, 0, 0, 0, 0);
	zcall(__NR_set_robust_list, 0, 24, 0, 0, 0, 0);
	zcall(__NR_set_tid_address, 0, 0, 0, 0, 0, 0);
	zcall(__NR_arch_prctl, 0x5002 /* ARCH_SHSTK_DISABLE */, 1, 0, 0, 0, 0);
}

static long unmap_rest(const struct zygote_boot *b)
{
	uint64_t at = 0;
	long err = 0;

	for (uint64_t i = 0; i <= b->nkeep && !err; i++) {
		uint64_t end = i < b->nkeep ? b->keep[i].start : USER_END;

		if (end > at)
			err = zcall(__NR_munmap, (long)at, (long)(end - at), 0, 0, 0, 0);
		if (i < b->nkeep && b->keep[i].end > at)
			at = b->keep[i].end;
	}
	return err;
}

long zygote_strip(const struct zygote_boot *b)
{
	long err;

	reset_oddities();
	err = drop_rseq(b);
	if (!err)
		err = set_signals(b);
	if (!err)
		err = unmap_rest(b);
	if (!err)
		err = drop_rights();
	return err;
}
