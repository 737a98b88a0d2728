/* SPDX-License-Identifier: MIT */
/*
 * ring0.c - the monitor in ring 0: applies page-table edits, and decides traps where ring 0 is
 * fast. World: ring 0.  Sees guest-physical memory only through the four windows of its vCPU's
 * area.
 */
#include "arch/layout.h"
#include "arch/x86_64/ring0/cpu.h"
#include "vm/monitor/monitor.h"

/* Called by entry.S. */
uint32_t ring0_trap(struct dune_frame *frame, uint64_t cr2);
void ring0_apply(const void *stack);
void ring0_resume(const struct dune_frame *frame);

#define PF_FETCH 16UL

static struct mon_vcpu *this_vcpu(const void *stack)
{
	return (struct mon_vcpu *)(((uint64_t)stack & ~(uint64_t)(MON_AREA_SIZE - 1)) +
				   MON_AREA_VCPU);
}

/* Point a window at a guest-physical page.  A window that shows the page already is left alone. */
static void *window(struct mon_vcpu *v, unsigned which, uint64_t page)
{
	uint64_t at = v->area + MON_AREA_WINDOWS + which * DUNE_PAGE_SIZE;
	volatile uint64_t *entry =
		(volatile uint64_t *)v->area_table + ((at >> 12) & (PT_ENTRIES - 1));
	uint64_t want = (page & PT_ADDR) | PT_P | PT_W | PT_A | PT_D | PT_NX;

	if (*entry != want) {
		*entry = want;
		cpu_invlpg(at);
	}
	return (void *)at;
}

static uint64_t *window_entry(struct mon_vcpu *v, uint64_t entry)
{
	char *table = window(v, MON_WINDOW_TABLE, entry);

	return (uint64_t *)(table + (entry & (DUNE_PAGE_SIZE - 1)));
}

/*
 * The destination is written with the string instructions: fast on silicon, few instructions when
 * emulated.
 */
static void page_zero(void *page)
{
	cpu_stosq(page, 0, DUNE_PAGE_SIZE / 8);
}

/* ---- the walker's memory, in ring 0 ---- */

static uint64_t r0_get(void *ctx, dune_gpa_t entry)
{
	return *(volatile uint64_t *)window_entry(ctx, entry.v);
}

static void r0_set(void *ctx, dune_gpa_t entry, uint64_t old, uint64_t val, dune_gva_t at,
		   int level)
{
	struct mon_vcpu *v = ctx;
	struct mon_space *space = window(v, MON_WINDOW_SPACE, v->space);

	*(volatile uint64_t *)window_entry(v, entry.v) = val;
	if (!(old & PT_P))
		return;
	__atomic_add_fetch(&space->generation, 1, __ATOMIC_SEQ_CST);
	if (level == 1)
		cpu_invlpg(at.v);
	else
		cpu_write_cr3(cpu_read_cr3());
}

static int r0_table_alloc(void *ctx, dune_gpa_t *out)
{
	struct mon_vcpu *v = ctx;
	struct mon_space *space = window(v, MON_WINDOW_SPACE, v->space);

	if (!v->ntables || (space->limit && space->used >= space->limit))
		return -1;
	*out = dune_gpa(v->tables[--v->ntables]);
	mon_count(space, 1);
	return 0;
}

static void r0_table_copy(void *ctx, dune_gpa_t dst, dune_gpa_t src, int level)
{
	uint64_t *to = window(ctx, MON_WINDOW_DEST, dst.v);
	const uint64_t *from = window(ctx, MON_WINDOW_SOURCE, src.v);

	for (unsigned i = 0; i < PT_ENTRIES; i++) {
		if (from[i])
			to[i] = pt_borrow(from[i], level, i);
	}
}

static void r0_init(void *ctx, dune_gpa_t entry, uint64_t val)
{
	*(volatile uint64_t *)window_entry(ctx, entry.v) = val;
}

/* Nothing that ring 0 does lets go of a table; a page goes back where it came from. */
static void r0_table_free(void *ctx, dune_gpa_t table)
{
	struct mon_vcpu *v = ctx;
	struct mon_space *space = window(v, MON_WINDOW_SPACE, v->space);

	page_zero(window(v, MON_WINDOW_DEST, table.v));
	v->tables[v->ntables++] = table.v;
	mon_count(space, -1);
}

static void r0_page_free(void *ctx, dune_gpa_t page)
{
	struct mon_vcpu *v = ctx;

	page_zero(window(v, MON_WINDOW_DEST, page.v));
	v->pages[v->npages++] = page.v;
}

static const struct pt_ops r0_ops = {
	.get = r0_get,
	.set = r0_set,
	.table_alloc = r0_table_alloc,
	.table_copy = r0_table_copy,
	.init = r0_init,
	.table_free = r0_table_free,
	.page_free = r0_page_free,
};

/* ---- the monitor's environment, in ring 0 ---- */

static int r0_page_alloc(struct mon_env *env, const dune_gpa_t *from, dune_gpa_t *out)
{
	struct mon_vcpu *v = env->pt.ctx;

	if (!v->npages)
		return -1;
	*out = dune_gpa(v->pages[--v->npages]);
	if (from)
		cpu_movsq(window(v, MON_WINDOW_DEST, out->v), window(v, MON_WINDOW_SOURCE, from->v),
			  DUNE_PAGE_SIZE / 8);
	return 0;
}

static void r0_env_page_free(struct mon_env *env, dune_gpa_t page)
{
	r0_page_free(env->pt.ctx, page);
}

static void r0_log(struct mon_env *env, dune_gva_t at, dune_gpa_t page, dune_gpa_t from)
{
	struct mon_vcpu *v = env->pt.ctx;

	v->log[v->nlog++] = (struct mon_private){ at.v, page.v, from.v };
}

#define AROUND 4

/*
 * A page takes at most a table a level, and a line in the log; neighbours are given only as far as
 * the stock goes.
 */
static bool stocked(const struct mon_vcpu *v)
{
	return v->npages >= 1 && v->ntables >= PT_LEVELS && v->nlog + AROUND <= MON_LOG;
}

uint32_t ring0_trap(struct dune_frame *frame, uint64_t cr2)
{
	struct mon_vcpu *v = this_vcpu(frame);
	struct mon_env env;

	if ((frame->cs & 3) != 3) {
		v->exit = MON_EXIT_PANIC;
		return v->exit;
	}
	frame->cr2 = cr2;
	mon_frame_syscall(frame, v->syscall_fault);
	/*
	 * A fetch never takes a page, and one from where ring 3 cannot be could not be tried again.
	 */
	if (frame->vector == VECTOR_PF && !(frame->error & PF_FETCH) && !stocked(v)) {
		v->exit = MON_EXIT_REFILL;
		return v->exit;
	}
	env.space = window(v, MON_WINDOW_SPACE, v->space);
	env.pt = (struct pt){ .root = dune_gpa(env.space->root), .ops = &r0_ops, .ctx = v };
	env.zero_page = dune_gpa(v->zero_page);
	env.page_alloc = r0_page_alloc;
	env.page_free = r0_env_page_free;
	env.log = r0_log;
	env.cow = &v->cow;
	env.demand = &v->demand;
	env.spurious = &v->spurious;
	env.around = AROUND;

	switch (mon_trap(&env, frame)) {
	case MON_RESUME:
		/* A frame that must not run goes to the host, which knows what to call it. */
		if (!mon_frame_sanitize(frame))
			v->exit = MON_EXIT_TRAP;
		else
			v->exit = MON_EXIT_NONE;
		break;
	case MON_NOMEM:
		v->exit = MON_EXIT_NOMEM;
		break;
	case MON_TO_HOST:
		v->exit = MON_EXIT_TRAP;
		break;
	}
	return v->exit;
}

void ring0_apply(const void *stack)
{
	struct mon_vcpu *v = this_vcpu(stack);

	if (v->cr3) {
		cpu_write_cr3(v->cr3);
		v->cr3 = 0;
	}
	for (uint32_t i = 0; i < v->nedits; i++) {
		const struct mon_edit *e = &v->edits[i];
		volatile uint64_t *entry = window_entry(v, e->entry);

		*entry = e->value;
		if (e->more)
			cpu_stosq((void *)(entry + 1), e->value, e->more);
		cpu_invlpg(e->at);
	}
	v->nedits = 0;
	if (v->flush) {
		cpu_write_cr3(cpu_read_cr3());
		v->flush = 0;
	}
	v->exit = MON_EXIT_APPLIED;
}

void ring0_resume(const struct dune_frame *frame)
{
	struct mon_vcpu *v = this_vcpu(frame);

	ring0_apply(frame);
	v->exit = MON_EXIT_NONE;
}
