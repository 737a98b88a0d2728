/* SPDX-License-Identifier: MIT */
/*
 * st_random.c - compartments of chance: random bytes executed from random places with random registers, and random
 * system calls with arguments that are half likely.  However they end, the master's memory, descriptors and threads
 * are what they were, and others answer.  World: host; what is marked runs inside.
 *
 *   st_random [--seed N]
 */
#include <dirent.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#include "tests/st.h"

#define BATCHES	    24
#define RUNS	    25
#define CALLS	    60 /* of a run */
#define RUN_NS	    15000000
#define GUARDED	    (256UL << 10)
#define DESCRIPTORS 6

/* Nothing inside is both writable and executable: the bytes are text, the same in each build. */
#define BYTES (256UL << 10)
extern const char random_bytes[];
__asm__(".pushsection .text\n"
	"random_bytes:\n"
	".set st_random_state, 20261121\n"
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

static int descriptor[DESCRIPTORS];
static char scratch[64 << 10];
static unsigned char guarded[GUARDED]; /* the master's must stay; the compartment has a copy */

static uint64_t likely(uint64_t *s)
{
	uint64_t n = next(s);

	switch (n >> 60) {
	case 0: case 1: case 2: case 3: return (uint64_t)descriptor[n % DESCRIPTORS];
	case 4: case 5: case 6: return (uintptr_t)scratch + n % sizeof(scratch);
	case 7: return (uintptr_t)&scratch[sizeof(scratch) - n % 16];
	case 8: return (uintptr_t)guarded + n % GUARDED;
	case 9: case 10: return n % 64;
	case 11: return 1UL << n % 64;
	case 12: return n % 8192;
	case 13: return (uintptr_t)random_bytes + n % BYTES;
	case 14: return -(n % 4096);
	default: return n;
	}
}

ST_FN(calls)
{
	uint64_t s = (uintptr_t)arg;

	for (int i = 0; i < CALLS; i++) {
		long nr = (long)(next(&s) % 16 ? next(&s) % 340 : next(&s));

		for (int k = next(&s) % 4; k >= 0; k--)
			((uint64_t *)scratch)[next(&s) % (sizeof(scratch) / 8)] = likely(&s);
		if ((nr == SYS_exit || nr == SYS_exit_group) && next(&s) % 8)
			continue;
		syscall(nr, likely(&s), likely(&s), likely(&s), likely(&s), likely(&s), likely(&s));
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

/* ---- what must not change ------------------------------------------------------------------------------ */

static uint64_t digest(const void *p, size_t len, uint64_t h)
{
	const uint64_t *w = p;

	for (size_t i = 0; i < len / 8; i++)
		h = (h ^ w[i]) * 0x100000001b3 + (h >> 47);
	return h;
}

struct world {
	uint64_t memory, files;
	unsigned descriptors, threads;
};

static unsigned char *heap, *mapped;

static struct {
	unsigned long from, to;
} constant[512];
static unsigned nconstant;

/* What is mapped of files now and cannot be written: text, constants, relocated data. */
static void find_constants(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];

	CHECK(f);
	while (fgets(line, sizeof(line), f)) {
		unsigned long from, to, inode;
		char prot[5];

		CHECK(sscanf(line, "%lx-%lx %4s %*x %*s %lu", &from, &to, prot, &inode) == 4);
		if (!inode || prot[0] != 'r' || prot[1] != '-')
			continue;
		CHECK(nconstant < sizeof(constant) / sizeof(constant[0]));
		constant[nconstant].from = from;
		constant[nconstant++].to = to;
	}
	fclose(f);
	CHECK_GT(nconstant, 4);
}

static uint64_t memory_now(void)
{
	uint64_t h = digest(guarded, GUARDED, 1);

	for (unsigned i = 0; i < nconstant; i++)
		h = digest((void *)constant[i].from, constant[i].to - constant[i].from, h);
	return digest(mapped, GUARDED, digest(heap, GUARDED, h));
}

static unsigned entries_of(const char *dir, uint64_t *h)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	CHECK(d);
	for (struct dirent *e; (e = readdir(d));) {
		char path[300], to[300] = { 0 };

		if (e->d_name[0] == '.' || atoi(e->d_name) == dirfd(d))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (h && readlink(path, to, sizeof(to) - 1) > 0 && strstr(to, "kvm-vcpu"))
			continue; /* of one more lane: the one before was still being cleaned */
		n++;
		if (h)
			*h += digest(to, sizeof(to) & ~7UL, (uint64_t)atoi(e->d_name));
	}
	closedir(d);
	return n;
}

static struct world world_now(void)
{
	struct world w = { .memory = memory_now() };

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
	st_limit(p, STHREAD_LIMIT_WALL_NS, RUN_NS);
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
	descriptor[5] = open(dir, O_RDONLY | O_DIRECTORY);
	CHECK(descriptor[0] >= 0 && descriptor[5] >= 0);
}

/* Two at a time, each on a worker behind the filter; every third on this thread. */
static void batch(const struct sthread_policy *p, uint64_t seed, unsigned ends[])
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
		ends[r.end]++;
		ends[q.end]++;
	}
}

int main(int argc, char **argv)
{
	struct timespec now;
	unsigned long batches = test_scale(BATCHES);
	unsigned ends[STHREAD_LOST + 1] = { 0 };
	char dir[] = "/tmp/st_random.XXXXXX";
	struct sthread_policy *p;
	struct sthread_stats before, after;
	struct world was;
	uint64_t seed, one;

	clock_gettime(CLOCK_REALTIME, &now);
	seed = (uint64_t)now.tv_nsec << 20 ^ (uint64_t)now.tv_sec;
	if (argc == 3 && !strcmp(argv[1], "--seed"))
		seed = strtoull(argv[2], NULL, 0), batches = 1;
	make_descriptors(dir);
	st_init();
	heap = malloc(GUARDED);
	mapped = mmap(NULL, GUARDED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(heap && mapped != MAP_FAILED);
	find_constants();
	one = seed;
	for (size_t i = 0; i < GUARDED; i++)
		guarded[i] = heap[i] = mapped[i] = (unsigned char)next(&one);
	p = policy();
	st_others_live();
	for (int i = 0; i < 3; i++)
		batch(p, 1, ends); /* lanes, workers and the watch are there */
	was = world_now();
	CHECK_OK(sthread_stats(&before));
	for (unsigned long i = 0; i < batches; i++) {
		struct world is;

		printf("--seed %" PRIu64 "\n", seed + i);
		fflush(stdout);
		batch(p, seed + i, ends);
		is = world_now();
		CHECK_EQ(is.memory, was.memory);
		CHECK_EQ(is.descriptors, was.descriptors);
		CHECK_EQ(is.files, was.files);
		CHECK_LE(is.threads, was.threads + 2); /* one more worker, for the same reason */
		st_others_live();
	}
	CHECK_OK(sthread_stats(&after));
	CHECK_EQ(after.vcpus_lost, 0);
	CHECK_LE(after.vcpus, before.vcpus + 2);
	printf("returned %u, exited %u, aborted %u, faulted %u, denied %u, over a limit %u\n", ends[STHREAD_RETURNED],
	       ends[STHREAD_EXITED], ends[STHREAD_ABORTED], ends[STHREAD_FAULTED], ends[STHREAD_DENIED],
	       ends[STHREAD_OVER_LIMIT]);
	/* Both kinds were really there. */
	CHECK(ends[STHREAD_FAULTED] && ends[STHREAD_RETURNED] + ends[STHREAD_OVER_LIMIT]);
	sthread_policy_destroy(p);
	CHECK_OK(rmdir(dir));
	return 0;
}
