/* SPDX-License-Identifier: MIT */
/* What a taken-over parser can do, under each isolation. World: host. */
#include "tests/httpd/httpd.h"

#include "tests/test.h"

static struct client c; /* large */

static bool attack(const struct server *s, const char *fmt, unsigned long value)
{
	char what[64];

	snprintf(what, sizeof(what), fmt, value);
	client_connect(&c, s);
	client_say(&c, "GET / HTTP/1.1\r\nHost: x\r\nX-Demo-Attack: %s\r\n\r\n", what);
	return client_answer(&c, false);
}

void test_attacks(bool is_sthread, bool is_none)
{
	struct server s;
	char out[256];

	NOTE("without --demo-flaw there is no flaw");
	server_start(&s, site_root(), NULL);
	CHECK(attack(&s, "open=/etc/hostname", 0));
	CHECK_STR(c.body, "<h1>index</h1>");
	client_close(&c);
	server_stop(&s, NULL, 0);

	NOTE("a taken-over parser goes for the master's memory");
	server_start(&s, site_root(), "--demo-flaw", "--lifetime", "1", "--timeout", "1", NULL);
	CHECK(s.mapped && s.variable && s.secret[0]);
	if (is_sthread) {
		CHECK_MSG(!attack(&s, "read=%#lx", s.mapped), "answered: %s", c.body);
		client_close(&c);
		CHECK(server_logged(&s, "its compartment ended"));
		CHECK(server_logged(&s, "flaw_read"));
		check_alive(&s);
		/* What it had at the checkpoint is there, as it was then. */
		CHECK(attack(&s, "read=%#lx", s.variable));
		CHECK_STR(c.body, "(nothing but zeros there)");
		client_close(&c);
		CHECK(!attack(&s, "write=%#lx", s.mapped));
		client_close(&c);
		CHECK(attack(&s, "write=%#lx", s.variable));
		client_close(&c);
		CHECK(attack(&s, "open=/etc/passwd", 0));
		CHECK_HAS(c.body, "cannot open");
		client_close(&c);
	} else {
		CHECK(attack(&s, "read=%#lx", s.mapped));
		CHECK_STR(c.body, s.secret);
		client_close(&c);
		CHECK(attack(&s, "read=%#lx", s.variable));
		CHECK_STR(c.body, s.secret);
		client_close(&c);
		CHECK(attack(&s, "write=%#lx", s.mapped));
		client_close(&c);
		CHECK(attack(&s, "open=/etc/passwd", 0));
		CHECK_HAS(c.body, "root:");
		client_close(&c);
	}
	if (!is_none) {
		NOTE("a wild pointer, and a loop");
		CHECK(!attack(&s, "read=%#lx", 8));
		client_close(&c);
		if (!is_sthread)
			CHECK(server_logged(&s, "its child was ended by signal 11"));
		check_alive(&s);
		CHECK(!attack(&s, "loop", 0));
		client_close(&c);
		CHECK(server_logged(&s, "was ended after 3 seconds"));
		check_alive(&s);
	}
	server_stop(&s, out, sizeof(out));
	CHECK_HAS(out, is_none ? "demo-secret overwritten" : "demo-secret intact");
}
