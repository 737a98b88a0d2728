/* SPDX-License-Identifier: MIT */
/*
 * sthread/wedge.h - the names of the Wedge papers over sthread.h, for programs that were written against them.  World:
 * the program; cgate(), smalloc() and its like also inside.  See sthread_wedge(3) for what is as in the papers and
 * what is not.
 *
 *	CGATE(check);                                   void *check(void *trusted, void *arg)
 *	sc_init(&gate_sc);    sc_mem_add(&gate_sc, secrets, PROT_READ);
 *	sc_init(&sc);         sc_mem_add(&sc, words, PROT_READ | PROT_WRITE);
 *	sc_fd_add(&sc, conn, PROT_READ);                sc_cgate_add(&sc, check, &gate_sc, trusted);
 *	wedge_create(&thr, &sc, worker, arg);           wedge_join(thr, &ret);
 *
 * The sc_ calls return 0 or a negative errno, which may be ignored: the first failure stays with the sc_t, and nothing
 * is run with one that is not as it was meant.  smalloc_on() is for code that is compiled with this header, which has
 * <sthread/malloc.h> in it.
 */
#ifndef STHREAD_WEDGE_H
#define STHREAD_WEDGE_H

#include <errno.h>
#include <sthread.h>
#include <sthread/malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

typedef struct sthread_tag *tag_t;
typedef struct sthread *sthread_t;
typedef void *(*cb_t)(void *arg);                 /* what an sthread runs */
typedef void *(*cg_t)(void *trusted, void *arg);  /* a callgate */

/* ---- tags ----------------------------------------------------------------------------------------------- */

/* The most that a tag holds, bytes.  A program may define it otherwise. */
#ifndef WEDGE_TAG_SIZE
#define WEDGE_TAG_SIZE ((size_t)1 << 20)
#endif

/* NULL with errno. */
static inline tag_t tag_new(void)
{
	struct sthread_tag *tag;
	int err = sthread_tag_create(&tag, "wedge", WEDGE_TAG_SIZE);

	if (!err)
		return tag;
	errno = -err;
	return NULL;
}

/* 0, or -EBUSY: a live sthread or gate holds it. */
static inline int tag_delete(tag_t tag)
{
	return sthread_tag_destroy(tag);
}

static inline void *smalloc(size_t size, tag_t tag)
{
	return sthread_malloc(tag, size);
}

static inline void sfree(void *ptr)
{
	sthread_free(ptr);
}

/* Plain malloc() of this thread goes to the tag, and to the C library again. */
static inline void smalloc_on(tag_t tag)
{
	sthread_malloc_into(tag);
}

static inline void smalloc_off(void)
{
	sthread_malloc_into(NULL);
}

/* A global of this type that only those have who were granted BOUNDARY_TAG(id); name is a constant pointer to it. */
#define BOUNDARY_VAR(type, name, id) STHREAD_TAGGED(boundary_##id, type, name)
#define BOUNDARY_TAG(id)	     ("boundary_" #id)

/* ---- policies ------------------------------------------------------------------------------------------- */

/* To be read: policy takes what sthread_policy_*() can say beyond the papers; error is the first that there was. */
typedef struct sc {
	struct sthread_policy *policy;
	struct sc_cgate *gates;
	int error;
} sc_t;

struct sc_cgate {
	struct sc_cgate *next;
	struct sthread_gate *gate;
	const char *name;
};

static inline int sc_note_(sc_t *sc, int err)
{
	if (err && !sc->error)
		sc->error = err;
	return err;
}

static inline int sc_init(sc_t *sc)
{
	memset(sc, 0, sizeof(*sc));
	return sc_note_(sc, sthread_policy_create(&sc->policy));
}

/* Its gates go, too: calls under way end as they would. */
static inline void sc_destroy(sc_t *sc)
{
	while (sc->gates) {
		struct sc_cgate *g = sc->gates;

		sc->gates = g->next;
		sthread_gate_destroy(g->gate);
		(free)(g);
	}
	sthread_policy_destroy(sc->policy);
	memset(sc, 0, sizeof(*sc));
	sc->error = -EINVAL;
}

/* PROT_READ or PROT_READ | PROT_WRITE as rights; 0: neither. */
static inline unsigned sc_rights_(int prot)
{
	if (prot == PROT_READ)
		return STHREAD_READ;
	return prot == (PROT_READ | PROT_WRITE) ? STHREAD_READ | STHREAD_WRITE : 0;
}

static inline int sc_mem_add(sc_t *sc, tag_t tag, int prot)
{
	return sc_note_(sc, sthread_policy_tag(sc->policy, tag, sc_rights_(prot)));
}

/* sc_boundary_add(&sc, BOUNDARY_TAG(id), PROT_READ) */
static inline int sc_boundary_add(sc_t *sc, const char *boundary, int prot)
{
	return sc_note_(sc, sthread_policy_tagged(sc->policy, boundary, sc_rights_(prot)));
}

static inline int sc_sys_add(sc_t *sc, long nr)
{
	return sc_note_(sc, sthread_policy_syscall(sc->policy, nr, STHREAD_ALLOW));
}

/* PROT_READ, PROT_WRITE or both: read(), write(). */
static inline int sc_fd_add(sc_t *sc, int fd, int prot)
{
	unsigned rights = (prot & PROT_READ ? STHREAD_FD_READ : 0) |
			  (prot & PROT_WRITE ? STHREAD_FD_WRITE : 0);
	int err = prot & ~(PROT_READ | PROT_WRITE) ? -EINVAL :
						     sthread_policy_fd(sc->policy, fd, rights);

	if (!err && prot & PROT_READ)
		err = sthread_policy_syscall(sc->policy, SYS_read, STHREAD_ALLOW);
	if (!err && prot & PROT_WRITE)
		err = sthread_policy_syscall(sc->policy, SYS_write, STHREAD_ALLOW);
	return sc_note_(sc, err);
}

/* ---- sthreads ------------------------------------------------------------------------------------------- */

/* sthread_create() of the papers.  sc NULL: grants nothing. */
STHREAD_MUST static inline int wedge_create(sthread_t *thr, const sc_t *sc, cb_t cb, void *arg)
{
	if (sc && sc->error)
		return sc->error;
	return sthread_create(thr, sc ? sc->policy : NULL, cb, arg);
}

/*
 * sthread_join() of the papers: 0, and what it returned in *ret, which may be NULL.  Otherwise, as for a gate: -EIO, it
 * faulted, aborted or exited; -EACCES, its policy ended it; -ETIMEDOUT, over its wall or CPU time; -EDQUOT, over
 * another limit; -ECANCELED, killed; -ENOTRECOVERABLE, lost; or why it did not start; or -EINVAL of the join itself.
 */
STHREAD_MUST static inline int wedge_join(sthread_t thr, void **ret)
{
	struct sthread_result r;
	int err = sthread_join(thr, &r);

	if (err)
		return err;
	switch (r.end) {
	case STHREAD_RETURNED:
		if (ret)
			*ret = r.value;
		return 0;
	case STHREAD_DENIED:
		return -EACCES;
	case STHREAD_OVER_LIMIT:
		return r.limit == STHREAD_LIMIT_WALL_NS || r.limit == STHREAD_LIMIT_CPU_NS ?
			       -ETIMEDOUT :
			       -EDQUOT;
	case STHREAD_KILLED:
		return -ECANCELED;
	case STHREAD_LOST:
		return -ENOTRECOVERABLE;
	case STHREAD_NOT_STARTED:
		return (int)(intptr_t)r.value;
	default:
		return -EIO;
	}
}

/* ---- callgates ------------------------------------------------------------------------------------------ */

/* At file scope, after the function cb, a cg_t: makes a callgate of it.  At most 31 characters. */
#define CGATE(cb)                                                                             \
	static ssize_t cb##_cgate(void *trusted, const void *in, size_t in_len, void *out,    \
				  size_t out_cap)                                             \
	{                                                                                     \
		return cgate_serve_(cb, trusted, in, in_len, out, out_cap);                   \
	}                                                                                     \
	typedef char cb##_cgate_name_fits[sizeof(#cb) <= STHREAD_GATE_NAME ? 1 : -1] __attribute__((unused))

/*
 * Grants sc the callgate, which runs with what gate_sc grants (NULL: nothing).  Each call starts from the image; with
 * _recycled, one compartment that keeps its memory serves all; with _after, only where the same caller has been given
 * another answer than NULL by `first`, a callgate of the same sc.  -EEXIST: sc has it.  -ENOENT: sc has no `first`.
 */
#define sc_cgate_add(sc, cb, gate_sc, trusted) \
	sc_cgate_add_((sc), #cb, cb##_cgate, (gate_sc), (trusted), STHREAD_GATE_FRESH, NULL)
#define sc_cgate_add_recycled(sc, cb, gate_sc, trusted) \
	sc_cgate_add_((sc), #cb, cb##_cgate, (gate_sc), (trusted), STHREAD_GATE_RECYCLED, NULL)
#define sc_cgate_add_after(sc, cb, gate_sc, trusted, first) \
	sc_cgate_add_((sc), #cb, cb##_cgate, (gate_sc), (trusted), STHREAD_GATE_FRESH, #first)

/*
 * Inside: calls a callgate that was granted.  arg is a number, or points into a tag that both have; perms is NULL.
 * What it returned; or NULL with errno: ENODATA, it returned NULL; ENOENT, not granted; EPERM, not yet; ENOTSUP,
 * perms; and else as for sthread_gate_call().
 */
#define cgate(cb, perms, arg) cgate_call_(#cb, (perms), (arg))

/* A message is the one word, and so is the answer. */
static inline ssize_t cgate_serve_(cg_t cb, void *trusted, const void *in, size_t in_len, void *out,
				   size_t out_cap)
{
	void *arg, *ret;

	if (in_len != sizeof(arg) || out_cap != sizeof(ret))
		return -EINVAL;
	memcpy(&arg, in, sizeof(arg));
	ret = cb(trusted, arg);
	if (!ret)
		return -ENODATA;
	memcpy(out, &ret, sizeof(ret));
	return sizeof(ret);
}

static inline struct sc_cgate *sc_cgate_find_(const sc_t *sc, const char *name)
{
	struct sc_cgate *g = sc->gates;

	while (g && strcmp(g->name, name) != 0)
		g = g->next;
	return g;
}

static inline int sc_cgate_add_(sc_t *sc, const char *name, sthread_gate_fn *fn,
				const sc_t *gate_sc, void *trusted, enum sthread_gate_kind kind,
				const char *after)
{
	struct sc_cgate *first = after ? sc_cgate_find_(sc, after) : NULL, *g;
	struct sthread_gate_config cfg;
	int err;

	if (gate_sc && gate_sc->error)
		return sc_note_(sc, gate_sc->error);
	if (sc_cgate_find_(sc, name))
		return sc_note_(sc, -EEXIST);
	if (after && !first)
		return sc_note_(sc, -ENOENT);
	g = (struct sc_cgate *)(calloc)(1, sizeof(*g));
	if (!g)
		return sc_note_(sc, -ENOMEM);
	memset(&cfg, 0, sizeof(cfg));
	cfg.size = sizeof(cfg);
	cfg.name = g->name = name;
	cfg.fn = fn;
	cfg.policy = gate_sc ? gate_sc->policy : NULL;
	cfg.trusted = trusted;
	cfg.kind = kind;
	cfg.after = first ? first->gate : NULL;
	err = sthread_gate_create(&g->gate, &cfg);
	if (err)
		goto no_gate;
	err = sthread_policy_gate(sc->policy, g->gate);
	if (err)
		goto not_granted;
	g->next = sc->gates;
	sc->gates = g;
	return 0;
not_granted:
	sthread_gate_destroy(g->gate);
no_gate:
	(free)(g);
	return sc_note_(sc, err);
}

static inline void *cgate_call_(const char *name, const sc_t *perms, void *arg)
{
	struct sthread_gate *gate;
	void *ret = NULL;
	ssize_t got = perms ? -ENOTSUP : sthread_gate_find(&gate, name);

	if (!got)
		got = sthread_gate_call(gate, &arg, sizeof(arg), &ret, sizeof(ret));
	if (got == sizeof(ret))
		return ret;
	errno = got < 0 ? (int)-got : EPROTO;
	return NULL;
}

#endif
