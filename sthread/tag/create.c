/* SPDX-License-Identifier: MIT */
/* create.c - tags and mappings made and destroyed: the public calls.  World: host. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "sthread/inside/inside.h"
#include "sthread/process.h"
#include "sthread/tag/tag.h"

/*
 * Fresh memory without access in its place, in one step, so that nothing else can ever be there.
 * On an error the range is not used again.
 */
static bool give_back(const struct sthread_tag *t)
{
	return !dune_vm_clear(process.vm, (void *)t->start, t->len);
}

/* The tag is gone, and we alone are in it. */
static void destroy(struct sthread_tag *t)
{
	bool reusable;

	heap_destroy(t);
	reusable = give_back(t);
	pthread_mutex_lock(&tags.lock);
	t->users = 0;
	/* Otherwise it stays in the list, gone; and its address taken. */
	if (reusable)
		tag_delete(t);
	pthread_mutex_unlock(&tags.lock);
	if (reusable)
		tag_put(t);
}

static int create(struct sthread_tag **out, const char *name, size_t max, bool plain)
{
	struct sthread_tag *t;
	size_t align = max >= TAG_HUGE ? TAG_HUGE : DUNE_PAGE_SIZE, len;
	int err;

	if (!max || max > TAG_AREA)
		return max ? -ENOMEM : -EINVAL;
	len = (max + align - 1) & ~(align - 1);
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->len = len;
	t->plain = plain;
	t->users = 1; /* until it is ready */
	atomic_init(&t->refs, 1);
	pthread_mutex_init(&t->making, NULL);
	memcpy(t->name, name, strlen(name));
	pthread_mutex_lock(&tags.lock);
	err = tag_insert(t);
	pthread_mutex_unlock(&tags.lock);
	if (err) {
		tag_put(t);
		return err;
	}
	if (mprotect((void *)t->start, t->len, PROT_READ | PROT_WRITE)) {
		pthread_mutex_lock(&tags.lock);
		t->gone = true;
		pthread_mutex_unlock(&tags.lock);
		destroy(t);
		return -ENOMEM;
	}
	tag_leave(t);
	*out = t;
	return 0;
}

/* tags.lock held: it is released. */
static int remove_locked(struct sthread_tag *t)
{
	int err = !t || t->gone ? -EINVAL : t->users || policies_pin(t) ? -EBUSY : 0;

	if (!err) {
		t->gone = true;
		t->users = 1;
		tags.destroyed++;
	}
	pthread_mutex_unlock(&tags.lock);
	if (!err)
		destroy(t);
	return err;
}

int sthread_tag_create(struct sthread_tag **out, const char *name, size_t max)
{
	if (is_inside())
		return -EPERM;
	if (!out || !name || !*name || strnlen(name, TAG_NAME) == TAG_NAME)
		return -EINVAL;
	return create(out, name, max, false);
}

int sthread_tag_destroy(struct sthread_tag *tag)
{
	if (is_inside())
		return -EPERM;
	if (!tag)
		return 0;
	pthread_mutex_lock(&tags.lock);
	return remove_locked(tag);
}

void *sthread_tag_start(struct sthread_tag *tag)
{
	void *start = NULL;

	if (is_inside())
		return NULL;
	pthread_mutex_lock(&tags.lock);
	if (tag && !tag->gone)
		start = (void *)tag->start;
	pthread_mutex_unlock(&tags.lock);
	return start;
}

int sthread_map(size_t len, void **out)
{
	struct sthread_tag *t;
	int err;

	if (is_inside())
		return -EPERM;
	if (!out || len % DUNE_PAGE_SIZE)
		return -EINVAL;
	err = create(&t, "sthread_map()", len, true);
	if (!err)
		*out = (void *)t->start;
	return err;
}

int sthread_unmap(void *addr)
{
	struct sthread_tag *t;

	if (is_inside())
		return -EPERM;
	if (!addr)
		return 0;
	pthread_mutex_lock(&tags.lock);
	t = tag_find((uint64_t)addr);
	if (t && (!t->plain || t->start != (uint64_t)addr))
		t = NULL;
	return remove_locked(t);
}
