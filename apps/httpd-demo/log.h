/* SPDX-License-Identifier: MIT */
/* The log: lines on descriptor 2. World: master. */
#ifndef HTTPD_LOG_H
#define HTTPD_LOG_H

#include <stdbool.h>

/*
 * For lines that clients can cause as often as they like: whether one more may go out now. If not
 * it counts as left out, which the log is told with the next one that goes out, or by log_rest().
 */
bool log_admits(void);
void log_rest(void);

/* One line, or several that stay together; any thread. What does not fit (16 KiB) is cut off. */
__attribute__((format(printf, 1, 2))) void log_line(const char *fmt, ...);

#endif
