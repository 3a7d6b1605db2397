/* The figures: what came through, from where, of what length and score. */
#include "report/chart.h"
#include "report/page.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SOURCES_SHOWN 40

/* --- funnel --- */

struct step {
	const char *name;
	int64_t n, before; /* `before`: what came to this step; 0: no share */
	int64_t tokens; /* -1: not counted here */
	const char *left; /* what did not get here */
};

static void put_step(struct page *p, const struct step *s, int64_t whole)
{
	html_begin(&p->h, HTML("tr"));
	page_row_name(p, s->name);
	page_cell_count(p, s->n);
	html_begin_class(&p->h, HTML("td"), HTML("bars"));
	if (whole > 0) {
		chart_share(&p->h, HTML("accepted"), (double)s->n / (double)whole, 1, 0);
	}
	html_end(&p->h);
	page_cell_n(p, s->before ? page_percent(p, (double)s->n, (double)s->before) : "");
	page_cell_n(p, s->tokens >= 0 ? page_count(p, s->tokens) : "");
	html_element(&p->h, HTML("td"), HTML("left"), s->left);
	html_end(&p->h);
}

/* "pending 12, failed 3: timeout 3", without what is 0. */
static const char *left_of_prompts(struct page *p)
{
	int64_t pending = page_int(p->summary, "prompts_pending"),
		failed = page_int(p->summary, "prompts_failed");
	const char *text = page_reasons_of(p, "prompt", "settled");
	text = text[0] ? arena_printf(&p->arena, "settled: %s", text) : "";
	if (pending) {
		text = arena_printf(&p->arena, "%s%spending %s", text, text[0] ? "; " : "",
			page_count(p, pending));
	}
	if (failed) {
		text = arena_printf(&p->arena, "%s%sfailed: %s", text, text[0] ? "; " : "",
			page_reasons_of(p, "prompt", "failed"));
	}
	return text;
}

static const char *left_of_candidates(struct page *p)
{
	static const struct {
		const char *state, *word;
	} kinds[] = {{"rejected", "rejected"}, {"undecided", "undecided"}, {"pending", "pending"}};
	const char *text = "";
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		const char *reasons = page_reasons_of(p, "candidate", kinds[i].state);
		if (reasons[0]) {
			text = arena_printf(&p->arena, "%s%s%s: %s", text, text[0] ? "; " : "",
				kinds[i].word, reasons);
		}
	}
	return text;
}

static const char *left_of_selection(struct page *p)
{
	const struct json *reasons = json_get(p->summary, "reasons");
	const char *text = "";
	for (size_t i = 0; i < json_len(reasons); i++) {
		const struct json *r = json_at(reasons, i);
		const char *what = json_z(json_get(r, "what")),
			   *outcome = json_z(json_get(r, "state"));
		if (what && outcome && strcmp(what, "selection") == 0 &&
			strcmp(outcome, "chosen") != 0) {
			text = arena_printf(&p->arena, "%s%s%s %s", text, text[0] ? ", " : "",
				outcome, page_count(p, page_int(r, "n")));
		}
	}
	return text;
}

void page_funnel(struct page *p)
{
	const struct json *s = p->summary,
			  *pack = json_get(json_get(json_get(s, "stages"), "pack"), "facts");
	int64_t n = page_int(s, "candidates"), failed = page_int(s, "failed");
	const struct step steps[] = {
		{"prompts", page_int(s, "prompts"), 0, -1, left_of_prompts(p)},
		{"candidates", n, 0, page_int(s, "tokens_generated"),
			failed ? arena_printf(&p->arena, "failed: %s",
					 page_reasons_of(p, "candidate", "failed"))
			       : ""},
		{"accepted", page_int(s, "accepted"), n, page_int(s, "tokens_accepted"),
			left_of_candidates(p)},
		{"chosen", page_int(s, "chosen"), page_int(s, "accepted"),
			page_int(s, "tokens_chosen"), left_of_selection(p)},
		{"packed", page_int(pack, "sequences"), page_int(s, "chosen"),
			page_int(pack, "loss_tokens"),
			arena_printf(&p->arena, "in %s rows%s",
				page_count(p, page_int(pack, "rows")),
				isnan(page_num(pack, "fill"))
					? ""
					: arena_printf(&p->arena, ", %.1f %% full",
						  100 * page_num(pack, "fill")))},
	};
	page_begin_section(p, HTML("funnel"), "Funnel", NULL);
	page_begin_table(p, HTML("funnel"),
		(const char *const[]){
			"step", "#number", "", "#of the step above", "#tokens", "notes", NULL});
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		if (i < 4 || pack) {
			put_step(p, &steps[i], i ? n : 0);
		}
	}
	page_end_table(p);
	page_end_section(p);
}

/* --- nights --- */

/* A night's value of a course, NaN where it is not known: numerator / denominator of the summary, or of an object in it. */
struct course {
	const char *title, *unit;
	unsigned decimals;
	double scale;
	const char *object; /* NULL: the summary itself */
	const char *over, *under; /* `under` NULL: `over` is the value */
};

/* A line of which no night knows a value is left out. */
static const struct course courses[] = {
	{"Acceptance", "\xc2\xa0%", 1, 100, NULL, "accepted", "candidates"},
	{"Yield / 1,000 tokens", "", 2, 1000, NULL, "accepted", "tokens_generated"},
	{"Chosen for training", "", 0, 1, NULL, "chosen", NULL},
	{"Tokens per second", "", 0, 1000, NULL, "tokens_generated", "generate_ms"},
	{"Tokens per accepted", "", 0, 1, NULL, "tokens_accepted", "accepted"},
	{"Energy", "\xc2\xa0Wh", 1, 1, "budget", "energy_wh_used", NULL},
	{"pass@1", "\xc2\xa0%", 1, 100, "figures", "pass_at_1", NULL},
	{"pass@k", "\xc2\xa0%", 1, 100, "figures", "pass_at_k", NULL},
	{"vote@k", "\xc2\xa0%", 1, 100, "figures", "vote_at_k", NULL},
	{"distinct-2", "\xc2\xa0%", 1, 100, "figures", "distinct_2", NULL},
	{"Duplicates", "\xc2\xa0%", 1, 100, "figures", "duplicate_share", NULL},
};

static double value_of(const struct course *c, const struct json *summary)
{
	const struct json *from = c->object ? json_get(summary, c->object) : summary;
	double v = c->scale * page_num(from, c->over);
	v = c->under ? v / page_num(from, c->under) : v;
	return isfinite(v) && v >= 0 ? v : NAN;
}

void page_nights(struct page *p)
{
	const char *names[PAGE_NIGHTS_MAX + 1];
	double values[PAGE_NIGHTS_MAX + 1];
	page_begin_section(p, HTML("nights"), "Night against night",
		p->n_nights > 1 ? arena_printf(&p->arena,
					  "%zu nights, this one filled. Every axis begins at 0.",
					  p->n_nights)
				: "The first night; from the second on, lines show the course.");
	html_begin_class(&p->h, HTML("div"), HTML("charts small"));
	for (size_t k = 0; k < ARRAY_LEN(courses) && p->n_nights > 1; k++) {
		bool any = false;
		for (size_t i = 0; i < p->n_nights; i++) {
			values[i] = value_of(&courses[k], p->nights[i].summary);
			names[i] = p->nights[i].run;
			any = any || !isnan(values[i]);
		}
		if (any) {
			chart_nights(&p->h,
				&(struct chart_nights){courses[k].title, courses[k].unit, names,
					values, p->n_nights, p->now, courses[k].decimals});
		}
	}
	html_end(&p->h);
	page_end_section(p);
}

/* --- acceptance --- */

/* Wilson's interval of 95 %. */
static void interval_of(int64_t part, int64_t whole, double *out_low, double *out_high)
{
	const double z = 1.959964, n = (double)whole, share = n > 0 ? (double)part / n : 0;
	double centre = share + z * z / (2 * n),
	       half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)), all = 1 + z * z / n;
	*out_low = n > 0 ? fmax(0, (centre - half) / all) : 1;
	*out_high = n > 0 ? fmin(1, (centre + half) / all) : 0;
}

struct source {
	const char *name;
	int64_t n_prompts, n_candidates, n_accepted, n_chosen;
};

struct sources {
	struct page *page;
	struct source *list;
	size_t n;
};

static void take_source(void *ctx, const char *name, const struct json *value)
{
	struct sources *s = ctx;
	s->list[s->n++] = (struct source){arena_strdup(&s->page->arena, name),
		page_int(value, "prompts"), page_int(value, "candidates"),
		page_int(value, "accepted"), page_int(value, "chosen")};
}

static int larger_first(const void *a, const void *b)
{
	const struct source *x = a, *y = b;
	return x->n_candidates != y->n_candidates
		? (x->n_candidates < y->n_candidates) - (x->n_candidates > y->n_candidates)
		: strcmp(x->name, y->name);
}

static void put_source(struct page *p, const struct source *s)
{
	double low, high;
	interval_of(s->n_accepted, s->n_candidates, &low, &high);
	html_begin(&p->h, HTML("tr"));
	page_row_name(p, s->name);
	page_cell_n(p, page_percent(p, (double)s->n_accepted, (double)s->n_candidates));
	html_begin_class(&p->h, HTML("td"), HTML("bars"));
	chart_share(&p->h, HTML("accepted"),
		s->n_candidates ? (double)s->n_accepted / (double)s->n_candidates : 0, low, high);
	html_end(&p->h);
	page_cell_count(p, s->n_accepted);
	page_cell_count(p, s->n_candidates);
	page_cell_count(p, s->n_prompts);
	page_cell_count(p, s->n_chosen);
	html_end(&p->h);
}

static void by_source(struct page *p)
{
	const struct json *all = json_get(p->summary, "sources");
	struct sources s = {p, arena_alloc_array(&p->arena, json_len(all), sizeof(*s.list)), 0};
	json_each(all, take_source, &s);
	qsort(s.list, s.n, sizeof(*s.list), larger_first);
	html_element(&p->h, HTML("h3"), HTML_NONE, "By source");
	page_begin_table(p, HTML("sources"),
		(const char *const[]){"source", "#rate", "", "#accepted", "#candidates", "#prompts",
			"#chosen", NULL});
	struct source rest = {.name = ""};
	for (size_t i = 0; i < s.n; i++) {
		if (i < SOURCES_SHOWN) {
			put_source(p, &s.list[i]);
			continue;
		}
		rest.n_prompts += s.list[i].n_prompts;
		rest.n_candidates += s.list[i].n_candidates;
		rest.n_accepted += s.list[i].n_accepted;
		rest.n_chosen += s.list[i].n_chosen;
	}
	if (s.n > SOURCES_SHOWN) {
		rest.name = arena_printf(&p->arena, "(%zu others)", s.n - SOURCES_SHOWN);
		put_source(p, &rest);
	}
	page_end_table(p);
}

static void by_pass_rate(struct page *p)
{
	static const char *const names[TALLY_RATES] = {"none", "up to 25\xc2\xa0%",
		"up to 50\xc2\xa0%", "up to 75\xc2\xa0%", "above 75\xc2\xa0%", "all"};
	int64_t n_prompts = 0, n_accepted = 0;
	for (size_t i = 0; i < TALLY_RATES; i++) {
		n_prompts += p->tally.rates[i].n_prompts;
		n_accepted += p->tally.rates[i].n_accepted;
	}
	html_element(&p->h, HTML("h3"), HTML_NONE, "By pass rate of the prompt");
	page_begin_table(p, HTML("rates"),
		(const char *const[]){"accepted of its candidates", "#prompts", "#share", "",
			"#candidates", "#accepted", "#share of all accepted", NULL});
	for (size_t i = 0; i < TALLY_RATES; i++) {
		const struct tally_rate *r = &p->tally.rates[i];
		html_begin(&p->h, HTML("tr"));
		page_row_name(p, names[i]);
		page_cell_count(p, r->n_prompts);
		page_cell_n(p, page_percent(p, (double)r->n_prompts, (double)n_prompts));
		html_begin_class(&p->h, HTML("td"), HTML("bars"));
		chart_share(&p->h, i ? HTML("accepted") : HTML("rejected"),
			n_prompts ? (double)r->n_prompts / (double)n_prompts : 0, 1, 0);
		html_end(&p->h);
		page_cell_count(p, r->n_candidates);
		page_cell_count(p, r->n_accepted);
		page_cell_n(p, page_percent(p, (double)r->n_accepted, (double)n_accepted));
		html_end(&p->h);
	}
	page_end_table(p);
}

void page_acceptance(struct page *p)
{
	page_begin_section(p, HTML("acceptance"), "Acceptance",
		"A thin line marks the 95 % interval. Prompts of which none or all candidates are "
		"accepted teach least.");
	by_source(p);
	by_pass_rate(p);
	page_end_section(p);
}

/* --- lengths and scores --- */

static void put_key(struct page *p)
{
	html_begin_class(&p->h, HTML("p"), HTML("key"));
	for (int i = 0; i < N_STATES; i++) {
		if (i != STATE_FAILED && p->tally.n[i]) {
			html_begin_class(&p->h, HTML("span"), page_state_class(i));
			html_text_z(&p->h, state_names[i]);
			html_end(&p->h);
		}
	}
	html_end(&p->h);
}

/* Series of the states that have anything; returns how many. */
static size_t series_of(int64_t bins[N_STATES][TALLY_BINS], double values[N_STATES][TALLY_BINS],
	struct chart_series out[N_STATES])
{
	size_t n = 0;
	for (int i = 0; i < N_STATES; i++) {
		int64_t sum = 0;
		for (size_t b = 0; b < TALLY_BINS; b++) {
			sum += bins[i][b];
			values[i][b] = (double)bins[i][b];
		}
		if (sum) {
			out[n++] = (struct chart_series){
				state_names[i], page_state_class(i), values[i]};
		}
	}
	return n;
}

static int64_t known_of(const struct tally_verifier *v)
{
	int64_t n = 0;
	for (int i = 0; i < N_STATES; i++) {
		n += v->n[i];
	}
	return n;
}

void page_lengths_and_scores(struct page *p)
{
	double values[N_STATES][TALLY_BINS];
	struct chart_series series[N_STATES];
	struct tally *t = &p->tally;
	page_begin_section(p, HTML("scores"), "Lengths and scores", NULL);
	put_key(p);
	html_begin_class(&p->h, HTML("div"), HTML("charts"));
	size_t n = series_of(t->lengths, values, series);
	chart_histogram(&p->h,
		&(struct chart_histogram){.title = "Length",
			.x_name = "tokens of the candidate",
			.y_name = "candidates",
			.high = t->length_high,
			.n_bins = TALLY_BINS,
			.series = series,
			.n_series = n});
	for (size_t i = 0; i < t->n_verifiers; i++) {
		struct tally_verifier *v = &t->verifiers[i];
		if (v->has_shades && known_of(v)) {
			n = series_of(v->bins, values, series);
			chart_histogram(&p->h,
				&(struct chart_histogram){.title = v->name,
					.x_name = "score",
					.y_name = "candidates",
					.low = v->low,
					.high = v->high,
					.n_bins = TALLY_BINS,
					.series = series,
					.n_series = n});
		}
	}
	html_end(&p->h);
	page_end_section(p);
}
