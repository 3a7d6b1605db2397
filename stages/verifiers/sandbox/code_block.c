#include "verifiers/sandbox/code_block.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define FENCE_INDENT_MAX 32

/* The next line of `rest`, without its newline; moves `rest` behind it. */
static struct slice next_line(struct slice *rest)
{
	const char *newline = memchr(rest->data, '\n', rest->len);
	size_t len = newline ? (size_t)(newline - rest->data) : rest->len;
	struct slice line = {rest->data, len};
	size_t used = newline ? len + 1 : len;
	rest->data += used;
	rest->len -= used;
	return line;
}

static size_t indent_of(struct slice line)
{
	size_t n = 0;
	while (n < line.len && (line.data[n] == ' ' || line.data[n] == '\t')) {
		n++;
	}
	return n;
}

struct fence {
	char mark;
	size_t length, indent;
	struct slice tag;
};

static struct slice trim(struct slice s)
{
	while (s.len && isspace((unsigned char)s.data[0])) {
		s.data++;
		s.len--;
	}
	while (s.len && isspace((unsigned char)s.data[s.len - 1])) {
		s.len--;
	}
	return s;
}

static bool read_fence(struct slice line, struct fence *out)
{
	size_t indent = indent_of(line), n = indent;
	if (indent > FENCE_INDENT_MAX || n == line.len ||
		(line.data[n] != '`' && line.data[n] != '~')) {
		return false;
	}
	char mark = line.data[n];
	while (n < line.len && line.data[n] == mark) {
		n++;
	}
	struct slice rest = trim((struct slice){line.data + n, line.len - n});
	/* ```code``` on one line is inline code. */
	if (n - indent < 3 || memchr(rest.data, '`', rest.len)) {
		return false;
	}
	size_t word = 0;
	while (word < rest.len && !isspace((unsigned char)rest.data[word]) &&
		rest.data[word] != '{' && rest.data[word] != ',') {
		word++;
	}
	*out = (struct fence){mark, n - indent, indent, {rest.data, word}};
	return true;
}

/* 2: the language's tag; 1: no tag; 0: another language. */
static int rank(struct slice tag, const char *const *tags)
{
	if (tag.len == 0) {
		return 1;
	}
	for (; *tags; tags++) {
		if (strlen(*tags) == tag.len && strncasecmp(*tags, tag.data, tag.len) == 0) {
			return 2;
		}
	}
	return 0;
}

static struct slice after_thinking(struct slice text)
{
	static const char close[] = "</think>";
	const char *hit;
	while (text.len && (hit = memmem(text.data, text.len, close, strlen(close)))) {
		hit += strlen(close);
		text.len -= (size_t)(hit - text.data);
		text.data = hit;
	}
	return text;
}

static void append_lines(struct slice body, size_t indent, struct str *out)
{
	while (body.len) {
		struct slice line = next_line(&body);
		size_t own = indent_of(line), cut = own < indent ? own : indent;
		str_append(out, line.data + cut, line.len - cut);
		str_append_c(out, '\n');
	}
}

bool code_block_find(struct slice text, const char *const *tags, struct str *out)
{
	struct slice rest = after_thinking(text), best = {NULL, 0};
	struct fence open = {0}, best_fence = {0}, fence;
	const char *start = NULL;
	int best_rank = 0;
	while (rest.len || start) {
		bool at_end = rest.len == 0;
		struct slice line = at_end ? rest : next_line(&rest);
		bool is_fence = !at_end && read_fence(line, &fence);
		if (!start) {
			if (is_fence) {
				open = fence;
				start = rest.data;
			}
			continue;
		}
		if (!at_end &&
			!(is_fence && fence.mark == open.mark && fence.length >= open.length &&
				!fence.tag.len)) {
			continue;
		}
		struct slice body = {start, (size_t)(line.data - start)};
		int r = rank(open.tag, tags);
		if (r && r >= best_rank && trim(body).len) {
			best = body;
			best_fence = open;
			best_rank = r;
		}
		start = NULL;
	}
	if (!best_rank) {
		return false;
	}
	append_lines(best, best_fence.indent, out);
	return true;
}

static bool is_name_char(char c)
{
	return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

static bool skip(struct slice *s, const char *word)
{
	size_t len = strlen(word);
	if (s->len < len || memcmp(s->data, word, len) != 0) {
		return false;
	}
	s->data += len;
	s->len -= len;
	return true;
}

/* def NAME, async def NAME, class NAME or NAME = at the start of a line. */
static bool defines(struct slice line, struct slice name)
{
	skip(&line, "async ");
	bool statement = skip(&line, "def ") || skip(&line, "class ");
	if (line.len < name.len || memcmp(line.data, name.data, name.len) != 0) {
		return false;
	}
	struct slice rest = {line.data + name.len, line.len - name.len};
	if (rest.len && is_name_char(rest.data[0])) {
		return false;
	}
	rest = trim(rest);
	return statement || (rest.len > 1 && rest.data[0] == '=' && rest.data[1] != '=');
}

static bool is_future(struct slice line)
{
	return skip(&line, "from __future__ ");
}

void code_assemble(
	struct slice prefix, struct slice entry_point, struct slice code, struct str *out)
{
	bool defined = false;
	for (struct slice rest = code; rest.len;) {
		struct slice line = next_line(&rest);
		if (prefix.len && is_future(line)) {
			str_append(out, line.data, line.len);
			str_append_c(out, '\n');
		}
		defined = defined || (entry_point.len && defines(line, entry_point));
	}
	str_append(out, prefix.data, prefix.len);
	if (prefix.len && defined) {
		str_append_z(out, "\n\n");
	}
	for (struct slice rest = code; rest.len;) {
		struct slice line = next_line(&rest);
		if (!prefix.len || !is_future(line)) {
			str_append(out, line.data, line.len);
		}
		str_append_c(out, '\n');
	}
}
