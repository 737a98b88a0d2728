/* SPDX-License-Identifier: MIT */
/*
 * reclaim.c - memory for a run that has none left: at its limit, pages that it does not need;
 * where guest memory is short, idle lanes.  World: host.
 *
 * A run has pages that it did not change: left warm by earlier runs, mapped ahead of a touch, or
 * only read.  They count against its limit as others do.  At the limit they are given back first,
 * so that the limit depends on what the run changed, and not on what ran before.
 */
#include <errno.h>
#include <string.h>

#include "sthread/run/lane.h"

/* The most that one touch can take: a page, and a table of each level below the root. */
#define TOUCH 4

static bool stop_pending(void *lane)
{
	return atomic_load(&((struct lane *)lane)->stop.requested);
}

int lane_trim(struct lane *l)
{
	return dune_space_shed(l->space, CKPT_SEEDS, stop_pending, l);
}

/* True also when a stop is pending, which is then reported instead of the lack of memory. */
static bool trim(struct lane *l)
{
	size_t before = dune_space_pages(l->space);
	int err = lane_trim(l);

	return err == -EINTR || (!err && dune_space_pages(l->space) < before);
}

bool lane_reclaim(struct lane *l, bool *tried)
{
	bool at_limit = dune_space_room(l->space) < TOUCH;
	bool more = at_limit ? !*tried && trim(l) : lanes_shrink();

	*tried |= at_limit;
	if (more)
		l->ctx.mem.nomem = false;
	return more;
}

/*
 * The pages that were reclaimed may be those that this very instruction touched before.  If it
 * gets no further, it needs all of them at once, and is over the limit.
 */
bool lane_reclaim_to_touch(struct lane *l, const struct dune_frame *f)
{
	bool tried = l->shortage.calls == l->ctx.calls && !memcmp(&l->shortage.at, f, sizeof(*f));

	l->shortage.calls = l->ctx.calls;
	l->shortage.at = *f;
	return lane_reclaim(l, &tried);
}

int lane_prepare_out(struct lane *l, uint64_t at, size_t len)
{
	bool tried = false;
	int err;

	do {
		err = uaccess_prepare_out(&l->ctx.mem, dune_gva(at), len);
	} while (err == -ENOMEM && lane_reclaim(l, &tried));
	return err;
}
