#include "hooks.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "definition.h"
#include "signals.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define GRACE_MS 2000 /* between SIGTERM and SIGKILL */
#define LOOK_MS 500 /* for a signal to us */

extern char **environ;

/* --- what it is given --- */

struct environment {
	char **list; /* owns, and its strings */
	size_t n, cap;
};

static void put(struct environment *e, char *taken)
{
	e->list = array_room(e->list, e->n, &e->cap, sizeof(*e->list));
	e->list[e->n++] = taken;
}

static void put_fact(struct environment *e, const char *name, const char *value)
{
	put(e, xasprintf("THRESH_%s=%s", name, value ? value : ""));
}

static bool is_variable(const char *entry, const char *name)
{
	size_t len = strlen(name);
	return strncmp(entry, name, len) == 0 && entry[len] == '=';
}

/* Keys of engines are none of a hook's business; the service manager's socket and what we set ourselves are not passed on, either. */
static bool is_kept_back(const struct definition *def, const char *entry)
{
	static const char *const ours[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
		"THRESH_HOOK", "THRESH_EXIT", "THRESH_PIPELINE", "THRESH_NAME", "THRESH_WORKDIR",
		"THRESH_RUN", "THRESH_RUN_DIR", "THRESH_SHARDS", "THRESH_SUMMARY"};
	for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
		if (is_variable(entry, ours[i])) {
			return true;
		}
	}
	for (size_t i = 0; i < def->n_engines; i++) {
		const char *key = def->engines[i].config.api_key_env;
		if (key && is_variable(entry, key)) {
			return true;
		}
	}
	return false;
}

static void fill(struct environment *e, const struct definition *def,
	const struct hook_facts *facts, const char *hook)
{
	for (char **entry = environ; *entry; entry++) {
		if (!is_kept_back(def, *entry)) {
			put(e, xstrdup(*entry));
		}
	}
	char exit_code[16];
	snprintf(exit_code, sizeof(exit_code), "%d", facts->exit_code);
	put_fact(e, "HOOK", hook);
	put_fact(e, "EXIT", exit_code);
	put_fact(e, "PIPELINE", facts->pipeline);
	put_fact(e, "NAME", def->name);
	put_fact(e, "WORKDIR", def->workdir);
	put_fact(e, "RUN", facts->run);
	put_fact(e, "RUN_DIR", facts->run_dir);
	put_fact(e, "SHARDS", facts->shards);
	put_fact(e, "SUMMARY", facts->summary);
	put(e, NULL);
}

static void release(struct environment *e)
{
	for (size_t i = 0; i < e->n; i++) {
		free(e->list[i]);
	}
	free(e->list);
}

/* --- running it --- */

static int open_log(const struct definition *def, const struct hook_facts *facts, char **out_path)
{
	*out_path = file_join(facts->run_dir ? facts->run_dir : def->workdir, "hooks.log");
	return open(*out_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}

/* In a process group of its own, so that it can be stopped as a whole, with the signals as a program expects them. 0: errno tells why. */
static pid_t start(const char *command, int log, char **env)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	char *args[] = {"sh", "-c", (char *)command, NULL};
	sigset_t defaults;
	pid_t pid;
	sigemptyset(&defaults);
	sigaddset(&defaults, SIGPIPE);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&files, log, 1);
	posix_spawn_file_actions_adddup2(&files, log, 2);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigdefault(&attr, &defaults);
	errno = posix_spawn(&pid, "/bin/sh", &files, &attr, args, env);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	return errno ? 0 : pid;
}

/* True: it has ended. Comes back early when a signal asks us to stop. */
static bool wait_for(int pidfd, int64_t until_ms, unsigned n_signals)
{
	while (clock_mono_ms() < until_ms && signals_count() == n_signals) {
		struct pollfd p = {.fd = pidfd, .events = POLLIN};
		int64_t left = until_ms - clock_mono_ms();
		if (poll(&p, 1, (int)MIN(MAX(left, 0), LOOK_MS)) > 0) {
			return true;
		}
	}
	return false;
}

/* What is to be said of it; NULL: all is well. */
static char *wait_and_judge(pid_t pid, uint64_t timeout_ms)
{
	AUTO_FD int pidfd = pidfd_open(pid, 0);
	unsigned n_signals = signals_count();
	const char *stopped = NULL;
	int status = 0;
	if (pidfd >= 0 && !wait_for(pidfd, clock_mono_ms() + (int64_t)timeout_ms, n_signals)) {
		stopped = signals_count() > n_signals ? "was stopped by a signal to thresh"
						      : "took longer than hooks.timeout";
		kill(-pid, SIGTERM);
		if (!wait_for(pidfd, clock_mono_ms() + GRACE_MS, signals_count())) {
			kill(-pid, SIGKILL);
		}
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
	}
	if (stopped) {
		return xstrdup(stopped);
	}
	if (WIFSIGNALED(status)) {
		return xasprintf("died of signal %d", WTERMSIG(status));
	}
	return WEXITSTATUS(status) ? xasprintf("ended with exit code %d", WEXITSTATUS(status))
				   : NULL;
}

static void run_hook(const struct definition *def, const struct hook_facts *facts, const char *hook,
	const char *command)
{
	if (!command || !command[0]) {
		return;
	}
	AUTO_FREE char *log_path = NULL;
	AUTO_FD int log = open_log(def, facts, &log_path);
	if (log < 0) {
		log_warn("hook was not started: its log cannot be opened", "hook", hook, "log",
			log_path, "error", strerror(errno), NULL);
		return;
	}
	struct environment env = {0};
	fill(&env, def, facts, hook);
	dprintf(log, "--- %s, run %s, exit code %d\n", hook, facts->run ? facts->run : "none",
		facts->exit_code);
	pid_t pid = start(command, log, env.list);
	AUTO_FREE char *wrong = pid ? wait_and_judge(pid, def->hooks.timeout_ms)
				    : xasprintf("could not be started: %s", strerror(errno));
	release(&env);
	if (wrong) {
		dprintf(log, "--- %s %s\n", hook, wrong);
		log_warn("hook failed; the run and its exit code stay as they are", "hook", hook,
			"what", wrong, "log", log_path, NULL);
	} else {
		log_info("hook done", "hook", hook, "log", log_path, NULL);
	}
}

void hooks_run(const struct definition *def, const struct hook_facts *facts)
{
	int code = facts->exit_code;
	signals_heed(true);
	if ((code == 0 || code == 3) && facts->run) {
		run_hook(def, facts, "on_success", def->hooks.on_success);
	} else if (code == 1 || code == 2 || code == 4) {
		run_hook(def, facts, "on_failure", def->hooks.on_failure);
	}
	run_hook(def, facts, "after", def->hooks.after);
	signals_heed(false);
}
