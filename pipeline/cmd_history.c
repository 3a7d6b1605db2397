/* Nights in a row: their figures as their summaries keep them, so that no ledger is opened and none need be there any more. */
#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli.h"
#include "commands.h"
#include "definition.h"
#include "figures.h"
#include "ledger/history.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAST 14 /* nights, unless --last says otherwise */
#define SHOWN 4 /* of them as columns; all of them are in the trend */
#define TREND_MAX 30
#define RUN_COLUMNS 13
#define SAME 0.005 /* a smaller relative change is no change */

struct night {
	char *run, *summary; /* own */
	int64_t number, ended_ms;
	bool held;
	struct figures figures;
};

struct nights {
	struct night *list; /* owns */
	size_t n, cap;
};

static bool take_night(void *ctx, const struct history_run *run, struct error *err)
{
	struct nights *all = ctx;
	AUTO_JSON struct json *summary = json_parse(run->summary, strlen(run->summary), err);
	if (!summary) {
		return error_context(err, "the summary of run '%s'", run->run);
	}
	all->list = array_room(all->list, all->n, &all->cap, sizeof(*all->list));
	struct night *n = &all->list[all->n++];
	*n = (struct night){.run = xstrdup(run->run),
		.summary = xstrdup(run->summary),
		.number = run->number,
		.ended_ms = run->ended_ms,
		.held = run->held};
	figures_of_summary(summary, &n->figures);
	return true;
}

static void release(struct nights *all)
{
	for (size_t i = 0; i < all->n; i++) {
		free(all->list[i].run);
		free(all->list[i].summary);
	}
	free(all->list);
}

/* --- the table --- */

enum shown_as { AS_COUNT, AS_SHARE, AS_RATIO };

static const struct line {
	const char *label; /* %s: the k of the nights shown; NULL: an empty line */
	enum figure figure;
	enum shown_as as;
} lines[] = {
	{"prompts", FIGURE_PROMPTS, AS_COUNT},
	{"candidates", FIGURE_CANDIDATES, AS_COUNT},
	{"failed", FIGURE_FAILED, AS_COUNT},
	{"accepted", FIGURE_ACCEPTED, AS_COUNT},
	{"chosen", FIGURE_CHOSEN, AS_COUNT},
	{"repeats left out", FIGURE_REPEATS, AS_COUNT},
	{NULL, 0, 0},
	{"acceptance", FIGURE_ACCEPTANCE, AS_SHARE},
	{"pass@1", FIGURE_PASS_AT_1, AS_SHARE},
	{"pass@%s", FIGURE_PASS_AT_K, AS_SHARE},
	{"vote@%s", FIGURE_VOTE_AT_K, AS_SHARE},
	{NULL, 0, 0},
	{"tokens", FIGURE_TOKENS, AS_COUNT},
	{"tokens/s", FIGURE_TOKENS_PER_S, AS_COUNT},
	{"accepted per 1M tokens", FIGURE_ACCEPTED_PER_MTOK, AS_COUNT},
	{NULL, 0, 0},
	{"length, median", FIGURE_LENGTH_MEDIAN, AS_COUNT},
	{"length, 90 %", FIGURE_LENGTH_P90, AS_COUNT},
	{"accepted, median", FIGURE_ACCEPTED_LENGTH_MEDIAN, AS_COUNT},
	{"accepted, 90 %", FIGURE_ACCEPTED_LENGTH_P90, AS_COUNT},
	{NULL, 0, 0},
	{"distinct-1", FIGURE_DISTINCT_1, AS_RATIO},
	{"distinct-2", FIGURE_DISTINCT_2, AS_RATIO},
	{"distinct-3", FIGURE_DISTINCT_3, AS_RATIO},
	{"duplicates", FIGURE_DUPLICATE_SHARE, AS_SHARE},
};

static void format_value(enum shown_as as, double v, char out[32])
{
	if (isnan(v)) {
		snprintf(out, 32, "-");
	} else if (as == AS_COUNT) {
		char number[28];
		text_format_count((uint64_t)llround(v), number);
		snprintf(out, 32, "%s", number);
	} else if (as == AS_SHARE) {
		snprintf(out, 32, "%.1f %%", 100 * v);
	} else {
		snprintf(out, 32, "%.3f", v);
	}
}

/* Shares in points, all else in relation to what it was. */
static void format_change(enum shown_as as, double before, double now, char out[32])
{
	if (isnan(before) || isnan(now)) {
		out[0] = '\0';
		return;
	}
	bool same = fabs(now - before) <= SAME * fabs(before);
	const char *arrow = same ? "=" : now > before ? "\xe2\x86\x91" : "\xe2\x86\x93"; /* ↑ ↓ */
	if (same || (as != AS_SHARE && before == 0)) {
		snprintf(out, 32, "%s", arrow);
	} else if (as == AS_SHARE) {
		snprintf(out, 32, "%s %+.1f pt", arrow, 100 * (now - before));
	} else {
		snprintf(out, 32, "%s %+.1f %%", arrow, 100 * (now - before) / before);
	}
}

/* A bar of eight heights a night, from the lowest to the highest of them. */
static void put_trend(struct str *out, const struct nights *all, enum figure figure)
{
	size_t first = all->n > TREND_MAX ? all->n - TREND_MAX : 0;
	double low = INFINITY, high = -INFINITY;
	for (size_t i = first; i < all->n; i++) {
		double v = all->list[i].figures.values[figure];
		low = isnan(v) ? low : fmin(low, v);
		high = isnan(v) ? high : fmax(high, v);
	}
	for (size_t i = first; i < all->n; i++) {
		double v = all->list[i].figures.values[figure];
		if (isnan(v)) {
			str_append_z(out, "\xc2\xb7"); /* · */
			continue;
		}
		int height = high > low ? (int)lround(7 * (v - low) / (high - low)) : 3;
		const char bar[] = {'\xe2', '\x96', (char)(0x81 + height), '\0'};
		str_append_z(out, bar);
	}
}

/* The finished night that the newest is held against; NULL: none of those read. */
static const struct night *before_last(const struct nights *all)
{
	const struct night *last = &all->list[all->n - 1];
	for (size_t i = all->n - 1; i-- > 0;) {
		if (!all->list[i].held && all->list[i].number < last->number) {
			return &all->list[i];
		}
	}
	return NULL;
}

static void print_line(
	const struct line *line, const struct nights *all, size_t first, const char *k)
{
	char label[32], text[32] = "";
	const struct night *before = before_last(all);
	double now = all->list[all->n - 1].figures.values[line->figure];
	struct str row;
	str_init(&row, STR_NO_CAP);
	snprintf(label, sizeof(label), "%s", line->label);
	char *mark = strstr(label, "%s");
	if (mark) {
		snprintf(mark, sizeof(label) - (size_t)(mark - label), "%s", k);
	}
	str_printf(&row, "  %-22s", label);
	for (size_t i = first; i < all->n; i++) {
		format_value(line->as, all->list[i].figures.values[line->figure], text);
		str_printf(&row, "%*s", RUN_COLUMNS, text);
	}
	if (all->n > 1) {
		text[0] = '\0';
		if (before) {
			format_change(line->as, before->figures.values[line->figure], now, text);
		}
		int columns = (int)utf8_columns(text, strlen(text));
		str_printf(&row, "   %s%*s", text, 12 - columns, "");
		put_trend(&row, all, line->figure);
	}
	printf("%s\n", row.data);
	str_release(&row);
}

/* The end of a name that is too long tells more than its beginning. */
static void print_head(const struct nights *all, size_t first)
{
	bool any_held = false;
	struct str row;
	str_init(&row, STR_NO_CAP);
	for (size_t i = first; i < all->n; i++) {
		const char *run = all->list[i].run;
		size_t len = strlen(run), shown = MIN(len, (size_t)RUN_COLUMNS - 1);
		str_printf(&row, "%*s", RUN_COLUMNS - (int)shown, "");
		text_put_printable(&row, run + len - shown, shown, false);
		any_held = any_held || all->list[i].held;
	}
	printf("  %-22s%s%s\n", "", row.data, all->n > 1 ? "   change      trend" : "");
	str_release(&row);
	if (any_held) {
		printf("  %-22s", "gate");
		for (size_t i = first; i < all->n; i++) {
			printf("%*s", RUN_COLUMNS, all->list[i].held ? "held" : "");
		}
		printf("\n");
	}
}

static void print_table(const struct definition *def, const struct nights *all)
{
	size_t first = all->n > SHOWN ? all->n - SHOWN : 0;
	char k[12] = "k";
	bool same_k = true;
	for (size_t i = first; i < all->n; i++) {
		double v = all->list[i].figures.values[FIGURE_K];
		same_k = same_k && v == all->list[first].figures.values[FIGURE_K];
	}
	if (same_k) {
		snprintf(k, sizeof(k), "%.0f", all->list[first].figures.values[FIGURE_K]);
	}
	printf("%zu %s of %s\n\n", all->n, all->n == 1 ? "night" : "nights", def->name);
	print_head(all, first);
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		if (!lines[i].label) {
			printf("\n");
			continue;
		}
		print_line(&lines[i], all, first, k);
	}
	if (!same_k) {
		static const struct line k_line = {"k", FIGURE_K, AS_COUNT};
		print_line(&k_line, all, first, k);
	}
}

/* --- JSON --- */

static void print_json(const struct nights *all)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	json_begin_array(&w);
	for (size_t i = 0; i < all->n; i++) {
		const struct night *n = &all->list[i];
		json_begin_object(&w);
		json_member_z(&w, "run", n->run);
		json_member_int(&w, "number", n->number);
		json_member_int(&w, "ended_ms", n->ended_ms);
		json_member_z(&w, "state", n->held ? "held" : "finished");
		json_key(&w, "figures");
		figures_put(&w, &n->figures);
		json_key(&w, "summary");
		json_put_raw(&w, n->summary, strlen(n->summary));
		json_end_object(&w);
	}
	json_end_array(&w);
	printf("%s\n", text.data);
	str_release(&text);
}

/* --- prompts by pass rate --- */

static void print_bands(const struct history_bands *b)
{
	int64_t most = 1;
	char number[28];
	for (size_t i = 0; i < HISTORY_BANDS; i++) {
		most = MAX(most, b->n[i]);
	}
	text_format_count((uint64_t)b->n_prompts, number);
	printf("%s prompts are known, by the share that the model which tried them last got "
	       "accepted\n\n  %-12s %10s\n",
		number, "pass rate", "prompts");
	for (size_t i = 0; i < HISTORY_BANDS; i++) {
		char label[24];
		if (i == 0 || i == HISTORY_BANDS - 1) {
			snprintf(label, sizeof(label), "%s", i ? "1" : "0");
		} else {
			snprintf(label, sizeof(label), "%.1f to %.1f", (double)(i - 1) / 10,
				(double)i / 10);
		}
		text_format_count((uint64_t)b->n[i], number);
		printf("  %-12s %10s%s", label, number, b->n[i] ? "   " : "");
		for (int64_t k = 0; k < 40 * b->n[i] / most; k++) {
			printf("\xe2\x96\x88"); /* █ */
		}
		printf("\n");
	}
	text_format_count((uint64_t)b->n_undecided, number);
	printf("  %-12s %10s\n", "not decided", number);
}

static void print_bands_json(const struct history_bands *b)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	json_begin_object(&w);
	json_member_int(&w, "prompts", b->n_prompts);
	json_member_int(&w, "not_decided", b->n_undecided);
	json_key(&w, "bands");
	json_begin_array(&w);
	for (size_t i = 0; i < HISTORY_BANDS; i++) {
		json_put_int(&w, b->n[i]);
	}
	json_end_array(&w);
	json_end_object(&w);
	printf("%s\n", text.data);
	str_release(&text);
}

/* --- the command --- */

static bool show_nights(const struct definition *def, struct history *h, uint64_t last, bool json,
	struct error *err)
{
	struct nights all = {0};
	bool ok = history_each_run(h, last, take_night, &all, err);
	if (ok && json) {
		print_json(&all);
	} else if (ok && !all.n) {
		printf("no night of %s is over yet\n", def->name);
	} else if (ok) {
		print_table(def, &all);
	}
	release(&all);
	return ok;
}

static bool show_prompts(struct history *h, bool json, struct error *err)
{
	struct history_bands bands;
	if (!history_bands(h, &bands, err)) {
		return false;
	}
	(json ? print_bands_json : print_bands)(&bands);
	return true;
}

static bool show(
	const struct definition *def, uint64_t last, bool prompts, bool json, struct error *err)
{
	AUTO_FREE char *path = file_join(def->workdir, "history.db");
	if (!file_exists(path)) {
		error_set(err, FAIL_IO, "no night of '%s' is over yet: there is no '%s'", def->name,
			path);
		return error_hint(err, "`thresh status` shows one that goes on");
	}
	struct history *h = history_open(path, err);
	bool ok = h &&
		(prompts ? show_prompts(h, json, err) : show_nights(def, h, last, json, err));
	history_close(h);
	return ok;
}

int cmd_history(int argc, char **argv)
{
	uint64_t last = LAST;
	bool json = false, prompts = false;
	struct cli_option options[] = {
		{"last", "N", "the newest N nights; default: 14, 0: all", CLI_COUNT, &last},
		{"prompts", NULL, "how many prompts have which pass rate, instead", CLI_FLAG,
			&prompts},
		{"json", NULL, "print JSON", CLI_FLAG, &json},
		{0},
	};
	struct cli cli = {"history", "PIPELINE", "Shows nights in a row.", options, 1, 1,
		"The newest 4 nights are shown, the newest against the finished one before it, and "
		"the trend of all\nthat --last names. docs/history.md says what each figure is.",
		NULL, 0};
	int exit_code;
	if (!cli_parse(&cli, argc, argv, &exit_code)) {
		return exit_code;
	}
	struct definition def;
	struct error err = {0};
	bool ok = definition_for_reading(&def, cli.args[0], &err) &&
		show(&def, last, prompts, json, &err);
	exit_code = ok ? 0 : cli_fail(&err);
	definition_release(&def);
	return cli_finish_stdout(exit_code);
}
