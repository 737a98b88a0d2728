/* SPDX-License-Identifier: MIT */
/*
 * table.h - what a compartment's descriptor numbers mean.  World: host.
 *
 * A compartment's descriptor is a number in a table of its own; the host descriptor behind it is a
 * duplicate that belongs to the library (struct fd_object), counted by references, so that a policy
 * and any number of runs share one duplicate and nothing is duplicated or closed when a run starts
 * or ends.
 *
 *	policy grants ──┐
 *	                ├── fd_object (refs) ── host descriptor, close-on-exec
 *	a run's fdtab ──┘
 *
 * Objects are thread-safe.  A table belongs to the thread that runs the compartment and has no
 * lock: so what a look-up gives stays valid until that thread changes the table.  Who wants a
 * descriptor back from another thread asks that one (sys_attend).
 *
 * Each number of a table has an object of its own, also where two are the same open file, so that
 * an epoll set, which goes by host descriptors, can tell them apart.
 */
#ifndef STHREAD_FD_TABLE_H
#define STHREAD_FD_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* The kind of a host descriptor: decides how to write to it without raising a signal. */
enum fd_kind {
	FD_FILE,        /* regular file */
	FD_DIRECTORY,
	FD_STREAM,      /* socket without message boundaries */
	FD_MESSAGE,     /* socket with message boundaries: datagram, sequenced packets */
	FD_PIPE,        /* pipe or FIFO */
	FD_CHAR,        /* terminal, or a memory device such as null */
	FD_OTHER,       /* eventfd, timerfd */
	FD_EPOLL,       /* made inside; dies with the run */
};

struct fd_object {
	atomic_uint refs;
	int host;
	enum fd_kind kind;
	bool barred;    /* directory: nothing beneath it may be opened (it lies in a devtmpfs) */
	bool own;       /* made inside: the master does not know it */
	bool bound;     /* socket: bound inside, to an address of the policy */
	uint64_t file;  /* the same for duplicates that were made inside, unique among others; not 0 */
	uint64_t dev, ino; /* what `host` was when it was made */
	bool kept;         /* by the child of a fork that is under way */
	struct fd_object *next, **link; /* all objects */
};

/*
 * All give an object with one reference, whose number is out of the way of the program's own.
 * -EBADF, -EMFILE, -ENOMEM; fd_object_dir also -ENOTDIR, -EACCES, -ENOENT; fd_object_dup also
 * -EINVAL: not of a kind that can be granted (data of other devices, of the kernel's file
 * systems, of netlink sockets and of files without a name may hold memory, addresses, descriptors
 * or processes of the master).
 */
int fd_object_dup(int fd, struct fd_object **out);
/*
 * The directory itself, opened with O_PATH: no offset to share, good for opening beneath it only.
 */
int fd_object_dir(int dirfd, struct fd_object **out);
/* Takes over `host`, moves it up, and closes it when it fails. */
int fd_object_adopt(int host, enum fd_kind kind, struct fd_object **out);
/* Another one of the same open file. */
int fd_object_again(const struct fd_object *o, struct fd_object **out);

/*
 * Keep new descriptors away from numbers 0, 1 and 2, also for a moment: if the program closed its
 * standard error, a thread that writes there would write into the new file.  Free ones of the
 * three are occupied until fd_release_low(), by descriptors that cannot be written to.  Negative
 * errno: call fd_release_low() all the same.
 */
struct fd_reserved {
	int fd[3];
	unsigned n;
};
int fd_reserve_low(struct fd_reserved *h);
void fd_release_low(struct fd_reserved *h);

/*
 * Is the host descriptor still the file that it was?  The program may have closed it, as by
 * closefrom(), and reused the number: another file is neither used nor closed.  (The kernel does
 * not tell eventfds and timerfds apart.)
 */
bool fd_object_intact(const struct fd_object *o);
/*
 * fstat(), from the kernel's cache: a network or FUSE server, which may not answer, is not asked.
 * 0, or -1 and errno.
 */
int fd_identify(int fd, struct stat *out);
struct fd_object *fd_object_get(struct fd_object *o);
void fd_object_put(struct fd_object *o); /* NULL is fine; the last one closes what is intact */
/* Objects alive in this process: what tests count. */
unsigned fd_objects(void);

/*
 * A child of fork() keeps what a policy of the program's grants.  The others belong to compartments and gates of
 * the parent, and their end must be seen by their peers also while the child lives: so it closes them.  What a
 * thread is just opening, and is no object yet, it cannot know.  Order: before, then in the parent done, in the child
 * keep for each and done.
 */
void fd_objects_before_fork(void);
void fd_object_keep(struct fd_object *o);
void fd_objects_after_fork(bool child);

/*
 * Once per process: a handle of /proc as it is now, and which device a devtmpfs is.  Without them
 * /proc is looked up each time.  Negative errno; -ENOENT also: what is there is no procfs.
 */
int fd_proc_init(void);
void fd_proc_fini(void);
void fd_find_devtmpfs(void);
/*
 * filesystem.c: it lies on a file system of files: 0; -EACCES: on one of the kernel's (proc,
 * sysfs and so on); -errno of statfs().
 */
int fd_check_filesystem(int fd);
/* The same of a directory on a devtmpfs, or on what may be one. */
bool fd_on_devtmpfs(int fd);
#define FD_PROC_NAME 64
/*
 * Name of /proc/thread-self/<of>/<fd>, or with fd < 0 /proc/thread-self/<of>, beneath the directory
 * that it returns.  Of the calling thread: /proc/self is that of the first thread, which may have
 * another table of descriptors, or be gone.
 */
int fd_proc_name(char name[FD_PROC_NAME], const char *of, int fd);

struct fd_entry {
	int number;             /* inside */
	unsigned rights;        /* STHREAD_FD_* */
	bool dir;               /* openat() beneath it; opened files get `rights` */
	struct fd_object *obj;
};

/*
 * beneath.c: may a table that has these have one more?  -EINVAL: it is a directory that may not
 * be beside another of them; -errno of looking upwards.
 */
int fd_dirs_fit(const struct fd_entry *entry, unsigned n, const struct fd_entry *add);

/* Sorted by number. */
struct fdtab {
	struct fd_entry *entry;
	unsigned n, cap;
	unsigned limit;         /* entries at once, for fdtab_open() */
};

/* A zeroed struct fdtab is an empty one. */
/*
 * Makes the table hold exactly those of these entries (sorted by number, references taken) whose
 * objects are intact, whatever it held.  Memory of an earlier run is used again.  -ENOMEM: the
 * table is empty.
 */
int fdtab_load(struct fdtab *t, const struct fd_entry *entry, unsigned n, unsigned limit);
/* Drops all entries; keeps the memory. */
void fdtab_clear(struct fdtab *t);
/* Drops all, memory too. */
void fdtab_fini(struct fdtab *t);

/* NULL: no such descriptor. */
struct fd_entry *fdtab_find(const struct fdtab *t, int number);
/*
 * -EMFILE unless fdtab_open() would find room for `more`; asked before the host opens anything.
 * -ENOMEM.
 */
int fdtab_reserve_more(struct fdtab *t, unsigned more);
static inline int fdtab_reserve(struct fdtab *t)
{
	return fdtab_reserve_more(t, 1);
}
/*
 * The lowest free number for `obj`, whose reference is taken over.  Only after fdtab_reserve();
 * cannot fail.
 */
int fdtab_open(struct fdtab *t, struct fd_object *obj, unsigned rights, bool dir);
/* The same, from `least` up. */
int fdtab_open_from(struct fdtab *t, int least, struct fd_object *obj, unsigned rights, bool dir);
/* Closes it, and removes it from every epoll set of the table.  -EBADF. */
int fdtab_close(struct fdtab *t, int number);
/* Closes all whose object is of this file. */
void fdtab_revoke(struct fdtab *t, uint64_t file);

/*
 * Keeps an array sorted; for the policy, too.  *entry is grown.  Takes the reference over on
 * success.  -EEXIST, -ENOMEM.
 */
int fd_entries_insert(struct fd_entry **entry, unsigned *n, unsigned *cap,
		      const struct fd_entry *add);
/* Index of `number`, or of the place where it would be put. */
unsigned fd_entries_search(const struct fd_entry *entry, unsigned n, int number);

#endif
