/* SPDX-License-Identifier: MIT */
/*
 * syscall.c - sequences of system calls as a compartment may make them: any number, any arguments, any memory.
 * World: host, fuzzing, over the unit tests' fake.  All calls are allowed, on descriptors that
 * mostly cannot block, and a few addresses.
 */
#include <arpa/inet.h>
#include <asm/unistd.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "tests/fuzz/fuzz.h"
#include "tests/unit/syscall_fake.h"

#define RIGHTS	    (STHREAD_FD_ALL & ~STHREAD_FD_FLAGS) /* or they might block */
#define SOCKETS	    (STHREAD_FD_SOCKOPT | STHREAD_FD_SHUTDOWN | STHREAD_FD_ACCEPT | STHREAD_FD_CONNECT)
#define FILES	    5
#define DESCRIPTORS 7
#define PLACE	    32
#define ADDRESSES   (FAKE_DATA + 8 * PAGE) /* those that are granted, 4 places each */
#define PATHS	    (FAKE_DATA + 9 * PAGE)
#define WAIT_NS	    100000 /* what a call that blocks all the same may take */

/* Beneath the working directory, which is the project's. */
static const char paths[8][PLACE] = { "README.md", "tests", "tests/fuzz/../fuzz/fuzz.h", "none", "tests/", "../up", "/etc", "" };
/* The last two are directories: one that is gone, so that nothing can be made in it, and the working directory. */
static int fd[DESCRIPTORS];
static struct sthread_policy *policy;
static const struct policy *all_calls; /* what the policy is before descriptors are granted */
static struct sockaddr_un name = { .sun_family = AF_UNIX };
static struct sockaddr_in net = { .sin_family = AF_INET };
static int lowest[2];
static struct rlimit files;

static void interrupted(int sig)
{
	(void)sig;
}

/* Who waits is ended, as by a kill: fake_stop says so. */
static void interrupt_waits(void)
{
	const struct itimerspec every = { { 0, WAIT_NS }, { 0, WAIT_NS } };
	const struct sigaction sa = { .sa_handler = interrupted };
	struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN };
	timer_t timer;

	ev._sigev_un._tid = gettid();
	CHECK_OK(sigaction(SIGRTMIN, &sa, NULL));
	CHECK_OK(timer_create(CLOCK_MONOTONIC, &ev, &timer));
	CHECK_OK(timer_settime(timer, 0, &every, NULL));
}

static void prepare(void)
{
	char dir[] = "/tmp/fuzz-syscall.XXXXXX";

	CHECK(mkdtemp(dir));
	CHECK_OK(getrlimit(RLIMIT_FSIZE, &files));
	fd[5] = open(dir, O_RDONLY | O_DIRECTORY);
	fd[6] = open(".", O_RDONLY | O_DIRECTORY);
	CHECK_OK(rmdir(dir));
	CHECK_OK(sys_init());
	policy = fake_policy_all();
	CHECK_OK(sthread_policy_dir(policy, fd[5], RIGHTS & ~SOCKETS));
	CHECK_OK(sthread_policy_dir(policy, fd[6], STHREAD_FD_READ | STHREAD_FD_STAT));
	snprintf(name.sun_path + 1, 20, "fuzz %d", (int)getpid());
	CHECK_OK(sthread_policy_bind(policy, (void *)&name, sizeof(name), STHREAD_EXACT));
	CHECK_OK(sthread_policy_connect(policy, (void *)&name, sizeof(name), STHREAD_EXACT));
	net.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	net.sin_port = htons(9);
	CHECK_OK(sthread_policy_connect(policy, (void *)&net, sizeof(net), 8));
	all_calls = policy_copy(policy);
	fake_direct(true);
	interrupt_waits();
}

/* The first number that is free, of the program's and of the library's. */
static void find_lowest(int out[2])
{
	for (int i = 0; i < 2; i++) {
		out[i] = fcntl(fd[5], F_DUPFD_CLOEXEC, i * 512);
		CHECK(out[i] >= 0);
		close(out[i]);
	}
}

/* libFuzzer writes larger files than an input may. */
static void limit_files(bool small)
{
	const struct rlimit l = { small ? 1 << 20 : files.rlim_cur, files.rlim_max };

	CHECK_OK(setrlimit(RLIMIT_FSIZE, &l));
}

/* Each input finds its descriptors as new. */
static void begin(void)
{
	if (!policy)
		prepare();
	find_lowest(lowest);
	fd[0] = memfd_create("file", MFD_CLOEXEC);
	CHECK(fd[0] >= 0);
	CHECK_OK(pipe2(&fd[1], O_NONBLOCK));
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, &fd[3]));
	for (int i = 0; i < FILES; i++)
		CHECK_OK(sthread_policy_fd(policy, fd[i], RIGHTS));
	fake_reset();
	memcpy(fake_host(ADDRESSES), &name, sizeof(name));
	memcpy(fake_host(ADDRESSES + 4 * PLACE), &net, sizeof(net));
	memcpy(fake_host(PATHS), paths, sizeof(paths));
	fake_begin(policy);
	atomic_store(&fake_stop, true);
	limit_files(true);
}

static void end(void)
{
	int now[2];

	limit_files(false);
	fake_end();
	policy_restore(policy, policy_get(all_calls));
	for (int i = 0; i < FILES; i++)
		close(fd[i]);
	find_lowest(now);
	CHECK_EQ(now[0], lowest[0]);
	CHECK_EQ(now[1], lowest[1]);
}

static uint64_t argument(struct input *in)
{
	uint8_t how = (uint8_t)take(in, 1);

	switch (how >> 4) {
	case 0: case 1: return (uint64_t)fd[how % DESCRIPTORS];
	case 2: return how & 15;
	case 3: return take(in, 1);
	case 4: return take(in, 4);
	case 5: return take(in, 8);
	case 6: return FAKE_DATA + take(in, 2);
	case 7: return FAKE_DATA + FAKE_DATA_PAGES * PAGE - (how & 15);
	case 8: return FAKE_COW + take(in, 2) % (2 * PAGE);
	case 9: return FAKE_RO + (how & 15) * 256;
	case 10: return FAKE_DEMAND + take(in, 2);
	case 11: return FAKE_AREA + take(in, 1) * PAGE;
	case 12: return (how & 15) * PAGE;
	case 13: return -(uint64_t)(how & 15);
	case 14: return FAKE_NOTHING - (how & 15);
	default: return 1UL << take(in, 1) % 64;
	}
}

/* What the decoder takes, most likely. */
static uint64_t fitting(struct input *in, const struct sys_arg *a)
{
	uint8_t n = (uint8_t)take(in, 1);
	uint64_t left = a->allowed;

	switch (a->kind) {
	case ARG_FD: return n < 128 ? (uint64_t)fd[n % FILES] : n % 32; /* those that were made inside are low */
	case ARG_DIRFD: return (uint64_t)fd[FILES + n % 2];
	case ARG_VALUE:
		for (n %= (uint8_t)__builtin_popcountl(left); n; n--)
			left &= left - 1;
		return (uint64_t)__builtin_ctzl(left);
	case ARG_FLAGS: return (n < 128 ? n & 7 : n < 192 ? n : n | take(in, 3) << 8) & left;
	case ARG_SIZE: return n;
	case ARG_PATH: return PATHS + n % 8 * PLACE;
	case ARG_OPT_IN: return ADDRESSES + n % 2 * 4 * PLACE;
	case ARG_INT: return n < 64 ? 0 : n < 192 ? n % 64 - 1UL : argument(in); /* commands, options, protocols, -1 */
	case ARG_NUMBER: return argument(in);
	default: return FAKE_DATA + n * 64;
	}
}

/* All arguments likely ones, or a bit each says which are any value at all. */
static struct dune_frame call(struct input *in, const struct sys_entry *e)
{
	uint8_t any = (uint8_t)take(in, 1);
	uint64_t v[6] = { 0 };

	for (int i = 0; i < 6; i++)
		if (e->arg[i].kind != ARG_NONE)
			v[i] = any & 128 && any & 1 << i ? argument(in) : fitting(in, &e->arg[i]);
	return (struct dune_frame){
		.rax = e->nr, .rdi = v[0], .rsi = v[1], .rdx = v[2], .r10 = v[3], .r8 = v[4], .r9 = v[5],
	};
}

static bool all_are(const unsigned char *page, unsigned char byte)
{
	return page[0] == byte && !memcmp(page, page + 1, PAGE - 1);
}

static void unchanged(void)
{
	CHECK_EQ(fake_extra_refs(), 0);
	CHECK(all_are(fake_host(FAKE_RO), 0x11));
	for (unsigned i = 0; i < 2; i++)
		CHECK(all_are(fake_template(FAKE_COW + i * PAGE), 0xcc));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = { data, len };

	begin();
	while (in.left) {
		unsigned op = (unsigned)take(&in, 1);
		struct dune_frame f;

		if (op >= 224) {
			uint64_t v = argument(&in), at = take(&in, 2);

			memcpy(fake_host(FAKE_DATA + at % (16 * PAGE - 8)) , &v, at % PAGE > PAGE - 8 ? 1 : 8);
			continue;
		}
		f = op < sys_table_len ? call(&in, &sys_table[op]) : (struct dune_frame){ .rax = take(&in, 2) };
		/* The library's own calls are served by the run loop, which is not here. */
		if (host_call_number(f.rax, f.r9) > DUNE_SYS_RETURN)
			continue;
		if (sys_dispatch(&fake_ctx, &f) == SYS_END)
			break;
		unchanged();
	}
	unchanged();
	end();
	return 0;
}
