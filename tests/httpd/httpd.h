/* SPDX-License-Identifier: MIT */
/* A httpd-demo as a child, and a client that speaks raw bytes. World: host. */
#ifndef TESTS_HTTPD_H
#define TESTS_HTTPD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct server;

/* Runs every case against one isolation; argv[1] is the server's program. Gives an exit status. */
int httpd_test(int argc, char **argv, const char *isolation);

void test_answers(const struct server *s);
void test_streams(const struct server *s);
void test_life(void);
void test_attacks(bool is_sthread, bool is_none);

#define SITE_BIG  (8 << 20)   /* bytes of the file big.bin */
#define SITE_HUGE (128 << 20) /* bytes of huge.bin, all zero */

/* Makes the site, and goes there. */
void site_make(void);
void site_remove(void);
const char *site_dir(void);  /* the folder around the root, for logs */
const char *site_root(void);
const char *site_big(void);  /* what big.bin holds */
/* The server still answers, over a new connection. */
void check_alive(const struct server *s);
void sleep_ms(long ms);

struct server {
	pid_t pid;
	int port;
	char log[512];              /* the file that its standard error goes to */
	unsigned long mapped, variable; /* where its secret lies; with --demo-flaw */
	char secret[64];
	int out;                    /* its standard output, from after "listening on" */
};

/* Starts it beneath `root` with further arguments, NULL at the end, and waits until it listens. */
void server_start(struct server *s, const char *root, ...) __attribute__((sentinel));
/* Sends SIGTERM, expects exit status 0, and gives what it still wrote to its standard output. */
void server_stop(struct server *s, char *out, size_t len);
/* Waits (10 s at most) until its log holds the text. */
bool server_logged(struct server *s, const char *text);
/* How often its log holds the text. */
unsigned server_log_count(const struct server *s, const char *text);
/* How many descriptors it has open. */
unsigned server_fds(const struct server *s);
/* Starts it with arguments that it must refuse: expects this exit status, and text in its words. */
void server_refuses(int status, const char *text, ...) __attribute__((sentinel));
/* The limits on open files that servers are started with from now on; 0: this test's own. */
void server_files(unsigned soft, unsigned hard);
void server_program(const char *program, const char *isolation, const char *dir);

struct client {
	int fd;
	size_t have, at; /* bytes in buf, and how many of them are used */
	char buf[65536];
	/* The last answer. */
	int status;
	char head[16384]; /* with the empty line */
	char *body;       /* malloc()ed, NUL-terminated */
	size_t body_len;
	bool closes;      /* it said "Connection: close" */
};

void client_connect(struct client *c, const struct server *s);
void client_close(struct client *c);
void client_send(struct client *c, const void *data, size_t len);
void client_say(struct client *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Reads one answer; false if the connection ends before its first byte. */
bool client_answer(struct client *c, bool is_head);
/* True if the server has closed, with nothing more to read. Waits for it. */
bool client_at_end(struct client *c);
/* The value of a field of the last answer's head, or NULL. Valid until the next call. */
const char *client_field(const struct client *c, const char *name);

/* One GET over a connection of its own, which must be answered; gives the status. */
int client_get(struct client *c, const struct server *s, const char *target);

#endif
