/* SPDX-License-Identifier: MIT */
/* What http_parser calls back, and what requests are judged by. World: inside the compartment. */
#include "request.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "path.h"

/* For callbacks: stops the parser. */
#define STOP (-1)

void request_refuse(struct request *req, int status, const char *why)
{
	req->state = REQUEST_BAD;
	req->status = status;
	req->why = why;
	req->keep_alive = false;
}

/* An error that leaves the stream readable: the connection may go on. The first one counts. */
static void reject(struct request *req, int status, const char *why)
{
	if (req->status)
		return;
	req->status = status;
	req->why = why;
}

static int refuse(struct request *req, int status, const char *why)
{
	request_refuse(req, status, why);
	return STOP;
}

static void copy_value(char *to, size_t size, const char *value, size_t len)
{
	if (len >= size)
		len = 0; /* none that we could use is that long */
	memcpy(to, value, len);
	to[len] = '\0';
}

static bool is_field(const struct request *req, const char *name)
{
	return req->field_len == strlen(name) && !strncasecmp(req->field, name, req->field_len);
}

/* A header field has come whole: the next one begins, or the head ends. */
static void take_header(struct request *req)
{
	size_t len = req->value_len;

	if (!req->field)
		return;
	while (len && (req->value[len - 1] == ' ' || req->value[len - 1] == '\t'))
		len--;
	if (is_field(req, "Host"))
		req->hosts++;
	else if (is_field(req, "Transfer-Encoding"))
		req->transfer_encoding = true;
	else if (is_field(req, "Expect"))
		req->expects = true;
	else if (is_field(req, "If-Modified-Since"))
		copy_value(req->since, sizeof(req->since), req->value, len);
	else if (is_field(req, "X-Demo-Attack"))
		copy_value(req->attack, sizeof(req->attack), req->value, len);
	req->in_value = false;
}

/* Strings come in pieces where reads cut them; the pieces lie side by side. */
static int on_url(http_parser *parser, const char *at, size_t len)
{
	struct request *req = parser->data;

	if (!req->target)
		req->target = at;
	req->target_len = (size_t)(at + len - req->target);
	if (req->target_len > REQUEST_TARGET_MAX)
		return refuse(req, 414, "The address of the request is too long.");
	return 0;
}

static int on_header_field(http_parser *parser, const char *at, size_t len)
{
	struct request *req = parser->data;

	if (req->in_value || !req->field) {
		take_header(req);
		req->field = at;
		if (++req->headers > REQUEST_HEADERS_MAX)
			return refuse(req, 431, "The request has too many header fields.");
	}
	req->field_len = (size_t)(at + len - req->field);
	return 0;
}

static int on_header_value(http_parser *parser, const char *at, size_t len)
{
	struct request *req = parser->data;

	if (!req->in_value)
		req->value = at;
	req->in_value = true;
	req->value_len = (size_t)(at + len - req->value);
	return 0;
}

/* The request target into req->path; the query is ignored. */
static void take_target(struct request *req)
{
	struct http_parser_url url;
	const char *path = "/";
	size_t len = 1;
	int status;

	http_parser_url_init(&url);
	if (http_parser_parse_url(req->target, req->target_len, false, &url)) {
		reject(req, 400, "The address of the request is malformed.");
		return;
	}
	if (url.field_set & (1 << UF_PATH)) {
		path = req->target + url.field_data[UF_PATH].off;
		len = url.field_data[UF_PATH].len;
	}
	status = path_decode(req->path, sizeof(req->path), path, len);
	if (status == 400)
		reject(req, 400, "The path of the request is malformed, or leads out of the site.");
	else if (status)
		reject(req, status, "There is nothing at this address.");
}

/* What RFC 9110 has names of fields consist of. */
static bool is_token_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_request_line(const char *line, size_t len)
{
	static const char versions[2][9] = { " HTTP/1.1", " HTTP/1.0" };
	const char *version = line + len - sizeof(versions[0]);
	unsigned spaces = 0;

	if (len < sizeof(versions[0]))
		return false;
	if (memcmp(version, versions[0], sizeof(versions[0])) &&
	    memcmp(version, versions[1], sizeof(versions[1])))
		return false;
	for (size_t i = 0; i < len; i++) {
		spaces += line[i] == ' ';
		if (line[i] == '\t')
			return false;
	}
	return spaces == 2;
}

/* Not one that continues the line before it, either. */
static bool is_field_line(const char *line, size_t len)
{
	size_t n = 0;

	while (n < len && is_token_char(line[n]))
		n++;
	return n && n < len && line[n] == ':';
}

static bool has_control(const char *line, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (((unsigned char)line[i] < 0x20 && line[i] != '\t') || line[i] == 0x7f)
			return true;
	return false;
}

/*
 * The head, byte by byte, is as HTTP has it. http_parser may have been built to let pass what a
 * server in front of us reads in another way (a space before a colon, a CR alone, HTTX/1.1), which
 * makes two requests of one, or one of two.
 */
static bool head_is_strict(const struct request *req)
{
	const char *line = req->start, *end;
	size_t len;

	for (;; line = end + 1) {
		end = memchr(line, '\n', (size_t)(req->end - line));
		if (!end)
			return false;
		len = (size_t)(end - line);
		if (len && line[len - 1] == '\r')
			len--;
		if (has_control(line, len))
			return false;
		if (line == req->start ? !is_request_line(line, len) :
					 len && !is_field_line(line, len))
			return false;
		if (!len)
			return true;
	}
}

static int on_headers_complete(http_parser *parser)
{
	struct request *req = parser->data;

	take_header(req);
	if (parser->http_major != 1 || parser->http_minor > 1)
		return refuse(req, 505, "This server speaks HTTP/1.0 and HTTP/1.1.");
	if (!head_is_strict(req))
		return refuse(req, 400, "The head of the request is malformed.");
	req->http_1_0 = parser->http_minor == 0;
	if (req->hosts != 1 && !(req->http_1_0 && req->hosts == 0))
		return refuse(req, 400, "The request needs exactly one Host field.");
	if (req->transfer_encoding || (parser->flags & F_CHUNKED))
		return refuse(req, 501, "This server takes no body in a transfer encoding.");
	if (parser->content_length != UINT64_MAX && parser->content_length > REQUEST_BODY_MAX)
		return refuse(req, 413, "The body of the request is too large.");

	req->keep_alive = http_should_keep_alive(parser);
	if (parser->method != HTTP_GET && parser->method != HTTP_HEAD)
		reject(req, 405, "This server answers GET and HEAD.");
	else
		take_target(req);
	if (req->expects) /* the body may come or not: we cannot tell what follows */
		return refuse(req, req->status ? req->status : 417,
			      req->why ? req->why : "This server meets no expectations.");
	if (parser->method == HTTP_CONNECT)
		return refuse(req, req->status, req->why);
	parser->upgrade = 0; /* an offer, which we do not take up */
	req->head_done = true;
	return 0;
}

static int on_message_complete(http_parser *parser)
{
	struct request *req = parser->data;

	req->state = REQUEST_COMPLETE;
	http_parser_pause(parser, 1);
	return 0;
}

static const http_parser_settings settings = {
	.on_url = on_url,
	.on_header_field = on_header_field,
	.on_header_value = on_header_value,
	.on_headers_complete = on_headers_complete,
	.on_message_complete = on_message_complete,
};

void request_init(struct request *req)
{
	http_parser_init(&req->parser, HTTP_REQUEST);
	req->parser.data = req;
	req->state = REQUEST_MORE;
	req->begun = false;
	req->head_done = false;
	req->status = 0;
	req->why = NULL;
	req->is_head = false;
	req->keep_alive = false;
	req->http_1_0 = false;
	req->since[0] = '\0';
	req->attack[0] = '\0';
	req->path[0] = '\0';
	req->start = req->end = NULL;
	req->target = req->field = req->value = NULL;
	req->target_len = req->field_len = req->value_len = 0;
	req->headers = req->hosts = 0;
	req->in_value = false;
	req->transfer_encoding = false;
	req->expects = false;
}

/* Where the head begins, how far it has come, and the one method that every answer depends on. */
static void see_head(struct request *req, const char *data, size_t len)
{
	static const char head[5] = "HEAD ";

	req->end = data + len;
	if (!req->begun) {
		while (len && (*data == '\r' || *data == '\n')) {
			data++;
			len--;
		}
		req->start = data;
		req->begun = len;
	}
	req->is_head = (size_t)(req->end - req->start) >= sizeof(head) &&
		       !memcmp(req->start, head, sizeof(head));
}

size_t request_feed(struct request *req, const char *data, size_t len)
{
	size_t taken;

	if (!req->head_done)
		see_head(req, data, len);
	taken = http_parser_execute(&req->parser, &settings, data, len);
	if (req->state != REQUEST_MORE)
		return taken;
	switch (HTTP_PARSER_ERRNO(&req->parser)) {
	case HPE_OK:
		break;
	case HPE_HEADER_OVERFLOW:
		request_refuse(req, 431, "The head of the request is too large.");
		break;
	case HPE_INVALID_TRANSFER_ENCODING:
	case HPE_UNEXPECTED_CONTENT_LENGTH:
		request_refuse(req, 400, "The request says in two ways how long its body is.");
		break;
	case HPE_INVALID_METHOD:
		request_refuse(req, 400, "This server does not know the method.");
		break;
	default:
		request_refuse(req, 400, "This is not an HTTP request.");
	}
	return taken;
}
