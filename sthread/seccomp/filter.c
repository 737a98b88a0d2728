/* SPDX-License-Identifier: MIT */
/*
 * filter.c - the filter built from the rows of rules.c, and put in front of a thread.  World: host.
 *
 *	architecture ── not x86-64 ─────────────────────────────────── refuse
 *	number ─┬─ ioctl, futex: first, for they are most of the calls
 *	        ├─ user or groups ── from the C library's handler? ──── allow or refuse
 *	        ├─ one whose arguments matter ── its rules, in turn ── allow or refuse
 *	        └─ bit of a map of 512 ─────────────────────────────── allow or refuse
 */
#include "arch/cpu.h"
#include "sthread/seccomp/filter.h"

#include <asm/unistd.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SECCOMP_FILTER_FLAG_SPEC_ALLOW
#define SECCOMP_FILTER_FLAG_SPEC_ALLOW (1UL << 2)
#endif

#define SIGSETXID     33  /* the C library's own */
#define HANDLER_BYTES 512 /* the handler makes the call itself; it is some 100 bytes long */

/* What the C library has every thread do. */
static const unsigned setxid[] = {
	__NR_setuid, __NR_setgid, __NR_setreuid, __NR_setregid, __NR_setresuid, __NR_setresgid, __NR_setgroups,
};
#define SETXIDS (sizeof(setxid) / sizeof(setxid[0]))

struct program {
	struct sock_filter *out;
	unsigned n;
	bool full;
	const struct filter_ids *whose;
	uint32_t refuse;
	uint32_t free[FILTER_CALLS / 32];	 /* allowed whatever their arguments */
	uint32_t ruled[FILTER_CALLS / 32]; /* allowed by a rule */
};

static bool bit(const uint32_t *map, unsigned nr)
{
	return map[nr / 32] >> nr % 32 & 1;
}

static void put(struct program *w, uint16_t code, uint8_t jt, uint8_t jf, uint32_t k)
{
	if (w->n == FILTER_PROGRAM)
		w->full = true;
	else
		w->out[w->n++] = (struct sock_filter){ code, jt, jf, k };
}

/* Calls fn for each rule: those of the loop, then row by row. */
static void each_rule(struct program *w, void (*fn)(struct program *, const struct filter_rule *, unsigned),
		      unsigned nr)
{
	for (const struct filter_rule *r = filter_loop; r->nr != FILTER_END; r++)
		fn(w, r, nr);
	for (unsigned i = 0; i < filter_rows_len; i++)
		for (const struct filter_rule *r = filter_rows[i].rules; r->nr != FILTER_END; r++)
			fn(w, r, nr);
}

static void note(struct program *w, const struct filter_rule *r, unsigned unused)
{
	uint32_t *map = r->test[0].how == FILTER_ANY ? w->free : w->ruled;

	(void)unused;
	if (r->nr < FILTER_CALLS)
		map[r->nr / 32] |= 1u << r->nr % 32;
	else
		w->full = true;
}

static uint32_t value_of(const struct program *w, const struct filter_test *t)
{
	switch (t->how) {
	case FILTER_IS_SELF:
		return (uint32_t)w->whose->process;
	case FILTER_IS_THREAD:
		return (uint32_t)w->whose->thread;
	default:
		return t->value;
	}
}

/* Allows if all tests hold; else goes on behind it. */
static void put_rule(struct program *w, const struct filter_rule *r, unsigned nr)
{
	unsigned tests = r->test[1].how == FILTER_ANY ? 1 : 2;

	if (r->nr != nr)
		return;
	for (unsigned i = 0; i < tests; i++) {
		const struct filter_test *t = &r->test[i];
		uint8_t past = (uint8_t)(2 * (tests - 1 - i) + 1); /* instructions of this rule that are left */

		put(w, BPF_LD | BPF_W | BPF_ABS, 0, 0,
		    offsetof(struct seccomp_data, args) + 8 * t->arg); /* little-endian: the low half */
		if (t->how == FILTER_WITHOUT)
			put(w, BPF_JMP | BPF_JSET | BPF_K, past, 0, t->value);
		else
			put(w, BPF_JMP | BPF_JEQ | BPF_K, 0, past, value_of(w, t));
	}
	put(w, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
}

/* The number is in the accumulator, and stays there if it is another. */
static void put_call(struct program *w, unsigned nr)
{
	unsigned at = w->n, len;

	put(w, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, nr);
	if (bit(w->free, nr)) {
		put(w, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
	} else {
		each_rule(w, put_rule, nr);
		put(w, BPF_RET | BPF_K, 0, 0, w->refuse);
	}
	len = w->n - at - 1;
	if (w->full || len > UINT8_MAX)
		w->full = true;
	else
		w->out[at].jf = (uint8_t)len;
}

static void put_setxid(struct program *w)
{
	uint32_t low = (uint32_t)w->whose->setxid, end = low + HANDLER_BYTES < low ? UINT32_MAX : low + HANDLER_BYTES;

	if (!w->whose->setxid)
		return;
	for (unsigned i = 0; i < SETXIDS; i++)
		put(w, BPF_JMP | BPF_JEQ | BPF_K, (uint8_t)(SETXIDS - i), 0, setxid[i]);
	put(w, BPF_JMP | BPF_JA, 0, 0, 7);
	put(w, BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, instruction_pointer) + 4);
	put(w, BPF_JMP | BPF_JEQ | BPF_K, 0, 4, (uint32_t)(w->whose->setxid >> 32));
	put(w, BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, instruction_pointer));
	put(w, BPF_JMP | BPF_JGE | BPF_K, 0, 2, low);
	put(w, BPF_JMP | BPF_JGE | BPF_K, 1, 0, end);
	put(w, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
	put(w, BPF_RET | BPF_K, 0, 0, w->refuse);
}

static void put_map(struct program *w)
{
	put(w, BPF_JMP | BPF_JGE | BPF_K, 0, 1, FILTER_CALLS);
	put(w, BPF_RET | BPF_K, 0, 0, w->refuse);
	/* M[0] = 1 << nr % 32, A = nr / 32 */
	put(w, BPF_ALU | BPF_AND | BPF_K, 0, 0, 31);
	put(w, BPF_MISC | BPF_TAX, 0, 0, 0);
	put(w, BPF_LD | BPF_IMM, 0, 0, 1);
	put(w, BPF_ALU | BPF_LSH | BPF_X, 0, 0, 0);
	put(w, BPF_ST, 0, 0, 0);
	put(w, BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr));
	put(w, BPF_ALU | BPF_RSH | BPF_K, 0, 0, 5);
	for (unsigned i = 0; i < FILTER_CALLS / 32; i++) {
		if (!w->free[i])
			continue;
		put(w, BPF_JMP | BPF_JEQ | BPF_K, 0, 4, i);
		put(w, BPF_LD | BPF_MEM, 0, 0, 0);
		put(w, BPF_JMP | BPF_JSET | BPF_K, 0, 1, w->free[i]);
		put(w, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
		put(w, BPF_RET | BPF_K, 0, 0, w->refuse);
	}
	put(w, BPF_RET | BPF_K, 0, 0, w->refuse);
}

unsigned filter_build(struct sock_filter out[FILTER_PROGRAM], const struct filter_ids *whose, uint32_t refuse)
{
	struct program w = { .out = out, .whose = whose, .refuse = refuse };

	each_rule(&w, note, 0);
	put(&w, BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, arch));
	put(&w, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, CPU_AUDIT_ARCH);
	put(&w, BPF_RET | BPF_K, 0, 0, refuse);
	put(&w, BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr));
	put_call(&w, __NR_ioctl);
	put_call(&w, __NR_futex);
	put_setxid(&w);
	for (unsigned nr = 0; nr < FILTER_CALLS; nr++)
		if (nr != __NR_ioctl && bit(w.ruled, nr) && !bit(w.free, nr))
			put_call(&w, nr);
	put_map(&w);
	return w.full ? 0 : w.n;
}

bool filter_possible(void)
{
	const uint32_t action = SECCOMP_RET_ERRNO;

	return !syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action);
}

/* The C library hides the signal from sigaction(). */
static uint64_t setxid_handler(void)
{
	struct {
		uint64_t handler, flags, restorer, mask;
	} sa = { 0 };

	return !syscall(SYS_rt_sigaction, SIGSETXID, NULL, &sa, sizeof(sa.mask)) && sa.handler > 1 ? sa.handler : 0;
}

int filter_install(void)
{
	struct sock_filter filter[FILTER_PROGRAM];
	struct sock_fprog prog = { .filter = filter };
	const struct filter_ids whose = { getpid(), (pid_t)syscall(SYS_gettid), setxid_handler() };

	prog.len = (unsigned short)filter_build(filter, &whose, SECCOMP_RET_ERRNO | EPERM);
	if (!prog.len || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -ENOTSUP;
	/*
	 * Without the flag, old kernels take a filter for a wish that every thread behind it be
	 * slower; kernels that do not know the flag refuse it.
	 */
	if (!syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &prog) ||
	    !syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog))
		return 0;
	return errno == ENOMEM ? -ENOMEM : -ENOTSUP;
}
