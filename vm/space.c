/* SPDX-License-Identifier: MIT */
/* space.c - address spaces: life and clones.  World: host. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vm/machine.h"

int dune_space_create(struct dune_vm *vm, struct dune_space **out)
{
	struct dune_space *s = calloc(1, vm->ops->space_size);
	pthread_mutexattr_t recursive;
	int err;

	if (!s)
		return -ENOMEM;
	pthread_mutexattr_init(&recursive);
	pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&s->lock, &recursive);
	err = arena_alloc(vm, PAGE_HOST, 1, &s->mon_page);
	if (err)
		goto no_page;
	err = arena_table_alloc(vm, true, &s->pt.root);
	if (err)
		goto no_root;
	s->vm = vm;
	s->pt.ops = &space_pt_ops;
	s->pt.ctx = s;
	s->mon = arena_host(&vm->arena, s->mon_page);
	s->mon->root = s->pt.root.v;
	s->mon->used = 2;
	err = vm->ops->space_init(s);
	if (err)
		goto no_machine;
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

no_machine:
	arena_table_free(vm, true, s->pt.root);
no_root:
	dune_page_put(vm, s->mon_page);
no_page:
	pthread_mutex_destroy(&s->lock);
	free(s);
	return err;
}

static int is_writable(void *ctx, dune_gva_t at, const struct dune_leaf *leaf)
{
	(void)ctx;
	(void)at;
	return leaf->prot & DUNE_WRITE ? -EINVAL : 0;
}

static int freeze(struct dune_space *src)
{
	int err;

	if (src->frozen)
		return 0;
	if (src->runners)
		return -EBUSY;
	err = dune_vm_page_walk(src, dune_gva(0), dune_gva(DUNE_USER_END), is_writable, NULL);
	if (!err)
		err = dune_vm_sync(src);
	if (!err)
		err = src->vm->ops->freeze(src);
	src->frozen = !err;
	return err;
}

int dune_vm_clone(struct dune_space *src, struct dune_space **out)
{
	struct dune_space *s;
	int err = dune_space_create(src->vm, &s);

	if (err)
		return err;
	err = freeze(src); /* last, since it cannot be taken back */
	if (err) {
		dune_vm_free(s);
		return err;
	}
	pthread_mutex_lock(&src->vm->lock);
	src->clones++;
	pthread_mutex_unlock(&src->vm->lock);
	s->source = src;
	pt_clone(&src->pt, &s->pt);
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
	pthread_mutex_lock(&s->lock);
	(void)!vm->ops->sync(s);
	pt_free(&s->pt);
	pthread_mutex_unlock(&s->lock);
	/* The machine lets go of the pages before anybody else can have them. */
	vm->ops->space_fini(s);
	space_unpark(s);
	if (s->live) {
		vm->ops->scrub(vm, (uint32_t)(s->pt.root.v / DUNE_PAGE_SIZE), true);
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
