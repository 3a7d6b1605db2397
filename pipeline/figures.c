/*
 * Two passes. The first walks all candidates by id, so that a prompt's come together, and keeps counts alone: how many prompts
 * have c of n right, how many candidates have so many tokens. The second reads the ids of at most SAMPLE prompts, spread evenly
 * over the night, as reading all texts of a night would take as long as verifying them.
 *
 * pass@k and vote@k rest on each prompt's first wave. Further waves are made because of what came before: a prompt that stops
 * at its first right candidate has a share of right ones that is too high, and one that is asked for more is among the hard
 * ones. The first wave is asked for whatever comes, so its estimate is unbiased. k is the size of most first waves.
 */
#include "figures.h"

#include "base/hash.h"
#include "base/mem.h"
#include "definition.h"
#include "group.h"
#include "ledger/ledger.h"
#include "summary.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLE 2048
#define GRAMS_MAX 3
#define TOKENS_COUNTED (1u << 20) /* a candidate that is longer counts as that long */

const struct figure_row figure_rows[FIGURE_N] = {
	[FIGURE_PROMPTS] = {"prompts", "prompts drawn"},
	[FIGURE_CANDIDATES] = {"candidates", "candidates, without failed ones"},
	[FIGURE_ACCEPTED] = {"accepted", "candidates accepted"},
	[FIGURE_REJECTED] = {"rejected", "candidates rejected"},
	[FIGURE_UNDECIDED] = {"undecided", "candidates of which accept could not tell"},
	[FIGURE_FAILED] = {"failed", "candidates that failed"},
	[FIGURE_CHOSEN] = {"chosen", "candidates chosen"},
	[FIGURE_REPEATS] = {"repeats", "candidates left out as they had been chosen before"},
	[FIGURE_TOKENS] = {"tokens", "tokens generated"},
	[FIGURE_ACCEPTANCE] = {"acceptance", "accepted / candidates"},
	[FIGURE_K] = {"k", "the k of pass_at_k and vote_at_k: the size of most first waves"},
	[FIGURE_PASS_PROMPTS] = {"pass_prompts",
		"prompts with k decided candidates or more in their first wave"},
	[FIGURE_PASS_AT_1] = {"pass_at_1", "mean share of a first wave that is accepted"},
	[FIGURE_PASS_AT_K] = {"pass_at_k",
		"probability that one of k is accepted, 1 - C(n-c,k)/C(n,k), mean"},
	[FIGURE_VOTE_AT_K] = {"vote_at_k",
		"share of first waves of k whose most frequent answer is an accepted one's"},
	[FIGURE_TOKENS_PER_S] = {"tokens_per_s", "generated tokens a second of generating"},
	[FIGURE_ACCEPTED_PER_MTOK] = {"accepted_per_mtok", "accepted a million generated tokens"},
	[FIGURE_LENGTH_MEDIAN] = {"length_median", "tokens of a candidate, median"},
	[FIGURE_LENGTH_P90] = {"length_p90", "tokens of a candidate, 90th percentile"},
	[FIGURE_ACCEPTED_LENGTH_MEDIAN] = {"accepted_length_median",
		"tokens of an accepted candidate, median"},
	[FIGURE_ACCEPTED_LENGTH_P90] = {"accepted_length_p90",
		"tokens of an accepted candidate, 90th percentile"},
	[FIGURE_DISTINCT_1] = {"distinct_1",
		"share of different tokens in a prompt's first wave, mean"},
	[FIGURE_DISTINCT_2] = {"distinct_2", "the same of pairs of tokens"},
	[FIGURE_DISTINCT_3] = {"distinct_3", "the same of three tokens"},
	[FIGURE_DUPLICATE_SHARE] = {"duplicate_share",
		"share of a first wave that has the very tokens of another of its candidates"},
};

/* --- lengths --- */

struct lengths {
	uint32_t *counts; /* owns; by tokens */
	size_t cap;
	uint64_t n;
};

static void add_length(struct lengths *l, uint32_t n_tokens)
{
	size_t at = MIN(n_tokens, TOKENS_COUNTED);
	if (at >= l->cap) {
		size_t cap = MAX(at + 1, l->cap * 2);
		l->counts = xreallocarray(l->counts, cap, sizeof(*l->counts));
		memset(l->counts + l->cap, 0, (cap - l->cap) * sizeof(*l->counts));
		l->cap = cap;
	}
	l->counts[at]++;
	l->n++;
}

/* The smallest length that at least this share of all does not exceed. */
static double quantile(const struct lengths *l, double share)
{
	uint64_t wanted = (uint64_t)ceil(share * (double)l->n), below = 0;
	for (size_t i = 0; i < l->cap && l->n; i++) {
		below += l->counts[i];
		if (below >= wanted) {
			return (double)i;
		}
	}
	return NAN;
}

/* --- the first pass --- */

struct answer {
	uint64_t key;
	bool accepted;
};

/* Prompts whose first wave has n decided candidates. */
struct of_size {
	uint32_t *
		by_accepted; /* owns; n + 1, how many have so many accepted; NULL: there are none */
	uint32_t n_prompts;
	double votes; /* won by an accepted answer; a tie is won in part */
};

struct pass {
	struct lengths all, accepted;
	struct of_size *sizes; /* owns; CANDIDATES_MAX + 1 */
	bool any_answer;
	/* The prompt that is being walked. */
	int64_t prompt;
	uint32_t n_first, n_decided, n_accepted, n_answers;
	struct answer *answers; /* owns; CANDIDATES_MAX */
	/* Prompts for the second pass: of those with two candidates or more in their first wave every step-th. */
	int64_t sample[SAMPLE];
	size_t n_sample;
	uint64_t step, n_seen;
};

static int by_key(const void *a, const void *b)
{
	const struct answer *x = a, *y = b;
	return (x->key > y->key) - (x->key < y->key);
}

/* The share of the most frequent answers that are accepted: a tie is broken by chance. */
static double vote(struct answer *answers, uint32_t n)
{
	uint32_t best = 0, n_best = 0, n_right = 0;
	qsort(answers, n, sizeof(*answers), by_key);
	for (uint32_t i = 0, j; i < n; i = j) {
		bool right = false;
		for (j = i; j < n && answers[j].key == answers[i].key; j++) {
			right = right || answers[j].accepted;
		}
		if (j - i > best) {
			best = j - i;
			n_best = n_right = 0;
		}
		if (j - i == best) {
			n_best++;
			n_right += right;
		}
	}
	return n_best ? (double)n_right / (double)n_best : 0;
}

/* Half of them go when there is no room, so that those which stay are still every step-th. */
static void sample_prompt(struct pass *p)
{
	if (p->n_seen++ % p->step) {
		return;
	}
	if (p->n_sample == SAMPLE) {
		for (size_t i = 0; i < SAMPLE / 2; i++) {
			p->sample[i] = p->sample[2 * i];
		}
		p->n_sample = SAMPLE / 2;
		p->step *= 2;
	}
	p->sample[p->n_sample++] = p->prompt;
}

static void end_prompt(struct pass *p)
{
	if (p->n_decided) {
		struct of_size *s = &p->sizes[p->n_decided];
		if (!s->by_accepted) {
			s->by_accepted = xcalloc(p->n_decided + 1, sizeof(*s->by_accepted));
		}
		s->by_accepted[p->n_accepted]++;
		s->n_prompts++;
		s->votes += vote(p->answers, p->n_answers);
	}
	if (p->n_first > 1) {
		sample_prompt(p);
	}
	p->n_first = p->n_decided = p->n_accepted = p->n_answers = 0;
}

static void take(void *ctx, const struct ledger_attempt *a)
{
	struct pass *p = ctx;
	add_length(&p->all, a->n_tokens);
	if (a->accepted) {
		add_length(&p->accepted, a->n_tokens);
	}
	if (a->prompt != p->prompt) {
		end_prompt(p);
		p->prompt = a->prompt;
	}
	if (a->wave) {
		return;
	}
	p->n_first++;
	p->n_decided += a->decided;
	p->n_accepted += a->accepted;
	assert(p->n_first <= CANDIDATES_MAX);
	if (a->decided && a->answered) {
		p->any_answer = true;
		p->answers[p->n_answers++] = (struct answer){a->answer, a->accepted};
	}
}

double figures_pass_at(uint32_t n, uint32_t c, uint32_t k)
{
	double none = 1;
	assert(k <= n && c <= n);
	/* C(n-c, k) / C(n, k) as a product, whose factors stay below 1. */
	for (uint32_t i = 0; i < k && none > 0; i++) {
		none *= n - c > i ? (double)(n - c - i) / (double)(n - i) : 0;
	}
	return 1 - none;
}

static uint32_t most_frequent_size(const struct pass *p)
{
	uint32_t k = 0;
	for (uint32_t n = 1; n <= CANDIDATES_MAX; n++) {
		if (p->sizes[n].n_prompts && p->sizes[n].n_prompts >= p->sizes[k].n_prompts) {
			k = n;
		}
	}
	return k;
}

static void rate_passes(const struct pass *p, struct figures *out)
{
	uint32_t k = most_frequent_size(p);
	double of_1 = 0, of_k = 0, n_1 = 0, n_k = 0;
	if (!k) {
		return;
	}
	for (uint32_t n = 1; n <= CANDIDATES_MAX; n++) {
		for (uint32_t c = 0; p->sizes[n].by_accepted && c <= n; c++) {
			double prompts = p->sizes[n].by_accepted[c];
			n_1 += prompts;
			of_1 += prompts * figures_pass_at(n, c, 1);
			n_k += n >= k ? prompts : 0;
			of_k += n >= k ? prompts * figures_pass_at(n, c, k) : 0;
		}
	}
	out->values[FIGURE_K] = k;
	out->values[FIGURE_PASS_PROMPTS] = n_k;
	out->values[FIGURE_PASS_AT_1] = of_1 / n_1;
	out->values[FIGURE_PASS_AT_K] = of_k / n_k;
	if (p->any_answer) {
		out->values[FIGURE_VOTE_AT_K] = p->sizes[k].votes / p->sizes[k].n_prompts;
	}
}

static void pass_release(struct pass *p)
{
	for (size_t n = 0; n <= CANDIDATES_MAX; n++) {
		free(p->sizes[n].by_accepted);
	}
	free(p->sizes);
	free(p->answers);
	free(p->all.counts);
	free(p->accepted.counts);
}

/* A verifier of groups if one tells answers, since that is what it is for; else the first that does. */
static const char *find_voter(struct ledger *l, const struct definition *def)
{
	for (int single = 0; single <= 1; single++) {
		for (size_t i = 0; i < def->n_verifiers; i++) {
			const struct verifier_def *v = &def->verifiers[i];
			if (verifier_is_of_group(v) != single && ledger_tells_answers(l, v->name)) {
				return v->name;
			}
		}
	}
	return NULL;
}

/* --- the second pass --- */

/* A set of hashes that is emptied by forgetting: a slot counts only if its mark is the present one. */
struct set {
	uint64_t *keys; /* own; cap, a power of two */
	uint32_t *marks;
	size_t cap;
	uint32_t mark;
};

static void set_empty(struct set *s, size_t n)
{
	if (s->cap < 2 * n || s->mark == UINT32_MAX) {
		while (s->cap < 2 * n) {
			s->cap = s->cap ? 2 * s->cap : 1024;
		}
		free(s->keys);
		free(s->marks);
		s->keys = xcalloc(s->cap, sizeof(*s->keys));
		s->marks = xcalloc(s->cap, sizeof(*s->marks));
		s->mark = 0;
	}
	s->mark++;
}

/* True if it was not there. */
static bool set_add(struct set *s, uint64_t key)
{
	size_t at = key & (s->cap - 1);
	while (s->marks[at] == s->mark) {
		if (s->keys[at] == key) {
			return false;
		}
		at = (at + 1) & (s->cap - 1);
	}
	s->keys[at] = key;
	s->marks[at] = s->mark;
	return true;
}

struct diversity {
	struct set set;
	double shares[GRAMS_MAX]; /* sums over prompts */
	uint64_t n_prompts[GRAMS_MAX];
	uint64_t n_candidates, n_duplicates;
};

static void count_grams(
	struct diversity *d, const struct ledger_candidate *list, size_t n, uint32_t length)
{
	size_t total = 0, different = 0;
	for (size_t i = 0; i < n; i++) {
		total += list[i].wave == 0 && list[i].n_ids >= length ? list[i].n_ids : 0;
	}
	set_empty(&d->set, total);
	total = 0;
	for (size_t i = 0; i < n; i++) {
		const struct ledger_candidate *c = &list[i];
		for (size_t at = 0; c->wave == 0 && at + length <= c->n_ids; at++) {
			total++;
			different += set_add(
				&d->set, hash64(c->ids + at, length * sizeof(*c->ids), 0));
		}
	}
	if (total) {
		d->shares[length - 1] += (double)different / (double)total;
		d->n_prompts[length - 1]++;
	}
}

static void count_duplicates(struct diversity *d, const struct ledger_candidate *list, size_t n)
{
	set_empty(&d->set, n);
	for (size_t i = 0; i < n; i++) {
		const struct ledger_candidate *c = &list[i];
		if (c->wave == 0 && c->n_ids) {
			d->n_candidates++;
			d->n_duplicates += !set_add(
				&d->set, hash64(c->ids, c->n_ids * sizeof(*c->ids), 0));
		}
	}
}

static bool read_diversity(
	struct ledger *l, const struct pass *p, struct figures *out, struct error *err)
{
	struct diversity d = {0};
	struct arena arena = {0};
	bool ok = true;
	for (size_t i = 0; ok && i < p->n_sample; i++) {
		struct ledger_candidate *list;
		size_t n;
		arena_reset(&arena);
		ok = ledger_get_candidates(l, p->sample[i], &arena, &list, &n, err);
		for (uint32_t length = 1; ok && length <= GRAMS_MAX; length++) {
			count_grams(&d, list, n, length);
		}
		if (ok) {
			count_duplicates(&d, list, n);
		}
	}
	for (int i = 0; i < GRAMS_MAX; i++) {
		out->values[FIGURE_DISTINCT_1 + i] = d.shares[i] / (double)d.n_prompts[i];
	}
	out->values[FIGURE_DUPLICATE_SHARE] = (double)d.n_duplicates / (double)d.n_candidates;
	arena_release(&arena);
	free(d.set.keys);
	free(d.set.marks);
	return ok;
}

/* --- all together --- */

void figures_clear(struct figures *f)
{
	for (size_t i = 0; i < FIGURE_N; i++) {
		f->values[i] = NAN;
	}
}

/* What follows from the books; 0 / 0 is NaN. */
static void rate_books(const struct summary_facts *f, struct figures *out)
{
	const double seconds = (double)f->flow_ms / 1000, tokens = (double)f->tokens_generated;
	double *v = out->values;
	v[FIGURE_PROMPTS] = (double)f->n_prompts;
	v[FIGURE_CANDIDATES] = (double)f->n_candidates;
	v[FIGURE_ACCEPTED] = (double)f->n_accepted;
	v[FIGURE_REJECTED] = (double)f->n_rejected;
	v[FIGURE_UNDECIDED] = (double)f->n_undecided;
	v[FIGURE_FAILED] = (double)f->n_failed;
	v[FIGURE_CHOSEN] = (double)f->n_chosen;
	v[FIGURE_TOKENS] = tokens;
	v[FIGURE_ACCEPTANCE] = (double)f->n_accepted / (double)f->n_candidates;
	v[FIGURE_TOKENS_PER_S] = seconds > 0 ? tokens / seconds : NAN;
	v[FIGURE_ACCEPTED_PER_MTOK] = 1e6 * (double)f->n_accepted / tokens;
}

bool figures_read(
	struct ledger *l, const struct definition *def, struct figures *out, struct error *err)
{
	struct summary_facts facts;
	figures_clear(out);
	if (!summary_read(l, &facts, err)) {
		return false;
	}
	rate_books(&facts, out);
	out->values[FIGURE_REPEATS] = (double)facts.n_repeats;
	struct pass *p = xcalloc(1, sizeof(*p));
	p->sizes = xcalloc(CANDIDATES_MAX + 1, sizeof(*p->sizes));
	p->answers = xcalloc(CANDIDATES_MAX, sizeof(*p->answers));
	p->step = 1;
	bool ok = ledger_each_attempt(l, find_voter(l, def), take, p, err);
	if (ok) {
		end_prompt(p);
		rate_passes(p, out);
		out->values[FIGURE_LENGTH_MEDIAN] = quantile(&p->all, 0.5);
		out->values[FIGURE_LENGTH_P90] = quantile(&p->all, 0.9);
		out->values[FIGURE_ACCEPTED_LENGTH_MEDIAN] = quantile(&p->accepted, 0.5);
		out->values[FIGURE_ACCEPTED_LENGTH_P90] = quantile(&p->accepted, 0.9);
		ok = read_diversity(l, p, out, err);
	}
	pass_release(p);
	free(p);
	return ok;
}

/* --- JSON --- */

#define COUNT_MAX 9e15 /* a double holds every integer below */

static bool is_count(enum figure i)
{
	return i <= FIGURE_TOKENS || i == FIGURE_K || i == FIGURE_PASS_PROMPTS;
}

void figures_put(struct json_writer *w, const struct figures *f)
{
	json_begin_object(w);
	for (size_t i = 0; i < FIGURE_N; i++) {
		json_key(w, figure_rows[i].name);
		if (is_count(i) && f->values[i] >= 0 && f->values[i] <= COUNT_MAX) {
			json_put_int(w, (int64_t)f->values[i]);
		} else {
			json_put_num(w, f->values[i]);
		}
	}
	json_end_object(w);
}

static int64_t int_of(const struct json *object, const char *key)
{
	int64_t n = 0;
	return json_int(json_get(object, key), &n) ? n : 0;
}

void figures_of_summary(const struct json *summary, struct figures *out)
{
	const struct json *figures = json_get(summary, "figures");
	figures_clear(out);
	if (!figures) {
		const struct summary_facts f = {.n_prompts = int_of(summary, "prompts"),
			.n_candidates = int_of(summary, "candidates"),
			.n_accepted = int_of(summary, "accepted"),
			.n_rejected = int_of(summary, "rejected"),
			.n_undecided = int_of(summary, "undecided"),
			.n_failed = int_of(summary, "failed"),
			.n_chosen = int_of(summary, "chosen"),
			.tokens_generated = int_of(summary, "tokens_generated"),
			.flow_ms = int_of(summary, "generate_ms")};
		rate_books(&f, out);
		return;
	}
	for (size_t i = 0; i < FIGURE_N; i++) {
		double value;
		/* None is negative, or counts more than there can be. */
		if (json_num(json_get(figures, figure_rows[i].name), &value) && value >= 0 &&
			value <= COUNT_MAX) {
			out->values[i] = value;
		}
	}
}
