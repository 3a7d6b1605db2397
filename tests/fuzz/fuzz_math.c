/*
 * Model output of any kind against golds of any kind: the first line is the gold, the rest the output. Whatever comes, spans lie
 * within their limits, a value equals itself, and comparing is symmetric.
 */
#include "verifiers/math/mathcheck.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_value(const struct math_value *v)
{
	struct math_verdict verdict;
	struct str text;
	math_compare(v, v, &math_policy_default, &verdict);
	assert(verdict.outcome == MATH_EQUAL);
	str_init(&text, 4096);
	math_value_format(v, &text);
	(void)math_value_hash(v);
	str_release(&text);
}

static void check_pair(const struct math_value *a, const struct math_value *b)
{
	struct math_verdict ab, ba;
	/* With the one rule off that is not symmetric on purpose. */
	struct math_policy policy = math_policy_default;
	policy.inequality_for_interval = true;
	math_compare(a, b, &policy, &ab);
	math_compare(b, a, &policy, &ba);
	assert(ab.outcome == ba.outcome || ab.outcome == MATH_PRED_UNPARSED ||
		ba.outcome == MATH_PRED_UNPARSED);
}

static void check_output(const struct math_value *gold, struct slice output,
	const struct math_policy *policy, struct arena *arena)
{
	struct math_span spans[MATH_SPANS_MAX];
	struct math_verdict verdict;
	size_t n = math_extract(output, policy, arena, spans);
	assert(n <= MATH_SPANS_MAX);
	for (size_t i = 0; i < n; i++) {
		assert(spans[i].text.len > 0 && spans[i].text.len <= MATH_SPAN_BYTES_MAX);
		assert(policy->rules & MATH_RULE_BIT(spans[i].rule));
		const struct math_value *v = math_parse(spans[i].text, arena, NULL);
		if (v) {
			check_value(v);
		}
		if (v && gold) {
			check_pair(gold, v);
		}
	}
	math_check(gold, output, policy, arena, &verdict);
	assert(gold || verdict.outcome == MATH_GOLD_UNPARSED);
	bool choice = verdict.method == MATH_BY_CHOICE;
	assert(n > 0 || !gold || choice || verdict.outcome == MATH_NO_ANSWER);
	assert(verdict.outcome != MATH_EQUAL || verdict.pred || choice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena = {0};
	const uint8_t *newline = size ? memchr(data, '\n', size) : NULL;
	size_t gold_len = newline ? (size_t)(newline - data) : size;
	size_t at = newline ? gold_len + 1 : size;
	struct slice line = {(const char *)data, gold_len};
	struct slice output = {(const char *)data + at, size - at};
	const struct math_value *gold = math_parse_gold(line, &arena);

	if (gold) {
		check_value(gold);
	}
	check_output(gold, output, &math_policy_default, &arena);
	check_output(gold, output, &math_policy_strict, &arena);
	check_output(gold, output, &math_policy_lax, &arena);
	arena_release(&arena);
	return 0;
}
