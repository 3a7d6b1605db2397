#include "report/excerpt.h"

#include "base/json.h"
#include "base/text.h"
#include "ledger/ledger.h"
#include "report/visible.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* --- answers --- */

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || (unsigned char)c >= 0x80;
}

/* Not the 4 of 54. */
static bool stands_alone(struct slice text, size_t begin, size_t end)
{
	bool joined_before = begin > 0 && is_word(text.data[begin - 1]) &&
		is_word(text.data[begin]);
	bool joined_after = end < text.len && is_word(text.data[end]) &&
		is_word(text.data[end - 1]);
	return !joined_before && !joined_after;
}

/* The last place of `what` that stands alone; text.len if there is none. */
static size_t find_last(struct slice text, struct slice what)
{
	size_t found = text.len;
	const char *at = text.data, *end = text.data + text.len;
	while (what.len && (at = memmem(at, (size_t)(end - at), what.data, what.len))) {
		size_t begin = (size_t)(at - text.data);
		found = stands_alone(text, begin, begin + what.len) ? begin : found;
		at++;
	}
	return found;
}

static void add(struct excerpt_answers *a, size_t begin, size_t end)
{
	size_t i = 0;
	while (i < a->n && a->list[i].begin < begin) {
		i++;
	}
	bool overlaps = (i > 0 && a->list[i - 1].end > begin) ||
		(i < a->n && a->list[i].begin < end);
	if (overlaps || a->n == EXCERPT_ANSWERS_MAX || begin >= end) {
		return;
	}
	memmove(&a->list[i + 1], &a->list[i], (a->n - i) * sizeof(a->list[0]));
	a->list[i].begin = begin;
	a->list[i].end = end;
	a->n++;
}

/* Of what stands in the last \boxed{}, braces within it counted. */
static void add_boxed(struct slice text, struct excerpt_answers *a)
{
	static const char word[] = "\\boxed{";
	const struct slice boxed = slice_z(word);
	size_t begin = find_last(text, boxed);
	if (begin == text.len) {
		return;
	}
	unsigned depth = 1;
	size_t end = begin += boxed.len;
	for (; end < text.len && text.data[end] != '\n'; end++) {
		depth += text.data[end] == '{';
		depth -= text.data[end] == '}';
		if (!depth) {
			add(a, begin, end);
			return;
		}
	}
}

void excerpt_find_answers(const struct ledger_candidate *c, struct excerpt_answers *out)
{
	*out = (struct excerpt_answers){.n = 0};
	for (size_t i = 0; i < c->n_scores && c->text.data; i++) {
		struct error ignored;
		struct slice pred;
		const char *detail = c->scores[i].detail;
		AUTO_JSON struct json *read = detail ? json_parse(detail, strlen(detail), &ignored)
						     : NULL;
		pred.data = json_str(json_get(read, "pred"), &pred.len);
		if (pred.data) {
			size_t begin = find_last(c->text, pred);
			add(out, begin, MIN(begin + pred.len, c->text.len));
		}
	}
	if (!out->n && c->text.data) {
		add_boxed(c->text, out);
	}
}

/* --- parts --- */

struct excerpting {
	void (*part)(void *ctx, enum excerpt_kind kind, struct slice text);
	void *ctx;
	bool answer;
};

static void put(void *ctx, struct slice text, bool named)
{
	struct excerpting *e = ctx;
	e->part(e->ctx, named ? EXCERPT_NAMED : e->answer ? EXCERPT_ANSWER : EXCERPT_PLAIN, text);
}

/* The stretch [from, to) of the text, split where answers begin and end. */
static void put_stretch(struct excerpting *e, struct slice text,
	const struct excerpt_answers *answers, size_t from, size_t to)
{
	for (size_t i = 0; answers && i < answers->n && from < to; i++) {
		size_t begin = MIN(MAX(answers->list[i].begin, from), to);
		size_t end = MIN(MAX(answers->list[i].end, from), to);
		e->answer = false;
		visible_split((struct slice){text.data + from, begin - from}, put, e);
		e->answer = true;
		visible_split((struct slice){text.data + begin, end - begin}, put, e);
		from = end;
	}
	e->answer = false;
	visible_split((struct slice){text.data + from, to - from}, put, e);
}

void excerpt_each(struct slice text, const struct excerpt_answers *answers, size_t head_bytes,
	size_t tail_bytes, void (*part)(void *ctx, enum excerpt_kind kind, struct slice text),
	void *ctx)
{
	struct excerpting e = {part, ctx, false};
	if (text.len <= head_bytes + tail_bytes) {
		put_stretch(&e, text, answers, 0, text.len);
		return;
	}
	size_t head = visible_head(text, head_bytes).len;
	size_t tail = text.len - visible_tail(text, tail_bytes).len;
	char number[28], note[80];
	text_format_count(tail - head, number);
	snprintf(note, sizeof(note), " \xe2\x80\xa6 %s bytes left out \xe2\x80\xa6 ", number);
	put_stretch(&e, text, answers, 0, head);
	part(ctx, EXCERPT_NOTE, slice_z(note));
	put_stretch(&e, text, answers, tail, text.len);
}
