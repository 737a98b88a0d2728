/* SPDX-License-Identifier: MIT */
/*
 * The structures that hold a compartment, each at the very address at which the library has it: page tables of every
 * level, the image, other compartments' pages, what the monitor and KVM share with the host.  They can be touched
 * neither by an instruction nor by a system call.  World: host; ST_FN: inside.
 */
#include <sys/mman.h>

#include "sthread/process.h"
#include "sthread/run/handle.h"
#include "sthread/run/lane.h"
#include "tests/st.h"
#include "vm/kvm/kvm.h"

#define SECRET	"secret of one"
#define TARGETS 128

static char global[64] = "before";

/* ---- inside ---- */

ST_FN(reads)
{
	return (void *)(uintptr_t) * (volatile unsigned char *)arg;
}

ST_FN(writes)
{
	*(volatile unsigned char *)arg = 'W';
	return NULL;
}

static int full[2], sink[2]; /* pipes: to read from, to write to */

/* The compartment's deputy may not, either. */
ST_FN(passes_on)
{
	struct iovec v = { arg, 8 };

	CHECK(write(sink[1], arg, 8) == -1 && errno == EFAULT);
	CHECK(writev(sink[1], &v, 1) == -1 && errno == EFAULT);
	CHECK(read(full[0], arg, 8) == -1 && errno == EFAULT);
	CHECK(readv(full[0], &v, 1) == -1 && errno == EFAULT);
	CHECK(syscall(SYS_clock_gettime, 0, arg) == -1 && errno == EFAULT);
	return NULL;
}

/* The twin. */
ST_FN(passes_its_own_on)
{
	CHECK_EQ(write(sink[1], arg, 8), 8);
	CHECK_EQ(read(full[0], arg, 8), 8);
	CHECK_EQ(syscall(SYS_clock_gettime, 0, arg), 0);
	return NULL;
}

/* Has pages of its own, says where, and looks at them when it is told to end. */
ST_FN(keeps_secret)
{
	char *area = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
	     c;

	strcpy(area, SECRET);
	strcpy(global, SECRET);
	CHECK_EQ(write(sink[1], &area, sizeof(area)), (ssize_t)sizeof(area));
	CHECK_EQ(read((int)(intptr_t)arg, &c, 1), 0);
	CHECK_STR(area, SECRET);
	CHECK_STR(global, SECRET);
	return NULL;
}

/* ---- targets ---- */

static struct target {
	char what[64];
	void *at;
	uint64_t word;
	bool still; /* the word stays as it is, but for what the processor marks in an entry */
	const char *text;
} target[TARGETS];
static unsigned targets;

static void aim(const char *whose, const char *what, const void *at, bool still, const char *text)
{
	struct target *t = &target[targets++];

	CHECK(targets <= TARGETS);
	snprintf(t->what, sizeof(t->what), "%s%s", whose, what);
	t->at = (void *)(uintptr_t)at;
	t->word = *(const uint64_t *)at;
	t->still = still;
	t->text = text;
}

/* The entry of each level on the way to `at`, and the page: its bytes are `is`. */
static void aim_at_way(const char *whose, const struct dune_space *s, const void *at,
		       const char *is)
{
	static const char *const level_name[] = { "", "entry of level 1", "entry of level 2",
						  "entry of level 3", "root" };
	const char *page;
	uint64_t table = s->pt.root.v;

	for (int level = PT_LEVELS; level; level--) {
		const uint64_t *entries = arena_host(&process.vm->arena, dune_gpa(table));
		const uint64_t *entry = entries + ((uintptr_t)at >> (3 + 9 * level)) % PT_ENTRIES;

		CHECK_MSG(*entry & PT_P && (level == 1 || !(*entry & PT_PS)),
			  "%s, level %d: %#" PRIx64, whose, level, *entry);
		aim(whose, level_name[level], entry, true, "never granted");
		table = *entry & PT_ADDR;
	}
	page = (char *)arena_host(&process.vm->arena, dune_gpa(table)) +
	       (uintptr_t)at % DUNE_PAGE_SIZE;
	CHECK_STR(page, is);
	aim(whose, "page", page, true, "never granted");
}

static const struct dune_space *template_space(void)
{
	const struct dune_space *s = process.vm->spaces;

	while (s && !s->frozen)
		s = s->next;
	CHECK(s);
	return s;
}

/* Nobody is in the midst of anything: what runs waits for a pipe. */
static void aim_at_all(const struct lane *keeper, const char *area)
{
	const struct dune_vm *vm = process.vm;
	unsigned vcpus = 0, spaces = 0;

	aim_at_way("the image's ", template_space(), global, "before");
	aim_at_way("another's ", keeper->space, global, SECRET);
	aim_at_way("another's area's ", keeper->space, area, SECRET);
	for (const struct dune_space *s = vm->spaces; s; s = s->next, spaces++) {
		aim("a space's root", "", arena_host(&vm->arena, s->pt.root), false,
		    "never granted");
		aim("a space's root, the monitor's entry", "",
		    (char *)arena_host(&vm->arena, s->pt.root) + DUNE_PAGE_SIZE - 8, true,
		    "never granted");
		aim("struct mon_space", "", s->mon, false, "never granted");
	}
	for (const struct dune_vcpu *c = vm->vcpus; c; c = c->next, vcpus++) {
		aim("kvm_run", "", kvm_vcpu_of(c)->run, false, "not granted");
		aim("struct mon_vcpu", "", kvm_vcpu_of(c)->mon, false, "never granted");
		aim("the stack of ring 0", "", kvm_vcpu_of(c)->stack, false, "never granted");
	}
	aim("the monitor's tables", "", arena_host(&vm->arena, kvm_of(vm)->mon.top), false,
	    "never granted");
	aim("the monitor's text", "", arena_host(&vm->arena, kvm_of(vm)->mon.text), true, "never granted");
	/* This thread's and two workers', the service vCPU; the template. */
	CHECK_GE(vcpus, 4);
	CHECK_GE(spaces, 4);
}

static void attack(const struct sthread_policy *p, const struct target *t)
{
	struct sthread_result r;

	NOTE("%s, %p", t->what, t->at);
	for (int on_worker = 0; on_worker < 2; on_worker++) {
		r = on_worker ? st_run(NULL, reads, t->at) : st_call(NULL, reads, t->at);
		ST_FAULTS(&r, STHREAD_FAULT_MEMORY, t->at, 1, ST_IN(reads), t->text);
		r = on_worker ? st_run(NULL, writes, t->at) : st_call(NULL, writes, t->at);
		ST_FAULTS(&r, STHREAD_FAULT_MEMORY, t->at, 2, ST_IN(writes), t->text);
	}
	ST_PASSES(p, passes_on, t->at);
	if (t->still)
		CHECK_EQ((*(volatile uint64_t *)t->at | PT_A | PT_D), (t->word | PT_A | PT_D));
}

int main(void)
{
	struct sthread_policy *p;
	struct sthread_result r;
	struct sthread *keeper;
	int stay[2];
	char *area, byte[8];

	CHECK(!pipe(full) && !pipe2(sink, O_NONBLOCK) && !pipe(stay));
	CHECK_EQ(write(full[1], "12345678abcdefgh", 16), 16);
	st_init();
	p = st_policy();
	st_allow(p, SYS_read, SYS_readv, SYS_write, SYS_writev);
	st_grant(p, full[0], STHREAD_FD_READ);
	st_grant(p, stay[0], STHREAD_FD_READ);
	st_grant(p, sink[1], STHREAD_FD_WRITE);
	keeper = st_create(p, keeps_secret, (void *)(intptr_t)stay[0]);
	while (read(sink[0], &area, sizeof(area)) != sizeof(area))
		usleep(1000);
	st_others_live();
	r = st_run(NULL, reads, global);
	ST_RETURNED(&r, 'b');
	aim_at_all(keeper->lane, area);
	for (unsigned i = 0; i < targets; i++)
		attack(p, &target[i]);
	st_others_live();
	CHECK_EQ(read(sink[0], byte, 1), -1); /* nothing came out */

	/* Twins: the same page of the image at its own address; and what is its own, passed on. */
	r = st_call(NULL, reads, global);
	ST_RETURNED(&r, 'b');
	r = st_call(NULL, writes, global);
	ST_RETURNED(&r, 0);
	ST_PASSES(p, passes_its_own_on, global);
	CHECK_EQ(read(sink[0], byte, 8), 8);
	CHECK_MEM(byte, "before", 7);
	CHECK_STR(global, "before");
	close(stay[1]);
	r = st_join(keeper);
	ST_RETURNED(&r, 0);
	sthread_policy_destroy(p);
	sthread_fini();
	return TEST_PASSED;
}
