/* SPDX-License-Identifier: MIT */
/* What each request is answered with. World: host. */
#include "tests/httpd/httpd.h"

#include <sys/socket.h>

#include "tests/test.h"

static struct client c; /* large */

static void contents(const struct server *s)
{
	static const struct {
		const char *target, *type, *body;
	} t[] = {
		{ "/", "text/html; charset=utf-8", "<h1>index</h1>" },
		{ "/index.html", "text/html; charset=utf-8", "<h1>index</h1>" },
		{ "/a.txt", "text/plain; charset=utf-8", "hello\n" },
		{ "/a.txt?query=1&x=/../", "text/plain; charset=utf-8", "hello\n" },
		{ "/empty.txt", "text/plain; charset=utf-8", "" },
		{ "/style.css", "text/css; charset=utf-8", "b{}" },
		{ "/pic.svg", "image/svg+xml", "<svg/>" },
		{ "/noext", "application/octet-stream", "x" },
		{ "/sub/", "text/html; charset=utf-8", "sub index" },
		{ "/sub/b.txt", "text/plain; charset=utf-8", "sub b" },
		{ "/sub/../a.txt", "text/plain; charset=utf-8", "hello\n" },
		{ "//sub//./b.txt", "text/plain; charset=utf-8", "sub b" },
		{ "/sub/..", "text/html; charset=utf-8", "<h1>index</h1>" },
		{ "/%61.tx%74", "text/plain; charset=utf-8", "hello\n" },
		{ "/%C3%a4%20b+c.txt", "text/plain; charset=utf-8", "umlaut" },
		{ "/back\\slash.txt", "text/plain; charset=utf-8", "backslash" },
		{ "/back%5cslash.txt", "text/plain; charset=utf-8", "backslash" },
		{ "/inside-link", "application/octet-stream", "hello\n" },
		{ "http://somewhere.example/a.txt", "text/plain; charset=utf-8", "hello\n" },
		{ "http://somewhere.example", "text/html; charset=utf-8", "<h1>index</h1>" },
	};

	NOTE("files, over one connection each, and all over one");
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		CHECK_MSG(client_get(&c, s, t[i].target) == 200, "GET %s: %d", t[i].target, c.status);
		CHECK_STR(c.body, t[i].body);
		CHECK_STR(client_field(&c, "Content-Type"), t[i].type);
		CHECK_STR(client_field(&c, "Server"), "httpd-demo");
		CHECK(client_field(&c, "Last-Modified"));
		CHECK_EQ(strlen(client_field(&c, "Date")), 29);
	}
	client_connect(&c, s);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		bool is_head = i % 2;

		client_say(&c, "%s %s HTTP/1.1\r\nHost: x\r\n\r\n", is_head ? "HEAD" : "GET",
			   t[i].target);
		CHECK(client_answer(&c, is_head));
		CHECK_EQ(c.status, 200);
		CHECK(!c.closes);
		CHECK_EQ(strtoul(client_field(&c, "Content-Length"), NULL, 10), strlen(t[i].body));
		CHECK_STR(c.body, is_head ? "" : t[i].body);
	}
	client_close(&c);
}

static void versions(const struct server *s)
{
	char date[64];

	NOTE("HTTP/1.0, keep-alive, redirections, dates");
	client_connect(&c, s);
	client_say(&c, "GET /a.txt HTTP/1.0\r\n\r\n");
	CHECK(client_answer(&c, false));
	CHECK_EQ(c.status, 200);
	CHECK(c.closes && client_at_end(&c));
	client_close(&c);

	client_connect(&c, s);
	for (int i = 0; i < 3; i++) {
		client_say(&c, "GET /a.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
		CHECK(client_answer(&c, false));
		CHECK_STR(client_field(&c, "Connection"), "keep-alive");
	}
	strcpy(date, client_field(&c, "Last-Modified"));
	client_say(&c, "GET /a.txt HTTP/1.1\r\nHost: x\r\nIf-Modified-Since: %s\r\n\r\n", date);
	CHECK(client_answer(&c, false));
	CHECK_EQ(c.status, 304);
	CHECK(!client_field(&c, "Content-Length") && !c.closes);
	client_say(&c, "GET /a.txt HTTP/1.1\r\nHost: x\r\n"
		       "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n");
	CHECK(client_answer(&c, false));
	CHECK_EQ(c.status, 200);
	client_say(&c, "GET /sub HTTP/1.1\r\nHost: x\r\n\r\n");
	CHECK(client_answer(&c, false));
	CHECK_EQ(c.status, 301);
	CHECK_STR(client_field(&c, "Location"), "/sub/");
	client_say(&c, "HEAD /sp%%20ace HTTP/1.1\r\nHost: x\r\n\r\n");
	CHECK(client_answer(&c, true));
	CHECK_EQ(c.status, 301);
	CHECK_STR(client_field(&c, "Location"), "/sp%20ace/");
	client_say(&c, "GET //sub HTTP/1.1\r\nHost: x\r\n\r\n");
	CHECK(client_answer(&c, false));
	CHECK_STR(client_field(&c, "Location"), "/sub/"); /* and not to a host named sub */
	client_say(&c, "GET /a.txt HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n"
		       "Connection: Upgrade\r\n\r\n");
	CHECK(client_answer(&c, false));
	CHECK_EQ(c.status, 200);
	CHECK_STR(c.body, "hello\n");
	client_close(&c);
}

/* The request, the status, and whether the connection goes on afterwards. */
static void expect(const struct server *s, const void *request, size_t len, int status,
		   bool goes_on)
{
	client_connect(&c, s);
	client_send(&c, request, len);
	CHECK_MSG(client_answer(&c, false), "no answer to %.60s", (const char *)request);
	CHECK_MSG(c.status == status, "%d, not %d, to %.60s", c.status, status,
		  (const char *)request);
	CHECK_MSG(c.closes == !goes_on, "to %.60s", (const char *)request);
	if (status != 200) {
		char heading[32];

		CHECK_STR(client_field(&c, "Content-Type"), "text/html; charset=utf-8");
		snprintf(heading, sizeof(heading), "<h1>%d ", status);
		CHECK_HAS(c.body, heading);
	}
	if (status == 405)
		CHECK_STR(client_field(&c, "Allow"), "GET, HEAD");
	if (goes_on) {
		client_say(&c, "GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n");
		CHECK(client_answer(&c, false));
		CHECK_EQ(c.status, 200);
		CHECK_STR(c.body, "hello\n");
	} else {
		CHECK(client_at_end(&c));
	}
	client_close(&c);
}

static void expect_text(const struct server *s, const char *text, int status, bool goes_on)
{
	expect(s, text, strlen(text), status, goes_on);
}

static void statuses(const struct server *s)
{
	static const struct {
		const char *text;
		int status;
		bool goes_on;
	} t[] = {
		{ "GET /none HTTP/1.1\r\nHost: x\r\n\r\n", 404, true },
		{ "GET /a.txt/ HTTP/1.1\r\nHost: x\r\n\r\n", 404, true },
		{ "GET /a.txt/x HTTP/1.1\r\nHost: x\r\n\r\n", 404, true },
		{ "GET /bare/ HTTP/1.1\r\nHost: x\r\n\r\n", 404, true },
		{ "GET /sub%2fb.txt HTTP/1.1\r\nHost: x\r\n\r\n", 404, true },
		{ "GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400, true },
		{ "GET /a.txt%00.html HTTP/1.1\r\nHost: x\r\n\r\n", 400, true },
		{ "GET /%0a HTTP/1.1\r\nHost: x\r\n\r\n", 400, true },
		{ "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400, true },
		{ "GET /% HTTP/1.1\r\nHost: x\r\n\r\n", 400, true },
		{ "GET /%4 HTTP/1.1\r\nHost: x\r\n\r\n", 400, true },
		{ "GET /a.txt HTTP/1.1\r\n\r\n", 400, false },
		{ "GET /a.txt HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400, false },
		{ "GET /a.txt HTTP/1.1\r\nNo colon\r\n\r\n", 400, false },
		{ "GET /a.txt\r\n\r\n", 505, false },
		{ "GET a.txt HTTP/1.1\r\nHost: x\r\n\r\n", 400, false },
		{ "GET /a.txt XTTP/1.1\r\nHost: x\r\n\r\n", 400, false },
		{ "garbage\r\n\r\n", 400, false },
		{ "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, false },
		{ "GET /a.txt HTTP/2.0\r\nHost: x\r\n\r\n", 505, false },
		{ "GET /a.txt HTTP/0.9\r\nHost: x\r\n\r\n", 505, false },
		{ "POST /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345", 405, true },
		{ "DELETE /a.txt HTTP/1.1\r\nHost: x\r\n\r\n", 405, true },
		{ "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 405, true },
		{ "CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 405, false },
		{ "GET /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345", 200, true },
		{ "GET /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
		  400, false },
		{ "GET /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, false },
		{ "GET /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
		  400, false },
		{ "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n", 413, false },
		{ "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501,
		  false },
		{ "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
		  "Content-Length: 4\r\n\r\n0\r\n\r\n",
		  400, false },
		{ "GET /a.txt HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
		  "Content-Length: 4\r\n\r\n",
		  417, false },
		/* What another server may read in another way is not read at all. */
		{ "GET /a.txt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n"
		  "5\r\nabcde\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
		  400, false },
		{ "GET /a.txt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
		  400, false },
		{ "GET /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\n12345", 400, false },
		{ "GET /a.txt HTTP/1.1\r\nHost: x\r\nX Y: 5\r\n\r\n", 400, false },
		{ "GET /a.txt HTTP/1.1\r\n X: 5\r\nHost: x\r\n\r\n", 400, false },
		{ "GET /a.txt HTTP/1.1\r\nHost: x\r\nX: 5\r\n folded\r\n\r\n", 400, false },
		{ "GET /a.txt HTTP/1.1\r\nHost: x\r\nX:\rContent-Length: 5\r\n\r\n", 400, false },
		{ "GET /a.txt HTTX/1.1\r\nHost: x\r\n\r\n", 400, false },
		{ "GET /a.txt HTTP/1.9\r\nHost: x\r\n\r\n", 505, false },
		{ "GET /a.txt  HTTP/1.1\r\nHost: x\r\n\r\n", 400, false },
		{ "GET  /a.txt HTTP/1.1\r\nHost: x\r\n\r\n", 400, false },
		{ "GET /a.txt?\t HTTP/1.1\r\nHost: x\r\n\r\n", 400, false },
		{ "\r\n\r\nGET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n", 200, true },
		{ "GET /a.txt HTTP/1.1\nHost: x\n\n", 200, true },
		{ "GET /a.txt HTTP/1.1\r\nHOST: x\r\nX-Empty:\r\nX-Empty: \r\nX:y\r\n\r\n", 200,
		  true },
	};
	char *text = malloc(300000);
	size_t n;

	CHECK(text);
	NOTE("every status");
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		expect_text(s, t[i].text, t[i].status, t[i].goes_on);

	/* NUL in the request line and in a field. */
	expect(s, "GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n", 31, 400, false);
	expect(s, "GET /a.txt HTTP/1.1\r\nHost: x\0\r\n\r\n", 34, 400, false);

	NOTE("414: an address of 4096 bytes goes, one more does not, nor does any longer one");
	for (size_t len = 4095; len <= 4098; len++) {
		n = (size_t)sprintf(text, "GET /a.txt?");
		memset(text + n, 'q', len - 7);
		n += len - 7;
		n += (size_t)sprintf(text + n, " HTTP/1.1\r\nHost: x\r\n\r\n");
		expect(s, text, n, len > 4096 ? 414 : 200, len <= 4096);
	}
	n = (size_t)sprintf(text, "GET /");
	memset(text + n, 'x', 250000);
	expect(s, text, n + 250000, 414, false);
	n = (size_t)sprintf(text, "GET /");
	memset(text + n, 'x', 3000); /* a name that no file system holds */
	n += 3000;
	n += (size_t)sprintf(text + n, " HTTP/1.1\r\nHost: x\r\n\r\n");
	expect(s, text, n, 404, true);

	NOTE("431: 100 fields go, 101 do not; nor does a head of more than 16 KiB");
	for (int fields = 99; fields <= 102; fields++) {
		n = (size_t)sprintf(text, "GET /a.txt HTTP/1.1\r\nHost: x\r\n");
		for (int i = 1; i < fields; i++)
			n += (size_t)sprintf(text + n, "X-Field-%d: %d\r\n", i, i);
		n += (size_t)sprintf(text + n, "\r\n");
		expect(s, text, n, fields > 100 ? 431 : 200, fields <= 100);
	}
	n = (size_t)sprintf(text, "GET /a.txt HTTP/1.1\r\nHost: x\r\nX: ");
	memset(text + n, 'x', 12000);
	memcpy(text + n + 12000, "\r\n\r\n", 4);
	expect(s, text, n + 12004, 200, true);
	memset(text + n, 'x', 250000);
	expect(s, text, n + 250000, 431, false);
	free(text);
}

/* An error that is the answer to HEAD has no body, however early it comes. */
static void bare_errors(const struct server *s)
{
	static const struct {
		const char *text;
		int status;
	} t[] = {
		{ "HEAD /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404 },
		{ "HEAD /a.txt HTTP/1.1\r\n\r\n", 400 },
		{ "HEAD /a.txt HTTP/2.0\r\nHost: x\r\n\r\n", 505 },
		{ "HEAD /a.txt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 501 },
		{ "HEAD / HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n", 413 },
		{ "HEAD / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n", 417 },
		{ "HEAD /a.txt HTTP/1.1\r\nNo colon\r\n\r\n", 400 },
		{ "\r\nHEAD a.txt HTTP/1.1\r\nHost: x\r\n\r\n", 400 },
		{ "HEAD /a.txt HTTP/1.1\r\nHo", 400 }, /* and the end */
		{ "HEAD ", 400 },
	};

	NOTE("errors answered to HEAD have no body");
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		client_connect(&c, s);
		client_send(&c, t[i].text, strlen(t[i].text));
		CHECK(shutdown(c.fd, SHUT_WR) == 0);
		CHECK(client_answer(&c, true));
		CHECK_MSG(c.status == t[i].status, "%d, not %d, to %.60s", c.status, t[i].status,
			  t[i].text);
		CHECK_MSG(client_at_end(&c), "a body, to %.60s", t[i].text);
		client_close(&c);
	}
}

static void traversal(const struct server *s)
{
	static const struct {
		const char *target;
		int status;
	} t[] = {
		{ "/../outside.txt", 400 },
		{ "/..", 400 },
		{ "/sub/../../outside.txt", 400 },
		{ "/%2e%2e/outside.txt", 400 },
		{ "/.%2e/outside.txt", 400 },
		{ "/sub/%2e%2e/%2E%2E/outside.txt", 400 },
		{ "/..%2foutside.txt", 404 },
		{ "/%2e%2e%2foutside.txt", 404 },
		{ "/..\\outside.txt", 404 },
		{ "/%252e%252e/outside.txt", 404 },
		{ "/outside-link", 403 },
		{ "/absolute-link", 403 },
		{ "/absolute-inside-link", 403 },
		{ "/up/outside.txt", 403 },
		{ "/up/root/a.txt", 403 },
		{ "/magic", 403 },
		{ "/loop", 403 },
		{ "/fifo", 403 },
		{ "http://x/../../outside.txt", 400 },
	};

	NOTE("no way out of the root");
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		CHECK_MSG(client_get(&c, s, t[i].target) == t[i].status, "%s: %d, not %d",
			  t[i].target, c.status, t[i].status);
		CHECK(!strstr(c.body, "outside") && !strstr(c.body, "hello"));
	}
}

void test_answers(const struct server *s)
{
	contents(s);
	versions(s);
	statuses(s);
	bare_errors(s);
	traversal(s);
}
