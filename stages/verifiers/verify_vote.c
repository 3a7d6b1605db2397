/*
 * vote: self-consistency. The candidates of a prompt are sorted by their answers; a candidate's score is the share of the votes
 * that its answer has, so the winners' is the highest. A candidate without an answer votes for nobody, and as it is one of
 * those who were asked, it counts in the whole: one answer among four candidates is no unanimity.
 *
 * With `weight`, a vote counts as much as another verifier's score says; null and negative scores count nothing. Shares are of
 * the weight of all candidates, again.
 */
#include "verifiers/verifiers.h"

#include "definition.h"
#include "run.h"
#include "verifiers/answer_classes.h"

#include <assert.h>
#include <math.h>

struct vote_config {
	uint32_t answer, rules;
	char *weight;
};

enum rules { RULES_DEFAULT, RULES_STRICT, RULES_LAX };

static const char *const answer_names[] = {"math", "choice", NULL};
static const char *const rules_names[] = {"default", "strict", "lax", NULL};

static const struct param params[] = {
	PARAM_ENUM("answer", struct vote_config, answer, .names = answer_names, .def = "math",
		.help = "what is an answer, and equal: values, or letters A to J"),
	PARAM_ENUM("rules", struct vote_config, rules, .names = rules_names, .def = "default",
		.help = "where a math answer is looked for; as in math"),
	PARAM_REF("weight", struct vote_config, weight, .ref = "verifier",
		.help = "verifier whose score is the weight of a vote; default: all weigh the "
			"same"),
	{0},
};

static const char *const reasons[] = {
	"winner", "tie", "minority", "no_answer", "unreadable", "no_weight", NULL};

#define NO_WEIGHT ((size_t)-1)

struct vote_state {
	enum answer_kind kind;
	struct math_policy policy;
	size_t weight; /* index of the verifier, or NO_WEIGHT */
};

static bool open_vote(void *state, const void *config, struct run *run, struct error *err)
{
	const struct vote_config *c = config;
	struct vote_state *s = state;
	(void)err;
	s->kind = (enum answer_kind)c->answer;
	s->policy = c->rules == RULES_STRICT ? math_policy_strict
		: c->rules == RULES_LAX      ? math_policy_lax
					     : math_policy_default;
	s->weight = c->weight
		? (size_t)(definition_verifier(run->def, c->weight) - run->def->verifiers)
		: NO_WEIGHT;
	return true;
}

static double weight_of(const struct vote_state *s, const struct candidate *c)
{
	if (s->weight == NO_WEIGHT) {
		return 1;
	}
	const struct score *score = &c->scores[s->weight];
	bool usable = c->scored[s->weight] && score->known && !score->audit;
	return usable ? fmax(score->value, 0) : 0;
}

struct count {
	double *votes; /* by class */
	size_t n_classes, n_best; /* classes with the most */
	double best, total;
};

/* Sums are taken in the candidates' order, so equal classes of equal weights may differ in the last bits of theirs. */
static bool is_best(const struct count *c, size_t class)
{
	return c->votes[class] >= c->best * (1 - 1e-9);
}

static void count_votes(const struct vote_state *s, const struct candidate *const *candidates,
	size_t n, const size_t *class, struct arena *scratch, struct count *out)
{
	out->votes = arena_alloc_array(scratch, out->n_classes, sizeof(*out->votes));
	for (size_t i = 0; i < n; i++) {
		double weight = weight_of(s, candidates[i]);
		out->total += weight;
		if (class[i] < out -> n_classes) {
			out->votes[class[i]] += weight;
			out->best = fmax(out->best, out->votes[class[i]]);
		}
	}
	for (size_t i = 0; i < out->n_classes; i++) {
		out->n_best += is_best(out, i);
	}
}

static void score_group(const void *state, const struct candidate *const *candidates, size_t n,
	struct arena *scratch, struct score *out)
{
	const struct vote_state *s = state;
	size_t *class = arena_alloc_array(scratch, n, sizeof(*class));
	struct count c = {
		.n_classes = answer_classes(candidates, n, s->kind, &s->policy, scratch, class)};
	count_votes(s, candidates, n, class, scratch, &c);
	for (size_t i = 0; i < n; i++) {
		if (class[i] >= c.n_classes) {
			bool none = class[i] == ANSWER_NONE;
			out[i] = (struct score){
				.known = none, .reason = none ? "no_answer" : "unreadable"};
		} else if (!(c.best > 0) || !isfinite(c.total)) {
			out[i] = (struct score){.reason = "no_weight"};
		} else {
			bool best = is_best(&c, class[i]);
			out[i] = (struct score){
				.known = true,
				.value = c.votes[class[i]] / c.total,
				.reason = !best        ? "minority"
					: c.n_best > 1 ? "tie"
						       : "winner",
				.detail = arena_printf(scratch,
					"{\"class\":%zu,\"classes\":%zu,\"candidates\":%zu}",
					class[i], c.n_classes, n),
			};
		}
	}
}

const struct verifier_ops verify_vote = {
	.name = "vote",
	.summary =
		"share of the prompt's candidates that have the same answer, 0 to 1; for select, "
		"as it is known when all are there",
	.version = 1,
	.params = params,
	.config_size = sizeof(struct vote_config),
	.state_size = sizeof(struct vote_state),
	.reasons = reasons,
	.open = open_vote,
	.score_group = score_group,
};
