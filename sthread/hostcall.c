/* SPDX-License-Identifier: MIT */
/* hostcall.c - the one table of the library's own calls from inside.  World: host. */
#include "sthread/hostcall.h"

#include <errno.h>

#include "sthread/internal.h"
#include "sthread/tag.h"

long hostcall_serve(struct sys_ctx *ctx, enum hostcall nr, const uint64_t arg[5])
{
	switch (nr) {
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
