/* SPDX-License-Identifier: MIT */
/*
 * kinds.h - the kinds of rights that a policy holds.  World: host.
 *
 * A new kind is one line of POLICY_KINDS; what it then takes does not compile before it is there:
 *
 *	format_KIND()  in format.c: its rights as lines of text
 *	within_KIND()  in compare.c: is every right that p gives one that `of` gives?
 *
 * The order is that of the text.  Two policies of which each is within the other have the same
 * lines: so a function of one file shows what that of the other compares, and no more.  (Gates
 * and tags are shown by their names, which two may share.)
 */
#ifndef STHREAD_POLICY_KINDS_H
#define STHREAD_POLICY_KINDS_H

#include <stdbool.h>

struct policy_rule;
struct policy_address;

/* Does `of` allow all that the first allows? */
bool rule_within(const struct policy_rule *r, const struct policy_rule *of);
bool address_within(const struct policy_address *a, const struct policy_address *of);

#define POLICY_KINDS(X) \
	X(descriptors)  \
	X(calls)        \
	X(rules)        \
	X(addresses)    \
	X(memory)       \
	X(gates)        \
	X(limits)

#endif
