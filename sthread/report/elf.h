/* SPDX-License-Identifier: MIT */
/*
 * elf.h - the loaded objects of this process, as libdwfl wants them.  World: host; for
 * unwind.c.
 */
#ifndef STHREAD_REPORT_ELF_H
#define STHREAD_REPORT_ELF_H

#include <elfutils/libdwfl.h>
#include <stdbool.h>
#include <stdint.h>

/* True if addr lies in an executable segment of a loaded object. */
bool unwind_elf_is_code(uint64_t addr);

/* A number that changes with every dlopen() and dlclose(). */
uint64_t unwind_elf_generation(void);

/* Reports every loaded object to the session; again, too. False: out of memory. */
bool unwind_elf_report(Dwfl *dwfl);

/*
 * Callback of the session: opens the file of a module, if it is still the one that was loaded, or
 * its memory.
 */
int unwind_elf_find(Dwfl_Module *mod, void **userdata, const char *name, Dwarf_Addr base,
		    char **file_name, Elf **elfp);

#endif
