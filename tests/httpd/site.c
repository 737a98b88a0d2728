/* SPDX-License-Identifier: MIT */
/* The site that the server serves to the tests. World: host. */
#include "tests/httpd/httpd.h"

#include <ftw.h>
#include <sys/stat.h>
#include <time.h>

#include "tests/test.h"

static char dir[] = "/tmp/httpd-test.XXXXXX"; /* root, logs, and a file outside of the root */
static char root[sizeof(dir) + 16];
static char *big;

static void make_file(const char *name, const void *data, size_t len)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
	CHECK(fd >= 0);
	CHECK_EQ(write(fd, data, len), (ssize_t)len);
	close(fd);
}

static void make_text(const char *name, const char *text)
{
	make_file(name, text, strlen(text));
}

void site_make(void)
{
	uint64_t x = 88172645463325252u;
	char path[256];

	CHECK(mkdtemp(dir));
	snprintf(root, sizeof(root), "%s/root", dir);
	CHECK(mkdir(root, 0755) == 0);
	CHECK(chdir(root) == 0);
	CHECK(mkdir("sub", 0755) == 0);
	CHECK(mkdir("bare", 0755) == 0);
	CHECK(mkdir("sp ace", 0755) == 0);
	make_text("outside.txt", "outside");
	make_text("root/index.html", "<h1>index</h1>");
	make_text("root/a.txt", "hello\n");
	make_text("root/empty.txt", "");
	make_text("root/style.css", "b{}");
	make_text("root/pic.svg", "<svg/>");
	make_text("root/noext", "x");
	make_text("root/back\\slash.txt", "backslash");
	make_text("root/\xc3\xa4 b+c.txt", "umlaut");
	make_text("root/sub/index.html", "sub index");
	make_text("root/sub/b.txt", "sub b");
	make_text("root/sp ace/index.html", "space");
	big = malloc(SITE_BIG);
	CHECK(big);
	for (size_t i = 0; i < SITE_BIG / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(big + 8 * i, &x, 8);
	}
	make_file("root/big.bin", big, SITE_BIG);
	make_file("root/chunk.bin", big, 256 * 1024);
	make_file("root/huge.bin", "", 0);
	CHECK(truncate("huge.bin", SITE_HUGE) == 0);
	CHECK(symlink("a.txt", "inside-link") == 0);
	CHECK(symlink("../outside.txt", "outside-link") == 0);
	CHECK(symlink("..", "up") == 0);
	CHECK(symlink("loop", "loop") == 0);
	snprintf(path, sizeof(path), "%s/outside.txt", dir);
	CHECK(symlink(path, "absolute-link") == 0);
	snprintf(path, sizeof(path), "%s/a.txt", root);
	CHECK(symlink(path, "absolute-inside-link") == 0);
	CHECK(symlink("/proc/self/root/etc/passwd", "magic") == 0);
	CHECK(mkfifo("fifo", 0644) == 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void site_remove(void)
{
	CHECK(chdir("/") == 0);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(big);
}

const char *site_dir(void)
{
	return dir;
}

const char *site_root(void)
{
	return root;
}

const char *site_big(void)
{
	return big;
}

/* The server still answers, over a new connection. */
void check_alive(const struct server *s)
{
	static struct client c;

	CHECK_EQ(client_get(&c, s, "/a.txt"), 200);
	CHECK_STR(c.body, "hello\n");
}

void sleep_ms(long ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&ts, NULL);
}
