/* SPDX-License-Identifier: MIT */
/*
 * policy.c - sequences of set-up calls on policies: a value that a run holds never changes, and nothing is left.
 * World: host, fuzzing.
 */
#include <sys/socket.h>

#include "sthread/policy/policy.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/syscall_fake.h"

#define HELD 4

static struct {
	const struct policy *value;
	struct policy seen;
	struct fd_entry first;
} held[HELD];

static void drop(unsigned i)
{
	if (!held[i].value)
		return;
	CHECK_MEM(held[i].value->action, held[i].seen.action, sizeof(held[i].seen.action));
	CHECK_MEM(held[i].value->limit, held[i].seen.limit, sizeof(held[i].seen.limit));
	CHECK_EQ(held[i].value->other, held[i].seen.other);
	CHECK_EQ(held[i].value->n, held[i].seen.n);
	if (held[i].seen.n)
		CHECK(held[i].value->grant[0].number == held[i].first.number &&
		      held[i].value->grant[0].rights == held[i].first.rights);
	policy_put(held[i].value);
	held[i].value = NULL;
}

static void hold(unsigned i, const struct sthread_policy *p)
{
	drop(i);
	held[i].value = policy_copy(p);
	held[i].seen = *held[i].value;
	if (held[i].seen.n)
		held[i].first = held[i].value->grant[0];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static int file = -1, dir, pair[2];
	struct input in = { data, len };
	struct sthread_policy *p[2] = { NULL };

	if (file < 0) {
		file = open("/dev/null", O_RDWR);
		dir = open("/", O_RDONLY | O_DIRECTORY);
		CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
		CHECK_OK(sys_init());
	}
	CHECK_OK(sthread_policy_create(&p[0]));
	CHECK_OK(sthread_policy_create(&p[1]));
	while (in.left) {
		const int fds[] = { file, dir, pair[0], pair[1], -1, 0, 4096, (int)take(&in, 1) };
		unsigned op = (unsigned)take(&in, 1);
		struct sthread_policy *q = p[op >> 7];
		unsigned rights = (unsigned)take(&in, 2);
		int fd = fds[op >> 4 & 7], r = 0;

		switch (op & 7) {
		case 0: case 1: r = sthread_policy_fd(q, fd, rights); break;
		case 2: r = sthread_policy_dir(q, fd, rights); break;
		case 3: r = sthread_policy_syscall(q, (long)rights % 512 - 2, (enum sthread_action)(op >> 4 & 3)); break;
		case 4: r = sthread_policy_limit(q, (enum sthread_limit)(op >> 4 & 7), take(&in, 8)); break;
		case 5: hold(op >> 4 & 3, q); break;
		case 6: drop(op >> 4 & 3); break;
		case 7: sthread_policy_destroy(q); CHECK_OK(sthread_policy_create(&p[op >> 7])); break;
		}
		CHECK(r <= 0 && r > -4096);
	}
	for (unsigned i = 0; i < HELD; i++)
		drop(i);
	sthread_policy_destroy(p[0]);
	sthread_policy_destroy(p[1]);
	CHECK_EQ(fd_objects(), 0);
	return 0;
}
