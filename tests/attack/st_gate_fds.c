/* SPDX-License-Identifier: MIT */
/*
 * A gate hands its caller a descriptor with rights that it has itself, never more; it arrives with a proper answer or not
 * at all, under a number of the caller's own, and there are no more of them than the caller's limit.  World: host; gates
 * and ST_FN: inside.
 */
#include "tests/kvm/st_life.h"
#include "tests/st_gate.h"

#include "sthread/fd/table.h"

#define RDWR (STHREAD_FD_READ | STHREAD_FD_WRITE)

static int held, closed = 700; /* of the gate, read and write; of nobody */

struct wish {
	int fd, times;
	unsigned rights;
	ssize_t then; /* what the gate returns instead of the number */
};

static ssize_t gives(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct wish w;
	int r = -1;

	(void)trusted;
	CHECK_EQ(in_len, sizeof(w));
	memcpy(&w, in, sizeof(w));
	for (int i = 0; i < w.times; i++) {
		r = sthread_gate_give_fd(w.fd, w.rights);
		if (r < 0)
			break;
	}
	if (w.then == INT64_MIN)
		abort();
	return w.then ? w.then : gate_answer(out, out_cap, r);
}

static int64_t wish(const char *name, struct wish w)
{
	int64_t word = -1;
	ssize_t n = gate_ask(name, &w, sizeof(w), &word, sizeof(word));

	return n < 0 ? n : word;
}
#define WISH_THEN(fd, times, rights, then) wish(name, (struct wish){ (fd), (times), (rights), (then) })
#define WISH(fd, times, rights)		   WISH_THEN(fd, times, rights, 0)

/* arg: the descriptor that the caller has itself (write only) | which gate << 16. */
ST_FN(wishes)
{
	static const char *const names[] = { "gives", "native", "recycled" };
	const char *name = names[(uintptr_t)arg >> 16];
	bool native = (uintptr_t)arg >> 16 == 1;
	int own = (int)((uintptr_t)arg & 0xffff), fd;
	char c;

	/* Never more than it holds. */
	if (!native) {
		CHECK_ERR(WISH(held, 1, STHREAD_FD_SEEK), -EPERM);
		CHECK_ERR(WISH(held, 1, RDWR | STHREAD_FD_STAT), -EPERM);
		CHECK_ERR(WISH(held, 1, STHREAD_FD_ALL), -EPERM);
		CHECK_ERR(WISH(own, 1, STHREAD_FD_WRITE), -EBADF); /* the caller's own number */
	}
	CHECK_ERR(WISH(held, 1, 0), -EINVAL);
	CHECK_ERR(WISH(held, 1, STHREAD_FD_ALL + 1), -EINVAL);
	CHECK_ERR(WISH(closed, 1, STHREAD_FD_READ), -EBADF);
	CHECK_ERR(WISH(-1, 1, STHREAD_FD_READ), -EBADF);
	/* Not with an answer that is none. */
	CHECK_ERR(WISH_THEN(held, 1, RDWR, -EPIPE), -EPIPE);
	CHECK_ERR(WISH_THEN(held, 3, RDWR, 100000), -EPROTO);
	if (!native)
		CHECK_ERR(WISH_THEN(held, 1, RDWR, INT64_MIN), -EIO);
	CHECK(read(0, &c, 1) < 0);
	CHECK_EQ(errno, EBADF);
	/* The lowest number that is free here, with those rights and no others. */
	fd = (int)WISH(held, 1, STHREAD_FD_READ);
	CHECK_EQ(fd, 0);
	CHECK_EQ(read(fd, &c, 1), 1);
	CHECK_EQ(c, 'x');
	CHECK(write(fd, "y", 1) < 0);
	CHECK_EQ(errno, EPERM);
	CHECK(lseek(fd, 0, SEEK_SET) < 0);
	CHECK_EQ(errno, EPERM);
	/* And what the caller had is what it was. */
	CHECK_EQ(write(own, "z", 1), 1);
	CHECK(read(own, &c, 1) < 0);
	CHECK_EQ(errno, EPERM);
	CHECK_EQ(WISH(held, 2, RDWR), 2);
	CHECK_EQ(close(0) | close(1) | close(2), 0);
	/* Closed here; the gate has it still. */
	fd = (int)WISH(held, 1, RDWR);
	CHECK_EQ(fd, 0);
	CHECK_EQ(write(fd, "x", 1), 1);
	CHECK_EQ(close(fd), 0);
	/* The most in one call: all or nothing, as the gate answers. */
	CHECK_ERR(WISH(held, STHREAD_GATE_GIVES + 1, STHREAD_FD_READ), -EMFILE);
	for (int i = 0; i < STHREAD_GATE_GIVES; i++)
		CHECK_EQ(close(i), 0);
	return NULL;
}

/* Its limit is five. */
ST_FN(limited)
{
	const char *name = "gives";

	CHECK_EQ(WISH(held, 4, STHREAD_FD_READ), 3);
	CHECK_ERR(WISH(held, 1, STHREAD_FD_READ), -EMFILE);
	CHECK_EQ(close(1), 0);
	CHECK_EQ(WISH(held, 1, STHREAD_FD_READ), 1);
	return arg;
}

ST_FN(granted_nothing)
{
	CHECK_ERR(sthread_gate_give_fd((int)(intptr_t)arg, STHREAD_FD_READ), -EINVAL);
	return NULL;
}

int main(void)
{
	struct sthread_policy *p = st_policy(), *caller = st_policy();
	struct sthread_gate *g[3];
	struct sthread_result r;
	int64_t word = 0;
	struct wish w;
	unsigned objects;
	int own;

	for (int fd = 0; fd < 3; fd++)
		CHECK(fcntl(fd, F_GETFD) >= 0); /* so that what is opened is not 0 to 2 */
	/* A pipe's both ends in one: a FIFO. */
	{
		char name[] = "/tmp/st_gate_fds_XXXXXX", path[64];

		CHECK(mkdtemp(name) != NULL);
		snprintf(path, sizeof(path), "%s/fifo", name);
		CHECK(!mkfifo(path, 0600));
		held = open(path, O_RDWR | O_CLOEXEC);
		CHECK(held >= 0);
		unlink(path);
		rmdir(name);
	}
	own = open("/dev/null", O_RDWR | O_CLOEXEC);
	st_init();
	st_grant(p, held, RDWR);
	st_grant(caller, own, STHREAD_FD_WRITE);
	st_allow(caller, SYS_read, SYS_write, SYS_lseek, SYS_close);
	g[0] = GATE(.name = "gives", .fn = gives, .policy = p);
	g[1] = GATE(.name = "native", .fn = gives, .native = true);
	g[2] = GATE(.name = "recycled", .fn = gives, .policy = p, .kind = STHREAD_GATE_RECYCLED);
	for (int k = 0; k < 3; k++)
		CHECK_OK(sthread_policy_gate(caller, g[k]));
	objects = fd_objects();
	for (int k = 0; k < 6; k++) {
		void *arg = (void *)((uintptr_t)(k % 3) << 16 | (unsigned)own);

		CHECK_EQ(write(held, "x", 1), 1);
		r = k < 3 ? st_call(caller, wishes, arg) : st_run(caller, wishes, arg);
		ST_RETURNED(&r, 0);
		CHECK_EQ(read(held, &word, 8), 1);
	}
	st_limit(caller, STHREAD_LIMIT_FDS, 5);
	ST_PASSES(caller, limited, NULL);
	LIFE_UNTIL(life_stats().live == 0);
	CHECK_EQ(fd_objects(), objects); /* no duplicate of what was given is left */
	CHECK_ERR(sthread_gate_give_fd(held, STHREAD_FD_READ), -EINVAL);
	ST_PASSES(p, granted_nothing, (intptr_t)held);
	/* The master opens its own. */
	w = (struct wish){ held, 1, STHREAD_FD_READ, 0 };
	for (int k = 0; k < 3; k++) {
		CHECK_EQ(sthread_gate_call(g[k], &w, sizeof(w), &word, sizeof(word)), 8);
		CHECK_EQ(word, -EINVAL);
		sthread_gate_destroy(g[k]);
	}
	sthread_policy_destroy(p);
	sthread_policy_destroy(caller);
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
