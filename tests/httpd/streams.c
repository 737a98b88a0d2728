/* SPDX-License-Identifier: MIT */
/* Bytes that come in pieces, in heaps, and on many connections at once. World: host. */
#include "tests/httpd/httpd.h"

#include <pthread.h>
#include <sys/socket.h>

#include "tests/test.h"

static struct client c; /* large */

static void pieces(const struct server *s)
{
	static const char request[] = "GET /sub/b.txt HTTP/1.1\r\nHost: localhost\r\n"
				      "X-Demo-Attack: \r\nAccept: */*\r\n\r\n";
	static const char with_body[] = "POST /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
					"\r\nbodyGET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n";
	size_t len = sizeof(request) - 1;
	char *many, *p;

	NOTE("every prefix of a request, then the end");
	for (size_t i = 0; i < len; i++) {
		client_connect(&c, s);
		client_send(&c, request, i);
		if (i % 2) {
			CHECK(shutdown(c.fd, SHUT_WR) == 0);
			CHECK(client_answer(&c, false));
			CHECK_EQ(c.status, 400);
			CHECK(client_at_end(&c));
		} else if (i % 4) {
			struct linger reset = { 1, 0 };

			setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		}
		client_close(&c);
	}
	check_alive(s);

	NOTE("a request cut in two at every place");
	client_connect(&c, s);
	for (size_t i = 1; i < len; i += 1 + i % 3) {
		client_send(&c, request, i);
		sleep_ms(1);
		client_send(&c, request + i, len - i);
		CHECK(client_answer(&c, false));
		CHECK_EQ(c.status, 200);
		CHECK_STR(c.body, "sub b");
	}
	client_close(&c);
	NOTE("byte by byte");
	client_connect(&c, s);
	for (size_t i = 0; i < sizeof(with_body) - 1; i++) {
		client_send(&c, with_body + i, 1);
		if (i % 8 == 0)
			sleep_ms(1);
	}
	CHECK(client_answer(&c, false));
	CHECK_EQ(c.status, 405);
	CHECK(client_answer(&c, false));
	CHECK_EQ(c.status, 200);
	client_close(&c);

	NOTE("700 requests in one go");
	many = malloc(700 * 64);
	CHECK(many);
	p = many;
	for (int i = 0; i < 700; i++)
		p += sprintf(p, "%s /%s HTTP/1.1\r\nHost: x\r\n%s\r\n", i % 3 == 1 ? "HEAD" : "GET",
			     i % 2 ? "a.txt" : "sub/b.txt", i == 699 ? "Connection: close\r\n" : "");
	client_connect(&c, s);
	client_send(&c, many, (size_t)(p - many));
	for (int i = 0; i < 700; i++) {
		bool is_head = i % 3 == 1;

		CHECK(client_answer(&c, is_head));
		CHECK_EQ(c.status, 200);
		CHECK_STR(c.body, is_head ? "" : i % 2 ? "hello\n" : "sub b");
	}
	CHECK(c.closes && client_at_end(&c));
	client_close(&c);
	free(many);
}

static void large(const struct server *s)
{
	NOTE("8 MiB");
	CHECK_EQ(client_get(&c, s, "/big.bin"), 200);
	CHECK_EQ(c.body_len, SITE_BIG);
	CHECK_MEM(c.body, site_big(), SITE_BIG);
	NOTE("again, over one connection, with others around it, and as much as one chunk");
	client_connect(&c, s);
	client_say(&c, "GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\nHEAD /big.bin HTTP/1.1\r\n"
		       "Host: x\r\n\r\nGET /chunk.bin HTTP/1.1\r\nHost: x\r\n\r\n");
	sleep_ms(50); /* its buffers are full meanwhile */
	CHECK(client_answer(&c, false));
	CHECK_EQ(c.body_len, SITE_BIG);
	CHECK_MEM(c.body, site_big(), SITE_BIG);
	CHECK(client_answer(&c, true));
	CHECK_EQ(strtol(client_field(&c, "Content-Length"), NULL, 10), SITE_BIG);
	CHECK(client_answer(&c, false));
	CHECK_EQ(c.body_len, 256 * 1024);
	CHECK_MEM(c.body, site_big(), 256 * 1024);
	client_close(&c);
	NOTE("a client that leaves in the middle");
	client_connect(&c, s);
	client_say(&c, "GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n");
	CHECK(recv(c.fd, c.buf, 1000, 0) > 0);
	client_close(&c);
	check_alive(s);
}

static void *busy_client(void *arg)
{
	const struct server *s = arg;
	struct client *mine = malloc(sizeof(*mine));

	CHECK(mine);
	for (int i = 0; i < 10; i++) {
		client_connect(mine, s);
		for (int j = 0; j < 5; j++) {
			client_say(mine, "GET /%s HTTP/1.1\r\nHost: x\r\n\r\n",
				   j % 2 ? "a.txt" : "chunk.bin");
			CHECK(client_answer(mine, false));
			CHECK_EQ(mine->status, 200);
			if (j % 2)
				CHECK_STR(mine->body, "hello\n");
			else
				CHECK_MEM(mine->body, site_big(), 256 * 1024);
		}
		client_close(mine);
	}
	free(mine);
	return NULL;
}

static void many(const struct server *s)
{
	unsigned long n = test_scale(500);
	unsigned before, after = 0;
	pthread_t thread[16];

	NOTE("16 clients at once");
	for (int i = 0; i < 16; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, busy_client, (void *)s), 0);
	for (int i = 0; i < 16; i++)
		CHECK_EQ(pthread_join(thread[i], NULL), 0);
	NOTE("connections one after the other leave no descriptor behind");
	before = server_fds(s);
	while (n--)
		CHECK_EQ(client_get(&c, s, "/a.txt"), 200);
	for (int i = 0; i < 100; i++) {
		after = server_fds(s);
		if (after <= before)
			break;
		sleep_ms(20);
	}
	CHECK_LE(after, before);
}

void test_streams(const struct server *s)
{
	pieces(s);
	large(s);
	many(s);
}
