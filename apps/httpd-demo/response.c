/* SPDX-License-Identifier: MIT */
/* Heads and small pages. World: inside the compartment. */
#include "response.h"

#include <assert.h>
#include <http_parser.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "date.h"

/* Text put together in a buffer that is large enough. */
struct text {
	char *buf;
	size_t len, size;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->buf + t->len, t->size - t->len, fmt, ap);
	va_end(ap);
	assert(n >= 0 && (size_t)n < t->size - t->len);
	t->len += (size_t)n;
}

static const char *reason(int status)
{
	return http_status_str((enum http_status)status);
}

size_t response_head(char *buf, size_t size, const struct response *r)
{
	struct text t = { .buf = buf, .size = size };
	char date[DATE_SIZE];

	assert(size >= RESPONSE_HEAD_MAX);
	date_format(date, r->now);
	add(&t, "HTTP/1.1 %d %s\r\nServer: httpd-demo\r\nDate: %s\r\n", r->status,
	    reason(r->status), date);
	if (r->type)
		add(&t,
		    "Content-Type: %s\r\nContent-Length: %" PRIu64
		    "\r\nX-Content-Type-Options: nosniff\r\n",
		    r->type, r->length);
	if (r->modified)
		add(&t, "Last-Modified: %s\r\n", r->modified);
	if (r->location)
		add(&t, "Location: %s\r\n", r->location);
	if (r->status == 405)
		add(&t, "Allow: GET, HEAD\r\n");
	if (!r->keep_alive)
		add(&t, "Connection: close\r\n");
	else if (r->http_1_0)
		add(&t, "Connection: keep-alive\r\n");
	add(&t, "\r\n");
	return t.len;
}

static size_t with_body(char *buf, size_t size, struct response *r, const char *body, bool is_head)
{
	size_t len = strlen(body), n;

	r->length = len;
	n = response_head(buf, size, r);
	assert(len <= size - n);
	if (is_head)
		return n;
	memcpy(buf + n, body, len);
	return n + len;
}

size_t response_page(char *buf, size_t size, struct response *r, const char *why, bool is_head)
{
	char page[1024];
	struct text t = { .buf = page, .size = sizeof(page) };

	add(&t,
	    "<!DOCTYPE html>\n"
	    "<html lang=\"en\"><head><meta charset=\"utf-8\"><title>%d %s</title></head>\n"
	    "<body style=\"font-family: sans-serif; max-width: 40em; margin: 4em auto\">\n"
	    "<h1>%d %s</h1>\n<p>%s</p>\n</body></html>\n",
	    r->status, reason(r->status), r->status, reason(r->status), why);
	r->type = "text/html; charset=utf-8";
	return with_body(buf, size, r, page, is_head);
}

size_t response_text(char *buf, size_t size, struct response *r, const char *text, bool is_head)
{
	r->type = "text/plain; charset=utf-8";
	return with_body(buf, size, r, text, is_head);
}
