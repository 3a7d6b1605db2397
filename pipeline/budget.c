/*
 * The end of a night costs twice: slots that are not given work any more stand idle, and work that is cancelled has spent its tokens for
 * nothing. Both follow from how long candidates are, which nobody knows beforehand, and which has a long tail. So a time to
 * stop at is the wrong question; what can be asked is what a candidate would cost that begins now:
 *
 *	at stake = P(it is not done in time) * the tokens it will have by then
 *
 * Leave is given as long as that, with the same of all that is in flight, stays below a share of the night's tokens, and the candidate is
 * more likely to be done than not. Stakes are smallest for those that begin early, so the share is spent where it fills most.
 *
 * P comes from lengths seen so far, per source, as a survival curve (Kaplan and Meier: what is still in flight counts as longer than its
 * age, or a young night would know the short ones only). Lengths are time divided by the present time of a token, so that an engine
 * that gets slower makes all that is known longer.
 */
#include "budget.h"

#include "base/mem.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STAKE_SHARE 0.011 /* of the tokens; what is at stake varies, and 0.02 shall be kept */
#define ODDS_MIN 0.5 /* of being done in time */
#define SAMPLES_MIN 12 /* lengths before they are believed */
#define PACE_KEEPS 0.97 /* of its weight, per candidate */
#define VERIFY_KEEPS 0.995
#define VERIFY_MARGIN 1.25
#define FAR 3.0 /* times the longest candidate: the end is not near */

const char *budget_reason(enum budget_answer answer)
{
	static const char *const names[] = {[BUDGET_GO] = NULL,
		[BUDGET_WAIT] = "deadline",
		[BUDGET_LATE] = "deadline",
		[BUDGET_TOKENS] = "tokens",
		[BUDGET_ENERGY] = "energy",
		[BUDGET_DRAINED] = "drain"};
	assert((size_t)answer < ARRAY_LEN(names));
	return names[answer];
}

void budget_init(struct budget *b, const struct budget_limits *limits)
{
	*b = (struct budget){.limits = *limits};
	LIST_INIT(&b->flying);
}

void budget_release(struct budget *b)
{
	for (unsigned i = 0; i < b->n_sources; i++) {
		free(b->sources[i]);
	}
	b->n_sources = 0;
}

unsigned budget_source(struct budget *b, const char *name)
{
	for (unsigned i = 0; i < b->n_sources; i++) {
		if (strcmp(b->sources[i], name) == 0) {
			return i;
		}
	}
	if (b->n_sources == BUDGET_SOURCES_MAX) {
		return BUDGET_SOURCES_MAX - 1;
	}
	b->sources[b->n_sources] = xstrdup(name);
	return b->n_sources++;
}

/* --- lengths --- */

static double edge(unsigned bin)
{
	return exp2(bin / 8.0) - 1;
}

static unsigned bin_of(double length)
{
	double bin = 8 * log2(fmax(length, 0) + 1);
	return bin < BUDGET_BINS - 1 ? (unsigned)bin : BUDGET_BINS - 1;
}

static double ms_per_token(const struct budget *b)
{
	return b->pace_tokens > 0 ? b->pace_ms / b->pace_tokens : 0;
}

static double age(const struct budget *b, const struct budget_ticket *t, int64_t now_ms)
{
	return (double)(now_ms - t->begun_ms) / ms_per_token(b);
}

/* Of the source, or of all if it has not been seen often enough. */
static struct budget_lengths *lengths_of(struct budget *b, unsigned source)
{
	struct budget_lengths *own = &b->lengths[source];
	return own->n >= SAMPLES_MIN ? own : &b->lengths[BUDGET_SOURCES_MAX];
}

/* The survival curve, at each bin's beginning; one more candidate is taken to be longer than all that were seen. */
static void draw_curve(struct budget *b, struct budget_lengths *l, int64_t now_ms)
{
	double older[BUDGET_BINS] = {0}; /* in flight, that have outlived the bin */
	bool all = l == &b->lengths[BUDGET_SOURCES_MAX];
	struct budget_ticket *t;
	LIST_FOREACH(t, &b->flying, link)
	{
		unsigned bin = bin_of(age(b, t, now_ms));
		if (bin > 0 && (all || &b->lengths[t->source] == l)) {
			older[bin - 1]++;
		}
	}
	double at_risk = 1, survivors[BUDGET_BINS];
	for (unsigned i = BUDGET_BINS; i-- > 0;) {
		at_risk += l->bins[i] + older[i];
		survivors[i] = at_risk;
	}
	l->left[0] = 1;
	for (unsigned i = 0; i < BUDGET_BINS; i++) {
		l->left[i + 1] = l->left[i] * (1 - l->bins[i] / survivors[i]);
	}
}

static double share_longer(const struct budget_lengths *l, double length)
{
	unsigned bin = bin_of(length);
	double within = (length - edge(bin)) / (edge(bin + 1) - edge(bin));
	return l->left[bin] + (l->left[bin + 1] - l->left[bin]) * fmin(fmax(within, 0), 1);
}

/* --- questions --- */

int64_t budget_flow_end(const struct budget *b)
{
	return b->limits.deadline_ms ? b->limits.deadline_ms - b->reserve_ms : INT64_MAX;
}

int64_t budget_generation_end(const struct budget *b)
{
	return b->limits.deadline_ms
		? budget_flow_end(b) - b->later_ms - (int64_t)ceil(b->verify_ms * VERIFY_MARGIN)
		: INT64_MAX;
}

static void draw_curves(struct budget *b, int64_t now_ms)
{
	draw_curve(b, &b->lengths[BUDGET_SOURCES_MAX], now_ms);
	for (unsigned i = 0; i < b->n_sources; i++) {
		draw_curve(b, &b->lengths[i], now_ms);
	}
}

/* Of all that is in flight, `left` tokens before the end. The curves are drawn. */
static double at_stake(struct budget *b, int64_t now_ms, double left)
{
	double sum = 0;
	struct budget_ticket *t;
	LIST_FOREACH(t, &b->flying, link)
	{
		const struct budget_lengths *l = lengths_of(b, t->source);
		double has = age(b, t, now_ms);
		sum += (has + left) * share_longer(l, has + left) /
			fmax(share_longer(l, has), 1e-9);
	}
	return sum;
}

static enum budget_answer ask_deadline(
	struct budget *b, int64_t now_ms, unsigned source, bool curves_drawn)
{
	int64_t left_ms = budget_generation_end(b) - now_ms;
	if (!b->limits.deadline_ms) {
		return BUDGET_GO;
	}
	if (left_ms <= 0) {
		return BUDGET_LATE;
	}
	if (b->lengths[BUDGET_SOURCES_MAX].n < SAMPLES_MIN) {
		return left_ms > (int64_t)b->limits.drain_ms ? BUDGET_GO : BUDGET_LATE;
	}
	double left = (double)left_ms / ms_per_token(b);
	if (left > FAR * b->longest) {
		return BUDGET_GO;
	}
	if (!curves_drawn) {
		draw_curves(b, now_ms);
	}
	double longer = share_longer(lengths_of(b, source), left);
	if (longer > 1 - ODDS_MIN) {
		return BUDGET_LATE;
	}
	double tokens = b->tokens + left * (b->n_flying + 1);
	return at_stake(b, now_ms, left) + left * longer + b->tokens_thrown <= STAKE_SHARE * tokens
		? BUDGET_GO
		: BUDGET_WAIT;
}

/* What is in flight is taken to become as long as the average, so that the limit is passed by little. */
static enum budget_answer ask_tokens(const struct budget *b)
{
	const struct budget_lengths *all = &b->lengths[BUDGET_SOURCES_MAX];
	double mean = all->n > 0 ? b->tokens_seen / all->n : 0;
	return b->limits.tokens && b->tokens + mean * b->n_flying >= (double)b->limits.tokens
		? BUDGET_TOKENS
		: BUDGET_GO;
}

static enum budget_answer ask(struct budget *b, int64_t now_ms, unsigned source, bool curves_drawn)
{
	if (b->limits.energy_wh > 0 && b->energy_wh >= b->limits.energy_wh) {
		return BUDGET_ENERGY;
	}
	enum budget_answer answer = ask_tokens(b);
	return answer != BUDGET_GO ? answer : ask_deadline(b, now_ms, source, curves_drawn);
}

enum budget_answer budget_ask(struct budget *b, int64_t now_ms, unsigned source)
{
	return ask(b, now_ms, source, false);
}

bool budget_has_leave(struct budget *b, int64_t now_ms)
{
	draw_curves(b, now_ms);
	for (unsigned i = 0; i < b->n_sources; i++) {
		if (ask(b, now_ms, i, ms_per_token(b) > 0) == BUDGET_GO) {
			return true;
		}
	}
	return false;
}

/* --- what happens --- */

void budget_begin(struct budget *b, struct budget_ticket *t, unsigned source, int64_t now_ms)
{
	if (t->ended) {
		return;
	}
	if (t->open) { /* sent once more */
		t->begun_ms = now_ms;
		return;
	}
	*t = (struct budget_ticket){.begun_ms = now_ms, .source = source, .open = true};
	LIST_INSERT_HEAD(&b->flying, t, link);
	b->n_flying++;
}

static void close_ticket(struct budget *b, struct budget_ticket *t)
{
	assert(t->open && b->n_flying > 0);
	LIST_REMOVE(t, link);
	t->open = false;
	t->ended = true;
	b->n_flying--;
}

void budget_end(struct budget *b, struct budget_ticket *t, int64_t now_ms, uint32_t n_tokens)
{
	if (!t->open) {
		return;
	}
	close_ticket(b, t);
	b->tokens += n_tokens;
	b->tokens_seen += n_tokens;
	double ms = fmax((double)(now_ms - t->begun_ms), 1);
	b->pace_ms = PACE_KEEPS * b->pace_ms + ms;
	b->pace_tokens = PACE_KEEPS * b->pace_tokens + fmax(n_tokens, 1);
	double length = ms / ms_per_token(b);
	b->longest = fmax(b->longest, length);
	struct budget_lengths *both[] = {&b->lengths[t->source], &b->lengths[BUDGET_SOURCES_MAX]};
	for (size_t i = 0; i < ARRAY_LEN(both); i++) {
		both[i]->n++;
		both[i]->bins[bin_of(length)]++;
	}
}

void budget_drop(struct budget *b, struct budget_ticket *t, int64_t now_ms)
{
	if (!t->open) {
		return;
	}
	close_ticket(b, t);
	b->n_thrown++;
	b->tokens_thrown += ms_per_token(b) > 0 ? age(b, t, now_ms) : 0;
}

void budget_verified(struct budget *b, int64_t ms)
{
	b->verify_ms = fmax((double)ms, VERIFY_KEEPS * b->verify_ms);
}

void budget_forget(struct budget *b, struct budget_ticket *t)
{
	if (t->open) {
		close_ticket(b, t);
	}
}

void budget_add_tokens(struct budget *b, double n)
{
	b->tokens += n;
}
