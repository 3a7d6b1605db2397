/*
 * math: does the candidate end in the gold answer? The work is done by math/; here an outcome becomes a score.
 *
 * Equal is 1 and different is 0, and only those are findings. An output without any answer is 0 as well: what was asked for is
 * not there, and asking another verifier would not change that. An answer that cannot be read, or read and not decided, is null:
 * the gap is ours, and counting it as wrong would throw away right chains.
 */
#include "verifiers/verifiers.h"

#include "base/json.h"
#include "base/text.h"
#include "verifiers/math/mathcheck.h"

#define DETAIL_TEXT_MAX 200

enum rules { RULES_DEFAULT, RULES_STRICT, RULES_LAX };

struct math_config {
	char *gold;
	uint32_t rules;
	bool exact;
	bool inequality;
};

static const char *const rules_names[] = {"default", "strict", "lax", NULL};

static const struct param params[] = {
	PARAM_REF("gold", struct math_config, gold, .ref = "field", .required = true,
		.help = "field of the prompt that holds the right answer; a solution ending in "
			"\\boxed{} or #### is fine"),
	PARAM_ENUM("rules", struct math_config, rules, .names = rules_names, .def = "default",
		.help = "where the answer is looked for; strict: \\boxed{} and #### only; lax: an "
			"unclosed \\boxed{ too"),
	PARAM_BOOL("exact", struct math_config, exact, .def = "false",
		.help = "do not accept decimals that are rounded beyond the sixth place"),
	PARAM_BOOL("inequality", struct math_config, inequality, .def = "false",
		.help = "accept an inequality for a gold interval; it may be the question's own"),
	{0},
};

static const char *const reasons[] = {
	"equal", "different", "no_answer", "pred_unparsed", "gold_unparsed", "undecided", NULL};

struct math_state {
	const char *gold;
	struct math_policy policy;
};

static bool open_math(void *state, const void *config, struct run *run, struct error *err)
{
	const struct math_config *c = config;
	struct math_state *s = state;
	(void)run;
	(void)err;
	s->gold = c->gold;
	s->policy = c->rules == RULES_STRICT ? math_policy_strict
		: c->rules == RULES_LAX      ? math_policy_lax
					     : math_policy_default;
	s->policy.exact = c->exact;
	s->policy.inequality_for_interval = c->inequality;
	return true;
}

/* The gold as text: rows may hold it as a JSON number. */
static struct slice gold_text(const struct json *v, char buf[32])
{
	struct slice text = {buf, 0};
	int64_t integer;
	double real;
	switch (json_kind(v)) {
	case JSON_STRING:
		text.data = json_str(v, &text.len);
		break;
	case JSON_INT:
		json_int(v, &integer);
		text.len = (size_t)snprintf(buf, 32, "%lld", (long long)integer);
		break;
	case JSON_REAL:
		json_num(v, &real);
		text_format_double(real, buf);
		text.len = strlen(buf);
		break;
	default:
		break;
	}
	return text;
}

static bool prepare(const void *state, const struct prompt *prompt, struct arena *arena,
	void **out_prepared, const char **out_reason)
{
	const struct math_state *s = state;
	char buf[32];
	struct slice text = gold_text(json_get(prompt->fields, s->gold), buf);
	const struct math_value *gold = math_parse_gold(text, arena);
	if (!gold) {
		*out_reason = "gold_unparsed";
		return false;
	}
	/* Read-only from here on; the slot has no const. */
	*out_prepared = (void *)gold;
	return true;
}

static const char *detail(
	const struct math_value *gold, const struct math_verdict *v, struct arena *scratch)
{
	struct str text, value;
	struct json_writer w = {.out = &text};
	str_init(&text, 4096);
	str_init(&value, 1024);
	json_begin_object(&w);
	if (gold) {
		math_value_format(gold, &value);
		json_key(&w, "gold");
		json_put_str(&w, value.data, value.len);
	}
	if (v->span.len > 0) {
		json_key(&w, "pred");
		json_put_str(&w, v->span.data, MIN(v->span.len, (size_t)DETAIL_TEXT_MAX));
	}
	json_member_z(&w, "rule", math_rule_name(v->rule));
	json_member_z(&w, "method", math_method_name(v->method));
	json_end_object(&w);
	const char *out = arena_memdup0(scratch, text.data, text.len);
	str_release(&text);
	str_release(&value);
	return out;
}

static void score(const void *state, const struct candidate *candidate, void *prepared,
	struct arena *scratch, struct score *out)
{
	const struct math_state *s = state;
	const struct math_value *gold = prepared;
	struct math_verdict v;
	math_check(gold, candidate->text, &s->policy, scratch, &v);
	*out = (struct score){
		.known = v.outcome == MATH_EQUAL || v.outcome == MATH_DIFFERENT ||
			v.outcome == MATH_NO_ANSWER,
		.value = v.outcome == MATH_EQUAL ? 1 : 0,
		.reason = math_outcome_name(v.outcome),
		.detail = detail(gold, &v, scratch),
	};
}

const struct verifier_ops verify_math = {
	.name = "math",
	.summary = "1: the answer equals the gold; 0: it differs, or there is none; null: it could "
		   "not be read or decided",
	.version = 2,
	.params = params,
	.config_size = sizeof(struct math_config),
	.state_size = sizeof(struct math_state),
	.reasons = reasons,
	.open = open_math,
	.prepare = prepare,
	.score = score,
};
