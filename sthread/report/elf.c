/* SPDX-License-Identifier: MIT */
/*
 * The loaded objects of this process, as libdwfl wants them.  World: host.
 *
 * They are found by dl_iterate_phdr(), not in /proc, so that a master without /proc, or one that
 * may not read its own maps any more, has backtraces too. A file that is gone or was replaced since
 * is read from memory instead: unwind tables are there, only names are fewer.
 */
#include <elfutils/libdwelf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "sthread/report/elf.h"

#define PAGE 4096UL

/* [start, end) as the kernel and ld.so map it. False: nothing is loaded. */
static bool object_range(const struct dl_phdr_info *info, uint64_t *start, uint64_t *end)
{
	bool any = false;

	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uint64_t align = ph->p_align > PAGE ? ph->p_align : PAGE;
		uint64_t last = (info->dlpi_addr + ph->p_vaddr + ph->p_memsz + PAGE - 1) & -PAGE;

		if (ph->p_type != PT_LOAD)
			continue;
		if (!any) /* segments are sorted by address */
			*start = info->dlpi_addr + (ph->p_vaddr & -align);
		*end = last;
		any = true;
	}
	return any;
}

struct code_query {
	uint64_t addr;
	bool found;
};

static int match_code(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct code_query *q = arg;

	(void)size;
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];

		if (ph->p_type == PT_LOAD && (ph->p_flags & PF_X) &&
		    q->addr - (info->dlpi_addr + ph->p_vaddr) < ph->p_memsz)
			q->found = true;
	}
	return q->found;
}

bool unwind_elf_is_code(uint64_t addr)
{
	struct code_query q = { .addr = addr };

	dl_iterate_phdr(match_code, &q);
	return q.found;
}

static int first_generation(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	*(uint64_t *)arg = info->dlpi_adds + info->dlpi_subs;
	return 1;
}

uint64_t unwind_elf_generation(void)
{
	uint64_t generation = 0;

	dl_iterate_phdr(first_generation, &generation);
	return generation;
}

/* dl_iterate_phdr() names the program itself "". */
static void program_name(char *buf, size_t len)
{
	ssize_t n = readlink("/proc/self/exe", buf, len - 1);

	if (n > 0) {
		buf[n] = '\0';
		return;
	}
	/* Bounded by len; a cut name is a worse name, nothing else. */
	strncpy(buf, program_invocation_name, len - 1);
	buf[len - 1] = '\0';
}

struct report {
	Dwfl *dwfl;
	bool failed;
};

static int report_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct report *r = arg;
	uint64_t start, end;
	char path[PATH_MAX];
	const char *name = info->dlpi_name;

	(void)size;
	if (!object_range(info, &start, &end))
		return 0;
	if (!name || !*name) {
		program_name(path, sizeof(path));
		name = path;
	}
	if (!dwfl_report_module(r->dwfl, name, start, end))
		r->failed = true;
	return r->failed;
}

bool unwind_elf_report(Dwfl *dwfl)
{
	struct report r = { .dwfl = dwfl };

	dwfl_report_begin(dwfl);
	dl_iterate_phdr(report_object, &r);
	return dwfl_report_end(dwfl, NULL, NULL) == 0 && !r.failed;
}

struct image_query {
	uint64_t start;
	size_t len;
	bool program;
};

/*
 * The part of an object's memory that is its file byte for byte: read-only segments, one after the
 * other, at the offsets of the file. It holds the headers, the code and the unwind tables.
 */
static int match_image(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct image_query *q = arg;
	uint64_t start, end;

	(void)size;
	if (!object_range(info, &start, &end) || start != q->start)
		return 0;
	q->program = !info->dlpi_name || !*info->dlpi_name;
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uint64_t at = info->dlpi_addr + ph->p_vaddr - start;

		if (ph->p_type != PT_LOAD)
			continue;
		if (!(ph->p_flags & PF_R) || (ph->p_flags & PF_W) || at != ph->p_offset ||
		    ((q->len + PAGE - 1) & -PAGE) != (at & -PAGE))
			break;
		q->len = at + ph->p_filesz;
	}
	return 1;
}

static bool same_build(Elf *file, Elf *image)
{
	const void *a, *b;
	ssize_t n = dwelf_elf_gnu_build_id(file, &a);
	ssize_t m = image ? dwelf_elf_gnu_build_id(image, &b) : 0;

	if (n <= 0 || m <= 0) /* nothing to compare: believe the path */
		return true;
	return n == m && !memcmp(a, b, (size_t)n);
}

int unwind_elf_find(Dwfl_Module *mod, void **userdata, const char *name, Dwarf_Addr base,
		    char **file_name, Elf **elfp)
{
	struct image_query q = { .start = base };
	Elf *image = NULL, *file;
	int fd;

	(void)mod;
	(void)userdata;
	*file_name = NULL;
	dl_iterate_phdr(match_image, &q);
	if (q.len)
		image = elf_memory((char *)(uintptr_t)base, q.len);

	fd = base == getauxval(AT_SYSINFO_EHDR) ?
		     -1 :
		     open(q.program ? "/proc/self/exe" : name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && q.program)
		fd = open(name, O_RDONLY | O_CLOEXEC);
	file = fd < 0 ? NULL : elf_begin(fd, ELF_C_READ_MMAP, NULL);
	if (file && elf_kind(file) == ELF_K_ELF && same_build(file, image) && !elf_cntl(file, ELF_C_FDREAD)) {
		elf_end(image);
		*file_name = strdup(name);
		*elfp = file;
	} else {
		elf_end(file);
		*elfp = image;
	}
	/*
	 * It is mapped. A number kept could be another file's, once the program has closed what
	 * it does not know.
	 */
	if (fd >= 0)
		close(fd);
	return -1;
}
