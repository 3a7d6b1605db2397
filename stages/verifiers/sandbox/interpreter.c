/* One from Debian lies in /usr and needs nothing more. Others (pyenv, conda, a venv) may be behind wrappers: they are asked. */
#include "verifiers/sandbox/interpreter.h"

#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX (16 << 10)

extern char **environ;

static char *on_path(const char *name)
{
	const char *path = getenv("PATH");
	while (path && *path) {
		size_t len = strcspn(path, ":");
		AUTO_FREE char *dir = xmemdup0(path, len);
		AUTO_FREE char *file = file_join(len ? dir : ".", name);
		if (access(file, X_OK) == 0 && !file_is_dir(file)) {
			return TAKE(file);
		}
		path += len + (path[len] == ':');
	}
	return NULL;
}

static bool ask(const char *path, const char *query, struct str *out, struct error *err)
{
	char *const argv[] = {
		(char *)(uintptr_t)path, "-I", "-S", "-c", (char *)(uintptr_t)query, NULL};
	posix_spawn_file_actions_t actions;
	int ends[2], status = -1;
	pid_t pid;
	if (pipe2(ends, O_CLOEXEC) != 0) {
		return error_errno(err, "could not make a pipe");
	}
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	int rc = posix_spawn(&pid, path, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	char buf[4096];
	for (ssize_t n; rc == 0 && (n = read(ends[0], buf, sizeof(buf))) > 0;) {
		str_append(out, buf, (size_t)n);
	}
	close(ends[0]);
	if (rc != 0) {
		errno = rc;
		return error_errno(err, "could not run the interpreter '%s'", path);
	}
	waitpid(pid, &status, 0);
	return status == 0 ||
		error_set(err, FAIL_IO, "the interpreter '%s' did not say where it lies", path);
}

static bool take_answer(
	struct interpreter *out, const char *path, const struct str *answer, struct error *err)
{
	char *rest = answer->data;
	size_t n = 0;
	for (char *line; (line = strsep(&rest, "\n"));) {
		if (line[0] != '/') {
			continue;
		}
		if (!out->path) {
			out->path = xstrdup(line);
		} else if (n < INTERPRETER_FOLDERS_MAX && strcmp(line, "/usr") != 0 &&
			(n == 0 || strcmp(line, out->folders[n - 1]) != 0)) {
			out->folders[n++] = xstrdup(line);
		}
	}
	return out->path ||
		error_set(err, FAIL_IO, "the interpreter '%s' did not say where it lies", path);
}

bool interpreter_find(struct interpreter *out, const char *name, const char *usual,
	const char *query, struct error *err)
{
	bool take_usual = !name && access(usual, X_OK) == 0;
	const char *wanted = name ? name : usual;
	AUTO_FREE char *found = take_usual || strchr(wanted, '/') ? xstrdup(wanted)
								  : on_path(wanted);
	struct str answer;
	*out = (struct interpreter){0};
	if (!found && !name) {
		found = on_path(file_basename(usual));
	}
	if (!found || access(found, X_OK) != 0) {
		return error_set(err, FAIL_IO, "there is no interpreter '%s'", wanted);
	}
	AUTO_FREE char *real = realpath(found, NULL);
	if (real && strncmp(real, "/usr/", 5) == 0 && strncmp(found, "/usr/", 5) == 0) {
		out->path = TAKE(found);
		return true;
	}
	str_init(&answer, ANSWER_BYTES_MAX);
	bool ok = ask(found, query, &answer, err) && take_answer(out, found, &answer, err);
	str_release(&answer);
	if (!ok) {
		interpreter_release(out);
	}
	return ok;
}

void interpreter_release(struct interpreter *interpreter)
{
	free(interpreter->path);
	for (size_t i = 0; i < INTERPRETER_FOLDERS_MAX; i++) {
		free(interpreter->folders[i]);
	}
	*interpreter = (struct interpreter){0};
}
