/* SPDX-License-Identifier: MIT */
/*
 * A window's page with nothing behind it, as past the end of a file: who touches it in ring 3 has a fault (vector 18,
 * machine check, as SIGBUS would be), and the vCPU goes on.  World: host.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "tests/guest.h"

#define BASE	      0x40000000UL
#define MACHINE_CHECK 18

int main(void)
{
	struct dune_vm_stats st;
	struct dune_space *s;
	struct dune_vcpu *c;
	dune_gpa_t window;
	char *p;
	int fd;

	guest_start(32UL << 20);
	c = guest_vcpu();
	fd = memfd_create("short", MFD_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, 100), 0);
	CHECK_EQ(pwrite(fd, "\x99\x99\x99\x99\x99\x99\x99\x99", 8, 0), 8);
	p = mmap(NULL, 3 * 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	CHECK(p != MAP_FAILED);
	CHECK_OK(dune_slot_add(guest_vm, p, 3 * 4096, &window));
	s = guest_space();
	CHECK_OK(dune_vm_map(s, dune_gva(BASE), window, 3 * 4096, DUNE_READ | DUNE_EXEC));
	guest_map(s, BASE + 3 * 4096, 6, RW);
	for (int i = 0; i < 50; i++) {
		static const char *const routine[] = { guest_r_read, guest_r_call };
		struct dune_frame f = guest_frame(routine[i % 2], BASE + (1 + i / 2 % 2) * 4096, 0,
						  0),
				  was = f;
		enum dune_exit e = dune_vcpu_run(c, s, &f);

		CHECK_MSG(e == DUNE_EXIT_FAULT && f.vector == MACHINE_CHECK, "%s",
			  guest_exit_text(e, &f));
		/* It is at the instruction: a jump has been made. */
		CHECK_EQ(f.rip, i % 2 ? was.rdi : was.rip);
		/* The twins beside it. */
		CHECK_EQ(guest_read(c, s, BASE), 0x9999999999999999);
		guest_write(c, s, BASE + 3 * 4096, 5);
		guest_read_fault(c, s, BASE + 4 * 4096, PF_ABSENT_READ);
	}
	/* What comes to be behind it is seen. */
	CHECK_EQ(ftruncate(fd, 2 * 4096), 0);
	CHECK_EQ(guest_read(c, s, BASE + 4096), 0);
	dune_vm_get_stats(guest_vm, &st);
	CHECK_EQ(st.vcpus_lost, 0);
	dune_vm_free(s);
	guest_stop();
	return TEST_PASSED;
}
