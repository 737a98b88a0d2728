/* SPDX-License-Identifier: MIT */
/*
 * Guest memory that idle lanes keep is there for whoever needs it: for what a run touches or has written for it, the
 * tables of its tags, at its start and given by a gate, for a new lane.  Memory that live runs hold is not; then who
 * needs more is told.  World: host; ST_FN and gates that are not native: inside.
 */
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "tests/kvm/st_life.h"
#include "tests/st_gate.h"

#define PAGE   4096UL
#define HUGE   (2UL << 20)
#define GIB    (1UL << 30)
#define ROOM   (24UL << 20) /* besides the image */
#define FREE   800	    /* pages that are left of it for all that follows */
#define TABLES 240	    /* that some lanes keep */
#define KEPT   40	    /* pages that others do */
#define MORE   400	    /* than are left beside such lanes */
#define LANES  60

static char *memory;
static struct sthread_policy *keeps_tables, *keeps_pages;
static struct sthread_tag *wide;
static int ready[2], hold[2];

/* A page in each of n parts of 2 MiB: a page table each. */
static struct sthread_policy *tables(unsigned first, unsigned n)
{
	struct sthread_policy *p = st_policy();

	for (unsigned i = 0; i < n; i++)
		CHECK_OK(
			sthread_policy_memory(p, memory + (first + i) * HUGE, PAGE, STHREAD_WRITE));
	st_limit(p, STHREAD_LIMIT_MEMORY, GIB);
	st_allow(p, SYS_read, SYS_write);
	st_grant(p, ready[1], STHREAD_FD_WRITE);
	st_grant(p, hold[0], STHREAD_FD_READ);
	return p;
}

/* Has so many pages, and says so; until a byte comes for each. */
ST_FN(waits)
{
	char *p = mmap(NULL, MORE * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0),
	     c = 1;

	CHECK(p != MAP_FAILED);
	for (uintptr_t i = 0; i < (uintptr_t)arg; i++)
		p[i * PAGE] = 1;
	CHECK_EQ(write(ready[1], &c, 1), 1);
	CHECK_EQ(read(hold[0], &c, 1), 1);
	return NULL;
}

/* Until it is killed. */
ST_FN(stays)
{
	const struct timespec second = { 1, 0 };
	char c = 1;

	CHECK_EQ(write(ready[1], &c, 1), 1);
	for (;;)
		nanosleep(&second, NULL);
	return NULL;
}

static void await_one(void)
{
	struct pollfd p = { .fd = ready[0], .events = POLLIN };
	char c;

	CHECK_EQ(poll(&p, 1, 20000), 1);
	CHECK_EQ(read(ready[0], &c, 1), 1);
}

static uint64_t left(void)
{
	struct sthread_stats s = life_stats();

	return s.pages_total - s.pages_used;
}

/*
 * Live runs that have all the memory but for less than one of them needs; gives their number.  A page that was a table
 * is nothing else any more: so those that hold pages come first.
 */
static unsigned hold_all(struct sthread *st[LANES], bool pages)
{
	unsigned n = 0;

	CHECK_EQ(life_stats().pooled, 0);
	while (left() > (pages ? KEPT : TABLES) + 160) {
		CHECK_LT(n, LANES);
		st[n++] = st_create(pages ? keeps_pages : keeps_tables, waits,
				    (void *)(uintptr_t)(pages ? KEPT : 0));
		await_one();
	}
	CHECK_GE(n, 2);
	return n;
}

static void let_go(struct sthread *st[LANES], unsigned n)
{
	const char go[LANES] = { 0 };

	CHECK_EQ(write(hold[1], go, n), (ssize_t)n);
	for (unsigned i = 0; i < n; i++) {
		struct sthread_result r = st_join(st[i]);

		ST_RETURNED(&r, 0);
	}
	LIFE_UNTIL(life_stats().live == 1); /* see begin() */
}

/* ---- who needs it ---- */

ST_FN(touches)
{
	char *p = mmap(NULL, 8 * MORE * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	CHECK(p != MAP_FAILED);
	for (uintptr_t i = 0; i < (uintptr_t)arg; i++)
		p[i * PAGE] = 1;
	return NULL;
}

/* Who needs more than there is has all that is idle, before it is told so. */
static void none_idle(void)
{
	struct sthread_policy *p = st_policy();
	struct sthread_result r;

	st_limit(p, STHREAD_LIMIT_MEMORY, GIB);
	r = st_call(p, touches, (void *)(8 * MORE));
	ST_LIMIT(&r, STHREAD_LIMIT_MEMORY);
	CHECK_EQ(life_stats().pooled, 0);
	sthread_policy_destroy(p);
}

/* Idle lanes have all of it. */
static void idle_all(bool pages)
{
	struct sthread *st[LANES];
	unsigned n = hold_all(st, pages);

	let_go(st, n);
	CHECK_GE(life_stats().pooled, n);
	CHECK_LT(left(), MORE);
}

ST_FN(has_it_written)
{
	char *p =
		mmap(NULL, MORE * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	for (unsigned i = 0; i < MORE; i += 8)
		CHECK_EQ(syscall(SYS_getrandom, p + i * PAGE, 8 * PAGE, 0), 8 * PAGE);
	return NULL;
}

ST_FN(nothing)
{
	return NULL;
}

static ssize_t gate_fn(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted;
	(void)in;
	(void)in_len;
	return gate_answer(out, out_cap, (intptr_t)touches((void *)MORE));
}

static ssize_t gives(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted;
	(void)in;
	(void)in_len;
	return gate_answer(out, out_cap, sthread_gate_give_tag(wide, STHREAD_READ));
}

ST_FN(asks_for_wide)
{
	return (void *)gate_word("gives");
}

/* Each of these needs more than is left beside idle lanes, and less than there is. */
static void needed(unsigned what)
{
	struct sthread_policy *others = tables(TABLES, MORE), *any = tables(0, 0);
	struct sthread_gate *gate = GATE(.name = "gate", .fn = gate_fn, .policy = any);
	struct sthread_result r;
	uint64_t pooled;
	int64_t word;

	NOTE("needed, %u", what);
	ST_PASSES(NULL, nothing, NULL); /* this thread's own lane, which stays */
	idle_all(what < 4);
	pooled = life_stats().pooled;
	if (what == 0)
		ST_PASSES(any, touches, MORE);
	else if (what == 1) { /* on a thread that is behind the second wall */
		r = st_run(any, has_it_written, NULL);
		ST_RETURNED(&r, 0);
	} else if (what == 2)
		CHECK_EQ(sthread_gate_call(gate, NULL, 0, &word, sizeof(word)),
			 (ssize_t)sizeof(word));
	else if (what == 3)
		none_idle();
	else
		ST_PASSES(others, nothing, NULL);
	CHECK_LT(life_stats().pooled, pooled);
	CHECK_EQ(life_stats().vcpus_lost, 0);
	sthread_gate_destroy(gate);
	sthread_policy_destroy(others);
	sthread_policy_destroy(any);
}

/* Who is at its own limit takes nothing of it. */
static void own_limit(void)
{
	struct sthread_policy *p = tables(0, 0);
	struct sthread_result r;
	uint64_t pooled;

	NOTE("at its own limit");
	ST_PASSES(NULL, nothing, NULL);
	idle_all(true);
	pooled = life_stats().pooled;
	for (unsigned pages = 20; pages < 60; pages++) {
		st_limit(p, STHREAD_LIMIT_MEMORY, pages * PAGE);
		r = st_call(p, touches, (void *)MORE);
		ST_LIMIT(&r, STHREAD_LIMIT_MEMORY);
	}
	CHECK_EQ(life_stats().pooled, pooled);
	sthread_policy_destroy(p);
}

/* What live runs hold they keep. */
static void held(unsigned what)
{
	struct sthread_policy *others = tables(TABLES, MORE), *any = tables(0, 0);
	struct sthread_gate *gate = GATE(.name = "gate", .fn = gate_fn, .policy = any);
	struct sthread *st[LANES];
	struct sthread_result r;
	int64_t word;
	unsigned n;

	NOTE("held, %u", what);
	ST_PASSES(NULL, nothing, NULL);
	n = hold_all(st, what < 2);
	if (what == 0) {
		r = st_call(any, touches, (void *)MORE);
		ST_LIMIT(&r, STHREAD_LIMIT_MEMORY);
		CHECK_LT((uint64_t)r.value, MORE * PAGE);
	} else if (what == 1) {
		CHECK_ERR(sthread_gate_call(gate, NULL, 0, &word, sizeof(word)), -EDQUOT);
	} else {
		CHECK_ERR(sthread_call(others, nothing, NULL, &r), -ENOMEM);
	}
	let_go(st, n);
	sthread_gate_destroy(gate);
	sthread_policy_destroy(others);
	sthread_policy_destroy(any);
}

/* ---- the last of it ---- */

/* Live runs have all but for less than four pages. */
static unsigned hold_the_last(struct sthread *st[LANES])
{
	unsigned n = hold_all(st, false), more = (unsigned)left() - 60, rest;
	struct sthread_policy *p;

	for (;;) { /* one lane again and again, with as many tables as there is room for */
		CHECK_LT(n, LANES);
		p = tables(TABLES, more);
		st[n] = st_create(p, waits, NULL);
		await_one();
		sthread_policy_destroy(p);
		rest = (unsigned)left();
		if (rest < 4)
			return n + 1;
		more += rest - 3;
		CHECK_OK(sthread_kill(st[n]));
		CHECK_OK(sthread_join(st[n], NULL));
		LIFE_UNTIL(life_stats().live == n + 1);
	}
}

static ssize_t answers(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted;
	(void)in;
	(void)in_len;
	return gate_answer(out, out_cap, 7);
}

/* A lane for a gate, and the tables of what one gives. */
static void the_last(bool gift, bool live)
{
	struct sthread_gate *fresh = GATE(.name = "fresh", .fn = answers);
	struct sthread_gate *native = GATE(.name = "gives", .fn = gives, .native = true);
	struct sthread_policy *p = gate_policy(native);
	struct sthread *st[LANES];
	struct sthread_result r;
	uint64_t pooled;
	int64_t word;
	unsigned n;

	NOTE("the last, %s, %s", gift ? "a gift" : "a lane", live ? "held" : "idle");
	/* What it takes besides is there: twice, since the next run gives back what this was given. */
	ST_PASSES(p, asks_for_wide, NULL);
	ST_PASSES(p, nothing, NULL);
	n = hold_the_last(st);
	if (!live)
		let_go(st, n);
	CHECK_LT(left(), 4);
	pooled = life_stats().pooled;
	if (gift) {
		r = st_call(p, asks_for_wide, NULL);
		ST_RETURNED(&r, live ? -ENOMEM : 0);
	} else if (live) {
		CHECK_ERR(sthread_gate_call(fresh, NULL, 0, &word, sizeof(word)), -ENOMEM);
	} else {
		CHECK_EQ(sthread_gate_call(fresh, NULL, 0, &word, sizeof(word)),
			 (ssize_t)sizeof(word));
		CHECK_EQ(word, 7);
	}
	if (live)
		let_go(st, n);
	else
		CHECK_LT(life_stats().pooled, pooled + !gift); /* the gate's lane rests, too */
	sthread_gate_destroy(fresh);
	sthread_gate_destroy(native);
	sthread_policy_destroy(p);
}

/* ---- what could not be taken away ---- */

/* Mapped live by large leaves: to have the image's in its place again takes tables. */
static char data[10 * HUGE] __attribute__((aligned(HUGE)));

ST_FN(reads)
{
	return (void *)(uintptr_t)*(volatile char *)arg;
}

/*
 * A lane from which a run's rights can only be taken in part, for want of memory, is of no use to another, though there is
 * memory again when it is tried once more.
 */
static void taken_in_part(void)
{
	struct sthread_policy *all = st_policy(), *none = st_policy();
	struct sthread_tag *secret;
	struct sthread *st[LANES];
	struct sthread_result r;
	unsigned n;
	char *at;

	NOTE("taken in part");
	CHECK_OK(sthread_tag_create(&secret, "secret", PAGE));
	at = sthread_tag_start(secret);
	*at = 5;
	CHECK_OK(sthread_policy_tag(all, secret, STHREAD_WRITE));
	CHECK_OK(sthread_policy_memory(all, data, sizeof(data), STHREAD_WRITE));
	r = st_call(none, reads, at);
	ST_END(&r, STHREAD_FAULTED);
	ST_PASSES(all, nothing, NULL);
	n = hold_the_last(st);
	r = st_call(all, reads, at); /* the lane has it still */
	ST_RETURNED(&r, 5);
	CHECK_EQ(write(hold[1], "", 1), 1); /* one of them ends; its lane rests */
	LIFE_UNTIL(life_stats().pooled == 1);
	CHECK_LT(left(), 4);
	CHECK_ERR(sthread_call(none, reads, at, &r), -ENOMEM);
	CHECK_EQ(write(hold[1], st, n - 1), (ssize_t)n - 1);
	for (unsigned i = 0; i < n; i++)
		CHECK_OK(sthread_join(st[i], NULL));
	sthread_policy_destroy(all);
	sthread_policy_destroy(none);
}

/* ---- each with all of the memory ---- */

static struct sthread_policy *hogs;

static void begin(void)
{
	struct sthread_config cfg = { .pool = LANES };
	struct sthread_stats s;

	st_init_with(cfg);
	CHECK_OK(sthread_stats(&s));
	sthread_fini();
	cfg.memory = s.image_bytes + ROOM; /* the image is not always as large */
	st_init_with(cfg);
	CHECK_OK(sthread_map((ROOM / PAGE + MORE) * HUGE, (void **)&memory));
	CHECK_OK(sthread_tag_create(&wide, "wide", 8 * GIB));
	keeps_tables = tables(0, TABLES);
	keeps_pages = tables(0, 0);
	/* What follows is the same with less memory, and takes less time. */
	hogs = tables(0, (unsigned)left() - FREE);
	CHECK_OK(sthread_detach(st_create(hogs, stays, NULL)));
	await_one();
}

/* Pages that were tables are of no use to a new lane. */
static void end(bool room)
{
	if (room)
		ST_PASSES(NULL, nothing, NULL);
	sthread_policy_destroy(hogs);
	sthread_policy_destroy(keeps_tables);
	sthread_policy_destroy(keeps_pages);
	sthread_fini();
}

/* In a process of its own: what a phase leaves behind would be in the image of the next. */
static void phase(unsigned i)
{
	pid_t child = fork();
	int status;

	CHECK_GE(child, 0);
	if (child) {
		CHECK_EQ(waitpid(child, &status, 0), child);
		if (WIFEXITED(status) && WEXITSTATUS(status) == TEST_SKIPPED)
			SKIP("as its child");
		CHECK_EQ(status, 0);
		return;
	}
	begin();
	if (i < 5)
		needed(i);
	else if (i < 8)
		held(i - 5);
	else if (i < 9)
		own_limit();
	else if (i < 13)
		the_last((i - 9) & 1, (i - 9) & 2);
	else
		taken_in_part();
	end(i < 13);
	exit(TEST_PASSED);
}

int main(void)
{
	CHECK(!pipe2(ready, O_CLOEXEC) && !pipe2(hold, O_CLOEXEC));
	for (unsigned i = 0; i < 14; i++)
		phase(i);
	return TEST_PASSED;
}
