/* SPDX-License-Identifier: MIT */
/* The addresses of a policy as text: each byte of a name is said, and none of them ends a line.  World: host. */
#include <arpa/inet.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/test.h"
#include "tests/unit/syscall_fake.h"

#define PATH(n) ((socklen_t)(offsetof(struct sockaddr_un, sun_path) + (n)))

static const char expected[] = "connect to @a\n"
			       "connect to @a\\x00\\x00b\n"
			       "connect to @a\\x00\\x00c\n"
			       "connect to =/run/a b\\n\\\"\\xff\n"
			       "connect to 10.0.0.0:0, first 8 bits\n"
			       "connect to 10.1.2.3:443\n"
			       "bind to [2001:db8::]:0, first 32 bits\n"
			       "bind to [fe80::1%7]:80\n";

static struct sockaddr_in in4(const char *text, uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };

	CHECK_EQ(inet_pton(AF_INET, text, &a.sin_addr), 1);
	return a;
}

static struct sockaddr_in6 in6(const char *text, uint16_t port, uint32_t scope)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_scope_id = scope };

	CHECK_EQ(inet_pton(AF_INET6, text, &a.sin6_addr), 1);
	return a;
}

static void connect_un(struct sthread_policy *p, const char *name, size_t len)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	memcpy(a.sun_path, name, len);
	CHECK_OK(sthread_policy_connect(p, (void *)&a, PATH(len), STHREAD_EXACT));
}

/* In one order or the other. */
static struct sthread_policy *policy(bool other_way)
{
	const struct sockaddr_in a[] = { in4("10.1.2.3", 443), in4("10.9.9.9", 0), in4("10.2.0.0", 0) };
	const struct sockaddr_in6 b[] = { in6("fe80::1", 80, 7), in6("2001:db8::5", 0, 0) };
	struct sthread_policy *p;

	CHECK_OK(sthread_policy_create(&p));
	for (int i = 0; i < 9; i++)
		switch (other_way ? 8 - i : i) {
		case 0: CHECK_OK(sthread_policy_connect(p, (void *)&a[0], sizeof(a[0]), STHREAD_EXACT)); break;
		case 1: CHECK_OK(sthread_policy_connect(p, (void *)&a[1], sizeof(a[1]), 8)); break;
		case 2: CHECK_OK(sthread_policy_connect(p, (void *)&a[2], sizeof(a[2]), 16)); break; /* within that */
		case 3: CHECK_OK(sthread_policy_bind(p, (void *)&b[0], sizeof(b[0]), STHREAD_EXACT)); break;
		case 4: CHECK_OK(sthread_policy_bind(p, (void *)&b[1], sizeof(b[1]), 32)); break;
		case 5: connect_un(p, "/run/a b\n\"\xff", 11); break;
		case 6: connect_un(p, "\0a", 2); break;
		case 7: connect_un(p, "\0a\0\0b", 5); break;
		case 8: connect_un(p, "\0a\0\0c", 5); break;
		}
	return p;
}

int main(void)
{
	for (int way = 0; way < 2; way++) {
		struct sthread_policy *p = policy(way);
		char text[1024], *lines;

		CHECK_EQ(sthread_policy_format(p, text, sizeof(text)), strlen(text));
		lines = strstr(text, "connect");
		CHECK(lines);
		lines[sizeof(expected) - 1] = '\0'; /* limits follow, or precede */
		CHECK_STR(lines, expected);
		sthread_policy_destroy(p);
	}
	return TEST_PASSED;
}
