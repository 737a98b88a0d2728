/* SPDX-License-Identifier: MIT */
/*
 * exit.c - the host side of every exit, with all that a guest could have written forged: mailbox, space, stacks,
 * registers, kvm_run.  World: host, fuzzing, over kvm_fake.c.
 *
 * The host survives; a vCPU may be lost.  No page is anybody's twice, or given back while it is somebody's, and what is
 * not the guest's keeps its bytes.  Page tables alone are believed: who forges them in ring 0 has all guest memory.
 */
#include <signal.h>
#include <sys/mman.h>

#include "arch/kvm.h"
#include "arch/layout.h"
#include "tests/unit/kvm_fake.h"
#include "tests/fuzz/fuzz.h"

#define ARENA	(16UL << 20)
#define PAGES	(ARENA / DUNE_PAGE_SIZE)
#define IMAGE	0x400000UL /* pages of the source, written by copy */
#define DEMAND	0x10000000UL
#define SECRET	0xb5
#define SPACES	3

static struct input in;
static struct dune_vm *vm;
static struct dune_space *source, *space[SPACES];
static struct dune_space *running;
static dune_gpa_t secret; /* the master's */

/* ---- what belongs to whom ---- */

static const char *owner[PAGES];

static void claim(uint64_t page, const char *whose)
{
	size_t n = page / DUNE_PAGE_SIZE;

	if (page >= ARENA)
		return;
	CHECK_MSG(!owner[n], "page %#lx: %s, and %s", page, owner[n], whose);
	owner[n] = whose;
}

static unsigned claim_list(uint32_t head, const char *whose)
{
	unsigned n = 0;

	for (; head; head = vm->arena.pages[head].next, n++) {
		CHECK_LT(head, vm->arena.top / DUNE_PAGE_SIZE);
		claim(head * DUNE_PAGE_SIZE, whose);
	}
	return n;
}

static void claim_tree(const struct dune_space *s, uint64_t table, int level)
{
	const uint64_t *entries = fake_physical(table);

	claim(table, "a table");
	for (unsigned i = 0; i < (level == PT_LEVELS ? PT_ENTRIES / 2 : PT_ENTRIES); i++) {
		/* As it is to be, where a change is staged. */
		uint64_t e = kvm_space_of(s)->nedits ? s->pt.ops->get(s->pt.ctx, dune_gpa(table + i * 8)) : entries[i];

		if (level > 1 && e && !(e & PT_PS)) {
			if (!(e & PT_SHARED))
				claim_tree(s, e & PT_ADDR, level - 1);
		} else if (e & PT_OWNED) {
			claim(e & PT_ADDR, "a space's page");
			CHECK_EQ(vm->arena.pages[(e & PT_ADDR) / DUNE_PAGE_SIZE].refs, 1);
		}
	}
}

static void check(void)
{
	const struct arena *a = &vm->arena;
	const unsigned char *bytes = dune_page_host(vm, secret);
	unsigned left;

	memset(owner, 0, sizeof(owner));
	left = claim_list(a->zones[PAGE_PRIVATE].free_pages, "a free page") + claim_list(a->free_tables, "a free table") +
	       claim_list(a->free_roots, "a free root");
	CHECK_EQ(a->used + left, a->top / DUNE_PAGE_SIZE - 1);
	claim(secret.v, "the secret");
	CHECK_EQ(a->pages[secret.v / DUNE_PAGE_SIZE].refs, 1);
	for (unsigned i = 0; i < DUNE_PAGE_SIZE; i += 8)
		CHECK_EQ(bytes[i], SECRET);
	for (const struct dune_vcpu *c = vm->vcpus; c; c = c->next) {
		CHECK(!c->space && !kvm_vcpu_of(c)->pages.n && !kvm_vcpu_of(c)->tables.n); /* returned, or given up */
	}
	for (const struct dune_space *s = vm->spaces; s; s = s->next) {
		claim(s->mon_page.v, "a space's state");
		claim_list(s->parked_pages, "a parked page");
		claim_list(s->parked_tables, "a parked table");
		claim_tree(s, s->pt.root.v, PT_LEVELS);
		CHECK_EQ(s->runners, 0);
		for (size_t i = 0; i < s->nprivate; i++)
			CHECK_MSG(s->private[i].page.v < ARENA && owner[s->private[i].page.v / DUNE_PAGE_SIZE] &&
					  !strcmp(owner[s->private[i].page.v / DUNE_PAGE_SIZE], "a space's page"),
				  "private page %#lx is not a space's", s->private[i].page.v);
	}
}

/* ---- the guest ---- */

/* A number that might mean something to somebody. */
static uint64_t number(const struct fake_cpu *c)
{
	uint8_t how = (uint8_t)take(&in, 1);

	switch (how % 12) {
	case 0: return 0;
	case 1: return how / 12;
	case 2: return ~0UL - how / 12;
	case 3: return secret.v;
	case 4: return c->mon->pages[how / 12 % MON_STOCK];
	case 5: return c->mon->tables[how / 12 % MON_STOCK];
	case 6: return space[how / 12 % SPACES]->pt.root.v;
	case 7: return space[how / 12 % SPACES]->nprivate ? space[how / 12 % SPACES]->private[0].page.v : 0;
	case 8: return take(&in, 2) * DUNE_PAGE_SIZE;
	case 9: return c->area + take(&in, 2);
	case 10: return 1UL << how / 4;
	default: return take(&in, 8);
	}
}

static uint64_t address(void)
{
	uint8_t how = (uint8_t)take(&in, 1);

	return (how & 1 ? IMAGE : DEMAND) + (how >> 1) % 32 * DUNE_PAGE_SIZE + how % 8;
}

static void forge(struct fake_cpu *c, unsigned what)
{
	struct kvm_run *r = c->run;
	uint64_t at = take(&in, 2), v = number(c);

	switch (what) {
	case 0: /* the mailbox, its scalars twice as often */
		at %= at & 1 ? sizeof(*c->mon) / 8 : offsetof(struct mon_vcpu, pages) / 8;
		/* Where the windows are is ring 0's own business. */
		((uint64_t *)c->mon)[at] = v;
		break;
	case 1: /* words of 32 bits: exit, flush, nedits, nlog, npages, ntables */
		(&c->mon->flush)[at % 5] = (uint32_t)v;
		break;
	case 2:
		((uint64_t *)running->mon)[1 + at % (sizeof(*running->mon) / 8 - 1)] = v;
		break;
	case 3:
		((uint64_t *)c->stack)[at % 512] = v;
		break;
	case 4:
		((uint64_t *)&r->s.regs.regs)[at % (sizeof(r->s.regs.regs) / 8)] = v;
		break;
	case 5:
		if (at & 1)
			r->s.regs.sregs.cs.selector = (uint16_t)v;
		else
			memset(&r->s.regs.events, (int)v, sizeof(r->s.regs.events));
		break;
	default:
		if (at & 1)
			r->exit_reason = at & 2 ? (uint32_t)v : KVM_EXIT_EXCEPTION;
		else
			r->ex.exception = (uint32_t)v;
		break;
	}
}

/* ---- ring 0 as it should be: it resolves a fault with its stock ---- */

#define USED 64
static uint64_t used[USED];
static unsigned nused;

static uint64_t r0_get(void *ctx, dune_gpa_t entry)
{
	(void)ctx;
	return *(uint64_t *)fake_physical(entry.v);
}

static void r0_set(void *ctx, dune_gpa_t entry, uint64_t old, uint64_t val, dune_gva_t at, int level)
{
	(void)ctx, (void)old, (void)at, (void)level;
	*(uint64_t *)fake_physical(entry.v) = val;
}

static void r0_init(void *ctx, dune_gpa_t entry, uint64_t val)
{
	r0_set(ctx, entry, 0, val, dune_gva(0), 0);
}

static int r0_table_alloc(void *ctx, dune_gpa_t *out)
{
	struct mon_vcpu *v = ctx;

	*out = dune_gpa(v->tables[--v->ntables]);
	CHECK_LT(nused, USED);
	used[nused++] = out->v;
	return 0;
}

static void r0_table_copy(void *ctx, dune_gpa_t dst, dune_gpa_t src, int level)
{
	(void)ctx;
	for (unsigned i = 0; i < PT_ENTRIES; i++)
		((uint64_t *)fake_physical(dst.v))[i] = pt_borrow(((uint64_t *)fake_physical(src.v))[i], level, i);
}

static const struct pt_ops r0_ops = {
	.get = r0_get, .set = r0_set, .init = r0_init, .table_alloc = r0_table_alloc, .table_copy = r0_table_copy,
};

/* The stock is what the host put there: nothing was forged since. */
static int honest_fault(struct fake_cpu *c, const struct dune_frame *f)
{
	struct pt pt = { running->pt.root, &r0_ops, c->mon };
	struct mon_vcpu *v = c->mon;
	dune_gva_t at = dune_gva(address() & ~(DUNE_PAGE_SIZE - 1));
	struct dune_leaf leaf = { .page = vm->zero_page };
	uint64_t page;

	if (!v->npages || v->npages > MON_STOCK || v->ntables < PT_LEVELS || v->ntables > MON_STOCK ||
	    v->nlog > MON_LOG - 4)
		return fake_leave_monitor(c, f, MON_EXIT_REFILL);
	if (!pt_lookup(&pt, at, &leaf) &&
	    (leaf.prot & (DUNE_READ | DUNE_COW | DUNE_OWNED)) != (DUNE_READ | DUNE_COW))
		return -1;
	page = v->pages[--v->npages];
	CHECK_LT(nused, USED);
	used[nused++] = page;
	CHECK_OK(pt_replace(&pt, at, dune_gpa(page), DUNE_READ | DUNE_WRITE | DUNE_OWNED));
	memcpy(fake_physical(page), fake_physical(leaf.page.v), DUNE_PAGE_SIZE);
	v->log[v->nlog++] = (struct mon_private){ at.v, page, leaf.page.v };
	return -1;
}

static bool forged; /* since the host last looked */

static int script(struct fake_cpu *c)
{
	struct dune_frame f = { .cs = SEL_USER_CS, .ss = SEL_USER_DS, .rip = IMAGE, .vector = VECTOR_PF };

	while (in.left) {
		unsigned op = (unsigned)take(&in, 1);

		if (op < 112) {
			forged = true;
			forge(c, op % 7);
			continue;
		}
		f.cr2 = address();
		f.error = 4 | (op & 2);
		switch (op % 8) {
		case 0:
		case 1:
			if (!forged && honest_fault(c, &f) >= 0)
				return 0;
			continue;
		case 2:
			if (op & 16)
				f.vector = VECTOR_SYSCALL, f.rax = take(&in, 1);
			return fake_leave_stub(c, &f);
		case 3:
			f.cs = take(&in, 1) ? SEL_USER_CS : SEL_KERNEL_CS;
			f.rip = take(&in, 8);
			f.vector = take(&in, 2);
			return fake_leave_stub(c, &f);
		case 4:
			return fake_leave_monitor(c, &f, (enum mon_exit)(op >> 3 & 7));
		case 5: /* as it stands, with whatever was forged */
			return 0;
		case 6:
			errno = op & 16 ? EINTR : EFAULT;
			return -1;
		default: /* a signal in ring 3 */
			c->run->s.regs.regs.rip = IMAGE;
			memset(&c->run->s.regs.events, 0, sizeof(c->run->s.regs.events));
			errno = op & 16 ? EINTR : EFAULT;
			return -1;
		}
	}
	c->run->exit_reason = KVM_EXIT_SHUTDOWN;
	return 0;
}

/* What was used since the host last looked is not shown as left: to have it both ways is to forge tables. */
static int guest(struct fake_cpu *c)
{
	int r;

	if (c->told) {
		nused = 0;
		forged = false;
	}
	r = script(c);
	for (unsigned i = 0; i < MON_STOCK; i++) {
		for (unsigned k = 0; k < nused; k++) {
			if (c->mon->pages[i] == used[k])
				c->mon->pages[i] = secret.v;
			if (c->mon->tables[i] == used[k])
				c->mon->tables[i] = secret.v;
		}
	}
	return r;
}

/* ---- the host ---- */

static dune_gpa_t page_of(int fill)
{
	dune_gpa_t page;

	CHECK_OK(dune_page_alloc(vm, &page));
	memset(dune_page_host(vm, page), fill, DUNE_PAGE_SIZE);
	return page;
}

static void new_space(unsigned i)
{
	CHECK_OK(dune_vm_clone(source, &space[i]));
	CHECK_OK(dune_region_add(space[i], dune_gva(DEMAND), 24 * DUNE_PAGE_SIZE, DUNE_READ | DUNE_WRITE));
	CHECK_OK(dune_vm_make_private(space[i], dune_gva(IMAGE)));
}

static void begin(void *arena, enum dune_placement placement)
{
	const struct dune_vm_config cfg = {
		.base = arena, .size = ARENA, .machine = DUNE_MACHINE_KVM, .placement = placement, .kick_signal = SIGUSR1
	};

	fake_guest = NULL;
	CHECK_OK(dune_vm_create(&vm, &cfg));
	secret = page_of(SECRET);
	CHECK_OK(dune_space_create(vm, &source));
	for (unsigned i = 0; i < 8; i++)
		CHECK_OK(dune_vm_map(source, dune_gva(IMAGE + i * DUNE_PAGE_SIZE), page_of((int)i), DUNE_PAGE_SIZE,
				     DUNE_READ | DUNE_OWNED | DUNE_COW));
	for (unsigned i = 0; i < SPACES; i++)
		new_space(i);
	fake_guest = guest;
}

static void run(unsigned op)
{
	struct dune_frame f = { .rip = IMAGE, .rsp = DEMAND };
	struct dune_vcpu *c;
	enum dune_exit e;

	if (dune_vcpu_create(vm, &c)) /* all are lost */
		return;
	running = space[op % SPACES];
	for (unsigned n = 1 + (op >> 4 & 3); n; n--) {
		e = dune_vcpu_run(c, running, &f);
		CHECK(e <= DUNE_EXIT_LOST);
		if (e == DUNE_EXIT_LOST)
			break;
	}
	dune_vcpu_destroy(c);
}

static void change(unsigned op)
{
	unsigned i = op % SPACES;
	struct dune_space *s = space[i];
	dune_gva_t at = dune_gva(address() & ~(DUNE_PAGE_SIZE - 1)), start;
	size_t len = (1 + (op >> 5)) * DUNE_PAGE_SIZE;
	unsigned prot;
	int r = 0;

	switch (op % 8) {
	case 0: r = dune_vm_unmap(s, at, len); break;
	case 1: r = dune_vm_mprotect(s, at, len, DUNE_READ); break;
	case 2: r = dune_region_add(s, at, len, op & 16 ? DUNE_READ : DUNE_READ | DUNE_WRITE); break;
	case 3: r = dune_region_remove(s, at, len); break;
	case 4: r = dune_vm_make_private(s, at); break;
	case 5: r = dune_space_reset(s, op >> 5); break;
	case 6:
		dune_vm_free(s);
		new_space(i);
		break;
	default:
		r = dune_space_answer(s, op, op);
		(void)dune_region_next(s, at, &start, &len, &prot);
		break;
	}
	CHECK(r <= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static char *arena;

	if (!arena) {
		arena = mmap(NULL, 2 * ARENA, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		CHECK(arena != MAP_FAILED);
		arena += -(uintptr_t)arena & (PT_HUGE - 1);
	}
	in = (struct input){ data, len };
	begin(arena, take(&in, 1) & 1 ? DUNE_PLACE_RING0 : DUNE_PLACE_HOST);
	while (in.left) {
		unsigned op = (unsigned)take(&in, 1);

		if (op & 128)
			change(op & 127);
		else
			run(op);
		check();
	}
	for (unsigned i = 0; i < SPACES; i++)
		dune_vm_free(space[i]);
	dune_vm_free(source);
	check();
	CHECK(!vm->spaces);
	dune_vm_destroy(vm);
	fake_forget();
	return 0;
}
