/* SPDX-License-Identifier: MIT */
/* From the path of a URL to the name of a file, and back. World: inside the compartment. */
#ifndef HTTPD_PATH_H
#define HTTPD_PATH_H

#include <stddef.h>

/*
 * Decodes the path of a URL (it begins with '/') into the name of a file relative to the root:
 * no leading slash, no empty, "." or ".." component; for a directory (a path that ends with '/',
 * or in "." or "..") "index.html" is appended. A backslash is a character like any other.
 *
 * Gives 0, or the status to answer with:
 *   400  a bad escape; a control character or NUL, also escaped; ".." above the root; no '/'
 *   404  an escaped slash, which no name holds; a name that does not fit into size
 */
int path_decode(char *name, size_t size, const char *path, size_t len);

/*
 * The path of a URL for a name of path_decode() as a directory: "a b" gives "/a%20b/".
 * Gives its length, or 0 if size, which includes the NUL, is too small.
 */
size_t path_encode_dir(char *path, size_t size, const char *name);

#endif
