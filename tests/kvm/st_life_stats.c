/* SPDX-License-Identifier: MIT */
/*
 * st_life_stats.c - the figures are true: each counts what it says, by exactly what was done, and a warm run costs one
 * world switch.  World: host; what is marked runs inside.
 */
#include <dirent.h>

#include "tests/kvm/st_life.h"

/* ---- inside ------------------------------------------------------------------------------------------------ */

/* KVM's, and the VM's; or two files and one for tags, and the zygote's pidfd. */
static void life_kvm_fds_are(uint64_t vcpus)
{
	CHECK_EQ(life_kvm_fds(), life_stats().machine == STHREAD_MACHINE_KVM ? vcpus + 2 : 2 * vcpus + 4);
}

static void *nothing(void *arg)
{
	return arg;
}

static void *calls(void *arg)
{
	for (uintptr_t i = 0; i < (uintptr_t)arg; i++)
		syscall(SYS_sched_yield);
	return NULL;
}

static void *writes_null(void *arg)
{
	*(volatile char *)arg = 1;
	return NULL;
}

static char image[64 * 4096] = "image"; /* not all zero: pages of the image */

static void *touches(void *arg)
{
	for (uintptr_t i = 0; i < (uintptr_t)arg; i++)
		((volatile char *)image)[i * 4096] = 1;
	return NULL;
}

static void *denied(void *arg)
{
	syscall(SYS_read, 0, NULL, 0);
	return arg;
}

/* ---- outside ------------------------------------------------------------------------------------------------------ */

#define GREW(field, by) CHECK_EQ(life_stats().field - was.field, (by))

static void ends(void)
{
	struct sthread_policy *p = st_policy();
	struct sthread_stats was = life_stats();
	struct sthread_result r;
	struct sthread *st;

	r = st_call(p, nothing, NULL);
	ST_RETURNED(&r, 0);
	GREW(calls, 1);
	GREW(created, 0);
	r = st_run(p, nothing, NULL);
	ST_RETURNED(&r, 0);
	GREW(calls, 1);
	GREW(created, 1);
	GREW(ended_faulted, 0);
	r = st_call(p, writes_null, (void *)16);
	ST_END(&r, STHREAD_FAULTED);
	GREW(ended_faulted, 1);
	st = st_create(p, life_sleeps, NULL);
	LIFE_UNTIL(life_stats().live == 1); /* a worker counts until it rests, a moment after the join */
	CHECK_OK(sthread_kill(st));
	st_join(st);
	GREW(ended_killed, 1);
	st_action(p, SYS_read, STHREAD_DENY_KILL);
	r = st_call(p, denied, NULL);
	ST_DENIED(&r, SYS_read);
	GREW(ended_denied, 1);
	st_limit(p, STHREAD_LIMIT_WALL_NS, 1000000);
	r = st_run(p, life_spins, NULL);
	ST_LIMIT(&r, STHREAD_LIMIT_WALL_NS);
	GREW(ended_limit, 1);
	GREW(ended_killed, 1);
	GREW(ended_faulted, 1);
	GREW(ended_denied, 1);
	GREW(calls, 3);
	GREW(created, 3);
	CHECK_EQ(life_stats().recycled + life_stats().cold, life_stats().created + life_stats().calls);
	LIFE_UNTIL(life_stats().live == 0);
	CHECK_GE(life_stats().pooled, 1);
	CHECK_EQ(life_stats().vcpus_lost, 0);
	sthread_policy_destroy(p);
}

static void live(void)
{
	struct sthread *st[20];

	LIFE_UNTIL(life_stats().live == 0);
	for (unsigned i = 0; i < 20; i++) {
		st[i] = st_create(NULL, life_sleeps, NULL);
		CHECK_EQ(life_stats().live, i + 1);
	}
	CHECK_GE(life_stats().vcpus, 20);
	life_kvm_fds_are(life_stats().vcpus);
	for (unsigned i = 0; i < 20; i++) {
		CHECK_OK(sthread_kill(st[i]));
		st_join(st[i]);
		LIFE_UNTIL(life_stats().live == 19 - i);
	}
}

static void warm(void)
{
	struct sthread_stats was;

	for (int i = 0; i < 5; i++)
		st_call(NULL, nothing, NULL);
	was = life_stats();
	for (int i = 0; i < 100; i++) {
		uint64_t before = life_stats().world_switches;
		struct sthread_result r = st_call(NULL, nothing, (void *)3);

		ST_RETURNED(&r, 3);
		CHECK_EQ(life_stats().world_switches - before, 1);
	}
	GREW(world_switches, 100);
	GREW(recycled, 100);
	GREW(cold, 0);
	GREW(faults_cow, 0);
	GREW(faults_demand, 0);
	GREW(page_table_edits, 0);
	GREW(pages_used, 0);
	GREW(vcpus, 0);
}

static void system_calls(void)
{
	struct sthread_stats was;

	for (int i = 0; i < 3; i++)
		st_call(NULL, calls, (void *)50);
	/* The last one is how a compartment ends. */
	was = life_stats();
	st_call(NULL, calls, (void *)0);
	GREW(syscalls, 1);
	GREW(world_switches, 1);
	was = life_stats();
	st_call(NULL, calls, (void *)50);
	GREW(syscalls, 51);
	GREW(world_switches, 51);
}

static void faults(void)
{
	struct sthread_stats was;
	uint64_t cow;

	/* Every page of the image that is written is copied once, and then stays. */
	st_call(NULL, touches, (void *)1);
	was = life_stats();
	st_call(NULL, touches, (void *)40);
	cow = life_stats().faults_cow + life_stats().faults_demand - was.faults_cow - was.faults_demand;
	CHECK_GE(cow, 1);
	CHECK_LE(cow, 40 + 64); /* neighbours are copied on suspicion */
	CHECK_GE(life_stats().pages_used - was.pages_used, 39);
	CHECK_LT(life_stats().world_switches - was.world_switches, cow + 2);
	was = life_stats();
	st_call(NULL, touches, (void *)40);
	GREW(faults_cow, 0);
	GREW(pages_used, 0);
	NOTE("40 pages of the image written: %" PRIu64 " copied", cow);
}

static void machine(void)
{
	struct sthread_stats s = life_stats();

	CHECK(s.placement == STHREAD_PLACE_HOST || s.placement == STHREAD_PLACE_RING0);
	if (test_placement() == TEST_PLACEMENT_HOST)
		CHECK_EQ(s.placement, STHREAD_PLACE_HOST);
	if (test_placement() == TEST_PLACEMENT_RING0)
		CHECK_EQ(s.placement, STHREAD_PLACE_RING0);
	CHECK_GE(s.pages_total, 4UL << 30 >> 12);
	CHECK_LT(s.pages_used, s.pages_total);
	CHECK_LT(s.table_pages, s.pages_used);
	CHECK_GT(s.slots, 2);
	CHECK_GT(s.image_pages, 10);
	CHECK_GE(s.image_pages * 4096, s.image_bytes);
	CHECK_GT(s.image_bytes, 0);
	CHECK_EQ(s.created + s.calls + s.live + s.recycled + s.cold + s.syscalls, 0);
	CHECK_EQ(s.ended_faulted + s.ended_killed + s.ended_denied + s.ended_limit, 0);
	CHECK_EQ(s.vcpus, s.machine == STHREAD_MACHINE_KVM); /* which has one that makes edits */
	NOTE("pages: %" PRIu64 " used, %" PRIu64 " of the image, %" PRIu64 " tables; %" PRIu64 " slots", s.pages_used,
	     s.image_pages, s.table_pages, s.slots);
}

/* Threads of this process that are behind a filter; -1: a kernel without seccomp. */
static int filtered(void)
{
	int n = 0, threads = 0;
	DIR *d = opendir("/proc/self/task");

	CHECK(d);
	for (struct dirent *e; (e = readdir(d));) {
		char path[300], line[128];
		FILE *f;
		int mode;

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/status", e->d_name);
		f = fopen(path, "r");
		while (f && fgets(line, sizeof(line), f)) {
			if (sscanf(line, "Seccomp: %d", &mode) != 1)
				continue;
			threads++;
			n += mode == 2;
			CHECK_MSG(mode != 2 || atoi(e->d_name) != getpid(), "the program's own thread is filtered");
		}
		if (f)
			fclose(f);
	}
	closedir(d);
	return threads ? n : -1;
}

/* Each thread of the library that runs a compartment is filtered, and no other; as the figure says. */
static void second_wall(void)
{
	struct sthread *st[12];
	struct sthread_result r;
	int before = filtered(), pool;

	if (before < 0)
		SKIP("no seccomp");
	CHECK_EQ(life_stats().filtered, 1);
	for (int i = 0; i < 12; i++)
		st[i] = st_create(NULL, life_spins, NULL);
	pool = filtered();
	CHECK_EQ(pool, before > 12 ? before : 12);
	for (int i = 0; i < 12; i++) {
		CHECK_OK(sthread_kill(st[i]));
		r = st_join(st[i]);
		ST_END(&r, STHREAD_KILLED);
	}
}

int main(void)
{
	for (int i = 0; i < 2; i++) {
		st_init();
		machine();
		ends();
		warm();
		system_calls();
		faults();
		live();
		second_wall();
		sthread_fini();
	}
	return TEST_PASSED;
}
