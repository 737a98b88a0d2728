/* SPDX-License-Identifier: MIT */
/*
 * Where connections are served: one small interface, three implementations. World: master.
 *
 *   sthread  each in a fresh compartment that holds the connection and the root, nothing else
 *   fork     each in a forked child, which has a copy of the whole master
 *   none     each in the master itself
 */
#ifndef HTTPD_ISOLATION_H
#define HTTPD_ISOLATION_H

#include <stdbool.h>
#include <stddef.h>

struct isolation {
	const char *name;
	/* Opens beneath the root are walled in by the isolation itself; otherwise by file.c. */
	bool guards_root;
	/* What the serving side leaves open is closed when it ends. */
	bool closes_all;
	/* Open in this process at once for one connection, at most, the connection included. */
	unsigned descriptors;
	/* Once, single-threaded, with config final. 0, or a negative errno and `why` for the user. */
	int (*init)(char *why, size_t len);
	/*
	 * Serves the connection until it ends; any thread. The descriptor stays the caller's.
	 * Gives an enum conn_end as the serving side told it (in range, otherwise not to be
	 * trusted), or a negative errno where that side broke; `report` then says how.
	 */
	int (*serve)(int connfd, char *report, size_t len);
	/* Ends whatever still serves. */
	void (*fini)(void);
};

extern const struct isolation isolation_sthread, isolation_fork, isolation_none;

#endif
