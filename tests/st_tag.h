/* SPDX-License-Identifier: MIT */
/* st_tag.h - what tests of tags share.  World: host. */
#ifndef TESTS_ST_TAG_H
#define TESTS_ST_TAG_H

#include "tests/st.h"

static inline struct sthread_tag *tag(const char *name, size_t max)
{
	struct sthread_tag *t;

	CHECK_OK(sthread_tag_create(&t, name, max));
	return t;
}

/* A policy that grants one tag, or none (NULL). */
static inline struct sthread_policy *grants(struct sthread_tag *t, unsigned rights)
{
	struct sthread_policy *p = st_policy();

	if (t)
		CHECK_OK(sthread_policy_tag(p, t, rights));
	return p;
}

#endif
