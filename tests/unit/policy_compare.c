// SPDX-License-Identifier: MIT
/*
 * Policies as text, and compared.  Random policies are built by calls in random order beside a model
 * that holds each right as a number: what the library says of two of them is what the model says.
 * World: host.
 */
#include <asm/unistd.h>
#include <arpa/inet.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/test.h"
#include "tests/unit/syscall_fake.h"

/* ---- the model ---- */

#define FILES	6
#define DIRS	2
#define NUMBERS (FILES + DIRS)
#define CALLS	12
#define LIMITS	5
#define MODEL	(NUMBERS + CALLS + 1 + LIMITS) /* each right: bits, a rank, or a number */

struct model {
	uint64_t right[MODEL];
};

static int number[NUMBERS];
static const long calls[CALLS] = {
	__NR_read,  __NR_write,	 __NR_openat, __NR_close, __NR_mmap,   __NR_munmap,
	__NR_futex, __NR_getpid, __NR_sendto, __NR_poll,  __NR_execve, __NR_brk,
};
static const enum sthread_limit limits[LIMITS] = { STHREAD_LIMIT_MEMORY, STHREAD_LIMIT_WALL_NS,
						   STHREAD_LIMIT_FDS, STHREAD_LIMIT_CPU_NS,
						   STHREAD_LIMIT_GATE_CALLS };
/* From least to most. */
static const enum sthread_action ranked[] = { STHREAD_DENY_KILL, STHREAD_DENY_ERRNO,
					      STHREAD_ALLOW };

static uint64_t seed = 88172645463325252;

static uint64_t below(uint64_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % n;
}

static bool is_bits(unsigned i)
{
	return i < NUMBERS;
}

static unsigned mask(unsigned i)
{
	return i < FILES ? STHREAD_FD_ALL :
			   STHREAD_FD_ALL & ~(STHREAD_FD_SOCKOPT | STHREAD_FD_SHUTDOWN |
					      STHREAD_FD_ACCEPT | STHREAD_FD_CONNECT);
}

/* Few values each, so that two policies often agree. */
static uint64_t random_right(unsigned i)
{
	static const uint64_t amounts[] = { 0,		1,	    1000,	    1000000,
					    64UL << 20, 3000000000, UINT64_MAX - 1, UINT64_MAX };

	if (is_bits(i))
		return below(3) ? (below(2) ? mask(i) : below(STHREAD_FD_ALL + 1) & mask(i)) : 0;
	if (i < NUMBERS + CALLS)
		return below(3);
	if (i == NUMBERS + CALLS)
		return below(2);
	return amounts[below(sizeof(amounts) / sizeof(amounts[0]))];
}

static void set(struct sthread_policy *p, const struct model *m, unsigned i)
{
	uint64_t v = m->right[i];

	if (i < NUMBERS && v)
		CHECK_OK((i < FILES ? sthread_policy_fd : sthread_policy_dir)(p, number[i],
									      (unsigned)v));
	else if (i >= NUMBERS && i < NUMBERS + CALLS)
		CHECK_OK(sthread_policy_syscall(p, calls[i - NUMBERS], ranked[v]));
	else if (i == NUMBERS + CALLS)
		CHECK_OK(sthread_policy_syscall(p, STHREAD_SYSCALL_OTHERS, ranked[v]));
	else if (i > NUMBERS + CALLS)
		CHECK_OK(sthread_policy_limit(p, limits[i - NUMBERS - CALLS - 1], v));
}

/* In any order, starting anywhere. */
static struct sthread_policy *build(const struct model *m)
{
	struct sthread_policy *p;
	unsigned first = (unsigned)below(MODEL), step = 1 + (unsigned)below(MODEL - 1);

	CHECK_OK(sthread_policy_create(&p));
	while (true) { /* a step without a common divisor meets all */
		unsigned a = step, b = MODEL;

		while (b) {
			unsigned r = a % b;

			a = b;
			b = r;
		}
		if (a == 1)
			break;
		step++;
	}
	for (unsigned i = 0; i < MODEL; i++)
		set(p, m, (first + i * step) % MODEL);
	return p;
}

static bool model_within(const struct model *p, const struct model *of)
{
	for (unsigned i = 0; i < MODEL; i++)
		if (is_bits(i) ? (p->right[i] & ~of->right[i]) != 0 : p->right[i] > of->right[i])
			return false;
	return true;
}

/* Where it can be: one right more. */
static bool model_add(struct model *m, unsigned i)
{
	uint64_t was = m->right[i];

	if (is_bits(i))
		m->right[i] |= 1u << below(12) & mask(i);
	else if (i < NUMBERS + CALLS)
		m->right[i] += was < 2;
	else if (i == NUMBERS + CALLS)
		m->right[i] = 1;
	else
		m->right[i] += was < UINT64_MAX;
	return m->right[i] != was;
}

static char *text_of(const struct sthread_policy *p)
{
	int n = sthread_policy_format(p, NULL, 0);
	char *text;

	CHECK_GE(n, 0);
	text = malloc((size_t)n + 1);
	CHECK(text);
	CHECK_EQ(sthread_policy_format(p, text, (size_t)n + 1), n);
	CHECK_EQ(strlen(text), (size_t)n);
	return text;
}

static void properties(void)
{
	enum { N = 12 };
	unsigned agree = 0, more = 0;

	for (unsigned long round = 0; round < 60; round++) {
		struct model m[N];
		struct sthread_policy *p[N];
		char *text[N];
		bool in[N][N];

		for (unsigned k = 0; k < N; k++) {
			for (unsigned i = 0; i < MODEL; i++)
				m[k].right[i] = random_right(i);
			/* Half of them are another with some rights more or less. */
			if (k % 2) {
				m[k] = m[k - 1];
				for (uint64_t n = below(4); n; n--) {
					unsigned i = (unsigned)below(MODEL);

					if (below(2))
						model_add(&m[k], i);
					else
						m[k].right[i] = random_right(i);
				}
			}
			p[k] = build(&m[k]);
			text[k] = text_of(p[k]);
		}
		for (unsigned a = 0; a < N; a++) {
			for (unsigned b = 0; b < N; b++) {
				int r = sthread_policy_is_subset(p[a], p[b]);

				CHECK_EQ(r, model_within(&m[a], &m[b]));
				in[a][b] = r;
				agree += r && a != b;
			}
		}
		for (unsigned a = 0; a < N; a++) {
			CHECK(in[a][a]);
			for (unsigned b = 0; b < N; b++) {
				CHECK_EQ(!strcmp(text[a], text[b]), in[a][b] && in[b][a]);
				for (unsigned c = 0; c < N; c++)
					CHECK(!in[a][b] || !in[b][c] || in[a][c]);
			}
		}
		/* One right more, of each kind. */
		for (unsigned i = 0; i < MODEL; i++) {
			struct model wider = m[0];
			struct sthread_policy *q;

			if (!model_add(&wider, i))
				continue;
			q = build(&wider);
			CHECK_EQ(sthread_policy_is_subset(q, p[0]), 0);
			CHECK_EQ(sthread_policy_is_subset(p[0], q), 1);
			sthread_policy_destroy(q);
			more++;
		}
		for (unsigned k = 0; k < N; k++) {
			free(text[k]);
			sthread_policy_destroy(p[k]);
		}
	}
	NOTE("%u subsets among different policies, %u with one right more", agree, more);
	CHECK_GT(agree, 100);
	CHECK_GT(more, 500);
	CHECK_EQ(fd_objects(), 0);
}

/* ---- what a file is ---- */

static struct sthread_policy *grants(int fd, unsigned rights)
{
	struct sthread_policy *p;
	struct stat st;

	CHECK_OK(sthread_policy_create(&p));
	CHECK_OK(fstat(fd, &st));
	CHECK_OK((S_ISDIR(st.st_mode) ? sthread_policy_dir : sthread_policy_fd)(p, fd, rights));
	return p;
}

/* p grants file a, and q file b, both as number 60. */
static int same(int a, int b)
{
	struct sthread_policy *p, *q;
	int r;

	CHECK_EQ(dup2(a, 60), 60);
	p = grants(60, STHREAD_FD_READ);
	CHECK_EQ(dup2(b, 60), 60);
	q = grants(60, STHREAD_FD_READ);
	close(60);
	r = sthread_policy_is_subset(p, q);
	CHECK_EQ(sthread_policy_is_subset(q, p), r);
	sthread_policy_destroy(p);
	sthread_policy_destroy(q);
	return r;
}

static void files(void)
{
	int file = open("/proc/self/exe", O_RDONLY), again = open("/proc/self/exe", O_RDONLY),
	    copy = dup(file);
	int one = eventfd(0, 0), other = eventfd(0, 0), ends[2];
	int dir = open("/", O_RDONLY | O_DIRECTORY), dir_again = open("/", O_PATH | O_DIRECTORY);
	int below_dir = open("/dev", O_PATH | O_DIRECTORY);
	struct sthread_policy *p, *q;

	CHECK(!pipe(ends));
	CHECK_EQ(same(file, file), 1);
	CHECK_EQ(same(file, copy), 1);
	CHECK_EQ(same(file, again), 0); /* an offset of its own */
	CHECK_EQ(same(one, one), 1);
	CHECK_EQ(same(one, other), 0);
	CHECK_EQ(same(ends[0], ends[0]), 1);
	CHECK_EQ(same(ends[0], ends[1]), 0);
	CHECK_EQ(same(dir, dir_again), 1);
	CHECK_EQ(same(dir, below_dir), 0);
	CHECK_EQ(same(file, dir), 0);

	/* The number is part of the right. */
	p = grants(file, STHREAD_FD_READ);
	q = grants(copy, STHREAD_FD_READ);
	CHECK_EQ(sthread_policy_is_subset(p, q), 0);
	CHECK_OK(sthread_policy_fd(q, file, STHREAD_FD_ALL));
	CHECK_EQ(sthread_policy_is_subset(p, q), 1);
	CHECK_EQ(sthread_policy_is_subset(q, p), 0);
	sthread_policy_destroy(p);
	sthread_policy_destroy(q);
	CHECK_EQ(fd_objects(), 0);
	close(file);
	close(again);
	close(copy);
	close(one);
	close(other);
	close(dir);
	close(dir_again);
	close(below_dir);
	close(ends[0]);
	close(ends[1]);
}

/* ---- the text ---- */

static const char expected[] =
	"descriptor 60: read, write, seek, stat, poll, sockopt, shutdown, flags, accept, connect, make, lock (/dev/null)\n"
	"descriptor 61: poll (/tmp/sthread \\\"\\\\\\n\\xff (deleted))\n"
	"directory 62: read, stat (/)\n"
	"system call read: allowed\n"
	"system call execve: kills\n"
	"other system calls: kill\n"
	"limit of private memory: 3 MiB\n"
	"limit of wall time: 1500 us\n"
	"limit of open descriptors: 0\n"
	"limit of CPU time: 2 s\n"
	"limit of gate calls: 1000000000\n";

static void text(void)
{
	static const char odd[] = "/tmp/sthread \"\\\n\xff";
	struct sthread_policy *p;
	char buf[1024];
	int n, fd;

	fd = open("/dev/null", O_RDWR);
	CHECK_EQ(dup2(fd, 60), 60);
	close(fd);
	fd = open(odd, O_RDWR | O_CREAT, 0600);
	CHECK_EQ(dup2(fd, 61), 61);
	close(fd);
	unlink(odd);
	fd = open("/", O_PATH);
	CHECK_EQ(dup2(fd, 62), 62);
	close(fd);
	CHECK_OK(sthread_policy_create(&p));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_CPU_NS, 2000000000));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_WALL_NS, 1500000));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_FDS, 0));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_GATE_CALLS, 1000000000));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_MEMORY, 3 << 20));
	CHECK_OK(sthread_policy_syscall(p, __NR_execve, STHREAD_DENY_KILL));
	CHECK_OK(sthread_policy_syscall(p, STHREAD_SYSCALL_OTHERS, STHREAD_DENY_KILL));
	CHECK_OK(sthread_policy_syscall(p, __NR_read, STHREAD_ALLOW));
	CHECK_OK(sthread_policy_syscall(p, __NR_mmap, STHREAD_ALLOW)); /* as it was */
	CHECK_OK(sthread_policy_dir(p, 62, STHREAD_FD_STAT | STHREAD_FD_READ));
	CHECK_OK(sthread_policy_fd(p, 61, STHREAD_FD_POLL));
	CHECK_OK(sthread_policy_fd(p, 60, STHREAD_FD_ALL));
	n = sthread_policy_format(p, buf, sizeof(buf));
	CHECK_STR(buf, expected);
	CHECK_EQ(n, sizeof(expected) - 1);
	for (size_t len = 0; len <= (size_t)n + 1; len++) {
		memset(buf, '#', sizeof(buf));
		CHECK_EQ(sthread_policy_format(p, buf, len), n);
		CHECK_EQ(buf[len], '#');
		if (!len)
			continue;
		CHECK_EQ(buf[len - 1], '\0');
		CHECK_MEM(buf, expected, len - 1);
	}
	/* As where it runs, NULL is the policy that grants nothing: what a new one is. */
	CHECK_EQ(sthread_policy_format(NULL, buf, sizeof(buf)), strlen(buf));
	CHECK_STR(buf, "limit of private memory: 64 MiB\nlimit of open descriptors: 64\n");
	CHECK_EQ(sthread_policy_is_subset(NULL, NULL), 1);
	CHECK_EQ(sthread_policy_is_subset(p, NULL), 0);
	CHECK_EQ(sthread_policy_is_subset(NULL, p), 0);
	CHECK_ERR(sthread_policy_format(p, NULL, 1), -EINVAL);
	sthread_policy_destroy(p);
	for (fd = 60; fd < 63; fd++)
		close(fd);
	CHECK_EQ(fd_objects(), 0);
}

/* ---- rules on arguments, addresses ---- */

/* Rules on arguments of socket(): argument, mask, value; up to a mask of 0. */
static struct sthread_policy *ruled(const uint64_t (*rule)[3])
{
	struct sthread_policy *p;

	CHECK_OK(sthread_policy_create(&p));
	CHECK_OK(sthread_policy_syscall(p, __NR_socket, STHREAD_ALLOW));
	for (; (*rule)[1]; rule++)
		CHECK_OK(sthread_policy_syscall_arg(p, __NR_socket, (unsigned)(*rule)[0], (*rule)[1],
						    (*rule)[2]));
	return p;
}

/* What each gives of the other: 1 p of q, 2 q of p.  Both: they read alike; otherwise not. */
static int compared(struct sthread_policy *p, struct sthread_policy *q)
{
	char *a = text_of(p), *b = text_of(q);
	int r = sthread_policy_is_subset(p, q) | sthread_policy_is_subset(q, p) << 1;

	CHECK_EQ(!strcmp(a, b), r == 3);
	free(a);
	free(b);
	sthread_policy_destroy(p);
	sthread_policy_destroy(q);
	return r;
}

static void rules(void)
{
	const uint64_t all = UINT64_MAX, none[][3] = { { 0 } }, two[][3] = { { 0, all, 2 }, { 0 } },
		       either[][3] = { { 0, all, 10 }, { 0, all, 2 }, { 0 } },
		       turned[][3] = { { 0, all, 2 }, { 0, all, 10 }, { 0, all, 2 }, { 0 } },
		       odd[][3] = { { 0, 1, 1 }, { 0 } }, odd_and[][3] = { { 0, 3, 3 }, { 0, 1, 1 }, { 0 } },
		       type[][3] = { { 1, 0xff, 1 }, { 0 } },
		       both_args[][3] = { { 1, 0xff, 1 }, { 0, all, 2 }, { 0 } };
	struct sthread_policy *p;
	char *t;

	CHECK_EQ(compared(ruled(two), ruled(none)), 1);
	CHECK_EQ(compared(ruled(two), ruled(either)), 1);
	CHECK_EQ(compared(ruled(either), ruled(turned)), 3);
	CHECK_EQ(compared(ruled(odd), ruled(odd_and)), 3);
	CHECK_EQ(compared(ruled(odd), ruled(two)), 0);
	CHECK_EQ(compared(ruled(type), ruled(two)), 0);
	CHECK_EQ(compared(ruled(both_args), ruled(two)), 1);
	CHECK_EQ(compared(ruled(both_args), ruled(type)), 1);
	/* Of a call that is not allowed they say nothing. */
	p = ruled(none);
	CHECK_OK(sthread_policy_syscall(p, __NR_socket, STHREAD_DENY_ERRNO));
	CHECK_EQ(compared(p, ruled(two)), 1);
	p = ruled(both_args);
	t = text_of(p);
	CHECK(strstr(t, "argument 0 of socket: 0x2\nargument 1 of socket: 0x1 of the bits 0xff\n"));
	free(t);
	sthread_policy_destroy(p);
}

static struct sthread_policy *addressed(bool bind, const char *ip, uint16_t port, int prefix)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sthread_policy *p;

	CHECK_EQ(inet_pton(AF_INET, ip, &a.sin_addr), 1);
	CHECK_OK(sthread_policy_create(&p));
	CHECK_OK((bind ? sthread_policy_bind : sthread_policy_connect)(p, (struct sockaddr *)&a,
								      sizeof(a), prefix));
	return p;
}

static void addresses(void)
{
	struct sthread_policy *p, *none;
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(80) };
	char *t;

	CHECK_OK(sthread_policy_create(&none));
	CHECK_EQ(compared(addressed(false, "10.1.2.3", 80, STHREAD_EXACT),
			  addressed(false, "10.0.0.0", 80, 8)), 1);
	CHECK_EQ(compared(addressed(false, "10.1.2.3", 80, 8), addressed(false, "10.7.7.7", 80, 8)), 3);
	CHECK_EQ(compared(addressed(false, "10.1.2.3", 80, 8), addressed(false, "11.1.2.3", 80, 8)), 0);
	CHECK_EQ(compared(addressed(false, "10.1.2.3", 80, 8), addressed(true, "10.1.2.3", 80, 8)), 0);
	CHECK_EQ(compared(addressed(false, "10.1.2.3", 80, 8), addressed(false, "10.1.2.3", 81, 8)), 0);
	CHECK_EQ(compared(none, addressed(false, "10.1.2.3", 80, 8)), 1);
	p = addressed(false, "10.0.0.0", 80, 8);
	CHECK_EQ(inet_pton(AF_INET, "10.5.0.0", &in.sin_addr), 1);
	CHECK_OK(sthread_policy_connect(p, (struct sockaddr *)&in, sizeof(in), 16)); /* in it already */
	CHECK_EQ(compared(p, addressed(false, "10.0.0.0", 80, 8)), 3);
	p = addressed(true, "10.1.2.3", 80, 12);
	t = text_of(p);
	CHECK(strstr(t, "bind to 10.0.0.0:80, first 12 bits\n"));
	free(t);
	sthread_policy_destroy(p);
}

int main(void)
{
	text();
	rules();
	addresses();
	files();
	for (int i = 0; i < FILES; i++)
		number[i] = eventfd(0, 0);
	/* Neither beneath the other, whatever is mounted. */
	for (int i = 0; i < DIRS; i++)
		number[FILES + i] = open(i ? "/usr" : "/etc", O_PATH | O_DIRECTORY);
	properties();
	return TEST_PASSED;
}
