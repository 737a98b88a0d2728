/* SPDX-License-Identifier: MIT */
/*
 * What a compartment makes has no right that it has not itself: every kind of right one step wider is -EPERM, handles
 * are its own, what was taken from it its children lose, too, and nothing outlives it.  World: host; ST_FN: inside.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/st_gate.h"

#define MS 1000000UL

/* What master and compartments share: counters, and handles to steal. */
struct board {
	int fd, other_fd, dir, pipe;
	struct sthread_tag *reads, *writes, *others;
	struct sthread_gate *mine, *counted, *foreign;
	char *map;
	struct sockaddr_in net;
	_Atomic uint64_t beats, beats2, go, stolen_st, stolen_policy;
};
static struct sthread_tag *board_tag;
static struct board *board;

static struct sthread_policy *fresh(void)
{
	struct sthread_policy *p;

	CHECK_OK(sthread_policy_create(&p));
	return p;
}

static struct sthread_policy *with_board(void)
{
	struct sthread_policy *p = st_policy();

	CHECK_OK(sthread_policy_tag(p, board_tag, STHREAD_WRITE));
	return p;
}

/* Inside: a policy with the board. */
static struct sthread_policy *of_board(void *at)
{
	struct sthread_policy *p = fresh();

	board = at; /* its copy */
	CHECK_OK(sthread_policy_tag(p, sthread_tag_of(at), STHREAD_WRITE));
	return p;
}

/* ---- right by right ---- */

ST_FN(widens_descriptors)
{
	struct board *b = arg;
	struct sthread_policy *p = fresh();
	int e;

	CHECK_ERR(sthread_policy_fd(p, b->fd, STHREAD_FD_READ | STHREAD_FD_WRITE), -EPERM);
	for (unsigned right = 1; right < STHREAD_FD_ALL; right <<= 1)
		if (right != STHREAD_FD_READ && right != STHREAD_FD_SEEK)
			CHECK_ERR(sthread_policy_fd(p, b->fd, right), -EPERM);
	CHECK_ERR(sthread_policy_fd(p, b->fd, 0), -EINVAL);
	CHECK_ERR(sthread_policy_fd(p, b->fd, STHREAD_FD_ALL + 1), -EINVAL);
	CHECK_ERR(sthread_policy_fd(p, b->other_fd, STHREAD_FD_READ), -EBADF);
	CHECK_ERR(sthread_policy_fd(p, -1, STHREAD_FD_READ), -EBADF);
	CHECK_OK(sthread_policy_fd(p, b->fd, STHREAD_FD_READ));
	/* A directory is not a file, nor a file a directory. */
	CHECK_ERR(sthread_policy_dir(p, b->dir, STHREAD_FD_READ | STHREAD_FD_WRITE), -EPERM);
	CHECK_ERR(sthread_policy_dir(p, b->dir, STHREAD_FD_MAKE), -EPERM);
	CHECK_ERR(sthread_policy_fd(p, b->dir, STHREAD_FD_READ), -EPERM);
	CHECK_OK(sthread_policy_dir(p, b->dir, STHREAD_FD_READ));
	p = fresh();
	CHECK_ERR(sthread_policy_dir(p, b->fd, STHREAD_FD_READ), -EPERM);
	e = epoll_create1(0);
	CHECK_GE(e, 0);
	CHECK_ERR(sthread_policy_fd(p, e, STHREAD_FD_POLL), -EINVAL);
	return NULL;
}

ST_FN(reads_only)
{
	char c;

	CHECK_EQ(read((int)(intptr_t)arg, &c, 1), 1);
	CHECK_EQ(write((int)(intptr_t)arg, &c, 1), -1);
	CHECK_EQ(errno, ENOSYS);
	return NULL;
}

ST_FN(fails_to_read)
{
	char c;

	CHECK_EQ(read((int)(intptr_t)arg, &c, 1), -1);
	return (void *)(intptr_t)errno;
}

ST_FN(widens_calls)
{
	struct board *b = arg;
	struct sthread_policy *p = fresh();
	struct sthread_result r;

	CHECK_ERR(sthread_policy_syscall(p, SYS_write, STHREAD_ALLOW), -EPERM);
	CHECK_ERR(sthread_policy_syscall(p, SYS_getpid, STHREAD_DENY_ERRNO), -EPERM);
	CHECK_ERR(sthread_policy_syscall(p, SYS_getpid, STHREAD_ALLOW), -EPERM);
	CHECK_OK(sthread_policy_syscall(p, SYS_getpid, STHREAD_DENY_KILL));
	CHECK_ERR(sthread_policy_syscall(p, STHREAD_SYSCALL_OTHERS, STHREAD_DENY_ERRNO), -EPERM);
	CHECK_OK(sthread_policy_syscall(p, STHREAD_SYSCALL_OTHERS, STHREAD_DENY_KILL));
	/* What was refused is not there; what was not, is. */
	CHECK_OK(sthread_policy_fd(p, b->fd, STHREAD_FD_READ));
	CHECK_OK(sthread_call(p, fails_to_read, (void *)(intptr_t)b->fd, &r));
	CHECK(r.end == STHREAD_RETURNED && r.value == (void *)ENOSYS);
	CHECK_OK(sthread_policy_syscall(p, SYS_read, STHREAD_ALLOW));
	CHECK_OK(sthread_call(p, reads_only, (void *)(intptr_t)b->fd, &r));
	CHECK_MSG(r.end == STHREAD_RETURNED && !r.value, "end %d: %s", r.end, r.message);
	return NULL;
}

ST_FN(asks_pid)
{
	return (void *)(intptr_t)getpid();
}

ST_FN(defaults_are_clipped)
{
	struct sthread_policy *p = fresh();
	struct sthread_result r;

	CHECK_OK(sthread_call(NULL, asks_pid, NULL, &r));
	CHECK(r.end == STHREAD_DENIED && (long)r.value == SYS_getpid);
	CHECK_OK(sthread_call(p, asks_pid, NULL, &r));
	CHECK(r.end == STHREAD_DENIED && (long)r.value == SYS_getpid);
	return NULL;
}

/* Its own: socket with domain AF_INET or AF_UNIX; type, low bits: DGRAM. */
ST_FN(widens_rules)
{
	struct sthread_policy *p = fresh();

	CHECK_OK(sthread_policy_syscall(p, SYS_socket, STHREAD_ALLOW));
	CHECK_ERR(sthread_policy_syscall_arg(p, SYS_socket, 0, ~0UL, AF_INET6), -EPERM);
	CHECK_ERR(sthread_policy_syscall_arg(p, SYS_socket, 0, 0, 0), -EPERM);
	CHECK_ERR(sthread_policy_syscall_arg(p, SYS_socket, 0, 2, 2), -EPERM);
	CHECK_OK(sthread_policy_syscall_arg(p, SYS_socket, 0, ~0UL, AF_INET));
	CHECK_ERR(sthread_policy_syscall_arg(p, SYS_socket, 0, ~0UL, AF_INET6), -EPERM);
	CHECK_OK(sthread_policy_syscall_arg(p, SYS_socket, 2, ~0UL, 0));
	CHECK_ERR(sthread_policy_syscall_arg(p, SYS_socket, 6, 0, 0), -EINVAL);
	CHECK_ERR(sthread_policy_syscall_arg(p, 100000, 0, 0, 0), -EINVAL);
	/* Not even while the call is denied: allowing it then is refused. */
	p = fresh();
	CHECK_OK(sthread_policy_syscall_arg(p, SYS_socket, 0, ~0UL, AF_INET6));
	CHECK_ERR(sthread_policy_syscall(p, SYS_socket, STHREAD_ALLOW), -EPERM);
	return NULL;
}

static struct sockaddr_in inet(uint32_t addr, uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(addr) };
}

/* Its own: connect 127.0.0.0/8 port 9, bind 127.0.0.1 port 9. */
ST_FN(widens_addresses)
{
	struct sockaddr_in local = inet(0x7f000001, 9), port = inet(0x7f000001, 10), other = inet(0x0a000001, 9);
	struct sockaddr_un un = { .sun_family = AF_UNIX, .sun_path = "/x" };
	struct sthread_policy *p = fresh();
#define AT(a) (const struct sockaddr *)&(a), sizeof(a)

	CHECK_ERR(sthread_policy_connect(p, AT(local), 7), -EPERM);
	CHECK_ERR(sthread_policy_connect(p, AT(port), STHREAD_EXACT), -EPERM);
	CHECK_ERR(sthread_policy_connect(p, AT(other), STHREAD_EXACT), -EPERM);
	CHECK_ERR(sthread_policy_connect(p, AT(un), STHREAD_EXACT), -EPERM);
	CHECK_ERR(sthread_policy_bind(p, AT(local), 8), -EPERM);
	CHECK_ERR(sthread_policy_connect(p, (const struct sockaddr *)arg, sizeof(local), 8), -EFAULT);
	CHECK_ERR(sthread_policy_connect(p, (const struct sockaddr *)&local, 4096, 8), -EINVAL);
	CHECK_ERR(sthread_policy_connect(p, NULL, sizeof(local), 8), -EINVAL);
	CHECK_OK(sthread_policy_connect(p, AT(local), 8));
	CHECK_OK(sthread_policy_connect(p, AT(local), STHREAD_EXACT));
	CHECK_OK(sthread_policy_bind(p, AT(local), STHREAD_EXACT));
	return NULL;
}

ST_FN(writes_byte)
{
	*(volatile char *)arg = 1;
	return NULL;
}

static char *own_page(void)
{
	static char page[8192];

	return (char *)(((uintptr_t)page + 4095) & ~4095UL);
}

ST_FN(widens_memory)
{
	struct board *b = arg;
	struct sthread_policy *p = fresh();
	struct sthread_result r;
	char *reads = b->map; /* one page, for reading */

	CHECK_ERR(sthread_policy_tag(p, b->others, STHREAD_READ), -EPERM);
	CHECK_ERR(sthread_policy_tag(p, (void *)((uintptr_t)b->reads + 8), STHREAD_READ), -EPERM);
	CHECK_ERR(sthread_policy_tag(p, NULL, STHREAD_READ), -EPERM);
	CHECK_ERR(sthread_policy_tag(p, b->reads, STHREAD_WRITE), -EPERM);
	CHECK_ERR(sthread_policy_tag(p, b->reads, 4), -EINVAL);
	CHECK_OK(sthread_policy_tag(p, b->reads, STHREAD_READ));
	CHECK_OK(sthread_policy_tag(p, b->writes, STHREAD_WRITE));
	CHECK_ERR(sthread_policy_memory(p, reads, 4096, STHREAD_WRITE), -EPERM);
	CHECK_ERR(sthread_policy_memory(p, reads, 8192, STHREAD_READ), -EPERM);
	CHECK_ERR(sthread_policy_memory(p, reads + 4096, 4096, STHREAD_READ), -EPERM);
	CHECK_ERR(sthread_policy_memory(p, reads, SIZE_MAX & ~4095UL, STHREAD_READ), -EPERM);
	CHECK_ERR(sthread_policy_memory(p, own_page(), 4096, STHREAD_READ), -EPERM);
	CHECK_OK(sthread_policy_memory(p, reads, 4096, STHREAD_READ));
	CHECK_OK(sthread_call(p, writes_byte, reads, &r));
	CHECK_EQ(r.end, STHREAD_FAULTED);
	CHECK_EQ(r.address, (uint64_t)reads);
	return NULL;
}

ST_FN(widens_gates)
{
	struct board *b = arg;
	struct sthread_policy *p = fresh();

	CHECK_ERR(sthread_policy_gate(p, b->foreign), -EPERM);
	CHECK_ERR(sthread_policy_gate(p, NULL), -EPERM);
	CHECK_ERR(sthread_policy_gate(p, (void *)((uintptr_t)b->mine ^ 8)), -EPERM);
	/* Its calls are counted: a child would begin at 0. */
	CHECK_ERR(sthread_policy_gate(p, b->counted), -EPERM);
	CHECK_OK(sthread_policy_gate(p, b->mine));
	return NULL;
}

ST_FN(widens_limits)
{
	struct sthread_policy *p = fresh();
	static const struct {
		enum sthread_limit limit;
		uint64_t own;
	} of[] = { { STHREAD_LIMIT_MEMORY, 32UL << 20 }, { STHREAD_LIMIT_WALL_NS, 60000 * MS },
		   { STHREAD_LIMIT_FDS, 40 }, { STHREAD_LIMIT_CPU_NS, 30000 * MS },
		   { STHREAD_LIMIT_GATE_CALLS, 50 } };

	for (int i = 0; i < 5; i++) {
		CHECK_ERR(sthread_policy_limit(p, of[i].limit, of[i].own + 1), -EPERM);
		CHECK_ERR(sthread_policy_limit(p, of[i].limit, UINT64_MAX), -EPERM);
		CHECK_OK(sthread_policy_limit(p, of[i].limit, of[i].own));
	}
	CHECK_ERR(sthread_policy_limit(p, (enum sthread_limit)5, 0), -EINVAL);
	return NULL;
}

/* What one has, two cannot have. */
ST_FN(parts_limits)
{
	static const struct {
		enum sthread_limit limit;
		uint64_t whole, part;
	} of[] = { { STHREAD_LIMIT_MEMORY, 32UL << 20, 8UL << 20 }, { STHREAD_LIMIT_FDS, 40, 16 },
		   { STHREAD_LIMIT_CPU_NS, 30000 * MS, 12000 * MS } };
	struct sthread_result r;
	struct sthread *st[8];

	for (int i = 0; i < 3; i++) {
		struct sthread_policy *p = fresh();
		unsigned n = 0;

		CHECK_OK(sthread_policy_limit(p, of[i].limit, of[i].whole));
		CHECK_ERR(sthread_call(p, asks_pid, NULL, &r), -EDQUOT);
		CHECK_OK(sthread_policy_limit(p, of[i].limit, of[i].part));
		for (int again = 0; again < 2; again++) {
			for (n = 0; n < 8 && !sthread_create(&st[n], p, asks_pid, NULL); n++)
				;
			CHECK_EQ(n, i ? 2 : 3);
			CHECK_ERR(sthread_create(&st[n], p, asks_pid, NULL), -EDQUOT);
			while (n)
				CHECK_OK(sthread_join(st[--n], NULL));
		}
	}
	return NULL;
}

static ssize_t nothing(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len, (void)out, (void)out_cap;
	return 0;
}

static void right_by_right(void)
{
	struct sthread_policy *p = with_board();
	struct board *b = board;
	void *map;

	b->fd = open("/dev/zero", O_RDWR);
	b->other_fd = open("/dev/zero", O_RDONLY);
	b->dir = open("/", O_RDONLY | O_DIRECTORY);
	CHECK_OK(sthread_map(3 * 4096, &map));
	b->map = map;
	CHECK_OK(sthread_tag_create(&b->reads, "reads", 4096));
	CHECK_OK(sthread_tag_create(&b->writes, "writes", 4096));
	CHECK_OK(sthread_tag_create(&b->others, "others", 4096));
	b->mine = GATE(.name = "mine", .fn = nothing);
	b->counted = GATE(.name = "counted", .fn = nothing, .max_calls = 3);
	b->foreign = GATE(.name = "foreign", .fn = nothing);
	st_grant(p, b->fd, STHREAD_FD_READ | STHREAD_FD_SEEK);
	st_grant_dir(p, b->dir, STHREAD_FD_READ);
	st_allow(p, SYS_read, SYS_socket, SYS_epoll_create1);
	ST_PASSES(p, widens_descriptors, b);
	st_action(p, SYS_getpid, STHREAD_DENY_KILL);
	st_action(p, STHREAD_SYSCALL_OTHERS, STHREAD_DENY_KILL);
	ST_PASSES(p, widens_calls, b);
	ST_PASSES(p, defaults_are_clipped, NULL);
	st_action(p, SYS_getpid, STHREAD_ALLOW);
	CHECK_OK(sthread_policy_syscall_arg(p, SYS_socket, 0, ~0UL, AF_INET));
	CHECK_OK(sthread_policy_syscall_arg(p, SYS_socket, 0, ~0UL, AF_UNIX));
	ST_PASSES(p, widens_rules, NULL);
	b->net = inet(0x7f000001, 9);
	CHECK_OK(sthread_policy_connect(p, (struct sockaddr *)&b->net, sizeof(b->net), 8));
	CHECK_OK(sthread_policy_bind(p, (struct sockaddr *)&b->net, sizeof(b->net), STHREAD_EXACT));
	ST_PASSES(p, widens_addresses, (char *)map + 8192);
	CHECK_OK(sthread_policy_tag(p, b->reads, STHREAD_READ));
	CHECK_OK(sthread_policy_tag(p, b->writes, STHREAD_WRITE));
	CHECK_OK(sthread_policy_memory(p, map, 4096, STHREAD_READ));
	ST_PASSES(p, widens_memory, b);
	CHECK_OK(sthread_policy_gate(p, b->mine));
	CHECK_OK(sthread_policy_gate(p, b->counted));
	ST_PASSES(p, widens_gates, b);
	st_limit(p, STHREAD_LIMIT_MEMORY, 32UL << 20);
	st_limit(p, STHREAD_LIMIT_WALL_NS, 60000 * MS);
	st_limit(p, STHREAD_LIMIT_FDS, 40);
	st_limit(p, STHREAD_LIMIT_CPU_NS, 30000 * MS);
	st_limit(p, STHREAD_LIMIT_GATE_CALLS, 50);
	ST_PASSES(p, widens_limits, NULL);
	ST_PASSES(p, parts_limits, NULL);
	sthread_policy_destroy(p);
}

/* ---- handles ---- */

ST_FN(rests)
{
	for (;;)
		pause();
	return arg;
}

ST_FN(forges)
{
	struct sthread_policy *p = fresh(), *gone = fresh();
	struct sthread_result r = { .end = STHREAD_LOST };
	struct sthread *st, *joined;
	struct board *b = arg;

	CHECK_OK(sthread_create(&joined, p, asks_pid, NULL));
	CHECK_OK(sthread_join(joined, NULL));
	CHECK_OK(sthread_create(&st, p, rests, NULL));
	sthread_policy_destroy(gone);
	for (int bit = 0; bit < 64; bit++) {
		CHECK_ERR(sthread_kill((void *)((uintptr_t)st ^ 1UL << bit)), -EINVAL);
		CHECK_ERR(sthread_policy_limit((void *)((uintptr_t)p ^ 1UL << bit), STHREAD_LIMIT_FDS, 1), -EINVAL);
	}
	void *const bad[] = { NULL, (void *)-1, joined, gone, b, (void *)(uintptr_t)forges,
			      (void *)b->stolen_st, (void *)b->stolen_policy };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK_ERR(sthread_join(bad[i], &r), -EINVAL);
		CHECK_ERR(sthread_kill(bad[i]), -EINVAL);
		CHECK_ERR(sthread_detach(bad[i]), -EINVAL);
		CHECK_ERR(sthread_policy_limit(bad[i], STHREAD_LIMIT_FDS, 1), -EINVAL);
		if (bad[i])
			CHECK_ERR(sthread_create(&joined, bad[i], asks_pid, NULL), -EINVAL);
		sthread_policy_destroy(bad[i]);
	}
	CHECK_ERR(sthread_policy_limit((void *)st, STHREAD_LIMIT_FDS, 1), -EINVAL);
	CHECK_ERR(sthread_kill((void *)p), -EINVAL);
	CHECK_EQ(r.end, STHREAD_LOST);
	/* Results go where its maker may write; functions are those of the image. */
	CHECK_ERR(sthread_join(st, (void *)8), -EFAULT);
	CHECK_ERR(sthread_join(st, (void *)0x7ffffffff000), -EFAULT);
	CHECK_ERR(sthread_call(p, asks_pid, NULL, (void *)(uintptr_t)forges), -EFAULT);
	CHECK_ERR(sthread_call(p, (st_fn *)(uintptr_t)&r, NULL, &r), -EINVAL);
	CHECK_ERR(sthread_call(p, NULL, NULL, &r), -EINVAL);
	CHECK_OK(sthread_kill(st));
	CHECK_OK(sthread_join(st, &r));
	CHECK_EQ(r.end, STHREAD_KILLED);
	return NULL;
}

/* Its handles lie open for others, while it is there. */
ST_FN(shows_handles)
{
	struct sthread_policy *p = of_board(arg);
	struct sthread *st;

	CHECK_OK(sthread_create(&st, p, rests, NULL));
	board->stolen_policy = (uint64_t)p;
	board->stolen_st = (uint64_t)st;
	board->go = 1;
	CHECK_OK(sthread_join(st, NULL));
	return NULL;
}

static void handles(void)
{
	struct sthread_policy *p = with_board();
	struct sthread *victim;
	struct sthread_result r;

	victim = st_create(p, shows_handles, board);
	while (!board->go)
		usleep(1000);
	ST_PASSES(p, forges, board);
	CHECK_OK(sthread_kill(victim));
	r = st_join(victim);
	ST_END(&r, STHREAD_KILLED);
	sthread_policy_destroy(p);
}

/* ---- nothing outlives its maker ---- */

ST_FN(beats)
{
	struct board *b = arg;

	for (;;)
		b->beats++;
	return NULL;
}

ST_FN(has_beating_child)
{
	struct sthread_policy *p = of_board(arg);
	struct sthread *st;

	CHECK_OK(sthread_create(&st, p, beats, arg));
	while (board->beats < 1000)
		;
	if (board->go == 1)
		return (void *)5;
	if (board->go == 2)
		*(volatile char *)(uintptr_t)board->go = 1;
	if (board->go == 3)
		CHECK_OK(sthread_detach(st));
	else
		CHECK_OK(sthread_join(st, NULL));
	return (void *)6;
}

/* The one that beats is two below. */
ST_FN(has_grandchild)
{
	struct sthread_policy *p = of_board(arg);
	struct sthread_result r;

	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_MEMORY, 16 << 20));
	CHECK_OK(sthread_call(p, has_beating_child, arg, &r));
	return NULL;
}

static void still(void)
{
	uint64_t beats = board->beats;

	usleep(20000);
	CHECK_EQ(board->beats, beats);
	CHECK_GE(beats, 1000);
	board->beats = 0;
}

static void outlived(void)
{
	struct sthread_policy *p = with_board();
	struct sthread_result r;
	struct sthread *st;

	for (uint64_t how = 1; how <= 3; how++) {
		board->go = how;
		board->beats = 0;
		r = how == 2 ? st_run(p, has_beating_child, board) : st_call(p, has_beating_child, board);
		if (how == 2)
			ST_FAULTS(&r, STHREAD_FAULT_MEMORY, 2, 2, ST_IN(has_beating_child), "null pointer");
		else
			ST_RETURNED(&r, how == 1 ? 5 : 6);
		still();
	}
	board->go = 4;
	for (int deep = 0; deep < 2; deep++) {
		st = st_create(p, deep ? has_grandchild : has_beating_child, board);
		while (board->beats < 1000)
			usleep(1000);
		CHECK_OK(sthread_kill(st));
		still(); /* as soon as the kill is done */
		r = st_join(st);
		ST_END(&r, STHREAD_KILLED);
	}
	st_limit(p, STHREAD_LIMIT_WALL_NS, 300 * MS);
	r = st_call(p, has_grandchild, board);
	ST_LIMIT(&r, STHREAD_LIMIT_WALL_NS);
	still();
	sthread_policy_destroy(p);
}

/* ---- what it has passed its children have not ---- */

/* Inside: the gate "later" is for who has called "first". */
ST_FN(goes_in_order)
{
	CHECK_EQ(gate_ask("later", NULL, 0, NULL, 0), -EPERM);
	CHECK_EQ(gate_ask("first", NULL, 0, NULL, 0), 0);
	CHECK_EQ(gate_ask("later", NULL, 0, NULL, 0), 0);
	return NULL;
}

static void makes_one_in_order(void)
{
	static const char *const names[] = { "first", "later" };
	struct sthread_policy *p = fresh();
	struct sthread_result r;

	for (int i = 0; i < 2; i++) {
		struct sthread_gate *g;

		CHECK_OK(sthread_gate_find(&g, names[i]));
		CHECK_OK(sthread_policy_gate(p, g));
	}
	CHECK_OK(sthread_call(p, goes_in_order, NULL, &r));
	CHECK_MSG(r.end == STHREAD_RETURNED && !r.value, "end %d: %s", r.end, r.message);
}

/* A child that has passed is no help to its maker; a maker that has is none to its child. */
ST_FN(passes_before_and_after)
{
	makes_one_in_order();
	CHECK_EQ(gate_ask("later", NULL, 0, NULL, 0), -EPERM);
	goes_in_order(NULL);
	makes_one_in_order();
	CHECK_EQ(gate_ask("later", NULL, 0, NULL, 0), 0);
	return NULL;
}

static void order(void)
{
	struct sthread_gate *first = GATE(.name = "first", .fn = nothing),
			    *later = GATE(.name = "later", .fn = nothing, .after = first);
	struct sthread_policy *p = gate_policy(first);

	CHECK_OK(sthread_policy_gate(p, later));
	for (int i = 0; i < 2; i++) /* nor does the next run inherit */
		ST_PASSES(p, passes_before_and_after, NULL);
	sthread_gate_destroy(first);
	sthread_gate_destroy(later);
	sthread_policy_destroy(p);
}

/* ---- time of children is their maker's ---- */

ST_FN(burns)
{
	for (;;)
		;
	return arg;
}

ST_FN(burns_by_others)
{
	struct sthread_result r;
	uint64_t n = 0;
	int err;

	(void)arg;
	/* Each has an eighth of 800 ms. */
	while (!(err = sthread_call(NULL, burns, NULL, &r))) {
		CHECK(r.end == STHREAD_OVER_LIMIT && r.limit == STHREAD_LIMIT_CPU_NS);
		n++;
	}
	CHECK_ERR(err, -EDQUOT);
	return (void *)n;
}

/* Of 400 ms each: what its own child used of it. */
ST_FN(burns_by_child)
{
	struct sthread_policy *p = fresh();
	struct sthread_result r;

	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_CPU_NS, 300 * MS));
	CHECK_OK(sthread_call(p, burns, NULL, &r));
	CHECK(r.end == STHREAD_OVER_LIMIT && r.limit == STHREAD_LIMIT_CPU_NS);
	return arg;
}

ST_FN(burns_by_grandchildren)
{
	struct sthread_policy *p = fresh();
	struct sthread_result r;
	uint64_t n = 0;
	int err;

	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_CPU_NS, 400 * MS));
	while (!(err = sthread_call(p, burns_by_child, arg, &r))) {
		CHECK(r.end == STHREAD_RETURNED);
		n++;
	}
	CHECK_ERR(err, -EDQUOT);
	return (void *)n;
}

static void time_is_parted(void)
{
	struct sthread_policy *p = st_policy();
	struct sthread_result r;

	st_limit(p, STHREAD_LIMIT_CPU_NS, 800 * MS);
	r = st_run(p, burns_by_others, NULL);
	ST_END(&r, STHREAD_RETURNED);
	CHECK_GE((uint64_t)r.value, 6);
	CHECK_LE((uint64_t)r.value, 7); /* it needs a little itself */
	r = st_run(p, burns_by_grandchildren, NULL);
	ST_END(&r, STHREAD_RETURNED);
	CHECK_GE((uint64_t)r.value, 1);
	CHECK_LE((uint64_t)r.value, 2);
	sthread_policy_destroy(p);
}

/* ---- taken back from all beneath ---- */

ST_FN(reads_pipe)
{
	struct board *b = arg;
	char c;

	b->go = 1;
	return read(b->pipe, &c, 1) < 0 ? (void *)(intptr_t)errno : NULL;
}

ST_FN(hands_pipe_on)
{
	struct sthread_policy *p = of_board(arg);
	struct sthread_result r;

	CHECK_OK(sthread_policy_fd(p, board->pipe, STHREAD_FD_READ));
	CHECK_OK(sthread_policy_syscall(p, SYS_read, STHREAD_ALLOW));
	CHECK_OK(sthread_call(p, reads_pipe, arg, &r));
	CHECK_EQ(r.end, STHREAD_RETURNED);
	CHECK_EQ((uint64_t)r.value, EBADF);
	/* Nor is it handed to another one by a policy of before, or a new one. */
	CHECK_ERR(sthread_call(p, reads_pipe, arg, &r), -EPERM);
	CHECK_ERR(sthread_policy_fd(fresh(), board->pipe, STHREAD_FD_READ), -EBADF);
	return NULL;
}

static void taken_back(void)
{
	struct sthread_policy *p = with_board();
	struct sthread_result r;
	struct sthread *st;
	int fds[2];

	CHECK(!pipe(fds));
	board->go = 0;
	board->pipe = fds[0];
	st_grant(p, fds[0], STHREAD_FD_READ);
	st_allow(p, SYS_read);
	st = st_create(p, hands_pipe_on, board);
	while (!board->go)
		usleep(1000);
	usleep(20000);
	CHECK_OK(sthread_policy_fd_revoke(st, fds[0]));
	r = st_join(st);
	ST_RETURNED(&r, 0);
	close(fds[0]);
	close(fds[1]);
	sthread_policy_destroy(p);
}

/* ---- exhaustion ---- */

ST_FN(makes_many)
{
	struct sthread_policy *p, *policy[STHREAD_NEST_POLICIES];
	struct sthread *st[STHREAD_NEST_LIVE], *more;
	unsigned n;

	(void)arg;
	for (n = 0; n < STHREAD_NEST_POLICIES; n++)
		policy[n] = fresh();
	CHECK_ERR(sthread_policy_create(&p), -EAGAIN);
	sthread_policy_destroy(policy[7]);
	p = fresh();
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_MEMORY, 1 << 20));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_FDS, 0));
	for (n = 0; n < STHREAD_NEST_LIVE; n++)
		CHECK_OK(sthread_create(&st[n], p, asks_pid, NULL));
	CHECK_ERR(sthread_create(&more, p, asks_pid, NULL), -EAGAIN);
	CHECK_ERR(sthread_call(p, asks_pid, NULL, NULL), -EAGAIN);
	CHECK_OK(sthread_join(st[3], NULL));
	CHECK_OK(sthread_create(&st[3], p, asks_pid, NULL));
	/* Those that are detached make room when they have ended. */
	for (n = 0; n < STHREAD_NEST_LIVE; n++)
		CHECK_OK(sthread_detach(st[n]));
	while ((n = (unsigned)-sthread_create(&more, p, asks_pid, NULL)) == EAGAIN)
		;
	CHECK_EQ(n, 0);
	return NULL;
}

/* How deep it comes. */
ST_FN(digs)
{
	struct sthread_policy *p = fresh();
	struct sthread_result r;
	int err;

	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_MEMORY, (uint64_t)arg / 2));
	err = sthread_call(p, digs, (void *)((uint64_t)arg / 2), &r);
	if (err) {
		CHECK_ERR(err, -ELOOP);
		return (void *)0;
	}
	CHECK_MSG(r.end == STHREAD_RETURNED, "end %d: %s", r.end, r.message);
	return (char *)r.value + 1;
}

static void exhausted(void)
{
	struct sthread_policy *p = st_policy();
	struct sthread_result r;

	st_limit(p, STHREAD_LIMIT_MEMORY, 256UL << 20);
	ST_PASSES(p, makes_many, NULL);
	ST_PASSES(p, makes_many, NULL);
	r = st_run(p, digs, (void *)(256UL << 20));
	ST_RETURNED(&r, STHREAD_NEST_DEPTH);
	sthread_policy_destroy(p);
}

int main(void)
{
	st_init();
	CHECK_OK(sthread_tag_create(&board_tag, "board", 1 << 16));
	board = sthread_calloc(board_tag, 1, sizeof(*board));
	CHECK(board);
	right_by_right();
	handles();
	outlived();
	order();
	time_is_parted();
	taken_back();
	exhausted();
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
