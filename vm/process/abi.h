/* SPDX-License-Identifier: MIT */
/*
 * abi.h - what the host, the zygote and the stubs share: the image of their text, the request page, the messages.
 * World: host and zygote; addresses of the other are integers here.
 */
#ifndef VM_PROCESS_ABI_H
#define VM_PROCESS_ABI_H

#include <stddef.h>
#include <stdint.h>

#include "arch/x86_64/process/layout.h"

#define STUB_MAGIC 0x3130627574737473UL

/* At STUB_ZYGOTE in the image: offsets from its beginning. */
struct stub_header {
	uint64_t magic;
	uint64_t handler, fault_ip;
	uint64_t report, report_ip, edit_ip;
	uint64_t resume, resume_end; /* nothing but registers is changed between them */
	uint64_t left, left_end;     /* a touch is over; rip and rsp are at the beginning of the signal stack, all else is there */
	uint64_t end;		     /* where a function returns to */
	uint64_t start;
	uint64_t text_end;
	uint64_t zygote; /* its first function: rdi struct zygote_boot */
};

/* A system call that a stub is to make, and what it is to give. */
struct stub_edit {
	int64_t nr, arg[6], want;
};

/* What the host wants of a stub, in a page that the stub cannot write. */
struct request {
	uint64_t count;
	uint64_t then;
	uint64_t hint_at, hint_len;
	uint64_t regs[15];
	uint64_t fs, gs;
	uint64_t flags, rsp, rip;
	uint64_t told_fs, told_gs;
	struct stub_edit edit[REQUEST_EDITS_MAX];
	uint8_t pad[REQUEST_VECTORS - REQUEST_EDITS - REQUEST_EDITS_MAX * REQUEST_EDIT_SIZE];
	uint8_t vectors[REQUEST_VECTORS_SIZE];
};

_Static_assert(offsetof(struct request, count) == REQUEST_COUNT && offsetof(struct request, then) == REQUEST_THEN &&
		       offsetof(struct request, hint_at) == REQUEST_HINT_AT &&
		       offsetof(struct request, hint_len) == REQUEST_HINT_LEN &&
		       offsetof(struct request, regs) == REQUEST_REGS && offsetof(struct request, fs) == REQUEST_FS &&
		       offsetof(struct request, gs) == REQUEST_GS && offsetof(struct request, flags) == REQUEST_FLAGS &&
		       offsetof(struct request, rsp) == REQUEST_RSP && offsetof(struct request, rip) == REQUEST_RIP &&
		       offsetof(struct request, told_fs) == REQUEST_TOLD_FS &&
		       offsetof(struct request, told_gs) == REQUEST_TOLD_GS &&
		       offsetof(struct request, edit) == REQUEST_EDITS && sizeof(struct stub_edit) == REQUEST_EDIT_SIZE &&
		       offsetof(struct request, vectors) == REQUEST_VECTORS &&
		       sizeof(struct request) == STUB_REQUEST_SIZE,
	       "assembly");

/* ---- messages: one request of the host, one answer of the zygote ---- */

#define ZYGOTE_FILES 8 /* at most: private memory, image, further memory of the process */
#define ZYGOTE_MAPS  64
#define ZYGOTE_KEEP  1024
#define ZYGOTE_STUBS 4096

enum zygote_verb {
	ZYGOTE_SPAWN,  /* a stub: -> its pid; its listener and its pidfd come along */
	ZYGOTE_SIGNAL, /* one of them */
	ZYGOTE_FORGET, /* one that is dead */
	ZYGOTE_MAP,    /* in its own memory, for all stubs to come */
};

/* prot -1: munmap(); flags 0: mprotect() of what was inherited; else mmap(). */
struct zygote_map {
	uint64_t at, len;
	int32_t prot, flags, file;
	uint64_t offset;
};

struct zygote_request {
	uint32_t verb;
	uint32_t n;	     /* of maps; the number of the stub */
	int64_t signal;
	uint64_t request_at; /* offsets in the files: of the stub's request page, of its signal stack */
	uint64_t signals_at;
};

/* ZYGOTE_MAP: the first n maps come along. */
struct zygote_batch {
	struct zygote_request r;
	struct zygote_map map[ZYGOTE_MAPS];
};

struct zygote_answer {
	int64_t result; /* negative errno */
};

struct zygote_range {
	uint64_t start, end;
};

/* What the child of the fork finds at the end of its stack. */
struct zygote_boot {
	uint64_t base; /* of the image */
	int32_t socket, master; /* descriptors: of the host's end, of the host as a process */
	uint64_t rseq; /* registered by the C library, or 0 */
	uint64_t files;
	uint64_t nkeep;
	struct zygote_range keep[ZYGOTE_KEEP]; /* sorted: what is not unmapped */
};

#endif
