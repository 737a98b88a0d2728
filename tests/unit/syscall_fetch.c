/* SPDX-License-Identifier: MIT */
/*
 * No byte of a compartment is read twice in one system call: what could change between two readings is never looked at
 * again.  World: host, no KVM.
 *
 * Every entry of the table is called with arguments that it takes, and each reading is noted: copies, strings up to
 * their NUL, and buffers that are handed to the host's kernel.  Not counted is a call that is decoded anew after a
 * descriptor was taken back (run_calls() in sthread/syscall/dispatch.c): all of the first reading is dropped there.
 */
#include <asm/unistd.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "tests/test.h"
#include "tests/unit/syscall_fake.h"

#define AT(k)	  (FAKE_DATA + (k)*4 * PAGE) /* what argument k points to */
#define VECTOR	  (FAKE_DATA + 28 * PAGE)
#define NAME	  (FAKE_DATA + 32 * PAGE)
#define BUFFER(i) (FAKE_DATA + 36 * PAGE + (i)*64)
#define COUNT	  8   /* any length or count */
#define VECTORS	  100 /* more than one block of the decoder */
#define NAME_LEN  24

/* ---- readings ---- */

int __real_uaccess_copy_in(struct uaccess *ua, void *dst, dune_gva_t src, size_t len);
int __wrap_uaccess_copy_in(struct uaccess *ua, void *dst, dune_gva_t src, size_t len);
int __real_uaccess_str(struct uaccess *ua, char *dst, dune_gva_t src, size_t cap);
int __wrap_uaccess_str(struct uaccess *ua, char *dst, dune_gva_t src, size_t cap);
int __real_uaccess_spans(struct uaccess *ua, struct uspans *sp, dune_gva_t at, size_t len,
			 bool write);
int __wrap_uaccess_spans(struct uaccess *ua, struct uspans *sp, dune_gva_t at, size_t len,
			 bool write);

static struct {
	uint64_t from, to;
} reading[1024];
static unsigned readings;
static size_t fetched; /* bytes */
static const char *calling;

static void note(uint64_t from, size_t len)
{
	for (unsigned i = 0; i < readings; i++)
		CHECK_MSG(from >= reading[i].to || from + len <= reading[i].from,
			  "%s reads %zu bytes at %#" PRIx64 " again", calling, len, from);
	CHECK(readings < sizeof(reading) / sizeof(reading[0]));
	reading[readings].from = from;
	reading[readings++].to = from + len;
	fetched += len;
}

int __wrap_uaccess_copy_in(struct uaccess *ua, void *dst, dune_gva_t src, size_t len)
{
	note(src.v, len);
	return __real_uaccess_copy_in(ua, dst, src, len);
}

int __wrap_uaccess_str(struct uaccess *ua, char *dst, dune_gva_t src, size_t cap)
{
	int r = __real_uaccess_str(ua, dst, src, cap);

	note(src.v, r >= 0 ? (size_t)r + 1 : cap);
	return r;
}

int __wrap_uaccess_spans(struct uaccess *ua, struct uspans *sp, dune_gva_t at, size_t len,
			 bool write)
{
	if (!write)
		note(at.v, len);
	return __real_uaccess_spans(ua, sp, at, len, write);
}

static void forget(void)
{
	readings = 0;
	fetched = 0;
}

static long fetches(const char *name, long nr, const uint64_t arg[6])
{
	calling = name;
	forget();
	return fake_call(nr, arg);
}

/* ---- what there is to call with ---- */

static int file, other, pair[2], dir, listener, sender, binds, receiver;
static struct sockaddr_un where = { .sun_family = AF_UNIX }, mine = { .sun_family = AF_UNIX };
static char top[] = "/tmp/syscall_fetch_XXXXXX";
static struct sthread_policy *all;
static uint64_t set, timer, listing; /* made inside */

static int made_file(const char *name)
{
	static const char text[4096] = "text";
	int fd = openat(dir, name, O_RDWR | O_CREAT, 0600);

	CHECK_EQ(pwrite(fd, text, sizeof(text), 0), (ssize_t)sizeof(text));
	return fd;
}

static void make_files(void)
{
	CHECK(mkdtemp(top));
	dir = open(top, O_RDONLY | O_DIRECTORY);
	file = made_file("file");
	other = made_file("other");
	close(made_file("gone"));
	close(made_file("old"));
	CHECK_OK(symlinkat("file", dir, "link"));
}

static int bound(struct sockaddr_un *a, int type, const char *name)
{
	int fd = socket(AF_UNIX, type | SOCK_NONBLOCK, 0);

	snprintf(a->sun_path + 1, NAME_LEN - 3, "fetch %d %s", (int)getpid(), name);
	CHECK_OK(bind(fd, (void *)a, NAME_LEN));
	return fd;
}

static void make_sockets(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	char text[4096] = { 0 };

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	CHECK_EQ(write(pair[1], text, sizeof(text)), (ssize_t)sizeof(text));
	listener = bound(&a, SOCK_STREAM, "l");
	CHECK_OK(listen(listener, 2));
	for (int i = 0; i < 2; i++)
		CHECK_OK(connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&a, NAME_LEN));
	receiver = bound(&where, SOCK_DGRAM, "r");
	sender = socket(AF_UNIX, SOCK_DGRAM, 0);
	binds = socket(AF_UNIX, SOCK_DGRAM, 0);
	close(bound(&mine, SOCK_DGRAM, "b"));
}

static void make_policy(void)
{
	const int granted[] = { file, other, pair[0], listener, sender, binds };

	all = fake_policy_all();
	for (unsigned i = 0; i < sizeof(granted) / sizeof(granted[0]); i++)
		CHECK_OK(sthread_policy_fd(all, granted[i], STHREAD_FD_ALL));
	CHECK_OK(sthread_policy_dir(
		all, dir, STHREAD_FD_READ | STHREAD_FD_WRITE | STHREAD_FD_STAT | STHREAD_FD_MAKE));
	CHECK_OK(sthread_policy_connect(all, (void *)&where, NAME_LEN, STHREAD_EXACT));
	CHECK_OK(sthread_policy_bind(all, (void *)&mine, NAME_LEN, STHREAD_EXACT));
}

/* A run that made nothing yet but three descriptors. */
static void begin(void)
{
	char text[256];

	while (recv(receiver, text, sizeof(text), 0) >= 0)
		;
	fake_reset();
	fake_begin(all);
	forget();
	set = (uint64_t)CALL(__NR_epoll_create1, 0);
	timer = (uint64_t)CALL(__NR_timerfd_create, CLOCK_MONOTONIC, 0);
	listing = (uint64_t)CALL(__NR_openat, (uint64_t)dir, fake_puts(NAME, "."),
				 O_RDONLY | O_DIRECTORY);
	CHECK((int)set >= 0 && (int)timer >= 0 && (int)listing >= 0);
}

/* ---- arguments ---- */

static void put_vector(uint64_t at, unsigned first)
{
	for (unsigned i = 0; i < VECTORS; i++) {
		struct iovec v = { (void *)BUFFER(first + i), 4 };

		fake_put(at + i * sizeof(v), &v, sizeof(v));
	}
}

/* Messages have vectors of their own, and one name, which each reads once. */
static void put_message(uint64_t at, unsigned i)
{
	struct msghdr m = { .msg_name = (void *)(NAME + i * 128),
			    .msg_namelen = NAME_LEN,
			    .msg_iov = (void *)(VECTOR + i * 32),
			    .msg_iovlen = 2 };

	fake_put(NAME + i * 128, &where, NAME_LEN);
	fake_put(at, &m, sizeof(m));
}

/* What argument k is by its kind, in memory that is zeros. */
static uint64_t argument(const struct sys_entry *e, unsigned k)
{
	const struct sys_arg *a = &e->arg[k];

	switch ((enum sys_arg_kind)a->kind) {
	case ARG_FD:
		return (uint64_t)file;
	case ARG_DIRFD:
		return (uint64_t)dir;
	case ARG_SIZE:
		return COUNT;
	case ARG_VALUE:
		return (uint64_t)__builtin_ctzll(a->allowed);
	case ARG_PATH:
		return fake_puts(AT(k), "file");
	case ARG_SOCKLEN:
		return fake_put(AT(k), &(socklen_t){ 16 }, sizeof(socklen_t));
	case ARG_IOV_IN:
	case ARG_IOV_OUT:
		put_vector(AT(k), 0);
		return AT(k);
	case ARG_MSG_IN:
	case ARG_MSG_OUT:
	case ARG_MMSG:
		put_vector(VECTOR, 0);
		for (unsigned i = 0; i < (a->kind == ARG_MMSG ? COUNT : 1); i++)
			put_message(AT(k) + i * sizeof(struct mmsghdr), i);
		return AT(k);
	case ARG_POLL:
		for (unsigned i = 0; i < COUNT; i++)
			fake_put(AT(k) + i * sizeof(struct pollfd),
				 &(struct pollfd){ .fd = file, .events = POLLIN },
				 sizeof(struct pollfd));
		return AT(k);
	case ARG_NONE:
	case ARG_IGNORED:
	case ARG_NUMBER:
	case ARG_FLAGS:
	case ARG_INT:
		return 0;
	default:
		return AT(k);
	}
}

/* clang-format off */
/* What the kinds do not say. */
static void particular(long nr, uint64_t a[6])
{
	switch (nr) {
	case __NR_readv: case __NR_writev: case __NR_preadv: case __NR_pwritev: case __NR_preadv2: case __NR_pwritev2:
		a[2] = VECTORS;
		break;
	case __NR_readlinkat: fake_puts(AT(1), "link"); break;
	case __NR_mkdirat: fake_puts(AT(1), "made"); break;
	case __NR_unlinkat: fake_puts(AT(1), "gone"); break;
	case __NR_renameat: fake_puts(AT(1), "old"), fake_puts(AT(3), "new"); break;
	case __NR_renameat2: fake_puts(AT(1), "new"), fake_puts(AT(3), "newer"); break;
	case __NR_getdents64: a[0] = listing, a[2] = PAGE; break;
	case __NR_sendfile: a[0] = (uint64_t)other, a[3] = COUNT; break;
	case __NR_copy_file_range: a[2] = (uint64_t)other, a[4] = COUNT; break;
	case __NR_epoll_ctl: a[0] = set, a[1] = EPOLL_CTL_ADD, a[2] = (uint64_t)pair[0]; break;
	case __NR_epoll_wait: case __NR_epoll_pwait: case __NR_epoll_pwait2: a[0] = set; break;
	case __NR_timerfd_settime: case __NR_timerfd_gettime: a[0] = timer; break;
	case __NR_socketpair: a[1] = SOCK_STREAM; break;
	case __NR_connect: a[0] = (uint64_t)sender, a[2] = NAME_LEN, fake_put(AT(1), &where, NAME_LEN); break;
	case __NR_bind: a[0] = (uint64_t)binds, a[2] = NAME_LEN, fake_put(AT(1), &mine, NAME_LEN); break;
	case __NR_accept: case __NR_accept4: a[0] = (uint64_t)listener; break;
	case __NR_recvfrom: a[0] = (uint64_t)pair[0], a[3] = MSG_DONTWAIT; break;
	case __NR_recvmsg: a[0] = (uint64_t)pair[0], a[2] = MSG_DONTWAIT; break;
	case __NR_recvmmsg: a[0] = (uint64_t)pair[0], a[3] = MSG_DONTWAIT, a[4] = 0; break;
	case __NR_sendto: a[0] = (uint64_t)sender, a[5] = NAME_LEN, fake_put(AT(4), &where, NAME_LEN); break;
	case __NR_sendmsg: case __NR_sendmmsg: a[0] = (uint64_t)sender; break;
	case __NR_getsockopt: a[0] = (uint64_t)pair[0], a[1] = SOL_SOCKET, a[2] = SO_TYPE; break;
	case __NR_setsockopt: a[0] = (uint64_t)pair[0], a[1] = SOL_SOCKET, a[2] = SO_KEEPALIVE, a[4] = 4; break;
	case __NR_getsockname: case __NR_getpeername: a[0] = (uint64_t)pair[0]; break;
	default: break;
	}
}
/* clang-format on */

/* ---- the table ---- */

enum { NO_POINTER, WRITTEN, READ };

/* clang-format off */
static int direction(const struct sys_entry *e)
{
	int most = NO_POINTER;

	for (unsigned k = 0; k < 6; k++) {
		switch ((enum sys_arg_kind)e->arg[k].kind) {
		case ARG_IN: case ARG_PATH: case ARG_STRUCT_IN: case ARG_IOV_IN: case ARG_IOV_OUT: case ARG_MSG_IN:
		case ARG_MSG_OUT: case ARG_POLL: case ARG_OPT_IN: case ARG_VAR_OUT: case ARG_OFFSET: case ARG_FDSET:
		case ARG_MMSG:
			return READ;
		case ARG_OUT: case ARG_BYTES_OUT: case ARG_STRUCT_OUT: case ARG_ARRAY_OUT:
			most = WRITTEN;
			break;
		default:
			break;
		}
	}
	return most;
}
/* clang-format on */

/* What a number points to is known to the call's own check alone; below.  And those that end the run. */
static bool apart(long nr)
{
	return nr == __NR_futex || nr == __NR_ioctl || nr == __NR_prctl || nr == __NR_exit ||
	       nr == __NR_exit_group;
}

static void whole_table(void)
{
	unsigned read = 0;

	for (unsigned i = 0; i < sys_table_len; i++) {
		const struct sys_entry *e = &sys_table[i];
		uint64_t arg[6];
		long r;

		if (apart(e->nr))
			continue;
		begin();
		for (unsigned k = 0; k < 6; k++)
			arg[k] = argument(e, k);
		particular(e->nr, arg);
		r = fetches(e->name, e->nr, arg);
		/* It went all the way: what a call that fails early would have read, nobody knows. */
		CHECK_MSG(r >= 0 || direction(e) == NO_POINTER, "%s: %ld", e->name, r);
		CHECK_MSG((fetched > 0) == (direction(e) == READ), "%s reads %zu bytes", e->name,
			  fetched);
		read += fetched > 0;
	}
	CHECK_GE(read, 40);
}

#define FETCHES(want, bytes, nr, ...)                                                   \
	do {                                                                            \
		CHECK_EQ(fetches(#nr, nr, (const uint64_t[6]){ __VA_ARGS__ }), (want)); \
		CHECK_EQ(fetched, (bytes));                                             \
	} while (0)

static void in_checks(void)
{
	static const char name[] = "a name of more than fifteen characters";

	begin();
	FETCHES(0, 4, __NR_futex, AT(0), FUTEX_WAKE, 1);
	FETCHES(-ETIMEDOUT, 4 + sizeof(struct timespec), __NR_futex, AT(0), FUTEX_WAIT, 0, AT(3));
	FETCHES(-EAGAIN, 4 + sizeof(struct timespec), __NR_futex, AT(0), FUTEX_WAIT, 1, AT(3));
	FETCHES(-EAGAIN, 4, __NR_futex, AT(0), FUTEX_CMP_REQUEUE, 1, 1, AT(4), 1);
	FETCHES(0, 4, __NR_ioctl, (uint64_t)pair[0], FIONBIO, AT(2));
	FETCHES(0, 0, __NR_ioctl, (uint64_t)pair[0], FIONREAD, AT(2));
	fake_puts(AT(1), "short");
	FETCHES(0, 6, __NR_prctl, PR_SET_NAME, AT(1));
	fake_puts(AT(1), name);
	FETCHES(0, 16, __NR_prctl, PR_SET_NAME, AT(1));
	FETCHES(0, 0, __NR_prctl, PR_GET_NAME, AT(2));
	CHECK_MEM(fake_host(AT(2)), "a name of more ", 16);
	/* A path without an end, and none. */
	memset(fake_host(AT(1)), 'x', PAGE);
	FETCHES(-ENAMETOOLONG, PATH_MAX, __NR_openat, (uint64_t)dir, AT(1), O_RDONLY);
	FETCHES(-ENOENT, 1, __NR_openat, (uint64_t)dir, AT(2) + 512, O_RDONLY);
	/* For the record of a run, of a standard error that it does not have. */
	CHECK_EQ(listing, 2);
	CHECK_OK(CALL(__NR_close, 2));
	FETCHES(-EBADF, 64, __NR_write, 2, AT(1), 64);
	put_vector(AT(1), 0);
	FETCHES(-EBADF, COUNT * (4 + sizeof(struct iovec)), __NR_writev, 2, AT(1), COUNT);
}

int main(void)
{
	char command[80];

	make_files();
	make_sockets();
	make_policy();
	whole_table();
	in_checks();
	sthread_policy_destroy(all);
	fake_end();
	sys_ctx_fini(&fake_ctx);
	snprintf(command, sizeof(command), "rm -r %s", top);
	CHECK_EQ(system(command), 0);
	return TEST_PASSED;
}
