/* SPDX-License-Identifier: MIT */
/*
 * tag.h - tagged memory, within the library.  World: host.
 *
 *	area.c           the area, which tags are in it and in use
 *	create.c         tags made and destroyed
 *	heap.c           blocks: a jemalloc arena per tag
 *	pin.c            grants: set-up calls, and what a run holds
 *	global.c         tagged globals: pages of the program's data
 *	data.c           other pages of the program's and its libraries' data
 *	map.c            a lane's page tables made to say what the policy of its run says
 *	policy/memory.c  the sorted list of grants in a policy
 *	calls.c          sthread_malloc() and its like, from the program and from inside
 *
 * Tags lie in one area of the process that is the library's for ever, since slots show it to the
 * VM; an address is the same in both worlds.  A tag that goes leaves nothing behind: its memory
 * is replaced by fresh before the addresses are given to another one, and what idle lanes still
 * map of it goes first when they next run.
 *
 * Locking: tags.lock guards all of struct tags, which tags are there, and who uses them.  Order:
 * process.lock, tags.lock, the locks of vm/; no call of jemalloc is made with it held.
 */
#ifndef STHREAD_TAG_H
#define STHREAD_TAG_H

#include <dune.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sthread.h>

#include "checkpoint/image.h"
#include "sthread/inside/hostcall.h"
#include "sthread/policy/memory.h"
#include "sthread/policy/policy.h"

#define TAG_AREA       (1UL << 40)
#define TAG_AREA_LEAST (1UL << 30)
#define TAG_CHUNK      (256UL << 20) /* a slot's */
#define TAG_HUGE       (2UL << 20)

/* ---- area.c ---- */

extern struct tags {
	pthread_mutex_t lock;
	struct policy *pinned; /* those of runs */
	uint64_t destroyed;  /* counts tags that went */
} tags;

/* The area is [base, base+len); once per init.  -ENOMEM. */
int tags_init(uint64_t base, uint64_t len);
void tags_fini(void);
void tags_before_fork(void);
void tags_after_fork(bool child);
/* The tag that the handle is, in use until tag_leave(); NULL: it is none of this process. */
struct sthread_tag *tag_enter(struct sthread_tag *handle);
/* tags.lock held for these: the tag whose memory `at` is in, or NULL; a place for a new one, with a guard page behind
 * it (-ENOMEM; -EINVAL: not initialised); and its place is free again. */
struct sthread_tag *tag_find(uint64_t at);
int tag_insert(struct sthread_tag *t);
void tag_delete(struct sthread_tag *t);
/* The tag whose memory `at` is in, in use. */
struct sthread_tag *tag_enter_at(uint64_t at);
void tag_leave(struct sthread_tag *t);
/*
 * [at, *end) of a tag, or its beginning, as guest-physical memory: a slot covers it from now on,
 * and *end is where that slot ends, if that is before.  -ENOMEM.
 */
int tag_window(const struct sthread_tag *t, uint64_t at, uint64_t *end, dune_gpa_t *out);
/*
 * No call finds the tag any more, and the last one has left.  tags.lock held, and let go
 * meanwhile.
 */
void tag_retire(struct sthread_tag *t);
/* Page tables of the space that are there for tags alone. */
size_t tag_tables(struct dune_space *s);
/* For reports: true if `at` is in the area. */
bool tag_describe(uint64_t at, unsigned error, char *buf, size_t len);
void tags_count(uint64_t *tags, uint64_t *bytes);

/* ---- global.c ---- */

/*
 * What is tagged now becomes tags, to be kept out of the image; *ranges is the caller's to free.
 * -ENOMEM.
 */
int tagged_init(struct ckpt_range **ranges, size_t *n);
/* After the image is taken: compartments may be given them.  -ENOMEM. */
int tagged_adopt(void);
/* These are gone; keep: what handles there are stays.  tags.lock held. */
void tagged_forget(bool keep);
/* tags.lock held. */
const struct sthread_tag *tagged_find(uint64_t at);

/* ---- data.c ---- */

/*
 * The tag of the segment of writable data that has this range in its whole pages, in use.
 * -EINVAL: none has, or it is what must stay a compartment's own; -ENOMEM.
 */
int data_enter(uint64_t at, uint64_t len, struct sthread_tag **out);
/* The one, of those that were granted ever, that has all of [at, end); NULL.  tags.lock held. */
struct sthread_tag *data_find(uint64_t at, uint64_t end);
/* These are gone; keep: what handles there are stays.  tags.lock held. */
void data_forget(bool keep);

/* ---- pin.c ---- */

/*
 * Whoever starts a run pins its policy, once: takes the reference over, and the tags that it
 * names stay until policy_unpin(), which drops both.  -EINVAL: it names a tag that is gone; the
 * reference is dropped.
 */
int policy_pin(const struct policy *p);
void policy_unpin(const struct policy *p);
/* Does a pinned policy name it?  tags.lock held. */
bool policies_pin(const struct sthread_tag *t);

static inline bool tag_rights_ok(uint64_t rights)
{
	return rights && !(rights & ~(uint64_t)(STHREAD_READ | STHREAD_WRITE));
}

/* ---- map.c ---- */

/* What a space maps of tagged memory. */
struct tag_range {
	uint64_t start, len;
	unsigned rights;
};

/* Zeroed: nothing, once the space is set. */
struct tag_view {
	struct dune_space *space;
	struct tag_range *range; /* by address */
	size_t n, cap;
	size_t tables;	 /* page tables that they alone need */
	uint64_t serial; /* of the list of grants that they are */
	bool lost;	 /* a change failed half way, and so did taking it back: the space is of no more use */
};

/*
 * The space maps what the policy grants, and of tags nothing else.  The policy is pinned.
 * -ENOMEM: it maps a part of that, and may be tried again, unless it is lost.
 */
int tag_map(struct tag_view *v, const struct policy *p);
/*
 * The same in the midst of a run, with a policy that has one grant more, or less, or other rights
 * in one.  All or nothing, or it is lost.  -ENOMEM, -EDQUOT: only for what is more.
 */
int tag_map_more(struct tag_view *v, const struct policy *p);
void tag_map_fini(struct tag_view *v);

/* ---- calls.c ---- */

/* Of a run, which holds the tags of its policy. */
long tag_serve(struct sys_ctx *ctx, enum hostcall nr, const uint64_t arg[5]);

/* ---- heap.c: all by whoever has entered the tag ---- */

/* The allocator is there from now on. */
void heap_start(void);
/* errno is left alone; NULL: no room. */
void *heap_alloc(struct sthread_tag *t, size_t size);
/* Of a live block only: false, and nothing was done, for any other address. */
bool heap_free(struct sthread_tag *t, uint64_t at);
/* 0 and *out; -EINVAL: not a live block; -ENOMEM: it is as it was. */
int heap_resize(struct sthread_tag *t, uint64_t at, size_t size, void **out);
/*
 * As far as that can be done where it is: the bytes that it has then.  -EINVAL: not a live block.
 */
long heap_resize_here(struct sthread_tag *t, uint64_t at, size_t size);
uint64_t heap_bytes(const struct sthread_tag *t);
/* Nobody is in the tag any more. */
void heap_destroy(struct sthread_tag *t);

#endif
