/* SPDX-License-Identifier: MIT */
/*
 * Two vCPUs run at the same time: each waits in ring 3 for the other's step, with no exit between; and in one space they
 * see one memory, also where one of them gets a copy of a page that the other has read.  World: host.
 */
#include "tests/guest.h"

#define TURNS 20000

/* Until the counter at rdi has come to rdx steps: the one whose parity (rsi) is its turn takes it. */
__asm__(".pushsection .rodata\n"
	"turns_start:\n"
	"1:	mov (%rdi), %rax\n"
	"	cmp %rdx, %rax\n	jae 2f\n"
	"	mov %rax, %rcx\n	and $1, %ecx\n	cmp %rcx, %rsi\n	jne 3f\n"
	"	incq (%rdi)\n"
	"	jmp 1b\n"
	"3:	pause\n	jmp 1b\n"
	"2:	mov %rax, %rdi\n	mov $1000, %eax\n	syscall\n	ud2\n"
	"turns_end:\n"
	".popsection\n");
extern const char turns_start[], turns_end[];

#define CODE	0x13000000UL
#define COUNTER 0x14000000UL

static struct dune_frame frame(unsigned parity, uint64_t turns)
{
	return (struct dune_frame){
		.rip = CODE, .rsp = GUEST_STACK_TOP, .rdi = COUNTER, .rsi = parity, .rdx = turns
	};
}

static struct dune_space *space(dune_gpa_t counter)
{
	struct dune_space *s = guest_space();

	guest_map_code(s, CODE, turns_start, turns_end);
	CHECK_OK(dune_vm_map(s, dune_gva(COUNTER), counter, DUNE_PAGE_SIZE, RW));
	return s;
}

#define COPIED	0x15000000UL
#define COUNTED 0x16000000UL

/* One reads a page for as long as it is as it was; the other writes it, which takes a copy. */
static void copied_beside(struct dune_vcpu *a, struct dune_vcpu *b)
{
	struct dune_space *s = guest_space();
	volatile uint64_t *counter;
	struct guest_thread t;

	CHECK_OK(dune_vm_map(s, dune_gva(COPIED), guest_page(5), DUNE_PAGE_SIZE, RO | DUNE_COW));
	counter = dune_page_host(guest_vm, guest_map(s, COUNTED, 0, RW));
	guest_thread_start(&t, a, s, guest_r_watch, COPIED, 5, COUNTED);
	CHECK(guest_wait_progress(&t, counter, 100));
	guest_write(b, s, COPIED, 6);
	guest_thread_join(&t);
	CHECK_MSG(t.exit == DUNE_EXIT_SYSCALL && t.frame.rdi == 6, "%s", guest_exit_text(t.exit, &t.frame));
	dune_vm_free(s);
}

int main(void)
{
	struct dune_vcpu *a, *b;
	struct dune_space *s, *other;
	struct guest_thread t;
	volatile uint64_t *counter;
	dune_gpa_t page;
	uint64_t switches;
	unsigned long turns;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP_CPU("one processor");
	guest_start(64UL << 20);
	turns = test_scale(TURNS);
	page = guest_page(0);
	counter = dune_page_host(guest_vm, page);
	a = guest_vcpu();
	b = guest_vcpu();
	s = space(page);
	other = space(page);
	/* In one space, unless ring 0 decides; then in two that share the page. */
	for (int two = guest_info.placement == DUNE_PLACE_RING0; two < 2; two++) {
		struct dune_frame f = frame(0, turns);
		enum dune_exit e;

		*counter = 0;
		/* The pages are there already, so that nothing but the end is an exit. */
		CHECK_EQ(guest_call(b, two ? other : s, guest_r_read, COUNTER, 0), 0);
		CHECK_EQ(guest_call(a, s, guest_r_read, COUNTER, 0), 0);
		switches = dune_vcpu_switches(a);
		guest_thread_start_at(&t, b, two ? other : s, frame(1, turns));
		e = dune_vcpu_run(a, s, &f);
		CHECK_MSG(e == DUNE_EXIT_SYSCALL && f.rdi == turns, "%s", guest_exit_text(e, &f));
		guest_thread_join(&t);
		CHECK_MSG(t.exit == DUNE_EXIT_SYSCALL && t.frame.rdi == turns, "%s",
			  guest_exit_text(t.exit, &t.frame));
		CHECK_EQ(*counter, turns);
		/* Far fewer entries than turns: they waited in ring 3, side by side. */
		CHECK_LT(dune_vcpu_switches(a) - switches, turns / 10 + 10);
	}
	if (guest_info.placement == DUNE_PLACE_HOST)
		copied_beside(a, b);
	guest_stop();
	return 0;
}
