/* SPDX-License-Identifier: MIT */
/*
 * The program grants its live data in one thread and ends the library in another: who is in the midst of it is waited
 * for, who comes later is told, and nothing of what has gone is used.  World: host.
 */
#include <link.h>
#include <stdatomic.h>

#include "tests/kvm/st_life.h"

#define PAGE 4096UL

static char live[4 * PAGE] __attribute__((aligned(4096)));
static atomic_bool held, release, ended;

/* ---- in the midst: of looking for the object that the pages belong to, for which the loader's lock is taken ---- */

static int wait_in_there(struct dl_phdr_info *info, size_t size, void *unused)
{
	(void)info;
	(void)size;
	(void)unused;
	atomic_store(&held, true);
	while (!atomic_load(&release))
		life_nap(200);
	return 1;
}

static void *holds_the_loader(void *unused)
{
	(void)unused;
	CHECK_EQ(dl_iterate_phdr(wait_in_there, NULL), 1);
	return NULL;
}

static void *grants(void *policy)
{
	return (void *)(intptr_t)sthread_policy_memory(policy, live, PAGE, STHREAD_READ);
}

/* Inside. */
static void *nothing(void *arg)
{
	return arg;
}

static void *ends(void *unused)
{
	(void)unused;
	sthread_fini();
	atomic_store(&ended, true);
	return NULL;
}

static void midway(void)
{
	struct sthread_policy *p = st_policy(), *late = st_policy();
	pthread_t loader, grantor, fini;

	atomic_store(&held, false);
	atomic_store(&release, false);
	atomic_store(&ended, false);
	loader = life_thread(holds_the_loader, NULL);
	LIFE_UNTIL(atomic_load(&held));
	grantor = life_thread(grants, p);
	LIFE_UNTIL(life_stats().live == 1); /* it is there, and waits */
	fini = life_thread(ends, NULL);
	/* Not by a run: one that the end kills has a backtrace, for which that lock is taken. */
	LIFE_UNTIL(sthread_checkpoint_range(live, 1) == -EINVAL);
	life_nap(20000);
	CHECK(!atomic_load(&ended));
	CHECK_ERR(sthread_policy_memory(late, live, PAGE, STHREAD_READ), -EINVAL);
	atomic_store(&release, true);
	life_join(loader);
	CHECK_EQ((intptr_t)life_join(grantor), 0);
	life_join(fini);
	CHECK(atomic_load(&ended));
	CHECK_ERR(sthread_policy_memory(late, live, PAGE, STHREAD_READ), -EINVAL);
	/* What was granted is gone with the library, also where there is a new one. */
	st_init();
	CHECK_ERR(sthread_call(p, nothing, NULL, NULL), -EINVAL);
	CHECK_OK(sthread_policy_memory(late, live, PAGE, STHREAD_READ));
	sthread_policy_destroy(p);
	sthread_policy_destroy(late);
	sthread_fini();
	st_init();
}

/* ---- at any moment ---- */

static _Atomic unsigned long granted;

static void *grants_on(void *unused)
{
	(void)unused;
	for (int err = 0; !err; atomic_fetch_add(&granted, !err)) {
		struct sthread_policy *p = st_policy();

		for (unsigned i = 0; i < 4 && !err; i++)
			err = sthread_policy_memory(p, live + i * PAGE, PAGE, STHREAD_WRITE);
		if (err)
			CHECK_ERR(err, -EINVAL);
		sthread_policy_destroy(p);
	}
	return NULL;
}

static void any_moment(void)
{
	unsigned long rounds = test_scale(100), i;
	uint64_t start = life_now();

	for (i = 0; i < rounds && (i < 5 || life_now() - start < 5000000000); i++) {
		pthread_t t[2] = { life_thread(grants_on, NULL), life_thread(grants_on, NULL) };

		life_nap((unsigned)(i * 37 % 1000)); /* from before the first grant on */
		sthread_fini();
		life_join(t[0]);
		life_join(t[1]);
		st_init();
	}
	NOTE("%lu rounds, %lu grants", i, atomic_load(&granted));
	CHECK_GT(atomic_load(&granted), 0);
}

int main(void)
{
	st_init();
	for (int i = 0; i < 3; i++)
		midway();
	any_moment();
	sthread_fini();
	return TEST_PASSED;
}
