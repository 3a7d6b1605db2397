/* Why candidates were rejected, with examples, static: what a reader without scripts sees of the texts. */
#include "base/mem.h"
#include "report/excerpt.h"
#include "report/page.h"

#include <stdlib.h>
#include <string.h>

#define ROWS_MAX 14
#define EXAMPLES_SHOWN 2
#define QUESTION_BYTES 300
#define HEAD_BYTES 500
#define TAIL_BYTES 300

/* A row: a reason of the candidates' own, or one that a verifier gave. */
struct row {
	const char *verifier; /* NULL: the candidate's */
	const char *reason;
	enum state state;
	int64_t n;
	const struct tally_picks *examples;
};

static void put_excerpt_part(void *ctx, enum excerpt_kind kind, struct slice text)
{
	struct html *h = ctx;
	if (kind == EXCERPT_PLAIN) {
		html_text(h, text);
		return;
	}
	html_begin_class(h, kind == EXCERPT_ANSWER ? HTML("mark") : HTML("span"),
		kind == EXCERPT_ANSWER          ? HTML("answer")
			: kind == EXCERPT_NAMED ? HTML("ctl")
						: HTML("cut"));
	html_text(h, text);
	html_end(h);
}

static void put_excerpt(struct page *p, struct html_literal class_name, struct slice text,
	const struct excerpt_answers *answers, size_t head, size_t tail)
{
	html_begin_class(&p->h, HTML("div"), class_name);
	excerpt_each(text, answers, head, tail, put_excerpt_part, &p->h);
	html_end(&p->h);
}

static const char *scores_text(struct page *p, const struct ledger_candidate *c)
{
	const char *text = "";
	for (size_t i = 0; i < c->n_scores; i++) {
		const struct ledger_score *s = &c->scores[i];
		text = s->known ? arena_printf(&p->arena, "%s%s%s %.3g (%s)", text,
					  text[0] ? ", " : "", s->verifier, s->value, s->reason)
				: arena_printf(&p->arena, "%s%s%s null (%s)", text,
					  text[0] ? ", " : "", s->verifier, s->reason);
	}
	return text;
}

static void put_question(struct page *p, const struct ledger_prompt *prompt)
{
	struct error ignored;
	AUTO_JSON struct json *fields = json_parse(
		prompt->fields.data, prompt->fields.len, &ignored);
	const char *key = page_question_key(fields);
	struct slice text = prompt->fields;
	if (key) {
		text.data = json_str(json_get(fields, key), &text.len);
	}
	put_excerpt(p, HTML("question"), text, NULL, QUESTION_BYTES, 0);
}

static bool put_example(struct page *p, const struct row *r, int64_t id, struct error *err)
{
	struct arena arena = {0};
	struct ledger_candidate c;
	struct ledger_prompt prompt;
	struct excerpt_answers answers;
	enum ledger_found found = ledger_get_candidate(p->ledger, id, &arena, &c, &prompt, err);
	if (found == LEDGER_FOUND) {
		const char *name = page_candidate_id(p, id);
		html_begin_class(&p->h, HTML("div"), HTML("example"));
		html_begin_class(&p->h, HTML("p"), HTML("who"));
		html_begin(&p->h, HTML("a"));
		html_attr_z(&p->h, HTML("href"), arena_printf(&p->arena, "#c%s", name));
		html_text_z(&p->h, name);
		html_end(&p->h);
		html_textf(&p->h, " from %s, %u tokens; %s", prompt.source, c.n_tokens,
			c.n_scores         ? scores_text(p, &c)
				: c.detail ? c.detail
					   : "not scored");
		html_end(&p->h);
		put_question(p, &prompt);
		if (c.text.data) {
			excerpt_find_answers(&c, &answers);
			put_excerpt(p, HTML("text"), c.text, &answers, HEAD_BYTES, TAIL_BYTES);
		} else if (r->state != STATE_FAILED) {
			html_element(&p->h, HTML("p"), HTML("lead"),
				"The ledger does not have its text any more.");
		}
		html_end(&p->h);
	}
	arena_release(&arena);
	return found != LEDGER_FAILED;
}

static bool put_row(struct page *p, const struct row *r, struct error *err)
{
	struct html *h = &p->h;
	bool ok = true;
	html_begin(h, HTML("details"));
	html_begin(h, HTML("summary"));
	html_element(h, HTML("span"), HTML("count"), page_count(p, r->n));
	html_element(h, HTML("span"), HTML("share"),
		page_percent(p, (double)r->n, (double)p->tally.n[r->state]));
	html_text_z(h, r->verifier ? r->verifier : state_names[r->state]);
	html_text_z(h, ": ");
	html_element(h, HTML("b"), HTML_NONE, r->reason);
	html_end(h);
	for (size_t i = 0; ok && i < MIN(r->examples->n, EXAMPLES_SHOWN); i++) {
		ok = put_example(p, r, r->examples->list[i].candidate, err);
	}
	html_end(h);
	return ok;
}

static int more_first(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	return x->n != y->n ? (x->n < y->n) - (x->n > y->n) : strcmp(x->reason, y->reason);
}

/* A verifier's word is a reason if rejected candidates have it more often than accepted ones. */
static bool tells(const struct tally *t, const struct tally_reason *r)
{
	double rejected = (double)t->n[STATE_REJECTED], accepted = (double)t->n[STATE_ACCEPTED];
	return r->n[STATE_REJECTED] &&
		(double)r->n[STATE_REJECTED] * accepted >
		(double)r->n[STATE_ACCEPTED] * rejected * 1.05;
}

static size_t list_rows(struct page *p, struct row **out)
{
	const struct tally *t = &p->tally;
	size_t n = 0, max = t->n_strata;
	for (size_t i = 0; i < t->n_verifiers; i++) {
		max += t->verifiers[i].n_reasons;
	}
	struct row *rows = arena_alloc_array(&p->arena, max, sizeof(*rows));
	for (size_t i = 0; i < t->n_strata; i++) {
		const struct tally_stratum *s = &t->strata[i];
		/* "accept" says no more than that the expression was false; the verifiers say why. */
		bool shown = s->state != STATE_ACCEPTED && s->state != STATE_PENDING &&
			strcmp(s->reason, "accept") != 0;
		if (shown) {
			rows[n++] = (struct row){NULL, s->reason, s->state, s->n, &s->picks};
		}
	}
	for (size_t i = 0; i < t->n_verifiers; i++) {
		const struct tally_verifier *v = &t->verifiers[i];
		for (size_t k = 0; k < v->n_reasons; k++) {
			const struct tally_reason *r = &v->reasons[k];
			if (tells(t, r) || (r->n[STATE_REJECTED] && !t->n[STATE_ACCEPTED])) {
				rows[n++] = (struct row){v->name, r->name, STATE_REJECTED,
					r->n[STATE_REJECTED], r->examples};
			}
		}
	}
	qsort(rows, n, sizeof(*rows), more_first);
	*out = rows;
	return n;
}

bool page_reasons(struct page *p, struct error *err)
{
	struct row *rows;
	bool ok = true;
	size_t n = list_rows(p, &rows);
	page_begin_section(p, HTML("reasons"), "Why candidates were not accepted",
		n ? "Each with its share of the rejected (or undecided, or failed) ones; a "
		    "candidate may "
		    "have several. Open one for examples."
		  : "None was rejected for a reason that can be told apart.");
	html_begin_class(&p->h, HTML("div"), HTML("reasons"));
	for (size_t i = 0; ok && i < MIN(n, ROWS_MAX); i++) {
		ok = put_row(p, &rows[i], err);
	}
	html_end(&p->h);
	page_end_section(p);
	return ok;
}
