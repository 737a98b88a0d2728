/* SPDX-License-Identifier: MIT */
/* mapping.c - what an address space maps: changes, look-ups, private pages.  World: host. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vm/machine.h"

/* Take the space for a change; on an error it is not taken. */
static int begin(struct dune_space *s)
{
	pthread_mutex_lock(&s->lock);
	if (s->frozen) {
		pthread_mutex_unlock(&s->lock);
		return -EBUSY;
	}
	s->vm->ops->quiesce(s);
	return 0;
}

static int end(struct dune_space *s, int err)
{
	pthread_mutex_unlock(&s->lock);
	return err;
}

bool space_is_reserved(const struct dune_space *s, dune_gva_t at, size_t len)
{
	uint64_t own = s->vm->own;

	return len > 0 && (at.v < s->vm->info.lowest || (at.v < own + s->vm->ops->reserved && at.v + len > own));
}

int dune_vm_map(struct dune_space *s, dune_gva_t at, dune_gpa_t page, size_t len, unsigned prot)
{
	int err = begin(s);

	if (err)
		return err;
	if (!slot_covers(s->vm, page, len, prot & DUNE_WRITE) || space_is_reserved(s, at, len))
		return end(s, -EINVAL);
	err = pt_map(&s->pt, at, page, len, prot);
	if (!err && (prot & DUNE_OWNED))
		mon_count(s->mon, (long)(len / DUNE_PAGE_SIZE));
	return end(s, err);
}

int dune_vm_mprotect(struct dune_space *s, dune_gva_t at, size_t len, unsigned prot)
{
	int err = begin(s);

	if (err)
		return err;
	s->reprotected = true;
	return end(s, pt_protect(&s->pt, at, len, prot));
}

static void forget_private(struct dune_space *s, dune_gva_t at, size_t len)
{
	size_t kept = 0;

	for (size_t i = 0; i < s->nprivate; i++) {
		if (s->private[i].at.v - at.v >= len)
			s->private[kept++] = s->private[i];
	}
	s->nprivate = kept;
}

int dune_vm_unmap(struct dune_space *s, dune_gva_t at, size_t len)
{
	int err = begin(s);

	if (err)
		return err;
	err = pt_unmap(&s->pt, at, len);
	if (!err)
		forget_private(s, at, len);
	return end(s, err);
}

int dune_vm_restore(struct dune_space *s, dune_gva_t at, size_t len)
{
	size_t done = 0;
	int err = begin(s);

	if (err)
		return err;
	if (!s->source || len % DUNE_PAGE_SIZE)
		return end(s, -EINVAL);
	for (; done < len && !err; done += err ? 0 : DUNE_PAGE_SIZE)
		err = pt_restore(&s->pt, dune_gva(at.v + done), &s->source->pt);
	forget_private(s, at, done);
	return end(s, err);
}

int dune_vm_sync(struct dune_space *s)
{
	pthread_mutex_lock(&s->lock);
	s->vm->ops->quiesce(s); /* edits that were made are not made again, over what ring 0 did since */
	return end(s, s->vm->ops->sync(s));
}

int dune_vm_lookup(struct dune_space *s, dune_gva_t at, struct dune_leaf *out)
{
	pthread_mutex_lock(&s->lock);
	return end(s, pt_lookup(&s->pt, at, out));
}

int dune_vm_page_walk(struct dune_space *s, dune_gva_t from, dune_gva_t to,
		      int (*fn)(void *ctx, dune_gva_t at, const struct dune_leaf *leaf), void *ctx)
{
	pthread_mutex_lock(&s->lock);
	return end(s, pt_walk(&s->pt, from, to, fn, ctx));
}

/* ---- private pages ---- */

int space_reserve_private(struct dune_space *s, size_t more)
{
	size_t cap = s->private_cap ? s->private_cap : 32;
	struct dune_private *list;

	if (s->nprivate + more <= s->private_cap)
		return 0;
	while (cap < s->nprivate + more)
		cap *= 2;
	list = realloc(s->private, cap * sizeof(*list));
	if (!list)
		return -ENOMEM;
	s->private = list;
	s->private_cap = cap;
	return 0;
}

void space_note_private(struct dune_space *s, struct mon_private p)
{
	s->private[s->nprivate++] =
		(struct dune_private){ dune_gva(p.at), dune_gpa(p.page), dune_gpa(p.from) };
}

size_t dune_space_private(struct dune_space *s, const struct dune_private **list)
{
	*list = s->private;
	return s->nprivate;
}

static int env_page_alloc(struct mon_env *env, const dune_gpa_t *from, dune_gpa_t *out)
{
	struct dune_space *s = env->pt.ctx;
	const void *bytes = from ? slot_host(s->vm, *from) : NULL;
	int err = from && !bytes ? -EFAULT : space_reserve_private(s, 1);

	if (!err)
		err = dune_page_alloc(s->vm, out);
	if (!err && from)
		memcpy(arena_host(&s->vm->arena, *out), bytes, DUNE_PAGE_SIZE);
	return err;
}

static void env_page_free(struct mon_env *env, dune_gpa_t page)
{
	dune_page_put(((struct dune_space *)env->pt.ctx)->vm, page);
}

static void env_log(struct mon_env *env, dune_gva_t at, dune_gpa_t page, dune_gpa_t from)
{
	space_note_private(env->pt.ctx, (struct mon_private){ at.v, page.v, from.v });
}

void space_env(struct dune_space *s, struct mon_env *env)
{
	*env = (struct mon_env){
		.pt = s->pt,
		.space = s->mon,
		.zero_page = s->vm->zero_page,
		.page_alloc = env_page_alloc,
		.page_free = env_page_free,
		.log = env_log,
		.cow = &s->cow,
		.demand = &s->demand,
		.spurious = &s->spurious,
		.around = 64,
	};
}

int dune_vm_make_private(struct dune_space *s, dune_gva_t at)
{
	struct mon_env env;
	int err = begin(s);

	if (err)
		return err;
	space_env(s, &env);
	switch (mon_touch(&env, at, true)) {
	case MON_RESUME:
		break;
	case MON_NOMEM:
		err = -ENOMEM;
		break;
	case MON_TO_HOST:
		err = -EFAULT;
		break;
	}
	return end(s, err);
}

void dune_space_limit(struct dune_space *s, size_t pages)
{
	s->mon->limit = pages;
}

size_t dune_space_room(const struct dune_space *s)
{
	uint64_t limit = s->mon->limit, used = s->mon->used;

	if (!limit)
		return SIZE_MAX;
	return used < limit ? limit - used : 0;
}

size_t dune_space_pages(const struct dune_space *s)
{
	return s->mon->used;
}

size_t dune_space_tables(struct dune_space *s, dune_gva_t at, size_t len)
{
	size_t n;

	pthread_mutex_lock(&s->lock);
	n = pt_tables(&s->pt, at, dune_gva(at.v + len));
	pthread_mutex_unlock(&s->lock);
	return n;
}

/* A space that rests does not keep more pages than that from others only because edits wait. */
#define PARKED_MAX 32

int dune_space_reset(struct dune_space *s, size_t keep)
{
	struct arena *a = &s->vm->arena;
	size_t n = s->nprivate;
	int err = begin(s);

	if (err)
		return err;
	if (s->runners)
		return end(s, -EBUSY);
	s->mon->nregions = s->mon->nanswers = 0;
	s->mon->around_low = s->mon->around_high = 0;
	s->mon->around = 0;
	if (!keep || keep > n)
		keep = n;
	while (n > keep && !err) {
		/* What the space had there before: its source's leaf, or none. */
		err = s->source ? pt_restore(&s->pt, s->private[n - 1].at, &s->source->pt) :
				  pt_unmap(&s->pt, s->private[n - 1].at, DUNE_PAGE_SIZE);
		if (!err)
			s->nprivate = --n;
	}
	for (size_t i = 0; i < n && !err; i++) {
		const struct dune_private *p = &s->private[i];

		if (p->from.v == s->vm->zero_page.v)
			memset(arena_host(a, p->page), 0, DUNE_PAGE_SIZE);
		else
			memcpy(arena_host(a, p->page), slot_host(s->vm, p->from), DUNE_PAGE_SIZE);
		if (s->reprotected)
			err = pt_protect(&s->pt, p->at, DUNE_PAGE_SIZE, DUNE_READ | DUNE_WRITE);
	}
	if (!err)
		s->reprotected = false;
	/* Also what was parked without an edit to wait for: tables that were taken and not used. */
	if (s->vm->ops->is_synced(s))
		space_unpark(s);
	else if (s->nparked > PARKED_MAX && !err)
		err = s->vm->ops->sync(s);
	return end(s, err);
}

int dune_space_answer(struct dune_space *s, long nr, uint64_t value)
{
	struct mon_space *m = s->mon;
	uint32_t i;

	for (i = 0; i < mon_answers(m) && m->answers[i].nr != (uint64_t)nr; i++)
		;
	if (i == MON_ANSWERS)
		return -ENOSPC;
	m->answers[i].nr = (uint64_t)nr;
	m->answers[i].value = value;
	if (i == m->nanswers)
		m->nanswers++;
	return 0;
}
