/* SPDX-License-Identifier: MIT */
/*
 * st_hosts.c - places where stub processes are asked for that are poor in something: rights, limits, calls, files.
 * Compartments work there, or sthread_init() gives the one errno that its manual names for it, and the program goes on
 * as if it had not asked: same descriptors, mappings, handlers, no child, no signal.  World: host; what is marked runs
 * inside.
 */
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/attack/allow_lists.h"
#include "tests/kvm/st_life.h"
#include "tests/st_gate.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#define MOUNT_SETATTR 442
#define X32 0x40000000U
/* All that makes a namespace, in clone()'s flags. */
#define NAMESPACES 0x7e020000U

/* ---- inside ------------------------------------------------------------------------------------------------ */

static void *touches(void *arg)
{
	char *p = malloc(100000);

	memset(p, 1, 100000);
	free(p);
	return (char *)arg + 1;
}

/* Every kind of the library's own calls: to gates, for blocks of a tag, for compartments of its own, the end. */
static void *asks(void *arg)
{
	struct sthread_policy *p;
	struct sthread_result r;
	char *block;

	CHECK_EQ(gate_word("answers"), 42);
	block = sthread_malloc(arg, 100);
	CHECK(block != NULL);
	memset(block, 1, 100);
	CHECK(sthread_tag_of(block) == arg);
	/* The kernel's answer into memory that is granted, from memory that is constant. */
	CHECK_EQ(syscall(SYS_clock_getres, CLOCK_MONOTONIC, block), 0);
	CHECK_EQ(((struct timespec *)block)->tv_sec, 0);
	CHECK_EQ(write(-1, "a constant", 10), -1);
	sthread_free(block);
	CHECK_OK(sthread_policy_create(&p));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_MEMORY, 8 << 20));
	CHECK_OK(sthread_policy_tag(p, arg, STHREAD_READ));
	CHECK_OK(sthread_call(p, touches, (void *)5, &r));
	ST_RETURNED(&r, 6);
	sthread_policy_destroy(p);
	sthread_exit((void *)7);
}

static ssize_t answers(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted, (void)in, (void)in_len;
	return gate_answer(out, out_cap, 42);
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

/* ---- allow lists ----------------------------------------------------------------------------------------------- */

struct program {
	struct sock_filter code[1024];
	unsigned short n;
};

static void put(struct program *p, uint16_t code, uint32_t k)
{
	CHECK(p->n < sizeof(p->code) / sizeof(p->code[0]));
	p->code[p->n++] = (struct sock_filter)BPF_STMT(code, k);
}

/* The one instruction that follows is executed where what was loaded is `k`, by this comparison. */
static void where(struct program *p, uint16_t comparison, uint32_t k)
{
	CHECK(p->n < sizeof(p->code) / sizeof(p->code[0]));
	p->code[p->n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | comparison | BPF_K, k, 0, 1);
}

static void load(struct program *p, size_t at)
{
	put(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)at);
}

static void answer(struct program *p, uint32_t action)
{
	put(p, BPF_RET | BPF_K, action);
}

/* `foreign`: what becomes of calls by int $0x80, and of x32's. */
static void begin(struct program *p, uint32_t foreign)
{
	p->n = 0;
	load(p, offsetof(struct seccomp_data, arch));
	p->code[p->n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
	answer(p, foreign);
	load(p, offsetof(struct seccomp_data, nr));
	where(p, BPF_JGE, X32);
	answer(p, foreign);
}

static void allow(struct program *p, const unsigned *nr, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		where(p, BPF_JEQ, nr[i]);
		answer(p, SECCOMP_RET_ALLOW);
	}
}

static void install(struct program *p, uint32_t all_else)
{
	struct sock_fprog prog = { 0, p->code };

	answer(p, all_else);
	prog.len = p->n;
	CHECK(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog));
	/* The number of a call that no kernel has. */
	CHECK(syscall(1023) == -1 && errno == EPERM);
}

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))
#define DENIED (SECCOMP_RET_ERRNO | EPERM)

/* For one call: `n` instructions, which end in an answer. */
static void only(struct program *p, unsigned nr, unsigned n)
{
	CHECK_LT(n, 256);
	p->code[p->n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, (uint8_t)n);
}

/* x32 has a list of its own in Docker, where the same numbers mean the same for the most part: here it has none. */
static void docker(void)
{
	static const unsigned personalities[] = { 0x0, 0x8, 0x20000, 0x20008, 0xffffffff };
	static struct program p;

	begin(&p, DENIED);
	only(&p, SYS_clone, 5);
	load(&p, offsetof(struct seccomp_data, args[0]));
	put(&p, BPF_ALU | BPF_AND | BPF_K, NAMESPACES);
	where(&p, BPF_JEQ, 0);
	answer(&p, SECCOMP_RET_ALLOW);
	answer(&p, DENIED);
	only(&p, SYS_clone3, 1);
	answer(&p, SECCOMP_RET_ERRNO | ENOSYS);
	only(&p, SYS_socket, 4);
	load(&p, offsetof(struct seccomp_data, args[0]));
	where(&p, BPF_JEQ, 40 /* AF_VSOCK */);
	answer(&p, DENIED);
	answer(&p, SECCOMP_RET_ALLOW);
	only(&p, SYS_personality, 2 * COUNT(personalities) + 2);
	load(&p, offsetof(struct seccomp_data, args[0]));
	allow(&p, personalities, COUNT(personalities));
	answer(&p, DENIED);
	allow(&p, docker_default, COUNT(docker_default));
	install(&p, DENIED);
	CHECK(syscall(SYS_clone3, NULL, 0) == -1 && errno == ENOSYS);
	CHECK(syscall(SYS_unshare, 0) == -1 && errno == EPERM);
}

/* SystemCallFilter=@system-service, and what else is named; SystemCallErrorNumber=EPERM.  `foreign`: as in begin(). */
static void service(const unsigned *more, size_t n, uint32_t foreign)
{
	static struct program p;

	begin(&p, foreign);
	allow(&p, system_service, COUNT(system_service));
	allow(&p, more, n);
	install(&p, DENIED);
	CHECK(syscall(SYS_chroot, NULL) == -1 && errno == EPERM);
}

static void systemd(void)
{
	service(NULL, 0, DENIED);
	CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL) == -1 && errno == EPERM);
}

/* As the manual has it. */
static void systemd_and_seccomp(void)
{
	static const unsigned more[] = { SYS_seccomp };

	service(more, COUNT(more), DENIED);
}

/* And SystemCallArchitectures=native, which ends who makes another call. */
static void systemd_native(void)
{
	static const unsigned more[] = { SYS_seccomp };

	service(more, COUNT(more), SECCOMP_RET_KILL_PROCESS);
}

/* ---- namespaces ------------------------------------------------------------------------------------------------ */

/* New namespaces; who is not root has them in one of users.  False: not to be had here. */
static bool apart(int namespaces)
{
	if (unshare((geteuid() ? CLONE_NEWUSER : 0) | namespaces)) {
		NOTE("  no namespaces: %s", strerror(errno));
		return false;
	}
	return true;
}

/* Files are opened to be read, and only that. */
static void no_opening_to_write(void)
{
	static struct program p;

	begin(&p, DENIED);
	for (int i = 0; i < 2; i++) {
		only(&p, i ? SYS_open : SYS_openat, 5);
		load(&p, offsetof(struct seccomp_data, args[i ? 1 : 2]));
		put(&p, BPF_ALU | BPF_AND | BPF_K, O_ACCMODE | O_CREAT);
		where(&p, BPF_JEQ, 0);
		answer(&p, SECCOMP_RET_ALLOW);
		answer(&p, SECCOMP_RET_ERRNO | EROFS);
	}
	only(&p, SYS_creat, 1);
	answer(&p, SECCOMP_RET_ERRNO | EROFS);
	only(&p, 1023, 1); /* for install() */
	answer(&p, DENIED);
	install(&p, SECCOMP_RET_ALLOW);
}

/* All that is mounted, /proc and /dev/shm, too. */
static void nowhere_to_write(void)
{
	static const char *const dirs[] = { "/", "/tmp", "/var/tmp", "/dev/shm", "." };
	const struct {
		uint64_t set, clear, propagation, users;
	} attr = { .set = 1 /* MOUNT_ATTR_RDONLY */, .propagation = MS_PRIVATE };

	if (!apart(CLONE_NEWNS) || syscall(MOUNT_SETATTR, -1, "/", 0x8000 /* AT_RECURSIVE */, &attr, sizeof(attr))) {
		NOTE("  mounts stay as they are: only opening files to write is denied");
		no_opening_to_write();
	}
	for (size_t i = 0; i < COUNT(dirs); i++) {
		char name[64];
		int fd;

		snprintf(name, sizeof(name), "%s/st_hosts.%d", dirs[i], getpid());
		fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd >= 0)
			unlink(name);
		CHECK_MSG(fd < 0 && (errno == EROFS || errno == ENOENT || errno == EACCES), "%s", name);
	}
}

/*
 * vm.memfd_noexec of a pid namespace of its own, never of the machine's.  This process only waits: the first one of the
 * namespace is in that place.
 */
static void files_without_execute(const char *value)
{
	const char *const name = "/proc/sys/vm/memfd_noexec";
	int status, fd;
	struct stat st;
	pid_t pid;

	if (access(name, F_OK)) {
		NOTE("  no such setting: Linux before 6.3");
		return;
	}
	if (!apart(CLONE_NEWPID))
		return;
	pid = fork();
	CHECK(pid >= 0);
	if (pid) {
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : TEST_FAILED);
	}
	CHECK_EQ(getpid(), 1);
	signals = 0;
	fd = open(name, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, value, 1) != 1) {
		NOTE("  it cannot be set here: %s", strerror(errno));
		close(fd);
		return;
	}
	close(fd);
	fd = memfd_create("plain", MFD_CLOEXEC);
	CHECK(fd >= 0 && !fstat(fd, &st) && !(st.st_mode & 0111));
	close(fd);
	fd = memfd_create("executed", MFD_CLOEXEC | MFD_EXEC);
	CHECK(fd >= 0 ? *value == '1' : *value == '2' && errno == EACCES);
	close(fd);
}

static void files_not_executed_unasked(void)
{
	files_without_execute("1");
}

static void files_not_executed(void)
{
	files_without_execute("2");
}

/* ---- who may look at whom -------------------------------------------------------------------------------------- */

/* The setting is the machine's and is let alone: what it denies to others is denied to all. */
static void no_tracing(void)
{
	static const unsigned denied[] = {
		SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_pidfd_getfd, SYS_kcmp,
	};

	for (size_t i = 0; i < COUNT(denied); i++) {
		CHECK(!filter(denied[i], DENIED, 0));
		CHECK(syscall(denied[i], 0, 0, 0, 0, 0, 0) == -1 && errno == EPERM);
	}
}

static void not_dumpable(void)
{
	CHECK(!prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
}

static const struct place {
	const char *name;
	void (*go)(void);
	int err;       /* of sthread_init(); 0: it works */
} places[] = {
	{ "like a container", container, 0 },
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
	{ "Docker's default filter", docker, 0 },
	{ "systemd's @system-service", systemd, -ENOTSUP },
	{ "systemd's @system-service, and seccomp", systemd_and_seccomp, 0 },
	{ "the same, and native calls only", systemd_native, 0 },
	{ "nowhere to write", nowhere_to_write, 0 },
	{ "files executed only where asked for", files_not_executed_unasked, 0 },
	{ "files never executed", files_not_executed, 0 },
	{ "no tracing", no_tracing, 0 },
	{ "not dumpable", not_dumpable, 0 },
};

/* What compartments ask of the library reaches it. */
static void all_calls(void)
{
	struct sthread_policy *gates, *p = st_policy();
	struct sthread_gate *gate;
	struct sthread_result r;
	struct sthread_tag *tag;

	CHECK_OK(sthread_tag_create(&tag, "tag", 1 << 16));
	gates = st_policy();
	gate = GATE(.name = "answers", .fn = answers, .policy = gates);
	CHECK_OK(sthread_policy_gate(p, gate));
	CHECK_OK(sthread_policy_tag(p, tag, STHREAD_READ | STHREAD_WRITE));
	for (int i = 0; i < 2; i++) {
		r = st_both[i](p, asks, tag);
		ST_RETURNED(&r, 7);
	}
	sthread_policy_destroy(p);
	sthread_policy_destroy(gates);
	sthread_gate_destroy(gate);
	CHECK_OK(sthread_tag_destroy(tag));
}

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
		all_calls();
		sthread_fini();
		if (!i) { /* what the C library keeps of threads that were: there once */
			CHECK_LE(life_maps(NULL), was.maps + 32);
			was.maps = life_maps(NULL);
		}
	}
	LIFE_SAME(&was, LIFE_SIGNAL, 8);
	CHECK_MSG(!signals, "%s: signal %d", at->name, (int)signals);
	CHECK(waitpid(-1, NULL, WNOHANG | __WALL) < 0);
	CHECK_EQ(errno, ECHILD);
}

int main(void)
{
	for (size_t i = 0; i < COUNT(places); i++) {
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
