/* SPDX-License-Identifier: MIT */
/*
 * realise.c - what follows from a changed page table for the stubs that realise it.  World: host.
 *
 * A changed entry is written in place, since no processor reads these tables.  The two trees, before and after, are
 * compared, and where they differ the addresses go to the lists of the space's stubs.  From the lists come edits:
 * mmap(), mprotect() and munmap() calls that make the stub's memory what the tables say now.
 */
#include <asm/prctl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "vm/process/process.h"
#include "vm/pt_level.h"

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE 2U
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#define POPULATE_PAGES 64 /* what is mapped in runs of at most so many is mapped at once, without a fault for each */
#define ROW_MOST       16
#define SYNC_FIRST_NS  20000
#define SYNC_MOST_NS   5000000

/* ---- what changed ---- */

static void differ(struct proc_space *s, uint64_t at, uint64_t end, bool was, bool is)
{
	for (struct proc_vcpu *c = s->stubs; c; c = c->next) {
		if (was)
			ranges_add(&c->stale, at, end);
		else if (is)
			ranges_add(&c->wanted, at, end);
	}
}

/* An entry of a tree, seen from above through shared tables or not. */
struct seen {
	uint64_t entry;
	bool borrowed; /* what it leads to belongs to another tree */
};

/* Entry `i` of the table, or the part of the large leaf, that `e` leads to; `level` of e. */
static struct seen below(struct dune_space *s, struct seen e, int level, unsigned i)
{
	bool borrowed = e.borrowed || (e.entry & PT_SHARED);
	uint64_t entry;

	if (!e.entry)
		return e;
	if (pt_is_leaf(e.entry, level))
		return (struct seen){ ((e.entry & ~PT_PS) | (level > 2 ? PT_PS : 0)) + i * pt_span(level - 1), e.borrowed };
	entry = *space_entry(s, dune_gpa(pt_target(e.entry).v + i * 8));
	return (struct seen){ borrowed ? pt_borrow(entry, level - 1, i) : entry, borrowed };
}

static void compare(struct dune_space *s, struct seen was, struct seen is, int level, uint64_t at)
{
	const uint64_t seen_by_ring3 = PT_ADDR | PT_P | PT_W | PT_NX | PT_PS;
	bool was_leaf = !was.entry || pt_is_leaf(was.entry, level), is_leaf = !is.entry || pt_is_leaf(is.entry, level);

	if (was.entry == is.entry && was.borrowed == is.borrowed)
		return;
	if (was_leaf && is_leaf) {
		if (((was.entry ^ is.entry) & seen_by_ring3) && ((was.entry | is.entry) & PT_P))
			differ(proc_space_of(s), at, at + pt_span(level), was.entry & PT_P, is.entry & PT_P);
		return;
	}
	for (unsigned i = 0; i < PT_ENTRIES; i++)
		compare(s, below(s, was, level, i), below(s, is, level, i), level - 1, at + i * pt_span(level - 1));
}

uint64_t proc_get(struct dune_space *s, dune_gpa_t entry)
{
	return *space_entry(s, entry);
}

void proc_set(struct dune_space *s, dune_gpa_t entry, uint64_t old, uint64_t val, dune_gva_t at, int level)
{
	*space_entry(s, entry) = val;
	if (proc_space_of(s)->stubs)
		compare(s, (struct seen){ old, false }, (struct seen){ val, false }, level, at.v & ~(pt_span(level) - 1));
}

void realise_bind(struct proc_vcpu *c, struct dune_space *s)
{
	struct proc_space *ps = proc_space_of(s);
	struct dune_space *source = s->source;
	struct proc_vcpu *others = ps->stubs;

	c->space = ps;
	if (!source || c->inherits != source->serial || proc_of(s->vm)->template != source) {
		/* What it inherited is another's, or windows alone. */
		c->next = others;
		ps->stubs = c;
		ranges_add(&c->stale, 0, DUNE_USER_END);
		return;
	}
	/* What differs is this one's business alone. */
	c->next = NULL;
	ps->stubs = c;
	for (unsigned i = 0; i < PT_ENTRIES / 2; i++) {
		uint64_t was = *space_entry(s, dune_gpa(source->pt.root.v + i * 8));
		uint64_t is = *space_entry(s, dune_gpa(s->pt.root.v + i * 8));

		compare(s, (struct seen){ pt_borrow(was, PT_LEVELS, i), false }, (struct seen){ is, false }, PT_LEVELS,
			i * pt_span(PT_LEVELS));
	}
	c->next = others;
}

/* ---- what memory a leaf is ---- */

static int prot_of(unsigned prot)
{
	return (prot & DUNE_READ ? PROT_READ : 0) | (prot & DUNE_WRITE ? PROT_WRITE : 0) |
	       (prot & DUNE_EXEC ? PROT_EXEC : 0);
}

/* The image's copy of a window that stubs do not have at its own address, made now. */
static int copy_window(struct dune_vm *vm, size_t index, const struct slot *slot, dune_gpa_t *out)
{
	struct proc_vm *p = proc_of(vm);
	int err;

	if (index >= p->ncopies) {
		dune_gpa_t *copies = realloc(p->copies, (index + 1) * sizeof(*copies));

		if (!copies)
			return -ENOMEM;
		memset(copies + p->ncopies, 0, (index + 1 - p->ncopies) * sizeof(*copies));
		p->copies = copies;
		p->ncopies = index + 1;
	}
	if (!p->copies[index].v) {
		err = arena_alloc(vm, PAGE_IMAGE, slot->len / DUNE_PAGE_SIZE, &p->copies[index]);
		if (err)
			return err;
		/* By the kernel: there may be nothing behind some of it. */
		for (uint64_t off = 0; off < slot->len; off += DUNE_PAGE_SIZE) {
			struct iovec to = { arena_host(&vm->arena, dune_gpa(p->copies[index].v + off)), DUNE_PAGE_SIZE };
			struct iovec from = { (void *)(slot->hva + off), DUNE_PAGE_SIZE };

			/* Where a filter denies it, the page is made present first. */
			if (process_vm_readv((pid_t)syscall(SYS_gettid), &to, 1, &from, 1, 0) < 0 && errno != EFAULT &&
			    !madvise(from.iov_base, DUNE_PAGE_SIZE, MADV_POPULATE_READ))
				memcpy(to.iov_base, from.iov_base, DUNE_PAGE_SIZE);
		}
	}
	*out = p->copies[index];
	return 0;
}

static int window_piece(struct dune_vm *vm, uint64_t at, uint64_t gpa, struct zygote_map *m)
{
	struct proc_vm *p = proc_of(vm);
	struct slot slot = { 0 };
	size_t i;
	dune_gpa_t copy;
	uint64_t hva;
	int err;

	pthread_mutex_lock(&vm->lock);
	for (i = 0; i < vm->nslots && gpa - vm->slots[i].gpa >= vm->slots[i].len; i++)
		;
	if (i < vm->nslots)
		slot = vm->slots[i];
	pthread_mutex_unlock(&vm->lock);
	if (!slot.len)
		return -EFAULT;
	hva = slot.hva + (gpa - slot.gpa);
	for (unsigned k = 0; k < p->nshared && !slot.readonly; k++) {
		if (hva - p->shared[k].at < p->shared[k].len) {
			m->file = 2 + (int)k;
			m->offset = hva - p->shared[k].at;
			return 0;
		}
	}
	for (size_t k = 0; k < p->nadopted && !slot.readonly; k++) {
		if (hva - p->adopted[k].at < p->adopted[k].len) {
			m->file = STUB_FD_PRIVATE;
			m->offset = p->adopted[k].gpa + (hva - p->adopted[k].at);
			return 0;
		}
	}
	if (hva == at && i < p->inherited) {
		m->flags = 0;
		return 0;
	}
	pthread_mutex_lock(&p->copying);
	err = copy_window(vm, i, &slot, &copy);
	pthread_mutex_unlock(&p->copying);
	m->file = STUB_FD_IMAGE;
	m->offset = copy.v + (gpa - slot.gpa);
	return err;
}

static int leaf_piece(struct dune_vm *vm, uint64_t at, const struct dune_leaf *leaf, struct zygote_map *m)
{
	uint64_t gpa = leaf->page.v;

	*m = (struct zygote_map){ .at = at, .prot = prot_of(leaf->prot), .flags = MAP_SHARED | MAP_FIXED, .offset = gpa };
	if (gpa == vm->zero_page.v || (vm->zero_block.v && gpa - vm->zero_block.v < PT_HUGE)) {
		/* No file: each page of a large range of zeroes would be a mapping of its own. */
		m->flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
		m->file = -1;
		m->offset = 0;
		return 0;
	}
	if (gpa >= vm->arena.size)
		return window_piece(vm, at, gpa, m);
	m->file = arena_kind(&vm->arena, leaf->page) == PAGE_PRIVATE ? STUB_FD_PRIVATE : STUB_FD_IMAGE;
	return arena_kind(&vm->arena, leaf->page) == PAGE_HOST ? -EFAULT : 0;
}

/* ---- pieces ---- */

struct pieces {
	struct dune_space *s;
	uint64_t done; /* up to here all was said, but for `m` */
	struct zygote_map m;
	int (*fn)(void *ctx, const struct zygote_map *m);
	void *ctx;
};

/* Says a piece, but nothing of where the stub has the library's own. */
static int say(struct pieces *p, struct zygote_map m)
{
	uint64_t own = stub_base(p->s->vm), end = m.at + m.len;
	int err;

	if (m.at < own + STUB_SIZE && end > own) { /* nothing is mapped there: a gap */
		if (m.at < own) {
			m.len = own - m.at;
			err = p->fn(p->ctx, &m);
			if (err)
				return err;
		}
		if (end <= own + STUB_SIZE)
			return 0;
		m.at = own + STUB_SIZE;
		m.len = end - m.at;
	}
	return p->fn(p->ctx, &m);
}

static int flush(struct pieces *p)
{
	struct zygote_map m = p->m;

	p->m.len = 0;
	return m.len ? say(p, m) : 0;
}

static int gap(struct pieces *p, uint64_t to)
{
	const struct zygote_map m = { .at = p->done, .len = to - p->done, .prot = -1 };
	int err = flush(p);

	p->done = to;
	return err || !m.len ? err : say(p, m);
}

static bool follows(const struct zygote_map *m, const struct zygote_map *next)
{
	return m->len && m->at + m->len == next->at && m->prot == next->prot && m->flags == next->flags &&
	       m->file == next->file && (m->file < 0 || !m->flags || m->offset + m->len == next->offset);
}

static int add_leaf(void *ctx, dune_gva_t at, const struct dune_leaf *leaf)
{
	struct pieces *p = ctx;
	struct zygote_map m;
	uint64_t len = leaf->size - (at.v & (leaf->size - 1));
	int err;

	if (!(leaf->prot & (DUNE_READ | DUNE_WRITE | DUNE_EXEC)))
		return 0;
	if (at.v > p->done && (err = gap(p, at.v)))
		return err;
	err = leaf_piece(p->s->vm, at.v, leaf, &m);
	if (err)
		return err;
	m.len = len;
	p->done = at.v + len;
	if (follows(&p->m, &m)) {
		p->m.len += len;
		return 0;
	}
	err = flush(p);
	p->m = m;
	return err;
}

int realise_pieces(struct dune_space *s, uint64_t at, uint64_t end, int (*fn)(void *ctx, const struct zygote_map *m),
		   void *ctx)
{
	struct pieces p = { .s = s, .done = at, .fn = fn, .ctx = ctx };
	int err = pt_walk(&s->pt, dune_gva(at), dune_gva(end), add_leaf, &p);

	if (err)
		return err;
	return p.done < end ? gap(&p, end) : flush(&p);
}

/* ---- edits ---- */

struct fill {
	struct proc_vcpu *c;
	bool gaps;     /* what is not mapped may be there still */
	uint64_t done; /* up to here it is in the list */
};

#define FULL 1

static void put_edit(struct proc_vcpu *c, struct stub_edit e)
{
	c->edit[c->nedits++] = e;
}

static bool was_inherited(struct dune_vm *vm, uint64_t at, uint64_t end)
{
	size_t inherited = proc_of(vm)->inherited;
	bool found = false;

	pthread_mutex_lock(&vm->lock);
	for (size_t i = 0; i < inherited && !found; i++)
		found = vm->slots[i].readonly && vm->slots[i].hva < end && vm->slots[i].hva + vm->slots[i].len > at;
	pthread_mutex_unlock(&vm->lock);
	return found;
}

static int put_piece(void *ctx, const struct zygote_map *m)
{
	struct fill *f = ctx;
	struct proc_vcpu *c = f->c;
	uint64_t end = m->at + m->len;

	if (c->nedits == REQUEST_EDITS_MAX)
		return FULL;
	f->done = end;
	if (m->prot >= 0 && !m->flags) {
		if (ranges_meet(&c->torn, m->at, end))
			return -EAGAIN;
		if (f->gaps)
			put_edit(c, (struct stub_edit){ SYS_mprotect, { (int64_t)m->at, (int64_t)m->len, m->prot }, 0 });
		return 0;
	}
	if (m->prot < 0 && !f->gaps)
		return 0;
	if (was_inherited(c->c.vm, m->at, end))
		ranges_add(&c->torn, m->at, end);
	if (m->prot < 0)
		put_edit(c, (struct stub_edit){ SYS_munmap, { (int64_t)m->at, (int64_t)m->len }, 0 });
	else
		put_edit(c, (struct stub_edit){ SYS_mmap,
						{ (int64_t)m->at, (int64_t)m->len, m->prot,
						  m->flags | (m->len <= POPULATE_PAGES * DUNE_PAGE_SIZE ? MAP_POPULATE : 0),
						  m->file, (int64_t)m->offset },
						(int64_t)m->at });
	return 0;
}

/* As much of the list as fits. */
static int fill_from(struct proc_vcpu *c, struct ranges *l, bool gaps)
{
	struct fill f = { .c = c, .gaps = gaps };
	int err = 0;

	while (l->n && !err) {
		struct range r = l->r[0];

		f.done = r.at;
		err = realise_pieces(&c->space->s, r.at, r.end, put_piece, &f);
		if (err && err != FULL)
			return err;
		ranges_add(&c->ordered_ranges, r.at, err ? f.done : r.end);
		if (err && f.done < r.end) {
			l->r[0].at = f.done;
		} else {
			memmove(&l->r[0], &l->r[1], (l->n - 1) * sizeof(l->r[0]));
			l->n--;
		}
	}
	return err == FULL ? 0 : err;
}

/*
 * A kernel that does not let user code write the bases of FS and GS (AT_HWCAP2) may run on a processor that does, and
 * then loses what was written when it lets another thread run: so it is told by a call.
 */
static void tell_base(struct proc_vcpu *c, int which, uint64_t base, uint64_t *told)
{
	if (proc_of(c->c.vm)->keeps_bases || base == *told || base >= DUNE_USER_END)
		return;
	put_edit(c, (struct stub_edit){ SYS_arch_prctl, { which, (int64_t)base }, 0 });
	*told = base;
}

int realise_edits(struct proc_vcpu *c)
{
	uint64_t zygote = stub_base(c->c.vm) + STUB_ZYGOTE;
	int err;

	/* What was told and not made is told again: that bears repeating. */
	ranges_add_all(&c->stale, &c->ordered_ranges);
	c->ordered_ranges.n = 0;
	c->nedits = c->allowed = 0;
	if (!c->settled) {
		unsigned files = 2 + proc_of(c->c.vm)->nshared;

		put_edit(c, (struct stub_edit){ SYS_close_range, { files, UINT32_MAX, CLOSE_RANGE_UNSHARE }, 0 });
		put_edit(c, (struct stub_edit){ SYS_munmap, { (int64_t)zygote, STUB_SIZE - STUB_ZYGOTE }, 0 });
	}
	c->telling = c->told;
	tell_base(c, ARCH_SET_FS, c->fs, &c->telling.fs);
	tell_base(c, ARCH_SET_GS, c->gs, &c->telling.gs);
	err = fill_from(c, &c->stale, true);
	return err ? err : fill_from(c, &c->wanted, false);
}

static bool is_clean(const struct proc_vcpu *c)
{
	return c->state == STUB_NONE || (!c->stale.n && !c->ordered_ranges.n);
}

bool proc_is_synced(const struct dune_space *s)
{
	for (const struct proc_vcpu *c = proc_space_of(s)->stubs; c; c = c->next)
		if (!is_clean(c))
			return false;
	return true;
}

void realise_made(struct proc_vcpu *c)
{
	c->settled = true;
	if (c->allowed == c->nedits)
		c->told = c->telling;
	c->ordered_ranges.n = 0;
	if (c->space->s.nparked && proc_is_synced(&c->space->s))
		space_unpark(&c->space->s);
}

static struct proc_vcpu *unclean(struct dune_space *s)
{
	struct proc_vcpu *c = proc_space_of(s)->stubs;

	while (c && is_clean(c))
		c = c->next;
	return c;
}

int proc_sync(struct dune_space *s)
{
	struct timespec pause = { 0, SYNC_FIRST_NS };
	struct proc_vcpu *c;

	while ((c = unclean(s))) {
		if (!atomic_exchange(&c->busy, true)) {
			if (enter_settle(c, s))
				stub_kill(c);
			stub_release(c);
			continue;
		}
		/*
		 * Whoever runs it makes the edits when it comes out, and needs the lock for that.  A stub that is interrupted at
		 * its edits begins them again: so with more and more time between.
		 */
		s->vm->ops->interrupt(&c->c);
		pthread_mutex_unlock(&s->lock);
		nanosleep(&pause, NULL);
		pthread_mutex_lock(&s->lock);
		if (pause.tv_nsec < SYNC_MOST_NS)
			pause.tv_nsec *= 2;
	}
	space_unpark(s);
	return atomic_load(&s->vm->broken) ? -EIO : 0;
}

/* ---- a touch, as the stub's handler reports it ---- */

struct touch {
	struct mon_env env;
	struct proc_vcpu *c;
	uint64_t used;
};

static int touch_alloc(struct mon_env *env, const dune_gpa_t *from, dune_gpa_t *out)
{
	struct touch *t = (struct touch *)env;
	struct dune_space *s = env->pt.ctx;
	const void *bytes = from ? slot_host(s->vm, *from) : NULL;

	if (t->used == t->c->hint_len || (from && !bytes) || space_reserve_private(s, 1))
		return -ENOMEM;
	*out = dune_gpa(t->c->hint + t->used++ * DUNE_PAGE_SIZE);
	if (from)
		memcpy(arena_host(&s->vm->arena, *out), bytes, DUNE_PAGE_SIZE);
	return 0;
}

static void touch_free(struct mon_env *env, dune_gpa_t page)
{
	struct touch *t = (struct touch *)env;

	(void)page;
	t->used--;
}

/* Pages for the next touch: more of them where one follows the other. */
static void next_hint(struct proc_vcpu *c, uint64_t page)
{
	struct dune_vm *vm = c->c.vm;
	dune_gpa_t pages;

	c->row = page != c->next_touch ? 1 : c->row * 2 < ROW_MOST ? c->row * 2 : ROW_MOST;
	c->next_touch = page + c->hint_len * DUNE_PAGE_SIZE;
	/* What was used before is used again first: one at a time. */
	if (vm->arena.zones[PAGE_PRIVATE].free_pages)
		c->row = 1;
	c->hint_len = 0;
	if (!arena_alloc(vm, PAGE_PRIVATE, c->row, &pages) || (c->row = 1, !dune_page_alloc(vm, &pages))) {
		c->hint = pages.v;
		c->hint_len = c->row;
	}
}

bool realise_touch(struct proc_vcpu *c, struct dune_space *s, uint64_t page, bool write)
{
	const struct ranges stale = c->stale, wanted = c->wanted;
	struct touch t = { .c = c };
	bool given = true;

	if (!c->hint_len || page % DUNE_PAGE_SIZE || page >= DUNE_USER_END)
		return false;
	/* What others have of the page is to change first: they are told of a trap (run.c). */
	if (s->runners > 1)
		return false;
	space_env(s, &t.env);
	t.env.page_alloc = touch_alloc;
	t.env.page_free = touch_free;
	for (uint64_t i = 0; i < c->hint_len && given; i++) {
		struct dune_leaf leaf;

		/* Each is to take its page, and to be written: other rights are for an edit to give. */
		given = mon_touch(&t.env, dune_gva(page + i * DUNE_PAGE_SIZE), write) == MON_RESUME && t.used == i + 1 &&
			!pt_lookup(&s->pt, dune_gva(page + i * DUNE_PAGE_SIZE), &leaf) && (leaf.prot & DUNE_WRITE);
	}
	/* Pages that were given and cannot be mapped at once stay given: they are on the list. */
	for (uint64_t i = t.used; i < c->hint_len; i++)
		dune_page_put(s->vm, dune_gpa(c->hint + i * DUNE_PAGE_SIZE));
	if (given) {
		c->stale = stale;
		c->wanted = wanted;
	} else {
		c->hint_len = 0;
	}
	next_hint(c, page);
	return given;
}
