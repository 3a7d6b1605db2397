#include "report/report.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "report/assets.h"
#include "report/page.h"
#include "summary.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const struct html_asset css = {page_css}, js = {page_js};

/* --- reading --- */

static const char *meta_or(struct page *p, const char *key, const char *otherwise)
{
	const char *value = ledger_meta(p->ledger, key, &p->arena);
	return value ? value : otherwise;
}

static int64_t number_of_run(struct page *p)
{
	int64_t number;
	return text_parse_i64(meta_or(p, "number", ""), &number) ? number : 0;
}

/* The summary as it stands in the ledger now. */
static struct json *make_summary(struct page *p, struct error *err)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	struct json *summary = summary_json(p->ledger, &w, err)
		? json_parse(text.data, text.len, err)
		: NULL;
	str_release(&text);
	return summary;
}

/*
 * The nights that history knows, and this one behind them if it is not among them. What history has of a finished run was made
 * of the same ledger when it ended, so that of a million candidates nothing is counted twice.
 */
static bool read_nights(struct page *p, struct error *err)
{
	AUTO_FREE char *path = file_join(p->source->workdir, "history.db");
	struct past_run *list;
	size_t n;
	if (!past_runs(path, PAGE_NIGHTS_MAX, &p->arena, &list, &n, err)) {
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		struct error ignored;
		bool is_this = strcmp(list[i].run, p->run) == 0;
		struct json *summary = json_parse(
			list[i].summary, strlen(list[i].summary), &ignored);
		if (is_this && !p->finished && !p->held) {
			json_free(summary);
			continue;
		}
		if (summary) {
			p->now = is_this ? p->n_nights : p->now;
			p->summary = is_this ? summary : p->summary;
			p->nights[p->n_nights++] = (struct page_night){
				list[i].run, list[i].number, summary};
		}
	}
	if (!p->summary) {
		struct json *summary = make_summary(p, err);
		p->now = p->n_nights;
		p->summary = summary;
		p->nights[p->n_nights++] = (struct page_night){p->run, number_of_run(p), summary};
	}
	return p->summary;
}

static bool read_all(struct page *p, struct error *err)
{
	struct ledger_verifier *verifiers;
	size_t n;
	p->run = meta_or(p, "run", "?");
	p->pipeline = meta_or(p, "pipeline", "?");
	const char *state = meta_or(p, "state", "");
	p->finished = strcmp(state, "finished") == 0;
	p->held = strcmp(state, "held") == 0;
	AUTO_FREE char *shards = xasprintf("%s/shards/%s", p->source->workdir, p->run);
	p->has_shards = file_is_dir(shards);
	return read_nights(p, err) && ledger_verifiers(p->ledger, &p->arena, &verifiers, &n, err) &&
		tally_read(&p->tally, p->ledger, verifiers, n, err);
}

static void release(struct page *p)
{
	for (size_t i = 0; i < p->n_nights; i++) {
		json_free(p->nights[i].summary);
	}
	tally_release(&p->tally);
	arena_release(&p->arena);
}

/* --- writing --- */

static void put_policy(struct page *p)
{
	char of_css[HTML_CSP_HASH_BYTES], of_js[HTML_CSP_HASH_BYTES];
	html_csp_hash(css, of_css);
	html_csp_hash(js, of_js);
	html_begin(&p->h, HTML("meta"));
	html_attr(&p->h, HTML("http-equiv"), HTML("Content-Security-Policy"));
	html_attr_z(&p->h, HTML("content"),
		arena_printf(&p->arena,
			"default-src 'none'; style-src %s; script-src %s; base-uri 'none'; "
			"form-action 'none'",
			of_css, of_js));
	html_end(&p->h);
}

static void put_head(struct page *p)
{
	struct html *h = &p->h;
	html_begin(h, HTML("head"));
	html_fixed(h, HTML("<meta charset=\"utf-8\">"));
	put_policy(p);
	html_fixed(h,
		HTML("<meta name=\"referrer\" content=\"no-referrer\">"
		     "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
		     "<meta name=\"color-scheme\" content=\"light dark\">"));
	html_begin(h, HTML("title"));
	html_textf(h, "%s %s", p->pipeline, p->run);
	html_end(h);
	html_style(h, css);
	html_end(h);
}

static void put_foot(struct page *p)
{
	char stamp[40];
	clock_stamp(clock_wall_ms(), stamp);
	html_begin(&p->h, HTML("footer"));
	html_begin(&p->h, HTML("p"));
	html_textf(&p->h, "Made by thresh %s at %s.", THRESH_VERSION, stamp);
	html_end(&p->h);
	html_end(&p->h);
}

static bool put_body(struct page *p, struct error *err)
{
	html_begin(&p->h, HTML("body"));
	if (!page_top(p, err)) {
		return false;
	}
	html_begin(&p->h, HTML("main"));
	page_funnel(p);
	page_nights(p);
	page_acceptance(p);
	page_lengths_and_scores(p);
	page_speed(p);
	page_verifiers(p);
	page_cost(p);
	if (!page_reasons(p, err) || !page_candidates(p, err) || !page_settings(p, err)) {
		return false;
	}
	html_end(&p->h);
	put_foot(p);
	html_script(&p->h, js);
	html_end(&p->h);
	return true;
}

static bool put_page(struct page *p, struct error *err)
{
	html_fixed(&p->h, HTML("<!doctype html>\n"));
	html_begin(&p->h, HTML("html"));
	html_attr(&p->h, HTML("lang"), HTML("en"));
	put_head(p);
	if (!put_body(p, err)) {
		return false;
	}
	html_end(&p->h);
	html_finish(&p->h);
	return true;
}

bool report_build(const struct report_source *source, struct str *out, struct error *err)
{
	struct page *p = xcalloc(1, sizeof(*p));
	p->source = source;
	p->ledger = source->ledger;
	html_init(&p->h, out);
	bool ok = false;
	if (ledger_begin_reading(p->ledger, err)) {
		ok = read_all(p, err) && put_page(p, err);
		ledger_end_reading(p->ledger);
	}
	release(p);
	free(p);
	return ok || error_context(err, "report");
}

/* A rename puts a file in the place of whatever has the name: a link, or /dev/stdout. */
static bool may_replace(const char *path, struct error *err)
{
	struct stat status;
	if (lstat(path, &status) != 0 || S_ISREG(status.st_mode)) {
		return true; /* what else is wrong with the path, writing tells */
	}
	return error_set(err, FAIL_USAGE, "'%s' is there and no regular file", path);
}

bool report_write(const struct report_source *source, const char *path, struct error *err)
{
	if (!may_replace(path, err)) {
		return false;
	}
	struct str page;
	str_init(&page, STR_NO_CAP);
	AUTO_FREE char *dir = file_dirname(path);
	bool ok = report_build(source, &page, err) &&
		file_publish(dir, file_basename(path), page.data, page.len, err);
	str_release(&page);
	return ok;
}
