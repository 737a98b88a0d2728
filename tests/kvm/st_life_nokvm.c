/* SPDX-License-Identifier: MIT */
/*
 * st_life_nokvm.c - no /dev/kvm, no right to it, something else in its place, no /proc: an error that says which, and
 * nothing changed.  Every case has a process of its own, with a /dev of its own.  World: host; plus_one() inside.
 */
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "tests/kvm/st_life.h"

static void *plus_one(void *arg)
{
	return (char *)arg + 1;
}

enum there { NOTHING, KVM, PRIVATE_KVM, A_FILE, NULL_DEVICE, NO_DRIVER, NO_PROC };

static const struct {
	const char *name;
	enum there there;
	int err;
} cases[] = {
	{ "an empty /dev", NOTHING, -ENOENT },
	{ "/dev/kvm of somebody else", PRIVATE_KVM, -EACCES },
	{ "a file", A_FILE, -ENOTSUP },
	{ "another device", NULL_DEVICE, -ENOTSUP },
	{ "a device without driver", NO_DRIVER, -ENOENT },
	{ "no /proc", NO_PROC, -ENOTSUP },
	{ "/dev/kvm, the allowed twin", KVM, 0 },
};

static void put(const char *path, mode_t mode, dev_t dev)
{
	if (mknod(path, mode, dev))
		SKIP_CPU("mknod %s: %s", path, strerror(errno));
}

/* In a mount namespace of its own. */
static void arrange(enum there there)
{
	struct stat kvm;

	if (stat("/dev/kvm", &kvm))
		SKIP("/dev/kvm: %s", strerror(errno));
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", there == NO_PROC ? "/proc" : "/dev", "tmpfs", 0, NULL))
		SKIP_CPU("no mount namespace: %s", strerror(errno));
	switch (there) {
	case NOTHING:
	case NO_PROC: break;
	case KVM: put("/dev/kvm", S_IFCHR | 0600, kvm.st_rdev); break;
	case PRIVATE_KVM:
		put("/dev/kvm", S_IFCHR | 0600, kvm.st_rdev);
		CHECK(!setgid(65534) && !setuid(65534));
		CHECK(!prctl(PR_SET_DUMPABLE, 1)); /* else its own /proc files are root's */
		break;
	case A_FILE: put("/dev/kvm", S_IFREG | 0600, 0); break;
	case NULL_DEVICE: put("/dev/kvm", S_IFCHR | 0600, makedev(1, 3)); break;
	case NO_DRIVER: put("/dev/kvm", S_IFCHR | 0600, makedev(240, 77)); break;
	}
}

static int one(enum there there, int want)
{
	const struct sthread_config cfg = life_config();
	struct life was = { 0 };
	int err;

	arrange(there);
	if (there != NO_PROC) {
		life_take(LIFE_SIGNAL);
		was = life_take(LIFE_SIGNAL);
	}
	err = sthread_init(&cfg);
	CHECK_MSG(err == want, "%s, not %s", strerror(-err), strerror(-want));
	if (!err) {
		struct sthread_result r = st_call(NULL, plus_one, (void *)41);

		ST_RETURNED(&r, 42);
		sthread_fini();
	} else {
		CHECK_ERR(sthread_call(NULL, plus_one, NULL, NULL), -EINVAL);
		if (there != NO_PROC)
			LIFE_SAME(&was, LIFE_SIGNAL, 0);
	}
	return TEST_PASSED;
}

int main(void)
{
	int skipped = 0, status;

	close(test_open_kvm());
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		pid_t pid;

		NOTE("%s", cases[i].name);
		pid = fork();
		CHECK(pid >= 0);
		if (!pid)
			_exit(one(cases[i].there, cases[i].err));
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK_MSG(WIFEXITED(status), "signal %d", WTERMSIG(status));
		if (WEXITSTATUS(status) == TEST_SKIPPED)
			skipped++;
		else
			CHECK_EQ(WEXITSTATUS(status), TEST_PASSED);
	}
	if (skipped)
		SKIP_CPU("%d cases need the right to arrange a /dev", skipped);
	return TEST_PASSED;
}
