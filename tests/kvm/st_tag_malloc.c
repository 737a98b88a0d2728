/* SPDX-License-Identifier: MIT */
/*
 * st_tag_malloc.c - <sthread/malloc.h>: plain malloc goes to the thread's tag, and comes from the C library as before
 * where nobody asked for that; with the shared library, which has an allocator of its own in it.  World: host; ST_FN:
 * inside.
 */
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>

#include "tests/st.h"

/* What the C library has, before the names mean something else. */
static void *(*const libc_malloc)(size_t) = malloc;
static void (*const libc_free)(void *) = free;

#include <sthread/malloc.h>

struct word {
	struct word *next;
	char *text;
};

/* Code that knows nothing of tags. */
static struct word *split(const char *s)
{
	struct word *list = NULL;

	while (*s) {
		size_t n = strcspn(s, " ");
		struct word *w = calloc(1, sizeof(*w));

		if (!w)
			return NULL;
		w->text = malloc(1);
		w->text = realloc(w->text, n + 1);
		memcpy(w->text, s, n);
		w->text[n] = '\0';
		w->next = list;
		list = w;
		s += n + (s[n] == ' ');
	}
	return list;
}

static unsigned drop(struct word *w)
{
	unsigned n = 0;

	for (struct word *next; w; w = next, n++) {
		next = w->next;
		free(w->text);
		free(w);
	}
	return n;
}

static uint64_t used(void)
{
	struct sthread_stats s;

	CHECK_OK(sthread_stats(&s));
	return s.tag_bytes;
}

struct job {
	struct sthread_tag *tag;
	struct word *words;
};

ST_FN(splits_inside)
{
	struct job *j = arg;
	struct word *own = split("of its own"), *old = j->words;

	CHECK(own && !sthread_is_tagged(own) && !sthread_tag_of(own));
	CHECK(!sthread_malloc_into(j->tag));
	j->words = split("made inside it");
	CHECK(j->words && sthread_is_tagged(j->words) && sthread_is_tagged(j->words->text));
	CHECK(sthread_malloc_into(NULL) == j->tag);
	CHECK_EQ(drop(old), 4);
	CHECK_EQ(drop(own), 3);
	return NULL;
}

ST_FN(not_without_the_right)
{
	struct job *j = arg;

	sthread_malloc_into(j->tag);
	errno = 0;
	CHECK(!malloc(10));
	CHECK_EQ(errno, EPERM);
	CHECK(!strdup("x"));
	sthread_malloc_into(NULL);
	CHECK(malloc(10));
	return NULL;
}

static void *other_thread(void *arg)
{
	char *p = malloc(10);

	CHECK(!sthread_malloc_tag());
	CHECK(!sthread_is_tagged(p));
	free(p);
	return arg;
}

static const char *home_of(void *function)
{
	Dl_info info;

	CHECK(dladdr(function, &info));
	return strrchr(info.dli_fname, '/') ? strrchr(info.dli_fname, '/') + 1 : info.dli_fname;
}

int main(void)
{
	struct sthread_policy *writer, *reader;
	struct sthread_tag *tag, *inner;
	struct word *before, *outer;
	struct job *j;
	pthread_t t;
	char *copy;

	CHECK_STR(home_of((void *)libc_malloc), "libc.so.6");
	CHECK_STR(home_of((void *)libc_free), "libc.so.6");
	CHECK_STR(home_of((void *)sthread_malloc), "libsthread.so.0");
	st_init();
	writer = st_policy();
	reader = st_policy();
	CHECK_OK(sthread_tag_create(&tag, "words", 1 << 20));
	CHECK_OK(sthread_tag_create(&inner, "inner", 1 << 20));
	CHECK_OK(sthread_policy_tag(writer, tag, STHREAD_WRITE));
	CHECK_OK(sthread_policy_tag(reader, tag, STHREAD_READ));

	before = split("this is plain");
	CHECK(!sthread_is_tagged(before));
	CHECK(malloc_usable_size(before) >= sizeof(*before)); /* which glibc knows */
	CHECK(!sthread_malloc_into(tag));
	j = malloc(sizeof(*j));
	CHECK(sthread_tag_of(j) == tag);
	j->tag = tag;
	j->words = split("four words from here");
	CHECK(sthread_tag_of(j->words) == tag && sthread_tag_of(j->words->text) == tag);
	CHECK_EQ(pthread_create(&t, NULL, other_thread, NULL), 0);
	CHECK_EQ(pthread_join(t, NULL), 0);
	CHECK(sthread_malloc_into(inner) == tag);
	copy = strdup("copied");
	CHECK_STR(copy, "copied");
	CHECK(sthread_tag_of(copy) == inner);
	/* It stays where it is from. */
	CHECK(sthread_malloc_into(tag) == inner);
	copy = realloc(copy, 1000);
	CHECK_STR(copy, "copied");
	CHECK(sthread_tag_of(copy) == inner);
	free(copy);
	copy = strndup("copied", 4);
	CHECK_STR(copy, "copi");
	CHECK(sthread_tag_of(copy) == tag);
	free(copy);
	/* Plain blocks may be freed meanwhile, and tagged ones afterwards. */
	CHECK_EQ(drop(before), 3);
	outer = split("two words");
	CHECK(sthread_malloc_into(NULL) == tag);
	CHECK_EQ(drop(outer), 2);
	ST_PASSES(reader, not_without_the_right, j);
	ST_PASSES(writer, splits_inside, j);
	CHECK_EQ(drop(j->words), 3);
	free(j);
	CHECK_EQ(used(), 0);
	sthread_policy_destroy(writer);
	sthread_policy_destroy(reader);
	CHECK_OK(sthread_tag_destroy(tag));
	CHECK_OK(sthread_tag_destroy(inner));
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
