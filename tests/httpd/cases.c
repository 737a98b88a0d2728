/* SPDX-License-Identifier: MIT */
/* What a client may expect of httpd-demo, whatever its connections are served in. World: host. */
#include "tests/httpd/httpd.h"

#include "tests/test.h"

int httpd_test(int argc, char **argv, const char *isolation)
{
	bool is_sthread = !strcmp(isolation, "sthread");
	struct server s;
	char *program;

	CHECK_EQ(argc, 2);
	if (is_sthread)
		test_needs_machine();
	program = realpath(argv[1], NULL);
	CHECK(program);
	site_make();
	server_program(program, isolation, site_dir());

	server_start(&s, site_root(), "--timeout", "20", NULL);
	test_answers(&s);
	test_streams(&s);
	server_stop(&s, NULL, 0);
	test_life();
	test_attacks(is_sthread, !strcmp(isolation, "none"));
	site_remove();
	free(program);
	return TEST_PASSED;
}
