// SPDX-License-Identifier: MIT
/* address.c - socket addresses in one form each.  World: host. */
#include "sthread/policy/address.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

static int read_in(struct address *a, const void *bytes, size_t len)
{
	struct sockaddr_in in;

	if (len < sizeof(in))
		return -EINVAL;
	memcpy(&in, bytes, sizeof(in));
	a->in = (struct sockaddr_in){ .sin_family = AF_INET,
				      .sin_port = in.sin_port,
				      .sin_addr = in.sin_addr };
	a->len = sizeof(a->in);
	return 0;
}

static int read_in6(struct address *a, const void *bytes, size_t len)
{
	struct sockaddr_in6 in;

	if (len < sizeof(in))
		return -EINVAL;
	memcpy(&in, bytes, sizeof(in));
	if (in.sin6_flowinfo)
		return -EINVAL;
	if (IN6_IS_ADDR_V4MAPPED(&in.sin6_addr))
		return -EACCES;
	a->in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6,
					.sin6_port = in.sin6_port,
					.sin6_addr = in.sin6_addr,
					.sin6_scope_id = in.sin6_scope_id };
	a->len = sizeof(a->in6);
	return 0;
}

static int read_un(struct address *a, const char *bytes, size_t len)
{
	const size_t head = offsetof(struct sockaddr_un, sun_path);
	size_t n = len - head;

	if (len > sizeof(a->un))
		return -EINVAL;
	if (len <= head)
		return -EACCES;
	a->un.sun_family = AF_UNIX;
	if (bytes[head]) {
		n = strnlen(bytes + head, n);
		if (n == sizeof(a->un.sun_path)) /* so that it ends with a NUL always */
			return -EINVAL;
		a->len = (socklen_t)(head + n + 1);
	} else {
		a->len = (socklen_t)len;
	}
	memcpy(a->un.sun_path, bytes + head, n);
	return 0;
}

int address_read(struct address *a, const void *bytes, size_t len)
{
	sa_family_t family;

	memset(a, 0, sizeof(*a));
	if (len < sizeof(family))
		return -EINVAL;
	memcpy(&family, bytes, sizeof(family));
	switch (family) {
	case AF_INET:
		return read_in(a, bytes, len);
	case AF_INET6:
		return read_in6(a, bytes, len);
	case AF_UNIX:
		return read_un(a, bytes, len);
	default:
		return -EACCES;
	}
}

unsigned address_bits(const struct address *a)
{
	return a->any.sa_family == AF_INET ? 32 : a->any.sa_family == AF_INET6 ? 128 : 0;
}

static bool same_bits(const unsigned char *a, const unsigned char *b, unsigned bits)
{
	unsigned rest = bits % 8;

	return !memcmp(a, b, bits / 8) && (!rest || !((a[bits / 8] ^ b[bits / 8]) >> (8 - rest)));
}

bool address_matches(const struct address *rule, unsigned prefix, const struct address *a)
{
	if (rule->any.sa_family != a->any.sa_family)
		return false;
	switch (a->any.sa_family) {
	case AF_INET:
		return rule->in.sin_port == a->in.sin_port &&
		       same_bits((const void *)&rule->in.sin_addr, (const void *)&a->in.sin_addr,
				 prefix);
	case AF_INET6:
		return rule->in6.sin6_port == a->in6.sin6_port &&
		       rule->in6.sin6_scope_id == a->in6.sin6_scope_id &&
		       same_bits((const void *)&rule->in6.sin6_addr,
				 (const void *)&a->in6.sin6_addr, prefix);
	default:
		return rule->len == a->len && !memcmp(&rule->un, &a->un, a->len);
	}
}

void address_truncate(struct address *a, unsigned prefix)
{
	unsigned char *bytes = a->any.sa_family == AF_INET ? (unsigned char *)&a->in.sin_addr :
							     (unsigned char *)&a->in6.sin6_addr;

	for (unsigned bit = prefix; bit < address_bits(a); bit++)
		bytes[bit / 8] &= (unsigned char)~(0x80u >> bit % 8);
}
