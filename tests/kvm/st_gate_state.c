/* SPDX-License-Identifier: MIT */
/*
 * st_gate_state.c - what is left of a call: of a fresh gate nothing, of a recycled one its memory and descriptors but
 * neither stack nor message, and that only until it fails.  World: host; gates and ST_FN: inside.
 */
#include <sys/mman.h>

#include "tests/kvm/st_life.h"
#include "tests/st_gate.h"

/* ---- gates ------------------------------------------------------------------------------------------------- */

static char global[4096 * 3] = "image";
static int64_t counter;

/* Counts its calls in three kinds of memory, and says when they differ. */
static ssize_t counts(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	static int64_t *heap, *area;

	(void)trusted;
	(void)in;
	if (!heap) {
		heap = calloc(1, sizeof(*heap));
		area = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	}
	counter++;
	++*heap;
	++*area;
	CHECK(*heap == counter && *area == counter);
	if (in_len)
		abort();
	return gate_answer(out, out_cap, counter);
}

#define SECRET "0123456789 secret of a call"

static bool holds(const char *from, const char *to)
{
	return memmem(from, (size_t)(to - from), &SECRET[3], 12) != NULL;
}

/* in "k": leaves the secret everywhere; in "l": what it finds of it, as bits. */
static ssize_t leaves(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	volatile uint64_t vector[4] = { 1, 2, 3, 4 };
	char deep[40000];
	int64_t found = 0;
	uint64_t flags;

	if (*(const char *)in == 'k') {
		for (size_t i = 0; i + sizeof(SECRET) < sizeof(deep); i += sizeof(SECRET))
			memcpy(deep + i, SECRET, sizeof(SECRET));
		memcpy(global + 5000, SECRET, sizeof(SECRET));
		for (size_t i = 0; i + sizeof(SECRET) < out_cap; i += sizeof(SECRET))
			memcpy((char *)out + i, SECRET, sizeof(SECRET));
		__asm__ volatile("movups %0, %%xmm9\n\tstd\n\tcld" : : "m"(vector) : "xmm9");
		__asm__ volatile("" : : "r"(deep) : "memory");
		return 0;
	}
	__asm__ volatile("movups %%xmm9, %0\n\tpushfq\n\tpop %1" : "=m"(vector), "=r"(flags) : : "memory");
	/* As deep as the other wrote: what is below this frame, and the frame itself, unwritten. */
	__asm__ volatile("" : "=m"(deep));
	found |= holds(deep, deep + sizeof(deep)) ? 1 : 0;
	found |= holds(global, global + sizeof(global)) ? 2 : 0;
	/* The message and all behind it. */
	found |= holds((const char *)in + in_len, (char *)out + out_cap) ? 4 : 0;
	found |= vector[0] == 1 || vector[1] == 2 ? 8 : 0;
	(void)trusted;
	return gate_answer(out, out_cap, found);
}

/* Opens what is beneath `trusted` once; a call tells how many bytes it could read since. */
static ssize_t reads_on(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	static int fd = -1;
	char c;

	(void)in;
	(void)in_len;
	if (fd < 0)
		fd = openat((int)(intptr_t)trusted, "stat", O_RDONLY);
	if (fd < 0)
		return -errno;
	if (read(fd, &c, 1) != 1)
		return -errno;
	return gate_answer(out, out_cap, c);
}

/* ---- inside --------------------------------------------------------------------------------------------------- */

ST_FN(asks_counts)
{
	return (void *)gate_word("counts");
}

/* ---- outside ------------------------------------------------------------------------------------------------------ */

static void state(void)
{
	struct sthread_gate *fresh = GATE(.fn = counts),
			    *kept = GATE(.name = "counts", .fn = counts, .kind = STHREAD_GATE_RECYCLED),
			    *other = GATE(.fn = counts, .kind = STHREAD_GATE_RECYCLED);
	struct sthread_policy *p = gate_policy(kept);
	struct sthread_result r;

	for (int64_t i = 1; i < 10; i++) {
		CHECK_EQ(gate_word_of(fresh, NULL, 0), 1);
		CHECK_EQ(gate_word_of(kept, NULL, 0), 2 * i - 1);
		/* Whoever calls. */
		r = i % 2 ? st_call(p, asks_counts, NULL) : st_run(p, asks_counts, NULL);
		ST_RETURNED(&r, 2 * i);
	}
	CHECK_EQ(gate_word_of(other, NULL, 0), 1);
	/* A failure puts it back to the beginning. */
	CHECK_ERR(gate_word_of(kept, "x", 1), -EIO);
	CHECK_EQ(gate_word_of(kept, NULL, 0), 1);
	CHECK_EQ(gate_word_of(other, NULL, 0), 2);
	CHECK_EQ(counter, 0);
	sthread_gate_destroy(fresh);
	sthread_gate_destroy(kept);
	sthread_gate_destroy(other);
	/* The policy still names it. */
	r = st_call(p, asks_counts, NULL);
	ST_RETURNED(&r, -ENOENT);
	sthread_policy_destroy(p);
}

static void residue(void)
{
	static char out[60000];

	for (int kind = 0; kind < 2; kind++) {
		struct sthread_gate *g = GATE(.fn = leaves, .kind = (enum sthread_gate_kind)kind);
		int64_t found;

		for (int i = 0; i < 3; i++) {
			CHECK_EQ(sthread_gate_call(g, "k" SECRET, sizeof(SECRET) + 1, out, sizeof(out)), 0);
			found = -1;
			CHECK_EQ(sthread_gate_call(g, "l", 1, out, sizeof(out)), (ssize_t)sizeof(found));
			memcpy(&found, out, sizeof(found));
			/* The twin: its globals, and only where they are to stay. */
			CHECK_EQ(found, kind == STHREAD_GATE_RECYCLED ? 2 : 0);
		}
		sthread_gate_destroy(g);
	}
}

/* Where its message is. */
static ssize_t where(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in_len;
	return gate_answer(out, out_cap, (int64_t)(uintptr_t)in);
}

ST_FN(reads_page)
{
	const volatile uint64_t *p = (uint64_t *)((uintptr_t)arg & ~4095UL);
	uint64_t all = 0;

	for (int i = 0; i < 512; i++)
		all |= p[i];
	return (void *)all;
}

/* A plain run in the lane that a gate had: where the message was is nothing, or a page of zeros. */
static void *runs_after(void *at)
{
	for (uintptr_t page = 0; page < 30; page++) {
		char *there = (char *)at + page * 4096;
		struct sthread_result r = st_call(NULL, reads_page, there);

		if (r.end == STHREAD_RETURNED && page < 2)
			ST_RETURNED(&r, 0);
		else
			ST_FAULTS(&r, STHREAD_FAULT_MEMORY, (uintptr_t)there & ~4095UL, 1, ST_IN(reads_page), "message");
	}
	return NULL;
}

static void message_gone(void)
{
	static char in[60000], out[60000];
	struct sthread_gate *g = GATE(.fn = leaves), *w = GATE(.fn = where);
	int64_t at = gate_word_of(w, NULL, 0);

	memset(in, 'k', sizeof(in));
	CHECK_EQ(sthread_gate_call(g, in, sizeof(in), out, sizeof(out)), 0);
	/* A thread without a lane takes the one that was put last. */
	life_join(life_thread(runs_after, (void *)at));
	sthread_gate_destroy(g);
	sthread_gate_destroy(w);
}

static void descriptors(void)
{
	struct sthread_policy *p = st_policy();
	int dir = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC), tmp;
	char name[] = "/tmp/st_gate_state_XXXXXX", path[64];
	struct sthread_gate *g;

	close(dir);
	CHECK(mkdtemp(name) != NULL);
	snprintf(path, sizeof(path), "%s/stat", name);
	tmp = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK_EQ(write(tmp, "abc", 3), 3);
	dir = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	st_allow(p, SYS_openat, SYS_read);
	st_grant_dir(p, dir, STHREAD_FD_READ);
	for (int kind = 0; kind < 2; kind++) {
		g = GATE(.fn = reads_on, .policy = p, .trusted = (void *)(intptr_t)dir,
			 .kind = (enum sthread_gate_kind)kind);
		CHECK_EQ(gate_word_of(g, NULL, 0), 'a');
		CHECK_EQ(gate_word_of(g, NULL, 0), kind ? 'b' : 'a');
		CHECK_EQ(gate_word_of(g, NULL, 0), kind ? 'c' : 'a');
		sthread_gate_destroy(g);
	}
	sthread_policy_destroy(p);
	close(tmp);
	close(dir);
	unlink(path);
	rmdir(name);
}

int main(void)
{
	struct life was;

	signal(SIGPIPE, SIG_IGN);
	/* The second time nothing is left that was not after the first. */
	for (int round = 0; round < 2; round++) {
		st_init();
		state();
		residue();
		message_gone();
		descriptors();
		sthread_fini();
		if (!round)
			was = life_take(LIFE_SIGNAL);
	}
	LIFE_SAME(&was, LIFE_SIGNAL, 40); /* stacks and arenas of threads, which the C library keeps */
	return TEST_PASSED;
}
