/* What the files that write the page share: everything that was read of the night, and the small pieces of tables. */
#ifndef PIPELINE_REPORT_PAGE_H
#define PIPELINE_REPORT_PAGE_H

#include "base/arena.h"
#include "base/json.h"
#include "ledger/ledger.h"
#include "ledger/ledger_report.h"
#include "report/html.h"
#include "report/report.h"
#include "report/tally.h"

#include <stdbool.h>
#include <stdint.h>

#define PAGE_NIGHTS_MAX 90

struct page_night {
	const char *run;
	int64_t number; /* runs made from each other have the same */
	struct json *summary; /* owns (summary.h) */
};

struct page {
	const struct report_source *source;
	struct ledger *ledger;
	struct html h;
	struct arena arena;
	struct page_night nights[PAGE_NIGHTS_MAX + 1]; /* oldest first */
	size_t n_nights, now; /* nights[now] is this run */
	const struct json *summary; /* of this run; borrowed from its night */
	struct tally tally;
	const char *run, *pipeline;
	bool finished; /* and published, as far as there was anything */
	bool held; /* over, but the gate said no */
	bool has_shards;
};

/* --- parts, in their order --- */

MUST_CHECK bool page_top(
	struct page *p, struct error *err); /* what matters first, and what to look at */
void page_funnel(struct page *p);
void page_nights(struct page *p);
void page_acceptance(struct page *p);
void page_lengths_and_scores(struct page *p);
void page_speed(struct page *p);
void page_verifiers(struct page *p);
void page_cost(struct page *p);
MUST_CHECK bool page_reasons(struct page *p, struct error *err);
MUST_CHECK bool page_candidates(struct page *p, struct error *err);
MUST_CHECK bool page_settings(struct page *p, struct error *err);

/* --- pieces --- */

/* The last night before this one, versions of this one left out; NULL: there is none. */
const struct page_night *page_night_before(const struct page *p);
/* Members of a JSON object; 0 and NaN where there is none. */
int64_t page_int(const struct json *object, const char *key);
double page_num(const struct json *object, const char *key);

/* <section> with a heading; page_end_section closes it. */
void page_begin_section(
	struct page *p, struct html_literal id, const char *title, const char *lead);
void page_end_section(struct page *p);
/* <table> in a box that scrolls sideways where the page is narrow, with one row of headings: "name", or "#name" over numbers. */
void page_begin_table(struct page *p, struct html_literal class_name, const char *const *headings);
void page_end_table(struct page *p);
void page_cell(struct page *p, const char *text);
/* The heading of a row. */
void page_row_name(struct page *p, const char *text);
void page_cell_n(struct page *p, const char *text);
void page_cell_count(struct page *p, int64_t n);
/* In the page's arena: "1,234", "12.3 %" (– for a whole of 0), "1h02m". */
const char *page_count(struct page *p, int64_t n);
const char *page_percent(struct page *p, double part, double whole);
const char *page_duration(struct page *p, int64_t ms);
/* "17.3" of a candidate. */
const char *page_candidate_id(struct page *p, int64_t candidate);
/* "accept 159, token_limit 6", most frequent first; "" if there are none. */
const char *page_reasons_of(struct page *p, const char *what, const char *state);
/* The member of a prompt's row that asks; NULL if no member is a text. `fields` may be NULL. */
const char *page_question_key(const struct json *fields);
struct html_literal page_state_class(enum state state);

#endif
