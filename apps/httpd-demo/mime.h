/* SPDX-License-Identifier: MIT */
/* World: inside the compartment. */
#ifndef HTTPD_MIME_H
#define HTTPD_MIME_H

/* The media type for a file of this name, by what follows its last dot. Never NULL. */
const char *mime_type(const char *name);

#endif
