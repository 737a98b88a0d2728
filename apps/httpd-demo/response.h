/* SPDX-License-Identifier: MIT */
/* What is sent back: heads and small pages. World: inside the compartment. */
#ifndef HTTPD_RESPONSE_H
#define HTTPD_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define RESPONSE_HEAD_MAX 16384 /* bytes that always hold a head, or a head and a small page */

struct response {
	int status;
	time_t now;
	const char *type;     /* NULL: there is no body */
	uint64_t length;      /* of the body */
	const char *modified; /* an HTTP date, or NULL */
	const char *location; /* path for a redirection, or NULL */
	bool keep_alive;
	bool http_1_0;        /* the client's version: says whether keep-alive must be told */
};

/* Writes the head into size >= RESPONSE_HEAD_MAX bytes. Gives its length. */
size_t response_head(char *buf, size_t size, const struct response *r);

/*
 * Writes a head and a small HTML page with the status and `why` (HTML, ours: never the client's
 * bytes), without the page for HEAD. r's type and length are set by it.
 */
size_t response_page(char *buf, size_t size, struct response *r, const char *why, bool is_head);

/* The same for plain text; how the planted flaw answers. */
size_t response_text(char *buf, size_t size, struct response *r, const char *text, bool is_head);

#endif
