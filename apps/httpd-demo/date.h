/* SPDX-License-Identifier: MIT */
/* World: inside the compartment. */
#ifndef HTTPD_DATE_H
#define HTTPD_DATE_H

#include <time.h>

#define DATE_SIZE 30 /* "Sun, 06 Nov 1994 08:49:37 GMT" and the NUL */

/* A date as HTTP writes it. Times before year 1 and after 9999 give the nearest one. */
void date_format(char text[DATE_SIZE], time_t when);

#endif
