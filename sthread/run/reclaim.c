/* SPDX-License-Identifier: MIT */
/*
 * reclaim.c - memory for a run that has none left: at its limit, what it does not need; where guest memory is short, what
 * lanes at rest keep.  World: host.
 *
 * A run begins with pages and tables that earlier ones left in its lane, is given pages ahead of its touch, and may have
 * only read some.  These count while nothing depends on it, and go where its limit does: so what the limit says is
 * a matter of what the run changed, and not of what ran before.
 */
#include <errno.h>
#include <string.h>

#include "sthread/internal.h"

/* The most that one touch can take: a page, and a table of each level below the root. */
#define TOUCH 4

static bool is_to_end(void *lane)
{
	return atomic_load(&((struct lane *)lane)->stop);
}

int lane_shed(struct lane *l)
{
	return dune_space_shed(l->space, CKPT_SEEDS, is_to_end, l);
}

/* True also for a run that is to end: that is what it ends of. */
static bool shed(struct lane *l)
{
	size_t before = dune_space_pages(l->space);
	int err = lane_shed(l);

	return err == -EINTR || (!err && dune_space_pages(l->space) < before);
}

bool lane_room(struct lane *l, bool *tried)
{
	bool at_limit = dune_space_room(l->space) < TOUCH;
	bool more = at_limit ? !*tried && shed(l) : lanes_shrink();

	*tried |= at_limit;
	if (more)
		l->ctx.mem.nomem = false;
	return more;
}

/*
 * What is given back may be what the very instruction touched that now needs more.  If it gets no further, it needs all
 * of it at once.
 */
bool lane_room_to_touch(struct lane *l, const struct dune_frame *f)
{
	bool tried = l->short_calls == l->ctx.calls && !memcmp(&l->short_at, f, sizeof(*f));

	l->short_calls = l->ctx.calls;
	l->short_at = *f;
	return lane_room(l, &tried);
}

int lane_prepare_out(struct lane *l, uint64_t at, size_t len)
{
	bool tried = false;
	int err;

	do {
		err = uaccess_prepare_out(&l->ctx.mem, dune_gva(at), len);
	} while (err == -ENOMEM && lane_room(l, &tried));
	return err;
}
