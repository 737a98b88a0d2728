/* SPDX-License-Identifier: MIT */
/*
 * What a compartment was given by a gate it hands on as what its policy granted, with the rights that it was given and no
 * more: to its own caller, to what it makes; a recycled gate keeps it as long as its memory.  World: host; gates that are
 * not native and ST_FN: inside.
 */
#include "tests/kvm/st_life.h"
#include "tests/st_gate.h"

#define BOX (64UL << 10)

static struct sthread_tag *box;
static volatile unsigned char *at;

/* What all get that have no other argument: the image is older than the tag. */
struct place {
	struct sthread_tag *tag;
	volatile unsigned char *at;
};

static ssize_t gives_read(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct place p = { sthread_tag_of(trusted), trusted };

	(void)in, (void)in_len;
	CHECK_OK(sthread_gate_give_tag(p.tag, STHREAD_READ));
	CHECK_GE(out_cap, sizeof(p));
	memcpy(out, &p, sizeof(p));
	return sizeof(p);
}

static struct place take(const char *gate)
{
	struct place p;

	CHECK_EQ(gate_ask(gate, NULL, 0, &p, sizeof(p)), (ssize_t)sizeof(p));
	return p;
}

/* ---- to its caller ---- */

/* A gate that holds nothing of the tag, and gets it from another.  trusted: where it is. */
static ssize_t hands_on(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct place p;

	(void)in, (void)in_len;
	CHECK(!sthread_tag_of(trusted));
	p = take("keeper");
	CHECK_EQ(p.at[0], 'b');
	CHECK_ERR(sthread_gate_give_tag(p.tag, STHREAD_WRITE), -EPERM);
	CHECK_OK(sthread_gate_give_tag(p.tag, STHREAD_READ));
	CHECK_GE(out_cap, sizeof(p));
	memcpy(out, &p, sizeof(p));
	return sizeof(p);
}

ST_FN(gets_on)
{
	struct place p;

	CHECK(!sthread_tag_of(arg));
	p = take("middle");
	CHECK(p.at == arg && p.at[BOX - 1] == 'b');
	p.at[1] = 'x'; /* not granted so by anybody on the way */
	return NULL;
}

ST_FN(gets_on_reads)
{
	return (void *)(uintptr_t)take("middle").at[(uintptr_t)arg];
}

/* The gate in the middle is itself in the way of the same call twice: its own part is gone with it. */
static void to_caller(struct sthread_gate *keeper)
{
	struct sthread_policy *q = gate_policy(keeper), *p;
	struct sthread_gate *middle;
	struct sthread_result r;

	for (int i = 0; i < 4; i++) {
		middle = GATE(.name = "middle", .fn = hands_on, .policy = q, .trusted = (void *)at);
		p = gate_policy(middle);
		r = st_both[i % 2](p, gets_on, (void *)at);
		ST_FAULTS(&r, STHREAD_FAULT_MEMORY, at + 1, 2, ST_IN(gets_on),
			  "(granted read-only)");
		r = st_both[i % 2](p, gets_on_reads, (void *)(BOX - 1));
		ST_RETURNED(&r, 'b');
		sthread_policy_destroy(p);
		sthread_gate_destroy(middle);
	}
	sthread_policy_destroy(q);
}

/* ---- to what it makes ---- */

ST_FN(child_reads)
{
	return (void *)(uintptr_t)((volatile unsigned char *)arg)[0];
}

ST_FN(child_writes)
{
	((volatile unsigned char *)arg)[0] = 'x';
	return NULL;
}

ST_FN(child_takes)
{
	return (void *)(uintptr_t)take("keeper").at[0];
}

ST_FN(makes)
{
	struct sthread_policy *p, *none;
	struct sthread_result r;
	struct sthread_gate *g;
	struct place at_box;

	CHECK_OK(sthread_policy_create(&p));
	CHECK_OK(sthread_policy_create(&none));
	CHECK_OK(sthread_gate_find(&g, "keeper"));
	CHECK_OK(sthread_policy_gate(none, g));
	/* What its child is given is the child's. */
	CHECK_OK(sthread_call(none, child_takes, NULL, &r));
	CHECK(r.end == STHREAD_RETURNED && r.value == (void *)'b');
	CHECK(!sthread_tag_of(arg));
	at_box = take("keeper");
	/* A child's rights are those that were said: not all that its creator has. */
	CHECK_OK(sthread_call(none, child_reads, arg, &r));
	CHECK(r.end == STHREAD_FAULTED && r.address == (uint64_t)arg);
	CHECK_ERR(sthread_policy_tag(p, at_box.tag, STHREAD_WRITE), -EPERM);
	CHECK_OK(sthread_policy_tag(p, at_box.tag, STHREAD_READ));
	CHECK_OK(sthread_call(p, child_reads, arg, &r));
	CHECK(r.end == STHREAD_RETURNED && r.value == (void *)'b');
	CHECK_OK(sthread_call(p, child_writes, arg, &r));
	CHECK(r.end == STHREAD_FAULTED && r.address == (uint64_t)arg && r.access == 2);
	return NULL;
}

/* Before it is given: nothing to hand on, though the handle is known.  arg: the tag. */
ST_FN(makes_too_early)
{
	struct sthread_policy *p;

	CHECK_OK(sthread_policy_create(&p));
	CHECK_ERR(sthread_policy_tag(p, arg, STHREAD_READ), -EPERM);
	CHECK(take("keeper").tag == arg);
	CHECK_OK(sthread_policy_tag(p, arg, STHREAD_READ));
	return NULL;
}

static void to_children(struct sthread_gate *keeper)
{
	struct sthread_policy *p = gate_policy(keeper);

	for (int i = 0; i < 2; i++) {
		struct sthread_result r = st_both[i](p, makes, (void *)at);

		ST_RETURNED(&r, 0);
		r = st_both[i](p, makes_too_early, box);
		ST_RETURNED(&r, 0);
	}
	CHECK_EQ(at[0], 'b');
	sthread_policy_destroy(p);
}

/* ---- a recycled gate's ---- */

/* in: 'g': gets it; 'h': has it?; 'x': ends. */
static ssize_t keeps(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	CHECK_EQ(in_len, 1);
	if (*(const char *)in == 'x')
		abort();
	if (*(const char *)in == 'g')
		take("keeper");
	return gate_answer(out, out_cap,
			   sthread_tag_of(trusted) ? *(volatile unsigned char *)trusted : 0);
}

static int64_t ask(struct sthread_gate *g, char what)
{
	int64_t word = -1;
	ssize_t n = sthread_gate_call(g, &what, 1, &word, sizeof(word));

	return n < 0 ? n : word;
}

static void as_recycled(struct sthread_gate *keeper)
{
	struct sthread_policy *p = gate_policy(keeper);
	struct sthread_gate *g = GATE(.name = "keeps", .fn = keeps, .policy = p,
				      .trusted = (void *)at, .kind = STHREAD_GATE_RECYCLED);

	for (int i = 0; i < 3; i++) {
		CHECK_EQ(ask(g, 'h'), 0);
		CHECK_EQ(ask(g, 'g'), 'b');
		CHECK_EQ(ask(g, 'h'), 'b');
		CHECK_ERR(sthread_tag_destroy(box), -EBUSY); /* at rest, and has it */
		CHECK_EQ(ask(g, 'g'), 'b');
		CHECK_EQ(ask(g, 'x'), -EIO);
	}
	CHECK_EQ(ask(g, 'h'), 0);
	CHECK_EQ(ask(g, 'g'), 'b');
	sthread_gate_destroy(g);
	sthread_policy_destroy(p);
}

int main(void)
{
	struct sthread_policy *p;
	struct sthread_gate *keeper[2];

	st_init();
	CHECK_OK(sthread_tag_create(&box, "box", BOX));
	at = memset(sthread_tag_start(box), 'b', BOX);
	p = st_policy();
	CHECK_OK(sthread_policy_tag(p, box, STHREAD_WRITE));
	keeper[0] = GATE(.name = "keeper", .fn = gives_read, .policy = p, .trusted = (void *)at);
	keeper[1] = GATE(.name = "keeper", .fn = gives_read, .native = true, .trusted = (void *)at);
	for (int k = 0; k < 2; k++) {
		NOTE("gate %d", k);
		to_caller(keeper[k]);
		to_children(keeper[k]);
		as_recycled(keeper[k]);
		st_others_live();
		sthread_gate_destroy(keeper[k]);
	}
	sthread_policy_destroy(p);
	LIFE_UNTIL(life_stats().live == 1); /* st_others_live()'s */
	CHECK_OK(sthread_tag_destroy(box));
	sthread_fini();
	return TEST_PASSED;
}
