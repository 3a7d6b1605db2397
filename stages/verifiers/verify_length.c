/* length: how long a candidate is. */
#include "verifiers/verifiers.h"

#include "base/text.h"

enum unit { UNIT_TOKENS, UNIT_CHARS, UNIT_WORDS };

struct length_config {
	uint32_t unit;
};

static const char *const unit_names[] = {"tokens", "chars", "words", NULL};

static const struct param params[] = {
	PARAM_ENUM("unit", struct length_config, unit, .names = unit_names, .def = "tokens",
		.help = "what is counted; chars are code points, words what stands between blanks"),
	{0},
};

static const char *const reasons[] = {"measured", NULL};

struct length_state {
	enum unit unit;
};

static bool open_length(void *state, const void *config, struct run *run, struct error *err)
{
	struct length_state *s = state;
	(void)run;
	(void)err;
	s->unit = (enum unit)((const struct length_config *)config)->unit;
	return true;
}

static size_t count_chars(struct slice s)
{
	size_t n = 0;
	for (size_t at = 0; at < s.len; n++) {
		uint32_t c;
		unsigned bytes = utf8_decode(s.data + at, s.len - at, &c);
		/* A byte that is no UTF-8 would be shown as one character. */
		at += bytes > 0 ? bytes : 1;
	}
	return n;
}

static size_t count_words(struct slice s)
{
	size_t n = 0;
	bool inside = false;
	for (size_t at = 0; at < s.len; at++) {
		char c = s.data[at];
		bool blank = c == ' ' || (c >= '\t' && c <= '\r');
		n += !blank && !inside;
		inside = !blank;
	}
	return n;
}

static void score(const void *state, const struct candidate *candidate, void *prepared,
	struct arena *scratch, struct score *out)
{
	const struct length_state *s = state;
	size_t n = 0;
	(void)prepared;
	(void)scratch;
	switch (s->unit) {
	case UNIT_TOKENS:
		n = candidate->n_tokens;
		break;
	case UNIT_CHARS:
		n = count_chars(candidate->text);
		break;
	case UNIT_WORDS:
		n = count_words(candidate->text);
		break;
	}
	*out = (struct score){.known = true, .value = (double)n, .reason = "measured"};
}

const struct verifier_ops verify_length = {
	.name = "length",
	.summary = "the candidate's length in tokens, characters or words",
	.version = 1,
	.is_fact = true,
	.params = params,
	.config_size = sizeof(struct length_config),
	.state_size = sizeof(struct length_state),
	.reasons = reasons,
	.open = open_length,
	.score = score,
};
