/* SPDX-License-Identifier: MIT */
/*
 * bench_smoke NAME... -- COMMAND...: few samples of every series: runs a command, and checks that what it prints is
 * sthread-bench's JSON, schema 1, with a result of each name.  World: host.  Exits 0, 1, or 77
 * where there is no /dev/kvm.
 */
#include <ctype.h>
#include <math.h>
#include <spawn.h>
#include <sys/wait.h>

#include "tests/test.h"

extern char **environ;

static char text[1 << 20];
static const char *at;

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

/* One of "results"; gives its name. */
static void result(char *name, size_t len)
{
	static const char *const fields[] = { "median", "p5", "p95", "n" };
	double v[4] = { -1, -1, -1, -1 };
	char key[64], unit[64] = "";

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
		else
			FAIL("%s in a result", key);
	} while (try_char(','));
	expect('}');
	CHECK_STR(unit, "ns");
	CHECK_MSG(0 <= v[1] && v[1] <= v[0] && v[0] <= v[2], "%s: %f %f %f", name, v[1], v[0],
		  v[2]);
	CHECK_GE(v[3], 1);
}

static void document(char **names, int n)
{
	bool schema = false, machine = false, found[64] = { false };
	char key[64], name[64];

	CHECK(n <= 64);
	expect('{');
	do {
		string(key, sizeof(key));
		expect(':');
		if (!strcmp(key, "schema")) {
			CHECK(number() == 1);
			schema = true;
		} else if (!strcmp(key, "machine")) {
			space();
			CHECK(*at == '{');
			value();
			machine = true;
		} else if (!strcmp(key, "results")) {
			expect('[');
			do {
				result(name, sizeof(name));
				for (int i = 0; i < n; i++)
					found[i] |= !strcmp(names[i], name);
			} while (try_char(','));
			expect(']');
		} else {
			value();
		}
	} while (try_char(','));
	expect('}');
	space();
	CHECK_MSG(!*at, "text after the end: %.60s", at);
	CHECK(schema);
	CHECK(machine);
	for (int i = 0; i < n; i++)
		CHECK_MSG(found[i], "no result of %s:\n%s", names[i], text);
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
	int names = 1;

	while (names < argc && strcmp(argv[names], "--"))
		names++;
	if (names + 1 >= argc)
		FAIL("usage: json_check NAME... -- COMMAND...");
	close(test_open_kvm());
	run(argv + names + 1);
	at = text;
	document(argv + 1, names - 1);
	return TEST_PASSED;
}
