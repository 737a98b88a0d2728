/* SPDX-License-Identifier: MIT */
/* objects.c - the ELF objects that the dynamic linker has loaded, pinned.  World: host. */
#include "checkpoint/objects.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

static int add_name(struct ckpt_objects *o, const char *name, uint32_t *out)
{
	size_t at = o->names.count, len = strlen(name) + 1;
	char *copy;

	if (at + len > UINT32_MAX)
		return -ENOMEM;
	copy = scratch_extend(&o->names, 1, len);
	if (!copy)
		return -ENOMEM;
	for (size_t i = 0; i < len; i++)
		copy[i] = name[i] == '\n' ? '?' : name[i];
	*out = (uint32_t)at;
	return 0;
}

int ckpt_objects_add(struct ckpt_objects *o, uint64_t base, const char *name, bool pinned)
{
	struct ckpt_object *obj;
	uint32_t at;
	int err;

	err = add_name(o, name, &at);
	if (err)
		return err;
	obj = scratch_push(&o->objects, sizeof(*obj));
	if (!obj)
		return -ENOMEM;
	*obj = (struct ckpt_object){ .base = base, .name = at, .pinned = pinned };
	return 0;
}

int ckpt_objects_add_segment(struct ckpt_objects *o, uint64_t start, uint64_t end, bool fixed)
{
	struct ckpt_segment *seg;

	if (start >= end)
		return 0;
	seg = scratch_push(&o->segments, sizeof(*seg));
	if (!seg)
		return -ENOMEM;
	*seg = (struct ckpt_segment){
		.start = start,
		.end = end,
		.object = (uint32_t)o->objects.count - 1,
		.fixed = fixed,
	};
	return 0;
}

static uint64_t page_down(uint64_t v)
{
	return v & ~4095UL;
}

static uint64_t page_up(uint64_t v)
{
	return (v + 4095) & ~4095UL;
}

/*
 * A writable segment is not fixed, even where it is read-only at the moment: the program may have protected a page of its
 * own there, and may open it again and write a secret to it.  Nor is RELRO: the dynamic linker wrote it, so that the
 * image has a copy as of other data.
 */
static int add_headers(struct ckpt_objects *o, const struct dl_phdr_info *info)
{
	int err = 0;

	for (int i = 0; i < info->dlpi_phnum && !err; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];

		if (ph->p_type == PT_LOAD)
			err = ckpt_objects_add_segment(o, page_down(info->dlpi_addr + ph->p_vaddr),
						       page_up(info->dlpi_addr + ph->p_vaddr + ph->p_memsz),
						       !(ph->p_flags & PF_W));
	}
	return err;
}

struct visit {
	struct ckpt_objects *o;
	int seen;
	int err;
};

static int visit_object(struct dl_phdr_info *info, size_t size, void *ctx)
{
	struct visit *v = ctx;
	char exe[4096];
	const char *name = info->dlpi_name ? info->dlpi_name : "";
	bool first = v->seen++ == 0;
	bool program = first && name[0] == '\0';
	uint64_t vdso = getauxval(AT_SYSINFO_EHDR);

	(void)size;
	for (int i = 0; vdso && i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];

		if (ph->p_type == PT_LOAD && page_down(info->dlpi_addr + ph->p_vaddr) == vdso)
			return 0;
	}
	if (program) {
		ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

		exe[n > 0 ? n : 0] = '\0';
		name = n > 0 ? exe : "the program";
	}
	/* The program itself is never unloaded; the others follow in pin(). */
	v->err = ckpt_objects_add(v->o, info->dlpi_addr, name, program);
	if (!v->err)
		v->err = add_headers(v->o, info);
	return v->err;
}

/* A second name for the same object keeps it loaded; another object of that name does not count. */
static void pin(const struct ckpt_objects *o, struct ckpt_object *obj)
{
	struct link_map *map = NULL;
	const char *name = (char *)o->names.items + obj->name;
	void *handle;

	handle = dlopen(name, RTLD_NOLOAD | RTLD_LAZY | RTLD_NODELETE);
	if (!handle) {
		dlerror(); /* lets go of the message */
		return;
	}
	if (!dlinfo(handle, RTLD_DI_LINKMAP, &map) && map && map->l_addr == obj->base)
		obj->pinned = true;
	dlclose(handle);
}

static void sort_by_start(struct ckpt_segment *s, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		struct ckpt_segment key = s[i];
		size_t at = i;

		for (; at > 0 && s[at - 1].start > key.start; at--)
			s[at] = s[at - 1];
		s[at] = key;
	}
}

int ckpt_objects_sort(struct ckpt_objects *o)
{
	struct ckpt_segment *s = o->segments.items;
	struct scratch_vec out = { 0 };

	sort_by_start(s, o->segments.count);
	for (size_t i = 0; i < o->segments.count; i++) {
		struct ckpt_segment *prev =
			out.count ? (struct ckpt_segment *)out.items + out.count - 1 : NULL;
		struct ckpt_segment *seg, cur = s[i];

		if (prev && cur.start < prev->end) {
			/* The overlap goes with the earlier one, which is fixed no more. */
			prev->fixed = false;
			cur.fixed = false;
			cur.start = prev->end;
			if (cur.start >= cur.end)
				continue;
		}
		seg = scratch_push(&out, sizeof(*seg));
		if (!seg) {
			scratch_vec_free(&out);
			return -ENOMEM;
		}
		*seg = cur;
	}
	scratch_vec_free(&o->segments);
	o->segments = out;
	return 0;
}

int ckpt_objects_load(struct ckpt_objects *out)
{
	struct ckpt_objects o = { 0 };
	struct visit v = { .o = &o };

	dl_iterate_phdr(visit_object, &v);
	if (!v.err)
		v.err = ckpt_objects_sort(&o);
	if (v.err) {
		ckpt_objects_free(&o);
		return v.err;
	}
	/* Not in the visit: there the linker holds its lock. */
	for (size_t i = 0; i < o.objects.count; i++) {
		struct ckpt_object *obj = (struct ckpt_object *)o.objects.items + i;

		if (!obj->pinned)
			pin(&o, obj);
	}
	*out = o;
	return 0;
}

void ckpt_objects_free(struct ckpt_objects *o)
{
	scratch_vec_free(&o->objects);
	scratch_vec_free(&o->segments);
	scratch_vec_free(&o->names);
}

const struct ckpt_segment *ckpt_objects_find(const struct ckpt_objects *o, uint64_t addr)
{
	const struct ckpt_segment *s = o->segments.items;
	size_t lo = 0, hi = o->segments.count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (addr < s[mid].start)
			hi = mid;
		else if (addr >= s[mid].end)
			lo = mid + 1;
		else
			return &s[mid];
	}
	return NULL;
}

const struct ckpt_object *ckpt_object_at(const struct ckpt_objects *o, uint32_t index)
{
	return (const struct ckpt_object *)o->objects.items + index;
}

const char *ckpt_object_name(const struct ckpt_objects *o, uint32_t index)
{
	return (const char *)o->names.items + ckpt_object_at(o, index)->name;
}
