/* SPDX-License-Identifier: MIT */
/* fake_machine.c - a machine in plain memory, behind vm/machine.h.  World: host, unit tests. */
#include "tests/unit/fake_machine.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "arch/layout.h"
#include "tests/test.h"
#include "vm/pt_level.h"

#define CACHED 256
#define WALKS  64

#define PF_P 1UL
#define PF_W 2UL
#define PF_U 4UL
#define PF_I 16UL

/* The upper half of a root is the machine's: what it puts there stays as it is, also in a clone. */
#define UPPER (PT_ENTRIES - 1)
#define MARK  0x5a5a000UL

struct fake_config fake_config;
struct fake_counts fake_counts;
int fake_fail_with = -ENOMEM;
const char *fake_failed;
bool fake_paused;
int fake_open_error[DUNE_MACHINE_PROCESS + 1];

/* A translation that a vCPU keeps: of a page (level 1), or to the table that translates 2 MiB (level 2). */
struct cached {
	uint64_t serial; /* of the space; 0: unused */
	uint64_t generation; /* of the space, when the vCPU entered that cached it */
	uint64_t at, to;
	bool write, exec;
};

struct fake_vm_ {
	struct dune_vm vm;
	struct fake_config cfg;
	pthread_mutex_t caches; /* over all that vCPUs cache; innermost */
	uint8_t *told;		/* of each block: 1 + the kind */
	void *base;
	bool forked;
	unsigned spaces, vcpus, blocks, windows; /* that there are */
};

struct edit {
	dune_gpa_t entry;
	uint64_t value;
};

struct fake_space {
	struct dune_space s;
	struct edit *staged;
	unsigned nstaged, cap;
	uint64_t generation; /* counts changes of entries that were present */
	uint64_t made;	     /* up to this one in force, but for vCPUs that were inside already */
	bool frozen;
};

struct fake_vcpu {
	struct dune_vcpu c;
	const struct fake_step *step;
	unsigned steps, next;
	uint64_t loaded;
	struct fake_space *inside;
	uint64_t generation; /* of that space, when it was entered */
	atomic_bool interrupted;
	struct cached pages[CACHED], walks[WALKS];
	unsigned page_hand, walk_hand;
};

static struct fake_vm_ *fake_of(const struct dune_vm *vm) { return (struct fake_vm_ *)vm; }
static struct fake_space *space_of(const struct dune_space *s) { return (struct fake_space *)s; }
static struct fake_vcpu *vcpu_of(const struct dune_vcpu *c) { return (struct fake_vcpu *)c; }

/* ---- what the contract promises ---- */

/* By this thread: glibc says so; there is no portable word for it. */
static bool held(const pthread_mutex_t *m)
{
	static __thread int tid;

	if (!tid)
		tid = (int)syscall(SYS_gettid);
	return m->__data.__owner == tid;
}

#define HELD(mutex)	CHECK_MSG(held(mutex), "%s: %s is not held", __func__, #mutex)
#define NOT_HELD(mutex) CHECK_MSG(!held(mutex), "%s: %s is held", __func__, #mutex)

static unsigned calls, failing;

unsigned fake_fail_at(unsigned k)
{
	unsigned n = calls;

	calls = 0;
	failing = k;
	fake_failed = NULL;
	return n;
}

static bool fails(const char *op)
{
	if (fake_paused || ++calls != failing)
		return false;
	fake_failed = op;
	return true;
}

#define MAY_FAIL()                             \
	do {                                   \
		if (fails(__func__))           \
			return fake_fail_with; \
	} while (0)

/* ---- what vCPUs cache ---- */

/* Is it in force: might its vCPU use it, now or when it is entered? */
static bool in_force(struct dune_vm *vm, const struct fake_vcpu *c, const struct cached *e)
{
	if (!e->serial)
		return false;
	if (c->inside && c->inside->s.serial == e->serial)
		return true;
	for (struct dune_space *s = vm->spaces; s; s = s->next)
		if (s->serial == e->serial)
			return e->generation >= space_of(s)->made;
	return false;
}

static bool is_free(struct dune_vm *vm, uint64_t page)
{
	return page < vm->arena.size && !vm->arena.pages[page / DUNE_PAGE_SIZE].refs;
}

void fake_check(struct dune_vm *vm)
{
	if (fake_of(vm)->forked)
		return;
	pthread_mutex_lock(&fake_of(vm)->caches);
	for (struct dune_vcpu *v = vm->vcpus; v; v = v->next) {
		const struct fake_vcpu *c = vcpu_of(v);

		for (unsigned i = 0; i < CACHED; i++)
			if (in_force(vm, c, &c->pages[i]))
				CHECK_MSG(!is_free(vm, c->pages[i].to), "%#" PRIx64 " reaches free page %#" PRIx64,
					  c->pages[i].at, c->pages[i].to);
		for (unsigned i = 0; i < WALKS; i++)
			if (in_force(vm, c, &c->walks[i]))
				CHECK_MSG(!is_free(vm, c->walks[i].to), "%#" PRIx64 " reaches free table %#" PRIx64,
					  c->walks[i].at, c->walks[i].to);
	}
	pthread_mutex_unlock(&fake_of(vm)->caches);
}

bool fake_reaches(struct dune_vm *vm, dune_gpa_t page)
{
	bool found = false;

	pthread_mutex_lock(&fake_of(vm)->caches);
	for (struct dune_vcpu *v = vm->vcpus; v; v = v->next)
		for (unsigned i = 0; i < CACHED; i++)
			found |= vcpu_of(v)->pages[i].to == page.v && in_force(vm, vcpu_of(v), &vcpu_of(v)->pages[i]);
	pthread_mutex_unlock(&fake_of(vm)->caches);
	return found;
}

static void drop(struct cached *list, unsigned n, uint64_t serial, uint64_t newer_than)
{
	for (unsigned i = 0; i < n; i++)
		if (list[i].serial == serial && list[i].generation < newer_than)
			list[i].serial = 0;
}

/* The vCPU has seen all changes. */
static void flush(struct fake_vcpu *c, const struct fake_space *s)
{
	drop(c->pages, CACHED, s->s.serial, s->generation);
	drop(c->walks, WALKS, s->s.serial, s->generation);
}

static struct cached *find(struct cached *list, unsigned n, uint64_t serial, uint64_t at)
{
	for (unsigned i = 0; i < n; i++)
		if (list[i].serial == serial && list[i].at == at)
			return &list[i];
	return NULL;
}

/* ---- an access of ring 3 ---- */

/* What a processor does to a table that it walks. */
static uint64_t look(struct dune_space *s, uint64_t table, uint64_t at, int level)
{
	uint64_t *entry = space_entry(s, pt_slot(dune_gpa(table), at, level));

	CHECK_MSG(!is_free(s->vm, table), "the walk for %#" PRIx64 " reads free table %#" PRIx64, at, table);
	if ((*entry & PT_P) && !fake_of(s->vm)->cfg.in_place)
		*entry |= PT_A;
	return *entry;
}

/* The leaf for `at`, cached from then on.  NULL: none is present. */
static struct cached *translate(struct fake_vcpu *c, struct dune_space *s, uint64_t at)
{
	struct cached *e = find(c->pages, CACHED, s->serial, at), *walk;
	uint64_t table = s->pt.root.v, entry;
	int level = PT_LEVELS;

	if (e)
		return e;
	walk = find(c->walks, WALKS, s->serial, at & ~(PT_HUGE - 1));
	if (walk) {
		level = 1;
		table = walk->to;
	}
	for (;; level--) {
		entry = look(s, table, at, level);
		if (!(entry & PT_P))
			return NULL;
		if (pt_is_leaf(entry, level))
			break;
		table = entry & PT_ADDR;
		if (level == 2)
			c->walks[c->walk_hand++ % WALKS] =
				(struct cached){ s->serial, c->generation, at & ~(PT_HUGE - 1), table, true, true };
	}
	e = &c->pages[c->page_hand++ % CACHED];
	*e = (struct cached){ s->serial, c->generation, at,
			      (entry & PT_ADDR & ~(pt_span(level) - 1)) + (at & (pt_span(level) - 1)), entry & PT_W,
			      !(entry & PT_NX) };
	return e;
}

static uint64_t *memory(struct dune_vm *vm, const struct cached *e)
{
	dune_gpa_t page = dune_gpa(e->to);
	void *window;

	if (page.v < vm->arena.size) {
		enum page_kind kind = arena_kind(&vm->arena, page);

		CHECK_MSG(!is_free(vm, page.v), "%#" PRIx64 " uses free page %#" PRIx64, e->at, page.v);
		CHECK_MSG(!vm->arena.kinds || kind != PAGE_HOST, "%#" PRIx64 " leads to the host's own page", e->at);
		CHECK_MSG(!vm->arena.kinds || kind == PAGE_PRIVATE || !e->write, "%#" PRIx64 " writes the image", e->at);
		return arena_host(&vm->arena, page);
	}
	window = dune_slot_host(vm, page, e->write);
	CHECK_MSG(window, "%#" PRIx64 " leads to %#" PRIx64 ", no window", e->at, page.v);
	return window;
}

/* 0, or 1 + the error code of a page fault. */
static uint64_t access_memory(struct fake_vcpu *c, struct dune_space *s, const struct fake_step *step)
{
	bool write = step->op == FAKE_WRITE, fetch = step->op == FAKE_FETCH;
	uint64_t error = PF_U | (write ? PF_W : 0) | (fetch ? PF_I : 0), *words;
	struct cached *e = translate(c, s, step->at & ~(DUNE_PAGE_SIZE - 1));

	if (!e)
		return 1 + error;
	if ((write && !e->write) || (fetch && !e->exec)) {
		e->serial = 0; /* a fault makes the processor forget what it was about */
		return 1 + (error | PF_P);
	}
	words = memory(s->vm, e) + step->at % DUNE_PAGE_SIZE / 8;
	if (write)
		*words = step->value;
	else
		c->loaded = *words;
	return 0;
}

/* ---- runs ---- */

static bool synced(const struct fake_space *s)
{
	if (s->nstaged || s->made != s->generation)
		return false;
	for (struct dune_vcpu *v = s->s.vm->vcpus; v; v = v->next)
		if (vcpu_of(v)->inside == s && vcpu_of(v)->generation != s->generation)
			return false;
	return true;
}

static void make_staged(struct fake_space *s)
{
	for (unsigned i = 0; i < s->nstaged; i++)
		*space_entry(&s->s, s->staged[i].entry) = s->staged[i].value;
	s->nstaged = 0;
	s->made = s->generation;
}

static enum entered trap(struct dune_frame *f, uint64_t vector, uint64_t error)
{
	f->vector = vector;
	f->error = error;
	return ENTERED_TRAP;
}

static enum entered call(struct dune_frame *f, uint64_t nr, uint64_t first)
{
	f->rax = nr;
	f->rdi = first;
	f->rip += 2;
	return trap(f, VECTOR_SYSCALL, 0);
}

static enum entered ring3(struct fake_vcpu *c, struct dune_space *s, struct dune_frame *f)
{
	for (; c->next < c->steps; c->next++) {
		const struct fake_step *step = &c->step[c->next];
		uint64_t fault;

		if (atomic_exchange(&c->interrupted, false))
			return ENTERED_AGAIN;
		switch (step->op) {
		case FAKE_CALL:
			c->next++;
			return call(f, step->at, step->value);
		case FAKE_TRAP:
			c->next++;
			f->cr2 = step->at == VECTOR_PF ? step->value : f->cr2;
			return trap(f, step->at, step->value);
		case FAKE_HOST:
			step->fn(step->ctx);
			break;
		case FAKE_FAIL:
			c->next++;
			return (enum entered)step->value;
		default:
			pthread_mutex_lock(&fake_of(s->vm)->caches);
			fault = access_memory(c, s, step);
			pthread_mutex_unlock(&fake_of(s->vm)->caches);
			if (fault) {
				f->cr2 = step->at;
				return trap(f, VECTOR_PF, fault - 1);
			}
		}
	}
	if (atomic_exchange(&c->interrupted, false))
		return ENTERED_AGAIN;
	return call(f, FAKE_END, c->loaded);
}

static enum entered fake_enter(struct dune_vcpu *v, struct dune_space *s, struct dune_frame *f)
{
	struct fake_vcpu *c = vcpu_of(v);
	enum entered how;

	HELD(&s->lock);
	NOT_HELD(&s->vm->lock);
	fake_check(s->vm);
	CHECK(s->live && s->runners && v->space == s && !s->frozen);
	CHECK_EQ(f->cs, SEL_USER_CS);
	vcpu_publish(v);
	if (!vcpu_may_enter(v)) {
		vcpu_withdraw(v);
		return ENTERED_KICKED;
	}
	pthread_mutex_lock(&fake_of(s->vm)->caches);
	make_staged(space_of(s));
	flush(c, space_of(s));
	c->generation = space_of(s)->generation;
	c->inside = space_of(s);
	pthread_mutex_unlock(&fake_of(s->vm)->caches);
	if (synced(space_of(s)))
		space_unpark(s);
	pthread_mutex_unlock(&s->lock);
	how = ring3(c, s, f);
	vcpu_withdraw(v);
	pthread_mutex_lock(&s->lock);
	pthread_mutex_lock(&fake_of(s->vm)->caches);
	c->inside = NULL;
	pthread_mutex_unlock(&fake_of(s->vm)->caches);
	return how;
}

static void fake_leave(struct dune_vcpu *c, struct dune_space *s)
{
	HELD(&s->lock);
	CHECK(!vcpu_of(c)->inside);
	fake_check(s->vm);
}

static int fake_registers(struct dune_vcpu *c, struct dune_space *s, struct dune_frame *f)
{
	HELD(&s->lock);
	MAY_FAIL();
	(void)c;
	f->rbx = 0xb;
	return 0;
}

static void fake_interrupt(struct dune_vcpu *c)
{
	if (atomic_load(&c->thread))
		atomic_store(&vcpu_of(c)->interrupted, true);
}

/* ---- tables ---- */

static struct edit *staged(struct fake_space *s, dune_gpa_t entry)
{
	for (unsigned i = 0; i < s->nstaged; i++)
		if (s->staged[i].entry.v == entry.v)
			return &s->staged[i];
	return NULL;
}

static uint64_t fake_get(struct dune_space *s, dune_gpa_t entry)
{
	const struct edit *e = staged(space_of(s), entry);

	if (!s->frozen) /* whose tables nobody changes */
		HELD(&s->lock);
	return e ? e->value : *space_entry(s, entry);
}

static void fake_set(struct dune_space *space, dune_gpa_t entry, uint64_t old, uint64_t val, dune_gva_t at, int level)
{
	struct fake_space *s = space_of(space);
	struct edit *e = staged(s, entry);

	HELD(&space->lock);
	CHECK_MSG(!space->frozen, "a frozen space changes at %#" PRIx64, at.v);
	CHECK_EQ(at.v % pt_span(level), 0);
	CHECK_EQ((fake_get(space, entry) ^ old) & ~(PT_A | PT_D), 0);
	fake_check(space->vm);
	if (space->live && (old & PT_P))
		s->generation++;
	if (e) {
		e->value = val;
	} else if (!space->live || !(old & PT_P) || fake_of(space->vm)->cfg.in_place) {
		*space_entry(space, entry) = val;
	} else {
		if (s->nstaged == s->cap) {
			s->cap = s->cap ? 2 * s->cap : 16;
			s->staged = realloc(s->staged, s->cap * sizeof(*s->staged));
			CHECK(s->staged);
		}
		s->staged[s->nstaged++] = (struct edit){ entry, val };
	}
}

static bool fake_is_synced(const struct dune_space *s)
{
	HELD(&s->lock);
	return synced(space_of(s));
}

static int fake_sync(struct dune_space *s)
{
	int err = atomic_load(&s->vm->broken) ? -EIO : 0;

	HELD(&s->lock);
	fake_check(s->vm);
	if (fails(__func__)) {
		atomic_store(&s->vm->broken, true);
		err = -EIO;
	}
	pthread_mutex_lock(&fake_of(s->vm)->caches);
	make_staged(space_of(s));
	for (struct dune_vcpu *v = s->vm->vcpus; v; v = v->next) {
		flush(vcpu_of(v), space_of(s));
		if (vcpu_of(v)->inside == space_of(s))
			vcpu_of(v)->generation = space_of(s)->generation;
	}
	pthread_mutex_unlock(&fake_of(s->vm)->caches);
	space_unpark(s);
	return err;
}

static void fake_quiesce(struct dune_space *s)
{
	HELD(&s->lock);
	fake_check(s->vm);
}

static void fake_scrub(struct dune_vm *vm, uint32_t tables, bool root)
{
	NOT_HELD(&vm->lock);
	fake_check(vm);
	while (tables) {
		dune_gpa_t table = dune_gpa((uint64_t)tables * DUNE_PAGE_SIZE);

		tables = vm->arena.pages[tables].next;
		memset(arena_host(&vm->arena, table), 0, root ? DUNE_PAGE_SIZE / 2 : DUNE_PAGE_SIZE);
		arena_table_free(vm, root, table);
		fake_check(vm);
	}
}

unsigned fake_staged(struct dune_space *s)
{
	return space_of(s)->nstaged;
}

/* ---- spaces and vCPUs ---- */

static int fake_space_init(struct dune_space *s)
{
	uint64_t *root = arena_host(&s->vm->arena, s->pt.root);

	MAY_FAIL();
	CHECK(s->mon && s->mon->root == s->pt.root.v && s->pt.ops);
	for (unsigned i = 0; i < PT_ENTRIES / 2; i++)
		CHECK_EQ(root[i], 0);
	root[UPPER] = MARK;
	space_of(s)->staged = malloc(16); /* somebody has to free it */
	space_of(s)->cap = 1;
	CHECK(space_of(s)->staged);
	fake_of(s->vm)->spaces++;
	fake_counts.spaces++;
	return 0;
}

static void fake_space_fini(struct dune_space *s)
{
	struct fake_vm_ *vm = fake_of(s->vm);

	for (struct dune_vcpu *v = s->vm->vcpus; v; v = v->next)
		CHECK(vm->forked || vcpu_of(v)->inside != space_of(s));
	if (!vm->forked) {
		CHECK_EQ(((uint64_t *)arena_host(&s->vm->arena, s->pt.root))[UPPER], MARK);
		/* What it maps is still its own: here the machine lets go of it. */
		fake_check(s->vm);
	}
	for (struct dune_vcpu *v = s->vm->vcpus; v; v = v->next) {
		drop(vcpu_of(v)->pages, CACHED, s->serial, UINT64_MAX);
		drop(vcpu_of(v)->walks, WALKS, s->serial, UINT64_MAX);
	}
	free(space_of(s)->staged);
	vm->spaces--;
	fake_counts.spaces--;
}

static int fake_freeze(struct dune_space *source)
{
	NOT_HELD(&source->lock);
	NOT_HELD(&source->vm->making);
	MAY_FAIL();
	CHECK(synced(space_of(source)) && !space_of(source)->frozen && !source->runners);
	space_of(source)->frozen = true;
	return 0;
}

static int fake_vcpu_init(struct dune_vcpu *c)
{
	HELD(&c->vm->making);
	MAY_FAIL();
	c->vm->nvcpus++;
	fake_of(c->vm)->vcpus++;
	fake_counts.vcpus++;
	return 0;
}

static void fake_vcpu_fini(struct dune_vcpu *c)
{
	CHECK(!vcpu_of(c)->inside);
	fake_of(c->vm)->vcpus--;
	fake_counts.vcpus--;
}

/* ---- the VM ---- */

static int fake_open(struct dune_vm *vm, const struct dune_vm_config *cfg)
{
	struct fake_vm_ *f = fake_of(vm);
	int err;

	pthread_mutex_init(&f->caches, NULL);
	fake_counts.vms++;
	f->cfg = fake_config;
	f->base = cfg->base;
	f->told = calloc(cfg->size / PT_HUGE, 1);
	CHECK(f->told);
	MAY_FAIL();
	if (fake_open_error[vm->info.machine])
		return fake_open_error[vm->info.machine];
	CHECK(!mprotect(cfg->base, cfg->size, PROT_READ | PROT_WRITE) && !madvise(cfg->base, cfg->size, MADV_DONTFORK));
	MAY_FAIL();
	vm->info.placement = DUNE_PLACE_HOST;
	vm->info.max_vcpus = f->cfg.max_vcpus ? f->cfg.max_vcpus : 64;
	vm->info.phys_bits = 46;
	vm->one_runner = f->cfg.one_runner;
	err = arena_init(vm, f->cfg.kinds);
	if (err)
		return err;
	MAY_FAIL();
	return arena_alloc(vm, PAGE_IMAGE, 1, &vm->zero_page);
}

static void fake_close(struct dune_vm *vm)
{
	CHECK(!fake_of(vm)->spaces && !fake_of(vm)->vcpus && !vm->spaces && !vm->vcpus);
	free(fake_of(vm)->told);
	pthread_mutex_destroy(&fake_of(vm)->caches);
	fake_counts.blocks -= fake_of(vm)->blocks;
	fake_counts.windows -= fake_of(vm)->windows;
	fake_counts.vms--;
}

static void fake_forked(struct dune_vm *vm)
{
	fake_of(vm)->forked = true;
}

static int fake_block(struct dune_vm *vm, uint64_t gpa, enum page_kind kind)
{
	uint8_t *told = &fake_of(vm)->told[gpa / PT_HUGE];

	HELD(&vm->lock);
	MAY_FAIL();
	CHECK_MSG(!*told, "block %#" PRIx64 " was of kind %d already", gpa, *told - 1);
	*told = (uint8_t)(1 + kind);
	fake_of(vm)->blocks++;
	fake_counts.blocks++;
	return 0;
}

static int fake_share(struct dune_vm *vm, void *addr, size_t len)
{
	(void)vm, (void)addr, (void)len;
	MAY_FAIL();
	return 0;
}

static int fake_adopt(struct dune_vm *vm, void *addr, size_t len)
{
	(void)vm, (void)addr, (void)len;
	MAY_FAIL();
	return 0;
}

static void fake_fork(struct dune_vm *vm, enum fork_moment moment)
{
	(void)vm;
	fake_counts.forks[moment]++;
}

static int fake_clear(struct dune_vm *vm, void *addr, size_t len)
{
	(void)vm, (void)addr, (void)len;
	MAY_FAIL();
	return 0;
}

static int fake_prepare(struct dune_vm *vm)
{
	(void)vm;
	MAY_FAIL();
	return 0;
}

static int fake_window(struct dune_vm *vm, const struct slot *slot)
{
	HELD(&vm->lock);
	MAY_FAIL();
	for (size_t i = 0; i < vm->nslots; i++)
		CHECK(slot->gpa >= vm->slots[i].gpa + vm->slots[i].len);
	fake_of(vm)->windows++;
	fake_counts.windows++;
	return 0;
}

#define FAKE_OPS(name)                                \
	{                                             \
		.machine = name,                      \
		.vm_size = sizeof(struct fake_vm_),   \
		.space_size = sizeof(struct fake_space), \
		.vcpu_size = sizeof(struct fake_vcpu), \
		.open = fake_open,                    \
		.close = fake_close,                  \
		.forked = fake_forked,                \
		.block = fake_block,                  \
		.share = fake_share,                  \
		.adopt = fake_adopt,                  \
		.fork = fake_fork,                    \
		.clear = fake_clear,                  \
		.prepare = fake_prepare,              \
		.window = fake_window,                \
		.space_init = fake_space_init,        \
		.space_fini = fake_space_fini,        \
		.get = fake_get,                      \
		.set = fake_set,                      \
		.is_synced = fake_is_synced,          \
		.sync = fake_sync,                    \
		.quiesce = fake_quiesce,              \
		.scrub = fake_scrub,                  \
		.freeze = fake_freeze,                \
		.vcpu_init = fake_vcpu_init,          \
		.vcpu_fini = fake_vcpu_fini,          \
		.enter = fake_enter,                  \
		.leave = fake_leave,                  \
		.registers = fake_registers,          \
		.interrupt = fake_interrupt,          \
	}

struct machine_ops fake_kvm = FAKE_OPS(DUNE_MACHINE_KVM), fake_process = FAKE_OPS(DUNE_MACHINE_PROCESS);
const struct machine_ops *const machines[] = { &fake_kvm, &fake_process, NULL };

/* ---- for tests ---- */

void fake_order(struct dune_vcpu *v, const struct fake_step *steps, unsigned n)
{
	struct fake_vcpu *c = vcpu_of(v);

	c->step = steps;
	c->steps = n;
	c->next = 0;
}

enum dune_exit fake_run(struct dune_vcpu *c, struct dune_space *s, const struct fake_step *steps, unsigned n,
			struct dune_frame *f)
{
	struct dune_frame any = { .rip = 0x1000 };

	fake_order(c, steps, n);
	return dune_vcpu_run(c, s, f ? f : &any);
}

static enum dune_exit one(struct dune_vcpu *c, struct dune_space *s, struct fake_step step)
{
	struct dune_frame f = { .rip = 0x1000 };
	enum dune_exit e = fake_run(c, s, &step, 1, &f);

	CHECK(e != DUNE_EXIT_SYSCALL || f.rax == FAKE_END);
	return e;
}

enum dune_exit fake_read(struct dune_vcpu *c, struct dune_space *s, uint64_t at, uint64_t *value)
{
	enum dune_exit e = one(c, s, (struct fake_step){ .op = FAKE_READ, .at = at });

	*value = vcpu_of(c)->loaded;
	return e;
}

enum dune_exit fake_write(struct dune_vcpu *c, struct dune_space *s, uint64_t at, uint64_t value)
{
	return one(c, s, (struct fake_step){ .op = FAKE_WRITE, .at = at, .value = value });
}

enum dune_exit fake_fetch(struct dune_vcpu *c, struct dune_space *s, uint64_t at)
{
	return one(c, s, (struct fake_step){ .op = FAKE_FETCH, .at = at });
}

void *fake_reserve(size_t size)
{
	char *p = mmap(NULL, size + PT_HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(p != MAP_FAILED);
	return p + (-(uintptr_t)p & (PT_HUGE - 1));
}

struct dune_vm *fake_vm(size_t arena)
{
	struct dune_vm_config cfg = { .base = fake_reserve(arena), .size = arena, .machine = DUNE_MACHINE_KVM, .kick_signal = SIGUSR1 };
	struct dune_vm *vm;

	fake_kvm.vcpus_last = fake_process.vcpus_last = fake_config.keeps_vcpus;
	fake_kvm.reserved = fake_process.reserved = fake_config.reserved;
	CHECK_OK(dune_vm_create(&vm, &cfg));
	return vm;
}

uint64_t fake_pages_used(struct dune_vm *vm)
{
	struct dune_vm_stats st;

	dune_vm_get_stats(vm, &st);
	return st.pages_used;
}
