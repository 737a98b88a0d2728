/* SPDX-License-Identifier: MIT */
/*
 * A gate that a compartment makes has no right that its maker has not, right by right: what its policy could not be given
 * the gate cannot do.  World: host; gates and ST_FN: inside.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tests/st_nested.h"

struct board {
	int fd, dir;
	struct sthread_tag *reads, *others;
	struct sthread_gate *theirs, *foreign;
	char *reads_at, *others_at;
};

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
	int64_t got = gate_word_of(g, &r, sizeof(r));

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

static void right_by_right(void)
{
	struct sthread_policy *p = of_master();
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

int main(void)
{
	st_init();
	board_init();
	right_by_right();
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
