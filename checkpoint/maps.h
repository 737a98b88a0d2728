/* SPDX-License-Identifier: MIT */
/*
 * maps.h - reads what the kernel says of this process's mappings (proc(5): /proc/PID/maps, smaps).
 * World: host.
 *
 * The parser works on bytes in memory and allocates nothing.  The reader takes its memory from the
 * kernel, in mappings that are marked MADV_DONTFORK, and before the pass over the file that counts:
 * what it returns is the state of the process at that pass.
 */
#ifndef CHECKPOINT_MAPS_H
#define CHECKPOINT_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* From the VmFlags line of smaps. */
#define MAPS_WIPEONFORK 0x01u /* wf: MADV_WIPEONFORK, and memory that the kernel may drop */
#define MAPS_DONTFORK	0x02u /* dc: MADV_DONTFORK */
#define MAPS_DONTDUMP	0x04u /* dd: MADV_DONTDUMP */
#define MAPS_GROWSDOWN	0x08u /* gd: a stack */
#define MAPS_MAYWRITE	0x10u /* mw: mprotect() could make it writable */
#define MAPS_HUGETLB	0x20u /* ht */
#define MAPS_IO		0x40u /* io, pf: not ordinary memory */

struct maps_entry {
	uint64_t start, end; /* page aligned, start < end; entries ascend and do not overlap */
	uint64_t offset;     /* in the file */
	uint64_t inode;	     /* 0: anonymous, or the kernel's */
	uint32_t dev_major, dev_minor;
	uint8_t prot; /* PROT_READ | PROT_WRITE | PROT_EXEC */
	bool shared;
	bool deleted;	  /* the path ended in " (deleted)", which is not part of `path` */
	const char *path; /* in the parsed text, not NUL-terminated; a newline in it is \012 */
	size_t path_len;  /* 0: anonymous without a name */
	/* smaps only: */
	bool detailed;	    /* there was a VmFlags line */
	uint32_t flags;	    /* MAPS_* */
	uint64_t rss, swap; /* bytes */
	uint32_t pkey;	    /* protection key */
};

/*
 * One line of maps, or one mapping of smaps, from the start of buf.  Returns the bytes it takes; 0
 * when buf ends before the record does (`last` says that nothing follows: then only a record
 * without its newline is short); -EBADMSG when it is not such a record.  out is set on success
 * only.
 */
ssize_t maps_parse(const char *buf, size_t len, bool smaps, bool last, struct maps_entry *out);

/* Is the path exactly `name`, does it begin with `prefix`? */
bool maps_is(const struct maps_entry *e, const char *name);
bool maps_begins(const struct maps_entry *e, const char *prefix);
/*
 * The path with its escapes undone, NUL-terminated.  -ENAMETOOLONG: not less than cap bytes;
 * -ENOENT: no path.
 */
int maps_path(const struct maps_entry *e, char *buf, size_t cap);

struct maps {
	struct maps_entry *entries;
	size_t count;
	/* the reader's own: */
	char *text;
	size_t text_size, entries_size; /* bytes mapped */
};

/*
 * Reads a seekable descriptor of maps (or smaps) from its start, as often as it takes to get it in
 * one pass without a change of this process's memory.  -EBADMSG: not understood, or entries out of
 * order; -ENOMEM; those of read(). Nothing to free on failure.
 */
int maps_read(struct maps *out, int fd, bool smaps);
/* Of this process.  smaps is slow where much memory is in use. */
int maps_read_self(struct maps *out, bool smaps);
void maps_free(struct maps *m);

/* The entry that holds the address, or NULL. */
const struct maps_entry *maps_find(const struct maps *m, uint64_t addr);

#endif
