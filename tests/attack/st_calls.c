/* SPDX-License-Identifier: MIT */
/*
 * System calls that do not exist, are not granted, or are denied by a kill; calls that would act on the process.
 * World: host; ST_FN: inside.
 */
#include "sthread/inside/hostcall.h"
#include "tests/st.h"

#include <sys/prctl.h>
#include <signal.h>

/* Six arguments that would mean something to most calls. */
static long raw(long nr)
{
	static char memory[4096];

	return syscall(nr, 1L, memory, 64L, memory, 1L, 0L);
}

/* The kernel shows them no filter, and refuses them itself where there is no probe. */
#define NR_URETPROBE 335
#define NR_UPROBE    336
static bool stubs; /* before the checkpoint */

/* Every number that the table does not have gives ENOSYS, and nothing happens.  arg: table of those it has. */
ST_FN(tries_all_numbers)
{
	const unsigned char *known = arg;

	for (long nr = 0; nr < 1024; nr++) {
		if (nr < 512 && known[nr])
			continue;
		if (stubs && (nr == NR_URETPROBE || nr == NR_UPROBE)) {
			CHECK_MSG(raw(nr) == -1, "number %ld", nr);
			continue;
		}
		CHECK_MSG(raw(nr) == -1 && errno == ENOSYS, "number %ld: errno %d", nr, errno);
	}
	/* Numbers beyond, also of the library's own. */
	static const long far[] = { HOSTCALLS_END,
				    0x40000000 | 512,
				    0x7fffffff,
				    0xffffffff,
				    -1,
				    -2,
				    INT64_MIN,
				    INT64_MAX,
				    1L << 32,
				    (1L << 32) | SYS_getpid,
				    (1L << 63) | SYS_write };

	for (unsigned i = 0; i < sizeof(far) / sizeof(far[0]); i++)
		/* The kernel takes 32 bits of a number; so in a stub it is another one. */
		CHECK_MSG((stubs && far[i] != (int)far[i]) || (raw(far[i]) == -1 && errno == ENOSYS), "number %#lx: errno %d", far[i],
			  errno);
	return NULL;
}

ST_FN(calls_number)
{
	return (void *)raw((long)(intptr_t)arg);
}

/* Known, and refused in a way that programs understand. */
ST_FN(dangerous_calls)
{
	static const long none[] = { SYS_ptrace,
				     SYS_process_vm_readv,
				     SYS_process_vm_writev,
				     SYS_creat,
				     SYS_mkdir,
				     SYS_unlink,
				     SYS_rename,
				     SYS_linkat,
				     SYS_symlinkat,
				     SYS_mknodat,
				     SYS_fchmod,
				     SYS_fchown,
				     SYS_seccomp,
				     SYS_setuid,
				     SYS_unshare,
				     SYS_chroot,
				     SYS_mount,
				     SYS_perf_event_open,
				     SYS_bpf,
				     SYS_io_uring_setup,
				     SYS_memfd_create,
				     SYS_userfaultfd,
				     SYS_shmget,
				     SYS_shmat,
				     SYS_remap_file_pages,
				     SYS_rt_sigreturn,
				     SYS_rt_sigqueueinfo,
				     SYS_timer_create,
				     SYS_alarm,
				     SYS_kcmp,
				     SYS_pidfd_open,
				     SYS_pidfd_getfd,
				     SYS_init_module,
				     SYS_reboot,
				     SYS_splice,
				     SYS_vmsplice,
				     SYS_openat2,
				     SYS_execveat,
				     SYS_modify_ldt,
				     SYS_set_thread_area,
				     SYS_iopl,
				     SYS_ioperm,
				     SYS_exit_group + 512 };

	for (unsigned i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		CHECK_MSG(raw(none[i]) == -1 && errno == ENOSYS, "number %ld: errno %d", none[i],
			  errno);
	/* Known, and of no effect on anything. */
	CHECK(raw(SYS_open) == -1 && errno == EACCES);
	CHECK(raw(SYS_chdir) == -1 && errno == EACCES);
	CHECK(raw(SYS_setitimer) == -1 && errno == EPERM);
	CHECK(raw(SYS_setrlimit) == -1 && errno == EPERM);
	CHECK(raw(SYS_clock_settime) == -1 && errno == EPERM);
	CHECK(raw(SYS_mlock) == -1 && errno == EPERM);
	CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == -1 && errno == EINVAL);
	CHECK(prctl(PR_SET_DUMPABLE, 1) == -1 && errno == EINVAL);
	CHECK(syscall(SYS_arch_prctl, 0x1002, 0x1234) == -1 && errno == EPERM);
	CHECK(syscall(SYS_clone, 0x100, 0, 0, 0, 0) == -1 && errno == EAGAIN);
	CHECK(syscall(SYS_fork) == -1 && errno == EAGAIN);
	CHECK(syscall(SYS_execve, "/bin/sh", NULL, NULL) == -1 && errno == EACCES);
	/* Signals: to itself only. */
	CHECK(kill(-1, SIGKILL) == -1 && errno == ESRCH);
	CHECK(kill(1, SIGKILL) == -1 && errno == ESRCH);
	CHECK(kill((pid_t)(intptr_t)arg, SIGKILL) == -1 && errno == ESRCH);
	CHECK(kill(-(pid_t)(intptr_t)arg, SIGKILL) == -1 && errno == ESRCH);
	CHECK(syscall(SYS_tgkill, arg, arg, SIGKILL) == -1 && errno == ESRCH);
	CHECK(kill(getpid(), 0) == 0);
	/* The master's limits are not to be seen or set. */
	CHECK(syscall(SYS_prlimit64, (pid_t)(intptr_t)arg, 7, NULL, NULL) == -1 && errno == ESRCH);
	return NULL;
}

/* In the image, that is its own number: the C library's raise() uses it. */
ST_FN(kills_master)
{
	kill((pid_t)(intptr_t)arg, SIGKILL);
	return NULL;
}

/* Calls that a policy does not name, on a descriptor that it grants.  arg: the descriptor. */
ST_FN(calls_not_granted)
{
	static const long outside[] = {
		SYS_read,	SYS_write,	 SYS_readv,	 SYS_writev,	 SYS_pread64,
		SYS_pwrite64,	SYS_lseek,	 SYS_fstat,	 SYS_newfstatat, SYS_openat,
		SYS_getdents64, SYS_fcntl,	 SYS_ioctl,	 SYS_poll,	 SYS_recvfrom,
		SYS_sendto,	SYS_recvmsg,	 SYS_sendmsg,	 SYS_shutdown,	 SYS_getsockopt,
		SYS_setsockopt, SYS_getsockname, SYS_getpeername, SYS_preadv,	 SYS_pwritev,
		SYS_preadv2,	SYS_pwritev2,	 SYS_dup,	 SYS_dup2,	 SYS_dup3,
		SYS_statx,	SYS_faccessat,	 SYS_faccessat2, SYS_readlinkat, SYS_mkdirat,
		SYS_unlinkat,	SYS_renameat,	 SYS_renameat2,	 SYS_ftruncate,	 SYS_fallocate,
		SYS_fsync,	SYS_fdatasync,	 SYS_fadvise64,	 SYS_flock,	 SYS_sendfile,
		SYS_ppoll,	SYS_select,	 SYS_pselect6,	 SYS_epoll_ctl,	 SYS_epoll_wait,
		SYS_eventfd2,	SYS_pipe2,	 SYS_socket,	 SYS_socketpair, SYS_connect,
		SYS_bind,	SYS_listen,	 SYS_accept,	 SYS_accept4,	 SYS_recvmmsg,
		SYS_sendmmsg,	SYS_epoll_create1, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_epoll_create,
		SYS_eventfd,	SYS_timerfd_create, SYS_timerfd_settime, SYS_timerfd_gettime, SYS_pipe,
		SYS_copy_file_range
	};
	char buf[8] = "x";

	for (unsigned i = 0; i < sizeof(outside) / sizeof(outside[0]); i++)
		CHECK_MSG(syscall(outside[i], (long)(intptr_t)arg, buf, 1L, 0L, 0L, 0L) == -1 &&
				  errno == ENOSYS,
			  "number %ld: errno %d", outside[i], errno);
	return NULL;
}

ST_FN(writes_one)
{
	char c = 'x';

	return (void *)(intptr_t)(write((int)(intptr_t)arg, &c, 1) == 1 ? 1 : -errno);
}

ST_FN(gets_pid)
{
	return (void *)(intptr_t)getpid();
}

/* All that are named in the manual page of the table. */
static void mark_known(unsigned char known[512])
{
	struct sthread_policy *p = st_policy();
	unsigned n = 0;

	for (long nr = 0; nr < 512; nr++) {
		known[nr] = sthread_policy_syscall(p, nr, STHREAD_ALLOW) == 0;
		n += known[nr];
	}
	CHECK_GT(n, 50u);
	CHECK(known[SYS_read] && known[SYS_socket] && !known[SYS_ptrace]);
	sthread_policy_destroy(p);
}

static void killed_by_policy(int fd)
{
	struct sthread_policy *p = st_policy();
	struct sthread_result r;

	st_grant(p, fd, STHREAD_FD_WRITE);
	r = st_call(p, writes_one, (void *)(intptr_t)fd);
	ST_RETURNED(&r, -ENOSYS);
	st_allow(p, SYS_write);
	r = st_call(p, writes_one, (void *)(intptr_t)fd);
	ST_RETURNED(&r, 1);
	st_action(p, SYS_write, STHREAD_DENY_KILL);
	r = st_call(p, writes_one, (void *)(intptr_t)fd);
	ST_DENIED(&r, SYS_write);
	CHECK_HAS(st_words(&r), "writes_one");
	CHECK_HAS(st_words(&r), "ended by its policy");
	st_others_live();
	r = st_run(p, writes_one, (void *)(intptr_t)fd);
	ST_DENIED(&r, SYS_write);
	st_action(p, SYS_write, STHREAD_DENY_ERRNO);
	r = st_run(p, writes_one, (void *)(intptr_t)fd);
	ST_RETURNED(&r, -ENOSYS);

	/* One that is answered without leaving ring 0 is denied all the same. */
	r = st_call(p, gets_pid, NULL);
	ST_END(&r, STHREAD_RETURNED);
	st_action(p, SYS_getpid, STHREAD_DENY_KILL);
	r = st_call(p, gets_pid, NULL);
	ST_DENIED(&r, SYS_getpid);
	st_action(p, SYS_getpid, STHREAD_DENY_ERRNO);
	r = st_call(p, gets_pid, NULL);
	ST_RETURNED(&r, -ENOSYS); /* the C library expects no error */

	/* Numbers that are not in the table, all together. */
	r = st_call(p, calls_number, (void *)SYS_ptrace);
	ST_RETURNED(&r, -1);
	CHECK_ERR(sthread_policy_syscall(p, SYS_ptrace, STHREAD_DENY_KILL), -EINVAL);
	CHECK_ERR(sthread_policy_syscall(p, -1, STHREAD_ALLOW), -EINVAL);
	st_action(p, -1, STHREAD_DENY_KILL);
	r = st_call(p, calls_number, (void *)SYS_ptrace);
	ST_DENIED(&r, SYS_ptrace);
	r = st_run(p, calls_number, (void *)-7L);
	ST_DENIED(&r, -7);
	r = st_call(p, calls_number, (void *)(1L << 32));
	if (stubs) /* SYS_read, which is not granted */
		ST_RETURNED(&r, -1);
	else
		ST_DENIED(&r, 1L << 32);
	r = st_call(p, calls_number, (void *)SYS_sched_yield);
	ST_RETURNED(&r, 0);
	st_others_live();
	sthread_policy_destroy(p);
}

int main(void)
{
	static unsigned char known[512];
	struct sthread_policy *p;
	struct sthread_result r;
	int fds[2];

	CHECK(pipe2(fds, O_NONBLOCK) == 0);
	/* Marked before the checkpoint: the table is needed inside. */
	mark_known(known);
	stubs = test_placement() == TEST_PLACEMENT_PROCESS;
	st_init();
	ST_PASSES(NULL, tries_all_numbers, known);
	ST_PASSES(st_policy_all_calls(), tries_all_numbers, known);
	ST_PASSES(NULL, dangerous_calls, (intptr_t)getppid());
	ST_PASSES(st_policy_all_calls(), dangerous_calls, (intptr_t)getppid());
	r = st_run(NULL, kills_master, (void *)(intptr_t)getpid());
	ST_ABORTED(&r, "");
	p = st_policy();
	st_grant(p, fds[1], STHREAD_FD_ALL);
	ST_PASSES(p, calls_not_granted, (intptr_t)fds[1]);
	st_others_live();
	killed_by_policy(fds[1]);
	sthread_fini();
	return TEST_PASSED;
}
