/* SPDX-License-Identifier: MIT */
/*
 * sthread/malloc.h - plain malloc() that goes to a tag, in code that is compiled with this header.  World: the program,
 * and inside.
 *
 *	#include <sthread/malloc.h>
 *	struct sthread_tag *before = sthread_malloc_into(tag);
 *	list = parse(text);                     // whatever it allocates is in the tag
 *	sthread_malloc_into(before);
 *
 * malloc, calloc, realloc, strdup and strndup allocate in the calling thread's current tag; while there is none they
 * are the C library's.  realloc and free look at the address, so that a block may be given back at any time.
 * They are macros with arguments: a pointer to malloc stays one to the C library's, and nothing changes for code that
 * was compiled without the header.
 */
#ifndef STHREAD_MALLOC_H
#define STHREAD_MALLOC_H

#include <stdlib.h>
#include <sthread.h>
#include <string.h>

static inline void *sthread_into_malloc(size_t size)
{
	struct sthread_tag *tag = sthread_malloc_tag();

	return tag ? sthread_malloc(tag, size) : malloc(size);
}

static inline void *sthread_into_calloc(size_t n, size_t size)
{
	struct sthread_tag *tag = sthread_malloc_tag();

	return tag ? sthread_calloc(tag, n, size) : calloc(n, size);
}

static inline void *sthread_into_realloc(void *ptr, size_t size)
{
	if (!ptr)
		return sthread_into_malloc(size);
	return sthread_is_tagged(ptr) ? sthread_realloc(sthread_tag_of(ptr), ptr, size) :
					realloc(ptr, size);
}

static inline void sthread_into_free(void *ptr)
{
	if (sthread_is_tagged(ptr))
		sthread_free(ptr);
	else
		free(ptr);
}

static inline char *sthread_into_strndup(const char *s, size_t most)
{
	size_t len = 0;
	char *copy;

	while (len < most && s[len])
		len++;
	copy = (char *)sthread_into_malloc(len + 1);
	if (copy) {
		memcpy(copy, s, len);
		copy[len] = '\0';
	}
	return copy;
}

static inline char *sthread_into_strdup(const char *s)
{
	return sthread_into_strndup(s, (size_t)-1 >> 1);
}

#undef malloc
#undef calloc
#undef realloc
#undef free
#undef strdup
#undef strndup
#define malloc(size)	   sthread_into_malloc(size)
#define calloc(n, size)	   sthread_into_calloc(n, size)
#define realloc(ptr, size) sthread_into_realloc(ptr, size)
#define free(ptr)	   sthread_into_free(ptr)
#define strdup(s)	   sthread_into_strdup(s)
#define strndup(s, most)   sthread_into_strndup(s, most)

#endif
