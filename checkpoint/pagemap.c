/* SPDX-License-Identifier: MIT */
/* pagemap.c - which anonymous pages were ever touched, by /proc/self/pagemap.  World: host. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "checkpoint/runs.h"

#define PAGEMAP_PRESENT (1UL << 63)
#define PAGEMAP_SWAPPED (1UL << 62) /* also guards and pages on the move */
#define PAGEMAP_ROOM	(sizeof(((struct ckpt_pagemap *)0)->entries) / 8)

void ckpt_pagemap_open(struct ckpt_pagemap *p)
{
	p->fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	p->count = 0;
}

void ckpt_pagemap_close(struct ckpt_pagemap *p)
{
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
}

/* The entry of a page below `limit`; what cannot be read counts as there, and will be read. */
static uint64_t entry(struct ckpt_pagemap *p, uint64_t page, uint64_t limit)
{
	uint64_t want = limit - page;
	ssize_t n;

	if (p->fd < 0)
		return PAGEMAP_PRESENT;
	if (page < p->first || page - p->first >= p->count) {
		if (want > PAGEMAP_ROOM)
			want = PAGEMAP_ROOM;
		do {
			n = pread(p->fd, p->entries, want * 8, (off_t)(page * 8));
		} while (n < 0 && errno == EINTR);
		if (n < 8) {
			p->count = 0;
			return PAGEMAP_PRESENT;
		}
		p->first = page;
		p->count = (uint64_t)n / 8;
	}
	return p->entries[page - p->first];
}

bool ckpt_pagemap_next(struct ckpt_pagemap *p, uint64_t from, uint64_t to, uint64_t *start,
		       uint64_t *end)
{
	const uint64_t there = PAGEMAP_PRESENT | PAGEMAP_SWAPPED;
	uint64_t page = from / 4096, limit = to / 4096;

	while (page < limit && !(entry(p, page, limit) & there))
		page++;
	if (page >= limit)
		return false;
	*start = page * 4096;
	while (page < limit && (entry(p, page, limit) & there))
		page++;
	*end = page * 4096;
	return true;
}
