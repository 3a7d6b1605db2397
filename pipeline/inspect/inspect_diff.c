/*
 * `thresh inspect --diff A B`: what changed between two nights.
 *
 * Of each sequence and each prompt only a hash of 64 bits is kept, and of the rest numbers, so ten million conversations take
 * some hundred megabytes; the chance that two different ones among so many share a hash is one in 400,000. Sorted lists of
 * hashes are then walked side by side.
 */
#include "inspect/inspect.h"

#include "base/hash.h"
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

#define VERIFIERS_MAX 64 /* that are told apart */

/* Of index.json, those that say how a night was made; the tokenizer has its own warning. */
static const char *const fact_names[] = {
	"thresh", "pipeline", "layout", "model", "tokenizer", "score", "accept", "context"};
#define N_FACTS ARRAY_LEN(fact_names)

struct hashes {
	uint64_t *items; /* owns */
	size_t n, cap;
};

struct verifier_scores {
	char *name; /* owns */
	struct numbers scores; /* of accepted candidates, null ones left out */
};

struct night {
	const char *dir;
	struct totals totals;
	struct hashes sequences, prompts;
	char *facts[N_FACTS]; /* own; NULL: not told */
	struct verifier_scores verifiers[VERIFIERS_MAX];
	size_t n_verifiers;
};

struct overlap {
	uint64_t both, only_a, only_b; /* different ones */
	uint64_t repeats_a, repeats_b; /* items beyond the first of their kind */
	uint64_t b_in_a; /* items of B that are in A, repeats included */
};

static void night_release(struct night *t)
{
	totals_release(&t->totals);
	free(t->sequences.items);
	free(t->prompts.items);
	for (size_t i = 0; i < N_FACTS; i++) {
		free(t->facts[i]);
	}
	for (size_t i = 0; i < t->n_verifiers; i++) {
		free(t->verifiers[i].name);
		numbers_release(&t->verifiers[i].scores);
	}
}

/* --- reading --- */

static void hashes_add(struct hashes *h, const void *bytes, size_t len)
{
	h->items = array_room(h->items, h->n, &h->cap, sizeof(*h->items));
	h->items[h->n++] = hash64(bytes, len, 0);
}

static void add_score(void *ctx, const char *verifier, const struct json *value)
{
	struct night *t = ctx;
	size_t i = 0;
	double score;
	while (i < t->n_verifiers && strcmp(t->verifiers[i].name, verifier) != 0) {
		i++;
	}
	if (i == t->n_verifiers && i < VERIFIERS_MAX) {
		t->verifiers[t->n_verifiers++].name = xstrdup(verifier);
	}
	if (i < VERIFIERS_MAX && json_num(value, &score)) {
		numbers_add(&t->verifiers[i].scores, score);
	}
}

static void add_meta(struct night *t, const struct walk_meta *meta)
{
	struct error ignored;
	if (meta->prompt_id.data) {
		hashes_add(&t->prompts, meta->prompt_id.data, meta->prompt_id.len);
	}
	AUTO_JSON struct json *root = meta->meta.data
		? json_parse(meta->meta.data, meta->meta.len, &ignored)
		: NULL;
	json_each(json_get(root, "scores"), add_score, t);
}

/* A row without token ids counts as one piece, all its columns together. */
static void add_other_row(struct night *t, const struct walk *w)
{
	const struct mds_read_shard *s = mds_reader_shard(w->reader, w->shard);
	uint64_t columns[MDS_READ_COLUMNS_MAX];
	for (size_t i = 0; i < s->n_columns; i++) {
		columns[i] = hash64(w->values[i].data, w->values[i].len, 0);
	}
	hashes_add(&t->sequences, columns, s->n_columns * sizeof(*columns));
}

static void add_row(struct night *t, struct walk *w)
{
	const struct sequences *s = &w->seqs;
	struct walk_meta meta;
	totals_add_row(&t->totals, w);
	for (size_t k = 0; k < s->n; k++) {
		hashes_add(&t->sequences, s->ids + s->starts[k],
			(s->starts[k + 1] - s->starts[k]) * sizeof(*s->ids));
		if (walk_meta(w, k, &meta)) {
			add_meta(t, &meta);
		}
	}
	if (!s->n) {
		add_other_row(t, w);
	}
}

static void read_facts(struct night *t, const struct mds_reader *r)
{
	for (size_t i = 0; i < N_FACTS; i++) {
		const struct json *value = json_get(mds_reader_facts(r), fact_names[i]);
		struct str text;
		str_init(&text, STR_NO_CAP);
		if (json_z(value)) {
			str_append_z(&text, json_z(value));
		} else if (value) {
			json_dump(value, true, &text);
		}
		t->facts[i] = value ? str_take(&text) : NULL;
		str_release(&text);
	}
}

static bool read_night(struct night *t, struct error *err)
{
	struct walk w;
	if (!walk_open(&w, t->dir, err)) {
		return false;
	}
	totals_add_files(&t->totals, w.reader);
	read_facts(t, w.reader);
	while (walk_next(&w, err)) {
		add_row(t, &w);
	}
	walk_close(&w);
	return err->kind == FAIL_NONE;
}

/* --- comparing --- */

static int compare_hashes(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static void hashes_sort(struct hashes *h)
{
	if (h->n) {
		qsort(h->items, h->n, sizeof(*h->items), compare_hashes);
	}
}

/* How often the item at `at` comes in a row. */
static size_t run_length(const struct hashes *h, size_t at)
{
	size_t n = 1;
	while (at + n < h->n && h->items[at + n] == h->items[at]) {
		n++;
	}
	return n;
}

static struct overlap overlap_of(const struct hashes *a, const struct hashes *b)
{
	struct overlap o = {0};
	for (size_t i = 0, k = 0; i < a->n || k < b->n;) {
		bool in_a = i < a->n && (k == b->n || a->items[i] <= b->items[k]);
		bool in_b = k < b->n && (i == a->n || b->items[k] <= a->items[i]);
		size_t times_a = in_a ? run_length(a, i) : 0, times_b = in_b ? run_length(b, k) : 0;
		o.both += in_a && in_b;
		o.only_a += in_a && !in_b;
		o.only_b += in_b && !in_a;
		o.repeats_a += in_a ? times_a - 1 : 0;
		o.repeats_b += in_b ? times_b - 1 : 0;
		o.b_in_a += in_a ? times_b : 0;
		i += times_a;
		k += times_b;
	}
	return o;
}

static bool fact_differs(const struct night *a, const struct night *b, size_t i)
{
	const char *x = a->facts[i], *y = b->facts[i];
	return x && y ? strcmp(x, y) != 0 : x != y;
}

/* Told by both, and not the same: their ids stand for other texts. */
static bool tokenizers_differ(const struct night *a, const struct night *b)
{
	for (size_t i = 0; i < N_FACTS; i++) {
		if (strcmp(fact_names[i], "tokenizer") == 0) {
			return a->facts[i] && b->facts[i] && fact_differs(a, b, i);
		}
	}
	return false;
}

static double bytes_per_token(const struct totals *t)
{
	uint64_t bytes = t->zip_bytes ? t->zip_bytes : t->raw_bytes;
	return t->n_tokens ? (double)bytes / (double)t->n_tokens : 0;
}

static uint64_t source_count(const struct totals *t, const char *name)
{
	for (size_t i = 0; i < t->n_sources; i++) {
		if (strcmp(t->sources[i].name, name) == 0) {
			return t->sources[i].n;
		}
	}
	return 0;
}

static struct numbers *verifier_of(struct night *t, const char *name)
{
	for (size_t i = 0; i < t->n_verifiers; i++) {
		if (strcmp(t->verifiers[i].name, name) == 0) {
			return &t->verifiers[i].scores;
		}
	}
	return NULL;
}

/* --- for people --- */

#define NAME_COLUMNS 24

static void print_heading(const char *title)
{
	printf("\n%-*s %15s %15s %11s\n", NAME_COLUMNS, title, "A", "B", "change");
}

/* Names come out of the data, and are padded by the columns they take. */
static void print_name(const char *name)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	text_put_printable(&text, name, strlen(name), false);
	size_t columns = utf8_columns(text.data, text.len);
	printf("  %s%*s", text.data, (int)(NAME_COLUMNS - 2 - MIN(columns, NAME_COLUMNS - 2)), "");
	str_release(&text);
}

static void print_change(double a, double b)
{
	if (a != b && a != 0) {
		printf(" %+9.1f %%", 100 * (b - a) / fabs(a));
	}
	putchar('\n');
}

static void print_counts(const char *name, uint64_t a, uint64_t b)
{
	char text_a[28], text_b[28];
	text_format_count(a, text_a);
	text_format_count(b, text_b);
	print_name(name);
	printf(" %15s %15s", text_a, text_b);
	print_change((double)a, (double)b);
}

/* NaN: not there. */
static void print_number(double v, const char *unit)
{
	char text[32] = "-";
	if (!isnan(v)) {
		snprintf(text, sizeof(text), "%.4g%s", v, unit);
	}
	printf(" %15s", text);
}

static void print_numbers(const char *name, double a, double b)
{
	print_name(name);
	print_number(a, "");
	print_number(b, "");
	if (isnan(a) || isnan(b)) {
		putchar('\n');
	} else {
		print_change(a, b);
	}
}

/* A relative change of a share would be read as one in points. */
static void print_shares(const char *name, double a, double b)
{
	print_name(name);
	print_number(100 * a, " %");
	print_number(100 * b, " %");
	if (a != b) {
		printf(" %+9.1f pt", 100 * (b - a));
	}
	putchar('\n');
}

static double quantile_or_nan(struct numbers *list, double q)
{
	return list && list->n ? numbers_quantile(list, q) : (double)NAN;
}

static double mean_or_nan(const struct numbers *list)
{
	return list && list->n ? numbers_mean(list) : (double)NAN;
}

static void print_spread(const char *title, struct numbers *a, struct numbers *b)
{
	static const struct {
		const char *name;
		double q;
	} of[] = {{"min", 0}, {"p5", 0.05}, {"median", 0.5}, {"p95", 0.95}, {"max", 1}};
	if (!a->n && !b->n) {
		return;
	}
	print_heading(title);
	for (size_t i = 0; i < ARRAY_LEN(of); i++) {
		print_numbers(of[i].name, quantile_or_nan(a, of[i].q), quantile_or_nan(b, of[i].q));
	}
	print_numbers("mean", mean_or_nan(a), mean_or_nan(b));
}

static void print_fact_of(const char *name, const char *side, const char *value)
{
	printf("  %-12s %s  ", name, side);
	print_z(value ? value : "(not told)");
	putchar('\n');
}

static void print_differences(const struct night *a, const struct night *b)
{
	bool any = false;
	for (size_t i = 0; i < N_FACTS; i++) {
		if (fact_differs(a, b, i)) {
			printf("%s", any ? "" : "\nmade differently\n");
			any = true;
			print_fact_of(fact_names[i], "A", a->facts[i]);
			print_fact_of("", "B", b->facts[i]);
		}
	}
	if (tokenizers_differ(a, b)) {
		printf("\nwarning: the tokenizers differ: the same id stands for another text, and "
		       "no "
		       "trainer may mix them\n");
	}
}

static void print_sizes(const struct totals *a, const struct totals *b)
{
	print_heading("");
	print_counts("shards", a->n_shards, b->n_shards);
	print_counts("samples", a->n_rows, b->n_rows);
	print_counts("bytes", a->zip_bytes ? a->zip_bytes : a->raw_bytes,
		b->zip_bytes ? b->zip_bytes : b->raw_bytes);
	if (!a->n_tokens && !b->n_tokens) {
		return;
	}
	print_counts("sequences", a->n_sequences, b->n_sequences);
	print_counts("tokens", a->n_tokens, b->n_tokens);
	if (a->n_loss_tokens || b->n_loss_tokens) {
		print_counts("loss tokens", a->n_loss_tokens, b->n_loss_tokens);
	}
	print_numbers("bytes a token", bytes_per_token(a), bytes_per_token(b));
	if (totals_fill(a) > 0 || totals_fill(b) > 0) {
		print_shares("fill", totals_fill(a), totals_fill(b));
	}
}

static void print_share(const char *name, const struct totals *a, uint64_t n_a,
	const struct totals *b, uint64_t n_b)
{
	print_shares(name, a->n_sequences ? (double)n_a / (double)a->n_sequences : 0,
		b->n_sequences ? (double)n_b / (double)b->n_sequences : 0);
}

static void print_sources(const struct totals *a, const struct totals *b)
{
	if (a->n_sources || b->n_sources) {
		print_heading("share of a source");
	}
	for (size_t i = 0; i < a->n_sources; i++) {
		const char *name = a->sources[i].name;
		print_share(name, a, a->sources[i].n, b, source_count(b, name));
	}
	for (size_t i = 0; i < b->n_sources; i++) {
		if (!source_count(a, b->sources[i].name)) {
			print_share(b->sources[i].name, a, 0, b, b->sources[i].n);
		}
	}
	if (a->n_other_sources || b->n_other_sources) {
		print_share("(others)", a, a->n_other_sources, b, b->n_other_sources);
	}
}

static void print_verifiers(struct night *a, struct night *b)
{
	if (a->n_verifiers || b->n_verifiers) {
		print_heading("mean of a verifier");
	}
	for (size_t i = 0; i < a->n_verifiers; i++) {
		const char *name = a->verifiers[i].name;
		print_numbers(name, mean_or_nan(&a->verifiers[i].scores),
			mean_or_nan(verifier_of(b, name)));
	}
	for (size_t i = 0; i < b->n_verifiers; i++) {
		if (!verifier_of(a, b->verifiers[i].name)) {
			print_numbers(
				b->verifiers[i].name, NAN, mean_or_nan(&b->verifiers[i].scores));
		}
	}
}

static void print_overlap(const char *name, const struct overlap *o)
{
	char both[28], only_a[28], only_b[28];
	text_format_count(o->both, both);
	text_format_count(o->only_a, only_a);
	text_format_count(o->only_b, only_b);
	printf("  %-12s %12s %12s %12s\n", name, both, only_a, only_b);
}

static void print_overlaps(const struct night *a, const struct night *b,
	const struct overlap *sequences, const struct overlap *prompts)
{
	const char *what = a->totals.n_sequences || b->totals.n_sequences ? "sequences" : "samples";
	printf("\n%-14s %12s %12s %12s\n", "different", "in both", "only in A", "only in B");
	print_overlap(what, sequences);
	if (a->prompts.n || b->prompts.n) {
		print_overlap("prompts", prompts);
	}
	printf("\n%" PRIu64 " of the %zu %s of B are in A", sequences->b_in_a, b->sequences.n,
		what);
	printf("; repeated within A: %" PRIu64 ", within B: %" PRIu64 "\n", sequences->repeats_a,
		sequences->repeats_b);
}

static void print_comparison(struct night *a, struct night *b, const struct overlap *sequences,
	const struct overlap *prompts)
{
	printf("A  ");
	print_z(a->dir);
	printf("\nB  ");
	print_z(b->dir);
	putchar('\n');
	print_differences(a, b);
	print_sizes(&a->totals, &b->totals);
	print_sources(&a->totals, &b->totals);
	print_spread("tokens of a sequence", &a->totals.lengths, &b->totals.lengths);
	print_spread("score of a sequence", &a->totals.scores, &b->totals.scores);
	print_verifiers(a, b);
	print_overlaps(a, b, sequences, prompts);
}

/* --- for programs --- */

static void put_night(struct json_writer *w, struct night *t, uint64_t repeats)
{
	json_begin_object(w);
	json_member_z(w, "dir", t->dir);
	json_key(w, "facts");
	json_begin_object(w);
	for (size_t i = 0; i < N_FACTS; i++) {
		json_member_z(w, fact_names[i], t->facts[i]);
	}
	json_end_object(w);
	totals_put_json(&t->totals, w);
	json_member_num(w, "bytes_per_token", bytes_per_token(&t->totals));
	json_key(w, "verifiers");
	json_begin_object(w);
	for (size_t i = 0; i < t->n_verifiers; i++) {
		numbers_put_json(&t->verifiers[i].scores, w, t->verifiers[i].name);
	}
	json_end_object(w);
	json_member_uint(w, "repeats", repeats);
	json_end_object(w);
}

static void put_overlap(struct json_writer *w, const char *key, const struct overlap *o)
{
	const struct {
		const char *key;
		uint64_t value;
	} members[] = {{"both", o->both}, {"only_a", o->only_a}, {"only_b", o->only_b},
		{"b_in_a", o->b_in_a}};
	json_key(w, key);
	json_begin_object(w);
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		json_member_uint(w, members[i].key, members[i].value);
	}
	json_end_object(w);
}

static void print_comparison_json(struct night *a, struct night *b, const struct overlap *sequences,
	const struct overlap *prompts)
{
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer w = {.out = &text};
	json_begin_object(&w);
	json_key(&w, "a");
	put_night(&w, a, sequences->repeats_a);
	json_key(&w, "b");
	put_night(&w, b, sequences->repeats_b);
	json_key(&w, "differ");
	json_begin_array(&w);
	for (size_t i = 0; i < N_FACTS; i++) {
		if (fact_differs(a, b, i)) {
			json_put_z(&w, fact_names[i]);
		}
	}
	json_end_array(&w);
	json_member_bool(&w, "tokenizers_differ", tokenizers_differ(a, b));
	put_overlap(&w, "same_sequences", sequences);
	put_overlap(&w, "same_prompts", prompts);
	json_end_object(&w);
	puts(text.data);
	str_release(&text);
}

bool inspect_diff(const char *dir_a, const char *dir_b, bool json, struct error *err)
{
	struct night a = {.dir = dir_a}, b = {.dir = dir_b};
	bool ok = read_night(&a, err) && read_night(&b, err);
	if (ok) {
		hashes_sort(&a.sequences);
		hashes_sort(&b.sequences);
		hashes_sort(&a.prompts);
		hashes_sort(&b.prompts);
		struct overlap sequences = overlap_of(&a.sequences, &b.sequences),
			       prompts = overlap_of(&a.prompts, &b.prompts);
		if (json) {
			print_comparison_json(&a, &b, &sequences, &prompts);
		} else {
			print_comparison(&a, &b, &sequences, &prompts);
		}
	}
	night_release(&a);
	night_release(&b);
	return ok;
}
