/* SPDX-License-Identifier: MIT */
/*
 * --isolation sthread: each connection in a fresh compartment. World: master, up to conn_serve().
 *
 * grant() is the whole authority of the code that meets hostile input.
 */
#include "isolation.h"

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sthread.h>
#include <sys/syscall.h>

#include "config.h"
#include "conn.h"
#include "log.h"

#define COMPARTMENT_MEMORY (8 << 20) /* bytes; about 300 KiB are used */
#define COMPARTMENT_FDS    4         /* the connection, the root, one file, and one to spare */

/* What conn.c and file.c call. A compartment has no other way to the machine. */
static const long allowed_calls[] = {
	SYS_read,	SYS_recvfrom,	SYS_sendto, SYS_poll,	SYS_shutdown, SYS_openat,
	SYS_newfstatat, SYS_fstat,	SYS_close,  SYS_clock_gettime,
};

static int grant(struct sthread_policy *policy, int connfd)
{
	int err;

	err = sthread_policy_fd(policy, connfd,
				STHREAD_FD_READ | STHREAD_FD_WRITE | STHREAD_FD_POLL |
					STHREAD_FD_SHUTDOWN);
	if (err)
		return err;
	err = sthread_policy_dir(policy, config.rootfd, STHREAD_FD_READ | STHREAD_FD_STAT);
	if (err)
		return err;
	for (size_t i = 0; i < sizeof(allowed_calls) / sizeof(allowed_calls[0]); i++) {
		err = sthread_policy_syscall(policy, allowed_calls[i], STHREAD_ALLOW);
		if (err)
			return err;
	}
	err = sthread_policy_limit(policy, STHREAD_LIMIT_MEMORY, COMPARTMENT_MEMORY);
	if (err)
		return err;
	err = sthread_policy_limit(policy, STHREAD_LIMIT_FDS, COMPARTMENT_FDS);
	if (err)
		return err;
	return sthread_policy_limit(policy, STHREAD_LIMIT_WALL_NS,
				    config_hard_limit() * UINT64_C(1000000000));
}

static enum sthread_placement placement(void)
{
	if (!strcmp(config.placement, "host"))
		return STHREAD_PLACE_HOST;
	if (!strcmp(config.placement, "ring0"))
		return STHREAD_PLACE_RING0;
	return STHREAD_PLACE_AUTO;
}

static int st_init(char *why, size_t len)
{
	struct sthread_config cfg = {
		.size = sizeof(cfg),
		.pool = config.max_connections,
		.placement = placement(),
	};
	int err = sthread_init(&cfg);

	switch (err) {
	case 0:
		break;
	case -ENOENT:
		snprintf(why, len,
			 "there is no /dev/kvm. Turn virtualization on, or load kvm_intel or kvm_amd; "
			 "or try --isolation fork");
		break;
	case -EACCES:
		snprintf(why, len,
			 "/dev/kvm may not be opened. Join the group kvm; or try --isolation fork");
		break;
	case -ENOTSUP:
		snprintf(why, len,
			 "this KVM or processor lacks what is needed, see sthread(7); "
			 "or try --isolation fork");
		break;
	case -ENOMEM:
		snprintf(why, len,
			 "not enough memory. Give the server more; or lower --max-connections");
		break;
	default:
		snprintf(why, len, "sthread_init: %s", strerror(-err));
	}
	return err;
}

/* A record in the log belongs under the line that says whose it is. */
static int describe(const struct sthread_result *result, char *report, size_t len)
{
	static const char head[] = "its compartment ended; only this connection is gone:\n";
	size_t n = sizeof(head) - 1;

	if (result->end == STHREAD_OVER_LIMIT && result->limit == STHREAD_LIMIT_WALL_NS)
		snprintf(report, len, "its compartment was ended after %u seconds",
			 config_hard_limit());
	else if (result->end == STHREAD_KILLED)
		snprintf(report, len, "its compartment was ended with the server");
	else if (len <= n || sthread_fault_format(result, report + n, len - n) < 0)
		snprintf(report, len, "its compartment ended in a way without words (%d)",
			 (int)result->end);
	else
		memcpy(report, head, n);
	return -EFAULT;
}

static int st_serve(int connfd, char *report, size_t len)
{
	struct sthread_policy *policy;
	struct sthread_result result;
	int err;

	err = sthread_policy_create(&policy);
	if (err)
		goto fail;
	err = grant(policy, connfd);
	if (err)
		goto fail_policy;
	err = sthread_call(policy, conn_serve, conn_arg(connfd), &result);
	if (err)
		goto fail_policy;
	sthread_policy_destroy(policy);
	if (result.end != STHREAD_RETURNED)
		return describe(&result, report, len);
	return (int)conn_result(result.value);

fail_policy:
	sthread_policy_destroy(policy);
fail:
	snprintf(report, len, "no compartment could be had: %s", strerror(-err));
	return err;
}

static void st_fini(void)
{
	struct sthread_stats stats;

	if (config.verbose && !sthread_stats(&stats))
		log_line("compartments: %" PRIu64 ", %" PRIu64 " of them in a recycled space; "
			 "world switches: %" PRIu64 ", system calls: %" PRIu64
			 ", pages copied: %" PRIu64 ", filled: %" PRIu64,
			 stats.calls, stats.recycled, stats.world_switches, stats.syscalls,
			 stats.faults_cow, stats.faults_demand);
	sthread_fini();
}

const struct isolation isolation_sthread = {
	.name = "sthread",
	.guards_root = true,
	.closes_all = true,
	/*
	 * The connection and the library's duplicate, its duplicate of the root, a virtual
	 * processor, and two for the file while it is being opened.
	 */
	.descriptors = 6,
	.init = st_init,
	.serve = st_serve,
	.fini = st_fini,
};
