/* SPDX-License-Identifier: MIT */
/* frame.c - frames that ring 3 left: what comes back is fit for ring 3, and nothing else.  World: host, fuzzing. */
#include "tests/fuzz/fuzz.h"
#include "vm/monitor/monitor.h"

#define ENTRY 0xffffffffc0011000UL
#define FIT   (0x400UL | 0x40000UL | 0x8d5UL | 2) /* DF, AC, the arithmetic flags, the one that is always set */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = { data, len };
	uint8_t shape = (uint8_t)take(&in, 1);
	struct dune_frame f = { 0 }, was;
	uint64_t *w = (uint64_t *)&f;

	for (size_t i = 0; i < sizeof(f) / 8; i++)
		w[i] = take(&in, 8);
	if (shape & 1)
		f.rip &= DUNE_USER_END - 1;
	if (shape & 2)
		f.vector = 14, f.error = 0x15, f.cr2 = f.rip = ENTRY;
	was = f;
	if (mon_frame_syscall(&f, shape & 4 ? ENTRY : 0)) {
		CHECK(shape & 4 && was.vector == 14 && was.cr2 == ENTRY && was.rip == ENTRY);
		CHECK_EQ(f.rip, was.rcx);
		CHECK_EQ(f.rax, was.rax);
	} else {
		CHECK_MEM(&f, &was, sizeof(f));
	}
	was = f;
	if (mon_frame_sanitize(&f)) {
		CHECK_LT(f.rip, DUNE_USER_END);
		CHECK((f.cs & 3) == 3 && (f.ss & 3) == 3);
		CHECK_EQ(f.cs, 0x33);
		CHECK_EQ(f.ss, 0x2b);
		CHECK_MSG(!(f.rflags & ~(FIT | 0x200)) && f.rflags & 2, "flags 0x%lx", f.rflags);
		CHECK_EQ(f.rsp, was.rsp);
		CHECK_EQ(f.rax, was.rax);
	} else {
		CHECK_GE(was.rip, DUNE_USER_END);
	}
	return 0;
}
