/* SPDX-License-Identifier: MIT */
/*
 * --isolation none: connections are served in the master. World: master, and what serves is it too.
 *
 * For comparison: a fault ends the whole server, a loop is never ended, and who takes over the
 * parser has everything.
 */
#include "isolation.h"

#include "conn.h"

static int none_init(char *why, size_t len)
{
	(void)why;
	(void)len;
	return 0;
}

static int none_serve(int connfd, char *report, size_t len)
{
	(void)report;
	(void)len;
	return (int)conn_result(conn_serve(conn_arg(connfd)));
}

static void none_fini(void)
{
}

const struct isolation isolation_none = {
	.name = "none",
	.descriptors = 2, /* the connection and a file */
	.init = none_init,
	.serve = none_serve,
	.fini = none_fini,
};
