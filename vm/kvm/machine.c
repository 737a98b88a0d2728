/* SPDX-License-Identifier: MIT */
/* machine.c - KVM as a machine: opened, probed, closed.  World: host. */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "arch/kvm.h"
#include "arch/layout.h"
#include "vm/kvm/kvm.h"

/*
 * How many shadow pages the host kernel may keep where it shadows: some ten for each of 10,000
 * spaces.
 */
#define SHADOW_PAGES 131072UL
/*
 * Deciding a fault takes ring 0 some hundreds of instructions; an edit some twenty.  Worth it below
 * this.
 */
#define FAST_EDIT_NS 2000

static int check_capabilities(struct kvm_vm *vm)
{
	static const struct {
		int cap, least;
	} needed[] = {
		{ KVM_CAP_USER_MEMORY, 1 },	{ KVM_CAP_READONLY_MEM, 1 },
		{ KVM_CAP_IMMEDIATE_EXIT, 1 },	{ KVM_CAP_SYNC_REGS, 7 },
		{ KVM_CAP_VCPU_ATTRIBUTES, 1 }, { KVM_CAP_NR_MEMSLOTS, 512 },
	};
	int n;

	if (ioctl(vm->kvm_fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) {
		close(vm->kvm_fd); /* whatever it is: nobody else has it yet */
		vm->kvm_fd = -1;
		return -ENOTSUP;
	}
	for (size_t i = 0; i < sizeof(needed) / sizeof(*needed); i++) {
		n = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, needed[i].cap);
		if (n < needed[i].least)
			return -ENOTSUP;
	}
	n = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
	/* The areas of the upper half have room for this many. */
	vm->vm.info.max_vcpus = n > 0 && n < 1024 ? (unsigned)n : 1024;
	n = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (n < (int)sizeof(struct kvm_run))
		return -ENOTSUP;
	vm->run_size = (size_t)n;
	return 0;
}

static int open_both(struct kvm_vm *vm)
{
	struct arch_features f;
	int err, tries = 100;

	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0)
		return errno == EPERM			 ? -EACCES :
		       errno == ENODEV || errno == ENXIO ? -ENOENT :
							   -errno;
	if ((err = check_capabilities(vm)) || (err = arch_cpuid(vm->kvm_fd, &vm->cpuid)))
		return err;
	do {
		vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0UL);
	} while (vm->vm_fd < 0 && errno == EINTR && tries--);
	if (vm->vm_fd < 0)
		return -errno;
	fcntl(vm->vm_fd, F_SETFD, FD_CLOEXEC);
	arch_cpuid_features(vm->cpuid, &f);
	vm->vm.info.smep = f.smep;
	vm->vm.info.smap = f.smap;
	vm->vm.info.umip = f.umip;
	vm->vm.info.phys_bits = f.phys_bits;
	return 0;
}

static int open_kvm(struct kvm_vm *vm)
{
	struct standard held;
	int err;

	standard_hold(&held);
	err = open_both(vm);
	standard_release(&held);
	return err;
}

/* ---- probes: what this host really does ---- */

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* The least time that ring 0 takes for `n` edits of an unused table. */
static int time_edits(struct dune_vm *vm, dune_gpa_t table, unsigned n, uint64_t *ns)
{
	struct kvm_vcpu *service = kvm_of(vm)->service;
	struct mon_vcpu *v = service->mon;

	*ns = UINT64_MAX;
	for (int round = 0; round < 5; round++) {
		uint64_t start = now_ns(), took;
		int err;

		for (unsigned i = 0; i < n; i++)
			v->edits[i] = (struct mon_edit){ .entry = table.v + i * 8 };
		v->nedits = n;
		err = kvm_apply(service);
		if (err)
			return err;
		took = now_ns() - start;
		*ns = took < *ns ? took : *ns;
	}
	return 0;
}

static int probe_ring0(struct dune_vm *vm, bool *fast)
{
	uint64_t none, many;
	dune_gpa_t table;
	int err = arena_table_alloc(vm, false, &table);

	if (err)
		return err;
	if (!(err = time_edits(vm, table, 0, &none)) && !(err = time_edits(vm, table, MON_EDITS, &many)))
		*fast = many < none + MON_EDITS * FAST_EDIT_NS;
	arena_table_free(vm, false, table);
	return err;
}

/* Run the probe code in ring 3 once: which registers it has, and how its system call arrives. */
static int probe_ring3(struct dune_vm *vm)
{
	const dune_gva_t at = dune_gva(0x10000), stack = dune_gva(0x20000);
	struct kvm_vcpu *c = kvm_of(vm)->service;
	struct dune_frame f = { .rip = at.v, .rsp = stack.v + DUNE_PAGE_SIZE };
	struct dune_space *s;
	dune_gpa_t page;
	int err = dune_space_create(vm, &s);

	if (err)
		return err;
	if ((err = dune_page_alloc(vm, &page)))
		goto out;
	memcpy(dune_page_host(vm, page), arch_probe_start,
	       (size_t)(arch_probe_end - arch_probe_start));
	if ((err = dune_vm_map(s, at, page, DUNE_PAGE_SIZE, DUNE_READ | DUNE_EXEC | DUNE_OWNED))) {
		dune_page_put(vm, page);
		goto out;
	}
	/* Not yet known: a fault that looks like a system call is passed on as the fault it is. */
	c->mon->syscall_fault = 0;
	switch (dune_vcpu_run(&c->c, s, &f)) {
	case DUNE_EXIT_SYSCALL:
		break;
	case DUNE_EXIT_FAULT:
		c->mon->syscall_fault = c->syscall_entry;
		vm->info.syscall_faults = mon_frame_syscall(&f, c->syscall_entry);
		err = vm->info.syscall_faults ? 0 : -ENOTSUP;
		break;
	default:
		err = -ENOTSUP;
	}
	vm->info.xcr0 = f.rsi << 32 | (uint32_t)f.rdi;
out:
	dune_vm_free(s);
	return err;
}

/* ---- life ---- */

static int back_arena(struct dune_vm *vm, const struct dune_vm_config *cfg)
{
	if (mprotect(cfg->base, cfg->size, PROT_READ | PROT_WRITE))
		return -errno;
	/*
	 * A fork would share pages that are being written, a core dump would hold every
	 * compartment.
	 */
	if (madvise(cfg->base, cfg->size, MADV_DONTFORK) ||
	    madvise(cfg->base, cfg->size, MADV_DONTDUMP))
		return -errno;
	/* A first touch of each 4 KiB would cost the runs more than all else that makes them cold. */
	madvise(cfg->base, cfg->size, MADV_HUGEPAGE);
	return arena_init(vm, false);
}

static int make_service(struct dune_vm *vm)
{
	struct dune_vcpu *c;
	int err = vcpu_new(vm, &c);

	if (!err)
		kvm_of(vm)->service = kvm_vcpu_of(c);
	return err;
}

static int kvm_open(struct dune_vm *vm, const struct dune_vm_config *cfg)
{
	struct kvm_vm *kvm = kvm_of(vm);
	bool fast = false;
	int err;

	kvm->kvm_fd = kvm->vm_fd = -1;
	if ((err = open_kvm(kvm)) || (err = back_arena(vm, cfg)))
		return err;
	/*
	 * Slots for windows begin above the arena; both must fit the processor's physical
	 * addresses.
	 */
	if (vm->slot_top >= 1UL << vm->info.phys_bits)
		return -EINVAL;
	ioctl(kvm->vm_fd, KVM_SET_NR_MMU_PAGES,
	      SHADOW_PAGES); /* refused where nothing is shadowed */
	vm->info.placement = DUNE_PLACE_HOST;
	vm->info.kick_signals = true;
	if ((err = dune_page_alloc(vm, &vm->zero_page)) || (err = monmap_init(kvm)) ||
	    (err = make_service(vm)) || (err = probe_ring3(vm)) || (err = probe_ring0(vm, &fast)))
		return err;
	if (cfg->placement == DUNE_PLACE_RING0 || (cfg->placement == DUNE_PLACE_AUTO && fast))
		vm->info.placement = DUNE_PLACE_RING0;
	vm->one_runner = vm->info.placement == DUNE_PLACE_RING0; /* it changes tables without a lock */
	return 0;
}

static bool is_kvms(int err)
{
	return err != EBADF && err != ENOTTY;
}

int kvm_error(int err)
{
	return is_kvms(err) ? -err : -EIO;
}

void kvm_close(int fd, unsigned long request, void *arg)
{
	if (fd >= 0 && (ioctl(fd, request, arg) >= 0 || is_kvms(errno)))
		close(fd);
}

static void kvm_machine_close(struct dune_vm *vm)
{
	struct kvm_vm *kvm = kvm_of(vm);

	kvm_close(kvm->vm_fd, KVM_CHECK_EXTENSION, NULL);
	kvm_close(kvm->kvm_fd, KVM_CHECK_EXTENSION, NULL);
	free(kvm->cpuid);
}

/* The mappings were not inherited; something else may be there already. */
static void kvm_forked(struct dune_vm *vm)
{
	for (struct dune_vcpu *c = vm->vcpus; c; c = c->next)
		kvm_vcpu_of(c)->run = MAP_FAILED;
}

static int kvm_window(struct dune_vm *vm, const struct slot *slot)
{
	struct kvm_userspace_memory_region region = {
		.slot = (uint32_t)vm->nslots,
		.flags = slot->readonly ? KVM_MEM_READONLY : 0,
		.guest_phys_addr = slot->gpa,
		.memory_size = slot->len,
		.userspace_addr = slot->hva,
	};

	return ioctl(kvm_of(vm)->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0 ? kvm_error(errno) : 0;
}

/* Memory of the process is seen as it is. */
static int kvm_share(struct dune_vm *vm, void *addr, size_t len)
{
	(void)vm, (void)addr, (void)len;
	return 0;
}

/* Fresh memory without access in its place, in one step, so that nothing else can ever be there. */
static int kvm_clear(struct dune_vm *vm, void *addr, size_t len)
{
	(void)vm;
	if (mmap(addr, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != addr)
		return -errno;
	return madvise(addr, len, MADV_DONTFORK) || madvise(addr, len, MADV_DONTDUMP) ? -errno : 0;
}

static int kvm_prepare(struct dune_vm *vm)
{
	(void)vm;
	return 0;
}

static int kvm_freeze(struct dune_space *source)
{
	(void)source;
	return 0;
}

static int kvm_space_init(struct dune_space *s)
{
	const struct arena *a = &s->vm->arena;
	const uint64_t *monitor = arena_host(a, kvm_of(s->vm)->mon.root);
	uint64_t *root = arena_host(a, s->pt.root);
	int err = edits_init(s);

	if (!err)
		root[PT_ENTRIES - 1] = monitor[PT_ENTRIES - 1];
	return err;
}

const struct machine_ops kvm_machine = {
	.machine = DUNE_MACHINE_KVM,
	.vm_size = sizeof(struct kvm_vm),
	.space_size = sizeof(struct kvm_space),
	.vcpu_size = sizeof(struct kvm_vcpu),
	.open = kvm_open,
	.close = kvm_machine_close,
	.forked = kvm_forked,
	.share = kvm_share,
	.adopt = kvm_share,
	.clear = kvm_clear,
	.prepare = kvm_prepare,
	.window = kvm_window,
	.space_init = kvm_space_init,
	.space_fini = edits_fini,
	.get = edits_get,
	.set = edits_set,
	.is_synced = edits_none,
	.sync = edits_flush,
	.quiesce = kvm_quiesce,
	.scrub = edits_scrub,
	.freeze = kvm_freeze,
	.vcpus_last = true,
	.vcpu_init = kvm_vcpu_init,
	.vcpu_fini = kvm_vcpu_fini,
	.enter = kvm_enter,
	.leave = kvm_leave,
	.interrupt = kvm_interrupt,
};
