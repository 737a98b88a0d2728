/* SPDX-License-Identifier: MIT */
/* pt_model.c - an address space as a flat array of pages.  World: host. */
#include <errno.h>

#include "tests/unit/pt_model.h"

#define RIGHTS (DUNE_READ | DUNE_WRITE | DUNE_EXEC)

static const uint64_t window[WINDOWS] = {
	0,                              /* the first page */
	(1UL << 30) - (4UL << 20),      /* level 2 to level 2 */
	(1UL << 39) - (4UL << 20),      /* root entry to root entry, both new */
	(85UL << 39) + (6UL << 20),     /* somewhere, alone */
	(1UL << 47) - (8UL << 20),      /* the end: all but the top page */
};

uint64_t model_va(size_t i)
{
	return window[i / WINDOW_PAGES] + i % WINDOW_PAGES * PAGE;
}

size_t model_index(uint64_t at)
{
	size_t w;

	for (w = 0; w < WINDOWS; w++)
		if (at - window[w] < WINDOW_PAGES * PAGE)
			return w * WINDOW_PAGES + (at - window[w]) / PAGE;
	return INDEXES;
}

unsigned model_prot(const struct page *p)
{
	return p->rights | (p->cow && !p->nocow ? DUNE_COW : 0) | (p->owned ? DUNE_OWNED : 0);
}

static unsigned with_read(unsigned prot)
{
	return prot & (DUNE_WRITE | DUNE_EXEC) ? prot | DUNE_READ : prot;
}

static bool prot_bad(unsigned prot)
{
	if ((prot & DUNE_WRITE) && (prot & (DUNE_EXEC | DUNE_COW)))
		return true;
	return (prot & DUNE_COW) && ((prot & DUNE_EXEC) || !(prot & DUNE_READ));
}

/* Large leaves that [first, last] has a part of, but not all, are small from now on. */
static void model_split(struct page *m, size_t first, size_t last, bool always)
{
	size_t ends[2] = { first, last }, i, j, base;

	for (i = 0; i < 2; i++) {
		base = ends[i] & ~511UL;
		if (always || base < first || base + 511 > last)
			for (j = base; j < base + 512; j++)
				m[j].huge = false;
	}
}

static void model_put(struct page *p, uint64_t page, unsigned prot)
{
	*p = (struct page){
		.page = page,
		.mapped = true,
		.rights = with_read(prot) & RIGHTS,
		.cow = prot & DUNE_COW,
		.owned = prot & DUNE_OWNED,
	};
}

static int model_map(struct page *m, size_t first, size_t last, uint64_t page, unsigned prot)
{
	bool alike = (model_va(first) ^ page) % PT_HUGE == 0;
	size_t i;

	if (prot_bad(prot) || !(prot & RIGHTS))
		return -EINVAL;
	for (i = first; i <= last; i++)
		if (m[i].mapped)
			return -EEXIST;
	for (i = first; i <= last; i++) {
		size_t base = i & ~511UL;

		model_put(&m[i], page + (i - first) * PAGE, prot);
		m[i].huge = alike && base >= first && base + 511 <= last;
	}
	return 0;
}

static int model_replace(struct page *m, size_t i, uint64_t page, unsigned prot)
{
	if (prot_bad(prot) || !(prot & RIGHTS))
		return -EINVAL;
	model_split(m, i, i, true);
	model_put(&m[i], page, prot);
	return 0;
}

static int model_unmap(struct page *m, size_t first, size_t last)
{
	size_t i;

	model_split(m, first, last, false);
	for (i = first; i <= last; i++)
		m[i] = (struct page){ 0 };
	return 0;
}

static int model_protect(struct page *m, size_t first, size_t last, unsigned prot)
{
	size_t i;

	if (prot_bad(prot))
		return -EINVAL;
	prot = with_read(prot);
	for (i = first; i <= last; i++)
		if (m[i].mapped && m[i].cow && (prot & DUNE_EXEC) && !(m[i].rights & DUNE_EXEC))
			return -EINVAL;
	model_split(m, first, last, false);
	for (i = first; i <= last; i++) {
		struct page *p = &m[i];

		if (!p->mapped)
			continue;
		if (prot & DUNE_COW)
			p->cow = true;
		p->rights = prot & RIGHTS & (p->cow ? ~DUNE_WRITE : ~0u);
		if (prot)
			p->nocow = p->cow && !(prot & (DUNE_WRITE | DUNE_COW));
	}
	return 0;
}

void model_clone(struct page *dst, const struct page *src)
{
	size_t i;

	for (i = 0; i < INDEXES; i++) {
		dst[i] = src[i];
		if (src[i].owned && !src[i].cow)
			dst[i].cow = dst[i].nocow = true;
		dst[i].owned = false;
	}
}

int model_do(struct page *m, const struct args *a)
{
	switch (a->op) {
	case MAP:
		return model_map(m, a->first, a->last, a->page, a->prot);
	case REPLACE:
		return model_replace(m, a->first, a->page, a->prot);
	case UNMAP:
		return model_unmap(m, a->first, a->last);
	default:
		return model_protect(m, a->first, a->last, a->prot);
	}
}
