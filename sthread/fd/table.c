// SPDX-License-Identifier: MIT
/* table.c - tables of descriptor numbers.  World: host. */
#include "sthread/fd/table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

/* ---- sorted arrays of entries ---- */

unsigned fd_entries_search(const struct fd_entry *entry, unsigned n, int number)
{
	unsigned lo = 0, hi = n;

	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;

		if (entry[mid].number < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int grow(struct fd_entry **entry, unsigned *cap, unsigned want)
{
	unsigned to = *cap ? *cap : 8;
	struct fd_entry *e;

	if (want <= *cap)
		return 0;
	while (to < want)
		to *= 2;
	e = reallocarray(*entry, to, sizeof(*e));
	if (!e)
		return -ENOMEM;
	*entry = e;
	*cap = to;
	return 0;
}

int fd_entries_insert(struct fd_entry **entry, unsigned *n, unsigned *cap,
		      const struct fd_entry *add)
{
	unsigned at = fd_entries_search(*entry, *n, add->number);
	int r;

	if (at < *n && (*entry)[at].number == add->number)
		return -EEXIST;
	r = grow(entry, cap, *n + 1);
	if (r)
		return r;
	memmove(*entry + at + 1, *entry + at, (*n - at) * sizeof(**entry));
	(*entry)[at] = *add;
	(*n)++;
	return 0;
}

/* ---- a run's table ---- */

int fdtab_load(struct fdtab *t, const struct fd_entry *entry, unsigned n, unsigned limit)
{
	int r;

	fdtab_clear(t);
	t->limit = limit;
	r = grow(&t->entry, &t->cap, n);
	if (r)
		return r;
	for (unsigned i = 0; i < n; i++) {
		if (!fd_object_intact(entry[i].obj))
			continue;
		t->entry[t->n++] = entry[i];
		fd_object_get(entry[i].obj);
	}
	return 0;
}

void fdtab_clear(struct fdtab *t)
{
	for (unsigned i = 0; i < t->n; i++)
		fd_object_put(t->entry[i].obj);
	t->n = 0;
}

void fdtab_fini(struct fdtab *t)
{
	fdtab_clear(t);
	free(t->entry);
	t->entry = NULL;
	t->cap = 0;
}

struct fd_entry *fdtab_find(const struct fdtab *t, int number)
{
	unsigned at = fd_entries_search(t->entry, t->n, number);

	return at < t->n && t->entry[at].number == number ? &t->entry[at] : NULL;
}

int fdtab_reserve_more(struct fdtab *t, unsigned more)
{
	if (t->n >= t->limit || t->limit - t->n < more)
		return -EMFILE;
	return grow(&t->entry, &t->cap, t->n + more);
}

int fdtab_open_from(struct fdtab *t, int least, struct fd_object *obj, unsigned rights, bool dir)
{
	struct fd_entry e = { .number = least, .rights = rights, .dir = dir, .obj = obj };
	int r;

	/* Sorted and without repetition. */
	for (unsigned at = fd_entries_search(t->entry, t->n, least);
	     at < t->n && t->entry[at].number == e.number; at++)
		e.number++;
	r = fd_entries_insert(&t->entry, &t->n, &t->cap, &e);
	assert(r == 0);
	return e.number;
}

int fdtab_open(struct fdtab *t, struct fd_object *obj, unsigned rights, bool dir)
{
	return fdtab_open_from(t, 0, obj, rights, dir);
}

/*
 * The host forgets what is in an epoll set when the open file is closed for good; but that may be
 * the master's, too.
 */
static void leave_epoll(struct fdtab *t, const struct fd_object *o)
{
	for (unsigned i = 0; i < t->n; i++)
		if (t->entry[i].obj->kind == FD_EPOLL)
			epoll_ctl(t->entry[i].obj->host, EPOLL_CTL_DEL, o->host, NULL);
}

int fdtab_close(struct fdtab *t, int number)
{
	struct fd_entry *e = fdtab_find(t, number);
	struct fd_object *obj;

	if (!e)
		return -EBADF;
	obj = e->obj;
	memmove(e, e + 1, (size_t)(t->entry + t->n - (e + 1)) * sizeof(*e));
	t->n--;
	leave_epoll(t, obj);
	fd_object_put(obj);
	return 0;
}

void fdtab_revoke(struct fdtab *t, uint64_t file)
{
	for (unsigned i = 0; i < t->n;)
		if (t->entry[i].obj->file == file)
			fdtab_close(t, t->entry[i].number);
		else
			i++;
}
