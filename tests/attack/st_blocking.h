/* SPDX-License-Identifier: MIT */
/* st_blocking.h - what system calls wait for: made, and let come.  World: host. */
#ifndef TESTS_ATTACK_ST_BLOCKING_H
#define TESTS_ATTACK_ST_BLOCKING_H

#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <sys/un.h>

#include "tests/st.h"

#define HOUR_MS 3600000

/* Of the listener that has no room. */
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static socklen_t address_len;

struct place {
	int inside; /* granted; or ms, if `time` */
	bool time;
	int other, third; /* the master's; -1: none */
};

static void fill(int fd)
{
	static const char much[4096];
	int flags = fcntl(fd, F_GETFL);

	CHECK(!fcntl(fd, F_SETFL, flags | O_NONBLOCK));
	while (write(fd, much, sizeof(much)) > 0)
		;
	CHECK_EQ(errno, EAGAIN);
	CHECK(!fcntl(fd, F_SETFL, flags));
}

static void drain(struct place *p)
{
	char much[4096];

	CHECK(!fcntl(p->other, F_SETFL, O_NONBLOCK));
	while (read(p->other, much, sizeof(much)) > 1) /* one: that which waited */
		;
}

static void put(struct place *p)
{
	CHECK_EQ(write(p->other, "x", 1), 1);
}

static void empty_pipe(struct place *p)
{
	int fd[2];

	CHECK(!pipe2(fd, O_CLOEXEC));
	p->inside = fd[0];
	p->other = fd[1];
}

static void full_pipe(struct place *p)
{
	int fd[2];

	CHECK(!pipe2(fd, O_CLOEXEC));
	fill(fd[1]);
	p->inside = fd[1];
	p->other = fd[0];
}

static void empty_socket(struct place *p)
{
	int fd[2];

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd));
	p->inside = fd[0];
	p->other = fd[1];
}

static void full_socket(struct place *p)
{
	empty_socket(p);
	fill(p->inside);
}

static int stream(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	return fd;
}

static void listener(struct place *p)
{
	const struct sockaddr any = { .sa_family = AF_UNIX };

	p->inside = stream();
	CHECK(!bind(p->inside, &any, sizeof(any.sa_family)) && !listen(p->inside, 1));
}

static void connects(struct place *p)
{
	struct sockaddr_un there;
	socklen_t len = sizeof(there);

	p->other = stream();
	CHECK(!getsockname(p->inside, (struct sockaddr *)&there, &len));
	CHECK(!connect(p->other, (struct sockaddr *)&there, len));
}

static const struct sockaddr *where(void)
{
	return (const struct sockaddr *)&address;
}

/* A listener with nobody to accept, and no room for another. */
static void full_listener(struct place *p)
{
	p->other = stream();
	CHECK(!bind(p->other, where(), address_len) && !listen(p->other, 0));
	p->third = stream();
	CHECK(!connect(p->third, where(), address_len));
	p->inside = stream();
}

static void accepts(struct place *p)
{
	int fd = accept4(p->other, NULL, NULL, SOCK_CLOEXEC);

	CHECK(fd >= 0);
	close(fd);
}

/* Two open files of one: the other has the lock. */
static void locked(struct place *p)
{
	char name[64];

	p->other = memfd_create("locked", MFD_CLOEXEC);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", p->other);
	p->inside = open(name, O_RDWR | O_CLOEXEC);
	CHECK(p->inside >= 0 && !flock(p->other, LOCK_EX));
}

static void unlocks(struct place *p)
{
	CHECK(!flock(p->other, LOCK_UN));
}

static void event(struct place *p)
{
	p->inside = eventfd(0, EFD_CLOEXEC);
	p->other = dup(p->inside);
	CHECK(p->inside >= 0 && p->other >= 0);
}

static void counts(struct place *p)
{
	CHECK(!eventfd_write(p->other, 1));
}

static void full_event(struct place *p)
{
	event(p);
	CHECK(!eventfd_write(p->other, UINT64_MAX - 1));
}

static void empties(struct place *p)
{
	eventfd_t was;

	CHECK(!eventfd_read(p->other, &was));
}

static void timer(struct place *p)
{
	p->inside = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	p->other = dup(p->inside);
	CHECK(p->inside >= 0 && p->other >= 0);
}

static void arms(struct place *p)
{
	const struct itimerspec soon = { .it_value.tv_nsec = 1000000 };

	CHECK(!timerfd_settime(p->other, 0, &soon, NULL));
}

static void hour(struct place *p)
{
	p->time = true;
	p->inside = HOUR_MS;
}

#endif
