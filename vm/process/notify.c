/* SPDX-License-Identifier: MIT */
/*
 * notify.c - what a stub's notifications mean: a system call of the compartment's, an edit, a touch, a report with a
 * signal frame.  World: host.
 *
 * What the kernel says is believed: that a stub is held, at which instruction, with which number and arguments.  What
 * lies in the stub's own memory, as a signal frame, is the compartment's word, and read once.
 */
#include <errno.h>
#include <linux/audit.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "arch/layout.h"
#include "vm/process/process.h"

#define FRAME_INFO 304 /* of the signal frame: siginfo_t, behind the ucontext that the kernel makes */
#define FRAME_REGS 40
#define FRAME_FPU  224
#define VECTORS_HEADER 512
#define INITIAL_MXCSR  0x1f80

enum { R8, R9, R10, R11, R12, R13, R14, R15, RDI, RSI, RBP, RBX, RDX, RAX, RCX, RSP, RIP, FLAGS, SELECTORS, ERROR, TRAPNO, MASK, CR2, WORDS };

/* ---- registers ---- */

void vectors_initial(struct proc_vcpu *c)
{
	const uint32_t mxcsr = INITIAL_MXCSR;

	if (c->initial_vectors)
		return;
	/* No component is present: each is put in its initial state, but for this one register. */
	memset(c->request->vectors, 0, proc_of(c->c.vm)->vectors_size); /* and nobody reads what they were */
	memcpy(c->request->vectors + 24, &mxcsr, sizeof(mxcsr));
	c->initial_vectors = true;
}

/* The vector registers of a signal frame, made fit for XRSTOR. */
static void take_vectors(struct proc_vcpu *c, uint64_t offset)
{
	struct proc_vm *p = proc_of(c->c.vm);
	uint64_t header[8] = { 0 };
	uint32_t mxcsr;

	if (offset % 64 || offset >= STUB_SIGNALS_SIZE || p->vectors_size > STUB_SIGNALS_SIZE - offset) {
		c->initial_vectors = false;
		vectors_initial(c);
		return;
	}
	memcpy(c->request->vectors, c->signals + offset, p->vectors_size);
	memcpy(header, c->request->vectors + VECTORS_HEADER, sizeof(header[0]));
	header[0] &= p->vm.info.xcr0;
	memcpy(c->request->vectors + VECTORS_HEADER, header, sizeof(header));
	memcpy(&mxcsr, c->request->vectors + 24, sizeof(mxcsr));
	mxcsr &= 0xffbf;
	memcpy(c->request->vectors + 24, &mxcsr, sizeof(mxcsr));
	c->initial_vectors = false;
}

static void finish_frame(struct dune_frame *f)
{
	f->cs = SEL_USER_CS;
	f->ss = SEL_USER_DS;
	f->rflags = (f->rflags & FLAGS_USER) | FLAGS_FIXED;
}

/* A signal, and what it interrupted. */
struct interruption {
	struct dune_frame f;
	bool by_user;	  /* it was sent, and is no instruction's doing */
	bool bus;	  /* SIGBUS */
	bool kick;	  /* one of the library's own, or a handler that it interrupted was for one */
	uint64_t vectors; /* where on the signal stack the vector registers are, for take_vectors() */
};

/* What a signal frame at this address says.  False: none can be there. */
static bool read_frame(const struct proc_vcpu *c, uint64_t context, struct interruption *out)
{
	uint64_t offset = context - (stub_base(c->c.vm) + STUB_SIGNALS), r[WORDS];
	int32_t code, sig;

	if (offset % 8 || offset >= STUB_SIGNALS_SIZE || STUB_SIGNALS_SIZE - offset < FRAME_INFO + sizeof(siginfo_t))
		return false;
	memcpy(r, c->signals + offset + FRAME_REGS, sizeof(r));
	memcpy(&out->vectors, c->signals + offset + FRAME_FPU, sizeof(out->vectors));
	out->vectors -= stub_base(c->c.vm) + STUB_SIGNALS;
	memcpy(&sig, c->signals + offset + FRAME_INFO, sizeof(sig));
	memcpy(&code, c->signals + offset + FRAME_INFO + 8, sizeof(code));
	out->bus = sig == SIGBUS;
	out->kick |= sig == STUB_KICK;
	out->by_user = code <= 0;
	out->f = (struct dune_frame){
		.r15 = r[R15], .r14 = r[R14], .r13 = r[R13], .r12 = r[R12], .rbp = r[RBP], .rbx = r[RBX],
		.r11 = r[R11], .r10 = r[R10], .r9 = r[R9], .r8 = r[R8], .rax = r[RAX], .rcx = r[RCX],
		.rdx = r[RDX], .rsi = r[RSI], .rdi = r[RDI], .vector = r[TRAPNO], .error = r[ERROR],
		.rip = r[RIP], .rflags = r[FLAGS], .rsp = r[RSP], .cr2 = r[CR2],
	};
	finish_frame(&out->f);
	return true;
}

/*
 * The signal whose frame is at `context` came while a handler ran.  What the compartment was doing is in the frame that
 * this handler was given, with its vector registers, since the kernel starts handlers with initial ones; the report is then
 * of that signal.  False: it leads nowhere, which the compartment has made up.
 */
static bool unwind_handlers(const struct proc_vcpu *c, uint64_t context, struct interruption *i)
{
	for (;;) {
		uint64_t off = i->f.rip - stub_base(c->c.vm), outer;

		if (off >= STUB_TEXT_SIZE)
			return true;
		/* No handler yet: the function has returned, and says so next. */
		if (off >= stub_header()->end || (off >= stub_header()->report && (int64_t)i->f.rdi == REPORT_END))
			return true;
		if (off >= stub_header()->left && off < stub_header()->left_end) {
			memcpy(&i->f.rip, c->signals, sizeof(i->f.rip));
			memcpy(&i->f.rsp, c->signals + 8, sizeof(i->f.rsp));
			return i->f.rip - stub_base(c->c.vm) >= STUB_TEXT_SIZE;
		}
		outer = off == stub_header()->handler ? i->f.rdx : i->f.rbp;
		if (outer <= context || !read_frame(c, outer, i))
			return false;
		context = outer;
	}
}

/* A system call as the kernel tells it: the other registers are not known. */
static void frame_of_call(struct proc_vcpu *c, struct dune_frame *f)
{
	const __u64 *a = c->held.args;

	*f = (struct dune_frame){
		.rax = (uint64_t)(int64_t)c->held.nr, .rdi = a[0], .rsi = a[1], .rdx = a[2], .r10 = a[3], .r8 = a[4],
		.r9 = a[5], .rip = c->held.instruction_pointer, .rcx = c->held.instruction_pointer,
		.r11 = FLAGS_FIXED, .vector = VECTOR_SYSCALL,
	};
	finish_frame(f);
	c->given = *f;
}

/* ---- what they mean ---- */

static bool in_order(const struct proc_vcpu *c, uint64_t rip)
{
	uint64_t off = rip - stub_base(c->c.vm);

	/* At REPORT itself: the host has heard of it already only where the kernel takes that back, and it was the last. */
	if (off >= stub_header()->report && off < stub_header()->report_ip)
		return !c->killable && off == stub_header()->report_ip - 2 && c->unheard;
	return off >= stub_header()->report_ip && off < stub_header()->resume_end;
}

/*
 * The state of the frame at `context` has not left REPORT yet: it stands there, or in a handler that interrupted that, at
 * any depth.  A frame lies below the one that it interrupted, but where the handler had given that one up, which only one
 * does that interrupted REPORT.  What a running compartment makes up here only has it begin again.
 */
static bool begins_again(const struct proc_vcpu *c, uint64_t context, const struct dune_frame *f)
{
	uint64_t rip = f->rip, rdx = f->rdx, rbp = f->rbp, rdi = f->rdi, base = stub_base(c->c.vm);
	uint64_t from = context - (base + STUB_SIGNALS);

	for (;;) {
		uint64_t off = rip - base, at, r[WORDS];

		if (in_order(c, rip))
			return true;
		if (off < stub_header()->handler || off >= stub_header()->report_ip)
			return false;
		if (off >= stub_header()->report && (int64_t)rdi <= 0) /* no handler's report */
			return (int64_t)rdi == REPORT_EDITED || (int64_t)rdi == REPORT_FAILED || (int64_t)rdi == REPORT_BASES;
		at = (off == stub_header()->handler ? rdx : rbp) - (base + STUB_SIGNALS);
		if (at % 8 || at >= STUB_SIGNALS_SIZE || STUB_SIGNALS_SIZE - at < FRAME_REGS + sizeof(r))
			return false;
		if (at <= from)
			return true;
		memcpy(r, c->signals + at + FRAME_REGS, sizeof(r));
		rip = r[RIP];
		rdx = r[RDX];
		rbp = r[RBP];
		rdi = r[RDI];
		from = at;
	}
}

/* Not all that it was told has been allowed: who is beyond REPORT all the same is not believed. */
static bool owes_edits(const struct proc_vcpu *c)
{
	return c->allowed < c->nedits && c->ordered_ranges.n;
}

static bool is_mapped(struct dune_space *s, uint64_t at)
{
	struct dune_leaf leaf;

	return at < DUNE_USER_END && !pt_lookup(&s->pt, dune_gva(at), &leaf) &&
	       (leaf.prot & (DUNE_READ | DUNE_WRITE | DUNE_EXEC));
}

/* The tables say whether something is there: what the stub has of it may be less. */
static void correct_error(struct dune_space *s, struct dune_frame *f)
{
	f->error = (f->error & 0x16) | is_mapped(s, f->cr2);
}

/*
 * Whether a signal may have taken an answer away.  Where the kernel waits killably it may not, but for one that came
 * within the answer on kernels before 6.17.  Of those only our own come at such moments: what was sent from outside, as
 * SIGCONT to a whole group, has most likely found a call that is just like the answered one, and was not heard of yet.
 */
static bool may_be_lost(const struct proc_vcpu *c, const struct interruption *i)
{
	return !c->killable || (proc_of(c->c.vm)->may_lose && i->kick);
}

/* The frame stands at the call that was answered: the answer is lost, and the call is not made again. */
static void deliver_kept(struct proc_vcpu *c, struct dune_frame *f)
{
	const struct seccomp_data *call = &c->kept_call;
	const uint64_t arg[6] = { f->rdi, f->rsi, f->rdx, f->r10, f->r8, f->r9 };

	c->kept = false;
	if (f->rip != call->instruction_pointer - 2 || (uint32_t)f->rax != (uint32_t)call->nr)
		return;
	for (int i = 0; i < 6; i++)
		if (arg[i] != call->args[i])
			return;
	f->rip = call->instruction_pointer;
	f->rax = (uint64_t)c->kept_value;
}

/*
 * The call that was answered is over, but a kernel that is itself a guest may not return to a stack pointer that is not
 * canonical: a fault that the compartment does not have on a processor.  From REPORT it is loaded as a register.
 */
static bool returned_badly(const struct proc_vcpu *c, const struct dune_frame *f)
{
	return f->vector == VECTOR_GP && f->rip == c->kept_call.instruction_pointer && f->rax == (uint64_t)c->kept_value &&
	       canonical(f->rsp) != f->rsp;
}

static int on_signal(struct proc_vcpu *c, struct dune_space *s, uint64_t context, struct dune_frame *f)
{
	struct interruption i = { .kick = false };

	c->signalled = true;
	if (!read_frame(c, context, &i))
		goto forged;
	if (begins_again(c, context, &i.f)) {
		/* A run may leave flags and rights that trap once at REPORT; the handler has its own.  Bad registers trap again. */
		if (!i.by_user && c->traps++)
			return ENTERED_LOST;
		*f = c->ordered;
		return ENTERED_AGAIN;
	}
	if (owes_edits(c))
		return ENTERED_LOST;
	c->traps = 0;
	realise_made(c);
	if (!unwind_handlers(c, context, &i))
		goto forged;
	/* Not before: where it begins again, those of the request page are the compartment's, and the frame's are not. */
	take_vectors(c, i.vectors);
	c->fs = c->held.args[2];
	c->gs = c->held.args[3];
	*f = i.f;
	if (i.by_user) {
		if (c->kept && may_be_lost(c, &i))
			deliver_kept(c, f);
		c->kept = false;
		f->vector = 0;
		return ENTERED_AGAIN;
	}
	if (c->kept && returned_badly(c, f)) {
		c->kept = false;
		f->vector = 0;
		return ENTERED_AGAIN;
	}
	c->kept = false;
	if (f->vector != VECTOR_PF)
		return ENTERED_TRAP;
	if (f->rip >= DUNE_USER_END) { /* the page of old system calls: what the kernel says of its argument */
		f->cr2 = f->rip;
		f->error = 0x14;
	}
	if (i.bus && is_mapped(s, f->cr2)) { /* nothing is behind that page of a file */
		f->vector = VECTOR_MC;
		f->error = 0;
		return ENTERED_DECIDED;
	}
	correct_error(s, f);
	if (f->cr2 < DUNE_USER_END) {
		uint64_t page = f->cr2 & ~(DUNE_PAGE_SIZE - 1);

		if (!space_is_reserved(s, dune_gva(page), DUNE_PAGE_SIZE))
			ranges_add(&c->wanted, page, page + DUNE_PAGE_SIZE);
	}
	return ENTERED_TRAP;
forged:
	*f = (struct dune_frame){ .vector = VECTOR_GP };
	finish_frame(f);
	return ENTERED_DECIDED;
}

int notify_report(struct proc_vcpu *c, struct dune_space *s, struct dune_frame *f)
{
	int64_t why = (int64_t)c->held.args[0];
	uint64_t arg = c->held.args[1];

	/* Before vcpu_may_enter() is asked again.  Any signal's report: that of a kick may have been interrupted by it. */
	if (why > 0)
		atomic_store(&c->kicked_ms, 0);
	c->state = STUB_AT_REPORT;
	switch (why) {
	case REPORT_END:
		if (owes_edits(c))
			return ENTERED_LOST;
		c->traps = 0;
		realise_made(c);
		*f = (struct dune_frame){
			.rax = DUNE_SYS_RETURN, .rdi = arg, .rip = (uint64_t)dune_reset_entry, .vector = VECTOR_SYSCALL,
		};
		finish_frame(f);
		return ENTERED_DECIDED;
	case REPORT_EDITED:
	case REPORT_BASES:
		if (owes_edits(c))
			return ENTERED_LOST;
		realise_made(c);
		if (why == REPORT_BASES)
			c->told.fs = c->told.gs = BASE_UNKNOWN;
		*f = c->ordered;
		return ENTERED_AGAIN;
	case REPORT_FAILED:
		ranges_add_all(&c->stale, &c->ordered_ranges);
		c->ordered_ranges.n = 0;
		*f = c->ordered;
		return (int64_t)arg == -ENOMEM ? ENTERED_NOMEM : ENTERED_LOST;
	default:
		/* START is said once, to stub_spawn(): else it is the compartment that says so. */
		return on_signal(c, s, why > 0 && why < 65 ? arg : 0, f);
	}
}

static bool is_edit(const struct proc_vcpu *c)
{
	const struct stub_edit *e = &c->edit[c->allowed];

	if (c->allowed >= c->nedits || c->held.nr != e->nr)
		return false;
	for (int i = 0; i < 6; i++)
		if (c->held.args[i] != (uint64_t)e->arg[i])
			return false;
	return true;
}

/* The handler's own attempt to resolve a touch. */
static bool is_touch(const struct proc_vcpu *c)
{
	const __u64 *a = c->held.args;

	return c->held.nr == SYS_mmap && c->hint_len && a[1] == c->hint_len * DUNE_PAGE_SIZE && a[2] == 3 &&
	       (a[3] & ~0x4000UL) == 0x8011 && a[4] == STUB_FD_PRIVATE && a[5] == c->hint;
}

static int on_touch(struct proc_vcpu *c, struct dune_space *s)
{
	/* Where an answer can be lost, what was allowed may not have been made: a made-up touch is no sign of it. */
	bool given, owes = c->ordered_ranges.n && (!c->killable || c->allowed < c->nedits);

	c->signalled = true;
	/* A fault at an edit ends here too: what was told has not been made then. */
	if (!owes)
		realise_made(c);
	/* With changes to come it is no time for one more. */
	given = !owes && is_touch(c) && !c->stale.n &&
		!space_is_reserved(s, dune_gva(c->held.args[0]), c->hint_len * DUNE_PAGE_SIZE) &&
		realise_touch(c, s, c->held.args[0], !(c->held.args[3] & 0x4000));
	c->request->hint_at = c->hint;
	c->request->hint_len = c->hint_len * DUNE_PAGE_SIZE;
	if (given)
		stub_allow(c);
	else
		stub_answer(c, -ENOMEM);
	return GO_ON;
}

static bool same_call(const struct seccomp_data *a, const struct seccomp_data *b)
{
	return a->nr == b->nr && a->arch == b->arch && a->instruction_pointer == b->instruction_pointer &&
	       !memcmp(a->args, b->args, sizeof(a->args));
}

/* An instruction that is no system call of this machine's, where it enters the kernel all the same. */
static int on_odd_call(struct proc_vcpu *c, struct dune_space *s, struct dune_frame *f)
{
	const struct seccomp_data held = c->held;
	int err;

	c->state = STUB_AT_CALL;
	err = enter_recall(c, s, -ENOSYS, f);
	if (err)
		return ENTERED_LOST;
	f->vector = VECTOR_GP;
	f->error = 0;
	if (held.arch != AUDIT_ARCH_X86_64) {
		f->rip = held.instruction_pointer - 2; /* int $0x80, sysenter */
	} else if (held.instruction_pointer >= DUNE_USER_END) {
		f->rip = held.instruction_pointer; /* the page of old system calls, which no space has */
		f->vector = VECTOR_PF;
		f->error = 0x14;
		f->cr2 = f->rip;
	}
	return ENTERED_DECIDED;
}

int notify(struct proc_vcpu *c, struct dune_space *s, struct dune_frame *f)
{
	uint64_t off = c->held.instruction_pointer - stub_base(c->c.vm);
	bool ours = c->held.arch == AUDIT_ARCH_X86_64;

	if (off != stub_header()->report_ip)
		c->unheard = false;
	if (ours && off < STUB_SIZE) {
		if (off == stub_header()->report_ip && c->held.nr == REPORT_NR)
			return notify_report(c, s, f);
		if (off == stub_header()->edit_ip && is_edit(c)) {
			if (stub_allow(c)) { /* else it asks again */
				c->allowed++;
				atomic_fetch_add_explicit(&c->c.vm->edits, 1, memory_order_relaxed);
			}
			return GO_ON;
		}
		if (off == stub_header()->fault_ip)
			return on_touch(c, s);
	}
	if (owes_edits(c)) /* it left REPORT without them: that cannot be */
		return ENTERED_LOST;
	c->traps = 0;
	realise_made(c);
	if (!ours || off < STUB_SIZE || c->held.instruction_pointer >= DUNE_USER_END)
		return on_odd_call(c, s, f);
	if (c->kept && c->kept_refused && same_call(&c->held, &c->kept_call)) {
		c->kept_refused = !stub_answer(c, c->kept_value);
		return GO_ON;
	}
	c->kept = false;
	c->state = STUB_AT_CALL;
	frame_of_call(c, f);
	return ENTERED_TRAP;
}
