/* SPDX-License-Identifier: MIT */
/* hostcall.c - the one table of the library's own calls from inside.  World: host. */
#include "sthread/hostcall.h"

#include <errno.h>

#include "sthread/gate.h"
#include "sthread/internal.h"
#include "sthread/tag.h"

long hostcall_serve(struct sys_ctx *ctx, enum hostcall nr, const uint64_t arg[5])
{
	struct lane *l = lane_of(ctx);

	switch (nr) {
	case HOSTCALL_GATE_CALL:
		return gate_serve_call(l, arg);
	case HOSTCALL_GATE_FIND:
		return gate_serve_find(l, arg[0]);
	case HOSTCALL_GATE_CALLER:
		return gate_serve_caller(l);
	case HOSTCALL_GATE_GIVE_FD:
		return gate_serve_give_fd(l, (int)arg[0], arg[1]);
	case HOSTCALL_TAG_ALLOC:
	case HOSTCALL_TAG_CALLOC:
	case HOSTCALL_TAG_REALLOC:
	case HOSTCALL_TAG_FREE:
	case HOSTCALL_TAG_OF:
		return tag_serve(ctx, nr, arg);
	case HOSTCALL_RETURN: /* syscall.c sees to the ends */
	case HOSTCALL_EXIT:
	case HOSTCALLS_END:
		break;
	}
	return -ENOSYS;
}
