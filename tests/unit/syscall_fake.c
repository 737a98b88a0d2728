// SPDX-License-Identifier: MIT
/*
 * syscall_fake.c - the dune_* calls over a plain arena, and helpers to make system calls without a
 * guest. World: host, unit tests.
 */
#include "tests/unit/syscall_fake.h"

#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sthread/inside/inside.h"
#include "sthread/seccomp/filter.h"
#include "tests/test.h"

#define SLOT_BASE 0x100000000UL /* guest-physical, beyond the arena */
#define REGIONS	  64

/* A sanitizer makes host calls of its own. */
#if defined(__SANITIZE_ADDRESS__) || defined(TEST_FUZZ)
#define SANITIZED true
#else
#define SANITIZED false
#endif

struct fake_leaf {
	uint64_t at, page;
	unsigned prot;
};

struct dune_vm {
	unsigned char *arena;
	unsigned refs[FAKE_PAGES];
	unsigned room;
	uint64_t zero;
};

struct dune_space {
	struct fake_leaf leaf[FAKE_PAGES];
	unsigned n;
	struct {
		uint64_t at, end;
		unsigned prot;
	} region[REGIONS];
	unsigned regions;
};

static struct dune_vm vm;
static struct dune_space space;
static unsigned lookups, edits;
static bool no_regions, direct = SANITIZED;
static uint64_t cow_page[2];

struct sys_ctx fake_ctx;
atomic_bool fake_stop;

/* ---- dune.h ---- */

static int page_filled(struct dune_vm *v, int fill, dune_gpa_t *out)
{
	if (!v->room)
		return -ENOMEM;
	for (unsigned i = 0; i < FAKE_PAGES; i++) {
		if (v->refs[i])
			continue;
		v->refs[i] = 1;
		v->room--;
		memset(v->arena + i * PAGE, fill, PAGE);
		*out = dune_gpa(i * PAGE);
		return 0;
	}
	return -ENOMEM;
}

int dune_page_alloc(struct dune_vm *v, dune_gpa_t *out)
{
	return page_filled(v, 0, out);
}

void dune_page_get(struct dune_vm *v, dune_gpa_t page)
{
	CHECK(page.v / PAGE < FAKE_PAGES && v->refs[page.v / PAGE]);
	v->refs[page.v / PAGE]++;
}

void dune_page_put(struct dune_vm *v, dune_gpa_t page)
{
	CHECK(page.v / PAGE < FAKE_PAGES && v->refs[page.v / PAGE]);
	if (!--v->refs[page.v / PAGE])
		v->room++;
}

void *dune_page_host(const struct dune_vm *v, dune_gpa_t page)
{
	return page.v < FAKE_PAGES * PAGE ? v->arena + page.v : NULL;
}

/* The last window that was mapped. */
static struct {
	unsigned char *host;
	uint64_t page;
	bool readonly;
} window;

void *dune_slot_host(struct dune_vm *v, dune_gpa_t page, bool write)
{
	(void)v;
	if (page.v != window.page || (write && window.readonly))
		return NULL;
	return window.host;
}

dune_gpa_t dune_zero_page(const struct dune_vm *v)
{
	return dune_gpa(v->zero);
}

static struct fake_leaf *find(struct dune_space *s, uint64_t at)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->leaf[i].at == (at & ~(PAGE - 1)))
			return &s->leaf[i];
	return NULL;
}

int dune_vm_lookup(struct dune_space *s, dune_gva_t at, struct dune_leaf *out)
{
	struct fake_leaf *l = find(s, at.v);

	lookups++;
	if (!l || !l->prot)
		return -ENOENT;
	*out = (struct dune_leaf){ .page = dune_gpa(l->page), .prot = l->prot, .size = PAGE };
	return 0;
}

int dune_vm_page_walk(struct dune_space *s, dune_gva_t from, dune_gva_t to,
		      int (*fn)(void *, dune_gva_t, const struct dune_leaf *), void *ctx)
{
	for (uint64_t at = from.v; at < to.v; at += PAGE) {
		struct dune_leaf leaf;
		int r;

		if (dune_vm_lookup(s, dune_gva(at), &leaf))
			continue;
		r = fn(ctx, dune_gva(at), &leaf);
		if (r)
			return r;
	}
	return 0;
}

static void add_leaf(struct dune_space *s, uint64_t at, uint64_t page, unsigned prot)
{
	CHECK(s->n < FAKE_PAGES);
	s->leaf[s->n++] = (struct fake_leaf){ at, page, prot };
}

int dune_vm_make_private(struct dune_space *s, dune_gva_t at)
{
	struct fake_leaf *l = find(s, at.v);
	dune_gva_t start;
	dune_gpa_t page;
	unsigned prot;
	size_t len;

	if (l && (l->prot & DUNE_WRITE))
		return 0;
	if (l && (l->prot & DUNE_COW)) {
		if (dune_page_alloc(&vm, &page))
			return -ENOMEM;
		memcpy(vm.arena + page.v, vm.arena + l->page, PAGE);
		l->page = page.v;
		l->prot = DUNE_READ | DUNE_WRITE;
		edits++;
		return 0;
	}
	if (l || dune_region_next(s, at, &start, &len, &prot) || start.v > at.v ||
	    !(prot & DUNE_WRITE))
		return -EFAULT;
	if (dune_page_alloc(&vm, &page))
		return -ENOMEM;
	add_leaf(s, at.v & ~(PAGE - 1), page.v, prot);
	edits++;
	return 0;
}

static void cut_regions(struct dune_space *s, uint64_t at, uint64_t end)
{
	for (unsigned i = 0; i < s->regions; i++) {
		if (s->region[i].end <= at || s->region[i].at >= end)
			continue;
		if (s->region[i].at < at && s->region[i].end > end) {
			CHECK(s->regions < REGIONS);
			s->region[s->regions] = s->region[i];
			s->region[s->regions++].at = end;
			s->region[i].end = at;
		} else if (s->region[i].at < at) {
			s->region[i].end = at;
		} else if (s->region[i].end > end) {
			s->region[i].at = end;
		} else {
			s->region[i--] = s->region[--s->regions];
		}
	}
}

int dune_region_add(struct dune_space *s, dune_gva_t at, size_t len, unsigned prot)
{
	CHECK(len && !((at.v | len) & (PAGE - 1)));
	if (no_regions)
		return -ENOMEM;
	cut_regions(s, at.v, at.v + len);
	if (s->regions == REGIONS)
		return -ENOMEM;
	s->region[s->regions].at = at.v;
	s->region[s->regions].end = at.v + len;
	s->region[s->regions++].prot = prot;
	for (unsigned i = 0; i < s->n; i++)
		if (s->leaf[i].at >= at.v && s->leaf[i].at < at.v + len)
			s->leaf[i].prot = prot;
	return 0;
}

int dune_vm_unmap(struct dune_space *s, dune_gva_t at, size_t len)
{
	CHECK(len && !((at.v | len) & (PAGE - 1)));
	for (unsigned i = 0; i < s->n; i++) {
		if (s->leaf[i].at < at.v || s->leaf[i].at >= at.v + len)
			continue;
		dune_page_put(&vm, dune_gpa(s->leaf[i].page));
		s->leaf[i--] = s->leaf[--s->n];
	}
	return 0;
}

int dune_region_remove(struct dune_space *s, dune_gva_t at, size_t len)
{
	CHECK(len && !((at.v | len) & (PAGE - 1)));
	cut_regions(s, at.v, at.v + len);
	return dune_vm_unmap(s, at, len);
}

int dune_region_next(const struct dune_space *s, dune_gva_t at, dune_gva_t *start, size_t *len,
		     unsigned *prot)
{
	int best = -1;

	for (unsigned i = 0; i < s->regions; i++)
		if (s->region[i].end > at.v && (best < 0 || s->region[i].at < s->region[best].at))
			best = (int)i;
	if (best < 0)
		return -ENOENT;
	*start = dune_gva(s->region[best].at);
	*len = s->region[best].end - s->region[best].at;
	*prot = s->region[best].prot;
	return 0;
}

volatile bool sthread_inside_flag;

/* ---- the world ---- */

void fake_map(uint64_t at, unsigned prot, int fill)
{
	dune_gpa_t page;

	CHECK_OK(page_filled(&vm, fill, &page));
	add_leaf(&space, at, page.v, prot);
}

void fake_map_slot(const void *host, unsigned prot, bool readonly)
{
	uint64_t at = (uintptr_t)host & ~(PAGE - 1);

	window.host = (unsigned char *)at;
	window.page = SLOT_BASE + (at & 0xfffff000);
	window.readonly = readonly;
	if (find(&space, at))
		find(&space, at)->prot = prot;
	else
		add_leaf(&space, at, window.page, prot);
}

void fake_reset(void)
{
	dune_gpa_t page;

	if (!vm.arena) {
		vm.arena = mmap(NULL, FAKE_PAGES * PAGE, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(vm.arena != MAP_FAILED);
	}
	memset(vm.refs, 0, sizeof(vm.refs));
	vm.room = FAKE_PAGES;
	CHECK_OK(dune_page_alloc(&vm, &page));
	vm.zero = page.v;
	space.n = 0;
	space.regions = 0;
	for (unsigned i = 0; i < FAKE_DATA_PAGES; i++)
		fake_map(FAKE_DATA + i * PAGE, DUNE_READ | DUNE_WRITE, 0);
	for (unsigned i = 0; i < 2; i++) {
		fake_map(FAKE_COW + i * PAGE, DUNE_READ | DUNE_COW, 0xcc);
		cow_page[i] = find(&space, FAKE_COW + i * PAGE)->page;
	}
	fake_map(FAKE_RO, DUNE_READ, 0x11);
	CHECK_OK(dune_region_add(&space, dune_gva(FAKE_DEMAND), 16 * PAGE, DUNE_READ | DUNE_WRITE));
	CHECK_OK(dune_region_add(&space, dune_gva(FAKE_DEMAND_RO), 16 * PAGE, DUNE_READ));
	lookups = edits = 0;
}

unsigned char *fake_host(uint64_t at)
{
	struct fake_leaf *l = find(&space, at);

	CHECK_MSG(l, "nothing is mapped at 0x%lx", at);
	return vm.arena + l->page + (at & (PAGE - 1));
}

const unsigned char *fake_template(uint64_t at)
{
	return vm.arena + cow_page[(at - FAKE_COW) / PAGE] + (at & (PAGE - 1));
}

void fake_no_regions(bool full)
{
	no_regions = full;
}

void fake_room(unsigned pages)
{
	vm.room = pages;
}

unsigned fake_extra_refs(void)
{
	unsigned extra = 0;

	for (unsigned i = 0; i < FAKE_PAGES; i++)
		extra += vm.refs[i] > 1 ? vm.refs[i] - 1 : 0;
	return extra;
}

unsigned fake_lookups(void)
{
	unsigned n = lookups;

	lookups = 0;
	return n;
}

unsigned fake_edits(void)
{
	unsigned n = edits;

	edits = 0;
	return n;
}

void fake_direct(bool is)
{
	direct = is || SANITIZED;
}

void fake_inside(bool is)
{
	sthread_inside_flag = is;
}

/* ---- a run ---- */

void fake_end(void)
{
	sys_done(&fake_ctx);
	policy_put(fake_ctx.policy);
	fake_ctx.policy = NULL;
}

void fake_begin(const struct sthread_policy *p)
{
	if (fake_ctx.policy)
		fake_end();
	fake_ctx.mem.vm = &vm;
	fake_ctx.mem.space = &space;
	fake_ctx.policy = policy_copy(p);
	fake_ctx.area_start = FAKE_AREA;
	fake_ctx.area_end = FAKE_AREA_END;
	fake_ctx.brk = 0x7000000;
	fake_ctx.stack_size = 1 << 20;
	fake_ctx.pid = fake_ctx.tid = FAKE_PID;
	fake_ctx.image_tid = 77;
	fake_ctx.stop = &fake_stop;
	atomic_store(&fake_stop, false);
	CHECK_OK(sys_begin(&fake_ctx));
}

/*
 * As on a worker: on a thread behind the filter.  A host call that the rows of sthread/seccomp/rules.c do not have
 * fails the test, by its number.
 */
struct behind {
	struct dune_frame *frame;
	enum sys_outcome outcome;
};

static void refused(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	FAIL("host system call %d is in no row of sthread/seccomp/rules.c", info->si_syscall);
}

static void *behind_main(void *arg)
{
	struct sock_filter filter[FILTER_PROGRAM];
	struct sock_fprog prog = { .filter = filter };
	const struct filter_ids whose = { .process = getpid(), .thread = (pid_t)syscall(SYS_gettid) };
	struct behind *b = arg;

	prog.len = (unsigned short)filter_build(filter, &whose, SECCOMP_RET_TRAP);
	CHECK(prog.len);
	CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK_OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog));
	b->outcome = sys_dispatch(&fake_ctx, b->frame);
	return NULL;
}

static enum sys_outcome dispatch_behind(struct dune_frame *f)
{
	const struct sigaction sa = { .sa_sigaction = refused, .sa_flags = SA_SIGINFO };
	struct behind b = { .frame = f };
	bool own = fake_ctx.on_worker;
	sigset_t all, old, sys;
	pthread_t thread;

	CHECK_OK(sigaction(SIGSYS, &sa, NULL));
	sigfillset(&all);
	sigemptyset(&sys);
	sigaddset(&sys, SIGSYS);
	sigdelset(&all, SIGSYS);
	fake_ctx.on_worker = true;
	pthread_sigmask(SIG_SETMASK, &all, &old);
	CHECK_EQ(pthread_create(&thread, NULL, behind_main, &b), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	fake_ctx.on_worker = own;
	return b.outcome;
}

static enum sys_outcome dispatch(long nr, const uint64_t arg[6], uint64_t *rax)
{
	struct dune_frame f = { .rax = (uint64_t)nr,
				.rdi = arg[0],
				.rsi = arg[1],
				.rdx = arg[2],
				.r10 = arg[3],
				.r8 = arg[4],
				.r9 = arg[5] };
	enum sys_outcome o = direct ? sys_dispatch(&fake_ctx, &f) : dispatch_behind(&f);

	CHECK_EQ(fake_extra_refs(), 0);
	*rax = f.rax;
	return o;
}

long fake_call(long nr, const uint64_t arg[6])
{
	uint64_t rax;

	CHECK_EQ(dispatch(nr, arg, &rax), SYS_RESUME);
	return (long)rax;
}

enum sthread_end fake_call_ends(long nr, const uint64_t arg[6])
{
	uint64_t rax;

	CHECK_EQ(dispatch(nr, arg, &rax), SYS_END);
	return fake_ctx.end;
}

struct sthread_policy *fake_policy_all(void)
{
	struct sthread_policy *p;

	CHECK_OK(sthread_policy_create(&p));
	for (unsigned i = 0; i < sys_table_len; i++)
		CHECK_OK(sthread_policy_syscall(p, sys_table[i].nr, STHREAD_ALLOW));
	return p;
}

uint64_t fake_put(uint64_t at, const void *bytes, size_t len)
{
	CHECK_OK(uaccess_copy_out(&fake_ctx.mem, dune_gva(at), bytes, len));
	return at;
}

uint64_t fake_puts(uint64_t at, const char *text)
{
	return fake_put(at, text, strlen(text) + 1);
}
