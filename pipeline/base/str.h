/*
 * A byte string that grows. Always NUL-terminated at data[len] and never NULL after str_init, so `s.data` can be printed;
 * model text may contain NULs, so `len` counts. Appending cannot fail for want of memory (see mem.h); growing past the cap
 * given at init is a result, checked where input is hostile: `full` is set once and everything later is ignored, so a caller
 * may append many times and ask once.
 *
 *	struct str s;
 *	str_init(&s, 64 << 10);
 *	str_printf(&s, "shard.%05u", no);
 *	...
 *	str_release(&s);
 */
#ifndef PIPELINE_BASE_STR_H
#define PIPELINE_BASE_STR_H

#include "base/attr.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#define STR_NO_CAP ((size_t)-1 / 4)

struct str {
	char *data; /* owns */
	size_t len;
	size_t size; /* allocated bytes, 0 while data is the shared empty string */
	size_t cap_bytes; /* len never exceeds this */
	bool full; /* an append was refused */
};

void str_init(struct str *s, size_t cap_bytes);
void str_release(struct str *s);
/* Empties, keeps the storage, clears `full`. */
void str_reset(struct str *s);
void str_append(struct str *s, const void *bytes, size_t len);
void str_append_z(struct str *s, const char *z);
void str_append_c(struct str *s, char c);
PRINTF_LIKE(2, 3) void str_printf(struct str *s, const char *fmt, ...);
void str_vprintf(struct str *s, const char *fmt, va_list args);
/* Makes room for `more` bytes after len; the caller fills data+len and adds to len, then writes the NUL. NULL if over the cap. */
char *str_reserve(struct str *s, size_t more);
/* Hands out the storage (malloc'd, NUL-terminated); `s` is empty afterwards and usable. */
char *str_take(struct str *s);

/* Bytes of somebody else's, with a length; borrowed. */
struct slice {
	const char *data;
	size_t len;
};

struct slice slice_z(const char *z);
bool slice_eq(struct slice a, struct slice b);
bool slice_eq_z(struct slice a, const char *z);

#endif
