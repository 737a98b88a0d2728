/* SPDX-License-Identifier: MIT */
/*
 * A key that can be used and not read.  World: the program; server() and sign() run inside, each in its own compartment.
 *
 *   build/examples/gate
 *
 * server() meets hostile input.  sign() holds the key.  All that goes from one to the other is a message and its
 * signature, so whoever takes over server() can have things signed as long as it runs, and never has the key.
 */
#define _GNU_SOURCE /* memfd_create() */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <sthread.h>

/*
 * The gate.  `trusted` is what main() said, whoever calls: the descriptor of the key, which only this compartment was
 * granted.  (The signature is a toy: FNV-1a over key and message.)
 */
static ssize_t sign(void *trusted, const void *in, size_t in_len, void *out, size_t out_cap)
{
	static unsigned char key[32]; /* recycled: read once, and kept in the gate's own memory */
	static bool have_key;
	uint64_t hash = 0xcbf29ce484222325;

	if (!have_key && read((int)(intptr_t)trusted, key, sizeof(key)) != (ssize_t)sizeof(key))
		return -EIO;
	have_key = true;
	if (out_cap < sizeof(hash))
		return -EMSGSIZE;
	for (size_t i = 0; i < sizeof(key); i++)
		hash = (hash ^ key[i]) * 0x100000001b3;
	for (size_t i = 0; i < in_len; i++)
		hash = (hash ^ ((const unsigned char *)in)[i]) * 0x100000001b3;
	memcpy(out, &hash, sizeof(hash));
	return sizeof(hash);
}

/* Its policy grants the gate, and nothing else. */
static void *server(void *arg)
{
	static const char words[] = "pay 5 to Alice";
	struct sthread_gate *gate;
	uint64_t signature;

	if (sthread_gate_find(&gate, "sign"))
		return NULL;
	if (sthread_gate_call(gate, words, sizeof(words), &signature, sizeof(signature)) !=
	    sizeof(signature))
		return NULL;

	/* The key's descriptor is not there for it. */
	if (read((int)(intptr_t)arg, &signature, 1) >= 0)
		return NULL;
	return (void *)(uintptr_t)signature;
}

static int failed(const char *what, int err)
{
	fprintf(stderr, "gate: %s: %s\n", what, strerror(-err));
	return 1;
}

/*
 * A secret that appears after the checkpoint, in a file that has no name.  (A real one is not in the program's text, which
 * all compartments can read.)
 */
static int load_key(void)
{
	int fd = memfd_create("key", MFD_CLOEXEC);

	if (fd < 0 || write(fd, "thirty-two bytes of a secret key", 32) != 32 ||
	    lseek(fd, 0, SEEK_SET))
		return -errno;
	return fd;
}

int main(void)
{
	struct sthread_gate_config config = {
		.size = sizeof(config), .name = "sign", .fn = sign, .kind = STHREAD_GATE_RECYCLED
	};
	struct sthread_policy *signer, *serving;
	struct sthread_gate *gate;
	struct sthread_result result;
	int key, err;

	err = sthread_init(NULL);
	if (err)
		return failed("sthread_init", err);
	key = load_key();
	if (key < 0)
		return failed("key", key);

	/* The signer may read the key. */
	err = sthread_policy_create(&signer);
	if (!err)
		err = sthread_policy_fd(signer, key, STHREAD_FD_READ);
	if (!err)
		err = sthread_policy_syscall(signer, SYS_read, STHREAD_ALLOW);
	if (err)
		return failed("the signer's policy", err);
	config.policy = signer;
	config.trusted = (void *)(intptr_t)key;
	err = sthread_gate_create(&gate, &config);
	if (err)
		return failed("sthread_gate_create", err);

	/* The server may call the signer. */
	err = sthread_policy_create(&serving);
	if (!err)
		err = sthread_policy_gate(serving, gate);
	if (!err)
		err = sthread_call(serving, server, (void *)(intptr_t)key, &result);
	if (err)
		return failed("the server", err);

	if (result.end == STHREAD_RETURNED && result.value)
		printf("signed: %016llx\n", (unsigned long long)(uintptr_t)result.value);

	sthread_policy_destroy(serving);
	sthread_policy_destroy(signer);
	sthread_gate_destroy(gate);
	sthread_fini();
	return !(result.end == STHREAD_RETURNED && result.value);
}
