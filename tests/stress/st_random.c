/* SPDX-License-Identifier: MIT */
/*
 * st_random.c - compartments of chance: random bytes executed from random places with random registers, and random
 * system calls and calls of the library with arguments that are half likely.  However they end, the master's memory,
 * descriptors and threads, a tag that they may read and the state of a gate that they may call are what they were, and
 * others answer.  World: host; what is marked runs inside.
 *
 *   st_random [--seed N]	for SECONDS; one batch with this seed
 */
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "sthread/inside/hostcall.h"
#include "tests/st_gate.h"
#include "tests/stress/digest.h"

#define SECONDS	    60
#define REPORT	    10 /* seconds between lines of progress */
#define RUNS	    25 /* of a batch */
#define CALLS	    60 /* of a run */
#define RUN_NS	    15000000
#define GUARDED	    (256UL << 10)
#define DESCRIPTORS 7
#define POOL	    8

/*
 * Nothing inside is both writable and executable: the bytes are text, the same in each build.  This beginning gives
 * neither VPINSRW without the prefix 66 in it nor VROUNDSS/SD with VEX.L set, at any offset: QEMU 7.2 aborts on both.
 */
#define BYTES (256UL << 10)
extern const char random_bytes[];
__asm__(".pushsection .text\n"
	"random_bytes:\n"
	".set st_random_state, 20261122\n"
	".rept 262144\n"
	".set st_random_state, (st_random_state * 1103515245 + 12345) & 0x7fffffff\n"
	".byte (st_random_state >> 16) & 255\n"
	".endr\n"
	".popsection\n");

static uint64_t next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* ---- inside ------------------------------------------------------------------------------------------ */

static int descriptor[DESCRIPTORS]; /* the last two: a socket without a peer, a directory */
static struct sockaddr_un where = { .sun_family = AF_UNIX }; /* granted */
enum { TAG, TAG_START, GATE, KNOWN };
static uint64_t known[KNOWN]; /* set before the first run */
static uint64_t recent[4];	    /* what calls of the library gave */
static char scratch[64 << 10];
static unsigned char guarded[GUARDED]; /* the master's must stay; the compartment has a copy */

static void *calls(void *arg);
static void *instructions(void *arg);

/* What the library's own calls take. */
static uint64_t handle(uint64_t n)
{
	switch (n % 8) {
	case 0: return (uintptr_t)&where;
	case 1: return (uintptr_t)calls;
	case 2: return (uintptr_t)instructions;
	case 3: return known[TAG_START] + n / 8 % GUARDED;
	case 4: return known[TAG];
	case 5: return known[GATE];
	default: return recent[n / 8 % 4];
	}
}

static uint64_t likely(uint64_t *s)
{
	uint64_t n = next(s);

	switch (n >> 60) {
	case 0: case 1: case 2: return (uint64_t)descriptor[n % DESCRIPTORS];
	case 3: return handle(n);
	case 4: case 5: case 6: return (uintptr_t)scratch + n % sizeof(scratch);
	case 7: return (uintptr_t)&scratch[sizeof(scratch) - n % 16];
	case 8: return (uintptr_t)guarded + n % GUARDED;
	case 9: return n % 64;
	case 10: return n % 4 ? n % 64 : sizeof(where);
	case 11: return 1UL << n % 64;
	case 12: return n % 8192;
	case 13: return (uintptr_t)random_bytes + n % BYTES;
	case 14: return -(n % 4096);
	default: return n;
	}
}

/* Argument k of a call of the library: most begin with handles; then pointers and small numbers take turns. */
static uint64_t own_argument(uint64_t *s, int k)
{
	if (next(s) % 4 == 0 || (k >= 2 && k % 2))
		return likely(s);
	return k < 2 ? handle(next(s)) : next(s) % 64;
}

/* Of Linux, or with `own` mostly of the library. */
static long number(uint64_t *s, bool own)
{
	uint64_t n = next(s);

	if (n >> 60 == 0)
		return (long)next(s);
	if (n >> 60 < (own ? 14 : 2))
		return (long)(HOSTCALL_RETURN + n % (HOSTCALLS_END + 1 - HOSTCALL_RETURN));
	return (long)(n % 460);
}

static bool ends(long nr)
{
	return nr == SYS_exit || nr == SYS_exit_group || nr == HOSTCALL_RETURN || nr == HOSTCALL_EXIT;
}

ST_FN(calls)
{
	uint64_t s = (uintptr_t)arg;
	bool own = s % 2;

	for (int i = 0; i < CALLS; i++) {
		long nr = i || !own ? number(&s, own) : HOSTCALL_POLICY_CREATE, got;
		uint64_t a[6];

		for (int k = next(&s) % 4; k >= 0; k--)
			((uint64_t *)scratch)[next(&s) % (sizeof(scratch) / 8)] = likely(&s);
		if (ends(nr) && next(&s) % 16)
			continue;
		for (int k = 0; k < 6; k++)
			a[k] = own ? own_argument(&s, k) : likely(&s);
		got = syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
		if (own && got > 0)
			recent[i % 4] = (uint64_t)got;
	}
	return NULL;
}

ST_FN(instructions)
{
	uint64_t s = (uintptr_t)arg, r[16];
	uint64_t to = (uintptr_t)random_bytes + next(&s) % BYTES;

	for (int i = 0; i < 16; i++)
		r[i] = likely(&s);
	r[15] = to;
	__asm__ volatile("mov %0, %%r15\n"
			 "mov (%%r15), %%rax\n mov 8(%%r15), %%rbx\n mov 16(%%r15), %%rcx\n"
			 "mov 24(%%r15), %%rdx\n mov 32(%%r15), %%rsi\n mov 40(%%r15), %%rdi\n"
			 "mov 48(%%r15), %%r8\n mov 56(%%r15), %%r9\n mov 64(%%r15), %%r10\n"
			 "mov 72(%%r15), %%r11\n mov 80(%%r15), %%r12\n mov 88(%%r15), %%r13\n"
			 "mov 96(%%r15), %%r14\n jmp *120(%%r15)\n"
			 :
			 : "r"(r)
			 : "memory");
	__builtin_unreachable();
}

/* The gate: its state comes from its trusted argument alone; the answer is the digest of it. */
static ssize_t keeps(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	static uint64_t kept[1024];
	uint64_t s = (uintptr_t)trusted;

	(void)in, (void)in_len;
	for (size_t i = 0; !kept[0] || i; i = (i + 1) % 1024)
		kept[i] = next(&s) | 1;
	return gate_answer(out, out_cap, (int64_t)digest(kept, sizeof(kept), 2));
}

/* The twin: what is granted is there, and no more of it. */
ST_FN(has_what_is_granted)
{
	struct sockaddr_un other = where;
	int64_t word;

	CHECK_MEM((void *)known[TAG_START], arg, 64);
	CHECK(!sthread_malloc((struct sthread_tag *)known[TAG], 8) && errno == EPERM);
	CHECK_EQ(sthread_gate_call((struct sthread_gate *)known[GATE], NULL, 0, &word, sizeof(word)),
		 (ssize_t)sizeof(word));
	CHECK_EQ(sendto(descriptor[DESCRIPTORS - 2], "x", 1, 0, (void *)&where, sizeof(where)), 1);
	other.sun_path[1] ^= 1;
	CHECK(sendto(descriptor[DESCRIPTORS - 2], "x", 1, 0, (void *)&other, sizeof(other)) == -1 && errno == EACCES);
	return NULL;
}

ST_FN(writes)
{
	*(volatile char *)arg = 'W';
	return NULL;
}

/* ---- what must not change ------------------------------------------------------------------------------ */

struct world {
	uint64_t memory, files, gate, tag_bytes;
	unsigned descriptors, threads;
};

static unsigned char *heap, *mapped, *tagged;
static struct constants constants;
static struct sthread_gate *gate;
static int receiver;

static uint64_t memory_now(void)
{
	uint64_t h = digest_constants(&constants, digest(guarded, GUARDED, 1));

	return digest(tagged, GUARDED, digest(mapped, GUARDED, digest(heap, GUARDED, h)));
}

static struct world world_now(void)
{
	struct world w = { .memory = memory_now() };
	struct sthread_stats st;
	char c;

	while (recv(receiver, &c, 1, MSG_DONTWAIT) >= 0)
		;
	CHECK_EQ(sthread_gate_call(gate, NULL, 0, &w.gate, sizeof(w.gate)), (ssize_t)sizeof(w.gate));
	CHECK_OK(sthread_stats(&st));
	w.tag_bytes = st.tag_bytes;
	w.descriptors = entries_of("/proc/self/fd", &w.files);
	w.threads = entries_of("/proc/self/task", NULL);
	return w;
}

/* ---- ------------------------------------------------------------------------------------------------------ */

static struct sthread_policy *policy(void)
{
	struct sthread_policy *p = st_policy_all_calls();

	for (int i = 0; i < DESCRIPTORS - 1; i++)
		st_grant(p, descriptor[i], STHREAD_FD_ALL & ~STHREAD_FD_SHUTDOWN);
	st_grant_dir(p, descriptor[DESCRIPTORS - 1], STHREAD_FD_READ | STHREAD_FD_STAT);
	CHECK_OK(sthread_policy_tag(p, (struct sthread_tag *)known[TAG], STHREAD_READ));
	CHECK_OK(sthread_policy_gate(p, gate));
	CHECK_OK(sthread_policy_connect(p, (void *)&where, sizeof(where), STHREAD_EXACT));
	st_limit(p, STHREAD_LIMIT_MEMORY, 4 << 20);
	return p;
}

static void make_descriptors(char dir[])
{
	int pair[2];
	FILE *f = tmpfile();

	CHECK(f && mkdtemp(dir));
	descriptor[0] = dup(fileno(f));
	fclose(f);
	CHECK_OK(pipe2(pair, O_NONBLOCK));
	descriptor[1] = pair[0];
	descriptor[2] = pair[1];
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	descriptor[3] = pair[0];
	descriptor[4] = pair[1];
	descriptor[5] = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	descriptor[6] = open(dir, O_RDONLY | O_DIRECTORY);
	CHECK(descriptor[0] >= 0 && descriptor[5] >= 0 && descriptor[6] >= 0);
	receiver = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	snprintf(where.sun_path + 1, sizeof(where.sun_path) - 1, "st_random %d", (int)getpid());
	CHECK_EQ(bind(receiver, (void *)&where, sizeof(where)), 0);
}

/* A tag with a block of the master's in it, and a gate: known inside. */
static void make_tag_and_gate(uint64_t seed)
{
	struct sthread_tag *tag;

	CHECK_OK(sthread_tag_create(&tag, "read", 4 * GUARDED));
	tagged = sthread_malloc(tag, GUARDED);
	CHECK(tagged);
	gate = GATE(.name = "keeps", .fn = keeps, .trusted = (void *)(uintptr_t)seed, .kind = STHREAD_GATE_RECYCLED);
	known[TAG] = (uintptr_t)tag;
	known[TAG_START] = (uintptr_t)tagged;
	known[GATE] = (uintptr_t)gate;
	CHECK_OK(sthread_checkpoint_range(known, sizeof(known)));
}

/* Two at a time, each on a worker behind the filter; every third on this thread. */
static void batch(const struct sthread_policy *p, uint64_t seed, unsigned ended[])
{
	uint64_t s = seed;

	for (int i = 0; i < RUNS; i++) {
		st_fn *a = next(&s) % 2 ? calls : instructions, *b = next(&s) % 2 ? calls : instructions;
		uint64_t x = next(&s), y = next(&s);
		struct sthread *t = st_create(p, a, (void *)x);
		struct sthread_result r, q;

		r = i % 3 ? st_run(p, b, (void *)y) : st_call(p, b, (void *)y);
		q = st_join(t);
		CHECK_MSG(r.end != STHREAD_LOST && q.end != STHREAD_LOST,
			  "run %d of --seed %" PRIu64 " lost its processor (0x%" PRIx64 ", 0x%" PRIx64 ")", i, seed, x, y);
		ended[r.end]++;
		ended[q.end]++;
	}
}

static void check_world(const struct world *was, uint64_t seed)
{
	struct world is = world_now();

	CHECK_MSG(is.memory == was->memory, "the master's memory, --seed %" PRIu64, seed);
	CHECK_MSG(is.gate == was->gate, "the gate's state, --seed %" PRIu64, seed);
	CHECK_MSG(is.tag_bytes == was->tag_bytes, "the tag's blocks, --seed %" PRIu64, seed);
	CHECK_MSG(is.descriptors == was->descriptors && is.files == was->files, "%u descriptors, not %u, --seed %" PRIu64,
		  is.descriptors, was->descriptors, seed);
	/* Those of the pool that sthreads made inside asked for, and one more that has not ended yet. */
	CHECK_LE(is.threads, was->threads + POOL + 2);
	st_others_live();
}

static uint64_t now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec;
}

int main(int argc, char **argv)
{
	struct timespec now;
	uint64_t seconds = test_scale(SECONDS), start, report = 0, batches = 0, seed, one;
	unsigned ended[STHREAD_LOST + 1] = { 0 };
	char dir[] = "/tmp/st_random.XXXXXX";
	struct sthread_policy *p;
	struct sthread_stats before, after;
	struct sthread_result r;
	struct world was;

	clock_gettime(CLOCK_REALTIME, &now);
	seed = (uint64_t)now.tv_nsec << 20 ^ (uint64_t)now.tv_sec;
	if (argc == 3 && !strcmp(argv[1], "--seed"))
		seed = strtoull(argv[2], NULL, 0), seconds = 0;
	make_descriptors(dir);
	one = seed;
	for (size_t i = 0; i < GUARDED; i++)
		guarded[i] = (unsigned char)next(&one);
	st_init_with((struct sthread_config){ .pool = POOL });
	make_tag_and_gate(seed);
	heap = malloc(GUARDED);
	mapped = mmap(NULL, GUARDED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(heap && mapped != MAP_FAILED);
	find_constants(&constants);
	memcpy(tagged, guarded, GUARDED);
	for (size_t i = 0; i < GUARDED; i++)
		heap[i] = mapped[i] = (unsigned char)next(&one);
	p = policy();
	ST_PASSES(p, has_what_is_granted, guarded);
	r = st_call(p, writes, tagged);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, tagged, 2, ST_IN(writes), "read");
	st_limit(p, STHREAD_LIMIT_WALL_NS, RUN_NS);
	st_others_live();
	for (int i = 0; i < 3; i++)
		batch(p, 1, ended); /* lanes, workers and the watch are there */
	was = world_now();
	CHECK_OK(sthread_stats(&before));
	start = now_s();
	do {
		if (now_s() - start >= report) {
			NOTE("%" PRIu64 " s, %" PRIu64 " batches; the next: --seed %" PRIu64, now_s() - start, batches,
			     seed + batches);
			report += REPORT;
		}
		batch(p, seed + batches, ended);
		check_world(&was, seed + batches);
		batches++;
	} while (now_s() - start < seconds);
	CHECK_OK(sthread_stats(&after));
	CHECK_EQ(after.vcpus_lost, 0);
	/* Of two trees that once were as large as they may be. */
	CHECK_LE(after.vcpus, before.vcpus + 2 * (STHREAD_NEST_LIVE + POOL));
	NOTE("%" PRIu64 " batches: returned %u, exited %u, aborted %u, faulted %u, denied %u, over a limit %u; of them made "
	     "inside %" PRIu64 "; gate calls %" PRIu64, batches, ended[STHREAD_RETURNED], ended[STHREAD_EXITED],
	     ended[STHREAD_ABORTED], ended[STHREAD_FAULTED], ended[STHREAD_DENIED], ended[STHREAD_OVER_LIMIT],
	     after.created + after.calls - before.created - before.calls - batches * (2 * RUNS + 1),
	     after.gate_calls - before.gate_calls - batches);
	/* Both kinds were really there. */
	CHECK(ended[STHREAD_FAULTED] && ended[STHREAD_RETURNED] + ended[STHREAD_OVER_LIMIT]);
	sthread_policy_destroy(p);
	CHECK_OK(rmdir(dir));
	return 0;
}
