/* SPDX-License-Identifier: MIT */
/*
 * kvm.round_trip: the least that a run of ring-3 code in a virtual machine can cost.  World: host;
 * the two pieces of assembly run in the guest.
 *
 * A VM of its own, as bare as can be: KVM_RUN, `iretq` to ring 3, `syscall`, a stub in ring 0 that
 * does nothing but OUT, back in this process. To resume, the host points rsp at a frame that lies
 * ready, in the registers that travel in kvm_run: the instruction after the OUT is the `iretq`.
 *
 * Where KVM is hardware virtualization, `syscall` goes to ring 0 at LSTAR. Where it is software
 * (PVM), the processor stays in ring 3 at LSTAR, which is a supervisor page, so that it arrives as
 * a page fault with that address. Both lead to the same stub.
 *
 *   guest-virtual          what                              ring
 *   0x400000               user code                         3
 *   0xffffffff80000000     stub                              0
 *   0xffffffff80001000     GDT, then the frame for iretq     0
 *   0xffffffff80002000     IDT                               0
 *   0xffffffff80003000     TSS, and the stack that it names  0
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/bench.h"

#define PAGE	      4096UL
#define USER	      0x400000UL
#define KERNEL	      0xffffffff80000000UL
#define PORT	      0x80

/* Guest-physical pages, in this order. */
/* clang-format off */
enum {
	P_ROOT, P_LOW3, P_LOW2, P_LOW1, P_HIGH3, P_HIGH2, P_HIGH1,
	P_USER, P_STUB, P_GDT, P_IDT, P_TSS,
	PAGES
};
/* clang-format on */

#define STUB_AT	      KERNEL
#define GDT_AT	      (KERNEL + 1 * PAGE)
#define IDT_AT	      (KERNEL + 2 * PAGE)
#define TSS_AT	      (KERNEL + 3 * PAGE)
#define FRAME_OFF     2048UL /* in the GDT's page */
#define STACK_TOP     (TSS_AT + PAGE)

/* Linux's selectors. */
#define SEL_KERNEL_CS 0x10
#define SEL_TSS	      0x40
#define SEL_USER_DS   0x2b
#define SEL_USER_CS   0x33

__asm__(".pushsection .rodata\n"
	".balign 8\n"
	"floor_user:\n"
	"1:	inc	%rbx\n" /* to see that ring 3 ran, once a trip */
	"	syscall\n"
	"	jmp	1b\n"
	"floor_user_end:\n"
	"floor_stub:\n"
	"	out	%al, $0x80\n" /* PORT */
	"	iretq\n"
	"floor_stub_end:\n"
	".popsection\n");
extern const unsigned char floor_user[], floor_user_end[], floor_stub[], floor_stub_end[];

static unsigned char *memory; /* guest-physical 0 */
static struct kvm_run *run;
static int vcpu = -1;

static uint64_t *words(unsigned page)
{
	return (uint64_t *)(void *)(memory + page * PAGE);
}

#define PTE_P 1UL
#define PTE_W 2UL
#define PTE_U 4UL

static void link_page(unsigned table, unsigned index, unsigned page, uint64_t flags)
{
	words(table)[index] = page * PAGE | flags | PTE_P;
}

static void build_tables(void)
{
	/* 0x400000: indexes 0, 0, 2, 0. 0xffffffff80000000: 511, 510, 0, 0 and on. */
	link_page(P_ROOT, 0, P_LOW3, PTE_W | PTE_U);
	link_page(P_LOW3, 0, P_LOW2, PTE_W | PTE_U);
	link_page(P_LOW2, 2, P_LOW1, PTE_W | PTE_U);
	link_page(P_LOW1, 0, P_USER, PTE_U);
	link_page(P_ROOT, 511, P_HIGH3, PTE_W);
	link_page(P_HIGH3, 510, P_HIGH2, PTE_W);
	link_page(P_HIGH2, 0, P_HIGH1, PTE_W);
	link_page(P_HIGH1, 0, P_STUB, 0);
	link_page(P_HIGH1, 1, P_GDT, PTE_W);
	link_page(P_HIGH1, 2, P_IDT, PTE_W);
	link_page(P_HIGH1, 3, P_TSS, PTE_W);
}

static void build_descriptors(void)
{
	uint64_t *gdt = words(P_GDT), *idt = words(P_IDT), *frame = gdt + FRAME_OFF / 8;
	const uint64_t stack = STACK_TOP;

	gdt[2] = 0x00af9b000000ffff; /* 0x10: ring-0 code */
	gdt[3] = 0x00cf93000000ffff; /* 0x18: ring-0 data */
	gdt[5] = 0x00cff3000000ffff; /* 0x2b: ring-3 data */
	gdt[6] = 0x00affb000000ffff; /* 0x33: ring-3 code */
	gdt[8] = 0x67 | (TSS_AT & 0xffffff) << 16 | 0x8bUL << 40 | (TSS_AT >> 24 & 0xff) << 56;
	gdt[9] = TSS_AT >> 32;

	/*
	 * Every exception to the stub: a page fault is `syscall` on software KVM; of others nothing
	 * is expected.
	 */
	for (unsigned v = 0; v < 256; v++) {
		idt[2 * v] = (STUB_AT & 0xffff) | (uint64_t)SEL_KERNEL_CS << 16 | 0x8eUL << 40 |
			     (STUB_AT >> 16 & 0xffff) << 48;
		idt[2 * v + 1] = STUB_AT >> 32;
	}
	memcpy(memory + P_TSS * PAGE + 4, &stack, sizeof(stack)); /* rsp0 */

	frame[0] = USER;
	frame[1] = SEL_USER_CS;
	frame[2] = 2;
	frame[3] = USER; /* rsp: nothing is pushed */
	frame[4] = SEL_USER_DS;
}

static int set_cpuid(int kvm)
{
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[256];
	} cpuid;

	cpuid.head.nent = 256;
	if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid) || ioctl(vcpu, KVM_SET_CPUID2, &cpuid))
		return -errno;
	return 0;
}

static int set_registers(void)
{
	const struct kvm_segment code = { .limit = 0xffffffff,
					  .selector = SEL_KERNEL_CS,
					  .type = 11,
					  .present = 1,
					  .s = 1,
					  .l = 1,
					  .g = 1 };
	const struct kvm_segment data = { .limit = 0xffffffff,
					  .selector = 0x18,
					  .type = 3,
					  .present = 1,
					  .db = 1,
					  .s = 1,
					  .g = 1 };
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entries[3];
	} msrs = {
		.head.nmsrs = 3,
		.entries = { { .index = 0xc0000081,
			       .data = 0x23UL << 48 | 0x10UL << 32 },	 /* STAR */
			     { .index = 0xc0000082, .data = STUB_AT },	 /* LSTAR */
			     { .index = 0xc0000084, .data = 0x47700 } }, /* FMASK */
	};
	struct kvm_regs regs = { .rip = STUB_AT + 2, .rsp = GDT_AT + FRAME_OFF, .rflags = 2 };
	struct kvm_sregs s;

	if (ioctl(vcpu, KVM_GET_SREGS, &s))
		return -errno;
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.tr = (struct kvm_segment){
		.base = TSS_AT, .limit = 0x67, .selector = SEL_TSS, .type = 11, .present = 1
	};
	s.gdt.base = GDT_AT;
	s.gdt.limit = 10 * 8 - 1;
	s.idt.base = IDT_AT;
	s.idt.limit = PAGE - 1;
	s.cr3 = P_ROOT * PAGE;
	s.cr4 = 1UL << 5 | 1UL << 9 | 1UL << 10; /* PAE, OSFXSR, OSXMMEXCPT */
	s.cr0 = 0x80050033;			 /* PG AM WP NE ET MP PE */
	s.efer = 0xd01;				 /* NXE LMA LME SCE */
	if (ioctl(vcpu, KVM_SET_SREGS, &s) || ioctl(vcpu, KVM_SET_MSRS, &msrs) != 3 ||
	    ioctl(vcpu, KVM_SET_REGS, &regs))
		return errno ? -errno : -EIO;
	return 0;
}

static int create_vm(int kvm)
{
	int vm;

	do
		vm = ioctl(kvm, KVM_CREATE_VM, 0UL);
	while (vm < 0 && errno == EINTR);
	return vm < 0 ? -errno : vm;
}

/* One trip. Afterwards the registers are in run->s.regs.regs. */
static int trip(void)
{
	int r;

	do
		r = ioctl(vcpu, KVM_RUN, 0UL);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	if (run->exit_reason != KVM_EXIT_IO || run->io.port != PORT)
		return -EPROTO;
	return 0;
}

/* The next trip starts at the `iretq`, with the frame that lies ready. */
static void rewind_stub(void)
{
	run->s.regs.regs.rsp = GDT_AT + FRAME_OFF;
	run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
}

/* The VM lasts as long as the process: nothing is undone. */
int setup_floor(void)
{
	struct kvm_userspace_memory_region slot = { .memory_size = PAGES * PAGE };
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm, size, err;

	if (kvm < 0)
		return -errno;
	if (!(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS) & KVM_SYNC_X86_REGS))
		return -ENOTSUP;
	vm = create_vm(kvm);
	if (vm < 0)
		return vm;
	memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		      0);
	if (memory == MAP_FAILED)
		return -errno;
	build_tables();
	build_descriptors();
	memcpy(words(P_USER), floor_user, (size_t)(floor_user_end - floor_user));
	memcpy(words(P_STUB), floor_stub, (size_t)(floor_stub_end - floor_stub));
	slot.userspace_addr = (uintptr_t)memory;
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot))
		return -errno;
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0UL);
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0UL);
	if (vcpu < 0 || size < 0)
		return -errno;
	run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED)
		return -errno;
	err = set_cpuid(kvm);
	if (!err)
		err = set_registers();
	if (err)
		return err;

	run->kvm_valid_regs = KVM_SYNC_X86_REGS;
	err = trip();
	if (err)
		return err;
	/*
	 * A fault switches to the TSS' stack; `syscall` as the hardware does it leaves rsp alone.
	 */
	facts->kvm_software = run->s.regs.regs.rsp >= KERNEL;
	rewind_stub();
	return 0;
}

int sample_round_trip(unsigned n, uint64_t *out)
{
	for (unsigned i = 0; i < n + WARM_UP; i++) {
		uint64_t before = run->s.regs.regs.rbx, start = now_ns(), took;
		int err = trip();

		rewind_stub();
		took = now_ns() - start;
		if (err)
			return err;
		if (run->s.regs.regs.rbx != before + 1)
			return -EPROTO;
		if (i >= WARM_UP)
			out[i - WARM_UP] = took;
	}
	return (int)n;
}
