/* SPDX-License-Identifier: MIT */
/* machine.c - stub processes as a machine: its files, opened and closed; memory that ring 3 shares.  World: host. */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "vm/process/process.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
_Static_assert(STUB_SIZE == DUNE_OWN_SIZE, "a program reserves it");

#define SIGNALS_SIZE ((uint64_t)ZYGOTE_STUBS * STUB_SIGNALS_SIZE)
#define SIGNALS_AT   (1UL << 60) /* beyond what any file of a program's has: see signals_data() */
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

int above_standard(int fd)
{
	int above;

	if (fd < 0 || fd > 2)
		return fd;
	above = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	close(fd);
	return above;
}

/*
 * A file in memory.  -EFBIG: longer than the limit of file sizes allows, of which the kernel would tell the program by a
 * signal.
 */
static int memory_file(const char *name, uint64_t len, struct own_fd *out)
{
	struct standard held;
	struct rlimit limit;
	int fd;

	if (!getrlimit(RLIMIT_FSIZE, &limit) && limit.rlim_cur < len)
		return -EFBIG;
	standard_hold(&held);
	/* Kernels that know the flag may demand that one says whether the file is to be executed; older refuse it. */
	fd = (int)syscall(SYS_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		fd = (int)syscall(SYS_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	fd = above_standard(fd);
	if (fd < 0) {
		int err = errno;

		standard_release(&held);
		return -err;
	}
	standard_release(&held);
	if (ftruncate(fd, (off_t)len)) {
		int err = errno;

		close(fd);
		return -err;
	}
	own_take(out, fd);
	return out->fd < 0 ? -EMFILE : 0;
}

static int private_memory(void *at, size_t len)
{
	/* A fork would share pages that are being written, a core dump would hold every compartment. */
	if (madvise(at, len, MADV_DONTFORK) || madvise(at, len, MADV_DONTDUMP))
		return -errno;
	madvise(at, len, MADV_NOHUGEPAGE);
	return 0;
}

/*
 * The arena shows the file of private pages, until a block becomes one of another kind.  The image's file is mapped for
 * writing once, here, and never again by anybody: blocks of that mapping are moved into the arena.
 */
static int back_arena(struct dune_vm *vm, const struct dune_vm_config *cfg)
{
	struct proc_vm *p = proc_of(vm);
	int err;

	p->signals_at = SIGNALS_AT;
	err = memory_file("sthread-private", SIGNALS_AT + SIGNALS_SIZE + DUNE_PAGE_SIZE, &p->private_file);
	if (err == -EFBIG) { /* by the limit of file sizes: right behind the arena */
		p->signals_at = cfg->size;
		err = memory_file("sthread-private", cfg->size + SIGNALS_SIZE + DUNE_PAGE_SIZE, &p->private_file);
	}
	p->signals_far = p->signals_at == SIGNALS_AT;
	if (err ||
	    (err = memory_file("sthread-image", cfg->size, &p->image_file)))
		return err;
	if (mmap(cfg->base, cfg->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, p->private_file.fd, 0) !=
	    cfg->base)
		return -errno;
	p->image_view = mmap(NULL, cfg->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, p->image_file.fd, 0);
	if (p->image_view == MAP_FAILED) {
		p->image_view = NULL;
		return -errno;
	}
	p->signals = mmap(NULL, SIGNALS_SIZE + DUNE_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
			  p->private_file.fd, (off_t)p->signals_at);
	if (p->signals == MAP_FAILED) {
		p->signals = NULL;
		return -errno;
	}
	p->signals[SIGNALS_SIZE] = 1;
	if (fcntl(p->private_file.fd, F_ADD_SEALS, SEALS) || fcntl(p->image_file.fd, F_ADD_SEALS, SEALS | F_SEAL_FUTURE_WRITE))
		return -ENOTSUP;
	if ((err = private_memory(cfg->base, cfg->size)) || (err = private_memory(p->image_view, cfg->size)) ||
	    (err = private_memory(p->signals, SIGNALS_SIZE + DUNE_PAGE_SIZE)))
		return err;
	return arena_init(vm, true);
}

/* Private memory at an address of the arena, in one step: it is all there, or what was there before. */
static void *host_block(void *at)
{
	void *got = mmap(NULL, PT_HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *moved;

	if (got == MAP_FAILED)
		return got;
	moved = private_memory(got, PT_HUGE) ? MAP_FAILED : mremap(got, PT_HUGE, PT_HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, at);
	if (moved == MAP_FAILED)
		munmap(got, PT_HUGE);
	return moved;
}

static int proc_block(struct dune_vm *vm, uint64_t gpa, enum page_kind kind)
{
	struct proc_vm *p = proc_of(vm);
	void *at = vm->arena.base + gpa, *got = at;

	switch (kind) {
	case PAGE_IMAGE:
		/* The view stays whole: nothing of the program's may come to lie in a hole of it. */
		got = mremap(p->image_view + gpa, PT_HUGE, PT_HUGE, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, at);
		break;
	case PAGE_HOST:
		got = host_block(at);
		break;
	default:
		break;
	}
	return got == at ? 0 : -ENOMEM;
}

static int share(struct dune_vm *vm, void *addr, size_t len)
{
	struct proc_vm *p = proc_of(vm);
	struct shared_range r = { .at = (uint64_t)addr, .len = len };
	int err;

	if (vm->vcpus) /* stubs that are there have no descriptor of it */
		return -EBUSY;
	if (p->nshared == sizeof(p->shared) / sizeof(p->shared[0]))
		return -ENOSPC;
	err = memory_file("sthread-shared", len, &r.own);
	if (err)
		return err;
	if (fcntl(r.own.fd, F_ADD_SEALS, SEALS) ||
	    mmap(addr, len, PROT_NONE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, r.own.fd, 0) != addr) {
		err = -errno;
		own_close(&r.own);
		return err;
	}
	p->shared[p->nshared++] = r;
	return private_memory(addr, len);
}

static int proc_share(struct dune_vm *vm, void *addr, size_t len)
{
	int err;

	pthread_mutex_lock(&vm->making);
	err = share(vm, addr, len);
	pthread_mutex_unlock(&vm->making);
	return err;
}

static int proc_adopt(struct dune_vm *vm, void *addr, size_t len)
{
	struct proc_vm *p = proc_of(vm);
	struct adopted *list;
	dune_gpa_t pages;
	void *copy;
	int err;

	pthread_mutex_lock(&vm->lock);
	list = realloc(p->adopted, (p->nadopted + 1) * sizeof(*list));
	if (list)
		p->adopted = list;
	pthread_mutex_unlock(&vm->lock);
	if (!list)
		return -ENOMEM;
	if (!own_is_there(&p->private_file))
		return -EIO;
	/* Fresh pages in a row, also for one. */
	err = arena_alloc(vm, PAGE_PRIVATE, len / DUNE_PAGE_SIZE, &pages);
	if (err)
		return err;
	copy = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (copy == MAP_FAILED) {
		err = -errno;
		goto no_copy;
	}
	memcpy(arena_host(&vm->arena, pages), addr, len);
	if (mmap(addr, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, p->private_file.fd, (off_t)pages.v) != addr) {
		err = -errno;
		goto not_mapped;
	}
	pthread_mutex_lock(&vm->lock);
	p->adopted[p->nadopted++] = (struct adopted){ (uint64_t)addr, len, pages.v, copy };
	pthread_mutex_unlock(&vm->lock);
	return 0;

not_mapped:
	munmap(copy, len);
no_copy:
	for (uint64_t off = 0; off < len; off += DUNE_PAGE_SIZE)
		dune_page_put(vm, dune_gpa(pages.v + off));
	return err;
}

/*
 * Parent and child would share what was adopted, and the parent may write it before the child runs at all.  So the child
 * gets the copy that was made before the fork.
 */
static void proc_fork(struct dune_vm *vm, enum fork_moment moment)
{
	struct proc_vm *p = proc_of(vm);

	for (size_t i = 0; i < p->nadopted; i++) {
		const struct adopted *a = &p->adopted[i];

		if (moment == FORK_BEFORE)
			memcpy(a->copy, arena_host(&vm->arena, dune_gpa(a->gpa)), a->len);
		else if (moment == FORK_PARENT)
			madvise(a->copy, a->len, MADV_DONTNEED);
		else
			mremap(a->copy, a->len, a->len, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)a->at);
	}
	if (moment == FORK_CHILD)
		p->nadopted = 0;
}

/* The program's memory is its own again, with what is in it: nobody else writes it any more. */
static void give_back_adopted(struct dune_vm *vm)
{
	proc_fork(vm, FORK_BEFORE);
	proc_fork(vm, FORK_CHILD);
}

static int proc_clear(struct dune_vm *vm, void *addr, size_t len)
{
	(void)vm;
	return mprotect(addr, len, PROT_READ | PROT_WRITE) || madvise(addr, len, MADV_REMOVE) ||
			       mprotect(addr, len, PROT_NONE) ?
		       -errno :
		       0;
}

static int proc_window(struct dune_vm *vm, const struct slot *slot)
{
	struct proc_vm *p = proc_of(vm);

	if (slot->readonly || slot->gpa < vm->arena.size)
		return 0;
	for (unsigned i = 0; i < p->nshared; i++)
		if (slot->hva >= p->shared[i].at && slot->hva + slot->len <= p->shared[i].at + p->shared[i].len)
			return 0;
	for (size_t i = 0; i < p->nadopted; i++)
		if (slot->hva >= p->adopted[i].at && slot->hva + slot->len <= p->adopted[i].at + p->adopted[i].len)
			return 0;
	return -ENOTSUP;
}

/* ---- what this host does ---- */

/* Below it the kernel maps nothing for a process without privileges. */
static uint64_t lowest_address(void)
{
	unsigned long lowest = 65536; /* the most that is usual, where it cannot be read */
	FILE *f = fopen("/proc/sys/vm/mmap_min_addr", "re");

	if (f) {
		if (fscanf(f, "%lu", &lowest) != 1)
			lowest = 65536;
		fclose(f);
	}
	return lowest;
}

static void look_at_host(struct proc_vm *p)
{
	unsigned eax, ebx, ecx, edx, major = 0, minor = 0, low, high;
	struct utsname kernel;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	p->vm.info.xcr0 = (uint64_t)high << 32 | low;
	__cpuid_count(0xd, 0, eax, ebx, ecx, edx);
	p->vectors_size = ebx;
	uname(&kernel);
	if (sscanf(kernel.release, "%u.%u", &major, &minor) == 2) {
		p->must_poll = major < 6 || (major == 6 && minor < 11);
		p->may_lose = major < 6 || (major == 6 && minor < 17);
	}
	p->keeps_bases = getauxval(AT_HWCAP2) & 2; /* HWCAP2_FSGSBASE */
	p->vm.info.placement = DUNE_PLACE_HOST;
	p->vm.info.max_vcpus = ZYGOTE_STUBS;
	p->vm.info.phys_bits = 52;
	p->vm.info.lowest = lowest_address();
	p->vm.info.adopt_moves = true;
}

static int load_text(struct dune_vm *vm)
{
	struct proc_vm *p = proc_of(vm);
	size_t len = (size_t)(stub_blob_end - stub_blob), pages = (STUB_ZYGOTE + STUB_ZYGOTE_TEXT) / DUNE_PAGE_SIZE;
	int err;

	if (len < STUB_ZYGOTE + sizeof(struct stub_header) || stub_header()->magic != STUB_MAGIC)
		return -ENOEXEC;
	err = arena_alloc(vm, PAGE_IMAGE, pages, &p->text);
	if (err)
		return err;
	len = len < pages * DUNE_PAGE_SIZE ? len : pages * DUNE_PAGE_SIZE;
	memcpy(arena_host(&vm->arena, p->text), stub_blob, STUB_TEXT_SIZE);
	memcpy((char *)arena_host(&vm->arena, p->text) + STUB_ZYGOTE, stub_blob + STUB_ZYGOTE, len - STUB_ZYGOTE);
	return 0;
}

/* A stub is made, and held at REPORT: all that the machine needs is there. */
static int probe(struct dune_vm *vm)
{
	struct dune_vcpu *c;
	int err = dune_vcpu_create(vm, &c);

	if (!err)
		dune_vcpu_destroy(c);
	return err;
}

static int proc_open(struct dune_vm *vm, const struct dune_vm_config *cfg)
{
	struct proc_vm *p = proc_of(vm);
	int err;

	p->private_file.fd = p->image_file.fd = p->socket.fd = p->zygote.fd = -1;
	pthread_mutex_init(&p->talk, NULL);
	pthread_mutex_init(&p->copying, NULL);
	look_at_host(p);
	if (p->vectors_size > REQUEST_VECTORS_SIZE)
		return -ENOTSUP;
	p->numbers = calloc(ZYGOTE_STUBS / 32, sizeof(*p->numbers));
	if (!p->numbers)
		return -ENOMEM;
	if ((err = back_arena(vm, cfg)) || (err = arena_alloc(vm, PAGE_IMAGE, 1, &vm->zero_page)) || (err = load_text(vm)))
		return err;
	return probe(vm);
}

static void proc_close(struct dune_vm *vm)
{
	struct proc_vm *p = proc_of(vm);

	zygote_end(p);
	give_back_adopted(vm);
	for (unsigned i = 0; i < p->nshared; i++)
		own_close(&p->shared[i].own);
	own_close(&p->private_file);
	own_close(&p->image_file);
	if (p->image_view)
		munmap(p->image_view, vm->arena.size);
	if (p->signals)
		munmap(p->signals, SIGNALS_SIZE + DUNE_PAGE_SIZE);
	free(p->stub_pages.at);
	free(p->numbers);
	free(p->copies);
	free(p->adopted);
	pthread_mutex_destroy(&p->talk);
	pthread_mutex_destroy(&p->copying);
}

static void proc_forked(struct dune_vm *vm)
{
	struct proc_vm *p = proc_of(vm);

	p->image_view = p->signals = NULL; /* it has none of this memory */
	for (struct dune_vcpu *c = vm->vcpus; c; c = c->next) {
		struct proc_vcpu *v = proc_vcpu_of(c);

		v->state = STUB_NONE;
	}
	/* The zygote is the parent's: it is only let go of. */
	own_close(&p->socket);
	own_close(&p->zygote);
}

static int proc_prepare(struct dune_vm *vm)
{
	struct proc_vm *p = proc_of(vm);
	int err;

	pthread_mutex_lock(&vm->making);
	if (p->inherited != vm->nslots)
		zygote_end(p);
	err = zygote_ensure(vm);
	pthread_mutex_unlock(&vm->making);
	return err;
}

static int proc_space_init(struct dune_space *s)
{
	(void)s;
	return 0;
}

/* Its pages go back next: no stub may have them any more. */
static void proc_space_fini(struct dune_space *s)
{
	struct proc_vcpu *next;

	for (struct proc_vcpu *c = proc_space_of(s)->stubs; c; c = next) {
		next = c->next;
		stub_kill(c);
		c->space = NULL;
	}
	if (proc_of(s->vm)->frozen == s)
		proc_of(s->vm)->template = proc_of(s->vm)->frozen = NULL;
}

static int proc_freeze(struct dune_space *source)
{
	struct proc_vm *p = proc_of(source->vm);
	int err;

	if (p->frozen)
		return 0;
	pthread_mutex_lock(&source->vm->making);
	p->frozen = source;
	err = zygote_ensure(source->vm);
	if (err)
		p->frozen = NULL;
	pthread_mutex_unlock(&source->vm->making);
	return err;
}

/* The host decides under the space's lock, and nobody else does. */
static void proc_quiesce(struct dune_space *s)
{
	(void)s;
}

/* No processor has ever seen a table. */
static void proc_scrub(struct dune_vm *vm, uint32_t tables, bool root)
{
	while (tables) {
		dune_gpa_t table = dune_gpa((uint64_t)tables * DUNE_PAGE_SIZE);

		tables = vm->arena.pages[tables].next;
		memset(arena_host(&vm->arena, table), 0, DUNE_PAGE_SIZE);
		arena_table_free(vm, root, table);
	}
}

static void proc_leave(struct dune_vcpu *c, struct dune_space *s)
{
	(void)c;
	(void)s;
}

static void proc_interrupt(struct dune_vcpu *c)
{
	if (atomic_load(&c->thread))
		stub_kick(proc_vcpu_of(c));
}

const struct machine_ops process_machine = {
	.machine = DUNE_MACHINE_PROCESS,
	.vm_size = sizeof(struct proc_vm),
	.space_size = sizeof(struct proc_space),
	.vcpu_size = sizeof(struct proc_vcpu),
	.open = proc_open,
	.close = proc_close,
	.fork = proc_fork,
	.forked = proc_forked,
	.block = proc_block,
	.share = proc_share,
	.adopt = proc_adopt,
	.clear = proc_clear,
	.prepare = proc_prepare,
	.reserved = STUB_SIZE,
	.window = proc_window,
	.space_init = proc_space_init,
	.space_fini = proc_space_fini,
	.get = proc_get,
	.set = proc_set,
	.is_synced = proc_is_synced,
	.sync = proc_sync,
	.quiesce = proc_quiesce,
	.scrub = proc_scrub,
	.freeze = proc_freeze,
	.vcpu_init = proc_vcpu_init,
	.vcpu_fini = proc_vcpu_fini,
	.enter = proc_enter,
	.registers = proc_registers,
	.cpu_time = proc_cpu_time,
	.leave = proc_leave,
	.interrupt = proc_interrupt,
};
