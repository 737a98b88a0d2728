/* SPDX-License-Identifier: MIT */
/* Listening, accepting, and the threads that have connections served. World: master. */
#ifndef HTTPD_LISTENER_H
#define HTTPD_LISTENER_H

#include <stddef.h>

/*
 * Listens on ADDRESS:PORT ([ADDRESS]:PORT for IPv6; port 0: any). 0; or a negative errno and `why`,
 * for the user. Before isolation begins.
 */
int listener_open(const char *address, char *why, size_t len);

/* The address that is listened on, as ADDRESS:PORT. */
void listener_address(char *text, size_t len);

/* Starts config.max_connections threads that accept and have served. 0 or a negative errno. */
int listener_start(void);

/*
 * Takes no more connections, lets the present ones finish what they are at, up to `seconds`.
 * Gives how many are still served then.
 */
unsigned listener_stop(unsigned seconds);

/* Breaks off every connection, waits up to `seconds`, and gives how many are still there. */
unsigned listener_break_off(unsigned seconds);

#endif
