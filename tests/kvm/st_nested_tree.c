/* SPDX-License-Identifier: MIT */
/*
 * Compartments that make compartments, as they are meant to be used: a parser that splits its work
 * over a tag, a tree of depth 3, each kind of right handed on, limits that are lent and come back, a gate that has help.
 * World: host; ST_FN: inside.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/st_nested.h"

/* ---- a parser that splits its work: sums of lines, in parts that see one tag each ---- */

#define PARTS 4
#define LINES 50

struct part {
	uint64_t sum;
	char text[4000];
};

struct work {
	struct sthread_tag *tag[PARTS];
	struct part *part[PARTS];
};

ST_FN(adds_up)
{
	struct part *part = arg;
	char *at = part->text;
	uint64_t sum = 0;

	while (*at)
		sum += strtoul(at, &at, 10), at += *at == '\n';
	part->sum = sum;
	return (void *)sum;
}

/* arg: the work, in a tag of its own. */
ST_FN(parses)
{
	const struct work *work = arg;
	struct sthread_policy *p[PARTS];
	struct sthread *st[PARTS];
	uint64_t sum = 0;

	for (int i = 0; i < PARTS; i++) {
		CHECK_OK(sthread_policy_create(&p[i]));
		CHECK_OK(sthread_policy_tag(p[i], work->tag[i], STHREAD_WRITE));
		CHECK_OK(sthread_create(&st[i], p[i], adds_up, work->part[i]));
		sthread_policy_destroy(p[i]);
	}
	for (int i = 0; i < PARTS; i++) {
		struct sthread_result r = st_join(st[i]);

		CHECK_EQ(r.end, STHREAD_RETURNED);
		CHECK_EQ((uint64_t)r.value, work->part[i]->sum);
		sum += (uint64_t)r.value;
	}
	return (void *)sum;
}

static void parser(void)
{
	struct sthread_policy *p = st_policy();
	struct sthread_tag *shared;
	struct sthread_result r;
	struct work *work;
	uint64_t sum = 0;

	CHECK_OK(sthread_tag_create(&shared, "work", 1 << 16));
	CHECK_OK(sthread_policy_tag(p, shared, STHREAD_READ));
	work = sthread_malloc(shared, sizeof(*work));
	CHECK(work);
	for (int i = 0; i < PARTS; i++) {
		char *at;

		CHECK_OK(sthread_tag_create(&work->tag[i], "part", 1 << 16));
		CHECK_OK(sthread_policy_tag(p, work->tag[i], STHREAD_WRITE));
		work->part[i] = sthread_calloc(work->tag[i], 1, sizeof(struct part));
		CHECK(work->part[i]);
		at = work->part[i]->text;
		for (int k = 0; k < LINES; k++) {
			at += sprintf(at, "%d\n", i * 1000 + k);
			sum += (uint64_t)i * 1000 + (uint64_t)k;
		}
	}
	r = st_run(p, parses, work);
	ST_RETURNED(&r, sum);
	r = st_call(p, parses, work);
	ST_RETURNED(&r, sum);
	sthread_policy_destroy(p);
}

/* ---- a tree: each waits for two beneath it ---- */

ST_FN(branches)
{
	uint64_t depth = (uint64_t)arg, sum = 1;
	struct sthread_result r;
	struct sthread *left;

	if (!depth)
		return (void *)sum;
	CHECK_OK(sthread_create(&left, NULL, branches, (void *)(depth - 1)));
	CHECK_OK(sthread_call(NULL, branches, (void *)(depth - 1), &r));
	CHECK_EQ(r.end, STHREAD_RETURNED);
	sum += (uint64_t)r.value;
	r = st_join(left);
	CHECK_EQ(r.end, STHREAD_RETURNED);
	return (void *)(sum + (uint64_t)r.value);
}

static void tree(void)
{
	struct sthread_policy *p = st_policy();
	struct sthread_result r;

	st_limit(p, STHREAD_LIMIT_MEMORY, 1UL << 30); /* of which each level has an eighth */
	r = st_call(p, branches, (void *)3);
	ST_RETURNED(&r, 15);
	r = st_run(p, branches, (void *)3);
	ST_RETURNED(&r, 15);
	sthread_policy_destroy(p);
}

/* ---- every kind of right, handed on ---- */

struct rights {
	int file, dir;
	struct sthread_tag *tag;
	char *block;
	char *map;
	struct sockaddr_in to;
};

ST_FN(uses)
{
	const struct rights *g = arg;
	struct sthread_gate *gate;
	char text[8] = "";
	int fd, s;

	CHECK_EQ(pread(g->file, text, 4, 0), 4);
	CHECK_MEM(text, "file", 4);
	CHECK_EQ(write(g->file, text, 4), -1);
	CHECK_EQ(errno, EPERM);
	fd = openat(g->dir, "inner", O_RDONLY);
	CHECK_GE(fd, 0);
	CHECK_EQ(read(fd, text, 5), 5);
	CHECK_MEM(text, "inner", 5);
	CHECK_STR(g->block, "tagged");
	CHECK_EQ(g->map[4096], 'm');
	CHECK_OK(sthread_gate_find(&gate, "answer"));
	CHECK_EQ(gate_word("answer"), 42);
	s = socket(AF_INET, SOCK_DGRAM, 0);
	CHECK_GE(s, 0);
	CHECK_EQ(socket(AF_INET, SOCK_STREAM, 0), -1);
	CHECK_EQ(errno, EPERM);
	CHECK_OK(connect(s, (const struct sockaddr *)&g->to, sizeof(g->to)));
	return NULL;
}

ST_FN(hands_on)
{
	const struct rights *g = arg;
	struct sthread_policy *p;
	struct sthread_gate *gate;
	struct sthread_result r;

	CHECK_OK(sthread_policy_create(&p));
	CHECK_OK(sthread_policy_fd(p, g->file, STHREAD_FD_READ | STHREAD_FD_SEEK));
	CHECK_ERR(sthread_policy_fd(p, g->file, STHREAD_FD_READ), -EEXIST);
	CHECK_OK(sthread_policy_dir(p, g->dir, STHREAD_FD_READ));
	CHECK_OK(sthread_policy_tag(p, g->tag, STHREAD_READ));
	CHECK_OK(sthread_policy_memory(p, g->map + 4096, 4096, STHREAD_READ));
	CHECK_OK(sthread_gate_find(&gate, "answer"));
	CHECK_OK(sthread_policy_gate(p, gate));
	for (size_t i = 0; i < 5; i++)
		CHECK_OK(sthread_policy_syscall(p, ((const long[]){ SYS_pread64, SYS_read, SYS_openat, SYS_socket,
								    SYS_connect })[i], STHREAD_ALLOW));
	CHECK_OK(sthread_policy_syscall(p, SYS_write, STHREAD_ALLOW));
	CHECK_OK(sthread_policy_syscall_arg(p, SYS_socket, 1, ~0UL, SOCK_DGRAM));
	CHECK_OK(sthread_policy_connect(p, (const struct sockaddr *)&g->to, sizeof(g->to), STHREAD_EXACT));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_MEMORY, 4 << 20));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_FDS, 16));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_CPU_NS, 1000000000UL * st_slow()));
	CHECK_OK(sthread_policy_limit(p, STHREAD_LIMIT_WALL_NS, 5000000000UL * st_slow()));
	for (int i = 0; i < 20; i++) { /* what was lent came back */
		CHECK_OK(sthread_call(p, uses, arg, &r));
		CHECK_MSG(r.end == STHREAD_RETURNED && !r.value, "end %d: %s", r.end, r.message);
	}
	sthread_policy_destroy(p);
	CHECK_ERR(sthread_call(p, uses, arg, &r), -EINVAL);
	return NULL;
}

static void every_kind(void)
{
	struct sthread_policy *p = st_policy_all_calls();
	char dir[] = "/tmp/st_nested.XXXXXX", path[64];
	struct rights *g;
	void *at;
	int fd;

	CHECK(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/inner", dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	CHECK_EQ(write(fd, "inner", 5), 5);
	close(fd);
	CHECK_OK(sthread_map(3 * 4096, &at));
	g = at;
	CHECK_OK(sthread_policy_memory(p, at, 3 * 4096, STHREAD_READ | STHREAD_WRITE));
	g->map = at;
	g->map[4096] = 'm';
	snprintf(path, sizeof(path), "%s/file", dir);
	g->file = open(path, O_RDWR | O_CREAT, 0600);
	CHECK_EQ(write(g->file, "file", 4), 4);
	g->dir = open(dir, O_RDONLY | O_DIRECTORY);
	st_grant(p, g->file, STHREAD_FD_ALL);
	st_grant_dir(p, g->dir, STHREAD_FD_READ | STHREAD_FD_STAT);
	CHECK_OK(sthread_tag_create(&g->tag, "tag", 1 << 16));
	CHECK_OK(sthread_policy_tag(p, g->tag, STHREAD_READ | STHREAD_WRITE));
	g->block = sthread_malloc(g->tag, 16);
	strcpy(g->block, "tagged");
	CHECK_OK(sthread_policy_gate(p, GATE(.name = "answer", .fn = forty_two)));
	g->to = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(9),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	CHECK_OK(sthread_policy_connect(p, (struct sockaddr *)&g->to, sizeof(g->to), 8));
	st_limit(p, STHREAD_LIMIT_CPU_NS, 60000000000);
	st_limit(p, STHREAD_LIMIT_WALL_NS, 60000000000);
	/* The child reads what it was told of in the page it is not granted: so it is copied to one that it is. */
	memcpy(g->map + 4096 + 64, g, sizeof(*g));
	both_ways(p, hands_on, g->map + 4096 + 64);
	sthread_policy_destroy(p);
	snprintf(path, sizeof(path), "%s/file", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/inner", dir);
	unlink(path);
	rmdir(dir);
}

/* ---- from the image, and not from the creator ---- */

static volatile int changed = 1;

ST_FN(sees_image)
{
	return (void *)(intptr_t)changed;
}

ST_FN(starts_one)
{
	struct sthread_result r = { .end = STHREAD_LOST };
	struct sthread *st;

	changed = 2;
	CHECK_OK(sthread_call(NULL, sees_image, NULL, &r));
	CHECK_EQ(r.end, STHREAD_RETURNED);
	CHECK_EQ((uint64_t)r.value, 1);
	CHECK_OK(sthread_call(NULL, sees_image, NULL, NULL));
	CHECK_OK(sthread_create(&st, NULL, sees_image, NULL));
	CHECK_OK(sthread_join(st, NULL));
	CHECK_OK(sthread_create(&st, NULL, sees_image, NULL));
	CHECK_OK(sthread_detach(st));
	return NULL;
}

/* ---- a gate that keeps a policy, and whose children end with each call ---- */

static ssize_t helps(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	static struct sthread_policy *kept;
	struct sthread_result r;
	struct sthread *st;

	(void)trusted, (void)in, (void)in_len;
	if (!kept) {
		CHECK_OK(sthread_policy_create(&kept));
		CHECK_OK(sthread_policy_limit(kept, STHREAD_LIMIT_MEMORY, 1 << 20));
	}
	CHECK_OK(sthread_create(&st, kept, rests, NULL));
	CHECK_OK(sthread_call(kept, sees_image, NULL, &r));
	CHECK_EQ(r.end, STHREAD_RETURNED);
	return gate_answer(out, out_cap, (int64_t)(uintptr_t)r.value);
}

ST_FN(asks_helper)
{
	for (int i = 0; i < STHREAD_NEST_LIVE + 6; i++)
		CHECK_EQ(gate_word("helper"), 1);
	return NULL;
}

static void gates(void)
{
	struct sthread_gate *g = GATE(.name = "helper", .fn = helps, .kind = STHREAD_GATE_RECYCLED);
	struct sthread_policy *p = gate_policy(g);

	both_ways(p, asks_helper, NULL);
	sthread_policy_destroy(p);
	sthread_gate_destroy(g);
}

int main(void)
{
	st_init();
	parser();
	tree();
	every_kind();
	ST_PASSES(NULL, starts_one, NULL);
	gates();
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
