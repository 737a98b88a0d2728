/* SPDX-License-Identifier: MIT */
/*
 * The programs of "PKU Pitfalls: Attacks on PKU-based Memory Isolation Systems" (Connor et al., USENIX Security 2020),
 * by their names there: ways around isolation within a process that lead through the kernel.  Each tries here what
 * gave it the secret, or code of its own, and has every system call allowed.  World: host; ST_FN: inside.
 */
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/uio.h>

#include "tests/st_gate.h"

#define PAGE	4096UL
#define PRIVATE (MAP_PRIVATE | MAP_ANONYMOUS)
#define CODE	0xc3 /* ret */

/* Known inside; the secret is not. */
static pid_t master;
static int root, file;

static int fails(long result)
{
	CHECK_EQ(result, -1);
	return errno;
}

static void *mapped(int prot)
{
	void *p = mmap(NULL, PAGE, prot, PRIVATE, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

ST_FN(basecase)
{
	return (void *)(uintptr_t) * (volatile unsigned char *)arg;
}

ST_FN(vm_readv)
{
	char here[8];
	struct iovec local = { here, sizeof(here) }, remote = { arg, sizeof(here) };
	const pid_t of[] = { master, getpid(), 0 };

	for (int i = 0; i < 3; i++) {
		CHECK_EQ(fails(process_vm_readv(of[i], &local, 1, &remote, 1, 0)), ENOSYS);
		CHECK_EQ(fails(process_vm_writev(of[i], &local, 1, &remote, 1, 0)), ENOSYS);
		CHECK_EQ(fails(syscall(SYS_ptrace, 16, of[i], 0, 0)), ENOSYS);
	}
	return NULL;
}

ST_FN(proc_mem)
{
	char name[64];

	CHECK_EQ(fails(open("/proc/self/mem", O_RDWR)), EACCES);
	CHECK_EQ(fails(openat(root, "proc/self/mem", O_RDWR)), EXDEV);
	snprintf(name, sizeof(name), "proc/%d/mem", (int)master);
	CHECK_EQ(fails(openat(root, name, O_RDONLY)), EXDEV);
	snprintf(name, sizeof(name), "proc/%d/task/%d/mem", (int)master, (int)master);
	CHECK_EQ(fails(openat(root, name, O_RDONLY)), EXDEV);
	return NULL;
}

/* Code that is changed by way of the file that it was mapped from. */
ST_FN(file_backed)
{
	static const int how[] = { MAP_PRIVATE, MAP_SHARED, MAP_SHARED_VALIDATE };
	unsigned char code = CODE, back = 0;

	for (int i = 0; i < 3; i++) {
		CHECK(mmap(NULL, PAGE, PROT_READ | PROT_EXEC, how[i], file, 0) == MAP_FAILED);
		CHECK_EQ(errno, EACCES);
		CHECK(mmap(NULL, PAGE, PROT_READ, how[i], file, 0) == MAP_FAILED);
		CHECK_EQ(errno, ENODEV);
	}
	/* The twin: the file is its own to write and read. */
	CHECK_EQ(pwrite(file, &code, 1, 0), 1);
	CHECK_EQ(pread(file, &back, 1, 0), 1);
	CHECK_EQ(back, CODE);
	return NULL;
}

/* The same page twice, with other rights. */
ST_FN(shared_with_self)
{
	char *p = mapped(PROT_READ | PROT_WRITE);

	CHECK_EQ(fails(syscall(SYS_memfd_create, "x", 0)), ENOSYS);
	CHECK_EQ(fails(syscall(SYS_shmget, 0, PAGE, 0600)), ENOSYS);
	CHECK_EQ(fails(syscall(SYS_remap_file_pages, p, PAGE, 0, 0, 0)), ENOSYS);
	CHECK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) ==
	      MAP_FAILED);
	CHECK_EQ(errno, EINVAL);
	CHECK(mremap(p, 0, PAGE, MREMAP_MAYMOVE) == MAP_FAILED);
	CHECK_EQ(errno, EINVAL);
	p[0] = 1;
	return NULL;
}

ST_FN(shared_with_child)
{
	CHECK_EQ(fails(syscall(SYS_fork)), EAGAIN);
	CHECK_EQ(fails(syscall(SYS_vfork)), EAGAIN);
	CHECK_EQ(fails(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)), EAGAIN);
	return NULL;
}

/* Two harmless halves of an instruction, moved together. */
ST_FN(moved)
{
	char *a = mapped(PROT_READ | PROT_WRITE), *b = mapped(PROT_READ | PROT_WRITE);
	void *text = (void *)((uintptr_t)fails & ~(PAGE - 1));

	CHECK_EQ(fails(mprotect(a, PAGE, PROT_READ | PROT_EXEC)), EACCES);
	CHECK(mremap(b, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, a + PAGE) == MAP_FAILED);
	CHECK_EQ(errno, EINVAL);
	CHECK(mremap(text, PAGE, 2 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED);
	CHECK_EQ(errno, EFAULT);
	CHECK(mremap(arg, PAGE, PAGE, MREMAP_MAYMOVE) == MAP_FAILED); /* the secret */
	CHECK_EQ(errno, EFAULT);
	CHECK(mremap(a, PAGE, PAGE, MREMAP_MAYMOVE) == a);
	return NULL;
}

/* The system calls of 32 bits, which a filter of the others does not see: 125 is mprotect there. */
ST_FN(mprotect32)
{
	long r = 125;

	__asm__ volatile("int $0x80" : "+a"(r) : "b"(arg), "c"(PAGE), "d"(7L) : "memory");
	return (void *)r;
}

ST_FN(pkey_mprotect_)
{
	char *p = mapped(PROT_READ | PROT_WRITE);

	CHECK_EQ(fails(syscall(SYS_pkey_alloc, 0, 0)), ENOSYS);
	CHECK_EQ(fails(syscall(SYS_pkey_free, 1)), ENOSYS);
	CHECK_EQ(fails(syscall(SYS_pkey_mprotect, arg, PAGE, PROT_READ, 0)), ENOSYS);
	CHECK_EQ(fails(syscall(SYS_pkey_mprotect, p, PAGE, PROT_READ, 0)), ENOSYS);
	CHECK_EQ(fails(mprotect(arg, PAGE, PROT_READ)), EACCES);
	CHECK_EQ(mprotect(p, PAGE, PROT_READ), 0);
	return NULL;
}

/* A filter that makes the trusted side's own calls fail. */
ST_FN(seccomp_)
{
	CHECK_EQ(fails(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, NULL)), ENOSYS);
	CHECK_EQ(fails(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)), EINVAL);
	CHECK_EQ(fails(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)), EINVAL);
	return NULL;
}

ST_FN(sigreturn_)
{
	CHECK_EQ(fails(syscall(SYS_rt_sigreturn)), ENOSYS);
	return NULL;
}

static void handler(int sig)
{
	_exit(100 + sig);
}

/* The handler of a fault, with whatever rights the system gives it. */
ST_FN(sighandler)
{
	struct sigaction sa = { .sa_handler = handler };

	(void)!sigaction(SIGSEGV, &sa, NULL);
	return (void *)(uintptr_t) * (volatile unsigned char *)arg;
}

static void *maps(void *unused)
{
	mapped(PROT_READ | PROT_WRITE);
	return unused;
}

/* Two threads, so that what is mapped is not what was looked at. */
ST_FN(map_race)
{
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, maps, NULL), EAGAIN);
	CHECK(mmap(NULL, PAGE, PROT_WRITE | PROT_EXEC, PRIVATE, -1, 0) == MAP_FAILED);
	CHECK_EQ(errno, EACCES);
	maps(NULL);
	return NULL;
}

ST_FN(writes_code)
{
	*(volatile unsigned char *)arg = CODE;
	return NULL;
}

ST_FN(reads_code)
{
	CHECK_EQ(*(volatile unsigned char *)arg, CODE);
	return NULL;
}

/* Nobody looks at code here, so nobody can be overtaken while he does: what another writes is never code. */
ST_FN(scan_race)
{
	((void (*)(void))(uintptr_t)arg)();
	return NULL;
}

/* Not among them, and next to them. */
ST_FN(read_implies_exec)
{
	void *end = (void *)syscall(SYS_brk, 0);

	CHECK_EQ(fails(personality(READ_IMPLIES_EXEC)), EPERM);
	CHECK_EQ(fails(personality(ADDR_NO_RANDOMIZE)), EPERM);
	CHECK((void *)syscall(SYS_brk, (char *)end + PAGE) == end);
	CHECK_EQ(fails(syscall(SYS_userfaultfd, 0)), ENOSYS);
	CHECK_EQ(fails(madvise(arg, PAGE, MADV_DONTNEED)), EINVAL);
	return NULL;
}

static void by_calls(const struct sthread_policy *p, char *secret)
{
#define EACH(fn)        \
	{               \
		fn, #fn \
	}
	static const struct {
		st_fn *fn;
		const char *name;
	} all[] = {
		EACH(vm_readv),		EACH(proc_mem),		 EACH(file_backed),
		EACH(shared_with_self), EACH(shared_with_child), EACH(moved),
		EACH(pkey_mprotect_),	EACH(seccomp_),		 EACH(sigreturn_),
		EACH(map_race),		EACH(read_implies_exec),
	};

	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		NOTE("%s", all[i].name);
		ST_PASSES(p, all[i].fn, secret);
		CHECK_STR(secret, "S3cret");
	}
	/* Of the seccomp one: the master makes its calls as ever. */
	CHECK_EQ(prctl(PR_GET_SECCOMP), 0);
	CHECK_OK(mprotect(secret, PAGE, PROT_READ | PROT_WRITE));
}

static void by_faults(const struct sthread_policy *p, char *secret)
{
	struct sthread_policy *q = st_policy();
	struct sthread_tag *t;
	struct sthread_result r;
	void *code;

	r = st_call(p, basecase, secret);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, secret, 1, ST_IN(basecase), "after the checkpoint");
	r = st_call(p, sighandler, secret);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, secret, 1, ST_IN(sighandler), "after the checkpoint");
	r = st_call(p, mprotect32, secret);
	ST_END(&r, STHREAD_FAULTED);
	CHECK(r.fault == STHREAD_FAULT_PROTECTION || r.fault == STHREAD_FAULT_INSTRUCTION);
	CHECK(r.ip >= (uint64_t)ST_IN(mprotect32).start && r.ip < (uint64_t)ST_IN(mprotect32).end);
	CHECK_OK(sthread_tag_create(&t, "code", PAGE));
	CHECK_OK(sthread_policy_tag(q, t, STHREAD_WRITE));
	code = sthread_tag_start(t);
	ST_PASSES(q, writes_code, code);
	ST_PASSES(q, reads_code, code);
	r = st_run(q, scan_race, code);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, code, 4, ST_BELOW(scan_race), "never executable");
	sthread_policy_destroy(q);
	CHECK_OK(sthread_tag_destroy(t));
}

/* The virtual machine, and physical memory, cannot be granted. */
/* A native gate: what the master's own memory would be handed out by; beside it a file. */
static ssize_t gives(void *trusted, const void *in, size_t in_len, void *out, size_t cap)
{
	int fd = *(const int *)trusted;

	(void)in;
	(void)in_len;
	return gate_answer(out, cap, sthread_gate_give_fd(fd, STHREAD_FD_READ | STHREAD_FD_SEEK));
}

ST_FN(is_given)
{
	char c;
	int64_t r = gate_word("gives");

	if (arg) {
		CHECK_EQ(r, -EINVAL);
		return NULL;
	}
	CHECK_GE(r, 0);
	CHECK_EQ(pread((int)r, &c, 1, 0), 1);
	return NULL;
}

/* The memory of the master as a file. */
static void memory_files(struct sthread_policy *p)
{
	static const char *const names[] = { "/proc/self/mem", "/proc/thread-self/mem",
					     "/proc/self/maps", "/proc/self/environ" };
	static int fd;
	struct sthread_gate *g;
	struct sthread_policy *caller;

	for (unsigned i = 0; i <= sizeof(names) / sizeof(names[0]); i++) {
		bool bad = i < sizeof(names) / sizeof(names[0]);

		fd = bad ? open(names[i], O_RDONLY) : file;
		CHECK_GE(fd, 0);
		g = GATE(.name = "gives", .fn = gives, .native = true, .trusted = &fd);
		caller = gate_policy(g);
		st_allow(caller, SYS_pread64);
		ST_PASSES(caller, is_given, bad);
		sthread_policy_destroy(caller);
		sthread_gate_destroy(g);
		if (bad) {
			CHECK_ERR(sthread_policy_fd(p, fd, STHREAD_FD_READ), -EINVAL);
			close(fd);
		}
	}
}

static void descriptors(struct sthread_policy *p)
{
	int kvm = open("/dev/kvm", O_RDWR), mem = open("/dev/mem", O_RDONLY);

	if (kvm >= 0) /* nor this */
		CHECK_ERR(sthread_policy_fd(p, kvm, STHREAD_FD_READ), -EINVAL);
	if (mem >= 0) { /* not everywhere */
		CHECK_ERR(sthread_policy_fd(p, mem, STHREAD_FD_READ), -EINVAL);
		close(mem);
	}
	if (kvm >= 0)
		close(kvm);
	memory_files(p);
}

int main(void)
{
	char name[] = "/tmp/st_pitfalls_XXXXXX", *secret;
	struct sthread_policy *p;

	master = getpid();
	root = open("/", O_RDONLY | O_DIRECTORY);
	file = mkstemp(name);
	CHECK(root >= 0 && file >= 0);
	CHECK_EQ(write(file, "x", 1), 1);
	st_init();
	secret = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, PRIVATE, -1, 0);
	CHECK(secret != MAP_FAILED);
	strcpy(secret, "S3cret");
	p = st_policy_all_calls();
	st_grant_dir(p, root, STHREAD_FD_READ | STHREAD_FD_WRITE | STHREAD_FD_STAT);
	st_grant(p, file, STHREAD_FD_READ | STHREAD_FD_WRITE | STHREAD_FD_SEEK);
	by_calls(p, secret);
	by_faults(p, secret);
	descriptors(p);
	CHECK_STR(secret, "S3cret");
	st_others_live();
	sthread_policy_destroy(p);
	CHECK_OK(unlink(name));
	sthread_fini();
	return TEST_PASSED;
}
