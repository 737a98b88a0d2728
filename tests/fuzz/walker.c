/* SPDX-License-Identifier: MIT */
/*
 * walker.c - the page-table walker against the unit test's flat model, by operations that the input chooses.
 * World: host, fuzzing.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/unit/pt_drive.h"

static struct input in;

static uint64_t choice(uint64_t n)
{
	return take(&in, n <= 256 ? 1 : n <= 65536 ? 2 : 3) % n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	in = (struct input){ data, len < 512 ? len : 512 };
	drive_rnd = choice;
	drive_begin();
	while (in.left)
		drive_step(in.left % 16 == 0);
	drive_end();
	return 0;
}
