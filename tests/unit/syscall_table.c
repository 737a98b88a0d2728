// SPDX-License-Identifier: MIT
/*
 * The table of system calls is consistent, every entry can be reached, and each does as its types
 * say. World: host.
 *
 *   syscall_table PAGE      also: the manual page has exactly the table's rows
 *   syscall_table --rows    prints them, for the page
 */
#include <asm/unistd.h>

#include "tests/test.h"
#include "tests/unit/syscall_fake.h"

static bool is_buffer(const struct sys_arg *a)
{
	switch (a->kind) {
	case ARG_IN:
	case ARG_OUT:
	case ARG_BYTES_OUT:
	case ARG_IOV_IN:
	case ARG_IOV_OUT:
	case ARG_POLL:
	case ARG_OPT_IN:
	case ARG_ARRAY_OUT:
	case ARG_FDSET:
	case ARG_MMSG:
		return true;
	default:
		return false;
	}
}

static bool has_pointer(const struct sys_arg *a)
{
	return is_buffer(a) || a->kind == ARG_PATH || a->kind == ARG_STRUCT_IN ||
	       a->kind == ARG_STRUCT_OUT || a->kind == ARG_MSG_IN || a->kind == ARG_MSG_OUT ||
	       a->kind == ARG_VAR_OUT || a->kind == ARG_OFFSET;
}

static void check_arg(const struct sys_entry *e, unsigned i)
{
	const struct sys_arg *a = &e->arg[i];

	if (a->kind == ARG_NONE)
		return;
	CHECK_MSG(i == 0 || e->arg[i - 1].kind != ARG_NONE, "%s: argument %u after none", e->name,
		  i);
	if (is_buffer(a))
		CHECK_MSG(e->arg[a->len].kind == ARG_SIZE, "%s: argument %u has no length", e->name,
			  i);
	if (a->kind == ARG_VAR_OUT)
		CHECK_MSG(e->arg[a->len].kind == ARG_SOCKLEN, "%s: argument %u has no length",
			  e->name, i);
	if (a->kind == ARG_FD && !a->rights)
		CHECK_MSG(e->check, "%s: a descriptor without a right", e->name);
	if (a->kind == ARG_FD || a->kind == ARG_DIRFD)
		CHECK_MSG(e->class == SYS_OUTSIDE, "%s: a descriptor, but allowed to all", e->name);
	if (a->kind == ARG_FLAGS || a->kind == ARG_VALUE)
		CHECK_MSG(a->allowed, "%s: argument %u allows nothing", e->name, i);
	if (a->kind == ARG_STRUCT_IN || a->kind == ARG_STRUCT_OUT || a->kind == ARG_BYTES_OUT ||
	    a->kind == ARG_OPT_IN || a->kind == ARG_VAR_OUT || a->kind == ARG_ARRAY_OUT)
		CHECK_MSG(a->size, "%s: argument %u has no size", e->name, i);
	if (a->kind == ARG_STRUCT_IN || a->kind == ARG_OPT_IN)
		CHECK_LE(a->size, sizeof(((struct sys_call *)0)->in));
	if (a->kind == ARG_STRUCT_OUT || a->kind == ARG_VAR_OUT)
		CHECK_LE(a->size, sizeof(((struct sys_call *)0)->result));
	if (a->kind == ARG_BYTES_OUT)
		CHECK_LE(a->size, sizeof(((struct sys_call *)0)->u.bytes));
	/* Sets lie one behind the other, where select() of the host has them. */
	if (a->kind == ARG_FDSET)
		CHECK(i >= 1 && i <= 3 && a->len == 0);
	CHECK_EQ(a->rights & ~STHREAD_FD_ALL, 0);
}

/* Each length is somebody's: a length that nothing names was forgotten. */
static void check_lengths(const struct sys_entry *e)
{
	for (unsigned i = 0; i < 6; i++) {
		bool named = false;

		if (e->arg[i].kind != ARG_SIZE && e->arg[i].kind != ARG_SOCKLEN)
			continue;
		for (unsigned k = 0; k < 6; k++)
			named |= (is_buffer(&e->arg[k]) || e->arg[k].kind == ARG_VAR_OUT) &&
				 e->arg[k].len == i;
		/* The signal calls look at theirs themselves. */
		CHECK_MSG(named || e->nr == __NR_rt_sigaction || e->nr == __NR_rt_sigprocmask,
			  "%s: argument %u is nobody's length", e->name, i);
	}
}

static void consistent(void)
{
	unsigned outs, fds, paths, offsets, spans;

	CHECK_LE(sys_table_len, POLICY_CALLS);
	CHECK_GE(sys_table_len, 115);
	for (unsigned i = 0; i < sys_table_len; i++) {
		const struct sys_entry *e = &sys_table[i];

		CHECK(e->name && e->perform);
		CHECK_EQ(sys_index(e->nr), (int)i);
		outs = fds = paths = offsets = spans = 0;
		for (unsigned k = 0; k < 6; k++) {
			uint8_t kind = e->arg[k].kind;

			check_arg(e, k);
			fds += kind == ARG_FD || kind == ARG_DIRFD;
			paths += kind == ARG_PATH;
			offsets += kind == ARG_OFFSET;
			outs += kind == ARG_MSG_OUT ? 3 :
				kind == ARG_VAR_OUT ? 2 :
				kind == ARG_STRUCT_OUT || kind == ARG_BYTES_OUT ||
						kind == ARG_ARRAY_OUT || kind == ARG_OFFSET ||
						kind == ARG_FDSET ?
								     1 :
								     0;
			spans += kind == ARG_IN || kind == ARG_OUT || kind == ARG_IOV_IN ||
				 kind == ARG_IOV_OUT;
		}
		CHECK_LE(outs, SYS_OUTS);
		CHECK_LE(fds, 2);
		CHECK_LE(paths, 2);
		CHECK_LE(offsets, 2);
		CHECK_LE(spans, 1);
		check_lengths(e);
		for (unsigned k = 0; k < i; k++)
			CHECK(sys_table[k].nr != e->nr && strcmp(sys_table[k].name, e->name) != 0);
	}
	CHECK_LT(sys_index(__NR_ptrace), 0);
	CHECK_LT(sys_index(511), 0);
	CHECK_LT(sys_index(512), 0);
	CHECK_LT(sys_index(UINT64_MAX), 0);
	CHECK_LT(sys_index((1UL << 32) + __NR_getpid), 0);
}

/* The calls that end or sleep are not for a loop over all. */
static bool tame(const struct sys_entry *e)
{
	return e->nr != __NR_exit && e->nr != __NR_exit_group && e->nr != __NR_poll;
}

/* Default: what touches the compartment only is there, nothing else; denied and killed, each. */
static void actions(void)
{
	struct sthread_policy *kill_all;

	CHECK_OK(sthread_policy_create(&kill_all));
	for (unsigned i = 0; i < sys_table_len; i++)
		CHECK_OK(sthread_policy_syscall(kill_all, sys_table[i].nr, STHREAD_DENY_KILL));
	CHECK_OK(sthread_policy_syscall(kill_all, STHREAD_SYSCALL_OTHERS, STHREAD_DENY_KILL));

	fake_begin(NULL);
	for (unsigned i = 0; i < sys_table_len; i++)
		if (sys_table[i].class == SYS_OUTSIDE)
			CHECK_ERR(CALL(sys_table[i].nr), -ENOSYS);
	CHECK_EQ(CALL(__NR_getpid), FAKE_PID);
	CHECK_ERR(CALL(__NR_ptrace), -ENOSYS);
	CHECK_ERR(CALL(100000), -ENOSYS);
	CHECK_ERR(CALL(-1), -ENOSYS);
	CHECK_ERR(CALL((long)((1UL << 32) + __NR_getpid)), -ENOSYS);

	fake_begin(kill_all);
	for (unsigned i = 0; i < sys_table_len; i++) {
		CHECK_EQ(CALL_ENDS(sys_table[i].nr), STHREAD_DENIED);
		CHECK_EQ(fake_ctx.value, sys_table[i].nr);
	}
	CHECK_EQ(CALL_ENDS(__NR_ptrace), STHREAD_DENIED);
	CHECK_EQ(fake_ctx.value, __NR_ptrace);
	/* Ending is not a right. */
	CHECK_EQ(CALL_ENDS(HOSTCALL_RETURN, 42), STHREAD_RETURNED);
	CHECK_EQ(fake_ctx.value, 42);
	CHECK_EQ(CALL_ENDS(HOSTCALL_EXIT, 43), STHREAD_RETURNED);
	CHECK_EQ(fake_ctx.value, 43);
	/* Such a number, carried by another call; and that call by itself. */
	CHECK_EQ(CALL_ENDS(HOSTCALL_CARRIER, 44, 0, 0, 0, 0, HOSTCALL_EXIT), STHREAD_RETURNED);
	CHECK_EQ(fake_ctx.value, 44);
	CHECK_EQ(CALL_ENDS(HOSTCALL_CARRIER, 45, 0, 0, 0, 0, HOSTCALLS_END), STHREAD_DENIED);
	CHECK_EQ(fake_ctx.value, HOSTCALL_CARRIER);
	sthread_policy_destroy(kill_all);
}

/*
 * Every pointer of every call: nothing there, wrapped, in the kernel's half, of a live host object.
 */
static void bad_pointers(struct sthread_policy *all, int fd, int dir)
{
	static const uint64_t bad[] = { FAKE_NOTHING, 8, UINT64_MAX - 3, DUNE_USER_END,
					0xffffffff80000000UL };

	fake_begin(all);
	for (unsigned i = 0; i < sys_table_len; i++) {
		const struct sys_entry *e = &sys_table[i];

		for (unsigned k = 0; k < 6; k++) {
			uint64_t arg[6];

			if (!has_pointer(&e->arg[k]))
				continue;
			for (unsigned b = 0; b < sizeof(bad) / sizeof(bad[0]); b++) {
				for (unsigned j = 0; j < 6; j++) {
					uint8_t kind = e->arg[j].kind;

					arg[j] = kind == ARG_FD	   ? (uint64_t)fd :
						 kind == ARG_DIRFD ? (uint64_t)dir :
						 kind == ARG_SIZE  ? 8 :
						 kind == ARG_VALUE ? (uint64_t)__builtin_ctzll(
									     e->arg[j].allowed) :
						 kind == ARG_SOCKLEN || has_pointer(&e->arg[j]) ?
								    FAKE_DATA :
								    0;
				}
				memset(fake_host(FAKE_DATA), 0, PAGE);
				*fake_host(FAKE_DATA) = 16; /* a length, where one is looked for */
				arg[k] = bad[b];
				CHECK_MSG(fake_call(e->nr, arg) == -EFAULT,
					  "%s, argument %u = 0x%lx", e->name, k, bad[b]);
			}
			/* A host address of ours is as good as none. */
			arg[k] = (uintptr_t)&fake_ctx;
			CHECK_MSG(fake_call(e->nr, arg) == -EFAULT, "%s, argument %u, host address",
				  e->name, k);
		}
	}
}

/* Results: never to read-only memory, never to the image, nothing beyond. */
static void out_pages(struct sthread_policy *all)
{
	for (unsigned i = 0; i < sys_table_len; i++) {
		const struct sys_entry *e = &sys_table[i];

		for (unsigned k = 0; k < 6; k++) {
			uint64_t arg[6] = { 0 };

			if (e->arg[k].kind != ARG_STRUCT_OUT || !tame(e) || e->class != SYS_ALWAYS)
				continue;
			fake_reset();
			fake_begin(all);
			for (unsigned j = 0; j < 6; j++)
				if (e->arg[j].kind == ARG_SIZE)
					arg[j] = 8;
			arg[k] = FAKE_RO + 8;
			CHECK_MSG(fake_call(e->nr, arg) == -EFAULT, "%s", e->name);
			CHECK_EQ(*fake_host(FAKE_RO + 8), 0x11);
			/* Half on a good page, half on none. */
			arg[k] = FAKE_DATA + FAKE_DATA_PAGES * PAGE - e->arg[k].size / 2;
			CHECK_MSG(fake_call(e->nr, arg) == -EFAULT, "%s", e->name);
			CHECK_EQ(*fake_host(arg[k]), 0);
			/* The twin, across the border of two copy-on-write pages. */
			arg[k] = FAKE_COW + PAGE - e->arg[k].size / 2;
			CHECK_MSG(fake_call(e->nr, arg) >= 0, "%s", e->name);
			CHECK_EQ(fake_edits(), 2);
			CHECK_EQ(*fake_template(FAKE_COW + PAGE - 1), 0xcc);
			CHECK_EQ(*fake_template(FAKE_COW + PAGE), 0xcc);
			CHECK_EQ(*fake_host(arg[k] - 1), 0xcc);
			CHECK_EQ(*fake_host(arg[k] + e->arg[k].size), 0xcc);
		}
	}
	fake_reset();
}

/* Each right by itself, and all but that one. */
static void rights(void)
{
	for (unsigned i = 0; i < sys_table_len; i++) {
		const struct sys_entry *e = &sys_table[i];
		unsigned need = e->arg[0].rights;

		if (!need)
			continue;
		for (unsigned right = 1; right <= STHREAD_FD_ALL; right <<= 1) {
			struct sthread_policy *p = fake_policy_all();
			long r;

			CHECK_OK(sthread_policy_fd(p, 0, STHREAD_FD_ALL & ~right));
			fake_begin(p);
			r = CALL(e->nr, 0, FAKE_NOTHING, 8, FAKE_NOTHING, FAKE_NOTHING,
				 FAKE_NOTHING);
			if (need & right)
				CHECK_MSG(r == -EPERM, "%s without right 0x%x gave %ld", e->name,
					  right, r);
			else
				CHECK_MSG(r != -EPERM,
					  "%s without right 0x%x, which it does not need", e->name,
					  right);
			sthread_policy_destroy(p);
		}
		/* A number that was not granted, though it is open in the master. */
		CHECK_OK(fcntl(1, F_GETFD));
		CHECK_ERR(CALL(e->nr, 1, FAKE_DATA, 8, FAKE_DATA, FAKE_DATA, FAKE_DATA), -EBADF);
		CHECK_ERR(CALL(e->nr, UINT64_MAX, FAKE_DATA, 8), -EBADF);
	}
}

/* Flags and values: one bit at a time beyond what is listed. */
static void flags(struct sthread_policy *all)
{
	fake_begin(all);
	for (unsigned i = 0; i < sys_table_len; i++) {
		const struct sys_entry *e = &sys_table[i];

		for (unsigned k = 0; k < 6; k++) {
			const struct sys_arg *a = &e->arg[k];

			if (a->kind != ARG_FLAGS && a->kind != ARG_VALUE)
				continue;
			for (unsigned bit = 0; bit < 32; bit++) {
				struct sys_call c;
				uint64_t arg[6] = { 0 }, v = a->kind == ARG_FLAGS ? 1U << bit : bit;
				bool ok = a->allowed & (1UL << bit);
				struct sys_entry only = { .arg = { *a } };

				arg[0] = v;
				CHECK_EQ(sys_decode(&fake_ctx, &only, arg, &c), ok ? 0 : -EINVAL);
			}
		}
	}
	CHECK_ERR(CALL(__NR_clock_gettime, 64, FAKE_DATA), -EINVAL);
	CHECK_ERR(CALL(__NR_clock_gettime, UINT64_MAX, FAKE_DATA), -EINVAL);
	CHECK_OK(CALL(__NR_clock_gettime, 0xdead00000001,
		      FAKE_DATA)); /* the upper half of an int is noise */
}

/* ---- the manual page ---- */

static void row(const struct sys_entry *e, char *out, size_t len)
{
	static const char *const right[] = { "READ",	"WRITE", "SEEK",   "STAT",    "POLL", "SOCKOPT",
					     "SHUTDOWN", "FLAGS", "ACCEPT", "CONNECT", "MAKE", "LOCK" };
	char rights[64] = "";

	for (unsigned i = 0; i < sizeof(right) / sizeof(right[0]); i++)
		if (e->arg[0].rights & (1U << i))
			snprintf(rights + strlen(rights), sizeof(rights) - strlen(rights), "%s%s",
				 *rights ? " " : "", right[i]);
	snprintf(out, len, ".It %s Ta %s Ta %s Ta %s\n", e->name,
		 e->class == SYS_ALWAYS ? "always" : "allow", *rights ? rights : "\\(en",
		 e->note ? e->note : "");
	for (size_t n = strlen(out); n > 1 && out[n - 2] == ' '; n--) /* no blank at the end */
		memcpy(out + n - 2, "\n", 2);
}

static void manual(const char *path)
{
	char want[256], line[256];
	unsigned rows = 0, next = 0;
	FILE *f = fopen(path, "r");

	CHECK_MSG(f, "%s", path);
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, ".It ", 4) || !strncmp(line, ".It Sy ", 7) ||
		    !strstr(line, " Ta "))
			continue;
		rows++;
		CHECK_MSG(next < sys_table_len, "%s: more rows than calls", path);
		row(&sys_table[next++], want, sizeof(want));
		CHECK_STR(line, want);
	}
	fclose(f);
	CHECK_EQ(rows, sys_table_len);
}

int main(int argc, char **argv)
{
	struct sthread_policy *all = fake_policy_all();
	int dir = open("/tmp", O_RDONLY | O_DIRECTORY), fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char line[256];

	for (unsigned i = 0; i < sys_table_len && argc > 1 && !strcmp(argv[1], "--rows"); i++) {
		row(&sys_table[i], line, sizeof(line));
		fputs(line, stdout);
	}
	if (argc > 1 && strcmp(argv[1], "--rows"))
		manual(argv[1]);
	consistent();
	fake_reset();
	actions();
	CHECK_OK(sthread_policy_fd(all, fd, STHREAD_FD_ALL));
	CHECK_OK(sthread_policy_dir(all, dir,
				     STHREAD_FD_READ | STHREAD_FD_WRITE | STHREAD_FD_STAT |
					     STHREAD_FD_MAKE));
	bad_pointers(all, fd, dir);
	out_pages(all);
	rights();
	flags(all);
	sthread_policy_destroy(all);
	fake_end();
	sys_ctx_fini(&fake_ctx);
	CHECK_EQ(fd_objects(), 0);
	return TEST_PASSED;
}
