/* SPDX-License-Identifier: MIT */
/*
 * One connection from its first request to its last. World: inside the compartment.
 *
 * Every system call here may cost a trip out of the guest, so a request for a small file takes six:
 * read the request, open, stat and read the file, close it, send head and body in one piece. The
 * idle time-out is the socket's own (SO_RCVTIMEO), which saves a poll() per request; clocks are
 * read through the vDSO.
 */
#include "conn.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "date.h"
#include "file.h"
#include "flaw.h"
#include "isolation.h"
#include "mime.h"
#include "path.h"
#include "request.h"
#include "response.h"

#define HEAD_MAX   16384        /* bytes of a request's head, and of what is read at once */
#define CHUNK      (256 * 1024) /* bytes of a file sent at once */
#define LINGER_MAX 65536        /* bytes read from a client that was told to stop */

#define GO_ON CONN_ENDS /* the connection takes another request */

struct conn {
	int fd;
	unsigned requests;
	int64_t lifetime_end; /* as clock_ms() has it */
	int64_t hard_end;     /* nothing is sent any more */
	size_t have;          /* bytes in `in` */
	struct request req;
	char in[HEAD_MAX];
	char out[RESPONSE_HEAD_MAX + CHUNK]; /* only what is used of it is ever touched */
};

static time_t date_now(void)
{
	struct timespec ts;

	return clock_gettime(CLOCK_REALTIME, &ts) ? 0 : ts.tv_sec;
}

static int64_t clock_ms(void)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_MONOTONIC, &ts))
		return 0;
	return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

/* Waits for something to read until deadline (ms): 1, or 0 when it is past; negative: error. */
static int wait_readable(int fd, int64_t deadline)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int64_t left;
	int n;

	for (;;) {
		left = deadline - clock_ms();
		if (left <= 0)
			return 0;
		n = poll(&p, 1, (int)left);
		if (n >= 0)
			return n;
		if (errno != EINTR)
			return -errno;
	}
}

/* Like read(), into the free part of c->in, but -errno. */
static ssize_t conn_read(struct conn *c)
{
	ssize_t n;

	do
		n = read(c->fd, c->in + c->have, sizeof(c->in) - c->have);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/*
 * Sends all of it: GO_ON, or how the connection ended. SO_SNDTIMEO ends a send() that gets nowhere;
 * a client that takes a little at a time has until hard_end.
 */
static enum conn_end conn_send(struct conn *c, const char *data, size_t len)
{
	ssize_t n;

	while (len) {
		if (clock_ms() >= c->hard_end)
			return CONN_STALLED;
		n = send(c->fd, data, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? CONN_STALLED : CONN_BROKEN;
		data += n;
		len -= (size_t)n;
	}
	return GO_ON;
}

/*
 * Ends our side and waits for the client's. Closing with unread bytes would send a reset, which may
 * destroy the answer before the client has read it.
 */
static void conn_linger(struct conn *c)
{
	int64_t deadline = clock_ms() + 1000;
	size_t total = 0;
	ssize_t n;

	if (shutdown(c->fd, SHUT_WR))
		return;
	while (total < LINGER_MAX && wait_readable(c->fd, deadline) > 0) {
		c->have = 0;
		n = conn_read(c);
		if (n <= 0)
			return;
		total += (size_t)n;
	}
}

static enum conn_end answer_page(struct conn *c, struct response *r, int status, const char *why)
{
	r->status = status;
	return conn_send(c, c->out,
			 response_page(c->out, sizeof(c->out), r, why, c->req.is_head));
}

static enum conn_end answer_open_error(struct conn *c, struct response *r, int err)
{
	switch (err) {
	case ENOENT:
	case ENOTDIR:
	case ENAMETOOLONG:
		return answer_page(c, r, 404, "There is nothing at this address.");
	case EACCES:
	case EPERM:
	case EXDEV: /* leads out of the root */
	case ELOOP:
	case ENXIO: /* a socket, a device without driver */
		return answer_page(c, r, 403, "This address must not be read.");
	case EMFILE:
	case ENFILE:
	case ENOMEM:
		return answer_page(c, r, 503, "The server has too much to do. Try again later.");
	default:
		return answer_page(c, r, 500, "The server could not read the file.");
	}
}

static enum conn_end answer_directory(struct conn *c, struct response *r)
{
	char location[3 * REQUEST_TARGET_MAX];

	if (!path_encode_dir(location, sizeof(location), c->req.path))
		return answer_page(c, r, 404, "There is nothing at this address.");
	r->location = location;
	return answer_page(c, r, 301, "This is a directory; its address ends with a slash.");
}

/* The head is in c->out, `n` bytes; the body is `left` bytes of the file. */
static enum conn_end send_file(struct conn *c, int file, size_t n, uint64_t left)
{
	enum conn_end end;
	ssize_t got;

	do {
		size_t room = sizeof(c->out) - n;
		size_t want = left < room ? (size_t)left : room;

		do
			got = want ? read(file, c->out + n, want) : 0;
		while (got < 0 && errno == EINTR);
		if (got < 0 || (got == 0 && want)) {
			end = conn_send(c, c->out, n);
			return end == GO_ON ? CONN_TRUNCATED : end;
		}
		left -= (uint64_t)got;
		end = conn_send(c, c->out, n + (size_t)got);
		n = 0;
	} while (end == GO_ON && left);
	return end;
}

static enum conn_end answer_file(struct conn *c, struct response *r)
{
	char modified[DATE_SIZE];
	enum conn_end end;
	struct stat st;
	size_t n;
	int file;

	file = file_open(c->req.path, &st);
	if (file < 0)
		return answer_open_error(c, r, -file);
	if (S_ISDIR(st.st_mode)) {
		end = answer_directory(c, r);
	} else if (!S_ISREG(st.st_mode)) {
		end = answer_page(c, r, 403, "This is not a file.");
	} else {
		date_format(modified, st.st_mtime);
		r->modified = modified;
		/* Clients give back the date that we gave them; another date never matches. */
		if (!strcmp(modified, c->req.since)) {
			r->status = 304;
			end = conn_send(c, c->out, response_head(c->out, sizeof(c->out), r));
		} else {
			r->status = 200;
			r->type = mime_type(c->req.path);
			r->length = (uint64_t)st.st_size;
			n = response_head(c->out, sizeof(c->out), r);
			end = send_file(c, file, n, c->req.is_head ? 0 : r->length);
		}
	}
	if (end != GO_ON || r->keep_alive || !config.isolation->closes_all)
		close(file);
	return end;
}

/* Answers c->req, which is complete or bad. */
static enum conn_end conn_answer(struct conn *c)
{
	struct request *req = &c->req;
	struct response r = {
		.now = date_now(),
		.http_1_0 = req->http_1_0,
	};
	enum conn_end end;

	c->requests++;
	r.keep_alive = req->keep_alive && c->requests < config.max_requests &&
		       clock_ms() < c->lifetime_end;
	if (req->status) {
		end = answer_page(c, &r, req->status, req->why);
	} else if (config.demo_flaw && req->attack[0]) {
		char text[512];

		r.status = 200;
		flaw_trigger(req->attack, text, sizeof(text));
		end = conn_send(c, c->out,
				response_text(c->out, sizeof(c->out), &r, text, req->is_head));
	} else {
		end = answer_file(c, &r);
	}
	if (end == GO_ON && !r.keep_alive)
		end = req->state == REQUEST_BAD ? CONN_BAD_REQUEST : CONN_CLOSED;
	return end;
}

/*
 * Reads until c->req is complete or bad: GO_ON; or how the connection ended. c->have counts from
 * the beginning of the request, and afterwards what belongs to the next ones.
 */
static enum conn_end conn_receive(struct conn *c)
{
	struct request *req = &c->req;
	int64_t deadline = 0;
	size_t parsed = 0;
	ssize_t n;

	request_init(req);
	for (;;) {
		if (c->have > parsed)
			parsed += request_feed(req, c->in + parsed, c->have - parsed);
		if (req->state != REQUEST_MORE)
			break;
		if (req->head_done) /* of the body, nothing is kept */
			c->have = parsed = 0;
		if (c->have == sizeof(c->in)) {
			request_refuse(req, 431, "The head of the request is too large.");
			break;
		}
		if (req->begun || c->have) { /* from the first byte on, whatever it is */
			if (!deadline)
				deadline = clock_ms() + config.timeout * INT64_C(1000);
			n = wait_readable(c->fd, deadline);
			if (n == 0 && !req->begun) /* line ends are no request */
				return CONN_IDLE;
			if (n == 0) {
				request_refuse(req, 408, "The request did not come in time.");
				break;
			}
			if (n < 0)
				return CONN_BROKEN;
		}
		n = conn_read(c);
		if (n == -EAGAIN && !req->begun && !c->have)
			return CONN_IDLE;
		if (n == -EAGAIN) /* somebody else's wake-up */
			continue;
		if (n < 0)
			return CONN_BROKEN;
		if (n == 0 && !req->begun)
			return CONN_CLOSED;
		if (n == 0) {
			request_refuse(req, 400, "The request ended in the middle.");
			break;
		}
		c->have += (size_t)n;
	}
	c->have -= parsed;
	memmove(c->in, c->in + parsed, c->have);
	return GO_ON;
}

void *conn_serve(void *arg)
{
	struct conn c; /* not cleared: most of it is never touched */
	enum conn_end end;

	c.fd = (int)(intptr_t)arg;
	c.requests = 0;
	c.have = 0;
	c.lifetime_end = clock_ms() + config.lifetime * INT64_C(1000);
	c.hard_end = c.lifetime_end + (config_hard_limit() - config.lifetime) * INT64_C(1000);
	do {
		end = conn_receive(&c);
		if (end == GO_ON)
			end = conn_answer(&c);
	} while (end == GO_ON);
	if (end == CONN_BAD_REQUEST && c.req.status == 408)
		end = CONN_SLOW;
	if (end == CONN_BAD_REQUEST || end == CONN_SLOW || (end == CONN_CLOSED && c.have))
		conn_linger(&c);
	return (void *)(uintptr_t)end;
}

const char *conn_end_text(enum conn_end end)
{
	static const char *const text[CONN_ENDS] = {
		[CONN_CLOSED] = "closed",
		[CONN_IDLE] = "closed, no further request came in time",
		[CONN_SLOW] = "timed out, a request did not come whole in time",
		[CONN_STALLED] = "timed out, the client did not read its answer in time",
		[CONN_BAD_REQUEST] = "closed after a bad request",
		[CONN_BROKEN] = "broken off by the client or the network",
		[CONN_TRUNCATED] = "cut off, the file became shorter while it was sent",
	};

	return end < CONN_ENDS ? text[end] : "ended in a way that cannot be";
}
