/* SPDX-License-Identifier: MIT */
/*
 * peek.h - reads this process's memory through the kernel: what cannot be read is an error, not a
 * signal. World: host.
 */
#ifndef CHECKPOINT_PEEK_H
#define CHECKPOINT_PEEK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reads all len bytes at `at`, or says false. */
bool ckpt_peek(uint64_t at, void *buf, size_t len);

/*
 * Reads `pages` pages at the page aligned `at`.  Returns how many were read from the first on: less
 * than `pages` when the next one cannot be.
 */
size_t ckpt_peek_pages(uint64_t at, void *buf, size_t pages);

/* Are the 4096 bytes at the 8-byte aligned p all zero? */
bool ckpt_page_zero(const void *p);

#endif
