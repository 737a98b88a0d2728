/* SPDX-License-Identifier: MIT */
/*
 * pt_test.c - the page-table walker against a flat model: random operations on a few trees and
 * their clones, with every allocation failing in turn.  World: host.
 *
 * Usage: pt_test [seed [operations]]; the seed also comes from PT_TEST_SEED.
 */
#include "tests/test.h"
#include "tests/unit/pt_drive.h"

static uint64_t rng;

static uint64_t rnd(uint64_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (rng * 0x2545f4914f6cdd1dUL >> 20) % n;
}

int main(int argc, char **argv)
{
	const char *env = getenv("PT_TEST_SEED");
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : env ? strtoull(env, NULL, 0) : 1;
	unsigned long ops = argc > 2 ? strtoul(argv[2], NULL, 0) : 8000, i;
	const struct drive_seen *s = &drive_seen;

	NOTE("seed %" PRIu64 ", %lu operations", seed, ops);
	rng = seed * 0x9e3779b97f4a7c15UL | 1;
	drive_rnd = rnd;
	drive_begin();
	for (i = 0; i < ops; i++)
		drive_step(i % 64 == 0);
	drive_end();
	NOTE("map %lu, replace %lu, unmap %lu, protect %lu, clone %lu, free %lu; refused %lu, "
	     "allocations failed %lu, checked midway %lu, tables copied %lu, rejoined %lu",
	     s->done[0], s->done[1], s->done[2], s->done[3], s->done[4], s->done[5], s->refused,
	     s->nomem, s->midway, s->copies, s->rejoined);
	for (i = 0; i < 6; i++)
		CHECK(s->done[i]);
	CHECK(s->refused && s->nomem && s->midway && s->copies && s->rejoined);
	drive_fini();
	return 0;
}
