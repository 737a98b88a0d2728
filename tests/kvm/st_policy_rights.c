/* SPDX-License-Identifier: MIT */
/*
 * What unit/policy_compare does for the other kinds of rights: memory (tags, pages of a mapping, tagged globals) and
 * gates.  Policies built by calls in random order, beside a model that holds each right as a number, are compared as
 * the model is, and read alike if and only if they are the same.  World: host.
 */
#include "tests/st_gate.h"

#define PAGE 4096UL

/* ---- the model: of each piece of memory 0, STHREAD_READ or STHREAD_WRITE; of each gate 0 or 1 ---- */

enum { PAGES = 7, TAGS = 3, GLOBALS = 2, GATES = 3, RIGHTS = PAGES + TAGS + GLOBALS + GATES };

STHREAD_TAGGED(first_globals, unsigned, one);
STHREAD_TAGGED(second_globals, unsigned, two);
static const char *const globals[GLOBALS] = { "first_globals", "second_globals" };

static char *map;
static struct sthread_tag *tag[TAGS];
static struct sthread_gate *gate[GATES];

struct model {
	unsigned right[RIGHTS];
};

static unsigned below(unsigned n)
{
	static uint64_t seed = 88172645463325252;

	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)(seed % n);
}

static bool is_gate(unsigned i)
{
	return i >= RIGHTS - GATES;
}

static unsigned random_right(unsigned i)
{
	return below(is_gate(i) ? 2 :
				  3); /* STHREAD_READ is 1, STHREAD_WRITE 2, which includes it */
}

/* Neighbours with the same rights in one grant, or in several. */
static void grant_pages(struct sthread_policy *p, const struct model *m)
{
	for (unsigned i = 0, n; i < PAGES; i += n) {
		for (n = 1; i + n < PAGES && m->right[i + n] == m->right[i] && below(2); n++)
			;
		if (m->right[i])
			CHECK_OK(sthread_policy_memory(p, map + i * PAGE, n * PAGE, m->right[i]));
	}
}

static void grant(struct sthread_policy *p, const struct model *m, unsigned i)
{
	unsigned right = m->right[i];

	if (i == 0)
		grant_pages(p, m);
	if (i < PAGES || !right)
		return;
	i -= PAGES;
	if (i < TAGS)
		CHECK_OK(sthread_policy_tag(p, tag[i], right));
	else if (i < TAGS + GLOBALS)
		CHECK_OK(sthread_policy_tagged(p, globals[i - TAGS], right));
	else
		CHECK_OK(sthread_policy_gate(p, gate[i - TAGS - GLOBALS]));
}

static struct sthread_policy *build(const struct model *m)
{
	unsigned first = below(RIGHTS),
		 step = below(2) ? 1 : RIGHTS - 1; /* up or down, from anywhere */
	struct sthread_policy *p = st_policy();

	for (unsigned i = 0; i < RIGHTS; i++)
		grant(p, m, (first + i * step) % RIGHTS);
	return p;
}

static bool model_within(const struct model *p, const struct model *of)
{
	for (unsigned i = 0; i < RIGHTS; i++)
		if (p->right[i] > of->right[i])
			return false;
	return true;
}

static char *text_of(const struct sthread_policy *p)
{
	int n = sthread_policy_format(p, NULL, 0);
	char *text;

	CHECK_GT(n, 0);
	text = malloc((size_t)n + 1);
	CHECK(text);
	CHECK_EQ(sthread_policy_format(p, text, (size_t)n + 1), n);
	CHECK_EQ(strlen(text), (size_t)n);
	return text;
}

static void properties(void)
{
	enum { N = 10 };
	unsigned agree = 0, same = 0, more = 0;

	for (unsigned round = 0; round < 100; round++) {
		struct sthread_policy *p[N];
		struct model m[N];
		char *text[N];

		for (unsigned k = 0; k < N; k++) {
			for (unsigned i = 0; i < RIGHTS; i++)
				m[k].right[i] = random_right(i);
			/* Half of them are another with a few rights changed, or none. */
			if (k % 2) {
				m[k] = m[k - 1];
				for (unsigned n = below(3); n; n--) {
					unsigned i = below(RIGHTS);

					m[k].right[i] = random_right(i);
				}
			}
			p[k] = build(&m[k]);
			text[k] = text_of(p[k]);
		}
		for (unsigned a = 0; a < N; a++) {
			for (unsigned b = 0; b < N; b++) {
				bool alike = !memcmp(&m[a], &m[b], sizeof(m[a]));

				CHECK_EQ(sthread_policy_is_subset(p[a], p[b]),
					 model_within(&m[a], &m[b]));
				CHECK_EQ(!strcmp(text[a], text[b]), alike);
				agree += a != b && model_within(&m[a], &m[b]);
				same += a != b && alike;
			}
		}
		/* One right more, of each kind. */
		for (unsigned i = 0; i < RIGHTS; i++) {
			struct model wider = m[0];
			struct sthread_policy *q;

			if (wider.right[i] == (is_gate(i) ? 1 : 2))
				continue;
			wider.right[i]++;
			q = build(&wider);
			CHECK_EQ(sthread_policy_is_subset(q, p[0]), 0);
			CHECK_EQ(sthread_policy_is_subset(p[0], q), 1);
			sthread_policy_destroy(q);
			more++;
		}
		for (unsigned k = 0; k < N; k++) {
			free(text[k]);
			sthread_policy_destroy(p[k]);
		}
	}
	NOTE("%u subsets among different policies, %u of them equal, %u with one right more", agree,
	     same, more);
	CHECK_GT(agree, 200);
	CHECK_GT(same, 50);
	CHECK_GT(more, 500);
}

/* ---- the text ---- */

static int by_address(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The lines of memory are in the order of addresses, whatever was granted first. */
static void text(void)
{
	static const unsigned part[] = { 0, 2, 2, 1, 0, 1, 2 };
	struct model m = { { 0 } };
	struct {
		uint64_t start, end;
		const char *how, *name;
	} line[] = {
		{ 1, 3, "read, write", NULL }, /* pages of the mapping */
		{ 3, 4, "read", NULL },
		{ 5, 6, "read", NULL },
		{ 6, 7, "read, write", NULL },
		{ (uint64_t)sthread_tag_start(tag[0]), PAGE, "read", "tag 0" },
		{ (uint64_t)sthread_tag_start(tag[2]), 3 * PAGE, "read, write", "a \\\"tag\\\"" },
		{ (uint64_t)one, PAGE, "read", "first_globals" },
		{ (uint64_t)two, PAGE, "read, write", "second_globals" },
	};
	char want[2048], *got;
	struct sthread_policy *p;
	size_t n = 0;

	memcpy(m.right, part, sizeof(part));
	m.right[PAGES] = STHREAD_READ;
	m.right[PAGES + 2] = STHREAD_WRITE;
	m.right[PAGES + TAGS] = STHREAD_READ;
	m.right[PAGES + TAGS + 1] = STHREAD_WRITE;
	m.right[PAGES + TAGS + GLOBALS] = 1;
	m.right[PAGES + TAGS + GLOBALS + 2] = 1;
	for (size_t i = 0; i < sizeof(line) / sizeof(line[0]); i++) {
		if (!line[i].name) {
			line[i].start = (uint64_t)map + line[i].start * PAGE;
			line[i].end = (uint64_t)map + line[i].end * PAGE;
			line[i].name = "sthread_map()";
		} else {
			line[i].end += line[i].start;
		}
	}
	qsort(line, sizeof(line) / sizeof(line[0]), sizeof(line[0]), by_address);
	for (size_t i = 0; i < sizeof(line) / sizeof(line[0]); i++)
		n += (size_t)snprintf(want + n, sizeof(want) - n,
				      "memory 0x%lx to 0x%lx: %s (%s)\n", line[i].start,
				      line[i].end, line[i].how, line[i].name);
	snprintf(
		want + n, sizeof(want) - n,
		"gate a \\\"gate\\\"\ngate gate 0\nlimit of private memory: 64 MiB\nlimit of open descriptors: 64\n");
	for (int i = 0; i < 8; i++) {
		p = build(&m);
		got = text_of(p);
		CHECK_STR(got, want);
		free(got);
		sthread_policy_destroy(p);
	}
}

/* What is gone is shown and compared as it was: no other is the same, whatever its name and place. */
static void gone(void)
{
	struct sthread_policy *p = st_policy(), *q = st_policy();
	struct sthread_gate *g = GATE(.name = "gone", .fn = gate_nothing), *h;
	struct sthread_tag *t, *u;
	char *was, *is;

	CHECK_OK(sthread_tag_create(&t, "gone", PAGE));
	CHECK_OK(sthread_policy_tag(p, t, STHREAD_READ));
	CHECK_OK(sthread_policy_gate(p, g));
	was = text_of(p);
	CHECK_OK(sthread_tag_destroy(t));
	sthread_gate_destroy(g);
	is = text_of(p);
	CHECK_STR(is, was);
	free(is);
	CHECK_EQ(sthread_policy_is_subset(p, p), 1);
	CHECK_OK(sthread_tag_create(&u, "gone", PAGE));
	h = GATE(.name = "gone", .fn = gate_nothing);
	CHECK_OK(sthread_policy_tag(q, u, STHREAD_READ));
	CHECK_EQ(sthread_policy_is_subset(q, p), 0);
	CHECK_EQ(sthread_policy_is_subset(p, q), 0);
	sthread_policy_destroy(q);
	q = st_policy();
	CHECK_OK(sthread_policy_gate(q, h));
	CHECK_EQ(sthread_policy_is_subset(q, p), 0);
	free(was);
	sthread_policy_destroy(p);
	sthread_policy_destroy(q);
	sthread_gate_destroy(h);
	CHECK_OK(sthread_tag_destroy(u));
}

int main(void)
{
	static const char *const tags[] = { "tag 0", "tag 1", "a \"tag\"" };
	static const char *const gates[] = { "gate 0", "gate 1", "a \"gate\"" };
	void *at;

	st_init();
	CHECK_OK(sthread_map(PAGES * PAGE, &at));
	map = at;
	for (unsigned i = 0; i < TAGS; i++)
		CHECK_OK(sthread_tag_create(&tag[i], tags[i], (i + 1) * PAGE));
	for (unsigned i = 0; i < GATES; i++)
		gate[i] = GATE(.name = gates[i], .fn = gate_nothing);
	text();
	properties();
	gone();
	sthread_fini();
	return TEST_PASSED;
}
