/* SPDX-License-Identifier: MIT */
/*
 * image.h - the checkpoint: an image of this process's memory as a template address space, from
 * which every compartment is cloned.  World: host.
 *
 * What the template maps, all at the addresses of this process:
 *   - code and constants of loaded objects: windows on the live, pinned memory, READ or READ|EXEC;
 *   - the kernel's vdso (READ|EXEC) and its clock data (READ): windows;
 *   - private memory: copies in the arena, READ|COW where this process may write, READ where it may
 *     not; never EXEC;
 *   - the arguments and auxiliary vector at the top of the main stack, as the configuration says;
 *     READ|COW.
 * Nothing else: no shared memory, nothing below argc of the main stack, nothing marked MADV_DONTFORK
 * or held under a protection key, nothing reserved or excluded by the configuration.
 *
 * Calls return 0 or a negative errno.  None is thread-safe unless it says so.
 */
#ifndef CHECKPOINT_IMAGE_H
#define CHECKPOINT_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/dune.h"

struct ckpt;

/* A range of this process's addresses.  Both page aligned; len 0 is an empty range. */
struct ckpt_range {
	uint64_t start;
	uint64_t len;
};

/* Bytes that the image holds at `at` in place of this process's own.  Not page aligned. */
struct ckpt_patch {
	uint64_t at;
	const void *bytes; /* copied by ckpt_take() */
	size_t len;
};

struct ckpt_config {
	struct ckpt_range reserved;	  /* the library's own: arena, and what lies beside it */
	const struct ckpt_range *exclude; /* more that is not in the image */
	size_t n_exclude;
	const struct ckpt_patch *patches; /* inside copied private memory: otherwise -EINVAL */
	size_t n_patches;
	bool environment;   /* arguments and environment; false: argv[0] only, environ empty */
	uint64_t at_random; /* what AT_RANDOM says: 16 bytes that the caller maps and fills */
};

/*
 * How many bytes of arena the image may need, page tables included: for sizing the arena before the
 * VM exists. An upper bound for the process as it is now, with some room for what the VM itself
 * allocates. Errors: those of ckpt_take() but for -EINVAL of patches.
 */
DUNE_MUST int ckpt_estimate(const struct ckpt_config *cfg, uint64_t *bytes);

/*
 * Takes the image.  The process must have one thread.  Every loaded object stays loaded for ever
 * afterwards, also on failure.  The image is of one moment: that of the call, after this function
 * has made its preparations.
 *
 * Environment strings that setenv() dropped earlier, and copies that the program made of any, are
 * found by nobody and stay in the image; so do signal stacks and stacks of threads that have ended,
 * which are private memory like any other.
 *
 * -ENOMEM: arena or process memory.  -ENOTSUP: /proc/self/smaps is not to be read or says what is
 * not understood, or the top of the main stack is not as the kernel lays it out.  -EINVAL: cfg
 * (unaligned ranges, a patch outside of copied memory).  -EAGAIN: the process's memory does not
 * stop changing.  Others: of the dune_* calls.
 */
DUNE_MUST int ckpt_take(struct dune_vm *vm, const struct ckpt_config *cfg, struct ckpt **out);

/*
 * Every clone of the template has been freed, and the VM is still there.  In a child of fork()
 * nothing of a checkpoint exists, neither this object nor the template: forget the pointer.
 */
void ckpt_destroy(struct ckpt *ckpt);

/*
 * The bytes in [addr, addr+len), as they are in this process now, go into the image; patches stay
 * in force. The template must not have been cloned (the caller answers -EBUSY).  -EINVAL: not
 * wholly inside private memory that was copied, or not readable now.  -ENOMEM: some of the range
 * may have been taken.
 */
DUNE_MUST int ckpt_retake(struct ckpt *ckpt, const void *addr, size_t len);

/* The template: clone it; do not run it or change it.  It belongs to the checkpoint. */
struct dune_space *ckpt_space(const struct ckpt *ckpt);

/* FS base of the thread that called ckpt_take(), whose thread-local storage compartments have. */
uint64_t ckpt_fs_base(const struct ckpt *ckpt);

/*
 * What must be filled with fresh random bytes for each run, in the clone: `len` bytes at `at`, of
 * which the first `zero` are then zero (a canary begins with a NUL).  In the image they are zero.
 * The place is not page aligned, and does not cross a page.  seeds[CKPT_SEED_RANDOM] is
 * cfg.at_random, which the caller maps.
 */
struct ckpt_seed {
	uint64_t at;
	uint32_t len;
	uint32_t zero;
};
enum { CKPT_SEED_CANARY, CKPT_SEED_RANDOM, CKPT_SEEDS };
const struct ckpt_seed *ckpt_seeds(const struct ckpt *ckpt);

struct ckpt_stats {
	uint64_t pages;	     /* of the arena that hold image bytes */
	uint64_t bytes;	     /* the same in bytes */
	uint64_t zero_pages; /* of the image that are all zero: not stored */
	uint64_t unread_pages; /* could not be read, as past the end of a file: not mapped */
	uint64_t slots;	       /* windows on live memory */
	uint64_t slot_bytes;
	uint64_t mappings; /* of the process that were looked at */
};
void ckpt_get_stats(const struct ckpt *ckpt, struct ckpt_stats *out);

/*
 * What lies at an address, in one phrase for people, e.g. "text of /usr/lib/libc.so.6 + 0x2a3f0"
 * (offset from the load address, as addr2line takes it), "the master's stack: not granted".  Reads
 * /proc/self/maps for an address that the image does not know.  Thread-safe; allocates no heap
 * memory.  Like snprintf(): at most len bytes with the NUL, returns the length of the whole phrase.
 */
size_t ckpt_describe(const struct ckpt *ckpt, uint64_t addr, char *buf, size_t len);

#endif
