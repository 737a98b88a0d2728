/* SPDX-License-Identifier: MIT */
/*
 * st_life_inside.c - inside a compartment public calls are -EPERM, but those that are for it, and these take none of
 * the master's handles; and outside the same calls work, or give the errors of the manual.  World: host; each() and what is marked runs inside.
 */
#include "tests/kvm/st_life.h"

static struct sthread_policy *policy;
static char buffer[64] = "untouched";

static void *plus_one(void *arg)
{
	return (char *)arg + 1;
}

/* ---- inside ------------------------------------------------------------------------------------------------ */

static void *each(void *handle)
{
	struct sthread *st = (struct sthread *)1;
	struct sthread_result r = { .end = STHREAD_LOST };
	struct sthread_stats s = { .live = 77 };

	CHECK(sthread_inside());
	CHECK_ERR(sthread_init(NULL), -EPERM);
	sthread_fini();
	CHECK_ERR(sthread_checkpoint_range(buffer, 1), -EPERM);
	CHECK_ERR(sthread_policy_fd(policy, 0, STHREAD_FD_READ), -EINVAL);
	CHECK_ERR(sthread_policy_dir(policy, 0, STHREAD_FD_READ), -EINVAL);
	CHECK_ERR(sthread_policy_syscall(policy, SYS_read, STHREAD_ALLOW), -EINVAL);
	CHECK_ERR(sthread_policy_limit(policy, STHREAD_LIMIT_FDS, 1), -EINVAL);
	CHECK_ERR(sthread_policy_tagged(policy, "none", STHREAD_READ), -EINVAL);
	CHECK_ERR(sthread_policy_format(policy, buffer, sizeof(buffer)), -EINVAL);
	CHECK_ERR(sthread_policy_is_subset(policy, NULL), -EINVAL);
	CHECK_ERR(sthread_gate_create(NULL, NULL), -EINVAL);
	CHECK_ERR(sthread_policy_fd_revoke(handle, 0), -EPERM);
	sthread_policy_destroy(policy);
	sthread_policy_destroy(NULL);
	CHECK_ERR(sthread_create(&st, policy, plus_one, NULL), -EINVAL);
	CHECK_ERR(sthread_create(NULL, NULL, plus_one, NULL), -EINVAL);
	CHECK_ERR(sthread_policy_create(NULL), -EINVAL);
	CHECK_ERR(sthread_call(policy, plus_one, NULL, &r), -EINVAL);
	CHECK_ERR(sthread_join(handle, &r), -EINVAL);
	CHECK_ERR(sthread_kill(handle), -EINVAL);
	CHECK_ERR(sthread_detach(handle), -EINVAL);
	CHECK_ERR(sthread_stats(&s), -EPERM);
	CHECK_ERR(sthread_fault_format(&r, buffer, sizeof(buffer)), -EPERM);
	CHECK(st == (void *)1 && r.end == STHREAD_LOST && s.live == 77);
	CHECK_STR(buffer, "untouched");
	return NULL;
}

__attribute__((noinline)) static void *deep(unsigned depth, void *value)
{
	volatile char here[100];

	here[0] = 1;
	if (!value)
		return NULL;
	if (depth)
		return (char *)deep(depth - 1, value) + here[0];
	sthread_exit(value);
}

static void *exits(void *arg)
{
	return deep(100, arg);
}

/* ---- the same outside ---------------------------------------------------------------------------------------------- */

static void *leaves(void *arg)
{
	sthread_exit(arg);
}

static void outside(void)
{
	struct sthread_result r = { .end = STHREAD_LOST };
	struct sthread *st = NULL;
	struct sthread_stats s;
	char text[256];
	int len;

	CHECK(!sthread_inside());
	CHECK_OK(sthread_stats(&s));
	CHECK_ERR(sthread_stats(NULL), -EINVAL);
	CHECK_ERR(sthread_create(NULL, policy, plus_one, NULL), -EINVAL);
	/* Not a function of the image: nothing, data, the stack, this process's own range. */
	CHECK_ERR(sthread_create(&st, policy, NULL, NULL), -EINVAL);
	CHECK_ERR(sthread_create(&st, policy, (st_fn *)(uintptr_t)buffer, NULL), -EINVAL);
	CHECK_ERR(sthread_call(policy, NULL, NULL, &r), -EINVAL);
	CHECK_ERR(sthread_call(policy, (st_fn *)(uintptr_t)buffer, NULL, &r), -EINVAL);
	CHECK_ERR(sthread_call(policy, (st_fn *)(uintptr_t)&r, NULL, &r), -EINVAL);
	CHECK_ERR(sthread_call(policy, (st_fn *)0x8000000000000000, NULL, &r), -EINVAL);
	CHECK_ERR(sthread_call(policy, (st_fn *)0xffffffff80003030, NULL, &r), -EINVAL);
	CHECK_ERR(sthread_call(policy, (st_fn *)0x7ffffffff000, NULL, &r), -EINVAL);
	CHECK(!st);
	CHECK_EQ(r.end, STHREAD_LOST);
	LIFE_UNTIL(life_stats().live == 0); /* a worker counts until it rests, a moment after the join */

	r = st_call(policy, plus_one, NULL);
	CHECK_ERR(sthread_fault_format(NULL, text, sizeof(text)), -EINVAL);
	CHECK_ERR(sthread_fault_format(&r, NULL, 1), -EINVAL);
	len = sthread_fault_format(&r, NULL, 0);
	CHECK_GT(len, 0);
	CHECK_EQ(sthread_fault_format(&r, text, sizeof(text)), len);
	CHECK_EQ(strlen(text), len);

	CHECK(life_join(life_thread(leaves, &r)) == &r);
}

int main(void)
{
	struct sthread_result r;
	struct sthread *st;

	CHECK_OK(sthread_policy_create(&policy));
	st_init();
	st = st_create(policy, plus_one, (void *)1);
	ST_PASSES(policy, each, st);
	r = st_run(policy, each, st);
	ST_RETURNED(&r, 0);
	r = st_join(st);
	ST_RETURNED(&r, 2);
	r = st_call(policy, exits, (void *)33);
	ST_RETURNED(&r, 33);
	r = st_run(policy, exits, (void *)34);
	ST_RETURNED(&r, 34);
	outside();
	/* The policy was not destroyed from inside, nor the library ended. */
	CHECK_OK(sthread_policy_limit(policy, STHREAD_LIMIT_FDS, 3));
	ST_PASSES(policy, each, NULL);
	sthread_policy_destroy(policy);
	sthread_fini();
	return TEST_PASSED;
}
