/* SPDX-License-Identifier: MIT */
/*
 * memory.h - the memory that a policy grants: a list of ranges, sorted, none overlapping.
 * World: host.
 *
 * Thousands of them are nothing unusual.  The list changes only in a policy value that nobody
 * shares yet; a copy of the value has the same serial until it changes, so that a lane sees by
 * one comparison that it maps the right thing.
 */
#ifndef STHREAD_POLICY_MEMORY_H
#define STHREAD_POLICY_MEMORY_H

#include <dune.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TAG_NAME 32

struct tag_heap;

struct sthread_tag {
	uint64_t start, len;
	atomic_uint refs;	/* the area's one, policies */
	unsigned users;		/* calls under way; tags.lock */
	bool gone;		/* tags.lock */
	bool plain;		/* of sthread_map(), or data of an object: no blocks */
	dune_gpa_t window;	/* of data of an object: its slot; else 0 */
	pthread_mutex_t making; /* the heap is made by whoever needs it first */
	_Atomic(struct tag_heap *) heap;
	char name[TAG_NAME];
};

/* Counts of references: what is left of a tag that is gone goes with the last one. */
void tag_get(struct sthread_tag *t);
void tag_put(struct sthread_tag *t);

struct grant {
	uint64_t start, len;
	unsigned rights;	 /* STHREAD_READ, and STHREAD_WRITE */
	struct sthread_tag *tag; /* whose memory it is, referenced */
};

struct grants {
	struct grant *list;
	size_t n, cap;
	uint64_t serial; /* of this list of grants; 0: of the empty one */
};

/*
 * Takes a reference on the tag.  -EEXIST: the same range of it is granted; -EINVAL: it overlaps
 * another; -ENOMEM.
 */
int grants_insert(struct grants *g, const struct grant *e);
/* The same, but the rights of a range that is granted become those of both. */
int grants_widen(struct grants *g, const struct grant *e);
/* All of `more`, or none: errors as above. */
int grants_merge(struct grants *g, const struct grants *more);
/* The grant that `at` lies in; NULL. */
const struct grant *grants_find(const struct grants *g, uint64_t at);
/* The grant of a tag by its handle, which is compared and not followed; NULL. */
const struct grant *grants_handle(const struct grants *g, uint64_t handle);
/* Is a tagged global of that name among them? */
bool grants_global(const struct grants *g, const char *name);
/* Is memory of the tag among them? */
bool grants_name(const struct grants *g, const struct sthread_tag *t);
/* Does g grant the range of e, with its rights or more?  Grants that touch are as good as one. */
bool grants_cover(const struct grants *g, const struct grant *e);
/* Does `of` grant all that g does?  Each page, with its rights, of the same tag. */
bool grants_subset(const struct grants *g, const struct grants *of);
/* -ENOMEM.  What *to was is not looked at. */
int grants_copy(struct grants *to, const struct grants *from);
void grants_fini(struct grants *g);

#endif
