/* SPDX-License-Identifier: MIT */
/* maps.c - reads what the kernel says of this process's mappings.  World: host. */
#include "checkpoint/maps.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "checkpoint/scratch.h"

#define MAPS_FIRST_TEXT (256UL << 10)
#define MAPS_DELETED	" (deleted)"

/* What is left to parse of one line.  Every step checks the end. */
struct cursor {
	const char *p, *end;
};

static bool take_number(struct cursor *c, unsigned base, uint64_t *out)
{
	uint64_t v = 0;
	const char *first = c->p;

	for (; c->p < c->end; c->p++) {
		unsigned digit;

		if (*c->p >= '0' && *c->p <= '9')
			digit = (unsigned)(*c->p - '0');
		else if (*c->p >= 'a' && *c->p <= 'f')
			digit = (unsigned)(*c->p - 'a') + 10;
		else
			break;
		if (digit >= base)
			break;
		if (__builtin_mul_overflow(v, base, &v) || __builtin_add_overflow(v, digit, &v))
			return false;
	}
	*out = v;
	return c->p > first;
}

static bool take_char(struct cursor *c, char want)
{
	if (c->p == c->end || *c->p != want)
		return false;
	c->p++;
	return true;
}

static void skip_blanks(struct cursor *c)
{
	while (c->p < c->end && (*c->p == ' ' || *c->p == '\t'))
		c->p++;
}

/* One of the letters r-, w-, x-, ps. */
static bool take_right(struct cursor *c, char set, char clear, bool *out)
{
	if (c->p == c->end || (*c->p != set && *c->p != clear))
		return false;
	*out = *c->p++ == set;
	return true;
}

/* "7f00-8f00 r-xp 00001000 fe:01 1234    /path": the line without its newline. */
static bool parse_line(const char *line, size_t len, struct maps_entry *e)
{
	struct cursor c = { line, line + len };
	uint64_t major, minor;
	bool r, w, x;

	memset(e, 0, sizeof(*e));
	if (!take_number(&c, 16, &e->start) || !take_char(&c, '-') ||
	    !take_number(&c, 16, &e->end) || !take_char(&c, ' '))
		return false;
	if (e->start >= e->end || ((e->start | e->end) & 4095))
		return false;
	if (!take_right(&c, 'r', '-', &r) || !take_right(&c, 'w', '-', &w) ||
	    !take_right(&c, 'x', '-', &x) || !take_right(&c, 's', 'p', &e->shared) ||
	    !take_char(&c, ' '))
		return false;
	e->prot = (uint8_t)((r ? PROT_READ : 0) | (w ? PROT_WRITE : 0) | (x ? PROT_EXEC : 0));
	if (!take_number(&c, 16, &e->offset) || !take_char(&c, ' ') ||
	    !take_number(&c, 16, &major) || !take_char(&c, ':') || !take_number(&c, 16, &minor) ||
	    !take_char(&c, ' ') || !take_number(&c, 10, &e->inode))
		return false;
	if (major > UINT32_MAX || minor > UINT32_MAX)
		return false;
	e->dev_major = (uint32_t)major;
	e->dev_minor = (uint32_t)minor;
	if (c.p < c.end && *c.p != ' ')
		return false;
	skip_blanks(&c);
	e->path = c.p;
	e->path_len = (size_t)(c.end - c.p);
	if (e->path_len > strlen(MAPS_DELETED) &&
	    !memcmp(c.end - strlen(MAPS_DELETED), MAPS_DELETED, strlen(MAPS_DELETED))) {
		e->deleted = true;
		e->path_len -= strlen(MAPS_DELETED);
	}
	return true;
}

static uint32_t flag_of(const char *two)
{
	static const struct {
		char name[3];
		uint32_t flag;
	} names[] = {
		{ "wf", MAPS_WIPEONFORK }, { "dp", MAPS_WIPEONFORK }, { "dc", MAPS_DONTFORK },
		{ "dd", MAPS_DONTDUMP },   { "gd", MAPS_GROWSDOWN },  { "mw", MAPS_MAYWRITE },
		{ "ht", MAPS_HUGETLB },	   { "io", MAPS_IO },	      { "pf", MAPS_IO },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!memcmp(two, names[i].name, 2))
			return names[i].flag;
	return 0;
}

static bool take_key(struct cursor *c, const char *key)
{
	size_t n = strlen(key);

	if ((size_t)(c->end - c->p) < n || memcmp(c->p, key, n))
		return false;
	c->p += n;
	skip_blanks(c);
	return true;
}

/* A line of smaps after the first: keys that are not known are for others. */
static bool parse_detail(const char *line, size_t len, struct maps_entry *e)
{
	struct cursor c = { line, line + len };
	uint64_t v;

	if (take_key(&c, "Rss:")) {
		if (!take_number(&c, 10, &v) || __builtin_mul_overflow(v, 1024, &e->rss))
			return false;
	} else if (take_key(&c, "Swap:")) {
		if (!take_number(&c, 10, &v) || __builtin_mul_overflow(v, 1024, &e->swap))
			return false;
	} else if (take_key(&c, "ProtectionKey:")) {
		if (!take_number(&c, 10, &v) || v > UINT32_MAX)
			return false;
		e->pkey = (uint32_t)v;
	} else if (take_key(&c, "VmFlags:")) {
		e->detailed = true;
		for (; c.end - c.p >= 2; skip_blanks(&c)) {
			if (c.end - c.p > 2 && c.p[2] != ' ')
				return false;
			e->flags |= flag_of(c.p);
			c.p += 2;
		}
		return c.p == c.end;
	}
	return true;
}

/* Mappings begin with an address; details with a capital, or with an odd key that is not one. */
static bool begins_mapping(const char *line, size_t len)
{
	struct cursor c = { line, line + len };
	uint64_t v;

	return take_number(&c, 16, &v) && take_char(&c, '-');
}

ssize_t maps_parse(const char *buf, size_t len, bool smaps, bool last, struct maps_entry *out)
{
	struct maps_entry e;
	const char *newline;
	size_t pos;

	newline = len ? memchr(buf, '\n', len) : NULL;
	if (!newline)
		return 0;
	if (!parse_line(buf, (size_t)(newline - buf), &e))
		return -EBADMSG;
	pos = (size_t)(newline - buf) + 1;
	while (smaps) {
		if (pos == len && last)
			break;
		newline = pos < len ? memchr(buf + pos, '\n', len - pos) : NULL;
		if (!newline)
			return 0;
		if (begins_mapping(buf + pos, (size_t)(newline - (buf + pos))))
			break;
		if (!parse_detail(buf + pos, (size_t)(newline - (buf + pos)), &e))
			return -EBADMSG;
		pos = (size_t)(newline - buf) + 1;
	}
	*out = e;
	return (ssize_t)pos;
}

bool maps_is(const struct maps_entry *e, const char *name)
{
	return e->path_len == strlen(name) && !memcmp(e->path, name, e->path_len);
}

bool maps_begins(const struct maps_entry *e, const char *prefix)
{
	size_t n = strlen(prefix);

	return e->path_len >= n && !memcmp(e->path, prefix, n);
}

int maps_path(const struct maps_entry *e, char *buf, size_t cap)
{
	size_t n = 0;

	if (e->path_len == 0)
		return -ENOENT;
	for (size_t i = 0; i < e->path_len; n++) {
		if (n + 1 >= cap)
			return -ENAMETOOLONG;
		/* The only character that the kernel escapes here is the newline. */
		if (e->path_len - i >= 4 && !memcmp(e->path + i, "\\012", 4)) {
			buf[n] = '\n';
			i += 4;
		} else {
			buf[n] = e->path[i++];
		}
	}
	buf[n] = '\0';
	return 0;
}

static ssize_t read_all(int fd, char *buf, size_t size)
{
	size_t len = 0;

	if (lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	while (len < size) {
		ssize_t n = read(fd, buf + len, size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	return (ssize_t)len;
}

/* Fills as many entries as there is room for; returns how many there are. */
static ssize_t parse_all(struct maps_entry *entries, size_t room, const char *text, size_t len,
			 bool smaps)
{
	struct maps_entry e;
	uint64_t floor = 0;
	size_t count = 0;

	for (size_t pos = 0; pos < len; count++) {
		ssize_t n = maps_parse(text + pos, len - pos, smaps, true, &e);

		if (n <= 0 || e.start < floor)
			return -EBADMSG;
		floor = e.end;
		pos += (size_t)n;
		if (count < room)
			entries[count] = e;
	}
	return (ssize_t)count;
}

int maps_read(struct maps *out, int fd, bool smaps)
{
	struct maps m = { .text_size = MAPS_FIRST_TEXT, .entries_size = MAPS_FIRST_TEXT };
	int err;

	for (;;) {
		size_t text_size = m.text_size, entries_size = m.entries_size;
		size_t room = entries_size / sizeof(*m.entries);
		ssize_t len, count;

		err = -ENOMEM;
		if (!m.text)
			m.text = scratch_alloc(m.text_size);
		if (!m.entries)
			m.entries = scratch_alloc(m.entries_size);
		if (!m.text || !m.entries)
			goto fail;
		len = read_all(fd, m.text, m.text_size);
		err = (int)len;
		if (len < 0)
			goto fail;
		if ((size_t)len == m.text_size) {
			text_size *= 2;
		} else {
			count = parse_all(m.entries, room, m.text, (size_t)len, smaps);
			err = (int)count;
			if (count < 0)
				goto fail;
			if ((size_t)count <= room) {
				m.count = (size_t)count;
				*out = m;
				return 0;
			}
			entries_size = (size_t)count * 2 * sizeof(*m.entries);
		}
		/* More memory is a change of what is being read: from the start again. */
		maps_free(&m);
		m.text_size = text_size;
		m.entries_size = entries_size;
	}
fail:
	maps_free(&m);
	return err;
}

int maps_read_self(struct maps *out, bool smaps)
{
	int fd, err;

	fd = open(smaps ? "/proc/self/smaps" : "/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = maps_read(out, fd, smaps);
	close(fd);
	return err;
}

void maps_free(struct maps *m)
{
	scratch_free(m->text, m->text_size);
	scratch_free(m->entries, m->entries_size);
	memset(m, 0, sizeof(*m));
}

const struct maps_entry *maps_find(const struct maps *m, uint64_t addr)
{
	size_t lo = 0, hi = m->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (addr < m->entries[mid].start)
			hi = mid;
		else if (addr >= m->entries[mid].end)
			lo = mid + 1;
		else
			return &m->entries[mid];
	}
	return NULL;
}
