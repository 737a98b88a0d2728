// SPDX-License-Identifier: MIT
/*
 * What a compartment is told of itself, how it ends itself, and how it sleeps: through stray
 * signals, but not through a kill. World: host.
 */
#include <asm/prctl.h>
#include <asm/unistd.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <time.h>

#include "tests/test.h"
#include "tests/unit/syscall_fake.h"

#define BUF (FAKE_DATA + 8 * PAGE)

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t put_time(clockid_t from, long ms)
{
	struct timespec t = { 0, 0 };

	if (from >= 0)
		clock_gettime(from, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += ms % 1000 * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return fake_put(FAKE_DATA, &t, sizeof(t));
}

static void identity(void)
{
	struct sys_answer a[SYS_ANSWERS];
	struct sthread_policy *p;
	struct utsname u, mine;
	struct sysinfo si;
	struct rlimit l;
	unsigned n;

	CHECK_EQ(CALL(__NR_getpid), FAKE_PID);
	CHECK_EQ(CALL(__NR_gettid), FAKE_PID);
	CHECK_EQ(CALL(__NR_set_tid_address, 1), FAKE_PID);
	CHECK_EQ(CALL(__NR_getppid), 0);
	CHECK_EQ(CALL(__NR_getuid), SYS_UID);
	CHECK_EQ(CALL(__NR_getegid), SYS_UID);
	CHECK_OK(CALL(__NR_uname, FAKE_COW));
	memcpy(&u, fake_host(FAKE_COW), sizeof(u));
	CHECK_STR(u.sysname, "Linux");
	uname(&mine);
	CHECK(strcmp(u.nodename, mine.nodename) != 0);
	CHECK_OK(CALL(__NR_sysinfo, FAKE_DATA));
	memcpy(&si, fake_host(FAKE_DATA), sizeof(si));
	CHECK_EQ(si.totalram, 64 << 20);
	CHECK_OK(CALL(__NR_prlimit64, 0, RLIMIT_NOFILE, 0, FAKE_DATA));
	memcpy(&l, fake_host(FAKE_DATA), sizeof(l));
	CHECK_EQ(l.rlim_cur, 64);
	CHECK_OK(CALL(__NR_prlimit64, FAKE_PID, RLIMIT_STACK, 0, 0));
	CHECK_OK(CALL(__NR_getrlimit, RLIMIT_STACK, FAKE_DATA));
	memcpy(&l, fake_host(FAKE_DATA), sizeof(l));
	CHECK_EQ(l.rlim_cur, 1 << 20);
	CHECK_ERR(CALL(__NR_prlimit64, 0, RLIMIT_NOFILE, FAKE_DATA, 0), -EPERM);
	CHECK_ERR(CALL(__NR_prlimit64, getppid(), RLIMIT_NOFILE, 0, FAKE_DATA), -ESRCH);
	CHECK_ERR(CALL(__NR_prlimit64, 0, 16, 0, FAKE_DATA), -EINVAL);
	CHECK_EQ(CALL(__NR_sched_getaffinity, 0, 128, FAKE_DATA), 8);
	CHECK_EQ(*(uint64_t *)(void *)fake_host(FAKE_DATA), 1);
	CHECK_EQ(CALL(__NR_sched_getaffinity, 0, UINT64_MAX, FAKE_DATA), 8);
	CHECK_ERR(CALL(__NR_sched_getaffinity, 0, 7, FAKE_DATA), -EINVAL);
	CHECK_ERR(CALL(__NR_sched_getaffinity, 1, 128, FAKE_DATA), -ESRCH);
	CHECK_OK(CALL(__NR_sched_yield));
	/* The constants for the monitor: those that are allowed. */
	n = sys_answers(&fake_ctx, a);
	CHECK_EQ(n, SYS_ANSWERS);
	for (unsigned i = 0; i < n; i++)
		CHECK_EQ(CALL(a[i].nr), (long)a[i].value);
	CHECK_OK(sthread_policy_create(&p));
	CHECK_OK(sthread_policy_syscall(p, __NR_getuid, STHREAD_DENY_KILL));
	fake_begin(p);
	sthread_policy_destroy(p);
	CHECK_EQ(sys_answers(&fake_ctx, a), SYS_ANSWERS - 1);
	fake_begin(NULL);
}

static void no_effect(void)
{
	CHECK_OK(CALL(__NR_set_robust_list, 1, 2));
	CHECK_ERR(CALL(__NR_rseq, 1, 2, 3, 4), -ENOSYS);
	memset(fake_host(FAKE_DATA), 0xff, 64);
	CHECK_OK(CALL(__NR_rt_sigaction, SIGSEGV, FAKE_NOTHING, FAKE_DATA, 8));
	for (unsigned i = 0; i < 32; i++)
		CHECK_EQ(fake_host(FAKE_DATA)[i], 0);
	CHECK_EQ(fake_host(FAKE_DATA)[32], 0xff);
	CHECK_OK(CALL(__NR_rt_sigprocmask, SIG_BLOCK, FAKE_NOTHING, FAKE_DATA + 32, 8));
	CHECK_EQ(fake_host(FAKE_DATA)[39], 0);
	CHECK_EQ(fake_host(FAKE_DATA)[40], 0xff);
	CHECK_OK(CALL(__NR_rt_sigprocmask, SIG_BLOCK, FAKE_NOTHING, 0, 8));
	CHECK_ERR(CALL(__NR_rt_sigprocmask, SIG_BLOCK, 0, FAKE_DATA, 16), -EINVAL);
	CHECK_OK(CALL(__NR_sigaltstack, 0, FAKE_DATA));
	CHECK_ERR(CALL(__NR_clone, SIGCHLD), -EAGAIN);
	CHECK_ERR(CALL(__NR_clone3, FAKE_DATA, 88), -EAGAIN);
	CHECK_ERR(CALL(__NR_fork), -EAGAIN);
	CHECK_ERR(CALL(__NR_vfork), -EAGAIN);
	CHECK_ERR(CALL(__NR_execve, FAKE_DATA, 0, 0), -EACCES);
	CHECK_ERR(CALL(__NR_arch_prctl, 0x3001, FAKE_DATA), -EINVAL);
	CHECK_ERR(CALL(__NR_arch_prctl, ARCH_SET_FS, FAKE_DATA), -EPERM);
}

static void endings(void)
{
	CHECK_EQ(CALL_ENDS(__NR_exit, 3), STHREAD_EXITED);
	CHECK_EQ(fake_ctx.value, 3);
	CHECK_EQ(CALL_ENDS(__NR_exit_group, 0xdead000000000007), STHREAD_EXITED);
	CHECK_EQ(fake_ctx.value, 7);
	CHECK_EQ(CALL_ENDS(DUNE_SYS_RETURN, UINT64_MAX), STHREAD_RETURNED);
	CHECK_EQ(fake_ctx.value, UINT64_MAX);
	CHECK_EQ(CALL_ENDS(__NR_tgkill, FAKE_PID, FAKE_PID, SIGABRT), STHREAD_ABORTED);
	CHECK_EQ(fake_ctx.value, SIGABRT);
	CHECK_EQ(CALL_ENDS(__NR_tgkill, FAKE_PID, 77, SIGABRT),
		 STHREAD_ABORTED); /* the tid of the image */
	CHECK_EQ(CALL_ENDS(__NR_tkill, FAKE_PID, SIGKILL), STHREAD_ABORTED);
	CHECK_EQ(CALL_ENDS(__NR_kill, FAKE_PID, SIGTERM), STHREAD_ABORTED);
	CHECK_EQ(CALL_ENDS(__NR_kill, 0, SIGSTOP), STHREAD_ABORTED);
	CHECK_OK(CALL(__NR_kill, FAKE_PID, 0));
	CHECK_OK(CALL(__NR_tgkill, FAKE_PID, FAKE_PID, SIGCHLD));
	CHECK_ERR(CALL(__NR_kill, FAKE_PID, 65), -EINVAL);
	CHECK_ERR(CALL(__NR_kill, FAKE_PID, -1), -EINVAL);
	/* Others, by any name: this very process, its group, everybody. */
	CHECK_ERR(CALL(__NR_kill, getpid(), SIGKILL), -ESRCH);
	CHECK_ERR(CALL(__NR_kill, 1, 0), -ESRCH);
	CHECK_ERR(CALL(__NR_kill, -1, SIGKILL), -ESRCH);
	CHECK_ERR(CALL(__NR_kill, -getpgrp(), SIGKILL), -ESRCH);
	CHECK_ERR(CALL(__NR_tkill, getpid(), SIGKILL), -ESRCH);
	CHECK_ERR(CALL(__NR_tgkill, getpid(), getpid(), SIGKILL), -ESRCH);
	CHECK_ERR(CALL(__NR_tgkill, FAKE_PID, 1, SIGKILL), -ESRCH);
	CHECK_ERR(CALL(__NR_tgkill, -1, -1, SIGKILL), -EINVAL);
}

static void clocks(void)
{
	struct timespec t, mine;

	CHECK_OK(CALL(__NR_clock_gettime, CLOCK_MONOTONIC, FAKE_COW + PAGE - 8));
	clock_gettime(CLOCK_MONOTONIC, &mine);
	CHECK_OK(uaccess_copy_in(&fake_ctx.mem, &t, dune_gva(FAKE_COW + PAGE - 8), sizeof(t)));
	CHECK_LE(mine.tv_sec - t.tv_sec, 1);
	CHECK_OK(CALL(__NR_clock_getres, CLOCK_REALTIME, 0));
	CHECK_OK(CALL(__NR_gettimeofday, FAKE_DATA, FAKE_DATA + 16));
	CHECK_OK(CALL(__NR_gettimeofday, 0, FAKE_DATA));
	CHECK_OK(CALL(__NR_gettimeofday, 0, 0));
	CHECK_LE(time(NULL) - CALL(__NR_time, 0), 1);
	CHECK_EQ(CALL(__NR_time, FAKE_DATA), *(time_t *)(void *)fake_host(FAKE_DATA));
	CHECK_ERR(CALL(__NR_clock_gettime, 12, FAKE_DATA), -EINVAL);
	CHECK_ERR(CALL(__NR_clock_gettime, ~(unsigned)getpid() << 3 | 2, FAKE_DATA),
		  -EINVAL); /* another process's */
	CHECK_ERR(CALL(__NR_clock_gettime, CLOCK_REALTIME, FAKE_RO), -EFAULT);
	CHECK_ERR(CALL(__NR_clock_gettime, CLOCK_REALTIME, 0), -EFAULT);
}

static void randomness(void)
{
	static const unsigned char zero[64];

	CHECK_EQ(CALL(__NR_getrandom, FAKE_COW + PAGE - 32, 64, 0), 64);
	CHECK(memcmp(fake_host(FAKE_COW + PAGE - 32), zero, 32) &&
	      memcmp(fake_host(FAKE_COW + PAGE), zero, 32));
	CHECK_EQ(*fake_template(FAKE_COW + PAGE), 0xcc);
	CHECK_EQ(CALL(__NR_getrandom, FAKE_DATA, FAKE_DATA_PAGES * PAGE, 0), UACCESS_PAGES * PAGE);
	CHECK_EQ(CALL(__NR_getrandom, FAKE_DATA, 0, GRND_NONBLOCK), 0);
	CHECK_ERR(CALL(__NR_getrandom, FAKE_RO, 8, 0), -EFAULT);
	CHECK_ERR(CALL(__NR_getrandom, FAKE_DATA, 8, 8), -EINVAL);
}

static void futexes(void)
{
	uint32_t v = 5;
	uint64_t t0;

	fake_put(BUF, &v, sizeof(v));
	CHECK_ERR(CALL(__NR_futex, BUF, FUTEX_WAIT, 4, 0), -EAGAIN);
	CHECK_OK(CALL(__NR_futex, BUF, FUTEX_WAKE, 1));
	CHECK_OK(CALL(__NR_futex, BUF, FUTEX_WAKE_PRIVATE, INT32_MAX));
	CHECK_OK(CALL(__NR_futex, BUF, FUTEX_WAKE_BITSET_PRIVATE, 1, 0, 0, UINT32_MAX));
	t0 = now_ms();
	CHECK_ERR(CALL(__NR_futex, BUF, FUTEX_WAIT_PRIVATE, 5, put_time(-1, 50)), -ETIMEDOUT);
	CHECK_GE(now_ms() - t0, 50);
	CHECK_ERR(CALL(__NR_futex, BUF, FUTEX_WAIT_BITSET_PRIVATE, 5, put_time(CLOCK_MONOTONIC, 50),
		       0, UINT32_MAX),
		  -ETIMEDOUT);
	CHECK_ERR(CALL(__NR_futex, BUF, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 5,
		       put_time(CLOCK_REALTIME, 50), 0, UINT32_MAX),
		  -ETIMEDOUT);
	CHECK_GE(now_ms() - t0, 150);
	CHECK_ERR(CALL(__NR_futex, BUF, FUTEX_WAIT_BITSET, 5, 0, 0, 0), -EINVAL);
	CHECK_ERR(CALL(__NR_futex, BUF + 1, FUTEX_WAKE, 1), -EINVAL);
	CHECK_ERR(CALL(__NR_futex, FAKE_NOTHING, FUTEX_WAKE, 1), -EFAULT);
	CHECK_ERR(CALL(__NR_futex, FAKE_NOTHING, FUTEX_WAIT, 0, 0), -EFAULT);
	CHECK_ERR(CALL(__NR_futex, (uintptr_t)&v & ~3UL, FUTEX_WAKE, 1),
		  -EFAULT); /* the master's */
	CHECK_ERR(CALL(__NR_futex, BUF, FUTEX_WAIT, 5, FAKE_NOTHING), -EFAULT);
	CHECK_ERR(CALL(__NR_futex, BUF, FUTEX_LOCK_PI, 0, 0), -ENOSYS);
	CHECK_ERR(CALL(__NR_futex, BUF, 0x1000, 0, 0), -EINVAL);
	CHECK_ERR(CALL(__NR_futex, BUF, FUTEX_CMP_REQUEUE, 1, 1, BUF, 4), -EAGAIN);
	CHECK_OK(CALL(__NR_futex, BUF, FUTEX_CMP_REQUEUE, 1, 1, BUF, 5));
}

/* ---- signals: stray ones, and the one that means a kill ---- */

static void handler(int sig)
{
	(void)sig;
}

struct pest {
	pthread_t victim, self;
	int times;
	bool kill;
};

static void *pester(void *arg)
{
	const struct timespec ms5 = { 0, 5000000 };
	struct pest *p = arg;

	for (int i = 0; i < p->times; i++) {
		nanosleep(&ms5, NULL);
		pthread_kill(p->victim, SIGUSR1);
	}
	if (p->kill) {
		atomic_store(&fake_stop, true);
		for (int i = 0; i < 20; i++) {
			pthread_kill(p->victim, SIGUSR1);
			nanosleep(&ms5, NULL);
		}
	}
	return NULL;
}

static struct pest pest_start(int times, bool kill_it)
{
	static struct pest p;

	fake_direct(true); /* the victim is this thread */
	p = (struct pest){ .victim = pthread_self(), .times = times, .kill = kill_it };
	CHECK_OK(pthread_create(&p.self, NULL, pester, &p));
	return p;
}

static void pest_end(struct pest *p)
{
	CHECK_OK(pthread_join(p->self, NULL));
	atomic_store(&fake_stop, false);
	fake_direct(false);
}

static void sleeping(void)
{
	struct sthread_policy *all = fake_policy_all();
	struct sigaction sa = { .sa_handler = handler }; /* no SA_RESTART */
	struct pest p;
	uint64_t t0;
	uint32_t v = 0;
	int s[2], r;

	sigaction(SIGUSR1, &sa, NULL);
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	CHECK_OK(sthread_policy_fd(all, s[0], STHREAD_FD_ALL));
	fake_begin(all);
	sthread_policy_destroy(all);

	CHECK_ERR(CALL(__NR_nanosleep, put_time(-1, -1), 0), -EINVAL);
	CHECK_ERR(CALL(__NR_nanosleep, FAKE_RO, 0), -EINVAL);
	CHECK_ERR(CALL(__NR_nanosleep, FAKE_NOTHING, 0), -EFAULT);
	CHECK_ERR(CALL(__NR_clock_nanosleep, CLOCK_THREAD_CPUTIME_ID, 0, put_time(-1, 1), 0),
		  -EINVAL);

	/* Stray signals neither end a sleep early nor make it long. */
	t0 = now_ms();
	p = pest_start(30, false);
	CHECK_OK(CALL(__NR_nanosleep, put_time(-1, 100), 0));
	CHECK_OK(CALL(__NR_clock_nanosleep, CLOCK_REALTIME, 0, put_time(-1, 100), 0));
	CHECK_OK(CALL(__NR_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME,
		      put_time(CLOCK_MONOTONIC, 50), 0));
	CHECK_EQ(CALL(__NR_poll, FAKE_NOTHING, 0, 50), 0);
	pest_end(&p);
	CHECK_GE(now_ms() - t0, 300);
	CHECK_LT(now_ms() - t0, 3000);

	/* A kill ends whatever blocks. */
	static const struct {
		long nr;
		uint64_t arg[6];
	} blocking[] = {
		{ __NR_read, { 1, BUF, 10 } },
		{ __NR_recvfrom, { 1, BUF, 10, MSG_WAITALL } },
		{ __NR_futex, { BUF, FUTEX_WAIT, 0, 0 } },
		{ __NR_poll, { 0, 0, UINT64_MAX } },
		{ __NR_poll, { 0, 0, 100000 } },
		{ __NR_nanosleep, { FAKE_DATA + 64 } },
		{ __NR_clock_nanosleep, { CLOCK_MONOTONIC, 0, FAKE_DATA + 64 } },
	};

	fake_put(FAKE_DATA + 64, &(struct timespec){ 1000, 0 }, sizeof(struct timespec));
	fake_put(BUF, &v, sizeof(v));
	for (unsigned i = 0; i < sizeof(blocking) / sizeof(blocking[0]); i++) {
		uint64_t arg[6];

		memcpy(arg, blocking[i].arg, sizeof(arg));
		if (arg[0] == 1 && blocking[i].nr != __NR_clock_nanosleep)
			arg[0] = (uint64_t)s[0];
		t0 = now_ms();
		p = pest_start(3, true);
		r = (int)fake_call(blocking[i].nr, arg);
		CHECK_MSG(r == -EINTR, "call %ld: %d", blocking[i].nr, r);
		pest_end(&p);
		CHECK_LT(now_ms() - t0, 2000);
	}
	close(s[0]);
	close(s[1]);
	fake_begin(NULL);
	CHECK_EQ(fd_objects(), 0);
}

int main(void)
{
	fake_reset();
	fake_begin(NULL);
	identity();
	no_effect();
	endings();
	clocks();
	randomness();
	futexes();
	sleeping();
	fake_end();
	sys_ctx_fini(&fake_ctx);
	return TEST_PASSED;
}
