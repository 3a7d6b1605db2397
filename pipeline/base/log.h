/*
 * Log lines on stderr: `level=info run=2026-11-24.1 stage=generate msg="..." key=value`, one line each, written with one
 * write(2) so that threads do not mix. Libraries return errors and do not log (debug excepted). Never pass a secret.
 *
 *	log_info("engine is ready", "engine", "student", "url", url, NULL);
 */
#ifndef PIPELINE_BASE_LOG_H
#define PIPELINE_BASE_LOG_H

#include "base/attr.h"

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

struct log_hooks {
	/* Called before and after a line is written, to lift a progress display out of the way; may be NULL. */
	void (*before)(void *ctx);
	void (*after)(void *ctx);
	void *ctx;
};

void log_set_level(enum log_level level);
enum log_level log_get_level(void);
/* `run` and `stage` stand in every line until changed; NULL leaves them out. Copied. */
void log_set_run(const char *run);
void log_set_hooks(struct log_hooks hooks);

/* `...`: pairs of (const char *key, const char *value), ended by NULL. Values are quoted when needed. */
void log_line(enum log_level level, const char *msg, ...) __attribute__((sentinel));
#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
/* Formats a value for log_line into one of a few rotating thread-local buffers; use it inside the call only. */
PRINTF_LIKE(1, 2) const char *log_fmt(const char *fmt, ...);

#endif
