/* SPDX-License-Identifier: MIT */
/*
 * rules.c - the host system calls that a worker thread makes, and why.  World: host.
 *
 * One row for each entry of the system-call table that is forwarded: what its check and perform
 * functions ask of the kernel, by the number that the C library uses (several where versions of
 * it differ).  tests/unit/filter_rows says which entry lacks its row, and the unit tests of
 * system calls run behind the filter, so that a call missing here fails there by its number.
 */
#include <asm/unistd.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "sthread/seccomp/filter.h"

#define H(name)			{ .nr = __NR_##name }
#define IF(name, ...)		{ .nr = __NR_##name, .test = { __VA_ARGS__ } }
#define IS(k, v)		{ .how = FILTER_IS, .arg = (k), .value = (v) }
#define WITHOUT(k, bits)	{ .how = FILTER_WITHOUT, .arg = (k), .value = (bits) }
#define ROW(name, ...)		{ #name, (const struct filter_rule[]){ __VA_ARGS__, { .nr = FILTER_END } } }

/* fstat() is either. */
#define STATS H(fstat), H(newfstatat)
#define FCNTL(cmd) IF(fcntl, IS(1, cmd))
/*
 * On what is found beneath a granted directory; the descriptor that comes of it is placed out of
 * the way.
 */
#define FINDS H(openat2), H(fstatfs), STATS, H(close)

/* A descriptor is made: it is placed out of the way. */
#define NEW FCNTL(F_DUPFD_CLOEXEC), H(close)
/* A number goes: it leaves the sets that it is in. */
#define GOES H(close), H(epoll_ctl)

/* clang-format off */
const struct filter_row filter_rows[] = {
	/* files and descriptors */
	ROW(read, H(read), H(readv)),
	ROW(readv, H(read), H(readv)),
	ROW(write, H(write), H(writev), H(sendmsg)),
	ROW(writev, H(write), H(writev), H(sendmsg)),
	ROW(pread64, H(preadv)),
	ROW(pwrite64, H(pwritev)),
	ROW(lseek, H(lseek)),
	ROW(close, GOES),
	ROW(fstat, STATS),
	ROW(newfstatat, FINDS),
	ROW(openat, FINDS, H(openat), FCNTL(F_DUPFD_CLOEXEC), H(ftruncate), H(readlinkat), H(getsockopt)),
	ROW(getdents64, H(getdents64)),
	ROW(fcntl, FCNTL(F_GETFL), FCNTL(F_SETFL), IF(ioctl, IS(1, FIONBIO))),
	ROW(ioctl, IF(ioctl, IS(1, FIONREAD)), IF(ioctl, IS(1, FIONBIO))),
	ROW(poll, H(ppoll), H(clock_gettime)),
	ROW(ppoll, H(ppoll), H(clock_gettime)),
	ROW(select, H(ppoll), H(clock_gettime)),
	ROW(pselect6, H(ppoll), H(clock_gettime)),
	ROW(preadv, H(preadv2)),
	ROW(preadv2, H(preadv2)),
	ROW(pwritev, H(pwritev2)),
	ROW(pwritev2, H(pwritev2)),
	ROW(close_range, GOES),
	ROW(dup, NEW),
	ROW(dup2, NEW, GOES),
	ROW(dup3, NEW, GOES),
	ROW(ftruncate, FCNTL(F_GETFL), H(ftruncate)),
	ROW(fallocate, H(fallocate)),
	ROW(fsync, H(fsync)),
	ROW(fdatasync, H(fdatasync)),
	ROW(fadvise64, H(fadvise64)),
	ROW(flock, H(flock)),
	ROW(sendfile, H(sendfile)),
	ROW(copy_file_range, H(copy_file_range)),
	ROW(pipe, H(pipe2), NEW),
	ROW(pipe2, H(pipe2), NEW),

	/* names beneath a granted directory */
	ROW(statx, FINDS, H(statx)),
	ROW(faccessat, FINDS, H(faccessat2)),
	ROW(faccessat2, FINDS, H(faccessat2)),
	ROW(readlinkat, FINDS, H(readlinkat)),
	ROW(mkdirat, FINDS, H(mkdirat)),
	ROW(unlinkat, FINDS, H(unlinkat)),
	ROW(renameat, FINDS, H(renameat2)),
	ROW(renameat2, FINDS, H(renameat2)),

	/* events */
	ROW(epoll_create, H(epoll_create1), NEW),
	ROW(epoll_create1, H(epoll_create1), NEW),
	ROW(epoll_ctl, H(epoll_ctl)),
	ROW(epoll_wait, H(epoll_wait), H(clock_gettime)),
	ROW(epoll_pwait, H(epoll_wait), H(clock_gettime)),
	ROW(epoll_pwait2, H(epoll_wait), H(clock_gettime)),
	ROW(eventfd, H(eventfd2), NEW),
	ROW(eventfd2, H(eventfd2), NEW),
	ROW(timerfd_create, H(timerfd_create), NEW),
	ROW(timerfd_settime, H(timerfd_settime)),
	ROW(timerfd_gettime, H(timerfd_gettime)),

	/* sockets */
	ROW(recvfrom, H(recvmsg)),
	ROW(sendto, H(sendmsg)),
	ROW(recvmsg, H(recvmsg)),
	ROW(sendmsg, H(sendmsg)),
	ROW(shutdown, H(shutdown)),
	ROW(getsockopt, H(getsockopt)),
	ROW(setsockopt, H(setsockopt), H(getsockopt)),
	ROW(getsockname, H(getsockname)),
	ROW(getpeername, H(getpeername)),
	ROW(socket, IF(socket, IS(0, AF_UNIX)), IF(socket, IS(0, AF_INET)), IF(socket, IS(0, AF_INET6)), H(setsockopt), NEW),
	ROW(socketpair, IF(socketpair, IS(0, AF_UNIX)), NEW),
	ROW(connect, H(connect)),
	ROW(bind, H(bind), H(setsockopt)),
	ROW(listen, H(listen)),
	ROW(accept, H(accept4), H(poll), FCNTL(F_GETFL), H(getsockopt), NEW),
	ROW(accept4, H(accept4), H(poll), FCNTL(F_GETFL), H(getsockopt), NEW),
	ROW(recvmmsg, H(recvmsg)),
	ROW(sendmmsg, H(sendmsg)),

	/* time: the vDSO asks the kernel for clocks that it cannot read */
	ROW(clock_gettime, H(clock_gettime)),
	ROW(clock_getres, H(clock_getres)),
	ROW(gettimeofday, H(gettimeofday), H(clock_gettime)),
	ROW(time, H(time), H(clock_gettime)),
	ROW(clock_nanosleep, H(clock_nanosleep), H(clock_gettime)),
	ROW(nanosleep, H(clock_nanosleep), H(clock_gettime)),
	ROW(futex, H(clock_nanosleep), H(clock_gettime)),

	/* itself */
	ROW(getrandom, H(getrandom)),
	ROW(sched_yield, H(sched_yield)),
	ROW(times, H(getrusage), H(clock_gettime)),
	ROW(getrusage, H(getrusage)),
};
const unsigned filter_rows_len = sizeof(filter_rows) / sizeof(filter_rows[0]);

const struct filter_rule filter_loop[] = {
	/* The only one that KVM is asked. */
	IF(ioctl, IS(1, KVM_RUN)),
	/* Where compartments are stub processes: their calls, and the two signals that they get. */
	IF(ioctl, IS(1, SECCOMP_IOCTL_NOTIF_RECV)),
	IF(ioctl, IS(1, SECCOMP_IOCTL_NOTIF_SEND)),
	IF(pidfd_send_signal, IS(1, SIGURG)),
	IF(pidfd_send_signal, IS(1, SIGKILL)),
	/* Locks; handing over jobs and results. */
	H(futex), H(sched_yield),
	/* The kick: its return, a call that it or a stop of the process interrupted, itself, to this process only. */
	H(rt_sigreturn), H(restart_syscall), IF(tgkill, { .how = FILTER_IS_SELF }), H(getpid), H(gettid),
	H(timer_create), H(timer_settime), H(timer_delete), H(nanosleep), H(clock_nanosleep), H(clock_gettime),
	/* Reading and writing what a window shows, where a fault must be an answer. */
	IF(process_vm_readv, { .how = FILTER_IS_THREAD }), IF(process_vm_writev, { .how = FILTER_IS_THREAD }),
	/* Seeds. */
	H(getrandom),
	/* malloc(), and giving back the stack of a thread that ended: never executable, never shared. */
	IF(mmap, WITHOUT(2, PROT_EXEC), WITHOUT(3, MAP_SHARED)), IF(mprotect, WITHOUT(2, PROT_EXEC)),
	H(munmap), H(mremap), H(madvise), H(brk), H(sched_getaffinity),
	/* The backtrace of a fault reads the tables of the program's files; and fork() in another thread asks. */
	H(openat), H(open), H(readlink), STATS, H(read), H(pread64), H(lseek), H(close),
	FCNTL(F_GETFL), FCNTL(F_GETFD),
	/* The end of the thread, and of the process where it is the last. */
	H(rt_sigprocmask), H(exit), H(exit_group),
	{ .nr = FILTER_END },
};
