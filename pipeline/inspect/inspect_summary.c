/* `thresh inspect DIR ...`: what is in the folders: sizes, tokens, and how lengths, scores and sources are spread. */
#include "inspect/inspect.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "inspect/inspect_print.h"
#include "inspect/walk.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOURCES_MAX 64 /* that are told apart; what is beyond is counted together */

struct source_count {
	char *name; /* owns */
	uint64_t n;
};

struct totals {
	uint64_t n_shards, n_rows, n_tokens, n_loss_tokens, n_sequences, raw_bytes, zip_bytes;
	struct numbers lengths, scores;
	struct source_count sources[SOURCES_MAX];
	size_t n_sources;
	uint64_t n_other_sources;
	int64_t context; /* 0: not told */
	bool packed; /* rows are meant to be filled up to `context` */
};

static void totals_release(struct totals *t)
{
	numbers_release(&t->lengths);
	numbers_release(&t->scores);
	for (size_t i = 0; i < t->n_sources; i++) {
		free(t->sources[i].name);
	}
}

static void add_source(struct totals *t, struct slice name)
{
	for (size_t i = 0; i < t->n_sources; i++) {
		if (slice_eq_z(name, t->sources[i].name)) {
			t->sources[i].n++;
			return;
		}
	}
	if (t->n_sources < SOURCES_MAX) {
		t->sources[t->n_sources++] = (struct source_count){
			xmemdup0(name.data, name.len), 1};
	} else {
		t->n_other_sources++;
	}
}

static void count_row(struct totals *t, struct walk *w)
{
	const struct sequences *s = &w->seqs;
	t->n_rows++;
	if (!s->n) {
		return;
	}
	size_t n = s->starts[s->n];
	t->n_tokens += n;
	for (size_t i = 0; s->has_mask && i < n; i++) {
		t->n_loss_tokens += s->mask[i];
	}
	t->n_sequences += s->n;
	for (size_t k = 0; k < s->n; k++) {
		struct walk_meta meta;
		numbers_add(&t->lengths, (double)(s->starts[k + 1] - s->starts[k]));
		if (isfinite(s->scores[k])) {
			numbers_add(&t->scores, s->scores[k]);
		}
		if (walk_meta(w, k, &meta) && meta.source.data) {
			add_source(t, meta.source);
		}
	}
}

static void count_files(struct totals *t, const struct mds_reader *r)
{
	int64_t context;
	const char *layout = json_z(json_get(mds_reader_facts(r), "layout"));
	t->n_shards += mds_reader_n_shards(r);
	for (size_t i = 0; i < mds_reader_n_shards(r); i++) {
		t->raw_bytes += mds_reader_shard(r, i)->raw_bytes;
		t->zip_bytes += mds_reader_shard(r, i)->zip_bytes;
	}
	if (json_int(json_get(mds_reader_facts(r), "context"), &context)) {
		t->context = MAX(t->context, context);
	}
	t->packed = t->packed || (layout && strcmp(layout, "packed") == 0);
}

static bool read_totals(const char *dir, struct totals *t, struct error *err)
{
	struct walk w;
	if (!walk_open(&w, dir, err)) {
		return false;
	}
	count_files(t, w.reader);
	while (walk_next(&w, err)) {
		count_row(t, &w);
	}
	walk_close(&w);
	return err->kind == FAIL_NONE;
}

static double fill_of(const struct totals *t)
{
	return t->packed && t->context && t->n_rows
		? (double)t->n_tokens / ((double)t->n_rows * (double)t->context)
		: 0;
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
	if (t->n_tokens && fill_of(t) > 0) {
		print_fact("fill", "%.2f %% of context %" PRId64, 100 * fill_of(t), t->context);
	}
	print_size(t);
	print_sources(t);
	print_histogram("tokens of a sequence", &t->lengths);
	print_histogram("score of a sequence", &t->scores);
}

static void put_spread(struct json_writer *w, const char *key, struct numbers *list)
{
	static const struct {
		const char *name;
		double q;
	} of[] = {{"min", 0}, {"median", 0.5}, {"p95", 0.95}, {"max", 1}};
	json_key(w, key);
	json_begin_object(w);
	json_key(w, "n");
	json_put_uint(w, list->n);
	for (size_t i = 0; list->n && i < ARRAY_LEN(of); i++) {
		json_key(w, of[i].name);
		json_put_num(w, numbers_quantile(list, of[i].q));
	}
	if (list->n) {
		json_key(w, "mean");
		json_put_num(w, numbers_mean(list));
	}
	json_end_object(w);
}

static void print_totals_json(struct totals *t)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	const struct {
		const char *key;
		uint64_t value;
	} members[] = {{"shards", t->n_shards}, {"samples", t->n_rows}, {"tokens", t->n_tokens},
		{"loss_tokens", t->n_loss_tokens}, {"sequences", t->n_sequences},
		{"raw_bytes", t->raw_bytes}, {"zip_bytes", t->zip_bytes},
		{"context", (uint64_t)t->context}};
	json_begin_object(&w);
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		json_key(&w, members[i].key);
		json_put_uint(&w, members[i].value);
	}
	json_key(&w, "fill");
	json_put_num(&w, fill_of(t));
	json_key(&w, "sources");
	json_begin_object(&w);
	for (size_t i = 0; i < t->n_sources; i++) {
		json_key(&w, t->sources[i].name);
		json_put_uint(&w, t->sources[i].n);
	}
	json_end_object(&w);
	json_key(&w, "sequences_of_other_sources");
	json_put_uint(&w, t->n_other_sources);
	put_spread(&w, "sequence_tokens", &t->lengths);
	put_spread(&w, "scores", &t->scores);
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
