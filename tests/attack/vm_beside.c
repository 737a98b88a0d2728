/* SPDX-License-Identifier: MIT */
/*
 * The host changes a space just where ring 0, or the host's side of it, is resolving faults of a vCPU that runs it: in
 * the same page tables, the same pages, the list of regions.  Nobody's change is lost, and no page is.  World: host.
 */
#include "tests/guest.h"

#define BASE   0x40000000UL
#define STEPS  48UL
#define REGION 0x100000000UL
#define BEFORE 0x80000000UL /* regions that come and go: the others move in the list */
#define VALUE  0x5eed5eedUL

static struct dune_vcpu *c;
static struct dune_space *source;

/* One page of each 2 MiB, which takes a table of its own: its address into it. */
extern const char strides[], strides_end[];
__asm__(".pushsection .rodata\n"
	"strides:\n"
	"	mov %rdi, (%rdi)\n"
	"	incq (%rdx)\n"
	"	add $0x200000, %rdi\n"
	"	cmp %rsi, %rdi\n"
	"	jb strides\n"
	"	mov $1000, %eax\n	syscall\n	ud2\n"
	"strides_end:\n"
	".popsection\n");

static void pause_us(uint64_t us)
{
	struct timespec t = { 0, (long)us * 1000 };

	nanosleep(&t, NULL);
}

static uint64_t step_at(uint64_t i)
{
	return BASE + i * GUEST_HUGE;
}

/* The tables of all steps are the source's, until somebody changes something in them. */
static void make_source(void)
{
	CHECK_OK(dune_space_create(guest_vm, &source));
	for (uint64_t i = 0; i < STEPS; i++)
		CHECK_OK(dune_vm_map(source, dune_gva(step_at(i)), guest_page(0), DUNE_PAGE_SIZE,
				     RO | DUNE_COW));
}

static struct dune_space *cloned(void)
{
	struct dune_space *s;

	CHECK_OK(dune_vm_clone(source, &s));
	guest_furnish(s);
	guest_map_code(s, GUEST_CODE + DUNE_PAGE_SIZE, strides, strides_end);
	return s;
}

static void start(struct guest_thread *t, struct dune_space *s)
{
	struct dune_frame f = guest_frame(guest_routines, BASE, step_at(STEPS), GUEST_SHARED);

	f.rip = GUEST_CODE + DUNE_PAGE_SIZE;
	guest_thread_start_at(t, c, s, f);
}

static void went_through(struct guest_thread *t)
{
	guest_thread_join(t);
	CHECK_MSG(t->exit == DUNE_EXIT_SYSCALL && t->frame.rax == GUEST_DONE, "%s",
		  guest_exit_text(t->exit, &t->frame));
}

/* Each step has one page of its own, with what the guest wrote; the list has it, and nothing twice. */
static void has_all(struct dune_space *s)
{
	const struct dune_private *list;
	struct dune_leaf leaf;

	CHECK_EQ(dune_space_private(s, &list), STEPS);
	for (uint64_t i = 0; i < STEPS; i++) {
		CHECK_OK(dune_vm_lookup(s, list[i].at, &leaf));
		CHECK_EQ(leaf.page.v, list[i].page.v);
		CHECK_EQ(leaf.prot, RW | DUNE_OWNED);
		for (uint64_t k = 0; k < i; k++)
			CHECK(list[k].at.v != list[i].at.v);
		CHECK_EQ(guest_read(c, s, step_at(i)), step_at(i));
	}
}

/* ---- what the host does meanwhile, where the guest is ------------------------------------------------- */

/* A page beside, which stays.  Or one that comes and goes. */
static void maps(struct dune_space *s, uint64_t i)
{
	struct dune_leaf leaf;

	if (dune_vm_lookup(s, dune_gva(step_at(i) + 4096), &leaf))
		guest_map(s, step_at(i) + 4096, VALUE + i, RW);
	guest_map(s, step_at(i) + 8192, VALUE, RW);
	CHECK_OK(dune_vm_unmap(s, dune_gva(step_at(i) + 8192), DUNE_PAGE_SIZE));
}

/* Just what the guest is about to ask for. */
static void makes_private(struct dune_space *s, uint64_t i)
{
	CHECK_OK(dune_vm_make_private(s, dune_gva(step_at(i))));
}

static void adds_regions(struct dune_space *s, uint64_t i)
{
	for (uint64_t at = BEFORE; at < BEFORE + 64 * 8192; at += 8192)
		CHECK_OK(dune_region_add(s, dune_gva(at), DUNE_PAGE_SIZE, i & 1 ? RW : RO));
	for (uint64_t at = BEFORE; at < BEFORE + 64 * 8192; at += 8192)
		CHECK_OK(dune_region_remove(s, dune_gva(at), DUNE_PAGE_SIZE));
}

typedef void meanwhile(struct dune_space *s, uint64_t i);

static void beside(meanwhile *fn, unsigned long rounds)
{
	uint64_t pages = guest_pages_used(), begun = 0, met = 0;

	for (unsigned long round = 0; round < rounds && guest_in_time(&begun, 2000); round++) {
		struct dune_space *s = cloned();
		volatile uint64_t *progress = guest_shared(s);
		struct guest_thread t;

		start(&t, s);
		while (!atomic_load(&t.ended)) {
			uint64_t i = *progress + round % 2;

			if (i >= STEPS)
				continue;
			fn(s, i);
			if (++met % 16 == 0)
				CHECK_OK(dune_vm_sync(s)); /* what went is free from now on */
			pause_us(met * 37 % 200);	   /* and the guest comes to do something */
		}
		went_through(&t);
		has_all(s);
		for (uint64_t i = 0; fn == maps && i < STEPS; i++) {
			struct dune_leaf leaf;

			if (!dune_vm_lookup(s, dune_gva(step_at(i) + 4096), &leaf))
				CHECK_EQ(guest_read(c, s, step_at(i) + 4096), VALUE + i);
			guest_read_fault(c, s, step_at(i) + 8192, PF_ABSENT_READ);
		}
		dune_vm_free(s);
		CHECK_EQ(guest_pages_used(), pages);
	}
	NOTE("%" PRIu64 " changes beside a run", met);
	CHECK_GT(met, 0); /* it did run meanwhile */
}

/* Regions of other rights before it come and go while it fills its own: it never misses one, nor has another's. */
static void regions(unsigned long rounds)
{
	uint64_t begun = 0;

	for (unsigned long round = 0; round < rounds && guest_in_time(&begun, 2000); round++) {
		struct dune_space *s = guest_space();
		struct guest_thread t;
		uint64_t n = 0;

		for (uint64_t at = REGION; at < REGION + 32 * 8192; at += 4096)
			CHECK_OK(dune_region_add(s, dune_gva(at), DUNE_PAGE_SIZE,
						 at & 4096 ? RO : RW));
		guest_thread_start(&t, c, s, guest_r_touch, REGION, REGION + 4096, GUEST_SHARED);
		for (uint64_t at = REGION; at < REGION + 32 * 8192; at += 8192) {
			do {
				adds_regions(s, n++);
				pause_us(n * 37 % 200);
			} while (!atomic_load(&t.ended));
			went_through(&t);
			guest_write_fault(c, s, at + 4096, PF_ABSENT_WRITE);
			if (at + 8192 < REGION + 32 * 8192)
				guest_thread_start(&t, c, s, guest_r_touch, at + 8192,
						   at + 8192 + 4096, GUEST_SHARED);
		}
		dune_vm_free(s);
	}
}

/* A page goes, comes anew when it is touched, and is not taken away again by what took the first. */
static void refilled(unsigned long rounds)
{
	uint64_t pages = guest_pages_used();
	struct dune_space *s = guest_space();
	volatile uint64_t *progress = guest_shared(s);
	const struct dune_private *list;
	struct dune_leaf leaf;
	struct guest_thread t;

	CHECK_OK(dune_region_add(s, dune_gva(REGION), DUNE_PAGE_SIZE, RW));
	guest_thread_start(&t, c, s, guest_r_hammer, REGION, VALUE, GUEST_SHARED);
	CHECK(guest_wait_progress(&t, progress, 1));
	for (unsigned long i = 0; i < rounds; i++) {
		CHECK_OK(dune_vm_unmap(s, dune_gva(REGION), DUNE_PAGE_SIZE));
		CHECK(guest_wait_progress(&t, progress, 2));
		CHECK_OK(dune_vm_sync(s));
		CHECK(guest_wait_progress(&t, progress, 2));
	}
	guest_thread_stop(&t);
	CHECK_EQ(guest_read(c, s, REGION), VALUE);
	CHECK_EQ(dune_space_private(s, &list), 1);
	CHECK_OK(dune_vm_lookup(s, dune_gva(REGION), &leaf));
	CHECK(list[0].at.v == REGION && list[0].page.v == leaf.page.v);
	dune_vm_free(s);
	CHECK_EQ(guest_pages_used(), pages);
}

int main(void)
{
	unsigned long rounds = test_scale(20);

	guest_start(64UL << 20);
	c = guest_vcpu();
	make_source();
	dune_vm_free(cloned()); /* from here on it is frozen */
	NOTE("mappings");
	beside(maps, rounds);
	NOTE("private pages");
	beside(makes_private, rounds);
	NOTE("regions");
	beside(adds_regions, rounds);
	regions(rounds / 4 + 1);
	NOTE("the same page again");
	refilled(rounds);
	guest_stop();
	return 0;
}
