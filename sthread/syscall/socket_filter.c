// SPDX-License-Identifier: MIT
/*
 * socket_filter.c - whom a datagram socket that was made inside hears.  World: host.
 *
 * The kernel gives such a socket a port when it first sends, and then anybody can send to that.
 * So the socket is made with a filter, a program of classic BPF that the kernel runs on each
 * datagram before it is queued: it passes what comes from an address that the policy grants for
 * sending.  Nothing else is there to be received, waited for, peeked at or counted, whoever
 * reads, under whichever number.  A policy does not change while a run has it, and neither do its
 * sockets' filters.
 *
 *	M[PORT], M[SCOPE], M[WORD...] = the sender
 *	for each rule:  if all of it matches: pass
 *	drop
 */
#include "sthread/syscall/calls.h"

#include <linux/filter.h>
#include <string.h>
#include <sys/socket.h>

enum { PORT, SCOPE, WORD }; /* of the program's memory */

#define WORDS	     4	  /* of an IPv6 address */
#define MISS	     0xff /* a jump that next() sets: on to the next rule */
#define RULE_MOST    (5 + 3 * WORDS + 1)
#define PROGRAM_MOST (2 + 7 + 2 * WORDS + POLICY_ADDRESSES * RULE_MOST + 1)

#define IN_SOURCE    12 /* of an IPv4 header */
#define IN6_SOURCE   8	/* of an IPv6 header */

struct program {
	struct sock_filter code[PROGRAM_MOST];
	unsigned short n;
};

static void put(struct program *p, unsigned code, uint32_t k, unsigned hit, unsigned miss)
{
	p->code[p->n++] = (struct sock_filter){ (uint16_t)code, (uint8_t)hit, (uint8_t)miss, k };
}

static void keep(struct program *p, unsigned size, uint32_t at, unsigned where)
{
	put(p, BPF_LD | BPF_ABS | size, at, 0, 0);
	put(p, BPF_ST, where, 0, 0);
}

/* What was loaded last, under a mask, is `value`. */
static void expect(struct program *p, uint32_t mask, uint32_t value)
{
	if (mask != UINT32_MAX)
		put(p, BPF_ALU | BPF_AND | BPF_K, mask, 0, 0);
	put(p, BPF_JMP | BPF_JEQ | BPF_K, value, 0, MISS);
}

/*
 * A link-local sender has a scope, as where its name is shown: the interface; others have none,
 * 0.
 */
static void keep_scope(struct program *p)
{
	put(p, BPF_LD | BPF_MEM, WORD, 0, 0);
	put(p, BPF_ALU | BPF_AND | BPF_K, 0xffc00000, 0, 0);
	put(p, BPF_JMP | BPF_JEQ | BPF_K, 0xfe800000, 0, 2);
	put(p, BPF_LD | BPF_ABS | BPF_W, (uint32_t)(SKF_AD_OFF + SKF_AD_IFINDEX), 0, 0);
	put(p, BPF_JMP | BPF_JA, 1, 0, 0);
	put(p, BPF_LD | BPF_IMM, 0, 0, 0);
	put(p, BPF_ST, SCOPE, 0, 0);
}

/* The datagram begins with its UDP header, and that with the sender's port. */
static void sender(struct program *p, int domain)
{
	const uint32_t source = domain == AF_INET ? IN_SOURCE : IN6_SOURCE;
	const unsigned words = domain == AF_INET ? 1 : WORDS;

	keep(p, BPF_H, 0, PORT);
	for (unsigned i = 0; i < words; i++)
		keep(p, BPF_W, (uint32_t)SKF_NET_OFF + source + 4 * i, WORD + i);
	if (domain == AF_INET6)
		keep_scope(p);
}

static void address(struct program *p, const void *bytes, unsigned words, unsigned prefix)
{
	uint32_t word[WORDS];

	memcpy(word, bytes, words * sizeof(*word));
	for (unsigned i = 0; i < words && prefix > 32 * i; i++) {
		unsigned rest = prefix - 32 * i;

		put(p, BPF_LD | BPF_MEM, WORD + i, 0, 0);
		expect(p, rest < 32 ? ~(UINT32_MAX >> rest) : UINT32_MAX, ntohl(word[i]));
	}
}

static void rule(struct program *p, const struct policy_address *r)
{
	const struct address *a = &r->address;
	unsigned first = p->n;

	put(p, BPF_LD | BPF_MEM, PORT, 0, 0);
	if (a->any.sa_family == AF_INET) {
		expect(p, UINT32_MAX, ntohs(a->in.sin_port));
		address(p, &a->in.sin_addr, 1, r->prefix);
	} else {
		expect(p, UINT32_MAX, ntohs(a->in6.sin6_port));
		/* To send to what is not link-local the kernel ignores the scope. */
		put(p, BPF_LD | BPF_MEM, SCOPE, 0, 0);
		put(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0);
		expect(p, UINT32_MAX, a->in6.sin6_scope_id);
		address(p, &a->in6.sin6_addr, WORDS, r->prefix);
	}
	put(p, BPF_RET | BPF_K, UINT32_MAX, 0, 0);
	for (unsigned i = first; i < p->n; i++)
		if (p->code[i].jf == MISS)
			p->code[i].jf = (uint8_t)(p->n - i - 1);
}

int sys_filter_raise(int fd, int domain, const struct policy *policy)
{
	struct program p = { .n = 0 };
	struct sock_fprog prog = { .filter = p.code };

	sender(&p, domain);
	for (unsigned i = 0; i < policy->addresses; i++) {
		const struct policy_address *r = &policy->address[i];

		if ((r->use & POLICY_CONNECT) && r->address.any.sa_family == domain)
			rule(&p, r);
	}
	put(&p, BPF_RET | BPF_K, 0, 0, 0);
	prog.len = p.n;
	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) < 0 ? -errno : 0;
}

void sys_filter_drop(int fd)
{
	const int unused = 0;

	setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(unused));
}
