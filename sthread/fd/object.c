// SPDX-License-Identifier: MIT
/*
 * object.c - host descriptors by reference: which may be granted, and where they are kept.
 * World: host.
 */
#include "sthread/cancel.h"
#include "sthread/fd/table.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Out of the way of the program's own numbers, which it may expect to be small and dense. */
#define FD_OBJECT_BASE 512

#define PROC_TYPE	0x00009fa0
#define ANON_INODE_TYPE 0x09041934

static atomic_uint live;
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER; /* a leaf */
static struct fd_object *list;

unsigned fd_objects(void)
{
	return atomic_load(&live);
}

int fd_identify(int fd, struct stat *out)
{
	return fstatat(fd, "", out, AT_EMPTY_PATH | AT_STATX_DONT_SYNC);
}

static bool is_still(int fd, uint64_t dev, uint64_t ino)
{
	struct stat st;

	return !fd_identify(fd, &st) && st.st_dev == dev && st.st_ino == ino;
}

/* ---- /proc ---- */

/* As it was at the start, so that a later chroot() or a mount over /proc changes nothing. */
static int proc_fd = -1;
static struct stat proc_is;

static bool has_proc(void)
{
	return proc_fd >= 0 && is_still(proc_fd, proc_is.st_dev, proc_is.st_ino);
}

int fd_proc_init(void)
{
	struct statfs fs;
	int fd, high;

	if (proc_fd >= 0)
		return 0;
	fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstatfs(fd, &fs) < 0 || fs.f_type != PROC_TYPE || fd_identify(fd, &proc_is)) {
		close(fd);
		return -ENOENT;
	}
	high = fcntl(fd, F_DUPFD_CLOEXEC, FD_OBJECT_BASE);
	if (high >= 0)
		close(fd);
	proc_fd = high >= 0 ? high : fd;
	return 0;
}

void fd_proc_fini(void)
{
	if (has_proc())
		close(proc_fd);
	proc_fd = -1;
}

int fd_proc_name(char name[FD_PROC_NAME], const char *of, int fd)
{
	bool has = has_proc();
	const char *root = has ? "" : "/proc/";

	if (fd >= 0)
		snprintf(name, FD_PROC_NAME, "%sthread-self/%s/%d", root, of, fd);
	else
		snprintf(name, FD_PROC_NAME, "%sthread-self/%s", root, of);
	return has ? proc_fd : AT_FDCWD;
}

/* ---- what may be granted ---- */

/* Devices whose data is data.  Others take addresses in what is written to them, or do more. */
static bool plain_device(int fd, dev_t dev)
{
	if (major(dev) != 1)
		return isatty(fd);
	switch (minor(dev)) {
	case 3: /* null */
	case 5: /* zero */
	case 7: /* full */
	case 8: /* random */
	case 9: /* urandom */
		return true;
	default:
		return false;
	}
}

/* Of the files without a name: counters and timers.  The link is the kernel's word for it. */
static bool plain_anonymous(int fd)
{
	char name[FD_PROC_NAME], link[64];
	int at = fd_proc_name(name, "fd", fd);
	ssize_t n = readlinkat(at, name, link, sizeof(link) - 1);

	if (n < 0)
		return false;
	link[n] = '\0';
	return !strcmp(link, "anon_inode:[eventfd]") || !strcmp(link, "anon_inode:[timerfd]");
}

/* Netlink messages name descriptors and processes by the master's numbers. */
static int socket_kind(int fd)
{
	int type, domain;
	socklen_t len = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_NETLINK)
		return -EINVAL;
	len = sizeof(int);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM)
		return FD_STREAM;
	return FD_MESSAGE;
}

static bool is_anonymous(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) < 0 || fs.f_type == ANON_INODE_TYPE;
}

/* enum fd_kind; -EINVAL: nothing that can be granted. */
static int kind_of(int fd, const struct stat *st)
{
	switch (st->st_mode & S_IFMT) {
	case S_IFREG:
		return fd_check_filesystem(fd) ? -EINVAL : FD_FILE;
	case S_IFDIR:
		return fd_check_filesystem(fd) ? -EINVAL : FD_DIRECTORY;
	case S_IFIFO:
		return FD_PIPE;
	case S_IFCHR:
		return plain_device(fd, st->st_rdev) ? FD_CHAR : -EINVAL;
	case S_IFSOCK:
		return socket_kind(fd);
	case 0:
		return is_anonymous(fd) && plain_anonymous(fd) ? FD_OTHER : -EINVAL;
	default: /* block devices: swapped memory, and every file of a mounted system */
		return -EINVAL;
	}
}

/* ---- objects ---- */

/* EINVAL: the limit on numbers is below the base.  EMFILE: no room above it, perhaps below. */
static int dup_high(int fd)
{
	int d = fcntl(fd, F_DUPFD_CLOEXEC, FD_OBJECT_BASE);

	if (d < 0 && (errno == EINVAL || errno == EMFILE))
		d = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (d < 0) /* EINVAL again: even the small numbers are beyond the limit */
		return errno == EINVAL ? -EMFILE : -errno;
	return d;
}

static _Atomic uint64_t files;

/* Takes `host` over. */
static int object_new(int host, enum fd_kind kind, struct fd_object **out)
{
	struct fd_object *o = malloc(sizeof(*o));
	struct stat st = { 0 };

	if (!o) {
		close(host);
		return -ENOMEM;
	}
	(void)!fd_identify(host, &st); /* a failure leaves it what nothing is */
	atomic_init(&o->refs, 1);
	o->host = host;
	o->kind = kind;
	o->barred = o->own = o->bound = false;
	o->file = atomic_fetch_add(&files, 1) + 1;
	o->dev = st.st_dev;
	o->ino = st.st_ino;
	o->kept = false;
	pthread_mutex_lock(&list_lock);
	o->next = list;
	o->link = &list;
	if (list)
		list->link = &o->next;
	list = o;
	pthread_mutex_unlock(&list_lock);
	atomic_fetch_add(&live, 1);
	*out = o;
	return 0;
}

int fd_object_adopt(int host, enum fd_kind kind, struct fd_object **out)
{
	int d = host >= FD_OBJECT_BASE ? host : dup_high(host);

	if (d < 0 && host <= STDERR_FILENO) {
		close(host);
		return d;
	}
	if (d < 0)
		d = host; /* it is not in the way of much */
	if (d != host)
		close(host);
	return object_new(d, kind, out);
}

int fd_object_dup(int fd, struct fd_object **out)
{
	struct stat st;
	int d, kind;

	/* The duplicate is looked at: another thread may give the number to something else. */
	d = dup_high(fd);
	if (d < 0)
		return d;
	kind = fstat(d, &st) < 0 ? -EBADF : kind_of(d, &st);
	if (kind < 0) {
		close(d);
		return kind;
	}
	return object_new(d, (enum fd_kind)kind, out);
}

int fd_object_again(const struct fd_object *o, struct fd_object **out)
{
	int d = dup_high(o->host);
	int r = d < 0 ? d : object_new(d, o->kind, out);

	if (r)
		return r;
	(*out)->barred = o->barred;
	(*out)->own = o->own;
	(*out)->bound = o->bound;
	(*out)->file = o->file;
	return 0;
}

/* ---- the numbers that everybody knows ---- */

static int hold_one(void)
{
	if (has_proc())
		return fcntl(proc_fd, F_DUPFD_CLOEXEC, 0);
	return open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

int fd_reserve_low(struct fd_reserved *h)
{
	int fd;

	for (h->n = 0; h->n < 3; h->fd[h->n++] = fd) {
		fd = hold_one();
		if (fd < 0)
			return -errno;
		if (fd > STDERR_FILENO) {
			close(fd);
			break;
		}
	}
	return 0;
}

void fd_release_low(struct fd_reserved *h)
{
	while (h->n)
		close(h->fd[--h->n]);
}

/* ---- directories, and references ---- */

int fd_object_dir(int dirfd, struct fd_object **out)
{
	struct stat st;
	int fd, d, r;

	if (dirfd < 0 || fstat(dirfd, &st) < 0)
		return -EBADF;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	/*
	 * Not a dup: with O_PATH there is no offset, no lease and no reading through the grant
	 * itself.
	 */
	fd = openat(dirfd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	d = dup_high(fd);
	close(fd);
	if (d < 0)
		return d;
	r = object_new(d, FD_DIRECTORY, out);
	if (r == 0)
		(*out)->barred = fd_on_devtmpfs(d);
	return r;
}

bool fd_object_intact(const struct fd_object *o)
{
	return is_still(o->host, o->dev, o->ino);
}

struct fd_object *fd_object_get(struct fd_object *o)
{
	atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
	return o;
}

void fd_object_put(struct fd_object *o)
{
	unsigned before;
	int cancel;

	if (!o)
		return;
	before = atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel);
	assert(before > 0);
	if (before > 1)
		return;
	cancel = cancel_disable();
	pthread_mutex_lock(&list_lock);
	*o->link = o->next;
	if (o->next)
		o->next->link = o->link;
	pthread_mutex_unlock(&list_lock);
	if (fd_object_intact(o))
		close(o->host);
	cancel_restore(cancel);
	free(o);
	atomic_fetch_sub(&live, 1);
}

/* ---- fork ---- */

void fd_objects_before_fork(void)
{
	pthread_mutex_lock(&list_lock);
}

void fd_object_keep(struct fd_object *o)
{
	o->kept = true;
}

void fd_objects_after_fork(bool child)
{
	if (!child) {
		pthread_mutex_unlock(&list_lock);
		return;
	}
	pthread_mutex_init(&list_lock, NULL);
	for (struct fd_object *o = list; o; o = o->next) {
		if (!o->kept && fd_object_intact(o)) {
			close(o->host);
			o->host = -1; /* who still refers to it finds nothing there */
		}
		o->kept = false;
	}
}
