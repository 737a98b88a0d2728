/* SPDX-License-Identifier: MIT */
/* options.c - the command line of sthread-bench.  World: host. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>

#include "bench/bench.h"

struct options options;

static void usage(FILE *f)
{
	fputs("usage: sthread-bench [--json[=FILE]] [--count] [--filter NAME] [--samples N]\n"
	      "                     [--cold-size] [--idle] [--all]\n"
	      "       sthread-bench --list | --help\n"
	      "\n"
	      "  --json         figures for programs, on standard output; or into FILE, beside the table\n"
	      "  --count        instructions instead of time, on a machine whose time stamp counter\n"
	      "                 counts them (scripts/bench --count makes one); 51 samples, 15 of cold runs\n"
	      "  --filter NAME  only series whose names have NAME in them\n"
	      "  --samples N    of each series (1 to 20000) instead of its own number\n"
	      "  --cold-size    only: cold create in a master of 1 GB against one of 10 MB, in pairs\n"
	      "  --idle         only: what an idle compartment takes of memory\n"
	      "  --all          everything\n"
	      "  --list         the series, and what they are\n",
	      f);
}

int options_parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "json", optional_argument, NULL, 'j' },
		{ "filter", required_argument, NULL, 'f' },
		{ "samples", required_argument, NULL, 's' },
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
	return 0;
}
