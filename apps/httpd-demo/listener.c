/* SPDX-License-Identifier: MIT */
/*
 * Listening and accepting. World: master.
 *
 * Every thread accepts one connection at a time and has it served by config.isolation. The master
 * itself never reads a byte of a connection.
 */
#include "listener.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "conn.h"
#include "isolation.h"
#include "log.h"

#define THREAD_STACK (1 << 20) /* what a compartment has; conn_serve() takes 300 KiB of it */
#define REPORT_MAX   12288

static int listenfd = -1;

/* The connections being served, so that stopping can reach them. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t thread_ended;
	bool stopping, breaking_off;
	unsigned threads;
	int *connfd; /* one per thread; -1: it is between connections */
} served = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void format_address(const struct sockaddr *sa, socklen_t salen, char *text, size_t len)
{
	char host[64], port[16];

	if (getnameinfo(sa, salen, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		snprintf(text, len, "an unknown address");
	else
		snprintf(text, len, sa->sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

/* ADDRESS:PORT or [ADDRESS]:PORT into the two. */
static bool split_address(const char *text, char *host, size_t hostlen, const char **port)
{
	const char *colon = strrchr(text, ':');
	size_t len;

	if (!colon || !colon[1])
		return false;
	*port = colon + 1;
	len = (size_t)(colon - text);
	if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	} else if (memchr(text, ':', len)) {
		return false;
	}
	if (!len || len >= hostlen)
		return false;
	memcpy(host, text, len);
	host[len] = '\0';
	return true;
}

int listener_open(const char *address, char *why, size_t len)
{
	struct addrinfo hints = {
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
		.ai_socktype = SOCK_STREAM,
	};
	struct addrinfo *ai;
	char host[64];
	const char *port;
	int fd, err, one = 1;

	if (!split_address(address, host, sizeof(host), &port) ||
	    getaddrinfo(host, port, &hints, &ai)) {
		snprintf(why, len,
			 "is not an address to listen on. Write it as 127.0.0.1:8080 or [::1]:8080");
		return -EINVAL;
	}
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    bind(fd, ai->ai_addr, ai->ai_addrlen) || listen(fd, 1024)) {
		err = errno;
		if (err == EADDRINUSE)
			snprintf(why, len,
				 "another program listens there. Stop it, or choose another port");
		else if (err == EACCES)
			snprintf(why, len, "ports below 1024 need root. Choose a higher one");
		else if (err == EADDRNOTAVAIL)
			snprintf(why, len, "this machine does not have that address");
		else
			snprintf(why, len, "%s", strerror(err));
		if (fd >= 0)
			close(fd);
		freeaddrinfo(ai);
		return -err;
	}
	freeaddrinfo(ai);
	listenfd = fd;
	return 0;
}

void listener_address(char *text, size_t len)
{
	struct sockaddr_storage sa;
	socklen_t salen = sizeof(sa);

	if (getsockname(listenfd, (struct sockaddr *)&sa, &salen))
		snprintf(text, len, "an unknown address");
	else
		format_address((struct sockaddr *)&sa, salen, text, len);
}

/* Enters the connection of a thread, or with -1 takes it out. */
static void served_set(unsigned thread, int connfd)
{
	pthread_mutex_lock(&served.lock);
	served.connfd[thread] = connfd;
	if (connfd >= 0 && served.stopping) /* accepted while stopping */
		shutdown(connfd, served.breaking_off ? SHUT_RDWR : SHUT_RD);
	pthread_mutex_unlock(&served.lock);
}

static void set_timeouts(int connfd)
{
	struct timeval tv = { .tv_sec = config.timeout };
	int one = 1;

	setsockopt(connfd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(connfd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	/* Answers go out in one piece; the last piece of a file must not wait for the client. */
	setsockopt(connfd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void have_served(unsigned thread, int connfd, const struct sockaddr *sa, socklen_t salen)
{
	char report[REPORT_MAX], peer[96];
	bool bad;
	int end;

	set_timeouts(connfd);
	served_set(thread, connfd);
	end = config.isolation->serve(connfd, report, sizeof(report));
	served_set(thread, -1);
	bad = end < 0 || end == CONN_SLOW || end == CONN_STALLED || end >= CONN_ENDS;
	if (config.verbose || (bad && log_admits())) {
		format_address(sa, salen, peer, sizeof(peer));
		log_line("%s: %s", peer, end < 0 ? report : conn_end_text((enum conn_end)end));
	}
	close(connfd);
}

static bool is_stopping(void)
{
	bool stopping;

	pthread_mutex_lock(&served.lock);
	stopping = served.stopping;
	pthread_mutex_unlock(&served.lock);
	return stopping;
}

/* accept() failed: waits if need be. */
static void accept_failed(int err)
{
	static _Atomic time_t last;
	struct timespec pause = { .tv_nsec = 100 * 1000000L };
	time_t now = time(NULL);

	switch (err) {
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
		break; /* passes when connections end */
	default:
		/* EINTR, ECONNABORTED, and what the network does to a connection not yet taken. */
		return;
	}
	if (atomic_exchange_explicit(&last, now, memory_order_relaxed) != now)
		log_line("cannot accept connections for now: %s", strerror(err));
	nanosleep(&pause, NULL);
}

static void *accept_loop(void *arg)
{
	unsigned thread = (unsigned)(uintptr_t)arg;
	struct sockaddr_storage sa;
	socklen_t salen;
	int connfd;

	while (!is_stopping()) {
		salen = sizeof(sa);
		connfd = accept4(listenfd, (struct sockaddr *)&sa, &salen, SOCK_CLOEXEC);
		if (connfd >= 0)
			have_served(thread, connfd, (struct sockaddr *)&sa, salen);
		else if (!is_stopping())
			accept_failed(errno);
	}
	pthread_mutex_lock(&served.lock);
	served.threads--;
	pthread_cond_signal(&served.thread_ended);
	pthread_mutex_unlock(&served.lock);
	return NULL;
}

int listener_start(void)
{
	pthread_condattr_t cond;
	pthread_attr_t attr;
	pthread_t thread;
	int err = 0;

	pthread_condattr_init(&cond);
	pthread_condattr_setclock(&cond, CLOCK_MONOTONIC);
	pthread_cond_init(&served.thread_ended, &cond);
	pthread_condattr_destroy(&cond);
	served.connfd = malloc(config.max_connections * sizeof(*served.connfd));
	if (!served.connfd)
		return -ENOMEM;
	for (unsigned i = 0; i < config.max_connections; i++)
		served.connfd[i] = -1;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, THREAD_STACK);
	pthread_mutex_lock(&served.lock);
	for (unsigned i = 0; i < config.max_connections && !err; i++) {
		err = pthread_create(&thread, &attr, accept_loop, (void *)(uintptr_t)i);
		if (!err)
			served.threads++;
	}
	pthread_mutex_unlock(&served.lock);
	pthread_attr_destroy(&attr);
	return -err;
}

/* Waits until the threads have ended, or the time is up. The lock is held. */
static unsigned wait_for_threads(unsigned seconds)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += seconds;
	while (served.threads)
		if (pthread_cond_timedwait(&served.thread_ended, &served.lock, &until))
			break;
	return served.threads;
}

static unsigned end_connections(int how, unsigned seconds)
{
	unsigned left;

	for (unsigned i = 0; i < config.max_connections; i++)
		if (served.connfd[i] >= 0)
			shutdown(served.connfd[i], how);
	left = wait_for_threads(seconds);
	pthread_mutex_unlock(&served.lock);
	return left;
}

unsigned listener_stop(unsigned seconds)
{
	pthread_mutex_lock(&served.lock);
	served.stopping = true;
	shutdown(listenfd, SHUT_RDWR); /* accept() fails from now on */
	/* A read of the next request finds the end; an answer under way still gets out. */
	return end_connections(SHUT_RD, seconds);
}

unsigned listener_break_off(unsigned seconds)
{
	pthread_mutex_lock(&served.lock);
	served.breaking_off = true;
	return end_connections(SHUT_RDWR, seconds);
}
