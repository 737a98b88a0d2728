/* SPDX-License-Identifier: MIT */
/* guest.c - a virtual machine and small ring-3 routines for the tests of dune.h.  World: host; the routines: ring 3. */
#include <signal.h>
#include <sched.h>
#include <sys/mman.h>
#include <time.h>

#include "tests/guest.h"

#define PATIENCE_MS 20000

struct dune_vm *guest_vm;
struct dune_vm_info guest_info;
int guest_kick_signal;

static dune_gpa_t code_page;

#define DONE "	mov $1000, %eax\n	syscall\n	ud2\n"

__asm__(".pushsection .rodata\n"
	".balign 64\n"
	".globl guest_routines, guest_routines_end, guest_r_nop, guest_r_read, guest_r_write, guest_r_call\n"
	".globl guest_r_spin, guest_r_watch, guest_r_hammer, guest_r_watch_call, guest_r_touch, guest_r_sum\n"
	"guest_routines:\n"
	"guest_r_nop:\n" DONE "guest_r_read:\n"
	"	mov (%rdi), %rdi\n" DONE "guest_r_write:\n"
	"	mov %rsi, (%rdi)\n"
	"	mov %rsi, %rdi\n" DONE "guest_r_call:\n"
	"	jmp *%rdi\n"
	"guest_r_spin:\n"
	"	incq (%rdx)\n"
	"	jmp guest_r_spin\n"
	"guest_r_watch:\n"
	"	mov (%rdi), %rax\n"
	"	cmp %rax, %rsi\n"
	"	jne 1f\n"
	"	incq (%rdx)\n"
	"	jmp guest_r_watch\n"
	"1:	mov %rax, %rdi\n" DONE "guest_r_hammer:\n"
	"	mov %rsi, (%rdi)\n"
	"	incq (%rdx)\n"
	"	jmp guest_r_hammer\n"
	"guest_r_watch_call:\n"
	"	mov (%rdi), %rax\n"
	"	cmp %rax, %rsi\n"
	"	jne 1f\n"
	"	incq (%rdx)\n"
	"	mov $1001, %eax\n"
	"	syscall\n"
	"	jmp guest_r_watch_call\n"
	"1:	mov %rax, %rdi\n" DONE "guest_r_touch:\n"
	"1:	mov %rdi, (%rdi)\n"
	"	incq (%rdx)\n"
	"	add $4096, %rdi\n"
	"	cmp %rsi, %rdi\n"
	"	jb 1b\n" DONE "guest_r_sum:\n"
	"	xor %eax, %eax\n"
	"1:	add (%rdi), %rax\n"
	"	add $4096, %rdi\n"
	"	cmp %rsi, %rdi\n"
	"	jb 1b\n"
	"	mov %rax, %rdi\n" DONE "guest_routines_end:\n"
	".popsection\n");

static void on_kick(int sig)
{
	(void)sig; /* ends KVM_RUN, no more */
}

void *guest_reserve(size_t size)
{
	char *p = mmap(NULL, size + GUEST_HUGE, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(p != MAP_FAILED);
	return p + (-(uintptr_t)p & (GUEST_HUGE - 1));
}

void guest_start(size_t arena)
{
	struct sigaction kick = { .sa_handler = on_kick };
	struct dune_vm_config cfg = { .size = arena };

	test_needs_machine();
	guest_kick_signal = cfg.kick_signal = SIGRTMAX - 1;
	CHECK_OK(sigaction(cfg.kick_signal, &kick, NULL));
	cfg.base = guest_reserve(arena);
	cfg.machine = DUNE_MACHINE_KVM;
	switch (test_placement()) {
	case TEST_PLACEMENT_PROCESS:
		cfg.machine = DUNE_MACHINE_PROCESS;
		break;
	case TEST_PLACEMENT_DEFAULT:
		cfg.placement = DUNE_PLACE_AUTO;
		break;
	case TEST_PLACEMENT_HOST:
		cfg.placement = DUNE_PLACE_HOST;
		break;
	case TEST_PLACEMENT_RING0:
		cfg.placement = DUNE_PLACE_RING0;
		break;
	}
	CHECK_OK(dune_vm_create(&guest_vm, &cfg));
	dune_vm_get_info(guest_vm, &guest_info);
	if (cfg.placement != DUNE_PLACE_AUTO)
		CHECK_EQ(guest_info.placement, cfg.placement);
	CHECK_EQ(guest_info.machine, cfg.machine);
	NOTE("decisions in %s, %s", guest_info.placement == DUNE_PLACE_HOST ? "the host" : "ring 0",
	     guest_info.machine == DUNE_MACHINE_PROCESS ? "stub processes" :
	     guest_info.syscall_faults ? "software KVM" : "hardware virtualization");
	CHECK_OK(dune_page_alloc(guest_vm, &code_page));
	memcpy(dune_page_host(guest_vm, code_page), guest_routines,
	       (size_t)(guest_routines_end - guest_routines));
}

void guest_stop(void)
{
	dune_vm_destroy(guest_vm);
	guest_vm = NULL;
}

void guest_furnish(struct dune_space *s)
{
	CHECK_OK(dune_vm_map(s, dune_gva(GUEST_CODE), code_page, DUNE_PAGE_SIZE, RX));
	guest_map(s, GUEST_STACK_TOP - DUNE_PAGE_SIZE, 0, RW);
	guest_map(s, GUEST_SHARED, 0, RW);
}

struct dune_space *guest_space(void)
{
	struct dune_space *s;

	CHECK_OK(dune_space_create(guest_vm, &s));
	guest_furnish(s);
	return s;
}

struct dune_vcpu *guest_vcpu(void)
{
	struct dune_vcpu *c;

	CHECK_OK(dune_vcpu_create(guest_vm, &c));
	return c;
}

volatile uint64_t *guest_shared(struct dune_space *s)
{
	struct dune_leaf leaf;

	CHECK_OK(dune_vm_lookup(s, dune_gva(GUEST_SHARED), &leaf));
	return dune_page_host(guest_vm, leaf.page);
}

void guest_fill(dune_gpa_t page, size_t pages, uint64_t value)
{
	volatile uint64_t *p = dune_page_host(guest_vm, page);

	for (size_t i = 0; i < pages * DUNE_PAGE_SIZE / 8; i++)
		p[i] = value;
}

dune_gpa_t guest_page(uint64_t value)
{
	dune_gpa_t page;

	CHECK_OK(dune_page_alloc(guest_vm, &page));
	if (value)
		guest_fill(page, 1, value);
	return page;
}

dune_gpa_t guest_map(struct dune_space *s, uint64_t at, uint64_t value, unsigned prot)
{
	dune_gpa_t page = guest_page(value);

	CHECK_OK(dune_vm_map(s, dune_gva(at), page, DUNE_PAGE_SIZE, prot | DUNE_OWNED));
	return page;
}

void guest_map_code(struct dune_space *s, uint64_t at, const void *start, const void *end)
{
	dune_gpa_t page = guest_page(0);
	size_t len = (size_t)((const char *)end - (const char *)start);

	CHECK_LE(len, DUNE_PAGE_SIZE);
	memcpy(dune_page_host(guest_vm, page), start, len);
	CHECK_OK(dune_vm_map(s, dune_gva(at), page, DUNE_PAGE_SIZE, RX | DUNE_OWNED));
}

/* ---- runs ------------------------------------------------------------------------------------------- */

const char *guest_exit_name(enum dune_exit e)
{
	static const char *const names[] = { "SYSCALL", "FAULT", "KICKED", "NOMEM", "LOST", "BUSY" };

	return (unsigned)e < sizeof(names) / sizeof(*names) ? names[e] : "?";
}

const char *guest_exit_text(enum dune_exit e, const struct dune_frame *f)
{
	static __thread char text[256];

	snprintf(text, sizeof(text),
		 "%s vector %" PRIu64 " error %#" PRIx64 " rip %#" PRIx64 " cr2 %#" PRIx64
		 " rax %#" PRIx64 " rdi %#" PRIx64 " rflags %#" PRIx64,
		 guest_exit_name(e), f->vector, f->error, f->rip, f->cr2, f->rax, f->rdi,
		 f->rflags);
	return text;
}

struct dune_frame guest_frame(const char *routine, uint64_t rdi, uint64_t rsi, uint64_t rdx)
{
	return (struct dune_frame){
		.rip = guest_at(routine),
		.rsp = GUEST_STACK_TOP,
		.rdi = rdi,
		.rsi = rsi,
		.rdx = rdx,
	};
}

uint64_t guest_call(struct dune_vcpu *c, struct dune_space *s, const char *routine, uint64_t rdi,
		    uint64_t rsi)
{
	struct dune_frame f = guest_frame(routine, rdi, rsi, GUEST_SHARED);
	enum dune_exit e = dune_vcpu_run(c, s, &f);

	CHECK_MSG(e == DUNE_EXIT_SYSCALL && f.rax == GUEST_DONE, "at %#" PRIx64 ": %s", rdi,
		  guest_exit_text(e, &f));
	return f.rdi;
}

void guest_expect_fault(struct dune_vcpu *c, struct dune_space *s, const char *routine, uint64_t at,
			uint64_t error, const char *file, int line)
{
	struct dune_frame f = guest_frame(routine, at, 0x5eed, GUEST_SHARED);
	enum dune_exit e = dune_vcpu_run(c, s, &f);
	uint64_t rip = routine == guest_r_call ? at : guest_at(routine);

	if (e != DUNE_EXIT_FAULT || f.vector != VECTOR_PF || f.error != error || f.cr2 != at ||
	    f.rip != rip)
		test_fail(file, line, "expected #PF error %#" PRIx64 " at %#" PRIx64 ", got %s",
			  error, at, guest_exit_text(e, &f));
}

/* ---- threads ---------------------------------------------------------------------------------------- */

uint64_t guest_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

bool guest_in_time(uint64_t *start, uint64_t ms)
{
	uint64_t now = guest_now_ms();

	if (!*start)
		*start = now;
	if (now - *start < ms)
		return true;
	NOTE("rounds cut short: the machine is busy");
	return false;
}

static void *thread_main(void *arg)
{
	struct guest_thread *t = arg;

	do {
		t->exit = dune_vcpu_run(t->vcpu, t->space, &t->frame);
		if (t->exit == DUNE_EXIT_SYSCALL && t->frame.rax == 1001)
			t->calls++;
		else if (t->exit != DUNE_EXIT_KICKED)
			break;
	} while (!atomic_load(&t->stop));
	atomic_store(&t->ended, true);
	return NULL;
}

void guest_thread_start_at(struct guest_thread *t, struct dune_vcpu *c, struct dune_space *s,
			   struct dune_frame f)
{
	t->vcpu = c;
	t->space = s;
	t->frame = f;
	t->calls = 0;
	atomic_store(&t->stop, false);
	atomic_store(&t->ended, false);
	CHECK_OK(pthread_create(&t->thread, NULL, thread_main, t));
}

void guest_thread_start(struct guest_thread *t, struct dune_vcpu *c, struct dune_space *s,
			const char *routine, uint64_t rdi, uint64_t rsi, uint64_t rdx)
{
	guest_thread_start_at(t, c, s, guest_frame(routine, rdi, rsi, rdx));
}

void guest_thread_join(struct guest_thread *t)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += PATIENCE_MS / 1000;
	if (pthread_timedjoin_np(t->thread, NULL, &end))
		FAIL("a vCPU did not come out of the guest");
}

void guest_thread_stop(struct guest_thread *t)
{
	atomic_store(&t->stop, true);
	dune_vcpu_kick(t->vcpu);
	guest_thread_join(t);
	dune_vcpu_unkick(t->vcpu);
}

bool guest_wait_progress(const struct guest_thread *t, volatile uint64_t *counter, uint64_t by)
{
	uint64_t start = *counter, end = guest_now_ms() + PATIENCE_MS;

	while (*counter - start < by) {
		if (atomic_load(&t->ended))
			return false;
		if (guest_now_ms() > end)
			FAIL("the guest makes no progress");
		sched_yield();
	}
	return true;
}

uint64_t guest_pages_used(void)
{
	struct dune_vm_stats st;

	dune_vm_get_stats(guest_vm, &st);
	return st.pages_used;
}
