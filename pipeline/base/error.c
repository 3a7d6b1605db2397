#include "base/error.h"

#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERRORS_MAX 1000

bool error_set(struct error *err, enum fail kind, const char *fmt, ...)
{
	/* A caller may pass its own err->msg as an argument, so format beside it. */
	char msg[sizeof(err->msg)];
	va_list args;
	va_start(args, fmt);
	vsnprintf(msg, sizeof(msg), fmt, args);
	va_end(args);
	err->kind = kind;
	err->where[0] = '\0';
	err->hint[0] = '\0';
	memcpy(err->msg, msg, sizeof(msg));
	return false;
}

bool error_errno(struct error *err, const char *fmt, ...)
{
	int saved = errno;
	char what[sizeof(err->msg)];
	va_list args;
	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	char reason[128];
	return error_set(err, FAIL_IO, "%s: %s", what, strerror_r(saved, reason, sizeof(reason)));
}

bool error_context(struct error *err, const char *fmt, ...)
{
	/* The old message is moved up by what the context takes; what no longer fits is cut at its end. */
	char context[sizeof(err->msg) / 2];
	va_list args;
	va_start(args, fmt);
	vsnprintf(context, sizeof(context), fmt, args);
	va_end(args);
	size_t len = strlen(context);
	size_t keep = MIN(strlen(err->msg), sizeof(err->msg) - 1 - len - 2);
	memmove(err->msg + len + 2, err->msg, keep);
	memcpy(err->msg, context, len);
	memcpy(err->msg + len, ": ", 2);
	err->msg[len + 2 + keep] = '\0';
	return false;
}

bool error_place(struct error *err, const char *file, unsigned line, unsigned column)
{
	if (err->where[0]) {
		return false;
	}
	if (line && column) {
		snprintf(err->where, sizeof(err->where), "%s:%u:%u", file, line, column);
	} else if (line) {
		snprintf(err->where, sizeof(err->where), "%s:%u", file, line);
	} else {
		snprintf(err->where, sizeof(err->where), "%s", file);
	}
	return false;
}

bool error_hint(struct error *err, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	vsnprintf(err->hint, sizeof(err->hint), fmt, args);
	va_end(args);
	return false;
}

int error_exit_code(enum fail kind)
{
	switch (kind) {
	case FAIL_NONE:
		return 0;
	case FAIL_USAGE:
	case FAIL_CONFIG:
		return 2;
	case FAIL_INTERRUPTED:
		return 130;
	case FAIL_IO:
	case FAIL_REMOTE:
	case FAIL_DATA:
		return 1;
	}
	return 1;
}

void error_format(const struct error *err, char *out, size_t out_bytes)
{
	snprintf(out, out_bytes, "%s%s%s%s%s", err->where, err->where[0] ? ": " : "", err->msg,
		err->hint[0] ? "\n  hint: " : "", err->hint);
}

void error_list_add(struct error_list *list, struct error *err)
{
	assert(err->kind != FAIL_NONE);
	if (list->n < ERRORS_MAX) {
		list->items = array_room(list->items, list->n, &list->cap, sizeof(*list->items));
		list->items[list->n++] = *err;
	}
	*err = (struct error){0};
}

void error_list_release(struct error_list *list)
{
	free(list->items);
	*list = (struct error_list){0};
}
