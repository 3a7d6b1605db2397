/* The head of the page: is the night over, what came of it, what did it cost, can one train on it; then what to look at. */
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "report/page.h"

#include <math.h>
#include <string.h>

#define SOURCE_FEW 20 /* candidates of a source below which no accepted one says little */
#define SOURCES_NAMED 3
#define CUT_MUCH 0.1 /* of the candidates */
#define APART_MUCH 0.1 /* of those that both verifiers scored */
#define THROWN_MUCH 0.02 /* of the tokens */
#define SIGNIFICANT 3.0 /* standard errors between two nights' acceptance */

/* --- tiles --- */

static void begin_tile(struct page *p, const char *name, const char *value)
{
	html_begin(&p->h, HTML("div"));
	html_element(&p->h, HTML("dt"), HTML_NONE, name);
	html_element(&p->h, HTML("dd"), HTML("big"), value);
	html_begin_class(&p->h, HTML("dd"), HTML("sub"));
}

static void end_tile(struct page *p)
{
	html_end(&p->h);
	html_end(&p->h);
}

static const struct json *facts_of_pack(const struct page *p)
{
	return json_get(json_get(json_get(p->summary, "stages"), "pack"), "facts");
}

static void tile_train(struct page *p)
{
	const struct json *facts = facts_of_pack(p);
	int64_t sequences = page_int(facts, "sequences");
	bool yes = p->finished && p->has_shards && sequences > 0;
	bool over = p->finished || p->held;
	begin_tile(p, "Can I train on it?", yes ? "Yes" : over ? "No" : "Not yet");
	if (yes) {
		html_textf(&p->h, "%s conversations in %s rows, %s trained tokens",
			page_count(p, sequences), page_count(p, page_int(facts, "rows")),
			page_count(p, page_int(facts, "loss_tokens")));
	} else {
		html_text_z(&p->h,
			p->held                                  ? "the gate said no"
				: !over                          ? "the run has not finished"
				: page_int(p->summary, "chosen") ? "the run made no shards"
								 : "nothing was chosen");
	}
	end_tile(p);
}

static double share_of(const struct json *summary)
{
	double n = page_num(summary, "candidates");
	return n > 0 ? page_num(summary, "accepted") / n : NAN;
}

static void put_change(struct page *p)
{
	const struct page_night *night = page_night_before(p);
	double now = share_of(p->summary), before = night ? share_of(night->summary) : NAN;
	if (!isnan(now) && !isnan(before)) {
		html_textf(&p->h, "; %+.1f points from the night before", 100 * (now - before));
	}
}

static void tile_accepted(struct page *p)
{
	int64_t accepted = page_int(p->summary, "accepted"), n = page_int(p->summary, "candidates");
	begin_tile(p, "Accepted", page_percent(p, (double)accepted, (double)n));
	html_textf(&p->h, "%s of %s candidates", page_count(p, accepted), page_count(p, n));
	put_change(p);
	end_tile(p);
}

static void tile_yield(struct page *p)
{
	double tokens = page_num(p->summary, "tokens_generated"),
	       accepted = page_num(p->summary, "accepted");
	begin_tile(p, "Yield",
		tokens > 0 ? arena_printf(&p->arena, "%.2f", 1000 * accepted / tokens)
			   : "\xe2\x80\x93");
	html_text_z(&p->h, "accepted candidates per 1,000 generated tokens");
	end_tile(p);
}

/* The time of the generating is written when a sitting ends; until then, how long it has been going on. */
static double generating_ms(const struct page *p)
{
	double ms = page_num(p->summary, "generate_ms");
	return ms > 0 ? ms : (double)(p->tally.extent.end_ms - p->tally.extent.begin_ms);
}

static void tile_speed(struct page *p)
{
	double ms = generating_ms(p), tokens = page_num(p->summary, "tokens_generated");
	begin_tile(p, "Speed",
		ms > 0 ? arena_printf(&p->arena, "%s\xc2\xa0/s",
				 page_count(p, (int64_t)(1000 * tokens / ms + 0.5)))
		       : "\xe2\x80\x93");
	html_textf(&p->h, "tokens, over %s of generating", page_duration(p, (int64_t)ms));
	end_tile(p);
}

static void tile_cost(struct page *p)
{
	const struct json *budget = json_get(p->summary, "budget");
	double energy = page_num(budget, "energy_wh_used");
	begin_tile(p, "Cost",
		arena_printf(&p->arena, "%s tokens",
			page_count(p, page_int(p->summary, "tokens_generated"))));
	html_textf(&p->h, "%s of them in accepted candidates",
		page_percent(p, page_num(p->summary, "tokens_accepted"),
			page_num(p->summary, "tokens_generated")));
	if (energy > 0) {
		html_textf(&p->h, "; %.3g Wh", energy);
	}
	end_tile(p);
}

/* --- what to look at --- */

struct notes {
	struct page *page;
	unsigned n;
};

static void note(struct notes *n, const char *text)
{
	struct html *h = &n->page->h;
	if (n->n++ == 0) {
		html_fixed(h, HTML("<h2 id=\"look\">To look at</h2><ul class=\"notes\">"));
	}
	html_element(h, HTML("li"), HTML_NONE, text);
}

static void note_count(struct notes *n, const char *key, const char *what, const char *hint)
{
	int64_t count = page_int(n->page->summary, key);
	if (count) {
		note(n,
			arena_printf(&n->page->arena, "%s %s%s", page_count(n->page, count), what,
				hint));
	}
}

static void note_failures(struct notes *n)
{
	struct page *p = n->page;
	struct arena *a = &p->arena;
	note_count(n, "prompts_failed", "prompts failed",
		arena_printf(a, ": %s", page_reasons_of(p, "prompt", "failed")));
	note_count(n, "failed", "candidates failed",
		arena_printf(a, ": %s", page_reasons_of(p, "candidate", "failed")));
	note_count(n, "scores_failed", "scores were not given, because a verifier failed",
		"; --from verify asks again");
	note_count(n, "undecided", "candidates are undecided: accept was NULL for them", "");
}

static void note_backlog(struct notes *n)
{
	struct page *p = n->page;
	int64_t pending = page_int(p->summary, "prompts_pending");
	const char *reason = json_z(json_get(json_get(p->summary, "budget"), "backlog_reason"));
	if (!p->finished && !p->held) {
		note(n,
			arena_printf(&p->arena,
				"The run has not finished: %s of %s prompts are pending. The same "
				"command goes on: thresh run %s",
				page_count(p, pending),
				page_count(p, page_int(p->summary, "prompts")),
				p->source->pipeline));
	} else if (pending) {
		note(n,
			arena_printf(&p->arena,
				"%s prompts are left over (%s); a later run draws them again",
				page_count(p, pending), reason ? reason : "backlog"));
	}
}

/* What the gate asked and did not get. */
static void note_gate(struct notes *n)
{
	const struct json *conditions = json_get(json_get(n->page->summary, "gate"), "conditions");
	for (size_t i = 0; i < json_len(conditions); i++) {
		const struct json *c = json_at(conditions, i);
		const char *sql = json_z(json_get(c, "sql")), *why = json_z(json_get(c, "why"));
		bool holds = true;
		if (json_bool(json_get(c, "holds"), &holds) && !holds && sql) {
			note(n,
				arena_printf(&n->page->arena, "The gate said no: %s%s%s%s", sql,
					why && why[0] ? " (" : "", why ? why : "",
					why && why[0] ? ")" : ""));
		}
	}
}

static bool is_cut(const struct tally_stratum *s)
{
	static const char *const cuts[] = {
		"token_limit", "context_limit", "loop", "after_answer", "length_outlier"};
	for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
		if (s->state == STATE_REJECTED && strcmp(s->reason, cuts[i]) == 0) {
			return true;
		}
	}
	return false;
}

static void note_cut(struct notes *n)
{
	struct page *p = n->page;
	const char *reasons = "";
	int64_t cut = 0, all = page_int(p->summary, "candidates");
	for (size_t i = 0; i < p->tally.n_strata; i++) {
		const struct tally_stratum *s = &p->tally.strata[i];
		if (is_cut(s)) {
			cut += s->n;
			reasons = arena_printf(&p->arena, "%s%s%s %s", reasons,
				reasons[0] ? ", " : "", s->reason, page_count(p, s->n));
		}
	}
	if ((double)cut > CUT_MUCH * (double)all) {
		note(n,
			arena_printf(&p->arena,
				"%s of the candidates were cut before their end: %s",
				page_percent(p, (double)cut, (double)all), reasons));
	}
}

/* Only what chance would hardly do: two nights of 200 candidates differ by some points for no reason. */
static void note_change(struct notes *n)
{
	struct page *p = n->page;
	const struct page_night *night = page_night_before(p);
	if (!night) {
		return;
	}
	const struct json *before = night->summary;
	double n1 = page_num(p->summary, "candidates"), n0 = page_num(before, "candidates");
	double s1 = share_of(p->summary), s0 = share_of(before);
	double both = (s1 * n1 + s0 * n0) / (n1 + n0);
	double error = sqrt(both * (1 - both) * (1 / n1 + 1 / n0));
	if (error > 0 && fabs(s1 - s0) > SIGNIFICANT * error) {
		note(n,
			arena_printf(&p->arena,
				"Acceptance %s from %.1f %% in %s to %.1f %%, more than chance "
				"explains",
				s1 > s0 ? "rose" : "fell", 100 * s0, night->run, 100 * s1));
	}
}

struct barren {
	struct page *page;
	const char *names;
	unsigned n;
};

static void look_at_source(void *ctx, const char *name, const struct json *source)
{
	struct barren *b = ctx;
	if (page_int(source, "candidates") >= SOURCE_FEW && !page_int(source, "accepted")) {
		if (b->n++ < SOURCES_NAMED) {
			b->names = arena_printf(
				&b->page->arena, "%s%s%s", b->names, b->names[0] ? ", " : "", name);
		}
	}
}

static void note_sources(struct notes *n)
{
	struct barren b = {n->page, "", 0};
	json_each(json_get(n->page->summary, "sources"), look_at_source, &b);
	if (b.n) {
		note(n,
			arena_printf(&n->page->arena, "No candidate of %s%s was accepted", b.names,
				b.n > SOURCES_NAMED
					? arena_printf(&n->page->arena, " and %u other sources",
						  b.n - SOURCES_NAMED)
					: ""));
	}
}

static void note_pairs(struct notes *n)
{
	struct page *p = n->page;
	for (size_t i = 0; i < p->tally.n_pairs; i++) {
		const struct tally_pair *pair = &p->tally.pairs[i];
		double apart = (double)(pair->n[0][1] + pair->n[1][0]);
		double all = apart + (double)(pair->n[0][0] + pair->n[1][1]);
		if (apart > APART_MUCH * all) {
			note(n,
				arena_printf(&p->arena,
					"%s and %s disagree on %s of the candidates that both "
					"scored",
					p->tally.verifiers[pair->a].name,
					p->tally.verifiers[pair->b].name,
					page_percent(p, apart, all)));
		}
	}
}

static void note_thrown(struct notes *n)
{
	struct page *p = n->page;
	double thrown = page_num(json_get(p->summary, "budget"), "tokens_thrown");
	double all = page_num(p->summary, "tokens_generated");
	if (thrown > THROWN_MUCH * all) {
		note(n,
			arena_printf(&p->arena,
				"About %s tokens were thrown away with candidates in flight when "
				"the time was over",
				page_count(p, (int64_t)thrown)));
	}
}

static void put_notes(struct page *p)
{
	struct notes n = {p, 0};
	note_backlog(&n);
	note_gate(&n);
	note_failures(&n);
	if (page_int(p->summary, "candidates") && !page_int(p->summary, "accepted")) {
		note(&n, "Nothing was accepted");
	} else {
		note_sources(&n);
	}
	note_cut(&n);
	note_change(&n);
	note_pairs(&n);
	note_thrown(&n);
	html_fixed(&p->h,
		n.n ? HTML("</ul>")
		    : HTML("<p class=\"lead\">Nothing stands out: no failures, no backlog, no "
			   "verifier at odds with another.</p>"));
}

/* --- head --- */

static int64_t meta_ms(struct page *p, const char *key)
{
	const char *text = ledger_meta(p->ledger, key, &p->arena);
	int64_t ms;
	return text && text_parse_i64(text, &ms) ? ms : 0;
}

static void put_when(struct page *p)
{
	struct html *h = &p->h;
	int64_t began = meta_ms(p, "started_ms"), ended = meta_ms(p, "ended_ms");
	char stamp[40];
	html_begin_class(h, HTML("p"), HTML("lead"));
	if (began) {
		clock_stamp(began, stamp);
		html_textf(h, "Began %s", stamp);
	}
	if ((p->finished || p->held) && ended) {
		clock_stamp(ended, stamp);
		html_textf(h, ", ended %s, %s later", stamp, page_duration(p, ended - began));
	}
	html_end(h);
}

/* "student: smollm2-135m-instruct.gguf" for each engine. */
static void put_model(void *ctx, const char *of, const char *path, const char *value)
{
	struct page *p = ctx;
	size_t len = strlen(path);
	if (strcmp(of, "run") == 0 && strncmp(path, "engine.", 7) == 0 && len > 13 &&
		strcmp(path + len - 6, ".model") == 0) {
		html_begin_class(&p->h, HTML("p"), HTML("lead"));
		html_textf(
			&p->h, "Engine %.*s: %s", (int)(len - 13), path + 7, file_basename(value));
		html_end(&p->h);
	}
}

static void put_shards(struct page *p)
{
	struct html *h = &p->h;
	if (p->has_shards) {
		html_begin_class(h, HTML("p"), HTML("path"));
		html_text_z(h, "Shards: ");
		html_begin(h, HTML("code"));
		html_textf(h, "%s/shards/%s", p->source->workdir, p->run);
		html_end(h);
		html_end(h);
	}
}

static void put_contents(struct page *p)
{
	html_fixed(&p->h,
		HTML("<nav aria-label=\"Sections\"><a href=\"#funnel\">Funnel</a>"
		     "<a href=\"#nights\">Nights</a><a href=\"#acceptance\">Acceptance</a>"
		     "<a href=\"#scores\">Lengths, scores</a><a href=\"#speed\">Speed</a>"
		     "<a href=\"#verifiers\">Verifiers</a><a href=\"#cost\">Cost</a>"
		     "<a href=\"#reasons\">Reasons</a><a href=\"#candidates\">Candidates</a>"
		     "<a href=\"#settings\">Settings</a></nav>\n"));
}

bool page_top(struct page *p, struct error *err)
{
	struct html *h = &p->h;
	html_begin(h, HTML("header"));
	html_element(h, HTML("p"), HTML("over"), p->pipeline);
	html_begin(h, HTML("h1"));
	html_textf(h, "Run %s ", p->run);
	html_element(h, HTML("span"), p->finished ? HTML("state done") : HTML("state open"),
		p->finished       ? "finished"
			: p->held ? "held by its gate"
				  : "not finished");
	html_end(h);
	put_when(p);
	if (!ledger_each_setting(p->ledger, 0, put_model, p, err)) {
		return false;
	}
	html_begin_class(h, HTML("dl"), HTML("tiles"));
	tile_train(p);
	tile_accepted(p);
	tile_yield(p);
	tile_speed(p);
	tile_cost(p);
	html_end(h);
	put_shards(p);
	put_notes(p);
	html_end(h);
	put_contents(p);
	return true;
}
