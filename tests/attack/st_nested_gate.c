/* SPDX-License-Identifier: MIT */
/*
 * A gate that a compartment makes has no right that its maker has not, right by right; only who was granted it calls it,
 * by no other handle than its own; what its maker fixed no caller changes.  World: host; gates and ST_FN: inside.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/socket.h>

#include "tests/st_gate.h"

struct board {
	int fd, dir;
	struct sthread_tag *reads, *others;
	struct sthread_gate *theirs, *foreign;
	char *reads_at, *others_at, *edge;
	_Atomic uint64_t go, calls, stolen, stolen_policy;
};
static struct sthread_tag *board_tag;
static struct board *board;

static struct sthread_policy *fresh(void)
{
	struct sthread_policy *p;

	CHECK_OK(sthread_policy_create(&p));
	return p;
}

/* Inside: a policy with the board. */
static struct sthread_policy *with_board(void *at)
{
	struct sthread_policy *p = fresh();

	board = at; /* its copy */
	CHECK_OK(sthread_policy_tag(p, sthread_tag_of(at), STHREAD_WRITE));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_MEMORY, 2 << 20));
	return p;
}

static int64_t word_of(struct sthread_gate *g, const void *in, size_t len)
{
	int64_t word = -1;
	ssize_t n = sthread_gate_call(g, in, len, &word, sizeof(word));

	if (n < 0)
		return n;
	CHECK_EQ(n, (ssize_t)sizeof(word));
	return word;
}

/* ---- it works ---- */

struct answer {
	uint64_t trusted, count, caller, text;
	bool master;
};

static ssize_t says(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	static uint64_t count;
	struct sthread_id id;
	struct answer a = { .trusted = (uint64_t)trusted, .count = ++count };

	CHECK_OK(sthread_gate_caller(&id));
	a.caller = id.run;
	a.master = id.master;
	memcpy(&a.text, in, in_len < sizeof(a.text) ? in_len : sizeof(a.text));
	if (out_cap < sizeof(a))
		return -EMSGSIZE;
	memcpy(out, &a, sizeof(a));
	return sizeof(a);
}

static struct answer say(struct sthread_gate *g, uint64_t text)
{
	struct answer a;

	CHECK_EQ(sthread_gate_call(g, &text, sizeof(text), &a, sizeof(a)), (ssize_t)sizeof(a));
	CHECK_EQ(a.text, text);
	CHECK(!a.master);
	return a;
}

/* A child: by name and by number; `trusted` is what it cannot know, and its message does not say. */
ST_FN(calls_both)
{
	struct sthread_gate *keeps = arg, *found;
	struct answer a, b;

	CHECK_OK(sthread_gate_find(&found, "keeps"));
	CHECK(found == keeps);
	a = say(keeps, 0xbad);
	b = say(keeps, 0xbad2);
	CHECK_EQ(a.trusted, 0x5ec2e7);
	CHECK_EQ(b.trusted, 0x5ec2e7);
	CHECK_EQ(b.count, a.count + 1);
	CHECK_EQ(a.caller, b.caller);
	CHECK_OK(sthread_gate_find(&found, "begins"));
	for (int i = 0; i < 3; i++)
		CHECK_EQ(say(found, 1).count, 1);
	CHECK_EQ(say(found, 1).caller, a.caller);
	CHECK_ERR(sthread_gate_find(&found, "withheld"), -ENOENT);
	return (void *)a.caller;
}

ST_FN(makes_and_calls)
{
	struct sthread_policy *p = fresh();
	struct sthread_gate *keeps, *begins, *found;
	struct sthread_result r;
	uint64_t me;

	keeps = GATE(.name = "keeps", .fn = says, .trusted = (void *)0x5ec2e7, .kind = STHREAD_GATE_RECYCLED);
	begins = GATE(.name = "begins", .fn = says, .trusted = (void *)7);
	GATE(.name = "withheld", .fn = says);
	CHECK_OK(sthread_gate_find(&found, "withheld"));
	CHECK_OK(sthread_gate_find(&found, "keeps"));
	CHECK(found == keeps);
	me = say(keeps, 5).caller;
	CHECK_EQ(say(keeps, 6).count, 2);
	CHECK_EQ(say(begins, 6).count, 1);
	CHECK_OK(sthread_policy_gate(p, keeps));
	CHECK_ERR(sthread_policy_gate(p, keeps), -EEXIST);
	CHECK_OK(sthread_policy_gate(p, begins));
	for (int i = 0; i < 3; i++) {
		CHECK_OK(sthread_call(p, calls_both, keeps, &r));
		CHECK_MSG(r.end == STHREAD_RETURNED, "end %d: %s", r.end, r.message);
		CHECK((uint64_t)r.value && (uint64_t)r.value != me);
	}
	CHECK_EQ(say(keeps, 7).count, 9);
	CHECK_EQ(say(keeps, 7).caller, me);
	return NULL;
}

static void both_ways(const struct sthread_policy *p, st_fn *fn, void *arg)
{
	struct sthread_result r;

	ST_PASSES(p, fn, arg);
	r = st_run(p, fn, arg);
	ST_RETURNED(&r, 0);
}

/* ---- right by right: what the gate's policy could not be given, the gate cannot do ---- */

enum right { FD_READ, FD_WRITE, DIR_READ, DIR_WRITE, TAG_READ, TAG_WRITE, TAG_OTHER, CALL, CALL_DENIED, GATE_OWN,
	     GATE_FOREIGN, CONNECT, CONNECT_OTHER, SOCKET_RULE, MEMORY, RIGHTS };

static struct sockaddr_in inet(uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static int64_t connects(uint16_t port)
{
	struct sockaddr_in to = inet(port);
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	return s < 0 || connect(s, (struct sockaddr *)&to, sizeof(to)) ? -errno : 0;
}

/* Gives what trying it gave.  trusted: the board, of which it has its tag. */
static ssize_t tries(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	static volatile char room[8 << 20];
	struct board *b = trusted;
	struct sthread_gate *g = b->foreign;
	char c = 0;
	int64_t got = 0;

	CHECK_EQ(in_len, sizeof(enum right));
	switch (*(const enum right *)in) {
	case FD_READ: got = read(b->fd, &c, 1) == 1 ? 0 : -errno; break;
	case FD_WRITE: got = write(b->fd, &c, 1) == 1 ? 0 : -errno; break;
	case DIR_READ: got = openat(b->dir, "file", O_RDONLY) >= 0 ? 0 : -errno; break;
	case DIR_WRITE: got = openat(b->dir, "file", O_WRONLY) >= 0 ? 0 : -errno; break;
	case TAG_READ: got = *(volatile char *)b->reads_at; break;
	case TAG_WRITE: *(volatile char *)b->reads_at = 1; break;
	case TAG_OTHER: got = *(volatile char *)b->others_at; break;
	case CALL: got = getpid() > 0 ? 0 : -errno; break;
	case CALL_DENIED: got = dup(b->fd) >= 0 ? 0 : -errno; break;
	case GATE_OWN: got = gate_word("theirs"); break;
	case GATE_FOREIGN: got = sthread_gate_call(g, NULL, 0, NULL, 0); break;
	case CONNECT: got = connects(9); break;
	case CONNECT_OTHER: got = connects(10); break;
	case SOCKET_RULE: got = socket(AF_UNIX, SOCK_DGRAM, 0) >= 0 ? 0 : -errno; break;
	case MEMORY:
		for (size_t at = 0; at < sizeof(room); at += 4096)
			room[at] = 1;
		break;
	case RIGHTS: break;
	}
	return gate_answer(out, out_cap, got);
}

static void expect(struct sthread_gate *g, enum right r, int64_t want)
{
	int64_t got = word_of(g, &r, sizeof(r));

	CHECK_MSG(got == want, "right %d gave %ld, not %ld", r, (long)got, (long)want);
}

/* What it would widen, on the way: each is refused, and the policy as it was. */
static struct sthread_policy *narrow(struct board *b)
{
	struct sthread_policy *p = with_board(b);
	struct sockaddr_in nine = inet(9), ten = inet(10);
#define TO(a) (const struct sockaddr *)&(a), sizeof(a), STHREAD_EXACT

	CHECK_ERR(sthread_policy_fd(p, b->fd, STHREAD_FD_READ | STHREAD_FD_WRITE), -EPERM);
	CHECK_OK(sthread_policy_fd(p, b->fd, STHREAD_FD_READ));
	CHECK_ERR(sthread_policy_dir(p, b->dir, STHREAD_FD_READ | STHREAD_FD_WRITE), -EPERM);
	CHECK_OK(sthread_policy_dir(p, b->dir, STHREAD_FD_READ));
	CHECK_ERR(sthread_policy_tag(p, b->reads, STHREAD_WRITE), -EPERM);
	CHECK_OK(sthread_policy_tag(p, b->reads, STHREAD_READ));
	CHECK_ERR(sthread_policy_tag(p, b->others, STHREAD_READ), -EPERM);
	CHECK_ERR(sthread_policy_syscall(p, SYS_dup, STHREAD_ALLOW), -EPERM);
	for (size_t i = 0; i < 5; i++)
		CHECK_OK(sthread_policy_syscall(p, ((const long[]){ SYS_read, SYS_write, SYS_openat, SYS_socket,
								    SYS_connect })[i], STHREAD_ALLOW));
	CHECK_ERR(sthread_policy_syscall_arg(p, SYS_socket, 0, ~0UL, AF_UNIX), -EPERM);
	CHECK_ERR(sthread_policy_gate(p, b->foreign), -EPERM);
	CHECK_OK(sthread_policy_gate(p, b->theirs));
	CHECK_ERR(sthread_policy_connect(p, TO(ten)), -EPERM);
	CHECK_OK(sthread_policy_connect(p, TO(nine)));
	CHECK_ERR(sthread_policy_limit(p, STHREAD_LIMIT_MEMORY, (64 << 20) + 1), -EPERM);
	CHECK_ERR(sthread_policy_limit(p, STHREAD_LIMIT_FDS, 33), -EPERM);
	CHECK_ERR(sthread_policy_limit(p, STHREAD_LIMIT_WALL_NS, UINT64_MAX), -EPERM);
	CHECK_ERR(sthread_policy_limit(p, STHREAD_LIMIT_CPU_NS, UINT64_MAX), -EPERM);
	return p;
}

ST_FN(widens)
{
	struct sthread_policy *p = narrow(arg);
	struct sthread_gate *g;
	char c;

	for (int kind = STHREAD_GATE_FRESH; kind <= STHREAD_GATE_RECYCLED; kind++) {
		g = GATE(.fn = tries, .policy = p, .trusted = arg, .kind = kind);
		expect(g, FD_READ, 0);
		expect(g, FD_WRITE, -EPERM);
		expect(g, DIR_READ, 0);
		expect(g, DIR_WRITE, -EACCES);
		expect(g, TAG_READ, 0);
		expect(g, TAG_WRITE, -EIO);
		expect(g, TAG_OTHER, -EIO);
		expect(g, CALL, 0);
		expect(g, CALL_DENIED, -ENOSYS);
		expect(g, GATE_OWN, 42);
		expect(g, GATE_FOREIGN, -ENOENT);
		expect(g, CONNECT, 0);
		expect(g, CONNECT_OTHER, -EACCES);
		expect(g, SOCKET_RULE, -EPERM);
		expect(g, MEMORY, -EDQUOT);
		expect(g, FD_READ, 0);
		sthread_gate_destroy(g);
	}
	/* The gate has what its maker does not use itself: it was its to give.  Nothing it lost meanwhile. */
	g = GATE(.fn = tries, .policy = p, .trusted = arg);
	CHECK(!close(board->fd));
	expect(g, FD_READ, 0);
	CHECK_EQ(read(board->fd, &c, 1), -1);
	CHECK_ERR(sthread_gate_create(&g, &((struct sthread_gate_config){ .size = sizeof(struct sthread_gate_config),
									   .fn = tries, .policy = p })), -EPERM);
	/* Without a policy it grants nothing. */
	g = GATE(.fn = tries, .trusted = arg);
	expect(g, TAG_READ, -EIO);
	return NULL;
}

static ssize_t forty_two(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len;
	return gate_answer(out, out_cap, 42);
}

static void right_by_right(void)
{
	struct sthread_policy *p = st_policy();
	char dir[] = "/tmp/st_nested_gate.XXXXXX", path[64];
	struct sockaddr_in nine = inet(9);
	struct board *b = board;

	b->fd = open("/dev/zero", O_RDWR);
	CHECK(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/file", dir);
	close(open(path, O_RDWR | O_CREAT, 0600));
	b->dir = open(dir, O_RDONLY | O_DIRECTORY);
	CHECK_OK(sthread_tag_create(&b->reads, "reads", 4096));
	CHECK_OK(sthread_tag_create(&b->others, "others", 4096));
	b->reads_at = sthread_tag_start(b->reads);
	b->others_at = sthread_tag_start(b->others);
	b->theirs = GATE(.name = "theirs", .fn = forty_two);
	b->foreign = GATE(.name = "foreign", .fn = forty_two);
	CHECK_OK(sthread_policy_tag(p, board_tag, STHREAD_WRITE));
	CHECK_OK(sthread_policy_tag(p, b->reads, STHREAD_READ));
	CHECK_OK(sthread_policy_gate(p, b->theirs));
	st_grant(p, b->fd, STHREAD_FD_READ);
	st_grant_dir(p, b->dir, STHREAD_FD_READ);
	st_allow(p, SYS_read, SYS_write, SYS_openat, SYS_socket, SYS_connect, SYS_close);
	CHECK_OK(sthread_policy_syscall_arg(p, SYS_socket, 0, ~0UL, AF_INET));
	CHECK_OK(sthread_policy_connect(p, TO(nine)));
	st_limit(p, STHREAD_LIMIT_FDS, 32);
	st_limit(p, STHREAD_LIMIT_WALL_NS, 100000000000);
	st_limit(p, STHREAD_LIMIT_CPU_NS, 50000000000);
	both_ways(p, widens, b);
	unlink(path);
	rmdir(dir);
	sthread_policy_destroy(p);
}

/* ---- configurations ---- */

ST_FN(misconfigures)
{
	struct sthread_gate_config good = { .size = sizeof(good), .name = "good", .fn = says }, c;
	struct sthread_gate *out = (struct sthread_gate *)5;
	struct sthread_policy *gone = fresh();
	struct board *b = arg;
	char *edge = b->edge - 8;

	sthread_policy_destroy(gone);
#define BAD(err, ...)                                            \
	do {                                                     \
		c = good;                                        \
		__VA_ARGS__;                                     \
		CHECK_ERR(sthread_gate_create(&out, &c), (err)); \
		CHECK(out == (struct sthread_gate *)5);          \
	} while (0)
	BAD(-EINVAL, c.size--);
	BAD(-EINVAL, c.size = 0);
	BAD(-EINVAL, c.fn = NULL);
	BAD(-EINVAL, c.fn = (sthread_gate_fn *)(uintptr_t)&c);
	BAD(-EINVAL, c.fn = (sthread_gate_fn *)0xffffffff80000000);
	BAD(-EINVAL, c.kind = STHREAD_GATE_RESIDENT + 1);
	BAD(-ENOTSUP, c.kind = STHREAD_GATE_RESIDENT);
	BAD(-EINVAL, c.name = "a name that is longer than any name");
	BAD(-EFAULT, c.name = (const char *)0x10);
	BAD(-EFAULT, c.name = edge);
	/* In the master nothing of it runs. */
	BAD(-EPERM, c.native = true);
	BAD(-EPERM, memset(&c.native, 0xff, 1));
	BAD(-EINVAL, c.native = true; c.kind = STHREAD_GATE_RECYCLED);
	/* Handles of a policy, and of a gate: compared, and none of these is one. */
	BAD(-EINVAL, c.policy = gone);
	BAD(-EINVAL, c.policy = (void *)&c);
	BAD(-EINVAL, c.policy = (void *)b->stolen_policy);
	BAD(-EINVAL, c.after = (void *)&c);
	BAD(-EINVAL, c.after = (void *)b->stolen);
	BAD(-EINVAL, c.after = (void *)gone);
#undef BAD
	CHECK_ERR(sthread_gate_create(&out, NULL), -EINVAL);
	CHECK_ERR(sthread_gate_create(NULL, &good), -EINVAL);
	CHECK_ERR(sthread_gate_create(&out, (void *)0x10), -EFAULT);
	CHECK_ERR(sthread_gate_create(&out, (void *)edge), -EFAULT);
	CHECK_ERR(sthread_gate_create(&out, (void *)0xffffffff80000000), -EFAULT);
	CHECK_OK(sthread_gate_create(&out, &good));
	CHECK_EQ(say(out, 3).count, 1);
	return NULL;
}

/* ---- handles ---- */

/* Has been given the gate: may call it, and nothing else. */
ST_FN(ungranted)
{
	struct sthread_gate *g = arg;

	CHECK_ERR(sthread_gate_call(g, NULL, 0, NULL, 0), -ENOENT);
	CHECK_ERR(sthread_policy_gate(fresh(), g), -EPERM);
	sthread_gate_destroy(g);
	return NULL;
}

ST_FN(granted)
{
	struct sthread_gate *g = arg;

	sthread_gate_destroy(g); /* is not its maker */
	CHECK_EQ(say(g, 1).trusted, 9);
	CHECK_OK(sthread_policy_gate(fresh(), g));
	return NULL;
}

ST_FN(forges)
{
	struct sthread_gate *g = GATE(.name = "g", .fn = says, .trusted = (void *)9), *gone = GATE(.fn = says);
	struct sthread_policy *p = fresh(), *none = fresh(), *holds = fresh();
	struct sthread_result r;
	struct board *b = arg;

	CHECK_OK(sthread_policy_gate(p, g));
	CHECK_OK(sthread_policy_gate(holds, gone));
	CHECK_EQ(say(gone, 1).count, 1);
	sthread_gate_destroy(gone);
	sthread_gate_destroy(gone);
	/* A policy that holds what was destroyed starts nothing any more. */
	CHECK_ERR(sthread_call(holds, granted, g, &r), -EPERM);
	for (int bit = 3; bit < 64; bit++) {
		void *bad = (void *)((uintptr_t)g ^ 1UL << bit);

		CHECK_ERR(sthread_gate_call(bad, NULL, 0, NULL, 0), -ENOENT);
		CHECK_ERR(sthread_policy_gate(none, bad), -EPERM);
		sthread_gate_destroy(bad);
	}
	void *const bad[] = { (void *)-1, gone, p, b, (void *)(uintptr_t)forges, (void *)b->stolen,
			      (void *)((uintptr_t)g & ~(1UL << 62)) };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK_ERR(sthread_gate_call(bad[i], NULL, 0, NULL, 0), -ENOENT);
		CHECK_ERR(sthread_policy_gate(none, bad[i]), -EPERM);
		sthread_gate_destroy(bad[i]);
	}
	CHECK_ERR(sthread_policy_limit((void *)g, STHREAD_LIMIT_FDS, 1), -EINVAL);
	CHECK_ERR(sthread_kill((void *)g), -EINVAL);
	CHECK_OK(sthread_call(none, ungranted, g, &r));
	CHECK_MSG(r.end == STHREAD_RETURNED, "end %d: %s", r.end, r.message);
	CHECK_OK(sthread_call(p, granted, g, &r));
	CHECK_MSG(r.end == STHREAD_RETURNED, "end %d: %s", r.end, r.message);
	CHECK_EQ(say(g, 1).trusted, 9);
	return NULL;
}

static ssize_t counts_calls(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct board *b = trusted;

	(void)in, (void)in_len;
	return gate_answer(out, out_cap, (int64_t)++b->calls);
}

/* Its handles lie open; its gate is called by nobody else. */
ST_FN(is_robbed)
{
	struct sthread_policy *p = with_board(arg);
	struct sthread_gate *g = GATE(.name = "robbed", .fn = counts_calls, .policy = p, .trusted = arg);

	CHECK_EQ(word_of(g, NULL, 0), 1);
	board->stolen_policy = (uint64_t)p;
	board->stolen = (uint64_t)g;
	board->go = 1;
	while (board->go != 2)
		;
	CHECK_EQ(word_of(g, NULL, 0), 2);
	return NULL;
}

static void handles(void)
{
	struct sthread_policy *p = st_policy();
	struct sthread *victim;
	struct sthread_result r;
	void *map;

	CHECK_OK(sthread_policy_tag(p, board_tag, STHREAD_WRITE));
	CHECK_OK(sthread_map(4096, &map));
	CHECK_OK(sthread_policy_memory(p, map, 4096, STHREAD_READ));
	memset(map, 'n', 4096);
	board->go = board->calls = 0;
	victim = st_create(p, is_robbed, board);
	while (board->go != 1)
		usleep(1000);
	both_ways(p, forges, board);
	board->edge = (char *)map + 4096;
	both_ways(p, misconfigures, board);
	board->go = 2;
	r = st_join(victim);
	ST_RETURNED(&r, 0);
	sthread_policy_destroy(p);
}

/* ---- order ---- */

/* Granted: login, read (after login), once (one call, ever). */
ST_FN(keeps_order)
{
	struct sthread_gate *g;

	CHECK_ERR(gate_word("read"), -EPERM);
	CHECK_EQ(gate_word("login"), 42);
	CHECK_EQ(gate_word("read"), 42);
	CHECK_EQ(gate_word("read"), 42);
	CHECK_EQ(gate_word("once"), 42);
	CHECK_ERR(gate_word("once"), -EPERM);
	if (!arg) /* its maker makes its rules */
		return NULL;
	CHECK_OK(sthread_gate_find(&g, "once"));
	CHECK_ERR(sthread_policy_gate(fresh(), g), -EPERM);
	CHECK_OK(sthread_gate_find(&g, "read"));
	CHECK_OK(sthread_policy_gate(fresh(), g));
	return NULL;
}

ST_FN(orders)
{
	struct sthread_gate *login = GATE(.name = "login", .fn = forty_two);
	struct sthread_gate *reads = GATE(.name = "read", .fn = forty_two, .after = login);
	struct sthread_gate *once = GATE(.name = "once", .fn = forty_two, .max_calls = 1);
	struct sthread_policy *p = fresh(), *cut = fresh();
	struct sthread_result r;

	CHECK_OK(sthread_policy_gate(p, login));
	CHECK_OK(sthread_policy_gate(p, reads));
	CHECK_OK(sthread_policy_gate(p, once));
	CHECK(!keeps_order(NULL));
	for (int i = 0; i < 2; i++) {
		CHECK_OK(sthread_call(p, keeps_order, arg, &r));
		CHECK_MSG(r.end == STHREAD_RETURNED && !r.value, "end %d: %s", r.end, r.message);
	}
	/* After a gate that it was not granted: never. */
	CHECK_OK(sthread_policy_gate(cut, reads));
	CHECK_OK(sthread_call(cut, keeps_order, arg, &r));
	CHECK_EQ(r.end, STHREAD_EXITED); /* at the login that it does not find, and not before */
	CHECK(strstr(r.message, "sthread_gate_find"));
	return NULL;
}

int main(void)
{
	st_init();
	CHECK_OK(sthread_tag_create(&board_tag, "board", 1 << 16));
	board = sthread_calloc(board_tag, 1, sizeof(*board));
	CHECK(board);
	both_ways(NULL, makes_and_calls, NULL);
	right_by_right();
	handles();
	both_ways(NULL, orders, (void *)1);
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
