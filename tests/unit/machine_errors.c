/* SPDX-License-Identifier: MIT */
/*
 * machine_errors.c - every op of the machine that can fail does so once, at each of its calls, and so does memory: what
 * failed has changed nothing, and done again it works.  World: host, over fake_machine.c.
 */
#include "arch/layout.h"
#include "tests/test.h"
#include "tests/unit/fake_machine.h"

#define ARENA (64UL << 20)
#define SMALL (2UL << 20)
#define AT    0x10000000UL
#define PAGE  DUNE_PAGE_SIZE
#define RO    DUNE_READ
#define RW    (DUNE_READ | DUNE_WRITE)

static struct dune_vm *vm;
static struct dune_space *source, *cloned, *other;
static struct dune_vcpu *c;
static uint64_t window[4 * PAGE / 8] __attribute__((aligned(PAGE)));
static dune_gpa_t hoard; /* pages that leave little for others: a list through their first words */
static unsigned failures;

static void let_go(void)
{
	while (hoard.v) {
		dune_gpa_t page = hoard;

		hoard = dune_gpa(*(uint64_t *)dune_page_host(vm, page));
		dune_page_put(vm, page);
	}
}

static void take_all_but(unsigned left)
{
	dune_gpa_t page;

	while (!dune_page_alloc(vm, &page)) {
		*(uint64_t *)dune_page_host(vm, page) = hoard.v;
		hoard = page;
	}
	for (; left && hoard.v; left--) {
		page = hoard;
		hoard = dune_gpa(*(uint64_t *)dune_page_host(vm, page));
		dune_page_put(vm, page);
	}
}

/* ---- what there is ---- */

struct state {
	uint64_t used, tables, maps, privates, pages;
	size_t slots;
	struct fake_counts counts;
	bool frozen;
};

static int hash_leaf(void *ctx, dune_gva_t at, const struct dune_leaf *leaf)
{
	uint64_t *h = ctx;

	*h = (*h ^ at.v ^ leaf->page.v << 7 ^ leaf->prot ^ leaf->size << 20) * 0x9e3779b97f4a7c15UL;
	*h ^= *h >> 29;
	return 0;
}

static bool is_broken(void)
{
	return vm && atomic_load(&vm->broken);
}

static struct state state(void)
{
	struct dune_space *const spaces[] = { source, cloned, other };
	struct state st = { .counts = fake_counts };

	if (!vm)
		return st;
	fake_paused = true;
	for (unsigned i = 0; i < 3; i++) {
		struct dune_space *s = spaces[i];
		const struct dune_private *list;
		dune_gva_t from = { 0 };
		unsigned prot;
		size_t len;

		if (!s)
			continue;
		CHECK(is_broken() || !dune_vm_sync(s)); /* what was taken for nothing waits for that */
		dune_vm_page_walk(s, dune_gva(0), dune_gva(DUNE_USER_END), hash_leaf, &st.maps);
		st.privates += dune_space_private(s, &list);
		st.pages += dune_space_pages(s);
		st.frozen |= s->frozen;
		for (; !dune_region_next(s, from, &from, &len, &prot); from.v += len)
			hash_leaf(&st.maps, from, &(struct dune_leaf){ .prot = prot, .size = len });
	}
	fake_paused = false;
	st.used = fake_pages_used(vm);
	st.tables = vm->arena.tables;
	st.slots = vm->nslots;
	st.counts.blocks = 0; /* those that were made are used next */
	return st;
}

static void check_undone(const char *call, const struct state *before)
{
	const struct state after = state();

#define SAME(what)                                                                                              \
	CHECK_MSG(!memcmp(&before->what, &after.what, sizeof(after.what)), "%s failed in %s and left other %s", call, \
		  fake_failed ? fake_failed : "memory", #what)
	SAME(used);
	SAME(tables);
	SAME(maps);
	SAME(privates);
	SAME(pages);
	SAME(slots);
	SAME(counts);
	SAME(frozen);
}

/* It failed because it was to: nothing has changed. */
static void check_failed(const char *call, int err, const struct state *before)
{
	failures++;
	if (fake_failed && !strcmp(fake_failed, "fake_sync"))
		CHECK_MSG(err == -EIO && is_broken(), "%s gave %d", call, err);
	else
		CHECK_MSG(err == (fake_failed ? fake_fail_with : -ENOMEM) && (fake_failed || hoard.v), "%s gave %d", call, err);
	if (!is_broken())
		check_undone(call, before);
	let_go();
}

/* Done, if not now then the second time; false: the VM is broken. */
#define DO(call)                                             \
	do {                                                 \
		struct state before = state();               \
		int err_ = (call);                           \
		if (err_) {                                  \
			check_failed(#call, err_, &before);  \
			if (is_broken())                     \
				return;                      \
			CHECK_OK(call);                      \
		}                                            \
	} while (0)

/* Ring 3 gets what it asks for, if not now then later. */
static bool touches(struct dune_space *s, uint64_t at, uint64_t value)
{
	const struct state before = state();
	enum dune_exit e = fake_write(c, s, at, value);

	if (e == DUNE_EXIT_SYSCALL)
		return true;
	failures++;
	CHECK(e == DUNE_EXIT_NOMEM || (e == DUNE_EXIT_LOST && is_broken()));
	if (is_broken())
		return false;
	check_undone("a touch", &before);
	let_go();
	CHECK_EQ(fake_write(c, s, at, value), DUNE_EXIT_SYSCALL);
	return true;
}

#define TOUCH(...)                        \
	do {                              \
		if (!touches(__VA_ARGS__)) \
			return;           \
	} while (0)

/* ---- all that a caller does ---- */

static void set_up_memory(dune_gpa_t *large, dune_gpa_t *image, dune_gpa_t *page, dune_gpa_t *rw)
{
	dune_gpa_t ro, block, few;

	DO(dune_vm_share(vm, window, sizeof(window)));
	DO(dune_vm_adopt(vm, window, sizeof(window)));
	DO(dune_vm_clear(vm, window, PAGE));
	DO(dune_vm_prepare(vm));
	DO(dune_slot_add(vm, window, 2 * PAGE, &ro));
	DO(dune_slot_add_rw(vm, window, sizeof(window), rw));
	DO(dune_page_alloc(vm, page));
	if (vm->arena.size == SMALL) { /* what was freed is had again page by page only */
		*large = *image = dune_gpa(0);
		return;
	}
	DO(dune_pages_alloc(vm, 3, &few));
	for (unsigned i = 0; i < 3; i++)
		dune_page_put(vm, dune_gpa(few.v + i * PAGE));
	DO(dune_pages_alloc(vm, 1024, large));
	DO(dune_image_alloc(vm, 1100, image));
	DO(dune_zero_block(vm, &block));
}

static void set_up_source(dune_gpa_t large, dune_gpa_t image, dune_gpa_t page, dune_gpa_t rw)
{
	DO(dune_space_create(vm, &source));
	if (large.v) {
		DO(dune_vm_map(source, dune_gva(AT + PT_HUGE), large, 2 * PT_HUGE, RO | DUNE_COW));
		DO(dune_vm_map(source, dune_gva(AT + 4 * PT_HUGE), image, 520 * PAGE, DUNE_READ | DUNE_EXEC));
	}
	DO(dune_vm_map(source, dune_gva(AT), page, PAGE, RO | DUNE_COW | DUNE_OWNED));
	DO(dune_vm_map(source, dune_gva(AT + PAGE), dune_zero_page(vm), PAGE, RO | DUNE_COW));
	DO(dune_vm_map(source, dune_gva(AT + 2 * PAGE), rw, 4 * PAGE, RO));
	DO(dune_vm_map(source, dune_gva(AT + 1024 * PT_HUGE), page, PAGE, RO));
}

static void use_clone(void)
{
	const struct dune_frame begin = { .rip = 0x1000 };
	struct dune_frame f = begin;

	DO(dune_vm_clone(source, &cloned));
	DO(dune_vcpu_create(vm, &c));
	DO(dune_region_add(cloned, dune_gva(AT + 64 * PAGE), 64 * PAGE, RW));
	TOUCH(cloned, AT, 1);
	TOUCH(cloned, AT + PAGE, 1);
	TOUCH(cloned, AT + 64 * PAGE, 2);
	TOUCH(cloned, AT + 65 * PAGE, 2);
	if (vm->arena.size == ARENA) {
		TOUCH(cloned, AT + PT_HUGE + 5 * PAGE, 3);
		DO(dune_vm_mprotect(cloned, dune_gva(AT + 2 * PT_HUGE + 7 * PAGE), PAGE, 0));
		DO(dune_vm_unmap(cloned, dune_gva(AT + 4 * PT_HUGE + 9 * PAGE), PAGE));
	}
	DO(dune_vm_make_private(cloned, dune_gva(AT + 66 * PAGE)));
	DO(dune_vm_mprotect(cloned, dune_gva(AT + 2 * PAGE), PAGE, RW));
	DO(dune_region_add(cloned, dune_gva(AT + 70 * PAGE), 2 * PAGE, RO));
	DO(dune_region_remove(cloned, dune_gva(AT + 60 * PAGE), 7 * PAGE));
	DO(dune_vm_restore(cloned, dune_gva(AT), PAGE));
	DO(dune_vm_sync(cloned));
	CHECK_EQ(fake_run(c, cloned, NULL, 0, &f), DUNE_EXIT_SYSCALL);
	DO(dune_vcpu_registers(c, cloned, &f));
	TOUCH(cloned, AT, 1);
	DO(dune_space_shed(cloned, 1, NULL, NULL));
	TOUCH(cloned, AT + PAGE, 0);
	DO(dune_space_reset(cloned, 1));
	DO(dune_space_create(vm, &other));
	DO(dune_region_add(other, dune_gva(AT), 600 * PAGE, RW));
	for (unsigned i = 0; i < 600; i += 50)
		TOUCH(other, AT + i * PAGE, i);
	DO(dune_vm_unmap(other, dune_gva(AT), PT_HUGE));
	DO(dune_space_reset(other, 0));
}

static int create(size_t arena)
{
	static char *range;
	struct dune_vm_config cfg = { .size = arena, .machine = DUNE_MACHINE_PROCESS, .kick_signal = 10 };
	int err;

	if (!range)
		range = fake_reserve(ARENA);
	cfg.base = range;
	fake_process.vcpus_last = fake_config.keeps_vcpus;
	err = dune_vm_create(&vm, &cfg);
	if (err)
		vm = NULL;
	return err;
}

/* In every order that dune.h allows. */
static void take_apart(unsigned order)
{
	uint64_t used;

	let_go();
	if (order == 0) { /* nothing but the VM */
		dune_vm_destroy(vm);
	} else {
		if (order & 1)
			dune_vm_stop(vm);
		dune_vcpu_destroy(order & 2 ? c : NULL);
		dune_vm_free(order & 4 ? source : cloned);
		dune_vm_free(order & 4 ? cloned : source);
		dune_vm_free(other);
		dune_vcpu_destroy(order & 2 ? NULL : c);
		used = fake_pages_used(vm);
		CHECK_MSG(is_broken() || !vm->arena.tables, "%" PRIu64 " tables, %" PRIu64 " pages are left", vm->arena.tables, used);
		dune_vm_destroy(vm);
	}
	vm = NULL;
	source = cloned = other = NULL;
	c = NULL;
	CHECK(!fake_counts.vms && !fake_counts.spaces && !fake_counts.vcpus);
}

static void set_up(void)
{
	dune_gpa_t large, image, page, rw;

	set_up_memory(&large, &image, &page, &rw);
	if (!is_broken())
		set_up_source(large, image, page, rw);
	if (!is_broken())
		use_clone();
}

int main(void)
{
	unsigned calls = 1, before = 0;

	for (unsigned i = 0; i < 4; i++) {
		fake_config = (struct fake_config){ .in_place = i & 1, .kinds = i & 2, .keeps_vcpus = i % 3 == 0 };
		for (unsigned k = 1;; k++) {
			struct state none = state();
			int err;

			fake_fail_with = k & 1 ? -ENOMEM : -EAGAIN;
			fake_fail_at(k);
			err = create(ARENA);
			if (err) {
				check_failed("dune_vm_create()", err, &none);
				CHECK_OK(create(ARENA));
			}
			set_up();
			take_apart(k % 8);
			calls = k - 1;
			if (!fake_failed)
				break;
		}
		NOTE("%u ops failed, one after the other%s%s%s", calls, i & 1 ? ", changed in place" : "",
		     i & 2 ? ", kinds" : "", fake_config.keeps_vcpus ? ", kept vCPUs" : "");
		CHECK_GE(calls, 20);
		fake_fail_at(0);
		fake_fail_with = -ENOMEM;
		if (fake_config.kinds) /* where memory is taken by blocks it is the block that fails */
			continue;
		for (unsigned left = 0;; left++) {
			CHECK_OK(create(SMALL));
			take_all_but(left);
			before = failures;
			set_up();
			take_apart(left % 8);
			if (failures == before) {
				NOTE("memory ended at each of %u pages", left);
				CHECK_GE(left, 20);
				break;
			}
		}
	}
	return TEST_PASSED;
}
