/* SPDX-License-Identifier: MIT */
/*
 * st_hosts.c - places where stub processes are asked for that are poor in something: rights, limits, calls.  Compartments
 * work there, or sthread_init() gives the one errno that its manual names for it, and the program goes on as if it had
 * not asked: same descriptors, mappings, handlers, no child, no signal.  World: host; what is marked runs inside.
 */
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/kvm/st_life.h"

/* ---- inside ------------------------------------------------------------------------------------------------ */

static void *touches(void *arg)
{
	char *p = malloc(100000);

	memset(p, 1, 100000);
	free(p);
	return (char *)arg + 1;
}

/* ---- the program ----------------------------------------------------------------------------------------------- */

static volatile sig_atomic_t signals;

static void on_signal(int sig)
{
	signals = sig;
}

static void limit(int what, rlim_t value)
{
	const struct rlimit l = { value, value };

	CHECK(!setrlimit(what, &l));
}

/* A filter that allows all but `nr`, with which it does `action`. */
static int filter(unsigned nr, uint32_t action, unsigned flags)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog prog = { sizeof(code) / sizeof(code[0]), code };

	CHECK(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
}

static void plain(void)
{
}

static void no_capabilities(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { { 0 } };

	CHECK(!syscall(SYS_capset, &head, none));
}

static void nobody(void)
{
	if (!getuid())
		CHECK(!setresgid(65534, 65534, 65534) && !setresuid(65534, 65534, 65534));
}

/* Of another user's, so that the count is ours alone; root is not limited. */
static void no_processes(void)
{
	limit(RLIMIT_NPROC, 1);
	if (!getuid())
		CHECK(!setresgid(61234, 61234, 61234) && !setresuid(61234, 61234, 61234));
}

static void small_files(void)
{
	limit(RLIMIT_FSIZE, 1 << 20);
}

static void few_descriptors(void)
{
	limit(RLIMIT_NOFILE, 12);
}

static void little_address_space(void)
{
	limit(RLIMIT_AS, 1UL << 30);
}

static void no_seccomp(void)
{
	CHECK(!filter(SYS_seccomp, SECCOMP_RET_ERRNO | EINVAL, 0));
}

static void seccomp_denied(void)
{
	CHECK(!filter(SYS_seccomp, SECCOMP_RET_ERRNO | EPERM, 0));
}

static void watched(void)
{
	CHECK_GE(filter(SYS_acct, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER), 0);
}

static void no_pidfd(void)
{
	CHECK(!filter(SYS_pidfd_open, SECCOMP_RET_ERRNO | ENOSYS, 0));
}

static void no_files(void)
{
	CHECK(!filter(SYS_memfd_create, SECCOMP_RET_ERRNO | ENOMEM, 0));
}

static void clone_fails(void)
{
	CHECK(!filter(SYS_clone, SECCOMP_RET_ERRNO | EAGAIN, 0));
}

/* What a container runtime or a service manager denies: the calls that administer the machine. */
static void container(void)
{
	static const unsigned denied[] = {
		SYS_mount, SYS_umount2, SYS_pivot_root, SYS_reboot, SYS_swapon, SYS_swapoff, SYS_init_module, SYS_delete_module,
		SYS_kexec_load, SYS_bpf, SYS_perf_event_open, SYS_ptrace, SYS_userfaultfd, SYS_keyctl, SYS_add_key,
		SYS_request_key, SYS_unshare, SYS_setns, SYS_open_by_handle_at, SYS_personality, SYS_iopl, SYS_ioperm,
		SYS_modify_ldt, SYS_settimeofday, SYS_clock_settime, SYS_acct, SYS_quotactl, SYS_nfsservctl, SYS_vhangup,
		SYS_process_vm_readv, SYS_process_vm_writev, SYS_kcmp, SYS_io_uring_setup,
	};

	for (size_t i = 0; i < sizeof(denied) / sizeof(denied[0]); i++)
		CHECK(!filter(denied[i], SECCOMP_RET_ERRNO | EPERM, 0));
}

static const struct place {
	const char *name;
	void (*go)(void);
	int err;       /* of sthread_init(); 0: it works */
} places[] = {
	{ "as it is", plain, 0 },
	{ "without capabilities", no_capabilities, 0 },
	{ "as nobody", nobody, 0 },
	{ "one process", no_processes, -EAGAIN },
	{ "small files", small_files, -EFBIG },
	{ "few descriptors", few_descriptors, -EMFILE },
	{ "little address space", little_address_space, -ENOMEM },
	{ "a kernel without seccomp", no_seccomp, -ENOTSUP },
	{ "seccomp denied", seccomp_denied, -ENOTSUP },
	{ "with a listener around it", watched, -ENOTSUP },
	{ "a kernel without pidfds", no_pidfd, -ENOTSUP },
	{ "no memory for files", no_files, -ENOMEM },
	{ "no clone", clone_fails, -EAGAIN },
	{ "like a container", container, 0 },
};

static void in_place(const struct place *at)
{
	const struct sthread_config cfg = { .size = sizeof(cfg), .machine = STHREAD_MACHINE_PROCESS };
	struct sthread_result r;
	struct life was;

	for (int sig = 1; sig < 32; sig++)
		if (sig != SIGKILL && sig != SIGSTOP)
			signal(sig, on_signal);
	at->go();
	was = life_take(LIFE_SIGNAL);
	CHECK_MSG(at->err == 0 || sthread_init(&cfg) == at->err, "%s: %d", at->name, sthread_init(&cfg));
	for (int i = 0; i < 2 && !at->err; i++) {
		int err = sthread_init(&cfg);

		CHECK_MSG(!err, "%s: %s", at->name, strerror(-err));
		r = st_call(NULL, touches, (void *)1);
		ST_RETURNED(&r, 2);
		r = st_run(NULL, touches, (void *)2);
		ST_RETURNED(&r, 3);
		sthread_fini();
	}
	LIFE_SAME(&was, LIFE_SIGNAL, 8);
	CHECK_MSG(!signals, "%s: signal %d", at->name, (int)signals);
	CHECK(waitpid(-1, NULL, WNOHANG | __WALL) < 0);
	CHECK_EQ(errno, ECHILD);
}

int main(void)
{
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		pid_t pid;
		int status;

		NOTE("%s", places[i].name);
		pid = fork();
		CHECK(pid >= 0);
		if (!pid) {
			in_place(&places[i]);
			_exit(TEST_PASSED);
		}
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK_MSG(WIFEXITED(status) && !WEXITSTATUS(status), "%s: wait status %#x", places[i].name, (unsigned)status);
	}
	return TEST_PASSED;
}
