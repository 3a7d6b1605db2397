/*
 * A program that answers in lines: its stdin, stdout and stderr are pipes on the loop. It is started by way of `__spawn`
 * (server.h), so it dies with us even if we are killed, and leads a process group of its own, which is killed as a whole.
 *
 *	struct child *c = child_start(loop, args, 1 << 20, (struct child_events){on_line, on_noise, on_end, worker}, err);
 *	child_write(c, "hello\n", 6);
 *	...
 *	child_stop(c);	// no event comes after this
 *
 * Everything is called on the loop's thread, and no event from inside a call of ours.
 */
#ifndef PIPELINE_ENGINE_CHILD_H
#define PIPELINE_ENGINE_CHILD_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct child;
struct loop;

struct child_events {
	/* One line of stdout without its newline, NUL-terminated; NULL: it grew past the limit, and the program is being killed. */
	void (*line)(void *ctx, const char *line, size_t len);
	/* What came on stderr. */
	void (*noise)(void *ctx, const char *bytes, size_t len);
	/* The last event: the program is gone and all its output has been read. The child is freed when this returns. */
	void (*ended)(void *ctx, int64_t status, int sig);
	void *ctx;
};

/* args: program (looked up in PATH) and arguments, ends with NULL; copied. NULL with err: it could not be started. */
MUST_CHECK struct child *child_start(struct loop *loop, char *const *args, size_t line_bytes_max,
	struct child_events events, struct error *err);
/* Queues bytes for its stdin; copied. Whether they arrive shows in what comes back. */
void child_write(struct child *child, const char *bytes, size_t len);
/* SIGKILL to its process group; `ended` follows. */
void child_kill(struct child *child);
/* Closes its stdin, kills it after a grace of a second, and frees itself on the loop. */
void child_stop(struct child *child);

#endif
