/* SPDX-License-Identifier: MIT */
/* vm_ring3_table.h - hostile instructions and how each may end.  World: ring 3; what is expected: host. */
#ifndef TESTS_VM_RING3_TABLE_H
#define TESTS_VM_RING3_TABLE_H

/* How a snippet may end: by an exception (its bit), by reaching its own end, by system call 1001. */
#define V(vector) (1UL << (vector))
#define DE V(0)
#define DB V(1)
#define BP V(3)
#define UD V(6)
#define NP V(11)
#define SS V(12)
#define GP V(13)
#define PF V(14)
#define MF V(16)
#define AC V(17)
#define XM V(19)
#define RUNS (1UL << 32)
#define CALL (1UL << 33)
/* What depends on the processor: it has the instruction, or not, or not for ring 3. */
#define FEATURE (RUNS | UD | GP)
/*
 * Recorded on the software KVM (which emulates what faults, with #UD for what it does not know) and on the emulated
 * SVM machine.  QEMU 7.2 takes far returns in ring 3 as accesses of ring 0, which SMAP refuses: PF there; and it
 * lacks #AC and SSE exceptions.  A processor knows one vendor's hypercall: that one goes to whoever is below, who
 * refuses it; the other faults.
 */

/* ---- pieces of code ---- */

/* After a hypercall (rax: SCRATCH) that has run: it gave an error, or a breakpoint says that it did not. */
#define REFUSED "test %rax, %rax\n js 1f\n int3\n1:"
/* What some take as an operand in rax. */
#define AT_RAX "xor %ecx, %ecx\n xor %edx, %edx\n mov %rdi, %rax\n "
/* A system call that the host hears of. */
#define ASKS "mov $1001, %eax\n syscall"
#define STACK(at) "movabs $" at ", %rsp\n "
#define FLAGS(op, bits) "pushfq\n " op " $" bits ", (%rsp)\n popfq\n "
#define LOAD(segment, selector) "mov $" selector ", %eax\n mov %ax, %" segment
#define BASE(at, set) "movabs $" at ", %rax\n " set "\n "
#define BOTH "wrfsbase %rax\n wrgsbase %rax"
/* On to label 1, through a far pointer at rdi; by what is on the stack. */
#define NEXT "lea 1f(%rip), %rax"
#define FAR(op, selector) NEXT "\n mov %rax, (%rdi)\n movw $" selector ", 8(%rdi)\n .byte 0x48\n " op " *(%rdi)\n1:"
#define FAR_RETURN(selector) "pushq $" selector "\n " NEXT "\n push %rax\n lretq\n1:"
#define IRETQ(cs, ss, flags, rip) \
	"mov %rsp, %rcx\n pushq $" ss "\n push %rcx\n pushq $" flags "\n pushq $" cs "\n " rip "\n push %rax\n iretq\n1:"
/* In a code segment of 32 bits, if there is one. */
#define IN_32_BIT(code) \
	"lea 2f(%rip), %rax\n mov %rax, (%rdi)\n movw $0x23, 8(%rdi)\n .byte 0x48\n ljmpl *(%rdi)\n2:\n" \
	".code32\n " code "\n.code64\n"

/* ---- the table: name, outcome on software KVM, on hardware virtualization, code; rdi: SCRATCH ---- */

#define RING3_TABLE(X) \
	X("hlt", GP, GP, "hlt") \
	X("cli", GP, GP, "cli") \
	X("sti", GP, GP, "sti") \
	X("insb", GP, GP, "insb") \
	X("insl", GP, GP, "insl") \
	X("outsb", GP, GP, "outsb") \
	X("wbinvd", GP, GP, "wbinvd") \
	X("invd", GP, GP, "invd") \
	X("clts", GP, GP, "clts") \
	X("swapgs", GP, GP, "swapgs") \
	X("sysretq", GP, GP, "sysretq") \
	X("sysexit", GP, GP, "sysexit") \
	X("sysenter", UD | GP, UD | GP, "sysenter") \
	X("monitor", UD | GP, UD | GP, "monitor") \
	X("mwait", UD | GP, UD | GP, "mwait") \
	X("vmcall", GP | RUNS | UD, GP | RUNS | UD, "vmcall\n " REFUSED) \
	X("vmmcall", PF | RUNS | UD | GP, PF | RUNS | UD | GP, "vmmcall\n " REFUSED) \
	X("vmlaunch", UD | GP, UD | GP, "vmlaunch") \
	X("vmresume", UD | GP, UD | GP, "vmresume") \
	X("vmxoff", UD | GP, UD | GP, "vmxoff") \
	X("vmfunc", UD | GP, UD | GP, "vmfunc") \
	X("getsec", UD | GP, UD | GP, "getsec") \
	X("rsm", UD, UD, "rsm") \
	X("xsetbv", GP, GP, "xsetbv") \
	X("rdpmc", UD | GP, UD | GP, "rdpmc") \
	X("rep insb", GP, GP, "rep insb") \
	X("rep outsb", GP, GP, "mov %rdi, %rsi\n rep outsb") \
	X("in the monitor's port", GP, GP, "in $0x5d, %eax") \
	X("in dx", GP, GP, "mov $0x5d, %edx\n in %dx, %al") \
	X("out the monitor's port", GP, GP, "out %eax, $0x5d") \
	X("out dx", GP, GP, "mov $0x5d, %edx\n out %al, %dx") \
	X("out 0x80", GP, GP, "out %al, $0x80") \
	X("wbnoinvd", UD | GP, UD | GP, ".byte 0xf3, 0x0f, 0x09") \
	X("sysretl", GP, GP, ".byte 0x0f, 0x07") \
	X("lgdt", GP, GP, "lgdt (%rdi)") \
	X("lidt", GP, GP, "lidt (%rdi)") \
	X("lldt", GP, GP, "xor %eax, %eax\n lldt %ax") \
	X("ltr", GP, GP, "mov $0x40, %eax\n ltr %ax") \
	X("read cr0", GP, GP, "mov %cr0, %rax") \
	X("write cr0", GP, GP, "xor %eax, %eax\n mov %rax, %cr0") \
	X("read cr2", GP, GP, "mov %cr2, %rax") \
	X("write cr2", GP, GP, "xor %eax, %eax\n mov %rax, %cr2") \
	X("read cr3", GP, GP, "mov %cr3, %rax") \
	X("write cr3", GP, GP, "xor %eax, %eax\n mov %rax, %cr3") \
	X("read cr4", GP, GP, "mov %cr4, %rax") \
	X("write cr4", GP, GP, "xor %eax, %eax\n mov %rax, %cr4") \
	X("read cr8", GP, GP, "mov %cr8, %rax") \
	X("write cr8", GP, GP, "xor %eax, %eax\n mov %rax, %cr8") \
	X("read dr0", GP, GP, "mov %db0, %rax") \
	X("write dr0", GP, GP, "xor %eax, %eax\n mov %rax, %db0") \
	X("read dr6", GP, GP, "mov %db6, %rax") \
	X("write dr6", GP, GP, "xor %eax, %eax\n mov %rax, %db6") \
	X("read dr7", GP, GP, "mov %db7, %rax") \
	X("write dr7", GP, GP, "xor %eax, %eax\n mov %rax, %db7") \
	X("rdmsr LSTAR", GP, GP, "mov $0xc0000082, %ecx\n rdmsr") \
	X("wrmsr LSTAR", GP, GP, "mov $0xc0000082, %ecx\n mov $0x10000000, %eax\n xor %edx, %edx\n wrmsr") \
	X("wrmsr EFER", GP, GP, "mov $0xc0000080, %ecx\n xor %eax, %eax\n xor %edx, %edx\n wrmsr") \
	X("invlpg", GP, GP, "invlpg (%rdi)") \
	X("invpcid", UD | GP, UD | GP, ".byte 0x66, 0x0f, 0x38, 0x82, 0x07") \
	X("invept", UD | GP, UD | GP, ".byte 0x66, 0x0f, 0x38, 0x80, 0x07") \
	X("invvpid", UD | GP, UD | GP, ".byte 0x66, 0x0f, 0x38, 0x81, 0x07") \
	X("vmrun", UD | GP, UD | GP, AT_RAX ".byte 0x0f, 0x01, 0xd8") \
	X("vmload", UD | GP, UD | GP, AT_RAX ".byte 0x0f, 0x01, 0xda") \
	X("vmsave", UD | GP, UD | GP, AT_RAX ".byte 0x0f, 0x01, 0xdb") \
	X("stgi", UD | GP, UD | GP, AT_RAX ".byte 0x0f, 0x01, 0xdc") \
	X("clgi", UD | GP, UD | GP, AT_RAX ".byte 0x0f, 0x01, 0xdd") \
	X("skinit", UD | GP, UD | GP, AT_RAX ".byte 0x0f, 0x01, 0xde") \
	X("invlpga", UD | GP, UD | GP, AT_RAX ".byte 0x0f, 0x01, 0xdf") \
	X("monitorx", FEATURE, FEATURE, AT_RAX ".byte 0x0f, 0x01, 0xfa") \
	X("mwaitx", FEATURE, FEATURE, AT_RAX ".byte 0x0f, 0x01, 0xfb") \
	X("clzero", FEATURE, FEATURE, AT_RAX ".byte 0x0f, 0x01, 0xfc") \
	X("rdpru", FEATURE, FEATURE, AT_RAX ".byte 0x0f, 0x01, 0xfd") \
	X("invlpgb", UD | GP, UD | GP, AT_RAX ".byte 0x0f, 0x01, 0xfe") \
	X("encls", UD | GP, UD | GP, AT_RAX ".byte 0x0f, 0x01, 0xcf") \
	X("enclu", FEATURE, FEATURE, AT_RAX ".byte 0x0f, 0x01, 0xd7") \
	X("clac", UD | GP, UD | GP, AT_RAX ".byte 0x0f, 0x01, 0xca") \
	X("stac", UD | GP, UD | GP, AT_RAX ".byte 0x0f, 0x01, 0xcb") \
	X("rdpkru", FEATURE, FEATURE, AT_RAX ".byte 0x0f, 0x01, 0xee") \
	X("wrpkru", FEATURE, FEATURE, AT_RAX ".byte 0x0f, 0x01, 0xef") \
	X("vmgexit", PF | RUNS | UD | GP, PF | RUNS | UD | GP, ".byte 0xf3, 0x0f, 0x01, 0xd9\n " REFUSED) \
	X("tdcall", UD | GP, UD | GP, ".byte 0x66, 0x0f, 0x01, 0xcc") \
	X("seamcall", UD | GP, UD | GP, ".byte 0x66, 0x0f, 0x01, 0xcf") \
	X("eretu", UD | GP, UD | GP, ".byte 0xf3, 0x0f, 0x01, 0xca") \
	X("erets", UD | GP, UD | GP, ".byte 0xf2, 0x0f, 0x01, 0xca") \
	X("lkgs", UD | GP, UD | GP, ".byte 0xf2, 0x0f, 0x00, 0xf0") \
	X("clui", FEATURE, FEATURE, ".byte 0xf3, 0x0f, 0x01, 0xee") \
	X("stui", FEATURE, FEATURE, ".byte 0xf3, 0x0f, 0x01, 0xef") \
	X("senduipi", FEATURE, FEATURE, ".byte 0xf3, 0x0f, 0xc7, 0xf0") \
	X("umonitor", FEATURE, FEATURE, ".byte 0xf3, 0x0f, 0xae, 0xf7") \
	X("umwait", FEATURE, FEATURE, "xor %eax, %eax\n xor %edx, %edx\n xor %ecx, %ecx\n .byte 0xf2, 0x0f, 0xae, 0xf1") \
	X("tpause", FEATURE, FEATURE, "xor %eax, %eax\n xor %edx, %edx\n xor %ecx, %ecx\n .byte 0x66, 0x0f, 0xae, 0xf1") \
	X("lmsw", GP, GP, "mov $1, %eax\n lmsw %ax") \
	X("smsw", GP, GP | RUNS, "smsw %eax") \
	X("sgdt", GP, GP | RUNS, "sgdt (%rdi)") \
	X("sidt", GP, GP | RUNS, "sidt (%rdi)") \
	X("sldt", GP, GP | RUNS, "sldt %eax") \
	X("str", GP, GP | RUNS, "str %eax") \
	X("int3", BP, BP, "int3") \
	X("int1", DB, DB | UD, ".byte 0xf1") \
	X("int 0x80", UD | GP, GP, "xor %eax, %eax\n int $0x80") \
	X("into", UD, UD, ".byte 0xce") \
	X("ud2", UD, UD, "ud2") \
	X("ud1", UD, UD, ".byte 0x0f, 0xb9, 0xc0") \
	X("ud0", UD, UD, ".byte 0x0f, 0xff, 0xc0") \
	X("the forced-emulation prefix", UD, UD, "ud2\n .ascii \"kvm\"\n hlt") \
	X("forced emulation of cr3", UD, UD, "ud2\n .ascii \"kvm\"\n mov %cr3, %rax") \
	X("the software KVM's cpuid", UD, UD, "ud2\n .ascii \"pvm\"\n xor %eax, %eax\n cpuid") \
	X("lock on a register", UD, UD, ".byte 0xf0, 0x01, 0xc0") \
	X("sixteen bytes of prefixes", GP, GP, ".byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90") \
	X("far jump to 0x0", GP, GP, FAR("ljmpl", "0x0")) \
	X("far jump to 0x10", GP, GP, FAR("ljmpl", "0x10")) \
	X("far jump to 0x18", GP, GP, FAR("ljmpl", "0x18")) \
	X("far jump to 0x23", UD, GP | NP, FAR("ljmpl", "0x23")) \
	X("far jump to 0x2b", GP, GP, FAR("ljmpl", "0x2b")) \
	X("far jump to 0x33", RUNS, RUNS, FAR("ljmpl", "0x33")) \
	X("far jump to 0x30", RUNS, RUNS, FAR("ljmpl", "0x30")) \
	X("far jump to 0x40", UD, GP | UD, FAR("ljmpl", "0x40")) \
	X("far jump to 0x43", UD, GP | UD, FAR("ljmpl", "0x43")) \
	X("far jump to 0x48", UD, GP | UD, FAR("ljmpl", "0x48")) \
	X("far jump to 0x80", GP, GP, FAR("ljmpl", "0x80")) \
	X("far jump to 0xfff8", GP, GP, FAR("ljmpl", "0xfff8")) \
	X("far jump to 0x37", GP, GP, FAR("ljmpl", "0x37")) \
	X("far call to 0x10", GP, GP, FAR("lcalll", "0x10")) \
	X("far return to 0x10", GP, GP | PF, FAR_RETURN("0x10")) \
	X("far call to 0x23", UD, GP | NP, FAR("lcalll", "0x23")) \
	X("far return to 0x23", GP, GP | PF, FAR_RETURN("0x23")) \
	X("far call to 0x33", RUNS, PF | RUNS, FAR("lcalll", "0x33")) \
	X("far return to 0x33", RUNS, PF | RUNS, FAR_RETURN("0x33")) \
	X("iretq to ring 3", RUNS, PF | RUNS, IRETQ("0x33", "0x2b", "0x202", NEXT)) \
	X("iretq to ring 0", GP, GP | PF, IRETQ("0x10", "0x18", "0x202", NEXT)) \
	X("iretq to ring 0's code, ring 3's stack", GP, GP | PF, IRETQ("0x10", "0x2b", "0x202", NEXT)) \
	X("iretq to 0x23", NP, NP | PF, IRETQ("0x23", "0x2b", "0x202", NEXT)) \
	X("iretq with IOPL 3, VM, VIF", GP, GP | PF, IRETQ("0x33", "0x2b", "0x1a3202", NEXT) " cli") \
	X("iretq to a non-canonical address", GP, GP | PF, IRETQ("0x33", "0x2b", "0x202", "movabs $0x8000000000000000, %rax")) \
	X("iretq to the monitor", PF, PF, IRETQ("0x33", "0x2b", "0x202", "mov $0xffffffff80003000, %rax")) \
	X("iretq with NT", GP, GP, FLAGS("orl", "0x4000") IRETQ("0x33", "0x2b", "0x202", NEXT)) \
	X("mov ds 0x10", GP, GP, LOAD("ds", "0x10")) \
	X("mov ds 0x18", GP, GP, LOAD("ds", "0x18")) \
	X("mov ds 0x2b", RUNS, RUNS, LOAD("ds", "0x2b")) \
	X("mov ds 0x33", RUNS, RUNS, LOAD("ds", "0x33")) \
	X("mov ds 0x40", GP, GP, LOAD("ds", "0x40")) \
	X("mov es 0xfff8", GP, GP, LOAD("es", "0xfff8")) \
	X("mov fs 0x18", GP, GP, LOAD("fs", "0x18")) \
	X("mov fs 0x2b", RUNS, RUNS, LOAD("fs", "0x2b")) \
	X("mov gs 0x18", GP, GP, LOAD("gs", "0x18")) \
	X("mov gs 0x2b", RUNS, RUNS, LOAD("gs", "0x2b")) \
	X("mov gs 0x3", RUNS, RUNS, LOAD("gs", "0x3")) \
	X("mov ss 0x18", GP, GP, LOAD("ss", "0x18")) \
	X("mov ss 0x2b", RUNS, RUNS, LOAD("ss", "0x2b")) \
	X("mov ss 0x0", GP, GP, LOAD("ss", "0x0")) \
	X("mov ss 0x3", GP, GP, LOAD("ss", "0x3")) \
	X("mov ss 0x33", GP, GP, LOAD("ss", "0x33")) \
	X("mov fs 0x53", GP, GP, LOAD("fs", "0x53")) \
	X("mov fs 0x7b", RUNS, GP | RUNS, LOAD("fs", "0x7b")) \
	X("pop fs, gs", RUNS, RUNS, "pushq $0x2b\n pop %fs\n pushq $0x2b\n pop %gs") \
	X("lar, lsl of every selector", RUNS, RUNS, "xor %ecx, %ecx\n1: lar %ecx, %eax\n lsl %ecx, %edx\n verr %cx\n verw %cx\n inc %ecx\n cmp $0x200, %ecx\n jb 1b") \
	X("TF", DB, DB, FLAGS("orl", "0x100") "nop") \
	X("TF, syscall", CALL, CALL, "mov $1001, %eax\n " FLAGS("orl", "0x100") "syscall") \
	X("TF, mov ss, syscall", CALL, CALL, "mov $0x2b, %ecx\n mov $1001, %eax\n " FLAGS("orl", "0x100") "mov %cx, %ss\n syscall") \
	X("TF, mov ss, int3", BP, BP, "mov $0x2b, %ecx\n " FLAGS("orl", "0x100") "mov %cx, %ss\n int3") \
	X("TF, int 0x80", UD | GP, GP, "xor %eax, %eax\n " FLAGS("orl", "0x100") "int $0x80") \
	X("TF, int1", DB, DB | UD, FLAGS("orl", "0x100") ".byte 0xf1") \
	X("TF, ud2", UD, UD, FLAGS("orl", "0x100") "ud2") \
	X("TF, hlt", GP, GP, FLAGS("orl", "0x100") "hlt") \
	X("TF, a page fault", PF, PF, FLAGS("orl", "0x100") "mov 0x6000, %eax") \
	X("TF, cpuid", DB, DB, FLAGS("orl", "0x100") "cpuid") \
	X("TF, rdtsc", DB, DB, FLAGS("orl", "0x100") "rdtsc") \
	X("TF, iretq", DB, DB, FLAGS("orl", "0x100") IRETQ("0x33", "0x2b", "0x202", NEXT)) \
	X("mov ss, syscall", CALL, CALL, "mov $0x2b, %ecx\n mov $1001, %eax\n mov %cx, %ss\n syscall") \
	X("mov ss, int3", BP, BP, "mov $0x2b, %ecx\n mov %cx, %ss\n int3") \
	X("mov ss, hlt", GP, GP, "mov $0x2b, %ecx\n mov %cx, %ss\n hlt") \
	X("mov ss, int1", DB, DB | UD, "mov $0x2b, %ecx\n mov %cx, %ss\n .byte 0xf1") \
	X("syscall", CALL, CALL, ASKS) \
	X("syscall, stack of the monitor", CALL, CALL, STACK("0xffffffffc0007ff0") ASKS) \
	X("ud2, stack of the monitor", UD, UD, STACK("0xffffffffc0007ff0") "ud2") \
	X("int3, stack of the monitor", BP, BP, STACK("0xffffffffc0007ff0") "int3") \
	X("push, stack of the monitor", PF, PF, STACK("0xffffffffc0007ff0") "push %rax") \
	X("syscall, stack in the monitor's data", CALL, CALL, STACK("0xffffffffc0002100") ASKS) \
	X("ud2, stack in the monitor's data", UD, UD, STACK("0xffffffffc0002100") "ud2") \
	X("int3, stack in the monitor's data", BP, BP, STACK("0xffffffffc0002100") "int3") \
	X("push, stack in the monitor's data", PF, PF, STACK("0xffffffffc0002100") "push %rax") \
	X("syscall, stack not canonical", CALL, CALL, STACK("0x8000000000000000") ASKS) \
	X("ud2, stack not canonical", UD, UD, STACK("0x8000000000000000") "ud2") \
	X("int3, stack not canonical", BP, BP, STACK("0x8000000000000000") "int3") \
	X("push, stack not canonical", SS, GP | SS, STACK("0x8000000000000000") "push %rax") \
	X("syscall, stack zero", CALL, CALL, STACK("0") ASKS) \
	X("ud2, stack zero", UD, UD, STACK("0") "ud2") \
	X("int3, stack zero", BP, BP, STACK("0") "int3") \
	X("push, stack zero", PF, PF, STACK("0") "push %rax") \
	X("syscall, stack -1", CALL, CALL, STACK("-1") ASKS) \
	X("ud2, stack -1", UD, UD, STACK("-1") "ud2") \
	X("int3, stack -1", BP, BP, STACK("-1") "int3") \
	X("push, stack -1", PF, PF, STACK("-1") "push %rax") \
	X("syscall with DF, NT, AC, ID", CALL, CALL, "mov $1001, %eax\n " FLAGS("orl", "0x244400") "syscall") \
	X("ud2 with DF, NT, AC", UD, UD, FLAGS("orl", "0x44400") "ud2") \
	X("std", RUNS, RUNS, "std") \
	X("IOPL 3, cli", GP, GP, FLAGS("orl", "0x3000") "cli") \
	X("VIF, VIP", RUNS, RUNS, FLAGS("orl", "0x180000") "nop") \
	X("IF off", RUNS, RUNS, FLAGS("andl", "~0x200")) \
	X("AC and misaligned", AC, AC | RUNS, FLAGS("orl", "0x40000") "movl 1(%rdi), %eax") \
	X("misaligned", RUNS, RUNS, "movl 1(%rdi), %eax") \
	X("cpuid", FEATURE, FEATURE, "xor %eax, %eax\n xor %ecx, %ecx\n cpuid") \
	X("cpuid of hypervisors", RUNS, RUNS, "mov $0x40000000, %eax\n cpuid") \
	X("rdtsc", RUNS, RUNS, "rdtsc") \
	X("rdtscp", FEATURE, FEATURE, "rdtscp") \
	X("pause", RUNS, RUNS, "pause") \
	X("clflush", FEATURE, FEATURE, "clflush (%rdi)") \
	X("prefetch", RUNS, RUNS, "prefetcht0 (%rdi)") \
	X("xgetbv", FEATURE, FEATURE, "xor %ecx, %ecx\n xgetbv") \
	X("xgetbv 5", FEATURE, FEATURE, "mov $5, %ecx\n xgetbv") \
	X("xrstor of nonsense", GP, GP, "movq $-1, 512(%rdi)\n movq $-1, 520(%rdi)\n mov $-1, %eax\n mov $-1, %edx\n xrstor (%rdi)") \
	X("xsaves", UD | GP, UD | GP, "xsaves (%rdi)") \
	X("xrstors", UD | GP, UD | GP, "xrstors (%rdi)") \
	X("ldmxcsr of nonsense", UD | GP, RUNS | UD | GP, "movl $-1, (%rdi)\n ldmxcsr (%rdi)") \
	X("fxrstor of nonsense", GP, GP | RUNS, "movl $-1, 24(%rdi)\n fxrstor (%rdi)") \
	X("divide", DE, DE, "xor %ecx, %ecx\n div %ecx") \
	X("SSE divide, unmasked", XM, RUNS | XM, "movl $0, (%rdi)\n ldmxcsr (%rdi)\n xorps %xmm0, %xmm0\n divps %xmm0, %xmm0") \
	X("x87 divide, unmasked", MF, MF, "fninit\n movw $0, (%rdi)\n fldcw (%rdi)\n fld1\n fldz\n fdivrp\n fwait") \
	X("xend", FEATURE, FEATURE, ".byte 0x0f, 0x01, 0xd5") \
	X("ptwrite", FEATURE, FEATURE, ".byte 0xf3, 0x0f, 0xae, 0xe0") \
	X("rdsspq", FEATURE, FEATURE, ".byte 0xf3, 0x48, 0x0f, 0x1e, 0xc8") \
	X("wrussq", UD | GP, UD | GP, ".byte 0x66, 0x48, 0x0f, 0x38, 0xf5, 0x07") \
	X("incsspq", FEATURE, FEATURE, ".byte 0xf3, 0x48, 0x0f, 0xae, 0xe8") \
	X("enqcmds", UD | GP, UD | GP, ".byte 0xf3, 0x0f, 0x38, 0xf8, 0x07") \
	X("pconfig", UD | GP, UD | GP, ".byte 0x0f, 0x01, 0xc5") \
	X("hreset", UD | GP, UD | GP, ".byte 0xf3, 0x0f, 0x3a, 0xf0, 0xc0, 0x00") \
	X("FS and GS base of the monitor, syscall", CALL, CALL, BASE("0xffffffffc0007000", BOTH) ASKS) \
	X("FS base of the monitor, fault", PF, PF, BASE("0xffffffffc0007000", "wrfsbase %rax") "mov %fs:0, %rax") \
	X("GS base of the monitor, fault", PF, PF, BASE("0xffffffffc0007000", "wrgsbase %rax") "mov %eax, %gs:0") \
	X("FS and GS base in the upper half, syscall", CALL, CALL, BASE("0xffff888000000000", BOTH) ASKS) \
	X("FS base in the upper half, fault", PF, PF, BASE("0xffff888000000000", "wrfsbase %rax") "mov %fs:0, %rax") \
	X("GS base in the upper half, fault", PF, PF, BASE("0xffff888000000000", "wrgsbase %rax") "mov %eax, %gs:0") \
	X("FS and GS base not canonical, syscall", GP, CALL | GP, BASE("0x8000000000000000", BOTH) ASKS) \
	X("FS base not canonical, fault", GP, GP, BASE("0x8000000000000000", "wrfsbase %rax") "mov %fs:0, %rax") \
	X("GS base not canonical, fault", GP, GP, BASE("0x8000000000000000", "wrgsbase %rax") "mov %eax, %gs:0") \
	X("GS base, ud2", UD, UD, "mov $0xffffffffc0002000, %rax\n wrgsbase %rax\n ud2") \
	X("32 bit: int 0x80", UD, GP | NP, IN_32_BIT("mov $20, %eax\n int $0x80")) \
	X("32 bit: sysenter", UD, GP | NP, IN_32_BIT("sysenter")) \
	X("32 bit: syscall", UD, GP | NP, IN_32_BIT("mov $20, %eax\n syscall")) \
	X("32 bit: int3", UD, GP | NP, IN_32_BIT("int3")) \
	X("32 bit: ud2", UD, GP | NP, IN_32_BIT("ud2")) \
	X("32 bit: into", UD, GP | NP, IN_32_BIT("mov $0x7fffffff, %eax\n add $1, %eax\n into")) \
	X("32 bit: hlt", UD, GP | NP, IN_32_BIT("hlt")) \
	X("32 bit: bound", UD, GP | NP, IN_32_BIT(".byte 0x62, 0x07")) \
	X("32 bit: iret", UD, GP | NP, IN_32_BIT("pushfl\n pushl $0x33\n pushl $0x6000\n iret")) \
	X("32 bit: ljmp to 0x33", UD, GP | NP, IN_32_BIT(".byte 0xea, 0, 0, 0, 0, 0x33, 0")) \
	X("32 bit: lcall 7", UD, GP | NP, IN_32_BIT(".byte 0x9a, 0, 0, 0, 0, 7, 0"))

#endif
