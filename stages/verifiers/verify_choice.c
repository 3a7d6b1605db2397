/*
 * choice: does the candidate name the right letter? choice_letter.c says which it names. A letter that is not the gold's, several,
 * or none are 0; an answer that names no letter is null, as it may be the right one in other words.
 */
#include "verifiers/verifiers.h"

#include "base/json.h"
#include "verifiers/choice_letter.h"

struct choice_config {
	char *gold, *options;
};

static const struct param params[] = {
	PARAM_REF("gold", struct choice_config, gold, .ref = "field", .required = true,
		.help = "field with the right letter; with `options` also its text or place from "
			"0"),
	PARAM_REF("options", struct choice_config, options, .ref = "field",
		.help = "field with the options' texts, a list or a map of letters: such a text "
			"answers too"),
	{0},
};

static const char *const reasons[] = {"equal", "different", "no_answer", "ambiguous", "unreadable",
	"gold_unparsed", "options_unparsed", NULL};

struct choice_state {
	const struct choice_config *config;
};

struct prepared {
	struct choice_options options;
	char gold;
};

static bool open_choice(void *state, const void *config, struct run *run, struct error *err)
{
	(void)run;
	(void)err;
	((struct choice_state *)state)->config = config;
	return true;
}

/* A list of texts, or a map of letters to texts. */
static bool read_options(const struct json *v, struct choice_options *out)
{
	bool list = json_kind(v) == JSON_ARRAY;
	size_t n = json_len(v);
	if ((!list && json_kind(v) != JSON_OBJECT) || n < 2 || n > CHOICE_LETTERS_MAX) {
		return false;
	}
	*out = (struct choice_options){.n = n, .has_texts = true};
	for (size_t i = 0; i < n; i++) {
		const char key[2] = {(char)('A' + i), 0};
		const struct json *item = list ? json_at(v, i) : json_get(v, key);
		struct slice *text = &out->texts[i];
		text->data = json_str(item, &text->len);
		if (!text->data || text->len > CHOICE_OPTION_BYTES_MAX) {
			return false;
		}
	}
	return true;
}

static char read_gold(const struct json *v, const struct choice_options *options)
{
	struct slice text;
	int64_t place;
	if (json_kind(v) == JSON_STRING) {
		text.data = json_str(v, &text.len);
		return text.len <= CHOICE_OPTION_BYTES_MAX ? choice_read(text, options) : 0;
	}
	/* Without the options it is not known whether counting begins at 0. */
	return options->has_texts && json_int(v, &place) && place >= 0 &&
			place < (int64_t)options->n
		? (char)('A' + place)
		: 0;
}

static bool prepare(const void *state, const struct prompt *prompt, struct arena *arena,
	void **out_prepared, const char **out_reason)
{
	const struct choice_config *c = ((const struct choice_state *)state)->config;
	struct prepared *p = arena_alloc(arena, sizeof(*p));
	p->options.n = CHOICE_LETTERS_MAX;
	if (c->options && !read_options(json_get(prompt->fields, c->options), &p->options)) {
		*out_reason = "options_unparsed";
		return false;
	}
	p->gold = read_gold(json_get(prompt->fields, c->gold), &p->options);
	if (!p->gold) {
		*out_reason = "gold_unparsed";
		return false;
	}
	*out_prepared = p;
	return true;
}

static void score(const void *state, const struct candidate *candidate, void *prepared,
	struct arena *scratch, struct score *out)
{
	const struct prepared *p = prepared;
	struct choice_found f;
	(void)state;
	choice_find(candidate->text, &p->options, &f);
	bool right = f.letter == p->gold && !f.hedged;
	*out = (struct score){
		/* An answer that names no letter may still be the right one in other words. */
		.known = f.letter || !f.rule,
		.value = right ? 1 : 0,
		.reason = !f.rule   ? "no_answer"
			: !f.letter ? "unreadable"
			: f.hedged  ? "ambiguous"
			: right     ? "equal"
				    : "different",
	};
	if (f.letter) {
		out->detail = arena_printf(scratch,
			"{\"gold\":\"%c\",\"pred\":\"%c\",\"rule\":\"%s\"}", p->gold, f.letter,
			f.rule);
	}
}

const struct verifier_ops verify_choice = {
	.name = "choice",
	.summary = "1: the candidate names the right letter, A to J; 0: another, several, or none",
	.version = 1,
	.params = params,
	.config_size = sizeof(struct choice_config),
	.state_size = sizeof(struct choice_state),
	.reasons = reasons,
	.open = open_choice,
	.prepare = prepare,
	.score = score,
};
