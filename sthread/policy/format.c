// SPDX-License-Identifier: MIT
/*
 * format.c - sthread_policy_format(): a policy as text, one right a line.  World: host.
 *
 *	descriptor 4: read, write, poll (socket:[18221])
 *	directory 7: read, stat (/srv/www)
 *	system call read: allowed
 *	system call mmap: fails
 *	system call execve: kills
 *	other system calls: kill
 *	argument 0 of socket: 0x2 of the bits 0xff
 *	connect to 127.0.0.1:5432
 *	memory 0x7f0000200000 to 0x7f0000201000: read (session)
 *	gate sign
 *	limit of private memory: 64 MiB
 *	limit of CPU time: 250 ms
 *
 * Descriptors are in the order of their numbers, system calls in that of the table, and only those
 * that are not as in a new policy.  Names of files are escaped.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "sthread/inside/inside.h"
#include "sthread/inside/stubs.h"
#include "sthread/policy/kinds.h"
#include "sthread/policy/memory.h"
#include "sthread/policy/policy.h"
#include "sthread/policy/refs.h"
#include "sthread/policy/syscalls.h"
#include "sthread/text.h"

/* ---- descriptors --------------------------------------------------------------------------- */

static void add_rights(struct text *t, unsigned rights)
{
	/* By bit. */
	static const char *const names[] = { "read", "write",	"seek",	    "stat",
					     "poll", "sockopt", "shutdown", "flags",
					     "accept", "connect", "make", "lock" };
	const char *separator = "";

	_Static_assert(STHREAD_FD_ALL == (1u << sizeof(names) / sizeof(names[0])) - 1,
		       "a name for each right");
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!(rights & 1u << i))
			continue;
		add(t, "%s%s", separator, names[i]);
		separator = ", ";
	}
}

/* The name of the open file, as /proc/self/fd shows it. */
static void add_file(struct text *t, int host)
{
	char name[FD_PROC_NAME], link[PATH_MAX];
	int at = fd_proc_name(name, "fd", host);
	ssize_t n = readlinkat(at, name, link, sizeof(link));

	if (n <= 0)
		return;
	add(t, " (");
	add_escaped(t, link, (size_t)n);
	add_char(t, ')');
}

static void format_descriptors(struct text *t, const struct policy *p)
{
	for (unsigned i = 0; i < p->n; i++) {
		const struct fd_entry *e = &p->grant[i];

		add(t, "%s %d: ", e->dir ? "directory" : "descriptor", e->number);
		add_rights(t, e->rights);
		if (!t->bare)
			add_file(t, e->obj->host);
		add_char(t, '\n');
	}
}

/* ---- system calls -------------------------------------------------------------------------- */

static void format_calls(struct text *t, const struct policy *p)
{
	static const char *const does[] = {
		[STHREAD_DENY_ERRNO] = "fails",
		[STHREAD_DENY_KILL] = "kills",
		[STHREAD_ALLOW] = "allowed",
	};

	for (unsigned i = 0; i < sys_table_len; i++)
		if (p->action[i] != (uint8_t)sys_default_action(i))
			add(t, "system call %s: %s\n", sys_table[i].name, does[p->action[i]]);
	if (p->other != STHREAD_DENY_ERRNO)
		add(t, "other system calls: kill\n");
}

/* ---- rules on arguments, addresses --------------------------------------------------------- */

/* Another rule says all that this one does. */
static bool rule_is_said(const struct policy *p, unsigned i)
{
	for (unsigned k = 0; k < p->rules; k++)
		if (k != i && rule_within(&p->rule[i], &p->rule[k]) &&
		    (k < i || !rule_within(&p->rule[k], &p->rule[i])))
			return true;
	return p->action[p->rule[i].index] != STHREAD_ALLOW;
}

static int rule_order(const struct policy_rule *a, const struct policy_rule *b)
{
	if (a->index != b->index)
		return a->index < b->index ? -1 : 1;
	if (a->arg != b->arg)
		return a->arg < b->arg ? -1 : 1;
	if (a->mask != b->mask)
		return a->mask < b->mask ? -1 : 1;
	return a->value < b->value ? -1 : a->value > b->value;
}

static void format_rules(struct text *t, const struct policy *p)
{
	const struct policy_rule *last = NULL, *next;

	for (;; last = next) {
		next = NULL;
		for (unsigned i = 0; i < p->rules; i++) {
			const struct policy_rule *r = &p->rule[i];

			if (!rule_is_said(p, i) && (!last || rule_order(r, last) > 0) &&
			    (!next || rule_order(r, next) < 0))
				next = r;
		}
		if (!next)
			return;
		add(t, "argument %u of %s: 0x%llx", next->arg, sys_table[next->index].name,
		    (unsigned long long)next->value);
		if (next->mask == UINT64_MAX)
			add_char(t, '\n');
		else
			add(t, " of the bits 0x%llx\n", (unsigned long long)next->mask);
	}
}

static bool address_is_said(const struct policy *p, unsigned i)
{
	for (unsigned k = 0; k < p->addresses; k++)
		if (k != i && address_within(&p->address[i], &p->address[k]) &&
		    (k < i || !address_within(&p->address[k], &p->address[i])))
			return true;
	return false;
}

static int address_order(const struct policy_address *a, const struct policy_address *b)
{
	if (a->use != b->use)
		return a->use < b->use ? -1 : 1;
	if (a->address.len != b->address.len)
		return a->address.len < b->address.len ? -1 : 1;
	if (a->prefix != b->prefix)
		return a->prefix < b->prefix ? -1 : 1;
	return memcmp(&a->address.any, &b->address.any, a->address.len);
}

static void add_address(struct text *t, const struct policy_address *a)
{
	char text[INET6_ADDRSTRLEN];
	const struct address *w = &a->address;
	size_t name = offsetof(struct sockaddr_un, sun_path);

	switch (w->any.sa_family) {
	case AF_INET:
		inet_ntop(AF_INET, &w->in.sin_addr, text, sizeof(text));
		add(t, "%s:%u", text, ntohs(w->in.sin_port));
		break;
	case AF_INET6:
		inet_ntop(AF_INET6, &w->in6.sin6_addr, text, sizeof(text));
		add(t, "[%s", text);
		if (w->in6.sin6_scope_id)
			add(t, "%%%u", w->in6.sin6_scope_id);
		add(t, "]:%u", ntohs(w->in6.sin6_port));
		break;
	default:
		add_char(t, w->un.sun_path[0] ? '=' : '@');
		if (w->un.sun_path[0])
			add_escaped(t, w->un.sun_path, w->len - name);
		else
			add_escaped_bytes(t, w->un.sun_path + 1, w->len - name - 1);
		return;
	}
	if (a->prefix != address_bits(w))
		add(t, ", first %u bits", a->prefix);
}

static void format_addresses(struct text *t, const struct policy *p)
{
	const struct policy_address *last = NULL, *next;

	for (;; last = next) {
		next = NULL;
		for (unsigned i = 0; i < p->addresses; i++) {
			const struct policy_address *a = &p->address[i];

			if (!address_is_said(p, i) && (!last || address_order(a, last) > 0) &&
			    (!next || address_order(a, next) < 0))
				next = a;
		}
		if (!next)
			return;
		add(t, next->use == POLICY_CONNECT ? "connect to " : "bind to ");
		add_address(t, next);
		add_char(t, '\n');
	}
}

/* ---- memory -------------------------------------------------------------------------------- */

/* In the order of addresses; grants that touch, with the same rights, are one line. */
static void format_memory(struct text *t, const struct policy *p)
{
	for (size_t i = 0, next; i < p->mem.n; i = next) {
		const struct grant *g = &p->mem.list[i];
		uint64_t end = g->start + g->len;

		for (next = i + 1; next < p->mem.n; next++) {
			const struct grant *more = &p->mem.list[next];

			if (more->start != end || more->tag != g->tag || more->rights != g->rights)
				break;
			end += more->len;
		}
		add(t, "memory 0x%llx to 0x%llx: read%s (", (unsigned long long)g->start,
		    (unsigned long long)end, g->rights & STHREAD_WRITE ? ", write" : "");
		add_escaped(t, g->tag->name, strlen(g->tag->name));
		add(t, ")\n");
	}
}

/* ---- gates --------------------------------------------------------------------------------- */

static int gate_order(const struct sthread_gate *a, const struct sthread_gate *b)
{
	int r = strcmp(a->name, b->name);

	return r ? r : a < b ? -1 : a > b;
}

static void format_gates(struct text *t, const struct policy *p)
{
	const struct sthread_gate *last = NULL, *next;

	for (;; last = next) {
		next = NULL;
		for (unsigned i = 0; i < p->ngates; i++) {
			const struct sthread_gate *g = p->gate[i];

			if ((!last || gate_order(g, last) > 0) && (!next || gate_order(g, next) < 0))
				next = g;
		}
		if (!next)
			return;
		add(t, "gate ");
		add_escaped(t, next->name, strlen(next->name));
		add_char(t, '\n');
	}
}

/* ---- limits -------------------------------------------------------------------------------- */

struct unit {
	uint64_t size;
	const char *name;
};

/* Exact: the largest unit that leaves nothing over. */
static void add_amount(struct text *t, uint64_t value, const struct unit *unit)
{
	while (unit->size > 1 && (!value || value % unit->size))
		unit++;
	add(t, "%llu%s", (unsigned long long)(value / unit->size), unit->name);
}

static void format_limits(struct text *t, const struct policy *p)
{
	static const struct unit bytes[] = {
		{ 1UL << 30, " GiB" }, { 1UL << 20, " MiB" }, { 1UL << 10, " KiB" }, { 1, " bytes" }
	};
	static const struct unit time[] = {
		{ 1000000000, " s" }, { 1000000, " ms" }, { 1000, " us" }, { 1, " ns" }
	};
	static const struct unit count[] = { { 1, "" } };
	static const struct {
		const char *name;
		const struct unit *unit;
	} limits[] = {
		[STHREAD_LIMIT_MEMORY] = { "private memory", bytes },
		[STHREAD_LIMIT_WALL_NS] = { "wall time", time },
		[STHREAD_LIMIT_FDS] = { "open descriptors", count },
		[STHREAD_LIMIT_CPU_NS] = { "CPU time", time },
		[STHREAD_LIMIT_GATE_CALLS] = { "gate calls", count },
	};

	_Static_assert(sizeof(limits) / sizeof(limits[0]) == POLICY_LIMITS,
		       "a name for each limit");
	for (unsigned i = 0; i < POLICY_LIMITS; i++) {
		if (p->limit[i] == POLICY_NO_LIMIT)
			continue;
		add(t, "limit of %s: ", limits[i].name);
		add_amount(t, p->limit[i], limits[i].unit);
		add_char(t, '\n');
	}
}

/* -------------------------------------------------------------------------------------------- */

size_t policy_text(const struct policy *p, bool bare, char *buf, size_t len)
{
	struct text t = { .buf = buf, .len = len, .bare = bare };

#define FORMAT(kind) format_##kind(&t, p);
	POLICY_KINDS(FORMAT)
#undef FORMAT
	add_end(&t);
	return t.pos;
}

STHREAD_API int sthread_policy_format(const struct sthread_policy *p, char *buf, size_t len)
{
	const struct policy *v;
	size_t n;

	if (is_inside())
		return inside_policy_format(p, buf, len);
	if (len && !buf)
		return -EINVAL;
	v = policy_copy(p);
	n = policy_text(v, false, buf, len);
	policy_put(v);
	return n < INT_MAX ? (int)n : -EOVERFLOW;
}
