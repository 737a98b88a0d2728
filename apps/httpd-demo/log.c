/* SPDX-License-Identifier: MIT */
/* The log. World: master. */
#include "log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINES_A_SECOND 10

static struct {
	pthread_mutex_t lock;
	time_t second;
	unsigned lines, left_out;
} flood = { .lock = PTHREAD_MUTEX_INITIALIZER };

void log_line(const char *fmt, ...)
{
	char text[16384];
	int head = snprintf(text, sizeof(text), "httpd-demo: ");
	size_t room = sizeof(text) - (size_t)head - 1; /* and the line end */
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text + head, room, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	if ((size_t)n >= room)
		n = (int)room - 1;
	n += head;
	while (n > head && text[n - 1] == '\n')
		n--;
	text[n++] = '\n';
	if (write(STDERR_FILENO, text, (size_t)n) < 0)
		return; /* nobody is left to be told */
}

static void tell_left_out(void)
{
	if (flood.left_out)
		log_line("%u lines like these left out", flood.left_out);
	flood.left_out = 0;
}

bool log_admits(void)
{
	struct timespec now;
	bool admits;

	clock_gettime(CLOCK_MONOTONIC, &now);
	pthread_mutex_lock(&flood.lock);
	if (now.tv_sec != flood.second) {
		flood.second = now.tv_sec;
		flood.lines = 0;
		tell_left_out();
	}
	admits = flood.lines < LINES_A_SECOND;
	if (admits)
		flood.lines++;
	else
		flood.left_out++;
	pthread_mutex_unlock(&flood.lock);
	return admits;
}

void log_rest(void)
{
	pthread_mutex_lock(&flood.lock);
	tell_left_out();
	pthread_mutex_unlock(&flood.lock);
}
