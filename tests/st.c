/* SPDX-License-Identifier: MIT */
/* st.c - what tests of whole compartments share.  World: host; echo() and twice() run inside. */
#include "tests/st.h"

#include <cpuid.h>
#include <poll.h>

/* ---- init -------------------------------------------------------------------------------------------- */

void st_init_with(struct sthread_config cfg)
{
	int err;

	test_needs_machine();
	cfg.size = sizeof(cfg);
	cfg.machine = cfg.machine ? cfg.machine : STHREAD_MACHINE_KVM;
	switch (test_placement()) {
	case TEST_PLACEMENT_DEFAULT: break;
	case TEST_PLACEMENT_PROCESS: cfg.machine = STHREAD_MACHINE_PROCESS; break;
	case TEST_PLACEMENT_HOST: cfg.placement = STHREAD_PLACE_HOST; break;
	case TEST_PLACEMENT_RING0: cfg.placement = STHREAD_PLACE_RING0; break;
	}
	err = sthread_init(&cfg);
	if (err)
		FAIL("sthread_init: %s", strerror(-err));
}

void st_init(void)
{
	st_init_with((struct sthread_config){ 0 });
}

/* ---- policies ---------------------------------------------------------------------------------------- */

struct sthread_policy *st_policy(void)
{
	struct sthread_policy *p;

	CHECK_OK(sthread_policy_create(&p));
	return p;
}

void st_action(struct sthread_policy *p, long nr, enum sthread_action action)
{
	int err = sthread_policy_syscall(p, nr, action);

	if (err)
		FAIL("sthread_policy_syscall(%ld, %d): %s", nr, (int)action, strerror(-err));
}

void st_allow_list(struct sthread_policy *p, const long *nr, size_t n)
{
	for (size_t i = 0; i < n; i++)
		st_action(p, nr[i], STHREAD_ALLOW);
}

void st_grant(struct sthread_policy *p, int fd, unsigned rights)
{
	CHECK_OK(sthread_policy_fd(p, fd, rights));
}

void st_grant_dir(struct sthread_policy *p, int dirfd, unsigned rights)
{
	CHECK_OK(sthread_policy_dir(p, dirfd, rights));
}

void st_limit(struct sthread_policy *p, enum sthread_limit limit, uint64_t value)
{
	CHECK_OK(sthread_policy_limit(p, limit, value));
}

struct sthread_policy *st_policy_all_calls(void)
{
	struct sthread_policy *p = st_policy();

	unsigned n = 0;

	for (long nr = 0; nr < 512; nr++)
		n += sthread_policy_syscall(p, nr, STHREAD_ALLOW) == 0;
	CHECK_GE(n, 115u);
	return p;
}

/* ---- runs -------------------------------------------------------------------------------------------- */

static struct sthread_policy *nothing(void)
{
	static struct sthread_policy *p;

	if (!p)
		p = st_policy();
	return p;
}

struct sthread_result st_call(const struct sthread_policy *p, st_fn *fn, void *arg)
{
	struct sthread_result r;

	CHECK_OK(sthread_call(p ? p : nothing(), fn, arg, &r));
	return r;
}

struct sthread *st_create(const struct sthread_policy *p, st_fn *fn, void *arg)
{
	struct sthread *st;

	CHECK_OK(sthread_create(&st, p ? p : nothing(), fn, arg));
	return st;
}

struct sthread_result st_join(struct sthread *st)
{
	struct sthread_result r;

	CHECK_OK(sthread_join(st, &r));
	return r;
}

struct sthread_result st_run(const struct sthread_policy *p, st_fn *fn, void *arg)
{
	return st_join(st_create(p, fn, arg));
}

st_run_fn *const st_both[2] = { st_call, st_run };

unsigned st_slow(void)
{
	unsigned a, b, c, d;

	__cpuid(0x40000000, a, b, c, d);
	return b == 0x54474354 ? 10 : 1; /* "TCGT": QEMU's own */
}

uint64_t st_late(void)
{
	return 2000000000UL * st_slow();
}

const char *st_words(const struct sthread_result *r)
{
	static const char *const end[] = { "returned", "exited",     "aborted", "faulted",
					   "denied",   "over limit", "killed",  "lost",
					   "was not started" };
	static char text[12288];
	int n = snprintf(text, sizeof(text), "it %s, value %p, limit %d, fault %d, message \"%s\"\n",
			 (unsigned)r->end < sizeof(end) / sizeof(end[0]) ? end[r->end] : "ended strangely",
			 r->value, (int)r->limit, (int)r->fault, r->message);

	if (r->end != STHREAD_RETURNED && r->end != STHREAD_EXITED &&
	    sthread_fault_format(r, text + n, sizeof(text) - (size_t)n) < 0)
		FAIL("sthread_fault_format failed");
	return text;
}

void st_expect_end(const char *file, int line, const struct sthread_result *r, enum sthread_end end)
{
	if (r->end != end)
		test_fail(file, line, "end %d expected: %s", (int)end, st_words(r));
}

void st_expect_value(const char *file, int line, const struct sthread_result *r, enum sthread_end end,
		     uint64_t value)
{
	st_expect_end(file, line, r, end);
	if ((uint64_t)r->value != value)
		test_fail(file, line, "value %#" PRIx64 " (%" PRId64 ") expected: %s", value, (int64_t)value,
			  st_words(r));
}

void st_expect_limit(const char *file, int line, const struct sthread_result *r, enum sthread_limit limit)
{
	st_expect_end(file, line, r, STHREAD_OVER_LIMIT);
	if (r->limit != limit)
		test_fail(file, line, "limit %d expected: %s", (int)limit, st_words(r));
}

void st_expect_abort(const char *file, int line, const struct sthread_result *r, const char *message)
{
	st_expect_end(file, line, r, STHREAD_ABORTED);
	if (!strstr(r->message, message))
		test_fail(file, line, "message \"%s\" expected: %s", message, st_words(r));
}

void st_expect_pass(const char *file, int line, const struct sthread_policy *p, st_fn *fn, const char *name,
		    void *arg)
{
	struct sthread_result r = st_call(p, fn, arg);

	if (r.end != STHREAD_RETURNED || r.value)
		test_fail(file, line, "%s did not pass: %s", name, st_words(&r));
}

/* ---- faults ------------------------------------------------------------------------------------------ */

static bool in_backtrace(const struct sthread_result *r, const char *start)
{
	for (unsigned i = 0; i < r->frames; i++)
		if (r->backtrace[i] >= (uint64_t)start && r->backtrace[i] < (uint64_t)start + 4096)
			return true;
	return false;
}

void st_expect_fault(const char *file, int line, const struct sthread_result *r, enum sthread_fault kind,
		     uint64_t address, uint64_t access, struct st_place in, const char *text)
{
	const char *words;

	st_expect_end(file, line, r, STHREAD_FAULTED);
	words = st_words(r);
	if (r->fault != kind)
		test_fail(file, line, "fault %d expected: %s", (int)kind, words);
	if (address != ST_ANY && r->address != address)
		test_fail(file, line, "address %#" PRIx64 " expected: %s", address, words);
	if (access != ST_ANY && r->access != access)
		test_fail(file, line, "access %" PRIu64 " expected, not %u: %s", access, r->access, words);
	if (in.end && (r->ip < (uint64_t)in.start || r->ip >= (uint64_t)in.end))
		test_fail(file, line, "ip %#" PRIx64 " is not in %s, %p-%p: %s", r->ip, in.name, (const void *)in.start,
			  (const void *)in.end, words);
	if (in.start && !in_backtrace(r, in.start))
		test_fail(file, line, "%s is not in the backtrace: %s", in.name, words);
	if (in.name && !strstr(words, in.name))
		test_fail(file, line, "the report does not name %s: %s", in.name, words);
	if (text && !strstr(words, text))
		test_fail(file, line, "the report does not say \"%s\": %s", text, words);
}

/* ---- the others go on -------------------------------------------------------------------------------- */

/* Inside: answers each word with its double, until there are no more.  arg: read end << 16 | write end. */
static void *echo(void *arg)
{
	int in = (int)((uintptr_t)arg >> 16), out = (int)((uintptr_t)arg & 0xffff);
	uint64_t word;

	while (read(in, &word, sizeof(word)) == sizeof(word)) {
		word *= 2;
		if (write(out, &word, sizeof(word)) != sizeof(word))
			break;
	}
	return NULL;
}

/* Inside. */
static void *twice(void *arg)
{
	return (void *)((uintptr_t)arg * 2);
}

void st_others_live(void)
{
	static uint64_t word = 1;
	static int to = -1, from;
	struct sthread_result r;
	uint64_t answer = 0;
	struct pollfd wait;

	if (to < 0) {
		int there[2], back[2];
		struct sthread_policy *p = st_policy();

		CHECK(!pipe2(there, O_CLOEXEC) && !pipe2(back, O_CLOEXEC));
		st_allow(p, SYS_read, SYS_write);
		st_grant(p, there[0], STHREAD_FD_READ);
		st_grant(p, back[1], STHREAD_FD_WRITE);
		st_create(p, echo, (void *)((uintptr_t)there[0] << 16 | (unsigned)back[1]));
		sthread_policy_destroy(p);
		close(there[0]);
		close(back[1]);
		to = there[1];
		from = back[0];
	}
	word++;
	CHECK_EQ(write(to, &word, sizeof(word)), sizeof(word));
	wait = (struct pollfd){ .fd = from, .events = POLLIN };
	CHECK_MSG(poll(&wait, 1, 20000) == 1, "the other sthread does not answer");
	CHECK_MSG(read(from, &answer, sizeof(answer)) == sizeof(answer), "the other sthread has ended");
	CHECK_EQ(answer, word * 2);
	r = st_call(NULL, twice, (void *)word);
	ST_RETURNED(&r, word * 2);
}
