/* SPDX-License-Identifier: MIT */
/*
 * fuzz.h - the input of a fuzz target, taken from its beginning; zeros when it is used up.  World: host.
 *
 * A target is tests/fuzz/NAME.c with LLVMFuzzerTestOneInput(); scripts/fuzz knows what it is built from.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include "tests/test.h"

struct input {
	const uint8_t *at;
	size_t left;
};

static inline uint64_t take(struct input *in, unsigned bytes)
{
	uint64_t v = 0;
	size_t n = bytes < in->left ? bytes : in->left;

	memcpy(&v, in->at, n);
	in->at += n;
	in->left -= n;
	return v;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#endif
