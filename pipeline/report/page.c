#include "report/page.h"

#include "base/clock.h"
#include "base/text.h"
#include "group.h"

#include <math.h>
#include <string.h>

const struct page_night *page_night_before(const struct page *p)
{
	for (size_t i = p->now; i-- > 0;) {
		if (p->nights[i].number != p->nights[p->now].number) {
			return &p->nights[i];
		}
	}
	return NULL;
}

int64_t page_int(const struct json *object, const char *key)
{
	int64_t n;
	return json_int(json_get(object, key), &n) ? n : 0;
}

double page_num(const struct json *object, const char *key)
{
	double v;
	return json_num(json_get(object, key), &v) ? v : NAN;
}

void page_begin_section(struct page *p, struct html_literal id, const char *title, const char *lead)
{
	struct html *h = &p->h;
	html_begin(h, HTML("section"));
	html_attr(h, HTML("id"), id);
	html_element(h, HTML("h2"), HTML_NONE, title);
	if (lead) {
		html_element(h, HTML("p"), HTML("lead"), lead);
	}
}

void page_end_section(struct page *p)
{
	html_end(&p->h);
	html_fixed(&p->h, HTML("\n"));
}

void page_begin_table(struct page *p, struct html_literal class_name, const char *const *headings)
{
	struct html *h = &p->h;
	html_begin_class(h, HTML("div"), HTML("wide"));
	html_begin_class(h, HTML("table"), class_name);
	html_begin(h, HTML("thead"));
	html_begin(h, HTML("tr"));
	for (; *headings; headings++) {
		bool number = (*headings)[0] == '#';
		html_begin_class(h, HTML("th"), number ? HTML("n") : HTML_NONE);
		html_attr(h, HTML("scope"), HTML("col"));
		html_text_z(h, *headings + number);
		html_end(h);
	}
	html_end(h);
	html_end(h);
	html_begin(h, HTML("tbody"));
}

void page_end_table(struct page *p)
{
	html_end(&p->h);
	html_end(&p->h);
	html_end(&p->h);
}

void page_cell(struct page *p, const char *text)
{
	html_element(&p->h, HTML("td"), HTML_NONE, text);
}

void page_row_name(struct page *p, const char *text)
{
	html_begin(&p->h, HTML("th"));
	html_attr(&p->h, HTML("scope"), HTML("row"));
	html_text_z(&p->h, text);
	html_end(&p->h);
}

void page_cell_n(struct page *p, const char *text)
{
	html_element(&p->h, HTML("td"), HTML("n"), text);
}

void page_cell_count(struct page *p, int64_t n)
{
	page_cell_n(p, page_count(p, n));
}

const char *page_count(struct page *p, int64_t n)
{
	char number[28];
	text_format_count((uint64_t)MAX(n, 0), number);
	return arena_strdup(&p->arena, number);
}

const char *page_percent(struct page *p, double part, double whole)
{
	return whole > 0 ? arena_printf(&p->arena, "%.1f\xc2\xa0%%", 100 * part / whole)
			 : "\xe2\x80\x93";
}

const char *page_duration(struct page *p, int64_t ms)
{
	char text[24];
	clock_duration(ms, text);
	return arena_strdup(&p->arena, text);
}

const char *page_candidate_id(struct page *p, int64_t candidate)
{
	return arena_printf(&p->arena, "%lld.%lld", (long long)(candidate / CANDIDATES_MAX),
		(long long)(candidate % CANDIDATES_MAX));
}

const char *page_reasons_of(struct page *p, const char *what, const char *state)
{
	const struct json *reasons = json_get(p->summary, "reasons");
	const char *text = "";
	for (size_t i = 0; i < json_len(reasons); i++) {
		const struct json *r = json_at(reasons, i);
		const char *of = json_z(json_get(r, "what")), *in = json_z(json_get(r, "state")),
			   *reason = json_z(json_get(r, "reason"));
		if (of && in && strcmp(of, what) == 0 && strcmp(in, state) == 0) {
			text = arena_printf(&p->arena, "%s%s%s%s%s", text, text[0] ? ", " : "",
				reason ? reason : "", reason ? " " : "",
				page_count(p, page_int(r, "n")));
		}
	}
	return text;
}

struct html_literal page_state_class(enum state state)
{
	static const struct html_literal classes[N_STATES] = {
		{"accepted"}, {"rejected"}, {"undecided"}, {"failed"}, {"pending"}};
	return classes[state];
}

struct longest {
	const char *key;
	size_t len;
};

static void look_at_field(void *ctx, const char *key, const struct json *value)
{
	struct longest *l = ctx;
	size_t len;
	if (json_str(value, &len) && (!l->key || len > l->len)) {
		*l = (struct longest){key, len};
	}
}

const char *page_question_key(const struct json *fields)
{
	static const char *const names[] = {"question", "problem", "prompt", "instruction"};
	struct longest longest = {0};
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (json_kind(json_get(fields, names[i])) == JSON_STRING) {
			return names[i];
		}
	}
	json_each(fields, look_at_field, &longest);
	return longest.key;
}
