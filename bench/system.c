/* SPDX-License-Identifier: MIT */
/* What the system itself costs: processes, threads, futexes.  World: host. */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bench.h"

/* ---- processes ------------------------------------------------------------------------------- */

int setup_40mb(void)
{
	const size_t len = 40UL << 20;
	volatile char *p =
		mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	/* 4 KiB pages, as a heap that grew has them. A kernel without huge pages has no others. */
	(void)madvise((void *)p, len, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < len; i += 4096)
		p[i] = 1;
	return 0;
}

int sample_fork(unsigned n, uint64_t *out)
{
	for (unsigned i = 0; i < n; i++) {
		uint64_t start = now_ns();
		int status;
		pid_t pid = fork();

		if (pid < 0)
			return -errno;
		if (pid == 0)
			_exit(0);
		if (waitpid(pid, &status, 0) != pid || status != 0)
			return -ECHILD;
		out[i] = now_ns() - start;
	}
	return (int)n;
}

/* ---- threads --------------------------------------------------------------------------------- */

static void *nothing(void *arg)
{
	return arg;
}

int sample_pthread(unsigned n, uint64_t *out)
{
	for (unsigned i = 0; i < n; i++) {
		uint64_t start = now_ns();
		pthread_t t;
		int err = pthread_create(&t, NULL, nothing, NULL);

		if (err)
			return -err;
		pthread_join(t, NULL);
		out[i] = now_ns() - start;
	}
	return (int)n;
}

/* Two words: a question, counted up, and its answer. */
struct exchange {
	_Alignas(64) _Atomic uint32_t question;
	_Alignas(64) _Atomic uint32_t answer;
};

static void futex_wait(_Atomic uint32_t *word, uint32_t while_it_is, int private)
{
	syscall(SYS_futex, word, FUTEX_WAIT | private, while_it_is, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int private)
{
	syscall(SYS_futex, word, FUTEX_WAKE | private, 1, NULL, NULL, 0);
}

__attribute__((noreturn)) static void answer_forever(struct exchange *e, int private)
{
	for (uint32_t seen = 0;;) {
		while (atomic_load(&e->question) == seen)
			futex_wait(&e->question, seen, private);
		seen = atomic_load(&e->question);
		atomic_store(&e->answer, seen);
		futex_wake(&e->answer, private);
	}
}

static void ask(struct exchange *e, int private)
{
	uint32_t was = atomic_load(&e->answer), question = atomic_fetch_add(&e->question, 1) + 1;

	futex_wake(&e->question, private);
	while ((was = atomic_load(&e->answer)) != question)
		futex_wait(&e->answer, was, private);
}

static int sample_exchange(struct exchange *e, int private, unsigned n, uint64_t *out)
{
	for (unsigned i = 0; i < n + WARM_UP; i++) {
		uint64_t start, took;

		settle();
		start = now_ns();
		ask(e, private);
		took = now_ns() - start;
		if (i >= WARM_UP)
			out[i - WARM_UP] = took;
	}
	return (int)n;
}

static struct exchange pooled;

static void *pooled_thread(void *arg)
{
	answer_forever(arg, FUTEX_PRIVATE_FLAG);
}

int setup_threads(void)
{
	pthread_t t;

	return -pthread_create(&t, NULL, pooled_thread, &pooled);
}

int sample_handoff(unsigned n, uint64_t *out)
{
	return sample_exchange(&pooled, FUTEX_PRIVATE_FLAG, n, out);
}

/* Two processes, both on the processor that this one is on. */
int sample_futex(unsigned n, uint64_t *out)
{
	struct exchange *e =
		mmap(NULL, sizeof(*e), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cpu_set_t before, one;
	int result;
	pid_t pid;

	if (e == MAP_FAILED)
		return -errno;
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	if (sched_getaffinity(0, sizeof(before), &before) ||
	    sched_setaffinity(0, sizeof(one), &one)) {
		result = -errno;
		goto unmap;
	}
	pid = fork(); /* inherits the processor */
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		answer_forever(e, 0);
	}
	if (pid < 0) {
		result = -errno;
	} else {
		ask(e, 0);
		result = sample_exchange(e, 0, n, out);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	sched_setaffinity(0, sizeof(before), &before);
unmap:
	munmap(e, sizeof(*e));
	return result;
}
