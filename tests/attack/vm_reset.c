/* SPDX-License-Identifier: MIT */
/*
 * What one compartment leaves in the registers, the next one that enters through dune_reset_entry does not find:
 * x87, SSE, AVX, AVX-512 and tile state, control words, flags, bases and selectors, general registers.
 * World: host; the routines: ring 3.
 */
#include <link.h>

#include "arch/layout.h"
#include "tests/guest.h"

#define DIRTY	  0x13000000UL
#define FS_BASE	  0x12000800UL
#define AREA	  0x17000000UL
#define AREA_SIZE (4 * 4096UL)

#define X87	  1UL
#define SSE	  2UL
#define AVX	  4UL
#define AVX512	  0xe0UL
#define TILES	  0x60000UL

/* rdi: XCR0.  Fills all there is with ones and twos, then done. */
__asm__(".pushsection .rodata\n"
	"dirty_start:\n"
	"	mov %rdi, %r15\n"
	"	finit\n	fld1\n	fldpi\n	fld1\n"
	"	movw $0x0c7f, -8(%rsp)\n	fldcw -8(%rsp)\n"
	"	movl $0xff80, -8(%rsp)\n	ldmxcsr -8(%rsp)\n"
	"	movabs $0x5ec2e75ec2e75ec2, %rax\n"
	"	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	movq %rax, %xmm\\n\n	punpcklqdq %xmm\\n, %xmm\\n\n"
	"	.endr\n"
	"	test $4, %r15d\n	jz 1f\n"
	"	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	vinsertf128 $1, %xmm\\n, %ymm\\n, %ymm\\n\n"
	"	.endr\n"
	"1:	mov %r15d, %eax\n	and $0xe0, %eax\n	cmp $0xe0, %eax\n	jne 1f\n"
	"	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
	"	vpbroadcastq %xmm\\n, %zmm\\n\n"
	"	.endr\n"
	"	.irp n, 16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
	"	vmovdqa64 %zmm0, %zmm\\n\n"
	"	.endr\n"
	"	.irp n, 0,1,2,3,4,5,6,7\n"
	"	kmovw %eax, %k\\n\n"
	"	.endr\n"
	"1:	mov $0x2b, %eax\n	mov %eax, %ds\n	mov %eax, %es\n	mov %eax, %fs\n	mov %eax, %gs\n"
	"	movabs $0x7ee7ee7ee7e0, %rax\n	wrfsbase %rax\n	wrgsbase %rax\n"
	"	.irp r, rbx,rcx,rdx,rsi,rbp,r8,r9,r10,r12,r13,r14\n	mov %rax, %\\r\n	.endr\n"
	"	test $0x20000, %r15d\n	jz 1f\n"
	"	mov $1001, %eax\n	syscall\n" /* tiles come next: they may be refused */
	"	lea 2f(%rip), %rax\n"
	"	.byte 0xc4, 0xe2, 0x78, 0x49, 0x00\n" /* ldtilecfg (%rax) */
	"	lea 3f(%rip), %rax\n	mov $64, %ebx\n"
	"	.byte 0xc4, 0xe2, 0x7b, 0x4b, 0x04, 0x18\n"	 /* tileloadd (%rax,%rbx), %tmm0 */
	"1:	pushfq\n	orl $0x40c01, (%rsp)\n	popfq\n" /* CF DF OF AC */
	"	mov $1000, %eax\n	syscall\n	ud2\n"
	"	.balign 64\n"
	"2:	.byte 1, 0\n	.zero 14\n	.word 64\n	.zero 30\n	.byte 16\n	.zero 15\n"
	"3:	.fill 1024, 1, 0x5e\n"
	"dirty_end:\n"
	/* Mapped where nothing of it is needed but its bytes: stores what it finds at rdi, returns 77. */
	"seen_start:\n"
	"	mov %rbx, 0x12000000\n	mov %rcx, 0x12000008\n	mov %rdx, 0x12000010\n	mov %rsi, 0x12000018\n"
	"	mov %rbp, 0x12000020\n	mov %r8, 0x12000028\n	mov %r9, 0x12000030\n	mov %r10, 0x12000038\n"
	"	mov %r12, 0x12000040\n	mov %r13, 0x12000048\n	mov %r14, 0x12000050\n	mov %r15, 0x12000058\n"
	"	mov %rax, 0x12000060\n"
	"	pushfq\n	pop %rax\n	mov %rax, 0x12000068\n"
	"	rdfsbase %rax\n	mov %rax, 0x12000070\n"
	"	rdgsbase %rax\n	mov %rax, 0x12000078\n"
	"	xor %eax, %eax\n	mov %ds, %ax\n	shl $16, %rax\n	mov %es, %ax\n	shl $16, %rax\n"
	"	mov %fs, %ax\n	shl $16, %rax\n	mov %gs, %ax\n	mov %rax, 0x12000080\n"
	"	mov $-1, %eax\n	mov $-1, %edx\n"
	"	xsave64 (%rdi)\n"
	"	mov $77, %eax\n	ret\n"
	"seen_end:\n"
	".popsection\n");
extern const char dirty_start[], dirty_end[], seen_start[], seen_end[];
#define SEEN 0x18000000UL

static struct dune_vcpu *c;

/* The read-only segments of this program, at their own addresses: the trampoline and its constants are in them. */
static int map_segments(struct dl_phdr_info *info, size_t size, void *ctx)
{
	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uint64_t from = (info->dlpi_addr + ph->p_vaddr) & ~(DUNE_PAGE_SIZE - 1);
		uint64_t to = (info->dlpi_addr + ph->p_vaddr + ph->p_memsz + DUNE_PAGE_SIZE - 1) &
			      ~(DUNE_PAGE_SIZE - 1);
		dune_gpa_t pages;

		if (ph->p_type != PT_LOAD || (ph->p_flags & PF_W))
			continue;
		CHECK_OK(dune_slot_add(guest_vm, (void *)from, to - from, &pages));
		CHECK_OK(dune_vm_map(ctx, dune_gva(from), pages, to - from,
				     ph->p_flags & PF_X ? RX : RO));
	}
	return 1; /* the program is the first */
}

static struct dune_space *space(void)
{
	struct dune_space *s = guest_space();

	CHECK_EQ(dl_iterate_phdr(map_segments, s), 1);
	guest_map_code(s, DIRTY, dirty_start, dirty_end);
	guest_map_code(s, SEEN, seen_start, seen_end);
	for (uint64_t at = 0; at < AREA_SIZE; at += DUNE_PAGE_SIZE)
		guest_map(s, AREA + at, 0, RW);
	return s;
}

/* Runs `where` through the trampoline or straight to it, and copies out what it found. */
static void look(struct dune_space *s, bool reset, uint64_t regs[17], uint8_t area[AREA_SIZE])
{
	struct dune_frame f = { .rsp = GUEST_STACK_TOP - 8, .rdi = AREA };
	enum dune_exit e;

	for (uint64_t at = 0; at < AREA_SIZE; at += DUNE_PAGE_SIZE) {
		struct dune_leaf leaf;

		CHECK_OK(dune_vm_lookup(s, dune_gva(AREA + at), &leaf));
		memset(dune_page_host(guest_vm, leaf.page), 0, DUNE_PAGE_SIZE);
	}
	if (reset) {
		f.rip = (uint64_t)dune_reset_entry;
		f.rdx = SEEN;
		f.rcx = FS_BASE;
		f.rsp += 8;
	} else {
		struct dune_leaf leaf;

		/* Returns to a done. */
		CHECK_OK(dune_vm_lookup(s, dune_gva(GUEST_STACK_TOP - 8), &leaf));
		*(uint64_t *)((char *)dune_page_host(guest_vm, leaf.page) + 4096 - 8) =
			guest_at(guest_r_nop);
		f.rip = SEEN;
	}
	e = dune_vcpu_run(c, s, &f);
	CHECK_MSG(e == DUNE_EXIT_SYSCALL, "%s", guest_exit_text(e, &f));
	if (reset) {
		CHECK_EQ(f.rax, DUNE_SYS_RETURN);
		CHECK_EQ(f.rdi, 77);
	}
	memcpy(regs, (void *)guest_shared(s), 17 * 8);
	for (uint64_t at = 0; at < AREA_SIZE; at += DUNE_PAGE_SIZE) {
		struct dune_leaf leaf;

		CHECK_OK(dune_vm_lookup(s, dune_gva(AREA + at), &leaf));
		memcpy(area + at, dune_page_host(guest_vm, leaf.page), DUNE_PAGE_SIZE);
	}
}

/* The components that are not in their initial state. */
static uint64_t in_use(const uint8_t area[AREA_SIZE])
{
	uint64_t bits;

	memcpy(&bits, area + 512, 8);
	return bits;
}

static bool holds(const uint8_t *area, uint64_t value)
{
	return memmem(area, AREA_SIZE, &value, 8);
}

/* Everything is used; how much of it that was. */
static uint64_t soil(struct dune_space *s)
{
	struct dune_frame f = { .rip = DIRTY, .rsp = GUEST_STACK_TOP, .rdi = guest_info.xcr0 };
	bool tiles = guest_info.xcr0 & 0x20000;
	enum dune_exit e = dune_vcpu_run(c, s, &f);

	if (tiles) {
		CHECK_MSG(e == DUNE_EXIT_SYSCALL && f.rax == 1001, "%s", guest_exit_text(e, &f));
		e = dune_vcpu_run(c, s, &f);
		if (e == DUNE_EXIT_FAULT && (f.vector == 7 || f.vector == 6)) {
			NOTE("no tiles: %s", guest_exit_text(e, &f));
			return guest_info.xcr0 & ~TILES;
		}
	}
	CHECK_MSG(e == DUNE_EXIT_SYSCALL && f.rax == GUEST_DONE, "%s", guest_exit_text(e, &f));
	return guest_info.xcr0;
}

int main(void)
{
	static uint8_t area[AREA_SIZE];
	struct dune_space *first, *second;
	uint64_t regs[17], used;

	guest_start(64UL << 20);
	NOTE("XCR0 %#" PRIx64, guest_info.xcr0);
	c = guest_vcpu();
	first = space();
	second = space();

	/* The twin: who is not put through the trampoline does find it, in another space too. */
	used = soil(first);
	look(second, false, regs, area);
	CHECK(holds(area, 0x5ec2e75ec2e75ec2));
	NOTE("components in use: %#" PRIx64, in_use(area));
	CHECK_EQ(in_use(area) & (X87 | SSE), X87 | SSE);
	if (used & AVX)
		CHECK(in_use(area) & AVX);
	if ((used & AVX512) == AVX512)
		CHECK_EQ(in_use(area) & AVX512, AVX512);
	if (used & TILES)
		CHECK_EQ(in_use(area) & TILES, TILES);
	CHECK_EQ(regs[14], 0x7ee7ee7ee7e0);
	CHECK_EQ(regs[15], 0x7ee7ee7ee7e0);
	CHECK_NE(regs[16], 0);

	for (int round = 0; round < 20; round++) {
		soil(first);
		look(second, true, regs, area);
		/* General registers: nothing but the trampoline's own; flags clear. */
		for (int i = 0; i < 13; i++)
			CHECK_MSG(regs[i] == 0, "register %d is %#" PRIx64, i, regs[i]);
		CHECK_EQ(regs[13] & 0x7cc08, 0); /* NT RF VM AC, IOPL */
		CHECK_EQ(regs[13] & 0xd01, 0);	 /* OF DF TF CF */
		CHECK_EQ(regs[14], FS_BASE);
		CHECK_EQ(regs[15], 0);
		CHECK_EQ(regs[16], 0);
		/* By content: QEMU has every component in use, always. */
		CHECK_EQ(*(uint16_t *)area, 0x37f);	    /* FCW */
		CHECK_EQ(*(uint16_t *)(area + 2), 0);	    /* FSW */
		CHECK_EQ(area[4], 0);			    /* no register of the stack in use */
		CHECK_EQ(*(uint32_t *)(area + 24), 0x1f80); /* MXCSR */
		for (size_t i = 32; i < 32 + 24 * 16; i++)
			CHECK_EQ(area[i], 0);
		for (size_t i = 576; i < AREA_SIZE; i++)
			CHECK_EQ(area[i], 0);
	}
	guest_stop();
	return 0;
}
