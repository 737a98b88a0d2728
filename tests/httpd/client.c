/* SPDX-License-Identifier: MIT */
/* The server as a child, and the client. World: host. */
#include "tests/httpd/httpd.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/test.h"

#define ARGS_MAX 32

static const char *program, *isolation, *log_dir;
static struct rlimit files; /* of 0: as many as we may have */

void server_program(const char *path, const char *how, const char *dir)
{
	program = path;
	isolation = how;
	log_dir = dir;
}

void server_files(unsigned soft, unsigned hard)
{
	files = (struct rlimit){ soft, hard };
}

/* Runs it with out as standard output and log as standard error. It dies with this test. */
static pid_t spawn(char **argv, int out, int log)
{
	pid_t test = getpid(), pid = fork();

	CHECK(pid >= 0);
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != test)
		_exit(127);
	dup2(out, STDOUT_FILENO);
	dup2(log, STDERR_FILENO);
	close_range(3, ~0u, 0);
	if (files.rlim_max && setrlimit(RLIMIT_NOFILE, &files))
		_exit(127);
	execv(program, argv);
	_exit(127);
}

static void add_arguments(char **argv, int n, va_list ap)
{
	char *arg;

	while ((arg = va_arg(ap, char *))) {
		CHECK_LT(n, ARGS_MAX - 1);
		argv[n++] = arg;
	}
	argv[n] = NULL;
}

/* One line of its output; false at the end. */
static bool read_line(int fd, char *line, size_t size)
{
	size_t n = 0;

	while (n + 1 < size && read(fd, line + n, 1) == 1)
		if (line[n++] == '\n')
			break;
	line[n] = '\0';
	return n > 0;
}

static void show_file(const char *path)
{
	char buf[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	while (fd >= 0 && (n = read(fd, buf, sizeof(buf))) > 0)
		if (write(STDOUT_FILENO, buf, (size_t)n) < 0)
			break;
	if (fd >= 0)
		close(fd);
}

static char last_log[512];

/* What the server had to say, when a check about it failed. */
static void show_last_log(int status, void *unused)
{
	(void)unused;
	if (status && last_log[0]) {
		printf("the last server's log:\n");
		fflush(stdout);
		show_file(last_log);
	}
}

void server_start(struct server *s, const char *root, ...)
{
	static unsigned count;
	static const char *const placements[] = {
		[TEST_PLACEMENT_DEFAULT] = "auto",
		[TEST_PLACEMENT_HOST] = "host",
		[TEST_PLACEMENT_RING0] = "ring0",
	};
	const char *common[] = {
		program,     "--root",    root,		 "--listen",	"127.0.0.1:0",
		"--isolation", isolation, "--placement", placements[test_placement() % 3],
	};
	const int n = sizeof(common) / sizeof(common[0]);
	char *argv[ARGS_MAX];
	int out[2], log;
	char line[256];
	va_list ap;

	memset(s, 0, sizeof(*s));
	memcpy(argv, common, sizeof(common));
	va_start(ap, root);
	add_arguments(argv, n, ap);
	va_end(ap);
	if (!count)
		on_exit(show_last_log, NULL);
	snprintf(s->log, sizeof(s->log), "%s/log-%u", log_dir, count++);
	memcpy(last_log, s->log, sizeof(last_log));
	log = open(s->log, O_CREAT | O_TRUNC | O_RDWR | O_APPEND | O_CLOEXEC, 0600);
	CHECK(log >= 0);
	CHECK(pipe2(out, O_CLOEXEC) == 0);
	s->pid = spawn(argv, out[1], log);
	close(out[1]);
	close(log);
	s->out = out[0];
	while (read_line(s->out, line, sizeof(line))) {
		if (sscanf(line, "listening on 127.0.0.1:%d", &s->port) == 1)
			return;
		sscanf(line, "demo-secret mapped=%lx variable=%lx text=%63s", &s->mapped,
		       &s->variable, s->secret);
	}
	show_file(s->log);
	FAIL("the server did not start");
}

static int wait_exit(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		CHECK(errno == EINTR);
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	return 128 + WTERMSIG(status);
}

void server_stop(struct server *s, char *out, size_t len)
{
	size_t n = 0;
	ssize_t got;
	int status;

	CHECK(kill(s->pid, SIGTERM) == 0);
	while (n + 1 < len && (got = read(s->out, out + n, len - n - 1)) > 0)
		n += (size_t)got;
	if (len)
		out[n] = '\0';
	close(s->out);
	status = wait_exit(s->pid);
	if (status)
		show_file(s->log);
	CHECK_EQ(status, 0);
}

static unsigned file_count(const char *path, const char *text)
{
	static char buf[1 << 20];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	unsigned count = 0;
	ssize_t n;

	CHECK(fd >= 0);
	n = read(fd, buf, sizeof(buf) - 1);
	CHECK(n >= 0);
	close(fd);
	buf[n] = '\0';
	for (const char *p = buf; (p = strstr(p, text)); p++)
		count++;
	return count;
}

bool server_logged(struct server *s, const char *text)
{
	struct timespec pause = { .tv_nsec = 20 * 1000000L };

	for (int i = 0; i < 500; i++) {
		if (file_count(s->log, text))
			return true;
		nanosleep(&pause, NULL);
	}
	show_file(s->log);
	return false;
}

unsigned server_log_count(const struct server *s, const char *text)
{
	return file_count(s->log, text);
}

unsigned server_fds(const struct server *s)
{
	unsigned n = 0;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)s->pid);
	dir = opendir(path);
	CHECK(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

void server_refuses(int status, const char *text, ...)
{
	char *argv[ARGS_MAX] = { (char *)program };
	char log[512];
	va_list ap;
	int fd, got;

	va_start(ap, text);
	add_arguments(argv, 1, ap);
	va_end(ap);
	snprintf(log, sizeof(log), "%s/refused", log_dir);
	fd = open(log, O_CREAT | O_TRUNC | O_RDWR | O_APPEND | O_CLOEXEC, 0600);
	CHECK(fd >= 0);
	got = wait_exit(spawn(argv, fd, fd));
	close(fd);
	if (got != status || !file_count(log, text))
		show_file(log);
	CHECK_MSG(got == status && file_count(log, text), "exit status %d, not %d with \"%s\"", got,
		  status, text);
}

void client_connect(struct client *c, const struct server *s)
{
	struct sockaddr_in sa = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)s->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct timeval tv = { .tv_sec = 60 };
	int one = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(c->fd >= 0);
	CHECK(setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0);
	CHECK(setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) == 0);
	CHECK(setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0);
	CHECK(connect(c->fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
	c->have = c->at = 0;
	c->body = NULL;
}

void client_close(struct client *c)
{
	free(c->body);
	c->body = NULL;
	close(c->fd);
	c->fd = -1;
}

/* The server may have answered and closed before all is sent: that is not for us to complain of. */
void client_send(struct client *c, const void *data, size_t len)
{
	const char *p = data;
	ssize_t n;

	while (len) {
		n = send(c->fd, p, len, MSG_NOSIGNAL);
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return;
		CHECK(n > 0);
		p += n;
		len -= (size_t)n;
	}
}

void client_say(struct client *c, const char *fmt, ...)
{
	char text[8192];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	CHECK(n >= 0 && (size_t)n < sizeof(text));
	client_send(c, text, (size_t)n);
}

/* More bytes into buf; false at the end. */
static bool fill(struct client *c)
{
	ssize_t n;

	c->have = c->at = 0;
	n = recv(c->fd, c->buf, sizeof(c->buf), 0);
	if (n < 0 && errno == ECONNRESET)
		return false;
	CHECK(n >= 0);
	c->have = (size_t)n;
	return n > 0;
}

const char *client_field(const struct client *c, const char *name)
{
	static __thread char value[8192];
	size_t len = strlen(name);

	for (const char *line = strstr(c->head, "\r\n"); line; line = strstr(line, "\r\n")) {
		line += 2;
		if (!strncasecmp(line, name, len) && line[len] == ':') {
			CHECK(sscanf(line + len + 1, " %8191[^\r]", value) == 1);
			return value;
		}
	}
	return NULL;
}

bool client_answer(struct client *c, bool is_head)
{
	size_t n = 0, len = 0;
	const char *field;

	free(c->body);
	c->body = NULL;
	while (n < 4 || memcmp(c->head + n - 4, "\r\n\r\n", 4) != 0) {
		CHECK_LT(n, sizeof(c->head) - 1);
		if (c->at == c->have && !fill(c)) {
			CHECK_MSG(n == 0, "the head ended after %zu bytes", n);
			return false;
		}
		c->head[n++] = c->buf[c->at++];
	}
	c->head[n] = '\0';
	CHECK_MSG(sscanf(c->head, "HTTP/1.1 %d ", &c->status) == 1, "%s", c->head);
	field = client_field(c, "Connection");
	c->closes = field && !strcmp(field, "close");
	field = client_field(c, "Content-Length");
	CHECK_MSG(field || c->status == 304, "no Content-Length:\n%s", c->head);
	if (field && !is_head)
		len = strtoul(field, NULL, 10);
	c->body = malloc(len + 1);
	CHECK(c->body);
	for (n = 0; n < len;) {
		size_t some;

		if (c->at == c->have)
			CHECK_MSG(fill(c), "the body ended after %zu of %zu bytes", n, len);
		some = c->have - c->at < len - n ? c->have - c->at : len - n;
		memcpy(c->body + n, c->buf + c->at, some);
		c->at += some;
		n += some;
	}
	c->body[len] = '\0';
	c->body_len = len;
	return true;
}

bool client_at_end(struct client *c)
{
	return c->at == c->have && !fill(c);
}

int client_get(struct client *c, const struct server *s, const char *target)
{
	client_connect(c, s);
	client_say(c, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", target);
	CHECK_MSG(client_answer(c, false), "no answer to GET %s", target);
	CHECK(c->closes);
	CHECK(client_at_end(c));
	close(c->fd);
	return c->status;
}
