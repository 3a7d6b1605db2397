/*
 * The server is started by way of our own program (`thresh __spawn`), which asks the kernel for SIGKILL on the parent's death, checks
 * that the parent has not died before that, leaves the terminal's process group (so that Ctrl-C reaches us alone and we can
 * drain), and becomes the server. The death signal follows the thread that forked: everything here runs on the loop's thread, which lives
 * as long as the process.
 *
 * A port of our own choosing is bound, closed and passed on; another process may take it in between. Then the server says
 * so in its log and ends, and we try the next one. The health check cannot be fooled by the other process for long: a server
 * that ended is noticed, and a foreign one does not have our alias (the engine checks that).
 *
 * What the server prints goes to LOGDIR/engine-NAME.log. We remember where each start began in it, to quote the right lines.
 */
#include "engine/server.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/gguf.h"
#include "engine/http.h"
#include "engine/loop.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#define PORT_TRIES_MAX 5
#define HEALTH_PERIOD_MS 100
#define HEALTH_TIMEOUT_MS 5000
#define STOP_GRACE_MS 5000
#define RESTART_BACKOFF_MS 500
#define RESTART_BACKOFF_MS_MAX 30000
#define TAIL_BYTES 8192
#define TAIL_LINES 20

enum server_state {
	SERVER_IDLE, /* no process */
	SERVER_STARTING, /* process, not healthy yet */
	SERVER_UP,
	SERVER_FAILED,
	SERVER_STOPPING,
};

struct server {
	struct loop *loop;
	struct http_client *http;
	const struct engine_serve_config *config;
	char *name, *binary, *log_path, *url;
	struct server_events events;
	enum server_state state;
	uv_process_t process;
	bool has_process; /* until its handle is closed */
	bool was_up; /* some start has succeeded */
	int64_t exit_status;
	int exit_signal;
	uint64_t log_start; /* length of the log when this process was started */
	int64_t started_ms;
	uint32_t port, port_tries, restarts;
	struct loop_timer *timer;
	struct http_request *health;
	struct error err; /* of SERVER_FAILED, until it is told */
	void (*closed)(void *ctx);
	void *closed_ctx;
};

static void launch(struct server *server);

/* --- the child's side --- */

int server_spawn_main(int argc, char **argv)
{
	char *end = NULL;
	long parent;

	if (argc < 3) {
		fprintf(stderr, "usage: __spawn PARENT_PID COMMAND [ARGS...]\n");
		return 2;
	}
	parent = strtol(argv[1], &end, 10);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) {
		fprintf(stderr, "thresh: could not set the parent-death signal: %s\n",
			strerror(errno));
		return 1;
	}
	/* The parent may have died before the line above. */
	if (*end != '\0' || getppid() != (pid_t)parent)
		return 1;
	setsid();
	/* OpenMP's threads spin at barriers: beside any other busy process that costs a factor of a hundred. */
	setenv("OMP_WAIT_POLICY", "passive", 0);
	close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
	execvp(argv[2], argv + 2);
	fprintf(stderr, "thresh: could not run '%s': %s\n", argv[2], strerror(errno));
	return 127;
}

/* --- finding things --- */

static bool is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static char *search_path(const char *name)
{
	const char *path = getenv("PATH");

	while (path != NULL && *path != '\0') {
		size_t len = strcspn(path, ":");
		AUTO_FREE char *dir = xmemdup0(path, len);
		AUTO_FREE char *file = file_join(len > 0 ? dir : ".", name);

		if (is_program(file))
			return TAKE(file);
		path += len;
		path += *path == ':';
	}
	return NULL;
}

static char *named_binary(const char *named, const char *where, struct error *err)
{
	char *found = strchr(named, '/') != NULL ? xstrdup(named) : search_path(named);

	if (found != NULL && is_program(found))
		return found;
	free(found);
	error_set(err, FAIL_CONFIG, "the server program '%s' (%s) is not an executable file", named,
		where);
	return NULL;
}

static char *find_binary(const struct engine_serve_config *config, struct error *err)
{
	static const char local[] = ".thresh/bin/llama-server";
	const char *env = getenv("THRESH_LLAMA_SERVER");
	char *found;

	if (config->binary != NULL)
		return named_binary(config->binary, "serve.command", err);
	if (env != NULL && *env != '\0')
		return named_binary(env, "THRESH_LLAMA_SERVER", err);
	found = search_path("llama-server");
	if (found == NULL && is_program(local))
		found = xstrdup(local);
	if (found == NULL) {
		error_set(err, FAIL_CONFIG, "there is no llama-server on PATH or in .thresh/bin");
		error_hint(err, "`./bootstrap run` sets one up; THRESH_LLAMA_SERVER names another");
	}
	return found;
}

/* Binds `port` (0: one that the kernel picks) for a moment; 0 if it is taken. */
static uint32_t try_port(uint32_t port)
{
	AUTO_FD int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(addr);
	int on = 1;

	if (fd < 0)
		return 0;
	/* As the server does it: connections in TIME_WAIT from the last run are no obstacle. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 ||
		getsockname(fd, (struct sockaddr *)&addr, &len) != 0)
		return 0;
	/* Two sockets may be bound with SO_REUSEADDR, but only one may listen. */
	if (listen(fd, 1) != 0)
		return 0;
	return ntohs(addr.sin_port);
}

/* --- the log --- */

static void read_log_tail(const struct server *server, struct str *out)
{
	AUTO_FD int fd = open(server->log_path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	uint64_t from = server->log_start, len;
	char *room;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) != 0 || (uint64_t)st.st_size <= from)
		return;
	len = (uint64_t)st.st_size - from;
	if (len > TAIL_BYTES) {
		from += len - TAIL_BYTES;
		len = TAIL_BYTES;
	}
	room = str_reserve(out, (size_t)len);
	n = room != NULL ? pread(fd, room, (size_t)len, (off_t)from) : 0;
	if (n <= 0)
		return;
	/* Lines are counted with C functions, and a log has no business with NULs. */
	for (ssize_t i = 0; i < n; i++)
		room[i] = room[i] == '\0' ? '?' : room[i];
	out->len += (size_t)n;
	out->data[out->len] = '\0';
}

/* Start of the n-th line from the end. */
static const char *last_lines(const struct str *text, unsigned n)
{
	const char *p = text->data + text->len;

	while (p > text->data && p[-1] == '\n')
		p--;
	while (p > text->data) {
		if (p[-1] == '\n' && --n == 0)
			break;
		p--;
	}
	return p;
}

/* The line that says why: the last but one kind of line that tells of trouble, without the server's closing remark. */
static char *find_reason(const struct str *tail)
{
	static const char *const signs[] = {
		"invalid magic", "bind", "error", "failed", "could not", "unable"};

	for (size_t s = 0; s < ARRAY_LEN(signs); s++) {
		for (const char *line = tail->data; *line != '\0';) {
			size_t len = strcspn(line, "\n");
			AUTO_FREE char *text = xmemdup0(line, MIN(len, 300));

			if (strcasestr(text, signs[s]) != NULL &&
				strstr(text, "Failed to init server") == NULL)
				return TAKE(text);
			line += len;
			line += *line == '\n';
		}
	}
	return NULL;
}

static void log_tail(const struct server *server, const struct str *tail)
{
	for (const char *line = last_lines(tail, TAIL_LINES); *line != '\0';) {
		size_t len = strcspn(line, "\n");
		AUTO_FREE char *text = xmemdup0(line, len);

		if (len > 0)
			log_error("llama-server", "engine", server->name, "log", text, NULL);
		line += len;
		line += *line == '\n';
	}
}

/* Fills server->err for a process that is gone; its log is quoted. */
static void explain_exit(struct server *server, const char *when)
{
	struct str tail;

	str_init(&tail, TAIL_BYTES);
	read_log_tail(server, &tail);
	if (tail.len == 0)
		str_append_z(&tail, "(it printed nothing)");
	AUTO_FREE char *reason = find_reason(&tail);

	if (server->exit_signal != 0)
		error_set(&server->err, FAIL_IO, "llama-server was killed by signal %d (%s) %s%s%s",
			server->exit_signal, strsignal(server->exit_signal), when,
			reason != NULL ? ": " : "", reason != NULL ? reason : "");
	else
		error_set(&server->err, FAIL_IO, "llama-server ended with exit code %lld %s%s%s",
			(long long)server->exit_status, when, reason != NULL ? ": " : "",
			reason != NULL ? reason : "");
	error_hint(&server->err, "see %s, which ends with:\n%.240s", server->log_path,
		last_lines(&tail, 2));
	log_tail(server, &tail);
	str_release(&tail);
}

/* --- states --- */

static void free_if_done(struct server *server)
{
	void (*closed)(void *ctx) = server->closed;
	void *ctx = server->closed_ctx;

	if (server->state != SERVER_STOPPING || server->has_process || server->health != NULL)
		return;
	loop_timer_stop(server->timer);
	free(server->name);
	free(server->binary);
	free(server->log_path);
	free(server->url);
	free(server);
	closed(ctx);
}

static void tell_failed(void *ctx)
{
	struct server *server = ctx;

	server->timer = NULL;
	server->events.failed(server->events.ctx, &server->err);
}

/* server->err says why. The event comes on the next turn. */
static void fail(struct server *server)
{
	server->state = SERVER_FAILED;
	loop_timer_stop(server->timer);
	server->timer = loop_after(server->loop, 0, tell_failed, server);
}

static void send_signal(struct server *server, int sig)
{
	/* Its whole session, in case it is a script that did not exec; before its setsid, the process alone. */
	if (kill(-server->process.pid, sig) != 0)
		kill(server->process.pid, sig);
}

void server_kill(struct server *server)
{
	if (server->has_process)
		send_signal(server, SIGKILL);
}

static void relaunch(void *ctx)
{
	struct server *server = ctx;

	server->timer = NULL;
	launch(server);
}

static bool port_was_taken(const struct server *server)
{
	struct str tail;
	bool taken;

	str_init(&tail, TAIL_BYTES);
	read_log_tail(server, &tail);
	taken = strcasestr(tail.data, "couldn't bind") != NULL ||
		strcasestr(tail.data, "address already in use") != NULL;
	str_release(&tail);
	return taken;
}

static void restart_or_fail(struct server *server)
{
	uint64_t wait_ms = RESTART_BACKOFF_MS;

	if (server->restarts >= server->config->restarts_max) {
		AUTO_FREE char *when = xasprintf("after %u restarts", server->restarts);

		explain_exit(server, when);
		fail(server);
		return;
	}
	for (uint32_t i = 0; i < server->restarts && wait_ms < RESTART_BACKOFF_MS_MAX; i++)
		wait_ms *= 2;
	server->restarts++;
	log_warn("llama-server ended, starting it again", "engine", server->name, "status",
		log_fmt("%lld", (long long)server->exit_status), "signal",
		log_fmt("%d", server->exit_signal), "restart", log_fmt("%u", server->restarts),
		"log", server->log_path, NULL);
	server->timer = loop_after(server->loop, wait_ms, relaunch, server);
}

static void ended(struct server *server)
{
	enum server_state before = server->state;

	if (before == SERVER_STOPPING || before == SERVER_FAILED) {
		free_if_done(server);
		return;
	}
	loop_timer_stop(TAKE(server->timer));
	if (server->health != NULL)
		http_cancel(server->health);
	server->state = SERVER_IDLE;
	if (before == SERVER_STARTING && server->config->port == 0 && port_was_taken(server) &&
		++server->port_tries < PORT_TRIES_MAX) {
		server->timer = loop_after(server->loop, 0, relaunch, server);
		return;
	}
	if (!server->was_up) {
		explain_exit(server, "before it was ready");
		fail(server);
		return;
	}
	restart_or_fail(server);
	if (before == SERVER_UP)
		server->events.down(server->events.ctx);
}

static void process_closed(uv_handle_t *handle)
{
	struct server *server = handle->data;

	server->has_process = false;
	ended(server);
}

static void process_exited(uv_process_t *process, int64_t status, int sig)
{
	struct server *server = process->data;

	server->exit_status = status;
	server->exit_signal = sig;
	uv_close((uv_handle_t *)process, process_closed);
}

/* --- health --- */

static void ask_health(void *ctx);

static void start_took_too_long(struct server *server)
{
	struct str tail;

	str_init(&tail, TAIL_BYTES);
	read_log_tail(server, &tail);
	error_set(&server->err, FAIL_IO, "llama-server was not ready within %.3g s",
		(double)server->config->start_timeout_ms / 1000);
	error_hint(&server->err, "raise serve.start_timeout; %s ends with:\n%.220s",
		server->log_path, last_lines(&tail, 2));
	log_tail(server, &tail);
	str_release(&tail);
	send_signal(server, SIGKILL);
	fail(server);
}

static void health_came(void *ctx, const struct http_reply *reply)
{
	struct server *server = ctx;

	server->health = NULL;
	if (server->state != SERVER_STARTING) {
		free_if_done(server);
		return;
	}
	if (reply->failure == HTTP_OK && reply->status == 200) {
		log_info("llama-server is ready", "engine", server->name, "url", server->url, "pid",
			log_fmt("%d", (int)server->process.pid), "ms",
			log_fmt("%lld", (long long)(clock_mono_ms() - server->started_ms)), NULL);
		server->state = SERVER_UP;
		server->was_up = true;
		server->port_tries = 0;
		server->events.up(server->events.ctx);
		return;
	}
	if (clock_mono_ms() - server->started_ms >= (int64_t)server->config->start_timeout_ms) {
		start_took_too_long(server);
		return;
	}
	server->timer = loop_after(server->loop, HEALTH_PERIOD_MS, ask_health, server);
}

static void ask_health(void *ctx)
{
	struct server *server = ctx;
	AUTO_FREE char *url = xasprintf("%s/health", server->url);

	server->timer = NULL;
	if (server->health != NULL) {
		/* The cancelled question of the process before this one has not come back yet. */
		server->timer = loop_after(server->loop, HEALTH_PERIOD_MS, ask_health, server);
		return;
	}
	server->health = http_send(server->http,
		&(struct http_ask){
			.url = url,
			.timeout_ms = HEALTH_TIMEOUT_MS,
			.done = health_came,
			.ctx = server,
		});
}

/* --- start --- */

#define N_OWN_ARGS 24

static char **make_args(const struct server *server)
{
	const struct engine_serve_config *config = server->config;
	uint32_t threads = config->threads != 0 ? config->threads : uv_available_parallelism();
	char **args = xcalloc(N_OWN_ARGS + config->n_args + 1, sizeof(*args));
	size_t n = 0;

	args[n++] = xstrdup("thresh");
	args[n++] = xstrdup("__spawn");
	args[n++] = xasprintf("%d", (int)getpid());
	args[n++] = xstrdup(server->binary);
	args[n++] = xstrdup("-m");
	args[n++] = xstrdup(config->model);
	args[n++] = xstrdup("--host");
	args[n++] = xstrdup("127.0.0.1");
	args[n++] = xstrdup("--port");
	args[n++] = xasprintf("%u", server->port);
	/* An explicit -np makes llama.cpp divide the context into equal parts, one for each slot. */
	args[n++] = xstrdup("-np");
	args[n++] = xasprintf("%u", config->parallel);
	args[n++] = xstrdup("-c");
	args[n++] = xasprintf("%llu", (unsigned long long)config->parallel * config->context);
	args[n++] = xstrdup("-t");
	args[n++] = xasprintf("%u", threads);
	args[n++] = xstrdup("--alias");
	args[n++] = xstrdup(server->name);
	args[n++] = xstrdup("--slots");
	args[n++] = xstrdup("--metrics");
	args[n++] = xstrdup("--no-webui");
	assert(n <= N_OWN_ARGS);
	for (size_t i = 0; i < config->n_args; i++)
		args[n++] = xstrdup(config->args[i]);
	return args;
}

static void free_args(char **args)
{
	for (size_t i = 0; args[i] != NULL; i++)
		free(args[i]);
	free(args);
}

static bool open_log(struct server *server, char **args, int *out_fd, struct error *err)
{
	AUTO_FD int fd = open(server->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	char stamp[40];
	struct stat st;

	if (fd < 0)
		return error_errno(err, "could not open the engine's log '%s'", server->log_path);
	clock_stamp(clock_wall_ms(), stamp);
	dprintf(fd, "--- %s: thresh starts", stamp);
	for (size_t i = 3; args[i] != NULL; i++)
		dprintf(fd, " %s", args[i]);
	dprintf(fd, "\n");
	/* What is quoted later begins behind our own line. */
	server->log_start = fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
	*out_fd = TAKE_FD(fd);
	return true;
}

static bool spawn(struct server *server, char **args, int log_fd, struct error *err)
{
	const char *self = getenv("THRESH_SELF");
	uv_stdio_container_t stdio[3] = {
		{.flags = UV_IGNORE},
		{.flags = UV_INHERIT_FD, .data.fd = log_fd},
		{.flags = UV_INHERIT_FD, .data.fd = log_fd},
	};
	uv_process_options_t options = {
		.exit_cb = process_exited,
		.file = self != NULL && *self != '\0' ? self : "/proc/self/exe",
		.args = args,
		.stdio = stdio,
		.stdio_count = 3,
	};
	int rc = uv_spawn(loop_uv(server->loop), &server->process, &options);

	server->process.data = server;
	server->has_process = true;
	if (rc == 0)
		return true;
	error_set(err, FAIL_IO, "could not start '%s': %s", server->binary, uv_strerror(rc));
	return false;
}

static bool pick_port(struct server *server, struct error *err)
{
	uint32_t wanted = server->config->port, port = try_port(wanted);

	if (port == 0 && wanted != 0) {
		error_set(err, FAIL_IO, "port %u is in use", wanted);
		return error_hint(err,
			"end what listens there (`ss -ltnp` shows it), or leave `port` out: thresh "
			"then finds a free one");
	}
	if (port == 0)
		return error_errno(err, "could not find a free port");
	server->port = port;
	free(server->url);
	server->url = xasprintf("http://127.0.0.1:%u", port);
	return true;
}

static bool try_launch(struct server *server, struct error *err)
{
	AUTO_FD int log_fd = -1;
	char **args;
	bool ok;

	if (!pick_port(server, err))
		return false;
	args = make_args(server);
	ok = open_log(server, args, &log_fd, err) && spawn(server, args, log_fd, err);
	free_args(args);
	return ok;
}

static void launch(struct server *server)
{
	server->exit_status = 0;
	server->exit_signal = 0;
	if (!try_launch(server, &server->err)) {
		fail(server);
		/* libuv wants the handle closed even if nothing was started. */
		if (server->has_process)
			uv_close((uv_handle_t *)&server->process, process_closed);
		return;
	}
	server->state = SERVER_STARTING;
	server->started_ms = clock_mono_ms();
	server->timer = loop_after(server->loop, HEALTH_PERIOD_MS, ask_health, server);
}

static bool prepare(struct server *server, const char *log_dir, struct error *err)
{
	/* Before the program is looked for: a wrong model is the likelier mistake, and the cheaper to tell. */
	if (!gguf_check(server->config->model, err))
		return false;
	server->binary = find_binary(server->config, err);
	return server->binary != NULL && file_make_dirs(log_dir, err);
}

struct server *server_new(struct loop *loop, struct http_client *http,
	const struct engine_serve_config *config, const char *name, const char *log_dir,
	struct server_events events)
{
	struct server *server = xcalloc(1, sizeof(*server));

	server->loop = loop;
	server->http = http;
	server->config = config;
	server->events = events;
	server->name = xstrdup(name);
	AUTO_FREE char *file = xasprintf("engine-%s.log", name);
	server->log_path = file_join(log_dir, file);
	return server;
}

void server_start(struct server *server)
{
	AUTO_FREE char *dir = file_dirname(server->log_path);

	assert(server->state == SERVER_IDLE);
	if (prepare(server, dir, &server->err))
		launch(server);
	else
		fail(server);
}

const char *server_url(const struct server *server)
{
	return server->url;
}

uint32_t server_restarts(const struct server *server)
{
	return server->restarts;
}

/* --- stop --- */

static void lost_patience(void *ctx)
{
	struct server *server = ctx;

	server->timer = NULL;
	send_signal(server, SIGKILL);
}

static void stop_next_turn(void *ctx)
{
	struct server *server = ctx;

	server->timer = NULL;
	free_if_done(server);
}

void server_stop(struct server *server, void (*closed)(void *ctx), void *ctx)
{
	bool running = server->has_process && !uv_is_closing((uv_handle_t *)&server->process);

	assert(server->state != SERVER_STOPPING);
	server->state = SERVER_STOPPING;
	server->closed = closed;
	server->closed_ctx = ctx;
	loop_timer_stop(TAKE(server->timer));
	if (server->health != NULL)
		http_cancel(server->health);
	if (running) {
		send_signal(server, SIGTERM);
		server->timer = loop_after(server->loop, STOP_GRACE_MS, lost_patience, server);
	} else if (!server->has_process) {
		server->timer = loop_after(server->loop, 0, stop_next_turn, server);
	}
}
