/* SPDX-License-Identifier: MIT */
/* plan.c - what becomes of every piece of this process's memory in the image.  World: host. */
#include "checkpoint/plan.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* A shared file that small is a cache of the C library's, not a channel. */
#define SMALL_SHARED (1UL << 20)

struct planner {
	struct ckpt_plan *plan;
	const struct ckpt_objects *objects;
	const struct ckpt_config *cfg;
	uint64_t argc_at;
};

static bool in_range(const struct ckpt_range *r, uint64_t at)
{
	return at >= r->start && at - r->start < r->len;
}

static bool range_valid(const struct ckpt_range *r)
{
	uint64_t end;

	return ((r->start | r->len) & 4095) == 0 && !__builtin_add_overflow(r->start, r->len, &end);
}

/* The first edge of the range above `at`, if it is below `end`. */
static uint64_t cut_at_range(const struct ckpt_range *r, uint64_t at, uint64_t end)
{
	if (r->len && r->start > at && r->start < end)
		end = r->start;
	if (r->len && r->start + r->len > at && r->start + r->len < end)
		end = r->start + r->len;
	return end;
}

/* Where the piece that begins at `at` ends: no rule below changes its answer before. */
static uint64_t piece_end(const struct planner *pl, uint64_t at, uint64_t end)
{
	const struct ckpt_segment *s = pl->objects->segments.items;
	uint64_t argc_page = pl->argc_at & ~4095UL;

	if (DUNE_USER_END > at && DUNE_USER_END < end)
		end = DUNE_USER_END;
	if (argc_page > at && argc_page < end)
		end = argc_page;
	end = cut_at_range(&pl->cfg->reserved, at, end);
	for (size_t i = 0; i < pl->cfg->n_exclude; i++)
		end = cut_at_range(&pl->cfg->exclude[i], at, end);
	for (size_t i = 0; i < pl->objects->segments.count; i++) {
		const struct ckpt_range r = { s[i].start, s[i].end - s[i].start };

		if (s[i].start >= end)
			break;
		end = cut_at_range(&r, at, end);
	}
	return end;
}

/* The C library maps a cache of its own this way; it is not a way for others to write. */
static bool small_shared_file(const struct maps_entry *e)
{
	char path[PATH_MAX];
	struct stat st;

	if ((e->prot & PROT_WRITE) || (e->flags & MAPS_MAYWRITE) || e->deleted ||
	    e->end - e->start > SMALL_SHARED || !maps_begins(e, "/"))
		return false;
	if (maps_begins(e, "/dev/") || maps_begins(e, "/proc/") || maps_begins(e, "/sys/"))
		return false;
	if (maps_path(e, path, sizeof(path)) || stat(path, &st))
		return false;
	/*
	 * Inode numbers are not compared: a stacked file system shows others here than in stat().
	 */
	return S_ISREG(st.st_mode);
}

static bool is_anonymous(const struct maps_entry *e)
{
	if (e->shared)
		return false;
	if (maps_begins(e, "/anon_hugepage"))
		return true;
	return e->inode == 0 &&
	       (e->path_len == 0 || maps_is(e, "[heap]") || maps_begins(e, "[anon:"));
}

/* Denials first: whatever is not known to be harmless ends in one, or in a copy without execute. */
static void classify(const struct planner *pl, const struct maps_entry *e, struct ckpt_region *r)
{
	const struct ckpt_segment *seg = ckpt_objects_find(pl->objects, r->start);
	bool has_argc = pl->argc_at && pl->argc_at >= e->start && pl->argc_at < e->end;
	bool stack = has_argc || maps_is(e, "[stack]") || (e->flags & MAPS_GROWSDOWN);

	r->object = seg ? seg->object : CKPT_NO_OBJECT;
	r->anonymous = is_anonymous(e);
	r->prot = 0;
	if (r->start >= DUNE_USER_END) {
		r->kind = CKPT_NO_USER;
		return;
	}
	if (in_range(&pl->cfg->reserved, r->start)) {
		r->kind = CKPT_NO_RESERVED;
		return;
	}
	for (size_t i = 0; i < pl->cfg->n_exclude; i++) {
		if (in_range(&pl->cfg->exclude[i], r->start)) {
			r->kind = CKPT_NO_EXCLUDED;
			return;
		}
	}
	if (!(e->prot & PROT_READ)) {
		r->kind = CKPT_NO_ACCESS;
		return;
	}
	if (!e->shared && !(e->prot & PROT_WRITE) && e->inode == 0 &&
	    (maps_is(e, "[vdso]") || maps_is(e, "[vvar]") || maps_is(e, "[vvar_vclock]"))) {
		r->kind = CKPT_KERNEL;
		r->prot = DUNE_READ | ((e->prot & PROT_EXEC) ? DUNE_EXEC : 0);
		return;
	}
	if (e->flags & MAPS_DONTFORK) {
		r->kind = CKPT_NO_FORK;
		return;
	}
	if (e->pkey) {
		r->kind = CKPT_NO_KEY;
		return;
	}
	if (stack) {
		/* A stack that a program has cut in pieces has argc in one of them. */
		bool top = has_argc && r->start >= (pl->argc_at & ~4095UL) && !e->shared;

		r->kind = top ? CKPT_STACK : CKPT_NO_STACK;
		r->prot = top ? DUNE_READ | DUNE_COW : 0;
		return;
	}
	if (e->flags & MAPS_IO) {
		r->kind = CKPT_NO_DEVICE;
		return;
	}
	if (e->shared && !small_shared_file(e)) {
		r->kind = CKPT_NO_SHARED;
		return;
	}
	if (seg && seg->fixed && !e->shared && !(e->prot & PROT_WRITE) &&
	    ckpt_object_at(pl->objects, seg->object)->pinned) {
		r->kind = CKPT_WINDOW;
		r->prot = DUNE_READ | ((e->prot & PROT_EXEC) ? DUNE_EXEC : 0);
		return;
	}
	r->kind = (e->flags & MAPS_WIPEONFORK) ? CKPT_ZERO : CKPT_COPY;
	/*
	 * What this process may not write a compartment may not either: its write is a fault there,
	 * too.
	 */
	r->prot = DUNE_READ | ((e->prot & PROT_WRITE) ? DUNE_COW : 0);
}

static bool same_name(const struct ckpt_plan *p, const struct ckpt_region *r,
		      const struct maps_entry *e)
{
	return r->name_len == e->path_len &&
	       !memcmp((char *)p->names.items + r->name, e->path, e->path_len);
}

static int set_name(struct ckpt_plan *p, struct ckpt_region *r, const struct maps_entry *e)
{
	const struct ckpt_region *prev;
	char *name;

	if (e->path_len == 0)
		return 0;
	prev = p->regions.count ? ckpt_plan_at(p, p->regions.count - 1) : NULL;
	r->name_len = (uint32_t)e->path_len;
	if (prev && same_name(p, prev, e)) {
		r->name = prev->name;
		return 0;
	}
	r->name = (uint32_t)p->names.count;
	name = scratch_extend(&p->names, 1, e->path_len);
	if (!name)
		return -ENOMEM;
	memcpy(name, e->path, e->path_len);
	return 0;
}

static int add_piece(struct planner *pl, const struct maps_entry *e, uint64_t start, uint64_t end)
{
	struct ckpt_region r = {
		.start = start,
		.end = end,
		.offset = e->offset + (start - e->start),
		.in_use = e->rss + e->swap,
	};
	struct ckpt_region *out;
	int err;

	classify(pl, e, &r);
	err = set_name(pl->plan, &r, e);
	if (err)
		return err;
	out = scratch_push(&pl->plan->regions, sizeof(*out));
	if (!out)
		return -ENOMEM;
	*out = r;
	return 0;
}

int ckpt_plan_make(struct ckpt_plan *out, const struct maps *maps,
		   const struct ckpt_objects *objects, const struct ckpt_config *cfg,
		   uint64_t argc_at)
{
	struct ckpt_plan plan = { 0 };
	struct planner pl = { .plan = &plan, .objects = objects, .cfg = cfg, .argc_at = argc_at };
	int err = 0;

	if (!range_valid(&cfg->reserved))
		return -EINVAL;
	for (size_t i = 0; i < cfg->n_exclude; i++)
		if (!range_valid(&cfg->exclude[i]))
			return -EINVAL;
	for (size_t i = 0; i < maps->count && !err; i++) {
		const struct maps_entry *e = &maps->entries[i];

		/* Without flags a mapping that must not be taken would look like any other. */
		if (!e->detailed)
			err = -ENOTSUP;
		for (uint64_t at = e->start, end; at < e->end && !err; at = end) {
			end = piece_end(&pl, at, e->end);
			err = add_piece(&pl, e, at, end);
		}
	}
	if (err) {
		ckpt_plan_free(&plan);
		return err;
	}
	*out = plan;
	return 0;
}

void ckpt_plan_free(struct ckpt_plan *p)
{
	scratch_vec_free(&p->regions);
	scratch_vec_free(&p->names);
}

/* The next region at or after *i that is in the image. */
static const struct ckpt_region *next_mapped(const struct ckpt_plan *p, size_t *i)
{
	for (; *i < p->regions.count; ++*i)
		if (ckpt_kind_mapped(ckpt_plan_at(p, *i)->kind))
			return ckpt_plan_at(p, (*i)++);
	return NULL;
}

bool ckpt_plan_equal(const struct ckpt_plan *a, const struct ckpt_plan *b)
{
	size_t i = 0, j = 0;

	for (;;) {
		const struct ckpt_region *x = next_mapped(a, &i), *y = next_mapped(b, &j);

		if (!x || !y)
			return x == y;
		if (x->start != y->start || x->end != y->end || x->kind != y->kind ||
		    x->prot != y->prot || x->anonymous != y->anonymous || x->object != y->object)
			return false;
	}
}

const struct ckpt_region *ckpt_plan_find(const struct ckpt_plan *p, uint64_t addr)
{
	size_t lo = 0, hi = p->regions.count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct ckpt_region *r = ckpt_plan_at(p, mid);

		if (addr < r->start)
			hi = mid;
		else if (addr >= r->end)
			lo = mid + 1;
		else
			return r;
	}
	return NULL;
}
