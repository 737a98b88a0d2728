/* SPDX-License-Identifier: MIT */
/*
 * st_stub_maps.c - what is mapped in a stub process, as the kernel tells it (/proc/PID/maps), compared with the list of what
 * may be there: the library's own text, orders and signal stack, the files of image, private memory and tags, windows on
 * text and constants.  No stack or heap of the program, nothing anonymous but zeros to read, nothing of the program's that can be written but
 * what was granted, nothing that can be written and executed.  World: host; what is marked runs inside.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "sthread/process.h"
#include "tests/kvm/st_life.h"
#include "tests/st_tag.h"
#include "vm/process/process.h"

#define LINES 2048

static char secret[3 * 4096] __attribute__((aligned(4096))) = "in the image";

/* Inside: until it is ended. */
static void *touches(void *arg)
{
	char *p = malloc(100000);

	memset(p, 1, 100000);
	memset(secret, 1, sizeof(secret));
	if (arg)
		*(volatile char *)arg = 1;
	return life_spins(NULL);
}

static pid_t inside_now(void)
{
	pid_t pid = 0;

	pthread_mutex_lock(&process.vm->lock);
	for (struct dune_vcpu *c = process.vm->vcpus; c; c = c->next)
		if (proc_vcpu_of(c)->state == STUB_INSIDE && atomic_load(&c->thread))
			pid = proc_vcpu_of(c)->pid;
	pthread_mutex_unlock(&process.vm->lock);
	return pid;
}

struct found {
	unsigned lines, private_pages, image, shared, zeros, windows, odd;
};

static void look(pid_t pid, bool tag, struct found *n)
{
	char name[64], line[512];
	FILE *f;

	memset(n, 0, sizeof(*n));
	snprintf(name, sizeof(name), "/proc/%d/maps", pid);
	f = fopen(name, "re");
	/* Nor may anybody look who may not trace: a stub is not dumpable. */
	if (!f && errno == EACCES && geteuid()) {
		NOTE("the kernel does not show it to this user");
		exit(TEST_PASSED);
	}
	CHECK(f != NULL);
	while (fgets(line, sizeof(line), f)) {
		uint64_t start, end, ino;
		char prot[8], path[400] = "";

		CHECK_GE(sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %*x %*s %" SCNu64 " %399[^\n]", &start, &end, prot, &ino, path), 4);
		n->lines++;
		CHECK_MSG(!(strchr(prot, 'w') && strchr(prot, 'x')), "to write and execute: %s", line);
		if (strstr(path, "/memfd:sthread-private")) {
			CHECK_MSG(!strchr(prot, 'x') && prot[3] == 's', "private memory: %s", line);
			n->private_pages++;
		} else if (strstr(path, "/memfd:sthread-image")) {
			CHECK_MSG(!strchr(prot, 'w'), "the image: %s", line);
			n->image++;
		} else if (strstr(path, "/memfd:sthread-shared")) {
			CHECK_MSG(tag && !strchr(prot, 'x'), "a tag: %s", line);
			n->shared++;
		} else if (!strcmp(path, "[vdso]") || !strncmp(path, "[vvar", 5) || !strcmp(path, "[vsyscall]")) {
			n->odd++;
		} else if (!ino && (!path[0] || !strcmp(path, "[heap]") || !strncmp(path, "[anon:", 6))) {
			/* What is zero in the image; the kernel names places after what was there in the program. */
			CHECK_MSG(!strcmp(prot, "r--p"), "not on the list: %s", line);
			n->zeros++;
		} else {
			/* Text and constants of loaded objects, inherited: files, never to write. */
			CHECK_MSG(ino && path[0] == '/' && !strstr(path, "memfd:") && !strchr(prot, 'w'), "not on the list: %s", line);
			n->windows++;
		}
	}
	fclose(f);
}

int main(void)
{
	struct sthread_policy *p;
	struct found n;

	CHECK_OK(setenv("STHREAD_PLACEMENT", "process", 1));
	st_init();
	/* What the program has since: none of it is there. */
	for (int i = 0; i < 16; i++)
		CHECK(malloc(1 << 20) != NULL);
	p = st_policy();
	for (int tagged = 0; tagged < 2; tagged++) {
		struct sthread_tag *t = NULL;
		struct sthread *st;
		struct sthread_result r;
		char *block = NULL;
		pid_t pid = 0;

		if (tagged) {
			t = tag("maps", 1 << 20);
			block = sthread_malloc(t, 4096);
			CHECK(block != NULL);
			CHECK_OK(sthread_policy_tag(p, t, STHREAD_WRITE));
		}
		st = st_create(p, touches, block);
		/* It spins: what it shared with the process that it was cloned from is gone before that. */
		for (int same = 0; same < 30; same++) {
			pid_t now = inside_now();

			same = now && now == pid ? same : 0;
			pid = now;
			life_nap(10000);
		}
		look(pid, tagged, &n);
		NOTE("%u mappings: %u private, %u image, %u tags, %u zeros, %u windows, %u of the kernel", n.lines, n.private_pages, n.image,
		     n.shared, n.zeros, n.windows, n.odd);
		CHECK_GT(n.image, 0);
		CHECK_GT(n.windows, 0);
		CHECK_EQ(n.shared > 0, tagged);
		CHECK_OK(sthread_kill(st));
		r = st_join(st);
		ST_END(&r, STHREAD_KILLED);
	}
	sthread_fini();
	return TEST_PASSED;
}
