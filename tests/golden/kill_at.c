/*
 * Preloaded into thresh: dies by SIGKILL right before the KILL_AT-th call that makes something durable or public. Between two of these calls
 * a kill leaves the same behind wherever it falls, so a sweep over KILL_AT tries every state that a killed run can leave on disk.
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

int fsync(int fd);
int fdatasync(int fd);
int rename(const char *from, const char *to);
int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);

/* Threads of the pool sync nothing, so a plain counter will do. */
static void count(void)
{
	static unsigned long n, at;
	const char *value = getenv("KILL_AT");

	if (!at) {
		at = value ? strtoul(value, NULL, 10) : ~0ul;
	}
	if (++n == at) {
		kill(getpid(), SIGKILL);
	}
}

/* The function that is hidden by ours. dlsym gives an object pointer, which POSIX lets us call but ISO C does not name. */
#define NEXT(name) (__extension__((__typeof__(&name))dlsym(RTLD_NEXT, #name)))

int fsync(int fd)
{
	count();
	return NEXT(fsync)(fd);
}

int fdatasync(int fd)
{
	count();
	return NEXT(fdatasync)(fd);
}

int rename(const char *from, const char *to)
{
	count();
	return NEXT(rename)(from, to);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	count();
	return NEXT(renameat2)(from_dir, from, to_dir, to, flags);
}
