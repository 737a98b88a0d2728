/* SPDX-License-Identifier: MIT */
/* Limits, time-outs, the end of the server, wrong calls. World: host. */
#include "tests/httpd/httpd.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>

#include "tests/test.h"

static struct client c; /* large */

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void limits(void)
{
	struct client other;
	struct server s;
	struct pollfd p;

	NOTE("requests on one connection, connections at once, time");
	server_start(&s, site_root(), "--max-requests", "3", "--max-connections", "2", "--timeout", "2",
		     NULL);
	client_connect(&c, &s);
	for (int i = 0; i < 3; i++) {
		client_say(&c, "GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n");
		CHECK(client_answer(&c, false));
		CHECK_EQ(c.status, 200);
		CHECK(c.closes == (i == 2));
	}
	CHECK(client_at_end(&c));
	client_close(&c);

	/* Two are held; the third is answered once one of them is let go. */
	client_connect(&c, &s);
	client_say(&c, "GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n");
	CHECK(client_answer(&c, false));
	client_connect(&other, &s);
	client_say(&other, "GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n");
	CHECK(client_answer(&other, false));
	{
		static struct client third;

		client_connect(&third, &s);
		client_say(&third, "GET /sub/b.txt HTTP/1.1\r\nHost: x\r\n\r\n");
		p = (struct pollfd){ .fd = third.fd, .events = POLLIN };
		CHECK_EQ(poll(&p, 1, 200), 0);
		client_close(&other);
		CHECK(client_answer(&third, false));
		CHECK_STR(third.body, "sub b");
		client_close(&third);
	}
	client_close(&c);

	NOTE("a connection that says nothing is closed; one that says half is told (408)");
	client_connect(&c, &s);
	CHECK(client_at_end(&c));
	client_close(&c);
	client_connect(&c, &s);
	client_say(&c, "GET /a.txt HTTP/1.1\r\nHo");
	CHECK(client_answer(&c, false));
	CHECK_EQ(c.status, 408);
	CHECK(c.closes && client_at_end(&c));
	client_close(&c);
	NOTE("nor does it help to say a byte now and then");
	client_connect(&c, &s);
	client_say(&c, "GET /a.txt HTTP/1.1\r\nHost: ");
	p = (struct pollfd){ .fd = c.fd, .events = POLLIN };
	for (int i = 0; i < 40 && poll(&p, 1, 200) == 0; i++)
		client_say(&c, "x");
	CHECK(client_answer(&c, false));
	CHECK_EQ(c.status, 408);
	client_close(&c);
	CHECK(server_logged(&s, "timed out, a request did not come whole"));
	NOTE("nor to send empty lines, before a request or after one");
	for (int after = 0; after < 2; after++) {
		client_connect(&c, &s);
		if (after) {
			client_say(&c, "GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n");
			CHECK(client_answer(&c, false));
		}
		p = (struct pollfd){ .fd = c.fd, .events = POLLIN };
		for (int i = 0; i < 40 && poll(&p, 1, 200) == 0; i++)
			client_say(&c, "\r\n");
		CHECK_EQ(poll(&p, 1, 0), 1);
		CHECK(client_at_end(&c));
		client_close(&c);
	}
	NOTE("a client that does not read is left");
	client_connect(&c, &s);
	for (int i = 0; i < 2; i++)
		client_say(&c, "GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n");
	CHECK(server_logged(&s, "the client did not read"));
	client_close(&c);
	check_alive(&s);
	server_stop(&s, NULL, 0);

	NOTE("a connection that lives long takes no new request");
	server_start(&s, site_root(), "--lifetime", "1", NULL);
	client_connect(&c, &s);
	client_say(&c, "GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n");
	CHECK(client_answer(&c, false));
	CHECK(!c.closes);
	sleep_ms(2100);
	client_say(&c, "GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n");
	CHECK(client_answer(&c, false));
	CHECK_EQ(c.status, 200);
	CHECK(c.closes && client_at_end(&c));
	client_close(&c);
	server_stop(&s, NULL, 0);
}

/* Reads steadily, but slowly: each send of the server's makes progress in time. */
static void slow_reader(void)
{
	int small = 65536;
	size_t got = 0;
	struct server s;
	double start;
	ssize_t n;

	NOTE("a client that reads slowly is left when its time is over");
	server_start(&s, site_root(), "--lifetime", "1", "--timeout", "1", NULL);
	client_connect(&c, &s);
	CHECK(setsockopt(c.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)) == 0);
	client_say(&c, "GET /huge.bin HTTP/1.1\r\nHost: x\r\n\r\n");
	start = seconds();
	while ((n = recv(c.fd, c.buf, sizeof(c.buf), 0)) > 0 && seconds() - start < 30) {
		got += (size_t)n;
		sleep_ms((long)(n * 1000 / (4 << 20))); /* 4 MiB a second */
	}
	CHECK_LE(n, 0);
	CHECK_LT(got, SITE_HUGE);
	CHECK(server_logged(&s, "127.0.0.1:"));
	client_close(&c);
	check_alive(&s);
	server_stop(&s, NULL, 0);
}

#define CROWD 60

static void crowd(void)
{
	struct client *all = calloc(CROWD, sizeof(*all));
	struct server s;

	CHECK(all);
	NOTE("the limit on open files is raised as far as it goes; what does not fit is refused");
	server_files(40, 128);
	server_refuses(1, "--max-connections 4000: ", "--root", site_root(), "--isolation", "fork",
		       "--max-connections", "4000", NULL);
	server_refuses(1, "at most 96 fit", "--root", site_root(), "--isolation", "fork",
		       "--max-connections", "97", NULL);
	server_refuses(1, "at most 48 fit", "--root", site_root(), "--isolation", "none",
		       "--max-connections", "49", NULL);
	server_refuses(1, "at most 16 fit", "--root", site_root(), "--max-connections", "17", NULL);
	server_files(40, 1024);
	server_start(&s, site_root(), "--max-connections", "100", "--timeout", "60", NULL);
	for (int i = 0; i < CROWD; i++)
		client_connect(&all[i], &s);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < CROWD; i++)
			client_say(&all[i], "GET /chunk.bin HTTP/1.1\r\nHost: x\r\n\r\n");
		for (int i = 0; i < CROWD; i++) {
			CHECK(client_answer(&all[i], false));
			CHECK_EQ(all[i].status, 200);
		}
	}
	for (int i = 0; i < CROWD; i++)
		client_close(&all[i]);
	server_stop(&s, NULL, 0);
	NOTE("many connections that end badly fill no log");
	server_start(&s, site_root(), "--max-connections", "100", "--timeout", "2", NULL);
	for (int i = 0; i < CROWD; i++) {
		client_connect(&all[i], &s);
		client_say(&all[i], "GET /a");
	}
	for (int i = 0; i < CROWD; i++) {
		CHECK(client_answer(&all[i], false));
		CHECK_EQ(all[i].status, 408);
		client_close(&all[i]);
	}
	CHECK(server_logged(&s, "did not come whole"));
	server_stop(&s, NULL, 0);
	CHECK_LT(server_log_count(&s, "did not come whole"), CROWD);
	CHECK_GT(server_log_count(&s, "lines like these left out"), 0);
	server_files(0, 0);
	free(all);
}

static void stopping(void)
{
	static struct client idle, half;
	size_t rest = SITE_BIG, got = 0;
	struct server s;
	double start;
	ssize_t n;

	NOTE("SIGTERM: an answer under way is finished, waiting connections are closed");
	server_start(&s, site_root(), "--timeout", "30", NULL);
	client_connect(&idle, &s);
	client_say(&idle, "GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n");
	CHECK(client_answer(&idle, false));
	client_connect(&half, &s);
	client_say(&half, "GET /a.txt HTTP/1.1\r\n");
	client_connect(&c, &s);
	client_say(&c, "GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n");
	CHECK((n = recv(c.fd, c.buf, 1000, 0)) > 0);
	sleep_ms(100);
	CHECK(kill(s.pid, SIGTERM) == 0);
	CHECK(client_at_end(&idle));
	CHECK(client_answer(&half, false));
	CHECK_EQ(half.status, 400);
	CHECK(client_at_end(&half));
	c.buf[n] = '\0';
	CHECK(strstr(c.buf, "\r\n\r\n"));
	got = (size_t)n - (size_t)(strstr(c.buf, "\r\n\r\n") + 4 - c.buf);
	while (got < rest && (n = recv(c.fd, c.buf, sizeof(c.buf), 0)) > 0)
		got += (size_t)n;
	CHECK_EQ(got, rest);
	CHECK(client_at_end(&c));
	client_close(&c);
	client_close(&idle);
	client_close(&half);
	server_stop(&s, NULL, 0);

	NOTE("one that would never end is broken off");
	server_start(&s, site_root(), "--timeout", "30", NULL);
	client_connect(&c, &s);
	client_say(&c, "GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n");
	CHECK(recv(c.fd, c.buf, 1000, 0) > 0);
	start = seconds();
	server_stop(&s, NULL, 0);
	CHECK(seconds() - start < 15);
	client_close(&c);
}

static void command_line(void)
{
	struct server running;
	char address[32];

	NOTE("wrong calls are refused, with words");
	server_start(&running, site_root(), NULL);
	server_refuses(2, "--root DIR is missing", NULL);
	server_refuses(2, "--timeout 0: not a number from 1", "--root", site_root(), "--timeout", "0",
		       NULL);
	server_refuses(2, "not one of sthread, fork, none", "--isolation", "x", NULL);
	server_refuses(2, "see --help", "--no-such", NULL);
	server_refuses(0, "--isolation", "--help", NULL);
	server_refuses(1, "No such file", "--root", "/no/such", NULL);
	server_refuses(1, "is not a directory", "--root", "a.txt", NULL);
	server_refuses(1, "not an address", "--root", site_root(), "--listen", "localhost", NULL);
	snprintf(address, sizeof(address), "127.0.0.1:%d", running.port);
	server_refuses(1, "another program listens there", "--root", site_root(), "--isolation", "fork",
		       "--listen", address, NULL);
	server_stop(&running, NULL, 0);
}

void test_life(void)
{
	limits();
	slow_reader();
	crowd();
	stopping();
	command_line();
}
