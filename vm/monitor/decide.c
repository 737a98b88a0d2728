/* SPDX-License-Identifier: MIT */
/* decide.c - what the monitor decides about a trap from ring 3.  World: host and ring 0. */
#include "arch/layout.h"
#include "vm/monitor/monitor.h"

#define PF_WRITE    2UL
#define PF_USER	    4UL
#define PF_RESERVED 8UL
#define PF_FETCH    16UL

/* The region that holds `at`, or NULL. */
static const struct mon_region *region_at(const struct mon_space *space, uint64_t at)
{
	uint32_t low = 0, high = mon_regions(space);

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		const struct mon_region *r = &space->regions[mid];

		if (at < r->start)
			high = mid;
		else if (at >= r->end)
			low = mid + 1;
		else
			return r;
	}
	return NULL;
}

/* Give the space a page of its own at `at`: a copy of `from`, or a zeroed one. */
static enum mon_verdict own_page(struct mon_env *env, dune_gva_t at, const dune_gpa_t *from,
				 unsigned prot)
{
	struct mon_space *space = env->space;
	dune_gpa_t page;

	if (space->limit && space->used >= space->limit)
		return MON_NOMEM;
	if (env->page_alloc(env, from, &page))
		return MON_NOMEM;
	mon_count(space, 1); /* before its tables are: all of it together is within the limit */
	if (pt_replace(&env->pt, at, page, prot | DUNE_OWNED)) {
		mon_count(space, -1);
		env->page_free(env, page);
		return MON_NOMEM;
	}
	env->log(env, at, page, from ? *from : env->zero_page);
	return MON_RESUME;
}

static enum mon_verdict demand(struct mon_env *env, dune_gva_t at, bool write)
{
	const struct mon_region *r = region_at(env->space, at.v);
	enum mon_verdict verdict;

	if (!r || !r->prot || (write && !(r->prot & DUNE_WRITE)))
		return MON_TO_HOST;
	verdict = own_page(env, at, NULL, (unsigned)r->prot);
	if (verdict == MON_RESUME)
		++*env->demand;
	return verdict;
}

/*
 * Is a write resolved by a copy?  Not where the tree OWNs the page, as a source of clones does: the
 * copy would take its place, the page would go, and a reset would find another's bytes in it.
 */
static bool written_by_copy(const struct dune_leaf *leaf)
{
	return (leaf->prot & (DUNE_COW | DUNE_READ | DUNE_OWNED)) == (DUNE_COW | DUNE_READ);
}

enum mon_verdict mon_touch(struct mon_env *env, dune_gva_t at, bool write)
{
	struct dune_leaf leaf;
	enum mon_verdict verdict;

	at.v &= ~(DUNE_PAGE_SIZE - 1);
	if (at.v >= DUNE_USER_END)
		return MON_TO_HOST;
	if (pt_lookup(&env->pt, at, &leaf))
		return demand(env, at, write);
	if (write && written_by_copy(&leaf)) {
		const dune_gpa_t *from = leaf.page.v == env->zero_page.v ? NULL : &leaf.page;

		verdict = own_page(env, at, from, DUNE_READ | DUNE_WRITE);
		if (verdict == MON_RESUME)
			++*env->cow;
		return verdict;
	}
	if (leaf.prot & (write ? DUNE_WRITE : DUNE_READ)) {
		/*
		 * The tables allow it: the processor remembered an older entry, and has forgotten
		 * it by faulting.
		 */
		++*env->spurious;
		return MON_RESUME;
	}
	return MON_TO_HOST;
}

/* Would a touch give the space a page at `at`? */
static bool is_due(struct mon_env *env, dune_gva_t at, bool write)
{
	const struct mon_region *r;
	struct dune_leaf leaf;

	if (at.v >= DUNE_USER_END)
		return false;
	if (!pt_lookup(&env->pt, at, &leaf))
		return write && written_by_copy(&leaf);
	r = region_at(env->space, at.v);
	return r && r->prot && (!write || (r->prot & DUNE_WRITE));
}

/*
 * A fault.  Memory that is touched page after page, upwards or down, gets twice as many pages at
 * each fault, as far as they are due: a trap costs far more than a page.
 */
static enum mon_verdict fault(struct mon_env *env, dune_gva_t at, bool write)
{
	struct mon_space *space = env->space;
	enum mon_verdict verdict;
	uint64_t step, used = space->used;
	uint32_t n = 1;

	at.v &= ~(DUNE_PAGE_SIZE - 1);
	verdict = mon_touch(env, at, write);
	if (verdict != MON_RESUME || space->used == used)
		return verdict;
	step = at.v + DUNE_PAGE_SIZE == space->around_low ? -DUNE_PAGE_SIZE : DUNE_PAGE_SIZE;
	if (at.v == space->around_high || at.v + DUNE_PAGE_SIZE == space->around_low)
		n = space->around * 2 < env->around ? space->around * 2 : env->around;
	space->around_low = at.v;
	space->around_high = at.v + DUNE_PAGE_SIZE;
	for (space->around = 1; space->around < n; space->around++) {
		at.v += step;
		/* Less than that is no failure: the next touch will tell. */
		if (!is_due(env, at, write) || mon_touch(env, at, write) != MON_RESUME)
			break;
		if (at.v < space->around_low)
			space->around_low = at.v;
		else
			space->around_high = at.v + DUNE_PAGE_SIZE;
	}
	return MON_RESUME;
}

enum mon_verdict mon_trap(struct mon_env *env, struct dune_frame *frame)
{
	const struct mon_space *space = env->space;

	if (frame->cs != SEL_USER_CS)
		return MON_TO_HOST;
	if (frame->vector == VECTOR_SYSCALL) {
		for (uint32_t i = 0; i < mon_answers(space); i++) {
			if (space->answers[i].nr == frame->rax) {
				frame->rax = space->answers[i].value;
				return MON_RESUME;
			}
		}
		return MON_TO_HOST;
	}
	/*
	 * An access of ring 3's own: what an instruction does with ring 0's rights is not resolved.
	 */
	if (frame->vector == VECTOR_PF &&
	    (frame->error & (PF_RESERVED | PF_FETCH | PF_USER)) == PF_USER)
		return fault(env, dune_gva(frame->cr2), frame->error & PF_WRITE);
	return MON_TO_HOST;
}

bool mon_frame_sanitize(struct dune_frame *frame)
{
	frame->cs = SEL_USER_CS;
	frame->ss = SEL_USER_DS;
	frame->rflags = (frame->rflags & FLAGS_USER) | FLAGS_FIXED;
	return frame->rip < DUNE_USER_END;
}

bool mon_frame_syscall(struct dune_frame *frame, uint64_t entry)
{
	/*
	 * An instruction fetch (16) by ring 3 (4) of a present supervisor page (1): nothing else
	 * looks like it.
	 */
	if (!entry || frame->vector != VECTOR_PF || frame->error != 0x15 || frame->cr2 != entry ||
	    frame->rip != entry || frame->cs != SEL_USER_CS)
		return false;
	frame->vector = VECTOR_SYSCALL;
	frame->error = 0;
	frame->rip = frame->rcx;
	frame->rflags = frame->r11;
	return true;
}
