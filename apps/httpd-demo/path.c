/* SPDX-License-Identifier: MIT */
/*
 * Percent-decoding and dot segments. World: inside the compartment.
 *
 * This is about answering rightly, not about security: that nothing above the root can be opened
 * is the business of the directory descriptor (file.c).
 */
#include "path.h"

#include <stdbool.h>
#include <string.h>

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* One character of a path: what it means, how many bytes it took. */
struct path_char {
	unsigned char c;
	bool escaped;
	size_t len; /* 0: malformed */
};

static struct path_char path_next(const char *path, size_t len)
{
	struct path_char bad = { 0 };
	int high, low;

	if (path[0] != '%')
		return (struct path_char){ (unsigned char)path[0], false, 1 };
	if (len < 3)
		return bad;
	high = hex_digit(path[1]);
	low = hex_digit(path[2]);
	if (high < 0 || low < 0)
		return bad;
	return (struct path_char){ (unsigned char)(high << 4 | low), true, 3 };
}

/*
 * Ends the component that began at `start`: "." and ".." are carried out, and it is followed by a
 * slash if it is there. Gives the new length, or -1 above the root.
 */
static long end_component(char *name, size_t start, size_t end)
{
	size_t len = end - start;

	if (len == 0 || (len == 1 && name[start] == '.'))
		return (long)start;
	if (len == 2 && name[start] == '.' && name[start + 1] == '.') {
		if (start == 0)
			return -1;
		for (start--; start > 0 && name[start - 1] != '/'; start--)
			;
		return (long)start;
	}
	name[end] = '/';
	return (long)end + 1;
}

int path_decode(char *name, size_t size, const char *path, size_t len)
{
	static const char index_name[] = "index.html";
	size_t start = 0, n = 0;
	struct path_char p;
	long end;

	if (len == 0 || path[0] != '/')
		return 400;
	path++;
	len--;
	for (; len; path += p.len, len -= p.len) {
		p = path_next(path, len);
		if (!p.len || p.c < 0x20 || p.c == 0x7f)
			return 400;
		if (p.c == '/' && p.escaped)
			return 404;
		if (n + 2 > size) /* this character, and the slash or NUL after it */
			return 404;
		if (p.c != '/') {
			name[n++] = (char)p.c;
			continue;
		}
		end = end_component(name, start, n);
		if (end < 0)
			return 400;
		start = n = (size_t)end;
	}
	if (n != start) { /* no slash after it: a file, unless it is a dot segment */
		bool dots = name[start] == '.' &&
			    (n - start == 1 || (n - start == 2 && name[start + 1] == '.'));

		if (!dots) {
			name[n] = '\0';
			return 0;
		}
		end = end_component(name, start, n);
		if (end < 0)
			return 400;
		n = (size_t)end;
	}
	if (n + sizeof(index_name) > size)
		return 404;
	memcpy(name + n, index_name, sizeof(index_name));
	return 0;
}

size_t path_encode_dir(char *path, size_t size, const char *name)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t n = 0;

	if (size < 3)
		return 0;
	path[n++] = '/';
	for (; *name; name++) {
		unsigned char c = (unsigned char)*name;

		if (n + 5 > size) /* an escape, the slash, the NUL */
			return 0;
		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		    strchr("-._~/!$&'()*+,;=:@", c)) {
			path[n++] = (char)c;
		} else {
			path[n++] = '%';
			path[n++] = hex[c >> 4];
			path[n++] = hex[c & 15];
		}
	}
	path[n++] = '/';
	path[n] = '\0';
	return n;
}
