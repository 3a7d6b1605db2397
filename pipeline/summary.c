#include "summary.h"

#include "base/clock.h"
#include "base/text.h"
#include "group.h"
#include "ledger/ledger.h"
#include "measure.h"
#include "registry.h"

#include <math.h>
#include <string.h>

#define REASONS_SHOWN 6
#define DECIDED_AT 0.5 /* a score from here on says yes, where verifiers are compared */

struct reading {
	struct arena arena;
	struct ledger_count *counts;
	size_t n_counts;
	struct ledger_source *sources;
	size_t n_sources;
	struct ledger_verifier *verifiers;
	size_t n_verifiers;
	struct ledger_pair *pairs;
	size_t n_pairs;
	struct ledger_change *changes;
	size_t n_changes;
	const char *label; /* NULL: none */
	const char *budget; /* as the flow wrote it (flow_budget.c); NULL: there are no limits */
	struct json *budget_read; /* owns */
	struct measures measures; /* against the label */
	struct summary_facts facts;
};

static bool is_repeat(const struct ledger_count *c)
{
	return strcmp(c->what, "selection") == 0 &&
		(strcmp(c->state, "repeat") == 0 || strcmp(c->state, "shipped_before") == 0);
}

static void add(struct summary_facts *f, const struct ledger_count *c)
{
	if (strcmp(c->what, "prompt") == 0) {
		f->n_prompts += c->n;
		*(strcmp(c->state, "pending") == 0                 ? &f->n_pending
				: strcmp(c->state, "settled") == 0 ? &f->n_settled
								   : &f->n_prompts_failed) += c->n;
	} else if (strcmp(c->what, "candidate") == 0) {
		if (strcmp(c->state, "failed") == 0) {
			f->n_failed += c->n;
			return;
		}
		f->n_candidates += c->n;
		f->tokens_generated += c->n_tokens;
		if (strcmp(c->state, "accepted") == 0) {
			f->n_accepted += c->n;
			f->tokens_accepted += c->n_tokens;
		} else if (strcmp(c->state, "rejected") == 0) {
			f->n_rejected += c->n;
		} else if (strcmp(c->state, "undecided") == 0) {
			f->n_undecided += c->n;
		} else {
			f->n_candidates_pending += c->n;
		}
	} else if (strncmp(c->what, "score:", 6) == 0) {
		bool failed = strcmp(c->state, "null") == 0 && registry_is_failure(c->reason);
		f->n_scores_failed += failed ? c->n : 0;
	} else if (strcmp(c->what, "selection") == 0 && strcmp(c->state, "chosen") == 0) {
		f->n_chosen += c->n;
		f->tokens_chosen += c->n_tokens;
	} else if (is_repeat(c)) {
		f->n_repeats += c->n;
	}
}

static void release(struct reading *r)
{
	measures_release(&r->measures);
	json_free(r->budget_read);
	arena_release(&r->arena);
}

static bool read_verifiers(struct ledger *l, struct reading *r, struct error *err)
{
	const char *label = ledger_meta(l, "label", &r->arena);
	r->label = label && label[0] ? label : NULL;
	return ledger_verifiers(l, &r->arena, &r->verifiers, &r->n_verifiers, err) &&
		ledger_pairs(l, &r->arena, &r->pairs, &r->n_pairs, err) &&
		(!r->label || measures_read(l, r->label, &r->measures, err));
}

static bool read_books(struct ledger *l, struct reading *r, struct error *err)
{
	*r = (struct reading){0};
	if (!ledger_counts(l, &r->arena, &r->counts, &r->n_counts, err)) {
		release(r);
		return false;
	}
	for (size_t i = 0; i < r->n_counts; i++) {
		add(&r->facts, &r->counts[i]);
	}
	for (const struct stage_ops *const *s = registry_stages(); *s; s++) {
		struct ledger_stage row;
		ledger_stage(l, (*s)->name, &r->arena, &row);
		r->facts.flow_ms += (*s)->run ? 0 : row.busy_ms;
	}
	if (!ledger_prompt_tokens(
		    l, &r->facts.tokens_sent, &r->facts.tokens_read, &r->facts.n_told, err)) {
		release(r);
		return false;
	}
	const char *state = ledger_meta(l, "state", &r->arena);
	r->facts.finished = state && strcmp(state, "finished") == 0;
	r->facts.held = state && strcmp(state, "held") == 0;
	struct error ignored;
	r->budget = ledger_meta(l, "budget", &r->arena);
	r->budget_read = r->budget ? json_parse(r->budget, strlen(r->budget), &ignored) : NULL;
	return true;
}

static bool read_all(struct ledger *l, struct reading *r, struct error *err)
{
	if (!read_books(l, r, err)) {
		return false;
	}
	if (!ledger_sources(l, &r->arena, &r->sources, &r->n_sources, err) ||
		!ledger_changes(l, &r->arena, &r->changes, &r->n_changes, err) ||
		!read_verifiers(l, r, err)) {
		release(r);
		return false;
	}
	return true;
}

bool summary_read(struct ledger *l, struct summary_facts *out, struct error *err)
{
	struct reading r;
	if (!read_books(l, &r, err)) {
		return false;
	}
	*out = r.facts;
	release(&r);
	return true;
}

/* --- JSON --- */

static void put_facts(struct json_writer *w, const struct summary_facts *f)
{
	const struct {
		const char *key;
		int64_t value;
	} members[] = {{"prompts", f->n_prompts}, {"prompts_pending", f->n_pending},
		{"prompts_settled", f->n_settled}, {"prompts_failed", f->n_prompts_failed},
		{"candidates", f->n_candidates}, {"candidates_pending", f->n_candidates_pending},
		{"accepted", f->n_accepted}, {"rejected", f->n_rejected},
		{"undecided", f->n_undecided}, {"failed", f->n_failed},
		{"scores_failed", f->n_scores_failed}, {"chosen", f->n_chosen},
		{"tokens_generated", f->tokens_generated}, {"tokens_accepted", f->tokens_accepted},
		{"tokens_chosen", f->tokens_chosen}, {"generate_ms", f->flow_ms}};
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		json_member_int(w, members[i].key, members[i].value);
	}
	if (f->n_told) {
		json_member_int(w, "prompt_tokens_sent", f->tokens_sent);
		json_member_int(w, "prompt_tokens_read", f->tokens_read);
	}
}

static void put_reasons(struct json_writer *w, const struct reading *r)
{
	json_key(w, "reasons");
	json_begin_array(w);
	for (size_t i = 0; i < r->n_counts; i++) {
		const struct ledger_count *c = &r->counts[i];
		json_begin_object(w);
		json_member_z(w, "what", c->what);
		json_member_z(w, "state", c->state);
		json_member_z(w, "reason", c->reason);
		json_member_int(w, "n", c->n);
		json_end_object(w);
	}
	json_end_array(w);
}

static const struct measured *measured_of(const struct reading *r, const char *verifier)
{
	for (size_t i = 0; i < r->measures.n; i++) {
		if (strcmp(r->measures.list[i].verifier, verifier) == 0) {
			return &r->measures.list[i];
		}
	}
	return NULL;
}

static void put_measured(struct json_writer *w, const char *label, const struct measured *m)
{
	struct outcome o = measured_at(m, DECIDED_AT);
	json_key(w, "against");
	json_begin_object(w);
	json_member_z(w, "label", label);
	json_member_int(w, "n", (int64_t)m->n);
	json_member_num(w, "precision", o.precision);
	json_member_num(w, "recall", o.recall);
	json_member_num(w, "auc", measured_auc(m));
	json_end_object(w);
}

static void put_verifiers(struct json_writer *w, const struct reading *r)
{
	json_key(w, "verifiers");
	json_begin_object(w);
	for (size_t i = 0; i < r->n_verifiers; i++) {
		const struct ledger_verifier *v = &r->verifiers[i];
		const struct measured *m = v->is_verdict ? measured_of(r, v->name) : NULL;
		json_key(w, v->name);
		json_begin_object(w);
		json_member_int(w, "n", v->n);
		json_member_int(w, "known", v->n_known);
		json_member_int(w, "audited", v->n_audit);
		json_member_num(w, "mean", v->n_known ? v->mean : NAN);
		json_member_num(w, "ms", (double)v->us / 1000);
		json_member_int(w, "tokens", v->n_tokens);
		if (m) {
			put_measured(w, r->label, m);
		}
		json_end_object(w);
	}
	json_end_object(w);
}

static void put_pairs(struct json_writer *w, const struct reading *r)
{
	json_key(w, "disagreement");
	json_begin_array(w);
	for (size_t i = 0; i < r->n_pairs; i++) {
		const struct ledger_pair *p = &r->pairs[i];
		json_begin_object(w);
		json_key(w, "verifiers");
		json_begin_array(w);
		json_put_z(w, p->a);
		json_put_z(w, p->b);
		json_end_array(w);
		json_member_int(w, "n", p->n);
		json_member_int(w, "apart", p->n_apart);
		json_end_object(w);
	}
	json_end_array(w);
}

static int64_t changes_of(const struct reading *r, const char *what)
{
	int64_t n = 0;
	for (size_t i = 0; i < r->n_changes; i++) {
		n += strcmp(r->changes[i].what, what) == 0 ? r->changes[i].n : 0;
	}
	return n;
}

static void put_changes(struct json_writer *w, const struct reading *r)
{
	if (!r->n_changes) {
		return;
	}
	json_key(w, "changes");
	json_begin_object(w);
	json_member_int(w, "kept", changes_of(r, "kept"));
	json_member_int(w, "gone", changes_of(r, "gone"));
	json_member_int(w, "new", changes_of(r, "new"));
	json_end_object(w);
}

/* JSON that somebody else wrote into the ledger; nothing if nobody did. */
static void put_meta(struct json_writer *w, struct ledger *l, struct arena *arena, const char *meta,
	const char *key)
{
	const char *text = ledger_meta(l, meta, arena);
	if (text) {
		json_key(w, key);
		json_put_raw(w, text, strlen(text));
	}
}

static void put_stages(struct json_writer *w, struct ledger *l, struct arena *arena)
{
	json_key(w, "stages");
	json_begin_object(w);
	for (const struct stage_ops *const *s = registry_stages(); *s; s++) {
		struct ledger_stage row;
		ledger_stage(l, (*s)->name, arena, &row);
		if (!row.known) {
			continue;
		}
		json_key(w, (*s)->name);
		json_begin_object(w);
		json_member_bool(w, "done", row.done);
		json_member_int(w, "ms", row.busy_ms);
		if (row.facts) {
			json_key(w, "facts");
			json_put_raw(w, row.facts, strlen(row.facts));
		}
		json_end_object(w);
	}
	json_end_object(w);
}

bool summary_json(struct ledger *l, struct json_writer *w, struct error *err)
{
	struct reading r;
	if (!read_all(l, &r, err)) {
		return false;
	}
	json_begin_object(w);
	json_member_z(w, "run", ledger_meta(l, "run", &r.arena));
	json_member_z(w, "state", ledger_meta(l, "state", &r.arena));
	put_facts(w, &r.facts);
	json_key(w, "sources");
	json_begin_object(w);
	for (size_t i = 0; i < r.n_sources; i++) {
		json_key(w, r.sources[i].source);
		json_begin_object(w);
		json_member_int(w, "prompts", r.sources[i].n_prompts);
		json_member_int(w, "candidates", r.sources[i].n_candidates);
		json_member_int(w, "accepted", r.sources[i].n_accepted);
		json_member_int(w, "chosen", r.sources[i].n_chosen);
		json_end_object(w);
	}
	json_end_object(w);
	put_stages(w, l, &r.arena);
	put_meta(w, l, &r.arena, "endpoints", "engines");
	put_meta(w, l, &r.arena, "engine_switches", "engine_switches");
	put_meta(w, l, &r.arena, "figures", "figures");
	put_meta(w, l, &r.arena, "gate", "gate");
	if (r.budget_read) {
		json_key(w, "budget");
		json_put_raw(w, r.budget, strlen(r.budget));
	}
	put_verifiers(w, &r);
	put_pairs(w, &r);
	put_changes(w, &r);
	put_reasons(w, &r);
	json_end_object(w);
	release(&r);
	return true;
}

/* --- for people --- */

static void line(FILE *out, const char *name, int64_t n, const char *note)
{
	char number[28];
	text_format_count((uint64_t)n, number);
	fprintf(out, "  %-22s %10s%s%s\n", name, number, note[0] ? "   " : "", note);
}

/* "token_limit 12, accept 4" for a state, most frequent first (the counts come so). */
static const char *reasons_of(
	const struct reading *r, struct arena *arena, const char *what, const char *state)
{
	const char *text = "";
	unsigned n = 0;
	for (size_t i = 0; i < r->n_counts; i++) {
		const struct ledger_count *c = &r->counts[i];
		if (strcmp(c->what, what) == 0 && strcmp(c->state, state) == 0 && c->reason) {
			if (n++ < REASONS_SHOWN) {
				text = arena_printf(arena, "%s%s%s %lld", text, text[0] ? ", " : "",
					c->reason, (long long)c->n);
			}
		}
	}
	return text;
}

static const char *share(struct arena *arena, int64_t part, int64_t whole, const char *of)
{
	return whole
		? arena_printf(arena, "%.1f %% of %s", 100.0 * (double)part / (double)whole, of)
		: "";
}

static const char *with_reasons(
	struct reading *r, const char *lead, const char *what, const char *state)
{
	const char *reasons = reasons_of(r, &r->arena, what, state);
	return arena_printf(&r->arena, "%s%s%s", lead, lead[0] && reasons[0] ? ": " : "", reasons);
}

static void print_candidates(FILE *out, struct reading *r)
{
	const struct summary_facts *f = &r->facts;
	line(out, "candidates", f->n_candidates,
		f->n_failed ? with_reasons(r,
				      arena_printf(
					      &r->arena, "and %lld failed", (long long)f->n_failed),
				      "candidate", "failed")
			    : "");
	line(out, "  accepted", f->n_accepted,
		share(&r->arena, f->n_accepted, f->n_candidates, "candidates"));
	line(out, "  rejected", f->n_rejected, with_reasons(r, "", "candidate", "rejected"));
	line(out, "  undecided", f->n_undecided, with_reasons(r, "", "candidate", "undecided"));
	if (f->n_candidates_pending) {
		line(out, "  pending", f->n_candidates_pending, "not yet verified");
	}
}

static int64_t int_of(const struct json *object, const char *key)
{
	int64_t n = 0;
	return json_int(json_get(object, key), &n) ? n : 0;
}

static void print_endpoint(FILE *out, struct arena *arena, const struct json *e)
{
	int64_t tokens = int_of(e, "tokens"), busy_ms = int_of(e, "busy_ms");
	int64_t errors = int_of(e, "errors"), down_ms = int_of(e, "down_ms");
	const char *url = json_z(json_get(e, "url"));
	char number[28], duration[24];
	text_format_count((uint64_t)int_of(e, "requests"), number);
	const char *note = arena_printf(arena, "%s requests", number);
	if (busy_ms > 0) {
		text_format_count((uint64_t)((double)tokens * 1000 / (double)busy_ms), number);
		note = arena_printf(arena, "tokens at %s/s, %s", number, note);
	}
	if (errors) {
		text_format_count((uint64_t)errors, number);
		note = arena_printf(arena, "%s, %s errors", note, number);
	}
	if (down_ms >= 1000) {
		clock_duration(down_ms, duration);
		note = arena_printf(arena, "%s, down for %s", note, duration);
	}
	line(out, arena_printf(arena, "  %s", url ? url : "?"), tokens, note);
}

struct endpoint_printer {
	FILE *out;
	struct arena *arena;
};

static void print_engine(void *ctx, const char *name, const struct json *engine)
{
	struct endpoint_printer *p = ctx;
	const struct json *list = json_get(engine, "endpoints");
	fprintf(p->out, "  engine %s\n", name);
	for (size_t i = 0; i < json_len(list); i++) {
		print_endpoint(p->out, p->arena, json_at(list, i));
	}
	if (int_of(engine, "hedges")) {
		char number[28];
		text_format_count((uint64_t)int_of(engine, "tokens_wasted"), number);
		line(p->out, "  sent twice", int_of(engine, "hedges"),
			arena_printf(p->arena,
				"%lld were first the second time, about %s tokens wasted",
				(long long)int_of(engine, "hedges_won"), number));
	}
}

/* A line per endpoint of the engines that have several. */
static void print_endpoints(FILE *out, struct ledger *l, struct arena *arena)
{
	const char *text = ledger_meta(l, "endpoints", arena);
	struct error ignored = {0};
	AUTO_JSON struct json *engines = text ? json_parse(text, strlen(text), &ignored) : NULL;
	json_each(engines, print_engine, &(struct endpoint_printer){out, arena});
}

/* "12ms, 4,310 tokens, 3 audited" */
static const char *cost_of(struct arena *arena, const struct ledger_verifier *v)
{
	char duration[24], number[28];
	clock_duration(v->us / 1000, duration);
	const char *text = arena_strdup(arena, duration);
	if (v->n_tokens) {
		text_format_count((uint64_t)v->n_tokens, number);
		text = arena_printf(arena, "%s, %s tokens", text, number);
	}
	if (v->n_audit) {
		text_format_count((uint64_t)v->n_audit, number);
		text = arena_printf(arena, "%s, %s audited", text, number);
	}
	return text;
}

/* NaN, where there is nothing to divide by, is a dash. */
static const char *share_text(struct arena *arena, double v)
{
	return isnan(v) ? "-" : arena_printf(arena, "%.3f", v);
}

static void print_measured(FILE *out, struct reading *r, const struct measured *m)
{
	struct outcome o = measured_at(m, DECIDED_AT);
	fprintf(out, "  %-22s %10s   against %s: precision %s, recall %s, AUC %s\n", "", "",
		r->label, share_text(&r->arena, o.precision), share_text(&r->arena, o.recall),
		share_text(&r->arena, measured_auc(m)));
}

/* A line per verifier: how many it scored, how often each word was its reason, the mean, the cost; and what the label says of it. */
static void print_verifiers(FILE *out, struct reading *r)
{
	for (size_t i = 0; i < r->n_verifiers; i++) {
		const struct ledger_verifier *v = &r->verifiers[i];
		const struct measured *m = v->is_verdict ? measured_of(r, v->name) : NULL;
		const char *what = arena_printf(&r->arena, "score:%s", v->name),
			   *known = reasons_of(r, &r->arena, what, "known"),
			   *null = reasons_of(r, &r->arena, what, "null");
		line(out, arena_printf(&r->arena, "  %s", v->name), v->n,
			arena_printf(&r->arena, "%s%s%s%s%s; %s", known,
				v->n_known ? arena_printf(&r->arena, "; mean %.3g", v->mean) : "",
				known[0] && null[0] ? "; " : "", null[0] ? "could not tell: " : "",
				null, cost_of(&r->arena, v)));
		if (m) {
			print_measured(out, r, m);
		}
	}
	for (size_t i = 0; i < r->n_pairs; i++) {
		const struct ledger_pair *p = &r->pairs[i];
		if (p->n_apart) {
			line(out, "  disagree", p->n_apart,
				arena_printf(&r->arena, "%s and %s, %s", p->a, p->b,
					share(&r->arena, p->n_apart, p->n, "those both scored")));
		}
	}
}

/* "rejected 3, such as 17.2; per_prompt 1, such as 20.0" */
static const char *change_text(struct reading *r, const char *what)
{
	const char *text = "";
	for (size_t i = 0; i < r->n_changes; i++) {
		const struct ledger_change *c = &r->changes[i];
		if (strcmp(c->what, what) == 0) {
			text = arena_printf(&r->arena, "%s%s%s %lld, such as %lld.%lld", text,
				text[0] ? "; " : "", c->why, (long long)c->n,
				(long long)(c->example / CANDIDATES_MAX),
				(long long)(c->example % CANDIDATES_MAX));
		}
	}
	return text;
}

/* What would have been chosen, had it not been chosen before. */
static void print_repeats(FILE *out, struct reading *r)
{
	const char *text = "";
	for (size_t i = 0; i < r->n_counts; i++) {
		const struct ledger_count *c = &r->counts[i];
		if (is_repeat(c)) {
			text = arena_printf(&r->arena, "%s%s%s %lld", text, text[0] ? ", " : "",
				strcmp(c->state, "repeat") == 0 ? "of this night"
								: "shipped by an earlier one",
				(long long)c->n);
		}
	}
	if (r->facts.n_repeats) {
		line(out, "  repeats left out", r->facts.n_repeats, text);
	}
}

/* What --from has changed in the selection. */
static void print_changes(FILE *out, struct reading *r)
{
	int64_t kept = changes_of(r, "kept"), gone = changes_of(r, "gone");
	if (!r->n_changes) {
		return;
	}
	line(out, "  as before", kept,
		share(&r->arena, kept, kept + gone, "what was chosen before"));
	line(out, "  no longer", gone, change_text(r, "gone"));
	line(out, "  new", changes_of(r, "new"), change_text(r, "new"));
}

static void print_tokens(FILE *out, struct reading *r)
{
	const struct summary_facts *f = &r->facts;
	double seconds = (double)f->flow_ms / 1000;
	line(out, "tokens generated", f->tokens_generated,
		seconds > 0 ? arena_printf(&r->arena, "%.0f tokens/s",
				      (double)f->tokens_generated / seconds)
			    : "");
	if (f->n_told) {
		char sent[28];
		text_format_count((uint64_t)f->tokens_sent, sent);
		line(out, "prompt tokens read", f->tokens_read,
			arena_printf(&r->arena, "%.1f %% of %s sent; the rest was cached or shared",
				f->tokens_sent
					? 100.0 * (double)f->tokens_read / (double)f->tokens_sent
					: 0,
				sent));
	}
	line(out, "tokens accepted", f->tokens_accepted,
		f->tokens_generated
			? arena_printf(&r->arena,
				  "%.1f %%; %.2f candidates per 1,000 generated tokens",
				  100.0 * (double)f->tokens_accepted / (double)f->tokens_generated,
				  1000.0 * (double)f->n_accepted / (double)f->tokens_generated)
			: "");
}

static double budget_number(const struct reading *r, const char *key)
{
	double value;
	return json_num(json_get(r->budget_read, key), &value) ? value : 0;
}

static const char *count_text(struct arena *arena, double n)
{
	char number[28];
	text_format_count((uint64_t)n, number);
	return arena_strdup(arena, number);
}

/* What there was to spend, and what was spent of it. */
static void print_budget(FILE *out, struct reading *r)
{
	struct arena *a = &r->arena;
	const char *deadline = json_z(json_get(r->budget_read, "deadline")),
		   *source = json_z(json_get(r->budget_read, "energy_source"));
	double tokens = budget_number(r, "tokens"), thrown = budget_number(r, "candidates_thrown"),
	       slot_ms = budget_number(r, "slot_ms");
	const char *text = deadline ? arena_printf(a, "until %s", deadline) : "";
	if (tokens > 0) {
		text = arena_printf(a, "%s%s%s of %s tokens", text, text[0] ? "; " : "",
			count_text(a, (double)r->facts.tokens_generated), count_text(a, tokens));
	}
	if (source) {
		text = arena_printf(a, "%s%s%.3g of %.3g Wh (%s)", text, text[0] ? "; " : "",
			budget_number(r, "energy_wh_used"), budget_number(r, "energy_wh"),
			strcmp(source, "watts") == 0 ? "estimated from the stated watts" : source);
	}
	if (slot_ms > 0) {
		text = arena_printf(a, "%s; slots used %.1f %%", text,
			100 * budget_number(r, "slot_ms_used") / slot_ms);
	}
	if (text[0]) {
		fprintf(out, "  %-22s %10s   %s\n", "budget", "", text);
	}
	if (thrown > 0) {
		line(out, "  thrown away", (int64_t)thrown,
			arena_printf(a, "candidates in flight, about %s tokens",
				count_text(a, budget_number(r, "tokens_thrown"))));
	}
}

/* How often one exclusive engine made place for another. */
static void print_switches(FILE *out, struct ledger *l, struct reading *r)
{
	const char *text = ledger_meta(l, "engine_switches", &r->arena);
	int64_t n;
	if (text && text_parse_i64(text, &n)) {
		line(out, "engine switches", n, "between exclusive engines");
	}
}

static const char *backlog_note(struct reading *r)
{
	const char *reason = json_z(json_get(r->budget_read, "backlog_reason"));
	return !r->facts.finished ? ""
		: reason
		? arena_printf(&r->arena, "backlog (%s): drawn again by a later run", reason)
		: "backlog: drawn again by a later run";
}

/* "33 sequences, 85.8 % full, 81.8 % padding avoided, 2 over_long and 1 empty left out", as far as the facts go. */
static const char *packing_note(struct arena *arena, const struct json *facts)
{
	int64_t sequences = 0, tokens = 0, over_long = 0, empty = 0, padding = 0;
	double fill;
	json_int(json_get(facts, "sequences"), &sequences);
	json_int(json_get(facts, "tokens"), &tokens);
	json_int(json_get(facts, "over_long"), &over_long);
	json_int(json_get(facts, "empty"), &empty);
	json_int(json_get(facts, "padding_avoided"), &padding);
	char number[28];
	text_format_count((uint64_t)sequences, number);
	const char *note = arena_printf(arena, "%s sequences", number);
	if (sequences && json_num(json_get(facts, "fill"), &fill)) {
		note = arena_printf(arena, "%s, %.1f %% full, %.1f %% padding avoided", note,
			100 * fill, 100.0 * (double)padding / (double)(padding + tokens));
	}
	if (over_long) {
		text_format_count((uint64_t)over_long, number);
		note = arena_printf(
			arena, "%s, %s over_long%s", note, number, empty ? "" : " left out");
	}
	if (empty) {
		text_format_count((uint64_t)empty, number);
		note = arena_printf(
			arena, "%s%s %s empty left out", note, over_long ? " and" : ",", number);
	}
	return note;
}

/* A stage that tells of rows and sequences has packed. */
static void print_packed(FILE *out, struct reading *r, const struct json *facts)
{
	int64_t rows;
	if (json_get(facts, "sequences") && json_int(json_get(facts, "rows"), &rows)) {
		line(out, "packed rows", rows, packing_note(&r->arena, facts));
	}
}

static const char *fact_text(struct arena *arena, const struct json *facts, const char *key)
{
	int64_t n = 0;
	json_int(json_get(facts, key), &n);
	return count_text(arena, (double)n);
}

/* One that tells of texts compared has left out duplicates. */
static void print_duplicates(FILE *out, struct reading *r, const struct json *facts)
{
	struct arena *a = &r->arena;
	int64_t n;
	if (!json_get(facts, "compared") || !json_int(json_get(facts, "duplicates"), &n)) {
		return;
	}
	line(out, "  duplicates", n,
		n ? arena_printf(a,
			    "left out: of this run %s, of earlier ones %s; in the same words %s; "
			    "%s replaced by the next best",
			    fact_text(a, facts, "of_this_run"),
			    fact_text(a, facts, "of_earlier_runs"),
			    fact_text(a, facts, "same_words"), fact_text(a, facts, "filled"))
		  : arena_printf(a, "among %s, and %s shipped before",
			    fact_text(a, facts, "compared"),
			    fact_text(a, facts, "shipped_before")));
}

/* What batch stages tell of themselves. */
static void print_facts(FILE *out, struct ledger *l, struct reading *r)
{
	for (const struct stage_ops *const *s = registry_stages(); *s; s++) {
		struct ledger_stage row;
		struct error ignored;
		ledger_stage(l, (*s)->name, &r->arena, &row);
		AUTO_JSON struct json *facts = row.facts
			? json_parse(row.facts, strlen(row.facts), &ignored)
			: NULL;
		print_duplicates(out, r, facts);
		print_packed(out, r, facts);
	}
}

static void print_stages(FILE *out, struct ledger *l, struct reading *r)
{
	unsigned n = 0;
	fprintf(out, "  time                  ");
	for (const struct stage_ops *const *s = registry_stages(); *s; s++) {
		struct ledger_stage row;
		ledger_stage(l, (*s)->name, &r->arena, &row);
		if (row.known && ((*s)->run || (*s)->plan)) {
			char duration[24];
			clock_duration(row.busy_ms, duration);
			/* The stages of a flow section work at the same time; the first of them has the time. */
			fprintf(out, "%s %s", n++ ? "," : "", (*s)->name);
			for (const struct stage_ops *const *next = s + 1;
				!(*s)->run && *next && !(*next)->run; next++) {
				fprintf(out, "+%s", (*next)->name);
			}
			fprintf(out, " %s%s", duration, row.done ? "" : " (not done)");
		}
	}
	fprintf(out, "\n");
}

static void print_sources(FILE *out, struct reading *r)
{
	size_t width = 6;
	for (size_t i = 0; i < r->n_sources; i++) {
		size_t columns = utf8_columns(r->sources[i].source, strlen(r->sources[i].source));
		width = MAX(width, MIN(columns, 40));
	}
	fprintf(out, "\n  %-*s %9s %11s %9s %9s %9s\n", (int)width, "source", "prompts",
		"candidates", "accepted", "rate", "chosen");
	for (size_t i = 0; i < r->n_sources; i++) {
		const struct ledger_source *s = &r->sources[i];
		fprintf(out, "  %-*s %9lld %11lld %9lld %8.1f%% %9lld\n", (int)width, s->source,
			(long long)s->n_prompts, (long long)s->n_candidates,
			(long long)s->n_accepted,
			s->n_candidates ? 100.0 * (double)s->n_accepted / (double)s->n_candidates
					: 0,
			(long long)s->n_chosen);
	}
}

/* A line per condition, with the figures that it read. */
static void print_gate(FILE *out, struct ledger *l, struct reading *r)
{
	const char *text = ledger_meta(l, "gate", &r->arena);
	struct error ignored;
	AUTO_JSON struct json *gate = text ? json_parse(text, strlen(text), &ignored) : NULL;
	const struct json *conditions = json_get(gate, "conditions");
	bool overridden = false;
	json_bool(json_get(gate, "overridden"), &overridden);
	for (size_t i = 0; i < json_len(conditions); i++) {
		const struct json *c = json_at(conditions, i);
		const char *sql = json_z(json_get(c, "sql")), *why = json_z(json_get(c, "why"));
		bool holds = false;
		json_bool(json_get(c, "holds"), &holds);
		struct str shown;
		str_init(&shown, STR_NO_CAP);
		text_put_printable(&shown, sql ? sql : "", sql ? strlen(sql) : 0, false);
		fprintf(out, "  %-22s %10s   %s: %s%s\n", i ? "" : "gate", holds ? "yes" : "no",
			shown.data, why ? why : "",
			!holds && overridden ? "; published all the same (--no-gate)" : "");
		str_release(&shown);
	}
}

bool summary_print(struct ledger *l, FILE *out, struct error *err)
{
	struct reading r;
	if (!read_all(l, &r, err)) {
		return false;
	}
	const struct summary_facts *f = &r.facts;
	fprintf(out, "run %s of %s, %s\n\n", ledger_meta(l, "run", &r.arena),
		ledger_meta(l, "pipeline", &r.arena),
		f->finished       ? "finished"
			: f->held ? "held back by its gate"
				  : "not finished");
	line(out, "prompts", f->n_prompts, with_reasons(&r, "", "prompt", "settled"));
	if (f->n_pending) {
		line(out, "  pending", f->n_pending, backlog_note(&r));
	}
	if (f->n_prompts_failed) {
		line(out, "  failed", f->n_prompts_failed,
			with_reasons(&r, "", "prompt", "failed"));
	}
	print_candidates(out, &r);
	print_verifiers(out, &r);
	if (f->n_scores_failed) {
		line(out, "  scores failed", f->n_scores_failed,
			"asked for again by --from verify");
	}
	line(out, "chosen", f->n_chosen, share(&r.arena, f->n_chosen, f->n_accepted, "accepted"));
	print_repeats(out, &r);
	print_changes(out, &r);
	print_facts(out, l, &r);
	print_tokens(out, &r);
	if (r.budget_read) {
		print_budget(out, &r);
	}
	print_switches(out, l, &r);
	print_stages(out, l, &r);
	print_endpoints(out, l, &r.arena);
	print_gate(out, l, &r);
	print_sources(out, &r);
	release(&r);
	return true;
}
