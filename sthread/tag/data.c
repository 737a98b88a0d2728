/* SPDX-License-Identifier: MIT */
/*
 * data.c - whole pages of writable data of the program and its libraries, live: what
 * sthread_policy_memory() grants of it.  World: host.
 *
 * A compartment has such pages from the image, copy-on-write; one that was granted them has the
 * master's own in their place, through a slot.  So they must be there for ever: the object that
 * they belong to is pinned, and only what the dynamic linker mapped for it counts - not the pages
 * that it closed after relocation, nor those that a segment has in part and that others begin or
 * end in, as the heap may.  That the kernel gives a page another frame, when a fork made it
 * copy-on-write, KVM sees by itself.
 *
 * Each segment is a tag without an allocator, from its first grant to sthread_fini().
 */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sthread/inside/inside.h"
#include "sthread/process.h"
#include "sthread/tag/tag.h"

static struct sthread_tag **segments; /* tags.lock */
static size_t nsegments, cap;

struct search {
	uint64_t at, end;     /* what is looked for */
	uint64_t start, stop; /* found: the segment's whole pages; 0, 0: not */
	uint64_t base;	      /* of its object */
	char name[PATH_MAX];
};

static uint64_t page_down(uint64_t v)
{
	return v & ~(DUNE_PAGE_SIZE - 1);
}

static uint64_t page_up(uint64_t v)
{
	return page_down(v + DUNE_PAGE_SIZE - 1);
}

static int look(struct dl_phdr_info *info, size_t size, void *ctx)
{
	uint64_t base = info->dlpi_addr, closed = 0, closed_end = 0;
	struct search *s = ctx;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];

		if (ph->p_type == PT_GNU_RELRO) {
			closed = page_down(base + ph->p_vaddr);
			closed_end = page_down(base + ph->p_vaddr + ph->p_memsz);
		}
	}
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uint64_t start = page_up(base + ph->p_vaddr);
		uint64_t stop = page_down(base + ph->p_vaddr + ph->p_memsz);

		if (ph->p_type != PT_LOAD || !(ph->p_flags & PF_W))
			continue;
		if (closed < stop && closed_end > start) {
			if (s->at < closed)
				stop = closed;
			else
				start = closed_end;
		}
		if (s->at < start || s->end > stop)
			continue;
		s->start = start;
		s->stop = stop;
		s->base = base;
		return snprintf(s->name, sizeof(s->name), "%s", info->dlpi_name) <
		       (int)sizeof(s->name);
	}
	return 0;
}

/* The object stays loaded from now on; the program itself does anyway. */
static bool pin(const struct search *s)
{
	struct link_map *map = NULL;
	bool pinned = false;
	void *handle;

	if (!s->name[0])
		return true;
	handle = dlopen(s->name, RTLD_NOLOAD | RTLD_LAZY | RTLD_NODELETE);
	if (!handle) {
		dlerror(); /* lets go of the message */
		return false;
	}
	pinned = !dlinfo(handle, RTLD_DI_LINKMAP, &map) && map && map->l_addr == s->base;
	dlclose(handle);
	return pinned;
}

static bool contains(const struct search *s, uint64_t at)
{
	return at >= s->at && at < s->end;
}

/*
 * Memory that is never granted live: the seeds that are fresh for each run, and the flag that
 * tells a compartment that it is one.  And where the library is an object by itself, its state.
 */
static bool is_ours(const struct search *s)
{
	const struct ckpt_seed *seeds = ckpt_seeds(process.ckpt);
	bool ours = contains(s, (uint64_t)&sthread_inside_flag);

	for (int i = 0; i < CKPT_SEEDS; i++)
		ours |= contains(s, seeds[i].at);
	return ours || (s->name[0] && (uint64_t)&process - s->start < s->stop - s->start);
}

static bool find(struct search *s)
{
	struct search again = { .at = s->at, .end = s->end };

	if (!dl_iterate_phdr(look, s) || is_ours(s) || !pin(s))
		return false;
	/* Before it was pinned another one may have come in its place. */
	return dl_iterate_phdr(look, &again) && again.base == s->base && again.start == s->start &&
	       again.stop == s->stop;
}

struct sthread_tag *data_find(uint64_t at, uint64_t end)
{
	for (size_t i = 0; i < nsegments; i++)
		if (at >= segments[i]->start && end <= segments[i]->start + segments[i]->len)
			return segments[i];
	return NULL;
}

/* It may become shared memory in its place, which no other thread may be writing meanwhile.  -ENOTSUP: there are others. */
static int share(const struct sthread_tag *t)
{
	struct dune_vm_info info;

	dune_vm_get_info(process.vm, &info);
	if (info.adopt_moves && process_one_thread())
		return -ENOTSUP;
	return dune_vm_adopt(process.vm, (void *)t->start, t->len);
}

/* The VM sees it from now on.  tags.lock held.  -ENOMEM, -ENOTSUP. */
static int add(const struct search *s)
{
	const char *slash = strrchr(s->name, '/');
	struct sthread_tag *t;
	int err;

	if (nsegments == cap) {
		size_t more = cap ? 2 * cap : 8;
		struct sthread_tag **list = realloc(segments, more * sizeof(struct sthread_tag *));

		if (!list)
			return -ENOMEM;
		segments = list;
		cap = more;
	}
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->start = s->start;
	t->len = s->stop - s->start;
	t->plain = true;
	atomic_init(&t->refs, 1);
	pthread_mutex_init(&t->making, NULL);
	snprintf(t->name, TAG_NAME, "data of %s", slash ? slash + 1 : "the program");
	err = share(t);
	if (!err && dune_slot_add_rw(process.vm, (void *)t->start, t->len, &t->window))
		err = -ENOMEM;
	if (err) {
		tag_put(t);
		return err;
	}
	segments[nsegments++] = t;
	return 0;
}

/* Within the library: the image and the VM are there. */
static int enter(uint64_t at, uint64_t len, struct sthread_tag **out)
{
	struct search s = { .at = at };
	struct sthread_tag *t;
	int err = 0;

	if (__builtin_add_overflow(at, len, &s.end) || is_ours(&s))
		return -EINVAL;
	pthread_mutex_lock(&tags.lock);
	t = data_find(at, s.end);
	if (!t) {
		pthread_mutex_unlock(&tags.lock);
		if (!find(&s))
			return -EINVAL;
		pthread_mutex_lock(&tags.lock);
		if (!data_find(at, s.end)) /* no other thread was faster */
			err = add(&s);
		t = data_find(at, s.end);
	}
	if (!err)
		t->users++;
	pthread_mutex_unlock(&tags.lock);
	if (!err)
		*out = t;
	return err;
}

int data_enter(uint64_t at, uint64_t len, struct sthread_tag **out)
{
	int err = process_enter_any();

	if (err)
		return err;
	err = enter(at, len, out);
	process_leave();
	return err;
}

void data_forget(bool keep)
{
	for (size_t i = 0; i < nsegments; i++)
		segments[i]->gone = true;
	/* While one is waited for, others look through the list. */
	for (size_t i = 0; i < nsegments && !keep; i++)
		tag_retire(segments[i]);
	for (size_t i = 0; i < nsegments && !keep; i++)
		tag_put(segments[i]);
	free(segments);
	segments = NULL;
	nsegments = cap = 0;
}
