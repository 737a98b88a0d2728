/* SPDX-License-Identifier: MIT */
/*
 * What a compartment asks of policies: it learns what its own say, and of the host's files, other tags and other runs'
 * policies nothing; tagged globals are handed on by those who have them.  World: host; ST_FN: inside.
 */
#include <fcntl.h>
#include <sys/mman.h>

#include "tests/st_nested.h"

STHREAD_TAGGED(granted, unsigned, shown);
STHREAD_TAGGED(granted, unsigned, shown_too);
STHREAD_TAGGED(withheld, unsigned, hidden);

#define LONGER "a_name_that_is_longer_than_any_tag_can_have"
#define SECRET "st_nested_secret_name"

/* Numbers that the master granted: `one` is open twice, as `again`; `other` is another file; `dir`. */
struct board {
	int one, other, dir;
	_Atomic(struct sthread_policy *) stolen;
	atomic_bool stays;
};

/* ---- tagged globals ---- */

ST_FN(reads_global)
{
	return (void *)(uintptr_t)*(volatile unsigned *)arg;
}

ST_FN(writes_global)
{
	++*(volatile unsigned *)arg;
	return NULL;
}

ST_FN(tags_refused)
{
	struct sthread_policy *p = fresh();
	struct sthread_result r;

	CHECK_ERR(sthread_policy_tagged(p, "granted", STHREAD_WRITE), -EPERM);
	CHECK_ERR(sthread_policy_tagged(p, "granted", STHREAD_READ | STHREAD_WRITE), -EPERM);
	CHECK_ERR(sthread_policy_tagged(p, "granted", 0), -EINVAL);
	CHECK_ERR(sthread_policy_tagged(p, "granted", 4), -EINVAL);
	/* One that is there, one that is not, and no name at all are the same to it. */
	CHECK_ERR(sthread_policy_tagged(p, "withheld", STHREAD_READ), -EPERM);
	CHECK_ERR(sthread_policy_tagged(p, "unheard_of", STHREAD_READ), -EPERM);
	CHECK_ERR(sthread_policy_tagged(p, "board", STHREAD_READ), -EPERM); /* a tag, and no global */
	CHECK_ERR(sthread_policy_tagged(p, "", STHREAD_READ), -EPERM);
	CHECK_ERR(sthread_policy_tagged(p, LONGER, STHREAD_READ), -EPERM);
	CHECK_ERR(sthread_policy_tagged(p, NULL, STHREAD_READ), -EINVAL);
	CHECK_ERR(sthread_policy_tagged(p, (const char *)hidden, STHREAD_READ), -EFAULT);
	CHECK_ERR(sthread_policy_tagged(NULL, "granted", STHREAD_READ), -EINVAL);
	CHECK_ERR(sthread_policy_tagged((void *)((uintptr_t)p ^ 1), "granted", STHREAD_READ), -EINVAL);
	/* What was refused is not there. */
	CHECK_OK(sthread_call(p, reads_global, shown, &r));
	CHECK_EQ(r.end, STHREAD_FAULTED);
	CHECK_EQ(r.address, (uint64_t)shown);
	/* The twin: what it has, as it has it. */
	CHECK_OK(sthread_policy_tagged(p, "granted", STHREAD_READ));
	CHECK_ERR(sthread_policy_tagged(p, "granted", STHREAD_READ), -EEXIST);
	CHECK_OK(sthread_call(p, reads_global, shown, &r));
	CHECK(r.end == STHREAD_RETURNED && r.value == (void *)11);
	CHECK_OK(sthread_call(p, reads_global, shown_too, &r));
	CHECK(r.end == STHREAD_RETURNED && r.value == (void *)12);
	CHECK_OK(sthread_call(p, writes_global, shown, &r));
	CHECK_EQ(r.end, STHREAD_FAULTED);
	CHECK_OK(sthread_call(p, reads_global, hidden, &r));
	CHECK_EQ(r.end, STHREAD_FAULTED);
	return NULL;
}

ST_FN(tags_written)
{
	struct sthread_policy *p = fresh();
	struct sthread_result r;

	CHECK_OK(sthread_policy_tagged(p, "granted", STHREAD_WRITE));
	CHECK_OK(sthread_call(p, writes_global, shown, &r));
	CHECK_EQ(r.end, STHREAD_RETURNED);
	return NULL;
}

static void tagged(void)
{
	struct sthread_policy *p = of_master();

	*shown = 11;
	*shown_too = 12;
	CHECK_OK(sthread_policy_tagged(p, "granted", STHREAD_READ));
	ST_PASSES(p, tags_refused, NULL);
	sthread_policy_destroy(p);
	p = st_policy();
	CHECK_OK(sthread_policy_tagged(p, "granted", STHREAD_WRITE));
	ST_PASSES(p, tags_written, NULL);
	CHECK_EQ(*shown, 12);
	sthread_policy_destroy(p);
}

/* ---- texts ---- */

/* What there is to say of a policy in which nothing was set, but for its defaults. */
#define LIMITS                                                                               \
	"limit of private memory: 1 MiB\nlimit of open descriptors: 8\n"

ST_FN(text_of_own)
{
	const struct board *n = arg;
	struct sthread_policy *p = fresh();
	char text[512], want[512], *page;
	int len;

	CHECK_OK(sthread_policy_fd(p, n->one, STHREAD_FD_READ));
	CHECK_OK(sthread_policy_dir(p, n->dir, STHREAD_FD_READ));
	CHECK_OK(sthread_policy_syscall(p, SYS_read, STHREAD_ALLOW));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_MEMORY, 1 << 20));
	snprintf(want, sizeof(want), "descriptor %d: read\ndirectory %d: read\nsystem call read: allowed\n" LIMITS,
		 n->one, n->dir);
	len = sthread_policy_format(p, text, sizeof(text));
	CHECK_STR(text, want); /* and no name of a file */
	CHECK_EQ(len, (int)strlen(want));
	CHECK_EQ(sthread_policy_format(p, NULL, 0), len);
	memset(text, 'x', sizeof(text));
	CHECK_EQ(sthread_policy_format(p, text, 8), len);
	CHECK_STR(text, "descrip");
	CHECK_EQ(text[8], 'x');
	/* Not more is written than there is to say, whatever room it claims. */
	page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page != MAP_FAILED);
	CHECK(!munmap(page + 4096, 4096));
	page += 4096 - len - 1;
	CHECK_EQ(sthread_policy_format(p, page, SIZE_MAX), len);
	CHECK_STR(page, want);
	CHECK_ERR(sthread_policy_format(p, page + 1, SIZE_MAX), -EFAULT);
	CHECK_ERR(sthread_policy_format(p, NULL, 1), -EINVAL);
	CHECK_ERR(sthread_policy_format(p, (char *)(uintptr_t)"constant", 8), -EFAULT);
	CHECK_ERR(sthread_policy_format(p, (char *)hidden, 8), -EFAULT);
	CHECK_ERR(sthread_policy_format(p, (char *)~7UL, 64), -EFAULT);
	/* None: what a child without a policy has.  Half a policy's handle is none. */
	len = sthread_policy_format(NULL, text, sizeof(text));
	CHECK_STR(text, "limit of private memory: 8 MiB\nlimit of open descriptors: 8\n");
	CHECK_EQ(len, (int)strlen(text));
	for (int bit = 0; bit < 64; bit++)
		CHECK_ERR(sthread_policy_format((void *)((uintptr_t)p ^ 1UL << bit), text, 8), -EINVAL);
	return NULL;
}

/* ---- comparisons ---- */

ST_FN(compares_own)
{
	const struct board *n = arg;
	struct sthread_policy *less = fresh(), *more = fresh(), *moved = fresh(), *swapped = fresh();
	int again;

	CHECK_OK(sthread_policy_fd(less, n->one, STHREAD_FD_READ));
	CHECK_OK(sthread_policy_fd(more, n->one, STHREAD_FD_READ | STHREAD_FD_STAT));
	CHECK_EQ(sthread_policy_is_subset(less, more), 1);
	CHECK_EQ(sthread_policy_is_subset(more, less), 0);
	CHECK_EQ(sthread_policy_is_subset(less, less), 1);
	CHECK_EQ(sthread_policy_is_subset(NULL, less), 1);
	CHECK_EQ(sthread_policy_is_subset(less, NULL), 0);
	CHECK_EQ(sthread_policy_is_subset(NULL, NULL), 1);
	CHECK_OK(sthread_policy_limit(less, STHREAD_LIMIT_FDS, 7));
	CHECK_EQ(sthread_policy_is_subset(NULL, less), 0);
	/* The same number: first of the same open file, then of another. */
	again = dup(n->one);
	CHECK_EQ(dup2(again, n->one), n->one);
	CHECK_OK(sthread_policy_fd(moved, n->one, STHREAD_FD_READ | STHREAD_FD_STAT));
	CHECK_EQ(sthread_policy_is_subset(less, moved), 1);
	CHECK_EQ(dup2(n->other, n->one), n->one);
	CHECK_OK(sthread_policy_fd(swapped, n->one, STHREAD_FD_READ | STHREAD_FD_STAT));
	CHECK_EQ(sthread_policy_is_subset(less, swapped), 0);
	for (int bit = 3; bit < 64; bit++) { /* handles count up: the lower bits make its others */
		CHECK_ERR(sthread_policy_is_subset((void *)((uintptr_t)less ^ 1UL << bit), more), -EINVAL);
		CHECK_ERR(sthread_policy_is_subset(less, (void *)((uintptr_t)more ^ 1UL << bit)), -EINVAL);
	}
	sthread_policy_destroy(less);
	CHECK_ERR(sthread_policy_is_subset(less, more), -EINVAL);
	CHECK_ERR(sthread_policy_is_subset(more, less), -EINVAL);
	return NULL;
}

/* ---- another run's ---- */

ST_FN(shows_policy)
{
	struct board *n = arg;
	struct sthread_policy *p = fresh();

	CHECK_GE(sthread_policy_format(p, NULL, 0), 1);
	n->stolen = p;
	while (n->stays)
		;
	return NULL;
}

ST_FN(asks_of_stolen)
{
	struct board *n = arg;
	struct sthread_policy *p = fresh();
	char text[8] = "before";

	CHECK_ERR(sthread_policy_format(n->stolen, text, sizeof(text)), -EINVAL);
	CHECK_STR(text, "before");
	CHECK_ERR(sthread_policy_is_subset(n->stolen, p), -EINVAL);
	CHECK_ERR(sthread_policy_is_subset(p, n->stolen), -EINVAL);
	CHECK_ERR(sthread_policy_tagged(n->stolen, "granted", STHREAD_READ), -EINVAL);
	return NULL;
}

static void stolen(void)
{
	struct sthread_policy *p = of_master();
	struct sthread *st;
	struct sthread_result r;

	board->stays = true;
	st = st_create(p, shows_policy, board);
	while (!board->stolen)
		usleep(1000);
	ST_PASSES(p, asks_of_stolen, board);
	board->stays = false;
	r = st_join(st);
	ST_RETURNED(&r, 0);
	sthread_policy_destroy(p);
}

static void asked(void)
{
	char dir[] = "/tmp/" SECRET ".XXXXXX", path[64], text[1024];
	struct sthread_policy *p = of_master();

	CHECK(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/" SECRET, dir);
	board->one = open(path, O_RDWR | O_CREAT, 0600);
	board->other = open(path, O_RDWR);
	board->dir = open(dir, O_RDONLY | O_DIRECTORY);
	CHECK_GE(board->other, 0);
	st_grant(p, board->one, STHREAD_FD_ALL);
	st_grant(p, board->other, STHREAD_FD_ALL);
	st_grant_dir(p, board->dir, STHREAD_FD_READ);
	st_allow(p, SYS_read, SYS_dup, SYS_dup2);
	/* To the master the names are said. */
	CHECK_GE(sthread_policy_format(p, text, sizeof(text)), 1);
	CHECK(strstr(text, SECRET));
	both_ways(p, text_of_own, board);
	both_ways(p, compares_own, board);
	unlink(path);
	rmdir(dir);
	sthread_policy_destroy(p);
}

int main(void)
{
	st_init();
	board_init();
	tagged();
	asked();
	stolen();
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
