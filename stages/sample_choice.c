#include "sample_choice.h"

#include "ledger/history.h"
#include "measure.h"

#include <string.h>

static bool is_solved(const struct draw_rules *rules, const struct history_prompt *p)
{
	double low, high;
	if (!(rules->retire > 0) || !p->model_decided) {
		return false;
	}
	measured_interval((uint64_t)p->model_accepted, (uint64_t)p->model_decided, &low, &high);
	return low >= rules->retire;
}

/* Of a history that did not know models, nobody can say that the model is the same, so it is tried once. */
static bool may_retry(
	const struct draw_rules *rules, const struct history_prompt *p, const char *model_hash)
{
	return rules->retry == RETRY_MODEL_CHANGED && strcmp(p->model_hash, model_hash) != 0;
}

static enum choice choose_in_window(const struct draw_rules *rules, const struct history_prompt *p,
	bool hard, const char *model_hash)
{
	if (!p->model_decided) {
		/* Settled without a candidate: it cannot be used at all. */
		return p->settled && !p->n_candidates     ? CHOICE_SETTLED
			: rules->unknown == UNKNOWN_NEVER ? CHOICE_OUTSIDE
							  : CHOICE_UNKNOWN;
	}
	double rate = (double)p->model_accepted / (double)p->model_decided;
	if (rate >= rules->rate_min && rate <= rules->rate_max) {
		return CHOICE_DRAW;
	}
	return hard && may_retry(rules, p, model_hash) ? CHOICE_RETRY : CHOICE_OUTSIDE;
}

enum choice sample_choose(
	const struct draw_rules *rules, const struct history_prompt *p, const char *model_hash)
{
	bool hard = p->model_decided &&
		(double)p->model_accepted < rules->rate_min * (double)p->model_decided;
	if (is_solved(rules, p)) {
		return CHOICE_RETIRED;
	}
	switch ((enum draw)rules->draw) {
	case DRAW_NEW:
		return !p->settled                                ? CHOICE_DRAW
			: hard && may_retry(rules, p, model_hash) ? CHOICE_RETRY
								  : CHOICE_SETTLED;
	case DRAW_WINDOW:
		return choose_in_window(rules, p, hard, model_hash);
	case DRAW_ANY:
		break;
	}
	return CHOICE_DRAW;
}

bool sample_is_drawn(enum choice c)
{
	return c == CHOICE_DRAW || c == CHOICE_RETRY || c == CHOICE_UNKNOWN;
}

bool sample_comes_last(const struct draw_rules *rules, enum choice c)
{
	return rules->draw == DRAW_WINDOW &&
		(rules->unknown == UNKNOWN_FIRST ? c != CHOICE_UNKNOWN : c == CHOICE_UNKNOWN);
}
