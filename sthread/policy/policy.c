// SPDX-License-Identifier: MIT
/*
 * policy.c - policies: the public handle, and the immutable value that runs share, and are asked
 * of.  The calls that fill one are in set.c.  World: host.
 */
#include "sthread/policy/policy.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "sthread/inside/inside.h"
#include "sthread/inside/stubs.h"
#include "sthread/policy/refs.h"
#include "sthread/policy/syscalls.h"

#define DEFAULT_MEMORY (64ULL << 20)
#define DEFAULT_FDS    64

struct sthread_policy {
	struct policy *now; /* lock */
	struct sthread_policy *next, **link; /* of the program's; lock */
};

/* One for all handles, so that a fork finds each of them whole, and the lock free. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sthread_policy *handles;

void policies_before_fork(void)
{
	pthread_mutex_lock(&lock);
	fd_objects_before_fork();
}

/* What the child has of descriptors is what its own policies grant. */
void policies_after_fork(bool child)
{
	if (child) {
		pthread_mutex_init(&lock, NULL);
		for (struct sthread_policy *p = handles; p; p = p->next)
			for (unsigned i = 0; i < p->now->n; i++)
				fd_object_keep(p->now->grant[i].obj);
	}
	fd_objects_after_fork(child);
	if (!child)
		pthread_mutex_unlock(&lock);
}

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
	v->limit[STHREAD_LIMIT_CPU_NS] = POLICY_NO_LIMIT;
	v->limit[STHREAD_LIMIT_GATE_CALLS] = POLICY_NO_LIMIT;
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
	pthread_mutex_lock(&lock);
	v = p->now;
	atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
	pthread_mutex_unlock(&lock);
	return v;
}

const struct policy *policy_get(const struct policy *p)
{
	atomic_fetch_add_explicit(&((struct policy *)p)->refs, 1, memory_order_relaxed);
	return p;
}

void policy_drop(const struct policy *p, struct sthread_gate **unreferenced)
{
	struct policy *v = (struct policy *)p;

	if (!v || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) > 1)
		return;
	for (unsigned i = 0; i < v->n; i++)
		fd_object_put(v->grant[i].obj);
	free(v->grant);
	for (unsigned i = 0; i < v->ngates; i++)
		gate_drop(v->gate[i], unreferenced);
	free(v->gate);
	grants_fini(&v->mem);
	free(v);
}

void policy_put(const struct policy *p)
{
	struct sthread_gate *unreferenced = NULL;

	policy_drop(p, &unreferenced);
	gates_free(unreferenced);
}

size_t policy_size(const struct policy *p)
{
	return sizeof(*p) + p->n * sizeof(*p->grant) + p->ngates * sizeof(struct sthread_gate *) +
	       p->mem.n * sizeof(*p->mem.list);
}

static int clone_gates(struct policy *v, const struct policy *from)
{
	v->gate_cap = v->ngates;
	v->gate = NULL;
	if (!v->ngates)
		return 0;
	v->gate = calloc(v->ngates, sizeof(struct sthread_gate *));
	if (!v->gate)
		return -ENOMEM;
	for (unsigned i = 0; i < v->ngates; i++)
		v->gate[i] = gate_get(from->gate[i]);
	return 0;
}

/* A value that nobody else refers to, holding what *from does. */
static struct policy *policy_clone(const struct policy *from)
{
	struct policy *v = malloc(sizeof(*v));

	if (!v)
		return NULL;
	memcpy(v, from, sizeof(*v));
	atomic_init(&v->refs, 1);
	v->pins = 0;
	v->cap = from->n;
	v->grant = NULL;
	if (grants_copy(&v->mem, &from->mem)) {
		free(v);
		return NULL;
	}
	if (v->n && !(v->grant = calloc(v->n, sizeof(*v->grant)))) {
		grants_fini(&v->mem);
		free(v);
		return NULL;
	}
	if (clone_gates(v, from)) {
		grants_fini(&v->mem);
		free(v->grant);
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

	pthread_mutex_lock(&lock);
	/*
	 * Only policy_copy() adds references, under this lock: one reference is the handle's, and
	 * stays one.
	 */
	if (atomic_load_explicit(&p->now->refs, memory_order_acquire) == 1)
		return p->now;
	v = policy_clone(p->now);
	if (!v) {
		pthread_mutex_unlock(&lock);
		return NULL;
	}
	policy_put(p->now);
	p->now = v;
	return v;
}

void policy_edited(struct sthread_policy *p)
{
	(void)p;
	pthread_mutex_unlock(&lock);
}

void policy_restore(struct sthread_policy *p, const struct policy *value)
{
	pthread_mutex_lock(&lock);
	policy_put(p->now);
	p->now = (struct policy *)value;
	pthread_mutex_unlock(&lock);
}

int policy_with_memory(const struct policy *p, const struct grant *e, const struct policy **out)
{
	struct policy *v = policy_clone(p);
	int err;

	if (!v)
		return -ENOMEM;
	err = grants_widen(&v->mem, e);
	v->found = 0;
	if (err)
		policy_put(v);
	else
		*out = v;
	return err;
}

int policy_create(struct sthread_policy **out)
{
	struct sthread_policy *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->now = malloc(sizeof(*p->now));
	if (!p->now) {
		free(p);
		return -ENOMEM;
	}
	policy_defaults(p->now);
	*out = p;
	return 0;
}

STHREAD_API int sthread_policy_create(struct sthread_policy **out)
{
	struct sthread_policy *p;
	int err;

	if (is_inside())
		return inside_policy_create(out);
	err = out ? policy_create(&p) : -EINVAL;
	if (err)
		return err;
	pthread_mutex_lock(&lock);
	p->next = handles;
	p->link = &handles;
	if (handles)
		handles->link = &p->next;
	handles = p;
	pthread_mutex_unlock(&lock);
	*out = p;
	return 0;
}

STHREAD_API void sthread_policy_destroy(struct sthread_policy *p)
{
	if (!p)
		return;
	if (is_inside()) {
		inside_policy_destroy(p);
		return;
	}
	if (p->link) {
		pthread_mutex_lock(&lock);
		*p->link = p->next;
		if (p->next)
			p->next->link = p->link;
		pthread_mutex_unlock(&lock);
	}
	policy_put(p->now);
	free(p);
}

/* ---- what a run asks ---- */

bool policy_arguments(const struct policy *p, int index, const uint64_t arg[6])
{
	unsigned ruled = 0, met = 0;

	for (unsigned i = 0; i < p->rules; i++) {
		const struct policy_rule *r = &p->rule[i];
		uint64_t v = arg[r->arg];

		if (r->index != index)
			continue;
		if (sys_is_int(&sys_table[index].arg[r->arg]))
			v = (uint64_t)(int64_t)(int)v;
		ruled |= 1U << r->arg;
		if ((v & r->mask) == r->value)
			met |= 1U << r->arg;
	}
	return ruled == met;
}

bool policy_address(const struct policy *p, enum policy_use use, const struct address *a)
{
	for (unsigned i = 0; i < p->addresses; i++)
		if ((p->address[i].use & use) &&
		    address_matches(&p->address[i].address, p->address[i].prefix, a))
			return true;
	return false;
}

/* Where it is, or would be put. */
static unsigned gate_search(const struct policy *p, uint64_t handle)
{
	unsigned lo = 0, hi = p->ngates;

	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;

		if (p->gate[mid]->handle < handle)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int policy_gate(const struct policy *p, uint64_t handle)
{
	unsigned at = gate_search(p, handle);

	return at < p->ngates && p->gate[at]->handle == handle ? (int)at : -1;
}

int policy_gate_insert(struct policy *v, struct sthread_gate *gate)
{
	unsigned at = gate_search(v, gate->handle), cap = v->gate_cap ? 2 * v->gate_cap : 8;
	struct sthread_gate **list = v->gate;

	if (policy_gate(v, gate->handle) >= 0)
		return -EEXIST;
	if (v->ngates == v->gate_cap) {
		list = reallocarray(v->gate, cap, sizeof(struct sthread_gate *));
		if (!list)
			return -ENOMEM;
		v->gate = list;
		v->gate_cap = cap;
	}
	memmove(list + at + 1, list + at, (v->ngates - at) * sizeof(struct sthread_gate *));
	list[at] = gate_get(gate);
	v->ngates++;
	return 0;
}
