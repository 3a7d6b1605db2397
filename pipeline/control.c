/*
 * A socket address has room for 108 bytes of path, and workdirs are deeper than that: then the folder is opened, and the address is that of
 * the descriptor in /proc.
 */
#include "control.h"

#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define NAME ".control"
#define BACKLOG 8
#define ANSWER_SECONDS 5

/* *out_folder, which the caller closes, must be open while the address is used; -1 where it is not needed. */
static bool address_of(
	const char *workdir, struct sockaddr_un *out, int *out_folder, struct error *err)
{
	AUTO_FREE char *path = file_join(workdir, NAME);
	*out = (struct sockaddr_un){.sun_family = AF_UNIX};
	*out_folder = -1;
	if (strlen(path) < sizeof(out->sun_path)) {
		snprintf(out->sun_path, sizeof(out->sun_path), "%s", path);
		return true;
	}
	*out_folder = open(workdir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*out_folder < 0) {
		return error_errno(err, "could not open workdir '%s'", workdir);
	}
	snprintf(out->sun_path, sizeof(out->sun_path), "/proc/self/fd/%d/" NAME, *out_folder);
	return true;
}

static bool bind_private(int fd, const struct sockaddr_un *address)
{
	/* On Linux the file gets the mode that the socket has when it is bound: it is never open to others, not even for a moment. */
	return fchmod(fd, 0600) == 0 &&
		bind(fd, (const struct sockaddr *)address, sizeof(*address)) == 0;
}

int control_listen(const char *workdir, struct error *err)
{
	struct sockaddr_un address;
	AUTO_FD int folder = -1;
	if (!address_of(workdir, &address, &folder, err)) {
		return -1;
	}
	AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		error_errno(err, "could not make a socket");
		return -1;
	}
	control_unlink(workdir);
	if (!bind_private(fd, &address) || listen(fd, BACKLOG) < 0) {
		error_errno(err, "could not listen on '%s/" NAME "'", workdir);
		return -1;
	}
	return TAKE_FD(fd);
}

void control_unlink(const char *workdir)
{
	AUTO_FREE char *path = file_join(workdir, NAME);
	struct stat st;
	/* A file of that name that is no socket is somebody else's. */
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)) {
		unlink(path);
	}
}

/* --- asking --- */

static bool nobody_answers(const char *workdir, struct error *err)
{
	AUTO_FREE char *lock = file_join(workdir, ".lock");
	long pid = file_lock_holder(lock);
	if (!pid) {
		error_set(err, FAIL_IO, "no run is at work in '%s'", workdir);
		return error_hint(err, "`thresh run PIPELINE` begins or resumes one");
	}
	error_set(err, FAIL_IO,
		"thresh (pid %ld) is at work in '%s', but it is neither generating nor verifying",
		pid, workdir);
	return error_hint(err,
		"the other stages are short and run to their end; thresh status tells which one "
		"it is");
}

static bool belongs_to_another(const char *workdir, struct error *err)
{
	AUTO_FREE char *path = file_join(workdir, NAME);
	struct stat st;
	if (lstat(path, &st) < 0) {
		return error_errno(err, "could not reach the run in '%s'", workdir);
	}
	const struct passwd *user = getpwuid(st.st_uid);
	error_set(err, FAIL_IO, "the run in '%s' belongs to %s%s%s", workdir,
		user ? "user '" : "another user", user ? user->pw_name : "", user ? "'" : "");
	return error_hint(err, "only that user may steer it, or root");
}

static bool refused(const char *workdir, struct error *err)
{
	switch (errno) {
	case ENOENT:
	case ECONNREFUSED: /* a dead run has left its socket */
		return nobody_answers(workdir, err);
	case EACCES:
	case EPERM:
		return belongs_to_another(workdir, err);
	case EAGAIN:
		error_set(err, FAIL_IO, "the run in '%s' does not answer within %d seconds",
			workdir, ANSWER_SECONDS);
		return error_hint(err, "it is busy; try again");
	default:
		return error_errno(err, "could not ask the run in '%s'", workdir);
	}
}

static bool read_line(int fd, const char *workdir, struct str *out, struct error *err)
{
	char buffer[4096];
	size_t begun = out->len;
	for (;;) {
		ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			return refused(workdir, err);
		}
		str_append(out, buffer, (size_t)n);
		if (out->full || out->len - begun > CONTROL_ANSWER_BYTES_MAX) {
			return error_set(err, FAIL_DATA, "the answer of the run in '%s' has no end",
				workdir);
		}
		if (out->len > begun && out->data[out->len - 1] == '\n') {
			out->data[--out->len] = '\0';
			return true;
		}
		if (n == 0) {
			error_set(
				err, FAIL_IO, "the run in '%s' hung up without an answer", workdir);
			return error_hint(err, "its stage has probably just ended; try again");
		}
	}
}

bool control_ask(const char *workdir, const char *request, struct str *out, struct error *err)
{
	struct sockaddr_un address;
	AUTO_FD int folder = -1;
	if (!file_is_dir(workdir)) {
		return nobody_answers(workdir, err);
	}
	if (!address_of(workdir, &address, &folder, err)) {
		return false;
	}
	AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct timeval patience = {.tv_sec = ANSWER_SECONDS};
	AUTO_FREE char *line = xasprintf("%s\n", request);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0) {
		return error_errno(err, "could not make a socket");
	}
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
		send(fd, line, strlen(line), MSG_NOSIGNAL) < 0) {
		return refused(workdir, err);
	}
	return read_line(fd, workdir, out, err);
}
