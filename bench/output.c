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

static void json_machine(FILE *f)
{
	char cpu[256];
	struct utsname u;

	cpu_model(cpu, sizeof(cpu));
	fputs("  \"machine\": {", f);
	json_field(f, "cpu", cpu);
	if (uname(&u) == 0) {
		fputs(", ", f);
		json_field(f, "kernel", u.release);
	}
	fprintf(f, ", \"cores\": %ld, ", sysconf(_SC_NPROCESSORS_ONLN));
	json_field(f, "kvm", kvm_kind());
	fputs(", ", f);
	json_field(f, "placement", placement());
	fprintf(f, ", \"clock_overhead%s\": %.0f},\n", options.count ? "" : "_ns",
		clock_overhead());
}

static void json_result(FILE *f, const struct result *r)
{
	fputs("    {", f);
	json_field(f, "name", r->series->name);
	fprintf(f, ", \"unit\": \"%s\", \"median\": %.0f, \"p5\": %.0f, \"p95\": %.0f, \"n\": %u}",
		options.count ? "instructions" : "ns", r->f.median, r->f.p5, r->f.p95, r->f.n);
}

static void json_idle(FILE *f, const struct result *r)
{
	const uint64_t *v = r->idle;

	fprintf(f,
		",\n  \"idle\": {\"arena_bytes\": %llu, \"resident_bytes\": %llu, \"vcpus\": %.3f, "
		"\"threads\": %.3f, \"live\": %llu}",
		(unsigned long long)v[IDLE_ARENA], (unsigned long long)v[IDLE_RSS],
		(double)v[IDLE_VCPUS] / 1000, (double)v[IDLE_THREADS] / 1000,
		(unsigned long long)v[IDLE_LIVE]);
}

void output_json(FILE *f, const struct result *r, size_t n, const struct quotient *q, size_t nq)
{
	const char *separator = "";

	fputs("{\n  \"schema\": 1,\n", f);
	json_machine(f);
	fputs("  \"results\": [", f);
	for (size_t i = 0; i < n; i++) {
		if (r[i].err || r[i].series->when == WHEN_IDLE)
			continue;
		fprintf(f, "%s\n", separator);
		json_result(f, &r[i]);
		separator = ",";
	}
	fputs("\n  ],\n  \"ratios\": [", f);
	for (size_t i = 0; i < nq; i++) {
		fprintf(f, "%s\n    {", i ? "," : "");
		json_field(f, "name", q[i].name);
		fprintf(f, ", \"value\": %.4f", q[i].value);
		if (q[i].high > 0)
			fprintf(f, ", \"low\": %.4f, \"high\": %.4f", q[i].low, q[i].high);
		fputc('}', f);
	}
	fputs("\n  ],\n  \"skipped\": [", f);
	separator = "";
	for (size_t i = 0; i < n; i++) {
		if (!r[i].err)
			continue;
		fprintf(f, "%s\n    {", separator);
		json_field(f, "name", r[i].series->name);
		fputs(", ", f);
		json_field(f, "why", r[i].why);
		fputc('}', f);
		separator = ",";
	}
	fputs("\n  ]", f);
	for (size_t i = 0; i < n; i++)
		if (!r[i].err && r[i].series->when == WHEN_IDLE)
			json_idle(f, &r[i]);
	fputs("\n}\n", f);
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

/* The least that a run in a virtual machine takes, 0 if it was not measured. */
static double round_trip(const struct result *r, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(r[i].series->name, "kvm.round_trip") && !r[i].err)
			return r[i].f.median;
	return 0;
}

static void count_row(FILE *f, const struct result *r, double trip)
{
	fprintf(f, "%-30s %12.0f %12.0f %12.0f %6u", r->series->name, r->f.median, r->f.p5,
		r->f.p95, r->f.n);
	if (trip > 0)
		fprintf(f, " %9.2f", r->f.median / trip);
	fputc('\n', f);
}

static void table_row(FILE *f, const struct result *r, double floor, double span)
{
	char median[32], p5[32], p95[32];

	time_text(median, sizeof(median), r->f.median);
	time_text(p5, sizeof(p5), r->f.p5);
	time_text(p95, sizeof(p95), r->f.p95);
	fprintf(f, "%-30s %9s %9s %9s %6u  ", r->series->name, median, p5, p95, r->f.n);
	bar(f, r->f.median, floor, span);
	fputc('\n', f);
}

static void table_idle(FILE *f, const struct result *r)
{
	fprintf(f,
		"\nOne idle compartment more, of %llu: %llu bytes of guest memory (goal: under 65536), "
		"%llu bytes resident,\n%.2f virtual processors, %.2f threads\n",
		(unsigned long long)r->idle[IDLE_LIVE], (unsigned long long)r->idle[IDLE_ARENA],
		(unsigned long long)r->idle[IDLE_RSS], (double)r->idle[IDLE_VCPUS] / 1000,
		(double)r->idle[IDLE_THREADS] / 1000);
}

void output_table(FILE *f, const struct result *r, size_t n, const struct quotient *q, size_t nq)
{
	double low = INFINITY, high = 0;
	struct utsname u;
	char cpu[256];

	cpu_model(cpu, sizeof(cpu));
	fprintf(f, "%s, %ld cores, Linux %s\nKVM: %s; monitor: %s; reading the clock: %.0f %s\n\n",
		cpu, sysconf(_SC_NPROCESSORS_ONLN), uname(&u) ? "?" : u.release, kvm_kind(),
		placement(), clock_overhead(), options.count ? "instructions" : "ns");

	for (size_t i = 0; i < n; i++) {
		if (r[i].err || r[i].series->when == WHEN_IDLE || r[i].f.median < 1)
			continue;
		low = fmin(low, log10(r[i].f.median));
		high = fmax(high, log10(r[i].f.median));
	}
	low = floor(isfinite(low) ? low : 0);
	high = fmax(ceil(high), low + 1);
	if (options.count)
		fprintf(f, "%-30s %12s %12s %12s %6s %9s\n", "instructions", "median", "p5", "p95",
			"n", "/ floor");
	else
		fprintf(f, "%-30s %9s %9s %9s %6s  bar: 10^%.0f to 10^%.0f ns, logarithmic\n",
			"name", "median", "p5", "p95", "n", low, high);
	for (size_t i = 0; i < n; i++) {
		if (r[i].err)
			fprintf(f, "%-30s skipped: %s\n", r[i].series->name, r[i].why);
		else if (r[i].series->when != WHEN_IDLE && options.count)
			count_row(f, &r[i], round_trip(r, n));
		else if (r[i].series->when != WHEN_IDLE)
			table_row(f, &r[i], low, high - low);
	}
	if (options.count) /* the goals are of times */
		nq = 0;
	if (nq)
		fputc('\n', f);
	for (size_t i = 0; i < nq; i++) {
		fprintf(f, "%-66s %7.2f", q[i].name, q[i].value);
		if (q[i].high > 0)
			fprintf(f, "  (95 %%: %.3f to %.3f)", q[i].low, q[i].high);
		fprintf(f, "  goal: %s\n", q[i].goal);
	}
	for (size_t i = 0; i < n; i++)
		if (!r[i].err && r[i].series->when == WHEN_IDLE)
			table_idle(f, &r[i]);
}
