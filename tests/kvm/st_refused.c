/* SPDX-License-Identifier: MIT */
/*
 * The host refuses the library one thing, once: memory, a mapping, a descriptor, a KVM call, a thread, a timer; each
 * that it asks for in its life in turn.  What was asked of the library then fails with an error that it documents or
 * succeeds all the same; whatever happens, no block, mapping or descriptor is left when it has ended, and the next life
 * is a good one.  World: host; plus_one() and the gate inside.
 */
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/time.h>

#include "tests/kvm/st_life.h"
#include "tests/st_gate.h"

/* ---- what can be refused (tests/meson.build wraps these) -------------------------------------------------- */

static atomic_long until;  /* the last one before 0 is refused */
static atomic_long blocks; /* that the library has */
static const char *what;   /* was refused */
static void *from;	   /* for whom */

static bool refuse(const char *name, int err, void *for_whom)
{
	if (sthread_inside() || atomic_load(&until) <= 0 || atomic_fetch_sub(&until, 1) != 1)
		return false;
	what = name;
	from = for_whom;
	errno = err;
	return true;
}

static void *count(void *block)
{
	if (block && !sthread_inside())
		atomic_fetch_add(&blocks, 1);
	return block;
}

#define REFUSE(name, err) refuse((name), (err), __builtin_return_address(0))
#define WRAP(type, name, ...)                                                                \
	type __real_##name(__VA_ARGS__);                                                     \
	type __wrap_##name(__VA_ARGS__);                                                     \
	type __wrap_##name(__VA_ARGS__)

WRAP(void *, malloc, size_t n)
{
	return REFUSE("malloc", ENOMEM) ? NULL : count(__real_malloc(n));
}

WRAP(void *, calloc, size_t n, size_t size)
{
	return REFUSE("calloc", ENOMEM) ? NULL : count(__real_calloc(n, size));
}

WRAP(void *, realloc, void *p, size_t n)
{
	void *now = REFUSE("realloc", ENOMEM) ? NULL : __real_realloc(p, n);

	return p ? now : count(now);
}

WRAP(void *, reallocarray, void *p, size_t n, size_t size)
{
	void *now = REFUSE("reallocarray", ENOMEM) ? NULL : __real_reallocarray(p, n, size);

	return p ? now : count(now);
}

WRAP(void, free, void *p)
{
	if (p && !sthread_inside())
		atomic_fetch_sub(&blocks, 1);
	__real_free(p);
}

WRAP(ssize_t, __getdelim, char **line, size_t *cap, int end, FILE *f)
{
	bool had = *line;
	ssize_t n = __real___getdelim(line, cap, end, f);

	if (!had)
		count(*line);
	return n;
}

WRAP(void *, mmap64, void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
	return REFUSE("mmap", ENOMEM) ? MAP_FAILED : __real_mmap64(at, len, prot, flags, fd, offset);
}

WRAP(int, open64, const char *path, int flags, mode_t mode)
{
	return REFUSE("open", EMFILE) ? -1 : __real_open64(path, flags, mode);
}

WRAP(int, fcntl64, int fd, int cmd, long arg)
{
	return cmd == F_DUPFD_CLOEXEC && REFUSE("fcntl", EMFILE) ? -1 : __real_fcntl64(fd, cmd, arg);
}

/* A vCPU that is refused to run is lost: st_lost.c.  To wait for a stub, and to answer it, takes no memory. */
WRAP(int, ioctl, int fd, unsigned long request, long arg)
{
	bool runs = request == KVM_RUN || request == SECCOMP_IOCTL_NOTIF_RECV || request == SECCOMP_IOCTL_NOTIF_SEND;

	return !runs && REFUSE("ioctl", ENOMEM) ? -1 : __real_ioctl(fd, request, arg);
}

WRAP(int, pthread_create, pthread_t *t, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	return REFUSE("pthread_create", EAGAIN) ? EAGAIN : __real_pthread_create(t, attr, fn, arg);
}

WRAP(int, timer_create, clockid_t clock, struct sigevent *ev, timer_t *out)
{
	return REFUSE("timer_create", EAGAIN) ? -1 : __real_timer_create(clock, ev, out);
}

/* ---- a life that asks for all ------------------------------------------------------------------------------- */

static void *plus_one(void *arg)
{
	return (char *)arg + 1;
}

static ssize_t answers(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	(void)in, (void)in_len;
	return gate_answer(out, out_cap, (int64_t)(intptr_t)trusted);
}

static struct {
	struct sthread_policy *p, *q;
	struct sthread_tag *tag;
	struct sthread_gate *gate[3];
	void *map, *block;
	int fd;
} has;

#define TRY(call)                    \
	do {                         \
		int err_ = (call);   \
		if (err_)            \
			return err_; \
	} while (0)

static int ended(const struct sthread_result *r)
{
	if (r->end == STHREAD_NOT_STARTED)
		return (int)(intptr_t)r->value;
	CHECK_MSG(r->end == STHREAD_RETURNED && r->value == (void *)42, "%s", st_words(r));
	return 0;
}

static int runs(void)
{
	struct sthread_result r;
	struct sthread *st;

	TRY(sthread_call(has.p, plus_one, (void *)41, &r));
	TRY(ended(&r));
	TRY(sthread_create(&st, has.p, plus_one, (void *)41));
	TRY(sthread_join(st, &r));
	return ended(&r);
}

static int gates(void)
{
	struct sthread_gate_config c[3] = { { .policy = has.q, .kind = STHREAD_GATE_FRESH },
					    { .policy = has.q, .kind = STHREAD_GATE_RECYCLED },
					    { .native = true } };
	int64_t word;

	for (int i = 0; i < 3; i++) {
		ssize_t n;

		c[i].size = sizeof(c[i]);
		c[i].name = "answers";
		c[i].fn = answers;
		c[i].trusted = (void *)7;
		TRY(sthread_gate_create(&has.gate[i], &c[i]));
		TRY(sthread_policy_gate(has.p, has.gate[i]));
		n = sthread_gate_call(has.gate[i], NULL, 0, &word, sizeof(word));
		if (n < 0)
			return (int)n;
		CHECK_EQ(n, (ssize_t)sizeof(word));
		CHECK_EQ(word, 7);
	}
	return 0;
}

static int uses_all(void)
{
	char text[4096];
	int n;

	TRY(sthread_policy_create(&has.p));
	TRY(sthread_policy_create(&has.q));
	TRY(sthread_policy_fd(has.q, has.fd, STHREAD_FD_READ));
	TRY(sthread_tag_create(&has.tag, "refused", 1 << 16));
	has.block = sthread_malloc(has.tag, 100);
	if (!has.block)
		return -errno;
	TRY(sthread_map(1 << 16, &has.map));
	TRY(sthread_policy_tag(has.q, has.tag, STHREAD_READ));
	TRY(gates()); /* which keep the value of q: the next is set in a copy */
	TRY(sthread_policy_memory(has.q, has.map, 1 << 16, STHREAD_READ));
	TRY(sthread_policy_fd(has.p, has.fd, STHREAD_FD_READ));
	TRY(sthread_policy_tag(has.p, has.tag, STHREAD_READ | STHREAD_WRITE));
	TRY(sthread_policy_limit(has.p, STHREAD_LIMIT_WALL_NS, 60000000000));
	TRY(runs());
	n = sthread_policy_format(has.p, text, sizeof(text));
	return n < 0 ? n : 0;
}

static void lets_go(void)
{
	for (int i = 0; i < 3; i++)
		sthread_gate_destroy(has.gate[i]);
	sthread_policy_destroy(has.p);
	sthread_policy_destroy(has.q);
	sthread_free(has.block);
	if (has.map)
		CHECK_OK(sthread_unmap(has.map));
	if (has.tag)
		CHECK_OK(sthread_tag_destroy(has.tag));
	has = (typeof(has)){ .fd = has.fd };
}

/* Refuses the n-th request (0: none) of init, or (later) of what comes after; true: there was one. */
static bool life(long n, bool later, int *err)
{
	const struct sthread_config cfg = life_config();

	atomic_store(&until, later ? 0 : n);
	*err = sthread_init(&cfg);
	if (!*err) {
		if (later)
			atomic_store(&until, n);
		else if (n && atomic_load(&until) > 0)
			n = 0;
		*err = uses_all();
		if (later && n && atomic_load(&until) > 0)
			n = 0;
		atomic_store(&until, 0);
		lets_go();
	}
	atomic_store(&until, 0);
	sthread_fini();
	return n;
}

static bool documented(int err)
{
	return !err || err == -ENOMEM || err == -EAGAIN || err == -EMFILE || err == -ENOTSUP || err == -EIO;
}

static void each(bool later)
{
	unsigned failed = 0, went_on = 0, step = st_slow() > 1 ? 7 : 1;
	struct life was;
	long had;
	int err;

	for (int i = 0; i < 3; i++) {
		life(0, later, &err);
		CHECK_OK(err);
	}
	was = life_take(LIFE_SIGNAL);
	had = atomic_load(&blocks);
	for (long n = 1; life(n, later, &err); n += step) {
		CHECK_MSG(documented(err), "%s, request %ld for %p: %s", what, n, from, strerror(-err));
		CHECK_MSG(atomic_load(&blocks) == had, "%s, request %ld for %p (%s): %ld blocks, there were %ld", what, n,
			  from, strerror(-err), atomic_load(&blocks), had);
		LIFE_SAME(&was, LIFE_SIGNAL, 12);
		failed += err != 0;
		went_on += !err;
	}
	NOTE("%s: %u failed, %u went on", later ? "in use" : "init", failed, went_on);
	CHECK_GT(failed * step, later ? 20 : 50);
	life(0, later, &err);
	CHECK_OK(err);
	CHECK_EQ(atomic_load(&blocks), had);
}

int main(void)
{
	st_init();
	sthread_fini();
	has.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	each(false);
	each(true);
	return TEST_PASSED;
}
