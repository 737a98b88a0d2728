/* SPDX-License-Identifier: MIT */
/*
 * st_readme.c - the program of README.md compiles, and does what is said of it: the parser has its request, can have a
 * token checked, and cannot see the key.  World: host; ST_FN: inside.
 */
#include "tests/st_gate.h"

static const void *secret_key;

ST_FN(reads)
{
	return (void *)(uintptr_t) * (volatile unsigned char *)arg;
}

ST_FN(parses)
{
	CHECK_ERR(gate_ask("check", "a wrong guess...", 16, NULL, 0), -EKEYREJECTED);
	CHECK_EQ(gate_ask("check", "sixteen bytes...", 16, NULL, 0), 0);
	CHECK_ERR(gate_ask("check", "sixteen bytes...", 15, NULL, 0), -EKEYREJECTED);
	strcpy(arg, "parsed");
	return arg;
}

/* Where the program makes its gate and runs its parser, the test looks on, and attacks with the same policy. */
static int gate_create(struct sthread_gate **out, const struct sthread_gate_config *cfg)
{
	secret_key = cfg->trusted;
	return sthread_gate_create(out, cfg);
}

static int call(const struct sthread_policy *p, st_fn *fn, void *arg, struct sthread_result *result)
{
	struct sthread_result r = st_call(p, reads, (void *)(uintptr_t)secret_key);

	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, secret_key, 1, ST_IN(reads), "tag secret: not granted");
	r = st_call(p, reads, arg);
	ST_RETURNED(&r, 0);
	return sthread_call(p, fn, arg, result);
}

#define sthread_gate_create gate_create
#define sthread_call	    call
int serve(const void *loaded_key, void *(*parser)(void *), struct sthread_result *result);
#include "tests/readme.inc"

int main(void)
{
	struct sthread_result r;

	st_init();
	CHECK_OK(serve("sixteen bytes...", parses, &r));
	ST_END(&r, STHREAD_RETURNED);
	CHECK_STR((const char *)r.value, "parsed");
	sthread_fini();
	return TEST_PASSED;
}
