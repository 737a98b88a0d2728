/* SPDX-License-Identifier: MIT */
/* area.c - the area of tagged memory, and which tags are in it.  World: host. */
#include "sthread/tag/tag.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "arch/cpu.h"
#include "sthread/process.h"

static struct {
	uint64_t base, len;	   /* 0, 0: not initialised */
	bool ending;		   /* there are no new ones */
	struct sthread_tag **list; /* by address; none overlap, and a guard page follows each */
	size_t n, cap;
	dune_gpa_t chunk[TAG_AREA / TAG_CHUNK]; /* where its slot begins; 0: it has none */
} area;

struct tags tags = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* In the area: not a tagged global. */
static bool at_home(const struct sthread_tag *t)
{
	return t->start - area.base < area.len;
}

static void lock(void)
{
	pthread_mutex_lock(&tags.lock);
}

static void unlock(void)
{
	pthread_mutex_unlock(&tags.lock);
}

/* ---- life ---- */

int tags_init(uint64_t base, uint64_t len)
{
	/* A fork would share pages that are being written, a core dump would hold every tag. */
	if (madvise((void *)base, len, MADV_DONTFORK) || madvise((void *)base, len, MADV_DONTDUMP))
		return -ENOMEM;
	lock();
	area.base = base;
	area.len = len;
	memset(area.chunk, 0, sizeof(area.chunk));
	unlock();
	return 0;
}

static void nap(void)
{
	const struct timespec time = { .tv_nsec = 100000 };

	unlock();
	nanosleep(&time, NULL);
	lock();
}

void tag_retire(struct sthread_tag *t)
{
	t->gone = true;
	while (t->users)
		nap();
}

void tags_fini(void)
{
	lock();
	area.ending = true;
	tagged_forget(false);
	data_forget(false);
	while (area.n) {
		struct sthread_tag *t = area.list[area.n - 1];

		t->gone = true;
		if (t->users) { /* who is in it may be destroying it: look again */
			nap();
			continue;
		}
		area.n--;
		unlock();
		heap_destroy(t);
		tag_put(t);
		lock();
	}
	free(area.list);
	area.list = NULL;
	area.cap = 0;
	area.base = area.len = 0; /* who was in one may have looked at these */
	area.ending = false;
	tags.destroyed++;
	unlock();
}

void tags_before_fork(void)
{
	lock();
}

void tags_after_fork(bool child)
{
	if (child) {
		/* Handles stay what they are, of tags that are not here. */
		pthread_mutex_init(&tags.lock, NULL);
		for (size_t i = 0; i < area.n; i++)
			area.list[i]->gone = true;
		for (struct policy *p = tags.pinned; p; p = p->pinned_next)
			p->pins = 0;
		tags.pinned = NULL;
		tagged_forget(true);
		data_forget(true);
		tags.destroyed++;
		area.base = area.len = area.n = 0;
		area.ending = false;
		return;
	}
	unlock();
}

/* ---- looking up ---- */

/* The place of the first tag that ends above `at`. */
static size_t place(uint64_t at)
{
	size_t low = 0, high = area.n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (area.list[mid]->start + area.list[mid]->len > at)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

struct sthread_tag *tag_find(uint64_t at)
{
	size_t i = place(at);

	if (i == area.n || area.list[i]->start > at || area.list[i]->gone)
		return NULL;
	return area.list[i];
}

struct sthread_tag *tag_enter(struct sthread_tag *t)
{
	lock();
	if (t && t->gone)
		t = NULL;
	if (t)
		t->users++;
	unlock();
	return t;
}

struct sthread_tag *tag_enter_at(uint64_t at)
{
	struct sthread_tag *t;

	lock();
	t = tag_find(at);
	if (t)
		t->users++;
	unlock();
	return t;
}

void tag_leave(struct sthread_tag *t)
{
	lock();
	t->users--;
	unlock();
}

int tag_window(const struct sthread_tag *t, uint64_t at, uint64_t *end, dune_gpa_t *out)
{
	uint64_t i, off, len;
	int err = 0;

	if (t->window.v) {
		*out = dune_gpa(t->window.v + (at - t->start));
		return 0;
	}
	lock();
	i = (at - area.base) / TAG_CHUNK;
	off = i * TAG_CHUNK;
	len = area.len - off < TAG_CHUNK ? area.len - off : TAG_CHUNK;
	if (!area.chunk[i].v)
		err = dune_slot_add_rw(process.vm, (void *)(area.base + off), len, &area.chunk[i]);
	if (!err) {
		*out = dune_gpa(area.chunk[i].v + (at - area.base - off));
		if (*end > area.base + off + len)
			*end = area.base + off + len;
	}
	unlock();
	return err ? -ENOMEM : 0;
}

size_t tag_tables(struct dune_space *s)
{
	return dune_space_tables(s, dune_gva(area.base), area.len);
}

static const char *kind_of(const struct sthread_tag *t)
{
	return at_home(t) ? t->plain ? "memory of" : "tag" : "globals tagged";
}

/* Also inside, where these are the image's; the area is made before. */
bool sthread_is_tagged(const void *ptr)
{
	return (uint64_t)ptr - area.base < area.len;
}

bool tag_describe(uint64_t at, unsigned error, char *buf, size_t len)
{
	const bool there = cpu_page_there(error);
	const char *why = !there		? ": not granted" :
			  cpu_executes(error) ? " (never executable)" :
			  cpu_writes(error)   ? " (granted read-only)" :
						"";
	const struct sthread_tag *t, *data;
	bool in;

	lock();
	t = tagged_find(at);
	/* A page of the image is copied when it is written to: this one was not the image's. */
	data = !t && there && cpu_writes(error) ? data_find(at, at + 1) : NULL;
	in = t || data || at - area.base < area.len;
	if (in && !t && !data)
		t = tag_find(at);
	if (data)
		snprintf(buf, len, "live %s + 0x%llx%s", data->name,
			 (unsigned long long)(at - data->start), why);
	else if (t && !there)
		snprintf(buf, len, "%s %s%s", kind_of(t), t->name, why);
	else if (t)
		snprintf(buf, len, "%s %s + 0x%llx%s", kind_of(t), t->name,
			 (unsigned long long)(at - t->start), why);
	else if (in)
		snprintf(buf, len, "the area of tags, where no tag is");
	unlock();
	return in;
}

void tags_count(uint64_t *count, uint64_t *bytes)
{
	uint64_t sum = 0, n = 0;

	lock();
	for (size_t i = 0; i < area.n; i++) {
		if (area.list[i]->gone) /* its heap is going */
			continue;
		n++;
		sum += heap_bytes(area.list[i]);
	}
	unlock();
	*count = n;
	*bytes = sum;
}

/* ---- places ---- */

/* First fit. */
int tag_insert(struct sthread_tag *t)
{
	uint64_t align = t->len >= TAG_HUGE ? TAG_HUGE : DUNE_PAGE_SIZE;
	uint64_t at = area.base, end = area.base + area.len;
	size_t i;

	if (!area.len || area.ending)
		return -EINVAL;
	for (i = 0; i < area.n; i++) {
		uint64_t after = area.list[i]->start + area.list[i]->len + DUNE_PAGE_SIZE;

		if (area.list[i]->start >= at + t->len + DUNE_PAGE_SIZE)
			break;
		at = (after + align - 1) & ~(align - 1);
	}
	if (at >= end || end - at < t->len + DUNE_PAGE_SIZE)
		return -ENOMEM;
	if (area.n == area.cap) {
		size_t cap = area.cap ? 2 * area.cap : 64;
		struct sthread_tag **list = realloc(area.list, cap * sizeof(*list));

		if (!list)
			return -ENOMEM;
		area.list = list;
		area.cap = cap;
	}
	memmove(&area.list[i + 1], &area.list[i], (area.n - i) * sizeof(*area.list));
	area.list[i] = t;
	area.n++;
	t->start = at;
	return 0;
}

void tag_delete(struct sthread_tag *t)
{
	size_t i = place(t->start);

	area.n--;
	memmove(&area.list[i], &area.list[i + 1], (area.n - i) * sizeof(*area.list));
}
