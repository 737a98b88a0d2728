/* SPDX-License-Identifier: MIT */
/* image.c - takes the checkpoint.  World: host. */
#include "checkpoint/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint/ckpt.h"
#include "checkpoint/peek.h"

#define SETTLE_TRIES  16
#define ESTIMATE_ROOM (8UL << 20)

/* Where the kernel put argc: field 28 of /proc/self/stat, startstack.  0: it does not say. */
static uint64_t argc_address(void)
{
	char buf[1024], *p;
	ssize_t n;
	int fd;

	fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	buf[n] = '\0';
	/* The name of the program, field 2, is in parentheses and may have some of its own. */
	p = strrchr(buf, ')');
	for (int field = 2; p && field < 28; field++) {
		p = strchr(p, ' ');
		if (p)
			p++;
	}
	return p ? strtoull(p, NULL, 10) : 0;
}

/*
 * The main stack from the page of argc to the end of the mapping.  *bytes, when wanted, is scratch
 * memory. -ENOTSUP: not as the kernel lays it out.
 */
static int read_stack(uint64_t argc_at, uint64_t end, struct ckpt_stack *layout, uint8_t **bytes)
{
	uint64_t base = argc_at & ~4095UL;
	size_t len = (size_t)(end - base);
	uint8_t *buf;
	int err;

	buf = scratch_alloc(len);
	if (!buf)
		return -ENOMEM;
	err = -ENOTSUP;
	if (ckpt_peek(base, buf, len))
		err = ckpt_stack_parse(buf, len, base, argc_at, layout);
	if (err || !bytes)
		scratch_free(buf, len);
	else
		*bytes = buf;
	return err;
}

static int find_stack(struct ckpt *c)
{
	const struct maps_entry *e;
	struct maps maps;
	int err;

	c->stack.argc_at = argc_address();
	if (!c->stack.argc_at)
		return -ENOTSUP;
	err = maps_read_self(&maps, false);
	if (err)
		return err == -ENOMEM ? err : -ENOTSUP;
	err = -ENOTSUP;
	e = maps_find(&maps, c->stack.argc_at);
	if (e) {
		c->stack_base = c->stack.argc_at & ~4095UL;
		c->stack_len = (size_t)(e->end - c->stack_base);
		err = read_stack(c->stack.argc_at, e->end, &c->stack, NULL);
	}
	maps_free(&maps);
	return err;
}

static int make_plan(const struct ckpt *c, const struct ckpt_config *cfg, struct ckpt_plan *plan,
		     uint64_t *mappings)
{
	struct maps maps;
	int err;

	err = maps_read_self(&maps, true);
	if (err)
		return err == -ENOMEM ? err : -ENOTSUP;
	*mappings = maps.count;
	err = ckpt_plan_make(plan, &maps, &c->objects, cfg, c->stack.argc_at);
	maps_free(&maps);
	return err;
}

/*
 * Arena pages for everything, until asking for them has not changed what is to be copied: the VM
 * layer may use the heap for its own records, and an image with the allocator's state of before and
 * its pages of after is of no use.
 */
static int settle(struct ckpt *c, const struct ckpt_config *cfg)
{
	struct ckpt_runs want = { 0 };
	int err;

	for (int i = 0; i < SETTLE_TRIES; i++) {
		struct ckpt_plan plan = { 0 };
		struct ckpt_runs runs = { 0 }, have = c->runs;

		err = make_plan(c, cfg, &plan, &c->stats.mappings);
		if (!err)
			err = ckpt_runs_find(&runs, &plan);
		if (!err && i > 0 && ckpt_plan_equal(&plan, &c->plan) &&
		    ckpt_runs_equal(&runs, &want)) {
			ckpt_plan_free(&plan);
			ckpt_runs_free(c->vm, &runs);
			ckpt_runs_free(c->vm, &want);
			return 0;
		}
		ckpt_plan_free(&c->plan);
		ckpt_runs_free(c->vm, &want);
		c->plan = plan;
		want = runs;
		c->runs = (struct ckpt_runs){ 0 };
		if (!err)
			err = ckpt_runs_alloc(c->vm, &want, &have, &c->runs);
		else
			ckpt_runs_free(c->vm, &have);
		if (err)
			goto fail;
	}
	err = -EAGAIN;
fail:
	ckpt_runs_free(c->vm, &want);
	return err;
}

/* The moment that the image is of. */
static int copy(struct ckpt *c, const struct ckpt_config *cfg)
{
	struct ckpt_stack_rules rules = {
		.environment = cfg->environment,
		.at_random = cfg->at_random,
		.keep = (uint64_t)(uintptr_t)program_invocation_name,
	};
	uint8_t *bytes;
	int err;

	err = ckpt_runs_copy(c->vm, &c->runs);
	if (err)
		return err;
	err = read_stack(c->stack.argc_at, c->stack_base + c->stack_len, &c->stack, &bytes);
	if (err)
		return err;
	c->stack_bytes = scratch_alloc(c->stack_len);
	if (c->stack_bytes)
		ckpt_stack_build(c->stack_bytes, bytes, c->stack_len, c->stack_base, &c->stack,
				 &rules);
	else
		err = -ENOMEM;
	scratch_free(bytes, c->stack_len);
	return err;
}

static int keep_patches(struct ckpt *c, const struct ckpt_config *cfg)
{
	for (size_t i = 0; i < cfg->n_patches; i++) {
		const struct ckpt_patch *p = &cfg->patches[i];
		struct kept_patch *k = scratch_push(&c->patches, sizeof(*k));
		void *bytes;

		if (!k)
			return -ENOMEM;
		*k = (struct kept_patch){ .at = p->at,
					  .len = p->len,
					  .bytes = c->patch_bytes.count };
		bytes = scratch_extend(&c->patch_bytes, 1, p->len);
		if (!bytes)
			return -ENOMEM;
		memcpy(bytes, p->bytes, p->len);
	}
	return 0;
}

static uint64_t thread_pointer(void)
{
	uint64_t fs;

	__asm__("mov %%fs:0, %0" : "=r"(fs));
	return fs;
}

static struct ckpt *ckpt_new(const struct ckpt_config *cfg)
{
	struct ckpt *c = scratch_alloc(sizeof(*c));

	if (!c)
		return NULL;
	c->reserved = cfg->reserved;
	c->environment = cfg->environment;
	c->fs_base = thread_pointer();
	c->seeds[CKPT_SEED_CANARY] =
		(struct ckpt_seed){ .at = c->fs_base + 0x28, .len = 8, .zero = 1 };
	c->seeds[CKPT_SEED_RANDOM] = (struct ckpt_seed){ .at = cfg->at_random, .len = 16 };
	return c;
}

int ckpt_take(struct dune_vm *vm, const struct ckpt_config *cfg, struct ckpt **out)
{
	struct ckpt *c;
	int err;

	if (cfg->n_patches && !cfg->patches)
		return -EINVAL;
	c = ckpt_new(cfg);
	if (!c)
		return -ENOMEM;
	c->vm = vm;
	err = keep_patches(c, cfg);
	if (!err)
		err = ckpt_objects_load(&c->objects);
	if (!err)
		err = find_stack(c);
	if (!err)
		err = settle(c, cfg);
	if (!err)
		err = copy(c, cfg);
	if (err)
		goto fail;
	ckpt_runs_trim(vm, &c->runs);
	err = ckpt_template_build(c);
	if (!err)
		err = ckpt_patch_all(c);
	if (err)
		goto fail;
	ckpt_runs_free(vm, &c->runs);
	scratch_free(c->stack_bytes, c->stack_len);
	c->stack_bytes = NULL;
	*out = c;
	return 0;
fail:
	ckpt_destroy(c);
	return err;
}

void ckpt_destroy(struct ckpt *c)
{
	if (!c)
		return;
	if (c->space)
		dune_vm_free(c->space);
	if (c->vm)
		ckpt_runs_free(c->vm, &c->runs);
	scratch_free(c->stack_bytes, c->stack_len);
	ckpt_plan_free(&c->plan);
	ckpt_objects_free(&c->objects);
	scratch_vec_free(&c->patches);
	scratch_vec_free(&c->patch_bytes);
	scratch_free(c, sizeof(*c));
}

/* How many aligned units of 1 << shift bytes the range touches that lie at or above *next. */
static uint64_t new_units(const struct ckpt_region *r, unsigned shift, uint64_t *next)
{
	uint64_t first = r->start >> shift, last = (r->end - 1) >> shift, n;

	if (first < *next)
		first = *next;
	n = last >= first ? last - first + 1 : 0;
	if (last + 1 > *next)
		*next = last + 1;
	return n;
}

int ckpt_estimate(const struct ckpt_config *cfg, uint64_t *bytes)
{
	uint64_t pages = 0, next[3] = { 0 }, mappings;
	struct ckpt_plan plan = { 0 };
	struct ckpt *c;
	int err;

	c = ckpt_new(cfg);
	if (!c)
		return -ENOMEM;
	err = ckpt_objects_load(&c->objects);
	if (!err)
		err = find_stack(c);
	if (!err)
		err = make_plan(c, cfg, &plan, &mappings);
	if (err)
		goto out;
	for (size_t i = 0; i < plan.regions.count; i++) {
		const struct ckpt_region *r = ckpt_plan_at(&plan, i);
		uint64_t size = r->end - r->start;

		if (!ckpt_kind_mapped(r->kind))
			continue;
		for (unsigned level = 0; level < 3; level++)
			pages += new_units(r, 21 + 9 * level, &next[level]);
		/* Explicit huge pages, which have a path, are not counted as resident. */
		if (r->anonymous && r->in_use < size &&
		    (r->name_len == 0 || ((char *)plan.names.items)[r->name] != '/'))
			size = r->in_use;
		if (r->kind == CKPT_COPY || r->kind == CKPT_STACK)
			pages += size / 4096 + (size >= 2UL << 20 ? 1024 : 0); /* aligned */
	}
	*bytes = pages * 4096 + ESTIMATE_ROOM;
out:
	ckpt_plan_free(&plan);
	ckpt_destroy(c);
	return err;
}

struct dune_space *ckpt_space(const struct ckpt *c)
{
	return c->space;
}

uint64_t ckpt_fs_base(const struct ckpt *c)
{
	return c->fs_base;
}

const struct ckpt_seed *ckpt_seeds(const struct ckpt *c)
{
	return c->seeds;
}

void ckpt_get_stats(const struct ckpt *c, struct ckpt_stats *out)
{
	*out = c->stats;
}
