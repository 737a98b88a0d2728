/* SPDX-License-Identifier: MIT */
/* maps.c - the reader of /proc/self/maps and smaps, on any text.  World: host, fuzzing. */
#include "checkpoint/maps.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	bool smaps = len && data[0] & 1, last = len && data[0] & 2;
	char *text = malloc(len); /* ends where it ends: the sanitizer sees one byte too far */
	size_t at = 1;

	if (!len)
		goto out;
	memcpy(text, data, len);
	while (at < len) {
		struct maps_entry e = { 0 };
		char path[64];
		ssize_t n = maps_parse(text + at, len - at, smaps, last, &e);

		CHECK(n == 0 || n == -EBADMSG || (n > 0 && (size_t)n <= len - at));
		if (n <= 0)
			break;
		CHECK(e.start < e.end && !(e.start % 4096) && !(e.end % 4096));
		CHECK(!e.path_len || (e.path >= text + at && e.path + e.path_len <= text + at + n));
		if (!maps_path(&e, path, sizeof(path)))
			CHECK(memchr(path, 0, sizeof(path)) && strlen(path) <= e.path_len);
		at += (size_t)n;
	}
out:
	free(text);
	return 0;
}
