/* SPDX-License-Identifier: MIT */
/* st_unloaded_object.c - a shared object for st_unloaded.c to load and to unload.  World: host, and inside. */
const char object_constant[4096 * 2] = "constant of the object";
char object_data[4096] = "data of the object";

long object_twice(long n);

long object_twice(long n)
{
	return n * 2;
}
