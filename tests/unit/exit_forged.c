/* SPDX-License-Identifier: MIT */
/*
 * exit_forged.c - a mailbox that says what cannot be costs a vCPU, and nothing else.  World: host, over kvm_fake.c.
 *
 * Each forgery has the entry beside it that does the same work honestly.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>

#include "arch/layout.h"
#include "tests/test.h"
#include "tests/unit/kvm_fake.h"

#define ARENA (8UL << 20)
#define AT    0x10000000UL
#define USED  (1 + 3) /* a page, and tables: use_stock() */
#define ALL   (2 * MON_STOCK)

static struct dune_vm *vm;
static struct dune_space *space;
static struct dune_vcpu *vcpu;
static dune_gpa_t secret;
static void (*forge)(struct fake_cpu *c);
static unsigned entries;

/* Leaves what ring 0 leaves that has used one page of its stock at AT, and for that three tables. */
static void use_stock(struct fake_cpu *c)
{
	uint64_t root = space->pt.root.v, page = c->mon->pages[--c->mon->npages], table = root;

	for (int level = PT_LEVELS; level > 1; level--) {
		uint64_t *e = (uint64_t *)fake_physical(table) + (AT >> (3 + 9 * level) & (PT_ENTRIES - 1));

		*e = pt_table(dune_gpa(c->mon->tables[--c->mon->ntables]), false);
		table = *e & PT_ADDR;
	}
	((uint64_t *)fake_physical(table))[AT >> 12 & (PT_ENTRIES - 1)] =
		pt_leaf(dune_gpa(page), DUNE_READ | DUNE_WRITE | DUNE_OWNED, false);
	c->mon->log[c->mon->nlog++] = (struct mon_private){ AT, page, vm->zero_page.v };
}

static int guest(struct fake_cpu *c)
{
	const struct dune_frame f = { .cs = SEL_USER_CS, .rip = AT, .vector = VECTOR_SYSCALL };

	if (!entries++)
		return fake_leave_monitor(c, &f, MON_EXIT_REFILL);
	CHECK_EQ(c->mon->npages, MON_STOCK);
	CHECK_EQ(c->mon->ntables, MON_STOCK);
	use_stock(c);
	fake_leave_monitor(c, &f, MON_EXIT_TRAP);
	if (forge)
		forge(c);
	return 0;
}

static pthread_t other;

static void *unmap(void *unused)
{
	CHECK_OK(dune_vm_unmap(space, dune_gva(AT), DUNE_PAGE_SIZE));
	return unused;
}

/* It has the space to itself as soon as the vCPU is out, and waits for that. */
static void unmap_meanwhile(struct fake_cpu *c)
{
	CHECK_EQ(pthread_create(&other, NULL, unmap, NULL), 0);
	while (!__atomic_load_n(&c->run->immediate_exit, __ATOMIC_SEQ_CST))
		sched_yield();
}

static void kicked(int sig)
{
	(void)sig;
}

static void many_pages(struct fake_cpu *c) { c->mon->npages = MON_STOCK + 1; }
static void all_pages(struct fake_cpu *c) { c->mon->npages = UINT32_MAX; }
static void used_page(struct fake_cpu *c) { c->mon->npages++; }
static void lost_page(struct fake_cpu *c) { c->mon->npages--; }
static void one_page_twice(struct fake_cpu *c) { c->mon->pages[0] = c->mon->pages[1]; }
static void others_page(struct fake_cpu *c) { c->mon->pages[0] = secret.v; }
static void no_page(struct fake_cpu *c) { c->mon->pages[0] = ~0UL; }
static void many_tables(struct fake_cpu *c) { c->mon->ntables = MON_STOCK + 1; }
static void others_table(struct fake_cpu *c) { c->mon->tables[0] = kvm_of(vm)->mon.top.v; }
static void page_as_table(struct fake_cpu *c) { c->mon->tables[0] = c->mon->pages[0]; }
static void many_notes(struct fake_cpu *c) { c->mon->nlog = MON_LOG + 1; }
static void no_note(struct fake_cpu *c) { c->mon->nlog = 0; }
static void note_twice(struct fake_cpu *c) { c->mon->log[c->mon->nlog++] = c->mon->log[0]; }
static void note_of_secret(struct fake_cpu *c) { c->mon->log[0].page = secret.v; }
static void note_from_nowhere(struct fake_cpu *c) { c->mon->log[0].from = ARENA; }
static void note_elsewhere(struct fake_cpu *c) { c->mon->log[0].at = AT + DUNE_PAGE_SIZE; }
static void note_between(struct fake_cpu *c) { c->mon->log[0].at = AT + 8; }
static void stack_below(struct fake_cpu *c)
{
	c->mon->exit = MON_EXIT_NONE;
	c->run->s.regs.regs.rsp = c->area - 8;
}
static void stack_end(struct fake_cpu *c)
{
	c->mon->exit = MON_EXIT_NONE;
	c->run->s.regs.regs.rsp = c->area + MON_AREA_STACK + DUNE_PAGE_SIZE - 8;
}
static void no_exit(struct fake_cpu *c) { c->mon->exit = 1000; }
static void ring0_frame(struct fake_cpu *c)
{
	memset(c->stack + MON_AREA_STACK_TOP - MON_AREA_STACK - 512, 0, 512);
}

static const struct {
	const char *name;
	void (*forge)(struct fake_cpu *c);
	unsigned held; /* pages, from then on: the space's, and those in doubt */
} forged[] = {
#define FORGED(name, held) { #name, name, held }
	FORGED(many_pages, ALL), FORGED(all_pages, ALL), FORGED(used_page, ALL), FORGED(lost_page, USED + 1),
	FORGED(one_page_twice, ALL), FORGED(others_page, ALL), FORGED(no_page, ALL), FORGED(many_tables, ALL),
	FORGED(others_table, ALL), FORGED(page_as_table, ALL), FORGED(many_notes, ALL), FORGED(no_note, USED),
	FORGED(note_twice, ALL), FORGED(note_of_secret, ALL), FORGED(note_from_nowhere, ALL),
	FORGED(note_elsewhere, ALL), FORGED(note_between, ALL), FORGED(stack_below, USED), FORGED(stack_end, USED), FORGED(no_exit, USED),
	FORGED(ring0_frame, USED),
};

static void begin(void)
{
	struct dune_vm_config cfg = { .size = ARENA, .machine = DUNE_MACHINE_KVM, .placement = DUNE_PLACE_RING0, .kick_signal = SIGUSR1 };
	static char *arena;

	if (!arena) {
		arena = mmap(NULL, 2 * ARENA, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		CHECK(arena != MAP_FAILED);
		arena += -(uintptr_t)arena & (PT_HUGE - 1);
	}
	cfg.base = arena;
	fake_guest = NULL;
	CHECK_OK(dune_vm_create(&vm, &cfg));
	CHECK_OK(dune_page_alloc(vm, &secret));
	memset(dune_page_host(vm, secret), 0xb5, DUNE_PAGE_SIZE);
	CHECK_OK(dune_space_create(vm, &space));
	CHECK_OK(dune_vcpu_create(vm, &vcpu));
	fake_guest = guest;
	entries = 0;
}

static uint64_t used(void)
{
	struct dune_vm_stats st;

	dune_vm_get_stats(vm, &st);
	return st.pages_used;
}

static void end(uint64_t before)
{
	const unsigned char *bytes = dune_page_host(vm, secret);

	dune_vcpu_destroy(vcpu);
	CHECK(bytes[0] == 0xb5 && bytes[DUNE_PAGE_SIZE - 1] == 0xb5);
	CHECK_EQ(vm->arena.pages[secret.v / DUNE_PAGE_SIZE].refs, 1);
	/* Nothing is free that was not given back: what is left of a lost stock is nobody's. */
	dune_vm_free(space);
	CHECK_GE(used() + 2, before);
	dune_vm_destroy(vm);
	fake_forget();
}

int main(void)
{
	const struct sigaction kick = { .sa_handler = kicked };
	struct dune_frame f = { .rip = AT };
	const struct dune_private *list;
	uint64_t before;

	CHECK_OK(sigaction(SIGUSR1, &kick, NULL));

	NOTE("honest");
	begin();
	before = used();
	CHECK_EQ(dune_vcpu_run(vcpu, space, &f), DUNE_EXIT_SYSCALL);
	CHECK_EQ(used(), before + USED);
	CHECK_EQ(dune_space_private(space, &list), 1);
	CHECK(list[0].at.v == AT && list[0].from.v == vm->zero_page.v);
	end(before);

	NOTE("honest, and unmapped by another thread before the exit: no private page, and no lie");
	begin();
	forge = unmap_meanwhile;
	before = used();
	CHECK_EQ(dune_vcpu_run(vcpu, space, &f), DUNE_EXIT_SYSCALL);
	CHECK_EQ(pthread_join(other, NULL), 0);
	CHECK_EQ(dune_space_private(space, &list), 0);
	CHECK_OK(dune_vm_sync(space));
	CHECK_EQ(used(), before);
	end(before);

	for (unsigned i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
		NOTE("%s", forged[i].name);
		begin();
		forge = forged[i].forge;
		before = used();
		CHECK_EQ(dune_vcpu_run(vcpu, space, &f), DUNE_EXIT_LOST);
		CHECK_EQ(used(), before + forged[i].held);
		CHECK_EQ(dune_vcpu_run(vcpu, space, &f), DUNE_EXIT_LOST);
		CHECK_OK(dune_space_reset(space, 0));
		end(before);
		forge = NULL;
	}
	return 0;
}
