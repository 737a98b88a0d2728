/* SPDX-License-Identifier: MIT */
/*
 * machine_create.c - which machine is taken, and that a VM which cannot be made, is destroyed or was forked leaves
 * nothing.  World: host, over fake_machine.c.
 */
#include <signal.h>
#include <sys/wait.h>

#include "arch/arch.h"
#include "tests/test.h"
#include "tests/unit/fake_machine.h"

#define ARENA (8UL << 20)
#define AT    0x10000000UL
#define RW    (DUNE_READ | DUNE_WRITE)

static char *range;

/* Can the range be read?  As the kernel sees it. */
static bool is_there(void)
{
	int fds[2];
	bool there;

	CHECK_OK(pipe(fds));
	there = write(fds[1], range, 1) == 1 || write(fds[1], range + ARENA - 1, 1) == 1;
	close(fds[0]);
	close(fds[1]);
	return there;
}

static void nothing_left(void)
{
	CHECK(!fake_counts.vms && !fake_counts.spaces && !fake_counts.vcpus);
	CHECK(!is_there());
}

static struct dune_vm_config config(enum dune_machine machine)
{
	return (struct dune_vm_config){ .base = range, .size = ARENA, .machine = machine, .kick_signal = SIGUSR1 };
}

static void expect_choice(int kvm, int process, int err, enum dune_machine machine)
{
	const struct dune_vm_config cfg = config(DUNE_MACHINE_AUTO);
	struct dune_vm *vm = NULL;
	struct dune_vm_info info;

	fake_open_error[DUNE_MACHINE_KVM] = kvm;
	fake_open_error[DUNE_MACHINE_PROCESS] = process;
	CHECK_ERR(dune_vm_create(&vm, &cfg), err);
	fake_open_error[DUNE_MACHINE_KVM] = fake_open_error[DUNE_MACHINE_PROCESS] = 0;
	if (err) {
		CHECK_EQ(vm, NULL);
	} else {
		dune_vm_get_info(vm, &info);
		CHECK_EQ(info.machine, machine);
		CHECK(is_there());
		dune_vm_destroy(vm);
	}
	nothing_left();
}

static void choices(void)
{
	enum dune_machine first = arch_virtualizes() ? DUNE_MACHINE_KVM : DUNE_MACHINE_PROCESS;

	expect_choice(0, 0, 0, first);
	expect_choice(-ENOENT, 0, 0, DUNE_MACHINE_PROCESS);
	expect_choice(0, -ENOTSUP, 0, DUNE_MACHINE_KVM);
	/* The error is stub processes': they need the least. */
	expect_choice(-ENOENT, -ENOTSUP, -ENOTSUP, 0);
	/* For want of memory nothing else is tried, nor for a wrong call. */
	if (first == DUNE_MACHINE_KVM)
		expect_choice(-ENOMEM, 0, -ENOMEM, 0);
	else
		expect_choice(0, -ENOMEM, -ENOMEM, 0);
}

static void wrong(void)
{
	struct dune_vm_config good = config(DUNE_MACHINE_PROCESS), cfg;
	struct dune_vm *vm = NULL;

#define WRONG(...)                                           \
	do {                                                 \
		cfg = good;                                  \
		__VA_ARGS__;                                 \
		CHECK_ERR(dune_vm_create(&vm, &cfg), -EINVAL); \
	} while (0)
	WRONG(cfg.base = NULL);
	WRONG(cfg.base = range + DUNE_PAGE_SIZE);
	WRONG(cfg.size = 0);
	WRONG(cfg.size += DUNE_PAGE_SIZE);
	WRONG(cfg.size = 1UL << 44);
	WRONG(cfg.kick_signal = 0);
	WRONG(cfg.machine = DUNE_MACHINE_PROCESS + 1);
	WRONG(cfg.placement = DUNE_PLACE_RING0 + 1);
	CHECK_ERR(dune_vm_create(&vm, NULL), -EINVAL);
	nothing_left();
	CHECK_OK(dune_vm_create(&vm, &good));
	dune_vm_destroy(vm);
	dune_vm_destroy(NULL);
	nothing_left();
}

/* Each op that opening a VM takes fails in turn. */
static void failures(void)
{
	const struct dune_vm_config cfg = config(DUNE_MACHINE_KVM);
	struct dune_vm *vm = NULL;
	unsigned k = 1;

	fake_fail_at(k);
	for (; dune_vm_create(&vm, &cfg); fake_fail_at(++k)) {
		CHECK(fake_failed);
		CHECK_EQ(vm, NULL);
		nothing_left();
	}
	CHECK(!fake_failed);
	CHECK_GE(k, fake_config.kinds ? 6 : 5); /* open() three times, the arena's window, a block */
	fake_fail_at(0);
	dune_vm_destroy(vm);
	nothing_left();
}

/* The VM, and in it a space that ran, one that did not, a clone, a vCPU that is in use and one that is not. */
static struct dune_vm *furnished(void)
{
	const struct dune_vm_config cfg = config(DUNE_MACHINE_KVM);
	struct dune_space *ran, *source, *clone;
	struct dune_vcpu *used, *unused;
	struct dune_vm *vm;
	dune_gpa_t page;

	fake_kvm.vcpus_last = fake_config.keeps_vcpus;
	CHECK_OK(dune_vm_create(&vm, &cfg));
	CHECK_OK(dune_space_create(vm, &ran));
	CHECK_OK(dune_space_create(vm, &source));
	CHECK_OK(dune_page_alloc(vm, &page));
	CHECK_OK(dune_vm_map(source, dune_gva(AT), page, DUNE_PAGE_SIZE, DUNE_READ | DUNE_COW | DUNE_OWNED));
	CHECK_OK(dune_vm_clone(source, &clone));
	CHECK_OK(dune_vcpu_create(vm, &used));
	CHECK_OK(dune_vcpu_create(vm, &unused));
	CHECK_OK(dune_region_add(ran, dune_gva(AT), DUNE_PAGE_SIZE, RW));
	CHECK_EQ(fake_write(used, ran, AT, 1), DUNE_EXIT_SYSCALL);
	CHECK_EQ(fake_write(used, clone, AT, 1), DUNE_EXIT_SYSCALL);
	CHECK_OK(dune_vm_unmap(clone, dune_gva(AT), DUNE_PAGE_SIZE));
	dune_vcpu_destroy(unused);
	dune_vm_free(source);
	return vm;
}

static void forked(void)
{
	struct dune_vm *vm = furnished();
	pid_t child;
	int status;

	memset(fake_counts.forks, 0, sizeof(fake_counts.forks));
	dune_vm_fork_begin(vm);
	child = fork();
	CHECK_GE(child, 0);
	dune_vm_fork_end(vm, !child);
	if (!child) {
		CHECK(fake_counts.forks[FORK_BEFORE] && fake_counts.forks[FORK_CHILD] && !fake_counts.forks[FORK_PARENT]);
		dune_vm_forked(vm);
		nothing_left();
		_exit(0);
	}
	CHECK(fake_counts.forks[FORK_BEFORE] && fake_counts.forks[FORK_PARENT] && !fake_counts.forks[FORK_CHILD]);
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	dune_vm_destroy(vm);
	nothing_left();
}

int main(void)
{
	range = fake_reserve(ARENA);
	for (unsigned i = 0; i < 4; i++) {
		fake_config = (struct fake_config){ .kinds = i & 1, .keeps_vcpus = i & 2 };
		choices();
		wrong();
		failures();
		dune_vm_destroy(furnished());
		nothing_left();
		forked();
	}
	return TEST_PASSED;
}
