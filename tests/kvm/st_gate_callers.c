/* SPDX-License-Identifier: MIT */
/*
 * st_gate_callers.c - callers of a gate run in parallel, or queue; and gates end with their handles, the library or the
 * process, whoever calls them.  World: host; gates and ST_FN: inside.
 */
#include <stdatomic.h>
#include <sys/wait.h>

#include "tests/kvm/st_life.h"
#include "tests/st_gate.h"

#include "sthread/gate/gate.h"

#define CALLERS 4

/* Waits for a byte at the descriptor `trusted`, and gives it back. */
static ssize_t waits(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	char c;

	(void)in;
	(void)in_len;
	if (read((int)(intptr_t)trusted, &c, 1) != 1)
		return -errno;
	return gate_answer(out, out_cap, c);
}

ST_FN(asks_waits)
{
	return (void *)gate_word("waits");
}

static ssize_t counts_calls(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	static int64_t calls;

	(void)trusted, (void)in, (void)in_len;
	return gate_answer(out, out_cap, ++calls);
}

/* ---- in parallel ---- */

/* All of a fresh gate's callers are inside at once; of a recycled gate's, one. */
static void parallel(enum sthread_gate_kind kind, bool native)
{
	struct sthread_policy *p = st_policy(), *caller;
	struct sthread *st[CALLERS];
	struct sthread_gate *g;
	unsigned seen = 0;
	int fd[2];

	CHECK(!pipe2(fd, O_CLOEXEC));
	st_allow(p, SYS_read);
	st_grant(p, fd[0], STHREAD_FD_READ);
	g = GATE(.name = "waits", .fn = waits, .policy = native ? NULL : p, .native = native, .kind = kind,
		 .trusted = (void *)(intptr_t)fd[0]);
	caller = gate_policy(g);
	for (int i = 0; i < CALLERS; i++)
		st[i] = st_create(caller, asks_waits, NULL);
	life_nap(20000);
	for (char c = 'a'; c < 'a' + CALLERS; c++)
		CHECK_EQ(write(fd[1], &c, 1), 1);
	for (int i = 0; i < CALLERS; i++) {
		struct sthread_result r = st_join(st[i]);

		ST_END(&r, STHREAD_RETURNED);
		CHECK_MSG(r.value >= (void *)'a' && r.value < (void *)('a' + CALLERS), "%s", st_words(&r));
		seen |= 1u << ((uintptr_t)r.value - 'a');
	}
	CHECK_EQ(seen, (1u << CALLERS) - 1);
	sthread_policy_destroy(p);
	sthread_policy_destroy(caller);
	sthread_gate_destroy(g);
	close(fd[0]);
	close(fd[1]);
}

static atomic_uint at_once, most_at_once;

static ssize_t meets(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len, (void)out, (void)out_cap;
	if (atomic_fetch_add(&at_once, 1) + 1 >= 2)
		atomic_store(&most_at_once, 2);
	for (int i = 0; i < 10000 && atomic_load(&most_at_once) < 2; i++)
		life_nap(1000);
	atomic_fetch_sub(&at_once, 1);
	return 0;
}

ST_FN(asks_meets)
{
	return (void *)gate_ask("meets", NULL, 0, NULL, 0);
}

/* Through a compartment's gate, so that two of these are under way at once, too. */
static ssize_t forwards(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len, (void)out, (void)out_cap;
	return gate_ask("meets", NULL, 0, NULL, 0);
}

ST_FN(asks_forwards)
{
	return (void *)gate_ask("forwards", NULL, 0, NULL, 0);
}

static void truly_parallel(void)
{
	struct sthread_gate *meet = GATE(.name = "meets", .fn = meets, .native = true), *fwd;
	struct sthread_policy *p = gate_policy(meet), *q;
	struct sthread_result r;
	struct sthread *st;

	for (int i = 0; i < 2; i++) {
		atomic_store(&most_at_once, 0);
		fwd = i ? GATE(.name = "forwards", .fn = forwards, .policy = p) : NULL;
		q = i ? gate_policy(fwd) : NULL;
		st = st_create(i ? q : p, i ? asks_forwards : asks_meets, NULL);
		r = st_call(i ? q : p, i ? asks_forwards : asks_meets, NULL);
		ST_RETURNED(&r, 0);
		r = st_join(st);
		ST_RETURNED(&r, 0);
		CHECK_EQ(atomic_load(&most_at_once), 2);
		sthread_policy_destroy(q);
		sthread_gate_destroy(fwd);
	}
	sthread_policy_destroy(p);
	sthread_gate_destroy(meet);
}

/* ---- ends ---- */

static void *calls_waits(void *g)
{
	return (void *)gate_word_of(g, NULL, 0);
}

static bool is_awaited(struct sthread_gate *g)
{
	bool awaited;

	gate_lock();
	awaited = g->queue;
	gate_unlock();
	return awaited;
}

static void destroyed_in_use(void)
{
	struct sthread_policy *p = st_policy(), *caller;
	struct sthread_gate *g;
	struct sthread_result r;
	struct sthread *st, *later;
	pthread_t t;
	int fd[2];

	CHECK(!pipe2(fd, O_CLOEXEC));
	st_allow(p, SYS_read);
	st_grant(p, fd[0], STHREAD_FD_READ);
	g = GATE(.name = "waits", .fn = waits, .policy = p, .trusted = (void *)(intptr_t)fd[0],
		 .kind = STHREAD_GATE_RECYCLED);
	caller = gate_policy(g);
	st = st_create(caller, asks_waits, NULL);
	LIFE_UNTIL(gate_held(g));
	/* The master waits, and another compartment. */
	t = life_thread(calls_waits, g);
	LIFE_UNTIL(is_awaited(g));
	later = st_create(caller, asks_waits, NULL);
	life_nap(20000);
	sthread_gate_destroy(g);
	sthread_policy_destroy(p);
	/* The call under way ends as it would; for those in the queue there is no gate any more. */
	CHECK_EQ(write(fd[1], "z", 1), 1);
	r = st_join(later);
	ST_RETURNED(&r, -ENOENT);
	CHECK_ERR((intptr_t)life_join(t), -ENOENT);
	r = st_join(st);
	ST_RETURNED(&r, 'z');
	r = st_run(caller, asks_waits, NULL);
	ST_RETURNED(&r, -ENOENT);
	close(fd[0]);
	sthread_policy_destroy(caller);
	LIFE_UNTIL(life_stats().live == 0);
	CHECK_EQ(write(fd[1], "z", 1), -1);
	CHECK_EQ(errno, EPIPE);
	close(fd[1]);
}

/* Native: lets go of the gate that runs it. */
static struct sthread_gate *self;

static ssize_t destroys(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len;
	sthread_gate_destroy(self);
	return gate_answer(out, out_cap, 5);
}

static void destroyed_by_itself(void)
{
	struct sthread_policy *p;
	struct sthread_result r;

	self = GATE(.fn = destroys, .native = true);
	CHECK_EQ(gate_word_of(self, NULL, 0), 5);
	self = GATE(.name = "waits", .fn = destroys, .native = true);
	p = gate_policy(self);
	r = st_run(p, asks_waits, NULL);
	ST_RETURNED(&r, 5);
	r = st_run(p, asks_waits, NULL);
	ST_RETURNED(&r, -ENOENT);
	sthread_policy_destroy(p);
}

/* The library ends while one call runs and others queue. */
static void fini_in_use(void)
{
	struct sthread_policy *p = st_policy(), *caller;
	struct sthread_gate *g;
	struct sthread_result r;
	struct sthread *st[3];
	pthread_t t[3];
	int fd[2];

	CHECK(!pipe2(fd, O_CLOEXEC));
	st_allow(p, SYS_read);
	st_grant(p, fd[0], STHREAD_FD_READ);
	g = GATE(.name = "waits", .fn = waits, .policy = p, .trusted = (void *)(intptr_t)fd[0],
		 .kind = STHREAD_GATE_RECYCLED);
	caller = gate_policy(g);
	LIFE_UNTIL(life_stats().live == 0); /* those of before have left */
	for (int i = 0; i < 3; i++) {
		st[i] = st_create(caller, asks_waits, NULL);
		t[i] = life_thread(calls_waits, g);
	}
	LIFE_UNTIL(life_stats().live == 6 && gate_held(g));
	sthread_fini();
	for (int i = 0; i < 3; i++) {
		r = st_join(st[i]);
		ST_END(&r, STHREAD_KILLED);
		CHECK_ERR((intptr_t)life_join(t[i]), -ECANCELED);
	}
	CHECK_ERR(sthread_gate_call(g, NULL, 0, NULL, 0), -EINVAL);
	st_init();
	CHECK_ERR(sthread_gate_call(g, NULL, 0, NULL, 0), -EINVAL);
	r = st_call(caller, asks_waits, NULL);
	ST_RETURNED(&r, -ENOENT);
	sthread_gate_destroy(g);
	sthread_policy_destroy(p);
	sthread_policy_destroy(caller);
	close(fd[0]);
	close(fd[1]);
}

static void forked(void)
{
	struct sthread_gate *g = GATE(.fn = counts_calls, .kind = STHREAD_GATE_RECYCLED),
			    *native = GATE(.fn = counts_calls, .native = true), *mine;
	int64_t word;
	int status;
	pid_t pid;

	CHECK_EQ(gate_word_of(g, NULL, 0), 1);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		CHECK_ERR(gate_word_of(g, NULL, 0), -EINVAL);
		CHECK_ERR(gate_word_of(native, NULL, 0), -EINVAL);
		st_init();
		CHECK_ERR(gate_word_of(g, NULL, 0), -EINVAL);
		sthread_gate_destroy(g);
		sthread_gate_destroy(native);
		mine = GATE(.fn = counts_calls, .kind = STHREAD_GATE_RECYCLED);
		CHECK_EQ(gate_word_of(mine, NULL, 0), 1);
		CHECK_EQ(gate_word_of(mine, NULL, 0), 2);
		sthread_gate_destroy(mine);
		sthread_fini();
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(sthread_gate_call(g, NULL, 0, &word, sizeof(word)), 8);
	CHECK_EQ(word, 2);
	sthread_gate_destroy(g);
	sthread_gate_destroy(native);
}

int main(void)
{
	struct life was;

	signal(SIGPIPE, SIG_IGN);
	/* The second time nothing is left that was not after the first. */
	for (int round = 0; round < 2; round++) {
		st_init();
		parallel(STHREAD_GATE_FRESH, false);
		parallel(STHREAD_GATE_RECYCLED, false);
		parallel(STHREAD_GATE_FRESH, true);
		truly_parallel();
		destroyed_in_use();
		destroyed_by_itself();
		fini_in_use();
		forked();
		sthread_fini();
		if (!round)
			was = life_take(LIFE_SIGNAL);
	}
	LIFE_SAME(&was, LIFE_SIGNAL, 40); /* stacks and arenas of threads, which the C library keeps */
	return TEST_PASSED;
}
