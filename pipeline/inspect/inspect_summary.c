/* `thresh inspect DIR ...`: what is in the folders: sizes, tokens, and how lengths, scores and sources are spread. */
#include "inspect/inspect.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "inspect/inspect_print.h"
#include "inspect/totals.h"
#include "inspect/walk.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool read_totals(const char *dir, struct totals *t, struct error *err)
{
	struct walk w;
	if (!walk_open(&w, dir, err)) {
		return false;
	}
	totals_add_files(t, w.reader);
	while (walk_next(&w, err)) {
		totals_add_row(t, &w);
	}
	walk_close(&w);
	return err->kind == FAIL_NONE;
}

static void print_sources(const struct totals *t)
{
	uint64_t most = t->n_other_sources;
	for (size_t i = 0; i < t->n_sources; i++) {
		most = MAX(most, t->sources[i].n);
	}
	if (t->n_sources) {
		printf("\nsources, sequences of each\n");
	}
	for (size_t i = 0; i < t->n_sources; i++) {
		struct str name;
		str_init(&name, STR_NO_CAP);
		text_put_printable(&name, t->sources[i].name, strlen(t->sources[i].name), false);
		printf("  %-24s %8" PRIu64 " ", name.data, t->sources[i].n);
		str_release(&name);
		print_bar(t->sources[i].n, most);
		putchar('\n');
	}
	if (t->n_other_sources) {
		printf("  %-24s %8" PRIu64 " ", "(others)", t->n_other_sources);
		print_bar(t->n_other_sources, most);
		putchar('\n');
	}
}

static void print_size(const struct totals *t)
{
	char raw[24], zip[24], a_token[48] = "";
	text_format_size(t->raw_bytes, raw);
	text_format_size(t->zip_bytes, zip);
	if (!t->zip_bytes) {
		print_fact("size", "%s, not compressed", raw);
		return;
	}
	if (t->n_tokens) {
		snprintf(a_token, sizeof(a_token), ", %.3f bytes a token",
			(double)t->zip_bytes / (double)t->n_tokens);
	}
	print_fact("size", "%s, %s on disk (%.2f times%s)", raw, zip,
		(double)t->raw_bytes / (double)t->zip_bytes, a_token);
}

static void print_totals(const char *title, struct totals *t)
{
	char tokens[28], loss[28], rows[28], sequences[28];
	text_format_count(t->n_tokens, tokens);
	text_format_count(t->n_loss_tokens, loss);
	text_format_count(t->n_rows, rows);
	text_format_count(t->n_sequences, sequences);
	print_z(title);
	printf("\n\n");
	print_fact("shards", "%" PRIu64, t->n_shards);
	print_fact("samples", "%s", rows);
	if (t->n_tokens) {
		print_fact("tokens", "%s", tokens);
	}
	if (t->n_tokens && t->n_loss_tokens) {
		print_fact("loss tokens", "%s (%.1f %%)", loss,
			100.0 * (double)t->n_loss_tokens / (double)t->n_tokens);
	}
	if (t->n_sequences) {
		print_fact("sequences", "%s (%.1f a sample)", sequences,
			(double)t->n_sequences / (double)t->n_rows);
	}
	if (t->n_tokens && totals_fill(t) > 0) {
		print_fact("fill", "%.2f %% of context %" PRId64, 100 * totals_fill(t), t->context);
	}
	print_size(t);
	print_sources(t);
	print_histogram("tokens of a sequence", &t->lengths);
	print_histogram("score of a sequence", &t->scores);
}

static void print_totals_json(struct totals *t)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	json_begin_object(&w);
	totals_put_json(t, &w);
	json_end_object(&w);
	puts(text.data);
	str_release(&text);
}

bool inspect_summary(char *const *dirs, size_t n, bool json, struct error *err)
{
	struct totals t = {0};
	bool ok = true;
	for (size_t i = 0; ok && i < n; i++) {
		ok = read_totals(dirs[i], &t, err);
	}
	if (ok && json) {
		print_totals_json(&t);
	} else if (ok) {
		AUTO_FREE char *title = n == 1 ? xstrdup(dirs[0]) : xasprintf("%zu folders", n);
		print_totals(title, &t);
	}
	totals_release(&t);
	return ok;
}
