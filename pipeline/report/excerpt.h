/*
 * A model's text as the page shows it: long ones without their middle, the answers in them marked, characters that cannot be
 * seen named. Where the answer is, the verifiers have told ("pred" of their details); without one, the last \boxed{}.
 */
#ifndef PIPELINE_REPORT_EXCERPT_H
#define PIPELINE_REPORT_EXCERPT_H

#include "base/str.h"

#include <stddef.h>

struct ledger_candidate;

#define EXCERPT_ANSWERS_MAX 4

struct excerpt_answers {
	struct {
		size_t begin, end;
	} list[EXCERPT_ANSWERS_MAX]; /* in the order of the text, not overlapping */
	size_t n;
};
void excerpt_find_answers(const struct ledger_candidate *c, struct excerpt_answers *out);

/* The numbers are what page.js reads. */
enum excerpt_kind {
	EXCERPT_PLAIN = 0,
	EXCERPT_ANSWER = 1,
	EXCERPT_NAMED = 2, /* a name that stands for a character */
	EXCERPT_NOTE = 3, /* ours: "… 12,345 bytes left out …" */
};
/* Calls `part` for stretches of the text in order; at most about head + tail bytes of it. `answers` may be NULL. */
void excerpt_each(struct slice text, const struct excerpt_answers *answers, size_t head_bytes,
	size_t tail_bytes, void (*part)(void *ctx, enum excerpt_kind kind, struct slice text),
	void *ctx);

#endif
