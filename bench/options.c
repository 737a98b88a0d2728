/* SPDX-License-Identifier: MIT */
/* options.c - the command line of sthread-bench.  World: host. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench.h"

struct options options;

static void usage(FILE *f)
{
	fputs("usage: sthread-bench [--json[=FILE]] [--count] [--filter NAME] [--samples N]\n"
	      "                     [--machine kvm|process|both] [--cold-size] [--idle] [--all]\n"
	      "       sthread-bench --list | --help\n"
	      "\n"
	      "  --json         figures for programs, on standard output; or into FILE, beside the table\n"
	      "  --count        instructions instead of time, on a machine whose time stamp counter\n"
	      "                 counts them (scripts/bench --count makes one); 51 samples, 15 of cold runs\n"
	      "  --machine M    compartments on kvm, on process (stub processes), or on both;\n"
	      "                 else on what can be used\n"
	      "  --filter NAME  only series whose names have NAME in them\n"
	      "  --samples N    of each series (1 to 20000) instead of its own number\n"
	      "  --cold-size    only: calls and creates in a master of 1 GB against one of 10 MB, in pairs\n"
	      "  --idle         only: what an idle compartment takes of memory\n"
	      "  --all          everything\n"
	      "  --list         the series, and what they are\n",
	      f);
}

/* True: it is the name of machines. */
static bool choose_machines(const char *name)
{
	options.machines[KVM] = !strcmp(name, "kvm") || !strcmp(name, "both");
	options.machines[PROCESS] = !strcmp(name, "process") || !strcmp(name, "both");
	options.asked_for = true;
	return options.machines[KVM] || options.machines[PROCESS];
}

/* What STHREAD_PLACEMENT says, as for the tests; else what there is. */
static void find_machines(void)
{
	const char *where = getenv("STHREAD_PLACEMENT");
	int kvm;

	if (where && *where) {
		(void)choose_machines(strcmp(where, "process") ? "kvm" : "process");
		return;
	}
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	options.machines[KVM] = kvm >= 0;
	options.machines[PROCESS] = true;
	if (kvm >= 0)
		close(kvm);
}

int options_parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "json", optional_argument, NULL, 'j' },
		{ "filter", required_argument, NULL, 'f' },
		{ "samples", required_argument, NULL, 's' },
		{ "machine", required_argument, NULL, 'm' },
		{ "cold-size", no_argument, NULL, 'c' },
		{ "idle", no_argument, NULL, 'i' },
		{ "all", no_argument, NULL, 'a' },
		{ "count", no_argument, NULL, 'n' },
		{ "list", no_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	unsigned long n;
	char *end;
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 'j':
			options.json = true;
			options.json_file = optarg;
			break;
		case 'f':
			options.filter = optarg;
			break;
		case 's':
			errno = 0;
			n = strtoul(optarg, &end, 10);
			if (errno || *end || *optarg == '-' || n < 1 || n > MAX_SAMPLES) {
				fprintf(stderr, "sthread-bench: --samples %s: not 1 to %u\n",
					optarg, MAX_SAMPLES);
				return 2;
			}
			options.samples = (unsigned)n;
			break;
		case 'm':
			if (!choose_machines(optarg)) {
				fprintf(stderr, "sthread-bench: --machine %s: not kvm, process or both\n", optarg);
				return 2;
			}
			break;
		case 'c':
			options.when[WHEN_COLD_SIZE] = true;
			break;
		case 'i':
			options.when[WHEN_IDLE] = true;
			break;
		case 'a':
			options.when[WHEN_ALWAYS] = options.when[WHEN_COLD_SIZE] =
				options.when[WHEN_IDLE] = true;
			break;
		case 'n':
			options.count = true;
			break;
		case 'l':
			options.list = true;
			break;
		case 'h':
			usage(stdout);
			exit(0);
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind < argc) {
		usage(stderr);
		return 2;
	}
	if (!options.when[WHEN_COLD_SIZE] && !options.when[WHEN_IDLE])
		options.when[WHEN_ALWAYS] = true;
	options.when[WHEN_STEADY] = options.when[WHEN_ALWAYS];
	options.machines[SYSTEM] = true;
	if (!options.asked_for)
		find_machines();
	return 0;
}
