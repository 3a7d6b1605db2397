/*
 * The browser of candidates: a sample of each state as JSON, which page.js shows, searches and filters. What is JSON here is
 * already fit to be seen: answers marked, long texts without their middle, characters that cannot be seen named.
 */
#include "base/mem.h"
#include "report/excerpt.h"
#include "report/page.h"
#include "report/visible.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DATA_BYTES_MAX ((size_t)1200 << 10) /* of the whole sample: the page stays below 2 MB */
#define HEAD_BYTES 4500
#define TAIL_BYTES 1500
#define FIELD_BYTES 1200
#define FIELDS_MAX 8
#define DETAIL_BYTES 600
#define NAME_BYTES 120

static const size_t quotas[N_STATES] = {160, 160, 60, 40, 10};

struct item {
	int64_t candidate;
	size_t begin, len; /* of the candidate's JSON */
};

struct sample {
	struct page *page;
	struct str json; /* of all items, end to end */
	struct item *items; /* in the page's arena */
	size_t n;
};

/* --- JSON of one candidate --- */

static void put_shown(struct json_writer *w, const char *key, const char *z)
{
	json_key(w, key);
	if (!z) {
		json_put_null(w);
		return;
	}
	struct str shown;
	str_init(&shown, STR_NO_CAP);
	visible_append(&shown, visible_head(slice_z(z), NAME_BYTES));
	json_put_str(w, shown.data, shown.len);
	str_release(&shown);
}

static void put_part(void *ctx, enum excerpt_kind kind, struct slice text)
{
	struct json_writer *w = ctx;
	json_put_int(w, kind);
	json_put_str(w, text.data, text.len);
}

/* [kind, text, kind, text, ...] */
static void put_parts(struct json_writer *w, struct slice text,
	const struct excerpt_answers *answers, size_t head, size_t tail)
{
	json_begin_array(w);
	excerpt_each(text, answers, head, tail, put_part, w);
	json_end_array(w);
}

struct fields {
	struct json_writer *w;
	const char *question;
	unsigned n;
};

static void put_field(struct json_writer *w, const char *key, const struct json *value)
{
	struct str dumped;
	str_init(&dumped, STR_NO_CAP);
	struct slice text;
	text.data = json_str(value, &text.len);
	if (!text.data) {
		json_dump(value, false, &dumped);
		text = (struct slice){dumped.data, dumped.len};
	}
	json_begin_array(w);
	put_parts(w, slice_z(key), NULL, NAME_BYTES, 0);
	put_parts(w, text, NULL, FIELD_BYTES, 0);
	json_end_array(w);
	str_release(&dumped);
}

static void put_other_field(void *ctx, const char *key, const struct json *value)
{
	struct fields *f = ctx;
	if (f->n < FIELDS_MAX && (!f->question || strcmp(key, f->question) != 0)) {
		f->n++;
		put_field(f->w, key, value);
	}
}

static void put_fields(struct json_writer *w, const struct ledger_prompt *prompt)
{
	struct error ignored;
	AUTO_JSON struct json *fields = json_parse(
		prompt->fields.data, prompt->fields.len, &ignored);
	struct fields f = {w, page_question_key(fields), 0};
	json_key(w, "fields");
	json_begin_array(w);
	if (f.question) {
		put_field(w, f.question, json_get(fields, f.question));
	}
	json_each(fields, put_other_field, &f);
	json_end_array(w);
}

/* "gold 10, pred 14": what verifiers tell is mostly an object of short values. */
static void add_member(void *ctx, const char *key, const struct json *value)
{
	struct str *out = ctx;
	size_t len;
	const char *text = json_str(value, &len);
	str_printf(out, "%s%s ", out->len ? ", " : "", key);
	if (text) {
		str_append(out, text, len);
	} else {
		json_dump(value, false, out);
	}
}

static void put_detail(struct json_writer *w, const char *detail)
{
	struct error ignored;
	struct str text;
	str_init(&text, STR_NO_CAP);
	AUTO_JSON struct json *read = detail ? json_parse(detail, strlen(detail), &ignored) : NULL;
	json_each(read, add_member, &text);
	json_key(w, "detail");
	put_parts(w, text.len ? (struct slice){text.data, text.len} : slice_z(detail ? detail : ""),
		NULL, DETAIL_BYTES, 0);
	str_release(&text);
}

static void put_scores(struct json_writer *w, const struct ledger_candidate *c)
{
	json_key(w, "scores");
	json_begin_array(w);
	for (size_t i = 0; i < MIN(c->n_scores, TALLY_VERIFIERS_MAX); i++) {
		const struct ledger_score *s = &c->scores[i];
		json_begin_object(w);
		put_shown(w, "name", s->verifier);
		json_member_num(w, "value", s->known ? s->value : NAN);
		put_shown(w, "reason", s->reason);
		json_member_bool(w, "audit", s->audit);
		put_detail(w, s->detail);
		json_end_object(w);
	}
	json_end_array(w);
}

static void put_candidate(struct page *p, struct json_writer *w, const struct ledger_candidate *c,
	const struct ledger_prompt *prompt, const char *outcome)
{
	struct excerpt_answers answers;
	excerpt_find_answers(c, &answers);
	json_begin_object(w);
	put_shown(w, "id", page_candidate_id(p, c->id));
	put_shown(w, "state", c->state);
	put_shown(w, "reason", c->reason);
	put_shown(w, "outcome", outcome);
	put_shown(w, "source", prompt->source);
	put_shown(w, "finish", c->finish);
	const struct {
		const char *key;
		int64_t value;
	} numbers[] = {{"row", (int64_t)prompt->row_no}, {"tokens", c->n_tokens}, {"wave", c->wave},
		{"seed", c->seed}, {"attempts", c->attempts}, {"ms", c->latency_ms}};
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		json_member_int(w, numbers[i].key, numbers[i].value);
	}
	put_scores(w, c);
	put_fields(w, prompt);
	put_detail(w, c->detail);
	json_member_bool(w, "pruned", !c->text.data && strcmp(c->state, "failed") != 0);
	json_key(w, "text");
	put_parts(w, c->text.data ? c->text : slice_z(""), &answers, HEAD_BYTES, TAIL_BYTES);
	json_end_object(w);
}

/* --- the sample --- */

/* Adds a candidate if there is room for it. */
static bool add(struct sample *s, int64_t id, struct error *err)
{
	struct arena arena = {0};
	struct ledger_candidate c;
	struct ledger_prompt prompt;
	struct ledger_place place = {0};
	struct json_writer w = {.out = &s->json};
	size_t begin = s->json.len;
	bool ok = ledger_get_candidate(s->page->ledger, id, &arena, &c, &prompt, err) ==
		LEDGER_FOUND;
	enum ledger_found found = ok ? ledger_get_place(s->page->ledger, id, &arena, &place, err)
				     : LEDGER_FAILED;
	ok = found != LEDGER_FAILED;
	if (ok) {
		put_candidate(
			s->page, &w, &c, &prompt, found == LEDGER_FOUND ? place.outcome : NULL);
		if (s->json.full) {
			s->json.full = false; /* of this one nothing stays; a smaller one may fit */
			s->json.len = begin;
			s->json.data[begin] = '\0';
		} else {
			s->items[s->n++] = (struct item){id, begin, s->json.len - begin};
		}
	}
	arena_release(&arena);
	return ok;
}

/* The reasons of a state take turns, each in the order of its hashes, so that rare ones are seen as well. */
static bool add_state(struct sample *s, enum state state, struct error *err)
{
	const struct tally *t = &s->page->tally;
	size_t n = 0;
	bool ok = true, more = true;
	for (size_t turn = 0; ok && more && n < quotas[state]; turn++) {
		more = false;
		for (size_t i = 0; ok && i < t->n_strata && n < quotas[state]; i++) {
			const struct tally_stratum *stratum = &t->strata[i];
			if (stratum->state == state && turn < stratum->picks.n) {
				ok = add(s, stratum->picks.list[turn].candidate, err);
				more = true;
				n++;
			}
		}
	}
	return ok;
}

static int by_candidate(const void *a, const void *b)
{
	const struct item *x = a, *y = b;
	return (x->candidate > y->candidate) - (x->candidate < y->candidate);
}

static void put_data(struct page *p, const struct sample *s)
{
	struct str all;
	str_init(&all, STR_NO_CAP);
	str_append_c(&all, '[');
	for (size_t i = 0; i < s->n; i++) {
		str_append_z(&all, i ? ",\n" : "");
		str_append(&all, s->json.data + s->items[i].begin, s->items[i].len);
	}
	str_append_c(&all, ']');
	html_json(&p->h, HTML("data"), (struct slice){all.data, all.len});
	str_release(&all);
}

static void put_browser(struct page *p)
{
	html_fixed(&p->h,
		HTML("<noscript><p class=\"lead\">The browser needs JavaScript; the examples above "
		     "do not. "
		     "<code>thresh why PIPELINE ID</code> shows any candidate.</p></noscript>"
		     "<div id=\"browser\" hidden>"
		     "<form id=\"filters\" role=\"search\">"
		     "<label>Search <input id=\"search\" type=\"search\" autocomplete=\"off\" "
		     "spellcheck=\"false\" placeholder=\"text, field or id\"></label>"
		     "<label>State <select id=\"state\"></select></label>"
		     "<label>Source <select id=\"source\"></select></label>"
		     "<label>Reason <select id=\"reason\"></select></label>"
		     "<button type=\"reset\">Clear</button>"
		     "<output id=\"shown\" aria-live=\"polite\"></output></form>"
		     "<div class=\"panes\"><ul id=\"list\" role=\"listbox\" tabindex=\"0\" "
		     "aria-label=\"Candidates\"></ul>"
		     "<article id=\"detail\" tabindex=\"0\" aria-label=\"The "
		     "candidate\"></article></div>"
		     "<p class=\"lead keys\"><kbd>/</kbd> search <kbd>\xe2\x86\x91</kbd> "
		     "<kbd>\xe2\x86\x93</kbd> previous, next <kbd>Home</kbd> <kbd>End</kbd> first, "
		     "last "
		     "<kbd>Esc</kbd> clear</p></div>"));
}

bool page_candidates(struct page *p, struct error *err)
{
	struct sample s = {.page = p};
	size_t max = 0;
	int64_t n = 0;
	for (int i = 0; i < N_STATES; i++) {
		max += quotas[i];
		n += p->tally.n[i];
	}
	s.items = arena_alloc_array(&p->arena, max, sizeof(*s.items));
	str_init(&s.json, DATA_BYTES_MAX);
	bool ok = true;
	for (int i = 0; ok && i < N_STATES; i++) {
		ok = add_state(&s, i, err);
	}
	if (ok) {
		if (s.n) {
			qsort(s.items, s.n, sizeof(*s.items), by_candidate);
		}
		page_begin_section(p, HTML("candidates"), "Candidates",
			arena_printf(&p->arena,
				"%s of %s, drawn at random from each state. "
				"thresh why %s ID shows any other.",
				page_count(p, (int64_t)s.n), page_count(p, n),
				p->source->pipeline));
		put_browser(p);
		put_data(p, &s);
		page_end_section(p);
	}
	str_release(&s.json);
	return ok;
}
