/* SPDX-License-Identifier: MIT */
/*
 * Locks of the master on a file that a compartment opens, duplicates and closes stay what they are: those of the open file.
 * Those of the process do not, as docs/attacks.md says, and are here to show that the compartment tried.  World: host; ST_FN:
 * inside.
 */
#include "tests/st.h"

#include <sys/file.h>
#include <sys/wait.h>

static int dir = -1, file = -1; /* in the image */

ST_FN(opens_and_closes)
{
	int fd = (int)syscall(SYS_openat, dir, "file", O_RDWR, 0);

	CHECK_GE(fd, 0);
	CHECK_EQ(close(fd), 0);
	return NULL;
}

ST_FN(duplicates_and_closes)
{
	int fd = dup(file);

	CHECK_GE(fd, 0);
	CHECK_EQ(close(fd), 0);
	CHECK_EQ(close(file), 0);
	return NULL;
}

/* Without the right it has no way to a lock. */
ST_FN(unlocks)
{
	int fd = (int)syscall(SYS_openat, dir, "file", O_RDWR, 0);
	struct flock none = { .l_type = F_UNLCK };

	CHECK_GE(fd, 0);
	CHECK(flock(file, LOCK_UN) == -1 && errno == EPERM);
	CHECK(flock(fd, LOCK_UN) == -1 && errno == EPERM);
	CHECK(fcntl(fd, F_SETLK, &none) == -1 && errno == EINVAL);
	CHECK(fcntl(file, F_OFD_SETLK, &none) == -1 && errno == EINVAL);
	CHECK_EQ(close(fd), 0);
	return NULL;
}

enum kind { RECORD, OPEN_FILE, FLOCK, KINDS };

static void lock(int fd, enum kind kind, short type)
{
	struct flock l = { .l_type = type };

	if (kind == FLOCK)
		CHECK_OK(flock(fd, type == F_WRLCK ? LOCK_EX | LOCK_NB : LOCK_UN));
	else
		CHECK_OK(fcntl(fd, kind == RECORD ? F_SETLK : F_OFD_SETLK, &l));
}

/* Another process is kept out. */
static bool locked(enum kind kind)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		int fd = openat(dir, "file", O_RDWR);
		struct flock l = { .l_type = F_WRLCK };

		if (kind == FLOCK)
			_exit(flock(fd, LOCK_EX | LOCK_NB) != 0);
		_exit(fcntl(fd, F_SETLK, &l) != 0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void attacks(const struct sthread_policy *p)
{
	static st_fn *const attack[] = { unlocks, opens_and_closes, duplicates_and_closes };
	int own = openat(dir, "file", O_RDWR);

	CHECK_GE(own, 0);
	for (enum kind kind = RECORD; kind < KINDS; kind++) {
		CHECK(!locked(kind));
		for (unsigned i = 0; i < sizeof(attack) / sizeof(attack[0]); i++) {
			lock(own, kind, F_WRLCK);
			CHECK(locked(kind));
			ST_PASSES(p, attack[i], NULL);
			CHECK_MSG(locked(kind) == (kind != RECORD), "%d %u", (int)kind, i);
		}
		lock(own, kind, F_UNLCK);
	}
	close(own);
}

int main(void)
{
	char top[] = "/tmp/st_locks_XXXXXX", command[64];
	struct sthread_policy *p;

	CHECK(mkdtemp(top));
	dir = open(top, O_RDONLY | O_DIRECTORY);
	file = openat(dir, "file", O_CREAT | O_RDWR, 0600);
	CHECK_GE(file, 0);
	st_init();
	p = st_policy_all_calls();
	st_grant_dir(p, dir, STHREAD_FD_READ | STHREAD_FD_WRITE);
	st_grant(p, file, STHREAD_FD_ALL & ~STHREAD_FD_LOCK);
	attacks(p);
	st_others_live();
	sthread_policy_destroy(p);
	sthread_fini();
	snprintf(command, sizeof(command), "rm -r %s", top);
	CHECK_EQ(system(command), 0);
	return TEST_PASSED;
}
