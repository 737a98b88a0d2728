/* SPDX-License-Identifier: MIT */
/*
 * What the image shows is what was there at the checkpoint, also where the program unmaps it afterwards and maps a
 * secret at the same address: a shared object stays loaded, all else was copied.  World: host; ST_FN: inside.
 */
#include <dlfcn.h>
#include <sys/mman.h>

#include "tests/st.h"

#define PAGE   4096UL
#define SECRET "secret mapped since then"

/* ---- objects ---- */

static struct object {
	const char *name;
	void *handle;
	long (*twice)(long);
	const char *constant;
	char *data;
} kept, gone, later; /* of a file; of a file that is gone; loaded after the checkpoint */

static struct object load(const char *path)
{
	struct object o = { .name = path, .handle = dlopen(path, RTLD_NOW | RTLD_LOCAL) };

	CHECK_MSG(o.handle, "%s", dlerror());
	*(void **)&o.twice = dlsym(o.handle, "object_twice");
	o.constant = dlsym(o.handle, "object_constant");
	o.data = dlsym(o.handle, "object_data");
	CHECK(o.twice && o.constant && o.data);
	return o;
}

static void copy_file(const char *from, const char *to)
{
	char buf[65536];
	int in = open(from, O_RDONLY | O_CLOEXEC),
	    out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
	ssize_t n;

	CHECK(in >= 0 && out >= 0);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		CHECK_EQ(write(out, buf, (size_t)n), n);
	close(in);
	close(out);
}

/* A secret exactly there; false: the address is taken. */
static bool reuse(const void *at)
{
	char *page = (char *)((uintptr_t)at & ~(PAGE - 1));
	char *p = mmap(page, PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (p == MAP_FAILED) {
		CHECK_EQ(errno, EEXIST);
		return false;
	}
	CHECK(p == page);
	for (size_t i = 0; i + sizeof(SECRET) <= PAGE; i += sizeof(SECRET))
		memcpy(p + i, SECRET, sizeof(SECRET));
	return true;
}

ST_FN(uses_object)
{
	struct object *o = arg;

	CHECK_EQ(o->twice(21), 42);
	CHECK_STR(o->constant, "constant of the object");
	CHECK_STR(o->data, "data of the object");
	o->data[0] = 'D';
	return NULL;
}

ST_FN(reads)
{
	return (void *)(uintptr_t) * (volatile unsigned char *)arg;
}

ST_FN(calls)
{
	return (void *)(((long (*)(long))arg)(21) + 1); /* which is no jump */
}

/* In the image: no page of it can be had by another mapping, and everything in it goes on. */
static void stays(struct object *o)
{
	NOTE("%s", o->name);
	strcpy(o->data, SECRET);
	for (int i = 0; i < 2; i++) {
		ST_PASSES(NULL, uses_object, o);
		CHECK(!dlclose(o->handle));
		CHECK(!reuse((void *)(uintptr_t)o->twice));
		CHECK(!reuse(o->constant) && !reuse(o->constant + PAGE));
		CHECK(!reuse(o->data));
		ST_PASSES(NULL, uses_object, o);
		CHECK_EQ(o->twice(4), 8);
		CHECK_STR(o->data, SECRET); /* the same one: it was not loaded again */
		if (i == 0)
			CHECK((o->handle = dlopen(o->name, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD)) !=
			      NULL);
	}
	st_others_live();
}

/* The twin: dlclose() does unmap what is not in the image, its place is used again, and nobody inside sees that. */
static void goes(struct object *o)
{
	struct sthread_result r;

	NOTE("%s, loaded later", o->name);
	CHECK_EQ(o->twice(4), 8);
	CHECK(!dlclose(o->handle));
	CHECK(reuse((void *)(uintptr_t)o->twice) && reuse(o->constant) && reuse(o->data));
	r = st_call(NULL, reads, (void *)(uintptr_t)o->constant);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, o->constant, 1, ST_IN(reads),
		  "memory the master mapped after the checkpoint");
	r = st_run(NULL, reads, o->data);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, o->data, 1, ST_IN(reads), NULL);
	r = st_call(NULL, calls, (void *)(uintptr_t)o->twice);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, o->twice, 4, ST_BELOW(calls), NULL);
	st_others_live();
}

/* ---- other mappings ---- */

enum { FILE_PRIVATE, FILE_SHARED, FILE_EXEC, FILE_WRITABLE, ANONYMOUS, ANONYMOUS_READ, MAPPINGS };
static char *mapping[MAPPINGS];

static char *map_old(int prot, int flags, int fd)
{
	char *p = mmap(NULL, PAGE, prot, flags, fd, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static void map_all(int fd)
{
	int rw = PROT_READ | PROT_WRITE;

	mapping[FILE_PRIVATE] = map_old(PROT_READ, MAP_PRIVATE, fd);
	mapping[FILE_SHARED] = map_old(PROT_READ, MAP_SHARED, fd);
	mapping[FILE_EXEC] = map_old(PROT_READ | PROT_EXEC, MAP_PRIVATE, fd);
	mapping[FILE_WRITABLE] = map_old(rw, MAP_PRIVATE, fd);
	mapping[ANONYMOUS] = map_old(rw, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	mapping[ANONYMOUS_READ] = map_old(rw, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	strcpy(mapping[ANONYMOUS], "old");
	strcpy(mapping[ANONYMOUS_READ], "old");
	CHECK(!mprotect(mapping[ANONYMOUS_READ], PAGE, PROT_READ));
}

ST_FN(sees_old)
{
	CHECK_STR((char *)arg, "old");
	return NULL;
}

static void all_see_old(const char *when)
{
	for (int i = 0; i < MAPPINGS; i++) {
		NOTE("%s: mapping %d", when, i);
		ST_PASSES(NULL, sees_old, mapping[i]);
	}
	st_others_live();
}

static void mappings(int writer)
{
	struct sthread_result r;

	all_see_old("as it was");
	/* What is in the file comes through a mapping of it, in the master. */
	CHECK_EQ(pwrite(writer, SECRET, sizeof(SECRET), 0), (ssize_t)sizeof(SECRET));
	CHECK_STR(mapping[FILE_PRIVATE], SECRET);
	CHECK_STR(mapping[FILE_SHARED], SECRET);
	all_see_old("the file was written");
	CHECK(!mprotect(mapping[ANONYMOUS_READ], PAGE, PROT_READ | PROT_WRITE));
	strcpy(mapping[ANONYMOUS_READ], SECRET);
	strcpy(mapping[ANONYMOUS], SECRET);
	all_see_old("memory was written");
	for (int i = 0; i < MAPPINGS; i++)
		CHECK(!munmap(mapping[i], PAGE));
	all_see_old("it was unmapped");
	for (int i = 0; i < MAPPINGS; i++)
		CHECK(reuse(mapping[i]));
	all_see_old("a secret is mapped there");
	/* Code of no object is no code inside. */
	r = st_call(NULL, calls, mapping[FILE_EXEC]);
	ST_FAULTS(&r, STHREAD_FAULT_MEMORY, mapping[FILE_EXEC], 4, ST_BELOW(calls), NULL);
	for (int i = 0; i < MAPPINGS; i++)
		CHECK_STR(mapping[i], SECRET);
}

int main(int argc, char **argv)
{
	char name[] = "/tmp/st_unloaded.XXXXXX", path[sizeof(name) + 8],
	     path_later[sizeof(name) + 8];
	int writer = mkstemp(name), reader = open(name, O_RDONLY | O_CLOEXEC);

	CHECK_EQ(argc, 2);
	CHECK(writer >= 0 && reader >= 0 && write(writer, "old", 4) == 4);
	map_all(reader);
	snprintf(path, sizeof(path), "%s.so", name);
	snprintf(path_later, sizeof(path_later), "%s.so.1", name);
	copy_file(argv[1], path);
	copy_file(argv[1], path_later);
	kept = load(argv[1]);
	gone = load(path);
	CHECK(kept.data != gone.data);
	CHECK(!unlink(path));
	st_init();
	CHECK(!unlink(name)); /* shared and deleted would be denied */
	stays(&kept);
	stays(&gone);
	later = load(path_later);
	CHECK(!unlink(path_later));
	goes(&later);
	mappings(writer);
	sthread_fini();
	return TEST_PASSED;
}
