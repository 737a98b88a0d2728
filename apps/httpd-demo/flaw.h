/* SPDX-License-Identifier: MIT */
/*
 * A planted flaw, for teaching: with --demo-flaw, a request can make its server do what a hijacked
 * parser would. World: inside the compartment.
 */
#ifndef HTTPD_FLAW_H
#define HTTPD_FLAW_H

#include <stddef.h>

/*
 * Does what a request's X-Demo-Attack field says:
 *   read=0xADDRESS    the text there (64 bytes at most) becomes the answer
 *   write=0xADDRESS   overwrites 16 bytes there
 *   open=PATH         opens a file of the machine; the answer says what came of it
 *   loop              never ends
 * Gives the text of the answer, in buf.
 */
const char *flaw_trigger(const char *attack, char *buf, size_t size);

#endif
