/* How the night worked: its speed, its verifiers, what it used, what it was made with. */
#include "base/clock.h"
#include "report/chart.h"
#include "report/page.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define ENDPOINTS_SHOWN 32
#define REASONS_SHOWN 6
#define VALUE_BYTES_MAX 400
#define SETTINGS_SHOWN 500

/* --- speed --- */

static double bin_ms(const struct ledger_extent *e)
{
	return (double)(e->end_ms - e->begin_ms) / TALLY_SPEED_BINS;
}

/* "02:14:05" of a moment. */
static void clock_text(int64_t wall_ms, bool seconds, char out[16])
{
	char stamp[40];
	clock_stamp(wall_ms, stamp);
	snprintf(out, 16, "%.*s", seconds ? 8 : 5, stamp + 11);
}

static void name_moment(void *ctx, size_t bin, char out[64])
{
	const struct ledger_extent *e = ctx;
	char from[16], to[16];
	clock_text(e->begin_ms + (int64_t)(bin_ms(e) * (double)bin), true, from);
	clock_text(e->begin_ms + (int64_t)(bin_ms(e) * (double)(bin + 1)), true, to);
	snprintf(out, 64, "%s to %s", from, to);
}

/* Round times of the clock, about 4 of them. */
static size_t clock_ticks(const struct ledger_extent *e, struct chart_tick out[CHART_TICKS_MAX])
{
	static const int64_t steps_s[] = {
		1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 21600, 43200, 86400};
	int64_t wanted = (e->end_ms - e->begin_ms) / 4000;
	size_t i = 0, n = 0;
	while (i + 1 < ARRAY_LEN(steps_s) && steps_s[i] < wanted) {
		i++;
	}
	int64_t step = 1000 * MAX(steps_s[i], wanted / 86400 * 86400);
	for (int64_t at = (e->begin_ms + step - 1) / step * step; at <= e->end_ms; at += step) {
		if (n < CHART_TICKS_MAX) {
			out[n].at = (double)(at - e->begin_ms) / bin_ms(e);
			clock_text(at, step < 60000, out[n++].label);
		}
	}
	return n;
}

static void put_speed(struct page *p)
{
	struct tally *t = &p->tally;
	double others[TALLY_SPEED_BINS], accepted[TALLY_SPEED_BINS];
	struct chart_tick ticks[CHART_TICKS_MAX];
	for (size_t i = 0; i < TALLY_SPEED_BINS; i++) {
		accepted[i] = 1000 * t->tokens[true][i] / bin_ms(&t->extent);
		others[i] = 1000 * t->tokens[false][i] / bin_ms(&t->extent);
	}
	const struct chart_series series[] = {
		{"tokens/s of accepted candidates", HTML("accepted"), accepted},
		{"tokens/s of the others", HTML("rejected"), others}};
	chart_histogram(&p->h,
		&(struct chart_histogram){.title = "Tokens per second",
			.note = "of accepted candidates in colour, of the others in grey",
			.x_name = "local time",
			.y_name = "tokens/s",
			.high = TALLY_SPEED_BINS,
			.n_bins = TALLY_SPEED_BINS,
			.series = series,
			.n_series = ARRAY_LEN(series),
			.ticks = ticks,
			.n_ticks = clock_ticks(&t->extent, ticks),
			.name_bin = name_moment,
			.ctx = &t->extent});
}

struct stage_times {
	struct page *page;
	double ms; /* of all */
};

static void add_stage(void *ctx, const char *name, const struct json *stage)
{
	(void)name;
	((struct stage_times *)ctx)->ms += (double)page_int(stage, "ms");
}

static void put_stage(void *ctx, const char *name, const struct json *stage)
{
	struct stage_times *t = ctx;
	struct page *p = t->page;
	bool done = false;
	(void)json_bool(json_get(stage, "done"), &done);
	int64_t ms = page_int(stage, "ms");
	html_begin(&p->h, HTML("tr"));
	page_row_name(p, name);
	page_cell_n(p, page_duration(p, ms));
	html_begin_class(&p->h, HTML("td"), HTML("bars"));
	chart_share(&p->h, HTML("time"), t->ms > 0 ? (double)ms / t->ms : 0, 1, 0);
	html_end(&p->h);
	page_cell(p, done ? "" : "not done");
	html_end(&p->h);
}

static void put_stages(struct page *p)
{
	struct stage_times t = {p, 0};
	const struct json *stages = json_get(p->summary, "stages");
	if (!json_len(stages)) {
		return;
	}
	html_element(&p->h, HTML("h3"), HTML_NONE, "Time of the stages");
	json_each(stages, add_stage, &t);
	page_begin_table(p, HTML("stages"), (const char *const[]){"stage", "#time", "", "", NULL});
	json_each(stages, put_stage, &t);
	page_end_table(p);
	html_element(&p->h, HTML("p"), HTML("lead"),
		"Stages that work at the same time share one time, which stands at the first.");
}

/* An address without the name and password that it may hold: the page may go further than a terminal. */
static const char *bare_url(struct page *p, const char *url)
{
	const char *host = strstr(url, "://"), *at;
	if (!host) {
		return url;
	}
	host += 3;
	at = strchr(host, '@');
	return at && strcspn(host, "/?#") > (size_t)(at - host)
		? arena_printf(&p->arena, "%.*s%s", (int)(host - url), url, at + 1)
		: url;
}

static void put_endpoint(struct page *p, const char *engine, const struct json *e)
{
	const char *url = json_z(json_get(e, "url"));
	double tokens = page_num(e, "tokens"), busy_ms = page_num(e, "busy_ms");
	html_begin(&p->h, HTML("tr"));
	page_row_name(p, engine);
	page_cell(p, url ? bare_url(p, url) : "?");
	page_cell_count(p, page_int(e, "requests"));
	page_cell_count(p, page_int(e, "tokens"));
	page_cell_n(p,
		busy_ms > 0 ? page_count(p, (int64_t)(1000 * tokens / busy_ms)) : "\xe2\x80\x93");
	page_cell_count(p, page_int(e, "errors"));
	page_cell_n(p, page_duration(p, page_int(e, "down_ms")));
	html_end(&p->h);
}

static void put_engine(void *ctx, const char *name, const struct json *engine)
{
	struct page *p = ctx;
	const struct json *list = json_get(engine, "endpoints");
	for (size_t i = 0; i < MIN(json_len(list), ENDPOINTS_SHOWN); i++) {
		put_endpoint(p, name, json_at(list, i));
	}
}

void page_speed(struct page *p)
{
	const struct json *engines = json_get(p->summary, "engines");
	page_begin_section(p, HTML("speed"), "Speed",
		"A candidate's tokens are spread over the time from its request to its answer.");
	if (p->tally.extent.end_ms > p->tally.extent.begin_ms) {
		put_speed(p);
	}
	put_stages(p);
	if (json_len(engines)) {
		html_element(&p->h, HTML("h3"), HTML_NONE, "Endpoints");
		page_begin_table(p, HTML("endpoints"),
			(const char *const[]){"engine", "endpoint", "#requests", "#tokens",
				"#tokens/s", "#errors", "#down", NULL});
		json_each(engines, put_engine, p);
		page_end_table(p);
	}
	page_end_section(p);
}

/* --- verifiers --- */

static int64_t all_of(const int64_t n[N_STATES])
{
	int64_t sum = 0;
	for (int i = 0; i < N_STATES; i++) {
		sum += n[i];
	}
	return sum;
}

/* "different 146, equal 44", in the order of their first use. */
static const char *reasons_text(struct page *p, const struct tally_verifier *v)
{
	const char *text = "";
	for (size_t i = 0; i < MIN(v->n_reasons, REASONS_SHOWN); i++) {
		text = arena_printf(&p->arena, "%s%s%s %s", text, text[0] ? ", " : "",
			v->reasons[i].name, page_count(p, all_of(v->reasons[i].n)));
	}
	return v->n_reasons > REASONS_SHOWN ? arena_printf(&p->arena, "%s, \xe2\x80\xa6", text)
					    : text;
}

static void cell_num(struct page *p, double v)
{
	page_cell_n(p, isnan(v) ? "\xe2\x80\x93" : arena_printf(&p->arena, "%.3f", v));
}

static void put_verifier(struct page *p, const struct tally_verifier *v, bool labelled)
{
	const struct json *s = json_get(json_get(p->summary, "verifiers"), v->name);
	const struct json *against = json_get(s, "against");
	int64_t n = page_int(s, "n"), known = page_int(s, "known");
	html_begin(&p->h, HTML("tr"));
	page_row_name(p, v->name);
	page_cell_count(p, n);
	page_cell_count(p, n - known);
	cell_num(p, page_num(s, "mean"));
	html_element(&p->h, HTML("td"), HTML("left"), reasons_text(p, v));
	page_cell_n(p, page_duration(p, (int64_t)fmax(page_num(s, "ms"), 0)));
	page_cell_count(p, page_int(s, "tokens"));
	if (labelled) {
		cell_num(p, page_num(against, "precision"));
		cell_num(p, page_num(against, "recall"));
		cell_num(p, page_num(against, "auc"));
	}
	html_end(&p->h);
}

static bool has_label(const struct page *p)
{
	const struct json *all = json_get(p->summary, "verifiers");
	for (size_t i = 0; i < p->tally.n_verifiers; i++) {
		if (json_get(json_get(all, p->tally.verifiers[i].name), "against")) {
			return true;
		}
	}
	return false;
}

/* Agreement beyond what two strangers with these shares of yes would reach: 1 always, 0 none; NaN if there is but one answer. */
static double kappa_of(const struct tally_pair *pair)
{
	double yy = (double)pair->n[1][1], yn = (double)pair->n[1][0], ny = (double)pair->n[0][1],
	       nn = (double)pair->n[0][0], all = yy + yn + ny + nn;
	double chance = ((yy + yn) * (yy + ny) + (ny + nn) * (yn + nn)) / (all * all);
	return all > 0 && chance < 1 ? ((yy + nn) / all - chance) / (1 - chance) : NAN;
}

static void put_pair(struct page *p, const struct tally_pair *pair)
{
	const char *a = p->tally.verifiers[pair->a].name, *b = p->tally.verifiers[pair->b].name;
	int64_t same = pair->n[0][0] + pair->n[1][1], all = same + pair->n[0][1] + pair->n[1][0];
	if (!all) {
		return;
	}
	html_begin(&p->h, HTML("tr"));
	page_row_name(p, arena_printf(&p->arena, "%s, %s", a, b));
	page_cell_count(p, all);
	page_cell_n(p, page_percent(p, (double)same, (double)all));
	html_begin_class(&p->h, HTML("td"), HTML("bars"));
	const struct chart_part parts[] = {{(double)pair->n[1][1], HTML("accepted")},
		{(double)pair->n[1][0], HTML("undecided")}, {(double)pair->n[0][1], HTML("failed")},
		{(double)pair->n[0][0], HTML("rejected")}};
	chart_parts(&p->h, parts, ARRAY_LEN(parts), (double)all);
	html_end(&p->h);
	page_cell_count(p, pair->n[1][1]);
	page_cell_count(p, pair->n[1][0]);
	page_cell_count(p, pair->n[0][1]);
	page_cell_count(p, pair->n[0][0]);
	double kappa = kappa_of(pair);
	page_cell_n(p, isnan(kappa) ? "\xe2\x80\x93" : arena_printf(&p->arena, "%.2f", kappa));
	html_end(&p->h);
}

void page_verifiers(struct page *p)
{
	bool labelled = has_label(p);
	page_begin_section(p, HTML("verifiers"), "Verifiers", NULL);
	page_begin_table(p, HTML("verifiers"),
		(const char *const[]){"verifier", "#scored", "#could not tell", "#mean", "found",
			"#time", "#tokens", labelled ? "#precision" : NULL, "#recall", "#AUC",
			NULL});
	for (size_t i = 0; i < p->tally.n_verifiers; i++) {
		put_verifier(p, &p->tally.verifiers[i], labelled);
	}
	page_end_table(p);
	html_element(&p->h, HTML("h3"), HTML_NONE, "Agreement of verdicts");
	if (p->tally.n_pairs) {
		page_begin_table(p, HTML("pairs"),
			(const char *const[]){"verifiers", "#both scored", "#agree", "",
				"#both yes", "#first alone", "#second alone", "#neither", "#kappa",
				NULL});
		for (size_t i = 0; i < p->tally.n_pairs; i++) {
			put_pair(p, &p->tally.pairs[i]);
		}
		page_end_table(p);
		html_element(&p->h, HTML("p"), HTML("lead"),
			"A score of 0.5 or more says yes. Kappa is the agreement beyond chance: 1 "
			"always, "
			"0 none.");
	} else {
		html_element(&p->h, HTML("p"), HTML("lead"),
			"Needs two verifiers that judge whether a candidate is right.");
	}
	page_end_section(p);
}

/* --- cost --- */

static void fact(struct page *p, const char *name, const char *value)
{
	html_begin(&p->h, HTML("tr"));
	page_row_name(p, name);
	page_cell(p, value);
	html_end(&p->h);
}

static void put_budget(struct page *p, const struct json *budget)
{
	struct arena *a = &p->arena;
	const char *deadline = json_z(json_get(budget, "deadline")),
		   *source = json_z(json_get(budget, "energy_source"));
	double tokens = page_num(budget, "tokens"), energy = page_num(budget, "energy_wh"),
	       used = page_num(budget, "energy_wh_used"), slot_ms = page_num(budget, "slot_ms"),
	       thrown = page_num(budget, "tokens_thrown"),
	       generated = page_num(p->summary, "tokens_generated");
	if (deadline) {
		fact(p, "deadline", deadline);
	}
	if (tokens > 0) {
		fact(p, "token budget",
			arena_printf(a, "%s of %s, %s", page_count(p, (int64_t)generated),
				page_count(p, (int64_t)tokens),
				page_percent(p, generated, tokens)));
	}
	if (used >= 0) {
		fact(p, "energy",
			arena_printf(a, "%.3g Wh%s, measured by %s", used,
				energy > 0 ? arena_printf(a, " of %.3g", energy) : "",
				!source ? "?"
					: strcmp(source, "watts") == 0
					? "the stated watts (an estimate)"
					: source));
		double accepted = page_num(p->summary, "accepted");
		if (accepted > 0 && used > 0) {
			fact(p, "energy of an accepted candidate",
				arena_printf(a, "%.3g Wh", used / accepted));
		}
	}
	if (slot_ms > 0) {
		fact(p, "slots used",
			arena_printf(a, "%s of their time",
				page_percent(p, page_num(budget, "slot_ms_used"), slot_ms)));
	}
	if (thrown > 0) {
		fact(p, "thrown away",
			arena_printf(a, "about %s tokens, of candidates in flight: %s",
				page_count(p, (int64_t)thrown),
				page_count(p, page_int(budget, "candidates_thrown"))));
	}
}

void page_cost(struct page *p)
{
	const struct json *s = p->summary, *budget = json_get(s, "budget");
	double sent = page_num(s, "prompt_tokens_sent"),
	       generated = page_num(s, "tokens_generated"), accepted = page_num(s, "accepted"),
	       ms = page_num(s, "generate_ms");
	page_begin_section(p, HTML("cost"), "Budget and energy",
		budget ? NULL : "The definition sets no budget, so no energy was measured.");
	html_begin_class(&p->h, HTML("table"), HTML("facts"));
	html_begin(&p->h, HTML("tbody"));
	fact(p, "generated",
		arena_printf(&p->arena, "%s tokens", page_count(p, (int64_t)generated)));
	if (sent > 0) {
		fact(p, "prompt tokens read",
			arena_printf(&p->arena, "%s of %s sent, %s; the rest was cached or shared",
				page_count(p, page_int(s, "prompt_tokens_read")),
				page_count(p, (int64_t)sent),
				page_percent(p, page_num(s, "prompt_tokens_read"), sent)));
	}
	if (accepted > 0) {
		fact(p, "generated for an accepted candidate",
			arena_printf(&p->arena, "%s tokens%s%s",
				page_count(p, (int64_t)(generated / accepted + 0.5)),
				ms > 0 ? ", " : "",
				ms > 0 ? page_duration(p, (int64_t)(ms / accepted)) : ""));
	}
	if (budget) {
		put_budget(p, budget);
	}
	html_end(&p->h);
	html_end(&p->h);
	page_end_section(p);
}

/* --- settings --- */

static void put_setting(void *ctx, const char *stage, const char *path, const char *value)
{
	struct page *p = ctx;
	size_t len = strlen(value);
	html_begin(&p->h, HTML("tr"));
	page_row_name(p, stage);
	page_cell(p, path);
	page_cell(p,
		len > VALUE_BYTES_MAX
			? arena_printf(&p->arena, "%.*s\xe2\x80\xa6", VALUE_BYTES_MAX, value)
			: value);
	html_end(&p->h);
}

bool page_settings(struct page *p, struct error *err)
{
	page_begin_section(p, HTML("settings"), "Settings", NULL);
	html_begin(&p->h, HTML("details"));
	html_element(&p->h, HTML("summary"), HTML_NONE, "What the run was made with");
	page_begin_table(
		p, HTML("settings"), (const char *const[]){"of", "setting", "value", NULL});
	bool ok = ledger_each_setting(p->ledger, SETTINGS_SHOWN, put_setting, p, err);
	page_end_table(p);
	html_end(&p->h);
	page_end_section(p);
	return ok;
}
