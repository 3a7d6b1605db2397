/*
 * `thresh inspect --sample N`: one row, decoded. What is trained on is plain, the rest dim, special tokens bold; into a file or
 * a pipe the same is said in words.
 */
#include "inspect/inspect.h"

#include "base/json.h"
#include "base/mem.h"
#include "cli.h"
#include "inspect/decode.h"
#include "inspect/inspect_print.h"
#include "inspect/inspect_sample.h"
#include "inspect/walk.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define VALUE_BYTES_SHOWN 400

struct showing {
	struct walk *w;
	const struct decoder *decoder;
	bool fancy, table;
};

/* Tokens to print in one style; a character may be spread over several, so they are put together first. */
static void print_run(const struct showing *s, size_t from, size_t to, bool trained)
{
	const char *style = trained ? "" : STYLE_DIM;
	struct str text, piece;
	str_init(&text, STR_NO_CAP);
	str_init(&piece, STR_NO_CAP);
	fputs(s->fancy ? style : trained ? "[trained] " : "[prompt] ", stdout);
	for (size_t i = from; i < to; i++) {
		str_reset(&piece);
		if (!decoder_put(s->decoder, s->w->seqs.ids[i], &piece) || !s->fancy) {
			str_append(&text, piece.data, piece.len);
			continue;
		}
		print_text(text.data, text.len, true);
		str_reset(&text);
		fputs(STYLE_BOLD, stdout);
		print_text(piece.data, piece.len, true);
		fputs(STYLE_PLAIN, stdout);
		fputs(style, stdout);
	}
	print_text(text.data, text.len, true);
	puts(s->fancy ? STYLE_PLAIN : "");
	str_release(&text);
	str_release(&piece);
}

/* Logprobs are of the sampled tokens, which come last in a sequence. */
static void print_table(const struct showing *s, size_t k, size_t from, size_t to)
{
	struct mds_array logprobs;
	struct str piece;
	bool has_logprobs = walk_logprobs(s->w, k, &logprobs) && logprobs.n <= to - from;
	str_init(&piece, STR_NO_CAP);
	for (size_t i = from; i < to; i++) {
		str_reset(&piece);
		decoder_put(s->decoder, s->w->seqs.ids[i], &piece);
		printf("  %6zu %8" PRIu32 " %s ", i, s->w->seqs.ids[i],
			s->w->seqs.mask[i] ? "loss" : "    ");
		if (has_logprobs && i >= to - logprobs.n) {
			printf("%9.4f ", mds_array_double(&logprobs, i - (to - logprobs.n)));
		} else if (has_logprobs) {
			printf("%9s ", "");
		}
		print_text(piece.data, piece.len, false);
		putchar('\n');
	}
	str_release(&piece);
}

const char *sample_candidate(const struct sequences *s, size_t k, char out[CANDIDATE_CHARS])
{
	if (!s->has_sample_ids) {
		return NULL;
	}
	snprintf(out, CANDIDATE_CHARS, "%" PRIu64 ".%" PRIu64, s->sample_ids[k] / PROMPT_CANDIDATES,
		s->sample_ids[k] % PROMPT_CANDIDATES);
	return out;
}

static void print_sequence(const struct showing *s, size_t k)
{
	const struct sequences *q = &s->w->seqs;
	size_t from = q->starts[k], to = q->starts[k + 1];
	char candidate[CANDIDATE_CHARS];
	printf("%s--- sequence %zu of %zu, %zu tokens", s->fancy ? STYLE_BOLD : "", k + 1, q->n,
		to - from);
	if (sample_candidate(q, k, candidate)) {
		printf(", candidate %s", candidate);
	}
	if (q->has_scores) {
		printf(", score %.4g", q->scores[k]);
	}
	puts(s->fancy ? STYLE_PLAIN : "");
	if (s->table) {
		print_table(s, k, from, to);
		return;
	}
	for (size_t i = from; i < to;) {
		bool trained = q->mask[i];
		size_t end = i;
		while (end < to && (q->mask[end] != 0) == trained) {
			end++;
		}
		print_run(s, i, end, trained);
		i = end;
	}
}

void sample_print_sequence(struct walk *w, size_t k, const struct decoder *decoder, bool tokens)
{
	struct showing s = {w, decoder, cli_is_fancy(STDOUT_FILENO), tokens};
	print_sequence(&s, k);
}

static void print_columns(const struct walk *w)
{
	const struct mds_read_shard *s = mds_reader_shard(w->reader, w->shard);
	struct str text;
	str_init(&text, STR_NO_CAP);
	for (size_t i = 0; i < s->n_columns; i++) {
		str_reset(&text);
		mds_value_format(&s->columns[i].encoding, w->values[i], VALUE_BYTES_SHOWN, &text);
		print_z(s->columns[i].name);
		printf(" (");
		print_z(s->columns[i].encoding_name);
		printf("): %s\n", text.data);
	}
	str_release(&text);
}

static void print_json(const struct walk *w)
{
	const struct mds_read_shard *s = mds_reader_shard(w->reader, w->shard);
	struct str text;
	str_init(&text, STR_NO_CAP);
	struct json_writer j = {.out = &text};
	json_begin_object(&j);
	json_member_uint(&j, "sample", w->row);
	json_member_uint(&j, "shard", w->shard);
	json_key(&j, "columns");
	json_begin_object(&j);
	for (size_t k = 0; k < s->n_columns; k++) {
		json_key(&j, s->columns[k].name);
		mds_value_json(&s->columns[k].encoding, w->values[k], &j);
	}
	json_end_object(&j);
	json_end_object(&j);
	puts(text.data);
	str_release(&text);
}

static void print_row(struct walk *w, const struct inspect_show *show)
{
	if (show->json) {
		print_json(w);
		return;
	}
	printf("sample %" PRIu64 " of ", w->row);
	print_z(w->dir);
	printf(", shard %zu\n", w->shard);
	if (!w->seqs.n) {
		print_columns(w);
		return;
	}
	struct decoder *decoder = decoder_new(w->dir, w->reader);
	decoder_use(decoder, w->shard);
	for (size_t k = 0; k < w->seqs.n; k++) {
		sample_print_sequence(w, k, decoder, show->tokens);
	}
	decoder_free(decoder);
}

bool inspect_sample(
	const char *dir, uint64_t row, const struct inspect_show *show, struct error *err)
{
	struct walk w;
	bool ok = walk_open(&w, dir, err) && walk_seek(&w, row, err) && walk_next(&w, err);
	if (ok) {
		print_row(&w, show);
	}
	walk_close(&w);
	return ok;
}
