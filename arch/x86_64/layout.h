/* SPDX-License-Identifier: MIT */
/*
 * layout.h - where the monitor lies in the upper half of every address space, and the selectors of
 * the guest. World: host, ring 0, assembly.
 *
 *   ffffffff80000000  image: header and constants (read), then text (execute)
 *   ffffffff80100000  two IDTs: every trap leaves at once; ring 0 decides first (read)
 *   ffffffff80200000  the page-table pages that map the areas below (write): how ring 0 moves its windows
 *   ffffffffc0000000  one area of 64 KiB per vCPU:
 *
 *        +0000  hole
 *        +1000  entry: the page of text that `syscall` enters, at another address in every area, so that it
 *               finds its vCPU's data relative to the instruction pointer and trusts no register of ring 3
 *        +2000  vcpu: struct mon_vcpu, shared with the host; at +2c00 GDT and TSS; at +2e00 the stacks of
 *               #DF, NMI, #MC and #DB, 128 bytes each: their stubs push two words and leave (write)
 *        +3000  hole
 *        +4000  stack of all other entries, 4 KiB; the trap frame is at its top (write)
 *        +5000  hole
 *        +9000  windows: a table, a source page, a destination page, the space's state
 *        +d000  hole
 *
 * All of it is supervisor-only; nothing is both writable and executable.
 */
#ifndef ARCH_X86_64_LAYOUT_H
#define ARCH_X86_64_LAYOUT_H

#define MON_BASE 0xffffffff80000000
#define MON_IDT_HOST 0xffffffff80100000
#define MON_IDT_RING0 0xffffffff80101000
#define MON_AREA_TABLES 0xffffffff80200000
#define MON_AREAS 0xffffffffc0000000

#define MON_AREA_SIZE 0x10000
#define MON_AREA_ENTRY 0x1000
#define MON_AREA_VCPU 0x2000
#define MON_AREA_VCPU_END 0x2c00
#define MON_AREA_GDT 0x2c00
#define MON_AREA_IST 0x2e00
#define MON_AREA_IST_END 0x3000
#define MON_AREA_STACK 0x4000
#define MON_AREA_STACK_TOP 0x4ff0 /* above it the last word of the frame, cr2 */
#define MON_AREA_WINDOWS 0x9000

/* In struct mon_vcpu, and a value of its `exit`. */
#define MON_VCPU_EXIT 8
#define MON_VCPU_KICK 12
#define MON_VCPU_KICKED 5

#define MON_WINDOW_TABLE 0
#define MON_WINDOW_SOURCE 1
#define MON_WINDOW_DEST 2
#define MON_WINDOW_SPACE 3

#define MON_IST_SIZE 128

#define SEL_KERNEL_CS 0x10
#define SEL_KERNEL_DS 0x18
#define SEL_USER_DS 0x2b
#define SEL_USER_CS 0x33
#define SEL_TSS 0x40

/*
 * The port of the only OUT in the monitor.  Ring 3 cannot execute OUT: IOPL is 0 and the bitmap
 * past the limit.
 */
#define MON_PORT 0x5d

#define VECTOR_DB 1
#define VECTOR_NMI 2
#define VECTOR_BP 3
#define VECTOR_DF 8
#define VECTOR_GP 13
#define VECTOR_PF 14
#define VECTOR_MC 18
#define VECTOR_SYSCALL 256

/* Flags that ring 3 may have: CF PF AF ZF SF DF OF AC.  Bit 1 is always set. */
#define FLAGS_USER 0x40cd5
#define FLAGS_FIXED 0x2
/* Cleared by `syscall`: TF IF DF IOPL NT RF AC. */
#define FLAGS_SYSCALL_CLEARS 0x57700

#endif
