/* SPDX-License-Identifier: MIT */
/* memory.c - the sorted list of memory that a policy grants.  World: host. */
#include "sthread/policy/memory.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

void tag_get(struct sthread_tag *t)
{
	atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
}

void tag_put(struct sthread_tag *t)
{
	if (atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) > 1)
		return;
	pthread_mutex_destroy(&t->making);
	free(t);
}

/* The first grant that ends above `at`. */
static size_t place(const struct grants *g, uint64_t at)
{
	size_t low = 0, high = g->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (g->list[mid].start + g->list[mid].len > at)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

const struct grant *grants_find(const struct grants *g, uint64_t at)
{
	size_t i = place(g, at);

	return i < g->n && g->list[i].start <= at ? &g->list[i] : NULL;
}

bool grants_name(const struct grants *g, const struct sthread_tag *t)
{
	size_t i = place(g, t->start);

	return i < g->n && g->list[i].tag == t;
}

const struct grant *grants_handle(const struct grants *g, uint64_t handle)
{
	for (size_t i = 0; i < g->n; i++)
		if ((uint64_t)g->list[i].tag == handle)
			return &g->list[i];
	return NULL;
}

bool grants_global(const struct grants *g, const char *name)
{
	for (size_t i = 0; i < g->n; i++)
		if (g->list[i].tag->window.v && !strcmp(g->list[i].tag->name, name))
			return true;
	return false;
}

static void changed(struct grants *g)
{
	static _Atomic uint64_t serials;

	g->serial = atomic_fetch_add(&serials, 1) + 1;
}

int grants_insert(struct grants *g, const struct grant *e)
{
	size_t i = place(g, e->start);
	struct grant *at;

	if (i < g->n && g->list[i].start < e->start + e->len) {
		at = &g->list[i];
		return at->tag == e->tag && at->start == e->start && at->len == e->len ? -EEXIST :
											 -EINVAL;
	}
	if (g->n == g->cap) {
		size_t cap = g->cap ? 2 * g->cap : 8;
		struct grant *list = realloc(g->list, cap * sizeof(*list));

		if (!list)
			return -ENOMEM;
		g->list = list;
		g->cap = cap;
	}
	at = &g->list[i];
	memmove(at + 1, at, (g->n - i) * sizeof(*at));
	*at = *e;
	g->n++;
	tag_get(e->tag);
	changed(g);
	return 0;
}

int grants_widen(struct grants *g, const struct grant *e)
{
	int err = grants_insert(g, e);

	if (err != -EEXIST)
		return err;
	g->list[place(g, e->start)].rights |= e->rights;
	changed(g);
	return 0;
}

int grants_copy(struct grants *to, const struct grants *from)
{
	struct grants g = { .n = from->n, .cap = from->n, .serial = from->serial };

	if (g.n) {
		g.list = malloc(g.n * sizeof(*g.list));
		if (!g.list)
			return -ENOMEM;
		memcpy(g.list, from->list, g.n * sizeof(*g.list));
	}
	for (size_t i = 0; i < g.n; i++)
		tag_get(g.list[i].tag);
	*to = g;
	return 0;
}

void grants_fini(struct grants *g)
{
	for (size_t i = 0; i < g->n; i++)
		tag_put(g->list[i].tag);
	free(g->list);
	*g = (struct grants){ 0 };
}

int grants_merge(struct grants *g, const struct grants *more)
{
	struct grants all;
	int err = grants_copy(&all, g);

	if (err)
		return err;
	for (size_t i = 0; i < more->n && !err; i++)
		err = grants_insert(&all, &more->list[i]);
	grants_fini(err ? &all : g);
	if (!err)
		*g = all;
	return err;
}

bool grants_cover(const struct grants *g, const struct grant *e)
{
	uint64_t end = e->start + e->len;

	for (uint64_t at = e->start; at < end;) {
		const struct grant *in = grants_find(g, at);

		if (!in || in->tag != e->tag || (e->rights & ~in->rights))
			return false;
		at = in->start + in->len;
	}
	return true;
}

bool grants_subset(const struct grants *g, const struct grants *of)
{
	for (size_t i = 0; i < g->n; i++)
		if (!grants_cover(of, &g->list[i]))
			return false;
	return true;
}
