/* SPDX-License-Identifier: MIT */
/*
 * gate.c - the library's own calls from inside: gate messages, descriptors given, tags, policies and sthreads of a
 * compartment's own; any number, any arguments, any memory.  World: host, fuzzing, over the unit tests' fake.
 *
 * A gate runs here: what it finds is the caller's message as it was, whatever the caller's memory is by then.  What is
 * lent comes back, no policy made inside gives what its maker has not, and no right or reference is left over.
 */
#include <asm/unistd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "sthread/gate.h"
#include "sthread/internal.h"
#include "sthread/nest.h"
#include "sthread/tag.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/syscall_fake.h"

#define GATES	4
#define TAGS	3
#define TAG_LEN (16 * PAGE)
#define SEEN	8
#define FDS	3

struct process process = { .lock = PTHREAD_MUTEX_INITIALIZER };
struct tags tags = { .lock = PTHREAD_MUTEX_INITIALIZER };
volatile bool sthread_inside_flag;

static struct input in;
static struct sthread_gate *gate[GATES];
static struct sthread_tag tag[TAGS];
static struct lane lane[STHREAD_GATE_DEPTH + 1]; /* by depth of the call */
static uint64_t seen[SEEN];			 /* results: handles, addresses */
static unsigned nseen, depth, children, served;
static int fd[FDS];

static void step(struct lane *l);
static void no_wider(const struct lane *l, const struct policy *v);

/* ---- what the library has elsewhere ---- */

bool process_enter_locked(void) { return true; }
void process_leave(void) { }
struct gate_call *gate_current(void) { return NULL; }
void gate_lock(void) { }
void gate_unlock(void) { }
uint64_t watch_cpu(const struct lane *l) { return l->cpu_seen; }
void watch_cpu_limit(struct lane *l, uint64_t cpu) { (void)l, (void)cpu; }
void dune_space_limit(struct dune_space *s, size_t pages) { CHECK(s && pages); }
size_t dune_space_pages(const struct dune_space *s) { return s ? 3 : 0; }
void tag_leave(struct sthread_tag *t) { t->users--; }

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

/* A child ends when its function is odd, or when it is killed. */
int worker_start(struct sthread **out, const struct policy *value, void *(*fn)(void *), void *arg, struct lane *creator)
{
	struct sthread *st;

	CHECK(creator == &lane[depth] && value);
	no_wider(creator, value);
	for (unsigned i = 0; i < value->n; i++) {
		const struct fd_entry *e = fdtab_find(&creator->ctx.fds, value->grant[i].number);

		CHECK(e && e->obj == value->grant[i].obj && !(value->grant[i].rights & ~e->rights));
	}
	if ((uintptr_t)arg % 8 == 7) {
		policy_put(value);
		return -EAGAIN;
	}
	st = calloc(1, sizeof(*st));
	CHECK(st);
	st->policy = value;
	st->cpu = (uintptr_t)arg;
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

int sthread_join(struct sthread *st, struct sthread_result *r)
{
	CHECK(atomic_load(&st->done));
	if (r)
		*r = st->result;
	policy_put(st->policy);
	free(st);
	children--;
	return 0;
}

int sthread_take_back(struct sthread *st, uint64_t file)
{
	(void)st, (void)file;
	return 0;
}

/* ---- gates ---- */

static unsigned sum(const unsigned char *p, size_t n)
{
	unsigned s = 1;

	while (n--)
		s = s * 31 + *p++;
	return s;
}

static ssize_t serve(struct gate_call *c)
{
	struct lane *l = &lane[depth + 1];
	unsigned before = sum(c->in, c->in_len), how = (unsigned)take(&in, 1);
	ssize_t n;

	CHECK(c->caller == &lane[depth] && c->gate && c->depth == depth + 1);
	CHECK(c->in_len <= STHREAD_GATE_MESSAGE && c->out_cap <= STHREAD_GATE_MESSAGE);
	for (size_t i = 0; i < c->out_cap; i++)
		CHECK_EQ(c->out[i], 0);
	served++;
	c->began = how % 8;
	l->serves = c;
	depth++;
	for (unsigned i = how >> 6; i; i--)
		step(l);
	depth--;
	l->serves = NULL;
	memset(fake_host(FAKE_DATA), how, PAGE);
	CHECK_EQ(sum(c->in, c->in_len), before);
	n = how & 8 ? -(ssize_t)(how >> 4) - 1 : (ssize_t)(take(&in, 2) % (c->out_cap + 1));
	if (n > 0)
		memset(c->out, 0x5a, (size_t)n);
	c->failed = n < 0;
	return n;
}

ssize_t gate_in_lane(struct gate_call *c) { return serve(c); }
ssize_t gate_in_master(struct gate_call *c) { return serve(c); }

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

/* A policy made inside: no more than what the run itself has, looked at right by right. */
static void no_wider(const struct lane *l, const struct policy *v)
{
	const struct policy *of = l->ctx.policy;

	for (unsigned i = 0; i < sys_table_len; i++)
		CHECK_LE(policy_leaves(v->action[i]), policy_leaves(of->action[i]));
	CHECK_LE(policy_leaves(v->other), policy_leaves(of->other));
	for (unsigned i = 0; i < POLICY_LIMITS; i++)
		CHECK_LE(v->limit[i], of->limit[i]);
	for (unsigned i = 0; i < v->ngates; i++)
		CHECK(policy_gate(of, (uintptr_t)v->gate[i]) >= 0 && !v->gate[i]->max_calls);
	for (size_t i = 0; i < v->mem.n; i++) {
		const struct grant *g = &v->mem.list[i], *has = grants_find(&of->mem, g->start);

		CHECK(has && g->tag == has->tag && !(g->rights & ~has->rights));
		CHECK(g->len <= has->start + has->len - g->start);
	}
}

static void consistent(struct lane *l)
{
	const struct nest *n = atomic_load(&l->nest);
	unsigned seats = 0;

	CHECK_EQ(fake_extra_refs(), 0);
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
		seats += !!n->child[i].st;
	CHECK_EQ(atomic_load(&l->descendants), seats);
	for (unsigned i = 0; i < POLICY_LIMITS; i++)
		CHECK_LE(n->lent[i], l->ctx.policy->limit[i]);
}

static void step(struct lane *l)
{
	unsigned op = (unsigned)take(&in, 1);
	struct dune_frame f = { 0 };
	unsigned char before[64];
	unsigned calls = served;
	bool out;

	if (op >= 232) {
		uint64_t v = argument(), at = take(&in, 2);

		memcpy(fake_host(FAKE_DATA + at % (16 * PAGE - 8)), &v, at % PAGE > PAGE - 8 ? 1 : 8);
		return;
	}
	f.rax = op >= 228 ? __NR_close : HOSTCALL_RETURN + 2 + op % (HOSTCALLS_END - HOSTCALL_RETURN);
	f.rdi = argument();
	f.rsi = argument();
	f.rdx = argument();
	f.r10 = argument();
	f.r8 = argument();
	op = (unsigned)f.rax;
	/* A call that is refused leaves alone what it was to fill. */
	out = op == HOSTCALL_GATE_CALL && f.r10 - FAKE_DATA < FAKE_DATA_PAGES * PAGE && f.r10 % PAGE <= PAGE - 64;
	if (out)
		memcpy(before, fake_host(f.r10), 64);
	CHECK_EQ(sys_dispatch(&l->ctx, &f), SYS_RESUME);
	CHECK((long)f.rax >= -4095);
	if (out && (long)f.rax < 0 && served == calls)
		CHECK_MEM(fake_host(f.r10), before, 64);
	if ((long)f.rax > 0)
		seen[nseen++ % SEEN] = f.rax;
	consistent(l);
}

/* ---- a run ---- */

static void lane_start(struct lane *l, struct sthread_policy *p, unsigned at)
{
	memset(l, 0, sizeof(*l));
	l->ctx.mem.vm = fake_ctx.mem.vm;
	l->ctx.mem.space = l->space = fake_ctx.mem.space;
	l->ctx.policy = policy_copy(p);
	l->ctx.area_start = FAKE_AREA;
	l->ctx.area_end = FAKE_AREA_END;
	l->ctx.stop = &fake_stop;
	l->ctx.host_call = hostcall_serve;
	l->id = 100 + at;
	l->root = l;
	atomic_init(&l->stop, true); /* who would wait for a child does not */
	CHECK_OK(sys_begin(&l->ctx));
}

static void lane_over(struct lane *l)
{
	struct nest *n = atomic_load(&l->nest);

	nest_end(l);
	for (unsigned i = 0; n && i < POLICY_LIMITS; i++)
		CHECK_EQ(n->lent[i], 0);
	CHECK_EQ(atomic_load(&l->descendants), 0);
	nest_fini(l);
	sys_done(&l->ctx);
	policy_put(l->ctx.policy);
	fdtab_fini(&l->ctx.fds);
	free(l->tally);
}

static struct sthread_gate *new_gate(unsigned i)
{
	struct sthread_gate *g = calloc(1, sizeof(*g));

	CHECK(g);
	atomic_init(&g->refs, 1);
	snprintf(g->name, sizeof(g->name), "gate%u", i);
	g->native = i & 1;
	g->max_calls = i == 2 ? 2 : 0;
	g->after = i == 3 ? gate_get(gate[0]) : NULL;
	return g;
}

static struct sthread_policy *whole(void)
{
	struct sthread_policy *p = fake_policy_all();

	for (unsigned i = 0; i < FDS; i++)
		CHECK_OK(sthread_policy_fd(p, fd[i], i ? STHREAD_FD_READ | STHREAD_FD_WRITE : STHREAD_FD_READ));
	for (unsigned i = 0; i < GATES; i++) {
		gate[i] = new_gate(i);
		CHECK_OK(sthread_policy_gate(p, gate[i]));
	}
	/* The last tag is not granted, the one before only to be read. */
	CHECK_OK(sthread_policy_tag(p, &tag[0], STHREAD_READ | STHREAD_WRITE));
	CHECK_OK(sthread_policy_memory(p, (void *)tag[1].start, 4 * PAGE, STHREAD_READ)); /* NOLINT */
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_MEMORY, 64 * PAGE));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_CPU_NS, 1000000));
	return p;
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
	struct sthread_policy *p;

	if (!fd[0])
		prepare();
	in = (struct input){ data, len };
	memset(seen, 0, sizeof(seen));
	memset(live, 0, sizeof(live));
	nseen = 0;
	fake_reset();
	p = whole();
	fake_begin(p);
	atomic_store(&fake_stop, true);
	for (unsigned i = 0; i <= STHREAD_GATE_DEPTH; i++)
		lane_start(&lane[i], p, i);
	sthread_policy_destroy(p);
	while (in.left)
		step(&lane[0]);
	for (unsigned i = 0; i <= STHREAD_GATE_DEPTH; i++)
		lane_over(&lane[i]);
	fake_end();
	CHECK_EQ(children, 0);
	for (unsigned i = GATES; i--;) { /* the last has a reference on the first */
		CHECK_EQ(atomic_load(&gate[i]->refs), 1);
		gate_put(gate[i]);
	}
	for (unsigned i = 0; i < TAGS; i++)
		CHECK_EQ(atomic_load(&tag[i].refs), 1);
	CHECK_EQ(fd_objects(), 0);
	return 0;
}
