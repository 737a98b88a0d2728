/* SPDX-License-Identifier: MIT */
/*
 * System calls whose pointers overlap: each is made by the master, where Linux answers, and inside, where the library
 * does, on the same bytes at the same addresses.  The result and every byte around them must be the same.  World: host;
 * what the calls below do runs inside, too.
 */
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>

#include "tests/st.h"

#define ROOM 1024

/* What the calls work on, and nothing else is changed. */
static unsigned char room[ROOM] __attribute__((aligned(4096)));
#define AT(offset) ((void *)&room[offset])

static int stream[2], dgram[2], listener, file, other, dir; /* dgram: sent by one with a name */
static struct sockaddr_un from = { .sun_family = AF_UNIX };
#define FROM_LEN     20
#define LISTENER_LEN 40

static void put(unsigned at, const void *bytes, size_t len)
{
	memcpy(AT(at), bytes, len);
}
#define PUT(at, type, ...) put((at), &(type){ __VA_ARGS__ }, sizeof(type))

/* ---- the calls: what the system said, or -errno ---- */

static long said(long r)
{
	return r < 0 ? -errno : r;
}
#define CALL(...) said(syscall(__VA_ARGS__))

static long read_vectors_overlap(void)
{
	PUT(0, struct iovec, AT(512), 8);
	PUT(16, struct iovec, AT(516), 8);
	PUT(32, struct iovec, AT(508), 8);
	return CALL(SYS_readv, stream[0], AT(0), 3);
}

static long read_over_the_vector(void)
{
	PUT(0, struct iovec, AT(8), 16);
	PUT(16, struct iovec, AT(0), 12);
	PUT(32, struct iovec, AT(600), 8);
	return CALL(SYS_readv, stream[0], AT(0), 3);
}

static long write_vectors_overlap(void)
{
	PUT(0, struct iovec, AT(0), 32);
	PUT(16, struct iovec, AT(16), 16);
	return CALL(SYS_writev, other, AT(0), 2);
}

static long receive(unsigned header, unsigned name, socklen_t name_len, unsigned vector,
		    unsigned buffer, size_t len)
{
	PUT(vector, struct iovec, AT(buffer), len);
	PUT(header, struct msghdr, .msg_name = name_len ? AT(name) : NULL, .msg_namelen = name_len,
	    .msg_iov = AT(vector), .msg_iovlen = 1, .msg_flags = -1);
	return CALL(SYS_recvmsg, dgram[0], AT(header), MSG_DONTWAIT);
}

static long receive_apart(void)
{
	return receive(0, 200, 128, 400, 600, 16);
}

static long receive_without_name(void)
{
	PUT(400, struct iovec, AT(600), 16);
	PUT(0, struct msghdr, .msg_namelen = 77, .msg_iov = AT(400), .msg_iovlen = 1,
	    .msg_flags = -1);
	return CALL(SYS_recvmsg, dgram[0], AT(0), MSG_DONTWAIT);
}

static long receive_over_the_header(void)
{
	return receive(0, 200, 128, 400, 0, 32);
}

static long receive_over_the_end_of_the_header(void)
{
	return receive(0, 200, 128, 400, 36, 32);
}

static long receive_over_the_name(void)
{
	return receive(0, 200, 128, 400, 196, 16);
}

static long receive_over_the_vector(void)
{
	return receive(0, 200, 128, 400, 400, 16);
}

static long name_over_the_header(void)
{
	return receive(0, 0, 128, 400, 600, 16);
}

static long name_over_the_lengths(void)
{
	return receive(64, 70, 8, 400, 600, 16);
}

static long vectors_overlap_in_a_message(void)
{
	PUT(400, struct iovec, AT(600), 8);
	PUT(416, struct iovec, AT(602), 8);
	PUT(0, struct msghdr, .msg_iov = AT(400), .msg_iovlen = 2);
	return CALL(SYS_recvmsg, dgram[0], AT(0), MSG_DONTWAIT);
}

static long option_over_its_length(void)
{
	PUT(0, socklen_t, sizeof(int));
	return CALL(SYS_getsockopt, stream[0], SOL_SOCKET, SO_TYPE, AT(0), AT(0));
}

static long option_beside_its_length(void)
{
	PUT(2, socklen_t, sizeof(int));
	return CALL(SYS_getsockopt, stream[0], SOL_SOCKET, SO_TYPE, AT(0), AT(2));
}

static long peer_over_its_length(void)
{
	long fd;

	PUT(0, socklen_t, 128);
	fd = CALL(SYS_accept, listener, AT(0), AT(0));
	return fd < 0 ? fd : close((int)fd);
}

static long sender_over_its_length(void)
{
	PUT(0, socklen_t, 128);
	return CALL(SYS_recvfrom, dgram[0], AT(600), 16, MSG_DONTWAIT, AT(0), AT(0));
}

static long sender_over_the_message(void)
{
	PUT(4, socklen_t, 128);
	return CALL(SYS_recvfrom, dgram[0], AT(0), 16, MSG_DONTWAIT, AT(2), AT(4));
}

static long own_name_over_its_length(void)
{
	PUT(0, socklen_t, 128);
	return CALL(SYS_getsockname, listener, AT(0), AT(0));
}

static void put_set(unsigned at)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(stream[0], &set);
	FD_SET(stream[1], &set);
	put(at, &set, 32);
}

static long one_set_thrice(void)
{
	PUT(64, struct timeval, 0, 0);
	put_set(0);
	return CALL(SYS_select, 256, AT(0), AT(0), AT(0), AT(64));
}

static long one_set_twice(void)
{
	PUT(64, struct timeval, 0, 0);
	put_set(0);
	return CALL(SYS_select, 256, AT(0), AT(0), NULL, AT(64));
}

/* As it were two sets, some of whose numbers are of nothing. */
static long sets_overlap(void)
{
	PUT(128, struct timeval, 0, 0);
	put_set(0);
	put_set(8);
	return CALL(SYS_select, 200, AT(0), AT(8), NULL, AT(128));
}

static long one_offset_twice(void)
{
	PUT(0, int64_t, 3);
	return CALL(SYS_copy_file_range, file, AT(0), other, AT(0), 10, 0);
}

static long offsets_overlap(void)
{
	PUT(0, int64_t, 3);
	PUT(4, int32_t, 0);
	PUT(8, int32_t, 0);
	return CALL(SYS_copy_file_range, file, AT(0), other, AT(1), 10, 0);
}

static long old_timer_over_new(void)
{
	int fd = (int)syscall(SYS_timerfd_create, CLOCK_MONOTONIC, 0);
	long r, again;

	PUT(0, struct itimerspec, .it_value.tv_sec = 1000, .it_interval.tv_sec = 77);
	r = CALL(SYS_timerfd_settime, fd, 0, AT(0), AT(0));
	PUT(100, struct itimerspec, .it_value.tv_sec = 0);
	again = CALL(SYS_timerfd_settime, fd, 0, AT(100), AT(100));
	/* How long it was to go is not the same each time. */
	PUT(116, struct timespec, 1, 1);
	close(fd);
	return r | again;
}

static long status_over_the_path(void)
{
	put(0, "still", 6);
	return CALL(SYS_newfstatat, dir, AT(0), AT(0), 0);
}

static long link_over_the_path(void)
{
	put(0, "link", 5);
	return CALL(SYS_readlinkat, dir, AT(0), AT(0), 64);
}

/* clang-format off */
/*
 * Kernels differ in whether an address goes out before its length or after it.  Inside it is before, as it long was:
 * where it covers its length, `len` stands at `len_at`.
 */
static const struct act {
	long (*fn)(void);
	const char *name;
	bool fails;
	unsigned len_at;
	socklen_t len;
} acts[] = {
#define ACT(call, ...) { .fn = call, .name = #call, ##__VA_ARGS__ }
	ACT(read_vectors_overlap),
	ACT(read_over_the_vector),
	ACT(write_vectors_overlap),
	ACT(receive_apart),
	ACT(receive_without_name),
	ACT(receive_over_the_header),
	ACT(receive_over_the_end_of_the_header),
	ACT(receive_over_the_name),
	ACT(receive_over_the_vector),
	ACT(name_over_the_header, .len_at = 8, .len = FROM_LEN),
	ACT(name_over_the_lengths, .len_at = 72, .len = FROM_LEN),
	ACT(vectors_overlap_in_a_message),
	ACT(option_over_its_length),
	ACT(option_beside_its_length),
	ACT(peer_over_its_length, .len_at = 0, .len = sizeof(sa_family_t)),
	ACT(sender_over_its_length, .len_at = 0, .len = FROM_LEN),
	ACT(sender_over_the_message, .len_at = 4, .len = FROM_LEN),
	ACT(own_name_over_its_length, .len_at = 0, .len = LISTENER_LEN),
	ACT(one_set_thrice),
	ACT(one_set_twice),
	ACT(sets_overlap, .fails = true),
	ACT(one_offset_twice),
	ACT(offsets_overlap),
	ACT(old_timer_over_new),
	ACT(status_over_the_path),
	ACT(link_over_the_path),
};
/* clang-format on */

/* ---- both worlds ---- */

static int answer[2];

ST_FN(acts_inside)
{
	long result;

	memset(room, 0x33, sizeof(room));
	result = acts[(uintptr_t)arg].fn();
	CHECK_EQ(write(answer[1], room, sizeof(room)), (ssize_t)sizeof(room));
	return (void *)result;
}

/* The same state of sockets and files before each. */
static void prepare(void)
{
	static const char text[] = "0123456789abcdefghijklmnopqrstuvwxyz";
	char rest[256];

	while (recv(stream[0], rest, sizeof(rest), MSG_DONTWAIT) > 0)
		;
	while (recv(dgram[0], rest, sizeof(rest), MSG_DONTWAIT) > 0)
		;
	CHECK_EQ(write(stream[1], text, sizeof(text)), (ssize_t)sizeof(text));
	CHECK_EQ(write(dgram[1], text, sizeof(text)), (ssize_t)sizeof(text));
	CHECK(!ftruncate(other, 0) && !lseek(other, 0, SEEK_SET));
	CHECK_EQ(pwrite(file, text, sizeof(text), 0), (ssize_t)sizeof(text));
	memset(room, 0x33, sizeof(room));
}

static void compare(const struct sthread_policy *p, size_t i)
{
	unsigned char inside[ROOM], outside[ROOM], file_outside[64] = { 0 },
						   file_inside[64] = { 0 };
	struct sthread_result r;
	ssize_t len;
	long want;

	prepare();
	want = acts[i].fn();
	CHECK_MSG(acts[i].fails || want >= 0, "%s: Linux says %ld", acts[i].name, want);
	if (acts[i].len)
		put(acts[i].len_at, &acts[i].len, sizeof(acts[i].len));
	memcpy(outside, room, sizeof(room));
	len = pread(other, file_outside, sizeof(file_outside), 0);
	prepare();
	memset(room, 0x44, sizeof(room));
	r = st_call(p, acts_inside, (void *)i);
	ST_END(&r, STHREAD_RETURNED);
	CHECK_MSG((long)r.value == want, "%s: %ld, and Linux says %ld", acts[i].name, (long)r.value,
		  want);
	CHECK_EQ(read(answer[0], inside, sizeof(inside)), (ssize_t)sizeof(inside));
	for (unsigned k = 0; k < ROOM; k++)
		CHECK_MSG(inside[k] == outside[k], "%s: byte %u is %#x, and with Linux %#x",
			  acts[i].name, k, inside[k], outside[k]);
	for (unsigned k = 0; k < ROOM; k++)
		CHECK_EQ(room[k], 0x44);
	CHECK_EQ(pread(other, file_inside, sizeof(file_inside), 0), len);
	CHECK_MEM(file_inside, file_outside, sizeof(file_inside));
}

static char top[] = "/tmp/st_overlaps_XXXXXX";

static void make(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	CHECK(mkdtemp(top));
	dir = open(top, O_RDONLY | O_DIRECTORY);
	file = openat(dir, "file", O_RDWR | O_CREAT, 0600);
	other = openat(dir, "other", O_RDWR | O_CREAT, 0600);
	close(openat(dir, "still", O_RDWR | O_CREAT, 0600));
	CHECK(!symlinkat("file", dir, "link") && !pipe(answer));
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, stream), 0);
	dgram[0] = socket(AF_UNIX, SOCK_DGRAM, 0);
	dgram[1] = socket(AF_UNIX, SOCK_DGRAM, 0);
	snprintf(a.sun_path + 1, 60, "st_overlaps to %d", (int)getpid());
	snprintf(from.sun_path + 1, FROM_LEN - 3, "overlap%d", (int)getpid());
	CHECK_EQ(bind(dgram[0], (void *)&a, sizeof(a)), 0);
	CHECK_EQ(bind(dgram[1], (void *)&from, FROM_LEN), 0);
	CHECK_EQ(connect(dgram[1], (void *)&a, sizeof(a)), 0);
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	snprintf(a.sun_path + 1, 60, "st_overlaps listens %d", (int)getpid());
	CHECK(!bind(listener, (void *)&a, LISTENER_LEN) && !listen(listener, 4));
	for (int i = 0; i < 2; i++)
		CHECK_EQ(connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&a, LISTENER_LEN), 0);
}

int main(void)
{
	const unsigned all = STHREAD_FD_ALL & ~STHREAD_FD_SHUTDOWN;
	struct sthread_policy *p;
	char command[80];

	make();
	st_init();
	p = st_policy_all_calls();
	st_grant(p, stream[0], all);
	st_grant(p, stream[1], all);
	st_grant(p, dgram[0], all);
	st_grant(p, listener, all);
	st_grant(p, file, all);
	st_grant(p, other, all);
	st_grant(p, answer[1], STHREAD_FD_WRITE);
	st_grant_dir(p, dir, STHREAD_FD_READ | STHREAD_FD_STAT);
	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
		NOTE("%s", acts[i].name);
		compare(p, i);
	}
	st_others_live();
	sthread_policy_destroy(p);
	sthread_fini();
	snprintf(command, sizeof(command), "rm -r %s", top);
	CHECK_EQ(system(command), 0);
	return TEST_PASSED;
}
