/* SPDX-License-Identifier: MIT */
/* stack.c - the top of the main stack, and what the image has of it.  World: host. */
#include "checkpoint/stack.h"

#include <elf.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#define RANDOM_LEN   16
#define AUX_TYPE_MAX 4096 /* beyond: a pointer, not a type */

/* The bytes from base to base + len. */
struct view {
	const uint8_t *bytes;
	size_t len;
	uint64_t base;
};

static bool inside(const struct view *v, uint64_t at, uint64_t len)
{
	return at >= v->base && at - v->base <= v->len && len <= v->len - (at - v->base);
}

static bool word(const struct view *v, uint64_t at, uint64_t *out)
{
	if (!inside(v, at, 8))
		return false;
	memcpy(out, v->bytes + (at - v->base), 8);
	return true;
}

/* Is there an auxiliary vector at `at`?  Page size and random bytes are in every one. */
static bool auxv_at(const struct view *v, uint64_t at, struct ckpt_stack *out)
{
	bool page_size = false, random = false;
	uint64_t type, value, pairs;

	for (pairs = 0;; pairs++) {
		if (!word(v, at + pairs * 16, &type) || !word(v, at + pairs * 16 + 8, &value) ||
		    type >= AUX_TYPE_MAX)
			return false;
		if (type == AT_NULL)
			break;
		if (type == AT_PAGESZ)
			page_size = value == 4096;
		if (type == AT_RANDOM) {
			random = inside(v, value, RANDOM_LEN) && value > at;
			out->random_at = value;
		}
	}
	out->auxv_at = at;
	out->auxv_pairs = pairs + 1;
	return page_size && random && out->random_at >= at + out->auxv_pairs * 16;
}

int ckpt_stack_parse(const uint8_t *bytes, size_t len, uint64_t base, uint64_t argc_at,
		     struct ckpt_stack *out)
{
	const struct view v = { bytes, len, base };
	struct ckpt_stack s = { .argc_at = argc_at };
	uint64_t w, last;

	if ((argc_at & 7) || !word(&v, argc_at, &s.argc) || s.argc > len / 8)
		return -ENOTSUP;
	s.envp_at = argc_at + 8 + (s.argc + 1) * 8;
	if (!word(&v, s.envp_at - 8, &last) || last != 0)
		return -ENOTSUP;
	/*
	 * unsetenv() moves entries down and leaves more than one NULL: the vector is what follows a
	 * NULL and looks like it.  Pointers of the environment do not look like types.
	 */
	for (uint64_t at = s.envp_at; word(&v, at, &w); at += 8) {
		if (last == 0 && w != 0 && at > s.envp_at && auxv_at(&v, at, &s)) {
			*out = s;
			return 0;
		}
		last = w;
	}
	return -ENOTSUP;
}

static void put_word(uint8_t *out, const struct view *v, uint64_t at, uint64_t value)
{
	memcpy(out + (at - v->base), &value, 8);
}

/*
 * The string at `at`, if it is among the strings: an altered pointer must not bring in anything
 * else.
 */
static void keep_string(uint8_t *out, const struct view *v, const struct ckpt_stack *s, uint64_t at)
{
	uint64_t strings = s->auxv_at + s->auxv_pairs * 16;
	size_t from, n;

	if (at < strings || !inside(v, at, 1))
		return;
	from = (size_t)(at - v->base);
	n = strnlen((const char *)v->bytes + from, v->len - from);
	if (n >= PATH_MAX)
		n = PATH_MAX - 1; /* the rest is zero: it still ends */
	memcpy(out + from, v->bytes + from, n);
}

void ckpt_stack_build(uint8_t *out, const uint8_t *bytes, size_t len, uint64_t base,
		      const struct ckpt_stack *s, const struct ckpt_stack_rules *rules)
{
	const struct view v = { bytes, len, base };
	size_t from = (size_t)(s->argc_at - base);
	uint64_t type, value, argv0 = 0;

	memset(out, 0, len);
	if (rules->environment) {
		memcpy(out + from, bytes + from, len - from);
	} else {
		put_word(out, &v, s->argc_at, s->argc ? 1 : 0);
		if (s->argc && word(&v, s->argc_at + 8, &argv0)) {
			put_word(out, &v, s->argc_at + 8, argv0);
			keep_string(out, &v, s, argv0);
		}
		keep_string(out, &v, s, rules->keep);
	}
	for (uint64_t i = 0; i < s->auxv_pairs; i++) {
		uint64_t at = s->auxv_at + i * 16;

		if (!word(&v, at, &type) || !word(&v, at + 8, &value))
			break;
		if (type == AT_EXECFN || type == AT_PLATFORM || type == AT_BASE_PLATFORM)
			keep_string(out, &v, s, value);
		if (type == AT_RANDOM)
			value = rules->at_random;
		put_word(out, &v, at, type);
		put_word(out, &v, at + 8, value);
	}
	/*
	 * The canary and the pointer guard are made of these: every compartment has its own
	 * elsewhere.
	 */
	memset(out + (s->random_at - base), 0, RANDOM_LEN);
}
