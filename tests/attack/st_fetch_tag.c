/* SPDX-License-Identifier: MIT */
/*
 * Double fetch by two compartments that share a writable tag: the arguments of a system call lie in the tag, and while
 * one compartment makes the call, the other changes them between something granted and something that is not.  What
 * was checked is what is used.  World: host; gates and ST_FN: inside.
 */
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "tests/st_gate.h"
#include "tests/st_race.h"

#define PAGE 4096UL

/* The tag. */
struct shared {
	struct hand hand;
	/* Of the master. */
	unsigned long sent, delivered;
	int dir, pipe[2], zero, sender, pair, quiet, readable, foreign;
	char *secret; /* the master's, of no compartment */
	char *victim; /* granted read-only */
	struct sockaddr_un granted, other;
	/* The arguments. */
	_Alignas(64) char path[8];
	_Alignas(64) struct iovec iov;
	_Alignas(64) struct sockaddr_un to;
	_Alignas(64) struct {
		int none; /* so that a word ends with the number: what is found stays */
		struct pollfd fd;
	} poll;
	_Alignas(64) struct msghdr msg;
	struct iovec msg_iov;
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	char buffer[8];
	_Alignas(4096) char message[4096];
};

/* ---- inside ---- */

/* A path beneath the granted directory, and one out of it. */
ST_FN(paths)
{
	struct shared *s = arg;
	struct race r = race_begin(&s->hand, s->path, "inside\0", "../out\0", 8);

	while (race_goes_on(&r)) {
		char text[16] = "";
		int fd = openat(s->dir, s->path, O_RDONLY);

		if (fd < 0) { /* torn, it is the name of nothing */
			CHECK_MSG(errno == EXDEV || errno == ENOENT, "errno %d", errno);
			r.bad += errno == EXDEV;
			continue;
		}
		CHECK_EQ(read(fd, text, sizeof(text)), 6);
		CHECK_STR(text, "inside");
		CHECK_EQ(close(fd), 0);
		r.good++;
	}
	race_ends(&r);
	return NULL;
}

/* A buffer of the tag, and the master's memory; 8 bytes, and more than there are. */
ST_FN(vectors_to_read)
{
	struct shared *s = arg;
	struct iovec good = { s->buffer, 8 }, bad = { s->secret, 1UL << 40 };
	struct race r;

	memset(s->buffer, 'g', 8);
	r = race_begin(&s->hand, &s->iov, &good, &bad, sizeof(good));
	while (race_goes_on(&r)) {
		char text[64];

		if (race_counted(&r, writev(s->pipe[1], &s->iov, 1), 8, EFAULT)) {
			CHECK_EQ(read(s->pipe[0], text, sizeof(text)), 8);
			CHECK_MEM(text, "gggggggg", 8);
		}
	}
	race_ends(&r);
	return NULL;
}

/* A buffer of the tag, and memory that is there to be read only. */
ST_FN(vectors_to_write)
{
	struct shared *s = arg;
	struct iovec good = { s->buffer, 8 }, bad = { s->victim, 8 };
	struct race r = race_begin(&s->hand, &s->iov, &good, &bad, sizeof(good));

	while (race_goes_on(&r)) {
		memset(s->buffer, 'b', 8);
		if (race_counted(&r, readv(s->zero, &s->iov, 1), 8, EFAULT))
			CHECK_EQ(s->buffer[7], 0);
		CHECK_EQ(*(volatile char *)s->victim, 'v');
	}
	race_ends(&r);
	return NULL;
}

/* To whom it may send, and to whom not. */
ST_FN(addresses)
{
	struct shared *s = arg;
	struct race r = race_begin(&s->hand, &s->to, &s->granted, &s->other, 16);

	while (race_goes_on(&r))
		race_counted(&r, sendto(s->sender, "x", 1, 0, (struct sockaddr *)&s->to, 16), 1,
			     EACCES);
	race_ends(&r);
	s->sent = r.good;
	return NULL;
}

/* No control data, and a descriptor to go along. */
ST_FN(messages)
{
	struct shared *s = arg;
	size_t none = 0, some = sizeof(s->control);
	struct race r;

	s->control.head = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(&s->control.head), &s->zero, sizeof(int));
	s->msg_iov = (struct iovec){ s->buffer, 1 };
	s->msg = (struct msghdr){ .msg_iov = &s->msg_iov,
				  .msg_iovlen = 1,
				  .msg_control = &s->control };
	r = race_begin(&s->hand, &s->msg.msg_controllen, &none, &some, sizeof(none));
	while (race_goes_on(&r))
		race_counted(&r, sendmsg(s->pair, &s->msg, 0), 1, EINVAL);
	race_ends(&r);
	s->sent = r.good;
	return NULL;
}

/* A granted descriptor with nothing to read, and one of the master's with something. */
ST_FN(polls)
{
	struct shared *s = arg;
	int good[2] = { 0, s->quiet }, bad[2] = { 0, s->foreign };
	struct pollfd twin = { s->readable, POLLIN, 0 };
	struct race r;

	CHECK_EQ(poll(&twin, 1, 0), 1);
	CHECK_EQ(twin.revents, POLLIN);
	s->poll.fd.events = POLLIN;
	r = race_begin(&s->hand, &s->poll, good, bad, sizeof(good));
	while (race_goes_on(&r)) {
		int n = poll(&s->poll.fd, 1, 0);

		CHECK(n == 0 || n == 1);
		CHECK_EQ(s->poll.fd.revents, n ? POLLNVAL : 0);
		r.good += !n;
		r.bad += n;
	}
	race_ends(&r);
	return NULL;
}

/* The message of a gate: the caller sees it change, the gate does not. */
ST_FN(gates)
{
	static const char *const name[] = { "fresh", "recycled", "native" };
	struct shared *s = arg;
	uint64_t good[RACE_WORDS], bad[RACE_WORDS];

	memset(good, 'g', sizeof(good));
	memset(bad, 'b', sizeof(bad));
	for (int i = 0; i < 3; i++) {
		struct race r = race_begin(&s->hand, s->message + 2048, good, bad, sizeof(good));

		while (race_goes_on(&r)) {
			r.good += *(volatile uint64_t *)(s->message + 2048) == good[0];
			r.bad += *(volatile uint64_t *)(s->message + 2048) == bad[0];
			CHECK_EQ(gate_ask(name[i], s->message, PAGE, NULL, 0), 0);
		}
		race_ends(&r);
	}
	return NULL;
}

static ssize_t looks_twice(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	static char first[PAGE];

	(void)trusted, (void)out, (void)out_cap;
	CHECK_EQ(in_len, PAGE);
	memcpy(first, in, PAGE);
	for (volatile int i = 0; i < 20000; i++)
		;
	for (size_t i = 0; i < PAGE; i++)
		if (((const volatile char *)in)[i] != first[i])
			return -EILSEQ;
	return 0;
}

/* ---- the master ---- */

static struct sthread_gate *gate[3];
static struct shared *shared;

static int file(int dir, const char *name)
{
	int fd = openat(dir, name, O_CREAT | O_WRONLY, 0600);

	CHECK_EQ(write(fd, name, strlen(name)), (ssize_t)strlen(name));
	return close(fd);
}

static int bound(struct sockaddr_un *a, char which)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	/* Eight bytes of name, so that the address is two words and has an end. */
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(a->sun_path + 1, sizeof(a->sun_path) - 1, "sthr-%07d%c", (int)getpid() % 10000000,
		 which);
	CHECK_OK(bind(fd, (struct sockaddr *)a, 16));
	return fd;
}

/* Takes what comes until the writer has gone: "z" is its last word.  Counts, and finds no descriptor. */
static void *takes(void *fd)
{
	for (;;) {
		union {
			struct cmsghdr head;
			char bytes[CMSG_SPACE(sizeof(int))];
		} control;
		char c;
		struct iovec iov = { &c, 1 };
		struct msghdr m = { .msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = &control,
				    .msg_controllen = sizeof(control) };

		CHECK_EQ(recvmsg((int)(intptr_t)fd, &m, 0), 1);
		CHECK_EQ(m.msg_controllen, 0u);
		if (c == 'z')
			return NULL;
		shared->delivered++;
	}
}

/* Runs the sender; everything that it sent arrived at `to`. */
static void arrives(const struct sthread_policy *p, st_fn *fn, const char *name, int to, int from,
		    const struct sockaddr_un *at)
{
	pthread_t t;

	NOTE("%s", name);
	shared->delivered = 0;
	CHECK_EQ(pthread_create(&t, NULL, takes, (void *)(intptr_t)to), 0);
	ST_PASSES(p, fn, shared);
	CHECK_EQ(sendto(from, "z", 1, 0, (const struct sockaddr *)at, at ? 16 : 0), 1);
	CHECK_EQ(pthread_join(t, NULL), 0);
	CHECK_EQ(shared->delivered, shared->sent);
}

static struct sthread_policy *policy(struct sthread_tag *t, struct sthread_tag *read_only)
{
	struct sthread_policy *p = st_policy_all_calls();
	const struct shared *s = shared;

	CHECK_OK(sthread_policy_tag(p, t, STHREAD_WRITE));
	CHECK_OK(sthread_policy_tag(p, read_only, STHREAD_READ));
	CHECK_OK(
		sthread_policy_connect(p, (const struct sockaddr *)&s->granted, 16, STHREAD_EXACT));
	for (int i = 0; i < 3; i++)
		CHECK_OK(sthread_policy_gate(p, gate[i]));
	st_grant_dir(p, s->dir, STHREAD_FD_READ | STHREAD_FD_STAT);
	st_grant(p, s->pipe[0], STHREAD_FD_READ);
	st_grant(p, s->pipe[1], STHREAD_FD_WRITE);
	st_grant(p, s->zero, STHREAD_FD_READ);
	st_grant(p, s->sender, STHREAD_FD_WRITE | STHREAD_FD_CONNECT);
	st_grant(p, s->pair, STHREAD_FD_WRITE);
	st_grant(p, s->quiet, STHREAD_FD_POLL);
	st_grant(p, s->readable, STHREAD_FD_POLL);
	return p;
}

int main(void)
{
	char top[] = "/tmp/st_fetch_XXXXXX", in[64], c;
	struct timeval patience = { .tv_sec = 20 };
	int quiet[2], readable[2], foreign[2], pair[2], granted, other, out;
	struct sthread_tag *t, *read_only;
	struct sthread_policy *p, *only_tag;
	struct sthread *other_hand;
	struct sthread_result r;

	st_init();
	CHECK(mkdtemp(top));
	snprintf(in, sizeof(in), "%s/in", top);
	CHECK_OK(mkdir(in, 0700));
	out = open(top, O_RDONLY | O_DIRECTORY);
	CHECK_OK(sthread_tag_create(&t, "shared", 2 * PAGE));
	CHECK_OK(sthread_tag_create(&read_only, "victim", PAGE));
	shared = sthread_tag_start(t);
	CHECK(sizeof(*shared) <= 2 * PAGE);
	shared->hand.rounds = test_scale(1000);
	shared->secret = malloc(1 << 20);
	strcpy(shared->secret, "secret");
	shared->victim = sthread_tag_start(read_only);
	memset(shared->victim, 'v', PAGE);
	shared->dir = open(in, O_RDONLY | O_DIRECTORY);
	file(shared->dir, "inside");
	file(out, "out");
	CHECK(!pipe(shared->pipe) && !pipe(quiet) && !pipe(readable) && !pipe(foreign));
	CHECK(write(readable[1], "r", 1) == 1 && write(foreign[1], "f", 1) == 1);
	shared->quiet = quiet[0];
	shared->readable = readable[0];
	shared->foreign = foreign[0];
	shared->zero = open("/dev/zero", O_RDONLY);
	granted = bound(&shared->granted, 'a');
	other = bound(&shared->other, 'b');
	shared->sender = socket(AF_UNIX, SOCK_DGRAM, 0);
	/* What goes astray is not taken by anybody: a failure rather than a wait. */
	CHECK_OK(setsockopt(shared->sender, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)));
	CHECK_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	shared->pair = pair[0];
	gate[0] = GATE(.name = "fresh", .fn = looks_twice);
	gate[1] = GATE(.name = "recycled", .fn = looks_twice, .kind = STHREAD_GATE_RECYCLED);
	gate[2] = GATE(.name = "native", .fn = looks_twice, .native = true);
	p = policy(t, read_only);
	only_tag = st_policy();
	CHECK_OK(sthread_policy_tag(only_tag, t, STHREAD_WRITE));
	other_hand = st_create(only_tag, hand_changes, &shared->hand);

	NOTE("paths");
	ST_PASSES(p, paths, shared);
	NOTE("vectors");
	ST_PASSES(p, vectors_to_read, shared);
	ST_PASSES(p, vectors_to_write, shared);
	for (size_t i = 0; i < PAGE; i++)
		CHECK_EQ(shared->victim[i], 'v');
	arrives(p, addresses, "addresses", granted, shared->sender, &shared->granted);
	CHECK(recv(other, &c, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
	arrives(p, messages, "messages", pair[1], pair[0], NULL);
	NOTE("poll");
	ST_PASSES(p, polls, shared);
	NOTE("gates");
	shared->hand.rounds = shared->hand.rounds / 10 + 3;
	ST_PASSES(p, gates, shared);

	CHECK_OK(sthread_kill(other_hand));
	r = st_join(other_hand);
	ST_END(&r, STHREAD_KILLED);
	CHECK_STR(shared->secret, "secret");
	st_others_live();
	sthread_policy_destroy(p);
	sthread_policy_destroy(only_tag);
	for (int i = 0; i < 3; i++)
		sthread_gate_destroy(gate[i]);
	CHECK_OK(sthread_tag_destroy(t));
	CHECK_OK(sthread_tag_destroy(read_only));
	unlinkat(out, "out", 0);
	snprintf(in, sizeof(in), "%s/in/inside", top);
	CHECK_OK(unlink(in));
	CHECK_OK(unlinkat(out, "in", AT_REMOVEDIR));
	CHECK_OK(rmdir(top));
	sthread_fini();
	return TEST_PASSED;
}
