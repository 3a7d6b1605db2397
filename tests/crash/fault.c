/*
 * Preloaded into thresh: makes one of its calls fail, or kills it there, and writes down what it changes on disk. All that SQLite, curl, libuv and
 * our own code do to files and sockets goes through these functions of the C library, so the product itself carries no fault points.
 *
 *	FAULT=CALLS:N:EFFECT	N: which of the calls, from 1; `N+`: that one and all after it
 *	  CALLS			open, write, fsync (and fdatasync), rename, ftruncate, unlink, mkdir; file: all of these; durable: fsync and rename;
 *				connect, send, recv; http: these three; malloc
 *	  EFFECT		kill (before the call), torn (after half of a write), short (half of it is done), skip (fsync: not done, and
 *				no error), or an errno: ENOSPC, EIO, ...
 *	FAULT_ROOT=FOLDER	calls count if their file is below it
 *	FAULT_REPORT=FILE	"hit WHAT" when the fault strikes, "calls N" when the process ends by itself
 *	FAULT_TRACE=FILE	each change of files below FAULT_ROOT, for crash.py: a line and, for a write, its bytes
 *
 * A commit of SQLite is its writes and its sync, so that there is no call of its own for it.
 */
#include "fault.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The function that is hidden by ours. dlsym gives an object pointer, which POSIX lets us call but ISO C does not name. */
#define NEXT(name) (__extension__((__typeof__(&name))dlsym(RTLD_NEXT, #name)))
#define LEN(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
	const char *name;
	unsigned calls;
} sets[] = {
	{"open", FAULT_OPEN},
	{"write", FAULT_WRITE},
	{"fsync", FAULT_SYNC},
	{"rename", FAULT_RENAME},
	{"ftruncate", FAULT_TRUNCATE},
	{"unlink", FAULT_UNLINK},
	{"mkdir", FAULT_MKDIR},
	{"file",
		FAULT_OPEN | FAULT_WRITE | FAULT_SYNC | FAULT_RENAME | FAULT_TRUNCATE |
			FAULT_UNLINK | FAULT_MKDIR},
	{"durable", FAULT_SYNC | FAULT_RENAME},
	{"connect", FAULT_CONNECT},
	{"send", FAULT_SEND},
	{"recv", FAULT_RECV},
	{"http", FAULT_CONNECT | FAULT_SEND | FAULT_RECV},
	{"malloc", FAULT_MALLOC},
};

static const struct {
	const char *name;
	int number;
} errors[] = {{"ENOSPC", ENOSPC}, {"EIO", EIO}, {"EINTR", EINTR}, {"EMFILE", EMFILE},
	{"EACCES", EACCES}, {"ECONNRESET", ECONNRESET}, {"ECONNREFUSED", ECONNREFUSED},
	{"ENOMEM", ENOMEM}};

/* Set once, before main; `n` and `struck` are all that changes. */
static struct {
	unsigned calls;
	unsigned long at;
	bool from_then_on, kill;
	enum fault_effect effect;
	int error;
	const char *root, *report;
	int trace_fd; /* -1: none */
	atomic_ulong n;
	atomic_bool struck;
} fault = {.trace_fd = -1};

/* A change and its line in the trace are one step, whichever thread makes it. */
static pthread_mutex_t change = PTHREAD_MUTEX_INITIALIZER;

static void refuse(const char *what)
{
	fprintf(stderr, "fault: cannot read %s\n", what);
	_exit(99);
}

static void read_fault(const char *text)
{
	char calls[16], effect[16];
	int used = 0;
	char *end;

	if (sscanf(text, "%15[a-z]:%n", calls, &used) != 1 || !used) {
		refuse(text);
	}
	fault.at = strtoul(text + used, &end, 10);
	fault.from_then_on = *end == '+';
	if (sscanf(end + fault.from_then_on, ":%15[a-zA-Z]", effect) != 1) {
		refuse(text);
	}
	for (size_t i = 0; i < LEN(sets); i++) {
		fault.calls = strcmp(sets[i].name, calls) == 0 ? sets[i].calls : fault.calls;
	}
	for (size_t i = 0; i < LEN(errors); i++) {
		fault.error = strcmp(errors[i].name, effect) == 0 ? errors[i].number : fault.error;
	}
	fault.kill = strcmp(effect, "kill") == 0;
	fault.effect = strcmp(effect, "torn") == 0 ? FAULT_TORN
		: strcmp(effect, "short") == 0     ? FAULT_SHORT
		: strcmp(effect, "skip") == 0      ? FAULT_SKIPPED
						   : FAULT_FAILS;
	if (!fault.calls || (fault.effect == FAULT_FAILS && !fault.kill && !fault.error)) {
		refuse(text);
	}
}

/* By the system's own call: ours must not meet itself. */
static void append(int fd, const void *bytes, size_t len)
{
	for (const char *p = bytes; len;) {
		long n = syscall(SYS_write, fd, p, len);
		if (n <= 0) {
			refuse("what was written");
		}
		p += n;
		len -= (size_t)n;
	}
}

static void report(const char *what, unsigned long n, const char *text)
{
	char line[PATH_MAX + 64];
	int len = snprintf(line, sizeof(line), "%s %lu %s\n", what, n, text);
	int fd = fault.report ? (int)syscall(SYS_openat, AT_FDCWD, fault.report,
					O_WRONLY | O_CREAT | O_APPEND, 0666)
			      : -1;
	if (fd >= 0) {
		append(fd, line, (size_t)len);
		syscall(SYS_close, fd);
	}
}

__attribute__((constructor)) static void begin(void)
{
	const char *text = getenv("FAULT"), *trace = getenv("FAULT_TRACE");
	fault.root = getenv("FAULT_ROOT");
	fault.report = getenv("FAULT_REPORT");
	if (trace) {
		fault.trace_fd = (int)syscall(SYS_openat, AT_FDCWD, trace,
			O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	}
	if (text) {
		read_fault(text);
	}
	/* Programs that thresh starts are not meant. */
	unsetenv("LD_PRELOAD");
}

__attribute__((destructor)) static void end(void)
{
	report("calls", atomic_load(&fault.n), "");
}

static void die(void)
{
	kill(getpid(), SIGKILL);
	pause();
}

enum fault_effect fault_meets(enum fault_call call, const char *what)
{
	if (!(fault.calls & (unsigned)call)) {
		return FAULT_PASSES;
	}
	unsigned long n = atomic_fetch_add(&fault.n, 1) + 1;
	if (n != fault.at && !(fault.from_then_on && n > fault.at && fault.at)) {
		return FAULT_PASSES;
	}
	if (!atomic_exchange(&fault.struck, true)) {
		report("hit", n, what);
	}
	if (fault.kill) {
		die();
	}
	errno = fault.error;
	return fault.effect;
}

/* --- which files are meant, and what they are called --- */

static bool below_root(const char *path)
{
	size_t len = fault.root ? strlen(fault.root) : 0;
	return len && strncmp(path, fault.root, len) == 0 && (path[len] == '/' || !path[len]);
}

/* Whether a call of this kind is of any interest; looking its file up costs more than many a call. */
static bool is_wanted(enum fault_call call)
{
	return fault.trace_fd >= 0 || (fault.calls & (unsigned)call);
}

/* The file's present name, absolute. False if it is not below the root, or has none any more. */
static bool name_of(int fd, char out[PATH_MAX])
{
	char link[32];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, out, PATH_MAX - 1);
	out[n > 0 ? n : 0] = '\0';
	return n > 0 && below_root(out) && !strstr(out, " (deleted)");
}

static bool absolute(int dir, const char *path, char out[PATH_MAX])
{
	char base[PATH_MAX] = "";
	if (path[0] != '/' &&
		(dir == AT_FDCWD ? !getcwd(base, sizeof(base)) : !name_of(dir, base))) {
		return false;
	}
	/* The tree's paths have no dots in them but for a leading "./", which is no part of any workdir in the tests. */
	return snprintf(out, PATH_MAX, "%s%s%s", base, base[0] ? "/" : "", path) < PATH_MAX &&
		below_root(out);
}

/* SQLite's index of the WAL is memory that happens to have a name: it is made anew after a crash. */
static bool is_memory(const char *path)
{
	size_t len = strlen(path);
	return len > 4 && strcmp(path + len - 4, "-shm") == 0;
}

static void trace(
	const char *op, const char *a, const char *b, uint64_t x, const void *bytes, size_t n)
{
	char line[2 * PATH_MAX + 64];
	int len = snprintf(
		line, sizeof(line), "%s\t%s\t%s\t%llu\t%zu\n", op, a, b, (unsigned long long)x, n);
	append(fault.trace_fd, line, (size_t)len);
	append(fault.trace_fd, bytes, n);
}

static bool traced(const char *path)
{
	return fault.trace_fd >= 0 && !is_memory(path);
}

/* --- files --- */

static int open_watched(int dir, const char *path, int flags, mode_t mode,
	int (*next)(int, const char *, int, mode_t))
{
	char name[PATH_MAX];
	bool writes = (flags & O_ACCMODE) != O_RDONLY;
	if (!writes || !absolute(dir, path, name) || is_memory(name)) {
		return next(dir, path, flags, mode);
	}
	if (fault_meets(FAULT_OPEN, name) == FAULT_FAILS) {
		return -1;
	}
	pthread_mutex_lock(&change);
	int fd = next(dir, path, flags, mode);
	if (fd >= 0 && traced(name)) {
		int saved = errno;
		trace(flags & O_TRUNC ? "create" : "open", name, "", 0, "", 0);
		errno = saved;
	}
	pthread_mutex_unlock(&change);
	return fd;
}

static int next_openat(int dir, const char *path, int flags, mode_t mode)
{
	return (int)syscall(SYS_openat, dir, path, flags, mode);
}

static mode_t mode_of(int flags, va_list *args)
{
	return flags & (O_CREAT | __O_TMPFILE) ? va_arg(*args, mode_t) : 0;
}

#define OPEN(name, params, dir)                                           \
	int name params;                                                  \
	int name params                                                   \
	{                                                                 \
		va_list args;                                             \
		va_start(args, flags);                                    \
		mode_t mode = mode_of(flags, &args);                      \
		va_end(args);                                             \
		return open_watched(dir, path, flags, mode, next_openat); \
	}

#undef open
#undef open64
#undef openat
#undef openat64
OPEN(open, (const char *path, int flags, ...), AT_FDCWD)
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD)
OPEN(openat, (int dir, const char *path, int flags, ...), dir)
OPEN(openat64, (int dir, const char *path, int flags, ...), dir)

/* offset < 0: where the file stands. */
static ssize_t write_watched(int fd, const void *bytes, size_t len, off_t offset)
{
	char name[PATH_MAX];
	bool watched = fd > 2 && is_wanted(FAULT_WRITE) && name_of(fd, name) && !is_memory(name);
	enum fault_effect effect = watched ? fault_meets(FAULT_WRITE, name) : FAULT_PASSES;
	if (effect == FAULT_FAILS) {
		return -1;
	}
	if (effect != FAULT_PASSES) {
		len = len / 2;
	}
	bool lock = watched && traced(name);
	if (lock) {
		pthread_mutex_lock(&change);
	}
	off_t at = lock && offset < 0 ? lseek(fd, 0, SEEK_CUR) : offset;
	ssize_t n = offset < 0 ? syscall(SYS_write, fd, bytes, len)
			       : syscall(SYS_pwrite64, fd, bytes, len, offset);
	if (lock) {
		int saved = errno;
		if (n > 0) {
			trace("write", name, "", (uint64_t)at, bytes, (size_t)n);
		}
		pthread_mutex_unlock(&change);
		errno = saved;
	}
	if (effect == FAULT_TORN) {
		die();
	}
	return n;
}

ssize_t write(int fd, const void *bytes, size_t len)
{
	return write_watched(fd, bytes, len, -1);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
	return write_watched(fd, bytes, len, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t offset)
{
	return write_watched(fd, bytes, len, offset);
}

static int sync_watched(int fd, long number)
{
	char name[PATH_MAX];
	bool watched = is_wanted(FAULT_SYNC) && name_of(fd, name) && !is_memory(name);
	enum fault_effect effect = watched ? fault_meets(FAULT_SYNC, name) : FAULT_PASSES;
	if (effect == FAULT_FAILS || effect == FAULT_SKIPPED) {
		return effect == FAULT_FAILS ? -1 : 0;
	}
	/* It covers what was written before it began; other threads write meanwhile. */
	if (watched && traced(name)) {
		pthread_mutex_lock(&change);
		trace("sync", name, "", 0, "", 0);
		pthread_mutex_unlock(&change);
	}
	return (int)syscall(number, fd);
}

int fsync(int fd)
{
	return sync_watched(fd, SYS_fsync);
}

int fdatasync(int fd)
{
	return sync_watched(fd, SYS_fdatasync);
}

static int truncate_watched(int fd, off_t len)
{
	char name[PATH_MAX];
	bool watched = name_of(fd, name) && !is_memory(name);
	if (watched && fault_meets(FAULT_TRUNCATE, name) == FAULT_FAILS) {
		return -1;
	}
	int rc = (int)syscall(SYS_ftruncate, fd, len);
	if (watched && !rc && traced(name)) {
		pthread_mutex_lock(&change);
		trace("truncate", name, "", (uint64_t)len, "", 0);
		pthread_mutex_unlock(&change);
	}
	return rc;
}

int ftruncate(int fd, off_t len)
{
	return truncate_watched(fd, len);
}

int ftruncate64(int fd, off64_t len)
{
	return truncate_watched(fd, len);
}

/* --- names --- */

static int rename_watched(
	int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	char a[PATH_MAX], b[PATH_MAX];
	bool watched = absolute(from_dir, from, a) && absolute(to_dir, to, b);
	if (watched && fault_meets(FAULT_RENAME, b) == FAULT_FAILS) {
		return -1;
	}
	int rc = (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
	if (watched && !rc && traced(b)) {
		trace("rename", a, b, 0, "", 0);
	}
	return rc;
}

int rename(const char *from, const char *to)
{
	return rename_watched(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	return rename_watched(from_dir, from, to_dir, to, flags);
}

static int unlink_watched(int dir, const char *path, int flags)
{
	char name[PATH_MAX];
	bool watched = absolute(dir, path, name) && !is_memory(name);
	if (watched && fault_meets(FAULT_UNLINK, name) == FAULT_FAILS) {
		return -1;
	}
	int rc = (int)syscall(SYS_unlinkat, dir, path, flags);
	if (watched && !rc && traced(name)) {
		trace("unlink", name, "", 0, "", 0);
	}
	return rc;
}

int unlink(const char *path)
{
	return unlink_watched(AT_FDCWD, path, 0);
}

int unlinkat(int dir, const char *path, int flags)
{
	return unlink_watched(dir, path, flags);
}

int rmdir(const char *path)
{
	return unlink_watched(AT_FDCWD, path, AT_REMOVEDIR);
}

int remove(const char *path)
{
	struct stat st;
	bool is_dir = lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
	return unlink_watched(AT_FDCWD, path, is_dir ? AT_REMOVEDIR : 0);
}

int mkdir(const char *path, mode_t mode)
{
	char name[PATH_MAX];
	bool watched = absolute(AT_FDCWD, path, name);
	if (watched && fault_meets(FAULT_MKDIR, name) == FAULT_FAILS) {
		return -1;
	}
	int rc = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
	if (watched && !rc && traced(name)) {
		trace("mkdir", name, "", 0, "", 0);
	}
	return rc;
}

/* --- sockets --- */

/* Not the sockets that libuv and the resolver talk through with themselves. */
static bool is_inet(int fd)
{
	int domain = 0;
	socklen_t len = sizeof(domain);
	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 &&
		(domain == AF_INET || domain == AF_INET6);
}

int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t len)
{
	if (is_inet(fd) && fault_meets(FAULT_CONNECT, "connect") == FAULT_FAILS) {
		return -1;
	}
	return NEXT(connect)(fd, address, len);
}

ssize_t send(int fd, const void *bytes, size_t len, int flags)
{
	enum fault_effect effect = is_inet(fd) ? fault_meets(FAULT_SEND, "send") : FAULT_PASSES;
	if (effect == FAULT_FAILS) {
		return -1;
	}
	ssize_t n = NEXT(send)(fd, bytes, effect == FAULT_PASSES ? len : len / 2, flags);
	if (effect == FAULT_TORN) {
		die();
	}
	return n;
}

ssize_t recv(int fd, void *bytes, size_t len, int flags)
{
	enum fault_effect effect = is_inet(fd) ? fault_meets(FAULT_RECV, "recv") : FAULT_PASSES;
	if (effect == FAULT_FAILS) {
		return -1;
	}
	/* A little at a time: whoever reads must put it together. */
	return NEXT(recv)(fd, bytes, effect == FAULT_PASSES || len < 16 ? len : 16, flags);
}
