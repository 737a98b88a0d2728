/* SPDX-License-Identifier: MIT */
/* stats.c - the figures of the process.  World: host. */
#include <errno.h>

#include "sthread/inside/inside.h"
#include "sthread/process.h"
#include "sthread/tag/tag.h"

int sthread_stats(struct sthread_stats *out)
{
	struct dune_vm_stats v;
	struct dune_vm_info info;
	struct ckpt_stats c;
	uint64_t tags_there, tag_bytes;
	int err = 0;

	if (is_inside())
		return -EPERM;
	if (!out)
		return -EINVAL;
	pthread_mutex_lock(&process.lock);
	if (!process.ready) {
		err = -EINVAL;
		goto out;
	}
	dune_vm_get_stats(process.vm, &v);
	dune_vm_get_info(process.vm, &info);
	ckpt_get_stats(process.ckpt, &c);
	tags_count(&tags_there, &tag_bytes);
	*out = (struct sthread_stats){
		.created = process.created,
		.calls = process.calls,
		.live = process.live,
		.pooled = process.nidle_lanes + process.nidle_workers,
		.recycled = process.recycled,
		.cold = process.cold,
		.world_switches = v.world_switches,
		.syscalls = process.syscalls,
		.faults_cow = v.cow_faults,
		.faults_demand = v.demand_faults,
		.ended_faulted = process.faulted,
		.ended_killed = process.killed,
		.ended_denied = process.denied,
		.ended_limit = process.limited,
		.gate_calls = process.gate_calls,
		.gate_faults = process.gate_faults,
		.gate_denied = process.gate_denied,
		.page_table_edits = v.edits,
		.pages_used = v.pages_used,
		.pages_total = v.pages_total,
		.table_pages = v.table_pages,
		.vcpus = v.vcpus,
		.vcpus_lost = v.vcpus_lost,
		.slots = v.slots,
		.image_pages = c.pages + c.zero_pages,
		.image_bytes = c.bytes,
		.tags = tags_there,
		.tag_bytes = tag_bytes,
		.placement = info.placement == DUNE_PLACE_RING0 ? STHREAD_PLACE_RING0 :
								  STHREAD_PLACE_HOST,
		.machine = info.machine == DUNE_MACHINE_KVM ? STHREAD_MACHINE_KVM : STHREAD_MACHINE_PROCESS,
		.filtered = process.filter && !atomic_load(&process.unfiltered),
	};
out:
	pthread_mutex_unlock(&process.lock);
	return err;
}
