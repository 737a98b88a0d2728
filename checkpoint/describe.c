/* SPDX-License-Identifier: MIT */
/* describe.c - what lies at an address, in words.  World: host. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "checkpoint/ckpt.h"

#define NOT_GRANTED "not granted"

/* Bounded text; `len` counts what there would be. */
struct phrase {
	char *buf;
	size_t cap, len;
};

__attribute__((format(printf, 2, 3))) static void say(struct phrase *p, const char *fmt, ...)
{
	size_t room = p->len < p->cap ? p->cap - p->len : 0;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(room ? p->buf + p->len : NULL, room, fmt, ap);
	va_end(ap);
	if (n > 0)
		p->len += (size_t)n;
}

static const char *name_of(const struct ckpt *c, const struct ckpt_region *r)
{
	return (const char *)c->plan.names.items + r->name;
}

static bool has_path(const struct ckpt *c, const struct ckpt_region *r)
{
	return r->name_len && name_of(c, r)[0] != '[';
}

static void say_name(const struct ckpt *c, const struct ckpt_region *r, struct phrase *p)
{
	if (r->name_len)
		say(p, "%.*s", (int)r->name_len, name_of(c, r));
	else
		say(p, "anonymous memory");
}

/* A piece of an ELF object: `+` counts from its load address, as its symbols do. */
static void say_object(const struct ckpt *c, const struct ckpt_region *r, uint64_t addr,
		       const char *what, struct phrase *p)
{
	say(p, "%s of %s + 0x%" PRIx64, what, ckpt_object_name(&c->objects, r->object),
	    addr - ckpt_object_at(&c->objects, r->object)->base);
}

static void say_copy(const struct ckpt *c, const struct ckpt_region *r, uint64_t addr,
		     struct phrase *p)
{
	struct dune_leaf leaf;

	say(p, "image, ");
	if (r->object != CKPT_NO_OBJECT) {
		const char *section = r->anonymous ? ".bss" : ".data";

		say_object(c, r, addr, (r->prot & DUNE_COW) ? section : "read-only data", p);
	} else if (r->anonymous && r->name_len && !has_path(c, r)) {
		if (name_of(c, r)[1] == 'h')
			say(p, "heap");
		else
			say_name(c, r, p);
		say(p, " + 0x%" PRIx64, addr - r->start);
	} else if (r->anonymous) {
		say(p, "anonymous memory + 0x%" PRIx64, addr - r->start);
	} else {
		say(p, "private mapping of ");
		say_name(c, r, p);
		say(p, ", file offset 0x%" PRIx64, r->offset + (addr - r->start));
	}
	if (dune_vm_lookup(c->space, dune_gva(addr & ~4095UL), &leaf) == -ENOENT)
		say(p, " (could not be read at the checkpoint)");
}

/* Is it the memory that the reader took to find out? */
static bool in_reader(const struct maps *maps, uint64_t addr)
{
	return addr - (uint64_t)(uintptr_t)maps->text < maps->text_size ||
	       addr - (uint64_t)(uintptr_t)maps->entries < maps->entries_size;
}

/*
 * What the process has there now.  Memory that was marked MADV_DONTFORK may have been the
 * checkpoint's own, which is gone: only smaps says whether it still is so.
 */
static void say_later(uint64_t addr, bool was_unforked, struct phrase *p)
{
	const struct maps_entry *e;
	struct maps maps;

	if (maps_read_self(&maps, was_unforked)) {
		say(p, "memory that is not in the image");
		return;
	}
	e = maps_find(&maps, addr);
	if (!e || in_reader(&maps, addr)) {
		say(p, "nothing mapped there");
	} else if (was_unforked && (e->flags & MAPS_DONTFORK)) {
		say(p, "memory marked MADV_DONTFORK: " NOT_GRANTED);
	} else {
		say(p, "memory the master mapped after the checkpoint");
		if (e->path_len)
			say(p, " (%.*s)", (int)e->path_len, e->path);
		say(p, ": " NOT_GRANTED);
	}
	maps_free(&maps);
}

static void say_region(const struct ckpt *c, const struct ckpt_region *r, uint64_t addr,
		       struct phrase *p)
{
	switch (r->kind) {
	case CKPT_WINDOW:
		say_object(c, r, addr, (r->prot & DUNE_EXEC) ? "text" : "read-only data", p);
		break;
	case CKPT_KERNEL:
		say(p, "the kernel's ");
		say_name(c, r, p);
		say(p, " + 0x%" PRIx64, addr - r->start);
		break;
	case CKPT_COPY:
		say_copy(c, r, addr, p);
		break;
	case CKPT_ZERO:
		say(p, "image, memory that is wiped on fork + 0x%" PRIx64, addr - r->start);
		break;
	case CKPT_STACK:
		say(p, "image, arguments at the top of the main stack + 0x%" PRIx64,
		    addr - r->start);
		break;
	case CKPT_NO_STACK:
		say(p, "the master's stack: " NOT_GRANTED);
		break;
	case CKPT_NO_SHARED:
		say(p, "shared mapping of ");
		say_name(c, r, p);
		say(p, ": " NOT_GRANTED);
		break;
	case CKPT_NO_ACCESS:
		say(p, "memory that the master cannot read either (");
		if (r->object != CKPT_NO_OBJECT)
			say_object(c, r, addr, "a gap", p);
		else
			say_name(c, r, p);
		say(p, ")");
		break;
	case CKPT_NO_FORK:
		say_later(addr, true, p);
		break;
	case CKPT_NO_KEY:
		say(p, "memory under a protection key: " NOT_GRANTED);
		break;
	case CKPT_NO_DEVICE:
		say(p, "device memory of ");
		say_name(c, r, p);
		say(p, ": " NOT_GRANTED);
		break;
	case CKPT_NO_RESERVED:
		say(p, "the library's own memory: " NOT_GRANTED);
		break;
	case CKPT_NO_EXCLUDED:
		say(p, "memory that the image leaves out");
		if (r->object != CKPT_NO_OBJECT) {
			say(p, ", ");
			say_object(c, r, addr, "data", p);
		}
		say(p, ": " NOT_GRANTED);
		break;
	case CKPT_NO_USER:
		say(p, "the kernel's ");
		say_name(c, r, p);
		say(p, ": " NOT_GRANTED);
		break;
	}
}

size_t ckpt_describe(const struct ckpt *c, uint64_t addr, char *buf, size_t len)
{
	struct phrase p = { buf, len, 0 };
	const struct ckpt_region *r = ckpt_plan_find(&c->plan, addr);

	if (len)
		buf[0] = '\0';
	if (r)
		say_region(c, r, addr, &p);
	else if (addr < 4096)
		say(&p, "null pointer page");
	else if (addr - c->reserved.start < c->reserved.len)
		say(&p, "the library's own memory: " NOT_GRANTED);
	else if (addr < DUNE_USER_END)
		say_later(addr, false, &p);
	else if (addr >> 47 == 0 || addr >> 47 == 0x1ffff)
		say(&p, "the kernel's half of the address space");
	else
		say(&p, "not an address (not canonical)");
	return p.len;
}
