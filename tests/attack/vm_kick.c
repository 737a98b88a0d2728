/* SPDX-License-Identifier: MIT */
/*
 * Kicks from another thread at any moment: none is lost, no vCPU is, and ring 3 does not notice: its registers stay
 * what they were, through spins, system calls, copy-on-write and demand faults.  World: host; the routines: ring 3.
 */
#include <sched.h>
#include <time.h>

#include "tests/guest.h"

#define BASE	 0x100000000UL
#define PAGES	 192
#define ANSWERED 39
#define ANSWER	 0xa25e3a25e3UL

/* All registers are one number and stay it; SHARED + 8 counts. */
__asm__(".pushsection .rodata\n"
	".macro each op\n"
	"	\\op %rbx\n	\\op %rdx\n	\\op %rsi\n	\\op %rdi\n	\\op %rbp\n	\\op %r8\n"
	"	\\op %r9\n	\\op %r10\n	\\op %r12\n	\\op %r13\n	\\op %r14\n	\\op %r15\n"
	".endm\n"
	".macro same reg\n"
	"	cmp \\reg, %rbx\n	jne wrong\n"
	".endm\n"
	".macro xmm_next\n"
	"	movq %xmm7, %rcx\n	inc %rcx\n	movq %rcx, %xmm7\n	cmp %rcx, %rbx\n	jne wrong\n"
	".endm\n"
	"kick_start:\n"
	"kick_spin:\n"
	"	movq %rbx, %xmm7\n"
	"1:	inc %rax\n	inc %rcx\n	inc %r11\n"
	"	each inc\n"
	"	each same\n"
	"	same %rax\n	same %rcx\n	same %r11\n"
	"	mov %rcx, %r11\n"
	"	xmm_next\n"
	"	incq 0x12000008\n"
	"	jmp 1b\n"
	"kick_syscall:\n"
	"	movq %rbx, %xmm7\n"
	"1:	each inc\n"
	"	mov $1001, %eax\n"
	"	syscall\n"
	"	each same\n"
	"	cmp $1001, %eax\n	jne wrong\n"
	"	xmm_next\n"
	"	incq 0x12000008\n"
	"	jmp 1b\n"
	"kick_answer:\n"
	"	movq %rbx, %xmm7\n"
	"1:	each inc\n"
	"	mov $39, %eax\n"
	"	syscall\n"
	"	each same\n"
	"	movabs $0xa25e3a25e3, %rcx\n"
	"	cmp %rax, %rcx\n	jne wrong\n"
	"	xmm_next\n"
	"	incq 0x12000008\n"
	"	jmp 1b\n"
	"wrong:	ud2\n"
	"kick_end:\n"
	".popsection\n");
extern const char kick_start[], kick_spin[], kick_syscall[], kick_answer[], kick_end[];

#define KICK_CODE 0x13000000UL

static struct dune_vcpu *c;
static atomic_bool stop;
static atomic_ulong kicks;
static atomic_ulong fruitless; /* kicks seen since ring 3 was last known to get on */

static void nap(unsigned long us)
{
	struct timespec t = { 0, (long)us * 1000 };

	nanosleep(&t, NULL);
}

/*
 * Kicks at irregular distances, sometimes several at once.  Where the computer has so much else to do that each comes
 * before ring 3 does anything, they become rarer.
 */
static void *storm(void *arg)
{
	unsigned seed = 12345;

	(void)arg;
	while (!atomic_load(&stop)) {
		dune_vcpu_kick(c);
		atomic_fetch_add(&kicks, 1);
		seed = seed * 1103515245 + 12345;
		if (seed >> 28)
			nap((seed >> 20 & 0xff) + atomic_load(&fruitless) / 16);
		else
			for (volatile unsigned i = seed >> 20 & 0xff; i; i--)
				;
	}
	return NULL;
}

static struct dune_frame start_at(const char *where)
{
	const uint64_t n = 7;

	return (struct dune_frame){
		.rip = KICK_CODE + (uint64_t)(where - kick_start),
		.rsp = GUEST_STACK_TOP,
		.rax = n,
		.rbx = n,
		.rcx = n,
		.rdx = n,
		.rsi = n,
		.rdi = n,
		.rbp = n,
		.r8 = n,
		.r9 = n,
		.r10 = n,
		.r11 = n,
		.r12 = n,
		.r13 = n,
		.r14 = n,
		.r15 = n,
	};
}

static void check_frame(const struct dune_frame *f)
{
	const uint64_t regs[] = { f->rdx, f->rsi, f->rdi, f->rbp, f->r8, f->r9,
				  f->r10, f->r12, f->r13, f->r14, f->r15 };

	/* One round of increments goes from rbx to r15. */
	for (size_t i = 0; i < sizeof(regs) / sizeof(*regs); i++)
		CHECK_MSG(f->rbx - regs[i] <= 1,
			  "register %zu is %#" PRIx64 ", rbx %#" PRIx64 ", rip %#" PRIx64, i,
			  regs[i], f->rbx, f->rip);
	CHECK_EQ(f->rsp, GUEST_STACK_TOP);
	CHECK(f->rip >= KICK_CODE && f->rip < KICK_CODE + DUNE_PAGE_SIZE);
	/* Arithmetic flags; RF and IF as the processor has them. */
	CHECK_EQ(f->rflags & ~0x108d5UL & ~0x200UL, 2);
}

/* Where it is at a call, a stub is asked for the registers that are no arguments. */
static void check_all(struct dune_space *s, struct dune_frame *f)
{
	CHECK_OK(dune_vcpu_registers(c, s, f));
	check_frame(f);
}

static struct dune_space *space(void)
{
	struct dune_space *s = guest_space();

	guest_map_code(s, KICK_CODE, kick_start, kick_end);
	CHECK_OK(dune_space_answer(s, ANSWERED, ANSWER));
	return s;
}

/* Every kick is seen, whatever the guest is at. */
static void each_is_seen(const char *routine, unsigned long rounds)
{
	struct dune_space *s = space();
	volatile uint64_t *count = guest_shared(s) + 1;
	struct dune_frame f = start_at(routine);
	pthread_t kicker;
	unsigned long seen = 0;
	uint64_t before, begun = 0;

	atomic_store(&stop, false);
	CHECK_OK(pthread_create(&kicker, NULL, storm, NULL));
	while ((seen < rounds || !*count) && guest_in_time(&begun, 2000)) {
		enum dune_exit e = dune_vcpu_run(c, s, &f);

		atomic_store(&fruitless, *count ? 0 : seen);
		check_all(s, &f);
		if (e == DUNE_EXIT_KICKED)
			seen++;
		else
			CHECK_MSG(e == DUNE_EXIT_SYSCALL && routine == kick_syscall &&
					  f.rax == 1001,
				  "%s", guest_exit_text(e, &f));
	}
	atomic_store(&stop, true);
	CHECK_OK(pthread_join(kicker, NULL));
	CHECK_GE(atomic_load(&kicks), seen);
	dune_vcpu_unkick(c);
	/* Nothing is left of them, and ring 3 got somewhere meanwhile. */
	before = *count;
	if (routine == kick_syscall) {
		for (int i = 0; i < 10; i++)
			CHECK_EQ(dune_vcpu_run(c, s, &f), DUNE_EXIT_SYSCALL);
		CHECK_GT(*count, before);
		check_all(s, &f);
		CHECK_EQ(f.rbx - 7 - *count, 1);
	} else {
		CHECK_GT(before, 0);
	}
	dune_vm_free(s);
}

struct runner {
	struct dune_space *s;
	struct dune_frame f;
	atomic_ulong seen;
};

static void *run_and_count(void *arg)
{
	struct runner *r = arg;

	while (!atomic_load(&stop)) {
		enum dune_exit e = dune_vcpu_run(c, r->s, &r->f);

		check_all(r->s, &r->f);
		if (e == DUNE_EXIT_KICKED)
			atomic_fetch_add(&r->seen, 1);
		else
			CHECK_EQ(e, DUNE_EXIT_SYSCALL);
	}
	return NULL;
}

/* One kick at a time: each makes the run end, soon. */
static void none_is_lost(const char *routine, unsigned long rounds)
{
	struct runner r = { .s = space(), .f = start_at(routine) };
	pthread_t runner;
	uint64_t begun = 0;

	atomic_store(&stop, false);
	CHECK_OK(pthread_create(&runner, NULL, run_and_count, &r));
	for (unsigned long i = 0; i < rounds && guest_in_time(&begun, 2000); i++) {
		uint64_t end = guest_now_ms() + 10000;

		dune_vcpu_kick(c);
		while (atomic_load(&r.seen) == i) {
			CHECK_MSG(guest_now_ms() < end, "kick %lu had no effect", i);
			sched_yield();
		}
		CHECK_EQ(atomic_load(&r.seen), i + 1);
		if (i % 3 == 0)
			nap(i % 97);
	}
	atomic_store(&stop, true);
	dune_vcpu_kick(c);
	CHECK_OK(pthread_join(runner, NULL));
	dune_vcpu_unkick(c);
	dune_vm_free(r.s);
}

static void before_run(void)
{
	struct dune_space *s = space();
	struct dune_frame f = guest_frame(guest_r_nop, 5, 6, 7), was;

	f.rbx = 8;
	was = f;
	dune_vcpu_kick(c);
	dune_vcpu_kick(c);
	CHECK_EQ(dune_vcpu_run(c, s, &f), DUNE_EXIT_KICKED);
	CHECK(f.rip == was.rip && f.rsp == was.rsp && f.rdi == 5 && f.rsi == 6 && f.rdx == 7 &&
	      f.rbx == 8);
	/* Two of them were one. */
	CHECK_EQ(dune_vcpu_run(c, s, &f), DUNE_EXIT_SYSCALL);
	CHECK_OK(dune_vcpu_registers(c, s, &f));
	CHECK(f.rax == GUEST_DONE && f.rdi == 5 && f.rbx == 8);
	dune_vcpu_kick(c);
	dune_vcpu_unkick(c);
	CHECK_EQ(guest_call(c, s, guest_r_nop, 9, 0), 9);
	dune_vm_free(s);
}

/* The page faults of these pages, resolved one by one, are interrupted in every state. */
static void faults(bool cow, unsigned long rounds)
{
	const uint64_t end = BASE + PAGES * DUNE_PAGE_SIZE;
	struct dune_space *t;
	pthread_t kicker;
	dune_gpa_t page = guest_page(0x7e9);
	uint64_t used = 0, begun = 0;

	CHECK_OK(dune_space_create(guest_vm, &t));
	for (uint64_t at = BASE; at < end; at += DUNE_PAGE_SIZE)
		CHECK_OK(dune_vm_map(t, dune_gva(at), page, DUNE_PAGE_SIZE, RO | DUNE_COW));
	atomic_store(&stop, false);
	CHECK_OK(pthread_create(&kicker, NULL, storm, NULL));
	for (unsigned long i = 0; i < rounds && guest_in_time(&begun, 3000); i++) {
		struct dune_frame f = guest_frame(guest_r_touch, BASE, end, GUEST_SHARED);
		const struct dune_private *list;
		struct dune_space *s;
		enum dune_exit e;
		size_t n;

		if (cow) {
			CHECK_OK(dune_vm_clone(t, &s));
			guest_furnish(s);
		} else {
			s = guest_space();
			CHECK_OK(dune_region_add(s, dune_gva(BASE), end - BASE, RW));
		}
		atomic_store(&fruitless, 0);
		while ((e = dune_vcpu_run(c, s, &f)) == DUNE_EXIT_KICKED)
			atomic_fetch_add(&fruitless, 1);
		CHECK_MSG(e == DUNE_EXIT_SYSCALL && f.rax == GUEST_DONE && f.rdi == end, "%s",
			  guest_exit_text(e, &f));
		CHECK_EQ(*guest_shared(s), PAGES);
		n = dune_space_private(s, &list);
		CHECK_EQ(n, PAGES);
		for (size_t k = 0; k < n; k++) {
			struct dune_leaf leaf;
			const uint64_t *words;

			CHECK_OK(dune_vm_lookup(s, list[k].at, &leaf));
			CHECK_EQ(leaf.page.v, list[k].page.v);
			CHECK_EQ(leaf.prot, RW | DUNE_OWNED);
			words = dune_page_host(guest_vm, leaf.page);
			CHECK_EQ(words[0], list[k].at.v);
			CHECK_EQ(words[511], cow ? 0x7e9 : 0);
		}
		dune_vm_free(s);
		/* The same number of pages is left over by every round, once the stub realises no space of before. */
		if (i <= 1)
			used = guest_pages_used();
		CHECK_EQ(guest_pages_used(), used);
	}
	atomic_store(&stop, true);
	CHECK_OK(pthread_join(kicker, NULL));
	dune_vcpu_unkick(c);
	CHECK_EQ(*(uint64_t *)dune_page_host(guest_vm, page), 0x7e9);
	dune_vm_free(t);
	dune_page_put(guest_vm, page);
}

int main(void)
{
	unsigned long rounds;
	struct dune_vm_stats st;

	guest_start(64UL << 20);
	c = guest_vcpu();
	before_run();
	rounds = test_scale(1500);
	NOTE("spin");
	each_is_seen(kick_spin, rounds);
	none_is_lost(kick_spin, rounds / 2 + 1);
	NOTE("system calls");
	each_is_seen(kick_syscall, rounds);
	none_is_lost(kick_syscall, rounds / 2 + 1);
	NOTE("answered system calls");
	each_is_seen(kick_answer, rounds);
	none_is_lost(kick_answer, rounds / 2 + 1);
	rounds = test_scale(6);
	NOTE("demand faults");
	faults(false, rounds);
	NOTE("copy-on-write faults");
	faults(true, rounds);
	before_run();
	dune_vm_get_stats(guest_vm, &st);
	CHECK_EQ(st.vcpus_lost, 0);
	guest_stop();
	return 0;
}
