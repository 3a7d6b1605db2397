/*
 * One run: start, drain, watch, end. The thread that calls waits in poll() for output, for the end, and for the next look at
 * the tree. Whatever ends a run, the init of its pid namespace is dead before we return, and with it all that it had.
 */
#include "verifiers/sandbox/sandbox_private.h"

#include "base/attr.h"
#include "base/clock.h"
#include "base/mem.h"
#include "verifiers/sandbox/cgroup.h"
#include "verifiers/sandbox/launch.h"
#include "verifiers/sandbox/tree.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_EVERY_MS 20
#define JOIN_AFTER_MS 100
#define FILE_COST_BYTES 1024
#define DEATH_MS 5000 /* a killed tree is gone long before */

enum stream { STREAM_OUT, STREAM_ERR, STREAM_REPORT, STREAM_INFO, N_STREAMS };

struct watch {
	const struct sandbox *box;
	const struct sandbox_limits *limits;
	const atomic_bool *stop;
	struct sandbox_result *result;
	struct cgroup *cgroup; /* NULL: too early, or none is delegated */
	int streams[N_STREAMS]; /* -1 after their end */
	uint64_t read_bytes[N_STREAMS];
	struct str info;
	pid_t pid; /* 0 once it has been waited for */
	int pid_fd, init_fd; /* the namespace's init, once bubblewrap has told its pid; else -1 */
	pid_t init; /* valid as long as init_fd is */
	bool killed;
	int64_t started_ms, look_ms;
	struct {
		uint64_t high_ms; /* the most that the living have had since lost_ms grew */
		uint64_t lost_ms; /* what went with processes that nobody waited for */
		bool fell; /* the last look found less */
	} cpu;
};

static int pidfd_of(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

static void kill_tree(struct watch *w)
{
	w->killed = true;
	if (w->pid == 0) {
		return; /* buried: the number may be a stranger's by now */
	}
	/* Then bubblewrap has the end of its child to wait for, and ends by itself. */
	if (w->init_fd >= 0 && syscall(SYS_pidfd_send_signal, w->init_fd, SIGKILL, NULL, 0) == 0) {
		return;
	}
	if (!w->box->n_prefix) {
		tree_kill(w->pid);
	}
	kill(w->pid, SIGKILL);
}

static void end_as(struct watch *w, enum sandbox_end end)
{
	if (!w->killed) {
		w->result->end = end;
		kill_tree(w);
	}
}

static struct str *kept(struct watch *w, enum stream i)
{
	return i == STREAM_OUT       ? &w->result->out
		: i == STREAM_ERR    ? &w->result->err
		: i == STREAM_REPORT ? &w->result->report
				     : &w->info;
}

/* Once it is all there: {"child-pid": 123, ...}. */
static void find_init(struct watch *w)
{
	static const char key[] = "\"child-pid\":";
	const char *at = strstr(w->info.data, key);
	if (w->init_fd < 0 && at && strchr(at, '\n')) {
		long pid = strtol(at + strlen(key), NULL, 10);
		w->init = (pid_t)pid;
		w->init_fd = pid > 0 ? pidfd_of(w->init) : -1;
	}
}

/* Reads what is there. False: the end, or nothing for now. */
static bool drain(struct watch *w, enum stream i)
{
	char buf[16384];
	ssize_t n = read(w->streams[i], buf, sizeof(buf));
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		return false;
	}
	if (n <= 0) {
		close(w->streams[i]);
		w->streams[i] = -1;
		return false;
	}
	struct str *to = kept(w, i);
	str_append(to, buf, MIN((size_t)n, to->cap_bytes - to->len));
	w->read_bytes[i] += (uint64_t)n;
	if (i == STREAM_INFO) {
		find_init(w);
	} else if (w->read_bytes[i] >
		(i == STREAM_REPORT ? REPORT_BYTES_MAX : w->limits->output_bytes)) {
		end_as(w, SANDBOX_OUTPUT);
	}
	return true;
}

/* A short run ends before it would pay. */
static void join_cgroup(struct watch *w)
{
	if (!w->cgroup) {
		w->cgroup = cgroup_take(w->box->cgroups,
			w->limits->memory_bytes + w->box->scratch_bytes,
			w->limits->processes + OWN_PROCESSES);
	}
	cgroup_join(w->cgroup, w->pid);
}

/*
 * A process that its parent has waited for is in the parent's time; the time of one whose parent ignores SIGCHLD is nowhere. Then the
 * sum falls. A process that was waited for while we read is missing as well, but only once, so two looks must agree.
 */
static uint64_t cpu_of_all(struct watch *w, uint64_t now_ms)
{
	bool falls = now_ms < w->cpu.high_ms;
	if (falls && w->cpu.fell) {
		w->cpu.lost_ms += w->cpu.high_ms - now_ms;
		w->cpu.high_ms = now_ms;
		falls = false;
	}
	w->cpu.fell = falls;
	w->cpu.high_ms = MAX(w->cpu.high_ms, now_ms);
	return w->cpu.lost_ms + w->cpu.high_ms;
}

/*
 * Of the kernel, for the files in /tmp: each costs about as much however little it holds, and the size of a tmpfs does not count
 * that. Until bubblewrap has changed the root, what is there is the machine's own.
 */
static uint64_t memory_of_files(const struct watch *w)
{
	char path[48];
	struct statvfs fs;
	struct stat own, theirs;
	snprintf(path, sizeof(path), "/proc/%d/root/tmp", (int)w->init);
	if (w->init_fd < 0 || stat("/tmp", &own) != 0 || stat(path, &theirs) != 0 ||
		own.st_dev == theirs.st_dev || statvfs(path, &fs) != 0 || fs.f_files < fs.f_ffree) {
		return 0;
	}
	return (uint64_t)(fs.f_files - fs.f_ffree) * FILE_COST_BYTES;
}

static void look(struct watch *w)
{
	int64_t now = clock_mono_ms();
	if (now < w->look_ms) {
		return;
	}
	w->look_ms = now + LOOK_EVERY_MS;
	if (now - w->started_ms >= JOIN_AFTER_MS) {
		join_cgroup(w);
	}
	struct tree_usage usage = tree_measure(w->pid);
	usage.memory_bytes += memory_of_files(w);
	w->result->cpu_ms = cpu_of_all(w, usage.cpu_ms);
	w->result->memory_bytes = MAX(w->result->memory_bytes, usage.memory_bytes);
	if (w->stop && atomic_load(w->stop)) {
		end_as(w, SANDBOX_STOPPED);
	} else if (w->result->cpu_ms > w->limits->cpu_ms) {
		end_as(w, SANDBOX_TIME);
	} else if (usage.memory_bytes > w->limits->memory_bytes || cgroup_was_full(w->cgroup)) {
		end_as(w, SANDBOX_MEMORY);
	} else if (usage.processes > w->limits->processes + OWN_PROCESSES) {
		end_as(w, SANDBOX_PROCESSES);
	} else if ((uint64_t)(now - w->started_ms) > w->limits->wall_ms) {
		end_as(w, SANDBOX_WALL);
	}
}

/* Until the process that we started has ended. */
static void attend(struct watch *w)
{
	for (;;) {
		struct pollfd fds[N_STREAMS + 1];
		for (int i = 0; i < N_STREAMS; i++) {
			fds[i] = (struct pollfd){w->streams[i], POLLIN, 0};
		}
		fds[N_STREAMS] = (struct pollfd){w->pid_fd, POLLIN, 0};
		int64_t wait_ms = w->look_ms - clock_mono_ms();
		poll(fds, N_STREAMS + 1, (int)MAX(wait_ms, 0));
		for (int i = 0; i < N_STREAMS; i++) {
			if (w->streams[i] >= 0 && fds[i].revents) {
				drain(w, (enum stream)i);
			}
		}
		if (fds[N_STREAMS].revents) {
			return;
		}
		look(w);
	}
}

/* Waits for the end of the namespace, which ends everybody in it, and takes what they still had written. */
static void bury(struct watch *w)
{
	int status = 0;
	struct pollfd init = {w->init_fd, POLLIN, 0};
	struct rusage usage = {0};
	while (wait4(w->pid, &status, 0, &usage) < 0 && errno == EINTR) {
	}
	w->pid = 0;
	/* Bubblewrap may have been the one that was killed. */
	if (w->init_fd >= 0) {
		syscall(SYS_pidfd_send_signal, w->init_fd, SIGKILL, NULL, 0);
		poll(&init, 1, DEATH_MS);
	}
	for (int i = 0; i < N_STREAMS; i++) {
		while (w->streams[i] >= 0 && drain(w, (enum stream)i)) {
		}
	}
	uint64_t cpu_ms = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
		(uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000;
	w->result->cpu_ms = MAX(w->result->cpu_ms, cpu_ms);
	w->result->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	if (!w->killed && cgroup_was_full(w->cgroup)) {
		w->result->end = SANDBOX_MEMORY;
	}
}

/* --- beginning --- */

static int in_memory(struct slice bytes)
{
	AUTO_FD int fd = memfd_create("input", MFD_CLOEXEC);
	size_t done = 0;
	while (fd >= 0 && done < bytes.len) {
		ssize_t n = pwrite(fd, bytes.data + done, bytes.len - done, (off_t)done);
		if (n <= 0) {
			return -1;
		}
		done += (size_t)n;
	}
	return TAKE_FD(fd);
}

static bool open_stream(struct watch *w, enum stream i, int *out_child_end)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) != 0) {
		return false;
	}
	w->streams[i] = ends[0];
	*out_child_end = ends[1];
	return fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0;
}

static bool open_fds(struct watch *w, const struct sandbox_command *command, int fds[N_FDS])
{
	bool ok = (fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0 &&
		open_stream(w, STREAM_OUT, &fds[1]) && open_stream(w, STREAM_ERR, &fds[2]) &&
		open_stream(w, STREAM_REPORT, &fds[SANDBOX_REPORT_FD]);
	for (size_t i = 0; ok && i < command->n_inputs; i++) {
		ok = (fds[SANDBOX_INPUT_FD + i] = in_memory(command->inputs[i])) >= 0;
	}
	if (ok && w->box->n_prefix) {
		struct slice filter = {w->box->filter.data, w->box->filter.len};
		ok = (fds[FILTER_FD] = in_memory(filter)) >= 0 &&
			open_stream(w, STREAM_INFO, &fds[INFO_FD]);
	}
	return ok;
}

static char **whole_argv(const struct sandbox *box, const struct sandbox_command *command)
{
	size_t n = 0, at = 0;
	while (command->argv[n]) {
		n++;
	}
	char **argv = xcalloc(box->n_prefix + n + 1, sizeof(*argv));
	for (size_t i = 0; i < box->n_prefix; i++) {
		argv[at++] = box->prefix[i];
	}
	for (size_t i = 0; i < n; i++) {
		/* exec's prototype knows no const, and takes nothing away. */
		argv[at++] = (char *)(uintptr_t)command->argv[i];
	}
	return argv;
}

static bool start(struct watch *w, const struct sandbox_command *command, struct error *err)
{
	AUTO_FREE char **argv = whole_argv(w->box, command);
	struct launch launch = {
		.box = w->box,
		.argv = argv,
		.limits = w->limits,
	};
	for (int i = 0; i < N_FDS; i++) {
		launch.fds[i] = -1;
	}
	if (open_fds(w, command, launch.fds)) {
		w->pid = launch_start(&launch, err);
	} else {
		error_errno(err, "could not open a run's descriptors");
	}
	for (int i = 0; i < N_FDS; i++) {
		if (launch.fds[i] >= 0) {
			close(launch.fds[i]);
		}
	}
	if (w->pid > 0) {
		w->pid_fd = pidfd_of(w->pid);
		if (w->pid_fd < 0 && err->kind == FAIL_NONE) {
			error_errno(err, "could not watch process %d", (int)w->pid);
			kill(w->pid, SIGKILL);
		}
	}
	if (w->pid > 0 && err->kind != FAIL_NONE) {
		waitpid(w->pid, NULL, 0);
	}
	return err->kind == FAIL_NONE;
}

void sandbox_run(const struct sandbox *box, const struct sandbox_command *command,
	struct sandbox_result *out)
{
	struct error err = {0};
	struct watch w = {.box = box,
		.limits = &command->limits,
		.stop = command->stop,
		.result = out,
		.streams = {-1, -1, -1, -1},
		.pid = -1,
		.pid_fd = -1,
		.init_fd = -1};
	assert(command->n_inputs <= SANDBOX_INPUTS_MAX);
	*out = (struct sandbox_result){.end = SANDBOX_EXITED};
	str_init(&out->out, KEPT_BYTES);
	str_init(&out->err, KEPT_BYTES);
	str_init(&out->report, REPORT_BYTES_MAX);
	str_init(&w.info, KEPT_BYTES);
	w.started_ms = clock_mono_ms();
	w.look_ms = w.started_ms + LOOK_EVERY_MS;
	if (start(&w, command, &err)) {
		attend(&w);
		bury(&w);
	} else {
		out->end = SANDBOX_FAILED;
		str_append_z(&out->err, err.msg);
	}
	for (int i = 0; i < N_STREAMS; i++) {
		if (w.streams[i] >= 0) {
			close(w.streams[i]);
		}
	}
	if (w.pid_fd >= 0) {
		close(w.pid_fd);
	}
	if (w.init_fd >= 0) {
		close(w.init_fd);
	}
	cgroup_give_back(box->cgroups, w.cgroup);
	str_release(&w.info);
	out->wall_ms = (uint64_t)(clock_mono_ms() - w.started_ms);
}

void sandbox_result_release(struct sandbox_result *result)
{
	str_release(&result->out);
	str_release(&result->err);
	str_release(&result->report);
}
