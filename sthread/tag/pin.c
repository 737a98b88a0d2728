/* SPDX-License-Identifier: MIT */
/*
 * pin.c - memory in policies: granting it, and pinning it while a compartment runs.  World: host.
 */
#include <errno.h>

#include "sthread/inside/inside.h"
#include "sthread/inside/stubs.h"
#include "sthread/tag/tag.h"

/* ---- runs ---- */

static bool all_there(const struct grants *g)
{
	for (size_t i = 0; i < g->n; i++)
		if (g->list[i].tag->gone)
			return false;
	return true;
}

int policy_pin(const struct policy *value)
{
	struct policy *p = (struct policy *)value;
	int err = 0;

	if (!p->mem.n)
		return 0;
	pthread_mutex_lock(&tags.lock);
	if (!p->pins) {
		if (p->found != tags.destroyed + 1 && !all_there(&p->mem)) {
			err = -EINVAL;
			goto out;
		}
		p->found = tags.destroyed + 1;
		p->pinned_next = tags.pinned;
		p->pinned_link = &tags.pinned;
		if (p->pinned_next)
			p->pinned_next->pinned_link = &p->pinned_next;
		tags.pinned = p;
	}
	p->pins++;
out:
	pthread_mutex_unlock(&tags.lock);
	if (err)
		policy_put(value);
	return err;
}

void policy_unpin(const struct policy *value)
{
	struct policy *p = (struct policy *)value;

	if (p->mem.n) {
		pthread_mutex_lock(&tags.lock);
		if (!--p->pins) {
			*p->pinned_link = p->pinned_next;
			if (p->pinned_next)
				p->pinned_next->pinned_link = p->pinned_link;
		}
		pthread_mutex_unlock(&tags.lock);
	}
	policy_put(value);
}

bool policies_pin(const struct sthread_tag *t)
{
	for (const struct policy *p = tags.pinned; p; p = p->pinned_next)
		if (grants_name(&p->mem, t))
			return true;
	return false;
}

/* ---- set-up ---- */

static int grant(struct sthread_policy *p, struct grant *e)
{
	uint64_t end = e->start + e->len, next;
	struct policy *v;
	dune_gpa_t page;
	int err;

	e->rights |= STHREAD_READ; /* the processor knows no writing without */
	/* Now, so that no run can fail for want of it. */
	for (uint64_t at = e->start; at < end; at = next) {
		next = end;
		err = tag_window(e->tag, at, &next, &page);
		if (err)
			return err;
	}
	v = policy_edit(p);
	if (!v)
		return -ENOMEM;
	err = grants_insert(&v->mem, e);
	v->found = 0;
	policy_edited(p);
	return err;
}

int sthread_policy_tag(struct sthread_policy *p, struct sthread_tag *tag, unsigned rights)
{
	struct grant e = { .rights = rights };
	int err;

	if (is_inside())
		return inside_policy_tag(p, tag, rights);
	if (!p || !tag_rights_ok(rights))
		return -EINVAL;
	e.tag = tag_enter(tag);
	if (!e.tag)
		return -EINVAL;
	e.start = e.tag->start;
	e.len = e.tag->len;
	err = grant(p, &e);
	tag_leave(e.tag);
	return err;
}

int sthread_policy_memory(struct sthread_policy *p, void *addr, size_t len, unsigned rights)
{
	struct grant e = { .start = (uint64_t)addr, .len = len, .rights = rights };
	int err;

	if (is_inside())
		return inside_policy_memory(p, addr, len, rights);
	if (!p || !len || ((uint64_t)addr | len) % DUNE_PAGE_SIZE || !tag_rights_ok(rights))
		return -EINVAL;
	e.tag = tag_enter_at(e.start);
	if (!e.tag && (err = data_enter(e.start, len, &e.tag)))
		return err;
	err = e.tag->plain && len <= e.tag->start + e.tag->len - e.start ? grant(p, &e) : -EINVAL;
	tag_leave(e.tag);
	return err;
}
