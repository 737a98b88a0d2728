/* SPDX-License-Identifier: MIT */
/*
 * bench_smoke NAME... -- COMMAND...: few samples of every series: runs a command, and checks that what it prints is
 * sthread-bench's JSON, schema 2, with a result of each name on each machine that the run asks for; names of machines
 * before a point are of that one alone.  World: host.  Exits 0, 1, or 77 where there is no such machine.
 */
#include <ctype.h>
#include <math.h>
#include <spawn.h>
#include <sys/wait.h>

#include "tests/test.h"

extern char **environ;

static char text[1 << 20];
static const char *at;

#define NAMES 64
enum { SYSTEM, KVM, PROCESS, MACHINES };
static const char *const machines[MACHINES] = { "system", "kvm", "process" };
static bool found[NAMES][MACHINES];
static unsigned steady[MACHINES];

static void space(void)
{
	while (*at && strchr(" \t\r\n", *at))
		at++;
}

static bool try_char(char c)
{
	space();
	if (*at != c)
		return false;
	at++;
	return true;
}

static void expect(char c)
{
	if (!try_char(c))
		FAIL("'%c' expected at: %.60s", c, at);
}

/* Into buf, escapes as they are. */
static void string(char *buf, size_t len)
{
	size_t n = 0;

	expect('"');
	while (*at != '"') {
		bool escape = *at == '\\';

		CHECK_MSG((unsigned char)*at >= 0x20, "bare control character or end in a string");
		if (escape && n + 1 < len)
			buf[n++] = *at;
		at += escape;
		CHECK(!escape || strchr("\"\\/bfnrtu", *at));
		if (n + 1 < len)
			buf[n++] = *at;
		at++;
	}
	at++;
	buf[n] = '\0';
}

static double number(void)
{
	char *end;
	double v;

	space();
	CHECK_MSG(isdigit((unsigned char)*at) || *at == '-', "number expected at: %.60s", at);
	v = strtod(at, &end);
	at = end;
	CHECK(isfinite(v));
	return v;
}

/* Any value. */
static void value(void)
{
	char buf[256];

	space();
	if (*at == '"') {
		string(buf, sizeof(buf));
	} else if (try_char('{')) {
		if (try_char('}'))
			return;
		do {
			string(buf, sizeof(buf));
			expect(':');
			value();
		} while (try_char(','));
		expect('}');
	} else if (try_char('[')) {
		if (try_char(']'))
			return;
		do
			value();
		while (try_char(','));
		expect(']');
	} else {
		number(); /* it prints no true, false, null */
	}
}

static unsigned machine_of(const char *name)
{
	unsigned m = 0;

	while (m < MACHINES && strcmp(machines[m], name))
		m++;
	CHECK_MSG(m < MACHINES, "machine %s", name);
	return m;
}

/* One of "results"; gives its name, and its machine. */
static unsigned result(char *name, size_t len)
{
	static const char *const fields[] = { "median", "p5", "p95", "n" };
	double v[4] = { -1, -1, -1, -1 };
	char key[64], unit[64] = "", machine[64] = "", processors[64] = "";

	name[0] = '\0';
	expect('{');
	do {
		bool known = false;

		string(key, sizeof(key));
		expect(':');
		for (unsigned i = 0; i < 4; i++) {
			if (strcmp(key, fields[i]))
				continue;
			CHECK_MSG(v[i] < 0, "%s twice", key);
			v[i] = number();
			known = true;
		}
		if (known)
			continue;
		if (!strcmp(key, "name"))
			string(name, len);
		else if (!strcmp(key, "unit"))
			string(unit, sizeof(unit));
		else if (!strcmp(key, "machine"))
			string(machine, sizeof(machine));
		else if (!strcmp(key, "processors"))
			string(processors, sizeof(processors));
		else
			FAIL("%s in a result", key);
	} while (try_char(','));
	expect('}');
	CHECK_STR(unit, "ns");
	CHECK_MSG(!strcmp(processors, "unpinned") || !strcmp(processors, "one") || !strcmp(processors, "two"),
		  "processors: %s", processors);
	CHECK_MSG(0 <= v[1] && v[1] <= v[0] && v[0] <= v[2], "%s: %f %f %f", name, v[1], v[0],
		  v[2]);
	CHECK_GE(v[3], 1);
	return machine_of(machine);
}

/* One of "steady": a warm call is one world switch, whichever machine it is. */
static void counts(void)
{
	char key[64], machine[64] = "";
	double switches = -1, others = 0;

	expect('{');
	do {
		string(key, sizeof(key));
		expect(':');
		if (!strcmp(key, "machine"))
			string(machine, sizeof(machine));
		else if (!strcmp(key, "world_switches"))
			switches = number();
		else if (!strcmp(key, "faults") || !strcmp(key, "mappings"))
			others += number();
		else
			value();
	} while (try_char(','));
	expect('}');
	CHECK_MSG(switches == 1 && others == 0, "%s: %f switches, %f faults and mappings", machine, switches, others);
	steady[machine_of(machine)]++;
}

/* All of an array by fn, which is not empty. */
static void each(void (*fn)(char **names, int n), char **names, int n)
{
	expect('[');
	do
		fn(names, n);
	while (try_char(','));
	expect(']');
}

static void one_result(char **names, int n)
{
	char name[64];
	unsigned machine = result(name, sizeof(name));

	for (int i = 0; i < n; i++)
		found[i][machine] |= !strcmp(names[i], name);
}

static void one_count(char **names, int n)
{
	(void)names;
	(void)n;
	counts();
}

static void document(char **names, int n)
{
	bool schema = false, host = false;
	char key[64];

	CHECK(n <= NAMES);
	expect('{');
	do {
		string(key, sizeof(key));
		expect(':');
		if (!strcmp(key, "schema")) {
			CHECK(number() == 2);
			schema = true;
		} else if (!strcmp(key, "host")) {
			space();
			CHECK(*at == '{');
			value();
			host = true;
		} else if (!strcmp(key, "results")) {
			each(one_result, names, n);
		} else if (!strcmp(key, "steady")) {
			each(one_count, names, n);
		} else {
			value();
		}
	} while (try_char(','));
	expect('}');
	space();
	CHECK_MSG(!*at, "text after the end: %.60s", at);
	CHECK(schema);
	CHECK(host);
}

/* Of the system, or of each machine that is asked for; what begins with a machine's name is of that one. */
static void check_names(char **names, int n, const bool *wanted)
{
	for (int i = 0; i < n; i++) {
		for (unsigned m = KVM; m < MACHINES; m++) {
			unsigned other = KVM + PROCESS - m;
			bool others = !strncmp(names[i], machines[other], strlen(machines[other]));

			if (wanted[m] && !others && !found[i][SYSTEM])
				CHECK_MSG(found[i][m], "no result of %s on %s:\n%s", names[i], machines[m], text);
		}
	}
	for (unsigned m = KVM; m < MACHINES; m++)
		CHECK_EQ(steady[m], wanted[m]);
}

static void run(char **argv)
{
	posix_spawn_file_actions_t actions;
	size_t len = 0;
	int fds[2], status;
	ssize_t n;
	pid_t pid;

	CHECK(pipe(fds) == 0);
	CHECK(posix_spawn_file_actions_init(&actions) == 0);
	CHECK(posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO) == 0);
	CHECK(posix_spawn_file_actions_addclose(&actions, fds[0]) == 0);
	CHECK(posix_spawn_file_actions_addclose(&actions, fds[1]) == 0);
	CHECK(posix_spawn(&pid, argv[0], &actions, NULL, argv, environ) == 0);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	while ((n = read(fds[0], text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	close(fds[0]);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x, it said:\n%s", status,
		  text);
}

int main(int argc, char **argv)
{
	/* What the library would take by itself is KVM or stubs: without a wish, the run is about both. */
	const enum test_placement asked = test_placement();
	const bool wanted[MACHINES] = {
		[KVM] = asked != TEST_PLACEMENT_PROCESS,
		[PROCESS] = asked == TEST_PLACEMENT_PROCESS || asked == TEST_PLACEMENT_DEFAULT,
	};
	int names = 1;

	while (names < argc && strcmp(argv[names], "--"))
		names++;
	if (names + 1 >= argc)
		FAIL("usage: bench_smoke NAME... -- COMMAND...");
	test_needs_machine();
	run(argv + names + 1);
	at = text;
	document(argv + 1, names - 1);
	check_names(argv + 1, names - 1, wanted);
	return TEST_PASSED;
}
