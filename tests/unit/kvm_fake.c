/* SPDX-License-Identifier: MIT */
/* kvm_fake.c - the ioctls of KVM that vm/ makes, answered here.  World: host, unit tests and fuzzing. */
#include "tests/unit/kvm_fake.h"

#include <stdarg.h>
#include <sys/mman.h>

#include "arch/kvm.h"
#include "arch/layout.h"
#include "tests/test.h"

#define CPUS	 64
#define RUN_SIZE 12288
#define STUB	 (MON_BASE + 0x1000) /* somewhere in the monitor */

int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_open64(const char *path, int flags, ...);
int __real_open64(const char *path, int flags, ...);

const struct mon_header monitor_blob[2] = { {
	.magic = MON_MAGIC,
	.vectors_host = MON_BASE + 0x2000,
	.vectors_ring0 = MON_BASE + 0x3000,
	.apply = MON_BASE + 0x1100,
	.resume_frame = MON_BASE + 0x1200,
	.restore = MON_BASE + 0x1300,
	.resume = MON_BASE + 0x1400,
	.text = MON_BASE + 0x1000,
	.entry = MON_BASE + 0x4000,
	.end = MON_BASE + 0x5000,
} };
/* The image ends where the header does. */
__asm__(".globl monitor_blob_end\n.set monitor_blob_end, monitor_blob + 96");
_Static_assert(sizeof(struct mon_header) == 96, "where monitor_blob_end is");

const struct machine_ops *const machines[] = { &kvm_machine, NULL };
int (*fake_guest)(struct fake_cpu *c);

static struct fake_cpu cpus[CPUS];
static unsigned ncpus;
static char *memory; /* guest-physical 0 */
static uint64_t monitor_root;

void *fake_physical(uint64_t gpa)
{
	return memory + gpa;
}

/* An address of the monitor, which all roots map alike. */
static void *monitor_at(uint64_t at)
{
	uint64_t table = monitor_root;

	for (int level = PT_LEVELS; level; level--) {
		uint64_t e = ((uint64_t *)fake_physical(table))[at >> (3 + 9 * level) & (PT_ENTRIES - 1)];

		CHECK_MSG(e & PT_P, "%#lx of the monitor is not mapped", at);
		table = e & PT_ADDR;
	}
	return fake_physical(table + at % DUNE_PAGE_SIZE);
}

static int create_vcpu(void)
{
	struct fake_cpu *c = &cpus[ncpus++];

	CHECK_LE(ncpus, CPUS);
	c->fd = memfd_create("vcpu", MFD_CLOEXEC);
	CHECK(c->fd >= 0 && !ftruncate(c->fd, RUN_SIZE));
	c->run = mmap(NULL, RUN_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
	CHECK(c->run != MAP_FAILED);
	return c->fd;
}

void fake_forget(void)
{
	while (ncpus)
		munmap(cpus[--ncpus].run, RUN_SIZE);
	memory = NULL;
}

/* ---- a run ---- */

/* What ring0_apply() does. */
static void apply(struct mon_vcpu *v)
{
	v->cr3 = 0;
	CHECK_LE(v->nedits, MON_EDITS);
	for (uint32_t i = 0; i < v->nedits; i++)
		for (uint64_t k = 0; k <= v->edits[i].more; k++)
			*(uint64_t *)fake_physical(v->edits[i].entry + k * 8) = v->edits[i].value;
	v->nedits = v->flush = 0;
}

static int leave(struct fake_cpu *c, uint64_t rsp)
{
	c->run->s.regs.regs.rip = STUB;
	c->run->s.regs.regs.rsp = rsp;
	c->run->exit_reason = KVM_EXIT_IO;
	c->run->io.port = MON_PORT;
	return 0;
}

int fake_leave_stub(struct fake_cpu *c, const struct dune_frame *f)
{
	uint64_t rsp = MON_AREA_STACK_TOP - 7 * 8;

	memcpy(c->stack + (rsp - MON_AREA_STACK), &f->vector, 7 * 8);
	arch_regs_set(c->run, f, 0, 0);
	c->run->s.regs.sregs.cr2 = f->cr2;
	c->mon->exit = MON_EXIT_NONE;
	return leave(c, c->area + rsp);
}

int fake_leave_monitor(struct fake_cpu *c, const struct dune_frame *f, enum mon_exit exit)
{
	uint64_t rsp = MON_AREA_STACK_TOP - offsetof(struct dune_frame, cr2);

	memcpy(c->stack + (rsp - MON_AREA_STACK), f, sizeof(*f));
	c->mon->exit = exit;
	return leave(c, c->area + rsp);
}

static int run(struct fake_cpu *c)
{
	const struct dune_frame call = { .vector = VECTOR_SYSCALL, .cs = SEL_USER_CS, .ss = SEL_USER_DS };
	bool dirty = c->run->kvm_dirty_regs & KVM_SYNC_X86_REGS;
	uint64_t rip = dirty ? c->run->s.regs.regs.rip : STUB;

	c->told = dirty;
	if (dirty)
		c->area = c->run->s.regs.regs.rsp & ~(uint64_t)(MON_AREA_SIZE - 1);
	c->mon = monitor_at(c->area + MON_AREA_VCPU);
	c->stack = monitor_at(c->area + MON_AREA_STACK);
	c->run->s.regs.sregs.cs.selector = SEL_KERNEL_CS;
	if (c->run->immediate_exit) {
		errno = EINTR;
		return -1;
	}
	c->run->kvm_dirty_regs = 0;
	c->run->s.regs.regs.rip = STUB;
	if (rip == monitor_blob->apply) {
		apply(c->mon);
		return fake_leave_monitor(c, &call, MON_EXIT_APPLIED);
	}
	if (rip == monitor_blob->resume_frame)
		apply(c->mon);
	return fake_guest ? fake_guest(c) : fake_leave_stub(c, &call);
}

/* ---- the calls of the kernel ---- */

/* open(), by the name that programs built for large files call. */
int __wrap_open64(const char *path, int flags, ...)
{
	va_list ap;
	int mode;

	if (!strcmp(path, "/dev/kvm"))
		return memfd_create("kvm", MFD_CLOEXEC);
	va_start(ap, flags);
	mode = flags & O_CREAT ? va_arg(ap, int) : 0;
	va_end(ap);
	return __real_open64(path, flags, mode);
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	const struct kvm_userspace_memory_region *slot;
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	switch (request) {
	case KVM_GET_API_VERSION:
		return KVM_API_VERSION;
	case KVM_CHECK_EXTENSION:
		return (uintptr_t)arg == KVM_CAP_MAX_VCPUS ? CPUS : 1024;
	case KVM_GET_VCPU_MMAP_SIZE:
		return RUN_SIZE;
	case KVM_GET_SUPPORTED_CPUID:
		((struct kvm_cpuid2 *)arg)->nent = 0;
		return 0;
	case KVM_CREATE_VM:
		return memfd_create("vm", MFD_CLOEXEC);
	case KVM_SET_USER_MEMORY_REGION:
		slot = arg;
		if (!slot->guest_phys_addr)
			memory = (char *)slot->userspace_addr; /* NOLINT(performance-no-int-to-ptr) */
		return 0;
	case KVM_CREATE_VCPU:
		return create_vcpu();
	case KVM_GET_SREGS:
		memset(arg, 0, sizeof(struct kvm_sregs));
		return 0;
	case KVM_SET_SREGS:
		monitor_root = ((struct kvm_sregs *)arg)->cr3;
		return 0;
	case KVM_SET_MSRS:
		return (int)((struct kvm_msrs *)arg)->nmsrs;
	case KVM_SET_NR_MMU_PAGES:
	case KVM_SET_CPUID2:
	case KVM_SET_REGS:
	case KVM_SET_DEVICE_ATTR:
	case KVM_GET_MP_STATE:
		return 0;
	case KVM_RUN:
		for (unsigned i = 0; i < ncpus; i++)
			if (cpus[i].fd == fd)
				return run(&cpus[i]);
		break;
	default:
		break;
	}
	FAIL("ioctl %#lx on %d", request, fd);
}
