#include "report/tally.h"

#include "base/mem.h"
#include "ledger/ledger.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const state_names[N_STATES] = {
	"accepted", "rejected", "undecided", "failed", "pending"};

/* What is known of the candidate and the prompt under way. */
struct walk {
	struct tally *tally;
	int64_t candidate, prompt;
	enum state state;
	struct tally_rate of_prompt;
	double verdicts[TALLY_VERIFIERS_MAX]; /* NaN: none */
};

double tally_round_up(double max)
{
	static const double steps[] = {1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10};
	if (!(max > 0)) {
		return 1;
	}
	double power = pow(10, floor(log10(max)));
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		if (steps[i] * power >= max * (1 - 1e-9)) {
			return steps[i] * power;
		}
	}
	return 10 * power;
}

static enum state state_of(const char *name)
{
	for (int i = 0; i < N_STATES; i++) {
		if (strcmp(state_names[i], name) == 0) {
			return i;
		}
	}
	return STATE_PENDING;
}

/* --- picks --- */

/* splitmix64: neighbours in the ledger are strangers in the sample. */
static uint64_t hash_of(int64_t id)
{
	uint64_t x = (uint64_t)id + 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

/* list[0] has the largest hash once the list is full: a heap. */
static void sift_down(struct tally_picks *p)
{
	for (size_t i = 0, child; (child = 2 * i + 1) < p->n; i = child) {
		child += child + 1 < p->n && p->list[child + 1].hash > p->list[child].hash;
		if (p->list[i].hash >= p->list[child].hash) {
			break;
		}
		const struct tally_pick other = p->list[i];
		p->list[i] = p->list[child];
		p->list[child] = other;
	}
}

static int by_hash(const void *a, const void *b)
{
	uint64_t x = ((const struct tally_pick *)a)->hash, y = ((const struct tally_pick *)b)->hash;
	return (x > y) - (x < y);
}

static int by_hash_down(const void *a, const void *b)
{
	return by_hash(b, a);
}

static void pick(struct tally_picks *p, int64_t candidate)
{
	uint64_t hash = hash_of(candidate);
	if (p->n < p->max) {
		p->list[p->n++] = (struct tally_pick){hash, candidate};
		if (p->n == p->max) {
			qsort(p->list, p->n, sizeof(p->list[0]), by_hash_down); /* is a heap */
		}
	} else if (hash < p->list[0].hash) {
		p->list[0] = (struct tally_pick){hash, candidate};
		sift_down(p);
	}
}

static void sort_picks(struct tally_picks *p)
{
	qsort(p->list, p->n, sizeof(p->list[0]), by_hash);
}

/* --- a candidate --- */

static size_t bin_of(double value, double low, double high, size_t n)
{
	double at = (value - low) / (high - low) * (double)n;
	return at <= 0 ? 0 : MIN((size_t)at, n - 1);
}

static void add_to_stratum(struct tally *t, enum state state, const struct ledger_row *row)
{
	const char *reason = row->reason ? row->reason : "";
	struct tally_stratum *s = t->strata, *end = t->strata + t->n_strata;
	while (s < end && (s->state != state || strcmp(s->reason, reason) != 0)) {
		s++;
	}
	if (s == end && t->n_strata == TALLY_STRATA_MAX) {
		return; /* there are fewer reasons than that: schema.sql */
	}
	if (s == end) {
		t->n_strata++;
		*s = (struct tally_stratum){.state = state, .picks.max = TALLY_PICKS_MAX};
		snprintf(s->reason, sizeof(s->reason), "%s", reason);
	}
	s->n++;
	pick(&s->picks, row->candidate);
}

/* A candidate's tokens came while it was under way, not when it was stored. */
static void add_tokens(struct tally *t, bool accepted, const struct ledger_row *row)
{
	double bin_ms = (double)(t->extent.end_ms - t->extent.begin_ms) / TALLY_SPEED_BINS;
	if (!(bin_ms > 0)) {
		return;
	}
	double to = (double)(row->created_ms - t->extent.begin_ms) / bin_ms;
	double from = to - (double)MAX(row->latency_ms, 1) / bin_ms;
	double each = row->n_tokens / (to - from);
	for (double edge = floor(from); edge < to; edge++) {
		double share = fmin(edge + 1, to) - fmax(edge, from);
		size_t bin = bin_of(edge + 0.5, 0, TALLY_SPEED_BINS, TALLY_SPEED_BINS);
		t->tokens[accepted][bin] += share * each;
	}
}

static void end_prompt(struct walk *w)
{
	struct tally_rate *p = &w->of_prompt;
	if (p->n_candidates) {
		int64_t quarter = (4 * p->n_accepted + p->n_candidates - 1) / p->n_candidates;
		bool all = p->n_accepted == p->n_candidates;
		struct tally_rate *r = &w->tally->rates[all ? TALLY_RATES - 1 : quarter];
		r->n_prompts++;
		r->n_candidates += p->n_candidates;
		r->n_accepted += p->n_accepted;
	}
	*p = (struct tally_rate){0};
}

static void forget_verdicts(struct walk *w)
{
	for (size_t i = 0; i < TALLY_VERIFIERS_MAX; i++) {
		w->verdicts[i] = NAN;
	}
}

static void end_candidate(struct walk *w)
{
	struct tally *t = w->tally;
	for (size_t i = 0; i < t->n_pairs; i++) {
		struct tally_pair *p = &t->pairs[i];
		double a = w->verdicts[p->a], b = w->verdicts[p->b];
		if (!isnan(a) && !isnan(b)) {
			p->n[a >= 0.5][b >= 0.5]++;
		}
	}
	forget_verdicts(w);
}

static void begin_candidate(struct walk *w, const struct ledger_row *row)
{
	struct tally *t = w->tally;
	end_candidate(w);
	if (row->prompt != w->prompt) {
		end_prompt(w);
	}
	w->candidate = row->candidate;
	w->prompt = row->prompt;
	w->state = state_of(row->state);
	t->n[w->state]++;
	if (w->state != STATE_FAILED) {
		w->of_prompt.n_candidates++;
		w->of_prompt.n_accepted += w->state == STATE_ACCEPTED;
		t->lengths[w->state][bin_of(row->n_tokens, 0, t->length_high, TALLY_BINS)]++;
		add_tokens(t, w->state == STATE_ACCEPTED, row);
	}
	add_to_stratum(t, w->state, row);
}

/* --- a score --- */

static struct tally_reason *reason_of(struct tally_verifier *v, const char *name)
{
	char cut[sizeof(v->reasons->name)];
	snprintf(cut, sizeof(cut), "%s", name);
	for (size_t i = 0; i < v->n_reasons; i++) {
		if (strcmp(v->reasons[i].name, cut) == 0) {
			return &v->reasons[i];
		}
	}
	if (v->n_reasons == TALLY_REASONS_MAX) {
		return &v->reasons[TALLY_REASONS_MAX - 1];
	}
	v->reasons = xreallocarray(v->reasons, v->n_reasons + 1, sizeof(*v->reasons));
	struct tally_reason *r = &v->reasons[v->n_reasons++];
	*r = (struct tally_reason){.examples = xcalloc(1, sizeof(*r->examples))};
	r->examples->max = TALLY_EXAMPLES;
	snprintf(
		r->name, sizeof(r->name), "%s", v->n_reasons == TALLY_REASONS_MAX ? "others" : cut);
	return r;
}

static void add_score(struct walk *w, const struct ledger_row *row)
{
	struct tally *t = w->tally;
	size_t i = 0;
	while (i < t->n_verifiers && strcmp(t->verifiers[i].name, row->verifier) != 0) {
		i++;
	}
	if (i == t->n_verifiers) {
		return; /* came after the list was read, or above the limit */
	}
	struct tally_verifier *v = &t->verifiers[i];
	struct tally_reason *r = reason_of(v, row->score_reason);
	r->n[w->state]++;
	if (w->state == STATE_REJECTED) {
		pick(r->examples, row->candidate);
	}
	if (row->known) {
		v->n[w->state]++;
		v->bins[w->state][bin_of(row->value, v->low, v->high, TALLY_BINS)]++;
		w->verdicts[i] = row->value;
	}
}

static void visit(void *ctx, const struct ledger_row *row)
{
	struct walk *w = ctx;
	if (row->candidate != w->candidate) {
		begin_candidate(w, row);
	}
	if (row->verifier) {
		add_score(w, row);
	}
}

/* --- all --- */

static void set_verifier(struct tally_verifier *out, const struct ledger_verifier *v)
{
	bool unit = !v->n_known || (v->min >= 0 && v->max <= 1);
	*out = (struct tally_verifier){.name = v->name,
		.high = 1,
		.has_shades = v->n_between || !unit,
		.is_verdict = v->is_verdict && unit};
	if (!unit) {
		out->low = v->min;
		out->high = v->max > v->min ? v->max : v->min + 1;
	}
}

static void set_up(struct tally *t, const struct ledger_verifier *verifiers, size_t n)
{
	t->length_high = tally_round_up(t->extent.n_tokens_max);
	t->strata = xcalloc(TALLY_STRATA_MAX, sizeof(*t->strata));
	t->n_verifiers = MIN(n, TALLY_VERIFIERS_MAX);
	t->verifiers = xcalloc(MAX(t->n_verifiers, 1), sizeof(*t->verifiers));
	t->pairs = xcalloc((size_t)TALLY_VERIFIERS_MAX * TALLY_VERIFIERS_MAX, sizeof(*t->pairs));
	for (size_t i = 0; i < t->n_verifiers; i++) {
		set_verifier(&t->verifiers[i], &verifiers[i]);
		for (size_t j = 0; j < i && t->verifiers[i].is_verdict; j++) {
			if (t->verifiers[j].is_verdict) {
				t->pairs[t->n_pairs++] = (struct tally_pair){.a = j, .b = i};
			}
		}
	}
}

bool tally_read(struct tally *t, struct ledger *l, const struct ledger_verifier *verifiers,
	size_t n_verifiers, struct error *err)
{
	struct walk w = {.tally = t};
	*t = (struct tally){0};
	if (!ledger_get_extent(l, &t->extent, err)) {
		return false;
	}
	set_up(t, verifiers, n_verifiers);
	forget_verdicts(&w);
	if (!ledger_each_row(l, visit, &w, err)) {
		tally_release(t);
		return false;
	}
	end_candidate(&w);
	end_prompt(&w);
	for (size_t i = 0; i < t->n_strata; i++) {
		sort_picks(&t->strata[i].picks);
	}
	for (size_t i = 0; i < t->n_verifiers; i++) {
		for (size_t j = 0; j < t->verifiers[i].n_reasons; j++) {
			sort_picks(t->verifiers[i].reasons[j].examples);
		}
	}
	return true;
}

void tally_release(struct tally *t)
{
	for (size_t i = 0; i < t->n_verifiers; i++) {
		for (size_t j = 0; j < t->verifiers[i].n_reasons; j++) {
			free(t->verifiers[i].reasons[j].examples);
		}
		free(t->verifiers[i].reasons);
	}
	free(t->verifiers);
	free(t->pairs);
	free(t->strata);
	*t = (struct tally){0};
}
