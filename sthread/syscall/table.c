// SPDX-License-Identifier: MIT
/*
 * table.c - every system call that exists in a compartment, and what its arguments are.
 * World: host.
 *
 * To add a call: its name to CALLS, an entry here, its check and perform functions in the file of
 * this folder that they belong to, a test beside those in tests/unit/syscall_*.c, a line in
 * man/sthread_syscalls.7, and its host calls to seccomp/rules.c.
 */
#include "sthread/syscall/calls.h"

#include <asm/unistd.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <sys/utsname.h>
#include <sys/stat.h>
#include <signal.h>
#include <time.h>

#define CALLS(X)                                                                                  \
	X(read) X(write) X(readv) X(writev) X(pread64) X(pwrite64) X(preadv) X(pwritev)           \
	X(preadv2) X(pwritev2) X(lseek) X(close) X(close_range) X(dup) X(dup2) X(dup3) X(fstat)   \
	X(newfstatat) X(statx) X(faccessat) X(faccessat2) X(readlinkat) X(openat) X(mkdirat)      \
	X(unlinkat) X(renameat) X(renameat2) X(getdents64) X(ftruncate) X(fallocate) X(fsync)     \
	X(fdatasync) X(fadvise64) X(flock) X(sendfile) X(copy_file_range) X(fcntl) X(ioctl)       \
	X(poll) X(ppoll) X(select) X(pselect6) X(epoll_create) X(epoll_create1) X(epoll_ctl)      \
	X(epoll_wait) X(epoll_pwait) X(epoll_pwait2) X(eventfd) X(eventfd2) X(timerfd_create)     \
	X(timerfd_settime) X(timerfd_gettime) X(pipe) X(pipe2) X(socket) X(socketpair)            \
	X(connect) X(bind) X(listen) X(accept) X(accept4) X(recvfrom) X(sendto) X(recvmsg)        \
	X(sendmsg) X(recvmmsg) X(sendmmsg) X(shutdown) X(getsockopt) X(setsockopt)                \
	X(getsockname) X(getpeername) X(clock_gettime) X(clock_getres) X(gettimeofday) X(time)    \
	X(times) X(clock_nanosleep) X(nanosleep) X(getitimer) X(futex) X(getrandom) X(getpid)     \
	X(gettid) X(getppid) X(getpgrp) X(getpgid) X(getsid) X(getuid) X(geteuid) X(getgid)       \
	X(getegid) X(getresuid) X(getresgid) X(getgroups) X(umask) X(prctl) X(personality)        \
	X(sched_yield) X(sched_getaffinity) X(sched_getscheduler) X(sched_getparam)               \
	X(sched_get_priority_max) X(sched_get_priority_min) X(getpriority) X(getcpu)              \
	X(membarrier) X(uname) X(sysinfo) X(getrusage) X(prlimit64) X(getrlimit)                  \
	X(set_robust_list) X(set_tid_address) X(rseq) X(rt_sigprocmask) X(rt_sigaction)           \
	X(sigaltstack) X(tgkill) X(tkill) X(kill) X(restart_syscall) X(exit) X(exit_group)        \
	X(mmap) X(munmap) X(mprotect) X(mremap) X(madvise) X(msync) X(munlock) X(brk) X(clone)    \
	X(clone3) X(fork) X(vfork) X(execve) X(wait4) X(waitid) X(arch_prctl) X(open) X(stat)     \
	X(lstat) X(access) X(readlink) X(chdir) X(fchdir) X(getcwd) X(setrlimit) X(setitimer)     \
	X(clock_settime) X(sched_setaffinity) X(sched_setscheduler) X(setpriority) X(mlock)

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
#define FLAGS_NONE { .kind = ARG_VALUE, .allowed = 1 }
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
#define EVENTS(k) { .kind = ARG_ARRAY_OUT, .len = (k), .size = sizeof(struct epoll_event) }
#define OFFSET { .kind = ARG_OFFSET, .null = true }
#define FDSET { .kind = ARG_FDSET, .len = 0, .null = true }
#define MMSG(k) { .kind = ARG_MMSG, .len = (k), .size = sizeof(struct mmsghdr) }
#define STRUCT_IN_OR_NULL(n) { .kind = ARG_STRUCT_IN, .size = (n), .null = true }
#define OPT_IN_OR_NULL(k, max) { .kind = ARG_OPT_IN, .len = (k), .size = (max), .null = true }
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
#define MAKE STHREAD_FD_MAKE
#define CONNECT STHREAD_FD_CONNECT
#define ACCEPT STHREAD_FD_ACCEPT

#define BIT(n) (1ULL << (n))
#define LARGEFILE 0100000 /* O_LARGEFILE as the kernel knows it; the C library's is 0 */
#define OPEN_FLAGS                                                                                \
	(O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC |  \
	 O_DIRECTORY | O_NOFOLLOW | LARGEFILE)
#define STATX_FLAGS (STAT_FLAGS | AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC)
#define ACCESS_MODE (F_OK | R_OK | W_OK | X_OK)
#define RENAME_FLAGS (RENAME_NOREPLACE | RENAME_EXCHANGE)
#define SOCK_FLAGS (SOCK_NONBLOCK | SOCK_CLOEXEC)
#define SOCK_TYPES (0xf | SOCK_FLAGS)
#define SOCK_DOMAINS (BIT(AF_UNIX) | BIT(AF_INET) | BIT(AF_INET6))
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
	OUTSIDE(preadv, .arg = { FD(R | SEEK), IOV_OUT(2), SIZE, NUM, SKIPPED }, .check = sys_check_preadv,
		.perform = sys_do_preadv),
	OUTSIDE(pwritev, .arg = { FD(W | SEEK), IOV_IN(2), SIZE, NUM, SKIPPED }, .check = sys_check_preadv,
		.perform = sys_do_pwritev),
	OUTSIDE(preadv2, .arg = { FD(R | SEEK), IOV_OUT(2), SIZE, NUM, SKIPPED, FLAGS(RWF_HIPRI | RWF_NOWAIT) },
		.check = sys_check_preadv, .perform = sys_do_preadv),
	OUTSIDE(pwritev2, .arg = { FD(W | SEEK), IOV_IN(2), SIZE, NUM, SKIPPED, FLAGS(RWF_DSYNC | RWF_SYNC) },
		.check = sys_check_preadv, .perform = sys_do_pwritev),
	OUTSIDE(lseek, .arg = { FD(SEEK), NUM, ONE_OF(BIT(SEEK_SET) | BIT(SEEK_CUR) | BIT(SEEK_END) |
						      BIT(SEEK_DATA) | BIT(SEEK_HOLE)) },
		.perform = sys_do_lseek),
	ALWAYS_HOST(close, .arg = { INT }, .perform = sys_do_close, .note = "revokes the descriptor inside"),
	ALWAYS_HOST(close_range, .arg = { INT, INT, FLAGS(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) },
		    .check = sys_check_close_range, .perform = sys_do_close_range, .note = "as close"),
	OUTSIDE(dup, .arg = { FD(0) }, .check = sys_check_new, .perform = sys_do_dup, .note = "with the same rights"),
	OUTSIDE(dup2, .arg = { FD(0), INT }, .check = sys_check_dup3, .perform = sys_do_dup3,
		.note = "with the same rights"),
	OUTSIDE(dup3, .arg = { FD(0), INT, FLAGS(O_CLOEXEC) }, .check = sys_check_dup3, .perform = sys_do_dup3,
		.note = "with the same rights"),
	OUTSIDE(fstat, .arg = { FD(STAT), STRUCT_OUT(sizeof(struct stat)) }, .perform = sys_do_fstat),
	OUTSIDE(newfstatat,
		.arg = { DIRFD(STAT), PATH_OR_NULL, STRUCT_OUT(sizeof(struct stat)), FLAGS(STAT_FLAGS) },
		.check = sys_check_newfstatat, .perform = sys_do_newfstatat,
		.note = "beneath a granted directory, or AT_EMPTY_PATH"),
	OUTSIDE(statx,
		.arg = { DIRFD(STAT), PATH_OR_NULL, FLAGS(STATX_FLAGS), FLAGS(STATX_BASIC_STATS | STATX_BTIME),
			 STRUCT_OUT(sizeof(struct statx)) },
		.check = sys_check_statx, .perform = sys_do_statx, .note = "as newfstatat"),
	OUTSIDE(faccessat, .arg = { DIRFD(STAT), PATH, FLAGS(ACCESS_MODE) }, .check = sys_check_faccessat,
		.perform = sys_do_faccessat, .note = "by the rights of the grant, then by those of the master"),
	OUTSIDE(faccessat2, .arg = { DIRFD(STAT), PATH, FLAGS(ACCESS_MODE), FLAGS(AT_SYMLINK_NOFOLLOW | AT_EACCESS) },
		.check = sys_check_faccessat, .perform = sys_do_faccessat, .note = "as faccessat"),
	OUTSIDE(readlinkat, .arg = { DIRFD(STAT), PATH, BYTES_OUT(3, PATH_MAX), SIZE }, .check = sys_check_look,
		.perform = sys_do_readlinkat),
	OUTSIDE(openat, .arg = { DIRFD(0), PATH, FLAGS(OPEN_FLAGS), NUM }, .check = sys_check_openat,
		.perform = sys_do_openat,
		.note = "beneath a granted directory, with its rights; regular files and directories"),
	OUTSIDE(mkdirat, .arg = { DIRFD(MAKE), PATH, NUM }, .check = sys_check_name, .perform = sys_do_mkdirat),
	OUTSIDE(unlinkat, .arg = { DIRFD(MAKE), PATH, FLAGS(AT_REMOVEDIR) }, .check = sys_check_name,
		.perform = sys_do_unlinkat),
	OUTSIDE(renameat, .arg = { DIRFD(MAKE), PATH, DIRFD(MAKE), PATH }, .check = sys_check_renameat,
		.perform = sys_do_renameat, .note = "EXDEV where the file would gain rights"),
	OUTSIDE(renameat2, .arg = { DIRFD(MAKE), PATH, DIRFD(MAKE), PATH, FLAGS(RENAME_FLAGS) },
		.check = sys_check_renameat, .perform = sys_do_renameat, .note = "as renameat"),
	OUTSIDE(getdents64, .arg = { FD(R), BYTES_OUT(2, DIRENTS_MAX), SIZE }, .perform = sys_do_getdents),
	OUTSIDE(ftruncate, .arg = { FD(W), NUM }, .check = sys_check_ftruncate, .perform = sys_do_ftruncate,
		.note = "with O_APPEND SEEK, too"),
	OUTSIDE(fallocate, .arg = { FD(W), FLAGS(FALLOC_FL_KEEP_SIZE), NUM, NUM }, .perform = sys_do_fallocate),
	OUTSIDE(fsync, .arg = { FD(W) }, .perform = sys_do_fsync),
	OUTSIDE(fdatasync, .arg = { FD(W) }, .perform = sys_do_fdatasync),
	OUTSIDE(fadvise64, .arg = { FD(R), NUM, NUM, ONE_OF(BIT(POSIX_FADV_NOREUSE + 1) - 1) },
		.perform = sys_do_fadvise),
	OUTSIDE(flock, .arg = { FD(STHREAD_FD_LOCK), FLAGS(LOCK_SH | LOCK_EX | LOCK_NB | LOCK_UN) },
		.perform = sys_do_flock),
	OUTSIDE(sendfile, .arg = { FD(W), FD(R), OFFSET, NUM }, .check = sys_check_sendfile,
		.perform = sys_do_sendfile, .note = "from a file with READ, and SEEK for an offset; 1 MiB at once"),
	OUTSIDE(copy_file_range, .arg = { FD(R), OFFSET, FD(W), OFFSET, NUM, FLAGS_NONE },
		.check = sys_check_copy_range, .perform = sys_do_copy_range,
		.note = "to one with WRITE, and SEEK for an offset; 1 MiB at once"),
	OUTSIDE(fcntl, .arg = { FD(0), INT, NUM }, .check = sys_check_fcntl, .perform = sys_do_fcntl,
		.note = "F_DUPFD; F_GETFL, F_GETFD, F_SETFD without effect; F_SETFL: O_NONBLOCK, O_APPEND, with FLAGS"),
	OUTSIDE(ioctl, .arg = { FD(0), INT, NUM }, .check = sys_check_ioctl, .perform = sys_do_ioctl,
		.note = "FIONREAD with READ, FIONBIO with FLAGS; TCGETS is ENOTTY"),
	OUTSIDE(poll, .arg = { POLLFDS(1), SIZE, INT }, .perform = sys_do_poll,
		.note = "descriptors without POLL are POLLNVAL"),
	OUTSIDE(ppoll, .arg = { POLLFDS(1), SIZE, STRUCT_IN_OR_NULL(sizeof(struct timespec)), SKIPPED, SKIPPED },
		.check = sys_check_ppoll, .perform = sys_do_ppoll, .note = "as poll"),
	OUTSIDE(select, .arg = { SIZE, FDSET, FDSET, FDSET, STRUCT_IN_OR_NULL(sizeof(struct timeval)) },
		.check = sys_check_select, .perform = sys_do_select,
		.note = "descriptors without POLL are EBADF; the time is not changed"),
	OUTSIDE(pselect6, .arg = { SIZE, FDSET, FDSET, FDSET, STRUCT_IN_OR_NULL(sizeof(struct timespec)), SKIPPED },
		.check = sys_check_pselect, .perform = sys_do_pselect, .note = "as select"),
	OUTSIDE(epoll_create, .arg = { INT }, .check = sys_check_epoll_create, .perform = sys_do_epoll_create),
	OUTSIDE(epoll_create1, .arg = { FLAGS(EPOLL_CLOEXEC) }, .check = sys_check_epoll_create,
		.perform = sys_do_epoll_create),
	OUTSIDE(epoll_ctl, .arg = { FD(W), INT, FD(STHREAD_FD_POLL), STRUCT_IN_OR_NULL(sizeof(struct epoll_event)) },
		.check = sys_check_epoll_ctl, .perform = sys_do_epoll_ctl, .note = "what is added needs POLL"),
	OUTSIDE(epoll_wait, .arg = { FD(R), EVENTS(2), SIZE, INT }, .check = sys_check_epoll_wait,
		.perform = sys_do_epoll_wait),
	OUTSIDE(epoll_pwait, .arg = { FD(R), EVENTS(2), SIZE, INT, SKIPPED, SKIPPED }, .check = sys_check_epoll_wait,
		.perform = sys_do_epoll_wait),
	OUTSIDE(epoll_pwait2,
		.arg = { FD(R), EVENTS(2), SIZE, STRUCT_IN_OR_NULL(sizeof(struct timespec)), SKIPPED, SKIPPED },
		.check = sys_check_epoll_wait, .perform = sys_do_epoll_wait, .note = "to the millisecond"),
	OUTSIDE(eventfd, .arg = { NUM }, .check = sys_check_new, .perform = sys_do_eventfd),
	OUTSIDE(eventfd2, .arg = { NUM, FLAGS(EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC) }, .check = sys_check_new,
		.perform = sys_do_eventfd),
	OUTSIDE(timerfd_create,
		.arg = { ONE_OF(BIT(CLOCK_REALTIME) | BIT(CLOCK_MONOTONIC) | BIT(CLOCK_BOOTTIME)),
			 FLAGS(TFD_NONBLOCK | TFD_CLOEXEC) },
		.check = sys_check_new, .perform = sys_do_timerfd_create),
	OUTSIDE(timerfd_settime,
		.arg = { FD(W), FLAGS(TFD_TIMER_ABSTIME), STRUCT_IN(sizeof(struct itimerspec)),
			 STRUCT_OUT_OR_NULL(sizeof(struct itimerspec)) },
		.perform = sys_do_timerfd_settime),
	OUTSIDE(timerfd_gettime, .arg = { FD(R), STRUCT_OUT(sizeof(struct itimerspec)) },
		.perform = sys_do_timerfd_gettime),
	OUTSIDE(pipe, .arg = { STRUCT_OUT(2 * sizeof(int)) }, .check = sys_check_new_pair, .perform = sys_do_pipe2),
	OUTSIDE(pipe2, .arg = { STRUCT_OUT(2 * sizeof(int)), FLAGS(O_CLOEXEC | O_NONBLOCK) },
		.check = sys_check_new_pair, .perform = sys_do_pipe2),

	/* sockets */
	OUTSIDE(socket, .arg = { ONE_OF(SOCK_DOMAINS), FLAGS(SOCK_TYPES), INT }, .check = sys_check_socket,
		.perform = sys_do_socket, .note = "UNIX, INET, INET6; TCP, UDP"),
	OUTSIDE(socketpair, .arg = { ONE_OF(BIT(AF_UNIX)), FLAGS(SOCK_TYPES), INT, STRUCT_OUT(2 * sizeof(int)) },
		.check = sys_check_socketpair, .perform = sys_do_socketpair),
	OUTSIDE(connect, .arg = { FD(CONNECT), OPT_IN(2, SOCKADDR_MAX), SIZE }, .check = sys_check_connect,
		.perform = sys_do_connect, .note = "to a granted address"),
	OUTSIDE(bind, .arg = { FD(CONNECT), OPT_IN(2, SOCKADDR_MAX), SIZE }, .check = sys_check_bind,
		.perform = sys_do_bind, .note = "to a granted address"),
	OUTSIDE(listen, .arg = { FD(CONNECT), INT }, .check = sys_check_listen, .perform = sys_do_listen,
		.note = "on a socket that was bound inside"),
	OUTSIDE(accept, .arg = { FD(ACCEPT), VAR_OUT_OR_NULL(2, SOCKADDR_MAX), SOCKLEN }, .check = sys_check_accept,
		.perform = sys_do_accept, .note = "with the listener's rights; an address needs STAT, too"),
	OUTSIDE(accept4,
		.arg = { FD(ACCEPT), VAR_OUT_OR_NULL(2, SOCKADDR_MAX), SOCKLEN, FLAGS(SOCK_FLAGS) },
		.check = sys_check_accept, .perform = sys_do_accept, .note = "as accept"),
	OUTSIDE(recvfrom,
		.arg = { FD(R), OUT(2), SIZE, FLAGS(RECV_FLAGS), VAR_OUT_OR_NULL(5, SOCKADDR_MAX), SOCKLEN },
		.check = sys_check_recvfrom, .perform = sys_do_recvfrom, .note = "an address needs STAT, too"),
	OUTSIDE(sendto, .arg = { FD(W), IN(2), SIZE, FLAGS(SEND_FLAGS), OPT_IN_OR_NULL(5, SOCKADDR_MAX), SIZE },
		.check = sys_check_sendto, .perform = sys_do_send,
		.note = "to a granted address with CONNECT, or without one"),
	OUTSIDE(recvmsg, .arg = { FD(R), MSG_FROM, FLAGS(RECV_FLAGS) }, .check = sys_check_transfer,
		.perform = sys_do_recvmsg, .note = "ancillary data is dropped; an address needs STAT, too"),
	OUTSIDE(sendmsg, .arg = { FD(W), MSG_TO, FLAGS(SEND_FLAGS) }, .check = sys_check_sendmsg,
		.perform = sys_do_send, .note = "as sendto; without ancillary data"),
	OUTSIDE(recvmmsg,
		.arg = { FD(R), MMSG(2), SIZE, FLAGS(RECV_FLAGS | MSG_WAITFORONE),
			 STRUCT_IN_OR_NULL(sizeof(struct timespec)) },
		.check = sys_check_recvmmsg, .perform = sys_do_recvmmsg, .note = "as recvmsg; without a time limit"),
	OUTSIDE(sendmmsg, .arg = { FD(W), MMSG(2), SIZE, FLAGS(SEND_FLAGS) }, .perform = sys_do_sendmmsg,
		.note = "as sendmsg"),
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
	ALWAYS_HOST(times, .arg = { STRUCT_OUT_OR_NULL(sizeof(struct tms)) }, .perform = sys_do_times,
		    .note = "CPU time is the running thread's"),
	ALWAYS_HOST(clock_nanosleep,
		    .arg = { ONE_OF(WALL_CLOCKS), FLAGS(TIMER_ABSTIME), STRUCT_IN(sizeof(struct timespec)), SKIPPED },
		    .check = sys_check_sleep, .perform = sys_do_clock_nanosleep),
	ALWAYS_HOST(nanosleep, .arg = { STRUCT_IN(sizeof(struct timespec)), SKIPPED }, .check = sys_check_sleep,
		    .perform = sys_do_nanosleep),
	ALWAYS(getitimer, .arg = { ONE_OF(7), STRUCT_OUT(sizeof(struct itimerval)) }, .perform = sys_do_nothing,
	       .note = "none is set"),
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
	ALWAYS(getpgrp, .perform = sys_do_getpid),
	ALWAYS(getpgid, .arg = { INT }, .check = sys_check_self, .perform = sys_do_getpid, .note = "its own"),
	ALWAYS(getsid, .arg = { INT }, .check = sys_check_self, .perform = sys_do_getpid, .note = "its own"),
	ALWAYS(getuid, .perform = sys_do_uid, .note = "65534"),
	ALWAYS(geteuid, .perform = sys_do_uid, .note = "65534"),
	ALWAYS(getgid, .perform = sys_do_uid, .note = "65534"),
	ALWAYS(getegid, .perform = sys_do_uid, .note = "65534"),
	ALWAYS(getresuid, .arg = { STRUCT_OUT_OR_NULL(4), STRUCT_OUT_OR_NULL(4), STRUCT_OUT_OR_NULL(4) },
	       .perform = sys_do_ids, .note = "65534"),
	ALWAYS(getresgid, .arg = { STRUCT_OUT_OR_NULL(4), STRUCT_OUT_OR_NULL(4), STRUCT_OUT_OR_NULL(4) },
	       .perform = sys_do_ids, .note = "65534"),
	ALWAYS(getgroups, .arg = { INT, SKIPPED }, .perform = sys_do_nothing, .note = "none"),
	ALWAYS(umask, .arg = { INT }, .perform = sys_do_umask, .note = "its own, with the master's in force, too"),
	ALWAYS(prctl, .arg = { INT, NUM, SKIPPED, SKIPPED, SKIPPED }, .check = sys_check_prctl, .perform = sys_do_prctl,
	       .note = "PR_SET_NAME, PR_GET_NAME: its own"),
	ALWAYS(personality, .arg = { INT }, .check = sys_check_personality, .perform = sys_do_nothing,
	       .note = "to ask"),
	ALWAYS_HOST(sched_yield, .perform = sys_do_sched_yield),
	ALWAYS(sched_getaffinity, .arg = { INT, SIZE, BYTES_OUT(1, 128) }, .check = sys_check_getaffinity,
	       .perform = sys_do_getaffinity, .note = "one processor"),
	ALWAYS(sched_getscheduler, .arg = { INT }, .check = sys_check_self, .perform = sys_do_nothing,
	       .note = "SCHED_OTHER"),
	ALWAYS(sched_getparam, .arg = { INT, STRUCT_OUT(4) }, .check = sys_check_self, .perform = sys_do_nothing,
	       .note = "0"),
	ALWAYS(sched_get_priority_max, .arg = { INT }, .perform = sys_do_sched_priority, .note = "0"),
	ALWAYS(sched_get_priority_min, .arg = { INT }, .perform = sys_do_sched_priority, .note = "0"),
	ALWAYS(getpriority, .arg = { INT, INT }, .perform = sys_do_nice, .note = "nice 0"),
	ALWAYS(getcpu, .arg = { STRUCT_OUT_OR_NULL(4), STRUCT_OUT_OR_NULL(4), SKIPPED }, .perform = sys_do_nothing,
	       .note = "0"),
	ALWAYS(membarrier, .arg = { INT, INT, INT }, .perform = sys_do_membarrier, .note = "to ask: nothing is supported"),
	ALWAYS(uname, .arg = { STRUCT_OUT(sizeof(struct utsname)) }, .perform = sys_do_uname, .note = "constant"),
	ALWAYS(sysinfo, .arg = { STRUCT_OUT(sizeof(struct sysinfo)) }, .perform = sys_do_sysinfo,
	       .note = "the memory limit"),
	ALWAYS_HOST(getrusage, .arg = { INT, STRUCT_OUT(sizeof(struct rusage)) }, .perform = sys_do_getrusage,
		    .note = "CPU time of the running thread"),
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
	ALWAYS(restart_syscall, .perform = sys_do_intr, .note = "EINTR"),
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
	ALWAYS(msync, .arg = { NUM, NUM, FLAGS(MS_ASYNC | MS_SYNC | MS_INVALIDATE) }, .check = sys_check_msync,
	       .perform = sys_do_nothing, .note = "no effect"),
	ALWAYS(munlock, .arg = { NUM, NUM }, .perform = sys_do_nothing, .note = "no effect"),
	ALWAYS(brk, .arg = { NUM }, .perform = sys_do_brk, .note = "does not move"),

	/* refused, with the errno that programs know how to take */
	ALWAYS(clone, .perform = sys_do_again, .note = "EAGAIN"),
	ALWAYS(clone3, .perform = sys_do_again, .note = "EAGAIN"),
	ALWAYS(fork, .perform = sys_do_again, .note = "EAGAIN"),
	ALWAYS(vfork, .perform = sys_do_again, .note = "EAGAIN"),
	ALWAYS(execve, .perform = sys_do_access, .note = "EACCES"),
	ALWAYS(wait4, .perform = sys_do_child, .note = "ECHILD"),
	ALWAYS(waitid, .perform = sys_do_child, .note = "ECHILD"),
	ALWAYS(arch_prctl, .arg = { INT, NUM }, .perform = sys_do_arch_prctl, .note = "EPERM"),
	ALWAYS(open, .perform = sys_do_access, .note = "EACCES: there is no working directory"),
	ALWAYS(stat, .perform = sys_do_access, .note = "EACCES"),
	ALWAYS(lstat, .perform = sys_do_access, .note = "EACCES"),
	ALWAYS(access, .perform = sys_do_access, .note = "EACCES"),
	ALWAYS(readlink, .perform = sys_do_access, .note = "EACCES"),
	ALWAYS(chdir, .perform = sys_do_access, .note = "EACCES"),
	ALWAYS(fchdir, .perform = sys_do_access, .note = "EACCES"),
	ALWAYS(getcwd, .perform = sys_do_noent, .note = "ENOENT"),
	ALWAYS(setrlimit, .perform = sys_do_perm, .note = "EPERM"),
	ALWAYS(setitimer, .perform = sys_do_perm, .note = "EPERM"),
	ALWAYS(clock_settime, .perform = sys_do_perm, .note = "EPERM"),
	ALWAYS(sched_setaffinity, .perform = sys_do_perm, .note = "EPERM"),
	ALWAYS(sched_setscheduler, .perform = sys_do_perm, .note = "EPERM"),
	ALWAYS(setpriority, .perform = sys_do_perm, .note = "EPERM"),
	ALWAYS(mlock, .perform = sys_do_perm, .note = "EPERM"),
};

const unsigned sys_table_len = CALLS_COUNT;
_Static_assert(sizeof(sys_table) / sizeof(sys_table[0]) == CALLS_COUNT, "every call has an entry");
