// SPDX-License-Identifier: MIT
/*
 * dispatch.c - what happens to a compartment's system call, from the trap frame to its result.
 * World: host.
 */
#include "arch/cpu.h"
#include "sthread/syscall/syscall.h"

#include <asm/unistd.h>
#include <errno.h>
#include <string.h>

void sys_again(struct sys_ctx *ctx)
{
	ctx->mem.nomem = false;
	ctx->end = STHREAD_LOST;
	ctx->value = 0;
	ctx->limit = STHREAD_LIMIT_MEMORY;
	ctx->calls = 0;
	ctx->in_call = false;
	ctx->umask = 0;
	memset(ctx->name, 0, sizeof(ctx->name));
	atomic_store(&ctx->revoke, 0);
	ctx->message_len = 0;
	memset(ctx->message, 0, sizeof(ctx->message)); /* all of it goes into the result */
}

int sys_begin(struct sys_ctx *ctx)
{
	uint64_t fds = ctx->policy->limit[STHREAD_LIMIT_FDS];

	sys_again(ctx);
	return fdtab_load(&ctx->fds, ctx->policy->grant, ctx->policy->n,
			  fds < INT_MAX ? (unsigned)fds : INT_MAX);
}

void sys_done(struct sys_ctx *ctx)
{
	fdtab_clear(&ctx->fds);
}

void sys_ctx_fini(struct sys_ctx *ctx)
{
	fdtab_fini(&ctx->fds);
}

static bool killed(const struct sys_ctx *ctx)
{
	return ctx->stop && atomic_load_explicit(ctx->stop, memory_order_acquire);
}

void sys_attend(struct sys_ctx *ctx)
{
	uint64_t file = atomic_load(&ctx->revoke);

	if (!file)
		return;
	fdtab_revoke(&ctx->fds, file);
	atomic_store(&ctx->revoke, 0);
}

bool sys_stopping(struct sys_ctx *ctx)
{
	if (!ctx->in_call)
		sys_attend(ctx);
	return killed(ctx) || atomic_load(&ctx->revoke);
}

long sys_ended(struct sys_ctx *ctx, enum sthread_end end, uint64_t value)
{
	ctx->end = end;
	ctx->value = value;
	return SYS_PERFORM_END;
}

/* Keeps the end of what was written last; the pieces of one message arrive in several calls. */
static void message_add(struct sys_ctx *ctx, dune_gva_t at, uint64_t len)
{
	const unsigned room = sizeof(ctx->message) - 1;
	unsigned n = len < room ? (unsigned)len : room;
	unsigned keep = room - n;
	char part[STHREAD_MESSAGE];

	if (__builtin_add_overflow(at.v, len - n, &at.v) || uaccess_copy_in(&ctx->mem, part, at, n))
		return;
	if (ctx->message_len > keep) {
		memmove(ctx->message, ctx->message + ctx->message_len - keep, keep);
		ctx->message_len = keep;
	}
	memcpy(ctx->message + ctx->message_len, part, n);
	ctx->message_len += n;
	ctx->message[ctx->message_len] = '\0';
}

/*
 * Standard error that was not granted: the call fails as for any descriptor, but what abort(),
 * assert() and the stack protector had to say is kept for the record.
 */
static void message_keep(struct sys_ctx *ctx, const struct cpu_call *call)
{
	struct iovec iov[16];
	uint64_t n = call->arg[2];

	if (fdtab_find(&ctx->fds, 2))
		return;
	if (call->nr == __NR_write) {
		message_add(ctx, dune_gva(call->arg[1]), n);
		return;
	}
	if (n > sizeof(iov) / sizeof(iov[0]))
		n = sizeof(iov) / sizeof(iov[0]);
	if (uaccess_copy_in(&ctx->mem, iov, dune_gva(call->arg[1]), n * sizeof(iov[0])))
		return;
	for (uint64_t i = 0; i < n; i++)
		message_add(ctx, dune_gva((uintptr_t)iov[i].iov_base), iov[i].iov_len);
}

static enum sys_outcome ended(struct sys_ctx *ctx, enum sthread_end end, uint64_t value)
{
	sys_ended(ctx, end, value);
	return SYS_END;
}

/*
 * -ENOMEM by a private page that could not be had is no answer: the compartment is over its limit.
 */
static enum sys_outcome over_memory(struct sys_ctx *ctx)
{
	ctx->limit = STHREAD_LIMIT_MEMORY;
	return ended(ctx, STHREAD_OVER_LIMIT, 0);
}

/* Its frame can be large: not inlined, since nested gates stack up beside it. */
__attribute__((noinline)) static long run_call(struct sys_ctx *ctx, const struct sys_entry *entry,
					       const uint64_t arg[6])
{
	struct sys_call *c = __builtin_alloca(sys_call_size(entry));
	long result;

	ctx->in_call = entry->class == SYS_OUTSIDE;
	result = sys_decode(ctx, entry, arg, c);

	if (!result) {
		int r;

		result = entry->perform(c);
		r = sys_finish(c, result);
		if (r)
			result = r;
	}
	sys_release(c);
	ctx->in_call = false;
	return result;
}

static void hear(struct sys_ctx *ctx)
{
	if (ctx->hear)
		ctx->hear(ctx);
}

/*
 * A descriptor is taken back when no call is under way that may use it.  One that was ended for
 * that did nothing yet: it is decoded again, as if it came now.
 */
static long run_calls(struct sys_ctx *ctx, const struct sys_entry *entry, const uint64_t arg[6])
{
	bool again;
	long result;

	hear(ctx);
	do {
		sys_attend(ctx);
		result = run_call(ctx, entry, arg);
		again = result == -EINTR && atomic_load(&ctx->revoke) && !killed(ctx);
	} while (again);
	sys_attend(ctx);
	return result;
}

/* True: *result is that of one of the library's own calls. */
static bool own_call(struct sys_ctx *ctx, const struct cpu_call *call, long *result)
{
	const uint64_t nr = host_call_number(call->nr, call->arg[5]);

	if (!nr)
		return false;
	if (nr == HOSTCALL_RETURN || nr == HOSTCALL_EXIT) {
		*result = sys_ended(ctx, STHREAD_RETURNED, call->arg[0]);
		return true;
	}
	hear(ctx);
	*result = ctx->host_call(ctx, (enum hostcall)nr, call->arg);
	return true;
}

enum sys_outcome sys_dispatch(struct sys_ctx *ctx, struct dune_frame *frame)
{
	const struct cpu_call call = cpu_call(frame);
	uint8_t action;
	long result;
	int index;

	ctx->calls++;
	if (own_call(ctx, &call, &result))
		goto done;
	if ((int)call.arg[0] == 2 && (call.nr == __NR_write || call.nr == __NR_writev))
		message_keep(ctx, &call);
	index = sys_index(call.nr);
	action = index < 0 ? ctx->policy->other : ctx->policy->action[index];
	if (action == STHREAD_DENY_KILL)
		return ended(ctx, STHREAD_DENIED, call.nr);
	if (action != STHREAD_ALLOW || index < 0) {
		cpu_call_result(frame, -ENOSYS);
		return SYS_RESUME;
	}
	result = policy_arguments(ctx->policy, index, call.arg) ?
			 run_calls(ctx, &sys_table[index], call.arg) :
			 -EPERM;
done:
	if (result == SYS_PERFORM_END)
		return SYS_END;
	if (ctx->mem.nomem)
		return over_memory(ctx);
	cpu_call_result(frame, result);
	return SYS_RESUME;
}

unsigned sys_answers(const struct sys_ctx *ctx, struct sys_answer out[SYS_ANSWERS])
{
	const struct sys_answer all[SYS_ANSWERS] = {
		{ __NR_getpid, (uint64_t)ctx->pid },
		{ __NR_gettid, (uint64_t)ctx->tid },
		{ __NR_getppid, 0 },
		{ __NR_getuid, SYS_UID },
		{ __NR_geteuid, SYS_UID },
		{ __NR_getgid, SYS_UID },
		{ __NR_getegid, SYS_UID },
	};
	unsigned n = 0;

	for (unsigned i = 0; i < SYS_ANSWERS; i++)
		if (ctx->policy->action[sys_index((uint64_t)all[i].nr)] == STHREAD_ALLOW)
			out[n++] = all[i];
	return n;
}
