/*
 * vfork, because copying the page tables of a process that holds a night's groups would cost more than the run. The child
 * borrows our memory and our stack until it execs: it makes system calls and nothing else. Signals are blocked around it, so
 * that no handler of ours runs in it.
 */
#include "verifiers/sandbox/launch.h"

#include "base/attr.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FD_FLOOR 64 /* above every number that is handed out */
#define FILES_MAX 64

static char *const environment[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp", "TMPDIR=/tmp",
	"LANG=C.UTF-8", "PYTHONHASHSEED=0", "PYTHONDONTWRITEBYTECODE=1", "OMP_NUM_THREADS=1",
	"OPENBLAS_NUM_THREADS=1", "MKL_NUM_THREADS=1", NULL};

/* What the child failed at, for the parent: they share memory. */
struct failure {
	const char *volatile step;
	volatile int number;
};

static void reset_signals(void)
{
	sigset_t none;
	for (int sig = 1; sig < NSIG; sig++) {
		signal(sig, SIG_DFL);
	}
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool move_fds(const int fds[N_FDS])
{
	int moved[N_FDS];
	for (int i = 0; i < N_FDS; i++) {
		moved[i] = fds[i] < 0 ? -1 : fcntl(fds[i], F_DUPFD, FD_FLOOR);
		if (fds[i] >= 0 && moved[i] < 0) {
			return false;
		}
	}
	for (int i = 0; i < N_FDS; i++) {
		if (moved[i] < 0) {
			close(i);
		} else if (dup2(moved[i], i) < 0) {
			return false;
		}
	}
	return close_range(N_FDS, ~0U, 0) == 0;
}

static bool limit(int what, uint64_t value)
{
	struct rlimit both = {(rlim_t)value, (rlim_t)value};
	return setrlimit(what, &both) == 0;
}

static bool set_limits(const struct sandbox *box, const struct sandbox_limits *limits)
{
	return limit(RLIMIT_CORE, 0) && limit(RLIMIT_NOFILE, FILES_MAX) &&
		limit(RLIMIT_FSIZE, box->scratch_bytes) && limit(RLIMIT_MEMLOCK, 0) &&
		limit(RLIMIT_MSGQUEUE, 0) && limit(RLIMIT_AS, limits->memory_bytes) &&
		limit(RLIMIT_DATA, limits->memory_bytes) &&
		limit(RLIMIT_CPU, limits->cpu_ms / 1000 + 1);
}

/* The bare system calls: libc's would change all threads of the process whose memory we borrow. */
static bool change_user(uid_t uid)
{
	return uid == 0 ||
		(syscall(SYS_setgroups, 0, NULL) == 0 &&
			syscall(SYS_setresgid, uid, uid, uid) == 0 &&
			syscall(SYS_setresuid, uid, uid, uid) == 0);
}

/* With bubblewrap the filter comes last, by its hand. */
static bool set_filter(const struct sandbox *box)
{
	struct sock_fprog program = {
		.len = (unsigned short)(box->filter.len / sizeof(struct sock_filter)),
		.filter = (struct sock_filter *)(void *)box->filter.data,
	};
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static NORETURN void become(const struct launch *l, pid_t parent, struct failure *failure)
{
	setsid();
	reset_signals();
	if (!move_fds(l->fds)) {
		failure->step = "arrange its descriptors";
	} else if (!set_limits(l->box, l->limits)) {
		failure->step = "set its limits";
	} else if (!change_user(l->box->run_as)) {
		failure->step = "change its user";
	} else if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) {
		failure->step = "ask to die with its parent";
	} else if (!l->box->n_prefix && !set_filter(l->box)) {
		failure->step = "set its seccomp filter";
	} else {
		execve(l->argv[0], l->argv, environment);
		failure->step = "be executed";
	}
	failure->number = errno;
	_exit(127);
}

pid_t launch_start(const struct launch *launch, struct error *err)
{
	struct failure failure = {NULL, 0};
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid_t parent = getpid(), pid = vfork();
	if (pid == 0) {
		become(launch, parent, &failure);
	}
	int number = errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = number;
	if (pid < 0) {
		error_errno(err, "could not start a process");
	} else if (failure.step) {
		errno = failure.number;
		error_errno(err, "process '%s' could not %s", launch->argv[0], failure.step);
	}
	return pid;
}
