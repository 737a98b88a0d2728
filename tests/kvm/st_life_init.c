/* SPDX-License-Identifier: MIT */
/*
 * st_life_init.c - sthread_init() refuses what it must and leaves nothing behind; it and sthread_fini() may follow
 * each other for ever.  World: host; plus_one() runs inside.
 */
#include <sys/resource.h>

#include "tests/kvm/st_life.h"

static void *plus_one(void *arg)
{
	return (char *)arg + 1;
}

static void works(void)
{
	struct sthread_result r = st_call(NULL, plus_one, (void *)41);

	ST_RETURNED(&r, 42);
	r = st_run(NULL, plus_one, (void *)1);
	ST_RETURNED(&r, 2);
}

/* Refused, and the library is as if nobody had called it. */
static void refused(const struct sthread_config *cfg, int err, const struct life *was, int sig)
{
	struct sthread_policy *p = st_policy();
	struct sthread_stats s;
	struct sthread *st;

	CHECK_ERR(sthread_init(cfg), err);
	LIFE_SAME(was, sig, 0);
	CHECK_ERR(sthread_call(p, plus_one, NULL, NULL), -EINVAL);
	CHECK_ERR(sthread_create(&st, p, plus_one, NULL), -EINVAL);
	CHECK_ERR(sthread_stats(&s), -EINVAL);
	CHECK_ERR(sthread_checkpoint_range(&s, 1), -EINVAL);
	sthread_policy_destroy(p);
	sthread_fini();
	LIFE_SAME(was, sig, 0);
}

/* ---- several threads ----------------------------------------------------------------------------------- */

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void *waits(void *arg)
{
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
	return arg;
}

static void threads(void)
{
	const struct sthread_config cfg = life_config();
	struct life was;
	pthread_t t[3];

	NOTE("several threads");
	for (int round = 0; round < 3; round++) {
		pthread_mutex_lock(&gate);
		for (int i = 0; i < 3; i++)
			t[i] = life_thread(waits, NULL);
		life_take(LIFE_SIGNAL);
		was = life_take(LIFE_SIGNAL);
		refused(&cfg, -EBUSY, &was, LIFE_SIGNAL);
		refused(NULL, -EBUSY, &was, LIFE_SIGNAL);
		pthread_mutex_unlock(&gate);
		for (int i = 0; i < 3; i++)
			life_join(t[i]);
		/* The kernel may not have buried them yet; they will never run again, and that is what counts. */
		CHECK_OK(sthread_init(&cfg));
		works();
		sthread_fini();
	}
}

/* ---- configurations -------------------------------------------------------------------------------------- */

static void handler(int sig)
{
	(void)sig;
}

static void bad_configs(void)
{
	const struct sthread_config good = life_config();
	struct life was = life_take(LIFE_SIGNAL);
	struct sthread_config c;
	struct sigaction sa, old;

	NOTE("bad configurations");
	for (size_t size = 0; size <= 2 * sizeof(c); size++) {
		c = good;
		c.size = size;
		if (size != sizeof(c))
			refused(&c, -EINVAL, &was, LIFE_SIGNAL);
	}
	c = good;
	c.placement = STHREAD_PLACE_RING0 + 1;
	refused(&c, -EINVAL, &was, LIFE_SIGNAL);
	c.placement = (enum sthread_placement)-1;
	refused(&c, -EINVAL, &was, LIFE_SIGNAL);

	c = good;
	for (int sig = -1; sig <= SIGRTMAX + 1; sig++) {
		if (!sig || (sig >= SIGRTMIN && sig <= SIGRTMAX))
			continue;
		c.signal = sig;
		refused(&c, -EINVAL, &was, LIFE_SIGNAL);
	}
	/* One that the program uses stays the program's. */
	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = handler;
	sa.sa_flags = SA_RESTART;
	CHECK(!sigaction(SIGRTMIN + 2, &sa, &old));
	c.signal = SIGRTMIN + 2;
	was = life_take(c.signal);
	refused(&c, -EINVAL, &was, c.signal);
	/* Ignored is not used; afterwards it is ignored again. */
	sa.sa_handler = SIG_IGN;
	sa.sa_flags = 0;
	CHECK(!sigaction(c.signal, &sa, NULL));
	was = life_take(c.signal);
	CHECK_OK(sthread_init(&c));
	works();
	sthread_fini();
	LIFE_SAME(&was, c.signal, 4);
	was = life_take(c.signal);
	c.memory = 1;
	refused(&c, -ENOMEM, &was, c.signal);
	CHECK(!sigaction(c.signal, &old, NULL));
}

static void bad_sizes(void)
{
	static const size_t little[] = { 1, 4096, 1 << 20, 15 << 20 };
	static const size_t much[] = { SIZE_MAX, SIZE_MAX - (64UL << 30) + 1, SIZE_MAX - (65UL << 30), 1UL << 63, 1UL << 62,
				       1UL << 48, 1UL << 47, 1UL << 46 };
	struct life was = life_take(LIFE_SIGNAL);
	struct sthread_config c = life_config();

	NOTE("too little and too much memory");
	for (size_t i = 0; i < sizeof(little) / sizeof(little[0]); i++) {
		c.memory = little[i];
		refused(&c, -ENOMEM, &was, LIFE_SIGNAL);
	}
	for (size_t i = 0; i < sizeof(much) / sizeof(much[0]); i++) {
		int err;

		c.memory = much[i];
		err = sthread_init(&c);
		CHECK_MSG(err == -ENOMEM || err == -EINVAL, "%#zx bytes: %d", much[i], err);
		LIFE_SAME(&was, LIFE_SIGNAL, 0);
	}
}

/* Whatever runs out, the error says so and all is given back. */
static void limits(void)
{
	const struct sthread_config c = life_config();
	struct rlimit old, now;
	struct life was;
	int failed = 0;

	NOTE("no descriptors");
	CHECK(!getrlimit(RLIMIT_NOFILE, &old));
	was = life_take(LIFE_SIGNAL);
	for (rlim_t n = was.fds;; n++) {
		int err;

		now = old;
		now.rlim_cur = n;
		CHECK(!setrlimit(RLIMIT_NOFILE, &now));
		err = sthread_init(&c);
		CHECK(!setrlimit(RLIMIT_NOFILE, &old));
		if (!err)
			break;
		failed++;
		CHECK_MSG(err == -EMFILE, "with %u more descriptors: %s", (unsigned)(n - was.fds), strerror(-err));
		LIFE_SAME(&was, LIFE_SIGNAL, 0);
		CHECK_LT(failed, 32);
	}
	CHECK_GT(failed, 2);
	works();
	sthread_fini();

	NOTE("no address space");
	CHECK(!getrlimit(RLIMIT_AS, &old));
	was = life_take(LIFE_SIGNAL);
	for (unsigned gib = 1; gib < 70; gib += 12) {
		int err;

		now = old;
		now.rlim_cur = (rlim_t)gib << 30;
		CHECK(!setrlimit(RLIMIT_AS, &now));
		err = sthread_init(&c);
		CHECK(!setrlimit(RLIMIT_AS, &old));
		CHECK_ERR(err, -ENOMEM);
		LIFE_SAME(&was, LIFE_SIGNAL, 0);
	}
}

/* ---- and again ----------------------------------------------------------------------------------------------- */

static void one_life(const struct sthread_config *cfg)
{
	struct sthread_policy *p = st_policy();
	struct sthread *st[3];
	struct sthread_result r;

	CHECK_OK(sthread_init(cfg));
	CHECK_ERR(sthread_init(cfg), -EALREADY);
	CHECK_ERR(sthread_init(NULL), -EALREADY);
	works();
	st_limit(p, STHREAD_LIMIT_WALL_NS, 2000000);
	r = st_call(p, life_spins, NULL);
	ST_LIMIT(&r, STHREAD_LIMIT_WALL_NS);
	st[0] = st_create(NULL, life_sleeps, NULL);
	st[1] = st_create(NULL, life_spins, NULL);
	st[2] = st_create(NULL, life_sleeps, NULL);
	sthread_policy_destroy(p);
	CHECK_OK(sthread_detach(st[2]));
	sthread_fini();
	sthread_fini();
	for (int i = 0; i < 2; i++) {
		CHECK_ERR(sthread_kill(st[i]), -ESRCH);
		r = st_join(st[i]);
		ST_END(&r, STHREAD_KILLED);
	}
}

static void again(void)
{
	const struct sthread_config cfg = life_config();
	unsigned long rounds = test_scale(40);
	uint64_t rss;
	struct life was;

	NOTE("init, run, fini, again");
	for (int i = 0; i < 4; i++)
		one_life(&cfg);
	was = life_take(LIFE_SIGNAL);
	rss = life_rss();
	for (unsigned long i = 0; i < rounds; i++) {
		one_life(&cfg);
		LIFE_SAME(&was, LIFE_SIGNAL, 12); /* heaps of threads come and go; one a life would be 40 */
	}
	NOTE("resident: %" PRIu64 " KiB, after %lu more lives %" PRIu64, rss, rounds, life_rss());
	CHECK_LT(life_rss(), rss + 1024);
}

int main(void)
{
	st_init();
	works();
	sthread_fini();
	threads();
	bad_configs();
	bad_sizes();
	limits();
	again();
	return TEST_PASSED;
}
