/* SPDX-License-Identifier: MIT */
/*
 * Gates that compartments make are called by those who were granted them, by their own handles and in their order; what
 * their maker fixed no caller changes, and no configuration makes more of them.  World: host; gates and ST_FN: inside.
 */
#include <stddef.h>

#include "tests/st_nested.h"

struct board {
	char *edge;
	_Atomic uint64_t go, calls, stolen, stolen_policy;
};

/* ---- it works ---- */

struct answer {
	uint64_t trusted, count, caller, text;
	bool master;
};

static ssize_t says(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	static uint64_t count;
	struct sthread_id id;
	struct answer a = { .trusted = (uint64_t)trusted, .count = ++count };

	CHECK_OK(sthread_gate_caller(&id));
	a.caller = id.run;
	a.master = id.master;
	memcpy(&a.text, in, in_len < sizeof(a.text) ? in_len : sizeof(a.text));
	if (out_cap < sizeof(a))
		return -EMSGSIZE;
	memcpy(out, &a, sizeof(a));
	return sizeof(a);
}

static struct answer say(struct sthread_gate *g, uint64_t text)
{
	struct answer a;

	CHECK_EQ(sthread_gate_call(g, &text, sizeof(text), &a, sizeof(a)), (ssize_t)sizeof(a));
	CHECK_EQ(a.text, text);
	CHECK(!a.master);
	return a;
}

/* A child: by name and by number; `trusted` is what it cannot know, and its message does not say. */
ST_FN(calls_both)
{
	struct sthread_gate *keeps = arg, *found;
	struct answer a, b;

	CHECK_OK(sthread_gate_find(&found, "keeps"));
	CHECK(found == keeps);
	a = say(keeps, 0xbad);
	b = say(keeps, 0xbad2);
	CHECK_EQ(a.trusted, 0x5ec2e7);
	CHECK_EQ(b.trusted, 0x5ec2e7);
	CHECK_EQ(b.count, a.count + 1);
	CHECK_EQ(a.caller, b.caller);
	CHECK_OK(sthread_gate_find(&found, "begins"));
	for (int i = 0; i < 3; i++)
		CHECK_EQ(say(found, 1).count, 1);
	CHECK_EQ(say(found, 1).caller, a.caller);
	CHECK_ERR(sthread_gate_find(&found, "withheld"), -ENOENT);
	return (void *)a.caller;
}

ST_FN(makes_and_calls)
{
	struct sthread_policy *p = fresh();
	struct sthread_gate *keeps, *begins, *found;
	struct sthread_result r;
	uint64_t me;

	keeps = GATE(.name = "keeps", .fn = says, .trusted = (void *)0x5ec2e7, .kind = STHREAD_GATE_RECYCLED);
	begins = GATE(.name = "begins", .fn = says, .trusted = (void *)7);
	GATE(.name = "withheld", .fn = says);
	CHECK_OK(sthread_gate_find(&found, "withheld"));
	CHECK_OK(sthread_gate_find(&found, "keeps"));
	CHECK(found == keeps);
	me = say(keeps, 5).caller;
	CHECK_EQ(say(keeps, 6).count, 2);
	CHECK_EQ(say(begins, 6).count, 1);
	CHECK_OK(sthread_policy_gate(p, keeps));
	CHECK_ERR(sthread_policy_gate(p, keeps), -EEXIST);
	CHECK_OK(sthread_policy_gate(p, begins));
	for (int i = 0; i < 3; i++) {
		CHECK_OK(sthread_call(p, calls_both, keeps, &r));
		CHECK_MSG(r.end == STHREAD_RETURNED, "end %d: %s", r.end, r.message);
		CHECK((uint64_t)r.value && (uint64_t)r.value != me);
	}
	CHECK_EQ(say(keeps, 7).count, 9);
	CHECK_EQ(say(keeps, 7).caller, me);
	return NULL;
}

/* ---- configurations ---- */

ST_FN(misconfigures)
{
	struct sthread_gate_config good = { .size = sizeof(good), .name = "good", .fn = says }, c;
	struct sthread_gate *out = (struct sthread_gate *)5;
	struct sthread_policy *gone = fresh();
	struct board *b = arg;
	char *edge = b->edge - 8;

	sthread_policy_destroy(gone);
#define BAD(err, ...)                                            \
	do {                                                     \
		c = good;                                        \
		__VA_ARGS__;                                     \
		CHECK_ERR(sthread_gate_create(&out, &c), (err)); \
		CHECK(out == (struct sthread_gate *)5);          \
	} while (0)
	BAD(-EINVAL, c.size--);
	BAD(-EINVAL, c.size = 0);
	BAD(-EINVAL, c.fn = NULL);
	BAD(-EINVAL, c.fn = (sthread_gate_fn *)(uintptr_t)&c);
	BAD(-EINVAL, c.fn = (sthread_gate_fn *)0xffffffff80000000);
	BAD(-EINVAL, c.kind = STHREAD_GATE_RESIDENT + 1);
	BAD(-ENOTSUP, c.kind = STHREAD_GATE_RESIDENT);
	BAD(-EINVAL, c.name = "a name that is longer than any name");
	BAD(-EFAULT, c.name = (const char *)0x10);
	BAD(-EFAULT, c.name = edge);
	/* In the master nothing of it runs. */
	BAD(-EPERM, c.native = true);
	BAD(-EPERM, memset(&c.native, 0xff, 1));
	BAD(-EINVAL, c.native = true; c.kind = STHREAD_GATE_RECYCLED);
	/* Handles of a policy, and of a gate: compared, and none of these is one. */
	BAD(-EINVAL, c.policy = gone);
	BAD(-EINVAL, c.policy = (void *)&c);
	BAD(-EINVAL, c.policy = (void *)b->stolen_policy);
	BAD(-EINVAL, c.after = (void *)&c);
	BAD(-EINVAL, c.after = (void *)b->stolen);
	BAD(-EINVAL, c.after = (void *)gone);
#undef BAD
	CHECK_ERR(sthread_gate_create(&out, NULL), -EINVAL);
	CHECK_ERR(sthread_gate_create(NULL, &good), -EINVAL);
	CHECK_ERR(sthread_gate_create(&out, (void *)0x10), -EFAULT);
	CHECK_ERR(sthread_gate_create(&out, (void *)edge), -EFAULT);
	CHECK_ERR(sthread_gate_create(&out, (void *)0xffffffff80000000), -EFAULT);
	CHECK_OK(sthread_gate_create(&out, &good));
	CHECK_EQ(say(out, 3).count, 1);
	return NULL;
}

/* ---- handles ---- */

/* Has been given the gate: may call it, and nothing else. */
ST_FN(ungranted)
{
	struct sthread_gate *g = arg;

	CHECK_ERR(sthread_gate_call(g, NULL, 0, NULL, 0), -ENOENT);
	CHECK_ERR(sthread_policy_gate(fresh(), g), -EPERM);
	sthread_gate_destroy(g);
	return NULL;
}

ST_FN(granted)
{
	struct sthread_gate *g = arg;

	sthread_gate_destroy(g); /* is not its maker */
	CHECK_EQ(say(g, 1).trusted, 9);
	CHECK_OK(sthread_policy_gate(fresh(), g));
	return NULL;
}

ST_FN(forges)
{
	struct sthread_gate *g = GATE(.name = "g", .fn = says, .trusted = (void *)9), *gone = GATE(.fn = says);
	struct sthread_policy *p = fresh(), *none = fresh(), *holds = fresh();
	struct sthread_result r;
	struct board *b = arg;

	CHECK_OK(sthread_policy_gate(p, g));
	CHECK_OK(sthread_policy_gate(holds, gone));
	CHECK_EQ(say(gone, 1).count, 1);
	sthread_gate_destroy(gone);
	sthread_gate_destroy(gone);
	/* A policy that holds what was destroyed starts nothing any more. */
	CHECK_ERR(sthread_call(holds, granted, g, &r), -EPERM);
	for (int bit = 3; bit < 64; bit++) {
		void *bad = (void *)((uintptr_t)g ^ 1UL << bit);

		CHECK_ERR(sthread_gate_call(bad, NULL, 0, NULL, 0), -ENOENT);
		CHECK_ERR(sthread_policy_gate(none, bad), -EPERM);
		sthread_gate_destroy(bad);
	}
	void *const bad[] = { (void *)-1, gone, p, b, (void *)(uintptr_t)forges, (void *)b->stolen,
			      (void *)((uintptr_t)g & ~(1UL << 62)) };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK_ERR(sthread_gate_call(bad[i], NULL, 0, NULL, 0), -ENOENT);
		CHECK_ERR(sthread_policy_gate(none, bad[i]), -EPERM);
		sthread_gate_destroy(bad[i]);
	}
	CHECK_ERR(sthread_policy_limit((void *)g, STHREAD_LIMIT_FDS, 1), -EINVAL);
	CHECK_ERR(sthread_kill((void *)g), -EINVAL);
	CHECK_OK(sthread_call(none, ungranted, g, &r));
	CHECK_MSG(r.end == STHREAD_RETURNED, "end %d: %s", r.end, r.message);
	CHECK_OK(sthread_call(p, granted, g, &r));
	CHECK_MSG(r.end == STHREAD_RETURNED, "end %d: %s", r.end, r.message);
	CHECK_EQ(say(g, 1).trusted, 9);
	return NULL;
}

static ssize_t counts_calls(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct board *b = trusted;

	(void)in, (void)in_len;
	return gate_answer(out, out_cap, (int64_t)++b->calls);
}

/* Its handles lie open; its gate is called by nobody else. */
ST_FN(is_robbed)
{
	struct sthread_policy *p = with_board(arg);
	struct sthread_gate *g = GATE(.name = "robbed", .fn = counts_calls, .policy = p, .trusted = arg);

	CHECK_EQ(gate_word_of(g, NULL, 0), 1);
	board->stolen_policy = (uint64_t)p;
	board->stolen = (uint64_t)g;
	board->go = 1;
	while (board->go != 2)
		;
	CHECK_EQ(gate_word_of(g, NULL, 0), 2);
	return NULL;
}

static void handles(void)
{
	struct sthread_policy *p = of_master();
	struct sthread *victim;
	struct sthread_result r;
	void *map;

	CHECK_OK(sthread_map(4096, &map));
	CHECK_OK(sthread_policy_memory(p, map, 4096, STHREAD_READ));
	memset(map, 'n', 4096);
	board->go = board->calls = 0;
	victim = st_create(p, is_robbed, board);
	while (board->go != 1)
		usleep(1000);
	both_ways(p, forges, board);
	board->edge = (char *)map + 4096;
	both_ways(p, misconfigures, board);
	board->go = 2;
	r = st_join(victim);
	ST_RETURNED(&r, 0);
	sthread_policy_destroy(p);
}

/* ---- order ---- */

/* Granted: login, read (after login), once (one call, ever). */
ST_FN(keeps_order)
{
	struct sthread_gate *g;

	CHECK_ERR(gate_word("read"), -EPERM);
	CHECK_EQ(gate_word("login"), 42);
	CHECK_EQ(gate_word("read"), 42);
	CHECK_EQ(gate_word("read"), 42);
	CHECK_EQ(gate_word("once"), 42);
	CHECK_ERR(gate_word("once"), -EPERM);
	if (!arg) /* its maker makes its rules */
		return NULL;
	CHECK_OK(sthread_gate_find(&g, "once"));
	CHECK_ERR(sthread_policy_gate(fresh(), g), -EPERM);
	CHECK_OK(sthread_gate_find(&g, "read"));
	CHECK_OK(sthread_policy_gate(fresh(), g));
	return NULL;
}

ST_FN(orders)
{
	struct sthread_gate *login = GATE(.name = "login", .fn = forty_two);
	struct sthread_gate *reads = GATE(.name = "read", .fn = forty_two, .after = login);
	struct sthread_gate *once = GATE(.name = "once", .fn = forty_two, .max_calls = 1);
	struct sthread_policy *p = fresh(), *cut = fresh();
	struct sthread_result r;

	CHECK_OK(sthread_policy_gate(p, login));
	CHECK_OK(sthread_policy_gate(p, reads));
	CHECK_OK(sthread_policy_gate(p, once));
	CHECK(!keeps_order(NULL));
	for (int i = 0; i < 2; i++) {
		CHECK_OK(sthread_call(p, keeps_order, arg, &r));
		CHECK_MSG(r.end == STHREAD_RETURNED && !r.value, "end %d: %s", r.end, r.message);
	}
	/* After a gate that it was not granted: never. */
	CHECK_OK(sthread_policy_gate(cut, reads));
	CHECK_OK(sthread_call(cut, keeps_order, arg, &r));
	CHECK_EQ(r.end, STHREAD_EXITED); /* at the login that it does not find, and not before */
	CHECK(strstr(r.message, "sthread_gate_find"));
	return NULL;
}

int main(void)
{
	st_init();
	board_init();
	both_ways(NULL, makes_and_calls, NULL);
	handles();
	both_ways(NULL, orders, (void *)1);
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
