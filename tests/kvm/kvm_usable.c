/* SPDX-License-Identifier: MIT */
/* The KVM of this machine makes a VM, a vCPU and a memslot. World: host. */
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "tests/test.h"

/* KVM_CREATE_VM and KVM_CREATE_VCPU may be interrupted. */
static int retry_ioctl(int fd, unsigned long request, unsigned long arg)
{
	int r;

	do
		r = ioctl(fd, request, arg);
	while (r < 0 && errno == EINTR);
	return r;
}

int main(void)
{
	struct kvm_userspace_memory_region slot = { .memory_size = 4096 };
	int kvm = test_open_kvm(), vm, vcpu, run_size;
	void *page;

	CHECK_EQ(ioctl(kvm, KVM_GET_API_VERSION, 0), KVM_API_VERSION);
	CHECK_GT(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY), 0);
	run_size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	CHECK_GE(run_size, (int)sizeof(struct kvm_run));

	vm = retry_ioctl(kvm, KVM_CREATE_VM, 0);
	CHECK(vm >= 0);
	vcpu = retry_ioctl(vm, KVM_CREATE_VCPU, 0);
	CHECK(vcpu >= 0);
	CHECK(mmap(NULL, (size_t)run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0) !=
	      MAP_FAILED);

	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page != MAP_FAILED);
	slot.userspace_addr = (uintptr_t)page;
	CHECK(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) == 0);
	return TEST_PASSED;
}
