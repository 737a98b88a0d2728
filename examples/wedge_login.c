/* SPDX-License-Identifier: MIT */
/*
 * A mail server's login, partitioned as the Wedge paper does it.  World: the program; worker() and the two callgates run
 * inside, each in its own compartment.
 *
 *   build/examples/wedge_login
 *
 *                     passwords (tag)          mailboxes (tag)
 *                          | read                   | read
 *   network <-> worker -> check_password -session-> read_mail        -> callgate, in this order only
 *                  \_____________|__________________|_ slate (tag)
 *
 * worker() meets the untrusted request.  It has the connection and the slate, on which it writes what it asks for.
 * check_password() alone sees passwords, and says yes or no; only after a yes may the worker call read_mail(), which
 * alone sees mail, and takes from the session, which the worker cannot touch, whose it is to fetch.  So whoever takes
 * over worker() can guess passwords, and that is all.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sthread/wedge.h>

#define NAME 16
#define TEXT 64

struct slate { /* worker and callgates read and write it */
	int conn;
	char user[NAME], password[TEXT];
	char mail[TEXT];
};

struct session { /* check_password() writes it, read_mail() reads it */
	char user[NAME];
};

struct record {
	char user[NAME];
	uint64_t hash;	 /* in passwords */
	char mail[TEXT]; /* in mailboxes */
};

/* The trusted argument of both callgates, in the tag that only the one has. */
struct shelf {
	tag_t slate;
	struct session *session;
	struct record record[2];
};

/* A toy: FNV-1a. */
static uint64_t hash_of(const char *s)
{
	uint64_t hash = 0xcbf29ce484222325;

	while (*s)
		hash = (hash ^ (unsigned char)*s++) * 0x100000001b3;
	return hash;
}

static const struct record *record_of(const struct shelf *shelf, const char *user)
{
	for (int i = 0; i < 2; i++)
		if (!strcmp(shelf->record[i].user, user))
			return &shelf->record[i];
	return NULL;
}

/*
 * The callgates.  arg is hostile: a pointer to anywhere, to be believed only if it is into the slate's tag, and what is
 * there is copied before it is looked at.
 */
static void *check_password(void *trusted, void *arg)
{
	const struct shelf *passwords = trusted;
	const struct record *found;
	struct slate asked;

	if (sthread_tag_of(arg) != passwords->slate)
		return NULL;
	memcpy(&asked, arg, sizeof(asked));
	asked.user[NAME - 1] = asked.password[TEXT - 1] = '\0';
	found = record_of(passwords, asked.user);
	if (!found || found->hash != hash_of(asked.password))
		return NULL;
	memcpy(passwords->session->user, found->user, NAME);
	return arg;
}
CGATE(check_password);

static void *read_mail(void *trusted, void *arg)
{
	const struct shelf *mailboxes = trusted;
	const struct record *found = record_of(mailboxes, mailboxes->session->user);

	if (sthread_tag_of(arg) != mailboxes->slate || !found)
		return NULL;
	memcpy(((struct slate *)arg)->mail, found->mail, TEXT);
	return arg;
}
CGATE(read_mail);

static void say(int conn, const char *words)
{
	if (write(conn, words, strlen(words)) < 0)
		sthread_exit(NULL);
}

/* Reads "USER PASSWORD\n" and answers with the mail. */
static void *worker(void *arg)
{
	struct slate *slate = arg;
	char request[128], *password, *end;
	ssize_t n = read(slate->conn, request, sizeof(request) - 1);

	request[n > 0 ? n : 0] = '\0';
	password = strchr(request, ' ');
	end = strchr(request, '\n');
	if (!password || !end || password - request >= NAME || end <= password ||
	    end - password > TEXT) {
		say(slate->conn, "what?\n");
		return NULL;
	}
	*password++ = *end = '\0';
	strcpy(slate->user, request);
	strcpy(slate->password, password);
	if (!cgate(check_password, NULL, slate)) {
		say(slate->conn, "no\n");
		return NULL;
	}
	if (!cgate(read_mail, NULL, slate))
		return NULL;
	say(slate->conn, slate->mail);
	return slate;
}

/* ---- the master ------------------------------------------------------------------------------------------ */

struct server {
	tag_t slate_tag, session_tag, passwords_tag, mailboxes_tag;
	struct slate *slate;
	struct session *session;
	struct shelf *passwords, *mailboxes;
};

static struct shelf *shelf_new(const struct server *s, tag_t tag)
{
	struct shelf *shelf = smalloc(sizeof(*shelf), tag);

	if (!shelf)
		return NULL;
	memset(shelf, 0, sizeof(*shelf));
	shelf->slate = s->slate_tag;
	shelf->session = s->session;
	strcpy(shelf->record[0].user, "alice");
	strcpy(shelf->record[1].user, "bob");
	return shelf;
}

/*
 * The secrets, after the checkpoint.  A real server reads them from files: what is written here is in the text of the
 * program, too, and that all compartments can read.
 */
static int server_open(struct server *s)
{
	s->slate_tag = tag_new();
	s->session_tag = tag_new();
	s->passwords_tag = tag_new();
	s->mailboxes_tag = tag_new();
	if (!s->slate_tag || !s->session_tag || !s->passwords_tag || !s->mailboxes_tag)
		return -errno;
	s->slate = smalloc(sizeof(*s->slate), s->slate_tag);
	s->session = smalloc(sizeof(*s->session), s->session_tag);
	s->passwords = shelf_new(s, s->passwords_tag);
	s->mailboxes = shelf_new(s, s->mailboxes_tag);
	if (!s->slate || !s->session || !s->passwords || !s->mailboxes)
		return -errno;
	s->passwords->record[0].hash = hash_of("sesame");
	s->passwords->record[1].hash = hash_of("12345");
	strcpy(s->mailboxes->record[0].mail, "Alice: the key is under the mat.\n");
	strcpy(s->mailboxes->record[1].mail, "Bob: lunch?\n");
	return 0;
}

/* One login: who may do what.  All failures show when it is to run. */
static void login_policies(struct server *s, int conn, sc_t *sc, sc_t *check, sc_t *mail)
{
	memset(s->slate, 0, sizeof(*s->slate));
	memset(s->session, 0, sizeof(*s->session));
	s->slate->conn = conn;

	sc_init(check);
	sc_mem_add(check, s->passwords_tag, PROT_READ);
	sc_mem_add(check, s->session_tag, PROT_READ | PROT_WRITE);
	sc_mem_add(check, s->slate_tag, PROT_READ);

	sc_init(mail);
	sc_mem_add(mail, s->mailboxes_tag, PROT_READ);
	sc_mem_add(mail, s->session_tag, PROT_READ);
	sc_mem_add(mail, s->slate_tag, PROT_READ | PROT_WRITE);

	sc_init(sc);
	sc_mem_add(sc, s->slate_tag, PROT_READ | PROT_WRITE);
	sc_fd_add(sc, conn, PROT_READ | PROT_WRITE);
	sc_cgate_add(sc, check_password, check, s->passwords);
	sc_cgate_add_after(sc, read_mail, mail, s->mailboxes, check_password);
}

/* 0: let in; 1: not; or a negative errno. */
static int login(struct server *s, int conn)
{
	sc_t sc, check, mail;
	void *ret = NULL;
	sthread_t thr;
	int err;

	login_policies(s, conn, &sc, &check, &mail);
	err = wedge_create(&thr, &sc, worker, s->slate);
	if (!err)
		err = wedge_join(thr, &ret);
	sc_destroy(&sc);
	sc_destroy(&check);
	sc_destroy(&mail);
	return err ? err : !ret;
}

/* What a client sees who sends this. */
static int login_with(struct server *s, const char *request, char answer[TEXT])
{
	int pair[2], err = -EIO;
	ssize_t n;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return -errno;
	if (write(pair[0], request, strlen(request)) == (ssize_t)strlen(request))
		err = login(s, pair[1]);
	close(pair[1]);
	n = read(pair[0], answer, TEXT - 1);
	answer[n > 0 ? n : 0] = '\0';
	close(pair[0]);
	return err;
}

int main(void)
{
	static const char *const requests[] = { "alice sesame\n", "bob sesame\n" };
	static struct server server;
	int got[2], err = sthread_init(NULL);

	if (!err)
		err = server_open(&server);
	for (int i = 0; i < 2 && !err; i++) {
		char answer[TEXT];

		got[i] = login_with(&server, requests[i], answer);
		err = got[i] < 0 ? got[i] : 0;
		printf("> %s< %s", requests[i], answer);
	}
	if (err)
		fprintf(stderr, "wedge_login: %s\n", strerror(-err));
	sthread_fini();
	return !(!err && got[0] == 0 && got[1] == 1);
}
