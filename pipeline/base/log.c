#include "base/log.h"

#include "base/str.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES_MAX ((size_t)16 << 10)

/* What every line shows, guarded by `lock`: the one process-wide state there is, as stderr is. */
static struct {
	pthread_mutex_t lock;
	enum log_level level;
	char run[128];
	struct log_hooks hooks;
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER, .level = LOG_LEVEL_INFO};

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_set_level(enum log_level level)
{
	pthread_mutex_lock(&shared.lock);
	shared.level = level;
	pthread_mutex_unlock(&shared.lock);
}

enum log_level log_get_level(void)
{
	pthread_mutex_lock(&shared.lock);
	enum log_level level = shared.level;
	pthread_mutex_unlock(&shared.lock);
	return level;
}

void log_set_run(const char *run)
{
	pthread_mutex_lock(&shared.lock);
	snprintf(shared.run, sizeof(shared.run), "%s", run ? run : "");
	pthread_mutex_unlock(&shared.lock);
}

void log_set_hooks(struct log_hooks hooks)
{
	pthread_mutex_lock(&shared.lock);
	shared.hooks = hooks;
	pthread_mutex_unlock(&shared.lock);
}

static bool needs_quotes(const char *value)
{
	for (const unsigned char *p = (const unsigned char *)value; *p; p++) {
		if (*p <= ' ' || *p == '"' || *p == '=' || *p == '\\' || *p == 0x7f) {
			return true;
		}
	}
	return value[0] == '\0';
}

/* Control characters are escaped: a value may be hostile text and must not move a terminal's cursor or fake a line. */
static void put_value(struct str *line, const char *value, bool quoted)
{
	if (!quoted && !needs_quotes(value)) {
		str_append_z(line, value);
		return;
	}
	str_append_c(line, '"');
	for (const unsigned char *p = (const unsigned char *)value; *p; p++) {
		if (*p == '"' || *p == '\\') {
			str_append_c(line, '\\');
			str_append_c(line, (char)*p);
		} else if (*p == '\n') {
			str_append_z(line, "\\n");
		} else if (*p < ' ' || *p == 0x7f) {
			str_printf(line, "\\x%02x", *p);
		} else {
			str_append_c(line, (char)*p);
		}
	}
	str_append_c(line, '"');
}

void log_line(enum log_level level, const char *msg, ...)
{
	if (level > log_get_level()) {
		return;
	}
	pthread_mutex_lock(&shared.lock);
	struct str line;
	str_init(&line, LINE_BYTES_MAX);
	str_printf(&line, "level=%s", level_names[level]);
	if (shared.run[0]) {
		str_append_z(&line, " run=");
		put_value(&line, shared.run, false);
	}
	str_append_z(&line, " msg=");
	put_value(&line, msg, true);
	va_list args;
	va_start(args, msg);
	const char *key;
	while ((key = va_arg(args, const char *))) {
		const char *value = va_arg(args, const char *);
		str_printf(&line, " %s=", key);
		put_value(&line, value ? value : "", false);
	}
	va_end(args);
	if (shared.hooks.before) {
		shared.hooks.before(shared.hooks.ctx);
	}
	line.full = false;
	line.cap_bytes = LINE_BYTES_MAX + 1;
	str_append_c(&line, '\n');
	/* Nothing useful can be done when stderr is gone. */
	ssize_t ignored = write(STDERR_FILENO, line.data, line.len);
	(void)ignored;
	if (shared.hooks.after) {
		shared.hooks.after(shared.hooks.ctx);
	}
	str_release(&line);
	pthread_mutex_unlock(&shared.lock);
}

const char *log_fmt(const char *fmt, ...)
{
	static _Thread_local char buffers[12][512];
	static _Thread_local unsigned next;
	char *out = buffers[next++ % ARRAY_LEN(buffers)];
	va_list args;
	va_start(args, fmt);
	vsnprintf(out, sizeof(buffers[0]), fmt, args);
	va_end(args);
	return out;
}
