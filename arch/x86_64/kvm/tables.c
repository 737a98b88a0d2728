/* SPDX-License-Identifier: MIT */
/* tables.c - the descriptor tables of the guest, as bytes.  World: host; pure. */
#include <string.h>

#include "arch/kvm.h"
#include "arch/x86_64/layout.h"

struct gate {
	uint16_t offset_low, selector;
	uint8_t ist, type;
	uint16_t offset_mid;
	uint32_t offset_high, zero;
} __attribute__((packed));

struct tss {
	uint32_t reserved0;
	uint64_t rsp[3];
	uint64_t reserved1;
	uint64_t ist[7];
	uint64_t reserved2;
	uint16_t reserved3, io_bitmap;
} __attribute__((packed));

_Static_assert(sizeof(struct gate) == 16, "IDT gate");
_Static_assert(sizeof(struct tss) == 104, "64-bit TSS");

#define GATE_INTERRUPT 0x8e
#define GATE_RING3     0x60

/* Which interrupt stack a vector takes; 0: the ordinary one. */
static uint8_t ist_of(int vector)
{
	switch (vector) {
	case VECTOR_DF:
		return 1;
	case VECTOR_NMI:
		return 2;
	case VECTOR_MC:
		return 3;
	case VECTOR_DB:
		return 4;
	default:
		return 0;
	}
}

void arch_fill_idt(void *page, uint64_t vectors, uint64_t vectors_ist)
{
	struct gate *gate = page;

	for (int v = 0; v < 256; v++) {
		uint8_t ist = ist_of(v);
		uint64_t to = (ist ? vectors_ist : vectors) + (uint64_t)v * 16;

		/* Ring 3 may raise #BP and #OF by instruction; any other `int n` is #GP. */
		gate[v] = (struct gate){
			.offset_low = (uint16_t)to,
			.selector = SEL_KERNEL_CS,
			.ist = ist,
			.type = GATE_INTERRUPT | (v == VECTOR_BP || v == 4 ? GATE_RING3 : 0),
			.offset_mid = (uint16_t)(to >> 16),
			.offset_high = (uint32_t)(to >> 32),
		};
	}
}

void arch_fill_gdt(void *page, uint64_t at, uint64_t stack_top, uint64_t ist)
{
	uint64_t *gdt = page;
	uint64_t tss_at = at + ARCH_TSS_OFFSET;
	struct tss tss = { .io_bitmap =
				   sizeof(struct tss) }; /* past the limit: every port is denied */

	/*
	 * Accessed bits are set already: the processor never writes here.  There is no 32-bit code
	 * segment.
	 */
	gdt[SEL_KERNEL_CS / 8] = 0x00af9b000000ffff;
	gdt[SEL_KERNEL_DS / 8] = 0x00cf93000000ffff;
	gdt[SEL_USER_DS / 8] = 0x00cff3000000ffff;
	gdt[SEL_USER_CS / 8] = 0x00affb000000ffff;
	gdt[SEL_TSS / 8] = (sizeof(struct tss) - 1) | (tss_at & 0xffffff) << 16 | 0x8bUL << 40 |
			   (tss_at >> 24 & 0xff) << 56;
	gdt[SEL_TSS / 8 + 1] = tss_at >> 32;

	tss.rsp[0] = stack_top;
	for (int i = 0; i < 4; i++)
		tss.ist[i] = ist + (uint64_t)(i + 1) * MON_IST_SIZE;
	memcpy((char *)page + ARCH_TSS_OFFSET, &tss, sizeof(tss));
}
