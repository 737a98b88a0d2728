/* SPDX-License-Identifier: MIT */
/*
 * Pages of the program's own data, live: those that were granted, with the rights that were granted, to the run that was
 * granted them; before and after, the image.  Over a fork and an unloaded library, too.  World: host; ST_FN: inside.
 */
#include "tests/st.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE   4096UL
#define BEFORE 'b' /* at the checkpoint */
#define NOW    'n'

typedef unsigned char page[PAGE];

static _Alignas(PAGE) page data[4] = { "1", "2", "3", "4" };
static _Alignas(PAGE) page bss[4];
/* Relocated where the program is position-independent, and closed afterwards. */
static void *const closed[3 * PAGE / sizeof(void *)] = { data, bss };

extern volatile bool sthread_inside_flag; /* the library's, which is linked into this program */
extern char end[];

ST_FN(reads)
{
	return (void *)(uintptr_t) * (volatile unsigned char *)arg;
}

ST_FN(writes)
{
	*(volatile unsigned char *)arg = 'W';
	return NULL;
}

ST_FN(receives)
{
	return (void *)(intptr_t)(read(0, arg, 1) == 1 ? 0 : errno);
}

static void set(page *p, unsigned char c)
{
	for (int i = 0; i < 4; i++)
		p[i][0] = p[i][PAGE - 1] = c;
}

static void sees(const struct sthread_policy *p, const unsigned char *at, unsigned char c)
{
	struct sthread_result r = st_call(p, reads, (void *)(uintptr_t)at);

	ST_RETURNED(&r, c);
}

static struct sthread_policy *granted(void *at, unsigned rights)
{
	struct sthread_policy *p = st_policy();

	CHECK_OK(sthread_policy_memory(p, at, PAGE, rights));
	return p;
}

/* On one lane, again and again. */
static void rights(page *p)
{
	struct sthread_policy *r_ = granted(p[1], STHREAD_READ), *w = granted(p[1], STHREAD_WRITE);
	struct sthread_policy *two = granted(p[1], STHREAD_READ);
	struct sthread_result r;

	CHECK_OK(sthread_policy_memory(two, p[3], PAGE, STHREAD_WRITE));
	CHECK_ERR(sthread_policy_memory(two, p[1], PAGE, STHREAD_READ), -EEXIST);
	CHECK_ERR(sthread_policy_memory(two, p[1], 2 * PAGE, STHREAD_READ), -EINVAL);
	for (int i = 0; i < 3; i++) {
		set(p, NOW);
		for (int k = 0; k < 4; k++)
			sees(NULL, p[k], BEFORE);
		/* A copy that an earlier run made is not what the next is granted. */
		r = st_call(NULL, writes, p[1]);
		ST_RETURNED(&r, 0);
		CHECK_EQ(p[1][0], NOW);

		sees(r_, p[1], NOW);
		sees(r_, &p[1][PAGE - 1], NOW);
		sees(r_, p[0], BEFORE);
		sees(r_, p[2], BEFORE);
		p[1][0] = 'x';
		sees(r_, p[1], 'x');
		r = st_call(r_, writes, p[1]);
		ST_FAULTS(&r, STHREAD_FAULT_MEMORY, (uintptr_t)p[1], 2, ST_IN(writes),
			  "live data of the program + 0x");
		CHECK_EQ(p[1][0], 'x');

		r = st_call(w, writes, p[1]);
		ST_RETURNED(&r, 0);
		CHECK_EQ(p[1][0], 'W');
		r = st_call(w, writes, p[2]); /* its own copy */
		ST_RETURNED(&r, 0);
		CHECK_EQ(p[2][0], NOW);

		sees(two, p[3], NOW);
		sees(two, p[1], 'W');
		r = st_call(two, writes, p[3]);
		ST_RETURNED(&r, 0);
		CHECK_EQ(p[3][0], 'W');
		sees(w, p[3], BEFORE);
		sees(NULL, p[1], BEFORE);
		sees(NULL, p[3], BEFORE);
		r = st_run(w, writes, &p[1][1]);
		ST_RETURNED(&r, 0);
		CHECK_EQ(p[1][1], 'W');
	}
	sthread_policy_destroy(r_);
	sthread_policy_destroy(w);
	sthread_policy_destroy(two);
}

/* Inside: to a compartment of its own, and no more than it has. */
ST_FN(hands_on)
{
	struct sthread_policy *p;
	struct sthread_result r;

	CHECK_OK(sthread_policy_create(&p));
	CHECK_ERR(sthread_policy_memory(p, data[2], PAGE, STHREAD_READ), -EPERM);
	CHECK_ERR(sthread_policy_memory(p, data[1], 2 * PAGE, STHREAD_READ), -EPERM);
	CHECK_ERR(sthread_policy_memory(p, data[1], PAGE, STHREAD_WRITE), -EPERM);
	CHECK_OK(sthread_policy_memory(p, data[1], PAGE, STHREAD_READ));
	CHECK_OK(sthread_call(p, reads, data[1], &r));
	ST_RETURNED(&r, NOW);
	CHECK_OK(sthread_call(NULL, reads, data[1], &r));
	ST_RETURNED(&r, BEFORE);
	return NULL;
}

static void nested(void)
{
	struct sthread_policy *p = granted(data[1], STHREAD_READ);

	data[1][0] = NOW;
	ST_PASSES(p, hands_on, NULL);
	ST_RETURNED(&(struct sthread_result[]){ st_run(p, hands_on, NULL) }[0], 0);
	sthread_policy_destroy(p);
}

/* A system call writes where the compartment may. */
static void by_calls(void)
{
	static const unsigned right[2] = { STHREAD_READ, STHREAD_WRITE };
	int pipefd[2];

	CHECK_OK(pipe(pipefd));
	CHECK_EQ(dup2(pipefd[0], 0), 0);
	CHECK_EQ(write(pipefd[1], "P", 1), 1);
	for (int i = 0; i < 2; i++) {
		struct sthread_policy *p = granted(data[1], right[i]);
		struct sthread_result r;

		data[1][0] = NOW;
		st_allow(p, SYS_read);
		st_grant(p, 0, STHREAD_FD_READ);
		r = st_call(p, receives, data[1]);
		ST_RETURNED(&r, i ? 0 : EFAULT);
		CHECK_EQ(data[1][0], i ? 'P' : NOW);
		sthread_policy_destroy(p);
	}
	close(pipefd[0]);
	close(pipefd[1]);
}

static void refused(void)
{
	void *heap = aligned_alloc(PAGE, 2 * PAGE);
	void *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	_Alignas(PAGE) page stack;
	void *const bad[] = {
		(void *)((uintptr_t)refused & ~(PAGE - 1)),
		(void *)(((uintptr_t)closed + PAGE - 1) & ~(PAGE - 1)),
		heap,
		map,
		stack,
		(void *)((uintptr_t)end & ~(PAGE - 1)), /* what of it is the segment's is not all */
		(void *)((uintptr_t)&sthread_inside_flag & ~(PAGE - 1)),
		NULL,
		(void *)-PAGE,
		&data[1][1],
	};
	struct sthread_policy *p = st_policy();

	CHECK(heap && map != MAP_FAILED && closed[0]);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_MSG(sthread_policy_memory(p, bad[i], PAGE, STHREAD_READ) == -EINVAL,
			  "number %u", i);
	CHECK_ERR(sthread_policy_memory(p, data[1], 1UL << 40, STHREAD_READ), -EINVAL);
	CHECK_ERR(sthread_policy_memory(p, data[1], -PAGE, STHREAD_READ), -EINVAL);
	CHECK_ERR(sthread_policy_memory(p, data[1], PAGE, 4), -EINVAL);
	CHECK_OK(sthread_policy_memory(p, data[1], 2 * PAGE, STHREAD_READ));
	CHECK_OK(sthread_policy_memory(p, bss, sizeof(bss), STHREAD_READ));
	sthread_policy_destroy(p);
	free(heap);
	munmap(map, PAGE);
}

/* ---- fork ---- */

/* Says that it is there, counts, and waits for a word. */
ST_FN(counts)
{
	volatile unsigned char *p = arg;

	while (p[0] != 'q')
		++*(volatile uint64_t *)(p + 8);
	return NULL;
}

static uint64_t count(void)
{
	return *(volatile uint64_t *)&data[1][8];
}

static void changes(void)
{
	for (uint64_t from = count(); count() == from;)
		usleep(1000);
}

/* What a fork makes copy-on-write is the parent's on, in the guest and outside; the child has what there was. */
static void forked(void)
{
	struct sthread_policy *p = granted(data[1], STHREAD_WRITE),
			      *r_ = granted(data[1], STHREAD_READ);
	struct sthread_result r;
	int status, done[2];
	struct sthread *st;
	uint64_t seen;
	pid_t pid;
	char c;

	st_limit(p, STHREAD_LIMIT_WALL_NS, 60000000000);
	for (int running = 0; running < 2; running++) {
		CHECK_OK(pipe(done));
		data[1][0] = NOW;
		st = running ? st_create(p, counts, data[1]) : NULL;
		if (running)
			changes();
		else
			sees(r_, data[1], NOW); /* it is mapped */
		pid = fork();
		CHECK(pid >= 0);
		if (!pid) {
			close(done[1]);
			seen = count();
			CHECK_EQ(read(done[0], &c, 1), 0);
			CHECK_EQ(data[1][0], NOW);
			CHECK_EQ(count(), seen);
			CHECK_ERR(sthread_policy_memory(p, data[2], PAGE, STHREAD_READ), -EINVAL);
			_exit(TEST_PASSED);
		}
		if (running) {
			changes();
			data[1][0] = 'q';
			r = st_join(st);
			ST_RETURNED(&r, 0);
		} else {
			data[1][0] = 'q';
			sees(r_, data[1], 'q');
			r = st_call(p, writes, data[1]);
			ST_RETURNED(&r, 0);
			CHECK_EQ(data[1][0], 'W');
		}
		close(done[1]);
		close(done[0]);
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK_EQ(status, 0);
	}
	/* And where the guest is the first that writes. */
	data[1][0] = NOW;
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		usleep(200000);
		_exit(data[1][0] == NOW ? TEST_PASSED : TEST_FAILED);
	}
	r = st_call(p, writes, data[1]);
	ST_RETURNED(&r, 0);
	CHECK_EQ(data[1][0], 'W');
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	sthread_policy_destroy(p);
	sthread_policy_destroy(r_);
}

/* ---- libraries ---- */

/* Loaded after the checkpoint: there is nothing of it in the image. */
static void unloaded(const char *name)
{
	void *lib = dlopen(name, RTLD_NOW);
	struct sthread_policy *p;
	struct sthread_result r;
	unsigned char *at;

	CHECK_MSG(lib != NULL, "%s", dlerror());
	CHECK_EQ(dlclose(lib), 0);
	CHECK(!dlopen(name, RTLD_NOW | RTLD_NOLOAD)); /* it can go */
	lib = dlopen(name, RTLD_NOW);
	CHECK(lib);
	at = dlsym(lib, "st_data_lib_page");
	CHECK(at && at[0] == 'l');
	p = granted(at, STHREAD_WRITE);
	CHECK_EQ(dlclose(lib), 0);
	for (int i = 0; i < 2; i++) {
		r = st_call(NULL, reads, at);
		ST_FAULTS(&r, STHREAD_FAULT_MEMORY, (uintptr_t)at, 1, ST_IN(reads), NULL);
		at[0] = 'm';
		sees(p, at, 'm');
		r = st_call(p, writes, at);
		ST_RETURNED(&r, 0);
		CHECK_EQ(at[0], 'W');
	}
	lib = dlopen(name, RTLD_NOW | RTLD_NOLOAD);
	CHECK(lib && dlsym(lib, "st_data_lib_page") == at);
	dlclose(lib);
	sthread_policy_destroy(p);
}

/* sthread_fini() ends what was granted. */
static void again(void)
{
	struct sthread_policy *old = granted(data[1], STHREAD_READ);
	struct sthread_result r;

	sthread_fini();
	CHECK_ERR(sthread_policy_memory(old, data[2], PAGE, STHREAD_READ), -EINVAL);
	set(data, BEFORE);
	st_init();
	CHECK_ERR(sthread_call(old, reads, data[1], &r), -EINVAL);
	sthread_policy_destroy(old);
	old = granted(data[1], STHREAD_READ);
	data[1][0] = NOW;
	sees(old, data[1], NOW);
	sees(NULL, data[1], BEFORE);
	sthread_policy_destroy(old);
}

int main(int argc, char **argv)
{
	CHECK_EQ(argc, 2);
	set(data, BEFORE);
	set(bss, BEFORE);
	st_init();
	/* Where compartments are processes, data is first granted while there is one thread. */
	unloaded(argv[1]);
	sthread_policy_destroy(granted(data[1], STHREAD_READ));
	sthread_policy_destroy(granted(bss[1], STHREAD_READ));
	st_others_live();
	rights(data);
	rights(bss);
	by_calls();
	nested();
	refused();
	st_others_live();
	forked();
	st_others_live();
	again();
	sthread_fini();
	return TEST_PASSED;
}
