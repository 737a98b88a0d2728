/* SPDX-License-Identifier: MIT */
/* patch.c - what differs in the image from this process on purpose.  World: host. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint/ckpt.h"
#include "checkpoint/peek.h"

/* Of glibc 2.35 and later; where they are missing nothing is registered by the C library. */
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

extern char **__environ __attribute__((weak));

/* The thread control block of x86-64, as compilers and C libraries agree on it. */
#define TCB_CANARY	  0x28
#define TCB_CET_FEATURES  0x48

/* struct rseq of the kernel */
#define RSEQ_CPU_ID_START 0
#define RSEQ_CPU_ID	  4
#define RSEQ_CS		  8
#define RSEQ_FAILED	  0xfffffffeu /* RSEQ_CPU_ID_REGISTRATION_FAILED */

/* Is all of it in CKPT_COPY regions? */
static bool is_copied(const struct ckpt *c, uint64_t at, uint64_t len)
{
	uint64_t end;

	if (__builtin_add_overflow(at, len, &end))
		return false;
	while (at < end) {
		const struct ckpt_region *r = ckpt_plan_find(&c->plan, at);

		if (!r || r->kind != CKPT_COPY)
			return false;
		at = r->end;
	}
	return true;
}

static bool all_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

/* The bytes of the image page at `at`, which has one of its own afterwards. */
static int own_page(struct ckpt *c, uint64_t at, bool mapped, uint8_t **out)
{
	const struct ckpt_region *r = ckpt_plan_find(&c->plan, at);
	dune_gpa_t page;
	int err;

	err = dune_image_alloc(c->vm, 1, &page);
	if (err)
		return err;
	if (mapped)
		err = dune_vm_unmap(c->space, dune_gva(at), 4096);
	if (!err)
		err = dune_vm_map(c->space, dune_gva(at), page, 4096, r->prot | DUNE_OWNED);
	if (err) {
		dune_page_put(c->vm, page);
		return err;
	}
	c->stats.pages++;
	c->stats.bytes += 4096;
	if (mapped)
		c->stats.zero_pages--;
	else
		c->stats.unread_pages--;
	*out = dune_page_host(c->vm, page);
	return 0;
}

/* Within one page. */
static int store_page(struct ckpt *c, uint64_t at, const uint8_t *bytes, size_t len)
{
	uint64_t block = c->zero_block.v;
	struct dune_leaf leaf;
	uint8_t *host;
	bool zero, mapped;
	int err;

	err = dune_vm_lookup(c->space, dune_gva(at & ~4095UL), &leaf);
	if (err && err != -ENOENT)
		return err;
	mapped = !err;
	zero = mapped && (leaf.page.v == dune_zero_page(c->vm).v ||
			  (block && leaf.page.v - block < (2UL << 20)));
	if (mapped && !zero) {
		host = dune_page_host(c->vm, leaf.page);
	} else {
		/* What reads as zero need not be stored to become zero. */
		if (!bytes || (mapped && all_zero(bytes, len)))
			return 0;
		err = own_page(c, at & ~4095UL, mapped, &host);
		if (err)
			return err;
	}
	if (bytes)
		memcpy(host + (at & 4095), bytes, len);
	else
		memset(host + (at & 4095), 0, len);
	return 0;
}

/*
 * Bytes (NULL: zeroes) into the image, over CKPT_COPY regions only, giving pages to what had none.
 * -EINVAL: elsewhere, nothing changed.  -ENOMEM and those of dune_vm_*: some may be stored.
 */
static int store_bytes(struct ckpt *c, uint64_t at, const void *bytes, size_t len)
{
	const uint8_t *from = bytes;
	int err = 0;

	if (!is_copied(c, at, len))
		return -EINVAL;
	while (len && !err) {
		size_t n = 4096 - (at & 4095);

		if (n > len)
			n = len;
		err = store_page(c, at, from, n);
		at += n;
		len -= n;
		if (from)
			from += n;
	}
	return err;
}

/*
 * The thread control block.  Its canary is seeded for each run.  The pointer guard beside it
 * (fs:0x30) stays as it is: pointers in the image (atexit handlers, jmp_bufs, stdio's) are mangled
 * with it.
 */
static int patch_tls(struct ckpt *c)
{
	const uint32_t cpu_id = RSEQ_FAILED;
	uint64_t rseq;
	int err;

	err = store_bytes(c, c->fs_base + TCB_CANARY, NULL, 8);
	/* Compartments have no shadow stack, whatever this thread has. */
	if (!err)
		err = store_bytes(c, c->fs_base + TCB_CET_FEATURES, NULL, 4);
	if (err || !&__rseq_offset || !&__rseq_size || !__rseq_offset)
		return err;
	/* Nobody updates it inside: sched_getcpu() is to ask the kernel. */
	rseq = c->fs_base + (uint64_t)__rseq_offset;
	err = store_bytes(c, rseq + RSEQ_CPU_ID_START, NULL, 4);
	if (!err)
		err = store_bytes(c, rseq + RSEQ_CPU_ID, &cpu_id, 4);
	if (!err)
		err = store_bytes(c, rseq + RSEQ_CS, NULL, 8);
	return err;
}

/*
 * An empty environment: `environ` points to the NULL that is left of the original one, wherever
 * setenv() had moved it, and the strings that are there now are zero in the heap as they are on the
 * stack.  What setenv() has dropped earlier, and copies that the program made, are not found.
 */
static int patch_environment(struct ckpt *c)
{
	const uint64_t empty = c->stack.envp_at;
	int err;

	err = store_bytes(c, (uint64_t)(uintptr_t)&environ, &empty, 8);
	if (!err && &__environ && &__environ != &environ)
		err = store_bytes(c, (uint64_t)(uintptr_t)&__environ, &empty, 8);
	for (char **p = environ; p && *p && !err; p++) {
		uint64_t at = (uint64_t)(uintptr_t)*p;
		size_t len = strlen(*p);

		if (is_copied(c, at, len))
			err = store_bytes(c, at, NULL, len);
	}
	return err;
}

int ckpt_patch_all(struct ckpt *c)
{
	int err;

	err = patch_tls(c);
	if (!err && !c->environment)
		err = patch_environment(c);
	/* Thread-local storage or environ in memory that is not copied. */
	if (err == -EINVAL)
		err = -ENOTSUP;
	for (size_t i = 0; i < c->patches.count && !err; i++) {
		const struct kept_patch *p = (struct kept_patch *)c->patches.items + i;

		err = store_bytes(c, p->at, (char *)c->patch_bytes.items + p->bytes, p->len);
	}
	return err;
}

int ckpt_retake(struct ckpt *c, const void *addr, size_t len)
{
	uint64_t start = (uint64_t)(uintptr_t)addr;
	uint8_t page[4096];
	int err = 0;

	if (!is_copied(c, start, len))
		return -EINVAL;
	/* All of it is readable, before any of it is stored. */
	for (int store = 0; store < 2; store++) {
		for (uint64_t at = start, n; at < start + len; at += n) {
			n = 4096 - (at & 4095);
			if (n > start + len - at)
				n = start + len - at;
			if (!ckpt_peek(at, page, n))
				return -EINVAL;
			if (store)
				err = store_bytes(c, at, page, n);
			if (err)
				return err;
		}
	}
	return ckpt_patch_all(c);
}
