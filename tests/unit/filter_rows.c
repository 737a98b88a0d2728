/* SPDX-License-Identifier: MIT */
/*
 * filter_rows.c - the filter of worker threads and the system-call table agree.  World: host, no KVM.
 *
 * The rows name the table's forwarded entries, all of them and no other; the program allows what they say and
 * refuses every other number, interpreted for each, and by the kernel in a child.
 */
#include <asm/unistd.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "sthread/seccomp/filter.h"
#include "sthread/syscall/syscall.h"
#include "tests/test.h"

#define THREAD	 77777
#define REFUSED	 (SECCOMP_RET_ERRNO | EPERM)
#define X32	 0x40000000u
#define NR_URETPROBE 335
#define NR_UPROBE    336

static struct sock_filter program[FILTER_PROGRAM];
static unsigned len;
static bool open_to[FILTER_CALLS], tested[FILTER_CALLS]; /* what the rows say, read on their own */

static void mark(const struct filter_rule *r)
{
	for (; r->nr != FILTER_END; r++) {
		CHECK_MSG(r->nr < FILTER_CALLS, "a rule for system call %u", r->nr);
		(r->test[0].how == FILTER_ANY ? open_to : tested)[r->nr] = true;
	}
}

static void rows_are_the_table(void)
{
	for (unsigned i = 0; i < sys_table_len; i++) {
		unsigned rows = 0;

		for (unsigned k = 0; k < filter_rows_len; k++)
			rows += !strcmp(filter_rows[k].call, sys_table[i].name);
		CHECK_MSG(rows == 1 || !sys_table[i].forwarded,
			  "%s is forwarded and has %u rows: add ROW(%s, its host calls) to sthread/seccomp/rules.c",
			  sys_table[i].name, rows, sys_table[i].name);
		CHECK_MSG(rows == 0 || sys_table[i].forwarded,
			  "%s makes no host call, says the table: take its row out of sthread/seccomp/rules.c",
			  sys_table[i].name);
	}
	for (unsigned k = 0; k < filter_rows_len; k++) {
		bool known = false;

		for (unsigned i = 0; i < sys_table_len; i++)
			known |= !strcmp(filter_rows[k].call, sys_table[i].name);
		CHECK_MSG(known, "ROW(%s, ...) of sthread/seccomp/rules.c is of no entry of the table",
			  filter_rows[k].call);
		CHECK_MSG(filter_rows[k].rules->nr != FILTER_END, "ROW(%s) is empty", filter_rows[k].call);
		mark(filter_rows[k].rules);
	}
	mark(filter_loop);
}

/* What must never be allowed whatever its arguments, and what not at all. */
static void rows_are_narrow(void)
{
	static const unsigned argued[] = { __NR_ioctl, __NR_fcntl,    __NR_mmap,     __NR_mprotect,
					   __NR_tgkill, __NR_socket, __NR_prlimit64, __NR_prctl,
					   __NR_process_vm_readv, __NR_process_vm_writev };
	static const unsigned never[] = {
		__NR_execve,   __NR_execveat, __NR_clone,   __NR_clone3, __NR_fork,    __NR_vfork,
		__NR_ptrace,   __NR_kill,     __NR_tkill,   __NR_bpf,	 __NR_seccomp,
		__NR_setuid,   __NR_setresuid, __NR_capset, __NR_mount,	 __NR_umount2, __NR_init_module,
		__NR_finit_module, __NR_kexec_load, __NR_reboot, __NR_io_uring_setup, __NR_userfaultfd,
		__NR_perf_event_open, __NR_rt_sigaction, __NR_pkey_mprotect, __NR_unshare, __NR_setns,
		__NR_chroot,   __NR_pivot_root, __NR_open_by_handle_at, __NR_shmat, __NR_modify_ldt,
	};

	for (size_t i = 0; i < sizeof(argued) / sizeof(argued[0]); i++)
		CHECK_MSG(!open_to[argued[i]], "system call %u is allowed without a look at its arguments",
			  argued[i]);
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		CHECK_MSG(!open_to[never[i]] && !tested[never[i]], "system call %u is allowed", never[i]);
}

/* ---- the program, interpreted ---- */

static uint32_t verdict(const struct seccomp_data *d)
{
	uint32_t a = 0, x = 0, m[BPF_MEMWORDS] = { 0 }, k;

	for (unsigned pc = 0; pc < len; pc++) {
		const struct sock_filter *i = &program[pc];

		k = i->k;
		switch (i->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			CHECK(k % 4 == 0 && k + 4 <= sizeof(*d));
			memcpy(&a, (const char *)d + k, 4);
			break;
		case BPF_LD | BPF_IMM: a = k; break;
		case BPF_LD | BPF_MEM: a = m[k]; break;
		case BPF_ST: m[k] = a; break;
		case BPF_MISC | BPF_TAX: x = a; break;
		case BPF_ALU | BPF_AND | BPF_K: a &= k; break;
		case BPF_ALU | BPF_RSH | BPF_K: a >>= k; break;
		case BPF_ALU | BPF_LSH | BPF_X: CHECK(x < 32); a <<= x; break;
		case BPF_JMP | BPF_JA: pc += k; break;
		case BPF_JMP | BPF_JEQ | BPF_K: pc += a == k ? i->jt : i->jf; break;
		case BPF_JMP | BPF_JGE | BPF_K: pc += a >= k ? i->jt : i->jf; break;
		case BPF_JMP | BPF_JSET | BPF_K: pc += a & k ? i->jt : i->jf; break;
		case BPF_RET | BPF_K: return k;
		default: FAIL("instruction %u has code 0x%x", pc, i->code);
		}
	}
	FAIL("the program runs past its end");
}

static bool allowed(uint32_t arch, uint32_t nr, const uint64_t arg[6])
{
	struct seccomp_data d = { .nr = (int)nr, .arch = arch };
	uint32_t v;

	memcpy(d.args, arg, sizeof(d.args));
	v = verdict(&d);
	CHECK_MSG(v == SECCOMP_RET_ALLOW || v == REFUSED, "system call %u: verdict 0x%x", nr, v);
	return v == SECCOMP_RET_ALLOW;
}
#define ALLOWED(name, ...) allowed(AUDIT_ARCH_X86_64, __NR_##name, (const uint64_t[6]){ __VA_ARGS__ })

static bool holds(const struct filter_rule *r, const uint64_t arg[6])
{
	for (int i = 0; i < 2; i++) {
		uint32_t v = (uint32_t)arg[r->test[i].arg];

		switch (r->test[i].how) {
		case FILTER_IS:
			if (v != r->test[i].value)
				return false;
			break;
		case FILTER_WITHOUT:
			if (v & r->test[i].value)
				return false;
			break;
		case FILTER_IS_SELF:
			if (v != (uint32_t)getpid())
				return false;
			break;
		case FILTER_IS_THREAD:
			if (v != THREAD)
				return false;
			break;
		}
	}
	return true;
}

static bool any_holds(const struct filter_rule *r, uint32_t nr, const uint64_t arg[6])
{
	for (; r->nr != FILTER_END; r++)
		if (r->nr == nr && holds(r, arg))
			return true;
	return false;
}

static bool expected(uint32_t nr, const uint64_t arg[6])
{
	bool yes = any_holds(filter_loop, nr, arg);

	for (unsigned k = 0; k < filter_rows_len; k++)
		yes |= any_holds(filter_rows[k].rules, nr, arg);
	return yes;
}

/* Every value that a rule names and its neighbours, in every argument that it looks at. */
static void program_is_the_rows(void)
{
	const uint64_t values[] = { 0, 1, 2, 4, 7, F_DUPFD_CLOEXEC, F_GETFL, F_SETFL, F_SETOWN, KVM_RUN,
					   KVM_RUN + 1, KVM_CREATE_VCPU, KVM_SET_USER_MEMORY_REGION, KVM_SET_SREGS,
					   FIONREAD, FIONBIO, TIOCSTI, THREAD, (uint64_t)getpid(), UINT64_MAX };
	const size_t n = sizeof(values) / sizeof(values[0]);
	unsigned yes = 0, no = 0;

	for (uint32_t nr = 0; nr < 2 * FILTER_CALLS; nr++) {
		for (size_t i = 0; i < n * n; i++) {
			uint64_t arg[6] = { values[i % n], values[i / n], values[i / n], values[i % n], 0, 0 };
			bool want = expected(nr, arg);

			CHECK_MSG(allowed(AUDIT_ARCH_X86_64, nr, arg) == want,
				  "system call %u(0x%lx, 0x%lx, ...): the rows say %s", nr, arg[0], arg[1],
				  want ? "allowed" : "refused");
			CHECK_MSG(!allowed(AUDIT_ARCH_X86_64, nr | X32, arg), "x32 %u", nr);
			CHECK_MSG(!allowed(AUDIT_ARCH_I386, nr, arg), "i386 %u", nr);
			*(want ? &yes : &no) += 1;
		}
	}
	CHECK(yes > n * n * 20 && no > n * n * 400);
}

static void arguments(void)
{
	uint64_t self = (uint64_t)getpid();

	CHECK(ALLOWED(ioctl, 5, KVM_RUN) && !ALLOWED(ioctl, 5, KVM_SET_SREGS) && !ALLOWED(ioctl, 5, KVM_GET_SREGS));
	CHECK(!ALLOWED(ioctl, 5, KVM_CREATE_VCPU) && !ALLOWED(ioctl, 5, KVM_SET_USER_MEMORY_REGION));
	CHECK(!ALLOWED(ioctl, 0, TIOCSTI));
	CHECK(ALLOWED(mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS));
	CHECK(!ALLOWED(mmap, 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS));
	CHECK(!ALLOWED(mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 5));
	CHECK(ALLOWED(mprotect, 0, 4096, PROT_READ) && !ALLOWED(mprotect, 0, 4096, PROT_EXEC));
	CHECK(ALLOWED(tgkill, self, 1, 34) && !ALLOWED(tgkill, 1, 1, 9) && !ALLOWED(tgkill, self + 1, self, 34));
	CHECK(ALLOWED(process_vm_readv, THREAD) && !ALLOWED(process_vm_readv, 1));
	CHECK(ALLOWED(fcntl, 5, F_GETFL) && !ALLOWED(fcntl, 5, F_SETOWN, 1) && !ALLOWED(fcntl, 5, F_SETLEASE));
}

/* Of the C library's handler, wherever in memory that is, and of nobody else. */
static void identity(void)
{
	static const uint64_t handlers[] = { 0x7f0012345670, 0x7f00ffffff80, 0x10 };
	static const unsigned calls[] = { __NR_setuid, __NR_setgid, __NR_setreuid, __NR_setregid, __NR_setresuid,
					  __NR_setresgid, __NR_setgroups };

	for (size_t h = 0; h < sizeof(handlers) / sizeof(handlers[0]); h++) {
		const struct filter_ids whose = { getpid(), THREAD, handlers[h] };
		const uint64_t at = handlers[h], others[] = { at - 2, at + 4096, at + (1UL << 32), at - (1UL << 32), 0, UINT64_MAX };

		len = filter_build(program, &whose, REFUSED);
		CHECK(len);
		for (uint32_t nr = 0; nr < FILTER_CALLS; nr++) {
			struct seccomp_data d = { .nr = (int)nr, .arch = AUDIT_ARCH_X86_64, .args = { 3, 3, 3 } };
			bool one = false, before = expected(nr, (const uint64_t *)d.args);

			for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
				one |= calls[i] == nr;
			d.instruction_pointer = at + 80;
			CHECK_MSG((verdict(&d) == SECCOMP_RET_ALLOW) == (one || before), "system call %u by the handler", nr);
			for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
				d.instruction_pointer = others[i];
				CHECK_MSG((verdict(&d) == SECCOMP_RET_ALLOW) == before, "system call %u by others", nr);
			}
		}
	}
}

/* ---- by the kernel ---- */

/* With arguments that no call can use. */
static long try(unsigned nr)
{
	return syscall(nr, -1L, -1L, -1L, -1L, -1L, -1L) < 0 ? errno : 0;
}

static void child(void)
{
	unsigned refused = 0;
	void *p;

	CHECK_OK(filter_install());
	for (unsigned nr = 0; nr < FILTER_CALLS; nr++) {
		/* The kernel's own trampolines, which no filter is asked about: SIGILL from elsewhere. */
		if (open_to[nr] || tested[nr] || nr == NR_URETPROBE || nr == NR_UPROBE)
			continue;
		CHECK_MSG(try(nr) == EPERM, "system call %u is not refused", nr);
		refused++;
	}
	CHECK(refused > 400);
	for (unsigned nr = 0; nr < FILTER_CALLS; nr++) {
		/* Those that do not return, or that -1 does not stop. */
		if (!open_to[nr] || nr == __NR_exit || nr == __NR_exit_group || nr == __NR_rt_sigreturn ||
		    nr == __NR_restart_syscall)
			continue;
		CHECK_MSG(try(nr) != EPERM, "system call %u is refused", nr);
	}
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED && !munmap(p, 4096));
	CHECK(ioctl(-1, KVM_RUN, 0) < 0 && errno == EBADF);
	CHECK(ioctl(-1, KVM_SET_SREGS, 0) < 0 && errno == EPERM);
	CHECK(syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), 0) == 0);
	CHECK(syscall(SYS_tgkill, 1, 1, 0) < 0 && errno == EPERM);
	/* What the thread creates would be behind it, too; it creates nothing. */
	CHECK(fork() < 0 && errno == EPERM);
	_exit(0);
}

static void by_the_kernel(void)
{
	pid_t pid;
	int status;

#ifdef __SANITIZE_ADDRESS__
	return; /* it makes calls of its own */
#endif
	if (!filter_possible())
		SKIP("no seccomp: interpreted only");
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		alarm(20);
		child();
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with 0x%x", (unsigned)status);
}

int main(void)
{
	const struct filter_ids whose = { .process = getpid(), .thread = THREAD };

	len = filter_build(program, &whose, REFUSED);
	CHECK(len);
	rows_are_the_table();
	rows_are_narrow();
	program_is_the_rows();
	arguments();
	by_the_kernel();
	identity();
	printf("%u instructions\n", len);
	return 0;
}
