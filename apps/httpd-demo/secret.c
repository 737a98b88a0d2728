/* SPDX-License-Identifier: MIT */
/* What a private key would be in a real server. World: master. */
#include "secret.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#define SECRET_SIZE 40

static char *mapped;
static char variable[SECRET_SIZE];
static char original[SECRET_SIZE];

int secret_load(void)
{
	unsigned char random[8];
	int n;

	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return -EIO;
	n = snprintf(original, sizeof(original), "SECRET-");
	for (size_t i = 0; i < sizeof(random); i++)
		n += snprintf(original + n, sizeof(original) - (size_t)n, "%02x", random[i]);
	/* As malloc() does for anything large. */
	mapped = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mapped == MAP_FAILED)
		return -errno;
	memcpy(mapped, original, sizeof(original));
	memcpy(variable, original, sizeof(original));
	printf("demo-secret mapped=%p variable=%p text=%s\n", (void *)mapped, (void *)variable,
	       original);
	fflush(stdout);
	return 0;
}

void secret_report(void)
{
	/* Somebody else may have written there. */
	const volatile char *in[] = { mapped, variable };
	int intact = 1;

	for (size_t i = 0; i < sizeof(in) / sizeof(in[0]); i++)
		for (size_t j = 0; j < sizeof(original); j++)
			intact &= in[i][j] == original[j];
	printf("demo-secret %s\n", intact ? "intact" : "overwritten");
	fflush(stdout);
}
