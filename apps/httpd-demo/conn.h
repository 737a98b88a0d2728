/* SPDX-License-Identifier: MIT */
/* Serving one connection. World: inside the compartment, the forked child, or a master's thread. */
#ifndef HTTPD_CONN_H
#define HTTPD_CONN_H

#include <stdint.h>

/* How a connection ended, by its server's account. */
enum conn_end {
	CONN_CLOSED,      /* the client closed it, or was told that it is being closed */
	CONN_IDLE,        /* no further request came in time */
	CONN_SLOW,        /* a request did not come whole in time (408) */
	CONN_STALLED,     /* the client did not read its answer in time */
	CONN_BAD_REQUEST, /* a request after which the stream cannot be followed */
	CONN_BROKEN,      /* the connection failed */
	CONN_TRUNCATED,   /* the file became shorter while it was sent */
	CONN_ENDS,        /* how many there are */
};

/* Words for the log. */
const char *conn_end_text(enum conn_end end);

/*
 * arg: the connection's descriptor, an integer. Gives an enum conn_end, as an integer. Sees
 * nothing but `config` and its argument, allocates nothing, takes no lock.
 * Whatever the client does, it ends about config_hard_limit() seconds later.
 * The connection's SO_RCVTIMEO and SO_SNDTIMEO are set, to config.timeout.
 */
void *conn_serve(void *arg);

static inline void *conn_arg(int connfd)
{
	return (void *)(intptr_t)connfd;
}

/* What conn_serve() gave, or CONN_ENDS for a value it never gives. */
static inline enum conn_end conn_result(const void *value)
{
	return (uintptr_t)value < CONN_ENDS ? (enum conn_end)(uintptr_t)value : CONN_ENDS;
}

#endif
