/* SPDX-License-Identifier: MIT */
/* Files beneath the root. World: inside the compartment. */
#ifndef HTTPD_FILE_H
#define HTTPD_FILE_H

#include <sys/stat.h>

/*
 * Opens the file (or directory) of a name from path_decode() for reading, and nothing that is not
 * beneath the root, whatever symbolic links say. Gives a descriptor and *st, or a negative errno:
 * -EXDEV for what leads out, -ELOOP for a loop of symbolic links, and openat()'s.
 */
int file_open(const char *name, struct stat *st);

#endif
