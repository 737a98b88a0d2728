/* SPDX-License-Identifier: MIT */
/*
 * Forged hypercalls: with each instruction that makes one, and each number of KVM and of its software form, which takes
 * its own by `syscall`.  They fault or give an error, and memory that their arguments name, by address or as
 * guest-physical, stays as it was.  World: host; ST_FN: inside.
 */
#include "sthread/process.h"
#include "tests/st.h"
#include "vm/kvm/kvm.h"

#define KVM_EPERM 1 /* what KVM answers ring 3 */
/* The numbers of the software KVM, as published; those that have no meaning yet, too. */
#define PVM_FIRST 0x17088200UL
#define PVM_COUNT 256
#define FILL	  0x5a

static unsigned char buffer[4096] __attribute__((aligned(4096)));
static uint64_t buffer_page; /* guest-physical, in the image */

/* arg: the number, and AS_PAGE. */
#define AS_PAGE (1UL << 63)

#define HYPERCALL(fn, text)                                                               \
	ST_FN(fn)                                                                         \
	{                                                                                 \
		uint64_t rax = (uintptr_t)arg & ~AS_PAGE;                                 \
		uint64_t to = (uintptr_t)arg & AS_PAGE ? buffer_page : (uintptr_t)buffer, \
			 rcx = to;                                                        \
		register uint64_t r8 __asm__("r8") = to, r10 __asm__("r10") = to;         \
                                                                                          \
		__asm__ volatile(text                                                     \
				 : "+a"(rax), "+c"(rcx)                                   \
				 : "b"(to), "d"(to), "S"(to), "D"(to), "r"(r8), "r"(r10)  \
				 : "r9", "r11", "memory", "cc");                          \
		for (unsigned i = 0; i < sizeof(buffer); i++)                             \
			CHECK_EQ(buffer[i], FILL);                                        \
		return (void *)rax;                                                       \
	}

HYPERCALL(by_vmcall, "vmcall")
HYPERCALL(by_vmmcall, "vmmcall")
HYPERCALL(by_vmgexit, ".byte 0xf3, 0x0f, 0x01, 0xd9")
HYPERCALL(by_syscall, "syscall")
/* How a guest of the software KVM asks for its leaves. */
HYPERCALL(by_synthetic_cpuid, ".byte 0x0f, 0x01, 0x3c, 0x25, 0x50, 0x56, 0x4d, 0xff, 0x0f, 0xa2")
/* The twin: a number that exists, by the same way. */
ST_FN(gets_its_pid)
{
	return (void *)(uintptr_t)(syscall(SYS_getpid) == getpid() && getpid() > 0);
}

static const unsigned char *image_of_buffer(void)
{
	struct dune_space *template = process.vm->spaces; /* there is no other yet */
	struct dune_leaf leaf;

	CHECK(template && !template->next);
	CHECK_OK(dune_vm_lookup(template, dune_gva((uintptr_t)buffer), &leaf));
	buffer_page = leaf.page.v;
	return dune_page_host(process.vm, leaf.page);
}

static unsigned answered, faulted;

/* An error, or a fault of the instruction: which of them is the processor's business. */
static void refused(st_fn *fn, struct st_place in, uint64_t nr)
{
	struct sthread_result r = st_call(NULL, fn, (void *)nr);

	if (r.end == STHREAD_RETURNED) {
		ST_RETURNED(&r, -KVM_EPERM);
		answered++;
		return;
	}
	ST_END(&r, STHREAD_FAULTED);
	faulted++;
	/* KVM writes the other vendor's instruction over one that is not this processor's: text does not let it. */
	if (r.fault == STHREAD_FAULT_MEMORY)
		ST_FAULTS(&r, STHREAD_FAULT_MEMORY, r.ip, 2, in, NULL);
	else
		ST_FAULTS(&r,
			  r.fault == STHREAD_FAULT_PROTECTION ? STHREAD_FAULT_PROTECTION :
								STHREAD_FAULT_INSTRUCTION,
			  0, 0, in, NULL);
}
#define REFUSED(fn, nr) refused(fn, ST_IN(fn), (nr))

static void by_instruction(uint64_t nr)
{
	REFUSED(by_vmcall, nr);
	REFUSED(by_vmmcall, nr);
	REFUSED(by_vmgexit, nr);
	REFUSED(by_vmcall, nr | AS_PAGE);
	REFUSED(by_vmmcall, nr | AS_PAGE);
	REFUSED(by_vmgexit, nr | AS_PAGE);
}

int main(void)
{
	/* Of Xen and Hyper-V, and none. */
	static const uint64_t others[] = { 0,	   29,	       0x5c,	  0x10002,
					   0x8000, 0x40000000, INT32_MAX, UINT32_MAX };
	struct sthread_policy *kills;
	const unsigned char *image;
	struct sthread_result r;

	memset(buffer, FILL, sizeof(buffer));
	st_init();
	image = image_of_buffer();
	CHECK_OK(sthread_checkpoint_range(&buffer_page, sizeof(buffer_page)));
	for (uint64_t nr = 1; nr <= 16; nr++)
		by_instruction(nr);
	for (uint64_t nr = PVM_FIRST; nr < PVM_FIRST + 16; nr++)
		by_instruction(nr);
	for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		by_instruction(others[i]);
	r = st_call(NULL, by_synthetic_cpuid, (void *)PVM_FIRST);
	ST_FAULTS(&r,
		  r.fault == STHREAD_FAULT_PROTECTION ? STHREAD_FAULT_PROTECTION :
							STHREAD_FAULT_INSTRUCTION,
		  0, 0, ST_IN(by_synthetic_cpuid), NULL);
	NOTE("%u were answered with an error, %u faulted", answered, faulted);
	st_others_live();

	/* These arrive here, as any other number that there is not, and nowhere else. */
	for (uint64_t nr = PVM_FIRST; nr < PVM_FIRST + PVM_COUNT; nr++) {
		r = st_call(NULL, by_syscall, (void *)(nr | (nr % 2 ? AS_PAGE : 0)));
		ST_RETURNED(&r, -ENOSYS);
	}
	kills = st_policy();
	CHECK_OK(sthread_policy_syscall(kills, STHREAD_SYSCALL_OTHERS, STHREAD_DENY_KILL));
	for (uint64_t nr = PVM_FIRST; nr < PVM_FIRST + 16; nr++) {
		r = st_run(kills, by_syscall, (void *)nr);
		ST_DENIED(&r, nr);
	}
	r = st_call(kills, gets_its_pid, NULL);
	ST_RETURNED(&r, 1);
	sthread_policy_destroy(kills);
	for (unsigned i = 0; i < sizeof(buffer); i++)
		CHECK(image[i] == FILL && buffer[i] == FILL);
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
