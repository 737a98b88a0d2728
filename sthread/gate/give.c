/* SPDX-License-Identifier: MIT */
/*
 * give.c - what a gate hands to its caller: descriptors and tags, with rights that it has
 * itself.  World: host.
 *
 * A gift is put in place at once, so that an error can still be told to the gate, and removed if
 * the call fails.  The caller waits meanwhile, so it sees either the gift or nothing.
 */
#include <assert.h>
#include <errno.h>

#include "sthread/gate/gate.h"
#include "sthread/inside/inside.h"
#include "sthread/inside/stubs.h"
#include "sthread/tag/tag.h"

/* ---- descriptors ---- */

/* Takes over the reference on obj. */
static int give_fd(struct gate_call *c, struct fd_object *obj, unsigned rights, bool dir)
{
	const struct fd_entry e = { .rights = rights, .dir = dir, .obj = obj };
	struct fdtab *to = &c->caller->ctx.fds;
	int err = c->n_given == STHREAD_GATE_GIVES ? -EMFILE : fdtab_reserve(to);

	if (!err)
		err = fd_dirs_fit(to->entry, to->n, &e);
	if (err) {
		fd_object_put(obj);
		return err;
	}
	return c->given[c->n_given++] = fdtab_open(to, obj, rights, dir);
}

static bool fd_rights_ok(uint64_t rights)
{
	return rights && !(rights & ~(uint64_t)STHREAD_FD_ALL);
}

long gate_serve_give_fd(struct lane *l, int fd, uint64_t rights)
{
	const struct fd_entry *e;
	struct fd_object *obj;
	int err;

	if (!l->gates.serving || !l->gates.serving->caller || !fd_rights_ok(rights))
		return -EINVAL;
	e = fdtab_find(&l->ctx.fds, fd);
	if (!e)
		return -EBADF;
	if (rights & ~(uint64_t)e->rights)
		return -EPERM;
	/* An epoll set refers to numbers of the gate's own table. */
	if (e->obj->kind == FD_EPOLL)
		return -EINVAL;
	/*
	 * An object of its own: closing the number leaves the epoll sets that it is in, and no
	 * other.
	 */
	err = fd_object_again(e->obj, &obj);
	return err ? err : give_fd(l->gates.serving, obj, (unsigned)rights, e->dir);
}

int sthread_gate_give_fd(int fd, unsigned rights)
{
	struct gate_call *c;
	struct fd_object *obj;
	int err;

	if (is_inside())
		return inside_gate_give_fd(fd, rights);
	c = gate_current();
	if (!c || !c->caller || !fd_rights_ok(rights))
		return -EINVAL;
	err = fd_object_dup(fd, &obj);
	return err ? err : give_fd(c, obj, rights, false);
}

/* ---- tags ---- */

/* From now on the policy of its run is this one, which is pinned and taken over. */
static void adopt(struct lane *l, const struct policy *p)
{
	l->pinned = p;
	l->ctx.policy = p;
}

/*
 * The caller's limit leaves no room, or guest memory is short.  What the caller does not need
 * goes, once; but not the place for its answer, which is there already.
 */
static int map_more(struct gate_call *c, const struct policy *wider)
{
	struct lane *l = c->caller;
	int err;

	while ((err = tag_map_more(&l->tags, wider)) == -ENOMEM && !lane_is_lost(l) && lanes_shrink())
		;
	if (err != -EDQUOT)
		return err;
	if (lane_trim(l))
		return -ENOMEM;
	if (c->out_cap && uaccess_prepare_out(&l->ctx.mem, dune_gva(c->out_at), c->out_cap)) {
		l->ctx.mem.nomem = false; /* the gate gets the error; its answer is copied later */
		return -ENOMEM;
	}
	err = tag_map_more(&l->tags, wider);
	return err == -EDQUOT ? -ENOMEM : err;
}

/*
 * A run's rights are its policy: so its policy becomes one that grants e, too, for as long as the
 * run lasts.
 */
static int give_memory(struct gate_call *c, const struct grant *e)
{
	struct lane *l = c->caller;
	const struct policy *wider;
	int err;

	if (grants_cover(&l->ctx.policy->mem, e))
		return 0;
	err = policy_with_memory(l->ctx.policy, e, &wider);
	if (err)
		return err;
	err = policy_pin(wider);
	if (err)
		return err;
	err = map_more(c, wider);
	if (err) {
		policy_unpin(wider);
		return err;
	}
	if (c->before)
		lane_unpin_policy(l);
	else
		c->before = l->pinned;
	adopt(l, wider);
	return 0;
}

/* Writing includes reading. */
static unsigned with_read(uint64_t rights)
{
	return (unsigned)rights | STHREAD_READ;
}

long gate_serve_give_tag(struct lane *l, uint64_t tag, uint64_t rights)
{
	const struct grant *g;
	struct grant e;

	if (!l->gates.serving || !l->gates.serving->caller || !tag_rights_ok(rights))
		return -EINVAL;
	/*
	 * Memory that is no tag's has no handle inside; and taking it away again can need page
	 * tables.
	 */
	g = grants_handle(&l->ctx.policy->mem, tag);
	if (!g || g->tag->plain || (rights & ~(uint64_t)g->rights))
		return -EPERM;
	e = *g;
	e.rights = with_read(rights);
	return give_memory(l->gates.serving, &e);
}

int sthread_gate_give_tag(struct sthread_tag *tag, unsigned rights)
{
	struct grant e = { .rights = with_read(rights) };
	struct gate_call *c;
	int err;

	if (is_inside())
		return inside_gate_give_tag(tag, rights);
	c = gate_current();
	if (!c || !c->caller || !tag_rights_ok(rights))
		return -EINVAL;
	e.tag = tag_enter(tag);
	if (!e.tag)
		return -EINVAL;
	e.start = e.tag->start;
	e.len = e.tag->len;
	err = give_memory(c, &e);
	tag_leave(e.tag);
	return err;
}

/* ---- the end of the call ---- */

void gate_given(struct gate_call *c, bool stays)
{
	struct lane *l = c->caller;

	for (unsigned i = 0; !stays && i < c->n_given; i++)
		fdtab_close(&l->ctx.fds, c->given[i]);
	if (!c->before)
		return;
	if (stays) {
		policy_unpin(c->before);
		return;
	}
	/* Less than is mapped takes no table. */
	if (tag_map_more(&l->tags, c->before))
		assert(!"what was mapped for a call can be unmapped");
	lane_unpin_policy(l);
	adopt(l, c->before);
}
