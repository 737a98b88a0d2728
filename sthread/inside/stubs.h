/* SPDX-License-Identifier: MIT */
/*
 * stubs.h - public calls as a compartment makes them: each asks the host.  World: ring 3.
 *
 * Each has the prototype of the public call of its name, which calls it where is_inside() is true.
 * Handles that come back are the host's: it compares them, and never follows them.
 */
#ifndef STHREAD_INSIDE_STUBS_H
#define STHREAD_INSIDE_STUBS_H

#include <sthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- policy.c ---- */

int inside_policy_create(struct sthread_policy **out);
void inside_policy_destroy(struct sthread_policy *p);
int inside_policy_fd(struct sthread_policy *p, int fd, unsigned rights);
int inside_policy_dir(struct sthread_policy *p, int dirfd, unsigned rights);
int inside_policy_syscall(struct sthread_policy *p, long nr, enum sthread_action action);
int inside_policy_syscall_arg(struct sthread_policy *p, long nr, unsigned arg, uint64_t mask,
			      uint64_t value);
int inside_policy_limit(struct sthread_policy *p, enum sthread_limit limit, uint64_t value);
int inside_policy_tag(struct sthread_policy *p, struct sthread_tag *tag, unsigned rights);
int inside_policy_memory(struct sthread_policy *p, void *addr, size_t len, unsigned rights);
int inside_policy_tagged(struct sthread_policy *p, const char *name, unsigned rights);
int inside_policy_gate(struct sthread_policy *p, struct sthread_gate *gate);
int inside_policy_connect(struct sthread_policy *p, const struct sockaddr *addr, socklen_t len,
			  int prefix);
int inside_policy_bind(struct sthread_policy *p, const struct sockaddr *addr, socklen_t len,
		       int prefix);
int inside_policy_format(const struct sthread_policy *p, char *buf, size_t len);
int inside_policy_is_subset(const struct sthread_policy *p, const struct sthread_policy *of);

/* ---- sthread.c ---- */

int inside_create(struct sthread **out, const struct sthread_policy *policy, void *(*fn)(void *),
		  void *arg);
int inside_call(const struct sthread_policy *policy, void *(*fn)(void *), void *arg,
		struct sthread_result *result);
int inside_join(struct sthread *st, struct sthread_result *result);
int inside_kill(struct sthread *st);
int inside_detach(struct sthread *st);

/* ---- gate.c ---- */

int inside_gate_create(struct sthread_gate **out, const struct sthread_gate_config *cfg);
void inside_gate_destroy(struct sthread_gate *gate);
ssize_t inside_gate_call(struct sthread_gate *gate, const void *in, size_t in_len, void *out,
			 size_t out_cap);
int inside_gate_find(struct sthread_gate **out, const char *name);
int inside_gate_caller(struct sthread_id *out);
int inside_gate_give_fd(int fd, unsigned rights);
int inside_gate_give_tag(struct sthread_tag *tag, unsigned rights);

/* ---- tag.c: an address or a negative errno ---- */

long inside_malloc(struct sthread_tag *tag, size_t size);
long inside_calloc(struct sthread_tag *tag, size_t size);
long inside_realloc(struct sthread_tag *tag, void *ptr, size_t size);
void inside_free(void *ptr);
struct sthread_tag *inside_tag_of(const void *ptr);

#endif
