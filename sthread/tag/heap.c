/* SPDX-License-Identifier: MIT */
/*
 * heap.c - blocks of tagged memory: one jemalloc arena per tag.  World: host.
 *
 * A compartment with write access may write any byte of the tag, free memory included.  So nothing
 * in it is believed:
 *  - jemalloc's own data lies elsewhere (metadata_use_hooks); its arena gets parts of the tag by a hook;
 *  - it is never told that memory is zero, and never asked for zeros;
 *  - which blocks are live is known here, in a map of a bit for each place where a block may begin: an address that a
 *    tenant made up never reaches jemalloc.
 *
 * Two claims on one block: the bit goes atomically, so that one of them has it.
 */
#include <errno.h>
#include <jemalloc/jemalloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sthread/tag/tag.h"

/* jemalloc, as scripts/hide-jemalloc names it. */
void *tag_je_mallocx(size_t size, int flags);
void *tag_je_rallocx(void *ptr, size_t size, int flags);
size_t tag_je_xallocx(void *ptr, size_t size, size_t extra, int flags);
size_t tag_je_sallocx(const void *ptr, int flags);
void tag_je_dallocx(void *ptr, int flags);
int tag_je_mallctl(const char *name, void *old, size_t *old_len, void *new, size_t new_len);

/*
 * Freed memory is joined at once, kept by the arena (the hooks take none back), and found again
 * whatever its size; threads keep none.
 */
extern const char *tag_je_malloc_conf;
const char *tag_je_malloc_conf =
	"narenas:1,tcache:false,retain:false,dirty_decay_ms:0,muzzy_decay_ms:0,dss:disabled";

/* Where it would complain. */
extern void (*tag_je_malloc_message)(void *, const char *);

static void say_nothing(void *unused, const char *text)
{
	(void)unused;
	(void)text;
}

/* Its other sources of settings are none. */
char *tag_je_getenv(const char *name);
char *tag_je_getenv(const char *name)
{
	(void)name;
	return NULL;
}

ssize_t tag_je_readlink(const char *path, char *buf, size_t len);
ssize_t tag_je_readlink(const char *path, char *buf, size_t len)
{
	(void)path;
	(void)buf;
	(void)len;
	errno = ENOENT;
	return -1;
}

void heap_start(void)
{
	const char *version;
	size_t len = sizeof(version);

	tag_je_mallctl("version", &version, &len, NULL, 0);
}

/* As jemalloc 5.3 has it in arena_types.h. */
struct arena_config {
	extent_hooks_t *hooks;
	bool metadata_use_hooks;
};

#define BLOCK_ALIGN 8UL

struct tag_heap {
	extent_hooks_t hooks;
	uint64_t start, end;
	_Atomic uint64_t next; /* never given to jemalloc from here on */
	_Atomic uint64_t bytes;
	unsigned arena;
	size_t live_len;
	_Atomic uint64_t *live; /* a bit for each BLOCK_ALIGN bytes: a block begins there */
};

/* ---- hooks: jemalloc gets memory, and keeps it ---- */

static void *hook_alloc(extent_hooks_t *hooks, void *at, size_t size, size_t align, bool *zero,
			bool *commit, unsigned arena)
{
	struct tag_heap *h = (struct tag_heap *)hooks;
	uint64_t next = atomic_load(&h->next), start, end;

	(void)arena;
	if (*zero) /* it is not asked for any */
		return NULL;
	do {
		start = (next + align - 1) & ~(align - 1);
		if ((at && start != (uint64_t)at) || __builtin_add_overflow(start, size, &end) ||
		    end > h->end)
			return NULL;
	} while (!atomic_compare_exchange_weak(&h->next, &next, end));
	*commit = true;
	return (void *)start;
}

static bool hook_split(extent_hooks_t *hooks, void *at, size_t size, size_t a, size_t b,
		       bool committed, unsigned arena)
{
	(void)hooks, (void)at, (void)size, (void)a, (void)b, (void)committed, (void)arena;
	return false;
}

static bool hook_merge(extent_hooks_t *hooks, void *a, size_t a_len, void *b, size_t b_len,
		       bool committed, unsigned arena)
{
	(void)hooks, (void)a, (void)a_len, (void)b, (void)b_len, (void)committed, (void)arena;
	return false;
}

/* ---- the heap of a tag ---- */

static int flags_of(const struct tag_heap *h)
{
	return MALLOCX_ARENA(h->arena) | MALLOCX_TCACHE_NONE;
}

static struct tag_heap *heap_new(const struct sthread_tag *t)
{
	struct tag_heap *h = calloc(1, sizeof(*h));
	struct arena_config config = { .metadata_use_hooks = false };
	size_t len = sizeof(h->arena);

	if (!h)
		return NULL;
	h->hooks =
		(extent_hooks_t){ .alloc = hook_alloc, .split = hook_split, .merge = hook_merge };
	h->start = t->start;
	h->end = t->start + t->len;
	atomic_init(&h->next, h->start);
	h->live_len = t->len / BLOCK_ALIGN / 8;
	h->live = mmap(NULL, h->live_len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if ((void *)h->live == MAP_FAILED)
		goto no_map;
	config.hooks = &h->hooks;
	tag_je_malloc_message = say_nothing;
	if (tag_je_mallctl("experimental.arenas_create_ext", &h->arena, &len, &config,
			   sizeof(config)))
		goto no_arena;
	return h;
no_arena:
	munmap((void *)h->live, h->live_len);
no_map:
	free(h);
	return NULL;
}

static struct tag_heap *heap_of(struct sthread_tag *t)
{
	struct tag_heap *h = atomic_load(&t->heap);

	if (h || t->plain)
		return h;
	pthread_mutex_lock(&t->making);
	h = atomic_load(&t->heap);
	if (!h) {
		h = heap_new(t);
		atomic_store(&t->heap, h);
	}
	pthread_mutex_unlock(&t->making);
	return h;
}

static _Atomic uint64_t *live_word(const struct tag_heap *h, uint64_t at, uint64_t *bit)
{
	uint64_t i = (at - h->start) / BLOCK_ALIGN;

	*bit = 1UL << i % 64;
	return &h->live[i / 64];
}

static void born(struct tag_heap *h, void *at)
{
	uint64_t bit;
	_Atomic uint64_t *word = live_word(h, (uint64_t)at, &bit);

	atomic_fetch_add(&h->bytes, tag_je_sallocx(at, flags_of(h)));
	atomic_fetch_or(word, bit);
}

/* Take a block: it is the caller's, and nobody else's, from now on. */
static bool take(struct tag_heap *h, uint64_t at)
{
	_Atomic uint64_t *word;
	uint64_t bit;

	if (!h || at < h->start || at >= h->end || at % BLOCK_ALIGN)
		return false;
	word = live_word(h, at, &bit);
	if (!(atomic_fetch_and(word, ~bit) & bit))
		return false;
	atomic_fetch_sub(&h->bytes, tag_je_sallocx((void *)at, flags_of(h)));
	return true;
}

void *heap_alloc(struct sthread_tag *t, size_t size)
{
	struct tag_heap *h = size <= t->len ? heap_of(t) : NULL;
	int error = errno;
	void *p = NULL;

	if (h)
		p = tag_je_mallocx(size ? size : 1, flags_of(h));
	if (p)
		born(h, p);
	errno = error;
	return p;
}

bool heap_free(struct sthread_tag *t, uint64_t at)
{
	struct tag_heap *h = atomic_load(&t->heap);

	if (!take(h, at))
		return false;
	tag_je_dallocx((void *)at, flags_of(h));
	return true;
}

int heap_resize(struct sthread_tag *t, uint64_t at, size_t size, void **out)
{
	struct tag_heap *h = atomic_load(&t->heap);
	int error = errno;
	void *p = NULL;

	if (!take(h, at))
		return -EINVAL;
	if (size <= t->len)
		p = tag_je_rallocx((void *)at, size ? size : 1, flags_of(h));
	born(h, p ? p : (void *)at);
	errno = error;
	if (!p)
		return -ENOMEM;
	*out = p;
	return 0;
}

long heap_resize_here(struct sthread_tag *t, uint64_t at, size_t size)
{
	struct tag_heap *h = atomic_load(&t->heap);
	size_t has;

	if (!take(h, at))
		return -EINVAL;
	has = size <= t->len ? tag_je_xallocx((void *)at, size ? size : 1, 0, flags_of(h)) :
			       tag_je_sallocx((void *)at, flags_of(h));
	born(h, (void *)at);
	return (long)has;
}

uint64_t heap_bytes(const struct sthread_tag *t)
{
	const struct tag_heap *h = atomic_load(&t->heap);

	return h ? atomic_load(&h->bytes) : 0;
}

void heap_destroy(struct sthread_tag *t)
{
	struct tag_heap *h = atomic_load(&t->heap);
	char name[32];

	if (!h)
		return;
	atomic_store(&t->heap, NULL);
	snprintf(name, sizeof(name), "arena.%u.destroy", h->arena);
	tag_je_mallctl(name, NULL, NULL, NULL, 0);
	munmap((void *)h->live, h->live_len);
	free(h);
}
