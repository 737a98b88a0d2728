/* SPDX-License-Identifier: MIT */
/* ranges.c - a short list of address ranges that may cover more than it was told, never less.  World: host. */
#include <string.h>

#include "vm/process/process.h"

static void remove_at(struct ranges *l, unsigned i, unsigned n)
{
	memmove(&l->r[i], &l->r[i + n], (l->n - i - n) * sizeof(l->r[0]));
	l->n -= n;
}

/* Room for one more: the two with the smallest gap become one. */
static void squeeze(struct ranges *l)
{
	unsigned best = 0;

	for (unsigned i = 1; i + 1 < l->n; i++)
		if (l->r[i + 1].at - l->r[i].end < l->r[best + 1].at - l->r[best].end)
			best = i;
	l->r[best].end = l->r[best + 1].end;
	remove_at(l, best + 1, 1);
}

void ranges_add(struct ranges *l, uint64_t at, uint64_t end)
{
	unsigned i = 0, n = 0;

	if (l->n == RANGES)
		squeeze(l);
	while (i < l->n && l->r[i].end < at)
		i++;
	for (; i + n < l->n && l->r[i + n].at <= end; n++) {
		at = l->r[i + n].at < at ? l->r[i + n].at : at;
		end = l->r[i + n].end > end ? l->r[i + n].end : end;
	}
	if (n) {
		remove_at(l, i + 1, n - 1);
	} else {
		memmove(&l->r[i + 1], &l->r[i], (l->n - i) * sizeof(l->r[0]));
		l->n++;
	}
	l->r[i] = (struct range){ at, end };
}

void ranges_add_all(struct ranges *l, const struct ranges *more)
{
	for (unsigned i = 0; i < more->n; i++)
		ranges_add(l, more->r[i].at, more->r[i].end);
}

bool ranges_meet(const struct ranges *l, uint64_t at, uint64_t end)
{
	for (unsigned i = 0; i < l->n; i++)
		if (l->r[i].at < end && l->r[i].end > at)
			return true;
	return false;
}
