/* SPDX-License-Identifier: MIT */
/* The planted flaw. World: inside the compartment. */
#include "flaw.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Functions of their own, so that a backtrace names them. */
static __attribute__((noinline)) size_t flaw_read(uintptr_t address, char *buf, size_t size)
{
	const volatile char *from = (const volatile char *)address;
	size_t n;

	for (n = 0; n < 64 && n + 1 < size; n++) {
		char c = from[n];

		if (!c)
			break;
		buf[n] = (char)(c >= ' ' && c <= '~' ? c : '.');
	}
	buf[n] = '\0';
	return n;
}

static __attribute__((noinline)) void flaw_write(uintptr_t address)
{
	static const char text[16] = "OVERWRITTEN!!!!";
	volatile char *to = (volatile char *)address;

	for (size_t i = 0; i < sizeof(text); i++)
		to[i] = text[i];
}

static __attribute__((noinline, noreturn)) void flaw_loop(void)
{
	for (;;)
		__asm__ volatile("" ::: "memory");
}

static void flaw_open(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

	if (n < 0) {
		snprintf(buf, size, "cannot open %s: %s\n", path, strerror(errno));
	} else {
		buf[n] = '\0';
	}
	if (fd >= 0)
		close(fd);
}

const char *flaw_trigger(const char *attack, char *buf, size_t size)
{
	if (!strncmp(attack, "read=", 5)) {
		if (!flaw_read(strtoull(attack + 5, NULL, 16), buf, size))
			snprintf(buf, size, "(nothing but zeros there)");
	} else if (!strncmp(attack, "write=", 6)) {
		flaw_write(strtoull(attack + 6, NULL, 16));
		snprintf(buf, size, "written");
	} else if (!strncmp(attack, "open=", 5)) {
		flaw_open(attack + 5, buf, size);
	} else if (!strcmp(attack, "loop")) {
		flaw_loop();
	} else {
		snprintf(buf, size, "X-Demo-Attack: read=0xADDRESS, write=0xADDRESS, open=PATH or loop");
	}
	return buf;
}
