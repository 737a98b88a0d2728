/* SPDX-License-Identifier: MIT */
/*
 * sthread_fault_format(): the end of a compartment as a bug report.  World: host.
 *
 *   sthread faulted: it wrote to 0x7f3a5c0012d0, which it may not
 *     there:     heap, not in the image
 *     why:       the page is there, without that right (page fault, error 0x7)
 *     where:     parse_header+0x1c in /usr/bin/httpd-demo
 *                ../apps/httpd-demo/conn.c:120
 *     it wrote:  "bad header\n"
 *     registers: ...
 *     backtrace: ...
 *
 * Text that the compartment, a file name or a symbol table could have chosen is escaped: what is
 * shown is always printable ASCII, one line where one is meant.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "arch/cpu.h"
#include "include/sthread.h"
#include "sthread/inside/inside.h"
#include "sthread/report/describe.h"
#include "sthread/report/unwind.h"
#include "sthread/text.h"

static void add_name(struct text *t, const char *s)
{
	add_escaped(t, s, 4096);
}

/* "  where:     " */
static void heading(struct text *t, const char *name)
{
	add(t, "  %-10s ", name);
}

/* ---- what the numbers mean ------------------------------------------------------------------- */

#define TABLE_TEXT(table, i, other) \
	((size_t)(i) < sizeof(table) / sizeof(*(table)) && (table)[i] ? (table)[i] : (other))

/* STHREAD_FAULTED is not among them: see the next table. */
static const char *const end_text[] = {
	[STHREAD_RETURNED] = "sthread returned",
	[STHREAD_EXITED] = "sthread exited",
	[STHREAD_ABORTED] = "sthread aborted: abort(), a failed assertion or a smashed stack",
	[STHREAD_DENIED] =
		"sthread was ended by its policy: it made a system call that is answered by a kill",
	[STHREAD_OVER_LIMIT] = "sthread was ended at a limit",
	[STHREAD_KILLED] = "sthread was killed, by sthread_kill() or sthread_fini()",
	[STHREAD_LOST] =
		"sthread was lost: its virtual processor failed, and nothing is known of its end",
	[STHREAD_NOT_STARTED] = "sthread was not started",
};

static const char *const fault_text[] = {
	[STHREAD_FAULT_NONE] = "nothing is known of why",
	[STHREAD_FAULT_STACK] = "it ran off the end of its stack",
	[STHREAD_FAULT_PROTECTION] =
		"it used a privileged instruction, an I/O port or a non-canonical address",
	[STHREAD_FAULT_INSTRUCTION] = "it executed an undefined or a virtual-machine instruction",
	[STHREAD_FAULT_ARITHMETIC] = "its arithmetic failed",
	[STHREAD_FAULT_TRAP] = "it hit a trap",
	[STHREAD_FAULT_OTHER] = "it raised a processor exception",
};

static const char *const limit_text[] = {
	[STHREAD_LIMIT_MEMORY] = "private memory (STHREAD_LIMIT_MEMORY)",
	[STHREAD_LIMIT_WALL_NS] = "wall time (STHREAD_LIMIT_WALL_NS)",
	[STHREAD_LIMIT_FDS] = "descriptors (STHREAD_LIMIT_FDS)",
	[STHREAD_LIMIT_CPU_NS] = "CPU time (STHREAD_LIMIT_CPU_NS)",
	[STHREAD_LIMIT_GATE_CALLS] = "gate calls (STHREAD_LIMIT_GATE_CALLS)",
};

#define ACCESS_WRITE   2u
#define ACCESS_EXECUTE 4u

/* ---- the parts ------------------------------------------------------------------------------- */

static bool has_address(const struct sthread_result *r)
{
	return r->end == STHREAD_FAULTED &&
	       (r->fault == STHREAD_FAULT_MEMORY || r->fault == STHREAD_FAULT_STACK);
}

static void add_faulted(struct text *t, const struct sthread_result *r)
{
	const char *did = r->access & ACCESS_EXECUTE ? "jumped to" :
			  r->access & ACCESS_WRITE   ? "wrote to" :
						       "read from";

	if (r->fault == STHREAD_FAULT_MEMORY) {
		add(t, "sthread faulted: it %s %#" PRIx64 ", which it may not", did, r->address);
		return;
	}
	add(t, "sthread faulted: %s",
	    TABLE_TEXT(fault_text, r->fault, "for a reason without a name"));
	if (r->fault == STHREAD_FAULT_STACK)
		add(t, ": it %s %#" PRIx64, did, r->address);
}

static void add_headline(struct text *t, const struct sthread_result *r)
{
	uint64_t value = (uint64_t)(uintptr_t)r->value;

	if (r->end == STHREAD_FAULTED)
		add_faulted(t, r);
	else
		add(t, "%s", TABLE_TEXT(end_text, r->end, "sthread ended in a way without a name"));

	if (r->end == STHREAD_RETURNED)
		add(t, " %#" PRIx64, value);
	else if (r->end == STHREAD_EXITED)
		add(t, " with status %d", (int)value);
	else if (r->end == STHREAD_DENIED)
		add(t, ", %s (number %lld)", report_call_name(value) ? report_call_name(value) : "an unknown one",
		    (long long)value);
	else if (r->end == STHREAD_OVER_LIMIT)
		add(t, ": %s", TABLE_TEXT(limit_text, r->limit, "one without a name"));
	else if (r->end == STHREAD_NOT_STARTED)
		add(t, ": error %d", (int)(intptr_t)r->value);
	add_char(t, '\n');
}

static void add_address(struct text *t, const struct sthread_result *r)
{
	char buf[256];
	const char *what = report_describe(r->address, r->error, buf, sizeof(buf));

	heading(t, "there:");
	if (what)
		add_escaped(t, what, sizeof(buf));
	else if (r->address < 65536)
		add(t, "nothing; a null pointer, or an offset from one");
	else
		add(t, "nothing is known");
	add_char(t, '\n');
}

static void add_why(struct text *t, const struct sthread_result *r)
{
	const char *name = cpu_vector_name(r->vector);

	heading(t, "why:");
	if (has_address(r) && cpu_fault(r->vector) == CPU_FAULT_PAGE)
		add(t, "%s (",
		    cpu_table_broken(r->error) ? "the page table is broken" :
		    cpu_page_there(r->error)   ? "the page is there, without that right" :
						 "no page is there");
	else
		add(t, "(");
	add(t, "%s, vector %u, error %#x)\n", name ? name : "exception", r->vector, r->error);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

static void add_place(struct text *t, const struct unwind_symbol *sym)
{
	if (*sym->function)
		add_name(t, sym->function);
	else
		add(t, "(no symbol)");
	add(t, "+%#" PRIx64, sym->offset);
}

static void add_where(struct text *t, const struct sthread_result *r)
{
	struct unwind_symbol sym;

	heading(t, "where:");
	if (!unwind_symbol(r->ip, false, &sym)) {
		add(t, "%#" PRIx64 ", which is in no program or library\n", r->ip);
		return;
	}
	add_place(t, &sym);
	add(t, " in ");
	add_name(t, sym.module);
	add_char(t, '\n');
	if (*sym.file) {
		heading(t, "");
		add_name(t, sym.file);
		add(t, ":%d\n", sym.line);
	}
}

static void add_message(struct text *t, const struct sthread_result *r)
{
	size_t n = strnlen(r->message, sizeof(r->message));

	if (n == 0)
		return;
	heading(t, "it wrote:");
	add_char(t, '"');
	add_escaped(t, r->message, n);
	add(t, "\"\n");
}

static void add_registers(struct text *t, const struct sthread_result *r)
{
	add(t, "  registers:\n    rip %016" PRIx64 "\n", r->ip);
	for (unsigned i = 0; i < CPU_REGISTERS; i++)
		add(t, "%s%-3s %016" PRIx64 "%s", i % 4 ? "  " : "    ", cpu_register_name(i), r->regs[i],
		    i % 4 == 3 ? "\n" : "");
}

/* #0  0x00005581a3c0411c parse_header+0x1c (conn.c:120) in httpd-demo */
static void add_backtrace(struct text *t, const struct sthread_result *r)
{
	unsigned n = r->frames < STHREAD_BACKTRACE ? r->frames : STHREAD_BACKTRACE;

	if (n)
		add(t, "  backtrace:\n");
	for (unsigned i = 0; i < n; i++) {
		struct unwind_symbol sym;

		add(t, "    #%-2u %#018" PRIx64, i, r->backtrace[i]);
		if (unwind_symbol(r->backtrace[i], i > 0, &sym)) {
			add_char(t, ' ');
			add_place(t, &sym);
			if (*sym.file) {
				add(t, " (");
				add_name(t, base_name(sym.file));
				add(t, ":%d)", sym.line);
			}
			add(t, " in ");
			add_name(t, base_name(sym.module));
		}
		add_char(t, '\n');
	}
}

STHREAD_API int sthread_fault_format(const struct sthread_result *result, char *buf, size_t len)
{
	struct text t = { .buf = buf, .len = len };

	if (is_inside())
		return -EPERM;
	if (!result || (len && !buf))
		return -EINVAL;
	add_headline(&t, result);
	if (has_address(result))
		add_address(&t, result);
	if (result->end == STHREAD_FAULTED) {
		add_why(&t, result);
		add_where(&t, result);
	}
	add_message(&t, result);
	if (result->end == STHREAD_FAULTED)
		add_registers(&t, result);
	add_backtrace(&t, result);
	add_end(&t);
	return (int)t.pos; /* bounded: a few lines, and STHREAD_BACKTRACE more */
}
