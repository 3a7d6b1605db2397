/*
 * Allocation that cannot fail. Out of memory is a death like any other: every state we can be killed in is a state we can
 * resume from, so these print one line and abort, and nobody writes recovery code that is never run.
 */
#ifndef PIPELINE_BASE_MEM_H
#define PIPELINE_BASE_MEM_H

#include "base/attr.h"

#include <stdarg.h>
#include <stddef.h>

/* Ends the process with a line on stderr; also for a NULL from a library's constructor. */
NORETURN void oom(void);

void *xmalloc(size_t bytes);
/* xmalloc for a buffer of many megabytes that is filled from its beginning: in large pages where the system has them. */
void *xmalloc_large(size_t bytes);
void *xcalloc(size_t n, size_t bytes);
/* n * bytes is checked for overflow. */
void *xreallocarray(void *p, size_t n, size_t bytes);
char *xstrdup(const char *s);
/* Copies `bytes` bytes and adds a NUL. */
char *xmemdup0(const void *p, size_t bytes);
PRINTF_LIKE(1, 2) char *xasprintf(const char *fmt, ...);
char *xvasprintf(const char *fmt, va_list args);

/*
 * Grows an array geometrically so that one more element fits; for `T *items; size_t n, cap;`:
 *
 *	items = array_room(items, n, &cap, sizeof(*items));
 *	items[n++] = item;
 */
void *array_room(void *items, size_t n, size_t *cap, size_t item_bytes);

#endif
