/* SPDX-License-Identifier: MIT */
/*
 * st_gate_calls.c - a call of a gate, of each kind and from each place: the message goes both ways, the function has the
 * gate's rights and not the caller's, and the caller learns how it ended.  World: host; gates and ST_FN: inside.
 */
#include <sys/mman.h>

#include "tests/kvm/st_life.h"
#include "tests/st_gate.h"

#define MOST STHREAD_GATE_MESSAGE

static struct sthread_policy *granted;
static int file; /* a memfd; only gates may write it */

static char *volatile nowhere = (char *)0x18;

/* ---- gates ------------------------------------------------------------------------------------------------- */

/* The message backwards, and that `out` was zeros. */
static ssize_t backwards(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	unsigned char *to = out;

	CHECK(trusted == (void *)0x7457);
	for (size_t i = 0; i < out_cap; i++)
		if (to[i])
			return -EILSEQ;
	if (in_len > out_cap)
		return -ENOSPC;
	for (size_t i = 0; i < in_len; i++)
		to[i] = ((const unsigned char *)in)[in_len - 1 - i];
	return (ssize_t)in_len;
}

/* Fills all of `out`, and says that as much of it is the answer as the message tells. */
static ssize_t fills(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	ssize_t n;

	(void)trusted;
	CHECK_EQ(in_len, sizeof(n));
	memcpy(&n, in, sizeof(n));
	memset(out, 'f', out_cap);
	return n;
}

/* What its caller may not. */
static ssize_t writes_file(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	ssize_t n = pwrite((int)(intptr_t)trusted, in, in_len, 0);

	(void)out;
	(void)out_cap;
	return n < 0 ? -errno : 0;
}

static ssize_t who(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct sthread_id id;
	int err = sthread_gate_caller(&id);

	(void)trusted;
	(void)in;
	(void)in_len;
	if (err)
		return err;
	CHECK_EQ(id.master, id.run == 0);
	return gate_answer(out, out_cap, (int64_t)id.run);
}

enum how { RETURNS, FAULTS, ABORTS, EXITS, EXITS_SOFTLY, DENIED, SPINS, EATS };

static ssize_t ends(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)trusted;
	(void)out;
	CHECK_EQ(in_len, 1);
	switch (*(const unsigned char *)in) {
	case FAULTS: *nowhere = 1; break;
	case ABORTS: abort();
	case EXITS: _exit(3);
	case EXITS_SOFTLY: sthread_exit((void *)5);
	case DENIED: syscall(SYS_write, 1, "", 1); break;
	case SPINS: for (;;) __asm__ volatile("");
	case EATS:
		for (;;)
			memset(mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 1, 1 << 20);
	}
	return (ssize_t)out_cap;
}

/* ---- inside --------------------------------------------------------------------------------------------------- */

static unsigned char message[MOST], answer[MOST];

/* arg: 0 inside, 1 in the master. */
static void lengths(struct sthread_gate *g)
{
	static const size_t some[] = { 0, 1, 15, 16, 100, 4031, 4032, 4033, 4096, 12289, MOST - 1, MOST };

	for (size_t i = 0; i < sizeof(message); i++)
		message[i] = (unsigned char)(i * 7 + i / 251);
	for (size_t k = 0; k < sizeof(some) / sizeof(some[0]); k++) {
		size_t n = some[k];

		memset(answer, 'a', sizeof(answer));
		CHECK_EQ(sthread_gate_call(g, message, n, answer, n), (ssize_t)n);
		for (size_t i = 0; i < n; i++)
			CHECK_EQ(answer[i], message[n - 1 - i]);
		CHECK(n == MOST || answer[n] == 'a');
	}
	CHECK_ERR(sthread_gate_call(g, message, 2, answer, 1), -ENOSPC);
	CHECK_EQ(sthread_gate_call(g, NULL, 0, NULL, 0), 0);
	CHECK_EQ(sthread_gate_call(g, NULL, 0, answer, MOST), 0);
	CHECK_ERR(sthread_gate_call(g, message, MOST + 1, answer, 1), -EMSGSIZE);
	CHECK_ERR(sthread_gate_call(g, message, 1, answer, MOST + 1), -EMSGSIZE);
	/* One buffer for both. */
	memcpy(answer, "abc", 3);
	CHECK_EQ(sthread_gate_call(g, answer, 3, answer, 3), 3);
	CHECK_MEM(answer, "cba", 3);
}

static void partial(struct sthread_gate *g)
{
	static const struct { ssize_t says, gives; } some[] = {
		{ 0, 0 }, { 1, 1 }, { 99, 99 }, { 100, 100 }, { 101, -EPROTO }, { INT64_MAX, -EPROTO },
		{ -1, -1 }, { -EPIPE, -EPIPE }, { -4095, -4095 }, { -4096, -EPROTO }, { INT64_MIN, -EPROTO },
	};

	for (size_t k = 0; k < sizeof(some) / sizeof(some[0]); k++) {
		size_t n = some[k].gives > 0 ? (size_t)some[k].gives : 0;

		memset(answer, 'a', sizeof(answer));
		CHECK_EQ(sthread_gate_call(g, &some[k].says, sizeof(ssize_t), answer, 100), some[k].gives);
		for (size_t i = 0; i < 200; i++)
			CHECK_EQ(answer[i], i < n ? 'f' : 'a');
	}
}

static const char *const kinds[] = { "fresh", "recycled", "native" };

static struct sthread_gate *found(const char *what, const char *kind)
{
	struct sthread_gate *g;
	char name[STHREAD_GATE_NAME];

	snprintf(name, sizeof(name), "%s %s", what, kind);
	CHECK_OK(sthread_gate_find(&g, name));
	return g;
}

ST_FN(calls_all)
{
	for (int k = 0; k < 3; k++) {
		lengths(found("backwards", kinds[k]));
		partial(found("fills", kinds[k]));
	}
	return NULL;
}

ST_FN(uses_rights)
{
	CHECK(write(file, "not by me", 9) < 0);
	CHECK_EQ(errno, ENOSYS);
	CHECK_EQ(gate_ask("writes", "by the gate", 11, NULL, 0), 0);
	return NULL;
}

ST_FN(asks_who)
{
	int64_t a = gate_word("who fresh"), b = gate_word("who recycled"), c = gate_word("who native");

	CHECK(a > 0 && a == b && b == c);
	return (void *)a;
}

ST_FN(not_in_a_gate)
{
	struct sthread_id id = { 77, false };
	struct sthread_gate *g = (struct sthread_gate *)5;

	CHECK_ERR(sthread_gate_caller(&id), -EINVAL);
	CHECK_ERR(sthread_gate_caller(NULL), -EINVAL);
	CHECK_EQ(id.run, 77);
	CHECK_ERR(sthread_gate_give_fd(0, STHREAD_FD_READ), -EINVAL);
	CHECK_ERR(sthread_gate_find(&g, "who"), -ENOENT);
	CHECK_ERR(sthread_gate_find(&g, ""), -ENOENT);
	CHECK_ERR(sthread_gate_find(&g, "a name that is longer than any name of a gate can be"), -ENOENT);
	CHECK_ERR(sthread_gate_find(&g, (const char *)0x10), -EFAULT);
	CHECK_ERR(sthread_gate_find(NULL, "who fresh"), -EINVAL);
	CHECK(g == (struct sthread_gate *)5);
	CHECK_OK(sthread_gate_find(&g, "who fresh"));
	CHECK_ERR(sthread_gate_create(&g, NULL), -EINVAL);
	CHECK_ERR(sthread_policy_gate(NULL, NULL), -EINVAL);
	CHECK_ERR(sthread_gate_last_result(g, NULL), -EPERM);
	sthread_gate_destroy(g); /* does nothing */
	CHECK_GT(gate_word("who fresh"), 0);
	return NULL;
}

/* ---- outside ------------------------------------------------------------------------------------------------------ */

static struct sthread_gate *three(const char *what, sthread_gate_fn *fn, struct sthread_gate *all[3])
{
	char name[STHREAD_GATE_NAME];

	for (int k = 0; k < 3; k++) {
		snprintf(name, sizeof(name), "%s %s", what, kinds[k]);
		all[k] = GATE(.name = name, .fn = fn, .trusted = (void *)0x7457, .native = k == 2,
			      .kind = k == 1 ? STHREAD_GATE_RECYCLED : STHREAD_GATE_FRESH);
		CHECK_OK(sthread_policy_gate(granted, all[k]));
	}
	return all[0];
}

static void ids(struct sthread_gate *const gate[3])
{
	struct sthread_result a = st_call(granted, asks_who, NULL), b = st_call(granted, asks_who, NULL),
			      c = st_run(granted, asks_who, NULL);
	int64_t word;

	ST_END(&a, STHREAD_RETURNED);
	ST_END(&b, STHREAD_RETURNED);
	ST_END(&c, STHREAD_RETURNED);
	CHECK(a.value != b.value && b.value != c.value && c.value != a.value);
	for (int k = 0; k < 3; k++) {
		word = -1;
		CHECK_EQ(sthread_gate_call(gate[k], NULL, 0, &word, sizeof(word)), (ssize_t)sizeof(word));
		CHECK_EQ(word, 0);
	}
}

static void endings(void)
{
	static const struct { enum how how; ssize_t gives; enum sthread_end end; } some[] = {
		{ FAULTS, -EIO, STHREAD_FAULTED },	 { ABORTS, -EIO, STHREAD_ABORTED },
		{ EXITS, -EIO, STHREAD_EXITED },	 { DENIED, -EACCES, STHREAD_DENIED },
		{ SPINS, -ETIMEDOUT, STHREAD_OVER_LIMIT }, { EATS, -EDQUOT, STHREAD_OVER_LIMIT },
	};
	struct sthread_policy *p = st_policy(), *brief = st_policy();

	st_limit(brief, STHREAD_LIMIT_WALL_NS, 300000000UL * st_slow());
	st_action(p, SYS_write, STHREAD_DENY_KILL);
	st_limit(p, STHREAD_LIMIT_MEMORY, 3UL << 20);
	for (int kind = 0; kind < 2; kind++) {
		struct sthread_gate *g = GATE(.fn = ends, .policy = p, .kind = (enum sthread_gate_kind)kind),
				    *spins = GATE(.fn = ends, .policy = brief, .kind = (enum sthread_gate_kind)kind);
		struct sthread_result r;
		unsigned char how = RETURNS;
		uint64_t calls = life_stats().gate_calls, faults = life_stats().gate_faults;

		CHECK_ERR(sthread_gate_last_result(g, &r), -ENOENT);
		for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
			struct sthread_gate *it = some[i].how == SPINS ? spins : g;

			how = (unsigned char)some[i].how;
			CHECK_EQ(sthread_gate_call(it, &how, 1, answer, 9), some[i].gives);
			CHECK_OK(sthread_gate_last_result(it, &r));
			ST_END(&r, some[i].end);
			how = RETURNS;
			CHECK_EQ(sthread_gate_call(it, &how, 1, answer, 9), 9);
		}
		how = EXITS_SOFTLY;
		CHECK_EQ(sthread_gate_call(g, &how, 1, answer, 9), 5);
		how = FAULTS;
		CHECK_EQ(sthread_gate_call(g, &how, 1, answer, 9), -EIO);
		CHECK_OK(sthread_gate_last_result(g, &r));
		CHECK(r.fault == STHREAD_FAULT_MEMORY && r.address == 0x18 && r.access == 2);
		CHECK_HAS(st_words(&r), "ends");
		CHECK_EQ(life_stats().gate_calls - calls, 14);
		CHECK_EQ(life_stats().gate_faults - faults, 7);
		sthread_gate_destroy(g);
		sthread_gate_destroy(spins);
	}
	sthread_policy_destroy(p);
	sthread_policy_destroy(brief);
}

static void errors(struct sthread_gate *g)
{
	struct sthread_gate_config good = { .size = sizeof(good), .fn = who }, c;
	struct sthread_policy *p = st_policy();
	struct sthread_gate *out = (struct sthread_gate *)5;
	struct sthread_result r;
	struct sthread_id id;

#define BAD(err, ...)                                                  \
	do {                                                           \
		c = good;                                              \
		__VA_ARGS__;                                           \
		CHECK_ERR(sthread_gate_create(&out, &c), (err));       \
		CHECK(out == (struct sthread_gate *)5);                \
	} while (0)
	BAD(-EINVAL, c.size--);
	BAD(-EINVAL, c.fn = NULL);
	BAD(-EINVAL, c.fn = (sthread_gate_fn *)(uintptr_t)message);
	BAD(-EINVAL, c.fn = (sthread_gate_fn *)0x1000);
	BAD(-EINVAL, c.name = "a name that is longer than any name");
	BAD(-EINVAL, c.kind = STHREAD_GATE_RESIDENT + 1);
	BAD(-ENOTSUP, c.kind = STHREAD_GATE_RESIDENT);
	BAD(-EINVAL, c.native = true; c.kind = STHREAD_GATE_RECYCLED);
	BAD(-EINVAL, c.native = true; c.policy = p);
#undef BAD
	CHECK_ERR(sthread_gate_create(NULL, &good), -EINVAL);
	CHECK_ERR(sthread_gate_create(&out, NULL), -EINVAL);
	CHECK_ERR(sthread_gate_call(NULL, NULL, 0, NULL, 0), -EINVAL);
	CHECK_ERR(sthread_gate_call(g, NULL, 1, NULL, 0), -EINVAL);
	CHECK_ERR(sthread_gate_call(g, NULL, 0, NULL, 1), -EINVAL);
	CHECK_ERR(sthread_gate_last_result(NULL, &r), -EINVAL);
	CHECK_ERR(sthread_gate_last_result(g, NULL), -EINVAL);
	CHECK_ERR(sthread_policy_gate(NULL, g), -EINVAL);
	CHECK_ERR(sthread_policy_gate(p, NULL), -EINVAL);
	CHECK_OK(sthread_policy_gate(p, g));
	CHECK_ERR(sthread_policy_gate(p, g), -EEXIST);
	CHECK_ERR(sthread_gate_find(&out, "who fresh"), -EINVAL);
	CHECK_ERR(sthread_gate_caller(&id), -EINVAL);
	CHECK_ERR(sthread_gate_give_fd(file, STHREAD_FD_READ), -EINVAL);
	sthread_gate_destroy(NULL);
	sthread_policy_destroy(p);
}

int main(void)
{
	struct sthread_gate *back[3], *fill[3], *asks[3], *writes;
	struct sthread_policy *p;
	struct sthread_result r;
	char text[16] = "";

	file = memfd_create("gate", MFD_CLOEXEC);
	st_init();
	granted = st_policy();
	three("backwards", backwards, back);
	three("fills", fills, fill);
	three("who", who, asks);
	p = st_policy();
	st_allow(p, SYS_pwrite64);
	st_grant(p, file, STHREAD_FD_WRITE | STHREAD_FD_SEEK);
	writes = GATE(.name = "writes", .fn = writes_file, .policy = p, .trusted = (void *)(intptr_t)file);
	sthread_policy_destroy(p);
	CHECK_OK(sthread_policy_gate(granted, writes));
	for (int k = 0; k < 3; k++) {
		lengths(back[k]);
		partial(fill[k]);
	}
	ST_PASSES(granted, calls_all, NULL);
	r = st_run(granted, calls_all, NULL);
	ST_RETURNED(&r, 0);
	ST_PASSES(granted, uses_rights, NULL);
	CHECK_EQ(pread(file, text, sizeof(text), 0), 11);
	CHECK_STR(text, "by the gate");
	ST_PASSES(granted, not_in_a_gate, NULL);
	ids(asks);
	endings();
	errors(asks[0]);
	for (int k = 0; k < 3; k++) {
		sthread_gate_destroy(back[k]);
		sthread_gate_destroy(fill[k]);
		sthread_gate_destroy(asks[k]);
	}
	sthread_gate_destroy(writes);
	sthread_policy_destroy(granted);
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
