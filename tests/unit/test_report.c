/* The page of `thresh report`: what strangers wrote stays text, charts are what they count, samples are bounded. */
#include "base/json.h"
#include "base/text.h"
#include "fixture.h"
#include "ledger/ledger.h"
#include "registry.h"
#include "report/chart.h"
#include "report/excerpt.h"
#include "report/html.h"
#include "report/report.h"
#include "report/tally.h"
#include "report/visible.h"

#include <check.h>
#include <math.h>
#include <signal.h>
#include <string.h>

static struct error err;
static struct str out;
static struct html h;

static void set_up(void)
{
	fixture_set_up();
	str_init(&out, STR_NO_CAP);
	html_init(&h, &out);
}

static void tear_down(void)
{
	str_release(&out);
	fixture_tear_down();
}

/* --- visible --- */

static const struct {
	struct slice text;
	const char *shown;
} unseen[] = {
	{{"a\nb\tc", 5}, "a\nb\tc"},
	{{"a\0b", 3}, "a‹NUL›b"},
	{{"\x1b[31mred", 8}, "‹ESC›[31mred"},
	{{"\r\n", 2}, "‹CR›\n"},
	{{"\x7f", 1}, "‹DEL›"},
	{{"\xc2\x9b"
	  "31m",
		 5},
		"‹U+009B›31m"},
	{{"x\xe2\x80\xaey", 5}, "x‹U+202E›y"},
	{{"\xe2\x80\xa8\xe2\x80\xa9", 6}, "‹U+2028›‹U+2029›"},
	{{"\xe2\x81\xa6", 3}, "‹U+2066›"},
	{{"\xef\xbb\xbf", 3}, "‹U+FEFF›"},
	{{"\xf3\xa0\x81\x81", 4}, "‹U+E0041›"},
	{{"\xff\xfe", 2}, "‹\\xff›‹\\xfe›"},
	{{"\xed\xa0\x80", 3}, "‹\\xed›‹\\xa0›‹\\x80›"},
	{{"\xf0\x9f\x98", 3}, "‹\\xf0›‹\\x9f›‹\\x98›"},
	{{"\xef\xbf\xbe", 3}, "‹U+FFFE›"},
	{{"caf\xc3\xa9 \xf0\x9f\x98\x80 \xe2\x80\x8d", 14},
		"caf\xc3\xa9 \xf0\x9f\x98\x80 \xe2\x80\x8d"},
};

START_TEST(what_cannot_be_seen_is_named)
	{
		visible_append(&out, unseen[_i].text);
		ck_assert_str_eq(out.data, unseen[_i].shown);
	}
END_TEST

START_TEST(cuts_fall_between_characters)
	{
		const struct slice text = slice_z("a\xc3\xa9\xf0\x9f\x98\x80z");
		static const size_t heads[] = {0, 1, 1, 3, 3, 3, 3, 7, 8, 8};
		static const size_t tails[] = {0, 1, 1, 1, 1, 5, 5, 7, 8, 8};
		for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
			ck_assert_uint_eq(visible_head(text, i).len, heads[i]);
			ck_assert_uint_eq(visible_tail(text, i).len, tails[i]);
		}
		/* Bytes that go on without an end are no characters. */
		ck_assert_uint_eq(
			visible_head((struct slice){"\x80\x80\x80\x80\x80\x80", 6}, 5).len, 2);
	}
END_TEST

/* --- html --- */

static const struct {
	struct slice text;
	const char *html;
} hostile[] = {
	{{"<script>alert(1)</script>", 25}, "<td>&lt;script&gt;alert(1)&lt;/script&gt;</td>"},
	{{"\"' onload=x", 11}, "<td>&quot;&#39; onload=x</td>"},
	{{"&lt;", 4}, "<td>&amp;lt;</td>"},
	{{"<\0b>", 4}, "<td>&lt;<span class=\"ctl\">NUL</span>b&gt;</td>"},
	{{"\xc0<", 2}, "<td><span class=\"ctl\">\\xc0</span>&lt;</td>"},
};

START_TEST(text_stays_text)
	{
		html_begin(&h, HTML("td"));
		html_text(&h, hostile[_i].text);
		html_end(&h);
		html_finish(&h);
		ck_assert_str_eq(out.data, hostile[_i].html);
	}
END_TEST

START_TEST(attributes_cannot_be_left)
	{
		html_begin(&h, HTML("td"));
		html_attr_z(&h, HTML("title"), "\" onclick='x' <b>\xe2\x80\xae\x01&");
		html_attr_num(&h, HTML("x"), 12.50, HTML("%"));
		html_attr_num(&h, HTML("y"), -0.004, HTML_NONE);
		html_attr_num(&h, HTML("z"), 100, HTML_NONE);
		html_end(&h);
		ck_assert_str_eq(out.data,
			"<td title=\"&quot; onclick=&#39;x&#39; &lt;b&gt;‹U+202E›‹SOH›&amp;\" "
			"x=\"12.5%\" "
			"y=\"0\" z=\"100\"></td>");
	}
END_TEST

START_TEST(pictures_and_options_hold_no_elements_of_html)
	{
		html_begin(&h, HTML("svg"));
		html_begin(&h, HTML("text"));
		html_text_z(&h, "\x01<");
		html_end(&h);
		html_begin(&h, HTML("title"));
		html_text_z(&h, "\x01<");
		html_end(&h);
		html_end(&h);
		ck_assert_str_eq(out.data,
			"<svg><text><tspan "
			"class=\"ctl\">SOH</tspan>&lt;</text><title>‹SOH›&lt;</title></svg>");
	}
END_TEST

START_TEST(attribute_that_acts_is_refused)
	{
		html_begin(&h, HTML("a"));
		html_attr_z(&h, HTML("href"), "javascript:alert(1)");
	}
END_TEST

START_TEST(handler_is_refused)
	{
		html_begin(&h, HTML("a"));
		html_attr_z(&h, HTML("OnClick"), "x");
	}
END_TEST

START_TEST(element_left_open_is_refused)
	{
		html_begin(&h, HTML("p"));
		html_finish(&h);
	}
END_TEST

START_TEST(data_cannot_end_its_element)
	{
		struct str json;
		str_init(&json, STR_NO_CAP);
		struct json_writer w = {.out = &json};
		const char *text = "</script><!--<script>&]]>\xe2\x80\xa8\xe2\x80\xa9";
		json_put_z(&w, text);
		html_json(&h, HTML("data"), (struct slice){json.data, json.len});
		const char *begin = "<script type=\"application/json\" id=\"data\">",
			   *end = "</script>";
		ck_assert_uint_gt(out.len, strlen(begin) + strlen(end));
		ck_assert_int_eq(strncmp(out.data, begin, strlen(begin)), 0);
		const char *data = out.data + strlen(begin);
		size_t len = out.len - strlen(begin) - strlen(end);
		ck_assert_str_eq(data + len, end);
		for (size_t i = 0; i < len; i++) {
			ck_assert(!strchr("<>&", data[i]) && (unsigned char)data[i] < 0x80);
		}
		AUTO_JSON struct json *read = json_parse(data, len, &err);
		ck_assert_str_eq(json_z(read), text);
		str_release(&json);
	}
END_TEST

START_TEST(policy_names_the_asset_by_its_hash)
	{
		char hash[HTML_CSP_HASH_BYTES];
		/* printf %s "alert('Hello, world.');" | openssl dgst -sha256 -binary | base64: the example of the CSP standard. */
		html_csp_hash((struct html_asset){"alert('Hello, world.');"}, hash);
		ck_assert_str_eq(hash, "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='");
	}
END_TEST

/* --- excerpts --- */

static void append_part(void *ctx, enum excerpt_kind kind, struct slice text)
{
	static const char *const marks[] = {"", "A", "N", "C"};
	struct str *to = ctx;
	str_printf(to, kind == EXCERPT_PLAIN ? "%s%.*s" : "%s[%.*s]", marks[kind], (int)text.len,
		text.data);
}

static const struct {
	const char *text, *detail, *shown;
} answers[] = {
	{"So 54 and \\boxed{4}.", "{\"gold\":\"4\",\"pred\":\"4\"}", "So 54 and \\boxed{A[4]}."},
	{"It is 4, not 54.", "{\"pred\":\"4\"}", "It is A[4], not 54."},
	{"\\boxed{\\frac{1}{2}} or so", NULL, "\\boxed{A[\\frac{1}{2}]} or so"},
	{"\\boxed{1} then \\boxed{2}", "{\"pred\":7}", "\\boxed{1} then \\boxed{A[2]}"},
	{"\\boxed{never closed", "no JSON", "\\boxed{never closed"},
	{"\\boxed{}", "{\"pred\":\"\"}", "\\boxed{}"},
	{"nothing here", "{\"pred\":\"12\"}", "nothing here"},
	{"", "{\"pred\":\"12\"}", ""},
	{"\\boxed{a\x01z}", NULL, "\\boxed{A[a]N[SOH]A[z]}"},
};

START_TEST(answers_are_marked_where_verifiers_found_them)
	{
		const struct slice text = slice_z(answers[_i].text);
		struct ledger_score score = {.verifier = "math", .detail = answers[_i].detail};
		struct ledger_candidate c = {.text = text, .scores = &score, .n_scores = 1};
		struct excerpt_answers found;
		excerpt_find_answers(&c, &found);
		excerpt_each(text, &found, 100, 100, append_part, &out);
		ck_assert_str_eq(out.data, answers[_i].shown);
	}
END_TEST

START_TEST(long_texts_lose_their_middle)
	{
		struct str text;
		str_init(&text, STR_NO_CAP);
		str_append_z(&text, "begin ");
		while (text.len < 1 << 20) {
			str_append_z(&text, "</script>");
		}
		str_append_z(&text, " \\boxed{42} end");
		struct ledger_candidate c = {.text = {text.data, text.len}};
		struct excerpt_answers found;
		excerpt_find_answers(&c, &found);
		excerpt_each(c.text, &found, 10, 16, append_part, &out);
		AUTO_FREE char *number = xmalloc(28);
		text_format_count(text.len - 10 - 16, number);
		AUTO_FREE char *wanted = xasprintf(
			"begin </scC[ … %s bytes left out … ]> \\boxed{A[42]} end", number);
		ck_assert_str_eq(out.data, wanted);
		str_release(&text);
	}
END_TEST

/* --- charts --- */

START_TEST(axes_end_on_round_numbers)
	{
		static const struct {
			double max, end;
		} axes[] = {{0, 1}, {-3, 1}, {NAN, 1}, {1, 1}, {1.01, 1.2}, {7, 8}, {99, 100},
			{100, 100}, {101, 120}, {0.03, 0.03}, {123456, 150000}};
		for (size_t i = 0; i < ARRAY_LEN(axes); i++) {
			ck_assert_double_eq_tol(
				tally_round_up(axes[i].max), axes[i].end, axes[i].end * 1e-9);
		}
	}
END_TEST

START_TEST(ticks_are_round_and_within)
	{
		struct chart_tick ticks[CHART_TICKS_MAX];
		size_t n = chart_ticks(0, 120, ticks);
		ck_assert_uint_eq(n, 5);
		ck_assert_str_eq(ticks[0].label, "0");
		ck_assert_str_eq(ticks[1].label, "25");
		ck_assert_str_eq(ticks[4].label, "100");
		n = chart_ticks(-1.3, 2.1, ticks);
		ck_assert_str_eq(ticks[0].label, "-1");
		ck_assert_str_eq(ticks[1].label, "0");
		ck_assert_double_le(ticks[n - 1].at, 2.1);
		ck_assert_uint_eq(chart_ticks(1, 1, ticks), 0);
		ck_assert_uint_eq(chart_ticks(0, INFINITY, ticks), 0);
	}
END_TEST

static size_t count(const char *what)
{
	size_t n = 0;
	for (const char *at = out.data; (at = strstr(at, what)); at++) {
		n++;
	}
	return n;
}

START_TEST(histogram_has_a_bar_for_each_count)
	{
		const double yes[] = {0, 2, 1}, no[] = {4, 0, 1};
		const struct chart_series series[] = {
			{"yes", HTML("accepted"), yes}, {"no", HTML("rejected"), no}};
		chart_histogram(&h,
			&(struct chart_histogram){.title = "<b>",
				.x_name = "x",
				.y_name = "n",
				.high = 3,
				.n_bins = 3,
				.series = series,
				.n_series = 2});
		html_finish(&h);
		ck_assert_uint_eq(count("<rect class=\"accepted\""), 2);
		ck_assert_uint_eq(count("<rect class=\"rejected\""), 2);
		/* The bin of 4 reaches the top of the axis, 112 pixels above the base line at 126. */
		ck_assert_uint_eq(count("y=\"14\" height=\"112\"><title>0 to 1: 4 no</title>"), 1);
		/* The stacked ones stand on each other: 28 pixels a candidate. */
		ck_assert_uint_eq(count("y=\"98\" height=\"28\"><title>2 to 3: 1 yes</title>"), 1);
		ck_assert_uint_eq(count("y=\"70\" height=\"28\"><title>2 to 3: 1 no</title>"), 1);
		ck_assert_uint_eq(count("<b>&lt;b&gt;</b>"), 1);
		ck_assert_uint_eq(count("<td class=\"n\">"), 6);
	}
END_TEST

START_TEST(empty_histogram_is_a_picture_as_well)
	{
		const double none[] = {0, 0};
		chart_histogram(&h,
			&(struct chart_histogram){.title = "t",
				.x_name = "x",
				.y_name = "n",
				.high = 1,
				.n_bins = 2,
				.series = &(struct chart_series){"s", HTML("accepted"), none},
				.n_series = 1});
		html_finish(&h);
		ck_assert_uint_eq(count("<rect"), 0);
		ck_assert_uint_eq(count("<svg"), 2);
	}
END_TEST

START_TEST(nights_that_are_not_known_leave_a_gap_of_dots_only)
	{
		const char *const names[] = {"1", "2", "3"};
		const double values[] = {10, NAN, 20};
		chart_nights(&h, &(struct chart_nights){"t", " %", names, values, 3, 2, 1});
		html_finish(&h);
		ck_assert_uint_eq(count("<circle"), 2);
		ck_assert_uint_eq(count("class=\"course\""), 1);
		ck_assert_uint_eq(count("20.0 %"), 2); /* as the figure and as the dot's title */
	}
END_TEST

/* --- the whole --- */

static void add_prompt(struct ledger *l, int64_t id, const char *fields)
{
	AUTO_FREE char *prompt_id = xasprintf("%032lld", (long long)id);
	ck_assert_ok(ledger_add_prompt(l,
			     &(struct ledger_prompt){.id = id,
				     .prompt_id = prompt_id,
				     .source = id % 2 ? "<odd>" : "even",
				     .row_no = 1,
				     .fields = slice_z(fields)},
			     &err),
		err);
	ck_assert_ok(ledger_settle_prompt(l, id, "settled", "all", NULL, &err), err);
}

static void add_candidate(struct ledger *l, int64_t prompt, uint32_t idx, bool accepted,
	double judge, struct slice text)
{
	int64_t id = prompt * 4096 + idx;
	ck_assert_ok(ledger_add_candidate(l,
			     &(struct ledger_candidate){.id = id,
				     .prompt = prompt,
				     .idx = idx,
				     .state = accepted ? "accepted" : "rejected",
				     .reason = "accept",
				     .finish = "stop",
				     .n_tokens = 10 + idx,
				     .token_source = "none",
				     .attempts = 1,
				     .latency_ms = 1000,
				     .created_ms = 1795500001000 + 1000 * id / 4096,
				     .text = text},
			     &err),
		err);
	const struct ledger_score scores[] = {
		{"judge", "verdict", NULL, judge >= 0, judge, false, 0, 0},
		{"math", accepted ? "equal" : "different", NULL, true, accepted, false, 0, 0}};
	for (size_t i = 0; i < 2; i++) {
		ck_assert_ok(ledger_add_score(l, id, &scores[i], &err), err);
	}
}

static struct ledger *new_ledger(void)
{
	AUTO_FREE char *path = fixture_path("ledger.db");
	struct ledger *l = ledger_open(path, LEDGER_CREATE, &err);
	ck_assert_ptr_nonnull(l);
	ck_assert_ok(ledger_set_meta(l, "run", "night", &err), err);
	ck_assert_ok(ledger_set_meta(l, "pipeline", "<p>", &err), err);
	ck_assert_ok(ledger_set_meta(l, "verdicts", "[\"judge\",\"math\"]", &err), err);
	return l;
}

START_TEST(walk_counts_what_is_there)
	{
		struct arena arena = {0};
		struct ledger_verifier *verifiers;
		size_t n;
		struct tally t;
		struct ledger *l = new_ledger();
		/* Pass rates 0, 1/2 and 1; the judge says yes, no, and nothing. */
		for (int64_t prompt = 1; prompt <= 3; prompt++) {
			add_prompt(l, prompt, "{}");
			for (uint32_t idx = 0; idx < 2; idx++) {
				add_candidate(l, prompt, idx, prompt + idx >= 3,
					prompt == 1           ? 0.9
						: prompt == 2 ? 0.1
							      : -1,
					slice_z("x"));
			}
		}
		ck_assert_ok(ledger_verifiers(l, &arena, &verifiers, &n, &err), err);
		ck_assert_ok(tally_read(&t, l, verifiers, n, &err), err);
		ck_assert_int_eq(t.n[STATE_ACCEPTED], 3);
		ck_assert_int_eq(t.n[STATE_REJECTED], 3);
		ck_assert_int_eq(t.rates[0].n_prompts, 1);
		ck_assert_int_eq(t.rates[2].n_prompts, 1);
		ck_assert_int_eq(t.rates[2].n_accepted, 1);
		ck_assert_int_eq(t.rates[TALLY_RATES - 1].n_prompts, 1);
		double tokens = 0;
		for (size_t i = 0; i < TALLY_SPEED_BINS; i++) {
			tokens += t.tokens[false][i] + t.tokens[true][i];
		}
		ck_assert_double_eq_tol(tokens, 3 * (10 + 11), 1e-6);
		ck_assert_uint_eq(t.n_pairs, 1);
		/* judge yes, math no: both of prompt 1; judge no: one of each of prompt 2; prompt 3 has no verdict of the judge. */
		ck_assert_int_eq(t.pairs[0].n[1][0], 2);
		ck_assert_int_eq(t.pairs[0].n[0][0], 1);
		ck_assert_int_eq(t.pairs[0].n[0][1], 1);
		ck_assert_int_eq(t.pairs[0].n[1][1], 0);
		ck_assert_uint_eq(t.n_strata, 2);
		tally_release(&t);
		arena_release(&arena);
		ledger_close(l);
	}
END_TEST

START_TEST(sample_has_the_smallest_hashes_whatever_the_number)
	{
		struct tally t;
		struct ledger *l = new_ledger();
		add_prompt(l, 1, "{}");
		for (uint32_t idx = 0; idx < 1000; idx++) {
			add_candidate(l, 1, idx, false, -1, slice_z("x"));
		}
		ck_assert_ok(tally_read(&t, l, NULL, 0, &err), err);
		ck_assert_uint_eq(t.n_strata, 1);
		ck_assert_int_eq(t.strata[0].n, 1000);
		ck_assert_uint_eq(t.strata[0].picks.n, TALLY_PICKS_MAX);
		uint64_t largest = t.strata[0].picks.list[TALLY_PICKS_MAX - 1].hash;
		for (size_t i = 1; i < TALLY_PICKS_MAX; i++) {
			ck_assert(t.strata[0].picks.list[i - 1].hash <
				t.strata[0].picks.list[i].hash);
		}
		/* 160 of 1,000 uniform hashes: the largest of them is near 0.16 of the range. */
		double share = (double)largest / 18446744073709551616.0;
		ck_assert(share > 0.1 && share < 0.25);
		tally_release(&t);
		ledger_close(l);
	}
END_TEST

START_TEST(page_is_bounded_and_has_no_markup_of_strangers)
	{
		struct str text;
		struct ledger *l = new_ledger();
		str_init(&text, STR_NO_CAP);
		while (text.len < 200000) {
			str_append(&text, "<img src=x onerror=alert(1)></script>\x1b\0\xff", 41);
		}
		add_prompt(l, 1,
			"{\"question\": \"<svg onload=alert(1)>\", \"a\\\"b<i>\": "
			"[\"</script>\"]}");
		for (uint32_t idx = 0; idx < 400; idx++) {
			add_candidate(l, 1, idx, idx % 2, 0.5, (struct slice){text.data, text.len});
		}
		const struct report_source source = {l, fixture_dir, "<x>.yaml"};
		ck_assert_ok(report_build(&source, &out, &err), err);
		ck_assert_uint_lt(out.len, 2000000);
		ck_assert_uint_eq(strlen(out.data), out.len); /* no NUL */
		ck_assert(utf8_valid(out.data, out.len));
		ck_assert_uint_eq(count("<img"), 0);
		ck_assert_uint_eq(count("<svg onload"), 0);
		ck_assert_uint_eq(count("<i>"), 0);
		ck_assert_uint_eq(count("<script"), 2);
		ck_assert_uint_eq(count("</script"), 2);
		ck_assert_uint_eq(count("<odd>") + count("<p> night") + count("<x>"), 0);
		ck_assert_uint_ge(count("&lt;odd&gt;"), 1);
		str_release(&text);
		ledger_close(l);
	}
END_TEST

START_TEST(run_without_anything_has_a_page)
	{
		struct ledger *l = new_ledger();
		const struct report_source source = {l, fixture_dir, "x.yaml"};
		ck_assert_ok(report_build(&source, &out, &err), err);
		ck_assert_uint_eq(count("Not yet"), 1);
		ck_assert_uint_eq(count("nan") + count("inf\""), 0);
		ledger_close(l);
	}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("report");
	TCase *t = tcase_create("all");
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_loop_test(t, what_cannot_be_seen_is_named, 0, ARRAY_LEN(unseen));
	tcase_add_test(t, cuts_fall_between_characters);
	tcase_add_loop_test(t, text_stays_text, 0, ARRAY_LEN(hostile));
	tcase_add_test(t, attributes_cannot_be_left);
	tcase_add_test(t, pictures_and_options_hold_no_elements_of_html);
	tcase_add_test_raise_signal(t, attribute_that_acts_is_refused, SIGABRT);
	tcase_add_test_raise_signal(t, handler_is_refused, SIGABRT);
	tcase_add_test_raise_signal(t, element_left_open_is_refused, SIGABRT);
	tcase_add_test(t, data_cannot_end_its_element);
	tcase_add_test(t, policy_names_the_asset_by_its_hash);
	tcase_add_loop_test(
		t, answers_are_marked_where_verifiers_found_them, 0, ARRAY_LEN(answers));
	tcase_add_test(t, long_texts_lose_their_middle);
	tcase_add_test(t, axes_end_on_round_numbers);
	tcase_add_test(t, ticks_are_round_and_within);
	tcase_add_test(t, histogram_has_a_bar_for_each_count);
	tcase_add_test(t, empty_histogram_is_a_picture_as_well);
	tcase_add_test(t, nights_that_are_not_known_leave_a_gap_of_dots_only);
	tcase_add_test(t, walk_counts_what_is_there);
	tcase_add_test(t, sample_has_the_smallest_hashes_whatever_the_number);
	tcase_add_test(t, page_is_bounded_and_has_no_markup_of_strangers);
	tcase_add_test(t, run_without_anything_has_a_page);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	static const struct stage_ops *const stages[] = {NULL};
	static const struct verifier_ops *const verifiers[] = {NULL};
	registry_set(stages, verifiers);
	return run_suite(suite());
}
