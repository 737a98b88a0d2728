// SPDX-License-Identifier: MIT
/*
 * uaccess.c - translate a compartment's addresses to host memory, page by page.  World: host.
 */
#include "sthread/syscall/uaccess.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

#define PAGE_OFFSET(v) ((v) & (DUNE_PAGE_SIZE - 1))

/*
 * One page as the host sees it.  `counted`: an arena page, whose reference can be taken.  `slot`:
 * a page of a window, memory of this process that stays as long as the run (dune_slot_add(),
 * dune_slot_add_rw()).
 */
struct hpage {
	unsigned char *host;
	dune_gpa_t page;
	bool counted;
	bool slot;
};

/*
 * What the kernel moved, of n bytes at `at`: all, or -EFAULT.  1: a filter around the program denies
 * these calls, as some containers do, and the page was made present instead, to be loaded from or
 * stored to.  If a file is cut short between the two, that is a SIGBUS.
 */
static int moved(ssize_t done, size_t n, unsigned char *at, int populate)
{
	if (done == (ssize_t)n)
		return 0;
	if (done >= 0 || (errno != EPERM && errno != EACCES && errno != ENOSYS))
		return -EFAULT;
	return madvise(at - PAGE_OFFSET((uintptr_t)at), DUNE_PAGE_SIZE, populate) ? -EFAULT : 1;
}

/*
 * Bytes of a page, from `offset` on.  A slot's page is loaded and stored to by the kernel: there
 * may be nothing behind it any more (a file that was cut short under its mapping), and an access
 * of ours would be a SIGBUS.  By the number of this thread: the first one, which has the
 * process's number, may have ended.
 */
static int get_bytes(const struct hpage *pg, size_t offset, void *to, size_t n)
{
	struct iovec local = { to, n }, remote = { pg->host + offset, n };
	int r = 1;

	if (pg->slot)
		r = moved(process_vm_readv(gettid(), &local, 1, &remote, 1, 0), n, pg->host + offset,
			  MADV_POPULATE_READ);
	if (r <= 0)
		return r;
	memcpy(to, pg->host + offset, n);
	return 0;
}

static int put_bytes(const struct hpage *pg, size_t offset, const void *from, size_t n)
{
	struct iovec local = { (void *)(uintptr_t)from, n }, remote = { pg->host + offset, n };
	int r = 1;

	if (pg->slot)
		r = moved(process_vm_writev(gettid(), &local, 1, &remote, 1, 0), n, pg->host + offset,
			  MADV_POPULATE_WRITE);
	if (r <= 0)
		return r;
	memcpy(pg->host + offset, from, n);
	return 0;
}

static bool in_user_space(uint64_t at, size_t len)
{
	uint64_t end;

	return !__builtin_add_overflow(at, len, &end) && end <= DUNE_USER_END;
}

/*
 * Untouched memory of a readable demand region: zeros, without giving the compartment a page for
 * it.
 */
static int page_untouched(struct uaccess *ua, dune_gva_t at, struct hpage *out)
{
	dune_gva_t start;
	unsigned prot;
	size_t len;

	if (dune_region_next(ua->space, at, &start, &len, &prot) || start.v > at.v ||
	    !(prot & DUNE_READ))
		return -EFAULT;
	out->page = dune_zero_page(ua->vm);
	out->host = dune_page_host(ua->vm, out->page);
	out->counted = out->slot = false; /* it never goes */
	return 0;
}

static int page_of_leaf(struct uaccess *ua, const struct dune_leaf *leaf, bool write,
			struct hpage *out)
{
	out->page = leaf->page;
	out->host = dune_page_host(ua->vm, leaf->page);
	out->counted = out->host != NULL;
	out->slot = !out->host;
	if (!out->host) /* to write: never through a read-only window, whatever the leaf says */
		out->host = dune_slot_host(ua->vm, leaf->page, write);
	return out->host ? 0 : -EFAULT;
}

static int page_read(struct uaccess *ua, dune_gva_t at, struct hpage *out)
{
	struct dune_leaf leaf;

	if (dune_vm_lookup(ua->space, at, &leaf))
		return page_untouched(ua, at, out);
	if (!(leaf.prot & DUNE_READ))
		return -EFAULT;
	return page_of_leaf(ua, &leaf, false, out);
}

static int page_write(struct uaccess *ua, dune_gva_t at, struct hpage *out)
{
	struct dune_leaf leaf;
	int r;

	if (dune_vm_lookup(ua->space, at, &leaf) || !(leaf.prot & DUNE_WRITE)) {
		r = dune_vm_make_private(ua->space, at);
		if (r == -ENOMEM) {
			ua->nomem = true;
			return r;
		}
		if (r || dune_vm_lookup(ua->space, at, &leaf) || !(leaf.prot & DUNE_WRITE))
			return -EFAULT;
	}
	return page_of_leaf(ua, &leaf, true, out);
}

static int page_at(struct uaccess *ua, uint64_t at, bool write, struct hpage *out)
{
	dune_gva_t page = dune_gva(at - PAGE_OFFSET(at));

	return write ? page_write(ua, page, out) : page_read(ua, page, out);
}

/* Bytes of [at, at+len) that lie in the page of `at`. */
static size_t in_page(uint64_t at, size_t len)
{
	size_t room = DUNE_PAGE_SIZE - PAGE_OFFSET(at);

	return len < room ? len : room;
}

/*
 * Page by page: bytes to `to`; or made ready for writing, and from `from`, unless that is NULL,
 * too.
 */
static int copy(struct uaccess *ua, dune_gva_t start, size_t len, unsigned char *to, const unsigned char *from)
{
	struct hpage pg;
	size_t n;

	if (!in_user_space(start.v, len))
		return -EFAULT;
	for (size_t done = 0; done < len; done += n) {
		uint64_t at = start.v + done;
		int r = page_at(ua, at, !to, &pg);

		n = in_page(at, len - done);
		if (!r && to)
			r = get_bytes(&pg, PAGE_OFFSET(at), to + done, n);
		else if (!r && from)
			r = put_bytes(&pg, PAGE_OFFSET(at), from + done, n);
		if (r)
			return r;
	}
	return 0;
}

int uaccess_copy_in(struct uaccess *ua, void *dst, dune_gva_t src, size_t len)
{
	return copy(ua, src, len, dst, NULL);
}

int uaccess_copy_out(struct uaccess *ua, dune_gva_t dst, const void *src, size_t len)
{
	return copy(ua, dst, len, NULL, src);
}

int uaccess_prepare_out(struct uaccess *ua, dune_gva_t dst, size_t len)
{
	return copy(ua, dst, len, NULL, NULL);
}

int uaccess_str(struct uaccess *ua, char *dst, dune_gva_t src, size_t cap)
{
	uint64_t at = src.v;
	struct hpage pg;
	size_t done = 0;

	while (done < cap) {
		size_t n = in_page(at, cap - done);
		const char *nul;
		int r;

		if (!in_user_space(at, n))
			return -EFAULT;
		/* Copied first, then looked at: what is looked at cannot change any more. */
		r = page_at(ua, at, false, &pg);
		if (!r)
			r = get_bytes(&pg, PAGE_OFFSET(at), dst + done, n);
		if (r)
			return r;
		nul = memchr(dst + done, 0, n);
		if (nul)
			return (int)(nul - dst);
		done += n;
		at += n;
	}
	return -ENAMETOOLONG;
}

/*
 * Room for one more page and its range; a range or a page that continues the last one needs none.
 */
static bool spans_room(const struct uspans *sp)
{
	return sp->n < UACCESS_PAGES && sp->pages < UACCESS_PAGES;
}

static void spans_push(struct uaccess *ua, struct uspans *sp, const struct hpage *pg, void *host,
		       size_t len)
{
	struct iovec *last = sp->n ? &sp->iov[sp->n - 1] : NULL;

	if (pg->counted && (!sp->pages || sp->page[sp->pages - 1].v != pg->page.v)) {
		dune_page_get(ua->vm, pg->page);
		sp->page[sp->pages++] = pg->page;
	}
	if (last && (unsigned char *)last->iov_base + last->iov_len == host) {
		last->iov_len += len;
	} else {
		sp->iov[sp->n].iov_base = host;
		sp->iov[sp->n].iov_len = len;
		sp->n++;
	}
	sp->bytes += len;
}

int uaccess_spans(struct uaccess *ua, struct uspans *sp, dune_gva_t start, size_t len, bool write)
{
	uint64_t at = start.v;
	struct hpage pg;

	if (!in_user_space(at, len))
		return -EFAULT;
	while (len) {
		size_t n = in_page(at, len);
		int r;

		if (!spans_room(sp))
			return 0;
		r = page_at(ua, at, write, &pg);
		if (r)
			return r;
		spans_push(ua, sp, &pg, pg.host + PAGE_OFFSET(at), n);
		at += n;
		len -= n;
	}
	return 1;
}

void uspans_put(struct uaccess *ua, struct uspans *sp)
{
	while (sp->pages)
		dune_page_put(ua->vm, sp->page[--sp->pages]);
	sp->n = 0;
}
