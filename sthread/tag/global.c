/* SPDX-License-Identifier: MIT */
/*
 * global.c - tagged globals: whole pages of a program's data that are in no image, and granted by
 * name.  World: host.
 *
 * STHREAD_TAGGED() gives each variable whole pages in a section of the tag's name, and each
 * object file a constructor that says where that section is.  sthread_init() keeps those ranges
 * out of the image, and pins the objects they are in; from then on each is a tag without an
 * allocator, at the address that the linker gave it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sthread/inside/inside.h"
#include "sthread/inside/stubs.h"
#include "sthread/process.h"
#include "sthread/tag/tag.h"

static struct sthread_tagged *sections; /* of the loaded objects; tags.lock */
static struct sthread_tag **globals;	/* since sthread_init(); tags.lock */
static size_t nglobals;

static bool is_known(const struct sthread_tagged *s)
{
	for (size_t i = 0; i < nglobals; i++)
		if (globals[i]->start == (uint64_t)s->start)
			return true;
	return false;
}

void sthread_tagged_add(struct sthread_tagged *s)
{
	if (is_inside())
		return;
	pthread_mutex_lock(&tags.lock);
	s->next = sections;
	sections = s;
	pthread_mutex_unlock(&tags.lock);
}

void sthread_tagged_remove(struct sthread_tagged *s)
{
	if (is_inside())
		return;
	pthread_mutex_lock(&tags.lock);
	for (struct sthread_tagged **link = &sections; *link; link = &(*link)->next) {
		if (*link == s) {
			*link = s->next;
			break;
		}
	}
	pthread_mutex_unlock(&tags.lock);
}

static struct sthread_tag *global_new(const struct sthread_tagged *s)
{
	struct sthread_tag *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->start = (uint64_t)s->start;
	t->len = (uint64_t)s->stop - (uint64_t)s->start;
	t->plain = true;
	atomic_init(&t->refs, 1);
	pthread_mutex_init(&t->making, NULL);
	strncpy(t->name, s->name, TAG_NAME - 1);
	return t;
}

int tagged_init(struct ckpt_range **ranges, size_t *n)
{
	struct ckpt_range *list;
	size_t most = 0;
	int err = 0;

	pthread_mutex_lock(&tags.lock);
	for (const struct sthread_tagged *s = sections; s; s = s->next)
		most++;
	globals = calloc(most + 1, sizeof(*globals));
	list = calloc(most + 1, sizeof(*list));
	if (!globals || !list)
		err = -ENOMEM;
	for (const struct sthread_tagged *s = sections; s && !err; s = s->next) {
		if (is_known(s)) /* one section, several object files */
			continue;
		globals[nglobals] = global_new(s);
		if (!globals[nglobals]) {
			err = -ENOMEM;
			break;
		}
		list[nglobals] =
			(struct ckpt_range){ globals[nglobals]->start, globals[nglobals]->len };
		nglobals++;
	}
	*n = nglobals;
	pthread_mutex_unlock(&tags.lock);
	if (err) {
		free(list);
		return err;
	}
	*ranges = list;
	return 0;
}

int tagged_adopt(void)
{
	int err = 0;

	for (size_t i = 0; i < nglobals && !err; i++)
		err = dune_vm_adopt(process.vm, (void *)globals[i]->start, globals[i]->len);
	return err;
}

void tagged_forget(bool keep)
{
	for (size_t i = 0; i < nglobals; i++)
		globals[i]->gone = true;
	/* While one is waited for, others look through the list. */
	for (size_t i = 0; i < nglobals && !keep; i++)
		tag_retire(globals[i]);
	for (size_t i = 0; i < nglobals && !keep; i++)
		tag_put(globals[i]);
	free(globals);
	globals = NULL;
	nglobals = 0;
}

const struct sthread_tag *tagged_find(uint64_t at)
{
	for (size_t i = 0; i < nglobals; i++)
		if (at - globals[i]->start < globals[i]->len)
			return globals[i];
	return NULL;
}

/* The VM sees it from now on.  tags.lock held. */
static int show(struct sthread_tag *t)
{
	return t->window.v ? 0 : dune_slot_add_rw(process.vm, (void *)t->start, t->len, &t->window);
}

/* The next with that name, in use. */
static struct sthread_tag *enter_next(const char *name, size_t *i, int *err)
{
	struct sthread_tag *t = NULL;

	pthread_mutex_lock(&tags.lock);
	for (; *i < nglobals && !t; ++*i)
		if (!globals[*i]->gone && !strcmp(globals[*i]->name, name))
			t = globals[*i];
	if (t && show(t)) {
		*err = -ENOMEM;
		t = NULL;
	}
	if (t)
		t->users++;
	pthread_mutex_unlock(&tags.lock);
	return t;
}

int sthread_policy_tagged(struct sthread_policy *p, const char *name, unsigned rights)
{
	struct grant e = { .rights = rights | STHREAD_READ };
	struct grants added = { 0 };
	struct policy *v;
	size_t i = 0;
	int err = 0;

	if (is_inside())
		return inside_policy_tagged(p, name, rights);
	if (!p || !name || !tag_rights_ok(rights))
		return -EINVAL;
	while (!err && (e.tag = enter_next(name, &i, &err))) {
		e.start = e.tag->start;
		e.len = e.tag->len;
		err = grants_insert(&added, &e);
		tag_leave(e.tag);
	}
	if (!err && !added.n)
		err = -ENOENT;
	if (!err && !(v = policy_edit(p)))
		err = -ENOMEM;
	if (!err) {
		err = grants_merge(&v->mem, &added);
		v->found = 0;
		policy_edited(p);
	}
	grants_fini(&added);
	return err;
}
