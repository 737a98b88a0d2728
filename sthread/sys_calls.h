/* SPDX-License-Identifier: MIT */
/*
 * sys_calls.h - the check and perform functions that the system-call table names.  World: host.
 *
 * check: the last step of decoding; may fail with a negative errno.  perform: does it; gets only
 * what was checked.
 */
#ifndef STHREAD_SYS_CALLS_H
#define STHREAD_SYS_CALLS_H

#include <errno.h>

#include "sthread/syscall.h"

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

/* sys_file.c: on descriptors */
int sys_check_transfer(struct sys_call *c);
long sys_do_read(struct sys_call *c);
long sys_do_write(struct sys_call *c);
long sys_do_pread(struct sys_call *c);
long sys_do_pwrite(struct sys_call *c);
long sys_do_lseek(struct sys_call *c);
long sys_do_close(struct sys_call *c);
long sys_do_fstat(struct sys_call *c);
long sys_do_getdents(struct sys_call *c);
int sys_check_fcntl(struct sys_call *c);
long sys_do_fcntl(struct sys_call *c);
int sys_check_ioctl(struct sys_call *c);
long sys_do_ioctl(struct sys_call *c);
long sys_do_poll(struct sys_call *c);

/* sys_path.c: beneath a granted directory */
int sys_check_openat(struct sys_call *c);
long sys_do_openat(struct sys_call *c);
int sys_check_newfstatat(struct sys_call *c);
long sys_do_newfstatat(struct sys_call *c);

/* sys_socket.c */
int sys_check_sendto(struct sys_call *c);
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

/* sys_time.c: clocks, sleeping, futex */
long sys_do_clock_gettime(struct sys_call *c);
long sys_do_clock_getres(struct sys_call *c);
long sys_do_gettimeofday(struct sys_call *c);
long sys_do_time(struct sys_call *c);
int sys_check_sleep(struct sys_call *c);
long sys_do_clock_nanosleep(struct sys_call *c);
long sys_do_nanosleep(struct sys_call *c);
int sys_check_futex(struct sys_call *c);
long sys_do_futex(struct sys_call *c);

/* sys_self.c: what a compartment is told of itself */
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

/* sys_memory.c: private memory, without the host */
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
