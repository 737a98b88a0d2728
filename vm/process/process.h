/* SPDX-License-Identifier: MIT */
/*
 * process.h - the machine of stub processes: what the files of vm/process/ share.  World: host.
 *
 *	host ── socket ── zygote ── clone ── stub, stub, stub ...
 *	 └────── one listener a stub: its system calls, all of them ─┘
 *
 * Ring 3 is a stub process.  Its memory realises the page tables of one space by mappings of files that the host shares
 * with it; its filter asks the host about every system call.  The tables are the host's alone: so a changed entry is
 * written in place, and what a stub's memory still shows of the old one is on a list of its own (ranges.c) until
 * the stub has made it good (realise.c).
 *
 * A vCPU is a stub, and realises one space for as long as it lives.  A space's lock guards what its stubs have on their
 * lists.
 */
#ifndef VM_PROCESS_PROCESS_H
#define VM_PROCESS_PROCESS_H

#include <linux/seccomp.h>
#include <time.h>

#include "vm/machine.h"
#include "vm/process/abi.h"

/* ---- ranges.c: addresses that are to be looked at again ---- */

#define RANGES 32

/* Sorted, disjoint, not adjacent.  When it is full it covers more than it was told. */
struct ranges {
	unsigned n;
	struct range {
		uint64_t at, end;
	} r[RANGES];
};

void ranges_add(struct ranges *l, uint64_t at, uint64_t end);
void ranges_add_all(struct ranges *l, const struct ranges *more);
bool ranges_meet(const struct ranges *l, uint64_t at, uint64_t end);

/* ---- own.c ---- */

/*
 * A descriptor of the library's, and the file that it is of: a program may close all numbers from one on, and have
 * files of its own there since, which are not to be signalled, written, given to a stub, or closed.
 */
struct own_fd {
	int fd; /* -1: none */
	uint64_t device, file;
};

/* Takes over `fd`; a negative one is none. */
void own_take(struct own_fd *o, int fd);
/* Is it still there?  Before Linux 6.9 pidfds and listeners all look like one file: any of them counts as it. */
bool own_is_there(const struct own_fd *o);
/* Closes what is still there; none afterwards. */
void own_close(struct own_fd *o);

/* ---- machine.c ---- */

struct shared_range {
	uint64_t at, len;
	struct own_fd own;
};

/*
 * Memory of the program that lies in pages of the arena, and is seen at its own place.  `copy`: as much private memory,
 * which holds the bytes while the program forks.
 */
struct adopted {
	uint64_t at, len, gpa;
	void *copy;
};

struct proc_vm {
	struct dune_vm vm;
	/* Descriptors: files of private pages and of the image, both as long as the arena; the host's end of the socket. */
	struct own_fd private_file, image_file;
	struct shared_range shared[ZYGOTE_FILES - 2];
	unsigned nshared;
	struct adopted *adopted; /* vm->lock */
	size_t nadopted;
	char *image_view; /* all of the image's file, to write; blocks of it move into the arena */
	char *signals;	  /* signal stacks, by number of the stub; one page more, that holds something */
	uint64_t signals_at; /* in the file of private pages, behind the arena's, ... */
	bool signals_far;    /* ... and where no other file has anything */
	dune_gpa_t text;  /* image pages with the text of stubs and zygote */
	pthread_mutex_t copying; /* over `copies`; vm->lock nests in it */
	dune_gpa_t *copies; /* of windows that are not inherited, by number; 0: none yet */
	size_t ncopies;

	pthread_mutex_t talk; /* over the socket */
	struct own_fd socket; /* none: there is no zygote */
	struct own_fd zygote; /* its pidfd */
	size_t inherited;     /* the first so many windows are in its memory, at their addresses */
	unsigned shared_known;	     /* how many shared ranges it has the files of */
	struct dune_space *template; /* what its memory realises; or NULL */
	struct dune_space *frozen;   /* what it is to realise, this one and any that takes its place; or NULL */

	bool keeps_bases; /* the kernel knows what user code writes into the bases of FS and GS */
	bool must_poll; /* a death does not end the wait for a notification: before Linux 6.11 */
	bool may_lose; /* a signal may take away an answer that comes just then: before Linux 6.17 */
	size_t vectors_size;
	struct dune_gpa_list {
		dune_gpa_t *at;
		size_t n, cap;
	} stub_pages; /* of stubs that are gone */
	uint32_t *numbers;	   /* bitmap of those that stubs have */
};

/* ---- stub.c, notify.c, enter.c ---- */

enum stub_state {
	STUB_NONE,	/* it is dead, or there never was one */
	STUB_AT_REPORT, /* held there: it does next what the request page says */
	STUB_AT_CALL,	/* held at a system call of the compartment's */
	STUB_INSIDE,	/* it runs */
};

struct proc_space;

struct proc_vcpu {
	struct dune_vcpu c;
	unsigned number; /* the zygote's name for it */
	struct own_fd listener, pidfd;
	pid_t pid;
	clockid_t clock;
	uint64_t cpu_before; /* nanoseconds of the stubs before this one */

	dune_gpa_t request_page;
	struct request *request; /* host addresses */
	char *signals;

	/*
	 * One thread waits for its notifications at a time, who runs it or who settles it: the space's lock is released
	 * meanwhile.
	 */
	atomic_bool busy;
	enum stub_state state;
	bool killable;		/* no signal but SIGKILL takes back a notification that the host has received */
	bool signalled;		/* a handler has spoken since the signal stack was cleared */
	bool settled;		/* it has given up what it shared with the zygote */
	uint64_t fs, gs;	/* bases of the compartment's; of one that has not left REPORT, as it is told */
	struct {
		uint64_t fs, gs;
	} told, telling; /* the bases as the kernel has them; and as it has them once the ordered edits are made */
	bool initial_vectors;	/* those in the request page are a new process's */
	uint64_t id;		/* of the notification that holds it */
	struct seccomp_data held;
	struct dune_frame given; /* as the last exit told it; registers that a call does not tell are zero */
	bool rests;		 /* it was held at the call that `given` tells, and is at REPORT now: */
	struct dune_frame resting; /* all registers */
	_Atomic int64_t kicked_ms; /* a kick is on its way that it has not reported yet: since when, or since it was let go; 0: none */
	unsigned traps;		 /* on the way from REPORT to ring 3, in a row */
	bool unheard;		 /* no other notification came since REPORT was answered */

	/*
	 * A call that was answered, and whose answer a signal may have taken away on kernels that are not `killable` or
	 * `may_lose` it: asked again it is not performed again.
	 */
	bool kept, kept_refused;
	struct seccomp_data kept_call;
	int64_t kept_value;

	struct dune_frame ordered; /* what it was last told to resume */
	struct stub_edit edit[REQUEST_EDITS_MAX]; /* the host's copy of what it was told to make */
	unsigned nedits, allowed;

	uint64_t inherits; /* serial of the template that it was cloned with; 0: none */
	struct proc_space *space; /* that it realises; NULL: none yet */
	struct proc_vcpu *next;   /* of that space's */
	struct ranges stale;	  /* a mapping that was there may be there still */
	struct ranges wanted;	  /* what is not there, and may be wanted */
	struct ranges ordered_ranges; /* told, and not yet known to be made */
	struct ranges torn;	  /* windows that were inherited and are not there any more */

	uint64_t hint, hint_len;  /* private pages that the next touch may take; guest-physical, pages */
	uint64_t next_touch;	  /* where it is expected, and how many came before in a row */
	unsigned row;
};

struct proc_space {
	struct dune_space s;
	struct proc_vcpu *stubs;
};

static inline struct proc_vm *proc_of(const struct dune_vm *vm)
{
	return (struct proc_vm *)vm;
}

static inline struct proc_vcpu *proc_vcpu_of(const struct dune_vcpu *c)
{
	return (struct proc_vcpu *)c;
}

static inline struct proc_space *proc_space_of(const struct dune_space *s)
{
	return (struct proc_space *)s;
}

/* Where a stub has the library's part of its memory, and the image's offsets in it. */
static inline uint64_t stub_base(const struct dune_vm *vm)
{
	return vm->own;
}

extern const char stub_blob[], stub_blob_end[];

static inline const struct stub_header *stub_header(void)
{
	return (const struct stub_header *)(stub_blob + STUB_ZYGOTE);
}

static inline int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Where 0 to 2 could not be held.  -1 as given. */
int above_standard(int fd);

/* ---- zygote.c ---- */

/* There is one, with all that it has to have; made if need be.  vm->making held. */
int zygote_ensure(struct dune_vm *vm);
void zygote_end(struct proc_vm *p);
/* ZYGOTE_MAP: r is that of a batch.  fds, if not NULL, gets two descriptors.  Negative errno; -EIO: the zygote is gone. */
int64_t zygote_ask(struct proc_vm *p, const struct zygote_request *r, int fds[2]);
/* Its memory realises this space from now on. */
int zygote_template(struct dune_space *template);

/* ---- stub.c ---- */

/* vm->making held. */
int stub_spawn(struct proc_vcpu *c);
/* It is gone when this returns, its memory with it. */
void stub_kill(struct proc_vcpu *c);
/* There is a page for the next touch.  -ENOMEM. */
int stub_hint(struct proc_vcpu *c);
/* Its signal stack is as new; it is held at REPORT, and no frame there is of use any more. */
void stub_clear_signals(struct proc_vcpu *c);
/* It realises no space any more. */
void stub_unbind(struct proc_vcpu *c);
/* False: it is dead. */
bool stub_signal(struct proc_vcpu *c, int sig);
/*
 * Has it report soon.  One kick at a time: each takes room on the signal stack.  Asked again and again, it ends a stub
 * that has not reported for KICK_MS: nothing masks the signal, so it is stopped from outside, or waits for a processor.
 */
#define KICK_MS 30000
void stub_kick(struct proc_vcpu *c);
/* The next notification, in c->id and c->held.  interrupted: a signal of this thread ended the wait.  False: it is dead. */
bool stub_receive(struct proc_vcpu *c, int timeout_ms, bool *interrupted);
bool stub_is_dead(struct proc_vcpu *c);
/* False: it asks again, or is dead. */
bool stub_answer(struct proc_vcpu *c, int64_t value);
bool stub_allow(struct proc_vcpu *c);

int proc_vcpu_init(struct dune_vcpu *c);
void proc_vcpu_fini(struct dune_vcpu *c);
uint64_t proc_cpu_time(struct dune_vcpu *c);

/* ---- realise.c ---- */

uint64_t proc_get(struct dune_space *s, dune_gpa_t entry);
void proc_set(struct dune_space *s, dune_gpa_t entry, uint64_t old, uint64_t val, dune_gva_t at, int level);
/* The stub has the space from now on: what differs from what it inherited is to be made. */
void realise_bind(struct proc_vcpu *c, struct dune_space *s);
/*
 * Fills c->edit from its lists, as far as there is room.  -EAGAIN: a stub made anew would have what this one has lost
 * for good.
 */
int realise_edits(struct proc_vcpu *c);
/* What was told has been made. */
void realise_made(struct proc_vcpu *c);
/*
 * What a space maps in [at, end), and what it does not, as system calls that make it so.  fn's non-zero return ends it and
 * is returned.
 */
int realise_pieces(struct dune_space *s, uint64_t at, uint64_t end, int (*fn)(void *ctx, const struct zygote_map *m),
		   void *ctx);
/* Give what a touch of [page, page + c->hint_len pages) asks for, of the pages that the hint names.  False: not due. */
bool realise_touch(struct proc_vcpu *c, struct dune_space *s, uint64_t page, bool write);
bool proc_is_synced(const struct dune_space *s);
int proc_sync(struct dune_space *s);

/* ---- notify.c ---- */

#define GO_ON	     (-1) /* the stub goes on: there will be another notification */
#define BASE_UNKNOWN UINT64_MAX

/* WRFSBASE takes what four levels of page tables reach, the kernel's half too; anything else would be a fault. */
static inline uint64_t canonical(uint64_t base)
{
	return (uint64_t)((int64_t)(base << 16) >> 16) == base ? base : 0;
}

/* What c->held means: GO_ON, or enum entered and the frame. */
int notify(struct proc_vcpu *c, struct dune_space *s, struct dune_frame *f);
/* The same of one that is a REPORT. */
int notify_report(struct proc_vcpu *c, struct dune_space *s, struct dune_frame *f);
/* The vector registers in the request page are a new process's. */
void vectors_initial(struct proc_vcpu *c);

/* ---- enter.c ---- */

/*
 * A stub that is held at a call comes to REPORT, with the call answered and nothing else done: *f gets all registers.
 * -EIO: it is dead.
 */
int enter_recall(struct proc_vcpu *c, struct dune_space *s, int64_t value, struct dune_frame *f);

/* Nobody else waits for its notifications until stub_release().  s->lock held. */
void stub_seize(struct proc_vcpu *c, struct dune_space *s);
static inline void stub_release(struct proc_vcpu *c)
{
	atomic_store(&c->busy, false);
}

enum entered proc_enter(struct dune_vcpu *c, struct dune_space *s, struct dune_frame *f);
int proc_registers(struct dune_vcpu *c, struct dune_space *s, struct dune_frame *f);
/* The stub rests: it makes its edits now, and is held at REPORT again.  s->lock held.  -EIO: it is dead. */
int enter_settle(struct proc_vcpu *c, struct dune_space *s);

#endif
