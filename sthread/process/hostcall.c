/* SPDX-License-Identifier: MIT */
/* hostcall.c - the one table of the library's own calls from inside.  World: host. */
#include "sthread/inside/hostcall.h"

#include <errno.h>

#include "sthread/gate/gate.h"
#include "sthread/nest/nest.h"
#include "sthread/tag/tag.h"

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
	case HOSTCALL_GATE_GIVE_TAG:
		return gate_serve_give_tag(l, arg[0], arg[1]);
	case HOSTCALL_GATE_CREATE:
		return nest_gate_create(l, arg[0]);
	case HOSTCALL_GATE_DESTROY:
		return nest_gate_destroy(l, arg[0]);
	case HOSTCALL_TAG_ALLOC:
	case HOSTCALL_TAG_RESIZE:
	case HOSTCALL_TAG_FREE:
	case HOSTCALL_TAG_OF:
		return tag_serve(ctx, nr, arg);
	case HOSTCALL_POLICY_CREATE:
	case HOSTCALL_POLICY_DESTROY:
	case HOSTCALL_POLICY_FD:
	case HOSTCALL_POLICY_DIR:
	case HOSTCALL_POLICY_SYSCALL:
	case HOSTCALL_POLICY_SYSCALL_ARG:
	case HOSTCALL_POLICY_LIMIT:
	case HOSTCALL_POLICY_TAG:
	case HOSTCALL_POLICY_MEMORY:
	case HOSTCALL_POLICY_GATE:
	case HOSTCALL_POLICY_TAGGED:
	case HOSTCALL_POLICY_CONNECT:
	case HOSTCALL_POLICY_BIND:
	case HOSTCALL_POLICY_FORMAT:
	case HOSTCALL_POLICY_IS_SUBSET:
		return nest_policy_serve(l, nr, arg);
	case HOSTCALL_STHREAD_CREATE:
	case HOSTCALL_STHREAD_CALL:
	case HOSTCALL_STHREAD_JOIN:
	case HOSTCALL_STHREAD_KILL:
	case HOSTCALL_STHREAD_DETACH:
		return nest_serve(l, nr, arg);
	case HOSTCALL_RETURN: /* syscall/dispatch.c sees to the ends */
	case HOSTCALL_EXIT:
	case HOSTCALLS_END:
		break;
	}
	return -ENOSYS;
}
