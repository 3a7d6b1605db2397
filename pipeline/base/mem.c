#include "base/mem.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void oom(void)
{
	static const char line[] = "thresh: out of memory; the run can be resumed\n";
	ssize_t ignored = write(STDERR_FILENO, line, sizeof(line) - 1);
	(void)ignored;
	abort();
}

void *xmalloc(size_t bytes)
{
	void *p = malloc(bytes ? bytes : 1);
	if (!p) {
		oom();
	}
	return p;
}

void *xmalloc_large(size_t bytes)
{
	const uintptr_t page = 4096;
	void *p = xmalloc(bytes);
	uintptr_t from = ((uintptr_t)p + page - 1) & ~(page - 1),
		  to = ((uintptr_t)p + bytes) & ~(page - 1);
	if (to > from) {
		(void)madvise((void *)from, to - from, MADV_HUGEPAGE); /* a wish */
	}
	return p;
}

void *xcalloc(size_t n, size_t bytes)
{
	void *p = calloc(n ? n : 1, bytes ? bytes : 1);
	if (!p) {
		oom();
	}
	return p;
}

void *xreallocarray(void *p, size_t n, size_t bytes)
{
	p = reallocarray(p, n ? n : 1, bytes ? bytes : 1);
	if (!p) {
		oom();
	}
	return p;
}

char *xstrdup(const char *s)
{
	return xmemdup0(s, strlen(s));
}

char *xmemdup0(const void *p, size_t bytes)
{
	char *copy = xmalloc(bytes + 1);
	if (bytes) {
		memcpy(copy, p, bytes);
	}
	copy[bytes] = '\0';
	return copy;
}

char *xvasprintf(const char *fmt, va_list args)
{
	char *out;
	if (vasprintf(&out, fmt, args) < 0) {
		oom();
	}
	return out;
}

char *xasprintf(const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	char *out = xvasprintf(fmt, args);
	va_end(args);
	return out;
}

void *array_room(void *items, size_t n, size_t *cap, size_t item_bytes)
{
	if (n < *cap) {
		return items;
	}
	if (*cap > SIZE_MAX / 2) {
		oom();
	}
	*cap = *cap ? *cap * 2 : 8;
	return xreallocarray(items, *cap, item_bytes);
}
