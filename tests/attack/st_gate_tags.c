/* SPDX-License-Identifier: MIT */
/*
 * A gate hands its caller a tag with rights that it has itself, never more; it arrives with a proper answer or not at
 * all, stays until the caller's run ends, is held as long, and nothing of it is there in the next.  World: host; gates
 * that are not native and ST_FN: inside.
 */
#include <sched.h>
#include <stdatomic.h>

#include "tests/kvm/st_life.h"
#include "sthread/tag/tag.h"
#include "tests/st_gate.h"

#define PAGE 4096UL
#define GIB  (1UL << 30)
#define BOX  (64UL << 10)

/* What all callers share: handles, places, and how far they are. */
struct board {
	struct sthread_tag *box, *page, *half,
		*other;		  /* of the gates: write, read, write; nobody's */
	struct sthread_tag *wide; /* of the gates: read */
	volatile unsigned char *box_at, *page_at, *half_at, *wide_at;
	struct sthread_gate *gate; /* that is asked */
	bool native;
	int pipe[2], last;
	atomic_bool there, go;
};
static struct sthread_tag *board_tag;
static struct board *board;
static char live[2 * PAGE] __attribute__((aligned(PAGE))); /* no tag */

struct wish {
	struct sthread_tag *tag;
	unsigned rights;
	ssize_t then; /* what the gate returns instead of the result */
};

static ssize_t gives(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	struct wish w;
	int r;

	(void)trusted;
	CHECK_EQ(in_len, sizeof(w));
	memcpy(&w, in, sizeof(w));
	r = sthread_gate_give_tag(w.tag, w.rights);
	if (w.then == INT64_MIN)
		abort();
	return w.then ? w.then : gate_answer(out, out_cap, r);
}

static int64_t wish_of(struct sthread_gate *g, struct wish w)
{
	int64_t word = -1;
	ssize_t n = sthread_gate_call(g, &w, sizeof(w), &word, sizeof(word));

	return n < 0 ? n : word;
}
#define WISH_THEN(tag, rights, then) wish_of(b->gate, (struct wish){ (tag), (rights), (then) })
#define WISH(tag, rights)	     WISH_THEN(tag, rights, 0)

/* Inside, without touching it: may the host read there, and write, for us? */
static bool can_read(struct board *b, volatile unsigned char *at)
{
	char c;
	bool can = write(b->pipe[1], (void *)at, 1) == 1;

	CHECK(can || errno == EFAULT);
	CHECK(!can || read(b->pipe[0], &c, 1) == 1);
	return can;
}

static bool can_write(struct board *b, volatile unsigned char *at)
{
	char c;
	bool can;

	CHECK_EQ(write(b->pipe[1], "W", 1), 1);
	can = read(b->pipe[0], (void *)at, 1) == 1;
	CHECK(can || errno == EFAULT);
	CHECK(can || read(b->pipe[0], &c, 1) == 1);
	return can;
}

/* ---- rights ---- */

ST_FN(wishes)
{
	struct board *b = arg;
	void *block;

	/* Never more than the gate holds. */
	if (!b->native) {
		CHECK_ERR(WISH(b->page, STHREAD_WRITE), -EPERM);
		CHECK_ERR(WISH(b->page, STHREAD_READ | STHREAD_WRITE), -EPERM);
		CHECK_ERR(WISH(b->other, STHREAD_READ), -EPERM);
		CHECK_ERR(WISH(sthread_tag_of(b), STHREAD_READ), -EPERM); /* the caller's own */
		CHECK_ERR(WISH((struct sthread_tag *)((char *)b->box + 1), STHREAD_READ), -EPERM);
	}
	CHECK_ERR(WISH(NULL, STHREAD_READ), b->native ? -EINVAL : -EPERM);
	CHECK_ERR(WISH(b->box, 0), -EINVAL);
	CHECK_ERR(WISH(b->box, STHREAD_WRITE << 1 | STHREAD_READ), -EINVAL);
	/* Not with an answer that is none. */
	CHECK_ERR(WISH_THEN(b->box, STHREAD_WRITE, -EPIPE), -EPIPE);
	CHECK_ERR(WISH_THEN(b->box, STHREAD_READ, 100000), -EPROTO);
	if (!b->native)
		CHECK_ERR(WISH_THEN(b->box, STHREAD_READ, INT64_MIN), -EIO);
	CHECK(!sthread_tag_of((void *)b->box_at));
	CHECK(!can_read(b, b->box_at) && !can_write(b, b->box_at));
	/* What was asked for. */
	CHECK_OK((int)WISH(b->box, STHREAD_READ));
	CHECK(sthread_tag_of((void *)b->box_at) == b->box);
	CHECK(b->box_at[0] == 'b' && b->box_at[BOX - 1] == 'b');
	CHECK(can_read(b, b->box_at) && !can_write(b, b->box_at));
	CHECK(!sthread_malloc(b->box, 100) && errno == EPERM);
	CHECK(!can_read(b, b->page_at) && !sthread_tag_of((void *)b->page_at));
	/* More of the same, for good and not; and less is not less. */
	CHECK_ERR(WISH_THEN(b->box, STHREAD_WRITE, -EPIPE), -EPIPE);
	CHECK(can_read(b, b->box_at) && !can_write(b, b->box_at));
	CHECK_OK((int)WISH(b->box, STHREAD_WRITE));
	CHECK(can_write(b, b->box_at) && b->box_at[0] == 'W');
	b->box_at[0] = 'b';
	CHECK_OK((int)WISH(b->box, STHREAD_READ));
	b->box_at[BOX - 1] = 'b';
	block = sthread_malloc(b->box, 100);
	CHECK(block);
	sthread_free(block);
	/* One more beside it, not at first; and what came before is left by that. */
	CHECK_ERR(WISH_THEN(b->page, STHREAD_READ, -EPIPE), -EPIPE);
	CHECK(!can_read(b, b->page_at) && can_write(b, b->box_at));
	b->box_at[0] = 'b';
	CHECK_OK((int)WISH(b->page, STHREAD_READ));
	CHECK(b->page_at[0] == 'p' && !can_write(b, b->page_at));
	return NULL;
}

/* The caller's policy says read; arg of the two below: the board, and what the gate then answers. */
static void half(struct board *b, ssize_t then)
{
	CHECK_EQ(b->half_at[0], 'h');
	CHECK(!can_write(b, b->half_at));
	CHECK_EQ(WISH_THEN(b->half, STHREAD_WRITE, then), then);
}

ST_FN(half_failed)
{
	half(arg, -EPIPE);
	((struct board *)arg)->half_at[1] = 'x';
	return NULL;
}

ST_FN(half_given)
{
	half(arg, 0);
	((struct board *)arg)->half_at[1] = 'x';
	return NULL;
}

ST_FN(box_failed)
{
	struct board *b = arg;

	CHECK_ERR(WISH_THEN(b->box, STHREAD_READ, -EPIPE), -EPIPE);
	return (void *)(uintptr_t)b->box_at[0];
}

ST_FN(box_given)
{
	struct board *b = arg;

	CHECK_OK((int)WISH(b->box, STHREAD_READ));
	return (void *)(uintptr_t)b->box_at[0];
}

ST_FN(box_written)
{
	struct board *b = arg;

	CHECK_OK((int)WISH(b->box, STHREAD_READ));
	CHECK_EQ(b->box_at[0], 'b');
	b->box_at[0] = 'x';
	return NULL;
}

ST_FN(box_alone)
{
	return (void *)(uintptr_t)((struct board *)arg)->box_at[0];
}

static void rights(struct sthread_policy *caller)
{
	struct sthread_result r;

	for (int k = 0; k < 6; k++) {
		r = st_both[k % 2](caller, wishes, board);
		ST_RETURNED(&r, 0);
		/* Of a run that had it, and one that had not, nothing is in the next. */
		for (int before = 0; before < 2; before++) {
			r = st_both[k % 2](caller, box_alone, board);
			ST_FAULTS(&r, STHREAD_FAULT_MEMORY, board->box_at, 1, ST_IN(box_alone),
				  "tag box: not granted");
			r = st_both[k % 2](caller, box_failed, board);
			ST_FAULTS(&r, STHREAD_FAULT_MEMORY, board->box_at, 1, ST_IN(box_failed),
				  "tag box: not granted");
			r = st_both[k % 2](caller, box_given, board);
			ST_RETURNED(&r, 'b');
		}
		r = st_both[k % 2](caller, box_written, board);
		ST_FAULTS(&r, STHREAD_FAULT_MEMORY, board->box_at, 2, ST_IN(box_written),
			  "(granted read-only)");
		r = st_both[k % 2](caller, half_failed, board);
		ST_FAULTS(&r, STHREAD_FAULT_MEMORY, board->half_at + 1, 2, ST_IN(half_failed),
			  "(granted read-only)");
		CHECK_EQ(board->half_at[1], 'h');
		r = st_both[k % 2](caller, half_given, board);
		ST_RETURNED(&r, 0);
		CHECK_EQ(board->half_at[1], 'x');
		board->half_at[1] = 'h';
	}
}

/* ---- memory ---- */

/* Where the limit leaves no room for tables the gate is told, and no part of it is there; otherwise all of it is. */
ST_FN(wide)
{
	struct board *b = arg;
	int64_t r;

	CHECK_ERR(WISH_THEN(b->page, STHREAD_READ, -EPIPE),
		  -EPIPE); /* what a call takes is there */
	CHECK(!can_read(b, b->wide_at));
	r = WISH(b->wide, STHREAD_READ);
	CHECK_EQ(can_read(b, b->wide_at), !r);
	CHECK_EQ(can_read(b, b->wide_at + 3 * GIB - 1), !r);
	if (!r)
		CHECK(b->wide_at[GIB] == 'w' && b->wide_at[3 * GIB - 1] == 'w');
	return (void *)r;
}

/* By whichever lane: the same limits are too small, and for the same. */
static void memory(struct sthread_policy *caller)
{
	unsigned first_over = 0, first_refused = 0;

	for (unsigned k = 0; k < 4; k++) {
		unsigned over = 0, refused = 0, given = 0;

		for (unsigned pages = 2; given < 3; pages++) {
			struct sthread_result r;

			CHECK_LT(pages, 400);
			st_limit(caller, STHREAD_LIMIT_MEMORY, pages * PAGE);
			r = st_both[k % 2](caller, wide, board);
			if (r.end == STHREAD_OVER_LIMIT) {
				ST_LIMIT(&r, STHREAD_LIMIT_MEMORY);
				CHECK_EQ(refused + given, 0);
				over++;
			} else if (r.value) {
				ST_RETURNED(&r, -ENOMEM);
				CHECK_EQ(given, 0);
				refused++;
			} else {
				ST_RETURNED(&r, 0);
				given++;
			}
		}
		NOTE("%u limits too small to run, %u for the tables", over, refused);
		CHECK_GT(over, 0);
		CHECK_GE(refused, 2); /* the tables of three GiB are not one */
		first_over = k ? first_over : over;
		first_refused = k ? first_refused : refused;
		CHECK(over == first_over && refused == first_refused);
	}
	st_limit(caller, STHREAD_LIMIT_MEMORY, 64UL << 20);
}

/* ---- how long ---- */

/* Step 1: before; 2: after a call that failed; 3: given.  `last` is to be seen from outside. */
ST_FN(steps)
{
	struct board *b = arg;

	for (int step = 1; step <= b->last; step++) {
		if (step == 2)
			CHECK_ERR(WISH_THEN(b->other, STHREAD_READ, -EPIPE), -EPIPE);
		if (step == 3)
			CHECK_OK((int)WISH(b->other, STHREAD_READ));
	}
	atomic_store(&b->there, true);
	while (!atomic_load(&b->go))
		sched_yield();
	return NULL;
}

/* A tag that the caller was given is not destroyed before its run has ended; one that it was not given is. */
static void held(struct sthread_policy *caller)
{
	for (board->last = 1; board->last <= 3; board->last++) {
		struct sthread_tag *other = board->other;
		struct sthread_result r;
		struct sthread *st;

		CHECK_OK(sthread_tag_create(&board->other, "another", PAGE));
		atomic_store(&board->there, false);
		atomic_store(&board->go, false);
		st = st_create(caller, steps, board);
		LIFE_UNTIL(atomic_load(&board->there));
		if (board->last == 3)
			CHECK_ERR(sthread_tag_destroy(board->other), -EBUSY);
		else
			CHECK_OK(sthread_tag_destroy(board->other));
		atomic_store(&board->go, true);
		r = st_join(st);
		ST_RETURNED(&r, 0);
		if (board->last == 3)
			CHECK_OK(sthread_tag_destroy(board->other));
		board->other = other;
	}
}

/* ---- who may ---- */

ST_FN(no_gate)
{
	CHECK_ERR(sthread_gate_give_tag(arg, STHREAD_READ), -EINVAL);
	return NULL;
}

static volatile unsigned char *tag_of(struct sthread_tag **t, const char *name, size_t len)
{
	CHECK_OK(sthread_tag_create(t, name, len));
	return sthread_tag_start(*t);
}

static void fill(struct board *b, int pipe[2])
{
	memcpy(b->pipe, pipe, sizeof(b->pipe));
	b->box_at = memset((void *)tag_of(&b->box, "box", BOX), 'b', BOX);
	b->page_at = memset((void *)tag_of(&b->page, "page", PAGE), 'p', PAGE);
	b->half_at = memset((void *)tag_of(&b->half, "half", PAGE), 'h', PAGE);
	tag_of(&b->other, "other", PAGE);
	b->wide_at = tag_of(&b->wide, "wide", 3 * GIB);
	b->wide_at[GIB] = b->wide_at[3 * GIB - 1] = 'w';
}

/* ---- memory that a gate was granted and that is no tag: nobody has a handle of it, but one can be guessed ---- */

ST_FN(guesses)
{
	struct board *b = arg;

	CHECK_ERR(WISH(b->half, STHREAD_READ), -EPERM);
	CHECK_ERR(WISH(b->other, STHREAD_READ), -EPERM);
	CHECK_OK((int)WISH(b->page, STHREAD_READ));
	return NULL;
}

static void guessed(void)
{
	struct sthread_policy *p = st_policy(), *caller = st_policy();
	struct sthread_gate *g;
	void *map;

	CHECK_OK(sthread_map(PAGE, &map));
	CHECK_OK(sthread_policy_memory(p, live, sizeof(live), STHREAD_READ));
	CHECK_OK(sthread_policy_memory(p, map, PAGE, STHREAD_READ));
	CHECK_OK(sthread_policy_tag(p, board->page, STHREAD_READ));
	board->half = data_find((uint64_t)live, (uint64_t)live + sizeof(live));
	board->other = tag_enter_at((uint64_t)map);
	CHECK(board->half && board->other);
	tag_leave(board->other);
	board->gate = g = GATE(.fn = gives, .policy = p);
	CHECK_OK(sthread_policy_tag(caller, board_tag, STHREAD_READ));
	CHECK_OK(sthread_policy_gate(caller, g));
	ST_PASSES(caller, guesses, board);
	sthread_gate_destroy(g);
	sthread_policy_destroy(p);
	sthread_policy_destroy(caller);
	CHECK_OK(sthread_unmap(map));
}

int main(void)
{
	struct sthread_policy *caller, *p;
	struct sthread_gate *g[3];
	struct wish w;
	int pipe[2];

	CHECK(!pipe2(pipe, O_CLOEXEC));
	st_init();
	board = (struct board *)tag_of(&board_tag, "board", sizeof(*board));
	fill(board, pipe);
	p = st_policy();
	CHECK_OK(sthread_policy_tag(p, board->box, STHREAD_WRITE));
	CHECK_OK(sthread_policy_tag(p, board->half, STHREAD_WRITE));
	CHECK_OK(sthread_policy_tag(p, board->page, STHREAD_READ));
	CHECK_OK(sthread_policy_tag(p, board->wide, STHREAD_READ));
	CHECK_OK(sthread_policy_memory(p, live, sizeof(live), STHREAD_READ));
	caller = st_policy();
	CHECK_OK(sthread_policy_tag(caller, board_tag, STHREAD_WRITE));
	CHECK_OK(sthread_policy_tag(caller, board->half, STHREAD_READ));
	st_allow(caller, SYS_read, SYS_write);
	st_grant(caller, pipe[0], STHREAD_FD_READ);
	st_grant(caller, pipe[1], STHREAD_FD_WRITE);
	g[0] = GATE(.name = "fresh", .fn = gives, .policy = p);
	g[1] = GATE(.name = "recycled", .fn = gives, .policy = p, .kind = STHREAD_GATE_RECYCLED);
	g[2] = GATE(.name = "native", .fn = gives, .native = true);
	for (int k = 0; k < 3; k++)
		CHECK_OK(sthread_policy_gate(caller, g[k]));
	for (int k = 0; k < 3; k++) {
		NOTE("gate %d", k);
		board->gate = g[k];
		board->native = k == 2;
		rights(caller);
		memory(caller);
		st_others_live();
		/* The master has all of them. */
		w = (struct wish){ board->page, STHREAD_READ, 0 };
		CHECK_ERR((int)wish_of(g[k], w), -EINVAL);
	}
	held(caller); /* of the native one, which has all tags */
	CHECK_ERR(sthread_gate_give_tag(board->page, STHREAD_READ), -EINVAL);
	ST_PASSES(p, no_gate, board->page);
	for (int k = 0; k < 3; k++)
		sthread_gate_destroy(g[k]);
	sthread_policy_destroy(p);
	sthread_policy_destroy(caller);
	/* Nothing is left that holds them. */
	CHECK_OK(sthread_tag_destroy(board->box));
	CHECK_OK(sthread_tag_destroy(board->wide));
	guessed();
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
