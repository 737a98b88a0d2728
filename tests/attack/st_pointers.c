/* SPDX-License-Identifier: MIT */
/*
 * Bad pointers in granted system calls: EFAULT, nothing written anywhere, the image unchanged.  World: host; ST_FN:
 * inside.
 */
#include "tests/st.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>

#include "arch/layout.h"

/* The image is told of these by sthread_checkpoint_range(). */
struct targets {
	int file, socket, out;	      /* descriptors */
	char *secret, *stack, *arena; /* of the master, in no image */
};
static struct targets targets;
static const char constant[4096] __attribute__((aligned(4096))) = "constant";
static char cow_page[2 * 4096] __attribute__((aligned(4096))) = "as at the checkpoint";
static char shown[4096];

/* Unmapped, read-only for writing, or not the compartment's. */
static void *bad[24];
static unsigned nbad;

static char *page_edge(void)
{
	char *p = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	p[4095] = 'a';
	munmap(p + 4096, 4096);
	return p + 4096;
}

static void collect(bool writing)
{
	char *none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *ro = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	nbad = 0;
	bad[nbad++] = NULL;
	bad[nbad++] = (void *)8;
	bad[nbad++] = (void *)0x7ffffffff000;
	bad[nbad++] = (void *)0x7fffffffffff;
	bad[nbad++] = (void *)0x800000000000;
	bad[nbad++] = (void *)0x4141414141414141;
	bad[nbad++] = (void *)0xffff800000000000;
	bad[nbad++] = (void *)0xffffffffff600000;
	bad[nbad++] = (void *)MON_BASE;
	bad[nbad++] = (void *)(MON_BASE + 0x4000);
	bad[nbad++] = (void *)-1L;
	bad[nbad++] = (void *)-4096L;
	bad[nbad++] = targets.secret;
	bad[nbad++] = targets.stack;
	bad[nbad++] = targets.arena;
	bad[nbad++] = none;
	bad[nbad++] = page_edge() - 1; /* the first byte is fine */
	if (!writing)
		return;
	bad[nbad++] = (void *)(uintptr_t)constant;
	bad[nbad++] = (void *)(uintptr_t)collect;
	bad[nbad++] = (void *)(uintptr_t)strlen;
	bad[nbad++] = ro;
}

/* The argument `which` of a call, with every bad address in turn; good[] is a call that succeeds. */
static void try_all(const char *what, long nr, const long good[6], unsigned which, bool writing)
{
	/* A length that is there may be a bad one. */
	bool length = (nr == SYS_recvfrom && which == 5) || (nr == SYS_getsockopt && which == 4) ||
		      ((nr == SYS_getsockname || nr == SYS_getpeername) && which == 2) ||
		      nr == SYS_recvmsg;
	long a[6];

	collect(writing);
	for (unsigned i = 0; i < nbad; i++) {
		if (nr == SYS_newfstatat && which == 1 && !bad[i])
			continue; /* as no path */
		memcpy(a, good, sizeof(a));
		a[which] = (long)bad[i];
		errno = 0;
		CHECK_MSG(syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]) == -1 &&
				  (errno == EFAULT || (length && errno == EINVAL)),
			  "%s with %p: errno %d", what, bad[i], errno);
	}
}

#define TRY(nr, which, writing, ...) \
	try_all(#nr, nr, (const long[6]){ __VA_ARGS__ }, which, writing)
#define L(p) ((long)(p))

ST_FN(passes_bad_pointers)
{
	static char buf[4096];
	struct iovec iov = { buf, 64 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	socklen_t len = sizeof(struct sockaddr_storage);
	struct timespec t = { 0, 1 };
	struct pollfd p = { 0, 0, 0 };
	int f = targets.file, s = targets.socket, one = 1;

	strcpy(shown, "inside");
	TRY(SYS_read, 1, true, f, L(buf), 64);
	TRY(SYS_pread64, 1, true, f, L(buf), 64, 0);
	TRY(SYS_write, 1, false, targets.out, L(buf), 64);
	TRY(SYS_pwrite64, 1, false, f, L(buf), 64, 0);
	TRY(SYS_readv, 1, false, f, L(&iov), 1);
	TRY(SYS_writev, 1, false, targets.out, L(&iov), 1);
	TRY(SYS_fstat, 1, true, f, L(buf));
	TRY(SYS_newfstatat, 2, true, f, L(""), L(buf), 0x1000);
	TRY(SYS_newfstatat, 1, false, f, L("x"), L(buf), 0);
	TRY(SYS_openat, 1, false, f, L("x"), 0, 0);
	TRY(SYS_poll, 0, true, L(&p), 1, 0);
	TRY(SYS_ioctl, 2, true, f, FIONREAD, L(&one));
	TRY(SYS_recvfrom, 1, true, s, L(buf), 64, MSG_DONTWAIT, 0, 0);
	TRY(SYS_recvfrom, 5, true, s, L(buf), 64, MSG_DONTWAIT, L(buf), L(&len));
	TRY(SYS_sendto, 1, false, s, L(buf), 64, MSG_DONTWAIT, 0, 0);
	TRY(SYS_recvmsg, 1, true, s, L(&msg), MSG_DONTWAIT);
	TRY(SYS_sendmsg, 1, false, s, L(&msg), MSG_DONTWAIT);
	TRY(SYS_getsockopt, 3, true, s, SOL_SOCKET, SO_TYPE, L(buf), L(&len));
	TRY(SYS_getsockopt, 4, true, s, SOL_SOCKET, SO_TYPE, L(buf), L(&len));
	TRY(SYS_setsockopt, 3, false, s, SOL_SOCKET, SO_KEEPALIVE, L(&one), 4);
	TRY(SYS_getsockname, 1, true, s, L(buf), L(&len));
	TRY(SYS_getpeername, 2, true, s, L(buf), L(&len));
	TRY(SYS_clock_gettime, 1, true, CLOCK_MONOTONIC, L(&t));
	TRY(SYS_clock_nanosleep, 2, false, CLOCK_MONOTONIC, 0, L(&t));
	TRY(SYS_nanosleep, 0, false, L(&t));
	TRY(SYS_getrandom, 0, true, L(buf), 64, 0);
	TRY(SYS_uname, 0, true, L(buf));
	TRY(SYS_sysinfo, 0, true, L(buf));
	TRY(SYS_getrlimit, 1, true, 3, L(buf));
	TRY(SYS_sched_getaffinity, 2, true, 0, 8, L(buf));
	return NULL;
}

/* Pointers inside of what a pointer points to. */
ST_FN(passes_bad_vectors)
{
	static char buf[64];
	struct msghdr msg = { 0 };
	struct iovec iov[3] = { { buf, 8 }, { NULL, 0 }, { buf, 8 } };
	int f = targets.file, s = targets.socket;

	for (int writing = 0; writing < 2; writing++) {
		collect(writing);
		for (unsigned i = 0; i < nbad; i++) {
			iov[1] = (struct iovec){ bad[i], 64 };
			CHECK((writing ? readv(f, iov, 3) : writev(targets.out, iov, 3)) == -1 &&
			      errno == EFAULT);
			msg.msg_iov = iov;
			msg.msg_iovlen = 3;
			CHECK((writing ? recvmsg(s, &msg, MSG_DONTWAIT) :
					 sendmsg(s, &msg, MSG_DONTWAIT)) == -1 &&
			      errno == EFAULT);
			msg.msg_iov = bad[i];
			CHECK((writing ? recvmsg(s, &msg, MSG_DONTWAIT) :
					 sendmsg(s, &msg, MSG_DONTWAIT)) == -1);
			if (!writing)
				continue;
			msg = (struct msghdr){ .msg_iov = iov,
					       .msg_iovlen = 1,
					       .msg_name = bad[i],
					       .msg_namelen = 16 };
			if (bad[i])
				CHECK(recvmsg(s, &msg, MSG_DONTWAIT) == -1 && errno == EFAULT);
			msg = (struct msghdr){ 0 };
		}
	}
	return NULL;
}

/* Lengths that wrap, are negative, or go on into what is not there. */
ST_FN(passes_bad_lengths)
{
	static const unsigned long lengths[] = { ~0UL, ~0UL - 4095, 1UL << 63, (1UL << 63) - 1,
						 1UL << 47 };
	static char buf[4096];
	char *edge = page_edge();
	struct iovec iov[2] = { { buf, (1UL << 63) - 1 }, { buf, (1UL << 63) - 1 } };
	int f = targets.file;

	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		CHECK(syscall(SYS_read, f, buf, lengths[i]) == -1 &&
		      (errno == EFAULT || errno == EINVAL));
		CHECK(syscall(SYS_write, targets.out, buf, lengths[i]) == -1 &&
		      (errno == EFAULT || errno == EINVAL));
		CHECK(syscall(SYS_getrandom, buf, lengths[i], 0) == -1 &&
		      (errno == EFAULT || errno == EINVAL));
		CHECK(syscall(SYS_readv, f, iov, lengths[i]) == -1 && errno == EINVAL);
		CHECK(syscall(SYS_poll, buf, lengths[i] | 1UL << 30, 0) == -1);
	}
	CHECK(readv(f, iov, 2) == -1 && (errno == EFAULT || errno == EINVAL));
	CHECK(syscall(SYS_readv, f, iov, 1025) == -1 && errno == EINVAL);
	CHECK(syscall(SYS_readv, f, iov, -1) == -1 && errno == EINVAL);
	/* Across the end of what is there; the twin ends with it. */
	CHECK(pread(f, edge - 8, 9, 0) == -1 && errno == EFAULT);
	CHECK_EQ(pread(f, edge - 8, 8, 0), 8);
	CHECK_MEM(edge - 8, "0123456789", 8);
	CHECK(write(targets.out, edge - 8, 9) == -1 && errno == EFAULT);
	CHECK_EQ(write(targets.out, edge - 8, 8), 8);
	CHECK_EQ(syscall(SYS_fstat, f, edge - sizeof(struct stat)), 0);
	CHECK(syscall(SYS_fstat, f, edge - sizeof(struct stat) + 1) == -1 && errno == EFAULT);
	/* A path that does not end before the edge does, and one that is too long. */
	memset(edge - 8, 'a', 8);
	CHECK(syscall(SYS_openat, targets.file, edge - 8, 0, 0) == -1 && errno != 0);
	edge = malloc(8192);
	memset(edge, 'a', 8192);
	CHECK(syscall(SYS_newfstatat, f, edge, buf, 0) == -1 && errno == ENAMETOOLONG);
	return NULL;
}

/* Results go to copies of image pages, also across two of them and by every way. */
ST_FN(writes_by_calls)
{
	struct iovec iov[2] = { { cow_page + 10, 4 }, { cow_page + 4094, 4 } };

	CHECK_STR(cow_page, "as at the checkpoint");
	CHECK_EQ(cow_page[4096], 0);
	CHECK_EQ(pread(targets.file, cow_page + 4092, 8, 0), 8);
	CHECK_MEM(cow_page + 4092, "01234567", 8);
	CHECK_EQ(lseek(targets.file, 0, SEEK_SET), 0);
	CHECK_EQ(readv(targets.file, iov, 2), 8);
	CHECK_MEM(cow_page + 10, "0123", 4);
	CHECK_MEM(cow_page + 4094, "4567", 4);
	CHECK_EQ(getentropy(cow_page, 8), 0);
	CHECK_EQ(uname((struct utsname *)(cow_page + 100)), 0);
	CHECK_STR(cow_page + 100, "Linux");
	CHECK_EQ(clock_gettime(CLOCK_MONOTONIC, (struct timespec *)(cow_page + 4088)), 0);
	return NULL;
}

int main(void)
{
	struct sthread_policy *p = st_policy_all_calls();
	char *secret, name[] = "/tmp/st_pointers_XXXXXX", got[8192];
	volatile char far[3 * 4096];
	int pipes[2], sockets[2];
	unsigned long start, end;
	char line[512];
	ssize_t n;
	FILE *f;

	targets.stack = (char *)((uintptr_t)far & ~63UL);
	targets.file = mkstemp(name);
	CHECK(targets.file >= 0 && pipe2(pipes, O_NONBLOCK) == 0 &&
	      !socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	unlink(name);
	targets.out = pipes[1];
	targets.socket = sockets[0];
	CHECK_EQ(write(targets.file, "0123456789abcdef", 16), 16);
	st_init();
	f = fopen("/proc/self/maps", "r");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-%lx", &start, &end) == 2 && end - start >= 1UL << 30 &&
		    (strstr(line, " rw-p ") || strstr(line, "sthread-private")))
			targets.arena = (char *)start + 4096;
	fclose(f);
	CHECK(targets.arena);
	/* New memory; its address is what the image is told of it. */
	secret = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(secret != MAP_FAILED);
	targets.secret = secret;
	CHECK_OK(sthread_checkpoint_range(&targets, sizeof(targets)));
	memset(secret, 'S', 4096);
	memset((char *)far, 'S', sizeof(far));
	st_grant(p, targets.file, STHREAD_FD_ALL);
	st_grant(p, targets.socket, STHREAD_FD_ALL);
	st_grant(p, targets.out, STHREAD_FD_WRITE);

	for (int i = 0; i < 2; i++) {
		ST_PASSES(p, passes_bad_pointers, NULL);
		ST_PASSES(p, passes_bad_vectors, NULL);
		CHECK_EQ(read(pipes[0], got, sizeof(got)), -1); /* nothing came out */
		ST_PASSES(p, passes_bad_lengths, NULL);
		CHECK_EQ(read(pipes[0], got, sizeof(got)), 8);
		ST_PASSES(p, writes_by_calls, NULL);
		ST_PASSES(p, writes_by_calls, NULL);
		st_others_live();
	}
	CHECK_EQ(recv(sockets[1], got, sizeof(got), MSG_DONTWAIT), -1);
	for (int i = 0; i < 4096; i++)
		CHECK(secret[i] == 'S' && far[i + 4096] == 'S');
	CHECK_STR(cow_page, "as at the checkpoint");
	CHECK_EQ(cow_page[4094], 0);
	CHECK_STR(shown, "");
	n = pread(targets.file, got, sizeof(got), 0);
	CHECK_EQ(n, 16);
	CHECK_MEM(got, "0123456789abcdef", 16);
	CHECK_STR(constant, "constant");
	sthread_fini();
	return TEST_PASSED;
}
