/* SPDX-License-Identifier: MIT */
/*
 * Receipts for uploads, before the program is split.  docs/tutorial.md splits it.  World: the program.
 *
 *   build/examples/receipt_before KEY UPLOAD...
 *
 * An upload is text, a name and a number a line.  For each the program prints how many entries there are, what they add
 * up to, and a signature made with the key.  entry() has a bug: who sends an upload with a long name takes the program
 * over, and has the key.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define UPLOAD_MAX (64 * 1024)

struct tally {
	unsigned entries;
	long sum;
	char last[32]; /* the name of the last entry */
};

static unsigned char key[32];

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

/* A toy: FNV-1a over key and tally. */
static uint64_t sign(const struct tally *t)
{
	const unsigned char *what[] = { key, (const unsigned char *)&t->entries, (const unsigned char *)&t->sum };
	size_t len[] = { sizeof(key), sizeof(t->entries), sizeof(t->sum) };
	uint64_t hash = 0xcbf29ce484222325;

	for (unsigned i = 0; i < 3; i++)
		for (size_t j = 0; j < len[i]; j++)
			hash = (hash ^ what[i][j]) * 0x100000001b3;
	return hash;
}

static int load_key(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, key, sizeof(key));

	if (fd >= 0)
		close(fd);
	return n == (ssize_t)sizeof(key) ? 0 : -1;
}

static int handle(const char *path)
{
	struct tally t = { 0 };
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int err = fd < 0 ? -1 : tally_upload(fd, &t);

	if (fd >= 0)
		close(fd);
	if (err) {
		perror(path);
		return 1;
	}
	printf("%s: %u entries to %s, %ld in all, receipt %016llx\n", path, t.entries, t.last, t.sum,
	       (unsigned long long)sign(&t));
	fflush(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	int failed = 0;

	if (argc < 3 || load_key(argv[1])) {
		fprintf(stderr, "usage: receipt_before KEY UPLOAD...   (the key: 32 bytes)\n");
		return 2;
	}
	for (int i = 2; i < argc; i++)
		failed |= handle(argv[i]);
	return failed;
}
