/* SPDX-License-Identifier: MIT */
/* The parts of httpd-demo that make names of bytes: paths, types, dates. World: host. */
#include "apps/httpd-demo/date.h"
#include "apps/httpd-demo/mime.h"
#include "apps/httpd-demo/path.h"
#include "tests/test.h"

#include <time.h>

/* In memory of exactly the size needed, so that a sanitizer sees any step beyond it. */
static int decode(const char *path, size_t len, size_t size, char **name)
{
	char *from = malloc(len ? len : 1), *to = malloc(size ? size : 1);
	int status;

	CHECK(from && to);
	memcpy(from, path, len);
	status = path_decode(to, size, from, len);
	free(from);
	if (status == 0)
		CHECK_LT(strnlen(to, size), size);
	if (name && status == 0) {
		*name = to;
	} else {
		free(to);
	}
	return status;
}

static void paths(void)
{
	static const struct {
		const char *path;
		int status;
		const char *name;
	} t[] = {
		{ "/", 0, "index.html" },
		{ "//", 0, "index.html" },
		{ "/a", 0, "a" },
		{ "/a/", 0, "a/index.html" },
		{ "/a//b", 0, "a/b" },
		{ "/a/./b", 0, "a/b" },
		{ "/a/.", 0, "a/index.html" },
		{ "/.", 0, "index.html" },
		{ "/a/..", 0, "index.html" },
		{ "/a/../b", 0, "b" },
		{ "/a/b/../c", 0, "a/c" },
		{ "/a/b/../../c/", 0, "c/index.html" },
		{ "/ab/cd/..", 0, "ab/index.html" },
		{ "/..", 400, NULL },
		{ "/../a", 400, NULL },
		{ "/a/../..", 400, NULL },
		{ "/a/../../b", 400, NULL },
		{ "/%2e%2e", 400, NULL },
		{ "/%2E./a", 400, NULL },
		{ "/a/%2e%2e", 0, "index.html" },
		{ "/...", 0, "..." },
		{ "/..a", 0, "..a" },
		{ "/.a", 0, ".a" },
		{ "/%41%7e", 0, "A~" },
		{ "/%25", 0, "%" },
		{ "/%252e", 0, "%2e" },
		{ "/%c3%a4", 0, "\xc3\xa4" },
		{ "/%ff", 0, "\xff" },
		{ "/a\\..\\b", 0, "a\\..\\b" },
		{ "/a+b", 0, "a+b" },
		{ "/%2f", 404, NULL },
		{ "/..%2fa", 404, NULL },
		{ "/%00", 400, NULL },
		{ "/a%00", 400, NULL },
		{ "/%1f", 400, NULL },
		{ "/%7F", 400, NULL },
		{ "/\n", 400, NULL },
		{ "/%", 400, NULL },
		{ "/%2", 400, NULL },
		{ "/%2g", 400, NULL },
		{ "/%g2", 400, NULL },
		{ "/%-1", 400, NULL },
		{ "", 400, NULL },
		{ "a", 400, NULL },
		{ "*", 400, NULL },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		char *name = NULL;

		CHECK_MSG(decode(t[i].path, strlen(t[i].path), 64, &name) == t[i].status, "%s",
			  t[i].path);
		if (t[i].status == 0)
			CHECK_STR(name, t[i].name);
		free(name);
		/* Too small a buffer is never overrun, and a large enough one is used. */
		for (size_t size = 0; size < 32; size++) {
			int status = decode(t[i].path, strlen(t[i].path), size, NULL);

			if (t[i].status == 0 && size >= strlen(t[i].path) + sizeof("index.html") + 1)
				CHECK_EQ(status, 0);
			if (t[i].status == 0 && size < strlen(t[i].name) + 1)
				CHECK_EQ(status, 404);
		}
	}
	CHECK_EQ(decode("/a\0b", 4, 64, NULL), 400);
}

/* Any bytes: no overrun, and what is accepted stays beneath the root. */
static void random_paths(void)
{
	static const char alphabet[] = "/./.%2e2f0ab\\..//";
	unsigned x = 1;

	for (int i = 0; i < 200000; i++) {
		char path[24] = "/", *name = NULL;
		size_t len = 1 + i % 23;
		int depth = 0;

		for (size_t j = 1; j < len; j++) {
			x = x * 1103515245 + 12345;
			path[j] = alphabet[(x >> 16) % (sizeof(alphabet) - 1)];
		}
		if (decode(path, len, 40, &name) == 0) {
			CHECK(name[0] != '/' && name[0] != '\0');
			for (char *part = name; part; part = strchr(part, '/')) {
				part += *part == '/';
				CHECK(*part && *part != '/');
				CHECK(strcmp(part, "..") && strncmp(part, "../", 3));
				CHECK(strcmp(part, ".") && strncmp(part, "./", 2));
				depth++;
			}
			CHECK_GT(depth, 0);
		}
		free(name);
	}
}

static void encoding(void)
{
	char path[64];

	CHECK_EQ(path_encode_dir(path, sizeof(path), "a b"), 7);
	CHECK_STR(path, "/a%20b/");
	CHECK_EQ(path_encode_dir(path, sizeof(path), "a/\xc3\xa4%?#\"<"), 25);
	CHECK_STR(path, "/a/%C3%A4%25%3F%23%22%3C/");
	for (size_t size = 0; size < 12; size++) {
		char *small = malloc(size ? size : 1);
		size_t len;

		CHECK(small);
		len = path_encode_dir(small, size, "\xff\xff");
		if (len)
			CHECK_EQ(len, 8);
		CHECK(len < size || len == 0);
		free(small);
	}
}

static void types(void)
{
	CHECK_STR(mime_type("a.html"), "text/html; charset=utf-8");
	CHECK_STR(mime_type("A.HTML"), "text/html; charset=utf-8");
	CHECK_STR(mime_type("d.css/a"), "application/octet-stream");
	CHECK_STR(mime_type("d/a.b.svg"), "image/svg+xml");
	CHECK_STR(mime_type(".html"), "application/octet-stream");
	CHECK_STR(mime_type("a."), "application/octet-stream");
	CHECK_STR(mime_type(""), "application/octet-stream");
}

/* Against libc, over the whole range. */
static void dates(void)
{
	static const time_t some[] = { 0, 784111777, 951782399, 951782400, 951868800, 4107542399,
				       -1, -62135596800, 253402300799, 1709164800, -2203891200 };
	char text[DATE_SIZE], want[64];
	struct tm tm;

	date_format(text, 784111777);
	CHECK_STR(text, "Sun, 06 Nov 1994 08:49:37 GMT");
	for (size_t i = 0; i < sizeof(some) / sizeof(some[0]) + 100000; i++) {
		time_t t = i < sizeof(some) / sizeof(some[0])
				   ? some[i]
				   : -62135596800 + (time_t)i * 3155377 % 315537897599;

		CHECK(gmtime_r(&t, &tm));
		CHECK(strftime(want, sizeof(want), "%a, %d %b ", &tm));
		snprintf(want + strlen(want), 32, "%04d", tm.tm_year + 1900);
		CHECK(strftime(want + strlen(want), 32, " %H:%M:%S GMT", &tm));
		date_format(text, t);
		CHECK_STR(text, want);
	}
	date_format(text, INT64_MIN);
	CHECK_STR(text, "Mon, 01 Jan 0001 00:00:00 GMT");
	date_format(text, INT64_MAX);
	CHECK_STR(text, "Fri, 31 Dec 9999 23:59:59 GMT");
}

int main(void)
{
	paths();
	random_paths();
	encoding();
	types();
	dates();
	return TEST_PASSED;
}
