/* SPDX-License-Identifier: MIT */
/* A secret of the master's, for --demo-flaw to go after. World: master. */
#ifndef HTTPD_SECRET_H
#define HTTPD_SECRET_H

/*
 * After isolation began: loads the secret to two places and prints them, as
 * "demo-secret mapped=0xADDRESS variable=0xADDRESS text=TEXT": memory that the program got since
 * the checkpoint, and a variable that it had before. 0 or a negative errno.
 */
int secret_load(void);

/* Prints "demo-secret intact" or "demo-secret overwritten". */
void secret_report(void);

#endif
