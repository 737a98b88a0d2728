/* SPDX-License-Identifier: MIT */
/* st_data_lib.c - a library with a page of data, to be loaded and unloaded by tests.  World: host. */
extern unsigned char st_data_lib_page[4096];

__attribute__((aligned(4096), visibility("default"))) unsigned char st_data_lib_page[4096] =
	"library";
