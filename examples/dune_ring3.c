/* SPDX-License-Identifier: MIT */
/*
 * The layer below, used by itself: a virtual machine, one address space, a page of code in ring 3,
 * and this program as its kernel: it answers the page fault and the system call of the guest.
 * World: host; guest_code is ring 3.
 *
 *   build/examples/dune_ring3
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <dune.h>

#define ARENA	  (64UL << 20)
#define HUGE_PAGE (2UL << 20)

/* Where things are in the guest. Any page below DUNE_USER_END will do. */
#define CODE	  0x10000000UL
#define DATA	  0x20000000UL
#define LATER	  0x30000000UL /* nothing there until the guest writes to it */

/* *rsi = *rdi + 1; syscall 1000 with what it wrote.  Runs wherever it is copied to. */
__asm__(".pushsection .rodata\n"
	"guest_code:\n"
	"	mov	(%rdi), %rbx\n"
	"	inc	%rbx\n"
	"	mov	%rbx, (%rsi)\n" /* faults once */
	"	mov	(%rsi), %rdi\n"
	"	mov	$1000, %eax\n"
	"	syscall\n"
	"	ud2\n"
	"guest_code_end:\n"
	".popsection\n");
extern const unsigned char guest_code[], guest_code_end[];

static struct dune_vm *vm;
static struct dune_space *space;

static void on_kick(int sig)
{
	(void)sig; /* interrupts KVM_RUN, no more */
}

static int failed(const char *what, int err)
{
	fprintf(stderr, "dune_ring3: %s: %s\n", what, strerror(-err));
	return 1;
}

/* 2 MiB aligned address space for guest memory. It is the VM's, once that exists. */
static void *reserve(void)
{
	char *p = mmap(NULL, ARENA + HUGE_PAGE, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	return p + (-(uintptr_t)p & (HUGE_PAGE - 1));
}

/*
 * Puts a new page, holding these bytes, into the guest. The mapping owns it: it goes when it is
 * unmapped.
 */
static int map_page(uint64_t at, const void *bytes, size_t len, unsigned prot)
{
	dune_gpa_t page;
	int err = dune_page_alloc(vm, &page);

	if (err)
		return err;
	memcpy(dune_page_host(vm, page), bytes, len);
	err = dune_vm_map(space, dune_gva(at), page, DUNE_PAGE_SIZE, prot | DUNE_OWNED);
	if (err)
		dune_page_put(vm, page);
	return err;
}

/* The trap handler. 0: the guest goes on where it was. */
static int page_fault(const struct dune_frame *frame)
{
	printf("page fault at %#" PRIx64 ", error %#" PRIx64 ", rip %#" PRIx64 "\n", frame->cr2,
	       frame->error, frame->rip);
	if ((frame->cr2 & -DUNE_PAGE_SIZE) != LATER)
		return -1;
	return map_page(LATER, "", 0, DUNE_READ | DUNE_WRITE);
}

static int run(struct dune_vcpu *vcpu)
{
	struct dune_frame frame = { .rip = CODE, .rdi = DATA, .rsi = LATER };

	for (;;) {
		switch (dune_vcpu_run(vcpu, space, &frame)) {
		case DUNE_EXIT_FAULT:
			if (frame.vector == 14 && page_fault(&frame) == 0)
				continue;
			printf("exception %" PRIu64 " at %#" PRIx64 "\n", frame.vector, frame.rip);
			return 1;
		case DUNE_EXIT_SYSCALL:
			printf("system call %" PRIu64 " with %" PRIu64 "\n", frame.rax, frame.rdi);
			return !(frame.rax == 1000 && frame.rdi == 42);
		case DUNE_EXIT_KICKED:
			continue;
		default:
			printf("the guest is lost\n");
			return 1;
		}
	}
}

int main(void)
{
	struct sigaction kick = { .sa_handler = on_kick }; /* without SA_RESTART */
	struct dune_vm_config cfg = { .base = reserve(),
				      .size = ARENA,
				      .kick_signal = SIGRTMAX - 1 };
	const uint64_t forty_one = 41;
	struct dune_vcpu *vcpu;
	int err, status;

	if (!cfg.base)
		return failed("mmap", -ENOMEM);
	sigaction(cfg.kick_signal, &kick, NULL);

	err = dune_vm_create(&vm, &cfg);
	if (err)
		return failed("dune_vm_create", err);
	err = dune_space_create(vm, &space);
	if (err)
		return failed("dune_space_create", err);
	err = map_page(CODE, guest_code, (size_t)(guest_code_end - guest_code),
		       DUNE_READ | DUNE_EXEC);
	if (!err)
		err = map_page(DATA, &forty_one, sizeof(forty_one), DUNE_READ);
	if (err)
		return failed("dune_vm_map", err);
	err = dune_vcpu_create(vm, &vcpu);
	if (err)
		return failed("dune_vcpu_create", err);

	status = run(vcpu);

	dune_vcpu_destroy(vcpu);
	dune_vm_free(space);
	dune_vm_destroy(vm);
	return status;
}
