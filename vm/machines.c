/* SPDX-License-Identifier: MIT */
/* machines.c - the machines that there are.  World: host. */
#include "vm/machine.h"

const struct machine_ops *const machines[] = { &kvm_machine, &process_machine, NULL };
