/* SPDX-License-Identifier: MIT */
/*
 * The C library inside: stdio, locales, numbers, mutexes, lazy binding, what it says of the process.  World: host;
 * ST_FN: inside.
 */
#include "tests/st.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <iconv.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <wchar.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static FILE *master_stream;
static int constructed;
static bool has_locale;

__attribute__((constructor)) static void construct(void)
{
	constructed = 23;
}

ST_FN(text)
{
	char buf[200];
	char *end;
	volatile double one = 1.0;
	int a, b;

	CHECK_EQ(snprintf(buf, sizeof(buf), "%d %s %.3f %a %zu %lc", -7, "seven", 3.14159, 1.5,
			  (size_t)9, L'x'),
		 27);
	CHECK_STR(buf, "-7 seven 3.142 0x1.8p+0 9 x");
	CHECK_EQ(sscanf("12 0x22", "%d %i", &a, &b), 2);
	CHECK_EQ(a + b, 46);
	CHECK(strtod("6.02214076e23z", &end) == 6.02214076e23 && *end == 'z');
	CHECK(fabs(sin(one) * sin(one) + cos(one) * cos(one) - 1.0) < 1e-15);
	CHECK_STR(strerror(ENOENT), "No such file or directory");
	return NULL;
}

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

ST_FN(sorts)
{
	enum { N = 2000 };
	static int v[N];

	for (int i = 0; i < N; i++)
		v[i] = (i * 7919) % N;
	qsort(v, N, sizeof(v[0]), by_number);
	for (int i = 0; i < N; i++)
		CHECK_EQ(v[i], i);
	return NULL;
}

/* arg: the granted directory << 16 | the granted write end of a pipe. */
ST_FN(streams)
{
	int dir = (int)((uintptr_t)arg >> 16), out = (int)((uintptr_t)arg & 0xffff);
	int fd = openat(dir, "poem", O_RDONLY);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	char line[64];

	CHECK(f);
	CHECK(fgets(line, sizeof(line), f));
	CHECK_STR(line, "one line\n");
	CHECK(fgets(line, sizeof(line), f));
	CHECK_STR(line, "another line\n");
	CHECK(!fgets(line, sizeof(line), f) && feof(f));
	CHECK_EQ(fseek(f, 4, SEEK_SET), 0);
	CHECK_EQ(fgetc(f), 'l');
	fclose(f);
	/* There is no working directory, and no root. */
	CHECK(!fopen("poem", "r") && errno == EACCES);
	CHECK(!fopen("/etc/passwd", "r") && errno == EACCES);
	f = fdopen(out, "w");
	CHECK(f);
	CHECK_EQ(fprintf(f, "%s %d\n", "from inside", 1), 14);
	CHECK_EQ(fclose(f), 0);
	return NULL;
}

/* What the master has not written yet it will write, once; the copy of its buffer goes nowhere by itself. */
ST_FN(touches_stream_of_master)
{
	CHECK(fprintf(master_stream, "more") == 4);
	CHECK_EQ(fflush(master_stream), EOF);
	CHECK_EQ(errno, EBADF);
	return NULL;
}

ST_FN(locales)
{
	wchar_t wide[16];
	char in[] = "gr\xc3\xbc\xc3\x9f", out[16], *pi = in, *po = out;
	size_t ni = strlen(in), no = sizeof(out);
	iconv_t cd;

	if (has_locale) {
		CHECK_STR(setlocale(LC_CTYPE, NULL), "C.UTF-8");
		CHECK_EQ(mbstowcs(wide, in, 16), 4u);
		CHECK_EQ(wide[2], 0xfc);
	}
	cd = iconv_open("UTF-16LE", "UTF-8");
	CHECK(cd != (iconv_t)-1);
	CHECK_EQ(iconv(cd, &pi, &ni, &po, &no), 0u);
	CHECK_EQ(no, sizeof(out) - 8);
	CHECK_MEM(out, "g\0r\0\xfc\0\xdf\0", 8);
	iconv_close(cd);
	return NULL;
}

ST_FN(mutexes)
{
	pthread_mutexattr_t attr;
	pthread_mutex_t m;
	pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
	struct timespec past = { 1, 0 };
	pthread_t self = pthread_self(), other;

	CHECK_EQ(pthread_mutex_lock(&mutex), 0);
	CHECK_EQ(pthread_mutex_trylock(&mutex), EBUSY);
	CHECK_EQ(pthread_cond_timedwait(&cond, &mutex, &past), ETIMEDOUT);
	CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&m, &attr);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(pthread_mutex_lock(&m), 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(pthread_mutex_unlock(&m), 0);
	CHECK_EQ(pthread_mutex_unlock(&m), EPERM);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
	pthread_mutex_init(&m, &attr);
	CHECK_EQ(pthread_mutex_lock(&m), 0);
	CHECK_EQ(pthread_mutex_lock(&m), EDEADLK);
	CHECK_EQ(pthread_mutex_unlock(&m), 0);
	CHECK(pthread_equal(self, pthread_self()));
	/* One thread, for ever. */
	CHECK_EQ(pthread_create(&other, NULL, mutexes, NULL), EAGAIN);
	CHECK_EQ(fork(), -1);
	CHECK_EQ(errno, EAGAIN);
	CHECK_EQ(execl("/bin/true", "true", NULL), -1);
	CHECK_EQ(errno, EACCES);
	CHECK(system("true") != 0);
	return NULL;
}

ST_FN(no_environment)
{
	CHECK(!getenv("STHREAD_TEST_WORD"));
	CHECK(!getenv("PATH"));
	CHECK(environ && !environ[0]);
	return NULL;
}

ST_FN(same_environment)
{
	CHECK_STR(getenv("STHREAD_TEST_WORD"), "given");
	CHECK_EQ(setenv("STHREAD_TEST_WORD", "changed", 1), 0);
	CHECK_STR(getenv("STHREAD_TEST_WORD"), "changed");
	return NULL;
}

ST_FN(about_itself)
{
	void *frames[16];
	Dl_info info;

	CHECK(getauxval(AT_RANDOM));
	CHECK_EQ(getauxval(AT_PAGESZ), 4096u);
	CHECK_EQ(sysconf(_SC_PAGESIZE), 4096);
	CHECK_STR(program_invocation_short_name, arg);
	CHECK_HAS(program_invocation_name, arg);
	CHECK_EQ(constructed, 23);
	CHECK(getpid() > 4194304);
	CHECK_EQ(getuid(), 65534u);
	CHECK_EQ(getppid(), 0);
	CHECK(dladdr((void *)(uintptr_t)printf, &info) && strstr(info.dli_fname, "libc"));
	CHECK_GE(backtrace(frames, 16), 2);
	return NULL;
}

/* Found, and bound, for the first time in here.  The library itself was loaded before. */
ST_FN(binds)
{
	double (*by_name)(double) = (double (*)(double))(uintptr_t)dlsym(RTLD_DEFAULT, "cbrt");
	wint_t (*other)(wint_t) = (wint_t(*)(wint_t))(uintptr_t)dlsym(RTLD_DEFAULT, "towupper");

	CHECK(by_name && fabs(by_name(27.0) - 3.0) < 1e-12);
	CHECK(other && other(L'a') == L'A');
	CHECK_EQ(ffsll((long long)(uintptr_t)arg << 5), 6);
	CHECK_EQ(wcscmp(L"a", L"a"), 0);
	CHECK_EQ(llabs((long long)(uintptr_t)arg * -3), 3);
	return NULL;
}

ST_FN(sees_random)
{
	uint64_t a = 0, b = 0;

	CHECK_EQ(getrandom(&a, sizeof(a), 0), 8);
	CHECK_EQ(getrandom(&b, sizeof(b), GRND_NONBLOCK), 8);
	CHECK(a != b);
	return (void *)a;
}

ST_FN(gives_pid)
{
	CHECK_EQ(getpid(), (int)syscall(SYS_getpid));
	CHECK_EQ(gettid(), getpid());
	return (void *)(uintptr_t)getpid();
}

static void stdio_cases(void)
{
	char name[] = "/tmp/st_inside_XXXXXX", got[64];
	struct sthread_policy *p = st_policy_all_calls();
	int dir, fd, pipes[2], held[2];

	CHECK(mkdtemp(name));
	dir = open(name, O_RDONLY | O_DIRECTORY);
	fd = openat(dir, "poem", O_CREAT | O_WRONLY, 0600);
	CHECK_EQ(write(fd, "one line\nanother line\n", 22), 22);
	close(fd);
	CHECK(pipe(pipes) == 0 && pipe2(held, O_NONBLOCK) == 0);
	st_grant_dir(p, dir, STHREAD_FD_READ | STHREAD_FD_SEEK | STHREAD_FD_STAT);
	st_grant(p, pipes[1], STHREAD_FD_WRITE | STHREAD_FD_STAT);
	ST_PASSES(p, streams, (uintptr_t)dir << 16 | (unsigned)pipes[1]);
	CHECK_EQ(read(pipes[0], got, sizeof(got)), 14);
	CHECK_MEM(got, "from inside 1\n", 14);
	unlinkat(dir, "poem", 0);
	rmdir(name);
	close(dir);
	sthread_policy_destroy(p);
}

static void identities(void)
{
	enum { N = 20 };
	uint64_t seen[N][2];
	struct sthread_result r;

	for (int i = 0; i < N; i++) {
		r = i & 1 ? st_call(NULL, gives_pid, NULL) : st_run(NULL, gives_pid, NULL);
		ST_END(&r, STHREAD_RETURNED);
		seen[i][0] = (uint64_t)r.value;
		r = i & 1 ? st_call(NULL, sees_random, NULL) : st_run(NULL, sees_random, NULL);
		ST_END(&r, STHREAD_RETURNED);
		seen[i][1] = (uint64_t)r.value;
		for (int k = 0; k < i; k++)
			CHECK(seen[k][0] != seen[i][0] && seen[k][1] != seen[i][1]);
	}
}

int main(void)
{
	char got[32];
	void *frames[4];
	int held[2];
	iconv_t cd;

	CHECK_EQ(setenv("STHREAD_TEST_WORD", "given", 1), 0);
	has_locale = setlocale(LC_CTYPE, "C.UTF-8") != NULL;
	/* These load what they need, which nothing inside can. */
	cd = iconv_open("UTF-16LE", "UTF-8");
	CHECK_GE(backtrace(frames, 4), 1);
	CHECK(pipe2(held, O_NONBLOCK) == 0);
	master_stream = fdopen(held[1], "w");
	fprintf(master_stream, "kept");
	st_init();
	for (int i = 0; i < 2; i++) {
		ST_PASSES(NULL, text, NULL);
		ST_PASSES(NULL, sorts, NULL);
		if (cd != (iconv_t)-1)
			ST_PASSES(NULL, locales, NULL);
		ST_PASSES(NULL, mutexes, NULL);
		ST_PASSES(NULL, no_environment, NULL);
		ST_PASSES(NULL, about_itself, program_invocation_short_name);
		ST_PASSES(NULL, binds, 1);
		ST_PASSES(st_policy_all_calls(), touches_stream_of_master, NULL);
	}
	stdio_cases();
	identities();
	CHECK_EQ(read(held[0], got, sizeof(got)), -1);
	CHECK_EQ(fflush(master_stream), 0);
	CHECK_EQ(read(held[0], got, sizeof(got)), 4);
	CHECK_EQ(pthread_mutex_trylock(&mutex), 0);
	st_others_live();
	sthread_fini();
	pthread_mutex_unlock(&mutex);

	st_init_with((struct sthread_config){ .environment = true });
	ST_PASSES(NULL, same_environment, NULL);
	ST_PASSES(NULL, same_environment, NULL);
	CHECK_STR(getenv("STHREAD_TEST_WORD"), "given");
	sthread_fini();
	return TEST_PASSED;
}
