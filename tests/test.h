/* SPDX-License-Identifier: MIT */
/*
 * What a test program needs, and no more. World: host.
 *
 * A test exits 0 (passed), 1 (failed) or 77 (skipped). It is one program for one property, and
 * shows the allowed twin of everything it shows denied. The first failed check ends it; a check
 * that fails in a child process or in a compartment ends only that.
 *
 * Environment:
 *   STHREAD_REQUIRE_KVM=1        a skip is a failure (except SKIP_CPU)
 *   STHREAD_STRESS_PERCENT=N     test_scale() gives N % of what it is asked for
 *   STHREAD_PLACEMENT=host|ring0 where the monitor's decision code is to run
 */
#ifndef TESTS_TEST_H
#define TESTS_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEST_PASSED  0
#define TEST_FAILED  1
#define TEST_SKIPPED 77

/* True if the caller asked that nothing be skipped for want of KVM. */
static inline bool test_kvm_required(void)
{
	const char *s = getenv("STHREAD_REQUIRE_KVM");

	return s && *s && strcmp(s, "0") != 0;
}

/* Says where and why, and ends the program as failed. */
__attribute__((noreturn, format(printf, 3, 4))) static inline void
test_fail(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "%s:%d: ", file, line);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	fflush(stderr);
#ifdef TEST_FUZZ
	abort(); /* libFuzzer keeps the input */
#endif
	_exit(TEST_FAILED);
}

/* Ends the program as skipped; as failed where KVM is required, unless it is the processor's lack. */
__attribute__((noreturn, format(printf, 4, 5))) static inline void
test_skip(const char *file, int line, bool cpu, const char *fmt, ...)
{
	bool fail = test_kvm_required() && !cpu;
	va_list ap;

	fflush(stdout);
	/* "SKIP-CPU:" is what the harness looks for where it counts a skip as a failure. */
	fprintf(stderr, "%s", cpu ? "SKIP-CPU: " : "SKIP: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, " (%s:%d)%s\n", file, line,
		fail ? ", which STHREAD_REQUIRE_KVM forbids" : "");
	fflush(stderr);
	_exit(fail ? TEST_FAILED : TEST_SKIPPED);
}

#define FAIL(...)     test_fail(__FILE__, __LINE__, __VA_ARGS__)

/* For want of KVM, or of what it needs. */
#define SKIP(...)     test_skip(__FILE__, __LINE__, false, __VA_ARGS__)

/* For want of a feature of this processor: stays a skip where KVM is required. */
#define SKIP_CPU(...) test_skip(__FILE__, __LINE__, true, __VA_ARGS__)

/* errno is shown because it often explains; it means nothing if the condition set none. */
#define CHECK(cond)                                                                             \
	do {                                                                                    \
		if (!(cond))                                                                    \
			test_fail(__FILE__, __LINE__, "CHECK(%s) failed (errno %d, %s)", #cond, \
				  errno, strerror(errno));                                      \
	} while (0)

/* CHECK with words of its own: CHECK_MSG(n < 3, "n is %d", n). */
#define CHECK_MSG(cond, fmt, ...)                                                      \
	do {                                                                           \
		if (!(cond))                                                           \
			test_fail(__FILE__, __LINE__, "CHECK(%s) failed: " fmt, #cond, \
				  ##__VA_ARGS__);                                      \
	} while (0)

/* Signedness may differ, for the sake of CHECK_EQ(size, 500); C's conversions apply. */
#define TEST_CMP(a, op, b)                                                               \
	do {                                                                             \
		_Pragma("GCC diagnostic push");                                          \
		_Pragma("GCC diagnostic ignored \"-Wsign-compare\"");                    \
		__auto_type test_a = (a);                                                \
		__auto_type test_b = (b);                                                \
		if (!(test_a op test_b))                                                 \
			test_fail(__FILE__, __LINE__,                                    \
				  "CHECK(%s " #op                                        \
				  " %s) failed: %lld (0x%llx) against %lld (0x%llx)",    \
				  #a, #b, (long long)test_a, (unsigned long long)test_a, \
				  (long long)test_b, (unsigned long long)test_b);        \
		_Pragma("GCC diagnostic pop");                                           \
	} while (0)

/* Integers and pointers; values are shown in decimal and in hexadecimal. */
#define CHECK_EQ(a, b) TEST_CMP(a, ==, b)
#define CHECK_NE(a, b) TEST_CMP(a, !=, b)
#define CHECK_LT(a, b) TEST_CMP(a, <, b)
#define CHECK_LE(a, b) TEST_CMP(a, <=, b)
#define CHECK_GT(a, b) TEST_CMP(a, >, b)
#define CHECK_GE(a, b) TEST_CMP(a, >=, b)

/* A call that gives 0 or a negative errno. */
#define CHECK_OK(call)                                                                           \
	do {                                                                                     \
		long long test_r = (call);                                                       \
		if (test_r != 0)                                                                 \
			test_fail(__FILE__, __LINE__, "%s gave %lld (%s), not 0", #call, test_r, \
				  test_r < 0 ? strerror((int)-test_r) : "positive");             \
	} while (0)

/* CHECK_ERR(sthread_kill(NULL), -EINVAL) */
#define CHECK_ERR(call, err)                                                                     \
	do {                                                                                     \
		long long test_r = (call), test_e = (err);                                       \
		if (test_r != test_e)                                                            \
			test_fail(__FILE__, __LINE__, "%s gave %lld (%s), not %lld (%s)", #call, \
				  test_r, test_r < 0 ? strerror((int)-test_r) : "no error",      \
				  test_e, strerror((int)-test_e));                               \
	} while (0)

#define CHECK_STR(a, b)                                                                            \
	do {                                                                                       \
		const char *test_a = (a), *test_b = (b);                                           \
		if (!test_a || !test_b || strcmp(test_a, test_b) != 0)                             \
			test_fail(__FILE__, __LINE__, "CHECK_STR(%s, %s): \"%s\" against \"%s\"",  \
				  #a, #b, test_a ? test_a : "(null)", test_b ? test_b : "(null)"); \
	} while (0)

/* `text` holds `part` somewhere. */
#define CHECK_HAS(text, part)                                                                \
	do {                                                                                 \
		const char *test_a = (text), *test_b = (part);                               \
		if (!test_a || !strstr(test_a, test_b))                                      \
			test_fail(__FILE__, __LINE__, "\"%s\" not found in %s:\n%s", test_b, \
				  #text, test_a ? test_a : "(null)");                        \
	} while (0)

/* The first difference is shown. */
#define CHECK_MEM(a, b, len)                                                                         \
	do {                                                                                         \
		const unsigned char *test_a = (const void *)(a), *test_b = (const void *)(b);        \
		size_t test_n = (len);                                                               \
		for (size_t test_i = 0; test_i < test_n; test_i++)                                   \
			if (test_a[test_i] != test_b[test_i])                                        \
				test_fail(                                                           \
					__FILE__, __LINE__,                                          \
					"CHECK_MEM(%s, %s, %zu): byte %zu is 0x%02x against 0x%02x", \
					#a, #b, test_n, test_i, test_a[test_i], test_b[test_i]);     \
	} while (0)

/* A heading for what follows, so that the log of a failure says how far it came. */
#define NOTE(...)                    \
	do {                         \
		printf(__VA_ARGS__); \
		putchar('\n');       \
		fflush(stdout);      \
	} while (0)

/*
 * How often to repeat a stress step that asks for `n` rounds: STHREAD_STRESS_PERCENT of it
 * (default 100), at least 1. Prints the number, so that a log never hides what was not done.
 */
static inline unsigned long test_scale(unsigned long n)
{
	const char *s = getenv("STHREAD_STRESS_PERCENT");
	unsigned long percent = 100, scaled;
	char *end;

	if (s && *s) {
		errno = 0;
		percent = strtoul(s, &end, 10);
		if (errno || *end || *s == '-' || percent > 1000000)
			FAIL("STHREAD_STRESS_PERCENT=%s is not a percentage", s);
	}
	scaled = (unsigned long)((unsigned __int128)n * percent / 100);
	if (scaled < 1)
		scaled = 1;
	NOTE("rounds: %lu (%lu %% of %lu)", scaled, percent, n);
	return scaled;
}

enum test_placement {
	TEST_PLACEMENT_DEFAULT, /* the library's own choice */
	TEST_PLACEMENT_HOST,
	TEST_PLACEMENT_RING0,
	TEST_PLACEMENT_PROCESS, /* no KVM: stub processes */
};

/* Where the run asks compartments to be: on KVM, with the monitor's decision code on either side; or without. */
static inline enum test_placement test_placement(void)
{
	const char *s = getenv("STHREAD_PLACEMENT");

	if (!s || !*s)
		return TEST_PLACEMENT_DEFAULT;
	if (!strcmp(s, "host"))
		return TEST_PLACEMENT_HOST;
	if (!strcmp(s, "ring0"))
		return TEST_PLACEMENT_RING0;
	if (!strcmp(s, "process"))
		return TEST_PLACEMENT_PROCESS;
	FAIL("STHREAD_PLACEMENT=%s is neither host nor ring0 nor process", s);
}

/*
 * An open /dev/kvm, or the end of the test: skipped where there is none to be had. Its own open,
 * not the library's, so that a library that cannot find KVM fails where there is one.
 */
static inline int test_open_kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		SKIP("/dev/kvm: %s", strerror(errno));
	return fd;
}

/* Ends a test of KVM alone. */
static inline void test_needs_kvm(void)
{
	if (test_placement() == TEST_PLACEMENT_PROCESS)
		SKIP("about KVM alone");
	close(test_open_kvm());
}

/* Ends the test where the run asks for KVM and there is none. */
static inline void test_needs_machine(void)
{
	if (test_placement() != TEST_PLACEMENT_PROCESS)
		close(test_open_kvm());
}

#endif
