/* SPDX-License-Identifier: MIT */
/*
 * A descriptor that the master takes back is gone when the call returns: from a compartment that computes, one that
 * waits for it, one that waits for something else; with its duplicates; and what the master then puts under the number
 * is not reached.  World: host; ST_FN: inside.
 */
#include "tests/st.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Numbers: what is taken back; where it says how far it is; what it waits for at the end. */
#define IT   100
#define WORD 101
#define LATE 102

static void says(char c)
{
	CHECK_EQ(write(WORD, &c, 1), 1);
}

/* Writes to it until that is EBADF, then tries everything. */
ST_FN(writes_for_ever)
{
	char c = 'x';
	ssize_t r;

	CHECK_EQ(dup2(IT, 60), 60);
	says('1');
	while ((r = write(IT, &c, 1)) == 1 || (r == -1 && errno == EAGAIN))
		;
	CHECK(r == -1 && errno == EBADF);
	CHECK(write(60, &c, 1) == -1 && errno == EBADF);
	says('2');
	CHECK_EQ(read(LATE, &c, 1), 1);
	/* Something else has the number in the master by now. */
	for (int fd = 0; fd < 1024; fd++)
		if (fd != WORD && fd != LATE)
			CHECK(write(fd, "bad", 3) == -1 && errno == EBADF);
	return NULL;
}

/* Computes without a system call: it has to be interrupted. */
ST_FN(computes)
{
	uint64_t until = now_ms() + 300;
	struct timespec t;
	char c;

	says('1');
	do /* the clock is read without a system call */
		clock_gettime(CLOCK_MONOTONIC, &t);
	while ((uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000 < until);
	CHECK(read(IT, &c, 1) == -1 && errno == EBADF);
	CHECK_EQ(read(LATE, &c, 1), 1);
	return NULL;
}

ST_FN(waits_for_it)
{
	char c;

	says('1');
	CHECK(read(IT, &c, 1) == -1 && errno == EBADF);
	CHECK_EQ(read(LATE, &c, 1), 1); /* it is not to have ended when the call returns */
	return NULL;
}

ST_FN(polls_it)
{
	struct pollfd p = { IT, POLLIN, 0 };
	char c;

	says('1');
	CHECK_EQ(poll(&p, 1, -1), 1);
	CHECK_EQ(p.revents, POLLNVAL);
	CHECK_EQ(read(LATE, &c, 1), 1);
	return NULL;
}

/* Neither a sleep nor waiting for another one notices. */
ST_FN(waits_for_another)
{
	uint64_t before = now_ms();
	char c;

	says('1');
	CHECK_EQ(nanosleep(&(struct timespec){ 0, 200000000 }, NULL), 0);
	CHECK_GE(now_ms() - before, 200);
	CHECK_EQ(read(LATE, &c, 1), 1);
	CHECK(read(IT, &c, 1) == -1 && errno == EBADF);
	return NULL;
}

ST_FN(keeps_what_is_its_own)
{
	int mine = eventfd(1, 0);
	char c;

	CHECK_EQ(dup2(mine, IT), IT); /* the number is another thing's now */
	says('1');
	CHECK_EQ(read(LATE, &c, 1), 1);
	CHECK_EQ(read(IT, &(uint64_t){ 0 }, 8), 8);
	return NULL;
}

ST_FN(ends)
{
	return NULL;
}

static void moved(int *fd, int number)
{
	CHECK_EQ(dup2(*fd, number), number);
	close(*fd);
	*fd = number;
}

static void one(st_fn *fn, const char *name, bool full)
{
	struct sthread_policy *p = st_policy_all_calls();
	int mine[2], word[2], late[2], reused, again;
	struct sthread_result r;
	struct sthread *st;
	uint64_t before;
	char c;

	NOTE("%s", name);
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | (full ? SOCK_NONBLOCK : 0), 0, mine));
	CHECK(!pipe(word) && !pipe(late));
	moved(&mine[0], IT);
	moved(&word[1], WORD);
	moved(&late[0], LATE);
	st_grant(p, mine[0], STHREAD_FD_ALL);
	st_grant(p, word[1], STHREAD_FD_WRITE);
	st_grant(p, late[0], STHREAD_FD_READ);
	st = st_create(p, fn, NULL);
	CHECK_EQ(read(word[0], &c, 1), 1);
	usleep(10000);
	CHECK_ERR(sthread_policy_fd_revoke(st, 1000), -EBADF);
	before = now_ms();
	CHECK_OK(sthread_policy_fd_revoke(st, mine[0]));
	CHECK_LE(now_ms() - before, 2000u);
	again = sthread_policy_fd_revoke(st, mine[0]);
	CHECK(!again || again == -ESRCH); /* nothing is left to take, or nobody to take it from */
	if (full) {
		/* From here on nothing arrives. */
		char buf[4096];

		while (read(mine[1], buf, sizeof(buf)) > 0)
			;
		CHECK_EQ(read(word[0], &c, 1), 1);
		CHECK_EQ(c, '2');
		CHECK(read(mine[1], buf, sizeof(buf)) == -1 && errno == EAGAIN);
	}
	close(mine[0]);
	reused = eventfd(0, EFD_NONBLOCK);
	moved(&reused, IT);
	CHECK_EQ(write(late[1], "x", 1), 1);
	r = st_join(st);
	ST_RETURNED(&r, 0);
	CHECK(read(reused, &(uint64_t){ 0 }, 8) == -1 && errno == EAGAIN);
	/* The policy grants it as before, to the next. */
	sthread_policy_destroy(p);
	close(reused);
	close(mine[1]);
	for (int i = 0; i < 2; i++) {
		close(word[i]);
		close(late[i]);
	}
	st_others_live();
}

static void ended_and_others(void)
{
	struct sthread_policy *p = st_policy_all_calls();
	int fd = eventfd(0, 0);
	struct sthread *st;
	struct sthread_result r;

	CHECK_ERR(sthread_policy_fd_revoke(NULL, fd), -EINVAL);
	st_grant(p, fd, STHREAD_FD_ALL);
	st = st_create(p, ends, NULL);
	usleep(100000);
	CHECK_ERR(sthread_policy_fd_revoke(st, fd), -ESRCH);
	CHECK_ERR(sthread_policy_fd_revoke(st, fd + 1), -EBADF);
	r = st_join(st);
	ST_RETURNED(&r, 0);
	/* At any moment of its life. */
	for (int i = 0; i < 50; i++) {
		int err;

		st = st_create(p, ends, NULL);
		usleep((useconds_t)(i % 10) * 50);
		err = sthread_policy_fd_revoke(st, fd);
		CHECK_MSG(err == 0 || err == -ESRCH, "%d", err);
		r = st_join(st);
		ST_RETURNED(&r, 0);
	}
	sthread_policy_destroy(p);
	close(fd);
	st_others_live();
}

int main(void)
{
	st_init();
	one(writes_for_ever, "writes", true);
	one(computes, "computes", false);
	one(waits_for_it, "waits for it", false);
	one(polls_it, "polls", false);
	one(waits_for_another, "waits for another", false);
	one(keeps_what_is_its_own, "the number is reused inside", false);
	ended_and_others();
	sthread_fini();
	return TEST_PASSED;
}
