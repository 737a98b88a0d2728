/* SPDX-License-Identifier: MIT */
/* The command line. World: master, before isolation begins. */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "isolation.h"

struct config config = {
	.rootfd = -1,
	.listen = "127.0.0.1:8080",
	.isolation = &isolation_sthread,
	.placement = "auto",
	.max_connections = 64,
	.max_requests = 1000,
	.timeout = 10,
	.lifetime = 300,
};

static const struct isolation *const isolations[] = {
	&isolation_sthread,
	&isolation_fork,
	&isolation_none,
};

static const char help[] =
	"Usage: httpd-demo --root DIR [OPTION]...\n"
	"\n"
	"Serves the files beneath DIR over HTTP/1.1. Each connection is served in a fresh\n"
	"compartment (sthread) that holds this connection and the right to open files beneath DIR\n"
	"for reading, and nothing else of the server or the machine.\n"
	"\n"
	"  --root DIR             the directory to serve; all that is readable in it is public\n"
	"  --listen ADDRESS:PORT  where to listen (default 127.0.0.1:8080); port 0: any that is free;\n"
	"                         \"listening on ADDRESS:PORT\" is printed once it is so\n"
	"  --isolation HOW        sthread  each connection in a fresh compartment (default)\n"
	"                         fork     each in a forked child: a copy of the whole server\n"
	"                         none     each in the server itself\n"
	"                         The last two are there to compare with.\n"
	"  --max-connections N    connections served at once (default 64); more wait in a queue.\n"
	"                         The limit on open files (ulimit -Hn) must allow for them\n"
	"  --max-requests N       requests on one connection (default 1000)\n"
	"  --timeout SECONDS      for a request to come, and for a client to read (default 10)\n"
	"  --lifetime SECONDS     after which a connection takes no new request (default 300); what\n"
	"                         still runs two time-outs later is ended by force (with none, a\n"
	"                         client that reads slowly is left, but a loop is not ended)\n"
	"  --placement HOW        where the library decides what a compartment may do: host, ring0, or\n"
	"                         auto (default: whichever is faster here); for tests\n"
	"  --verbose              log every connection; otherwise those that ended badly, up to 10\n"
	"                         a second\n"
	"  --demo-flaw            plant a flaw, for teaching. NEVER where others can connect:\n"
	"                         the request field X-Demo-Attack makes the code that parses do what\n"
	"                         an attacker who has taken it over would do:\n"
	"                           read=0xADDRESS   answer with the memory there\n"
	"                           write=0xADDRESS  overwrite it\n"
	"                           open=PATH        open a file of the machine\n"
	"                           loop             never end\n"
	"                         The server then has a secret, and prints where it lies.\n"
	"  --help                 this text\n"
	"\n"
	"The log goes to standard error. SIGTERM and SIGINT end the server: it takes no more\n"
	"connections, lets running ones finish for up to 5 seconds, and exits with 0.\n";

__attribute__((noreturn, format(printf, 1, 2))) static void wrong(const char *fmt, ...)
{
	va_list ap;

	fputs("httpd-demo: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs(" (see --help)\n", stderr);
	exit(2);
}

static unsigned number(const char *option, const char *text, unsigned max)
{
	unsigned long n;
	char *end;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || n < 1 || n > max)
		wrong("--%s %s: not a number from 1 to %u", option, text, max);
	return (unsigned)n;
}

static const struct isolation *find_isolation(const char *name)
{
	for (size_t i = 0; i < sizeof(isolations) / sizeof(isolations[0]); i++)
		if (!strcmp(name, isolations[i]->name))
			return isolations[i];
	wrong("--isolation %s: not one of sthread, fork, none", name);
}

void options_parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "root", required_argument, NULL, 'r' },
		{ "listen", required_argument, NULL, 'l' },
		{ "isolation", required_argument, NULL, 'i' },
		{ "max-connections", required_argument, NULL, 'c' },
		{ "max-requests", required_argument, NULL, 'q' },
		{ "timeout", required_argument, NULL, 't' },
		{ "lifetime", required_argument, NULL, 'L' },
		{ "placement", required_argument, NULL, 'p' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "demo-flaw", no_argument, NULL, 'f' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int o, which = 0;

	while ((o = getopt_long(argc, argv, "", options, &which)) != -1) {
		const char *name = options[which].name; /* unless o is '?' */

		switch (o) {
		case 'r':
			config.root = optarg;
			break;
		case 'l':
			config.listen = optarg;
			break;
		case 'i':
			config.isolation = find_isolation(optarg);
			break;
		case 'c':
			config.max_connections = number(name, optarg, 4096);
			break;
		case 'q':
			config.max_requests = number(name, optarg, 1000000000);
			break;
		case 't':
			config.timeout = number(name, optarg, 86400);
			break;
		case 'L':
			config.lifetime = number(name, optarg, 86400);
			break;
		case 'p':
			config.placement = optarg;
			if (strcmp(optarg, "auto") && strcmp(optarg, "host") &&
			    strcmp(optarg, "ring0"))
				wrong("--placement %s: not one of auto, host, ring0", optarg);
			break;
		case 'v':
			config.verbose = true;
			break;
		case 'f':
			config.demo_flaw = true;
			break;
		case 'h':
			fputs(help, stdout);
			exit(fflush(stdout) ? 1 : 0);
		default:
			fputs("httpd-demo: see --help\n", stderr);
			exit(2);
		}
	}
	if (optind < argc)
		wrong("%s: not an option", argv[optind]);
	if (!config.root)
		wrong("--root DIR is missing: which directory shall be served?");
}
