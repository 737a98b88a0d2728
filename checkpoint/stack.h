/* SPDX-License-Identifier: MIT */
/*
 * stack.h - the top of the main stack, as the kernel lays it out for a new program, and what the
 * image has of it. World: host.  Works on bytes, not on this process's memory.
 *
 *	base + len	end of the mapping
 *	...		strings: arguments, environment, AT_EXECFN, AT_RANDOM's 16 bytes
 *	auxv_at		pairs of words, up to AT_NULL
 *	envp_at		pointers, NULL
 *	argc_at + 8	pointers, NULL
 *	argc_at		number of arguments
 *	base		page that holds argc; what is below argc is somebody's frame
 */
#ifndef CHECKPOINT_STACK_H
#define CHECKPOINT_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ckpt_stack {
	uint64_t argc_at;
	uint64_t argc;
	uint64_t envp_at;
	uint64_t auxv_at;
	uint64_t auxv_pairs; /* with AT_NULL */
	uint64_t random_at;  /* 16 bytes */
};

/* bytes[0] is what lies at `base`.  -ENOTSUP: it is not laid out so. */
int ckpt_stack_parse(const uint8_t *bytes, size_t len, uint64_t base, uint64_t argc_at,
		     struct ckpt_stack *out);

struct ckpt_stack_rules {
	bool environment;   /* all of it; false: argv[0], auxiliary vector and its strings */
	uint64_t at_random; /* what AT_RANDOM says */
	uint64_t keep;	    /* address of a string to keep as well, if it is there; 0: none */
};

/*
 * Makes the image's version, `len` bytes, from what ckpt_stack_parse() has accepted.  AT_RANDOM's
 * bytes are zero.
 */
void ckpt_stack_build(uint8_t *out, const uint8_t *bytes, size_t len, uint64_t base,
		      const struct ckpt_stack *at, const struct ckpt_stack_rules *rules);

#endif
