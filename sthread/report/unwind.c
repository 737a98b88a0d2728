/* SPDX-License-Identifier: MIT */
/*
 * The call chain of a dead compartment, and names for code addresses, by elfutils' libdwfl.  World:
 * host.
 */
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sthread/cancel.h"
#include "sthread/report/elf.h"
#include "sthread/report/unwind.h"

/* Words of a hostile stack that one backtrace may read: 32 frames need a few hundred. */
#define MAX_READS 2048

enum { RSP = 7 }; /* in unwind_regs.gpr */

/* One backtrace. */
struct walk {
	struct unwind_regs regs;
	bool (*read_word)(void *ctx, uint64_t addr, uint64_t *out);
	void *ctx;
	unsigned reads;
	uint64_t *frames;
	unsigned n, max;
	bool skip; /* the first frame that libdwfl gives is in frames[] already */
};

/* The session. libdwfl allows one attached state a session, so the callbacks find the walk here. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Dwfl *session;
static uint64_t session_generation;
static bool session_attached;
static struct walk *current;

/*
 * Debug files that the session keeps open. It closes these numbers at its end, whatever is there.
 */
#define DEBUG_FILES 64
static struct debug_file {
	int fd;
	dev_t dev;
	ino_t ino;
} debug_files[DEBUG_FILES];
static unsigned n_debug_files;

/* The lock is held. One that cannot be kept in mind is not used. */
static int remember(int fd)
{
	struct stat st;

	if (n_debug_files == DEBUG_FILES || fstat(fd, &st)) {
		close(fd);
		return -1;
	}
	debug_files[n_debug_files++] = (struct debug_file){ fd, st.st_dev, st.st_ino };
	return fd;
}

static bool debug_files_ours(void)
{
	struct stat st;

	for (const struct debug_file *f = debug_files; f < debug_files + n_debug_files; f++)
		if (fstat(f->fd, &st) || st.st_dev != f->dev || st.st_ino != f->ino)
			return false;
	return true;
}

/*
 * The lock is held. Where the program put other files at its numbers, the session is left as it
 * is.
 */
static void session_end(void)
{
	if (debug_files_ours())
		dwfl_end(session);
	session = NULL;
	session_attached = false;
	n_debug_files = 0;
}

/*
 * Debug files by build identity only. dwfl_standard_find_debuginfo() would also try files beside
 * the object and, where the environment asks for it, servers on the network.
 */
static int find_debuginfo(Dwfl_Module *mod, void **userdata, const char *name, Dwarf_Addr base,
			  const char *file_name, const char *link, GElf_Word crc, char **found)
{
	int fd = dwfl_build_id_find_debuginfo(mod, userdata, name, base, file_name, link, crc, found);

	return fd < 0 ? fd : remember(fd);
}

static const Dwfl_Callbacks session_callbacks = {
	.find_elf = unwind_elf_find,
	.find_debuginfo = find_debuginfo,
};

/* Any number will do: libdwfl only hands it back. */
#define THREAD 1

static pid_t next_thread(Dwfl *dwfl, void *arg, void **thread_arg)
{
	(void)dwfl;
	(void)arg;
	if (*thread_arg)
		return 0;
	*thread_arg = current;
	return THREAD;
}

static bool get_thread(Dwfl *dwfl, pid_t tid, void *arg, void **thread_arg)
{
	(void)dwfl;
	(void)arg;
	*thread_arg = current;
	return tid == THREAD;
}

static bool memory_read(Dwfl *dwfl, Dwarf_Addr addr, Dwarf_Word *result, void *arg)
{
	uint64_t word;

	(void)dwfl;
	(void)arg;
	if (!current || current->reads == 0)
		return false;
	current->reads--;
	if (!current->read_word(current->ctx, addr, &word))
		return false;
	*result = word;
	return true;
}

/* DWARF numbers the registers rax rdx rcx rbx rsi rdi rbp rsp r8 ... r15, rip. */
static bool set_initial_registers(Dwfl_Thread *thread, void *arg)
{
	static const unsigned char order[16] = { 0, 3, 2,  1,  4,  5,  6,  7,
						 8, 9, 10, 11, 12, 13, 14, 15 };
	Dwarf_Word dwarf[17];

	(void)arg;
	for (unsigned i = 0; i < 16; i++)
		dwarf[i] = current->regs.gpr[order[i]];
	dwarf[16] = current->regs.rip;
	return dwfl_thread_state_registers(thread, 0, 17, dwarf);
}

static const Dwfl_Thread_Callbacks thread_callbacks = {
	.next_thread = next_thread,
	.get_thread = get_thread,
	.memory_read = memory_read,
	.set_initial_registers = set_initial_registers,
};

/* The lock is held. Gives NULL when out of memory. */
static Dwfl *session_get(void)
{
	uint64_t generation = unwind_elf_generation();

	if (session && generation == session_generation)
		return session;
	if (!session)
		session = dwfl_begin(&session_callbacks);
	if (!session)
		return NULL;
	if (!unwind_elf_report(session)) {
		session_end();
		return NULL;
	}
	session_generation = generation;
	return session;
}

static int each_frame(Dwfl_Frame *frame, void *arg)
{
	struct walk *w = arg;
	Dwarf_Addr pc;

	if (!dwfl_frame_pc(frame, &pc, NULL))
		return DWARF_CB_ABORT;
	if (w->skip) {
		w->skip = false;
		return DWARF_CB_OK;
	}
	/* Past the outermost frame, and in what a hostile stack makes up, there is no code. */
	if (!unwind_elf_is_code(pc) && !unwind_elf_is_code(pc - 1))
		return DWARF_CB_ABORT;
	w->frames[w->n++] = pc;
	return w->n < w->max ? DWARF_CB_OK : DWARF_CB_ABORT;
}

/*
 * frames[0] is where it stopped. If that is no code, it jumped there, most likely by a call: the
 * return address is on top of the stack, and the walk goes on in the caller. Its address is taken
 * back into the call, since what follows the call may be another function. False: nothing to go on
 * with.
 */
static bool first_frame(struct walk *w)
{
	uint64_t ret;

	w->frames[w->n++] = w->regs.rip;
	w->skip = true;
	if (unwind_elf_is_code(w->regs.rip))
		return w->n < w->max;
	if (w->n == w->max || !w->read_word(w->ctx, w->regs.gpr[RSP], &ret) ||
	    !unwind_elf_is_code(ret - 1))
		return false;
	w->frames[w->n++] = ret;
	w->regs.rip = ret - 1;
	w->regs.gpr[RSP] += 8;
	return w->n < w->max;
}

unsigned unwind_frames(const struct unwind_regs *regs,
		       bool (*read_word)(void *ctx, uint64_t addr, uint64_t *out), void *ctx,
		       uint64_t *frames, unsigned max)
{
	struct walk w = {
		.regs = *regs,
		.read_word = read_word,
		.ctx = ctx,
		.reads = MAX_READS,
		.frames = frames,
		.max = max < UNWIND_FRAMES ? max : UNWIND_FRAMES,
	};
	Dwfl *dwfl;

	if (w.max == 0)
		return 0;
	pthread_mutex_lock(&lock);
	current = &w;
	if (first_frame(&w) && (dwfl = session_get())) {
		if (!session_attached)
			session_attached =
				dwfl_attach_state(dwfl, NULL, getpid(), &thread_callbacks, NULL);
		if (session_attached) /* an error is the end of the chain, no more */
			dwfl_getthread_frames(dwfl, THREAD, each_frame, &w);
	}
	current = NULL;
	pthread_mutex_unlock(&lock);
	return w.n;
}

static void copy_name(char *dst, size_t len, const char *src)
{
	size_t n = src ? strnlen(src, len - 1) : 0;

	if (n)
		memcpy(dst, src, n);
	dst[n] = '\0';
}

/* File and line of an address. What it gives is the session's. */
static const char *source_line(Dwfl_Module *mod, Dwarf_Addr at, int *number)
{
	Dwfl_Line *line = dwfl_module_getsrc(mod, at);
	Dwarf_Die *cu = NULL;
	Dwarf_Addr bias;

	if (line)
		return dwfl_lineinfo(line, NULL, number, NULL, NULL, NULL);
	/* clang writes no .debug_aranges, which that relies on: ask every compilation unit. */
	while ((cu = dwfl_module_nextcu(mod, cu, &bias))) {
		Dwarf_Line *l = dwarf_haspc(cu, at - bias) > 0 ? dwarf_getsrc_die(cu, at - bias) :
								 NULL;

		if (l && dwarf_lineno(l, number) == 0)
			return dwarf_linesrc(l, NULL, NULL);
	}
	return NULL;
}

bool unwind_symbol(uint64_t pc, bool call, struct unwind_symbol *out)
{
	uint64_t at = call ? pc - 1 : pc;
	Dwfl_Module *mod = NULL;
	const char *name, *file;
	GElf_Off offset = 0;
	Dwarf_Addr start;
	GElf_Sym sym;
	int cancel = cancel_disable(); /* files are opened and read */
	Dwfl *dwfl;

	pthread_mutex_lock(&lock);
	dwfl = session_get();
	if (dwfl)
		mod = dwfl_addrmodule(dwfl, at);
	if (mod) {
		memset(out, 0, sizeof(*out));
		copy_name(out->module, sizeof(out->module),
			  dwfl_module_info(mod, NULL, &start, NULL, NULL, NULL, NULL, NULL));
		name = dwfl_module_addrinfo(mod, at, &offset, &sym, NULL, NULL, NULL);
		copy_name(out->function, sizeof(out->function), name);
		out->offset = name ? offset + (pc - at) : pc - start;
		file = source_line(mod, at, &out->line);
		copy_name(out->file, sizeof(out->file), file);
		if (!file)
			out->line = 0;
	}
	pthread_mutex_unlock(&lock);
	cancel_restore(cancel);
	return mod != NULL;
}

void unwind_fini(void)
{
	pthread_mutex_lock(&lock);
	session_end();
	pthread_mutex_unlock(&lock);
}

void unwind_forked(void)
{
	/*
	 * Another thread may have been in the midst of a change: the session is left as it is, not
	 * ended.
	 */
	pthread_mutex_init(&lock, NULL);
	session = NULL;
	session_attached = false;
	n_debug_files = 0;
	current = NULL;
}
