// SPDX-License-Identifier: MIT
/*
 * policy.c - policies: the public handle, and the immutable value that runs share.  World: host.
 */
#include "sthread/policy.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "sthread/syscall.h"

#define DEFAULT_MEMORY (64ULL << 20)
#define DEFAULT_FDS    64

/* What is opened beneath a directory is no socket. */
#define DIR_RIGHTS (STHREAD_FD_ALL & ~(STHREAD_FD_SOCKOPT | STHREAD_FD_SHUTDOWN))

struct sthread_policy {
	pthread_mutex_t lock;
	struct policy *now;
};

static void policy_defaults(struct policy *v)
{
	memset(v, 0, sizeof(*v));
	atomic_init(&v->refs, 1);
	for (unsigned i = 0; i < sys_table_len; i++)
		v->action[i] = (uint8_t)sys_default_action(i);
	v->other = STHREAD_DENY_ERRNO;
	v->limit[STHREAD_LIMIT_MEMORY] = DEFAULT_MEMORY;
	v->limit[STHREAD_LIMIT_WALL_NS] = POLICY_NO_LIMIT;
	v->limit[STHREAD_LIMIT_FDS] = DEFAULT_FDS;
}

/* What sthread_call(NULL, ...) gets.  Its first reference is never given back. */
static struct policy nothing;

static void make_nothing(void)
{
	policy_defaults(&nothing);
}

const struct policy *policy_copy(const struct sthread_policy *p)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct policy *v = &nothing;

	if (!p) {
		pthread_once(&once, make_nothing);
		atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
		return v;
	}
	pthread_mutex_lock((pthread_mutex_t *)&p->lock);
	v = p->now;
	atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
	pthread_mutex_unlock((pthread_mutex_t *)&p->lock);
	return v;
}

void policy_put(const struct policy *p)
{
	struct policy *v = (struct policy *)p;

	if (!v || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) > 1)
		return;
	for (unsigned i = 0; i < v->n; i++)
		fd_object_put(v->grant[i].obj);
	free(v->grant);
	grants_fini(&v->mem);
	free(v);
}

/* A value that nobody else refers to, holding what *from does. */
static struct policy *policy_clone(const struct policy *from)
{
	struct policy *v = malloc(sizeof(*v));

	if (!v)
		return NULL;
	memcpy(v, from, sizeof(*v));
	atomic_init(&v->refs, 1);
	v->runs = 0;
	v->cap = from->n;
	v->grant = NULL;
	if (grants_copy(&v->mem, &from->mem)) {
		free(v);
		return NULL;
	}
	if (!v->n)
		return v;
	v->grant = calloc(v->n, sizeof(*v->grant));
	if (!v->grant) {
		grants_fini(&v->mem);
		free(v);
		return NULL;
	}
	for (unsigned i = 0; i < v->n; i++) {
		v->grant[i] = from->grant[i];
		fd_object_get(v->grant[i].obj);
	}
	return v;
}

struct policy *policy_edit(struct sthread_policy *p)
{
	struct policy *v;

	pthread_mutex_lock(&p->lock);
	/*
	 * Only policy_copy() adds references, under this lock: one reference is the handle's, and
	 * stays one.
	 */
	if (atomic_load_explicit(&p->now->refs, memory_order_acquire) == 1)
		return p->now;
	v = policy_clone(p->now);
	if (!v) {
		pthread_mutex_unlock(&p->lock);
		return NULL;
	}
	policy_put(p->now);
	p->now = v;
	return v;
}

void policy_edited(struct sthread_policy *p)
{
	pthread_mutex_unlock(&p->lock);
}

STHREAD_API int sthread_policy_create(struct sthread_policy **out)
{
	struct sthread_policy *p;

	if (sthread_inside())
		return -EPERM;
	if (!out)
		return -EINVAL;
	p = malloc(sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->now = malloc(sizeof(*p->now));
	if (!p->now) {
		free(p);
		return -ENOMEM;
	}
	policy_defaults(p->now);
	pthread_mutex_init(&p->lock, NULL);
	*out = p;
	return 0;
}

STHREAD_API void sthread_policy_destroy(struct sthread_policy *p)
{
	if (!p || sthread_inside())
		return;
	policy_put(p->now);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static int policy_grant(struct sthread_policy *p, int fd, unsigned rights, bool dir)
{
	struct fd_entry e = { .number = fd, .rights = rights, .dir = dir };
	struct policy *v;
	int r;

	if (sthread_inside())
		return -EPERM;
	if (!p || !rights || (rights & ~(dir ? DIR_RIGHTS : STHREAD_FD_ALL)))
		return -EINVAL;
	r = dir ? fd_object_dir(fd, &e.obj) : fd_object_dup(fd, &e.obj);
	if (r)
		return r;
	v = policy_edit(p);
	if (!v) {
		fd_object_put(e.obj);
		return -ENOMEM;
	}
	r = fd_entries_insert(&v->grant, &v->n, &v->cap, &e);
	policy_edited(p);
	if (r)
		fd_object_put(e.obj);
	return r;
}

STHREAD_API int sthread_policy_fd(struct sthread_policy *p, int fd, unsigned rights)
{
	return policy_grant(p, fd, rights, false);
}

STHREAD_API int sthread_policy_dir(struct sthread_policy *p, int dirfd, unsigned rights)
{
	return policy_grant(p, dirfd, rights, true);
}

STHREAD_API int sthread_policy_syscall(struct sthread_policy *p, long nr,
				       enum sthread_action action)
{
	struct policy *v;
	int index = -1;

	if (sthread_inside())
		return -EPERM;
	if (!p || (unsigned)action > STHREAD_ALLOW)
		return -EINVAL;
	if (nr == STHREAD_SYSCALL_OTHERS) {
		if (action == STHREAD_ALLOW)
			return -EINVAL;
	} else {
		index = sys_index((uint64_t)nr);
		if (index < 0)
			return -EINVAL;
	}
	v = policy_edit(p);
	if (!v)
		return -ENOMEM;
	if (index < 0)
		v->other = (uint8_t)action;
	else
		v->action[index] = (uint8_t)action;
	policy_edited(p);
	return 0;
}

STHREAD_API int sthread_policy_limit(struct sthread_policy *p, enum sthread_limit limit,
				     uint64_t value)
{
	struct policy *v;

	if (sthread_inside())
		return -EPERM;
	if (!p || (unsigned)limit >= POLICY_LIMITS)
		return -EINVAL;
	v = policy_edit(p);
	if (!v)
		return -ENOMEM;
	v->limit[limit] = value;
	policy_edited(p);
	return 0;
}
