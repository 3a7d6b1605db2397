/* regex: does a pattern occur? Patterns and texts cannot hang a worker: base/regex.h has limits, and one reached is a null. */
#include "verifiers/verifiers.h"

#include "base/regex.h"

#include <string.h>

enum part { PART_TEXT, PART_ANSWER, PART_REASONING };

struct regex_config {
	char *pattern;
	char *flags;
	uint32_t part;
	bool match;
};

static const char *const part_names[] = {"text", "answer", "reasoning", NULL};

static const struct param params[] = {
	PARAM_STR("pattern", struct regex_config, pattern, .required = true, .min = 1, .max = 4096,
		.help = "PCRE2 pattern, searched anywhere"),
	PARAM_STR("flags", struct regex_config, flags, .max = 8,
		.help = "any of i (case ignored), m (^ and $ at lines), s (. takes newlines), x "
			"(spaces ignored)"),
	PARAM_ENUM("field", struct regex_config, part, .names = part_names, .def = "text",
		.help = "what is searched: all, what follows the last </think>, or what stands "
			"before it"),
	PARAM_BOOL("match", struct regex_config, match, .def = "true",
		.help = "false turns the score round: 1 if the pattern does not occur"),
	{0},
};

static const char *const reasons[] = {"match", "no_match", "limit", NULL};

struct regex_state {
	struct regex *re; /* owns */
	enum part part;
	bool match;
};

static bool bad_flags(const char *flags)
{
	return flags && flags[strspn(flags, "imsx")] != '\0';
}

static struct regex *compile(const struct regex_config *c, struct error *err)
{
	struct str pattern;
	bool ignore_case = c->flags && strchr(c->flags, 'i');
	str_init(&pattern, STR_NO_CAP);
	for (const char *f = c->flags ? c->flags : ""; *f; f++) {
		if (*f != 'i') {
			str_printf(&pattern, "(?%c)", *f);
		}
	}
	str_append_z(&pattern, c->pattern);
	struct regex *re = regex_new(pattern.data, ignore_case, err);
	str_release(&pattern);
	return re;
}

static void check(const void *config, const struct tree *tree, const struct node *node,
	struct error_list *errors)
{
	const struct regex_config *c = config;
	const struct node *at = node ? node_get(node, "pattern") : NULL;
	struct error err = {0};
	if (bad_flags(c->flags)) {
		const struct node *flags = node ? node_get(node, "flags") : NULL;
		node_error(&err, tree, flags ? flags : node,
			"flags must be made of i, m, s and x, not '%s'", c->flags);
		error_list_add(errors, &err);
		return;
	}
	if (!c->pattern) {
		return; /* told by the table */
	}
	struct regex *re = compile(c, &err);
	if (!re) {
		struct error placed = {0};
		node_error(&placed, tree, at ? at : node, "%s", err.msg);
		error_list_add(errors, &placed);
	}
	regex_free(re);
}

static bool open_regex(void *state, const void *config, struct run *run, struct error *err)
{
	const struct regex_config *c = config;
	struct regex_state *s = state;
	(void)run;
	s->part = (enum part)c->part;
	s->match = c->match;
	s->re = compile(c, err);
	return s->re != NULL;
}

static void close_regex(void *state)
{
	struct regex_state *s = state;
	regex_free(s->re);
	s->re = NULL;
}

/* Offset behind the last </think>; 0 if there is none. */
static size_t thinking_end(struct slice text, size_t *out_start)
{
	static const char close[] = "</think>";
	size_t end = 0;
	const char *at = text.data, *hit;
	*out_start = 0;
	while ((hit = memmem(at, text.len - (size_t)(at - text.data), close, strlen(close)))) {
		*out_start = (size_t)(hit - text.data);
		at = hit + strlen(close);
		end = (size_t)(at - text.data);
	}
	return end;
}

static void score(const void *state, const struct candidate *candidate, void *prepared,
	struct arena *scratch, struct score *out)
{
	const struct regex_state *s = state;
	struct slice text = candidate->text.len > 0 ? candidate->text : slice_z("");
	size_t start, end = thinking_end(text, &start);
	(void)prepared;
	(void)scratch;
	if (s->part == PART_ANSWER) {
		text = (struct slice){text.data + end, text.len - end};
	} else if (s->part == PART_REASONING) {
		text.len = start;
	}
	enum regex_result r = regex_search(s->re, text.data, text.len, 0, NULL, NULL);
	*out = (struct score){
		.known = r != REGEX_LIMIT,
		.value = (r == REGEX_MATCH) == s->match ? 1 : 0,
		.reason = r == REGEX_MATCH    ? "match"
			: r == REGEX_NO_MATCH ? "no_match"
					      : "limit",
	};
}

const struct verifier_ops verify_regex = {
	.name = "regex",
	.summary = "1: the pattern occurs (or, with match: false, does not); 0: otherwise; null: a "
		   "match limit was reached",
	.version = 1,
	.is_fact = true,
	.params = params,
	.config_size = sizeof(struct regex_config),
	.state_size = sizeof(struct regex_state),
	.reasons = reasons,
	.check = check,
	.open = open_regex,
	.score = score,
	.close = close_regex,
};
