/*
 * Texts of models that verifiers read: steps of a chain, the answer of a safety model. The first byte says how a chain is split. Steps lie
 * within the text, in order, without blanks around them; categories are a letter and digits.
 */
#include "verifiers/safety_answer.h"
#include "verifiers/steps_split.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#define STEPS_MAX 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_steps(struct slice text, const char *split)
{
	struct slice steps[STEPS_MAX];
	size_t n = steps_split(text, split, steps, STEPS_MAX);
	const char *at = text.data;

	assert(n <= STEPS_MAX + 1);
	for (size_t i = 0; i < n && i < STEPS_MAX; i++) {
		assert(steps[i].len > 0 && steps[i].data >= at);
		at = steps[i].data + steps[i].len;
		assert(at <= text.data + text.len);
		assert(!strchr(" \t\r\n", steps[i].data[0]) || !steps[i].data[0]);
		assert(!strchr(" \t\r\n", at[-1]) || !at[-1]);
	}
}

static void try_safety(struct slice text)
{
	struct safety_answer answer;

	if (!safety_read(text, &answer))
		return;
	assert(answer.n_categories <= SAFETY_CATEGORIES_MAX);
	assert(!answer.safe || answer.n_categories == 0);
	for (size_t i = 0; i < answer.n_categories; i++) {
		size_t len = strnlen(answer.categories[i], sizeof(answer.categories[i]));

		assert(len == 2 || len == 3);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const splits[] = {NULL, ". ", "##", "\n"};

	if (size == 0)
		return 0;
	struct slice text = {(const char *)data + 1, size - 1};
	try_steps(text, splits[data[0] % 4]);
	try_safety(text);
	return 0;
}
