/* SPDX-License-Identifier: MIT */
/* zygote.c - the host's side of the zygote: made by a fork, asked over a socket, ended.  World: host. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vm/process/process.h"
#include "vm/process/zygote/call.h"

#define FIRST_FREE  16 /* of descriptors, in the child: those that it is to have are moved above, then into place */
#define P_PIDFD_    3

/* ---- in the child, on the stack of the thread that forked: no call of the C library ---- */

/* What the child needs, made before. */
struct birth {
	uint64_t base;
	int fd[ZYGOTE_FILES + 2]; /* files, socket, this process */
	unsigned nfds;
	int text_fd;
	uint64_t text_at;
	struct zygote_boot boot;
};

static void fail(void)
{
	for (;;)
		zcall(SYS_exit_group, 1, 0, 0, 0, 0, 0);
}

static void must(long ret)
{
	if (ret < 0)
		fail();
}

/* Exactly these descriptors, from 0. */
static void arrange_descriptors(struct birth *b)
{
	struct rlimit files;
	int high = FIRST_FREE;

	/* One for each stub; what the program allows itself is another matter. */
	if (!zcall(SYS_getrlimit, RLIMIT_NOFILE, (long)&files, 0, 0, 0, 0)) {
		files.rlim_cur = files.rlim_max;
		zcall(SYS_setrlimit, RLIMIT_NOFILE, (long)&files, 0, 0, 0, 0);
	}
	for (unsigned i = 0; i < b->nfds; i++)
		high = b->fd[i] >= high ? b->fd[i] + 1 : high;
	for (unsigned i = 0; i < b->nfds; i++)
		must(zcall(SYS_dup3, b->fd[i], high + (int)i, 0, 0, 0, 0));
	for (unsigned i = 0; i < b->nfds; i++)
		must(zcall(SYS_dup3, high + (int)i, (int)i, 0, 0, 0, 0));
	must(zcall(SYS_close_range, b->nfds, ~0U, 0, 0, 0, 0));
}

/* The library's text and a stack, where no memory of the program is; then over there. */
__attribute__((noreturn)) static void be_born(struct birth *b)
{
	uint64_t at = b->base, data = at + STUB_ZYGOTE + STUB_ZYGOTE_TEXT, top;

	arrange_descriptors(b);
	/* The program has reserved it. */
	must(zcall(SYS_munmap, (long)at, STUB_SIZE, 0, 0, 0, 0));
	must(zcall(SYS_mmap, (long)(at + STUB_TEXT), STUB_TEXT_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED,
		   STUB_FD_IMAGE, (long)b->text_at));
	must(zcall(SYS_mmap, (long)(at + STUB_ZYGOTE), STUB_ZYGOTE_TEXT, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED,
		   STUB_FD_IMAGE, (long)(b->text_at + STUB_ZYGOTE)));
	must(zcall(SYS_mmap, (long)data, STUB_ZYGOTE_DATA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		   -1, 0));
	/* The last page is where a stub says the number of its listener. */
	top = (data + STUB_ZYGOTE_DATA - DUNE_PAGE_SIZE - sizeof(b->boot)) & ~15UL;
	for (size_t i = 0; i < sizeof(b->boot); i++)
		((volatile char *)top)[i] = ((const char *)&b->boot)[i];
	__asm__ volatile("movq %0, %%rsp\n"
			 "xorl %%ebp, %%ebp\n"
			 "call *%1\n"
			 "ud2" ::"S"(top), "a"(at + ((const struct stub_header *)(at + STUB_ZYGOTE))->zygote), "D"(top)
			 : "memory");
	__builtin_unreachable();
}

/* ---- in the host ---- */

static void keep(struct zygote_boot *b, uint64_t start, uint64_t end)
{
	uint64_t i = b->nkeep++;

	for (; i && b->keep[i - 1].start > start; i--)
		b->keep[i] = b->keep[i - 1];
	b->keep[i] = (struct zygote_range){ start, end };
}

/* Windows at their own addresses, as many as there is room for. */
static size_t keep_windows(struct dune_vm *vm, struct zygote_boot *b)
{
	size_t n = 0;

	keep(b, stub_base(vm), stub_base(vm) + STUB_SIZE);
	pthread_mutex_lock(&vm->lock);
	for (; n < vm->nslots && b->nkeep < ZYGOTE_KEEP; n++) {
		const struct slot *s = &vm->slots[n];

		if (s->readonly)
			keep(b, s->hva, s->hva + s->len);
	}
	pthread_mutex_unlock(&vm->lock);
	return n;
}

static uint64_t registered_rseq(void)
{
	return __rseq_size ? (uint64_t)__builtin_thread_pointer() + (uint64_t)__rseq_offset : 0;
}

static int64_t await_answer(struct proc_vm *p, int fds[2])
{
	struct zygote_answer a;
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} control;
	struct iovec iov = { &a, sizeof(a) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof(control) };
	ssize_t n;

	do {
		n = recvmsg(p->socket.fd, &h, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n != sizeof(a))
		return -EIO;
	if (fds && a.result >= 0) {
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);

		if (!c || c->cmsg_len != CMSG_LEN(2 * sizeof(int))) {
			if (c && c->cmsg_len == CMSG_LEN(sizeof(int))) { /* one of the two had room */
				memcpy(fds, CMSG_DATA(c), sizeof(int));
				close(fds[0]);
			}
			return h.msg_flags & MSG_CTRUNC ? -EMFILE : -EIO;
		}
		memcpy(fds, CMSG_DATA(c), 2 * sizeof(int));
		fds[0] = above_standard(fds[0]);
		fds[1] = above_standard(fds[1]);
	}
	return a.result;
}

int64_t zygote_ask(struct proc_vm *p, const struct zygote_request *r, int fds[2])
{
	size_t len = sizeof(*r) + (r->verb == ZYGOTE_MAP ? r->n * sizeof(struct zygote_map) : 0);
	struct iovec iov = { (void *)r, len };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct standard held = { .n = 0 };
	int64_t result = -EIO;

	pthread_mutex_lock(&p->talk);
	if (fds)
		standard_hold(&held);
	if (own_is_there(&p->socket) && sendmsg(p->socket.fd, &h, MSG_NOSIGNAL) == (ssize_t)len)
		result = await_answer(p, fds);
	standard_release(&held);
	pthread_mutex_unlock(&p->talk);
	return result;
}

static bool is_alive(struct proc_vm *p)
{
	struct pollfd fd = { .fd = p->zygote.fd, .events = POLLIN };
	const struct timespec now = { 0 };

	return own_is_there(&p->socket) && own_is_there(&p->zygote) && !ppoll(&fd, 1, &now, NULL);
}

void zygote_end(struct proc_vm *p)
{
	siginfo_t info;

	if (own_is_there(&p->socket))
		shutdown(p->socket.fd, SHUT_RDWR); /* a child of the program may have it, too */
	own_close(&p->socket);
	if (own_is_there(&p->zygote)) {
		/* It ends when the socket does. */
		while (waitid(P_PIDFD_, (id_t)p->zygote.fd, &info, WEXITED | __WALL) < 0 && errno == EINTR)
			;
	}
	own_close(&p->zygote);
	p->inherited = 0;
	p->template = NULL;
}

/* What lies at these numbers is given to the zygote, and mapped by stubs. */
static bool files_are_there(const struct proc_vm *p)
{
	bool all = own_is_there(&p->private_file) && own_is_there(&p->image_file);

	for (unsigned i = 0; i < p->nshared; i++)
		all &= own_is_there(&p->shared[i].own);
	return all;
}

static int make_one(struct dune_vm *vm)
{
	static struct birth b; /* vm->making held, and the child has a copy */
	struct proc_vm *p = proc_of(vm);
	int ends[2], self, pidfd = -1, err = 0;
	sigset_t all, old;
	long pid;

	if (!files_are_there(p))
		return -EIO;
	self = above_standard((int)syscall(SYS_pidfd_open, getpid(), 0));
	if (self < 0)
		return errno == ENOSYS ? -ENOTSUP : -errno;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
		err = -errno;
		close(self);
		return err;
	}
	ends[0] = above_standard(ends[0]);
	ends[1] = above_standard(ends[1]);
	memset(&b, 0, sizeof(b));
	b.base = stub_base(vm);
	b.fd[b.nfds++] = p->private_file.fd;
	b.fd[b.nfds++] = p->image_file.fd;
	for (unsigned i = 0; i < p->nshared; i++)
		b.fd[b.nfds++] = p->shared[i].own.fd;
	b.boot.files = b.nfds;
	b.boot.socket = (int)b.nfds;
	b.fd[b.nfds++] = ends[1];
	b.boot.master = (int)b.nfds;
	b.fd[b.nfds++] = self;
	b.boot.base = b.base;
	b.boot.rseq = registered_rseq();
	b.text_at = p->text.v;
	p->inherited = keep_windows(vm, &b.boot);
	p->shared_known = p->nshared;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	/* Not the C library's fork: no handler is to run, and no signal to tell the program of the end. */
	pid = syscall(SYS_clone, CLONE_PIDFD, 0, &pidfd, 0, 0);
	if (!pid)
		be_born(&b);
	err = pid < 0 ? -errno : 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	close(ends[1]);
	close(self);
	own_take(&p->socket, ends[0]);
	own_take(&p->zygote, above_standard(pidfd));
	if (!err)
		err = (int)await_answer(p, NULL);
	if (err)
		zygote_end(p);
	return err;
}

static int make(struct dune_vm *vm)
{
	struct standard held;
	int err;

	standard_hold(&held);
	err = make_one(vm);
	standard_release(&held);
	return err;
}

int zygote_ensure(struct dune_vm *vm)
{
	struct proc_vm *p = proc_of(vm);
	int err = 0;

	if (!is_alive(p) || p->shared_known != p->nshared) {
		zygote_end(p);
		err = make(vm);
	}
	/* Also where the last attempt at it failed half way. */
	if (!err && p->template != p->frozen)
		err = zygote_template(p->frozen);
	return err;
}

/* ---- the template ---- */

struct batch {
	struct proc_vm *p;
	struct zygote_batch b;
};

static int send_batch(struct batch *b)
{
	int err = b->b.r.n ? (int)zygote_ask(b->p, &b->b.r, NULL) : 0;

	b->b.r.n = 0;
	return err;
}

static int put_piece(void *ctx, const struct zygote_map *m)
{
	struct batch *b = ctx;

	b->b.map[b->b.r.n++] = *m;
	return b->b.r.n == ZYGOTE_MAPS ? send_batch(b) : 0;
}

int zygote_template(struct dune_space *template)
{
	struct batch b = { .p = proc_of(template->vm), .b.r.verb = ZYGOTE_MAP };
	int err = realise_pieces(template, 0, DUNE_USER_END, put_piece, &b);

	if (!err)
		err = send_batch(&b);
	if (!err)
		b.p->template = template;
	return err;
}
