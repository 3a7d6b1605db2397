/*
 * Four handles of libuv (the process and three pipes) that close one by one; the struct goes with the last of them, so
 * nothing here may be freed earlier.
 *
 * A program's exit may be seen before its last words are read, and a process that it left behind may hold its pipes open for
 * ever. So at the exit the group is killed, which closes the pipes of all but daemons, and what has not ended after the grace
 * is closed from our side.
 */
#include "engine/child.h"

#include "base/mem.h"
#include "base/str.h"
#include "engine/loop.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#define GRACE_MS 1000
#define CHUNK_BYTES 65536

struct child {
	struct child_events events; /* zeroed once nobody wants them */
	struct loop *loop;
	uv_process_t process;
	uv_pipe_t in, out, err;
	unsigned n_handles; /* not yet closed */
	bool running;
	int64_t status;
	int sig;
	struct str line;
	bool too_long;
	struct loop_timer *grace;
	char chunk[CHUNK_BYTES]; /* libuv reads one pipe at a time */
};

/* A write on its way; the bytes follow it. */
struct writing {
	uv_write_t uv;
	char bytes[];
};

static void handle_closed(uv_handle_t *handle)
{
	struct child *c = handle->data;

	if (--c->n_handles != 0)
		return;
	loop_timer_stop(c->grace);
	if (c->events.ended != NULL)
		c->events.ended(c->events.ctx, c->status, c->sig);
	str_release(&c->line);
	free(c);
}

static void close_handle(void *handle)
{
	if (!uv_is_closing(handle))
		uv_close(handle, handle_closed);
}

static void close_pipes(struct child *c)
{
	close_handle(&c->in);
	close_handle(&c->out);
	close_handle(&c->err);
}

static void grace_is_over(void *ctx)
{
	struct child *c = ctx;

	c->grace = NULL;
	if (c->running)
		child_kill(c);
	else
		close_pipes(c);
}

static void give_grace(struct child *c)
{
	loop_timer_stop(c->grace);
	c->grace = loop_after(c->loop, GRACE_MS, grace_is_over, c);
}

static void exited(uv_process_t *process, int64_t status, int sig)
{
	struct child *c = process->data;

	c->running = false;
	c->status = status;
	c->sig = sig;
	kill(-process->pid, SIGKILL);
	close_handle(process);
	close_handle(&c->in);
	give_grace(c);
}

/* --- reading --- */

static void give_chunk(uv_handle_t *handle, size_t suggested UNUSED, uv_buf_t *buf)
{
	struct child *c = handle->data;

	*buf = uv_buf_init(c->chunk, CHUNK_BYTES);
}

static void end_line(struct child *c)
{
	if (c->events.line != NULL && !c->too_long)
		c->events.line(c->events.ctx, c->line.data, c->line.len);
	str_reset(&c->line);
}

static void add_to_line(struct child *c, const char *bytes, size_t len)
{
	str_append(&c->line, bytes, len);
	if (!c->line.full || c->too_long)
		return;
	c->too_long = true;
	if (c->events.line != NULL)
		c->events.line(c->events.ctx, NULL, 0);
	child_kill(c);
}

static void read_out(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct child *c = stream->data;
	const char *at = buf->base, *end;

	if (n < 0) {
		close_handle(stream);
		return;
	}
	for (size_t left = (size_t)n; left > 0; left -= (size_t)(end - at), at = end) {
		const char *newline = memchr(at, '\n', left);

		end = newline != NULL ? newline + 1 : at + left;
		add_to_line(c, at, (size_t)((newline != NULL ? newline : end) - at));
		if (newline != NULL)
			end_line(c);
	}
}

static void read_err(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct child *c = stream->data;

	if (n < 0)
		close_handle(stream);
	else if (n > 0 && c->events.noise != NULL)
		c->events.noise(c->events.ctx, buf->base, (size_t)n);
}

/* --- writing --- */

static void written(uv_write_t *req, int status UNUSED)
{
	free(req); /* its first member */
}

void child_write(struct child *c, const char *bytes, size_t len)
{
	struct writing *w = xmalloc(sizeof(*w) + len);
	uv_buf_t buf = uv_buf_init(w->bytes, (unsigned)len);

	memcpy(w->bytes, bytes, len);
	if (uv_is_closing((uv_handle_t *)&c->in) ||
		uv_write(&w->uv, (uv_stream_t *)&c->in, &buf, 1, written) != 0)
		free(w);
}

/* --- life --- */

/* A program that buffers its stdout leaves us waiting for an answer it has given; of Python's, the flag is known. */
static char **make_env(void)
{
	static char unbuffered[] = "PYTHONUNBUFFERED=1";
	size_t n = 0;
	char **env;

	while (environ[n] != NULL)
		n++;
	env = xcalloc(n + 2, sizeof(*env));
	env[0] = unbuffered;
	memcpy(env + 1, environ, n * sizeof(*env));
	return env;
}

static int spawn(struct child *c, char *const *args)
{
	static char name[] = "thresh", command[] = "__spawn", self[] = "/proc/self/exe";
	char *wanted = getenv("THRESH_SELF"), pid[24];
	size_t n = 0;
	int rc;

	while (args[n] != NULL)
		n++;
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	AUTO_FREE char **all = xcalloc(n + 4, sizeof(*all));
	AUTO_FREE char **env = make_env();
	all[0] = name;
	all[1] = command;
	all[2] = pid;
	memcpy(all + 3, args, n * sizeof(*all));
	uv_stdio_container_t stdio[3] = {
		{.flags = UV_CREATE_PIPE | UV_READABLE_PIPE, .data.stream = (uv_stream_t *)&c->in},
		{.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&c->out},
		{.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&c->err},
	};
	uv_process_options_t options = {
		.exit_cb = exited,
		.file = wanted != NULL && *wanted != '\0' ? wanted : self,
		.args = all,
		.env = env,
		.stdio = stdio,
		.stdio_count = 3,
	};
	rc = uv_spawn(loop_uv(c->loop), &c->process, &options);
	c->running = rc == 0;
	return rc;
}

static void add_pipe(struct child *c, uv_pipe_t *pipe)
{
	uv_pipe_init(loop_uv(c->loop), pipe, 0);
	pipe->data = c;
	c->n_handles++;
}

struct child *child_start(struct loop *loop, char *const *args, size_t line_bytes_max,
	struct child_events events, struct error *err)
{
	struct child *c = xcalloc(1, sizeof(*c));
	int rc;

	c->loop = loop;
	str_init(&c->line, line_bytes_max);
	add_pipe(c, &c->in);
	add_pipe(c, &c->out);
	add_pipe(c, &c->err);
	c->n_handles++;
	rc = spawn(c, args);
	c->process.data = c;
	if (rc == 0) {
		c->events = events;
		uv_read_start((uv_stream_t *)&c->out, give_chunk, read_out);
		uv_read_start((uv_stream_t *)&c->err, give_chunk, read_err);
		return c;
	}
	close_pipes(c);
	close_handle(&c->process);
	error_set(err, FAIL_IO, "could not start '%s': %s", args[0], uv_strerror(rc));
	return NULL;
}

void child_kill(struct child *c)
{
	/* Its group; before its setsid, the process alone. */
	if (c->running && kill(-c->process.pid, SIGKILL) != 0)
		kill(c->process.pid, SIGKILL);
}

void child_stop(struct child *c)
{
	c->events = (struct child_events){0};
	close_handle(&c->in);
	if (c->running)
		give_grace(c);
}
