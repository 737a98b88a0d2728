/* SPDX-License-Identifier: MIT */
/*
 * Receipts for uploads, split: receipt_before.c after docs/tutorial.md.  World: the program; parse_upload() and sign()
 * run inside, each in its own compartment.
 *
 *   build/examples/receipt KEY UPLOAD...
 *
 *   upload (descriptor) ── read ──▶ parse_upload() ── tally ──▶ sign() ◀── read ── key (tag)
 *                                        │  signature ◀──┘
 *                                        ▼ write
 *   printf() ◀──────────────────── receipt (tag)
 *
 * entry() has the same bug as before.  Who takes parse_upload() over can lie about that upload, in one
 * receipt, and has no key.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <sthread.h>

#define UPLOAD_MAX (64 * 1024)

struct tally {
	unsigned entries;
	long sum;
	char last[32]; /* the name of the last entry */
};

/* What parse_upload() leaves for the program. */
struct receipt {
	int fd; /* of the upload */
	struct tally tally;
	uint64_t signature;
};

/* One line, "apples 3".  Gives where the next one begins. */
static const char *entry(const char *at, struct tally *t)
{
	char name[sizeof(t->last)];
	char *end;
	unsigned i, n = 0;

	while (*at && *at != ' ' && *at != '\n')
		name[n++] = *at++; /* the bug: nobody asks whether it fits */
	name[n] = '\0';
	t->sum += strtol(at, &end, 10);
	t->entries++;
	for (i = 0; i < sizeof(t->last); i++)
		t->last[i] = name[i];
	while (*end && *end++ != '\n')
		;
	return end;
}

static int tally_upload(int fd, struct tally *t)
{
	static char text[UPLOAD_MAX];
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	if (n < 0)
		return -1;
	text[len] = '\0';
	for (const char *at = text; *at;)
		at = entry(at, t);
	return 0;
}

/* Inside, with the key.  A toy: FNV-1a over key and tally. */
static ssize_t sign(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	const unsigned char *key = trusted;
	struct tally t;
	const unsigned char *what[] = { key, (const unsigned char *)&t.entries, (const unsigned char *)&t.sum };
	size_t len[] = { 32, sizeof(t.entries), sizeof(t.sum) };
	uint64_t hash = 0xcbf29ce484222325;

	if (in_len != sizeof(t) || out_cap < sizeof(hash))
		return -EMSGSIZE;
	memcpy(&t, in, sizeof(t));
	for (unsigned i = 0; i < 3; i++)
		for (size_t j = 0; j < len[i]; j++)
			hash = (hash ^ what[i][j]) * 0x100000001b3;
	memcpy(out, &hash, sizeof(hash));
	return sizeof(hash);
}

/* Inside, with the upload: its argument lies in a tag that it may write. */
static void *parse_upload(void *arg)
{
	struct receipt *r = arg;
	struct sthread_gate *gate;

	if (tally_upload(r->fd, &r->tally) || sthread_gate_find(&gate, "sign"))
		return NULL;
	if (sthread_gate_call(gate, &r->tally, sizeof(r->tally), &r->signature, sizeof(r->signature)) < 0)
		return NULL;
	return r;
}

/* The key goes into a tag: memory that no compartment has unless its policy says so. */
static int load_key(const char *path, struct sthread_tag **tag, void **key)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int err = fd < 0 ? -errno : sthread_tag_create(tag, "key", 4096);

	if (!err) {
		*key = sthread_malloc(*tag, 32);
		if (!*key || read(fd, *key, 32) != 32)
			err = -EINVAL;
	}
	if (fd >= 0)
		close(fd);
	return err;
}

/* sign() may read the key, and that is all. */
static int make_signer(struct sthread_tag *tag, void *key, struct sthread_gate **gate)
{
	struct sthread_gate_config config = {
		.size = sizeof(config), .name = "sign", .fn = sign, .trusted = key, .max_calls = 1
	};
	struct sthread_policy *policy;
	int err = sthread_policy_create(&policy);

	if (err)
		return err;
	err = sthread_policy_tag(policy, tag, STHREAD_READ);
	config.policy = policy;
	if (!err)
		err = sthread_gate_create(gate, &config);
	sthread_policy_destroy(policy);
	return err;
}

/* One upload in, one receipt out, one signature, one second. */
static int make_policy(int fd, struct sthread_tag *out, struct sthread_gate *gate, struct sthread_policy **policy)
{
	int err = sthread_policy_create(policy);

	if (err)
		return err;
	err = sthread_policy_fd(*policy, fd, STHREAD_FD_READ);
	if (!err)
		err = sthread_policy_syscall(*policy, SYS_read, STHREAD_ALLOW);
	if (!err)
		err = sthread_policy_tag(*policy, out, STHREAD_READ | STHREAD_WRITE);
	if (!err)
		err = sthread_policy_gate(*policy, gate);
	if (!err)
		err = sthread_policy_limit(*policy, STHREAD_LIMIT_WALL_NS, 1000000000);
	if (err)
		sthread_policy_destroy(*policy);
	return err;
}

/* It ended otherwise than it should have: for the log. */
static int complain(const char *path, const struct sthread_result *result)
{
	char report[8192];

	if (result->end == STHREAD_RETURNED)
		fprintf(stderr, "%s: it cannot be read\n", path);
	else if (sthread_fault_format(result, report, sizeof(report)) > 0)
		fprintf(stderr, "%s: %s\n", path, report);
	return 1;
}

static int handle(const char *path, struct sthread_tag *out, struct receipt *shared, struct sthread_gate *gate)
{
	struct sthread_policy *policy;
	struct sthread_result result;
	struct receipt r;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int err = fd < 0 ? -errno : make_policy(fd, out, gate, &policy);

	if (!err) {
		memset(shared, 0, sizeof(*shared));
		shared->fd = fd;
		err = sthread_call(policy, parse_upload, shared, &result);
		sthread_policy_destroy(policy);
	}
	if (fd >= 0)
		close(fd);
	if (err) {
		fprintf(stderr, "%s: %s\n", path, strerror(-err));
		return 1;
	}
	if (result.end != STHREAD_RETURNED || !result.value)
		return complain(path, &result);
	r = *shared; /* copied once ... */
	r.tally.last[sizeof(r.tally.last) - 1] = '\0'; /* ... then made what it should be */
	printf("%s: %u entries to %s, %ld in all, receipt %016llx\n", path, r.tally.entries, r.tally.last, r.tally.sum,
	       (unsigned long long)r.signature);
	fflush(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	struct sthread_tag *key_tag, *out_tag;
	struct receipt *shared;
	struct sthread_gate *gate;
	void *key;
	int failed = 0, err;

	if (argc < 3) {
		fprintf(stderr, "usage: receipt KEY UPLOAD...   (the key: 32 bytes)\n");
		return 2;
	}
	err = sthread_init(NULL); /* before the key is there */
	if (!err)
		err = load_key(argv[1], &key_tag, &key);
	if (!err)
		err = make_signer(key_tag, key, &gate);
	if (!err)
		err = sthread_tag_create(&out_tag, "receipt", 65536);
	if (err) {
		fprintf(stderr, "receipt: %s\n", strerror(-err));
		return 2;
	}
	shared = sthread_malloc(out_tag, sizeof(*shared));
	if (!shared)
		return 2;
	for (int i = 2; i < argc; i++)
		failed |= handle(argv[i], out_tag, shared, gate);
	sthread_fini();
	return failed;
}
