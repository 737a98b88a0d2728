// SPDX-License-Identifier: MIT
/*
 * syscall_table.c - every system call that exists in a compartment, and what its arguments are.
 * World: host.
 *
 * To add a call: its name to CALLS, an entry here, its check and perform functions in the sys_*.c
 * they belong to, a test beside those in tests/unit/syscall_*.c, a line in
 * man/sthread_syscalls.7, and its host calls to wall_calls.c.
 */
#include "sthread/sys_calls.h"

#include <asm/unistd.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/stat.h>
#include <signal.h>
#include <time.h>

#define CALLS(X)                                                                                  \
	X(read) X(write) X(readv) X(writev) X(pread64) X(pwrite64) X(lseek) X(close) X(fstat)     \
	X(newfstatat) X(openat) X(getdents64) X(fcntl) X(ioctl) X(poll) X(recvfrom) X(sendto)     \
	X(recvmsg) X(sendmsg) X(shutdown) X(getsockopt) X(setsockopt) X(getsockname)              \
	X(getpeername) X(clock_gettime) X(clock_getres) X(gettimeofday) X(time)                   \
	X(clock_nanosleep) X(nanosleep) X(futex) X(getrandom) X(getpid) X(gettid) X(getppid)      \
	X(getuid) X(geteuid) X(getgid) X(getegid) X(sched_yield) X(sched_getaffinity) X(uname)    \
	X(sysinfo) X(prlimit64) X(getrlimit) X(set_robust_list) X(set_tid_address) X(rseq)        \
	X(rt_sigprocmask) X(rt_sigaction) X(sigaltstack) X(tgkill) X(tkill) X(kill) X(exit)       \
	X(exit_group) X(mmap) X(munmap) X(mprotect) X(mremap) X(madvise) X(brk) X(clone)          \
	X(clone3) X(fork) X(vfork) X(execve) X(arch_prctl)

enum {
#define X(name) I_##name,
	CALLS(X)
#undef X
	CALLS_COUNT
};
_Static_assert(CALLS_COUNT <= POLICY_CALLS, "an action for each call fits into struct policy");

/* Index + 1 by number. */
static const uint8_t by_nr[512] = {
#define X(name) [__NR_##name] = I_##name + 1,
	CALLS(X)
#undef X
};

int sys_index(uint64_t nr)
{
	return nr < sizeof(by_nr) ? (int)by_nr[nr] - 1 : -1;
}

/* A table is read by its columns. */
/* clang-format off */
/* Arguments. */
#define INT { .kind = ARG_INT }
#define NUM { .kind = ARG_NUMBER }
#define SKIPPED { .kind = ARG_IGNORED }
#define SIZE { .kind = ARG_SIZE }
#define SOCKLEN { .kind = ARG_SOCKLEN }
#define ONE_OF(bits) { .kind = ARG_VALUE, .allowed = (bits) }
#define FLAGS(bits) { .kind = ARG_FLAGS, .allowed = (uint32_t)(bits) }
#define FD(r) { .kind = ARG_FD, .rights = (r) }
#define DIRFD(r) { .kind = ARG_DIRFD, .rights = (r) }
#define PATH { .kind = ARG_PATH }
#define PATH_OR_NULL { .kind = ARG_PATH, .null = true }
#define IN(k) { .kind = ARG_IN, .len = (k) }
#define OUT(k) { .kind = ARG_OUT, .len = (k) }
#define BYTES_OUT(k, max) { .kind = ARG_BYTES_OUT, .len = (k), .size = (max) }
#define IOV_IN(k) { .kind = ARG_IOV_IN, .len = (k) }
#define IOV_OUT(k) { .kind = ARG_IOV_OUT, .len = (k) }
#define MSG_TO { .kind = ARG_MSG_IN, .size = sizeof(struct msghdr) }
#define MSG_FROM { .kind = ARG_MSG_OUT, .size = sizeof(struct msghdr) }
#define POLLFDS(k) { .kind = ARG_POLL, .len = (k), .size = sizeof(struct pollfd) }
#define STRUCT_IN(n) { .kind = ARG_STRUCT_IN, .size = (n) }
#define STRUCT_OUT(n) { .kind = ARG_STRUCT_OUT, .size = (n) }
#define STRUCT_OUT_OR_NULL(n) { .kind = ARG_STRUCT_OUT, .size = (n), .null = true }
#define OPT_IN(k, max) { .kind = ARG_OPT_IN, .len = (k), .size = (max) }
#define VAR_OUT(k, max) { .kind = ARG_VAR_OUT, .len = (k), .size = (max) }
#define VAR_OUT_OR_NULL(k, max) { .kind = ARG_VAR_OUT, .len = (k), .size = (max), .null = true }

#define ENTRY(call, cls, fwd, ...)                                                                \
	[I_##call] = { .name = #call, .nr = __NR_##call, .class = (cls), .forwarded = (fwd), __VA_ARGS__ }
#define OUTSIDE(call, ...) ENTRY(call, SYS_OUTSIDE, true, __VA_ARGS__)
#define ALWAYS(call, ...) ENTRY(call, SYS_ALWAYS, false, __VA_ARGS__)
/* Makes host calls, yet touches itself only. */
#define ALWAYS_HOST(call, ...) ENTRY(call, SYS_ALWAYS, true, __VA_ARGS__)

#define R STHREAD_FD_READ
#define W STHREAD_FD_WRITE
#define SEEK STHREAD_FD_SEEK
#define STAT STHREAD_FD_STAT

#define BIT(n) (1ULL << (n))
#define LARGEFILE 0100000 /* O_LARGEFILE as the kernel knows it; the C library's is 0 */
#define OPEN_FLAGS                                                                                \
	(O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC |  \
	 O_DIRECTORY | O_NOFOLLOW | LARGEFILE)
#define STAT_FLAGS (AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT)
#define SEND_FLAGS (MSG_NOSIGNAL | MSG_DONTWAIT | MSG_MORE | MSG_EOR)
#define RECV_FLAGS                                                                                \
	(MSG_NOSIGNAL | MSG_DONTWAIT | MSG_PEEK | MSG_WAITALL | MSG_TRUNC | MSG_CMSG_CLOEXEC)
#define WALL_CLOCKS                                                                               \
	(BIT(CLOCK_REALTIME) | BIT(CLOCK_MONOTONIC) | BIT(CLOCK_BOOTTIME) | BIT(CLOCK_TAI))
#define CLOCKS                                                                                    \
	(WALL_CLOCKS | BIT(CLOCK_PROCESS_CPUTIME_ID) | BIT(CLOCK_THREAD_CPUTIME_ID) |             \
	 BIT(CLOCK_MONOTONIC_RAW) | BIT(CLOCK_REALTIME_COARSE) | BIT(CLOCK_MONOTONIC_COARSE))
#define SOCKADDR_MAX sizeof(struct sockaddr_storage)
#define SOCKOPT_MAX 16
#define DIRENTS_MAX PATH_MAX
#define SIGSET 8
#define KERNEL_SIGACTION 32

const struct sys_entry sys_table[] = {
	/* descriptors */
	OUTSIDE(read, .arg = { FD(R), OUT(2), SIZE }, .check = sys_check_transfer, .perform = sys_do_read),
	OUTSIDE(write, .arg = { FD(W), IN(2), SIZE }, .check = sys_check_transfer, .perform = sys_do_write),
	OUTSIDE(readv, .arg = { FD(R), IOV_OUT(2), SIZE }, .check = sys_check_transfer, .perform = sys_do_read),
	OUTSIDE(writev, .arg = { FD(W), IOV_IN(2), SIZE }, .check = sys_check_transfer, .perform = sys_do_write),
	OUTSIDE(pread64, .arg = { FD(R | SEEK), OUT(2), SIZE, NUM }, .perform = sys_do_pread),
	OUTSIDE(pwrite64, .arg = { FD(W | SEEK), IN(2), SIZE, NUM }, .perform = sys_do_pwrite),
	OUTSIDE(lseek, .arg = { FD(SEEK), NUM, ONE_OF(BIT(SEEK_SET) | BIT(SEEK_CUR) | BIT(SEEK_END) |
						      BIT(SEEK_DATA) | BIT(SEEK_HOLE)) },
		.perform = sys_do_lseek),
	ALWAYS_HOST(close, .arg = { INT }, .perform = sys_do_close, .note = "revokes the descriptor inside"),
	OUTSIDE(fstat, .arg = { FD(STAT), STRUCT_OUT(sizeof(struct stat)) }, .perform = sys_do_fstat),
	OUTSIDE(newfstatat,
		.arg = { DIRFD(STAT), PATH_OR_NULL, STRUCT_OUT(sizeof(struct stat)), FLAGS(STAT_FLAGS) },
		.check = sys_check_newfstatat, .perform = sys_do_newfstatat,
		.note = "beneath a granted directory, or AT_EMPTY_PATH"),
	OUTSIDE(openat, .arg = { DIRFD(0), PATH, FLAGS(OPEN_FLAGS), NUM }, .check = sys_check_openat,
		.perform = sys_do_openat,
		.note = "beneath a granted directory, with its rights; regular files and directories"),
	OUTSIDE(getdents64, .arg = { FD(R), BYTES_OUT(2, DIRENTS_MAX), SIZE }, .perform = sys_do_getdents),
	OUTSIDE(fcntl, .arg = { FD(0), INT, NUM }, .check = sys_check_fcntl, .perform = sys_do_fcntl,
		.note = "F_GETFL, F_GETFD, F_SETFD without effect; F_SETFL: O_NONBLOCK, O_APPEND, with FLAGS"),
	OUTSIDE(ioctl, .arg = { FD(0), INT, NUM }, .check = sys_check_ioctl, .perform = sys_do_ioctl,
		.note = "FIONREAD with READ, FIONBIO with FLAGS; TCGETS is ENOTTY"),
	OUTSIDE(poll, .arg = { POLLFDS(1), SIZE, INT }, .perform = sys_do_poll,
		.note = "descriptors without POLL are POLLNVAL"),

	/* sockets */
	OUTSIDE(recvfrom,
		.arg = { FD(R), OUT(2), SIZE, FLAGS(RECV_FLAGS), VAR_OUT_OR_NULL(5, SOCKADDR_MAX), SOCKLEN },
		.check = sys_check_recvfrom, .perform = sys_do_recvfrom, .note = "an address needs STAT, too"),
	OUTSIDE(sendto, .arg = { FD(W), IN(2), SIZE, FLAGS(SEND_FLAGS), NUM, SKIPPED },
		.check = sys_check_sendto, .perform = sys_do_send, .note = "without an address"),
	OUTSIDE(recvmsg, .arg = { FD(R), MSG_FROM, FLAGS(RECV_FLAGS) }, .check = sys_check_transfer,
		.perform = sys_do_recvmsg, .note = "ancillary data is dropped; an address needs STAT, too"),
	OUTSIDE(sendmsg, .arg = { FD(W), MSG_TO, FLAGS(SEND_FLAGS) }, .check = sys_check_transfer,
		.perform = sys_do_send, .note = "without an address or ancillary data"),
	OUTSIDE(shutdown, .arg = { FD(STHREAD_FD_SHUTDOWN), ONE_OF(BIT(SHUT_RD) | BIT(SHUT_WR) | BIT(SHUT_RDWR)) },
		.perform = sys_do_shutdown),
	OUTSIDE(getsockopt, .arg = { FD(STHREAD_FD_SOCKOPT), INT, INT, VAR_OUT(4, SOCKOPT_MAX), SOCKLEN },
		.check = sys_check_sockopt, .perform = sys_do_getsockopt, .note = "listed options"),
	OUTSIDE(setsockopt, .arg = { FD(STHREAD_FD_SOCKOPT), INT, INT, OPT_IN(4, SOCKOPT_MAX), SIZE },
		.check = sys_check_sockopt, .perform = sys_do_setsockopt, .note = "listed options"),
	OUTSIDE(getsockname, .arg = { FD(STAT), VAR_OUT(2, SOCKADDR_MAX), SOCKLEN }, .perform = sys_do_getsockname),
	OUTSIDE(getpeername, .arg = { FD(STAT), VAR_OUT(2, SOCKADDR_MAX), SOCKLEN }, .perform = sys_do_getpeername),

	/* time */
	ALWAYS_HOST(clock_gettime, .arg = { ONE_OF(CLOCKS), STRUCT_OUT(sizeof(struct timespec)) },
		    .perform = sys_do_clock_gettime, .note = "CPU time is the running thread's"),
	ALWAYS_HOST(clock_getres, .arg = { ONE_OF(CLOCKS), STRUCT_OUT_OR_NULL(sizeof(struct timespec)) },
		    .perform = sys_do_clock_getres),
	ALWAYS_HOST(gettimeofday, .arg = { STRUCT_OUT_OR_NULL(16), STRUCT_OUT_OR_NULL(8) },
		    .perform = sys_do_gettimeofday, .note = "the time zone is zeros"),
	ALWAYS_HOST(time, .arg = { STRUCT_OUT_OR_NULL(sizeof(time_t)) }, .perform = sys_do_time),
	ALWAYS_HOST(clock_nanosleep,
		    .arg = { ONE_OF(WALL_CLOCKS), FLAGS(TIMER_ABSTIME), STRUCT_IN(sizeof(struct timespec)), SKIPPED },
		    .check = sys_check_sleep, .perform = sys_do_clock_nanosleep),
	ALWAYS_HOST(nanosleep, .arg = { STRUCT_IN(sizeof(struct timespec)), SKIPPED }, .check = sys_check_sleep,
		    .perform = sys_do_nanosleep),
	ALWAYS_HOST(futex,
		    .arg = { NUM, FLAGS(0xf | FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME), NUM, NUM, NUM,
			     NUM },
		    .check = sys_check_futex, .perform = sys_do_futex,
		    .note = "on its own memory: nobody else waits or wakes"),
	ALWAYS_HOST(getrandom, .arg = { OUT(1), SIZE, FLAGS(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE) },
		    .perform = sys_do_getrandom),

	/* itself */
	ALWAYS(getpid, .perform = sys_do_getpid, .note = "its own, never the master's; unique"),
	ALWAYS(gettid, .perform = sys_do_gettid),
	ALWAYS(getppid, .perform = sys_do_nothing, .note = "0"),
	ALWAYS(getuid, .perform = sys_do_uid, .note = "65534"),
	ALWAYS(geteuid, .perform = sys_do_uid, .note = "65534"),
	ALWAYS(getgid, .perform = sys_do_uid, .note = "65534"),
	ALWAYS(getegid, .perform = sys_do_uid, .note = "65534"),
	ALWAYS_HOST(sched_yield, .perform = sys_do_sched_yield),
	ALWAYS(sched_getaffinity, .arg = { INT, SIZE, BYTES_OUT(1, 128) }, .check = sys_check_getaffinity,
	       .perform = sys_do_getaffinity, .note = "one processor"),
	ALWAYS(uname, .arg = { STRUCT_OUT(sizeof(struct utsname)) }, .perform = sys_do_uname, .note = "constant"),
	ALWAYS(sysinfo, .arg = { STRUCT_OUT(sizeof(struct sysinfo)) }, .perform = sys_do_sysinfo,
	       .note = "the memory limit"),
	ALWAYS(prlimit64,
	       .arg = { INT, ONE_OF(BIT(RLIM_NLIMITS) - 1), NUM, STRUCT_OUT_OR_NULL(sizeof(struct rlimit)) },
	       .check = sys_check_prlimit, .perform = sys_do_prlimit, .note = "its own, to read"),
	ALWAYS(getrlimit, .arg = { ONE_OF(BIT(RLIM_NLIMITS) - 1), STRUCT_OUT(sizeof(struct rlimit)) },
	       .perform = sys_do_getrlimit),
	ALWAYS(set_robust_list, .arg = { SKIPPED, SKIPPED }, .perform = sys_do_nothing, .note = "no effect"),
	ALWAYS(set_tid_address, .arg = { SKIPPED }, .perform = sys_do_gettid, .note = "no effect"),
	ALWAYS(rseq, .arg = { SKIPPED, SKIPPED, SKIPPED, SKIPPED }, .perform = sys_do_nosys, .note = "ENOSYS"),
	ALWAYS(rt_sigprocmask, .arg = { SKIPPED, SKIPPED, STRUCT_OUT_OR_NULL(SIGSET), SIZE },
	       .check = sys_check_sigset,
	       .perform = sys_do_nothing, .note = "no effect: no signal is delivered inside"),
	ALWAYS(rt_sigaction, .arg = { SKIPPED, SKIPPED, STRUCT_OUT_OR_NULL(KERNEL_SIGACTION), SIZE },
	       .check = sys_check_sigset, .perform = sys_do_nothing, .note = "no effect"),
	ALWAYS(sigaltstack, .arg = { SKIPPED, STRUCT_OUT_OR_NULL(sizeof(stack_t)) },
	       .perform = sys_do_sigaltstack,
	       .note = "no effect"),
	ALWAYS(tgkill, .arg = { INT, INT, INT }, .check = sys_check_tgkill, .perform = sys_do_tgkill,
	       .note = "itself: a deadly signal ends it as aborted"),
	ALWAYS(tkill, .arg = { INT, INT }, .check = sys_check_tkill, .perform = sys_do_tkill, .note = "itself"),
	ALWAYS(kill, .arg = { INT, INT }, .check = sys_check_kill, .perform = sys_do_tkill, .note = "itself"),
	ALWAYS(exit, .arg = { INT }, .perform = sys_do_exit),
	ALWAYS(exit_group, .arg = { INT }, .perform = sys_do_exit),

	/* memory: the private area only */
	ALWAYS(mmap, .arg = { NUM, NUM, FLAGS(PROT_READ | PROT_WRITE | PROT_EXEC), INT, SKIPPED, SKIPPED },
	       .check = sys_check_mmap, .perform = sys_do_mmap, .note = "anonymous, private, never executable"),
	ALWAYS(munmap, .arg = { NUM, NUM }, .check = sys_check_area, .perform = sys_do_munmap,
	       .note = "of the image: EINVAL"),
	ALWAYS(mprotect, .arg = { NUM, NUM, FLAGS(PROT_READ | PROT_WRITE | PROT_EXEC) }, .check = sys_check_mprotect,
	       .perform = sys_do_mprotect, .note = "of the image: EACCES"),
	ALWAYS(mremap, .arg = { NUM, NUM, NUM, INT, SKIPPED }, .check = sys_check_mremap, .perform = sys_do_mremap,
	       .note = "in place"),
	ALWAYS(madvise, .arg = { NUM, NUM, INT }, .check = sys_check_madvise, .perform = sys_do_madvise,
	       .note = "MADV_DONTNEED zeroes; other advice has no effect"),
	ALWAYS(brk, .arg = { NUM }, .perform = sys_do_brk, .note = "does not move"),

	/* refused, with the errno that programs know how to take */
	ALWAYS(clone, .perform = sys_do_again, .note = "EAGAIN"),
	ALWAYS(clone3, .perform = sys_do_again, .note = "EAGAIN"),
	ALWAYS(fork, .perform = sys_do_again, .note = "EAGAIN"),
	ALWAYS(vfork, .perform = sys_do_again, .note = "EAGAIN"),
	ALWAYS(execve, .perform = sys_do_access, .note = "EACCES"),
	ALWAYS(arch_prctl, .arg = { INT, NUM }, .perform = sys_do_arch_prctl, .note = "EPERM"),
};

const unsigned sys_table_len = CALLS_COUNT;
_Static_assert(sizeof(sys_table) / sizeof(sys_table[0]) == CALLS_COUNT, "every call has an entry");
