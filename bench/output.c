/* SPDX-License-Identifier: MIT */
/* The figures as JSON for programs, and as a table for people.  World: host. */
#include <math.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <sthread.h>

#include "bench/bench.h"

/* ---- the machine ----------------------------------------------------------------------------- */

static void cpu_model(char *buf, size_t len)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[512];

	snprintf(buf, len, "unknown");
	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		char *colon = strchr(line, ':');

		if (strncmp(line, "model name", 10) || !colon)
			continue;
		colon[strcspn(colon, "\n")] = '\0';
		snprintf(buf, len, "%s", colon + (colon[1] == ' ' ? 2 : 1));
		break;
	}
	fclose(f);
}

static const char *kvm_kind(void)
{
	if (!options.machines[KVM])
		return "not used";
	if (facts->kvm_software < 0)
		return "unknown";
	return facts->kvm_software ? "software" : "hardware";
}

static const char *placement(void)
{
	if (facts->placement == STHREAD_PLACE_HOST)
		return "host";
	return facts->placement == STHREAD_PLACE_RING0 ? "ring0" : "unknown";
}

static const char *machine_name(struct place p)
{
	static const char *const names[MACHINES] = { "system", "kvm", "process" };

	return names[p.machine];
}

static const char *processors_name(struct place p)
{
	static const char *const names[PLACEMENTS] = { "unpinned", "one", "two" };

	return names[p.processors];
}

static const char *yes_no(int fact)
{
	return fact < 0 ? "unknown" : fact ? "yes" : "no";
}

bool goal_met(const struct goal *g)
{
	return g->value >= g->least && ((g->least > 0 && g->most == 0) || g->value <= g->most);
}

double idle_total(const uint64_t *values)
{
	double sum = 0;

	for (unsigned i = IDLE_HOST_FIRST; i <= IDLE_HOST_LAST; i++)
		sum += (double)values[i];
	return sum;
}

static bool is_time(const struct result *r)
{
	return !r->err && r->series->when != WHEN_IDLE && r->series->when != WHEN_STEADY;
}

/* What a sample that measures nothing shows. */
static double clock_overhead(void)
{
	static uint64_t v[1000];

	for (unsigned i = 0; i < 1000; i++) {
		uint64_t start = now_ns();

		v[i] = now_ns() - start;
	}
	return figures_of(v, 1000).median;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void json_string(FILE *f, const char *s)
{
	fputc('"', f);
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			fprintf(f, "\\%c", c);
		else if (c < 0x20 || c > 0x7e) /* what is no ASCII here is no text */
			fprintf(f, "\\u%04x", c);
		else
			fputc(c, f);
	}
	fputc('"', f);
}

static void json_field(FILE *f, const char *name, const char *value)
{
	json_string(f, name);
	fputs(": ", f);
	json_string(f, value);
}

static void json_host(FILE *f)
{
	char cpu[256];
	struct utsname u;

	cpu_model(cpu, sizeof(cpu));
	fputs("  \"host\": {", f);
	json_field(f, "cpu", cpu);
	if (uname(&u) == 0) {
		fputs(", ", f);
		json_field(f, "kernel", u.release);
	}
	fprintf(f, ", \"cores\": %ld, ", sysconf(_SC_NPROCESSORS_ONLN));
	json_field(f, "kvm", kvm_kind());
	fputs(", ", f);
	json_field(f, "placement", placement());
	fputs(", ", f);
	json_field(f, "sync_wake_up", yes_no(facts->sync));
	fputs(", ", f);
	json_field(f, "polls", yes_no(facts->polls));
	fprintf(f, ", \"clock_overhead%s\": %.0f},\n", options.count ? "" : "_ns",
		clock_overhead());
}

static void json_place(FILE *f, struct place p)
{
	json_field(f, "machine", machine_name(p));
	fputs(", ", f);
	json_field(f, "processors", processors_name(p));
}

static void json_time(FILE *f, const struct result *r)
{
	json_field(f, "name", r->series->name);
	fputs(", ", f);
	json_place(f, r->place);
	fprintf(f, ", \"unit\": \"%s\", \"median\": %.0f, \"p5\": %.0f, \"p95\": %.0f, \"n\": %u}",
		options.count ? "instructions" : "ns", r->f.median, r->f.p5, r->f.p95, r->f.n);
}

static void json_skipped(FILE *f, const struct result *r)
{
	json_field(f, "name", r->series->name);
	fputs(", ", f);
	json_place(f, r->place);
	fputs(", ", f);
	json_field(f, "why", r->why);
	fputc('}', f);
}

static const char *const idle_names[IDLE_VALUES] = {
	[IDLE_ARENA] = "guest_bytes",	     [IDLE_RSS] = "resident_bytes",
	[IDLE_ANON] = "anonymous_bytes",     [IDLE_SHMEM] = "shared_bytes",
	[IDLE_TABLES] = "page_table_bytes",  [IDLE_STACKS] = "kernel_stack_bytes",
	[IDLE_SLAB] = "slab_bytes",	     [IDLE_PERCPU] = "percpu_bytes",
	[IDLE_CHARGED] = "charged_bytes",    [IDLE_VCPUS] = "vcpus",
	[IDLE_THREADS] = "threads",	     [IDLE_FDS] = "descriptors",
	[IDLE_LIVE] = "live",		     [IDLE_ANSWERED] = "answered",
};

static double idle_value(const uint64_t *v, enum idle_value which)
{
	return (double)v[which] / (which >= IDLE_VCPUS && which < IDLE_LIVE ? 1000 : 1);
}

static void json_values(FILE *f, const struct result *r)
{
	static const char *const steady_names[STEADY_VALUES] = { "world_switches", "faults", "mappings" };

	json_place(f, r->place);
	if (r->series->when == WHEN_STEADY)
		for (unsigned i = 0; i < STEADY_VALUES; i++)
			fprintf(f, ", \"%s\": %.3f", steady_names[i], (double)r->values[i] / 1000);
	else
		for (unsigned i = 0; i < IDLE_VALUES; i++)
			fprintf(f, ", \"%s\": %.3f", idle_names[i], idle_value(r->values, (enum idle_value)i));
	fputc('}', f);
}

static void json_goal(FILE *f, const struct goal *g)
{
	json_field(f, "name", g->name);
	fputs(", ", f);
	json_place(f, g->place);
	fprintf(f, ", \"value\": %.4f", g->value);
	if (g->high > 0)
		fprintf(f, ", \"low\": %.4f, \"high\": %.4f", g->low, g->high);
	if (g->least > 0)
		fprintf(f, ", \"least\": %g", g->least);
	if (g->most > 0 || !(g->least > 0))
		fprintf(f, ", \"most\": %g", g->most);
	fputs(", ", f);
	json_field(f, "verdict", goal_met(g) ? "met" : "missed");
	fputc('}', f);
}

enum list { TIMES, SKIPPED, IDLE, STEADY };

static bool is_in(const struct result *r, enum list which)
{
	switch (which) {
	case TIMES:
		return is_time(r);
	case SKIPPED:
		return r->err;
	case IDLE:
		return !r->err && r->series->when == WHEN_IDLE;
	case STEADY:
		return !r->err && r->series->when == WHEN_STEADY;
	}
	return false;
}

static void json_list(FILE *f, const char *name, enum list which, const struct result *r, size_t n)
{
	const char *separator = "";

	fprintf(f, "  \"%s\": [", name);
	for (size_t i = 0; i < n; i++) {
		if (!is_in(&r[i], which))
			continue;
		fprintf(f, "%s\n    {", separator);
		if (which == TIMES)
			json_time(f, &r[i]);
		else if (which == SKIPPED)
			json_skipped(f, &r[i]);
		else
			json_values(f, &r[i]);
		separator = ",";
	}
	fputs("\n  ],\n", f);
}

void output_json(FILE *f, const struct result *r, size_t n, const struct goal *g, size_t ng)
{
	fputs("{\n  \"schema\": 2,\n", f);
	json_host(f);
	json_list(f, "results", TIMES, r, n);
	json_list(f, "skipped", SKIPPED, r, n);
	json_list(f, "steady", STEADY, r, n);
	json_list(f, "idle", IDLE, r, n);
	fputs("  \"goals\": [", f);
	for (size_t i = 0; i < ng; i++) {
		fprintf(f, "%s\n    {", i ? "," : "");
		json_goal(f, &g[i]);
	}
	fputs("\n  ]\n}\n", f);
}

/* ---- the table ------------------------------------------------------------------------------- */

#define BAR 24

/* Eighths of a cell; the whole bar is `span` decades above `floor` (decimal logarithms). */
static void bar(FILE *f, double value, double floor, double span)
{
	static const char *const eighth[] = { "", "▏", "▎", "▍", "▌", "▋", "▊", "▉" };
	double part = value >= 1 ? (log10(value) - floor) / span : 0;
	unsigned n = (unsigned)((part < 0 ? 0 : part > 1 ? 1 : part) * BAR * 8 + 0.5);

	for (unsigned i = 0; i < n / 8; i++)
		fputs("█", f);
	fputs(n ? eighth[n % 8] : eighth[1], f);
}

static void time_text(char *buf, size_t len, double ns)
{
	if (ns < 1e3)
		snprintf(buf, len, "%.0f ns", ns);
	else if (ns < 1e6)
		snprintf(buf, len,
			 ns < 1e4 ? "%.2f us" :
			 ns < 1e5 ? "%.1f us" :
				    "%.0f us",
			 ns / 1e3);
	else
		snprintf(buf, len,
			 ns < 1e7 ? "%.2f ms" :
			 ns < 1e8 ? "%.1f ms" :
				    "%.0f ms",
			 ns / 1e6);
}

/* The floor at this place, 0 if it was not measured. */
static double round_trip(const struct result *r, size_t n, struct place p)
{
	for (size_t i = 0; i < n; i++)
		if (r[i].series->group == GROUP_FLOOR && !r[i].err && r[i].place.machine == p.machine &&
		    r[i].place.processors == p.processors)
			return r[i].f.median;
	return 0;
}

static void times_floor(FILE *f, const struct result *r, double trip)
{
	if (trip > 0)
		fprintf(f, " %8.2f", r->f.median / trip);
	else
		fprintf(f, " %8s", "");
}

static void count_row(FILE *f, const struct result *r, double trip)
{
	fprintf(f, "%-30s %12.0f %12.0f %12.0f %6u", r->series->name, r->f.median, r->f.p5,
		r->f.p95, r->f.n);
	times_floor(f, r, trip);
	fputc('\n', f);
}

static void table_row(FILE *f, const struct result *r, double trip, double floor, double span)
{
	char median[32], p5[32], p95[32];

	time_text(median, sizeof(median), r->f.median);
	time_text(p5, sizeof(p5), r->f.p5);
	time_text(p95, sizeof(p95), r->f.p95);
	fprintf(f, "%-30s %9s %9s %9s %6u", r->series->name, median, p5, p95, r->f.n);
	times_floor(f, r, trip);
	fputs("  ", f);
	bar(f, r->f.median, floor, span);
	fputc('\n', f);
}

static void table_head(FILE *f, double low, double high)
{
	if (options.count)
		fprintf(f, "%-30s %12s %12s %12s %6s %8s\n", "instructions", "median", "p5", "p95",
			"n", "/ floor");
	else
		fprintf(f, "%-30s %9s %9s %9s %6s %8s  bar: 10^%.0f to 10^%.0f ns, logarithmic\n",
			"name", "median", "p5", "p95", "n", "/ floor", low, high);
}

/* What the rows that follow are of. */
static void table_place(FILE *f, struct place p)
{
	static const char *const machines[MACHINES] = { "the system", "KVM", "stub processes" };
	static const char *const processors[PLACEMENTS] = { "", ", one processor", ", two processors" };

	fprintf(f, "\n%s%s\n", machines[p.machine], processors[p.processors]);
}

static void table_idle(FILE *f, const struct result *r)
{
	const uint64_t *v = r->values;

	fprintf(f,
		"\nOne idle compartment more, %s: %.1f KiB of guest memory, %.1f KiB resident in this process;\n"
		"%.2f virtual processors or stubs, %.2f threads, %.2f descriptors\n",
		machine_name(r->place), (double)v[IDLE_ARENA] / 1024, (double)v[IDLE_RSS] / 1024,
		idle_value(v, IDLE_VCPUS), idle_value(v, IDLE_THREADS), idle_value(v, IDLE_FDS));
	fprintf(f,
		"  of the whole host, KiB: anonymous %.1f, shared %.1f, page tables %.1f, kernel stacks %.1f, slab %.1f,\n"
		"  per processor %.1f: together %.1f",
		(double)v[IDLE_ANON] / 1024, (double)v[IDLE_SHMEM] / 1024, (double)v[IDLE_TABLES] / 1024,
		(double)v[IDLE_STACKS] / 1024, (double)v[IDLE_SLAB] / 1024, (double)v[IDLE_PERCPU] / 1024,
		idle_total(v) / 1024);
	if (v[IDLE_CHARGED])
		fprintf(f, "; charged to the control group: %.1f", (double)v[IDLE_CHARGED] / 1024);
	fputc('\n', f);
}

static void table_goal(FILE *f, const struct goal *g)
{
	char name[128];

	snprintf(name, sizeof(name), "%s%s%s", g->name, g->place.processors == UNPINNED ? "" : ", ",
		 g->place.processors == UNPINNED ? "" :
		 g->place.processors == ONE	 ? "one processor" :
						   "two processors");
	fprintf(f, "%-7s %-74s %8.2f", machine_name(g->place), name, g->value);
	if (g->high > 0)
		fprintf(f, "  (95 %%: %.3f to %.3f)", g->low, g->high);
	fputs("  goal:", f);
	if (g->least > 0 && g->least == g->most)
		fprintf(f, " %g", g->least);
	else if (g->least > 0)
		fprintf(f, " at least %g", g->least);
	if (g->most != g->least && (g->most > 0 || !(g->least > 0)))
		fprintf(f, "%s at most %g", g->least > 0 ? "," : "", g->most);
	else if (!(g->least > 0))
		fprintf(f, " %g", g->most);
	fprintf(f, "  %s\n", goal_met(g) ? "met" : "MISSED");
}

static void table_header(FILE *f)
{
	struct utsname u;
	char cpu[256];

	cpu_model(cpu, sizeof(cpu));
	fprintf(f, "%s, %ld cores, Linux %s; reading the clock: %.0f %s\n", cpu, sysconf(_SC_NPROCESSORS_ONLN),
		uname(&u) ? "?" : u.release, clock_overhead(), options.count ? "instructions" : "ns");
	fprintf(f, "KVM: %s", kvm_kind());
	if (options.machines[KVM])
		fprintf(f, "; monitor: %s", placement());
	if (options.machines[PROCESS])
		fprintf(f, ". Stubs: SYNC_WAKE_UP: %s; a poll before each wait: %s", yes_no(facts->sync), yes_no(facts->polls));
	fputs("\n\n", f);
}

static void table_rows(FILE *f, const struct result *r, size_t n)
{
	double low = INFINITY, high = 0;

	for (size_t i = 0; i < n; i++) {
		if (!is_time(&r[i]) || r[i].f.median < 1)
			continue;
		low = fmin(low, log10(r[i].f.median));
		high = fmax(high, log10(r[i].f.median));
	}
	low = floor(isfinite(low) ? low : 0);
	high = fmax(ceil(high), low + 1);
	table_head(f, low, high);
	for (size_t i = 0; i < n; i++) {
		double trip = round_trip(r, n, r[i].place);

		if (!i || r[i].place.machine != r[i - 1].place.machine ||
		    r[i].place.processors != r[i - 1].place.processors)
			table_place(f, r[i].place);
		if (r[i].err)
			fprintf(f, "%-30s skipped: %s\n", r[i].series->name, r[i].why);
		else if (is_time(&r[i]) && options.count)
			count_row(f, &r[i], trip);
		else if (is_time(&r[i]))
			table_row(f, &r[i], trip, low, high - low);
	}
}

void output_table(FILE *f, const struct result *r, size_t n, const struct goal *g, size_t ng)
{
	table_header(f);
	table_rows(f, r, n);
	for (size_t i = 0; i < n; i++)
		if (is_in(&r[i], IDLE))
			table_idle(f, &r[i]);
	if (options.count) /* the goals are of times */
		ng = 0;
	if (ng)
		fputc('\n', f);
	for (size_t i = 0; i < ng; i++)
		table_goal(f, &g[i]);
}
