/* SPDX-License-Identifier: MIT */
/*
 * st_stub_outside.c - whoever may signal stub processes does so, at random moments: stubs and the process that they are
 * cloned from are killed, stopped and continued, traced; all signals that a service manager, a terminal or a user sends
 * to the whole group arrive.  One compartment is lost with a record, or nothing happens; the others go on, what is
 * created next works, and no call is answered with another's answer.  World: host; what is marked runs inside.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "sthread/process.h"
#include "tests/kvm/st_life.h"
#include "vm/process/process.h"

/* ---- inside ------------------------------------------------------------------------------------------------ */

/* Counted words through a pipe of its own, and memory in between: what comes back is what went in. */
static void *counts(void *arg)
{
	uintptr_t n = (uintptr_t)arg, sum = 0;
	int ends[2];

	CHECK(!pipe2(ends, 0));
	for (uintptr_t i = 0; i < n; i++) {
		uintptr_t word = i * 3 + 1, got = 0;
		char *p = malloc(20000 + i * 64);

		memset(p, (int)i, 20000);
		CHECK_EQ(write(ends[1], &word, sizeof(word)), sizeof(word));
		CHECK_EQ(read(ends[0], &got, sizeof(got)), sizeof(got));
		CHECK_EQ(got, word);
		CHECK_EQ(p[19999], (char)i);
		free(p);
		sum += got;
	}
	return (void *)sum;
}

static void *faults(void *arg)
{
	*(volatile char *)arg = 1;
	return NULL;
}

static uintptr_t sum_of(uintptr_t n)
{
	return n * (n - 1) / 2 * 3 + n;
}

/* ---- load -------------------------------------------------------------------------------------------------------- */

static struct sthread_policy *pipes;
static atomic_bool over;
static atomic_uint good, lost, refused;

static void note_start(int err)
{
	/* It was not to be had at that moment, and the library says so. */
	CHECK_MSG(err == -EAGAIN || err == -EIO, "it was not started: %s", strerror(-err));
	atomic_fetch_add(&refused, 1);
	life_nap(1000);
}

static void note_end(const struct sthread_result *r, bool fault, uintptr_t n)
{
	if (r->end == STHREAD_LOST) {
		atomic_fetch_add(&lost, 1);
		return;
	}
	if (fault)
		ST_END(r, STHREAD_FAULTED);
	else
		ST_RETURNED(r, sum_of(n));
	atomic_fetch_add(&good, 1);
}

static void *load(void *arg)
{
	for (uintptr_t i = (uintptr_t)arg; !atomic_load(&over); i++) {
		uintptr_t n = 1 + i % 40;
		bool fault = i % 7 == 0;
		struct sthread_result r;
		struct sthread *st;
		int err;

		if (i % 2) {
			err = sthread_call(pipes, fault ? faults : counts, fault ? NULL : (void *)n, &r);
		} else {
			err = sthread_create(&st, pipes, fault ? faults : counts, fault ? NULL : (void *)n);
			if (!err)
				CHECK_OK(sthread_join(st, &r));
		}
		if (err)
			note_start(err);
		else
			note_end(&r, fault, n);
	}
	return NULL;
}

/* ---- who is there -------------------------------------------------------------------------------------------------- */

static struct proc_vm *machine(void)
{
	return proc_of(process.vm);
}

/* One of the stubs, by a random number; 0: none.  Its pid may be of nobody when it is used: it is signalled by others. */
static pid_t a_stub(unsigned random)
{
	pid_t pid[256];
	unsigned n = 0;

	pthread_mutex_lock(&process.vm->lock);
	for (struct dune_vcpu *c = process.vm->vcpus; c && n < 256; c = c->next)
		if (proc_vcpu_of(c)->state != STUB_NONE)
			pid[n++] = proc_vcpu_of(c)->pid;
	pthread_mutex_unlock(&process.vm->lock);
	return n ? pid[random % n] : 0;
}

static pid_t zygote(void)
{
	char name[64], line[128];
	pid_t pid = 0;
	FILE *f;

	snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", machine()->zygote.fd);
	f = fopen(name, "re");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "Pid: %d", &pid);
	if (f)
		fclose(f);
	return pid > 0 ? pid : 0;
}

/* It lives; a dead one may wait for its parent to look, which need not be ours any more. */
static bool is_stub(pid_t pid)
{
	char name[64], text[256] = "", *state;
	int fd;

	if (pid <= 0)
		return false;
	snprintf(name, sizeof(name), "/proc/%d/stat", pid);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	(void)!read(fd, text, sizeof(text) - 1);
	close(fd);
	state = strrchr(text, ')');
	return strstr(text, "(sthread-stub)") && state && state[2] != 'Z' && state[2] != 'X';
}

static void tell(pid_t pid, int sig)
{
	if (is_stub(pid) && kill(pid, sig))
		CHECK_EQ(errno, ESRCH);
}

/* Another process traces it for a while; where that is not allowed, nothing happens. */
static unsigned traced;

static void trace(pid_t pid, unsigned us)
{
	pid_t tracer;
	int status;

	if (!is_stub(pid))
		return;
	tracer = fork();
	CHECK(tracer >= 0);
	if (!tracer) {
		if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) || ptrace(PTRACE_INTERRUPT, pid, NULL, NULL))
			_exit(1);
		/* It may be held at a call, and stop only when that is answered. */
		for (int i = 0; i < 50 && waitpid(pid, &status, WNOHANG | __WALL) == 0; i++)
			life_nap(us / 50 + 1);
		_exit(0); /* which detaches it */
	}
	CHECK_EQ(waitpid(tracer, &status, 0), tracer);
	traced += WIFEXITED(status) && !WEXITSTATUS(status);
}

static void still_good(const char *what)
{
	struct sthread_result r;

	NOTE("%s: %u runs as they should be, %u lost, %u not started", what, good, lost, refused);
	/* Lanes at rest may have lost theirs: that is told by the run that gets one. */
	for (int i = 0; i < 2; i++) {
		unsigned tries = 0;

		while ((r = st_both[i](pipes, counts, (void *)20)).end == STHREAD_LOST)
			CHECK_LT(tries++, 64);
		ST_RETURNED(&r, sum_of(20));
	}
}

/* ---- random moments --------------------------------------------------------------------------------------------------- */

/* What nothing is lost by comes first: a stub that is killed at rest is missed later. */
enum what { STOP, STOP_ZYGOTE, TRACE, KILL, KILL_ZYGOTE, WHATS };
static const char *const names[WHATS] = { "stubs stopped", "the zygote stopped", "stubs traced", "stubs killed",
					  "zygotes killed" };

static void disturb(enum what what, unsigned *seed)
{
	unsigned us = (unsigned)rand_r(seed) % 3000;
	pid_t pid = what == STOP_ZYGOTE || what == KILL_ZYGOTE ? zygote() : a_stub((unsigned)rand_r(seed));

	switch (what) {
	case KILL:
	case KILL_ZYGOTE:
		tell(pid, SIGKILL);
		break;
	case STOP:
	case STOP_ZYGOTE:
		tell(pid, SIGSTOP);
		life_nap(us);
		tell(pid, SIGCONT);
		break;
	case TRACE:
		trace(pid, us);
		break;
	case WHATS:
		break;
	}
}

static void at_random_moments(void)
{
	unsigned long rounds = test_scale(40);
	unsigned seed = (unsigned)getpid();

	NOTE("seed %u", seed);
	for (int what = 0; what < WHATS; what++) {
		uint64_t end = life_now() + 4000000000UL * st_slow();
		pthread_t t[3];

		good = lost = refused = 0;
		atomic_store(&over, false);
		for (uintptr_t i = 0; i < 3; i++)
			t[i] = life_thread(load, (void *)i);
		for (unsigned long i = 0; i < rounds && life_now() < end; i++) {
			life_nap((unsigned)rand_r(&seed) % 20000);
			disturb((enum what)what, &seed);
		}
		LIFE_UNTIL(atomic_load(&good) > 0);
		atomic_store(&over, true);
		for (int i = 0; i < 3; i++)
			life_join(t[i]);
		still_good(names[what]);
		if (what == STOP || what == STOP_ZYGOTE) /* nothing is lost by a pause */
			CHECK_EQ(lost + refused, 0);
		if (what == TRACE)
			NOTE("traced %u times", traced);
	}
}

/* ---- one, and its record; the others --------------------------------------------------------------------------------- */

static pid_t inside_now(void)
{
	pid_t before = 0;

	pthread_mutex_lock(&process.vm->lock);
	for (struct dune_vcpu *c = process.vm->vcpus; c; c = c->next)
		if (proc_vcpu_of(c)->state == STUB_INSIDE && atomic_load(&c->thread))
			before = proc_vcpu_of(c)->pid;
	pthread_mutex_unlock(&process.vm->lock);
	return before;
}

/* The one that computes; others are inside for a moment. */
static pid_t spinning(void)
{
	pid_t pid = inside_now();

	for (int i = 0; i < 5 && pid; i++) {
		life_nap(5000);
		if (inside_now() != pid)
			return 0;
	}
	return pid;
}

static void one_is_lost(void)
{
	for (int i = 0; i < 3; i++) {
		struct sthread *st;
		struct sthread_result r;
		uint64_t was;
		pid_t pid;

		NOTE("one is lost");
		was = life_stats().vcpus_lost;
		st = st_create(NULL, life_spins, NULL);
		LIFE_UNTIL((pid = spinning()) != 0);
		tell(pid, SIGKILL);
		r = st_join(st);
		ST_END(&r, STHREAD_LOST);
		CHECK_GT(life_stats().vcpus_lost, was);
		LIFE_UNTIL(!is_stub(pid));
		st_others_live();
	}
}

/* With it all go that run, and another takes its place. */
static void zygote_is_lost(void)
{
	for (int i = 0; i < 5; i++) {
		struct sthread *st;
		struct sthread_result r;
		pid_t pid, stub;

		st_init();
		st = st_create(NULL, life_spins, NULL);
		pid = zygote();
		LIFE_UNTIL((stub = spinning()) != 0);
		tell(pid, SIGKILL);
		r = st_join(st);
		ST_END(&r, STHREAD_LOST);
		LIFE_UNTIL(!is_stub(pid) && !is_stub(stub));
		still_good("the zygote killed");
		CHECK_NE(zygote(), pid);
		sthread_fini();
	}
}

/* ---- stopped for good, by a thread that hears no signal ---- */

/* Signals that wait to be delivered, of this user's. */
static unsigned queued(void)
{
	char line[128];
	unsigned n = UINT32_MAX;
	FILE *f = fopen("/proc/self/status", "re");

	CHECK(f != NULL);
	while (fgets(line, sizeof(line), f))
		sscanf(line, "SigQ: %u", &n);
	fclose(f);
	CHECK_NE(n, UINT32_MAX);
	return n;
}

/* Stops the stub of the run that is over its limit, and looks at what the library does about it. */
static void *stops_it(void *arg)
{
	const bool for_good = *(const bool *)arg;
	unsigned before = queued();
	pid_t pid;

	LIFE_UNTIL((pid = spinning()) != 0);
	tell(pid, SIGSTOP);
	life_nap(700000);
	CHECK_LT(queued(), before + 20); /* it asks again and again, and fills no queue of signals by that */
	if (!for_good)
		tell(pid, SIGCONT);
	return arg;
}

static void stopped(bool for_good)
{
	struct sthread_policy *p = st_policy();
	uint64_t start = life_now();
	struct sthread_result r;
	sigset_t all, old;
	pthread_t t;

	NOTE("a stub is stopped%s", for_good ? " for good" : "");
	st_limit(p, STHREAD_LIMIT_WALL_NS, 400000000);
	t = life_thread(stops_it, &for_good);
	sigfillset(&all);
	CHECK(!pthread_sigmask(SIG_SETMASK, &all, &old));
	r = st_call(p, life_spins, NULL);
	CHECK(!pthread_sigmask(SIG_SETMASK, &old, NULL));
	if (for_good) {
		ST_END(&r, STHREAD_LOST);
		CHECK_GT(life_now() - start, 20000000000UL);
		CHECK_LT(life_now() - start, 60000000000UL);
	} else {
		ST_LIMIT(&r, STHREAD_LIMIT_WALL_NS);
	}
	life_join(t);
	st_others_live();
	sthread_policy_destroy(p);
}

/* ---- registers that are the process's ---- */

/* Inside, for a while, with others on the processor: 0, or how often the base of FS was not what it was. */
static void *keeps_base(void *arg)
{
	uint64_t was, is;
	uintptr_t changes = 0;

	__asm__ volatile("rdfsbase %0" : "=r"(was));
	for (uint64_t i = 0; i < (uint64_t)arg; i++) {
		__asm__ volatile("rdfsbase %0" : "=r"(is));
		changes += is != was;
	}
	return (void *)changes;
}

static void *calls_keeps_base(void *unused)
{
	struct sthread_result r = st_call(NULL, keeps_base, (void *)(100000000UL / (unsigned long)st_slow()));

	(void)unused;
	ST_RETURNED(&r, 0);
	return NULL;
}

static void *is_busy(void *unused)
{
	while (!atomic_load(&over))
		;
	return unused;
}

/*
 * The zygote is made anew by other threads than the first, and stubs are cloned from it: thread-local storage is still
 * the compartment's, also where the kernel does not see what user code does to the base of FS.
 */
static void bases(void)
{
	pthread_t busy[4];

	st_init();
	atomic_store(&over, false);
	for (int i = 0; i < 4; i++)
		busy[i] = life_thread(is_busy, NULL);
	for (int i = 0; i < 3; i++) {
		tell(zygote(), SIGKILL);
		life_nap(20000);
		life_join(life_thread(calls_keeps_base, NULL));
	}
	atomic_store(&over, true);
	for (int i = 0; i < 4; i++)
		life_join(busy[i]);
	sthread_fini();
}

/* ---- signals to all ---------------------------------------------------------------------------------------------------- */

static atomic_uint arrived;

static void on_signal(int sig)
{
	(void)sig;
	atomic_fetch_add(&arrived, 1);
}

static void every_stub(int sig)
{
	pthread_mutex_lock(&process.vm->lock);
	for (struct dune_vcpu *c = process.vm->vcpus; c; c = c->next)
		tell(proc_vcpu_of(c)->pid, sig);
	pthread_mutex_unlock(&process.vm->lock);
	tell(zygote(), sig);
}

static void to_the_group(void)
{
	static const int sigs[] = { SIGTERM, SIGHUP, SIGINT };
	struct sthread *st[3];
	struct sthread_result r;
	pid_t was = zygote(), sender;
	int status;

	NOTE("signals to the group");
	CHECK(!setpgid(0, 0) || getsid(0) == getpid()); /* who leads a session leads its group, too */
	for (size_t i = 0; i < 3; i++)
		CHECK(signal(sigs[i], on_signal) != SIG_ERR);
	for (uintptr_t i = 0; i < 3; i++)
		st[i] = st_create(pipes, counts, (void *)(2000UL));
	for (int round = 0; round < 20; round++) {
		sender = fork();
		CHECK(sender >= 0);
		if (!sender) {
			for (size_t i = 0; i < 3; i++)
				kill(0, sigs[i]);
			_exit(TEST_PASSED);
		}
		CHECK_EQ(waitpid(sender, &status, 0), sender);
		st_others_live();
	}
	CHECK_GT(arrived, 0); /* the program has heard */
	for (int i = 0; i < 3; i++) {
		r = st_join(st[i]);
		ST_RETURNED(&r, sum_of(2000));
	}
	CHECK_EQ(zygote(), was);
	for (size_t i = 0; i < 3; i++)
		CHECK(signal(sigs[i], SIG_DFL) != SIG_ERR);
}

/* To each, as a service manager sends to a control group; and what the kernel would send for a reason. */
static void to_each(void)
{
	pid_t was = zygote();

	NOTE("every signal to each");
	for (int sig = 1; sig <= 64; sig++) {
		struct sthread *st[2];
		struct sthread_result r;

		if (sig == SIGKILL || sig == SIGSTOP || sig == 32 || sig == 33)
			continue;
		for (uintptr_t i = 0; i < 2; i++)
			st[i] = st_create(pipes, counts, (void *)100);
		every_stub(sig);
		life_nap(500);
		every_stub(sig);
		for (int i = 0; i < 2; i++) {
			r = st_join(st[i]);
			ST_RETURNED(&r, sum_of(100));
		}
		st_others_live();
	}
	CHECK_EQ(zygote(), was);
	CHECK_EQ(life_stats().vcpus_lost, 0);
}

int main(void)
{
	CHECK_OK(setenv("STHREAD_PLACEMENT", "process", 1));
	st_init();
	pipes = st_policy();
	st_allow(pipes, SYS_pipe2, SYS_read, SYS_write);
	st_others_live();
	to_the_group();
	to_each();
	stopped(false);
	if (test_scale(100) == 100) /* half a minute */
		stopped(true);
	one_is_lost();
	st_others_live();
	CHECK_NE(zygote(), 0);
	sthread_fini();

	st_init();
	at_random_moments();
	sthread_fini();
	zygote_is_lost();
	bases();
	return TEST_PASSED;
}
