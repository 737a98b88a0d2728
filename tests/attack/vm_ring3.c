/* SPDX-License-Identifier: MIT */
/*
 * Hostile code in ring 3: instructions, selectors, flags, stacks and addresses that are not its own.  Each ends as a
 * truthful fault, as a system call, or without effect; the vCPU is never lost, never stuck, and as good as before.
 * World: host; the snippets: ring 3.
 */
#include "arch/layout.h"
#include "tests/attack/vm_ring3_table.h"
#include "tests/guest.h"
#include "vm/kvm/kvm.h"

#define TEXT 0x14000000UL
#define SCRATCH 0x15000000UL

#define EXPECT(name, soft, hard, code) { name, soft, hard },
#define SNIPPET(name, soft, hard, code)                                                       \
	"	.pushsection .data.rel.ro\n	.quad 771f, 772f\n	.popsection\n771:	" code \
	"\n	mov $1000, %eax\n	syscall\n	ud2\n772:\n"
__asm__(".pushsection .data.rel.ro\n	.balign 8\nring3_snippets:\n	.popsection\n"
	".pushsection .rodata\n" RING3_TABLE(SNIPPET) "	.popsection\n");
extern const struct snippet { const char *start, *end; } ring3_snippets[];
static const struct { const char *name; uint64_t soft, hard; } expected[] = { RING3_TABLE(EXPECT) };
#define CASES (sizeof(expected) / sizeof(*expected))

/* Puts all registers and the flags into SHARED. */
__asm__(".pushsection .rodata\n"
	"state_start:\n"
	"	mov %rax, 0x12000000\n	mov %rbx, 0x12000008\n	mov %rcx, 0x12000010\n	mov %rdx, 0x12000018\n"
	"	mov %rsi, 0x12000020\n	mov %rdi, 0x12000028\n	mov %rbp, 0x12000030\n	mov %rsp, 0x12000038\n"
	"	mov %r8, 0x12000040\n	mov %r9, 0x12000048\n	mov %r10, 0x12000050\n	mov %r11, 0x12000058\n"
	"	mov %r12, 0x12000060\n	mov %r13, 0x12000068\n	mov %r14, 0x12000070\n	mov %r15, 0x12000078\n"
	"	pushfq\n	pop %rax\n	mov %rax, 0x12000080\n"
	"	mov %cs, %eax\n	mov %eax, 0x12000088\n	mov %ss, %eax\n	mov %eax, 0x12000090\n"
	"	mov $1000, %eax\n	syscall\n	ud2\n"
	"state_end:\n"
	".popsection\n");
extern const char state_start[], state_end[];
#define STATE 0x16000000UL

static struct dune_vcpu *c, *other;
static struct dune_space *s;
static char *text, *scratch;
static bool soft;
static unsigned wrong;

/* ---- a vCPU that does not come out is kicked, and that is a failure -------------------------------------- */

static _Atomic uint64_t deadline;

static void *watch(void *arg)
{
	(void)arg;
	for (;;) {
		struct timespec t = { 0, 50000000 };
		uint64_t end = atomic_load(&deadline);

		nanosleep(&t, NULL);
		if (end && guest_now_ms() > end)
			dune_vcpu_kick(c);
	}
	return NULL;
}

static enum dune_exit run(struct dune_frame *f)
{
	enum dune_exit e;

	atomic_store(&deadline, guest_now_ms() + 10000);
	e = dune_vcpu_run(c, s, f);
	atomic_store(&deadline, 0);
	return e;
}

/* ---- the same vCPU afterwards ---------------------------------------------------------------------------- */

static void still_good(const char *after)
{
	static const uint64_t user_flags = 0x8d5; /* arithmetic */
	volatile uint64_t *r = guest_shared(s);

	for (int with = 0; with < 2; with++) {
		/* DF and AC come as the frame says: clear, then set. */
		uint64_t flags = with ? 0x40401 : 0;
		struct dune_frame f = {
			.rip = STATE, .rsp = GUEST_STACK_TOP - 64, .rflags = flags, .rax = 1, .rbx = 2, .rcx = 3, .rdx = 4,
			.rsi = 5, .rdi = 6, .rbp = 7, .r8 = 8, .r9 = 9, .r10 = 10, .r11 = 11, .r12 = 12, .r13 = 13, .r14 = 14,
			.r15 = 15,
		};
		enum dune_exit e = run(&f);
		const uint64_t want[] = { 1, 2, 3, 4, 5, 6, 7, GUEST_STACK_TOP - 64, 8, 9, 10, 11, 12, 13, 14, 15 };

		CHECK_MSG(e == DUNE_EXIT_SYSCALL && f.rax == GUEST_DONE, "after %s: %s", after, guest_exit_text(e, &f));
		for (size_t i = 0; i < 16; i++)
			CHECK_MSG(r[i] == want[i], "after %s: register %zu is %#" PRIx64, after, i, r[i]);
		/* IF is what the processor has. */
		CHECK_MSG((r[16] & ~user_flags & ~0x200UL) == (2 | (flags & ~user_flags)) && (r[16] & 1) == (flags & 1),
			  "after %s: flags are %#" PRIx64 ", not %#" PRIx64, after, r[16], flags);
		CHECK_EQ(r[17], SEL_USER_CS);
		CHECK_EQ(r[18], SEL_USER_DS);
	}
}

/* ---- snippets -------------------------------------------------------------------------------------------- */

static uint64_t outcome(const char *name, enum dune_exit e, const struct dune_frame *f)
{
	switch (e) {
	case DUNE_EXIT_SYSCALL:
		return f->rax == GUEST_DONE ? RUNS : CALL;
	case DUNE_EXIT_FAULT:
		CHECK_MSG(f->vector < 32, "%s: %s", name, guest_exit_text(e, f));
		return V(f->vector);
	default:
		FAIL("%s: %s", name, guest_exit_text(e, f));
	}
}

static struct dune_frame at_text(void)
{
	return (struct dune_frame){ .rip = TEXT, .rsp = GUEST_STACK_TOP - 256, .rdi = SCRATCH, .rsi = SCRATCH, .rcx = 1,
				    .rdx = SCRATCH, .rbx = SCRATCH, .rax = SCRATCH };
}

static void snippet(size_t i)
{
	struct dune_frame f = at_text();
	uint64_t want = soft ? expected[i].soft : expected[i].hard, got;
	enum dune_exit e;

	memset(text, 0xcc, DUNE_PAGE_SIZE);
	memset(scratch, 0, DUNE_PAGE_SIZE);
	memcpy(text, ring3_snippets[i].start, (size_t)(ring3_snippets[i].end - ring3_snippets[i].start));
	e = run(&f);
	got = outcome(expected[i].name, e, &f);
	if (!(got & want)) {
		NOTE("%s: %s", expected[i].name, guest_exit_text(e, &f));
		wrong++;
	}
	still_good(expected[i].name);
}

/* ---- addresses ------------------------------------------------------------------------------------------- */

static void touch(const char *routine, uint64_t at)
{
	struct dune_frame f = guest_frame(routine, at, 1, SCRATCH);
	bool canonical = at + (1UL << 47) < 1UL << 48, fetch = routine == guest_r_call;
	enum dune_exit e = run(&f);

	if (soft && fetch && at == kvm_vcpu_of(c)->syscall_entry) {
		CHECK_MSG(e == DUNE_EXIT_SYSCALL, "%s", guest_exit_text(e, &f));
		return;
	}
	CHECK_MSG(e == DUNE_EXIT_FAULT, "%#" PRIx64 ": %s", at, guest_exit_text(e, &f));
	if (!canonical) {
		CHECK_EQ(f.vector, 13);
		return;
	}
	/* From ring 3; a write, a fetch, as it was; present or not. */
	CHECK_MSG(f.vector == VECTOR_PF && f.cr2 == at, "%#" PRIx64 ": %s", at, guest_exit_text(e, &f));
	if (soft && at >= DUNE_USER_END)
		f.error &= ~8UL; /* where nothing of the guest is, the host's own tables show: a reserved bit */
	CHECK_MSG((f.error & ~1UL) == (routine == guest_r_write ? 6UL : fetch ? 0x14UL : 4UL), "%#" PRIx64 ": %s", at,
		  guest_exit_text(e, &f));
	/* Where it says so, something is there. */
	if (at < DUNE_USER_END)
		CHECK_EQ(f.error & 1, fetch && at == SCRATCH);
}

static void touch_all(uint64_t at)
{
	touch(guest_r_read, at);
	touch(guest_r_write, at);
	touch(guest_r_call, at);
}

static void addresses(void)
{
	static const uint64_t some[] = {
		0, 4096, TEXT + 4096, DUNE_USER_END, DUNE_USER_END + 4088, 1UL << 47, 1UL << 63, 0xffff7fffffffffff & ~7UL,
		0xffff800000000000, 0xffff888000000000, 0xffffffff00000000, -8UL, -4096UL, MON_BASE - 4096,
	};
	uint64_t pages = (kvm_of(c->vm)->mon.header->end - MON_BASE) / DUNE_PAGE_SIZE + 2;

	for (size_t i = 0; i < sizeof(some) / sizeof(*some); i++)
		touch_all(some[i]);
	for (uint64_t i = 0; i < pages; i++)
		touch_all(MON_BASE + i * DUNE_PAGE_SIZE + i * 8);
	for (uint64_t i = 0; i < 3; i++) {
		touch_all(MON_IDT_HOST + i * DUNE_PAGE_SIZE);
		touch_all(MON_AREA_TABLES + i * DUNE_PAGE_SIZE + 0xff8);
	}
	/* Its own area, those of the others, and the first that no vCPU has. */
	for (uint64_t i = 0; i < 4 * MON_AREA_SIZE / DUNE_PAGE_SIZE; i++)
		touch_all(MON_AREAS + i * DUNE_PAGE_SIZE + 16);
	touch_all(kvm_vcpu_of(c)->syscall_entry);
	touch_all(kvm_vcpu_of(other)->syscall_entry);
	touch(guest_r_call, kvm_vcpu_of(c)->syscall_entry + 1);
	touch(guest_r_call, kvm_of(c->vm)->mon.header->apply);
	touch(guest_r_call, kvm_of(c->vm)->mon.header->resume_frame);
	touch(guest_r_call, kvm_of(c->vm)->mon.header->restore);
	touch(guest_r_call, kvm_of(c->vm)->mon.header->resume);
	/* Its own data is not code, its code not data, and both are what they are. */
	touch(guest_r_call, SCRATCH);
	guest_write_fault(c, s, TEXT, PF_DENIED_WRITE);
	guest_write(c, s, SCRATCH, 5);
	CHECK_EQ(guest_read(c, s, SCRATCH), 5);
	still_good("addresses");
}

/* A jump to where `syscall` goes, with what it would have left in rcx and r11 made up. */
static void jump_to_entry(void)
{
	static const uint64_t to[] = { TEXT, 0, 1UL << 47, 1UL << 63, -1UL, MON_BASE, MON_AREAS + 0x2000, DUNE_USER_END,
				       DUNE_USER_END - 1, GUEST_CODE };

	for (size_t i = 0; i < sizeof(to) / sizeof(*to); i++) {
		struct dune_frame f = guest_frame(guest_r_call, kvm_vcpu_of(c)->syscall_entry, 0, 0);
		enum dune_exit e;

		memset(text, 0xf4, DUNE_PAGE_SIZE); /* hlt */
		f.rcx = to[i];
		f.r11 = ~0UL;
		f.rax = 1001;
		e = run(&f);
		if (!soft) {
			CHECK_MSG(e == DUNE_EXIT_FAULT && f.vector == VECTOR_PF && f.error == PF_DENIED_FETCH, "%s",
				  guest_exit_text(e, &f));
			continue;
		}
		CHECK_MSG(e == DUNE_EXIT_SYSCALL && f.rax == 1001 && f.rip == to[i], "%s", guest_exit_text(e, &f));
		/* Going on there is what a jump there would be. */
		e = run(&f);
		if (to[i] == GUEST_CODE)
			CHECK_MSG(e == DUNE_EXIT_SYSCALL && f.rax == GUEST_DONE, "%s", guest_exit_text(e, &f));
		else
			CHECK_MSG(e == DUNE_EXIT_FAULT && f.vector == (to[i] == TEXT || to[i] >= DUNE_USER_END ? 13 : 14), "%s",
				  guest_exit_text(e, &f));
		still_good("a jump to the entry");
	}
	/* An answered call resumes at once, wherever the decision is made. */
	CHECK_OK(dune_space_answer(s, 77, 88));
	for (size_t i = 0; soft && i < sizeof(to) / sizeof(*to); i++) {
		struct dune_frame f = guest_frame(guest_r_call, kvm_vcpu_of(c)->syscall_entry, 0, 0);

		f.rcx = to[i];
		f.r11 = ~0UL;
		f.rax = 77;
		outcome("an answered jump to the entry", run(&f), &f);
		still_good("an answered jump to the entry");
	}
}

/* What the master lets run: any rip, any flags, any selectors in the frame. */
static void hostile_frames(void)
{
	static const uint64_t rips[] = { 1UL << 47, 1UL << 63, -1UL, DUNE_USER_END, MON_BASE, DUNE_USER_END - 1, 0 };

	for (size_t i = 0; i < sizeof(rips) / sizeof(*rips); i++) {
		struct dune_frame f = { .rip = rips[i], .cs = 0x10, .ss = 0x18, .rflags = ~0UL, .rsp = -1UL };
		enum dune_exit e = run(&f);

		CHECK_MSG(e == DUNE_EXIT_FAULT && f.vector == (rips[i] < DUNE_USER_END ? 14 : 13), "%s",
			  guest_exit_text(e, &f));
		still_good("a hostile frame");
	}
	{
		struct dune_frame f = at_text();
		enum dune_exit e;

		/* cli: with IOPL 3 it would run. */
		memset(text, 0xfa, DUNE_PAGE_SIZE);
		f.rflags = 0x3000 | 0x100 | 0x4000 | 0x20000;
		f.cs = 0x10;
		e = run(&f);
		CHECK_MSG(e == DUNE_EXIT_FAULT && f.vector == 13 && f.rip == TEXT && f.cs == SEL_USER_CS, "%s",
			  guest_exit_text(e, &f));
		still_good("IOPL 3 in a frame");
	}
}

/*
 * `int n`: two have gates for ring 3; where software interrupts are unknown, they are invalid instructions.
 * (QEMU 7.2 counts 16 bytes a gate in the error code.)  The software KVM seen has gates of its host's own for 23, 25
 * and 26, where the instruction is over when it ends: by #GP, or with rax 0.
 */
static void interrupts(void)
{
	for (unsigned n = 0; n < 256; n++) {
		struct dune_frame f = at_text();
		enum dune_exit e;

		memset(text, 0xcc, DUNE_PAGE_SIZE);
		text[0] = (char)0xcd;
		text[1] = (char)n;
		e = run(&f);
		CHECK_MSG(e == DUNE_EXIT_FAULT, "int %u: %s", n, guest_exit_text(e, &f));
		if (f.vector == 6 && soft)
			CHECK_EQ(f.rip, TEXT);
		else if (soft && (n == 23 || n == 25 || n == 26))
			CHECK_MSG((f.vector == 13 && f.rip == TEXT + 2) || (f.vector == 3 && f.rip == TEXT + 3), "int %u: %s",
				  n, guest_exit_text(e, &f));
		else if (n == 3 || n == 4)
			CHECK_MSG(f.vector == n && f.rip == TEXT + 2, "int %u: %s", n, guest_exit_text(e, &f));
		else
			CHECK_MSG(f.vector == 13 && f.rip == TEXT && (f.error == n * 8 + 2 || f.error == n * 16 + 2 || soft), "int %u: %s", n,
				  guest_exit_text(e, &f));
		if (n < 40 || n % 32 == 0)
			still_good("int n");
	}
}

/* Instructions that begin on the last bytes of a page and of the address space. */
static void edges(void)
{
	struct dune_frame f = at_text();
	enum dune_exit e;
	char *last;

	memset(text, 0x90, DUNE_PAGE_SIZE);
	text[4095] = 0x0f;
	f.rip = TEXT + 4090;
	e = run(&f);
	CHECK_MSG(e == DUNE_EXIT_FAULT && f.vector == VECTOR_PF && f.cr2 == TEXT + 4096 && f.error == 0x14, "%s",
		  guest_exit_text(e, &f));
	/* The last page that can be mapped: a system call as its last instruction returns to what cannot. */
	last = dune_page_host(guest_vm, guest_map(s, DUNE_USER_END - 4096, 0x9090909090909090, RX));
	last[4094] = 0x0f;
	last[4095] = 0x05;
	f = at_text();
	f.rip = DUNE_USER_END - 16;
	f.rax = 1001;
	e = run(&f);
	CHECK_MSG(e == DUNE_EXIT_SYSCALL && f.rip == DUNE_USER_END && f.rax == 1001, "%s", guest_exit_text(e, &f));
	e = run(&f);
	CHECK_MSG(e == DUNE_EXIT_FAULT && f.vector == 13, "%s", guest_exit_text(e, &f));
	still_good("the last system call");
	f.rip = DUNE_USER_END - 16;
	f.rax = 77; /* answered */
	e = run(&f);
	/* The host is told, as a fault or as the call that must not return. */
	CHECK_MSG(e == DUNE_EXIT_SYSCALL || (e == DUNE_EXIT_FAULT && f.vector == 13), "%s", guest_exit_text(e, &f));
	still_good("the last system call, answered");
}

int main(void)
{
	pthread_t watcher;
	struct dune_vm_stats st;

	guest_start(64UL << 20);
	soft = guest_info.syscall_faults;
	c = guest_vcpu();
	other = guest_vcpu();
	s = guest_space();
	text = dune_page_host(guest_vm, guest_map(s, TEXT, 0, RX));
	guest_map_code(s, STATE, state_start, state_end);
	scratch = dune_page_host(guest_vm, guest_map(s, SCRATCH, 0, RW));
	CHECK_OK(pthread_create(&watcher, NULL, watch, NULL));
	still_good("nothing");
	for (size_t i = 0; i < CASES; i++)
		snippet(i);
	CHECK_EQ(wrong, 0);
	NOTE("addresses");
	addresses();
	NOTE("the system call entry");
	jump_to_entry();
	NOTE("hostile frames");
	hostile_frames();
	NOTE("int n");
	interrupts();
	NOTE("edges");
	edges();
	dune_vm_get_stats(guest_vm, &st);
	CHECK_EQ(st.vcpus_lost, 0);
	return 0;
}
