/* A walk over the text; a step is kept when it ends. */
#include "verifiers/steps_split.h"

#include "base/attr.h"

#include <string.h>

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct slice trim(struct slice s)
{
	while (s.len && is_blank(s.data[0])) {
		s.data++;
		s.len--;
	}
	while (s.len && is_blank(s.data[s.len - 1])) {
		s.len--;
	}
	return s;
}

/* Length of the separator at p; 0: there is none. A blank line is two newlines with nothing but blanks between. */
static size_t separator(const char *p, const char *end, const char *split)
{
	if (split) {
		size_t len = strlen(split);
		return (size_t)(end - p) >= len && memcmp(p, split, len) == 0 ? len : 0;
	}
	if (*p != '\n') {
		return 0;
	}
	for (const char *q = p + 1; q < end && is_blank(*q); q++) {
		if (*q == '\n') {
			return (size_t)(q + 1 - p);
		}
	}
	return 0;
}

struct splitting {
	struct slice *out; /* room for `most` */
	size_t n, most;
};

static void add_step(struct splitting *to, const char *from, const char *end)
{
	struct slice step = trim((struct slice){from, (size_t)(end - from)});
	if (step.len && to->n < to->most) {
		to->out[to->n] = step;
	}
	to->n += step.len > 0;
}

size_t steps_split(struct slice text, const char *split, struct slice *out, size_t most)
{
	const char *end = text.data + text.len, *from = text.data, *p = from;
	struct splitting to = {out, 0, most};
	while (p < end && to.n <= most) {
		size_t len = separator(p, end, split);
		if (len) {
			add_step(&to, from, p);
			from = p + len;
		}
		p += MAX(len, 1);
	}
	if (to.n <= most) {
		add_step(&to, from, end);
	}
	return to.n;
}
