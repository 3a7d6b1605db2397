#include "verifiers/answer_classes.h"

#include "verifiers/choice_letter.h"

#include <string.h>

#define COMPARED_MAX 256 /* classes that an answer is compared with one by one */

struct class
{
	const struct math_value *value; /* of the first member */
	uint64_t key;
};

struct classes {
	struct class *list;
	size_t n;
	const struct math_policy *policy;
};

static bool is_equal(
	const struct classes *c, const struct math_value *a, const struct math_value *b)
{
	struct math_verdict verdict;
	math_compare(a, b, c->policy, &verdict);
	return verdict.outcome == MATH_EQUAL;
}

/*
 * Nearly all equal answers have equal keys, so those are tried first; the others are compared with the first classes only,
 * as thousands of different answers would otherwise be compared in millions of pairs.
 */
static size_t find_class(const struct classes *c, const struct math_value *value, uint64_t key)
{
	for (size_t i = 0; i < c->n; i++) {
		if (c->list[i].key == key && is_equal(c, c->list[i].value, value)) {
			return i;
		}
	}
	for (size_t i = 0; i < c->n && i < COMPARED_MAX; i++) {
		if (c->list[i].key != key && is_equal(c, c->list[i].value, value)) {
			return i;
		}
	}
	return c->n;
}

static size_t class_of_value(struct classes *c, struct slice text, struct arena *arena)
{
	struct math_span spans[MATH_SPANS_MAX];
	const struct math_value *value = math_answer(text, c->policy, arena, NULL);
	if (!value) {
		return math_extract(text, c->policy, arena, spans) ? ANSWER_UNREAD : ANSWER_NONE;
	}
	uint64_t key = math_value_hash(value);
	size_t class = find_class(c, value, key);
	if (class == c->n) {
		c->list[c->n++] = (struct class){value, key};
	}
	return class;
}

/* Here a class's key is its letter. */
static size_t class_of_letter(struct classes *c, struct slice text)
{
	struct choice_options options = {.n = CHOICE_LETTERS_MAX};
	struct choice_found f;
	choice_find(text, &options, &f);
	if (!f.letter || f.hedged) {
		return f.rule ? ANSWER_UNREAD : ANSWER_NONE;
	}
	size_t class = 0;
	while (class < c->n && c->list[class].key != (uint64_t)f.letter) {
		class ++;
	}
	if (class == c->n) {
		c->list[c->n++].key = (uint64_t)f.letter;
	}
	return class;
}

size_t answer_classes(const struct candidate *const *candidates, size_t n, enum answer_kind kind,
	const struct math_policy *policy, struct arena *arena, size_t *out_class)
{
	struct classes c = {.list = arena_alloc_array(arena, n, sizeof(*c.list)), .policy = policy};
	for (size_t i = 0; i < n; i++) {
		struct slice text = candidates[i]->text;
		out_class[i] = kind == ANSWER_MATH ? class_of_value(&c, text, arena)
						   : class_of_letter(&c, text);
	}
	return c.n;
}
