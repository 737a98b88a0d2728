/* SPDX-License-Identifier: MIT */
/* vm.c - the virtual machine: made, probed, counted, given back.  World: host. */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "arch/arch.h"
#include "arch/layout.h"
#include "vm/vm.h"

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

static int check_capabilities(struct dune_vm *vm)
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
	vm->info.max_vcpus = n > 0 && n < 1024 ? (unsigned)n : 1024;
	n = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (n < (int)sizeof(struct kvm_run))
		return -ENOTSUP;
	vm->run_size = (size_t)n;
	return 0;
}

static int open_kvm(struct dune_vm *vm)
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
	vm->info.smep = f.smep;
	vm->info.smap = f.smap;
	vm->info.umip = f.umip;
	vm->info.phys_bits = f.phys_bits;
	return 0;
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
	struct mon_vcpu *v = vm->service->mon;

	*ns = UINT64_MAX;
	for (int round = 0; round < 5; round++) {
		uint64_t start = now_ns(), took;
		int err;

		for (unsigned i = 0; i < n; i++)
			v->edits[i] = (struct mon_edit){ .entry = table.v + i * 8 };
		v->nedits = n;
		err = vcpu_apply(vm->service);
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
	struct dune_vcpu *c = vm->service;
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
	switch (dune_vcpu_run(c, s, &f)) {
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

static int start(struct dune_vm *vm, const struct dune_vm_config *cfg)
{
	bool fast = false;
	int err;

	if ((err = open_kvm(vm)) || (err = arena_init(vm, cfg)))
		return err;
	/*
	 * Slots for windows begin above the arena; both must fit the processor's physical
	 * addresses.
	 */
	vm->slot_top = (cfg->size + (1UL << 30) - 1) & ~((1UL << 30) - 1);
	if (vm->slot_top >= 1UL << vm->info.phys_bits)
		return -EINVAL;
	ioctl(vm->vm_fd, KVM_SET_NR_MMU_PAGES,
	      SHADOW_PAGES); /* refused where nothing is shadowed */
	vm->info.placement = DUNE_PLACE_HOST;
	if ((err = dune_page_alloc(vm, &vm->zero_page)) || (err = monmap_init(vm)) ||
	    (err = vcpu_new(vm, &vm->service)) || (err = probe_ring3(vm)) ||
	    (err = probe_ring0(vm, &fast)))
		return err;
	if (cfg->placement == DUNE_PLACE_RING0 || (cfg->placement == DUNE_PLACE_AUTO && fast))
		vm->info.placement = DUNE_PLACE_RING0;
	return 0;
}

int dune_vm_create(struct dune_vm **out, const struct dune_vm_config *cfg)
{
	struct dune_vm *vm;
	int err;

	if (!cfg || !cfg->base || !cfg->size || ((uint64_t)cfg->base | cfg->size) & (PT_HUGE - 1) ||
	    cfg->placement > DUNE_PLACE_RING0 || cfg->kick_signal <= 0)
		return -EINVAL;
	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return -ENOMEM;
	vm->kvm_fd = vm->vm_fd = -1;
	vm->kick_signal = cfg->kick_signal;
	pthread_mutex_init(&vm->lock, NULL);
	pthread_mutex_init(&vm->service_lock, NULL);
	err = start(vm, cfg);
	if (err) {
		dune_vm_destroy(vm);
		return err;
	}
	*out = vm;
	return 0;
}

static bool is_kvms(int err)
{
	return err != EBADF && err != ENOTTY;
}

int vm_error(int err)
{
	return is_kvms(err) ? -err : -EIO;
}

void vm_close(int fd, unsigned long request, void *arg)
{
	if (fd >= 0 && (ioctl(fd, request, arg) >= 0 || is_kvms(errno)))
		close(fd);
}

/* Host memory and descriptors; the guest's memory is not touched. */
static void release(struct dune_vm *vm)
{
	for (struct dune_space *s = vm->spaces, *next; s; s = next) {
		next = s->next;
		free(s->private);
		free(s->edits);
		free(s);
	}
	for (struct dune_vcpu *c = vm->vcpus, *next; c; c = next) {
		next = c->next;
		vcpu_close(c);
	}
	vm_close(vm->vm_fd, KVM_CHECK_EXTENSION, NULL);
	vm_close(vm->kvm_fd, KVM_CHECK_EXTENSION, NULL);
	arena_fini(vm);
	free(vm->slots);
	free(vm->cpuid);
	pthread_mutex_destroy(&vm->lock);
	pthread_mutex_destroy(&vm->service_lock);
	free(vm);
}

void dune_vm_stop(struct dune_vm *vm)
{
	atomic_store(&vm->broken, true);
}

void dune_vm_destroy(struct dune_vm *vm)
{
	char *base;
	size_t size;

	if (!vm)
		return;
	base = vm->arena.base;
	size = vm->arena.size;
	release(vm);
	/* The range stays reserved, its pages go. */
	if (base)
		mmap(base, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
		     -1, 0);
}

void dune_vm_forked(struct dune_vm *vm)
{
	/* These mappings were not inherited; something else may be there already. */
	vm->arena.pages = NULL;
	for (struct dune_vcpu *c = vm->vcpus; c; c = c->next)
		c->run = MAP_FAILED;
	/*
	 * Another thread may have been about to move these: what they point to may be free already.
	 */
	for (struct dune_space *s = vm->spaces; s; s = s->next)
		s->private = NULL;
	vm->slots = NULL;
	run_forked();
	release(vm);
}

void dune_vm_get_info(const struct dune_vm *vm, struct dune_vm_info *out)
{
	*out = vm->info;
}

void dune_vm_get_stats(struct dune_vm *vm, struct dune_vm_stats *out)
{
	struct dune_vm_stats st = { 0 };

	pthread_mutex_lock(&vm->lock);
	for (const struct dune_vcpu *c = vm->vcpus; c; c = c->next) {
		st.world_switches += dune_vcpu_switches(c);
		st.vcpus++;
	}
	st.cow_faults = vm->cow;
	st.demand_faults = vm->demand;
	st.spurious_faults = vm->spurious;
	for (const struct dune_space *s = vm->spaces; s; s = s->next) {
		st.cow_faults += s->cow;
		st.demand_faults += s->demand;
		st.spurious_faults += s->spurious;
		st.spaces++;
	}
	st.edits = vm->edits;
	st.pages_used = vm->arena.used;
	st.pages_total = vm->arena.size / DUNE_PAGE_SIZE;
	st.table_pages = vm->arena.tables;
	st.vcpus_lost = vm->lost;
	st.slots = vm->nslots;
	pthread_mutex_unlock(&vm->lock);
	*out = st;
}
