/* SPDX-License-Identifier: MIT */
/* The calls of <dune.h> that the checkpoint layer makes, on plain memory. World: host. */
#include <sys/mman.h>

#include "tests/test.h"
#include "tests/unit/ckpt_fake.h"

#define PAGE 4096ul
#define HUGE (2ul << 20)

static void *plain(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(p != MAP_FAILED);
	CHECK_EQ(madvise(p, len, MADV_DONTFORK), 0);
	return p;
}

struct dune_vm *fake_vm(uint64_t arena_size)
{
	struct dune_vm *vm = plain(sizeof(*vm));

	vm->size = arena_size;
	vm->arena = plain(arena_size);
	vm->refs = plain(arena_size / PAGE * sizeof(*vm->refs));
	vm->free_list = plain(arena_size / PAGE * sizeof(*vm->free_list));
	vm->space.cap = 4ul << 20;
	vm->space.extents = plain(vm->space.cap * sizeof(struct fake_extent));
	vm->top = 2 * PAGE; /* page 0 is nobody's, page 1 is the zero page */
	vm->slot_top = 1ul << 40;
	vm->fail_after = -1;
	return vm;
}

void fake_vm_free(struct dune_vm *vm)
{
	for (void **p = vm->noises, **next; p; p = next) {
		next = *p;
		free(p);
	}
	munmap(vm->space.extents, vm->space.cap * sizeof(struct fake_extent));
	munmap(vm->free_list, vm->size / PAGE * sizeof(*vm->free_list));
	munmap(vm->refs, vm->size / PAGE * sizeof(*vm->refs));
	munmap(vm->arena, vm->size);
	munmap(vm, sizeof(*vm));
}

uint64_t fake_used(const struct dune_vm *vm)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < vm->size / PAGE; i++)
		n += vm->refs[i] != 0;
	return n;
}

static bool refuse(struct dune_vm *vm)
{
	void **p;

	vm->allocs++;
	if (vm->noise) {
		vm->noise--;
		/* Heap that was not there, in the middle of the preparations. */
		p = malloc(5000);
		CHECK(p);
		memset(p, 0x77, 5000);
		*p = vm->noises;
		vm->noises = p;
	}
	if (vm->fail_after == 0)
		return true;
	if (vm->fail_after > 0)
		vm->fail_after--;
	return false;
}

int dune_page_alloc(struct dune_vm *vm, dune_gpa_t *out)
{
	uint64_t n;

	if (refuse(vm) || (!vm->n_free && vm->top + PAGE > vm->size))
		return -ENOMEM;
	if (vm->n_free) {
		n = vm->free_list[--vm->n_free];
		memset(vm->arena + n * PAGE, 0, PAGE);
	} else {
		n = vm->top / PAGE;
		vm->top += PAGE;
	}
	vm->refs[n] = 1;
	*out = dune_gpa(n * PAGE);
	return 0;
}

int dune_pages_alloc(struct dune_vm *vm, size_t n, dune_gpa_t *out)
{
	uint64_t at = n >= 512 ? (vm->top + HUGE - 1) & ~(HUGE - 1) : vm->top;

	if (refuse(vm) || n > vm->size / PAGE || at + n * PAGE > vm->size)
		return -ENOMEM;
	for (uint64_t p = vm->top; p < at; p += PAGE)
		vm->free_list[vm->n_free++] = (uint32_t)(p / PAGE);
	vm->top = at + n * PAGE;
	for (uint64_t i = 0; i < n; i++)
		vm->refs[at / PAGE + i] = 1;
	*out = dune_gpa(at);
	return 0;
}

int dune_image_alloc(struct dune_vm *vm, size_t n, dune_gpa_t *out)
{
	return n == 1 ? dune_page_alloc(vm, out) : dune_pages_alloc(vm, n, out);
}

/* The VM's own, for ever: it does not count as used. */
int dune_zero_block(struct dune_vm *vm, dune_gpa_t *out)
{
	int err = vm->zero_block.v ? 0 : dune_pages_alloc(vm, 512, &vm->zero_block);

	if (err)
		return err;
	for (uint64_t i = 0; i < 512; i++)
		vm->refs[vm->zero_block.v / PAGE + i] = 0;
	*out = vm->zero_block;
	return 0;
}

void dune_page_get(struct dune_vm *vm, dune_gpa_t page)
{
	CHECK(vm->refs[page.v / PAGE]);
	vm->refs[page.v / PAGE]++;
}

void dune_page_put(struct dune_vm *vm, dune_gpa_t page)
{
	CHECK(page.v < vm->size && page.v % PAGE == 0);
	CHECK(vm->refs[page.v / PAGE]); /* nobody gives back what is not theirs */
	if (--vm->refs[page.v / PAGE] == 0)
		vm->free_list[vm->n_free++] = (uint32_t)(page.v / PAGE);
}

void *dune_page_host(const struct dune_vm *vm, dune_gpa_t page)
{
	return page.v < vm->size ? vm->arena + page.v : NULL;
}

dune_gpa_t dune_zero_page(const struct dune_vm *vm)
{
	(void)vm;
	return dune_gpa(PAGE);
}

int dune_slot_add(struct dune_vm *vm, const void *addr, size_t len, dune_gpa_t *out)
{
	uint64_t hva = (uint64_t)addr;

	CHECK(len && (hva | len) % PAGE == 0);
	if (refuse(vm))
		return -ENOMEM;
	for (size_t i = 0; i < vm->n_slots; i++) {
		if (vm->slots[i].hva == hva && vm->slots[i].len == len) {
			*out = dune_gpa(vm->slots[i].gpa);
			return 0;
		}
	}
	CHECK_LT(vm->n_slots, 512);
	vm->slots[vm->n_slots].hva = hva;
	vm->slots[vm->n_slots].len = len;
	vm->slots[vm->n_slots++].gpa = vm->slot_top;
	*out = dune_gpa(vm->slot_top);
	vm->slot_top += len;
	return 0;
}

/* The first extent that ends above `at`. */
static size_t find(const struct dune_space *s, uint64_t at)
{
	size_t lo = 0, hi = s->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->extents[mid].at + s->extents[mid].len <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void insert(struct dune_space *s, size_t i, struct fake_extent e)
{
	CHECK_LT(s->count, s->cap);
	memmove(s->extents + i + 1, s->extents + i, (s->count - i) * sizeof(e));
	s->extents[i] = e;
	s->count++;
}

/* Spaces are found again from their address alone. */
static struct dune_vm *vm_of(struct dune_space *s)
{
	return (struct dune_vm *)((char *)s - offsetof(struct dune_vm, space));
}

int dune_space_create(struct dune_vm *vm, struct dune_space **out)
{
	if (refuse(vm))
		return -ENOMEM;
	CHECK(!vm->space_used);
	vm->space_used = true;
	vm->space.count = 0;
	*out = &vm->space;
	return 0;
}

void dune_vm_free(struct dune_space *s)
{
	struct dune_vm *vm = vm_of(s);

	CHECK(vm->space_used);
	for (size_t i = 0; i < s->count; i++)
		if (s->extents[i].prot & DUNE_OWNED)
			for (uint64_t o = 0; o < s->extents[i].len; o += PAGE)
				dune_page_put(vm, dune_gpa(s->extents[i].gpa + o));
	vm->space_used = false;
}

int dune_vm_map(struct dune_space *s, dune_gva_t at, dune_gpa_t page, size_t len, unsigned prot)
{
	struct dune_vm *vm = vm_of(s);
	size_t i = find(s, at.v);

	CHECK(len && (at.v | page.v | len) % PAGE == 0 && at.v + len <= DUNE_USER_END);
	CHECK(prot & DUNE_READ);
	CHECK(!(prot & DUNE_WRITE) && !((prot & DUNE_COW) && (prot & DUNE_EXEC)));
	/* What may be executed is a window on live text, never a copy. */
	CHECK(!(prot & DUNE_EXEC) || page.v >= vm->size);
	/* The zero page belongs to the VM. */
	CHECK(page.v != PAGE || (len == PAGE && !(prot & DUNE_OWNED)));
	if (page.v < vm->size)
		for (uint64_t o = 0; o < len; o += PAGE)
			CHECK(page.v == PAGE || (vm->zero_block.v && page.v - vm->zero_block.v < HUGE) ||
			      vm->refs[(page.v + o) / PAGE] == 1);
	if (refuse(vm))
		return -ENOMEM;
	if (i < s->count && s->extents[i].at < at.v + len)
		return -EEXIST;
	insert(s, i, (struct fake_extent){ at.v, len, page.v, prot });
	return 0;
}

int dune_vm_unmap(struct dune_space *s, dune_gva_t at, size_t len)
{
	struct dune_vm *vm = vm_of(s);
	uint64_t end = at.v + len;

	for (size_t i = find(s, at.v); i < s->count && s->extents[i].at < end;) {
		struct fake_extent e = s->extents[i], rest = e;
		uint64_t from = e.at > at.v ? e.at : at.v;
		uint64_t to = e.at + e.len < end ? e.at + e.len : end;

		if (e.prot & DUNE_OWNED)
			for (uint64_t p = from; p < to; p += PAGE)
				dune_page_put(vm, dune_gpa(e.gpa + (p - e.at)));
		memmove(s->extents + i, s->extents + i + 1, (--s->count - i) * sizeof(e));
		rest.len = from - e.at;
		if (rest.len)
			insert(s, i++, rest);
		rest = (struct fake_extent){ to, e.at + e.len - to, e.gpa + (to - e.at), e.prot };
		if (rest.len)
			insert(s, i++, rest);
	}
	return 0;
}

int dune_vm_lookup(struct dune_space *s, dune_gva_t at, struct dune_leaf *out)
{
	size_t i = find(s, at.v);

	if (i == s->count || s->extents[i].at > at.v)
		return -ENOENT;
	out->page = dune_gpa(s->extents[i].gpa + (at.v - s->extents[i].at) / PAGE * PAGE);
	out->prot = s->extents[i].prot;
	out->size = PAGE;
	return 0;
}

const uint8_t *fake_page(const struct dune_vm *vm, uint64_t at, unsigned *prot)
{
	struct dune_leaf leaf;

	if (dune_vm_lookup((struct dune_space *)&vm->space, dune_gva(at), &leaf))
		return NULL;
	*prot = leaf.prot;
	if (leaf.page.v < vm->size)
		return (uint8_t *)vm->arena + leaf.page.v;
	for (size_t i = 0; i < vm->n_slots; i++)
		if (leaf.page.v >= vm->slots[i].gpa &&
		    leaf.page.v < vm->slots[i].gpa + vm->slots[i].len)
			return (uint8_t *)vm->slots[i].hva + (leaf.page.v - vm->slots[i].gpa);
	FAIL("0x%llx is in no slot", (unsigned long long)leaf.page.v);
}
