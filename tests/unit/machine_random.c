/* SPDX-License-Identifier: MIT */
/*
 * machine_random.c - random changes to clones and runs in them, also changes while a run is inside, against a flat model
 * of what each page is.  World: host, over fake_machine.c.
 *
 * What a vCPU remembers may be older than the model says, but only as the contract says: never after the next entry or
 * sync(), and never of a page that is free or somebody else's meanwhile.  The machine looks for the latter at each of its
 * ops; here each value that is read is looked at: it is one that this page of this space once had.
 */
#include "arch/layout.h"
#include "tests/test.h"
#include "tests/unit/fake_machine.h"

#define ARENA  (16UL << 20)
#define AT     0x10000000UL
#define PAGES  1100 /* more than two tables of level 1 */
#define SPACES 2
#define VCPUS  2
#define PAGE   DUNE_PAGE_SIZE
#define RO     DUNE_READ
#define RW     (DUNE_READ | DUNE_WRITE)

enum kind { NOTHING, SOURCE, OWN };

struct model {
	enum kind kind;
	unsigned prot;	/* READ and WRITE as ring 3 has them, by copy or not */
	int region;	/* -1: none; else the rights of one */
	uint64_t value; /* its first word */
	uint64_t from;	/* OWN: what that is after a reset */
};

static struct dune_vm *vm;
static struct dune_space *source, *space[SPACES];
static struct model first[PAGES], page[SPACES][PAGES];
static struct dune_vcpu *vcpu[VCPUS];
static uint64_t seed, stamp;
static unsigned long round_no, step;

#define RIGHT(cond, ...)                                                          \
	do {                                                                      \
		if (!(cond)) {                                                    \
			fprintf(stderr, "round %lu, step %lu: ", round_no, step); \
			FAIL(__VA_ARGS__);                                        \
		}                                                                 \
	} while (0)

static unsigned any(unsigned n)
{
	seed = seed * 6364136223846793005UL + 1442695040888963407UL;
	return (unsigned)(seed >> 33) % n;
}

static dune_gva_t at(unsigned i)
{
	return dune_gva(AT + i * PAGE);
}

/* A value that says whose it is: of which space, of which page, and no other like it. */
static uint64_t new_value(unsigned s, unsigned i)
{
	return (uint64_t)(s + 1) << 56 | (uint64_t)i << 32 | (++stamp & 0xffffffff);
}

static bool may_be_seen(uint64_t value, unsigned s, unsigned i)
{
	return !value || ((value >> 32 & 0xffffff) == i && (value >> 56 == s + 1 || value >> 56 == SPACES + 1));
}

static unsigned access_of(const struct model *p)
{
	return p->kind != NOTHING ? p->prot : p->region > 0 ? (unsigned)p->region : 0;
}

static bool is_mapped(unsigned s, unsigned i)
{
	struct dune_leaf leaf;

	return !dune_vm_lookup(space[s], at(i), &leaf);
}

/* The space has given it a page, or was to have. */
static void becomes_own(struct model *p)
{
	if (p->kind == OWN)
		return;
	if (p->kind == NOTHING)
		*p = (struct model){ .prot = (unsigned)p->region, .region = p->region };
	p->from = p->value;
	p->kind = OWN;
}

/* Faults give neighbours, too: of what is said to be nothing something may be there. */
static void look(unsigned s, unsigned i)
{
	struct model *p = &page[s][i];

	if (p->kind == NOTHING && is_mapped(s, i))
		becomes_own(p);
}

/* ---- changes ---- */

static void any_range(unsigned *from, unsigned *n)
{
	*from = any(PAGES);
	*n = 1 + any(any(4) ? 8 : 700);
	if (any(16) == 0) {
		*from = any(2) * 512;
		*n = 512;
	}
	if (*from + *n > PAGES)
		*n = PAGES - *from;
}

static void change(unsigned s)
{
	static const unsigned rights[] = { 0, RO, RW };
	struct model *pages = page[s];
	unsigned from, n, prot = rights[any(3)], what = any(10), i;
	int err;

	any_range(&from, &n);
	switch (what) {
	case 0:
	case 1:
		for (i = from; i < from + n; i++)
			look(s, i);
		CHECK_OK(dune_vm_mprotect(space[s], at(from), n * PAGE, prot));
		for (i = from; i < from + n; i++)
			pages[i].prot = prot;
		break;
	case 2:
		CHECK_OK(dune_vm_unmap(space[s], at(from), n * PAGE));
		for (i = from; i < from + n; i++)
			pages[i].kind = NOTHING;
		break;
	case 3:
		n = n < 40 ? n : 40;
		CHECK_OK(dune_vm_restore(space[s], at(from), n * PAGE));
		for (i = from; i < from + n; i++) {
			int region = pages[i].region;

			pages[i] = first[i];
			pages[i].region = region;
		}
		break;
	case 4:
	case 5:
		for (i = from; i < from + n; i++)
			look(s, i);
		err = dune_region_add(space[s], at(from), n * PAGE, prot);
		RIGHT(!err || err == -ENOMEM, "a region: %d", err);
		for (i = from; i < from + n && !err; i++) {
			pages[i].region = (int)prot;
			pages[i].prot = prot;
		}
		break;
	case 6:
		err = dune_region_remove(space[s], at(from), n * PAGE);
		RIGHT(!err || err == -ENOMEM, "no region: %d", err);
		for (i = from; i < from + n && !err; i++) {
			pages[i].kind = NOTHING;
			pages[i].region = -1;
		}
		break;
	case 7:
		err = dune_vm_make_private(space[s], at(from));
		look(s, from);
		RIGHT(err == (access_of(&pages[from]) & DUNE_WRITE ? 0 : -EFAULT), "page %u made private: %d", from, err);
		if (!err)
			becomes_own(&pages[from]);
		break;
	default:
		CHECK_OK(dune_vm_sync(space[s]));
	}
}

/* Not while it runs: which private pages stay is the space's choice, what they hold is not. */
static void begin_again(unsigned s)
{
	if (any(2)) {
		CHECK_OK(dune_space_shed(space[s], any(20), NULL, NULL));
		for (unsigned i = 0; i < PAGES; i++) {
			struct model *p = &page[s][i];
			struct dune_leaf leaf;

			if (p->kind != OWN || (is_mapped(s, i) && !dune_vm_lookup(space[s], at(i), &leaf) && leaf.prot & DUNE_OWNED))
				continue;
			RIGHT(p->value == p->from, "page %u went, which was written", i);
			p->kind = first[i].kind;
		}
		return;
	}
	CHECK_OK(dune_space_reset(space[s], any(40)));
	for (unsigned i = 0; i < PAGES; i++) {
		struct model *p = &page[s][i];
		struct dune_leaf leaf;

		if (!dune_vm_lookup(space[s], at(i), &leaf) && leaf.prot & DUNE_OWNED) {
			becomes_own(p);
			p->value = p->from;
			p->prot = RW;
		} else if (p->kind == OWN) {
			*p = first[i];
		}
		p->region = -1;
	}
}

/* ---- runs ---- */

/* What a script does: some accesses, and in between the host changes the space and has another vCPU run in it. */
struct visit {
	unsigned s, vcpu, page;
	bool write, inside;
};

static void touch(struct visit v);

/* After accesses of which some may have gone where the page was before: the tables say what became of it. */
static void learn(unsigned s, unsigned i)
{
	struct model *p = &page[s][i];
	struct dune_leaf leaf;
	uint64_t value;

	look(s, i);
	if (!is_mapped(s, i)) {
		RIGHT(p->kind == NOTHING, "page %u of %u is gone", i, s);
		return;
	}
	CHECK_OK(dune_vm_lookup(space[s], at(i), &leaf));
	value = *(uint64_t *)dune_page_host(vm, leaf.page);
	if (leaf.prot & DUNE_OWNED) {
		RIGHT(may_be_seen(value, s, i), "page %u of %u has become %#" PRIx64, i, s, value);
		becomes_own(p);
		p->value = value;
	} else {
		RIGHT(p->kind == SOURCE && value == p->value, "page %u of %u is another's", i, s);
	}
}

static void meanwhile(void *visit)
{
	const struct visit *v = visit;

	learn(v->s, v->page);
	for (unsigned n = 1 + any(3); n; n--)
		change(v->s);
	if (any(2))
		touch((struct visit){ v->s, !v->vcpu, v->page, any(2), true });
}

static void touch(struct visit v)
{
	struct model *p = &page[v.s][v.page];
	uint64_t value = new_value(v.s, v.page);
	const struct fake_step one = { v.write ? FAKE_WRITE : FAKE_READ, at(v.page).v, value, NULL, NULL };
	const struct fake_step between[] = { one, { .op = FAKE_HOST, .fn = meanwhile, .ctx = &v }, one };
	struct dune_frame f = { .rip = 0x1000 };
	unsigned need = v.write ? DUNE_WRITE : DUNE_READ;
	enum dune_exit e;

	if (!v.inside && any(4) == 0) {
		e = fake_run(vcpu[v.vcpu], space[v.s], between, 3, &f);
		RIGHT(e == DUNE_EXIT_SYSCALL || (e == DUNE_EXIT_FAULT && f.vector == VECTOR_PF), "page %u of %u: %d", v.page, v.s, e);
		if (e == DUNE_EXIT_SYSCALL && !v.write)
			RIGHT(may_be_seen(f.rdi, v.s, v.page), "page %u of %u held %#" PRIx64, v.page, v.s, f.rdi);
		learn(v.s, v.page);
		return;
	}
	e = fake_run(vcpu[v.vcpu], space[v.s], &one, 1, &f);
	look(v.s, v.page);
	if ((access_of(p) & need) != need) {
		RIGHT(e == DUNE_EXIT_FAULT && f.vector == VECTOR_PF && f.cr2 == one.at, "page %u of %u, denied: %d", v.page, v.s,
		      e);
		return;
	}
	RIGHT(e == DUNE_EXIT_SYSCALL, "page %u of %u, allowed: %d", v.page, v.s, e);
	if (!v.write) {
		RIGHT(f.rdi == p->value, "page %u of %u holds %#" PRIx64 ", not %#" PRIx64, v.page, v.s, f.rdi, p->value);
		return;
	}
	becomes_own(p);
	p->value = value;
}

/* ---- rounds ---- */

static void make_source(void)
{
	CHECK_OK(dune_space_create(vm, &source));
	for (unsigned i = 0; i < PAGES; i++) {
		dune_gpa_t p;

		first[i] = (struct model){ .region = -1 };
		if (i % 512 > 300 || any(3) == 0)
			continue;
		first[i].kind = SOURCE;
		first[i].prot = RW;
		if (any(4) == 0) {
			CHECK_OK(dune_vm_map(source, at(i), dune_zero_page(vm), PAGE, RO | DUNE_COW));
			continue;
		}
		CHECK_OK(dune_page_alloc(vm, &p));
		first[i].value = new_value(SPACES, i);
		*(uint64_t *)dune_page_host(vm, p) = first[i].value;
		CHECK_OK(dune_vm_map(source, at(i), p, PAGE, RO | DUNE_COW | DUNE_OWNED));
	}
}

static void one_round(unsigned steps)
{
	make_source();
	for (unsigned s = 0; s < SPACES; s++) {
		CHECK_OK(dune_vm_clone(source, &space[s]));
		memcpy(page[s], first, sizeof(first));
	}
	for (step = 0; step < steps; step++) {
		unsigned s = any(SPACES), near = any(PAGES);

		if (any(3) == 0)
			change(s);
		if (any(60) == 0)
			begin_again(s);
		for (unsigned looks = any(4); looks; looks--)
			touch((struct visit){ any(SPACES), any(VCPUS), any(3) ? (near + any(4)) % PAGES : any(PAGES), any(2), false });
	}
	for (unsigned i = 0; i < PAGES; i++) { /* nobody wrote the source */
		struct dune_leaf leaf;

		if (first[i].kind != SOURCE)
			continue;
		CHECK_OK(dune_vm_lookup(source, at(i), &leaf));
		RIGHT(*(uint64_t *)dune_page_host(vm, leaf.page) == first[i].value, "page %u of the source was written", i);
	}
	for (unsigned s = 0; s < SPACES; s++)
		dune_vm_free(space[s]);
	dune_vm_free(source);
}

int main(void)
{
	unsigned long rounds = test_scale(60);

	for (round_no = 1; round_no <= rounds; round_no++) {
		uint64_t used;

		seed = round_no;
		fake_config = (struct fake_config){ .in_place = round_no & 1, .kinds = round_no & 2, .keeps_vcpus = true };
		vm = fake_vm(ARENA);
		for (unsigned i = 0; i < VCPUS; i++)
			CHECK_OK(dune_vcpu_create(vm, &vcpu[i]));
		used = fake_pages_used(vm);
		one_round(150);
		CHECK_EQ(fake_pages_used(vm), used);
		dune_vm_destroy(vm);
		CHECK(!fake_counts.vms && !fake_counts.spaces && !fake_counts.vcpus);
	}
	NOTE("%lu rounds", rounds);
	return TEST_PASSED;
}
