/* SPDX-License-Identifier: MIT */
/*
 * What a compartment makes has no right that it has not itself: every kind of right one step wider is -EPERM, and what
 * it has passed its children have not.  World: host; ST_FN: inside.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/st_nested.h"

struct board {
	int fd, other_fd, dir;
	struct sthread_tag *reads, *writes, *others;
	struct sthread_gate *mine, *counted, *foreign;
	char *map;
	struct sockaddr_in net;
};

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

static void right_by_right(void)
{
	struct sthread_policy *p = of_master();
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
	b->mine = GATE(.name = "mine", .fn = gate_nothing);
	b->counted = GATE(.name = "counted", .fn = gate_nothing, .max_calls = 3);
	b->foreign = GATE(.name = "foreign", .fn = gate_nothing);
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
	struct sthread_gate *first = GATE(.name = "first", .fn = gate_nothing),
			    *later = GATE(.name = "later", .fn = gate_nothing, .after = first);
	struct sthread_policy *p = gate_policy(first);

	CHECK_OK(sthread_policy_gate(p, later));
	for (int i = 0; i < 2; i++) /* nor does the next run inherit */
		ST_PASSES(p, passes_before_and_after, NULL);
	sthread_gate_destroy(first);
	sthread_gate_destroy(later);
	sthread_policy_destroy(p);
}

int main(void)
{
	st_init();
	board_init();
	right_by_right();
	order();
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
