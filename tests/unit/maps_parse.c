/* SPDX-License-Identifier: MIT */
/*
 * The reader of /proc/self/maps and smaps understands what the kernel writes, and survives anything
 * else. World: host.
 */
#include <sys/mman.h>

#include "checkpoint/maps.h"
#include "tests/test.h"

#define LINE "7000-9000 r-xp 00001000 fe:01 1234 "

/* Parses a copy that ends where its mapping ends, so that a sanitizer sees one byte too far. */
static ssize_t parse(const char *text, size_t len, bool smaps, bool last, struct maps_entry *e)
{
	static char *copy;
	ssize_t n;

	free(copy);
	copy = malloc(len ? len : 1);
	CHECK(copy);
	memcpy(copy, text, len);
	n = maps_parse(copy, len, smaps, last, e);
	CHECK(n == 0 || n == -EBADMSG || (n > 0 && (size_t)n <= len));
	if (n > 0)
		CHECK(e->start < e->end && (e->path_len == 0 || (e->path >= copy && e->path + e->path_len <= copy + len)));
	return n;
}

static void good_lines(void)
{
	static const struct {
		const char *text;
		uint64_t start, end, offset, inode;
		uint32_t major, minor;
		int prot;
		bool shared, deleted;
		const char *path;
	} t[] = {
		{ "00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/dbus-daemon\n",
		  0x400000, 0x452000, 0, 173521, 8, 2, PROT_READ | PROT_EXEC, false, false, "/usr/bin/dbus-daemon" },
		{ "7f5a0e4c3000-7f5a0e4c7000 r--p 00000000 00:00 0                          [vvar]\n",
		  0x7f5a0e4c3000, 0x7f5a0e4c7000, 0, 0, 0, 0, PROT_READ, false, false, "[vvar]" },
		{ "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n",
		  0xffffffffff600000, 0xffffffffff601000, 0, 0, 0, 0, PROT_EXEC, false, false, "[vsyscall]" },
		{ "1000-2000 rw-s 00003000 00:05 9   /memfd:a b (deleted)\n",
		  0x1000, 0x2000, 0x3000, 9, 0, 5, PROT_READ | PROT_WRITE, true, true, "/memfd:a b" },
		{ "1000-2000 ---p 00000000 00:00 0 \n", 0x1000, 0x2000, 0, 0, 0, 0, 0, false, false, "" },
		{ "1000-2000 ---p 00000000 00:00 0\n", 0x1000, 0x2000, 0, 0, 0, 0, 0, false, false, "" },
		{ "1000-2000 rw-p 00000000 00:00 0                          [anon:name with - and :]\n",
		  0x1000, 0x2000, 0, 0, 0, 0, PROT_READ | PROT_WRITE, false, false, "[anon:name with - and :]" },
		{ "1000-2000 r--p 00000000 fe:100a1 18446744073709551615 /a\\012b (deleted) (deleted)\n",
		  0x1000, 0x2000, 0, UINT64_MAX, 0xfe, 0x100a1, PROT_READ, false, true, "/a\\012b (deleted)" },
		{ "1000-2000 rw-s 00000000 00:0e 7 anon_inode:kvm-vcpu:0\n",
		  0x1000, 0x2000, 0, 7, 0, 14, PROT_READ | PROT_WRITE, true, false, "anon_inode:kvm-vcpu:0" },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct maps_entry e;

		CHECK_EQ(parse(t[i].text, strlen(t[i].text), false, true, &e), strlen(t[i].text));
		CHECK_EQ(e.start, t[i].start);
		CHECK_EQ(e.end, t[i].end);
		CHECK_EQ(e.offset, t[i].offset);
		CHECK_EQ(e.inode, t[i].inode);
		CHECK_EQ(e.dev_major, t[i].major);
		CHECK_EQ(e.dev_minor, t[i].minor);
		CHECK_EQ(e.prot, t[i].prot);
		CHECK_EQ(e.shared, t[i].shared);
		CHECK_EQ(e.deleted, t[i].deleted);
		CHECK(maps_is(&e, t[i].path));
		CHECK(!e.detailed);
		/* Every prefix of it is short of a line, and no more. */
		for (size_t n = 0; n < strlen(t[i].text); n++)
			CHECK_EQ(parse(t[i].text, n, false, false, &e), 0);
	}
}

static void bad_lines(void)
{
	static const char *const t[] = {
		"\n", "-\n", "x\n", "1000\n", "1000-\n", "1000-2000\n", "1000-2000 \n",
		"2000-1000 r--p 00000000 00:00 0 \n",			/* ends before it starts */
		"1000-1000 r--p 00000000 00:00 0 \n",			/* empty */
		"1000-1800 r--p 00000000 00:00 0 \n",			/* half a page */
		"1000-2000 R--p 00000000 00:00 0 \n",
		"1000-2000 r--x 00000000 00:00 0 \n",
		"1000-2000 r-- 00000000 00:00 0 \n",
		"1000-2000 r--p 0000g000 00:00 0 \n",
		"1000-2000 r--p 00000000 0000 0 \n",
		"1000-2000 r--p 00000000 00:00 0x /a\n",
		"1000-2000 r--p 00000000 00:00 18446744073709551616 \n", /* more than 64 bits */
		"1000-2000 r--p 00000000 100000000:00 0 \n",
		"10000000000001000-2000 r--p 00000000 00:00 0 \n",
		" 1000-2000 r--p 00000000 00:00 0 \n",
		"Size:   4 kB\n",
	};
	struct maps_entry e = { .start = 77 };

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		CHECK_MSG(parse(t[i], strlen(t[i]), false, true, &e) == -EBADMSG, "line %zu: %s", i, t[i]);
	CHECK_EQ(e.start, 77);
}

static void details(void)
{
	static const char text[] =
		"1000-2000 rw-p 00000000 00:00 0 \n"
		"Size:                 12 kB\nRss:                   8 kB\nSwap:                  4 kB\nSwapPss: 0 kB\n"
		"FilePmdMapped:         0 kB\nProtectionKey:         3\n"
		"VmFlags: rd wr mr mw me ac wf dc dd gd ?? \n"
		"2000-3000 rw-p 00000000 00:00 0 \n"
		"VmFlags:\n";
	struct maps_entry e;
	ssize_t n;

	n = parse(text, strlen(text), true, true, &e);
	CHECK_GT(n, 0);
	CHECK_EQ(e.rss, 8192);
	CHECK_EQ(e.swap, 4096);
	CHECK_EQ(e.pkey, 3);
	CHECK(e.detailed);
	CHECK_EQ(e.flags, MAPS_MAYWRITE | MAPS_WIPEONFORK | MAPS_DONTFORK | MAPS_DONTDUMP | MAPS_GROWSDOWN);
	/*
	 * A record ends where another begins; the last one where it is said that nothing follows.
	 */
	CHECK_EQ(parse(text + n, strlen(text) - (size_t)n, true, false, &e), 0);
	CHECK_EQ(parse(text + n, strlen(text) - (size_t)n, true, true, &e), strlen(text) - (size_t)n);
	CHECK(e.detailed);
	CHECK_EQ(e.flags, 0);
	CHECK_EQ(e.rss, 0);
	/* Flags are two letters, and nothing else. */
	CHECK_ERR((int)parse("1000-2000 rw-p 0 0:0 0\nVmFlags: rd dcx\n", 39, true, true, &e), -EBADMSG);
	CHECK_ERR((int)parse("1000-2000 rw-p 0 0:0 0\nRss: kB\n", 31, true, true, &e), -EBADMSG);
	CHECK_ERR((int)parse("1000-2000 rw-p 0 0:0 0\nRss: 18446744073709551615\n", 49, true, true, &e), -EBADMSG);
}

static void paths(void)
{
	static const char text[] = LINE "/a\\012b\\011\\0\n";
	struct maps_entry e;
	char buf[64];

	CHECK_GT(parse(text, strlen(text), false, true, &e), 0);
	CHECK_OK(maps_path(&e, buf, sizeof(buf)));
	CHECK_STR(buf, "/a\nb\\011\\0");
	CHECK_OK(maps_path(&e, buf, strlen("/a\nb\\011\\0") + 1));
	CHECK_ERR(maps_path(&e, buf, strlen("/a\nb\\011\\0")), -ENAMETOOLONG);
	CHECK(maps_begins(&e, "/a"));
	CHECK(!maps_begins(&e, "/b"));
	CHECK(!maps_is(&e, "/a"));
	e.path_len = 0;
	CHECK_ERR(maps_path(&e, buf, sizeof(buf)), -ENOENT);
}

static uint64_t seed = 88172645463325252ull;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static char *slurp(const char *path, size_t *len)
{
	size_t cap = 4 << 20, n = 0;
	char *buf = malloc(cap);
	int fd = open(path, O_RDONLY);
	ssize_t got;

	CHECK(buf && fd >= 0);
	while ((got = read(fd, buf + n, cap - n)) > 0)
		n += (size_t)got;
	close(fd);
	*len = n;
	return buf;
}

/* All records of a text, however it ends. */
static void parse_whole(const char *text, size_t len, bool smaps)
{
	struct maps_entry e;
	ssize_t n;

	for (size_t at = 0; at < len; at += (size_t)n) {
		n = maps_parse(text + at, len - at, smaps, true, &e);
		if (n <= 0)
			break;
		CHECK(e.path_len == 0 || (e.path >= text + at && e.path + e.path_len <= text + at + (size_t)n));
	}
}

static void real_prefixes_and_mutations(const char *path, bool smaps)
{
	static const char nasty[] = "0123456789abcdefx-rwps :/[](\n\\\t V";
	struct maps_entry e;
	size_t len, first;
	char *text = slurp(path, &len), *copy;
	int rounds = (int)test_scale(20000);

	first = len < 3000 ? len : 3000;
	for (size_t n = 0; n <= first; n++)
		parse(text, n, smaps, n & 1, &e);
	copy = malloc(first);
	CHECK(copy);
	for (int i = 0; i < rounds; i++) {
		memcpy(copy, text, first);
		for (uint64_t k = rnd() % 4 + 1; k; k--)
			copy[rnd() % (k & 1 ? first : 120)] =
				(rnd() & 3) ? nasty[rnd() % (sizeof(nasty) - 1)] : (char)rnd();
		parse_whole(copy, first, smaps);
	}
	free(copy);
	free(text);
}

static int file_of(const char *text, size_t len)
{
	int fd = memfd_create("maps", 0);

	CHECK(fd >= 0);
	CHECK_EQ(write(fd, text, len), len);
	return fd;
}

static void reader(void)
{
	static const char unordered[] = "2000-3000 r--p 0 0:0 0\n1000-2000 r--p 0 0:0 0\n";
	static const char overlapping[] = "1000-3000 r--p 0 0:0 0\n2000-4000 r--p 0 0:0 0\n";
	static const char cut[] = "1000-2000 r--p 0 0:0 0\n2000-3000 r--p 0 0";
	size_t name_len = 700000, n;
	struct maps m;
	char *text;
	int fd;

	/* Lines longer than any buffer, more of them than the first buffer has. */
	text = malloc(name_len * 2 + 100);
	CHECK(text);
	n = (size_t)sprintf(text, "1000-2000 r--p 0 0:0 1 /");
	memset(text + n, 'a', name_len);
	n += name_len;
	n += (size_t)sprintf(text + n, "\n5000-6000 r--p 0 0:0 2 /");
	memset(text + n, 'b', name_len);
	n += name_len;
	text[n++] = '\n';
	fd = file_of(text, n);
	CHECK_OK(maps_read(&m, fd, false));
	CHECK_EQ(m.count, 2);
	CHECK_EQ(m.entries[1].path_len, name_len + 1);
	CHECK_EQ(m.entries[1].path[name_len], 'b');
	CHECK(maps_find(&m, 0xfff) == NULL);
	CHECK(maps_find(&m, 0x1000) == &m.entries[0]);
	CHECK(maps_find(&m, 0x1fff) == &m.entries[0]);
	CHECK(maps_find(&m, 0x2000) == NULL);
	CHECK(maps_find(&m, 0x5800) == &m.entries[1]);
	CHECK(maps_find(&m, UINT64_MAX) == NULL);
	maps_free(&m);
	maps_free(&m);
	close(fd);
	free(text);

	fd = file_of("", 0);
	CHECK_OK(maps_read(&m, fd, false));
	CHECK_EQ(m.count, 0);
	maps_free(&m);
	close(fd);
	fd = file_of(unordered, strlen(unordered));
	CHECK_ERR(maps_read(&m, fd, false), -EBADMSG);
	close(fd);
	fd = file_of(overlapping, strlen(overlapping));
	CHECK_ERR(maps_read(&m, fd, false), -EBADMSG);
	close(fd);
	fd = file_of(cut, strlen(cut));
	CHECK_ERR(maps_read(&m, fd, false), -EBADMSG);
	close(fd);
	CHECK_ERR(maps_read(&m, -1, false), -EBADF);
}

/*
 * What the reader says of this process, where thousands of mappings make it start again several
 * times.
 */
static void self(void)
{
	enum { PAGES = 6000 };
	struct maps m;
	char *p;

	p = mmap(NULL, PAGES * 4096UL, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	for (int i = 0; i < PAGES; i += 2)
		CHECK_EQ(mprotect(p + i * 4096UL, 4096, PROT_READ | PROT_WRITE), 0);
	for (int i = 0; i < PAGES; i += 4)
		p[i * 4096UL] = 1;
	CHECK_EQ(madvise(p + 2 * 4096, 4096, MADV_WIPEONFORK), 0);
	CHECK_EQ(madvise(p + 4 * 4096, 4096, MADV_DONTFORK), 0);
	for (int smaps = 0; smaps < 2; smaps++) {
		const struct maps_entry *e;
		bool vdso = false, stack = false;

		CHECK_OK(maps_read_self(&m, smaps));
		CHECK_GT(m.count, PAGES);
		for (size_t i = 0; i < m.count; i++) {
			e = &m.entries[i];
			vdso |= maps_is(e, "[vdso]");
			stack |= maps_is(e, "[stack]") && (!smaps || (e->flags & MAPS_GROWSDOWN));
			CHECK_EQ(e->detailed, smaps);
		}
		CHECK(vdso && stack);
		for (int i = 6; i < PAGES; i++) {
			e = maps_find(&m, (uintptr_t)p + (uint64_t)i * 4096);
			CHECK(e);
			CHECK_EQ(e->prot, i & 1 ? PROT_READ : PROT_READ | PROT_WRITE);
			if (smaps)
				CHECK_EQ(e->rss, i & 3 ? 0 : 4096);
		}
		if (smaps) {
			CHECK(maps_find(&m, (uintptr_t)p + 2 * 4096)->flags & MAPS_WIPEONFORK);
			CHECK(maps_find(&m, (uintptr_t)p + 4 * 4096)->flags & MAPS_DONTFORK);
			CHECK(!(maps_find(&m, (uintptr_t)p + 6 * 4096)->flags & (MAPS_DONTFORK | MAPS_WIPEONFORK)));
			/* Its own memory is marked, so that nobody takes it for the program's. */
			CHECK(maps_find(&m, (uintptr_t)m.text)->flags & MAPS_DONTFORK);
			CHECK(maps_find(&m, (uintptr_t)m.entries)->flags & MAPS_DONTFORK);
		}
		maps_free(&m);
	}
	munmap(p, PAGES * 4096UL);
}

/* A newline in the name of a file, one that is gone, one with a name of the longest kind. */
static void odd_files(void)
{
	char dir[] = "/tmp/maps_parse.XXXXXX", path[4096], got[4096], longest[256] = "";
	struct maps m;
	char *p[3];
	int fd;

	CHECK(mkdtemp(dir));
	for (int i = 0; i < 3; i++) {
		const struct maps_entry *e;

		memset(longest, 'd', 255);
		snprintf(path, sizeof(path), "%s/%s", dir, i == 0 ? "new\nline" : i == 1 ? "d" : longest);
		fd = open(path, O_RDWR | O_CREAT, 0600);
		CHECK(fd >= 0);
		CHECK_EQ(ftruncate(fd, 8192), 0);
		p[i] = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, fd, 0);
		CHECK(p[i] != MAP_FAILED);
		close(fd);
		if (i == 1)
			unlink(path);
		CHECK_OK(maps_read_self(&m, i & 1));
		e = maps_find(&m, (uintptr_t)p[i]);
		CHECK(e);
		CHECK_EQ(e->deleted, i == 1);
		CHECK_OK(maps_path(e, got, sizeof(got)));
		CHECK_STR(got, path);
		maps_free(&m);
		unlink(path);
	}
	rmdir(dir);
}

int main(void)
{
	good_lines();
	bad_lines();
	details();
	paths();
	reader();
	self();
	odd_files();
	real_prefixes_and_mutations("/proc/self/maps", false);
	real_prefixes_and_mutations("/proc/self/smaps", true);
	return TEST_PASSED;
}
