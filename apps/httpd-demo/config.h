/* SPDX-License-Identifier: MIT */
/*
 * What the command line decided. World: written in the master, read everywhere.
 *
 * It is final before isolation begins: a compartment sees it as it was at the checkpoint, and a
 * forked child as it was at the fork. What changes later crosses as an integer argument.
 */
#ifndef HTTPD_CONFIG_H
#define HTTPD_CONFIG_H

#include <stdbool.h>

struct isolation; /* isolation.h */

struct config {
	const char *root;                  /* the directory that is served, as given */
	int rootfd;                        /* the same, open; known inside under this number */
	const char *listen;                /* ADDRESS:PORT */
	const struct isolation *isolation; /* where connections are served */
	unsigned max_connections;          /* served at once; one thread of the master each */
	unsigned max_requests;             /* on one connection */
	unsigned timeout;                  /* seconds: for a request to come, for a client to read */
	unsigned lifetime;                 /* seconds after which a connection takes no new request */
	const char *placement;             /* for isolation_sthread: auto, host or ring0 */
	bool verbose;                      /* a log line for every connection */
	bool demo_flaw;                    /* the planted flaw of flaw.h is there */
};

extern struct config config;

/* Seconds after which whatever still serves a connection is ended, for it may loop. */
static inline unsigned config_hard_limit(void)
{
	return config.lifetime + 2 * config.timeout;
}

/* Fills config, or says what is wrong and how to put it right, and exits with 2 (0 for --help). */
void options_parse(int argc, char **argv);

#endif
