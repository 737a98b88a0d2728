/* SPDX-License-Identifier: MIT */
/*
 * address.h - socket addresses in one form each, so that they can be compared.  World: host.
 */
#ifndef STHREAD_POLICY_ADDRESS_H
#define STHREAD_POLICY_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

struct address {
	socklen_t len;  /* as the host's kernel is told */
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	};
};

/*
 * Reads an address as somebody wrote it.  Two that mean the same give the same bytes: what has no
 * meaning is zeros, and what could be written in two ways may be written in one only.
 *
 *	AF_INET   port, address
 *	AF_INET6  port, address, scope; no flow label, no IPv4-mapped address (that is AF_INET's)
 *	AF_UNIX   a path, up to its NUL or the end; or an abstract name, all of it
 *
 * -EINVAL: too short or too long for its family, or a flow label.  -EACCES: any other family, an
 * IPv4-mapped address, an AF_UNIX address without a name (which would be made up by the kernel).
 */
int address_read(struct address *a, const void *bytes, size_t len);
/* `a` is `rule`, or differs after the first `prefix` bits of an internet address only. */
bool address_matches(const struct address *rule, unsigned prefix, const struct address *a);
/* Zeros after the first `prefix` bits of an internet address. */
void address_truncate(struct address *a, unsigned prefix);
/* Bits of the address; 0: its family has no prefixes. */
unsigned address_bits(const struct address *a);

#endif
