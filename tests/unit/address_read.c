// SPDX-License-Identifier: MIT
/*
 * Socket addresses in every encoding: those that mean the same are the same, no other matches, and
 * what is not understood is refused.  World: host.
 */
#include "sthread/policy/address.h"

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>
#include <stddef.h>

#include "tests/test.h"

#define HEAD offsetof(struct sockaddr_un, sun_path)

static struct sockaddr_in in(const char *text, unsigned port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };

	CHECK_EQ(inet_pton(AF_INET, text, &a.sin_addr), 1);
	return a;
}

static struct sockaddr_in6 in6(const char *text, unsigned port)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };

	CHECK_EQ(inet_pton(AF_INET6, text, &a.sin6_addr), 1);
	return a;
}

static struct address of(const void *bytes, size_t len)
{
	struct address a;

	CHECK_OK(address_read(&a, bytes, len));
	return a;
}

static struct address of_in(const char *text, unsigned port)
{
	struct sockaddr_in a = in(text, port);

	return of(&a, sizeof(a));
}

static struct address of_in6(const char *text, unsigned port)
{
	struct sockaddr_in6 a = in6(text, port);

	return of(&a, sizeof(a));
}

static bool matches(struct address rule, unsigned prefix, struct address a)
{
	return address_matches(&rule, prefix, &a);
}

static void internet(void)
{
	struct sockaddr_in a = in("192.0.2.1", 80);
	struct sockaddr_in6 b = in6("2001:db8::1", 80);
	unsigned char noisy[128];
	struct address plain = of(&a, sizeof(a)), got;

	/* Bytes without a meaning, and more of them, change nothing. */
	memset(noisy, 0xa5, sizeof(noisy));
	memcpy(noisy, &a, offsetof(struct sockaddr_in, sin_zero));
	got = of(noisy, sizeof(noisy));
	CHECK_MEM(&got, &plain, sizeof(got));
	for (size_t len = 0; len < sizeof(a); len++)
		CHECK_ERR(address_read(&got, &a, len), -EINVAL);
	for (size_t len = 0; len < sizeof(b); len++)
		CHECK_ERR(address_read(&got, &b, len), -EINVAL);
	b.sin6_flowinfo = 1;
	CHECK_ERR(address_read(&got, &b, sizeof(b)), -EINVAL);
	b = in6("::ffff:192.0.2.1", 80);
	CHECK_ERR(address_read(&got, &b, sizeof(b)), -EACCES);

	CHECK(matches(plain, 32, plain));
	CHECK(!matches(plain, 32, of_in("192.0.2.1", 81)));
	CHECK(!matches(plain, 32, of_in("192.0.2.0", 80)));
	CHECK(!matches(plain, 32, of_in6("2001:db8::1", 80)));
	/* Prefixes, at a byte and within one. */
	CHECK(matches(plain, 24, of_in("192.0.2.255", 80)));
	CHECK(!matches(plain, 24, of_in("192.0.3.1", 80)));
	CHECK(!matches(plain, 24, of_in("192.0.2.255", 443)));
	CHECK(matches(plain, 23, of_in("192.0.3.1", 80)));
	CHECK(!matches(plain, 23, of_in("192.0.4.1", 80)));
	CHECK(matches(plain, 31, of_in("192.0.2.0", 80)));
	CHECK(!matches(plain, 31, of_in("192.0.2.2", 80)));
	CHECK(matches(plain, 0, of_in("0.0.0.0", 80)));
	CHECK(!matches(plain, 0, of_in6("::1", 80)));
	CHECK(matches(of_in6("2001:db8::1", 1), 64, of_in6("2001:db8::ffff", 1)));
	CHECK(!matches(of_in6("2001:db8::1", 1), 64, of_in6("2001:db8:0:1::1", 1)));
	CHECK(!matches(of_in6("2001:db8::1", 1), 128, of_in6("2001:db8::2", 1)));
	/* The compatible form is another address. */
	CHECK(!matches(plain, 0, of_in6("::192.0.2.1", 80)));
	b = in6("fe80::1", 1);
	b.sin6_scope_id = 2;
	CHECK(!matches(of_in6("fe80::1", 1), 128, of(&b, sizeof(b))));
	CHECK_EQ(address_bits(&plain), 32);
	plain = of_in6("::1", 1);
	CHECK_EQ(address_bits(&plain), 128);
}

static struct address of_un(const char *path, size_t len)
{
	struct sockaddr_un u = { .sun_family = AF_UNIX };

	memset(u.sun_path, 0xa5, sizeof(u.sun_path));
	memcpy(u.sun_path, path, len);
	return of(&u, HEAD + len);
}

static void local(void)
{
	struct sockaddr_un u = { .sun_family = AF_UNIX };
	struct address path = of_un("/run/x", 6), abstract = of_un("\0name", 5), a;

	CHECK_EQ(address_bits(&path), 0);
	/* With its NUL, without, with bytes after it. */
	CHECK(matches(path, 0, of_un("/run/x", 7)));
	CHECK(matches(path, 0, of_un("/run/x\0zzz", 10)));
	CHECK(!matches(path, 0, of_un("/run/xy", 7)));
	CHECK(!matches(path, 0, of_un("/run/", 5)));
	CHECK(!matches(path, 0, of_un("/run//x", 7)));
	CHECK(!matches(path, 0, of_un("\0/run/x", 7)));
	/* Of an abstract name every byte counts, NULs and all. */
	CHECK(matches(abstract, 0, of_un("\0name", 5)));
	CHECK(!matches(abstract, 0, of_un("\0name", 6)));
	CHECK(!matches(abstract, 0, of_un("\0nam", 4)));
	CHECK(!matches(abstract, 0, of_un("\0", 1)));
	CHECK(!matches(of_un("\0a\0b", 4), 0, of_un("\0a\0c", 4)));
	/* No name: the kernel would make one up. */
	CHECK_ERR(address_read(&a, &u, HEAD), -EACCES);
	CHECK_ERR(address_read(&a, &u, 1), -EINVAL);
	memset(u.sun_path, '/', sizeof(u.sun_path));
	CHECK_ERR(address_read(&a, &u, sizeof(u)), -EINVAL);
	CHECK_ERR(address_read(&a, &u, sizeof(u) + 1), -EINVAL);
	CHECK_OK(address_read(&a, &u, sizeof(u) - 1));
	CHECK_EQ(a.len, sizeof(u));
}

static void others(void)
{
	static const sa_family_t family[] = { AF_UNSPEC, AF_NETLINK, AF_PACKET, AF_VSOCK, AF_ALG,
					      AF_AX25,	 AF_MAX,     0xffff };
	unsigned char bytes[128] = { 0 };
	struct address a;

	for (unsigned i = 0; i < sizeof(family) / sizeof(family[0]); i++) {
		memcpy(bytes, &family[i], sizeof(family[i]));
		CHECK_ERR(address_read(&a, bytes, sizeof(bytes)), -EACCES);
		CHECK_ERR(address_read(&a, bytes, sizeof(family[i])), -EACCES);
	}
}

int main(void)
{
	internet();
	local();
	others();
	return TEST_PASSED;
}
