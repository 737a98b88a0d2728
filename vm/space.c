/* SPDX-License-Identifier: MIT */
/* space.c - address spaces: life, clones, mappings, private pages.  World: host. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch/layout.h"
#include "vm/vm.h"

int dune_space_create(struct dune_vm *vm, struct dune_space **out)
{
	struct dune_space *s = calloc(1, sizeof(*s));
	pthread_mutexattr_t recursive;
	uint64_t *root;
	int err;

	if (!s)
		return -ENOMEM;
	pthread_mutexattr_init(&recursive);
	pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&s->lock, &recursive);
	s->edits = malloc(EDITS_MAX * sizeof(*s->edits));
	if (!s->edits) {
		err = -ENOMEM;
		goto no_edits;
	}
	err = dune_page_alloc(vm, &s->mon_page);
	if (err)
		goto no_page;
	err = arena_table_alloc(vm, true, &s->pt.root);
	if (err)
		goto no_root;
	root = arena_host(&vm->arena, s->pt.root);
	root[PT_ENTRIES - 1] =
		((const uint64_t *)arena_host(&vm->arena, vm->mon.root))[PT_ENTRIES - 1];
	s->vm = vm;
	s->pt.ops = &space_pt_ops;
	s->pt.ctx = s;
	s->mon = arena_host(&vm->arena, s->mon_page);
	s->mon->root = s->pt.root.v;
	s->mon->used = 2;
	pthread_mutex_lock(&vm->lock);
	s->serial = ++vm->spaces_made;
	s->next = vm->spaces;
	s->link = &vm->spaces;
	if (s->next)
		s->next->link = &s->next;
	vm->spaces = s;
	pthread_mutex_unlock(&vm->lock);
	*out = s;
	return 0;

no_root:
	dune_page_put(vm, s->mon_page);
no_page:
	free(s->edits);
no_edits:
	free(s);
	return err;
}

static int is_writable(void *ctx, dune_gva_t at, const struct dune_leaf *leaf)
{
	(void)ctx;
	(void)at;
	return leaf->prot & DUNE_WRITE ? -EINVAL : 0;
}

int dune_vm_clone(struct dune_space *src, struct dune_space **out)
{
	struct dune_space *s;
	int err;

	if (!src->frozen) {
		if (src->runners)
			return -EBUSY;
		err = pt_walk(&src->pt, dune_gva(0), dune_gva(DUNE_USER_END), is_writable, NULL);
		if (err || (err = dune_vm_sync(src)))
			return err;
		src->frozen = true;
	}
	err = dune_space_create(src->vm, &s);
	if (err)
		return err;
	pthread_mutex_lock(&src->vm->lock);
	src->clones++;
	pthread_mutex_unlock(&src->vm->lock);
	s->source = src;
	/* The fresh root, not yet known to any processor, takes the source's lower half. */
	space_pt_ops.table_copy(s, s->pt.root, src->pt.root, PT_LEVELS);
	*out = s;
	return 0;
}

/*
 * A space without clones goes.  Its source, if that was let go of before and this was its last
 * clone; or NULL.
 */
static struct dune_space *release(struct dune_space *s)
{
	struct dune_space *source = s->source;
	struct dune_vm *vm = s->vm;

	/* If an edit cannot be made the VM is broken, nothing runs any more, and pages may go. */
	edits_flush(s);
	pt_free(&s->pt);
	edits_done(s);
	if (s->live) {
		edits_scrub(vm, (uint32_t)(s->pt.root.v / DUNE_PAGE_SIZE), true);
	} else {
		memset(arena_host(&vm->arena, s->pt.root), 0, DUNE_PAGE_SIZE / 2);
		arena_table_free(vm, true, s->pt.root);
	}
	pthread_mutex_lock(&vm->lock);
	*s->link = s->next;
	if (s->next)
		s->next->link = s->link;
	vm->cow += s->cow;
	vm->demand += s->demand;
	vm->spurious += s->spurious;
	if (source && (--source->clones || !source->released))
		source = NULL;
	pthread_mutex_unlock(&vm->lock);
	dune_page_put(vm, s->mon_page);
	pthread_mutex_destroy(&s->lock);
	free(s->private);
	free(s->edits);
	free(s);
	return source;
}

void dune_vm_free(struct dune_space *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->vm->lock);
	s->released = true;
	if (s->clones) {
		pthread_mutex_unlock(&s->vm->lock);
		return;
	}
	pthread_mutex_unlock(&s->vm->lock);
	while (s)
		s = release(s);
}

void space_mark_live(struct dune_space *s)
{
	for (; s && !s->live; s = s->source)
		s->live = true;
}

/*
 * ---- mappings
 * ------------------------------------------------------------------------------------------
 */

/* Take the space for a change; on an error it is not taken. */
static int begin(struct dune_space *s)
{
	pthread_mutex_lock(&s->lock);
	if (!s->frozen)
		return 0;
	pthread_mutex_unlock(&s->lock);
	return -EBUSY;
}

static int end(struct dune_space *s, int err)
{
	pthread_mutex_unlock(&s->lock);
	return err;
}

int dune_vm_map(struct dune_space *s, dune_gva_t at, dune_gpa_t page, size_t len, unsigned prot)
{
	int err = begin(s);

	if (err)
		return err;
	if (!slot_covers(s->vm, page, len, prot & DUNE_WRITE))
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
	return end(s, edits_flush(s));
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

/*
 * ---- private pages
 * -------------------------------------------------------------------------------------
 */

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
	if (!s->nedits)
		edits_done(s);
	else if (s->nparked > PARKED_MAX && !err)
		err = edits_flush(s);
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
