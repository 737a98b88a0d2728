/* SPDX-License-Identifier: MIT */
/*
 * fault.c - fault records of any content, and call chains from any stack: text of the stated length, frames that are
 * code.  World: host, fuzzing.
 */
#include <ctype.h>
#include <sthread.h>

#include "sthread/report/describe.h"
#include "sthread/report/unwind.h"
#include "tests/fuzz/fuzz.h"

const char *report_describe(uint64_t addr, unsigned error, char *buf, size_t len)
{
	if ((addr ^ error) % 3 == 0)
		return NULL;
	snprintf(buf, len, "somewhere \x1b[31m near\n0x%" PRIx64, addr);
	return buf;
}

const char *report_call_name(uint64_t nr)
{
	return nr % 2 ? "call" : NULL;
}

static struct input in;
static unsigned words;

static uint64_t some(void)
{
	uint8_t how = (uint8_t)take(&in, 1);

	if (how & 1)
		return (uintptr_t)some + take(&in, 2);
	return how & 2 ? (uintptr_t)printf + how : take(&in, 8);
}

static bool read_word(void *ctx, uint64_t addr, uint64_t *out)
{
	(void)ctx;
	words++;
	*out = take(&in, 1) & 1 ? addr + 8 * take(&in, 1) : some();
	return in.left != 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct unwind_regs regs;
	struct sthread_result r;
	uint64_t frames[UNWIND_FRAMES];
	char all[16384], part[64];
	unsigned n;
	int full;

	in = (struct input){ data, len };
	memset(&r, 0, sizeof(r));
	r.end = (enum sthread_end)(take(&in, 1) % 12);
	r.fault = (enum sthread_fault)(take(&in, 1) % 10);
	r.limit = (enum sthread_limit)(take(&in, 1) % 5);
	r.vector = (unsigned)take(&in, 2);
	r.error = (unsigned)take(&in, 2);
	r.value = (void *)take(&in, 8);
	r.address = some();
	r.access = (unsigned)take(&in, 1);
	r.ip = some();
	r.sp = take(&in, 8);
	r.frames = (unsigned)take(&in, 1);
	for (int i = 0; i < STHREAD_BACKTRACE; i++)
		r.backtrace[i] = in.left > 64 ? some() : 0;
	for (int i = 0; i < STHREAD_MESSAGE; i++)
		r.message[i] = (char)take(&in, 1); /* perhaps without its NUL */
	full = sthread_fault_format(&r, all, sizeof(all));
	CHECK(full == -EINVAL || (full > 0 && full < (int)sizeof(all) && strlen(all) == (size_t)full));
	for (int i = 0; i < full; i++)
		CHECK_MSG(isprint((unsigned char)all[i]) || all[i] == '\n' || (unsigned char)all[i] >= 0x80,
			  "byte 0x%x in a report", (unsigned char)all[i]);
	if (full > 0) {
		memset(part, 0x55, sizeof(part));
		CHECK_EQ(sthread_fault_format(&r, part, sizeof(part) - 1), full);
		CHECK(part[sizeof(part) - 1] == 0x55 && memchr(part, 0, sizeof(part)));
	}
	in = (struct input){ data, len };
	for (int i = 0; i < 16; i++)
		regs.gpr[i] = some();
	regs.rip = some();
	words = 0;
	n = unwind_frames(&regs, read_word, NULL, frames, UNWIND_FRAMES);
	CHECK(n >= 1 && n <= UNWIND_FRAMES && words <= 4096);
	CHECK_EQ(frames[0], regs.rip);
	return 0;
}
