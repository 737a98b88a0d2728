/* SPDX-License-Identifier: MIT */
/*
 * gate.c - the library's own calls from inside: gate messages, what gates give, tags, policies, sthreads and
 * gates of a compartment's own; any number, any arguments, any memory.  World: host, fuzzing, over the unit tests'
 * fake.
 *
 * A gate's run is one here, too: what it finds is the caller's message as it was, whatever the caller's memory is
 * by then.  It gives of what it has, which the target keeps account of by itself (gate_account.h).  What is lent comes
 * back but for what was spent, no policy or gate made inside gives what its creator has not, and no right, reference, lane
 * or gate is left over.
 */
#include <asm/unistd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "sthread/gate/gate.h"
#include "sthread/inside/gate.h"
#include "sthread/nest/nest.h"
#include "sthread/process.h"
#include "sthread/run/budget.h"
#include "sthread/run/call.h"
#include "sthread/run/helper.h"
#include "sthread/run/worker.h"
#include "sthread/tag/tag.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/gate_account.h"
#include "tests/unit/syscall_fake.h"

#define SEEN	8
#define FDS	3
#define MADE	256
#define MEMORY	(64 * PAGE)
#define MESSAGE (FAKE_DATA + 40 * PAGE) /* where gates find theirs, which is anybody's here */
#define CONFIG	(FAKE_DATA + PAGE)

/* What there is nothing left of. */
enum {
	NO_TABLES = 1,
	NO_THREADS = 2,
	NO_IMAGE = 4,
	NO_LANES = 8,
	NO_NATIVES = 16,
	STOPPED = 32,	 /* not lacking, but met with in the same way */
	TAKEN_BACK = 64, /* a descriptor, while a gate is made */
};

struct process process = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.signal = SIGURG,
	.message_low = MESSAGE,
	.stack_low = FAKE_NOTHING,
	.stack_top = FAKE_NOTHING + PAGE,
};
struct tags tags = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct input in;
static struct sthread_gate *made[MADE]; /* inside; a reference of ours */
static struct lane *run[STHREAD_GATE_DEPTH + 1]; /* within each other */
static uint64_t buried[STHREAD_GATE_DEPTH + 1][POLICY_LIMITS]; /* lent by them, and spent */
static bool confined; /* the run is on a thread of the library's: what is native is not on it */
static uint64_t seen[SEEN], known[128][4]; /* results: handles, addresses; by what they are */
static unsigned nseen, nmade, depth, children, lanes, served, lacking, pages_used;
static int fd[FDS];

static bool step(struct lane *l);
static void no_wider(const struct lane *l, const struct policy *v);
static void take_back(struct lane *l, uint64_t file);

/* ---- what the library has elsewhere ---- */

bool process_enter_locked(void) { return true; }
int process_enter(void *(*fn)(void *)) { return fn && !(lacking & NO_IMAGE) ? 0 : -EINVAL; }
void process_leave(void) { }
uint64_t watch_cpu(const struct lane *l) { return l->deadline.cpu_seen; }
void watch_cpu_limit(struct lane *l, uint64_t cpu) { CHECK_LE(cpu, l->budget.limit[STHREAD_LIMIT_CPU_NS]); }
void dune_space_limit(struct dune_space *s, size_t pages) { CHECK(s && pages && pages <= MEMORY / PAGE); }
size_t dune_space_pages(const struct dune_space *s) { return s ? pages_used : 0; }
int lane_trim(struct lane *l) { return l->space ? 0 : -EINVAL; }
bool lanes_shrink(void) { return false; }
bool lane_reclaim(struct lane *l, bool *tried) { return l && *tried; }
bool lane_stop(struct lane *l, enum stop_reason reason) { return l && reason != STOP_KILLED; }
void lane_nap(struct timespec *nap) { FAIL("%ld: who waits?", nap->tv_nsec); }
void tag_leave(struct sthread_tag *t) { t->users--; }

int lane_prepare_out(struct lane *l, uint64_t at, size_t len)
{
	return uaccess_prepare_out(&l->ctx.mem, dune_gva(at), len);
}

int helpers_start(const struct policy *value, const struct lane *creator)
{
	if (!creator && confined)
		CHECK_OK(helper_pool_start());
	if (creator && lacking & TAKEN_BACK && value->n)
		take_back(run[depth], value->grant[0].obj->file);
	return creator && lacking & NO_THREADS ? -EAGAIN : 0;
}

/* In front of the C library's. */
int __real_pthread_create(pthread_t *t, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	return lacking & NO_NATIVES ? EAGAIN : __real_pthread_create(t, attr, fn, arg);
}

void handle_get(struct sthread *st)
{
	FAIL("%p: nobody looks for children", (void *)st);
}

/* No such name passes the check before it, and no other memory. */
int sthread_policy_tagged(struct sthread_policy *p, const char *name, unsigned rights)
{
	FAIL("%p %s %u", (void *)p, name, rights);
}

int data_enter(uint64_t at, uint64_t len, struct sthread_tag **out)
{
	FAIL("%lx %lx %p", at, len, (void *)out);
}

int tag_map_more(struct tag_view *v, const struct policy *p)
{
	const struct lane *l = (const struct lane *)((char *)v - offsetof(struct lane, tags));

	return lacking & NO_TABLES && !grants_subset(&p->mem, &l->ctx.policy->mem) ? -ENOMEM : 0;
}

struct sthread_tag *tag_enter(struct sthread_tag *handle)
{
	CHECK(handle >= tag && handle < tag + TAGS); /* what a compartment says was looked up before */
	handle->users++;
	return handle;
}

struct sthread_tag *tag_enter_at(uint64_t at)
{
	for (unsigned i = 0; i < TAGS; i++)
		if (at - tag[i].start < tag[i].len)
			return tag_enter(&tag[i]);
	return NULL;
}

int tag_window(const struct sthread_tag *t, uint64_t at, uint64_t *end, dune_gpa_t *out)
{
	CHECK(at - t->start < t->len && *end - t->start <= t->len);
	*out = dune_gpa(at);
	return 0;
}

/* Blocks of 256 bytes, one after the other. */
static uint16_t live[TAGS];
#define BLOCK 256

void *heap_alloc(struct sthread_tag *t, size_t size)
{
	for (unsigned i = 0; i < 16 && size <= BLOCK; i++) {
		if (!(live[t - tag] >> i & 1)) {
			live[t - tag] |= (uint16_t)(1U << i);
			return (void *)(t->start + i * BLOCK); /* NOLINT(performance-no-int-to-ptr) */
		}
	}
	return NULL;
}

bool heap_free(struct sthread_tag *t, uint64_t at)
{
	uint64_t i = (at - t->start) / BLOCK;

	CHECK_LT(at - t->start, t->len);
	if ((at - t->start) % BLOCK || i >= 16 || !(live[t - tag] >> i & 1))
		return false;
	live[t - tag] &= (uint16_t)~(1U << i);
	return true;
}

int heap_resize(struct sthread_tag *t, uint64_t at, size_t size, void **out)
{
	if (at - t->start >= t->len || !heap_free(t, at))
		return -EINVAL;
	*out = heap_alloc(t, size < BLOCK ? size : BLOCK);
	return 0;
}

long heap_resize_here(struct sthread_tag *t, uint64_t at, size_t size)
{
	(void)size;
	if (at - t->start >= t->len || !heap_free(t, at))
		return -EINVAL;
	live[t - tag] |= (uint16_t)(1U << (at - t->start) / BLOCK);
	return BLOCK;
}

static void has_descriptors(const struct lane *l, const struct policy *v)
{
	for (unsigned i = 0; i < v->n; i++) {
		const struct fd_entry *e = fdtab_find(&l->ctx.fds, v->grant[i].number);

		CHECK(e && e->obj == v->grant[i].obj && !(v->grant[i].rights & ~e->rights));
	}
}

/* A child ends when its function is odd, or when it is killed. */
int worker_start(struct sthread **out, const struct policy *value, void *(*fn)(void *), void *arg, struct lane *creator)
{
	struct sthread *st;

	CHECK(creator == run[depth] && value);
	no_wider(creator, value);
	has_descriptors(creator, value);
	if ((uintptr_t)arg % 8 == 7) {
		policy_put(value);
		return -EAGAIN;
	}
	st = calloc(1, sizeof(*st));
	CHECK(st);
	st->policy = value;
	st->creator = creator;
	st->spent[STHREAD_LIMIT_CPU_NS] = (uint32_t)(uintptr_t)arg; /* perhaps more than it was lent */
	st->spent[STHREAD_LIMIT_GATE_CALLS] = (uintptr_t)arg % 5;
	if (st->spent[STHREAD_LIMIT_GATE_CALLS] > value->limit[STHREAD_LIMIT_GATE_CALLS])
		st->spent[STHREAD_LIMIT_GATE_CALLS] = value->limit[STHREAD_LIMIT_GATE_CALLS];
	atomic_store(&st->done, (uintptr_t)fn & 1);
	st->result.end = STHREAD_RETURNED;
	st->result.value = arg;
	children++;
	*out = st;
	return 0;
}

int sthread_kill(struct sthread *st)
{
	atomic_store(&st->done, 1);
	return 0;
}

/* If that is limited at all. */
static void bury(uint64_t whole, const struct sthread *st, enum sthread_limit k)
{
	if (whole != POLICY_NO_LIMIT)
		buried[depth][k] += st->spent[k];
}

int sthread_join(struct sthread *st, struct sthread_result *r)
{
	CHECK(atomic_load(&st->done) && st->creator == run[depth]);
	bury(run[depth]->budget.limit[STHREAD_LIMIT_CPU_NS], st, STHREAD_LIMIT_CPU_NS);
	bury(run[depth]->budget.limit[STHREAD_LIMIT_GATE_CALLS], st, STHREAD_LIMIT_GATE_CALLS);
	if (r)
		*r = st->result;
	policy_put(st->policy);
	free(st);
	children--;
	return 0;
}

/* ---- lanes: what run.c and lane.c do, but for the processor ---- */

bool lane_clean(struct lane *l) { return l->id % 2; }
int lane_arm(struct lane *l) { return lacking & NO_THREADS && l ? -EAGAIN : 0; }
void lane_disarm(struct lane *l) { CHECK(!l->stop.signal_lane); }
struct lane *lane_get_idle(void) { return NULL; }

int lane_get(struct lane **out)
{
	struct lane *l = lacking & NO_LANES ? NULL : calloc(1, sizeof(struct accounted));

	if (!l)
		return -EAGAIN;
	l->ctx.mem.vm = fake_ctx.mem.vm;
	l->ctx.mem.space = l->space = fake_ctx.mem.space;
	l->ctx.area_start = FAKE_AREA;
	l->ctx.area_end = FAKE_AREA_END;
	l->ctx.stop = &fake_stop;
	l->ctx.host_call = hostcall_serve;
	l->tags.space = l->space;
	pthread_mutex_init(&l->stop.lock, NULL);
	lanes++;
	*out = l;
	return 0;
}

void lane_put(struct lane *l)
{
	CHECK(!atomic_load(&l->nest.made) && !l->pinned && !l->stop.waiting_for && !l->gates.serving);
	sys_ctx_fini(&l->ctx);
	free(l->gates.count);
	free(l);
	lanes--;
}

void lane_discard(struct lane *l)
{
	lane_put(l);
}

int lane_begin(struct lane *l, const struct policy *policy, bool on_worker)
{
	l->pinned = policy;
	l->ctx.policy = policy;
	l->ctx.on_worker = on_worker;
	account_opened(l, policy);
	return sys_begin(&l->ctx);
}

void lane_unpin_policy(struct lane *l)
{
	if (l->pinned)
		policy_unpin(l->pinned);
	l->pinned = NULL;
}

void lane_end(struct lane *l)
{
	if (atomic_load(&l->nest.made))
		l->nest.ops->fini(l);
	sys_done(&l->ctx);
	lane_unpin_policy(l);
	l->ctx.policy = NULL;
}

bool lane_link_callee(struct lane *caller, struct lane *callee)
{
	CHECK(!caller->stop.waiting_for);
	if (!atomic_load(&caller->stop.requested))
		caller->stop.waiting_for = callee;
	return caller->stop.waiting_for;
}

void lane_unlink_callee(struct lane *caller)
{
	CHECK(caller->stop.waiting_for);
	caller->stop.waiting_for = NULL;
}

/* As lane_enter() of run.c begins and ends. */
static void enter(struct lane *l, const struct lane_entry *e)
{
	struct budget *b = &l->budget;

	l->id = atomic_fetch_add(&process.next_id, 1) + 1;
	l->gates.counted = false;
	l->deadline.cpu_seen = 0;
	l->nest.root = e->root ? e->root : l;
	l->nest.depth = e->depth;
	l->nest.creator = e->creator;
	l->gates.enclosing_call = e->enclosing_call;
	memcpy(b->limit, l->ctx.policy->limit, sizeof(b->limit));
	if (e->cpu < b->limit[STHREAD_LIMIT_CPU_NS])
		b->limit[STHREAD_LIMIT_CPU_NS] = e->cpu;
	if (e->calls < b->limit[STHREAD_LIMIT_GATE_CALLS])
		b->limit[STHREAD_LIMIT_GATE_CALLS] = e->calls;
	memset(b->spent, 0, sizeof(b->spent));
	memset(buried[depth], 0, sizeof(buried[depth]));
	run[depth] = l;
}

static void leave(struct lane *l)
{
	struct nest *n = atomic_load(&l->nest.made);
	uint64_t calls = l->budget.spent[STHREAD_LIMIT_GATE_CALLS];

	if (n)
		l->nest.ops->end(l);
	for (unsigned i = 0; i < POLICY_LIMITS; i++) {
		CHECK_EQ(l->budget.spent[i] - (i == STHREAD_LIMIT_GATE_CALLS ? calls : 0), buried[depth][i]);
		CHECK(!l->budget.lent[i]);
	}
	for (unsigned i = 0; n && i < STHREAD_NEST_LIVE; i++)
		CHECK(!n->gate[i].gate && !n->child[i].st);
	CHECK(l->nest.root != l || !atomic_load(&l->nest.descendants));
	CHECK_LE(l->budget.spent[STHREAD_LIMIT_GATE_CALLS], l->budget.limit[STHREAD_LIMIT_GATE_CALLS]);
}

/* What a run of a gate spent is its creator's loss, which is one of those above it. */
static void spend(const struct sthread_gate *g, const uint64_t *spent)
{
	for (unsigned d = 0; g->root && d <= depth; d++) {
		const struct nest *n = atomic_load(&run[d]->nest.made);

		for (unsigned i = 0; n && i < STHREAD_NEST_LIVE; i++) {
			if (n->gate[i].gate != g)
				continue;
			if (g->budget.limit[STHREAD_LIMIT_CPU_NS] != POLICY_NO_LIMIT)
				buried[d][STHREAD_LIMIT_CPU_NS] += spent[STHREAD_LIMIT_CPU_NS];
			if (g->budget.limit[STHREAD_LIMIT_GATE_CALLS] != POLICY_NO_LIMIT)
				buried[d][STHREAD_LIMIT_GATE_CALLS] += spent[STHREAD_LIMIT_GATE_CALLS];
		}
	}
}

/* ---- gates ---- */

static unsigned sum(const unsigned char *p, size_t n)
{
	unsigned s = 1;

	while (n--)
		s = s * 31 + *p++;
	return s;
}

static void fill(uint64_t at, size_t n)
{
	for (size_t some; n; n -= some, at += some) {
		some = PAGE - at % PAGE < n ? PAGE - at % PAGE : n;
		memset(fake_host(at), 0x5a, some);
	}
}

static void looked_at(const struct gate_call *c)
{
	CHECK(c->gate && c->depth && c->depth <= STHREAD_GATE_DEPTH);
	CHECK(c->in_len <= STHREAD_GATE_MESSAGE && c->out_cap <= STHREAD_GATE_MESSAGE);
	for (size_t i = 0; i < c->out_cap; i++)
		CHECK_EQ(c->out[i], 0);
	served++;
}

int lane_enter(struct lane *l, const struct lane_entry *entry, struct sthread_result *r)
{
	struct gate_call *c = l->gates.serving;
	unsigned before = sum(c->in, c->in_len), how = (unsigned)take(&in, 1), answer;
	struct gate_entry e;

	CHECK(entry->fn == gate_inside && !entry->st && c);
	CHECK(c->caller == (gate_current() && c->parent_call == gate_current() ? NULL : run[depth]));
	CHECK(l->pinned == c->gate->policy || c->gate->kind == STHREAD_GATE_RECYCLED);
	account_holds(l);
	looked_at(c);
	if (how == 255)
		return -EAGAIN;
	memcpy(&e, fake_host((uintptr_t)entry->arg), sizeof(e));
	CHECK(e.fn == c->gate->fn && e.in_len == c->in_len && e.out_cap == c->out_cap);
	for (size_t i = 0; i < e.in_len; i += PAGE)
		CHECK_EQ(*fake_host((uintptr_t)e.in + i), c->in[i]);
	depth++;
	enter(l, entry);
	for (unsigned i = how & 7; i && step(l); i--)
		;
	leave(l);
	depth--;
	spend(c->gate, l->budget.spent);
	memset(fake_host(FAKE_DATA), how, PAGE);
	CHECK_EQ(sum(c->in, c->in_len), before);
	answer = (unsigned)take(&in, 2);
	*r = (struct sthread_result){ .end = how & 8 ? how >> 4 & 7 : STHREAD_RETURNED };
	r->value = (void *)(answer >> 15 ? -(intptr_t)(answer & 0x7fff) : (intptr_t)(answer % (c->out_cap + 2)));
	if ((intptr_t)r->value > 0 && (uintptr_t)r->value <= c->out_cap)
		fill((uintptr_t)e.out, (uintptr_t)r->value);
	return 0;
}

/* Whoever waits for it is told apart from all others, on whatever thread this is. */
static void serves_all(const struct gate_call *c)
{
	static const struct lane stranger;

	CHECK(!gate_serves(&stranger));
	for (unsigned d = 0; c->caller && d <= depth; d++)
		CHECK(gate_serves(run[d]));
}

static void given_fd(const struct lane *l, int number, unsigned rights, const struct fd_entry *of)
{
	const struct fd_entry *e = fdtab_find(&l->ctx.fds, number);

	CHECK(e && e->rights == rights);
	CHECK(!of || (e->obj->file == of->obj->file && e->dir == of->dir && !(rights & ~of->rights)));
}

/* It gives what the compartments beneath have not, and calls gates in its turn. */
static ssize_t native(void *trusted, const void *input, size_t in_len, void *output, size_t out_cap)
{
	unsigned how = (unsigned)take(&in, 1), which = (unsigned)take(&in, 1);
	struct gate_call *c = gate_current();
	unsigned char out[8] = { 0 };
	ssize_t n;

	CHECK(c && trusted == gate && c->gate == gate[1]);
	CHECK(input == c->in && in_len == c->in_len && output == c->out && out_cap == c->out_cap);
	looked_at(c);
	serves_all(c);
	if (how & 1) {
		n = sthread_gate_give_fd(fd[which % FDS], which >> 4);
		if (n >= 0)
			given_fd(c->caller, (int)n, which >> 4, NULL);
	}
	if (how & 2 && !sthread_gate_give_tag(&tag[which % TAGS], which >> 6))
		account_gave(NULL, c->caller, (uint64_t)&tag[which % TAGS], which >> 6);
	if (c->caller)
		account_holds(c->caller);
	if (how & 4) {
		n = sthread_gate_call(gate[which % GATES], &how, sizeof(how), out, sizeof(out));
		CHECK(n <= (ssize_t)sizeof(out) && (n <= 0 || out[0] == 0x5a));
	}
	CHECK(gate_current() == c);
	n = how & 8 ? -(ssize_t)(how >> 4) - 1 : (ssize_t)(take(&in, 2) % (out_cap + 2));
	if (n > 0)
		memset(output, 0x5a, (size_t)n < out_cap ? (size_t)n : out_cap);
	return n;
}

/* ---- one call ---- */

static uint64_t argument(void)
{
	uint8_t how = (uint8_t)take(&in, 1);

	switch (how >> 4) {
	case 0: return how & 15;
	case 1: return (uintptr_t)gate[how % GATES] + (how & 8);
	case 2: return (uintptr_t)&tag[how % TAGS] + (how & 8);
	case 3: return seen[how % SEEN];
	case 4: return seen[how % SEEN] + (how & 8 ? 1 : -1UL);
	case 5: return (uint64_t)fd[how % FDS];
	case 6: return FAKE_DATA + take(&in, 2);
	case 7: return FAKE_DATA + FAKE_DATA_PAGES * PAGE - (how & 15);
	case 8: return FAKE_COW + take(&in, 2) % (2 * PAGE);
	case 9: return FAKE_RO + (how & 15) * 256;
	case 10: return FAKE_DEMAND + take(&in, 2);
	case 11: return tag[how % TAGS].start + (how & 12 ? (how & 12) * PAGE / 4 : 0);
	case 12: return STHREAD_GATE_MESSAGE + (how & 15) - 8;
	case 13: return take(&in, 2);
	case 14: return how & 8 ? (how & 7) * PAGE : 1UL << take(&in, 1) % 64;
	default: return take(&in, 8);
	}
}

/* What the arguments of each call are, as in the cases below; and, behind the colon, its result. */
static const char *const likely[HOSTCALLS_END - HOSTCALL_RETURN] = {
#define CALL_TAKES(name, what) [HOSTCALL_##name - HOSTCALL_RETURN] = what
	CALL_TAKES(GATE_CALL, "gmnmn"),
	CALL_TAKES(GATE_FIND, "z"),
	CALL_TAKES(GATE_CALLER, ""),
	CALL_TAKES(GATE_GIVE_FD, "fn"),
	CALL_TAKES(GATE_GIVE_TAG, "tr"),
	CALL_TAKES(GATE_CREATE, "c:g"),
	CALL_TAKES(GATE_DESTROY, "g"),
	CALL_TAKES(TAG_ALLOC, "tn:b"),
	CALL_TAKES(TAG_RESIZE, "tbn"),
	CALL_TAKES(TAG_FREE, "b"),
	CALL_TAKES(TAG_OF, "b"),
	CALL_TAKES(POLICY_CREATE, ":p"),
	CALL_TAKES(POLICY_DESTROY, "p"),
	CALL_TAKES(POLICY_FD, "pfr"),
	CALL_TAKES(POLICY_DIR, "pfr"),
	CALL_TAKES(POLICY_SYSCALL, "pnr"),
	CALL_TAKES(POLICY_SYSCALL_ARG, "pnrnn"),
	CALL_TAKES(POLICY_LIMIT, "prn"),
	CALL_TAKES(POLICY_TAG, "ptr"),
	CALL_TAKES(POLICY_MEMORY, "pakr"),
	CALL_TAKES(POLICY_GATE, "pg"),
	CALL_TAKES(POLICY_TAGGED, "pzr"),
	CALL_TAKES(POLICY_CONNECT, "pmnn"),
	CALL_TAKES(POLICY_BIND, "pmnn"),
	CALL_TAKES(POLICY_FORMAT, "pmn"),
	CALL_TAKES(POLICY_IS_SUBSET, "pp"),
	CALL_TAKES(STHREAD_CREATE, "pnn:h"),
	CALL_TAKES(STHREAD_CALL, "pnnm"),
	CALL_TAKES(STHREAD_JOIN, "hm"),
	CALL_TAKES(STHREAD_KILL, "h"),
	CALL_TAKES(STHREAD_DETACH, "h"),
};

static uint64_t config(void);

static uint64_t one_of(char kind)
{
	unsigned how = kind == 'c' ? 0 : (unsigned)take(&in, 1);

	switch (kind) {
	case 'c': return config();
	case 'g': return how % 8 < GATES ? (uintptr_t)gate[how % 8] : known['g'][how % 4];
	case 'p': return how >= 250 ? 0 : known['p'][how % 4];
	case 'h':
	case 'b': return known[(unsigned)kind][how % 4];
	case 't': return (uintptr_t)&tag[how % TAGS];
	case 'f': return how < 128 ? (uint64_t)fd[how % FDS] : how & 15;
	case 'a': return tag[how % TAGS].start + (how >> 6) * PAGE;
	case 'k': return (how & 3) * PAGE;
	case 'm': return how < 8 ? 0 : FAKE_DATA + (how & 31) * PAGE + (how >> 5) * 512;
	case 'n': return how < 224 ? how : 1UL << how % 32;
	case 'r': return how & 7;
	case 'z': return CONFIG + 128 + 32 * (how & 7);
	default: return argument();
	}
}

static void arguments(struct dune_frame *f, const char *what)
{
	uint64_t *const to[] = { &f->rdi, &f->rsi, &f->rdx, &f->r10, &f->r8 };

	for (unsigned i = 0; i < 5; i++) {
		if (!what)
			*to[i] = argument();
		else if (what[i] && what[i] != ':')
			*to[i] = one_of(what[i]);
		else
			break;
	}
}

static void keep(uint64_t result, const char *what)
{
	const char *kind = what ? strchr(what, ':') : NULL;

	seen[nseen % SEEN] = result;
	if (kind)
		known[(unsigned)kind[1]][nseen % 4] = result;
	nseen++;
}

/* A policy made inside: no more than what the run itself has, looked at right by right. */
static void no_wider(const struct lane *l, const struct policy *v)
{
	const struct policy *of = l->ctx.policy;

	for (unsigned i = 0; i < sys_table_len; i++)
		CHECK_LE(policy_leaves(v->action[i]), policy_leaves(of->action[i]));
	CHECK_LE(policy_leaves(v->other), policy_leaves(of->other));
	for (unsigned i = 0; i < POLICY_LIMITS; i++)
		CHECK_LE(v->limit[i], of->limit[i]);
	for (unsigned i = 0; i < v->ngates; i++) {
		const struct sthread_gate *g = v->gate[i];
		int at = policy_gate(of, g->handle);

		/* One of its own that it destroyed is of no use. */
		CHECK(nest_gate_own(l, g) || (g->root && g->gone) ||
		      (at >= 0 && of->gate[at] == g && !g->max_calls));
	}
	for (size_t i = 0; i < v->mem.n; i++) {
		const struct grant *g = &v->mem.list[i], *has = grants_find(&of->mem, g->start);

		CHECK(has && g->tag == has->tag && !(g->rights & ~has->rights));
		CHECK(g->len <= has->start + has->len - g->start);
	}
}

/* What is lent is what children and gates have, and what those that ended spent. */
static void lent_is_held(const struct lane *l, const struct nest *n)
{
	uint64_t held[POLICY_LIMITS];

	memcpy(held, buried[depth], sizeof(held));
	for (unsigned i = 0; i < STHREAD_NEST_LIVE; i++) {
		const struct sthread_gate *g = n->gate[i].gate;

		for (unsigned k = 0; k < POLICY_LIMITS; k++) {
			held[k] += n->child[i].st ? n->child[i].lent[k] : 0;
			if (g && k == STHREAD_LIMIT_CPU_NS)
				held[k] += g->budget.limit[k] == POLICY_NO_LIMIT ? 0 : g->budget.limit[k] - g->budget.spent[k];
			else if (g && k == STHREAD_LIMIT_GATE_CALLS)
				held[k] += g->budget.limit[k] == POLICY_NO_LIMIT ? 0 : budget_left(&g->budget, k);
			else if (g)
				held[k] += n->gate[i].lent[k];
		}
	}
	for (unsigned k = 0; k < POLICY_LIMITS; k++) {
		CHECK_EQ(l->budget.lent[k], held[k]);
		if (k != STHREAD_LIMIT_CPU_NS)
			CHECK_LE(l->budget.lent[k], l->ctx.policy->limit[k]);
	}
	CHECK_LE(l->budget.lent[STHREAD_LIMIT_GATE_CALLS] + l->budget.spent[STHREAD_LIMIT_GATE_CALLS],
		 l->budget.limit[STHREAD_LIMIT_GATE_CALLS]);
}

static void consistent(struct lane *l)
{
	const struct nest *n = atomic_load(&l->nest.made);
	unsigned seats = 0;

	CHECK_EQ(fake_extra_refs(), 0);
	for (unsigned d = 0; d <= depth; d++)
		account_holds(run[d]);
	for (unsigned i = 0; i < PAGE; i += 64) {
		CHECK_EQ(*fake_host(FAKE_RO + i), 0x11);
		CHECK_EQ(*fake_template(FAKE_COW + i), 0xcc);
	}
	for (unsigned i = 0; i < TAGS; i++)
		CHECK_EQ(tag[i].users, 0);
	if (!n)
		return;
	for (unsigned i = 0; i < STHREAD_NEST_POLICIES; i++) {
		if (n->policy[i].handle) {
			const struct policy *v = policy_copy(n->policy[i].p);

			no_wider(l, v);
			policy_put(v);
		}
	}
	for (unsigned i = 0; i < STHREAD_NEST_LIVE; i++)
		if (n->gate[i].gate)
			no_wider(l, n->gate[i].gate->policy);
	for (unsigned d = 0; d <= depth; d++) {
		const struct nest *of = run[d]->nest.root == l->nest.root ? atomic_load(&run[d]->nest.made) : NULL;

		for (unsigned i = 0; of && i < STHREAD_NEST_LIVE; i++)
			seats += !!of->child[i].st + !!of->gate[i].gate;
	}
	CHECK_EQ(atomic_load(&l->nest.root->nest.descendants), seats);
	lent_is_held(l, n);
}

/* A configuration that may well do. */
static uint64_t config(void)
{
	unsigned how = (unsigned)take(&in, 1);
	struct sthread_gate_config cfg = {
		.size = sizeof(cfg),
		.name = how & 1 ? (const char *)CONFIG + 128 + (how & 32) : NULL,
		.fn = (sthread_gate_fn *)FAKE_NOTHING,
		.policy = how & 2 ? (const void *)one_of('p') : NULL, /* NOLINT(performance-no-int-to-ptr) */
		.after = how & 4 ? (const void *)one_of('g') : NULL, /* NOLINT(performance-no-int-to-ptr) */
		.kind = how & 8 ? STHREAD_GATE_RECYCLED : STHREAD_GATE_FRESH,
		.max_calls = how & 32 ? how >> 6 : 0,
		.native = how == 255,
	};

	fake_put(CONFIG, &cfg, sizeof(cfg));
	return CONFIG;
}

static void just_made(struct lane *l, uint64_t handle)
{
	const struct gate_own *e = gate_own_find(l, handle);
	struct account has;

	CHECK(e && !e->gate->native && e->gate->root == l->nest.root && e->gate->depth == l->nest.depth + 1);
	CHECK(!e->gate->gone && !e->gate->holder && policy_gate(l->ctx.policy, handle) < 0);
	has_descriptors(l, e->gate->policy);
	has = account_of(e->gate->policy);
	CHECK(account_within(&has, account(l)));
	if (nmade < MADE)
		made[nmade++] = gate_get(e->gate);
}

/* By another thread. */
static void take_back(struct lane *l, uint64_t file)
{
	struct sthread_gate *list[STHREAD_NEST_LIVE];
	unsigned n;

	fdtab_revoke(&l->ctx.fds, file);
	n = nest_revoke_gates(l, file, list);
	while (n--) {
		gate_cut(list[n]);
		CHECK(list[n]->gone && !list[n]->lane);
		gate_put(list[n]);
	}
}

/* What is no call. */
static void other(struct lane *l, unsigned op)
{
	const struct fdtab *t = &l->ctx.fds;
	uint64_t v, at;

	if (op >= 254) {
		lacking = (unsigned)take(&in, 1);
	} else if (op >= 252) {
		l->deadline.cpu_seen += take(&in, 2);
	} else if (op >= 250) {
		at = take(&in, 1);
		take_back(l, t->n ? t->entry[at % t->n].obj->file : 0);
	} else {
		v = argument();
		at = take(&in, 2);
		memcpy(fake_host(FAKE_DATA + at % (16 * PAGE - 8)), &v, at % PAGE > PAGE - 8 ? 1 : 8);
	}
}

/* What a call of a gate left with its caller, by whether it succeeded; and what a gate has just given. */
static void settle(struct lane *l, const struct dune_frame *f, bool ended, const struct account *before, unsigned fds)
{
	bool failed = ended || (long)f->rax < 0;
	struct lane *to = l->gates.serving ? l->gates.serving->caller : NULL;

	if (f->vector == HOSTCALL_GATE_CALL && failed) {
		*account(l) = *before;
		CHECK_LE(l->ctx.fds.n, fds); /* fewer: taken back */
	}
	if (f->vector == HOSTCALL_GATE_GIVE_TAG && !failed)
		account_gave(l, to, f->rdi, (unsigned)f->rsi);
}

/* False: the run has ended. */
static bool step(struct lane *l)
{
	unsigned op = (unsigned)take(&in, 1);
	struct dune_frame f = { 0 };
	unsigned char before[64];
	unsigned calls = served, fds = l->ctx.fds.n;
	struct account has = *account(l);
	struct fd_entry of = { 0 };
	const struct fd_entry *e;
	const char *what;
	bool out, ended;

	if (op >= 240) {
		other(l, op);
		return true;
	}
	f.rax = op >= 238 ? __NR_close : HOSTCALL_RETURN + 2 + op % (HOSTCALLS_END - HOSTCALL_RETURN);
	what = op >= 64 && f.rax - HOSTCALL_RETURN < HOSTCALLS_END - HOSTCALL_RETURN ? likely[f.rax - HOSTCALL_RETURN] : NULL;
	arguments(&f, what);
	op = (unsigned)f.rax;
	/* Who would wait for a child does not. */
	atomic_store(&l->stop.requested, lacking & STOPPED || op == HOSTCALL_STHREAD_CALL || op == HOSTCALL_STHREAD_JOIN);
	/* A call that is refused leaves alone what it was to fill. */
	out = op == HOSTCALL_GATE_CALL && f.r10 - FAKE_DATA < FAKE_DATA_PAGES * PAGE && f.r10 % PAGE <= PAGE - 64;
	if (out)
		memcpy(before, fake_host(f.r10), 64);
	e = fdtab_find(&l->ctx.fds, (int)f.rdi);
	if (e)
		of = *e;
	f.vector = op;
	ended = sys_dispatch(&l->ctx, &f) != SYS_RESUME;
	settle(l, &f, ended, &has, fds);
	if (op == HOSTCALL_GATE_GIVE_FD && !ended && (long)f.rax >= 0)
		given_fd(l->gates.serving->caller, (int)f.rax, (unsigned)f.rsi, &of);
	if (ended) {
		CHECK(l->ctx.end == STHREAD_DENIED ? depth : l->ctx.end == STHREAD_OVER_LIMIT);
		CHECK(l->ctx.end == STHREAD_DENIED || op == HOSTCALL_GATE_CALL);
		consistent(l);
		return false;
	}
	CHECK((long)f.rax >= -4095);
	if (out && (long)f.rax < 0 && served == calls)
		CHECK_MEM(fake_host(f.r10), before, 64);
	if (out && (long)f.rax > 0)
		CHECK_EQ(*fake_host(f.r10), 0x5a);
	if ((long)f.rax > 0)
		keep(f.rax, what);
	if (op == HOSTCALL_GATE_CREATE && (long)f.rax > 0)
		just_made(l, f.rax);
	consistent(l);
	return true;
}

/* ---- a run ---- */

/* What a gate of the master has, the run does not: the last tag. */
static struct sthread_policy *whole(unsigned ngates, unsigned limits)
{
	struct sthread_policy *p = fake_policy_all();

	for (unsigned i = 0; i < FDS; i++)
		CHECK_OK(sthread_policy_fd(p, fd[i], i ? STHREAD_FD_READ | STHREAD_FD_WRITE : STHREAD_FD_READ));
	for (unsigned i = 0; i < ngates; i++)
		CHECK_OK(sthread_policy_gate(p, gate[i]));
	CHECK_OK(sthread_policy_tag(p, &tag[0], STHREAD_READ | STHREAD_WRITE));
	CHECK_OK(sthread_policy_memory(p, (void *)tag[1].start, 4 * PAGE, STHREAD_READ)); /* NOLINT */
	if (ngates < GATES)
		CHECK_OK(sthread_policy_tag(p, &tag[2], last_tag(ngates)));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_MEMORY, MEMORY));
	if (limits & 1)
		CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_CPU_NS, 1000000));
	if (limits & 2)
		CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_GATE_CALLS, 40));
	return p;
}

/* Each may call those before it, but for the native one, which may call all. */
static void make_gates(unsigned limits)
{
	static const char *const name[GATES] = { "gate0", "gate1", "gate2", "gate3" };

	for (unsigned i = 0; i < GATES; i++) {
		struct sthread_policy *p = i == 1 ? NULL : whole(i, limits);
		struct sthread_gate_config cfg = {
			.size = sizeof(cfg),
			.name = name[i],
			.fn = i == 1 ? native : (sthread_gate_fn *)FAKE_NOTHING,
			.trusted = i == 1 ? gate : NULL,
			.policy = p,
			.kind = i >= 2 ? STHREAD_GATE_RECYCLED : STHREAD_GATE_FRESH,
			.native = i == 1,
			.after = i == 3 ? gate[0] : NULL,
			.max_calls = i == 2 ? 2 : 0,
		};

		CHECK_OK(sthread_gate_create(&gate[i], &cfg));
		sthread_policy_destroy(p);
	}
}

static void drop_gates(void)
{
	/* What recycled ones kept first: it may have policies that name gates. */
	for (unsigned i = 0; i < GATES; i++) {
		struct lane *kept = gate_close(gate[i]);

		if (kept)
			gate_lane_back(kept);
	}
	while (nmade--) {
		CHECK_EQ(atomic_load(&made[nmade]->refs), 1);
		CHECK(made[nmade]->gone && !made[nmade]->holder && !made[nmade]->lane);
		gate_put(made[nmade]);
	}
	for (unsigned i = GATES; i--;) { /* the last has a reference on the first */
		CHECK_EQ(atomic_load(&gate[i]->refs), 1);
		sthread_gate_destroy(gate[i]);
	}
}

static void prepare(void)
{
	char *at = mmap(NULL, 2 * TAGS * TAG_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(at != MAP_FAILED);
	for (unsigned i = 0; i < TAGS; i++) {
		tag[i].start = (uintptr_t)at + 2 * i * TAG_LEN;
		tag[i].len = TAG_LEN;
		tag[i].plain = i == 1;
		atomic_init(&tag[i].refs, 1);
	}
	fd[0] = open("/dev/null", O_RDWR);
	CHECK(fd[0] >= 0);
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, &fd[1]));
	CHECK_OK(sys_init());
	fake_direct(true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const struct lane_entry e = { .enclosing_call = gate_current(), .cpu = POLICY_NO_LIMIT, .calls = POLICY_NO_LIMIT };
	struct sthread_policy *p;
	const struct policy *v;
	struct lane *l;
	unsigned how;

	if (!fd[0])
		prepare();
	in = (struct input){ data, len };
	memset(seen, 0, sizeof(seen));
	memset(known, 0, sizeof(known));
	memset(live, 0, sizeof(live));
	nseen = nmade = depth = lacking = 0;
	how = (unsigned)take(&in, 1);
	pages_used = how >> 5;
	confined = how & 16;
	fake_reset();
	make_gates(how);
	p = whole(GATES, how >> 2);
	fake_begin(p);
	atomic_store(&fake_stop, true);
	fake_puts(CONFIG + 128, "made");
	fake_puts(CONFIG + 160, "gate1");
	fake_puts(CONFIG + 192, "a name that is longer than gates have, by far");
	v = policy_copy(p);
	sthread_policy_destroy(p);
	CHECK_OK(lane_get(&l));
	CHECK_OK(policy_pin(v));
	CHECK_OK(lane_begin(l, v, confined));
	enter(l, &e);
	while (in.left && step(l))
		;
	in.left = 0;
	lacking = 0;
	leave(l);
	lane_end(l);
	lane_put(l);
	fake_end();
	CHECK_EQ(children, 0);
	drop_gates();
	helper_pool_end();
	CHECK_EQ(lanes, 0);
	CHECK(!tags.pinned);
	for (unsigned i = 0; i < TAGS; i++)
		CHECK_EQ(atomic_load(&tag[i].refs), 1);
	CHECK_EQ(fd_objects(), 0);
	return 0;
}
