/* SPDX-License-Identifier: MIT */
/*
 * calls.h - the check and perform functions that the system-call table names.  World: host.
 *
 * check: the last step of decoding; may fail with a negative errno.  perform: does it; gets only
 * what was checked.
 */
#ifndef STHREAD_SYSCALL_CALLS_H
#define STHREAD_SYSCALL_CALLS_H

#include <errno.h>
#include <signal.h>
#include <sys/stat.h>

#include "sthread/syscall/syscall.h"

/*
 * The value of a host call, or its negative errno.  A signal that ended it is none of the
 * compartment's business: it is made again, unless a kill is pending.
 */
#define SYS_RETRY(c, call)                                                                        \
	({                                                                                        \
		long retry_r_;                                                                    \
		do {                                                                              \
			retry_r_ = (call);                                                        \
			if (retry_r_ < 0)                                                         \
				retry_r_ = -errno;                                                \
		} while (retry_r_ == -EINTR && !sys_stopping((c)->ctx));                          \
		retry_r_;                                                                         \
	})

/* A host call that makes descriptors, above the first three: its value, or its negative errno. */
#define SYS_MAKE(call)                                                                            \
	({                                                                                        \
		struct fd_reserved make_held_;                                                        \
		int make_r_ = fd_reserve_low(&make_held_);                                           \
		if (!make_r_ && (make_r_ = (int)(call)) < 0)                                      \
			make_r_ = -errno;                                                         \
		fd_release_low(&make_held_);                                                     \
		make_r_;                                                                          \
	})

/* signal.c: signals that a forwarded call may raise in its thread */
struct sys_shield {
	bool on;
	sigset_t old, pending; /* pending: those of ours that the thread had already, blocked */
};
void sys_shield_up(const struct sys_call *c, struct sys_shield *s);
/* A write of `want` bytes that did less may have met a closed pipe or a limit on the way. */
void sys_shield_down(const struct sys_shield *s, long result, size_t want);

/* fd.c: numbers */
int sys_check_new(struct sys_call *c);
int sys_check_new_pair(struct sys_call *c);
/* Take over host descriptors, or pass on a negative errno; only after the check. */
long sys_new_fd(struct sys_call *c, int host, enum fd_kind kind, unsigned rights);
long sys_new_pair(struct sys_call *c, const int host[2], enum fd_kind kind,
		  const unsigned rights[2]);
long sys_do_pipe2(struct sys_call *c);
long sys_do_dup(struct sys_call *c);
int sys_check_dup3(struct sys_call *c);
long sys_do_dup3(struct sys_call *c);
int sys_check_dupfd(struct sys_call *c);
long sys_do_dupfd(struct sys_call *c);
long sys_do_close(struct sys_call *c);
int sys_check_close_range(struct sys_call *c);
long sys_do_close_range(struct sys_call *c);

/* poll.c: waiting for descriptors */
long sys_do_poll(struct sys_call *c);
int sys_check_ppoll(struct sys_call *c);
long sys_do_ppoll(struct sys_call *c);
int sys_check_select(struct sys_call *c);
long sys_do_select(struct sys_call *c);
int sys_check_pselect(struct sys_call *c);
long sys_do_pselect(struct sys_call *c);
int sys_check_epoll_create(struct sys_call *c);
long sys_do_epoll_create(struct sys_call *c);
int sys_check_epoll_ctl(struct sys_call *c);
long sys_do_epoll_ctl(struct sys_call *c);
int sys_check_epoll_wait(struct sys_call *c);
long sys_do_epoll_wait(struct sys_call *c);

/* time.c: of CPU time, what is not the thread's */
uint64_t sys_ring3_cpu(const struct sys_call *c);

/* event.c: counters and timers */
long sys_do_eventfd(struct sys_call *c);
long sys_do_timerfd_create(struct sys_call *c);
long sys_do_timerfd_settime(struct sys_call *c);
long sys_do_timerfd_gettime(struct sys_call *c);

/* file.c: on descriptors */
int sys_check_transfer(struct sys_call *c);
long sys_do_read(struct sys_call *c);
long sys_do_write(struct sys_call *c);
long sys_do_pread(struct sys_call *c);
long sys_do_pwrite(struct sys_call *c);
long sys_do_lseek(struct sys_call *c);
long sys_do_fstat(struct sys_call *c);
long sys_do_getdents(struct sys_call *c);
int sys_check_fcntl(struct sys_call *c);
long sys_do_fcntl(struct sys_call *c);
int sys_check_ioctl(struct sys_call *c);
long sys_do_ioctl(struct sys_call *c);

/* fileops.c: files as wholes */
int sys_check_preadv(struct sys_call *c);
long sys_do_preadv(struct sys_call *c);
long sys_do_pwritev(struct sys_call *c);
int sys_check_ftruncate(struct sys_call *c);
long sys_do_ftruncate(struct sys_call *c);
long sys_do_fallocate(struct sys_call *c);
long sys_do_fsync(struct sys_call *c);
long sys_do_fdatasync(struct sys_call *c);
long sys_do_fadvise(struct sys_call *c);
long sys_do_flock(struct sys_call *c);
int sys_check_sendfile(struct sys_call *c);
long sys_do_sendfile(struct sys_call *c);
int sys_check_copy_range(struct sys_call *c);
long sys_do_copy_range(struct sys_call *c);

/* path.c: beneath a granted directory */
int sys_open_beneath(int dir, const char *path, uint64_t flags, uint64_t mode);
/* 0 for regular files and directories, and symbolic links if `links`; else a negative errno. */
int sys_check_found(int fd, bool links, struct stat *st);
int sys_check_openat(struct sys_call *c);
long sys_do_openat(struct sys_call *c);

/* stat.c: looking at names beneath a granted directory */
int sys_check_newfstatat(struct sys_call *c);
long sys_do_newfstatat(struct sys_call *c);
int sys_check_look(struct sys_call *c);
int sys_check_statx(struct sys_call *c);
long sys_do_statx(struct sys_call *c);
int sys_check_faccessat(struct sys_call *c);
long sys_do_faccessat(struct sys_call *c);
long sys_do_readlinkat(struct sys_call *c);

/* dirops.c: making and removing names there */
int sys_check_name(struct sys_call *c);
long sys_do_mkdirat(struct sys_call *c);
long sys_do_unlinkat(struct sys_call *c);
int sys_check_renameat(struct sys_call *c);
long sys_do_renameat(struct sys_call *c);

/* connect.c: sockets of its own, and addresses */
int sys_check_socket(struct sys_call *c);
long sys_do_socket(struct sys_call *c);
int sys_check_socketpair(struct sys_call *c);
long sys_do_socketpair(struct sys_call *c);
/* What in.bytes holds is an address that the policy grants; then it is there in one form. */
int sys_check_destination(struct sys_call *c);
int sys_check_connect(struct sys_call *c);
long sys_do_connect(struct sys_call *c);
int sys_check_bind(struct sys_call *c);
long sys_do_bind(struct sys_call *c);
int sys_check_listen(struct sys_call *c);
long sys_do_listen(struct sys_call *c);
int sys_check_accept(struct sys_call *c);
long sys_do_accept(struct sys_call *c);
long sys_do_sendmmsg(struct sys_call *c);
int sys_check_recvmmsg(struct sys_call *c);
long sys_do_recvmmsg(struct sys_call *c);

/*
 * socket_filter.c: the datagram socket hears nobody but whom the policy grants; or everybody
 * again
 */
int sys_filter_raise(int fd, int domain, const struct policy *policy);
void sys_filter_drop(int fd);

/* socket.c */
int sys_check_sendto(struct sys_call *c);
int sys_check_sendmsg(struct sys_call *c);
void sys_socklen_out(struct sys_call *c, socklen_t actual);
int sys_check_recvfrom(struct sys_call *c);
int sys_check_sockopt(struct sys_call *c);
long sys_do_send(struct sys_call *c);
long sys_do_recvfrom(struct sys_call *c);
long sys_do_recvmsg(struct sys_call *c);
long sys_do_shutdown(struct sys_call *c);
long sys_do_getsockopt(struct sys_call *c);
long sys_do_setsockopt(struct sys_call *c);
long sys_do_getsockname(struct sys_call *c);
long sys_do_getpeername(struct sys_call *c);

/* time.c: clocks, sleeping, futex */
long sys_do_clock_gettime(struct sys_call *c);
long sys_do_clock_getres(struct sys_call *c);
long sys_do_gettimeofday(struct sys_call *c);
long sys_do_time(struct sys_call *c);
int sys_check_sleep(struct sys_call *c);
long sys_do_clock_nanosleep(struct sys_call *c);
long sys_do_nanosleep(struct sys_call *c);
int sys_check_futex(struct sys_call *c);
long sys_do_futex(struct sys_call *c);

/* self.c, machine.c: what a compartment is told of itself and its machine */
bool sys_is_self(const struct sys_ctx *ctx, int id);
long sys_do_perm(struct sys_call *c);
long sys_do_noent(struct sys_call *c);
long sys_do_intr(struct sys_call *c);
long sys_do_child(struct sys_call *c);
long sys_do_ids(struct sys_call *c);
long sys_do_nice(struct sys_call *c);
int sys_check_self(struct sys_call *c); /* arg[0] is 0 or itself */
long sys_do_umask(struct sys_call *c);
int sys_check_prctl(struct sys_call *c);
long sys_do_prctl(struct sys_call *c);
int sys_check_personality(struct sys_call *c);
long sys_do_sched_priority(struct sys_call *c);
long sys_do_membarrier(struct sys_call *c);
long sys_do_getrusage(struct sys_call *c);
long sys_do_times(struct sys_call *c);
long sys_do_nothing(struct sys_call *c); /* 0 */
long sys_do_nosys(struct sys_call *c);
long sys_do_again(struct sys_call *c);
long sys_do_access(struct sys_call *c);
long sys_do_getpid(struct sys_call *c);
long sys_do_gettid(struct sys_call *c);
long sys_do_uid(struct sys_call *c);
long sys_do_getrandom(struct sys_call *c);
long sys_do_sched_yield(struct sys_call *c);
int sys_check_getaffinity(struct sys_call *c);
long sys_do_getaffinity(struct sys_call *c);
long sys_do_uname(struct sys_call *c);
long sys_do_sysinfo(struct sys_call *c);
int sys_check_prlimit(struct sys_call *c);
long sys_do_prlimit(struct sys_call *c);
long sys_do_getrlimit(struct sys_call *c);
int sys_check_sigset(struct sys_call *c);
long sys_do_sigaltstack(struct sys_call *c);
long sys_do_arch_prctl(struct sys_call *c);
int sys_check_tgkill(struct sys_call *c);
int sys_check_tkill(struct sys_call *c);
int sys_check_kill(struct sys_call *c);
long sys_do_tgkill(struct sys_call *c);
long sys_do_tkill(struct sys_call *c); /* also kill */
long sys_do_exit(struct sys_call *c);

/* memory.c: private memory, without the host */
int sys_check_msync(struct sys_call *c);
int sys_check_mmap(struct sys_call *c);
long sys_do_mmap(struct sys_call *c);
int sys_check_area(struct sys_call *c);
long sys_do_munmap(struct sys_call *c);
int sys_check_mprotect(struct sys_call *c);
long sys_do_mprotect(struct sys_call *c);
int sys_check_madvise(struct sys_call *c);
long sys_do_madvise(struct sys_call *c);
int sys_check_mremap(struct sys_call *c);
long sys_do_mremap(struct sys_call *c);
long sys_do_brk(struct sys_call *c);

#endif
