/* SPDX-License-Identifier: MIT */
/*
 * One request: what http_parser makes of the bytes, and what we make of that.
 * World: inside the compartment.
 */
#ifndef HTTPD_REQUEST_H
#define HTTPD_REQUEST_H

#include <http_parser.h>
#include <stdbool.h>
#include <stddef.h>

#define REQUEST_TARGET_MAX  4096 /* bytes of the request target; more is 414 */
#define REQUEST_HEADERS_MAX 100  /* header fields; more is 431 */
#define REQUEST_BODY_MAX    65536 /* bytes of a body that is read and thrown away; more is 413 */

enum request_state {
	REQUEST_MORE,     /* feed it */
	REQUEST_COMPLETE, /* answer it: `status`, or the file `path` */
	REQUEST_BAD,      /* answer it with `status` and close: what follows cannot be understood */
};

struct request {
	/* What to do. */
	enum request_state state;
	bool begun;        /* at least one byte of it has come (line ends before it do not count) */
	bool head_done;    /* the head is parsed: nothing points into the caller's bytes any more */
	int status;        /* an error to answer with, or 0 */
	const char *why;   /* a sentence for that error */
	bool is_head;      /* HEAD; known as soon as the method has come */
	bool keep_alive;   /* the client wants another request after this one */
	bool http_1_0;
	char since[32];    /* If-Modified-Since, or "" */
	char attack[80];   /* X-Demo-Attack, or ""; see flaw.h */
	char path[REQUEST_TARGET_MAX + 16]; /* see path_decode() */

	/* While it is parsed. */
	http_parser parser;
	const char *start, *end;            /* of what has come of the head: the caller's bytes */
	const char *target, *field, *value; /* in between */
	size_t target_len, field_len, value_len;
	unsigned headers, hosts;
	bool in_value, transfer_encoding, expects;
};

/* A new request. Costs nothing: only what is needed is cleared. */
void request_init(struct request *req);

/*
 * The next bytes of the stream; until head_done each call's bytes must directly follow the last
 * one's in memory, and stay. Gives how many it took: all of them while state is REQUEST_MORE; after
 * REQUEST_COMPLETE the rest belongs to the next request.
 */
size_t request_feed(struct request *req, const char *data, size_t len);

/* Makes it an error that ends the connection. */
void request_refuse(struct request *req, int status, const char *why);

#endif
