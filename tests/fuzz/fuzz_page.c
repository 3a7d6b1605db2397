/*
 * A candidate's text and what a verifier said of it (the first line), written to a page by every way that there is. What comes out is
 * UTF-8 without control characters, holds no more markup than we wrote, and as data it is the JSON that went in.
 */
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "ledger/ledger.h"
#include "report/excerpt.h"
#include "report/html.h"
#include "report/visible.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#define HEAD_BYTES 64
#define TAIL_BYTES 32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *s, size_t len)
{
	assert(utf8_valid(s, len));
	for (size_t i = 0; i < len; i++) {
		assert((unsigned char)s[i] >= 0x20 || s[i] == '\n' || s[i] == '\t');
	}
}

/* The text of an element: every < is the beginning of our own spans and marks. */
static void check_markup(const char *s)
{
	static const char *const ours[] = {"<p>", "</p>", "<span class=\"ctl\">", "</span>"};
	for (const char *at = s; (at = strchr(at, '<')); at++) {
		bool known = false;
		for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
			known = known || strncmp(at, ours[i], strlen(ours[i])) == 0;
		}
		assert(known);
	}
}

static void as_element(struct slice text)
{
	struct str out;
	struct html h;
	str_init(&out, STR_NO_CAP);
	html_init(&h, &out);
	html_begin(&h, HTML("p"));
	html_text(&h, text);
	html_end(&h);
	html_finish(&h);
	check_text(out.data, out.len);
	check_markup(out.data);
	str_release(&out);
}

static void as_attribute(struct slice text)
{
	struct str out;
	struct html h;
	str_init(&out, STR_NO_CAP);
	html_init(&h, &out);
	AUTO_FREE char *z = xmemdup0(text.data, text.len);
	html_begin(&h, HTML("p"));
	html_attr_z(&h, HTML("title"), z);
	html_end(&h);
	check_text(out.data, out.len);
	const char *value = out.data + strlen("<p title=\"");
	size_t len = strcspn(value, "\"");
	assert(strcmp(value + len, "\"></p>") == 0);
	assert(!memchr(value, '<', len) && !memchr(value, '>', len));
	str_release(&out);
}

static void put_part(void *ctx, enum excerpt_kind kind, struct slice text)
{
	struct json_writer *w = ctx;
	json_put_int(w, kind);
	json_put_str(w, text.data, text.len);
}

static void as_data(const struct ledger_candidate *c)
{
	static const char begin[] = "<script type=\"application/json\" id=\"data\">",
			  end[] = "</script>";
	struct excerpt_answers answers;
	struct str json, out;
	struct html h;
	str_init(&json, STR_NO_CAP);
	str_init(&out, STR_NO_CAP);
	struct json_writer w = {.out = &json};
	excerpt_find_answers(c, &answers);
	for (size_t i = 0; i < answers.n; i++) {
		assert(answers.list[i].begin < answers.list[i].end &&
			answers.list[i].end <= c->text.len);
		assert(i == 0 || answers.list[i - 1].end <= answers.list[i].begin);
	}
	json_begin_array(&w);
	excerpt_each(c->text, &answers, HEAD_BYTES, TAIL_BYTES, put_part, &w);
	json_end_array(&w);
	html_init(&h, &out);
	html_json(&h, HTML("data"), (struct slice){json.data, json.len});
	html_finish(&h);
	check_text(out.data, out.len);
	size_t len = out.len - strlen(begin) - strlen(end);
	const char *inner = out.data + strlen(begin);
	assert(strcmp(inner + len, end) == 0 && !memchr(inner, '<', len) &&
		!memchr(inner, '&', len));
	struct error err;
	struct json *a = json_parse(inner, len, &err), *b = json_parse(json.data, json.len, &err);
	struct str dump_a, dump_b;
	str_init(&dump_a, STR_NO_CAP);
	str_init(&dump_b, STR_NO_CAP);
	json_dump(a, false, &dump_a);
	json_dump(b, false, &dump_b);
	assert(a && b && strcmp(dump_a.data, dump_b.data) == 0);
	json_free(a);
	json_free(b);
	str_release(&dump_a);
	str_release(&dump_b);
	str_release(&json);
	str_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *newline = size ? memchr(data, '\n', size) : NULL;
	size_t head = newline ? (size_t)(newline - (const char *)data) : 0;
	struct slice text = {
		(const char *)data + (newline ? head + 1 : 0), size - (newline ? head + 1 : 0)};
	AUTO_FREE char *detail = xmemdup0(data, head);
	struct ledger_score score = {.verifier = "v", .detail = detail};
	const struct ledger_candidate c = {.text = text, .scores = &score, .n_scores = 1};
	as_element(text);
	as_attribute(text);
	as_data(&c);
	return 0;
}
