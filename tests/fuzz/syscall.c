/* SPDX-License-Identifier: MIT */
/*
 * syscall.c - sequences of system calls as a compartment may make them: any number, any arguments, any memory.
 * World: host, fuzzing, over the unit tests' fake.  All calls are allowed, on descriptors that cannot block.
 */
#include <asm/unistd.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "tests/fuzz/fuzz.h"
#include "tests/unit/syscall_fake.h"

#define RIGHTS	    (STHREAD_FD_ALL & ~STHREAD_FD_FLAGS) /* or they might block */
#define DESCRIPTORS 6

static int fd[DESCRIPTORS];
static struct sthread_policy *policy;

static void prepare(void)
{
	const struct rlimit small = { 1 << 20, 1 << 20 };
	char dir[] = "/tmp/fuzz-syscall.XXXXXX";
	FILE *f = tmpfile();

	CHECK(f && mkdtemp(dir));
	CHECK_OK(setrlimit(RLIMIT_FSIZE, &small));
	fd[0] = fileno(f);
	CHECK_OK(pipe2(&fd[1], O_NONBLOCK));
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, &fd[3]));
	fd[5] = open(dir, O_RDONLY | O_DIRECTORY);
	CHECK_OK(rmdir(dir)); /* nothing can be made in it */
	CHECK_OK(sys_init());
	policy = fake_policy_all();
	for (int i = 0; i < 5; i++)
		CHECK_OK(sthread_policy_fd(policy, fd[i], RIGHTS));
	CHECK_OK(sthread_policy_dir(policy, fd[5], STHREAD_FD_READ | STHREAD_FD_STAT));
	fake_direct(true);
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

static void unchanged(void)
{
	CHECK_EQ(fake_extra_refs(), 0);
	for (unsigned i = 0; i < PAGE; i += 64) {
		CHECK_EQ(*fake_host(FAKE_RO + i), 0x11);
		CHECK_EQ(*fake_template(FAKE_COW + i), 0xcc);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = { data, len };

	if (!policy)
		prepare();
	fake_reset();
	fake_begin(policy);
	atomic_store(&fake_stop, true); /* who would sleep does not */
	while (in.left) {
		unsigned op = (unsigned)take(&in, 1);
		struct dune_frame f;

		if (op >= 224) {
			uint64_t v = argument(&in), at = take(&in, 2);

			memcpy(fake_host(FAKE_DATA + at % (16 * PAGE - 8)) , &v, at % PAGE > PAGE - 8 ? 1 : 8);
			continue;
		}
		f = (struct dune_frame){ .rax = op < sys_table_len ? sys_table[op].nr : take(&in, 2) };
		f.rdi = argument(&in);
		f.rsi = argument(&in);
		f.rdx = argument(&in);
		f.r10 = argument(&in);
		f.r8 = argument(&in);
		f.r9 = argument(&in);
		if (f.rax == __NR_poll)
			f.rdx = 0;
		/* The library's own calls are served by the run loop, which is not here. */
		if (f.rax > DUNE_SYS_RETURN && f.rax < DUNE_SYS_RETURN + 64)
			continue;
		if (sys_dispatch(&fake_ctx, &f) == SYS_END)
			break;
		unchanged();
	}
	unchanged();
	fake_end();
	return 0;
}
