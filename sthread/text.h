/* SPDX-License-Identifier: MIT */
/*
 * text.h - a text for people that counts what does not fit, as snprintf() does.  World: host.
 *
 * Included by the files that write one: the names are short because they are theirs.
 */
#ifndef STHREAD_TEXT_H
#define STHREAD_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct text {
	char *buf;
	size_t len;
	size_t pos; /* of the whole text, also beyond len */
	bool bare;  /* for a compartment: without the names of the host's files */
};

static inline void add_char(struct text *t, char c)
{
	if (t->pos + 1 < t->len)
		t->buf[t->pos] = c;
	t->pos++;
}

/* Of numbers and of our own words: at most 255 characters a call. */
__attribute__((format(printf, 2, 3))) static inline void add(struct text *t, const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	for (const char *c = line; *c; c++)
		add_char(t, *c);
}

static inline void add_escaped_char(struct text *t, unsigned char c)
{
	if (c == '\n')
		add(t, "\\n");
	else if (c == '\t')
		add(t, "\\t");
	else if (c == '\\' || c == '"')
		add(t, "\\%c", c);
	else if (c >= 0x20 && c < 0x7f)
		add_char(t, (char)c);
	else
		add(t, "\\x%02x", c);
}

/* Somebody else's words, at most n bytes of them. */
static inline void add_escaped(struct text *t, const char *s, size_t n)
{
	for (size_t i = 0; i < n && s[i]; i++)
		add_escaped_char(t, (unsigned char)s[i]);
}

/* All n bytes: a NUL is one of them. */
static inline void add_escaped_bytes(struct text *t, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		add_escaped_char(t, (unsigned char)s[i]);
}

/* The NUL, where there is room for it; only before that is the text one. */
static inline void add_end(struct text *t)
{
	if (t->len)
		t->buf[t->pos < t->len ? t->pos : t->len - 1] = '\0';
}

#endif
