/* SPDX-License-Identifier: MIT */
/*
 * The partitioned login of examples/wedge_login.c, with a worker that an attacker has taken over: no password, no mail,
 * no session, no callgate out of order, no deputy that is confused.  World: host; ST_FN: inside.
 */
#define main wedge_login_main
int main(void);
#include "examples/wedge_login.c"
#undef main

#include "tests/st.h"

static struct server server;

/* The worker's code is another: what becomes of it. */
static struct sthread_result taken_over(st_fn *code, void *arg)
{
	struct sthread_result r;
	sc_t sc, check, mail;
	int pair[2];

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	login_policies(&server, pair[1], &sc, &check, &mail);
	CHECK_OK(sc.error);
	r = st_call(sc.policy, code, arg);
	sc_destroy(&sc);
	sc_destroy(&check);
	sc_destroy(&mail);
	close(pair[0]);
	close(pair[1]);
	return r;
}

static void answers(const char *request, int result, const char *answer)
{
	char got[TEXT];

	NOTE("> %.*s", (int)strcspn(request, "\n"), request);
	CHECK_EQ(login_with(&server, request, got), result);
	CHECK_STR(got, answer);
}

static void honest(void)
{
	answers("alice sesame\n", 0, "Alice: the key is under the mat.\n");
	answers("bob 12345\n", 0, "Bob: lunch?\n");
	answers("bob sesame\n", 1, "no\n");
	answers("carol 12345\n", 1, "no\n");
	answers(" \n", 1, "no\n");
	answers("bob\n", 1, "what?\n");
	answers("bob 12345", 1, "what?\n");
	answers("\nbob 12345", 1, "what?\n");
	answers("bobbobbobbobbobb 12345\n", 1, "what?\n");
}

/* ---- memory ---- */

ST_FN(reads)
{
	return (void *)(uintptr_t)(1 + *(volatile unsigned char *)arg);
}

ST_FN(writes)
{
	*(volatile unsigned char *)arg = 'W';
	return arg;
}

/* The callgate's code is there for all.  What it works on is not. */
ST_FN(calls_the_function)
{
	return read_mail(arg, NULL);
}

static void memory(void)
{
	void *const secret[] = { server.passwords, server.mailboxes, server.session };
	struct sthread_result r;

	for (int i = 0; i < 3; i++) {
		r = taken_over(reads, secret[i]);
		ST_FAULTS(&r, STHREAD_FAULT_MEMORY, secret[i], 1, ST_IN(reads), "wedge");
		r = taken_over(writes, secret[i]);
		ST_FAULTS(&r, STHREAD_FAULT_MEMORY, secret[i], 2, ST_IN(writes), "wedge");
	}
	CHECK_STR(server.session->user, "");
	CHECK_STR(server.passwords->record[0].user, "alice");
	r = taken_over(calls_the_function, server.mailboxes);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, ST_ANY, 1, ST_ANYWHERE, "tag wedge: not granted");
	CHECK_LT(r.address - (uintptr_t)server.mailboxes, sizeof(*server.mailboxes));
	/* The twins. */
	r = taken_over(reads, server.slate->mail);
	ST_RETURNED(&r, 1);
	r = taken_over(writes, server.slate->mail);
	ST_RETURNED(&r, server.slate->mail);
	CHECK_EQ(server.slate->mail[0], 'W');
}

/* ---- order ---- */

#define REFUSED(call, why)                   \
	do {                                 \
		errno = 0;                   \
		CHECK_EQ((call), NULL);      \
		CHECK_EQ(errno, (int)(why)); \
	} while (0)

ST_FN(in_disorder)
{
	struct slate *slate = arg;

	REFUSED(cgate(read_mail, NULL, slate), EPERM);
	strcpy(slate->user, "alice");
	strcpy(slate->password, "guess");
	REFUSED(cgate(check_password, NULL, slate), ENODATA);
	REFUSED(cgate(read_mail, NULL, slate), EPERM);
	CHECK_STR(slate->mail, "");
	strcpy(slate->password, "sesame");
	CHECK_EQ(cgate(check_password, NULL, slate), slate);
	/* It is too late to be somebody else. */
	strcpy(slate->user, "bob");
	CHECK_EQ(cgate(read_mail, NULL, slate), slate);
	CHECK_STR(slate->mail, "Alice: the key is under the mat.\n");
	return NULL;
}

ST_FN(next_one)
{
	REFUSED(cgate(read_mail, NULL, arg), EPERM);
	return NULL;
}

static void order(void)
{
	struct sthread_result r;
	sc_t sc, check, mail;

	r = taken_over(in_disorder, server.slate);
	ST_RETURNED(&r, 0);
	/* With the same policy and the same session: who comes next has not logged in. */
	login_policies(&server, 0, &sc, &check, &mail);
	r = st_call(sc.policy, in_disorder, server.slate);
	ST_RETURNED(&r, 0);
	CHECK_STR(server.session->user, "alice");
	r = st_call(sc.policy, next_one, server.slate);
	ST_RETURNED(&r, 0);
	sc_destroy(&sc);
	sc_destroy(&check);
	sc_destroy(&mail);
}

/* ---- deputies: the callgates may read what the worker may not ---- */

ST_FN(refused)
{
	REFUSED(cgate(check_password, NULL, arg), ENODATA);
	return NULL;
}

ST_FN(breaks_it)
{
	REFUSED(cgate(check_password, NULL, arg), EIO);
	return NULL;
}

/* The slate has a login, and where the mail is to go. */
ST_FN(mail_elsewhere)
{
	struct slate *slate = arg;
	void *where;

	memcpy(&where, slate->mail, sizeof(where));
	strcpy(slate->user, "bob");
	strcpy(slate->password, "12345");
	CHECK_EQ(cgate(check_password, NULL, slate), slate);
	REFUSED(cgate(read_mail, NULL, where), ENODATA);
	CHECK_EQ(cgate(read_mail, NULL, slate), slate);
	CHECK_STR(slate->mail, "Bob: lunch?\n");
	return NULL;
}

ST_FN(other_messages)
{
	struct sthread_gate *g;
	void *word = arg;

	CHECK_OK(sthread_gate_find(&g, "check_password"));
	CHECK_ERR(sthread_gate_call(g, NULL, 0, &word, 8), -EINVAL);
	CHECK_ERR(sthread_gate_call(g, &word, 7, &word, 8), -EINVAL);
	CHECK_ERR(sthread_gate_call(g, &word, 8, NULL, 0), -EINVAL);
	CHECK_ERR(sthread_gate_call(g, &word, 8, &word, 8), -ENODATA);
	CHECK_EQ(word, arg);
	return NULL;
}

static void deputies(void)
{
	char *end = (char *)sthread_tag_start(server.slate_tag) + WEDGE_TAG_SIZE;
	void *const nowhere[] = { NULL,		  (void *)-1, &server, server.passwords->record,
				  server.session, end };
	struct shelf before = *server.mailboxes;
	struct sthread_result r;
	sc_t sc, check, mail;
	void *where;

	for (int i = 0; i < 6; i++) {
		r = taken_over(refused, nowhere[i]);
		ST_RETURNED(&r, 0);
	}
	/* It runs off the end of the tag, alone. */
	r = taken_over(breaks_it, end - 8);
	ST_RETURNED(&r, 0);
	r = taken_over(other_messages, server.slate);
	ST_RETURNED(&r, 0);
	for (int i = 0; i < 2; i++) {
		where = i ? (void *)server.session : (void *)server.mailboxes->record;
		login_policies(&server, 0, &sc, &check, &mail);
		memcpy(server.slate->mail, &where, sizeof(where));
		r = st_call(sc.policy, mail_elsewhere, server.slate);
		ST_RETURNED(&r, 0);
		CHECK_MEM(server.mailboxes, &before, sizeof(before));
		CHECK_STR(server.session->user, "bob");
		sc_destroy(&sc);
		sc_destroy(&check);
		sc_destroy(&mail);
	}
}

int main(void)
{
	st_init();
	CHECK_OK(server_open(&server));
	honest();
	memory();
	order();
	deputies();
	honest();
	st_others_live();
	sthread_fini();
	return TEST_PASSED;
}
