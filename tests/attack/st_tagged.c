/* SPDX-License-Identifier: MIT */
/*
 * Tagged globals: no compartment has them, not even as they were at the checkpoint, but those that were granted them by
 * name; beside them, on the next page, are globals as usual.  World: host; ST_FN: inside.
 */
#include <sys/wait.h>

#include "tests/st.h"

struct key {
	unsigned char bytes[5000];
};

STHREAD_TAGGED(keys, struct key, key);
STHREAD_TAGGED(keys, unsigned, uses);
STHREAD_TAGGED(counters, unsigned, counter);
static unsigned ordinary = 7;
static char *old_heap;

ST_FN(reads)
{
	return (void *)(uintptr_t) * (volatile unsigned char *)arg;
}

ST_FN(writes)
{
	*(volatile unsigned char *)arg = 'W';
	return NULL;
}

ST_FN(uses_key)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < sizeof(key->bytes); i++)
		sum += key->bytes[i];
	++*uses;
	ordinary += 100;
	return (void *)(uintptr_t)(sum + ordinary);
}

static struct sthread_policy *grants(const char *name, unsigned rights)
{
	struct sthread_policy *p = st_policy();

	CHECK_OK(sthread_policy_tagged(p, name, rights));
	return p;
}

static void no(const struct sthread_policy *p, st_fn *fn, void *at, const char *text)
{
	bool write = fn == writes;
	struct sthread_result r;

	r = st_call(p, fn, at);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, at, write ? 2 : 1, write ? ST_IN(writes) : ST_IN(reads),
		  text);
	r = st_run(p, fn, at);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, at, write ? 2 : 1, write ? ST_IN(writes) : ST_IN(reads),
		  text);
}

static void by_name(void)
{
	struct sthread_policy *reader = grants("keys", STHREAD_READ),
			      *writer = grants("keys", STHREAD_WRITE),
			      *other = grants("counters", STHREAD_WRITE);
	struct sthread_result r;
	unsigned before = *uses;
	unsigned char *last = &key->bytes[4999];

	*last = 3; /* since the checkpoint */
	no(NULL, reads, last, "globals tagged keys: not granted");
	no(NULL, writes, last, "globals tagged keys: not granted");
	no(other, reads, last, "globals tagged keys: not granted");
	no(other, reads, uses, "globals tagged keys: not granted");
	no(reader, writes, last, "(granted read-only)");
	no(reader, reads, counter, "globals tagged counters: not granted");
	r = st_call(reader, reads, last);
	ST_RETURNED(&r, 3);
	r = st_run(writer, uses_key, NULL);
	ST_RETURNED(&r, 1 + 3 + 107);
	r = st_call(writer, uses_key, NULL);
	ST_RETURNED(&r, 1 + 3 + 107);
	CHECK_EQ(*uses, before + 2); /* the master's own */
	CHECK_EQ(ordinary, 7);
	/* In the same lane as the writer. */
	no(reader, writes, last, "(granted read-only)");
	no(NULL, reads, last, "not granted");
	r = st_call(other, writes, counter);
	ST_RETURNED(&r, 0);
	CHECK_EQ(*counter, 'W');
	sthread_policy_destroy(reader);
	sthread_policy_destroy(writer);
	sthread_policy_destroy(other);
}

ST_FN(sees_the_image)
{
	CHECK_STR(old_heap, "on the heap");
	CHECK_EQ(ordinary, 7);
	CHECK(malloc(100000));
	return NULL;
}

/* What lies between a tagged global and a tag stays when both go: the heap, libraries. */
static void between(void)
{
	struct sthread_policy *both = grants("keys", STHREAD_WRITE),
			      *one = grants("counters", STHREAD_READ);
	struct sthread_tag *tag;
	struct sthread_result r;

	CHECK_OK(sthread_tag_create(&tag, "far", 4096));
	CHECK_OK(sthread_policy_tag(both, tag, STHREAD_WRITE));
	CHECK_OK(sthread_policy_tagged(both, "counters", STHREAD_WRITE));
	for (int i = 0; i < 3; i++) {
		r = st_call(both, writes, sthread_tag_start(tag));
		ST_RETURNED(&r, 0);
		r = st_call(both, writes, counter);
		ST_RETURNED(&r, 0);
		if (i == 1) {
			r = st_call(one, reads, counter);
			ST_RETURNED(&r, 'W');
			no(one, writes, counter, "(granted read-only)");
		}
		ST_PASSES(NULL, sees_the_image, NULL);
		no(NULL, reads, counter, "not granted");
		no(NULL, reads, sthread_tag_start(tag), "not granted");
	}
	CHECK_OK(sthread_tag_destroy(tag));
	sthread_policy_destroy(both);
	sthread_policy_destroy(one);
}

/* A fork leaves each process its own. */
static void forked(void)
{
	struct sthread_policy *p = grants("counters", STHREAD_WRITE);
	struct sthread_result r;
	int status;
	pid_t pid;

	*counter = 1;
	pid = fork();
	CHECK(pid >= 0);
	if (pid)
		*counter = 2; /* mostly before the child runs at all */
	if (!pid) {
		CHECK_ERR(sthread_call(p, writes, counter, &r), -EINVAL);
		usleep(50000);
		CHECK_EQ(*counter, 1);
		*counter = 9;
		_exit(TEST_PASSED);
	}
	r = st_call(p, writes, counter);
	ST_RETURNED(&r, 0);
	CHECK_EQ(*counter, 'W');
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(*counter, 'W');
	*counter = 5;
	r = st_call(p, reads, counter);
	ST_RETURNED(&r, 5);
	sthread_policy_destroy(p);
}

/* What it made itself; and what it has not. */
ST_FN(all_refused)
{
	struct sthread_policy *p;

	CHECK_ERR(sthread_policy_tagged(arg, "keys", STHREAD_READ), -EINVAL);
	CHECK_OK(sthread_policy_create(&p));
	CHECK_ERR(sthread_policy_tagged(p, "keys", STHREAD_READ), -EPERM);
	sthread_policy_destroy(p);
	return NULL;
}

static void errors(void)
{
	struct sthread_policy *p = st_policy();
	struct sthread_result r;

	CHECK_ERR(sthread_policy_tagged(p, "key", STHREAD_READ), -ENOENT);
	CHECK_ERR(sthread_policy_tagged(p, "keyss", STHREAD_READ), -ENOENT);
	CHECK_ERR(sthread_policy_tagged(p, "", STHREAD_READ), -ENOENT);
	CHECK_ERR(sthread_policy_tagged(p, NULL, STHREAD_READ), -EINVAL);
	CHECK_ERR(sthread_policy_tagged(NULL, "keys", STHREAD_READ), -EINVAL);
	CHECK_ERR(sthread_policy_tagged(p, "keys", 0), -EINVAL);
	CHECK_ERR(sthread_policy_tagged(p, "keys", 4), -EINVAL);
	/* They are nobody's blocks, and no other memory of the program is granted. */
	sthread_free(key);
	CHECK(!sthread_tag_of(key));
	CHECK_ERR(sthread_policy_memory(p, (void *)((uintptr_t)old_heap & ~4095UL), 4096,
					STHREAD_READ),
		  -EINVAL);
	CHECK_OK(sthread_policy_tagged(p, "keys", STHREAD_READ));
	CHECK_ERR(sthread_policy_tagged(p, "keys", STHREAD_WRITE), -EEXIST);
	no(p, writes, key, "(granted read-only)");
	sthread_policy_destroy(p);
	ST_PASSES(NULL, all_refused, NULL);
	r = st_call(NULL, writes, &ordinary);
	ST_RETURNED(&r, 0);
	CHECK_EQ(ordinary, 7);
}

int main(void)
{
	struct sthread_policy *old;
	struct sthread_result r;

	old_heap = strdup("on the heap");
	key->bytes[0] = 1; /* before the checkpoint */
	st_init();
	by_name();
	st_others_live();
	between();
	forked();
	errors();
	st_others_live();
	old = grants("keys", STHREAD_READ);
	sthread_fini();
	st_init();
	/* Of the last life. */
	CHECK_ERR(sthread_call(old, reads, key, &r), -EINVAL);
	sthread_policy_destroy(old);
	by_name();
	sthread_fini();
	return TEST_PASSED;
}
