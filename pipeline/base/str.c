#include "base/str.h"

#include "base/mem.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* data of an empty str that has allocated nothing; never written to. */
static char empty[1];

void str_init(struct str *s, size_t cap_bytes)
{
	*s = (struct str){.data = empty, .cap_bytes = MIN(cap_bytes, STR_NO_CAP)};
}

void str_release(struct str *s)
{
	if (s->size) {
		free(s->data);
	}
	*s = (struct str){.data = empty, .cap_bytes = s->cap_bytes};
}

void str_reset(struct str *s)
{
	s->len = 0;
	s->full = false;
	if (s->size) {
		s->data[0] = '\0';
	}
}

char *str_reserve(struct str *s, size_t more)
{
	if (s->full || more > s->cap_bytes - s->len) {
		s->full = true;
		return NULL;
	}
	size_t need = s->len + more + 1;
	if (need > s->size) {
		size_t size = MAX(need, MIN(s->size * 2, s->cap_bytes + 1));
		size = MAX(size, 32);
		char *data = s->size ? xreallocarray(s->data, size, 1) : xmalloc(size);
		if (!s->size) {
			data[0] = '\0';
		}
		s->data = data;
		s->size = size;
	}
	return s->data + s->len;
}

void str_append(struct str *s, const void *bytes, size_t len)
{
	if (!len) {
		return;
	}
	char *to = str_reserve(s, len);
	if (to) {
		memcpy(to, bytes, len);
		s->len += len;
		s->data[s->len] = '\0';
	}
}

void str_append_z(struct str *s, const char *z)
{
	str_append(s, z, strlen(z));
}

void str_append_c(struct str *s, char c)
{
	if (s->len + 1 >= s->size || s->len >= s->cap_bytes || s->full) {
		str_append(s, &c, 1);
		return;
	}
	s->data[s->len++] = c;
	s->data[s->len] = '\0';
}

void str_vprintf(struct str *s, const char *fmt, va_list args)
{
	va_list again;
	va_copy(again, args);
	int len = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	assert(len >= 0);
	char *to = str_reserve(s, (size_t)len);
	if (to) {
		vsnprintf(to, (size_t)len + 1, fmt, args);
		s->len += (size_t)len;
	}
}

void str_printf(struct str *s, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	str_vprintf(s, fmt, args);
	va_end(args);
}

char *str_take(struct str *s)
{
	char *data = s->size ? s->data : xstrdup("");
	str_init(s, s->cap_bytes);
	return data;
}

struct slice slice_z(const char *z)
{
	return (struct slice){z, strlen(z)};
}

bool slice_eq(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool slice_eq_z(struct slice a, const char *z)
{
	return slice_eq(a, slice_z(z));
}
