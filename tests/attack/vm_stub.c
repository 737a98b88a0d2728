/* SPDX-License-Identifier: MIT */
/*
 * A compartment against the stub process that it is: system calls of the kernel's that it makes itself, jumps into the
 * stub's own code with registers of its choice, forged reports and frames, what the last one left behind; and the stub
 * signalled, stopped and killed from outside.  Nothing of another's is ever reached, each run ends as a call, a fault
 * or a kick, and the next one begins clean.  World: host; the routines: ring 3.
 */
#include <cpuid.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "arch/layout.h"
#include "tests/guest.h"
#include "vm/process/process.h"

#define CODE	 0x13000000UL
#define VICTIM	 0x15000000UL /* nothing is there, ever */
#define SECRET	 0x5ec2e75ec2e75ec2UL
#define AREA	 0x17000000UL /* XSAVE areas, 64-byte aligned */
#define AT(name) (CODE + (uint64_t)((name) - stub_code))

__asm__(".pushsection .rodata\n"
	"stub_code:\n"
	/* rbp: 8 words rax rdi rsi rdx r10 r8 r9 rip; the others as they come */
	"stub_call:\n"
	"	mov (%rbp), %rax\n	mov 8(%rbp), %rdi\n	mov 16(%rbp), %rsi\n	mov 24(%rbp), %rdx\n"
	"	mov 32(%rbp), %r10\n	mov 40(%rbp), %r8\n	mov 48(%rbp), %r9\n"
	"	jmp *56(%rbp)\n"
	"stub_int80:	int $0x80\n	ud2\n"
	"stub_syscall:	syscall\n	mov %rax, %rdi\n	mov $1000, %eax\n	syscall\n	ud2\n"
	/* the trap flag, then the jump */
	"stub_step:\n"
	"	mov (%rbp), %rax\n	mov 8(%rbp), %rdi\n	mov 16(%rbp), %rsi\n"
	"	pushfq\n	orl $0x100, (%rsp)\n	popfq\n"
	"	jmp *56(%rbp)\n"
	/* the jump; with the trap flag for what comes behind the next call, and rbx as the stack pointer */
	"stub_step_deep:\n"
	"	mov (%rbp), %rax\n	mov 8(%rbp), %rdi\n	mov 16(%rbp), %rsi\n"
	"	pushq $0x2b\n	push %rbx\n	pushq $0x302\n	pushq $0x33\n	pushq 56(%rbp)\n	iretq\n"
	/* protection key 0 denied, then the jump */
	"stub_keys:\n"
	"	mov (%rbp), %rbx\n	mov 8(%rbp), %rdi\n	mov 16(%rbp), %rsi\n	mov 56(%rbp), %r8\n"
	"	xor %ecx, %ecx\n	xor %edx, %edx\n	mov $1, %eax\n	wrpkru\n	mov %rbx, %rax\n"
	"	jmp *%r8\n"
	/* vector registers full of rsi; rdi: with AVX */
	"stub_vectors:\n"
	"	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	movq %rsi, %xmm\\n\n	punpcklqdq %xmm\\n, %xmm\\n\n"
	"	.endr\n"
	"	test %rdi, %rdi\n	jz 1f\n"
	"	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	vinsertf128 $1, %xmm\\n, %ymm\\n, %ymm\\n\n"
	"	.endr\n"
	"1:	incq (%rdx)\n	jmp 1b\n"
	/* done(how many words of [rdi, rsi) are rdx) */
	"stub_search:\n"
	"	xor %eax, %eax\n"
	"1:	cmp %rdx, (%rdi)\n	jne 2f\n	inc %rax\n"
	"2:	add $8, %rdi\n	cmp %rsi, %rdi\n	jb 1b\n"
	"	mov %rax, %rdi\n	mov $1000, %eax\n	syscall\n	ud2\n"
	/* rsi calls 1001 with a number that counts, then done; rdi what an answer is to be more than the number */
	"stub_count:\n"
	"	xor %ebx, %ebx\n"
	"1:	mov %rbx, %rdx\n	mov $1001, %eax\n	syscall\n"
	"	sub %rbx, %rax\n	cmp %rdi, %rax\n	jne 2f\n"
	"	inc %rbx\n	cmp %rsi, %rbx\n	jb 1b\n"
	"	mov %rbx, %rdi\n	mov $1000, %eax\n	syscall\n"
	"2:	ud2\n"
	"stub_code_end:\n"
	".popsection\n");
extern const char stub_code[], stub_code_end[], stub_call[], stub_int80[], stub_syscall[], stub_step[], stub_step_deep[], stub_keys[],
	stub_vectors[], stub_search[], stub_count[];

static struct dune_space *s;
static struct dune_vcpu *c;
static dune_gpa_t secret; /* of nobody */

static uint64_t base(void)
{
	return stub_base(guest_vm);
}

static struct dune_space *space(void)
{
	struct dune_space *new = guest_space();

	guest_map_code(new, CODE, stub_code, stub_code_end);
	return new;
}

static bool is_dead(enum dune_exit e)
{
	return e == DUNE_EXIT_LOST;
}

/* Another in the place of one that has ended itself. */
static void replace(void)
{
	dune_vcpu_destroy(c);
	c = guest_vcpu();
}

static void still_good(const char *what)
{
	uint64_t n = guest_call(c, s, guest_r_nop, 0x600d, 0);

	CHECK_MSG(n == 0x600d, "%s", what);
	guest_read_fault(c, s, VICTIM, PF_ABSENT_READ);
	guest_write_fault(c, s, base() + STUB_REQUEST, PF_ABSENT_WRITE);
	CHECK_EQ(*(uint64_t *)dune_page_host(guest_vm, secret), SECRET);
}

/* ---- a run that somebody ends after a while --------------------------------------------------------------- */

static _Atomic uint64_t limit; /* when it is kicked, 0: never */

/*
 * QEMU without acceleration reads the frame of an iret, which some bytes of the text are in the midst of others, with
 * ring 0's rights: its own kernel would die of it.
 */
static bool is_emulated(void)
{
	unsigned eax, name[3];

	__cpuid(0x40000000, eax, name[0], name[1], name[2]);
	return !memcmp(name, "TCGTCGTCGTCG", sizeof(name));
}

static void *watch(void *arg)
{
	const struct timespec t = { 0, 20 * 1000000 };

	(void)arg;
	for (;;) {
		uint64_t end = atomic_load(&limit);

		if (end && guest_now_ms() > end) {
			atomic_store(&limit, 0);
			dune_vcpu_kick(c);
		}
		nanosleep(&t, NULL);
	}
	return NULL;
}

static enum dune_exit run(struct dune_frame *f)
{
	enum dune_exit e;

	atomic_store(&limit, guest_now_ms() + (is_emulated() ? 2000 : 800));
	e = dune_vcpu_run(c, s, f);
	atomic_store(&limit, 0);
	return e;
}

/* With these registers, to there. */
static enum dune_exit jump(const char *by, uint64_t to, const uint64_t regs[7], struct dune_frame *f)
{
	volatile uint64_t *words = guest_shared(s);

	for (int i = 0; i < 7; i++)
		words[32 + i] = regs[i];
	words[32 + 7] = to;
	*f = (struct dune_frame){ .rip = AT(by), .rsp = GUEST_STACK_TOP - 256, .rbp = GUEST_SHARED + 256,
				  .rbx = base() + STUB_SIGNALS + 128 };
	return run(f);
}

/* ---- calls are data ---------------------------------------------------------------------------------------- */

static void numbers(void)
{
	static const uint64_t calls[] = {
		SYS_mmap, SYS_mprotect, SYS_munmap, SYS_rt_sigreturn, SYS_sigaltstack, SYS_rt_sigprocmask, SYS_rt_sigaction,
		SYS_openat, SYS_clone, SYS_clone3, SYS_fork, SYS_vfork, SYS_execve, SYS_ptrace, SYS_process_vm_readv,
		SYS_process_vm_writev, SYS_rseq, SYS_seccomp, SYS_prctl, SYS_arch_prctl, SYS_exit, SYS_exit_group, SYS_getppid,
		SYS_sendmsg, SYS_recvmsg, SYS_dup3, SYS_close_range, SYS_io_uring_setup, SYS_userfaultfd, SYS_kill, SYS_tgkill,
		SYS_modify_ldt, SYS_iopl, SYS_personality, SYS_mremap, SYS_remap_file_pages, SYS_brk, SYS_restart_syscall,
		SYS_mmap | 0x40000000, 0x40000000 | 520, 0xffffffff, 1001,
	};
	struct dune_frame f;

	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		const uint64_t r[7] = { calls[i], VICTIM, 4096, 3, 0x8011, STUB_FD_PRIVATE, secret.v };
		enum dune_exit e = jump(stub_call, AT(stub_syscall), r, &f);

		CHECK_MSG(e == DUNE_EXIT_SYSCALL && f.rax == (uint64_t)(int)calls[i] && f.rdi == VICTIM && f.rsi == 4096 && f.r9 == secret.v &&
				  f.rip == AT(stub_syscall) + 2,
			  "call %#" PRIx64 ": %s", calls[i], guest_exit_text(e, &f));
		/* The answer is what is said, and no more. */
		f.rax = 0xa25e3;
		e = run(&f);
		CHECK_MSG(e == DUNE_EXIT_SYSCALL && f.rax == GUEST_DONE && f.rdi == 0xa25e3, "call %#" PRIx64 ": %s", calls[i],
			  guest_exit_text(e, &f));
		still_good("a call");
	}
	/* 32-bit calls and the page of old calls are faults. */
	for (size_t i = 0; i < 3; i++) {
		static const uint64_t nrs[] = { 192 /* mmap2 */, 11 /* execve */, 1 /* exit */ };
		const uint64_t r[7] = { nrs[i], 0, 4096, 3, 0x11, STUB_FD_PRIVATE, secret.v };
		enum dune_exit e = jump(stub_call, AT(stub_int80), r, &f);

		CHECK_MSG(e == DUNE_EXIT_FAULT && f.rip == AT(stub_int80), "int $0x80: %s", guest_exit_text(e, &f));
		still_good("int $0x80");
	}
	for (uint64_t at = 0xffffffffff600000; at <= 0xffffffffff600800; at += 0x400) {
		const uint64_t r[7] = { SYS_time, 0 };
		enum dune_exit e = jump(stub_call, at, r, &f);

		CHECK_MSG(e == DUNE_EXIT_FAULT, "%#" PRIx64 ": %s", at, guest_exit_text(e, &f));
		still_good("vsyscall");
	}
}

/* ---- jumps ------------------------------------------------------------------------------------------------- */

static void no_harm(const char *what, uint64_t at, enum dune_exit e, const struct dune_frame *f)
{
	CHECK_MSG(e == DUNE_EXIT_SYSCALL || e == DUNE_EXIT_FAULT || e == DUNE_EXIT_KICKED || e == DUNE_EXIT_NOMEM || is_dead(e),
		  "%s %#" PRIx64 ": %s", what, at, guest_exit_text(e, f));
	dune_vcpu_unkick(c);
	if (is_dead(e))
		replace();
	still_good(what);
}

/* To the three system calls of the stub's, with any registers. */
static void jumps_to_calls(void)
{
	const uint64_t to[] = { stub_header()->report_ip - 2, stub_header()->edit_ip - 2, stub_header()->fault_ip - 2 };
	static const struct {
		uint64_t nr, prot, flags, fd;
	} how[] = {
		{ SYS_mmap, 3, 0x8011, STUB_FD_PRIVATE }, { SYS_mmap, 3, 0xc011, STUB_FD_PRIVATE }, { SYS_mmap, 1, 0x11, STUB_FD_IMAGE },
		{ SYS_mmap, 3, 0x11, STUB_FD_IMAGE },	  { SYS_mmap, 7, 0x32, ~0UL },		    { SYS_mprotect, 7, 0, 0 },
		{ SYS_munmap, 0, 0, 0 },		  { SYS_rt_sigreturn, 0, 0, 0 },	    { SYS_close_range, 0, 0, 0 },
		{ SYS_exit_group, 0, 0, 0 },		  { SYS_execve, 0, 0, 0 },
	};
	const uint64_t at[] = { VICTIM, CODE, base(), base() + STUB_REQUEST, base() + STUB_SIGNALS, GUEST_SHARED, 0, DUNE_USER_END - 4096 };
	struct dune_frame f;

	for (size_t i = 0; i < 3; i++)
		for (size_t k = 0; k < sizeof(how) / sizeof(*how); k++)
			for (size_t n = 0; n < sizeof(at) / sizeof(*at); n++) {
				const uint64_t r[7] = { how[k].nr, at[n], 4096, how[k].prot, how[k].flags, how[k].fd, secret.v };

				no_harm("a jump to a call", to[i], jump(stub_call, base() + to[i], r, &f), &f);
			}
	/* Exactly what the handler would ask: the pages of its hint, where nothing is to be. */
	for (size_t n = 0; n < sizeof(at) / sizeof(*at); n++) {
		const struct proc_vcpu *p = proc_vcpu_of(c);
		const uint64_t r[7] = { SYS_mmap, at[n], p->hint_len * 4096, 3, 0x8011, STUB_FD_PRIVATE, p->hint };

		no_harm("the handler's call", at[n], jump(stub_call, base() + stub_header()->fault_ip - 2, r, &f), &f);
	}
}

static void jumps_to_bytes(void)
{
	struct dune_frame f;
	uint64_t begun = 0;

	for (uint64_t off = 0; off < stub_header()->text_end && guest_in_time(&begun, 5000); off += 1 + !(off % 3)) {
		const uint64_t mapping[7] = { SYS_mmap, VICTIM, 4096, 3, 0x8011, STUB_FD_PRIVATE, secret.v };
		const uint64_t handler[7] = { 0, 11, GUEST_SHARED, base() + STUB_SIGNALS, 0, 0, 0 };

		no_harm("a jump into the stub", off, jump(stub_call, base() + off, mapping, &f), &f);
		no_harm("a jump into the stub", off, jump(stub_call, base() + off, handler, &f), &f);
	}
}

/* ---- reports ------------------------------------------------------------------------------------------------ */

static void reports(void)
{
	static const int64_t why[] = { REPORT_START, REPORT_END, REPORT_EDITED, REPORT_FAILED, REPORT_BASES, -5, 4, 5, 7, 8, 9, 11, 18, 19,
				       STUB_KICK, 31, 64, 65, INT64_MIN, INT64_MAX, 1L << 32 };
	uint64_t signals = base() + STUB_SIGNALS, end = signals + STUB_SIGNALS_SIZE;
	const uint64_t at[] = { 0, signals, signals + 8, signals + 1, signals - 8, end - 8, end - 304 - 128, end - 304 - 120, end,
				base(), base() + STUB_REQUEST, GUEST_SHARED, GUEST_CODE, ~0UL, 1UL << 63, -12UL };
	struct dune_frame f;

	for (size_t i = 0; i < sizeof(why) / sizeof(*why); i++) {
		for (size_t k = 0; k < sizeof(at) / sizeof(*at); k++) {
			const uint64_t r[7] = { REPORT_NR, (uint64_t)why[i], at[k] };
			enum dune_exit e = jump(stub_call, base() + stub_header()->report_ip - 2, r, &f);

			if (why[i] == REPORT_END)
				CHECK_MSG(e == DUNE_EXIT_SYSCALL && f.rax == DUNE_SYS_RETURN && f.rdi == at[k], "%s",
					  guest_exit_text(e, &f));
			no_harm("a report", (uint64_t)why[i], e, &f);
		}
	}
}

/* Frames of its own on the signal stack: any registers, any vector area. */
static void frames(void)
{
	static const uint64_t areas[] = { 0, 4096, 4096 + 8, 0x10000 - 512, 0x10000, -64UL, 1UL << 63 };
	const uint64_t rips[] = { AT(stub_syscall), base(), base() + stub_header()->report_ip, base() + stub_header()->edit_ip,
				  base() + stub_header()->resume, base() + stub_header()->resume_end, DUNE_USER_END, 1UL << 63, -1UL };
	struct proc_vcpu *p = proc_vcpu_of(c);
	struct dune_frame f;

	for (int sig = 4; sig <= STUB_KICK; sig++) {
		for (size_t i = 0; i < sizeof(rips) / sizeof(*rips); i++) {
			const uint64_t r[7] = { REPORT_NR, (uint64_t)sig, base() + STUB_SIGNALS + 0x8000 };
			uint64_t *context = (uint64_t *)(p->signals + 0x8000);

			/* What ring 3 could write there itself. */
			memset(p->signals, 0xff, STUB_SIGNALS_SIZE);
			context[168 / 8] = rips[i];
			context[160 / 8] = ~0UL;
			context[224 / 8] = base() + STUB_SIGNALS + areas[(size_t)sig % (sizeof(areas) / sizeof(*areas))];
			context[(304 + 8) / 8] = i & 1;
			no_harm("a frame", rips[i], jump(stub_call, base() + stub_header()->report_ip - 2, r, &f), &f);
			p = proc_vcpu_of(c);
		}
	}
}

/* ---- what the next run finds --------------------------------------------------------------------------------- */

static unsigned traps; /* of runs that would have ended as somebody else's */

/* Flags and rights that would trap the stub on its way out of REPORT. */
static void left_behind(const char *by, const char *what)
{
	const uint64_t to[] = { stub_header()->report_ip - 2, stub_header()->end };
	struct dune_frame f;

	for (size_t i = 0; i < 2; i++) {
		const uint64_t r[7] = { REPORT_NR, (uint64_t)REPORT_END, 5 };
		enum dune_exit e = jump(by, base() + to[i], r, &f);

		if (e == DUNE_EXIT_SYSCALL && f.rax == DUNE_SYS_RETURN) {
			f = guest_frame(guest_r_nop, 77, 0, 0);
			e = run(&f);
			if (e != DUNE_EXIT_SYSCALL || f.rdi != 77) {
				NOTE("%s: the next run ends with %s", what, guest_exit_text(e, &f));
				traps++;
			}
		}
		no_harm(what, to[i], e, &f);
	}
}

static bool has_keys(void)
{
	unsigned a, b, cx = 0, d;

	return __get_cpuid_count(7, 0, &a, &b, &cx, &d) && (cx & 16 /* OSPKE */);
}

static uint64_t found(uint64_t at, uint64_t len)
{
	struct dune_frame f = { .rip = AT(stub_search), .rsp = GUEST_STACK_TOP - 256, .rdi = at, .rsi = at + len, .rdx = SECRET };
	enum dune_exit e = run(&f);

	CHECK_MSG(e == DUNE_EXIT_SYSCALL && f.rax == GUEST_DONE, "%s", guest_exit_text(e, &f));
	return f.rdi;
}

/* One leaves its vector registers and its signal stack, the next has the same pages. */
static void residue(void)
{
	struct dune_space *last = s;
	struct guest_thread t;
	uint64_t *stack;
	dune_gpa_t request;
	int number, saved, other;

	*guest_shared(s) = 0;
	guest_thread_start_at(&t, c, s, (struct dune_frame){ .rip = AT(stub_vectors), .rsp = GUEST_STACK_TOP - 256,
							     .rdi = __builtin_cpu_supports("avx"), .rsi = SECRET, .rdx = GUEST_SHARED });
	guest_wait_progress(&t, guest_shared(s), 1);
	guest_thread_stop(&t);
	/* Told to go on: the request page has its registers. */
	dune_vcpu_kick(c);
	guest_thread_start_at(&t, c, s, t.frame);
	guest_wait_progress(&t, guest_shared(s), 1000);
	guest_thread_stop(&t);
	request = proc_vcpu_of(c)->request_page;
	stack = (uint64_t *)proc_vcpu_of(c)->signals;
	for (size_t i = 0; i < STUB_SIGNALS_SIZE / 8; i += 64)
		stack[i] = SECRET;
	CHECK_GT(found(base() + STUB_SIGNALS, STUB_SIGNALS_SIZE), 0); /* its own, it may */
	/* The next run in the same vCPU: its entry is not even mapped here. */
	{
		struct dune_frame f = { .rip = (uint64_t)dune_reset_entry, .rsp = GUEST_STACK_TOP - 256 };

		CHECK_EQ(run(&f), DUNE_EXIT_FAULT);
		CHECK_EQ(found(base() + STUB_SIGNALS, STUB_SIGNALS_SIZE), 0);
		CHECK_EQ(found(base() + STUB_REQUEST + REQUEST_EDITS, STUB_REQUEST_SIZE - REQUEST_EDITS), 0);
	}
	/* Also where the program has closed the library's file, and has one of its own there: which is left as it is. */
	number = proc_of(guest_vm)->private_file.fd;
	saved = dup(number);
	other = memfd_create("other", 0);
	CHECK(saved >= 0 && other >= 0 && write(other, "other", 5) == 5 && dup2(other, number) == number);
	{
		struct dune_frame f = { .rip = (uint64_t)dune_reset_entry, .rsp = GUEST_STACK_TOP - 256 };

		for (size_t i = 0; i < STUB_SIGNALS_SIZE / 8; i += 64)
			stack[i] = SECRET;
		CHECK_EQ(run(&f), DUNE_EXIT_FAULT);
		CHECK_EQ(found(base() + STUB_SIGNALS, STUB_SIGNALS_SIZE), 0);
	}
	CHECK_EQ(lseek(other, 0, SEEK_CUR), 5);
	/* And where that is so large that something is found in it, behind all that is the library's. */
	if (proc_of(guest_vm)->signals_far) {
		CHECK(!ftruncate(other, (1L << 60) + (1L << 40)) && pwrite(other, "x", 1, (1L << 60) + (1L << 39)) == 1);
		struct dune_frame f = { .rip = (uint64_t)dune_reset_entry, .rsp = GUEST_STACK_TOP - 256 };

		for (size_t i = 0; i < STUB_SIGNALS_SIZE / 8; i += 64)
			stack[i] = SECRET;
		CHECK_EQ(run(&f), DUNE_EXIT_FAULT);
		CHECK_EQ(found(base() + STUB_SIGNALS, STUB_SIGNALS_SIZE), 0);
	}
	CHECK(dup2(saved, number) == number && !close(saved) && !close(other));
	for (size_t i = 0; i < STUB_SIGNALS_SIZE / 8; i += 64)
		stack[i] = SECRET;
	dune_vcpu_destroy(c);

	c = guest_vcpu();
	s = space();
	CHECK_EQ(proc_vcpu_of(c)->request_page.v, request.v);
	CHECK_EQ((uint64_t)proc_vcpu_of(c)->signals, (uint64_t)stack);
	CHECK_EQ(found(base() + STUB_SIGNALS, STUB_SIGNALS_SIZE), 0);
	CHECK_EQ(found(base() + STUB_REQUEST + REQUEST_EDITS, STUB_REQUEST_SIZE - REQUEST_EDITS), 0);
	still_good("after another");
	dune_vm_free(last);
}

/* ---- from outside ---------------------------------------------------------------------------------------------- */

static atomic_bool quiet;

static void *signals(void *arg)
{
	static const int sigs[] = { SIGURG, SIGSTOP, SIGCONT, SIGURG, SIGCONT, SIGTERM, SIGHUP };
	const struct timespec t = { 0, 200000 };
	pid_t pid = *(pid_t *)arg;

	for (unsigned i = 0; !atomic_load(&quiet); i++) {
		kill(pid, sigs[i % 7]);
		nanosleep(&t, NULL);
	}
	kill(pid, SIGCONT);
	return NULL;
}

/* Each of many calls arrives once, in order, and is answered once. */
static void counted(void)
{
	uint64_t many = test_scale(10000), next = 0, begun = 0;
	struct dune_frame f = { .rip = AT(stub_count), .rsp = GUEST_STACK_TOP - 256, .rdi = 5, .rsi = many };
	pid_t pid;
	pthread_t storm;
	enum dune_exit e;

	still_good("before");
	pid = proc_vcpu_of(c)->pid;
	atomic_store(&quiet, false);
	CHECK_OK(pthread_create(&storm, NULL, signals, &pid));
	for (;;) {
		if (next > 100 && !guest_in_time(&begun, 15000))
			break;
		e = dune_vcpu_run(c, s, &f);
		CHECK_MSG(e == DUNE_EXIT_SYSCALL, "call %" PRIu64 ": %s", next, guest_exit_text(e, &f));
		if (f.rax == GUEST_DONE)
			break;
		CHECK_EQ(f.rax, 1001);
		CHECK_EQ(f.rdx, next);
		f.rax = next++ + 5;
	}
	if (f.rax == GUEST_DONE)
		CHECK_EQ(next, many);
	atomic_store(&quiet, true);
	CHECK_OK(pthread_join(storm, NULL));
	still_good("after a storm");
}

/*
 * Kicks while the stub unmaps what it had: a second one that interrupts the first one's handler must not make the host
 * believe that all is done.
 */
static void *kicks(void *arg)
{
	volatile pid_t *pid = arg;

	for (volatile unsigned i = 0; !atomic_load(&quiet); i++) {
		kill(*pid, SIGURG);
		if (i % 4 == 0)
			for (volatile unsigned k = i % 4096; k; k--)
				;
	}
	return NULL;
}

/* A storm without a pause uses up the signal stack: that ends the stub, no more. */
static enum dune_exit run_again(struct dune_frame *f, pid_t *pid)
{
	const struct dune_frame was = *f;
	enum dune_exit e;

	while (is_dead(e = run(f))) {
		replace();
		*pid = proc_vcpu_of(c)->pid;
		*f = was;
	}
	return e;
}

static void unmapped(void)
{
	unsigned long rounds = test_scale(300);
	uint64_t begun = 0;
	static pid_t pid;
	pthread_t storm;

	still_good("before");
	pid = proc_vcpu_of(c)->pid;
	atomic_store(&quiet, false);
	CHECK_OK(pthread_create(&storm, NULL, kicks, &pid));
	for (unsigned long i = 0; i < rounds && guest_in_time(&begun, 10000); i++) {
		struct dune_frame f;
		enum dune_exit e;

		for (uint64_t k = 0; k < 8; k++)
			guest_map(s, AREA + k * 8192, SECRET, RW);
		for (uint64_t k = 0; k < 8; k++) {
			f = guest_frame(guest_r_read, AREA + k * 8192, 0, 0);
			e = run_again(&f, &pid);
			CHECK_MSG(e == DUNE_EXIT_SYSCALL && f.rdi == SECRET, "round %lu: %s", i, guest_exit_text(e, &f));
		}
		for (uint64_t k = 0; k < 8; k++)
			CHECK_OK(dune_vm_unmap(s, dune_gva(AREA + k * 8192), 4096));
		for (uint64_t k = 0; k < 8; k++) {
			f = guest_frame(guest_r_read, AREA + k * 8192, 0, 0);
			e = run_again(&f, &pid);
			CHECK_MSG(e == DUNE_EXIT_FAULT && f.cr2 == AREA + k * 8192, "round %lu: %s", i, guest_exit_text(e, &f));
		}
	}
	atomic_store(&quiet, true);
	CHECK_OK(pthread_join(storm, NULL));
	still_good("after kicks");
}

/* Whether the process is there; a dead one that nobody has reaped is not. */
static bool lives(pid_t pid)
{
	char name[64], text[256] = "";
	const char *state;
	int fd;

	snprintf(name, sizeof(name), "/proc/%d/stat", pid);
	fd = open(name, O_RDONLY);
	if (fd < 0)
		return false;
	if (read(fd, text, sizeof(text) - 1) < 0) /* reaped meanwhile */
		CHECK_EQ(errno, ESRCH);
	close(fd);
	state = strrchr(text, ')');
	return strstr(text, "sthread-stub") && state && state[2] != 'Z' && state[2] != 'X';
}

/* One at rest has nothing that the next could lack; one that runs is lost. */
static void killed(void)
{
	struct dune_frame f = guest_frame(guest_r_spin, 0, 0, GUEST_SHARED);
	pid_t pid = proc_vcpu_of(c)->pid;
	struct guest_thread t;

	CHECK_OK(kill(pid, SIGKILL));
	while (lives(pid))
		sched_yield();
	CHECK_EQ(run(&f), DUNE_EXIT_KICKED);
	CHECK_NE(proc_vcpu_of(c)->pid, pid);
	still_good("a stub killed at rest");
	*guest_shared(s) = 0;
	guest_thread_start(&t, c, s, guest_r_spin, 0, 0, GUEST_SHARED);
	guest_wait_progress(&t, guest_shared(s), 1000);
	CHECK_OK(kill(proc_vcpu_of(c)->pid, SIGKILL));
	guest_thread_join(&t);
	CHECK_EQ(t.exit, DUNE_EXIT_LOST);
	replace();
	still_good("a stub killed");
}

static void zygote_killed(void)
{
	struct guest_thread t;
	struct dune_vcpu *old = c;

	*guest_shared(s) = 0;
	guest_thread_start(&t, c, s, guest_r_spin, 0, 0, GUEST_SHARED);
	guest_wait_progress(&t, guest_shared(s), 1000);
	CHECK_OK((int)syscall(SYS_pidfd_send_signal, proc_of(guest_vm)->zygote.fd, SIGKILL, NULL, 0));
	guest_thread_join(&t);
	CHECK_EQ(t.exit, DUNE_EXIT_LOST);
	c = guest_vcpu();
	dune_vcpu_destroy(old);
	still_good("the zygote killed");
}

static void master_killed(bool as_nobody)
{
	int ends[2], status;
	pid_t child, pid, zygote = 0;
	char line[128];
	uint64_t end;
	FILE *info;

	CHECK_OK(pipe(ends));
	child = fork();
	CHECK_GE(child, 0);
	if (!child) {
		guest_start(64UL << 20);
		s = space();
		c = guest_vcpu();
		secret = guest_page(SECRET);
		still_good("in another");
		pid = proc_vcpu_of(c)->pid;
		snprintf(line, sizeof(line), "/proc/self/fdinfo/%d", proc_of(guest_vm)->zygote.fd);
		info = fopen(line, "r");
		CHECK(info);
		while (fgets(line, sizeof(line), info))
			sscanf(line, "Pid: %d", &zygote);
		fclose(info);
		if (as_nobody)
			CHECK_OK(setresuid(65534, 65534, 65534));
		still_good("in another");
		CHECK_EQ(write(ends[1], &pid, sizeof(pid)), sizeof(pid));
		CHECK_EQ(write(ends[1], &zygote, sizeof(zygote)), sizeof(zygote));
		for (;;)
			pause();
	}
	close(ends[1]);
	CHECK_EQ(read(ends[0], &pid, sizeof(pid)), sizeof(pid));
	CHECK_EQ(read(ends[0], &zygote, sizeof(zygote)), sizeof(zygote));
	close(ends[0]);
	CHECK(lives(pid) && lives(zygote));
	CHECK_OK(kill(child, SIGKILL));
	CHECK_EQ(waitpid(child, &status, 0), child);
	for (end = guest_now_ms() + 1000; (lives(pid) || lives(zygote)) && guest_now_ms() < end; sched_yield())
		;
	CHECK(!lives(pid) && !lives(zygote));
}

static void starts(void)
{
	pthread_t watcher;

	guest_start(64UL << 20);
	c = guest_vcpu();
	s = space();
	secret = guest_page(SECRET);
	CHECK_OK(pthread_create(&watcher, NULL, watch, NULL));
}

/* Files may not be as long as the one with the signal stacks likes to be. */
static void small_files(void)
{
	const struct rlimit small = { 1UL << 30, 1UL << 30 };
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		CHECK(!setrlimit(RLIMIT_FSIZE, &small));
		starts();
		CHECK(!proc_of(guest_vm)->signals_far);
		residue();
		_exit(TEST_PASSED);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == TEST_PASSED, "wait status %#x", (unsigned)status);
}

int main(void)
{
	CHECK_OK(setenv("STHREAD_PLACEMENT", "process", 1));
	NOTE("the master killed");
	master_killed(false);
	if (!getuid())
		master_killed(true);
	NOTE("small files");
	small_files();
	starts();
	still_good("nothing");
	NOTE("calls");
	numbers();
	NOTE("jumps");
	jumps_to_calls();
	if (is_emulated())
		NOTE("not to every byte: this processor is emulated");
	else
		jumps_to_bytes();
	NOTE("reports");
	reports();
	frames();
	NOTE("what is left behind");
	left_behind(stub_step, "the trap flag");
	if (is_emulated())
		NOTE("not by iretq: this processor reads its frame with ring 0's rights, and the kernel gives up");
	else
		left_behind(stub_step_deep, "the trap flag, and no stack for its signal");
	CHECK_EQ(traps, 0);
	if (has_keys()) {
		left_behind(stub_keys, "protection keys");
		NOTE("runs that keys of the last one ended: %u", traps); /* before Linux 6.12 no frame fits then */
	}
	residue();
	NOTE("from outside");
	counted();
	unmapped();
	killed();
	zygote_killed();
	return 0;
}
