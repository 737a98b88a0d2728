/* SPDX-License-Identifier: MIT */
/*
 * httpd-demo: a web server whose every connection is served in a compartment. World: master.
 *
 * The order of start matters: what compartments may see (config, the root's descriptor number)
 * exists before isolation begins, secrets and threads come after.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "config.h"
#include "isolation.h"
#include "listener.h"
#include "log.h"
#include "secret.h"

#define STOP_SECONDS 5  /* that running connections get to finish */
#define OWN_FILES    32 /* descriptors that the server and the library have open of their own */

__attribute__((noreturn)) static void cannot_start(const char *what, const char *why)
{
	log_line("%s: %s", what, why);
	exit(1);
}

/* Every connection that is accepted must find the descriptors that serving it takes. */
static void set_up_files(void)
{
	unsigned each = config.isolation->descriptors;
	rlim_t need = OWN_FILES + (rlim_t)config.max_connections * each;
	char what[64], why[256];
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r))
		return;
	if (r.rlim_cur < r.rlim_max) {
		rlim_t soft = r.rlim_cur;

		r.rlim_cur = r.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &r))
			r.rlim_cur = soft;
	}
	if (r.rlim_cur >= need)
		return;
	snprintf(what, sizeof(what), "--max-connections %u", config.max_connections);
	snprintf(why, sizeof(why),
		 "takes %ju open files, and the limit is %ju: at most %ju fit. "
		 "Ask for fewer, or raise the limit (ulimit -Hn)",
		 (uintmax_t)need, (uintmax_t)r.rlim_cur,
		 (uintmax_t)(r.rlim_cur < OWN_FILES ? 0 : (r.rlim_cur - OWN_FILES) / each));
	cannot_start(what, why);
}

/* The signals that stop the server are waited for by the first thread, and blocked in all. */
static void set_up_signals(sigset_t *stop)
{
	sigemptyset(stop);
	sigaddset(stop, SIGTERM);
	sigaddset(stop, SIGINT);
	sigprocmask(SIG_BLOCK, stop, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void open_root(void)
{
	config.rootfd = open(config.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (config.rootfd < 0)
		cannot_start(config.root, errno == ENOTDIR ? "is not a directory; --root needs one"
							   : strerror(errno));
}

static void stop(const sigset_t *signals)
{
	unsigned left;
	int which;

	while (sigwait(signals, &which))
		;
	log_line("signal %d: stopping", which);
	left = listener_stop(STOP_SECONDS);
	if (left) {
		log_line("breaking off %u connection%s", left, left == 1 ? "" : "s");
		left = listener_break_off(1);
	}
	log_rest();
	config.isolation->fini();
	if (left)
		listener_break_off(1);
	if (config.demo_flaw)
		secret_report();
}

int main(int argc, char **argv)
{
	char why[256], address[96];
	sigset_t stop_signals;
	int err;

	options_parse(argc, argv);
	set_up_files();
	set_up_signals(&stop_signals);
	open_root();
	if (listener_open(config.listen, why, sizeof(why)))
		cannot_start(config.listen, why);
	if (config.isolation->init(why, sizeof(why)))
		cannot_start(config.isolation->name, why);

	if (config.demo_flaw) {
		err = secret_load();
		if (err)
			cannot_start("the secret of --demo-flaw", strerror(-err));
	}
	err = listener_start();
	if (err)
		cannot_start("starting threads (try a lower --max-connections)", strerror(-err));
	listener_address(address, sizeof(address));
	printf("listening on %s\n", address);
	fflush(stdout);

	stop(&stop_signals);
	/* A thread that would not stop must not keep the process: no handlers, no waiting. */
	fflush(NULL);
	_exit(0);
}
