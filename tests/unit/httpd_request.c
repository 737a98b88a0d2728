/* SPDX-License-Identifier: MIT */
/*
 * Requests of httpd-demo, however their bytes are cut up. World: host.
 *
 * Each stream lies in memory of exactly its size, so that a sanitizer sees any step beyond it.
 */
#include "apps/httpd-demo/request.h"
#include "tests/test.h"

/* What came of a stream: one line a request. */
struct outcome {
	char text[2048];
	size_t len;
};

static void describe(struct outcome *o, const struct request *req)
{
	o->len += (size_t)snprintf(o->text + o->len, sizeof(o->text) - o->len, "%s %d %s %s %s|",
				   req->state == REQUEST_BAD ? "bad" : "complete", req->status,
				   req->status ? "" : req->path, req->is_head ? "HEAD" : "",
				   req->keep_alive ? "keep" : "close");
	CHECK_LT(o->len, sizeof(o->text));
}

/* Feeds the stream as a connection does that reads up to cut[0], up to cut[1], and to the end. */
static void feed(struct outcome *o, char *stream, size_t len, const size_t cut[2])
{
	static struct request req;
	size_t have = 0, parsed = 0;
	int step = 0;

	o->len = 0;
	o->text[0] = '\0';
	request_init(&req);
	for (;;) {
		if (have > parsed)
			parsed += request_feed(&req, stream + parsed, have - parsed);
		CHECK_LE(parsed, have);
		if (req.state == REQUEST_MORE) {
			CHECK_EQ(parsed, have);
			if (have == len)
				break;
			do
				have = step < 2 ? cut[step] : len;
			while (++step < 3 && have <= parsed);
			continue;
		}
		describe(o, &req);
		if (req.state == REQUEST_BAD || !req.keep_alive)
			break;
		request_init(&req);
	}
	o->len += (size_t)snprintf(o->text + o->len, sizeof(o->text) - o->len, "%s",
				   req.state == REQUEST_MORE && req.begun ? "part" : "end");
}

static void check(const char *text, size_t len, const char *want)
{
	char *stream = malloc(len);
	struct outcome o;

	CHECK(stream);
	memcpy(stream, text, len);
	for (size_t i = 0; i <= len; i++)
		for (size_t j = i; j <= len; j += len > 200 ? 37 : 1) {
			feed(&o, stream, len, (size_t[2]){ i, j });
			CHECK_MSG(!strcmp(o.text, want), "cut at %zu and %zu: %s, not %s", i, j,
				  o.text, want);
		}
	free(stream);
}

static void streams(void)
{
	static const struct {
		const char *text, *want;
	} t[] = {
		{ "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "complete 0 index.html  keep|end" },
		{ "GET / HTTP/1.0\r\n\r\n", "complete 0 index.html  close|end" },
		{ "HEAD /a%20b?c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		  "complete 0 a b HEAD close|end" },
		{ "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\nGET /3",
		  "complete 0 1  keep|complete 0 2  keep|part" },
		{ "POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nGET /2"
		  "GET /3 HTTP/1.1\r\nHost: x\r\n\r\n\r\n",
		  "complete 405   keep|complete 0 3  keep|end" },
		{ "GET /1 HTTP/1.1\r\nhOST:x\r\nX:\r\nY: \r\nZ: 1\r\n\r\n",
		  "complete 0 1  keep|end" },
		{ "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
		  "bad 400   close|end" },
		{ "GET / HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\nabcde",
		  "bad 400   close|end" },
		{ "GET / HTTP/1.1\r\nHost: x\r\nX Y: 5\r\n\r\n", "bad 400   close|end" },
		{ "GET / HTTP/1.1\r\n X: 5\r\nHost: x\r\n\r\n", "bad 400   close|end" },
		{ "GET / HTTP/1.1\r\nHost: x\r\nZ: 1\r\n 2\r\n\r\n", "bad 400   close|end" },
		{ "GET / HTTP/1.1\r\nHost: x\r\nZ:\r\n\t2\r\n\r\n", "bad 400   close|end" },
		{ "GET / HTTP/1.1\r\nHost: x\r\nZ:\rY: 2\r\n\r\n", "bad 400   close|end" },
		{ "GET / HTTP/1.1\r\nHost: x\r\n\rXGET /2 HTTP/1.1\r\nHost: x\r\n\r\n",
		  "bad 400   close|end" },
		{ "GET / HTTP/1.1\r\nHost: x\r\n: 2\r\n\r\n", "bad 400   close|end" },
		{ "GET / HTTX/1.1\r\nHost: x\r\n\r\n", "bad 400   close|end" },
		{ "GET / HTTP/1.2\r\nHost: x\r\n\r\n", "bad 505   close|end" },
		{ "GET /  HTTP/1.1\r\nHost: x\r\n\r\n", "bad 400   close|end" },
		{ "GET  / HTTP/1.1\r\nHost: x\r\n\r\n", "bad 400   close|end" },
		{ "GET / ICE/1.1\r\nHost: x\r\n\r\n", "bad 400   close|end" },
		{ "\r\nHEAD /1 HTTP/1.1\r\n\r\n", "bad 400  HEAD close|end" },
		{ "HEAD 1 HTTP/1.1\r\nHost: x\r\n\r\n", "bad 400  HEAD close|end" },
		{ "HEAD /1 HTTP/1.1\nHost: x\nA!#$%&'*+-.^_`|~9:\t\n\n",
		  "complete 0 1 HEAD keep|end" },
		{ "GET /1 HTTP/1.1\r\nX:\r\n\r\n", "bad 400   close|end" },
		{ "GET /1 HTTP/1.1\r\nHost: x\r\nHost:\r\n\r\n", "bad 400   close|end" },
		{ "GET /1 HTTP/1.1\r\nHost: x\r\nHosts: y\r\nHos: z\r\n\r\n",
		  "complete 0 1  keep|end" },
		{ "GET /.. HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n",
		  "complete 400   keep|complete 0 2  keep|end" },
		{ "GET / HTTP/3.7\r\nHost: x\r\n\r\n", "bad 505   close|end" },
		{ "POST / HTTP/1.1\r\nHost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
		  "bad 501   close|end" },
		{ "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n",
		  "bad 413   close|end" },
		{ "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
		  "GET /2 HTTP/1.1\r\nHost: x\r\n\r\n",
		  "complete 0 index.html  keep|complete 0 2  keep|end" },
		{ "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\nraw", "bad 405   close|end" },
		{ "\r\n\r\n\r\n", "end" },
		{ "\1", "bad 400   close|end" },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		check(t[i].text, strlen(t[i].text), t[i].want);
	check("GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n", 31, "bad 400   close|end");
}

/* What the fields say is kept, if it is of a size that can mean something. */
static void fields(void)
{
	static struct request req;
	char text[512];
	int len;

	len = snprintf(text, sizeof(text),
		       "GET / HTTP/1.1\r\nHost: x\r\nIf-Modified-Since:  Sun, 06 Nov 1994 08:49:37 GMT "
		       "\t\r\nX-Demo-Attack: read=0x1\r\n\r\n");
	request_init(&req);
	CHECK_EQ(request_feed(&req, text, (size_t)len), len);
	CHECK_STR(req.since, "Sun, 06 Nov 1994 08:49:37 GMT");
	CHECK_STR(req.attack, "read=0x1");
	len = snprintf(text, sizeof(text),
		       "GET / HTTP/1.1\r\nHost: x\r\nIf-Modified-Since: %0*d\r\nX-Demo-Attack: "
		       "%0*d\r\n\r\n",
		       (int)sizeof(req.since), 1, (int)sizeof(req.attack), 1);
	request_init(&req);
	CHECK_EQ(request_feed(&req, text, (size_t)len), len);
	CHECK_STR(req.since, "");
	CHECK_STR(req.attack, "");
}

/* Requests with bytes changed at random: whatever comes of it, it comes of it at once. */
static void noise(void)
{
	static const char base[] = "GET /a/b?c HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
				   "HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
	size_t len = sizeof(base) - 1;
	char *stream = malloc(len);
	struct outcome whole, cut;
	unsigned x = 7;

	CHECK(stream);
	for (int i = 0; i < 20000; i++) {
		size_t at;

		memcpy(stream, base, len);
		for (int j = 0; j <= i % 4; j++) {
			x = x * 1103515245 + 12345;
			stream[(x >> 8) % len] = (char)(x >> 20);
		}
		x = x * 1103515245 + 12345;
		at = (x >> 8) % len;
		feed(&whole, stream, len, (size_t[2]){ len, len });
		feed(&cut, stream, len, (size_t[2]){ at, at + 1 });
		CHECK_STR(whole.text, cut.text);
	}
	free(stream);
}

int main(void)
{
	streams();
	fields();
	noise();
	return TEST_PASSED;
}
