/* SPDX-License-Identifier: MIT */
/* The macros of test.h end a program with the status and the words that they promise. World: host. */
#include <sys/wait.h>

#include "tests/test.h"

static char output[4096];

/* Runs fn in a child, keeps what it wrote in `output`, gives its exit status. */
static int run(void (*fn)(void), const char *require_kvm)
{
	int pipefd[2], status;
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	CHECK(pipe(pipefd) == 0);
	fflush(NULL);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		setenv("STHREAD_REQUIRE_KVM", require_kvm, 1);
		dup2(pipefd[1], STDOUT_FILENO);
		dup2(pipefd[1], STDERR_FILENO);
		close(pipefd[0]);
		close(pipefd[1]);
		fn();
		fflush(stdout);
		_exit(TEST_PASSED);
	}
	close(pipefd[1]);
	while ((n = read(pipefd[0], output + len, sizeof(output) - 1 - len)) > 0)
		len += (size_t)n;
	output[len] = '\0';
	close(pipefd[0]);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void all_pass(void)
{
	int one = 1;

	CHECK(one);
	CHECK_EQ(one, 1);
	CHECK_NE(one, 2);
	CHECK_LT(one, 2);
	CHECK_GE(one, 1);
	CHECK_OK(0);
	CHECK_ERR(-EINVAL, -EINVAL);
	CHECK_STR("a", "a");
	CHECK_HAS("abc", "bc");
	CHECK_MEM("abc", "abd", 2);
	CHECK_EQ((void *)&one, (void *)&one);
}

static void fail_check(void)
{
	CHECK(1 == 2);
}
static void fail_eq(void)
{
	CHECK_EQ(0x10 + 1, 18);
}
static void fail_ok(void)
{
	CHECK_OK(-EBUSY);
}
static void fail_err(void)
{
	CHECK_ERR(0, -EINVAL);
}
static void fail_str(void)
{
	CHECK_STR("a", "b");
}
static void fail_has(void)
{
	CHECK_HAS("abc", "d");
}
static void fail_mem(void)
{
	CHECK_MEM("abc", "abd", 3);
}
static void skip(void)
{
	SKIP("no %s here", "KVM");
}
static void skip_cpu(void)
{
	SKIP_CPU("no AMX");
}

static void scale(void)
{
	unsetenv("STHREAD_STRESS_PERCENT");
	CHECK_EQ(test_scale(500), 500);
	setenv("STHREAD_STRESS_PERCENT", "10", 1);
	CHECK_EQ(test_scale(500), 50);
	CHECK_EQ(test_scale(3), 1);
	setenv("STHREAD_STRESS_PERCENT", "0", 1);
	CHECK_EQ(test_scale(500), 1);
}

static void scale_nonsense(void)
{
	setenv("STHREAD_STRESS_PERCENT", "ten", 1);
	test_scale(1);
}

static void placement(void)
{
	unsetenv("STHREAD_PLACEMENT");
	CHECK_EQ(test_placement(), TEST_PLACEMENT_DEFAULT);
	setenv("STHREAD_PLACEMENT", "host", 1);
	CHECK_EQ(test_placement(), TEST_PLACEMENT_HOST);
	setenv("STHREAD_PLACEMENT", "ring0", 1);
	CHECK_EQ(test_placement(), TEST_PLACEMENT_RING0);
}

int main(void)
{
	CHECK_EQ(run(all_pass, "1"), TEST_PASSED);

	CHECK_EQ(run(fail_check, "0"), TEST_FAILED);
	CHECK_HAS(output, "test_h.c:");
	CHECK_HAS(output, "1 == 2");
	CHECK_EQ(run(fail_eq, "0"), TEST_FAILED);
	CHECK_HAS(output, "17 (0x11) against 18 (0x12)");
	CHECK_EQ(run(fail_ok, "0"), TEST_FAILED);
	CHECK_HAS(output, "-16");
	CHECK_EQ(run(fail_err, "0"), TEST_FAILED);
	CHECK_EQ(run(fail_str, "0"), TEST_FAILED);
	CHECK_EQ(run(fail_has, "0"), TEST_FAILED);
	CHECK_EQ(run(fail_mem, "0"), TEST_FAILED);
	CHECK_HAS(output, "byte 2 is 0x63 against 0x64");

	CHECK_EQ(run(skip, "0"), TEST_SKIPPED);
	CHECK_HAS(output, "SKIP: no KVM here");
	CHECK_EQ(run(skip, "1"), TEST_FAILED);
	CHECK_EQ(run(skip_cpu, "1"), TEST_SKIPPED);
	CHECK_HAS(output, "SKIP-CPU: no AMX");

	CHECK_EQ(run(scale, "0"), TEST_PASSED);
	CHECK_HAS(output, "rounds: 50 (10 % of 500)");
	CHECK_EQ(run(scale_nonsense, "0"), TEST_FAILED);
	CHECK_EQ(run(placement, "0"), TEST_PASSED);
	return TEST_PASSED;
}
