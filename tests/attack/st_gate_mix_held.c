/* SPDX-License-Identifier: MIT */
/*
 * Callgates together with tags, epoll, and the messages of others: what a gate holds or gives is nobody else's.  World:
 * host; gates that are not native and ST_FN: inside.
 */
#include "tests/st_gate.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#define RDWR (STHREAD_FD_READ | STHREAD_FD_WRITE)

/* ---- messages ---- */

/* Looks as far as the longest message reaches; leaves an answer as long as can be. */
static ssize_t counts(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	const char *p = in;
	int64_t n = 0;

	(void)trusted, (void)in_len;
	for (size_t i = 0; i < STHREAD_GATE_MESSAGE; i++)
		n += p[i] == 'S';
	memset(out, 'S', out_cap);
	return gate_answer(out, out_cap, n);
}

/* arg: lengths of the message, and << 32 of the room for the answer. */
ST_FN(asks_count)
{
	static char in[STHREAD_GATE_MESSAGE], out[STHREAD_GATE_MESSAGE];
	int64_t word;

	memset(in, 'S', sizeof(in));
	CHECK_EQ(gate_ask("gate", in, (uint32_t)(uintptr_t)arg, out, (uintptr_t)arg >> 32), 8);
	memcpy(&word, out, sizeof(word));
	return (void *)word;
}

static void msg_left(void)
{
	enum { MOST = STHREAD_GATE_MESSAGE, N = 7 };
	static const size_t in[N] = { MOST, 1, 3, MOST, 5, 1, 2 }, out[N] = { 8, 8, MOST, MOST, 8, MOST, 8 };
	struct sthread_gate *g = GATE(.name = "gate", .fn = counts, .kind = STHREAD_GATE_RECYCLED);
	struct sthread_policy *p = gate_policy(g);

	for (unsigned i = 0; i < 4 * N; i++) {
		struct sthread_result r = st_both[i % 2](p, asks_count, (void *)(in[i / 4] | out[i / 4] << 32));

		ST_RETURNED(&r, in[i / 4]);
	}
	sthread_policy_destroy(p);
	sthread_gate_destroy(g);
	st_others_live();
}

/* ---- epoll ---- */

/* Gives an epoll set, its own or the master's (trusted): the answer.  And then what may be given. */
static ssize_t gives_set(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	static const unsigned rights[] = { STHREAD_FD_READ, STHREAD_FD_WRITE, RDWR };
	int set = trusted ? (int)(intptr_t)trusted : epoll_create1(EPOLL_CLOEXEC), e = eventfd(1, EFD_CLOEXEC), err = 0;

	(void)in, (void)in_len;
	CHECK(set >= 0 && e >= 0);
	for (unsigned i = 0; i < 3; i++) {
		err = sthread_gate_give_fd(set, rights[i]);
		if (err != -EINVAL)
			break;
	}
	CHECK_GE(sthread_gate_give_fd(e, RDWR), 0);
	if (!trusted)
		close(set);
	close(e);
	return gate_answer(out, out_cap, err);
}

/* arg: the number that the event has here. */
ST_FN(asks_set)
{
	struct epoll_event got = { 0 };
	int64_t word = gate_word("gate");
	uint64_t count = 0;

	CHECK(epoll_wait((int)(intptr_t)arg, &got, 1, 0) < 0);
	CHECK_EQ(read((int)(intptr_t)arg, &count, sizeof(count)), (ssize_t)sizeof(count));
	CHECK_EQ(count, 1);
	return (void *)word;
}

static void epoll_shared(void)
{
	struct sthread_policy *in_gate = st_policy();
	int set = epoll_create1(EPOLL_CLOEXEC);

	CHECK(set >= 0);
	st_allow(in_gate, SYS_epoll_create1, SYS_eventfd2);
	for (int kind = 0; kind < 3; kind++) {
		struct sthread_gate *g = kind == 2 ?
			GATE(.name = "gate", .fn = gives_set, .native = true, .trusted = (void *)(intptr_t)set) :
			GATE(.name = "gate", .fn = gives_set, .policy = in_gate, .kind = (enum sthread_gate_kind)kind);
		struct sthread_policy *p = gate_policy(g);

		st_allow(p, SYS_epoll_wait, SYS_read);
		for (int i = 0; i < 4; i++) {
			struct sthread_result r = st_both[i % 2](p, asks_set, NULL);

			ST_RETURNED(&r, -EINVAL);
		}
		sthread_policy_destroy(p);
		sthread_gate_destroy(g);
		st_others_live();
	}
	sthread_policy_destroy(in_gate);
	close(set);
}

static ssize_t gives_twice(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	int number[2];

	(void)in, (void)in_len;
	for (int i = 0; i < 2; i++)
		number[i] = sthread_gate_give_fd((int)(intptr_t)trusted, STHREAD_FD_READ | STHREAD_FD_POLL);
	CHECK_EQ(out_cap, sizeof(number));
	memcpy(out, number, sizeof(number));
	return sizeof(number);
}

/* arg: which of both is in the set, while the other is closed. */
ST_FN(closes_one)
{
	int set = epoll_create1(EPOLL_CLOEXEC), number[2], one = (int)(intptr_t)arg;
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = 5 }, got = { 0 };

	CHECK(set >= 0);
	CHECK_EQ(gate_ask("gate", NULL, 0, number, sizeof(number)), (ssize_t)sizeof(number));
	CHECK(number[0] >= 0 && number[1] >= 0 && number[0] != number[1]);
	CHECK_EQ(epoll_ctl(set, EPOLL_CTL_ADD, number[one], &e), 0);
	CHECK_EQ(epoll_wait(set, &got, 1, 0), 1);
	CHECK_EQ(close(number[!one]), 0);
	got.data.u64 = 0;
	CHECK_EQ(epoll_wait(set, &got, 1, 0), 1);
	CHECK_EQ(got.data.u64, 5);
	CHECK(epoll_ctl(set, EPOLL_CTL_ADD, number[one], &e) < 0);
	CHECK_EQ(errno, EEXIST);
	/* The twin: the one that is in it. */
	CHECK_EQ(close(number[one]), 0);
	CHECK_EQ(epoll_wait(set, &got, 1, 0), 0);
	return NULL;
}

static void epoll_twice(void)
{
	struct sthread_policy *in_gate = st_policy(), *p;
	struct sthread_gate *g;
	int fd[2];

	CHECK(!pipe2(fd, O_CLOEXEC));
	CHECK_EQ(write(fd[1], "x", 1), 1);
	st_grant(in_gate, fd[0], STHREAD_FD_READ | STHREAD_FD_POLL);
	for (int kind = 0; kind < 3; kind++) {
		g = kind == 2 ? GATE(.name = "gate", .fn = gives_twice, .native = true, .trusted = (void *)(intptr_t)fd[0]) :
				GATE(.name = "gate", .fn = gives_twice, .policy = in_gate,
				     .trusted = (void *)(intptr_t)fd[0], .kind = (enum sthread_gate_kind)kind);
		p = gate_policy(g);
		st_allow(p, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_wait, SYS_close);
		for (intptr_t one = 0; one < 2; one++) {
			struct sthread_result r = st_both[one](p, closes_one, (void *)one);

			ST_RETURNED(&r, 0);
		}
		sthread_policy_destroy(p);
		sthread_gate_destroy(g);
	}
	sthread_policy_destroy(in_gate);
	close(fd[0]);
	close(fd[1]);
	st_others_live();
}

/* ---- the end of one life of the library ---- */

ST_FN(reads)
{
	return (void *)(uintptr_t)*(volatile unsigned char *)arg;
}

static ssize_t reads_tag(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in, (void)in_len;
	return gate_answer(out, out_cap, *(volatile unsigned char *)trusted);
}

static unsigned char *tag_of(struct sthread_tag **t, const char *name, int c)
{
	CHECK_OK(sthread_tag_create(t, name, 65536));
	return memset(sthread_tag_start(*t), c, 65536);
}

/* Over fini, a recycled gate at rest holds a policy with a tag.  first: it is destroyed before there are tags again. */
static void fini_hold(bool first)
{
	struct sthread_policy *p = st_policy(), *q = st_policy();
	struct sthread_tag *t;
	unsigned char *was = tag_of(&t, "old", 'o'), *at;
	struct sthread_result r;
	struct sthread_gate *g;
	struct sthread *st;
	int64_t word = 0;

	CHECK_OK(sthread_policy_tag(p, t, STHREAD_READ));
	g = GATE(.name = "gate", .fn = reads_tag, .policy = p, .trusted = was, .kind = STHREAD_GATE_RECYCLED);
	CHECK_EQ(sthread_gate_call(g, NULL, 0, &word, sizeof(word)), 8);
	CHECK_EQ(word, 'o');
	sthread_fini();
	st_init();
	if (first) {
		sthread_gate_destroy(g);
		sthread_policy_destroy(p);
		for (size_t i = 0; i < 16; i++) /* over what was freed */
			CHECK(memset(malloc(1000 + 300 * i), 0x41, 1000 + 300 * i));
	}
	at = tag_of(&t, "new", 'n');
	NOTE("the new tag is %s", at == was ? "where the old one was" : "elsewhere");
	if (!first) {
		CHECK_ERR(sthread_call(p, reads, at, &r), -EINVAL);
		CHECK_ERR(sthread_create(&st, p, reads, at), -EINVAL);
		CHECK_ERR(sthread_gate_call(g, NULL, 0, &word, sizeof(word)), -EINVAL);
		sthread_gate_destroy(g);
		sthread_policy_destroy(p);
	}
	r = st_call(NULL, reads, at);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, at, 1, ST_IN(reads), "tag new: not granted");
	/* The twin. */
	CHECK_OK(sthread_policy_tag(q, t, STHREAD_READ));
	for (unsigned i = 0; i < 2; i++) {
		r = st_both[i](q, reads, at);
		ST_RETURNED(&r, 'n');
	}
	sthread_policy_destroy(q);
	CHECK_OK(sthread_tag_destroy(t));
	for (unsigned i = 0; i < 20; i++) {
		tag_of(&t, "more", 'm');
		CHECK_OK(sthread_tag_destroy(t));
	}
}

int main(void)
{
	st_init();
	msg_left();
	epoll_shared();
	epoll_twice();
	fini_hold(false);
	fini_hold(true);
	sthread_fini();
	return TEST_PASSED;
}
